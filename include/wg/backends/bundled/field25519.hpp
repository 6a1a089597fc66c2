// SPDX-License-Identifier: BSL-1.0
// The field of X25519 (RFC 7748): arithmetic modulo p = 2^255 - 19, in limbs of 51 bits or words of 32 bits.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_HPP

#include "../../policy.hpp"
#include "field25519_arm.hpp"
#include "limbs.hpp"

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

#ifdef WG_SMALL
    /// to = a + b if `minus` is 0, to = a - b if `minus` is all ones. The complement of b is 2^256 - 1 - b = 37 - b
    /// modulo p. Adding the constant 2p - 37 = 2^256 - 75 to it makes -b. One function for both saves code size.
    [[gnu::noinline]] static void add_signed(field25519& to, field25519 const& a, field25519 const& b,
                                             std::uint32_t minus) noexcept {
        std::uint64_t t = 0;
        std::uint32_t constant = minus & ~std::uint32_t{74};
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} + (b.v[i] ^ minus) + constant; // <= 3 * (2^32 - 1) + 2
            to.v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
            constant = minus;
        }
        to.fold(static_cast<std::uint32_t>(t));
    }
    /// to = a + b.
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept { add_signed(to, a, b, 0); }
    /// to = a - b.
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        add_signed(to, a, b, 0xffffffff);
    }
#elif defined(WG_ARM_PRODUCT)
    /// to = a + b.
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept { add25519_arm(to.v, a.v, b.v); }
    /// to = a - b.
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        subtract25519_arm(to.v, a.v, b.v);
    }
#else
    /// to = a + b.
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} + b.v[i]; // <= 2^33 - 1
            to.v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        to.fold(static_cast<std::uint32_t>(t));
    }

    /// to = a - b.
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        std::uint64_t t = 0; // 0, or 2^64 - 1 for a borrow
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} - b.v[i];
            to.v[i] = static_cast<std::uint32_t>(t);
            t = std::uint64_t{0} - (t >> 63);
        }
        // A borrow added 2^256 = 38 modulo p, so 38 is subtracted. That may borrow once more; the value is then
        // >= 2^256 - 38, so the second subtraction of 38 cannot borrow.
        for (int again = 0; again < 2; ++again) {
            t &= 38;
            t = std::uint64_t{0} - t;
            for (std::size_t i = 0; i < 8; ++i) {
                t += to.v[i];
                to.v[i] = static_cast<std::uint32_t>(t);
                t = std::uint64_t{0} - (t >> 63);
            }
        }
    }
#endif

    /// to = a b.
    static void multiply(field25519& to, field25519 const& a, field25519 const& b) noexcept {
#if defined(WG_ARM_PRODUCT)
        multiply25519_arm(to.v, a.v, b.v);
#elif defined(WG_SMALL)
        std::uint32_t product[16]; // lies in this frame: a caller's `wipe_stack` clears it
        for (std::size_t i = 0; i < 8; ++i) product[i] = 0;
        for (std::size_t i = 0;; ++i) { // the ninth row adds the upper half times 38 to the lower half
            bool const last = i == 8;
            std::uint32_t const top =
                add_product(product + (last ? 0 : i), last ? 38 : a.v[i], last ? product + 8 : b.v);
            if (last) return to.fold(product, top); // <= 38
            product[i + 8] = top;
        }
#else
        std::uint32_t product[16] = {};
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint64_t t = 0;
            for (std::size_t j = 0; j < 8; ++j) {
                // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
                t = std::uint64_t{a.v[i]} * b.v[j] + product[i + j] + (t >> 32);
                product[i + j] = static_cast<std::uint32_t>(t);
            }
            product[i + 8] = static_cast<std::uint32_t>(t >> 32);
        }
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t = std::uint64_t{product[i + 8]} * 38 + product[i] + (t >> 32); // < 39 * 2^32
            to.v[i] = static_cast<std::uint32_t>(t);
        }
        to.fold(static_cast<std::uint32_t>(t >> 32)); // <= 38
        wipe(product);
#endif
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
        to.fold(static_cast<std::uint32_t>(t >> 32));
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
#ifdef WG_SMALL
    /// Adds a * b to the eight words of `to`. Returns: the carry out of the top word.
    [[gnu::always_inline]] static std::uint32_t add_product(std::uint32_t* to, std::uint32_t a,
                                                            std::uint32_t const* b) noexcept {
        std::uint32_t carry = 0;
#ifdef __thumb2__
        std::uint32_t const* const end = b + 8;
        std::uint32_t x, y, low, next, high;
        asm("1:\n\tldrd %[x], %[y], [%[b]], #8\n\tldrd %[low], %[next], [%[to]]\n\t"
            "mov %[high], #0\n\tumlal %[low], %[high], %[a], %[x]\n\t"
            "adds %[low], %[low], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "mov %[high], #0\n\tumlal %[next], %[high], %[a], %[y]\n\t"
            "adds %[next], %[next], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "strd %[low], %[next], [%[to]], #8\n\tcmp %[b], %[end]\n\tbne 1b"
            : [x] "=&r"(x), [y] "=&r"(y), [low] "=&r"(low), [next] "=&r"(next), [high] "=&r"(high), [to] "+r"(to),
              [b] "+r"(b), [carry] "+r"(carry)
            : [a] "r"(a), [end] "r"(end)
            : "cc", "memory");
#else
        for (std::size_t i = 0; i < 8; ++i) {
            // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
            std::uint64_t const t = std::uint64_t{a} * b[i] + to[i] + carry;
            to[i] = static_cast<std::uint32_t>(t);
            carry = static_cast<std::uint32_t>(t >> 32);
        }
#endif
        return carry;
    }
#endif

    /// Sets the element to the eight `words` plus t, |t| < 2^63. Returns: the carry out of the top word.
    WG_OUTLINE std::uint32_t add_to(std::uint32_t const* words, std::int64_t t) noexcept {
        for (std::size_t i = 0; i < 8; ++i) {
            t += words[i];
            v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        return static_cast<std::uint32_t>(t);
    }
    /// Adds t, |t| < 2^63, to the element. Returns: the carry out of the top word.
    std::uint32_t add_word(std::int64_t t) noexcept { return add_to(v, t); }

    /// Sets the element to the eight `words` plus top * 2^256 modulo p; top is < 2^17 or so.
    void fold(std::uint32_t const* words, std::uint32_t top) noexcept {
        std::uint32_t const again = add_to(words, std::int64_t{top} * 38); // 0 or 1; if 1, the rest is < 2^23
        v[0] += again * 38;
    }
    void fold(std::uint32_t top) noexcept { fold(v, top); }

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
#ifdef WG_SMALL
    Field& base = w.a;
    base = z;
    for (int bit = 254; bit-- > 0;) { // smaller than the chain below, with twice the multiplications
        Field::multiply(z, z, z);
        if (bit != 2 && bit != 4) Field::multiply(z, z, base);
    }
#else
    Field& t = w.a;
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
#endif
}

#ifdef __SIZEOF_INT128__

/// 1/x modulo p by division steps (Bernstein, Yang, "Fast constant-time gcd computation and modular inversion", 2019),
/// in the variant that starts with delta = 1/2: 590 steps compute gcd(p, x) for every x < 2^256 (Wuille, "The safegcd
/// implementation in libsecp256k1 explained", 2021). 59 steps read the lowest words of f and g only. Their effect is a
/// matrix, which is then applied to f, g and to d, e, where f = d x and g = e x modulo p.
/// This is twice as fast as the power p - 2. The steps and their number are the same for every x.
class inversion25519 {
public:
    /// to = 1/x, and 0 for x = 0. Both are words, the lowest first, of values below p.
    static void invert(std::uint64_t (&to)[4], std::uint64_t const (&x)[4]) noexcept {
        inversion25519 w;
        w.f = {{-19, 0, 0, 0, 128}};
        w.g = {{to_limb(x[0]), to_limb(x[0] >> 62 | x[1] << 2), to_limb(x[1] >> 60 | x[2] << 4),
                to_limb(x[2] >> 58 | x[3] << 6), static_cast<std::int64_t>(x[3] >> 56)}};
        w.d = {{0, 0, 0, 0, 0}};
        w.e = {{1, 0, 0, 0, 0}};
        std::int64_t minus_delta = -1; // -delta - 1/2, an integer
        for (int i = 0; i < 10; ++i) {
            w.steps(minus_delta);
            apply_modulo_p(w.d, w.e, w.m);
            apply(w.f, w.g, w.m);
        }
        w.finish(to);
    }

private:
    __extension__ typedef __int128 int128;
    static constexpr std::uint64_t limb_mask = (std::uint64_t{1} << 62) - 1;

    /// Five limbs of 62 bits, the lowest first; the highest holds the sign.
    struct number {
        std::int64_t v[5];
    };
    /// The effect of 59 steps: f, g become (u f + v g) / 2^62, (q f + r g) / 2^62. |u| + |v| <= 2^62,
    /// |q| + |r| <= 2^62.
    struct matrix {
        std::int64_t u, v, q, r;
    };

    number f, g, d, e;
    matrix m;

    inversion25519() noexcept {}
    ~inversion25519() { wipe(static_cast<void*>(this), sizeof *this); }

    static std::int64_t to_limb(std::uint64_t word) noexcept { return static_cast<std::int64_t>(word & limb_mask); }
    static std::int64_t low(int128 x) noexcept { return to_limb(static_cast<std::uint64_t>(x)); }
    static int128 wide(std::int64_t a, std::int64_t b) noexcept { return int128{a} * b; }

    /// Sets m to the matrix of the next 59 steps. A step: if g is odd and delta > 0, then f, g = g, (g - f) / 2 and
    /// delta = 1 - delta. Else g = (g + f) / 2 if g is odd, g = g / 2 if g is even, and delta = 1 + delta. The matrix
    /// has integers only: where a step halves g, the row of f is doubled instead.
    void steps(std::int64_t& minus_delta) noexcept {
        std::uint64_t a = static_cast<std::uint64_t>(f.v[0]) | static_cast<std::uint64_t>(f.v[1]) << 62;
        std::uint64_t b = static_cast<std::uint64_t>(g.v[0]) | static_cast<std::uint64_t>(g.v[1]) << 62;
        matrix const x = some_steps(30, a, b, minus_delta), y = some_steps(29, a, b, minus_delta);
        // y x, and 2^62 = 8 * 2^59
        m = {8 * (y.u * x.u + y.v * x.q), 8 * (y.u * x.v + y.v * x.r), 8 * (y.q * x.u + y.r * x.q),
             8 * (y.q * x.v + y.r * x.r)};
    }

    /// The matrix of `count` steps, at most 30: |u| + |v| <= 2^30, so one word holds both as u + 2^32 v, and one
    /// addition serves both. a and b are the low words of f and g. They may wrap: n further steps
    /// read only the n lowest bits.
    [[gnu::always_inline]] static matrix some_steps(int count, std::uint64_t& a, std::uint64_t& b,
                                                    std::int64_t& minus_delta) noexcept {
        std::uint64_t uv = 1, qr = std::uint64_t{1} << 32, delta = static_cast<std::uint64_t>(minus_delta);
        for (int i = 0; i < count; ++i) {
            std::uint64_t const odd = mask_of(b & 1), positive = mask_of(delta >> 63), both = odd & positive;
            delta = (delta ^ both) - 1;
            // The loop is one chain of dependent operations. To keep it short, values that depend on nothing recent
            // come first, and f is selected by a mask and not computed as f + (g - f).
            std::uint64_t const minus_a = (a ^ positive) - positive, minus_uv = (uv ^ positive) - positive;
            a ^= (a ^ b) & both;
            uv ^= (uv ^ qr) & both;
            b += minus_a & odd;
            qr += minus_uv & odd;
            b >>= 1;
            uv <<= 1;
        }
        minus_delta = static_cast<std::int64_t>(delta);
        std::int64_t const u = static_cast<std::int32_t>(static_cast<std::uint32_t>(uv)),
                           q = static_cast<std::int32_t>(static_cast<std::uint32_t>(qr));
        return {u, (static_cast<std::int64_t>(uv) - u) >> 32, q, (static_cast<std::int64_t>(qr) - q) >> 32};
    }

    /// x, y = (u x + v y) / 2^62, (q x + r y) / 2^62. The divisions are exact. |x|, |y| < 2^256 before and after.
    static void apply(number& x, number& y, matrix const& m) noexcept {
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        for (int i = 1; i < 5; ++i) { // sums < 2^62 * 2^62 + 2^63
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// `apply` modulo p: multiples of p are added first, so that the divisions are exact. x and y are > -2p and < p,
    /// before and after.
    static void apply_modulo_p(number& x, number& y, matrix const& m) noexcept {
        // p is added to a negative x or y, so that |x|, |y| < p. The sums are then > -2^62 p and < 2^62 p.
        std::int64_t const x_sign = x.v[4] >> 63, y_sign = y.v[4] >> 63;
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        std::int64_t const k = multiple((m.u & x_sign) + (m.v & y_sign), s),
                           l = multiple((m.q & x_sign) + (m.r & y_sign), t);
        s -= wide(19, k);
        t -= wide(19, l);
        for (int i = 1; i < 5; ++i) {
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            if (i == 4) { // p = 2^255 - 19, 255 = 4 * 62 + 7
                s += wide(128, k);
                t += wide(128, l);
            }
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// The greatest k <= `most` for which the lowest 62 bits of sum + k p are zero: 19 k = sum modulo 2^62.
    static std::int64_t multiple(std::int64_t most, int128 sum) noexcept {
        constexpr std::uint64_t inverse_of_19 = 0x86bca1af286bca1b; // modulo 2^64
        static_assert(inverse_of_19 * 19 == 1);
        std::uint64_t const k = static_cast<std::uint64_t>(sum) * inverse_of_19;
        return most - static_cast<std::int64_t>((static_cast<std::uint64_t>(most) - k) & limb_mask);
    }

    /// Writes the result, d times the sign of f. f is 1 or -1 after the last step. For x = 0, f is still p and d is 0.
    void finish(std::uint64_t (&to)[4]) const noexcept {
        std::int64_t const sign = f.v[4] >> 63;
        number x = d;
        add_p(x, x.v[4] >> 63); // > -p, < p
        std::int64_t t = 0;
        for (int i = 0; i < 5; ++i) {
            t += (x.v[i] ^ sign) - sign;
            x.v[i] = i < 4 ? t & static_cast<std::int64_t>(limb_mask) : t;
            t >>= 62;
        }
        add_p(x, x.v[4] >> 63); // >= 0, < p
        std::uint64_t w[5];
        for (int i = 0; i < 5; ++i) w[i] = static_cast<std::uint64_t>(x.v[i]);
        to[0] = w[0] | w[1] << 62;
        to[1] = w[1] >> 2 | w[2] << 60;
        to[2] = w[2] >> 4 | w[3] << 58;
        to[3] = w[3] >> 6 | w[4] << 56;
        wipe(x);
        wipe(w);
    }

    /// Adds p to x if `all` is all ones, and nothing if it is 0. Then carries.
    static void add_p(number& x, std::int64_t all) noexcept {
        x.v[0] -= 19 & all;
        x.v[4] += 128 & all;
        for (int i = 0; i < 4; ++i) x.v[i + 1] += x.v[i] >> 62, x.v[i] &= static_cast<std::int64_t>(limb_mask);
    }
};

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
