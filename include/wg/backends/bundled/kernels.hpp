// SPDX-License-Identifier: BSL-1.0
// The kernels of ChaCha20-Poly1305: one namespace for each instruction set.
// Folder: backends/bundled; any thread.
//
// All kernels are compiled from the same .inl files, which each namespace below includes. Each function of a kernel has
// the attribute of its instruction set (WG_TARGET), so that the compiler uses the instruction set in no other function.
// Functions from elsewhere that a kernel inlines are compiled for its instruction set, too. Callers use the members of
// `kernel` in each namespace, and nothing else.
#ifndef WG_BACKENDS_BUNDLED_KERNELS_HPP
#define WG_BACKENDS_BUNDLED_KERNELS_HPP

#include "../../policy.hpp"
#include "chacha20.hpp"
#include "cpu.hpp"
#include "poly1305.hpp"
#include "wipe_stack.hpp"

#include <algorithm>
#include <utility>

#ifdef WG_HAS_X86_KERNELS
#include <immintrin.h>
#endif

namespace wg { inline namespace WG_ABI { namespace bundled {

/// A nonce of 12 bytes (RFC 8439, section 2.3), as words.
struct packet_nonce {
    std::uint32_t words[3]; ///< the nonce's bytes 0-3, 4-7 and 8-11, little-endian

    /// The nonce of a message counter: four zero bytes and `counter`, little-endian (whitepaper, section 5.4).
    static packet_nonce of(std::uint64_t counter) noexcept {
        return {{0, static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32)}};
    }
    /// The nonce with these bytes.
    static packet_nonce of(std::span<byte const, chacha20_nonce_bytes> nonce) noexcept {
        return {{load_le32(&nonce[0]), load_le32(&nonce[4]), load_le32(&nonce[8])}};
    }
    /// The last 8 bytes as a little-endian number.
    std::uint64_t counter() const noexcept { return std::uint64_t{words[2]} << 32 | words[1]; }
    /// The 12 bytes of the nonce.
    byte_array<chacha20_nonce_bytes> encode() const noexcept {
        byte_array<chacha20_nonce_bytes> out;
        for (std::size_t i = 0; i < 3; ++i) store_le32(&out[4 * i], words[i]);
        return out;
    }
};

inline constexpr std::size_t batch_capacity = 32; ///< most packets that a kernel seals or opens at once

/// The input and the output of one packet's authentication in a batch.
struct packet_tag {
    byte key[32];        ///< the one-time key: r, then s (RFC 8439, section 2.5)
    byte tag[tag_bytes]; ///< the result
    byte const* message; ///< the ciphertext
    std::size_t size;    ///< bytes of ciphertext
};

// Without a vector unit the compiler emulates vectors, which is slower than plain words.
#if !defined(WG_COMPACT) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__VEC__) ||   \
                             defined(__wasm_simd128__) || defined(__loongarch_sx) || defined(__mips_msa))
#define WG_VECTOR_KERNELS
#endif

#if defined(WG_VECTOR_KERNELS) && (defined(WG_HAS_X86_KERNELS) || !defined(WG_X86_KERNELS))

namespace kernel_vector128 {
#define WG_TARGET [[gnu::always_inline WG_UNSANITIZED]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline WG_UNSANITIZED]] inline
#include "vector128.inl"
#include "chacha20.inl"
#include "keystream.inl"
#include "poly1305_scalar.inl"
#ifdef WG_X86_KERNELS
#include "poly1305_mul32.inl"
#include "poly1305_lanes.inl"
#else
#include "poly1305_words.inl"
#endif
#include "poly1305_one_by_one.inl"
#include "aead.inl"
#include "aead_batch.inl"
namespace short_packets = kernel_vector128;
#include "aead_kernel.inl"
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_vector128

#endif

#ifdef WG_HAS_X86_KERNELS

namespace kernel_ssse3 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_SSSE3]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_SSSE3]] inline
#define WG_SHUFFLES_BYTES
#include "vector128.inl"
#include "chacha20.inl"
#include "keystream.inl"
using kernel_vector128::lanes_authenticator, kernel_vector128::scalar_authenticator;
using kernel_vector128::make_tags; // SSSE3 has no instruction that would make them faster
#include "aead.inl"
#include "aead_batch.inl"
namespace short_packets = kernel_ssse3;
#include "aead_kernel.inl"
#undef WG_SHUFFLES_BYTES
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_ssse3

namespace kernel_avx2 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX2]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX2]] inline
#include "vector256.inl"
#include "chacha20.inl"
#include "keystream.inl"
#include "poly1305_scalar.inl"
#include "poly1305_mul32.inl"
#include "poly1305_lanes.inl"
#include "poly1305_one_by_one.inl"
#include "aead.inl"
#include "aead_batch.inl"
namespace short_packets = kernel_avx2;
#include "aead_kernel.inl"
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx2

/// AVX-512 in vectors of 256 bits, for packets of few blocks: such packets leave no lanes of these vectors idle, and
/// all vector units of the processor execute the instructions.
namespace kernel_avx512vl {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX512]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX512]] inline
#define WG_ROTATES
#include "vector256.inl"
#include "chacha20.inl"
#include "keystream.inl"
#include "poly1305_scalar.inl"
#include "aead.inl"
#undef WG_ROTATES
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx512vl

namespace kernel_avx512 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX512]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX512]] inline
#include "vector512.inl"
#include "chacha20.inl"
#include "keystream.inl"
#include "poly1305_scalar.inl"
#include "poly1305_mul32.inl"
#include "poly1305_lanes.inl"
#include "poly1305_one_by_one.inl"
#include "aead.inl"
#include "aead_batch.inl"
namespace short_packets = kernel_avx512vl;
#include "aead_kernel.inl"
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx512

namespace kernel_ifma {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_IFMA]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_IFMA]] inline
using namespace kernel_avx512; // for its keystream and its batches
#include "poly1305_scalar.inl"
#include "poly1305_ifma.inl"
#include "poly1305_lanes.inl"
#include "poly1305_packets.inl"
#include "aead.inl"
namespace short_packets = kernel_avx512vl;
#include "aead_kernel.inl"
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_ifma

#endif

}}} // namespace wg::WG_ABI::bundled

#endif
