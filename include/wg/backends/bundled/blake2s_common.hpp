// SPDX-License-Identifier: BSL-1.0
// The parts of BLAKE2s (RFC 7693) that all its kernels share: constants, the parameter block and the mixing function.
// Folder: backends/bundled; pure.
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_COMMON_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_COMMON_HPP

#include "../../base/bytes.hpp"

#include <bit>

namespace wg { inline namespace WG_ABI { namespace bundled { namespace blake2s_detail {

inline constexpr std::size_t block_bytes = 64;
inline constexpr std::size_t max_digest_bytes = 32;

inline constexpr std::uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// The word of the block that each step of each round takes (RFC 7693, section 2.7).
inline constexpr std::uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

/// The first word of the parameter block (RFC 7693, section 2.5): digest length, key length, fanout 1, depth 1. The
/// other words are zero.
constexpr std::uint32_t parameters(std::size_t digest_bytes, std::size_t key_bytes) noexcept {
    return 0x01010000u ^ converted<std::uint32_t>(key_bytes << 8) ^ converted<std::uint32_t>(digest_bytes);
}

/// The mixing function G (RFC 7693, section 3.1).
[[gnu::always_inline]] inline void mix(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c, std::uint32_t& d,
                                       std::uint32_t x, std::uint32_t y) noexcept {
    a += b + x, d = std::rotr(d ^ a, 16);
    c += d, b = std::rotr(b ^ c, 12);
    a += b + y, d = std::rotr(d ^ a, 8);
    c += d, b = std::rotr(b ^ c, 7);
}

}}}} // namespace wg::WG_ABI::bundled::blake2s_detail

#endif
