// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of a batch of packets, for all instruction sets. Included inside the namespace of a kernel, after
// keystream.inl.

/// The secrets of one batch: the one-time keys and tags of its packets, and the queue of blocks.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// Queues the one-time key of each packet. `opening`: the ciphertext is `src`, not `dst`.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    /// The key that all packets share; nullptr if they have several keys.
    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// Computes the tag of each packet from its one-time key and its ciphertext.
using tag_maker = void(std::span<packet_tag>) noexcept;

/// Seals 1 to `batch_capacity` packets. The one-time keys and all keystream fill the lanes of the same steps.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items, tag_maker* make_tags) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Opens 1 to `batch_capacity` packets and sets `good` of each. A packet is decrypted only if its tag is right; if not,
/// its `dst` is zero.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items, tag_maker* make_tags) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
