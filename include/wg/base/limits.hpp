// SPDX-License-Identifier: BSL-1.0
// The whitepaper's constants (sections 5.3, 5.4 and 6). Layer 0; constants.
#ifndef WG_BASE_LIMITS_HPP
#define WG_BASE_LIMITS_HPP

#include "time.hpp"

#include <cstddef>

namespace wg { inline namespace WG_ABI {

inline constexpr std::size_t key_bytes = 32;
inline constexpr std::size_t tag_bytes = 16;
inline constexpr std::size_t mac_bytes = 16;
inline constexpr std::size_t cookie_bytes = 16;
inline constexpr std::size_t timestamp_bytes = 12;

inline constexpr std::size_t transport_header_bytes = 16;
inline constexpr std::size_t transport_overhead_bytes = transport_header_bytes + tag_bytes;
inline constexpr std::size_t padding_bytes = 16; ///< data is padded to a multiple of this

/// Room that an outbound packet needs around it to become a message in place.
inline constexpr std::size_t packet_headroom_bytes = transport_header_bytes;
inline constexpr std::size_t packet_tailroom_bytes = padding_bytes - 1 + tag_bytes;

/// IPv6 header, UDP header and transport overhead: what a tunnel takes from the MTU below it.
inline constexpr std::size_t tunnel_overhead_bytes = 40 + 8 + transport_overhead_bytes;
inline constexpr std::size_t default_mtu_bytes = 1500 - tunnel_overhead_bytes;

inline constexpr std::uint64_t rekey_after_messages = std::uint64_t{1} << 60;
/// 2^64 - 2^13 - 1, as the whitepaper has it; Linux stands 63 messages later.
//= wp 6.1: Reject-After-Messages is 2^64 - 2^13 - 1
inline constexpr std::uint64_t reject_after_messages = UINT64_MAX - (std::uint64_t{1} << 13);

inline constexpr duration rekey_after_time = seconds(120);
inline constexpr duration reject_after_time = seconds(180);
inline constexpr duration rekey_attempt_time = seconds(90);
inline constexpr duration rekey_timeout = seconds(5);
inline constexpr std::uint32_t rekey_timeout_jitter_ms = 333; ///< added: uniform in [0, this)
inline constexpr duration keepalive_timeout = seconds(10);
inline constexpr duration new_handshake_timeout = keepalive_timeout + rekey_timeout;
inline constexpr duration zero_key_material_after = reject_after_time * 3;
/// A receiving initiator renews a session this long before it would be too late (Linux, wireguard-go).
inline constexpr duration rekey_after_time_receiving = reject_after_time - keepalive_timeout - rekey_timeout;
inline constexpr unsigned max_handshake_attempts = 18;            ///< rekey_attempt_time / rekey_timeout
inline constexpr duration initiation_interval = milliseconds(20); ///< at most 50 initiations a second from a peer

inline constexpr duration cookie_secret_max_age = seconds(120);
inline constexpr duration cookie_max_age = cookie_secret_max_age - seconds(5); ///< less the latency of the reply
inline constexpr duration under_load_linger = seconds(1);

inline constexpr std::uint8_t handshake_tos = 0x88; ///< DSCP AF41

}} // namespace wg::WG_ABI

#endif
