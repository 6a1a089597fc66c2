// SPDX-License-Identifier: BSL-1.0
// X25519 with four 32-bit products in one instruction (AVX2). With one key, the lanes hold four products of the same
// step, as in x25519_ifma.hpp. With four keys, each lane holds one key.
// Folder: backends/bundled; any thread. Requires a processor for which `has(set, cpu::avx2)` is true.
#ifndef WG_BACKENDS_BUNDLED_X25519_AVX2_HPP
#define WG_BACKENDS_BUNDLED_X25519_AVX2_HPP

#include "x25519_base.hpp"
#include "x25519_lanes.hpp"

#ifdef WG_HAS_X86_KERNELS
#include <immintrin.h>
#include <utility>

#define WG_X25519_AVX2 [[WG_TARGET_AVX2]]
#ifdef __OPTIMIZE__
#define WG_X25519_AVX2_INLINE WG_X25519_AVX2 [[gnu::always_inline]] static inline
#else // not inlined: without optimisation each inlined object takes its own stack memory, a megabyte in all
#define WG_X25519_AVX2_INLINE WG_X25519_AVX2 static inline
#endif
// Keeps the order of a sum's terms. g++ would otherwise add them as a tree, which needs more registers than there are.
#define WG_X25519_IN_ORDER(sum) asm("" : "+x"(sum))
// Repeats the text for i = 0 to 9. With a loop, the variable index would keep the limbs in memory.
// clang-format off
#define WG_LIMB(n, ...) { constexpr int i = n; __VA_ARGS__; }
#define WG_TEN_LIMBS(...) WG_LIMB(0, __VA_ARGS__) WG_LIMB(1, __VA_ARGS__) WG_LIMB(2, __VA_ARGS__) \
    WG_LIMB(3, __VA_ARGS__) WG_LIMB(4, __VA_ARGS__) WG_LIMB(5, __VA_ARGS__) WG_LIMB(6, __VA_ARGS__) \
    WG_LIMB(7, __VA_ARGS__) WG_LIMB(8, __VA_ARGS__) WG_LIMB(9, __VA_ARGS__)
// clang-format on

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Four elements modulo p = 2^255 - 19, one to a lane: ten limbs of alternately 26 and 25 bits (radix 2^25.5), which
/// fit the 32-bit factors of a product instruction. Ranges, with B_i = 2^26 for even i and 2^25 for odd i: "tight"
/// limbs are < B_i + 2^17. "Loose" limbs are < 3 B_i + 2^17: sums of two tight elements, and differences, to which 2p
/// is added. Factors are loose. Products are "wide", with limbs < 2^63.
struct narrow25519 {
    __m256i v[10]; ///< limb i of all four elements in v[i]
};

/// X25519 with AVX2, for one key.
struct avx2_x25519 {
    using fe = narrow25519;                          ///< four field elements
    static constexpr std::size_t stack_bytes = 8192; ///< stack below the caller's frame that may hold secrets

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

    /// `value` in all lanes.
    WG_X25519_AVX2_INLINE __m256i all(std::uint64_t value) noexcept {
        return _mm256_set1_epi64x(static_cast<long long>(value));
    }
    /// The values a, b, c, d in lanes 0-3.
    WG_X25519_AVX2_INLINE __m256i quad(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b),
                                 static_cast<long long>(a));
    }
    /// a + b in each lane.
    WG_X25519_AVX2_INLINE __m256i add(__m256i a, __m256i b) noexcept { return _mm256_add_epi64(a, b); }
    /// The 64-bit product of the lower 32 bits of a and b in each lane.
    WG_X25519_AVX2_INLINE __m256i times(__m256i a, __m256i b) noexcept { return _mm256_mul_epu32(a, b); }
    /// Exchanges lanes 0 and 1, and lanes 2 and 3.
    WG_X25519_AVX2_INLINE __m256i other(__m256i a) noexcept { return _mm256_shuffle_epi32(a, 0x4e); }

    /// The bits of limb i.
    static constexpr int bits(int i) noexcept { return i % 2 == 0 ? 26 : 25; }
    /// A mask of the bits of limb i.
    static constexpr std::uint64_t mask(int i) noexcept { return (std::uint64_t{1} << bits(i)) - 1; }
    /// Limb i of 2p.
    static constexpr std::uint64_t two_p(int i) noexcept { return 2 * mask(i) - (i == 0 ? 36 : 0); }

    /// Limb i of 2p in the lanes whose argument is true, zero in the others.
    WG_X25519_AVX2_INLINE __m256i twice_p(int i, bool a, bool b, bool c, bool d) noexcept {
        std::uint64_t const p = two_p(i);
        return quad(a * p, b * p, c * p, d * p);
    }

    /// The factors a and b of a product, and the multiples of them that its terms need.
    struct factors {
        fe a,    ///< the first factor
            a2,  ///< 2 a, odd limbs only
            b,   ///< the second factor
            b19; ///< 19 b, limbs 1-9 only
    };

    /// Term N of limb K of a product. The weight of a limb, 2^(25.5 i), is rounded up, so a product of two odd limbs is
    /// doubled. 2^255 = 19 modulo p, so a term of limb K + 10 is multiplied by 19. Factors are < 2^27.6
    /// and < 19 * 2^27.6 < 2^31.9. The term is < 2^59.5 if both limbs are even, and half of that if one limb, and so
    /// limb K, is odd.
    template <int K, int N> WG_X25519_AVX2_INLINE __m256i term(factors const& f) noexcept {
        constexpr int j = (K - N + 10) % 10;
        return times(N % 2 == 1 && j % 2 == 1 ? f.a2.v[N] : f.a.v[N], N > K ? f.b19.v[j] : f.b.v[j]);
    }
    /// Adds the products of limb N of a and all limbs of b to r. In this order only the ten sums and one limb of a have
    /// to be in registers.
    template <int N> WG_X25519_AVX2_INLINE void row(fe& r, factors const& f) noexcept {
        if constexpr (N == 0) {
            WG_TEN_LIMBS(r.v[i] = term<i, 0>(f))
        } else {
            WG_TEN_LIMBS(r.v[i] = add(r.v[i], term<i, N>(f)); WG_X25519_IN_ORDER(r.v[i]))
        }
    }

    /// r = a b in each lane. Before: loose. After: wide, because a limb is the sum of 10 terms < 2^59.5.
    WG_X25519_AVX2_INLINE void multiply(fe& r, fe const& a, fe const& b) noexcept {
        factors f;
        fe t;
        WG_TEN_LIMBS(f.a.v[i] = a.v[i]; f.b.v[i] = b.v[i]; if constexpr (i % 2 == 1) f.a2.v[i] = add(a.v[i], a.v[i]);
                     if constexpr (i > 0) f.b19.v[i] = times(b.v[i], all(19)))
        row<0>(t, f), row<1>(t, f), row<2>(t, f), row<3>(t, f), row<4>(t, f);
        row<5>(t, f), row<6>(t, f), row<7>(t, f), row<8>(t, f), row<9>(t, f);
        r = t;
    }

    /// The argument a of a square, and the multiples of it that the terms need.
    struct root {
        fe a,    ///< the argument
            a2,  ///< 2 a
            a19, ///< 19 a, limbs 5-9 only
            a38; ///< 38 a, odd limbs of 5-9 only
    };
    /// The product of limbs N and M, N <= M, with its factor in the square: 2 for different limbs, 2 for two odd limbs
    /// and 19 if it wraps at 2^255.
    template <int N, int M> WG_X25519_AVX2_INLINE __m256i square_term(root const& f) noexcept {
        constexpr bool twice = N % 2 == 1 && M % 2 == 1, wraps = N + M >= 10;
        if constexpr (N == M) return times(twice ? f.a2.v[N] : f.a.v[N], wraps ? f.a19.v[M] : f.a.v[M]);
        return times(f.a2.v[N], twice ? (wraps ? f.a38.v[M] : f.a2.v[M]) : (wraps ? f.a19.v[M] : f.a.v[M]));
    }
    /// Adds the products of limb N and the limbs from N on to r.
    template <int N> WG_X25519_AVX2_INLINE void square_row(fe& r, root const& f) noexcept {
        if constexpr (N == 0) {
            WG_TEN_LIMBS(r.v[i] = square_term<0, i>(f))
        } else {
            WG_TEN_LIMBS(constexpr int k = (N + i) % 10; if constexpr (i >= N) {
                r.v[k] = add(r.v[k], square_term<N, i>(f));
                WG_X25519_IN_ORDER(r.v[k]);
            })
        }
    }
    /// r = a^2 in each lane, with 55 products where multiply() has 100. Before: loose. After: wide, the sums of
    /// multiply().
    WG_X25519_AVX2_INLINE void square(fe& r, fe const& a) noexcept {
        root f;
        fe t;
        WG_TEN_LIMBS(f.a.v[i] = a.v[i]; f.a2.v[i] = add(a.v[i], a.v[i]);
                     if constexpr (i >= 5) f.a19.v[i] = times(a.v[i], all(19));
                     if constexpr (i >= 5 && i % 2 == 1) f.a38.v[i] = add(f.a19.v[i], f.a19.v[i]))
        square_row<0>(t, f), square_row<1>(t, f), square_row<2>(t, f), square_row<3>(t, f), square_row<4>(t, f);
        square_row<5>(t, f), square_row<6>(t, f), square_row<7>(t, f), square_row<8>(t, f), square_row<9>(t, f);
        r = t;
    }

    /// Limb N keeps its lower bits(N) bits. The higher bits are added to the next limb; those of limb 9 are multiplied
    /// by 19 and added to limb 0.
    template <int N> WG_X25519_AVX2_INLINE void carry_one(fe& x) noexcept {
        __m256i const c = _mm256_srli_epi64(x.v[N], bits(N));
        x.v[N] = _mm256_and_si256(x.v[N], all(mask(N)));
        if constexpr (N < 9) x.v[N + 1] = add(x.v[N + 1], c);
        else x.v[0] = add(add(x.v[0], c), add(add(c, c), _mm256_slli_epi64(c, 4)));
    }
    /// Carries. Before: wide. After: tight. Two chains, from limb 0 and from limb 4, run side by side and hide each
    /// other's latency. Carries are < 2^38 + 2. The carry of limb 9, times 19, is < 2^43; limb 0 then carries < 2^17
    /// into limb 1. The second carry of limb 4 is < 2^13.
    WG_X25519_AVX2_INLINE void carry(fe& x) noexcept {
        carry_one<0>(x), carry_one<4>(x), carry_one<1>(x), carry_one<5>(x), carry_one<2>(x), carry_one<6>(x);
        carry_one<3>(x), carry_one<7>(x), carry_one<4>(x), carry_one<8>(x), carry_one<9>(x), carry_one<0>(x);
    }

    /// Sets lanes 0-3 of r to a, b, c, d: each limb of 51 bits is split in two.
    WG_X25519_AVX2_INLINE void give(fe& r, field25519<limbs64> const& a, field25519<limbs64> const& b,
                                    field25519<limbs64> const& c, field25519<limbs64> const& d) noexcept {
        WG_TEN_LIMBS(r.v[i] = quad(a.v[i / 2] >> (i % 2 * 26) & mask(i), b.v[i / 2] >> (i % 2 * 26) & mask(i),
                                   c.v[i / 2] >> (i % 2 * 26) & mask(i), d.v[i / 2] >> (i % 2 * 26) & mask(i)))
    }
    /// Sets r to one lane of x. Before: tight. After: limbs < 2^51 + 2^44.
    template <int Lane> WG_X25519_AVX2_INLINE void take(field25519<limbs64>& r, fe const& x) noexcept {
        WG_TEN_LIMBS(__m128i const half = _mm256_extracti128_si256(x.v[i], Lane / 2);
                     std::uint64_t const value = static_cast<std::uint64_t>(_mm_extract_epi64(half, Lane % 2));
                     if constexpr (i % 2 == 0) r.v[i / 2] = value; else r.v[i / 2] += value << 26)
    }

    /// Lanes (a, b, c, d) become (a + b, a - b, c + d, c - d) if `Both`, else (a + b, a - b, c, c - d). Before: tight.
    /// After: loose.
    template <bool Both> WG_X25519_AVX2_INLINE void cross(fe& r, fe const& x) noexcept {
        WG_TEN_LIMBS(__m256i const y = other(x.v[i]);
                     __m256i const differences = _mm256_sub_epi64(add(y, all(two_p(i))), x.v[i]);
                     __m256i const sums = add(x.v[i], y);
                     r.v[i] =
                         _mm256_blend_epi32(Both ? sums : _mm256_blend_epi32(sums, x.v[i], 0x30), differences, 0xcc))
    }

    /// A step of the ladder for one key, in three rounds of four products. n: lanes (C, D, A, B), loose, where
    /// C = x3 + z3, D = x3 - z3, A = x2 + z2, B = x2 - z2. `swap` is all ones if x3:z3 is to be doubled, and zero if
    /// x2:z2 is. `by`: lanes (0, x1, 0, 121665), tight.
    WG_X25519_AVX2_INLINE void step(fe& n, __m256i swap, fe const& by) noexcept {
        fe a, b, w, e;
        // the factors (D, C, P, Q) and (A, B, P, Q), where P, Q are C, D or A, B as `swap` selects
        __m256i const same = _mm256_set_epi32(7, 6, 5, 4, 0, 0, 0, 0), four = _mm256_set_epi32(4, 4, 4, 4, 0, 0, 0, 0);
        __m256i const which = _mm256_xor_si256(same, _mm256_and_si256(swap, four));
        __m256i const left = _mm256_or_si256(which, _mm256_set_epi32(0, 0, 0, 0, 1, 0, 3, 2)),
                      right = _mm256_or_si256(which, _mm256_set_epi32(0, 0, 0, 0, 7, 6, 5, 4));
        WG_TEN_LIMBS(a.v[i] = _mm256_permutevar8x32_epi32(n.v[i], left);
                     b.v[i] = _mm256_permutevar8x32_epi32(n.v[i], right))
        multiply(w, a, b);
        carry(w);           // DA, CB, AA, BB
        cross<false>(e, w); // S = DA + CB, T = DA - CB, AA, E = AA - BB
        WG_TEN_LIMBS(b.v[i] = _mm256_blend_epi32(e.v[i], other(e.v[i]), 0x30))
        multiply(w, e, b); // SS, TT, AA E, EE
        carry(w);
        // the factors (any, TT, AA, EE) and (0, x1, AA, 121665)
        WG_TEN_LIMBS(a.v[i] = _mm256_blend_epi32(w.v[i], e.v[i], 0x30);
                     b.v[i] = _mm256_blend_epi32(by.v[i], e.v[i], 0x30))
        multiply(e, a, b);
        // x3 = SS, z3 = x1 TT, x2 = AA BB = AA AA - AA E, z2 = E (AA + 121665 E)
        __m256i const zero = _mm256_setzero_si256();
        WG_TEN_LIMBS(__m256i const minus = _mm256_sub_epi64(all(two_p(i)), w.v[i]);
                     __m256i const ends = _mm256_blend_epi32(w.v[i], other(w.v[i]), 0xc0);
                     e.v[i] = add(e.v[i], _mm256_blend_epi32(_mm256_blend_epi32(ends, minus, 0x30), zero, 0x0c)))
        carry(e);
        cross<true>(n, e);
    }

    /// The ladder: out = the multiple of `point`. All have 32 bytes. Wipes the registers, but not the stack.
    WG_X25519_AVX2 [[gnu::noinline]] static void ladder(byte* out, byte const* scalar, byte const* point) noexcept {
        field25519<limbs64> x1, zero, one, a24, sum, difference;
        std::uint64_t swaps[4];
        x1.decode(point);
        zero.set_small(0), one.set_small(1), a24.set_small(121665);
        swaps_of_scalar(swaps, scalar);
        fe n, by;
        give(by, zero, x1, zero, a24);
        give(n, x1, one, one, zero); // x3, z3, x2, z2
        cross<true>(n, n);
        for (std::size_t bit = 255; bit-- > 0;)
            step(n, all(std::uint64_t{0} - (swaps[bit / 64] >> (bit % 64) & 1)), by);
        // the lowest bit of the scalar is clear, so x2:z2 is the result without an exchange. A + B = 2 x2, A - B = 2 z2
        carry(n);
        take<2>(sum, n), take<3>(difference, n);
        quotient_of_halves(out, sum, difference);
        wipe(sum), wipe(difference), wipe(swaps);
        wipe_registers();
    }

    /// Clears the vector registers.
    WG_X25519_AVX2_INLINE void wipe_registers() noexcept {
        asm volatile("vzeroall"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
    }

    /// Looks up the point for a digit of comb j, by reading all 16 points. w: its words, the lowest first, in lanes
    /// ((y - x) / 2, (y + x) / 2, d x y, 1). For a negative digit the first two are exchanged; the caller negates the
    /// third.
    WG_X25519_AVX2_INLINE void select(__m256i (&w)[4], std::size_t j, comb25519::digit digit) noexcept {
        __m256i const index = all(digit.index), one = all(1);
        __m256i minus = _mm256_setzero_si256(), plus = minus, product = minus, at = minus;
        std::uint64_t const* from = comb25519::table + j * comb25519::points * comb25519::words;
        for (std::uint32_t i = 0; i < comb25519::points; ++i, from += comb25519::words) {
            __m256i const same = _mm256_cmpeq_epi64(at, index);
            __m256i const* const entry = reinterpret_cast<__m256i const*>(from);
            minus = _mm256_or_si256(minus, _mm256_and_si256(same, _mm256_load_si256(entry)));
            plus = _mm256_or_si256(plus, _mm256_and_si256(same, _mm256_load_si256(entry + 1)));
            product = _mm256_or_si256(product, _mm256_and_si256(same, _mm256_load_si256(entry + 2)));
            at = add(at, one);
        }
        // the negative of a point has -x in place of x
        __m256i const swap = _mm256_and_si256(_mm256_xor_si256(minus, plus), all(std::uint64_t{0} - digit.negative));
        minus = _mm256_xor_si256(minus, swap), plus = _mm256_xor_si256(plus, swap);
        __m256i const unit = quad(1, 0, 0, 0);
        __m256i const a = _mm256_unpacklo_epi64(minus, plus), b = _mm256_unpackhi_epi64(minus, plus),
                      c = _mm256_unpacklo_epi64(product, unit), d = _mm256_unpackhi_epi64(product, unit);
        w[0] = _mm256_permute2x128_si256(a, c, 0x20), w[1] = _mm256_permute2x128_si256(b, d, 0x20);
        w[2] = _mm256_permute2x128_si256(a, c, 0x31), w[3] = _mm256_permute2x128_si256(b, d, 0x31);
    }

    /// Splits four words into ten limbs. Limb i begins at bit 25.5 i, rounded up.
    WG_X25519_AVX2_INLINE void unpack(fe& r, __m256i const (&w)[4]) noexcept {
        WG_TEN_LIMBS(constexpr int first = (51 * i + 1) / 2, word = first / 64, bit = first % 64;
                     __m256i x = _mm256_srli_epi64(w[word], bit);
                     if constexpr (bit + bits(i) > 64) x = _mm256_or_si256(x, _mm256_slli_epi64(w[word + 1], 64 - bit));
                     r.v[i] = _mm256_and_si256(x, all(mask(i))))
    }

    /// The last four products of an addition and of a doubling. e: lanes (E, H, F, G), loose. The point is X = E F,
    /// Y = G H, T = E H, Z = F G. q: lanes (Y - X, Y + X, T, Z), loose, as plus() and twice() take it.
    WG_X25519_AVX2_INLINE void finish(fe& q, fe const& e) noexcept {
        fe a, b;
        WG_TEN_LIMBS(a.v[i] = _mm256_permute4x64_epi64(e.v[i], 0x84); b.v[i] = _mm256_permute4x64_epi64(e.v[i], 0xde))
        multiply(a, a, b);
        carry(a);
        WG_TEN_LIMBS(__m256i const y = other(a.v[i]);
                     __m256i const differences = _mm256_sub_epi64(add(y, all(two_p(i))), a.v[i]);
                     __m256i const ends = _mm256_blend_epi32(a.v[i], add(a.v[i], y), 0x0c);
                     q.v[i] = _mm256_blend_epi32(ends, differences, 0x03))
    }

    /// Adds `point`, lanes as in select(), loose, to q: lanes (Y - X, Y + X, T, Z), loose.
    WG_X25519_AVX2_INLINE void plus(fe& q, fe const& point) noexcept {
        fe w;
        multiply(w, q, point);
        carry(w); // A, B, C, D, each half of the paper's, as in x25519_base
        WG_TEN_LIMBS(__m256i const y = other(w.v[i]);
                     w.v[i] = _mm256_blend_epi32(add(y, w.v[i]), _mm256_sub_epi64(add(y, all(two_p(i))), w.v[i]), 0x33))
        finish(q, w); // E = B - A, H = B + A, F = D - C, G = D + C
    }

    /// Doubles the point q. With u = Y - X and v = Y + X: E = 4 XY = vv - uu, H = 2 (XX + YY) = vv + uu, G = 2
    /// (YY - XX) = 2 uv, F = 4 ZZ - G. These are twice the values of the paper, with the signs of F and H changed; the
    /// point is the same.
    WG_X25519_AVX2_INLINE void twice(fe& q) noexcept {
        fe w, a, b;
        WG_TEN_LIMBS(a.v[i] = _mm256_permute4x64_epi64(q.v[i], 0xc4); b.v[i] = _mm256_permute4x64_epi64(q.v[i], 0xd4))
        multiply(w, a, b);
        carry(w); // uu, vv, uv, ZZ
        WG_TEN_LIMBS(__m256i const z2 = add(w.v[i], w.v[i]); __m256i const x = _mm256_blend_epi32(w.v[i], z2, 0xf0);
                     __m256i const y = other(x); __m256i const p = add(all(two_p(i)), all(two_p(i)));
                     // vv, vv + uu, 4 ZZ, 2 uv
                     __m256i const t = _mm256_blend_epi32(_mm256_blend_epi32(y, add(y, x), 0x0c), add(y, y), 0x30);
                     w.v[i] = _mm256_blend_epi32(t, _mm256_sub_epi64(add(t, p), x), 0x33))
        carry(w);
        finish(q, w);
    }

    /// The comb of x25519_base.hpp: out = the multiple of the base point. Both have 32 bytes. Wipes the registers, but
    /// not the stack.
    WG_X25519_AVX2 [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        fe q, point;
        WG_TEN_LIMBS(q.v[i] = quad(i == 0, i == 0, 0, i == 0)) // the neutral point x = 0, y = 1
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(q);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                comb25519::digit const digit = digits.at(j, place);
                __m256i w[4];
                select(w, j, digit);
                unpack(point, w);
                __m256i const negative = _mm256_and_si256(all(std::uint64_t{0} - digit.negative), quad(0, 0, ~0ull, 0));
                WG_TEN_LIMBS(point.v[i] =
                                 _mm256_blendv_epi8(point.v[i], _mm256_sub_epi64(all(two_p(i)), point.v[i]), negative))
                plus(q, point);
            }
        }
        // u = (Z + Y) / (Z - Y), and Z - Y is not zero: see x25519_base. 2 Y = (Y - X) + (Y + X)
        field25519<limbs64> y2, z2;
        WG_TEN_LIMBS(q.v[i] = add(q.v[i], _mm256_blend_epi32(q.v[i], other(q.v[i]), 0x03)))
        carry(q);
        take<0>(y2, q), take<3>(z2, q);
        quotient_of_halves(out, z2, y2);
        wipe(y2), wipe(z2);
        wipe_registers();
    }
};

/// X25519 with AVX2, for four keys, one to a lane.
struct avx2_x25519_of_four : avx2_x25519 {
    static constexpr std::size_t lanes = 4; ///< keys at a time
    /// The least number of keys for which this kernel is faster: two calls for one key take longer than one for four.
    static constexpr std::size_t worth_it = 2;

    /// The state of four ladders, tight.
    struct state {
        fe x2,  ///< X of the point x2:z2
            z2, ///< Z of the point x2:z2
            x3, ///< X of the point x3:z3
            z3, ///< Z of the point x3:z3
            x1; ///< the points that are multiplied
    };

    /// r = a + b. Before: tight. After: loose.
    WG_X25519_AVX2_INLINE void sum(fe& r, fe const& a, fe const& b) noexcept {
        WG_TEN_LIMBS(r.v[i] = add(a.v[i], b.v[i]))
    }
    /// r = a - b. Before: tight. After: loose.
    WG_X25519_AVX2_INLINE void difference(fe& r, fe const& a, fe const& b) noexcept {
        WG_TEN_LIMBS(r.v[i] = _mm256_sub_epi64(add(a.v[i], all(two_p(i))), b.v[i]))
    }
    /// r = a b. Before: loose. After: tight.
    WG_X25519_AVX2_INLINE void product(fe& r, fe const& a, fe const& b) noexcept {
        multiply(r, a, b);
        carry(r);
    }

    /// A step of the ladder for four keys. x2:z2 becomes the double of x3:z3 in lanes where `swap` is all ones, else
    /// the double of x2:z2; x3:z3 becomes the sum of both points.
    WG_X25519_AVX2_INLINE void step(state& s, __m256i swap) noexcept {
        fe a, b, c, d;
        sum(a, s.x2, s.z2);
        difference(b, s.x2, s.z2);
        sum(c, s.x3, s.z3);
        difference(d, s.x3, s.z3);
        fe p, q, da, cb;
        WG_TEN_LIMBS(p.v[i] = _mm256_blendv_epi8(a.v[i], c.v[i], swap);
                     q.v[i] = _mm256_blendv_epi8(b.v[i], d.v[i], swap))
        product(da, d, a);
        product(cb, c, b);
        square(a, p);
        carry(a); // AA
        square(b, q);
        carry(b); // BB
        sum(c, da, cb);
        difference(d, da, cb);
        square(s.x3, c);
        carry(s.x3);
        square(d, d);
        carry(d);
        product(s.z3, d, s.x1);
        product(s.x2, a, b);
        difference(c, a, b); // E
        __m256i const a24 = all(121665);
        WG_TEN_LIMBS(d.v[i] = add(a.v[i], times(c.v[i], a24))) // < 2^45
        carry(d);
        product(s.z2, c, d);
    }

    /// The ladder for four items: the results are x[i] / z[i], limbs < 2^51 + 2^44. Wipes the registers, but not the
    /// stack.
    WG_X25519_AVX2 [[gnu::noinline]] static void ladder(dh_item const* items, field25519<limbs64>* x,
                                                        field25519<limbs64>* z) noexcept {
        field25519<limbs64> zero, one, x1[lanes];
        alignas(32) std::uint64_t swaps[4][lanes];
        for (std::size_t j = 0; j < lanes; ++j) {
            std::uint64_t k[4];
            swaps_of_scalar(k, items[j].scalar->expose().data());
            for (std::size_t i = 0; i < 4; ++i) swaps[i][j] = k[i];
            wipe(k);
            x1[j].decode(items[j].point.data());
        }
        zero.set_small(0), one.set_small(1);
        state s;
        give(s.x1, x1[0], x1[1], x1[2], x1[3]);
        give(s.x2, one, one, one, one);
        give(s.z2, zero, zero, zero, zero);
        s.x3 = s.x1, s.z3 = s.x2;
        for (std::size_t bit = 255; bit-- > 0;) {
            __m256i const word = _mm256_load_si256(reinterpret_cast<__m256i const*>(swaps[bit / 64]));
            __m256i const top = _mm256_sll_epi64(word, _mm_cvtsi32_si128(static_cast<int>(63 - bit % 64)));
            step(s, _mm256_cmpgt_epi64(_mm256_setzero_si256(), top)); // the lowest bit is clear: no exchange at the end
        }
        take<0>(x[0], s.x2), take<1>(x[1], s.x2), take<2>(x[2], s.x2), take<3>(x[3], s.x2);
        take<0>(z[0], s.z2), take<1>(z[1], s.z2), take<2>(z[2], s.z2), take<3>(z[3], s.z2);
        wipe(swaps);
        wipe(static_cast<void*>(&s), sizeof s);
        wipe_registers();
    }
};

}}} // namespace wg::WG_ABI::bundled

#undef WG_TEN_LIMBS
#undef WG_LIMB
#undef WG_X25519_IN_ORDER
#undef WG_X25519_AVX2_INLINE
#undef WG_X25519_AVX2

#endif

#endif
