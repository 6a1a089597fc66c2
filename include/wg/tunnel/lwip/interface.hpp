// SPDX-License-Identifier: BSL-1.0
// An interface of lwIP as the TUN device of an engine. lwIP hands over TCP segments of several packets, which the
// interface cuts, and gets packets of one connection joined. So lwIP runs once for many packets.
// Folder: tunnel/lwip. `read`, `write` and `settle` by the engine's thread; the rest under the stack's lock.
#ifndef WG_TUNNEL_LWIP_INTERFACE_HPP
#define WG_TUNNEL_LWIP_INTERFACE_HPP

#include "../../base/limits.hpp"
#include "../../os/bare/lwip.hpp"
#include "../../os/tun/coalescer.hpp"
#include "../../os/tun/segmenter.hpp"
#include "lock.hpp"

#include <atomic>
#include <lwip/inet_chksum.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <memory>
#include <new>

namespace wg { inline namespace WG_ABI { namespace lwip {

/// Whether lwIP was compiled with the options of tunnel/lwip/lwipopts.h: it leaves long segments and the checksums of
/// TCP to the interface. A binary of a distribution does not.
inline constexpr bool cuts_segments =
#if LWIP_CHECKSUM_CTRL_PER_NETIF && !IP_FRAG && !LWIP_IPV6_FRAG
    true;
#else
    false;
#endif

/// Models `tun_device` as an interface of lwIP.
class interface {
public:
    static constexpr std::size_t headroom = 0;          ///< bytes that `write` needs before a packet
    static constexpr std::size_t most_waiting = 4096;   ///< packets and long segments that wait for the engine
    static constexpr std::size_t most_v6_addresses = 3; ///< IPv6 addresses of an interface; lwIP has room for more

    /// Not in lwIP yet.
    interface() noexcept = default;
    interface(interface const&) = delete;
    interface& operator=(interface const&) = delete;
    /// Removes the interface from lwIP and drops the packets that wait. All connections must be closed.
    ~interface() {
        guard const held;
        remove();
        while (frame_in* const oldest = waiting_.take()) drop(oldest);
    }

    /// Adds the interface to lwIP and sets it up. `wake(context)` is called under the lock when a packet waits for
    /// `read`. Returns: no_memory, if lwIP has no room: a process has at most 254 interfaces.
    status add(std::size_t mtu_bytes, void (*wake)(void*) noexcept, void* context) noexcept {
        wake_ = wake;
        wake_context_ = context;
        mtu_ = mtu_bytes;
        if (cuts_segments && frame_ == nullptr) frame_.reset(new (std::nothrow) byte[frame_bytes]);
        if (cuts_segments && frame_ == nullptr) return status::no_memory;
        if (netif_add_noaddr(&netif_, this, initialize, ip_input) == nullptr) return status::no_memory;
        netif_set_link_up(&netif_);
        netif_set_up(&netif_);
        added_ = true;
        return status::ok;
    }
    /// Adds an address of this host in the tunnel. Returns: no_memory, if lwIP has no room: it holds one IPv4 address,
    /// and three IPv6 addresses; not_supported, if lwIP lacks the family.
    status add_address(ip_address const& address) noexcept {
        if (!bare::lwip_has(address.kind)) return status::not_supported;
        ip_addr_t const own = bare::to_lwip(address);
        if (address.kind == family::v4) {
            if (!ip4_addr_isany_val(*netif_ip4_addr(&netif_))) return status::no_memory;
            ip4_addr_t mask;
            IP4_ADDR(&mask, 255, 255, 255, 255);
            netif_set_addr(&netif_, ip_2_ip4(&own), &mask, IP4_ADDR_ANY4);
            return status::ok;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES && i < static_cast<s8_t>(most_v6_addresses); ++i) {
            if (ip6_addr_isvalid(netif_ip6_addr_state(&netif_, i))) continue;
            netif_ip6_addr_set(&netif_, i, ip_2_ip6(&own));
            netif_ip6_addr_set_state(&netif_, i, IP6_ADDR_PREFERRED);
            return status::ok;
        }
        return status::no_memory;
    }
    /// Aborts all connections through the interface, and removes it from lwIP.
    void remove() noexcept {
        if (!added_) return;
        added_ = false;
        for (tcp_pcb** const list : {&tcp_active_pcbs, &tcp_tw_pcbs, &tcp_bound_pcbs}) abort_all(*list);
        // netif_remove would abort the connections of other interfaces that have the same address.
        ip_addr_set_zero_ip4(&netif_.ip_addr);
        for (u8_t& state : netif_.ip6_addr_state) state = IP6_ADDR_INVALID;
        netif_remove(&netif_);
    }

    /// The interface in lwIP.
    netif* in_lwip() noexcept { return &netif_; }
    /// Whether the interface has an address of this family.
    bool has_family(family kind) const noexcept {
        if (kind == family::v4) return !ip4_addr_isany_val(*netif_ip4_addr(&netif_));
        for (u8_t const state : netif_.ip6_addr_state)
            if (ip6_addr_isvalid(state)) return kind == family::v6;
        return false;
    }
    /// Whether the other ends have acknowledged all that was sent through the interface, connections that were closed
    /// included, and no packet waits, for instance a reset.
    bool is_flushed() const noexcept {
        if (has_waiting()) return false;
        for (tcp_pcb const* pcb = tcp_active_pcbs; pcb != nullptr; pcb = pcb->next)
            if (pcb->netif_idx == netif_get_index(&netif_) && (pcb->unsent != nullptr || pcb->unacked != nullptr))
                return false;
        return true;
    }
    /// Whether this is an address of the interface.
    bool has_address(ip_address const& address) const noexcept {
        if (address.kind == family::v4)
            return std::memcmp(&netif_ip4_addr(&netif_)->addr, address.octets.data(), 4) == 0;
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; ++i)
            if (ip6_addr_isvalid(netif_ip6_addr_state(&netif_, i)) &&
                std::memcmp(netif_ip6_addr(&netif_, i)->addr, address.octets.data(), 16) == 0)
                return true;
        return false;
    }

    /// Whether `read` would find a packet. Any thread.
    bool has_waiting() const noexcept { return waiting_count_.load() != 0; }
    /// Datagrams and packets that were dropped because the engine did not keep up, or because they were longer than the
    /// MTU.
    std::uint64_t dropped() const noexcept { return dropped_; }

    /// Hands out the packets that lwIP sends into the tunnel. Returns: how many.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t filled = 0;
        while (filled < packets.size()) {
            if (segments_.pending()) {
                segments_.next(packets[filled++]);
                if (!segments_.pending()) --waiting_count_;
                continue;
            }
            if (waiting_count_.load() == 0) break;
            guard const held;
            frame_in* const oldest = waiting_.take();
            if (oldest == nullptr) break;
            if (!cuts_segments || !begin_frame(*oldest->data)) {
                packet& p = packets[filled++];
                p.length = oldest->data->tot_len <= p.capacity - p.offset ? oldest->data->tot_len : 0u;
                (void)pbuf_copy_partial(oldest->data, p.view().data(), static_cast<u16_t>(p.length), 0);
                --waiting_count_;
            }
            drop(oldest);
        }
        return filled;
    }
    /// Hands packets from the tunnel to lwIP. A packet for another address than those of the interface is dropped.
    /// Returns: how many packets lwIP took.
    std::size_t write(std::span<packet> packets) noexcept {
        std::size_t taken = 0;
        while (!packets.empty()) {
            auto const some = packets.first((std::min)(packets.size(), coalescer::max_packets));
            packets = packets.subspan(some.size());
            coalescer plan(some, cuts_segments, false);
            guard const held;
            for (std::size_t i = 0; i < plan.frame_count(); ++i)
                if (is_for_us(plan.first_packet(i)) && give(plan.pieces(i))) taken += plan.packet_count(i);
        }
        return taken;
    }
    /// The MTU in bytes.
    std::size_t mtu() const noexcept { return mtu_; }

private:
    using coalescer = os::basic_coalescer<bytes_view>;
    static constexpr std::size_t frame_bytes = os::virtio_header_bytes + os::max_frame_packet_bytes;

    /// A packet of lwIP that waits. It holds a reference and no copy: lwIP does not change a packet that is referenced
    /// (tcp_output_segment_busy).
    struct frame_in {
        pbuf* data;
        frame_in* next;
    };
    /// A queue of such packets.
    class frame_queue {
    public:
        void put(frame_in* f) noexcept {
            (last_ != nullptr ? last_->next : first_) = f;
            last_ = f;
        }
        frame_in* take() noexcept {
            frame_in* const f = first_;
            if (f == nullptr) return nullptr;
            first_ = f->next;
            if (first_ == nullptr) last_ = nullptr;
            return f;
        }

    private:
        frame_in *first_ = nullptr, *last_ = nullptr;
    };

    static err_t initialize(netif* made) noexcept {
        made->name[0] = 'w';
        made->name[1] = 'g';
        made->mtu = static_cast<u16_t>(static_cast<interface*>(made->state)->mtu_);
        made->output = [](netif* through, pbuf* p, ip4_addr_t const*) noexcept { return leave(through, p); };
        made->output_ip6 = [](netif* through, pbuf* p, ip6_addr_t const*) noexcept { return leave(through, p); };
#if LWIP_CHECKSUM_CTRL_PER_NETIF
        NETIF_SET_CHECKSUM_CTRL(made, NETIF_CHECKSUM_GEN_IP | NETIF_CHECKSUM_GEN_UDP | NETIF_CHECKSUM_GEN_ICMP |
                                          NETIF_CHECKSUM_GEN_ICMP6 | NETIF_CHECKSUM_CHECK_IP |
                                          NETIF_CHECKSUM_CHECK_UDP | NETIF_CHECKSUM_CHECK_ICMP |
                                          NETIF_CHECKSUM_CHECK_ICMP6);
#endif
        return ERR_OK;
    }

    static err_t leave(netif* through, pbuf* p) noexcept {
        interface& self = *static_cast<interface*>(through->state);
        if (self.waiting_count_.load() >= most_waiting) {
            ++self.dropped_;
            return ERR_MEM;
        }
        auto* const f = new (std::nothrow) frame_in{p, nullptr};
        if (f == nullptr) return ERR_MEM;
        pbuf_ref(p);
        self.waiting_.put(f);
        if (self.waiting_count_++ == 0 && self.wake_ != nullptr) self.wake_(self.wake_context_);
        return ERR_OK;
    }
    static void drop(frame_in* f) noexcept {
        pbuf_free(f->data);
        delete f;
    }

    /// Takes over a TCP segment, to compute its checksum and to cut it. Returns: false for other packets, which are
    /// complete.
    bool begin_frame(pbuf& p) noexcept {
        using namespace os::headers_detail;
        using os::fold_sum, os::store_word;
        byte* const ip = &frame_[os::virtio_header_bytes];
        std::size_t const size = pbuf_copy_partial(&p, ip, p.tot_len, 0);
        ip_view const header({ip, size});
        if (!header.is_v4() && !header.is_v6()) return false;
        std::size_t const ip_bytes = header.header_bytes();
        if (header.protocol() != ip_protocol_tcp || header.is_fragment() || size < ip_bytes + tcp_header_bytes)
            return false;
        byte* const segment = ip + ip_bytes;
        std::size_t const header_bytes = ip_bytes + tcp_bytes_of(segment);
        os::virtio_header how;
        how.flags = os::virtio_header::needs_checksum;
        how.header_bytes = static_cast<std::uint16_t>(header_bytes);
        how.checksum_start = static_cast<std::uint16_t>(ip_bytes);
        how.checksum_offset = tcp_checksum_at;
        if (size > mtu_) {
            how.segments = header.is_v4() ? os::virtio_header::tcp_v4 : os::virtio_header::tcp_v6;
            how.segment_bytes = static_cast<std::uint16_t>(mtu_ - header_bytes);
        }
        store_word(segment + tcp_checksum_at, fold_sum(pseudo_header_sum(ip, ip_protocol_tcp, size - ip_bytes)));
        how.store(bytes(frame_.get(), frame_bytes).first<os::virtio_header_bytes>());
        return segments_.begin({frame_.get(), os::virtio_header_bytes + size});
    }

    /// lwIP would take packets for all its interfaces from each of them.
    bool is_for_us(bytes_view packet) const noexcept {
        using namespace os::headers_detail;
        ip_view const ip(packet);
        if (ip.is_v4()) return has_address(ip_address::of(family::v4, &packet[16]));
        return ip.is_v6() && has_address(ip_address::of(family::v6, &packet[24]));
    }

    bool give(std::span<bytes_view const> pieces) noexcept {
        std::size_t size = 0;
        for (bytes_view const piece : pieces) size += piece.size();
        size -= os::virtio_header_bytes;
        if (size > 0xffff) return false;
        pbuf* const p = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(size), PBUF_RAM);
        if (p == nullptr) return false;
        byte* to = static_cast<byte*>(p->payload);
        std::size_t skip = os::virtio_header_bytes;
        for (bytes_view const piece : pieces) {
            copy({to, piece.size() - skip}, piece.subspan(skip));
            to += piece.size() - std::exchange(skip, 0u);
        }
        if (netif_.input(p, &netif_) == ERR_OK) return true;
        pbuf_free(p);
        return false;
    }

    void abort_all(tcp_pcb*& list) noexcept {
        for (tcp_pcb* pcb = list; pcb != nullptr;) {
            if (pcb->netif_idx == netif_get_index(&netif_)) {
                tcp_abort(pcb);
                pcb = list; // tcp_abort calls back, and may change the list
            } else {
                pcb = pcb->next;
            }
        }
    }

    netif netif_{};
    bool added_ = false;
    std::size_t mtu_ = default_mtu_bytes;
    void (*wake_)(void*) noexcept = nullptr;
    void* wake_context_ = nullptr;
    frame_queue waiting_;
    std::atomic<std::size_t> waiting_count_{0}; ///< of `waiting_`, and the segment that is being cut
    std::uint64_t dropped_ = 0;
    std::unique_ptr<byte[]> frame_{}; ///< the segment that is being cut
    os::segmenter segments_{};        ///< the rest of `frame_`; used by the engine's thread
};

static_assert(tun_device<interface>);

}}} // namespace wg::WG_ABI::lwip

#endif
