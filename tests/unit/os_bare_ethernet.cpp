// SPDX-License-Identifier: BSL-1.0
// A board's UDP/IP on Ethernet, frame by frame, and the host inside the tunnel.
#include <boost/test/unit_test.hpp>

#include "board.hpp"

#include <algorithm>
#include <random>
#include <string>

namespace {

using namespace boards;
using wg::family, wg::ip_address, wg::status;
using wg::bare::mac_address;

ip_address v6(std::array<wg::byte, 16> const& octets) { return {octets, family::v6}; }

ip_address const our4 = ip_address::v4(192, 0, 2, 1), near4 = ip_address::v4(192, 0, 2, 2),
                 far4 = ip_address::v4(198, 51, 100, 9), gateway4 = ip_address::v4(192, 0, 2, 254);
ip_address const our6 = v6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
                 near6 = v6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56}),
                 all_nodes = v6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), unspecified = v6({});
mac_address const theirs = {2, 0, 0, 0, 0, 0x77}, everybody = {255, 255, 255, 255, 255, 255};

struct wired {
    test_board board{0x11};
    wg::bare::ethernet<test_board> wire{board};
    wg::byte memory[2048] = {};
    wg::datagram got;

    wired() {
        wire.set_v4({our4, 24, gateway4});
        wire.set_v6({our6, 64, {}});
        BOOST_REQUIRE(*wire.open(51820) == 51820);
    }
    status send(ip_address const& to, std::string const& text) {
        wg::datagram d;
        frame copy(text.begin(), text.end());
        static_cast<wg::packet&>(d) = wg::packet(copy, 0, copy.size());
        d.where.remote = {to, 4000, 0};
        d.tos = 0x88;
        std::size_t const sent = wire.send({&d, 1});
        BOOST_TEST(sent == (d.why == status::ok ? 1u : 0u));
        return d.why;
    }
    /// Receives these frames. Returns: how many datagrams came out of them.
    std::size_t receive(std::initializer_list<frame> frames = {}) {
        board.arriving.insert(board.arriving.end(), frames.begin(), frames.end());
        std::size_t count = 0;
        do {
            got = {};
            static_cast<wg::packet&>(got) = wg::packet(memory, 0);
            count += *wire.receive({&got, 1});
        } while (!board.arriving.empty());
        return count;
    }
    void advance_clock(wg::duration d) { board.time = board.time + d; }
};

frame ethernet_frame(mac_address const& to, mac_address const& from, std::uint16_t type, frame const& payload) {
    // Byte by byte, because g++ 14 takes copies into a vector of this size for copies out of bounds.
    frame f(wg::bare::ethernet_header_bytes + payload.size());
    for (std::size_t i = 0; i < to.size(); ++i) f[i] = to[i];
    for (std::size_t i = 0; i < from.size(); ++i) f[6 + i] = from[i];
    wg::store_be16(&f[12], type);
    for (std::size_t i = 0; i < payload.size(); ++i) f[wg::bare::ethernet_header_bytes + i] = payload[i];
    return f;
}

frame arp(wg::byte operation, mac_address const& sender_station, ip_address const& sender,
          mac_address const& target_station, ip_address const& target, mac_address const& to) {
    frame a = {0, 1, 8, 0, 6, 4, 0, operation};
    a.insert(a.end(), sender_station.begin(), sender_station.end());
    a.insert(a.end(), sender.octets.begin(), sender.octets.begin() + 4);
    a.insert(a.end(), target_station.begin(), target_station.end());
    a.insert(a.end(), target.octets.begin(), target.octets.begin() + 4);
    return ethernet_frame(to, sender_station, 0x0806, a);
}

// An independent checksum, word by word as RFC 1071 describes it.
std::uint16_t sum_of(frame data) {
    if (data.size() % 2 != 0) data.push_back(0);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < data.size(); i += 2) sum += static_cast<unsigned>(data[i] << 8 | data[i + 1]);
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

frame ip_packet(ip_address const& from, ip_address const& to, wg::byte protocol, frame message, std::size_t sum_at,
                wg::byte hops = 64) {
    bool const v4 = to.kind == family::v4;
    auto const size = static_cast<std::uint16_t>(message.size());
    if (sum_at != 0) {
        frame summed;
        if (protocol != 1) {
            summed.insert(summed.end(), from.octets.begin(), from.octets.begin() + (v4 ? 4 : 16));
            summed.insert(summed.end(), to.octets.begin(), to.octets.begin() + (v4 ? 4 : 16));
            for (int const b : {size >> 8, size & 255, 0, int{protocol}}) summed.push_back(static_cast<wg::byte>(b));
        }
        summed.insert(summed.end(), message.begin(), message.end());
        wg::store_be16(&message[sum_at], sum_of(summed));
    }
    frame p(v4 ? 20 : 40);
    if (v4) {
        p[0] = 0x45;
        wg::store_be16(&p[2], static_cast<std::uint16_t>(20 + size));
        p[8] = hops;
        p[9] = protocol;
        std::copy_n(from.octets.begin(), 4, &p[12]);
        std::copy_n(to.octets.begin(), 4, &p[16]);
        wg::store_be16(&p[10], sum_of(p));
    } else {
        p[0] = 0x60;
        wg::store_be16(&p[4], size);
        p[6] = protocol;
        p[7] = hops;
        std::copy_n(from.octets.begin(), 16, &p[8]);
        std::copy_n(to.octets.begin(), 16, &p[24]);
    }
    p.insert(p.end(), message.begin(), message.end());
    return p;
}

frame udp_packet(ip_address const& from, ip_address const& to, std::uint16_t to_port, std::string const& text) {
    frame m(8 + text.size());
    wg::store_be16(&m[0], 4000);
    wg::store_be16(&m[2], to_port);
    wg::store_be16(&m[4], static_cast<std::uint16_t>(m.size()));
    std::ranges::copy(text, m.begin() + 8);
    return ip_packet(from, to, 17, m, 6);
}

frame echo_request(ip_address const& from, ip_address const& to, std::size_t size = 56) {
    frame m(8 + size, 0x5a);
    m[0] = to.kind == family::v4 ? 8 : 128;
    m[1] = m[2] = m[3] = 0;
    return ip_packet(from, to, to.kind == family::v4 ? 1 : 58, m, 2);
}

frame discovery(wg::byte type, wg::byte flags, ip_address const& from, ip_address const& to, ip_address const& target,
                mac_address const* station, wg::byte hops = 255) {
    frame m = {type, 0, 0, 0, flags, 0, 0, 0};
    m.insert(m.end(), target.octets.begin(), target.octets.end());
    if (station != nullptr) {
        m.insert(m.end(), {static_cast<wg::byte>(type == 135 ? 1 : 2), 1});
        m.insert(m.end(), station->begin(), station->end());
    }
    return ip_packet(from, to, 58, m, 2, hops);
}

std::uint16_t type_of(frame const& f) { return wg::load_be16(&f[12]); }
frame packet_of(frame const& f) { return {f.begin() + 14, f.end()}; }
bool is_to(frame const& f, mac_address const& station) { return std::equal(station.begin(), station.end(), f.begin()); }

} // namespace

BOOST_AUTO_TEST_SUITE(os_bare_ethernet)

BOOST_AUTO_TEST_CASE(a_datagram_waits_until_the_station_is_known) {
    wired w;
    BOOST_TEST((w.send(near4, "hello") == status::ok));
    frame const asked = take(w.board);
    frame wanted = arp(1, w.board.station, our4, {}, near4, everybody);
    wanted.resize(60);
    BOOST_TEST(asked == wanted);
    BOOST_TEST(w.board.sent.empty());

    w.receive({arp(2, theirs, near4, w.board.station, our4, w.board.station)});
    frame const sent = take(w.board);
    BOOST_TEST(is_to(sent, theirs));
    BOOST_TEST(type_of(sent) == 0x0800);
    frame packet = udp_packet(our4, near4, 4000, "hello");
    auto const m = wg::bare::read_ip_packet(wg::bytes_view(sent).subspan(14));
    BOOST_REQUIRE(static_cast<bool>(m));
    BOOST_TEST((m.from() == our4 && m.to() == near4));
    BOOST_TEST(m.udp_from() == 51820);
    BOOST_TEST(m.udp_to() == 4000);
    BOOST_TEST(m.header.tos == 0x88);
    BOOST_TEST(std::string(m.udp_payload().begin(), m.udp_payload().end()) == "hello");
    BOOST_TEST((w.send(near4, "again") == status::ok)); // at once
    BOOST_TEST(is_to(take(w.board), theirs));
    BOOST_TEST(w.board.sent.empty());
}

BOOST_AUTO_TEST_CASE(a_datagram_over_ipv6_waits_until_the_station_is_known) {
    wired w;
    BOOST_TEST((w.send(near6, "hello") == status::ok));
    frame const asked = take(w.board);
    BOOST_TEST(is_to(asked, {0x33, 0x33, 0xff, 0x12, 0x34, 0x56}));
    auto const group = v6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x12, 0x34, 0x56});
    BOOST_TEST(packet_of(asked) == discovery(135, 0, our6, group, near6, &w.board.station));
    w.receive({ethernet_frame(w.board.station, theirs, 0x86dd, discovery(136, 0x60, near6, our6, near6, &theirs))});
    frame const sent = take(w.board);
    BOOST_TEST(is_to(sent, theirs));
    frame packet = packet_of(sent);
    BOOST_TEST((packet[0] == 0x68 && packet[1] == 0x80)); // traffic class 0x88
    packet[0] = 0x60;
    packet[1] = 0;
    frame expected = udp_packet(our6, near6, 4000, "hello");
    wg::store_be16(&expected[40], 51820); // the board chooses the port, and so the checksum
    frame m(expected.begin() + 40, expected.end());
    wg::store_be16(&m[6], 0);
    BOOST_TEST(packet == ip_packet(our6, near6, 17, m, 6));
}

BOOST_AUTO_TEST_CASE(asks_three_times_at_intervals_and_gives_up) {
    wired w;
    (void)w.send(near4, "hello");
    std::size_t asked = 0;
    for (int i = 0; i < 100; ++i, w.advance_clock(wg::milliseconds(100))) {
        w.receive();
        asked += w.board.sent.size();
        w.board.sent.clear();
    }
    BOOST_TEST(asked == 3u);
    w.receive({arp(2, theirs, near4, w.board.station, our4, w.board.station)});
    BOOST_TEST(w.board.sent.empty()); // no datagram waits any more
}

BOOST_AUTO_TEST_CASE(only_a_short_datagram_waits_and_a_later_one_replaces_it) {
    wired w;
    BOOST_TEST((w.send(near4, std::string(161, 'x')) == status::would_block));
    BOOST_TEST((w.send(near4, "first") == status::ok));
    BOOST_TEST((w.send(near4, "second") == status::ok));
    w.board.sent.clear();
    w.receive({arp(2, theirs, near4, w.board.station, our4, w.board.station)});
    frame const sent = take(w.board);
    BOOST_TEST(std::string(sent.begin() + 42, sent.begin() + 48) == "second");
    BOOST_TEST(w.board.sent.empty());
    BOOST_TEST((w.send(near4, std::string(1473, 'x')) == status::no_room));
    BOOST_TEST((w.send(near4, std::string(1472, 'x')) == status::ok));
    BOOST_TEST(take(w.board).size() == wg::bare::max_frame_bytes);
    w.board.broken = true;
    BOOST_TEST((w.send(near4, "x") == status::io_error));
}

BOOST_AUTO_TEST_CASE(other_networks_are_reached_through_the_gateway_only) {
    wired w;
    BOOST_TEST((w.send(far4, "hello") == status::ok));
    BOOST_TEST((ip_address::of(family::v4, &take(w.board)[38]) == gateway4));
    w.receive({arp(2, theirs, gateway4, w.board.station, our4, w.board.station)});
    frame const sent = take(w.board);
    BOOST_TEST(is_to(sent, theirs));
    BOOST_TEST((ip_address::of(family::v4, &sent[30]) == far4));
    ip_address far6 = near6;
    far6.octets[0] = 0x2a;
    BOOST_TEST((w.send(far6, "hello") == status::not_supported)); // no gateway
    w.wire.set_v4({});
    BOOST_TEST((w.send(near4, "hello") == status::not_supported));
    BOOST_TEST(w.board.sent.empty());
}

BOOST_AUTO_TEST_CASE(a_neighbour_in_use_is_asked_for_again_and_forgotten_without_an_answer) {
    wired w;
    w.receive({arp(1, theirs, near4, {}, our4, everybody)});
    w.board.sent.clear();
    w.advance_clock(wg::seconds(29));
    (void)w.send(near4, "x");
    BOOST_TEST(w.board.sent.size() == 1u);
    w.advance_clock(wg::seconds(1000)); // after a long silence it may still be there
    w.board.sent.clear();
    frame question = arp(1, w.board.station, our4, {}, near4, theirs);
    question.resize(60);
    for (int asked = 0; asked < 3; ++asked, w.advance_clock(wg::seconds(1))) {
        (void)w.send(near4, "x");
        (void)w.send(near4, "x");
        BOOST_REQUIRE(w.board.sent.size() == 3u); // a request to that station, and still the datagrams
        BOOST_TEST(take(w.board) == question);
        BOOST_TEST(type_of(take(w.board)) == 0x0800);
        w.board.sent.clear();
    }
    (void)w.send(near4, "x");
    BOOST_TEST(is_to(take(w.board), everybody));
    BOOST_TEST(w.board.sent.empty());
}

BOOST_AUTO_TEST_CASE(answers_requests_for_its_addresses) {
    wired w;
    w.receive({arp(1, theirs, near4, {}, our4, everybody)});
    frame wanted = arp(2, w.board.station, our4, theirs, near4, theirs);
    wanted.resize(60);
    BOOST_TEST(take(w.board) == wanted);
    ip_address const own_link_local = wg::bare::link_local_of(w.board.station);
    for (ip_address const& ours : {our6, own_link_local}) {
        w.receive({ethernet_frame({0x33, 0x33, 0xff, ours.octets[13], ours.octets[14], ours.octets[15]}, theirs, 0x86dd,
                                  discovery(135, 0, near6, ours, ours, &theirs))});
        frame const answer = take(w.board);
        BOOST_TEST(is_to(answer, theirs));
        BOOST_TEST(packet_of(answer) == discovery(136, 0x60, ours, near6, ours, &w.board.station));
        // a host that checks whether its address is unique has no source address
        w.receive({ethernet_frame({0x33, 0x33, 0xff, 0, 0, 1}, theirs, 0x86dd,
                                  discovery(135, 0, unspecified, ours, ours, nullptr))});
        frame const to_all = take(w.board);
        BOOST_TEST(is_to(to_all, {0x33, 0x33, 0, 0, 0, 1}));
        BOOST_TEST(packet_of(to_all) == discovery(136, 0x20, ours, all_nodes, ours, &w.board.station));
    }
    // addresses of others, and hosts that are no neighbours
    w.receive({arp(1, theirs, near4, {}, gateway4, everybody),
               ethernet_frame({0x33, 0x33, 0xff, 0x12, 0x34, 0x56}, theirs, 0x86dd,
                              discovery(135, 0, our6, near6, near6, &theirs)),
               ethernet_frame(w.board.station, theirs, 0x86dd, discovery(135, 0, near6, our6, our6, &theirs, 254))});
    BOOST_TEST(w.board.sent.empty());
}

BOOST_AUTO_TEST_CASE(learns_only_addresses_that_it_asked_for) {
    wired w;
    mac_address const liar = {2, 0, 0, 0, 0, 0x66};
    ip_address const far_near = ip_address::v4(203, 0, 113, 5);
    w.receive({arp(2, liar, near4, w.board.station, our4, w.board.station), // was not asked for
               arp(1, liar, our4, {}, near4, everybody),                    // claims the board's own address
               arp(1, {3, 0, 0, 0, 0, 1}, near4, {}, our4, everybody),      // a multicast address is no station
               arp(1, liar, far_near, {}, our4, everybody),                 // not in this network
               ethernet_frame(w.board.station, liar, 0x86dd, discovery(136, 0x60, near6, our6, near6, &liar))});
    w.board.sent.clear();
    for (ip_address const& to : {near4, far_near, near6}) (void)w.send(to, "x");
    for (frame const& f : w.board.sent) BOOST_TEST(!is_to(f, liar));
}

BOOST_AUTO_TEST_CASE(answers_echo_requests_of_both_families) {
    wired w;
    for (std::size_t const size : {std::size_t{0}, std::size_t{1}, std::size_t{56}, std::size_t{1452}}) {
        for (auto const& [from, to, type] : {std::tuple{near4, our4, 0x0800}, std::tuple{near6, our6, 0x86dd}}) {
            if (to.kind == family::v4 && size > 1452) continue;
            frame const request = echo_request(from, to, size);
            w.receive({ethernet_frame(w.board.station, theirs, static_cast<std::uint16_t>(type), request)});
            frame const answer = take(w.board);
            BOOST_TEST(is_to(answer, theirs));
            std::size_t const head = to.kind == family::v4 ? 20 : 40;
            frame message(request.begin() + static_cast<std::ptrdiff_t>(head), request.end());
            message[0] = to.kind == family::v4 ? 0 : 129;
            wg::store_be16(&message[2], 0);
            frame wanted = ip_packet(to, from, to.kind == family::v4 ? 1 : 58, message, 2);
            frame got = packet_of(answer);
            got.resize(wanted.size());   // the frame is padded
            if (to.kind == family::v4) { // the reply has an identification of its own
                BOOST_TEST(sum_of(frame(got.begin(), got.begin() + 20)) == 0);
                for (std::size_t const at : {4u, 5u, 10u, 11u}) got[at] = wanted[at] = 0;
            }
            BOOST_TEST(got == wanted);
        }
    }
    // no answer: from the board's own address, to a broadcast address, with a wrong checksum, an echo reply
    frame broken = echo_request(near4, our4);
    broken.back() ^= 1;
    frame answer = echo_request(near4, our4);
    answer[20] = 0;
    answer[22] = static_cast<wg::byte>(answer[22] + 8);
    w.receive({ethernet_frame(w.board.station, theirs, 0x0800, echo_request(our4, our4)),
               ethernet_frame(everybody, theirs, 0x0800, echo_request(near4, our4)),
               ethernet_frame(w.board.station, theirs, 0x0800, broken),
               ethernet_frame(w.board.station, theirs, 0x0800, answer),
               ethernet_frame(w.board.station, theirs, 0x86dd, echo_request(unspecified, our6))});
    BOOST_TEST(w.board.sent.empty());
}

BOOST_AUTO_TEST_CASE(receives_datagrams_for_the_open_port) {
    wired w;
    for (auto const& [from, to, type] : {std::tuple{near4, our4, 0x0800}, std::tuple{near6, our6, 0x86dd}}) {
        frame f = ethernet_frame(w.board.station, theirs, static_cast<std::uint16_t>(type),
                                 udp_packet(from, to, 51820, "text"));
        f.resize(std::max<std::size_t>(f.size(), 60) + 3); // padding and more
        BOOST_TEST(w.receive({f}) == 1u);
        BOOST_TEST(std::string(w.got.view().begin(), w.got.view().end()) == "text");
        BOOST_TEST((w.got.where.remote == wg::endpoint{from, 4000, 0}));
        BOOST_TEST((w.got.where.local.address == to));
        BOOST_TEST(w.receive({ethernet_frame(w.board.station, theirs, static_cast<std::uint16_t>(type),
                                             udp_packet(from, to, 51821, "text"))}) == 0u);
    }
    w.wire.close();
    BOOST_TEST(w.receive({ethernet_frame(w.board.station, theirs, 0x0800, udp_packet(near4, our4, 51820, "x"))}) == 0u);
}

BOOST_AUTO_TEST_CASE(drops_incomplete_and_malformed_datagrams) {
    wired w;
    auto const arrives = [&](frame packet, std::uint16_t type = 0x0800) {
        return w.receive({ethernet_frame(w.board.station, theirs, type, packet)}) != 0;
    };
    auto const header_sum = [](frame& p) {
        wg::store_be16(&p[10], 0);
        wg::store_be16(&p[10], sum_of(frame(p.begin(), p.begin() + 20)));
    };
    frame const good4 = udp_packet(near4, our4, 51820, "text"), good6 = udp_packet(near6, our6, 51820, "text");
    BOOST_TEST(arrives(good4));
    BOOST_TEST(arrives(good6, 0x86dd));
    BOOST_TEST(!arrives(good4, 0x86dd));
    BOOST_TEST(!arrives(good6));
    frame p = good4;
    p[6] = 0x20; // more fragments
    header_sum(p);
    BOOST_TEST(!arrives(p));
    p = good4;
    p[7] = 1; // the second fragment
    header_sum(p);
    BOOST_TEST(!arrives(p));
    p = good4;
    p[6] = 0x40; // "don't fragment"
    header_sum(p);
    BOOST_TEST(arrives(p));
    p = good4;
    p[1] ^= 1; // the header's checksum
    BOOST_TEST(!arrives(p));
    p = good4;
    p.back() ^= 1; // the datagram's checksum
    BOOST_TEST(!arrives(p));
    p = good4;
    wg::store_be16(&p[26], 0); // no checksum: allowed in IPv4
    BOOST_TEST(arrives(p));
    p = good6;
    wg::store_be16(&p[46], 0); // no checksum: not allowed in IPv6
    BOOST_TEST(!arrives(p, 0x86dd));
    p = good4;
    wg::store_be16(&p[24], 200); // longer than its packet
    BOOST_TEST(!arrives(p));
    p = good4;
    wg::store_be16(&p[2], 200); // longer than its frame
    header_sum(p);
    BOOST_TEST(!arrives(p));
    for (ip_address const& nobody : {ip_address::v4(0, 0, 0, 0), ip_address::v4(127, 0, 0, 1),
                                     ip_address::v4(224, 0, 0, 1), ip_address::v4(255, 255, 255, 255), our4})
        BOOST_TEST(!arrives(udp_packet(nobody, our4, 51820, "text")));
    BOOST_TEST(!arrives(udp_packet(all_nodes, our6, 51820, "text"), 0x86dd));
    BOOST_TEST(!arrives(udp_packet(unspecified, our6, 51820, "text"), 0x86dd));
    for (std::size_t size = 0; size < good4.size(); ++size)
        BOOST_TEST(!arrives(frame(good4.begin(), good4.begin() + static_cast<std::ptrdiff_t>(size))));
    for (std::size_t size = 0; size < good6.size(); ++size)
        BOOST_TEST(!arrives(frame(good6.begin(), good6.begin() + static_cast<std::ptrdiff_t>(size)), 0x86dd));
}

BOOST_AUTO_TEST_CASE(survives_random_and_mutated_frames) {
    wired w;
    std::mt19937 random(7);
    std::vector<frame> const seeds = {
        arp(1, theirs, near4, {}, our4, everybody),
        arp(2, theirs, near4, w.board.station, our4, w.board.station),
        ethernet_frame(w.board.station, theirs, 0x0800, udp_packet(near4, our4, 51820, std::string(148, 'i'))),
        ethernet_frame(w.board.station, theirs, 0x86dd, udp_packet(near6, our6, 51820, std::string(148, 'i'))),
        ethernet_frame(w.board.station, theirs, 0x0800, echo_request(near4, our4)),
        ethernet_frame(w.board.station, theirs, 0x86dd, echo_request(near6, our6)),
        ethernet_frame(w.board.station, theirs, 0x86dd, discovery(135, 0, near6, our6, our6, &theirs)),
        ethernet_frame(w.board.station, theirs, 0x86dd, discovery(136, 0x60, near6, our6, near6, &theirs)),
    };
    for (int round = 0; round < 100'000; ++round) {
        frame f = seeds[random() % seeds.size()];
        if (random() % 8 == 0) std::generate(f.begin() + 14, f.end(), [&] { return static_cast<wg::byte>(random()); });
        if (random() % 4 == 0) f.resize(random() % 1600);
        for (unsigned flips = random() % 4; flips != 0 && !f.empty(); --flips)
            f[random() % f.size()] ^= static_cast<wg::byte>(1 << random() % 8);
        w.receive({f});
        BOOST_REQUIRE(w.board.sent.size() <= 4u); // never more than there was room for
        for (frame const& s : w.board.sent) BOOST_REQUIRE(s.size() <= wg::bare::max_frame_bytes);
        w.board.sent.clear();
        w.advance_clock(wg::milliseconds(1));
    }
    w.receive({ethernet_frame(w.board.station, theirs, 0x0800, echo_request(near4, our4))});
    BOOST_TEST(type_of(take(w.board)) == 0x0800);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(os_bare_host)

namespace {

struct inside {
    wg::bare::host<1420, 2> host;
    frame payload;
    wg::endpoint from;
    std::uint16_t to_port = 0;

    inside() {
        host.set_v4(our4);
        host.set_v6(our6);
        host.set_receiver(
            [](void* context, wg::endpoint const& sender, std::uint16_t port, wg::bytes_view data) noexcept {
                auto& self = *static_cast<inside*>(context);
                self.payload.assign(data.begin(), data.end());
                self.from = sender;
                self.to_port = port;
            },
            this);
    }
    void write(frame packet) {
        wg::packet p(packet, 0, packet.size());
        BOOST_TEST(host.write({&p, 1}) == 1u);
    }
    frame read() {
        frame memory(1420);
        wg::packet p(memory, 0);
        if (*host.read({&p, 1}) == 0) return {};
        return {p.view().begin(), p.view().end()};
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(answers_echo_requests_and_receives_datagrams) {
    inside i;
    for (auto const& [far, near] : {std::pair{near4, our4}, std::pair{near6, our6}}) {
        i.write(echo_request(far, near));
        auto const answer = i.read();
        auto const m = wg::bare::read_ip_packet(answer);
        BOOST_REQUIRE(static_cast<bool>(m));
        BOOST_TEST((m.from() == near && m.to() == far));
        BOOST_TEST(m.body[0] == (near.kind == family::v4 ? 0 : 129));
        BOOST_TEST(m.body.size() == 64u);
        i.write(udp_packet(far, near, 7, "text"));
        BOOST_TEST(std::string(i.payload.begin(), i.payload.end()) == "text");
        BOOST_TEST((i.from == wg::endpoint{far, 4000, 0}));
        BOOST_TEST(i.to_port == 7);
        i.to_port = 0;
        i.write(udp_packet(far, far, 7, "text")); // another host's address
        BOOST_TEST(i.to_port == 0);
        BOOST_TEST(i.read().empty());
    }
}

BOOST_AUTO_TEST_CASE(sent_packets_wait_in_a_bounded_queue) {
    inside i;
    auto const send = [&](ip_address const& to, std::size_t size) {
        return i.host.send({to, 4000, 0}, 7, frame(size, 'x'));
    };
    BOOST_TEST((send(near4, 1420 - 28 + 1) == status::no_room));
    BOOST_TEST((send(near6, 1420 - 48 + 1) == status::no_room));
    BOOST_TEST((send(near4, 1420 - 28) == status::ok));
    BOOST_TEST((send(near6, 1420 - 48) == status::ok));
    BOOST_TEST((send(near4, 1) == status::would_block));
    i.write(echo_request(near4, our4)); // dropped for the same reason
    BOOST_TEST((wg::bare::read_ip_packet(i.read()).to() == near4));
    BOOST_TEST((send(near4, 3) == status::ok));
    BOOST_TEST((wg::bare::read_ip_packet(i.read()).to() == near6));
    frame const last = i.read();
    auto const m = wg::bare::read_ip_packet(last);
    BOOST_TEST(m.udp_payload().size() == 3u);
    BOOST_TEST(i.read().empty());
    i.host.set_v6({});
    BOOST_TEST((send(near6, 1) == status::not_supported));
    BOOST_TEST((send({}, 1) == status::not_supported));
}

BOOST_AUTO_TEST_SUITE_END()
