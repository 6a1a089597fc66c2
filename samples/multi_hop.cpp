// SPDX-License-Identifier: BSL-1.0
// Two tunnels, one inside the other, over a network in memory; needs no root rights. The client sends a packet to the
// second server. The network sees only datagrams between the client and the first server, and the first server sees
// only encrypted datagrams to the second one.
#include <wg/wg.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using namespace wg;

struct server_policies : default_policies {
    using storage = growing_storage<>;
    using tun_device = loopback::tun;
    using udp_socket = loopback::udp;
    using waiter = loopback::waiter;
};
struct first_policies : server_policies {
    using tun_device = nested::tun;
};
struct second_policies : server_policies {
    using udp_socket = nested::udp<first_policies>;
};

struct keys {
    secret<key_bytes> private_key;
    wg::public_key public_key{};

    keys() {
        if (!create_private_key(private_key)) std::abort();
        public_key = public_key_of(private_key);
    }
};

ip_prefix const everything = ip_prefix::of(ip_address::v4(0, 0, 0, 0), 0);
ip_address const client_in_first = ip_address::v4(10, 1, 0, 2), client_in_second = ip_address::v4(10, 2, 0, 2),
                 server_in_second = ip_address::v4(10, 2, 0, 1);

struct server : keys {
    server(loopback::network& net, ip_address const& address, std::size_t mtu_bytes, wg::public_key const& client)
        : where{address, 51820, 0}, tun(mtu_bytes), socket(net, address), engine(device, tun, socket) {
        if (engine.configure({change::private_key(private_key.expose()), change::listen_port(where.port),
                              change::peer(client), change::allowed_ip(everything)}) != status::ok ||
            engine.up() != status::ok)
            std::abort();
    }
    void step() noexcept { (void)engine.run_once({tun.ready(), socket.ready(), 0}); }

    endpoint where;
    loopback::tun tun;
    loopback::udp socket;
    wg::device<server_policies> device;
    wg::engine<server_policies> engine;
};

// The client: `second` sends its datagrams through `first`.
struct client {
    client(loopback::network& net, ip_address const& address) : network(net, address) { socket.attach(second); }

    template <class Engine> static void connect(Engine& engine, keys const& own, server const& to) {
        if (engine.configure({change::private_key(own.private_key.expose()), change::peer(to.public_key),
                              change::endpoint(to.where), change::allowed_ip(everything)}) != status::ok ||
            engine.up() != status::ok)
            std::abort();
    }
    void step() noexcept {
        (void)second.run_once({host.ready(), false, 0});
        (void)first.run_once({false, network.ready(), 0}); // also runs `second` for the datagrams that arrive
    }

    nested::tun between{1420};
    loopback::udp network;
    wg::device<first_policies> first_device;
    wg::engine<first_policies> first{first_device, between, network};

    loopback::tun host{1360}; // 1420 without 28 bytes of IP and UDP and 32 of the second tunnel
    nested::udp<first_policies> socket{first, network, between, client_in_first};
    wg::device<second_policies> second_device;
    wg::engine<second_policies> second{second_device, host, socket};
};

// The first server as a router: datagrams from its tunnel go to the network, and those to the client into the tunnel.
void forward(server& from, loopback::network& net) {
    for (std::vector<byte> p = from.tun.take(); !p.empty(); p = from.tun.take()) {
        ip_header const header = parse_ip(p);
        auto const payload = p.begin() + static_cast<std::ptrdiff_t>(header.header_bytes + udp_header_bytes);
        byte const* const udp = &p[header.header_bytes];
        net.in_flight.push_back({{ip_address::of(header.kind, header.source), load_be16(udp), 0},
                                 {ip_address::of(header.kind, header.destination), load_be16(udp + 2), 0},
                                 header.tos,
                                 std::vector<byte>(payload, p.end())});
    }
    while (!net.in_flight.empty() && net.in_flight.front().to.address == client_in_first) {
        loopback::sent_datagram const d = std::move(net.in_flight.front());
        net.in_flight.pop_front();
        std::vector<byte> p(ipv4_header_bytes + udp_header_bytes + d.payload.size());
        p[0] = 0x45;
        store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
        p[8] = 64;
        p[9] = ip_protocol_udp;
        copy(bytes(p).subspan(12), d.from.address.view());
        copy(bytes(p).subspan(16), d.to.address.view());
        store_be16(&p[10], checksum_finish(checksum_add(0, bytes_view(p).first(ipv4_header_bytes))));
        store_be16(&p[20], d.from.port);
        store_be16(&p[22], d.to.port);
        store_be16(&p[24], static_cast<std::uint16_t>(udp_header_bytes + d.payload.size()));
        copy(bytes(p).subspan(ipv4_header_bytes + udp_header_bytes), d.payload);
        from.tun.put(p);
    }
}

// An IPv4 packet with `text` as the payload of protocol 253, which RFC 3692 reserves for experiments.
std::vector<byte> make_packet(ip_address const& from, ip_address const& to, std::string const& text) {
    std::vector<byte> p(20 + text.size());
    p[0] = 0x45;
    store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[8] = 64;
    p[9] = 253;
    copy(bytes(p).subspan(12), from.view());
    copy(bytes(p).subspan(16), to.view());
    store_be16(&p[10], checksum_finish(checksum_add(0, bytes_view(p).first(20))));
    copy(bytes(p).subspan(20), {reinterpret_cast<byte const*>(text.data()), text.size()});
    return p;
}

bool print_arrival(char const* at, loopback::tun& tun, std::string const& expected) {
    std::vector<byte> const p = tun.take();
    std::string const text(p.size() < 20 ? p.end() : p.begin() + 20, p.end());
    std::printf("%s received: \"%s\"\n", at, text.c_str());
    return text == expected;
}

void print(char const* link, loopback::network const& net) {
    for (loopback::sent_datagram const& d : net.in_flight) std::printf("  %s: %zu bytes\n", link, d.payload.size());
}

} // namespace

int main() {
    loopback::network net;
    keys const first_keys, second_keys;
    server first(net, ip_address::v4(192, 0, 2, 2), 1420, first_keys.public_key);
    server second(net, ip_address::v4(203, 0, 113, 9), 1360, second_keys.public_key);
    client own(net, ip_address::v4(192, 0, 2, 1));
    client::connect(own.first, first_keys, first);
    client::connect(own.second, second_keys, second);

    auto const run = [&] {
        for (int i = 0; i < 16; ++i) {
            own.step();
            print("client -> first server         ", net);
            first.step();
            forward(first, net);
            print("first server -> second server  ", net);
            second.step();
            print("second server -> first server  ", net);
            forward(first, net);
            first.step();
            print("first server -> client         ", net);
        }
    };
    std::string const question = "Which way did I come?", answer = "From the first server, for all I can see.";
    own.host.put(make_packet(client_in_second, server_in_second, question));
    run();
    bool good = print_arrival("The second server", second.tun, question);
    second.tun.put(make_packet(server_in_second, client_in_second, answer));
    run();
    good = print_arrival("The client", own.host, answer) && good;
    std::printf(good ? "Both arrived.\n" : "A message was lost.\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
