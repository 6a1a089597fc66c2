// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8), and the default model of aead_backend. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_AEAD_HPP
#define WG_BACKENDS_BUNDLED_AEAD_HPP

#include "../../policy.hpp"
#include "chacha20.hpp"
#include "poly1305.hpp"

namespace wg::inline WG_ABI {
namespace bundled {

/// The AEAD of a cipher kernel and limbs: `aead` is the one to use, the others are for comparison.
template <class Kernel = default_chacha20_kernel, class Limbs = default_limbs> struct basic_aead {
    using nonce_view = std::span<byte const, chacha20_nonce_bytes>;

    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        seal(dst, src, aad, nonce_of(counter), key);
    }
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        return open(dst, src, aad, nonce_of(counter), key);
    }
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        bundled::hchacha20(out.expose(), key.expose(), nonce);
    }

    /// The same with a whole nonce. dst.size() == src.size() + 16; dst and src start at the same byte or do not
    /// overlap; aad overlaps dst nowhere, or is the same bytes after as before.
    void seal(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        seal_message(dst, src, aad, nonce, key.expose());
        wipe_stack<stack_bytes>();
    }

    /// src.size() == dst.size() + 16. The tag is checked before a byte is decrypted.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        bool const genuine = open_message(dst, src, aad, nonce, key.expose());
        wipe_stack<stack_bytes>();
        if (!genuine) fill_zero(dst);
        return genuine;
    }

private:
    static constexpr std::size_t stack_bytes = sizeof(chacha20<Kernel>) + sizeof(poly1305<Limbs>) + spill_bytes;

    static byte_array<chacha20_nonce_bytes> nonce_of(std::uint64_t counter) noexcept {
        byte_array<chacha20_nonce_bytes> nonce{};
        store_le64(nonce.data() + 4, counter);
        return nonce;
    }

    [[gnu::noinline]] static void seal_message(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
                                               key_view key) noexcept {
        chacha20<Kernel> cipher(key, nonce, 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose(), src.size());
        poly1305<Limbs> mac(one_time_key.expose());
        mac.update(aad);
        mac.pad();

        bytes const ciphertext = dst.first(src.size());
        cipher.apply(ciphertext, src);
        authenticate(mac, ciphertext, aad.size());
        mac.finish(dst.last<tag_bytes>());
    }

    [[gnu::noinline]] static bool open_message(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
                                               key_view key) noexcept {
        chacha20<Kernel> cipher(key, nonce, 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose(), dst.size());
        poly1305<Limbs> mac(one_time_key.expose());
        mac.update(aad);
        mac.pad();

        bytes_view const ciphertext = src.first(dst.size());
        authenticate(mac, ciphertext, aad.size());
        secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
        mac.finish(tag.expose());
        if (!equal_in_constant_time(tag.expose(), src.last(tag_bytes))) return false;
        cipher.apply(dst, ciphertext);
        return true;
    }

    /// What follows the padded aad: ciphertext, padding, and both lengths.
    static void authenticate(poly1305<Limbs>& mac, bytes_view ciphertext, std::uint64_t aad_bytes) noexcept {
        byte_array<16> lengths;
        store_le64(lengths.data(), aad_bytes);
        store_le64(lengths.data() + 8, ciphertext.size());
        mac.update(ciphertext);
        mac.pad();
        mac.update(lengths);
    }
};

struct aead : basic_aead<> {};

static_assert(aead_backend<aead>);

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
