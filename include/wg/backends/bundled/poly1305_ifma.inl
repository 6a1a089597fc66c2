// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in eight lanes with the 52-bit products of AVX512-IFMA. Text for a kernel's
// namespace that defines WG_TARGET.
//
// A field element is three limbs, 2^0, 2^44 and 2^88, that may grow to the 52 bits which IFMA takes: so products are
// added up without a carry between them, and a reduction is one short pass. Block i of eight has a lane of its own;
// with h the sums of the lanes and R = r^8,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(8 - i), and all are added.

using limbs = std::uint64_t __attribute__((vector_size(64)));

/// sum + the low 52 bits of a product of 52-bit factors; and of the others.
WG_TARGET limbs add_low(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_madd52lo_epu64((__m512i)sum, (__m512i)a, (__m512i)b);
}
WG_TARGET limbs add_high(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_madd52hi_epu64((__m512i)sum, (__m512i)a, (__m512i)b);
}
WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x, int count) noexcept { return x & ((std::uint64_t{1} << count) - 1); }

/// A field element in each lane. *Tight*: l0 < 2^44, l1 < 2^44 + 2^14, l2 < 2^42 + 2^14.
struct poly_lanes {
    limbs l0, l1, l2;
};

/// A multiplier: tight, and its upper limbs times 20, which is 2^132 modulo 2^130 - 5; < 2^49.
struct poly_factor {
    limbs r0, r1, r2, s1, s2;
};

/// Sums of products: for 2^(44 i) their low 52 bits in d_i, the others in e_i.
struct poly_products {
    limbs d0, d1, d2, e0, e1, e2;
};

/// p += a * r. At most four times before a reduction, with a tight or a block.
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

/// p modulo 2^130 - 5, tight. Before: each d < 12 * 2^52 + 2^44, each e < 12 * 2^41, e2 < 12 * 2^37.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    limbs const d1 = p.d1 + (p.e0 << 8), d2 = p.d2 + (p.e1 << 8); // < 2^56
    limbs const top = (d2 >> 42) + (p.e2 << 10);                  // for 2^130; < 2^51
    limbs const l0 = low_bits(p.d0, 44) + top + (top << 2);       // < 2^54
    limbs const l1 = low_bits(d1, 44) + (p.d0 >> 44);
    limbs const l2 = low_bits(d2, 42) + (d1 >> 44);
    return {low_bits(l0, 44), l1 + (l0 >> 44), l2};
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

/// x < 2^47. By IFMA, for clang makes a slow multiplication of two shifts and an addition.
WG_TARGET limbs times_twenty(limbs const& x) noexcept {
    return add_low(limbs{}, x, all_lanes(20));
}
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0, r.l1, r.l2, times_twenty(r.l1), times_twenty(r.l2)};
}

/// Eight blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    limbs const middle = (limbs)_mm512_shrdi_epi64((__m512i)low, (__m512i)high, 44);
    return {low_bits(low, 44), low_bits(middle, 44), (high >> 24) | end};
}

/// The first or second word of each pair of a and b: in lanes 0, 2, 4, 6 those of a.
template <int Word> WG_TARGET limbs words_of(limbs const& a, limbs const& b) noexcept {
    return __builtin_shufflevector(a, b, Word, Word + 8, Word + 2, Word + 10, Word + 4, Word + 12, Word + 6, Word + 14);
}
/// Blocks 0-3 and 4-7 of a message; block i goes to lane 0, 2, 4, 6, 1, 3, 5, 7.
WG_TARGET poly_lanes split_pairs(limbs const& a, limbs const& b, limbs const& end) noexcept {
    return split(words_of<0>(a, b), words_of<1>(a, b), end);
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 40); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs a, b;
    std::memcpy(&a, from, sizeof a);
    std::memcpy(&b, from + sizeof a, sizeof b);
    return split_pairs(a, b, end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept { p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2; }

/// One lane in all lanes.
template <int Lane> WG_TARGET limbs spread(limbs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane);
}
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET limbs choose(limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_mask_mov_epi64((__m512i)a, Second, (__m512i)b);
}
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// The multiplier of one message and its powers.
struct poly_powers {
    static constexpr std::size_t merge_from = 16; ///< vectors; from so many on four at once pay for two more powers

    poly_factor last;             ///< r^8 ... r^1 for block 0 ... 7
    poly_factor r8, r16, r24, r32; ///< in all lanes; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        // exponents of the lanes in the end: 8 4 7 3 6 2 5 1
        poly_lanes const r2 = multiply(r, factor_of(r));
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2));        // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);             // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));         // 8 8 7 7 6 6 5 5
        last = factor_of(choose<0xaa>(eight, four));
        r8 = factor_of(spread<0>(eight));
        r16 = r8;
        asm("" : "=m"(r24), "=m"(r32)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const sixteen = multiply(spread<0>(eight), r8);
        r16 = factor_of(sixteen);
        if (vectors < merge_from) return;
        poly_lanes const more = multiply(choose<0xf0>(spread<0>(eight), sixteen), r16);
        r24 = factor_of(spread<0>(more));
        r32 = factor_of(spread<7>(more));
    }
};

/// Eight blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                        byte const* tail) noexcept {
    std::ptrdiff_t const left = count - first;
    unsigned const absent = first < 0 ? static_cast<unsigned>(-first) : 0;
    unsigned const words = 0xffffu << 2 * absent & 0xffffu; // two a block
    unsigned const ours = words & ((1u << 2 * (left < 8 ? static_cast<unsigned>(left) : 8)) - 1);
    unsigned const theirs = words & ~ours;
    byte const* const here = from + 16 * first; // what lies outside is masked
    byte const* const there = tail - 16 * left;
    __m512i const a = _mm512_mask_loadu_epi64(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours), here),
                                              static_cast<__mmask8>(theirs), there);
    __m512i const b = _mm512_mask_loadu_epi64(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours >> 8), here + 64),
                                              static_cast<__mmask8>(theirs >> 8), there + 64);
    limbs const block_of_lane = {0, 4, 1, 5, 2, 6, 3, 7};
    return split_pairs((limbs)a, (limbs)b, (limbs)(block_of_lane >= all_lanes(absent)) & end_bits());
}

WG_TARGET std::uint64_t sum_of(limbs const& x) noexcept {
    auto const four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
    auto const two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = 144;  ///< from which on lanes are faster than words
    static constexpr std::size_t stack_bytes = 3392; ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 4352; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + 7) / 8; // at least 2
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - 8 * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_powers::merge_from;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - 8 ? end : total_ - 8);
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - 8;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += 8;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 32 <= end; next_ += 32) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 384));
            multiply_add(p, split_blocks(from + 256), powers_.r8);
            multiply_add(p, split_blocks(from + 128), powers_.r16);
            multiply_add(p, split_blocks(from), powers_.r24);
            multiply_add(p, h, powers_.r32);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > 8; left -= 16, from += 256) {
            poly_products p = no_products();
            add(p, split_blocks(from + 128));
            multiply_add(p, split_blocks(from), powers_.r8);
            multiply_add(p, h, powers_.r16);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.r8);
            multiply_add(p, h, powers_.r16);
        } else {
            multiply_add(p, h, powers_.r8);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2);             // < 2^48, 2^48, 2^46
        uint128 const low = (uint128{l1} << 44) + l0;                                            // < 2^93
        uint128 const high = (uint128{l2} << 24) + static_cast<std::uint64_t>(low >> 64);        // for 2^64; < 2^71
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66);                        // for 2^130; < 2^5
        uint128 const folded = uint128{static_cast<std::uint64_t>(low)} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

/// Eight packets, each in a lane of its own.
class lanes_of_packets {
public:
    WG_TARGET explicit lanes_of_packets(packet_tag* const (&packets)[8]) noexcept : packets_(packets) {
        byte const* keys[8];
        for (std::size_t i = 0; i < 8; ++i) keys[i] = packets[i]->key;
        pairs const words = load(keys, 0);
        poly_lanes const r = split(words.low & 0x0ffffffc0fffffff, words.high & 0x0ffffffc0ffffffc, limbs{});
        r_ = factor_of(r);
        r2_ = factor_of(multiply(r, r_));
        s_ = load(keys, poly1305_block_bytes);
    }

    /// Tags all.
    WG_TARGET void finish() noexcept {
        byte tails[8][2 * poly1305_block_bytes] = {}; // what is left of the message, padded; the lengths
        byte const* messages[8];
        std::size_t whole[8], total[8], least = SIZE_MAX, most = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            packet_tag const& p = *packets_[i];
            messages[i] = p.message;
            whole[i] = p.size / poly1305_block_bytes;
            std::size_t const over = p.size % poly1305_block_bytes;
            if (over != 0) std::memcpy(tails[i], p.message + (p.size - over), over);
            store_le64(tails[i] + (over != 0 ? 24 : 8), p.size);
            total[i] = whole[i] + (over != 0) + 1;
            least = std::min(least, whole[i]);
            most = std::max(most, total[i]);
        }
        limbs const zero = {};
        poly_lanes h = {zero, zero, zero};
        std::size_t block = 0;
        for (; block + 2 <= least; block += 2) {
            poly_products p = no_products();
            multiply_add(p, split_pair(load(messages, poly1305_block_bytes * (block + 1))), r_);
            multiply_add(p, plus(h, split_pair(load(messages, poly1305_block_bytes * block))), r2_);
            h = reduce(p);
        }
        // From here on packets may end.
        for (; block < most; ++block) {
            byte const* at[8];
            __mmask8 there = 0;
            for (std::size_t i = 0; i < 8; ++i) {
                std::size_t const beyond = block < total[i] ? block : total[i] - 1; // what is loaded then is not used
                at[i] = block < whole[i] ? messages[i] + poly1305_block_bytes * block
                                         : tails[i] + poly1305_block_bytes * (beyond - whole[i]);
                there = static_cast<__mmask8>(there | (block < total[i]) << lane_of(i));
            }
            poly_lanes const next = multiply(plus(h, split_pair(load(at, 0))), r_);
            h = {keep(h.l0, there, next.l0), keep(h.l1, there, next.l1), keep(h.l2, there, next.l2)};
        }
        store_tags(h);
    }

private:
    /// Two words of each packet. Packet i is in lane 0, 2, 4, 6, 1, 3, 5, 7.
    struct pairs {
        limbs low, high;
    };
    static constexpr unsigned lane_of(std::size_t packet) noexcept {
        return static_cast<unsigned>(packet < 4 ? 2 * packet : 2 * packet - 7);
    }
    using one_block = std::uint64_t __attribute__((vector_size(16)));

    WG_TARGET static one_block load1(byte const* from) noexcept {
        one_block x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
    WG_TARGET static limbs load4(byte const* const* from, std::size_t at) noexcept {
        auto const a = __builtin_shufflevector(load1(from[0] + at), load1(from[1] + at), 0, 1, 2, 3);
        auto const b = __builtin_shufflevector(load1(from[2] + at), load1(from[3] + at), 0, 1, 2, 3);
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    WG_TARGET static pairs load(byte const* const* from, std::size_t at) noexcept {
        limbs const a = load4(from, at), b = load4(from + 4, at);
        return {words_of<0>(a, b), words_of<1>(a, b)};
    }
    WG_TARGET static limbs keep(limbs const& old, __mmask8 there, limbs const& x) noexcept {
        return (limbs)_mm512_mask_mov_epi64((__m512i)old, there, (__m512i)x);
    }
    WG_TARGET static poly_lanes split_pair(pairs const& words) noexcept {
        return split(words.low, words.high, end_bits());
    }
    WG_TARGET static poly_lanes plus(poly_lanes const& h, poly_lanes const& m) noexcept {
        return {h.l0 + m.l0, h.l1 + m.l1, h.l2 + m.l2};
    }

    WG_TARGET void store_tags(poly_lanes h) noexcept {
        // Carry until all limbs are in their bits; what leaves at the top a second time leaves next to nothing below.
        for (int i = 0; i < 2; ++i) {
            h.l1 += h.l0 >> 44, h.l0 = low_bits(h.l0, 44);
            h.l2 += h.l1 >> 44, h.l1 = low_bits(h.l1, 44);
            limbs const top = h.l2 >> 42;
            h.l2 = low_bits(h.l2, 42);
            h.l0 += top + (top << 2);
        }
        // h < 2^130; it is >= p if h + 5 reaches 2^130
        limbs const g0 = h.l0 + 5, g1 = h.l1 + (g0 >> 44), g2 = h.l2 + (g1 >> 44);
        limbs const over = limbs{} - (g2 >> 42); // all ones or zero
        limbs const l0 = (low_bits(g0, 44) & over) | (h.l0 & ~over), l1 = (low_bits(g1, 44) & over) | (h.l1 & ~over);
        limbs const l2 = (g2 & over) | (h.l2 & ~over);
        limbs const low = (l0 | (l1 << 44)) + s_.low;
        limbs const high = ((l1 >> 20) | (l2 << 24)) + s_.high - (limbs)(low < s_.low); // true is all ones
        store4(packets_, words_of<0>(low, high)), store4(packets_ + 4, words_of<1>(low, high));
    }
    WG_TARGET static void store4(packet_tag* const* to, limbs const& x) noexcept {
        byte tags[4 * tag_bytes];
        std::memcpy(tags, &x, sizeof tags);
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(to[i]->tag, tags + i * tag_bytes, tag_bytes);
    }

    packet_tag* const* packets_;
    poly_factor r_, r2_;
    pairs s_;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}

/// Packets of about one size go through the lanes together, others one by one.
WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    std::size_t order[batch_capacity]; // by size
    for (std::size_t i = 0; i < packets.size(); ++i) {
        std::size_t at = i;
        for (; at > 0 && packets[order[at - 1]].size > packets[i].size; --at) order[at] = order[at - 1];
        order[at] = i;
    }
    for (std::size_t begin = 0; begin < packets.size(); begin += 8) {
        std::size_t const count = std::min<std::size_t>(8, packets.size() - begin);
        packet_tag* group[8];
        std::size_t bytes_in_all = 0;
        for (std::size_t i = 0; i < 8; ++i) group[i] = &packets[order[begin + std::min(i, count - 1)]];
        for (std::size_t i = 0; i < count; ++i) bytes_in_all += group[i]->size + 64;
        // what a packet alone costs at least is about what eight of 64 bytes together cost
        if (bytes_in_all >= 3 * (group[count - 1]->size + 64)) {
            lanes_of_packets(group).finish();
        } else {
            for (std::size_t i = 0; i < count; ++i) make_tag(*group[i]);
        }
    }
}
