// SPDX-License-Identifier: BSL-1.0
// The packet buffers of one lane: their sizes, and windows into them. Folder: engine; one thread at a time.
#ifndef WG_ENGINE_LANE_BUFFERS_HPP
#define WG_ENGINE_LANE_BUFFERS_HPP

#include "../policy.hpp"
#include "../protocol/messages.hpp"

#include <algorithm>
#include <array>

namespace wg { inline namespace WG_ABI {

/// The room that a socket needs around each datagram that it sends: none, unless it says so.
template <class Socket> struct send_room {
    static constexpr std::size_t before = 0; ///< bytes before the datagram
    static constexpr std::size_t after = 0;  ///< bytes after it
};
template <udp_socket_with_room Socket> struct send_room<Socket> {
    static constexpr std::size_t before = Socket::send_headroom;
    static constexpr std::size_t after = Socket::send_tailroom;
};
/// Adds that room to a packet in which it was left out.
template <class Socket> constexpr void add_send_room(packet& p) noexcept {
    using room = send_room<Socket>;
    if constexpr (room::before + room::after != 0) {
        p.buffer -= room::before;
        p.offset += static_cast<std::uint32_t>(room::before);
        p.capacity += static_cast<std::uint32_t>(room::before + room::after);
    }
}

/// Buffers for one batch of packets from the TUN device and one batch of datagrams from the socket. The memory comes
/// from the device's storage: inside this object where the storage names the greatest MTU, else from the heap.
template <engine_policies Policies> class lane_buffers {
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;
    using storage = typename Policies::storage;

public:
    /// Packets in one step.
    static constexpr std::size_t batch = storage::batch;
    /// Datagrams in one receive call. Each datagram may hold up to `batch` segments.
    static constexpr std::size_t receive_batch = batch < 4 ? 1 : batch / 4;

    /// Takes no memory from the heap before `make_room`.
    explicit lane_buffers(storage& memory) noexcept : outbound_(memory), inbound_(memory), handshakes_(memory) {}

    /// Makes buffers for packets of up to `mtu_bytes` (0: the MTU is not known). Buffers never shrink.
    /// Returns: no_memory; then packets longer than before do not pass.
    status make_room(std::size_t mtu_bytes) noexcept {
        std::size_t const stride = stride_for(mtu_bytes != 0 ? mtu_bytes : padded(default_mtu_bytes));
        if (stride > stride_) {
            if (!outbound_.resize(batch * stride)) return status::no_memory;
            stride_ = stride;
        }
        if (inbound_.view().empty() && !inbound_.resize(receive_batch * receive_stride)) return status::no_memory;
        if constexpr (udp_socket_with_handshakes<socket_type>)
            if (handshakes_.view().empty() && !handshakes_.resize(receive_batch * handshake_stride))
                return status::no_memory;
        return status::ok;
    }

    /// Whether packets of `mtu_bytes` need longer buffers than there are.
    bool is_too_short_for(std::size_t mtu_bytes) const noexcept { return stride_for(mtu_bytes) > stride_; }

    /// Outbound buffers that exist: `batch`, or 0 before the first `make_room` that succeeded.
    std::size_t outbound_count() const noexcept { return stride_ == 0 ? 0 : batch; }

    /// An empty window for reading packet `number` of the batch from the TUN device. The window leaves the headroom
    /// that a message header and the TUN device need, and the tailroom that the tag needs.
    packet read_window(std::size_t number) noexcept {
        return packet(message_bytes(number).first(stride_ - room_bytes - tag_bytes), front);
    }

    /// The whole outbound buffer `number` of the batch, without the socket's room, for a message that the device
    /// writes.
    packet message_window(std::size_t number) noexcept { return packet(message_bytes(number), 0); }

    /// Empty windows for receiving `count` datagrams, `receive_batch` at most.
    std::span<datagram> data_windows(std::size_t count) noexcept {
        return windows(inbound_.view(), receive_stride, count);
    }

    /// Empty windows for receiving `receive_batch` handshake messages.
    std::span<datagram> handshake_windows() noexcept
        requires udp_socket_with_handshakes<socket_type>
    {
        return windows(handshakes_.view(), handshake_stride, receive_batch);
    }

private:
    static constexpr std::size_t front = packet_headroom_bytes + tun_type::headroom;
    using room = send_room<socket_type>;
    static constexpr std::size_t room_bytes = room::before + room::after;
    /// The longest handshake message has 148 bytes. The kernel cuts longer datagrams, and the device then counts them
    /// as malformed.
    static constexpr std::size_t handshake_stride = 256;
    static constexpr std::size_t receive_stride = (tun_type::headroom + socket_type::receive_bytes + 63) / 64 * 64;

    /// Bytes of an outbound buffer: a message with a packet as long as the MTU, which padding does not exceed, and not
    /// a byte more. So full messages are adjacent in memory, and a socket that joins them passes one piece to the
    /// kernel.
    static constexpr std::size_t stride_for(std::size_t mtu_bytes) noexcept {
        return room_bytes + (std::max<std::size_t>)(front + mtu_bytes + tag_bytes, initiation_layout::size);
    }
    /// An MTU that is not known does not bound padding, so the buffer holds the padding as well.
    static constexpr std::size_t padded(std::size_t mtu_bytes) noexcept {
        return (mtu_bytes + padding_bytes - 1) / padding_bytes * padding_bytes;
    }
    static constexpr bool grows = storage::max_mtu_bytes == 0;
    static constexpr std::size_t max_outbound_bytes = grows ? 0 : batch * stride_for(padded(storage::max_mtu_bytes));
    static constexpr std::size_t max_inbound_bytes = grows ? 0 : receive_batch * receive_stride;
    static constexpr std::size_t max_handshake_bytes = grows ? 0 : receive_batch * handshake_stride;

    bytes message_bytes(std::size_t number) noexcept {
        return outbound_.view().subspan(number * stride_ + room::before, stride_ - room_bytes);
    }

    std::span<datagram> windows(bytes from, std::size_t stride, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i)
            received_[i] = {packet(from.subspan(i * stride, stride), tun_type::headroom)};
        return std::span(received_).first(count);
    }

    typename storage::template array<byte, max_outbound_bytes> outbound_;
    typename storage::template array<byte, max_inbound_bytes> inbound_;
    struct no_array {
        explicit no_array(storage&) noexcept {}
    };
    using handshake_array = typename storage::template array<byte, max_handshake_bytes>;
    [[no_unique_address]] std::conditional_t<udp_socket_with_handshakes<socket_type>, handshake_array, no_array>
        handshakes_;
    std::size_t stride_ = 0; ///< bytes of one outbound buffer
    std::array<datagram, receive_batch> received_;
};

}} // namespace wg::WG_ABI

#endif
