// SPDX-License-Identifier: BSL-1.0
// A board as a host inside the tunnel: answers echo requests, and has UDP for its application (RFC 768, 792, 4443).
// Folder: os/bare. One thread at a time.
#ifndef WG_OS_BARE_HOST_HPP
#define WG_OS_BARE_HOST_HPP

#include "../../policy.hpp"
#include "ip_packet.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace bare {

/// Models `tun_device`: the board itself is the host that sends and receives. At most `Queue` packets wait to be sent.
template <std::size_t MtuBytes = default_mtu_bytes, std::size_t Queue = 2> class host {
public:
    static constexpr std::size_t headroom = 0; ///< bytes that `write` needs before a packet

    /// A function that takes a datagram from the tunnel, whose headers and checksum are right. It may call `send`.
    /// `payload` is valid during the call.
    using receiver = void (*)(void* context, endpoint const& from, std::uint16_t to_port, bytes_view payload) noexcept;

    /// Sets the host's IPv4 address.
    void set_v4(ip_address const& address) noexcept { v4_ = address; }
    /// Sets the host's IPv6 address.
    void set_v6(ip_address const& address) noexcept { v6_ = address; }
    /// Hands datagrams to `with`, with this `context`.
    void set_receiver(receiver with, void* context) noexcept {
        receiver_ = with;
        context_ = context;
    }

    /// Sends a datagram into the tunnel. Returns: `not_supported` if this host has no address of that family; `no_room`
    /// if the packet is longer than the MTU; `would_block` if the queue is full until the engine runs.
    status send(endpoint const& to, std::uint16_t from_port, bytes_view payload) noexcept {
        ip_address const& from = to.address.kind == family::v4 ? v4_ : v6_;
        if (from.kind == family::none || from.kind != to.address.kind) return status::not_supported;
        std::size_t const message_bytes = udp_header_bytes + payload.size();
        std::size_t const size = ip_header_bytes(from.kind) + message_bytes;
        if (size > MtuBytes) return status::no_room;
        if (count_ == Queue) return status::would_block;
        slot& s = add(size);
        ip_fields const f{from, to.address, ip_protocol_udp, 0, default_hops, identification_++};
        byte* at = s.data.data() + write_ip_header(s.data.data(), f, message_bytes);
        at += write_udp_header(at, f, from_port, to.port, payload);
        std::copy(payload.begin(), payload.end(), at);
        return status::ok;
    }

    /// Hands out the packets that wait. Returns: how many.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t filled = 0;
        for (; filled < packets.size() && count_ != 0; ++filled) {
            slot const& s = queue_[first_];
            packet& p = packets[filled];
            p.length = static_cast<std::uint32_t>(std::min<std::size_t>(s.size, p.capacity - p.offset));
            copy(p.view(), bytes_view(s.data).first(p.length));
            first_ = (first_ + 1) % Queue;
            --count_;
        }
        return filled;
    }

    /// Takes packets from the tunnel: answers echo requests, and hands datagrams to the receiver. Returns: how many.
    std::size_t write(std::span<packet> packets) noexcept {
        for (packet const& p : packets) take(p.view());
        return packets.size();
    }
    /// The MTU in bytes.
    std::size_t mtu() const noexcept { return MtuBytes; }

private:
    struct slot {
        std::size_t size = 0;
        byte_array<MtuBytes> data;
    };

    slot& add(std::size_t size) noexcept {
        slot& s = queue_[(first_ + count_++) % Queue];
        s.size = size;
        return s;
    }

    void take(bytes_view data) noexcept {
        ip_message const m = read_ip_packet(data);
        if (!m || (m.to() != v4_ && m.to() != v6_) || m.from() == m.to() || !m.has_sender()) return;
        if (m.is_echo_request() && count_ != Queue && m.header.total_bytes <= MtuBytes) {
            slot& s = add(m.header.total_bytes);
            copy(s.data, data.first(s.size));
            make_echo_reply(bytes(s.data).first(s.size), parse_ip(bytes_view(s.data).first(s.size)), identification_++);
        } else if (m.is_udp() && receiver_ != nullptr) {
            receiver_(context_, {m.from(), m.udp_from(), 0}, m.udp_to(), m.udp_payload());
        }
    }

    ip_address v4_{}, v6_{};
    receiver receiver_ = nullptr;
    void* context_ = nullptr;
    std::uint16_t identification_ = 0;
    std::size_t first_ = 0, count_ = 0;
    std::array<slot, Queue> queue_;
};
static_assert(tun_device<host<>>);

}}} // namespace wg::WG_ABI::bare

#endif
