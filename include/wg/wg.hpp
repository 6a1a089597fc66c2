// SPDX-License-Identifier: BSL-1.0
// WireGuard for C++: the one file to include. Layer 8; thread rules stand in each header.
//
// `wg::device<Policies>` is the protocol without input and output, `wg::engine<Policies>` runs one on a host's TUN
// device and UDP socket. `wg::default_policies` is a bundle that needs nothing else; derive from it to change a part.
// Concepts and their promises: policy.hpp. WG_WITH_HACL, WG_WITH_LIBSODIUM and WG_WITH_LWIP add what is for these
// libraries.
#ifndef WG_WG_HPP
#define WG_WG_HPP

#include "base/abi.hpp"
#ifdef WG_HAS_CXX20

#include "backends/bundled/bundled.hpp"
#ifdef WG_WITH_HACL
#include "backends/hacl.hpp"
#endif
#ifdef WG_WITH_LIBSODIUM
#include "backends/libsodium.hpp"
#endif
#if __STDC_HOSTED__
#include "backends/loopback.hpp"
#endif
#include "backends/observers.hpp"
#include "backends/one_thread.hpp"
#include "backends/std_threads.hpp"
#include "backends/storage.hpp"
#include "base/event.hpp"
#include "base/version.hpp"
#include "control/uapi.hpp"
#include "device/device.hpp"
#include "engine/engine.hpp"
#include "engine/workers.hpp"
#ifdef WG_WITH_LWIP
#include "os/bare/lwip.hpp"
#endif
#include "os/os.hpp"
#include "policy/archetypes.hpp"

namespace wg { inline namespace WG_ABI {

/// The region for secrets of a platform that has one; else the heap.
template <class Host> struct region_of {
    using type = heap_region;
};
template <class Host>
    requires requires { typename Host::secret_region; }
struct region_of<Host> {
    using type = typename Host::secret_region;
};

/// Bundled cryptography, memory that grows, one thread, nobody observing; clock, randomness, TUN, socket and waiter of
/// the platform, where it is one that wg knows.
struct default_policies : os::host {
    using hash = bundled::hash;
    using dh = bundled::dh;
    using aead = bundled::aead;
    using threads = one_thread;
    using storage = growing_storage<region_of<os::host>::type>;
    using observer = no_observer;
};

/// The policies of a board without an operating system: no heap, one thread, UDP/IP of its own on its Ethernet.
template <bare::board Board, class Capacity = small_capacity> struct bare_policies : default_policies {
    using clock_source = bare::board_source<Board>;
    using random_source = bare::board_source<Board>;
    using storage = static_storage<Capacity>;
    using tun_device = bare::host<Capacity::max_mtu_bytes>;
    using udp_socket = bare::ethernet<Board>;
    using waiter = bare::polling_waiter;
};

/// A whole node on a board: `sizeof` it is all the memory that it takes. The board outlives it.
template <bare::board Board, engine_policies Policies = bare_policies<Board>> struct bare_node {
    explicit bare_node(Board& b) noexcept : wire(b), device(bare::board_source<Board>(b)), engine(device, host, wire) {}

    /// Moves what is there; to be called all the time, or when a frame has arrived and at `engine.next_deadline()`.
    void run_once() noexcept { (void)engine.run_once({true, true, 0}); }

    typename Policies::udp_socket wire;
    typename Policies::tun_device host;
    wg::device<Policies> device;
    wg::engine<Policies> engine;
};

/// Makes a new private key, clamped. False: the random source failed, and `key` is zero.
template <class Policies = default_policies>
[[nodiscard]] bool create_private_key(secret<key_bytes>& key, typename Policies::random_source random = {}) noexcept {
    if (!random.fill(key.expose())) {
        key.clear();
        return false;
    }
    clamp(key);
    return true;
}

/// The public key that belongs to a private one.
template <class Policies = default_policies> public_key public_key_of(secret<key_bytes> const& key) noexcept {
    public_key of{};
    typename Policies::dh{}.dh_public(of, key);
    return of;
}

}} // namespace wg::WG_ABI

#endif // WG_HAS_CXX20
#endif
