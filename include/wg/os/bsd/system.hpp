// SPDX-License-Identifier: BSL-1.0
// The parts of the policies and of a daemon that FreeBSD, OpenBSD and NetBSD share, put together of os/posix and of the
// calls of these systems. Folder: os/bsd, for these systems alone. Threads: as each type says.
#ifndef WG_OS_BSD_SYSTEM_HPP
#define WG_OS_BSD_SYSTEM_HPP

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
#include "tun_opener.hpp"

#include <algorithm>
#include <cstddef>
#include <net/if_tun.h>
#include <net/route.h>
#include <sys/sockio.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace bsd {

/// The calls of `random`.
struct random_calls {
    /// getentropy(2)
    static int get_entropy(void* to, std::size_t size) noexcept { return ::getentropy(to, size); }
};

/// The calls of `tun_opener` and `tun` that the systems share.
struct common_tun_calls : posix::link_calls, posix::kqueue_calls {
    static constexpr posix::tun_families families{AF_INET, AF_INET6}; ///< in the heads of packets

    /// Opens a device that does not block; -1 with errno.
    static int open_device(char const* path) noexcept { return ::open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC); }
    /// ioctl(2) of a device with a number. Returns: 0 or the errno.
    static int set_number(int fd, unsigned long request, int value) noexcept {
        return ::ioctl(fd, request, &value) == 0 ? 0 : errno;
    }
    /// Deletes an interface (SIOCIFDESTROY).
    static void destroy(posix::interface_name const& name) noexcept {
        ifreq request{};
        (void)ask(name, SIOCIFDESTROY, request);
    }
    /// The name `tunN` for an open device of the number N, by the minor number of its file. Returns: 0 or the errno.
    static int name_by_number(int fd, posix::interface_name& out) noexcept {
        struct stat file {};
        if (::fstat(fd, &file) != 0) return errno;
        if (!S_ISCHR(file.st_mode)) return ENOTTY;
        error_text text;
        text.set("tun", static_cast<unsigned>(minor(file.st_rdev)));
        out = posix::name_of(text.view());
        return 0;
    }
};

/// The calls of `udp` that the systems share.
struct common_udp_calls : posix::common_udp_calls, posix::kqueue_calls {
    static constexpr bool can_bind_interface = false; ///< see `bind_interface`
    /// These systems cannot bind a socket to an interface. Returns: EOPNOTSUPP.
    static constexpr int bind_interface(int, bool, unsigned) noexcept { return EOPNOTSUPP; }
    /// sendmmsg(2). Returns: how many messages left; -1 with errno.
    static int send_many(int fd, std::span<posix::udp_message> messages) noexcept {
        mmsghdr many[most_messages];
        std::size_t const count = (std::min)(messages.size(), most_messages);
        for (std::size_t i = 0; i < count; ++i) {
            many[i] = {};
            many[i].msg_hdr = messages[i].header;
        }
        return static_cast<int>(::sendmmsg(fd, many, static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL));
    }
    /// recvmmsg(2). Returns: how many messages came; -1 with errno.
    static int receive_many(int fd, std::span<posix::udp_message> messages) noexcept {
        mmsghdr many[most_messages];
        std::size_t const count = (std::min)(messages.size(), most_messages);
        for (std::size_t i = 0; i < count; ++i) {
            many[i] = {};
            many[i].msg_hdr = messages[i].header;
        }
        auto const got = static_cast<int>(::recvmmsg(fd, many, static_cast<unsigned>(count), MSG_DONTWAIT, nullptr));
        for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got); ++i) {
            messages[i].header = many[i].msg_hdr;
            messages[i].length = converted<std::size_t>(many[i].msg_len);
        }
        return got;
    }

private:
    static constexpr std::size_t most_messages = 64;
};

/// The fields of messages of a routing socket that have the same names on each of the systems.
constexpr posix::route_layout common_route_layout() noexcept {
    posix::route_layout layout;
    layout.version = RTM_VERSION;
    layout.add = RTM_ADD;
    layout.remove = RTM_DELETE;
    layout.change = RTM_CHANGE;
    layout.new_address = RTM_NEWADDR;
    layout.removed_address = RTM_DELADDR;
    layout.link = RTM_IFINFO;
    layout.announcement = RTM_IFANNOUNCE;
    layout.route_flags = offsetof(rt_msghdr, rtm_flags);
    layout.link_index = offsetof(if_msghdr, ifm_index);
    layout.link_flags = offsetof(if_msghdr, ifm_flags);
    layout.link_mtu = offsetof(if_msghdr, ifm_data) + offsetof(if_data, ifi_mtu);
    layout.link_mtu_bytes = sizeof(if_data::ifi_mtu);
    layout.up = IFF_UP;
    layout.announcement_index = offsetof(if_announcemsghdr, ifan_index);
    layout.announcement_what = offsetof(if_announcemsghdr, ifan_what);
    layout.departure = IFAN_DEPARTURE;
    return layout;
}

/// Takes the lock of an interface's name. `tun` names no interface yet: the system gives each process another one.
struct name_lock {
    /// As `posix::name_lock::take`; nothing is locked for `tun`.
    static result<posix::name_lock> take(std::string_view name, char const* directory, error_text& why) noexcept {
        if (tun_number(name) == any_tun) return posix::name_lock();
        return posix::name_lock::take(name, directory, why);
    }
};

using random = posix::basic_random<random_calls>;           ///< the random source
using line_limit = basic_line_limit<posix::threads::mutex>; ///< the limit of log lines

/// The configuration socket.
template <class Session, class Reply, std::size_t MaxConnections = 16>
using uapi_listener = basic_uapi_listener<Session, Reply, MaxConnections, posix::basic_poller<posix::kqueue_calls>>;

static_assert(random_source<random>);

}}}} // namespace wg::WG_ABI::os::bsd

#endif
