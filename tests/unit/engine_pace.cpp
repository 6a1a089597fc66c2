// SPDX-License-Identifier: BSL-1.0
// The heuristics of an engine: when polling pays (pace.hpp), and how a lane divides a step (lane_scheduler.hpp).
#include "wg/engine/lane_scheduler.hpp"
#include "wg/engine/pace.hpp"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(engine_pace)

namespace {

wg::duration const none{};

/// Steps of an engine, and the pace that it measures.
struct stepping {
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

/// Batches of 180 packets and 45 datagrams, as on a host.
using scheduler = wg::lane_scheduler<180, 45>;

} // namespace

// --- polling

BOOST_AUTO_TEST_CASE(polls_after_sixteen_steps_with_few_packets_in_quick_succession) {
    stepping p;
    BOOST_TEST((p.step(wg::seconds(1), 1) == none));
    p.sixteen_quick_steps();
    BOOST_TEST((p.step(wg::milliseconds(1), 0) == wg::milliseconds(2))); // a step without packets changes nothing
    BOOST_TEST((p.step(wg::milliseconds(1), 1) == none));                // 2 ms after the last packet
    p.sixteen_quick_steps();
    BOOST_TEST((p.step(wg::milliseconds(1), 9) == none)); // a bulk transfer
    p.sixteen_quick_steps();
}

BOOST_AUTO_TEST_CASE(stops_polling_when_polls_after_short_bursts_were_wasted) {
    stepping p;
    auto const polls_after = [&](unsigned packets) {
        (void)p.step(wg::milliseconds(10), 1);
        for (unsigned i = 1; i < packets; ++i) (void)p.step(wg::milliseconds(1), 1);
        return p.pace.busy_poll() != none;
    };
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(polls_after(17)); // the next burst shows that a poll was wasted
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(!polls_after(17));
    BOOST_TEST(polls_after(17 + 2 * 256));
    BOOST_TEST(polls_after(17));
    BOOST_TEST(!polls_after(17));
    BOOST_TEST(polls_after(17 + 100 * 256));
    for (int burst = 0; burst < 3; ++burst) BOOST_TEST(polls_after(17)); // four wasted polls are allowed at most
    BOOST_TEST(!polls_after(17));
}

// --- datagrams in a receive call

BOOST_AUTO_TEST_CASE(receives_twice_as_many_datagrams_as_came_but_at_least_four) {
    scheduler s;
    BOOST_TEST(s.datagrams_wanted() == 4u);
    s.note_received(1, 1);
    BOOST_TEST(s.datagrams_wanted() == 4u);
    s.note_received(4, 4);
    BOOST_TEST(s.datagrams_wanted() == 8u);
    s.note_received(8, 8);
    BOOST_TEST(s.datagrams_wanted() == 16u);
    s.note_received(40, 40);
    BOOST_TEST(s.datagrams_wanted() == 45u); // the receive batch
    s.note_received(1, 1);
    BOOST_TEST(s.datagrams_wanted() == 4u);
}

BOOST_AUTO_TEST_CASE(receives_about_one_batch_of_segments) {
    scheduler s;
    s.note_received(8, 8 * 45);
    BOOST_TEST(s.datagrams_wanted() == 4u); // 4 datagrams of 45 segments are 180 messages
    s.note_received(4, 4 * 64);
    BOOST_TEST(s.datagrams_wanted() == 3u); // rounded up
    s.note_received(1, 1000);
    BOOST_TEST(s.datagrams_wanted() == 1u); // never none
}

BOOST_AUTO_TEST_CASE(receives_one_datagram_at_a_time_where_a_batch_is_one_packet) {
    wg::lane_scheduler<1, 1> s;
    BOOST_TEST(s.datagrams_wanted() == 1u);
    s.note_received(1, 1);
    BOOST_TEST(s.datagrams_wanted() == 1u);
}

// --- answers to handshakes

BOOST_AUTO_TEST_CASE(answers_handshakes_once_in_a_step) {
    scheduler s;
    for (int step = 0; step < 3; ++step) {
        s.begin_step();
        BOOST_TEST(s.takes_handshakes());
        BOOST_TEST(!s.takes_handshakes());
        s.end_step(179);
    }
}

BOOST_AUTO_TEST_CASE(answers_handshakes_in_every_fourth_step_after_whole_batches) {
    scheduler s;
    s.begin_step();
    s.end_step(180);
    for (int step = 1; step <= 12; ++step) {
        s.begin_step();
        BOOST_TEST(s.takes_handshakes() == (step % 4 == 0));
        BOOST_TEST(!s.takes_handshakes());
        s.end_step(180);
    }
}

// --- yielding the processor

BOOST_AUTO_TEST_CASE(yields_while_sparse_packets_pass_twice_within_50_ms) {
    scheduler s;
    wg::instant now{};
    std::uint32_t sparse = 0;
    auto const yields = [&](int later_ms, std::uint32_t more) {
        now = now + wg::milliseconds(later_ms);
        return s.should_yield(sparse += more, now);
    };
    BOOST_TEST(!yields(1000, 1)); // the first sparse packet
    BOOST_TEST(!yields(49, 0));
    BOOST_TEST(!yields(1, 1)); // 50 ms later
    BOOST_TEST(yields(49, 1));
    BOOST_TEST(yields(49, 0));
    BOOST_TEST(!yields(1, 0)); // no sparse packet for 50 ms
    BOOST_TEST(!yields(0, 1));
    BOOST_TEST(yields(0, 1));
}

BOOST_AUTO_TEST_CASE(counts_sparse_packets_across_the_wrap_of_the_counter) {
    scheduler s;
    wg::instant now = wg::instant{} + wg::seconds(1);
    BOOST_TEST(!s.should_yield(UINT32_MAX, now));
    now = now + wg::milliseconds(1);
    BOOST_TEST(s.should_yield(0, now));
}

BOOST_AUTO_TEST_SUITE_END()
