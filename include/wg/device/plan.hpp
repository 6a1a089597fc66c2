// SPDX-License-Identifier: BSL-1.0
// Plans a configuration before any of it is applied: which peers it adds, and how many peers and prefixes there are at
// most while its changes are applied one after the other. Folder: device; guarded by the device's lock.
//
// Where a capacity is fixed, peers and prefixes are counted by value: a list that fits is accepted, however often it
// names one of them. Where memory grows, peers are counted by value too, but a prefix that is named twice takes memory
// twice.
#ifndef WG_DEVICE_PLAN_HPP
#define WG_DEVICE_PLAN_HPP

#include "../base/config.hpp"
#include "../base/flat_table.hpp"
#include "linear.hpp"

namespace wg { inline namespace WG_ABI {

/// The types that `settings` plans a configuration with.
namespace plan {

/// Counts peers or prefixes while a configuration is planned step by step.
struct tally {
    std::size_t now;        ///< after this step
    std::size_t most = now; ///< after any step
    std::size_t added = 0;  ///< in all steps

    /// Counts one added peer or prefix.
    void add() noexcept {
        ++added;
        most = (std::max)(most, ++now);
    }
    /// Counts `count` removed peers or prefixes.
    void drop(std::size_t count) noexcept { now -= (std::min)(now, count); }
};

// The keys of peers that a configuration has added so far. A key is stored as a pointer to its first mention in the
// list of changes.

/// At most `Most` keys, searched one by one.
template <std::size_t Most> class linear_keys {
public:
    static constexpr bool exact = true; ///< `find` finds every key

    /// The place of the key; nullptr: not added.
    byte const* find(std::uint64_t, key_view key) noexcept {
        for (std::size_t i = 0; i < count_; ++i)
            if (std::memcmp(keys_[i], key.data(), key_bytes) == 0) return keys_[i];
        return nullptr;
    }
    /// Adds a key. Returns: false if there is no room.
    bool add(std::uint64_t, key_view key) noexcept {
        if (count_ == Most) return false;
        keys_[count_++] = key.data();
        return true;
    }
    /// Removes a key, if it was added.
    void remove(std::uint64_t, key_view key) noexcept {
        byte const* const at = find(0, key);
        for (std::size_t i = 0; i < count_; ++i)
            if (keys_[i] == at) keys_[i--] = keys_[--count_];
    }

private:
    std::size_t count_ = 0;
    std::array<byte const*, Most> keys_{};
};

/// Keys in a table of `Most` entries; 0: a table that grows.
template <class Storage, std::size_t Most> class hashed_keys {
public:
    static constexpr bool exact = true; ///< `find` finds every key

    /// The table's memory comes from `from`.
    explicit hashed_keys(Storage& from) noexcept : from_(from), table_(from) {}

    /// The place of the key with this hash; nullptr: not added.
    byte const* find(std::uint64_t hash, key_view key) noexcept {
        entry const* const at = look(hash, key);
        return at != nullptr ? at->key : nullptr;
    }
    /// Adds a key. Returns: false if there is no memory.
    bool add(std::uint64_t hash, key_view key) noexcept {
        return table_.reserve(1, from_) && table_.insert({hash, key.data()});
    }
    /// Removes a key, if it was added.
    void remove(std::uint64_t hash, key_view key) noexcept { table_.erase(look(hash, key)); }

private:
    struct entry {
        std::uint64_t hash_ = 0;
        byte const* key = nullptr;

        explicit operator bool() const noexcept { return key != nullptr; }
        std::uint64_t hash() const noexcept { return hash_; }
    };
    entry* look(std::uint64_t hash, key_view key) noexcept {
        return table_.find(hash, [&](entry const& e) noexcept {
            return e.hash_ == hash && std::memcmp(e.key, key.data(), key_bytes) == 0;
        });
    }

    Storage& from_;
    flat_table<entry, Storage, Most == 0 ? 0 : std::bit_ceil(2 * Most + 2)> table_;
};

/// Stores no key: each mention of a key counts as another peer.
struct no_keys {
    static constexpr bool exact = false; ///< `find` finds no key
    /// Finds nothing.
    static byte const* find(std::uint64_t, key_view) noexcept { return nullptr; }
    /// Does nothing.
    static bool add(std::uint64_t, key_view) noexcept { return true; }
    /// Does nothing.
    static void remove(std::uint64_t, key_view) noexcept {}
};

// Prefixes. An owner is the place of its key: in its peer, or in the list of changes that adds it.

/// All prefixes, by value. `Prefixes` has the members of `linear_allowed_ips`.
template <class Prefixes, std::size_t Most> class counted_prefixes {
public:
    /// Memory comes from `from`.
    template <class Storage> explicit counted_prefixes(Storage& from) noexcept : all_(from) {}

    /// Starts with the prefixes of the list of peers that begins with `first`.
    template <class Allowed, class Peer> void begin(Allowed const& allowed, Peer const* first) noexcept {
        for (Peer const* p = first; p != nullptr; p = p->next)
            allowed.for_each(*p, [&](ip_prefix const& prefix) { (void)all_.insert(prefix, *p->key().data()); });
        for (family const kind : {family::v4, family::v6}) most_[kind == family::v6] = all_.size(kind);
    }
    /// Gives a prefix to an owner. Returns: false if there are more prefixes than the capacity.
    template <class Allowed, class Peer>
    bool insert(Allowed const&, ip_prefix const& prefix, byte const& owner, Peer const*) noexcept {
        family const kind = prefix.address.kind;
        bool const taken = all_.insert(prefix, owner);
        std::size_t& most = most_[kind == family::v6];
        most = (std::max)(most, all_.size(kind));
        return taken && most <= Most;
    }
    /// Removes the prefix, if `owner` has it.
    void remove(ip_prefix const& prefix, byte const& owner) noexcept { all_.remove(prefix, owner); }
    /// Removes all prefixes of `owner`. Returns: false, because no peer was marked.
    template <class Allowed, class Peer> bool remove_all(Allowed const&, byte const& owner, Peer*) noexcept {
        all_.remove_all(owner);
        return false;
    }
    /// The most prefixes of a family after any step.
    std::size_t most(family kind) const noexcept { return most_[kind == family::v6]; }
    /// 0, because memory does not grow.
    std::size_t added(family) const noexcept { return 0; }

private:
    Prefixes all_;
    std::size_t most_[2] = {};
};

/// An upper bound of the number of prefixes.
class bounded_prefixes {
public:
    /// Needs no memory.
    template <class Storage> explicit bounded_prefixes(Storage&) noexcept {}

    /// Starts with the present prefixes, or with none if `first` is nullptr.
    template <class Allowed, class Peer> void begin(Allowed const& allowed, Peer const* first) noexcept {
        if (first == nullptr) return;
        for (family const kind : {family::v4, family::v6}) of(kind) = tally{allowed.size(kind)};
    }
    /// Counts a prefix, unless the peer `known` has it already.
    template <class Allowed, class Peer>
    bool insert(Allowed const& allowed, ip_prefix const& prefix, byte const&, Peer const* known) noexcept {
        bool const keeps = known != nullptr && !known->prefixes_counted_as_removed;
        if (!keeps || allowed.find_exact(prefix) != known) of(prefix.address.kind).add();
        return true;
    }
    /// Does nothing: the bound stays.
    void remove(ip_prefix const&, byte const&) noexcept {}
    /// Counts the prefixes of the peer `known` as removed. Returns: whether the peer was marked, so that the caller
    /// removes the mark later.
    template <class Allowed, class Peer> bool remove_all(Allowed const& allowed, byte const&, Peer* known) noexcept {
        if (known == nullptr || std::exchange(known->prefixes_counted_as_removed, true)) return false;
        for (family const kind : {family::v4, family::v6}) of(kind).drop(allowed.count(*known, kind));
        return true;
    }
    /// The most prefixes of a family after any step.
    std::size_t most(family kind) noexcept { return of(kind).most; }
    /// The added prefixes of a family.
    std::size_t added(family kind) noexcept { return of(kind).added; }

private:
    tally& of(family kind) noexcept { return kind == family::v4 ? v4_ : v6_; }

    tally v4_{0}, v6_{0};
};

/// Prefixes by value in a table of fixed size, for capacities that are too large for a linear search.
template <class Storage, std::size_t Most> class prefix_table {
public:
    /// Memory comes from `from`.
    explicit prefix_table(Storage& from) noexcept : table_(from) {}

    /// Gives a prefix to an owner. Returns: false if there is no room.
    bool insert(ip_prefix const& prefix, byte const& owner) noexcept {
        if (entry* const at = look(prefix)) {
            at->owner = &owner;
            return true;
        }
        if (!table_.insert({prefix, &owner})) return false;
        ++size_[prefix.address.kind == family::v6];
        return true;
    }
    /// Removes the prefix, if `owner` has it.
    void remove(ip_prefix const& prefix, byte const& owner) noexcept {
        if (entry* const at = look(prefix); at != nullptr && at->owner == &owner) erase(at);
    }
    /// Removes all prefixes of `owner`.
    void remove_all(byte const& owner) noexcept {
        table_.erase_if([&](entry const& e) noexcept {
            if (e.owner != &owner) return false;
            --size_[e.prefix.address.kind == family::v6];
            return true;
        });
    }
    /// The number of prefixes of a family.
    std::size_t size(family kind) const noexcept { return size_[kind == family::v6]; }

private:
    struct entry {
        ip_prefix prefix{};
        byte const* owner = nullptr;

        explicit operator bool() const noexcept { return owner != nullptr; }
        std::uint64_t hash() const noexcept { return hash_of(prefix); }
    };
    static std::uint64_t hash_of(ip_prefix const& p) noexcept {
        std::uint64_t const low = load_le64(p.address.octets.data()), high = load_le64(&p.address.octets[8]);
        std::uint64_t const mixed = (low * 0x9e3779b97f4a7c15u) ^ ((high + p.bits) * 0xc2b2ae3d27d4eb4fu);
        return (mixed ^ mixed >> 29) * 0x9e3779b97f4a7c15u >> 20;
    }
    entry* look(ip_prefix const& prefix) noexcept {
        return table_.find(hash_of(prefix), [&](entry const& e) noexcept { return e.prefix == prefix; });
    }
    void erase(entry* at) noexcept {
        --size_[at->prefix.address.kind == family::v6];
        table_.erase(at);
    }

    flat_table<entry, Storage, std::bit_ceil(4 * Most + 2)> table_;
    std::size_t size_[2] = {};
};

} // namespace plan

}} // namespace wg::WG_ABI

#endif
