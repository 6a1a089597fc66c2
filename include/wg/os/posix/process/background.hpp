// SPDX-License-Identifier: BSL-1.0
// Moves a daemon to the background, and opens standard descriptors that are closed (daemon(7)).
// Folder: os/posix/process. At start-up, before other threads.
#ifndef WG_OS_POSIX_PROCESS_BACKGROUND_HPP
#define WG_OS_POSIX_PROCESS_BACKGROUND_HPP

#include "../../../base/status.hpp"
#include "../sockets.hpp"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Opens /dev/null as each of the descriptors 0, 1 and 2 that is closed. Else the next files that the program opens
/// would get these numbers, and messages for standard error would go into them. To be called first in `main`.
/// Returns: a bit, 1 << descriptor, for each that was closed.
inline unsigned open_standard_descriptors() noexcept {
    unsigned closed = 0;
    for (int const fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0) continue;
        closed |= 1u << fd;
        // open() returns the lowest free number, which is `fd`. Without /dev, as in a chroot, a directory is opened
        // instead: reading and writing it fail without harm.
        if (::open("/dev/null", O_RDWR) < 0) (void)::open("/", O_RDONLY | O_DIRECTORY);
    }
    return closed;
}

/// Whether this process has a controlling terminal. When the terminal is closed, the kernel sends SIGHUP.
inline bool has_terminal() noexcept {
    return static_cast<bool>(unique_fd(::open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)));
}

namespace posix {

/// Moves a process to the background. The process that the shell has started waits until the start has succeeded or
/// failed, and returns that as its exit status.
class background {
public:
    /// Stays in the foreground: `ready` does nothing.
    background() noexcept = default;

    /// The first step of a daemon: no program waits for an answer here. Returns: an object that stays in the foreground
    /// until `enter`.
    static result<background> connect() noexcept { return background(); }

    /// Forks. Returns in the child, which has a session of its own. The parent does not return: it ends with 0 when the
    /// child calls `ready`, and with 1 if the child ends before. The child should then have said why on stderr. To be
    /// called before there are threads, and before there are secrets, because the parent would keep a copy of them.
    /// Returns: ok, or the status of errno.
    status enter() noexcept {
        unique_fd ends[2];
        if (!open_pipe(ends)) return status_of(errno);
        unique_fd &from = ends[0], &to = ends[1];
        (void)std::fflush(nullptr); // else both processes would write the buffered text
        pid_t const child = ::fork();
        if (child < 0) return status_of(errno);
        if (child > 0) {
            to.reset();
            char answer = 0;
            ssize_t const size = without_interruption([&] { return ::read(from.get(), &answer, 1); });
            if (size != 1) without_interruption([&] { return ::waitpid(child, nullptr, 0); });
            ::_exit(size == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        ::setsid();
        parent_ = std::move(to);
        return status::ok;
    }

    /// Lets the parent end with success. From now on standard input and output are /dev/null, and standard error too
    /// unless `keep_stderr`.
    void ready(bool keep_stderr) noexcept {
        if (!parent_) return;
        unique_fd const null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (null) {
            ::dup2(null.get(), STDIN_FILENO);
            ::dup2(null.get(), STDOUT_FILENO);
            if (!keep_stderr) ::dup2(null.get(), STDERR_FILENO);
        }
        if (::chdir("/") != 0) return; // cannot fail
        char const yes = 1;
        [[maybe_unused]] ssize_t const told = ::write(parent_.get(), &yes, 1); // the parent may have been killed
        parent_.reset();
    }

private:
    unique_fd parent_{};
};

} // namespace posix

}}} // namespace wg::WG_ABI::os

#endif
