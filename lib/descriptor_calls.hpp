// SPDX-License-Identifier: BSL-1.0
// The system calls below descriptors that may refuse. Folder: lib.
#ifndef WG_LIB_DESCRIPTOR_CALLS_HPP
#define WG_LIB_DESCRIPTOR_CALLS_HPP

#include <cerrno>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace wg { inline namespace WG_ABI { namespace c {

/// Calls of Linux; tests replace them.
struct descriptor_calls {
    /// socketpair(2), close-on-exec.
    static bool make_pair(int type, int (&ends)[2]) noexcept {
        return ::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0;
    }
    /// epoll_create1(2).
    static int make_epoll() noexcept { return ::epoll_create1(EPOLL_CLOEXEC); }
    /// eventfd(2).
    static int make_eventfd() noexcept { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
    /// Watches a descriptor, edge-triggered.
    static bool watch(int epoll, int fd, void* context) noexcept {
        epoll_event e{};
        e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        e.data.ptr = context;
        return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
    }
    /// Sends a descriptor with a message. Does not wait.
    static bool send_with_descriptor(int to, void const* data, std::size_t size, int attached) noexcept {
        iovec part{const_cast<void*>(data), size};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* const head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        __builtin_memcpy(CMSG_DATA(head), &attached, sizeof attached);
        return ::sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
    }
};

/// A number that no other socket has had since the system started (SO_COOKIE); 0: no socket.
inline unsigned long long cookie_of(int fd) noexcept {
    unsigned long long cookie = 0;
    socklen_t size = sizeof cookie;
    return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

}}} // namespace wg::WG_ABI::c

#endif
