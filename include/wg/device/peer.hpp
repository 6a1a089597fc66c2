// SPDX-License-Identifier: BSL-1.0
// The state of one peer. Folder: device; guarded by the device's lock.
#ifndef WG_DEVICE_PEER_HPP
#define WG_DEVICE_PEER_HPP

#include "../protocol/cookie.hpp"
#include "../protocol/keypair.hpp"
#include "../protocol/pq_exchange.hpp"
#include "../protocol/ratchet.hpp"
#include "../protocol/timers.hpp"
#include "allowed_ips.hpp"
#include "deadline_queue.hpp"
#include "linear.hpp"
#include "staging.hpp"

namespace wg { inline namespace WG_ABI {

/// The ratchet of a peer's preshared key, with its settings.
struct peer_ratchet {
    wg::ratchet keys{};         ///< not active: the configured key is used
    std::uint32_t wanted_s = 0; ///< the configured length of an epoch in seconds; 0: no ratchet
    bool unsaved = false;       ///< is to be stored
    bool not_saved = false;     ///< could not be stored
};

/// The exchange of preshared keys with a peer, with its settings.
struct peer_exchange {
    post_quantum mode = post_quantum::off; ///< as configured
    pq_keys keys{};                        ///< that exchanges made
    pq_exchange messages{};                ///< of the exchange under way
    pq_key_number found = 0;               ///< the key of the last response that was opened
    std::uint32_t carrier = 0;             ///< the local index of the session of the offer
    std::uint32_t outgoing_carrier = 0;    ///< the local index of the session of `outgoing`; 0: any
    std::uint32_t finished = 0;            ///< exchanges with a confirmed session
    std::uint8_t sent = 0;                 ///< how often the offer was sent
    std::uint8_t failures = 0;             ///< offers in a row without an answer
    instant act_at = instant::never();     ///< when `exchanges::run_timer` has work
    instant not_before{};                  ///< no offer before that
    instant finished_at{};                 ///< the last exchange with a confirmed session
    byte_array<timestamp_bytes> since{};   ///< the same as TAI64N; zero: never
    staging_queue outgoing;                ///< a message that waits for `poll_transmit`
};

/// The secrets of a peer, without those of its sessions. They lie in the storage's region for secrets.
template <policies Policies> struct peer_secrets {
    handshake exchange;           ///< the handshake that is under way, if any
    remote_identity remote;       ///< the peer's keys
    cookie_jar<Policies> cookies; ///< cookies that the peer sent
    /// Replaces the preshared key; nothing without a `ratchet_storage` in the bundle.
    [[no_unique_address]] std::conditional_t<policies_with_ratchet<Policies>, peer_ratchet, empty_member<1>> ratchet{};
    /// Preshared keys on which both ends agree; nothing without a `pq_kem` in the bundle.
    [[no_unique_address]] std::conditional_t<policies_with_exchange<Policies>, peer_exchange, empty_member<2>>
        exchanged{};
};

/// A peer. A device that searches its peers linearly uses no member that links queues.
template <policies Policies> struct peer {
    /// A session's keys.
    using keypair_type =
        keypair<Policies::storage::replay_bits,
                std::conditional_t<policies_with_exchange<Policies>, session_exchange, no_session_extra>>;

    // The members that are used most come first, because small processors reach them with short instructions.
    peer_secrets<Policies>* secrets = nullptr;        ///< nullptr: the peer was removed
    keypair_slots<keypair_type> keypairs;             ///< its sessions
    bool wants_initiation = false;                    ///< an initiation is to be sent
    bool wants_keepalive = false;                     ///< an empty packet is to be sent
    bool queued_for_transmit = false;                 ///< `poll_transmit` looks at this peer
    bool removed = false;                             ///< a shell that waits for its jobs in flight
    bool counted_as_removed = false;                  ///< used while a configuration is admitted
    bool prefixes_counted_as_removed = false;         ///< used while a configuration is admitted
    std::uint8_t early_initiations = 0;               ///< to new endpoints, since the last one after Rekey-Timeout
    std::uint32_t in_flight = 0;                      ///< jobs that have not been completed
    peer* next_for_transmit = nullptr;                ///< in the transmit queue
    peer* before_for_transmit = nullptr;              ///< in the transmit queue
    peer* next = nullptr;                             ///< in the order in which peers were added
    peer* before = nullptr;                           ///< in the order in which peers were added
    staging_queue staged;                             ///< packets that wait for a session
    path where{};                                     ///< its endpoint, and this host's source address for it
    peer_timers timers;                               ///< its timers
    instant may_initiate_at{};                        ///< Rekey-Timeout after the last handshake message to it
    instant may_be_initiated_at{};                    ///< 20 ms after the last accepted initiation
    byte_array<timestamp_bytes> greatest_timestamp{}; ///< of its initiations; kept until the peer is removed
    byte_array<timestamp_bytes> last_handshake{};     ///< wall clock as TAI64N; zero: never
    /// Timestamp of the last initiation to this peer. A compact device has one for all peers, see `device_state`.
    [[no_unique_address]] std::conditional_t<compact, empty_member<8>, byte_array<timestamp_bytes>> last_label{};
    std::uint64_t tx_bytes = 0; ///< bytes of UDP payload sent, handshake messages included
    std::uint64_t rx_bytes = 0; ///< bytes of UDP payload received, handshake messages included
    std::uint32_t number = 0;   ///< for the observer; unique during the device's life
    /// A round of `poll_transmit`.
    using round_number = std::conditional_t<Policies::threads::parallel, std::uint32_t, empty_member<7>>;
    [[no_unique_address]] round_number unstaged_in{}; ///< the last round that took packets out of `staged`

    /// `List`, or nothing where allowed IPs are searched linearly.
    template <class List, int Place>
    using unless_linear = std::conditional_t<is_linear(Policies::storage::max_allowed_ips), empty_member<Place>, List>;
    [[no_unique_address]] unless_linear<prefix_list<prefix_key_v4, peer>, 4> allowed_v4; ///< its IPv4 prefixes
    [[no_unique_address]] unless_linear<prefix_list<prefix_key_v6, peer>, 6> allowed_v6; ///< its IPv6 prefixes

    std::uint32_t deadline_position = UINT32_MAX; ///< in the deadline queue

    /// Its public key.
    wg::public_key const& key() const noexcept { return secrets->remote.public_key; }
    /// The handshake that is under way, if any.
    wg::handshake& exchange() noexcept { return secrets->exchange; }

    /// The earliest time at which a timer has work.
    instant next_deadline() const noexcept {
        if constexpr (policies_with_exchange<Policies>)
            return (std::min)(timers.next_deadline(), secrets->exchanged.act_at);
        else return timers.next_deadline();
    }

    /// Counts received bytes.
    WG_OUTLINE void received(std::size_t bytes_in) noexcept { rx_bytes += bytes_in; }
    /// Counts an initiation or a response, which was sent to the peer, against the rate limit.
    //= wp 6.1: at most one initiation every Rekey-Timeout; a response counts too
    void sent_handshake(instant_argument now) noexcept { set_after<rekey_timeout>(may_initiate_at, now); }
};

}} // namespace wg::WG_ABI

#endif
