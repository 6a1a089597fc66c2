// SPDX-License-Identifier: BSL-1.0
// Network namespaces for one test, with TUN interfaces in them.
#ifndef WG_TESTS_TUN_HOST_HPP
#define WG_TESTS_TUN_HOST_HPP

#include "wg/os/linux/netlink/routes.hpp"
#include "wg/os/linux/tun/tun.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstdio>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string>
#include <vector>

namespace wg_tests {

using wg::os::unique_fd;

/// A network namespace that lasts as long as the object; false if rights for it or for a TUN device are missing.
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

inline bool ask(unsigned long what, ifreq& request) {
    unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return ::ioctl(any.get(), what, &request) == 0;
}
inline ifreq about(char const* name) {
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return request;
}
inline void set_up(char const* name, bool up) {
    ifreq request = about(name);
    BOOST_REQUIRE(ask(SIOCGIFFLAGS, request));
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    BOOST_REQUIRE(ask(SIOCSIFFLAGS, request));
}
inline void set_address(char const* name, char const* address) {
    ifreq request = about(name);
    auto* const in = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = ::inet_addr(address);
    BOOST_REQUIRE(ask(SIOCSIFADDR, request));
    in->sin_addr.s_addr = ::inet_addr("255.255.255.0");
    BOOST_REQUIRE(ask(SIOCSIFNETMASK, request));
}
/// The kernel's answer to a request (rtnetlink(7)) about an interface.
inline std::vector<char> answer_about(char const* name, std::uint16_t type, std::uint16_t flags) {
    struct {
        nlmsghdr header;
        ifinfomsg link;
    } request{};
    request.header = {sizeof request, type, static_cast<std::uint16_t>(NLM_F_REQUEST | flags), 0, 0};
    request.link.ifi_index = static_cast<int>(::if_nametoindex(name));
    unique_fd const netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    BOOST_REQUIRE(::send(netlink.get(), &request, sizeof request, 0) == sizeof request);
    std::vector<char> answer(8192);
    ssize_t const size = ::recv(netlink.get(), answer.data(), answer.size(), 0);
    BOOST_REQUIRE(size >= ssize_t{NLMSG_HDRLEN});
    answer.resize(static_cast<std::size_t>(size));
    return answer;
}
/// Deletes an interface, as `ip link delete` does.
inline void delete_link(char const* name) {
    auto const answer = answer_about(name, RTM_DELLINK, NLM_F_ACK);
    BOOST_REQUIRE(static_cast<nlmsgerr const*>(NLMSG_DATA(answer.data()))->error == 0);
}
/// The number in an attribute of an interface; 0 if the kernel does not tell it.
inline std::uint32_t attribute_of(char const* name, std::uint16_t which) {
    auto const answer = answer_about(name, RTM_GETLINK, 0);
    std::size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(ifinfomsg));
    for (rtattr a; at + sizeof a <= answer.size(); at += std::max<std::size_t>(RTA_ALIGN(a.rta_len), sizeof a)) {
        std::memcpy(&a, &answer[at], sizeof a);
        if (a.rta_type != which) continue;
        std::uint32_t value = 0;
        std::memcpy(&value, &answer.at(at + sizeof a), sizeof value);
        return value;
    }
    return 0;
}

/// A network namespace besides the test's.
class other_network {
public:
    other_network() : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
        BOOST_REQUIRE(::unshare(CLONE_NEWNET) == 0);
        fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        BOOST_REQUIRE(::setns(home_.get(), CLONE_NEWNET) == 0);
    }
    /// Calls `act` while this thread is in the namespace.
    template <class Act> void inside(Act act) const {
        BOOST_REQUIRE(::setns(fd_.get(), CLONE_NEWNET) == 0);
        act();
        BOOST_REQUIRE(::setns(home_.get(), CLONE_NEWNET) == 0);
    }
    int fd() const { return fd_.get(); }
    int home() const { return home_.get(); }
    /// Closes the descriptor that keeps the namespace alive.
    void close() { fd_.reset(); }

private:
    unique_fd home_, fd_;
};
/// Moves an interface to another namespace, as `ip link set NAME netns` does.
inline void move_link(char const* name, int namespace_fd) {
    ifinfomsg about{};
    about.ifi_index = static_cast<int>(::if_nametoindex(name));
    wg::os::netlink_detail::request request(RTM_NEWLINK, NLM_F_ACK, about);
    request.attribute(IFLA_NET_NS_FD, namespace_fd);
    unique_fd const netlink = wg::os::netlink_detail::open_socket();
    alignas(nlmsghdr) wg::byte room[1024];
    auto const answer = wg::os::netlink_detail::ask(netlink.get(), request, room);
    BOOST_REQUIRE((answer.type == NLMSG_ERROR && errno == 0));
}
inline void set_mtu(char const* name, int bytes) {
    ifreq request = about(name);
    request.ifr_mtu = bytes;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request));
}
inline void rename_link(char const* name, char const* to) {
    ifreq request = about(name);
    std::snprintf(request.ifr_newname, sizeof request.ifr_newname, "%s", to);
    BOOST_REQUIRE(ask(SIOCSIFNAME, request));
}

inline wg::os::tun made(char const* name, wg::os::offloads const& wanted = {}) {
    wg::os::error_text why;
    auto device = wg::os::tun::open(name, why, 1420, wanted);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(device), why.c_str());
    return std::move(*device);
}

/// An IPv4 packet with a UDP datagram of `text`. Only the IP header has a checksum.
inline std::vector<wg::byte> ipv4_udp(std::array<wg::byte, 4> from, std::array<wg::byte, 4> to, std::uint16_t port,
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

/// Buffers for packets, and windows of `room` octets at offset 32.
struct packet_buffers {
    std::vector<std::vector<wg::byte>> memory;
    std::vector<wg::packet> windows;

    packet_buffers(std::size_t count, std::size_t room) : memory(count, std::vector<wg::byte>(32 + room)) {
        for (auto& m : memory) windows.emplace_back(wg::bytes(m), 32);
    }
};

/// Whether this kernel's TUN devices take datagrams in frames (Linux 6.2).
inline bool takes_datagrams_in_frames() {
    constexpr unsigned uso4 = 0x20, uso6 = 0x40; // older headers lack the names
    unique_fd const device(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request = about("wgt9");
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    BOOST_REQUIRE(::ioctl(device.get(), TUNSETIFF, &request) == 0);
    return ::ioctl(device.get(), TUNSETOFFLOAD, TUN_F_CSUM | uso4 | uso6) == 0;
}

/// A network namespace with a TUN device and a socket in it. IPv6 is off, because the kernel sends multicast listener
/// reports (RFC 3810) of its own, and the tests count packets.
struct tun_host {
    unique_fd network;
    wg::os::tun tun;
    unique_fd socket;
    std::size_t written = 0; ///< packets that `carry` has written

    tun_host(char const* name, char const* address, wg::os::offloads const& wanted, int kind = SOCK_STREAM) {
        BOOST_REQUIRE(::unshare(CLONE_NEWNET) == 0);
        network.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        unique_fd const ipv6(::open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC));
        BOOST_REQUIRE(!ipv6 || ::write(ipv6.get(), "1", 1) == 1);
        tun = made(name, wanted);
        set_address(name, address);
        set_up(name, true);
        socket.reset(::socket(AF_INET, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    }

    /// How many frames from us the interface has counted as received packets.
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

/// Carries packets from one host to the other until none is left.
inline void carry(tun_host& from, tun_host& to, packet_buffers& buffers) {
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

inline sockaddr_in ipv4_address(char const* address, std::uint16_t port) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = ::htons(port);
    where.sin_addr.s_addr = ::inet_addr(address);
    return where;
}

} // namespace wg_tests

#endif
