// SPDX-License-Identifier: BSL-1.0
// libsodium's ChaCha20-Poly1305 and X25519 as policies. libsodium has no BLAKE2s; the bundled code supplies it.
// Folder: backends; any thread. Optional: wg.hpp includes this file if WG_WITH_LIBSODIUM is defined. Link with
// -lsodium, version 1.0.12 or later.
//
//     struct my_policies : wg::default_policies {
//         using aead = wg::libsodium::aead;
//         using dh = wg::libsodium::dh;
//     };
#ifndef WG_BACKENDS_LIBSODIUM_HPP
#define WG_BACKENDS_LIBSODIUM_HPP

#include "../policy.hpp"
#include "bundled/blake2s.hpp"

#include <sodium.h>

namespace wg { inline namespace WG_ABI { namespace libsodium {

/// Initialises libsodium, which selects its code for this processor. Without it libsodium uses its portable code.
class library {
protected:
    /// Initialises libsodium; any thread may be the first, and further calls change nothing.
    library() noexcept {
        if (sodium_init() < 0) return; // libsodium has no source of random bytes; this file needs none
    }
};

/// Stack below the caller's frame that the AEAD may leave secrets on, in bytes. libsodium wipes its variables, but not
/// spilled registers, which hold parts of keys and products. Each function here wipes that stack.
inline constexpr std::size_t aead_stack_bytes = 3072,
                             dh_stack_bytes = 1024; ///< the same of X25519

/// The bundled BLAKE2s.
using hash = bundled::hash;

/// ChaCha20-Poly1305 of libsodium, as a model of aead_backend. Any thread.
class aead : library {
public:
    aead() noexcept = default;

    /// Encrypts `src` into `dst` and appends the tag: `dst.size() == src.size() + 16`. The nonce is four zero bytes and
    /// `counter`, little-endian. `dst` and `src` start at the same byte or do not overlap.
    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        crypto_aead_chacha20poly1305_ietf_encrypt(dst.data(), nullptr, src.data(), src.size(), aad.data(), aad.size(),
                                                  nullptr, nonce.data(), key.expose().data());
        bundled::wipe_stack<aead_stack_bytes>();
    }
    /// Checks the tag at the end of `src` and decrypts: `src.size() == dst.size() + 16`. The nonce is that of `seal`.
    /// Returns: whether the tag is right. If not, `dst` is zero.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        bool const genuine =
            crypto_aead_chacha20poly1305_ietf_decrypt(dst.data(), nullptr, nullptr, src.data(), src.size(), aad.data(),
                                                      aad.size(), nonce.data(), key.expose().data()) == 0;
        bundled::wipe_stack<aead_stack_bytes>();
        if (!genuine) fill_zero(dst); // libsodium does not document that it does this
        return genuine;
    }
    /// Derives the subkey of `key` for the first 16 bytes of an XChaCha20 nonce.
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        crypto_core_hchacha20(out.expose().data(), nonce.data(), key.expose().data(), nullptr);
        bundled::wipe_stack<aead_stack_bytes>();
    }

private:
    static byte_array<crypto_aead_chacha20poly1305_ietf_NPUBBYTES> nonce_of(std::uint64_t counter) noexcept {
        byte_array<crypto_aead_chacha20poly1305_ietf_NPUBBYTES> nonce{};
        store_le64(nonce.data() + 4, counter);
        return nonce;
    }
};

static_assert(aead_backend<aead>);

/// X25519 of libsodium, as a model of dh_backend. Any thread. The class cannot be named `dh`, because its member
/// function is.
class x25519_dh : library {
public:
    x25519_dh() noexcept = default;

    /// Multiplies `point` by the scalar, which is clamped here.
    /// Returns: false if the result is zero; then `point` has a low order.
    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
        bool const good = crypto_scalarmult_curve25519(out.expose().data(), scalar.expose().data(), point.data()) == 0;
        bundled::wipe_stack<dh_stack_bytes>();
        if (!good) out.clear(); // libsodium rejects a point of low order before it writes the result
        return good;
    }
    /// Multiplies the base point: the public key of a private key.
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
        crypto_scalarmult_curve25519_base(out.data(), scalar.expose().data());
        bundled::wipe_stack<dh_stack_bytes>();
    }
};
/// `x25519_dh` by the name that bundles of policies use.
using dh = x25519_dh;

static_assert(dh_backend<dh>);

}}} // namespace wg::WG_ABI::libsodium

#endif
