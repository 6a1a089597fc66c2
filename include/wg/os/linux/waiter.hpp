// SPDX-License-Identifier: BSL-1.0
// Waits until a TUN device, a socket or another descriptor is ready, a deadline passes, or another thread wakes the
// waiter (poll(2), timerfd_create(2)). Folder: os/linux. One thread at a time; `wake` from any thread.
#ifndef WG_OS_LINUX_WAITER_HPP
#define WG_OS_LINUX_WAITER_HPP

#include "../../policy.hpp"
#include "clock.hpp"
#include "fd.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `waiter`. It does not own the descriptors that it watches.
class waiter {
public:
    static constexpr std::size_t max_others = 32; ///< other descriptors, one for each bit of `readiness::others`

    /// Watches these descriptors; -1: none.
    explicit waiter(int tun_fd = -1, int udp_fd = -1) noexcept
        : wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
          timer_(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)) {
        for (pollfd& p : polled_) p = {-1, POLLIN, 0};
        polled_[wake_slot].fd = wake_.get();
        polled_[timer_slot].fd = timer_.get();
        watch_tun(tun_fd);
        watch_udp(udp_fd);
    }

    /// Watches the descriptors `fd()` of a TUN device and a socket.
    template <class Tun, class Socket>
    waiter(Tun const& device, Socket const& socket) noexcept
        requires requires {
            device.fd();
            socket.fd();
        }
        : waiter(device.fd(), socket.fd()) {}

    /// Whether the kernel had descriptors for the waiter. Without them it cannot be woken and has no deadlines.
    explicit operator bool() const noexcept { return wake_ && timer_; }

    /// Reports this descriptor as `readiness::tun` from now on; -1: none.
    void watch_tun(int fd) noexcept { polled_[tun_slot].fd = fd; }
    /// Reports this descriptor as `readiness::udp` from now on; -1: none.
    void watch_udp(int fd) noexcept { polled_[udp_slot].fd = fd; }
    /// Reports `fd` as bit `number` (0 to 31) of `readiness::others` from now on; -1: none.
    void watch_other(std::size_t number, int fd) noexcept {
        WG_ASSERT(number < max_others);
        polled_[first_other + number].fd = fd;
        if (fd >= 0 && number >= others_) others_ = number + 1;
    }
    /// Reports `source.fd()` as bit `number` (0 to 31) of `readiness::others` from now on.
    template <class Source>
    void watch_other(std::size_t number, Source const& source) noexcept
        requires requires { source.fd(); }
    {
        watch_other(number, source.fd());
    }

    /// Waits until a descriptor is ready, the deadline passes or `wake` is called. Also returns, with nothing ready,
    /// after a signal. An error or hang-up of a descriptor counts as ready, because a read reports it. With a deadline
    /// in the past it only polls. For the time of `busy_poll` it polls repeatedly before it sleeps, and lets other
    /// threads run in between.
    readiness wait(instant deadline, duration busy_poll = {}) noexcept {
        instant const sleep_at = busy_poll != duration{} ? clock_.now() + busy_poll : instant{};
        for (;;) {
            instant const at = clock_.now();
            bool const expired = deadline <= at, looks = at < sleep_at && !expired;
            if (!expired && !looks) arm(deadline);
            int const timeout = expired || looks || !timer_ ? 0 : -1;
            int const count = ::poll(polled_, converted<nfds_t>(first_other + others_), timeout);
            if (count == 0 && looks) {
                (void)::sched_yield();
                continue;
            }
            if (count <= 0) return {};
            std::uint64_t sink;
            bool const woken = is_ready(wake_slot) && ::read(wake_.get(), &sink, sizeof sink) > 0;
            if (is_ready(timer_slot) && ::read(timer_.get(), &sink, sizeof sink) > 0) armed_ = instant::never();
            readiness const ready = what_is_ready();
            // A timer that was armed for an earlier deadline has expired: it is armed again.
            if (expired || woken || ready.tun || ready.udp || ready.others != 0 || deadline <= clock_.now())
                return ready;
        }
    }

    /// Makes the present or the next `wait` return.
    void wake() noexcept {
        std::uint64_t const one = 1;
        // The write fails only if the counter is full, and then the waiter wakes anyway.
        [[maybe_unused]] ssize_t const written = ::write(wake_.get(), &one, sizeof one);
    }

private:
    enum : std::size_t { wake_slot, timer_slot, tun_slot, udp_slot, first_other };

    bool is_ready(std::size_t slot) const noexcept { return polled_[slot].fd >= 0 && polled_[slot].revents != 0; }

    readiness what_is_ready() const noexcept {
        readiness ready{is_ready(tun_slot), is_ready(udp_slot), 0};
        for (std::size_t i = 0; i < others_; ++i)
            if (is_ready(first_other + i)) ready.others |= std::uint32_t{1} << i;
        return ready;
    }

    /// Arms the timer. A timer that expires earlier stays, which saves a system call: most new deadlines are later
    /// ones. This is a timer of CLOCK_BOOTTIME instead of poll's timeout, which stands still while the host is
    /// suspended.
    void arm(instant deadline) noexcept {
        if (deadline >= armed_) return;
        itimerspec due{};
        due.it_value.tv_sec = converted<time_t>(deadline.nanoseconds / 1'000'000'000);
        due.it_value.tv_nsec = converted<long>(deadline.nanoseconds % 1'000'000'000);
        if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &due, nullptr) == 0) armed_ = deadline;
    }

    unique_fd wake_;
    unique_fd timer_;
    pollfd polled_[first_other + max_others];
    std::size_t others_ = 0;           ///< the highest number of `watch_other` so far, plus one
    instant armed_ = instant::never(); ///< when the timer expires
    clock clock_{};
};

static_assert(wg::waiter<waiter>);

}}} // namespace wg::WG_ABI::os

#endif
