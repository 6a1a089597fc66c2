// SPDX-License-Identifier: BSL-1.0
// Staged packets, which wait for a session: a queue for each peer, and one pool of slots for all peers. Folder: device;
// one thread at a time.
#ifndef WG_DEVICE_STAGING_HPP
#define WG_DEVICE_STAGING_HPP

#include "../base/bytes.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// 2 KiB that hold a packet. A longer packet is a chain of slots.
struct staging_slot {
    /// Bytes of a packet in one slot.
    static constexpr std::size_t data_bytes = 2048 - 2 * sizeof(void*) - sizeof(std::uint32_t);

    staging_slot* rest = nullptr;   ///< the next slot of this packet
    staging_slot* next = nullptr;   ///< the first slot of the next packet
    std::uint32_t packet_bytes = 0; ///< of the whole packet; set in its first slot
    byte data[data_bytes];          ///< of the packet

    /// Leaves `data` uninitialised.
    staging_slot() noexcept {}
};

/// A peer's queue, oldest packet first.
struct staging_queue {
    staging_slot* first = nullptr; ///< the first slot of the oldest packet
    staging_slot* last = nullptr;  ///< the first slot of the newest packet
    std::uint32_t count = 0;       ///< packets

    /// Whether there is no packet.
    bool empty() const noexcept { return first == nullptr; }
};

/// The slots of a device, and the operations on queues of them.
template <class Storage> class staging {
    /// Whether every packet fits into one slot, because the storage has a maximum MTU.
    static constexpr bool one_slot = [] {
        if constexpr (requires { Storage::max_mtu_bytes; })
            return Storage::max_mtu_bytes != 0 && Storage::max_mtu_bytes <= staging_slot::data_bytes;
        return false;
    }();
    /// Whether a queue can reach its limit. Else the pool runs out first, which drops the same packet.
    static constexpr bool queue_fills =
        Storage::max_staged_packets == 0 || Storage::max_staged_packets_per_peer < Storage::max_staged_packets;

public:
    /// Slots come from `storage`.
    explicit staging(Storage& storage) noexcept : slots_(storage) {}

    /// Copies a packet to the end of a queue. If the queue is full or the pool is empty, drops its oldest packets.
    /// Returns: the number of dropped packets. It includes this packet, if there is no room even without the others.
    std::size_t stage(staging_queue& queue, bytes_view data) noexcept {
        std::size_t lost = 0;
        //= linux: while there is no session packets wait, 128 a peer; the oldest is lost first
        if (queue_fills && queue.count >= Storage::max_staged_packets_per_peer) {
            drop_oldest(queue);
            ++lost;
        }
        std::size_t needed = 1;
        if constexpr (one_slot) {
            if (data.size() > staging_slot::data_bytes) return lost + 1;
        } else {
            std::size_t const whole = (data.size() + staging_slot::data_bytes - 1) / staging_slot::data_bytes;
            needed = (std::max<std::size_t>)(1, whole);
        }
        while (!slots_.reserve(needed)) {
            ++lost;
            if (queue.empty()) return lost;
            drop_oldest(queue);
        }
        staging_slot* const head = slots_.acquire();
        head->packet_bytes = converted<std::uint32_t>(data.size());
        for (staging_slot* slot = head;; slot = slot->rest) {
            std::size_t const part = one_slot ? data.size() : (std::min)(data.size(), staging_slot::data_bytes);
            if (part != 0) std::memcpy(slot->data, data.data(), part);
            data = data.subspan(part);
            if (one_slot || data.empty()) break;
            slot->rest = slots_.acquire();
        }
        (queue.last != nullptr ? queue.last->next : queue.first) = head;
        queue.last = head;
        ++queue.count;
        return lost;
    }

    /// Size in bytes of the oldest packet; the queue is not empty.
    static std::size_t oldest_bytes(staging_queue const& queue) noexcept { return queue.first->packet_bytes; }

    /// Moves the oldest packet out of the queue into `to`, which has at least `oldest_bytes` bytes.
    void unstage(staging_queue& queue, bytes to) noexcept {
        WG_ASSERT(to.size() >= oldest_bytes(queue));
        std::size_t left = oldest_bytes(queue);
        byte* at = to.data();
        for (staging_slot const* slot = queue.first; left != 0; slot = slot->rest) {
            std::size_t const part = one_slot ? left : (std::min)(left, staging_slot::data_bytes);
            std::memcpy(at, slot->data, part);
            at += part;
            left -= part;
        }
        drop_oldest(queue);
    }

    /// Drops the oldest packet; the queue is not empty.
    void drop_oldest(staging_queue& queue) noexcept {
        staging_slot* slot = queue.first;
        queue.first = slot->next;
        if (queue.first == nullptr) queue.last = nullptr;
        --queue.count;
        do {
            staging_slot* const rest = slot->rest;
            slots_.release(slot);
            slot = rest;
        } while (!one_slot && slot != nullptr);
    }

    /// Drops all packets. Returns: how many.
    std::size_t drop_all(staging_queue& queue) noexcept {
        std::size_t const dropped = queue.count;
        while (!queue.empty()) drop_oldest(queue);
        return dropped;
    }

private:
    typename Storage::template pool<staging_slot, Storage::max_staged_packets> slots_;
};

}} // namespace wg::WG_ABI

#endif
