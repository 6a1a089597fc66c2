// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the helpers that all files of the POSIX systems use. Folder: os/posix. Any thread; a
// descriptor has one owner.
#ifndef WG_OS_POSIX_FD_HPP
#define WG_OS_POSIX_FD_HPP

#include "../../base/status.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace wg { inline namespace WG_ABI { namespace os {

/// Owns a file descriptor, and closes it in the end; -1: none.
class unique_fd {
public:
    /// Owns none.
    constexpr unique_fd() noexcept = default;
    /// Owns `fd`.
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    /// Takes over the descriptor of `other`.
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    /// Closes its descriptor and takes over that of `other`.
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    /// Whether it owns a descriptor.
    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    /// The descriptor, or -1.
    constexpr int get() const noexcept { return fd_; }
    /// Gives up the descriptor without closing it. Returns: the descriptor, or -1.
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes its descriptor, keeps errno, and owns `fd` from now on.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: the descriptor is closed even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Calls `call`, a system call, again as long as a signal handler interrupts it. Returns: what it returned last.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status for an errno; `io_error` for those that have none of their own.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Whether this process can open `count` more descriptors, 16 at most (`ulimit -n`).
inline bool can_open(std::size_t count) noexcept {
    unique_fd opened[16];
    for (std::size_t i = 0; i < count && i < 16; ++i) {
        opened[i].reset(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
        if (!opened[i] && errno == EBADF) opened[i].reset(::open("/", O_RDONLY | O_CLOEXEC)); // stderr is closed
        if (!opened[i]) return false;
    }
    return true;
}

/// Makes a descriptor that another program opened non-blocking and closed on exec. Returns: false with errno.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

}}} // namespace wg::WG_ABI::os

#endif
