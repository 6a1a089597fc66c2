// SPDX-License-Identifier: BSL-1.0
// Forward declarations, for headers of a program that only name wg's types. Folder: include/wg.
//
//     #include <wg/fwd.hpp>
//     struct my_policies;                              // complete in the source file, which includes wg/wg.hpp
//     void serve(wg::engine<my_policies>& engine);
#ifndef WG_FWD_HPP
#define WG_FWD_HPP

#include "base/abi.hpp"
#ifdef WG_HAS_CXX20

#include "base/event.hpp"
#include "base/status.hpp"

#include <cstddef>

namespace wg { inline namespace WG_ABI {

/// @cond
// base
template <std::size_t Size> class secret;
class change;
struct datagram;
struct duration;
struct endpoint;
struct instant;
struct interface_facts;
struct ip_address;
struct ip_prefix;
struct packet;
struct peer_facts;
struct peer_settings;
struct readiness;

// bundles
struct core_policies;
struct default_policies;

// device, engine
template <class Policies> class device;
template <class Policies> class engine;
template <class Policies> class workers;
/// @endcond

}} // namespace wg::WG_ABI

#endif // WG_HAS_CXX20
#endif
