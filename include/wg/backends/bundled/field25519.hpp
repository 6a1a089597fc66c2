// SPDX-License-Identifier: BSL-1.0
// The field of X25519 (RFC 7748): arithmetic modulo p = 2^255 - 19, in limbs of 51 bits or words of 32 bits.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_HPP

#include "../../policy.hpp"
#include "field25519_arm.hpp"
#include "field25519_small.hpp"
#include "field25519_words.hpp"
#include "inversion25519.hpp"
#include "limbs.hpp"

#include <type_traits>

namespace wg { inline namespace WG_ABI { namespace bundled {

/// An element modulo p. In every function the result may be the same object as an operand.
template <class Limbs> struct field25519;

#ifdef __SIZEOF_INT128__

/// Five limbs of 51 bits: the value is the sum of v[i] * 2^(51 i). A limb has 64 bits, so sums need no carries.
/// Limbs have two ranges: "tight" limbs are < 2^51 + 2^12, "loose" limbs are < 2^53. decode, multiply, square and
/// multiply_small return tight elements. add and subtract take tight elements and return loose ones. All other
/// functions take loose elements.
template <> struct field25519<limbs64> {
    static constexpr std::uint64_t mask = (std::uint64_t{1} << 51) - 1; ///< the bits of a limb

    std::uint64_t v[5]; ///< the limbs, the lowest first

    /// Sets the element to `value`, which is below 2^51.
    void set_small(std::uint64_t value) noexcept { v[0] = value, v[1] = v[2] = v[3] = v[4] = 0; }

    /// Reads 32 little-endian bytes. The highest bit is ignored (RFC 7748, section 5); values from p to 2^255 - 1 are
    /// not reduced.
    void decode(byte const* from) noexcept {
        std::uint64_t const a = load_le64(from), b = load_le64(from + 8), c = load_le64(from + 16),
                            d = load_le64(from + 24);
        v[0] = a & mask;
        v[1] = (a >> 51 | b << 13) & mask;
        v[2] = (b >> 38 | c << 26) & mask;
        v[3] = (c >> 25 | d << 39) & mask;
        v[4] = d >> 12 & mask;
    }

    /// Writes the representative below p as 32 little-endian bytes. The element is tight or loose.
    void encode(byte* to) const noexcept {
        field25519 x = *this;
        x.carry(); // the second limb is <= 2^51, the others are < 2^51: the value is < 2^255 + 2^103 < 2p
        // q = 1 if the value is >= p: adding 19 then carries out of bit 255
        std::uint64_t q = (x.v[0] + 19) >> 51;
        for (std::size_t i = 1; i < 5; ++i) q = (x.v[i] + q) >> 51;
        x.v[0] += 19 * q; // value - q * p = value + 19 q - q * 2^255; the last `&= mask` below drops q * 2^255
        for (std::size_t i = 0; i < 4; ++i) x.v[i + 1] += x.v[i] >> 51, x.v[i] &= mask;
        x.v[4] &= mask;
        store_le64(to, x.v[0] | x.v[1] << 51);
        store_le64(to + 8, x.v[1] >> 13 | x.v[2] << 38);
        store_le64(to + 16, x.v[2] >> 26 | x.v[3] << 25);
        store_le64(to + 24, x.v[3] >> 39 | x.v[4] << 12);
        wipe(x);
    }

    /// to = a + b. Before: tight. After: loose.
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        to.v[0] = a.v[0] + b.v[0], to.v[1] = a.v[1] + b.v[1], to.v[2] = a.v[2] + b.v[2]; // < 2^52 + 2^13
        to.v[3] = a.v[3] + b.v[3], to.v[4] = a.v[4] + b.v[4];
    }

    /// to = a - b. Before: tight. After: loose.
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        // a + 2p - b: a limb of 2p is >= 2^52 - 38 > 2^51 + 2^12, so no limb goes below zero. A limb of the result is
        // < 2^51 + 2^12 + 2^52 < 2^53.
        to.v[0] = a.v[0] + (2 * mask - 36) - b.v[0];
        to.v[1] = a.v[1] + 2 * mask - b.v[1], to.v[2] = a.v[2] + 2 * mask - b.v[2];
        to.v[3] = a.v[3] + 2 * mask - b.v[3], to.v[4] = a.v[4] + 2 * mask - b.v[4];
    }

    /// to = x y. Before: loose. After: tight.
    [[gnu::always_inline]] static void multiply(field25519& to, field25519 const& x, field25519 const& y) noexcept {
        std::uint64_t const a0 = x.v[0], a1 = x.v[1], a2 = x.v[2], a3 = x.v[3], a4 = x.v[4];
        std::uint64_t const b0 = y.v[0], b1 = y.v[1], b2 = y.v[2], b3 = y.v[3], b4 = y.v[4];
        std::uint64_t const c1 = 19 * b1, c2 = 19 * b2, c3 = 19 * b3, c4 = 19 * b4; // 2^255 = 19 modulo p; < 2^57.3
        // terms are < 2^106, or < 2^110.3 with the factor 19; sums are < 2^112.6
        uint128 const t0 = wide(a0, b0) + wide(a1, c4) + wide(a2, c3) + wide(a3, c2) + wide(a4, c1);
        uint128 const t1 = wide(a0, b1) + wide(a1, b0) + wide(a2, c4) + wide(a3, c3) + wide(a4, c2);
        uint128 const t2 = wide(a0, b2) + wide(a1, b1) + wide(a2, b0) + wide(a3, c4) + wide(a4, c3);
        uint128 const t3 = wide(a0, b3) + wide(a1, b2) + wide(a2, b1) + wide(a3, b0) + wide(a4, c4);
        uint128 const t4 = wide(a0, b4) + wide(a1, b3) + wide(a2, b2) + wide(a3, b1) + wide(a4, b0);
        to.reduce(t0, t1, t2, t3, t4);
    }

    /// to = x^2: 15 products where multiply has 25. Before: loose. After: tight.
    [[gnu::always_inline]] static void square(field25519& to, field25519 const& x) noexcept {
        std::uint64_t const a0 = x.v[0], a1 = x.v[1], a2 = x.v[2], a3 = x.v[3], a4 = x.v[4];
        std::uint64_t const d0 = 2 * a0, d1 = 2 * a1, d2 = 2 * a2, c3 = 19 * a3, c4 = 19 * a4; // < 2^54, < 2^57.3
        // the same sums as in multiply(x, x); equal products are computed once and doubled
        uint128 const t0 = wide(a0, a0) + wide(d1, c4) + wide(d2, c3);
        uint128 const t1 = wide(d0, a1) + wide(d2, c4) + wide(a3, c3);
        uint128 const t2 = wide(d0, a2) + wide(a1, a1) + wide(2 * a3, c4);
        uint128 const t3 = wide(d0, a3) + wide(d1, a2) + wide(a4, c4);
        uint128 const t4 = wide(d0, a4) + wide(d1, a3) + wide(a2, a2);
        to.reduce(t0, t1, t2, t3, t4);
    }

    /// to = x factor. Before: loose. After: tight.
    static void multiply_small(field25519& to, field25519 const& x, std::uint32_t factor) noexcept {
        to.reduce(wide(x.v[0], factor), wide(x.v[1], factor), wide(x.v[2], factor), wide(x.v[3], factor),
                  wide(x.v[4], factor));
    }

    /// Exchanges a and b if `swap` is 1; `swap` is 0 or 1. The time does not depend on it.
    static void swap_if(std::uint32_t swap, field25519& a, field25519& b) noexcept {
        std::uint64_t const all = mask_of<std::uint64_t>(swap);
        for (std::size_t i = 0; i < 5; ++i) {
            std::uint64_t const x = (a.v[i] ^ b.v[i]) & all;
            a.v[i] ^= x, b.v[i] ^= x;
        }
    }

private:
    [[gnu::always_inline]] static uint128 wide(std::uint64_t a, std::uint64_t b) noexcept { return uint128{a} * b; }

    /// Carries sums of products. Before: sums < 2^113; t4 has no terms with the factor 19 and is < 2^108.4. After:
    /// tight.
    [[gnu::always_inline]] void reduce(uint128 t0, uint128 t1, uint128 t2, uint128 t3, uint128 t4) noexcept {
        t1 += static_cast<std::uint64_t>(t0 >> 51); // < 2^62
        t2 += static_cast<std::uint64_t>(t1 >> 51);
        t3 += static_cast<std::uint64_t>(t2 >> 51);
        t4 += static_cast<std::uint64_t>(t3 >> 51);
        std::uint64_t const low =
            (static_cast<std::uint64_t>(t0) & mask) + 19 * static_cast<std::uint64_t>(t4 >> 51); // < 2^51 + 2^61.7
        v[0] = low & mask;
        v[1] = (static_cast<std::uint64_t>(t1) & mask) + (low >> 51); // < 2^51 + 2^11
        v[2] = static_cast<std::uint64_t>(t2) & mask;
        v[3] = static_cast<std::uint64_t>(t3) & mask;
        v[4] = static_cast<std::uint64_t>(t4) & mask;
    }

    /// Before: limbs < 2^63. After: limbs < 2^51, except that the second may be 2^51: the last carry into it is
    /// (2^51 + 19 * 2^12) >> 51 = 1 at most.
    void carry() noexcept {
        for (std::size_t i = 0; i < 4; ++i) v[i + 1] += v[i] >> 51, v[i] &= mask;
        v[0] += 19 * (v[4] >> 51), v[4] &= mask;
        v[1] += v[0] >> 51, v[0] &= mask;
    }
};

#endif

/// The portable arithmetic of field25519<limbs32>: sums, differences and products modulo 2^256 - 38. Each operand has
/// eight words of any value, the lowest first; the result may be the same object as an operand.
struct portable25519 {
    /// to = a + b.
    static void add(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a[i]} + b[i]; // <= 2^33 - 1
            to[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        field25519_detail::fold(to, static_cast<std::uint32_t>(t));
    }

    /// to = a - b.
    static void subtract(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        std::uint64_t t = 0; // 0, or 2^64 - 1 for a borrow
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a[i]} - b[i];
            to[i] = static_cast<std::uint32_t>(t);
            t = std::uint64_t{0} - (t >> 63);
        }
        // A borrow added 2^256 = 38 modulo p, so 38 is subtracted. That may borrow once more; the value is then
        // >= 2^256 - 38, so the second subtraction of 38 cannot borrow.
        for (int again = 0; again < 2; ++again) {
            t &= 38;
            t = std::uint64_t{0} - t;
            for (std::size_t i = 0; i < 8; ++i) {
                t += to[i];
                to[i] = static_cast<std::uint32_t>(t);
                t = std::uint64_t{0} - (t >> 63);
            }
        }
    }

    /// to = a b.
    static void multiply(std::uint32_t* to, std::uint32_t const* a, std::uint32_t const* b) noexcept {
        std::uint32_t product[16] = {};
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint64_t t = 0;
            for (std::size_t j = 0; j < 8; ++j) {
                // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
                t = std::uint64_t{a[i]} * b[j] + product[i + j] + (t >> 32);
                product[i + j] = static_cast<std::uint32_t>(t);
            }
            product[i + 8] = static_cast<std::uint32_t>(t >> 32);
        }
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t = std::uint64_t{product[i + 8]} * 38 + product[i] + (t >> 32); // < 39 * 2^32
            to[i] = static_cast<std::uint32_t>(t);
        }
        field25519_detail::fold(to, static_cast<std::uint32_t>(t >> 32)); // <= 38
        wipe(product);
    }
};

/// The arithmetic of the build.
#ifdef WG_ARM_PRODUCT
using words25519 = arm25519;
#else
using words25519 = std::conditional_t<small_code, small25519, portable25519>;
#endif

/// Eight full words of 32 bits. Any value below 2^256 represents its remainder modulo p, so no operation has a range to
/// keep: all take and return any words. 2^256 = 38 modulo p, so a carry out of the top word is multiplied by 38 and
/// added to the bottom word.
template <> struct field25519<limbs32> {
    std::uint32_t v[8]; ///< the words, the lowest first

    /// Sets the element to `value`.
    void set_small(std::uint32_t value) noexcept {
        for (auto& word : v) word = 0;
        v[0] = value;
    }

    /// Reads 32 little-endian bytes. The highest bit is ignored (RFC 7748, section 5).
    void decode(byte const* from) noexcept {
        load_words(v, from, 8);
        v[7] &= 0x7fffffff;
    }

    /// Writes the representative below p as 32 little-endian bytes.
    WG_FRAME void encode(byte* to) const noexcept {
        field25519 x = *this;
        // 2^255 = 19 modulo p: 19 replaces bit 255, and the value is then < 2^255 + 19 = p + 38
        std::int32_t const high = x.take_top_bit();
        x.add_word(19 * high);
        // Adding 19 sets bit 255 if and only if the value is >= p. Then clearing the bit completes the subtraction of
        // p; else the 19 is taken off again.
        x.add_word(19);
        std::int32_t const over = x.take_top_bit();
        x.add_word(19 * over - 19);
        store_words(to, x.v, 8);
        wipe(x);
    }

    /// to = a + b.
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        words25519::add(to.v, a.v, b.v);
    }
    /// to = a - b.
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        words25519::subtract(to.v, a.v, b.v);
    }

    /// to = a b.
    static void multiply(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        words25519::multiply(to.v, a.v, b.v);
    }

    /// to = a^2.
    static void square(field25519& to, field25519 const& a) noexcept { multiply(to, a, a); }

    /// to = a factor.
    static void multiply_small(field25519& to, field25519 const& a, std::uint32_t factor) noexcept {
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t = std::uint64_t{a.v[i]} * factor + (t >> 32);
            to.v[i] = static_cast<std::uint32_t>(t);
        }
        field25519_detail::fold(to.v, static_cast<std::uint32_t>(t >> 32));
    }

    /// Exchanges a and b if `swap` is 1; `swap` is 0 or 1. The time does not depend on it.
    static void swap_if(std::uint32_t swap, field25519& a, field25519& b) noexcept {
        std::uint32_t const all = mask_of(swap);
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint32_t const x = (a.v[i] ^ b.v[i]) & all;
            a.v[i] ^= x, b.v[i] ^= x;
        }
    }

private:
    /// Adds t, |t| < 2^63, to the element.
    void add_word(std::int64_t t) noexcept { field25519_detail::add_to(v, v, t); }

    /// Clears bit 255. Returns: the bit, 0 or 1.
    std::int32_t take_top_bit() noexcept {
        std::int32_t const bit = static_cast<std::int32_t>(v[7] >> 31);
        v[7] &= 0x7fffffff;
        return bit;
    }
};

/// Memory for `invert`, which overwrites all of it. The ladder and the comb keep their own temporaries here, too.
template <class Field> struct field25519_scratch {
    Field x3, ///< a temporary; in the ladder, X of the point x3:z3
        z3,   ///< a temporary; in the ladder, Z of the point x3:z3
        a,    ///< a temporary
        b,    ///< a temporary
        c,    ///< a temporary
        d;    ///< a temporary
};

/// x = x^(2^times).
template <class Field> inline void square_times(Field& x, int times) noexcept {
    for (int i = 0; i < times; ++i) Field::square(x, x);
}

/// z = z^(p - 2) = 1/z by Fermat's little theorem, and 0 for 0. In binary, p - 2 = 2^255 - 21 is 250 ones, then 01011.
/// An element named a_n is z^(2^n - 1).
template <class Field> [[gnu::noinline]] void invert(Field& z, field25519_scratch<Field>& w) noexcept {
    Field& t = w.a;
    if constexpr (small_code) return small_invert(z, t);
    Field& a_5 = w.b;
    Field& a_k = w.c; // a_10, then a_50
    Field& z_11 = w.d;
    t = z;
    square_times(t, 1);
    Field& z_2 = w.x3;
    z_2 = t;
    square_times(t, 2);
    Field::multiply(t, t, z); // z^9
    Field& z_9 = w.z3;
    z_9 = t;
    Field::multiply(z_11, t, z_2);
    t = z_11;
    square_times(t, 1);
    Field::multiply(a_5, t, z_9); // 22 + 9 = 31
    t = a_5;
    square_times(t, 5);
    Field::multiply(a_k, t, a_5); // a_10
    t = a_k;
    square_times(t, 10);
    Field::multiply(t, t, a_k); // a_20
    z_2 = t;
    square_times(t, 20);
    Field::multiply(t, t, z_2); // a_40
    square_times(t, 10);
    Field::multiply(a_k, t, a_k); // a_50
    t = a_k;
    square_times(t, 50);
    Field::multiply(t, t, a_k); // a_100
    z_2 = t;
    square_times(t, 100);
    Field::multiply(t, t, z_2); // a_200
    square_times(t, 50);
    Field::multiply(t, t, a_k); // a_250
    square_times(t, 5);
    Field::multiply(z, t, z_11); // the last five bits, 01011, are 11
}

#ifdef __SIZEOF_INT128__

/// z = 1/z, and 0 for 0. Before: tight or loose. After: tight.
[[gnu::noinline]] inline void invert(field25519<limbs64>& z) noexcept {
    byte text[32];
    std::uint64_t words[4];
    z.encode(text);
    for (std::size_t i = 0; i < 4; ++i) words[i] = load_le64(text + 8 * i);
    inversion25519::invert(words, words);
    for (std::size_t i = 0; i < 4; ++i) store_le64(text + 8 * i, words[i]);
    z.decode(text);
    wipe(text);
    wipe(words);
}
/// `invert` for callers that have scratch memory. It does not use that memory.
inline void invert(field25519<limbs64>& z, field25519_scratch<field25519<limbs64>>&) noexcept { invert(z); }

#endif

}}} // namespace wg::WG_ABI::bundled

#endif
