// SPDX-License-Identifier: BSL-1.0
// The network interface behind a TUN descriptor: its name, index, MTU and state, in any network namespace
// (rtnetlink(7), network_namespaces(7)). Folder: os/linux/netlink. One thread at a time.
//
// A container often gets an interface that was made in another namespace and moved into its own. The kernel is asked
// over a netlink socket of this process's own namespace. A request names the other namespace by the number that the
// kernel keeps for it (RTM_GETNSID, IFLA_TARGET_NETNSID). So no thread enters the other namespace, which needs
// CAP_SYS_ADMIN. And no socket is opened in it, which would keep the namespace alive after its container has ended.
#ifndef WG_OS_LINUX_NETLINK_LINK_HPP
#define WG_OS_LINUX_NETLINK_LINK_HPP

#include "../../../base/status.hpp"
#include "../fd.hpp"
#include "../../posix/net_if.hpp"
#include "namespaces.hpp"

#include <algorithm>
#include <cstring>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227) // Linux 5.2; older headers lack the names below
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C // Linux 4.10
#endif

namespace wg { inline namespace WG_ABI { namespace os {

/// The system calls that an old kernel lacks or that fail without rights. A test replaces them. Each returns what the
/// system call returns.
struct link_calls {
    /// Stores the present name of a TUN descriptor's interface in `request`. EBADFD: the interface was deleted.
    static int name_of(int tun, ifreq& request) noexcept { return ::ioctl(tun, TUNGETIFF, &request); }
    /// Opens the namespace that the interface of a TUN descriptor is in. Needs CAP_NET_ADMIN there (Linux 5.2).
    static int namespace_of_interface(int tun) noexcept { return ::ioctl(tun, TUNGETDEVNETNS, nullptr); }
    /// Opens the namespace that a socket is in. Needs CAP_NET_ADMIN there (Linux 4.10).
    static int namespace_of_socket(int socket) noexcept { return ::ioctl(socket, SIOCGSKNS, nullptr); }
};

/// The place of an interface.
struct link_place {
    namespace_number net = unknown_namespace; ///< its namespace
    std::uint32_t index = 0;                  ///< its index in that namespace; 0: not known

    /// Whether both are equal.

    friend bool operator==(link_place const&, link_place const&) = default;
};

/// Facts that the kernel reports about an interface over netlink.
struct link_facts {
    std::uint32_t index = 0;         ///< in its namespace
    std::uint32_t mtu_bytes = 0;     ///< 0: not reported
    bool up = false;                 ///< an administrator has set it up
    char kind[16] = {};              ///< of a virtual interface, such as `tun` or `veth`
    bool described = false;          ///< the kernel reports the following members: kind `tun`, since Linux 4.16
    bool is_tap = false;             ///< carries Ethernet frames
    bool lasts = false;              ///< is persistent: stays when no process uses it
    bool several_queues = false;     ///< was made with IFF_MULTI_QUEUE
    std::uint32_t queues_in_use = 0; ///< reported only if `several_queues`
};

/// Reads a message about an interface. Returns: false if it is too short for one.
inline bool read_link(netlink_detail::message const& from, link_facts& out) noexcept {
    using namespace netlink_detail;
    ifinfomsg link;
    if (!from.read(link)) return false;
    out = {};
    out.index = static_cast<std::uint32_t>(link.ifi_index);
    out.up = (link.ifi_flags & IFF_UP) != 0;
    bytes_view details{};
    auto const info = [&](std::uint16_t type, bytes_view value) noexcept {
        if (type == IFLA_INFO_KIND) std::memcpy(out.kind, value.data(), (std::min)(value.size(), sizeof out.kind - 1));
        if (type == IFLA_INFO_DATA) details = value;
    };
    each_attribute(from.attributes<ifinfomsg>(), [&](std::uint16_t type, bytes_view value) noexcept {
        if (type == IFLA_MTU) out.mtu_bytes = number_in(value, out.mtu_bytes);
        if (type == IFLA_LINKINFO) each_attribute(value, info);
    });
    if (std::strcmp(out.kind, "tun") != 0) return true;
    each_attribute(details, [&](std::uint16_t type, bytes_view value) noexcept {
        // IFLA_TUN_TYPE, IFLA_TUN_PERSIST and so on, which older headers lack.
        constexpr std::uint16_t tun_type = 3, persists = 6, many = 7, queues = 8, disabled_queues = 9;
        if (type == tun_type) out.described = true, out.is_tap = number_in<byte>(value, IFF_TUN) == IFF_TAP;
        if (type == persists) out.lasts = number_in<byte>(value, 0) != 0;
        if (type == many) out.several_queues = number_in<byte>(value, 0) != 0;
        if (type == queues || type == disabled_queues) out.queues_in_use += number_in<std::uint32_t>(value, 0);
    });
    return true;
}

/// Asks for the interface `name` in namespace `net`. Returns: the status of errno, which then says why.
inline status ask_link(int netlink, namespace_number net, char const* name, link_facts& out) noexcept {
    using namespace netlink_detail;
    request question(RTM_GETLINK, 0, ifinfomsg{});
    set_namespace(question, net);
    question.attribute(IFLA_EXT_MASK, without_statistics);
    question.attribute(IFLA_IFNAME, name, std::strlen(name) + 1);
    alignas(nlmsghdr) byte room[4096];
    message const answer = netlink_detail::ask(netlink, question, room);
    if (answer.type != RTM_NEWLINK) return status_of(errno);
    return read_link(answer, out) ? status::ok : status::io_error;
}

/// Follows the interface behind a TUN descriptor.
template <class Calls = link_calls> class basic_link {
public:
    /// Asks for the interface's name, place and MTU. `known_name` is its last known name, for drivers that do not
    /// report it (TUNGETIFF).
    /// Returns: `gone` if the interface was deleted; `not_supported` if the kernel does not report where it is, or
    /// reports nothing about that namespace; then the MTU stays what it was.
    status refresh(int tun, char const* known_name) noexcept {
        if (!netlink_) netlink_ = netlink_detail::open_socket();
        for (int tries = 0; tries < 3; ++tries) {
            ifreq before = about(known_name), after = before;
            if (Calls::name_of(tun, before) != 0 && errno == EBADFD) return status::gone;
            std::uint32_t mtu_bytes = 0;
            link_place const place = look_for(tun, before.ifr_name, mtu_bytes);
            // The interface may have been renamed since the first question.
            if (Calls::name_of(tun, after) != 0 && errno == EBADFD) return status::gone;
            if (std::strcmp(before.ifr_name, after.ifr_name) != 0) continue;
            std::memcpy(name_, before.ifr_name, sizeof name_);
            place_ = place;
            if (place.index == 0) return status::not_supported;
            if (place.net == own_namespace) last_here_ = place.index;
            mtu_ = mtu_bytes;
            return status::ok;
        }
        return status::not_supported;
    }

    /// The interface's name, as `refresh` last found it; empty before.
    char const* name() const noexcept { return name_; }
    /// The interface's place, as `refresh` last found it.
    link_place const& place() const noexcept { return place_; }
    /// The interface's MTU in bytes; 0: not known.
    std::size_t mtu() const noexcept { return mtu_; }

    /// Sets a number of the interface: SIOCSIFMTU, SIOCSIFTXQLEN. Returns: `not_supported` if the interface is in
    /// another namespace; else the status of errno, which then says why.
    status change(unsigned long what, std::size_t value) noexcept {
        if (place_.net != own_namespace) return errno = EOPNOTSUPP, status::not_supported;
        ifreq request = about(name_);
        static_assert(sizeof request.ifr_mtu == sizeof request.ifr_ifru.ifru_ivalue); // ifr_qlen
        request.ifr_mtu = static_cast<int>(value);
        if (::ioctl(netlink_.get(), what, &request) != 0) return status_of(errno);
        if (what == SIOCSIFMTU) mtu_ = value;
        return status::ok;
    }

private:
    static ifreq about(char const* name) noexcept {
        ifreq request{};
        std::memcpy(request.ifr_name, name, std::min<std::size_t>(std::strlen(name), IFNAMSIZ - 1));
        return request;
    }

    /// Finds the interface's place and MTU. Returns: an index of 0 if the place is not known.
    link_place look_for(int tun, char const* name, std::uint32_t& mtu_bytes) noexcept {
        link_place place{};
        if (!netlink_) return place;
        unique_fd const theirs(Calls::namespace_of_interface(tun));
        unique_fd const ours(theirs ? Calls::namespace_of_socket(netlink_.get()) : -1);
        struct stat here = {};
        struct stat there = {};
        bool const told = ours && ::fstat(ours.get(), &here) == 0 && ::fstat(theirs.get(), &there) == 0;
        if (told && (here.st_dev != there.st_dev || here.st_ino != there.st_ino)) {
            place.net = netlink_detail::number_of(netlink_.get(), theirs.get());
            link_facts found;
            if (place.net == unknown_namespace || ask_link(netlink_.get(), place.net, name, found) != status::ok)
                return {};
            mtu_bytes = found.mtu_bytes;
            place.index = found.index;
            return place;
        }
        ifreq request = about(name);
        if (::ioctl(netlink_.get(), SIOCGIFINDEX, &request) != 0) return {};
        auto const index = static_cast<std::uint32_t>(request.ifr_ifindex);
        // If the kernel does not report the namespace, another interface may have this name here. But Linux does not
        // reuse the index of an interface, so the interface is the same if its index is known.
        if (!told && last_here_ != 0 && last_here_ != index) return {};
        request = about(name);
        if (::ioctl(netlink_.get(), SIOCGIFMTU, &request) != 0 || request.ifr_mtu <= 0) return {};
        mtu_bytes = static_cast<std::uint32_t>(request.ifr_mtu);
        return {own_namespace, index};
    }

    unique_fd netlink_{};
    char name_[IFNAMSIZ] = {};
    link_place place_{};
    std::uint32_t last_here_ = 0; ///< the index when it was last in this process's namespace; 0: it never was there
    std::size_t mtu_ = 0;
};

}}} // namespace wg::WG_ABI::os

#endif
