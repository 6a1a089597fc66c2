// SPDX-License-Identifier: BSL-1.0
// The policies and the parts of a daemon on FreeBSD 13 and later. Folder: os/bsd, for FreeBSD alone. Threads: as each
// type says.
//
// The daemon does not enter capability mode (cap_enter(2)): docs/decisions/systems/no-capability-mode.md.
#ifndef WG_OS_BSD_FREEBSD_HPP
#define WG_OS_BSD_FREEBSD_HPP

#include "system.hpp"

#include <sys/procctl.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

/// The calls of `clock`. No clock of FreeBSD counts suspend.
using clock_calls = posix::clock_calls<CLOCK_MONOTONIC>;

/// The calls of `secret_region`.
struct region_calls : common_region_calls {
    /// MADV_NOCORE
    static bool exclude_from_dumps(void* from, std::size_t bytes) noexcept {
        return ::madvise(from, bytes, MADV_NOCORE) == 0;
    }
    /// A forked process has zeros there (INHERIT_ZERO).
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::minherit(from, bytes, INHERIT_ZERO) == 0;
    }
};

/// The calls of `tun_opener` and `tun`. Those that return int return 0 or the errno.
struct tun_calls : common_tun_calls {
    static constexpr bool can_rename = true;       ///< SIOCSIFNAME
    static constexpr bool has_clone_device = true; ///< /dev/tun is a free interface
    /// How to mend a lack of the device.
    static constexpr char const* missing_device = "load the driver with `kldload if_tuntap`";

    /// The name of the interface of a descriptor (TUNGIFNAME).
    static int device_name(int fd, posix::interface_name& out) noexcept {
        ifreq request{};
        if (::ioctl(fd, TUNGIFNAME, &request) != 0) return errno;
        std::memcpy(out.data(), request.ifr_name, out.size());
        return 0;
    }
    /// Has packets begin with a head, and the interface take any address and send multicast. It gets no link-local
    /// address: WireGuard has none, and the kernel would add it at a later time.
    static int prepare(int fd, posix::interface_name const& name) noexcept {
        if (int const error = set_number(fd, TUNSIFHEAD, 1); error != 0) return error;
        if (int const error = set_number(fd, TUNSIFMODE, IFF_BROADCAST | IFF_MULTICAST); error != 0) return error;
        unique_fd const socket(open_socket(AF_INET6, SOCK_DGRAM)); // none on a host without IPv6
        neighbour_request request{};
        std::memcpy(request.name, name.data(), sizeof request.name);
        if (!socket || ::ioctl(socket.get(), _IOWR('i', 108, neighbour_request), &request) != 0) return 0;
        constexpr std::uint32_t automatic_link_local = 0x20, no_duplicate_detection = 0x100;
        request.flags = (request.flags & ~automatic_link_local) | no_duplicate_detection;
        return ::ioctl(socket.get(), _IOWR('i', 109, neighbour_request), &request) == 0 ? 0 : errno;
    }
    /// The daemon opens the device before it forks. ifconfig(8) shows the process, and the driver ignores a close by
    /// another one (TUNSIFPID).
    static void note_owner(int fd) noexcept { (void)::ioctl(fd, TUNSIFPID, 0); }
    /// Gives the interface another name (SIOCSIFNAME).
    static int rename(posix::interface_name const& name, posix::interface_name wanted) noexcept {
        ifreq request{};
        request.ifr_data = wanted.data();
        return ask(name, SIOCSIFNAME, request);
    }

private:
    /// struct in6_ndireq of netinet6/nd6.h, which is no C++: of SIOCGIFINFO_IN6 and SIOCSIFINFO_IN6.
    struct neighbour_request {
        char name[IFNAMSIZ];
        std::uint32_t before_flags[5]; ///< MTUs and times of neighbours
        std::uint32_t flags;           ///< ND6_IFF_AUTO_LINKLOCAL, ND6_IFF_NO_DAD and others
        std::int32_t recalculation;
        byte after_flags[26]; ///< hop limit and random numbers
    };
    static_assert(sizeof(neighbour_request) == 16 + 56);
};

/// The calls of `udp`.
struct udp_calls : common_udp_calls {
    static constexpr posix::udp_numbers numbers{
        .has_v4_interface = false,
        .v4_receive_local = IP_RECVDSTADDR,
        .v4_received_local = IP_RECVDSTADDR,
        .v4_local = IP_SENDSRCADDR,
        .v4_receive_tos = IP_RECVTOS,
        .v4_received_tos = IP_RECVTOS,
        .v4_tos = IP_TOS,
        .v4_tos_bytes = 1,
        .v6_receive_local = IPV6_RECVPKTINFO,
        .v6_local = IPV6_PKTINFO,
        .v6_receive_tos = IPV6_RECVTCLASS,
        .v6_tos = IPV6_TCLASS,
    }; ///< of this system

    /// A mark that ipfw(8) rules can match (SO_USER_COOKIE). Returns: 0 or the errno.
    static int set_mark(int fd, std::uint32_t mark) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_USER_COOKIE, &mark, sizeof mark) == 0 ? 0 : errno;
    }
    /// As `set_mark`, without a socket.
    static constexpr int can_mark(std::uint32_t) noexcept { return 0; }
};

/// The calls of `waiter`.
struct waiter_calls : posix::kqueue_calls {
    using clock = posix::basic_clock<clock_calls>; ///< of the deadlines
};

/// The calls of `network_monitor`.
struct route_calls : posix::common_route_calls {
    static constexpr posix::route_layout layout = [] {
        posix::route_layout made = common_route_layout();
        made.flags_of_neighbours = RTF_LLDATA | RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST;
        return made;
    }(); ///< of this system
};

/// The calls of `log_writer`.
struct log_calls : posix::common_log_calls {
    static constexpr char const* syslog_path = "/var/run/log"; ///< syslog's datagram socket
};

/// Keeps other processes of the same user from tracing this one, and the kernel from writing core dumps (procctl(2)).
/// Returns: whether both succeeded.
inline bool keep_memory_private() noexcept {
    bool const no_core = forbid_core_dumps();
    int disable = PROC_TRACE_CTL_DISABLE;
    return ::procctl(P_PID, ::getpid(), PROC_TRACE_CTL, &disable) == 0 && no_core;
}

/// The properties of this system.
struct system_traits : posix::system_traits {
    static constexpr char const* memory_limit = "`ulimit -v`"; ///< the limit that keeps `limit_memory` from succeeding
};
/// As `posix::limit_memory_by`. The kernel counts memory of mmap(2), which malloc(3) takes, in this limit alone.
inline bool limit_memory(std::size_t bytes) noexcept { return posix::limit_memory_by<RLIMIT_AS>(bytes); }

using posix::background;
using clock = posix::basic_clock<clock_calls>; ///< the clock
using snapshot_detector = basic_snapshot_detector<
    posix::suspend_clocks<CLOCK_MONOTONIC, CLOCK_MONOTONIC>>;      ///< sees no suspend, for lack of a clock
using secret_region = basic_secret_region<region_calls>;           ///< the memory of keys
using tun = posix::basic_tun<tun_opener<tun_calls>, tun_calls>;    ///< the TUN device
using udp = posix::basic_udp<udp_calls>;                           ///< the UDP socket
using waiter = posix::basic_waiter<waiter_calls>;                  ///< the waiter
using network_monitor = posix::basic_network_monitor<route_calls>; ///< follows the network
using log_writer = basic_log_writer<log_calls>;                    ///< the log

static_assert(clock_source<clock>);
static_assert(tun_device<tun> && tun_device_with_share<tun> && tun_device_with_settle<tun>);
static_assert(udp_socket<udp> && udp_socket_with_share<udp> && udp_socket_with_set_fwmark<udp>);
static_assert(wg::waiter<waiter> && waiter_with_busy_poll<waiter>);

}}}} // namespace wg::WG_ABI::os::bsd

#endif
