// SPDX-License-Identifier: BSL-1.0
// The sliding window over received counters (whitepaper 5.4.6; RFC 6479). Folder: protocol. One thread at a time.
#ifndef WG_PROTOCOL_REPLAY_HPP
#define WG_PROTOCOL_REPLAY_HPP

#include "../base/bytes.hpp"
#include "../base/limits.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// Remembers which of the last counters were seen. `Bits` is a power of two, at least 32. A window of more than 64 bits
/// is a ring of words. The oldest word is being refilled, so the window reaches one word less far back: 8128 counters
/// for 8192 bits, or 8160 with words of 32 bits (WG_COMPACT).
template <std::size_t Bits> class replay_window {
    static_assert(Bits >= 32 && (Bits & (Bits - 1)) == 0);
    static constexpr std::size_t word_bits = Bits >= 64 && !compact ? 64 : 32;
    static constexpr std::size_t words = Bits / word_bits;
    using word = std::conditional_t<word_bits == 64, std::uint64_t, std::uint32_t>;

public:
    /// How far behind the greatest counter a new one may lie.
    static constexpr std::size_t reach = words == 1 ? Bits - 1 : Bits - word_bits;

    /// Marks `counter` as seen. Call it only after the packet's tag was verified.
    /// Returns: false if the counter is at the limit, too old, or seen before.
    //= wp 5.4.6: sliding window: packets may come in any order within it, each once
    [[nodiscard]] bool accept(std::uint64_t counter) noexcept {
        if (counter >= reject_after_messages) return false;
        std::uint64_t const position = counter + 1; // greatest_ == 0: nothing seen
        //= wp 5.4.6: a counter further back than the window is refused, seen or not
        if (position > greatest_) advance(position);
        else if (greatest_ - position > reach) return false;
        std::uint64_t const bit = words == 1 ? greatest_ - position : position % word_bits;
        word const mask = converted<word>(word{1} << bit);
        word& seen = words_[(position / word_bits) % words];
        if ((seen & mask) != 0) return false;
        seen |= mask;
        return true;
    }

    /// Whether `accept` would refuse `counter`. Changes nothing, so it may be called before the tag is verified: a
    /// replayed packet then costs no decryption.
    [[nodiscard]] bool refuses(std::uint64_t counter) const noexcept {
        std::uint64_t const position = counter + 1;
        if (counter >= reject_after_messages) return true;
        if (position > greatest_) return false;
        if (greatest_ - position > reach) return true;
        std::uint64_t const bit = words == 1 ? greatest_ - position : position % word_bits;
        return (words_[(position / word_bits) % words] >> bit & 1) != 0;
    }

private:
    void advance(std::uint64_t position) noexcept {
        if constexpr (words == 1) {
            std::uint64_t const by = position - greatest_;
            words_[0] = by >= word_bits ? word{0} : static_cast<word>(words_[0] << by);
        } else {
            std::uint64_t const from = greatest_ / word_bits;
            auto const steps = static_cast<std::size_t>(std::min<std::uint64_t>(position / word_bits - from, words));
            for (std::size_t i = 1; i <= steps; ++i) words_[(static_cast<std::size_t>(from) + i) % words] = 0;
        }
        greatest_ = position;
    }

    std::uint64_t greatest_ = 0;
    std::array<word, words> words_{};
};

}} // namespace wg::WG_ABI

#endif
