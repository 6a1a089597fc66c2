// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in eight lanes with the 52-bit products of AVX512-IFMA. Included inside the
// namespace of a kernel, which defines WG_TARGET. poly1305_lanes.inl and poly1305_packets.inl use these functions.
//
// A field element has three limbs, at 2^0, 2^44 and 2^88. IFMA multiplies 52 bits, so a limb of 44 bits may grow by 8
// bits before a carry. Sums of products so need no carry between them, and a reduction is one short pass.

/// One limb in each of eight lanes.
using limbs = std::uint64_t __attribute__((vector_size(64)));
inline constexpr int poly_lane_count = 8;
inline constexpr std::size_t poly_merge_vectors = 16;      ///< from this count on, four at once pay for R^3 and R^4
inline constexpr std::size_t poly_least_bytes = 272;       ///< shorter packets are faster in general-purpose registers
inline constexpr std::size_t poly_stack_bytes = 3392;      ///< stack of a function that seals with these lanes
inline constexpr std::size_t poly_tags_stack_bytes = 6144; ///< stack of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET

/// sum + the low 52 bits of a * b, each of 52 bits.
WG_TARGET limbs add_low(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return limbs(_mm512_madd52lo_epu64(__m512i(sum), __m512i(a), __m512i(b)));
}
/// sum + the high 52 bits of a * b, each of 52 bits.
WG_TARGET limbs add_high(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return limbs(_mm512_madd52hi_epu64(__m512i(sum), __m512i(a), __m512i(b)));
}
WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x, int count) noexcept { return x & ((std::uint64_t{1} << count) - 1); }

/// A field element in each lane. *Tight*: l0 < 2^44, l1 < 2^44 + 2^14, l2 < 2^42 + 2^14.
struct poly_lanes {
    limbs l0, l1, l2;
};

/// A multiplier: its limbs r_i, tight, and its upper limbs times 20, s_i < 2^49. 20 is 2^132 modulo 2^130 - 5.
struct poly_factor {
    limbs r0, r1, r2, s1, s2;
};

/// Sums of products at 2^(44 i): d_i is the sum of their low 52 bits, e_i that of their high 52 bits.
struct poly_products {
    limbs d0, d1, d2, e0, e1, e2;
};

/// p += a * r. `a` is tight or a block. At most four calls before a reduction.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 = add_low(p.d0, a.l0, r.r0), p.e0 = add_high(p.e0, a.l0, r.r0);
    p.d1 = add_low(p.d1, a.l0, r.r1), p.e1 = add_high(p.e1, a.l0, r.r1);
    p.d2 = add_low(p.d2, a.l0, r.r2), p.e2 = add_high(p.e2, a.l0, r.r2);
    p.d0 = add_low(p.d0, a.l1, r.s2), p.e0 = add_high(p.e0, a.l1, r.s2);
    p.d1 = add_low(p.d1, a.l1, r.r0), p.e1 = add_high(p.e1, a.l1, r.r0);
    p.d2 = add_low(p.d2, a.l1, r.r1), p.e2 = add_high(p.e2, a.l1, r.r1);
    p.d0 = add_low(p.d0, a.l2, r.s1), p.e0 = add_high(p.e0, a.l2, r.s1);
    p.d1 = add_low(p.d1, a.l2, r.s2), p.e1 = add_high(p.e1, a.l2, r.s2);
    p.d2 = add_low(p.d2, a.l2, r.r0), p.e2 = add_high(p.e2, a.l2, r.r0);
}

/// p modulo 2^130 - 5, tight. Requires: each d < 12 * 2^52 + 2^44, each e < 12 * 2^41, e2 < 12 * 2^37.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    limbs const d1 = p.d1 + (p.e0 << 8), d2 = p.d2 + (p.e1 << 8); // < 2^56
    limbs const top = (d2 >> 42) + (p.e2 << 10);                  // the carry at 2^130; < 2^51
    limbs const l0 = low_bits(p.d0, 44) + top + (top << 2);       // < 2^54
    limbs const l1 = low_bits(d1, 44) + (p.d0 >> 44);
    limbs const l2 = low_bits(d2, 42) + (d1 >> 44);
    return {low_bits(l0, 44), l1 + (l0 >> 44), l2};
}

/// Sums of zero products.
WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero, zero};
}

/// a * r, tight. `a` is tight or a block.
WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

/// 20 x, for x < 2^47. With IFMA, because clang turns two shifts and an addition into a slow multiplication.
WG_TARGET limbs times_twenty(limbs const& x) noexcept { return add_low(limbs{}, x, all_lanes(20)); }
/// The multiplier of a tight element.
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0, r.l1, r.l2, times_twenty(r.l1), times_twenty(r.l2)};
}

/// Splits eight blocks, given as their low and high words, into limbs. `end` is the end bit 2^128 in each lane that has
/// a block, else zero.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    limbs const middle = limbs(_mm512_shrdi_epi64(__m512i(low), __m512i(high), 44));
    return {low_bits(low, 44), low_bits(middle, 44), (high >> 24) | end};
}

/// Word `Word` (0 or 1) of each pair of words in a and b. Those of a are in the lanes 0, 2, 4, 6, those of b in the
/// others: this order takes one instruction.
template <int Word> WG_TARGET limbs words_of(limbs const& a, limbs const& b) noexcept {
    return __builtin_shufflevector(a, b, Word, Word + 8, Word + 2, Word + 10, Word + 4, Word + 12, Word + 6, Word + 14);
}
/// Splits the blocks 0-3 (a) and 4-7 (b) into limbs. Blocks 0 ... 7 go to the lanes 0, 2, 4, 6, 1, 3, 5, 7.
WG_TARGET poly_lanes split_pairs(limbs const& a, limbs const& b, limbs const& end) noexcept {
    return split(words_of<0>(a, b), words_of<1>(a, b), end);
}
/// The end bit 2^128 of all lanes, as part of limb 2.
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 40); }
/// Loads and splits eight whole blocks.
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs a, b;
    std::memcpy(&a, from, sizeof a);
    std::memcpy(&b, from + sizeof a, sizeof b);
    return split_pairs(a, b, end_bits());
}

/// p += m.
WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept { p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2; }

/// Copies lane `Lane` to all lanes.
template <int Lane> WG_TARGET limbs spread(limbs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane);
}
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET limbs choose(limbs const& a, limbs const& b) noexcept {
    return limbs(_mm512_mask_mov_epi64(__m512i(a), Second, __m512i(b)));
}
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2)};
}

/// The clamped r of the one-time key, given as two words, in all lanes.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^8 ... r in the lanes of blocks 0 ... 7.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    // exponents of lanes 0 ... 7 in the result: 8 4 7 3 6 2 5 1
    poly_lanes const r2 = multiply(r, factor_of(r));
    poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
    poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
    poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
    return choose<0xaa>(eight, four);
}

/// `pointer + by`, which may be outside of the object. Computed as an integer, because such pointer arithmetic is
/// undefined. The callers' masked loads read no byte outside of the object.
WG_TARGET byte const* moved(byte const* pointer, std::ptrdiff_t by) noexcept {
    return reinterpret_cast<byte const*>(reinterpret_cast<std::uintptr_t>(pointer) + static_cast<std::uintptr_t>(by));
}

/// Loads and splits eight blocks of a message, from block `first` on. Blocks before number 0 are absent and count as
/// zero. Blocks from number `count` on are in `tail`, the others in `from`. `tail` is nullptr if no block is in it.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    std::ptrdiff_t const left = count - first;
    unsigned const absent = first < 0 ? static_cast<unsigned>(-first) : 0;
    unsigned const words = 0xffffu << 2 * absent & 0xffffu; // two bits for the words of a block
    unsigned const ours = words & ((1u << 2 * (left < 8 ? static_cast<unsigned>(left) : 8)) - 1);
    unsigned const theirs = words & ~ours;
    byte const* const here = moved(from, 16 * first);
    __m512i a = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours), here);
    __m512i b = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours >> 8), moved(here, 64));
    if (tail != nullptr) { // no masked load of nullptr: to suppress its fault takes hundreds of cycles
        byte const* const there = moved(tail, -16 * left);
        a = _mm512_mask_loadu_epi64(a, static_cast<__mmask8>(theirs), there);
        b = _mm512_mask_loadu_epi64(b, static_cast<__mmask8>(theirs >> 8), moved(there, 64));
    }
    limbs const block_of_lane = {0, 4, 1, 5, 2, 6, 3, 7};
    return split_pairs(limbs(a), limbs(b), limbs(block_of_lane >= all_lanes(absent)) & end_bits());
}

/// The sum of all lanes.
WG_TARGET std::uint64_t sum_of(limbs const& x) noexcept {
    auto const four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
    auto const two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// The sum of all lanes, as low + 2^64 high. low < 2^64, high < 2^71.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^48, 2^48, 2^46
    uint128 const lower = (uint128{l1} << 44) + l0;                              // < 2^93
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{l2} << 24) + static_cast<std::uint64_t>(lower >> 64);
}
