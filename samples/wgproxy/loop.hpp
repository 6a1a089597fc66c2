// SPDX-License-Identifier: BSL-1.0
// Waits for descriptors and for other threads (epoll(7), eventfd(2)), and tells which tasks to run.
// The loop belongs to one thread; `wake` may be called from any.
#ifndef WGPROXY_LOOP_HPP
#define WGPROXY_LOOP_HPP

#include "network.hpp"

#include <wg/os/posix/fd.hpp>

#include <algorithm>
#include <mutex>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace wgproxy {

class loop {
public:
    loop() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (good()) (void)watch(event_.get(), no_task);
    }

    /// Whether the system gave the two descriptors.
    bool good() const noexcept { return epoll_ && event_; }

    /// Wakes `task` whenever the descriptor becomes readable or writable, or fails, until it is closed. A file of a
    /// disk, which is always ready, wakes it once. Returns: false with errno.
    bool watch(int fd, task_id task) noexcept {
        epoll_event e{};
        e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        e.data.u64 = task;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0) return true;
        if (errno != EPERM) return false;
        wake(task);
        return true;
    }

    /// Lets the loop run this task soon. Any thread.
    void wake(task_id task) noexcept {
        bool first = false;
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            first = woken_.empty();
            woken_.push_back(task);
        }
        std::uint64_t const one = 1;
        if (first) (void)!::write(event_.get(), &one, sizeof one); // fails only if it is set already
    }

    /// Waits for `timeout_ms` at most. `ready` becomes the tasks to run, each once.
    void wait(int timeout_ms, std::vector<task_id>& ready) noexcept {
        ready.clear();
        epoll_event events[256];
        int const count = ::epoll_wait(epoll_.get(), events, 256, timeout_ms);
        for (int i = 0; i < count; ++i) {
            task_id const task = events[i].data.u64; // a copy: the structure is packed on x86-64
            if (task != no_task) ready.push_back(task);
        }
        std::uint64_t number = 0;
        (void)!::read(event_.get(), &number, sizeof number);
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            ready.insert(ready.end(), woken_.begin(), woken_.end());
            woken_.clear();
        }
        std::sort(ready.begin(), ready.end());
        ready.erase(std::unique(ready.begin(), ready.end()), ready.end());
    }

private:
    static constexpr task_id no_task = 0;

    wg::os::unique_fd epoll_, event_;
    std::mutex mutex_{};
    std::vector<task_id> woken_{};
};

} // namespace wgproxy

#endif
