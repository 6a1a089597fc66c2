// SPDX-License-Identifier: BSL-1.0
// The ChaCha20 stream cipher (RFC 8439, sections 2.1-2.4) and HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2).
// Folder: backends/bundled; a chacha20 object is used by one thread at a time.
//
// In plain words, for processors without vectors and for single blocks; in vectors: chacha20.inl.
#ifndef WG_BACKENDS_BUNDLED_CHACHA20_HPP
#define WG_BACKENDS_BUNDLED_CHACHA20_HPP

#include "../../base/config.hpp"
#include "limbs.hpp"

#include <bit>

namespace wg { inline namespace WG_ABI { namespace bundled {

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

#if defined(WG_COMPACT) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)

// On Arm an operand may be rotated on its way: b is to be rotated by 7 still, d by 8, before and after.
#define WG_ARM_QUARTER(a, b, c, d)                                                                                     \
    "add " #a ", " #a ", " #b ", ror #25\n\teor " #d ", " #a ", " #d ", ror #24\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #16\n\teor " #b ", " #c ", " #b ", ror #25\n\t"                                   \
    "add " #a ", " #a ", " #b ", ror #20\n\teor " #d ", " #a ", " #d ", ror #16\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #24\n\teor " #b ", " #c ", " #b ", ror #20\n\t"

/// The twenty rounds, without the addition at their end. r0-r7 are the words 0-7, r8-r11 are 12-15; r12 and lr are two
/// of 8-11, the other two are on the stack.
[[gnu::naked, gnu::noinline]] inline void permute([[maybe_unused]] chacha20_words& to,
                                                  [[maybe_unused]] chacha20_words const& from) noexcept {
    // clang-format off
    asm volatile("push {r0, r4-r11, lr}\n\t"
                 "sub sp, sp, #24\n\t"
                 "mov lr, r1\n\tldm lr!, {r0-r7}\n\tldm lr!, {r8-r11}\n\t"
                 "strd r8, r9, [sp]\n\tstrd r10, r11, [sp, #8]\n\tldm lr, {r8-r11}\n\t"
                 "ror r4, r4, #7\n\tror r5, r5, #7\n\tror r6, r6, #7\n\tror r7, r7, #7\n\t"
                 "ror r8, r8, #8\n\tror r9, r9, #8\n\tror r10, r10, #8\n\tror r11, r11, #8\n\t"
                 "mov r12, #10\n\tstr r12, [sp, #16]\n\tldrd r12, lr, [sp]\n\t"
                 "1:\n\t"
                 WG_ARM_QUARTER(r0, r4, r12, r8) WG_ARM_QUARTER(r1, r5, lr, r9)
                 "strd r12, lr, [sp]\n\t"
                 "ldr r12, [sp, #16]\n\tsubs r12, r12, #1\n\tstr r12, [sp, #16]\n\t" // asked for below
                 "ldrd r12, lr, [sp, #8]\n\t"
                 WG_ARM_QUARTER(r2, r6, r12, r10) WG_ARM_QUARTER(r3, r7, lr, r11)
                 WG_ARM_QUARTER(r0, r5, r12, r11) WG_ARM_QUARTER(r1, r6, lr, r8)
                 "strd r12, lr, [sp, #8]\n\tldrd r12, lr, [sp]\n\t"
                 WG_ARM_QUARTER(r2, r7, r12, r9) WG_ARM_QUARTER(r3, r4, lr, r10)
                 "bne 1b\n\t"
                 "strd r12, lr, [sp]\n\t"
                 "ror r4, r4, #25\n\tror r5, r5, #25\n\tror r6, r6, #25\n\tror r7, r7, #25\n\t"
                 "ror r8, r8, #24\n\tror r9, r9, #24\n\tror r10, r10, #24\n\tror r11, r11, #24\n\t"
                 "ldr r12, [sp, #24]\n\tstm r12!, {r0-r7}\n\t"
                 "ldrd r0, r1, [sp]\n\tldrd r2, r3, [sp, #8]\n\tstm r12!, {r0-r3}\n\tstm r12, {r8-r11}\n\t"
                 "add sp, sp, #24\n\tpop {r0, r4-r11, pc}");
    // clang-format on
}

#undef WG_ARM_QUARTER

#elif defined(WG_COMPACT)

/// The twenty rounds, without the addition at their end. Out of line: once in a program.
[[gnu::noinline]] inline void permute(chacha20_words& x, chacha20_words const& from) noexcept {
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

#else

/// The twenty rounds, without the addition at their end.
[[gnu::always_inline]] inline void permute(chacha20_words& x, chacha20_words const& from) noexcept {
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

#endif

inline void set_key(chacha20_words& words, key_view key) noexcept {
    static constexpr std::uint32_t sigma[] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
    for (std::size_t i = 0; i < 4; ++i) words[i] = sigma[i];
    load_words(&words[4], key.data(), 8);
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

/// The keystream of one key and nonce from a block counter on, in plain words. Wiped when its life ends.
class chacha20 {
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
        for (; size >= chacha20_block_bytes; size -= chacha20_block_bytes) {
            xor_block(to, from);
            to += chacha20_block_bytes, from += chacha20_block_bytes;
        }
        if (size == 0) return;
        next_block();
        take(to, from, size);
    }

    /// The one-time key of Poly1305: half of the next block; the other half is dropped (RFC 8439, section 2.6).
    void take_one_time_key(std::span<byte, 32> out) noexcept {
        WG_ASSERT(left_ == 0);
        next_block();
        copy(out, bytes_view(keystream_).first(out.size()));
        left_ = 0;
    }

private:
    /// Out of line, so that `wipe_stack` of a caller reaches what it spills.
    [[gnu::noinline]] void xor_block(byte* dst, byte const* src) noexcept {
        chacha20_words x;
        chacha20_detail::permute(x, words_);
        for (std::size_t i = 0; i < 16; ++i) store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ (x[i] + words_[i]));
        wipe(x);
        ++words_[12];
    }

    void next_block() noexcept {
        keystream_ = {};
        xor_block(keystream_.data(), keystream_.data());
        left_ = chacha20_block_bytes;
    }

    void take(byte* dst, byte const* src, std::size_t size) noexcept {
        chacha20_detail::xor_bytes(dst, src, keystream_.data() + keystream_.size() - left_, size);
        left_ -= size;
    }

    chacha20_words words_;
    byte_array<chacha20_block_bytes> keystream_; ///< the last `left_` bytes are not used yet
    std::size_t left_ = 0;
};

namespace chacha20_detail {

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

/// The subkey of `key` for the first 16 bytes of an XChaCha20 nonce. `out` may be `key`.
inline void hchacha20(std::span<byte, key_bytes> out, key_view key, std::span<byte const, 16> nonce) noexcept {
    chacha20_detail::hchacha20(out, key, nonce);
    wipe_stack<sizeof(chacha20_words) + spill_bytes>();
}

}}} // namespace wg::WG_ABI::bundled

#endif
