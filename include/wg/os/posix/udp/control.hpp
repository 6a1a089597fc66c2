// SPDX-License-Identifier: BSL-1.0
// The control messages of a datagram: local address and interface, tos (ip(4), ip6(4), RFC 3542). Folder: os/posix/udp.
// Pure; any thread.
#ifndef WG_OS_POSIX_UDP_CONTROL_HPP
#define WG_OS_POSIX_UDP_CONTROL_HPP

#include "../../../base/packet.hpp"
#include "socket_address.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The numbers of options and control messages of a system. 0: the system lacks it.
struct udp_numbers {
    bool has_v4_interface = true; ///< IPv4: the local address comes with an interface (IP_PKTINFO), else without
    int v4_receive_local = 0;     ///< option: report the local address (IP_PKTINFO, IP_RECVDSTADDR)
    int v4_received_local = 0;    ///< control message: the local address of a received datagram
    int v4_local = 0;             ///< control message: the source of a sent datagram (IP_PKTINFO, IP_SENDSRCADDR)
    int v4_receive_tos = 0;       ///< option: report the tos (IP_RECVTOS)
    int v4_received_tos = 0;      ///< control message: the tos of a received datagram, one byte
    int v4_tos = 0;               ///< control message: the tos of a sent datagram (IP_TOS)
    std::size_t v4_tos_bytes = 1; ///< the length of the value of `v4_tos`: 1 or 4
    int v6_receive_local = 0;     ///< option: IPV6_RECVPKTINFO
    int v6_local = 0;             ///< control message: IPV6_PKTINFO
    int v6_receive_tos = 0;       ///< option: IPV6_RECVTCLASS
    int v6_tos = 0;               ///< control message: IPV6_TCLASS
    /// IP_PKTINFO of a received datagram has only its destination address, and no address of this host (XNU).
    bool v4_reports_destination = false;
};

/// The control messages of one datagram. `Numbers` is a `udp_numbers` of the system.
template <udp_numbers const& Numbers> class basic_control {
public:
    /// Gives `message`, which is to be received, room for control messages.
    void prepare(msghdr& message) noexcept {
        message.msg_control = room_;
        message.msg_controllen = sizeof room_;
    }

    /// Reads `where.local` and `tos` of `d` from a received message. Control messages that are cut are ignored.
    static void read(msghdr& message, datagram& d) noexcept {
        d.where.local = {};
        d.tos = 0;
        d.segment_bytes = 0;
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == IPPROTO_IP && is(c, Numbers.v4_received_local)) {
                v4_local info;
                if (Numbers.has_v4_interface && value_of(c, info)) {
                    // The second address is the destination, which may be a broadcast address.
                    byte const* const address = Numbers.v4_reports_destination ? info.destination : info.source;
                    bool const is_source = address[0] != 0 && address[0] < 224; // neither 0.0.0.0 nor a multicast group
                    if (is_source) d.where.local = {ip_address::of(family::v4, address), info.interface_index};
                } else if (!Numbers.has_v4_interface && value_of(c, info.source)) {
                    d.where.local = {ip_address::of(family::v4, info.source), 0};
                }
            } else if (c->cmsg_level == IPPROTO_IPV6 && is(c, Numbers.v6_local)) {
                v6_local info;
                if (value_of(c, info) && info.address[0] != 0xff) // a multicast address cannot be a source
                    d.where.local = {ip_address::of(family::v6, info.address), info.interface_index};
            } else if (c->cmsg_level == IPPROTO_IP && is(c, Numbers.v4_received_tos)) {
                (void)value_of(c, d.tos);
            } else if (c->cmsg_level == IPPROTO_IPV6 && is(c, Numbers.v6_tos)) {
                int tos = 0;
                if (value_of(c, tos)) d.tos = static_cast<byte>(tos);
            }
        }
    }

    /// Writes the control messages of `message`, which sends `d`: the tos of `d` unless it is 0, and its source
    /// address, as far as they are given and the system has them. The routes choose the interface, so a datagram takes
    /// a new route at once; only a link-local address names its interface.
    void write(msghdr& message, datagram const& d) noexcept {
        used_ = 0;
        bool const is_v4 = d.where.remote.address.kind == family::v4;
        local_source const& local = d.where.local;
        if (has_source(d) && is_v4 && Numbers.v4_local != 0) {
            v4_local info{0, {}, {}};
            std::memcpy(info.source, local.address.octets.data(), 4);
            if (Numbers.has_v4_interface) append(IPPROTO_IP, Numbers.v4_local, &info, sizeof info);
            else append(IPPROTO_IP, Numbers.v4_local, info.source, sizeof info.source);
        } else if (has_source(d) && !is_v4 && Numbers.v6_local != 0) {
            v6_local info{{}, is_link_local(local.address) ? local.interface_index : 0};
            std::memcpy(info.address, local.address.octets.data(), 16);
            append(IPPROTO_IPV6, Numbers.v6_local, &info, sizeof info);
        }
        int const tos = d.tos;
        if (tos != 0 && is_v4 && Numbers.v4_tos != 0) {
            if (Numbers.v4_tos_bytes == 1) append(IPPROTO_IP, Numbers.v4_tos, &d.tos, 1);
            else append(IPPROTO_IP, Numbers.v4_tos, &tos, sizeof tos);
        }
        if (tos != 0 && !is_v4 && Numbers.v6_tos != 0) append(IPPROTO_IPV6, Numbers.v6_tos, &tos, sizeof tos);
        message.msg_control = used_ != 0 ? room_ : nullptr;
        message.msg_controllen = converted<decltype(message.msg_controllen)>(used_);
    }

    /// Whether `d` has a source of its destination's family.
    static bool has_source(datagram const& d) noexcept {
        return d.where.local.address.kind != family::none && d.where.local.address.kind == d.where.remote.address.kind;
    }

private:
    struct v4_local { // in_pktinfo
        std::uint32_t interface_index;
        byte source[4]; ///< ipi_spec_dst: for a received datagram, the address for the answer
        byte destination[4];
    };
    struct v6_local { // in6_pktinfo
        byte address[16];
        std::uint32_t interface_index;
    };

    static bool is_link_local(ip_address const& v6) noexcept {
        return v6.octets[0] == 0xfe && (v6.octets[1] & 0xc0) == 0x80; // RFC 4291, 2.4
    }
    static bool is(cmsghdr const* c, int type) noexcept { return type != 0 && c->cmsg_type == type; }

    template <class Value> static bool value_of(cmsghdr const* c, Value& value) noexcept {
        if (c->cmsg_len < CMSG_LEN(sizeof value)) return false;
        std::memcpy(&value, CMSG_DATA(const_cast<cmsghdr*>(c)), sizeof value); // a macro that some write for one type
        return true;
    }

    void append(int level, int type, void const* value, std::size_t size) noexcept {
        byte* const at = room_ + used_;
        std::memset(at, 0, CMSG_SPACE(size)); // the kernel reads the padding too
        auto* const c = reinterpret_cast<cmsghdr*>(at);
        c->cmsg_level = level;
        c->cmsg_type = type;
        c->cmsg_len = static_cast<decltype(c->cmsg_len)>(CMSG_LEN(size));
        std::memcpy(CMSG_DATA(c), value, size);
        used_ += CMSG_SPACE(size);
    }

    alignas(cmsghdr) byte room_[128]; ///< CMSG_SPACE is no constant on each system; the messages have 88 bytes at most
    std::size_t used_ = 0;
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
