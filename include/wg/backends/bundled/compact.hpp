// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) for machines with a few kilobytes of memory: one block at a time, and all
// secrets in one object, which is wiped at once. Folder: backends/bundled; any thread.
#ifndef WG_BACKENDS_BUNDLED_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_COMPACT_HPP

#include "kernels.hpp"
#include "poly1305_compact.hpp"
#include "wipe_stack.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled {

/// The kernel of a WG_COMPACT build: small code, little stack. Runs on any processor.
class compact_kernel {
public:
    /// Encrypts `size` bytes and appends the tag: `dst` has `size + 16` bytes, `key` has 32.
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        static_cast<void>(run(true, dst, src, size, aad.data(), aad.size(), key, nonce.words[0], nonce.counter()));
    }
    /// Checks the tag, which follows the `size` bytes of `src`, before it decrypts a byte. `key` has 32 bytes.
    /// Returns: whether the tag is right. If not, `dst` is zero.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        return run(false, dst, src, size, aad.data(), aad.size(), key, nonce.words[0], nonce.counter());
    }

    /// Seals or opens a message whose plain text has `size` bytes. `nonce`: the first 4 bytes of the nonce, `counter`:
    /// the other 8 bytes, both little-endian. Pointers and sizes are separate parameters, because compilers for 32-bit
    /// machines pass spans on the stack. Returns: false if it opened a message whose tag is wrong; `dst` is zero then.
    [[gnu::noinline]] static bool run(bool seals, byte* dst, byte const* src, std::size_t size, byte const* aad,
                                      std::size_t aad_bytes, byte const* key, std::uint32_t nonce,
                                      std::uint64_t counter) noexcept {
        bool genuine = true;
        {
            work w;
            w.words[13] = nonce;
            w.words[14] = static_cast<std::uint32_t>(counter), w.words[15] = static_cast<std::uint32_t>(counter >> 32);
            begin(w, key);
            if (seals) crypt(w, dst, src, size);
            asm("" : "+r"(seals)); // or the compiler would duplicate the code below, once for each value
            authenticate(w, aad, aad_bytes);
            authenticate(w, seals ? dst : src, size);
            finish(w, aad_bytes, size, seals ? dst + size : w.tail);
            if (!seals) {
                genuine = equal_in_constant_time({w.tail, tag_bytes}, {src + size, tag_bytes});
                if (genuine) crypt(w, dst, src, size);
                else fill_zero({dst, size});
            }
            wipe(static_cast<void*>(&w), sizeof w);
        }
        wipe_stack<below_bytes>();
        return genuine;
    }

private:
    /// All state and all secrets of a message.
    struct work {
        chacha20_words words; ///< the ChaCha20 state of the next block
        chacha20_words block; ///< the current block of keystream
        poly1305_compact_state mac;
        byte s[poly1305_block_bytes];    ///< the second half of the one-time key
        byte tail[poly1305_block_bytes]; ///< the padded last block of authenticated data; in the end the tag

        /// The bytes of `block`, once `next_block` has made it.
        byte* keystream() noexcept { return reinterpret_cast<byte*>(block.data()); }
    };
    /// Bytes of stack in the frames of `begin`, `crypt`, `next_block` and `permute`.
    static constexpr std::size_t below_bytes = sizeof(chacha20_words) + spill_bytes + 24;

    /// Makes block 0, which is the one-time key, and starts the authenticator.
    [[gnu::noinline]] static void begin(work& w, byte const* key) noexcept {
        chacha20_detail::set_key(w.words, key_view(key, key_bytes));
        w.words[12] = 0;
        next_block(w);
        w.mac.start(w.keystream());
        std::memcpy(w.s, w.keystream() + poly1305_block_bytes, sizeof w.s);
    }

    /// Authenticates the two lengths and writes the tag.
    [[gnu::noinline]] static void finish(work& w, std::size_t aad_bytes, std::size_t size, byte* tag) noexcept {
        fill_zero({w.tail, sizeof w.tail});
        store_le32(w.tail, converted<std::uint32_t>(aad_bytes));
        store_le32(w.tail + 8, converted<std::uint32_t>(size)); // packets are shorter than 4 GiB
        w.mac.absorb(w.tail, 1, 1);
        w.mac.finish(tag, w.s);
    }

    /// Makes the next block of keystream and advances the block counter.
    static void next_block(work& w) noexcept {
        chacha20_detail::permute(w.block, w.words);
        for (std::size_t i = 0; i < 16; ++i) store_le32(w.keystream() + 4 * i, w.block[i] + w.words[i]);
        ++w.words[12];
    }

    /// dst = src ^ keystream, from the next block on.
    [[gnu::noinline]] static void crypt(work& w, byte* dst, byte const* src, std::size_t size) noexcept {
        while (size != 0) {
            next_block(w);
            std::size_t const now = (std::min)(size, chacha20_block_bytes);
            if (!small_code && now == chacha20_block_bytes) // WG_SMALL saves this code, and takes more time
                for (std::size_t i = 0; i < now; i += 4)
                    store_le32(dst + i, load_le32(src + i) ^ load_le32(w.keystream() + i));
            else
                for (std::size_t i = 0; i < now; ++i) dst[i] = static_cast<byte>(src[i] ^ w.keystream()[i]);
            dst += now, src += now, size -= now;
        }
    }

    /// Authenticates `size` bytes, padded with zeros to whole blocks.
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

}}} // namespace wg::WG_ABI::bundled

#endif
