// SPDX-License-Identifier: BSL-1.0
// The random generator of a system with getentropy(2). Folder: os/posix. Any thread.
#ifndef WG_OS_POSIX_RANDOM_HPP
#define WG_OS_POSIX_RANDOM_HPP

#include "../../base/secret.hpp"
#include "../../policy.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Models `random_source`. `Calls::get_entropy(to, size)` is getentropy(2).
template <class Calls> class basic_random {
public:
    static constexpr std::size_t most_bytes = 256; ///< of one call (getentropy(2))

    /// Fills `out` with random bytes. Returns: false if the system fails; then `out` is wiped, so that no key can be
    /// half random.
    bool fill(bytes out) const noexcept {
        for (std::size_t done = 0; done < out.size(); done += most_bytes) {
            if (Calls::get_entropy(out.data() + done, (std::min)(most_bytes, out.size() - done)) == 0) continue;
            wipe(out.data(), out.size());
            return false;
        }
        return true;
    }
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
