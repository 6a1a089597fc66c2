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

namespace wg { inline namespace WG_ABI {

/// The part of a device that handles handshake messages: static functions over the device's state. A part that holds
/// the state as a member costs the small node 72 bytes of flash and 8 of stack: each function that is not inlined reads
/// the reference from memory.
template <policies Policies> class handshakes {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;
    using job_type = typename state_type::job_type;
    using storage_type = typename Policies::storage;

public:
    /// A message has come in: it waits for its turn, or is dropped. `genuine`: see `check_mac1`.
    static void admit(state_type& state, job_type& j, message_type type, bool genuine, instant_argument now) noexcept {
        bytes_view const message = j.data.view();
        if (type == message_type::cookie_reply) {
            if (!state.peers.find_index(load_le32(&message[cookie_reply_layout::receiver])))
                return state.drop(j, status::unknown_index);
        } else if (!genuine) {
            //= wp 5.3: a message with a wrong mac1 is worth nothing: no answer, no DH, no place in the queue
            return state.drop(j, status::bad_mac1);
        }
        cookie_check check = cookie_check::none;
        if constexpr (!is_linear(storage_type::max_queued_handshakes)) {
            // Under load a message has to prove by its mac2 that the sender receives what is sent to its address.
            if (type != message_type::cookie_reply && state.waiting.under_load(now)) {
                status const why = check_under_load(state, message, j.where, now);
                if (why == status::rate_limited) return state.drop(j, why);
                check = why == status::ok ? cookie_check::proven : cookie_check::wanted;
                // Sources that are forged one by one are within every limit: they get half of the queue at most.
                if (check == cookie_check::wanted && state.waiting.is_half_full())
                    return state.drop(j, status::handshake_queue_full);
            }
        }
        bool const taken = state.waiting.push(message, j.where, now, check);
        state.watch_load(now);
        state.drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    /// How many jobs `check_mac1` looks at.
    static constexpr std::size_t macs_at_once = cookie_checker<Policies>::at_once;

    /// Which of the first `macs_at_once` jobs are initiations or responses of somebody who knows our public key; the
    /// first job is bit 0.
    static std::uint32_t check_mac1(state_type& state, job_list<job_type const> jobs) noexcept {
        if (!mine(state).exists()) return 0;
        if constexpr (macs_at_once == 1) return state.own->checker.check_mac1(state.with, jobs[0].data.view());
#ifndef WG_COMPACT
        std::array<bytes_view, macs_at_once> messages;
        std::array<std::uint8_t, macs_at_once> from;
        std::size_t count = 0;
        for (std::size_t i = 0; i < (std::min)(jobs.size(), macs_at_once); ++i) {
            message_type const type = type_of(jobs[i].data.view());
            if (type != message_type::initiation && type != message_type::response) continue;
            from[count] = static_cast<std::uint8_t>(i);
            messages[count++] = jobs[i].data.view();
        }
        std::uint32_t const good =
            state.own->checker.check_mac1(state.with, std::span<bytes_view const>(messages).first(count));
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
    /// Writes the answers into `out`, from the front; the first `most` buffers have room for `response_layout::size`.
    static handled handle(state_type& state, job_list<job_type> out, std::size_t most, instant_argument now) noexcept {
        handled done;
        if constexpr (at_once == 1) {
            done.heavy = handle_one(state, out[0], now);
            done.messages = 1;
            done.answers = out[0].next == disposition::send;
            return done;
        }
        std::size_t made = 0;
        message_type const type = type_of(state.waiting.front()->message());
        std::array<turn, at_once> turns;
        std::size_t count = 0;
        for (; count < (std::min)(most, at_once); ++count) {
            waiting_handshake const* const in = state.waiting.at(count);
            if (in == nullptr || type_of(in->message()) != type) break;
            turns[count].in = in;
            turns[count].why = gate(state, *in, type, now);
            if (turns[count].why == status::ok && type != message_type::cookie_reply) {
                ++done.heavy;
                state.waiting.note_answer(now);
            }
        }
        auto const these = std::span(turns).first(at_once == 1 ? 1 : count);
        if (type == message_type::initiation) consume_initiations(state, these, out, made, now);
        else if (type == message_type::response) consume_responses(state, these, out, made, now);
        else consume_cookie_replies(state, these, out, made, now);
        done.messages = static_cast<std::uint8_t>(count);
        done.answers = static_cast<std::uint8_t>(made);
        return done;
    }

    /// Writes an initiation to `to` into `out`. False: none may be sent now; or one may but does not fit, then
    /// `out.why` is no_room.
    WG_FRAME static bool send_initiation(state_type& state, peer_type& to, job_type& out,
                                         instant_argument now) noexcept {
        if (!mine(state).exists() || !to.where.remote || !passed(to.may_initiate_at, now)) return false;
        if (!state.room_for(out, initiation_layout::size)) {
            out.why = status::no_room;
            return false;
        }
        if (to.may_initiate_at != instant{}) to.early_initiations = 0; // else it was allowed before its time
        to.sent_handshake(now);
        to.timers.handshake_initiated(now, state.jitter_ms()); // also if what follows fails: then it is tried again
        status why = state.peers.make_index(to, to.exchange(), state.random);
        if (why == status::ok)
            why = steps(state.with)
                      .create_initiation(to.exchange(), mine(state), to.secrets->remote, state.random,
                                         next_label(state, to), out.data.view());
        if (why != status::ok) {
            state.peers.forget(to.exchange());
            state.count(why, &to);
            return false;
        }
        send_handshake_message(state, out, to, now);
        state.report(event_id::initiation_sent, &to, to.timers.attempts());
        return true;
    }

    /// The first packet of a session has confirmed it, or the response has come in.
    WG_OUTLINE static void confirm(state_type& state, peer_type& of) noexcept {
        if constexpr (apart) state.peers.forget(of.exchange()); // an initiation of ours needs no answer any more
        of.timers.handshake_complete();
        state.clock.tai64n(of.last_handshake);
    }

private:
    using steps = noise<Policies>;
    static constexpr std::size_t at_once = steps::at_once;
    /// Whether an initiation is answered apart from the one that we may have under way. On small machines one place has
    /// to do for both, as in Linux: then two that cross are both lost.
#ifdef WG_COMPACT
    static constexpr bool apart = false;
#else
    static constexpr bool apart = true;
#endif

    /// A message whose turn it is.
    struct turn {
        waiting_handshake const* in = nullptr;
        status why = status::ok; ///< else nothing is done, or for cookie_sent that is
    };

    /// An initiation that was accepted, and its answer.
    struct accepted {
        peer_type* from = nullptr;        ///< nullptr: it was not
        std::int32_t next_attempt_ms = 0; ///< of ours, if it has to wait
        status why = status::ok;          ///< of the answer
#ifdef WG_COMPACT
        handshake& exchange() noexcept { return from->exchange(); }
#else
        handshake of{};
        handshake& exchange() noexcept { return of; }
#endif
    };

    static identity& mine(state_type& state) noexcept { return state.own->mine(); }

    /// Whether a message is worth what it costs.
    static status gate(state_type& state, waiting_handshake const& in, message_type type,
                       instant_argument now) noexcept {
        if (type == message_type::cookie_reply) return status::ok;
        if (!mine(state).exists()) return status::no_private_key;
        if (!state.waiting.under_load(now) || in.check == cookie_check::proven) return status::ok;
        if (in.check == cookie_check::wanted) return status::cookie_sent;
        return check_under_load(state, in.message(), in.where, now);
    }

    /// ok, cookie_sent: the sender is to be sent a cookie, or rate_limited.
    //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
    static status check_under_load(state_type& state, bytes_view message, path const& where,
                                   instant_argument now) noexcept {
        ip_address const& source = where.remote.address;
        if (state.own->checker.check_mac2(state.with, message, where.remote, now))
            //= linux: a source that sends too much under load gets no answer, not even a cookie
            return state.limiter.allow(state.with.hash, state.random, source, now) ? status::ok : status::rate_limited;
        state.waiting.note_refusal(now);
        // Senders without a cookie have a limiter of their own: they take no place of those that have proven one.
        if constexpr (!state_type::linear_limiter)
            if (!state.cookie_limiter.allow(state.with.hash, state.random, source, now)) return status::rate_limited;
        return status::cookie_sent;
    }

    /// The oldest message's whole turn, without anything that is there for several. Whether it cost DH operations.
    static bool handle_one(state_type& state, job_type& answer, instant_argument now) noexcept {
        waiting_handshake const& in = state.waiting.oldest();
        message_type const type = type_of(in.message());
        state.begin(answer, true);
        status why = gate(state, in, type, now);
        bool const heavy = why == status::ok && type != message_type::cookie_reply;
        if (heavy) state.waiting.note_answer(now);
        if (why == status::cookie_sent) {
            why = send_cookie_reply(state, in, answer, now);
        } else if (why == status::ok) {
            accepted by;
            if (type == message_type::initiation) why = consume_initiation(state, in, by, now);
            else if (type == message_type::response) why = consume_response(state, in, now);
            else why = consume_cookie_reply(state, in, now);
            if (by.from != nullptr) why = answer_initiation(state, in, by, answer, now);
        }
        end(state, why, now);
        return heavy;
    }

    static status answer_initiation(state_type& state, waiting_handshake const& in, accepted& by, job_type& answer,
                                    instant_argument now) noexcept {
        peer_type& to = *by.from;
        note_initiation(state, to, in, by.next_attempt_ms, now);
        status why = by.why;
        if (why == status::ok) {
            state.take_room(answer, response_layout::size);
            to.sent_handshake(now);
            why =
                steps(state.with).create_response(by.exchange(), to.secrets->remote, state.random, answer.data.view());
        }
        why = end_response(state, by, why, answer, now);
        state.reschedule(to);
        return why;
    }

    WG_FRAME static status consume_initiation(state_type& state, waiting_handshake const& in, accepted& by,
                                              instant_argument now) noexcept {
        typename steps::incoming_initiation opened;
        status const why = steps(state.with).open_initiation(opened, mine(state), in.message());
        return why == status::ok ? accept_initiation(state, opened, in, by, now) : why;
    }

    WG_FRAME static status consume_response(state_type& state, waiting_handshake const& in,
                                            instant_argument now) noexcept {
        bytes_view const message = in.message();
        peer_type* const from = asked_by(state, message);
        if (from == nullptr) return status::unknown_index;
        status const why =
            steps(state.with).consume_response(from->exchange(), mine(state), from->secrets->remote, message);
        return why == status::ok ? end_initiation(state, *from, in, now) : why;
    }

    /// The last part of the oldest message's turn, all of it but what `end` does. Unless ok, nothing else is to do.
    static status begin_last_part(state_type& state, waiting_handshake const& in, status why, job_type& answer,
                                  instant_argument now) noexcept {
        state.begin(answer, true);
        return why == status::cookie_sent ? send_cookie_reply(state, in, answer, now) : why;
    }
    static void end(state_type& state, status why, instant_argument now) noexcept {
        if (why != status::ok) state.count(why, nullptr);
        state.waiting.pop();
        if (state.waiting.size() == 0) state.watch_load(now);
    }

    WG_FRAME static status send_cookie_reply(state_type& state, waiting_handshake const& in, job_type& out,
                                             instant_argument now) noexcept {
        bytes_view const message = in.message();
        path const& where = in.where;
        state.take_room(out, cookie_reply_layout::size);
        if (status const why =
                state.own->checker.create_reply(state.with, state.random, message, where.remote, now, out.data.view());
            why != status::ok)
            return why;
        out.where = where;
        out.tos = 0;
        out.next = disposition::send;
        state.report(event_id::cookie_reply_sent, nullptr);
        return status::cookie_sent;
    }

    static void consume_cookie_replies(state_type& state, std::span<turn> turns, job_list<job_type> out,
                                       std::size_t& made, instant_argument now) noexcept {
        for (turn& t : turns) {
            job_type& unused = out[made];
            t.why = begin_last_part(state, *t.in, t.why, unused, now);
            if (t.why == status::ok) t.why = consume_cookie_reply(state, *t.in, now);
            end(state, t.why, now);
            if (unused.next == disposition::send) ++made;
        }
    }

    WG_FRAME static status consume_cookie_reply(state_type& state, waiting_handshake const& in,
                                                instant_argument now) noexcept {
        bytes_view const message = in.message();
        auto const found = state.peers.find_index(load_le32(&message[cookie_reply_layout::receiver]));
        if (!found) return status::unknown_index;
        peer_type& from = *found.owner;
        status const why = from.secrets->cookies.consume_reply(state.with, from.key(), message, now);
        if (why == status::ok) state.report(event_id::cookie_reply_received, &from);
        return why;
    }

    static void consume_initiations(state_type& state, std::span<turn> turns, job_list<job_type> out, std::size_t& made,
                                    instant_argument now) noexcept {
        std::array<typename steps::one_initiation, at_once> opened;
        std::array<typename steps::outgoing_response, at_once> answers;
        std::array<accepted, at_once> froms;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            opened[i].message = turns[i].in->message();
            opened[i].why = turns[i].why;
        }
        steps const noise(state.with);
        noise.open_initiations(std::span(opened).first(turns.size()), mine(state));
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why == status::ok) turns[i].why = opened[i].why;
            if (turns[i].why == status::ok)
                turns[i].why = accept_initiation(state, opened[i], *turns[i].in, froms[i], now);
            if (turns[i].why != status::ok || froms[i].why != status::ok) continue;
            peer_type& from = *froms[i].from;
            noise.begin_response(answers[i], froms[i].exchange(), from.secrets->remote, state.random);
        }
        noise.agree_responses(std::span(answers).first(turns.size()));
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& answer = out[made];
            turns[i].why = begin_last_part(state, *turns[i].in, turns[i].why, answer, now);
            if (turns[i].why == status::ok) {
                note_initiation(state, *froms[i].from, *turns[i].in, froms[i].next_attempt_ms, now);
                turns[i].why = send_response(state, froms[i], answers[i], answer, now);
                state.reschedule(*froms[i].from);
            }
            end(state, turns[i].why, now);
            if (answer.next == disposition::send) ++made;
        }
    }

    /// Judges an initiation, and takes over the handshake that it began.
    static status accept_initiation(state_type& state, typename steps::incoming_initiation& in,
                                    waiting_handshake const& came, accepted& to, instant_argument now) noexcept {
        bytes_view const message = came.message();
        steps const noise(state.with);
        peer_type* const from = state.peers.find(state.with, in.remote_static);
        //= wp 5.4.2: an initiation of nobody is dropped after one DH, before its timestamp is read
        if (from == nullptr) return status::unknown_peer;
        if (status const why = noise.prove_initiation(in, from->secrets->remote, message); why != status::ok)
            return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (std::memcmp(in.timestamp.data(), from->greatest_timestamp.data(), timestamp_bytes) <= 0)
            return status::replayed_initiation;
        //= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
        if (!passed(from->may_be_initiated_at, now)) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        set_after<initiation_interval>(from->may_be_initiated_at, now);
        to.from = from;
        if constexpr (!apart) state.peers.forget(from->exchange());
        noise.accept_initiation(to.exchange(), in, message);
        to.next_attempt_ms = state.jitter_ms();
        // Two that are lost would be followed by two that cross as well, within one latency: whoever has the greater
        // key goes first next time.
        if constexpr (!apart)
            if (std::memcmp(mine(state).public_key.data(), in.remote_static.data(), key_bytes) <= 0)
                to.next_attempt_ms += in_milliseconds(rekey_timeout);
        to.why = state.peers.make_index(*from, to.exchange(), state.random);
        return status::ok;
    }

    /// A handshake message of `from` was genuine.
    WG_OUTLINE static void note_message(state_type& state, peer_type& from, waiting_handshake const& in,
                                        instant_argument now) noexcept {
        state.roam(from, in.where);
        from.received(in.length);
        from.timers.any_authenticated_packet_received(now);
    }

    static void note_initiation(state_type& state, peer_type& from, waiting_handshake const& in,
                                std::int32_t next_attempt_ms, instant_argument now) noexcept {
        note_message(state, from, in, now);
        state.report(event_id::initiation_received, &from);
        from.timers.initiation_crossed(now, std::exchange(from.wants_initiation, false), !apart, next_attempt_ms);
    }

    static status send_response(state_type& state, accepted& by, typename steps::outgoing_response const& answer,
                                job_type& out, instant_argument now) noexcept {
        peer_type& to = *by.from;
        status why = by.why;
        if (why == status::ok) {
            state.take_room(out, response_layout::size);
            to.sent_handshake(now);
            why = steps(state.with).create_response(answer, out.data.view());
        }
        return end_response(state, by, why, out, now);
    }

    /// A response was made, if `why` is ok.
    static status end_response(state_type& state, accepted& by, status why, job_type& out,
                               instant_argument now) noexcept {
        peer_type& to = *by.from;
        if (why == status::ok) why = begin_session(state, to, by.exchange(), now, false);
        if (why != status::ok) {
            state.peers.forget(by.exchange());
            return why;
        }
        send_handshake_message(state, out, to, now);
        state.report(event_id::response_sent, &to);
        return status::ok;
    }

    /// The peer whose handshake a response claims to answer; nullptr: there is none.
    static peer_type* asked_by(state_type& state, bytes_view response) noexcept {
        auto const found = state.peers.find_index(load_le32(&response[response_layout::receiver]));
        return found.keys != nullptr ? nullptr : found.owner;
    }

    static void consume_responses(state_type& state, std::span<turn> turns, job_list<job_type> out, std::size_t& made,
                                  instant_argument now) noexcept {
        std::array<typename steps::incoming_response, at_once> opened;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why != status::ok) continue;
            opened[i].message = turns[i].in->message();
            if (peer_type* const from = asked_by(state, opened[i].message)) opened[i].of = &from->exchange();
        }
        steps(state.with).agree_responses(std::span(opened).first(turns.size()), mine(state));
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& unused = out[made];
            turns[i].why = begin_last_part(state, *turns[i].in, turns[i].why, unused, now);
            if (turns[i].why == status::ok) {
                peer_type* const from =
                    asked_by(state, opened[i].message); // a response before it may have been the one
                turns[i].why = from == nullptr ? status::unknown_index
                                               : consume_response(state, *from, opened[i], *turns[i].in, now);
            }
            end(state, turns[i].why, now);
            if (unused.next == disposition::send) ++made;
        }
    }

    static status consume_response(state_type& state, peer_type& from, typename steps::incoming_response const& opened,
                                   waiting_handshake const& in, instant_argument now) noexcept {
        status const why = steps(state.with).consume_response(from.exchange(), opened, from.secrets->remote);
        return why == status::ok ? end_initiation(state, from, in, now) : why;
    }

    /// Our initiation was answered.
    static status end_initiation(state_type& state, peer_type& from, waiting_handshake const& in,
                                 instant_argument now) noexcept {
        note_message(state, from, in, now);
        state.report(event_id::response_received, &from);
        status const why = begin_session(state, from, from.exchange(), now, true);
        if (why == status::ok) {
            confirm(state, from);
            state.report(event_id::session_started, &from, 1);
            //= wp 6.4: the initiator may send at once, and does, so that the responder may
            state.want_keepalive(from); // confirms the session, unless a staged packet does
        } else {
            state.peers.forget(from.exchange());
        }
        state.reschedule(from);
        return why;
    }

    static status begin_session(state_type& state, peer_type& of, handshake& by, instant_argument now,
                                bool initiator) noexcept {
        if constexpr (peer_table<Policies>::two_sessions) of.keypairs.make_room(initiator, state.peers.retiring());
        keypair_type* const fresh = state.peers.make_keypair(by, now, initiator);
        if (fresh == nullptr) return status::no_memory;
        // Two initiations have crossed, and each end has a session that it began. The one with the greater key renews
        // its own first, or they would go on to cross every two minutes.
        if constexpr (apart)
            if (initiator && of.keypairs.next != nullptr)
                fresh->renewed_late = std::memcmp(mine(state).public_key.data(), of.key().data(), key_bytes) < 0;
        if constexpr (!peer_table<Policies>::two_sessions) of.keypairs.make_room(initiator, state.peers.retiring());
        status const why = steps(state.with).begin_session(by, fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        of.keypairs.add(*fresh, initiator);
        of.timers.session_derived(now);
        return why;
    }

    /// A message that lacks its macs only.
    WG_OUTLINE static void send_handshake_message(state_type& state, job_type& out, peer_type& to,
                                                  instant_argument now) noexcept {
        to.secrets->cookies.add_macs(state.with, to.key(), out.data.view(), now);
        to.timers.any_authenticated_packet_sent(now);
        out.tos = handshake_tos;
        state.send(out, to, nullptr);
    }

    /// The wall clock's label, coarse so that it tells little of this host's load, and greater than the last label
    /// that this peer was sent. Where the clock gives no greater one, the last label grows by one nanosecond: so the
    /// labels do not run ahead of the clock, however many initiations there are.
    static byte_array<timestamp_bytes> const& next_label(state_type& state, peer_type& to) noexcept {
        byte_array<timestamp_bytes>&last = state.last_label_to(to), label{};
        state.clock.tai64n(label);
        //= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
        label[9] = label[10] = label[11] = 0;
        //= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
        if (std::memcmp(label.data(), last.data(), timestamp_bytes) > 0) return last = label;
        // Receivers compare all 12 bytes, so the label counts as one big-endian number.
        for (std::size_t at = timestamp_bytes; at-- != 0 && ++last[at] == 0;) {}
        return last;
    }
};

}} // namespace wg::WG_ABI

#endif
