// SPDX-License-Identifier: BSL-1.0
// Waits for a TUN device, a socket, sources of the host's own, a deadline that counts suspend, or a call from another
// thread. Layer 7 (Linux); one thread at a time, but wake() from any.
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

/// Models `waiter`. The descriptors remain their owners'.
class waiter {
public:
    static constexpr std::size_t max_others = 32; ///< a bit each in `readiness::others`

    /// -1: there is none (yet).
    explicit waiter(int tun_fd = -1, int udp_fd = -1) noexcept
        : wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
          timer_(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)) {
        for (pollfd& p : polled_) p = {-1, POLLIN, 0};
        polled_[wake_slot].fd = wake_.get();
        polled_[timer_slot].fd = timer_.get();
        watch_tun(tun_fd);
        watch_udp(udp_fd);
    }

    /// False if the kernel had no descriptors to give: such a waiter cannot be woken and knows no deadline.
    explicit operator bool() const noexcept { return wake_ && timer_; }

    void watch_tun(int fd) noexcept { polled_[tun_slot].fd = fd; }
    void watch_udp(int fd) noexcept { polled_[udp_slot].fd = fd; }
    /// Reports `fd` as bit `number` (0-31) of `readiness::others`; -1 ends that.
    void watch_other(std::size_t number, int fd) noexcept {
        WG_ASSERT(number < max_others);
        polled_[first_other + number].fd = fd;
        if (fd >= 0 && number >= others_) others_ = number + 1;
    }

    /// Also returns, with nothing ready, after a signal. An error or hang-up of a descriptor counts as ready: whoever
    /// reads it learns of it. A deadline in the past only looks. For `busy_poll` it looks again and again before it
    /// sleeps, and lets others run in between.
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
            // A timer that was armed for an earlier deadline only shows that it is time to arm it anew.
            if (expired || woken || ready.tun || ready.udp || ready.others != 0 || deadline <= clock_.now())
                return ready;
        }
    }

    void wake() noexcept {
        std::uint64_t const one = 1;
        // It fails only when the counter is full, and then the waiter wakes anyway.
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

    /// A timer that is due earlier stays: deadlines mostly move away, and that then costs no system call. A timer of
    /// this clock, not poll's timeout, because that one stands still while the host is suspended.
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
    std::size_t others_ = 0; ///< slots in use, counted from the first
    instant armed_ = instant::never();
    clock clock_{};
};

static_assert(wg::waiter<waiter>);

}}} // namespace wg::WG_ABI::os

#endif
