// SPDX-License-Identifier: BSL-1.0
// TUN interfaces and the monitor of links and routes, in network namespaces of the test's own.
#include "wg/os/linux/routes.hpp"
#include "wg/os/linux/tun.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstdio>
#include <memory>
#include <numeric>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/eventfd.h>
#include <vector>

namespace {

using wg::os::unique_fd;

/// A network namespace for as long as it lives; false where that, or a TUN device, needs more rights than there are.
class own_network {
public:
    own_network() : before_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
        unique_fd const driver(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
        if (driver && before_) entered_ = ::unshare(CLONE_NEWNET) == 0;
        if (!entered_) BOOST_TEST_MESSAGE("skipped: needs root, network namespaces and /dev/net/tun");
    }
    ~own_network() {
        if (entered_) ::setns(before_.get(), CLONE_NEWNET);
    }
    own_network(own_network const&) = delete;
    own_network& operator=(own_network const&) = delete;
    explicit operator bool() const { return entered_; }

private:
    unique_fd before_;
    bool entered_ = false;
};

#define REQUIRE_NETWORK()                                                                                              \
    own_network network;                                                                                               \
    if (!network) return

bool ask(unsigned long what, ifreq& request) {
    unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return ::ioctl(any.get(), what, &request) == 0;
}
ifreq about(char const* name) {
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return request;
}
void set_up(char const* name, bool up) {
    ifreq request = about(name);
    BOOST_REQUIRE(ask(SIOCGIFFLAGS, request));
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    BOOST_REQUIRE(ask(SIOCSIFFLAGS, request));
}
void set_address(char const* name, char const* address) {
    ifreq request = about(name);
    auto* const in = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = ::inet_addr(address);
    BOOST_REQUIRE(ask(SIOCSIFADDR, request));
    in->sin_addr.s_addr = ::inet_addr("255.255.255.0");
    BOOST_REQUIRE(ask(SIOCSIFNETMASK, request));
}
/// As `ip link delete` does it.
void delete_link(char const* name) {
    struct {
        nlmsghdr header;
        ifinfomsg link;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_DELLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.link.ifi_index = static_cast<int>(::if_nametoindex(name));
    unique_fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    BOOST_REQUIRE(::send(netlink.get(), &request, sizeof request, 0) == sizeof request);
    struct {
        nlmsghdr header;
        nlmsgerr answer;
        char more[256];
    } reply{};
    BOOST_REQUIRE(::recv(netlink.get(), &reply, sizeof reply, 0) > 0);
    BOOST_REQUIRE(reply.answer.error == 0);
}

wg::os::tun made(char const* name, wg::os::offloads const& wanted = {}) {
    wg::os::error_text why;
    auto device = wg::os::tun::open(name, why, 1420, wanted);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(device), why.c_str());
    return std::move(*device);
}

/// An IPv4 packet with a UDP datagram of `text`; no checksums but the header's.
std::vector<wg::byte> ipv4_udp(std::array<wg::byte, 4> from, std::array<wg::byte, 4> to, std::uint16_t port,
                               std::string const& text) {
    std::vector<wg::byte> p(28 + text.size());
    p[0] = 0x45;
    wg::store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[8] = 64;
    p[9] = IPPROTO_UDP;
    std::copy(from.begin(), from.end(), p.begin() + 12);
    std::copy(to.begin(), to.end(), p.begin() + 16);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < 20; i += 2) sum += wg::load_be16(&p[i]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    wg::store_be16(&p[10], static_cast<std::uint16_t>(~sum));
    wg::store_be16(&p[20], 9);
    wg::store_be16(&p[22], port);
    wg::store_be16(&p[24], static_cast<std::uint16_t>(8 + text.size()));
    std::copy(text.begin(), text.end(), p.begin() + 28);
    return p;
}

/// Buffers for packets, and windows of them with `room` octets at 32.
struct packet_buffers {
    std::vector<std::vector<wg::byte>> memory;
    std::vector<wg::packet> windows;

    packet_buffers(std::size_t count, std::size_t room) : memory(count, std::vector<wg::byte>(32 + room)) {
        for (auto& m : memory) windows.emplace_back(wg::bytes(m), 32);
    }
};

/// A network of its own with a TUN device and a socket in it.
struct tun_host {
    unique_fd network;
    wg::os::tun tun;
    unique_fd socket;
    std::size_t written = 0; ///< packets

    tun_host(char const* name, char const* address, wg::os::offloads const& wanted, int kind = SOCK_STREAM) {
        BOOST_REQUIRE(::unshare(CLONE_NEWNET) == 0);
        network.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        tun = made(name, wanted);
        set_address(name, address);
        set_up(name, true);
        socket.reset(::socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    }

    /// What the interface counted as received from us: a frame is one packet to it.
    std::size_t counted() const {
        BOOST_REQUIRE(::setns(network.get(), CLONE_NEWNET) == 0);
        std::unique_ptr<std::FILE, int (*)(std::FILE*)> const file(std::fopen("/proc/thread-self/net/dev", "r"),
                                                                   std::fclose);
        BOOST_REQUIRE(file);
        char line[512];
        unsigned long bytes = 0, packets = 0;
        std::string const format = std::string(" ") + tun.name() + ": %lu %lu";
        while (std::fgets(line, sizeof line, file.get()) != nullptr)
            if (std::sscanf(line, format.c_str(), &bytes, &packets) == 2) return packets;
        BOOST_FAIL("no such interface");
        return 0;
    }
};

/// Carries packets from one host to the other until there are none, `batch` at a time.
void carry(tun_host& from, tun_host& to, packet_buffers& buffers) {
    for (;;) {
        for (wg::packet& p : buffers.windows) p.length = 0;
        auto const got = from.tun.read(buffers.windows);
        BOOST_REQUIRE(got);
        for (wg::packet const& p : std::span(buffers.windows).first(*got)) {
            BOOST_REQUIRE(p.length <= 1420u);
            BOOST_REQUIRE(p.length >= 20u);
        }
        to.written += *got;
        BOOST_TEST(to.tun.write(std::span(buffers.windows).first(*got)) == *got);
        if (*got < buffers.windows.size()) return;
    }
}

/// Everything the monitor tells until `enough` holds, a second at most.
template <class Enough> wg::os::network_changes changes_until(wg::os::route_monitor& monitor, Enough enough) {
    wg::os::network_changes all;
    while (!enough(all)) {
        pollfd watched{monitor.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 1000) != 1) break;
        auto const more = monitor.read();
        if (more.link) all.link = true, all.up = more.up, all.mtu_bytes = more.mtu_bytes;
        all.link_left |= more.link_left;
        all.routes |= more.routes;
    }
    return all;
}

} // namespace

BOOST_AUTO_TEST_SUITE(os_linux_tun)

BOOST_AUTO_TEST_CASE(bad_names_are_refused_with_a_reason) {
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
    BOOST_TEST(tun.index() == ::if_nametoindex("wgt0"));
    BOOST_TEST(tun.index() != 0u);
    BOOST_TEST(tun.mtu() == 1420u);
    ifreq request = about("wgt0");
    BOOST_REQUIRE(ask(SIOCGIFMTU, request));
    BOOST_TEST(request.ifr_mtu == 1420);
}

// As the kernel counts: the limit less the most that TCP's headers may take, 320 octets and one.
BOOST_AUTO_TEST_CASE(frames_are_as_long_as_one_message) {
    for (std::size_t const mtu : {1280u, 1420u, 1412u, 1440u, 8920u}) {
        std::size_t const room = wg::os::frame_limit(mtu) - 321, most = wg::os::max_joined_bytes / (mtu + 32);
        BOOST_TEST(room / (mtu - 52) == most, mtu); // IPv4 with timestamps
        BOOST_TEST(room / (mtu - 72) == most, mtu); // IPv6
    }
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    auto const limit = [] {
        std::unique_ptr<std::FILE, int (*)(std::FILE*)> const said(
            ::popen("ip -d link show dev wgt0 | grep -o 'gso_max_size [0-9]*'", "r"), ::pclose);
        unsigned bytes = 0;
        return std::fscanf(said.get(), "gso_max_size %u", &bytes) == 1 ? bytes : 0;
    };
    BOOST_TEST(limit() == wg::os::frame_limit(1420));
    ifreq request = about("wgt0");
    request.ifr_mtu = 1300;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request));
    tun.refresh_mtu();
    BOOST_TEST(limit() == wg::os::frame_limit(1300));
}

BOOST_AUTO_TEST_CASE(a_name_in_use_is_said_to_be) {
    REQUIRE_NETWORK();
    wg::os::tun const tun = made("wgt0");
    for (char const* const name : {"wgt0", "lo"}) { // of another process, and of another kind
        wg::os::error_text why;
        BOOST_TEST((wg::os::tun::open(name, why).why() == wg::status::address_in_use));
        BOOST_TEST(std::string(why.c_str()).find("exists already") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(the_mtu_is_asked_for_again_on_demand) {
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

    // Out: a batch, each packet at the offset it has; what else the host sends (IPv6 looking around) is passed over.
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

    // In: one that is no packet is dropped alone.
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
    BOOST_REQUIRE(::poll(&watched, 1, 1000) == 1); // whoever waits for packets learns of it
    BOOST_TEST((tun.read({&p, 1}).why() == wg::status::gone));
    BOOST_TEST(tun.write({&q, 1}) == 0u);
    BOOST_TEST((tun.link_state() == wg::status::gone));
}

BOOST_AUTO_TEST_CASE(down_is_not_gone_and_deleted_is) { go_down_and_away(true); }
BOOST_AUTO_TEST_CASE(down_is_not_gone_and_deleted_is_without_virtio_headers) { go_down_and_away(false); }

/// The hosts' TCP on both sides: what they exchange arrives as it was sent, however the devices are framed.
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
    // Joined packets are fewer for the host than we wrote.
    if (offload_b && batch > 8) BOOST_TEST(b.counted() * 4 < b.written);
    if (!offload_b) BOOST_TEST(b.counted() == b.written);
}

BOOST_AUTO_TEST_CASE(tcp_passes_in_big_pieces) { exchange_tcp(true, true, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_from_big_pieces_to_packets) { exchange_tcp(true, false, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_from_packets_to_big_pieces) { exchange_tcp(false, true, 64); }
BOOST_AUTO_TEST_CASE(tcp_passes_in_spans_smaller_than_a_frame) { exchange_tcp(true, true, 3); }

sockaddr_in ipv4_address(char const* address, std::uint16_t port) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = ::htons(port);
    where.sin_addr.s_addr = ::inet_addr(address);
    return where;
}

/// Datagrams that a program hands to the host as one message, and that arrive as they were.
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
    carry(a, b, buffers); // what the host says by itself
    std::size_t const counted = b.counted(), written = b.written;
    BOOST_REQUIRE(::sendto(a.socket.get(), sent.data(), sent.size(), 0, to, sizeof where) ==
                  static_cast<ssize_t>(sent.size()));
    carry(a, b, buffers);
    std::vector<wg::byte> got, one(2000);
    for (ssize_t size; (size = ::recv(b.socket.get(), one.data(), one.size(), 0)) > 0;) {
        BOOST_TEST((size == 700 || got.size() == 39u * 700));
        got.insert(got.end(), one.begin(), one.begin() + size);
    }
    BOOST_TEST((got == sent));
    if (offloads_b.frames && offloads_b.uso)
        BOOST_TEST((b.counted() - counted) * 4 < b.written - written);
    else
        BOOST_TEST(b.counted() - counted == b.written - written);
}

BOOST_AUTO_TEST_CASE(datagrams_pass_in_big_pieces) { exchange_datagrams({}, {}); }
BOOST_AUTO_TEST_CASE(datagrams_pass_from_big_pieces_to_packets) { exchange_datagrams({}, {.uso = false}); }
BOOST_AUTO_TEST_CASE(datagrams_pass_from_packets_to_big_pieces) { exchange_datagrams({.frames = false}, {}); }

/// Of a flow of 300 packets and then one of another: how many of the first are read before that one, at best.
std::size_t packets_before_a_lone_one(wg::os::offloads const& wanted) {
    tun_host a("wgt0", "10.9.0.1", wanted, SOCK_DGRAM);
    packet_buffers buffers(16, 1420);
    std::size_t least = SIZE_MAX;
    for (std::uint16_t port = 6000; port < 6012; ++port) { // some of these flows share a queue with the first
        for (int i = 0; i <= 300; ++i) {
            sockaddr_in const to = ipv4_address("10.9.0.2", i == 300 ? port : std::uint16_t{5999});
            BOOST_REQUIRE(::sendto(a.socket.get(), &i, sizeof i, 0, reinterpret_cast<sockaddr const*>(&to),
                                   sizeof to) == sizeof i);
        }
        std::size_t before = 0, last = 0;
        for (std::size_t got = buffers.windows.size(); got == buffers.windows.size();) {
            got = *a.tun.read(buffers.windows);
            for (wg::packet const& p : std::span(buffers.windows).first(got)) {
                auto const view = p.view();
                if (view.size() != 32 || view[0] != 0x45) continue; // the host's own
                int number;
                std::memcpy(&number, &view[28], sizeof number);
                if (number == 300) {
                    least = std::min(least, before);
                } else {
                    BOOST_TEST(static_cast<std::size_t>(number) == last++); // in order
                    ++before;
                }
            }
        }
        BOOST_TEST(last == 300u);
    }
    return least;
}

BOOST_AUTO_TEST_CASE(a_lone_packet_does_not_wait_behind_a_flow) {
    REQUIRE_NETWORK();
    BOOST_TEST(packets_before_a_lone_one({}) < 16u);
    BOOST_TEST(packets_before_a_lone_one({.queues = false}) == 300u);
}

BOOST_AUTO_TEST_CASE(a_flow_stays_in_the_queue_that_it_came_from) {
    REQUIRE_NETWORK();
    BOOST_TEST(made("wgt0", {.queues = false}).queue_count() == 1u);
    wg::os::tun const tun = made("wgt0");
    BOOST_TEST(tun.queue_count() == wg::os::tun_queues::most);

    wg::os::tun_queues queues;
    BOOST_REQUIRE(queues.add(unique_fd(::eventfd(0, EFD_CLOEXEC))));
    BOOST_TEST(queues.queue_for(ipv4_udp({10, 9, 0, 1}, {10, 9, 0, 2}, 5000, "x")) == 0u);
    for (int i = 0; i < 3; ++i) BOOST_REQUIRE(queues.add(unique_fd(::eventfd(0, EFD_CLOEXEC))));
    for (std::uint16_t port = 1; port < 200; ++port) {
        auto out = ipv4_udp({10, 9, 0, 1}, {10, 9, 0, 2}, port, "x"),
             in = ipv4_udp({10, 9, 0, 2}, {10, 9, 0, 1}, 0, "");
        wg::store_be16(&in[20], port);
        wg::store_be16(&in[22], 9);
        BOOST_TEST(queues.queue_for(in) < 4u);
        queues.came_from(port % 4, out);
        BOOST_TEST(queues.queue_for(in) == port % 4u);
        BOOST_TEST(queues.queue_for(out) == port % 4u);
    }
}

/// Numbers of the datagrams of one flow that a handle of an interface reads, in order.
std::vector<int> numbers_read(wg::os::tun& tun, packet_buffers& buffers) {
    std::vector<int> numbers;
    auto const got = tun.read(buffers.windows);
    BOOST_REQUIRE(got);
    for (wg::packet const& p : std::span(buffers.windows).first(*got)) {
        auto const view = p.view();
        if (view.size() != 32 || view[0] != 0x45) continue; // the host's own
        numbers.emplace_back();
        std::memcpy(&numbers.back(), &view[28], sizeof(int));
    }
    return numbers;
}

/// Of several handles one reads a flow until it says that what it has read was sent; then others may.
void share_a_flow(bool as_frames, bool while_reading = false) {
    REQUIRE_NETWORK();
    constexpr int count = 80;
    tun_host a("wgt0", "10.9.0.1", {}, SOCK_DGRAM);
    wg::result<wg::os::tun> other = wg::status::not_supported;
    auto const share = [&] {
        other = a.tun.share();
        BOOST_REQUIRE(other);
        BOOST_TEST(other->has_frames());
    };
    if (!while_reading) share();
    sockaddr_in const where = ipv4_address("10.9.0.2", 5400);
    BOOST_REQUIRE(::connect(a.socket.get(), reinterpret_cast<sockaddr const*>(&where), sizeof where) == 0);
    std::array<int, count> all;
    std::iota(all.begin(), all.end(), 0);
    if (as_frames) {
        int const segment_bytes = sizeof(int);
        BOOST_REQUIRE(
            ::setsockopt(a.socket.get(), IPPROTO_UDP, UDP_SEGMENT, &segment_bytes, sizeof segment_bytes) == 0);
        for (int const frame : {0, 1}) // what follows a frame waits until it has been read whole
            BOOST_REQUIRE(::send(a.socket.get(), &all[frame * count / 2], sizeof all / 2, 0) == sizeof all / 2);
    } else {
        for (int const& n : all) BOOST_REQUIRE(::send(a.socket.get(), &n, sizeof n, 0) == sizeof n);
    }
    packet_buffers buffers(16, 1420);
    std::vector<int> in_order;
    while (while_reading && in_order.empty()) {
        in_order = numbers_read(a.tun, buffers);
        a.tun.settle();
    }
    if (while_reading) share();
    wg::os::tun *reads = &a.tun, *waits = &*other;
    for (int tries = 0; in_order.size() < count && tries < 100; ++tries) {
        auto const some = numbers_read(*reads, buffers);
        in_order.insert(in_order.end(), some.begin(), some.end());
        if (!some.empty()) BOOST_TEST(numbers_read(*waits, buffers).empty());
        reads->settle();
        // What is left of a frame only its reader has.
        if (as_frames && in_order.size() % (count / 2) != 0) BOOST_TEST(numbers_read(*waits, buffers).empty());
        waits->settle();
        if (!as_frames) std::swap(reads, waits);
    }
    BOOST_TEST(in_order == std::vector<int>(all.begin(), all.end()), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(handles_of_an_interface_take_turns_in_a_flow) { share_a_flow(false); }
BOOST_AUTO_TEST_CASE(handles_of_an_interface_do_not_part_a_frame) { share_a_flow(true); }
BOOST_AUTO_TEST_CASE(a_frame_that_is_being_read_is_not_shared) { share_a_flow(true, true); }

BOOST_AUTO_TEST_CASE(handles_share_an_interface_with_one_queue_or_without_frames) {
    REQUIRE_NETWORK();
    for (wg::os::offloads const& wanted : {wg::os::offloads{.queues = false}, wg::os::offloads{.frames = false}}) {
        wg::os::tun first = made("wgt0", wanted);
        auto const second = first.share();
        BOOST_REQUIRE(second);
        BOOST_TEST(second->has_frames() == first.has_frames());
        BOOST_TEST(second->queue_count() == first.queue_count());
        BOOST_TEST(std::string(second->name()) == "wgt0");
        BOOST_TEST(second->fd() == first.fd());
    }
}

BOOST_AUTO_TEST_CASE(what_did_not_fit_comes_with_the_next_read_even_to_another_object) {
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
    BOOST_TEST(empty_handed > 0u); // the descriptor told of none of these
}

BOOST_AUTO_TEST_CASE(an_inherited_descriptor_is_taken_over) {
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
        BOOST_TEST(tun->mtu() == 1500u); // what its maker gave it
        BOOST_TEST((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        BOOST_TEST((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
    for (int const size : {10, 12}) { // as its maker left it
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
        for (wg::packet const& q : std::span(in.windows).first(*got)) // IPv6 looks around, too
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

BOOST_AUTO_TEST_CASE(monitor_begins_with_the_present_and_follows) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    auto monitor = wg::os::route_monitor::open(tun.index());
    BOOST_REQUIRE(monitor);
    auto told = changes_until(*monitor, [](auto const& c) { return c.link; });
    BOOST_TEST((told.link && !told.up && told.mtu_bytes == 1420 && !told.link_left));

    set_up("wgt0", true);
    told = changes_until(*monitor, [](auto const& c) { return c.up; });
    BOOST_TEST((told.link && told.up));

    ifreq request = about("wgt0");
    request.ifr_mtu = 1340;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request));
    told = changes_until(*monitor, [](auto const& c) { return c.mtu_bytes == 1340; });
    BOOST_TEST(told.mtu_bytes == 1340u);
    BOOST_TEST(told.up);

    set_up("wgt0", false);
    told = changes_until(*monitor, [](auto const& c) { return c.link && !c.up; });
    BOOST_TEST((told.link && !told.up));

    delete_link("wgt0");
    told = changes_until(*monitor, [](auto const& c) { return c.link_left; });
    BOOST_TEST(told.link_left);
}

BOOST_AUTO_TEST_CASE(monitor_tells_of_routes_that_lead_away_but_not_of_other_links) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0"), other = made("wgt1");
    auto monitor = wg::os::route_monitor::open(tun.index());
    BOOST_REQUIRE(monitor);
    changes_until(*monitor, [](auto const& c) { return c.link; });
    set_address("wgt1", "10.9.1.1");
    monitor->read();
    set_up("wgt1", true); // brings one to its network
    auto const told = changes_until(*monitor, [](auto const& c) { return c.routes; });
    BOOST_TEST((told.routes && !told.link && !told.link_left));
    monitor->read();
    set_address("wgt1", "10.9.2.1"); // takes the old one away
    BOOST_TEST(changes_until(*monitor, [](auto const& c) { return c.routes; }).routes);
}

BOOST_AUTO_TEST_CASE(monitor_of_no_interface_says_that_it_is_not_there) {
    auto monitor = wg::os::route_monitor::open(0x7fffffff);
    BOOST_REQUIRE(monitor);
    BOOST_TEST(changes_until(*monitor, [](auto const& c) { return c.link_left; }).link_left);
}

BOOST_AUTO_TEST_CASE(monitor_that_was_overrun_takes_everything_as_changed) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    auto monitor = wg::os::route_monitor::open(tun.index());
    BOOST_REQUIRE(monitor);
    changes_until(*monitor, [](auto const& c) { return c.link; });
    int const tiny = 1;
    BOOST_REQUIRE(::setsockopt(monitor->fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny) == 0);
    for (int i = 0; i < 20; ++i) set_up("wgt0", i % 2 == 1);
    ifreq request = about("wgt0");
    request.ifr_mtu = 1234;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request)); // the event finds no room
    auto const told = changes_until(*monitor, [](auto const& c) { return c.mtu_bytes == 1234; });
    BOOST_TEST(told.routes);
    BOOST_TEST(told.mtu_bytes == 1234u); // asked for anew
    BOOST_TEST(told.up);
}

BOOST_AUTO_TEST_SUITE_END()
