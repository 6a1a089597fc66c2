// SPDX-License-Identifier: BSL-1.0
// How packets get from one end of an interface to the other, and how much a step does.
#include "engine_node.hpp"

using namespace wg_tests;

BOOST_AUTO_TEST_SUITE(engine_lane)

// --- datagrams

BOOST_AUTO_TEST_CASE(joined_datagrams_are_split) {
    tunnel l;
    l.connect();
    std::vector<wire> parts;
    std::vector<buffer> inner;
    for (unsigned i = 0; i < 5; ++i) {
        std::size_t const size = i < 4 ? 100 : 40; // the last one is shorter
        parts.push_back(l.from_b(size, i, 2));
        inner.push_back(ipv4(l.b, l.a, size, i, 3));
    }
    wire all = join(parts);
    all.tos = 3; // is said of all of them
    l.a.arrives(all, parts[0].data.size());
    BOOST_TEST(l.a.run() == status::ok);
    l.a.arrives(l.from_b(200, 9)); // and not of the next
    BOOST_TEST(l.a.run() == status::ok);
    inner.push_back(ipv4(l.b, l.a, 200, 9));
    BOOST_TEST((l.a.tun.to_host == inner));
}

BOOST_AUTO_TEST_CASE(a_joined_datagram_of_one_segment_or_of_whole_segments_is_no_more_than_that) {
    tunnel l;
    l.connect();
    wire const one = l.from_b(100, 1), first = l.from_b(100, 2), second = l.from_b(100, 3);
    l.a.arrives(one, 2 * one.data.size());
    l.a.arrives(join({first, second}), first.data.size());
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.to_host.size() == 3u);
    BOOST_TEST(l.a.device.counter(status::malformed) == 0u);
}

BOOST_AUTO_TEST_CASE(more_datagrams_are_asked_for_only_as_more_come) {
    tunnel l;
    l.connect();
    std::size_t constexpr most = tunnel_lane::receive_batch;
    static_assert(most > 16);
    auto const asked = [&](std::size_t arriving) {
        for (std::size_t i = 0; i < arriving; ++i) l.a.arrives(l.from_b(100));
        BOOST_TEST(l.a.run(false, true) == status::ok);
        return l.a.socket.asked;
    };
    BOOST_TEST(asked(1) == 4u);
    BOOST_TEST(asked(4) == 4u);
    BOOST_TEST(asked(8) == 8u);
    BOOST_TEST(asked(16) == 16u);
    BOOST_TEST(asked(most) == std::min<std::size_t>(32, most));
    l.settle();
    (void)asked(2);
    BOOST_TEST(asked(2) == 4u);
}

BOOST_AUTO_TEST_CASE(more_segments_than_a_batch_keep_their_order) {
    tunnel l;
    l.connect();
    constexpr std::size_t batch = wg::engine<scripted_policies<marking_socket>>::batch;
    for (std::size_t const many : {batch - 1, batch, batch + 1, 2 * batch, 3 * batch + 7}) {
        std::vector<wire> parts;
        std::vector<buffer> inner;
        for (unsigned i = 0; i < many; ++i) {
            parts.push_back(l.from_b(60, i));
            inner.push_back(ipv4(l.b, l.a, 60, i));
        }
        l.a.tun.to_host.clear();
        l.a.arrives(join(parts), parts[0].data.size());
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST((l.a.tun.to_host == inner), many << " segments");
    }
}

BOOST_AUTO_TEST_CASE(an_empty_datagram_is_malformed_and_nothing_else) {
    tunnel l;
    l.connect();
    wire empty{{}, l.b.where, l.a.where, 0, {}};
    l.a.arrives(empty);
    l.a.arrives(l.from_b(100, 5));
    l.a.arrives(empty, 100);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.device.counter(status::malformed) == 2u);
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_socket_that_only_tells_of_failure_is_understood) {
    tunnel l;
    l.connect();
    std::uint64_t const before = l.a.sent_bytes();
    l.a.socket.blocked = 2;
    for (unsigned i = 0; i < 3; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i)); // the third is sent
    BOOST_TEST(l.a.run() == status::ok);
    for (unsigned i = 0; i < 3; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i)); // and all of these
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.size() == 4u);
    BOOST_TEST(l.a.sent_bytes() - before == 4 * (112 + wg::transport_overhead_bytes));
}

BOOST_AUTO_TEST_CASE(answers_leave_from_where_the_peer_sent_to_until_the_socket_says_that_it_is_gone) {
    tunnel l;
    l.connect();
    wg::local_source const here{wg::ip_address::v4(192, 0, 2, 77), 4};
    l.a.arrives(l.from_b(100), 0, here);
    l.settle();
    BOOST_TEST(l.passes(1));
    BOOST_TEST_REQUIRE(!l.a.socket.sent_from.empty());
    BOOST_TEST((l.a.socket.sent_from.back() == here));
    l.a.socket.forgets_source = true;
    BOOST_TEST(l.passes(2));
    l.a.socket.forgets_source = false;
    l.a.socket.sent_from.assign(1, here);
    BOOST_TEST(l.passes(3));
    BOOST_TEST((l.a.socket.sent_from.back() == wg::local_source{}));
    l.a.arrives(l.from_b(100), 0, here);
    l.settle();
    l.a.arrives(l.from_b(100)); // nothing is said of this one: it is not where the last one came to
    l.settle();
    BOOST_TEST(l.passes(4));
    BOOST_TEST((l.a.socket.sent_from.back() == wg::local_source{}));
}

// --- packets

BOOST_AUTO_TEST_CASE(a_greater_mtu_takes_greater_packets) {
    tunnel l;
    l.connect();
    l.a.tun.mtu_bytes = 9000;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    for (std::size_t const size : {9000u, 8999u, 1421u, 60u}) {
        l.b.received.clear();
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, size, size));
        l.settle();
        BOOST_TEST_REQUIRE(l.b.received.size() == 1u);
        BOOST_TEST((l.b.received[0] == ipv4(l.a, l.b, size, size)));
    }
    l.a.tun.mtu_bytes = 1280; // smaller again: what was read before may still be longer
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    BOOST_TEST(l.passes());
}

// The MTU was raised where the host does not tell of it.
BOOST_AUTO_TEST_CASE(a_packet_longer_than_the_mtu_is_lost_once_and_makes_room_for_the_next) {
    tunnel l;
    l.connect();
    auto const send = [&](std::size_t size) {
        l.b.received.clear();
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, size, size));
        l.settle();
        return l.b.received.size() == 1 && l.b.received[0] == ipv4(l.a, l.b, size, size);
    };
    for (std::size_t const size : {3001u, 9000u}) {
        std::uint64_t const lost = l.a.device.counter(status::not_ip);
        BOOST_TEST(!send(size));
        BOOST_TEST(l.a.device.counter(status::not_ip) == lost + 1); // counted
        BOOST_TEST(send(size));
        BOOST_TEST(send(size - 1)); // padding stays within the buffer
        BOOST_TEST(send(1000));
    }
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok); // what was learned is kept
    BOOST_TEST(send(9000));
}

BOOST_AUTO_TEST_CASE(a_packet_of_a_greater_mtu_may_wait_for_the_session) {
    tunnel l;
    l.a.tun.mtu_bytes = 9000;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 9000));
    l.settle();
    BOOST_TEST_REQUIRE(l.b.received.size() == 1u);
    BOOST_TEST((l.b.received[0] == ipv4(l.a, l.b, 9000)));
}

BOOST_AUTO_TEST_CASE(a_tun_device_that_does_not_know_its_mtu_has_the_usual_one) {
    tunnel l;
    l.a.tun.mtu_bytes = 0;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.connect();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, wg::default_mtu_bytes));
    l.settle();
    BOOST_TEST(l.b.received.size() == 1u);
}

BOOST_AUTO_TEST_CASE(the_host_is_told_what_cannot_be_reached) {
    tunnel l;
    l.connect();
    std::size_t const sizes[] = {40, 1420}; // the longest leaves least room for the answer
    for (std::size_t const size : sizes) {
        l.w.now = l.w.now + wg::seconds(1);
        l.a.tun.to_host.clear();
        l.a.tun.from_host.push_back(inner_packet(l.a.v4, inner_v4(99), size));
        l.a.tun.from_host.push_back(inner_packet(l.a.v6, inner_v6(99), std::max<std::size_t>(size, 60)));
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST_REQUIRE(l.a.tun.to_host.size() == 2u);
        BOOST_TEST(+l.a.tun.to_host[0][9] == 1);  // ICMP
        BOOST_TEST(+l.a.tun.to_host[0][20] == 3); // destination unreachable
        BOOST_TEST(+l.a.tun.to_host[1][6] == 58); // ICMPv6
        BOOST_TEST(+l.a.tun.to_host[1][40] == 1); // destination unreachable
        BOOST_TEST(l.a.socket.sent.size() == 1u);
        l.a.socket.sent.clear();
    }
}

// --- bounded work

BOOST_AUTO_TEST_CASE(a_flood_of_handshakes_does_not_starve_data) {
    tunnel l;
    l.connect();
    std::uint64_t stamp = 1000;
    l.a.socket.endless = [&] { return l.forged(++stamp); };
    l.a.arrives(l.from_b(100, 1));
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, 2));
    std::uint64_t const dh = counted_dh::calls;
    std::size_t const receives = l.a.socket.receives;
    BOOST_TEST(l.a.run() == status::ok); // and ends
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    BOOST_TEST(
        std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), [](wire const& s) { return s.is_data(); }) == 1);
    std::uint64_t const rounds = l.a.socket.receives - receives;
    BOOST_TEST(rounds <= 16u);
    // What a step costs: at most handshakes_at_once for what came from the socket and one for what came from the host.
    BOOST_TEST(counted_dh::calls - dh <= rounds * 2 * l.a.device.handshakes_at_once);
    BOOST_TEST(counted_dh::calls > dh);

    // As long as it lasts: data gets through in each step, in both directions.
    for (unsigned i = 0; i < 20; ++i) {
        l.a.tun.to_host.clear();
        l.a.socket.sent.clear();
        l.a.arrives(l.from_b(100, i));
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i));
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST(l.a.tun.to_host.size() == 1u);
        BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(),
                                 [](wire const& s) { return s.is_data(); }) == 1);
    }
}

BOOST_AUTO_TEST_CASE(a_flood_of_data_does_not_starve_handshakes_nor_the_other_direction) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 100);
    wire const replayed = l.from_b(100);
    l.a.socket.endless = [&] { return replayed; };
    host c(l.w, 3);
    add_peer(c, l.a);
    BOOST_TEST(l.a.configure(change::peer(c.public_key)) == status::ok);
    c.send(ipv4(c, l.a, 100));
    l.a.arrives(c.take_datagram());
    std::size_t const reads = l.a.tun.reads, receives = l.a.socket.receives;
    BOOST_TEST(l.a.run() == status::ok); // and ends
    BOOST_TEST(l.a.tun.reads - reads <= 16u);
    BOOST_TEST(l.a.socket.receives - receives <= 16u);
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    auto const is_response = [](wire const& s) { return s.type() == wg::message_type::response; };
    auto const is_data = [](wire const& s) { return s.is_data(); };
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_response) == 1);
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_data) > 0);
}

BOOST_AUTO_TEST_CASE(a_bulk_transfer_gives_way_while_lone_packets_come_often) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 100);
    auto const gives_way = [&](wg::duration later, unsigned sparse) {
        l.w.now = l.w.now + later;
        l.a.tun.sparse += sparse;
        unsigned const before = polite_threads::ways;
        BOOST_TEST(l.a.run() == status::ok);
        return polite_threads::ways != before;
    };
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 1)); // the first for long
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(gives_way(wg::milliseconds(20), 1));
    BOOST_TEST(gives_way(wg::milliseconds(49), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 1)); // again the first
    BOOST_TEST(!gives_way(wg::milliseconds(1000), 1));
    BOOST_TEST(gives_way(wg::milliseconds(5), 2));
    // One that is no bulk transfer has nothing to give way with.
    l.a.tun.endless.clear();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(!gives_way(wg::milliseconds(5), 1));
}

BOOST_AUTO_TEST_CASE(the_pace_is_that_of_both_directions_but_not_of_strangers) {
    tunnel l;
    l.connect();
    auto const looks_out = [&](auto one) { // at any of forty
        bool looks = false;
        for (unsigned i = 0; i < 40; ++i) {
            l.w.now = l.w.now + wg::milliseconds(1);
            one(i);
            l.settle(); // which finds nothing more after the packet
            looks |= l.a.engine.busy_poll() != wg::duration{};
        }
        l.w.now = l.w.now + wg::milliseconds(10);
        (void)l.passes(); // after a pause
        return looks;
    };
    BOOST_TEST(looks_out([&](unsigned) { l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100)); }));
    BOOST_TEST(looks_out([&](unsigned) { l.a.arrives(l.from_b(100)); }));
    BOOST_TEST(!looks_out([&](unsigned i) {
        wire junk = l.from_b(100, i);
        junk.data.back() ^= 1;
        l.a.arrives(std::move(junk));
        l.a.arrives(l.forged(i));
    }));
    BOOST_TEST(l.a.device.counter(status::decryption_failed) == 80u); // all were looked at
    // Nine at once are not a few, neither from the host nor as segments of a datagram.
    BOOST_TEST(!looks_out([&](unsigned) {
        for (int i = 0; i < 9; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    }));
    BOOST_TEST(!looks_out([&](unsigned) {
        std::vector<wire> nine;
        for (int i = 0; i < 9; ++i) nine.push_back(l.from_b(100));
        l.a.arrives(join(nine), nine[0].data.size());
    }));
}

BOOST_AUTO_TEST_CASE(timers_run_although_packets_never_cease) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 60);
    BOOST_TEST(l.a.run() == status::ok);
    l.a.socket.sent.clear();
    l.w.now = l.w.now + wg::seconds(16); // no answer came
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(),
                             [](wire const& s) { return s.type() == wg::message_type::initiation; }) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
