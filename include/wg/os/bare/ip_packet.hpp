// SPDX-License-Identifier: BSL-1.0
// Checks and makes the IP packets of a small host (RFC 791, 8200, 768, 792, 4443). Packets with options and fragments
// are not supported, and are dropped. Folder: os/bare. Pure; any thread.
#ifndef WG_OS_BARE_IP_PACKET_HPP
#define WG_OS_BARE_IP_PACKET_HPP

#include "../../base/ip.hpp"

namespace wg { inline namespace WG_ABI { namespace bare {

inline constexpr std::size_t max_ip_header_bytes = ipv6_header_bytes; ///< without options
inline constexpr std::uint8_t default_hops = 64;                      ///< the time to live or hop limit of sent packets

/// The fields of a packet's IP header, besides the length.
struct ip_fields {
    ip_address from{};                ///< the source
    ip_address to{};                  ///< the destination, of the same family
    byte protocol = 0;                ///< the next header
    std::uint8_t tos = 0;             ///< the type of service or traffic class
    std::uint8_t hops = default_hops; ///< the time to live or hop limit
    std::uint16_t identification = 0; ///< of IPv4
};

/// The size in bytes of an IP header without options.
constexpr std::size_t ip_header_bytes(family kind) noexcept {
    return kind == family::v4 ? ipv4_header_bytes : ipv6_header_bytes;
}

/// Writes the header of a packet with `payload_bytes` to `at`. Returns: the header's size in bytes.
inline std::size_t write_ip_header(byte* at, ip_fields const& f, std::size_t payload_bytes) noexcept {
    if (f.to.kind == family::v4) {
        at[0] = 0x45;
        at[1] = f.tos;
        store_be16(at + 2, static_cast<std::uint16_t>(ipv4_header_bytes + payload_bytes));
        store_be16(at + 4, f.identification);
        store_be16(at + 6, 0); // a router may fragment the packet
        at[8] = f.hops;
        at[9] = f.protocol;
        store_be16(at + 10, 0);
        std::memcpy(at + 12, f.from.octets.data(), 4);
        std::memcpy(at + 16, f.to.octets.data(), 4);
        store_be16(at + 10, checksum_finish(checksum_add(0, {at, ipv4_header_bytes})));
        return ipv4_header_bytes;
    }
    store_be32(at, 0x60000000u | std::uint32_t{f.tos} << 20);
    store_be16(at + 4, static_cast<std::uint16_t>(payload_bytes));
    at[6] = f.protocol;
    at[7] = f.hops;
    std::memcpy(at + 8, f.from.octets.data(), 16);
    std::memcpy(at + 24, f.to.octets.data(), 16);
    return ipv6_header_bytes;
}

/// The sum of the pseudo header, which the checksums of UDP and ICMPv6 cover besides the message.
inline std::uint32_t pseudo_header_sum(family kind, byte const* from, byte const* to, byte protocol,
                                       std::size_t message_bytes) noexcept {
    std::size_t const size = kind == family::v4 ? 4 : 16;
    std::uint32_t const sum = checksum_add(converted<std::uint32_t>(message_bytes) + protocol, {from, size});
    return checksum_add(sum, {to, size});
}

/// The checksum of a message of two pieces, whose field is zero. The first piece has an even size.
inline std::uint16_t message_checksum(ip_fields const& f, bytes_view first, bytes_view second) noexcept {
    std::uint32_t const sum = pseudo_header_sum(f.to.kind, f.from.octets.data(), f.to.octets.data(), f.protocol,
                                                first.size() + second.size());
    return checksum_finish(checksum_add(checksum_add(sum, first), second));
}

/// Writes the UDP header of `payload`, which can be anywhere, to `at`. Returns: the header's size in bytes.
inline std::size_t write_udp_header(byte* at, ip_fields const& f, std::uint16_t from_port, std::uint16_t to_port,
                                    bytes_view payload) noexcept {
    store_be16(at, from_port);
    store_be16(at + 2, to_port);
    store_be16(at + 4, static_cast<std::uint16_t>(udp_header_bytes + payload.size()));
    store_be16(at + 6, 0);
    std::uint16_t const sum = message_checksum(f, {at, udp_header_bytes}, payload);
    store_be16(at + 6, sum != 0 ? sum : 0xffff); // zero would mean that there is no checksum (RFC 768)
    return udp_header_bytes;
}

/// An IP packet with a whole message of UDP or ICMP, whose checksums are right. Views into the packet.
struct ip_message {
    ip_header header{}; ///< of IP
    bytes_view body{};  ///< the message of UDP or ICMP

    /// Whether there is a message.
    explicit operator bool() const noexcept { return static_cast<bool>(header); }
    /// The source.
    ip_address from() const noexcept { return ip_address::of(header.kind, header.source); }
    /// The destination.
    ip_address to() const noexcept { return ip_address::of(header.kind, header.destination); }
    /// Whether the source is specified. It is not while an IPv6 host checks that its address is unique.
    bool has_sender() const noexcept { return from() != ip_address{{}, header.kind}; }
    /// Whether this is an echo request of ICMP or ICMPv6.
    bool is_echo_request() const noexcept {
        if (body[1] != 0) return false;
        return header.kind == family::v4 ? header.protocol == ip_protocol_icmp && body[0] == 8
                                         : header.protocol == ip_protocol_icmp_v6 && body[0] == 128;
    }
    /// Whether this is a UDP datagram; the following members are for datagrams.
    bool is_udp() const noexcept { return header.protocol == ip_protocol_udp; }
    /// The source port.
    std::uint16_t udp_from() const noexcept { return load_be16(&body[0]); }
    /// The destination port.
    std::uint16_t udp_to() const noexcept { return load_be16(&body[2]); }
    /// The datagram's payload.
    bytes_view udp_payload() const noexcept { return body.subspan(udp_header_bytes); }
};

/// Reads the IP packet at the start of `packet`, which may be followed by padding, and checks headers, lengths and
/// checksums. Returns: no message if the packet is not IP, malformed, a fragment, neither UDP nor ICMP, has options or
/// extension headers, or its source is no unicast address.
inline ip_message read_ip_packet(bytes_view packet) noexcept {
    ip_header const h = parse_ip(packet);
    if (!h) return {};
    bool const v4 = h.kind == family::v4;
    if (v4) {
        if (packet[0] != 0x45 || (load_be16(&packet[6]) & 0x3fff) != 0) return {};
        if (checksum_finish(checksum_add(0, packet.first(ipv4_header_bytes))) != 0) return {};
        if (h.source[0] == 0 || h.source[0] == 127 || h.source[0] >= 224) return {};
    } else if (h.source[0] == 0xff) {
        return {};
    }
    ip_message m{h, packet.subspan(h.header_bytes, h.total_bytes - h.header_bytes)};
    auto const sum = [&] { // 0 if it is right
        auto const pseudo = pseudo_header_sum(h.kind, h.source, h.destination, h.protocol, m.body.size());
        return checksum_finish(checksum_add(h.protocol == ip_protocol_icmp ? 0 : pseudo, m.body));
    };
    if (h.protocol == ip_protocol_udp) {
        if (m.body.size() < udp_header_bytes) return {};
        std::size_t const size = load_be16(&m.body[4]);
        if (size < udp_header_bytes || size > m.body.size()) return {};
        m.body = m.body.first(size);
        bool const unsummed = load_be16(&m.body[6]) == 0;
        if (unsummed ? !v4 : sum() != 0) return {};
        return m;
    }
    if (h.protocol != (v4 ? ip_protocol_icmp : ip_protocol_icmp_v6)) return {};
    if (m.body.size() < icmp_header_bytes || sum() != 0) return {};
    return m;
}

/// Turns an echo request into its reply, in place. The request was checked and has the address of this host, not a
/// broadcast or multicast address. The packet's size in bytes is `request.total_bytes`.
inline void make_echo_reply(bytes packet, ip_header const& request, std::uint16_t identification) noexcept {
    ip_fields const f{ip_address::of(request.kind, request.destination),
                      ip_address::of(request.kind, request.source),
                      request.protocol,
                      request.tos,
                      default_hops,
                      identification};
    bytes const icmp = packet.subspan(request.header_bytes, request.total_bytes - request.header_bytes);
    write_ip_header(packet.data(), f, icmp.size());
    bool const v4 = request.kind == family::v4;
    icmp[0] = v4 ? 0 : 129;
    store_be16(&icmp[2], 0);
    store_be16(&icmp[2], v4 ? checksum_finish(checksum_add(0, icmp)) : message_checksum(f, icmp, {}));
}

}}} // namespace wg::WG_ABI::bare

#endif
