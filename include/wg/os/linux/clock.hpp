// SPDX-License-Identifier: BSL-1.0
// Linux's clocks: CLOCK_BOOTTIME, which counts suspend, for timers; CLOCK_REALTIME for handshake timestamps (whitepaper
// section 5.1; TAI64N as Linux's own WireGuard computes it). Layer 7 (Linux); any thread.
#ifndef WG_OS_LINUX_CLOCK_HPP
#define WG_OS_LINUX_CLOCK_HPP

#include "../../base/limits.hpp"
#include "../../policy.hpp"

#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `clock_source`.
class clock {
public:
    instant now() const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return {std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec};
    }

    /// The wall clock now, to the nanosecond. Whoever sends it decides how much of that to tell.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        tai64n_of(time, label);
    }

    /// 2^62, the ten seconds that TAI was ahead of UTC in 1970, and the seconds since; leap seconds are not counted.
    static void tai64n_of(timespec const& time, std::span<byte, timestamp_bytes> label) noexcept {
        store_be64(label.data(), 0x400000000000000aU + static_cast<std::uint64_t>(time.tv_sec));
        store_be32(label.data() + 8, static_cast<std::uint32_t>(time.tv_nsec));
    }
};

static_assert(clock_source<clock>);

}}} // namespace wg::WG_ABI::os

#endif
