// SPDX-License-Identifier: BSL-1.0
// What the host changes under a tunnel: its interface up, down, gone or of another MTU; routes, rules and addresses,
// by which a cached source address may have become wrong (rtnetlink(7)). Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ROUTES_HPP
#define WG_OS_LINUX_ROUTES_HPP

#include "../../base/status.hpp"
#include "fd.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Everything since the last look.
struct network_changes {
    bool link = false; ///< the interface was spoken of: `up` and `mtu_bytes` hold what was said last
    bool up = false;
    std::uint32_t mtu_bytes = 0; ///< 0: not told
    bool link_left = false;      ///< deleted, or moved to another network namespace: the TUN device knows which
    bool routes = false;         ///< routes or rules, or an address is gone, IPv4 or IPv6
};

/// Watches the network of this namespace, and in it one interface. Events begin with how that interface is now.
class route_monitor {
public:
    /// Watches nothing.
    route_monitor() noexcept = default;

    static result<route_monitor> open(std::uint32_t interface_index) noexcept {
        route_monitor made;
        made.index_ = interface_index;
        made.fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        sockaddr_nl address{};
        address.nl_family = AF_NETLINK;
        address.nl_groups = group(RTNLGRP_LINK) | group(RTNLGRP_IPV4_IFADDR) | group(RTNLGRP_IPV6_IFADDR) |
                            group(RTNLGRP_IPV4_ROUTE) | group(RTNLGRP_IPV6_ROUTE) | group(RTNLGRP_IPV4_RULE) |
                            group(RTNLGRP_IPV6_RULE);
        if (!made.fd_ || ::bind(made.fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
            !made.ask_link())
            return status_of(errno);
        return made;
    }

    int fd() const noexcept { return fd_.get(); }

    /// Reads what is there, without blocking; at most 64 reads, the rest stays readable.
    network_changes read() noexcept {
        network_changes changes;
        alignas(nlmsghdr) byte buffer[8192];
        for (int round = 0; round < 64; ++round) {
            sockaddr_nl from{};
            iovec piece{buffer, sizeof buffer};
            msghdr header{};
            header.msg_name = &from;
            header.msg_namelen = sizeof from;
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            ssize_t const size = without_interruption([&] { return ::recvmsg(fd_.get(), &header, 0); });
            if (size < 0 && errno != ENOBUFS) {
                // Only now, with the socket empty, is there surely room for the answer.
                if (overrun_ && errno == EAGAIN) overrun_ = !ask_link();
                break;
            }
            if (size < 0 || (header.msg_flags & MSG_TRUNC) != 0) {
                changes.routes = overrun_ = true; // more than the socket holds: anything may have changed
                continue;
            }
            if (from.nl_pid == 0) take({buffer, static_cast<std::size_t>(size)}, changes); // 0: from the kernel
        }
        return changes;
    }

private:
    static constexpr std::uint32_t group(unsigned number) noexcept { return 1u << (number - 1); }

    /// Has the kernel say how the interface is, as an event among the others.
    bool ask_link() noexcept {
        struct {
            nlmsghdr header;
            ifinfomsg link;
        } request{};
        request.header.nlmsg_len = sizeof request;
        request.header.nlmsg_type = RTM_GETLINK;
        request.header.nlmsg_flags = NLM_F_REQUEST;
        request.link.ifi_family = AF_UNSPEC;
        request.link.ifi_index = static_cast<int>(index_);
        return without_interruption([&] { return ::send(fd_.get(), &request, sizeof request, 0); }) >= 0;
    }

    void take(bytes_view from, network_changes& changes) const noexcept {
        while (from.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header;
            std::memcpy(&header, from.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > from.size()) return;
            take_one(header.nlmsg_type, from.first(header.nlmsg_len).subspan(NLMSG_HDRLEN), changes);
            from = from.subspan(std::min<std::size_t>(from.size(), NLMSG_ALIGN(header.nlmsg_len)));
        }
    }

    void take_one(unsigned type, bytes_view body, network_changes& changes) const noexcept {
        switch (type) {
        case RTM_NEWLINK:
        case RTM_DELLINK: take_link(type, body, changes); return;
        case RTM_NEWROUTE:
        case RTM_DELROUTE: changes.routes = changes.routes || leads_away(body); return;
        case RTM_DELADDR:
        case RTM_NEWRULE:
        case RTM_DELRULE: changes.routes = true; return;
        case NLMSG_ERROR: // the interface that was asked for is not here
            changes.link_left = true;
            return;
        default: return;
        }
    }

    /// Whether a route is one that datagrams to others may take. What each new address brings along for itself (local,
    /// broadcast, multicast) makes no source wrong that was right before.
    static bool leads_away(bytes_view body) noexcept {
        rtmsg route;
        if (body.size() < sizeof route) return false;
        std::memcpy(&route, body.data(), sizeof route);
        return route.rtm_type != RTN_LOCAL && route.rtm_type != RTN_BROADCAST && route.rtm_type != RTN_ANYCAST &&
               route.rtm_type != RTN_MULTICAST;
    }

    void take_link(unsigned type, bytes_view body, network_changes& changes) const noexcept {
        ifinfomsg link;
        if (body.size() < sizeof link) return;
        std::memcpy(&link, body.data(), sizeof link);
        // A bridge speaks of its ports in messages that look alike.
        if (link.ifi_family != AF_UNSPEC || static_cast<std::uint32_t>(link.ifi_index) != index_) return;
        if (type == RTM_DELLINK) {
            changes.link_left = true;
            return;
        }
        changes.link = true;
        changes.link_left = false;
        changes.up = (link.ifi_flags & IFF_UP) != 0;
        bytes_view rest = body.subspan(std::min<std::size_t>(body.size(), NLMSG_ALIGN(sizeof link)));
        while (rest.size() >= sizeof(rtattr)) {
            rtattr attribute;
            std::memcpy(&attribute, rest.data(), sizeof attribute);
            if (attribute.rta_len < sizeof attribute || attribute.rta_len > rest.size()) return;
            if (attribute.rta_type == IFLA_MTU && attribute.rta_len >= RTA_LENGTH(sizeof changes.mtu_bytes))
                std::memcpy(&changes.mtu_bytes, rest.data() + RTA_LENGTH(0), sizeof changes.mtu_bytes);
            rest = rest.subspan(std::min<std::size_t>(rest.size(), RTA_ALIGN(attribute.rta_len)));
        }
    }

    unique_fd fd_{};
    std::uint32_t index_ = 0;
    bool overrun_ = false; ///< events were lost, and the interface has not been asked for anew
};

} // namespace wg::inline WG_ABI::os

#endif
