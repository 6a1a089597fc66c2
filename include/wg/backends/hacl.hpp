// SPDX-License-Identifier: BSL-1.0
// The formally verified primitives of HACL* as policies, from any C tree of HACL* in the include path.
// Folder: backends; any thread. Optional: wg.hpp includes this file if WG_WITH_HACL is defined. Compile and link the
// sources of the tree.
//
//     struct my_policies : wg::default_policies {
//         using hash = wg::hacl::hash;
//         using dh = wg::hacl::dh;
//         using aead = wg::hacl::aead;
//     };
//
// Distributions of HACL* differ in names and in content. So the headers that exist select the code of each primitive,
// and the bundled code replaces a primitive that a tree lacks. The same headers tell which objects to link:
//
// | primitive | headers; the first one that exists is used                                                         |
// |-----------|----------------------------------------------------------------------------------------------------|
// | aead      | Hacl_AEAD_Chacha20Poly1305.h, with _Simd256.h on x86-64 and _Simd128.h on x86-64 and aarch64;      |
// |           | before 2024: Hacl_Chacha20Poly1305_32.h, with _256.h and _128.h on the same processors             |
// | dh        | Hacl_Curve25519_51.h, on processors with 128-bit products; on x86-64 also Hacl_Curve25519_64.h, if |
// |           | curve25519-inline.h exists                                                                         |
// | hash      | Hacl_Hash_Blake2s.h; before 2024: Hacl_Hash_Blake2.h or Hacl_Blake2s_32.h                          |
#ifndef WG_BACKENDS_HACL_HPP
#define WG_BACKENDS_HACL_HPP

#include "../policy.hpp"
#include "bundled/aead.hpp"
#include "bundled/blake2s.hpp"
#include "bundled/cpu.hpp"
#include "bundled/x25519.hpp"

#include <cstring>

// Headers of old trees have no `extern "C"` of their own. A second one around newer headers changes nothing.
extern "C" {
#if __has_include(<Hacl_AEAD_Chacha20Poly1305.h>)
#include <Hacl_AEAD_Chacha20Poly1305.h>
#define WG_HACL_AEAD                                                                                                   \
    { &Hacl_AEAD_Chacha20Poly1305_encrypt, &Hacl_AEAD_Chacha20Poly1305_decrypt }
#if defined(__x86_64__) && __has_include(<Hacl_AEAD_Chacha20Poly1305_Simd256.h>)
#include <Hacl_AEAD_Chacha20Poly1305_Simd256.h>
#define WG_HACL_AEAD_256                                                                                               \
    { &Hacl_AEAD_Chacha20Poly1305_Simd256_encrypt, &Hacl_AEAD_Chacha20Poly1305_Simd256_decrypt }
#endif
#if (defined(__x86_64__) || defined(__aarch64__)) && __has_include(<Hacl_AEAD_Chacha20Poly1305_Simd128.h>)
#include <Hacl_AEAD_Chacha20Poly1305_Simd128.h>
#define WG_HACL_AEAD_128                                                                                               \
    { &Hacl_AEAD_Chacha20Poly1305_Simd128_encrypt, &Hacl_AEAD_Chacha20Poly1305_Simd128_decrypt }
#endif
#elif __has_include(<Hacl_Chacha20Poly1305_32.h>)
#include <Hacl_Chacha20Poly1305_32.h>
#define WG_HACL_AEAD                                                                                                   \
    { &Hacl_Chacha20Poly1305_32_aead_encrypt, &Hacl_Chacha20Poly1305_32_aead_decrypt }
#if defined(__x86_64__) && __has_include(<Hacl_Chacha20Poly1305_256.h>)
#include <Hacl_Chacha20Poly1305_256.h>
#define WG_HACL_AEAD_256                                                                                               \
    { &Hacl_Chacha20Poly1305_256_aead_encrypt, &Hacl_Chacha20Poly1305_256_aead_decrypt }
#endif
#if (defined(__x86_64__) || defined(__aarch64__)) && __has_include(<Hacl_Chacha20Poly1305_128.h>)
#include <Hacl_Chacha20Poly1305_128.h>
#define WG_HACL_AEAD_128                                                                                               \
    { &Hacl_Chacha20Poly1305_128_aead_encrypt, &Hacl_Chacha20Poly1305_128_aead_decrypt }
#endif
#endif

#if defined(__SIZEOF_INT128__) && __has_include(<Hacl_Curve25519_51.h>)
#include <Hacl_Curve25519_51.h>
#define WG_HACL_DH
#if defined(__x86_64__) && __has_include(<Hacl_Curve25519_64.h>) && __has_include(<curve25519-inline.h>)
#include <Hacl_Curve25519_64.h>
#define WG_HACL_DH_64
#endif
#endif

#if __has_include(<Hacl_Hash_Blake2s.h>)
#include <Hacl_Hash_Blake2s.h>
#define WG_HACL_HASH Hacl_Hash_Blake2s_hash_with_key
#elif __has_include(<Hacl_Hash_Blake2.h>)
#include <Hacl_Hash_Blake2.h>
#define WG_HACL_HASH Hacl_Blake2s_32_blake2s
#elif __has_include(<Hacl_Blake2s_32.h>)
#include <Hacl_Blake2s_32.h>
#define WG_HACL_HASH Hacl_Blake2s_32_blake2s
#endif
}

#if !defined(WG_HACL_AEAD) && !defined(WG_HACL_DH) && !defined(WG_HACL_HASH)
#error "no header of HACL* is in the include path"
#endif

namespace wg { inline namespace WG_ABI { namespace hacl {
namespace detail {

/// An input for HACL*, whose functions take inputs as pointers to non-const. The proofs of HACL* show that inputs are
/// not written.
inline byte* input(byte const* data) noexcept { return const_cast<byte*>(data); }
/// A size for HACL*, which counts in 32 bits.
inline std::uint32_t size_of(bytes_view data) noexcept { return static_cast<std::uint32_t>(data.size()); }

// Stack below the caller's frame that HACL* uses and does not wipe, in bytes: about 2600, 800 and 400 with g++ 12.
inline constexpr std::size_t aead_stack_bytes = 3072, dh_stack_bytes = 2048, hash_stack_bytes = 1024;

/// The arguments of one AEAD operation.
struct message {
    bytes dst;      ///< without the tag
    bytes_view src; ///< without the tag
    byte* tag;
    bytes_view aad;
    byte* key;
    byte* nonce;
};

// In 2024 the order of arguments changed with the names. The type of a tree's function tells which order it has, and
// selects the overload below.
using seal_before_2024 = void(byte* key, byte* nonce, std::uint32_t, byte* aad, std::uint32_t, byte* plain,
                              byte* cipher, byte* tag);
using seal_since_2024 = void(byte* cipher, byte* tag, byte* plain, std::uint32_t, byte* aad, std::uint32_t, byte* key,
                             byte* nonce);
using open_function = std::uint32_t(byte*, byte*, std::uint32_t, byte*, std::uint32_t, byte*, byte*, byte*);

/// One implementation of ChaCha20-Poly1305 in a tree.
template <class Seal> struct aead_code {
    Seal* seal;
    open_function* open;
};
template <class Seal> aead_code(Seal*, open_function*) -> aead_code<Seal>;

/// Encrypts a message and writes its tag.
inline void seal(aead_code<seal_before_2024> by, message const& m) noexcept {
    by.seal(m.key, m.nonce, size_of(m.aad), input(m.aad.data()), size_of(m.src), input(m.src.data()), m.dst.data(),
            m.tag);
}
inline void seal(aead_code<seal_since_2024> by, message const& m) noexcept {
    by.seal(m.dst.data(), m.tag, input(m.src.data()), size_of(m.src), input(m.aad.data()), size_of(m.aad), m.key,
            m.nonce);
}
/// Checks the tag and decrypts. Returns: whether the tag is right.
inline bool open(aead_code<seal_before_2024> by, message const& m) noexcept {
    return by.open(m.key, m.nonce, size_of(m.aad), input(m.aad.data()), size_of(m.src), m.dst.data(),
                   input(m.src.data()), m.tag) == 0;
}
inline bool open(aead_code<seal_since_2024> by, message const& m) noexcept {
    return by.open(m.dst.data(), input(m.src.data()), size_of(m.src), input(m.aad.data()), size_of(m.aad), m.key,
                   m.nonce, m.tag) == 0;
}

using digest_before_2024 = void(std::uint32_t, byte* out, std::uint32_t, byte* message, std::uint32_t, byte* key);
using digest_since_2024 = void(byte* out, std::uint32_t, byte* message, std::uint32_t, byte* key, std::uint32_t);

/// BLAKE2s of one message.
inline void digest(digest_before_2024* by, bytes out, bytes_view key, bytes_view message) noexcept {
    by(size_of(out), out.data(), size_of(message), input(message.data()), size_of(key), input(key.data()));
}
inline void digest(digest_since_2024* by, bytes out, bytes_view key, bytes_view message) noexcept {
    by(out.data(), size_of(out), input(message.data()), size_of(message), input(key.data()), size_of(key));
}

} // namespace detail

#ifdef WG_HACL_AEAD
/// ChaCha20-Poly1305 of HACL*, as a model of aead_backend. Any thread.
class aead {
public:
    /// Uses no more than `set`, which the processor must have.
    explicit aead(bundled::cpu set = bundled::chosen_cpu()) noexcept : set_(set) {}

    /// Encrypts `src` into `dst` and appends the tag: `dst.size() == src.size() + 16`. The nonce is four zero bytes and
    /// `counter`, little-endian. `dst` and `src` start at the same byte or do not overlap. A message is shorter
    /// than 4 GiB.
    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes && src.size() <= largest);
        auto nonce = nonce_of(counter);
        seal(detail::message{dst.first(src.size()), src, dst.data() + src.size(), aad,
                             detail::input(key.expose().data()), nonce.data()});
        bundled::wipe_stack<detail::aead_stack_bytes>();
    }
    /// Checks the tag at the end of `src` and decrypts: `src.size() == dst.size() + 16`. The nonce is that of `seal`.
    /// Returns: whether the tag is right. If not, `dst` is zero.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes && dst.size() <= largest);
        auto nonce = nonce_of(counter);
        bool const genuine = open(detail::message{dst, src.first(dst.size()), detail::input(src.data() + dst.size()),
                                                  aad, detail::input(key.expose().data()), nonce.data()});
        bundled::wipe_stack<detail::aead_stack_bytes>();
        if (!genuine) fill_zero(dst);
        return genuine;
    }
    /// Derives the subkey of `key` for the first 16 bytes of an XChaCha20 nonce.
    /// This is the bundled code, because HACL* has no HChaCha20.
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        bundled::aead{}.hchacha20(out, key, nonce);
    }

private:
    static constexpr std::size_t largest = 0xffffffff - 16; ///< HACL* counts in 32 bits

    static byte_array<12> nonce_of(std::uint64_t counter) noexcept {
        byte_array<12> nonce{};
        store_le64(nonce.data() + 4, counter);
        return nonce;
    }

    /// Whether the processor runs the vector code. On x86-64 the 128-bit code needs AVX, which every processor with
    /// AVX2 has. On aarch64 NEON is always there.
    bool vectors() const noexcept {
#ifdef __x86_64__
        return bundled::has(set_, bundled::cpu::avx2);
#else
        return true;
#endif
    }

    void seal(detail::message const& m) const noexcept {
#if defined(WG_HACL_AEAD_256)
        if (vectors()) return detail::seal(detail::aead_code WG_HACL_AEAD_256, m);
#elif defined(WG_HACL_AEAD_128)
        if (vectors()) return detail::seal(detail::aead_code WG_HACL_AEAD_128, m);
#endif
        detail::seal(detail::aead_code WG_HACL_AEAD, m);
    }
    bool open(detail::message const& m) const noexcept {
#if defined(WG_HACL_AEAD_256)
        if (vectors()) return detail::open(detail::aead_code WG_HACL_AEAD_256, m);
#elif defined(WG_HACL_AEAD_128)
        if (vectors()) return detail::open(detail::aead_code WG_HACL_AEAD_128, m);
#endif
        return detail::open(detail::aead_code WG_HACL_AEAD, m);
    }

    bundled::cpu set_;
};
#else
/// ChaCha20-Poly1305 of HACL*, or the bundled one if the tree has none.
using aead = bundled::aead;
#endif

#ifdef WG_HACL_DH
/// X25519 of HACL*, as a model of dh_backend. Any thread. The class cannot be named `dh`, because its member function
/// is.
class x25519_dh {
public:
    /// Uses no more than `set`, which the processor must have.
    explicit x25519_dh(bundled::cpu set = bundled::chosen_cpu()) noexcept : set_(set) {}

    /// Multiplies `point` by the scalar, which is clamped here.
    /// Returns: false if the result is zero; then `point` has a low order.
    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
        byte* const k = detail::input(scalar.expose().data());
        secret<key_bytes> product; // HACL* needs a result that does not overlap its inputs
        bool const good = multiply(product.expose().data(), k, detail::input(point.data()));
        bundled::wipe_stack<detail::dh_stack_bytes>();
        out.assign(product);
        return good;
    }
    /// Multiplies the base point: the public key of a private key.
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
        byte* const k = detail::input(scalar.expose().data());
#ifdef WG_HACL_DH_64
        if (bundled::has(set_, bundled::cpu::adx)) Hacl_Curve25519_64_secret_to_public(out.data(), k);
        else
#endif
            Hacl_Curve25519_51_secret_to_public(out.data(), k);
        bundled::wipe_stack<detail::dh_stack_bytes>();
    }

private:
    bool multiply(byte* out, byte* scalar, byte* point) const noexcept {
#ifdef WG_HACL_DH_64
        if (bundled::has(set_, bundled::cpu::adx)) return Hacl_Curve25519_64_ecdh(out, scalar, point);
#endif
        return Hacl_Curve25519_51_ecdh(out, scalar, point);
    }

    [[maybe_unused]] bundled::cpu set_;
};
/// `x25519_dh` by the name that bundles of policies use.
using dh = x25519_dh;
#else
/// X25519 of HACL*, or the bundled one if the tree has none.
using dh = bundled::dh;
#endif

#ifdef WG_HACL_HASH
/// BLAKE2s of HACL*, as a model of hash_backend. Any thread.
class hash {
public:
    /// Hashes `a` and then `b`. `out` has 1-32 bytes, `key` 0-32.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= 32 && key.size() <= 32);
        if (a.empty() || b.empty()) {
            detail::digest(WG_HACL_HASH, out, key, a.empty() ? b : a);
        } else if (a.size() + b.size() <= joined_bytes) {
            byte joined[joined_bytes]; // one buffer, because the streaming functions of HACL* allocate memory
            std::memcpy(joined, a.data(), a.size());
            std::memcpy(joined + a.size(), b.data(), b.size());
            detail::digest(WG_HACL_HASH, out, key, bytes_view(joined, a.size() + b.size()));
            wipe(joined);
        } else {
            return bundled::hash{}.blake2s(out, key, a, b);
        }
        bundled::wipe_stack<detail::hash_stack_bytes>();
    }

private:
    static constexpr std::size_t joined_bytes = 256; ///< more than the protocol ever joins
};
#else
/// BLAKE2s of HACL*, or the bundled one if the tree has none.
using hash = bundled::hash;
#endif

static_assert(aead_backend<aead> && dh_backend<dh> && hash_backend<hash>);

}}} // namespace wg::WG_ABI::hacl

#undef WG_HACL_AEAD
#undef WG_HACL_AEAD_256
#undef WG_HACL_AEAD_128
#undef WG_HACL_DH
#undef WG_HACL_DH_64
#undef WG_HACL_HASH

#endif
