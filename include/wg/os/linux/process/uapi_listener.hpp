// SPDX-License-Identifier: BSL-1.0
// The configuration socket on Linux: what waits for its events (epoll(7), inotify(7), timerfd_create(2)).
// Folder: os/linux/process. One thread at a time.
#ifndef WG_OS_LINUX_PROCESS_UAPI_LISTENER_HPP
#define WG_OS_LINUX_PROCESS_UAPI_LISTENER_HPP

#include "../../posix/process/uapi_listener.hpp"
#include "../fd.hpp"

#include <sys/inotify.h>
#include <sys/timerfd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Waits for the events of a configuration socket: of its descriptors, and of its file.
class linux_poller {
public:
    static constexpr std::uint64_t removal_number = 1;  ///< the number of events of the file
    static constexpr bool full_backlog_refuses = false; ///< connect(2) fails with EAGAIN then

    /// Watches nothing yet.
    linux_poller() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    /// A descriptor that polls readable when `each` has something to report; -1 if no descriptors were left.
    int fd() const noexcept { return epoll_.get(); }

    /// Reports under `number` when `fd` can be written, if `writes`, or else read. Replaces an earlier watch of `fd`,
    /// which ends when `fd` is closed. Returns: false with errno.
    bool watch(int fd, bool writes, std::uint64_t number) noexcept {
        return os::watch(epoll_.get(), fd, writes ? EPOLLOUT : EPOLLIN, number);
    }

    /// Reports under `removal_number` when the file at `path` may have been removed: by inotify, or by a timer where
    /// the kernel lacks inotify or the user's instances and watches are used up. The timer expires each
    /// `look_interval_s`. Returns: false with errno.
    bool watch_removal(char const* path) noexcept {
        removal_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        constexpr std::uint32_t events = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
        if (!removal_ || ::inotify_add_watch(removal_.get(), path, events) < 0) {
            removal_.reset();
            if (errno == ENOENT) return false; // removed already
            removal_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
            itimerspec every{};
            every.it_value.tv_sec = every.it_interval.tv_sec = look_interval_s;
            if (removal_ && ::timerfd_settime(removal_.get(), 0, &every, nullptr) != 0) removal_.reset();
        }
        return removal_ && watch(removal_.get(), false, removal_number);
    }

    /// Calls `take(number)` for each event that has come, `Most` at most. Never waits.
    template <std::size_t Most, class Take> void each(Take&& take) noexcept {
        epoll_event events[Most];
        int const count = ::epoll_wait(epoll_.get(), events, static_cast<int>(Most), 0);
        for (int i = 0; i < count; ++i) {
            if (events[i].data.u64 == removal_number) empty_removal();
            take(events[i].data.u64);
        }
    }

private:
    static constexpr time_t look_interval_s = 1;

    void empty_removal() noexcept {
        alignas(inotify_event) byte told[4096];
        while (::read(removal_.get(), told, sizeof told) > 0) {}
    }

    unique_fd epoll_;
    unique_fd removal_{};
};

/// The configuration socket of a Linux host.
template <class Session, class Reply, std::size_t MaxConnections = 16>
using uapi_listener = basic_uapi_listener<Session, Reply, MaxConnections, linux_poller>;

}}} // namespace wg::WG_ABI::os

#endif
