// SPDX-License-Identifier: BSL-1.0
// X25519 for eight keys with products of 52 bits (AVX-512 IFMA), one key to a lane of 64 bits. Layer 2; any thread.
// Not to be called where `has(set, cpu::ifma)` is false.
//
// Written for few instructions: the products of eight lanes keep the multipliers busy, so latency is hidden. Radix
// 2^52, for a product instruction looks at 52 bits of a limb: what lies above need not be masked once it is carried.
#ifndef WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP
#define WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP

#include "x25519_ifma.hpp"

#ifdef WG_X86_KERNELS

namespace wg::inline WG_ABI {
namespace bundled {

/// Eight elements modulo p = 2^255 - 19, five limbs of 52 bits, limb i of all in v[i]. Two ranges:
/// "carried": limb 4 < 2^47 + 2^12, and of the others only the lowest 52 bits count. What multiply() and square() take.
/// "wide": limbs < 2^63, all bits count. What they give, and what may be added and subtracted.
struct lanes25519 {
    __m512i v[5];
};

struct ifma8_x25519 {
    static constexpr std::size_t lanes = 8;

    /// All eight items, as `dh` would do them one by one.
    static void multiply(std::span<dh_item, lanes> items) noexcept {
        ladder(items.data());
        wipe_stack<stack_bytes>();
        for (dh_item& item : items) item.good = !item.out->is_zero();
    }

    // What follows is for tests.
    using fe = lanes25519;
    static constexpr std::size_t stack_bytes = 8192;
    static constexpr std::uint64_t mask52 = (std::uint64_t{1} << 52) - 1, mask47 = (std::uint64_t{1} << 47) - 1;

    WG_X25519_INLINE __m512i all(std::uint64_t value) noexcept {
        return _mm512_set1_epi64(static_cast<long long>(value));
    }
    WG_X25519_INLINE __m512i low(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52lo_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m512i high(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52hi_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m512i add(__m512i a, __m512i b) noexcept { return _mm512_add_epi64(a, b); }
    // (g++ 12 warns of an uninitialised variable in its own intrinsics for shifts.)
    typedef unsigned long long words __attribute__((vector_size(64)));
    WG_X25519_INLINE __m512i right(__m512i a, int bits) noexcept { return (__m512i)((words)a >> bits); }
    WG_X25519_INLINE __m512i left(__m512i a, int bits) noexcept { return (__m512i)((words)a << bits); }

    /// Limb i of 2^9 p: 2^61 - 2^9 * 19, 2^61 - 2^9, and 2^56 - 2^9 for the highest, which is more than any limb of a
    /// product.
    static constexpr std::uint64_t bias(int i) noexcept {
        return ((i == 4 ? mask47 : mask52) - (i == 0 ? 18 : 0)) << 9;
    }

    /// Wide to carried: bits from 255 on come back times 19, < 2^16 * 19 < 2^21; the carry into limb 4 is < 2^12.
    WG_X25519_INLINE void carry(fe& r, fe const& a) noexcept {
        __m512i const x0 = low(a.v[0], right(a.v[4], 47), all(19));
        __m512i const x1 = add(a.v[1], right(x0, 52)), x2 = add(a.v[2], right(x1, 52)),
                      x3 = add(a.v[3], right(x2, 52));
        r.v[0] = x0, r.v[1] = x1, r.v[2] = x2, r.v[3] = x3;
        r.v[4] = add(_mm512_and_si512(a.v[4], all(mask47)), right(x3, 52));
    }

    /// Sums t0-t4 plus 2^260 times t5-t9, which comes back times 32 * 19. t9 is a high product of limbs 4 and a carry:
    /// < 2^43, and times 608 still < 2^52.
    WG_X25519_INLINE void fold(fe& r, __m512i t0, __m512i t1, __m512i t2, __m512i t3, __m512i t4, __m512i t5,
                               __m512i t6, __m512i t7, __m512i t8, __m512i t9) noexcept {
        __m512i const f = all(608);
        t6 = add(t6, right(t5, 52));
        t7 = add(t7, right(t6, 52));
        t8 = add(t8, right(t7, 52));
        t9 = add(t9, right(t8, 52));
        r.v[0] = low(t0, t5, f);
        r.v[1] = low(high(t1, t5, f), t6, f);
        r.v[2] = low(high(t2, t6, f), t7, f);
        r.v[3] = low(high(t3, t7, f), t8, f);
        r.v[4] = low(high(t4, t8, f), t9, f);
    }

    /// r = given + a b. Before: a, b carried. After: limbs of r - given are sums of 11 parts at most, < 2^55.5.
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b, fe const& given) noexcept {
        __m512i const z = _mm512_setzero_si512();
        __m512i t0 = given.v[0], t1 = given.v[1], t2 = given.v[2], t3 = given.v[3], t4 = given.v[4];
        __m512i t5 = z, t6 = z, t7 = z, t8 = z, t9 = z;
        t0 = low(t0, a.v[0], b.v[0]), t1 = low(t1, a.v[0], b.v[1]), t2 = low(t2, a.v[0], b.v[2]);
        t3 = low(t3, a.v[0], b.v[3]), t4 = low(t4, a.v[0], b.v[4]), t5 = high(t5, a.v[0], b.v[4]);
        t1 = high(t1, a.v[0], b.v[0]), t2 = high(t2, a.v[0], b.v[1]), t3 = high(t3, a.v[0], b.v[2]);
        t4 = high(t4, a.v[0], b.v[3]);
        t1 = low(t1, a.v[1], b.v[0]), t2 = low(t2, a.v[1], b.v[1]), t3 = low(t3, a.v[1], b.v[2]);
        t4 = low(t4, a.v[1], b.v[3]), t5 = low(t5, a.v[1], b.v[4]), t6 = high(t6, a.v[1], b.v[4]);
        t2 = high(t2, a.v[1], b.v[0]), t3 = high(t3, a.v[1], b.v[1]), t4 = high(t4, a.v[1], b.v[2]);
        t5 = high(t5, a.v[1], b.v[3]);
        t2 = low(t2, a.v[2], b.v[0]), t3 = low(t3, a.v[2], b.v[1]), t4 = low(t4, a.v[2], b.v[2]);
        t5 = low(t5, a.v[2], b.v[3]), t6 = low(t6, a.v[2], b.v[4]), t7 = high(t7, a.v[2], b.v[4]);
        t3 = high(t3, a.v[2], b.v[0]), t4 = high(t4, a.v[2], b.v[1]), t5 = high(t5, a.v[2], b.v[2]);
        t6 = high(t6, a.v[2], b.v[3]);
        t3 = low(t3, a.v[3], b.v[0]), t4 = low(t4, a.v[3], b.v[1]), t5 = low(t5, a.v[3], b.v[2]);
        t6 = low(t6, a.v[3], b.v[3]), t7 = low(t7, a.v[3], b.v[4]), t8 = high(t8, a.v[3], b.v[4]);
        t4 = high(t4, a.v[3], b.v[0]), t5 = high(t5, a.v[3], b.v[1]), t6 = high(t6, a.v[3], b.v[2]);
        t7 = high(t7, a.v[3], b.v[3]);
        t4 = low(t4, a.v[4], b.v[0]), t5 = low(t5, a.v[4], b.v[1]), t6 = low(t6, a.v[4], b.v[2]);
        t7 = low(t7, a.v[4], b.v[3]), t8 = low(t8, a.v[4], b.v[4]), t9 = high(t9, a.v[4], b.v[4]);
        t5 = high(t5, a.v[4], b.v[0]), t6 = high(t6, a.v[4], b.v[1]), t7 = high(t7, a.v[4], b.v[2]);
        t8 = high(t8, a.v[4], b.v[3]);
        fold(r, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9);
    }
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b) noexcept {
        fe const zero = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512(), _mm512_setzero_si512()}};
        multiply(r, a, b, zero);
    }

    /// r = given + a^2. Limb 4 is doubled before, other products that come twice are doubled after.
    WG_X25519_INLINE void square(fe& r, fe const& a) noexcept {
        __m512i const z = _mm512_setzero_si512();
        __m512i const a0 = a.v[0], a1 = a.v[1], a2 = a.v[2], a3 = a.v[3], a4 = a.v[4], d4 = add(a4, a4);
        __m512i t1 = low(z, a0, a1), t2 = low(z, a0, a2), t3 = low(z, a0, a3), t4 = low(z, a1, a3);
        __m512i t5 = low(z, a2, a3), t6 = high(z, a2, a3), t7 = z, t8, t9;
        t2 = high(t2, a0, a1), t3 = low(t3, a1, a2), t4 = high(t4, a0, a3), t5 = high(t5, a1, a3);
        t3 = high(t3, a0, a2), t4 = high(t4, a1, a2);
        t1 = add(t1, t1), t2 = add(t2, t2), t3 = add(t3, t3), t4 = add(t4, t4), t5 = add(t5, t5), t6 = add(t6, t6);
        t7 = low(t7, a3, d4), t8 = high(z, a3, d4), t6 = low(t6, a2, d4), t7 = high(t7, a2, d4);
        t5 = low(t5, a1, d4), t6 = high(t6, a1, d4), t4 = low(t4, a0, d4), t5 = high(t5, a0, d4);
        __m512i const t0 = low(z, a0, a0);
        t1 = high(t1, a0, a0), t2 = low(t2, a1, a1), t3 = high(t3, a1, a1), t4 = low(t4, a2, a2);
        t5 = high(t5, a2, a2), t6 = low(t6, a3, a3), t7 = high(t7, a3, a3), t8 = low(t8, a4, a4);
        t9 = high(z, a4, a4);
        fold(r, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9);
    }

    WG_X25519_INLINE void product(fe& r, fe const& a, fe const& b) noexcept {
        fe w;
        multiply(w, a, b);
        carry(r, w);
    }
    WG_X25519_IFMA [[gnu::noinline]] static void times(fe& r, fe const& a, int count) noexcept {
        fe x = a, w;
        for (int i = 0; i < count; ++i) {
            square(w, x);
            carry(x, w);
        }
        r = x;
    }

    /// r = x^(p - 2) in every lane. p - 2 = 2^255 - 21: 250 ones, then 01011.
    WG_X25519_IFMA [[gnu::noinline]] static void invert(fe& r, fe const& x) noexcept {
        fe z = x, t, z2, z9, z11, k5, k10, k50, k;
        times(z2, z, 1);
        times(t, z2, 2);
        product(z9, t, z);
        product(z11, z9, z2);
        times(t, z11, 1);
        product(k5, t, z9);
        times(t, k5, 5);
        product(k10, t, k5);
        times(t, k10, 10);
        product(k, t, k10);
        times(t, k, 20);
        product(t, t, k);
        times(t, t, 10);
        product(k50, t, k10);
        times(t, k50, 50);
        product(k, t, k50);
        times(t, k, 100);
        product(t, t, k);
        times(t, t, 50);
        product(t, t, k50);
        times(t, t, 5);
        product(r, t, z11);
    }

    /// x2:z2 and x3:z3, wide; x2 and x3 with `bias` in them, so that z can be subtracted.
    struct state {
        fe x2, z2, x3, z3, x1;
    };

    /// A step of the ladder: doubles x3:z3 where `swap` has a bit, else x2:z2, into x2:z2; their sum goes to x3:z3.
    WG_X25519_INLINE void step(state& s, __mmask8 swap) noexcept {
        fe a, b, c, d, p, q, da, cb, aa, bb, e, f;
        fe const biased = {{all(bias(0)), all(bias(1)), all(bias(2)), all(bias(3)), all(bias(4))}};
        WG_LIMBS(a.v[i] = add(s.x2.v[i], s.z2.v[i]); b.v[i] = _mm512_sub_epi64(s.x2.v[i], s.z2.v[i]);
                 c.v[i] = add(s.x3.v[i], s.z3.v[i]); d.v[i] = _mm512_sub_epi64(s.x3.v[i], s.z3.v[i]))
        carry(a, a);
        carry(b, b);
        carry(c, c);
        carry(d, d);
        multiply(da, d, a, biased);
        multiply(cb, c, b);
        // bits of a limb that were carried may be selected or not: nobody looks at them
        WG_LIMBS(p.v[i] = _mm512_mask_mov_epi64(a.v[i], swap, c.v[i]);
                 q.v[i] = _mm512_mask_mov_epi64(b.v[i], swap, d.v[i]))
        square(aa, p);
        square(bb, q);
        WG_LIMBS(a.v[i] = add(da.v[i], cb.v[i]); b.v[i] = _mm512_sub_epi64(da.v[i], cb.v[i]);
                 e.v[i] = _mm512_sub_epi64(add(aa.v[i], biased.v[i]), bb.v[i]))
        carry(a, a);
        carry(b, b);
        carry(e, e);
        square(s.x3, a);
        WG_LIMBS(s.x3.v[i] = add(s.x3.v[i], biased.v[i]))
        square(b, b);
        carry(b, b);
        multiply(s.z3, b, s.x1);
        // f = aa + 121665 e. Limb 4 of e is < 2^48, so its high part is < 2^13, of weight 2^260
        __m512i const k = all(121665);
        f.v[0] = low(low(aa.v[0], e.v[0], k), high(_mm512_setzero_si512(), e.v[4], k), all(608));
        f.v[1] = low(high(aa.v[1], e.v[0], k), e.v[1], k);
        f.v[2] = low(high(aa.v[2], e.v[1], k), e.v[2], k);
        f.v[3] = low(high(aa.v[3], e.v[2], k), e.v[3], k);
        f.v[4] = low(high(aa.v[4], e.v[3], k), e.v[4], k);
        carry(f, f);
        carry(aa, aa);
        carry(bb, bb);
        multiply(s.x2, aa, bb, biased);
        multiply(s.z2, e, f);
    }

    WG_X25519_INLINE void pack(fe& r, __m512i w0, __m512i w1, __m512i w2, __m512i w3) noexcept {
        __m512i const m = all(mask52);
        r.v[0] = _mm512_and_si512(w0, m);
        r.v[1] = _mm512_and_si512(_mm512_or_si512(right(w0, 52), left(w1, 12)), m);
        r.v[2] = _mm512_and_si512(_mm512_or_si512(right(w1, 40), left(w2, 24)), m);
        r.v[3] = _mm512_and_si512(_mm512_or_si512(right(w2, 28), left(w3, 36)), m);
        r.v[4] = _mm512_and_si512(right(w3, 16), all(mask47));
    }

    /// The representatives below p, as words: to[i] is word i of all lanes. Of a wide element.
    WG_X25519_INLINE void unpack(std::uint64_t (&to)[4][lanes], fe const& a) noexcept {
        fe x;
        __m512i const m = all(mask52);
        carry(x, a);
        WG_LIMBS(if constexpr (i < 4) x.v[i] = _mm512_and_si512(x.v[i], m))
        // the value is < 2^255 + 2^220 < 2p; it is >= p if adding 19 carries into bit 255, and then that is p taken off
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

    WG_X25519_IFMA [[gnu::noinline]] static void ladder(dh_item* items) noexcept {
        std::uint64_t words[4][lanes], swaps[4][lanes];
        for (std::size_t j = 0; j < lanes; ++j) {
            std::uint64_t k[4];
            clamp_swaps(k, items[j].scalar->expose().data());
            for (std::size_t i = 0; i < 4; ++i) {
                swaps[i][j] = k[i];
                words[i][j] = load_le64(items[j].point.data() + 8 * i);
            }
            wipe(k);
        }
        state s;
        pack(s.x1, _mm512_loadu_si512(words[0]), _mm512_loadu_si512(words[1]), _mm512_loadu_si512(words[2]),
             _mm512_loadu_si512(words[3]));
        __m512i const zero = _mm512_setzero_si512(), one = all(1);
        WG_LIMBS(s.x3.v[i] = add(s.x1.v[i], all(bias(i))); s.x2.v[i] = all(bias(i) + (i == 0)); s.z2.v[i] = zero;
                 s.z3.v[i] = i == 0 ? one : zero)
        for (std::size_t word = 4; word-- > 0;) {
            __m512i const bits = _mm512_loadu_si512(swaps[word]);
            for (std::uint64_t bit = std::uint64_t{1} << (word == 3 ? 62 : 63); bit != 0; bit >>= 1)
                step(s, _mm512_test_epi64_mask(bits, all(bit)));
        }
        carry(s.z2, s.z2);
        carry(s.x2, s.x2);
        invert(s.z2, s.z2);
        multiply(s.x2, s.x2, s.z2);
        unpack(words, s.x2);
        for (std::size_t j = 0; j < lanes; ++j)
            for (std::size_t i = 0; i < 4; ++i) store_le64(items[j].out->expose().data() + 8 * i, words[i][j]);
        wipe(words);
        wipe(swaps);
        wipe(static_cast<void*>(&s), sizeof s);
        wipe_vector_registers();
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#endif
