// SPDX-License-Identifier: BSL-1.0
// Handshake messages, in both directions (whitepaper 5.3, 5.4.2 - 5.4.4, 5.4.7): what a device does with those that
// come in, and how it makes its own. Layer 4; guarded by the device's lock.
#ifndef WG_DEVICE_HANDSHAKES_HPP
#define WG_DEVICE_HANDSHAKES_HPP

#include "state.hpp"

namespace wg::inline WG_ABI {

/// A view of a device's state, made for a call.
template <policies Policies> class handshakes {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;
    using job_type = typename state_type::job_type;

public:
    explicit handshakes(state_type& state) noexcept : state_(state) {}

    /// A message has come in: it waits for its turn, or is dropped.
    void admit(job_type& j, message_type type, instant now) noexcept {
        bytes_view const message = j.data.view();
        if (type == message_type::cookie_reply) {
            if (state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver])) == nullptr)
                return state_.drop(j, status::unknown_index);
        } else if (!mine().exists() || !state_.own->checker.check_mac1(state_.with, message)) {
            //= wp 5.3: a message with a wrong mac1 is worth nothing: no answer, no DH, no place in the queue
            return state_.drop(j, status::bad_mac1);
        }
        bool const taken = state_.waiting.push(message, j.where, now);
        state_.watch_load(now);
        state_.drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    /// Does what a message asks for, and writes the answer, if there is one, into `out`. `heavy` counts those that
    /// cost DH operations.
    status handle(waiting_handshake const& in, job_type& out, std::size_t& heavy, instant now) noexcept {
        state_.begin(out, true);
        bytes_view const message = in.message();
        message_type const type = type_of(message);
        if (type == message_type::cookie_reply) return consume_cookie_reply(message, now);
        if (!mine().exists()) return status::no_private_key;
        //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
        if (state_.waiting.under_load(now)) {
            if (!state_.own->checker.check_mac2(state_.with, message, in.where.remote, now))
                return send_cookie_reply(message, in.where, out, now);
            //= linux: a source that sends too much under load gets no answer, not even a cookie
            if (!state_.limiter.allow(state_.with.hash, state_.random, in.where.remote.address, now))
                return status::rate_limited;
        }
        ++heavy;
        state_.waiting.note_answer(now);
        return type == message_type::initiation ? consume_initiation(message, in.where, out, now)
                                                : consume_response(message, in.where, now);
    }

    /// Writes an initiation to `to` into `out`. False: none may be sent now.
    bool send_initiation(peer_type& to, job_type& out, instant now) noexcept {
        if (!mine().exists() || !to.where.remote || !to.may_send_initiation(now)) return false;
        if (!state_.room_for(out, initiation_layout::size)) return false;
        to.last_sent_handshake = now;
        to.timers.handshake_initiated(now, state_.jitter()); // also if what follows fails: then it is tried again
        status why = status::no_random;
        if (result<std::uint32_t> const index = state_.peers.make_index(to, state_.random))
            why = noise<Policies>(state_.with)
                      .create_initiation(to.exchange(), mine(), to.secrets->remote, state_.random, next_label(to),
                                         *index, out.data.view());
        else
            why = index.why();
        if (why != status::ok) {
            state_.peers.forget_handshake(to);
            state_.count(why, &to);
            return false;
        }
        to.secrets->cookies.add_macs(state_.with, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        state_.report(event_id::initiation_sent, &to, to.timers.attempts());
        return true;
    }

    /// The first packet of a session has confirmed it, or the response has come in.
    void complete(peer_type& with) noexcept {
        with.timers.handshake_complete();
        state_.clock.tai64n(with.last_handshake);
    }

private:
    identity& mine() noexcept { return state_.own->mine(); }

    status send_cookie_reply(bytes_view message, path const& where, job_type& out, instant now) noexcept {
        if (!state_.room_for(out, cookie_reply_layout::size)) return status::no_room;
        std::uint32_t const receiver =
            load_le32(&message[initiation_layout::sender]); // at the same place in a response
        if (status const why = state_.own->checker.create_reply(state_.with, state_.random, message, receiver,
                                                                where.remote, now, out.data.view());
            why != status::ok)
            return why;
        out.where = where;
        out.tos = 0;
        out.next = disposition::send;
        state_.report(event_id::cookie_reply_sent, nullptr);
        return status::cookie_sent;
    }

    status consume_cookie_reply(bytes_view message, instant now) noexcept {
        auto const* const found = state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver]));
        if (found == nullptr) return status::unknown_index;
        peer_type& from = *found->who;
        status const why = from.secrets->cookies.consume_reply(state_.with, from.key(), message, now);
        if (why == status::ok) state_.report(event_id::cookie_reply_received, &from);
        return why;
    }

    status consume_initiation(bytes_view message, path const& where, job_type& out, instant now) noexcept {
        noise<Policies> const steps(state_.with);
        typename noise<Policies>::incoming_initiation in;
        if (status const why = steps.open_initiation(in, mine(), message); why != status::ok) return why;
        peer_type* const from = state_.peers.find(state_.with, in.remote_static);
        //= wp 5.4.2: an initiation of nobody is dropped after one DH, before its timestamp is read
        if (from == nullptr) return status::unknown_peer;
        if (status const why = steps.prove_initiation(in, from->secrets->remote, message); why != status::ok)
            return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (std::memcmp(in.timestamp.data(), from->greatest_timestamp.data(), timestamp_bytes) <= 0)
            return status::replayed_initiation;
        //= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
        if (now - from->last_initiation_consumption < initiation_interval) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        from->last_initiation_consumption = now;
        state_.peers.forget_handshake(*from);
        steps.accept_initiation(from->exchange(), in, message);
        state_.roam(*from, where);
        from->rx_bytes += message.size();
        from->timers.any_authenticated_packet_received();
        from->timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::initiation_received, from);
        // If ours is under way, too, both are lost; so would be the next two when they cross within one latency.
        // Whoever has the greater key goes first next time.
        bool const first = std::memcmp(mine().public_key.data(), in.remote_static.data(), key_bytes) > 0;
        from->timers.initiation_crossed(now, std::exchange(from->wants_initiation, false),
                                        first ? state_.jitter() : rekey_timeout + state_.jitter());
        status const why = send_response(*from, out, now);
        state_.reschedule(*from);
        return why;
    }

    status send_response(peer_type& to, job_type& out, instant now) noexcept {
        if (!state_.room_for(out, response_layout::size)) return status::no_room;
        noise<Policies> const steps(state_.with);
        result<std::uint32_t> const index = state_.peers.make_index(to, state_.random);
        if (!index) return index.why();
        to.last_sent_handshake = now;
        status why = steps.create_response(to.exchange(), to.secrets->remote, state_.random, *index, out.data.view());
        if (why == status::ok) why = begin_session(to, now, false);
        if (why != status::ok) {
            state_.peers.forget_handshake(to);
            return why;
        }
        to.secrets->cookies.add_macs(state_.with, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        state_.report(event_id::response_sent, &to);
        return status::ok;
    }

    status consume_response(bytes_view message, path const& where, instant now) noexcept {
        auto const* const found = state_.peers.find_index(load_le32(&message[response_layout::receiver]));
        if (found == nullptr || found->keys != nullptr) return status::unknown_index;
        peer_type& from = *found->who;
        status why =
            noise<Policies>(state_.with).consume_response(from.exchange(), mine(), from.secrets->remote, message);
        if (why != status::ok) return why;
        state_.roam(from, where);
        from.rx_bytes += message.size();
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::response_received, &from);
        why = begin_session(from, now, true);
        if (why == status::ok) {
            complete(from);
            state_.report(event_id::session_started, &from, 1);
            //= wp 6.4: the initiator may send at once, and does, so that the responder may
            state_.want_keepalive(from); // confirms the session, unless a staged packet does
        } else {
            state_.peers.forget_handshake(from);
        }
        state_.reschedule(from);
        return why;
    }

    status begin_session(peer_type& with, instant now, bool initiator) noexcept {
        keypair_type* const fresh = state_.peers.make_keypair(with, now, initiator);
        if (fresh == nullptr) return status::no_memory;
        status const why =
            noise<Policies>(state_.with).begin_session(with.exchange(), fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        if (initiator)
            with.keypairs.add_as_initiator(*fresh, state_.retire());
        else
            with.keypairs.add_as_responder(*fresh, state_.retire());
        with.timers.session_derived(now);
        return why;
    }

    void send_handshake_message(job_type& out, peer_type& to, instant now) noexcept {
        to.timers.any_authenticated_packet_traversal(now);
        to.timers.any_authenticated_packet_sent();
        out.tos = handshake_tos;
        state_.send(out, to, nullptr);
    }

    /// The wall clock, coarse so that it tells little of this host's load, and greater than the label before.
    byte_array<timestamp_bytes> const& next_label(peer_type& to) noexcept {
        constexpr std::uint32_t grain_ns = std::uint32_t{1} << 24;
        byte_array<timestamp_bytes> label{};
        state_.clock.tai64n(label);
        //= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
        store_be32(&label[8], load_be32(&label[8]) & ~(grain_ns - 1));
        //= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
        if (std::memcmp(label.data(), to.last_label.data(), timestamp_bytes) <= 0) {
            label = to.last_label;
            std::uint32_t const ns = load_be32(&label[8]) + grain_ns;
            store_be32(&label[8], ns < 1'000'000'000 ? ns : 0);
            if (ns >= 1'000'000'000) store_be64(label.data(), load_be64(label.data()) + 1);
        }
        to.last_label = label;
        return to.last_label;
    }

    state_type& state_;
};

} // namespace wg::inline WG_ABI

#endif
