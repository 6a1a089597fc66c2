// SPDX-License-Identifier: BSL-1.0
// A fixed number of objects inside the object that owns them: no heap. Layer 0; one thread at a time.
#ifndef WG_BASE_STATIC_POOL_HPP
#define WG_BASE_STATIC_POOL_HPP

#include "secret.hpp"

#include <memory>
#include <new>
#include <utility>

namespace wg::inline WG_ABI {

/// Memory of a pool's object while nobody has it: the link to the next free one.
template <class T> union pool_slot {
    pool_slot* next_free;
    alignas(T) byte memory[sizeof(T)];
};

/// Objects on a list of free slots. The pools of all storages share this; they differ in where slots come from.
template <class T> class free_slots {
public:
    void add(std::span<pool_slot<T>> slots) noexcept {
        for (std::size_t i = slots.size(); i-- > 0;) push(&slots[i]);
    }
    T* take() noexcept {
        if (first_ == nullptr) return nullptr;
        pool_slot<T>* const slot = first_;
        first_ = slot->next_free;
        --count_;
        return ::new (static_cast<void*>(slot->memory)) T{};
    }
    /// Destroys and wipes: what held a key once holds nothing now, whatever the destructor forgot.
    void put(T* object) noexcept {
        std::destroy_at(object);
        auto* const slot = reinterpret_cast<pool_slot<T>*>(object);
        wipe(slot->memory, sizeof slot->memory);
        push(slot);
    }
    std::size_t count() const noexcept { return count_; }

private:
    void push(pool_slot<T>* slot) noexcept {
        slot->next_free = first_;
        first_ = slot;
        ++count_;
    }

    pool_slot<T>* first_ = nullptr;
    std::size_t count_ = 0;
};

/// `Capacity` objects of T in place; models `pool_of` of policy.hpp.
template <class T, std::size_t Capacity> class static_pool {
public:
    static_pool() noexcept { free_.add(slots_); }
    static_pool(static_pool const&) = delete;
    static_pool& operator=(static_pool const&) = delete;

    T* acquire() noexcept { return free_.take(); }
    void release(T* object) noexcept { free_.put(object); }
    bool reserve(std::size_t count) noexcept { return free_.count() >= count; }

private:
    pool_slot<T> slots_[Capacity];
    free_slots<T> free_;
};

} // namespace wg::inline WG_ABI

#endif
