// SPDX-License-Identifier: BSL-1.0
// Joins the ratchets of preshared keys to handshakes, sessions, the configuration and the storage of a device. Folder:
// device; guarded by the device's lock. Without a `ratchet_storage` in the bundle, nothing here is used.
#ifndef WG_DEVICE_RATCHETS_HPP
#define WG_DEVICE_RATCHETS_HPP

#include "../base/tai64n.hpp"
#include "state.hpp"

namespace wg { inline namespace WG_ABI {

/// The part of a device that replaces preshared keys: static functions over the device's state.
template <policies_with_ratchet Policies> class ratchets {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;

public:
    /// The ratchet of a peer.
    static ratchet& of(peer_type& p) noexcept { return p.secrets->ratchet.keys; }

    // --- handshakes

    /// Returns: the preshared key for the response to an initiation of `to`, in `room` or in the peer's secrets.
    static secret<key_bytes> const& choose(state_type& state, peer_type& to, secret<key_bytes>& room) noexcept {
        ratchet& r = of(to);
        if (!r.active()) return to.secrets->remote.preshared_key;
        r.choose(state.with.hash, epoch_at(unix_seconds_of(to.greatest_timestamp), r.epoch_s()), today(state, r), room);
        return room;
    }
    /// Whether this end must answer an initiation of `from` by one of its own: the peer does not know the date, and may
    /// have no state either, so that it did not find the key of the last response.
    static bool must_begin(state_type& state, peer_type& from) noexcept {
        ratchet const& r = of(from);
        return r.active() && r.awaits_confirmation() &&
               epoch_at(unix_seconds_of(from.greatest_timestamp), r.epoch_s()) == no_epoch &&
               today(state, r) != no_epoch;
    }
    /// Looks for the preshared key of a response from `from`. `fits(secret<key_bytes> const&)`: whether a key opens it.
    template <class Fits> static bool find(state_type& state, peer_type& from, Fits&& fits) noexcept {
        ratchet& r = of(from);
        if (!r.active()) return fits(from.secrets->remote.preshared_key);
        return r.find(state.with.hash, today(state, r), fits);
    }
    /// A session began, which waits for its first packet.
    static void session_began(peer_type& with, bool initiator) noexcept {
        ratchet& r = of(with);
        if (!r.active()) return;
        if (initiator) r.response_accepted();
        else r.response_created();
    }
    /// A packet of `from` came in under `used`. `confirmed`: it is the first one of a session that the peer began.
    template <class Keypair>
    static void received(state_type& state, peer_type& from, Keypair const& used, bool confirmed) noexcept {
        ratchet& r = of(from);
        if (!r.active()) return;
        ratchet_epoch const before = r.epoch();
        bool const first = !r.confirmed();
        if (confirmed) r.confirm_as_responder(state.with.hash);
        else if (r.awaits_data() && used.initiator && &used == from.keypairs.current)
            r.confirm_as_initiator(state.with.hash);
        else return;
        from.secrets->remote.preshared_key.clear(); // the keys of earlier epochs follow from it
        if (first || r.epoch() != before) {
            mark(state, from);
            state.report(event_id::ratchet_advanced, &from, r.epoch());
        } else if (from.secrets->ratchet.not_saved) {
            mark(state, from); // tries again
        }
    }

    // --- configuration

    /// Begins, continues or ends the ratchet of a peer after its settings changed.
    static void settle(state_type& state, peer_type& p) noexcept {
        auto& of_peer = p.secrets->ratchet;
        ratchet& r = of_peer.keys;
        secret<key_bytes>& configured = p.secrets->remote.preshared_key;
        if (of_peer.wanted_s == 0) {
            if (!r.active()) return;
            state.ratchet_records.erase(p.key());
            return r.clear();
        }
        if (r.active() && configured.is_zero()) {
            // A confirmed ratchet has wiped the configured key, so an all-zero key changes nothing.
            if (!r.confirmed()) r.clear();
            return;
        }
        if (!r.began_with(state.with.hash, configured.expose(), of_peer.wanted_s) && !load(state, p) &&
            !configured.is_zero())
            r.begin(state.with.hash, configured.expose(), of_peer.wanted_s);
        if (r.confirmed()) configured.clear();
    }

    // --- storage

    /// Returns: a peer whose ratchet is to be stored, and marks it as stored; nullptr: none.
    static peer_type* take_unsaved(state_type& state) noexcept {
        for (peer_type* p = state.unsaved_ratchets ? state.peers.first() : nullptr; p != nullptr; p = p->next)
            if (std::exchange(p->secrets->ratchet.unsaved, false)) return p;
        state.unsaved_ratchets = false;
        return nullptr;
    }

private:
    /// The epoch of this host's clock.
    static ratchet_epoch today(state_type& state, ratchet const& r) noexcept {
        byte_array<timestamp_bytes> label{};
        state.clock.tai64n(label);
        return epoch_at(unix_seconds_of(label), r.epoch_s());
    }

    static void mark(state_type& state, peer_type& p) noexcept {
        p.secrets->ratchet.unsaved = state.unsaved_ratchets = true;
    }

    /// Reads the stored ratchet of a peer. Returns: whether it continues the configured one.
    static bool load(state_type& state, peer_type& p) noexcept {
        secret<ratchet_record_bytes> record;
        if (!state.ratchet_records.load(p.key(), record.expose())) return false;
        auto& of_peer = p.secrets->ratchet;
        return of_peer.keys.load(state.with.hash, record.expose(), p.secrets->remote.preshared_key.expose(),
                                 of_peer.wanted_s);
    }
};

}} // namespace wg::WG_ABI

#endif
