// SPDX-License-Identifier: BSL-1.0
// Waits for the events of a configuration socket: of its descriptors, and of its file (kqueue(2)).
// Folder: os/posix/kqueue. One thread at a time.
#ifndef WG_OS_POSIX_KQUEUE_POLLER_HPP
#define WG_OS_POSIX_KQUEUE_POLLER_HPP

#include "queue.hpp"

#include <cstring>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// What `basic_uapi_listener` needs. It can be made before the process goes to the background: it notes what it
/// watches, and adds that to the queue of the process that calls `fd` or `each`. Then it watches `MaxWatched`
/// descriptors at most.
template <class Calls, std::size_t MaxWatched = 32> class basic_poller {
public:
    static constexpr std::uint64_t removal_number = 1; ///< the number of events of the file
    /// connect(2) to a socket with a full backlog fails as if nobody listened.
    static constexpr bool full_backlog_refuses = true;

    /// Watches nothing yet.
    basic_poller() noexcept {
        for (watched& w : watched_) w.fd = -1;
    }

    /// A descriptor that polls readable when `each` has something to report; -1 if no descriptors were left.
    int fd() const noexcept {
        begin();
        return queue_.fd();
    }

    /// Reports under `number` when `fd` can be written, if `writes`, or else read. Replaces an earlier watch of that
    /// number, and of `fd`. Returns: false with errno.
    bool watch(int fd, bool writes, std::uint64_t number) noexcept {
        begin();
        if (number >= MaxWatched) return errno = EINVAL, false;
        watched& w = watched_[number];
        // An event that is still there is of the other direction. That of a closed descriptor is gone.
        if (w.fd == fd && w.writes != writes) (void)queue_.change(kind_of(w.writes), source(fd), event_action::remove);
        w = {fd, writes};
        return queue_.change(kind_of(writes), source(fd), event_action::add, number);
    }

    /// Reports under `removal_number` when the file at `path` may have been removed: when an entry of its directory has
    /// changed, or each second where the directory cannot be watched. A socket cannot be opened, so not the file itself
    /// is watched. Returns: false with errno.
    bool watch_removal(char const* path) noexcept {
        begin();
        char directory[256];
        char const* const slash = std::strrchr(path, '/');
        if (slash == nullptr || std::strlen(path) >= sizeof directory) return errno = EINVAL, false;
        std::size_t const size = slash == path ? 1 : static_cast<std::size_t>(slash - path);
        std::memcpy(directory, path, size);
        directory[size] = '\0';
        directory_.reset(::open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        watches_removal_ = true;
        return add_removal();
    }

    /// Calls `take(number)` for each event that has come, `Most` at most. Never waits.
    template <std::size_t Most, class Take> void each(Take&& take) noexcept {
        begin();
        queue_event events[Most];
        std::size_t const count = queue_.wait(events, duration{});
        for (std::size_t i = 0; i < count; ++i) {
            bool const removal = events[i].number == removal_number;
            // An event that an earlier `take` has made void: its connection was closed.
            if (!removal &&
                (events[i].number >= MaxWatched || source(watched_[events[i].number].fd) != events[i].source))
                continue;
            take(events[i].number);
        }
    }

private:
    struct watched {
        int fd = -1;
        bool writes = false;
    };

    static event_kind kind_of(bool writes) noexcept { return writes ? event_kind::writable : event_kind::readable; }
    static std::uintptr_t source(int fd) noexcept { return static_cast<std::uintptr_t>(fd); }

    bool add_removal() const noexcept {
        if (directory_ &&
            queue_.change(event_kind::file, source(directory_.get()), event_action::add_edge, removal_number))
            return true;
        return queue_.change(event_kind::second, 0, event_action::add, removal_number);
    }

    /// Has a queue of this process, with all that is watched.
    void begin() const noexcept {
        if (!queue_.renewed()) return;
        for (std::size_t number = 0; number < MaxWatched; ++number)
            if (watched const& w = watched_[number]; w.fd >= 0)
                (void)queue_.change(kind_of(w.writes), source(w.fd), event_action::add, number);
        if (watches_removal_) (void)add_removal();
    }

    mutable event_queue<Calls> queue_{}; ///< of the process that used this object last
    unique_fd directory_{};              ///< of the socket's file
    bool watches_removal_ = false;
    watched watched_[MaxWatched];
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
