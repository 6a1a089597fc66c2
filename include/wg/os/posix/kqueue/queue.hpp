// SPDX-License-Identifier: BSL-1.0
// A kernel event queue, which waits for many events at once (kqueue(2)). Folder: os/posix/kqueue. One thread at a time,
// except where a function says otherwise.
#ifndef WG_OS_POSIX_KQUEUE_QUEUE_HPP
#define WG_OS_POSIX_KQUEUE_QUEUE_HPP

#include "../../../base/bytes.hpp"
#include "../../../base/time.hpp"
#include "../fd.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The kind of an event.
enum class event_kind : std::uint8_t {
    readable, ///< EVFILT_READ: a descriptor has input, an error or an end
    writable, ///< EVFILT_WRITE: a descriptor has room, an error or an end
    file,     ///< EVFILT_VNODE: a file or an entry of a directory has changed
    second,   ///< EVFILT_TIMER: a second has passed
    user,     ///< EVFILT_USER: `event_action::trigger` was called
    other     ///< an event of another kind
};

/// What a queue does with an event.
enum class event_action : std::uint8_t {
    add,      ///< EV_ADD: report the event as long as it lasts
    add_once, ///< EV_ADD | EV_DISPATCH: report the event, and then not before `enable`
    add_edge, ///< EV_ADD | EV_CLEAR: report each change once
    enable,   ///< EV_ENABLE
    remove,   ///< EV_DELETE
    trigger   ///< NOTE_TRIGGER: cause an event of the kind `user`
};

/// An event that a queue reports.
struct queue_event {
    std::uintptr_t source = 0;           ///< a descriptor, or the number of a timer or of an event of the user
    event_kind kind = event_kind::other; ///< of the source
    std::uint64_t number = 0;            ///< the number that the event was added with
};

/// A queue of events. `Calls` makes the system calls; `kqueue_calls` documents them.
///
/// A process that forks does not pass on its queues. An object that is used in the child makes a new queue there, and
/// the user adds its events anew: `renewed` says so.
template <class Calls> class event_queue {
public:
    /// Has no queue yet.
    event_queue() noexcept = default;
    event_queue(event_queue const&) = delete;
    event_queue& operator=(event_queue const&) = delete;
    ~event_queue() { leave(); }

    /// The descriptor of the queue, which polls readable while an event waits; -1: none.
    int fd() const noexcept { return fd_.get(); }
    /// Whether there is a queue.
    explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

    /// Makes a queue if this process has none yet. Returns: whether it is a new one, without events.
    bool renewed() noexcept {
        long const process = Calls::process();
        if (fd_ && process == process_) return false;
        leave();
        fd_.reset(Calls::create());
        process_ = process;
        return static_cast<bool>(fd_);
    }

    /// Changes an event of the queue. Any thread. Returns: false with errno.
    bool change(event_kind kind, std::uintptr_t source, event_action action, std::uint64_t number = 0) const noexcept {
        return fd_ && Calls::change(fd_.get(), kind, source, action, number) == 0;
    }

    /// Waits for events, at most for `timeout`; zero: only looks. Any thread. Returns: how many events were stored,
    /// from the front; 0 after the timeout, after a signal or without a queue.
    std::size_t wait(std::span<queue_event> events, duration timeout) const noexcept {
        if (!fd_ || events.empty()) return 0;
        int const count = Calls::wait(fd_.get(), events, timeout);
        return count > 0 ? static_cast<std::size_t>(count) : 0;
    }

private:
    /// Closes the queue. The child of a fork has none: its descriptor may be another file by now.
    void leave() noexcept {
        if (fd_ && Calls::process() != process_) (void)fd_.release();
        fd_.reset();
    }

    unique_fd fd_{};
    long process_ = 0; ///< that has made the queue
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
