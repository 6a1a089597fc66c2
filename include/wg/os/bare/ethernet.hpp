// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on a board's Ethernet, without a network stack: ARP and neighbour discovery for one address of
// each family, and answers to echo requests (RFC 826, 894, 2464, 4861). Folder: os/bare. One thread at a time.
//
// Addresses are configured by the program (no DHCP, no SLAAC). A frame that is not understood is dropped.
#ifndef WG_OS_BARE_ETHERNET_HPP
#define WG_OS_BARE_ETHERNET_HPP

#include "ip_packet.hpp"
#include "neighbours.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace bare {

/// An address of the board, its network, and the gateway to other networks.
struct interface_address {
    ip_address address{};         ///< family::none: the board has no address of this family
    std::uint8_t prefix_bits = 0; ///< of the board's network
    ip_address gateway{};         ///< family::none: none
};

/// The link-local address that a station makes of its MAC address (RFC 4291, appendix A).
constexpr ip_address link_local_of(mac_address const& mac) noexcept {
    return {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<byte>(mac[0] ^ 2), mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4],
             mac[5]},
            family::v6};
}

/// Models `udp_socket` with one port on a board's Ethernet. It remembers the MAC addresses of `Neighbours` stations.
/// One datagram of at most `HeldBytes` (a handshake message has at most 148) waits while the MAC address of its
/// receiver is asked for.
template <board Board, std::size_t Neighbours = 4, std::size_t HeldBytes = 160> class ethernet {
public:
    static constexpr std::size_t receive_bytes = max_frame_bytes; ///< the room that a received datagram needs

    /// Uses this board, which must outlive the object.
    explicit ethernet(Board& b) noexcept : board_(b), mac_(b.mac()), link_local_(link_local_of(mac_)) {}
    ethernet(ethernet const&) = delete;
    ethernet& operator=(ethernet const&) = delete;

    /// Sets the board's IPv4 address.
    void set_v4(interface_address const& with) noexcept { v4_ = with; }
    /// Sets the board's IPv6 address, beside the link-local one.
    void set_v6(interface_address const& with) noexcept { v6_ = with; }

    /// Opens `port`; 0 means 51820. Returns: the port. It cannot fail, because there are no other sockets.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        port_ = port != 0 ? port : std::uint16_t{51820};
        return port_;
    }
    /// Closes the port; further datagrams are dropped.
    void close() noexcept { port_ = 0; }

    /// Reads at most 16 frames. Datagrams for the open port are returned; ARP, neighbour discovery and echo requests
    /// are answered. Returns: the number of datagrams.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        ask_for_held();
        std::size_t filled = 0;
        for (int frames = 0; frames < 16 && filled < datagrams.size(); ++frames) {
            datagram& d = datagrams[filled];
            bytes const room = bytes(d.buffer, d.capacity).subspan(d.offset);
            std::size_t const size = board_.receive(room.first((std::min)(room.size(), max_frame_bytes)));
            if (size == 0) break;
            d.length = static_cast<std::uint32_t>(size);
            if (take(room.first((std::min)(size, room.size())), d)) ++filled;
        }
        return filled;
    }

    /// Sends datagrams and stores each one's status in `why`: ok (sent, or waiting for its receiver's MAC address);
    /// not_supported (no address of that family, or no route); no_room (longer than a frame); would_block (the
    /// receiver's MAC address is not known yet, and the datagram is longer than `HeldBytes`); io_error (of the board).
    /// Returns: how many have the status ok.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (datagram& d : datagrams) {
            d.why = send_one(d.where.remote, d.tos, d.view());
            sent += d.why == status::ok;
        }
        return sent;
    }

private:
    static constexpr std::uint16_t type_ipv4 = 0x0800, type_arp = 0x0806, type_ipv6 = 0x86dd;
    static constexpr byte nd_solicitation = 135, nd_advertisement = 136;
    static constexpr std::size_t nd_bytes = 24, nd_option_bytes = 8; ///< without options; a link-layer address
    static constexpr mac_address broadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    // ------------------------------------------------------------------------------------------------------- arriving

    /// Reads a frame. Returns: true if it is a datagram for the open port, which `d` then describes. Any other frame is
    /// answered or dropped.
    bool take(bytes frame, datagram& d) noexcept {
        if (frame.size() < ethernet_header_bytes) return false;
        bool const to_us = std::equal(mac_.begin(), mac_.end(), frame.begin());
        if (!to_us && (frame[0] & 1) == 0) return false;
        mac_address station;
        std::copy_n(&frame[6], 6, station.begin());
        if ((station[0] & 1) != 0) return false; // a multicast address cannot be a sender
        bytes const packet = frame.subspan(ethernet_header_bytes);
        std::uint16_t const type = load_be16(&frame[12]);
        if (type == type_arp) return take_arp(packet), false;
        if (type != type_ipv4 && type != type_ipv6) return false;
        ip_message const m = read_ip_packet(packet);
        if (!m || (m.header.kind == family::v4) != (type == type_ipv4)) return false;
        if (type == type_ipv6 && m.header.protocol == ip_protocol_icmp_v6 && take_discovery(packet, m, station))
            return false;
        if (!to_us || !is_ours(m.to()) || is_ours(m.from()) || !m.has_sender()) return false;
        if (m.is_echo_request()) return answer_echo(frame, m, station), false;
        if (!m.is_udp() || port_ == 0 || m.udp_to() != port_ || m.udp_from() == 0) return false;
        bytes_view const payload = m.udp_payload();
        d.offset = static_cast<std::uint32_t>(payload.data() - d.buffer);
        d.length = converted<std::uint32_t>(payload.size());
        d.where = {{m.from(), m.udp_from(), 0}, {m.to(), 0}};
        d.tos = m.header.tos;
        d.segment_bytes = 0;
        d.why = status::ok;
        return true;
    }

    bool is_ours(ip_address const& address) const noexcept {
        return address == v4_.address || address == v6_.address || address == link_local_;
    }

    /// Answers an echo request. The answer goes to the station that sent the frame, so no route is looked up.
    void answer_echo(bytes frame, ip_message const& m, mac_address const& station) noexcept {
        make_echo_reply(frame.subspan(ethernet_header_bytes), m.header, identification_++);
        begin_frame(frame.data(), station, load_be16(&frame[12]));
        (void)board_.send(frame.first(ethernet_header_bytes + m.header.total_bytes), {});
    }

    void take_arp(bytes_view arp) noexcept {
        static constexpr byte ethernet_and_ipv4[] = {0, 1, 8, 0, 6, 4};
        if (arp.size() < 28 || !std::equal(std::begin(ethernet_and_ipv4), std::end(ethernet_and_ipv4), arp.begin()))
            return;
        if (v4_.address.kind == family::none) return;
        unsigned const operation = load_be16(&arp[6]);
        mac_address station;
        std::copy_n(&arp[8], 6, station.begin());
        auto const sender = ip_address::of(family::v4, &arp[14]);
        auto const target = ip_address::of(family::v4, &arp[24]);
        if ((station[0] & 1) != 0 || sender == v4_.address) return;
        bool const asks_us = operation == 1 && target == v4_.address;
        if (sender != ip_address::v4(0, 0, 0, 0)) learn(sender, station, asks_us && is_near(v4_, sender));
        if (asks_us) send_arp(2, station, station, sender);
    }

    /// Handles a message of neighbour discovery. Returns: whether the packet is one. Messages with a hop limit of less
    /// than 255 are ignored, because a router has forwarded them (RFC 4861, 11.2).
    bool take_discovery(bytes_view packet, ip_message const& m, mac_address const& from) noexcept {
        byte const type = m.body[0];
        if (type != nd_solicitation && type != nd_advertisement) return false;
        if (packet[7] != 255 || m.body[1] != 0 || m.body.size() < nd_bytes) return true;
        auto const target = ip_address::of(family::v6, &m.body[8]);
        if (target.octets[0] == 0xff) return true;
        bool const solicits = type == nd_solicitation;
        mac_address station{};
        bool has_station = false;
        for (bytes_view options = m.body.subspan(nd_bytes); options.size() >= 8;) {
            std::size_t const size = std::size_t{options[1]} * 8;
            if (size == 0 || size > options.size()) return true;
            if (options[0] == (solicits ? 1 : 2) && size == nd_option_bytes) {
                std::copy_n(&options[2], 6, station.begin());
                has_station = (station[0] & 1) == 0;
            }
            options = options.subspan(size);
        }
        if (solicits && (target == v6_.address || target == link_local_)) {
            if (has_station && m.has_sender()) learn(m.from(), station, true);
            answer_solicitation(m, target, from);
        } else if (!solicits && has_station && !is_ours(target)) {
            learn(target, station, false);
        }
        return true;
    }

    /// Notes that `address` is at `station`, and sends the datagram that waits for it.
    void learn(ip_address const& address, mac_address const& station, bool may_add) noexcept {
        neighbours_.learn(address, station, may_add, board_.now());
        if (held_.size == 0 || held_.next_hop != address) return;
        std::size_t const size = std::exchange(held_.size, std::size_t{0});
        (void)send_one(held_.to, held_.tos, bytes_view(held_.data).first(size));
    }

    // -------------------------------------------------------------------------------------------------------- leaving

    static bool is_near(interface_address const& at, ip_address const& other) noexcept {
        return ip_prefix::of(other, at.prefix_bits) == ip_prefix::of(at.address, at.prefix_bits);
    }
    static bool is_link_local(ip_address const& address) noexcept {
        return address.kind == family::v6 && address.octets[0] == 0xfe && (address.octets[1] & 0xc0) == 0x80;
    }

    struct route {
        ip_address from{}; ///< the source; family::none: there is no route
        ip_address next_hop{};
    };
    route route_to(ip_address const& remote) const noexcept {
        if (is_link_local(remote)) return {link_local_, remote};
        interface_address const& at = remote.kind == family::v4 ? v4_ : v6_;
        if (at.address.kind == family::none || remote.kind == family::none) return {};
        if (is_near(at, remote)) return {at.address, remote};
        return at.gateway.kind == family::none ? route{} : route{at.address, at.gateway};
    }

    status send_one(endpoint const& to, std::uint8_t tos, bytes_view payload) noexcept {
        route const way = route_to(to.address);
        if (way.from.kind == family::none) return status::not_supported;
        std::size_t const ip_bytes = ip_header_bytes(to.address.kind);
        std::size_t const message_bytes = udp_header_bytes + payload.size();
        if (ip_bytes + message_bytes > ethernet_mtu_bytes) return status::no_room;
        auto const n = neighbours_.find(way.next_hop, board_.now());
        if (n.ask) request_address(way.next_hop, n.station);
        if (n.station == nullptr) return hold(to, tos, payload, way.next_hop);
        byte head[ethernet_header_bytes + max_ip_header_bytes + udp_header_bytes];
        begin_frame(head, *n.station, to.address.kind == family::v4 ? type_ipv4 : type_ipv6);
        ip_fields const f{way.from, to.address, ip_protocol_udp, tos, default_hops, identification_++};
        std::size_t used = ethernet_header_bytes;
        used += write_ip_header(head + used, f, message_bytes);
        used += write_udp_header(head + used, f, port_, to.port, payload);
        return board_.send({head, used}, payload) ? status::ok : status::io_error;
    }

    /// Keeps the latest datagram while its receiver's MAC address is asked for (RFC 1122, section 2.3.2.2).
    status hold(endpoint const& to, std::uint8_t tos, bytes_view payload, ip_address const& next_hop) noexcept {
        if (payload.size() > HeldBytes) return status::would_block;
        copy(held_.data, payload);
        held_.size = payload.size();
        held_.to = to;
        held_.tos = tos;
        held_.next_hop = next_hop;
        held_.requests = 1;
        return status::ok;
    }

    /// Asks again for the MAC address that the held datagram waits for, or drops the datagram after `max_asks`.
    void ask_for_held() noexcept {
        if (held_.size == 0) return;
        auto const n = neighbours_.find(held_.next_hop, board_.now());
        if (!n.ask) return;
        if (held_.requests++ == neighbours<Neighbours>::max_asks) held_.size = 0;
        else request_address(held_.next_hop, nullptr);
    }

    void begin_frame(byte* at, mac_address const& to, std::uint16_t type) const noexcept {
        std::copy(to.begin(), to.end(), at);
        std::copy(mac_.begin(), mac_.end(), at + 6);
        store_be16(at + 12, type);
    }

    /// Asks for the MAC address of `address`: the station that had it last, or all stations if that is not known.
    void request_address(ip_address const& address, mac_address const* station) noexcept {
        if (address.kind == family::v4) send_arp(1, station != nullptr ? *station : broadcast, mac_address{}, address);
        else solicit(address, station);
    }

    void send_arp(std::uint16_t operation, mac_address const& to, mac_address const& target_station,
                  ip_address const& target) noexcept {
        byte frame[ethernet_header_bytes + 28];
        begin_frame(frame, to, type_arp);
        byte* const arp = frame + ethernet_header_bytes;
        store_be32(arp, 0x00010800); // Ethernet, IPv4
        store_be32(arp + 4, 0x06040000u | operation);
        std::copy(mac_.begin(), mac_.end(), arp + 8);
        std::memcpy(arp + 14, v4_.address.octets.data(), 4);
        std::copy(target_station.begin(), target_station.end(), arp + 18);
        std::memcpy(arp + 24, target.octets.data(), 4);
        (void)board_.send(frame, {});
    }

    void solicit(ip_address const& target, mac_address const* station) noexcept {
        mac_address to{0x33, 0x33, 0xff, target.octets[13], target.octets[14], target.octets[15]};
        // A station listens to the group of its address's last three bytes (RFC 4291, section 2.7.1).
        ip_address group{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, to[3], to[4], to[5]}, family::v6};
        if (station != nullptr) {
            to = *station;
            group = target;
        }
        bool const on_link = is_link_local(target) || v6_.address.kind == family::none;
        send_discovery(nd_solicitation, 0, to, {on_link ? link_local_ : v6_.address, group}, target);
    }

    void answer_solicitation(ip_message const& m, ip_address const& target, mac_address const& from) noexcept {
        constexpr ip_address all_nodes{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, family::v6};
        if (m.has_sender())
            send_discovery(nd_advertisement, 0x60, from, {target, m.from()}, target); // solicited, override
        else                                                                          // the sender has no address yet
            send_discovery(nd_advertisement, 0x20, {0x33, 0x33, 0, 0, 0, 1}, {target, all_nodes}, target);
    }

    void send_discovery(byte type, byte flags, mac_address const& to, ip_fields f, ip_address const& target) noexcept {
        byte frame[ethernet_header_bytes + ipv6_header_bytes + nd_bytes + nd_option_bytes] = {};
        begin_frame(frame, to, type_ipv6);
        f.protocol = ip_protocol_icmp_v6;
        f.hops = 255;
        byte* const ip = frame + ethernet_header_bytes;
        write_ip_header(ip, f, nd_bytes + nd_option_bytes);
        byte* const icmp = ip + ipv6_header_bytes;
        icmp[0] = type;
        icmp[4] = flags;
        std::memcpy(icmp + 8, target.octets.data(), 16);
        icmp[nd_bytes] = type == nd_solicitation ? 1 : 2; // the MAC address of the sender, or of the target
        icmp[nd_bytes + 1] = 1;
        std::copy(mac_.begin(), mac_.end(), icmp + nd_bytes + 2);
        store_be16(icmp + 2, message_checksum(f, {icmp, nd_bytes + nd_option_bytes}, {}));
        (void)board_.send(frame, {});
    }

    Board& board_;
    mac_address const mac_;
    ip_address const link_local_;
    interface_address v4_{}, v6_{};
    std::uint16_t port_ = 0;
    std::uint16_t identification_ = 0;
    neighbours<Neighbours> neighbours_;
    struct {
        endpoint to{};                ///< its destination
        ip_address next_hop{};        ///< the neighbour whose MAC address is not known yet
        std::size_t size = 0;         ///< 0: no datagram waits
        unsigned requests = 0;        ///< how often the MAC address of `next_hop` was requested
        std::uint8_t tos = 0;         ///< DSCP and ECN
        byte_array<HeldBytes> data{}; ///< its UDP payload
    } held_;
};

}}} // namespace wg::WG_ABI::bare

#endif
