// SPDX-License-Identifier: BSL-1.0
// Receives the signals that stop a daemon (signalfd(2)). Folder: os/linux/process. At start-up, before other threads.
#ifndef WG_OS_LINUX_PROCESS_STOP_SIGNALS_HPP
#define WG_OS_LINUX_PROCESS_STOP_SIGNALS_HPP

#include "../fd.hpp"

#include <csignal>
#include <iterator>
#include <sys/signalfd.h>

namespace wg { inline namespace WG_ABI { namespace os {

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
    /// Whether the kernel had a descriptor for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
    /// Takes a signal that has come. Returns: its number; 0 if none has come.
    int take() noexcept {
        signalfd_siginfo info;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), &info, sizeof info); });
        return size == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
    }

private:
    // SIGPIPE, SIGXFSZ, SIGTTOU: the write fails with an error, which is handled. The others are of timers and notices
    // that a daemon does not use, or a user sent them by hand.
    static constexpr int ignored[] = {SIGHUP,  SIGPIPE,   SIGXFSZ, SIGTTOU, SIGUSR1, SIGUSR2,
                                      SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGPWR};

    unique_fd fd_{};
    sigset_t before_{};
    struct sigaction saved_[std::size(ignored)]{};
    hang_up means_ = hang_up::stops;
};

}}} // namespace wg::WG_ABI::os

#endif
