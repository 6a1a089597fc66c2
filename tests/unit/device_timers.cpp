// SPDX-License-Identifier: BSL-1.0
// What a device does because time has passed, to the nanosecond of a virtual clock.
#include "fixture.hpp"

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

bool is_initiation(wire const& w) { return w.type() == message_type::initiation; }
bool is_keepalive(wire const& w) { return w.is_keepalive(); }

/// When, after `since`, those datagrams of the log left that satisfy `which`.
template <class Predicate> std::vector<std::int64_t> times(pair const& p, wg::instant since, Predicate which) {
    std::vector<std::int64_t> out;
    for (wire const& w : p.net.log)
        if (which(w)) out.push_back((w.at - since).nanoseconds);
    return out;
}
constexpr std::int64_t second = 1'000'000'000;

/// A session without a timer that runs but the one that zeroes the keys.
struct idle_pair : pair {
    idle_pair() {
        connect();
        net.advance(wg::seconds(30));
        clear_logs();
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(device_timers)

//= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
BOOST_AUTO_TEST_CASE(passive_keepalive_comes_10_s_after_the_first_unanswered_packet) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(4));
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(36));
    // one for both: when it leaves, all that came in before is answered
    BOOST_TEST((times(p, start, is_keepalive) == std::vector{10 * second}));
    BOOST_TEST((p.net.log.back().from == p.b.where));
}

//= linux: whatever is sent takes the place of the passive keepalive
BOOST_AUTO_TEST_CASE(an_answer_takes_the_place_of_the_keepalive) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(9));
    BOOST_TEST(p.passes(p.b, p.a)); // so that a owes one now
    p.net.advance(wg::seconds(30));
    BOOST_TEST((times(p, start, is_keepalive) == std::vector{19 * second}));
}

/// Measured from the last packet sent, it would leave at once.
//= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
BOOST_AUTO_TEST_CASE(passive_keepalive_is_not_measured_from_the_last_packet_sent) {
    idle_pair p;
    p.net.advance(wg::seconds(30)); // b has not sent for long
    BOOST_TEST(p.passes(p.a, p.b));
    p.net.advance(wg::seconds(10) - wg::duration{1});
    BOOST_TEST(p.net.count(is_keepalive) == 0u);
    p.net.advance(wg::duration{1});
    BOOST_TEST(p.net.count(is_keepalive) == 1u);
}

//= wp 6.5: a keepalive is no data: it is not answered
BOOST_AUTO_TEST_CASE(idle_peers_are_silent_for_an_hour) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(3600));
    BOOST_TEST(p.net.log.size() == 1u); // the keepalive that answers the first packet
}

//= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
BOOST_AUTO_TEST_CASE(a_silent_peer_is_shaken_15_s_after_the_first_unanswered_packet) {
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
    BOOST_TEST((first.front() != first.back())); // it is a jitter
}

/// Measured from the last packet received, an answer long ago would count as silence.
//= linux: the wait for an answer counts from the first data without one
BOOST_AUTO_TEST_CASE(a_silent_peer_is_not_measured_from_the_last_packet_received) {
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

//= linux: any authenticated packet is the answer that was waited for
BOOST_AUTO_TEST_CASE(any_authenticated_packet_is_a_sign_of_life) {
    idle_pair p;
    wg::instant const start = p.w.now;
    for (int i = 0; i < 20; ++i) { // b answers by passive keepalives only
        BOOST_TEST(p.passes(p.a, p.b));
        p.net.advance(wg::seconds(4));
    }
    BOOST_TEST(times(p, start, is_initiation).empty());
}

//= wp 6.5: a keepalive is no data: it is not answered
BOOST_AUTO_TEST_CASE(an_unanswered_keepalive_shakes_nobody) {
    idle_pair p;
    p.net.intercept = [&](wire const& w) { return w.from == p.a.where; }; // b is not heard
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
BOOST_AUTO_TEST_CASE(initiations_are_repeated_for_90_s_and_then_given_up) {
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
    // each is a new one
    for (std::size_t i = 1; i < p.net.log.size(); ++i) {
        BOOST_TEST(p.net.log[i].sender() != p.net.log[i - 1].sender());
        BOOST_TEST(!std::equal(p.net.log[i].data.begin() + 8, p.net.log[i].data.begin() + 40,
                               p.net.log[i - 1].data.begin() + 8));
    }
}

//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(after_giving_up_the_next_packet_begins_anew) {
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
BOOST_AUTO_TEST_CASE(giving_up_zeroes_keys_after_540_s) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(95)); // given up between 100 s and 106.7 s
    BOOST_TEST(p.a.count(wg::event_id::handshake_given_up) == 0u);
    p.net.advance(wg::seconds(12));
    BOOST_TEST(p.a.count(wg::event_id::handshake_given_up) == 1u);
    p.net.advance(wg::seconds(527));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 0u);
    p.net.advance(wg::seconds(14));
    BOOST_TEST(p.a.count(wg::event_id::keys_zeroed) == 1u);
    BOOST_TEST((p.a.device.next_deadline() == wg::instant::never()));
}

/// Traffic that goes on while the other end is away must not be needed to find it again, nor may it hinder that.
//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(traffic_flows_again_after_an_outage_of_any_length) {
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
        p.net.advance(wg::seconds(6)); // what came through may have been the old session's last packet
        BOOST_TEST(p.passes(p.a, p.b), outage_s << " s");
        BOOST_TEST(p.passes(p.b, p.a), outage_s << " s");
    }
}

/// The other end lost its memory: it has no session and does not know that it had one.
//= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
BOOST_AUTO_TEST_CASE(a_peer_that_starts_anew_is_found_again) {
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

#ifndef WG_BARE // which has no local sources
//= linux: a repetition forgets the source address, which may be what is dead
BOOST_AUTO_TEST_CASE(retransmission_forgets_the_local_source) {
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
BOOST_AUTO_TEST_CASE(persistent_keepalive_is_sent_at_its_interval_and_at_once_when_enabled) {
    idle_pair p;
    wg::instant const start = p.w.now;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.net.advance(wg::seconds(89));
    BOOST_TEST((times(p, start, is_keepalive) == std::vector<std::int64_t>{0, 25 * second, 50 * second, 75 * second}));
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(20)) == status::ok); // not anew
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
    BOOST_TEST(p.net.count(is_keepalive) == 5u); // which confirms the new session
}

//= linux: persistent keepalive counts from the last packet in either direction
BOOST_AUTO_TEST_CASE(persistent_keepalive_is_not_sent_while_traffic_flows) {
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
        } else { // what answers what came in after 10 s, and nothing more
            for (std::int64_t const at : times(p, start, from_a)) BOOST_TEST(at % (4 * second) == 2 * second);
        }
    }
}

//= linux: giving up drops what waits; the next packet is a new beginning
BOOST_AUTO_TEST_CASE(persistent_keepalive_finds_a_peer_that_comes_back_late) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.net.advance(wg::seconds(1000));
    p.net.intercept = {};
    p.net.advance(wg::seconds(31));
    BOOST_TEST(p.b.count(wg::event_id::session_started) == 1u);
}

BOOST_AUTO_TEST_CASE(persistent_keepalive_of_a_peer_without_endpoint_waits_for_one) {
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
BOOST_AUTO_TEST_CASE(sessions_are_renewed_for_as_long_as_there_is_traffic) {
    pair p;
    p.connect();
    for (int s = 0; s < 1000; ++s) {
        p.net.advance(wg::seconds(1));
        BOOST_TEST(p.passes(p.a, p.b));
        BOOST_TEST(p.passes(p.b, p.a));
    }
    BOOST_TEST(p.net.count(is_initiation) == 8u); // every 120 s
    BOOST_TEST(p.b.count(wg::event_id::initiation_sent) == 0u);
    BOOST_TEST(p.net.count(is_keepalive) == 8u); // which confirm
}

/// A wake-up is never missed: the deadline is where the work is.
//= linux: timers have the resolution of the clock, not of a tick
BOOST_AUTO_TEST_CASE(the_next_deadline_is_never_later_than_the_work) {
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

// --- a host that slept

/// The host slept past the end of all keys, and a packet came before anybody looked at the timers.
BOOST_AUTO_TEST_CASE(a_packet_after_a_long_sleep_begins_a_handshake_that_the_overdue_timer_does_not_end) {
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

BOOST_AUTO_TEST_CASE(a_new_endpoint_gets_an_initiation_at_once_while_one_is_being_retried) {
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

/// A session lives while a new one is asked for at the old endpoint.
BOOST_AUTO_TEST_CASE(a_new_endpoint_gets_the_initiation_of_a_rekey_at_once) {
    pair p;
    p.connect();
    p.net.advance(wg::seconds(121));
    p.net.intercept = [](wire const& w) { return w.type() != message_type::initiation; };
    BOOST_TEST(p.passes(p.a, p.b)); // and renews
    p.net.advance(wg::seconds(1));
    p.net.intercept = {};
    p.net.log.clear();
    p.b.where.port = 4444;
    BOOST_TEST(set_endpoint(p, p.b.where) == status::ok);
    p.net.settle();
    BOOST_TEST(p.net.count(message_type::initiation) == 1u);
    BOOST_TEST(p.net.count(message_type::response) == 1u);
}

BOOST_AUTO_TEST_CASE(the_same_endpoint_again_and_a_peer_without_initiation_under_way_change_nothing) {
    pair p;
    p.net.intercept = [](wire const&) { return false; };
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(wg::seconds(2));
    BOOST_TEST(set_endpoint(p, p.b.where) == status::ok); // it has this one
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
BOOST_AUTO_TEST_CASE(endpoints_that_change_to_and_fro_make_no_flood) {
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
