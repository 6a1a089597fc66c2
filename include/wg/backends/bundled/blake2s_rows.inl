// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of one message in vectors (RFC 7693): the four mixings of half a round are the four elements of rows a, b,
// c, d. blake2s.hpp includes this text of a kernel once for each instruction set.
// Folder: backends/bundled; any thread.
//
// The including file defines WG_ROWS_512, 1 with AVX-512 and 0 with AVX2 only; WG_ROWS_TARGET, the attribute of every
// function; and WG_ROWS_WIPE, which clears the vector registers.
//
// One chain of dependent operations limits the speed: 12 operations in half a round where the processor can rotate. So
// other operations are kept off the chain. Between half rounds the rows a, c and d are rotated, but not b, because b is
// the last to be ready. `a + word` is computed before `+ b`; an empty asm prevents the compiler from reordering the
// sum.

static constexpr std::size_t spill_bytes = 384; ///< stack below the caller's frame that may hold spilled registers

/// Rotates every word by `Bits` bits to the right.
template <int Bits> WG_ROWS_TARGET [[gnu::always_inline]] static inline __m128i rotate(__m128i x) noexcept {
#if WG_ROWS_512
    return _mm_ror_epi32(x, Bits);
#else
    if constexpr (Bits == 16) return _mm_shuffle_epi8(x, _mm_set_epi32(0x0d0c0f0e, 0x09080b0a, 0x05040706, 0x01000302));
    else if constexpr (Bits == 8)
        return _mm_shuffle_epi8(x, _mm_set_epi32(0x0c0f0e0d, 0x080b0a09, 0x04070605, 0x00030201));
    else return _mm_or_si128(_mm_srli_epi32(x, Bits), _mm_slli_epi32(x, 32 - Bits));
#endif
}

/// The words of a block, `low` and `high`, at the eight indices `at`.
WG_ROWS_TARGET [[gnu::always_inline]] static inline __m256i pick(__m256i const& low, __m256i const& high,
                                                                 std::uint32_t const* at) noexcept {
    __m256i const index = _mm256_load_si256(reinterpret_cast<__m256i const*>(at));
#if WG_ROWS_512
    return _mm256_permutex2var_epi32(low, index, high);
#else
    return _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(low, index), _mm256_permutevar8x32_epi32(high, index),
                              _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7)));
#endif
}

/// Reads the next block; if `size` is less than a block, zeros follow the `size` bytes.
WG_ROWS_TARGET [[gnu::always_inline]] static inline void load_block(__m256i& low, __m256i& high, work& w,
                                                                    byte const* data, std::size_t size) noexcept {
#if WG_ROWS_512
    static_cast<void>(w);
    if (size < block_bytes) {
        std::uint64_t const there = (std::uint64_t{1} << size) - 1;
        low = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there), data);
        high = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there >> 32), data + 32);
        return;
    }
#else
    if (size < block_bytes) {
        pad(w.padded, {data, size});
        data = w.padded;
    }
#endif
    low = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data));
    high = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data + 32));
}

/// The four mixings of half a round.
WG_ROWS_TARGET [[gnu::always_inline]] static inline void mix_rows(__m128i& a, __m128i& b, __m128i& c, __m128i& d,
                                                                  __m256i const& words) noexcept {
    a = _mm_add_epi32(a, _mm256_castsi256_si128(words));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<16>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<12>(_mm_xor_si128(b, c));
    a = _mm_add_epi32(a, _mm256_extracti128_si256(words, 1));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<8>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<7>(_mm_xor_si128(b, c));
}

/// Same as `words::compress`.
WG_ROWS_TARGET [[gnu::noinline]] static inline void compress(work& w, byte const* data, std::size_t size,
                                                             std::uint64_t count_after, bool last) noexcept {
    std::uint64_t count = count_after - size;
    __m128i h0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h));
    __m128i h1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h + 4));
    __m128i const iv0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv));
    __m128i const iv1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv + 4));
    for (;;) {
        bool const at_end = size <= block_bytes;
        __m256i low, high;
        load_block(low, high, w, data, size);
        count = at_end ? count_after : count + block_bytes;
        __m128i a = h0, b = h1, c = iv0;
        __m128i d = _mm_xor_si128(
            iv1, _mm_set_epi32(0, at_end && last ? -1 : 0, static_cast<int>(count >> 32), static_cast<int>(count)));
#pragma GCC unroll 1
        for (std::uint32_t const(&at)[16] : row_order.words) {
            mix_rows(a, b, c, d, pick(low, high, at));
            a = _mm_shuffle_epi32(a, 0x93); // b[i + 1] stays; a[i], c[i + 2] and d[i + 3] move to its element
            c = _mm_shuffle_epi32(c, 0x39);
            d = _mm_shuffle_epi32(d, 0x4e);
            mix_rows(a, b, c, d, pick(low, high, at + 8));
            a = _mm_shuffle_epi32(a, 0x39);
            c = _mm_shuffle_epi32(c, 0x93);
            d = _mm_shuffle_epi32(d, 0x4e);
        }
        h0 = _mm_xor_si128(h0, _mm_xor_si128(a, c));
        h1 = _mm_xor_si128(h1, _mm_xor_si128(b, d));
        if (at_end) break;
        data += block_bytes;
        size -= block_bytes;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h), h0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h + 4), h1);
    WG_ROWS_WIPE;
}
