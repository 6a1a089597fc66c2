// SPDX-License-Identifier: BSL-1.0
// The ChaCha20 stream cipher (RFC 8439, sections 2.1-2.4) and HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2).
// Folder: backends/bundled; a chacha20 object is used by one thread at a time.
//
// This file works on one block in plain words: for processors without vectors and for single blocks. chacha20.inl works
// on many blocks in vectors, and chacha20_arm.hpp on one block in assembly for Cortex-M.
#ifndef WG_BACKENDS_BUNDLED_CHACHA20_HPP
#define WG_BACKENDS_BUNDLED_CHACHA20_HPP

#include "../../base/config.hpp"
#include "chacha20_arm.hpp"
#include "limbs.hpp"
#include "wipe_stack.hpp"

#include <bit>

namespace wg { inline namespace WG_ABI { namespace bundled {

inline constexpr std::size_t chacha20_block_bytes = 64; ///< of keystream (RFC 8439, section 2.3)
inline constexpr std::size_t chacha20_nonce_bytes = 12; ///< of a nonce (RFC 8439, section 2.3)

/// The state of one block: words 0-3 are constants, 4-11 the key, 12 the block counter, 13-15 the nonce.
using chacha20_words = std::array<std::uint32_t, 16>;

namespace chacha20_detail {

/// RFC 8439, section 2.1.
[[gnu::always_inline]] inline void quarter_round(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c,
                                                 std::uint32_t& d) noexcept {
    a += b, d = std::rotl(d ^ a, 16);
    c += d, b = std::rotl(b ^ c, 12);
    a += b, d = std::rotl(d ^ a, 8);
    c += d, b = std::rotl(b ^ c, 7);
}

/// The twenty rounds, without the final addition of `from`.
[[gnu::always_inline]] inline void rounds(chacha20_words& x, chacha20_words const& from) noexcept {
    x = from;
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

/// `rounds` out of line, so that the program has this code once.
[[gnu::noinline]] inline void outlined_rounds(chacha20_words& x, chacha20_words const& from) noexcept {
    rounds(x, from);
}

/// The twenty rounds in the form of the build, without the final addition of `from`. Both may be the same object.
[[gnu::always_inline]] inline void permute(chacha20_words& x, chacha20_words const& from) noexcept {
#ifdef WG_ARM_ROUNDS
    chacha20_rounds_arm(x.data(), from.data());
#else
    if constexpr (compact) outlined_rounds(x, from);
    else rounds(x, from);
#endif
}

/// Sets words 0-11: the constants and the key.
inline void set_key(chacha20_words& words, key_view key) noexcept {
    static constexpr std::uint32_t sigma[] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
    for (std::size_t i = 0; i < 4; ++i) words[i] = sigma[i];
    load_words(&words[4], key.data(), 8);
}

/// dst = src ^ keystream, of `size` bytes. dst and src start at the same byte or do not overlap.
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

/// The keystream of one key and nonce, computed in plain words. The destructor wipes it.
class chacha20 {
public:
    /// Starts at block `counter`. The object does not refer to `key` and `nonce` after the constructor returns.
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

    /// Writes `src`, XORed with the next `src.size()` bytes of keystream, to `dst`. `dst.size() == src.size()`. `dst`
    /// and `src` start at the same byte or do not overlap. Any alignment.
    void apply(bytes dst, bytes_view src) noexcept {
        WG_ASSERT(dst.size() == src.size());
        byte* to = dst.data();
        byte const* from = src.data();
        std::size_t size = src.size();

        std::size_t const ready = size < left_ ? size : left_;
        take(to, from, ready);
        to += ready, from += ready, size -= ready;
        for (; size >= chacha20_block_bytes; size -= chacha20_block_bytes) {
            xor_block(to, from);
            to += chacha20_block_bytes, from += chacha20_block_bytes;
        }
        if (size == 0) return;
        next_block();
        take(to, from, size);
    }

    /// Writes the one-time key of Poly1305, which is the first half of the next block; the second half is dropped (RFC
    /// 8439, section 2.6). The keystream must be at the start of a block.
    void take_one_time_key(std::span<byte, 32> out) noexcept {
        WG_ASSERT(left_ == 0);
        next_block();
        copy(out, bytes_view(keystream_).first(out.size()));
        left_ = 0;
    }

private:
    /// dst = src ^ the next block. Out of line, so that the caller's `wipe_stack` overwrites the registers it spills.
    [[gnu::noinline]] void xor_block(byte* dst, byte const* src) noexcept {
        chacha20_words x;
        chacha20_detail::permute(x, words_);
        for (std::size_t i = 0; i < 16; ++i) store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ (x[i] + words_[i]));
        wipe(x);
        ++words_[12];
    }

    /// Fills `keystream_` with the next block.
    void next_block() noexcept {
        keystream_ = {};
        xor_block(keystream_.data(), keystream_.data());
        left_ = chacha20_block_bytes;
    }

    /// dst = src ^ the next `size` bytes of `keystream_`, which are left.
    void take(byte* dst, byte const* src, std::size_t size) noexcept {
        chacha20_detail::xor_bytes(dst, src, keystream_.data() + keystream_.size() - left_, size);
        left_ -= size;
    }

    chacha20_words words_;
    byte_array<chacha20_block_bytes> keystream_; ///< one block; its last `left_` bytes are unused
    std::size_t left_ = 0;
};

namespace chacha20_detail {

/// Out of line, so that the caller's `wipe_stack` overwrites the registers it spills.
[[gnu::noinline]] inline void hchacha20(std::span<byte, key_bytes> out, key_view key,
                                        std::span<byte const, 16> nonce) noexcept {
    chacha20_words x;
    set_key(x, key);
    load_words(&x[12], nonce.data(), 4);
    permute(x, x);
    store_words(out.data(), &x[0], 4);
    store_words(out.data() + 16, &x[12], 4);
    wipe(x);
}

} // namespace chacha20_detail

/// Derives the subkey of `key` for the first 16 bytes of an XChaCha20 nonce. `out` may be `key`.
inline void hchacha20(std::span<byte, key_bytes> out, key_view key, std::span<byte const, 16> nonce) noexcept {
    chacha20_detail::hchacha20(out, key, nonce);
    wipe_stack<sizeof(chacha20_words) + spill_bytes>();
}

}}} // namespace wg::WG_ABI::bundled

#endif
