// SPDX-License-Identifier: BSL-1.0
// A hash table in one array: open addressing, linear probing, no tombstones. Folder: base. One thread at a time.
#ifndef WG_BASE_FLAT_TABLE_HPP
#define WG_BASE_FLAT_TABLE_HPP

#include "bytes.hpp"

#include <bit>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// `Entry` has `hash()` and an `explicit operator bool` that is false for an empty slot. `Capacity` slots, a power of
/// two; one slot stays empty. With `Capacity` 0 the table grows, and at most half of the slots are used. `Storage`
/// models `storage` of policy.hpp.
template <class Entry, class Storage, std::size_t Capacity> class flat_table {
    using array = typename Storage::template array<Entry, Capacity>;
    static_assert((Capacity & (Capacity - 1)) == 0);

public:
    /// An empty table. A table of fixed capacity takes its memory from `storage` now.
    explicit flat_table(Storage& storage) noexcept : entries_(storage) {
        if constexpr (Capacity != 0) (void)entries_.resize(Capacity);
    }

    /// Makes room for `count` more entries. Returns: false, and changes nothing, if there is no memory or the capacity
    /// is used up.
    bool reserve(std::size_t count, Storage& storage) noexcept {
        std::size_t const want = used_ + count;
        if constexpr (Capacity != 0) return want < Capacity;
        if (want * 2 <= entries_.view().size()) return true;
        array larger(storage);
        if (!larger.resize(std::bit_ceil(want * 2 < 16 ? std::size_t{16} : want * 2))) return false;
        std::span<Entry> const to = larger.view();
        for (Entry const& entry : entries_.view()) {
            if (!entry) continue;
            std::size_t at = static_cast<std::size_t>(entry.hash()) & (to.size() - 1);
            while (to[at]) at = (at + 1) & (to.size() - 1);
            to[at] = entry;
        }
        entries_ = std::move(larger);
        return true;
    }

    /// The first entry with this hash that `matches`, or nullptr.
    template <class Predicate> Entry* find(std::uint64_t hash, Predicate&& matches) noexcept {
        std::span<Entry> const all = entries_.view();
        if (all.empty()) return nullptr;
        for (std::size_t at = converted<std::size_t>(hash) & (all.size() - 1); all[at];
             at = (at + 1) & (all.size() - 1))
            if (matches(all[at])) return &all[at];
        return nullptr;
    }

    /// Adds an entry that is not in the table. Returns: false if there is no room, which `reserve` makes.
    bool insert(Entry const& entry) noexcept {
        std::span<Entry> const all = entries_.view();
        if (used_ + 1 >= all.size()) return false;
        std::size_t at = static_cast<std::size_t>(entry.hash()) & (all.size() - 1);
        while (all[at]) at = (at + 1) & (all.size() - 1);
        all[at] = entry;
        ++used_;
        return true;
    }

    /// Removes an entry that `find` returned; entries may move.
    void erase(Entry* entry) noexcept {
        std::span<Entry> const all = entries_.view();
        std::size_t const mask = all.size() - 1;
        std::size_t hole = static_cast<std::size_t>(entry - all.data());
        // Entries that a collision moved behind the hole move into it, so that no search ends too early.
        for (std::size_t at = (hole + 1) & mask; all[at]; at = (at + 1) & mask) {
            std::size_t const home = static_cast<std::size_t>(all[at].hash()) & mask;
            if (((at - home) & mask) < ((at - hole) & mask)) continue;
            all[hole] = all[at];
            hole = at;
        }
        all[hole] = Entry{};
        --used_;
    }

    /// Removes all entries for which `matches` is true. `matches` may be called twice for an entry.
    template <class Predicate> void erase_if(Predicate&& matches) noexcept {
        for (Entry& entry : entries_.view())
            while (entry && matches(entry))
                erase(&entry); // an entry that moves here comes from behind, or was checked before
    }

    /// The number of entries.
    std::size_t size() const noexcept { return used_; }

private:
    array entries_;
    std::size_t used_ = 0;
};

}} // namespace wg::WG_ABI

#endif
