// SPDX-License-Identifier: BSL-1.0
// The four messages, by byte offset (whitepaper 5.4.2 - 5.4.7). Folder: protocol. Pure; any thread.
#ifndef WG_PROTOCOL_MESSAGES_HPP
#define WG_PROTOCOL_MESSAGES_HPP

#include "../base/bytes.hpp"
#include "../base/limits.hpp"

namespace wg { inline namespace WG_ABI {

/// The type field of a message; `none` is no message.
enum class message_type : std::uint32_t { none = 0, initiation = 1, response = 2, cookie_reply = 3, transport = 4 };

/// Byte offsets of a handshake initiation (whitepaper 5.4.2).
struct initiation_layout {
    static constexpr std::size_t sender = 4, ephemeral = 8, encrypted_static = 40, encrypted_timestamp = 88, mac1 = 116,
                                 mac2 = 132, size = 148;
    static_assert(encrypted_static + key_bytes + tag_bytes == encrypted_timestamp);
    static_assert(encrypted_timestamp + timestamp_bytes + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

/// Byte offsets of a handshake response (whitepaper 5.4.3).
struct response_layout {
    static constexpr std::size_t sender = 4, receiver = 8, ephemeral = 12, encrypted_nothing = 44, mac1 = 60, mac2 = 76,
                                 size = 92;
    static_assert(encrypted_nothing + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

/// Byte offsets of a cookie reply (whitepaper 5.4.7).
struct cookie_reply_layout {
    static constexpr std::size_t receiver = 4, nonce = 8, encrypted_cookie = 32, size = 64;
    static_assert(encrypted_cookie + cookie_bytes + tag_bytes == size);
};

/// Byte offsets of a transport data message (whitepaper 5.4.6).
struct transport_layout {
    static constexpr std::size_t receiver = 4, counter = 8, encrypted_packet = transport_header_bytes;
    static constexpr std::size_t minimum_size = encrypted_packet + tag_bytes;
};

namespace message_detail {

WG_OUTLINE constexpr message_type type_of(byte const* datagram, std::size_t size) noexcept {
    constexpr std::uint8_t sizes[] = {initiation_layout::size, response_layout::size, cookie_reply_layout::size};
    if (size < transport_layout::minimum_size) return message_type::none; // a keepalive is the shortest message
    std::uint32_t const type = load_le32(datagram);
    if (type == static_cast<std::uint32_t>(message_type::transport)) return message_type::transport;
    return type - 1 < 3 && size == sizes[type - 1] ? static_cast<message_type>(type) : message_type::none;
}

} // namespace message_detail

/// The type of a datagram. Returns: none if the first 4 bytes (the type and three zero bytes) and the length do not fit
/// together.
//= wp 5.4: type, three zero bytes, and the one size that a message has
constexpr message_type type_of(bytes_view datagram) noexcept {
    return message_detail::type_of(datagram.data(), datagram.size());
}

}} // namespace wg::WG_ABI

#endif
