// SPDX-License-Identifier: BSL-1.0
// Where a device's memory comes from: a fixed amount inside the device, or the heap. Folder: backends; used under the
// device's lock.
#ifndef WG_BACKENDS_STORAGE_HPP
#define WG_BACKENDS_STORAGE_HPP

#include "../base/static_pool.hpp"
#include "../policy.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace wg { inline namespace WG_ABI {

/// Capacities of a node on a microcontroller: one peer, no heap. archetypes::storage says what each limits.
struct small_capacity {
    static constexpr std::size_t max_peers = 1;                     ///< in all
    static constexpr std::size_t max_allowed_ips = 4;               ///< of all peers
    static constexpr std::size_t max_staged_packets = 1;            ///< a slot of 2 KiB
    static constexpr std::size_t max_staged_packets_per_peer = 1;   ///< the oldest is dropped first
    static constexpr std::size_t max_queued_handshakes = 2;         ///< messages
    static constexpr std::size_t max_limited_sources = 8;           ///< source addresses
    static constexpr std::size_t replay_bits = 128;                 ///< counters
    static constexpr std::size_t batch = 1;                         ///< packets in one step of an engine
    static constexpr std::size_t max_mtu_bytes = default_mtu_bytes; ///< bytes
};

/// Capacities of a host. Peers and allowed IPs grow with the configuration; packets and handshakes are limited.
struct host_capacity {
    static constexpr std::size_t max_peers = 0;                     ///< no limit
    static constexpr std::size_t max_allowed_ips = 0;               ///< no limit
    static constexpr std::size_t max_staged_packets = 2048;         ///< slots of 2 KiB: 4 MiB
    static constexpr std::size_t max_staged_packets_per_peer = 128; ///< as in Linux
    static constexpr std::size_t max_queued_handshakes = 4096;      ///< as in Linux
    static constexpr std::size_t max_limited_sources = 8192;        ///< source addresses
    static constexpr std::size_t replay_bits = 8192;                ///< as in Linux
    static constexpr std::size_t batch = 180;       ///< four frames of 64 KiB in segments of the usual MTU
    static constexpr std::size_t max_mtu_bytes = 0; ///< buffers grow
};

/// All memory is inside the device: `sizeof(device)` is what it takes. The device is the region that holds secrets.
template <class Capacity = small_capacity> struct static_storage : Capacity {
    /// `Count` objects inside the pool.
    template <class T, std::size_t Count> struct pool : static_pool<T, Count> {
        /// Takes no memory from the storage.
        explicit pool(static_storage&) noexcept {}
    };
    /// The same: every part of the device may hold secrets.
    template <class T, std::size_t Count> using secret_pool = pool<T, Count>;

    /// `Count` elements inside the array.
    template <class T, std::size_t Count> class array {
        static_assert(Count != 0, "this storage does not grow: every capacity has to be named");

    public:
        /// Takes no memory from the storage.
        explicit array(static_storage&) noexcept {}
        /// Replaces all elements by `count` value-initialised ones. Returns: false, with nothing changed, if `count`
        /// exceeds `Count`.
        bool resize(std::size_t count) noexcept {
            if (count > Count) return false;
            std::fill_n(elements_, count, T{});
            size_ = count;
            return true;
        }
        /// Returns: the elements.
        std::span<T> view() noexcept { return {elements_, size_}; }

    private:
        std::size_t size_ = 0;
        T elements_[Count]{};
    };
};

/// Memory blocks from the heap, which are wiped and freed all at once. `growing_storage` puts secrets into a region; a
/// region that is locked and kept out of dumps comes from the operating system.
class heap_region {
public:
    heap_region() noexcept = default;
    /// Takes over all blocks.
    heap_region(heap_region&& other) noexcept : last_(std::exchange(other.last_, nullptr)) {}
    heap_region& operator=(heap_region&&) = delete;
    /// Wipes and frees all blocks.
    ~heap_region() {
        while (last_ != nullptr) {
            block* const dying = std::exchange(last_, last_->before);
            wipe(dying, dying->size_bytes);
            ::operator delete(dying, std::align_val_t{64});
        }
    }

    /// Returns: zeroed memory that lives as long as the region, aligned to 64 bytes; nullptr, if there is none left.
    void* allocate(std::size_t size_bytes) noexcept {
        std::size_t const whole = (size_bytes + sizeof(block) + 63) / 64 * 64;
        void* const memory = ::operator new(whole, std::align_val_t{64}, std::nothrow);
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

/// Memory that grows in slabs. Released objects are used again; slabs are freed with the device.
/// `Region` has `void* allocate(std::size_t size_bytes) noexcept`, which returns zeroed memory, aligned to 64 bytes, or
/// nullptr if there is none left.
template <class Region = heap_region, class Capacity = host_capacity> class growing_storage : public Capacity {
    template <class T, std::size_t Limit, class From> class slab_pool {
    public:
        explicit slab_pool(From& region) noexcept : region_(region) {}
        slab_pool(slab_pool const&) = delete;
        slab_pool& operator=(slab_pool const&) = delete;

        /// Returns: a new object, default-initialised; nullptr, if there is no room.
        T* acquire() noexcept {
            if (!reserve(1)) return nullptr;
            --free_count_;
            return free_.template take<T>();
        }
        /// Destroys an object of this pool.
        void release(T* object) noexcept {
            ++free_count_;
            free_.put(object);
        }
        /// Returns: true, if the next `count` calls of `acquire` will succeed.
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
    /// A pool of `Limit` objects at most (0: no limit) on the heap.
    template <class T, std::size_t Limit> struct pool : slab_pool<T, Limit, heap_region> {
        /// The storage outlives the pool.
        explicit pool(growing_storage& storage) noexcept : slab_pool<T, Limit, heap_region>(storage.plain_) {}
    };
    /// The same in the region for secrets.
    template <class T, std::size_t Limit> struct secret_pool : slab_pool<T, Limit, Region> {
        /// The storage outlives the pool.
        explicit secret_pool(growing_storage& storage) noexcept : slab_pool<T, Limit, Region>(storage.secrets_) {}
    };

    /// An array of `Limit` elements at most (0: no limit) on the heap.
    template <class T, std::size_t Limit> class array {
    public:
        /// Takes no memory before `resize`.
        explicit array(growing_storage&) noexcept {}
        /// Takes over the elements.
        array(array&& other) noexcept : elements_(std::exchange(other.elements_, {})) {}
        /// Swaps the elements.
        array& operator=(array&& other) noexcept {
            std::swap(elements_, other.elements_);
            return *this;
        }
        /// Destroys the elements.
        ~array() { release(); }
        /// Replaces all elements by `count` value-initialised ones; bytes are not initialised. Returns: false, with
        /// nothing changed, if `count` exceeds `Limit` or there is no memory left.
        bool resize(std::size_t count) noexcept {
            if (Limit != 0 && count > Limit) return false;
            // Packet buffers are large and mostly unused; a page that is never written takes no memory.
            constexpr bool buffer = std::is_same_v<T, byte>;
            std::size_t const some = (std::max<std::size_t>)(count, 1);
            auto* const memory = static_cast<T*>(buffer ? std::malloc(some) : std::calloc(some, sizeof(T)));
            if (memory == nullptr) return false;
            if constexpr (!buffer)
                for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(memory + i)) T();
            release();
            elements_ = {memory, count};
            return true;
        }
        /// Returns: the elements.
        std::span<T> view() noexcept { return elements_; }

    private:
        void release() noexcept {
            for (T& element : elements_) element.~T();
            std::free(elements_.data());
        }

        std::span<T> elements_;
    };

    /// With a new region for secrets.
    growing_storage() noexcept = default;
    /// With a region of the caller's.
    explicit growing_storage(Region&& secrets) noexcept : secrets_(std::move(secrets)) {}
    growing_storage(growing_storage&&) noexcept = default;

    /// Returns: the region for secrets.
    Region const& secrets() const noexcept { return secrets_; }

private:
    heap_region plain_;
    Region secrets_;
};

static_assert(storage<static_storage<>> && storage<growing_storage<>>);

}} // namespace wg::WG_ABI

#endif
