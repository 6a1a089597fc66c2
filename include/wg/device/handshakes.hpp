// SPDX-License-Identifier: BSL-1.0
// Handshake messages in both directions (whitepaper 5.3, 5.4.2 - 5.4.4, 5.4.7): a device handles received messages, and
// creates its own. Folder: device. Guarded by the device's lock.
//
// Queued messages of one type are handled as a batch, so that a dh policy with batches computes their DHs together. The
// effect on the device is the same as if each message had come alone. First all messages of the batch are opened, and
// accepted in order; then they are answered in order. No other message can change a peer between the two: a second
// initiation of a peer is refused after the first, and a handshake that awaits a response is ended by responses only.
#ifndef WG_DEVICE_HANDSHAKES_HPP
#define WG_DEVICE_HANDSHAKES_HPP

#include "../base/tai64n.hpp"
#include "exchanges.hpp"
#include "ratchets.hpp"
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
    /// Queues a received message, or drops it. `genuine`: mac1 is right, see `check_mac1`.
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
            // Under load mac2 has to prove that the sender receives datagrams at its address.
            if (type != message_type::cookie_reply && state.waiting.under_load(now)) {
                status const why = check_under_load(state, message, j.where, now);
                if (why == status::rate_limited) return state.drop(j, why);
                check = why == status::ok ? cookie_check::proven : cookie_check::wanted;
                // Messages from many different forged sources exceed no limit. So messages without a cookie get at most
                // half of the queue.
                if (check == cookie_check::wanted && state.waiting.is_half_full())
                    return state.drop(j, status::handshake_queue_full);
            }
        }
        bool const taken = state.waiting.push(message, j.where, now, check);
        state.watch_load(now);
        state.drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    /// The most jobs that `check_mac1` checks.
    static constexpr std::size_t macs_at_once = cookie_checker<Policies>::max_batch;

    /// Checks mac1 of the initiations and responses among the first `macs_at_once` jobs. Returns: a bit for each job
    /// whose mac1 is right; the first job is bit 0.
    static std::uint32_t check_mac1(state_type& state, job_list<job_type const> jobs) noexcept {
        if (!mine(state).exists()) return 0;
        if constexpr (macs_at_once == 1) {
            return state.own->checker.check_mac1(state.with, jobs[0].data.view());
        } else {
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
        }
    }

    /// Counts of a call of `handle`.
    struct handled {
        std::uint8_t messages = 0; ///< removed from the queue
        std::uint8_t answers = 0;  ///< written into the jobs
        std::uint8_t heavy = 0;    ///< messages that cost DH operations
    };

    /// Handles the messages at the front of the queue: one, or several of one type, but at most `most`. Writes the
    /// answers into `out`, from the front. The first `most` buffers have room for `response_layout::size`.
    static handled handle(state_type& state, job_list<job_type> out, std::size_t most, instant_argument now) noexcept {
        handled done;
        std::array<pending_message, max_batch> pending;
        waiting_handshake const& oldest = state.waiting.oldest();
        message_type const type = type_of(oldest.message());
        std::size_t count = 0;
        for (; count < (max_batch == 1 ? 1 : (std::min)(most, max_batch)); ++count) {
            waiting_handshake const* const in = max_batch == 1 ? &oldest : state.waiting.at(count);
            if constexpr (max_batch != 1)
                if (in == nullptr || type_of(in->message()) != type) break;
            pending[count].in = in;
            pending[count].why = gate(state, *in, type, now);
            if (pending[count].why == status::ok && type != message_type::cookie_reply) {
                ++done.heavy;
                state.waiting.note_answer(now);
            }
        }
        batch<pending_message> const all(pending.data(), count);
        if (type == message_type::initiation) {
            consume_initiations(state, all, now);
            create_responses(state, all, out, now);
        } else if (type == message_type::response) {
            consume_responses(state, all);
        }
        for (pending_message& m : all) {
            job_type& answer = out[done.answers];
            state.begin(answer, true);
            status why = m.why;
            if (why == status::cookie_sent) {
                why = send_cookie_reply(state, *m.in, answer, now);
            } else if (m.from == nullptr) { // refused, or a cookie reply
                if (why == status::ok) why = consume_cookie_reply(state, *m.in, now);
            } else if (type == message_type::initiation) {
                // The messages before this one may have fewer answers than they have buffers.
                if constexpr (max_batch != 1)
                    if (job_type const& written = out[static_cast<std::size_t>(&m - all.data())];
                        &written != &answer && why == status::ok)
                        std::memcpy(answer.data.buffer, written.data.buffer, response_layout::size);
                why = finish_initiation(state, m, answer, now);
            } else {
                why = finish_response(state, m, now);
            }
            if (why != status::ok) state.count(why, nullptr);
            state.waiting.pop();
            if (answer.next == disposition::send) ++done.answers;
        }
        if (state.waiting.size() == 0) state.watch_load(now);
        done.messages = static_cast<std::uint8_t>(all.size());
        return done;
    }

    /// Writes an initiation to `to` into `out`. Returns: false if none may be sent now, or if it does not fit;
    /// `out.why` is no_room then.
    WG_FRAME static bool send_initiation(state_type& state, peer_type& to, job_type& out,
                                         instant_argument now) noexcept {
        if (!mine(state).exists() || !to.where.remote || !passed(to.may_initiate_at, now)) return false;
        if (!state.room_for(out, initiation_layout::size)) {
            out.why = status::no_room;
            return false;
        }
        if (to.may_initiate_at != instant{}) to.early_initiations = 0; // zero: an early initiation, or the first one
        to.sent_handshake(now);
        to.timers.handshake_initiated(now, state.jitter_ms()); // first, so that a failure of the next steps is retried
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
        if constexpr (observer_with_secrets<typename state_type::observer_type>)
            state.observer.handshake(
                {mine(state).private_key, to.key(), to.exchange().ephemeral, to.secrets->remote.preshared_key});
        send_handshake_message(state, out, to, now);
        state.report(event_id::initiation_sent, &to, to.timers.attempts());
        return true;
    }

    /// The handshake of a session is complete: the first packet or the response has come in.
    WG_OUTLINE static void confirm(state_type& state, peer_type& of) noexcept {
        if constexpr (separate_exchanges)
            state.peers.forget(of.exchange()); // an initiation of ours needs no answer any more
        of.timers.handshake_complete();
        state.clock.tai64n(of.last_handshake);
    }

private:
    using steps = noise<Policies>;
    static constexpr std::size_t max_batch = steps::max_batch;
    template <class Item> using batch = typename steps::template batch<Item>;
    /// Whether the exchange of the peer's initiation and the exchange of our initiation are stored separately. Small
    /// machines have one place for both, as Linux does: two exchanges that cross are then both lost.
    static constexpr bool separate_exchanges = !compact;

    struct own_exchange {
        handshake exchange{};

        handshake& exchange_with(peer_type&) noexcept { return exchange; }
    };
    struct exchange_of_peer {
        static handshake& exchange_with(peer_type& from) noexcept { return from.exchange(); }
    };

    /// A message that is being handled, and the exchange that it begins if it is an initiation.
    struct pending_message : std::conditional_t<separate_exchanges, own_exchange, exchange_of_peer> {
        waiting_handshake const* in = nullptr;
        peer_type* from = nullptr; ///< set once the initiation or response is accepted
        status why = status::ok;   ///< not ok: the message is refused, or, if `from` is set, there is no response
    };

    /// Whether the preshared key of a handshake is not always the configured one.
    static constexpr bool several_keys = policies_with_ratchet<Policies> || policies_with_exchange<Policies>;
    /// Room for the preshared keys of a batch of responses, if they are not the configured ones.
    using chosen_keys =
        std::conditional_t<policies_with_ratchet<Policies>, std::array<secret<key_bytes>, max_batch>, empty_member<1>>;

    static identity& mine(state_type& state) noexcept { return state.own->mine(); }

    /// Whether a message may cost DH operations now. Returns: ok; cookie_sent if the sender gets a cookie reply
    /// instead; or the reason to drop the message.
    static status gate(state_type& state, waiting_handshake const& in, message_type type,
                       instant_argument now) noexcept {
        if (type == message_type::cookie_reply) return status::ok;
        if (!mine(state).exists()) return status::no_private_key;
        if (!state.waiting.under_load(now) || in.check == cookie_check::proven) return status::ok;
        if (in.check == cookie_check::wanted) return status::cookie_sent;
        return check_under_load(state, in.message(), in.where, now);
    }

    /// Returns: ok; cookie_sent if the sender gets a cookie reply; rate_limited.
    //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
    static status check_under_load(state_type& state, bytes_view message, path const& where,
                                   instant_argument now) noexcept {
        ip_address const& source = where.remote.address;
        if (state.own->checker.check_mac2(state.with, message, where.remote, now))
            //= linux: a source that sends too much under load gets no answer, not even a cookie
            return state.limiter.allow(state.with.hash, state.random, source, now) ? status::ok : status::rate_limited;
        state.waiting.note_refusal(now);
        // Senders without a cookie have a separate limiter, so that they take no bucket of senders with a cookie.
        if constexpr (!state_type::linear_limiter)
            if (!state.cookie_limiter.allow(state.with.hash, state.random, source, now)) return status::rate_limited;
        return status::cookie_sent;
    }

    /// Opens the initiations of a batch, and accepts those that are genuine and new.
    WG_FRAME static void consume_initiations(state_type& state, batch<pending_message> all,
                                             instant_argument now) noexcept {
        std::array<typename steps::incoming_initiation, max_batch> opened;
        for (std::size_t i = 0; i < all.size(); ++i) {
            opened[i].why = all[i].why;
            opened[i].read(all[i].in->bytes_.data());
        }
        steps(state.with).open_initiations(steps::batch_of(opened, all.size()), mine(state));
        for (std::size_t i = 0; i < all.size(); ++i) {
            status why = opened[i].why;
            if (why == status::ok) why = accept_initiation(state, opened[i], all[i], now);
            all[i].why = why;
        }
    }

    /// Writes the responses to accepted initiations, each into the buffer that has the same place as the message.
    WG_FRAME static void create_responses(state_type& state, batch<pending_message> all, job_list<job_type> out,
                                          instant_argument now) noexcept {
        steps const noise(state.with);
        std::array<typename steps::outgoing_response, max_batch> responses;
        [[maybe_unused]] chosen_keys keys;
        for (std::size_t i = 0; i < all.size(); ++i) {
            responses[i].why = all[i].why;
            if (all[i].why != status::ok) continue;
            peer_type& to = *all[i].from;
            delay_own_initiation(state, to, now);
            handshake& exchange = all[i].exchange_with(to);
            responses[i].why = state.peers.make_index(to, exchange, state.random);
            if (responses[i].why != status::ok) continue;
            to.sent_handshake(now);
            noise.begin_response(responses[i], exchange, to.secrets->remote, out[i].data.buffer, state.random);
            choose_preshared_key(state, to, responses[i], keys, i);
        }
        noise.create_responses(steps::batch_of(responses, all.size()));
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i].why = responses[i].why;
            if constexpr (observer_with_secrets<typename state_type::observer_type>)
                if (all[i].why == status::ok)
                    state.observer.handshake({mine(state).private_key, all[i].from->key(), responses[i].ephemeral,
                                              all[i].from->secrets->remote.preshared_key});
        }
    }

    /// Opens the responses of a batch, and accepts the first genuine one for each of our initiations.
    WG_FRAME static void consume_responses(state_type& state, batch<pending_message> all) noexcept {
        steps const noise(state.with);
        std::array<typename steps::incoming_response, max_batch> opened;
        for (std::size_t i = 0; i < all.size(); ++i) {
            pending_message& m = all[i];
            opened[i].why = m.why;
            if (m.why != status::ok) continue;
            auto const found = state.peers.find_index(load_le32(&m.in->bytes_[response_layout::receiver]));
            if (!found || found.keys != nullptr) {
                opened[i].why = status::unknown_index;
                continue;
            }
            m.from = found.owner;
            noise.begin_response(opened[i], m.from->exchange(), mine(state), m.from->secrets->remote,
                                 m.in->bytes_.data());
        }
        if constexpr (several_keys) {
            noise.open_responses_up_to_key(steps::batch_of(opened, all.size()));
            for (std::size_t i = 0; i < all.size(); ++i)
                if (opened[i].why == status::ok && !find_preshared_key(state, *all[i].from, opened[i]))
                    opened[i].why = status::decryption_failed;
        } else {
            noise.open_responses(steps::batch_of(opened, all.size()));
        }
        for (std::size_t i = 0; i < all.size(); ++i) {
            pending_message& m = all[i];
            status why = opened[i].why;
            if constexpr (max_batch != 1) // a response before this one may have completed the handshake
                if (why == status::ok && m.from->exchange().state != handshake_state::initiation_created)
                    why = status::unknown_index;
            m.why = why;
            if (why == status::ok) noise.accept_response(m.from->exchange(), opened[i]);
            else m.from = nullptr;
        }
    }

    /// Opens a response with one of the preshared keys that the peer may have used. Returns: whether one fits.
    static bool find_preshared_key(state_type& state, peer_type& from, typename steps::incoming_response& in) noexcept
        requires several_keys
    {
        steps const noise(state.with);
        auto const fits = [&](secret<key_bytes> const& key) noexcept { return noise.try_preshared_key(in, key); };
        if constexpr (policies_with_exchange<Policies>)
            if (exchanges<Policies>::find(from, fits)) return true;
        if constexpr (policies_with_ratchet<Policies>) return ratchets<Policies>::find(state, from, fits);
        else return fits(from.secrets->remote.preshared_key);
    }
    /// Sets the preshared key of a response. The key lies in the secrets of the peer, or in place `at` of `room`.
    static void choose_preshared_key([[maybe_unused]] state_type& state, [[maybe_unused]] peer_type& to,
                                     [[maybe_unused]] typename steps::outgoing_response& out,
                                     [[maybe_unused]] chosen_keys& room, [[maybe_unused]] std::size_t at) noexcept {
        if constexpr (policies_with_exchange<Policies>)
            if (secret<key_bytes> const* const made = exchanges<Policies>::choose(to)) {
                out.preshared_key = made;
                return;
            }
        if constexpr (policies_with_ratchet<Policies>)
            out.preshared_key = &ratchets<Policies>::choose(state, to, room[at]);
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

    /// Accepts an initiation if its peer is known and its timestamp is new, and takes over the handshake.
    static status accept_initiation(state_type& state, typename steps::incoming_initiation& in, pending_message& to,
                                    instant_argument now) noexcept {
        steps const noise(state.with);
        peer_type* const from = state.peers.find(state.with, in.remote_static);
        //= wp 5.4.2: an initiation of an unknown key is dropped after one DH, before its timestamp is read
        if (from == nullptr) return status::unknown_peer;
        if (status const why = noise.prove_initiation(in, from->secrets->remote); why != status::ok) return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (!is_later_label(in.timestamp, from->greatest_timestamp)) return status::replayed_initiation;
        //= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
        if (!passed(from->may_be_initiated_at, now)) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        set_after<initiation_interval>(from->may_be_initiated_at, now);
        to.from = from;
        if constexpr (policies_with_ratchet<Policies>)
            if (ratchets<Policies>::must_begin(state, *from)) {
                if (passed(from->may_initiate_at, now)) state.want_initiation(*from);
                else from->timers.handshake_initiated(from->may_initiate_at - rekey_timeout, 0); // as soon as it may be
                return status::wrong_state;
            }
        if constexpr (!separate_exchanges) state.peers.forget(from->exchange());
        noise.accept_initiation(to.exchange_with(*from), in);
        return status::ok;
    }

    /// Notes that a handshake message of `from` was genuine.
    WG_OUTLINE static void note_message(state_type& state, peer_type& from, waiting_handshake const& in,
                                        instant_argument now) noexcept {
        state.roam(from, in.where);
        from.received(in.length);
        from.timers.any_authenticated_packet_received(now);
    }

    /// The response to an initiation of `from` forbids an initiation of ours for a while.
    static void delay_own_initiation(state_type& state, peer_type& from, instant_argument now) noexcept {
        std::int32_t next_attempt_ms = state.jitter_ms();
        // Both initiations are lost. The retries would cross again, so the end with the greater key retries first.
        if constexpr (!separate_exchanges)
            if (std::memcmp(mine(state).public_key.data(), from.key().data(), key_bytes) <= 0)
                next_attempt_ms += in_milliseconds(rekey_timeout);
        from.timers.initiation_crossed(now, std::exchange(from.wants_initiation, false), !separate_exchanges,
                                       next_attempt_ms);
    }

    /// An initiation was accepted. `m.why` is ok if its response stands in the buffer of `answer`.
    static status finish_initiation(state_type& state, pending_message& m, job_type& answer,
                                    instant_argument now) noexcept {
        peer_type& from = *m.from;
        note_message(state, from, *m.in, now);
        state.report(event_id::initiation_received, &from);
        status why = m.why;
        if (why == status::ok) why = begin_session(state, from, m.exchange_with(from), now, false);
        if (why == status::ok) {
            state.take_room(answer, response_layout::size);
            send_handshake_message(state, answer, from, now);
            state.report(event_id::response_sent, &from);
        } else {
            state.peers.forget(m.exchange_with(from));
        }
        state.reschedule(from);
        return why;
    }

    /// Begins a session: our initiation was answered.
    static status finish_response(state_type& state, pending_message const& m, instant_argument now) noexcept {
        peer_type& from = *m.from;
        note_message(state, from, *m.in, now);
        state.report(event_id::response_received, &from);
        status const why = begin_session(state, from, from.exchange(), now, true);
        if (why == status::ok) {
            confirm(state, from);
            state.report(event_id::session_started, &from, 1);
            //= wp 6.4: the initiator may send at once, and does, so that the responder may
            state.want_keepalive(from); // confirms the session, unless a staged packet does
            if constexpr (policies_with_exchange<Policies>) exchanges<Policies>::session_current(state, from, now);
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
        // Two initiations have crossed, and each end has a session that it began. The end with the greater key renews
        // its session first; otherwise renewals would cross every two minutes.
        if constexpr (separate_exchanges)
            if (initiator && of.keypairs.next != nullptr)
                fresh->renewed_late = std::memcmp(mine(state).public_key.data(), of.key().data(), key_bytes) < 0;
        if constexpr (!peer_table<Policies>::two_sessions) of.keypairs.make_room(initiator, state.peers.retiring());
        [[maybe_unused]] bool made = false; // the preshared key is one that an exchange made
        if constexpr (policies_with_exchange<Policies>)
            made = exchanges<Policies>::session_began(state, of, *fresh, by, initiator);
        status const why = steps(state.with).begin_session(by, fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        of.keypairs.add(*fresh, initiator);
        if constexpr (policies_with_ratchet<Policies>)
            if (!made) ratchets<Policies>::session_began(of, initiator);
        of.timers.session_derived(now);
        return why;
    }

    /// Adds the macs to a handshake message, and sends it.
    WG_OUTLINE static void send_handshake_message(state_type& state, job_type& out, peer_type& to,
                                                  instant_argument now) noexcept {
        to.secrets->cookies.add_macs(state.with, to.key(), out.data.view(), now);
        to.timers.any_authenticated_packet_sent(now);
        out.tos = handshake_tos;
        state.send(out, to, nullptr);
    }

    /// The label of the next initiation: the wall clock, rounded so that it reveals little of this host's load, and
    /// greater than the last label that this peer was sent. If the clock has not advanced, the last label grows by one
    /// nanosecond, so that labels do not run ahead of the clock, however many initiations there are.
    static byte_array<timestamp_bytes> const& next_label(state_type& state, peer_type& to) noexcept {
        byte_array<timestamp_bytes>&last = state.last_label_to(to), label{};
        state.clock.tai64n(label);
        //= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
        round_down_label(label);
        //= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
        if (is_later_label(label, last)) return last = label;
        increment_label(last);
        return last;
    }
};

}} // namespace wg::WG_ABI

#endif
