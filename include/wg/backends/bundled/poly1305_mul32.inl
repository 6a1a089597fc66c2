// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in two, four or eight lanes with products of 32-bit words. Included inside the
// namespace of a kernel, which defines WG_TARGET, after vector128.inl, vector256.inl or vector512.inl.
// poly1305_lanes.inl uses these functions.
//
// A field element has five limbs of 26 bits, so that 64 bits hold the sum of many products before a reduction.

/// One limb in each lane, in 64 bits.
using limbs = word_pairs;
inline constexpr int poly_lane_count = sizeof(limbs) / sizeof(std::uint64_t);
inline constexpr std::size_t poly_merge_vectors = 16; ///< from this count on, four at once pay for R^3 and R^4
/// Shorter packets are faster in general-purpose registers.
inline constexpr std::size_t poly_least_bytes = poly_lane_count == 2 ? 512 : 272;
inline constexpr std::size_t poly_stack_bytes = 3392;      ///< stack of a function that seals with these lanes
inline constexpr std::size_t poly_tags_stack_bytes = 4608; ///< stack of `make_tags`; clang 16 uses 4,040 with AVX2
#define WG_TARGET_AUTHENTICATOR WG_TARGET_FUNCTION         // too large to be inlined into each caller

WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x) noexcept { return x & ((std::uint64_t{1} << 26) - 1); }

/// A field element in each lane. *Tight*: all < 2^26 but l1 < 2^26 + 2^11 and l4 < 2^26 + 2^10.
struct poly_lanes {
    limbs l0, l1, l2, l3, l4;
};

/// A multiplier: its limbs r_i, tight, and its upper limbs times 5, s_i < 2^28.4. 5 is 2^130 modulo 2^130 - 5.
struct poly_factor {
    limbs r0, r1, r2, r3, r4, s1, s2, s3, s4;
};

/// Sums of products: d_i is the sum of the products at 2^(26 i).
struct poly_products {
    limbs d0, d1, d2, d3, d4;
};

/// Keeps the sums in the order of the source: g++ would compute many products before it adds them, and spill them.
WG_TARGET void add_up(poly_products& p) noexcept {
    asm("" : "+v"(p.d0), "+v"(p.d1), "+v"(p.d2), "+v"(p.d3), "+v"(p.d4));
}

/// p += a * r, which adds five products of < 2^54.5 to each sum. `a` is tight or a block. At most four calls before a
/// reduction.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 += multiply_words(a.l0, r.r0), p.d1 += multiply_words(a.l0, r.r1), p.d2 += multiply_words(a.l0, r.r2);
    p.d3 += multiply_words(a.l0, r.r3), p.d4 += multiply_words(a.l0, r.r4);
    add_up(p);
    p.d0 += multiply_words(a.l1, r.s4), p.d1 += multiply_words(a.l1, r.r0), p.d2 += multiply_words(a.l1, r.r1);
    p.d3 += multiply_words(a.l1, r.r2), p.d4 += multiply_words(a.l1, r.r3);
    add_up(p);
    p.d0 += multiply_words(a.l2, r.s3), p.d1 += multiply_words(a.l2, r.s4), p.d2 += multiply_words(a.l2, r.r0);
    p.d3 += multiply_words(a.l2, r.r1), p.d4 += multiply_words(a.l2, r.r2);
    add_up(p);
    p.d0 += multiply_words(a.l3, r.s2), p.d1 += multiply_words(a.l3, r.s3), p.d2 += multiply_words(a.l3, r.s4);
    p.d3 += multiply_words(a.l3, r.r0), p.d4 += multiply_words(a.l3, r.r1);
    add_up(p);
    p.d0 += multiply_words(a.l4, r.s1), p.d1 += multiply_words(a.l4, r.s2), p.d2 += multiply_words(a.l4, r.s3);
    p.d3 += multiply_words(a.l4, r.s4), p.d4 += multiply_words(a.l4, r.r0);
    add_up(p);
}

/// p modulo 2^130 - 5, tight. Requires: each sum < 2^60.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    // two chains of carries that do not wait for each other: from d0 and from d3
    limbs const d1 = p.d1 + (p.d0 >> 26), d4 = p.d4 + (p.d3 >> 26); // < 2^60 + 2^34
    limbs const d2 = p.d2 + (d1 >> 26), top = d4 >> 26;             // < 2^60 + 2^35; the carry at 2^130, < 2^35
    limbs const l0 = low_bits(p.d0) + top + (top << 2);             // < 2^37.4
    limbs const d3 = low_bits(p.d3) + (d2 >> 26);                   // < 2^35
    poly_lanes h = {low_bits(l0), low_bits(d1) + (l0 >> 26), low_bits(d2), low_bits(d3), low_bits(d4) + (d3 >> 26)};
    // Hides from clang that the limbs are short: clang would drop the cut to 32 bits before a product, and would then
    // use a slower product of 64 bits.
    asm("" : "+v"(h.l0), "+v"(h.l1), "+v"(h.l2), "+v"(h.l3), "+v"(h.l4));
    return h;
}

/// Sums of zero products.
WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero};
}

/// a * r, tight. `a` is tight or a block.
WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

WG_TARGET limbs times_five(limbs const& x) noexcept { return x + (x << 2); }
/// The multiplier of a tight element.
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0, r.l1, r.l2, r.l3, r.l4, times_five(r.l1), times_five(r.l2), times_five(r.l3), times_five(r.l4)};
}

/// Splits blocks, given as their low and high words, into limbs. `end` is the end bit 2^128 in each lane that has a
/// block, else zero.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    return {low_bits(low), low_bits(low >> 26), low_bits((low >> 52) | (high << 12)), low_bits(high >> 14),
            (high >> 40) | end};
}
/// The end bit 2^128 of all lanes, as part of limb 4.
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 24); }
/// Loads and splits one whole block for each lane.
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs const a = limbs(load(from)), b = limbs(load(from + vector_bytes));
    return split(pairs_of<0>(a, b), pairs_of<1>(a, b), end_bits());
}

/// p += m.
WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept {
    p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2, p.d3 += m.l3, p.d4 += m.l4;
}

/// Copies lane `Lane` to all lanes.
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2), spread<Lane>(a.l3), spread<Lane>(a.l4)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2),
            choose<Second>(a.l3, b.l3), choose<Second>(a.l4, b.l4)};
}

/// The clamped r of the one-time key, given as two words, in all lanes.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^n ... r in the lanes of blocks 0 ... n - 1. Comments have the exponents of the lanes.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    poly_lanes const r2 = multiply(r, factor_of(r));
    if constexpr (poly_lane_count == 2) {
        return choose<2>(r2, r);
    } else if constexpr (poly_lane_count == 4) {
        poly_lanes const upper = multiply(choose<4>(r2, r), factor_of(r2)); // 4 4 3 4
        return choose<8>(choose<2>(upper, r2), r);                          // 4 2 3 1
    } else {
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
        return choose<0xaa>(eight, four);                                      // 8 4 7 3 6 2 5 1
    }
}

/// Loads and splits one block for each lane, from block `first` of a message on. Blocks before number 0 are absent and
/// count as zero. Blocks from number `count` on are in `tail`, the others in `from`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    static constexpr byte nothing[poly1305_block_bytes] = {};
    byte const* at[poly_lane_count];
    std::uint64_t end[poly_lane_count];
    for (std::ptrdiff_t i = 0; i < poly_lane_count; ++i) {
        std::ptrdiff_t const block = first + i;
        at[i] = block < 0 ? nothing : block < count ? from + 16 * block : tail + 16 * (block - count);
        end[i] = block < 0 ? 0 : std::uint64_t{1} << 24;
    }
    limbs low, high;
    load_pairs(at, low, high);
    return split(low, high, in_lanes(end));
}

/// The sum of all lanes, as low + 2^64 high. low < 2^64, high < 2^69.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^29
    uint128 const lower = (uint128{l2} << 52) + (l1 << 26) + l0;                 // < 2^82
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{sum_of(h.l4)} << 40) + (sum_of(h.l3) << 14) + static_cast<std::uint64_t>(lower >> 64);
}
