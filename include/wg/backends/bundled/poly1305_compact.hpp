// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) for machines with a few kilobytes of memory: loops in place of unrolled code.
// Folder: backends/bundled; an object is used by one thread at a time.
#ifndef WG_BACKENDS_BUNDLED_POLY1305_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_POLY1305_COMPACT_HPP

#include "poly1305_words.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The same as poly1305_state, in small code. The multiplier is stored as 0, s_1, s_2, s_3, r_0, r_1, r_2, r_3; see
/// poly1305.hpp for s_i.
struct poly1305_compact_state : poly1305_words<8> {
    /// Sets r to 16 bytes, clamped, and h to zero.
    void start(byte const* from) noexcept {
        for (auto& word : h) word = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint32_t const word = load_le32(from + 4 * i) & 0x0ffffffc;
            r[i] = word + (word >> 2);
            r[4 + i] = word;
        }
        r[0] = 0;
        r[4] = load_le32(from) & 0x0fffffff;
    }

    /// h = (h + block + top * 2^128) * r for each block of 16 bytes. `top` is 1, or 0 for a last block that contains
    /// its own end bit. A loop over columns is less code than the columns of poly1305.hpp: column i multiplies h[j] by
    /// r[4 + i - j].
    [[gnu::noinline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            std::uint64_t t = 0;
            for (std::size_t i = 0; i < 4; ++i) {
                t += std::uint64_t{h[i]} + load_le32(from + 4 * i);
                h[i] = static_cast<std::uint32_t>(t);
                t >>= 32;
            }
            h[4] += static_cast<std::uint32_t>(t) + top; // <= 4 + 1 + 1
            std::uint32_t d[4];
            t = 0;
#pragma GCC unroll 1
            for (std::size_t i = 0; i < 4; ++i) {
                asm volatile("" : : : "memory"); // keeps h in memory: there are too few registers for copies
                t = (t >> 32) + std::uint64_t{h[0]} * r[4 + i];
                t += std::uint64_t{h[1]} * r[3 + i];
                t += std::uint64_t{h[2]} * r[2 + i];
                t += std::uint64_t{h[3]} * r[1 + i];
                t += std::uint64_t{h[4]} * r[i];
                d[i] = static_cast<std::uint32_t>(t);
            }
            std::uint32_t const d4 = h[4] * r[4] + static_cast<std::uint32_t>(t >> 32);
            t = (d4 >> 2) * std::uint64_t{5};
            for (std::size_t i = 0; i < 4; ++i) {
                t += d[i];
                h[i] = static_cast<std::uint32_t>(t);
                t >>= 32;
            }
            h[4] = static_cast<std::uint32_t>(t) + (d4 & 3); // <= 4
        }
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif
