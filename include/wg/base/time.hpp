// SPDX-License-Identifier: BSL-1.0
// Time as the protocol counts it: nanoseconds since the host started, suspend included. Layer 0; pure.
#ifndef WG_BASE_TIME_HPP
#define WG_BASE_TIME_HPP

#include "abi.hpp"

#include <cstdint>

namespace wg::inline WG_ABI {

/// A length of time, in nanoseconds; may be negative. (std::chrono would bring <sstream> to a microcontroller.)
struct duration {
    std::int64_t nanoseconds = 0;

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

constexpr duration milliseconds(std::int64_t count) noexcept { return {count * 1'000'000}; }
constexpr duration seconds(std::int64_t count) noexcept { return {count * 1'000'000'000}; }

/// A moment on the clock that never goes back. `instant::never()` is later than all others.
struct instant {
    std::int64_t nanoseconds = 0;

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

} // namespace wg::inline WG_ABI

#endif
