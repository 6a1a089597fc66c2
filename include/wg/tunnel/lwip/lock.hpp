// SPDX-License-Identifier: BSL-1.0
// lwIP's state is global: one lock for the process. Folder: tunnel/lwip. Any thread.
#ifndef WG_TUNNEL_LWIP_LOCK_HPP
#define WG_TUNNEL_LWIP_LOCK_HPP

#include "../../base/time.hpp"

#include <lwip/init.h>
#include <lwip/timeouts.h>
#include <mutex>

namespace wg { inline namespace WG_ABI { namespace lwip {

/// The lock. Initializes lwIP at the first call.
inline std::mutex& mutex() noexcept {
    static std::mutex only;
    static bool const initialized = (lwip_init(), true);
    (void)initialized;
    return only;
}

/// Holds the lock during its life.
class guard {
public:
    /// Waits for the lock.
    guard() noexcept : held_(mutex()) {}

private:
    std::lock_guard<std::mutex> held_;
};

/// Runs lwIP's timers that are due. Under the lock. Returns: the time until the next one is due.
inline duration run_timers() noexcept {
    sys_check_timeouts();
    std::uint32_t const left = sys_timeouts_sleeptime();
    return left == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? seconds(60) : milliseconds(left);
}

}}} // namespace wg::WG_ABI::lwip

#endif
