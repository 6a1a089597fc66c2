// SPDX-License-Identifier: BSL-1.0
// Reading the headers of an IP packet, and the Internet checksum (RFC 791, 8200, 1071). Folder: base. Pure; any thread.
#ifndef WG_BASE_IP_HPP
#define WG_BASE_IP_HPP

#include "endpoint.hpp"

namespace wg { inline namespace WG_ABI {

// Sizes of headers without options.
inline constexpr std::size_t ipv4_header_bytes = 20, ///< of an IPv4 header without options
    ipv6_header_bytes = 40,                          ///< of an IPv6 header without extension headers
    udp_header_bytes = 8,                            ///< of a UDP header
    icmp_header_bytes = 8;                           ///< of an ICMP or ICMPv6 header
// Protocol numbers (IANA).
inline constexpr byte ip_protocol_udp = 17, ///< protocol number of UDP
    ip_protocol_icmp = 1,                   ///< protocol number of ICMP
    ip_protocol_icmp_v6 = 58;               ///< protocol number of ICMPv6
// IPv6 extension headers (IANA's list of protocol numbers).
inline constexpr byte ip_extension_hop_by_hop = 0, ///< Hop-by-Hop Options (RFC 8200)
    ip_extension_routing = 43,                     ///< Routing (RFC 8200)
    ip_extension_fragment = 44,                    ///< Fragment (RFC 8200)
    ip_extension_authentication = 51,              ///< Authentication Header (RFC 4302)
    ip_extension_destination_options = 60,         ///< Destination Options (RFC 8200)
    ip_extension_mobility = 135,                   ///< Mobility (RFC 6275)
    ip_extension_hip = 139,                        ///< Host Identity Protocol (RFC 7401)
    ip_extension_shim6 = 140;                      ///< Shim6 (RFC 5533)
// ICMP types and codes (RFC 792, RFC 950; RFC 4443).
inline constexpr byte icmp_destination_unreachable = 3,    ///< ICMP type
    icmp_host_unreachable = 1,                             ///< ICMP code of `icmp_destination_unreachable`
    icmp_echo_request = 8,                                 ///< ICMP type
    icmp_timestamp_request = 13,                           ///< ICMP type
    icmp_mask_request = 17;                                ///< ICMP type: address mask request
inline constexpr byte icmp_v6_destination_unreachable = 1, ///< ICMPv6 type
    icmp_v6_address_unreachable = 3,                       ///< ICMPv6 code of `icmp_v6_destination_unreachable`
    icmp_v6_first_informational = 128;                     ///< ICMPv6 types below this are errors

/// The fields of a packet's IP header. The pointers point into the packet.
struct ip_header {
    family kind = family::none;        ///< the IP version; `family::none`: no IP packet
    byte const* source = nullptr;      ///< 4 or 16 bytes
    byte const* destination = nullptr; ///< 4 or 16 bytes
    std::uint8_t tos = 0;              ///< DSCP and ECN (IPv6: the traffic class)
    std::size_t total_bytes = 0;       ///< header and payload; not more than the size of the packet
    byte protocol = 0;                 ///< IPv6: of the first header after the fixed one
    bool first_fragment = true;        ///< the transport header is in this packet
    std::size_t header_bytes = 0;      ///< IPv4: with options; IPv6: the fixed header

    /// Whether the packet is an IP packet.
    explicit operator bool() const noexcept { return kind != family::none; }
};

namespace ip_detail {

WG_OUTLINE inline ip_header parse(byte const* packet, std::size_t size) noexcept {
    ip_header header;
    if (size < ipv4_header_bytes) return header;
    unsigned const version = packet[0] >> 4;
    bool const v4 = version == 4;
    if (!v4 && version != 6) return header;
    header.header_bytes = v4 ? ipv4_header_bytes : ipv6_header_bytes;
    header.total_bytes = v4 ? load_be16(packet + 2) : ipv6_header_bytes + load_be16(packet + 4);
    if (header.total_bytes > size || header.total_bytes < header.header_bytes) return header;
    header.kind = v4 ? family::v4 : family::v6;
    header.tos = static_cast<std::uint8_t>(load_be16(packet) >> (v4 ? 0 : 4));
    header.protocol = packet[v4 ? 9 : 6];
    header.source = packet + (v4 ? 12 : 8);
    header.destination = header.source + (v4 ? 4 : 16);
    if (v4) {
        std::size_t const with_options = std::size_t{packet[0] & 0x0fu} * 4;
        if (with_options >= ipv4_header_bytes && with_options <= header.total_bytes) header.header_bytes = with_options;
        header.first_fragment = (load_be16(packet + 6) & 0x1fff) == 0;
    }
    return header;
}

} // namespace ip_detail

/// Reads the IP header of `packet`. Returns: a header of `family::none` if the packet is not an IP packet, or is
/// shorter than its header says.
inline ip_header parse_ip(bytes_view packet) noexcept { return ip_detail::parse(packet.data(), packet.size()); }

/// Adds `data` to a checksum (RFC 1071), which is not folded yet. `data`: at most 65536 bytes; an odd size is padded
/// with a zero byte.
constexpr std::uint32_t checksum_add(std::uint32_t sum, bytes_view data) noexcept {
    for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += load_be16(&data[i]); // at most 2^15 words of 2^16
    if (data.size() % 2 != 0) sum += static_cast<std::uint32_t>(data.back()) << 8;
    return (sum & 0xffff) + (sum >> 16);
}
/// Folds and inverts the sum. Returns: the checksum.
constexpr std::uint16_t checksum_finish(std::uint32_t sum) noexcept {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

}} // namespace wg::WG_ABI

#endif
