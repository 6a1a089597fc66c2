// SPDX-License-Identifier: BSL-1.0
// UDP sockets over the loopback interface, and a twin whose host refuses what a test chooses.
#ifndef WG_TESTS_UDP_TWIN_HPP
#define WG_TESTS_UDP_TWIN_HPP

#include "wg/os/linux/udp/udp.hpp"

#include <boost/test/unit_test.hpp>

#include <arpa/inet.h>
#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace wg_tests {

using wg::os::udp;

inline wg::ip_address const loopback4 = wg::ip_address::v4(127, 0, 0, 1);
inline wg::ip_address const loopback6 = [] {
    wg::ip_address a{{}, wg::family::v6};
    a.octets[15] = 1;
    return a;
}();

/// What system calls of the twin return. Numbers are counted down; 0: the real call.
struct plan {
    int no_many = 0; ///< sendmmsg and recvmmsg do not exist
    int full = 0;    ///< this many sends find no room
    bool never_writable = false;
    int waits = 0;                  ///< calls of `wait_writable`
    int refused_segments = 0;       ///< the errno of messages with several pieces
    int refused_source = 0;         ///< the errno of messages with a source
    std::uint16_t refused_port = 0; ///< messages to this port fail with `refused_port_error`
    int refused_port_error = 0;
    wg::duration clock_ahead{}; ///< how far the socket's clock is ahead of the host's
    wg::instant stopped_at{};   ///< the socket's clock stands still at this time
    bool no_tos = false;        ///< messages with a tos are invalid
    bool no_v6 = false;
    bool no_steering = false;
    bool no_gro = false;
    bool swapped_segments = false; ///< the kernel reports the size of segments in the other byte order
    bool no_fwmark = false;
    int taken_v6_ports = 0; ///< this many binds of IPv6 find the port in use
    int messages = 0;       ///< that sendmmsg has sent
    int calls = 0;
};
inline plan faults;

struct faulty_calls : wg::os::udp_calls {
    static int fail(int error) noexcept {
        errno = error;
        return -1;
    }
    static int socket(int domain) noexcept {
        return faults.no_v6 && domain == AF_INET6 ? fail(EAFNOSUPPORT) : udp_calls::socket(domain);
    }
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept {
        if (address->sa_family == AF_INET6 && faults.taken_v6_ports > 0) {
            --faults.taken_v6_ports;
            return fail(EADDRINUSE);
        }
        return udp_calls::bind(fd, address, size);
    }
    static int set_option(int fd, int level, int name, int value) noexcept {
        if (faults.no_gro && level == IPPROTO_UDP && (name == UDP_GRO || name == UDP_SEGMENT)) return fail(ENOPROTOOPT);
        if (faults.no_fwmark && level == SOL_SOCKET && name == SO_MARK) return fail(EPERM);
        return udp_calls::set_option(fd, level, name, value);
    }
    static int steer(int fd, sock_fprog const& program) noexcept {
        return faults.no_steering ? fail(ENOPROTOOPT) : udp_calls::steer(fd, program);
    }
    static bool has(msghdr& m, int of_v4, int of_v6) noexcept {
        for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c))
            if (c->cmsg_type == (c->cmsg_level == IPPROTO_IP ? of_v4 : of_v6) && c->cmsg_level != IPPROTO_UDP)
                return true;
        return false;
    }
    static bool goes_to(msghdr const& m, std::uint16_t port) noexcept {
        wg::os::socket_address address{};
        std::memcpy(&address, m.msg_name, m.msg_namelen);
        return wg::os::read_address(address).port == port;
    }
    static wg::instant now() noexcept {
        return faults.stopped_at != wg::instant{} ? faults.stopped_at : udp_calls::now() + faults.clock_ahead;
    }
    static int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        ++faults.calls;
        if (faults.no_many) return fail(ENOSYS);
        if (faults.full > 0) {
            --faults.full;
            return fail(EAGAIN);
        }
        if (faults.refused_segments != 0 && messages->msg_hdr.msg_iovlen > 1) return fail(faults.refused_segments);
        if (faults.refused_source != 0 && has(messages->msg_hdr, IP_PKTINFO, IPV6_PKTINFO))
            return fail(faults.refused_source);
        if (faults.refused_port != 0) {
            unsigned good = 0;
            while (good < count && !goes_to(messages[good].msg_hdr, faults.refused_port)) ++good;
            if (good == 0) return fail(faults.refused_port_error);
            count = good; // as sendmmsg: messages before the refused one leave
        }
        if (faults.no_tos && has(messages->msg_hdr, IP_TOS, IPV6_TCLASS)) return fail(EINVAL);
        int const sent = udp_calls::send_many(fd, messages, count);
        if (sent > 0) faults.messages += sent;
        return sent;
    }
    static int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (faults.no_many) return fail(ENOSYS);
        int const got = udp_calls::receive_many(fd, messages, count);
        for (int i = 0; i < got && faults.swapped_segments; ++i) swap_segments(messages[i].msg_hdr);
        return got;
    }
    static void swap_segments(msghdr& m) noexcept {
        for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
            if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
            std::uint32_t value;
            std::memcpy(&value, CMSG_DATA(c), sizeof value);
            value = __builtin_bswap32(value);
            std::memcpy(CMSG_DATA(c), &value, sizeof value);
        }
    }
    static int wait_writable(int fd, timespec const& at_most) noexcept {
        ++faults.waits;
        return faults.never_writable ? 0 : udp_calls::wait_writable(fd, at_most);
    }
};
using faulty_udp = wg::os::basic_udp<faulty_calls>;

struct fresh_faults {
    fresh_faults() { faults = {}; }
    ~fresh_faults() { faults = {}; }
};

inline wg::datagram datagram_to(wg::ip_address address, std::uint16_t port, std::string& text) {
    wg::datagram d;
    static_cast<wg::packet&>(d) =
        wg::packet(wg::bytes(reinterpret_cast<wg::byte*>(text.data()), text.size()), 0, text.size());
    d.where.remote = {address, port, 0};
    return d;
}

/// A copy of a received datagram.
struct arrival {
    std::string text;
    wg::path where;
    std::uint8_t tos = 0;
    std::uint16_t segment_bytes = 0;
};

/// Waits until `wanted` datagrams (segments count one by one) have arrived, a second at most.
template <class Socket> std::vector<arrival> receive(Socket& socket, std::size_t wanted, std::size_t slots = 8) {
    std::vector<std::vector<wg::byte>> memory(slots, std::vector<wg::byte>(Socket::receive_bytes + 16));
    std::vector<arrival> all;
    std::size_t count = 0;
    while (count < wanted) {
        pollfd watched{socket.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 1000) != 1) break;
        std::vector<wg::datagram> datagrams(slots);
        for (std::size_t i = 0; i < slots; ++i) static_cast<wg::packet&>(datagrams[i]) = wg::packet(memory[i], 16);
        auto const got = socket.receive(datagrams);
        BOOST_REQUIRE(got);
        for (std::size_t i = 0; i < *got; ++i) {
            wg::datagram const& d = datagrams[i];
            auto const view = d.view();
            all.push_back({std::string(view.begin(), view.end()), d.where, d.tos, d.segment_bytes});
            count += d.segment_bytes == 0 ? 1 : (d.length + d.segment_bytes - 1) / d.segment_bytes;
        }
    }
    return all;
}

/// The datagrams' texts, cut where the host has joined them.
inline std::vector<std::string> texts_of(std::vector<arrival> const& all) {
    std::vector<std::string> texts;
    for (arrival const& a : all) {
        std::size_t const step = a.segment_bytes != 0 ? a.segment_bytes : std::max<std::size_t>(a.text.size(), 1);
        for (std::size_t at = 0; at == 0 || at < a.text.size(); at += step) texts.push_back(a.text.substr(at, step));
    }
    return texts;
}

template <class Socket = udp> struct opened {
    Socket socket;
    std::uint16_t port = 0;
    explicit opened(bool separates_handshakes = false) {
        if (separates_handshakes) socket.separate_handshakes();
        auto const bound = socket.open(0);
        BOOST_REQUIRE(bound);
        port = *bound;
        BOOST_REQUIRE(port != 0);
    }
};

inline bool host_has_v6() {
    wg::os::unique_fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_addr = in6addr_loopback;
    return fd && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) == 0;
}

/// Ends a test that needs IPv6, with a message, where there is none.
#define REQUIRE_V6()                                                                                                   \
    if (!host_has_v6()) {                                                                                              \
        BOOST_TEST_MESSAGE("skipped: this host has no IPv6");                                                          \
        return;                                                                                                        \
    }

} // namespace wg_tests

#endif
