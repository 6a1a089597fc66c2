// SPDX-License-Identifier: BSL-1.0
// What a device of few peers has in place of tables, tries and heaps: it looks at each. Layer 4; guarded by the
// device's lock.
//
// For a handful of peers that is as fast, takes less code than one of those, and no memory but the entries themselves.
#ifndef WG_DEVICE_LINEAR_HPP
#define WG_DEVICE_LINEAR_HPP

#include "../base/endpoint.hpp"
#include "../base/time.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// Whether a fixed capacity is so small that all of it is looked at.
constexpr bool is_linear(std::size_t capacity) noexcept { return capacity != 0 && capacity <= 16; }

/// Stands where a device of few peers has nothing. `Place` makes several of them in one object take no room.
template <int Place> struct empty_member {
    empty_member() noexcept = default;
    template <class Storage> explicit empty_member(Storage&) noexcept {}
};

/// An array of the storage's, or where it is short, one in place that is there from the start.
template <class T, std::size_t Count> struct inline_array {
    template <class Storage> explicit inline_array(Storage&) noexcept {}
    std::span<T, Count> view() noexcept { return elements; }
    static constexpr bool resize(std::size_t) noexcept { return true; }

    std::array<T, Count> elements{};
};
template <class Storage, class T, std::size_t Count>
using inline_or_array =
    std::conditional_t<is_linear(Count), inline_array<T, Count>, typename Storage::template array<T, Count>>;

/// Cryptokey routing (whitepaper 2) by a list of all prefixes; the members of `allowed_ips`.
template <class Owner, class Storage> class linear_allowed_ips {
public:
    explicit linear_allowed_ips(Storage&) noexcept {}

    /// Who has the longest prefix of the address at `address`; nullptr: nobody.
    Owner* find(family kind, byte const* address) const noexcept {
        Owner* best = nullptr;
        unsigned longest = 0; // bits, and one
        for (entry const& e : all()) {
            if (e.prefix.address.kind != kind || e.prefix.bits < longest || !covers(e.prefix, address)) continue;
            best = e.owner;
            longest = e.prefix.bits + 1u;
        }
        return best;
    }

    Owner* find_exact(ip_prefix const& prefix) const noexcept {
        for (entry const& e : all())
            if (e.prefix == prefix) return e.owner;
        return nullptr;
    }

    /// Gives the prefix to `owner`, taking it from whoever has it. False: no room.
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
    void remove(ip_prefix const& prefix, Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner && e.prefix == prefix; });
    }
    void remove_all(Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner; });
    }

    bool reserve(std::size_t, std::size_t most_v4, std::size_t, std::size_t most_v6) noexcept {
        return most_v4 <= Storage::max_allowed_ips && most_v6 <= Storage::max_allowed_ips;
    }
    std::size_t size(family kind) const noexcept {
        return count_if([&](entry const& e) noexcept { return e.prefix.address.kind == kind; });
    }
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
    static constexpr std::size_t capacity = 2 * Storage::max_allowed_ips; // so many of each family

    static bool covers(ip_prefix const& prefix, byte const* address) noexcept {
        byte const* octets = prefix.address.octets.data();
        unsigned bits = prefix.bits;
        for (; bits >= 8; bits -= 8)
            if (*octets++ != *address++) return false;
        return bits == 0 || ((*octets ^ *address) & 0xffu) >> (8 - bits) == 0;
    }

    std::span<entry const> all() const noexcept { return {entries_.data(), size_}; }
    void erase(std::size_t at) noexcept { // the others keep their order
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

/// Which peer's timer is due: the members of `deadline_queue`, over the list of all peers.
template <class Peer> class linear_deadlines {
public:
    explicit linear_deadlines(Peer* first) noexcept : first_(first) {}

    void schedule(Peer&, instant) noexcept {} // nothing is remembered that the peer does not know

    instant next() const noexcept {
        instant earliest = instant::never();
        for (Peer* p = first_; p != nullptr; p = p->next) earliest = (std::min)(earliest, p->timers.next_deadline());
        return earliest;
    }
    /// Calls `run(Peer&)` for each peer; those of whose timers none is due find that out for themselves.
    template <class Run> void run_due(instant_argument, Run const& run) const noexcept {
        for (Peer* p = first_; p != nullptr; p = p->next) run(*p);
    }

private:
    Peer* first_;
};

}} // namespace wg::WG_ABI

#endif
