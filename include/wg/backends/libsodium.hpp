// SPDX-License-Identifier: BSL-1.0
// libsodium's ChaCha20-Poly1305 and X25519 as policies; it has no BLAKE2s, so that is the bundled one.
// Folder: backends; any thread. Optional: wg.hpp includes this file where WG_WITH_LIBSODIUM is defined; link with
// -lsodium, 1.0.12 or later.
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

/// What chooses the code for this processor, once; without it all is done by the portable code. Any thread may come
/// first.
class library {
protected:
    library() noexcept {
        if (sodium_init() < 0) return; // there are no random bytes: nothing here wants any
    }
};

/// libsodium wipes its named temporaries, but not what was spilled below the caller's frame: parts of keys and of
/// products stay there.
inline constexpr std::size_t aead_stack_bytes = 3072, dh_stack_bytes = 1024;

using hash = bundled::hash;

class aead : library {
public:
    aead() noexcept = default;

    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        crypto_aead_chacha20poly1305_ietf_encrypt(dst.data(), nullptr, src.data(), src.size(), aad.data(), aad.size(),
                                                  nullptr, nonce.data(), key.expose().data());
        bundled::wipe_stack<aead_stack_bytes>();
    }
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        bool const genuine =
            crypto_aead_chacha20poly1305_ietf_decrypt(dst.data(), nullptr, nullptr, src.data(), src.size(), aad.data(),
                                                      aad.size(), nonce.data(), key.expose().data()) == 0;
        bundled::wipe_stack<aead_stack_bytes>();
        if (!genuine) fill_zero(dst); // not documented to be so
        return genuine;
    }
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

class x25519_dh : library {
public:
    x25519_dh() noexcept = default;

    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
        bool const good = crypto_scalarmult_curve25519(out.expose().data(), scalar.expose().data(), point.data()) == 0;
        bundled::wipe_stack<dh_stack_bytes>();
        if (!good) out.clear(); // a point of low order is refused before anything is written
        return good;
    }
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
        crypto_scalarmult_curve25519_base(out.data(), scalar.expose().data());
        bundled::wipe_stack<dh_stack_bytes>();
    }
};
using dh = x25519_dh; // a type cannot be named as its member

static_assert(dh_backend<dh>);

}}} // namespace wg::WG_ABI::libsodium

#endif
