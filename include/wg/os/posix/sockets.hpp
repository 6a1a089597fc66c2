// SPDX-License-Identifier: BSL-1.0
// Sockets and pipes that do not block and that are closed on exec, also on systems that lack the flags for one call
// (socket(2), accept(2), pipe(2)). Folder: os/posix. Any thread.
#ifndef WG_OS_POSIX_SOCKETS_HPP
#define WG_OS_POSIX_SOCKETS_HPP

#include "fd.hpp"

#include <sys/socket.h>

namespace wg { inline namespace WG_ABI { namespace os {

// A system that lacks SOCK_CLOEXEC lacks accept4 and pipe2 too. Between the two calls another thread may start a
// program, which then inherits the descriptor. A daemon starts none.
#ifdef SOCK_CLOEXEC

/// A socket that does not block; -1 with errno.
inline int open_socket(int domain, int type, int protocol = 0) noexcept {
    return ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}
/// Opens a blocking socket. Returns: -1 with errno.
inline int open_blocking_socket(int domain, int type, int protocol = 0) noexcept {
    return ::socket(domain, type | SOCK_CLOEXEC, protocol);
}
/// Accepts a connection of `listener` as a socket that does not block; -1 with errno.
inline int accept_connection(int listener) noexcept {
    return ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
/// Makes a pipe: `ends` becomes its end to read from and its end to write to. Returns: false with errno.
inline bool open_pipe(unique_fd (&ends)[2]) noexcept {
    int numbers[2];
    if (::pipe2(numbers, O_CLOEXEC) != 0) return false;
    ends[0].reset(numbers[0]);
    ends[1].reset(numbers[1]);
    return true;
}

#else

namespace sockets_detail {

/// Makes a descriptor private, or closes it. Returns: the descriptor; -1 with errno.
inline int kept_private(unique_fd fd) noexcept { return fd && make_private(fd.get()) ? fd.release() : -1; }
inline int kept_from_programs(unique_fd fd) noexcept {
    return fd && ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) == 0 ? fd.release() : -1;
}

} // namespace sockets_detail

/// A socket that does not block; -1 with errno.
inline int open_socket(int domain, int type, int protocol = 0) noexcept {
    return sockets_detail::kept_private(unique_fd(::socket(domain, type, protocol)));
}
/// Opens a blocking socket. Returns: -1 with errno.
inline int open_blocking_socket(int domain, int type, int protocol = 0) noexcept {
    return sockets_detail::kept_from_programs(unique_fd(::socket(domain, type, protocol)));
}
/// Accepts a connection of `listener` as a socket that does not block; -1 with errno.
inline int accept_connection(int listener) noexcept {
    return sockets_detail::kept_private(unique_fd(::accept(listener, nullptr, nullptr)));
}
/// Makes a pipe: `ends` becomes its end to read from and its end to write to. Returns: false with errno.
inline bool open_pipe(unique_fd (&ends)[2]) noexcept {
    int numbers[2];
    if (::pipe(numbers) != 0) return false;
    ends[0].reset(numbers[0]);
    ends[1].reset(numbers[1]);
    return ::fcntl(ends[0].get(), F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(ends[1].get(), F_SETFD, FD_CLOEXEC) == 0;
}

#endif

}}} // namespace wg::WG_ABI::os

#endif
