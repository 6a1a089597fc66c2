// SPDX-License-Identifier: BSL-1.0
// The number of a packet's flow, made of addresses, protocol and ports. Folder: os/linux/tun. Pure; any thread.
#ifndef WG_OS_LINUX_TUN_FLOW_HPP
#define WG_OS_LINUX_TUN_FLOW_HPP

#include "../../tun/packet_headers.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// The same number for both directions of a flow. Fragments have the number of their addresses alone. Not for uses that
/// must resist a search for collisions.
inline std::uint32_t flow_number(bytes_view packet) noexcept {
    using namespace headers_detail;
    ip_view const ip(packet);
    std::uint64_t sum = 0;
    if (ip.is_v4()) sum = std::uint64_t{load_le32(&packet[12])} + load_le32(&packet[16]);
    else if (ip.is_v6())
        for (std::size_t at = 8; at < ipv6_header_bytes; at += 8) sum += load_le64(&packet[at]);
    else return 0;
    byte const protocol = ip.is_fragment() ? byte{0} : ip.protocol();
    byte const* const segment = packet.data() + ip.header_bytes();
    if ((protocol == ip_protocol_tcp || protocol == ip_protocol_udp) && packet.size() >= ip.header_bytes() + 4)
        sum += std::uint64_t{load_be16(segment)} + load_be16(segment + 2) + protocol;
    return static_cast<std::uint32_t>(sum * 0x9e3779b97f4a7c15 >> 32);
}

}}} // namespace wg::WG_ABI::os

#endif
