// SPDX-License-Identifier: BSL-1.0
// The implementations that bench/crypto compares. All have the same members. One thread.
//
// | member                          | what it does                                                                    |
// |---------------------------------|---------------------------------------------------------------------------------|
// | seal(item), open(item)          | one packet, with the key set-up of a program that sends many packets            |
// | seal_batch(items), open_batch   | optional; without them the packets of a batch are sealed one by one             |
// | prepare(items), dh(item), base  | X25519: computes values that are the same for all operations; one operation;    |
// |                                 | the public key of item.scalar                                                   |
// | dh_batch(items)                 | optional; without it the operations of a batch are done one by one              |
// | mac(item), mac_batch(items)     | keyed BLAKE2s                                                                   |
// | kem                             | a kem_backend                                                                   |
//
// An implementation is not measured in operations that it lacks. Each member returns whether it succeeded.
#ifndef WG_BENCH_PEERS_HPP
#define WG_BENCH_PEERS_HPP

#include <wg/post_quantum.hpp>
#include <wg/wg.hpp>

#include <memory>
#include <string>
#include <vector>

#ifdef WG_BENCH_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif
#ifdef WG_BENCH_OPENSSL
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#if __has_include(<openssl/ml_kem.h>)
#include <wg/backends/openssl_kem.hpp>
#define WG_BENCH_OPENSSL_KEM
#endif
#endif
#ifdef WG_BENCH_LIBSODIUM
#include <sodium.h>
#endif
#ifdef WG_BENCH_LIBB2
#include <blake2.h>
#endif

namespace bench {

using nonce = wg::byte_array<12>;

inline nonce nonce_of(std::uint64_t counter) {
    nonce n{};
    wg::store_le64(n.data() + 4, counter);
    return n;
}

/// Policies of wg. Batch members are used where there are any.
template <class Aead, class Dh, class Hash> class policies_peer {
public:
    policies_peer() = default;
    /// The bundled policies, restricted to some instruction sets.
    explicit policies_peer(wg::bundled::cpu set) : aead_(set), dh_(set), hash_(set) {}

    bool seal(wg::aead_item& i) const {
        aead_.seal(i.dst, i.src, {}, i.counter, *i.key);
        return true;
    }
    bool open(wg::aead_item& i) const { return aead_.open(i.dst, i.src, {}, i.counter, *i.key); }
    bool seal_batch(std::span<wg::aead_item> items) const {
        if constexpr (requires(Aead const& a) { a.seal_batch(items); }) aead_.seal_batch(items);
        else
            for (auto& i : items) seal(i);
        return true;
    }
    bool open_batch(std::span<wg::aead_item> items) const {
        bool good = true;
        if constexpr (requires(Aead const& a) { a.open_batch(items); }) aead_.open_batch(items);
        else
            for (auto& i : items) i.good = open(i);
        for (auto const& i : items) good = i.good && good;
        return good;
    }
    bool dh(wg::dh_item& i) const { return dh_.dh(*i.out, *i.scalar, i.point.first<wg::key_bytes>()); }
    bool base(wg::public_key& out, wg::dh_item const& i) const {
        dh_.dh_public(out, *i.scalar);
        return true;
    }
    bool dh_batch(std::span<wg::dh_item> items) const {
        bool good = true;
        if constexpr (requires(Dh const& d) { d.dh_batch(items); }) dh_.dh_batch(items);
        else
            for (auto& i : items) i.good = dh(i);
        for (auto const& i : items) good = i.good && good;
        return good;
    }
    bool mac(wg::hash_item const& i) const {
        hash_.blake2s(i.out, i.key, i.message, {});
        return true;
    }
    bool mac_batch(std::span<wg::hash_item const> items) const {
        if constexpr (requires(Hash const& h) { h.blake2s_batch(items); }) hash_.blake2s_batch(items);
        else
            for (auto const& i : items) mac(i);
        return true;
    }

private:
    Aead aead_;
    Dh dh_;
    Hash hash_;
};

/// A backend of ML-KEM.
template <class Kem> struct kem_peer {
    kem_peer() = default;
    explicit kem_peer(wg::bundled::cpu set) : kem(set) {}

    Kem kem;
};

using bundled_peer = policies_peer<wg::bundled::aead, wg::bundled::dh, wg::bundled::hash>;

#ifdef WG_BENCH_IPSEC_MB
/// Jobs of Intel's multi-buffer library, without its checks of arguments, which is its fastest interface.
class ipsec_mb_peer {
public:
    explicit ipsec_mb_peer(bool avx2) : manager_(alloc_mb_mgr(0)) {
        if (avx2) init_mb_mgr_avx2(manager_.get());
        else init_mb_mgr_auto(manager_.get(), nullptr);
    }
    bool works() const { return manager_ && imb_get_errno(manager_.get()) == 0; }

    bool seal(wg::aead_item& i) { return one<IMB_DIR_ENCRYPT>(i); }
    bool open(wg::aead_item& i) { return one<IMB_DIR_DECRYPT>(i); }
    bool seal_batch(std::span<wg::aead_item> items) { return burst<IMB_DIR_ENCRYPT>(items); }
    bool open_batch(std::span<wg::aead_item> items) { return burst<IMB_DIR_DECRYPT>(items); }

private:
    static constexpr std::size_t most = 16;

    template <IMB_CIPHER_DIRECTION Direction>
    static void fill(IMB_JOB& job, wg::aead_item const& i, nonce const& n, wg::byte* tag) {
        std::size_t const size = std::min(i.src.size(), i.dst.size());
        job.cipher_direction = Direction;
        job.chain_order = Direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
        job.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
        job.hash_alg = IMB_AUTH_CHACHA20_POLY1305;
        job.enc_keys = job.dec_keys = i.key->expose().data();
        job.key_len_in_bytes = wg::key_bytes;
        job.src = i.src.data();
        job.dst = i.dst.data();
        job.cipher_start_src_offset_in_bytes = job.hash_start_src_offset_in_bytes = 0;
        job.msg_len_to_cipher_in_bytes = job.msg_len_to_hash_in_bytes = size;
        job.iv = n.data();
        job.iv_len_in_bytes = n.size();
        job.auth_tag_output = tag;
        job.auth_tag_output_len_in_bytes = wg::tag_bytes;
        job.u.CHACHA20_POLY1305.aad = nullptr;
        job.u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
    }

    /// The library computes tags. The user compares them.
    template <IMB_CIPHER_DIRECTION Direction> static wg::byte* tag_of(wg::aead_item& i, wg::byte* computed) {
        return Direction == IMB_DIR_ENCRYPT ? i.dst.data() + i.src.size() : computed;
    }
    template <IMB_CIPHER_DIRECTION Direction> static bool verdict(wg::aead_item const& i, wg::byte const* computed) {
        return Direction == IMB_DIR_ENCRYPT ||
               wg::equal_in_constant_time(wg::bytes_view(computed, wg::tag_bytes), i.src.last(wg::tag_bytes));
    }

    template <IMB_CIPHER_DIRECTION Direction> bool one(wg::aead_item& i) {
        nonce const n = nonce_of(i.counter);
        wg::byte computed[wg::tag_bytes];
        fill<Direction>(*IMB_GET_NEXT_JOB(manager_.get()), i, n, tag_of<Direction>(i, computed));
        IMB_JOB const* done = IMB_SUBMIT_JOB_NOCHECK(manager_.get());
        if (done == nullptr) done = IMB_FLUSH_JOB(manager_.get());
        return done != nullptr && done->status == IMB_STATUS_COMPLETED && verdict<Direction>(i, computed);
    }

    template <IMB_CIPHER_DIRECTION Direction> bool burst(std::span<wg::aead_item> items) {
        auto const count = static_cast<std::uint32_t>(items.size());
        nonce nonces[most];
        wg::byte computed[most][wg::tag_bytes];
        IMB_JOB* jobs[most];
        if (items.size() > most || IMB_GET_NEXT_BURST(manager_.get(), count, jobs) != count) return false;
        for (std::size_t i = 0; i < items.size(); ++i) {
            nonces[i] = nonce_of(items[i].counter);
            fill<Direction>(*jobs[i], items[i], nonces[i], tag_of<Direction>(items[i], computed[i]));
        }
        if (IMB_SUBMIT_BURST_NOCHECK(manager_.get(), count, jobs) != count) return false;
        bool good = true;
        for (std::size_t i = 0; i < items.size(); ++i) good = verdict<Direction>(items[i], computed[i]) && good;
        return good;
    }

    struct freed {
        void operator()(IMB_MGR* m) const { free_mb_mgr(m); }
    };
    std::unique_ptr<IMB_MGR, freed> manager_;
};
#endif

#ifdef WG_BENCH_OPENSSL
/// OpenSSL through EVP. Contexts are made once; key and nonce are set for each packet.
class openssl_peer {
public:
    openssl_peer() {
        EVP_EncryptInit_ex(sealer_.get(), EVP_chacha20_poly1305(), nullptr, nullptr, nullptr);
        EVP_DecryptInit_ex(opener_.get(), EVP_chacha20_poly1305(), nullptr, nullptr, nullptr);
        std::size_t size = 16;
        OSSL_PARAM const parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_END};
        std::unique_ptr<EVP_MAC, freed> const blake(EVP_MAC_fetch(nullptr, "BLAKE2SMAC", nullptr));
        if (blake) mac_.reset(EVP_MAC_CTX_new(blake.get()));
        if (mac_) EVP_MAC_CTX_set_params(mac_.get(), parameters);
    }

    bool seal(wg::aead_item& i) {
        nonce const n = nonce_of(i.counter);
        auto* const c = sealer_.get();
        int made = 0, last = 0;
        return EVP_EncryptInit_ex(c, nullptr, nullptr, i.key->expose().data(), n.data()) == 1 &&
               EVP_EncryptUpdate(c, i.dst.data(), &made, i.src.data(), static_cast<int>(i.src.size())) == 1 &&
               EVP_EncryptFinal_ex(c, i.dst.data() + made, &last) == 1 &&
               EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, wg::tag_bytes, i.dst.data() + i.src.size()) == 1;
    }
    bool open(wg::aead_item& i) {
        nonce const n = nonce_of(i.counter);
        auto* const c = opener_.get();
        int made = 0, last = 0;
        auto* const tag = const_cast<wg::byte*>(i.src.data() + i.dst.size()); // OpenSSL only reads it
        return EVP_DecryptInit_ex(c, nullptr, nullptr, i.key->expose().data(), n.data()) == 1 &&
               EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, wg::tag_bytes, tag) == 1 &&
               EVP_DecryptUpdate(c, i.dst.data(), &made, i.src.data(), static_cast<int>(i.dst.size())) == 1 &&
               EVP_DecryptFinal_ex(c, i.dst.data() + made, &last) == 1;
    }

    void prepare(std::span<wg::dh_item> items) {
        first_ = items.data();
        exchanges_.clear();
        for (auto const& i : items) {
            exchange e;
            e.mine.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, i.scalar->expose().data(), 32));
            e.theirs.reset(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, i.point.data(), 32));
            e.context.reset(EVP_PKEY_CTX_new(e.mine.get(), nullptr));
            EVP_PKEY_derive_init(e.context.get());
            EVP_PKEY_derive_set_peer(e.context.get(), e.theirs.get());
            exchanges_.push_back(std::move(e));
        }
    }
    bool dh(wg::dh_item& i) {
        std::size_t size = wg::key_bytes;
        auto& e = exchanges_[static_cast<std::size_t>(&i - first_)];
        return EVP_PKEY_derive(e.context.get(), i.out->expose().data(), &size) == 1;
    }
    bool base(wg::public_key& out, wg::dh_item const& i) {
        // OpenSSL computes the public key when it makes a private key.
        std::unique_ptr<EVP_PKEY, freed> const key(
            EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, i.scalar->expose().data(), wg::key_bytes));
        std::size_t size = out.size();
        return key && EVP_PKEY_get_raw_public_key(key.get(), out.data(), &size) == 1;
    }
    bool mac(wg::hash_item const& i) {
        std::size_t size = 0;
        return EVP_MAC_init(mac_.get(), i.key.data(), i.key.size(), nullptr) == 1 &&
               EVP_MAC_update(mac_.get(), i.message.data(), i.message.size()) == 1 &&
               EVP_MAC_final(mac_.get(), i.out.data(), &size, i.out.size()) == 1;
    }

private:
    struct freed {
        void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
        void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
        void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
        void operator()(EVP_MAC* p) const { EVP_MAC_free(p); }
        void operator()(EVP_MAC_CTX* p) const { EVP_MAC_CTX_free(p); }
    };
    struct exchange {
        std::unique_ptr<EVP_PKEY, freed> mine, theirs;
        std::unique_ptr<EVP_PKEY_CTX, freed> context;
    };
    std::unique_ptr<EVP_CIPHER_CTX, freed> sealer_{EVP_CIPHER_CTX_new()}, opener_{EVP_CIPHER_CTX_new()};
    std::unique_ptr<EVP_MAC_CTX, freed> mac_;
    std::vector<exchange> exchanges_;
    wg::dh_item const* first_ = nullptr;
};
#endif

#ifdef WG_BENCH_OPENSSL
/// BLAKE2s as an EVP digest, which takes no key. It hashes the same number of blocks without one.
class openssl_digest_peer {
public:
    static constexpr bool unkeyed = true;

    bool mac(wg::hash_item const& i) {
        unsigned size = 0;
        return EVP_DigestInit_ex(context_.get(), nullptr, nullptr) == 1 &&
               EVP_DigestUpdate(context_.get(), i.message.data(), i.message.size()) == 1 &&
               EVP_DigestFinal_ex(context_.get(), i.out.data(), &size) == 1;
    }
    openssl_digest_peer() { EVP_DigestInit_ex(context_.get(), EVP_blake2s256(), nullptr); }

private:
    struct freed {
        void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
    };
    std::unique_ptr<EVP_MD_CTX, freed> context_{EVP_MD_CTX_new()};
};
#endif

#ifdef WG_BENCH_LIBSODIUM
struct libsodium_peer {
    static bool works() { return sodium_init() >= 0; }

    bool seal(wg::aead_item& i) const {
        return crypto_aead_chacha20poly1305_ietf_encrypt(i.dst.data(), nullptr, i.src.data(), i.src.size(), nullptr, 0,
                                                         nullptr, nonce_of(i.counter).data(),
                                                         i.key->expose().data()) == 0;
    }
    bool open(wg::aead_item& i) const {
        return crypto_aead_chacha20poly1305_ietf_decrypt(i.dst.data(), nullptr, nullptr, i.src.data(), i.src.size(),
                                                         nullptr, 0, nonce_of(i.counter).data(),
                                                         i.key->expose().data()) == 0;
    }
    bool dh(wg::dh_item& i) const {
        return crypto_scalarmult_curve25519(i.out->expose().data(), i.scalar->expose().data(), i.point.data()) == 0;
    }
    bool base(wg::public_key& out, wg::dh_item const& i) const {
        return crypto_scalarmult_curve25519_base(out.data(), i.scalar->expose().data()) == 0;
    }
};
#endif

#ifdef WG_BENCH_HACL
using hacl_peer = policies_peer<wg::hacl::aead, wg::hacl::dh, wg::hacl::hash>;
#endif

#ifdef WG_BENCH_LIBB2
struct libb2_peer {
    bool mac(wg::hash_item const& i) const {
        return blake2s(i.out.data(), i.message.data(), i.key.data(), i.out.size(), i.message.size(), i.key.size()) == 0;
    }
};
#endif

} // namespace bench

#endif
