// SPDX-License-Identifier: BSL-1.0
// The policies and the parts of a daemon on macOS, put together of os/posix and the calls of macOS. Folder: os/darwin,
// for macOS alone. Threads: as each type says.
#ifndef WG_OS_DARWIN_SYSTEM_HPP
#define WG_OS_DARWIN_SYSTEM_HPP

#include "../backoff.hpp"
#include "../line_limit.hpp"
#include "../posix/clock.hpp"
#include "../posix/kqueue/poller.hpp"
#include "../posix/kqueue/waiter.hpp"
#include "../posix/network_monitor.hpp"
#include "../posix/process/background.hpp"
#include "../posix/process/directory.hpp"
#include "../posix/process/limits.hpp"
#include "../posix/process/log.hpp"
#include "../posix/process/name_lock.hpp"
#include "../posix/process/program.hpp"
#include "../posix/process/ratchet_files.hpp"
#include "../posix/process/stop_signals.hpp"
#include "../posix/process/supervisor.hpp"
#include "../posix/process/uapi_listener.hpp"
#include "../posix/random.hpp"
#include "../posix/secret_region.hpp"
#include "../posix/system/kqueue_calls.hpp"
#include "../posix/system/process_calls.hpp"
#include "../posix/threads.hpp"
#include "utun.hpp"

#include <cstddef>
#include <dlfcn.h>
#include <mach/mach_time.h>
#include <mach/vm_inherit.h>
#include <net/route.h>
#include <sys/kern_control.h>
#include <sys/random.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace darwin {

/// The calls of `clock`.
struct clock_calls {
    /// mach_continuous_time, which counts sleep.
    static instant now() noexcept {
        mach_timebase_info_data_t base{};
        ::mach_timebase_info(&base);
        return {posix::nanoseconds_of(::mach_continuous_time(), base.numer, base.denom)};
    }
};

/// The calls of `random`.
struct random_calls {
    /// getentropy(2)
    static int get_entropy(void* to, std::size_t size) noexcept { return ::getentropy(to, size); }
};

/// The calls of `secret_region`.
struct region_calls : common_region_calls {
    /// macOS has no such call. A process writes no core dump unless a limit is raised, and `keep_memory_private`
    /// forbids it.
    static constexpr bool exclude_from_dumps(void*, std::size_t) noexcept { return false; }
    /// A forked process has nothing there (VM_INHERIT_NONE).
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::minherit(from, bytes, VM_INHERIT_NONE) == 0;
    }
    /// mlock(2). The kernel also clears the pages if the process ends in any way (MADV_ZERO_WIRED_PAGES).
    static bool lock(void* from, std::size_t bytes) noexcept {
        if (::mlock(from, bytes) != 0) return false;
        (void)::madvise(from, bytes, MADV_ZERO_WIRED_PAGES);
        return true;
    }
};

/// The calls of `utun_opener` and `tun`.
struct utun_calls : posix::link_calls, posix::kqueue_calls {
    static constexpr posix::tun_families families{AF_INET, AF_INET6}; ///< in the heads of packets
    static constexpr int control_protocol = 2;                        ///< SYSPROTO_CONTROL (sys/sys_domain.h)
    static constexpr int control_address = 2;                         ///< AF_SYS_CONTROL (sys/sys_domain.h)
    static constexpr int name_option = 2;                             ///< UTUN_OPT_IFNAME (net/if_utun.h)

    /// A socket of the kernel's controls; -1 with errno.
    static int open_control() noexcept { return open_blocking_socket(PF_SYSTEM, SOCK_DGRAM, control_protocol); }
    /// Connects to the control of utun, which creates an interface. `unit` is its number plus one; 0: any.
    static int connect(int fd, std::uint32_t unit) noexcept {
        ctl_info info{};
        constexpr char control[] = "com.apple.net.utun_control";
        static_assert(sizeof control <= sizeof info.ctl_name);
        std::memcpy(info.ctl_name, control, sizeof control);
        if (::ioctl(fd, CTLIOCGINFO, &info) != 0) return -1;
        sockaddr_ctl address{};
        address.sc_len = sizeof address;
        address.sc_family = AF_SYSTEM;
        address.ss_sysaddr = control_address;
        address.sc_id = info.ctl_id;
        address.sc_unit = unit;
        return ::connect(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address);
    }
    using link_calls::name;
    /// The name of the interface of a descriptor. Returns: 0, or -1 with errno.
    static int name(int fd, posix::interface_name& out) noexcept {
        socklen_t size = sizeof out;
        return ::getsockopt(fd, control_protocol, name_option, out.data(), &size);
    }
    /// The environment variable WG_TUN_NAME_FILE
    static char const* name_file() noexcept { return std::getenv("WG_TUN_NAME_FILE"); }
    /// Replaces the content of a file, which only root can read. Returns: 0, or -1 with errno.
    static int write_file(char const* path, std::string_view text) noexcept {
        unique_fd const file(::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0400));
        return file && os::print(file.get(), text) ? 0 : -1;
    }
};

/// The calls of `udp`.
struct udp_calls : posix::common_udp_calls, posix::kqueue_calls {
    // The numbers of IPv6 are those of RFC 3542, which the system's header hides unless a program defines a macro.
    static constexpr posix::udp_numbers numbers{
        .has_v4_interface = true,
        .v4_receive_local = IP_RECVPKTINFO,
        .v4_received_local = IP_PKTINFO,
        .v4_local = IP_PKTINFO,
        .v4_receive_tos = IP_RECVTOS,
        .v4_received_tos = IP_RECVTOS,
        .v4_tos = IP_TOS,
        .v4_tos_bytes = 4,
        .v6_receive_local = 61,
        .v6_local = 46,
        .v6_receive_tos = 35,
        .v6_tos = 36,
        .v4_reports_destination = true,
    }; ///< of this system

    /// Binds to an interface (IP_BOUND_IF, IPV6_BOUND_IF). Returns: 0 or the errno.
    static int bind_interface(int fd, bool is_v4, unsigned index) noexcept {
        int const level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6, option = is_v4 ? IP_BOUND_IF : IPV6_BOUND_IF;
        return ::setsockopt(fd, level, option, &index, sizeof index) == 0 ? 0 : errno;
    }
    /// macOS has no marks. Returns: 0 for no mark; else EOPNOTSUPP.
    static int set_mark(int /*fd*/, std::uint32_t mark) noexcept { return can_mark(mark); }
    /// As `set_mark`, without a socket.
    static constexpr int can_mark(std::uint32_t mark) noexcept { return mark == 0 ? 0 : EOPNOTSUPP; }

    /// sendmsg_x, where the system has it. Returns: how many messages left; -1 with errno.
    static int send_many(int fd, std::span<posix::udp_message> messages) noexcept {
        static auto* const function = reinterpret_cast<send_function*>(::dlsym(RTLD_DEFAULT, "sendmsg_x"));
        if (function == nullptr) return errno = ENOSYS, -1;
        message_x many[most_messages];
        auto const count = static_cast<unsigned>((std::min)(messages.size(), most_messages));
        for (unsigned i = 0; i < count; ++i) many[i] = message_x(messages[i].header);
        ssize_t const sent = function(fd, many, count, MSG_DONTWAIT);
        // A message that it refuses may pass alone: not each version takes addresses and control messages.
        if (sent >= 0 || (errno != EINVAL && errno != EMSGSIZE)) return static_cast<int>(sent);
        return posix::send_each<udp_calls>(fd, messages);
    }
    /// recvmsg_x, where the system has it. Returns: how many messages came; -1 with errno.
    static int receive_many(int fd, std::span<posix::udp_message> messages) noexcept {
        static auto* const function = reinterpret_cast<receive_function*>(::dlsym(RTLD_DEFAULT, "recvmsg_x"));
        if (function == nullptr) return errno = ENOSYS, -1;
        message_x many[most_messages];
        auto const count = static_cast<unsigned>((std::min)(messages.size(), most_messages));
        for (unsigned i = 0; i < count; ++i) many[i] = message_x(messages[i].header);
        ssize_t const got = function(fd, many, count, MSG_DONTWAIT);
        for (ssize_t i = 0; i < got; ++i) {
            posix::udp_message& m = messages[static_cast<std::size_t>(i)];
            m.header.msg_namelen = many[i].name_bytes;
            m.header.msg_controllen = many[i].control_bytes;
            m.header.msg_flags = many[i].flags;
            m.length = many[i].length;
        }
        return static_cast<int>(got);
    }

private:
    /// struct msghdr_x of XNU, bsd/sys/socket_private.h
    struct message_x {
        void* name;
        socklen_t name_bytes;
        iovec* pieces;
        int piece_count;
        void* control;
        socklen_t control_bytes;
        int flags;
        std::size_t length; ///< set by the kernel; 0 in a call

        message_x() noexcept = default;
        explicit message_x(msghdr const& m) noexcept
            : name(m.msg_name), name_bytes(m.msg_namelen), pieces(m.msg_iov), piece_count(m.msg_iovlen),
              control(m.msg_control), control_bytes(m.msg_controllen), flags(0), length(0) {}
    };
    using send_function = ssize_t(int, message_x const*, unsigned, int);
    using receive_function = ssize_t(int, message_x const*, unsigned, int);
    static constexpr std::size_t most_messages = 64;
};

/// The calls of `waiter`.
struct waiter_calls : posix::kqueue_calls {
    using clock = posix::basic_clock<clock_calls>; ///< of the deadlines
};

/// The calls of `network_monitor`.
struct route_calls : posix::common_route_calls {
    static constexpr posix::route_layout layout{
        .version = RTM_VERSION,
        .add = RTM_ADD,
        .remove = RTM_DELETE,
        .change = RTM_CHANGE,
        .new_address = RTM_NEWADDR,
        .removed_address = RTM_DELADDR,
        .link = RTM_IFINFO,
        .announcement = 0,
        .route_flags = offsetof(rt_msghdr, rtm_flags),
        .flags_of_neighbours = RTF_LLINFO | RTF_WASCLONED | RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST,
        .link_index = offsetof(if_msghdr, ifm_index),
        .link_flags = offsetof(if_msghdr, ifm_flags),
        .link_mtu = offsetof(if_msghdr, ifm_data.ifi_mtu),
        .link_mtu_bytes = sizeof(if_data::ifi_mtu),
        .up = IFF_UP,
    }; ///< of this system
};

/// The calls of `log_writer`.
struct log_calls : posix::common_log_calls {
    static constexpr char const* syslog_path = "/var/run/syslog"; ///< syslog's datagram socket
};

/// The properties of macOS.
struct system_traits : posix::system_traits {
    static constexpr bool limits_memory = false; ///< the kernel enforces neither RLIMIT_DATA nor RLIMIT_AS
};
/// Not possible. Returns: false.
inline bool limit_memory(std::size_t /*bytes*/) noexcept { return errno = ENOTSUP, false; }

using clock = posix::basic_clock<clock_calls>; ///< the clock of macOS
using snapshot_detector =
    basic_snapshot_detector<posix::suspend_clocks<CLOCK_MONOTONIC_RAW, CLOCK_UPTIME_RAW>>; ///< the detector of suspends
using random = posix::basic_random<random_calls>;                  ///< the random source of macOS
using secret_region = basic_secret_region<region_calls>;           ///< the memory of keys on macOS
using tun = posix::basic_tun<utun_opener<utun_calls>, utun_calls>; ///< the TUN device of macOS
using udp = posix::basic_udp<udp_calls>;                           ///< the UDP socket of macOS
using waiter = posix::basic_waiter<waiter_calls>;                  ///< the waiter of macOS
using network_monitor = posix::basic_network_monitor<route_calls>; ///< follows the network of macOS
using log_writer = basic_log_writer<log_calls>;                    ///< the log of macOS
using line_limit = basic_line_limit<posix::threads::mutex>;        ///< the limit of log lines

/// The configuration socket of macOS.
template <class Session, class Reply, std::size_t MaxConnections = 16>
using uapi_listener = basic_uapi_listener<Session, Reply, MaxConnections, posix::basic_poller<posix::kqueue_calls>>;

/// Takes the lock of an interface's name. `utun` names no interface yet: the kernel gives each process another one.
struct name_lock {
    /// As `posix::name_lock::take`; nothing is locked for `utun`.
    static result<posix::name_lock> take(std::string_view name, char const* directory, error_text& why) noexcept {
        if (utun_number(name) == -1) return posix::name_lock();
        return posix::name_lock::take(name, directory, why);
    }
};

/// Keeps the kernel from writing core dumps. Returns: whether it succeeded. Only root can read the memory of a process
/// of root.
inline bool keep_memory_private() noexcept { return forbid_core_dumps(); }

static_assert(clock_source<clock> && random_source<random>);
static_assert(tun_device<tun> && tun_device_with_share<tun> && tun_device_with_settle<tun>);
static_assert(udp_socket<udp> && udp_socket_with_share<udp> && udp_socket_with_set_fwmark<udp>);
static_assert(wg::waiter<waiter> && waiter_with_busy_poll<waiter>);

}}}} // namespace wg::WG_ABI::os::darwin

#endif
