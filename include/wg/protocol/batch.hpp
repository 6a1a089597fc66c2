// SPDX-License-Identifier: BSL-1.0
// Several operations of one primitive: in a batch if the policy has batches, else one after the other.
// Folder: protocol. Thread rules are those of the policy.
#ifndef WG_PROTOCOL_BATCH_HPP
#define WG_PROTOCOL_BATCH_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// How many items a caller collects on its stack: `most` if the policy has batches, else one. One on small machines.
template <bool Gains> constexpr std::size_t batch_size(std::size_t most) noexcept {
    return Gains && !compact ? most : 1;
}

/// Computes all hashes.
template <hash_backend Hash> void blake2s_all(Hash const& hash, std::span<hash_item const> items) noexcept {
    if constexpr (batch_hash_backend<Hash>) hash.blake2s_batch(items);
    else
        for (hash_item const& i : items) hash.blake2s(i.out, i.key, i.message, {});
}

/// Computes all DHs. `good` of an item is false if its result is zero.
template <dh_backend Dh> void dh_all(Dh const& dh, std::span<dh_item> items) noexcept {
    if constexpr (batch_dh_backend<Dh>) dh.dh_batch(items);
    else
        for (dh_item& i : items) i.good = dh.dh(*i.out, *i.scalar, i.point.first<key_bytes>());
}

/// Seals all items, without additional data.
template <aead_backend Aead> void seal_all(Aead const& aead, std::span<aead_item> items) noexcept {
    if constexpr (batch_aead_backend<Aead>) aead.seal_batch(items);
    else
        for (aead_item& i : items) aead.seal(i.dst, i.src, {}, i.counter, *i.key);
}

/// Opens all items, without additional data. `good` of an item is false if it is forged.
template <aead_backend Aead> void open_all(Aead const& aead, std::span<aead_item> items) noexcept {
    if constexpr (batch_aead_backend<Aead>) aead.open_batch(items);
    else
        for (aead_item& i : items) i.good = aead.open(i.dst, i.src, {}, i.counter, *i.key);
}

/// Seals (`seals`) or opens a message whose plain text has `size` bytes. Returns: false if an opened message is forged.
template <aead_backend Aead>
bool seal_or_open(Aead const& aead, bool seals, byte* dst, byte const* src, std::size_t size, byte const* aad,
                  std::size_t aad_bytes, std::uint64_t counter, secret<key_bytes> const& key) noexcept {
    if constexpr (single_call_aead_backend<Aead>) return aead.run(seals, dst, src, size, aad, aad_bytes, counter, key);
    if (!seals) return aead.open({dst, size}, {src, size + tag_bytes}, {aad, aad_bytes}, counter, key);
    aead.seal({dst, size + tag_bytes}, {src, size}, {aad, aad_bytes}, counter, key);
    return true;
}

}} // namespace wg::WG_ABI

#endif
