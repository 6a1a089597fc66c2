// SPDX-License-Identifier: BSL-1.0
// The order in which several lanes complete the datagrams that they received. Folder: engine; any thread.
#ifndef WG_ENGINE_RECEPTION_ORDER_HPP
#define WG_ENGINE_RECEPTION_ORDER_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// Keeps received packets in order across lanes: lanes receive one after the other, decrypt at the same time, and
/// complete and deliver in the order in which they received. This primary template is for `threads` policies without
/// `cell`: there is only one lane, and every function does nothing.
template <class Threads> class reception_order {
public:
    /// Begins a receive call.
    void begin_receive() noexcept {}
    /// Ends a receive call that found nothing.
    void cancel_receive() noexcept {}
    /// Ends a receive call that found datagrams. Returns: their place in the order.
    std::uint32_t end_receive() noexcept { return 0; }
    /// Waits until every earlier place is finished.
    void wait_for_turn(std::uint32_t) noexcept {}
    /// Marks a place as finished.
    void finish(std::uint32_t) noexcept {}
};

/// The same for several lanes.
template <threads_with_cell Threads> class reception_order<Threads> {
public:
    /// Begins a receive call. The lane has the socket alone until `cancel_receive` or `end_receive`.
    void begin_receive() noexcept { receiving_.lock(); }
    /// Ends a receive call that found nothing.
    void cancel_receive() noexcept { receiving_.unlock(); }
    /// Ends a receive call that found datagrams. Returns: their place in the order.
    std::uint32_t end_receive() noexcept {
        std::uint32_t const place = next_++;
        receiving_.unlock();
        return place;
    }
    /// Waits until every earlier place is finished. A lane never waits for a later place, so lanes cannot deadlock.
    void wait_for_turn(std::uint32_t place) noexcept {
        for (std::uint32_t at = current_.load(); at != place; at = current_.load()) current_.wait(at);
    }
    /// Marks `place` as finished. The caller has waited for its turn.
    void finish(std::uint32_t place) noexcept { current_.store(place + 1); }

private:
    typename Threads::mutex receiving_;
    std::uint32_t next_ = 0;         ///< the next place to give out; guarded by `receiving_`
    typename Threads::cell current_; ///< the first place that is not finished
};

}} // namespace wg::WG_ABI

#endif
