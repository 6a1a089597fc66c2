// SPDX-License-Identifier: BSL-1.0
// How long the frames are that a TUN interface hands over: as many segments of TCP as make one UDP message. Then a
// frame is one message, and one frame again at the other end (rtnetlink(7)). Layer 7 (Linux); any thread.
#ifndef WG_OS_LINUX_FRAME_LIMIT_HPP
#define WG_OS_LINUX_FRAME_LIMIT_HPP

#include "../../base/limits.hpp"
#include "fd.hpp"
#include "udp_control.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// The limit in bytes for an interface with this MTU: so many segments with TCP's timestamps as fit into a message, and
/// what Linux takes off for headers.
constexpr std::uint32_t frame_limit(std::size_t mtu_bytes) noexcept {
    constexpr std::size_t headers_bytes = 52, reserved_bytes = 400; // IPv4 and TCP; MAX_TCP_HEADER is 320 or less
    std::size_t const segments = max_joined_bytes / (mtu_bytes + transport_overhead_bytes);
    return static_cast<std::uint32_t>(
        (std::min<std::size_t>)(segments * (mtu_bytes - headers_bytes) + reserved_bytes, 65536));
}

/// Asks for it. Nothing is lost where that is refused: frames then become more messages than they would have to.
inline void limit_frames(std::uint32_t interface_index, std::size_t mtu_bytes) noexcept {
    if (mtu_bytes < 576 || mtu_bytes > 9000) return; // no room for headers, or too few segments for it to matter
    struct {
        nlmsghdr header{};
        ifinfomsg link{};
        rtattr attribute{};
        std::uint32_t value = 0;
    } request;
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_NEWLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.link.ifi_index = static_cast<int>(interface_index);
    request.attribute.rta_type = IFLA_GSO_MAX_SIZE;
    request.attribute.rta_len = RTA_LENGTH(sizeof request.value);
    request.value = frame_limit(mtu_bytes);
    unique_fd const netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (netlink) (void)::send(netlink.get(), &request, sizeof request, 0);
}

} // namespace wg::inline WG_ABI::os

#endif
