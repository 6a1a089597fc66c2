// SPDX-License-Identifier: BSL-1.0
// The calls of kqueue(2). Folder: os/posix/system, for systems that have it. Any thread.
#ifndef WG_OS_POSIX_SYSTEM_KQUEUE_CALLS_HPP
#define WG_OS_POSIX_SYSTEM_KQUEUE_CALLS_HPP

#include "../kqueue/translation.hpp"

#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// The calls of `event_queue`. A test replaces them.
struct kqueue_calls {
    /// The numbers of this system.
    static constexpr kqueue_numbers numbers{
        .read = EVFILT_READ,
        .write = EVFILT_WRITE,
        .vnode = EVFILT_VNODE,
        .timer = EVFILT_TIMER,
#ifdef EVFILT_USER
        .user = EVFILT_USER,
        .has_user = true,
#endif
        .add = EV_ADD,
        .erase = EV_DELETE,
        .enable = EV_ENABLE,
        .dispatch = EV_DISPATCH,
        .clear = EV_CLEAR,
#ifdef NOTE_TRIGGER
        .trigger = NOTE_TRIGGER,
#endif
        .entry_changed = NOTE_WRITE | NOTE_DELETE | NOTE_RENAME,
    };

    /// The number of this process: a queue belongs to the process that has made it.
    static long process() noexcept { return ::getpid(); }
    /// A new queue; -1 with errno.
    static int create() noexcept {
        unique_fd made(::kqueue());
        return made && ::fcntl(made.get(), F_SETFD, FD_CLOEXEC) == 0 ? made.release() : -1;
    }
    /// Changes an event. Returns: 0, or -1 with errno.
    static int change(int queue, event_kind kind, std::uintptr_t source, event_action action,
                      std::uint64_t number) noexcept {
        struct kevent event;
        if (!fill_event(numbers, event, kind, source, action, number)) return errno = EINVAL, -1;
        return ::kevent(queue, &event, 1, nullptr, 0, nullptr);
    }
    /// Converts a count to the type that a system's kevent takes: int, or size_t on NetBSD.
    template <class Count, class Event>
    static constexpr Count count_of(int (*)(int, Event const*, Count, Event*, Count, timespec const*),
                                    std::size_t count) noexcept {
        return static_cast<Count>(count);
    }
    /// Waits for events, 64 at most. Returns: how many events were stored; -1 with errno.
    static int wait(int queue, std::span<queue_event> events, duration at_most) noexcept {
        constexpr std::size_t most = 64;
        struct kevent found[most];
        timespec const timeout = timeout_of(at_most);
        std::size_t const room = events.size() < most ? events.size() : most;
        int const count = ::kevent(queue, nullptr, 0, found, count_of(::kevent, room), &timeout);
        for (int i = 0; i < count; ++i) events[static_cast<std::size_t>(i)] = read_event(numbers, found[i]);
        return count;
    }
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
