// SPDX-License-Identifier: BSL-1.0
// A session's keys, and the three slots that a peer keeps sessions in (whitepaper 6; Linux noise.c, the comment on
// add_new_keypair). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_KEYPAIR_HPP
#define WG_PROTOCOL_KEYPAIR_HPP

#include "../base/secret.hpp"
#include "replay.hpp"

#include <utility>

namespace wg::inline WG_ABI {

template <std::size_t ReplayBits> struct keypair {
    secret<key_bytes> send_key;
    secret<key_bytes> receive_key;
    std::uint64_t send_counter = 0; ///< of the next packet
    replay_window<ReplayBits> received;
    instant created{};
    std::uint32_t local_index = 0;
    std::uint32_t remote_index = 0;
    std::uint32_t in_flight = 0; ///< jobs that hold it; a retired keypair is wiped when there are none
    bool initiator = false;
    bool may_send = true;
    bool retired = false;

    //= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
    bool can_send(instant now) const noexcept {
        return may_send && send_counter < reject_after_messages && now - created < reject_after_time;
    }
    bool can_receive(instant now) const noexcept { return now - created < reject_after_time; }

    //= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
    bool wants_rekey_after_sending(instant now) const noexcept {
        return may_send && (send_counter > rekey_after_messages || (initiator && now - created >= rekey_after_time));
    }
    //= wp 6.2: an initiator that receives renews Keepalive-Timeout + Rekey-Timeout before Reject-After-Time
    bool wants_rekey_after_receiving(instant now) const noexcept {
        return may_send && initiator && now - created >= rekey_after_time_receiving;
    }
};

/// Previous, current and next session. What a change pushes out is handed to `retire(Keypair&)`.
template <class Keypair> struct keypair_slots {
    Keypair* current = nullptr;  ///< sends
    Keypair* previous = nullptr; ///< still receives what was under way
    Keypair* next = nullptr;     ///< a responder's, until the first packet confirms it

    /// Before a new session is made: what it will push out goes now, so that memory for two sessions is enough.
    template <class Retire> void make_room(bool initiator, Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        if (next != nullptr) retire_if_any(std::exchange(initiator ? current : next, nullptr), retire);
    }

    /// A response came in: the initiator may send at once. An unconfirmed `next` is newer than `current` and kept.
    //= linux: initiator: the new session is current, current becomes previous
    //= linux: an unconfirmed next becomes previous, and current goes with the previous one
    template <class Retire> void add_as_initiator(Keypair& fresh, Retire&& retire) noexcept {
        Keypair* const oldest = std::exchange(previous, next != nullptr ? next : current);
        if (next != nullptr) retire_if_any(current, retire);
        next = nullptr;
        current = &fresh;
        retire_if_any(oldest, retire);
    }

    /// A response went out: the responder receives with the new keys but sends with them only once they are confirmed.
    //= linux: responder: the new session is next; next and previous before it die at once
    template <class Retire> void add_as_responder(Keypair& fresh, Retire&& retire) noexcept {
        retire_if_any(std::exchange(next, &fresh), retire);
        retire_if_any(std::exchange(previous, nullptr), retire);
    }

    /// A packet came in under `used`. True: that confirmed the next session, which is now the current one.
    //= wp 6.4: the responder sends nothing before the first packet of the initiator
    template <class Retire> bool confirm(Keypair& used, Retire&& retire) noexcept {
        if (&used != next) return false;
        retire_if_any(std::exchange(previous, current), retire);
        current = std::exchange(next, nullptr);
        return true;
    }

    template <class Retire> void clear(Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        retire_if_any(std::exchange(next, nullptr), retire);
        retire_if_any(std::exchange(current, nullptr), retire);
    }

private:
    template <class Retire> static void retire_if_any(Keypair* old, Retire& retire) noexcept {
        if (old != nullptr) retire(*old);
    }
};

} // namespace wg::inline WG_ABI

#endif
