// SPDX-License-Identifier: BSL-1.0
// A preshared key that is replaced in each epoch by a one-way function, so that a key which is stolen later opens no
// recorded session of an earlier epoch (whitepaper 5.2: a preshared key may be rotated by "applying a hash function").
// Folder: protocol. Pure; one thread at a time. docs/post-quantum.md has the argument, docs/decisions/handshakes the
// reasons.
//
// An epoch is a length of time; epoch 0 began at 1970-01-01 00:00:00 UTC. The keys of all epochs are leaves of a tree
// with four levels of 256 children. `ratchet_keys` holds the key of one epoch, and for each level the secret from which
// the keys of later epochs follow. Keys of earlier epochs cannot be computed from it. A step to any later epoch takes
// at most 1024 hashes.
//
// `ratchet` decides which epoch a handshake uses. Nothing is added to any message:
// - The responder chooses the epoch. The initiation has the time of the initiator, and so the responder knows both
//   clocks. If they differ by more than an epoch, the earlier one counts. An epoch is never earlier than the last one
//   that the peer has proven to use.
// - The initiator tries the epochs that the responder may have chosen. A wrong key is like a forged response.
// - The key of an epoch is wiped when a session under a later epoch is confirmed: the other end has sent data under it.
#ifndef WG_PROTOCOL_RATCHET_HPP
#define WG_PROTOCOL_RATCHET_HPP

#include "epoch.hpp"
#include "noise.hpp"

namespace wg { inline namespace WG_ABI {

/// The key of one epoch, and the secrets from which the keys of later epochs follow.
class ratchet_keys {
public:
    static constexpr unsigned levels = 4; ///< of the tree; each has 256 children

    /// The size of `store`, in bytes.
    static constexpr std::size_t stored_bytes = 4 + (levels + 1) * key_bytes;

    /// Begins at epoch 0. `epoch_s`: the length of an epoch; another length gives other keys.
    template <hash_backend Hash> void begin(Hash const& hash, key_view configured, std::uint32_t epoch_s) noexcept {
        byte label[sizeof root_label + 4];
        std::memcpy(label, root_label, sizeof root_label);
        store_le32(label + sizeof root_label, epoch_s);
        secret<key_bytes> root(configured);
        kdf_into(hash, root, label, sizeof label);
        epoch_ = 0;
        descend(hash, root, levels);
    }

    /// Goes on to `target`, and wipes what belongs to earlier epochs. An earlier target changes nothing.
    template <hash_backend Hash> void advance(Hash const& hash, ratchet_epoch target) noexcept {
        if (target <= epoch_) return;
        unsigned level = levels - 1; // the highest level at which the two epochs have different digits
        while (digit(target, level) == digit(epoch_, level)) --level;
        unsigned const skipped = digit(target, level) - digit(epoch_, level) - 1;
        epoch_ = target;
        for (unsigned i = 0; i < skipped; ++i) skip(hash, later_[level]);
        secret<key_bytes> child{not_zeroed{}};
        take(hash, later_[level], child);
        descend(hash, child, level);
    }

    /// The epoch of `key`.
    ratchet_epoch epoch() const noexcept { return epoch_; }
    /// The preshared key of the epoch.
    secret<key_bytes> const& key() const noexcept { return key_; }

    /// Copies the keys of `other`.
    void assign(ratchet_keys const& other) noexcept {
        epoch_ = other.epoch_;
        key_.assign(other.key_);
        for (unsigned i = 0; i < levels; ++i) later_[i].assign(other.later_[i]);
    }
    /// Wipes all keys.
    void clear() noexcept {
        epoch_ = 0;
        key_.clear();
        for (secret<key_bytes>& secret_of_level : later_) secret_of_level.clear();
    }

    /// Writes everything to `out`, which the caller wipes.
    void store(std::span<byte, stored_bytes> out) const noexcept {
        store_le32(out.data(), epoch_);
        std::memcpy(&out[4], key_.expose().data(), key_bytes);
        for (unsigned i = 0; i < levels; ++i)
            std::memcpy(&out[4 + (i + 1) * key_bytes], later_[i].expose().data(), key_bytes);
    }
    /// Reads what `store` wrote.
    void load(std::span<byte const, stored_bytes> from) noexcept {
        epoch_ = load_le32(from.data());
        key_.assign(key_view(&from[4], key_bytes));
        for (unsigned i = 0; i < levels; ++i) later_[i].assign(key_view(&from[4 + (i + 1) * key_bytes], key_bytes));
    }

private:
    // A node of the tree has a row of 256 children. The state of a row is a secret, from which KDF1 makes the state for
    // the next child, and KDF2 that state and the child.
    static constexpr byte root_label[] = {'W', 'G', ' ', 'P', 'S', 'K', ' ', 'r',
                                          'a', 't', 'c', 'h', 'e', 't', ' ', '1'};
    static constexpr byte row_label[] = {'r', 'o', 'w'};

    static unsigned digit(ratchet_epoch epoch, unsigned level) noexcept { return epoch >> (8 * level) & 255; }

    template <hash_backend Hash> static void skip(Hash const& hash, secret<key_bytes>& row) noexcept {
        kdf_into(hash, row, row_label, sizeof row_label);
    }
    template <hash_backend Hash>
    static void take(Hash const& hash, secret<key_bytes>& row, secret<key_bytes>& child) noexcept {
        kdf_into(hash, row, row_label, sizeof row_label, &child);
    }

    /// Goes from a node, whose children are at level `level` - 1, down to the leaf of `epoch_`. Wipes the node.
    template <hash_backend Hash> void descend(Hash const& hash, secret<key_bytes>& node, unsigned level) noexcept {
        while (level-- != 0) {
            later_[level].assign(node);
            for (unsigned i = digit(epoch_, level); i != 0; --i) skip(hash, later_[level]);
            take(hash, later_[level], node);
        }
        key_ = std::move(node);
    }

    ratchet_epoch epoch_ = 0;
    secret<key_bytes> key_;
    secret<key_bytes> later_[levels]; ///< the states of the rows on the way to the leaf; each after the leaf's child
};

/// The ratchet of one peer.
class ratchet {
public:
    /// The size of `store`, in bytes.
    static constexpr std::size_t stored_bytes = ratchet_record_bytes;
    static_assert(stored_bytes == 4 + 16 + ratchet_keys::stored_bytes);

    /// Whether there is a ratchet.
    bool active() const noexcept { return epoch_s_ != 0; }
    /// The length of an epoch in seconds; 0: there is no ratchet.
    std::uint32_t epoch_s() const noexcept { return epoch_s_; }
    /// Whether a session was confirmed. Before that, the keys of all epochs can be computed.
    bool confirmed() const noexcept { return confirmed_; }
    /// The epoch of the last confirmed session, if there was one.
    ratchet_epoch epoch() const noexcept { return keys_.epoch(); }

    /// Begins with the configured preshared key. `epoch_s`: the length of an epoch, from `shortest_epoch_s` to
    /// `longest_epoch_s` seconds.
    template <hash_backend Hash> void begin(Hash const& hash, key_view configured, std::uint32_t epoch_s) noexcept {
        clear();
        identify(hash, id_, configured);
        epoch_s_ = epoch_s;
        keys_.begin(hash, configured, epoch_s);
    }
    /// Whether the ratchet began with this key and length.
    template <hash_backend Hash>
    bool began_with(Hash const& hash, key_view configured, std::uint32_t epoch_s) const noexcept {
        byte_array<16> id{};
        identify(hash, id, configured);
        return active() && epoch_s == epoch_s_ && equal_in_constant_time(id, id_);
    }

    /// Wipes everything: there is no ratchet any more.
    void clear() noexcept {
        keys_.clear();
        id_ = {};
        epoch_s_ = 0;
        newest_ = 0;
        attempt_ = 0;
        confirmed_ = awaits_data_ = awaits_confirmation_ = false;
    }

    // --- as responder

    /// Chooses the epoch of a response. `theirs`: the epoch of the timestamp in the initiation; `mine`: of this host's
    /// clock. An attempt that follows an unconfirmed response uses a neighbouring epoch, because Linux's WireGuard
    /// tries only one key, which a timer of that host sets.
    template <hash_backend Hash>
    void choose(Hash const& hash, ratchet_epoch theirs, ratchet_epoch mine, secret<key_bytes>& key) noexcept {
        ratchet_epoch const by_clock = epoch_by_clocks(theirs, mine);
        ratchet_epoch const first = by_clock == no_epoch ? newest_ : (std::max)(by_clock, newest_);
        chosen_ = first;
        if (by_clock != no_epoch) {
            if (attempt_ == 1 && by_clock != 0) chosen_ = (std::max)(keys_.epoch(), by_clock - 1);
            if (attempt_ == 2) chosen_ = (std::max)(first, by_clock + 1);
        }
        attempt_ = static_cast<std::uint8_t>((attempt_ + 1) % 3);
        awaits_confirmation_ = true;
        key_of(hash, chosen_, key);
    }

    /// The response for which `choose` was called is complete, and its session waits for a packet that confirms it.
    void response_created() noexcept { next_ = chosen_; }
    /// The first packet of the session came in for which `response_created` was called last. The other end uses no
    /// earlier epoch any more.
    template <hash_backend Hash> void confirm_as_responder(Hash const& hash) noexcept { confirm(hash, next_); }

    /// Whether the last response has not been confirmed.
    bool awaits_confirmation() const noexcept { return awaits_confirmation_; }

    // --- as initiator

    /// Tries the keys of the epochs that the responder may have chosen: calls `fits(secret<key_bytes> const&)` for each
    /// until one returns true. `mine`: the epoch of this host's clock. Returns: whether one did.
    template <hash_backend Hash, class Fits> bool find(Hash const& hash, ratchet_epoch mine, Fits&& fits) noexcept {
        bool const dated = mine != no_epoch;
        ratchet_epoch const latest = dated ? (std::max)(mine, newest_) : newest_;
        ratchet_epoch const first = (std::max)(keys_.epoch(), dated && latest != 0 ? latest - 1 : latest);
        ratchet_epoch const last = latest < no_epoch - 3 ? latest + 2 : latest;
        ratchet_keys at;
        at.assign(keys_);
        if (dated && try_all(hash, at, first, last, fits)) return true;
        // The clock of the other end may be days behind, or this host's clock may be wrong or not set.
        if (dated && !confirmed_) return false; // the keys of all epochs: too many
        at.assign(keys_);
        ratchet_epoch const behind = keys_.epoch() < no_epoch - most_tried ? keys_.epoch() + most_tried : no_epoch;
        return try_all(hash, at, keys_.epoch(), dated ? (std::min)(behind, first) - 1 : behind - 1, fits);
    }

    /// The response whose key `find` found was accepted: a session of this initiator begins.
    void response_accepted() noexcept {
        newest_ = (std::max)(newest_, found_);
        used_ = found_;
        awaits_data_ = true;
    }

    /// Whether the first packet of the session that this end began is still to come.
    bool awaits_data() const noexcept { return awaits_data_; }
    /// A packet came in under the session that this end began. So the other end has confirmed it, and uses no earlier
    /// epoch any more.
    template <hash_backend Hash> void confirm_as_initiator(Hash const& hash) noexcept { confirm(hash, used_); }

    // --- storage

    /// Writes what must survive a restart to `out`, which the caller wipes.
    void store(std::span<byte, stored_bytes> out) const noexcept {
        store_le32(out.data(), epoch_s_);
        std::memcpy(&out[4], id_.data(), id_.size());
        keys_.store(out.last<ratchet_keys::stored_bytes>());
    }
    /// Reads what `store` wrote after a session was confirmed. Returns: false, and changes nothing, if that ratchet has
    /// another length of an epoch than `epoch_s`, or began with another key than `configured`. An all-zero `configured`
    /// means that the configuration has no key any more.
    template <hash_backend Hash>
    bool load(Hash const& hash, std::span<byte const, stored_bytes> from, key_view configured,
              std::uint32_t epoch_s) noexcept {
        if (load_le32(from.data()) != epoch_s || epoch_s == 0) return false;
        byte_array<16> id{};
        std::memcpy(id.data(), &from[4], id.size());
        if (!is_zero_in_constant_time(configured)) {
            byte_array<16> wanted{};
            identify(hash, wanted, configured);
            if (!equal_in_constant_time(wanted, id)) return false;
        }
        clear();
        epoch_s_ = epoch_s;
        id_ = id;
        keys_.load(from.last<ratchet_keys::stored_bytes>());
        newest_ = keys_.epoch();
        confirmed_ = true;
        return true;
    }

private:
    static constexpr ratchet_epoch most_tried = 60; ///< epochs after the last confirmed one

    /// A number by which the same configured key is known again after it was wiped.
    template <hash_backend Hash>
    static void identify(Hash const& hash, byte_array<16>& id, key_view configured) noexcept {
        static constexpr byte label[] = {'W', 'G', ' ', 'P', 'S', 'K', ' ', 'i', 'd'};
        hash.blake2s(id, configured, label, {});
    }

    /// The epoch by both clocks; `no_epoch`: neither knows the date. If they differ by more than one, the earlier one:
    /// a clock that is wrong cannot move a peer to an epoch from which there is no way back.
    static ratchet_epoch epoch_by_clocks(ratchet_epoch theirs, ratchet_epoch mine) noexcept {
        if (mine == no_epoch) return theirs;
        if (theirs == no_epoch) return mine;
        bool const close = theirs > mine ? theirs - mine <= 1 : mine - theirs <= 1;
        return close ? theirs : (std::min)(theirs, mine);
    }

    /// The key of `epoch`, which is not earlier than `epoch()`.
    template <hash_backend Hash>
    void key_of(Hash const& hash, ratchet_epoch epoch, secret<key_bytes>& key) const noexcept {
        ratchet_keys at;
        at.assign(keys_);
        at.advance(hash, epoch);
        key.assign(at.key());
    }

    template <hash_backend Hash, class Fits>
    bool try_all(Hash const& hash, ratchet_keys& at, ratchet_epoch first, ratchet_epoch last, Fits& fits) noexcept {
        for (ratchet_epoch epoch = first; epoch <= last && last != no_epoch; ++epoch) {
            at.advance(hash, epoch);
            if (!fits(at.key())) continue;
            found_ = epoch;
            return true;
        }
        return false;
    }

    template <hash_backend Hash> void confirm(Hash const& hash, ratchet_epoch epoch) noexcept {
        keys_.advance(hash, epoch);
        newest_ = (std::max)(newest_, epoch);
        attempt_ = 0;
        awaits_data_ = awaits_confirmation_ = false;
        confirmed_ = true;
    }

    ratchet_keys keys_; ///< of the last confirmed epoch
    byte_array<16> id_{};
    std::uint32_t epoch_s_ = 0;
    ratchet_epoch newest_ = 0; ///< the latest epoch that the peer has proven to use
    ratchet_epoch chosen_ = 0; ///< by `choose`
    ratchet_epoch next_ = 0;   ///< of the session that waits for a packet that confirms it
    ratchet_epoch found_ = 0;  ///< by `find`
    ratchet_epoch used_ = 0;   ///< of the session that this end began
    std::uint8_t attempt_ = 0; ///< responses since the last confirmed session, modulo 3
    bool confirmed_ = false;
    bool awaits_data_ = false;
    bool awaits_confirmation_ = false;
};

}} // namespace wg::WG_ABI

#endif
