// SPDX-License-Identifier: BSL-1.0
// Linux's random generator (getrandom(2)). After a boot it blocks until it is seeded, so it never returns weak bytes.
// Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_RANDOM_HPP
#define WG_OS_LINUX_RANDOM_HPP

#include "../../base/secret.hpp"
#include "../../policy.hpp"
#include "fd.hpp"

#include <sys/random.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `random_source`.
class random {
public:
    /// Fills `out` with random bytes. Returns: false if the kernel fails; then `out` is wiped, so that no key can be
    /// half random.
    bool fill(bytes out) const noexcept {
        std::size_t done = 0;
        while (done < out.size()) {
            ssize_t const more =
                without_interruption([&] { return ::getrandom(out.data() + done, out.size() - done, 0); });
            if (more <= 0) {
                wipe(out.data(), out.size());
                return false;
            }
            done += static_cast<std::size_t>(more);
        }
        return true;
    }
};

static_assert(random_source<random>);

}}} // namespace wg::WG_ABI::os

#endif
