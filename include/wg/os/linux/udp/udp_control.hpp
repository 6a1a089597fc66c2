// SPDX-License-Identifier: BSL-1.0
// The control messages of a datagram: local address and interface, tos, segment size (ip(7), ipv6(7), udp(7)).
// Folder: os/linux/udp. Pure; any thread.
#ifndef WG_OS_LINUX_UDP_UDP_CONTROL_HPP
#define WG_OS_LINUX_UDP_UDP_CONTROL_HPP

#include "../../../base/ip.hpp"
#include "../../../base/packet.hpp"
#include "../../posix/udp/socket_address.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 // Linux 4.18; older C libraries lack the names
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 // Linux 5.0
#endif

namespace wg { inline namespace WG_ABI { namespace os {

/// The longest message that Linux cuts into datagrams: 65535 bytes less the headers of IPv6 and UDP.
inline constexpr std::size_t max_joined_bytes = 65535 - ipv6_header_bytes - udp_header_bytes;

/// Whether an address is an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
inline bool is_mapped(ip_address const& address) noexcept {
    constexpr byte prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return address.kind == family::v6 && std::memcmp(address.octets.data(), prefix, sizeof prefix) == 0;
}

/// The IPv4 endpoint that an IPv4-mapped one stands for. An IPv6 socket with IPV6_V6ONLY refuses mapped addresses.
inline endpoint without_mapping(endpoint const& mapped) noexcept {
    return {ip_address::of(family::v4, mapped.address.octets.data() + 12), mapped.port, 0};
}

/// The control messages of one datagram.
class control_messages {
public:
    /// Gives `message`, which is to be received, room for control messages.
    void prepare(msghdr& message) noexcept {
        message.msg_control = room_;
        message.msg_controllen = sizeof room_;
    }

    /// Reads `where.local`, `tos` and `segment_bytes` of `d` from a received message. Returns: false if the segment
    /// size is impossible, so that it is not known where to cut `d`. Emulators that do not swap its bytes cause that.
    static bool read(msghdr& message, datagram& d) noexcept {
        d.where.local = {};
        d.tos = 0;
        d.segment_bytes = 0;
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                auto const info = value_of<in_pktinfo>(c);
                // ipi_spec_dst is the address for the answer, also if the datagram was a broadcast.
                d.where.local.address = ip_address::of(family::v4, reinterpret_cast<byte const*>(&info.ipi_spec_dst));
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi_ifindex);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                auto const info = value_of<in6_pktinfo>(c);
                auto const* const octets = reinterpret_cast<byte const*>(&info.ipi6_addr);
                if (octets[0] == 0xff) continue; // a multicast address cannot be a source
                d.where.local.address = ip_address::of(family::v6, octets);
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi6_ifindex);
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
                d.tos = value_of<byte>(c);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
                d.tos = static_cast<byte>(value_of<int>(c));
            } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int const segment = value_of<int>(c);
                if (segment <= 0 || segment > 0xffff) return false;
                if (static_cast<std::uint32_t>(segment) < d.length)
                    d.segment_bytes = static_cast<std::uint16_t>(segment);
            }
        }
        return true;
    }

    /// Writes the control messages of `message`, which sends `d`: the tos of `d` unless it is 0; the source `local` and
    /// its interface, as far as they are given; the size of segments unless `segment_bytes` is 0.
    void write(msghdr& message, datagram const& d, local_source const& local, std::size_t segment_bytes) noexcept {
        used_ = 0;
        bool const is_v4 = d.where.remote.address.kind == family::v4;
        if (local.address.kind == family::v4 && is_v4) {
            in_pktinfo info{};
            info.ipi_ifindex = static_cast<int>(local.interface_index);
            std::memcpy(&info.ipi_spec_dst, local.address.octets.data(), 4);
            append(IPPROTO_IP, IP_PKTINFO, info);
        } else if (local.address.kind == family::v6 && !is_v4) {
            in6_pktinfo info{};
            info.ipi6_ifindex = local.interface_index;
            std::memcpy(&info.ipi6_addr, local.address.octets.data(), 16);
            append(IPPROTO_IPV6, IPV6_PKTINFO, info);
        }
        if (d.tos != 0 && is_v4) append(IPPROTO_IP, IP_TOS, d.tos); // a byte; for IPv6 it is an int
        if (d.tos != 0 && !is_v4) append(IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(d.tos));
        if (segment_bytes != 0) append(IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes));
        message.msg_control = used_ != 0 ? room_ : nullptr;
        message.msg_controllen = converted<decltype(message.msg_controllen)>(used_); // a socklen_t in musl
    }

    /// Whether `d` has a source of its destination's family.
    static bool has_source(datagram const& d) noexcept {
        return d.where.local.address.kind != family::none && d.where.local.address.kind == d.where.remote.address.kind;
    }

private:
    template <class Value> static Value value_of(cmsghdr const* c) noexcept {
        Value value;
        std::memcpy(&value, CMSG_DATA(c), sizeof value);
        return value;
    }

    template <class Value> void append(int level, int type, Value const& value) noexcept {
        static_assert(sizeof value <= sizeof(in6_pktinfo));
        byte* const at = room_ + used_;
        std::memset(at, 0, CMSG_SPACE(sizeof value)); // the kernel and valgrind also read the padding
        cmsghdr header{};
        header.cmsg_level = level;
        header.cmsg_type = type;
        header.cmsg_len = static_cast<decltype(header.cmsg_len)>(CMSG_LEN(sizeof value));
        std::memcpy(at, &header, sizeof header);
        std::memcpy(at + CMSG_LEN(0), &value, sizeof value); // as CMSG_DATA
        used_ += CMSG_SPACE(sizeof value);
    }

    alignas(cmsghdr) byte room_[CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
    std::size_t used_;
};

}}} // namespace wg::WG_ABI::os

#endif
