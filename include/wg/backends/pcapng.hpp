// SPDX-License-Identifier: BSL-1.0
// Writes what a device sees as a capture for Wireshark: the packets inside the tunnel, and the messages outside
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html). Folder: backends; called under the device's lock.
//
//     struct my_policies : wg::default_policies { using observer = wg::pcapng_observer; };
//     wg::device<my_policies> device{wg::pcapng_observer{&wg::os::trace_file::write, &file}};
#ifndef WG_BACKENDS_PCAPNG_HPP
#define WG_BACKENDS_PCAPNG_HPP

#include "../base/ip.hpp"
#include "../base/tai64n.hpp"
#include "../policy.hpp"
#include "base64.hpp"

#include <algorithm>
#include <cstring>

namespace wg { inline namespace WG_ABI {

/// An observer that writes a capture. The file has two interfaces: `inner` has the packets of the host, `outer` the
/// messages of the network. Each comment names the peer, and says why a packet did not pass.
///
/// A device does not know the IP headers of messages, so they are made up: this end has the address 0.0.0.0 or ::, and
/// the device's port.
class pcapng_observer {
public:
    /// Events are not reported.
    static constexpr bool enabled = false;
    /// Writes the pieces of a block one after the other to the end of the capture. `context`: see the constructor.
    using write_type = void (*)(void* context, std::span<bytes_view const> pieces) noexcept;

    /// Writes nothing.
    pcapng_observer() noexcept = default;
    /// Writes by `write(context, pieces)`; `context` outlives the device.
    pcapng_observer(write_type write, void* context) noexcept : write_(write), context_(context) {}

    /// Never called.
    void event(event_id, std::uint32_t, std::uint64_t) noexcept {}

    /// Writes a packet. Before the first one it writes the header of the capture.
    void packet(seen_packet const& seen) noexcept {
        family const kind = seen.remote.address.kind;
        if (write_ == nullptr || (seen.outer && kind == family::none)) return;
        if (!std::exchange(has_begun_, true)) begin();
        byte_array<ipv6_header_bytes + udp_header_bytes> headers{};
        bytes_view const made_up = seen.outer ? write_headers(headers, seen) : bytes_view{};
        block b;
        b.put32(6); // Enhanced Packet Block
        b.put32(0); // its length, see `finish`
        b.put32(seen.outer ? outer_interface : inner_interface);
        std::uint64_t const time = nanoseconds_since_1970(seen.label);
        b.put32(static_cast<std::uint32_t>(time >> 32));
        b.put32(static_cast<std::uint32_t>(time));
        std::size_t const captured = made_up.size() + seen.data.size();
        b.put32(static_cast<std::uint32_t>(captured));
        b.put32(static_cast<std::uint32_t>(made_up.size() + seen.length));
        block after;
        for (std::size_t i = captured; i % 4 != 0; ++i) after.put8(0);
        put_comment(after, seen);
        after.put16(2); // epb_flags
        after.put16(4);
        after.put32(seen.outbound ? 2 : 1); // the direction
        after.put32(0);                     // opt_endofopt
        std::size_t const total = b.size + captured + after.size + 4;
        after.put32(static_cast<std::uint32_t>(total));
        store_le32(&b.data[4], static_cast<std::uint32_t>(total));
        bytes_view const pieces[] = {b.view(), made_up, seen.data, after.view()};
        write_(context_, std::span<bytes_view const>(pieces));
    }

private:
    static constexpr std::uint32_t inner_interface = 0, outer_interface = 1;

    /// Bytes of the file: numbers are little-endian, which the section header says.
    struct block {
        byte data[160];
        std::size_t size = 0;

        block() noexcept {} // the bytes are written before they are read
        void put8(byte value) noexcept {
            WG_ASSERT(size < sizeof data);
            data[size++] = value;
        }
        void put16(std::uint16_t value) noexcept {
            put8(static_cast<byte>(value));
            put8(static_cast<byte>(value >> 8));
        }
        void put32(std::uint32_t value) noexcept {
            put16(static_cast<std::uint16_t>(value));
            put16(static_cast<std::uint16_t>(value >> 16));
        }
        /// Text of at most 120 characters, as an option.
        void put_option(std::uint16_t code, char const* text, std::size_t length) noexcept {
            put16(code);
            put16(static_cast<std::uint16_t>(length));
            for (std::size_t i = 0; i < length; ++i) put8(static_cast<byte>(text[i]));
            while (size % 4 != 0) put8(0);
        }
        bytes_view view() const noexcept { return {data, size}; }
    };

    void begin() noexcept {
        block b;
        b.put32(0x0a0d0d0a); // Section Header Block
        b.put32(28);
        b.put32(0x1a2b3c4d); // the byte order
        b.put16(1);          // version 1.0
        b.put16(0);
        b.put32(0xffffffff); // the length of the section is not known
        b.put32(0xffffffff);
        b.put32(28);
        for (char const* const name : {"inner", "outer"}) {
            std::uint32_t constexpr length = 20 + 12 + 8 + 4;
            b.put32(1); // Interface Description Block
            b.put32(length);
            b.put16(101); // LINKTYPE_RAW: packets begin with their IP header
            b.put16(0);
            b.put32(0);                 // packets have any length
            b.put_option(2, name, 5);   // if_name
            b.put_option(9, "\x09", 1); // if_tsresol: nanoseconds
            b.put32(0);                 // opt_endofopt
            b.put32(length);
        }
        bytes_view const piece = b.view();
        write_(context_, std::span(&piece, 1));
    }

    /// What is written of the peer: as many characters of its key as wg(8) needs to tell peers apart in most setups.
    static constexpr std::size_t key_chars = 8;

    static void put_comment(block& to, seen_packet const& seen) noexcept {
        char text[120];
        std::size_t length = 0;
        auto const put = [&](char const* more) noexcept {
            for (; *more != '\0' && length < sizeof text; ++more) text[length++] = *more;
        };
        if (seen.peer != nullptr) {
            put("peer ");
            print_base64(bytes_view(*seen.peer).first(key_chars / 4 * 3), std::span(text + length, key_chars));
            length += key_chars;
        }
        if (seen.why != status::ok && seen.why != status::queued) {
            if (length != 0) put(", ");
            if (seen.why != status::staged) put("dropped: ");
            put(describe(seen.why));
        }
        if (length == 0) return;
        // Options begin at a multiple of four bytes of the block; the padding of the packet comes before them.
        std::size_t const padding = to.size % 4;
        to.put16(1); // opt_comment
        to.put16(static_cast<std::uint16_t>(length));
        for (std::size_t i = 0; i < length; ++i) to.put8(static_cast<byte>(text[i]));
        while ((to.size - padding) % 4 != 0) to.put8(0);
    }

    static std::uint64_t nanoseconds_since_1970(byte_array<timestamp_bytes> const& label) noexcept {
        return static_cast<std::uint64_t>(unix_seconds_of(label)) * 1'000'000'000 + nanoseconds_of(label);
    }

    /// Writes an IP header and a UDP header for a message. Returns: both.
    static bytes_view write_headers(byte_array<ipv6_header_bytes + udp_header_bytes>& to,
                                    seen_packet const& seen) noexcept {
        bool const v4 = seen.remote.address.kind == family::v4;
        std::size_t const ip_bytes = v4 ? ipv4_header_bytes : ipv6_header_bytes, address_bytes = v4 ? 4 : 16;
        auto const udp_length = static_cast<std::uint16_t>(udp_header_bytes + seen.length);
        byte* const addresses = &to[v4 ? 12 : 8];
        std::memcpy(addresses + (seen.outbound ? address_bytes : 0), seen.remote.address.octets.data(), address_bytes);
        if (v4) {
            to[0] = 0x45;
            to[1] = seen.tos;
            store_be16(&to[2], static_cast<std::uint16_t>(ipv4_header_bytes + udp_length));
            to[8] = 64;
            to[9] = ip_protocol_udp;
            store_be16(&to[10], checksum_finish(checksum_add(0, bytes_view(to).first(ipv4_header_bytes))));
        } else {
            store_be16(to.data(), static_cast<std::uint16_t>(0x6000 | seen.tos << 4));
            store_be16(&to[4], udp_length);
            to[6] = ip_protocol_udp;
            to[7] = 64;
        }
        byte* const udp = &to[ip_bytes];
        store_be16(udp, seen.outbound ? seen.port : seen.remote.port);
        store_be16(udp + 2, seen.outbound ? seen.remote.port : seen.port);
        store_be16(udp + 4, udp_length);
        // UDP over IPv6 has a checksum (RFC 8200, 8.1). Over IPv4 zero stands for none.
        if (!v4 && seen.length == seen.data.size()) {
            std::uint32_t sum = std::uint32_t{udp_length} + ip_protocol_udp;
            sum = checksum_add(sum, {addresses, 2 * address_bytes});
            sum = checksum_add(sum, {udp, udp_header_bytes});
            std::uint16_t const checksum = checksum_finish(checksum_add(sum, seen.data));
            store_be16(udp + 6, checksum != 0 ? checksum : std::uint16_t{0xffff});
        }
        return {to.data(), ip_bytes + udp_header_bytes};
    }

    write_type write_ = nullptr;
    void* context_ = nullptr;
    bool has_begun_ = false;
};
static_assert(observer_with_packets<pcapng_observer>);

}} // namespace wg::WG_ABI

#endif
