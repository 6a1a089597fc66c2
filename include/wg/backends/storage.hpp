// SPDX-License-Identifier: BSL-1.0
// Where a device's memory comes from: a fixed amount inside the device, or a heap that grows. Layer 2; used by
// the device under its lock.
#ifndef WG_BACKENDS_STORAGE_HPP
#define WG_BACKENDS_STORAGE_HPP

#include "../base/static_pool.hpp"
#include "../policy.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace wg { inline namespace WG_ABI {

/// Capacities of a node on a microcontroller: one peer, no heap.
struct small_capacity {
    static constexpr std::size_t max_peers = 1;
    static constexpr std::size_t max_allowed_ips = 4;
    static constexpr std::size_t max_staged_packets = 1;
    static constexpr std::size_t max_staged_packets_per_peer = 1;
    static constexpr std::size_t max_queued_handshakes = 2;
    static constexpr std::size_t max_limited_sources = 8;
    static constexpr std::size_t replay_bits = 128;
    static constexpr std::size_t batch = 1;
    static constexpr std::size_t max_mtu_bytes = default_mtu_bytes;
};

/// Capacities of a host: peers and allowed IPs grow with the configuration, packets and handshakes are capped.
struct host_capacity {
    static constexpr std::size_t max_peers = 0;
    static constexpr std::size_t max_allowed_ips = 0;
    static constexpr std::size_t max_staged_packets = 2048; ///< of 2 KiB
    static constexpr std::size_t max_staged_packets_per_peer = 128;
    static constexpr std::size_t max_queued_handshakes = 4096;
    static constexpr std::size_t max_limited_sources = 8192;
    static constexpr std::size_t replay_bits = 8192;
    static constexpr std::size_t batch = 180; ///< four frames of 64 KiB in segments of the usual MTU
    static constexpr std::size_t max_mtu_bytes = 0;
};

/// All memory inside the device: `sizeof(device)` is what it takes, and the device is the region that holds secrets.
template <class Capacity = small_capacity> struct static_storage : Capacity {
    template <class T, std::size_t Count> struct pool : static_pool<T, Count> {
        explicit pool(static_storage&) noexcept {}
    };
    template <class T, std::size_t Count> using secret_pool = pool<T, Count>;

    template <class T, std::size_t Count> class array {
        static_assert(Count != 0, "this storage does not grow: every capacity has to be named");

    public:
        explicit array(static_storage&) noexcept {}
        bool resize(std::size_t count) noexcept {
            if (count > Count) return false;
            std::fill_n(elements_, count, T{});
            size_ = count;
            return true;
        }
        std::span<T> view() noexcept { return {elements_, size_}; }

    private:
        std::size_t size_ = 0;
        T elements_[Count]{};
    };
};

/// Blocks from the heap, wiped and given back all at once. A region is what `growing_storage` puts secrets into; one
/// that is locked and kept out of dumps comes from the operating system.
class heap_region {
public:
    heap_region() noexcept = default;
    heap_region(heap_region&& other) noexcept : last_(std::exchange(other.last_, nullptr)) {}
    heap_region& operator=(heap_region&&) = delete;
    ~heap_region() {
        while (last_ != nullptr) {
            block* const dying = std::exchange(last_, last_->before);
            wipe(dying, dying->size_bytes);
            ::operator delete(dying, std::align_val_t{64});
        }
    }

    /// Zeroed memory that lives as long as the region, aligned to 64 bytes; nullptr: no memory.
    void* allocate(std::size_t size_bytes) noexcept {
        std::size_t const whole = (size_bytes + sizeof(block) + 63) / 64 * 64;
        void* const memory = ::operator new(whole, std::align_val_t{64}, std::nothrow); // C's is not everywhere
        if (memory == nullptr) return nullptr;
        std::memset(memory, 0, whole);
        last_ = ::new (memory) block{last_, whole};
        return last_ + 1;
    }

private:
    struct alignas(64) block {
        block* before;
        std::size_t size_bytes;
    };
    block* last_ = nullptr;
};

/// Memory that grows in slabs and is used again, never given back before the device dies.
/// `Region` has `void* allocate(size_bytes)`: zeroed, aligned to 64 bytes, nullptr when there is none.
template <class Region = heap_region, class Capacity = host_capacity> class growing_storage : public Capacity {
    template <class T, std::size_t Limit, class From> class slab_pool {
    public:
        explicit slab_pool(From& region) noexcept : region_(region) {}
        slab_pool(slab_pool const&) = delete;
        slab_pool& operator=(slab_pool const&) = delete;

        T* acquire() noexcept {
            if (!reserve(1)) return nullptr;
            --free_count_;
            return free_.template take<T>();
        }
        void release(T* object) noexcept {
            ++free_count_;
            free_.put(object);
        }
        bool reserve(std::size_t count) noexcept {
            while (free_count_ < count) {
                std::size_t add = std::clamp<std::size_t>(made_, 1, slab_count);
                if (Limit != 0) add = (std::min)(add, Limit - made_);
                if (add == 0) return false;
                auto* const slab = static_cast<pool_slot<T>*>(region_.allocate(add * sizeof(pool_slot<T>)));
                if (slab == nullptr) return false;
                std::span<pool_slot<T>> const fresh(slab, add);
                free_.template add<T>(fresh);
                free_count_ += add;
                made_ += add;
            }
            return true;
        }

    private:
        static constexpr std::size_t slab_count = (std::max<std::size_t>)(1, 16384 / sizeof(pool_slot<T>));
        From& region_;
        free_slots free_;
        std::size_t free_count_ = 0;
        std::size_t made_ = 0;
    };

public:
    template <class T, std::size_t Limit> struct pool : slab_pool<T, Limit, heap_region> {
        explicit pool(growing_storage& storage) noexcept : slab_pool<T, Limit, heap_region>(storage.plain_) {}
    };
    template <class T, std::size_t Limit> struct secret_pool : slab_pool<T, Limit, Region> {
        explicit secret_pool(growing_storage& storage) noexcept : slab_pool<T, Limit, Region>(storage.secrets_) {}
    };

    template <class T, std::size_t Limit> class array {
    public:
        explicit array(growing_storage&) noexcept {}
        array(array&& other) noexcept : elements_(std::exchange(other.elements_, {})) {}
        array& operator=(array&& other) noexcept {
            std::swap(elements_, other.elements_);
            return *this;
        }
        ~array() {
            std::destroy(elements_.begin(), elements_.end());
            std::free(elements_.data());
        }
        bool resize(std::size_t count) noexcept {
            if (Limit != 0 && count > Limit) return false;
            // Buffers of packets are large and mostly unused; a page that is not written to takes no memory.
            constexpr bool buffer = std::is_same_v<T, byte>;
            std::size_t const some = (std::max<std::size_t>)(count, 1);
            auto* const memory = static_cast<T*>(buffer ? std::malloc(some) : std::calloc(some, sizeof(T)));
            if (memory == nullptr) return false;
            if constexpr (!buffer) std::uninitialized_value_construct_n(memory, count);
            std::destroy(elements_.begin(), elements_.end());
            std::free(elements_.data());
            elements_ = {memory, count};
            return true;
        }
        std::span<T> view() noexcept { return elements_; }

    private:
        std::span<T> elements_;
    };

    growing_storage() noexcept = default;
    explicit growing_storage(Region&& secrets) noexcept : secrets_(std::move(secrets)) {}
    growing_storage(growing_storage&&) noexcept = default;

    Region const& secrets() const noexcept { return secrets_; }

private:
    heap_region plain_;
    Region secrets_;
};

static_assert(storage<static_storage<>> && storage<growing_storage<>>);

}} // namespace wg::WG_ABI

#endif
