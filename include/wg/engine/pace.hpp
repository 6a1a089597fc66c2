// SPDX-License-Identifier: BSL-1.0
// Whether packets come at such a pace that it pays to look out for the next one instead of sleeping. Layer 6; one
// thread at a time.
#ifndef WG_ENGINE_PACE_HPP
#define WG_ENGINE_PACE_HPP

#include "../base/time.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace wg { inline namespace WG_ABI {

class pace {
public:
    /// For how long to look. Zero, unless packets come a few at a time and soon one after the other, as questions and
    /// answers do: then a processor that rests is slower to wake than they are to come.
    duration busy_poll() const noexcept { return is_quick() && vain_looks_left_ != 0 ? soon : duration{}; }

    /// In a step `packets` came from the host or went to it (none: it says nothing).
    void note(std::size_t packets, instant now) noexcept {
        if (packets == 0) return;
        bool const prompt = now < std::exchange(passed_at_, now) + soon;
        if (is_quick()) { // whether it looked or not: a look would have found this, or nothing
            if (!prompt) vain_looks_left_ -= vain_looks_left_ != 0;
            else if (++useful_looks_ % useful_looks_for_a_vain_one == 0)
                vain_looks_left_ = (std::min)(vain_looks_left_ + 1, most_vain_looks);
        }
        quick_steps_ = prompt && packets <= few_packets ? (std::min)(quick_steps_ + 1, many_quick_steps) : 0;
    }

private:
    static constexpr duration soon = milliseconds(2);
    static constexpr std::size_t few_packets = 8; ///< more in a step are a bulk transfer, which nobody waits for
    static constexpr unsigned many_quick_steps = 16;
    static constexpr unsigned most_vain_looks = 4, useful_looks_for_a_vain_one = 256;

    bool is_quick() const noexcept { return quick_steps_ == many_quick_steps; }

    instant passed_at_{};      ///< when the last step was in which any did
    unsigned quick_steps_ = 0; ///< with few packets soon after the step before, in a row
    unsigned useful_looks_ = 0;
    unsigned vain_looks_left_ = most_vain_looks; ///< so that short bursts of packets do not end with one each
};

}} // namespace wg::WG_ABI

#endif
