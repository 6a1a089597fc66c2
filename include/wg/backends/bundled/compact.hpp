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
        static_cast<void>(run(dst, src, size, aad, nonce, key, true));
        wipe_stack<stack_bytes>();
    }
    /// The tag is checked before a byte is decrypted.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool const genuine = run(dst, src, size, aad, nonce, key, false);
        wipe_stack<stack_bytes>();
        return genuine;
    }

private:
    struct work {
        chacha20_words words; ///< of the next block
        chacha20_words block;
        poly1305_state<limbs32> mac;
        byte s[poly1305_block_bytes];    ///< the one-time key's second half
        byte tail[poly1305_block_bytes]; ///< of what is authenticated; the tag after that
    };
    /// With the frames of `crypt`, `next_block` and `permute`.
    static constexpr std::size_t stack_bytes = sizeof(work) + sizeof(chacha20_words) + spill_bytes + 24;

    [[gnu::noinline]] static bool run(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                      packet_nonce const& nonce, byte const* key, bool sealing) noexcept {
        work w;
        chacha20_detail::set_key(w.words, key_view(key, key_bytes));
        w.words[12] = 0;
        for (std::size_t i = 0; i < 3; ++i) w.words[13 + i] = nonce.words[i];
        next_block(w);
        auto* const one_time_key = reinterpret_cast<byte*>(w.block.data());
        for (std::size_t i = 0; i < 8; ++i) store_le32(one_time_key + 4 * i, w.block[i]);
        w.mac.start(one_time_key);
        std::memcpy(w.s, one_time_key + poly1305_block_bytes, sizeof w.s);
        if (sealing) crypt(w, dst, src, size);
        authenticate(w, aad.data(), aad.size());
        authenticate(w, sealing ? dst : src, size);
        fill_zero({w.tail, sizeof w.tail});
        store_le32(w.tail, static_cast<std::uint32_t>(aad.size()));
        store_le32(w.tail + 8, static_cast<std::uint32_t>(size)); // packets are shorter than 4 GiB
        w.mac.absorb(w.tail, 1, 1);
        w.mac.finish(w.tail, w.s);
        bool genuine = true;
        if (sealing) {
            copy({dst + size, tag_bytes}, {w.tail, tag_bytes});
        } else {
            genuine = equal_in_constant_time({w.tail, tag_bytes}, {src + size, tag_bytes});
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
            if (now == chacha20_block_bytes)
                for (std::size_t i = 0; i < 16; ++i) store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ w.block[i]);
            else
                for (std::size_t i = 0; i < now; ++i)
                    dst[i] = static_cast<byte>(src[i] ^ (w.block[i / 4] >> (8 * (i % 4))));
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
