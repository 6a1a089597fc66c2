// SPDX-License-Identifier: BSL-1.0
// The events that a device reports to its observer. No event carries a secret. Folder: base. Plain values.
#ifndef WG_BASE_EVENT_HPP
#define WG_BASE_EVENT_HPP

#include "status.hpp"

namespace wg { inline namespace WG_ABI {

/// The peer number of an event that concerns no peer.
inline constexpr std::uint32_t no_peer_number = UINT32_MAX;

/// The kind of an event; the comments say what its value means.
enum class event_id : std::uint8_t {
    dropped,         ///< value: the status that says why
    initiation_sent, ///< value: attempts so far
    initiation_received,
    response_sent,
    response_received,
    cookie_reply_sent,
    cookie_reply_received,
    keepalive_sent,
    keepalive_received,
    session_started, ///< value: 1 as initiator, 0 as responder
    handshake_given_up,
    keys_zeroed,
    endpoint_changed, ///< value: the new port
    peer_added,
    peer_removed,
    under_load,        ///< value: 1 begins, 0 ends
    congestion_marked, ///< the first such packet of a device; value: 1 it was dropped, 0 it passed
    send_failed,       ///< value: the status, plus 256 times the host's own error number (errno; 0: none)
};

/// A phrase for people.
constexpr char const* describe(event_id id) noexcept {
    constexpr char const* texts[] = {
        "dropped a packet",
        "sent a handshake initiation",
        "received a handshake initiation",
        "sent a handshake response",
        "received a handshake response",
        "sent a cookie reply",
        "received a cookie reply",
        "sent a keepalive",
        "received a keepalive",
        "started a session",
        "gave up on the handshake",
        "zeroed all keys",
        "moved to another endpoint",
        "was added",
        "was removed",
        "load changed",
        "sent a packet that takes no congestion marks in a datagram that was marked on the way (RFC 6040)",
        "could not send"};
    return texts[static_cast<std::size_t>(id)];
}

}} // namespace wg::WG_ABI

#endif
