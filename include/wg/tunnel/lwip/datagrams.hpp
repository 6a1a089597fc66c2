// SPDX-License-Identifier: BSL-1.0
// A UDP port of lwIP, and echo requests (ping). Folder: tunnel/lwip. All calls under the stack's lock.
#ifndef WG_TUNNEL_LWIP_DATAGRAMS_HPP
#define WG_TUNNEL_LWIP_DATAGRAMS_HPP

#include "../events.hpp"
#include "interface.hpp"

#include <lwip/icmp.h>
#include <lwip/raw.h>
#include <lwip/udp.h>

namespace wg { inline namespace WG_ABI { namespace lwip {

/// A UDP port.
class datagram_port {
public:
    static constexpr std::size_t most_waiting = 256; ///< datagrams that wait to be read; later ones are dropped

    datagram_port() noexcept = default;
    datagram_port(datagram_port const&) = delete;
    datagram_port& operator=(datagram_port const&) = delete;
    /// Closes the port.
    ~datagram_port() { close(); }

    /// Called when a datagram has arrived.
    event changed{};

    /// Opens `port` of all addresses of the interface; 0: a free port.
    /// Returns: the port; address_in_use; no_memory.
    result<std::uint16_t> open(interface& through, std::uint16_t port) noexcept {
        for (udp_pcb* other = udp_pcbs; port != 0 && other != nullptr; other = other->next)
            if (other->local_port == port && other->netif_idx == netif_get_index(through.in_lwip()))
                return status::address_in_use;
        udp_pcb* const made = udp_new_ip_type(IPADDR_TYPE_ANY);
        if (made == nullptr) return status::no_memory;
        udp_bind_netif(made, through.in_lwip());
        if (udp_bind(made, IP_ANY_TYPE, port) != ERR_OK) {
            // Another interface uses the port. lwIP's own check does not look at the interface.
            if (port == 0 || udp_bind(made, IP_ANY_TYPE, 0) != ERR_OK) {
                udp_remove(made);
                return status::no_memory;
            }
            made->local_port = port;
        }
        udp_recv(made, arrived, this);
        pcb_ = made;
        mtu_ = through.mtu();
        return std::uint16_t{made->local_port};
    }
    /// Closes the port and drops the datagrams that wait.
    void close() noexcept {
        if (pcb_ != nullptr) udp_remove(std::exchange(pcb_, nullptr));
        while (arrived_t* const d = take()) drop(d);
    }

    /// Whether a datagram waits, or the port is closed.
    bool readable() const noexcept { return first_ != nullptr || pcb_ == nullptr; }
    /// Copies the oldest datagram out; what does not fit is cut. Returns: its length; would_block; gone, if the port is
    /// closed.
    result<std::size_t> receive(bytes into, endpoint& from) noexcept {
        if (first_ == nullptr) return pcb_ != nullptr ? status::would_block : status::gone;
        arrived_t* const d = take();
        from = d->from;
        std::size_t const size = (std::min<std::size_t>)(into.size(), d->data->tot_len);
        (void)pbuf_copy_partial(d->data, into.data(), static_cast<u16_t>(size), 0);
        drop(d);
        return size;
    }
    /// Sends a datagram. Returns: ok; no_room, if it is longer than the interface's MTU allows; no_memory; gone;
    /// not_supported, if the interface has no address of this family.
    status send(bytes_view data, endpoint const& to) noexcept {
        if (pcb_ == nullptr) return status::gone;
        std::size_t const headers = to.address.kind == family::v4 ? 28 : 48;
        if (data.size() + headers > (cuts_segments ? mtu_ : std::size_t{0xffff})) return status::no_room;
        pbuf* const p = pbuf_alloc(PBUF_TRANSPORT, static_cast<u16_t>(data.size()), PBUF_RAM);
        if (p == nullptr) return status::no_memory;
        (void)pbuf_take(p, data.data(), static_cast<u16_t>(data.size()));
        ip_addr_t const address = bare::to_lwip(to.address, to.scope_id);
        err_t const why = udp_sendto(pcb_, p, &address, to.port);
        pbuf_free(p);
        return why == ERR_OK    ? status::ok
               : why == ERR_RTE ? status::not_supported
               : why == ERR_MEM ? status::no_memory
                                : status::io_error;
    }

private:
    struct arrived_t {
        pbuf* data;
        endpoint from;
        arrived_t* next;
    };

    static void arrived(void* self, udp_pcb*, pbuf* p, ip_addr_t const* from, std::uint16_t port) noexcept {
        auto& to = *static_cast<datagram_port*>(self);
        auto* const d = to.count_ < most_waiting ? new (std::nothrow)
                                                       arrived_t{p, {bare::from_lwip(*from), port, 0}, nullptr}
                                                 : nullptr;
        if (d == nullptr) {
            pbuf_free(p);
            return;
        }
        (to.last_ != nullptr ? to.last_->next : to.first_) = d;
        to.last_ = d;
        ++to.count_;
        to.changed();
    }
    arrived_t* take() noexcept {
        arrived_t* const d = first_;
        if (d == nullptr) return nullptr;
        first_ = d->next;
        if (first_ == nullptr) last_ = nullptr;
        --count_;
        return d;
    }
    static void drop(arrived_t* d) noexcept {
        pbuf_free(d->data);
        delete d;
    }

    udp_pcb* pcb_ = nullptr;
    std::size_t mtu_ = 0;
    arrived_t *first_ = nullptr, *last_ = nullptr;
    std::size_t count_ = 0;
};

/// One echo request and its answer (RFC 792, RFC 4443 4).
class echo {
public:
    echo() noexcept = default;
    echo(echo const&) = delete;
    echo& operator=(echo const&) = delete;
    /// Waits for no answer any more.
    ~echo() { close(); }

    /// Called when the answer has arrived.
    event changed{};

    /// Sends a request with random contents. Returns: ok; no_memory; not_supported, if the interface has no address of
    /// this family.
    status send(interface& through, ip_address const& to, std::uint16_t identifier) noexcept {
        bool const v4 = to.kind == family::v4;
        identifier_ = identifier;
        v4_ = v4;
        to_ = to;
        pcb_ = v4 ? raw_new(IP_PROTO_ICMP) : raw_new_ip_type(IPADDR_TYPE_V6, IP6_NEXTH_ICMP6);
        if (pcb_ == nullptr) return status::no_memory;
        raw_bind_netif(pcb_, through.in_lwip());
        if (!v4) {
            pcb_->chksum_reqd = 1;
            pcb_->chksum_offset = 2;
        }
        raw_recv(pcb_, arrived, this);
        pbuf* const p = pbuf_alloc(PBUF_IP, request_bytes, PBUF_RAM);
        if (p == nullptr) return status::no_memory;
        auto* const request = static_cast<byte*>(p->payload);
        std::memset(request, 0, request_bytes);
        request[0] = v4 ? byte{8} : byte{128};
        store_be16(request + 4, identifier);
        store_be16(request + 6, 1);
        if (v4) {
            u16_t const sum = inet_chksum(request, request_bytes); // in network order
            std::memcpy(request + 2, &sum, 2);
        }
        ip_addr_t const address = bare::to_lwip(to);
        err_t const why = raw_sendto(pcb_, p, &address);
        pbuf_free(p);
        return why == ERR_OK ? status::ok : why == ERR_RTE ? status::not_supported : status::no_memory;
    }
    /// Waits for no answer any more.
    void close() noexcept {
        if (pcb_ != nullptr) raw_remove(std::exchange(pcb_, nullptr));
    }
    /// Whether the answer has arrived.
    bool is_answered() const noexcept { return answered_; }

private:
    static constexpr u16_t request_bytes = 64; ///< as much as ping(8) sends

    static u8_t arrived(void* self, raw_pcb*, pbuf* p, ip_addr_t const* from) noexcept {
        auto& to = *static_cast<echo*>(self);
        byte header[8];
        std::size_t const ip_bytes = to.v4_ ? IPH_HL_BYTES(ip4_current_header()) : ip_current_header_tot_len();
        if (pbuf_copy_partial(p, header, sizeof header, static_cast<u16_t>(ip_bytes)) != sizeof header) return 0;
        if (header[0] != (to.v4_ ? 0 : 129) || load_be16(header + 4) != to.identifier_) return 0;
        if (!(bare::from_lwip(*from) == to.to_)) return 0;
        to.answered_ = true;
        pbuf_free(p);
        to.changed();
        return 1;
    }

    raw_pcb* pcb_ = nullptr;
    std::uint16_t identifier_ = 0;
    bool v4_ = true;
    bool answered_ = false;
    ip_address to_{};
};

}}} // namespace wg::WG_ABI::lwip

#endif
