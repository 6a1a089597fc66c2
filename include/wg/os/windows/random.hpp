// SPDX-License-Identifier: BSL-1.0
// The random generator of Windows (BCryptGenRandom). Folder: os/windows. Any thread. Link: bcrypt.
#ifndef WG_OS_WINDOWS_RANDOM_HPP
#define WG_OS_WINDOWS_RANDOM_HPP

#include "../../base/secret.hpp"
#include "../../policy.hpp"
#include "api.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The call of `basic_random`.
struct random_calls {
    /// BCryptGenRandom of the system's preferred generator. Returns: an NTSTATUS; below 0: it failed.
    static std::int32_t generate(byte* out, std::uint32_t size) noexcept {
        return api_detail::generate_random(nullptr, out, size, api_detail::preferred_random_source);
    }
};

/// Models `random_source`. A test replaces `Calls`.
template <class Calls = random_calls> class basic_random {
public:
    static constexpr std::size_t max_call_bytes = std::size_t{1} << 30; ///< of one call of BCryptGenRandom

    /// Fills `out` with random bytes. Returns: false if Windows fails; then `out` is wiped, so that no key can be half
    /// random.
    bool fill(bytes out) const noexcept {
        for (std::size_t done = 0; done < out.size();) {
            std::size_t const more = (std::min)(out.size() - done, max_call_bytes);
            if (Calls::generate(out.data() + done, static_cast<std::uint32_t>(more)) < 0) {
                wipe(out.data(), out.size());
                return false;
            }
            done += more;
        }
        return true;
    }
};

/// The random source of a Windows host.
using random = basic_random<>;
static_assert(random_source<random>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
