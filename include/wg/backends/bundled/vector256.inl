// SPDX-License-Identifier: BSL-1.0
// Vectors of eight 32-bit words, for chacha20.inl. Included inside the namespace of a kernel with AVX2. A kernel with
// AVX-512VL, which has instructions that rotate vectors, defines WG_ROTATES.

/// Eight words: one of each lane, or one row of each of two blocks.
using vector = std::uint32_t __attribute__((vector_size(32)));
inline constexpr std::size_t vector_bytes = 32;
#ifdef WG_ROTATES
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_registers = 16;
#endif
inline constexpr std::size_t most_blocks = 8;         ///< blocks of the largest step
inline constexpr int batch_groups = 1;                ///< groups of lanes in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< most stack of a step

#ifdef WG_ROTATES
/// x <<< Bits in each lane.
template <int Bits> WG_TARGET void rotate(vector& x) noexcept { x = (x << Bits) | (x >> (32 - Bits)); }
#else
/// x <<< Bits in each lane.
template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
    // one shuffle of bytes is faster than two shifts and an or
    if constexpr (Bits == 16) {
        __m256i const order = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7,
                                               4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        x = vector(_mm256_shuffle_epi8(__m256i(x), order));
    } else if constexpr (Bits == 8) {
        __m256i const order = _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4,
                                               5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        x = vector(_mm256_shuffle_epi8(__m256i(x), order));
    } else {
        x = (x << Bits) | (x >> (32 - Bits));
    }
}
#endif
/// Rotates the four words of each row by `By` places to the left.
template <int By> WG_TARGET void rotate_words(vector& x) noexcept {
    x = vector(_mm256_shuffle_epi32(__m256i(x), By | (By + 1) % 4 << 2 | (By + 2) % 4 << 4 | (By + 3) % 4 << 6));
}

/// `word` in each lane.
WG_TARGET vector broadcast(std::uint32_t word) noexcept { return vector(_mm256_set1_epi32(static_cast<int>(word))); }
/// Loads a row of four words into each half.
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    return vector(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(four))));
}
/// The number of each lane, from 0 on.
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3, 4, 5, 6, 7}; }
/// The number of a row in its first word, zero in the others.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0, 1, 0, 0, 0}; }
/// `n` in the first word of each row, zero in the others.
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0, n, 0, 0, 0}; }

/// Loads a vector of any alignment.
WG_TARGET vector load(byte const* from) noexcept {
    return vector(_mm256_loadu_si256(reinterpret_cast<__m256i const*>(from)));
}
/// Stores a vector at any alignment.
WG_TARGET void store(byte* to, vector const& x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), __m256i(x));
}

/// Passes the joined lower halves of a and b to `to.put<First>()`, and the upper halves to `to.put<First + Step>()`.
template <int First, int Step, class To>
WG_TARGET void put_halves(vector const& a, vector const& b, To const& to) noexcept {
    to.template put<First>(vector(_mm256_permute2x128_si256(__m256i(a), __m256i(b), 0x20)));
    to.template put<First + Step>(vector(_mm256_permute2x128_si256(__m256i(a), __m256i(b), 0x31)));
}

/// Transposes four vectors of lanes: vector i then holds 16 bytes of block i in its lower half, and of block i + 4 in
/// its upper half.
WG_TARGET void gather_words(vector* x) noexcept {
    __m256i const low01 = _mm256_unpacklo_epi32(__m256i(x[0]), __m256i(x[1]));
    __m256i const low23 = _mm256_unpacklo_epi32(__m256i(x[2]), __m256i(x[3]));
    __m256i const high01 = _mm256_unpackhi_epi32(__m256i(x[0]), __m256i(x[1]));
    __m256i const high23 = _mm256_unpackhi_epi32(__m256i(x[2]), __m256i(x[3]));
    x[0] = vector(_mm256_unpacklo_epi64(low01, low23));
    x[1] = vector(_mm256_unpackhi_epi64(low01, low23));
    x[2] = vector(_mm256_unpacklo_epi64(high01, high23));
    x[3] = vector(_mm256_unpackhi_epi64(high01, high23));
}

/// Passes the two blocks of a group of rows to `to`.
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    put_halves<First, 2>(y[0], y[1], to);
    put_halves<First + 1, 2>(y[2], y[3], to);
}
/// Transposes the words of eight blocks, and passes the blocks to `to`.
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    gather_words(x), gather_words(x + 4), gather_words(x + 8), gather_words(x + 12);
    put_halves<First, 8>(x[0], x[4], to), put_halves<First + 1, 8>(x[8], x[12], to);
    put_halves<First + 2, 8>(x[1], x[5], to), put_halves<First + 3, 8>(x[9], x[13], to);
    put_halves<First + 4, 8>(x[2], x[6], to), put_halves<First + 5, 8>(x[10], x[14], to);
    put_halves<First + 6, 8>(x[3], x[7], to), put_halves<First + 7, 8>(x[11], x[15], to);
}

/// dst = src ^ x, for `size` bytes, fewer than a vector. Out of line: only the last vector of a message needs it.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    chacha20_detail::xor_bytes(dst, src, keystream, size);
    wipe(keystream);
}
/// dst = src ^ x, for `size` bytes, but no more than a vector.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]]
        return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// Sets `count` lanes from `first` on to `word`.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// Sets `count` lanes from `first` on to `word`, `word + 1`, ...
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes one step, `with.make<Lanes, Rows>()`, for `blocks` blocks: the smallest step that makes them all, or else the
/// largest step. Returns: the blocks that the step makes.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 6) return with.template make<1, 0>();
    if (blocks > 4) return with.template make<0, 3>();
    if (blocks > 2) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

// The functions below serve poly1305_mul32.inl.

/// Four lanes of 64 bits. Each is a pair of words of one block. The blocks 0, 1, 2, 3 are in the lanes 0, 2, 1, 3: in
/// this order `pairs_of` takes one instruction.
using word_pairs = std::uint64_t __attribute__((vector_size(32)));

/// The product of the lower words of each lane.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return word_pairs(_mm256_mul_epu32(__m256i(a), __m256i(b)));
}
/// Pair `Pair` (0 or 1: bytes 0-7 or 8-15) of each block in a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 4, Pair + 2, Pair + 6);
}
/// Copies lane `Lane` to all lanes.
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, those of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 4 : 0, Second & 2 ? 5 : 1, Second & 4 ? 6 : 2,
                                   Second & 8 ? 7 : 3);
}
/// Puts the value of each block in the lane of the block.
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[4]) noexcept {
    return word_pairs{of_block[0], of_block[2], of_block[1], of_block[3]};
}
/// Loads two blocks.
WG_TARGET word_pairs load_two(byte const* first, byte const* second) noexcept {
    __m128i const a = _mm_loadu_si128(reinterpret_cast<__m128i const*>(first));
    __m128i const b = _mm_loadu_si128(reinterpret_cast<__m128i const*>(second));
    return word_pairs(_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1));
}
/// Loads blocks from any places: the first pair of each to `first`, the second pair to `second`.
WG_TARGET void load_pairs(byte const* const (&blocks)[4], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = load_two(blocks[0], blocks[1]), b = load_two(blocks[2], blocks[3]);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
/// The sum of all lanes.
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept {
    auto const two = __builtin_shufflevector(x, x, 0, 1) + __builtin_shufflevector(x, x, 2, 3);
    return two[0] + two[1];
}

/// Clears all vector registers that a function may change without saving them.
WG_TARGET void wipe_registers() noexcept {
    asm volatile("vzeroall"
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
}
