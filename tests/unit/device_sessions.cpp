// SPDX-License-Identifier: BSL-1.0
// Sessions: how they begin, replace each other and end.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_sessions)

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

/// A network with latency. Keeps datagrams and delivers them after that time.
struct slow_network {
    pair& p;
    wg::duration latency;
    std::vector<wire> under_way{};

    void advance(wg::duration by) {
        for (wg::instant const until = p.w.now + by; p.w.now < until;) {
            p.advance_clock(wg::milliseconds(10));
            for (host* const h : {&p.a, &p.b}) {
                h->tick();
                for (; !h->outbox.empty(); h->outbox.pop_front()) {
                    under_way.push_back(h->outbox.front());
                    p.net.log.push_back(h->outbox.front());
                }
            }
            std::vector<wire> late;
            for (wire const& w : std::exchange(under_way, {})) {
                if (w.at + latency <= p.w.now) p.net.deliver(w);
                else late.push_back(w);
            }
            under_way.insert(under_way.begin(), late.begin(), late.end());
        }
    }
};

} // namespace

//= wp 6.4: the initiator may send at once, and does, so that the responder may
BOOST_AUTO_TEST_CASE(staged_packets_or_a_keepalive_confirm_the_session) {
    pair p;
    for (unsigned i = 0; i < 3; ++i) p.a.send(ipv4(p.a, p.b, 100, i));
    p.net.settle();
    BOOST_TEST(p.net.log.size() == 5u); // initiation, response, three packets
    BOOST_TEST_REQUIRE(p.b.received.size() == 3u);
    for (unsigned i = 0; i < 3; ++i) BOOST_TEST(p.b.received[i] == ipv4(p.a, p.b, 100, i)); // in order

    pair q;
    BOOST_TEST(q.a.configure(change::peer(q.b.public_key), change::persistent_keepalive(25)) == status::ok);
    q.net.settle();
    BOOST_TEST_REQUIRE(q.net.log.size() == 3u);
    BOOST_TEST(q.net.log[2].is_keepalive());
    BOOST_TEST(q.b.count(wg::event_id::session_started) == 1u);
    BOOST_TEST(q.b.report(q.a.public_key).last_handshake_s != 0);
}

//= wp 6.4: the responder sends nothing before the first packet of the initiator
BOOST_AUTO_TEST_CASE(responder_sends_nothing_before_the_session_is_confirmed) {
    pair p;
    p.b.receive(p.initiation(p.a));
    wire const response = p.b.take_datagram();
    BOOST_TEST(p.b.send(ipv4(p.b, p.a, 100)) == status::staged);
    BOOST_TEST(p.b.outbox.empty());
    BOOST_TEST(p.b.report(p.a.public_key).last_handshake_s == 0);
    p.a.receive(response);
    BOOST_TEST(p.a.received.empty());
    p.net.settle();
    BOOST_TEST(p.a.received.size() == 1u);
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST(p.net.count(message_type::initiation) == 0u);
}

//= wp 6.4: the responder sends nothing before the first packet of the initiator
BOOST_AUTO_TEST_CASE(old_session_carries_traffic_until_the_new_one_is_confirmed) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(120));
    p.clear_logs();
    p.a.send(ipv4(p.a, p.b, 100));
    wire const data = p.a.take_datagram(), initiation = p.a.take_datagram();
    BOOST_TEST(data.is_data());
    BOOST_TEST((initiation.type() == message_type::initiation));
    p.b.receive(initiation);
    wire const response = p.b.take_datagram();
    p.a.receive(response);
    wire const confirmation = p.a.take_datagram();
    BOOST_TEST(confirmation.is_keepalive());
    BOOST_TEST(confirmation.receiver() == response.sender());
    p.b.send(ipv4(p.b, p.a, 100));
    wire const old = p.b.take_datagram();
    BOOST_TEST(old.receiver() != initiation.sender());
    BOOST_TEST(p.a.receive(old) == status::ok);
    BOOST_TEST(p.b.receive(data) == status::ok);
    p.b.receive(confirmation);
    p.b.send(ipv4(p.b, p.a, 100));
    BOOST_TEST(p.b.take_datagram().receiver() == initiation.sender());
    BOOST_TEST(p.b.receive(data) ==
               status::replayed_counter); // the previous session still receives packets that are on their way
}

//= linux: responder: the new session is next; next and previous before it die at once
BOOST_AUTO_TEST_CASE(new_session_of_the_responder_ends_its_next_and_previous_ones) {
    pair p;
    p.connect();
    p.a.send(ipv4(p.a, p.b, 100));
    wire const of_first = p.a.take_datagram();
    p.net.advance(wg::seconds(121));
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    p.a.send(ipv4(p.a, p.b, 100, 2));
    wire const of_second = p.a.take_datagram();
    BOOST_TEST(of_first.receiver() != of_second.receiver());
    p.advance_clock(wg::seconds(6));
    auto const probe = [&](std::uint32_t index) {
        wire w{buffer(32), p.a.where, p.b.where};
        wg::store_le32(&w.data[0], 4);
        wg::store_le32(&w.data[4], index);
        return p.b.receive(w).why;
    };
    BOOST_TEST(probe(of_first.receiver()) ==
               status::replayed_counter); // the index is known, and counter 0 was received
    auto* const keys = current_keys(p.a, ipv4(p.a, p.b, 100));
    keys->send_counter = wg::rekey_after_messages + 1;
    p.a.send(ipv4(p.a, p.b, 100));
    p.a.take_datagram();
    p.b.receive(p.a.take_datagram());
    wire const lost_response = p.b.take_datagram();
    BOOST_TEST(probe(of_first.receiver()) == status::unknown_index);
    BOOST_TEST(probe(of_second.receiver()) == status::replayed_counter);
    BOOST_TEST(probe(lost_response.sender()) == status::decryption_failed);
    p.advance_clock(wg::seconds(6));
    p.a.tick();
    p.b.receive(p.a.outbox.back());
    BOOST_TEST(probe(lost_response.sender()) == status::unknown_index);
    BOOST_TEST(p.b.receive(of_second) == status::ok);
}

//= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
BOOST_AUTO_TEST_CASE(initiator_rekeys_when_it_sends_after_120_s) {
    pair p;
    p.connect();
    wg::instant const born = p.w.now;
    p.net.advance(wg::seconds(120) - wg::duration{1});
    p.clear_logs();
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.net.count(message_type::initiation) == 0u);
    p.net.advance(wg::duration{1});
    BOOST_TEST((p.w.now == born + wg::seconds(120)));
    BOOST_TEST(p.net.count(message_type::initiation) == 0u); // not before it sends
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
    for (int i = 0; i < 10; ++i) BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
}

//= wp 6.2: only the initiator, so that both do not begin at once
BOOST_AUTO_TEST_CASE(responder_does_not_rekey_by_time) {
    pair p;
    p.connect();
    for (int s = 10; s < 160; s += 10) {
        p.net.advance(wg::seconds(10));
        p.b.send(ipv4(p.b, p.a, 100));
        // The keepalives of `a` are removed: the initiator is not to send, because it would renew the session.
        std::erase_if(p.a.outbox, [](wire const&) { return true; });
        p.net.settle();
        if (p.w.now - wg::instant{} >= wg::seconds(1000 + 118)) break;
    }
    p.net.advance(wg::seconds(2));
    p.clear_logs();
    for (int i = 0; i < 20; ++i) p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    BOOST_TEST(p.a.received.size() == 20u);
    BOOST_TEST(p.b.count(wg::event_id::initiation_sent) == 0u);
}

//= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
BOOST_AUTO_TEST_CASE(either_end_rekeys_after_2_to_the_60_messages) {
    for (bool const initiator : {true, false}) {
        pair p;
        p.connect();
        p.advance_clock(wg::seconds(6));
        host &from = initiator ? p.a : p.b, &to = initiator ? p.b : p.a;
        auto* const keys = current_keys(from, ipv4(from, to, 100));
        keys->send_counter = wg::rekey_after_messages - 1;
        BOOST_TEST(p.passes(from, to));
        BOOST_TEST(p.net.count(message_type::initiation) == 0u);
        BOOST_TEST(p.passes(from, to)); // that was number 2^60
        BOOST_TEST(p.net.count(message_type::initiation) == 1u);
        BOOST_TEST(p.net.log.back().counter() == 0u);
    }
}

//= wp 6.2: an initiator that receives renews Keepalive-Timeout + Rekey-Timeout before Reject-After-Time
//= linux: an initiator that only receives renews a session once
BOOST_AUTO_TEST_CASE(receiving_initiator_rekeys_once_at_165_s) {
    pair p;
    p.connect();
    wg::instant const born = p.w.now;
    p.net.advance(wg::seconds(165) - wg::duration{1});
    p.clear_logs();
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    BOOST_TEST(p.a.received.size() == 1u);
    BOOST_TEST(p.net.count(message_type::initiation) == 0u);
    p.w.now = born + wg::seconds(165);
    p.b.send(ipv4(p.b, p.a, 100));
    p.a.receive(p.b.take_datagram());
    BOOST_TEST((p.a.take_datagram().type() == message_type::initiation)); // it is lost
    p.advance_clock(wg::seconds(5)); // a further one would be allowed now; the repetition comes a jitter later
    p.b.send(ipv4(p.b, p.a, 100));
    p.a.receive(p.b.take_datagram());
    BOOST_TEST(p.a.outbox.empty());
    p.net.advance(wg::milliseconds(400));
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
}

//= wp 6.2: only the initiator, so that both do not begin at once
BOOST_AUTO_TEST_CASE(receiving_responder_does_not_rekey) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(100));
    wire late = [&] {
        p.a.send(ipv4(p.a, p.b, 100));
        return p.a.take_datagram();
    }();
    p.clear_logs();
    p.advance_clock(wg::seconds(70));
    BOOST_TEST(p.b.receive(late) == status::ok);
    BOOST_TEST(p.b.outbox.empty());
}

//= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
BOOST_AUTO_TEST_CASE(stages_packets_after_180_s_until_a_new_session_begins) {
    for (bool const initiator : {true, false}) {
        pair p;
        p.connect();
        host &from = initiator ? p.a : p.b, &to = initiator ? p.b : p.a;
        p.net.advance(wg::seconds(180) - wg::duration{1});
        p.clear_logs();
        p.net.intercept = [](wire const& w) { return w.type() == message_type::transport; };
        BOOST_TEST(p.passes(from, to));
        p.advance_clock(wg::duration{1});
        p.net.intercept = {};
        p.clear_logs();
        BOOST_TEST(from.send(ipv4(from, to, 100)) == status::staged);
        p.net.advance(wg::seconds(6));
        BOOST_TEST(p.net.count(message_type::initiation) >= 1u);
        BOOST_TEST(to.received.size() == 1u);
        BOOST_TEST(from.count(wg::event_id::session_started) == 1u);
    }
}

// --- crossing initiations

//= linux: two initiations that cross end in a session, by their jitters
BOOST_AUTO_TEST_CASE(simultaneous_initiations_both_make_a_session_at_once) {
    pair p;
    p.a.send(ipv4(p.a, p.b, 100));
    p.b.send(ipv4(p.b, p.a, 100));
    BOOST_TEST(p.a.outbox.size() == 1u);
    BOOST_TEST(p.b.outbox.size() == 1u);
    p.net.settle(); // no time passes
    BOOST_TEST(p.a.received.size() == 1u);
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST(p.net.count(message_type::initiation) == 2u);
    std::size_t log = p.net.log.size();
    for (int s = 0; s < 115; ++s) {
        BOOST_TEST(p.passes(p.a, p.b));
        BOOST_TEST(p.passes(p.b, p.a));
        p.net.advance(wg::seconds(1));
    }
    BOOST_TEST(p.net.count(message_type::initiation, log) == 0u);
    // One end renews the session, and packets pass.
    log = p.net.log.size();
    for (int s = 0; s < 120; ++s) {
        BOOST_TEST(p.passes(p.a, p.b));
        BOOST_TEST(p.passes(p.b, p.a));
        p.net.advance(wg::seconds(1));
    }
    BOOST_TEST(p.net.count(message_type::initiation, log) == 1u);
}

BOOST_AUTO_TEST_CASE(crossed_initiation_without_response_gives_way_to_the_other_session) {
    pair p;
    p.a.send(ipv4(p.a, p.b, 100));
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.intercept = [&](wire const& w) { return w.type() != message_type::response || w.from != p.b.where; };
    p.net.settle();
    BOOST_TEST(p.a.received.size() == 1u);
    BOOST_TEST(p.b.received.size() == 1u);
    p.net.intercept = {};
    std::size_t const log = p.net.log.size();
    p.net.advance(wg::seconds(30)); // there is a session, so nothing is repeated
    BOOST_TEST(p.net.count(message_type::initiation, log) == 0u);
}

BOOST_AUTO_TEST_CASE(simultaneous_initiations_converge_at_any_latency) {
    for (int const latency_ms : {5, 50, 150, 250, 400, 700, 1200}) {
        pair p;
        slow_network slow{p, wg::milliseconds(latency_ms)};
        p.a.send(ipv4(p.a, p.b, 100));
        p.b.send(ipv4(p.b, p.a, 100));
        slow.advance(wg::milliseconds(4 * latency_ms + 60));
        BOOST_TEST(p.a.received.size() == 1u, latency_ms << " ms");
        BOOST_TEST(p.b.received.size() == 1u, latency_ms << " ms");
        BOOST_TEST(p.net.count(message_type::initiation) == 2u, latency_ms << " ms");
    }
}

//= linux: two initiations that cross end in a session, by their jitters
BOOST_AUTO_TEST_CASE(persistent_keepalives_of_both_ends_make_no_extra_handshakes) {
    pair p;
    for (auto const& [h, other] : {std::pair{&p.a, &p.b}, std::pair{&p.b, &p.a}})
        BOOST_TEST(h->configure(change::peer(other->public_key), change::persistent_keepalive(5)) == status::ok);
    p.net.advance(wg::seconds(20));
    std::size_t const log = p.net.log.size();
    p.net.advance(wg::seconds(1200));
    // a session lasts for 120 s or a little more
    BOOST_TEST(p.net.count(message_type::initiation, log) <= 11u);
    BOOST_TEST(p.net.count(message_type::initiation, log) >= 8u);
}

// --- one handshake in five seconds

//= wp 6.1: at most one initiation every Rekey-Timeout; a response counts too
BOOST_AUTO_TEST_CASE(sends_initiations_at_least_five_seconds_apart) {
    pair p;
    p.initiation(p.a);
    p.advance_clock(wg::seconds(5) - wg::duration{1});
    p.a.send(ipv4(p.a, p.b, 100));
    BOOST_TEST(p.a.outbox.empty());
    p.advance_clock(wg::duration{1});
    p.a.send(ipv4(p.a, p.b, 100));
    BOOST_TEST((p.a.take_datagram().type() == message_type::initiation));
}

//= wp 6.1: at most one initiation every Rekey-Timeout; a response counts too
BOOST_AUTO_TEST_CASE(sends_initiation_at_least_five_seconds_after_a_response) {
    pair p;
    p.b.receive(p.initiation(p.a));
    p.b.take_datagram();
    p.advance_clock(wg::seconds(5) - wg::duration{1});
    p.b.send(ipv4(p.b, p.a, 100));
    BOOST_TEST(p.b.outbox.empty());
    p.advance_clock(wg::duration{1});
    p.b.send(ipv4(p.b, p.a, 100));
    BOOST_TEST((p.b.take_datagram().type() == message_type::initiation));
}

//= linux: an interface that goes up may initiate at once
BOOST_AUTO_TEST_CASE(may_initiate_at_once_after_the_interface_goes_up) {
    pair p;
    p.initiation(p.a);
    p.a.device.down(p.w.now);
    p.a.device.up();
    p.initiation(p.a);
}

// --- timestamps

//= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
BOOST_AUTO_TEST_CASE(timestamps_increase_when_the_wall_clock_goes_back) {
    pair p;
    p.b.receive(p.initiation(p.a));
    for (int i = 0; i < 100; ++i) {
        p.w.wall_offset = p.w.wall_offset - wg::seconds(i % 3 == 0 ? 1000 : 0); // backwards, or standing still
        p.advance_clock(wg::milliseconds(20));
        p.a.device.down(p.w.now);
        p.a.device.up();
        p.b.receive(p.initiation(p.a));
    }
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 101u);
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 0u);
}

//= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
BOOST_AUTO_TEST_CASE(timestamps_are_rounded_down_to_2_to_the_24_ns) {
    pair p;
    p.advance_clock({123'456'789});
    p.connect();
    auto const f = p.b.prepare(ipv4(p.b, p.a, 100));
    auto const& label = f->job.owner->greatest_timestamp;
    BOOST_TEST(wg::load_be32(&label[8]) == (123'456'789u & ~0xffffffu));
    BOOST_TEST(wg::load_be64(&label[0]) == 0x400000000000000au + 1'700'001'000u);
    p.b.complete(*f);
}

BOOST_AUTO_TEST_CASE(reports_time_of_last_handshake_as_unix_time) {
    pair p;
    p.advance_clock({123'456'789});
    p.connect();
    for (auto const& r : {p.a.report(p.b.public_key), p.b.report(p.a.public_key)}) {
        BOOST_TEST(r.last_handshake_s == 1'700'001'000);
        BOOST_TEST(r.last_handshake_ns == 123'456'789u);
    }
}

// --- down and up

//= linux: an interface that goes down forgets its sessions and sends nothing more
BOOST_AUTO_TEST_CASE(down_ends_sessions_and_stops_timers) {
    pair p;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(5)) == status::ok);
    p.connect();
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100)); // in flight when the interface goes down
    p.b.send(ipv4(p.b, p.a, 100));
    wire const data = p.b.take_datagram();
    auto const in = p.a.prepare(data);
    p.a.crypt(*out);
    p.a.crypt(*in);
    p.a.device.down(p.w.now);
    BOOST_TEST(!p.a.device.is_up());
    p.a.complete(*out);
    p.a.complete(*in);
    p.a.outbox.clear();
    p.net.log.clear();
    p.net.advance(wg::seconds(600));
    BOOST_TEST(p.net.count([&](wire const& w) { return w.from == p.a.where; }) == 0u);
    p.a.device.up();
    p.net.settle(); // the persistent keepalive is sent at once
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
    BOOST_TEST(p.passes(p.a, p.b));
}

BOOST_AUTO_TEST_CASE(does_not_answer_queued_handshakes_after_the_interface_goes_down) {
    pair p;
    wire const initiation = p.initiation(p.a);
    BOOST_TEST(p.b.take(initiation) == status::queued);
    p.b.device.down(p.w.now);
    p.b.poll();
    BOOST_TEST(p.b.outbox.empty());
    p.net.advance(wg::seconds(3));
    BOOST_TEST(p.b.outbox.empty());
}

BOOST_AUTO_TEST_CASE(sends_nothing_when_configured_while_down) {
    pair p;
    p.a.device.down(p.w.now);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(5)) == status::ok);
    p.net.advance(wg::seconds(30));
    BOOST_TEST(p.net.log.empty());
    p.a.device.up();
    p.net.settle();
    BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
