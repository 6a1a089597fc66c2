// SPDX-License-Identifier: BSL-1.0
// TUN interfaces: names, frames, packets that pass through them, and their end.
#include "tun_host.hpp"

#include <netinet/udp.h>

BOOST_AUTO_TEST_SUITE(os_linux_tun)

using namespace wg_tests;

BOOST_AUTO_TEST_CASE(refuses_bad_names_with_a_reason) {
    for (std::string const name : {"", "sixteen-letters!", "a/b", "a b", "a\tb", ".", "..", "wg%d", "a:b", "a\n"}) {
        wg::os::error_text why;
        BOOST_TEST((wg::os::tun::open(name, why).why() == wg::status::invalid));
        BOOST_TEST(std::string(why.c_str()).find("cannot name an interface") != std::string::npos);
    }
    for (char const* const name : {"wg0", "fifteen-letters", "a.b", "...", "wg-1_x"})
        BOOST_TEST(wg::os::is_interface_name(name));
}

BOOST_AUTO_TEST_CASE(a_new_interface_has_its_name_and_mtu) {
    REQUIRE_NETWORK();
    wg::os::tun const tun = made("wgt0");
    BOOST_TEST(std::string(tun.name()) == "wgt0");
    BOOST_TEST(tun.place().index == ::if_nametoindex("wgt0"));
    BOOST_TEST(tun.place().net == wg::os::own_namespace);
    BOOST_TEST(tun.mtu() == 1420u);
    ifreq request = about("wgt0");
    BOOST_REQUIRE(ask(SIOCGIFMTU, request));
    BOOST_TEST(request.ifr_mtu == 1420);
}

// With a lower limit the kernel would cut each frame of 64 kB that it forwards. Its 47 packets take 47 places in a
// queue in which the frame takes one.
BOOST_AUTO_TEST_CASE(a_new_interface_takes_frames_of_64_kib_in_queues_of_a_thousand) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    BOOST_TEST(attribute_of("wgt0", IFLA_GSO_MAX_SIZE) == 65536u);
    BOOST_TEST(attribute_of("wgt0", IFLA_TXQLEN) == wg::os::tun::queue_length);
    set_mtu("wgt0", 1300);
    tun.refresh_mtu();
    BOOST_TEST(attribute_of("wgt0", IFLA_GSO_MAX_SIZE) == 65536u);
}

BOOST_AUTO_TEST_CASE(refuses_a_name_in_use) {
    REQUIRE_NETWORK();
    wg::os::tun const tun = made("wgt0");
    for (char const* const name : {"wgt0", "lo"}) { // of another process, and of another kind
        wg::os::error_text why;
        BOOST_TEST((wg::os::tun::open(name, why).why() == wg::status::address_in_use));
        BOOST_TEST(std::string(why.c_str()).find("exists already") != std::string::npos, why.c_str());
    }
}

/// Makes a persistent interface, as `ip tuntap add` does.
void make_lasting(char const* name, int flags) {
    unique_fd const fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request = about(name);
    request.ifr_flags = static_cast<short>(flags | IFF_NO_PI);
    BOOST_REQUIRE(::ioctl(fd.get(), TUNSETIFF, &request) == 0);
    BOOST_REQUIRE(::ioctl(fd.get(), TUNSETPERSIST, 1) == 0);
}

BOOST_AUTO_TEST_CASE(takes_over_a_persistent_interface_with_its_queues) {
    REQUIRE_NETWORK();
    for (bool const many : {false, true}) {
        make_lasting("wgt0", IFF_TUN | (many ? IFF_MULTI_QUEUE : 0));
        set_mtu("wgt0", 1333);
        for (bool const wants_many : {true, false}) {
            wg::os::error_text why;
            wg::os::offloads wanted;
            wanted.queues = wants_many;
            auto const tun = wg::os::tun::open("wgt0", why, 1420, wanted);
            BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.c_str());
            BOOST_TEST(tun->mtu() == 1333u);
            BOOST_TEST(tun->queue_count() == (many && wants_many ? wg::os::tun_queues::most : 1u));
            BOOST_TEST(attribute_of("wgt0", IFLA_TXQLEN) == 500u);
            BOOST_TEST((wg::os::tun::open("wgt0", why).why() == wg::status::address_in_use));
            BOOST_TEST(std::string(why.c_str()).find("in use") != std::string::npos);
        }
        BOOST_TEST(::if_nametoindex("wgt0") != 0u); // it is persistent
        delete_link("wgt0");
    }
}

BOOST_AUTO_TEST_CASE(refuses_an_interface_of_another_kind) {
    REQUIRE_NETWORK();
    wg::os::error_text why;
    make_lasting("wgt0", IFF_TAP);
    BOOST_TEST((wg::os::tun::open("wgt0", why).why() == wg::status::address_in_use));
    BOOST_TEST(std::string(why.c_str()).find("is a TAP interface") != std::string::npos);
    BOOST_TEST(::if_nametoindex("wgt0") != 0u);
}

/// A driver that lacks chosen features.
struct poor_driver : wg::os::tun_calls {
    static inline int unknown = 0;   ///< flags that it refuses with EINVAL
    static inline bool tells = true; ///< features that it reports
    static inline std::size_t limit = SIZE_MAX;
    static int features(int fd, unsigned& flags) noexcept {
        if (!tells) return errno = ENOTTY, -1;
        int const answer = tun_calls::features(fd, flags);
        flags &= ~static_cast<unsigned>(unknown);
        return answer;
    }
    static int set_interface(int fd, ifreq& request) noexcept {
        if ((static_cast<unsigned short>(request.ifr_flags) & unknown) != 0) return errno = EINVAL, -1;
        return tun_calls::set_interface(fd, request);
    }
    static std::size_t descriptor_limit() noexcept { return limit; }
};

BOOST_AUTO_TEST_CASE(works_with_drivers_without_queues_virtio_headers_or_exclusive_names) {
    REQUIRE_NETWORK();
    for (bool const tells : {true, false})
        for (int const unknown : {0, int{IFF_MULTI_QUEUE}, int{IFF_VNET_HDR}, int{IFF_TUN_EXCL},
                                  IFF_MULTI_QUEUE | IFF_TUN_EXCL, IFF_VNET_HDR | IFF_TUN_EXCL,
                                  IFF_MULTI_QUEUE | IFF_VNET_HDR, IFF_MULTI_QUEUE | IFF_VNET_HDR | IFF_TUN_EXCL}) {
            BOOST_TEST_CONTEXT("unknown flags " << unknown << ", tells " << tells) {
                poor_driver::unknown = unknown;
                poor_driver::tells = tells;
                wg::os::error_text why;
                auto const tun = wg::os::basic_tun<poor_driver>::open("wgt0", why);
                BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.c_str());
                BOOST_TEST(tun->mtu() == 1420u);
                BOOST_TEST(tun->has_frames() == ((unknown & IFF_VNET_HDR) == 0));
                bool const several = (unknown & (IFF_MULTI_QUEUE | IFF_TUN_EXCL)) == 0;
                BOOST_TEST(tun->queue_count() == (several ? wg::os::tun_queues::most : 1u));
                BOOST_TEST((wg::os::basic_tun<poor_driver>::open("wgt0", why).why() == wg::status::address_in_use));
            }
        }
    poor_driver::unknown = 0;
    poor_driver::tells = true;
}

BOOST_AUTO_TEST_CASE(opens_fewer_queues_with_few_descriptors) {
    REQUIRE_NETWORK();
    unique_fd const next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    auto const first = static_cast<std::size_t>(next.get()) + 1, other = wg::os::tun::other_descriptors;
    for (std::size_t const limit : {std::size_t{0}, first + other, first + other + 8, std::size_t{1024}}) {
        poor_driver::limit = limit;
        wg::os::error_text why;
        auto const tun = wg::os::basic_tun<poor_driver>::open("wgt0", why);
        BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.c_str());
        std::size_t const count = tun->queue_count();
        BOOST_TEST((limit < first + other + 8 ? count == 1
                    : limit == 1024           ? count == 16
                                              : count > 1 && count < 16),
                   count << " queues for " << limit << " descriptors");
    }
    poor_driver::limit = SIZE_MAX;
}

// The MTU may have been raised without an event.
void meet_a_longer_packet(bool frames) {
    REQUIRE_NETWORK();
    wg::os::offloads wanted;
    wanted.frames = frames;
    tun_host a("wgt0", "10.9.0.1", wanted, SOCK_DGRAM);
    auto const other = a.tun.share();
    BOOST_REQUIRE(other);
    set_mtu("wgt0", 3000);
    packet_buffers buffers(16, 1420);
    while (*a.tun.read(buffers.windows) != 0) {}
    sockaddr_in const to = ipv4_address("10.9.0.2", 5400);
    auto const send = [&](std::size_t bytes) {
        std::vector<char> const datagram(bytes - 28);
        BOOST_REQUIRE(::sendto(a.socket.get(), datagram.data(), datagram.size(), 0,
                               reinterpret_cast<sockaddr const*>(&to), sizeof to) >= 0);
        BOOST_TEST(*a.tun.read(buffers.windows) == 1u);
    };
    send(1420);
    BOOST_TEST(a.tun.longest_cut() == 0u);
    BOOST_TEST(a.tun.mtu() == 1420u);
    send(1421);
    BOOST_TEST(a.tun.mtu() == 1421u);
    send(3000);
    BOOST_TEST(buffers.windows[0].length == 1420u); // the room
    BOOST_TEST(a.tun.longest_cut() == 3000u);
    BOOST_TEST(other->longest_cut() == 3000u);
    send(2000);
    BOOST_TEST(a.tun.mtu() == 3000u);
    a.tun.refresh_mtu();
    BOOST_TEST(a.tun.mtu() == 3000u);
    BOOST_TEST(a.tun.longest_cut() == 0u); // the MTU is known again
}

BOOST_AUTO_TEST_CASE(reports_the_length_of_a_packet_that_does_not_fit) { meet_a_longer_packet(true); }
BOOST_AUTO_TEST_CASE(reports_the_length_of_a_packet_that_does_not_fit_without_virtio_headers) {
    meet_a_longer_packet(false);
}

BOOST_AUTO_TEST_CASE(refresh_mtu_finds_a_changed_mtu) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    ifreq request = about("wgt0");
    request.ifr_mtu = 1300;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request));
    BOOST_TEST(tun.mtu() == 1420u);
    tun.refresh_mtu();
    BOOST_TEST(tun.mtu() == 1300u);
    std::snprintf(request.ifr_newname, sizeof request.ifr_newname, "other");
    BOOST_REQUIRE(ask(SIOCSIFNAME, request));
    tun.refresh_mtu();
    BOOST_TEST(std::string(tun.name()) == "other");
    BOOST_TEST(tun.mtu() == 1300u);
}

void pass_packets_both_ways(bool offload) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0", {.frames = offload});
    set_address("wgt0", "10.9.0.1");
    set_up("wgt0", true);
    unique_fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in mine{}, theirs{};
    mine.sin_family = theirs.sin_family = AF_INET;
    mine.sin_port = ::htons(5000);
    theirs.sin_port = ::htons(9);
    theirs.sin_addr.s_addr = ::inet_addr("10.9.0.2");
    BOOST_REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&mine), sizeof mine) == 0);

    // Out: a batch, each packet at its own offset. Other packets of the host (IPv6 neighbour discovery) are skipped.
    for (char const c : {'a', 'b', 'c'})
        BOOST_REQUIRE(::sendto(socket.get(), &c, 1, 0, reinterpret_cast<sockaddr*>(&theirs), sizeof theirs) == 1);
    std::vector<std::array<wg::byte, 1600>> memory(16);
    std::vector<wg::packet> packets;
    for (auto& m : memory) packets.emplace_back(wg::bytes(m), 32);
    auto const got = tun.read(packets);
    BOOST_REQUIRE(got);
    BOOST_TEST(*got >= 3u);
    std::string seen;
    for (std::size_t i = 0; i < *got; ++i) {
        auto const view = packets[i].view();
        BOOST_TEST(packets[i].offset == 32u);
        if (view.size() == 29 && view[0] == 0x45 && view[9] == IPPROTO_UDP) seen += static_cast<char>(view[28]);
    }
    BOOST_TEST(seen == "abc");

    // In: a malformed packet is dropped alone.
    auto first = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 5000, "first"),
         second = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 5000, "second");
    std::vector<wg::byte> rubbish(30, 0xff);
    std::array in = {wg::packet(first, 0, first.size()), wg::packet(rubbish, 0, rubbish.size()),
                     wg::packet(second, 0, second.size())};
    BOOST_TEST(tun.write(in) == 2u);
    for (char const* const expected : {"first", "second"}) {
        char text[16] = {};
        pollfd watched{socket.get(), POLLIN, 0};
        BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1);
        BOOST_TEST(::recv(socket.get(), text, sizeof text, 0) == static_cast<ssize_t>(std::strlen(expected)));
        BOOST_TEST(std::string(text) == expected);
    }
}

BOOST_AUTO_TEST_CASE(packets_pass_both_ways_in_batches) { pass_packets_both_ways(true); }
BOOST_AUTO_TEST_CASE(packets_pass_both_ways_without_virtio_headers) { pass_packets_both_ways(false); }

void go_down_and_away(bool offload) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0", {.frames = offload});
    std::array<wg::byte, 1600> memory{};
    wg::packet p(memory, 0);
    auto out = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 5000, "x");
    wg::packet q(out, 0, out.size());

    BOOST_TEST((tun.link_state() == wg::status::device_down));
    auto got = tun.read({&p, 1});
    BOOST_REQUIRE(got);
    BOOST_TEST(*got == 0u);
    BOOST_TEST(tun.write({&q, 1}) == 0u);
    set_up("wgt0", true);
    BOOST_TEST((tun.link_state() == wg::status::ok));
    BOOST_TEST(tun.write({&q, 1}) == 1u);
    set_up("wgt0", false);
    BOOST_TEST((tun.link_state() == wg::status::device_down));

    delete_link("wgt0");
    pollfd watched{tun.fd(), POLLIN, 0};
    BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1); // polls readable, so that a waiting program finds out
    BOOST_TEST((tun.read({&p, 1}).why() == wg::status::gone));
    BOOST_TEST(tun.write({&q, 1}) == 0u);
    BOOST_TEST((tun.link_state() == wg::status::gone));
}

BOOST_AUTO_TEST_CASE(tells_an_interface_that_is_down_from_a_deleted_one) { go_down_and_away(true); }
BOOST_AUTO_TEST_CASE(tells_an_interface_that_is_down_from_a_deleted_one_without_virtio_headers) {
    go_down_and_away(false);
}

/// TCP of two hosts: data arrives unchanged, whether the devices have frames or not.
void exchange_tcp(bool offload_a, bool offload_b, std::size_t batch) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", {.frames = offload_a}), b("wgt1", "10.9.0.2", {.frames = offload_b});
    BOOST_REQUIRE((a.tun.has_frames() == offload_a && b.tun.has_frames() == offload_b));
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = ::htons(5201);
    where.sin_addr.s_addr = ::inet_addr("10.9.0.2");
    BOOST_REQUIRE(::bind(b.socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    BOOST_REQUIRE(::listen(b.socket.get(), 1) == 0);
    BOOST_REQUIRE(
        (::connect(a.socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) < 0 && errno == EINPROGRESS));
    std::vector<wg::byte> sent(3'000'001), got(sent.size() + 1);
    std::uint32_t state = 1;
    for (wg::byte& x : sent) x = static_cast<wg::byte>((state = state * 1664525 + 1013904223) >> 24);

    packet_buffers buffers(batch, 1420);
    unique_fd accepted;
    std::size_t out = 0, in = 0;
    while (in < sent.size()) {
        carry(a, b, buffers);
        carry(b, a, buffers);
        if (!accepted) accepted.reset(::accept4(b.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        ssize_t const more =
            out < sent.size() ? ::send(a.socket.get(), &sent[out], sent.size() - out, MSG_NOSIGNAL) : 0;
        if (more > 0) out += static_cast<std::size_t>(more);
        ssize_t const some = accepted ? ::recv(accepted.get(), &got[in], got.size() - in, 0) : -1;
        if (some > 0) in += static_cast<std::size_t>(some);
        if (more > 0 || some > 0) continue;
        pollfd watched[] = {{a.tun.fd(), POLLIN, 0}, {b.tun.fd(), POLLIN, 0}};
        BOOST_REQUIRE_MESSAGE(::poll(watched, 2, 5000) > 0, "nothing moves any more at " << in);
    }
    got.resize(in);
    BOOST_TEST((got == sent));
    BOOST_TEST(b.written > sent.size() / 1420);
    // The host counts fewer packets than were written, because they were joined.
    if (offload_b && batch > 8) BOOST_TEST(b.counted() * 4 < b.written);
    if (!offload_b) BOOST_TEST(b.counted() == b.written);
}

BOOST_AUTO_TEST_CASE(tcp_passes_in_large_frames) { exchange_tcp(true, true, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_from_large_frames_to_packets) { exchange_tcp(true, false, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_from_packets_to_large_frames) { exchange_tcp(false, true, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_in_spans_smaller_than_a_frame) { exchange_tcp(true, true, 3); }

/// Datagrams that a program hands to the host as one message arrive unchanged.
void exchange_datagrams(wg::os::offloads const& offloads_a, wg::os::offloads const& offloads_b) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", offloads_a, SOCK_DGRAM), b("wgt1", "10.9.0.2", offloads_b, SOCK_DGRAM);
    sockaddr_in const where = ipv4_address("10.9.0.2", 5400);
    auto const* const to = reinterpret_cast<sockaddr const*>(&where);
    BOOST_REQUIRE(::bind(b.socket.get(), to, sizeof where) == 0);
    int const segment_bytes = 700;
    BOOST_REQUIRE(::setsockopt(a.socket.get(), IPPROTO_UDP, UDP_SEGMENT, &segment_bytes, sizeof segment_bytes) == 0);
    std::vector<wg::byte> sent(40 * 700 - 13);
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<wg::byte>(i * 7 + i / 700);
    packet_buffers buffers(64, 1420);
    carry(a, b, buffers); // packets that the host sends on its own
    std::size_t const counted = b.counted(), written = b.written;
    ssize_t const taken = ::sendto(a.socket.get(), sent.data(), sent.size(), 0, to, sizeof where);
    if (taken < 0 && errno == EIO && !offloads_a.frames) { // before Linux 6.11, where there is no checksum offload
        int const whole = 0;
        BOOST_REQUIRE(::setsockopt(a.socket.get(), IPPROTO_UDP, UDP_SEGMENT, &whole, sizeof whole) == 0);
        for (std::size_t at = 0; at < sent.size(); at += 700)
            BOOST_REQUIRE(::sendto(a.socket.get(), &sent[at], std::min<std::size_t>(700, sent.size() - at), 0, to,
                                   sizeof where) > 0);
    } else {
        BOOST_REQUIRE(taken == static_cast<ssize_t>(sent.size()));
    }
    carry(a, b, buffers);
    std::vector<wg::byte> got, one(2000);
    for (ssize_t size; (size = ::recv(b.socket.get(), one.data(), one.size(), 0)) > 0;) {
        BOOST_TEST((size == 700 || got.size() == 39u * 700));
        got.insert(got.end(), one.begin(), one.begin() + size);
    }
    BOOST_TEST((got == sent));
    if (offloads_b.frames && offloads_b.uso && takes_datagrams_in_frames())
        BOOST_TEST((b.counted() - counted) * 4 < b.written - written);
    else BOOST_TEST(b.counted() - counted == b.written - written);
}

BOOST_AUTO_TEST_CASE(datagrams_pass_in_large_frames) { exchange_datagrams({}, {}); }
BOOST_AUTO_TEST_CASE(datagrams_pass_from_large_frames_to_packets) { exchange_datagrams({}, {.uso = false}); }
BOOST_AUTO_TEST_CASE(datagrams_pass_from_packets_to_large_frames) { exchange_datagrams({.frames = false}, {}); }

// Linux refuses a frame of more datagrams than a message may have; then the packets are written singly.
BOOST_AUTO_TEST_CASE(small_datagrams_pass_in_frames_within_the_limit_of_the_host) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", {}, SOCK_DGRAM), b("wgt1", "10.9.0.2", {}, SOCK_DGRAM);
    sockaddr_in const where = ipv4_address("10.9.0.2", 5400);
    auto const* const to = reinterpret_cast<sockaddr const*>(&where);
    BOOST_REQUIRE(::bind(b.socket.get(), to, sizeof where) == 0);
    BOOST_REQUIRE(::connect(a.socket.get(), to, sizeof where) == 0);
    packet_buffers buffers(wg::os::coalescer::max_packets, 1420);
    carry(a, b, buffers); // packets that the host sends on its own
    std::size_t const counted = b.counted(), count = 3 * wg::os::coalescer::max_datagrams + 8;
    for (std::size_t i = 0; i < count; ++i) BOOST_REQUIRE(::send(a.socket.get(), &i, sizeof i, 0) == sizeof i);
    carry(a, b, buffers);
    BOOST_TEST(b.counted() - counted == (takes_datagrams_in_frames() ? 4u : count));
    for (std::size_t i = 0, got = 0; i < count; ++i) {
        BOOST_REQUIRE(::recv(b.socket.get(), &got, sizeof got, 0) == sizeof got);
        BOOST_TEST(got == i);
    }
}

BOOST_AUTO_TEST_CASE(the_next_read_begins_with_packets_that_did_not_fit_even_after_a_move) {
    REQUIRE_NETWORK();
    tun_host a("wgt0", "10.9.0.1", {}), b("wgt1", "10.9.0.2", {});
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = ::htons(5201);
    where.sin_addr.s_addr = ::inet_addr("10.9.0.2");
    BOOST_REQUIRE(::bind(b.socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    BOOST_REQUIRE(::listen(b.socket.get(), 1) == 0);
    BOOST_REQUIRE(::connect(a.socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) < 0);
    packet_buffers buffers(64, 1420), one(1, 1420);
    pollfd connected{a.socket.get(), POLLOUT, 0};
    for (int i = 0; i < 100 && ::poll(&connected, 1, 10) == 0; ++i) {
        carry(a, b, buffers);
        carry(b, a, buffers);
    }
    carry(a, b, buffers);
    std::vector<wg::byte> const text(8000, 'x');
    BOOST_REQUIRE(::send(a.socket.get(), text.data(), text.size(), MSG_NOSIGNAL) == 8000);
    std::size_t payload = 0, empty_handed = 0;
    while (payload < 8000) {
        wg::os::tun moved = std::move(a.tun);
        pollfd waiting{moved.fd(), POLLIN, 0};
        auto const got = moved.read(one.windows);
        BOOST_REQUIRE((got && *got == 1)); // without waiting
        auto const view = one.windows[0].view();
        if (view[0] == 0x45 && view[9] == IPPROTO_TCP) {
            payload += view.size() - 20 - std::size_t{view[32]} / 16 * 4;
            if (payload < 8000 && ::poll(&waiting, 1, 0) == 0) ++empty_handed;
        }
        a.tun = std::move(moved);
    }
    BOOST_TEST(empty_handed > 0u); // the descriptor did not poll readable for these
}

BOOST_AUTO_TEST_CASE(takes_over_an_inherited_descriptor) {
    REQUIRE_NETWORK();
    wg::os::error_text why;
    auto const with = [&](int flags) {
        int const fd = ::open("/dev/net/tun", O_RDWR);
        BOOST_REQUIRE(fd >= 0);
        ifreq request = about("wgt1");
        request.ifr_flags = static_cast<short>(flags);
        BOOST_REQUIRE(::ioctl(fd, TUNSETIFF, &request) == 0);
        return fd;
    };
    {
        int const fd = with(IFF_TUN | IFF_NO_PI);
        auto const tun = wg::os::tun::adopt(fd, why);
        BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.c_str());
        BOOST_TEST(std::string(tun->name()) == "wgt1");
        BOOST_TEST(tun->mtu() == 1500u); // the MTU that its creator chose
        BOOST_TEST((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        BOOST_TEST((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
    for (int const size : {10, 12}) { // the framing that its creator chose
        int const fd = with(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
        BOOST_REQUIRE(::ioctl(fd, TUNSETVNETHDRSZ, &size) == 0);
        auto tun = wg::os::tun::adopt(fd, why);
        BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.c_str());
        set_address("wgt1", "10.9.0.1");
        set_up("wgt1", true);
        BOOST_TEST((tun->link_state() == wg::status::ok));
        auto out = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 5000, "x");
        wg::packet p(out, 0, out.size());
        BOOST_TEST(tun->write({&p, 1}) == 1u);
        unique_fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in theirs{};
        theirs.sin_family = AF_INET;
        theirs.sin_port = ::htons(9);
        theirs.sin_addr.s_addr = ::inet_addr("10.9.0.2");
        BOOST_REQUIRE(::sendto(socket.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&theirs), sizeof theirs) == 1);
        packet_buffers in(16, 1500);
        auto const got = tun->read(in.windows);
        BOOST_REQUIRE((got && *got >= 1));
        for (wg::packet const& q : std::span(in.windows).first(*got)) // IPv6 neighbour discovery also sends packets
            BOOST_TEST((q.view()[0] == 0x45 || q.view()[0] >> 4 == 6));
    }
    {
        unique_fd const wrong(with(IFF_TAP | IFF_NO_PI));
        auto const refused = wg::os::tun::adopt(wrong.get(), why).why();
        BOOST_TEST((refused == wg::status::not_supported));
        BOOST_TEST(std::string(why.c_str()).find("IFF_NO_PI") != std::string::npos);
    }
    unique_fd const no_tun(::open("/dev/null", O_RDWR | O_CLOEXEC));
    BOOST_TEST((wg::os::tun::adopt(no_tun.get(), why).why() == wg::status::invalid));
    BOOST_TEST((wg::os::tun::adopt(-1, why).why() == wg::status::invalid));
}

BOOST_AUTO_TEST_SUITE_END()
