// SPDX-License-Identifier: BSL-1.0
// The machine words that the bundled primitives calculate with. Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_LIMBS_HPP
#define WG_BACKENDS_BUNDLED_LIMBS_HPP

#include "../../base/secret.hpp"

#include <cstdint>
#include <type_traits>

namespace wg { inline namespace WG_ABI { namespace bundled {

/// Selects limbs of 32 bits and products of 64 bits: for any processor.
struct limbs32 {};

#ifdef __SIZEOF_INT128__
/// Selects limbs of 64 bits and products of 128 bits: for processors with such a multiplication.
struct limbs64 {};
/// A product of two 64-bit words. The keyword silences -Wpedantic.
__extension__ typedef unsigned __int128 uint128;
/// The widest limbs that the compiler supports; in a WG_COMPACT build always `limbs32`.
using default_limbs = std::conditional_t<compact, limbs32, limbs64>;
#else
/// The widest limbs that the compiler supports.
using default_limbs = limbs32;
#endif

/// Loads `count` little-endian words of 32 bits from `4 * count` bytes of any alignment.
WG_OUTLINE inline void load_words(std::uint32_t* to, byte const* from, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) to[i] = load_le32(from + 4 * i);
}
/// Stores `count` words of 32 bits as `4 * count` little-endian bytes of any alignment.
WG_OUTLINE inline void store_words(byte* to, std::uint32_t const* from, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) store_le32(to + 4 * i, from[i]);
}

/// All ones if `bit` is 1, zero if `bit` is 0. The asm hides from the compiler that the mask has only two values;
/// otherwise the compiler could replace a selection by mask with a branch, whose timing depends on `bit`.
template <class Word> inline Word mask_of(Word bit) noexcept {
    Word mask = static_cast<Word>(Word{0} - bit);
    asm volatile("" : "+r"(mask));
    return mask;
}

}}} // namespace wg::WG_ABI::bundled

#endif
