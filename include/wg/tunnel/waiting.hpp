// SPDX-License-Identifier: BSL-1.0
// Blocking calls: how long they wait, and how another thread ends them. Folder: tunnel.
#ifndef WG_TUNNEL_WAITING_HPP
#define WG_TUNNEL_WAITING_HPP

#include "ip_stack.hpp"

#include <chrono>
#include <condition_variable>

namespace wg { inline namespace WG_ABI {

/// A timeout that never ends.
inline constexpr duration forever{INT64_MAX};

/// Ends blocking calls of other threads. A call that gets a canceller returns `cancelled` once it is triggered. Any
/// thread; outlives the calls.
template <ip_stack Stack> class basic_canceller {
public:
    basic_canceller() noexcept = default;
    basic_canceller(basic_canceller const&) = delete;
    basic_canceller& operator=(basic_canceller const&) = delete;

    /// Ends the present and all future calls that have this canceller.
    void cancel() noexcept {
        std::lock_guard const held(Stack::mutex());
        cancelled_ = true;
        for (link* l = first_; l != nullptr; l = l->next) l->wakes->notify_all();
    }

    /// One call that waits. The thread holds the stack's lock.
    class link {
    public:
        /// A call that waits on `wakes_on`, and that `of` ends; nullptr: nothing does.
        link(basic_canceller* of, std::condition_variable& wakes_on) noexcept : wakes(&wakes_on), of_(of) {
            if (of_ == nullptr) return;
            next = of_->first_;
            of_->first_ = this;
        }
        link(link const&) = delete;
        link& operator=(link const&) = delete;
        ~link() {
            if (of_ == nullptr) return;
            link** at = &of_->first_;
            while (*at != this) at = &(*at)->next;
            *at = next;
        }
        /// Whether the call must end.
        bool is_cancelled() const noexcept { return of_ != nullptr && of_->cancelled_; }

        std::condition_variable* wakes; ///< what the call waits for
        link* next = nullptr;           ///< another call

    private:
        basic_canceller* of_;
    };

private:
    bool cancelled_ = false;
    link* first_ = nullptr;
};

/// Waits until `ready()` or the timeout. The lock is held when `ready` is called and at the return.
/// Returns: ok; timed_out; would_block, if the timeout is zero; cancelled.
template <class Stack, class Ready>
status wait_until_ready(std::unique_lock<std::mutex>& held, std::condition_variable& changed, duration timeout,
                        basic_canceller<Stack>* canceller, Ready ready) noexcept {
    if (ready()) return status::ok;
    if (timeout <= duration{}) return status::would_block;
    typename basic_canceller<Stack>::link const link(canceller, changed);
    using clock = std::chrono::steady_clock;
    auto const start = clock::now();
    auto const most = std::chrono::hours(24 * 365 * 10);
    auto const deadline =
        start + (std::min<std::chrono::nanoseconds>)(std::chrono::nanoseconds(timeout.nanoseconds), most);
    for (;;) {
        if (link.is_cancelled()) return status::cancelled;
        std::cv_status const woken = changed.wait_until(held, deadline);
        if (ready()) return status::ok;
        if (link.is_cancelled()) return status::cancelled;
        if (woken == std::cv_status::timeout) return status::timed_out;
    }
}

}} // namespace wg::WG_ABI

#endif
