// SPDX-License-Identifier: BSL-1.0
// Vectors of four 32-bit words, for chacha20.inl. Included inside the namespace of a kernel. The code uses GNU vector
// extensions, which compilers translate to SSE2, NEON or AltiVec. A kernel with SSSE3 defines WG_SHUFFLES_BYTES.

/// Four words: one of each lane, or one row of a block.
using vector = std::uint32_t __attribute__((vector_size(16)));
using half_words = std::uint16_t __attribute__((vector_size(16)));
using octets = std::uint8_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 16;
#ifdef __x86_64__
inline constexpr int vector_registers = 16;
#else
inline constexpr int vector_registers = 32;
#endif
inline constexpr std::size_t most_blocks = 4;         ///< blocks of the largest step
inline constexpr int batch_groups = 1;                ///< groups of lanes in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< most stack of a step

/// x <<< Bits in each lane.
template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
#if defined(__SSE2__) && !defined(__AVX512VL__)
    // These instruction sets do not rotate vectors. One shuffle is faster than two shifts and an or.
#ifdef WG_SHUFFLES_BYTES
    if constexpr (Bits % 8 == 0) {
        constexpr octets order = Bits == 8 ? octets{3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14}
                                           : octets{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
        x = vector(_mm_shuffle_epi8(__m128i(x), __m128i(order)));
        return;
    }
#endif
    if constexpr (Bits == 16) {
        half_words const h = half_words(x);
        x = vector(__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6));
        return;
    }
#ifdef __SSSE3__
    if constexpr (Bits == 8) {
        octets const o = octets(x);
        x = vector(__builtin_shufflevector(o, o, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14));
        return;
    }
#endif
#endif
    x = (x << Bits) | (x >> (32 - Bits));
}
/// Rotates the four words of each row by `By` places to the left.
template <int By> WG_TARGET void rotate_words(vector& x) noexcept {
    x = __builtin_shufflevector(x, x, By, (By + 1) % 4, (By + 2) % 4, (By + 3) % 4);
}

/// `word` in each lane.
WG_TARGET vector broadcast(std::uint32_t word) noexcept { return vector{word, word, word, word}; }
/// Loads a row of four words.
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    vector x;
    std::memcpy(&x, four, sizeof x);
    return x;
}
/// The number of each lane, from 0 on.
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3}; }
/// The number of each row in its first word: there is only row 0.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0}; }
/// `n` in the first word of each row, zero in the others.
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0}; }

/// Loads a vector of any alignment.
WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
/// Stores a vector at any alignment.
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// The words in little-endian byte order, which ChaCha20 requires in memory.
WG_TARGET vector in_memory_order(vector const& x) noexcept {
    if constexpr (std::endian::native == std::endian::little) return x;
    octets const o = octets(x);
    return vector(__builtin_shufflevector(o, o, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
}

/// Transposes four vectors of lanes: makes 16 bytes of each of four blocks. Passes those of block i to
/// `to.put<First + 4 * i>()`.
template <int First, class To> WG_TARGET void put_four_words(vector const* x, To const& to) noexcept {
    vector const low01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    vector const low23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    vector const high01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    vector const high23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    to.template put<First>(in_memory_order(__builtin_shufflevector(low01, low23, 0, 1, 4, 5)));
    to.template put<First + 4>(in_memory_order(__builtin_shufflevector(low01, low23, 2, 3, 6, 7)));
    to.template put<First + 8>(in_memory_order(__builtin_shufflevector(high01, high23, 0, 1, 4, 5)));
    to.template put<First + 12>(in_memory_order(__builtin_shufflevector(high01, high23, 2, 3, 6, 7)));
}
/// Transposes the words of four blocks, and passes the blocks to `to`.
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    put_four_words<First>(x, to);
    put_four_words<First + 1>(x + 4, to);
    put_four_words<First + 2>(x + 8, to);
    put_four_words<First + 3>(x + 12, to);
}
/// Passes the rows of a block to `to`.
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    to.template put<First>(in_memory_order(y[0]));
    to.template put<First + 1>(in_memory_order(y[1]));
    to.template put<First + 2>(in_memory_order(y[2]));
    to.template put<First + 3>(in_memory_order(y[3]));
}

/// dst = src ^ x, for `size` bytes, fewer than a vector. Out of line: only the last vector of a message needs it.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    for (std::size_t i = 0; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
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
    if (blocks > 2) return with.template make<1, 0>();
    if (blocks > 1) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

#ifdef WG_X86_KERNELS
// The functions below serve poly1305_mul32.inl.

/// Two lanes of 64 bits. Each is a pair of words of one block.
using word_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The product of the lower words of each lane.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return word_pairs(_mm_mul_epu32(__m128i(a), __m128i(b)));
}
/// Pair `Pair` (0 or 1: bytes 0-7 or 8-15) of each block in a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 2);
}
/// Copies lane `Lane` to all lanes.
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, those of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 2 : 0, Second & 2 ? 3 : 1);
}
/// Puts the value of each block in the lane of the block.
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[2]) noexcept {
    return word_pairs{of_block[0], of_block[1]};
}
/// Loads blocks from any places: the first pair of each to `first`, the second pair to `second`.
WG_TARGET void load_pairs(byte const* const (&blocks)[2], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = word_pairs(load(blocks[0])), b = word_pairs(load(blocks[1]));
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
/// The sum of all lanes.
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept { return x[0] + x[1]; }
#endif

/// Clears all vector registers that a function may change without saving them, on x86-64 and aarch64.
WG_TARGET void wipe_registers() noexcept {
#if defined(__SSE2__) && defined(__x86_64__)
#define WG_ZERO(i) "pxor %%xmm" #i ", %%xmm" #i "\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(8)
                     WG_ZERO(9) WG_ZERO(10) WG_ZERO(11) WG_ZERO(12) WG_ZERO(13) WG_ZERO(14) WG_ZERO(15)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
#undef WG_ZERO
#elif defined(__aarch64__)
#define WG_ZERO(i) "movi v" #i ".16b, #0\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(16)
                     WG_ZERO(17) WG_ZERO(18) WG_ZERO(19) WG_ZERO(20) WG_ZERO(21) WG_ZERO(22) WG_ZERO(23) WG_ZERO(24)
                         WG_ZERO(25) WG_ZERO(26) WG_ZERO(27) WG_ZERO(28) WG_ZERO(29) WG_ZERO(30) WG_ZERO(31)
                 :
                 :
                 : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
                   "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"); // v8-v15 are callee-saved
#undef WG_ZERO
#endif
}
