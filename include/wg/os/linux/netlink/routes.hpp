// SPDX-License-Identifier: BSL-1.0
// Reports changes of the host that concern a tunnel (rtnetlink(7)): its interface is up, down, gone or has another MTU;
// routes, rules or addresses changed, so that a cached source address may be wrong.
// Folder: os/linux/netlink. One thread at a time.
#ifndef WG_OS_LINUX_NETLINK_ROUTES_HPP
#define WG_OS_LINUX_NETLINK_ROUTES_HPP

#include "../../network_changes.hpp"
#include "../../posix/net_if.hpp"
#include "link.hpp"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

namespace wg { inline namespace WG_ABI { namespace os {

/// Watches the network of this process's namespace and one interface in it, or one interface in another namespace.
/// The first event is the present state of that interface.
class route_monitor {
public:
    /// Watches nothing.
    route_monitor() noexcept = default;

    /// Watches routes, rules, addresses and the interface with this index, all in this process's namespace. An index of
    /// 0: no interface. Returns: the status of errno.
    static result<route_monitor> open(std::uint32_t interface_index) noexcept {
        route_monitor made;
        if (!made.begin(group(RTNLGRP_LINK) | group(RTNLGRP_IPV4_IFADDR) | group(RTNLGRP_IPV6_IFADDR) |
                        group(RTNLGRP_IPV4_ROUTE) | group(RTNLGRP_IPV6_ROUTE) | group(RTNLGRP_IPV4_RULE) |
                        group(RTNLGRP_IPV6_RULE)) ||
            !made.watch_link(interface_index))
            return status_of(errno);
        return made;
    }

    /// Watches one interface in another namespace. The kernel reports the interfaces of all namespaces that have a
    /// number here, and the others are skipped. Returns: `no_permission` without CAP_NET_BROADCAST in the other
    /// namespace.
    static result<route_monitor> open_elsewhere(link_place const& place) noexcept {
        route_monitor made;
        made.net_ = place.net;
        if (!made.begin(group(RTNLGRP_LINK)) || !made.watch_link(place.index)) return status_of(errno);
        return made;
    }

    /// Watches another interface of the same namespace from now on. Returns: false if the kernel cannot be asked.
    bool watch_link(std::uint32_t interface_index) noexcept {
        index_ = interface_index;
        return index_ == 0 || ask_link();
    }

    /// A descriptor that polls readable when `read` has something to read; -1 if nothing is watched.
    int fd() const noexcept { return fd_.get(); }

    /// Reads events without blocking. A call makes at most 64 reads, and the rest stays readable.
    network_changes read() noexcept {
        network_changes changes;
        alignas(nlmsghdr) byte buffer[8192];
        for (int round = 0; round < 64; ++round) {
            sockaddr_nl from{};
            iovec piece{buffer, sizeof buffer};
            alignas(cmsghdr) byte control[CMSG_SPACE(sizeof(namespace_number))];
            msghdr header{};
            header.msg_control = control;
            header.msg_controllen = sizeof control;
            header.msg_name = &from;
            header.msg_namelen = sizeof from;
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            ssize_t const size = without_interruption([&] { return ::recvmsg(fd_.get(), &header, 0); });
            if (size < 0 && errno != ENOBUFS) {
                // Only now that the socket is empty, the answer surely has room.
                if (overrun_ && errno == EAGAIN) overrun_ = !watch_link(index_);
                break;
            }
            if (size < 0 || (header.msg_flags & MSG_TRUNC) != 0) {
                changes.routes = overrun_ = true; // events were lost: anything may have changed
                continue;
            }
            if (from.nl_pid != 0) continue; // from another process, not from the kernel
            take({buffer, static_cast<std::size_t>(size)}, namespace_of(header), changes);
        }
        return changes;
    }

private:
    static constexpr std::uint32_t group(unsigned number) noexcept { return 1u << (number - 1); }

    bool begin(std::uint32_t groups) noexcept {
        fd_ = netlink_detail::open_socket();
        sockaddr_nl address{};
        address.nl_family = AF_NETLINK;
        address.nl_groups = groups;
        socklen_t size = sizeof address;
        int const yes = 1;
        // NETLINK_LISTEN_ALL_NSID is set before the socket joins a group, so that no event is missed.
        if (!fd_ ||
            (net_ >= 0 && ::setsockopt(fd_.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &yes, sizeof yes) != 0) ||
            ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
            ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
            return false;
        port_ = address.nl_pid;
        return true;
    }

    /// Asks for the interface. The answer arrives among the events.
    bool ask_link() noexcept {
        ifinfomsg about{};
        about.ifi_index = static_cast<int>(index_);
        netlink_detail::request question(RTM_GETLINK, 0, about);
        netlink_detail::set_namespace(question, net_);
        return question.send(fd_.get());
    }

    /// The namespace of which a received message is an event.
    static namespace_number namespace_of(msghdr& message) noexcept {
        namespace_number net = own_namespace;
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c))
            if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID)
                std::memcpy(&net, CMSG_DATA(c), sizeof net);
        return net;
    }

    void take(bytes_view from, namespace_number net, network_changes& changes) const noexcept {
        for (netlink_detail::message m; (m = netlink_detail::take_message(from)).type != 0;)
            // An answer to a request of this socket has the socket's port and no namespace.
            if (net == net_ || (net == own_namespace && m.port == port_)) take_one(m, changes);
    }

    void take_one(netlink_detail::message const& m, network_changes& changes) const noexcept {
        switch (m.type) {
        case RTM_NEWLINK:
        case RTM_DELLINK: take_link(m, changes); return;
        case RTM_NEWROUTE:
        case RTM_DELROUTE: changes.routes = changes.routes || leads_away(m); return;
        case RTM_DELADDR:
        case RTM_NEWRULE:
        case RTM_DELRULE: changes.routes = true; return;
        case NLMSG_ERROR: // there is no interface with this index
            changes.link_left = true;
            return;
        default: return;
        }
    }

    /// Whether datagrams to other hosts can take this route. The routes that the kernel adds for each new address
    /// (local, broadcast, multicast) do not make a source wrong.
    static bool leads_away(netlink_detail::message const& m) noexcept {
        rtmsg route;
        if (!m.read(route)) return false;
        return route.rtm_type != RTN_LOCAL && route.rtm_type != RTN_BROADCAST && route.rtm_type != RTN_ANYCAST &&
               route.rtm_type != RTN_MULTICAST;
    }

    void take_link(netlink_detail::message const& m, network_changes& changes) const noexcept {
        ifinfomsg link;
        if (!m.read(link)) return;
        // The messages of a bridge about its ports differ only in the family.
        if (link.ifi_family != AF_UNSPEC || static_cast<std::uint32_t>(link.ifi_index) != index_) return;
        if (m.type == RTM_DELLINK) {
            changes.link_left = true;
            return;
        }
        changes.link = true;
        changes.link_left = false;
        link_facts now;
        if (!read_link(m, now)) return;
        changes.up = now.up;
        if (now.mtu_bytes != 0) changes.mtu_bytes = now.mtu_bytes;
    }

    unique_fd fd_{};
    namespace_number net_ = own_namespace;
    std::uint32_t index_ = 0; ///< of the watched interface; 0: none
    std::uint32_t port_ = 0;  ///< the socket's netlink address
    bool overrun_ = false;    ///< events were lost, and the interface must be asked for again
};

}}} // namespace wg::WG_ABI::os

#endif
