// SPDX-License-Identifier: BSL-1.0
// lwIP 2.1 and later as the TCP/IP stack of wg::tunnel: compiled with tunnel/lwip/lwipopts.h, or a binary of a
// distribution, which is slower. Folder: tunnel.
#ifndef WG_TUNNEL_LWIP_STACK_HPP
#define WG_TUNNEL_LWIP_STACK_HPP

#include "ip_stack.hpp"
#include "lwip/connection.hpp"
#include "lwip/datagrams.hpp"

namespace wg { inline namespace WG_ABI {

/// Models `ip_stack`. All tunnels of a process share one lwIP.
struct lwip_stack {
    using interface = lwip::interface;         ///< a netif
    using connection = lwip::connection;       ///< a TCP connection
    using acceptor = lwip::acceptor;           ///< a TCP port that listens
    using datagram_port = lwip::datagram_port; ///< a UDP port
    using echo = lwip::echo;                   ///< a ping

    /// The lock of lwIP.
    static std::mutex& mutex() noexcept { return lwip::mutex(); }
    /// Runs the timers that are due. Returns: the time until the next one.
    static duration run_timers() noexcept { return lwip::run_timers(); }
};

static_assert(ip_stack<lwip_stack>);

}} // namespace wg::WG_ABI

#endif
