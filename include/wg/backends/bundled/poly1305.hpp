// SPDX-License-Identifier: BSL-1.0
// The one-time authenticator Poly1305 (RFC 8439, section 2.5).
// Folder: backends/bundled; an object is used by one thread at a time.
//
// Small machines use poly1305_compact.hpp instead.
//
// Limbs are full words of 32 or 64 bits, although the modulus p = 2^130 - 5 does not end at a word. This makes the
// fewest limbs, and costs nothing: clamping clears the two lowest bits of every word r_i except r_0, so r_i / 4 is
// exact. A product with r_i at 2^128 is 2^128 * r_i = 2^130 * (r_i / 4), which is 5 * (r_i / 4) modulo p. These are the
// s_i below: s_i = r_i + r_i / 4.
#ifndef WG_BACKENDS_BUNDLED_POLY1305_HPP
#define WG_BACKENDS_BUNDLED_POLY1305_HPP

#include "../../base/limits.hpp"
#include "limbs.hpp"
#include "poly1305_words.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The accumulator h and the multiplier r. Between calls h < 2^130 + 2^128: its last word is at most 4, the others are
/// full. The object does not wipe itself.
template <class Limbs> struct poly1305_state;

#ifdef __SIZEOF_INT128__

/// In words of 64 bits.
template <> struct poly1305_state<limbs64> {
    std::uint64_t r0, r1;     ///< the multiplier, clamped
    std::uint64_t h0, h1, h2; ///< the accumulator

    /// Sets r to the 16 bytes at `r`, clamped, and h to zero.
    void start(byte const* r) noexcept {
        r0 = load_le64(r) & 0x0ffffffc0fffffff;     // < 2^60
        r1 = load_le64(r + 8) & 0x0ffffffc0ffffffc; // < 2^60, multiple of 4
        h0 = h1 = h2 = 0;
    }

    /// h = (h + block + top * 2^128) * r for each block of 16 bytes. `top` is 1, or 0 for a last block that contains
    /// its own end bit.
    [[gnu::always_inline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        std::uint64_t const a = r0, b = r1, s = b + (b >> 2); // s < 1.25 * 2^60
        std::uint64_t x = h0, y = h1, z = h2;
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            add(x, y, z, load_le64(from), load_le64(from + 8), top); // z <= 4 + 1 + 1

            uint128 const d0 = uint128{x} * a + uint128{y} * s; // < 2^64 * 2.25 * 2^60 < 2^126
            uint128 d1 = uint128{x} * b + uint128{y} * a;       // < 2^125
            d1 += z * s;                                        // < 7.5 * 2^60 < 2^63
            d1 += high(d0);                                     // < 2^126
            std::uint64_t const d2 = z * a + high(d1);          // < 6 * 2^60 + 2^62 < 2^64

            x = low(d0), y = low(d1), z = d2 & 3;
            add(x, y, z, (d2 >> 2) * 5, 0, 0); // < 12.5 * 2^60 < 2^64; z <= 4
        }
        h0 = x, h1 = y, h2 = z;
    }

    /// tag = (h mod p) + s mod 2^128. `tag` and `s` have 16 bytes.
    void finish(byte* tag, byte const* s) noexcept {
        // h < 2p, so h mod p is h or h - p. It is h - p = h + 5 - 2^130 if h + 5 >= 2^130.
        uint128 t = uint128{h0} + 5;
        std::uint64_t const g0 = static_cast<std::uint64_t>(t);
        t = uint128{h1} + static_cast<std::uint64_t>(t >> 64);
        std::uint64_t const g1 = static_cast<std::uint64_t>(t);
        std::uint64_t const g2 = h2 + static_cast<std::uint64_t>(t >> 64); // <= 5
        std::uint64_t const over = mask_of(g2 >> 2);
        t = uint128{h0 ^ ((h0 ^ g0) & over)} + load_le64(s);
        store_le64(tag, static_cast<std::uint64_t>(t));
        store_le64(tag + 8, (h1 ^ ((h1 ^ g1) & over)) + load_le64(s + 8) + static_cast<std::uint64_t>(t >> 64));
    }

private:
    /// (a0, a1, a2) += (b0, b1, b2)
    [[gnu::always_inline]] static void add(std::uint64_t& a0, std::uint64_t& a1, std::uint64_t& a2, std::uint64_t b0,
                                           std::uint64_t b1, std::uint64_t b2) noexcept {
#ifdef __x86_64__
        // Compilers make twice as many instructions of the portable lines below, and each block waits for this sum.
        asm("add %3, %0\n\tadc %4, %1\n\tadc %5, %2"
            : "+&r"(a0), "+&r"(a1), "+&r"(a2)
            : "r"(b0), "re"(b1), "re"(b2)
            : "cc");
#else
        uint128 t = uint128{a0} + b0;
        a0 = low(t);
        t = uint128{a1} + b1 + high(t);
        a1 = low(t);
        a2 += b2 + high(t);
#endif
    }
    static std::uint64_t low(uint128 x) noexcept { return static_cast<std::uint64_t>(x); }
    static std::uint64_t high(uint128 x) noexcept { return static_cast<std::uint64_t>(x >> 64); }
};

#endif

/// In words of 32 bits.
template <> struct poly1305_state<limbs32> : poly1305_words<4> {
    /// Sets r to 16 bytes, clamped, and h to zero.
    void start(byte const* from) noexcept {
        for (std::size_t i = 0; i < 4; ++i) r[i] = load_le32(from + 4 * i) & (i == 0 ? 0x0fffffffu : 0x0ffffffcu);
        for (auto& word : h) word = 0;
    }

    /// h = (h + block + top * 2^128) * r for each block of 16 bytes. `top` is 1, or 0 for a last block that contains
    /// its own end bit.
    [[gnu::always_inline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        std::uint64_t const r0 = r[0], r1 = r[1], r2 = r[2], r3 = r[3];                    // < 2^28
        std::uint64_t const s1 = r1 + (r1 >> 2), s2 = r2 + (r2 >> 2), s3 = r3 + (r3 >> 2); // < 1.25 * 2^28
        std::uint32_t h0 = h[0], h1 = h[1], h2 = h[2], h3 = h[3], h4 = h[4];
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            std::uint64_t t = std::uint64_t{h0} + load_le32(from);
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h1 + load_le32(from + 4);
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h2 + load_le32(from + 8);
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h3 + load_le32(from + 12);
            h3 = static_cast<std::uint32_t>(t);
            h4 += static_cast<std::uint32_t>(t >> 32) + top; // <= 4 + 1 + 1

            // each < 2^32 * 4 * 1.25 * 2^28 + 6 * 1.25 * 2^28 < 2^62.4; with the carry from the column before < 2^63
            std::uint64_t const d0 = h0 * r0 + h1 * s3 + h2 * s2 + h3 * s1;
            std::uint64_t const d1 = h0 * r1 + h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + (d0 >> 32);
            std::uint64_t const d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + (d1 >> 32);
            std::uint64_t const d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + (d2 >> 32);
            // the only s_i in d3 is s3: d3 < 2^62 + ..., so d4 < 6 * 2^28 + 2^30 + 1 < 2^32
            std::uint64_t const d4 = h4 * r0 + (d3 >> 32);

            t = (d0 & 0xffffffff) + (d4 >> 2) * 5;
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d1 & 0xffffffff);
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d2 & 0xffffffff);
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d3 & 0xffffffff);
            h3 = static_cast<std::uint32_t>(t);
            h4 = static_cast<std::uint32_t>((t >> 32) + (d4 & 3)); // <= 4
        }
        h[0] = h0, h[1] = h1, h[2] = h2, h[3] = h3, h[4] = h4;
    }
};

/// Computes the tag of one message with a one-time key. The destructor wipes the object.
template <class Limbs = default_limbs> class poly1305 {
public:
    /// `key` is r, then s. The object does not refer to `key` after the constructor returns.
    explicit poly1305(std::span<byte const, 32> key) noexcept {
        state_.start(key.data());
        copy(s_, key.subspan(16));
    }
    poly1305(poly1305 const&) = delete;
    poly1305& operator=(poly1305 const&) = delete;
    ~poly1305() {
        wipe(state_);
        wipe(s_);
        wipe(partial_);
    }

    /// Appends `in` to the message. Any length and alignment.
    void update(bytes_view in) noexcept {
        if (in.empty()) return;
        if (held_ > 0) {
            std::size_t const room = poly1305_block_bytes - held_;
            std::size_t const now = in.size() < room ? in.size() : room;
            std::memcpy(partial_.data() + held_, in.data(), now);
            held_ += now;
            in = in.subspan(now);
            if (held_ < poly1305_block_bytes) return;
            absorb(partial_.data(), 1, 1);
            held_ = 0;
        }
        absorb(in.data(), in.size() / poly1305_block_bytes, 1);
        held_ = in.size() % poly1305_block_bytes;
        if (held_ > 0) std::memcpy(partial_.data(), in.data() + (in.size() - held_), held_);
    }

    /// Appends zero bytes up to a multiple of 16 (RFC 8439, section 2.8).
    void pad() noexcept {
        if (held_ == 0) return;
        std::memset(partial_.data() + held_, 0, poly1305_block_bytes - held_);
        absorb(partial_.data(), 1, 1);
        held_ = 0;
    }

    /// Writes the tag. The object must not be used any more, except to destroy it.
    void finish(std::span<byte, tag_bytes> tag) noexcept {
        if (held_ > 0) {
            partial_[held_] = 1; // the end bit, which is at 2^128 in a whole block
            std::memset(partial_.data() + held_ + 1, 0, poly1305_block_bytes - held_ - 1);
            absorb(partial_.data(), 1, 0);
            held_ = 0;
        }
        state_.finish(tag.data(), s_.data());
    }

private:
    /// Out of line, so that the caller's `wipe_stack` overwrites the registers it spills.
    [[gnu::noinline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        state_.absorb(from, blocks, top);
    }

    poly1305_state<Limbs> state_;
    byte_array<16> s_;
    byte_array<poly1305_block_bytes> partial_;
    std::size_t held_ = 0; ///< bytes in `partial_`; 0 to 15 between calls
};

}}} // namespace wg::WG_ABI::bundled

#endif
