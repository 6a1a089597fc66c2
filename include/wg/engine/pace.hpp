// SPDX-License-Identifier: BSL-1.0
// Whether packets follow each other so fast that polling for the next one beats sleeping. Folder: engine; one thread at
// a time.
#ifndef WG_ENGINE_PACE_HPP
#define WG_ENGINE_PACE_HPP

#include "../base/time.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// Measures the pace of packets, and says how long a waiter should poll before it sleeps.
class pace {
public:
    /// How long to poll: 2 ms, or zero. Polling pays for requests and responses, which are a few packets that soon
    /// follow each other: there an idle processor takes longer to wake up than the next packet takes to arrive.
    duration busy_poll() const noexcept { return is_quick() && wasted_polls_left_ != 0 ? poll_time : duration{}; }

    /// A step at `now` moved `packets` from or to the host. A step without packets changes nothing.
    void note(std::size_t packets, instant now) noexcept {
        if (packets == 0) return;
        bool const prompt = now < std::exchange(passed_at_, now) + poll_time;
        // Counts the poll that `busy_poll` allowed, or would have allowed: it found this packet in time, or was wasted.
        if (is_quick()) {
            if (!prompt) wasted_polls_left_ -= wasted_polls_left_ != 0;
            else if (++useful_polls_ % useful_polls_per_wasted_poll == 0)
                wasted_polls_left_ = (std::min)(wasted_polls_left_ + 1, max_wasted_polls);
        }
        quick_steps_ = prompt && packets <= max_packets ? (std::min)(quick_steps_ + 1, enough_quick_steps) : 0;
    }

private:
    static constexpr duration poll_time = milliseconds(2);
    static constexpr std::size_t max_packets = 8; ///< more packets in a step are a bulk transfer
    static constexpr unsigned enough_quick_steps = 16;
    static constexpr unsigned max_wasted_polls = 4, useful_polls_per_wasted_poll = 256;

    bool is_quick() const noexcept { return quick_steps_ == enough_quick_steps; }

    instant passed_at_{};      ///< the last step that moved packets
    unsigned quick_steps_ = 0; ///< steps in a row with few packets, each soon after the step before
    unsigned useful_polls_ = 0;
    /// Polls that may still be wasted, so that each short burst does not waste a poll.
    unsigned wasted_polls_left_ = max_wasted_polls;
};

}} // namespace wg::WG_ABI

#endif
