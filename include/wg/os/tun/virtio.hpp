// SPDX-License-Identifier: BSL-1.0
// The header that precedes the packet in a frame of a TUN device (Virtual I/O Device 1.1, section 5.1.6).
// Folder: os/tun. Pure; any thread.
#ifndef WG_OS_TUN_VIRTIO_HPP
#define WG_OS_TUN_VIRTIO_HPP

#include "../../base/bytes.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

inline constexpr std::size_t virtio_header_bytes = 10; ///< of `virtio_header` in a frame

/// Declared here because <linux/virtio_net.h> is not valid C++.
struct virtio_header {
    /// Values of `flags`.
    enum : std::uint8_t { needs_checksum = 1 };
    /// Values of `segments`; `ecn` is a bit beside `tcp_v4` and `tcp_v6`.
    enum : std::uint8_t { no_segments = 0, tcp_v4 = 1, tcp_v6 = 4, udp = 5, ecn = 0x80 };

    std::uint8_t flags = 0;              ///< `needs_checksum` or 0
    std::uint8_t segments = no_segments; ///< how the packet is to be cut
    std::uint16_t header_bytes = 0;      ///< of IP and of TCP or UDP
    std::uint16_t segment_bytes = 0;     ///< payload of each segment; the last one may have less
    std::uint16_t checksum_start = 0;    ///< the first byte that the checksum covers; it covers all from there
    std::uint16_t checksum_offset = 0;   ///< of the checksum's field, from `checksum_start`

    /// Reads the header; its fields are little-endian.
    static constexpr virtio_header load(std::span<byte const, virtio_header_bytes> from) noexcept {
        return {from[0], from[1], load_le16(&from[2]), load_le16(&from[4]), load_le16(&from[6]), load_le16(&from[8])};
    }
    /// Writes the header.
    constexpr void store(std::span<byte, virtio_header_bytes> to) const noexcept {
        to[0] = flags;
        to[1] = segments;
        store_le16(&to[2], header_bytes);
        store_le16(&to[4], segment_bytes);
        store_le16(&to[6], checksum_start);
        store_le16(&to[8], checksum_offset);
    }
};

/// The longest packet in a frame, without the virtio header. Linux makes longer ones only where an administrator
/// raised the interface's gso_max_size.
inline constexpr std::size_t max_frame_packet_bytes = 65535;

}}} // namespace wg::WG_ABI::os

#endif
