// SPDX-License-Identifier: BSL-1.0
// Vectors of four 32-bit words, for chacha20.inl. Text for a kernel's namespace. In GNU vector extensions: the same
// text becomes SSE2, NEON or AltiVec. A kernel with SSSE3 defines WG_SHUFFLES_BYTES.

using vector = std::uint32_t __attribute__((vector_size(16)));
using half_words = std::uint16_t __attribute__((vector_size(16)));
using octets = std::uint8_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 16;
#ifdef __x86_64__
inline constexpr int vector_registers = 16;
#else
inline constexpr int vector_registers = 32;
#endif
inline constexpr std::size_t most_blocks = 4;         ///< of a step
inline constexpr int batch_groups = 1;                ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< at most, of a step

template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
#if defined(__SSE2__) && !defined(__AVX512VL__)
    // no rotation of vectors there: a shuffle is less than two shifts and an or
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
template <int By> WG_TARGET void turn(vector& x) noexcept {
    x = __builtin_shufflevector(x, x, By, (By + 1) % 4, (By + 2) % 4, (By + 3) % 4);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept { return vector{word, word, word, word}; }
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    vector x;
    std::memcpy(&x, four, sizeof x);
    return x;
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3}; }
/// The number of a row in its first word: there is one.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0}; }

WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// Words as the bytes that they are in memory, for which ChaCha20 has the little-endian order.
WG_TARGET vector in_memory_order(vector const& x) noexcept {
    if constexpr (std::endian::native == std::endian::little) return x;
    octets const o = octets(x);
    return vector(__builtin_shufflevector(o, o, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
}

/// Of four words in lanes, makes 16 bytes of each of four blocks. Hands those of block i over as `First + 4 i`.
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
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    put_four_words<First>(x, to);
    put_four_words<First + 1>(x + 4, to);
    put_four_words<First + 2>(x + 8, to);
    put_four_words<First + 3>(x + 12, to);
}
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    to.template put<First>(in_memory_order(y[0]));
    to.template put<First + 1>(in_memory_order(y[1]));
    to.template put<First + 2>(in_memory_order(y[2]));
    to.template put<First + 3>(in_memory_order(y[3]));
}

/// dst = src ^ x, `size` bytes of it, less than a vector.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    for (std::size_t i = 0; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
    wipe(keystream);
}
/// Likewise, a whole vector if `size` is not less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]]
        return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 2) return with.template make<1, 0>();
    if (blocks > 1) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

#ifdef WG_X86_KERNELS
// Of poly1305_mul32.inl: vectors of two pairs of words, of a block each.
using word_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The products of the lower words.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return word_pairs(_mm_mul_epu32(__m128i(a), __m128i(b)));
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 2);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 2 : 0, Second & 2 ? 3 : 1);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[2]) noexcept {
    return word_pairs{of_block[0], of_block[1]};
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[2], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = word_pairs(load(blocks[0])), b = word_pairs(load(blocks[1]));
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept { return x[0] + x[1]; }
#endif

/// Leaves nothing in vector registers.
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
                   "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"); // the others are the caller's
#undef WG_ZERO
#endif
}
