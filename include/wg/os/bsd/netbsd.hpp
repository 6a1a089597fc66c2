// SPDX-License-Identifier: BSL-1.0
// The policies and the parts of a daemon on NetBSD 10 and later. Folder: os/bsd, for NetBSD alone. Threads: as each
// type says.
#ifndef WG_OS_BSD_NETBSD_HPP
#define WG_OS_BSD_NETBSD_HPP

#include "numbered.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

/// The calls of `clock`. No clock of NetBSD counts suspend.
using clock_calls = posix::clock_calls<CLOCK_MONOTONIC>;

/// The calls of `secret_region`.
struct region_calls : common_region_calls {
    /// NetBSD has no such call; `keep_memory_private` forbids core dumps.
    static constexpr bool exclude_from_dumps(void*, std::size_t) noexcept { return false; }
    /// A forked process has zeros there (MAP_INHERIT_ZERO).
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::minherit(from, bytes, MAP_INHERIT_ZERO) == 0;
    }
};

/// The calls of `tun_opener` and `tun`. Those that return int return 0 or the errno.
struct tun_calls : numbered_tun_calls {
    /// The name of the interface of a descriptor. TUNGIFHEAD fails for other files.
    static int device_name(int fd, posix::interface_name& out) noexcept {
        int head = 0;
        return ::ioctl(fd, TUNGIFHEAD, &head) == 0 ? name_by_number(fd, out) : errno;
    }
    /// Has packets begin with a head.
    static int prepare(int fd, posix::interface_name const&) noexcept { return set_number(fd, TUNSIFHEAD, 1); }
};

/// The calls of `udp`.
struct udp_calls : common_udp_calls {
    // NetBSD does not report the tos of IPv4, and takes none with a datagram.
    static constexpr posix::udp_numbers numbers = numbers_without_v4_tos(); ///< of this system

    /// NetBSD has no marks. Returns: 0 for no mark; else EOPNOTSUPP.
    static int set_mark(int, std::uint32_t mark) noexcept { return can_mark(mark); }
    /// As `set_mark`, without a socket.
    static constexpr int can_mark(std::uint32_t mark) noexcept { return mark == 0 ? 0 : EOPNOTSUPP; }
};

/// The calls of `waiter`.
struct waiter_calls : posix::kqueue_calls {
    using clock = posix::basic_clock<clock_calls>; ///< of the deadlines
};

/// The calls of `network_monitor`.
struct route_calls : posix::common_route_calls {
    static constexpr posix::route_layout layout = [] {
        posix::route_layout made = common_route_layout();
        made.flags_of_neighbours = RTF_LLDATA | RTF_LOCAL | RTF_BROADCAST;
        return made;
    }(); ///< of this system
};

/// The calls of `log_writer`.
struct log_calls : posix::common_log_calls {
    static constexpr char const* syslog_path = "/var/run/log"; ///< syslog's datagram socket
};

/// Keeps the kernel from writing core dumps. Returns: whether it succeeded.
inline bool keep_memory_private() noexcept { return forbid_core_dumps(); }

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
