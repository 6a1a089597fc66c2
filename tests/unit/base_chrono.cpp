// SPDX-License-Identifier: BSL-1.0
// Conversion from and to std::chrono.
#include "wg/base/chrono.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <ratio>

BOOST_AUTO_TEST_SUITE(base_chrono)

namespace {

using namespace std::chrono_literals;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

/// A clock that the test sets.
struct set_clock {
    using duration = milliseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<set_clock>;
    static inline rep time = 1000;
    static time_point now() noexcept { return time_point(duration(time)); }
};
constexpr set_clock::time_point at_ms(std::int64_t count) { return set_clock::time_point(milliseconds(count)); }

} // namespace

BOOST_AUTO_TEST_CASE(rounds_lengths_up) {
    BOOST_TEST((wg::to_chrono<nanoseconds>(wg::duration{-7}) == -7ns));
    BOOST_TEST((wg::to_chrono<milliseconds>(wg::duration{}) == 0ms));
    BOOST_TEST((wg::to_chrono<milliseconds>(wg::duration{1}) == 1ms));
    BOOST_TEST((wg::to_chrono<milliseconds>(wg::duration{1'000'000}) == 1ms));
    BOOST_TEST((wg::to_chrono<milliseconds>(wg::duration{1'000'001}) == 2ms));
    BOOST_TEST((wg::to_chrono<milliseconds>(wg::duration{-1'999'999}) == -1ms));
    BOOST_TEST((wg::to_chrono<hours>(wg::seconds(3601)) == 2h));
    BOOST_TEST((wg::to_chrono<std::chrono::duration<int, std::ratio<1, 25>>>(wg::seconds(2)).count() == 50));
}

BOOST_AUTO_TEST_CASE(bounds_lengths_that_do_not_fit) {
    BOOST_TEST((wg::from_chrono(hours::max()) == wg::duration{INT64_MAX}));
    BOOST_TEST((wg::from_chrono(hours::min()) == wg::duration{INT64_MIN}));
    BOOST_TEST((wg::from_chrono(nanoseconds::max()) == wg::duration{INT64_MAX}));
    using narrow = std::chrono::duration<std::int32_t, std::milli>;
    BOOST_TEST((wg::to_chrono<narrow>(wg::seconds(1'000'000'000)) == narrow::max()));
    BOOST_TEST((wg::to_chrono<narrow>(wg::seconds(-1'000'000'000)) == narrow::min()));
}

BOOST_AUTO_TEST_CASE(converts_lengths_both_ways) {
    BOOST_TEST((wg::from_chrono(25ms) == wg::milliseconds(25)));
    BOOST_TEST((wg::from_chrono(-3s) == wg::seconds(-3)));
    BOOST_TEST((wg::from_chrono(2min) == wg::seconds(120)));
    BOOST_TEST((wg::to_chrono<nanoseconds>(wg::from_chrono(123'456'789ns)) == 123'456'789ns));
    static_assert(wg::chrono_duration<steady_clock::duration> && wg::chrono_clock<steady_clock>);
    static_assert(!wg::chrono_duration<std::chrono::duration<double>>, "a fraction would be lost");
    static_assert(!wg::chrono_duration<std::chrono::duration<long, std::pico>>);
}

BOOST_AUTO_TEST_CASE(converts_points_of_time_by_their_distance_from_now) {
    wg::instant const now{5'000'000'000};
    set_clock::time = 1000;
    BOOST_TEST((wg::to_chrono<set_clock>(now, now) == at_ms(1000)));
    BOOST_TEST((wg::to_chrono<set_clock>(now + wg::milliseconds(20), now) == at_ms(1020)));
    BOOST_TEST((wg::to_chrono<set_clock>(now + wg::duration{1}, now) == at_ms(1001))); // not too early
    BOOST_TEST((wg::to_chrono<set_clock>(now - wg::seconds(3), now) == at_ms(-2000)));
    BOOST_TEST((wg::from_chrono(at_ms(1020), now) == now + wg::milliseconds(20)));
    BOOST_TEST((wg::from_chrono(at_ms(-500), now) == now - wg::milliseconds(1500)));
    auto const deadline = steady_clock::now() + 10s;
    wg::instant const converted = wg::from_chrono(deadline, now);
    BOOST_TEST((converted > now + wg::seconds(5) && converted <= now + wg::seconds(10)));
}

BOOST_AUTO_TEST_CASE(keeps_the_time_that_never_comes) {
    wg::instant const now{5'000'000'000}, before_start{-5};
    BOOST_TEST((wg::to_chrono<steady_clock>(wg::instant::never(), now) == steady_clock::time_point::max()));
    BOOST_TEST((wg::from_chrono(steady_clock::time_point::max(), now) == wg::instant::never()));
    // What lies beyond the last point of time of the other clock never comes either.
    set_clock::time = INT64_MAX - 5;
    BOOST_TEST((wg::to_chrono<set_clock>(now + wg::seconds(1), now) == set_clock::time_point::max()));
    set_clock::time = 0;
    BOOST_TEST((wg::from_chrono(at_ms(INT64_MAX - 1), now) == wg::instant::never()));
    BOOST_TEST((wg::from_chrono(at_ms(1), before_start) == before_start + wg::milliseconds(1)));
}

BOOST_AUTO_TEST_SUITE_END()
