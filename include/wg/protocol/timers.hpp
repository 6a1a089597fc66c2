// SPDX-License-Identifier: BSL-1.0
// A peer's five timers (whitepaper 6; Linux timers.c). Layer 3; pure, one thread at a time.
//
// The rules in words:
// - After data was sent and nothing came back within 15 s, the session may be dead: handshake anew.
// - After data was received and nothing was sent back within 10 s, send an empty packet so that the other end knows.
// - An initiation without an answer is sent again every 5 s and a little, for 90 s.
// - 9 minutes after the last session began, forget all keys.
// - With persistent keepalive, send an empty packet when nothing passed in either direction for so long.
// Time is an argument; randomness is the caller's, as a jitter in [0, rekey_timeout_jitter).
#ifndef WG_PROTOCOL_TIMERS_HPP
#define WG_PROTOCOL_TIMERS_HPP

#include "../base/limits.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace wg::inline WG_ABI {

/// What a peer has to do because time has passed.
struct timer_actions {
    bool retry_initiation = false; ///< the same attempt once more
    bool initiate = false;         ///< a new attempt
    bool give_up = false;          ///< no more attempts: drop staged packets
    bool keepalive = false;
    bool zero_keys = false;
};

class peer_timers {
public:
    /// Seconds; 0 is off.
    void set_persistent_keepalive(std::uint16_t interval_s) noexcept { persistent_keepalive_s_ = interval_s; }
    std::uint16_t persistent_keepalive_s() const noexcept { return persistent_keepalive_s_; }

    /// Data was sent and nothing authenticated came in since: another `data_sent` changes nothing.
    bool awaits_reply() const noexcept { return armed(new_handshake); }

    //= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
    void data_sent(instant now, duration jitter) noexcept {
        if (!armed(new_handshake)) at(new_handshake) = now + new_handshake_timeout + jitter;
    }
    //= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
    void data_received(instant now) noexcept {
        if (armed(send_keepalive))
            needs_another_keepalive_ = true;
        else
            at(send_keepalive) = now + keepalive_timeout;
    }
    //= linux: whatever is sent takes the place of the passive keepalive
    void any_authenticated_packet_sent() noexcept { disarm(send_keepalive); }
    //= linux: any authenticated packet is the answer that was waited for
    void any_authenticated_packet_received() noexcept { disarm(new_handshake); }
    //= linux: persistent keepalive counts from the last packet in either direction
    void any_authenticated_packet_traversal(instant now) noexcept {
        if (persistent_keepalive_s_ != 0) at(persistent_keepalive) = now + seconds(persistent_keepalive_s_);
    }
    void handshake_initiated(instant now, duration jitter) noexcept {
        at(retransmit_handshake) = now + rekey_timeout + jitter;
    }
    /// The other end's initiation came in. If ours waits for its answer, that will not come any more, and the response
    /// sent now forbids another initiation for a while, also one that was `wanted`: it is sent `extra` after that.
    //= linux: two initiations that cross end in a session, by their jitters
    void initiation_crossed(instant now, bool wanted, duration extra) noexcept {
        if (wanted || armed(retransmit_handshake)) at(retransmit_handshake) = now + rekey_timeout + extra;
    }
    void handshake_complete() noexcept {
        disarm(retransmit_handshake);
        attempts_ = 0;
        sent_last_minute_handshake_ = false;
    }
    //= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
    void session_derived(instant now) noexcept { at(zero_key_material) = now + zero_key_material_after; }

    /// A new attempt begins, as opposed to a retransmission.
    void new_attempt() noexcept { attempts_ = 0; }
    unsigned attempts() const noexcept { return attempts_; }

    /// True once a session: an initiator that only receives renews it in time.
    //= linux: an initiator that only receives renews a session once
    bool take_last_minute_handshake() noexcept { return !std::exchange(sent_last_minute_handshake_, true); }

    /// The interface went down or the peer goes away.
    void stop() noexcept {
        due_.fill(instant::never());
        attempts_ = 0;
        needs_another_keepalive_ = false;
        sent_last_minute_handshake_ = false;
    }

    /// The earliest moment at which `expire` has work.
    instant next_deadline() const noexcept { return *std::min_element(due_.begin(), due_.end()); }

    /// Runs the timers that are due.
    timer_actions expire(instant now) noexcept {
        timer_actions act;
        if (fires(retransmit_handshake, now)) {
            //= wp 6.4: give up after Rekey-Attempt-Time
            if (attempts_ > max_handshake_attempts) {
                disarm(send_keepalive);
                act.give_up = true;
                if (!armed(zero_key_material)) at(zero_key_material) = now + zero_key_material_after;
            } else {
                ++attempts_;
                act.retry_initiation = true;
            }
        }
        if (fires(send_keepalive, now)) {
            act.keepalive = true;
            if (std::exchange(needs_another_keepalive_, false)) at(send_keepalive) = now + keepalive_timeout;
        }
        if (fires(new_handshake, now)) act.initiate = true;
        if (fires(zero_key_material, now)) act.zero_keys = true;
        if (fires(persistent_keepalive, now)) {
            act.keepalive |= persistent_keepalive_s_ != 0;
            any_authenticated_packet_traversal(now); // again, also if nothing may be sent now
        }
        return act;
    }

private:
    enum timer : std::size_t {
        retransmit_handshake,
        send_keepalive,
        new_handshake,
        zero_key_material,
        persistent_keepalive,
        count
    };

    instant& at(timer t) noexcept { return due_[t]; }
    WG_OUTLINE bool armed(timer t) const noexcept { return due_[t] != instant::never(); }
    WG_OUTLINE void disarm(timer t) noexcept { due_[t] = instant::never(); }
    bool fires(timer t, instant now) noexcept {
        if (due_[t] > now) return false;
        disarm(t);
        return true;
    }

    std::array<instant, count> due_ = {instant::never(), instant::never(), instant::never(), instant::never(),
                                       instant::never()};
    std::uint16_t persistent_keepalive_s_ = 0;
    std::uint8_t attempts_ = 0;
    bool needs_another_keepalive_ = false;
    bool sent_last_minute_handshake_ = false;
};

} // namespace wg::inline WG_ABI

#endif
