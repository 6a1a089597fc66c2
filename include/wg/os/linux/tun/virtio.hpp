// SPDX-License-Identifier: BSL-1.0
// What stands before a packet in a frame of a TUN device (Virtual I/O Device 1.1, section 5.1.6), and what frames of
// several TCP segments or UDP datagrams need to know of their headers (RFC 791, 8200, 9293, 768). Layer 7 (Linux);
// pure.
#ifndef WG_OS_LINUX_TUN_VIRTIO_HPP
#define WG_OS_LINUX_TUN_VIRTIO_HPP

#include "checksum.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

inline constexpr std::size_t virtio_header_bytes = 10;

/// Declared here because <linux/virtio_net.h> is not valid C++.
struct virtio_header {
    enum : std::uint8_t { needs_checksum = 1 };                                           // flags
    enum : std::uint8_t { no_segments = 0, tcp_v4 = 1, tcp_v6 = 4, udp = 5, ecn = 0x80 }; // segments

    std::uint8_t flags = 0;
    std::uint8_t segments = no_segments;
    std::uint16_t header_bytes = 0;
    std::uint16_t segment_bytes = 0;   ///< payload of each segment but the last
    std::uint16_t checksum_start = 0;  ///< the checksum covers all from here,
    std::uint16_t checksum_offset = 0; ///< and goes there, seen from its start

    /// Little-endian, as the specification has it.
    static constexpr virtio_header load(std::span<byte const, virtio_header_bytes> from) noexcept {
        return {from[0], from[1], load_le16(&from[2]), load_le16(&from[4]), load_le16(&from[6]), load_le16(&from[8])};
    }
    constexpr void store(std::span<byte, virtio_header_bytes> to) const noexcept {
        to[0] = flags;
        to[1] = segments;
        store_le16(&to[2], header_bytes);
        store_le16(&to[4], segment_bytes);
        store_le16(&to[6], checksum_start);
        store_le16(&to[8], checksum_offset);
    }
};

/// The longest packet in a frame; without its header. Linux makes longer ones only where it is told to.
inline constexpr std::size_t max_frame_packet_bytes = 65535;

namespace frame_detail {

enum : std::size_t { ipv4_bytes = 20, ipv6_bytes = 40, tcp_bytes = 20, udp_bytes = 8, max_tcp_bytes = 60 };
enum : std::size_t { tcp_checksum_at = 16, udp_checksum_at = 6 };
enum : byte { fin = 1, psh = 8, ack = 16, ece = 64, cwr = 128 };
inline constexpr byte protocol_tcp = 6, protocol_udp = 17, protocol_icmp_v6 = 58;

/// The sum of what a checksum covers besides the segment: addresses, protocol and length.
inline std::uint64_t pseudo_header_sum(byte const* ip, byte protocol, std::size_t segment_bytes) noexcept {
    bytes_view const addresses = ip[0] >> 4 == 4 ? bytes_view(ip + 12, 8) : bytes_view(ip + 8, 32);
    return add_words(std::uint64_t{network_word(protocol)} + network_word(segment_bytes), addresses);
}

/// Length and checksum of the IP header for a packet of `total_bytes`.
inline void finish_ip(byte* ip, std::size_t header_bytes, std::size_t total_bytes) noexcept {
    if (ip[0] >> 4 == 6) return store_be16(ip + 4, static_cast<std::uint16_t>(total_bytes - ipv6_bytes));
    store_be16(ip + 2, static_cast<std::uint16_t>(total_bytes));
    store_word(ip + 10, 0);
    store_word(ip + 10, static_cast<std::uint16_t>(~fold_sum(add_words(0, {ip, header_bytes}))));
}

} // namespace frame_detail

}}} // namespace wg::WG_ABI::os

#endif
