// SPDX-License-Identifier: BSL-1.0
// Joins consecutive packets of a TCP connection or a UDP flow into one frame, which the host takes in one call.
// Folder: os/tun. Pure; one thread at a time.
#ifndef WG_OS_TUN_COALESCER_HPP
#define WG_OS_TUN_COALESCER_HPP

#include "../../base/packet.hpp"
#include "packet_headers.hpp"
#include "virtio.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os {

/// Plans which packets of a batch share a frame. Packets of one TCP connection or UDP flow keep their order, and so do
/// all packets that are neither TCP nor UDP. No payload is copied, and no packet is changed. `Piece` is made of a
/// pointer and a number of bytes.
template <class Piece> class basic_coalescer {
public:
    static constexpr std::size_t max_packets = 244;  ///< in one plan, and so in one frame
    static constexpr std::size_t max_datagrams = 64; ///< in one frame of UDP; Linux refuses more (128 in new kernels)

    /// Plans frames for `packets`, at most `max_packets`. `joins_tcp` and `joins_udp` say which protocols are joined.
    /// The packets must stay where they are while the plan is in use.
    basic_coalescer(std::span<packet const> packets, bool joins_tcp, bool joins_udp) noexcept : packets_(packets) {
        WG_ASSERT(packets.size() <= max_packets);
        for (std::size_t i = 0; i < packets.size(); ++i) {
            next_[i] = none;
            headers const h = read_headers(packets[i].view());
            if (h.kind == kinds::unclear) reachable_ = frame_count_; // it may belong to any flow
            bool const joins = (h.kind == kinds::tcp && joins_tcp) || (h.kind == kinds::udp && joins_udp);
            frame* const f = joins ? latest_of(h) : nullptr;
            if (f != nullptr && may_join(*f, h)) {
                if (!has_right_checksums(*f)) {
                    f->open = false;
                } else if (is_right(h)) {
                    join(*f, h, i);
                    continue;
                }
            }
            frames_[frame_count_++] = {h,
                                       h.sequence() + h.payload_bytes,
                                       h.size_bytes,
                                       static_cast<std::uint8_t>(i),
                                       static_cast<std::uint8_t>(i),
                                       1,
                                       joins && !is_pushed(h),
                                       false};
        }
    }

    /// The number of frames.
    std::size_t frame_count() const noexcept { return frame_count_; }
    /// The number of packets in frame `number`.
    std::size_t packet_count(std::size_t number) const noexcept { return frames_[number].count; }

    /// The bytes of frame `number`, without its virtio header.
    std::size_t size_bytes(std::size_t number) const noexcept { return frames_[number].size_bytes; }

    /// The first packet of frame `number`.
    bytes_view first_packet(std::size_t number) const noexcept { return packets_[frames_[number].first].view(); }

    /// The pieces of frame `number` in the order in which they must be written. They are valid until the next call.
    std::span<Piece const> pieces(std::size_t number) noexcept {
        frame const& f = frames_[number];
        bool const joined = f.count > 1;
        virtio_header const header = joined ? write_joined_headers(f) : virtio_header{};
        header.store(bytes(front_).first<virtio_header_bytes>());
        std::size_t const own_bytes = joined ? f.head.header_bytes() : 0; // headers that are written into `front_`
        std::size_t count = 0;
        pieces_[count++] = {front_, virtio_header_bytes + own_bytes};
        for (std::size_t i = f.first; i != none; i = next_[i])
            pieces_[count++] = {packets_[i].buffer + packets_[i].offset + own_bytes, packets_[i].length - own_bytes};
        return {pieces_, count};
    }

    /// Calls `use(packet)` for each packet of frame `number`, to write them singly if the host refuses the frame.
    template <class Use> void each_packet(std::size_t number, Use use) const noexcept {
        for (std::size_t i = frames_[number].first; i != none; i = next_[i]) use(packets_[i]);
    }

private:
    static constexpr std::uint8_t none = 0xff;

    enum class kinds : std::uint8_t {
        unclear, ///< a fragment, with options, or not IP: may belong to any flow, so no later packet may overtake it
        other,   ///< neither TCP nor UDP: other packets may overtake it
        alone,   ///< TCP or UDP that is never joined, but keeps its place in its connection or flow
        tcp,     ///< can be joined
        udp,     ///< can be joined
    };

    struct headers {
        byte const* ip;
        std::uint64_t flow; ///< equal for packets of one connection; two connections can have the same number
        std::uint32_t size_bytes;
        std::uint16_t payload_bytes;
        std::uint8_t ip_bytes;
        std::uint8_t segment_header_bytes; ///< of TCP or UDP; 0: the packet is neither
        kinds kind;

        bool v4() const noexcept { return ip[0] >> 4 == 4; }
        byte protocol() const noexcept { return v4() ? ip[9] : ip[6]; }
        byte const* segment() const noexcept { return ip + ip_bytes; }
        std::size_t header_bytes() const noexcept { return std::size_t{ip_bytes} + segment_header_bytes; }
        std::uint32_t sequence() const noexcept { return kind == kinds::tcp ? load_be32(segment() + 4) : 0; }
    };

    struct frame {
        headers head;                    ///< of the first packet
        std::uint32_t next_sequence;     ///< of the TCP segment that would follow
        std::uint32_t size_bytes;        ///< of the joined packet
        std::uint8_t first, last, count; ///< numbers of its first and last packet; how many it has
        bool open;                       ///< may take more packets
        bool right;                      ///< all checksums were found right; those of a single packet are not checked
    };

    static headers read_headers(bytes_view packet) noexcept {
        using namespace headers_detail;
        headers h{};
        h.ip = packet.data();
        h.size_bytes = converted<std::uint32_t>(packet.size());
        ip_view const ip(packet);
        if (ip.is_v4()) {
            bool const plain = ip.header_bytes() == ipv4_header_bytes && !ip.has_fragment_bits();
            if (!plain || ip.total_bytes() != packet.size()) return h;
            h.ip_bytes = ipv4_header_bytes;
            h.flow = load_le64(&packet[12]);
        } else if (ip.is_v6()) {
            if (ip.total_bytes() != packet.size()) return h;
            h.ip_bytes = ipv6_header_bytes;
            h.flow = load_le64(&packet[8]) ^ load_le64(&packet[16]) ^ load_le64(&packet[24]) ^ load_le64(&packet[32]);
        } else {
            return h;
        }
        if (h.protocol() == ip_protocol_tcp) read_tcp(h);
        else if (h.protocol() == ip_protocol_udp) read_udp(h);
        else if (h.v4() || h.protocol() == ip_protocol_icmp_v6) // others of IPv6 may be extension headers
            h.kind = kinds::other;
        return h;
    }

    static void read_tcp(headers& h) noexcept {
        using namespace headers_detail;
        std::size_t const room = h.size_bytes - h.ip_bytes;
        std::size_t const length = room >= tcp_header_bytes ? tcp_bytes_of(h.segment()) : 0;
        if (length < tcp_header_bytes || length > room) return;
        read_segment(h, length);
        bool const plain = (load_be16(h.segment() + 12) & 0x0fff & ~(psh | ece)) == ack;
        h.kind = plain && h.payload_bytes != 0 ? kinds::tcp : kinds::alone;
    }

    static void read_udp(headers& h) noexcept {
        using namespace headers_detail;
        std::size_t const room = h.size_bytes - h.ip_bytes;
        if (room < udp_header_bytes) return;
        read_segment(h, udp_header_bytes);
        bool const plain = load_be16(h.segment() + 4) == room && load_word(h.segment() + udp_checksum_at) != 0;
        h.kind = plain && h.payload_bytes != 0 ? kinds::udp : kinds::alone;
    }

    static void read_segment(headers& h, std::size_t header_bytes) noexcept {
        h.segment_header_bytes = static_cast<std::uint8_t>(header_bytes);
        h.payload_bytes = static_cast<std::uint16_t>(h.size_bytes - h.ip_bytes - header_bytes);
        h.flow ^= (std::uint64_t{load_be32(h.segment())} << 8 | h.protocol()) * 0x9e3779b97f4a7c15;
    }

    static bool is_pushed(headers const& h) noexcept {
        return h.kind == kinds::tcp && (h.segment()[13] & headers_detail::psh) != 0;
    }

    /// The latest frame that has packets of the same connection or flow; none: nullptr.
    frame* latest_of(headers const& h) noexcept {
        for (std::size_t i = frame_count_; i-- > reachable_;) {
            headers const& other = frames_[i].head;
            if (other.flow != h.flow || other.ip_bytes != h.ip_bytes || other.segment_header_bytes == 0) continue;
            bool const same_ends =
                h.v4() ? std::memcmp(other.ip + 12, h.ip + 12, 8) == 0 : std::memcmp(other.ip + 8, h.ip + 8, 32) == 0;
            if (same_ends && other.protocol() == h.protocol() && std::memcmp(other.segment(), h.segment(), 4) == 0)
                return &frames_[i];
        }
        return nullptr;
    }

    /// Whether cutting the frame with this packet in it would give back the same packets.
    bool may_join(frame const& f, headers const& h) const noexcept {
        using namespace headers_detail;
        headers const& a = f.head;
        if (!f.open || (h.kind == kinds::tcp && h.sequence() != f.next_sequence)) return false;
        if (h.segment_header_bytes != a.segment_header_bytes || h.payload_bytes > a.payload_bytes) return false;
        if (f.size_bytes + h.payload_bytes > max_frame_packet_bytes) return false;
        if (h.v4()) {
            // Tos, flags and time to live. The identification counts up, or is unused (RFC 6864, 4.1).
            if (h.ip[1] != a.ip[1] || h.ip[6] != a.ip[6] || h.ip[8] != a.ip[8]) return false;
            bool const counted = load_be16(h.ip + 4) == static_cast<std::uint16_t>(load_be16(a.ip + 4) + f.count);
            if (!counted && (h.ip[6] & 0x40) == 0) return false;
        } else if (std::memcmp(h.ip, a.ip, 4) != 0 || h.ip[7] != a.ip[7]) {
            return false; // traffic class, flow label, hop limit
        }
        if (h.kind == kinds::udp) return f.count < max_datagrams;
        byte const *const x = a.segment(), *const y = h.segment();
        for (std::size_t at = tcp_header_bytes; at < h.segment_header_bytes;
             at += 4) // options; a call of memcmp would take longer
            if (load_be32(x + at) != load_be32(y + at)) return false;
        return load_be32(x + 8) == load_be32(y + 8) && (x[12] == y[12]) && ((x[13] ^ y[13]) & ~psh) == 0 &&
               load_be16(x + 14) == load_be16(y + 14) && load_be16(x + 18) == load_be16(y + 18);
    }

    /// Whether the checksums are right. The host does not check those of a frame.
    static bool is_right(headers const& h) noexcept {
        if (h.v4() && fold_sum(add_words(0, {h.ip, h.ip_bytes})) != 0xffff) return false;
        std::size_t const bytes = h.size_bytes - h.ip_bytes;
        return fold_sum(add_words(headers_detail::pseudo_header_sum(h.ip, h.protocol(), bytes),
                                  {h.segment(), bytes})) == 0xffff;
    }
    static bool has_right_checksums(frame& f) noexcept { return f.right = f.right || is_right(f.head); }

    void join(frame& f, headers const& h, std::size_t number) noexcept {
        next_[f.last] = static_cast<std::uint8_t>(number);
        f.last = static_cast<std::uint8_t>(number);
        ++f.count;
        f.size_bytes += h.payload_bytes;
        f.next_sequence += h.payload_bytes;
        f.open = h.payload_bytes == f.head.payload_bytes && !is_pushed(h);
    }

    /// Writes the headers of a frame of several packets into `front_`. Returns: its virtio header.
    virtio_header write_joined_headers(frame const& f) noexcept {
        using namespace headers_detail;
        bool const tcp = f.head.kind == kinds::tcp;
        std::size_t const segment_bytes = f.size_bytes - f.head.ip_bytes;
        byte* const ip = front_ + virtio_header_bytes;
        byte* const segment = ip + f.head.ip_bytes;
        std::memcpy(ip, f.head.ip, f.head.header_bytes());
        finish_ip(ip, f.head.ip_bytes, f.size_bytes);
        virtio_header header;
        header.flags = virtio_header::needs_checksum;
        header.header_bytes = static_cast<std::uint16_t>(f.head.header_bytes());
        header.segment_bytes = f.head.payload_bytes;
        header.checksum_start = f.head.ip_bytes;
        if (tcp) {
            packet const& last = packets_[f.last];
            segment[13] |= static_cast<byte>(last.buffer[last.offset + f.head.ip_bytes + 13] & psh);
            header.segments = f.head.v4() ? virtio_header::tcp_v4 : virtio_header::tcp_v6;
            header.checksum_offset = tcp_checksum_at;
        } else {
            store_be16(segment + 4, static_cast<std::uint16_t>(segment_bytes));
            header.segments = virtio_header::udp;
            header.checksum_offset = udp_checksum_at;
        }
        store_word(segment + header.checksum_offset, fold_sum(pseudo_header_sum(ip, f.head.protocol(), segment_bytes)));
        return header;
    }

    std::span<packet const> packets_;
    std::size_t frame_count_ = 0;
    std::size_t reachable_ = 0; ///< frames before this one take no more packets
    frame frames_[max_packets];
    std::uint8_t next_[max_packets]; ///< of each packet, the next one in its frame
    Piece pieces_[1 + max_packets];
    byte front_[virtio_header_bytes + ipv6_header_bytes + headers_detail::max_tcp_header_bytes];
};

}}} // namespace wg::WG_ABI::os

#endif
