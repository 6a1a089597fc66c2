// SPDX-License-Identifier: BSL-1.0
// The UDP sockets of os/windows: how they send, joined messages and refusals.
#include "winsock.hpp"

BOOST_AUTO_TEST_SUITE(os_windows_udp_send)

using namespace wg_tests::winsock;

BOOST_AUTO_TEST_CASE(joins_datagrams_of_one_path_tos_and_length) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    wg::local_source const from{address4(9), 4};
    outgoing out = run(3, 700, from);
    out.add(address4(1), "shorter ends it", from);
    out.add(address4(1), std::string(700, 'x'), from);
    out.add(address4(1), std::string(701, 'y'), from);    // longer
    out.add(address4(1), std::string(701, 'y'), from, 2); // another tos
    out.add(address4(2), std::string(701, 'z'), from, 2); // another destination
    out.add(address4(2), "", from, 2);
    out.add(address4(2), "", from, 2);
    BOOST_TEST(out.send(socket) == 10u);
    std::vector<std::size_t> sizes;
    for (auto const& m : net.sent) sizes.push_back(m.pieces.size());
    BOOST_TEST((sizes == std::vector<std::size_t>{4, 1, 1, 1, 1, 1, 1}));
    BOOST_TEST(net.sent[0].pieces[3] == "shorter ends it");
    std::vector<wg::byte> expected = control_of(0, 19, info4(address4(9), 4));
    BOOST_TEST((net.sent[1].control == expected));
    append_control(expected, 17, 2, std::uint32_t{700});
    BOOST_TEST((net.sent[0].control == expected));
    for (auto const& d : out.all) BOOST_TEST((d.why == status::ok && d.error == 0));
}

BOOST_AUTO_TEST_CASE(a_message_has_room_for_64_datagrams_and_64_kilobytes) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing small = run(130, 10);
    BOOST_TEST(small.send(socket) == 130u);
    BOOST_TEST((net.sent.size() == 3u && net.sent[0].pieces.size() == 64u && net.sent[2].pieces.size() == 2u));
    net.sent.clear();
    outgoing large = run(9, 9000);
    BOOST_TEST(large.send(socket) == 9u);
    BOOST_TEST((net.sent.size() == 2u && net.sent[0].pieces.size() == 7u));
}

BOOST_AUTO_TEST_CASE(sends_singly_where_segments_of_that_length_are_refused) {
    for (int const error : {invalid, 10040}) {
        fresh_winsock fresh;
        udp socket;
        BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
        net.refuses = [&](sent_message const& m) {
            return m.pieces.size() > 1 && m.pieces[0].size() >= 1400 ? error : 0;
        };
        for (int round = 0; round < 2; ++round) {
            outgoing out = run(3, 1400);
            BOOST_TEST(out.send(socket) == 3u);
        }
        BOOST_TEST((net.sent.size() == 6u && net.refused.size() == 1u)); // the second round remembers
        outgoing shorter = run(3, 1399);
        BOOST_TEST(shorter.send(socket) == 3u);
        BOOST_TEST((net.sent.size() == 7u));
        socket.routes_changed();
        outgoing again = run(3, 1400);
        BOOST_TEST(again.send(socket) == 3u);
        BOOST_TEST(net.refused.size() == 2u);
    }
}

BOOST_AUTO_TEST_CASE(never_joins_again_where_windows_cannot_cut) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.refuses = [](sent_message const& m) { return m.pieces.size() > 1 ? 10045 : 0; };
    outgoing first = run(3, 100), second = run(3, 50);
    BOOST_TEST(first.send(socket) == 3u);
    socket.routes_changed();
    BOOST_TEST(second.send(socket) == 3u);
    BOOST_TEST(net.refused.size() == 1u);
}

BOOST_AUTO_TEST_CASE(clears_a_source_that_the_host_refuses) {
    for (int const error : {invalid, 10049, 10051, 10065}) {
        for (std::size_t const count : {std::size_t{1}, std::size_t{2}}) {
            fresh_winsock fresh;
            udp socket;
            BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
            auto const info = control_of(0, 19, info4(address4(9), 4));
            net.refuses = [&](sent_message const& m) {
                return std::search(m.control.begin(), m.control.end(), info.begin(), info.end()) != m.control.end()
                           ? error
                           : 0;
            };
            outgoing out = run(count, 100, {address4(9), 4});
            BOOST_TEST(out.send(socket) == count);
            for (auto const& d : out.all) BOOST_TEST((d.where.local == wg::local_source{} && d.why == status::ok));
            net.sent.clear();
            outgoing joined = run(2, 1000);
            BOOST_TEST(joined.send(socket) == 2u);
            BOOST_TEST(net.sent.size() == 1u); // the segments were not the reason
        }
    }
}

BOOST_AUTO_TEST_CASE(sends_the_ecn_bits_alone_and_none_where_they_are_refused) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out = run(1, 100, {}, 0xb9);
    out.add(address6(1), "six", {}, 0x02);
    out.add(address6(1), "none", {}, 0xb8);
    BOOST_TEST(out.send(socket) == 3u);
    BOOST_TEST((net.sent[0].control == control_of(0, 50, std::int32_t{1})));
    BOOST_TEST((net.sent[1].control == control_of(41, 50, std::int32_t{2})));
    BOOST_TEST(net.sent[2].control.empty());
    net.refuses = [](sent_message const& m) { return m.control.empty() ? 0 : invalid; };
    outgoing refused = run(1, 100, {address4(9), 4}, 0x03);
    BOOST_TEST(refused.send(socket) == 1u); // first without the source, then without ECN
    BOOST_TEST((refused.all[0].tos == 0 && refused.all[0].why == status::ok));
    BOOST_TEST(net.refused.size() == 2u);
}

BOOST_AUTO_TEST_CASE(waits_once_for_room_in_a_full_socket) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.refuses = [](sent_message const&) { return net.room_waits != 0 ? 0 : would_block; };
    net.gets_room = true;
    outgoing out = run(1, 100);
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST(net.room_waits == 1);
    net.refuses = [](sent_message const&) { return would_block; };
    for (bool const room : {true, false}) {
        net.room_waits = 0;
        net.gets_room = room;
        outgoing full = run(1, 100);
        full.add(address4(2), "x");
        BOOST_TEST(full.send(socket) == 0u);
        BOOST_TEST(net.room_waits == 1);
        for (auto const& d : full.all) BOOST_TEST((d.why == status::would_block && d.error == would_block));
    }
    socket.set_send_patience({}); // then it never waits
    net.room_waits = 0;
    outgoing full = run(1, 100);
    BOOST_TEST(full.send(socket) == 0u);
    BOOST_TEST(net.room_waits == 0);
    socket.set_send_patience({1}); // at least a millisecond
    BOOST_TEST(full.send(socket) == 0u);
    BOOST_TEST(net.room_waits == 1);
}

BOOST_AUTO_TEST_CASE(says_why_a_datagram_was_not_sent) {
    fresh_winsock fresh;
    udp socket;
    outgoing closed = run(1, 10);
    BOOST_TEST(closed.send(socket) == 0u);
    BOOST_TEST((closed.all[0].why == status::not_supported));
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out = run(1, 10);
    out.all[0].where.remote = {};
    out.add(address4(1), "refused");
    out.add(address4(2), "sent");
    net.refuses = [](sent_message const& m) { return m.pieces[0] == "refused" ? 10013 : 0; };
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST((out.all[0].why == status::no_endpoint && out.all[0].error == 0));
    BOOST_TEST((out.all[1].why == status::no_permission && out.all[1].error == 10013));
    BOOST_TEST((out.all[2].why == status::ok));
}

BOOST_AUTO_TEST_CASE(sends_to_an_ipv4_mapped_address_by_ipv4) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    outgoing out;
    out.add({{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, wg::family::v6}, "mapped", {address6(9), 4});
    BOOST_TEST(out.send(socket) == 1u);
    BOOST_TEST((net.sent[0].socket == v4 && net.sent[0].to == wg::endpoint{address4(1), 51820, 0}));
    BOOST_TEST(net.sent[0].control.empty()); // the source is of the other family
}

BOOST_AUTO_TEST_CASE(another_thread_uses_the_same_sockets) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    {
        udp other;
        BOOST_TEST(other.share(socket));
        BOOST_TEST(other.port() == 5);
        outgoing out = run(2, 10);
        BOOST_TEST(out.send(other) == 2u);
        BOOST_TEST((net.sent.size() == 1u && net.sent[0].socket == v4));
        net.arriving[v4] = {{"x", {address4(1), 1, 0}}};
        incoming<2> in;
        BOOST_TEST(*other.receive(in.all) == 1u);
        other.close();
        BOOST_TEST(net.open.size() == 2u);
        BOOST_TEST(out.send(other) == 0u);
        BOOST_TEST(other.share(socket));
    }
    BOOST_TEST(net.open.size() == 2u);
}

BOOST_AUTO_TEST_SUITE_END()
