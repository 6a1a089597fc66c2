// SPDX-License-Identifier: BSL-1.0
// Receives the signals that stop a daemon, on systems without signalfd(2): a handler writes each signal into a pipe
// (sigaction(2)). Folder: os/posix/process. At start-up, before other threads; one object at a time.
//
// Not by EVFILT_SIGNAL of kqueue(2): a process that goes to the background after this object was made keeps the pipe,
// but a queue is not inherited.
#ifndef WG_OS_POSIX_PROCESS_STOP_SIGNALS_HPP
#define WG_OS_POSIX_PROCESS_STOP_SIGNALS_HPP

#include "../sockets.hpp"

#include <atomic>
#include <csignal>
#include <iterator>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Receives the signals that stop a daemon through a descriptor, and ignores other signals that would end or stop the
/// process by default.
class stop_signals {
public:
    /// The effect of SIGHUP.
    enum class hang_up {
        stops,     ///< the terminal was closed, so the process stops
        is_ignored ///< none
    };

    /// Handles SIGINT, SIGTERM and SIGQUIT, and SIGHUP if it `stops` and is not ignored already (nohup). By default
    /// they would end the process before it has cleaned up. The destructor restores the earlier state.
    explicit stop_signals(hang_up means = hang_up::stops) noexcept {
        if (!open_pipe(ends_) || !make_private(ends_[0].get()) || !make_private(ends_[1].get())) {
            ends_[0].reset();
            ends_[1].reset();
        }
        written_end().store(ends_[1].get(), std::memory_order_relaxed);
        for (std::size_t i = 0; i < std::size(handled); ++i) {
            struct sigaction now {};
            ::sigaction(handled[i], nullptr, &now);
            bool const hangs_up = handled[i] == SIGHUP;
            bool const ignores = is_ignored(handled[i]) || (hangs_up && means == hang_up::is_ignored);
            if (hangs_up && means == hang_up::stops && now.sa_handler == SIG_IGN) continue;
            struct sigaction wanted {};
            sigfillset(&wanted.sa_mask);
            wanted.sa_flags = SA_RESTART;
            if (ignores) wanted.sa_handler = SIG_IGN;
            else wanted.sa_handler = &note;
            replaced_[i] = ::sigaction(handled[i], &wanted, &saved_[i]) == 0;
        }
    }
    stop_signals(stop_signals const&) = delete;
    stop_signals& operator=(stop_signals const&) = delete;
    ~stop_signals() {
        for (std::size_t i = 0; i < std::size(handled); ++i)
            if (replaced_[i]) ::sigaction(handled[i], &saved_[i], nullptr);
        written_end().store(-1, std::memory_order_relaxed);
    }

    /// A descriptor that polls readable when a signal has come; -1 if no descriptors were left.
    int fd() const noexcept { return ends_[0].get(); }
    /// Whether the system had descriptors for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(ends_[0]); }
    /// Takes a signal that has come. Returns: its number; 0 if none has come.
    int take() noexcept {
        byte number = 0;
        ssize_t const size = without_interruption([&] { return ::read(ends_[0].get(), &number, 1); });
        return size == 1 ? number : 0;
    }

private:
    // The first ones stop the daemon. SIGPIPE, SIGXFSZ, SIGTTOU: the write fails with an error, which is handled. The
    // others are of timers and notices that a daemon does not use, or a user sent them by hand.
    static constexpr int handled[] = {SIGINT,  SIGTERM, SIGQUIT, SIGHUP,    SIGPIPE, SIGXFSZ, SIGTTOU,
                                      SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO};
    static constexpr bool is_ignored(int number) noexcept {
        return number != SIGINT && number != SIGTERM && number != SIGQUIT && number != SIGHUP;
    }

    /// The end of the pipe that the handler writes to; -1: none.
    static std::atomic<int>& written_end() noexcept {
        static constinit std::atomic<int> end{-1}; // lock-free, so a handler may read it
        return end;
    }
    static void note(int number) noexcept {
        int const kept = errno;
        byte const told = static_cast<byte>(number);
        int const end = written_end().load(std::memory_order_relaxed);
        // The write fails only if the pipe is full of earlier signals, and then one of them is enough.
        [[maybe_unused]] ssize_t const written = end >= 0 ? ::write(end, &told, 1) : 0;
        errno = kept;
    }

    unique_fd ends_[2];
    struct sigaction saved_[std::size(handled)]{};
    bool replaced_[std::size(handled)] = {};
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
