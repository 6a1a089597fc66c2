// SPDX-License-Identifier: BSL-1.0
// A session's keys, and the three slots that a peer keeps sessions in (whitepaper 6; Linux noise.c, the comment on
// add_new_keypair). Folder: protocol. One thread at a time.
#ifndef WG_PROTOCOL_KEYPAIR_HPP
#define WG_PROTOCOL_KEYPAIR_HPP

#include "../base/secret.hpp"
#include "replay.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI {

/// What a session has beyond its keys: nothing.
struct no_session_extra {};
/// What a session has beyond its keys, if peers can agree on preshared keys inside it.
struct session_exchange {
    secret<key_bytes> exported{not_zeroed{}}; ///< a secret for the exchange
    std::uint32_t key_number = 0;             ///< of the preshared key, see `pq_keys`
};

/// The keys, counters and indices of one session.
template <std::size_t ReplayBits, class Extra = no_session_extra> struct keypair : Extra {
    std::uint32_t local_index = 0;      ///< the receiver index of messages to this end
    std::uint32_t remote_index = 0;     ///< the receiver index of messages to the peer
    std::uint32_t in_flight = 0;        ///< jobs that use this keypair; a retired keypair is wiped when there are none
    bool initiator = false;             ///< this end sent the initiation
    bool renewed_late = false;          ///< the other end began a session, too, and renews that one first
    bool may_send = true;               ///< false: the session only receives
    bool retired = false;               ///< the session has lost its slot
    instant created{};                  ///< when the session began
    std::uint64_t send_counter = 0;     ///< of the next packet
    replay_window<ReplayBits> received; ///< counters of received packets
    secret<key_bytes> send_key{not_zeroed{}};    ///< seals messages to the peer
    secret<key_bytes> receive_key{not_zeroed{}}; ///< opens messages of the peer

    /// Whether a packet may be sent now.
    //= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
    bool can_send(instant_argument now) const noexcept {
        return may_send && send_counter < reject_after_messages && can_receive(now);
    }
    /// Whether the session is young enough to receive a packet now.
    bool can_receive(instant_argument now) const noexcept { return !passed<reject_after_time>(created, now); }

    /// Whether this end begins a new handshake after it has sent a packet.
    //= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
    bool wants_rekey_after_sending(instant_argument now) const noexcept {
        if (!may_send || send_counter > rekey_after_messages) return may_send;
        constexpr duration late = rekey_after_time + rekey_timeout;
        return initiator && (renewed_late ? passed<late>(created, now) : passed<rekey_after_time>(created, now));
    }
    /// Whether this end begins a new handshake after it has received a packet.
    //= wp 6.2: an initiator that receives renews Keepalive-Timeout + Rekey-Timeout before Reject-After-Time
    bool wants_rekey_after_receiving(instant_argument now) const noexcept {
        return may_send && initiator && passed<rekey_after_time_receiving>(created, now);
    }
};

/// The previous, current and next session of a peer. A session that loses its slot is passed to `retire(Keypair&)`.
template <class Keypair> struct keypair_slots {
    Keypair* current = nullptr;  ///< sends and receives
    Keypair* previous = nullptr; ///< receives packets that were under way
    Keypair* next = nullptr;     ///< of a responder, until the first packet of the initiator confirms it

    /// Retires the sessions that a new session will push out. If the new session is allocated after this call, memory
    /// for two sessions is enough.
    template <class Retire> void make_room(bool initiator, Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        if (next != nullptr) retire_if_any(std::exchange(initiator ? current : next, nullptr), retire);
    }

    /// Adds a new session, after `make_room`. The initiator may send with it at once, and keeps an unconfirmed `next`
    /// as `previous`, because it is newer than `current`. The responder receives with it, but sends with it only after
    /// `confirm`.
    //= linux: initiator: the new session is current, current becomes previous
    //= linux: an unconfirmed next becomes previous, and current goes with the previous one
    //= linux: responder: the new session is next; next and previous before it die at once
    void add(Keypair& fresh, bool initiator) noexcept {
        if (initiator) previous = next != nullptr ? next : current;
        next = initiator ? nullptr : &fresh;
        if (initiator) current = &fresh;
    }

    /// A packet came in under the session `used`. Returns: true if that confirmed the next session, which is now
    /// current.
    //= wp 6.4: the responder sends nothing before the first packet of the initiator
    template <class Retire> bool confirm(Keypair& used, Retire&& retire) noexcept {
        if (&used != next) return false;
        retire_if_any(std::exchange(previous, current), retire);
        current = std::exchange(next, nullptr);
        return true;
    }

    /// Retires all sessions.
    template <class Retire> void clear(Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        retire_if_any(std::exchange(next, nullptr), retire);
        retire_if_any(std::exchange(current, nullptr), retire);
    }

private:
    template <class Retire> [[gnu::always_inline]] static void retire_if_any(Keypair* old, Retire& retire) noexcept {
        if (old != nullptr) retire(*old);
    }
};

}} // namespace wg::WG_ABI

#endif
