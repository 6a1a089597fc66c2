// SPDX-License-Identifier: BSL-1.0
// A fixed number of objects inside the object that owns them: no heap. Layer 0; one thread at a time.
#ifndef WG_BASE_STATIC_POOL_HPP
#define WG_BASE_STATIC_POOL_HPP

#include "secret.hpp"

#include <memory>
#include <new>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// Memory of a pool's object while nobody has it: the link to the next free one.
union free_slot {
    free_slot* next;
};
template <class T> union pool_slot {
    free_slot free;
    alignas(T) byte memory[sizeof(T)];
};

/// Objects on a list of free slots. The pools of all storages share this; they differ in where slots come from.
class free_slots {
public:
    template <class T> void add(std::span<pool_slot<T>> const& fresh) noexcept {
        for (std::size_t i = fresh.size(); i-- > 0;) push(&fresh[i].free);
    }
    template <class T> T* take() noexcept {
        free_slot* const slot = first_;
        if (slot == nullptr) return nullptr;
        first_ = slot->next;
        return ::new (static_cast<void*>(slot)) T{};
    }
    /// Destroys and wipes: what held a key once holds nothing now, whatever the destructor forgot.
    template <class T> void put(T* object) noexcept {
        std::destroy_at(object);
        put(object, sizeof(pool_slot<T>));
    }
    /// Whether `count` of them are free.
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
    static_pool() noexcept { free_.add<T>(slots_); }
    static_pool(static_pool const&) = delete;
    static_pool& operator=(static_pool const&) = delete;

    T* acquire() noexcept { return free_.take<T>(); }
    void release(T* object) noexcept { free_.put(object); }
    bool reserve(std::size_t count) noexcept { return free_.has(count); }

private:
    free_slots free_;
    pool_slot<T> slots_[Capacity];
};

}} // namespace wg::WG_ABI

#endif
