// SPDX-License-Identifier: BSL-1.0
// Two WireGuard hosts in one process, and a network in memory between them. Prints each message; needs no root rights.
#include <wg/wg.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace {

using namespace wg;

// A portable clock and random source, so that this sample runs on every platform with a C++ library.
struct sample_clock {
    instant now() const noexcept {
        return {std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count()};
    }
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        auto const ns = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
        store_be64(label.data(), 0x400000000000000aULL + static_cast<std::uint64_t>(ns / 1'000'000'000));
        store_be32(&label[8], static_cast<std::uint32_t>(ns % 1'000'000'000));
    }
};
struct sample_random {
    bool fill(bytes out) noexcept {
        static std::random_device device;
        for (byte& b : out) b = static_cast<byte>(device());
        return true;
    }
};

struct sample_policies : default_policies {
    using clock_source = sample_clock;
    using random_source = sample_random;
    using storage = growing_storage<>;
    using tun_device = loopback::tun;
    using udp_socket = loopback::udp;
    using waiter = loopback::waiter;
};

struct host {
    host(char const* its_name, loopback::network& net, ip_address const& address)
        : name(its_name), socket(net, address), engine(device, tun, socket), waiter(tun, socket) {
        if (!create_private_key<sample_policies>(private_key)) std::abort();
        public_key = public_key_of(private_key);
    }
    void run_once() noexcept { (void)engine.run_once(waiter.wait(instant{})); }

    char const* name;
    secret<key_bytes> private_key;
    wg::public_key public_key{};
    wg::device<sample_policies> device;
    loopback::tun tun;
    loopback::udp socket;
    wg::engine<sample_policies> engine;
    loopback::waiter waiter;
};

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

void print_datagram(host const& from, host const& to, loopback::sent_datagram const& d) {
    char const* what = d.payload.size() == transport_layout::minimum_size ? "keepalive" : "transport data";
    switch (type_of(d.payload)) {
    case message_type::initiation: what = "handshake initiation"; break;
    case message_type::response: what = "handshake response"; break;
    case message_type::cookie_reply: what = "cookie reply"; break;
    default: break;
    }
    std::printf("  %s -> %s  %-20s %4zu bytes  ", from.name, to.name, what, d.payload.size());
    for (std::size_t i = 0; i < 16; ++i) std::printf("%02x", static_cast<unsigned>(d.payload[i]));
    std::printf("...\n");
}

bool print_arrival(host& at, std::string const& expected) {
    std::vector<byte> const p = at.tun.take();
    if (p.size() < 20) return false;
    std::string const text(p.begin() + 20, p.end());
    std::printf("  %s received: \"%s\"\n", at.name, text.c_str());
    return text == expected;
}

} // namespace

int main() {
    ip_address const outer_a = ip_address::v4(192, 0, 2, 1), outer_b = ip_address::v4(192, 0, 2, 2);
    ip_address const inner_a = ip_address::v4(10, 0, 0, 1), inner_b = ip_address::v4(10, 0, 0, 2);
    loopback::network net;
    host a("A", net, outer_a), b("B", net, outer_b);

    change const of_a[] = {change::private_key(a.private_key.expose()), change::listen_port(51820),
                           change::peer(b.public_key), change::endpoint({outer_b, 51820}),
                           change::allowed_ip(ip_prefix::of(inner_b, 32))};
    change const of_b[] = {change::private_key(b.private_key.expose()), change::listen_port(51820),
                           change::peer(a.public_key), change::allowed_ip(ip_prefix::of(inner_a, 32))};
    if (a.engine.configure(of_a) != status::ok || b.engine.configure(of_b) != status::ok) return EXIT_FAILURE;
    if (a.engine.up() != status::ok || b.engine.up() != status::ok) return EXIT_FAILURE;

    auto const run = [&] {
        for (int i = 0; i < 8; ++i) {
            for (host* const h : {&a, &b}) {
                h->run_once(); // receives all datagrams in flight, so that the ones in flight now are from `h`
                for (loopback::sent_datagram const& d : net.in_flight) print_datagram(*h, h == &a ? b : a, d);
            }
        }
    };

    std::string const question = "Can you hear me?", answer = "Loud and clear, and nobody else can.";
    std::printf("A has the public key and the endpoint of B. B has the public key of A.\n");
    std::printf("A sends \"%s\" to %s:\n", question.c_str(), "10.0.0.2");
    a.tun.put(make_packet(inner_a, inner_b, question));
    run();
    bool good = print_arrival(b, question);
    std::printf("B sends its answer to the endpoint that the handshake came from:\n");
    b.tun.put(make_packet(inner_b, inner_a, answer));
    run();
    good = print_arrival(a, answer) && good;
    std::printf(good ? "Both arrived.\n" : "A message was lost.\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
