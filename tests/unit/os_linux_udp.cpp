// SPDX-License-Identifier: BSL-1.0
// UDP sockets: batches, sticky sources, segments, tos, ports.
#include "udp_twin.hpp"

BOOST_AUTO_TEST_SUITE(os_linux_udp)

using namespace wg_tests;

namespace {

template <class Socket> void expect_sticky(Socket& server, std::uint16_t server_port, std::size_t packets) {
    // A client that sends to 127.0.0.7 must be answered from 127.0.0.7.
    opened<> client;
    std::vector<std::string> texts(packets, std::string(1200, 'q'));
    std::vector<wg::datagram> out;
    for (auto& text : texts) out.push_back(datagram_to(wg::ip_address::v4(127, 0, 0, 7), server_port, text));
    BOOST_TEST(client.socket.send(out) == packets);

    auto const asked = receive(server, packets);
    BOOST_REQUIRE(!asked.empty());
    for (arrival const& a : asked) {
        BOOST_TEST((a.where.local.address == wg::ip_address::v4(127, 0, 0, 7)));
        BOOST_TEST(a.where.local.interface_index != 0u);
        BOOST_TEST(a.where.remote.port == client.port);
    }
    std::string answer = "answer";
    wg::datagram back = datagram_to({}, 0, answer);
    back.where = asked.front().where;
    BOOST_TEST(server.send({&back, 1}) == 1u);
    auto const answered = receive(client.socket, 1);
    BOOST_REQUIRE(answered.size() == 1u);
    BOOST_TEST(answered[0].text == "answer");
    BOOST_TEST((answered[0].where.remote.address == wg::ip_address::v4(127, 0, 0, 7)));
}

} // namespace

BOOST_AUTO_TEST_CASE(both_families_share_one_port) {
    REQUIRE_V6();
    opened<> a, b;
    std::string four = "four", six = "six";
    std::array out = {datagram_to(loopback4, b.port, four), datagram_to(loopback6, b.port, six)};
    BOOST_TEST(a.socket.send(out) == 2u);
    auto const in = receive(b.socket, 2);
    BOOST_REQUIRE(in.size() == 2u);
    std::set<std::string> texts;
    for (arrival const& i : in) {
        texts.insert(i.text);
        BOOST_TEST((i.where.remote.address == (i.text == "four" ? loopback4 : loopback6)));
        BOOST_TEST((i.where.local.address == (i.text == "four" ? loopback4 : loopback6)));
        BOOST_TEST(i.where.remote.port == a.port);
        BOOST_TEST(i.where.remote.scope_id == 0u);
    }
    BOOST_TEST((texts == std::set<std::string>{"four", "six"}));
}

BOOST_AUTO_TEST_CASE(answers_leave_from_the_address_that_was_sent_to) {
    fresh_faults fresh;
    for (bool const gro : {true, false}) {
        for (std::size_t const packets : {1u, 3u}) {
            BOOST_TEST_CONTEXT("gro " << gro << ", packets " << packets) {
                faults = {};
                faults.no_gro = !gro;
                opened<faulty_udp> server;
                expect_sticky(server.socket, server.port, packets);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(answers_over_ipv6_leave_from_the_address_that_was_sent_to) {
    REQUIRE_V6();
    opened<> server, client;
    std::string text = "x";
    wg::datagram out = datagram_to(loopback6, server.port, text);
    BOOST_TEST(client.socket.send({&out, 1}) == 1u);
    auto const asked = receive(server.socket, 1);
    BOOST_REQUIRE(asked.size() == 1u);
    out.where = asked[0].where;
    BOOST_TEST((out.where.local.address == loopback6));
    BOOST_TEST(server.socket.send({&out, 1}) == 1u);
    BOOST_TEST((out.where.local.address == loopback6)); // valid: kept
    BOOST_TEST(receive(client.socket, 1).size() == 1u);
}

BOOST_AUTO_TEST_CASE(mixed_families_reach_the_right_peers) {
    // wireguard-go's buffers keep 12 old bytes of an IPv6 address after an IPv4 send.
    REQUIRE_V6();
    opened<> sender, a, b, four;
    std::vector<std::string> texts;
    for (int i = 0; i < 30; ++i)
        for (char const* const to : {"A", "4", "B"}) texts.push_back(to + std::to_string(i));
    std::vector<wg::datagram> out;
    for (auto& t : texts)
        out.push_back(t[0] == 'A'   ? datagram_to(loopback6, a.port, t)
                      : t[0] == 'B' ? datagram_to(loopback6, b.port, t)
                                    : datagram_to(loopback4, four.port, t));
    BOOST_TEST(sender.socket.send(out) == 90u);
    for (auto* const to : {&a, &four, &b}) {
        std::vector<std::string> expected(30, to == &a ? "A" : to == &b ? "B" : "4");
        for (int i = 0; i < 30; ++i) expected[static_cast<std::size_t>(i)] += std::to_string(i);
        BOOST_TEST(texts_of(receive(to->socket, 30)) == expected, boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(equal_datagrams_leave_as_one_message_and_arrive_with_their_size) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    std::array<std::string, 4> texts = {std::string(1000, 'a'), std::string(1000, 'b'), std::string(1000, 'c'),
                                        std::string(300, 'd')};
    std::vector<wg::datagram> out;
    for (auto& t : texts) out.push_back(datagram_to(loopback4, receiver.port, t));
    BOOST_TEST(sender.socket.send(out) == 4u);
    for (auto const& d : out) BOOST_TEST((d.why == wg::status::ok));
    auto const in = receive(receiver.socket, 4);
    std::string all;
    for (arrival const& i : in) all += i.text;
    BOOST_TEST(all == texts[0] + texts[1] + texts[2] + texts[3]);
    if (faults.messages != 1) {
        BOOST_TEST_MESSAGE("skipped: this kernel does not segment UDP");
        return;
    }
    BOOST_REQUIRE(in.size() == 1u); // UDP_GRO keeps datagrams joined that loopback never cut
    BOOST_TEST(in[0].segment_bytes == 1000u);
    BOOST_TEST(in[0].where.remote.port == sender.port);
    BOOST_TEST((in[0].where.local.address == loopback4));
}

BOOST_AUTO_TEST_CASE(runs_break_where_path_tos_or_size_changes) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> one, other;
    std::vector<std::string> texts;
    std::vector<wg::datagram> out;
    texts.reserve(16);
    auto const add = [&](std::uint16_t port, std::size_t size, std::uint8_t tos) {
        texts.emplace_back(size, static_cast<char>('a' + texts.size()));
        out.push_back(datagram_to(loopback4, port, texts.back()));
        out.back().tos = tos;
    };
    add(one.port, 500, 0), add(one.port, 500, 0);   // a run
    add(one.port, 501, 0);                          // longer: begins a run
    add(one.port, 400, 0);                          // shorter: ends the run
    add(one.port, 400, 0);                          // after the last: begins a run
    add(one.port, 400, 2), add(other.port, 400, 2); // tos, then path
    add(other.port, 0, 2), add(other.port, 400, 2); // an empty datagram is not joined
    BOOST_TEST(sender.socket.send(out) == out.size());
    BOOST_TEST(faults.messages == 7);
    std::vector<std::string> seen;
    for (auto* const socket : {&one.socket, &other.socket}) {
        auto const more = texts_of(receive(*socket, socket == &one.socket ? 6 : 3));
        seen.insert(seen.end(), more.begin(), more.end());
    }
    BOOST_TEST(seen == texts, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(long_runs_and_long_spans_arrive_completely) {
    fresh_faults fresh;
    for (std::size_t const size : {64u, 1420u}) {
        faults = {};
        opened<faulty_udp> sender;
        opened<> receiver;
        std::vector<std::string> texts;
        std::vector<wg::datagram> out;
        for (int i = 0; i < 300; ++i)
            texts.push_back(std::to_string(i) + std::string(size - std::to_string(i).size(), '.'));
        for (auto& t : texts) out.push_back(datagram_to(loopback4, receiver.port, t));
        BOOST_TEST(sender.socket.send(out) == 300u);
        // A batch has 256 datagrams; a message has at most 64, or 65000 bytes. 300: without segmentation.
        BOOST_TEST((faults.messages == (size == 64 ? 2 + 2 + 1 : 3 + 3 + 1) || faults.messages == 300));
        std::string all, expected;
        for (arrival const& i : receive(receiver.socket, 300, 3)) all += i.text;
        for (auto const& t : texts) expected += t;
        BOOST_TEST((all == expected));
    }
}

BOOST_AUTO_TEST_CASE(tos_and_ecn_pass_both_ways) {
    opened<> a, b;
    for (auto const& address : {loopback4, loopback6}) {
        if (address == loopback6 && !host_has_v6()) continue;
        for (int const tos : {0x00, 0x88, 0x01, 0x02, 0x03, 0xff}) {
            std::string text = "t";
            wg::datagram d = datagram_to(address, b.port, text);
            d.tos = static_cast<std::uint8_t>(tos);
            BOOST_TEST(a.socket.send({&d, 1}) == 1u);
            auto const in = receive(b.socket, 1);
            BOOST_REQUIRE(in.size() == 1u);
            BOOST_TEST(int{in[0].tos} == tos);
        }
    }
}

BOOST_AUTO_TEST_CASE(closed_sockets_neither_send_nor_receive_and_reopen) {
    opened<> a, peer;
    a.socket.close();
    a.socket.close();
    BOOST_TEST(a.socket.port() == 0);
    std::string text = "t";
    wg::datagram d = datagram_to(loopback4, peer.port, text);
    BOOST_TEST(a.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::not_supported));
    auto const nothing = a.socket.receive({&d, 1});
    BOOST_REQUIRE(nothing);
    BOOST_TEST(*nothing == 0u);
    auto const port = a.socket.open(a.port);
    BOOST_REQUIRE(port);
    BOOST_TEST(*port == a.port);
    BOOST_TEST(a.socket.send({&d, 1}) == 1u);
    BOOST_TEST(receive(peer.socket, 1).size() == 1u);
    d.where = {};
    BOOST_TEST(a.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::no_endpoint));
}

BOOST_AUTO_TEST_CASE(another_thread_shares_the_open_sockets) {
    opened<> a, b;
    udp other;
    BOOST_REQUIRE(other.share(a.socket));
    BOOST_TEST(other.port() == a.port);
    std::string text = "text";
    for (udp* const from : {&a.socket, &other}) {
        wg::datagram d = datagram_to(loopback4, b.port, text);
        BOOST_TEST(from->send({&d, 1}) == 1u);
        auto const in = receive(b.socket, 1);
        BOOST_REQUIRE(in.size() == 1u);
        BOOST_TEST(in[0].where.remote.port == a.port);
    }
    // The first thread that reads gets it.
    wg::datagram d = datagram_to(loopback4, a.port, text);
    BOOST_TEST(b.socket.send({&d, 1}) == 1u);
    std::vector<wg::byte> memory(udp::receive_bytes);
    wg::datagram got;
    pollfd watched{a.socket.fd(), POLLIN, 0};
    BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1);
    for (std::size_t const expected : {1u, 0u}) {
        static_cast<wg::packet&>(got) = wg::packet(memory, 0);
        auto const count = other.receive({&got, 1});
        BOOST_REQUIRE(count);
        BOOST_TEST(*count == expected);
    }
    // A port is free when both have closed it.
    other.close();
    a.socket.close();
    udp again;
    BOOST_REQUIRE(again.open(a.port));
    BOOST_TEST(other.share(udp{})); // without an open socket
    BOOST_TEST(other.port() == 0u);
}

BOOST_AUTO_TEST_CASE(a_flood_of_one_family_does_not_starve_the_other) {
    REQUIRE_V6();
    fresh_faults fresh;
    faults.no_gro = true;
    opened<faulty_udp> sender, receiver;
    std::string four = "4", six = "6";
    for (int i = 0; i < 40; ++i) {
        wg::datagram d = datagram_to(loopback4, receiver.port, four);
        BOOST_REQUIRE(sender.socket.send({&d, 1}) == 1u);
    }
    wg::datagram d = datagram_to(loopback6, receiver.port, six);
    BOOST_REQUIRE(sender.socket.send({&d, 1}) == 1u);
    std::vector<wg::byte> memory(8 * 64);
    std::array<wg::datagram, 8> slots;
    for (std::size_t i = 0; i < 8; ++i)
        static_cast<wg::packet&>(slots[i]) = wg::packet(wg::bytes(memory).subspan(i * 64, 64), 0);
    int sixes = 0;
    for (int call = 0; call < 8; ++call) { // in one of eight calls the other family comes first
        auto const got = receiver.socket.receive(std::span(slots).first(4));
        BOOST_REQUIRE(got);
        BOOST_TEST(*got == 4u); // all the room is used
        for (auto const& slot : std::span(slots).first(*got)) sixes += slot.view()[0] == '6';
    }
    BOOST_TEST(sixes == 1);
}

BOOST_AUTO_TEST_CASE(a_datagram_that_does_not_fit_arrives_empty) {
    opened<> sender, receiver;
    std::string text(100, 'x');
    wg::datagram d = datagram_to(loopback4, receiver.port, text);
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u);
    pollfd watched{receiver.socket.fd(), POLLIN, 0};
    BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1);
    std::array<wg::byte, 50> memory{};
    wg::datagram in;
    static_cast<wg::packet&>(in) = wg::packet(memory, 10);
    auto const got = receiver.socket.receive({&in, 1});
    BOOST_REQUIRE(got);
    BOOST_TEST(*got == 1u);
    BOOST_TEST(in.length == 0u);
}

BOOST_AUTO_TEST_CASE(fwmark_holds_for_open_and_later_sockets) {
    fresh_faults fresh;
    opened<faulty_udp> a;
    wg::status const marked = a.socket.set_fwmark(42);
    if (marked == wg::status::no_permission || marked == wg::status::not_supported) {
        BOOST_TEST_MESSAGE("skipped: marks need CAP_NET_ADMIN, and an emulator that knows them");
        return;
    }
    BOOST_TEST((marked == wg::status::ok));
    BOOST_TEST(static_cast<bool>(a.socket.open(0)));
    a.socket.close();
    BOOST_TEST((a.socket.set_fwmark(43) == wg::status::ok)); // without an open socket
    faults.no_fwmark = true;
    BOOST_TEST((a.socket.open(0).why() == wg::status::no_permission)); // the mark is set later, and refused
    faults.no_fwmark = false;
    BOOST_TEST(static_cast<bool>(a.socket.open(0)));
    faults.no_fwmark = true;
    BOOST_TEST((a.socket.set_fwmark(1) == wg::status::no_permission));
}

BOOST_AUTO_TEST_CASE(sends_to_an_ipv4_mapped_destination_over_ipv4) {
    opened<> a, b;
    std::string text = "mapped", plain = "plain";
    std::array out = {datagram_to(loopback4, b.port, text), datagram_to(loopback4, b.port, plain)};
    wg::ip_address mapped{{}, wg::family::v6};
    mapped.octets[10] = mapped.octets[11] = 0xff;
    std::memcpy(mapped.octets.data() + 12, loopback4.octets.data(), 4);
    out[0].where.remote.address = mapped;
    BOOST_TEST(a.socket.send(out) == 2u);
    for (auto const& d : out) BOOST_TEST((d.why == wg::status::ok));
    auto const in = receive(b.socket, 2);
    BOOST_TEST((texts_of(in) == std::vector{text, plain}));
    for (arrival const& i : in) BOOST_TEST((i.where.remote.address == loopback4));
}

BOOST_AUTO_TEST_CASE(link_local_addresses_keep_their_scope) {
    wg::os::socket_address spelled;
    wg::endpoint where{loopback6, 51820, 7};
    where.address.octets[0] = 0xfe;
    where.address.octets[1] = 0x80;
    BOOST_TEST(wg::os::spell(where, spelled) == sizeof(sockaddr_in6));
    BOOST_TEST(spelled.v6.sin6_scope_id == 7u);
    BOOST_TEST(spelled.v6.sin6_port == ::htons(51820));
    BOOST_TEST((wg::os::read_address(spelled) == where));
    wg::endpoint const four{wg::ip_address::v4(192, 0, 2, 1), 1, 0};
    BOOST_TEST(wg::os::spell(four, spelled) == sizeof(sockaddr_in));
    BOOST_TEST(spelled.v4.sin_addr.s_addr == ::inet_addr("192.0.2.1"));
    BOOST_TEST((wg::os::read_address(spelled) == four));
}

namespace {

/// The messages that a test reads from the data socket and from the handshake socket, by their first bytes.
struct sorted {
    std::string data, handshakes;
};

/// Waits until `wanted` messages have arrived, a second at most.
template <class Socket> sorted receive_sorted(Socket& socket, std::size_t wanted) {
    sorted all;
    std::vector<std::vector<wg::byte>> memory(8, std::vector<wg::byte>(Socket::receive_bytes));
    std::array<wg::datagram, 8> datagrams;
    auto const take = [&](std::string& into, bool handshakes) {
        for (std::size_t i = 0; i < 8; ++i) datagrams[i] = {wg::packet(memory[i], 0)};
        auto const got = handshakes ? socket.receive_handshakes(datagrams) : socket.receive(datagrams);
        BOOST_REQUIRE(got);
        for (wg::datagram const& d : std::span(datagrams).first(*got)) {
            std::size_t const step = d.segment_bytes != 0 ? d.segment_bytes : std::max<std::size_t>(d.length, 1);
            for (std::size_t at = 0; at < d.length; at += step) into += static_cast<char>('0' + d.view()[at]);
        }
    };
    while (all.data.size() + all.handshakes.size() < wanted) {
        pollfd watched{socket.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 1000) != 1) break;
        take(all.data, false);
        take(all.handshakes, true);
    }
    return all;
}

/// Messages of these types in this order, each of `bytes` bytes.
template <class Socket>
void send_types(Socket& socket, wg::ip_address to, std::uint16_t port, std::initializer_list<int> types,
                std::size_t bytes = 148) {
    std::vector<std::string> texts;
    for (int const type : types) texts.push_back(static_cast<char>(type) + std::string(bytes - 1, '\0'));
    std::vector<wg::datagram> out;
    for (auto& t : texts) out.push_back(datagram_to(to, port, t));
    BOOST_TEST(socket.send(out) == texts.size());
}

} // namespace

BOOST_AUTO_TEST_CASE(handshake_messages_have_a_socket_of_their_own) {
    fresh_faults fresh;
    faults.no_gro = true; // offloads of the sender: each message is a datagram
    for (bool const v4 : {true, false}) {
        if (!v4 && ::access("/proc/net/if_inet6", F_OK) != 0) continue;
        opened<faulty_udp> sender;
        opened<> receiver(true);
        if (!receiver.socket.separates_handshakes()) {
            BOOST_TEST_MESSAGE("skip: the kernel cannot sort datagrams (SO_ATTACH_REUSEPORT_CBPF)");
            return;
        }
        send_types(sender.socket, v4 ? loopback4 : loopback6, receiver.port, {1, 4, 2, 3, 4, 0, 5, 1});
        sorted const got = receive_sorted(receiver.socket, 8);
        BOOST_TEST(got.data == "4405");
        BOOST_TEST(got.handshakes == "1231");
    }
}

/// Otherwise the event of each message would wake the thread in a flood.
BOOST_AUTO_TEST_CASE(while_many_handshake_messages_pass_the_filter_their_sockets_are_not_watched_all_the_time) {
    fresh_faults fresh;
    faults.no_gro = true;
    opened<faulty_udp> sender, receiver(true);
    if (!receiver.socket.separates_handshakes()) {
        BOOST_TEST_MESSAGE("skip: the kernel cannot sort datagrams (SO_ATTACH_REUSEPORT_CBPF)");
        return;
    }
    auto const note_window = [&](std::size_t messages) {
        faults.clock_ahead = faults.clock_ahead + wg::os::flood_filter::window;
        receiver.socket.note_received(0, 0, messages);
    };
    auto const is_readable_within = [&](int milliseconds) {
        pollfd watched{receiver.socket.fd(), POLLIN, 0};
        return ::poll(&watched, 1, milliseconds) == 1;
    };
    auto const pass_one = [&] {
        send_types(sender.socket, loopback4, receiver.port, {1});
        BOOST_TEST(receive_sorted(receiver.socket, 1).handshakes == "1");
    };
    using wg::os::flood_filter;
    flood_filter const& filter = receiver.socket.flood();
    // A window that took too long gives no rate.
    for (int i = 0; i < 20 && !filter.filters_handshakes(); ++i) note_window(flood_filter::flood_datagrams);
    if (!filter.filters_handshakes()) {
        BOOST_TEST_MESSAGE("skip: the kernel has no filter for this process (CAP_BPF, Linux 5.8)");
        return;
    }
    note_window(flood_filter::many_handshakes - 1);
    pass_one();
    send_types(sender.socket, loopback4, receiver.port, {2});
    BOOST_TEST(is_readable_within(0));
    BOOST_TEST(receive_sorted(receiver.socket, 1).handshakes == "2");

    for (int i = 0; i < 20 && !filter.passes_many_handshakes(); ++i) note_window(flood_filter::many_handshakes);
    wg::instant const before = wg::os::udp_calls::now();
    pass_one(); // the pause begins
    send_types(sender.socket, loopback4, receiver.port, {2, 3});
    send_types(sender.socket, loopback4, receiver.port, {4}); // data is still reported at once
    BOOST_TEST(is_readable_within(0));
    sorted got = receive_sorted(receiver.socket, 1);
    BOOST_TEST(got.data == "4");
    if (got.handshakes.empty()) got.handshakes = receive_sorted(receiver.socket, 2).handshakes;
    BOOST_TEST(got.handshakes == "23");
    BOOST_TEST((wg::os::udp_calls::now() - before >= udp::handshake_pause));

    note_window(0);
    pass_one();
    send_types(sender.socket, loopback4, receiver.port, {2});
    BOOST_TEST(is_readable_within(0));
}

/// The kernel sorts joined datagrams by the first one, so the others arrive at the same socket.
BOOST_AUTO_TEST_CASE(joined_datagrams_are_sorted_by_the_first_and_none_is_lost) {
    opened<> sender, receiver(true);
    if (!receiver.socket.separates_handshakes()) {
        BOOST_TEST_MESSAGE("skip: the kernel cannot sort datagrams (SO_ATTACH_REUSEPORT_CBPF)");
        return;
    }
    send_types(sender.socket, loopback4, receiver.port, {4, 1, 1, 4});
    sorted const data_first = receive_sorted(receiver.socket, 4);
    BOOST_TEST(data_first.data + data_first.handshakes == "4114");
    send_types(sender.socket, loopback4, receiver.port, {1, 4, 4, 2});
    sorted const handshake_first = receive_sorted(receiver.socket, 4);
    BOOST_TEST(handshake_first.handshakes + handshake_first.data == "1442");
}

namespace {

/// Binds to the loopback interface, whatever the name. So an interface can seem to have been made anew.
struct calls_on_loopback : wg::os::udp_calls {
    static inline bool steers = true;
    static int bind_device(int fd, char const*) noexcept { return udp_calls::bind_device(fd, "lo"); }
    static int steer(int fd, sock_fprog const& program) noexcept {
        return steers ? udp_calls::steer(fd, program) : (errno = ENOPROTOOPT, -1);
    }
};

} // namespace

/// The kernel takes a socket out of its group when the socket is bound to another interface.
BOOST_AUTO_TEST_CASE(handshake_messages_have_their_socket_after_the_interface_was_made_anew) {
    fresh_faults fresh;
    faults.no_gro = true;
    for (bool const steers : {true, false}) {
        for (bool const v4 : {true, false}) {
            if (!v4 && ::access("/proc/net/if_inet6", F_OK) != 0) continue;
            calls_on_loopback::steers = true;
            char name[] = "wg-none";
            wg::os::basic_udp<calls_on_loopback> receiver;
            receiver.set_bind_interface(name);
            receiver.separate_handshakes();
            auto const port = receiver.open(0);
            if ((!port && receiver.error() == EPERM) || (port && !receiver.separates_handshakes())) {
                BOOST_TEST_MESSAGE("skip: no right to bind to interfaces, or no SO_ATTACH_REUSEPORT_CBPF");
                return;
            }
            BOOST_REQUIRE(port);
            calls_on_loopback::steers = steers;
            std::strcpy(name, "lo"); // from now on the name has an index
            receiver.refresh_bind();
            BOOST_TEST(receiver.separates_handshakes() == steers);
            opened<faulty_udp> sender;
            for (int round = 0; round < 10; ++round)
                send_types(sender.socket, v4 ? loopback4 : loopback6, *port, {1, 4}, 1000);
            sorted const got = receive_sorted(receiver, 20);
            if (steers) {
                BOOST_TEST(got.data == "4444444444");
                BOOST_TEST(got.handshakes == "1111111111");
            } else {
                BOOST_TEST(got.data.size() == 20u);
            }
        }
    }
    calls_on_loopback::steers = true;
}

BOOST_AUTO_TEST_CASE(uses_one_socket_where_the_kernel_cannot_sort) {
    fresh_faults fresh;
    faults.no_steering = true;
    opened<> sender;
    opened<faulty_udp> receiver(true);
    BOOST_TEST(!receiver.socket.separates_handshakes());
    for (int round = 0; round < 20; ++round) send_types(sender.socket, loopback4, receiver.port, {1, 4});
    sorted const got = receive_sorted(receiver.socket, 40);
    BOOST_TEST(got.data.size() == 40u);
    BOOST_TEST(got.handshakes.empty());
    // SO_REUSEPORT is off again, so nobody can join the port.
    int const other = ::socket(AF_INET, SOCK_DGRAM, 0), yes = 1;
    BOOST_TEST(::setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(receiver.port);
    BOOST_TEST(::bind(other, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0);
    ::close(other);
}

BOOST_AUTO_TEST_CASE(uses_one_socket_unless_handshakes_are_separated) {
    opened<> sender, receiver;
    BOOST_TEST(!receiver.socket.separates_handshakes());
    send_types(sender.socket, loopback4, receiver.port, {1, 4, 2});
    BOOST_TEST(receive_sorted(receiver.socket, 3).data == "142");
}

BOOST_AUTO_TEST_CASE(another_process_cannot_join_a_port_with_two_sockets) {
    opened<> first(true);
    wg::os::udp second;
    second.separate_handshakes();
    auto const refused = second.open(first.port);
    BOOST_TEST_REQUIRE(!refused);
    BOOST_TEST((refused.why() == wg::status::address_in_use));
    first.socket.close();
    BOOST_TEST((second.open(first.port).why() == wg::status::ok));
}

// --- bound to an address or an interface

BOOST_AUTO_TEST_CASE(a_socket_bound_to_an_address_has_one_family_and_that_source) {
    for (wg::ip_address const& here : {loopback4, loopback6}) {
        udp socket;
        socket.set_bind_address({here, 77, 0}); // this port is not used
        auto const port = socket.open(0);
        if (!port && here.kind == wg::family::v6) continue; // no socket for IPv6
        BOOST_REQUIRE(port);
        BOOST_TEST(*port != 77);
        opened<> other;
        std::string text = "to it";
        std::vector<wg::datagram> out{datagram_to(here, *port, text)};
        BOOST_TEST(other.socket.send(out) == 1u);
        auto const in = receive(socket, 1);
        BOOST_REQUIRE(in.size() == 1u);
        out = {datagram_to(here, other.port, text)};
        BOOST_TEST(socket.send(out) == 1u);
        auto const back = receive(other.socket, 1);
        BOOST_REQUIRE(back.size() == 1u);
        BOOST_TEST((back[0].where.remote == wg::endpoint{here, *port, 0}));
        wg::ip_address const& elsewhere = here == loopback4 ? loopback6 : loopback4;
        out = {datagram_to(elsewhere, other.port, text)};
        BOOST_TEST(socket.send(out) == 0u);
        BOOST_TEST((out[0].why == wg::status::not_supported));
        BOOST_TEST(out[0].error == EAFNOSUPPORT);
    }
}

BOOST_AUTO_TEST_CASE(a_socket_bound_to_one_address_receives_nothing_at_another) {
    udp socket;
    socket.set_bind_address({wg::ip_address::v4(127, 0, 0, 7), 0, 0});
    auto const port = socket.open(0);
    BOOST_REQUIRE(port);
    opened<> other;
    std::string wrong = "wrong", right = "right";
    std::vector<wg::datagram> out{datagram_to(loopback4, *port, wrong),
                                  datagram_to(wg::ip_address::v4(127, 0, 0, 7), *port, right)};
    (void)other.socket.send(out);
    auto const in = receive(socket, 1);
    BOOST_REQUIRE(in.size() == 1u);
    BOOST_TEST(in[0].text == "right");
}

BOOST_AUTO_TEST_CASE(refuses_an_address_of_another_host_and_keeps_the_open_port) {
    udp socket;
    auto const before = socket.open(0);
    BOOST_REQUIRE(before);
    socket.set_bind_address({wg::ip_address::v4(192, 0, 2, 77), 0, 0}); // RFC 5737: an address without a host
    BOOST_TEST((socket.open(0).why() == wg::status::io_error));
    BOOST_TEST(socket.error() == EADDRNOTAVAIL);
    BOOST_TEST(socket.port() == *before);
}

BOOST_AUTO_TEST_CASE(a_socket_can_be_bound_to_an_interface) {
    udp socket;
    socket.set_bind_interface("wg-none-such");
    auto const missing = socket.open(0);
    if (!missing && socket.error() == EPERM) {
        BOOST_TEST_MESSAGE("skip: no right to bind to interfaces here");
        return;
    }
    BOOST_TEST((missing.why() == wg::status::io_error));
    BOOST_TEST(socket.error() == ENODEV);
    socket.set_bind_interface("lo");
    auto const port = socket.open(0);
    BOOST_REQUIRE(port);
    opened<> other;
    std::string text = "by lo";
    std::vector<wg::datagram> out{datagram_to(loopback4, *port, text)};
    BOOST_TEST(other.socket.send(out) == 1u);
    BOOST_TEST(receive(socket, 1).size() == 1u);
    socket.refresh_bind(); // nothing has changed, and nothing changes
    out = {datagram_to(loopback4, other.port, text)};
    BOOST_TEST(socket.send(out) == 1u);
    BOOST_TEST(receive(other.socket, 1).size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
