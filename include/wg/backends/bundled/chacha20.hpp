// SPDX-License-Identifier: BSL-1.0
// The ChaCha20 stream cipher (RFC 8439, sections 2.1-2.4) and HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2).
// Layer 2; a chacha20 object is used by one thread at a time.
//
// Two kernels, one result. `one_block` is plain words. `four_blocks` holds word i of four consecutive blocks in the
// four lanes of vector i, in GNU vector extensions: the same text becomes SSE2, NEON, AltiVec or plain words.
// With `WG_SMALL` defined only the first exists.
#ifndef WG_BACKENDS_BUNDLED_CHACHA20_HPP
#define WG_BACKENDS_BUNDLED_CHACHA20_HPP

#include "../../base/config.hpp"
#include "limbs.hpp"

#include <bit>

namespace wg::inline WG_ABI {
namespace bundled {

inline constexpr std::size_t chacha20_block_bytes = 64;
inline constexpr std::size_t chacha20_nonce_bytes = 12;

/// Words 0-3 constants, 4-11 key, 12 block counter, 13-15 nonce.
using chacha20_words = std::array<std::uint32_t, 16>;

namespace chacha20_detail {

[[gnu::always_inline]] inline void quarter_round(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c,
                                                 std::uint32_t& d) noexcept {
    a += b, d = std::rotl(d ^ a, 16);
    c += d, b = std::rotl(b ^ c, 12);
    a += b, d = std::rotl(d ^ a, 8);
    c += d, b = std::rotl(b ^ c, 7);
}

/// The twenty rounds, without the addition at their end.
[[gnu::always_inline]] inline void permute(chacha20_words& x) noexcept {
    for (int i = 0; i < 10; ++i) {
        quarter_round(x[0], x[4], x[8], x[12]);
        quarter_round(x[1], x[5], x[9], x[13]);
        quarter_round(x[2], x[6], x[10], x[14]);
        quarter_round(x[3], x[7], x[11], x[15]);
        quarter_round(x[0], x[5], x[10], x[15]);
        quarter_round(x[1], x[6], x[11], x[12]);
        quarter_round(x[2], x[7], x[8], x[13]);
        quarter_round(x[3], x[4], x[9], x[14]);
    }
}

inline void set_key(chacha20_words& words, key_view key) noexcept {
    constexpr byte sigma[] = {'e', 'x', 'p', 'a', 'n', 'd', ' ', '3', '2', '-', 'b', 'y', 't', 'e', ' ', 'k'};
    for (std::size_t i = 0; i < 4; ++i) words[i] = load_le32(sigma + 4 * i);
    for (std::size_t i = 0; i < 8; ++i) words[4 + i] = load_le32(key.data() + 4 * i);
}

/// dst = src ^ keystream. dst and src start at the same byte or do not overlap.
inline void xor_bytes(byte* dst, byte const* src, byte const* keystream, std::size_t size) noexcept {
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        std::uint64_t text, key;
        std::memcpy(&text, src + i, 8);
        std::memcpy(&key, keystream + i, 8);
        text ^= key;
        std::memcpy(dst + i, &text, 8);
    }
    for (; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
}

} // namespace chacha20_detail

/// A kernel XORs `group_bytes` of keystream, from the block counter on, into src. dst and src start at the same byte
/// or do not overlap. Out of line, so that `wipe_stack` of a caller reaches what it spills.
struct one_block {
    static constexpr std::size_t group_bytes = chacha20_block_bytes;

    [[gnu::noinline]] static void xor_group(chacha20_words const& words, byte* dst, byte const* src) noexcept {
        chacha20_words x = words;
        chacha20_detail::permute(x);
        for (std::size_t i = 0; i < 16; ++i) store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ (x[i] + words[i]));
        wipe(x);
    }
};

#ifndef WG_SMALL

struct four_blocks {
    static constexpr std::size_t group_bytes = 4 * chacha20_block_bytes;

    [[gnu::noinline]] static void xor_group(chacha20_words const& words, byte* dst, byte const* src) noexcept {
        lanes x[16];
        for (std::size_t i = 0; i < 16; ++i) broadcast(x[i], words[i]);
        lanes const step = {0, 1, 2, 3};
        x[12] += step;
        for (int i = 0; i < 10; ++i) {
            quarter_rounds(x, 0, 4, 8, 12, 1, 5, 9, 13);
            quarter_rounds(x, 2, 6, 10, 14, 3, 7, 11, 15);
            quarter_rounds(x, 0, 5, 10, 15, 1, 6, 11, 12);
            quarter_rounds(x, 2, 7, 8, 13, 3, 4, 9, 14);
        }
        x[12] += step;
        for (std::size_t i = 0; i < 16; i += 4) {
            for (std::size_t j = i; j < i + 4; ++j) {
                lanes original;
                broadcast(original, words[j]);
                x[j] += original;
            }
            xor_rows(x + i, dst + 4 * i, src + 4 * i);
        }
        // x is in registers; what was spilled of it lies in this frame, which the caller wipes
    }

private:
    typedef std::uint32_t lanes __attribute__((vector_size(16)));
    typedef std::uint16_t halves __attribute__((vector_size(16)));
    typedef std::uint8_t octets __attribute__((vector_size(16)));

    [[gnu::always_inline]] static void broadcast(lanes& to, std::uint32_t word) noexcept {
        to = lanes{word, word, word, word};
    }

    template <int Bits> [[gnu::always_inline]] static void rotate(lanes& x) noexcept {
#if defined(__SSE2__) && !defined(__AVX512VL__)
        // no vector rotation there: a shuffle is less than two shifts and an or
        if constexpr (Bits == 16) {
            halves const h = (halves)x;
            x = (lanes)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
            return;
        }
#if defined(__SSSE3__)
        if constexpr (Bits == 8) {
            octets const o = (octets)x;
            x = (lanes)__builtin_shufflevector(o, o, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
            return;
        }
#endif
#endif
        x = (x << Bits) | (x >> (32 - Bits));
    }

    /// Two quarter-rounds side by side: enough independent work for the processor, and few enough live registers.
    [[gnu::always_inline]] static void quarter_rounds(lanes (&x)[16], int a, int b, int c, int d, int e, int f, int g,
                                                      int h) noexcept {
        x[a] += x[b], x[e] += x[f], x[d] ^= x[a], x[h] ^= x[e], rotate<16>(x[d]), rotate<16>(x[h]);
        x[c] += x[d], x[g] += x[h], x[b] ^= x[c], x[f] ^= x[g], rotate<12>(x[b]), rotate<12>(x[f]);
        x[a] += x[b], x[e] += x[f], x[d] ^= x[a], x[h] ^= x[e], rotate<8>(x[d]), rotate<8>(x[h]);
        x[c] += x[d], x[g] += x[h], x[b] ^= x[c], x[f] ^= x[g], rotate<7>(x[b]), rotate<7>(x[f]);
    }

    /// x: four consecutive words of four blocks. Transposes them to 16 bytes of each block and XORs those.
    [[gnu::always_inline]] static void xor_rows(lanes* x, byte* dst, byte const* src) noexcept {
        lanes const low01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
        lanes const low23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
        lanes const high01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
        lanes const high23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
        xor_row(__builtin_shufflevector(low01, low23, 0, 1, 4, 5), dst, src);
        xor_row(__builtin_shufflevector(low01, low23, 2, 3, 6, 7), dst + 64, src + 64);
        xor_row(__builtin_shufflevector(high01, high23, 0, 1, 4, 5), dst + 128, src + 128);
        xor_row(__builtin_shufflevector(high01, high23, 2, 3, 6, 7), dst + 192, src + 192);
    }

    [[gnu::always_inline]] static void xor_row(lanes const& row, byte* dst, byte const* src) noexcept {
        octets keystream = (octets)row;
        if constexpr (std::endian::native == std::endian::big)
            keystream =
                __builtin_shufflevector(keystream, keystream, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
        octets text;
        std::memcpy(&text, src, sizeof text);
        text ^= keystream;
        std::memcpy(dst, &text, sizeof text);
    }
};

#endif

// Where no vector unit stands behind the vectors they are slower than plain words.
#if !defined(WG_SMALL) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__VEC__) ||     \
                           defined(__wasm_simd128__) || defined(__loongarch_sx) || defined(__mips_msa))
using default_chacha20_kernel = four_blocks;
#else
using default_chacha20_kernel = one_block;
#endif

/// The keystream of one key and nonce from a block counter on. Wiped when its life ends.
template <class Kernel = default_chacha20_kernel> class chacha20 {
public:
    /// `key` and `nonce` are read here only.
    chacha20(key_view key, std::span<byte const, chacha20_nonce_bytes> nonce, std::uint32_t counter) noexcept {
        chacha20_detail::set_key(words_, key);
        words_[12] = counter;
        for (std::size_t i = 0; i < 3; ++i) words_[13 + i] = load_le32(nonce.data() + 4 * i);
    }
    chacha20(chacha20 const&) = delete;
    chacha20& operator=(chacha20 const&) = delete;
    ~chacha20() {
        wipe(words_);
        wipe(keystream_);
    }

    /// XORs the next `src.size()` bytes of keystream into `src`. `dst.size()` == `src.size()`; they start at the same
    /// byte or do not overlap; any alignment.
    void apply(bytes dst, bytes_view src) noexcept {
        WG_ASSERT(dst.size() == src.size());
        byte* to = dst.data();
        byte const* from = src.data();
        std::size_t size = src.size();

        std::size_t const ready = size < left_ ? size : left_;
        take(to, from, ready);
        to += ready, from += ready, size -= ready;
        for (; size >= Kernel::group_bytes; size -= Kernel::group_bytes) {
            Kernel::xor_group(words_, to, from);
            words_[12] += Kernel::group_bytes / chacha20_block_bytes;
            to += Kernel::group_bytes, from += Kernel::group_bytes;
        }
        if (size == 0) return;
        prepare(size);
        take(to, from, size);
    }

    /// The one-time key of Poly1305: half of the next block; the other half is dropped (RFC 8439, section 2.6).
    /// With `bytes_to_follow` of the message the same group of blocks serves both.
    void take_one_time_key(std::span<byte, 32> out, std::size_t bytes_to_follow) noexcept {
        WG_ASSERT(left_ == 0);
        prepare(bytes_to_follow == 0 ? chacha20_block_bytes : chacha20_block_bytes + bytes_to_follow);
        copy(out, {keystream_.data() + keystream_.size() - left_, out.size()});
        left_ -= chacha20_block_bytes;
    }

private:
    /// Makes keystream: a group of blocks, or one if that is enough. One at a time is faster for one.
    void prepare(std::size_t wanted) noexcept {
        left_ = wanted <= chacha20_block_bytes ? chacha20_block_bytes : Kernel::group_bytes;
        byte* const start = keystream_.data() + keystream_.size() - left_;
        std::memset(start, 0, left_);
        if (left_ == chacha20_block_bytes)
            one_block::xor_group(words_, start, start);
        else
            Kernel::xor_group(words_, start, start);
        words_[12] += static_cast<std::uint32_t>(left_ / chacha20_block_bytes);
    }

    void take(byte* dst, byte const* src, std::size_t size) noexcept {
        chacha20_detail::xor_bytes(dst, src, keystream_.data() + keystream_.size() - left_, size);
        left_ -= size;
    }

    chacha20_words words_;
    byte_array<Kernel::group_bytes> keystream_; ///< the last `left_` bytes are not used yet
    std::size_t left_ = 0;
};

namespace chacha20_detail {

[[gnu::noinline]] inline void hchacha20(std::span<byte, key_bytes> out, key_view key,
                                        std::span<byte const, 16> nonce) noexcept {
    chacha20_words x;
    set_key(x, key);
    for (std::size_t i = 0; i < 4; ++i) x[12 + i] = load_le32(nonce.data() + 4 * i);
    permute(x);
    for (std::size_t i = 0; i < 4; ++i) store_le32(out.data() + 4 * i, x[i]);
    for (std::size_t i = 0; i < 4; ++i) store_le32(out.data() + 16 + 4 * i, x[12 + i]);
    wipe(x);
}

} // namespace chacha20_detail

/// The subkey of `key` for the first 16 bytes of an XChaCha20 nonce. `out` may be `key`.
inline void hchacha20(std::span<byte, key_bytes> out, key_view key, std::span<byte const, 16> nonce) noexcept {
    chacha20_detail::hchacha20(out, key, nonce);
    wipe_stack<sizeof(chacha20_words) + spill_bytes>();
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
