// SPDX-License-Identifier: BSL-1.0
// TCP in big pieces between the host and a TUN device: a frame of up to 64 KiB that the host wants cut is cut, and
// packets that follow each other in a stream are joined to one frame, so that a system call and the host's TCP move
// many at once. Frames begin with a virtio header (Virtual I/O Device 1.1, section 5.1.6). Checksums: RFC 1071,
// RFC 9293, RFC 768. Layer 7 (Linux); pure, one thread at a time.
#ifndef WG_OS_LINUX_OFFLOAD_HPP
#define WG_OS_LINUX_OFFLOAD_HPP

#include "../../base/packet.hpp"

#include <algorithm>
#include <sys/uio.h>

namespace wg::inline WG_ABI::os {

inline constexpr std::size_t virtio_header_bytes = 10;

/// What stands before a packet. Declared here because <linux/virtio_net.h> is not valid C++.
struct virtio_header {
    enum : std::uint8_t { needs_checksum = 1 };                                  // flags
    enum : std::uint8_t { no_segments = 0, tcp_v4 = 1, tcp_v6 = 4, ecn = 0x80 }; // segments

    std::uint8_t flags = 0;
    std::uint8_t segments = no_segments;
    std::uint16_t header_bytes = 0;
    std::uint16_t segment_bytes = 0;   ///< payload of each segment but the last
    std::uint16_t checksum_start = 0;  ///< the checksum covers all from here,
    std::uint16_t checksum_offset = 0; ///< and goes there, seen from its start

    /// Little-endian, as the specification has it.
    static constexpr virtio_header load(std::span<byte const, virtio_header_bytes> from) noexcept {
        return {from[0], from[1], load_le16(&from[2]), load_le16(&from[4]), load_le16(&from[6]), load_le16(&from[8])};
    }
    constexpr void store(std::span<byte, virtio_header_bytes> to) const noexcept {
        to[0] = flags;
        to[1] = segments;
        store_le16(&to[2], header_bytes);
        store_le16(&to[4], segment_bytes);
        store_le16(&to[6], checksum_start);
        store_le16(&to[8], checksum_offset);
    }
};

/// The longest packet in a frame; without its header. Linux makes longer ones only where it is told to.
inline constexpr std::size_t max_frame_packet_bytes = 65535;

// Sums are kept in the machine's byte order: RFC 1071, section 2 (B) says that only the result has to be stored so.

/// Adds the 16-bit words of `data`, at most 1 MiB; an odd byte at the end is padded with zero. Not folded.
inline std::uint64_t add_words(std::uint64_t sum, bytes_view data) noexcept {
    byte const* at = data.data();
    std::size_t left = data.size();
    std::uint64_t low = 0, high = 0; // each grows by less than 2^33 a step
    for (; left >= 16; at += 16, left -= 16) {
        std::uint64_t words[2];
        std::memcpy(words, at, sizeof words);
        low += (words[0] & 0xffffffff) + (words[1] & 0xffffffff);
        high += (words[0] >> 32) + (words[1] >> 32);
    }
    for (; left >= 2; at += 2, left -= 2) {
        std::uint16_t word;
        std::memcpy(&word, at, sizeof word);
        low += word;
    }
    if (left != 0) {
        byte const padded[2] = {*at, 0};
        std::uint16_t word;
        std::memcpy(&word, padded, sizeof word);
        low += word;
    }
    return sum + low + high;
}

/// The one's complement sum as 16 bits.
constexpr std::uint16_t fold_sum(std::uint64_t sum) noexcept {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

namespace offload_detail {

enum : std::size_t { ipv4_bytes = 20, ipv6_bytes = 40, tcp_bytes = 20, tcp_checksum_at = 16, max_tcp_bytes = 60 };
enum : byte { fin = 1, psh = 8, ack = 16, ece = 64, cwr = 128 };
inline constexpr byte protocol_tcp = 6, protocol_udp = 17, protocol_icmp_v6 = 58;

/// A number as the word that it is in a packet.
constexpr std::uint16_t network_word(std::size_t number) noexcept {
    auto const word = static_cast<std::uint16_t>(number);
    return std::endian::native == std::endian::little ? __builtin_bswap16(word) : word;
}
inline std::uint16_t load_word(byte const* from) noexcept {
    std::uint16_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}
inline void store_word(byte* to, std::uint16_t word) noexcept { std::memcpy(to, &word, sizeof word); }

/// The sum of what TCP's checksum covers besides the segment: addresses, protocol and length.
inline std::uint64_t pseudo_header_sum(byte const* ip, std::size_t segment_bytes) noexcept {
    bytes_view const addresses = ip[0] >> 4 == 4 ? bytes_view(ip + 12, 8) : bytes_view(ip + 8, 32);
    return add_words(std::uint64_t{network_word(protocol_tcp)} + network_word(segment_bytes), addresses);
}

/// Length and checksum of the IP header for a packet of `total_bytes`.
inline void finish_ip(byte* ip, std::size_t header_bytes, std::size_t total_bytes) noexcept {
    if (ip[0] >> 4 == 6) return store_be16(ip + 4, static_cast<std::uint16_t>(total_bytes - ipv6_bytes));
    store_be16(ip + 2, static_cast<std::uint16_t>(total_bytes));
    store_word(ip + 10, 0);
    store_word(ip + 10, static_cast<std::uint16_t>(~fold_sum(add_words(0, {ip, header_bytes}))));
}

} // namespace offload_detail

/// Makes packets of a frame that was read: one, or the segments that the host left to be cut.
class segmenter {
public:
    /// Takes a frame, which it writes to, and which stays until nothing is pending. False: malformed, or of a kind
    /// that was not asked for; then nothing is pending.
    bool begin(bytes frame) noexcept {
        pending_ = false;
        if (frame.size() <= virtio_header_bytes || frame.size() - virtio_header_bytes > max_frame_packet_bytes)
            return false;
        virtio_header const header = virtio_header::load(frame.first<virtio_header_bytes>());
        packet_ = frame.subspan(virtio_header_bytes);
        done_bytes_ = 0;
        bool const cut = header.segments != virtio_header::no_segments;
        pending_ = cut ? begin_segments(header) : begin_whole(header);
        return pending_;
    }

    /// Whether `next` has something to give.
    bool pending() const noexcept { return pending_; }

    /// The next packet, put where the window of `p` begins. One that is too long for its room is cut, and then is
    /// shorter than its header says.
    void next(packet& p) noexcept {
        WG_ASSERT(pending_);
        if (segment_bytes_ == 0) {
            pending_ = false;
            return put(p, packet_, {});
        }
        std::size_t const left = packet_.size() - header_bytes_ - done_bytes_;
        bytes const payload = packet_.subspan(header_bytes_ + done_bytes_, std::min<std::size_t>(segment_bytes_, left));
        pending_ = payload.size() < left;
        write_headers(payload);
        done_bytes_ += payload.size();
        put(p, packet_.first(header_bytes_), payload);
    }

private:
    /// A packet of its own, of which perhaps the checksum is to be completed: its field has the pseudo header's sum.
    bool begin_whole(virtio_header const& header) noexcept {
        segment_bytes_ = 0;
        if ((header.flags & virtio_header::needs_checksum) == 0) return true;
        std::size_t const start = header.checksum_start, field = start + header.checksum_offset;
        if (field + 2 > packet_.size()) return false;
        auto const sum = static_cast<std::uint16_t>(~fold_sum(add_words(0, packet_.subspan(start))));
        offload_detail::store_word(&packet_[field], sum != 0 ? sum : 0xffff); // a zero would say: no checksum (UDP)
        return true;
    }

    bool begin_segments(virtio_header const& header) noexcept {
        using namespace offload_detail;
        bool const v4 = (header.segments & ~virtio_header::ecn) == virtio_header::tcp_v4;
        if (!v4 && (header.segments & ~virtio_header::ecn) != virtio_header::tcp_v6) return false;
        if ((header.flags & virtio_header::needs_checksum) == 0 || header.segment_bytes == 0) return false;
        byte const* const ip = packet_.data();
        std::size_t const ip_bytes = header.checksum_start, size = packet_.size();
        if (ip_bytes < (v4 ? ipv4_bytes : ipv6_bytes) || ip_bytes + tcp_bytes >= size) return false;
        if (header.checksum_offset != tcp_checksum_at || ip[0] >> 4 != (v4 ? 4 : 6)) return false;
        if (v4) {
            bool const fragment = (load_be16(ip + 6) & 0x3fff) != 0;
            if (std::size_t{ip[0] & 0x0fu} * 4 != ip_bytes || ip[9] != protocol_tcp || fragment) return false;
        } else if (ip_bytes == ipv6_bytes && ip[6] != protocol_tcp) {
            return false; // with extension headers, the host knows where TCP begins
        }
        if ((v4 ? load_be16(ip + 2) : load_be16(ip + 4) + ipv6_bytes) != size) return false;
        byte const* const tcp = ip + ip_bytes;
        std::size_t const tcp_header_bytes = std::size_t{tcp[12]} / 16 * 4;
        if (tcp_header_bytes < tcp_bytes || ip_bytes + tcp_header_bytes >= size) return false;

        v4_ = v4;
        ip_bytes_ = ip_bytes;
        header_bytes_ = ip_bytes + tcp_header_bytes;
        segment_bytes_ = header.segment_bytes;
        flags_ = tcp[13];
        // The field has the pseudo header's sum with the whole length in it; that length goes out here, and the
        // segment's comes in there. So it is right even if the destination is not the one that is in the header.
        auto const without_length = static_cast<std::uint16_t>(~network_word(size - ip_bytes));
        pseudo_header_ = std::uint64_t{load_word(tcp + tcp_checksum_at)} + without_length;
        return true;
    }

    /// Makes the frame's headers those of the segment with `payload`.
    void write_headers(bytes_view payload) noexcept {
        using namespace offload_detail;
        byte* const ip = packet_.data();
        byte* const tcp = ip + ip_bytes_;
        bool const first = done_bytes_ == 0, last = !pending_;
        if (!first) {
            if (v4_) store_be16(ip + 4, static_cast<std::uint16_t>(load_be16(ip + 4) + 1));
            store_be32(tcp + 4, load_be32(tcp + 4) + segment_bytes_);
        }
        finish_ip(ip, ip_bytes_, header_bytes_ + payload.size());
        tcp[13] = static_cast<byte>(flags_ & ~((first ? 0 : cwr) | (last ? 0 : fin | psh)));
        std::size_t const tcp_header_bytes = header_bytes_ - ip_bytes_;
        std::uint64_t sum = pseudo_header_ + network_word(tcp_header_bytes + payload.size());
        store_word(tcp + tcp_checksum_at, 0);
        sum = add_words(add_words(sum, {tcp, tcp_header_bytes}), payload);
        store_word(tcp + tcp_checksum_at, static_cast<std::uint16_t>(~fold_sum(sum)));
    }

    static void put(packet& p, bytes_view front, bytes_view back) noexcept {
        bytes const room(p.buffer + p.offset, p.capacity - p.offset);
        front = front.first(std::min(front.size(), room.size()));
        back = back.first(std::min(back.size(), room.size() - front.size()));
        copy(room, front);
        copy(room.subspan(front.size()), back);
        p.length = static_cast<std::uint32_t>(front.size() + back.size());
    }

    bytes packet_{};
    std::size_t ip_bytes_ = 0;
    std::size_t header_bytes_ = 0;    ///< IP and TCP
    std::size_t done_bytes_ = 0;      ///< of the payload
    std::uint64_t pseudo_header_ = 0; ///< its sum, without the length
    std::uint16_t segment_bytes_ = 0; ///< 0: the packet is not cut
    byte flags_ = 0;                  ///< TCP's, as the whole frame has them
    bool v4_ = false;
    bool pending_ = false;
};

/// Joins packets that are about to be written. Those of one TCP connection keep their order, and so do all that are
/// not TCP among themselves. No payload is copied, and no packet is changed.
class coalescer {
public:
    static constexpr std::size_t max_packets = 64; ///< of one plan, and so of one frame

    /// Decides which of `packets`, at most `max_packets`, go together. They stay where they are while the plan is
    /// in use.
    explicit coalescer(std::span<packet const> packets) noexcept : packets_(packets) {
        WG_ASSERT(packets.size() <= max_packets);
        for (std::size_t i = 0; i < packets.size(); ++i) {
            next_[i] = none;
            headers const h = read_headers(packets[i].view());
            if (h.kind == kinds::unclear) reachable_ = frame_count_; // of any connection, perhaps
            frame* const f = h.kind == kinds::tcp ? latest_of(h) : nullptr;
            if (f != nullptr && may_join(*f, h)) {
                if (!has_right_checksums(*f)) {
                    f->open = false;
                } else if (is_right(h)) {
                    join(*f, h, i);
                    continue;
                }
            }
            bool const open = h.kind == kinds::tcp && !is_pushed(h);
            frames_[frame_count_++] = {h,
                                       h.sequence() + h.payload_bytes,
                                       h.size_bytes,
                                       static_cast<std::uint8_t>(i),
                                       static_cast<std::uint8_t>(i),
                                       1,
                                       open,
                                       false};
        }
    }

    /// How many frames the packets make.
    std::size_t frame_count() const noexcept { return frame_count_; }
    /// How many packets are in frame `number`.
    std::size_t packet_count(std::size_t number) const noexcept { return frames_[number].count; }

    /// The pieces of frame `number`, in the order in which they are to be written; good until the next call.
    std::span<iovec const> pieces(std::size_t number) noexcept {
        frame const& f = frames_[number];
        bool const joined = f.count > 1;
        virtio_header const header = joined ? write_joined_headers(f) : virtio_header{};
        header.store(bytes(front_).first<virtio_header_bytes>());
        std::size_t const own_bytes = joined ? f.head.header_bytes() : 0; // headers that stand in `front_`
        std::size_t count = 0;
        pieces_[count++] = {front_, virtio_header_bytes + own_bytes};
        for (std::size_t i = f.first; i != none; i = next_[i])
            pieces_[count++] = {packets_[i].buffer + packets_[i].offset + own_bytes, packets_[i].length - own_bytes};
        return {pieces_, count};
    }

    /// Calls `use(packet)` for each packet of frame `number`: what is written where the frame is refused.
    template <class Use> void each_packet(std::size_t number, Use use) const noexcept {
        for (std::size_t i = frames_[number].first; i != none; i = next_[i]) use(packets_[i]);
    }

private:
    static constexpr std::uint8_t none = 0xff;

    enum class kinds : std::uint8_t {
        unclear,   ///< a fragment, options, no IP at all: nothing later may overtake it
        other,     ///< not TCP, and so in nobody's way
        tcp_alone, ///< never joined, but keeps its place in its connection
        tcp,
    };

    struct headers {
        byte const* ip;
        std::uint64_t connection; ///< equal for packets of one connection, but not for those alone
        std::uint32_t size_bytes;
        std::uint16_t payload_bytes;
        std::uint8_t ip_bytes;
        std::uint8_t tcp_bytes;
        kinds kind;

        bool v4() const noexcept { return ip[0] >> 4 == 4; }
        byte const* tcp() const noexcept { return ip + ip_bytes; }
        std::size_t header_bytes() const noexcept { return std::size_t{ip_bytes} + tcp_bytes; }
        std::uint32_t sequence() const noexcept { return kind == kinds::tcp ? load_be32(tcp() + 4) : std::uint32_t{0}; }
    };

    struct frame {
        headers head; ///< of the first packet
        std::uint32_t next_sequence;
        std::uint32_t size_bytes;
        std::uint8_t first, last, count;
        bool open;  ///< may take more
        bool right; ///< all checksums were found right; of a single packet they are not looked at
    };

    static headers read_headers(bytes_view packet) noexcept {
        using namespace offload_detail;
        headers h{};
        h.ip = packet.data();
        h.size_bytes = static_cast<std::uint32_t>(packet.size());
        if (packet.size() < ipv4_bytes) return h;
        if (packet[0] == 0x45) { // without options
            if (load_be16(&packet[2]) != packet.size() || (load_be16(&packet[6]) & 0xbfff) != 0) return h;
            h.ip_bytes = ipv4_bytes;
            h.kind = packet[9] == protocol_tcp ? kinds::tcp : kinds::other;
            h.connection = load_le64(&packet[12]);
        } else if (packet[0] >> 4 == 6 && packet.size() >= ipv6_bytes) {
            if (load_be16(&packet[4]) + ipv6_bytes != packet.size()) return h;
            h.ip_bytes = ipv6_bytes;
            if (packet[6] != protocol_tcp) {
                if (packet[6] == protocol_udp || packet[6] == protocol_icmp_v6) h.kind = kinds::other;
                return h;
            }
            h.kind = kinds::tcp;
            h.connection =
                load_le64(&packet[8]) ^ load_le64(&packet[16]) ^ load_le64(&packet[24]) ^ load_le64(&packet[32]);
        }
        if (h.kind == kinds::tcp) read_tcp(h);
        return h;
    }

    static void read_tcp(headers& h) noexcept {
        using namespace offload_detail;
        std::size_t const room = h.size_bytes - h.ip_bytes;
        std::size_t const length = room >= tcp_bytes ? std::size_t{h.tcp()[12]} / 16 * 4 : 0;
        if (length < tcp_bytes || length > room) {
            h.kind = kinds::unclear;
            return;
        }
        h.tcp_bytes = static_cast<std::uint8_t>(length);
        h.payload_bytes = static_cast<std::uint16_t>(room - length);
        h.connection ^= std::uint64_t{load_be32(h.tcp())} * 0x9e3779b97f4a7c15;
        bool const plain = (load_be16(h.tcp() + 12) & 0x0fff & ~(psh | ece)) == ack;
        if (!plain || h.payload_bytes == 0) h.kind = kinds::tcp_alone;
    }

    static bool is_pushed(headers const& h) noexcept { return (h.tcp()[13] & offload_detail::psh) != 0; }

    /// The last frame so far that has packets of the same connection.
    frame* latest_of(headers const& h) noexcept {
        for (std::size_t i = frame_count_; i-- > reachable_;) {
            headers const& other = frames_[i].head;
            if (other.connection != h.connection || other.ip_bytes != h.ip_bytes || other.tcp_bytes == 0) continue;
            std::size_t const from = h.v4() ? 12 : 8;
            if (std::memcmp(other.ip + from, h.ip + from, h.v4() ? 8 : 32) == 0 &&
                std::memcmp(other.tcp(), h.tcp(), 4) == 0)
                return &frames_[i];
        }
        return nullptr;
    }

    /// Whether, cut again, the frame with this packet would give back these packets.
    bool may_join(frame const& f, headers const& h) const noexcept {
        using namespace offload_detail;
        headers const& a = f.head;
        if (!f.open || h.sequence() != f.next_sequence) return false;
        if (h.tcp_bytes != a.tcp_bytes || h.payload_bytes > a.payload_bytes) return false;
        if (f.size_bytes + h.payload_bytes > max_frame_packet_bytes) return false;
        if (h.v4()) {
            // Tos, flags and time to live. The identification counts up, unless it says nothing (RFC 6864, 4.1).
            if (h.ip[1] != a.ip[1] || h.ip[6] != a.ip[6] || h.ip[8] != a.ip[8]) return false;
            bool const counted = load_be16(h.ip + 4) == static_cast<std::uint16_t>(load_be16(a.ip + 4) + f.count);
            if (!counted && (h.ip[6] & 0x40) == 0) return false;
        } else if (std::memcmp(h.ip, a.ip, 4) != 0 || h.ip[7] != a.ip[7]) {
            return false; // traffic class, flow label, hop limit
        }
        byte const *const x = a.tcp(), *const y = h.tcp();
        return load_be32(x + 8) == load_be32(y + 8) && (x[12] == y[12]) && ((x[13] ^ y[13]) & ~psh) == 0 &&
               load_be16(x + 14) == load_be16(y + 14) && load_be16(x + 18) == load_be16(y + 18) &&
               std::memcmp(x + tcp_bytes, y + tcp_bytes, h.tcp_bytes - tcp_bytes) == 0;
    }

    /// The host will take a frame's checksums for right without looking.
    static bool is_right(headers const& h) noexcept {
        if (h.v4() && fold_sum(add_words(0, {h.ip, h.ip_bytes})) != 0xffff) return false;
        std::size_t const bytes = h.size_bytes - h.ip_bytes;
        return fold_sum(add_words(offload_detail::pseudo_header_sum(h.ip, bytes), {h.tcp(), bytes})) == 0xffff;
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

    virtio_header write_joined_headers(frame const& f) noexcept {
        using namespace offload_detail;
        byte* const ip = front_ + virtio_header_bytes;
        byte* const tcp = ip + f.head.ip_bytes;
        std::memcpy(ip, f.head.ip, f.head.header_bytes());
        finish_ip(ip, f.head.ip_bytes, f.size_bytes);
        packet const& last = packets_[f.last];
        tcp[13] |= static_cast<byte>(last.buffer[last.offset + f.head.ip_bytes + 13] & psh);
        store_word(tcp + tcp_checksum_at, fold_sum(pseudo_header_sum(ip, f.size_bytes - f.head.ip_bytes)));
        virtio_header header;
        header.flags = virtio_header::needs_checksum;
        header.segments = f.head.v4() ? virtio_header::tcp_v4 : virtio_header::tcp_v6;
        header.header_bytes = static_cast<std::uint16_t>(f.head.header_bytes());
        header.segment_bytes = f.head.payload_bytes;
        header.checksum_start = f.head.ip_bytes;
        header.checksum_offset = tcp_checksum_at;
        return header;
    }

    std::span<packet const> packets_;
    std::size_t frame_count_ = 0;
    std::size_t reachable_ = 0; ///< frames before this one take no more packets
    frame frames_[max_packets];
    std::uint8_t next_[max_packets]; ///< of each packet, the next one in its frame
    iovec pieces_[1 + max_packets];
    byte front_[virtio_header_bytes + offload_detail::ipv6_bytes + offload_detail::max_tcp_bytes];
};

} // namespace wg::inline WG_ABI::os

#endif
