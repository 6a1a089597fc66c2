// SPDX-License-Identifier: BSL-1.0
// Waits until the event of a TUN device, of a socket or of another source is set, a deadline passes, or another thread
// wakes the waiter (WaitForMultipleObjects). Folder: os/windows. One thread at a time; `wake` from any thread.
#ifndef WG_OS_WINDOWS_WAITER_HPP
#define WG_OS_WINDOWS_WAITER_HPP

#include "../../policy.hpp"
#include "clock.hpp"
#include "handle.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_waiter`.
struct waiter_calls : handle_calls {
    using clock = windows::clock; ///< of the deadlines

    /// CreateEventW: an event that a wait resets. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 0, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// WaitForMultipleObjects for one of `count` objects, 64 at most.
    static std::uint32_t wait(void* const* objects, std::uint32_t count, std::uint32_t milliseconds) noexcept {
        return api_detail::wait_for_many(count, objects, 0, milliseconds);
    }
    /// SwitchToThread
    static void give_way() noexcept { api_detail::switch_to_thread(); }
};

/// Models `waiter`. It does not own the events that it watches. A test replaces `Calls`.
template <class Calls = waiter_calls> class basic_waiter {
public:
    static constexpr std::size_t max_others = 32; ///< other events, one for each bit of `readiness::others`
    /// The longest sleep without a look at the clock. The timeouts of Windows stand still while the host sleeps, so a
    /// deadline that passed in that time is noticed this late at most.
    static constexpr duration max_sleep = seconds(5);

    /// Watches these events; null: none.
    explicit basic_waiter(void* tun_event = nullptr, void* udp_event = nullptr) noexcept
        : wake_(Calls::create_event()) {
        watched_[wake_slot] = wake_.get();
        watch_tun(tun_event);
        watch_udp(udp_event);
    }

    /// Watches the events `event()` of a TUN device and a socket.
    template <class Tun, class Socket>
    basic_waiter(Tun const& device, Socket const& socket) noexcept
        requires requires {
            device.event();
            socket.event();
        }
        : basic_waiter(device.event(), socket.event()) {}

    /// Whether Windows had an event for `wake`. Without it the waiter cannot be woken.
    explicit operator bool() const noexcept { return static_cast<bool>(wake_); }

    /// Reports this event as `readiness::tun` from now on; null: none.
    void watch_tun(void* event) noexcept { watched_[tun_slot] = event; }
    /// Reports this event as `readiness::udp` from now on; null: none.
    void watch_udp(void* event) noexcept { watched_[udp_slot] = event; }
    /// Reports `event` as bit `number` (0 to 31) of `readiness::others` from now on; null: none.
    void watch_other(std::size_t number, void* event) noexcept {
        WG_ASSERT(number < max_others);
        watched_[first_other + number] = event;
    }
    /// Reports `source.event()` as bit `number` (0 to 31) of `readiness::others` from now on.
    template <class Source>
    void watch_other(std::size_t number, Source const& source) noexcept
        requires requires { source.event(); }
    {
        watch_other(number, source.event());
    }

    /// Waits until an event is set, the deadline passes or `wake` is called. Resets the events that a wait resets, so
    /// the caller reads each source that is reported until it is empty, or sets its event again. With a deadline in the
    /// past it only looks at the events. For the time of `busy_poll` it looks repeatedly before it sleeps, and lets
    /// other threads run in between. A handle that was closed counts as a set event, because a read reports it.
    readiness wait(instant deadline, duration busy_poll = {}) noexcept {
        instant const sleep_at = busy_poll != duration{} ? clock_.now() + busy_poll : instant{};
        collect();
        for (;;) {
            instant const at = clock_.now();
            bool const expired = deadline <= at, looks = at < sleep_at && !expired;
            std::uint32_t const answer = Calls::wait(objects_, count_, expired || looks ? 0 : timeout(deadline - at));
            if (answer < count_) return what_is_ready(answer);
            if (answer != api_detail::wait_timeout) return find_closed();
            if (expired) return {};
            if (looks) Calls::give_way();
        }
    }

    /// Makes the present or the next `wait` return.
    void wake() noexcept {
        if (wake_) Calls::set_event(wake_.get());
    }

private:
    enum : std::size_t { wake_slot, tun_slot, udp_slot, first_other, slots = first_other + max_others };
    static_assert(slots <= api_detail::max_wait_objects);

    /// The milliseconds to sleep, rounded up so that the deadline has passed afterwards.
    static std::uint32_t timeout(duration left) noexcept {
        duration const sleep = left < max_sleep ? left : max_sleep;
        return static_cast<std::uint32_t>((sleep.nanoseconds + 999'999) / 1'000'000);
    }

    /// Puts the events into a row without gaps, as Windows wants them.
    void collect() noexcept {
        count_ = 0;
        for (std::size_t slot = 0; slot < slots; ++slot) {
            if (watched_[slot] == nullptr) continue;
            objects_[count_] = watched_[slot];
            slots_of_[count_++] = static_cast<byte>(slot);
        }
    }

    /// `first` is the lowest set event: Windows reports one, and each of the others is looked at.
    readiness what_is_ready(std::uint32_t first) const noexcept {
        readiness ready{};
        report(slots_of_[first], ready);
        for (std::uint32_t i = first + 1; i < count_; ++i)
            if (Calls::wait(&objects_[i], 1, 0) != api_detail::wait_timeout) report(slots_of_[i], ready);
        return ready;
    }

    /// Windows refuses all objects if one of them was closed.
    readiness find_closed() const noexcept {
        readiness ready{};
        for (std::uint32_t i = 0; i < count_; ++i)
            if (Calls::wait(&objects_[i], 1, 0) != api_detail::wait_timeout) report(slots_of_[i], ready);
        return ready;
    }

    static void report(std::size_t slot, readiness& ready) noexcept {
        if (slot == tun_slot) ready.tun = true;
        else if (slot == udp_slot) ready.udp = true;
        else if (slot >= first_other) ready.others |= std::uint32_t{1} << (slot - first_other);
    }

    basic_handle<Calls> wake_;
    void* watched_[slots] = {};
    void* objects_[slots] = {}; ///< the events of the present wait
    byte slots_of_[slots] = {}; ///< where each of them stands in `watched_`
    std::uint32_t count_ = 0;   ///< of `objects_`
    typename Calls::clock clock_{};
};

/// The waiter of a Windows host.
using waiter = basic_waiter<>;
static_assert(wg::waiter<waiter>);
static_assert(waiter_with_busy_poll<waiter>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
