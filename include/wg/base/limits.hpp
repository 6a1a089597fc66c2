// SPDX-License-Identifier: BSL-1.0
// The constants of the whitepaper (sections 5.3, 5.4 and 6). Folder: base.
#ifndef WG_BASE_LIMITS_HPP
#define WG_BASE_LIMITS_HPP

#include "time.hpp"

#include <cstddef>

namespace wg { inline namespace WG_ABI {

inline constexpr std::size_t key_bytes = 32;       ///< of a Curve25519, ChaCha20-Poly1305 or preshared key
inline constexpr std::size_t tag_bytes = 16;       ///< of a Poly1305 tag
inline constexpr std::size_t mac_bytes = 16;       ///< of mac1 and mac2
inline constexpr std::size_t cookie_bytes = 16;    ///< of a cookie
inline constexpr std::size_t timestamp_bytes = 12; ///< of a TAI64N label

inline constexpr std::size_t transport_header_bytes = 16; ///< type, receiver index and counter
inline constexpr std::size_t transport_overhead_bytes = transport_header_bytes + tag_bytes; ///< around the packet
inline constexpr std::size_t padding_bytes = 16; ///< data is padded to a multiple of this

/// Free bytes before an outbound packet that is sealed in place.
inline constexpr std::size_t packet_headroom_bytes = transport_header_bytes;
/// Free bytes after an outbound packet that is sealed in place.
inline constexpr std::size_t packet_tailroom_bytes = padding_bytes - 1 + tag_bytes;

/// IPv6 header, UDP header and transport overhead: by how much the MTU of a tunnel is below that of its path.
inline constexpr std::size_t tunnel_overhead_bytes = 40 + 8 + transport_overhead_bytes;
/// The MTU of a tunnel over Ethernet.
inline constexpr std::size_t default_mtu_bytes = 1500 - tunnel_overhead_bytes;

inline constexpr std::uint64_t rekey_after_messages = std::uint64_t{1} << 60; ///< whitepaper 6.1
/// 2^64 - 2^13 - 1, as in the whitepaper. Linux ends a session 63 messages later.
//= wp 6.1: Reject-After-Messages is 2^64 - 2^13 - 1
inline constexpr std::uint64_t reject_after_messages = UINT64_MAX - (std::uint64_t{1} << 13);

inline constexpr duration rekey_after_time = seconds(120);    ///< Rekey-After-Time
inline constexpr duration reject_after_time = seconds(180);   ///< Reject-After-Time
inline constexpr duration rekey_attempt_time = seconds(90);   ///< Rekey-Attempt-Time
inline constexpr duration rekey_timeout = seconds(5);         ///< Rekey-Timeout
inline constexpr std::uint32_t rekey_timeout_jitter_ms = 333; ///< added: uniform in [0, this)
inline constexpr duration keepalive_timeout = seconds(10);    ///< Keepalive-Timeout
/// After data was sent and no authenticated packet came in for this long, a new handshake begins.
inline constexpr duration new_handshake_timeout = keepalive_timeout + rekey_timeout;
/// After this long without a new session, all keys are zeroed (whitepaper 6.1).
inline constexpr duration zero_key_material_after = reject_after_time * 3;
/// An initiator that receives data renews a session of this age (Linux, wireguard-go).
inline constexpr duration rekey_after_time_receiving = reject_after_time - keepalive_timeout - rekey_timeout;
inline constexpr unsigned max_handshake_attempts = 18;            ///< rekey_attempt_time / rekey_timeout
inline constexpr duration initiation_interval = milliseconds(20); ///< at most 50 initiations a second from a peer

inline constexpr duration cookie_secret_max_age = seconds(120);                ///< whitepaper 5.4.7
inline constexpr duration cookie_max_age = cookie_secret_max_age - seconds(5); ///< less the latency of the reply
inline constexpr duration under_load_linger = seconds(1); ///< how long load lasts after its cause (Linux)

inline constexpr std::uint8_t handshake_tos = 0x88; ///< DSCP AF41

}} // namespace wg::WG_ABI

#endif
