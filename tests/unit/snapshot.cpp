// SPDX-License-Identifier: BSL-1.0
// After a suspend of the host, and after a virtual machine was restored or cloned, nothing leaves that was sealed under
// a session of before.
#include "engine_node.hpp"

BOOST_AUTO_TEST_SUITE(snapshot)

using namespace wg_tests;
using wg::event_id;

namespace {

/// A detector whose generation the test sets.
struct scripted_detector {
    std::uint64_t number = 1;
    std::function<void()> at_query; ///< called before the generation is returned
    std::vector<wg::instant> looks;

    void look(wg::instant now) noexcept { looks.push_back(now); }
    std::uint64_t generation() noexcept {
        if (at_query) at_query();
        return number;
    }
};

struct guarded_policies : scripted_policies<marking_socket> {
    using snapshot_detector = scripted_detector;
};
static_assert(wg::policies_with_snapshot_detector<guarded_policies>);
static_assert(!wg::policies_with_snapshot_detector<scripted_policies<marking_socket>>);

// An engine that has no detector is not larger for it.
static_assert(std::is_empty_v<wg::session_guard<scripted_policies<marking_socket>>>);
static_assert(sizeof(wg::lane_shared<scripted_policies<marking_socket>>) < sizeof(wg::lane_shared<guarded_policies>));

/// As `basic_tunnel`, with a detector.
struct guarded_tunnel {
    world w;
    wg::endpoint where{wg::ip_address::v4(192, 0, 2, 1), 50001, 0};
    wg::ip_address v4 = inner_v4(1), v6 = inner_v6(1);
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    random_state random{noise(1), true, 0};
    std::vector<event_record> events;
    scripted_tun tun;
    marking_socket socket;
    wg::device<guarded_policies> device{virtual_clock{&w}, seeded_random{&random}, recording_observer{&events}};
    wg::engine<guarded_policies> engine{device, tun, socket};
    host b{w, 2};

    guarded_tunnel() {
        wg::copy(private_key.expose(), noise(0xe9).take(wg::key_bytes));
        wg::bundled::dh{}.dh_public(public_key, private_key);
        BOOST_TEST_REQUIRE(configure(change::private_key(private_key.expose()), change::listen_port(where.port)) ==
                           status::ok);
        add_peer(*this, b);
        add_peer(b, *this);
        BOOST_TEST_REQUIRE(engine.up() == status::ok);
    }
    template <class... Changes> status configure(Changes&&... changes) {
        change const list[] = {std::move(changes)...};
        return engine.configure(list);
    }
    scripted_detector& detector() { return engine.snapshot_detector(); }
    void restore() { ++detector().number; }
    status run() { return engine.run_once({true, true, 0}); }
    void settle() {
        for (unsigned round = 0;; ++round) {
            BOOST_TEST_REQUIRE(round < 1000u, "the ends never stop sending");
            BOOST_TEST_REQUIRE(run() == status::ok);
            b.poll();
            if (socket.sent.empty() && b.outbox.empty()) return;
            for (wire& out : std::exchange(socket.sent, {})) {
                out.from = where;
                b.receive(out);
            }
            while (!b.outbox.empty()) arrives(b.take_datagram());
        }
    }
    void arrives(wire what) { socket.inbox.push_back({std::move(what), 0, {}}); }
    void connect() {
        tun.from_host.push_back(ipv4(*this, b, 100));
        settle();
        BOOST_TEST_REQUIRE(b.received.size() == 1u);
        b.received.clear();
        events.clear();
        w.now = w.now + wg::seconds(1); // a peer takes no two initiations within 20 ms
    }
    std::size_t count(event_id id) const {
        return static_cast<std::size_t>(
            std::count_if(events.begin(), events.end(), [id](event_record const& e) { return e.id == id; }));
    }
    /// Sends a packet, and returns the datagrams that left.
    std::vector<wire> sent_for_packet(std::uint64_t stamp) {
        tun.from_host.push_back(ipv4(*this, b, 120, stamp));
        BOOST_TEST(run() == status::ok);
        return std::exchange(socket.sent, {});
    }
};

bool only_initiations(std::vector<wire> const& sent) {
    return std::all_of(sent.begin(), sent.end(),
                       [](wire const& out) { return out.type() == wg::message_type::initiation; });
}

/// A host with a session with another one.
struct device_pair {
    world w;
    host a{w, 1}, b{w, 2};
    network net{w, {&a, &b}};
    device_pair() {
        introduce(a, b);
        a.send(ipv4(a, b, 100));
        net.settle();
        BOOST_TEST_REQUIRE(b.received.size() == 1u);
        a.outbox.clear();
        a.events.clear();
        w.now = w.now + wg::seconds(1); // a peer takes no two initiations within 20 ms
    }
};

} // namespace

// --- the device

//= wp 5.4.6: a nonce is used once
BOOST_AUTO_TEST_CASE(after_the_drop_a_packet_begins_a_handshake_and_is_not_sent_under_the_old_keys) {
    device_pair p;
    p.a.device.drop_sessions();
    BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100, 9)) == status::staged);
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 1u);
    BOOST_TEST(p.a.outbox[0].type() == wg::message_type::initiation);
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 2u);
    BOOST_TEST((p.b.received[1] == ipv4(p.a, p.b, 100, 9)));
}

BOOST_AUTO_TEST_CASE(the_drop_tells_how_many_sessions_ended) {
    device_pair p;
    p.a.device.drop_sessions();
    BOOST_TEST_REQUIRE(p.a.events.size() == 1u);
    BOOST_TEST(p.a.events[0].id == event_id::sessions_dropped);
    BOOST_TEST(p.a.events[0].peer == wg::no_peer_number);
    BOOST_TEST(p.a.events[0].value == 1u);
    p.a.device.drop_sessions();
    BOOST_TEST(p.a.events[1].value == 0u);
}

//= linux: a host that resumes from a suspend has no sessions; nor has a restored virtual machine
BOOST_AUTO_TEST_CASE(datagrams_of_a_dropped_session_are_not_accepted) {
    device_pair p;
    p.b.send(ipv4(p.b, p.a, 100));
    wire const late = p.b.take_datagram();
    p.a.device.drop_sessions();
    BOOST_TEST(p.a.receive(late) == status::unknown_index);
    BOOST_TEST(p.a.received.empty());
    BOOST_TEST(p.a.outbox.empty());
}

BOOST_AUTO_TEST_CASE(timers_of_dropped_sessions_are_dead) {
    device_pair p;
    p.a.send(ipv4(p.a, p.b, 100)); // the timer that expects an answer runs
    p.a.outbox.clear();
    p.a.device.drop_sessions();
    BOOST_TEST(p.a.device.next_deadline() > p.w.now);
    for (int i = 0; i < 60; ++i) {
        p.w.now = p.w.now + wg::seconds(10);
        p.a.device.on_deadline(p.w.now);
        p.a.poll();
    }
    BOOST_TEST(p.a.outbox.empty());
}

BOOST_AUTO_TEST_CASE(staged_packets_stay_and_begin_a_new_handshake) {
    device_pair p;
    p.a.device.drop_sessions();
    p.a.send(ipv4(p.a, p.b, 100, 5));
    p.a.send(ipv4(p.a, p.b, 100, 6));
    wire const lost = p.a.take_datagram(); // the initiation of before the second drop
    p.a.device.drop_sessions();
    BOOST_TEST(p.a.device.next_deadline() == wg::instant{});
    p.a.poll();
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 1u);
    BOOST_TEST(p.a.outbox[0].type() == wg::message_type::initiation);
    BOOST_TEST(p.a.outbox[0].sender() != lost.sender());
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 3u);
    BOOST_TEST((p.b.received[1] == ipv4(p.a, p.b, 100, 5)));
    BOOST_TEST((p.b.received[2] == ipv4(p.a, p.b, 100, 6)));
}

BOOST_AUTO_TEST_CASE(a_handshake_that_the_drop_ended_is_not_completed) {
    device_pair p;
    p.a.device.drop_sessions();
    p.a.send(ipv4(p.a, p.b, 100, 5));
    p.b.receive(p.a.take_datagram());
    wire const response = p.b.take_datagram();
    BOOST_TEST_REQUIRE(response.type() == wg::message_type::response);
    p.a.device.drop_sessions();
    p.a.outbox.clear();
    BOOST_TEST(p.a.take(response) == status::queued);
    p.a.poll(); // the initiation of the staged packet, and nothing under the keys of the response
    BOOST_TEST(p.a.device.counter(status::unknown_index) == 1u);
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 1u);
    BOOST_TEST(p.a.outbox[0].type() == wg::message_type::initiation);
}

BOOST_AUTO_TEST_CASE(a_peer_with_persistent_keepalive_gets_a_handshake_at_once) {
    device_pair p;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.a.poll();
    p.a.outbox.clear();
    p.a.device.drop_sessions();
    p.a.poll();
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 1u);
    BOOST_TEST(p.a.outbox[0].type() == wg::message_type::initiation);
    p.net.settle();
    BOOST_TEST(p.b.device.counter(status::keepalive) != 0u);
    p.net.log.clear();
    p.net.advance(wg::seconds(60)); // the interval counts on in the new session
    auto const keepalives = std::count_if(p.net.log.begin(), p.net.log.end(),
                                          [&](wire const& w) { return w.is_keepalive() && w.from == p.a.where; });
    BOOST_TEST(keepalives >= 2);
}

BOOST_AUTO_TEST_CASE(a_clock_that_went_back_does_not_delay_the_new_handshake) {
    device_pair p;
    p.w.now = p.w.now - wg::seconds(900); // the snapshot is 15 minutes old
    p.w.wall_offset = p.w.wall_offset + wg::seconds(900);
    p.a.device.drop_sessions();
    p.b.device.drop_sessions();
    p.a.send(ipv4(p.a, p.b, 100, 9));
    BOOST_TEST_REQUIRE(p.a.outbox.size() == 1u);
    BOOST_TEST(p.a.outbox[0].type() == wg::message_type::initiation);
    p.w.wall_offset = p.w.wall_offset + wg::seconds(1);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 2u);
    p.a.send(ipv4(p.a, p.b, 100, 10));
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 3u);
}

BOOST_AUTO_TEST_CASE(a_device_that_is_down_sends_nothing_after_the_drop) {
    device_pair p;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::persistent_keepalive(25)) == status::ok);
    p.a.device.down(p.w.now);
    p.a.outbox.clear();
    p.a.device.drop_sessions();
    p.a.poll();
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.device.next_deadline() > p.w.now);
}

BOOST_AUTO_TEST_CASE(a_device_with_linear_tables_drops_its_sessions_too) {
    world w;
    basic_host<static_policies> a(w, 1);
    host b(w, 2);
    introduce(a, b);
    auto const pass = [&] {
        for (int i = 0; i < 6; ++i) {
            while (!a.outbox.empty()) b.receive(a.take_datagram());
            while (!b.outbox.empty()) a.receive(b.take_datagram());
        }
    };
    a.send(ipv4(a, b, 100));
    pass();
    BOOST_TEST(b.received.size() == 1u);
    w.now = w.now + wg::seconds(1);
    a.device.drop_sessions();
    a.send(ipv4(a, b, 100));
    BOOST_TEST_REQUIRE(a.outbox.size() == 1u);
    BOOST_TEST(a.outbox[0].type() == wg::message_type::initiation);
    pass();
    BOOST_TEST(b.received.size() == 2u);
}

BOOST_AUTO_TEST_CASE(keys_of_a_job_in_flight_stay_until_it_is_completed_and_its_message_is_withheld) {
    device_pair p;
    auto const flight = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.crypt(*flight);
    BOOST_TEST(flight->job.next == wg::disposition::send);
    p.a.device.drop_sessions();
    p.a.device.withhold({&flight->job, 1});
    BOOST_TEST(flight->job.next == wg::disposition::drop);
    BOOST_TEST(p.a.complete(*flight) == status::session_dropped);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.device.counter(status::session_dropped) == 1u);
    BOOST_TEST(p.a.device.next_deadline() > p.w.now); // no timer began
}

// --- the engine

BOOST_AUTO_TEST_CASE(an_engine_drops_sessions_before_a_step_sends_anything) {
    guarded_tunnel t;
    t.connect();
    t.restore();
    auto const sent = t.sent_for_packet(3);
    BOOST_TEST(sent.size() == 1u);
    BOOST_TEST(only_initiations(sent));
    BOOST_TEST(t.count(event_id::sessions_dropped) == 1u);
    for (wire out : sent) {
        out.from = t.where;
        t.b.receive(out);
    }
    while (!t.b.outbox.empty()) t.arrives(t.b.take_datagram());
    t.settle();
    BOOST_TEST_REQUIRE(t.b.received.size() == 1u);
    BOOST_TEST((t.b.received[0] == ipv4(t, t.b, 120, 3)));
    BOOST_TEST(t.count(event_id::sessions_dropped) == 1u);
}

BOOST_AUTO_TEST_CASE(the_detector_looks_at_each_step_with_the_time) {
    guarded_tunnel t;
    t.detector().looks.clear();
    BOOST_TEST(t.run() == status::ok);
    t.w.now = t.w.now + wg::seconds(5);
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST_REQUIRE(t.detector().looks.size() == 2u);
    BOOST_TEST(t.detector().looks[1] == t.w.now);
}

// The snapshot is taken anywhere in a step: whatever the next query finds changed, nothing of before is sent.
BOOST_AUTO_TEST_CASE(a_restore_at_any_query_of_a_step_lets_nothing_old_leave) {
    unsigned queries = 0;
    for (unsigned at = 1;; ++at) {
        guarded_tunnel t;
        t.connect();
        unsigned seen = 0;
        std::size_t sent_before = 0;
        t.detector().at_query = [&] {
            if (++seen != at) return;
            ++t.detector().number;
            sent_before = t.socket.sent.size();
        };
        t.arrives([&] {
            BOOST_TEST_REQUIRE(t.b.send(ipv4(t.b, t, 100)) == status::ok);
            return t.b.take_datagram();
        }());
        for (std::uint64_t i = 0; i < 3; ++i) t.tun.from_host.push_back(ipv4(t, t.b, 120, i));
        BOOST_TEST(t.run() == status::ok);
        if (seen < at) {
            BOOST_TEST(t.count(event_id::sessions_dropped) == 0u);
            break;
        }
        t.detector().at_query = nullptr;
        queries = at;
        BOOST_TEST_CONTEXT("query " << at) {
            std::vector<wire> const after(t.socket.sent.begin() + static_cast<std::ptrdiff_t>(sent_before),
                                          t.socket.sent.end());
            BOOST_TEST(only_initiations(after));
            BOOST_TEST(t.count(event_id::sessions_dropped) == 1u);
        }
        t.socket.sent.clear();
        t.w.now = t.w.now + wg::rekey_timeout + wg::seconds(1); // an initiation that was lost is repeated
        t.b.received.clear();
        t.tun.from_host.push_back(ipv4(t, t.b, 120, 77)); // the tunnel works again
        t.settle();
        BOOST_TEST(!t.b.received.empty());
        BOOST_TEST((t.b.received.back() == ipv4(t, t.b, 120, 77)));
    }
    BOOST_TEST(queries >= 3u); // at the begin of the step, before opening, before sending
}

BOOST_AUTO_TEST_CASE(a_replayed_datagram_is_not_accepted_by_the_restored_machine) {
    guarded_tunnel t;
    t.connect();
    BOOST_TEST_REQUIRE(t.b.send(ipv4(t.b, t, 100)) == status::ok);
    wire const recorded = t.b.take_datagram(); // the replay window of the snapshot does not know it
    unsigned seen = 0;
    t.detector().at_query = [&] {
        if (++seen == 2) ++t.detector().number; // between the begin of the step and the receive
    };
    t.arrives(recorded);
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST(t.tun.to_host.empty());
    BOOST_TEST(t.device.counter(status::unknown_index) == 1u);
}

BOOST_AUTO_TEST_CASE(withheld_messages_are_counted) {
    guarded_tunnel t;
    t.connect();
    unsigned seen = 0;
    t.detector().at_query = [&] {
        if (++seen == 2) ++t.detector().number; // between sealing and sending, as nothing is received
    };
    for (std::uint64_t i = 0; i < 3; ++i) t.tun.from_host.push_back(ipv4(t, t.b, 120, i));
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST(t.device.counter(status::session_dropped) == 3u);
    BOOST_TEST(t.socket.sent.empty());
}

BOOST_AUTO_TEST_CASE(a_wake_up_during_a_handshake_begins_it_anew) {
    guarded_tunnel t;
    auto const first = t.sent_for_packet(1);
    BOOST_TEST_REQUIRE(first.size() == 1u);
    wire out = first[0];
    out.from = t.where;
    t.b.receive(out);
    t.restore();
    while (!t.b.outbox.empty()) t.arrives(t.b.take_datagram()); // the response to the handshake of before
    t.w.now = t.w.now + wg::seconds(1);
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST(t.socket.sent.size() == 1u);
    BOOST_TEST(only_initiations(t.socket.sent));
    BOOST_TEST(t.device.counter(status::unknown_index) == 1u);
    t.settle();
    BOOST_TEST_REQUIRE(t.b.received.size() == 1u);
    BOOST_TEST((t.b.received[0] == ipv4(t, t.b, 120, 1)));
}

BOOST_AUTO_TEST_CASE(timers_that_are_overdue_at_the_wake_up_send_nothing) {
    guarded_tunnel t;
    t.connect();
    (void)t.sent_for_packet(2); // an answer is expected within 15 s
    t.w.now = t.w.now + wg::seconds(60);
    t.restore();
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST(t.socket.sent.empty());
    BOOST_TEST(t.engine.next_deadline() == wg::instant::never());
}

BOOST_AUTO_TEST_CASE(persistent_keepalive_goes_on_after_the_wake_up) {
    guarded_tunnel t;
    t.connect();
    BOOST_TEST(t.configure(change::peer(t.b.public_key), change::persistent_keepalive(25)) == status::ok);
    t.settle();
    t.w.now = t.w.now + wg::seconds(3600);
    t.restore();
    BOOST_TEST(t.run() == status::ok);
    BOOST_TEST(t.socket.sent.size() == 1u);
    BOOST_TEST(only_initiations(t.socket.sent));
    t.settle();
    BOOST_TEST(t.engine.next_deadline() <= t.w.now + wg::seconds(25));
}

// A worker's lane that is made after the restore, and before the engine has noticed it, must not use old sessions.
BOOST_AUTO_TEST_CASE(a_new_lane_notices_a_restore_before_its_creation) {
    guarded_tunnel t;
    t.connect();
    t.restore();
    wg::lane<guarded_policies> second(t.engine.shared(), t.tun, t.socket);
    BOOST_TEST(second.make_room(1420) == status::ok);
    t.tun.from_host.push_back(ipv4(t, t.b, 120, 3));
    second.look_for_snapshot();
    BOOST_TEST(second.step(true, true) == status::ok);
    BOOST_TEST(t.socket.sent.size() == 1u);
    BOOST_TEST(only_initiations(t.socket.sent));
    t.settle(); // the engine's lane notices the same restore, and drops nothing again
    BOOST_TEST(t.count(event_id::sessions_dropped) == 1u);
    BOOST_TEST(t.b.received.size() == 1u);
}

BOOST_AUTO_TEST_CASE(each_restore_ends_the_sessions_once) {
    guarded_tunnel t;
    for (unsigned i = 1; i <= 3; ++i) {
        t.w.now = t.w.now + wg::seconds(1);
        t.tun.from_host.push_back(ipv4(t, t.b, 120, i));
        t.settle();
        BOOST_TEST(t.b.received.size() == i);
        t.restore();
        for (int step = 0; step < 3; ++step) BOOST_TEST(t.run() == status::ok);
        BOOST_TEST(t.count(event_id::sessions_dropped) == i);
    }
}

BOOST_AUTO_TEST_SUITE_END()
