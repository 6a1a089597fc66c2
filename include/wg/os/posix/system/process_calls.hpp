// SPDX-License-Identifier: BSL-1.0
// Calls of macOS and the BSDs that need no header of one of them: the log's, UDP's and those of a routing socket.
// Folder: os/posix/system. Any thread.
#ifndef WG_OS_POSIX_SYSTEM_PROCESS_CALLS_HPP
#define WG_OS_POSIX_SYSTEM_PROCESS_CALLS_HPP

#include "../sockets.hpp"
#include "../udp/udp.hpp"

#include <csignal>
#include <ifaddrs.h>
#include <poll.h>
#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The calls of `basic_log_writer` that these systems share; the path of syslog's socket differs.
struct common_log_calls {
    /// Opens a description of its own of the pipe or terminal of `fd`. These systems cannot: /dev/fd/N gives the same
    /// description. Returns: -1.
    static int open_again(int /*fd*/) noexcept { return errno = ENOSYS, -1; }
    /// Takes the signal `number`, which is blocked, if it is pending.
    static void take_pending(int number) noexcept {
        sigset_t pending, wanted;
        sigemptyset(&wanted);
        sigaddset(&wanted, number);
        int taken = 0;
        if (::sigpending(&pending) == 0 && sigismember(&pending, number) == 1) (void)::sigwait(&wanted, &taken);
    }
};

/// The calls of `basic_udp` that these systems share. Each returns what the system call returns, except where it says
/// otherwise.
struct common_udp_calls {
    static constexpr bool can_bind_interface = true; ///< `bind_interface` of the system can succeed

    /// A UDP socket of this family that does not block
    static int socket(int domain) noexcept { return open_socket(domain, SOCK_DGRAM); }
    /// bind(2)
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept { return ::bind(fd, address, size); }
    /// getsockname(2)
    static int name(int fd, sockaddr* address, socklen_t* size) noexcept { return ::getsockname(fd, address, size); }
    /// connect(2)
    static int connect(int fd, sockaddr const* address, socklen_t size) noexcept {
        return ::connect(fd, address, size);
    }
    /// The number of the interface that has this address; 0: none (getifaddrs(3)).
    static unsigned interface_of(ip_address const& address) noexcept {
        ifaddrs* all = nullptr;
        if (::getifaddrs(&all) != 0) return 0;
        unsigned index = 0;
        for (ifaddrs const* one = all; one != nullptr && index == 0; one = one->ifa_next) {
            if (one->ifa_addr == nullptr) continue;
            socket_address its{};
            bool const is_v4 = one->ifa_addr->sa_family == AF_INET;
            if (!is_v4 && one->ifa_addr->sa_family != AF_INET6) continue;
            std::memcpy(&its, one->ifa_addr, is_v4 ? sizeof its.v4 : sizeof its.v6);
            if (read_address(its).address == address) index = ::if_nametoindex(one->ifa_name);
        }
        ::freeifaddrs(all);
        return index;
    }
    /// setsockopt(2) for an option that is a number
    static int set_option(int fd, int level, int option, int value) noexcept {
        return ::setsockopt(fd, level, option, &value, sizeof value);
    }
    /// sendmsg(2)
    static ssize_t send(int fd, msghdr const& message) noexcept { return ::sendmsg(fd, &message, MSG_DONTWAIT); }
    /// recvmsg(2)
    static ssize_t receive(int fd, msghdr& message) noexcept { return ::recvmsg(fd, &message, MSG_DONTWAIT); }
    /// The number of an interface; 0: there is none (if_nametoindex(3)).
    static unsigned interface_index(char const* device) noexcept { return ::if_nametoindex(device); }
    /// Waits until the socket has room for a datagram. Returns: whether it has.
    static bool wait_writable(int fd, duration at_most) noexcept {
        pollfd watched{fd, POLLOUT, 0};
        return ::poll(&watched, 1, static_cast<int>((at_most.nanoseconds + 999'999) / 1'000'000)) > 0;
    }
    /// Waits for a moment in which an interface can send. Returns: true.
    static bool pause() noexcept {
        timespec const moment{0, 200'000};
        (void)::nanosleep(&moment, nullptr);
        return true;
    }
    /// CLOCK_MONOTONIC
    static instant now() noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_MONOTONIC, &time);
        return {std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec};
    }
};

/// The calls of `basic_network_monitor`; its layout differs.
struct common_route_calls {
    /// A routing socket that does not block; -1 with errno.
    static int open() noexcept {
        unique_fd made(open_socket(PF_ROUTE, SOCK_RAW));
#ifdef SO_RERROR // else FreeBSD and NetBSD drop messages without an error
        int const yes = 1;
        if (made) (void)::setsockopt(made.get(), SOL_SOCKET, SO_RERROR, &yes, sizeof yes);
#endif
        return made.release();
    }
    /// read(2)
    static ssize_t read(int fd, void* to, std::size_t size) noexcept { return ::read(fd, to, size); }
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
