// SPDX-License-Identifier: BSL-1.0
// A peer's five timers (whitepaper 6; Linux timers.c). Folder: protocol. Pure; one thread at a time.
//
// The rules in words:
// - If data was sent and nothing came back within 15 s and a jitter, a new handshake begins.
// - If data was received and nothing was sent within 10 s, a keepalive is sent.
// - An initiation without a response is sent again every 5 s and a jitter, for 90 s.
// - 9 minutes after the last session began, all keys are wiped.
// - With persistent keepalive, a keepalive is sent if no packet passed in either direction for the interval.
// Time is an argument. The caller supplies random jitter, below rekey_timeout_jitter_ms.
#ifndef WG_PROTOCOL_TIMERS_HPP
#define WG_PROTOCOL_TIMERS_HPP

#include "../base/limits.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// The timers of one peer.
class peer_timers {
public:
    /// Sets the interval of persistent keepalives, in seconds. 0: off. The interval counts from the next
    /// packet.
    void set_persistent_keepalive(std::uint16_t interval_s) noexcept { persistent_keepalive_s_ = interval_s; }
    /// Returns: the interval of persistent keepalives, in seconds. 0: off.
    std::uint16_t persistent_keepalive_s() const noexcept { return persistent_keepalive_s_; }

    /// Whether data was sent and no authenticated packet has come in since then. In this state `data_sent` does
    /// nothing, and does not call `jitter_ms`.
    bool awaits_reply() const noexcept { return armed(new_handshake); }

    /// Data was sent. `jitter_ms()` returns a number in milliseconds.
    //= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
    template <class Jitter> void data_sent(instant_argument now, Jitter const& jitter_ms) noexcept {
        if (!awaits_reply()) arm(new_handshake, now, in_milliseconds(new_handshake_timeout) + jitter_ms());
    }
    /// Data was received.
    //= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
    void data_received(instant_argument now) noexcept {
        if (armed(send_keepalive)) needs_another_keepalive_ = true;
        else arm(send_keepalive, now, in_milliseconds(keepalive_timeout));
    }
    /// Any message was sent, a handshake message or a keepalive included.
    //= linux: whatever is sent takes the place of the passive keepalive
    //= linux: persistent keepalive counts from the last packet in either direction
    void any_authenticated_packet_sent(instant_argument now) noexcept { traversal(send_keepalive, now); }
    /// Any authenticated message was received, a handshake message or a keepalive included.
    //= linux: any authenticated packet is the expected answer
    void any_authenticated_packet_received(instant_argument now) noexcept { traversal(new_handshake, now); }
    /// Whether an initiation was sent and no response has come in.
    bool awaits_response() const noexcept { return armed(retransmit_handshake); }
    /// An initiation was sent. It is sent again after Rekey-Timeout and `jitter_ms` milliseconds.
    void handshake_initiated(instant_argument now, std::int32_t jitter_ms) noexcept {
        arm(retransmit_handshake, now, in_milliseconds(rekey_timeout) + jitter_ms);
    }
    /// An initiation of the other end came in. The response sent now forbids our initiations for Rekey-Timeout. Our
    /// initiation is sent `extra_ms` after that if it was `wanted`, or if it waits for a response and that response is
    /// `lost`.
    //= linux: two initiations that cross end in a session, by their jitters
    void initiation_crossed(instant_argument now, bool wanted, bool lost, std::int32_t extra_ms) noexcept {
        if (wanted || (lost && armed(retransmit_handshake))) handshake_initiated(now, extra_ms);
    }
    /// A handshake ended with a session.
    void handshake_complete() noexcept {
        disarm(retransmit_handshake);
        attempts_ = 0;
        sent_last_minute_handshake_ = false;
    }
    /// A session began.
    //= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
    void session_derived(instant_argument now) noexcept {
        arm(zero_key_material, now, in_milliseconds(zero_key_material_after));
    }

    /// A new attempt begins, as opposed to a retransmission.
    void new_attempt() noexcept { attempts_ = 0; }
    /// Returns: how often the initiation of this attempt was sent again.
    unsigned attempts() const noexcept { return attempts_; }

    /// Returns: true at the first call of a session. An initiator that only receives data then renews the session.
    //= linux: an initiator that only receives renews a session once
    bool take_last_minute_handshake() noexcept { return !std::exchange(sent_last_minute_handshake_, true); }

    /// Stops all timers. The interface went down, or the peer was removed.
    void stop() noexcept {
        armed_ = 0;
        attempts_ = 0;
        needs_another_keepalive_ = false;
        sent_last_minute_handshake_ = false;
    }

    /// Returns: the earliest time at which `expire` has work; `instant::never()` if no timer runs.
    instant next_deadline() const noexcept {
        instant earliest = instant::never();
        for (unsigned t = 0; t < count; ++t)
            if (armed(t)) earliest = (std::min)(earliest, due_[t]);
        return earliest;
    }

    /// Returns: the timers that are due, a bit for each; 0: `expire` has no work.
    unsigned due(instant_argument now) const noexcept {
        unsigned set = 0;
        for (unsigned t = 0; t < count; ++t)
            if (passed(due_[t], now)) set |= 1u << t;
        return set & armed_;
    }

    /// Runs the timers that are due. Each calls one member of `peer`: `retry_initiation()` sends the initiation of the
    /// same attempt again; `give_up()` ends the attempt and drops staged packets; `keepalive()` sends a keepalive;
    /// `initiate()` begins a new attempt; `zero_keys()` forgets all keys.
    template <class Peer> void expire(instant_argument now, Peer&& peer) noexcept {
        unsigned fired = due(now);
        armed_ = static_cast<std::uint8_t>(armed_ & ~fired);
        if (fired & 1u << retransmit_handshake) {
            //= wp 6.4: give up after Rekey-Attempt-Time
            if (attempts_ > max_handshake_attempts) {
                disarm(send_keepalive);
                fired &= ~(1u << send_keepalive);
                if (!armed(zero_key_material)) session_derived(now);
                peer.give_up();
            } else {
                ++attempts_;
                peer.retry_initiation();
            }
        }
        if (fired & 1u << new_handshake) peer.initiate();
        if (fired & 1u << send_keepalive) {
            if (std::exchange(needs_another_keepalive_, false)) data_received(now);
            peer.keepalive();
        }
        if (fired & 1u << persistent_keepalive && persistent_keepalive_s_ != 0) {
            rearm_persistent_keepalive(now); // also if nothing may be sent now
            peer.keepalive();
        }
        if (fired & 1u << zero_key_material) peer.zero_keys();
    }

private:
    enum timer : unsigned {
        retransmit_handshake,
        send_keepalive,
        new_handshake,
        zero_key_material,
        persistent_keepalive,
        count
    };

    bool armed(unsigned t) const noexcept { return (armed_ & 1u << t) != 0; }
    void disarm(unsigned t) noexcept { armed_ = static_cast<std::uint8_t>(armed_ & ~(1u << t)); }
    WG_OUTLINE void arm(unsigned t, instant_argument now, std::int32_t milliseconds) noexcept {
        armed_ = static_cast<std::uint8_t>(armed_ | 1u << t);
        set_after(due_[t], now, milliseconds);
    }
    WG_OUTLINE void traversal(timer answered, instant_argument now) noexcept {
        disarm(answered);
        rearm_persistent_keepalive(now);
    }
    void rearm_persistent_keepalive(instant_argument now) noexcept {
        if (persistent_keepalive_s_ != 0) arm(persistent_keepalive, now, persistent_keepalive_s_ * 1000);
    }

    std::uint8_t armed_ = 0; ///< a set of timers
    std::uint8_t attempts_ = 0;
    std::uint16_t persistent_keepalive_s_ = 0;
    bool needs_another_keepalive_ = false;
    bool sent_last_minute_handshake_ = false;
    std::array<instant, count> due_{};
};

}} // namespace wg::WG_ABI

#endif
