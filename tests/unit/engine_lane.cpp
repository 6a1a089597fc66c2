// SPDX-License-Identifier: BSL-1.0
// How packets pass from one end of an interface to the other, and how much a step does.
#include "engine_node.hpp"

BOOST_AUTO_TEST_SUITE(engine_lane)

using namespace wg_tests;

// --- datagrams

BOOST_AUTO_TEST_CASE(splits_joined_datagrams) {
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
    all.tos = 3; // of every segment
    l.a.arrives(all, parts[0].data.size());
    BOOST_TEST(l.a.run() == status::ok);
    l.a.arrives(l.from_b(200, 9)); // without a mark of its own
    BOOST_TEST(l.a.run() == status::ok);
    inner.push_back(ipv4(l.b, l.a, 200, 9));
    BOOST_TEST((l.a.tun.to_host == inner));
}

BOOST_AUTO_TEST_CASE(joined_datagram_of_whole_segments_has_no_further_segment) {
    tunnel l;
    l.connect();
    wire const one = l.from_b(100, 1), first = l.from_b(100, 2), second = l.from_b(100, 3);
    l.a.arrives(one, 2 * one.data.size());
    l.a.arrives(join({first, second}), first.data.size());
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.to_host.size() == 3u);
    BOOST_TEST(l.a.device.counter(status::malformed) == 0u);
}

BOOST_AUTO_TEST_CASE(receives_more_datagrams_only_as_more_arrive) {
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

BOOST_AUTO_TEST_CASE(counts_an_empty_datagram_as_malformed_once) {
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

BOOST_AUTO_TEST_CASE(counts_only_bytes_that_the_socket_sent) {
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

BOOST_AUTO_TEST_CASE(sends_from_the_address_that_the_peer_used_until_the_socket_clears_it) {
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
    l.a.arrives(l.from_b(100)); // the socket does not tell the local address of this datagram
    l.settle();
    BOOST_TEST(l.passes(4));
    BOOST_TEST((l.a.socket.sent_from.back() == wg::local_source{}));
}

// --- packets

BOOST_AUTO_TEST_CASE(passes_longer_packets_after_the_mtu_grew) {
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
    l.a.tun.mtu_bytes = 1280; // smaller again; the buffers stay as long
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    BOOST_TEST(l.passes());
}

// The MTU was raised, and the host does not report that.
BOOST_AUTO_TEST_CASE(loses_one_packet_longer_than_the_mtu_and_passes_the_next) {
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
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok); // the learned length is kept
    BOOST_TEST(send(9000));
}

BOOST_AUTO_TEST_CASE(stages_a_packet_of_a_greater_mtu) {
    tunnel l;
    l.a.tun.mtu_bytes = 9000;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 9000));
    l.settle();
    BOOST_TEST_REQUIRE(l.b.received.size() == 1u);
    BOOST_TEST((l.b.received[0] == ipv4(l.a, l.b, 9000)));
}

BOOST_AUTO_TEST_CASE(assumes_the_usual_mtu_when_the_tun_device_does_not_know_it) {
    tunnel l;
    l.a.tun.mtu_bytes = 0;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.connect();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, wg::default_mtu_bytes));
    l.settle();
    BOOST_TEST(l.b.received.size() == 1u);
}

BOOST_AUTO_TEST_CASE(answers_unreachable_packets_with_icmp) {
    tunnel l;
    l.connect();
    std::size_t const sizes[] = {40, 1420}; // the longest packet leaves the least room for the answer
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

BOOST_AUTO_TEST_CASE(handshake_flood_does_not_starve_data) {
    tunnel l;
    l.connect();
    std::uint64_t stamp = 1000;
    l.a.socket.endless = [&] { return l.forged(++stamp); };
    l.a.arrives(l.from_b(100, 1));
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, 2));
    std::uint64_t const dh = counted_dh::calls;
    std::size_t const receives = l.a.socket.receives;
    BOOST_TEST(l.a.run() == status::ok); // the step ends
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    BOOST_TEST(
        std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), [](wire const& s) { return s.is_data(); }) == 1);
    std::uint64_t const rounds = l.a.socket.receives - receives;
    BOOST_TEST(rounds <= 16u);
    // At most handshakes_at_once DHs after each receive call, and as many after each read.
    BOOST_TEST(counted_dh::calls - dh <= rounds * 2 * l.a.device.handshakes_at_once);
    BOOST_TEST(counted_dh::calls > dh);

    // During the flood each step passes data in both directions.
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

BOOST_AUTO_TEST_CASE(data_flood_starves_neither_handshakes_nor_the_other_direction) {
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
    BOOST_TEST(l.a.run() == status::ok); // the step ends
    BOOST_TEST(l.a.tun.reads - reads <= 16u);
    BOOST_TEST(l.a.socket.receives - receives <= 16u);
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    auto const is_response = [](wire const& s) { return s.type() == wg::message_type::response; };
    auto const is_data = [](wire const& s) { return s.is_data(); };
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_response) == 1);
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_data) > 0);
}

BOOST_AUTO_TEST_CASE(bulk_transfer_yields_while_sparse_packets_pass_often) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 100);
    auto const yields = [&](wg::duration later, unsigned sparse) {
        l.w.now = l.w.now + later;
        l.a.tun.sparse += sparse;
        unsigned const before = yielding_threads::yields;
        BOOST_TEST(l.a.run() == status::ok);
        return yielding_threads::yields != before;
    };
    BOOST_TEST(!yields(wg::milliseconds(1), 0));
    BOOST_TEST(!yields(wg::milliseconds(1), 1)); // the first sparse packet
    BOOST_TEST(!yields(wg::milliseconds(1), 0));
    BOOST_TEST(yields(wg::milliseconds(20), 1));
    BOOST_TEST(yields(wg::milliseconds(49), 0));
    BOOST_TEST(!yields(wg::milliseconds(1), 0));
    BOOST_TEST(!yields(wg::milliseconds(1), 1)); // the first sparse packet again
    BOOST_TEST(!yields(wg::milliseconds(1000), 1));
    BOOST_TEST(yields(wg::milliseconds(5), 2));
    // A single packet is no bulk transfer.
    l.a.tun.endless.clear();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(!yields(wg::milliseconds(5), 1));
}

BOOST_AUTO_TEST_CASE(pace_counts_packets_of_both_directions_but_no_forged_datagrams) {
    tunnel l;
    l.connect();
    auto const polls = [&](auto one) { // after any of forty packets
        bool found = false;
        for (unsigned i = 0; i < 40; ++i) {
            l.w.now = l.w.now + wg::milliseconds(1);
            one(i);
            l.settle(); // further steps find no packet
            found |= l.a.engine.busy_poll() != wg::duration{};
        }
        l.w.now = l.w.now + wg::milliseconds(10);
        (void)l.passes(); // after a pause
        return found;
    };
    BOOST_TEST(polls([&](unsigned) { l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100)); }));
    BOOST_TEST(polls([&](unsigned) { l.a.arrives(l.from_b(100)); }));
    BOOST_TEST(!polls([&](unsigned i) {
        wire junk = l.from_b(100, i);
        junk.data.back() ^= 1;
        l.a.arrives(std::move(junk));
        l.a.arrives(l.forged(i));
    }));
    BOOST_TEST(l.a.device.counter(status::decryption_failed) == 80u); // all were received
    // Nine packets in a step are a bulk transfer, whether from the host or as segments of a datagram.
    BOOST_TEST(!polls([&](unsigned) {
        for (int i = 0; i < 9; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    }));
    BOOST_TEST(!polls([&](unsigned) {
        std::vector<wire> nine;
        for (int i = 0; i < 9; ++i) nine.push_back(l.from_b(100));
        l.a.arrives(join(nine), nine[0].data.size());
    }));
}

BOOST_AUTO_TEST_CASE(timers_run_during_an_endless_stream_of_packets) {
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
