// SPDX-License-Identifier: BSL-1.0
// The system calls of UDP sockets that an old kernel lacks or that a host can refuse. Folder: os/linux/udp. Any thread.
#ifndef WG_OS_LINUX_UDP_CALLS_HPP
#define WG_OS_LINUX_UDP_CALLS_HPP

#include "../../../base/bytes.hpp"
#include "../../../base/time.hpp"

#include <cstring>
#include <linux/filter.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The calls of `basic_udp`. A test derives from this and replaces some. Each returns what the system call returns.
struct udp_calls {
    /// A UDP socket of this family (AF_INET, AF_INET6) that does not block.
    static int socket(int domain) noexcept { return ::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
    /// bind(2)
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept { return ::bind(fd, address, size); }
    /// setsockopt(2) for an option that is a number
    static int set_option(int fd, int level, int name, int value) noexcept {
        return ::setsockopt(fd, level, name, &value, sizeof value);
    }
    /// Has `program` choose among the sockets of a port (SO_ATTACH_REUSEPORT_CBPF).
    static int steer(int fd, sock_fprog const& program) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
    }
    /// SO_BINDTODEVICE
    static int bind_device(int fd, char const* name) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, converted<socklen_t>(std::strlen(name)));
    }
    /// sendmmsg(2)
    static int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::sendmmsg(fd, messages, count, MSG_NOSIGNAL);
    }
    /// recvmmsg(2); never blocks
    static int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr);
    }
    /// Waits until the socket has room for a message; 0 after `at_most`.
    static int wait_writable(int fd, timespec const& at_most) noexcept {
        pollfd watched{fd, POLLOUT, 0};
        return ::ppoll(&watched, 1, &at_most, nullptr);
    }
    /// CLOCK_MONOTONIC
    static instant now() noexcept {
        timespec clock{};
        ::clock_gettime(CLOCK_MONOTONIC, &clock);
        return {std::int64_t{1'000'000'000} * clock.tv_sec + clock.tv_nsec};
    }
};

}}} // namespace wg::WG_ABI::os

#endif
