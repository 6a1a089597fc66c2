// SPDX-License-Identifier: BSL-1.0
// The engine: up and down, and changes of the configuration.
#include "engine_node.hpp"

BOOST_AUTO_TEST_SUITE(engine)

using namespace wg_tests;

BOOST_AUTO_TEST_CASE(moves_packets_both_ways) {
    tunnel l;
    l.connect();
    BOOST_TEST(l.passes());
    l.b.send(ipv6(l.b, l.a, 1420, 3));
    l.settle();
    BOOST_TEST_REQUIRE(l.a.tun.to_host.size() == 1u);
    BOOST_TEST((l.a.tun.to_host[0] == ipv6(l.b, l.a, 1420, 3)));
}

// --- up and down

BOOST_AUTO_TEST_CASE(port_in_use_leaves_interface_down_until_a_later_up) {
    tunnel l;
    l.a.engine.down();
    l.a.socket.taken = {l.a.where.port};
    BOOST_TEST(l.a.engine.up() == status::address_in_use);
    BOOST_TEST(!l.a.engine.is_up());
    BOOST_TEST(!l.a.device.is_up());
    BOOST_TEST(l.a.engine.next_deadline() == wg::instant::never());
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.empty());
    l.a.socket.taken = {};
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.engine.is_up());
    BOOST_TEST(l.a.socket.port == l.a.where.port); // the configured port
    l.connect();
}

BOOST_AUTO_TEST_CASE(after_a_failed_up_a_taken_port_is_refused_and_a_free_port_brings_interface_up) {
    tunnel l;
    l.a.engine.down();
    l.a.socket.taken = {l.a.where.port, 50077};
    BOOST_TEST(l.a.engine.up() == status::address_in_use);
    auto const before = l.a.snapshot();
    BOOST_TEST(l.a.configure(change::listen_port(50077), change::fwmark(9)) == status::address_in_use);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.configure(change::fwmark(9)) == status::ok); // other changes take effect at once
    BOOST_TEST(!l.a.engine.is_up());
    BOOST_TEST(l.a.configure(change::listen_port(50078)) == status::ok);
    BOOST_TEST(l.a.engine.is_up());
    BOOST_TEST(l.a.socket.port == 50078);
    l.a.where.port = 50078;
    l.connect();
    l.a.engine.down(); // `down` ends the wait for a free port
    BOOST_TEST(l.a.configure(change::listen_port(50079)) == status::ok);
    BOOST_TEST(!l.a.engine.is_up());
    BOOST_TEST(l.a.socket.port == 0);
}

BOOST_AUTO_TEST_CASE(second_up_does_not_open_socket_again) {
    tunnel l;
    std::size_t const opens = l.a.socket.opens;
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.socket.opens == opens);
}

BOOST_AUTO_TEST_CASE(reports_the_port_that_the_socket_chose) {
    tunnel l;
    BOOST_TEST(l.a.configure(change::listen_port(0)) == status::ok);
    BOOST_TEST(l.a.device.listen_port() == 40000);
}

//= linux: an interface that is down has no socket
BOOST_AUTO_TEST_CASE(reads_nothing_from_the_socket_when_down) {
    tunnel l;
    l.a.engine.down();
    BOOST_TEST(l.a.socket.port == 0);
    std::size_t const receives = l.a.socket.receives;
    l.a.arrives(l.forged(1));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.receives == receives);
    BOOST_TEST(l.a.socket.sent.empty());
}

BOOST_AUTO_TEST_CASE(drops_packets_of_the_host_when_down) {
    tunnel l;
    l.connect();
    l.a.engine.down();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.from_host.empty());
    BOOST_TEST(l.a.device.counter(status::device_down) == 1u);
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.empty());
}

//= linux: an interface that goes down forgets its sessions and sends nothing more
BOOST_AUTO_TEST_CASE(down_ends_sessions) {
    tunnel l;
    l.connect();
    wire const late = l.from_b(100);
    l.a.engine.down();
    BOOST_TEST(l.a.engine.up() == status::ok);
    l.a.arrives(late);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.to_host.empty());
    BOOST_TEST(l.a.device.counter(status::unknown_index) == 1u);
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST_REQUIRE(l.a.socket.sent.size() == 1u);
    BOOST_TEST((l.a.socket.sent[0].type() == wg::message_type::initiation));
}

BOOST_AUTO_TEST_CASE(destructor_takes_interface_down) {
    world w;
    basic_node<> a(w);
    {
        wg::engine<basic_node<>::policies> other(a.device, a.tun, a.socket);
        BOOST_TEST(other.up() == status::ok);
        BOOST_TEST(a.device.is_up());
    }
    BOOST_TEST(!a.device.is_up());
    BOOST_TEST(a.socket.port == 0);
}

BOOST_AUTO_TEST_CASE(reports_that_the_tun_device_was_removed) {
    tunnel l;
    l.a.tun.read_fails = status::gone;
    BOOST_TEST(l.a.run() == status::gone);
}

BOOST_AUTO_TEST_CASE(reads_again_after_other_errors_of_the_tun_device) {
    tunnel l;
    l.a.tun.read_fails = status::io_error;
    BOOST_TEST(l.a.run() == status::ok);
    l.a.tun.read_fails = status::ok;
    l.connect();
}

// --- configuration: all or nothing

BOOST_AUTO_TEST_CASE(port_in_use_changes_nothing) {
    tunnel l;
    l.connect();
    BOOST_TEST(l.a.configure(change::fwmark(5)) == status::ok);
    auto const before = l.a.snapshot();
    l.a.socket.taken = {600};
    host other(l.w, 3);
    BOOST_TEST(l.a.configure(change::fwmark(6), change::listen_port(600), change::replace_peers(),
                             change::peer(other.public_key)) == status::address_in_use);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.socket.mark == 5u);
    BOOST_TEST(l.a.socket.port == l.a.where.port);
    BOOST_TEST(l.a.device.listen_port() == l.a.where.port);
    BOOST_TEST(l.passes());
}

BOOST_AUTO_TEST_CASE(fwmark_without_permission_changes_nothing) {
    tunnel l;
    auto const before = l.a.snapshot();
    l.a.socket.may_mark = false;
    BOOST_TEST(l.a.configure(change::listen_port(600), change::fwmark(6)) == status::no_permission);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.socket.port == l.a.where.port);
}

BOOST_AUTO_TEST_CASE(changes_that_the_device_refuses_do_not_reach_the_socket) {
    tunnel l;
    std::size_t const opens = l.a.socket.opens;
    BOOST_TEST(l.a.configure(change::listen_port(600), change::fwmark(6), change::endpoint(l.b.where)) ==
               status::invalid);
    BOOST_TEST(l.a.socket.opens == opens);
    BOOST_TEST(l.a.socket.mark == 0u);
}

BOOST_AUTO_TEST_CASE(socket_without_set_fwmark_accepts_only_mark_zero) {
    basic_tunnel<plain_socket> l;
    auto const before = l.a.snapshot();
    BOOST_TEST(l.a.configure(change::fwmark(6), change::replace_peers()) == status::not_supported);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.configure(change::fwmark(0)) == status::ok);
}

BOOST_AUTO_TEST_CASE(up_opens_the_port_that_was_set_while_down) {
    tunnel l;
    l.a.engine.down();
    BOOST_TEST(l.a.configure(change::listen_port(600)) == status::ok);
    BOOST_TEST(l.a.socket.port == 0);
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.socket.port == 600);
}

// The host was suspended for ten minutes, and a packet is waiting when it resumes.
BOOST_AUTO_TEST_CASE(overdue_timers_run_before_packets) {
    tunnel t;
    t.connect();
    t.w.now = t.w.now + wg::seconds(30);
    t.settle();
    t.a.events.clear();
    t.w.now = t.w.now + wg::seconds(600);
    t.a.tun.from_host.push_back(ipv4(t.a, t.b, 100));
    BOOST_TEST(t.a.run() == status::ok);
    std::vector<wg::event_id> order;
    for (event_record const& e : t.a.events)
        if (e.id == wg::event_id::keys_zeroed || e.id == wg::event_id::initiation_sent) order.push_back(e.id);
    BOOST_TEST((order == std::vector{wg::event_id::keys_zeroed, wg::event_id::initiation_sent}));
    t.b.tick();
    t.settle();
    BOOST_TEST(t.b.received.size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
