// SPDX-License-Identifier: BSL-1.0
// Two hosts in memory. The first one writes a capture and a key log, which tests/capture/capture.py has tshark read.
//
//     capture CAPTURE KEYS 4|6        (the IP version outside the tunnel)
#define WG_KEY_LOG
#include <wg/wg.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using namespace wg;

template <class Observer> struct test_policies : default_policies {
    using observer = Observer;
    using storage = growing_storage<>;
    using tun_device = loopback::tun;
    using udp_socket = loopback::udp;
    using waiter = loopback::waiter;
};
using traces = observer_pair<pcapng_observer, key_log_observer>;

template <class Observer> struct host {
    using policies = test_policies<Observer>;

    host(loopback::network& net, ip_address const& address, Observer observer)
        : device(observer), socket(net, address), engine(device, tun, socket) {
        if (!create_private_key<policies>(private_key)) std::abort();
        key = public_key_of<policies>(private_key);
    }
    void step() noexcept { (void)engine.run_once({tun.ready(), socket.ready(), 0}); }

    secret<key_bytes> private_key;
    public_key key{};
    wg::device<policies> device;
    loopback::tun tun;
    loopback::udp socket;
    wg::engine<policies> engine;
};

ip_address const inner_a = ip_address::v4(10, 0, 0, 1), inner_b = ip_address::v4(10, 0, 0, 2);

/// An inner UDP datagram of IPv4.
std::vector<byte> make_packet(ip_address const& from, ip_address const& to, std::string const& text) {
    std::vector<byte> p(28 + text.size());
    p[0] = 0x45;
    store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[8] = 64;
    p[9] = ip_protocol_udp;
    copy(bytes(p).subspan(12), from.view());
    copy(bytes(p).subspan(16), to.view());
    store_be16(&p[10], checksum_finish(checksum_add(0, bytes_view(p).first(20))));
    store_be16(&p[20], 40001);
    store_be16(&p[22], 40002);
    store_be16(&p[24], static_cast<std::uint16_t>(8 + text.size()));
    copy(bytes(p).subspan(28), {reinterpret_cast<byte const*>(text.data()), text.size()});
    return p;
}

} // namespace

int main(int count, char** arguments) {
    if (count != 4) return EXIT_FAILURE;
    os::trace_file capture_file, key_file;
    if (capture_file.open(arguments[1]) != 0 || key_file.open(arguments[2]) != 0) return EXIT_FAILURE;
    bool const v4 = std::strcmp(arguments[3], "4") == 0;
    ip_address const outer_a = v4 ? ip_address::v4(192, 0, 2, 1) : ip_address{{0x20, 1, 0xd, 0xb8, 1}, family::v6};
    ip_address const outer_b = v4 ? ip_address::v4(192, 0, 2, 2) : ip_address{{0x20, 1, 0xd, 0xb8, 2}, family::v6};

    loopback::network net;
    host<traces> a(net, outer_a,
                   {{&os::trace_file::write, &capture_file}, key_log_observer{&os::trace_file::write, &key_file}});
    host<no_observer> b(net, outer_b, {});
    secret<key_bytes> preshared;
    if (!create_private_key<default_policies>(preshared)) return EXIT_FAILURE;
    change const of_a[] = {change::private_key(a.private_key.expose()),
                           change::listen_port(51001),
                           change::peer(b.key),
                           change::preshared_key(preshared.expose()),
                           change::endpoint({outer_b, 51002, 0}),
                           change::allowed_ip(ip_prefix::of(inner_b, 32))};
    change const of_b[] = {change::private_key(b.private_key.expose()), change::listen_port(51002), change::peer(a.key),
                           change::preshared_key(preshared.expose()),
                           change::allowed_ip(ip_prefix::of(ip_address::v4(10, 0, 0, 0), 8))};
    if (a.engine.configure(of_a) != status::ok || b.engine.configure(of_b) != status::ok) return EXIT_FAILURE;
    if (a.engine.up() != status::ok || b.engine.up() != status::ok) return EXIT_FAILURE;
    auto const run = [&] {
        for (int i = 0; i < 8; ++i) {
            a.step();
            b.step();
        }
    };

    a.tun.put(make_packet(inner_a, inner_b, "question")); // is staged until the session has begun
    run();
    b.tun.put(make_packet(inner_b, inner_a, "answer"));
    a.tun.put(make_packet(inner_a, inner_b, "more"));
    run();
    a.tun.put(make_packet(inner_a, ip_address::v4(10, 9, 9, 9), "nobody")); // no peer has this address
    b.tun.put(make_packet(ip_address::v4(10, 7, 7, 7), inner_a, "forged source"));
    run();
    b.tun.put(make_packet(inner_b, inner_a, "damaged"));
    b.step();
    if (net.in_flight.empty()) return EXIT_FAILURE;
    net.in_flight.back().payload.back() ^= 1;
    run();
    // A session of which A is the responder.
    if (b.engine.configure({change::replace_peers()}) != status::ok) return EXIT_FAILURE;
    change const again[] = {change::peer(a.key), change::preshared_key(preshared.expose()),
                            change::endpoint({outer_a, 51001, 0}),
                            change::allowed_ip(ip_prefix::of(ip_address::v4(10, 0, 0, 0), 8))};
    if (b.engine.configure(again) != status::ok) return EXIT_FAILURE;
    b.tun.put(make_packet(inner_b, inner_a, "as initiator"));
    run();

    std::size_t arrived_a = 0, arrived_b = 0;
    while (!a.tun.take().empty()) ++arrived_a;
    while (!b.tun.take().empty()) ++arrived_b;
    std::printf("%zu %zu\n", arrived_a, arrived_b);
    return capture_file.error() == 0 && key_file.error() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
