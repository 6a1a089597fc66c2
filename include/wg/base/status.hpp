// SPDX-License-Identifier: BSL-1.0
// Results of calls, and fates of packets. Nothing is thrown, and no status is sent to a peer. Folder: base. Plain
// values.
#ifndef WG_BASE_STATUS_HPP
#define WG_BASE_STATUS_HPP

#include "bytes.hpp"

#include <utility>

namespace wg { inline namespace WG_ABI {

// One line for each status: its name, then its text for a user. A device has a counter for each status.
#define WG_STATUSES(X)                                                                                                 \
    X(ok, "ok")                                                                                                        \
    /* outbound */                                                                                                     \
    X(not_ip, "not an IPv4 or IPv6 packet, or shorter than its header says")                                           \
    X(no_peer, "no peer has an allowed IP for this destination")                                                       \
    X(no_endpoint, "the peer has no endpoint yet")                                                                     \
    X(no_room, "the buffer has too little room around the packet")                                                     \
    X(staged, "waits for a session")                                                                                   \
    X(staging_full, "dropped while it waited for a session")                                                           \
    X(routing_loop, "the tunnel's own datagram, routed into the tunnel")                                               \
    X(device_down, "the interface is down")                                                                            \
    X(session_dropped, "sealed before the host was suspended or restored from a snapshot, so not sent")                \
    /* inbound, any message */                                                                                         \
    X(malformed, "a type or a length that no message has")                                                             \
    X(queued, "a handshake message that waits in the queue")                                                           \
    X(handshake_queue_full, "more handshake messages than the queue holds")                                            \
    /* inbound, handshake */                                                                                           \
    X(bad_mac1, "mac1 is wrong")                                                                                       \
    X(cookie_sent, "under load and without a valid mac2: answered by a cookie reply")                                  \
    X(rate_limited, "under load and too many from this source")                                                        \
    X(no_private_key, "this interface has no private key")                                                             \
    X(bad_public_key, "the shared secret is zero: a point of low order")                                               \
    X(decryption_failed, "the authentication tag is wrong")                                                            \
    X(unknown_peer, "no peer has this public key")                                                                     \
    X(replayed_initiation, "the timestamp is not greater than the greatest seen")                                      \
    X(initiation_flood, "initiations of one peer too close to each other")                                             \
    X(unknown_index, "no session or handshake has this receiver index")                                                \
    X(wrong_state, "no handshake that this message answers")                                                           \
    X(stale_cookie, "no message that this cookie reply answers")                                                       \
    /* inbound, data */                                                                                                \
    X(expired_keypair, "the session is too old or has sent too many messages")                                         \
    X(replayed_counter, "this counter was seen before or lies behind the window")                                      \
    X(keepalive, "an empty packet")                                                                                    \
    X(bad_inner_packet, "the decrypted data is no IP packet")                                                          \
    X(disallowed_source, "the source address is not the sender's by allowed IPs")                                      \
    X(congestion_lost, "marked congested on the way, but the inner packet does not take marks")                        \
    X(exchange_message, "a message of a post-quantum exchange")                                                        \
    X(no_exchange, "user data in a session without the post-quantum key that this peer requires")                      \
    /* calls */                                                                                                        \
    X(no_random, "the random source failed")                                                                           \
    X(no_memory, "no memory left, or a fixed capacity is used up")                                                     \
    X(too_many_peers, "more peers than this device holds")                                                             \
    X(invalid, "an invalid value")                                                                                     \
    X(protocol_error, "not the protocol of this socket")                                                               \
    X(address_in_use, "the port is in use")                                                                            \
    X(no_permission, "no permission")                                                                                  \
    X(not_supported, "not supported here")                                                                             \
    X(would_block, "no data or no room at present")                                                                    \
    X(gone, "the other end or the device is gone")                                                                     \
    X(io_error, "an input or output error")                                                                            \
    /* connections inside a program */                                                                                 \
    X(refused, "the other end refused the connection")                                                                 \
    X(reset, "the other end reset the connection")                                                                     \
    X(timed_out, "no answer within the time")                                                                          \
    X(cancelled, "cancelled by another thread")                                                                        \
    X(name_not_found, "no address has this name")

/// Errors and the fates of packets, one list for both.
enum class [[nodiscard]] status : std::uint8_t {
#define WG_X(name, text) name,
    WG_STATUSES(WG_X)
#undef WG_X
};

/// The number of statuses.
inline constexpr std::size_t status_count = 0
#define WG_X(name, text) +1 // NOLINT(bugprone-macro-parentheses): a term of the sum
    WG_STATUSES(WG_X)
#undef WG_X
    ;

/// The number of statuses that a device can count: all but those of connections inside a program.
inline constexpr std::size_t device_status_count = static_cast<std::size_t>(status::io_error) + 1;

/// The enumerator's name, for counters and metrics.
constexpr char const* name_of(status s) noexcept {
    constexpr char const* names[] = {
#define WG_X(name, text) #name,
        WG_STATUSES(WG_X)
#undef WG_X
    };
    return names[static_cast<std::size_t>(s)];
}

/// A phrase for a user.
constexpr char const* describe(status s) noexcept {
    constexpr char const* texts[] = {
#define WG_X(name, text) text,
        WG_STATUSES(WG_X)
#undef WG_X
    };
    return texts[static_cast<std::size_t>(s)];
}

#undef WG_STATUSES

/// A value, or the status that says why there is none.
template <class Value> class [[nodiscard]] result {
public:
    /// A value: ok.
    constexpr result(Value value) noexcept : value_(std::move(value)) {}
    /// No value, for this reason, which is not ok.
    constexpr result(status why) noexcept : why_(why) { WG_ASSERT(why != status::ok); }

    /// Whether there is a value.
    constexpr explicit operator bool() const noexcept { return why_ == status::ok; }
    /// ok, or the reason why there is no value.
    constexpr status why() const noexcept { return why_; }
    /// The value. There must be one.
    constexpr Value& operator*() noexcept {
        WG_ASSERT(why_ == status::ok);
        return value_;
    }
    constexpr Value const& operator*() const noexcept {
        WG_ASSERT(why_ == status::ok);
        return value_;
    }
    /// A member of the value. There must be a value.
    constexpr Value* operator->() noexcept { return &**this; }
    constexpr Value const* operator->() const noexcept { return &**this; }

private:
    Value value_{};
    status why_ = status::ok;
};

}} // namespace wg::WG_ABI

#endif
