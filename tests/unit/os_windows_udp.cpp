// SPDX-License-Identifier: BSL-1.0
// The UDP sockets of os/windows: how they are opened, and what they receive.
#include "winsock.hpp"

BOOST_AUTO_TEST_SUITE(os_windows_udp)

using namespace wg_tests::winsock;

BOOST_AUTO_TEST_CASE(opens_both_families_on_one_port) {
    fresh_winsock fresh;
    udp socket;
    auto const port = socket.open(51820);
    BOOST_REQUIRE(static_cast<bool>(port));
    BOOST_TEST((*port == 51820 && socket.port() == 51820));
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v4, 51820}, {v6, 51820}}));
    BOOST_TEST(*socket.open(51820) == 51820); // already open
    BOOST_TEST(net.open.size() == 2u);
    BOOST_TEST(*socket.open(0) == 40000);
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v4 + 1, 40000}, {v6 + 1, 40000}}));
    socket.close();
    BOOST_TEST((net.open.empty() && socket.port() == 0));
}

BOOST_AUTO_TEST_CASE(configures_sockets_before_it_binds_them) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1)));
    for (std::uintptr_t const s : {v4, v6}) {
        int const level = s == v4 ? 0 : 41;
        BOOST_TEST((net.controls.at({s, 0x8004667e}) == 1));           // FIONBIO
        BOOST_TEST((net.controls.at({s, 0x9800000c}) == 0));           // SIO_UDP_CONNRESET
        BOOST_TEST((net.options.at({s, 0xffff, -5}) == 1));            // SO_EXCLUSIVEADDRUSE
        BOOST_TEST((net.options.at({s, level, 19}) == 1));             // IP_PKTINFO
        BOOST_TEST((net.options.at({s, level, 40}) == 1));             // IP_RECVTOS
        BOOST_TEST((net.options.at({s, 17, 3}) == 65535));             // UDP_RECV_MAX_COALESCED_SIZE
        BOOST_TEST((net.options.at({s, 0xffff, 0x1002}) > 1'000'000)); // SO_RCVBUF
        BOOST_TEST((net.options.count({s, level, 31}) == 0));          // IP_UNICAST_IF
    }
    BOOST_TEST((net.options.at({v6, 41, 27}) == 1)); // IPV6_V6ONLY
    wg::os::offloads off;
    off.gso = off.gro = false;
    udp without(off);
    BOOST_REQUIRE(static_cast<bool>(without.open(2)));
    BOOST_TEST((net.options.count({v4 + 1, 17, 3}) == 0));
    outgoing out = run(3, 100);
    BOOST_TEST(out.send(without) == 3u);
    BOOST_TEST(net.sent.size() == 3u);
}

BOOST_AUTO_TEST_CASE(works_where_windows_refuses_optional_options) {
    fresh_winsock fresh;
    for (auto const& [level, option] : {std::pair(0xffff, -5), {0, 19}, {0, 40}, {0, 50}, {17, 2}, {17, 3}, {41, 19}})
        net.refused_options[{level, option}] = 10042;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1)));
    outgoing out = run(2, 100, {}, 3);
    BOOST_TEST(out.send(socket) == 2u);
    BOOST_TEST(net.sent.size() == 2u);       // no USO
    BOOST_TEST(net.sent[0].control.empty()); // no ECN
}

BOOST_AUTO_TEST_CASE(opens_the_family_that_the_host_has) {
    for (int const missing : {api::family_v4, api::family_v6}) {
        fresh_winsock fresh;
        net.refused_families[missing] = 10047;
        udp socket;
        BOOST_TEST(*socket.open(5) == 5);
        BOOST_TEST(net.open.size() == 1u);
        outgoing out;
        out.add(address4(1), "four");
        out.add(address6(1), "six");
        BOOST_TEST(out.send(socket) == 1u);
        wg::datagram const& refused = out.all[missing == api::family_v4 ? 0 : 1];
        BOOST_TEST((refused.why == status::not_supported && refused.error == 10047));
    }
    fresh_winsock fresh;
    net.bind_errors = {0, 10049}; // IPv6 is switched off
    udp socket;
    BOOST_TEST(*socket.open(5) == 5);
    BOOST_TEST(net.open.size() == 1u);
    net.refused_families = {{api::family_v4, 10047}, {api::family_v6, 10047}};
    BOOST_TEST((socket.open(6).why() == status::not_supported));
}

BOOST_AUTO_TEST_CASE(a_failed_open_changes_nothing) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(1000)));
    auto const before = net.open;
    for (auto const& [error, why] : {std::pair(in_use, status::address_in_use),
                                     {10013, status::no_permission},
                                     {10055, status::no_memory},
                                     {10050, status::io_error}}) {
        for (bool const second : {false, true}) {
            net.bind_errors = second ? std::deque<int>{0, error} : std::deque<int>{error};
            BOOST_TEST((socket.open(1001).why() == why));
            BOOST_TEST(socket.error() == error);
            BOOST_TEST((net.open == before && socket.port() == 1000));
        }
    }
    net.refused_options[{41, 27}] = invalid; // IPV6_V6ONLY
    BOOST_TEST((socket.open(1001).why() == status::invalid));
    BOOST_TEST((net.open == before));
}

BOOST_AUTO_TEST_CASE(tries_another_free_port_when_ipv6_has_the_first_one_taken) {
    fresh_winsock fresh;
    net.bind_errors = {0, in_use, 0, in_use, 0, 0};
    udp socket;
    BOOST_TEST(*socket.open(0) == 40000);
    BOOST_TEST(net.next_v6 == v6 + 3);
    net.bind_errors = std::deque<int>(1000, in_use);
    BOOST_TEST((socket.open(0).why() == status::address_in_use));
}

BOOST_AUTO_TEST_CASE(says_what_windows_lacks) {
    for (int const missing : {0, 1, 2, 3}) {
        fresh_winsock fresh;
        net.has_send = missing != 0;
        net.has_receive = missing != 1;
        net.start_error = missing == 2 ? 10091 : 0;
        net.has_event = missing != 3;
        udp socket;
        BOOST_TEST((socket.open(1).why() == (missing == 3 ? status::no_memory : status::not_supported)));
        BOOST_TEST(net.open.empty());
    }
}

BOOST_AUTO_TEST_CASE(opens_only_the_family_of_a_bind_address) {
    fresh_winsock fresh;
    udp socket;
    socket.set_bind_address({address6(9), 77, 0});
    BOOST_TEST(*socket.open(5) == 5);
    BOOST_TEST((net.open == std::map<std::uintptr_t, std::uint16_t>{{v6, 5}}));
    net.bind_errors = {10049};
    BOOST_TEST((socket.open(6).why() == status::io_error)); // the host does not have this address
    BOOST_TEST(socket.error() == 10049);
}

BOOST_AUTO_TEST_CASE(sends_only_through_the_given_interfaces) {
    fresh_winsock fresh;
    udp socket;
    BOOST_TEST((socket.set_interfaces(7, 8) == status::ok));
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST((net.options.at({v4, 0, 31}) == wg::load_be32(std::array<wg::byte, 4>{7, 0, 0, 0}.data()) ||
                net.options.at({v4, 0, 31}) == 0x07000000)); // in network order
    BOOST_TEST((net.options.at({v6, 41, 31}) == 8));         // in host order
    BOOST_TEST((socket.set_interfaces(0, 9) == status::ok));
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0 && net.options.at({v6, 41, 31}) == 9));
    net.refused_options[{0, 31}] = invalid;
    BOOST_TEST((socket.set_interfaces(1, 10) == status::invalid));
    BOOST_TEST((net.options.at({v6, 41, 31}) == 10));
    BOOST_TEST((socket.open(6).why() == status::invalid));
}

BOOST_AUTO_TEST_CASE(follows_the_default_route_outside_its_tunnel) {
    fresh_winsock fresh;
    struct {
        std::uint64_t luid() const noexcept { return 77; }
    } const tunnel;
    udp socket;
    socket.keep_out_of(tunnel);
    net.default_v6 = 8;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST((net.options.count({v4, 0, 31}) == 0 && net.options.at({v6, 41, 31}) == 8));
    net.default_v4 = 7;
    net.default_v6 = 0;
    socket.refresh_bind();
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0x07000000 && net.options.at({v6, 41, 31}) == 0));
    net.options.clear();
    socket.refresh_bind(); // nothing has changed
    BOOST_TEST(net.options.empty());
    BOOST_TEST((socket.set_interfaces(1, 1) == status::ok)); // the program's choice stays
    socket.refresh_bind();
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0x01000000 && net.options.at({v6, 41, 31}) == 1));
}

BOOST_AUTO_TEST_CASE(sends_through_the_interface_that_was_named) {
    fresh_winsock fresh;
    udp socket;
    socket.set_bind_interface("Ethernet");
    BOOST_TEST(!socket.open(5));
    BOOST_TEST((socket.error() == api::error_file_not_found && net.open.empty()));
    net.interfaces["Ethernet"] = 12;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0x0c000000 && net.options.at({v6, 41, 31}) == 12));
    net.interfaces["Ethernet"] = 13; // was made again
    socket.refresh_bind();
    BOOST_TEST((net.options.at({v4, 0, 31}) == 0x0d000000 && net.options.at({v6, 41, 31}) == 13));
}

BOOST_AUTO_TEST_CASE(receives_datagrams_with_both_ends_tos_and_segments) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    received_message four{"four", {address4(3), 1234, 0}, {}};
    append_control(four.control, 0, 19, info4(address4(9), 4));
    append_control(four.control, 0, 3, std::int32_t{0xb9});
    append_control(four.control, 17, 3, std::uint32_t{2});
    received_message six{"six", {address6(3), 4321, 6}, {}};
    append_control(six.control, 41, 50, std::int32_t{3});
    append_control(six.control, 41, 19, info6(address6(9), 6));
    net.arriving[v4] = {four};
    net.arriving[v6] = {six};
    incoming<4> in;
    auto const count = socket.receive(in.all);
    BOOST_REQUIRE((count && *count == 2));
    std::size_t const first = in.text(0) == "four" ? 0 : 1;
    wg::datagram const& a = in.all[first];
    BOOST_TEST(in.text(first) == "four");
    BOOST_TEST((a.where.remote == wg::endpoint{address4(3), 1234, 0}));
    BOOST_TEST((a.where.local == wg::local_source{address4(9), 4}));
    BOOST_TEST((a.tos == 0xb9 && a.segment_bytes == 2 && a.why == status::ok));
    wg::datagram const& b = in.all[1 - first];
    BOOST_TEST(in.text(1 - first) == "six");
    BOOST_TEST((b.where.remote == wg::endpoint{address6(3), 4321, 6}));
    BOOST_TEST((b.where.local == wg::local_source{address6(9), 6}));
    BOOST_TEST((b.tos == 3 && b.segment_bytes == 0));
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(*socket.receive({}) == 0u);
    socket.close();
    BOOST_TEST(*socket.receive(in.all) == 0u);
}

BOOST_AUTO_TEST_CASE(takes_no_source_from_addresses_that_cannot_be_one) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    for (auto const& address :
         {wg::ip_address::v4(255, 255, 255, 255), wg::ip_address::v4(224, 0, 0, 1), wg::ip_address::v4(0, 0, 0, 0)})
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(0, 19, info4(address, 4))});
    net.arriving[v6] = {{"x", {address6(1), 1, 0}, control_of(41, 19, info6({{0xff, 2}, wg::family::v6}, 4))}};
    incoming<5> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 4u);
    for (std::size_t i = 0; i < 4; ++i) BOOST_TEST((in.all[i].where.local == wg::local_source{}));
}

BOOST_AUTO_TEST_CASE(ignores_control_messages_that_are_wrong) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    auto const whole = control_of(0, 19, info4(address4(9), 4));
    for (std::size_t size = 0; size < whole.size(); ++size) // cut
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, {whole.begin(), whole.begin() + std::ptrdiff_t(size)}});
    for (std::size_t const size :
         {std::size_t{0}, std::size_t{15}, std::size_t{16}, std::size_t{23}, std::size_t{25}, SIZE_MAX, SIZE_MAX - 7}) {
        auto wrong = whole;
        std::memcpy(wrong.data(), &size, sizeof size);
        net.arriving[v4].push_back({"x", {address4(1), 1, 0}, wrong});
    }
    net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(17, 3, std::uint32_t{1})}); // one segment
    net.arriving[v4].push_back({"x", {address4(1), 1, 0}, control_of(77, 3, std::int32_t{1})});  // an unknown level
    std::size_t const messages = net.arriving[v4].size();
    incoming<64> in;
    BOOST_REQUIRE(*socket.receive(in.all) == messages);
    for (std::size_t i = 0; i < messages; ++i)
        BOOST_TEST((in.all[i].where.local == wg::local_source{} && in.all[i].tos == 0 && !in.all[i].segment_bytes));
}

BOOST_AUTO_TEST_CASE(a_datagram_that_was_cut_has_no_length) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    net.arriving[v4] = {{std::string(200, 'x'), {address4(1), 1, 0}},
                        {"y", {address4(1), 1, 0}, {}, true},
                        {std::string(48, 'z'), {address4(1), 1, 0}}};
    incoming<4, 64> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 3u);
    BOOST_TEST((in.all[0].length == 0 && in.all[1].length == 0 && in.all[2].length == 48));
}

BOOST_AUTO_TEST_CASE(errors_of_sent_datagrams_end_no_receive) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    received_message const reset{"", {}, {}, false, 10054}, expired{"", {}, {}, false, 10052};
    net.arriving[v4] = {reset, expired, {"after", {address4(1), 1, 0}}};
    incoming<4> in;
    BOOST_REQUIRE(*socket.receive(in.all) == 1u);
    BOOST_TEST(in.text(0) == "after");
    net.arriving[v4] = std::deque<received_message>(100, reset); // not endless
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(net.is_set);
    BOOST_TEST(net.arriving[v4].size() == 36u);
    net.arriving[v4] = {{"", {}, {}, false, 10055}};
    BOOST_TEST(*socket.receive(in.all) == 0u);
}

BOOST_AUTO_TEST_CASE(a_socket_that_cannot_be_used_is_an_error) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    incoming<4> in;
    for (int const error : {10038, 10009, 10022, 10014}) {
        net.arriving[v4] = {{"", {}, {}, false, error}};
        BOOST_TEST((socket.receive(in.all).why() == status::io_error));
        net.arriving[v4] = {{"", {}, {}, false, error}};
        net.arriving[v6] = {{"x", {address6(1), 1, 0}}};
        BOOST_TEST(*socket.receive(in.all) == 1u);
    }
}

BOOST_AUTO_TEST_CASE(the_event_is_set_while_a_datagram_waits) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    BOOST_TEST(socket.event() != nullptr);
    received_message const one{"x", {address4(1), 1, 0}};
    incoming<2> in;
    net.arriving[v4] = {one, one, one};
    net.is_set = true;
    BOOST_TEST(*socket.receive(in.all) == 2u);
    BOOST_TEST(net.is_set); // the third one waits
    BOOST_TEST(*socket.receive(in.all) == 1u);
    BOOST_TEST(!net.is_set);
    bool late = true;
    net.before_watch = [&] {
        if (!std::exchange(late, false)) return;
        net.arriving[v6].push_back(one); // arrives after the sockets were read
    };
    BOOST_TEST(*socket.receive(in.all) == 0u);
    BOOST_TEST(net.is_set);
    BOOST_TEST(*socket.receive(in.all) == 1u);
    BOOST_TEST(!net.is_set);
}

BOOST_AUTO_TEST_CASE(both_families_take_turns_in_a_full_receive) {
    fresh_winsock fresh;
    udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(5)));
    for (int i = 0; i < 4; ++i) {
        net.arriving[v4].push_back({"4", {address4(1), 1, 0}});
        net.arriving[v6].push_back({"6", {address6(1), 1, 0}});
    }
    incoming<2> in;
    std::string order;
    for (int i = 0; i < 4; ++i) {
        BOOST_REQUIRE(*socket.receive(in.all) == 2u);
        order += in.text(0);
    }
    BOOST_TEST((order == "6464" || order == "4646"));
}

BOOST_AUTO_TEST_SUITE_END()
