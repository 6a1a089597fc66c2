// SPDX-License-Identifier: BSL-1.0
// At which pace of packets it pays to look out for the next one.
#include "wg/engine/pace.hpp"

#include <boost/test/unit_test.hpp>

namespace {

wg::duration const none{};

struct passing {
    wg::pace pace;
    wg::instant now{};

    wg::duration step(wg::duration later, std::size_t packets) {
        now = now + later;
        pace.note(packets, now);
        return pace.busy_poll();
    }
    void sixteen_quick_steps() {
        for (int i = 0; i < 15; ++i) BOOST_TEST((step(wg::milliseconds(1), 1) == none));
        BOOST_TEST((step(wg::milliseconds(1), 8) == wg::milliseconds(2)));
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(engine_pace)

BOOST_AUTO_TEST_CASE(few_packets_that_follow_soon_are_looked_out_for) {
    passing p;
    BOOST_TEST((p.step(wg::seconds(1), 1) == none));
    p.sixteen_quick_steps();
    BOOST_TEST((p.step(wg::milliseconds(1), 0) == wg::milliseconds(2))); // a step that found nothing says nothing
    BOOST_TEST((p.step(wg::milliseconds(1), 1) == none));                // too late
    p.sixteen_quick_steps();
    BOOST_TEST((p.step(wg::milliseconds(1), 9) == none)); // many at once
    p.sixteen_quick_steps();
}

BOOST_AUTO_TEST_CASE(the_ends_of_short_bursts_are_not) {
    passing p;
    auto const looks_after = [&](unsigned packets) {
        (void)p.step(wg::milliseconds(10), 1);
        for (unsigned i = 1; i < packets; ++i) (void)p.step(wg::milliseconds(1), 1);
        return p.pace.busy_poll() != none;
    };
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(looks_after(17)); // a look was in vain when the next one begins
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(!looks_after(17));
    BOOST_TEST(looks_after(17 + 2 * 256));
    BOOST_TEST(looks_after(17));
    BOOST_TEST(!looks_after(17));
    BOOST_TEST(looks_after(17 + 100 * 256));
    for (int burst = 0; burst < 3; ++burst) BOOST_TEST(looks_after(17)); // no more than four are saved up
    BOOST_TEST(!looks_after(17));
}

BOOST_AUTO_TEST_SUITE_END()
