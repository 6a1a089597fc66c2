// SPDX-License-Identifier: BSL-1.0
// What makes a process a daemon: going to the background, stopping on signals, keeping its memory to itself, telling
// its supervisor (daemon(7), sd_notify(3)). Layer 7 (Linux); at start-up, while there is one thread.
#ifndef WG_OS_LINUX_DAEMON_HPP
#define WG_OS_LINUX_DAEMON_HPP

#include "../../base/status.hpp"
#include "fd.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace wg::inline WG_ABI::os {

/// A process that goes on in the background while the one it was started as waits to tell the shell how that went.
class background {
public:
    /// Stays in the foreground: `ready` does nothing.
    background() noexcept = default;

    /// Forks. Returns in the child, in a session of its own. The parent never returns: it ends with 0 once the child
    /// calls `ready`, and with 1 if the child ends before that, which should have said why on stderr.
    /// Call it before there are threads, and before there are secrets, of which the parent would keep a copy.
    static result<background> enter() noexcept {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return status_of(errno);
        unique_fd from(ends[0]), to(ends[1]);
        std::fflush(nullptr); // or both would write what is buffered
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
        background self;
        self.parent_ = std::move(to);
        return self;
    }

    /// Lets the parent end. From here on nothing is read from or written to the terminal, except errors and logs
    /// where `keep_stderr`.
    void ready(bool keep_stderr) noexcept {
        if (!parent_) return;
        unique_fd const null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (null) {
            ::dup2(null.get(), STDIN_FILENO);
            ::dup2(null.get(), STDOUT_FILENO);
            if (!keep_stderr) ::dup2(null.get(), STDERR_FILENO);
        }
        if (::chdir("/") != 0) return; // cannot fail; the parent learns of it by our end
        char const yes = 1;
        [[maybe_unused]] ssize_t const told = ::write(parent_.get(), &yes, 1); // the parent may be gone: no matter
        parent_.reset();
    }

private:
    unique_fd parent_{};
};

/// The signals that ask a daemon to stop, as a descriptor. SIGPIPE is ignored: writing to who has left is an error
/// like others.
class stop_signals {
public:
    /// SIGINT and SIGTERM, and SIGHUP unless it is ignored (nohup): its default would end the process without
    /// cleaning up. Blocks them; the destructor restores what was.
    stop_signals() noexcept {
        sigset_t wanted;
        ::sigemptyset(&wanted);
        ::sigaddset(&wanted, SIGINT);
        ::sigaddset(&wanted, SIGTERM);
        struct sigaction hang_up {};
        if (::sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN) ::sigaddset(&wanted, SIGHUP);
        ::sigprocmask(SIG_BLOCK, &wanted, &before_);
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGPIPE, &ignore, &pipe_before_);
        fd_.reset(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
    }
    stop_signals(stop_signals const&) = delete;
    stop_signals& operator=(stop_signals const&) = delete;
    ~stop_signals() {
        fd_.reset();
        ::sigaction(SIGPIPE, &pipe_before_, nullptr);
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

    int fd() const noexcept { return fd_.get(); }
    /// The number of a signal that has come since, or 0.
    int take() noexcept {
        signalfd_siginfo info;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), &info, sizeof info); });
        return size == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
    }

private:
    unique_fd fd_{};
    sigset_t before_{};
    struct sigaction pipe_before_ {};
};

/// Nobody with the same user id may read or trace this process, and no core dump is written. Whether both took hold.
inline bool keep_memory_private() noexcept {
    rlimit const none{0, 0};
    bool const no_core = ::setrlimit(RLIMIT_CORE, &none) == 0;
    return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && no_core;
}

/// Caps the memory that this process may write to: heap, buffers, threads' stacks (RLIMIT_DATA). Who asks for more gets
/// none, and whatever is asked for here can do without. False: it had a lower limit.
inline bool limit_memory(std::size_t bytes) noexcept {
    rlimit const most{bytes, bytes};
    return ::setrlimit(RLIMIT_DATA, &most) == 0;
}

/// Tells the supervisor that started us `state`: "READY=1", "STOPPING=1". `socket` is a path, or a name in the abstract
/// namespace that begins with `@`; null (no supervisor asked): nothing to do. False: it could not be told.
inline bool notify_supervisor(char const* state, char const* socket = std::getenv("NOTIFY_SOCKET")) noexcept {
    if (socket == nullptr || *socket == '\0') return true;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::size_t const length = std::strlen(socket);
    if ((socket[0] != '/' && socket[0] != '@') || length >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, socket, length);
    if (socket[0] == '@') address.sun_path[0] = '\0';
    unique_fd const fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    auto const size = converted<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    return fd && without_interruption([&] {
                     return ::sendto(fd.get(), state, std::strlen(state), MSG_NOSIGNAL,
                                     reinterpret_cast<sockaddr const*>(&address), size);
                 }) >= 0;
}

} // namespace wg::inline WG_ABI::os

#endif
