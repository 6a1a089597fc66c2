// SPDX-License-Identifier: BSL-1.0
// Cryptokey routing (whitepaper 2): finds the peer of an address by the longest prefix. Folder: device.
//
// One trie for each family, with compressed paths: a node is a prefix with an owner, or the fork of two paths.
// Threads: look-ups change nothing, and may run in parallel; a change runs alone.
#ifndef WG_DEVICE_ALLOWED_IPS_HPP
#define WG_DEVICE_ALLOWED_IPS_HPP

#include "../base/endpoint.hpp"

#include <algorithm>
#include <bit>
#include <compare>

namespace wg { inline namespace WG_ABI {

/// An IPv4 address as a number.
struct prefix_key_v4 {
    static constexpr unsigned width = 32; ///< bits
    std::uint32_t value = 0;              ///< the address

    /// Reads 4 bytes.
    static prefix_key_v4 load(byte const* from) noexcept { return {load_be32(from)}; }
    /// Writes 4 bytes.
    void store(byte* to) const noexcept { store_be32(to, value); }
    /// The bit at this place; the highest one has place 0.
    unsigned bit_at(unsigned at) const noexcept { return (value >> (31 - at)) & 1; }
    /// How many leading bits are the same.
    unsigned common_bits(prefix_key_v4 other) const noexcept {
        return static_cast<unsigned>(std::countl_zero(value ^ other.value));
    }
};

/// An IPv6 address as two numbers.
struct prefix_key_v6 {
    static constexpr unsigned width = 128; ///< bits
    std::uint64_t high = 0;                ///< the first 8 bytes
    std::uint64_t low = 0;                 ///< the last 8 bytes

    /// Reads 16 bytes.
    static prefix_key_v6 load(byte const* from) noexcept { return {load_be64(from), load_be64(from + 8)}; }
    /// Writes 16 bytes.
    void store(byte* to) const noexcept {
        store_be64(to, high);
        store_be64(to + 8, low);
    }
    /// The bit at this place; the highest one has place 0.
    unsigned bit_at(unsigned at) const noexcept {
        return static_cast<unsigned>((at < 64 ? high >> (63 - at) : low >> (127 - at)) & 1);
    }
    /// How many leading bits are the same.
    unsigned common_bits(prefix_key_v6 other) const noexcept {
        return static_cast<unsigned>(high != other.high ? std::countl_zero(high ^ other.high)
                                                        : 64 + std::countl_zero(low ^ other.low));
    }
};

/// A node of a trie: a prefix, or a fork.
template <class Key, class Owner> struct prefix_node {
    Key key{};                     ///< the first `bits` bits count
    std::uint8_t bits = 0;         ///< the prefix's length
    Owner* owner = nullptr;        ///< nullptr: a fork
    prefix_node* parent = nullptr; ///< nullptr: the root
    prefix_node* child[2] = {};    ///< by the bit after the prefix
    prefix_node* next = nullptr;   ///< in the owner's list
    prefix_node* before = nullptr; ///< in the owner's list
};

/// The prefixes of one owner, in the order in which they were added. An Owner has one list for each family.
template <class Key, class Owner> struct prefix_list {
    prefix_node<Key, Owner>* first = nullptr; ///< the oldest
    prefix_node<Key, Owner>* last = nullptr;  ///< the newest
    std::size_t count = 0;                    ///< prefixes

    /// Adds a node to the end.
    void add(prefix_node<Key, Owner>& node) noexcept {
        node.before = last;
        node.next = nullptr;
        (last != nullptr ? last->next : first) = &node;
        last = &node;
        ++count;
    }
    /// Removes a node of this list.
    void remove(prefix_node<Key, Owner>& node) noexcept {
        (node.before != nullptr ? node.before->next : first) = node.next;
        (node.next != nullptr ? node.next->before : last) = node.before;
        --count;
    }
};

/// The prefixes of one family. `List` is the member of Owner that lists its prefixes. `Pool` is a pool of nodes: it has
/// two for each prefix.
template <class Key, class Owner, class Pool, prefix_list<Key, Owner> Owner::*List> class prefix_trie {
    using node = prefix_node<Key, Owner>;

public:
    /// Nodes come from `storage`.
    template <class Storage> explicit prefix_trie(Storage& storage) noexcept : nodes_(storage) {}

    /// The number of prefixes.
    std::size_t size() const noexcept { return size_; }

    /// Whether `count` more prefixes can be inserted.
    bool reserve(std::size_t count) noexcept { return nodes_.reserve(2 * count); }

    /// The owner of the longest prefix of the address at `address`; nullptr: none.
    Owner* find(byte const* address) const noexcept {
        Key const key = Key::load(address);
        Owner* found = nullptr;
        for (node const* at = root_; at != nullptr && key.common_bits(at->key) >= at->bits;
             at = at->child[key.bit_at(at->bits)]) {
            if (at->owner != nullptr) found = at->owner;
            if (at->bits == Key::width) break;
        }
        return found;
    }

    /// The owner of this prefix; nullptr: none.
    Owner* find_exact(byte const* address, unsigned bits) const noexcept {
        node const* const at = exact(Key::load(address), bits);
        return at != nullptr ? at->owner : nullptr;
    }

    /// Gives the prefix to `owner`, and takes it from its present owner.
    /// Returns: false, and changes nothing, if there is no memory; see `reserve`.
    bool insert(byte const* address, unsigned bits, Owner& owner) noexcept {
        Key const key = Key::load(address);
        node* parent = nullptr;
        node** link = &root_;
        while (*link != nullptr && (*link)->bits < bits && key.common_bits((*link)->key) >= (*link)->bits) {
            parent = *link;
            link = &parent->child[key.bit_at(parent->bits)];
        }
        node* const below = *link;
        unsigned const common =
            below == nullptr ? bits : (std::min)({key.common_bits(below->key), bits, unsigned{below->bits}});
        if (below != nullptr && below->bits == bits && common == bits) {
            give(*below, owner);
            return true;
        }
        if (!nodes_.reserve(2)) return false;
        node& fresh = make(key, bits);
        give(fresh, owner);
        if (below == nullptr) {
            attach(link, parent, fresh);
        } else if (common == bits) {
            attach(link, parent, fresh);
            attach(&fresh.child[below->key.bit_at(bits)], &fresh, *below);
        } else {
            node& fork = make(key, common);
            attach(link, parent, fork);
            attach(&fork.child[key.bit_at(common)], &fork, fresh);
            attach(&fork.child[below->key.bit_at(common)], &fork, *below);
        }
        return true;
    }

    /// Removes the prefix, if `owner` has it.
    void remove(byte const* address, unsigned bits, Owner& owner) noexcept {
        node* const at = exact(Key::load(address), bits);
        if (at != nullptr && at->owner == &owner) remove(*at);
    }

    /// Removes all prefixes of `owner`.
    void remove_all(Owner& owner) noexcept {
        while ((owner.*List).first != nullptr) remove(*(owner.*List).first);
    }

private:
    node* exact(Key key, unsigned bits) const noexcept {
        node* at = root_;
        while (at != nullptr && at->bits < bits && key.common_bits(at->key) >= at->bits)
            at = at->child[key.bit_at(at->bits)];
        return at != nullptr && at->bits == bits && key.common_bits(at->key) >= bits ? at : nullptr;
    }

    node& make(Key key, unsigned bits) noexcept {
        node& fresh = *nodes_.acquire();
        fresh.key = key;
        fresh.bits = static_cast<std::uint8_t>(bits);
        return fresh;
    }

    static void attach(node** link, node* parent, node& child) noexcept {
        *link = &child;
        child.parent = parent;
    }

    void give(node& to, Owner& owner) noexcept {
        if (to.owner == &owner) return;
        if (to.owner != nullptr) (to.owner->*List).remove(to);
        else ++size_;
        to.owner = &owner;
        (owner.*List).add(to);
    }

    void remove(node& at) noexcept {
        (at.owner->*List).remove(at);
        at.owner = nullptr;
        --size_;
        node* const parent = at.parent;
        if (splice(at) && parent != nullptr && parent->owner == nullptr) splice(*parent); // a fork with one child
    }

    /// Removes a node without an owner from the trie. Returns: false, and changes nothing, if it has two children.
    bool splice(node& at) noexcept {
        if (at.child[0] != nullptr && at.child[1] != nullptr) return false;
        node* const child = at.child[0] != nullptr ? at.child[0] : at.child[1];
        node** const link = at.parent == nullptr ? &root_ : &at.parent->child[at.parent->child[1] == &at];
        *link = child;
        if (child != nullptr) child->parent = at.parent;
        nodes_.release(&at);
        return true;
    }

    Pool nodes_;
    node* root_ = nullptr;
    std::size_t size_ = 0;
};

/// The prefixes of both families. An Owner has two members that list its prefixes: `allowed_v4` and `allowed_v6`.
template <class Owner, class Storage> class allowed_ips {
    static constexpr std::size_t max_nodes = 2 * Storage::max_allowed_ips;
    template <class Key> using pool = typename Storage::template pool<prefix_node<Key, Owner>, max_nodes>;

public:
    /// Nodes come from `storage`.
    explicit allowed_ips(Storage& storage) noexcept : v4_(storage), v6_(storage) {}

    /// The owner of the longest prefix of the address at `address` (4 or 16 bytes); nullptr: none.
    Owner* find(family kind, byte const* address) const noexcept {
        return kind == family::v4 ? v4_.find(address) : v6_.find(address);
    }

    /// The owner of this prefix; nullptr: none.
    Owner* find_exact(ip_prefix const& prefix) const noexcept {
        byte const* const address = prefix.address.octets.data();
        return prefix.address.kind == family::v4 ? v4_.find_exact(address, prefix.bits)
                                                 : v6_.find_exact(address, prefix.bits);
    }
    /// Gives the prefix to `owner`, and takes it from its present owner.
    /// Returns: false, and changes nothing, if there is no memory; see `reserve`.
    bool insert(ip_prefix const& prefix, Owner& owner) noexcept {
        byte const* const address = prefix.address.octets.data();
        return prefix.address.kind == family::v4 ? v4_.insert(address, prefix.bits, owner)
                                                 : v6_.insert(address, prefix.bits, owner);
    }
    /// Removes the prefix, if `owner` has it.
    void remove(ip_prefix const& prefix, Owner& owner) noexcept {
        byte const* const address = prefix.address.octets.data();
        if (prefix.address.kind == family::v4) v4_.remove(address, prefix.bits, owner);
        else v6_.remove(address, prefix.bits, owner);
    }
    /// Removes all prefixes of `owner`.
    void remove_all(Owner& owner) noexcept {
        v4_.remove_all(owner);
        v6_.remove_all(owner);
    }

    /// Takes memory to add `added_*` prefixes of each family, which then has at most `most_*` prefixes at any time.
    /// Returns: false if there is no memory, or if the capacity is too small.
    bool reserve(std::size_t added_v4, std::size_t most_v4, std::size_t added_v6, std::size_t most_v6) noexcept {
        if constexpr (Storage::max_allowed_ips != 0)
            return most_v4 <= Storage::max_allowed_ips && most_v6 <= Storage::max_allowed_ips;
        return v4_.reserve(added_v4) && v6_.reserve(added_v6);
    }
    /// The number of prefixes of a family.
    std::size_t size(family kind) const noexcept { return kind == family::v4 ? v4_.size() : v6_.size(); }
    /// The number of an owner's prefixes of a family.
    std::size_t count(Owner const& owner, family kind) const noexcept {
        return kind == family::v4 ? owner.allowed_v4.count : owner.allowed_v6.count;
    }

    /// Calls `each(ip_prefix)` for each prefix of an owner.
    template <class Each> static void for_each(Owner const& owner, Each&& each) {
        visit(owner.allowed_v4, family::v4, each);
        visit(owner.allowed_v6, family::v6, each);
    }

private:
    template <class Key, class Each> static void visit(prefix_list<Key, Owner> const& list, family kind, Each& each) {
        for (prefix_node<Key, Owner> const* at = list.first; at != nullptr; at = at->next) {
            ip_address address{{}, kind};
            at->key.store(address.octets.data());
            each(ip_prefix::of(address, at->bits));
        }
    }

    prefix_trie<prefix_key_v4, Owner, pool<prefix_key_v4>, &Owner::allowed_v4> v4_;
    prefix_trie<prefix_key_v6, Owner, pool<prefix_key_v6>, &Owner::allowed_v6> v6_;
};

}} // namespace wg::WG_ABI

#endif
