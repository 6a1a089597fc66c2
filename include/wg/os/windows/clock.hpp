// SPDX-License-Identifier: BSL-1.0
// The clocks of Windows: interrupt time, which counts sleep and hibernation, for timers; the system time for handshake
// timestamps (whitepaper section 5.1). Folder: os/windows. Any thread.
#ifndef WG_OS_WINDOWS_CLOCK_HPP
#define WG_OS_WINDOWS_CLOCK_HPP

#include "../../base/tai64n.hpp"
#include "../../policy.hpp"
#include "api.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_clock`. All times are in units of 100 ns, or in milliseconds where the name says so.
struct clock_calls {
    /// QueryInterruptTimePrecise
    using interrupt_time = void(std::uint64_t* time) noexcept;

    /// QueryInterruptTimePrecise of this system; null if it has none (Windows 8, Wine 8).
    static interrupt_time* find_interrupt_time() noexcept {
        return api_detail::find_in<interrupt_time>(u"kernelbase.dll", "QueryInterruptTimePrecise");
    }
    /// GetTickCount64: milliseconds since the start, in steps of 10 to 16; counts sleep.
    static std::uint64_t tick_count_ms() noexcept { return api_detail::tick_count(); }
    /// GetSystemTimePreciseAsFileTime: since 1601-01-01 UTC.
    static std::uint64_t system_time() noexcept {
        std::uint64_t since_1601 = 0;
        api_detail::system_time(&since_1601);
        return since_1601;
    }
};

/// Models `clock_source`. A test replaces `Calls`.
template <class Calls = clock_calls> class basic_clock {
public:
    /// Looks up the precise clock.
    basic_clock() noexcept : interrupt_time_(Calls::find_interrupt_time()) {}

    /// The time since the host was started, sleep included.
    instant now() const noexcept {
        if (interrupt_time_ == nullptr)
            return {static_cast<std::int64_t>(Calls::tick_count_ms() % most_ms) * 1'000'000};
        std::uint64_t time = 0;
        interrupt_time_(&time);
        return {static_cast<std::int64_t>(time % (most_ms * 10'000)) * 100};
    }

    /// Writes the wall-clock time, in steps of 100 ns. The caller rounds it before it is sent.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept { tai64n_of(Calls::system_time(), label); }

    /// Writes a FILETIME, units of 100 ns since 1601-01-01 UTC, as TAI64N. A time before 1970 becomes 1970.
    static void tai64n_of(std::uint64_t since_1601, std::span<byte, timestamp_bytes> label) noexcept {
        constexpr std::uint64_t from_1601_to_1970_s = 11'644'473'600;
        constexpr std::uint64_t in_second = 10'000'000;
        std::uint64_t const since_1970 =
            since_1601 > from_1601_to_1970_s * in_second ? since_1601 - from_1601_to_1970_s * in_second : 0;
        store_tai64n(label, since_1970 / in_second, static_cast<std::uint32_t>(since_1970 % in_second * 100));
    }

private:
    /// More milliseconds than 290 years have are no uptime, and would overflow `instant`.
    static constexpr std::uint64_t most_ms = INT64_MAX / 1'000'000;

    typename Calls::interrupt_time* interrupt_time_;
};

/// The clock of a Windows host.
using clock = basic_clock<>;
static_assert(clock_source<clock>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
