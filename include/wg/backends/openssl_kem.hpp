// SPDX-License-Identifier: BSL-1.0
// ML-KEM-768 of OpenSSL 3.5 as a policy. Folder: backends; any thread. Optional: wg.hpp includes this file if
// WG_WITH_OPENSSL_KEM is defined. Link with -lcrypto.
//
// OpenSSL takes memory from the heap in each call. It documents no wiping of its stack, so each function here wipes it.
#ifndef WG_BACKENDS_OPENSSL_KEM_HPP
#define WG_BACKENDS_OPENSSL_KEM_HPP

#include "../policy.hpp"
#include "bundled/wipe_stack.hpp"

#include <memory>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

namespace wg { inline namespace WG_ABI { namespace openssl {

/// Stack below the caller's frame that OpenSSL may leave secrets on, in bytes.
inline constexpr std::size_t kem_stack_bytes = 32768;

/// ML-KEM-768 of OpenSSL, as a model of kem_backend. Any thread.
class ml_kem_768 {
public:
    static constexpr std::size_t public_key_bytes = 1184;  ///< an encapsulation key
    static constexpr std::size_t private_key_bytes = 2400; ///< a decapsulation key
    static constexpr std::size_t ciphertext_bytes = 1088;  ///< an encapsulated secret

    ml_kem_768() noexcept = default;

    /// Makes a key pair from 64 random bytes (FIPS 203, algorithm 16: d, then z). The same bytes give the same pair.
    /// Returns: false, with both keys zero, if OpenSSL failed: it is older than 3.5, or there was no memory.
    [[nodiscard]] bool generate(std::span<byte, public_key_bytes> public_key, secret<private_key_bytes>& private_key,
                                secret<64> const& random) const noexcept {
        bool const good = make_pair(public_key, private_key, random);
        bundled::wipe_stack<kem_stack_bytes>();
        if (!good) fill_zero(public_key), private_key.clear();
        return good;
    }
    /// Makes a secret from 32 random bytes, and encapsulates it for the owner of a public key (algorithm 17).
    /// Returns: false, with `ciphertext` and `shared` zero, if OpenSSL refused the key (section 7.2), or failed.
    [[nodiscard]] bool encapsulate(std::span<byte, ciphertext_bytes> ciphertext, secret<key_bytes>& shared,
                                   std::span<byte const, public_key_bytes> public_key,
                                   secret<32> const& random) const noexcept {
        bool const good = seal(ciphertext, shared, public_key, random);
        bundled::wipe_stack<kem_stack_bytes>();
        if (!good) fill_zero(ciphertext), shared.clear();
        return good;
    }
    /// Finds the secret that was encapsulated (algorithm 18), with implicit rejection.
    /// Returns: false, with `shared` zero, if OpenSSL refused the key (section 7.3), or failed.
    [[nodiscard]] bool decapsulate(secret<key_bytes>& shared, secret<private_key_bytes> const& private_key,
                                   std::span<byte const, ciphertext_bytes> ciphertext) const noexcept {
        bool const good = open(shared, private_key, ciphertext);
        bundled::wipe_stack<kem_stack_bytes>();
        if (!good) shared.clear();
        return good;
    }

private:
    struct freed {
        void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
        void operator()(EVP_PKEY_CTX* context) const noexcept { EVP_PKEY_CTX_free(context); }
    };
    using key_pointer = std::unique_ptr<EVP_PKEY, freed>;
    using context_pointer = std::unique_ptr<EVP_PKEY_CTX, freed>;

    /// A parameter of OpenSSL that it only reads.
    static OSSL_PARAM octets(char const* name, bytes_view value) noexcept {
        return OSSL_PARAM_construct_octet_string(name, const_cast<byte*>(value.data()), value.size());
    }
    static context_pointer context() noexcept {
        return context_pointer(EVP_PKEY_CTX_new_from_name(nullptr, "ML-KEM-768", nullptr));
    }
    /// The key with these bytes; null if OpenSSL refuses it.
    static key_pointer import_key(int selection, char const* name, bytes_view value) noexcept {
        context_pointer const with = context();
        OSSL_PARAM parameters[] = {octets(name, value), OSSL_PARAM_construct_end()};
        EVP_PKEY* key = nullptr;
        if (!with || EVP_PKEY_fromdata_init(with.get()) != 1 ||
            EVP_PKEY_fromdata(with.get(), &key, selection, parameters) != 1)
            return nullptr;
        return key_pointer(key);
    }

    [[gnu::noinline]] static bool make_pair(bytes public_key, secret<private_key_bytes>& private_key,
                                            secret<64> const& random) noexcept {
        context_pointer const with = context();
        OSSL_PARAM const parameters[] = {octets(OSSL_PKEY_PARAM_ML_KEM_SEED, random.expose()),
                                         OSSL_PARAM_construct_end()};
        EVP_PKEY* made = nullptr;
        if (!with || EVP_PKEY_keygen_init(with.get()) != 1 || EVP_PKEY_CTX_set_params(with.get(), parameters) != 1 ||
            EVP_PKEY_generate(with.get(), &made) != 1)
            return false;
        key_pointer const key(made);
        std::size_t first = 0, second = 0;
        return EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, public_key.data(), public_key.size(),
                                               &first) == 1 &&
               EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, private_key.expose().data(),
                                               private_key_bytes, &second) == 1 &&
               first == public_key_bytes && second == private_key_bytes;
    }
    [[gnu::noinline]] static bool seal(bytes ciphertext, secret<key_bytes>& shared, bytes_view public_key,
                                       secret<32> const& random) noexcept {
        key_pointer const key = import_key(EVP_PKEY_PUBLIC_KEY, OSSL_PKEY_PARAM_PUB_KEY, public_key);
        if (!key) return false;
        context_pointer const with(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
        OSSL_PARAM const parameters[] = {octets(OSSL_KEM_PARAM_IKME, random.expose()), OSSL_PARAM_construct_end()};
        std::size_t sealed_bytes = ciphertext.size(), shared_bytes = key_bytes;
        return with && EVP_PKEY_encapsulate_init(with.get(), parameters) == 1 &&
               EVP_PKEY_encapsulate(with.get(), ciphertext.data(), &sealed_bytes, shared.expose().data(),
                                    &shared_bytes) == 1 &&
               sealed_bytes == ciphertext_bytes && shared_bytes == key_bytes;
    }
    [[gnu::noinline]] static bool open(secret<key_bytes>& shared, secret<private_key_bytes> const& private_key,
                                       bytes_view ciphertext) noexcept {
        key_pointer const key = import_key(EVP_PKEY_KEYPAIR, OSSL_PKEY_PARAM_PRIV_KEY, private_key.expose());
        if (!key) return false;
        context_pointer const with(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
        std::size_t shared_bytes = key_bytes;
        return with && EVP_PKEY_decapsulate_init(with.get(), nullptr) == 1 &&
               EVP_PKEY_decapsulate(with.get(), shared.expose().data(), &shared_bytes, ciphertext.data(),
                                    ciphertext.size()) == 1 &&
               shared_bytes == key_bytes;
    }
};

static_assert(kem_backend<ml_kem_768>);

}}} // namespace wg::WG_ABI::openssl

#endif
