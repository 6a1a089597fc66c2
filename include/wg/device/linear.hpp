// SPDX-License-Identifier: BSL-1.0
// Linear search in place of tables, tries and heaps, for small fixed capacities. Folder: device; guarded by the
// device's lock.
//
// For a few entries a linear search is as fast. It takes less code, and memory for the entries only.
#ifndef WG_DEVICE_LINEAR_HPP
#define WG_DEVICE_LINEAR_HPP

#include "../base/endpoint.hpp"
#include "../base/time.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// Whether a capacity is small enough for a linear search. A capacity of 0 means that the
/// container grows, so it is not small.
constexpr bool is_linear(std::size_t capacity) noexcept { return capacity != 0 && capacity <= 16; }

/// The type of a member that a configuration does not need. With [[no_unique_address]] and a `Place` that is unique in
/// the object, it takes no room.
template <int Place> struct empty_member {
    empty_member() noexcept = default;
    /// Takes the constructor argument of the member that it replaces, and ignores it.
    template <class Storage> explicit empty_member(Storage&) noexcept {}
};

/// An array with its elements inside; models `array_of`.
template <class T, std::size_t Count> struct inline_array {
    /// Needs no storage.
    template <class Storage> explicit inline_array(Storage&) noexcept {}
    /// All elements.
    std::span<T, Count> view() noexcept { return elements; }
    /// Does nothing: the array always has `Count` elements.
    static constexpr bool resize(std::size_t) noexcept { return true; }

    std::array<T, Count> elements{}; ///< its memory
};
/// An `inline_array` if `Count` is small, else an array of the storage.
template <class Storage, class T, std::size_t Count>
using inline_or_array =
    std::conditional_t<is_linear(Count), inline_array<T, Count>, typename Storage::template array<T, Count>>;

/// Cryptokey routing (whitepaper 2) with a list of all prefixes. Has the members of `allowed_ips`.
template <class Owner, class Storage> class linear_allowed_ips {
public:
    /// Needs no storage.
    explicit linear_allowed_ips(Storage&) noexcept {}

    /// The owner of the longest prefix of the address at `address` (4 or 16 bytes); nullptr: none.
    Owner* find(family kind, byte const* address) const noexcept {
        Owner* best = nullptr;
        unsigned longest = 0; // length of the longest prefix so far in bits, plus one
        for (entry const& e : all()) {
            if (e.prefix.address.kind != kind || e.prefix.bits < longest || !covers(e.prefix, address)) continue;
            best = e.owner;
            longest = e.prefix.bits + 1u;
        }
        return best;
    }

    /// The owner of this prefix; nullptr: none.
    Owner* find_exact(ip_prefix const& prefix) const noexcept {
        for (entry const& e : all())
            if (e.prefix == prefix) return e.owner;
        return nullptr;
    }

    /// Gives the prefix to `owner`, and takes it from its present owner. Returns: false if there is no room.
    bool insert(ip_prefix const& prefix, Owner& owner) noexcept {
        entry* at = entries_.data();
        while (at != entries_.data() + size_ && at->prefix != prefix) ++at;
        if (at == entries_.data() + capacity) return false;
        if (at == entries_.data() + size_) {
            ++size_;
            at->prefix = prefix;
        }
        at->owner = &owner;
        return true;
    }
    /// Removes the prefix, if `owner` has it.
    void remove(ip_prefix const& prefix, Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner && e.prefix == prefix; });
    }
    /// Removes all prefixes of `owner`.
    void remove_all(Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner; });
    }

    /// Whether at most `most_v4` and `most_v6` prefixes fit.
    bool reserve(std::size_t, std::size_t most_v4, std::size_t, std::size_t most_v6) noexcept {
        return most_v4 <= Storage::max_allowed_ips && most_v6 <= Storage::max_allowed_ips;
    }
    /// The number of prefixes of a family.
    std::size_t size(family kind) const noexcept {
        return count_if([&](entry const& e) noexcept { return e.prefix.address.kind == kind; });
    }
    /// The number of an owner's prefixes of a family.
    std::size_t count(Owner const& owner, family kind) const noexcept {
        return count_if([&](entry const& e) noexcept { return e.owner == &owner && e.prefix.address.kind == kind; });
    }

    /// Calls `each(ip_prefix)` for all of an owner's prefixes, IPv4 first.
    template <class Each> void for_each(Owner const& owner, Each&& each) const {
        for (family const kind : {family::v4, family::v6})
            for (entry const& e : all())
                if (e.owner == &owner && e.prefix.address.kind == kind) each(e.prefix);
    }

private:
    struct entry {
        ip_prefix prefix{};
        Owner* owner = nullptr;
    };
    static constexpr std::size_t capacity = 2 * Storage::max_allowed_ips; // the limit is for each family

    static bool covers(ip_prefix const& prefix, byte const* address) noexcept {
        byte const* octets = prefix.address.octets.data();
        unsigned bits = prefix.bits;
        for (; bits >= 8; bits -= 8)
            if (*octets++ != *address++) return false;
        return bits == 0 || ((*octets ^ *address) & 0xffu) >> (8 - bits) == 0;
    }

    std::span<entry const> all() const noexcept { return {entries_.data(), size_}; }
    void erase(std::size_t at) noexcept { // keeps the order of the others
        for (--size_; at < size_; ++at) entries_[at] = entries_[at + 1];
    }
    template <class Which> void remove_if(Which const& which) noexcept {
        for (std::size_t i = size_; i-- > 0;)
            if (which(entries_[i])) erase(i);
    }
    template <class Which> std::size_t count_if(Which const& which) const noexcept {
        return static_cast<std::size_t>(std::count_if(all().begin(), all().end(), which));
    }

    std::size_t size_ = 0;
    std::array<entry, capacity> entries_{};
};

/// The peers by deadline, as a view of the list of all peers. Has the members of `deadline_queue`.
template <class Peer> class linear_deadlines {
public:
    /// `first` is the first peer of the list.
    explicit linear_deadlines(Peer* first) noexcept : first_(first) {}

    /// Does nothing: the deadlines are read from the peers.
    void schedule(Peer&, instant) noexcept {}

    /// The earliest deadline.
    instant next() const noexcept {
        instant earliest = instant::never();
        for (Peer* p = first_; p != nullptr; p = p->next) earliest = (std::min)(earliest, p->next_deadline());
        return earliest;
    }
    /// Calls `run(Peer&)` for each peer, also for those without a timer that is due.
    template <class Run> void run_due(instant_argument, Run const& run) const noexcept {
        for (Peer* p = first_; p != nullptr; p = p->next) run(*p);
    }

private:
    Peer* first_;
};

}} // namespace wg::WG_ABI

#endif
