// SPDX-License-Identifier: BSL-1.0
// Linux's clocks: CLOCK_BOOTTIME, which counts time in suspend, for timers; CLOCK_REALTIME for handshake timestamps
// (whitepaper section 5.1; TAI64N as Linux's own WireGuard computes it). Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_CLOCK_HPP
#define WG_OS_LINUX_CLOCK_HPP

#include "../../base/limits.hpp"
#include "../../policy.hpp"

#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `clock_source`.
class clock {
public:
    /// The time since the host was started, time in suspend included.
    instant now() const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return {std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec};
    }

    /// Writes the wall-clock time, in nanoseconds. The caller rounds it before it is sent.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        tai64n_of(time, label);
    }

    /// Writes `time` as TAI64N: 2^62, plus the ten seconds that TAI was ahead of UTC in 1970, plus the seconds since
    /// 1970. Leap seconds are not counted.
    static void tai64n_of(timespec const& time, std::span<byte, timestamp_bytes> label) noexcept {
        store_be64(label.data(), 0x400000000000000aU + static_cast<std::uint64_t>(time.tv_sec));
        store_be32(label.data() + 8, static_cast<std::uint32_t>(time.tv_nsec));
    }
};

static_assert(clock_source<clock>);

}}} // namespace wg::WG_ABI::os

#endif
