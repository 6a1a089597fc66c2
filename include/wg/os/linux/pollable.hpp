// SPDX-License-Identifier: BSL-1.0
// One descriptor for the event loop of a program: it polls readable while an engine has work (epoll(7),
// timerfd_create(2), eventfd(2)). Folder: os/linux. One thread at a time; `wake` from any thread.
//
//     wg::os::pollable work{tun, udp};
//     // in the event loop, when work.fd() is readable:
//     wg::status const status = work.step(engine);
#ifndef WG_OS_LINUX_POLLABLE_HPP
#define WG_OS_LINUX_POLLABLE_HPP

#include "../../policy.hpp"
#include "fd.hpp"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The system calls of a `pollable`.
struct pollable_calls {
    /// epoll_create1(2)
    static int create_epoll() noexcept { return ::epoll_create1(EPOLL_CLOEXEC); }
    /// eventfd(2)
    static int create_event() noexcept { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }
    /// timerfd_create(2) with CLOCK_BOOTTIME, the clock of `os::clock`; Linux 3.15
    static int create_timer() noexcept { return ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC); }
    /// timerfd_settime(2) with TFD_TIMER_ABSTIME
    static int set_timer(int fd, itimerspec const& due) noexcept {
        return ::timerfd_settime(fd, TFD_TIMER_ABSTIME, &due, nullptr);
    }
    /// epoll_wait(2); never blocks
    static int look(int epoll, epoll_event* events, int most) noexcept { return ::epoll_wait(epoll, events, most, 0); }
};

/// Stands in for a `waiter` where the program has an event loop of its own. It does not own the descriptors that it
/// watches, and the engine's clock is `os::clock`. A test replaces `Calls`.
template <class Calls = pollable_calls> class basic_pollable {
public:
    static constexpr std::size_t max_others = 32; ///< other descriptors, one for each bit of `readiness::others`

    /// Watches these descriptors; -1: none. The first `step` is due at once.
    explicit basic_pollable(int tun_fd = -1, int udp_fd = -1) noexcept
        : epoll_(Calls::create_epoll()), wake_(Calls::create_event()), timer_(Calls::create_timer()) {
        for (int& fd : watched_) fd = -1;
        is_complete_ = replace(wake_slot, wake_.get()) && replace(timer_slot, timer_.get()) && watch_tun(tun_fd) &&
                       watch_udp(udp_fd) && arm({});
    }

    /// Watches the descriptors `fd()` of a TUN device and a socket.
    template <class Tun, class Socket>
    basic_pollable(Tun const& device, Socket const& socket) noexcept
        requires requires {
            device.fd();
            socket.fd();
        }
        : basic_pollable(device.fd(), socket.fd()) {}

    basic_pollable(basic_pollable const&) = delete;
    basic_pollable& operator=(basic_pollable const&) = delete;

    /// Whether the kernel had descriptors for the object, and watches those of the constructor. If not, `fd` must not
    /// be used.
    explicit operator bool() const noexcept { return wake_ && timer_ && is_complete_; }

    /// Polls readable while `step` has work. It stays the same for the object's life. The program reads nothing from
    /// it.
    int fd() const noexcept { return epoll_.get(); }

    /// Reports this descriptor as `readiness::tun` from now on; -1: none. Called before a watched descriptor is closed.
    /// Returns: false if the kernel refuses: the descriptor cannot be polled, or is watched already.
    bool watch_tun(int fd) noexcept { return replace(tun_slot, fd); }
    /// Reports this descriptor as `readiness::udp` from now on. As `watch_tun`.
    bool watch_udp(int fd) noexcept { return replace(udp_slot, fd); }
    /// Reports `fd` as bit `number` (0 to 31) of `others` from now on. As `watch_tun`.
    bool watch_other(std::size_t number, int fd) noexcept {
        WG_ASSERT(number < max_others);
        return replace(first_other + number, fd);
    }

    /// Finds out what is ready, runs the engine for one step, and prepares the descriptor for the engine's next
    /// deadline. Never blocks, and moves about one batch each way; if work is left, `fd` stays readable. A call without
    /// work costs two system calls. `others`: bits of the ready descriptors of `watch_other`.
    /// Returns: what `engine::run_once` returned; then the program stops watching `fd` unless it is ok.
    template <class Engine> status step(Engine& engine, std::uint32_t& others) noexcept {
        readiness const ready = look();
        others = ready.others;
        status const result = engine.run_once(ready);
        (void)arm(engine.next_deadline());
        return result;
    }
    /// The same without other descriptors.
    template <class Engine> status step(Engine& engine) noexcept {
        std::uint32_t others = 0;
        return step(engine, others);
    }

    /// Makes `fd` readable until the next `step`. Called after a change of the engine's configuration, because the
    /// engine may have an earlier deadline then.
    void wake() noexcept {
        std::uint64_t const one = 1;
        // The write fails only if the counter is full, and then `fd` is readable anyway.
        [[maybe_unused]] ssize_t const written = ::write(wake_.get(), &one, sizeof one);
    }

private:
    enum : std::size_t { wake_slot, timer_slot, tun_slot, udp_slot, first_other };
    static constexpr std::size_t slot_count = first_other + max_others;

    bool replace(std::size_t slot, int fd) noexcept {
        int& watched = watched_[slot];
        if (watched >= 0) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watched, nullptr);
        watched = -1;
        if (fd < 0) return slot != wake_slot && slot != timer_slot;
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = slot;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return false;
        watched = fd;
        return true;
    }

    readiness look() noexcept {
        epoll_event events[slot_count];
        int const count = without_interruption([&] { return Calls::look(epoll_.get(), events, int{slot_count}); });
        readiness ready;
        std::uint64_t sink;
        for (int i = 0; i < count; ++i) {
            std::uint64_t const slot = events[i].data.u64;
            if (slot == tun_slot) ready.tun = true;
            else if (slot == udp_slot) ready.udp = true;
            else if (slot >= first_other) ready.others |= std::uint32_t{1} << (slot - first_other);
            else if (slot == wake_slot) (void)!::read(wake_.get(), &sink, sizeof sink);
            else if (::read(timer_.get(), &sink, sizeof sink) > 0) armed_ = instant::never();
        }
        return ready;
    }

    /// Arms the timer. A timer that expires earlier stays, which saves a system call: most new deadlines are later
    /// ones. Its `step` finds no work, and arms it again.
    bool arm(instant deadline) noexcept {
        if (deadline >= armed_) return true;
        std::int64_t const at = deadline.nanoseconds > 1 ? deadline.nanoseconds : 1; // zero disarms a timer
        itimerspec due{};
        due.it_value.tv_sec = converted<time_t>(at / 1'000'000'000);
        due.it_value.tv_nsec = converted<long>(at % 1'000'000'000);
        if (Calls::set_timer(timer_.get(), due) != 0) return false;
        armed_ = deadline;
        return true;
    }

    unique_fd epoll_;
    unique_fd wake_;
    unique_fd timer_;
    int watched_[slot_count];
    bool is_complete_ = false;
    instant armed_ = instant::never(); ///< when the timer expires
};

/// One descriptor for the event loop of a program on Linux.
using pollable = basic_pollable<>;

}}} // namespace wg::WG_ABI::os

#endif
