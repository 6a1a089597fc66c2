// SPDX-License-Identifier: BSL-1.0
// Inner packets: congestion marks (RFC 6040), ICMP answers for unreachable destinations (RFC 792, RFC 4443), and the
// detection of routing loops. Folder: device; pure functions.
#ifndef WG_DEVICE_INNER_PACKET_HPP
#define WG_DEVICE_INNER_PACKET_HPP

#include "../base/ip.hpp"
#include "../base/packet.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// The congestion mark of a packet (RFC 3168, section 5).
enum ecn : std::uint8_t {
    not_ect = 0,                ///< the transport does not take congestion marks
    ect_1 = 1,                  ///< the transport takes them
    ect_0 = 2,                  ///< the transport takes them
    congestion_experienced = 3, ///< a router on the way was congested
};

/// The congestion mark of a TOS or traffic class byte: an `ecn`.
constexpr std::uint8_t ecn_of(std::uint8_t tos) noexcept { return tos & 3; }

/// Combines the mark of the outer header with that of the inner packet, in place (RFC 6040, section 4.2).
/// Returns: false if the packet is to be dropped, because congestion occurred and the packet takes no marks.
//= RFC 6040 4.2: congestion on the way is told to the inner packet, or drops it
inline bool decapsulate_ecn(bytes packet, ip_header const& inner, std::uint8_t outer_tos) noexcept {
    std::uint8_t const outer = ecn_of(outer_tos), was = ecn_of(inner.tos);
    if (outer == not_ect || outer == ect_0 || was == congestion_experienced) return true;
    if (was == not_ect) return outer != congestion_experienced;
    // ect_1 and congestion_experienced replace the inner mark.
    unsigned const change = was ^ outer;
    if (inner.kind == family::v4) {
        packet[1] = static_cast<byte>(packet[1] ^ change);
        // RFC 1624: the header's checksum follows the one word that changes.
        std::uint32_t const sum = (load_be16(&packet[10]) ^ 0xffffu) + 0xffff + outer - was;
        store_be16(&packet[10], checksum_finish(sum));
    } else {
        packet[1] = static_cast<byte>(packet[1] ^ change << 4);
    }
    return true;
}

/// Whether an outbound packet is an ICMP error, or may be one. No ICMP error is sent about such a packet.
//= RFC 1122 3.2.2: no error about an error, a multicast, a fragment that is not the first, or a packet from nowhere
//= RFC 4443 2.4: no error about an error, also behind extension headers
inline bool may_be_icmp_error(bytes_view packet, ip_header const& header) noexcept {
    bool const v4 = header.kind == family::v4;
    if (!header.first_fragment) return true;
    byte protocol = header.protocol;
    std::size_t at = header.header_bytes;
    // The loop ends, because each extension header takes at least 8 bytes of the packet.
    while (!v4) {
        bool const fragment = protocol == ip_extension_fragment,
                   authentication = protocol == ip_extension_authentication;
        bool const other = protocol == ip_extension_hop_by_hop || protocol == ip_extension_routing ||
                           protocol == ip_extension_destination_options || protocol == ip_extension_mobility ||
                           protocol == ip_extension_hip || protocol == ip_extension_shim6;
        if (!fragment && !authentication && !other) break;
        if (at + 8 > packet.size()) return true; // the next header is cut off
        if (fragment && (load_be16(&packet[at + 2]) & 0xfff8) != 0) return true;
        protocol = packet[at];
        std::size_t const length = packet[at + 1];
        at += fragment ? 8 : authentication ? (length + 2) * 4 : (length + 1) * 8;
    }
    if (protocol != (v4 ? ip_protocol_icmp : ip_protocol_icmp_v6)) return false;
    if (at >= packet.size()) return true;
    byte const type = packet[at];
    return v4 ? type != icmp_echo_request && type != icmp_timestamp_request && type != icmp_mask_request
              : type < icmp_v6_first_informational;
}

/// Replaces an outbound packet by an ICMP message to its sender (RFC 792: host unreachable; RFC 4443: address
/// unreachable), in place. The message's source is the unreachable destination: the host would refuse a message from
/// its own address as one that cannot come from outside. `about` is the header of `data`.
/// Returns: false if no answer is due (ICMP errors, multicast, fragments, no source) or the buffer is too short.
//= RFC 792: host unreachable; RFC 4443 3.1: address unreachable
inline bool make_unreachable(packet& data, ip_header const& about) noexcept {
    bool const v4 = about.kind == family::v4;
    std::size_t const header = v4 ? ipv4_header_bytes : ipv6_header_bytes;
    std::size_t const address_bytes = v4 ? 4 : 16;
    bytes_view const original = data.view();

    bool const unspecified = std::all_of(about.source, about.source + address_bytes, [](byte b) { return b == 0; });
    if (unspecified || may_be_icmp_error(original, about)) return false;
    if (v4 ? about.destination[0] >= 224 || about.source[0] >= 224
           : about.destination[0] == 0xff || about.source[0] == 0xff)
        return false;
    byte_array<16> source{}, destination{};
    std::memcpy(source.data(), about.destination, address_bytes);
    std::memcpy(destination.data(), about.source, address_bytes);

    std::size_t const front = header + icmp_header_bytes;
    if (data.capacity < front + about.header_bytes + udp_header_bytes) return false;
    std::size_t const quoted =
        (std::min<std::size_t>)({original.size(), (v4 ? 576 : 1280) - front, std::size_t{data.capacity} - front});
    data.grow(0, static_cast<std::ptrdiff_t>(quoted) - static_cast<std::ptrdiff_t>(original.size()));
    if (data.headroom() >= front) {
        data.grow(static_cast<std::ptrdiff_t>(front), 0);
    } else { // the buffer has room behind the window
        byte* const from = data.view().data();
        data = packet({data.buffer, data.capacity}, 0, quoted + front);
        std::memmove(data.view().data() + front, from, quoted);
    }
    bytes const out = data.view();
    bytes const icmp = out.subspan(header);
    std::memset(out.data(), 0, front);
    icmp[0] = v4 ? icmp_destination_unreachable : icmp_v6_destination_unreachable;
    icmp[1] = v4 ? icmp_host_unreachable : icmp_v6_address_unreachable;
    if (v4) {
        out[0] = 0x45;
        store_be16(&out[2], static_cast<std::uint16_t>(out.size()));
        out[8] = 64;
        out[9] = ip_protocol_icmp;
        std::memcpy(&out[12], source.data(), 4);
        std::memcpy(&out[16], destination.data(), 4);
        store_be16(&out[10], checksum_finish(checksum_add(0, out.first(ipv4_header_bytes))));
        store_be16(&icmp[2], checksum_finish(checksum_add(0, icmp)));
    } else {
        out[0] = 0x60;
        store_be16(&out[4], static_cast<std::uint16_t>(icmp.size()));
        out[6] = ip_protocol_icmp_v6;
        out[7] = 64;
        std::memcpy(&out[8], source.data(), 16);
        std::memcpy(&out[24], destination.data(), 16);
        std::uint32_t const pseudo =
            checksum_add(converted<std::uint32_t>(icmp.size()) + ip_protocol_icmp_v6, out.subspan(8, 32));
        store_be16(&icmp[2], checksum_finish(checksum_add(pseudo, icmp)));
    }
    return true;
}

/// Returns: the payload of an inner UDP datagram from `local_port` to `remote`; empty if `packet` is another packet. A
/// datagram that this tunnel sent, and that the host routed into the tunnel, has these ports and this destination.
inline bytes_view datagram_between(bytes_view packet, ip_header const& header, std::uint16_t local_port,
                                   endpoint const& remote) noexcept {
    if (header.protocol != ip_protocol_udp || header.kind != remote.address.kind || !header.first_fragment) return {};
    if (header.header_bytes + udp_header_bytes > packet.size()) return {};
    byte const* const udp = &packet[header.header_bytes];
    if (load_be32(udp) != (std::uint32_t{local_port} << 16 | remote.port)) return {};
    std::size_t const address_bytes = header.kind == family::v4 ? 4 : 16;
    if (std::memcmp(header.destination, remote.address.octets.data(), address_bytes) != 0) return {};
    return packet.subspan(header.header_bytes + udp_header_bytes);
}

}} // namespace wg::WG_ABI

#endif
