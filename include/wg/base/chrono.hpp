// SPDX-License-Identifier: BSL-1.0
// Converts lengths and points of time from and to std::chrono. The header does not include <chrono>, which takes long
// to compile: the program does that before it names a type of std::chrono. Folder: base. Pure; any thread.
//
//     auto const wait = wg::to_chrono<std::chrono::milliseconds>(engine.next_deadline() - clock.now());
#ifndef WG_BASE_CHRONO_HPP
#define WG_BASE_CHRONO_HPP

#include "time.hpp"

#include <concepts>
#include <limits>

namespace wg { inline namespace WG_ABI {

/// A std::chrono::duration that counts whole numbers of a unit of one or more nanoseconds.
template <class T>
concept chrono_duration = std::integral<typename T::rep> && requires(T const& length) {
    requires T::period::num * (1'000'000'000 / T::period::den) > 0;
    requires 1'000'000'000 % T::period::den == 0;
    { length.count() } -> std::same_as<typename T::rep>;
};

/// A clock of std::chrono.
template <class T>
concept chrono_clock = requires { T::now().time_since_epoch(); } && chrono_duration<typename T::duration>;

/// A std::chrono::time_point.
template <class T>
concept chrono_time_point = chrono_clock<typename T::clock> && chrono_duration<typename T::duration>;

/// Nanoseconds in a unit of `T`.
template <chrono_duration T>
inline constexpr std::int64_t chrono_unit_nanoseconds = T::period::num * (1'000'000'000 / T::period::den);

/// Returns: the length, rounded up to units of `To`, so that a timer does not expire too early; at most `(To::max)()`.
template <chrono_duration To> constexpr To to_chrono(duration length) noexcept {
    constexpr std::int64_t unit = chrono_unit_nanoseconds<To>;
    using rep = typename To::rep;
    std::int64_t const count = length.nanoseconds / unit + (length.nanoseconds % unit > 0 ? 1 : 0);
    if constexpr (sizeof(rep) < sizeof count) {
        if (count > (std::numeric_limits<rep>::max)()) return To((std::numeric_limits<rep>::max)());
        if (count < (std::numeric_limits<rep>::min)()) return To((std::numeric_limits<rep>::min)());
    }
    return To(static_cast<rep>(count));
}

/// Returns: the length; if it is too long for nanoseconds in 64 bits, the longest one of its sign (292 years).
template <chrono_duration From> constexpr duration from_chrono(From const& length) noexcept {
    constexpr std::int64_t unit = chrono_unit_nanoseconds<From>;
    std::int64_t const count = length.count();
    if (count > INT64_MAX / unit) return {INT64_MAX};
    if (count < INT64_MIN / unit) return {INT64_MIN};
    return {count * unit};
}

/// Converts a point of time to a clock of std::chrono. The clocks may differ in rate and origin: std::chrono has none
/// that counts time in suspend. `now`: the present time of the clock to which `at` belongs. Returns: the present time
/// of `Clock` plus the time from `now` to `at`, rounded up; `time_point::max()` for `instant::never()`.
template <chrono_clock Clock> typename Clock::time_point to_chrono(instant at, instant now) noexcept {
    using time_point = typename Clock::time_point;
    if (at == instant::never()) return (time_point::max)();
    time_point const present = Clock::now();
    auto const wait = to_chrono<typename Clock::duration>(at - now);
    return wait > (time_point::max)() - present ? (time_point::max)() : present + wait;
}

/// Converts a point of time of a clock of std::chrono. `now`: the present time of the clock that the result belongs to.
/// Returns: `now` plus the time from the present to `at`; `instant::never()` for `time_point::max()`.
template <chrono_time_point TimePoint> instant from_chrono(TimePoint const& at, instant now) noexcept {
    if (at == (TimePoint::max)()) return instant::never();
    duration const wait = from_chrono(at - TimePoint::clock::now());
    return now.nanoseconds > 0 && wait > instant::never() - now ? instant::never() : now + wait;
}

}} // namespace wg::WG_ABI

#endif
