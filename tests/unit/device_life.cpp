// SPDX-License-Identifier: BSL-1.0
// A device that is down, and a device whose peer does not answer.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_life)

using namespace wg_tests;
using wg::event_id;
using wg::message_type;
using wg::seconds;
using wg::status;

//= wp 6.4: give up after Rekey-Attempt-Time
BOOST_FIXTURE_TEST_CASE(gives_up_handshake_although_packets_are_staged, pair) {
    a.send(ipv4(a, b, 100));
    net.intercept = [](wire&) { return false; };
    net.advance(seconds(300));
    BOOST_TEST(a.count(event_id::handshake_given_up) == 1u);
    BOOST_TEST(net.count(message_type::initiation) == 20u); // at 0 s, 5 s, ... 95 s: Linux, MAX_TIMER_HANDSHAKES
    BOOST_TEST(a.dropped(status::staging_full) == 1u);
}

BOOST_FIXTURE_TEST_CASE(each_packet_of_the_user_begins_new_attempts, pair) {
    net.intercept = [](wire&) { return false; };
    for (int i = 0; i < 30; ++i) {
        a.send(ipv4(a, b, 100));
        net.advance(seconds(10));
    }
    BOOST_TEST(a.count(event_id::handshake_given_up) == 0u);
    net.intercept = nullptr;
    net.advance(seconds(6));
    BOOST_TEST(b.received.size() == 30u);
}

BOOST_FIXTURE_TEST_CASE(drops_queued_handshakes_when_it_goes_down, pair) {
    wire const first = initiation(a);
    BOOST_TEST(b.take(first) == status::queued);
    b.device.down(w.now);
    b.poll();
    BOOST_TEST(b.outbox.empty());
    BOOST_TEST((b.device.next_deadline() == wg::instant::never()));
    b.device.up();
    b.poll();
    BOOST_TEST(b.outbox.empty());
}

BOOST_FIXTURE_TEST_CASE(sends_nothing_after_down_with_packets_in_flight, pair) {
    connect();
    BOOST_TEST_REQUIRE(b.configure(wg::change::peer(a.public_key), wg::change::persistent_keepalive(5)) == status::ok);
    net.settle();
    clear_logs();
    a.send(ipv4(a, b, 100));
    auto const in = b.prepare(a.take_datagram());
    auto const out = b.prepare(ipv4(b, a, 100));
    b.device.down(w.now);
    b.crypt(*in);
    b.crypt(*out);
    BOOST_TEST(b.complete(*in) == status::device_down);
    b.complete(*out);
    b.outbox.clear(); // the packet that was sealed before
    net.advance(seconds(400));
    BOOST_TEST(b.received.empty());
    BOOST_TEST(net.count([&](wire const& sent) { return sent.from == b.where; }) == 0u);
    b.device.up();
    net.settle();
    BOOST_TEST(passes(a, b));
    BOOST_TEST(passes(b, a));
}

BOOST_AUTO_TEST_SUITE_END()
