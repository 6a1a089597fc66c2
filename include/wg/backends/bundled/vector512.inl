// SPDX-License-Identifier: BSL-1.0
// Vectors of sixteen 32-bit words, for chacha20.inl. Included inside the namespace of a kernel with AVX-512 F and BW.
// Shuffles are those of the GNU vector extensions: g++ 12 warns that its intrinsics use an uninitialized operand.

/// Sixteen words: one of each lane, or one row of each of four blocks.
using vector = std::uint32_t __attribute__((vector_size(64)));
/// One row of a block.
using four_words = std::uint32_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 64;
inline constexpr int vector_registers = 32;
inline constexpr std::size_t most_blocks = 32;        ///< blocks of the largest step
inline constexpr int batch_groups = 2;                ///< groups of lanes in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1536; ///< most stack of a step

/// x <<< Bits in each lane.
template <int Bits> WG_TARGET void rotate(vector& x) noexcept { x = (x << Bits) | (x >> (32 - Bits)); }

/// Rotates the four words of each row by `By` places to the left.
template <int By> WG_TARGET void rotate_words(vector& x) noexcept {
    constexpr int a = By, b = (By + 1) % 4, c = (By + 2) % 4, d = (By + 3) % 4;
    x = __builtin_shufflevector(x, x, a, b, c, d, 4 + a, 4 + b, 4 + c, 4 + d, 8 + a, 8 + b, 8 + c, 8 + d, 12 + a,
                                12 + b, 12 + c, 12 + d);
}

/// `word` in each lane.
WG_TARGET vector broadcast(std::uint32_t word) noexcept { return word + vector{}; }
/// Loads a row of four words into each quarter.
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    four_words x;
    std::memcpy(&x, four, sizeof x);
    return __builtin_shufflevector(x, x, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}
/// The number of each lane, from 0 on.
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
/// The number of a row in its first word, zero in the others.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}; }
/// `n` in the first word of each row, zero in the others.
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0}; }

/// Loads a vector of any alignment.
WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
/// Stores a vector at any alignment.
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// The quarters `First` and `Second` of a, and then those of b.
template <int First, int Second> WG_TARGET vector two_quarters(vector const& a, vector const& b) noexcept {
    constexpr int i = 4 * First, j = 4 * Second;
    return __builtin_shufflevector(a, b, i, i + 1, i + 2, i + 3, j, j + 1, j + 2, j + 3, 16 + i, 17 + i, 18 + i, 19 + i,
                                   16 + j, 17 + j, 18 + j, 19 + j);
}

/// Passes the joined quarters i of a, b, c and d to `to.put<First + i * Step>()`.
template <int First, int Step, class To>
WG_TARGET void put_quarters(vector const& a, vector const& b, vector const& c, vector const& d, To const& to) noexcept {
    vector const ab = two_quarters<0, 1>(a, b), cd = two_quarters<0, 1>(c, d);
    to.template put<First>(two_quarters<0, 2>(ab, cd));
    to.template put<First + Step>(two_quarters<1, 3>(ab, cd));
    vector const ab2 = two_quarters<2, 3>(a, b), cd2 = two_quarters<2, 3>(c, d);
    to.template put<First + 2 * Step>(two_quarters<0, 2>(ab2, cd2));
    to.template put<First + 3 * Step>(two_quarters<1, 3>(ab2, cd2));
}

/// Of each quarter, the lower (At = 0) or upper (At = 2) two words of a and b, alternating.
template <int At> WG_TARGET vector interleave_words(vector const& a, vector const& b) noexcept {
    return __builtin_shufflevector(a, b, At, At + 16, At + 1, At + 17, At + 4, At + 20, At + 5, At + 21, At + 8,
                                   At + 24, At + 9, At + 25, At + 12, At + 28, At + 13, At + 29);
}
/// Of each quarter, the lower (At = 0) or upper (At = 2) pair of words of a and then of b.
template <int At> WG_TARGET vector interleave_pairs(vector const& a, vector const& b) noexcept {
    return __builtin_shufflevector(a, b, At, At + 1, At + 16, At + 17, At + 4, At + 5, At + 20, At + 21, At + 8, At + 9,
                                   At + 24, At + 25, At + 12, At + 13, At + 28, At + 29);
}

/// Transposes four vectors of lanes: quarter j of vector i then holds 16 bytes of block i + 4 j.
WG_TARGET void gather_words(vector* x) noexcept {
    vector const low01 = interleave_words<0>(x[0], x[1]), low23 = interleave_words<0>(x[2], x[3]);
    vector const high01 = interleave_words<2>(x[0], x[1]), high23 = interleave_words<2>(x[2], x[3]);
    x[0] = interleave_pairs<0>(low01, low23), x[1] = interleave_pairs<2>(low01, low23);
    x[2] = interleave_pairs<0>(high01, high23), x[3] = interleave_pairs<2>(high01, high23);
}

/// Passes the four blocks of a group of rows to `to`.
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    put_quarters<First, 1>(y[0], y[1], y[2], y[3], to);
}
/// Transposes the words of sixteen blocks, and passes the blocks to `to`.
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    gather_words(x), gather_words(x + 4), gather_words(x + 8), gather_words(x + 12);
    put_quarters<First, 4>(x[0], x[4], x[8], x[12], to);
    put_quarters<First + 1, 4>(x[1], x[5], x[9], x[13], to);
    put_quarters<First + 2, 4>(x[2], x[6], x[10], x[14], to);
    put_quarters<First + 3, 4>(x[3], x[7], x[11], x[15], to);
}

/// dst = src ^ x, for `size` bytes, but no more than a vector.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]]
        return store(dst, load(src) ^ x);
    __mmask64 const there = (__mmask64{1} << size) - 1;
    _mm512_mask_storeu_epi8(dst, there, _mm512_xor_si512(__m512i(x), _mm512_maskz_loadu_epi8(there, src)));
}

/// The mask of `count` lanes from `first` on.
WG_TARGET __mmask16 some_lanes(std::size_t first, std::size_t count) noexcept {
    return static_cast<__mmask16>(((1u << count) - 1) << first);
}
/// Sets `count` lanes from `first` on to `word`.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    x = vector(_mm512_mask_set1_epi32(__m512i(x), some_lanes(first, count), static_cast<int>(word)));
}
/// Sets `count` lanes from `first` on to `word`, `word + 1`, ...
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    __m512i const all = __m512i(lane_numbers() + broadcast(word - static_cast<std::uint32_t>(first)));
    x = vector(_mm512_mask_mov_epi32(__m512i(x), some_lanes(first, count), all));
}

/// Makes one step, `with.make<Lanes, Rows>()`, for `blocks` blocks: the smallest step that makes them all, or else the
/// largest step. Returns: the blocks that the step makes.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 24) return with.template make<2, 0>();
    if (blocks > 20) return with.template make<1, 2>();
    if (blocks > 16) return with.template make<1, 1>();
    if (blocks > 12) return with.template make<1, 0>();
    if (blocks > 8) return with.template make<0, 3>();
    if (blocks > 4) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

// The functions below serve poly1305_mul32.inl.

/// Eight lanes of 64 bits. Each is a pair of words of one block. The blocks 0 ... 7 are in the lanes 0, 2, 4, 6, 1, 3,
/// 5, 7: in this order `pairs_of` takes one instruction.
using word_pairs = std::uint64_t __attribute__((vector_size(64)));
/// One block.
using two_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The product of the lower words of each lane. The intrinsic with a mask, because g++ 12 warns that the one without
/// a mask uses an uninitialized operand.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return word_pairs(_mm512_maskz_mul_epu32(0xff, __m512i(a), __m512i(b)));
}
/// Pair `Pair` (0 or 1: bytes 0-7 or 8-15) of each block in a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 8, Pair + 2, Pair + 10, Pair + 4, Pair + 12, Pair + 6, Pair + 14);
}
/// Copies lane `Lane` to all lanes.
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, those of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return word_pairs(_mm512_mask_mov_epi64(__m512i(a), Second, __m512i(b)));
}
/// Puts the value of each block in the lane of the block.
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[8]) noexcept {
    return word_pairs{of_block[0], of_block[4], of_block[1], of_block[5],
                      of_block[2], of_block[6], of_block[3], of_block[7]};
}
/// Loads one block.
WG_TARGET two_pairs load_block(byte const* from) noexcept {
    two_pairs x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
/// Loads four blocks.
WG_TARGET word_pairs load_four(byte const* const* blocks) noexcept {
    auto const a = __builtin_shufflevector(load_block(blocks[0]), load_block(blocks[1]), 0, 1, 2, 3);
    auto const b = __builtin_shufflevector(load_block(blocks[2]), load_block(blocks[3]), 0, 1, 2, 3);
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
/// Loads blocks from any places: the first pair of each to `first`, the second pair to `second`.
WG_TARGET void load_pairs(byte const* const (&blocks)[8], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = load_four(blocks), b = load_four(blocks + 4);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
/// The sum of all lanes.
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept {
    auto const four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
    auto const two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// Clears all vector registers that a function may change without saving them.
WG_TARGET void wipe_registers() noexcept {
#define WG_ZERO(i) "vpxord %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n\t"
    asm volatile("vzeroall\n\t" WG_ZERO(16) WG_ZERO(17) WG_ZERO(18) WG_ZERO(19) WG_ZERO(20) WG_ZERO(21) WG_ZERO(22)
                     WG_ZERO(23) WG_ZERO(24) WG_ZERO(25) WG_ZERO(26) WG_ZERO(27) WG_ZERO(28) WG_ZERO(29) WG_ZERO(30)
                         WG_ZERO(31)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
#undef WG_ZERO
}
