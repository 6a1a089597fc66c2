// SPDX-License-Identifier: BSL-1.0
// Reads and completes the headers of packets of TCP and UDP, for flow numbers, joining and cutting (RFC 791, 8200,
// 9293, 768). Folder: os/tun. Pure; any thread.
#ifndef WG_OS_TUN_PACKET_HEADERS_HPP
#define WG_OS_TUN_PACKET_HEADERS_HPP

#include "../../base/ip.hpp"
#include "checksum.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace headers_detail {

inline constexpr std::size_t tcp_header_bytes = 20, max_tcp_header_bytes = 60; ///< without options; with all of them
inline constexpr std::size_t tcp_checksum_at = 16, udp_checksum_at = 6;        ///< from the start of the header
inline constexpr byte ip_protocol_tcp = 6;

/// Flags of TCP, in byte 13 of its header.
enum : byte { fin = 1, psh = 8, ack = 16, ece = 64, cwr = 128 };

/// Reads the IP header of a packet. Each member reads the packet itself, so that nothing is read that is not used.
class ip_view {
public:
    explicit ip_view(bytes_view packet) noexcept : ip_(packet.data()), size_(packet.size()) {}

    /// Whether the fixed part of an IPv4 header is there. The other members may be called if this or `is_v6` holds.
    bool is_v4() const noexcept { return size_ >= ipv4_header_bytes && v4(); }
    /// Whether the fixed part of an IPv6 header is there.
    bool is_v6() const noexcept { return size_ >= ipv6_header_bytes && ip_[0] >> 4 == 6; }

    /// Header and payload, as the header says; may be more or less than the packet has.
    std::size_t total_bytes() const noexcept {
        return v4() ? load_be16(ip_ + 2) : ipv6_header_bytes + load_be16(ip_ + 4);
    }
    /// With IPv4's options, without IPv6's extension headers.
    std::size_t header_bytes() const noexcept { return v4() ? std::size_t{ip_[0] & 0x0fu} * 4 : ipv6_header_bytes; }
    /// Of IPv6: of the first header after the fixed one.
    byte protocol() const noexcept { return v4() ? ip_[9] : ip_[6]; }
    /// Whether this is a fragment, be it the first one. IPv6 has an extension header for that.
    bool is_fragment() const noexcept { return v4() && (load_be16(ip_ + 6) & 0x3fff) != 0; }
    /// Whether flags or offset of IPv4 are set, except "don't fragment".
    bool has_fragment_bits() const noexcept { return v4() && (load_be16(ip_ + 6) & 0xbfff) != 0; }

private:
    bool v4() const noexcept { return ip_[0] >> 4 == 4; }

    byte const* ip_;
    std::size_t size_;
};

/// The size in bytes of the TCP header at `segment`, with its options.
inline std::size_t tcp_bytes_of(byte const* segment) noexcept { return std::size_t{segment[12]} / 16 * 4; }

/// The sum of what a checksum covers besides the segment: addresses, protocol and length.
inline std::uint64_t pseudo_header_sum(byte const* ip, byte protocol, std::size_t segment_bytes) noexcept {
    bytes_view const addresses = ip[0] >> 4 == 4 ? bytes_view(ip + 12, 8) : bytes_view(ip + 8, 32);
    return add_words(std::uint64_t{network_word(protocol)} + network_word(segment_bytes), addresses);
}

/// Writes length and checksum of the IP header of a packet of `total_bytes`.
inline void finish_ip(byte* ip, std::size_t header_bytes, std::size_t total_bytes) noexcept {
    if (ip[0] >> 4 == 6) return store_be16(ip + 4, static_cast<std::uint16_t>(total_bytes - ipv6_header_bytes));
    store_be16(ip + 2, static_cast<std::uint16_t>(total_bytes));
    store_word(ip + 10, 0);
    store_word(ip + 10, static_cast<std::uint16_t>(~fold_sum(add_words(0, {ip, header_bytes}))));
}

}}}} // namespace wg::WG_ABI::os::headers_detail

#endif
