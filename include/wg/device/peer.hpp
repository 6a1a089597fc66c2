// SPDX-License-Identifier: BSL-1.0
// What a device knows of one peer. Layer 4; guarded by the device's lock.
#ifndef WG_DEVICE_PEER_HPP
#define WG_DEVICE_PEER_HPP

#include "../protocol/cookie.hpp"
#include "../protocol/keypair.hpp"
#include "../protocol/timers.hpp"
#include "allowed_ips.hpp"
#include "deadline_queue.hpp"
#include "linear.hpp"
#include "staging.hpp"

namespace wg { inline namespace WG_ABI {

/// What of a peer is secret, apart from its sessions. Lives in the storage's region for secrets.
template <policies Policies> struct peer_secrets {
    handshake exchange;
    remote_identity remote;
    cookie_jar<Policies> cookies;
};

template <policies Policies> struct peer {
    using keypair_type = keypair<Policies::storage::replay_bits>;

    // What is used most lies first, where small processors reach it with short instructions.
    peer_secrets<Policies>* secrets = nullptr;
    keypair_slots<keypair_type> keypairs;
    bool wants_initiation = false;
    bool wants_keepalive = false;
    bool queued_for_transmit = false;
    bool removed = false;                                                 ///< only jobs in flight still know it
    bool counted_as_removed = false, prefixes_counted_as_removed = false; ///< while a configuration is being admitted
    std::uint8_t early_initiations = 0; ///< at new endpoints, since the last initiation that waited for its time
    std::uint32_t in_flight = 0;        ///< those jobs
    peer* next_for_transmit = nullptr;  // of few peers neither is used
    peer* before_for_transmit = nullptr;
    peer* next = nullptr; ///< in the order in which they were added
    peer* before = nullptr;
    staging_queue staged;
    path where{};
    peer_timers timers;
    instant may_initiate_at{};                        ///< after the last initiation or response that was sent
    instant may_be_initiated_at{};                    ///< after the last initiation that was accepted
    byte_array<timestamp_bytes> greatest_timestamp{}; ///< of all initiations; only the peer's removal forgets it
    byte_array<timestamp_bytes> last_handshake{};     ///< wall clock as TAI64N, zero: never
    /// Timestamp of the last initiation to this peer. A compact device has one for all peers, see `device_state`.
    [[no_unique_address]] std::conditional_t<compact, empty_member<8>, byte_array<timestamp_bytes>> last_label{};
    std::uint64_t tx_bytes = 0;
    std::uint64_t rx_bytes = 0;
    std::uint32_t number = 0; ///< for the observer; never used again
    /// The last round of `poll_transmit` that took packets out of `staged`.
    using round_number = std::conditional_t<Policies::threads::parallel, std::uint32_t, empty_member<7>>;
    [[no_unique_address]] round_number unstaged_in{};

    template <class List, int Place>
    using unless_linear = std::conditional_t<is_linear(Policies::storage::max_allowed_ips), empty_member<Place>, List>;
    [[no_unique_address]] unless_linear<prefix_list<prefix_key_v4, peer>, 4> allowed_v4;
    [[no_unique_address]] unless_linear<prefix_list<prefix_key_v6, peer>, 6> allowed_v6;

    std::uint32_t deadline_position = UINT32_MAX; // of a device of few peers it is not used

    wg::public_key const& key() const noexcept { return secrets->remote.public_key; }
    wg::handshake& exchange() noexcept { return secrets->exchange; }

    WG_OUTLINE void received(std::size_t bytes_in) noexcept { rx_bytes += bytes_in; }
    //= wp 6.1: at most one initiation every Rekey-Timeout; a response counts too
    void sent_handshake(instant_argument now) noexcept { set_after<rekey_timeout>(may_initiate_at, now); }
};

}} // namespace wg::WG_ABI

#endif
