// SPDX-License-Identifier: BSL-1.0
// Cuts a frame of up to 64 KiB into TCP segments or UDP datagrams. So one system call and one pass through the host's
// network stack bring many packets. Folder: os/tun. Pure; one thread at a time.
#ifndef WG_OS_TUN_SEGMENTER_HPP
#define WG_OS_TUN_SEGMENTER_HPP

#include "../../base/packet.hpp"
#include "packet_headers.hpp"
#include "virtio.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os {

/// Makes packets of a frame that was read: one packet, or the segments that the host did not cut itself.
class segmenter {
public:
    /// Takes a frame. The frame is written to, and must stay in place until nothing is pending. Returns: false if the
    /// frame is malformed or of a kind that was not asked for; then nothing is pending.
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

    /// Whether `next` has a packet.
    bool pending() const noexcept { return pending_; }

    /// Writes the next packet to the window of `p`, and its length in bytes to `p.length`. A packet that is longer than
    /// the room is cut; it is then shorter than its header says.
    void next(packet& p) noexcept {
        WG_ASSERT(pending_);
        bytes const room(p.buffer + p.offset, p.capacity - p.offset);
        if (segment_bytes_ == 0) {
            pending_ = false;
            return put(p, room, packet_, packet_.last(0));
        }
        std::size_t const left = packet_.size() - header_bytes_ - done_bytes_;
        bytes_view const payload =
            packet_.subspan(header_bytes_ + done_bytes_, (std::min<std::size_t>)(segment_bytes_, left));
        pending_ = payload.size() < left;
        if (header_bytes_ + payload.size() <= room.size()) {
            copy(room, packet_.first(header_bytes_));
            // The payload is read once, for the copy and for the checksum.
            write_header(room.data(), payload.size(), copy_and_add_words(sum_, &room[header_bytes_], payload));
            p.length = converted<std::uint32_t>(header_bytes_ + payload.size());
        } else {
            bytes const header = packet_.first(header_bytes_);
            write_header(header.data(), payload.size(), add_words(sum_, payload));
            put(p, room, header, payload);
        }
        done_bytes_ += payload.size();
    }

private:
    /// A UDP checksum of zero means that there is none (RFC 768). In one's complement this is zero too.
    static constexpr std::uint16_t no_zero = 0xffff;

    /// Begins a frame of one packet, and completes its checksum if the host has left that to the reader. The checksum's
    /// field then has the sum of the pseudo header.
    bool begin_whole(virtio_header const& header) noexcept {
        segment_bytes_ = 0;
        if ((header.flags & virtio_header::needs_checksum) == 0) return true;
        std::size_t const start = header.checksum_start, field = start + header.checksum_offset;
        if (field + 2 > packet_.size()) return false;
        auto const checksum = static_cast<std::uint16_t>(~fold_sum(add_words(0, packet_.subspan(start))));
        store_word(&packet_[field], checksum != 0 ? checksum : no_zero);
        return true;
    }

    /// Begins a frame of several segments.
    bool begin_segments(virtio_header const& header) noexcept {
        using namespace headers_detail;
        std::uint8_t const kind = header.segments & ~virtio_header::ecn;
        ip_view const from(packet_);
        std::size_t const ip_bytes = header.checksum_start, size = packet_.size();
        bool const v4 = from.is_v4();
        if ((!v4 && !from.is_v6()) || from.total_bytes() != size || from.is_fragment()) return false;
        tcp_ = kind == virtio_header::tcp_v4 || kind == virtio_header::tcp_v6;
        if (tcp_ ? kind != (v4 ? virtio_header::tcp_v4 : virtio_header::tcp_v6) : header.segments != virtio_header::udp)
            return false;
        if ((header.flags & virtio_header::needs_checksum) == 0 || header.segment_bytes == 0) return false;
        std::size_t const least_bytes = tcp_ ? tcp_header_bytes : udp_header_bytes;
        if (ip_bytes < (v4 ? ipv4_header_bytes : ipv6_header_bytes) || ip_bytes + least_bytes >= size) return false;
        if (header.checksum_offset != (tcp_ ? tcp_checksum_at : udp_checksum_at)) return false;
        // Behind IPv6 extension headers, only `checksum_start` shows where the segment begins.
        if (ip_bytes == from.header_bytes() ? from.protocol() != (tcp_ ? ip_protocol_tcp : ip_protocol_udp) : v4)
            return false;
        byte const* const ip = packet_.data();
        byte const* const segment = ip + ip_bytes;
        std::size_t const own_bytes = tcp_ ? tcp_bytes_of(segment) : udp_header_bytes;
        if (own_bytes < least_bytes || ip_bytes + own_bytes >= size) return false;

        v4_ = v4;
        ip_bytes_ = ip_bytes;
        header_bytes_ = ip_bytes + own_bytes;
        checksum_at_ = ip_bytes + header.checksum_offset;
        segment_bytes_ = header.segment_bytes;
        identification_ = v4 ? load_be16(ip + 4) : std::uint16_t{0};
        sequence_ = tcp_ ? load_be32(segment + 4) : 0;
        flags_ = tcp_ ? segment[13] : byte{0};
        // The checksum's field has the sum of the pseudo header with the length of the whole frame. That length is
        // subtracted here, and `write_header` adds the segment's. The addresses are not read, because with a routing
        // header the destination in the pseudo header is not the one in the IP header (RFC 8200, 8.1).
        auto const without_length = static_cast<std::uint16_t>(~network_word(size - ip_bytes));
        sum_ = add_words(without_length, begin_headers());
        ip_sum_ = v4 ? add_words(0, packet_.first(ip_bytes)) : 0;
        return true;
    }

    /// Zeroes the fields of the frame's headers that differ from segment to segment. Returns: the header of TCP or UDP;
    /// its checksum field still has the sum of the pseudo header.
    bytes_view begin_headers() noexcept {
        byte* const ip = packet_.data();
        byte* const segment = ip + ip_bytes_;
        if (v4_) store_be32(ip + 2, 0), store_word(ip + 10, 0);
        if (tcp_) store_be32(segment + 4, 0), segment[13] = 0;
        else store_word(segment + 4, 0);
        return {segment, header_bytes_ - ip_bytes_};
    }

    /// Completes the next segment's headers: `ip` has the fields that all segments have in common, and `sum` is the sum
    /// of these fields and of the payload. The headers are only written to. Reading them would stall, because they were
    /// stored just before in pieces of another size.
    void write_header(byte* ip, std::size_t payload_bytes, std::uint64_t sum) noexcept {
        using namespace headers_detail;
        byte* const segment = ip + ip_bytes_;
        std::size_t const ip_size = header_bytes_ + payload_bytes, size = ip_size - ip_bytes_;
        bool const first = done_bytes_ == 0, last = !pending_;
        if (v4_) {
            store_be16(ip + 2, static_cast<std::uint16_t>(ip_size));
            store_be16(ip + 4, identification_);
            std::uint64_t const ip_sum = ip_sum_ + network_word(ip_size) + network_word(identification_++);
            store_word(ip + 10, static_cast<std::uint16_t>(~fold_sum(ip_sum)));
        } else {
            store_be16(ip + 4, static_cast<std::uint16_t>(ip_size - ipv6_header_bytes));
        }
        sum += network_word(size);
        if (tcp_) {
            auto const flags = static_cast<byte>(flags_ & ~((first ? 0 : cwr) | (last ? 0 : fin | psh)));
            store_be32(segment + 4, sequence_);
            segment[13] = flags;
            sum += std::uint64_t{network_word(sequence_ >> 16)} + network_word(sequence_) + network_word(flags);
            sequence_ += segment_bytes_;
        } else {
            store_be16(segment + 4, static_cast<std::uint16_t>(size));
            sum += network_word(size);
        }
        auto const checksum = static_cast<std::uint16_t>(~fold_sum(sum));
        store_word(ip + checksum_at_, checksum != 0 || tcp_ ? checksum : no_zero);
    }

    /// Writes `front` and `back` to `room`, as far as they fit.
    static void put(packet& p, bytes room, bytes_view front, bytes_view back) noexcept {
        front = front.first((std::min)(front.size(), room.size()));
        back = back.first((std::min)(back.size(), room.size() - front.size()));
        copy(room, front);
        copy(room.subspan(front.size()), back);
        p.length = converted<std::uint32_t>(front.size() + back.size());
    }

    bytes packet_{};
    std::size_t ip_bytes_ = 0;
    std::size_t header_bytes_ = 0;     ///< IP, and TCP or UDP
    std::size_t checksum_at_ = 0;      ///< from the packet's start
    std::size_t done_bytes_ = 0;       ///< of the payload
    std::uint64_t sum_ = 0;            ///< of the fields of TCP or UDP and pseudo header that all segments share
    std::uint64_t ip_sum_ = 0;         ///< of the fields of the IPv4 header that all segments share
    std::uint32_t sequence_ = 0;       ///< of TCP, of the next segment
    std::uint16_t identification_ = 0; ///< of IPv4, of the next segment
    std::uint16_t segment_bytes_ = 0;  ///< payload of a segment; 0: the packet is not cut
    byte flags_ = 0;                   ///< of TCP, as the frame has them
    bool v4_ = false;
    bool tcp_ = false;
    bool pending_ = false;
};

}}} // namespace wg::WG_ABI::os

#endif
