// SPDX-License-Identifier: BSL-1.0
// Joins post-quantum exchanges of preshared keys to handshakes, sessions and timers of a device. Folder: device;
// guarded by the device's lock. Without a `pq_kem` in the bundle, nothing here is used.
//
// The end that began a session offers an exchange in it, if the session's key is the configured one or an old one. The
// other end offers if nothing came for two seconds and the session's key is the configured one. If it was, the end that
// offered begins a new handshake at once when the answer has come; otherwise the new key serves when the session is
// renewed.
#ifndef WG_DEVICE_EXCHANGES_HPP
#define WG_DEVICE_EXCHANGES_HPP

#include "../base/tai64n.hpp"
#include "state.hpp"

namespace wg { inline namespace WG_ABI {

/// The part of a device that makes preshared keys: static functions over the device's state.
template <policies_with_exchange Policies> class exchanges {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;

public:
    static constexpr duration offer_timeout = seconds(5);    ///< an offer without an answer is sent again
    static constexpr std::uint8_t most_offers = 3;           ///< of one exchange
    static constexpr duration first_pause = seconds(60);     ///< after an exchange without an answer; doubles each time
    static constexpr duration longest_pause = seconds(3600); ///< between exchanges without an answer
    static constexpr duration offer_delay = seconds(2);      ///< the peer has that long to offer in its session
    static constexpr duration answer_delay = seconds(10);    ///< the peer has that long to use an answer

    /// Whether user data may pass in the session `keys`.
    static bool passes(peer_type const& p, keypair_type const& keys) noexcept {
        return keys.key_number != 0 || p.secrets->exchanged.mode != post_quantum::require;
    }

    // --- handshakes

    /// Returns: the preshared key for a response to `to`; nullptr: the configured one.
    static secret<key_bytes> const* choose(peer_type& to) noexcept {
        peer_exchange& of = to.secrets->exchanged;
        pq_keys& keys = of.keys;
        pq_key_number const chosen = keys.choose(of.mode == post_quantum::require);
        return chosen != 0 ? &keys.key(chosen) : nullptr;
    }
    /// Looks for the key of a response from `from`; see `ratchets::find`. Returns: false if it is none that an exchange
    /// made; the configured one is left to try.
    template <class Fits> static bool find(peer_type& from, Fits const& fits) noexcept {
        peer_exchange& of = from.secrets->exchanged;
        of.found = of.keys.find(fits);
        return of.found != 0;
    }

    /// The session `fresh` begins, by the handshake `by` whose last message was sent or opened.
    /// Returns: whether its preshared key is one that an exchange made.
    static bool session_began(state_type& state, peer_type& with, keypair_type& fresh, handshake const& by,
                              bool initiator) noexcept {
        peer_exchange& of = with.secrets->exchanged;
        fresh.key_number = initiator ? of.found : of.keys.chosen();
        pq_exchange::export_secret(state.with.hash, by.symmetric.chaining_key, fresh.exported);
        return fresh.key_number != 0;
    }

    /// A session that this end began is current: it may offer an exchange there.
    static void session_current(state_type& state, peer_type& with, instant_argument now) noexcept {
        peer_exchange& of = with.secrets->exchanged;
        if (of.mode == post_quantum::off) return;
        of.messages.stop();
        keypair_type const& keys = *with.keypairs.current;
        bool const is_old = of.keys.fresh() == 0 && now - of.finished_at >= state.exchange_interval;
        if (keys.key_number != 0 && !is_old) of.act_at = instant::never();
        else if (!passed(of.not_before, now)) of.act_at = of.not_before;
        else begin(state, with, now);
    }

    // --- data

    /// A packet came in under the session `used`. `confirmed`: it is the first one of a session that the peer began.
    static void received(state_type& state, peer_type& from, keypair_type const& used, bool confirmed,
                         instant_argument now) noexcept {
        peer_exchange& of = from.secrets->exchanged;
        bool const finished = of.keys.received(used.key_number, confirmed);
        if (confirmed && of.mode != post_quantum::off) {
            of.messages.stop(); // the peer may offer in its session
            of.act_at = used.key_number == 0 ? now + offer_delay : instant::never();
        }
        if (!finished) return;
        of.finished_at = now;
        state.clock.tai64n(of.since);
        of.messages.forget_answer();
        state.report(event_id::exchange_finished, &from, ++of.finished);
        // A key for each session: the offer of this session waited until the key before it was in use.
        if (state.exchange_interval == duration{} && &used == from.keypairs.current && used.initiator &&
            of.mode != post_quantum::off)
            begin(state, from, now);
    }

    /// Handles an inner packet that is a message of an exchange. Returns: why it is not delivered.
    static status consume(state_type& state, peer_type& from, keypair_type const& used, bytes_view message,
                          instant_argument now) noexcept {
        if (from.secrets->exchanged.mode == post_quantum::off) return status::bad_inner_packet;
        bool const read = finish(state, from, message) || answer(state, from, used, message, now);
        return read ? status::exchange_message : status::bad_inner_packet;
    }

    /// Runs the timer of the exchange, if it is due.
    static void run_timer(state_type& state, peer_type& p, instant_argument now) noexcept {
        peer_exchange& of = p.secrets->exchanged;
        if (!passed(of.act_at, now)) return;
        of.act_at = instant::never();
        keypair_type const* const keys = p.keypairs.current;
        bool const alive = keys != nullptr && keys->can_send(now);
        if (of.messages.offering()) {
            if (!alive || keys->local_index != of.carrier) return of.messages.stop(); // the next session has an offer
            if (of.sent == most_offers) note_unanswered(state, p);
            if (of.sent < most_offers || insists(of)) return offer(state, p, now);
            return pause(of, now);
        }
        if (of.mode == post_quantum::off || (alive && keys->key_number != 0)) return;
        if (!passed(of.not_before, now)) {
            of.act_at = of.not_before;
        } else if (alive) {
            begin(state, p, now);
        } else if (!p.staged.empty()) {
            state.want_initiation(p);
        }
    }

    // --- configuration

    /// Sets the mode. Without exchanges, the keys that they made are wiped.
    static void set_mode(state_type& state, peer_type& p, post_quantum mode) noexcept {
        peer_exchange& of = p.secrets->exchanged;
        if (std::exchange(of.mode, mode) == mode) return;
        if (mode == post_quantum::off) return forget(state, p);
        of.not_before = of.act_at = instant{}; // at once, if there is a session
        of.failures = 0;
        state.reschedule(p);
    }
    /// Wipes the keys that exchanges made: the mode is off, or there is another configured key.
    static void forget(state_type& state, peer_type& p) noexcept {
        peer_exchange& of = p.secrets->exchanged;
        state.end_exchange(p);
        of.keys.clear();
        if (of.mode != post_quantum::off) of.act_at = instant{}; // the session stays, and gets another offer
        state.reschedule(p);
    }

private:
    using at = pq_layout;

    /// Begins an exchange in the current session.
    static void begin(state_type& state, peer_type& with, instant_argument now) noexcept {
        peer_exchange& of = with.secrets->exchanged;
        of.sent = 0;
        of.carrier = with.keypairs.current->local_index;
        if (of.messages.begin(state.random)) return offer(state, with, now);
        state.count(status::no_random, &with);
        of.act_at = now + offer_timeout;
    }
    /// Sends the offer, for the first time or again.
    static void offer(state_type& state, peer_type& to, instant_argument now) noexcept {
        peer_exchange& of = to.secrets->exchanged;
        byte_array<at::offer_bytes> message;
        if (of.sent < UINT8_MAX) ++of.sent;
        of.act_at = now + offer_timeout;
        if (of.messages.write_offer(state.kem, message)) send(state, to, message, of.carrier);
    }
    /// Whether an offer is sent again for as long as the session lives: no user data passes otherwise, or the peer has
    /// answered before.
    static bool insists(peer_exchange const& of) noexcept {
        return of.mode == post_quantum::require || of.finished != 0 || of.keys.fresh() != 0;
    }
    static void note_unanswered(state_type& state, peer_type& p) noexcept {
        peer_exchange& of = p.secrets->exchanged;
        if (of.failures < UINT8_MAX) ++of.failures;
        state.report(event_id::exchange_unanswered, &p, of.failures);
    }
    /// Ends an exchange without an answer. The next one begins after a pause.
    static void pause(peer_exchange& of, instant_argument now) noexcept {
        of.messages.stop();
        duration length = first_pause;
        for (unsigned i = of.failures; i > 1 && length < longest_pause; --i) length = length * 2;
        of.not_before = of.act_at = now + (std::min)(length, longest_pause);
    }

    /// Answers an offer. Returns: false if it is none.
    static bool answer(state_type& state, peer_type& to, keypair_type const& used, bytes_view message,
                       instant_argument now) noexcept {
        peer_exchange& of = to.secrets->exchanged;
        // If both ends offer, the offer of the end with the smaller key counts.
        if (of.messages.offering() && to.keypairs.current->local_index == of.carrier &&
            std::memcmp(state.own->public_key.data(), to.key().data(), key_bytes) < 0)
            return true;
        byte_array<at::answer_bytes> reply;
        secret<key_bytes> key;
        if (!of.messages.answer(state.with.hash, state.kem, state.random, used.exported, to.key(),
                                state.own->public_key, message, reply, key))
            return false;
        of.messages.stop();
        of.keys.add(key);
        to.may_be_initiated_at = {}; // the peer begins a handshake with the new key
        of.act_at = now + answer_delay;
        send(state, to, reply, 0);
        return true;
    }
    /// Reads the answer to an offer. It may come in another session than the offer went out, if each end has begun one.
    /// Returns: false if it is none.
    static bool finish(state_type& state, peer_type& from, bytes_view message) noexcept {
        peer_exchange& of = from.secrets->exchanged;
        if (!of.messages.offering()) return false;
        auto const& keypairs = from.keypairs;
        for (keypair_type const* const carrier : {keypairs.current, keypairs.previous, keypairs.next}) {
            if (carrier == nullptr || carrier->local_index != of.carrier) continue;
            secret<key_bytes> key;
            if (!of.messages.finish(state.with.hash, state.kem, carrier->exported, state.own->public_key, from.key(),
                                    message, key))
                return false;
            of.keys.add(key);
            of.failures = 0;
            of.not_before = {};
            of.act_at = instant::never();
            if (carrier->key_number != 0) return true; // the new key serves when the session is renewed
            from.may_initiate_at = {};                 // the peer has answered, so this initiation is no repetition
            state.want_initiation(from);
            return true;
        }
        return false;
    }

    /// Puts a message into the queue of `to`, for the session `carrier`; 0: for any. Makes room by dropping a packet
    /// that waits.
    static void send(state_type& state, peer_type& to, bytes_view message, std::uint32_t carrier) noexcept {
        peer_exchange& of = to.secrets->exchanged;
        (void)state.staged.drop_all(of.outgoing);
        (void)state.staged.stage(of.outgoing, message);
        if (of.outgoing.empty() && !to.staged.empty()) {
            state.staged.drop_oldest(to.staged);
            state.count(status::staging_full, &to);
            (void)state.staged.stage(of.outgoing, message);
        }
        of.outgoing_carrier = carrier;
        state.enqueue_for_transmit(to);
    }
};

}} // namespace wg::WG_ABI

#endif
