// SPDX-License-Identifier: BSL-1.0
// BLAKE2s (RFC 7693) for machines with a few kilobytes of memory: loops in place of unrolled code, and all secrets in
// one object, which is wiped at once. Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_COMPACT_HPP

#include "../../policy.hpp"
#include "blake2s_common.hpp"
#include "cpu.hpp"
#include "limbs.hpp"
#include "wipe_stack.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace bundled {

namespace blake2s_detail {

/// `sigma` in half rounds: four bits for each step, the first step in the lowest bits. It takes half the memory.
inline constexpr std::array<std::uint32_t, 20> packed_sigma = [] {
    std::array<std::uint32_t, 20> packed{};
    for (std::size_t i = 0; i < 160; ++i) packed[i / 8] |= std::uint32_t{sigma[i / 16][i % 16]} << (4 * (i % 8));
    return packed;
}();

/// The memory of a digest in one object, so that one wipe clears it.
struct compact_work {
    std::uint32_t h[8];
    byte padded[block_bytes];
    std::size_t held; ///< bytes of `padded` that begin the message: 0, or `block_bytes` with a key
    std::size_t key_bytes;
    byte* out;
    std::size_t out_bytes;
    struct {
        byte const* data;
        std::size_t size;
    } in[2]; ///< the rest of the message, in two parts

    ~compact_work() { wipe_fixed<sizeof(compact_work)>(this); }
};

/// The compression function F (RFC 7693, section 3.2). `count`: the byte counter of the block; messages are shorter
/// than 4 GiB.
[[gnu::noinline]] inline void compress_compact(std::uint32_t* h, byte const* block, std::uint32_t count,
                                               bool last) noexcept {
    std::uint32_t v[16];
    auto const m = [&](std::size_t i) noexcept { return load_le32(block + 4 * i); };
    for (std::size_t i = 0; i < 8; ++i) v[i] = h[i], v[8 + i] = iv[i];
    v[12] ^= count;
    if (last) v[14] = ~v[14];
    std::uint32_t* all = v;
    asm("" : "+r"(all));   // words are addressed by index then, and not by their distance to the frame's end
    unsigned diagonal = 0; // 0: the columns, 1: the diagonals
    for (std::uint32_t p : packed_sigma) {
#pragma GCC unroll 1
        for (unsigned i = 0; i < 4; ++i, p >>= 8) {
            unsigned const second = 4 + (i + diagonal) % 4, third = 8 + (i + 2 * diagonal) % 4,
                           fourth = 12 + (i + 3 * diagonal) % 4;
            std::uint32_t a = all[i], b = all[second], c = all[third], d = all[fourth];
            mix(a, b, c, d, m(p % 16), m(p / 16 % 16));
            all[i] = a, all[second] = b, all[third] = c, all[fourth] = d;
        }
        diagonal ^= 1;
    }
    for (std::size_t i = 0; i < 8; ++i) h[i] ^= v[i] ^ v[8 + i];
    // v is in registers or in this frame; the caller's `wipe_stack` clears both
}

/// Bytes of stack in the frames of `digest` and `compress_compact`.
inline constexpr std::size_t digest_spill_bytes = bundled::spill_bytes + 80; // the words of the state

/// Hashes the input of `w`. Every block is copied to w.padded first, which takes little code. A full block is
/// compressed only when another byte follows, because the last block is compressed differently.
[[gnu::noinline]] inline void digest(compact_work& w) noexcept {
    std::memcpy(w.h, iv, sizeof iv);
    w.h[0] ^= parameters(w.out_bytes, w.key_bytes);
    std::uint32_t count = 0;
    std::size_t held = w.held;
    for (auto const& in : w.in) {
        byte const* from = in.data;
        for (std::size_t left = in.size; left != 0;) {
            if (held == block_bytes) {
                compress_compact(w.h, w.padded, count += block_bytes, false);
                std::memset(w.padded, 0, block_bytes);
                held = 0;
            }
            std::size_t const now = (std::min)(left, block_bytes - held);
            std::memcpy(w.padded + held, from, now);
            held += now, from += now, left -= now;
        }
    }
    compress_compact(w.h, w.padded, count + converted<std::uint32_t>(held), true);
    store_words(w.padded, w.h, 8);
    std::memcpy(w.out, w.padded, w.out_bytes);
}

// The functions below take pointers and sizes and not spans, which compilers for 32-bit machines pass on the stack.

/// `blake2s`, with all its memory wiped.
[[gnu::noinline]] inline void wiped_digest(byte* out, std::size_t out_bytes, byte const* a, std::size_t a_bytes,
                                           byte const* b, std::size_t b_bytes, byte const* key,
                                           std::size_t key_bytes) noexcept {
    {
        compact_work w;
        std::memset(w.padded, 0, block_bytes);
        if (key_bytes != 0) std::memcpy(w.padded, key, key_bytes); // not for a null pointer: undefined even for size 0
        w.held = key_bytes == 0 ? 0 : block_bytes;
        w.key_bytes = key_bytes;
        w.out = out, w.out_bytes = out_bytes;
        w.in[0] = {a, a_bytes};
        w.in[1] = {b, b_bytes};
        digest(w);
    }
    wipe_stack<digest_spill_bytes>(); // ~compact_work wiped the rest
}

/// HMAC (RFC 2104) with one `work` for both digests, and all its memory wiped. `out` holds the inner digest meanwhile.
[[gnu::noinline]] inline void wiped_hmac(byte* out, byte const* key, byte const* input, std::size_t size) noexcept {
    {
        compact_work w;
        w.key_bytes = 0;
        w.out = out, w.out_bytes = max_digest_bytes;
        w.in[0] = {input, size};
        w.in[1] = {nullptr, 0};
        for (byte const filler : {byte{0x36}, byte{0x5c}}) {
            std::memset(w.padded, filler, block_bytes);
            for (std::size_t i = 0; i < max_digest_bytes; ++i) w.padded[i] ^= key[i];
            w.held = block_bytes;
            digest(w);
            w.in[0] = {out, max_digest_bytes};
        }
    }
    wipe_stack<digest_spill_bytes>();
}

} // namespace blake2s_detail

/// The hash of a WG_COMPACT build, a model of hash_backend: small code, little stack. Runs on any processor.
/// Any thread.
class compact_hash {
public:
    compact_hash() noexcept = default;     ///< uses the only kernel
    explicit compact_hash(cpu) noexcept {} ///< ignores the argument: there is only one kernel

    /// Hashes `a` and then `b`. `out` has 1-32 bytes, `key` 0-32. The call leaves neither key nor message on the stack.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= blake2s_detail::max_digest_bytes);
        WG_ASSERT(key.size() <= blake2s_detail::max_digest_bytes);
        blake2s_detail::wiped_digest(out.data(), out.size(), a.data(), a.size(), b.data(), b.size(), key.data(),
                                     key.size());
    }

    /// HMAC-BLAKE2s with a key of 32 bytes. `out` has 32 bytes and overlaps neither key nor input.
    void hmac_blake2s(bytes out, key_view key, bytes_view input) const noexcept {
        WG_ASSERT(out.size() == key_bytes);
        blake2s_detail::wiped_hmac(out.data(), key.data(), input.data(), input.size());
    }
};

static_assert(hash_backend<compact_hash>);

}}} // namespace wg::WG_ABI::bundled

#endif
