// SPDX-License-Identifier: BSL-1.0
// X25519 for one key with 52-bit products (AVX-512 IFMA): four products of field elements at a time, one to a lane.
// Folder: backends/bundled; any thread. Requires a processor for which `has(set, cpu::ifma)` is true.
//
// A step of the ladder has three rounds of four products, and each round depends on the one before. So latency limits
// the speed. Radix 2^51 therefore beats radix 2^52 here: the carries of all limbs run side by side, and not one after
// the other. Hisil, Egrice and Yassi proposed rounds of four ("Fast 4 way vectorized ladder for the complete set of
// Montgomery curves", 2020). The arrangement here differs from theirs: the round that multiplies by the point also
// multiplies E^2 by the curve's constant. So the constant costs no round, and only one shuffle crosses 128 bits.
#ifndef WG_BACKENDS_BUNDLED_X25519_IFMA_HPP
#define WG_BACKENDS_BUNDLED_X25519_IFMA_HPP

#include "x25519_avx2.hpp"

#ifdef WG_HAS_X86_KERNELS
#include <immintrin.h>

#define WG_X25519_IFMA [[WG_TARGET_IFMA]]
#ifdef __OPTIMIZE__
#define WG_X25519_INLINE WG_X25519_IFMA [[gnu::always_inline]] static inline
#else // not inlined: without optimisation each inlined object takes its own stack memory, a megabyte in all
#define WG_X25519_INLINE WG_X25519_IFMA static inline
#endif
// Repeats the text for i = 0 to 4. With a loop, the variable index would keep the limbs in memory.
// clang-format off
#define WG_LIMBS(...) WG_LIMB(0, __VA_ARGS__) WG_LIMB(1, __VA_ARGS__) WG_LIMB(2, __VA_ARGS__) \
    WG_LIMB(3, __VA_ARGS__) WG_LIMB(4, __VA_ARGS__)
#define WG_LIMB(n, ...) { constexpr int i = n; __VA_ARGS__; }
// clang-format on

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Clears the vector and mask registers that a kernel used.
WG_X25519_INLINE void wipe_avx512_registers() noexcept {
    asm volatile("vzeroall\n\tvpxorq %%xmm16, %%xmm16, %%xmm16\n\tvpxorq %%xmm17, %%xmm17, %%xmm17\n\t"
                 "vpxorq %%xmm18, %%xmm18, %%xmm18\n\tvpxorq %%xmm19, %%xmm19, %%xmm19\n\t"
                 "vpxorq %%xmm20, %%xmm20, %%xmm20\n\tvpxorq %%xmm21, %%xmm21, %%xmm21\n\t"
                 "vpxorq %%xmm22, %%xmm22, %%xmm22\n\tvpxorq %%xmm23, %%xmm23, %%xmm23\n\t"
                 "vpxorq %%xmm24, %%xmm24, %%xmm24\n\tvpxorq %%xmm25, %%xmm25, %%xmm25\n\t"
                 "vpxorq %%xmm26, %%xmm26, %%xmm26\n\tvpxorq %%xmm27, %%xmm27, %%xmm27\n\t"
                 "vpxorq %%xmm28, %%xmm28, %%xmm28\n\tvpxorq %%xmm29, %%xmm29, %%xmm29\n\t"
                 "vpxorq %%xmm30, %%xmm30, %%xmm30\n\tvpxorq %%xmm31, %%xmm31, %%xmm31\n\t"
                 "kxorq %%k1, %%k1, %%k1\n\tkxorq %%k2, %%k2, %%k2\n\tkxorq %%k3, %%k3, %%k3\n\t"
                 "kxorq %%k4, %%k4, %%k4\n\tkxorq %%k5, %%k5, %%k5\n\tkxorq %%k6, %%k6, %%k6\n\t"
                 "kxorq %%k7, %%k7, %%k7"
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",
                   "k4", "k5", "k6", "k7");
}

/// Four elements modulo p = 2^255 - 19, one to a lane: five limbs of 51 bits. "Tight" limbs are < 2^51 + 2^16. Factors
/// are tight, because a product instruction reads only 52 bits of a limb. Products and sums of them are "wide": limbs
/// < 2^62, which carry() makes tight.
struct quad25519 {
    __m256i v[5]; ///< limb i of all four elements in v[i]
};

/// X25519 with AVX-512 IFMA, for one key.
struct ifma_x25519 {
    /// Multiplies `point` by the scalar, which is clamped here.
    /// Returns: whether the result is not zero. The time does not depend on it.
    static bool multiply(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        ladder(out.data(), scalar.data(), point.data());
        wipe_stack<stack_bytes>();
        return !is_zero_in_constant_time(out);
    }

    /// Multiplies the base point by the scalar, which is clamped here.
    static void multiply_base(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<stack_bytes>();
    }

    // The members below are public for tests only.

    using quad = quad25519;                                             ///< four field elements
    static constexpr std::size_t stack_bytes = 4096;                    ///< stack that may hold secrets
    static constexpr std::uint64_t mask = (std::uint64_t{1} << 51) - 1; ///< the bits of a limb

    /// `value` in all lanes.
    WG_X25519_INLINE __m256i all(std::uint64_t value) noexcept {
        return _mm256_set1_epi64x(static_cast<long long>(value));
    }
    /// The values a, b, c, d in lanes 0-3.
    WG_X25519_INLINE __m256i lanes(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b),
                                 static_cast<long long>(a));
    }
    /// Zero, made anew each time: the compilers would keep a zero in a register and copy it.
    WG_X25519_INLINE __m256i none() noexcept {
        __m256i r;
        asm volatile("vpxorq %0, %0, %0" : "=v"(r));
        return r;
    }
    /// sum plus the lower 52 bits of the 104-bit product a b, in each lane.
    WG_X25519_INLINE __m256i low(__m256i sum, __m256i a, __m256i b) noexcept {
        return _mm256_madd52lo_epu64(sum, a, b);
    }
    /// sum plus the upper 52 bits of the 104-bit product a b, in each lane.
    WG_X25519_INLINE __m256i high(__m256i sum, __m256i a, __m256i b) noexcept {
        return _mm256_madd52hi_epu64(sum, a, b);
    }
    /// a + b in each lane.
    WG_X25519_INLINE __m256i add(__m256i a, __m256i b) noexcept { return _mm256_add_epi64(a, b); }
    /// Exchanges lanes 0 and 1, and lanes 2 and 3.
    WG_X25519_INLINE __m256i other(__m256i a) noexcept { return _mm256_shuffle_epi32(a, _MM_PERM_BADC); }

    /// Limb i of 2^9 p. It is at least as large as any limb of a product, so a difference plus 2^9 p has no limb below
    /// zero.
    static constexpr std::uint64_t bias(int i) noexcept { return (mask - (i == 0 ? 18 : 0)) << 9; }

    /// Carries all limbs side by side. Before: limbs < 2^62. After: tight, because the carry into the lowest limb is
    /// < 19 * 2^11 < 2^15.3, and into the others < 2^11.
    WG_X25519_INLINE void carry(quad& r, quad const& a) noexcept {
        __m256i const m = all(mask);
        __m256i const c4 = _mm256_srli_epi64(a.v[4], 51), c3 = _mm256_srli_epi64(a.v[3], 51),
                      c2 = _mm256_srli_epi64(a.v[2], 51), c1 = _mm256_srli_epi64(a.v[1], 51),
                      c0 = _mm256_srli_epi64(a.v[0], 51);
        r.v[0] = low(_mm256_and_si256(a.v[0], m), c4, all(19));
        r.v[1] = add(_mm256_and_si256(a.v[1], m), c0);
        r.v[2] = add(_mm256_and_si256(a.v[2], m), c1);
        r.v[3] = add(_mm256_and_si256(a.v[3], m), c2);
        r.v[4] = add(_mm256_and_si256(a.v[4], m), c3);
    }

    /// A limb of a product, l + 2 h + 19 (m + 2 n): l and m are sums of lower halves of products, h and n of upper
    /// halves. Upper halves have the weight 2^52, which is 2 * 2^51. m and n are from 2^255 on, and 2^255 = 19 modulo
    /// p.
    WG_X25519_INLINE __m256i fold(__m256i l, __m256i h, __m256i m, __m256i n) noexcept {
        __m256i const w = add(m, add(n, n)); // < 2^54.8
        __m256i const w3 = add(w, add(w, w)), w16 = _mm256_slli_epi64(w, 4);
        return add(add(l, add(h, h)), add(w3, w16));
    }

    /// r = given + a b in each lane. Before: a, b tight. After: wide. Limb 0 of a b is the largest limb: 1 lower half
    /// and 19 times 4 lower and 10 upper halves of products. Lower halves are < 2^52, upper halves < 2^50.01, so limb 0
    /// is < 2^52 * (1 + 19 * 6.6) < 2^58.99 < bias(0) / 2.
    WG_X25519_INLINE void multiply(quad& r, quad const& a, quad const& b, quad const& given) noexcept {
        __m256i const a0 = a.v[0], a1 = a.v[1], a2 = a.v[2], a3 = a.v[3], a4 = a.v[4];
        __m256i const b0 = b.v[0], b1 = b.v[1], b2 = b.v[2], b3 = b.v[3], b4 = b.v[4];
        __m256i l0, l1, l2, l3, l4, l5, l6, l7, l8, h1, h2, h3, h4, h5, h6, h7, h8, h9;
        // The terms that fold() multiplies by 19 come first. Limb 0 comes last, because carry() finishes it last
        // anyway.
        l5 = low(none(), a1, b4), h5 = high(none(), a1, b3), l6 = low(none(), a2, b4), h6 = high(none(), a2, b3);
        l7 = low(none(), a3, b4), h7 = high(none(), a3, b3), l8 = low(none(), a4, b4), h8 = high(none(), a4, b3);
        l5 = low(l5, a2, b3), h5 = high(h5, a2, b2), l6 = low(l6, a3, b3), h6 = high(h6, a3, b2);
        l7 = low(l7, a4, b3), h7 = high(h7, a4, b2), h8 = high(h8, a3, b4), h9 = high(none(), a4, b4);
        l5 = low(l5, a3, b2), h5 = high(h5, a3, b1), l6 = low(l6, a4, b2), h6 = high(h6, a4, b1);
        h7 = high(h7, a2, b4), l4 = low(given.v[4], a2, b2), h4 = high(none(), a2, b1);
        l3 = low(given.v[3], a2, b1);
        l5 = low(l5, a4, b1), h5 = high(h5, a4, b0), h6 = high(h6, a1, b4), l2 = low(given.v[2], a1, b1);
        h3 = high(none(), a1, b1), l4 = low(l4, a1, b3), h4 = high(h4, a1, b2), l3 = low(l3, a1, b2);
        h5 = high(h5, a0, b4), l2 = low(l2, a2, b0), h3 = high(h3, a2, b0), l4 = low(l4, a3, b1);
        h4 = high(h4, a3, b0), l3 = low(l3, a3, b0), l1 = low(given.v[1], a1, b0), h2 = high(none(), a1, b0);
        l2 = low(l2, a0, b2), h3 = high(h3, a0, b2), l4 = low(l4, a4, b0), h4 = high(h4, a0, b3);
        l3 = low(l3, a0, b3), l1 = low(l1, a0, b1), h2 = high(h2, a0, b1), l0 = low(given.v[0], a0, b0);
        h1 = high(none(), a0, b0), l4 = low(l4, a0, b4);
        r.v[4] = fold(l4, h4, _mm256_setzero_si256(), h9);
        r.v[3] = fold(l3, h3, l8, h8);
        r.v[2] = fold(l2, h2, l7, h7);
        r.v[1] = fold(l1, h1, l6, h6);
        r.v[0] = fold(l0, _mm256_setzero_si256(), l5, h5);
    }

    /// The elements a 2^9 p, b 2^9 p, c 2^9 p, d 2^9 p.
    WG_X25519_INLINE quad lanes_of_bias(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        quad r;
        WG_LIMBS(r.v[i] = lanes(a * bias(i), b * bias(i), c * bias(i), d * bias(i)))
        return r;
    }

    /// Lanes (a, b, c, d) become (a + b, a - b, c + d, c - d) if `Both`, else (a + b, a - b, c, c - d). The even lanes
    /// of x include `bias`, so that no limb of a difference is below zero.
    template <bool Both> WG_X25519_INLINE void cross(quad& r, quad const& x) noexcept {
        WG_LIMBS(__m256i const y = other(x.v[i]);
                 __m256i const sums = Both ? add(x.v[i], y) : _mm256_mask_add_epi64(x.v[i], 1, x.v[i], y);
                 r.v[i] = _mm256_mask_sub_epi64(sums, 10, y, x.v[i]))
    }

    /// Sets r to one lane of x, which is tight.
    template <int Lane> WG_X25519_INLINE void take(field25519<limbs64>& r, quad const& x) noexcept {
        WG_LIMBS(__m128i const half = _mm256_extracti128_si256(x.v[i], Lane / 2);
                 r.v[i] = static_cast<std::uint64_t>(_mm_extract_epi64(half, Lane % 2)))
    }

    /// A step of the ladder, in three rounds of four products. n: lanes (C, D, A, B), tight, where C = x3 + z3,
    /// D = x3 - z3, A = x2 + z2, B = x2 - z2. `swap` is all ones if x3:z3 is to be doubled, and zero if x2:z2 is. `by`:
    /// lanes (0, x1, 0, 121665).
    WG_X25519_INLINE void step(quad& n, __m256i swap, quad const& by) noexcept {
        quad a, b, w, e;
        // the factors (D, C, P, Q) and (A, B, P, Q), where P, Q are C, D or A, B as `swap` selects
        __m256i const which = _mm256_xor_si256(_mm256_and_si256(swap, lanes(0, 0, 2, 2)), lanes(0, 0, 2, 3));
        __m256i const left = _mm256_or_si256(which, lanes(1, 0, 0, 0)),
                      right = _mm256_or_si256(which, lanes(2, 3, 0, 0));
        WG_LIMBS(a.v[i] = _mm256_permutexvar_epi64(left, n.v[i]); b.v[i] = _mm256_permutexvar_epi64(right, n.v[i]))
        multiply(w, a, b, lanes_of_bias(1, 0, 1, 0)); // DA, CB, AA, BB
        cross<false>(w, w);
        carry(e, w); // S = DA + CB, T = DA - CB, AA, E = AA - BB
        WG_LIMBS(b.v[i] = _mm256_mask_shuffle_epi32(e.v[i], 0x30, e.v[i], _MM_PERM_BADC))
        multiply(w, e, b, lanes_of_bias(0, 0, 0, 0)); // SS, TT, AA E, EE
        carry(a, w);
        // the factors (any, TT, AA, EE) and (0, x1, AA, 121665)
        WG_LIMBS(a.v[i] = _mm256_mask_mov_epi64(a.v[i], 4, e.v[i]); b.v[i] = _mm256_mask_mov_epi64(by.v[i], 4, e.v[i]))
        // x3 = SS, z3 = x1 TT, x2 = AA BB = AA AA - AA E, z2 = E (AA + 121665 E). Lane 2 has 2^9 p twice: for the
        // difference here and for the difference in cross().
        e = lanes_of_bias(1, 0, 2, 0);
        WG_LIMBS(e.v[i] = _mm256_mask_sub_epi64(_mm256_mask_add_epi64(e.v[i], 1, e.v[i], w.v[i]), 4, e.v[i], w.v[i]);
                 e.v[i] = _mm256_mask_add_epi64(e.v[i], 8, e.v[i], other(w.v[i])))
        multiply(w, a, b, e);
        cross<true>(w, w);
        carry(n, w);
    }

    /// The ladder: out = the multiple of `point`. All have 32 bytes. Wipes the registers, but not the stack.
    WG_X25519_IFMA [[gnu::noinline]] static void ladder(byte* out, byte const* scalar, byte const* point) noexcept {
        field25519<limbs64> x1;
        std::uint64_t swaps[4];
        x1.decode(point);
        swaps_of_scalar(swaps, scalar);
        quad n = lanes_of_bias(1, 0, 1, 0), by;
        // x3 = x1, z3 = 1, x2 = 1, z2 = 0
        WG_LIMBS(by.v[i] = lanes(0, x1.v[i], 0, i == 0 ? 121665 : 0);
                 n.v[i] = add(n.v[i], lanes(x1.v[i], i == 0, i == 0, 0)))
        cross<true>(n, n);
        carry(n, n);
        for (std::size_t bit = 255; bit-- > 0;)
            step(n, all(std::uint64_t{0} - (swaps[bit / 64] >> (bit % 64) & 1)), by);
        // the lowest bit of the scalar is clear, so x2:z2 is the result without an exchange. A + B = 2 x2, A - B = 2 z2
        field25519<limbs64> sum, difference;
        take<2>(sum, n), take<3>(difference, n);
        quotient_of_halves(out, sum, difference);
        wipe(sum), wipe(difference);
        wipe(swaps);
        wipe_avx512_registers();
    }

    /// Looks up the point for a digit of comb j, by reading all 16 points. r, tight: lanes
    /// ((y - x) / 2, (y + x) / 2, d x y, 1).
    WG_X25519_INLINE void select(quad& r, std::size_t j, comb25519::digit digit) noexcept {
        __m256i w[4];
        avx2_x25519::select(w, j, digit);
        __m256i const m = all(mask);
        r.v[0] = _mm256_and_si256(w[0], m);
        r.v[1] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[0], 51), _mm256_slli_epi64(w[1], 13)), m);
        r.v[2] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[1], 38), _mm256_slli_epi64(w[2], 26)), m);
        r.v[3] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[2], 25), _mm256_slli_epi64(w[3], 39)), m);
        r.v[4] = _mm256_srli_epi64(w[3], 12);
        // p - d x y for a negative digit: no limb of a d x y in the table is greater than the limb of p
        __mmask8 const negative = static_cast<__mmask8>(digit.negative << 2);
        WG_LIMBS(r.v[i] = _mm256_mask_sub_epi64(r.v[i], negative, all(mask - (i == 0 ? 18 : 0)), r.v[i]))
    }

    /// The last four products of an addition and of a doubling. e: lanes (E, H, F, G), tight. The point is X = E F,
    /// Y = G H, T = E H, Z = F G. q: lanes (Y - X, Y + X, T, Z), tight, as plus() and twice() take it.
    WG_X25519_INLINE void finish(quad& q, quad const& e) noexcept {
        quad a, b;
        WG_LIMBS(a.v[i] = _mm256_permute4x64_epi64(e.v[i], _MM_PERM_CABA);
                 b.v[i] = _mm256_permute4x64_epi64(e.v[i], _MM_PERM_DBDC))
        multiply(a, a, b, lanes_of_bias(0, 1, 0, 0));
        WG_LIMBS(__m256i const y = other(a.v[i]);
                 a.v[i] = _mm256_mask_sub_epi64(_mm256_mask_add_epi64(a.v[i], 2, a.v[i], y), 1, y, a.v[i]))
        carry(q, a);
    }

    /// Adds `point`, lanes as in select(), to q: lanes (Y - X, Y + X, T, Z), tight.
    WG_X25519_INLINE void plus(quad& q, quad const& point) noexcept {
        quad w;
        multiply(w, q, point, lanes_of_bias(0, 1, 0, 1)); // A, B, C, D, each half of the paper's
        WG_LIMBS(__m256i const y = other(w.v[i]); w.v[i] = _mm256_mask_sub_epi64(add(y, w.v[i]), 5, y, w.v[i]))
        carry(w, w); // E = B - A, H = B + A, F = D - C, G = D + C
        finish(q, w);
    }

    /// Doubles the point q. With u = Y - X and v = Y + X: E = 4 XY = vv - uu, H = 2 (XX + YY) = vv + uu, G = 2
    /// (YY - XX) = 2 uv, F = 4 ZZ - G. These are twice the values of the paper, with the signs of F and H changed; the
    /// point is the same.
    WG_X25519_INLINE void twice(quad& q) noexcept {
        quad w, a, b;
        WG_LIMBS(a.v[i] = _mm256_permute4x64_epi64(q.v[i], _MM_PERM_DABA);
                 b.v[i] = _mm256_permute4x64_epi64(q.v[i], _MM_PERM_DBBA))
        multiply(w, a, b, lanes_of_bias(0, 0, 0, 0)); // uu, vv, uv, ZZ: < 2^58.99
        WG_LIMBS(w.v[i] = _mm256_mask_add_epi64(w.v[i], 12, w.v[i], w.v[i]); __m256i const y = other(w.v[i]);
                 __m256i const t = _mm256_mask_add_epi64(_mm256_mask_add_epi64(y, 2, y, w.v[i]), 4, y, y);
                 w.v[i] = _mm256_mask_sub_epi64(t, 5, add(t, lanes(bias(i), 0, bias(i), 0)), w.v[i])) // < 2^61.6
        carry(w, w);
        finish(q, w);
    }

    /// The comb of x25519_base.hpp: out = the multiple of the base point. Both have 32 bytes. Wipes the registers, but
    /// not the stack.
    WG_X25519_IFMA [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        quad q, point;
        WG_LIMBS(q.v[i] = lanes(i == 0, i == 0, 0, i == 0)) // the neutral point x = 0, y = 1
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(q);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                select(point, j, digits.at(j, place));
                plus(q, point);
            }
        }
        // u = (Z + Y) / (Z - Y), and Z - Y is not zero: see x25519_base. 2 Y = (Y - X) + (Y + X)
        field25519<limbs64> y2, z2;
        WG_LIMBS(q.v[i] = _mm256_mask_add_epi64(add(q.v[i], q.v[i]), 1, q.v[i], other(q.v[i])))
        carry(q, q);
        take<0>(y2, q), take<3>(z2, q);
        quotient_of_halves(out, z2, y2);
        wipe(y2), wipe(z2);
        wipe_avx512_registers();
    }
};

}}} // namespace wg::WG_ABI::bundled

#endif

#endif
