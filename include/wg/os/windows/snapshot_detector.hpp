// SPDX-License-Identifier: BSL-1.0
// Windows: sleep and hibernation are seen by the interrupt time, which counts them, and the unbiased interrupt time,
// which does not. A restored or cloned virtual machine is not seen: Windows shows the generation of the machine to
// drivers alone. Folder: os/windows. Any thread.
#ifndef WG_OS_WINDOWS_SNAPSHOT_DETECTOR_HPP
#define WG_OS_WINDOWS_SNAPSHOT_DETECTOR_HPP

#include "../snapshot_detector.hpp"
#include "clock.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_suspend_clocks`.
struct suspend_calls {
    /// Milliseconds since the start, sleep included (GetTickCount64).
    static std::uint64_t tick_count_ms() noexcept { return clock_calls::tick_count_ms(); }
    /// Units of 100 ns since the start, without sleep (QueryUnbiasedInterruptTime); 0: not known.
    static std::uint64_t unbiased_time() noexcept {
        std::uint64_t time = 0;
        return api_detail::unbiased_interrupt_time(&time) != 0 ? time : 0;
    }
};

/// The clocks of `suspend_counter`: steps of 10 to 16 ms are fine enough. A test replaces `Calls`.
template <class Calls = suspend_calls> struct basic_suspend_clocks {
    /// Nanoseconds since the start, sleep included.
    static std::int64_t total_ns() noexcept { return static_cast<std::int64_t>(Calls::tick_count_ms() * 1'000'000); }
    /// Nanoseconds since the start without sleep. If Windows does not tell: with sleep, so that none is seen.
    static std::int64_t awake_ns() noexcept {
        std::uint64_t const time = Calls::unbiased_time();
        return time != 0 ? static_cast<std::int64_t>(time * 100) : total_ns();
    }
};

/// The detector of a Windows host.
using snapshot_detector = basic_snapshot_detector<basic_suspend_clocks<>>;
static_assert(wg::snapshot_detector<snapshot_detector>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
