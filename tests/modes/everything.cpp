// SPDX-License-Identifier: BSL-1.0
// A translation unit that uses the whole library. baseline.py checks its machine code. `ENTRY` is the name of its only
// exported function.
#include "wg/post_quantum.hpp"
#include "wg/wg.hpp"

template class wg::device<wg::default_policies>;
template class wg::engine<wg::default_policies>;

namespace {

using wg::byte;
using wg::bundled::cpu;

/// The backend restricted to `set`, if it can be restricted.
template <class Backend> Backend with(cpu set) {
    if constexpr (std::is_constructible_v<Backend, cpu>) return Backend(set);
    else return Backend{};
}

/// Runs every primitive and hashes the results into `digest`.
template <class Aead, class Dh, class Hash>
void use(Aead const& aead, Dh const& dh, Hash const& hash, wg::byte_array<32>& digest) {
    wg::secret<32> key(digest), other, subkey;
    wg::byte_array<1500> plain{}, opened{};
    wg::byte_array<1516> sealed;
    bool good = true;
    for (std::size_t const size : {0u, 1u, 64u, 255u, 576u, 1500u}) {
        wg::bytes const text = wg::bytes(plain).first(size);
        wg::bytes const message = wg::bytes(sealed).first(size + 16);
        aead.seal(message, text, digest, size, key);
        good = aead.open(wg::bytes(opened).first(size), message, digest, size, key) && good;
        hash.blake2s(digest, key.expose(), message, opened);
    }
    if constexpr (requires(std::span<wg::aead_item> items) { aead.seal_batch(items), aead.open_batch(items); }) {
        wg::aead_item items[17];
        byte batch[17][116] = {};
        for (std::size_t i = 0; i < 17; ++i)
            items[i] = {.dst = batch[i], .src = wg::bytes_view(batch[i]).first(100), .counter = i, .key = &key};
        aead.seal_batch(items);
        for (auto& item : items) item.dst = item.dst.first(100), item.src = {item.dst.data(), 116};
        aead.open_batch(items);
        for (auto& item : items) good = good && item.good;
    }
    aead.hchacha20(subkey, key, wg::bytes_view(sealed).first<16>());
    wg::public_key own;
    dh.dh_public(own, key);
    good = dh.dh(other, subkey, own) && good;
    if constexpr (requires(std::span<wg::dh_item> items) { dh.dh_batch(items); }) {
        wg::dh_item items[9];
        wg::secret<32> shared[9];
        for (std::size_t i = 0; i < 9; ++i) items[i] = {.out = &shared[i], .scalar = &key, .point = own};
        dh.dh_batch(items);
        for (std::size_t i = 0; i < 9; ++i) hash.blake2s(digest, shared[i].expose(), digest, own);
    }
    if constexpr (requires(std::span<wg::hash_item const> items) { hash.blake2s_batch(items); }) {
        wg::hash_item items[17];
        byte macs[17][16];
        for (std::size_t i = 0; i < 17; ++i) items[i] = {macs[i], key.expose(), wg::bytes_view(sealed).first(100 + i)};
        hash.blake2s_batch(std::span<wg::hash_item const>(items));
        for (auto const& mac : macs) hash.blake2s(digest, digest, mac, {});
    }
    hash.blake2s(digest, other.expose(), own, good ? wg::bytes_view(own) : wg::bytes_view());
}

/// Runs ML-KEM and hashes its results into `digest`.
void use(wg::bundled::ml_kem_768 const& kem, wg::byte_array<32>& digest) {
    using kem_type = wg::bundled::ml_kem_768;
    wg::secret<64> seed;
    wg::secret<32> const random(digest);
    wg::secret<32> shared, found;
    wg::secret<kem_type::private_key_bytes> private_key;
    wg::byte_array<kem_type::public_key_bytes> key;
    wg::byte_array<kem_type::ciphertext_bytes> ciphertext;
    bool const good = kem.generate(key, private_key, seed) && kem.encapsulate(ciphertext, shared, key, random) &&
                      kem.decapsulate(found, private_key, ciphertext) && found.equals(shared);
    wg::bundled::hash{}.blake2s(digest, shared.expose(), ciphertext, good ? wg::bytes_view(key) : wg::bytes_view());
}

} // namespace

extern "C" void ENTRY(byte* out) {
    wg::byte_array<32> first{};
    use(with<wg::bundled::aead>(cpu::baseline), with<wg::bundled::dh>(cpu::baseline),
        with<wg::bundled::hash>(cpu::baseline), first);
    use(wg::bundled::ml_kem_768(cpu::baseline), first);
    for (std::uint32_t bits = 1; bits <= std::uint32_t(cpu::all); ++bits) {
        cpu const set = cpu(bits);
        if (consistent(set) != set || !has(wg::bundled::detect_cpu(), set)) continue;
        wg::byte_array<32> digest{};
        use(with<wg::bundled::aead>(set), with<wg::bundled::dh>(set), with<wg::bundled::hash>(set), digest);
        use(wg::bundled::ml_kem_768(set), digest);
        if (digest != first) return;
    }
    wg::byte_array<32> digest{};
    use(wg::bundled::aead{}, wg::bundled::dh{}, wg::bundled::hash{}, digest);
    use(wg::bundled::ml_kem_768{}, digest);
    if (digest == first) wg::copy({out, 32}, first);
}
