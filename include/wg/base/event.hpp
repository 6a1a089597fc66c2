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
    dropped,               ///< a packet was dropped; value: the status that says why
    initiation_sent,       ///< value: the initiations of this attempt before it
    initiation_received,   ///< a peer's initiation was accepted
    response_sent,         ///< to an initiation
    response_received,     ///< a peer's response was accepted
    cookie_reply_sent,     ///< to a handshake message under load
    cookie_reply_received, ///< the next handshake message has a mac2
    keepalive_sent,        ///< an empty packet
    keepalive_received,    ///< an empty packet
    session_started,       ///< value: 1 as initiator, 0 as responder
    handshake_given_up,    ///< after 90 s without a response
    keys_zeroed,           ///< 9 minutes after the last session began
    endpoint_changed,      ///< value: the new port
    peer_added,            ///< by the configuration
    peer_removed,          ///< by the configuration
    under_load,            ///< value: 1: load begins, 0: load ends
    congestion_marked,     ///< the first packet that `congestion_lost` describes; value: 1: dropped, 0: passed
    send_failed,           ///< value: the status, plus 256 times the host's own error number (errno; 0: none)
    sessions_dropped,      ///< the host was suspended or restored from a snapshot; value: the sessions that ended
    ratchet_advanced,      ///< a session under a later epoch was confirmed, older keys are wiped; value: the epoch
    exchange_finished,     ///< a session under a key that an exchange made was confirmed; value: how many there were
    exchange_unanswered,   ///< the peer did not answer the offer of an exchange; value: how often in a row
    ratchet_not_saved,     ///< the state of the ratchet was not stored: older keys stay in the storage
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
        "could not send",
        "dropped all sessions: the host was suspended or restored from a snapshot",
        "replaced the preshared key, and wiped the older ones",
        "has a session under a post-quantum key",
        "does not answer the offer of a post-quantum exchange",
        "could not save the replaced preshared key: the stored one is an older one"};
    return texts[static_cast<std::size_t>(id)];
}

}} // namespace wg::WG_ABI

#endif
