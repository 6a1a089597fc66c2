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
    byte* buffer = nullptr;
    std::uint32_t capacity = 0;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;

    constexpr packet() noexcept = default;
    /// A window of `length_bytes` at `offset_bytes` of `room`.
    constexpr packet(bytes room, std::size_t offset_bytes, std::size_t length_bytes = 0) noexcept
        : buffer(room.data()), capacity(converted<std::uint32_t>(room.size())),
          offset(converted<std::uint32_t>(offset_bytes)), length(converted<std::uint32_t>(length_bytes)) {
        WG_ASSERT(offset_bytes + length_bytes <= room.size());
    }

    constexpr bytes view() const noexcept { return {buffer + offset, length}; }
    constexpr std::size_t headroom() const noexcept { return offset; }
    constexpr std::size_t tailroom() const noexcept { return capacity - offset - length; }

    /// Moves the window's start by `at_front` bytes outwards and its end by `at_back`; negative moves inwards.
    constexpr void grow(std::ptrdiff_t at_front, std::ptrdiff_t at_back) noexcept {
        WG_ASSERT(at_front <= static_cast<std::ptrdiff_t>(headroom()) &&
                  at_back <= static_cast<std::ptrdiff_t>(tailroom()));
        WG_ASSERT(static_cast<std::ptrdiff_t>(length) + at_front + at_back >= 0);
        offset = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(offset) - at_front);
        length = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(length) + at_front + at_back);
    }
};

/// A UDP payload, and the address that it came from or goes to.
struct datagram : packet {
    path where{};
    std::uint8_t tos = 0; ///< DSCP and ECN of the outer header
    /// Received: if not 0, the window holds datagrams of this size back to back, of which the last may be shorter.
    std::uint16_t segment_bytes = 0;
    status why = status::ok; ///< sent: ok, or the reason that it was not
    std::uint16_t error = 0; ///< sent: the host's own number for `why` (errno), if it has one
};

}} // namespace wg::WG_ABI

#endif
