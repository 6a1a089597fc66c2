// SPDX-License-Identifier: BSL-1.0
// The parts of Poly1305 (RFC 8439, section 2.5) that its forms in words of 32 bits share.
// Folder: backends/bundled; an object is used by one thread at a time.
#ifndef WG_BACKENDS_BUNDLED_POLY1305_WORDS_HPP
#define WG_BACKENDS_BUNDLED_POLY1305_WORDS_HPP

#include "limbs.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

inline constexpr std::size_t poly1305_block_bytes = 16; ///< of a message (RFC 8439, section 2.5)

/// The memory of Poly1305 in words of 32 bits, and its last step. `MultiplierWords`: how many words hold the
/// multiplier. The object does not wipe itself.
template <std::size_t MultiplierWords> struct poly1305_words {
    std::uint32_t r[MultiplierWords]; ///< the multiplier, clamped
    std::uint32_t h[5];               ///< the accumulator, < 2^130 + 2^128 between calls: the last word is at most 4

    /// tag = (h mod p) + s mod 2^128. `tag` and `s` have 16 bytes.
    void finish(byte* tag, byte const* s) noexcept {
        // h < 2p, so h mod p is h or h - p. It is h - p = h + 5 - 2^130 if h + 5 >= 2^130.
        std::uint64_t t = 5;
        for (std::size_t i = 0; i < 4; ++i) t = (t + h[i]) >> 32;
        t = mask_of((h[4] + static_cast<std::uint32_t>(t)) >> 2) & 5; // the sum is <= 5 before its shift
        for (std::size_t i = 0; i < 4; ++i) {
            t += std::uint64_t{h[i]} + load_le32(s + 4 * i); // < 2^33 + 5
            store_le32(tag + 4 * i, static_cast<std::uint32_t>(t));
            t >>= 32;
        }
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif
