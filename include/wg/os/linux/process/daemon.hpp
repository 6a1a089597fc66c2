// SPDX-License-Identifier: BSL-1.0
// The parts of a daemon: standard descriptors, going to the background, stopping on signals, private memory, limits,
// and messages to the supervisor (daemon(7), sd_notify(3)). Folder: os/linux/process. At start-up, before other
// threads.
#ifndef WG_OS_LINUX_PROCESS_DAEMON_HPP
#define WG_OS_LINUX_PROCESS_DAEMON_HPP

#include "../../../base/status.hpp"
#include "../../../base/time.hpp"
#include "../fd.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Opens /dev/null as each of the descriptors 0, 1 and 2 that is closed. Else the next files that the program opens
/// would get these numbers, and messages for standard error would go into them. To be called first in `main`.
/// Returns: a bit, 1 << descriptor, for each that was closed.
inline unsigned open_standard_descriptors() noexcept {
    unsigned closed = 0;
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
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

/// Moves a process to the background. The process that the shell has started waits until the start has succeeded or
/// failed, and returns that as its exit status.
class background {
public:
    /// Stays in the foreground: `ready` does nothing.
    background() noexcept = default;

    /// Forks. Returns in the child, which has a session of its own. The parent does not return: it ends with 0 when the
    /// child calls `ready`, and with 1 if the child ends before. The child should then have said why on stderr. To be
    /// called before there are threads, and before there are secrets, because the parent would keep a copy of them.
    /// Returns: the status of errno.
    static result<background> enter() noexcept {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return status_of(errno);
        unique_fd from(ends[0]), to(ends[1]);
        std::fflush(nullptr); // else both processes would write the buffered text
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

/// Receives the signals that stop a daemon through a descriptor, and ignores other signals that would end or stop the
/// process by default.
class stop_signals {
public:
    /// The effect of SIGHUP.
    enum class hang_up {
        stops,     ///< the terminal was closed, so the process stops
        is_ignored ///< none
    };

    /// Blocks SIGINT, SIGTERM and SIGQUIT, and SIGHUP if it `stops` and is not ignored already (nohup). By default they
    /// would end the process before it has cleaned up. The destructor restores the earlier state.
    explicit stop_signals(hang_up means = hang_up::stops) noexcept {
        sigset_t wanted;
        ::sigemptyset(&wanted);
        for (int const number : {SIGINT, SIGTERM, SIGQUIT}) ::sigaddset(&wanted, number);
        struct sigaction now {};
        if (means == hang_up::stops && ::sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler != SIG_IGN)
            ::sigaddset(&wanted, SIGHUP);
        ::sigprocmask(SIG_BLOCK, &wanted, &before_);
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        for (std::size_t i = 0; i < std::size(ignored); ++i)
            if (ignored[i] != SIGHUP || means == hang_up::is_ignored) ::sigaction(ignored[i], &ignore, &saved_[i]);
        means_ = means;
        fd_.reset(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
    }
    stop_signals(stop_signals const&) = delete;
    stop_signals& operator=(stop_signals const&) = delete;
    ~stop_signals() {
        fd_.reset();
        for (std::size_t i = 0; i < std::size(ignored); ++i)
            if (ignored[i] != SIGHUP || means_ == hang_up::is_ignored) ::sigaction(ignored[i], &saved_[i], nullptr);
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

    /// A descriptor that polls readable when a signal has come; -1 if no descriptors were left.
    int fd() const noexcept { return fd_.get(); }
    /// Takes a signal that has come. Returns: its number; 0 if none has come.
    int take() noexcept {
        signalfd_siginfo info;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), &info, sizeof info); });
        return size == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
    }

private:
    // SIGPIPE, SIGXFSZ, SIGTTOU: the write fails with an error, which is handled. The others are of timers and notices
    // that a daemon does not use, or of users who try out signals.
    static constexpr int ignored[] = {SIGHUP,  SIGPIPE,   SIGXFSZ, SIGTTOU, SIGUSR1, SIGUSR2,
                                      SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR};

    unique_fd fd_{};
    sigset_t before_{};
    struct sigaction saved_[std::size(ignored)]{};
    hang_up means_ = hang_up::stops;
};

/// Keeps other processes of the same user from reading or tracing this one, and the kernel from writing core dumps.
/// Returns: whether both succeeded.
inline bool keep_memory_private() noexcept {
    rlimit const none{0, 0};
    bool const no_core = ::setrlimit(RLIMIT_CORE, &none) == 0;
    return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && no_core;
}

/// Limits the memory of this process: heap, buffers, stacks of threads (RLIMIT_DATA). Further allocations fail, which
/// the whole library handles. Returns: false if the process had a lower limit.
inline bool limit_memory(std::size_t bytes) noexcept {
    rlimit const most{bytes, bytes};
    return ::setrlimit(RLIMIT_DATA, &most) == 0;
}

/// The result of `make_descriptor_room`.
struct descriptor_room {
    std::size_t limit = 0; ///< numbers of descriptors that were examined, from 0 on
    std::size_t used = 0;  ///< how many of them are in use
    /// How many of them are free.
    std::size_t left() const noexcept { return limit - used; }
};
/// Finds out whether `wanted` more descriptors can be opened, and raises the soft limit (`ulimit -Sn`) if necessary, as
/// far as the hard limit allows. Returns: if fewer are free, `limit` is the process's limit.
inline descriptor_room make_descriptor_room(std::size_t wanted) noexcept {
    rlimit now{};
    if (::getrlimit(RLIMIT_NOFILE, &now) != 0) return {wanted, 0};
    descriptor_room room;
    auto const look = [&] { // ends when enough are found, because the limit can be a million
        room = {};
        std::size_t const most = now.rlim_cur == RLIM_INFINITY ? SIZE_MAX : converted<std::size_t>(now.rlim_cur);
        for (; room.limit < most && room.left() < wanted; ++room.limit)
            room.used += ::fcntl(static_cast<int>(room.limit), F_GETFD) >= 0;
    };
    look();
    if (room.left() >= wanted || now.rlim_cur == now.rlim_max) return room;
    rlimit raised = now;
    raised.rlim_cur =
        now.rlim_max == RLIM_INFINITY ? room.used + wanted : std::min<rlim_t>(now.rlim_max, room.used + wanted);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) now = raised;
    look();
    return room;
}

/// When to repeat an attempt that failed: after 250 ms, then after twice the last pause, 4 s at most.
class backoff {
public:
    /// Whether an attempt has failed and is to be repeated.
    bool waits() const noexcept { return due_ != instant::never(); }
    /// When the next attempt is due; `never` if none has failed.
    instant due() const noexcept { return due_; }
    /// Notes that an attempt has failed.
    void failed(instant now) noexcept {
        due_ = now + pause_;
        pause_ = pause_ * 2 > longest ? longest : pause_ * 2;
    }
    /// Notes that an attempt has succeeded.
    void succeeded() noexcept { *this = {}; }

private:
    static constexpr duration first = milliseconds(250), longest = seconds(4);
    instant due_ = instant::never();
    duration pause_ = first;
};

/// Sends `state`, such as "READY=1" or "STOPPING=1", to the supervisor that has started this process. `socket` is a
/// path, or `@` and a name in the abstract namespace; null: there is no supervisor, and nothing is sent.
/// Returns: false if it could not be sent.
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

}}} // namespace wg::WG_ABI::os

#endif
