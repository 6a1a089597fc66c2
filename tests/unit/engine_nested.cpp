// SPDX-License-Identifier: BSL-1.0
// Tunnels inside tunnels: a client whose second tunnel passes through its first one, and servers in memory.
#include "wg/backends/loopback.hpp"
#include "wg/core.hpp"
#include "wg/engine/nested.hpp"
#include "wg/os/linux/clock.hpp"
#include "wg/os/linux/random.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <string>

BOOST_AUTO_TEST_SUITE(engine_nested)

namespace {

using wg::byte;
using wg::bytes_view;
using wg::change;
using wg::ip_address;
using wg::status;
using buffer = std::vector<byte>;

/// Remembers where in memory packets and datagrams were.
struct places {
    std::vector<byte const*> read, written, sent, received;
};

struct watched_tun : wg::loopback::tun {
    static constexpr std::size_t headroom = 10; // as for a device that writes a header before each packet
    places* seen;

    watched_tun(places& to, std::size_t mtu_bytes) : tun(mtu_bytes), seen(&to) {}
    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        auto const got = tun::read(packets);
        for (std::size_t i = 0; got && i < *got; ++i) seen->read.push_back(packets[i].view().data());
        return got;
    }
    std::size_t write(std::span<wg::packet> packets) noexcept {
        for (wg::packet const& p : packets) {
            BOOST_TEST(p.headroom() >= headroom);
            seen->written.push_back(p.view().data());
        }
        return tun::write(packets);
    }
};

struct watched_udp : wg::loopback::udp {
    places* seen;
    status fails = status::ok; ///< of the next datagrams
    watched_udp(places& to, wg::loopback::network& net, ip_address const& address) : udp(net, address), seen(&to) {}
    wg::result<std::size_t> receive(std::span<wg::datagram> datagrams) noexcept {
        auto const got = udp::receive(datagrams);
        for (std::size_t i = 0; got && i < *got; ++i) seen->received.push_back(datagrams[i].view().data());
        return got;
    }
    std::size_t send(std::span<wg::datagram> datagrams) noexcept {
        for (wg::datagram& d : datagrams) seen->sent.push_back(d.view().data());
        if (fails == status::ok) return udp::send(datagrams);
        for (wg::datagram& d : datagrams) d.why = fails, d.error = 105;
        return 0;
    }
};

struct base_policies : wg::core_policies {
    using clock_source = wg::os::clock;
    using random_source = wg::os::random;
    using tun_device = wg::loopback::tun;
    using udp_socket = wg::loopback::udp;
    using waiter = wg::loopback::waiter;
};
struct first_policies : base_policies {
    using tun_device = wg::nested::tun;
    using udp_socket = watched_udp;
};
struct middle_policies : base_policies {
    using tun_device = wg::nested::tun;
    using udp_socket = wg::nested::udp<first_policies>;
};
template <class Under> struct last_policies : base_policies {
    using tun_device = watched_tun;
    using udp_socket = wg::nested::udp<Under>;
};
static_assert(wg::udp_socket_with_room<wg::nested::udp<first_policies>>);
static_assert(wg::nested::udp<middle_policies>::send_headroom == 2 * wg::nested::udp<first_policies>::send_headroom);
static_assert(wg::nested::udp<middle_policies>::send_tailroom == 2 * wg::nested::udp<first_policies>::send_tailroom);

struct keys {
    wg::secret<wg::key_bytes> private_key;
    wg::public_key key{};
    keys() {
        BOOST_REQUIRE(wg::create_private_key<base_policies>(private_key));
        key = wg::public_key_of<base_policies>(private_key);
    }
};

wg::ip_prefix const everything_v4 = wg::ip_prefix::of(ip_address::v4(0, 0, 0, 0), 0);
wg::ip_prefix const everything_v6 = wg::ip_prefix::of(ip_address{{}, wg::family::v6}, 0);

/// An IPv4 packet of a protocol for experiments; the last byte is `number`.
buffer inner_packet(ip_address const& from, ip_address const& to, std::size_t size, byte number) {
    buffer p(size);
    p[0] = 0x45;
    wg::store_be16(&p[2], static_cast<std::uint16_t>(size));
    p[8] = 64;
    p[9] = 253;
    wg::copy(wg::bytes(p).subspan(12), from.view());
    wg::copy(wg::bytes(p).subspan(16), to.view());
    p.back() = number;
    return p;
}

/// A server: the packets that come out of its tunnel and hold UDP datagrams go to the network, as a router forwards
/// them, and datagrams to the addresses of `behind` go into the tunnel.
struct server : keys {
    wg::loopback::network& net;
    wg::endpoint where;
    ip_address behind{};
    wg::loopback::tun tun;
    wg::loopback::udp socket;
    wg::device<base_policies> device;
    wg::engine<base_policies> engine{device, tun, socket};

    server(wg::loopback::network& of, ip_address const& address, std::size_t mtu_bytes)
        : net(of), where{address, 51820, 0}, tun(mtu_bytes), socket(of, address) {}
    void serve(wg::public_key const& client) {
        BOOST_REQUIRE((engine.configure({change::private_key(private_key.expose()), change::listen_port(51820),
                                         change::peer(client), change::allowed_ip(everything_v4),
                                         change::allowed_ip(everything_v6)}) == status::ok));
        BOOST_REQUIRE((engine.up() == status::ok));
    }
    void step() { BOOST_REQUIRE((engine.run_once({tun.ready(), socket.ready(), 0}) == status::ok)); }
    void route() {
        for (buffer p = tun.take(); !p.empty(); p = tun.take()) {
            wg::ip_header const header = wg::parse_ip(p);
            BOOST_TEST_REQUIRE((header && header.protocol == wg::ip_protocol_udp));
            if (header.kind == wg::family::v4) {
                BOOST_TEST(wg::checksum_finish(wg::checksum_add(0, bytes_view(p).first(20))) == 0);
            } else {
                std::uint32_t const length = static_cast<std::uint32_t>(p.size() - 40);
                std::uint32_t const pseudo =
                    wg::checksum_add(length + wg::ip_protocol_udp, bytes_view(p).subspan(8, 32));
                BOOST_TEST(wg::checksum_finish(wg::checksum_add(pseudo, bytes_view(p).subspan(40))) == 0);
            }
            byte const* const udp = &p[header.header_bytes];
            BOOST_TEST(wg::load_be16(udp + 4) == p.size() - header.header_bytes);
            net.in_flight.push_back(
                {{ip_address::of(header.kind, header.source), wg::load_be16(udp), 0},
                 {ip_address::of(header.kind, header.destination), wg::load_be16(udp + 2), 0},
                 header.tos,
                 buffer(p.begin() + static_cast<std::ptrdiff_t>(header.header_bytes + 8), p.end())});
        }
        for (auto at = net.in_flight.begin(); at != net.in_flight.end();) {
            if (behind.kind == wg::family::none || at->to.address != behind) {
                ++at;
                continue;
            }
            tun.put(packet_of(*at));
            at = net.in_flight.erase(at);
        }
    }
    static buffer packet_of(wg::loopback::sent_datagram const& d) {
        bool const v4 = d.to.address.kind == wg::family::v4;
        std::size_t const ip = v4 ? 20 : 40;
        buffer p(ip + 8 + d.payload.size());
        p[0] = v4 ? 0x45 : 0x60;
        wg::store_be16(&p[v4 ? 2 : 4], static_cast<std::uint16_t>(v4 ? p.size() : p.size() - 40));
        p[v4 ? 9 : 6] = wg::ip_protocol_udp;
        wg::copy(wg::bytes(p).subspan(v4 ? 12 : 8), d.from.address.view());
        wg::copy(wg::bytes(p).subspan(v4 ? 16 : 24), d.to.address.view());
        wg::store_be16(&p[ip], d.from.port);
        wg::store_be16(&p[ip + 2], d.to.port);
        wg::store_be16(&p[ip + 4], static_cast<std::uint16_t>(8 + d.payload.size()));
        wg::copy(wg::bytes(p).subspan(ip + 8), d.payload);
        return p;
    }
};

template <class Policies> void use(wg::engine<Policies>& engine, keys const& own, server const& through) {
    BOOST_REQUIRE((engine.configure({change::private_key(own.private_key.expose()), change::peer(through.key),
                                     change::endpoint(through.where), change::allowed_ip(everything_v4),
                                     change::allowed_ip(everything_v6)}) == status::ok));
    BOOST_REQUIRE((engine.up() == status::ok));
}

/// A client and two servers. The tunnel to `second` passes through the tunnel to `first`.
struct two_hops {
    wg::loopback::network net;
    places seen;
    ip_address own, outer_own;
    server first, second;
    keys first_keys, second_keys;

    wg::nested::tun between{1420};
    watched_udp network{seen, net, ip_address::v4(192, 0, 2, 1)};
    wg::device<first_policies> first_device;
    wg::engine<first_policies> first_engine{first_device, between, network};

    watched_tun host;
    wg::nested::udp<first_policies> socket;
    wg::device<last_policies<first_policies>> second_device;
    wg::engine<last_policies<first_policies>> second_engine{second_device, host, socket};

    explicit two_hops(bool v4 = true)
        : own(ip_address::v4(10, 2, 0, 2)),
          outer_own(v4 ? ip_address::v4(10, 1, 0, 2) : ip_address{{0xfd, 0, 0, 1}, wg::family::v6}),
          first(net, ip_address::v4(192, 0, 2, 2), 1420),
          second(net, v4 ? ip_address::v4(203, 0, 113, 9) : ip_address{{0x20, 1, 0xd, 0xb8, 9}, wg::family::v6},
                 v4 ? 1360 : 1340),
          host(seen, v4 ? 1360 : 1340),
          socket(first_engine, network, between, v4 ? outer_own : ip_address{}, v4 ? ip_address{} : outer_own) {
        socket.attach(second_engine);
        first.behind = outer_own;
        first.serve(first_keys.key);
        second.serve(second_keys.key);
        use(first_engine, first_keys, first);
        use(second_engine, second_keys, second);
    }
    void run() {
        for (int i = 0; i < 30; ++i) {
            BOOST_REQUIRE((second_engine.run_once({host.ready(), false, 0}) == status::ok));
            BOOST_REQUIRE((first_engine.run_once({false, network.ready(), 0}) == status::ok));
            first.step();
            first.route();
            second.step();
        }
    }
    buffer question(std::size_t size, byte number) const {
        return inner_packet(own, ip_address::v4(10, 2, 0, 1), size, number);
    }
    buffer answer(std::size_t size, byte number) const {
        return inner_packet(ip_address::v4(10, 2, 0, 1), own, size, number);
    }
    /// Packets pass both ways.
    void works(std::size_t size, std::size_t count = 1) {
        for (std::size_t i = 0; i < count; ++i) host.put(question(size, static_cast<byte>(i)));
        run();
        for (std::size_t i = 0; i < count; ++i)
            BOOST_TEST_REQUIRE((second.tun.take() == question(size, static_cast<byte>(i))));
        for (std::size_t i = 0; i < count; ++i) second.tun.put(answer(size, static_cast<byte>(i)));
        run();
        for (std::size_t i = 0; i < count; ++i) BOOST_TEST_REQUIRE((host.take() == answer(size, static_cast<byte>(i))));
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(packets_pass_two_hops) {
    for (bool const v4 : {true, false}) {
        two_hops t(v4);
        t.works(100);
        t.works(v4 ? 1360 : 1340); // as long as the MTU
        t.works(21, 100);          // more than one batch
        BOOST_TEST(t.second_device.counter(status::no_room) == 0u);
        BOOST_TEST(t.first_device.counter(status::no_room) == 0u);
    }
}

BOOST_AUTO_TEST_CASE(the_network_sees_only_the_first_hop) {
    two_hops t;
    t.works(100);
    t.host.put(t.question(200, 1));
    BOOST_REQUIRE((t.second_engine.run_once({true, false, 0}) == status::ok));
    BOOST_TEST_REQUIRE(t.net.in_flight.size() == 1u);
    BOOST_TEST((t.net.in_flight[0].to == t.first.where));
    // 200 bytes are padded to 208; 32 bytes of the second tunnel and 28 of IP and UDP make 268, padded to 272.
    BOOST_TEST(t.net.in_flight[0].payload.size() == 272 + 32u);
}

BOOST_AUTO_TEST_CASE(no_packet_is_copied_between_the_tunnels) {
    for (bool const v4 : {true, false}) {
        two_hops t(v4);
        t.works(100);
        std::ptrdiff_t const headers = v4 ? 28 : 48;
        t.seen = {};
        t.works(500, 3);
        BOOST_TEST_REQUIRE(t.seen.read.size() == 3u);
        BOOST_TEST_REQUIRE(t.seen.sent.size() >= 3u);
        for (std::size_t i = 0; i < 3; ++i) // two headers of messages, and those of IP and UDP
            BOOST_TEST(t.seen.read[i] - t.seen.sent[i] == 16 + headers + 16);
        BOOST_TEST_REQUIRE(t.seen.written.size() == 3u);
        BOOST_TEST_REQUIRE(t.seen.received.size() >= 3u);
        for (std::size_t i = 0; i < 3; ++i)
            BOOST_TEST(t.seen.written[i] - t.seen.received[t.seen.received.size() - 3 + i] == 16 + headers + 16);
    }
}

BOOST_AUTO_TEST_CASE(a_third_tunnel_fits_into_the_second) {
    wg::loopback::network net;
    places seen;
    server first(net, ip_address::v4(192, 0, 2, 2), 1420), second(net, ip_address::v4(203, 0, 113, 9), 1360),
        third(net, ip_address::v4(198, 51, 100, 3), 1300);
    keys const of_first, of_second, of_third;
    first.behind = ip_address::v4(10, 1, 0, 2);
    second.behind = ip_address::v4(10, 2, 0, 2);
    first.serve(of_first.key);
    second.serve(of_second.key);
    third.serve(of_third.key);

    wg::nested::tun lower{1420}, upper{1360};
    watched_udp network(seen, net, ip_address::v4(192, 0, 2, 1));
    wg::device<first_policies> first_device;
    wg::engine<first_policies> first_engine(first_device, lower, network);
    wg::nested::udp<first_policies> first_socket(first_engine, network, lower, first.behind);
    wg::device<middle_policies> second_device;
    wg::engine<middle_policies> second_engine(second_device, upper, first_socket);
    first_socket.attach(second_engine);
    watched_tun host(seen, 1300);
    wg::nested::udp<middle_policies> second_socket(second_engine, first_socket, upper, second.behind);
    wg::device<last_policies<middle_policies>> third_device;
    wg::engine<last_policies<middle_policies>> third_engine(third_device, host, second_socket);
    second_socket.attach(third_engine);
    use(first_engine, of_first, first);
    use(second_engine, of_second, second);
    use(third_engine, of_third, third);

    auto const run = [&] {
        for (int i = 0; i < 40; ++i) {
            BOOST_REQUIRE((third_engine.run_once({host.ready(), false, 0}) == status::ok));
            BOOST_REQUIRE((second_engine.run_once({false, false, 0}) == status::ok));
            BOOST_REQUIRE((first_engine.run_once({false, network.ready(), 0}) == status::ok));
            for (server* const s : {&first, &second, &third}) {
                s->step();
                if (s != &third) s->route();
            }
        }
    };
    ip_address const own = ip_address::v4(10, 3, 0, 2), other = ip_address::v4(10, 3, 0, 1);
    for (byte number = 1; number <= 2; ++number) {
        seen = {};
        host.put(inner_packet(own, other, 1300, number));
        run();
        BOOST_TEST_REQUIRE((third.tun.take() == inner_packet(own, other, 1300, number)));
        third.tun.put(inner_packet(other, own, 1300, number));
        run();
        BOOST_TEST_REQUIRE((host.take() == inner_packet(other, own, 1300, number)));
    }
    BOOST_TEST(seen.read[0] - seen.sent[0] == 3 * 16 + 2 * 28);
}

BOOST_AUTO_TEST_CASE(a_packet_waits_for_the_sessions_of_both_tunnels) {
    two_hops t;
    t.host.put(t.question(100, 1));
    BOOST_REQUIRE((t.second_engine.run_once({true, false, 0}) == status::ok));
    // The initiation of the second tunnel waits for a session of the first one, and counts as sent.
    BOOST_TEST(t.first_device.counter(status::staged) == 1u);
    BOOST_TEST((t.first_engine.next_deadline() <= wg::os::clock{}.now()));
    t.run();
    BOOST_TEST((t.second.tun.take() == t.question(100, 1)));
    BOOST_TEST(t.second_device.counter(status::staged) == 1u);
}

BOOST_AUTO_TEST_CASE(says_why_a_datagram_was_not_sent) {
    two_hops t;
    t.works(100);
    byte memory[300]{};
    auto const send = [&](wg::endpoint const& to) {
        wg::datagram d{wg::packet(memory, 100, 50)};
        d.where.remote = to;
        BOOST_TEST(t.socket.send({&d, 1}) == 0u);
        return d;
    };
    BOOST_TEST((send({ip_address{{0x20}, wg::family::v6}, 5, 0}).why == status::not_supported)); // it has no IPv6
    t.network.fails = status::would_block;
    wg::datagram const blocked = send(t.second.where);
    BOOST_TEST((blocked.why == status::would_block && blocked.error == 105));
    t.network.fails = status::ok;
    BOOST_REQUIRE((t.first_engine.configure({change::replace_peers()}) == status::ok));
    BOOST_TEST((send(t.second.where).why == status::no_peer));
    t.first_engine.down();
    BOOST_TEST((send(t.second.where).why == status::device_down));
    t.socket.close();
    BOOST_TEST((send(t.second.where).why == status::not_supported));
}

BOOST_AUTO_TEST_CASE(several_sockets_share_a_tunnel) {
    two_hops t;
    wg::nested::udp<first_policies> other(t.first_engine, t.network, t.between, t.outer_own);
    auto const port = t.socket.open(40000);
    BOOST_TEST((port && *port == 40000));
    BOOST_TEST((other.open(40000).why() == status::address_in_use));
    auto const chosen = other.open(0);
    BOOST_TEST((chosen && *chosen >= 49152));
    auto const again = other.open(*chosen);
    BOOST_TEST((again && *again == *chosen));
    t.socket.close();
    BOOST_TEST(static_cast<bool>(other.open(40000)));
}

BOOST_AUTO_TEST_CASE(drops_what_is_for_no_socket) {
    two_hops t;
    t.works(100);
    wg::loopback::sent_datagram const stray{
        {ip_address::v4(203, 0, 113, 9), 51820, 0}, {t.outer_own, 7, 0}, 0, buffer(40)};
    std::uint64_t const malformed = t.second_device.counter(status::malformed);
    std::vector<buffer> packets(6, server::packet_of(stray)); // the first one has a wrong port
    for (std::size_t i = 1; i < packets.size(); ++i) wg::store_be16(&packets[i][22], *t.socket.open(49152));
    packets[1][19] ^= 1;                    // another address
    packets[2][9] = 6;                      // TCP
    wg::store_be16(&packets[3][6], 0x2000); // the first fragment
    wg::store_be16(&packets[4][6], 5);      // another fragment
    wg::store_be16(&packets[5][24], 9);     // the length of UDP: one byte
    packets.push_back(buffer(5));           // no IP packet
    std::vector<wg::packet> all;
    for (buffer& p : packets) all.push_back(wg::packet(p, 0, p.size()));
    BOOST_TEST(t.between.write(all) == all.size());
    BOOST_TEST(t.second_device.counter(status::malformed) == malformed + 1); // only the one with a short UDP length
    t.second_engine.down();
    BOOST_TEST(t.between.write(all) == all.size()); // an engine that is down takes nothing, and the call returns
    auto const none = t.between.read(all);
    BOOST_TEST((none && *none == 0));
}

BOOST_AUTO_TEST_SUITE_END()
