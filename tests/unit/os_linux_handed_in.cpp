// SPDX-License-Identifier: BSL-1.0
// Engines over descriptors that a platform hands in, as Android's VpnService does: no rights, no interface of our own,
// no configuration socket. Each socket is protected; the engine pauses for a sleep and for another network.
#include "wg/wg.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <sys/socket.h>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_handed_in)

namespace {

using wg::change, wg::status, wg::os::unique_fd;

/// Models `tun_device` over a descriptor of which each read and write is one packet.
struct packet_descriptor {
    static constexpr std::size_t headroom = 0;
    unique_fd own{};

    int fd() const noexcept { return own.get(); }
    std::size_t mtu() noexcept { return 1280; }
    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        for (std::size_t count = 0; count < packets.size(); ++count) {
            wg::packet& p = packets[count];
            ssize_t const size = ::read(own.get(), p.buffer + p.offset, p.capacity - p.offset);
            if (size == 0 && count == 0) return status::gone;
            if (size <= 0) return count;
            p.length = static_cast<std::uint32_t>(size);
        }
        return packets.size();
    }
    std::size_t write(std::span<wg::packet> packets) noexcept {
        std::size_t taken = 0;
        for (wg::packet const& p : packets) taken += ::write(own.get(), p.buffer + p.offset, p.length) == p.length;
        return taken;
    }
};

struct app_policies : wg::default_policies {
    using tun_device = packet_descriptor;
};
static_assert(wg::engine_policies<app_policies>);

/// The platform's side: it protects sockets, or refuses from the socket on whose place in the row is `refused_from`.
struct platform {
    std::vector<int> families{};
    bool some_were_bound = false;
    std::size_t refused_from = SIZE_MAX;

    wg::os::socket_protector protector() { return {&protect, this}; }
    static bool protect(void* context, int fd) noexcept {
        auto& self = *static_cast<platform*>(context);
        wg::os::socket_address own{};
        socklen_t size = sizeof own;
        if (::getsockname(fd, &own.any, &size) != 0) return false;
        self.some_were_bound = self.some_were_bound || wg::os::read_address(own).port != 0;
        self.families.push_back(own.any.sa_family);
        return self.families.size() <= self.refused_from;
    }
};

struct app {
    explicit app(wg::byte last_octet) : last(last_octet) {
        int ends[2] = {-1, -1};
        BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        tun.own.reset(ends[0]);
        system.reset(ends[1]);
        waiter.watch_tun(tun.fd());
        socket.set_protector(platform_side.protector());
        BOOST_REQUIRE(wg::create_private_key(key));
        BOOST_REQUIRE((engine.configure({change::private_key(key.expose())}) == status::ok));
    }
    void meet(app& other) {
        wg::endpoint const where{wg::ip_address::v4(127, 0, 0, 1), other.socket.port(), 0};
        auto const inner = wg::ip_prefix::of(wg::ip_address::v4(10, 0, 0, other.last), 32);
        BOOST_REQUIRE((engine.configure({change::peer(wg::public_key_of(other.key)), change::endpoint(where),
                                         change::allowed_ip(inner)}) == status::ok));
    }
    void run() { BOOST_REQUIRE((engine.run_once(waiter.wait(wg::instant{})) == status::ok)); }
    /// An application sends a packet with `number` to `to`.
    void put(app const& to, wg::byte number) const {
        wg::byte p[28] = {0x45, 0, 0, sizeof p};
        p[8] = 64;
        p[9] = 253;
        for (auto const& [at, octet] : {std::pair(12, last), {16, to.last}}) p[at] = 10, p[at + 3] = octet;
        p[27] = number;
        BOOST_REQUIRE(::send(system.get(), p, sizeof p, MSG_NOSIGNAL) == ssize_t{sizeof p});
    }
    /// Returns: the number of a packet that came out of the tunnel; -1: none.
    int take() const {
        wg::byte p[100];
        return ::recv(system.get(), p, sizeof p, 0) == 28 ? p[27] : -1;
    }

    wg::byte last;
    platform platform_side{};
    packet_descriptor tun{};
    unique_fd system{};
    wg::os::udp socket{};
    wg::device<app_policies> device{};
    wg::engine<app_policies> engine{device, tun, socket};
    wg::os::waiter waiter{-1, socket.fd()};
    wg::secret<wg::key_bytes> key{};
};

/// Runs both until `to` has a packet for its application. Returns: its number; -1 after five seconds.
int arrives(app& from, app& to) {
    auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (int number = -1; std::chrono::steady_clock::now() < until;) {
        from.run();
        to.run();
        if ((number = to.take()) >= 0) return number;
    }
    return -1;
}

struct two_apps {
    two_apps() {
        for (app* a : {&one, &two}) BOOST_REQUIRE((a->engine.up() == status::ok));
        one.meet(two);
        two.meet(one);
    }
    /// A device answers one initiation of a peer in 20 ms.
    void let_initiations_pass() {
        auto const until = std::chrono::steady_clock::now() + std::chrono::milliseconds(25);
        while (std::chrono::steady_clock::now() < until) one.run(), two.run();
    }
    app one{1}, two{2};
};

} // namespace

BOOST_AUTO_TEST_CASE(engines_over_handed_in_descriptors_exchange_packets) {
    two_apps apps;
    for (wg::byte number = 0; number < 20; ++number) {
        apps.one.put(apps.two, number);
        BOOST_TEST(arrives(apps.one, apps.two) == number);
        apps.two.put(apps.one, static_cast<wg::byte>(100 + number));
        BOOST_TEST(arrives(apps.two, apps.one) == 100 + number);
    }
}

BOOST_AUTO_TEST_CASE(each_socket_is_protected_before_it_is_bound) {
    app a(1);
    BOOST_TEST(a.platform_side.families.empty());
    BOOST_REQUIRE((a.engine.up() == status::ok));
    auto const of = [&](int family) {
        return std::count(a.platform_side.families.begin(), a.platform_side.families.end(), family);
    };
    BOOST_TEST(!a.platform_side.some_were_bound);
    BOOST_TEST(of(AF_INET) == (a.socket.separates_handshakes() ? 2 : 1)); // for data, and for handshake messages
    BOOST_TEST(of(AF_INET6) <= of(AF_INET));                              // none on a host without IPv6
}

BOOST_AUTO_TEST_CASE(a_refused_socket_is_closed_and_the_engine_stays_down) {
    app all(1);
    BOOST_REQUIRE((all.engine.up() == status::ok));
    std::size_t const sockets = all.platform_side.families.size();
    for (std::size_t allowed = 0; allowed < sockets; ++allowed) {
        app a(2);
        a.platform_side.refused_from = allowed;
        int const next = ::dup(0);
        ::close(next);
        BOOST_TEST((a.engine.up() == status::no_permission));
        BOOST_TEST(a.socket.error() == EPERM);
        BOOST_TEST(!a.engine.is_up());
        int const free = ::dup(0);
        ::close(free);
        BOOST_TEST(free == next); // no socket is left open
        BOOST_TEST(a.platform_side.families.size() == allowed + 1);

        a.platform_side.refused_from = SIZE_MAX;
        BOOST_TEST((a.engine.up() == status::ok));
    }
}

BOOST_AUTO_TEST_CASE(a_refused_new_port_leaves_the_open_one) {
    two_apps apps;
    std::uint16_t const port = apps.one.socket.port();
    apps.one.platform_side.refused_from = 0;
    BOOST_TEST((apps.one.engine.configure({change::listen_port(0)}) == status::no_permission));
    BOOST_TEST(apps.one.socket.port() == port);
    apps.one.put(apps.two, 5);
    BOOST_TEST(arrives(apps.one, apps.two) == 5);
}

BOOST_AUTO_TEST_CASE(another_network_gets_new_protected_sockets_at_the_same_port) {
    two_apps apps;
    apps.one.put(apps.two, 1);
    BOOST_REQUIRE(arrives(apps.one, apps.two) == 1);
    std::uint16_t const port = apps.one.socket.port();
    std::size_t const before = apps.one.platform_side.families.size();
    apps.let_initiations_pass();
    apps.one.engine.down();
    BOOST_REQUIRE((apps.one.engine.up() == status::ok));
    BOOST_TEST(apps.one.socket.port() == port);
    BOOST_TEST(apps.one.platform_side.families.size() == 2 * before);
    apps.one.put(apps.two, 2);
    BOOST_TEST(arrives(apps.one, apps.two) == 2);
    apps.two.put(apps.one, 3);
    BOOST_TEST(arrives(apps.two, apps.one) == 3);
}

BOOST_AUTO_TEST_CASE(an_engine_that_sleeps_has_no_socket_and_no_timer_and_drops_packets) {
    two_apps apps;
    apps.one.put(apps.two, 1);
    BOOST_REQUIRE(arrives(apps.one, apps.two) == 1);
    apps.one.engine.down();
    BOOST_TEST(apps.one.socket.port() == 0);
    BOOST_TEST((apps.one.engine.next_deadline() == wg::instant::never()));
    apps.one.put(apps.two, 2);
    apps.let_initiations_pass();
    BOOST_TEST(apps.two.take() == -1);
    BOOST_TEST(apps.one.device.counter(status::device_down) == 1u);
    BOOST_REQUIRE((apps.one.engine.up() == status::ok));
    apps.one.put(apps.two, 3);
    BOOST_TEST(arrives(apps.one, apps.two) == 3);
}

BOOST_AUTO_TEST_CASE(the_end_of_the_descriptor_ends_the_engine) {
    two_apps apps;
    apps.one.system.reset(); // the user switched the tunnel off
    BOOST_TEST((apps.one.engine.run_once(apps.one.waiter.wait(wg::instant{})) == status::gone));
}

BOOST_AUTO_TEST_SUITE_END()
