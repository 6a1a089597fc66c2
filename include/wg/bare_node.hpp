// SPDX-License-Identifier: BSL-1.0
// A whole node for a board without an operating system: device, engine, UDP/IP on Ethernet, and a host inside the
// tunnel. Folder: include/wg; one thread.
#ifndef WG_BARE_NODE_HPP
#define WG_BARE_NODE_HPP

#include "core.hpp"
#include "engine/engine.hpp"
#include "os/bare/board.hpp"
#include "os/bare/ethernet.hpp"
#include "os/bare/host.hpp"

namespace wg { inline namespace WG_ABI {

/// The policies of a board without an operating system: no heap, one thread, UDP/IP of wg on the board's Ethernet.
template <bare::board Board, class Capacity = small_capacity> struct bare_policies : core_policies {
    using clock_source = bare::board_source<Board>;         ///< the board's clock
    using random_source = bare::board_source<Board>;        ///< the board's random bytes
    using storage = static_storage<Capacity>;               ///< all memory inside the device
    using tun_device = bare::host<Capacity::max_mtu_bytes>; ///< the board as a host inside the tunnel
    using udp_socket = bare::ethernet<Board>;               ///< UDP/IP on Ethernet
    using waiter = bare::polling_waiter;                    ///< never sleeps
};

/// A whole node: `sizeof` it is all the memory that it takes, except for the stack.
template <bare::board Board, engine_policies Policies = bare_policies<Board>> struct bare_node {
    /// The board outlives the node.
    explicit bare_node(Board& b) noexcept : wire(b), device(bare::board_source<Board>(b)), engine(device, host, wire) {}

    /// Moves the frames and packets that are there. To be called all the time, or when a frame has arrived and at
    /// `engine.next_deadline()`.
    void run_once() noexcept { (void)engine.run_once({true, true, 0}); }

    typename Policies::udp_socket wire; ///< addresses on the Ethernet
    typename Policies::tun_device host; ///< address and UDP inside the tunnel
    wg::device<Policies> device;        ///< the WireGuard interface
    wg::engine<Policies> engine;        ///< configuration, and its state: up or down
};

}} // namespace wg::WG_ABI

#endif
