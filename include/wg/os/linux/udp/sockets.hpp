// SPDX-License-Identifier: BSL-1.0
// Opens the sockets of one UDP port: one for data and, where the kernel can sort them, one for handshake messages
// (ip(7), ipv6(7), socket(7)). Folder: os/linux/udp. One thread at a time.
#ifndef WG_OS_LINUX_UDP_SOCKETS_HPP
#define WG_OS_LINUX_UDP_SOCKETS_HPP

#include "../fd.hpp"
#include "../../posix/net_if.hpp"
#include "../../socket_protector.hpp"
#include "calls.hpp"
#include "udp_control.hpp"

#include <algorithm>
#include <iterator>

namespace wg { inline namespace WG_ABI { namespace os { namespace udp_detail {

/// The sockets of one family.
struct family_sockets {
    unique_fd fd{};         ///< receives data, and sends everything
    unique_fd handshakes{}; ///< receives handshake messages; none where the kernel cannot sort them
    bool segments = false;  ///< UDP_SEGMENT exists and has not failed for good
};

/// How sockets are opened.
template <class Calls> struct socket_opener {
    endpoint bind{};                 ///< without a family: any address; its port is not used
    char const* bind_name = nullptr; ///< of an interface; null: any
    socket_protector protector{};
    std::uint32_t fwmark = 0;
    bool gso = true; ///< UDP_SEGMENT is wanted
    bool gro = true; ///< UDP_GRO is wanted
    bool separates_handshakes = false;

    /// Opens the sockets of one family at `port`; 0 means any free port, which is stored. `s` stays closed where the
    /// host lacks the family or `bind` is of the other one; that is no error. Returns: 0 or the errno.
    int open(family_sockets& s, int domain, std::uint16_t& port) const noexcept {
        bool const is_v4 = domain == AF_INET;
        family const kind = is_v4 ? family::v4 : family::v6;
        if (bind && bind.address.kind != kind) return 0;
        unique_fd fd(Calls::socket(domain));
        if (!fd) return errno == EAFNOSUPPORT ? 0 : errno;
        if (!protector.allows(fd.get())) return EPERM;
        if (int const error = configure(fd.get(), is_v4, buffer_bytes, gro); error != 0) return error;
        bool const segments = gso && Calls::set_option(fd.get(), IPPROTO_UDP, UDP_SEGMENT, 0) == 0; // fails if unknown
        socket_address any{};
        endpoint const wanted = bind ? endpoint{bind.address, port, bind.scope_id} : endpoint{{{}, kind}, port, 0};
        socklen_t size = spell(wanted, any);
        if (Calls::bind(fd.get(), &any.any, size) != 0)
            return !is_v4 && !bind && errno == EADDRNOTAVAIL ? 0 : errno; // IPv6 is switched off
        if (::getsockname(fd.get(), &any.any, &size) != 0) return errno;
        port = read_address(any).port;
        if (!open_handshakes(s.handshakes, fd.get(), is_v4, any, size)) return EPERM;
        s.fd = std::move(fd);
        s.segments = segments;
        return 0;
    }

    /// Opens the socket of handshake messages again beside `s.fd`, after `s.fd` was bound to another interface. The
    /// kernel takes a socket out of its group when the socket is bound to another interface (udp_lib_rehash). Then one
    /// of the two sockets would get all datagrams. If it cannot be opened, `s.fd` gets all of them.
    void reopen_handshakes(family_sockets& s, bool is_v4) const noexcept {
        socket_address any{};
        socklen_t size = sizeof any;
        s.handshakes.reset();
        if (::getsockname(s.fd.get(), &any.any, &size) == 0)
            (void)open_handshakes(s.handshakes, s.fd.get(), is_v4, any, size);
        if (!s.handshakes) stop_sharing(s.fd.get());
    }

    /// No other socket may join the port of `fd` from now on.
    static void stop_sharing(int fd) noexcept { Calls::set_option(fd, SOL_SOCKET, SO_REUSEPORT, 0); }

private:
    static constexpr int buffer_bytes = 7 << 20;
    /// Holds about 5,000 messages of 148 bytes: the kernel doubles this number and counts 768 bytes for a message.
    static constexpr int handshake_buffer_bytes = 2 << 20;

    /// Sets the options that both sockets of a family need. `joins`: UDP_GRO. Returns: 0 or the errno.
    int configure(int fd, bool is_v4, int received_bytes, bool joins) const noexcept {
        auto const set = [&](int level, int name, int value) { return Calls::set_option(fd, level, name, value) == 0; };
        if (!is_v4 && !set(IPPROTO_IPV6, IPV6_V6ONLY, 1)) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_PKTINFO, 1) : set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1))) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_RECVTOS, 1) : set(IPPROTO_IPV6, IPV6_RECVTCLASS, 1))) return errno;
        // If reports of the path MTU get lost, a router drops each long datagram that must not be fragmented.
        if (is_v4) set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
        else set(IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
        if (fwmark != 0 && !set(SOL_SOCKET, SO_MARK, static_cast<int>(fwmark))) return errno;
        if (bind_name != nullptr && Calls::bind_device(fd, bind_name) != 0) return errno;
        if (!set(SOL_SOCKET, SO_RCVBUFFORCE, received_bytes)) set(SOL_SOCKET, SO_RCVBUF, received_bytes);
        if (!set(SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)) set(SOL_SOCKET, SO_SNDBUF, buffer_bytes);
        if (joins) set(IPPROTO_UDP, UDP_GRO, 1);
        return 0;
    }

    /// Opens `beside`, a second socket on the address of `fd`, to which the kernel gives handshake messages; none where
    /// it cannot. Returns: false if the program does not allow the socket; then there is none either. `fd` was bound
    /// without SO_REUSEPORT, so a port that another process has was an error. Both sockets are closed together, because
    /// the kernel renumbers the sockets of a port when one of them is closed. The kernel does not join datagrams here:
    /// it parts again what it had joined, so short buffers are enough.
    bool open_handshakes(unique_fd& beside, int fd, bool is_v4, socket_address const& where,
                         socklen_t size) const noexcept {
        // The index of the socket by the message's first byte: 1 to 3 are handshake messages (whitepaper 5.4).
        static constexpr sock_filter by_type[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 0},
                                                  {BPF_JMP | BPF_JGE | BPF_K, 0, 2, 1},
                                                  {BPF_JMP | BPF_JGT | BPF_K, 1, 0, 3},
                                                  {BPF_RET | BPF_K, 0, 0, 1},
                                                  {BPF_RET | BPF_K, 0, 0, 0}};
        sock_filter program[std::size(by_type)];
        std::copy(std::begin(by_type), std::end(by_type), program);
        sock_fprog const steering{std::size(by_type), program};
        if (!separates_handshakes) return true;
        unique_fd made(Calls::socket(is_v4 ? AF_INET : AF_INET6));
        if (made && !protector.allows(made.get())) return false;
        if (!made || configure(made.get(), is_v4, handshake_buffer_bytes, false) != 0) return true;
        auto const let_share = [](int socket) { return Calls::set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1) == 0; };
        // For the microseconds until the program is attached, the kernel spreads datagrams over both sockets.
        bool const steered = let_share(made.get()) && let_share(fd) && Calls::bind(made.get(), &where.any, size) == 0 &&
                             Calls::steer(made.get(), steering) == 0;
        if (steered) beside = std::move(made);
        else stop_sharing(fd);
        return true;
    }
};

/// Whether the socket is bound to an interface (SO_BINDTODEVICE).
inline bool is_bound_to_interface(int fd) noexcept {
    char name[IFNAMSIZ] = {};
    socklen_t size = sizeof name;
    return ::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size) == 0 && size > 1;
}

}}}} // namespace wg::WG_ABI::os::udp_detail

#endif
