// SPDX-License-Identifier: BSL-1.0
// Waits until a TUN device, a socket or another descriptor is ready, a deadline passes, or another thread wakes the
// waiter (kqueue(2)). Folder: os/posix/kqueue. One thread at a time; `wake` from any thread.
#ifndef WG_OS_POSIX_KQUEUE_WAITER_HPP
#define WG_OS_POSIX_KQUEUE_WAITER_HPP

#include "../../../policy.hpp"
#include "../sockets.hpp"
#include "queue.hpp"

#include <sched.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// Models `waiter`. It does not own the descriptors that it watches. `Calls` is as of `event_queue`, and has `clock`.
template <class Calls> class basic_waiter {
public:
    static constexpr std::size_t max_others = 32; ///< other descriptors, one for each bit of `readiness::others`
    /// The longest sleep without a look at the clock. Timeouts stand still while the host sleeps, so a deadline that
    /// passed in that time is noticed this late at most.
    static constexpr duration max_sleep = seconds(5);

    /// Watches these descriptors; -1: none.
    explicit basic_waiter(int tun_fd = -1, int udp_fd = -1) noexcept {
        for (int& fd : watched_) fd = -1;
        if (queue_.renewed()) begin_wake();
        watch_tun(tun_fd);
        watch_udp(udp_fd);
    }
    /// Watches the descriptors `fd()` of a TUN device and a socket.
    template <class Tun, class Socket>
    basic_waiter(Tun const& device, Socket const& socket) noexcept
        requires requires {
            device.fd();
            socket.fd();
        }
        : basic_waiter(device.fd(), socket.fd()) {}

    /// Whether the system had descriptors for the waiter. Without them it reports nothing and cannot be woken.
    explicit operator bool() const noexcept { return queue_ && can_wake_; }

    /// Reports this descriptor as `readiness::tun` from now on; -1: none.
    void watch_tun(int fd) noexcept { watch(tun_slot, fd); }
    /// Reports this descriptor as `readiness::udp` from now on; -1: none.
    void watch_udp(int fd) noexcept { watch(udp_slot, fd); }
    /// Reports `fd` as bit `number` (0 to 31) of `readiness::others` from now on; -1: none. The kernel forgets a
    /// descriptor that is closed: a new one of the same number has to be watched anew.
    void watch_other(std::size_t number, int fd = -1) noexcept {
        WG_ASSERT(number < max_others);
        watch(first_other + number, fd);
    }
    /// Reports `source.fd()` as bit `number` (0 to 31) of `readiness::others` from now on.
    template <class Source>
    void watch_other(std::size_t number, Source const& source) noexcept
        requires requires { source.fd(); }
    {
        watch_other(number, source.fd());
    }

    /// Waits until a descriptor is ready, the deadline passes or `wake` is called. An error or an end of a descriptor
    /// counts as ready, because a read reports it. With a deadline in the past it only looks. For the time of
    /// `busy_poll` it looks repeatedly before it sleeps, and lets other threads run in between.
    readiness wait(instant deadline, duration busy_poll = {}) noexcept {
        instant const sleep_at = busy_poll != duration{} ? clock_.now() + busy_poll : instant{};
        for (;;) {
            instant const at = clock_.now();
            bool const expired = deadline <= at, looks = at < sleep_at && !expired;
            duration const sleep = deadline - at < max_sleep ? deadline - at : max_sleep;
            queue_event events[most_events];
            std::size_t const count = queue_.wait(events, expired || looks ? duration{} : sleep);
            bool woken = false;
            readiness ready{};
            for (std::size_t i = 0; i < count; ++i) report(events[i], ready, woken);
            if (expired || woken || ready.tun || ready.udp || ready.others != 0) return ready;
            if (looks) (void)::sched_yield();
            else if (count == 0 && (!queue_ || errno == EBADF)) return {}; // else it would not sleep
        }
    }

    /// Makes the present or the next `wait` return.
    void wake() noexcept {
        if (!wakes_by_pipe_) {
            (void)queue_.change(event_kind::user, 0, event_action::trigger, wake_slot);
            return;
        }
        byte const one = 1;
        // The write fails only if the pipe is full, and then the waiter wakes anyway.
        [[maybe_unused]] ssize_t const written = ::write(pipe_[1].get(), &one, 1);
    }

private:
    enum : std::size_t { wake_slot, tun_slot, udp_slot, first_other, slots = first_other + max_others };
    static constexpr std::size_t most_events = slots;

    /// Has the queue report `wake`: by an event of the user, or by a pipe on a system without such events (OpenBSD
    /// before 7.7, NetBSD before 10).
    void begin_wake() noexcept {
        can_wake_ = queue_.change(event_kind::user, 0, event_action::add_edge, wake_slot);
        if (can_wake_) return;
        wakes_by_pipe_ = true;
        can_wake_ = open_pipe(pipe_) && make_private(pipe_[0].get()) && make_private(pipe_[1].get()) &&
                    queue_.change(event_kind::readable, static_cast<std::uintptr_t>(pipe_[0].get()), event_action::add,
                                  wake_slot);
    }

    void watch(std::size_t slot, int fd) noexcept {
        if (watched_[slot] >= 0 && watched_[slot] != fd) { // fails if the descriptor was closed
            (void)queue_.change(event_kind::readable, static_cast<std::uintptr_t>(watched_[slot]),
                                event_action::remove);
        }
        watched_[slot] = fd;
        if (fd >= 0 && !queue_.change(event_kind::readable, static_cast<std::uintptr_t>(fd), event_action::add, slot))
            watched_[slot] = -1;
    }

    void report(queue_event const& event, readiness& ready, bool& woken) noexcept {
        std::size_t const slot = static_cast<std::size_t>(event.number);
        if (slot == wake_slot) {
            woken = true;
            byte sink[64];
            while (wakes_by_pipe_ && ::read(pipe_[0].get(), sink, sizeof sink) > 0) {}
        } else if (slot >= slots || watched_[slot] != static_cast<int>(event.source)) {
            return; // of a descriptor that is no longer watched
        } else if (slot == tun_slot) {
            ready.tun = true;
        } else if (slot == udp_slot) {
            ready.udp = true;
        } else {
            ready.others |= std::uint32_t{1} << (slot - first_other);
        }
    }

    event_queue<Calls> queue_{};
    unique_fd pipe_[2]; ///< of `wake`, if `wakes_by_pipe_`
    bool wakes_by_pipe_ = false;
    bool can_wake_ = false;
    int watched_[slots];
    typename Calls::clock clock_{};
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
