// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of many packets at once, one packet in each lane. Included inside the namespace of a
// kernel, after poly1305_lanes.inl.

/// Computes the tags of eight packets, one in each lane. Short packets leave no lane idle, either, and each packet
/// needs only r and r^2.
class lanes_of_packets {
public:
    /// Starts with the one-time keys of eight packets, which may be the same packet several times.
    WG_TARGET explicit lanes_of_packets(packet_tag* const* packets) noexcept : packets_(packets) {
        byte const* keys[8];
        for (std::size_t i = 0; i < 8; ++i) {
            packet_tag const& p = *packets[i];
            keys[i] = p.key;
            messages_[i] = p.message;
            whole_[i] = p.size / poly1305_block_bytes;
            std::size_t const over = p.size % poly1305_block_bytes;
            if (over != 0) std::memcpy(tails_[i], p.message + (p.size - over), over);
            store_le64(tails_[i] + (over != 0 ? 24 : 8), p.size);
            total_[i] = whole_[i] + (over != 0) + 1;
            least_ = (std::min)(least_, whole_[i]);
            most_ = (std::max)(most_, total_[i]);
        }
        pairs const words = load(keys, 0);
        poly_lanes const r = split(words.low & 0x0ffffffc0fffffff, words.high & 0x0ffffffc0ffffffc, limbs{});
        r_ = factor_of(r);
        r2_ = factor_of(multiply(r, r_));
        s_ = load(keys, poly1305_block_bytes);
    }

    std::size_t least() const noexcept { return least_; } ///< whole blocks that every message has
    std::size_t most() const noexcept { return most_; }   ///< blocks of the longest message, with the lengths

    /// Absorbs the blocks `block` and `block + 1`, which every message has, with one reduction for both.
    WG_TARGET void absorb_two(std::size_t block) noexcept {
        poly_products p = no_products();
        multiply_add(p, split_pair(load(messages_, poly1305_block_bytes * (block + 1))), r_);
        multiply_add(p, plus(h_, split_pair(load(messages_, poly1305_block_bytes * block))), r2_);
        h_ = reduce(p);
    }

    /// Absorbs the block `block` of each message that has it. The lanes of the other messages keep their accumulator.
    WG_TARGET void absorb_one(std::size_t block) noexcept {
        byte const* at[8];
        __mmask8 there = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            std::size_t const beyond = block < total_[i] ? block : total_[i] - 1; // loaded but not used
            at[i] = block < whole_[i] ? messages_[i] + poly1305_block_bytes * block
                                      : tails_[i] + poly1305_block_bytes * (beyond - whole_[i]);
            there = static_cast<__mmask8>(there | (block < total_[i]) << lane_of(i));
        }
        poly_lanes const next = multiply(plus(h_, split_pair(load(at, 0))), r_);
        h_ = {keep(h_.l0, there, next.l0), keep(h_.l1, there, next.l1), keep(h_.l2, there, next.l2)};
    }

    /// Writes the tags.
    WG_TARGET void finish() noexcept { store_tags(h_); }

private:
    /// Two words of each packet. Packets 0 ... 7 are in the lanes 0, 2, 4, 6, 1, 3, 5, 7: the order of `words_of`.
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
    /// The lanes of `x` where a bit of `there` is set, of `old` elsewhere.
    WG_TARGET static limbs keep(limbs const& old, __mmask8 there, limbs const& x) noexcept {
        return limbs(_mm512_mask_mov_epi64(__m512i(old), there, __m512i(x)));
    }
    WG_TARGET static poly_lanes split_pair(pairs const& words) noexcept {
        return split(words.low, words.high, end_bits());
    }
    WG_TARGET static poly_lanes plus(poly_lanes const& h, poly_lanes const& m) noexcept {
        return {h.l0 + m.l0, h.l1 + m.l1, h.l2 + m.l2};
    }

    WG_TARGET void store_tags(poly_lanes h) noexcept {
        // Carry until each limb fits its bits. If the second pass carries out of the top limb, the limbs below are
        // almost zero, so l0 still fits.
        for (int i = 0; i < 2; ++i) {
            h.l1 += h.l0 >> 44, h.l0 = low_bits(h.l0, 44);
            h.l2 += h.l1 >> 44, h.l1 = low_bits(h.l1, 44);
            limbs const top = h.l2 >> 42;
            h.l2 = low_bits(h.l2, 42);
            h.l0 += top + (top << 2);
        }
        // h < 2^130, and h >= p if h + 5 >= 2^130
        limbs const g0 = h.l0 + 5, g1 = h.l1 + (g0 >> 44), g2 = h.l2 + (g1 >> 44);
        limbs const over = limbs{} - (g2 >> 42); // all ones or zero
        limbs const l0 = (low_bits(g0, 44) & over) | (h.l0 & ~over), l1 = (low_bits(g1, 44) & over) | (h.l1 & ~over);
        limbs const l2 = (g2 & over) | (h.l2 & ~over);
        limbs const low = (l0 | (l1 << 44)) + s_.low;
        limbs const high = ((l1 >> 20) | (l2 << 24)) + s_.high - limbs(low < s_.low); // true is all ones
        store4(packets_, words_of<0>(low, high)), store4(packets_ + 4, words_of<1>(low, high));
    }
    WG_TARGET static void store4(packet_tag* const* to, limbs const& x) noexcept {
        byte tags[4 * tag_bytes];
        std::memcpy(tags, &x, sizeof tags);
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(to[i]->tag, tags + i * tag_bytes, tag_bytes);
    }

    packet_tag* const* packets_;
    byte const* messages_[8];
    byte tails_[8][2 * poly1305_block_bytes] = {}; ///< the last partial block, padded, if any; the lengths
    std::size_t whole_[8], total_[8], least_ = SIZE_MAX, most_ = 0;
    poly_factor r_, r2_;
    pairs s_;
    poly_lanes h_ = {};
};

/// Computes the tags of sixteen packets in two independent halves: the processor works on one half while it waits for
/// the products of the other.
WG_TARGET void tag_sixteen(packet_tag* const* packets) noexcept {
    lanes_of_packets a(packets), b(packets + 8);
    std::size_t const least = (std::min)(a.least(), b.least()), most = (std::max)(a.most(), b.most());
    std::size_t block = 0;
    for (; block + 2 <= least; block += 2) a.absorb_two(block), b.absorb_two(block);
    for (; block < most; ++block) a.absorb_one(block), b.absorb_one(block);
    a.finish(), b.finish();
}

/// Computes the tags of eight packets.
WG_TARGET void tag_eight(packet_tag* const* packets) noexcept {
    lanes_of_packets a(packets);
    std::size_t block = 0;
    for (; block + 2 <= a.least(); block += 2) a.absorb_two(block);
    for (; block < a.most(); ++block) a.absorb_one(block);
    a.finish();
}

/// Computes the tags of 1 to `batch_capacity` packets. Packets of similar sizes are authenticated together in lanes,
/// other packets one by one.
WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    packet_tag* by_size[batch_capacity + 15];
    for (std::size_t i = 0; i < packets.size(); ++i) {
        std::size_t at = i;
        for (; at > 0 && by_size[at - 1]->size > packets[i].size; --at) by_size[at] = by_size[at - 1];
        by_size[at] = &packets[i];
    }
    // the last packet fills the lanes that have no packet
    for (std::size_t i = packets.size(); i < sizeof by_size / sizeof *by_size; ++i) by_size[i] = &packets.back();
    for (std::size_t begin = 0; begin < packets.size();) {
        std::size_t const left = packets.size() - begin, lanes = left > 8 ? 16 : 8, count = (std::min)(left, lanes);
        packet_tag* const* const group = by_size + begin;
        std::size_t bytes_in_all = 0;
        for (std::size_t i = 0; i < count; ++i) {
            packet_tag const* packet = group[i];
            asm("" : "+r"(packet)); // keeps scalar loads: clang would use gathers, which are slower
            bytes_in_all += packet->size + 64;
        }
        // The lowest cost of a packet alone is about the cost of eight packets of 64 bytes together.
        if (8 * bytes_in_all < 3 * lanes * (group[count - 1]->size + 64))
            for (std::size_t i = 0; i < count; ++i) make_tag(*group[i]);
        else if (lanes == 16) tag_sixteen(group);
        else tag_eight(group);
        begin += count;
    }
}
