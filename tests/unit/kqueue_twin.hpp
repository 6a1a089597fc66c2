// SPDX-License-Identifier: BSL-1.0
// The calls of kqueue(2) made of epoll(7), inotify(7), timerfd_create(2) and eventfd(2): the code for macOS and the
// BSDs runs here with real descriptors. It differs in one way: the events of a descriptor that is closed stay if a
// duplicate of the descriptor is open.
#ifndef WG_TESTS_KQUEUE_TWIN_HPP
#define WG_TESTS_KQUEUE_TWIN_HPP

#include "wg/os/linux/clock.hpp"
#include "wg/os/posix/kqueue/queue.hpp"

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <vector>

namespace wg_tests { namespace kqueue {

namespace posix = wg::os::posix;
using posix::event_action, posix::event_kind, posix::queue_event;
using wg::os::unique_fd;

struct change {
    event_kind kind;
    std::uintptr_t source;
    event_action action;
    std::uint64_t number;
};

/// What the calls do, as a test chooses, and what they have done.
struct twin_state {
    long process = 1;             ///< another number stands for the child of a fork
    int create_errno = 0;         ///< of the next `create`; 0: it succeeds
    std::set<event_kind> refused; ///< kinds that the system lacks
    bool records = true;          ///< `changes` and `timeouts`
    std::vector<change> changes;
    std::vector<wg::duration> timeouts; ///< of each wait
    int created = 0;

    struct watched {
        event_kind kind;
        std::uintptr_t source;
        std::uint64_t number;
        unique_fd own{}; ///< of inotify, the timer or the event of the user
        bool edge = false;
    };
    std::map<int, std::map<int, watched>> queues; ///< by descriptor of the queue, and by watched descriptor
};
inline twin_state state;
inline std::mutex guard; ///< of `state`, in the calls, because the threads of a program share a queue

/// A state as at the start.
struct fresh {
    fresh() { state = {}; }
};

struct calls {
    using clock = wg::os::clock;

    static long process() noexcept { return state.process; }
    static int create() noexcept {
        if (state.create_errno != 0) return errno = state.create_errno, -1;
        ++state.created;
        int const made = ::epoll_create1(EPOLL_CLOEXEC);
        if (made >= 0) state.queues[made].clear();
        return made;
    }
    static int change(int queue, event_kind kind, std::uintptr_t source, event_action action,
                      std::uint64_t number) noexcept {
        std::lock_guard const lock(guard);
        if (state.records) state.changes.push_back({kind, source, action, number});
        if (state.refused.contains(kind)) return errno = EINVAL, -1;
        auto& all = state.queues[queue];
        if (action == event_action::trigger) {
            std::uint64_t const one = 1;
            for (auto& [fd, w] : all)
                if (w.kind == kind && ::write(fd, &one, sizeof one) < 0) return -1;
            return 0;
        }
        int fd = static_cast<int>(source);
        unique_fd own;
        if (kind == event_kind::user) own.reset(::eventfd(0, EFD_NONBLOCK));
        if (kind == event_kind::second) {
            own.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
            itimerspec const every{{1, 0}, {1, 0}};
            ::timerfd_settime(own.get(), 0, &every, nullptr);
        }
        if (kind == event_kind::file) {
            own.reset(::inotify_init1(IN_NONBLOCK));
            std::string const path = "/proc/self/fd/" + std::to_string(fd);
            constexpr std::uint32_t changed = IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF;
            if (::inotify_add_watch(own.get(), path.c_str(), changed) < 0) return -1;
        }
        if (own) fd = own.get();
        if (action == event_action::remove) {
            all.erase(fd);
            return ::epoll_ctl(queue, EPOLL_CTL_DEL, fd, nullptr);
        }
        epoll_event event{};
        event.events = kind == event_kind::writable ? EPOLLOUT : EPOLLIN;
        if (action == event_action::add_once || action == event_action::enable) event.events |= EPOLLONESHOT;
        event.data.fd = fd;
        if (::epoll_ctl(queue, EPOLL_CTL_MOD, fd, &event) != 0 && ::epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) != 0)
            return -1;
        if (action != event_action::enable)
            all[fd] = {kind, source, number, std::move(own), action == event_action::add_edge};
        return 0;
    }
    static int wait(int queue, std::span<queue_event> events, wg::duration at_most) noexcept {
        {
            std::lock_guard const lock(guard);
            if (state.records) state.timeouts.push_back(at_most);
        }
        epoll_event found[64];
        int const room = static_cast<int>(std::min<std::size_t>(events.size(), 64));
        int const count =
            ::epoll_wait(queue, found, room, static_cast<int>((at_most.nanoseconds + 999'999) / 1'000'000));
        std::lock_guard const lock(guard);
        for (int i = 0; i < count; ++i) {
            auto const& w = state.queues[queue][found[i].data.fd];
            char sink[4096];
            if (w.own) [[maybe_unused]]
                ssize_t const emptied = ::read(w.own.get(), sink, sizeof sink);
            events[static_cast<std::size_t>(i)] = {w.source, w.kind, w.number};
        }
        return count;
    }
};

/// A pipe that does not block.
struct pipe_ends {
    unique_fd from, to;
    pipe_ends() {
        int ends[2] = {-1, -1};
        [[maybe_unused]] int const made = ::pipe2(ends, O_NONBLOCK | O_CLOEXEC);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    void put() const { [[maybe_unused]] ssize_t const written = ::write(to.get(), "x", 1); }
    void take() const {
        char byte;
        [[maybe_unused]] ssize_t const size = ::read(from.get(), &byte, 1);
    }
};

}} // namespace wg_tests::kqueue

#endif
