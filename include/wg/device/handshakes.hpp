// SPDX-License-Identifier: BSL-1.0
// Handshake messages, in both directions (whitepaper 5.3, 5.4.2 - 5.4.4, 5.4.7): what a device does with those that
// come in, and how it makes its own. Layer 4; guarded by the device's lock.
//
// Waiting messages of one type are worked on together, so that a dh policy that does several at once has several to do.
// What they do to the device is the same as if each had come alone: whatever reads or changes a peer is done in order,
// and nothing of another message comes between the acceptance of an initiation and its answer that could change either.
// (A second initiation of the same peer is refused by the first, a response names a handshake that only responses end.)
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

    /// A message has come in: it waits for its turn, or is dropped. `genuine`: see `check_mac1`.
    void admit(job_type& j, message_type type, bool genuine, instant now) noexcept {
        bytes_view const message = j.data.view();
        if (type == message_type::cookie_reply) {
            if (!state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver])))
                return state_.drop(j, status::unknown_index);
        } else if (!genuine) {
            //= wp 5.3: a message with a wrong mac1 is worth nothing: no answer, no DH, no place in the queue
            return state_.drop(j, status::bad_mac1);
        }
        bool const taken = state_.waiting.push(message, j.where, now);
        state_.watch_load(now);
        state_.drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    /// How many jobs `check_mac1` looks at.
    static constexpr std::size_t macs_at_once = cookie_checker<Policies>::at_once;

    /// Which of the first `macs_at_once` jobs are initiations or responses of somebody who knows our public key; the
    /// first job is bit 0.
    std::uint32_t check_mac1(std::span<job_type const> jobs) noexcept {
        if (!mine().exists()) return 0;
        if constexpr (macs_at_once == 1)
            return state_.own->checker.check_mac1(state_.with, jobs[0].data.view());
#ifndef WG_COMPACT
        std::array<bytes_view, macs_at_once> messages;
        std::array<std::uint8_t, macs_at_once> from;
        std::size_t count = 0;
        for (std::size_t i = 0; i < std::min(jobs.size(), macs_at_once); ++i) {
            message_type const type = type_of(jobs[i].data.view());
            if (type != message_type::initiation && type != message_type::response) continue;
            from[count] = static_cast<std::uint8_t>(i);
            messages[count++] = jobs[i].data.view();
        }
        std::uint32_t const good =
            state_.own->checker.check_mac1(state_.with, std::span<bytes_view const>(messages).first(count));
        std::uint32_t genuine = 0;
        for (std::size_t i = 0; i < count; ++i) genuine |= (good >> i & 1) << from[i];
        return genuine;
#endif
    }

    /// What became of messages.
    struct handled {
        std::uint8_t messages = 0;
        std::uint8_t answers = 0;
        std::uint8_t heavy = 0; ///< messages that cost DH operations
    };

    /// Does what the messages at the front of the queue ask for, `most` of them at most: one, or several of one type.
    /// Writes the answers into `out`, from the front.
    handled handle(std::span<job_type> out, std::size_t most, instant now) noexcept {
        handled done;
        if constexpr (at_once == 1) {
            done.heavy = handle_one(out[0], now);
            done.messages = 1;
            done.answers = out[0].next == disposition::send;
            return done;
        }
        std::size_t made = 0;
        message_type const type = type_of(state_.waiting.front()->message());
        std::array<turn, at_once> turns;
        std::size_t count = 0;
        for (; count < std::min(most, at_once); ++count) {
            waiting_handshake const* const in = state_.waiting.at(count);
            if (in == nullptr || type_of(in->message()) != type) break;
            turns[count].in = in;
            turns[count].why = gate(turns[count], type, now);
            if (turns[count].why == status::ok && type != message_type::cookie_reply) {
                ++done.heavy;
                state_.waiting.note_answer(now);
            }
        }
        auto const these = std::span(turns).first(at_once == 1 ? 1 : count);
        if (type == message_type::initiation)
            consume_initiations(these, out, made, now);
        else if (type == message_type::response)
            consume_responses(these, out, made, now);
        else
            consume_cookie_replies(these, out, made, now);
        done.messages = static_cast<std::uint8_t>(count);
        done.answers = static_cast<std::uint8_t>(made);
        return done;
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
                      .create_initiation(to.exchange(), mine(), to.secrets->remote, state_.random, next_label(),
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
    using steps = noise<Policies>;
    static constexpr std::size_t at_once = steps::at_once;

    /// A message whose turn it is.
    struct turn {
        waiting_handshake const* in = nullptr;
        status why = status::ok; ///< else nothing is done but, perhaps, a cookie sent
        bool wants_cookie = false;
    };

    /// An initiation that was accepted, and its answer.
    struct accepted {
        peer_type* from = nullptr; ///< nullptr: it was not
        duration next_attempt{};   ///< of ours, if the two have crossed
        status why = status::ok;   ///< of the answer
        std::uint32_t index = 0;
    };

    identity& mine() noexcept { return state_.own->mine(); }

    /// Whether a message is worth what it costs.
    WG_FRAME status gate(turn& t, message_type type, instant now) noexcept {
        if (type == message_type::cookie_reply) return status::ok;
        if (!mine().exists()) return status::no_private_key;
        //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
        if (!state_.waiting.under_load(now)) return status::ok;
        if (!state_.own->checker.check_mac2(state_.with, t.in->message(), t.in->where.remote, now)) {
            t.wants_cookie = true;
            return status::cookie_sent;
        }
        //= linux: a source that sends too much under load gets no answer, not even a cookie
        if (!state_.limiter.allow(state_.with.hash, state_.random, t.in->where.remote.address, now))
            return status::rate_limited;
        return status::ok;
    }

    /// The oldest message's whole turn, without anything that is there for several. Whether it cost DH operations.
    WG_FRAME bool handle_one(job_type& answer, instant now) noexcept {
        turn t;
        t.in = state_.waiting.front();
        message_type const type = type_of(t.in->message());
        t.why = gate(t, type, now);
        bool const heavy = t.why == status::ok && type != message_type::cookie_reply;
        if (heavy) state_.waiting.note_answer(now);
        if (begin_last_part(t, answer, now)) {
            accepted by;
            if (type == message_type::initiation)
                t.why = consume_initiation(t, by, now);
            else if (type == message_type::response)
                t.why = consume_response(t, now);
            else
                t.why = consume_cookie_reply(t, now);
            if (by.from != nullptr) t.why = answer_initiation(t, by, answer, now);
        }
        end(t, now);
        return heavy;
    }

    WG_FRAME status answer_initiation(turn const& t, accepted const& by, job_type& answer, instant now) noexcept {
        peer_type& to = *by.from;
        note_initiation(to, t, by.next_attempt, now);
        status why = by.why;
        if (why == status::ok && !state_.room_for(answer, response_layout::size)) why = status::no_room;
        if (why == status::ok) {
            to.last_sent_handshake = now;
            why = steps(state_.with)
                      .create_response(to.exchange(), to.secrets->remote, state_.random, by.index, answer.data.view());
        }
        why = end_response(to, why, answer, now);
        state_.reschedule(to);
        return why;
    }

    WG_FRAME status consume_initiation(turn const& t, accepted& by, instant now) noexcept {
        typename steps::incoming_initiation in;
        status const why = steps(state_.with).open_initiation(in, mine(), t.in->message());
        return why == status::ok ? accept_initiation(in, t, by, now) : why;
    }

    WG_FRAME status consume_response(turn const& t, instant now) noexcept {
        bytes_view const message = t.in->message();
        peer_type* const from = asked_by(message);
        if (from == nullptr) return status::unknown_index;
        status const why =
            steps(state_.with).consume_response(from->exchange(), mine(), from->secrets->remote, message);
        return why == status::ok ? end_initiation(*from, t.in->where, message.size(), now) : why;
    }

    /// The last part of the oldest message's turn, all of it but what `end` does. False: nothing else is to be done.
    bool begin_last_part(turn& t, job_type& answer, instant now) noexcept {
        state_.begin(answer, true);
        if (t.wants_cookie) t.why = send_cookie_reply(t, answer, now);
        return t.why == status::ok;
    }
    void end(turn const& t, instant now) noexcept {
        if (t.why != status::ok) state_.count(t.why, nullptr);
        state_.waiting.pop();
        if (state_.waiting.size() == 0) state_.watch_load(now);
    }

    WG_FRAME status send_cookie_reply(turn const& t, job_type& out, instant now) noexcept {
        bytes_view const message = t.in->message();
        path const& where = t.in->where;
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

    void consume_cookie_replies(std::span<turn> turns, std::span<job_type> out, std::size_t& made,
                                instant now) noexcept {
        for (turn& t : turns) {
            job_type& unused = out[made];
            if (begin_last_part(t, unused, now)) t.why = consume_cookie_reply(t, now);
            end(t, now);
            if (unused.next == disposition::send) ++made;
        }
    }

    WG_FRAME status consume_cookie_reply(turn const& t, instant now) noexcept {
        bytes_view const message = t.in->message();
        auto const found = state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver]));
        if (!found) return status::unknown_index;
        peer_type& from = *found.who;
        status const why = from.secrets->cookies.consume_reply(state_.with, from.key(), message, now);
        if (why == status::ok) state_.report(event_id::cookie_reply_received, &from);
        return why;
    }

    void consume_initiations(std::span<turn> turns, std::span<job_type> out, std::size_t& made, instant now) noexcept {
        std::array<typename steps::one_initiation, at_once> opened;
        std::array<typename steps::outgoing_response, at_once> answers;
        std::array<accepted, at_once> froms;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            opened[i].message = turns[i].in->message();
            opened[i].why = turns[i].why;
        }
        steps const noise(state_.with);
        noise.open_initiations(std::span(opened).first(turns.size()), mine());
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why == status::ok) turns[i].why = opened[i].why;
            if (turns[i].why == status::ok) turns[i].why = accept_initiation(opened[i], turns[i], froms[i], now);
            if (turns[i].why != status::ok || froms[i].why != status::ok) continue;
            peer_type& from = *froms[i].from;
            noise.begin_response(answers[i], from.exchange(), from.secrets->remote, state_.random);
        }
        noise.agree_responses(std::span(answers).first(turns.size()));
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& answer = out[made];
            if (begin_last_part(turns[i], answer, now)) {
                note_initiation(*froms[i].from, turns[i], froms[i].next_attempt, now);
                turns[i].why = send_response(froms[i], answers[i], answer, now);
                state_.reschedule(*froms[i].from);
            }
            end(turns[i], now);
            if (answer.next == disposition::send) ++made;
        }
    }

    /// Judges an initiation, and makes the handshake of its peer the one that it began.
    status accept_initiation(typename steps::incoming_initiation& in, turn const& t, accepted& to,
                             instant now) noexcept {
        bytes_view const message = t.in->message();
        steps const noise(state_.with);
        peer_type* const from = state_.peers.find(state_.with, in.remote_static);
        //= wp 5.4.2: an initiation of nobody is dropped after one DH, before its timestamp is read
        if (from == nullptr) return status::unknown_peer;
        if (status const why = noise.prove_initiation(in, from->secrets->remote, message); why != status::ok)
            return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (std::memcmp(in.timestamp.data(), from->greatest_timestamp.data(), timestamp_bytes) <= 0)
            return status::replayed_initiation;
        //= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
        if (now - from->last_initiation_consumption < initiation_interval) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        from->last_initiation_consumption = now;
        state_.peers.forget_handshake(*from);
        noise.accept_initiation(from->exchange(), in, message);
        // If ours is under way, too, both are lost; so would be the next two when they cross within one latency.
        // Whoever has the greater key goes first next time.
        bool const first = std::memcmp(mine().public_key.data(), in.remote_static.data(), key_bytes) > 0;
        to.from = from;
        to.next_attempt = first ? state_.jitter() : rekey_timeout + state_.jitter();
        result<std::uint32_t> const index = state_.peers.make_index(*from, state_.random);
        if (index)
            to.index = *index;
        else
            to.why = index.why();
        return status::ok;
    }

    void note_initiation(peer_type& from, turn const& t, duration next_attempt, instant now) noexcept {
        state_.roam(from, t.in->where);
        from.rx_bytes += t.in->message().size();
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::initiation_received, &from);
        from.timers.initiation_crossed(now, std::exchange(from.wants_initiation, false), next_attempt);
    }

    status send_response(accepted const& by, typename steps::outgoing_response const& answer, job_type& out,
                         instant now) noexcept {
        peer_type& to = *by.from;
        status why = by.why;
        if (why == status::ok && !state_.room_for(out, response_layout::size)) why = status::no_room;
        if (why == status::ok) {
            to.last_sent_handshake = now;
            why = steps(state_.with).create_response(answer, by.index, out.data.view());
        }
        return end_response(to, why, out, now);
    }

    /// A response was made, if `why` is ok.
    status end_response(peer_type& to, status why, job_type& out, instant now) noexcept {
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

    /// The peer whose handshake a response claims to answer; nullptr: there is none.
    peer_type* asked_by(bytes_view response) noexcept {
        auto const found = state_.peers.find_index(load_le32(&response[response_layout::receiver]));
        return found.keys != nullptr ? nullptr : found.who;
    }

    void consume_responses(std::span<turn> turns, std::span<job_type> out, std::size_t& made, instant now) noexcept {
        std::array<typename steps::incoming_response, at_once> opened;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why != status::ok) continue;
            opened[i].message = turns[i].in->message();
            if (peer_type* const from = asked_by(opened[i].message)) opened[i].of = &from->exchange();
        }
        steps(state_.with).agree_responses(std::span(opened).first(turns.size()), mine());
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& unused = out[made];
            if (begin_last_part(turns[i], unused, now)) {
                peer_type* const from = asked_by(opened[i].message); // a response before it may have been the one
                turns[i].why = from == nullptr ? status::unknown_index
                                               : consume_response(*from, opened[i], turns[i].in->where, now);
            }
            end(turns[i], now);
            if (unused.next == disposition::send) ++made;
        }
    }

    status consume_response(peer_type& from, typename steps::incoming_response const& in, path const& where,
                            instant now) noexcept {
        status const why = steps(state_.with).consume_response(from.exchange(), in, from.secrets->remote);
        return why == status::ok ? end_initiation(from, where, in.message.size(), now) : why;
    }

    /// Our initiation was answered.
    status end_initiation(peer_type& from, path const& where, std::size_t message_bytes, instant now) noexcept {
        state_.roam(from, where);
        from.rx_bytes += message_bytes;
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::response_received, &from);
        status const why = begin_session(from, now, true);
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
        if constexpr (peer_table<Policies>::two_sessions) with.keypairs.make_room(initiator, state_.peers.retiring());
        keypair_type* const fresh = state_.peers.make_keypair(with, now, initiator);
        if (fresh == nullptr) return status::no_memory;
        status const why =
            noise<Policies>(state_.with).begin_session(with.exchange(), fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        if (initiator)
            with.keypairs.add_as_initiator(*fresh, state_.peers.retiring());
        else
            with.keypairs.add_as_responder(*fresh, state_.peers.retiring());
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
    byte_array<timestamp_bytes> const& next_label() noexcept {
        constexpr std::uint32_t grain_ns = std::uint32_t{1} << 24;
        byte_array<timestamp_bytes> label{};
        state_.clock.tai64n(label);
        //= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
        store_be32(&label[8], load_be32(&label[8]) & ~(grain_ns - 1));
        //= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
        if (std::memcmp(label.data(), state_.last_label.data(), timestamp_bytes) <= 0) {
            label = state_.last_label;
            std::uint32_t const ns = load_be32(&label[8]) + grain_ns;
            store_be32(&label[8], ns < 1'000'000'000 ? ns : 0);
            if (ns >= 1'000'000'000) store_be64(label.data(), load_be64(label.data()) + 1);
        }
        state_.last_label = label;
        return state_.last_label;
    }

    state_type& state_;
};

} // namespace wg::inline WG_ABI

#endif
