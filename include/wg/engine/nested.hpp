// SPDX-License-Identifier: BSL-1.0
// A tunnel inside a tunnel: the datagrams of one device pass through another device of the same program, without a host
// and without copies between the two. Folder: engine; one thread for both engines, and neither has `workers`.
//
//     wg::nested::tun between{1420};                                   // the inner addresses of the first hop end here
//     wg::engine<first_policies> first{first_device, between, network_socket};
//     wg::nested::udp<first_policies> socket{first, network_socket, between, own_address};
//     wg::engine<second_policies> second{second_device, host_tun, socket};
//     socket.attach(second);
//
// Out: the second engine seals a packet in its buffer. The socket writes IP and UDP headers before the message, and the
// first device seals the result in the same buffer. In: the first engine opens a datagram and writes the packet to
// `between`, which runs the second engine at once; that opens the message in the buffer of the first engine.
#ifndef WG_ENGINE_NESTED_HPP
#define WG_ENGINE_NESTED_HPP

#include "../base/ip.hpp"
#include "engine.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI {

/// Tunnels inside tunnels.
namespace nested {

/// A UDP port inside a tunnel, for `tun`: the part of `udp` that does not depend on policies.
class port {
public:
    port() noexcept = default;
    port(port const&) = delete;
    port& operator=(port const&) = delete;

private:
    friend class tun;
    template <engine_policies Outer> friend class udp;

    /// Whether the UDP datagram `header` is for this port.
    bool takes(bytes_view packet, ip_header const& header) const noexcept {
        ip_address const& own = header.kind == family::v4 ? v4_ : v6_;
        return number_ != 0 && own.kind == header.kind &&
               std::memcmp(header.destination, own.octets.data(), own.bits() / 8) == 0 &&
               load_be16(&packet[header.header_bytes + 2]) == number_;
    }

    std::uint16_t number_ = 0;    ///< 0: closed
    ip_address v4_{}, v6_{};      ///< the addresses of this end inside the tunnel
    port* next_ = nullptr;        ///< in the list of `tun`
    std::span<packet> waiting_{}; ///< packets of the present `tun::write` that were not looked at
    void (*step_)(void*) noexcept = nullptr;
    void* engine_ = nullptr; ///< the argument of `step_`
};

/// The TUN device of the engine that carries another tunnel. Models `tun_device`.
class tun {
public:
    /// `write` needs no room before a packet.
    static constexpr std::size_t headroom = 0;

    /// No port is open. `mtu_bytes`: of the tunnel that carries the other one. The TUN device of the other one has an
    /// MTU that is smaller by 60 bytes over IPv4 and by 80 over IPv6.
    explicit tun(std::size_t mtu_bytes = default_mtu_bytes) noexcept : mtu_(mtu_bytes) {}
    tun(tun const&) = delete;
    tun& operator=(tun const&) = delete;

    /// Reads nothing: a `udp` gives its packets to the device itself.
    result<std::size_t> read(std::span<packet>) noexcept { return std::size_t{0}; }

    /// Runs the engine of each port that packets are for, until it has taken them. Packets that are for no port are
    /// dropped, and so are fragments. Returns: the number of packets.
    std::size_t write(std::span<packet> packets) noexcept {
        for (port* to = first_; to != nullptr; to = to->next_) {
            to->waiting_ = packets;
            std::size_t before = 0;
            while (to->step_ != nullptr && skip_others(*to) && to->waiting_.size() != before) {
                before = to->waiting_.size();
                to->step_(to->engine_);
            }
            to->waiting_ = {};
        }
        return packets.size();
    }

    /// The MTU in bytes.
    std::size_t mtu() const noexcept { return mtu_; }

private:
    template <engine_policies Outer> friend class udp;

    /// The UDP datagram in `p`; `family::none` if it holds none.
    static ip_header datagram_in(packet const& p) noexcept {
        ip_header const header = parse_ip(p.view());
        bool const udp = header && header.protocol == ip_protocol_udp && header.first_fragment &&
                         header.header_bytes + udp_header_bytes <= header.total_bytes && !has_more_fragments(p, header);
        return udp ? header : ip_header{};
    }
    static bool has_more_fragments(packet const& p, ip_header const& header) noexcept {
        return header.kind == family::v4 && (load_be16(&p.view()[6]) & 0x2000) != 0;
    }
    /// Passes packets that are not for this port. Returns: whether one is left that is.
    static bool skip_others(port& to) noexcept {
        for (; !to.waiting_.empty(); to.waiting_ = to.waiting_.subspan(1)) {
            ip_header const header = datagram_in(to.waiting_[0]);
            if (header && to.takes(to.waiting_[0].view(), header)) return true;
        }
        return false;
    }

    bool has(std::uint16_t number) const noexcept {
        port const* p = first_;
        while (p != nullptr && p->number_ != number) p = p->next_;
        return p != nullptr;
    }
    void add(port& p) noexcept {
        p.next_ = first_;
        first_ = &p;
    }
    void remove(port& p) noexcept {
        for (port** at = &first_; *at != nullptr; at = &(*at)->next_) {
            if (*at != &p) continue;
            *at = p.next_;
            return;
        }
    }

    std::size_t mtu_;
    port* first_ = nullptr;
};

/// A UDP socket inside a tunnel: its datagrams pass through the device of an engine with the bundle `Outer`. Models
/// `udp_socket`.
template <engine_policies Outer> class udp {
    using outer_socket = typename Outer::udp_socket;
    using outer_room = send_room<outer_socket>;
    using job_type = job<Outer>;

public:
    /// Needs no buffer: a received datagram stays in the buffer of the engine that opened it.
    static constexpr std::size_t receive_bytes = 64;
    /// Room for the headers of IP, UDP and the outer message.
    static constexpr std::size_t send_headroom =
        ipv6_header_bytes + udp_header_bytes + packet_headroom_bytes + outer_room::before;
    /// Room for padding and tag of the outer message.
    static constexpr std::size_t send_tailroom = packet_tailroom_bytes + outer_room::after;

    /// A closed socket. `v4`, `v6`: the addresses of this end inside the tunnel of `over`; without one there are no
    /// datagrams of that family. `network`, `through`: the socket and the TUN device of `over`. All outlive this
    /// object. After a `send`, `over` may have an earlier deadline.
    udp(engine<Outer>& over, outer_socket& network, tun& through, ip_address const& v4,
        ip_address const& v6 = {}) noexcept
        : shared_(over.shared()), over_(over.shared().core), network_(network), through_(through),
          seen_(over.shared().sessions.begin()) {
        WG_ASSERT((v4.kind == family::v4 || v4.kind == family::none) &&
                  (v6.kind == family::v6 || v6.kind == family::none));
        port_.v4_ = v4;
        port_.v6_ = v6;
    }
    udp(udp const&) = delete;
    udp& operator=(udp const&) = delete;
    ~udp() { close(); }

    /// Names the engine that has this socket, or nullptr: `tun` runs it when a datagram has arrived.
    template <class Engine> void attach(Engine& engine) noexcept {
        port_.engine_ = &engine;
        port_.step_ = [](void* which) noexcept { (void)static_cast<Engine*>(which)->run_once({false, true, 0}); };
    }

    /// Opens the socket on a port; 0: the first free one from 49152 on, where the ports for such use begin (RFC 6335).
    /// Returns: the port; address_in_use, if another nested socket of this tunnel has it.
    result<std::uint16_t> open(std::uint16_t number) noexcept {
        if (number != 0 && number == port_.number_) return number;
        std::uint16_t wanted = number != 0 ? number : std::uint16_t{49152};
        while (number == 0 && through_.has(wanted) && wanted != UINT16_MAX) ++wanted;
        if (through_.has(wanted)) return status::address_in_use;
        close();
        port_.number_ = wanted;
        through_.add(port_);
        return wanted;
    }
    /// Closes the socket.
    void close() noexcept {
        if (std::exchange(port_.number_, std::uint16_t{0}) != 0) through_.remove(port_);
    }

    /// Takes the datagrams that `tun::write` has for this socket, in the buffers in which they are. Returns: their
    /// number.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        std::size_t count = 0;
        for (; count < datagrams.size() && tun::skip_others(port_); ++count) {
            packet const& p = port_.waiting_[0];
            ip_header const header = tun::datagram_in(p);
            byte const* const ports = &p.view()[header.header_bytes];
            datagram& d = datagrams[count];
            static_cast<packet&>(d) = p;
            // The UDP checksum is not needed: the tag of the message authenticates more.
            d.grow(-static_cast<std::ptrdiff_t>(header.header_bytes + udp_header_bytes),
                   static_cast<std::ptrdiff_t>(header.total_bytes) - static_cast<std::ptrdiff_t>(p.length));
            std::size_t const stated = load_be16(ports + 4), held = d.length + udp_header_bytes;
            if (stated >= udp_header_bytes && stated < held)
                d.grow(0, static_cast<std::ptrdiff_t>(stated) - static_cast<std::ptrdiff_t>(held));
            d.where = {{ip_address::of(header.kind, header.source), load_be16(ports), 0},
                       {ip_address::of(header.kind, header.destination), 0}};
            d.tos = header.tos;
            d.segment_bytes = 0;
            port_.waiting_ = port_.waiting_.subspan(1);
        }
        return count;
    }

    /// Sends datagrams through the tunnel, in their buffers, which are overwritten. `why`: ok, also if the datagram
    /// waits for a session of the tunnel; not_supported: no address of that family; else why the device dropped the
    /// datagram, or why its socket did not send it. Returns: how many were sent or wait.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (std::size_t at = 0; at < datagrams.size(); at += batch)
            sent += send_batch(datagrams.subspan(at, (std::min)(batch, datagrams.size() - at)));
        return sent;
    }

private:
    static constexpr std::size_t batch = 64; ///< as many as the AEAD seals in one call

    std::size_t send_batch(std::span<datagram> datagrams) noexcept {
        std::size_t count = 0;
        for (datagram& d : datagrams) {
            d.why = status::not_supported;
            ip_address const& own = d.where.remote.address.kind == family::v4 ? port_.v4_ : port_.v6_;
            if (own.kind == family::none || own.kind != d.where.remote.address.kind || port_.number_ == 0) continue;
            write_headers(d, own);
            of_[count] = &d;
            jobs_[count].data = d;
            // The room that the next socket below needs is not the device's.
            jobs_[count].data.buffer += outer_room::before;
            jobs_[count].data.offset -= static_cast<std::uint32_t>(outer_room::before);
            jobs_[count++].data.capacity -= static_cast<std::uint32_t>(outer_room::before + outer_room::after);
        }
        job_list<job_type> const jobs = std::span(jobs_).first(count);
        over_.prepare_outbound(jobs, over_.clock().now());
        device<Outer>::crypt(jobs, over_.aead());
        // As `lane` does before it sends: nothing leaves that was sealed before a snapshot of the host was restored.
        if (shared_.sessions.drop_sessions(over_, seen_)) over_.withhold(jobs);
        std::size_t messages = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram& d = messages_[messages++] = {};
            static_cast<packet&>(d) = j.data;
            add_send_room<outer_socket>(d);
            d.where = j.where;
            d.tos = j.tos;
        }
        if (messages != 0) (void)network_.send(std::span(messages_).first(messages));
        std::size_t sent = 0, next = 0;
        for (std::size_t i = 0; i < count; ++i) {
            job_type& j = jobs[i];
            if (j.next == disposition::send) {
                datagram const& d = messages_[next++];
                j.why = d.why;
#ifndef WG_BARE
                j.error = d.error;
#endif
                j.where.local = d.where.local;
                of_[i]->error = d.error;
            }
            of_[i]->why = j.why == status::staged ? status::ok : j.why;
            sent += of_[i]->why == status::ok;
        }
        over_.complete(jobs, over_.clock().now());
        return sent;
    }

    /// Writes the headers of IP and UDP before the datagram.
    void write_headers(datagram& d, ip_address const& own) noexcept {
        bool const v4 = own.kind == family::v4;
        std::size_t const ip_bytes = v4 ? ipv4_header_bytes : ipv6_header_bytes, address_bytes = v4 ? 4 : 16;
        auto const udp_length = static_cast<std::uint16_t>(udp_header_bytes + d.length);
        d.grow(static_cast<std::ptrdiff_t>(ip_bytes + udp_header_bytes), 0);
        bytes const p = d.view();
        std::memset(p.data(), 0, ip_bytes + udp_header_bytes);
        byte* const addresses = &p[v4 ? 12 : 8];
        std::memcpy(addresses, own.octets.data(), address_bytes);
        std::memcpy(addresses + address_bytes, d.where.remote.address.octets.data(), address_bytes);
        store_be16(&p[ip_bytes], port_.number_);
        store_be16(&p[ip_bytes + 2], d.where.remote.port);
        store_be16(&p[ip_bytes + 4], udp_length);
        if (v4) {
            p[0] = 0x45;
            p[1] = d.tos;
            store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
            store_be16(&p[4], ++identification_); // routers may fragment the packet (RFC 6864)
            p[8] = 64;
            p[9] = ip_protocol_udp;
            store_be16(&p[10], checksum_finish(checksum_add(0, p.first(ipv4_header_bytes))));
        } else { // UDP over IPv6 has a checksum (RFC 8200, 8.1)
            store_be16(p.data(), static_cast<std::uint16_t>(0x6000 | d.tos << 4));
            store_be16(&p[4], udp_length);
            p[6] = ip_protocol_udp;
            p[7] = 64;
            std::uint32_t const pseudo = checksum_add(std::uint32_t{udp_length} + ip_protocol_udp, p.subspan(8, 32));
            std::uint16_t const sum = checksum_finish(checksum_add(pseudo, p.subspan(ip_bytes)));
            store_be16(&p[ip_bytes + 6], sum != 0 ? sum : std::uint16_t{0xffff});
        }
    }

    lane_shared<Outer>& shared_;
    device<Outer>& over_;
    outer_socket& network_;
    tun& through_;
    [[no_unique_address]] typename session_guard<Outer>::seen seen_;
    port port_{};
    std::uint16_t identification_ = 0;
    std::array<job_type, batch> jobs_{};
    std::array<datagram, batch> messages_{};
    std::array<datagram*, batch> of_{};
};

static_assert(tun_device<tun>);

} // namespace nested

}} // namespace wg::WG_ABI

#endif
