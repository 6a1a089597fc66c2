// SPDX-License-Identifier: BSL-1.0
// A driver of virtio's network device over memory-mapped registers, by polling. Source: OASIS virtio 1.1; the sections
// below are of it.
#ifndef WG_FIRMWARE_VIRTIO_NET_HPP
#define WG_FIRMWARE_VIRTIO_NET_HPP

#include <wg/wg.hpp>

extern "C" [[noreturn]] void fault();

namespace firmware {

/// The network device of QEMU's machine `virt`.
class virtio_net {
public:
    /// Looks for the device and starts it. Returns: false if there is none, or it has a version before 1.0.
    bool start() noexcept {
        for (base_ = first; base_ != first + slots * stride; base_ += stride)
            if (get(magic) == 0x74726976 && get(version) == 2 && get(device_id) == 1) break;
        if (base_ == first + slots * stride) return false;
        // 3.1.1 prescribes the order of these steps.
        set(status, 0);
        set(status, acknowledge);
        set(status, acknowledge | driver);
        set(driver_features_select, 1);
        set(driver_features, 1); // VIRTIO_F_VERSION_1, and nothing else
        set(driver_features_select, 0);
        set(driver_features, 1u << 5); // VIRTIO_NET_F_MAC
        set(status, acknowledge | driver | features_ok);
        if ((get(status) & features_ok) == 0 || !start_queue(0, arriving_) || !start_queue(1, leaving_)) return false;
        set(status, acknowledge | driver | features_ok | driver_ok);
        for (std::uint16_t i = 0; i < depth; ++i) offer(i);
        return true;
    }

    /// The device's MAC address.
    wg::bare::mac_address address() noexcept {
        wg::bare::mac_address mac;
        for (std::size_t i = 0; i < mac.size(); ++i)
            mac[i] = *reinterpret_cast<wg::byte volatile*>(base_ + configuration + i);
        return mac;
    }

    /// As `receive` of `wg::bare::board`.
    std::size_t receive(wg::bytes frame) noexcept {
        while (arriving_.has_used()) {
            auto const [id, length] = arriving_.take_used();
            std::size_t const size = length >= header_bytes ? length - header_bytes : 0;
            bool const fits = size != 0 && size <= frame.size();
            if (fits) wg::copy(frame, wg::bytes_view(buffers_[id]).subspan(header_bytes, size));
            offer(static_cast<std::uint16_t>(id));
            if (fits) return size;
        }
        return 0;
    }

    /// As `send` of `wg::bare::board`.
    bool send(wg::bytes_view head, wg::bytes_view body) noexcept {
        while (sent_ != leaving_.seen && leaving_.has_used()) (void)leaving_.take_used();
        if (static_cast<std::uint16_t>(sent_ - leaving_.seen) == depth) return false;
        std::uint16_t const slot = sent_++ % depth;
        wg::bytes const room = out_[slot];
        wg::fill_zero(room.first(header_bytes));
        wg::copy(room.subspan(header_bytes), head);
        wg::copy(room.subspan(header_bytes + head.size()), body);
        std::size_t size = head.size() + body.size();
        for (; size < 60; ++size) room[header_bytes + size] = 0;
        leaving_.put(slot, room.first(header_bytes + size), 0);
        set(queue_notify, 1);
        return true;
    }

private:
    // 4.2.2: registers
    static constexpr std::uintptr_t first = 0x10001000, stride = 0x1000, slots = 8;
    static constexpr unsigned magic = 0, version = 4, device_id = 8, driver_features = 0x20,
                              driver_features_select = 0x24, queue_select = 0x30, queue_size_max = 0x34,
                              queue_size = 0x38, queue_ready = 0x44, queue_notify = 0x50, status = 0x70,
                              queue_descriptors = 0x80, queue_driver = 0x90, queue_device = 0xa0, configuration = 0x100;
    static constexpr std::uint32_t acknowledge = 1, driver = 2, driver_ok = 4, features_ok = 8;
    static constexpr std::size_t depth = 16;
    static constexpr std::size_t header_bytes = 12; ///< 5.1.6: virtio_net_hdr

    struct used_buffer {
        std::uint32_t id, length;
    };

    /// 2.6: descriptors, the ring of buffers that the driver offers, the ring of buffers that the device has used.
    struct queue {
        struct {
            std::uint64_t address;
            std::uint32_t size;
            std::uint16_t flags, next;
        } descriptors[depth];
        struct {
            std::uint16_t flags, index, ring[depth];
        } offered;
        alignas(4) struct {
            std::uint16_t flags, index;
            used_buffer ring[depth];
        } used;
        std::uint16_t seen = 0;

        bool has_used() const noexcept { return *const_cast<std::uint16_t const volatile*>(&used.index) != seen; }
        used_buffer take_used() noexcept {
            order();
            return used.ring[seen++ % depth];
        }
        void put(std::uint16_t slot, wg::bytes_view memory, std::uint16_t flags) noexcept {
            descriptors[slot] = {reinterpret_cast<std::uintptr_t>(memory.data()),
                                 static_cast<std::uint32_t>(memory.size()), flags, 0};
            offered.ring[offered.index % depth] = slot;
            order();
            offered.index = static_cast<std::uint16_t>(offered.index + 1);
            order();
        }
        /// Orders memory accesses: the device sees writes before this before writes after this.
        static void order() noexcept { __asm__ volatile("fence" : : : "memory"); }
    };

    bool start_queue(std::uint32_t number, queue& q) noexcept {
        set(queue_select, number);
        if (get(queue_size_max) < depth) return false;
        set(queue_size, depth);
        set_address(queue_descriptors, q.descriptors);
        set_address(queue_driver, &q.offered);
        set_address(queue_device, &q.used);
        set(queue_ready, 1);
        return true;
    }
    void offer(std::uint16_t slot) noexcept {
        arriving_.put(slot, buffers_[slot], 2); // the device writes
        set(queue_notify, 0);
    }

    std::uint32_t get(unsigned at) const noexcept { return *reinterpret_cast<std::uint32_t volatile*>(base_ + at); }
    void set(unsigned at, std::uint32_t value) noexcept {
        *reinterpret_cast<std::uint32_t volatile*>(base_ + at) = value;
    }
    void set_address(unsigned at, void const* address) noexcept {
        std::uint64_t const a = reinterpret_cast<std::uintptr_t>(address);
        set(at, static_cast<std::uint32_t>(a));
        set(at + 4, static_cast<std::uint32_t>(a >> 32));
    }

    std::uintptr_t base_ = 0;
    alignas(16) queue arriving_{}, leaving_{};
    std::uint16_t sent_ = 0;
    wg::byte buffers_[depth][header_bytes + wg::bare::max_frame_bytes];
    wg::byte out_[depth][header_bytes + wg::bare::max_frame_bytes];
};

} // namespace firmware

#endif
