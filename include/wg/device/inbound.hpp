// SPDX-License-Identifier: BSL-1.0
// The way in: datagrams from the network (whitepaper 2, 2.1, 5.4.6, 6.5). Folder: device; guarded by the device's lock.
//
// A handshake message is queued for `process_handshakes`. Transport data gets its keys in `prepare`, and is checked in
// `complete`, after the tag was found right: counter, endpoint, session, timers, inner source, congestion mark.
#ifndef WG_DEVICE_INBOUND_HPP
#define WG_DEVICE_INBOUND_HPP

#include "handshakes.hpp"
#include "inner_packet.hpp"

namespace wg { inline namespace WG_ABI {

/// The part of a device that handles datagrams from the network: static functions over the device's state. The caller
/// holds the device's lock.
template <policies Policies> class inbound {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;
    using job_type = typename state_type::job_type;

public:
    /// Caches mac1 results for a window of a batch: one batch of hashes instead of one hash for each message.
    struct mac1_cache {
        job_list<job_type const> jobs; ///< the batch
        std::size_t begin = 0;         ///< the window's first place in `jobs`
        std::size_t end = 0;           ///< the place behind the window
        std::uint32_t genuine = 0;     ///< a bit for each place of the window
    };

    /// Finds the keys of a datagram, queues it, or drops it. `j` is a job of `cache.jobs`. See
    /// `device::prepare_inbound`.
    static void prepare(state_type& state, job_type& j, mac1_cache& cache, instant_argument now) noexcept {
        state.begin(j, false);
        bytes const data = j.data.view();
        message_type const type = type_of(data);
        if (!state.up) return state.drop(j, status::device_down);
        if (type == message_type::none) return state.drop(j, status::malformed);
        if (type != message_type::transport)
            return handshakes<Policies>::admit(state, j, type,
                                               type != message_type::cookie_reply && is_genuine(state, j, cache), now);
        auto const found = state.peers.find_index(load_le32(&data[transport_layout::receiver]));
        if (found.keys == nullptr) return state.drop(j, status::unknown_index);
        j.counter = load_le64(&data[transport_layout::counter]);
        if (!found.keys->can_receive(now) || j.counter >= reject_after_messages)
            return state.drop(j, status::expired_keypair);
        // The replay window changes only after the tag was verified. This check saves the decryption of a replay.
        if constexpr (!compact)
            if (found.keys->received.refuses(j.counter)) return state.drop(j, status::replayed_counter);
        j.why = status::decryption_failed; // until `crypt` has verified the tag
        state.peers.acquire(j, *found.owner, found.keys);
    }

    /// Checks a message that was opened, and delivers or drops the inner packet.
    static void complete(state_type& state, job_type& j, peer_type& from, instant_argument now) noexcept {
        if (j.why != status::ok) return state.drop(j, j.why);
        std::size_t const message_bytes = j.data.length + transport_overhead_bytes;
        //= linux: decrypt, then the counter, and only then the endpoint
        if (!j.keys->received.accept(j.counter)) return state.drop(j, status::replayed_counter);
        state.roam(from, j.where);
        bool const confirmed = from.keypairs.confirm(*j.keys, state.peers.retiring());
        note_preshared_key(state, from, *j.keys, confirmed, now);
        if (confirmed) {
            handshakes<Policies>::confirm(state, from);
            state.enqueue_for_transmit(from);
            state.report(event_id::session_started, &from, 0);
        }
        keypair_type const* const current = from.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_receiving(now) && from.timers.take_last_minute_handshake())
            state.want_initiation(from);
        from.timers.any_authenticated_packet_received(now);
        //= wp 6.5: a keepalive is no data: it is not answered
        if (j.data.length == 0) {
            from.received(message_bytes);
            state.report(event_id::keepalive_received, &from);
            return state.drop(j, status::keepalive);
        }
        from.timers.data_received(now);
        if constexpr (policies_with_exchange<Policies>) {
            if (pq_exchange::is_message(j.data.view())) {
                from.received(message_bytes);
                return state.drop(j, exchanges<Policies>::consume(state, from, *j.keys, j.data.view(), now));
            }
            if (!exchanges<Policies>::passes(from, *j.keys)) return state.drop(j, status::no_exchange);
        }
        //= linux: version, length, then the source of what came in; what is wrong is dropped, but it was authenticated
        ip_header const header = parse_ip(j.data.view());
        if (!header) return state.drop(j, status::bad_inner_packet);
        j.data.grow(0, static_cast<std::ptrdiff_t>(header.total_bytes) - static_cast<std::ptrdiff_t>(j.data.length));
        //= wp 2: the source inside must be the sender's by the most specific of all allowed IPs
        if (state.peers.allowed().find(header.kind, header.source) != &from)
            return state.drop(j, status::disallowed_source);
        if (!decapsulate_ecn(j.data.view(), header, j.tos)) {
            if (!std::exchange(state.congestion_reported, true))
                state.report(event_id::congestion_marked, &from, state.congestion_drop);
            if (state.congestion_drop) return state.drop(j, status::congestion_lost);
        }
        from.received(message_bytes);
        j.next = disposition::deliver;
    }

private:
    /// A packet came in under `used`: the preshared key of that session may replace older ones.
    static void note_preshared_key([[maybe_unused]] state_type& state, [[maybe_unused]] peer_type& from,
                                   [[maybe_unused]] keypair_type const& used, [[maybe_unused]] bool confirmed,
                                   [[maybe_unused]] instant_argument now) noexcept {
        if constexpr (policies_with_exchange<Policies>) {
            exchanges<Policies>::received(state, from, used, confirmed, now);
            if (used.key_number != 0) return; // not the key of a ratchet
        }
        if constexpr (policies_with_ratchet<Policies>) ratchets<Policies>::received(state, from, used, confirmed);
    }

    /// Whether the mac1 of a handshake message is right.
    static bool is_genuine(state_type& state, job_type const& j, mac1_cache& cache) noexcept {
        if constexpr (handshakes<Policies>::macs_at_once == 1)
            return handshakes<Policies>::check_mac1(state, {&j, 1}) != 0;
        std::size_t const place = static_cast<std::size_t>(&j - cache.jobs.data());
        if (place >= cache.end) {
            cache.begin = place;
            cache.end = place + handshakes<Policies>::macs_at_once;
            cache.genuine = handshakes<Policies>::check_mac1(state, cache.jobs.subspan(place));
        }
        return (cache.genuine >> (place - cache.begin) & 1) != 0;
    }
};

}} // namespace wg::WG_ABI

#endif
