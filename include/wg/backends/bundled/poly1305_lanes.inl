// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of one packet in lanes, for all kinds of limbs. Included inside the namespace of a
// kernel, which defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// A vector holds n consecutive blocks of the packet, one in each of its n lanes. Each lane has its own accumulator, and
// h is the vector of accumulators. With R = r^n, four vectors m0 ... m3 of blocks are absorbed by
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3
//
// So four vectors need one reduction instead of four. At the end, lane i is multiplied by r^(n - i), and the lanes are
// added.

/// Powers of the multiplier r of one message.
struct poly_powers {
    poly_factor last;               ///< r^n ... r in the lanes of block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; `prepare` computes only those that the message needs

    /// Computes the powers for a message of `vectors` vectors after the first one.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // silences a warning of g++ 12: these are read only if they are set below
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        // R in the lower lanes and R^2 in the upper ones, times R^2: one product makes both powers
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without additional data while another function encrypts it: `start`, then `absorb` after each
/// step of the encryption, then `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;           ///< of a packet for this class
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< stack of a function that seals with it
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< stack of `make_tags`

    /// Starts with the one-time key (32 bytes). `message`: the ciphertext, `size` bytes, `least_bytes` or more, which
    /// the caller may not have written yet. The additional data must be empty.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // two vectors or more
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last block holds the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // <= 0: absent blocks, which count as zero, start the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// Authenticates the groups of four whole vectors in the first `available` bytes of ciphertext, which the caller
    /// has written. Does nothing for a message with few vectors.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    /// Authenticates the rest of the ciphertext and the lengths, and writes the tag.
    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
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
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    /// h = the first vector.
    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Absorbs four vectors at once, as long as they end at or before block `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// Absorbs the vectors before block `last`, two at once, and then `end`, the vector that starts at block `last`.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// Writes the sum of all lanes to the accumulator `to.h`, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // the carry at 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole blocks of the message; these, a padded block and the lengths
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed yet
    bool has_many_ = false;                 ///< there are enough vectors to absorb four at once
};

/// Computes the tag of a packet with the authenticator that is faster for its size.
WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
