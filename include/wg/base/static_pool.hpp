// SPDX-License-Identifier: BSL-1.0
// A fixed number of objects inside the object that owns them: no heap. Folder: base. One thread at a time.
#ifndef WG_BASE_STATIC_POOL_HPP
#define WG_BASE_STATIC_POOL_HPP

#include "secret.hpp"

#include <new>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// The memory of a free slot: the link to the next free slot.
union free_slot {
    free_slot* next; ///< nullptr: this slot is the last
};
/// A slot: free, or the memory of an object.
template <class T> union pool_slot {
    free_slot free;                    ///< of a free slot
    alignas(T) byte memory[sizeof(T)]; ///< of a slot in use: the object
};

/// A list of free slots. The pools of all storages use it; they differ in where slots come from.
class free_slots {
public:
    /// Adds free slots.
    template <class T> void add(std::span<pool_slot<T>> const& fresh) noexcept {
        for (std::size_t i = fresh.size(); i-- > 0;) push(&fresh[i].free);
    }
    /// A new object in a free slot. Returns: nullptr if there is none.
    template <class T> T* take() noexcept {
        free_slot* const slot = first_;
        if (slot == nullptr) return nullptr;
        first_ = slot->next;
        return ::new (static_cast<void*>(slot)) T{};
    }
    /// Destroys an object, and wipes all of its memory, so that no key is left there.
    template <class T> void put(T* object) noexcept {
        object->~T();
        put(object, sizeof(pool_slot<T>));
    }
    /// Whether `count` slots are free.
    bool has(std::size_t count) const noexcept {
        free_slot const* at = first_;
        for (; count != 0 && at != nullptr; --count) at = at->next;
        return count == 0;
    }

private:
    void put(void* memory, std::size_t size) noexcept {
        wipe(memory, size);
        push(static_cast<free_slot*>(memory));
    }
    void push(free_slot* slot) noexcept {
        slot->next = first_;
        first_ = slot;
    }

    free_slot* first_ = nullptr;
};

/// `Capacity` objects of T in place; models `pool_of` of policy.hpp.
template <class T, std::size_t Capacity> class static_pool {
public:
    /// All slots are free.
    static_pool() noexcept { free_.add<T>(slots_); }
    static_pool(static_pool const&) = delete;
    static_pool& operator=(static_pool const&) = delete;

    /// A new object. Returns: nullptr if the capacity is used up.
    T* acquire() noexcept { return free_.take<T>(); }
    /// Destroys and wipes an object of this pool.
    void release(T* object) noexcept { free_.put(object); }
    /// Whether `count` more objects can be acquired.
    bool reserve(std::size_t count) noexcept { return free_.has(count); }

private:
    free_slots free_;
    pool_slot<T> slots_[Capacity];
};

}} // namespace wg::WG_ABI

#endif
