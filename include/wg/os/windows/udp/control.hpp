// SPDX-License-Identifier: BSL-1.0
// A datagram's address as a socket address of Winsock, and its control messages: local address and interface, ECN,
// segment size. Folder: os/windows/udp. Pure; any thread.
#ifndef WG_OS_WINDOWS_UDP_CONTROL_HPP
#define WG_OS_WINDOWS_UDP_CONTROL_HPP

#include "../../../base/ip.hpp"
#include "../../../base/packet.hpp"
#include "../api.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows { namespace udp_detail {

using api_detail::message;
using api_detail::socket_address;

/// Writes `where` as a socket address. Returns: its length in bytes.
inline int spell(endpoint const& where, socket_address& out) noexcept {
    if (where.address.kind == family::v4) {
        out.v4 = {};
        out.v4.family = api_detail::family_v4;
        store_be16(reinterpret_cast<byte*>(&out.v4.port), where.port);
        std::memcpy(out.v4.address, where.address.octets.data(), 4);
        return sizeof out.v4;
    }
    out.v6 = {};
    out.v6.family = api_detail::family_v6;
    store_be16(reinterpret_cast<byte*>(&out.v6.port), where.port);
    std::memcpy(out.v6.address, where.address.octets.data(), 16);
    out.v6.scope = where.scope_id;
    return sizeof out.v6;
}

/// Reads a socket address of `size` bytes. Returns: an endpoint without a family if it is neither IPv4 nor IPv6.
inline endpoint read_address(socket_address const& from, int size) noexcept {
    if (size >= static_cast<int>(sizeof from.v4) && from.family == api_detail::family_v4)
        return {ip_address::of(family::v4, from.v4.address), load_be16(reinterpret_cast<byte const*>(&from.v4.port)),
                0};
    if (size >= static_cast<int>(sizeof from.v6) && from.family == api_detail::family_v6)
        return {ip_address::of(family::v6, from.v6.address), load_be16(reinterpret_cast<byte const*>(&from.v6.port)),
                from.v6.scope};
    return {};
}

/// Whether `d` has a source of its destination's family.
inline bool has_source(datagram const& d) noexcept {
    return d.where.local.address.kind != family::none && d.where.local.address.kind == d.where.remote.address.kind;
}

/// The bytes that a control message of `size` bytes takes.
constexpr std::size_t aligned(std::size_t size) noexcept { return (size + 7) / 8 * 8; }

/// The control messages of one datagram. Headers and values are aligned to 8 bytes (WSA_CMSG_SPACE of 64-bit Windows).
class control_messages {
public:
    /// Gives `m`, which is to be received, room for control messages.
    void prepare(message& m) noexcept { m.control = {sizeof room_, room_}; }

    /// Sets `where.local`, `tos` and `segment_bytes` of `d` from the control messages of `m`. The caller has set the
    /// length of `d`. A control message with a wrong size ends the loop.
    static void read(message const& m, datagram& d) noexcept {
        d.where.local = {};
        d.tos = 0;
        d.segment_bytes = 0;
        for (std::size_t at = 0; m.control.size >= at && m.control.size - at >= header_bytes;) {
            control_header header;
            std::memcpy(&header, m.control.data + at, sizeof header);
            if (header.size < header_bytes || header.size > m.control.size - at) return;
            read_one(header, {m.control.data + at + header_bytes, header.size - header_bytes}, d);
            at += aligned(header.size);
        }
    }

    /// Writes the control messages of a message to send. `segment_bytes`: the length of its datagrams, if there are
    /// several; else 0. Of the tos only the ECN bits can be sent, where `sends_ecn`: Windows takes the DSCP from the
    /// policies of the administrator.
    void write(message& m, datagram const& d, std::size_t segment_bytes, bool sends_ecn) noexcept {
        used_ = 0;
        bool const is_v4 = d.where.remote.address.kind == family::v4;
        local_source const& local = d.where.local;
        if (has_source(d) && is_v4) {
            api_detail::packet_info_v4 info{};
            std::memcpy(info.address, local.address.octets.data(), sizeof info.address);
            info.interface_index = local.interface_index;
            append(api_detail::level_v4, api_detail::option_packet_info, info);
        } else if (has_source(d)) {
            api_detail::packet_info_v6 info{};
            std::memcpy(info.address, local.address.octets.data(), sizeof info.address);
            info.interface_index = local.interface_index;
            append(api_detail::level_v6, api_detail::option_packet_info, info);
        }
        if (sends_ecn && (d.tos & ecn_bits) != 0)
            append(is_v4 ? api_detail::level_v4 : api_detail::level_v6, api_detail::option_ecn,
                   std::int32_t{d.tos & ecn_bits});
        if (segment_bytes != 0)
            append(api_detail::level_udp, api_detail::option_segment, static_cast<std::uint32_t>(segment_bytes));
        m.control = {static_cast<std::uint32_t>(used_), used_ != 0 ? room_ : nullptr};
    }

    static constexpr int ecn_bits = 3; ///< of a tos (RFC 3168)

private:
    using control_header = api_detail::control_header;
    static constexpr std::size_t header_bytes = sizeof(control_header);
    static_assert(sizeof(void*) != 8 || header_bytes == 16);

    static bool is_unicast(byte const (&v4)[4]) noexcept { return v4[0] < 224 && (v4[0] | v4[1] | v4[2] | v4[3]) != 0; }

    static void read_one(control_header const& header, std::span<byte const> value, datagram& d) noexcept {
        bool const is_v4 = header.level == api_detail::level_v4, is_v6 = header.level == api_detail::level_v6;
        if (header.type == api_detail::option_packet_info && is_v4) {
            api_detail::packet_info_v4 info;
            // A broadcast or multicast address cannot be a source.
            if (!copy(value, info) || !is_unicast(info.address)) return;
            d.where.local = local_source{ip_address::of(family::v4, info.address), info.interface_index};
        } else if (header.type == api_detail::option_packet_info && is_v6) {
            api_detail::packet_info_v6 info;
            if (!copy(value, info) || info.address[0] == 0xff) return;
            d.where.local = local_source{ip_address::of(family::v6, info.address), info.interface_index};
        } else if ((is_v4 && header.type == api_detail::control_tos_v4) ||
                   (is_v6 && header.type == api_detail::control_tos_v6)) {
            std::int32_t tos;
            if (copy(value, tos)) d.tos = static_cast<byte>(tos);
        } else if ((is_v4 || is_v6) && header.type == api_detail::option_ecn) {
            std::int32_t ecn;
            if (copy(value, ecn)) d.tos = static_cast<byte>(d.tos | (ecn & ecn_bits));
        } else if (header.level == api_detail::level_udp && header.type == api_detail::option_coalesce) {
            std::uint32_t segment;
            if (copy(value, segment) && segment < d.length && segment <= 0xffff)
                d.segment_bytes = static_cast<std::uint16_t>(segment);
        }
    }

    template <class Value> static bool copy(std::span<byte const> from, Value& value) noexcept {
        if (from.size() < sizeof value) return false;
        std::memcpy(&value, from.data(), sizeof value);
        return true;
    }

    template <class Value> void append(int level, int type, Value const& value) noexcept {
        static_assert(sizeof value <= sizeof(api_detail::packet_info_v6));
        byte* const at = room_ + used_;
        std::memset(at, 0, header_bytes + aligned(sizeof value));
        control_header const header{header_bytes + sizeof value, level, type};
        std::memcpy(at, &header, sizeof header);
        std::memcpy(at + header_bytes, &value, sizeof value);
        used_ += header_bytes + aligned(sizeof value);
    }

    // Received are at most an address, a tos, an ECN and a segment size.
    alignas(8) byte room_[header_bytes + aligned(sizeof(api_detail::packet_info_v6)) + 3 * (header_bytes + 8)];
    std::size_t used_ = 0;
};

}}}}} // namespace wg::WG_ABI::os::windows::udp_detail

#endif
