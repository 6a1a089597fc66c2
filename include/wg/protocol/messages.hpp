// SPDX-License-Identifier: BSL-1.0
// The four messages, by byte offset (whitepaper 5.4.2 - 5.4.7). Folder: protocol. Pure; any thread.
#ifndef WG_PROTOCOL_MESSAGES_HPP
#define WG_PROTOCOL_MESSAGES_HPP

#include "../base/bytes.hpp"
#include "../base/limits.hpp"

namespace wg { inline namespace WG_ABI {

/// The type field of a message (whitepaper 5.4).
enum class message_type : std::uint32_t {
    none = 0,         ///< no message
    initiation = 1,   ///< handshake initiation, 148 bytes
    response = 2,     ///< handshake response, 92 bytes
    cookie_reply = 3, ///< cookie reply, 64 bytes
    transport = 4     ///< transport data, at least 32 bytes
};

/// Byte offsets of a handshake initiation (whitepaper 5.4.2).
struct initiation_layout {
    static constexpr std::size_t sender = 4, ///< index that the initiator chose, 4 bytes
        ephemeral = 8,                       ///< public key, 32 bytes
        encrypted_static = 40,               ///< public key and tag, 48 bytes
        encrypted_timestamp = 88,            ///< TAI64N label and tag, 28 bytes
        mac1 = 116,                          ///< 16 bytes
        mac2 = 132,                          ///< 16 bytes
        size = 148;                          ///< of the message
    static_assert(encrypted_static + key_bytes + tag_bytes == encrypted_timestamp);
    static_assert(encrypted_timestamp + timestamp_bytes + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

/// Byte offsets of a handshake response (whitepaper 5.4.3).
struct response_layout {
    static constexpr std::size_t sender = 4, ///< index that the responder chose, 4 bytes
        receiver = 8,                        ///< index that the initiator chose, 4 bytes
        ephemeral = 12,                      ///< public key, 32 bytes
        encrypted_nothing = 44,              ///< tag, 16 bytes
        mac1 = 60,                           ///< 16 bytes
        mac2 = 76,                           ///< 16 bytes
        size = 92;                           ///< of the message
    static_assert(encrypted_nothing + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

/// Byte offsets of a cookie reply (whitepaper 5.4.7).
struct cookie_reply_layout {
    static constexpr std::size_t receiver = 4, ///< `sender` of the message that is answered, 4 bytes
        nonce = 8,                             ///< 24 bytes
        encrypted_cookie = 32,                 ///< cookie and tag, 32 bytes
        size = 64;                             ///< of the message
    static_assert(encrypted_cookie + cookie_bytes + tag_bytes == size);
};

/// Byte offsets of a transport data message (whitepaper 5.4.6).
struct transport_layout {
    static constexpr std::size_t receiver = 4,     ///< index that the receiver chose, 4 bytes
        counter = 8,                               ///< 8 bytes
        encrypted_packet = transport_header_bytes; ///< padded packet and tag, at least 16 bytes
    static constexpr std::size_t minimum_size = encrypted_packet + tag_bytes; ///< of the message: a keepalive
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
