// SPDX-License-Identifier: BSL-1.0
// What makes a process a daemon: standard descriptors, going to the background, stopping on signals, keeping its memory
// to itself, its limits, telling its supervisor (daemon(7), sd_notify(3)). Layer 7 (Linux); at start-up, while there is
// one thread.
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

/// Opens /dev/null as each of descriptors 0, 1 and 2 that is closed. Else the next files that the program opens get
/// these numbers, and what is written to standard error goes into them. For the first line of `main`.
/// Returns a bit, 1 << descriptor, for each that was closed.
inline unsigned open_standard_descriptors() noexcept {
    unsigned closed = 0;
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0) continue;
        closed |= 1u << fd;
        // open() returns the lowest free number, which is `fd`. Without /dev (a chroot), a directory takes its place:
        // to read or write it is an error, and no harm.
        if (::open("/dev/null", O_RDWR) < 0) (void)::open("/", O_RDONLY | O_DIRECTORY);
    }
    return closed;
}

/// Whether this process has a controlling terminal. When that is closed, the kernel sends SIGHUP.
inline bool has_terminal() noexcept {
    return static_cast<bool>(unique_fd(::open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)));
}

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

/// The signals that ask a daemon to stop, as a descriptor. Other signals whose default would end or stop the process,
/// and that ask nothing of a daemon, are ignored.
class stop_signals {
public:
    /// What a signal SIGHUP means: the terminal was closed, so the process stops; or nothing.
    enum class hang_up { stops, is_ignored };

    /// SIGINT, SIGTERM, SIGQUIT, and SIGHUP if it `stops` and is not ignored already (nohup): by default these would
    /// end the process before it cleaned up. Blocks them; the destructor restores what was.
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

    int fd() const noexcept { return fd_.get(); }
    /// The number of a signal that has come since, or 0.
    int take() noexcept {
        signalfd_siginfo info;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), &info, sizeof info); });
        return size == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
    }

private:
    // SIGPIPE, SIGXFSZ, SIGTTOU: a failed write is an error like others. The rest: timers and notices that this process
    // never asks for, and signals that users send as a test.
    static constexpr int ignored[] = {SIGHUP,  SIGPIPE,   SIGXFSZ, SIGTTOU, SIGUSR1, SIGUSR2,
                                      SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR};

    unique_fd fd_{};
    sigset_t before_{};
    struct sigaction saved_[std::size(ignored)]{};
    hang_up means_ = hang_up::stops;
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

/// Room for descriptors: how many numbers were looked at, and how many of them are taken.
struct descriptor_room {
    std::size_t limit = 0, used = 0;
    std::size_t left() const noexcept { return limit - used; }
};
/// Looks whether `wanted` more descriptors can be opened, and raises the soft limit (`ulimit -Sn`) for them as far as
/// the hard limit allows. Where there is room for fewer, `limit` is the limit.
inline descriptor_room make_descriptor_room(std::size_t wanted) noexcept {
    rlimit now{};
    if (::getrlimit(RLIMIT_NOFILE, &now) != 0) return {wanted, 0};
    descriptor_room room;
    auto const look = [&] { // not beyond what was asked for: the limit may be a million
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

/// When to try again what has failed: after a quarter of a second, then each time after twice as long, 4 s at most.
class backoff {
public:
    bool waits() const noexcept { return due_ != instant::never(); }
    instant due() const noexcept { return due_; } ///< never: nothing has failed
    void failed(instant now) noexcept {
        due_ = now + pause_;
        pause_ = pause_ * 2 > longest ? longest : pause_ * 2;
    }
    void succeeded() noexcept { *this = {}; }

private:
    static constexpr duration first = milliseconds(250), longest = seconds(4);
    instant due_ = instant::never();
    duration pause_ = first;
};

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

}}} // namespace wg::WG_ABI::os

#endif
