// SPDX-License-Identifier: BSL-1.0
// All peers of a device, found by public key, by index, by allowed IP and by deadline. Memory of a removed peer or a
// retired session is kept until its last job in flight is completed. Folder: device; guarded by the device's lock.
#ifndef WG_DEVICE_PEER_TABLE_HPP
#define WG_DEVICE_PEER_TABLE_HPP

#include "../base/flat_table.hpp"
#include "job.hpp"

namespace wg { inline namespace WG_ABI {

/// The peers and sessions of a device.
template <policies Policies> class peer_table {
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;
    using job_type = job<Policies>;
    static constexpr std::size_t max_peers = storage::max_peers;
    static constexpr bool linear = is_linear(max_peers); ///< peers and indices are searched one by one, without tables
    template <class Table, int Place> using unless_linear = std::conditional_t<linear, empty_member<Place>, Table>;
    using routes_type = std::conditional_t<is_linear(storage::max_allowed_ips), linear_allowed_ips<peer_type, storage>,
                                           allowed_ips<peer_type, storage>>;
    static constexpr std::size_t indices_per_peer = 4; ///< of three sessions and a handshake
    /// A peer never has a previous and a next session at once, see `keypair_slots`. A compact device ends the old
    /// sessions before it makes a new one; while jobs of these are in flight, there may be no memory for the new one.
    /// Else the new one is made first.
    static constexpr std::size_t max_keypairs = max_peers == 0 ? 0 : compact ? 2 * max_peers : 3 * max_peers + 1;

public:
    /// Whether a peer has memory for two sessions only: then old sessions end before a new one is made.
    static constexpr bool two_sessions = max_keypairs != 0 && max_keypairs <= 2 * max_peers;

    /// The table of public keys gets a random salt, so that an attacker cannot choose keys that collide in it.
    template <random_source Random>
    peer_table(storage& from, Random& random) noexcept
        : growth_(from), allowed_(from), peers_(from), secrets_(from), keypairs_(from), by_key_(from), by_index_(from),
          deadlines_(from) {
        if constexpr (!linear) {
            byte_array<8> raw{};
            if (random.fill(raw)) growth_.salt = load_le64(raw.data());
        }
    }
    ~peer_table() { remove_all(); }

    /// The allowed IPs of all peers.
    routes_type& allowed() noexcept { return allowed_; }
    /// The deadlines of all peers.
    decltype(auto) deadlines() noexcept {
        if constexpr (linear) return linear_deadlines<peer_type>(first_);
        else return (deadlines_);
    }
    /// The peer that was added first; `peer::next` is the peer after it. nullptr: there are no peers.
    peer_type* first() const noexcept { return first_; }
    /// The number of peers, without removed ones.
    std::size_t size() const noexcept { return size_; }

    // --- peers

    /// Takes memory to add `added` peers; there are at most `most` peers at a time.
    /// Returns: ok, no_memory, too_many_peers.
    status reserve(std::size_t added, std::size_t most) noexcept {
        if constexpr (max_peers != 0) {
            return most + shells_ <= max_peers ? status::ok : status::too_many_peers;
        } else {
            bool const enough = peers_.reserve(added) && secrets_.reserve(added) &&
                                by_key_.reserve(added, growth_.from) &&
                                by_index_.reserve(added * indices_per_peer, growth_.from) &&
                                deadlines_.reserve(size_ + added, growth_.from);
            return enough ? status::ok : status::no_memory;
        }
    }

    /// Returns: the number of peers with jobs in flight. If such a peer is removed now, a shell of it stays.
    std::size_t in_flight() const noexcept {
        std::size_t count = 0;
        for (peer_type const* p = first_; p != nullptr; p = p->next) count += p->in_flight != 0;
        return count;
    }

    /// Whether any job, also one of a removed peer, has not been completed.
    bool has_jobs() const noexcept { return in_flight() != 0 || shells_ != 0; }

    /// The peer with this public key; nullptr: none.
    peer_type* find([[maybe_unused]] primitives<Policies> const& with, key_view key) noexcept {
        if constexpr (linear) {
            peer_type* p = first_;
            while (p != nullptr && std::memcmp(p->key().data(), key.data(), key_bytes) != 0) p = p->next;
            return p;
        } else {
            return find_by_hash(with, key);
        }
    }
    /// As `find`, with the table of keys.
    peer_type* find_by_hash(primitives<Policies> const& with, key_view key) noexcept {
        return find_hashed(hash_of(with, key), key);
    }
    /// As `find_by_hash`, for a key with a known `hash_of`.
    peer_type* find_hashed(std::uint64_t hash, key_view key) noexcept {
        by_key_entry* const found = by_key_.find(hash, [&](by_key_entry const& e) {
            return e.hash_ == hash && std::memcmp(e.owner->key().data(), key.data(), key_bytes) == 0;
        });
        return found == nullptr ? nullptr : found->owner;
    }

    /// The salted hash of a public key.
    std::uint64_t hash_of(primitives<Policies> const& with, key_view key) const noexcept {
        byte_array<8> salt, digest;
        store_le64(salt.data(), growth_.salt);
        with.hash.blake2s(digest, salt, key, {});
        return load_le64(digest.data());
    }

    /// Adds a peer with this key; no peer has it yet. Returns: nullptr if there is no memory, or if there are too many
    /// peers; see `reserve`.
    peer_type* add([[maybe_unused]] primitives<Policies> const& with, key_view key) noexcept {
        if constexpr (max_peers == 0) // else the pool has the limit
            if (reserve(1, size_ + 1) != status::ok) return nullptr;
        peer_type* const fresh = peers_.acquire();
        if (fresh == nullptr) return nullptr;
        fresh->secrets = secrets_.acquire(); // does not fail, because this pool is as large as the pool of peers
        copy(fresh->secrets->remote.public_key, key);
        fresh->number = next_number_++;
        if constexpr (!linear) by_key_.insert({hash_of(with, key), fresh});
        fresh->before = last_;
        (last_ != nullptr ? last_->next : first_) = fresh;
        last_ = fresh;
        ++size_;
        return fresh;
    }

    /// Removes a peer and wipes its secrets. While it has jobs in flight, an empty shell of it stays.
    void remove([[maybe_unused]] primitives<Policies> const& with, peer_type& gone) noexcept {
        if constexpr (!linear)
            if (by_key_entry* const entry =
                    by_key_.find(hash_of(with, gone.key()), [&](by_key_entry const& e) { return e.owner == &gone; }))
                by_key_.erase(entry);
        unlink(gone);
    }

    // --- jobs

    /// Counts a job as in flight with `owner`, and with the session `keys` unless that is nullptr.
    void acquire(job_type& by, peer_type& owner, keypair_type* keys = nullptr) noexcept {
        by.owner = &owner;
        by.keys = keys;
        ++owner.in_flight;
        if (keys != nullptr) ++keys->in_flight;
    }
    /// Ends `acquire`. Frees a retired session or a removed peer if this was its last job.
    void release(job_type& by) noexcept {
        if (by.keys != nullptr) {
            --by.keys->in_flight;
            release_if_unused(*by.keys);
        }
        if (by.owner != nullptr && --by.owner->in_flight == 0 && by.owner->removed) {
            peers_.release(by.owner);
            --shells_;
        }
        by.keys = nullptr;
        by.owner = nullptr;
    }

    // --- sessions and indices

    /// The peer and the session, or the handshake, that an index names.
    struct index_owner {
        peer_type* owner = nullptr;   ///< nullptr: nothing has this index
        keypair_type* keys = nullptr; ///< nullptr: a handshake

        /// Whether the index is known.
        explicit operator bool() const noexcept { return owner != nullptr; }
    };
    /// An entry of the table of indices.
    struct index_entry : index_owner {
        std::uint32_t index = 0; ///< of a handshake or a session

        /// The index itself, because it is random.
        std::uint64_t hash() const noexcept { return index; }
    };

    /// The handshake or the session with this index.
    index_owner find_index(std::uint32_t index) noexcept {
        if constexpr (linear) {
            for (peer_type* p = first_; p != nullptr && index != 0; p = p->next) {
                auto const& keypairs = p->keypairs;
                for (keypair_type* keys : {keypairs.current, keypairs.previous, keypairs.next})
                    if (keys != nullptr && keys->local_index == index) return {p, keys};
                if (p->exchange().local_index == index) return {p, nullptr};
            }
            return {};
        } else {
            index_entry const* const found = find_entry(index);
            return found != nullptr ? index_owner(*found) : index_owner{};
        }
    }

    /// Gives the handshake `of` with `owner` a new random index. Its present index is dropped.
    /// Returns: ok, no_random, no_memory.
    //= wp 5.4.2: indices are random, and no two are the same
    template <random_source Random> status make_index(peer_type& owner, handshake& of, Random& random) noexcept {
        drop_index(of);
        if constexpr (!linear)
            if (!by_index_.reserve(1, growth_.from)) return status::no_memory;
        for (int attempt = 0; attempt < 32; ++attempt) { // 32 collisions mean that the random source is broken
            byte_array<4> raw{};
            if (!random.fill(raw)) return status::no_random;
            std::uint32_t const index = load_le32(raw.data());
            if (index == 0 || find_index(index)) continue;
            if constexpr (!linear) by_index_.insert({{&owner, nullptr}, index});
            of.local_index = index;
            return status::ok;
        }
        return status::no_random;
    }

    /// Ends a handshake without a session.
    void forget(handshake& of) noexcept {
        drop_index(of);
        of.clear();
    }

    /// Makes a session, which takes over the index of the handshake `of`. nullptr: no memory.
    keypair_type* make_keypair(handshake& of, instant_argument now, bool initiator) noexcept {
        keypair_type* const fresh = keypairs_.acquire();
        if (fresh == nullptr) return nullptr;
        fresh->local_index = of.local_index;
        fresh->remote_index = of.remote_index;
        fresh->created = now;
        fresh->initiator = initiator;
        if constexpr (!linear) find_entry(of.local_index)->keys = fresh;
        of.local_index = 0;
        return fresh;
    }

    /// Ends a session. Its index is unknown at once; its keys are wiped after its last job in flight.
    WG_OUTLINE void retire(keypair_type& old) noexcept {
        if constexpr (!linear)
            if (index_entry* const entry = find_entry(old.local_index); entry != nullptr && entry->keys == &old)
                by_index_.erase(entry);
        old.retired = true;
        release_if_unused(old);
    }

    /// `retire` as a function object, for `keypair_slots`.
    auto retiring() noexcept {
        return [this](keypair_type& old) noexcept { retire(old); };
    }
    /// Ends all sessions of a peer.
    void retire_all(peer_type& of) noexcept { of.keypairs.clear(retiring()); }

private:
    WG_OUTLINE void release_if_unused(keypair_type& keys) noexcept {
        if (keys.retired && keys.in_flight == 0) keypairs_.release(&keys);
    }

    struct by_key_entry {
        std::uint64_t hash_ = 0;
        peer_type* owner = nullptr;

        explicit operator bool() const noexcept { return owner != nullptr; }
        std::uint64_t hash() const noexcept { return hash_; }
    };

    index_entry* find_entry(std::uint32_t index) noexcept {
        return by_index_.find(index, [index](index_entry const& e) { return e.index == index; });
    }

    void drop_index(handshake& of) noexcept {
        if (of.local_index == 0) return;
        if constexpr (!linear) by_index_.erase(find_entry(of.local_index));
        of.local_index = 0;
    }

    void unlink(peer_type& gone) noexcept {
        allowed_.remove_all(gone);
        if constexpr (!linear) deadlines_.remove(gone);
        forget(gone.exchange());
        retire_all(gone);
        (gone.before != nullptr ? gone.before->next : first_) = gone.next;
        (gone.next != nullptr ? gone.next->before : last_) = gone.before;
        --size_;
        secrets_.release(std::exchange(gone.secrets, nullptr));
        gone.removed = true;
        if (gone.in_flight == 0) peers_.release(&gone);
        else ++shells_;
    }

    void remove_all() noexcept {
        while (first_ != nullptr) unlink(*first_);
    }

    static constexpr std::size_t table_size(std::size_t entries) noexcept {
        return entries == 0 ? 0 : std::bit_ceil(entries + 1);
    }

    /// The memory that tables grow from. It is a type, because a reference takes room even where no table grows.
    struct growth {
        std::uint64_t salt = 0;
        storage& from;

        explicit growth(storage& s) noexcept : from(s) {}
    };

    peer_type* first_ = nullptr;
    peer_type* last_ = nullptr;
    std::size_t size_ = 0;
    std::size_t shells_ = 0; ///< removed peers with jobs in flight; they take memory of the pool
    std::uint32_t next_number_ = 0;
    [[no_unique_address]] unless_linear<growth, 5> growth_;
    routes_type allowed_;
    typename storage::template pool<peer_type, max_peers> peers_;
    typename storage::template secret_pool<peer_secrets<Policies>, max_peers> secrets_;
    typename storage::template secret_pool<keypair_type, max_keypairs> keypairs_;
    [[no_unique_address]] unless_linear<flat_table<by_key_entry, storage, table_size(max_peers)>, 1> by_key_;
    [[no_unique_address]] unless_linear<flat_table<index_entry, storage, table_size(indices_per_peer* max_peers)>, 2>
        by_index_;
    [[no_unique_address]] unless_linear<deadline_queue<peer_type, storage>, 3> deadlines_;
};

}} // namespace wg::WG_ABI

#endif
