// SPDX-License-Identifier: BSL-1.0
// Engines on the TUN device, the socket, the waiter and the threads of macOS and the BSDs: packets pass between two of
// them over the loopback interface, with the calls of Linux below.
#include "kqueue_twin.hpp"
#include "wg/engine/workers.hpp"
#include "wg/os/bsd/tun_opener.hpp"
#include "wg/os/posix/kqueue/waiter.hpp"
#include "wg/os/posix/system/process_calls.hpp"
#include "wg/os/posix/threads.hpp"
#include "wg/wg.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <poll.h>
#include <sys/stat.h>
#include <thread>

BOOST_AUTO_TEST_SUITE(os_posix_engine)

namespace {

using namespace wg_tests::kqueue;
using wg::change, wg::status, wg::os::error_text, posix::udp_message;

constexpr posix::udp_numbers numbers_here{
    true,   IP_PKTINFO, IP_PKTINFO,       IP_PKTINFO,   IP_RECVTOS,      IP_TOS,
    IP_TOS, 1,          IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS};

struct udp_calls_here : posix::common_udp_calls, calls {
    static constexpr posix::udp_numbers const& numbers = numbers_here;
    static int bind_interface(int, bool, unsigned) noexcept { return EOPNOTSUPP; }
    static int set_mark(int, std::uint32_t) noexcept { return 0; }
    static int can_mark(std::uint32_t) noexcept { return 0; }
    static int send_many(int fd, std::span<udp_message> messages) noexcept {
        mmsghdr many[64];
        for (std::size_t i = 0; i < messages.size(); ++i) many[i] = {messages[i].header, 0};
        return ::sendmmsg(fd, many, static_cast<unsigned>(messages.size()), MSG_DONTWAIT);
    }
    static int receive_many(int fd, std::span<udp_message> messages) noexcept {
        mmsghdr many[64];
        for (std::size_t i = 0; i < messages.size(); ++i) many[i] = {messages[i].header, 0};
        int const got = ::recvmmsg(fd, many, static_cast<unsigned>(messages.size()), MSG_DONTWAIT, nullptr);
        for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got); ++i) {
            messages[i].header = many[i].msg_hdr;
            messages[i].length = many[i].msg_len;
        }
        return got;
    }
};

/// Interfaces that are pairs of sockets; the other end is the host's.
struct tun_calls_here : posix::link_calls, calls {
    static constexpr posix::tun_families families{2, 28}; // of FreeBSD
    static inline std::map<std::string, unique_fd> hosts{};

    static int set_mtu(posix::interface_name const&, std::size_t) noexcept { return 0; }
    static int mtu(posix::interface_name const&, std::size_t& bytes) noexcept { return bytes = 1420, 0; }
    static unsigned index(posix::interface_name const& name) noexcept {
        return static_cast<unsigned>(std::string(name.data()).back() - '0') + 1;
    }
    static bool name(unsigned, posix::interface_name&) noexcept { return true; }
};
struct pair_opener {
    static status open(std::string_view name, posix::opened_tun& out, error_text&) noexcept {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) != 0) return status::no_memory;
        out.fd.reset(ends[0]);
        out.name = posix::name_of(name);
        tun_calls_here::hosts[std::string(name)].reset(ends[1]);
        return status::ok;
    }
    static status adopt(int number, posix::opened_tun& out, error_text& why) noexcept {
        struct stat about {};
        if (::fstat(number, &about) != 0 || !S_ISSOCK(about.st_mode)) {
            why.set("descriptor ", number, " is no interface");
            return status::invalid;
        }
        out.fd.reset(number);
        out.name = posix::name_of("tun0");
        return status::ok;
    }
    static void close(posix::opened_tun& opened) noexcept { opened.fd.reset(); }
};

struct posix_policies : wg::default_policies {
    using tun_device = posix::basic_tun<pair_opener, tun_calls_here>;
    using udp_socket = posix::basic_udp<udp_calls_here>;
    using waiter = posix::basic_waiter<calls>;
    using threads = posix::threads;
};
static_assert(wg::engine_policies<posix_policies>);

/// A host with an interface, its engine, and the thread that runs it.
struct node {
    node(char const* name, std::size_t workers)
        : tun(std::move(*posix_policies::tun_device::open(name, why))), engine(device, tun, socket),
          helpers(engine, tun, socket, workers), waiter(tun, socket), host(tun_calls_here::hosts[name]) {}
    ~node() {
        ends = true;
        waiter.wake();
        if (runs.joinable()) runs.join();
    }
    void start() {
        BOOST_REQUIRE((engine.up() == status::ok));
        runs = std::thread([this] {
            while (!ends) {
                (void)engine.run_once(waiter.wait(engine.next_deadline()));
                if (engine.busy()) helpers.help();
            }
        });
    }
    /// Sends a packet with a number to the interface, as the host does. Returns: false if there is no room.
    bool put(wg::byte from, wg::byte to, std::uint32_t number) const {
        wg::byte p[4 + 60] = {0, 0, 0, 2, 0x45, 0, 0, 60};
        p[12] = 64;
        p[13] = 17;
        for (auto const& [at, last] : {std::pair(16, from), {20, to}}) p[at] = 10, p[at + 3] = last;
        wg::store_be32(p + 60, number);
        return ::send(host.get(), p, sizeof p, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof p);
    }
    /// Waits for a packet from the interface. Returns: its number; -1 after five seconds.
    std::int64_t take() const {
        wg::byte p[2000];
        pollfd waits{host.get(), POLLIN, 0};
        if (::poll(&waits, 1, 5000) != 1) return -1;
        if (::recv(host.get(), p, sizeof p, 0) != 64 || wg::load_be32(p) != 2) return -2;
        return wg::load_be32(p + 60);
    }

    error_text why;
    posix_policies::tun_device tun;
    posix_policies::udp_socket socket;
    wg::device<posix_policies> device;
    wg::engine<posix_policies> engine;
    wg::workers<posix_policies> helpers;
    posix_policies::waiter waiter;
    unique_fd const& host;
    std::atomic<bool> ends{false};
    std::thread runs;
};

/// Two nodes, 10.0.0.1 and 10.0.0.2, that know each other.
struct pair_of_nodes {
    explicit pair_of_nodes(std::size_t workers) : one("tun0", workers), two("tun1", workers) {
        wg::secret<wg::key_bytes> keys[2];
        wg::public_key names[2];
        for (std::size_t i = 0; i < 2; ++i) {
            BOOST_REQUIRE(wg::create_private_key(keys[i]));
            names[i] = wg::public_key_of(keys[i]);
        }
        node* const nodes[] = {&one, &two};
        for (std::size_t i = 0; i < 2; ++i) {
            auto const network = wg::text::parse_prefix(i == 0 ? "10.0.0.2/32" : "10.0.0.1/32");
            BOOST_REQUIRE(
                (nodes[i]->engine.configure({change::private_key(keys[i].expose()), change::peer(names[1 - i]),
                                             change::allowed_ip(*network)}) == status::ok));
        }
        two.start();
        wg::endpoint const where{wg::ip_address::v4(127, 0, 0, 1), two.socket.port(), 0};
        BOOST_REQUIRE((one.engine.configure({change::peer(names[1]), change::endpoint(where)}) == status::ok));
        one.start();
    }
    fresh begin{};
    node one, two;
};

} // namespace

BOOST_AUTO_TEST_CASE(packets_pass_in_both_directions) {
    pair_of_nodes both(0);
    BOOST_REQUIRE(both.one.put(1, 2, 77));
    BOOST_TEST(both.two.take() == 77);
    BOOST_REQUIRE(both.two.put(2, 1, 78)); // back to the address that the first datagram came from
    BOOST_TEST(both.one.take() == 78);
}

BOOST_AUTO_TEST_CASE(several_threads_keep_the_order_of_packets) {
    pair_of_nodes both(3);
    constexpr std::uint32_t count = 20'000;
    std::thread sends([&] {
        for (std::uint32_t number = 0; number < count;) {
            if (both.one.put(1, 2, number)) ++number;
            else std::this_thread::yield();
        }
    });
    std::int64_t last = -1;
    std::uint32_t taken = 0, overtaken = 0;
    while (last != count - 1) { // the last packet may be lost, but then this takes five seconds
        std::int64_t const number = both.two.take();
        if (number < 0) break;
        overtaken += number <= last;
        last = number;
        ++taken;
    }
    sends.join();
    BOOST_TEST(overtaken == 0u);
    BOOST_TEST(taken > count / 10); // the pair of sockets is short, and a full one drops packets
}

BOOST_AUTO_TEST_CASE(an_engine_over_a_handed_in_descriptor_has_its_sockets_protected_and_pauses) {
    fresh const begin;
    int ends[2] = {-1, -1};
    BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    unique_fd const host(ends[1]);
    error_text why;
    unique_fd const other(::epoll_create1(EPOLL_CLOEXEC));
    BOOST_TEST((posix_policies::tun_device::adopt(other.get(), why).why() == status::invalid));
    auto tun = posix_policies::tun_device::adopt(ends[0], why);
    BOOST_REQUIRE_MESSAGE(tun, why.c_str());
    struct counts {
        int protected_sockets = 0, most = 100;
    } seen;
    posix_policies::udp_socket socket;
    socket.set_protector({[](void* context, int fd) noexcept {
                              auto& c = *static_cast<counts*>(context);
                              return ::fcntl(fd, F_GETFD) != -1 && ++c.protected_sockets <= c.most;
                          },
                          &seen});
    wg::device<posix_policies> device;
    wg::engine<posix_policies> engine(device, *tun, socket);
    BOOST_REQUIRE((engine.up() == status::ok));
    int const sockets = seen.protected_sockets; // 2, or 1 on a host without IPv6
    BOOST_TEST(sockets >= 1);
    std::uint16_t const port = socket.port();
    engine.down();
    BOOST_TEST(socket.port() == 0);
    BOOST_REQUIRE((engine.up() == status::ok));
    BOOST_TEST(socket.port() == port);
    BOOST_TEST(seen.protected_sockets == 2 * sockets);
    engine.down();
    for (int allowed = 0; allowed < sockets; ++allowed) {
        seen = {0, allowed};
        BOOST_TEST((engine.up() == status::no_permission));
        BOOST_TEST(socket.error() == EPERM);
        BOOST_TEST(!engine.is_up());
    }
    seen = {};
    BOOST_TEST((engine.up() == status::ok));
}

BOOST_AUTO_TEST_SUITE_END()
