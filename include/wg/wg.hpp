// SPDX-License-Identifier: BSL-1.0
// WireGuard for C++: includes everything. Folder: include/wg; threads: see each header.
//
// `wg::device<Policies>` is the protocol without input and output, `wg::engine<Policies>` runs one on a host's TUN
// device and UDP socket. `wg::default_policies` is a bundle that needs nothing else; derive from it to change a part.
// Concepts: policy.hpp. The macros WG_WITH_HACL, WG_WITH_LIBSODIUM, WG_WITH_LWIP and WG_WITH_OPENSSL_KEM, defined
// before the first include, add the headers for these libraries. WG_WITH_TUNNEL adds tunnel.hpp, which needs lwIP;
// WG_WITH_ASIO adds asio.hpp, which needs lwIP and Asio; WG_WITH_POST_QUANTUM adds post_quantum.hpp. Smaller includes:
// core.hpp (the device alone), fwd.hpp (names alone).
#ifndef WG_WG_HPP
#define WG_WG_HPP

#include "base/abi.hpp"
#ifdef WG_HAS_CXX20

#include "backends/bundled/bundled.hpp"
#include "backends/key_log.hpp"
#include "backends/observers.hpp"
#include "backends/one_thread.hpp"
#include "backends/pcapng.hpp"
#include "backends/std_threads.hpp"
#include "backends/storage.hpp"
#include "bare_node.hpp"
#include "base/chrono.hpp"
#include "base/event.hpp"
#include "base/version.hpp"
#include "control/uapi.hpp"
#include "core.hpp"
#include "default_policies.hpp"
#include "device/device.hpp"
#include "engine/engine.hpp"
#include "engine/nested.hpp"
#include "engine/workers.hpp"
#include "fwd.hpp"
#include "os/os.hpp"
#include "policy/archetypes.hpp"
#include "protocol/pq_exchange.hpp"
#include "protocol/ratchet.hpp"

// Last, so that the single header has one copy of what they share with the rest.
#if __STDC_HOSTED__
#include "backends/loopback.hpp"
#ifndef WG_BARE
#include "control/quick.hpp"
#endif
#endif
#ifdef WG_WITH_HACL
#include "backends/hacl.hpp"
#endif
#ifdef WG_WITH_LIBSODIUM
#include "backends/libsodium.hpp"
#endif
#ifdef WG_WITH_OPENSSL_KEM
#include "backends/openssl_kem.hpp"
#endif
#ifdef WG_WITH_LWIP
#include "os/bare/lwip.hpp"
#endif
#ifdef WG_WITH_POST_QUANTUM
#include "post_quantum.hpp"
#endif
#ifdef WG_WITH_TUNNEL
#include "tunnel.hpp"
#endif
#ifdef WG_WITH_ASIO
#include "asio.hpp"
#endif

#endif // WG_HAS_CXX20
#endif
