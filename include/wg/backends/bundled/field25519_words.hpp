// SPDX-License-Identifier: BSL-1.0
// The carries of the field modulo p = 2^255 - 19 in eight words of 32 bits, for the forms of its arithmetic.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_WORDS_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_WORDS_HPP

#include "../../base/abi.hpp"

#include <cstddef>
#include <cstdint>

namespace wg { inline namespace WG_ABI { namespace bundled { namespace field25519_detail {

/// Writes the eight `words` plus t, |t| < 2^63, to the eight words of `to`, which may be `words`.
/// Returns: the carry out of the top word.
WG_OUTLINE inline std::uint32_t add_to(std::uint32_t* to, std::uint32_t const* words, std::int64_t t) noexcept {
    for (std::size_t i = 0; i < 8; ++i) {
        t += words[i];
        to[i] = static_cast<std::uint32_t>(t);
        t >>= 32;
    }
    return static_cast<std::uint32_t>(t);
}

/// Writes the eight `words` plus top * 2^256 modulo p to `to`, which may be `words`; top is < 2^17 or so.
inline void fold(std::uint32_t* to, std::uint32_t const* words, std::uint32_t top) noexcept {
    std::uint32_t const again = add_to(to, words, std::int64_t{top} * 38); // 0 or 1; if 1, the rest is < 2^23
    to[0] += again * 38;
}

/// Adds top * 2^256 modulo p to the eight words of `to`.
inline void fold(std::uint32_t* to, std::uint32_t top) noexcept { fold(to, to, top); }

}}}} // namespace wg::WG_ABI::bundled::field25519_detail

#endif
