// SPDX-License-Identifier: BSL-1.0
// The policies and the parts of a daemon on OpenBSD 7 and later. Folder: os/bsd, for OpenBSD alone. Threads: as each
// type says.
#ifndef WG_OS_BSD_OPENBSD_HPP
#define WG_OS_BSD_OPENBSD_HPP

#include "numbered.hpp"

#include <cstdlib>

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

/// The calls of `clock`: CLOCK_BOOTTIME, which counts suspend.
using clock_calls = posix::clock_calls<CLOCK_BOOTTIME>;

/// The calls of `secret_region`.
struct region_calls : common_region_calls {
    /// As of `common_region_calls`, and the pages are kept out of core dumps (MAP_CONCEAL).
    static void* reserve(std::size_t bytes) noexcept { return common_region_calls::reserve(bytes, MAP_CONCEAL); }
    /// `reserve` has done that.
    static constexpr bool exclude_from_dumps(void*, std::size_t) noexcept { return true; }
    /// A forked process has zeros there (MAP_INHERIT_ZERO).
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::minherit(from, bytes, MAP_INHERIT_ZERO) == 0;
    }
};

/// The calls of `tun_opener` and `tun`. Those that return int return 0 or the errno.
struct tun_calls : numbered_tun_calls {
    /// The name of the interface of a descriptor. TUNGIFINFO fails for other files.
    static int device_name(int fd, posix::interface_name& out) noexcept {
        tuninfo info{};
        return ::ioctl(fd, TUNGIFINFO, &info) == 0 ? name_by_number(fd, out) : errno;
    }
    /// Nothing is to be prepared: packets always have a head. Returns: 0.
    static constexpr int prepare(int, posix::interface_name const&) noexcept { return 0; }
};

/// The calls of `udp`.
struct udp_calls : common_udp_calls {
    // OpenBSD does not report the tos of IPv4, and takes none with a datagram.
    static constexpr posix::udp_numbers numbers = numbers_without_v4_tos(); ///< of this system

    /// Sends by the routing table of this number (SO_RTABLE). Returns: 0 or the errno.
    static int set_mark(int fd, std::uint32_t mark) noexcept {
        if (int const error = can_mark(mark); error != 0) return error;
        int const table = static_cast<int>(mark);
        return ::setsockopt(fd, SOL_SOCKET, SO_RTABLE, &table, sizeof table) == 0 ? 0 : errno;
    }
    /// As `set_mark`, without a socket: there are 256 tables.
    static constexpr int can_mark(std::uint32_t mark) noexcept { return mark <= 255 ? 0 : EINVAL; }
};

/// The calls of `waiter`.
struct waiter_calls : posix::kqueue_calls {
    using clock = posix::basic_clock<clock_calls>; ///< of the deadlines
};

/// The calls of `network_monitor`.
struct route_calls : posix::common_route_calls {
    static constexpr posix::route_layout layout = [] {
        posix::route_layout made = common_route_layout();
        made.overflow = RTM_DESYNC;
        made.flags_of_neighbours = RTF_LLINFO | RTF_CLONED | RTF_CACHED | RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST;
        return made;
    }(); ///< of this system
};

/// The calls of `log_writer`.
struct log_calls : posix::common_log_calls {
    static constexpr char const* syslog_path = "/dev/log"; ///< syslog's datagram socket
};

/// Keeps the kernel from writing core dumps. Returns: whether it succeeded. Only root can trace a process of root.
inline bool keep_memory_private() noexcept { return forbid_core_dumps(); }

/// Moves a process to the background, as `posix::background`, and then gives up rights.
class background : public posix::background {
public:
    /// Stays in the foreground.
    background() noexcept = default;
    /// As `posix::background::connect`.
    static result<background> connect() noexcept { return background(); }

    /// As `posix::background::ready`. If the environment variable WG_UNVEIL is 1, this process sees only the directory
    /// /var/run, /dev/null and /dev/log from now on (unveil(2)); the configuration socket must be there. Off by
    /// default: docs/decisions/systems/no-capability-mode.md.
    void ready(bool keep_stderr) noexcept {
        posix::background::ready(keep_stderr);
        if (is_wanted("WG_UNVEIL")) {
            (void)::unveil("/var/run", "rwc");
            (void)::unveil("/dev/null", "rw");
            (void)::unveil("/dev/log", "rw");
            (void)::unveil(nullptr, nullptr);
        }
    }

private:
    static bool is_wanted(char const* variable) noexcept {
        char const* const text = std::getenv(variable);
        return text != nullptr && std::string_view(text) == "1";
    }
};

using posix::system_traits;
/// As `posix::limit_memory_by`. The kernel counts memory of mmap(2) too.
inline bool limit_memory(std::size_t bytes) noexcept { return posix::limit_memory_by<RLIMIT_DATA>(bytes); }

using clock = posix::basic_clock<clock_calls>; ///< the clock
using snapshot_detector =
    basic_snapshot_detector<posix::suspend_clocks<CLOCK_BOOTTIME, CLOCK_UPTIME>>; ///< the detector of suspends
using secret_region = basic_secret_region<region_calls>;                          ///< the memory of keys
using tun = posix::basic_tun<tun_opener<tun_calls>, tun_calls>;                   ///< the TUN device
using udp = posix::basic_udp<udp_calls>;                                          ///< the UDP socket
using waiter = posix::basic_waiter<waiter_calls>;                                 ///< the waiter
using network_monitor = posix::basic_network_monitor<route_calls>;                ///< follows the network
using log_writer = basic_log_writer<log_calls>;                                   ///< the log

static_assert(clock_source<clock>);
static_assert(tun_device<tun> && tun_device_with_share<tun> && tun_device_with_settle<tun>);
static_assert(udp_socket<udp> && udp_socket_with_share<udp> && udp_socket_with_set_fwmark<udp>);
static_assert(wg::waiter<waiter> && waiter_with_busy_poll<waiter>);

}}}} // namespace wg::WG_ABI::os::bsd

#endif
