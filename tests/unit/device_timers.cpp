// SPDX-License-Identifier: BSL-1.0
// The timers of a device, exact to the nanosecond of a virtual clock.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_timers)

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

bool is_initiation(wire const& w) { return w.type() == message_type::initiation; }
bool is_keepalive(wire const& w) { return w.is_keepalive(); }

/// The times, counted from `since`, at which datagrams that satisfy `which` were sent.
template <class Predicate> std::vector<std::int64_t> times(pair const& p, wg::instant since, Predicate which) {
    std::vector<std::int64_t> out;
    for (wire const& w : p.net.log)
        if (which(w)) out.push_back((w.at - since).nanoseconds);
    return out;
}
constexpr std::int64_t second = 1'000'000'000;

/// A session. The only timer that runs is the one that zeroes its keys.
struct idle_pair : pair {
    idle_pair() {
        connect();
        net.advance(wg::seconds(30));
        clear_logs();
    }
};

} // namespace

//= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
BOOST_AUTO_TEST_CASE(sends_keepalive_10_s_after_the_first_unanswered_packet) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(4));
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(36));
    // one keepalive answers all packets that were received before it
    BOOST_TEST((times(p, start, is_keepalive) == std::vector{10 * second}));
    BOOST_TEST((p.net.log.back().from == p.b.where));
}

//= linux: whatever is sent takes the place of the passive keepalive
BOOST_AUTO_TEST_CASE(sends_no_keepalive_after_an_answer) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(9));
    BOOST_TEST(p.passes(p.b, p.a)); // now `a` has to answer
    p.net.advance(wg::seconds(30));
    BOOST_TEST((times(p, start, is_keepalive) == std::vector{19 * second}));
}

/// If the delay started at the last packet sent, the keepalive would be sent at once.
//= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
BOOST_AUTO_TEST_CASE(keepalive_delay_starts_at_the_received_packet_not_at_the_last_sent_one) {
    idle_pair p;
    p.net.advance(wg::seconds(30)); // `b` has sent nothing for long
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(10) - wg::duration{1});
    BOOST_TEST(p.net.count(is_keepalive) == 0u);
    p.net.advance(wg::duration{1});
    BOOST_TEST(p.net.count(is_keepalive) == 1u);
}

//= wp 6.5: a keepalive is no data: it is not answered
BOOST_AUTO_TEST_CASE(idle_peers_send_nothing_for_an_hour) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(3600));
    BOOST_TEST(p.net.log.size() == 1u); // the keepalive after the first packet
}

//= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
BOOST_AUTO_TEST_CASE(begins_handshake_15_s_after_the_first_unanswered_packet) {
    std::vector<std::int64_t> first;
    for (int tries = 0; tries < 4; ++tries) {
        idle_pair p;
        for (int skip = 0; skip < tries; ++skip) p.a.random.from.next();
        p.net.intercept = [](wire const&) { return false; };
        wg::instant const start = p.w.now;
        for (int i = 0; i < 3; ++i) {
            p.a.send(ipv4(p.a, p.b, 100));
            p.net.advance(wg::seconds(4));
        }
        p.net.advance(wg::seconds(5));
        auto const at = times(p, start, is_initiation);
        BOOST_TEST_REQUIRE(at.size() == 1u);
        BOOST_TEST(at[0] >= 15 * second);
        BOOST_TEST(at[0] < 15 * second + second / 3);
        first.push_back(at[0]);
    }
    std::sort(first.begin(), first.end());
    BOOST_TEST((first.front() != first.back())); // the jitter differs
}

/// If the delay started at the last packet received, an answer long ago would count as silence.
//= linux: the wait for an answer counts from the first data without one
BOOST_AUTO_TEST_CASE(handshake_delay_starts_at_the_sent_packet_not_at_the_last_received_one) {
    idle_pair p;
    BOOST_TEST(p.passes(p.a, p.b));
    BOOST_TEST(p.passes(p.b, p.a));
    p.net.advance(wg::seconds(14));
    p.net.intercept = [](wire const&) { return false; };
    wg::instant const start = p.w.now;
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(16));
    auto const at = times(p, start, is_initiation);
    BOOST_TEST_REQUIRE(at.size() == 1u);
    BOOST_TEST(at[0] >= 15 * second);
}

//= linux: any authenticated packet is the expected answer
BOOST_AUTO_TEST_CASE(any_authenticated_packet_counts_as_an_answer) {
    idle_pair p;
    wg::instant const start = p.w.now;
    for (int i = 0; i < 20; ++i) { // `b` answers with keepalives only
        BOOST_TEST(p.passes(p.a, p.b));
        p.net.advance(wg::seconds(4));
    }
    BOOST_TEST(times(p, start, is_initiation).empty());
}

//= wp 6.5: a keepalive is no data: it is not answered
BOOST_AUTO_TEST_CASE(unanswered_keepalive_begins_no_handshake) {
    idle_pair p;
    p.net.intercept = [&](wire const& w) { return w.from == p.a.where; }; // datagrams of `b` are lost
    p.b.send(ipv4(p.b, p.a, 100));
    p.b.outbox.clear();
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(20)) == status::ok);
    p.net.advance(wg::seconds(60));
    BOOST_TEST(p.net.count([&](wire const& w) { return is_initiation(w) && w.from == p.a.where; }) == 0u);
    BOOST_TEST(p.net.count(is_keepalive) == 4u);
}

// --- retransmission

//= wp 6.4: an initiation without an answer is repeated after Rekey-Timeout and a jitter, for Rekey-Attempt-Time
//= wp 6.4: give up after Rekey-Attempt-Time
BOOST_AUTO_TEST_CASE(repeats_initiations_for_90_s_and_then_gives_up) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    wg::instant const start = p.w.now;
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(300));
    auto const at = times(p, start, is_initiation);
    BOOST_TEST_REQUIRE(at.size() == 20u);
    std::vector<std::int64_t> gaps;
    for (std::size_t i = 1; i < at.size(); ++i) gaps.push_back(at[i] - at[i - 1]);
    std::sort(gaps.begin(), gaps.end());
    BOOST_TEST(gaps.front() >= 5 * second);
    BOOST_TEST(gaps.back() < 5 * second + second / 3);
    BOOST_TEST((std::adjacent_find(gaps.begin(), gaps.end()) == gaps.end()));
    BOOST_TEST(p.a.count(wg::event_id::handshake_given_up) == 1u);
    BOOST_TEST(p.net.log.size() == 20u);
    // no two initiations are the same
    for (std::size_t i = 1; i < p.net.log.size(); ++i) {
        BOOST_TEST(p.net.log[i].sender() != p.net.log[i - 1].sender());
        BOOST_TEST(!std::equal(p.net.log[i].data.begin() + 8, p.net.log[i].data.begin() + 40,
                               p.net.log[i - 1].data.begin() + 8));
    }
}

//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(next_packet_after_giving_up_begins_a_new_handshake) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    for (unsigned i = 0; i < 5; ++i) p.a.send(ipv4(p.a, p.b, 100, i));
    p.net.advance(wg::seconds(200));
    BOOST_TEST(p.a.dropped(status::staging_full) == 5u);
    p.a.send(ipv4(p.a, p.b, 100, 50));
    p.net.advance(wg::seconds(20));
    BOOST_TEST(p.net.count(is_initiation) == 24u);
    p.net.intercept = {};
    p.net.advance(wg::seconds(6));
    BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
    BOOST_TEST(p.b.received[0] == ipv4(p.a, p.b, 100, 50));
}

//= linux: the keys are zeroed 540 s after giving up, if no session does so before
BOOST_AUTO_TEST_CASE(zeroes_keys_540_s_after_the_last_session) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(95)); // the device gives up between 100 s and 106.7 s
    BOOST_TEST(p.a.count(wg::event_id::handshake_given_up) == 0u);
    p.net.advance(wg::seconds(12));
    BOOST_TEST(p.a.count(wg::event_id::handshake_given_up) == 1u);
    p.net.advance(wg::seconds(527));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 0u);
    p.net.advance(wg::seconds(14));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 1u);
    BOOST_TEST((p.a.device.next_deadline() == wg::instant::never()));
}

/// Packets are sent during the outage. Traffic resumes after it, with their help or without.
//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(traffic_resumes_after_an_outage_of_any_length) {
    for (int const outage_s : {3, 30, 100, 179, 185, 400, 560, 2000}) {
        pair p;
        p.connect();
        p.net.intercept = [](wire const&) { return false; };
        for (int s = 0; s < outage_s; ++s) {
            p.a.send(ipv4(p.a, p.b, 100));
            p.net.advance(wg::seconds(1));
        }
        p.net.intercept = {};
        p.b.received.clear();
        for (int s = 0; s < 7 && p.b.received.empty(); ++s) {
            p.a.send(ipv4(p.a, p.b, 100));
            p.net.advance(wg::seconds(1));
        }
        BOOST_TEST(!p.b.received.empty(), outage_s << " s");
        p.a.send(ipv4(p.a, p.b, 100));
        p.net.advance(wg::seconds(6)); // the packet that arrived may have been the last one of the old session
        BOOST_TEST(p.passes(p.a, p.b), outage_s << " s");
        BOOST_TEST(p.passes(p.b, p.a), outage_s << " s");
    }
}

/// The other end restarted, and has no sessions.
//= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
BOOST_AUTO_TEST_CASE(reconnects_to_a_peer_that_lost_its_sessions) {
    idle_pair p;
    p.b.device.down(p.w.now);
    p.b.device.up();
    wg::instant const start = p.w.now;
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(20));
    auto const at = times(p, start, is_initiation);
    BOOST_TEST_REQUIRE(at.size() == 1u);
    BOOST_TEST(at[0] < 15 * second + second / 3);
    BOOST_TEST(p.passes(p.a, p.b));
}

#ifndef WG_BARE // a bare device has no source addresses
//= linux: a repetition forgets the source address, which may be what is dead
BOOST_AUTO_TEST_CASE(repeated_initiation_forgets_the_source_address) {
    idle_pair p;
    wg::local_source const local{wg::ip_address::v4(192, 0, 2, 1), 3};
    p.b.send(ipv4(p.b, p.a, 100));
    wire const data = p.b.take_datagram();
    auto const in = p.a.prepare(data);
    in->job.where.local = local;
    p.a.crypt(*in);
    BOOST_TEST(p.a.complete(*in) == status::ok);
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
    BOOST_TEST((out->job.where.local == local));
    p.a.crypt(*out);
    p.a.complete(*out);
    p.net.intercept = [](wire const&) { return false; };
    p.net.advance(wg::seconds(16));
    auto const later = p.a.prepare(ipv4(p.a, p.b, 100));
    BOOST_TEST((later->job.where.local == wg::local_source{}));
    p.a.complete(*later);
}
#endif

// --- persistent keepalive

//= linux: persistent keepalive counts from the last packet in either direction
//= linux: persistent keepalive goes out at once when it is enabled, and when the interface goes up
BOOST_AUTO_TEST_CASE(sends_persistent_keepalive_when_enabled_and_at_its_interval) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.net.advance(wg::seconds(89));
    BOOST_TEST((times(p, start, is_keepalive) == std::vector<std::int64_t>{0, 25 * second, 50 * second, 75 * second}));
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(20)) ==
               status::ok); // no change
    p.net.settle();
    BOOST_TEST(p.net.count(is_keepalive) == 4u);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(0)) == status::ok);
    p.net.advance(wg::seconds(100));
    BOOST_TEST(p.net.count(is_keepalive) == 4u);

    p.a.device.down(p.w.now);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.net.settle();
    BOOST_TEST(p.net.count(is_keepalive) == 4u);
    p.a.device.up();
    p.net.settle();
    BOOST_TEST(p.net.count(is_keepalive) == 5u); // one confirms the new session
}

//= linux: persistent keepalive counts from the last packet in either direction
BOOST_AUTO_TEST_CASE(sends_no_persistent_keepalive_while_traffic_flows) {
    for (bool const outbound : {true, false}) {
        pair p;
        BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(5)) == status::ok);
        p.connect();
        wg::instant const start = p.w.now;
        for (int i = 0; i < 20; ++i) {
            p.net.advance(wg::seconds(4));
            BOOST_TEST((outbound ? p.passes(p.a, p.b) : p.passes(p.b, p.a)));
        }
        auto const from_a = [&](wire const& w) { return w.is_keepalive() && w.from == p.a.where; };
        if (outbound) {
            BOOST_TEST(times(p, start, from_a).empty());
        } else { // keepalives that answer received packets after 10 s, and no others
            for (std::int64_t const at : times(p, start, from_a)) BOOST_TEST(at % (4 * second) == 2 * second);
        }
    }
}

//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(persistent_keepalive_reconnects_to_a_peer_after_a_long_outage) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.net.advance(wg::seconds(1000));
    p.net.intercept = {};
    p.net.advance(wg::seconds(31));
    BOOST_TEST(p.b.count(wg::event_id::session_started) == 1u);
}

BOOST_AUTO_TEST_CASE(persistent_keepalive_waits_until_the_peer_has_an_endpoint) {
    world w;
    host a(w, 1), b(w, 2);
    network net(w, {&a, &b});
    add_peer(b, a);
    BOOST_TEST(a.configure(change::peer(b.public_key), change::persistent_keepalive(25)) == status::ok);
    net.advance(wg::seconds(60));
    BOOST_TEST(net.log.empty());
    BOOST_TEST(a.configure(change::peer(b.public_key), change::endpoint(b.where)) == status::ok);
    net.settle();
    BOOST_TEST(b.count(wg::event_id::session_started) == 1u);
}

//= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
BOOST_AUTO_TEST_CASE(renews_sessions_while_traffic_flows) {
    pair p;
    p.connect();
    for (int s = 0; s < 1000; ++s) {
        p.net.advance(wg::seconds(1));
        BOOST_TEST(p.passes(p.a, p.b));
        BOOST_TEST(p.passes(p.b, p.a));
    }
    BOOST_TEST(p.net.count(is_initiation) == 8u); // every 120 s
    BOOST_TEST(p.b.count(wg::event_id::initiation_sent) == 0u);
    BOOST_TEST(p.net.count(is_keepalive) == 8u); // each confirms a session
}

/// A device that is called at its deadlines only does everything in time.
//= linux: timers have the resolution of the clock, not of a tick
BOOST_AUTO_TEST_CASE(next_deadline_is_never_later_than_the_work) {
    idle_pair p;
    BOOST_TEST(p.passes(p.a, p.b));
    wg::instant const start = p.w.now;
    BOOST_TEST((p.b.device.next_deadline() <= start + wg::seconds(10)));
    BOOST_TEST((p.b.device.next_deadline() > start));
    p.a.device.on_deadline(p.w.now);
    auto const waiting = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.complete(*waiting);
    BOOST_TEST((p.a.device.next_deadline() <= start + wg::milliseconds(15'334)));
    BOOST_TEST(p.b.configure(change::peer(p.a.public_key), change::persistent_keepalive(9)) == status::ok);
    BOOST_TEST((p.b.device.next_deadline() <= start)); // now
}

// --- a host that was suspended

/// The host was suspended until all keys expired. A packet comes before the timers run.
BOOST_AUTO_TEST_CASE(overdue_timer_does_not_end_the_handshake_of_a_packet_after_long_sleep) {
    for (bool const timers_last : {false, true}) {
        idle_pair p;
        p.advance_clock(wg::seconds(600));
        if (timers_last) {
            BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged);
            p.a.device.on_deadline(p.w.now);
        } else {
            p.a.tick();
            BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100)) == status::staged);
        }
        p.b.tick();
        p.net.settle();
        BOOST_TEST(p.b.received.size() == 1u);
        BOOST_TEST(p.a.count(wg::event_id::session_started) == 1u);
    }
}

// --- a new endpoint

namespace {

constexpr wg::endpoint wrong{{{203, 0, 113, 9}, wg::family::v4}, 9, 0};

status set_endpoint(pair& p, wg::endpoint const& where) {
    return p.a.configure(change::peer(p.b.public_key), change::endpoint(where));
}

} // namespace

BOOST_AUTO_TEST_CASE(sends_initiation_to_new_endpoint_at_once_during_retries) {
    pair p;
    BOOST_TEST(set_endpoint(p, wrong) == status::ok);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::milliseconds(2200));
    wg::instant const start = p.w.now;
    BOOST_TEST(set_endpoint(p, p.b.where) == status::ok);
    BOOST_TEST(p.a.device.next_deadline() <= p.w.now);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST((times(p, start, is_initiation).back() == 0));
}

/// A session is alive while an initiation is sent to the old endpoint.
BOOST_AUTO_TEST_CASE(sends_rekey_initiation_to_new_endpoint_at_once) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(121));
    p.net.intercept = [](wire const& w) { return w.type() != message_type::initiation; };
    BOOST_TEST(p.passes(p.a, p.b)); // this renews the session
    p.net.advance(wg::seconds(1));
    p.net.intercept = {};
    p.net.log.clear();
    p.b.where.port = 4444;
    BOOST_TEST(set_endpoint(p, p.b.where) == status::ok);
    p.net.settle();
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
    BOOST_TEST(p.net.count(message_type::response) == 1u);
}

BOOST_AUTO_TEST_CASE(sends_no_initiation_for_same_endpoint_or_without_pending_handshake) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(2));
    BOOST_TEST(set_endpoint(p, p.b.where) == status::ok); // the same endpoint
    p.net.settle();
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
    p.net.intercept = {};
    p.net.advance(wg::seconds(6));
    BOOST_TEST(p.b.received.size() == 1u);
    p.net.log.clear();
    BOOST_TEST(set_endpoint(p, wrong) == status::ok); // there is a session
    p.net.settle();
    BOOST_TEST(p.net.log.empty());
}

//= wp 6.1: at most one initiation every Rekey-Timeout
BOOST_AUTO_TEST_CASE(limits_early_initiations_when_endpoints_alternate) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    for (int ms = 0; ms < 60'000; ++ms) {
        BOOST_TEST_REQUIRE(set_endpoint(p, ms % 2 == 0 ? wrong : p.b.where) == status::ok);
        p.net.advance(wg::milliseconds(1));
    }
    BOOST_TEST(p.net.count(message_type::initiation) <= 5u * (60u / 5 + 1));
}

BOOST_AUTO_TEST_SUITE_END()
