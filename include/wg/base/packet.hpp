// SPDX-License-Identifier: BSL-1.0
// A buffer and the window of it that is in use: TUN devices and sockets read into it and write from it. Folder: base.
// One thread at a time.
#ifndef WG_BASE_PACKET_HPP
#define WG_BASE_PACKET_HPP

#include "endpoint.hpp"
#include "status.hpp"

namespace wg { inline namespace WG_ABI {

/// A window into a buffer of the caller. Headers are added before the window and tags after it without a copy.
struct packet {
    byte* buffer = nullptr;     ///< memory of the caller
    std::uint32_t capacity = 0; ///< bytes of the buffer
    std::uint32_t offset = 0;   ///< bytes before the window
    std::uint32_t length = 0;   ///< bytes of the window

    constexpr packet() noexcept = default;
    /// A window of `length_bytes` at `offset_bytes` of `room`.
    constexpr packet(bytes room, std::size_t offset_bytes, std::size_t length_bytes = 0) noexcept
        : buffer(room.data()), capacity(converted<std::uint32_t>(room.size())),
          offset(converted<std::uint32_t>(offset_bytes)), length(converted<std::uint32_t>(length_bytes)) {
        WG_ASSERT(offset_bytes + length_bytes <= room.size());
    }

    /// The window.
    constexpr bytes view() const noexcept { return {buffer + offset, length}; }
    /// Bytes of the buffer before the window.
    constexpr std::size_t headroom() const noexcept { return offset; }
    /// Bytes of the buffer after the window.
    constexpr std::size_t tailroom() const noexcept { return capacity - offset - length; }

    /// Adds `at_front` bytes before the window and `at_back` bytes after it. A negative number removes bytes of the
    /// window.
    constexpr void grow(std::ptrdiff_t at_front, std::ptrdiff_t at_back) noexcept {
        WG_ASSERT(at_front <= static_cast<std::ptrdiff_t>(headroom()) &&
                  at_back <= static_cast<std::ptrdiff_t>(tailroom()));
        WG_ASSERT(static_cast<std::ptrdiff_t>(length) + at_front + at_back >= 0);
        offset = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(offset) - at_front);
        length = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(length) + at_front + at_back);
    }
};

/// A UDP payload, and its addresses.
struct datagram : packet {
    path where{};         ///< the ends of the datagram
    std::uint8_t tos = 0; ///< DSCP and ECN of the outer header
    /// Received: if not 0, the window holds datagrams of this size back to back. The last one may be shorter.
    std::uint16_t segment_bytes = 0;
    status why = status::ok; ///< of a datagram to send: ok, or the reason why it was not sent
    std::uint16_t error = 0; ///< of a datagram to send: the host's number for `why` (errno); 0: none
};

}} // namespace wg::WG_ABI

#endif
