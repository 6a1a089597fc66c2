// SPDX-License-Identifier: BSL-1.0
// wg::tunnel: connections through WireGuard inside a program. Needs lwIP, see docs/tunnel.md. Not part of wg.hpp.
#ifndef WG_TUNNEL_HPP
#define WG_TUNNEL_HPP

#include "tunnel/dns.hpp"
#include "tunnel/lwip_stack.hpp"
#include "tunnel/tunnel.hpp"

namespace wg { inline namespace WG_ABI {

/// A tunnel over lwIP with the policies of the host.
using tunnel = basic_tunnel<lwip_stack>;
using stream = tunnel::stream;       ///< a TCP connection
using listener = tunnel::listener;   ///< a TCP port that accepts connections
using udp_port = tunnel::udp_port;   ///< a UDP port
using canceller = tunnel::canceller; ///< ends calls of other threads

}} // namespace wg::WG_ABI

#endif
