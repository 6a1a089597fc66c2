// SPDX-License-Identifier: BSL-1.0
// Stands in for wg/os/os.hpp: the policies and the daemon of FreeBSD, with calls of Linux below. So the code for macOS
// and the BSDs serves a real TUN interface here. Included before wgd.cpp (-include).
#ifndef WG_OS_OS_HPP
#define WG_OS_OS_HPP

#include "kqueue_twin.hpp"

#include "wg/os/backoff.hpp"
#include "wg/os/bare/board.hpp"
#include "wg/os/bare/ethernet.hpp"
#include "wg/os/bare/host.hpp"
#include "wg/os/bare/ip_packet.hpp"
#include "wg/os/bare/neighbours.hpp"
#include "wg/os/bsd/tun_opener.hpp"
#include "wg/os/line_limit.hpp"
#include "wg/os/posix/clock.hpp"
#include "wg/os/posix/kqueue/poller.hpp"
#include "wg/os/posix/kqueue/waiter.hpp"
#include "wg/os/posix/network_monitor.hpp"
#include "wg/os/posix/process/background.hpp"
#include "wg/os/posix/process/directory.hpp"
#include "wg/os/posix/process/limits.hpp"
#include "wg/os/posix/process/log.hpp"
#include "wg/os/posix/process/name_lock.hpp"
#include "wg/os/posix/process/program.hpp"
#include "wg/os/posix/process/ratchet_files.hpp"
#include "wg/os/posix/process/stop_signals.hpp"
#include "wg/os/posix/process/supervisor.hpp"
#include "wg/os/posix/process/uapi_listener.hpp"
#include "wg/os/posix/random.hpp"
#include "wg/os/posix/secret_region.hpp"
#include "wg/os/posix/system/process_calls.hpp"
#include "wg/os/posix/threads.hpp"

#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

namespace wg { inline namespace WG_ABI { namespace os {

struct queue_calls : wg_tests::kqueue::calls {
    static long process() noexcept {
        wg_tests::kqueue::state.records = false;
        return ::getpid();
    }
};
struct random_calls {
    static int get_entropy(void* to, std::size_t size) noexcept { return ::getentropy(to, size); }
};
struct region_calls : common_region_calls {
    static bool exclude_from_dumps(void* from, std::size_t bytes) noexcept {
        return ::madvise(from, bytes, MADV_DONTDUMP) == 0;
    }
    static bool exclude_from_forks(void* from, std::size_t bytes) noexcept {
        return ::madvise(from, bytes, MADV_WIPEONFORK) == 0;
    }
};

/// The driver of Linux, used as that of FreeBSD: a device gets a free number, and the interface is renamed. Without
/// IFF_NO_PI each packet has a head of two zero bytes and the EtherType, which is a family of its own here.
struct tun_calls : posix::link_calls, queue_calls {
    static constexpr posix::tun_families families{0x0800, 0x86dd};
    static constexpr bool can_rename = true, has_clone_device = true;
    static constexpr char const* missing_device = "load the driver with `modprobe tun`";

    static int open_device(char const*) noexcept {
        unique_fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
        ifreq request{};
        std::memcpy(request.ifr_name, "tun%d", 6);
        request.ifr_flags = IFF_TUN;
        return fd && ::ioctl(fd.get(), TUNSETIFF, &request) == 0 ? fd.release() : -1;
    }
    static int device_name(int fd, posix::interface_name& out) noexcept {
        ifreq request{};
        if (::ioctl(fd, TUNGETIFF, &request) != 0) return errno;
        std::memcpy(out.data(), request.ifr_name, out.size());
        return 0;
    }
    static int prepare(int, posix::interface_name const&) noexcept { return 0; }
    static int rename(posix::interface_name const& name, posix::interface_name const& wanted) noexcept {
        ifreq request{};
        std::memcpy(request.ifr_newname, wanted.data(), wanted.size());
        return ask(name, SIOCSIFNAME, request);
    }
    static void destroy(posix::interface_name const&) noexcept {} // the kernel does that when the device is closed
    static constexpr bool is_gone(int error) noexcept { return error == EBADFD || link_calls::is_gone(error); }
};

struct udp_calls : posix::common_udp_calls, queue_calls {
    static constexpr posix::udp_numbers numbers{
        true,   IP_PKTINFO, IP_PKTINFO,       IP_PKTINFO,   IP_RECVTOS,      IP_TOS,
        IP_TOS, 1,          IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS};
    static int bind_interface(int fd, bool, unsigned index) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */, &index, sizeof index) == 0 ? 0 : errno;
    }
    static int set_mark(int fd, std::uint32_t mark) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? 0 : errno;
    }
    static int can_mark(std::uint32_t) noexcept { return 0; }
    static int send_many(int fd, std::span<posix::udp_message> messages) noexcept {
        mmsghdr many[64];
        for (std::size_t i = 0; i < messages.size(); ++i) many[i] = {messages[i].header, 0};
        return ::sendmmsg(fd, many, static_cast<unsigned>(messages.size()), MSG_DONTWAIT);
    }
    static int receive_many(int fd, std::span<posix::udp_message> messages) noexcept {
        mmsghdr many[64];
        for (std::size_t i = 0; i < messages.size(); ++i) many[i] = {messages[i].header, 0};
        int const got = ::recvmmsg(fd, many, static_cast<unsigned>(messages.size()), MSG_DONTWAIT, nullptr);
        for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got); ++i) {
            messages[i].header = many[i].msg_hdr;
            messages[i].length = many[i].msg_len;
        }
        return got;
    }
};

struct waiter_calls : queue_calls {
    using clock = os::clock;
};

/// A routing socket made of rtnetlink(7): each message about an interface becomes RTM_IFINFO, and each other one
/// RTM_ADD of a route.
struct route_calls {
    static constexpr posix::route_layout layout{};
    static int open() noexcept {
        unique_fd made(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        sockaddr_nl address{};
        address.nl_family = AF_NETLINK;
        address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
        return made && ::bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? made.release()
                                                                                                      : -1;
    }
    static ssize_t read(int fd, void* to, std::size_t size) noexcept {
        alignas(8) byte told[8192];
        ssize_t const got = ::recv(fd, told, sizeof told, 0);
        if (got <= 0) return got;
        auto* const out = static_cast<byte*>(to);
        std::size_t used = 0;
        auto left = static_cast<unsigned>(got);
        for (auto* m = reinterpret_cast<nlmsghdr*>(told); NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            constexpr std::uint16_t bytes = 28;
            if (used + bytes > size) break;
            byte* const at = out + used;
            std::memset(at, 0, bytes);
            std::memcpy(at, &bytes, 2);
            at[2] = layout.version;
            at[3] = layout.add;
            used += bytes;
            if (m->nlmsg_type != RTM_NEWLINK) continue;
            auto* const link = static_cast<ifinfomsg*>(NLMSG_DATA(m));
            at[3] = layout.link;
            auto const index = static_cast<std::uint16_t>(link->ifi_index);
            std::memcpy(at + layout.link_index, &index, 2);
            std::memcpy(at + layout.link_flags, &link->ifi_flags, 4);
        }
        return static_cast<ssize_t>(used);
    }
};
using network_monitor = posix::basic_network_monitor<route_calls>;

struct log_calls : posix::common_log_calls {
    static constexpr char const* syslog_path = "/dev/log";
};

using random = posix::basic_random<random_calls>;
using secret_region = basic_secret_region<region_calls>;
using tun = posix::basic_tun<bsd::tun_opener<tun_calls>, tun_calls>;
using udp = posix::basic_udp<udp_calls>;
using waiter = posix::basic_waiter<waiter_calls>;
using log_writer = basic_log_writer<log_calls>;
using posix::background;
using posix::name_lock;
using posix::ratchet_files;
using posix::stop_signals;
using posix::system_traits;
using posix::threads;
inline bool limit_memory(std::size_t bytes) noexcept { return posix::limit_memory_by<RLIMIT_DATA>(bytes); }
using line_limit = basic_line_limit<threads::mutex>;
template <class Session, class Reply, std::size_t MaxConnections = 16>
using uapi_listener = basic_uapi_listener<Session, Reply, MaxConnections, posix::basic_poller<queue_calls>>;
inline bool keep_memory_private() noexcept { return forbid_core_dumps(); }

struct host {
    using clock_source = os::clock;
    using random_source = os::random;
    using secret_region = os::secret_region;
    using tun_device = os::tun;
    using udp_socket = os::udp;
    using waiter = os::waiter;
};

}}} // namespace wg::WG_ABI::os

#endif
