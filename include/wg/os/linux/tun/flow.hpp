// SPDX-License-Identifier: BSL-1.0
// Which flow a packet belongs to, as far as a small table tells: hosts' addresses, protocol and ports. Layer 7 (Linux);
// pure, any thread.
#ifndef WG_OS_LINUX_TUN_FLOW_HPP
#define WG_OS_LINUX_TUN_FLOW_HPP

#include "virtio.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// The same number for both directions of a flow, fragments by their addresses alone. Not for what must resist someone
/// who wants collisions.
inline std::uint32_t flow_number(bytes_view packet) noexcept {
    using namespace frame_detail;
    std::uint64_t sum = 0;
    std::size_t ip_bytes = 0;
    byte protocol = 0;
    if (packet.size() >= ipv4_bytes && packet[0] >> 4 == 4) {
        bool const fragment = (load_be16(&packet[6]) & 0x3fff) != 0;
        sum = std::uint64_t{load_le32(&packet[12])} + load_le32(&packet[16]);
        ip_bytes = std::size_t{packet[0] & 0x0fu} * 4;
        protocol = fragment ? byte{0} : packet[9];
    } else if (packet.size() >= ipv6_bytes && packet[0] >> 4 == 6) {
        for (std::size_t at = 8; at < ipv6_bytes; at += 8) sum += load_le64(&packet[at]);
        ip_bytes = ipv6_bytes;
        protocol = packet[6];
    }
    if ((protocol == protocol_tcp || protocol == protocol_udp) && packet.size() >= ip_bytes + 4)
        sum += std::uint64_t{load_be16(&packet[ip_bytes])} + load_be16(&packet[ip_bytes + 2]) + protocol;
    return static_cast<std::uint32_t>(sum * 0x9e3779b97f4a7c15 >> 32);
}

}}} // namespace wg::WG_ABI::os

#endif
