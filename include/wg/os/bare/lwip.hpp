// SPDX-License-Identifier: BSL-1.0
// WireGuard on lwIP: lwIP's UDP is the socket, and a network interface in lwIP is the TUN device (lwIP 2.1, raw API).
// Folder: os/bare. Included by wg.hpp where WG_WITH_LWIP is defined.
//
// All of this, and the engine that uses it, runs where lwIP's raw API may be used: in the main loop; with threads, in
// lwIP's own thread or while lwIP's lock is held.
#ifndef WG_OS_BARE_LWIP_HPP
#define WG_OS_BARE_LWIP_HPP

#include "../../policy.hpp"

#include <algorithm>
#include <lwip/ip_addr.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/udp.h>

namespace wg { inline namespace WG_ABI { namespace bare {

/// Whether lwIP was configured with this family of addresses (LWIP_IPV4, LWIP_IPV6).
constexpr bool lwip_has(family kind) noexcept {
    return kind == family::v4 ? LWIP_IPV4 != 0 : kind == family::v6 && LWIP_IPV6 != 0;
}

/// The address in lwIP's form; zero if lwIP was configured without its family.
inline ip_addr_t to_lwip(ip_address const& from, [[maybe_unused]] std::uint32_t zone = 0) noexcept {
    ip_addr_t to;
    std::memset(&to, 0, sizeof to);
#if LWIP_IPV4
    if (from.kind == family::v4) {
        std::memcpy(&ip_2_ip4(&to)->addr, from.octets.data(), 4);
        IP_SET_TYPE_VAL(to, IPADDR_TYPE_V4);
    }
#endif
#if LWIP_IPV6
    if (from.kind == family::v6) {
        std::memcpy(ip_2_ip6(&to)->addr, from.octets.data(), 16);
        ip6_addr_set_zone(ip_2_ip6(&to), static_cast<std::uint8_t>(zone));
        IP_SET_TYPE_VAL(to, IPADDR_TYPE_V6);
    }
#endif
    return to;
}

/// The address that lwIP's form stands for.
inline ip_address from_lwip(ip_addr_t const& from) noexcept {
#if LWIP_IPV6
    if (IP_IS_V6_VAL(from)) return ip_address::of(family::v6, reinterpret_cast<byte const*>(ip_2_ip6(&from)->addr));
#endif
#if LWIP_IPV4
    return ip_address::of(family::v4, reinterpret_cast<byte const*>(&ip_2_ip4(&from)->addr));
#else
    return {};
#endif
}

/// The traffic class (IPv6) or type of service (IPv4) of the packet that lwIP is handing over.
inline std::uint8_t tos_from_lwip() noexcept {
#if LWIP_IPV6
    if (ip_current_is_v6()) return static_cast<std::uint8_t>(IP6H_TC(ip6_current_header()));
#endif
#if LWIP_IPV4
    return static_cast<std::uint8_t>(IPH_TOS(ip4_current_header()));
#else
    return 0;
#endif
}

/// A queue of lwIP's packets, each with an `About`. It holds `Capacity` packets.
template <class About, std::size_t Capacity> class lwip_queue {
public:
    /// Empty.
    lwip_queue() noexcept = default;
    lwip_queue(lwip_queue const&) = delete;
    lwip_queue& operator=(lwip_queue const&) = delete;
    ~lwip_queue() { clear(); }

    /// Takes over the packet. Returns: false if the queue is full; then the packet is freed.
    bool put(pbuf* p, About const& about) noexcept {
        if (count_ == Capacity) {
            pbuf_free(p);
            return false;
        }
        items_[(first_ + count_++) % Capacity] = {p, about};
        return true;
    }
    /// Copies the oldest packet into the window of `into` and frees it. A packet that is longer than the window gets
    /// the length 0. Returns: false if the queue is empty.
    bool take(packet& into, About& about) noexcept {
        if (count_ == 0) return false;
        item& oldest = items_[first_];
        std::size_t const size = oldest.data->tot_len;
        into.length = size <= into.capacity - into.offset ? static_cast<std::uint32_t>(size) : 0;
        (void)pbuf_copy_partial(oldest.data, into.view().data(), static_cast<std::uint16_t>(into.length), 0);
        pbuf_free(oldest.data);
        about = oldest.about;
        first_ = (first_ + 1) % Capacity;
        --count_;
        return true;
    }
    /// Frees all packets.
    void clear() noexcept {
        for (; count_ != 0; --count_, first_ = (first_ + 1) % Capacity) pbuf_free(items_[first_].data);
    }

private:
    struct item {
        pbuf* data = nullptr;
        About about{};
    };
    std::array<item, Capacity> items_{};
    std::size_t first_ = 0, count_ = 0;
};

/// Models `udp_socket` on a `udp_pcb` for both families. At most `Queue` datagrams wait for the engine.
template <std::size_t Queue = 8> class lwip_udp {
public:
    static constexpr std::size_t receive_bytes = 1500; ///< the room that a received datagram needs

    /// Not open.
    lwip_udp() noexcept = default;
    lwip_udp(lwip_udp const&) = delete;
    lwip_udp& operator=(lwip_udp const&) = delete;
    ~lwip_udp() { close(); }

    /// Opens `port`; 0: a free port. On failure an open port stays open. Returns: the port; `no_memory`;
    /// `address_in_use`.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (pcb_ != nullptr && port != 0 && port == pcb_->local_port) return port;
        udp_pcb* const made = udp_new_ip_type(IPADDR_TYPE_ANY);
        if (made == nullptr) return status::no_memory;
        if (udp_bind(made, IP_ANY_TYPE, port) != ERR_OK) {
            udp_remove(made);
            return status::address_in_use;
        }
        udp_recv(made, arrived, this);
        close();
        pcb_ = made;
        return std::uint16_t{made->local_port};
    }
    /// Closes the port, and drops the datagrams that wait.
    void close() noexcept {
        if (pcb_ != nullptr) udp_remove(pcb_);
        pcb_ = nullptr;
        arrived_.clear();
    }

    /// Hands out the datagrams that wait. Returns: how many.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        std::size_t filled = 0;
        for (about a; filled < datagrams.size() && arrived_.take(datagrams[filled], a); ++filled) {
            datagrams[filled].where = a.where;
            datagrams[filled].tos = a.tos;
            datagrams[filled].segment_bytes = 0;
        }
        return filled;
    }

    /// Sends datagrams and stores each one's status in `why`: ok, no_endpoint, no_memory, not_supported (no route, or a
    /// family that lwIP lacks), io_error. Returns: how many left.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (datagram& d : datagrams) {
            d.why = send_one(d);
            sent += d.why == status::ok;
        }
        return sent;
    }

private:
    struct about {
        path where{};
        std::uint8_t tos = 0;
    };

    static void arrived(void* self, udp_pcb*, pbuf* p, ip_addr_t const* from, std::uint16_t port) noexcept {
        about a;
        a.where.remote = {from_lwip(*from), port, 0};
#if LWIP_IPV6
        if (IP_IS_V6(from)) a.where.remote.scope_id = ip6_addr_zone(ip_2_ip6(from));
#endif
        a.where.local = {from_lwip(*ip_current_dest_addr()), 0};
        a.tos = tos_from_lwip();
        (void)static_cast<lwip_udp*>(self)->arrived_.put(p, a);
    }

    status send_one(datagram const& d) noexcept {
        if (!d.where.remote || pcb_ == nullptr) return status::no_endpoint;
        if (!lwip_has(d.where.remote.address.kind)) return status::not_supported;
        pbuf* const p = pbuf_alloc(PBUF_TRANSPORT, static_cast<std::uint16_t>(d.length), PBUF_RAM);
        if (p == nullptr) return status::no_memory;
        (void)pbuf_take(p, d.view().data(), static_cast<std::uint16_t>(d.length));
        ip_addr_t const to = to_lwip(d.where.remote.address, d.where.remote.scope_id);
        pcb_->tos = d.tos;
        err_t const why = udp_sendto(pcb_, p, &to, d.where.remote.port);
        pbuf_free(p);
        return why == ERR_OK ? status::ok : why == ERR_RTE ? status::not_supported : status::io_error;
    }

    udp_pcb* pcb_ = nullptr;
    lwip_queue<about, Queue> arrived_;
};

/// Models `tun_device` as an interface of lwIP. At most `Queue` packets wait for the engine.
template <std::size_t MtuBytes = default_mtu_bytes, std::size_t Queue = 8> class lwip_tun {
public:
    static constexpr std::size_t headroom = 0; ///< bytes that `write` needs before a packet

    /// Adds an interface to lwIP and sets it up. It has no addresses; add them to `stack_interface()` (netif_set_addr).
    lwip_tun() noexcept {
        (void)netif_add_noaddr(&interface_, this, initialize, ip_input);
        netif_set_link_up(&interface_);
        netif_set_up(&interface_);
    }
    lwip_tun(lwip_tun const&) = delete;
    lwip_tun& operator=(lwip_tun const&) = delete;
    ~lwip_tun() { netif_remove(&interface_); }

    /// The interface in lwIP.
    netif& stack_interface() noexcept { return interface_; }

    /// Hands out the packets that lwIP sends into the tunnel. Returns: how many.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t filled = 0;
        for (nothing n; filled < packets.size() && leaving_.take(packets[filled], n);) ++filled;
        return filled;
    }
    /// Hands packets from the tunnel to lwIP. Returns: how many; fewer if lwIP has no memory.
    std::size_t write(std::span<packet> packets) noexcept {
        for (packet const& data : packets) {
            // PBUF_RAM is one piece, because lwIP needs the headers of a packet to be contiguous.
            pbuf* const p = pbuf_alloc(PBUF_RAW, static_cast<std::uint16_t>(data.length), PBUF_RAM);
            if (p == nullptr) return static_cast<std::size_t>(&data - packets.data());
            (void)pbuf_take(p, data.view().data(), static_cast<std::uint16_t>(data.length));
            if (interface_.input(p, &interface_) != ERR_OK) pbuf_free(p);
        }
        return packets.size();
    }
    /// The MTU in bytes.
    std::size_t mtu() const noexcept { return MtuBytes; }

private:
    struct nothing {};

    static err_t initialize(netif* made) noexcept {
        made->name[0] = 'w';
        made->name[1] = 'g';
        made->mtu = MtuBytes;
#if LWIP_IPV4
        made->output = [](netif* through, pbuf* p, ip4_addr_t const*) noexcept { return leave(through, p); };
#endif
#if LWIP_IPV6
        made->output_ip6 = [](netif* through, pbuf* p, ip6_addr_t const*) noexcept { return leave(through, p); };
#endif
        return ERR_OK;
    }
    /// Queues a copy of a packet, because lwIP may change the packet after the return.
    static err_t leave(netif* through, pbuf* p) noexcept {
        pbuf* const copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
        if (copy == nullptr) return ERR_MEM;
        return static_cast<lwip_tun*>(through->state)->leaving_.put(copy, {}) ? ERR_OK : ERR_BUF;
    }

    netif interface_{};
    lwip_queue<nothing, Queue> leaving_;
};

static_assert(udp_socket<lwip_udp<>> && tun_device<lwip_tun<>>);

}}} // namespace wg::WG_ABI::bare

#endif
