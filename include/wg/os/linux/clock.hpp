// SPDX-License-Identifier: BSL-1.0
// Linux's clocks: CLOCK_BOOTTIME, which counts time in suspend, for timers; CLOCK_REALTIME for handshake timestamps
// (whitepaper section 5.1; TAI64N as Linux's own WireGuard computes it). Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_CLOCK_HPP
#define WG_OS_LINUX_CLOCK_HPP

#include "../../base/tai64n.hpp"
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

    /// Writes a time of CLOCK_REALTIME as TAI64N.
    static void tai64n_of(timespec const& time, std::span<byte, timestamp_bytes> label) noexcept {
        store_tai64n(label, static_cast<std::uint64_t>(time.tv_sec), static_cast<std::uint32_t>(time.tv_nsec));
    }
};

static_assert(clock_source<clock>);

}}} // namespace wg::WG_ABI::os

#endif
