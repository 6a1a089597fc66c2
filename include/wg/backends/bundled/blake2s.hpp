// SPDX-License-Identifier: BSL-1.0
// BLAKE2s (RFC 7693), keyed or not, and the default model of hash_backend. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_HPP

#include "../../policy.hpp"
#include "limbs.hpp"

#include <bit>

namespace wg::inline WG_ABI {
namespace bundled {

namespace blake2s_detail {

inline constexpr std::size_t block_bytes = 64;
inline constexpr std::size_t max_digest_bytes = 32;

inline constexpr std::uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// Which word of the block each step of each round takes (RFC 7693, section 2.7).
inline constexpr std::uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

struct state {
    std::uint32_t h[8];
    std::uint64_t count = 0; ///< bytes compressed
    std::uint32_t m[16];     ///< the block at work
    byte block[block_bytes];
    std::size_t held = 0; ///< bytes in block; it is compressed when a byte follows, for the last one is special

    ~state() { wipe(static_cast<void*>(this), sizeof *this); }
};

[[gnu::always_inline]] inline void mix(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c, std::uint32_t& d,
                                       std::uint32_t x, std::uint32_t y) noexcept {
    a += b + x, d = std::rotr(d ^ a, 16);
    c += d, b = std::rotr(b ^ c, 12);
    a += b + y, d = std::rotr(d ^ a, 8);
    c += d, b = std::rotr(b ^ c, 7);
}

/// Compresses `block`. Out of line, so that `wipe_stack` of a caller reaches what it spills.
[[gnu::noinline]] inline void compress(state& s, byte const* block, bool last) noexcept {
    auto& m = s.m;
    for (std::size_t i = 0; i < 16; ++i) m[i] = load_le32(block + 4 * i);
    std::uint32_t v[16];
    for (std::size_t i = 0; i < 8; ++i) v[i] = s.h[i], v[8 + i] = iv[i];
    v[12] ^= static_cast<std::uint32_t>(s.count);
    v[13] ^= static_cast<std::uint32_t>(s.count >> 32);
    if (last) v[14] = ~v[14];
#ifdef WG_SMALL
#pragma GCC unroll 1
#else
#pragma GCC unroll 10
#endif
    for (int round = 0; round < 10; ++round) {
        auto const& p = sigma[round];
        mix(v[0], v[4], v[8], v[12], m[p[0]], m[p[1]]);
        mix(v[1], v[5], v[9], v[13], m[p[2]], m[p[3]]);
        mix(v[2], v[6], v[10], v[14], m[p[4]], m[p[5]]);
        mix(v[3], v[7], v[11], v[15], m[p[6]], m[p[7]]);
        mix(v[0], v[5], v[10], v[15], m[p[8]], m[p[9]]);
        mix(v[1], v[6], v[11], v[12], m[p[10]], m[p[11]]);
        mix(v[2], v[7], v[8], v[13], m[p[12]], m[p[13]]);
        mix(v[3], v[4], v[9], v[14], m[p[14]], m[p[15]]);
    }
    for (std::size_t i = 0; i < 8; ++i) s.h[i] ^= v[i] ^ v[8 + i];
    wipe(v);
}

inline void update(state& s, bytes_view in) noexcept {
    while (!in.empty()) {
        if (s.held == block_bytes) {
            s.count += block_bytes;
            compress(s, s.block, false);
            s.held = 0;
        }
        std::size_t const room = block_bytes - s.held;
        std::size_t const now = in.size() < room ? in.size() : room;
        std::memcpy(s.block + s.held, in.data(), now);
        s.held += now;
        in = in.subspan(now);
    }
}

[[gnu::noinline]] inline void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) noexcept {
    state s;
    for (std::size_t i = 0; i < 8; ++i) s.h[i] = iv[i];
    // parameter block: digest length, key length, fanout 1, depth 1; the other words are zero
    s.h[0] ^= 0x01010000u ^ static_cast<std::uint32_t>(key.size() << 8) ^ static_cast<std::uint32_t>(out.size());
    if (!key.empty()) { // the key is a block of its own, filled up with zeros
        std::memset(s.block, 0, block_bytes);
        std::memcpy(s.block, key.data(), key.size());
        s.held = block_bytes;
    }
    update(s, a);
    update(s, b);
    s.count += s.held;
    std::memset(s.block + s.held, 0, block_bytes - s.held);
    compress(s, s.block, true);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<byte>(s.h[i / 4] >> (8 * (i % 4)));
}

} // namespace blake2s_detail

struct hash {
    /// out.size() is 1-32, key.size() 0-32. Keys, and messages that are keys, leave nothing on the stack.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= blake2s_detail::max_digest_bytes);
        WG_ASSERT(key.size() <= blake2s_detail::max_digest_bytes);
        blake2s_detail::digest(out, key, a, b);
        wipe_stack<sizeof(blake2s_detail::state) + spill_bytes>();
    }
};

static_assert(hash_backend<hash>);

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
