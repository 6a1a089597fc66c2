// SPDX-License-Identifier: BSL-1.0
// X25519 for eight keys with 52-bit products (AVX-512 IFMA), one key to a lane of 64 bits.
// Folder: backends/bundled; any thread. Requires a processor for which `has(set, cpu::ifma)` is true.
//
// The products of eight lanes keep the multipliers busy, which hides latency. So the number of instructions limits the
// speed. Radix 2^52 saves instructions: a product instruction reads 52 bits of a limb, so the bits above, once carried,
// need not be masked.
#ifndef WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP
#define WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP

#include "x25519_ifma.hpp"

#ifdef WG_HAS_X86_KERNELS

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Eight elements modulo p = 2^255 - 19, one to a lane: five limbs of 52 bits. Elements have two ranges: "carried":
/// limb 4 is < 2^47 + 2^12; only the lowest 52 bits of the other limbs count. Products and squares take these. "wide":
/// limbs are < 2^63, and all bits count. Products and squares return these; sums and differences take them.
struct lanes25519 {
    __m512i v[5]; ///< limb i of all eight elements in v[i]
};

/// X25519 with AVX-512 IFMA, for eight keys, one to a lane.
struct ifma8_x25519 {
    static constexpr std::size_t lanes = 8; ///< keys at a time
    /// The least number of keys for which this kernel is worth it: three calls for one key take as long as one for
    /// eight.
    static constexpr std::size_t worth_it = 3;
    static constexpr std::size_t stack_bytes = 8192; ///< stack below the caller's frame that may hold secrets

    // The members below are public for tests only.

    using fe = lanes25519;                                                ///< eight field elements
    static constexpr std::uint64_t mask52 = (std::uint64_t{1} << 52) - 1, ///< the bits of limbs 0-3
        mask47 = (std::uint64_t{1} << 47) - 1;                            ///< the bits of limb 4

    /// `value` in all lanes.
    WG_X25519_INLINE __m512i all(std::uint64_t value) noexcept {
        return _mm512_set1_epi64(static_cast<long long>(value));
    }
    /// Zero, made anew each time: the compilers would copy a zero from a register, which occupies a port that
    /// multiplies.
    WG_X25519_INLINE __m512i none() noexcept {
        __m512i r;
        asm volatile("vpxorq %0, %0, %0" : "=v"(r));
        return r;
    }
    /// sum plus the lower 52 bits of the 104-bit product a b, in each lane.
    WG_X25519_INLINE __m512i low(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52lo_epu64(sum, a, b);
    }
    /// sum plus the upper 52 bits of the 104-bit product a b, in each lane.
    WG_X25519_INLINE __m512i high(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52hi_epu64(sum, a, b);
    }
    /// a + b in each lane.
    WG_X25519_INLINE __m512i add(__m512i a, __m512i b) noexcept { return _mm512_add_epi64(a, b); }
    /// b in the lanes whose bit in `from_b` is set, a in the others. In assembly, so that the secret mask selects
    /// between registers only: the compilers also use it for masked loads of spilled values.
    WG_X25519_INLINE __m512i choose(__m512i a, __mmask8 from_b, __m512i b) noexcept {
        asm("vmovdqa64 %2, %0%{%1%}" : "+v"(a) : "Yk"(from_b), "v"(b));
        return a;
    }
    /// Words to shift. Not by intrinsics: g++ 12 warns of an uninitialised variable in its own.
    typedef unsigned long long words __attribute__((vector_size(64)));
    /// a >> bits in each lane.
    WG_X25519_INLINE __m512i right(__m512i a, int bits) noexcept { return __m512i(words(a) >> bits); }
    /// a << bits in each lane.
    WG_X25519_INLINE __m512i left(__m512i a, int bits) noexcept { return __m512i(words(a) << bits); }

    /// Limb i of 2^9 p: 2^61 - 2^9 * 19 for limb 0, 2^61 - 2^9 for limbs 1-3, 2^56 - 2^9 for limb 4. It is larger than
    /// any limb of a product, so a difference plus 2^9 p has no limb below zero.
    static constexpr std::uint64_t bias(int i) noexcept {
        return ((i == 4 ? mask47 : mask52) - (i == 0 ? 18 : 0)) << 9;
    }

    /// Carries. Before: wide. After: carried. Bits from 255 on are multiplied by 19 and added to limb 0:
    /// < 2^16 * 19 < 2^21. The carry into limb 4 is < 2^12. A call takes several independent elements, so that their
    /// chains of carries overlap.
    template <class... More> WG_X25519_INLINE void carry(More&... x) noexcept {
        ((x.v[0] = low(x.v[0], right(x.v[4], 47), all(19))), ...);
        ((x.v[4] = _mm512_and_si512(x.v[4], all(mask47))), ...);
        ((x.v[1] = add(x.v[1], right(x.v[0], 52))), ...);
        ((x.v[2] = add(x.v[2], right(x.v[1], 52))), ...);
        ((x.v[3] = add(x.v[3], right(x.v[2], 52))), ...);
        ((x.v[4] = add(x.v[4], right(x.v[3], 52))), ...);
    }

    /// A product before it is reduced: ten limbs.
    struct wide {
        __m512i t[10]; ///< limb i of all lanes in t[i]
    };

    /// Reduces products to limbs t0-t4. Limbs t5-t9 have the weight 2^260 = 32 * 19 = 608 modulo p. t9 is the upper
    /// half of the product of the limbs 4, plus a carry: < 2^43, so 608 t9 is < 2^52 and has no upper half.
    template <class... More> WG_X25519_INLINE void fold(More&... w) noexcept {
        __m512i const f = all(608);
        ((w.t[6] = add(w.t[6], right(w.t[5], 52))), ...);
        ((w.t[0] = low(w.t[0], w.t[5], f)), ...);
        ((w.t[7] = add(w.t[7], right(w.t[6], 52))), ...);
        ((w.t[1] = high(w.t[1], w.t[5], f)), ...);
        ((w.t[8] = add(w.t[8], right(w.t[7], 52))), ...);
        ((w.t[2] = high(w.t[2], w.t[6], f)), ...);
        ((w.t[9] = add(w.t[9], right(w.t[8], 52))), ...);
        ((w.t[3] = high(w.t[3], w.t[7], f)), ...);
        ((w.t[4] = high(w.t[4], w.t[8], f)), ...);
        ((w.t[1] = low(w.t[1], w.t[6], f)), ...);
        ((w.t[2] = low(w.t[2], w.t[7], f)), ...);
        ((w.t[3] = low(w.t[3], w.t[8], f)), ...);
        ((w.t[4] = low(w.t[4], w.t[9], f)), ...);
    }

    /// Adds the lower halves of the products of limb N of a and all limbs of b.
    template <int N> WG_X25519_INLINE void low_row(wide& w, fe const& a, fe const& b) noexcept {
        WG_LIMBS(w.t[N + i] = low(w.t[N + i], a.v[N], b.v[i]))
    }
    /// Adds the upper halves of the products of limb N of a and all limbs of b.
    template <int N> WG_X25519_INLINE void high_row(wide& w, fe const& a, fe const& b) noexcept {
        WG_LIMBS(w.t[N + i + 1] = high(w.t[N + i + 1], a.v[N], b.v[i]))
    }
    /// Sets limbs t0-t4 to `given`, and t5-t9 to zero.
    WG_X25519_INLINE void start(wide& w, fe const& given) noexcept {
        WG_LIMBS(w.t[i] = given.v[i]; w.t[i + 5] = none())
    }
    /// r = limbs t0-t4.
    WG_X25519_INLINE void finish(fe& r, wide const& w) noexcept { WG_LIMBS(r.v[i] = w.t[i]) }

    /// r = given + a b. Before: a, b carried. After: limbs of r - given are sums of at most 11 halves, < 2^55.5.
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b, fe const& given) noexcept {
        wide w;
        start(w, given);
        low_row<0>(w, a, b), high_row<0>(w, a, b), low_row<1>(w, a, b), high_row<1>(w, a, b), low_row<2>(w, a, b);
        high_row<2>(w, a, b), low_row<3>(w, a, b), high_row<3>(w, a, b), low_row<4>(w, a, b), high_row<4>(w, a, b);
        fold(w);
        finish(r, w);
    }
    /// Two products, r = given + a b and r2 = given2 + a2 b2. Their instructions alternate, because those of one
    /// product depend on each other too often to keep the multipliers busy.
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b, fe const& given, fe& r2, fe const& a2, fe const& b2,
                                   fe const& given2) noexcept {
        wide w, x;
        start(w, given), start(x, given2);
        low_row<0>(w, a, b), low_row<0>(x, a2, b2), high_row<0>(w, a, b), high_row<0>(x, a2, b2);
        low_row<1>(w, a, b), low_row<1>(x, a2, b2), high_row<1>(w, a, b), high_row<1>(x, a2, b2);
        low_row<2>(w, a, b), low_row<2>(x, a2, b2), high_row<2>(w, a, b), high_row<2>(x, a2, b2);
        low_row<3>(w, a, b), low_row<3>(x, a2, b2), high_row<3>(w, a, b), high_row<3>(x, a2, b2);
        low_row<4>(w, a, b), low_row<4>(x, a2, b2), high_row<4>(w, a, b), high_row<4>(x, a2, b2);
        fold(w, x);
        finish(r, w), finish(r2, x);
    }
    /// Eight elements 0.
    WG_X25519_INLINE fe zero() noexcept {
        fe r;
        WG_LIMBS(r.v[i] = none())
        return r;
    }

    // A square in five parts, which squares() interleaves. Products of two different limbs count twice. Parts 1-3 add
    // those of limbs 0-3 and double the sums. Part 4 adds those with limb 4, which has room to be doubled first. Part 5
    // adds the squares of limbs.

    /// Half of bias(i) if `Biased`, else zero: part 3 doubles it.
    template <bool Biased> WG_X25519_INLINE __m512i half_bias(int i) noexcept {
        if constexpr (Biased) return all(bias(i) / 2);
        return none();
    }
    /// Part 1 of a square.
    template <bool Biased> WG_X25519_INLINE void square_1(wide& w, fe const& a) noexcept {
        w.t[1] = low(half_bias<Biased>(1), a.v[0], a.v[1]), w.t[2] = low(half_bias<Biased>(2), a.v[0], a.v[2]);
        w.t[3] = low(half_bias<Biased>(3), a.v[0], a.v[3]), w.t[4] = low(half_bias<Biased>(4), a.v[1], a.v[3]);
        w.t[5] = low(none(), a.v[2], a.v[3]), w.t[6] = high(none(), a.v[2], a.v[3]);
    }
    /// Part 2 of a square.
    WG_X25519_INLINE void square_2(wide& w, fe const& a) noexcept {
        w.t[2] = high(w.t[2], a.v[0], a.v[1]), w.t[3] = high(w.t[3], a.v[0], a.v[2]);
        w.t[4] = high(w.t[4], a.v[0], a.v[3]), w.t[5] = high(w.t[5], a.v[1], a.v[3]);
    }
    /// Part 3 of a square: it doubles the sums.
    WG_X25519_INLINE void square_3(wide& w, fe const& a) noexcept {
        w.t[3] = low(w.t[3], a.v[1], a.v[2]), w.t[4] = high(w.t[4], a.v[1], a.v[2]);
        w.t[1] = add(w.t[1], w.t[1]), w.t[2] = add(w.t[2], w.t[2]), w.t[5] = add(w.t[5], w.t[5]);
        w.t[6] = add(w.t[6], w.t[6]), w.t[3] = add(w.t[3], w.t[3]), w.t[4] = add(w.t[4], w.t[4]);
    }
    /// Part 4 of a square: the products with limb 4.
    WG_X25519_INLINE void square_4(wide& w, fe const& a) noexcept {
        __m512i const d = add(a.v[4], a.v[4]);
        w.t[5] = low(w.t[5], a.v[1], d), w.t[6] = low(w.t[6], a.v[2], d), w.t[7] = low(none(), a.v[3], d);
        w.t[8] = high(none(), a.v[3], d), w.t[4] = low(w.t[4], a.v[0], d), w.t[5] = high(w.t[5], a.v[0], d);
        w.t[6] = high(w.t[6], a.v[1], d), w.t[7] = high(w.t[7], a.v[2], d);
    }
    /// Part 5 of a square: the squares of limbs. `given` is added to limb 0.
    WG_X25519_INLINE void square_5(wide& w, fe const& a, __m512i given) noexcept {
        w.t[5] = high(w.t[5], a.v[2], a.v[2]), w.t[6] = low(w.t[6], a.v[3], a.v[3]);
        w.t[7] = high(w.t[7], a.v[3], a.v[3]), w.t[8] = low(w.t[8], a.v[4], a.v[4]);
        w.t[9] = high(none(), a.v[4], a.v[4]), w.t[0] = low(given, a.v[0], a.v[0]);
        w.t[1] = high(w.t[1], a.v[0], a.v[0]), w.t[2] = low(w.t[2], a.v[1], a.v[1]);
        w.t[3] = high(w.t[3], a.v[1], a.v[1]), w.t[4] = low(w.t[4], a.v[2], a.v[2]);
    }
    /// r = a^2 + 2^9 p and r2 = a2^2, interleaved as the two products of multiply(). Before: carried. After: wide.
    WG_X25519_INLINE void squares(fe& r, fe const& a, fe& r2, fe const& a2) noexcept {
        wide w, x;
        square_1<true>(w, a), square_1<false>(x, a2), square_2(w, a), square_2(x, a2), square_3(w, a), square_3(x, a2);
        square_4(w, a), square_4(x, a2), square_5(w, a, all(bias(0))), square_5(x, a2, none());
        fold(w, x);
        finish(r, w), finish(r2, x);
    }

    /// The state of eight ladders, wide. x2 and x3 include `bias`, so that z2 and z3 can be subtracted.
    struct state {
        fe x2,  ///< X of the point x2:z2
            z2, ///< Z of the point x2:z2
            x3, ///< X of the point x3:z3
            z3, ///< Z of the point x3:z3
            x1; ///< the points that are multiplied
    };

    /// f = aa + 121665 e. Limb 4 of e is < 2^48, so the upper half of its product is < 2^13; its weight is 2^260.
    WG_X25519_INLINE void times_a24(fe& f, fe const& aa, fe const& e) noexcept {
        __m512i const k = all(121665);
        f.v[0] = low(aa.v[0], e.v[0], k);
        f.v[1] = low(high(aa.v[1], e.v[0], k), e.v[1], k);
        f.v[2] = low(high(aa.v[2], e.v[1], k), e.v[2], k);
        f.v[3] = low(high(aa.v[3], e.v[2], k), e.v[3], k);
        f.v[4] = low(high(aa.v[4], e.v[3], k), e.v[4], k);
        f.v[0] = low(f.v[0], high(none(), e.v[4], k), all(608));
    }
    /// Eight elements 2^9 p.
    WG_X25519_INLINE fe biased() noexcept {
        return {{all(bias(0)), all(bias(1)), all(bias(2)), all(bias(3)), all(bias(4))}};
    }

    /// A step of the ladder. x2:z2 becomes the double of x3:z3 in lanes whose bit in `swap` is set, else the double of
    /// x2:z2; x3:z3 becomes the sum of both points.
    WG_X25519_INLINE void step(state& s, __mmask8 swap) noexcept {
        fe a, b, c, d, p, q, da, cb, aa, bb, e, f;
        WG_LIMBS(a.v[i] = add(s.x2.v[i], s.z2.v[i]); b.v[i] = _mm512_sub_epi64(s.x2.v[i], s.z2.v[i]);
                 c.v[i] = add(s.x3.v[i], s.z3.v[i]); d.v[i] = _mm512_sub_epi64(s.x3.v[i], s.z3.v[i]))
        carry(a, b, c, d);
        multiply(da, d, a, biased(), cb, c, b, zero());
        // carried bits above the lowest 52 need no masking here, because products do not read them
        WG_LIMBS(p.v[i] = choose(a.v[i], swap, c.v[i]); q.v[i] = choose(b.v[i], swap, d.v[i]))
        squares(aa, p, bb, q);
        WG_LIMBS(a.v[i] = add(da.v[i], cb.v[i]); b.v[i] = _mm512_sub_epi64(da.v[i], cb.v[i]))
        carry(a, b);
        WG_LIMBS(e.v[i] = _mm512_sub_epi64(aa.v[i], bb.v[i]); f.v[i] = aa.v[i])
        carry(e, aa, bb);
        squares(s.x3, a, b, b);
        times_a24(f, f, e);
        multiply(s.x2, aa, bb, biased());
        carry(f, b);
        multiply(s.z3, b, s.x1, zero(), s.z2, e, f, zero());
    }

    /// Doubles x2:z2, without a change of x3:z3.
    WG_X25519_INLINE void twice(state& s) noexcept {
        fe a, b, e, f;
        WG_LIMBS(a.v[i] = add(s.x2.v[i], s.z2.v[i]); b.v[i] = _mm512_sub_epi64(s.x2.v[i], s.z2.v[i]))
        carry(a, b);
        squares(a, a, b, b);
        WG_LIMBS(e.v[i] = _mm512_sub_epi64(a.v[i], b.v[i]); f.v[i] = a.v[i])
        carry(e, a, b);
        times_a24(f, f, e);
        carry(f);
        multiply(s.x2, a, b, biased(), s.z2, e, f, zero());
    }

    /// Splits four 64-bit words, the lowest first, into five limbs, in each lane. Bit 255 is ignored. After: carried.
    WG_X25519_INLINE void pack(fe& r, __m512i w0, __m512i w1, __m512i w2, __m512i w3) noexcept {
        __m512i const m = all(mask52);
        r.v[0] = _mm512_and_si512(w0, m);
        r.v[1] = _mm512_and_si512(_mm512_or_si512(right(w0, 52), left(w1, 12)), m);
        r.v[2] = _mm512_and_si512(_mm512_or_si512(right(w1, 40), left(w2, 24)), m);
        r.v[3] = _mm512_and_si512(_mm512_or_si512(right(w2, 28), left(w3, 36)), m);
        r.v[4] = _mm512_and_si512(right(w3, 16), all(mask47));
    }

    /// Writes the representatives below p as words: to[i] is word i of all lanes. Before: wide.
    WG_X25519_INLINE void unpack(std::uint64_t (&to)[4][lanes], fe const& a) noexcept {
        fe x = a;
        __m512i const m = all(mask52);
        carry(x);
        WG_LIMBS(if constexpr (i < 4) x.v[i] = _mm512_and_si512(x.v[i], m))
        // The value is < 2^255 + 2^220 < 2p. It is >= p if and only if adding 19 sets bit 255; then adding 19 and
        // clearing the bit subtracts p.
        __m512i q = right(add(x.v[0], all(19)), 52);
        q = right(add(x.v[1], q), 52);
        q = right(add(x.v[2], q), 52);
        q = right(add(x.v[3], q), 52);
        q = right(add(x.v[4], q), 47);
        x.v[0] = low(x.v[0], q, all(19));
        WG_LIMBS(if constexpr (i < 4) {
            x.v[i + 1] = add(x.v[i + 1], right(x.v[i], 52));
            x.v[i] = _mm512_and_si512(x.v[i], m);
        })
        x.v[4] = _mm512_and_si512(x.v[4], all(mask47));
        _mm512_storeu_si512(to[0], _mm512_or_si512(x.v[0], left(x.v[1], 52)));
        _mm512_storeu_si512(to[1], _mm512_or_si512(right(x.v[1], 12), left(x.v[2], 40)));
        _mm512_storeu_si512(to[2], _mm512_or_si512(right(x.v[2], 24), left(x.v[3], 28)));
        _mm512_storeu_si512(to[3], _mm512_or_si512(right(x.v[3], 36), left(x.v[4], 16)));
    }

    /// Sets to[i] to lane i of a, for all eight lanes. Before: wide. After: tight.
    WG_X25519_INLINE void take(field25519<limbs64>* to, fe const& a) noexcept {
        std::uint64_t words[4][lanes];
        byte text[key_bytes];
        unpack(words, a);
        for (std::size_t j = 0; j < lanes; ++j) {
            for (std::size_t i = 0; i < 4; ++i) store_le64(text + 8 * i, words[i][j]);
            to[j].decode(text);
        }
        wipe(words), wipe(text);
    }

    /// The ladder for eight items: the results are x[i] / z[i], tight. Wipes the registers, but not the stack.
    WG_X25519_IFMA [[gnu::noinline]] static void ladder(dh_item const* items, field25519<limbs64>* x,
                                                        field25519<limbs64>* z) noexcept {
        std::uint64_t words[4][lanes], swaps[4][lanes];
        for (std::size_t j = 0; j < lanes; ++j) {
            std::uint64_t k[4];
            swaps_of_scalar(k, items[j].scalar->expose().data());
            for (std::size_t i = 0; i < 4; ++i) {
                swaps[i][j] = k[i];
                words[i][j] = load_le64(items[j].point.data() + 8 * i);
            }
            wipe(k);
        }
        state s;
        pack(s.x1, _mm512_loadu_si512(words[0]), _mm512_loadu_si512(words[1]), _mm512_loadu_si512(words[2]),
             _mm512_loadu_si512(words[3]));
        // Bit 254 is set. After its step x3:z3 is the argument and x2:z2 its double: the ladder starts there. Bits 0 to
        // 2 are clear: their steps only double.
        WG_LIMBS(s.x2.v[i] = s.x3.v[i] = add(s.x1.v[i], all(bias(i))); s.z2.v[i] = s.z3.v[i] = all(i == 0))
        twice(s);
        for (std::size_t word = 4; word-- > 0;) {
            __m512i const bits = _mm512_loadu_si512(swaps[word]);
            std::uint64_t const last = word == 0 ? 8 : 1;
            for (std::uint64_t bit = std::uint64_t{1} << (word == 3 ? 61 : 63); bit >= last && bit != 0; bit >>= 1)
                step(s, _mm512_test_epi64_mask(bits, all(bit)));
        }
        __mmask8 const swap = _mm512_test_epi64_mask(_mm512_loadu_si512(swaps[0]), all(4));
        WG_LIMBS(s.x2.v[i] = choose(s.x2.v[i], swap, s.x3.v[i]); s.z2.v[i] = choose(s.z2.v[i], swap, s.z3.v[i]))
        for (int i = 0; i < 3; ++i) twice(s);
        take(x, s.x2);
        take(z, s.z2);
        wipe(words);
        wipe(swaps);
        wipe(static_cast<void*>(&s), sizeof s);
        wipe_avx512_registers();
    }
};

}}} // namespace wg::WG_ABI::bundled

#undef WG_LIMBS
#undef WG_LIMB
#undef WG_X25519_INLINE
#undef WG_X25519_IFMA

#endif

#endif
