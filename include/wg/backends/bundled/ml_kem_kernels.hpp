// SPDX-License-Identifier: BSL-1.0
// The vector kernels of ML-KEM: one class for each instruction set. Folder: backends/bundled; any thread.
//
// Keccak takes most of the time. Four sponges run at once: with AVX-512 in vectors of 256 bits, because these run on
// three units of the processor, and vectors of 512 bits on two.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_KERNELS_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_KERNELS_HPP

#include "kernels.hpp"
#include "ml_kem_algorithm.hpp"
#include "ml_kem_tables.hpp"

#if defined(WG_VECTOR_KERNELS) && (defined(__SSE2__) || (defined(__ARM_NEON) && defined(__ARM_64BIT_STATE))) &&        \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WG_KEM_VECTOR128
#endif
#ifdef WG_KEM_VECTOR128
#ifdef __SSE2__
#include <emmintrin.h>
#else
#include <arm_neon.h>
#endif

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

/// Keccak-f[1600] of two states in the vectors of the baseline: word i of state j is number 2 * i + j.
struct keccak_two {
    static constexpr std::size_t lanes = 2;
    static constexpr bool is_faster_for_one = false; ///< than the permutation of a single state
    using word = std::uint64_t __attribute__((vector_size(16)));
#define WG_KECCAK_TARGET
    template <int Bits> [[gnu::always_inline]] static inline word rotate(word const& x) noexcept {
        return x << Bits | x >> (64 - Bits);
    }
    [[gnu::always_inline]] static inline word xor_three(word const& a, word const& b, word const& c) noexcept {
        return a ^ b ^ c;
    }
    [[gnu::always_inline]] static inline word choose(word const& a, word const& b, word const& c) noexcept {
        return a ^ (~b & c);
    }
    [[gnu::always_inline]] static inline word same(std::uint64_t x) noexcept { return word{} + x; }
#include "keccak_rounds.inl"
#undef WG_KECCAK_TARGET
};

/// Vectors of eight 16-bit numbers: SSE2 or NEON.
struct arithmetic_vector128 {
#define WG_KEM_TARGET [[gnu::noinline WG_UNSANITIZED]]
#define WG_KEM_INLINE [[gnu::always_inline WG_UNSANITIZED]] inline
    static constexpr std::size_t lanes = 8;
    using words = std::int16_t __attribute__((vector_size(16)));
    using unsigned_words = std::uint16_t __attribute__((vector_size(16)));
    using pairs = std::uint32_t __attribute__((vector_size(16)));
    using quads = std::uint64_t __attribute__((vector_size(16)));

#ifdef __SSE2__
    WG_KEM_INLINE static words multiply_high(words const& a, words const& b) noexcept {
        return words(_mm_mulhi_epi16(__m128i(a), __m128i(b)));
    }
    WG_KEM_INLINE static words multiply_rounded(words const& a, words const& b) noexcept { // SSSE3 has an instruction
        unsigned_words const low = unsigned_words(a) * unsigned_words(b);
        return (words(low >> 14) + (multiply_high(a, b) << 2) + 1) >> 1; // the product is below 2^29
    }
    WG_KEM_INLINE static pairs multiply_pairs(words const& a, words const& b) noexcept {
        return pairs(_mm_madd_epi16(__m128i(a), __m128i(b)));
    }
#else
    WG_KEM_INLINE static words multiply_high(words const& a, words const& b) noexcept {
        return words(vqdmulhq_s16(int16x8_t(a), int16x8_t(b))) >> 1; // at most one operand is -2^15
    }
    WG_KEM_INLINE static words multiply_rounded(words const& a, words const& b) noexcept {
        return words(vqrdmulhq_s16(int16x8_t(a), int16x8_t(b)));
    }
    WG_KEM_INLINE static pairs multiply_pairs(words const& a, words const& b) noexcept {
        int32x4_t const low = vmull_s16(vget_low_s16(int16x8_t(a)), vget_low_s16(int16x8_t(b))),
                        high = vmull_high_s16(int16x8_t(a), int16x8_t(b));
        return pairs(vpaddq_s32(low, high));
    }
#endif
#include "ml_kem_vector.inl"

    /// The registers belong to the baseline, and `wipe_stack` clears them.
    static void wipe_registers() noexcept {}
    /// Same as `take_uniform` of ml_kem_sampling.hpp, for a block of SHAKE128, and without branches on the numbers. May
    /// write two numbers beyond the last one.
    static std::size_t take_uniform(std::int16_t* to, std::size_t count, byte const* block) noexcept {
        for (std::size_t at = 0; at < shake128.rate_bytes && count < degree; at += 3) {
            std::uint32_t const both =
                block[at] | std::uint32_t{block[at + 1]} << 8 | std::uint32_t{block[at + 2]} << 16;
            to[count] = static_cast<std::int16_t>(both & 0xfff);
            count += (both & 0xfff) < std::uint32_t{q};
            to[count] = static_cast<std::int16_t>(both >> 12);
            count += both >> 12 < std::uint32_t{q};
        }
        return count;
    }
#undef WG_KEM_TARGET
#undef WG_KEM_INLINE
};

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif

#if defined(WG_KEM_VECTOR128) || defined(WG_HAS_X86_KERNELS)

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

/// A kernel of vectors: all elements of the matrix at once.
template <class Arithmetic, class Permutation, class Lanes> struct vector_kernel : Arithmetic {
    using permutation = Permutation;
    using lanes_permutation = Lanes;

    /// Stack below the functions of `ml_kem`: lists of jobs, the lanes, and the frame of their permutation.
    static constexpr std::size_t stack_bytes =
        20 * sizeof(sample_job) + keccak_lanes<vector_kernel>::size_bytes + 2048 + spill_bytes;

    /// The polynomials of an operation.
    struct work {
        polynomial matrix[rank * rank];
        polynomial noise[2 * rank + 1];
        polynomial encoded[rank];
        polynomial result;
        typename Arithmetic::factors factors[rank];
    };

    static void expand(work& w, byte const* seed, bool transposed, std::span<hash_job const> hashes) noexcept {
        sample_job jobs[rank * rank];
        list_matrix(jobs, w, seed, transposed);
        keccak_lanes<vector_kernel>::run(hashes, jobs);
    }
    static void hash(hash_job const& job) noexcept {
        if constexpr (Lanes::is_faster_for_one) keccak_lanes<vector_kernel>::run({&job, 1}, {});
        else keccak_hash<permutation>(job.function, {job.out, hash_bytes}, job.first, job.second);
    }
    static void make_noise(work& w, byte const* secret_seed, std::size_t count) noexcept {
        sample_job jobs[2 * rank + 1];
        list_noise(jobs, w, secret_seed, count);
        keccak_lanes<vector_kernel>::run({}, std::span(jobs, count));
    }
    static void expand_with_noise(work& w, byte const* seed, byte const* secret_seed, std::size_t count) noexcept {
        sample_job jobs[rank * rank + 2 * rank + 1];
        list_matrix(jobs, w, seed, false);
        list_noise(jobs + rank * rank, w, secret_seed, count);
        keccak_lanes<vector_kernel>::run({}, std::span(jobs, rank * rank + count));
    }
    static void prepare(work& w) noexcept {
        for (std::size_t j = 0; j < rank; ++j) Arithmetic::make_factors(w.factors[j], w.noise[j]);
    }
    static void multiply_row(work& w, std::size_t i) noexcept {
        Arithmetic::multiply(w.result, w.matrix + rank * i, w.factors);
    }
    static void multiply_encoded(work& w, byte const* encoded) noexcept {
        for (std::size_t j = 0; j < rank; ++j) Arithmetic::decode(w.encoded[j], encoded + j * encoded_bytes);
        Arithmetic::multiply(w.result, w.encoded, w.factors);
    }

private:
    static void list_matrix(sample_job* to, work& w, byte const* seed, bool transposed) noexcept {
        for (std::size_t i = 0; i < rank; ++i)
            for (std::size_t j = 0; j < rank; ++j)
                *to++ = {seed,
                         {static_cast<byte>(transposed ? i : j), static_cast<byte>(transposed ? j : i)},
                         false,
                         &w.matrix[rank * i + j]};
    }
    static void list_noise(sample_job* to, work& w, byte const* seed, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) to[i] = {seed, {static_cast<byte>(i), 0}, true, &w.noise[i]};
    }
};

#ifdef WG_KEM_VECTOR128
using kernel_kem_vector128 = vector_kernel<arithmetic_vector128, keccak_words, keccak_two>;
#endif

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif

#ifdef WG_HAS_X86_KERNELS

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

/// Keccak-f[1600] of one state with BMI, which has and-not and a rotation into another register.
struct keccak_bmi2 {
    using word = std::uint64_t;
#define WG_KECCAK_TARGET [[WG_TARGET_AVX2]]
    template <int Bits> WG_KECCAK_TARGET [[gnu::always_inline]] static inline word rotate(word x) noexcept {
        return x << Bits | x >> (64 - Bits);
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word xor_three(word a, word b, word c) noexcept {
        return a ^ b ^ c;
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word choose(word a, word b, word c) noexcept {
        return a ^ (~b & c);
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word same(std::uint64_t x) noexcept { return x; }
#include "keccak_rounds.inl"
#undef WG_KECCAK_TARGET
};

/// Keccak-f[1600] of four states: word i of state j is number 4 * i + j.
struct keccak_four_avx2 {
    static constexpr std::size_t lanes = 4;
    static constexpr bool is_faster_for_one = false;
    using word = std::uint64_t __attribute__((vector_size(32)));
#define WG_KECCAK_TARGET [[WG_TARGET_AVX2]]
    template <int Bits> WG_KECCAK_TARGET [[gnu::always_inline]] static inline word rotate(word const& x) noexcept {
        if constexpr (Bits == 8 || Bits == 56) {
            constexpr char n = 8 - Bits / 8;
            __m128i const order =
                _mm_setr_epi8(n % 8, (n + 1) % 8, (n + 2) % 8, (n + 3) % 8, (n + 4) % 8, (n + 5) % 8, (n + 6) % 8,
                              (n + 7) % 8, 8 + n % 8, 8 + (n + 1) % 8, 8 + (n + 2) % 8, 8 + (n + 3) % 8,
                              8 + (n + 4) % 8, 8 + (n + 5) % 8, 8 + (n + 6) % 8, 8 + (n + 7) % 8);
            return word(_mm256_shuffle_epi8(__m256i(x), _mm256_broadcastsi128_si256(order)));
        }
        return x << Bits | x >> (64 - Bits);
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word xor_three(word const& a, word const& b,
                                                                         word const& c) noexcept {
        return a ^ b ^ c;
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word choose(word const& a, word const& b,
                                                                      word const& c) noexcept {
        return a ^ word(_mm256_andnot_si256(__m256i(b), __m256i(c)));
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word same(std::uint64_t x) noexcept { return word{} + x; }
#include "keccak_rounds.inl"
#undef WG_KECCAK_TARGET
};

/// The same with AVX-512, which has rotations and any function of three operands.
struct keccak_four_avx512 {
    static constexpr std::size_t lanes = 4;
    static constexpr bool is_faster_for_one = true;
    using word = std::uint64_t __attribute__((vector_size(32)));
#define WG_KECCAK_TARGET [[WG_TARGET_AVX512]]
    template <int Bits> WG_KECCAK_TARGET [[gnu::always_inline]] static inline word rotate(word const& x) noexcept {
        return word(_mm256_rol_epi64(__m256i(x), Bits));
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word xor_three(word const& a, word const& b,
                                                                         word const& c) noexcept {
        return word(_mm256_ternarylogic_epi64(__m256i(a), __m256i(b), __m256i(c), 0x96));
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word choose(word const& a, word const& b,
                                                                      word const& c) noexcept {
        return word(_mm256_ternarylogic_epi64(__m256i(a), __m256i(b), __m256i(c), 0xd2));
    }
    WG_KECCAK_TARGET [[gnu::always_inline]] static inline word same(std::uint64_t x) noexcept { return word{} + x; }
#include "keccak_rounds.inl"
#undef WG_KECCAK_TARGET
};

/// Vectors of sixteen 16-bit numbers, with AVX2.
struct arithmetic_avx2 {
#define WG_KEM_TARGET [[gnu::noinline, WG_TARGET_AVX2]]
#define WG_KEM_INLINE [[gnu::always_inline, WG_TARGET_AVX2]] inline
    static constexpr std::size_t lanes = 16;
    using words = std::int16_t __attribute__((vector_size(32)));
    using unsigned_words = std::uint16_t __attribute__((vector_size(32)));
    using pairs = std::uint32_t __attribute__((vector_size(32)));
    using quads = std::uint64_t __attribute__((vector_size(32)));

    WG_KEM_INLINE static words multiply_high(words const& a, words const& b) noexcept {
        return words(_mm256_mulhi_epi16(__m256i(a), __m256i(b)));
    }
    WG_KEM_INLINE static words multiply_rounded(words const& a, words const& b) noexcept {
        return words(_mm256_mulhrs_epi16(__m256i(a), __m256i(b)));
    }
    WG_KEM_INLINE static pairs multiply_pairs(words const& a, words const& b) noexcept {
        return pairs(_mm256_madd_epi16(__m256i(a), __m256i(b)));
    }
#include "ml_kem_vector.inl"

    /// Clears the vector registers.
    WG_KEM_TARGET static void wipe_registers() noexcept { kernel_avx2::wipe_registers(); }

    /// Same as `take_uniform` of ml_kem_sampling.hpp, for a block of SHAKE128. May read 8 bytes beyond the block, and
    /// write 8 numbers beyond the last one.
    WG_KEM_TARGET static std::size_t take_uniform(std::int16_t* to, std::size_t count, byte const* block) noexcept {
        __m128i const order = _mm_setr_epi8(0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11);
        for (std::size_t at = 0; at < shake128.rate_bytes && count < degree; at += 12) {
            __m128i const bytes = _mm_loadu_si128(reinterpret_cast<__m128i const*>(block + at));
            __m128i const x = _mm_shuffle_epi8(bytes, order);
            __m128i const found = _mm_blend_epi16(_mm_and_si128(x, _mm_set1_epi16(0xfff)), _mm_srli_epi16(x, 4), 0xaa);
            __m128i const good = _mm_cmpgt_epi16(_mm_set1_epi16(q), found);
            auto const mask = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(good, good))) & 255;
            __m128i const first = _mm_cvtsi64_si128(static_cast<std::int64_t>(chosen_words[mask]));
            __m128i const places = _mm_unpacklo_epi8(first, _mm_add_epi8(first, _mm_set1_epi8(1)));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + count), _mm_shuffle_epi8(found, places));
            count += static_cast<std::size_t>(__builtin_popcount(mask));
        }
        return count;
    }
#undef WG_KEM_TARGET
#undef WG_KEM_INLINE
};

/// Vectors of 32 numbers, with AVX-512.
struct arithmetic_avx512 {
#define WG_KEM_TARGET [[gnu::noinline, WG_TARGET_AVX512]]
#define WG_KEM_INLINE [[gnu::always_inline, WG_TARGET_AVX512]] inline
    static constexpr std::size_t lanes = 32;
    using words = std::int16_t __attribute__((vector_size(64)));
    using unsigned_words = std::uint16_t __attribute__((vector_size(64)));
    using pairs = std::uint32_t __attribute__((vector_size(64)));
    using quads = std::uint64_t __attribute__((vector_size(64)));

    WG_KEM_INLINE static words multiply_high(words const& a, words const& b) noexcept {
        return words(_mm512_mulhi_epi16(__m512i(a), __m512i(b)));
    }
    WG_KEM_INLINE static words multiply_rounded(words const& a, words const& b) noexcept {
        return words(_mm512_mulhrs_epi16(__m512i(a), __m512i(b)));
    }
    WG_KEM_INLINE static pairs multiply_pairs(words const& a, words const& b) noexcept {
        return pairs(_mm512_madd_epi16(__m512i(a), __m512i(b)));
    }
#include "ml_kem_vector.inl"

    /// Clears the vector registers.
    WG_KEM_TARGET static void wipe_registers() noexcept { kernel_avx512::wipe_registers(); }

    static std::size_t take_uniform(std::int16_t* to, std::size_t count, byte const* block) noexcept {
        return arithmetic_avx2::take_uniform(to, count, block);
    }
#undef WG_KEM_TARGET
#undef WG_KEM_INLINE
};

/// The same with AVX512-VBMI2, which moves chosen found together.
struct arithmetic_ifma : arithmetic_avx512 {
    /// Same as that of AVX2. May read 24 bytes beyond the block, and write 32 found beyond the last one.
    [[gnu::noinline, WG_TARGET_IFMA]] static std::size_t take_uniform(std::int16_t* to, std::size_t count,
                                                                      byte const* block) noexcept {
        __m512i const order = _mm512_set4_epi32(0x0b0a0a09, 0x08070706, 0x05040403, 0x02010100);
        __m512i const twelves = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
        for (std::size_t at = 0; at < shake128.rate_bytes && count < degree; at += 48) {
            std::size_t const left = (shake128.rate_bytes - at) / 3 * 2;
            __mmask32 const there = left >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((1u << left) - 1);
            __m512i const bytes = _mm512_maskz_permutexvar_epi32(0xffff, twelves, _mm512_loadu_si512(block + at));
            __m512i const x = _mm512_shuffle_epi8(bytes, order);
            __m512i const shifted = _mm512_srlv_epi16(x, _mm512_set1_epi32(4 << 16));
            __m512i const found = _mm512_and_si512(shifted, _mm512_set1_epi16(0xfff));
            __mmask32 const good = _mm512_mask_cmplt_epu16_mask(there, found, _mm512_set1_epi16(q));
            _mm512_storeu_si512(to + count, _mm512_maskz_compress_epi16(good, found));
            count += static_cast<std::size_t>(__builtin_popcount(good));
        }
        return count;
    }
};

using kernel_kem_avx2 = vector_kernel<arithmetic_avx2, keccak_bmi2, keccak_four_avx2>;
using kernel_kem_avx512 = vector_kernel<arithmetic_avx512, keccak_bmi2, keccak_four_avx512>;
using kernel_kem_ifma = vector_kernel<arithmetic_ifma, keccak_bmi2, keccak_four_avx512>;

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif

#endif
