// SPDX-License-Identifier: BSL-1.0
// The way out: packets from the TUN device, and what the timers of a peer send (whitepaper 5.4.6, 6.1, 6.5).
// Folder: device; guarded by the device's lock.
//
// A packet of a peer without a session is staged. `transmit` sends it when there is one.
#ifndef WG_DEVICE_OUTBOUND_HPP
#define WG_DEVICE_OUTBOUND_HPP

#include "handshakes.hpp"
#include "inner_packet.hpp"

namespace wg { inline namespace WG_ABI {

/// The part of a device that handles packets from the TUN device and what timers send: static functions over the
/// device's state. The caller holds the device's lock.
template <policies Policies> class outbound {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;
    using job_type = typename state_type::job_type;

public:
    /// Makes an inner packet a transport message in clear, stages it, or drops it. See `device::prepare_outbound`.
    static void prepare(state_type& state, job_type& j, instant_argument now) noexcept {
        state.begin(j, true);
        ip_header const header = parse_ip(j.data.view());
        if (!state.up) return state.drop(j, status::device_down);
        if (!header) return state.drop(j, status::not_ip);
        peer_type* const to = state.peers.allowed().find(header.kind, header.destination);
        if (to == nullptr) return refuse(state, j, header, status::no_peer, now);
        if (!to->where.remote) return refuse(state, j, header, status::no_endpoint, now);
        if (is_from_here(state, datagram_between(j.data.view(), header, state.listen_port, to->where.remote), *to))
            return state.drop(j, status::routing_loop);
        keypair_type* const keys = to->keypairs.current;
        if (keys != nullptr && !state.has_waiting(*to) && keys->can_send(now) && passes(*to, *keys))
            return encapsulate(state, j, *to, *keys, ecn_of(header.tos));
        stage(state, *to, j.data.view(), now);
        state.drop(j, status::staged);
    }

    /// Accounts for a job that was sent, or that the socket could not send.
    static void complete(state_type& state, job_type& j, peer_type& owner, instant_argument now) noexcept {
        if (j.next != disposition::send) return; // not sealed, so not sent
        if (j.why == status::ok) owner.tx_bytes += j.data.length;
        else state.note_failed(j, owner);
        // The socket found that the cached source address is gone.
        if (j.where.local == local_source{} && j.where.remote == owner.where.remote) owner.where.local = {};
        if (j.keys == nullptr) return; // a handshake message: its timers ran when it was made
        owner.timers.any_authenticated_packet_sent(now);
        if (j.has_data) owner.timers.data_sent(now, [&state]() noexcept { return state.jitter_ms(); });
        keypair_type const* const current = owner.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_sending(now)) state.want_initiation(owner);
        if (!j.has_data) state.report(event_id::keepalive_sent, &owner);
    }

    /// Writes initiations, keepalives and staged packets into `out`; returns how many. See `device::poll_transmit`.
    static std::size_t transmit(state_type& state, job_list<job_type> out, instant_argument now) noexcept {
        state.begin_transmit_round();
        std::size_t made = 0;
        while (made < out.size()) {
            peer_type* const to = state.next_for_transmit();
            if (to == nullptr) break;
            bool const written = transmit_one(state, *to, out[made], now);
            state.reschedule(*to);
            if (written) {
                ++made;
                continue;
            }
            if (out[made].why == status::no_room) { // kept for a larger buffer
                state.count(status::no_room, to);
                break;
            }
            state.dequeue_for_transmit(*to);
        }
        return made;
    }

    /// Runs the timers of `p` that are due. What they send comes out of `transmit`.
    WG_OUTLINE static void run_timers(state_type& state, peer_type& p, instant_argument now) noexcept {
        p.timers.expire(now, timer_actions{state, p});
        if constexpr (policies_with_exchange<Policies>) exchanges<Policies>::run_timer(state, p, now);
    }

private:
    /// Whether this device sent the datagram, which goes to the endpoint of `to`: then the host has routed it into the
    /// tunnel. Returns: false for a datagram of another tunnel.
    static bool is_from_here(state_type& state, bytes_view datagram, peer_type const& to) noexcept {
        switch (type_of(datagram)) {
        case message_type::transport: {
            std::uint32_t const receiver = load_le32(&datagram[transport_layout::receiver]);
            keypair_type const *const current = to.keypairs.current, *const previous = to.keypairs.previous;
            return (current != nullptr && current->remote_index == receiver) ||
                   (previous != nullptr && previous->remote_index == receiver);
        }
        case message_type::initiation:
        case message_type::response:
            return bool{state.peers.find_index(load_le32(&datagram[initiation_layout::sender]))};
        default: return false;
        }
    }

    /// Drops a packet, and answers the host that its destination is unreachable: at most 1000 answers a second.
    static void refuse(state_type& state, job_type& j, [[maybe_unused]] ip_header const& header, status why,
                       [[maybe_unused]] instant_argument now) noexcept {
        state.drop(j, why);
        if constexpr (!hostless) { // a bare node is the host itself, and sees `why`
            constexpr duration cost = milliseconds(1), burst = cost * 50;
            if (now - state.unreachables_since > burst) state.unreachables_since = now - burst;
            if (now - state.unreachables_since < cost || !make_unreachable(j.data, header)) return;
            state.unreachables_since = state.unreachables_since + cost;
            j.next = disposition::deliver;
        }
    }

    static void stage(state_type& state, peer_type& to, bytes_view packet_data, instant_argument now) noexcept {
        // The host may have been suspended until all sessions ended. The timer that zeroes keys runs first: later, it
        // would end the handshake that this packet begins.
        run_timers(state, to, now);
        for (std::size_t lost = state.staged.stage(to.staged, packet_data); lost != 0; --lost)
            state.count(status::staging_full, &to);
        to.timers.new_attempt(); // a new packet of the host restarts the count of attempts
        // Other peers may have taken all slots. The handshake begins anyway, for the next packet.
        if (to.staged.empty()) to.wants_initiation = true;
        state.enqueue_for_transmit(to);
    }

    /// Makes a packet the body of a transport message, still in clear.
    static void encapsulate(state_type& state, job_type& j, peer_type& to, keypair_type& keys,
                            std::uint8_t tos) noexcept {
        std::size_t const length = j.data.length, padding = padding_for(state, length);
        if (j.data.headroom() < transport_header_bytes || j.data.tailroom() < padding + tag_bytes)
            return state.drop(j, status::no_room);
        j.data.grow(transport_header_bytes, static_cast<std::ptrdiff_t>(padding + tag_bytes));
        bytes const message = j.data.view();
        j.counter = keys.send_counter++;
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::transport));
        store_le32(&message[transport_layout::receiver], keys.remote_index);
        store_le64(&message[transport_layout::counter], j.counter);
        std::memset(message.data() + transport_header_bytes + length, 0, padding);
        j.has_data = length != 0;
        j.tos = tos;
        state.send(j, to, &keys);
    }

    /// Returns: the bytes of zeros after a packet of `length` bytes. If `length` exceeds the MTU, `length` modulo the
    /// MTU is padded.
    //= wp 5.4.6: padded with zeros to a multiple of 16, but not beyond the MTU
    static std::size_t padding_for(state_type& state, std::size_t length) noexcept {
        std::size_t const last = length < state.mtu ? length : length % state.mtu; // 0 takes no padding
        std::size_t const padded = (last + padding_bytes - 1) / padding_bytes * padding_bytes;
        return (std::min)(padded, state.mtu) - last;
    }

    static std::size_t message_bytes(state_type& state, std::size_t length) noexcept {
        return transport_header_bytes + length + padding_for(state, length) + tag_bytes;
    }

    /// Writes one message of `to` into `out`. Returns: false if `to` has no message to send now, or if its message does
    /// not fit; then `why` is no_room, and the message is kept.
    static bool transmit_one(state_type& state, peer_type& to, job_type& out, instant_argument now) noexcept {
        state.begin(out, true);
        keypair_type* const keys = to.keypairs.current;
        bool const has_session = keys != nullptr && keys->can_send(now);
        bool const waits = (!to.staged.empty() && (!has_session || passes(to, *keys))) || to.wants_keepalive;
        if (waits && keys != nullptr && !has_session) keys->may_send = false;
        if (std::exchange(to.wants_initiation, false) || (waits && !has_session)) {
            if (handshakes<Policies>::send_initiation(state, to, out, now)) return true;
            if (out.why == status::no_room) {
                to.wants_initiation = true;
                return false;
            }
        }
        return has_session && to.where.remote && transmit_data(state, to, *keys, out);
    }

    /// Writes the oldest staged packet of `to`, or a keepalive, into `out`. Returns: as `transmit_one`.
    static bool transmit_data(state_type& state, peer_type& to, keypair_type& keys, job_type& out) noexcept {
        auto const fits = [&](std::size_t length) noexcept {
            return out.data.capacity >= message_bytes(state, length);
        };
        if constexpr (policies_with_exchange<Policies>)
            if (transmit_exchange(state, to, keys, out, fits)) return out.keys != nullptr;
        for (; !to.staged.empty() && !fits(state.staged.oldest_bytes(to.staged)); state.staged.drop_oldest(to.staged))
            state.count(status::no_room, &to);
        bool const packet_waits = !to.staged.empty() && passes(to, keys);
        if (!to.wants_keepalive && !packet_waits) return false;
        std::size_t const length = packet_waits ? state.staged.oldest_bytes(to.staged) : 0;
        if (!fits(length)) {
            out.why = status::no_room;
            return false;
        }
        to.wants_keepalive = false;
        out.data = packet({out.data.buffer, out.data.capacity}, packet_headroom_bytes, length);
        std::uint8_t tos = 0;
        if (packet_waits) {
            state.staged.unstage(to.staged, out.data.view());
            state.note_unstaged(to);
            tos = ecn_of(parse_ip(out.data.view()).tos);
        }
        encapsulate(state, out, to, keys, tos);
        return out.keys != nullptr;
    }

    /// Whether user data may pass in the session `keys`.
    static bool passes([[maybe_unused]] peer_type const& to, [[maybe_unused]] keypair_type const& keys) noexcept {
        if constexpr (policies_with_exchange<Policies>) return exchanges<Policies>::passes(to, keys);
        else return true;
    }

    /// Writes a message of an exchange into `out`, if there is one for this session.
    template <class Fits>
    static bool transmit_exchange(state_type& state, peer_type& to, keypair_type& keys, job_type& out,
                                  Fits const& fits) noexcept
        requires policies_with_exchange<Policies>
    {
        peer_exchange& of = to.secrets->exchanged;
        if (of.outgoing.empty()) return false;
        std::size_t const length = state.staged.oldest_bytes(of.outgoing);
        bool const other = of.outgoing_carrier != 0 && of.outgoing_carrier != keys.local_index;
        if (other || !fits(length)) {
            if (!other) state.count(status::no_room, &to);
            state.staged.drop_oldest(of.outgoing);
            return false;
        }
        out.data = packet({out.data.buffer, out.data.capacity}, packet_headroom_bytes, length);
        state.staged.unstage(of.outgoing, out.data.view());
        encapsulate(state, out, to, keys, 0);
        return true;
    }

    /// What the timers of a peer do when they expire; see `peer_timers::expire`.
    struct timer_actions {
        state_type& state;
        peer_type& p;

        //= linux: giving up drops what waits; the next packet is a new beginning
        void give_up() noexcept {
            for (std::size_t n = state.staged.drop_all(p.staged); n != 0; --n) state.count(status::staging_full, &p);
            p.wants_keepalive = false;
            state.report(event_id::handshake_given_up, &p);
        }
        //= linux: a repetition forgets the source address, which may be what is dead
        void retry_initiation() noexcept {
            p.where.local = {};
            p.wants_initiation = true;
            state.enqueue_for_transmit(p);
        }
        void initiate() noexcept {
            p.where.local = {};
            state.want_initiation(p);
        }
        void keepalive() noexcept { state.want_keepalive(p); }
        void zero_keys() noexcept {
            state.zero_keys(p);
            state.report(event_id::keys_zeroed, &p);
        }
    };
};

}} // namespace wg::WG_ABI

#endif
