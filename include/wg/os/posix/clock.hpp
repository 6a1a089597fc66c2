// SPDX-License-Identifier: BSL-1.0
// The clock of a system with POSIX clocks: one that never goes back, and the wall clock for handshake timestamps
// (clock_gettime(2); whitepaper section 5.1). Folder: os/posix. Any thread.
#ifndef WG_OS_POSIX_CLOCK_HPP
#define WG_OS_POSIX_CLOCK_HPP

#include "../../base/tai64n.hpp"
#include "../../policy.hpp"
#include "../snapshot_detector.hpp"

#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Models `clock_source`. `Calls::now()` returns the time since a point of the system's choice.
template <class Calls> class basic_clock {
public:
    /// The time of a clock that never goes back.
    instant now() const noexcept { return Calls::now(); }

    /// Writes the wall-clock time, in nanoseconds. The caller rounds it before it is sent.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        store_tai64n(label, static_cast<std::uint64_t>(time.tv_sec), static_cast<std::uint32_t>(time.tv_nsec));
    }
};

/// The calls of `basic_clock` for a clock of clock_gettime(2).
template <clockid_t Clock> struct clock_calls {
    /// The time of the clock.
    static instant now() noexcept {
        timespec time{};
        ::clock_gettime(Clock, &time);
        return {std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec};
    }
};

/// The clocks of `suspend_counter`, by clock_gettime(2): `Total` counts time in suspend, `Awake` does not. Where a
/// system has no such pair, both are the same clock, and no suspend is seen.
template <clockid_t Total, clockid_t Awake> struct suspend_clocks {
    /// Nanoseconds, time in suspend included.
    static std::int64_t total_ns() noexcept { return clock_calls<Total>::now().nanoseconds; }
    /// Nanoseconds without time in suspend.
    static std::int64_t awake_ns() noexcept { return clock_calls<Awake>::now().nanoseconds; }
};

/// Counts ticks of `numerator / denominator` nanoseconds, as the clock of macOS does. Returns: nanoseconds.
constexpr std::int64_t nanoseconds_of(std::uint64_t ticks, std::uint32_t numerator,
                                      std::uint32_t denominator) noexcept {
    if (denominator == 0) return 0;
    // In two parts, because ticks * numerator has more than 64 bits after some months.
    std::uint64_t const whole = ticks / denominator, rest = ticks % denominator;
    return static_cast<std::int64_t>(whole * numerator + rest * numerator / denominator);
}

}}}} // namespace wg::WG_ABI::os::posix

#endif
