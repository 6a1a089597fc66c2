// SPDX-License-Identifier: BSL-1.0
// Time of the protocol: nanoseconds since the host started, suspend included. Folder: base. Pure; any thread.
#ifndef WG_BASE_TIME_HPP
#define WG_BASE_TIME_HPP

#include "abi.hpp"

#include <cstdint>

namespace wg { inline namespace WG_ABI {

/// A length of time, in nanoseconds; may be negative. (std::chrono would bring sstream to a microcontroller.)
struct duration {
    std::int64_t nanoseconds = 0; ///< the length

    friend constexpr bool operator==(duration, duration) noexcept = default;
    friend constexpr bool operator<(duration a, duration b) noexcept { return a.nanoseconds < b.nanoseconds; }
    friend constexpr bool operator>(duration a, duration b) noexcept { return b < a; }
    friend constexpr bool operator<=(duration a, duration b) noexcept { return !(b < a); }
    friend constexpr bool operator>=(duration a, duration b) noexcept { return !(a < b); }
    friend constexpr duration operator+(duration a, duration b) noexcept { return {a.nanoseconds + b.nanoseconds}; }
    friend constexpr duration operator-(duration a, duration b) noexcept { return {a.nanoseconds - b.nanoseconds}; }
    friend constexpr duration operator*(duration a, std::int64_t times) noexcept { return {a.nanoseconds * times}; }
    friend constexpr duration operator/(duration a, std::int64_t parts) noexcept { return {a.nanoseconds / parts}; }
};

/// `count` milliseconds.
constexpr duration milliseconds(std::int64_t count) noexcept { return {count * 1'000'000}; }
/// `count` seconds.
constexpr duration seconds(std::int64_t count) noexcept { return {count * 1'000'000'000}; }

/// A point in time on a clock that never goes back.
struct instant {
    std::int64_t nanoseconds = 0; ///< since a point of the clock's choice

    /// Later than all others.
    static constexpr instant never() noexcept { return {INT64_MAX}; }

    friend constexpr bool operator==(instant, instant) noexcept = default;
    friend constexpr bool operator<(instant a, instant b) noexcept { return a.nanoseconds < b.nanoseconds; }
    friend constexpr bool operator>(instant a, instant b) noexcept { return b < a; }
    friend constexpr bool operator<=(instant a, instant b) noexcept { return !(b < a); }
    friend constexpr bool operator>=(instant a, instant b) noexcept { return !(a < b); }
    friend constexpr duration operator-(instant a, instant b) noexcept { return {a.nanoseconds - b.nanoseconds}; }
    friend constexpr instant operator+(instant a, duration d) noexcept { return {a.nanoseconds + d.nanoseconds}; }
    friend constexpr instant operator-(instant a, duration d) noexcept { return {a.nanoseconds - d.nanoseconds}; }
};

/// The type of an `instant` parameter. Small machines pass it by address, because a register holds half of it.
#ifdef WG_COMPACT
using instant_argument = instant const&;
#else
using instant_argument = instant;
#endif

// The two operations that the protocol needs, for lengths of whole milliseconds. Small machines keep them out of line,
// because 64-bit arithmetic takes several instructions there.
namespace time_detail {

WG_OUTLINE constexpr bool passed(instant_argument since, instant_argument now, std::int32_t milliseconds) noexcept {
    return now.nanoseconds - since.nanoseconds >= std::int64_t{milliseconds} * 1'000'000;
}
WG_OUTLINE constexpr void set(instant& to, instant_argument from, std::int32_t milliseconds) noexcept {
    to.nanoseconds = from.nanoseconds + std::int64_t{milliseconds} * 1'000'000;
}

} // namespace time_detail

/// The duration in milliseconds. It must be a whole number of milliseconds.
constexpr std::int32_t in_milliseconds(duration d) noexcept {
    WG_ASSERT(d.nanoseconds % 1'000'000 == 0);
    return static_cast<std::int32_t>(d.nanoseconds / 1'000'000);
}

/// Whether `since` is this long ago, or longer.
template <duration Length = duration{}> constexpr bool passed(instant_argument since, instant_argument now) noexcept {
    constexpr std::int32_t length = in_milliseconds(Length);
    return time_detail::passed(since, now, length);
}
/// Sets `to` to `milliseconds` after `from`.
constexpr void set_after(instant& to, instant_argument from, std::int32_t milliseconds) noexcept {
    time_detail::set(to, from, milliseconds);
}
/// Sets `to` to `Length` after `from`.
template <duration Length> constexpr void set_after(instant& to, instant_argument from) noexcept {
    constexpr std::int32_t length = in_milliseconds(Length);
    time_detail::set(to, from, length);
}

}} // namespace wg::WG_ABI

#endif
