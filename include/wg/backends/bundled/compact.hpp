// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) for machines of few kilobytes: one block at a time, one work area, one
// wipe. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_COMPACT_HPP

#include "kernels.hpp"

namespace wg::inline WG_ABI {
namespace bundled {

/// The kernel of a WG_COMPACT build; portable.
class compact_kernel {
public:
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        static_cast<void>(run(dst, src, size, aad, nonce, key, dst + size, true));
        wipe_stack<stack_bytes>();
    }
    /// The tag is checked before a byte is decrypted.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool const genuine = run(dst, src, size, aad, nonce, key, const_cast<byte*>(src) + size, false);
        wipe_stack<stack_bytes>();
        return genuine;
    }

private:
    struct work {
        chacha20_words words; ///< of the next block
        chacha20_words block;
        byte tail[chacha20_block_bytes]; ///< of the message; the one-time key before that; the tag after
        poly1305_state<limbs32> mac;
        std::uint32_t s[4];
    };
    /// With the frames of `crypt`, `next_block` and `permute`.
    static constexpr std::size_t stack_bytes = sizeof(work) + sizeof(chacha20_words) + spill_bytes + 32;

    /// `tag` is written if `sealing`, else only read.
    [[gnu::noinline]] static bool run(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                      packet_nonce const& nonce, byte const* key, byte* tag, bool sealing) noexcept {
        work w;
        chacha20_detail::set_key(w.words, key_view(key, key_bytes));
        w.words[12] = 0;
        for (std::size_t i = 0; i < 3; ++i) w.words[13 + i] = nonce.words[i];
        next_block(w);
        for (std::size_t i = 0; i < 8; ++i) store_le32(w.tail + 4 * i, w.block[i]);
        w.mac.start(w.tail);
        for (std::size_t i = 0; i < 4; ++i) w.s[i] = w.block[4 + i];
        if (sealing) crypt(w, dst, src, size);
        authenticate(w, aad.data(), aad.size());
        authenticate(w, sealing ? dst : src, size);
        fill_zero({w.tail, 16});
        store_le32(w.tail, static_cast<std::uint32_t>(aad.size()));
        store_le32(w.tail + 8, static_cast<std::uint32_t>(size)); // packets are shorter than 4 GiB
        w.mac.absorb(w.tail, 1, 1);
        byte text[16];
        for (std::size_t i = 0; i < 4; ++i) store_le32(text + 4 * i, w.s[i]);
        w.mac.finish(w.tail, text);
        bool genuine = true;
        if (sealing) {
            copy({tag, tag_bytes}, {w.tail, tag_bytes});
        } else {
            genuine = equal_in_constant_time({w.tail, tag_bytes}, {tag, tag_bytes});
            if (genuine) crypt(w, dst, src, size);
        }
        wipe(static_cast<void*>(&w), sizeof w);
        return genuine;
    }

    static void next_block(work& w) noexcept {
        w.block = w.words;
        chacha20_detail::permute(w.block);
        for (std::size_t i = 0; i < 16; ++i) w.block[i] += w.words[i];
        ++w.words[12];
    }

    [[gnu::noinline]] static void crypt(work& w, byte* dst, byte const* src, std::size_t size) noexcept {
        while (size != 0) {
            next_block(w);
            std::size_t const now = std::min(size, chacha20_block_bytes);
            bool const whole = now == chacha20_block_bytes;
            byte* to = dst;
            if (!whole) {
                std::memcpy(w.tail, src, now);
                src = to = w.tail;
            }
            for (std::size_t i = 0; i < 16; ++i) store_le32(to + 4 * i, load_le32(src + 4 * i) ^ w.block[i]);
            if (!whole) std::memcpy(dst, w.tail, now);
            dst += now, src += now, size -= now;
        }
    }

    /// Whole blocks, the last filled up with zeros.
    [[gnu::noinline]] static void authenticate(work& w, byte const* data, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes;
        w.mac.absorb(data, whole, 1);
        if (std::size_t const rest = size % poly1305_block_bytes; rest != 0) {
            fill_zero({w.tail, poly1305_block_bytes});
            std::memcpy(w.tail, data + (size - rest), rest);
            w.mac.absorb(w.tail, 1, 1);
        }
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
