// SPDX-License-Identifier: BSL-1.0
// The kernel's filter against floods: when it is attached and detached, and which datagrams it lets pass.
#include "fixture.hpp"

#include <wg/wg.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>

BOOST_AUTO_TEST_SUITE(os_linux_flood_filter)

using namespace wg_tests;
using namespace wg::os;

namespace {

/// A simulated kernel that takes or refuses filters, and tells how many datagrams sockets have dropped.
struct kernel {
    int refuses = 0; ///< errno of bpf(2)
    int attached = 0, detached = 0;
    std::uint32_t drops = 0;        ///< of socket 10; the others drop nothing
    std::uint64_t locked_bytes = 0; ///< RLIMIT_MEMLOCK that maps and programs need
    bool has_junk = false;          ///< bytes behind the attributes of a command that are not zero
} simulated;

struct fake_calls {
    static int bpf(int, bpf_attr& attributes) noexcept {
        wg::byte bytes[sizeof attributes];
        std::memcpy(bytes, &attributes, sizeof attributes);
        simulated.has_junk |= bytes[sizeof attributes - 1] != 0;
        rlimit limit{};
        ::getrlimit(RLIMIT_MEMLOCK, &limit);
        if (limit.rlim_cur < simulated.locked_bytes) {
            errno = EPERM;
            return -1;
        }
        if (simulated.refuses != 0) {
            errno = simulated.refuses;
            return -1;
        }
        return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    static int attach(int, int) noexcept { return ++simulated.attached, 0; }
    static int detach(int) noexcept { return ++simulated.detached, 0; }
    static std::uint32_t drops(int socket) noexcept { return socket == 10 ? simulated.drops : 0; }
};

struct watch_of_a_port {
    basic_flood_filter<fake_calls> filter;
    basic_flood_filter<fake_calls>::sockets const sockets{{10, 11}, {12, 13}};
    wg::instant now = wg::instant{} + wg::seconds(100);

    watch_of_a_port() { simulated = {}; }

    /// Counts the same numbers in each of `windows` windows.
    void note(std::size_t data, std::size_t useless, std::size_t handshakes, int windows = 1) {
        for (int i = 0; i < windows; ++i) {
            now = now + filter.window;
            if (filter.add({data, useless, handshakes}) && filter.end_window(sockets, now)) filter.apply(sockets, now);
        }
    }
};

constexpr std::size_t flood = basic_flood_filter<fake_calls>::flood_datagrams;

} // namespace

BOOST_AUTO_TEST_CASE(a_flood_of_data_filters_only_the_data_sockets) {
    watch_of_a_port w;
    w.note(100'000, flood - 1, 0, 5);
    BOOST_TEST(!w.filter.filters_data());
    w.note(100'000, flood, 0);
    BOOST_TEST(w.filter.filters_data());
    BOOST_TEST(!w.filter.filters_handshakes());
    BOOST_TEST(simulated.attached == 2); // IPv4 and IPv6
}

BOOST_AUTO_TEST_CASE(a_flood_of_handshakes_filters_only_the_handshake_sockets) {
    watch_of_a_port w;
    w.note(0, 0, flood, 2);
    BOOST_TEST(!w.filter.filters_data());
    BOOST_TEST(w.filter.filters_handshakes());
    BOOST_TEST(simulated.attached == 2);
}

BOOST_AUTO_TEST_CASE(many_peers_that_return_together_are_no_flood) {
    watch_of_a_port w;
    w.note(0, 0, 1, 2);
    w.note(0, 0, 4000, 5); // 20,000 a second, which one core can answer
    BOOST_TEST(!w.filter.filters_handshakes());
}

BOOST_AUTO_TEST_CASE(tells_while_many_handshake_messages_pass_the_filter) {
    watch_of_a_port w;
    constexpr std::size_t many = w.filter.many_handshakes;
    w.note(0, 0, many, 2);
    BOOST_TEST(!w.filter.passes_many_handshakes()); // there is no filter yet
    w.note(0, 0, flood);
    w.note(0, 0, many);
    BOOST_TEST(w.filter.passes_many_handshakes());
    w.note(0, 0, many - 1);
    BOOST_TEST(!w.filter.passes_many_handshakes());
    w.note(0, 0, many);
    w.now = w.now + w.filter.window; // a window longer than `window` gives no rate
    w.note(0, 0, many);
    BOOST_TEST(!w.filter.passes_many_handshakes());
    watch_of_a_port closed;
    closed.note(0, 0, flood, 2);
    closed.note(0, 0, many);
    BOOST_TEST(closed.filter.passes_many_handshakes());
    closed.filter.forget();
    BOOST_TEST(!closed.filter.passes_many_handshakes());
}

BOOST_AUTO_TEST_CASE(datagrams_lost_by_the_queue_count_as_useless_in_proportion) {
    watch_of_a_port w;
    w.note(1000, 900, 0, 2);
    simulated.drops += 7000; // 6,300 of them count as useless
    w.note(1000, 900, 0);
    BOOST_TEST(w.filter.filters_data());
    watch_of_a_port full;
    full.note(100'000, 10, 0, 2);
    simulated.drops += 50'000; // a bulk transfer overflows the queue
    full.note(100'000, 10, 0, 2);
    BOOST_TEST(!full.filter.filters_data());
}

BOOST_AUTO_TEST_CASE(a_flood_of_many_sources_leaves_each_a_smaller_share) {
    constexpr std::size_t crowd = basic_flood_filter<fake_calls>::crowd_datagrams;
    for (bool const data : {true, false}) {
        watch_of_a_port w;
        auto const unwanted = [&](std::size_t n, int windows) { w.note(n, data ? n : 0, data ? 0 : n, windows); };
        unwanted(flood, 5); // three windows may have what the queue held when the filter came
        BOOST_TEST(simulated.attached == 2);
        unwanted(crowd - 1, 1);
        BOOST_TEST(simulated.attached == 2);
        unwanted(crowd, 1);
        BOOST_TEST(simulated.attached == 4); // a second program took the place of the first one
        unwanted(crowd, 3);
        BOOST_TEST(simulated.attached == 4);
        unwanted(1, 11);
        BOOST_TEST(!(data ? w.filter.filters_data() : w.filter.filters_handshakes()));
        unwanted(flood, 4); // the next flood begins with the usual share
        BOOST_TEST(simulated.attached == 6);
        unwanted(crowd, 1);
        BOOST_TEST(simulated.attached == 8);
    }
}

BOOST_AUTO_TEST_CASE(a_kernel_that_refuses_the_smaller_share_keeps_the_filter) {
    constexpr std::size_t crowd = basic_flood_filter<fake_calls>::crowd_datagrams;
    watch_of_a_port w;
    w.note(0, 0, flood, 5);
    BOOST_TEST_REQUIRE(simulated.attached == 2);
    simulated.refuses = EPERM;
    w.note(0, 0, crowd, 1);
    BOOST_TEST(w.filter.filters_handshakes());
    BOOST_TEST(w.filter.can_filter());
    simulated.refuses = 0;
    w.note(0, 0, 1, 11);
    BOOST_TEST(!w.filter.filters_handshakes());
    w.note(0, 0, flood, 2);
    BOOST_TEST(w.filter.filters_handshakes());
}

BOOST_AUTO_TEST_CASE(a_filter_is_detached_when_it_drops_little) {
    watch_of_a_port w;
    w.note(flood, flood, 0, 2);
    BOOST_TEST_REQUIRE(w.filter.filters_data());
    for (int second = 0; second < 5; ++second) { // the filter hides the flood, but the kernel reports drops
        simulated.drops += 100'000;
        w.note(100, 100, 0, 5);
        BOOST_TEST(w.filter.filters_data());
    }
    w.note(100, 0, 0, 11);
    BOOST_TEST(!w.filter.filters_data());
    BOOST_TEST(simulated.detached == 2);
    w.note(flood, flood, 0, 2); // the flood begins again
    BOOST_TEST(w.filter.filters_data());
}

BOOST_AUTO_TEST_CASE(a_filter_stays_attached_for_at_least_a_second) {
    watch_of_a_port w;
    w.note(flood, flood, 0, 2);
    w.note(flood, 0, 0, 3);
    w.note(flood, 0, flood); // the other kind is flooded 0.8 s later
    BOOST_TEST_REQUIRE(w.filter.filters_handshakes());
    w.note(1, 0, 0, 4);
    BOOST_TEST(w.filter.filters_handshakes());
    w.note(1, 0, 0, 2);
    BOOST_TEST(!w.filter.filters_handshakes());
    BOOST_TEST(!w.filter.filters_data());
}

BOOST_AUTO_TEST_CASE(a_kernel_that_refuses_filters_is_tried_once) {
    watch_of_a_port w;
    simulated.refuses = EPERM;
    w.note(flood, flood, flood, 10);
    BOOST_TEST(!w.filter.can_filter());
    BOOST_TEST(!w.filter.filters_data());
    BOOST_TEST(!w.filter.filters_handshakes());
    simulated.refuses = 0;
    w.note(flood, flood, flood, 10);
    BOOST_TEST(simulated.attached == 0);
}

BOOST_AUTO_TEST_CASE(a_kernel_short_of_memory_or_descriptors_is_tried_again) {
    for (int const error : {ENOMEM, EMFILE, ENFILE, EAGAIN}) {
        watch_of_a_port w;
        simulated.refuses = error;
        w.note(flood, flood, flood, 3);
        BOOST_TEST(!w.filter.filters_data());
        BOOST_TEST(w.filter.can_filter());
        simulated.refuses = 0;
        w.note(flood, flood, flood);
        BOOST_TEST(w.filter.filters_data());
        BOOST_TEST(w.filter.filters_handshakes());
    }
}

/// Linux 5.8 to 5.10 count maps as locked memory.
BOOST_AUTO_TEST_CASE(raises_the_limit_of_locked_memory_while_the_map_is_created) {
    rlimit before{};
    BOOST_TEST_REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &before) == 0);
    if (before.rlim_max < 2 << 20) {
        BOOST_TEST_MESSAGE("skip: the hard limit of locked memory (ulimit -H -l) is below 2 MB");
        return;
    }
    rlimit const few{65536, before.rlim_max};
    BOOST_TEST_REQUIRE(::setrlimit(RLIMIT_MEMLOCK, &few) == 0);
    watch_of_a_port w;
    simulated.locked_bytes = 2 << 20;
    w.note(flood, flood, 0, 2);
    rlimit after{};
    ::getrlimit(RLIMIT_MEMLOCK, &after);
    ::setrlimit(RLIMIT_MEMLOCK, &before);
    BOOST_TEST(w.filter.filters_data());
    BOOST_TEST(after.rlim_cur == few.rlim_cur);
    BOOST_TEST(after.rlim_max == few.rlim_max);
    BOOST_TEST(!simulated.has_junk);
}

/// One useless datagram among a hundred good ones is no flood, however many the queue loses.
BOOST_AUTO_TEST_CASE(counts_data_of_receives_without_useless_datagrams) {
    watch_of_a_port w;
    w.note(100, 1, 0, 2);
    for (int step = 0; step < 99; ++step) (void)w.filter.add({100, 0, 0});
    simulated.drops += 1'000'000; // 100 of them count as useless
    w.note(1, 1, 0);
    BOOST_TEST(!w.filter.filters_data());
}

namespace {

/// Two sockets on loopback. The first one receives, with a filter for `of_kind`.
struct real_sockets {
    bool const is_v4;
    int const in, out;

    explicit real_sockets(bool v4)
        : is_v4(v4), in(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0)),
          out(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0)) {
        bind_to_loopback(in, 1);
    }
    ~real_sockets() {
        ::close(in);
        ::close(out);
    }

    void bind_to_loopback(int fd, int last) const {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_addr.s_addr = htonl(0x7f000000u + static_cast<unsigned>(last));
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_addr = IN6ADDR_LOOPBACK_INIT;
        BOOST_TEST_REQUIRE((is_v4 ? ::bind(fd, reinterpret_cast<sockaddr*>(&v4), sizeof v4)
                                  : ::bind(fd, reinterpret_cast<sockaddr*>(&v6), sizeof v6)) == 0);
    }

    /// Sends `count` datagrams from `from`. Returns: how many reach the queue.
    int passed(int count, int from = -1) const {
        sockaddr_in6 to{};
        socklen_t size = sizeof to;
        BOOST_TEST_REQUIRE(::getsockname(in, reinterpret_cast<sockaddr*>(&to), &size) == 0);
        int got = 0;
        char sink[4];
        for (int i = 0; i < count; ++i) {
            BOOST_TEST_REQUIRE(::sendto(from >= 0 ? from : out, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), size) ==
                               1);
            while (::recv(in, sink, sizeof sink, 0) == 1) ++got;
        }
        return got;
    }
};

} // namespace

/// The real program in the real kernel. Loopback delivers before `sendto` returns, so nothing is waited for.
BOOST_AUTO_TEST_CASE(a_source_is_limited_to_its_share_and_a_trusted_source_is_not) {
    for (bool const v4 : {true, false}) {
        if (!v4 && ::access("/proc/net/if_inet6", F_OK) != 0) continue;
        real_sockets s(v4);
        flood_filter filter;
        flood_filter::sockets const of{{v4 ? s.in : -1, v4 ? -1 : s.in}, {-1, -1}};
        wg::instant now = wg::instant{} + wg::seconds(100);
        for (int i = 0; i < 2; ++i, now = now + filter.window)
            if (filter.add({flood, flood, 0}) && filter.end_window(of, now)) filter.apply(of, now);
        if (!filter.can_filter()) {
            BOOST_TEST_MESSAGE("skip: this kernel or container takes no eBPF program");
            return;
        }
        BOOST_TEST_REQUIRE(filter.filters_data());
        int const at_once = static_cast<int>(filter.data_share.burst_ns / filter.data_share.cost_ns);
        int const few = s.passed(4 * at_once);
        BOOST_TEST(few >= at_once);
        BOOST_TEST(few < 3 * at_once); // and the datagrams that the bucket gained meanwhile, one a millisecond
        if (v4) {                      // another source has a share of its own
            int const other = ::socket(AF_INET, SOCK_DGRAM, 0);
            s.bind_to_loopback(other, 2);
            BOOST_TEST(s.passed(at_once, other) == at_once);
            ::close(other);
        }
        filter.trust(v4 ? wg::ip_address::v4(127, 0, 0, 1) : *wg::text::parse_address("::1"));
        BOOST_TEST(s.passed(4 * at_once) == 4 * at_once);
    }
}

BOOST_AUTO_TEST_CASE(a_source_is_limited_to_twenty_handshakes_a_second_and_five_in_a_flood_of_many_sources) {
    real_sockets s(true);
    flood_filter filter;
    flood_filter::sockets const of{{-1, -1}, {s.in, -1}};
    wg::instant now = wg::instant{} + wg::seconds(100);
    for (int i = 0; i < 2; ++i, now = now + filter.window)
        if (filter.add({0, 0, flood}) && filter.end_window(of, now)) filter.apply(of, now);
    if (!filter.can_filter()) {
        BOOST_TEST_MESSAGE("skip: this kernel or container takes no eBPF program");
        return;
    }
    int const passed = s.passed(500);
    BOOST_TEST(passed >= 8);
    BOOST_TEST(passed <= 20);
    int const other = ::socket(AF_INET, SOCK_DGRAM, 0);
    s.bind_to_loopback(other, 2);
    for (int i = 0; i < 4; ++i, now = now + filter.window)
        if (filter.add({0, 0, filter.crowd_datagrams}) && filter.end_window(of, now)) filter.apply(of, now);
    int const passed_in_a_crowd = s.passed(500, other);
    BOOST_TEST(passed_in_a_crowd >= 8);
    BOOST_TEST(passed_in_a_crowd <= 11);
    ::close(other);
    // An attacker may forge the address of a peer. The peer's handshake messages pass nevertheless.
    filter.trust(wg::ip_address::v4(127, 0, 0, 1));
    BOOST_TEST(s.passed(500) == 500);
    filter.forget();
    BOOST_TEST(!filter.filters_handshakes());
}

BOOST_AUTO_TEST_SUITE_END()
