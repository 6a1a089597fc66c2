// SPDX-License-Identifier: BSL-1.0
// One descriptor for the event loop of a program, and two engines in one loop of poll(2).
#include "wg/os/linux/pollable.hpp"
#include "wg/core.hpp"
#include "wg/engine/engine.hpp"
#include "wg/os/linux/clock.hpp"
#include "wg/os/linux/random.hpp"
#include "wg/os/linux/udp/udp.hpp"
#include "wg/os/linux/waiter.hpp"

#include <boost/test/unit_test.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_pollable)

namespace {

using wg::change;
using wg::status;
using wg::os::unique_fd;

wg::instant now() { return wg::os::clock{}.now(); }

bool is_readable(int fd, int timeout_ms = 0) {
    pollfd watched{fd, POLLIN, 0};
    return ::poll(&watched, 1, timeout_ms) == 1;
}

struct pipe_ends {
    unique_fd from, to;
    pipe_ends() {
        int ends[2];
        BOOST_REQUIRE_EQUAL(::pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    void put() { BOOST_REQUIRE_EQUAL(::write(to.get(), "x", 1), 1); }
    void take() {
        char sink;
        BOOST_REQUIRE_EQUAL(::read(from.get(), &sink, 1), 1);
    }
};

/// Stands in for an engine: has the deadline that the test sets, and remembers what was ready.
struct fake_engine {
    wg::instant deadline = wg::instant::never();
    wg::readiness ready{};
    unsigned steps = 0;
    status result = status::ok;

    status run_once(wg::readiness const& found) noexcept {
        ready = found;
        ++steps;
        return result;
    }
    wg::instant next_deadline() const noexcept { return deadline; }
};

/// System calls that fail where the test says so.
struct failing_calls : wg::os::pollable_calls {
    static inline bool no_epoll = false, no_event = false, no_timer = false, no_set_timer = false;
    static inline unsigned timer_sets = 0;
    static int create_epoll() noexcept { return no_epoll ? -1 : pollable_calls::create_epoll(); }
    static int create_event() noexcept { return no_event ? -1 : pollable_calls::create_event(); }
    static int create_timer() noexcept { return no_timer ? -1 : pollable_calls::create_timer(); }
    static int set_timer(int fd, itimerspec const& due) noexcept {
        ++timer_sets;
        return no_set_timer ? -1 : pollable_calls::set_timer(fd, due);
    }
};
using failing_pollable = wg::os::basic_pollable<failing_calls>;

} // namespace

BOOST_AUTO_TEST_CASE(is_readable_at_once_and_then_only_for_work) {
    pipe_ends tun, udp;
    wg::os::pollable work(tun.from.get(), udp.from.get());
    BOOST_REQUIRE(static_cast<bool>(work));
    fake_engine engine;
    BOOST_TEST(is_readable(work.fd())); // the first step arms the timer
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST((!engine.ready.tun && !engine.ready.udp));
    BOOST_TEST(!is_readable(work.fd()));
    tun.put();
    BOOST_TEST(is_readable(work.fd()));
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST((engine.ready.tun && !engine.ready.udp));
    BOOST_TEST(is_readable(work.fd())); // the engine has read nothing, so there is still work
    tun.take();
    udp.put();
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST((!engine.ready.tun && engine.ready.udp));
    udp.take();
    BOOST_TEST(!is_readable(work.fd()));
    BOOST_TEST(engine.steps == 3u);
}

BOOST_AUTO_TEST_CASE(is_readable_at_the_deadline_of_the_engine) {
    wg::os::pollable work;
    fake_engine engine;
    engine.deadline = now() + wg::milliseconds(30);
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(is_readable(work.fd(), 10'000));
    BOOST_TEST((now() >= engine.deadline));
    engine.deadline = wg::instant{}; // work is due now
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(is_readable(work.fd(), 10'000));
    engine.deadline = wg::instant::never();
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(!is_readable(work.fd()));
}

BOOST_AUTO_TEST_CASE(a_later_deadline_costs_no_system_call_and_an_earlier_one_is_kept) {
    failing_calls::timer_sets = 0;
    failing_pollable work;
    fake_engine engine;
    engine.deadline = now() + wg::seconds(20);
    BOOST_TEST((work.step(engine) == status::ok));
    unsigned const sets = failing_calls::timer_sets;
    engine.deadline = now() + wg::seconds(40);
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(failing_calls::timer_sets == sets);
    engine.deadline = now() + wg::milliseconds(20);
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(failing_calls::timer_sets == sets + 1);
    BOOST_TEST(is_readable(work.fd(), 10'000));
}

BOOST_AUTO_TEST_CASE(wake_makes_it_readable_until_the_next_step) {
    wg::os::pollable work;
    fake_engine engine;
    BOOST_TEST((work.step(engine) == status::ok));
    std::thread other([&] { work.wake(); });
    BOOST_TEST(is_readable(work.fd(), 10'000));
    other.join();
    work.wake();
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(!is_readable(work.fd()));
}

BOOST_AUTO_TEST_CASE(reports_other_descriptors_and_the_result_of_the_engine) {
    pipe_ends first, last;
    wg::os::pollable work;
    BOOST_TEST(work.watch_other(0, first.from.get()));
    BOOST_TEST(work.watch_other(31, last.from.get()));
    fake_engine engine;
    std::uint32_t others = 7;
    BOOST_TEST((work.step(engine, others) == status::ok));
    BOOST_TEST(others == 0u);
    first.put();
    last.put();
    engine.result = status::gone;
    BOOST_TEST((work.step(engine, others) == status::gone));
    BOOST_TEST(others == 0x80000001u);
    BOOST_TEST(work.watch_other(31, -1));
    BOOST_TEST((work.step(engine, others) == status::gone));
    BOOST_TEST(others == 1u);
}

BOOST_AUTO_TEST_CASE(a_closed_other_end_counts_as_ready) {
    pipe_ends tun;
    wg::os::pollable work(tun.from.get());
    fake_engine engine;
    BOOST_TEST((work.step(engine) == status::ok));
    tun.to.reset();
    BOOST_TEST(is_readable(work.fd()));
    BOOST_TEST((work.step(engine) == status::ok));
    BOOST_TEST(engine.ready.tun);
}

BOOST_AUTO_TEST_CASE(replaces_a_watched_descriptor) {
    pipe_ends before, after;
    wg::os::pollable work(before.from.get());
    fake_engine engine;
    BOOST_TEST(!work.watch_udp(before.from.get())); // it is watched already
    BOOST_TEST(work.watch_tun(after.from.get()));
    BOOST_TEST((work.step(engine) == status::ok));
    before.put();
    BOOST_TEST(!is_readable(work.fd()));
    after.put();
    BOOST_TEST(is_readable(work.fd()));
    BOOST_TEST(work.watch_tun(-1));
    BOOST_TEST(!is_readable(work.fd()));
}

BOOST_AUTO_TEST_CASE(says_what_the_kernel_refused) {
    using calls = failing_calls;
    for (bool* const refused : {&calls::no_epoll, &calls::no_event, &calls::no_timer, &calls::no_set_timer}) {
        *refused = true;
        BOOST_TEST(!static_cast<bool>(failing_pollable()));
        *refused = false;
    }
    BOOST_TEST(static_cast<bool>(failing_pollable()));
    unique_fd const file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); // a file cannot be polled
    BOOST_REQUIRE(static_cast<bool>(file));
    BOOST_TEST(!static_cast<bool>(wg::os::pollable(file.get())));
}

// --- two engines in one event loop

namespace {

/// A TUN device without rights: the engine's end of a pair of sockets. The host is the program at the other end.
struct socket_tun {
    static constexpr std::size_t headroom = 0;
    unique_fd engine_end, host_end;

    socket_tun() {
        int ends[2];
        BOOST_REQUIRE_EQUAL(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        engine_end.reset(ends[0]);
        host_end.reset(ends[1]);
    }
    int fd() const noexcept { return engine_end.get(); }
    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        std::size_t count = 0;
        for (; count < packets.size(); ++count) {
            wg::packet& p = packets[count];
            ssize_t const size = ::read(fd(), p.buffer + p.offset, p.capacity - p.offset);
            if (size <= 0) break;
            p.length = static_cast<std::uint32_t>(size);
        }
        return count;
    }
    std::size_t write(std::span<wg::packet> packets) noexcept {
        std::size_t count = 0;
        for (wg::packet const& p : packets) count += ::write(fd(), p.view().data(), p.length) >= 0;
        return count;
    }
    std::size_t mtu() const noexcept { return wg::default_mtu_bytes; }
};

struct loop_policies : wg::core_policies {
    using clock_source = wg::os::clock;
    using random_source = wg::os::random;
    using tun_device = socket_tun;
    using udp_socket = wg::os::udp;
    using waiter = wg::os::waiter;
};

/// One end of the tunnel: 10.0.0.`number`.
struct node {
    wg::byte number;
    wg::secret<wg::key_bytes> private_key;
    wg::public_key key{};
    socket_tun tun;
    wg::os::udp socket;
    wg::device<loop_policies> device;
    wg::engine<loop_policies> engine{device, tun, socket};
    wg::os::pollable work{tun, socket};

    explicit node(wg::byte which) : number(which) {
        BOOST_REQUIRE(wg::create_private_key<loop_policies>(private_key));
        key = wg::public_key_of<loop_policies>(private_key);
        socket.set_bind_address({wg::ip_address::v4(127, 0, 0, 1), 0, 0});
        socket.set_send_patience({});
        BOOST_REQUIRE((engine.configure({change::private_key(private_key.expose())}) == status::ok));
        BOOST_REQUIRE((engine.up() == status::ok));
        BOOST_REQUIRE(static_cast<bool>(work));
    }
    void add(node& peer) {
        wg::ip_address const inner = wg::ip_address::v4(10, 0, 0, peer.number);
        BOOST_REQUIRE((engine.configure({change::peer(peer.key),
                                         change::endpoint({wg::ip_address::v4(127, 0, 0, 1), peer.socket.port(), 0}),
                                         change::allowed_ip(wg::ip_prefix::of(inner, 32))}) == status::ok));
        work.wake();
    }
    /// A packet of this host to `peer`: an IPv4 header of a protocol for experiments, and `number`.
    std::vector<wg::byte> packet_to(node const& peer, wg::byte count) const {
        std::vector<wg::byte> p{0x45, 0, 0, 21, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, number, 10, 0, 0, peer.number};
        p.push_back(count);
        return p;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(two_engines_share_one_loop_of_poll) {
    node a(1), b(2);
    a.add(b);
    b.add(a);
    constexpr wg::byte wanted = 200;
    wg::byte put = 0;
    std::vector<std::vector<wg::byte>> at_b, back_at_a;
    wg::instant const give_up = now() + wg::seconds(20);
    unsigned rounds = 0;
    while (back_at_a.size() < wanted && now() < give_up) {
        pollfd watched[] = {{a.work.fd(), POLLIN, 0},
                            {b.work.fd(), POLLIN, 0},
                            {b.tun.host_end.get(), POLLIN, 0},
                            {a.tun.host_end.get(), POLLIN, 0}};
        if (put < wanted && put <= back_at_a.size() + 20) { // no more than the queues hold
            auto const p = a.packet_to(b, put);
            if (::write(a.tun.host_end.get(), p.data(), p.size()) > 0) ++put;
        }
        BOOST_REQUIRE(::poll(watched, 4, 20'000) > 0);
        ++rounds;
        if (watched[0].revents != 0) BOOST_REQUIRE((a.work.step(a.engine) == status::ok));
        if (watched[1].revents != 0) BOOST_REQUIRE((b.work.step(b.engine) == status::ok));
        std::vector<wg::byte> got(2048);
        if (watched[2].revents != 0) {
            got.resize(static_cast<std::size_t>(::read(b.tun.host_end.get(), got.data(), got.size())));
            at_b.push_back(got);
            auto const answer = b.packet_to(a, got.back());
            BOOST_REQUIRE(::write(b.tun.host_end.get(), answer.data(), answer.size()) > 0);
        } else if (watched[3].revents != 0) {
            got.resize(static_cast<std::size_t>(::read(a.tun.host_end.get(), got.data(), got.size())));
            back_at_a.push_back(got);
        }
    }
    BOOST_REQUIRE(at_b.size() == wanted);
    BOOST_REQUIRE(back_at_a.size() == wanted);
    for (wg::byte i = 0; i < wanted; ++i) {
        BOOST_TEST((at_b[i] == a.packet_to(b, i)));
        BOOST_TEST((back_at_a[i] == b.packet_to(a, i)));
    }
    BOOST_TEST(rounds < 20'000u); // the loop sleeps while there is no work
}

BOOST_AUTO_TEST_SUITE_END()
