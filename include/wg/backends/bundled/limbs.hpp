// SPDX-License-Identifier: BSL-1.0
// Which machine words the bundled primitives calculate with, and how they leave no secrets behind. Layer 2; pure.
#ifndef WG_BACKENDS_BUNDLED_LIMBS_HPP
#define WG_BACKENDS_BUNDLED_LIMBS_HPP

#include "../../base/secret.hpp"

#include <cstdint>

namespace wg::inline WG_ABI {
namespace bundled {

/// Limbs in 32-bit words, products in 64-bit words: any processor.
struct limbs32 {};

#ifdef __SIZEOF_INT128__
/// Limbs in 64-bit words, products in 128-bit words: processors that multiply so.
struct limbs64 {};
__extension__ typedef unsigned __int128 uint128;
#endif

#if defined(__SIZEOF_INT128__) && !defined(WG_SMALL)
using default_limbs = limbs64;
#else
using default_limbs = limbs32;
#endif

/// All ones if `bit` is 1, zero if it is 0. The compiler is not told that there are only two values, so it cannot
/// make a branch of a selection by mask.
template <class Word> inline Word mask_of(Word bit) noexcept {
    Word mask = static_cast<Word>(Word{0} - bit);
    asm volatile("" : "+r"(mask));
    return mask;
}

/// What a primitive needs of the stack beside its named state: registers spilled and saved. About half of this in
/// g++ 12 and clang 16 when they optimise; when they do not there is more, and it is not all reached.
#ifdef WG_SMALL
inline constexpr std::size_t spill_bytes = 384;
#else
inline constexpr std::size_t spill_bytes = 640;
#endif

/// `wipe` of a size that is known: for some hundred bytes stores are faster than the string instruction that g++ takes.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_fixed(void* memory) noexcept {
#if defined(__SSE2__) && !defined(WG_SMALL)
    typedef std::uint64_t pair __attribute__((vector_size(16)));
    pair zero = {};
    asm volatile("" : "+x"(zero)); // or the compiler would see a memset in it
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
#else
    wipe(memory, Bytes);
#endif
}

/// Overwrites at least `Bytes` bytes of stack below the caller's frame. Objects that hold secrets are wiped by their
/// owners, but a compiler also spills registers into slots that have no name. So whatever works on secrets is kept out
/// of line, and its caller ends with this call, which covers the frames that are gone.
template <std::size_t Bytes> [[gnu::noinline]] inline void wipe_stack() noexcept {
    alignas(16) byte frame[(Bytes + 15) / 16 * 16];
    wipe_fixed<sizeof frame>(frame);
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
