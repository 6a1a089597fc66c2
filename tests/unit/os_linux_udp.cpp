// SPDX-License-Identifier: BSL-1.0
// UDP sockets over the loopback interface: batches, sticky sources, segments, tos, ports.
#include "wg/os/linux/udp.hpp"

#include <boost/test/unit_test.hpp>

#include <arpa/inet.h>
#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace {

using wg::os::udp;

wg::ip_address const loopback4 = wg::ip_address::v4(127, 0, 0, 1);
wg::ip_address const loopback6 = [] {
    wg::ip_address a{{}, wg::family::v6};
    a.octets[15] = 1;
    return a;
}();

/// What a call of the seam is to answer. Counted down; 0 is the real call.
struct plan {
    int no_many = 0; ///< sendmmsg and recvmmsg are unknown
    int full = 0;    ///< this many sends find no room
    bool never_writable = false;
    int refused_segments = 0; ///< the errno of messages with pieces
    int refused_source = 0;   ///< the errno of messages with a source
    bool no_tos = false;      ///< messages with a tos are invalid
    bool no_v6 = false;
    bool no_gro = false;
    bool swapped_segments = false; ///< the other byte order, where the kernel tells of segments
    bool no_fwmark = false;
    int taken_v6_ports = 0; ///< this many binds of IPv6 find the port taken
    int messages = 0;       ///< seen by sendmmsg
    int calls = 0;
};
plan faults;

struct faulty_calls : wg::os::udp_calls {
    static int fail(int error) noexcept {
        errno = error;
        return -1;
    }
    static int socket(int domain) noexcept {
        return faults.no_v6 && domain == AF_INET6 ? fail(EAFNOSUPPORT) : udp_calls::socket(domain);
    }
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept {
        if (address->sa_family == AF_INET6 && faults.taken_v6_ports > 0) {
            --faults.taken_v6_ports;
            return fail(EADDRINUSE);
        }
        return udp_calls::bind(fd, address, size);
    }
    static int set_option(int fd, int level, int name, int value) noexcept {
        if (faults.no_gro && level == IPPROTO_UDP && (name == UDP_GRO || name == UDP_SEGMENT)) return fail(ENOPROTOOPT);
        if (faults.no_fwmark && level == SOL_SOCKET && name == SO_MARK) return fail(EPERM);
        return udp_calls::set_option(fd, level, name, value);
    }
    static bool has(msghdr& m, int of_v4, int of_v6) noexcept {
        for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c))
            if (c->cmsg_type == (c->cmsg_level == IPPROTO_IP ? of_v4 : of_v6) && c->cmsg_level != IPPROTO_UDP)
                return true;
        return false;
    }
    static int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        ++faults.calls;
        if (faults.no_many) return fail(ENOSYS);
        if (faults.full > 0) {
            --faults.full;
            return fail(EAGAIN);
        }
        if (faults.refused_segments != 0 && messages->msg_hdr.msg_iovlen > 1) return fail(faults.refused_segments);
        if (faults.refused_source != 0 && has(messages->msg_hdr, IP_PKTINFO, IPV6_PKTINFO))
            return fail(faults.refused_source);
        if (faults.no_tos && has(messages->msg_hdr, IP_TOS, IPV6_TCLASS)) return fail(EINVAL);
        int const sent = udp_calls::send_many(fd, messages, count);
        if (sent > 0) faults.messages += sent;
        return sent;
    }
    static int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (faults.no_many) return fail(ENOSYS);
        int const got = udp_calls::receive_many(fd, messages, count);
        for (int i = 0; i < got && faults.swapped_segments; ++i) swap_segments(messages[i].msg_hdr);
        return got;
    }
    static void swap_segments(msghdr& m) noexcept {
        for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
            if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
            std::uint32_t value;
            std::memcpy(&value, CMSG_DATA(c), sizeof value);
            value = __builtin_bswap32(value);
            std::memcpy(CMSG_DATA(c), &value, sizeof value);
        }
    }
    static int wait_writable(int fd, timespec const& at_most) noexcept {
        return faults.never_writable ? 0 : udp_calls::wait_writable(fd, at_most);
    }
};
using faulty_udp = wg::os::basic_udp<faulty_calls>;

struct fresh_faults {
    fresh_faults() { faults = {}; }
    ~fresh_faults() { faults = {}; }
};

wg::datagram datagram_to(wg::ip_address address, std::uint16_t port, std::string& text) {
    wg::datagram d;
    static_cast<wg::packet&>(d) =
        wg::packet(wg::bytes(reinterpret_cast<wg::byte*>(text.data()), text.size()), 0, text.size());
    d.where.remote = {address, port, 0};
    return d;
}

/// Something received, on its own.
struct arrival {
    std::string text;
    wg::path where;
    std::uint8_t tos = 0;
    std::uint16_t segment_bytes = 0;
};

/// Waits until `wanted` datagrams (segments counted one by one) have come, a second at most.
template <class Socket> std::vector<arrival> receive(Socket& socket, std::size_t wanted, std::size_t slots = 8) {
    std::vector<std::vector<wg::byte>> memory(slots, std::vector<wg::byte>(Socket::receive_bytes + 16));
    std::vector<arrival> all;
    std::size_t count = 0;
    while (count < wanted) {
        pollfd watched{socket.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 1000) != 1) break;
        std::vector<wg::datagram> datagrams(slots);
        for (std::size_t i = 0; i < slots; ++i) static_cast<wg::packet&>(datagrams[i]) = wg::packet(memory[i], 16);
        auto const got = socket.receive(datagrams);
        BOOST_REQUIRE(got);
        for (std::size_t i = 0; i < *got; ++i) {
            wg::datagram const& d = datagrams[i];
            auto const view = d.view();
            all.push_back({std::string(view.begin(), view.end()), d.where, d.tos, d.segment_bytes});
            count += d.segment_bytes == 0 ? 1 : (d.length + d.segment_bytes - 1) / d.segment_bytes;
        }
    }
    return all;
}

/// The datagrams' texts, cut where the host had joined them.
std::vector<std::string> texts_of(std::vector<arrival> const& all) {
    std::vector<std::string> texts;
    for (arrival const& a : all) {
        std::size_t const step = a.segment_bytes != 0 ? a.segment_bytes : std::max<std::size_t>(a.text.size(), 1);
        for (std::size_t at = 0; at == 0 || at < a.text.size(); at += step) texts.push_back(a.text.substr(at, step));
    }
    return texts;
}

template <class Socket = udp> struct opened {
    Socket socket;
    std::uint16_t port = 0;
    opened() {
        auto const bound = socket.open(0);
        BOOST_REQUIRE(bound);
        port = *bound;
        BOOST_REQUIRE(port != 0);
    }
};

bool host_has_v6() {
    wg::os::unique_fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_addr = in6addr_loopback;
    return fd && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) == 0;
}

/// A case that needs IPv6 says so and ends well where there is none.
#define REQUIRE_V6()                                                                                                   \
    if (!host_has_v6()) {                                                                                              \
        BOOST_TEST_MESSAGE("skipped: this host has no IPv6");                                                          \
        return;                                                                                                        \
    }

template <class Socket> void expect_sticky(Socket& server, std::uint16_t server_port, std::size_t packets) {
    // A client that dials 127.0.0.7 must be answered by 127.0.0.7.
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

BOOST_AUTO_TEST_SUITE(os_linux_udp)

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

BOOST_AUTO_TEST_CASE(answers_leave_from_the_address_that_was_dialled) {
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

BOOST_AUTO_TEST_CASE(answers_over_ipv6_leave_from_the_address_that_was_dialled) {
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
    // wireguard-go's buffers keep 12 stale bytes of an IPv6 address after an IPv4 send.
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
        std::vector<std::string> expected;
        for (int i = 0; i < 30; ++i) expected.push_back((to == &a ? "A" : to == &b ? "B" : "4") + std::to_string(i));
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
    BOOST_REQUIRE(in.size() == 1u); // UDP_GRO keeps together what loopback never cut
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
    add(one.port, 501, 0);                          // longer: a run of its own
    add(one.port, 400, 0);                          // shorter: joins it, as its last
    add(one.port, 400, 0);                          // after the last: new
    add(one.port, 400, 2), add(other.port, 400, 2); // tos, then path
    add(other.port, 0, 2), add(other.port, 400, 2); // an empty datagram stands alone
    BOOST_TEST(sender.socket.send(out) == out.size());
    BOOST_TEST(faults.messages == 7);
    std::vector<std::string> seen;
    for (auto* const socket : {&one.socket, &other.socket}) {
        auto const more = texts_of(receive(*socket, socket == &one.socket ? 6 : 3));
        seen.insert(seen.end(), more.begin(), more.end());
    }
    BOOST_TEST(seen == texts, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(long_runs_and_long_spans_arrive_whole) {
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
        // 128 datagrams at a time are planned; a message takes 64, or 65000 bytes. 300: without segmentation.
        BOOST_TEST((faults.messages == (size == 64 ? 2 + 2 + 1 : 3 + 3 + 1) || faults.messages == 300));
        std::string all, expected;
        for (arrival const& i : receive(receiver.socket, 300, 3)) all += i.text;
        for (auto const& t : texts) expected += t;
        BOOST_TEST((all == expected));
    }
}

BOOST_AUTO_TEST_CASE(sends_one_by_one_what_is_refused_as_a_run) {
    fresh_faults fresh;
    for (int const error : {EIO, EINVAL, EMSGSIZE, EOPNOTSUPP}) {
        BOOST_TEST_CONTEXT("errno " << error) {
            faults = {};
            faults.refused_segments = error;
            opened<faulty_udp> sender;
            opened<> receiver;
            std::array<std::string, 3> texts = {std::string(700, 'a'), std::string(700, 'b'), std::string(7, 'c')};
            for (int round = 0; round < 2; ++round) {
                std::vector<wg::datagram> out;
                for (auto& t : texts) out.push_back(datagram_to(loopback4, receiver.port, t));
                faults.calls = 0;
                BOOST_TEST(sender.socket.send(out) == 3u);
                auto const in = receive(receiver.socket, 3);
                BOOST_REQUIRE(in.size() == 3u);
                for (std::size_t i = 0; i < 3; ++i) BOOST_TEST(in[i].text == texts[i]);
            }
            // A card that cannot is not asked again: the second round's only call carries three messages.
            bool const remembered = faults.messages == 3;
            BOOST_TEST(remembered == (error != EINVAL && error != EMSGSIZE));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_source_that_is_gone_is_forgotten_and_the_datagram_leaves) {
    opened<> sender, receiver;
    for (std::size_t const packets : {1u, 4u}) { // alone, and as a run
        std::vector<std::string> texts(packets, std::string(100, 's'));
        std::vector<wg::datagram> out;
        for (auto& t : texts) {
            out.push_back(datagram_to(loopback4, receiver.port, t));
            out.back().where.local = {wg::ip_address::v4(192, 0, 2, 77), 0}; // RFC 5737: nobody's
        }
        BOOST_TEST(sender.socket.send(out) == packets);
        for (auto const& d : out) {
            BOOST_TEST((d.why == wg::status::ok));
            BOOST_TEST((d.where.local == wg::local_source{}));
            BOOST_TEST(d.where.remote.port == receiver.port);
        }
        auto const in = receive(receiver.socket, packets);
        BOOST_REQUIRE(!in.empty());
        BOOST_TEST((in[0].where.remote.address == loopback4));
    }
}

BOOST_AUTO_TEST_CASE(every_errno_of_a_lost_source_is_understood) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    for (int const error : {EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV}) {
        faults.refused_source = error;
        std::string text = "t";
        wg::datagram d = datagram_to(loopback4, receiver.port, text);
        d.where.local = {loopback4, 0};
        BOOST_TEST(sender.socket.send({&d, 1}) == 1u);
        BOOST_TEST((d.where.local == wg::local_source{}));
        BOOST_TEST(receive(receiver.socket, 1).size() == 1u);
    }
    faults.refused_source = EPERM; // a packet filter: the source is kept
    std::string text = "t";
    wg::datagram d = datagram_to(loopback4, receiver.port, text);
    d.where.local = {loopback4, 0};
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::no_permission));
    BOOST_TEST((d.where.local.address == loopback4));
}

BOOST_AUTO_TEST_CASE(tos_and_ecn_travel_both_ways) {
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

BOOST_AUTO_TEST_CASE(works_without_sendmmsg_and_recvmmsg) {
    fresh_faults fresh;
    faults.no_many = 1;
    opened<faulty_udp> a, b;
    std::vector<std::string> texts;
    std::vector<wg::datagram> out;
    for (int i = 0; i < 10; ++i) texts.push_back("text " + std::string(static_cast<std::size_t>(i), '.'));
    for (auto& t : texts) out.push_back(datagram_to(loopback4, b.port, t));
    BOOST_TEST(a.socket.send(out) == 10u);
    auto const in = receive(b.socket, 10, 4);
    BOOST_REQUIRE(in.size() == 10u);
    for (std::size_t i = 0; i < 10; ++i) {
        BOOST_TEST(in[i].text == texts[i]);
        BOOST_TEST((in[i].where.local.address == loopback4));
    }
    BOOST_TEST(faults.calls == 1); // asked once
}

BOOST_AUTO_TEST_CASE(waits_for_room_and_drops_when_there_is_none) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    std::string text = "t";
    faults.full = 2;
    wg::datagram d = datagram_to(loopback4, receiver.port, text);
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u); // the socket polls writable: tried again
    BOOST_TEST(receive(receiver.socket, 1).size() == 1u);

    faults.full = 1'000'000;
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u); // for send_patience, then given up
    BOOST_TEST((d.why == wg::status::would_block));
    faults.full = 1;
    faults.never_writable = true;
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::would_block));
    faults = {};
    faults.full = 1;
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u); // the next one has patience anew
    BOOST_TEST((d.why == wg::status::ok));
}

BOOST_AUTO_TEST_CASE(works_where_there_is_no_ipv6) {
    fresh_faults fresh;
    faults.no_v6 = true;
    opened<faulty_udp> a, b;
    std::string four = "four", six = "six";
    std::array out = {datagram_to(loopback6, b.port, six), datagram_to(loopback4, b.port, four)};
    BOOST_TEST(a.socket.send(out) == 1u);
    BOOST_TEST((out[0].why == wg::status::not_supported));
    BOOST_TEST((out[1].why == wg::status::ok));
    BOOST_TEST(receive(b.socket, 1).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_free_port_is_one_that_both_families_have) {
    fresh_faults fresh;
    faults.taken_v6_ports = 3;
    faulty_udp socket;
    auto const port = socket.open(0);
    BOOST_REQUIRE(port);
    BOOST_TEST(faults.taken_v6_ports == 0);
    faults.taken_v6_ports = 1000;
    BOOST_TEST((socket.open(0).why() == wg::status::address_in_use)); // gives up
    BOOST_TEST(faults.taken_v6_ports == 900);
    BOOST_TEST(socket.port() == *port);
}

BOOST_AUTO_TEST_CASE(a_failed_port_change_keeps_the_old_sockets) {
    opened<> mine, other, peer;
    int const fd = mine.socket.fd();
    BOOST_TEST((mine.socket.open(other.port).why() == wg::status::address_in_use));
    BOOST_TEST(mine.socket.port() == mine.port);
    std::string text = "still there";
    wg::datagram d = datagram_to(loopback4, mine.port, text);
    BOOST_TEST(peer.socket.send({&d, 1}) == 1u);
    auto in = receive(mine.socket, 1);
    BOOST_REQUIRE(in.size() == 1u);
    BOOST_TEST(in[0].text == text);

    auto const same = mine.socket.open(mine.port); // nothing to do
    BOOST_REQUIRE(same);
    BOOST_TEST(*same == mine.port);

    auto const moved = mine.socket.open(0);
    BOOST_REQUIRE(moved);
    BOOST_TEST(*moved != mine.port);
    BOOST_TEST(mine.socket.fd() == fd); // whoever polls it need not be told
    d = datagram_to(loopback4, *moved, text);
    BOOST_TEST(peer.socket.send({&d, 1}) == 1u);
    BOOST_TEST(receive(mine.socket, 1).size() == 1u);
    udp again;
    BOOST_TEST(static_cast<bool>(again.open(mine.port))); // the old port is free
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

BOOST_AUTO_TEST_CASE(another_thread_takes_part_in_what_is_open) {
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
    // Whoever asks first has it.
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
    // A port is free when both have let it go.
    other.close();
    a.socket.close();
    udp again;
    BOOST_REQUIRE(again.open(a.port));
    BOOST_TEST(other.share(udp{})); // of nothing
    BOOST_TEST(other.port() == 0u);
}

BOOST_AUTO_TEST_CASE(another_thread_does_without_what_was_switched_off) {
    fresh_faults const fresh;
    opened<> b;
    wg::os::offloads wanted;
    wanted.gso = wanted.batches = false;
    faulty_udp first(wanted), other;
    BOOST_REQUIRE(first.open(0));
    BOOST_REQUIRE(other.share(first));
    std::string text(100, 'x');
    std::array out = {datagram_to(loopback4, b.port, text), datagram_to(loopback4, b.port, text)};
    BOOST_TEST(other.send(out) == 2u);
    BOOST_TEST(faults.calls == 0);
    for (arrival const& a : receive(b.socket, 2)) BOOST_TEST(a.text.size() == 100u);
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
    for (int call = 0; call < 8; ++call) { // at one of eight calls the other family comes first
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
    BOOST_TEST((a.socket.set_fwmark(43) == wg::status::ok)); // with nothing open
    faults.no_fwmark = true;
    BOOST_TEST((a.socket.open(0).why() == wg::status::no_permission)); // the mark is wanted, and refused
    faults.no_fwmark = false;
    BOOST_TEST(static_cast<bool>(a.socket.open(0)));
    faults.no_fwmark = true;
    BOOST_TEST((a.socket.set_fwmark(1) == wg::status::no_permission));
}

BOOST_AUTO_TEST_CASE(where_the_host_takes_no_tos_datagrams_leave_without) {
    fresh_faults const fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    faults.no_tos = true;
    std::string text = "text";
    wg::datagram out = datagram_to(loopback4, receiver.port, text);
    out.tos = 0x88;
    BOOST_TEST(sender.socket.send({&out, 1}) == 1u);
    auto const in = receive(receiver.socket, 1);
    BOOST_REQUIRE(in.size() == 1u);
    BOOST_TEST(in[0].text == "text");
    BOOST_TEST(in[0].tos == 0);
}

BOOST_AUTO_TEST_CASE(segments_of_an_impossible_size_are_dropped_and_not_asked_for_again) {
    fresh_faults const fresh;
    opened<> sender;
    opened<faulty_udp> receiver;
    std::vector<std::string> texts(4, std::string(1000, 's'));
    auto const send = [&] {
        std::vector<wg::datagram> out;
        for (auto& text : texts) out.push_back(datagram_to(loopback4, receiver.port, text));
        BOOST_TEST(sender.socket.send(out) == texts.size());
    };
    send();
    auto const whole = receive(receiver.socket, texts.size());
    BOOST_REQUIRE(!whole.empty());
    if (whole[0].segment_bytes == 0) {
        BOOST_TEST_MESSAGE("skipped: this host joins no datagrams");
        return;
    }
    faults.swapped_segments = true;
    send();
    auto const lost = receive(receiver.socket, 1);
    BOOST_REQUIRE(lost.size() == 1u);
    BOOST_TEST(lost[0].text.empty());
    send();
    BOOST_TEST((texts_of(receive(receiver.socket, texts.size())) == texts)); // one by one
}

BOOST_AUTO_TEST_CASE(sources_in_doubt_are_told_if_an_answer_would_leave_by_their_interface) {
    opened<> server;
    server.socket.doubt_sources();
    expect_sticky(server.socket, server.port, 3); // the loopback interface is where it came by and where it goes
}

BOOST_AUTO_TEST_CASE(return_route_agrees_with_the_interface_that_leads_back_and_no_other) {
    wg::os::return_route routes;
    wg::path there{{wg::ip_address::v4(127, 0, 0, 1), 51820, 0}, {wg::ip_address::v4(127, 0, 0, 7), 1}};
    for (int again = 0; again < 2; ++again) BOOST_TEST(routes.agrees(there, 0)); // asked, then remembered
    there.local.interface_index = 2;
    BOOST_TEST(!routes.agrees(there, 0));
    there.local = {wg::ip_address::v4(192, 0, 2, 77), 1}; // not this host's
    BOOST_TEST(!routes.agrees(there, 0));
    routes.forget();
    there.local.address = there.remote.address;
    BOOST_TEST(routes.agrees(there, 0));
    if (!host_has_v6()) return;
    BOOST_TEST(routes.agrees({{loopback6, 51820, 0}, {loopback6, 1}}, 0));
    BOOST_TEST(!routes.agrees({{loopback6, 51820, 0}, {loopback6, 3}}, 0));
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

BOOST_AUTO_TEST_SUITE_END()
