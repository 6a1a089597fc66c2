// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of many packets in lanes. Text for a kernel's namespace, after poly1305_lanes.inl.

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
