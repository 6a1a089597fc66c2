// SPDX-License-Identifier: BSL-1.0
// The bundle for programs on an operating system that wg supports. Folder: include/wg; plain names.
#ifndef WG_DEFAULT_POLICIES_HPP
#define WG_DEFAULT_POLICIES_HPP

#include "core.hpp"
#include "os/os.hpp"
#include "policy/with.hpp"

namespace wg { inline namespace WG_ABI {

/// The region in which a platform keeps secrets: the heap, where the platform has no better one.
template <class Host> struct region_of {
    using type = heap_region; ///< the region
};
/// The same for a platform with locked memory that is kept out of dumps.
template <class Host>
    requires requires { typename Host::secret_region; }
struct region_of<Host> {
    using type = typename Host::secret_region; ///< the region
};

/// Bundled cryptography, memory that grows, one thread, no observer; clock, randomness, TUN device, socket and waiter
/// of the operating system, if wg supports it. Derive from it to replace a policy.
struct default_policies : core_policies, os::host {
    using storage = growing_storage<region_of<os::host>::type>; ///< memory from the heap; secrets in locked memory
};

/// `default_policies` with other policies: `wg::with<wg::use_random_source<hardware_rng>>`.
template <class... Uses> using with = with_base<default_policies, Uses...>;

// The same functions as in core.hpp, here with a default for `Policies`.
// NOLINTBEGIN(readability-redundant-declaration): a declaration that adds a default argument is not redundant
template <class Policies = default_policies>
bool create_private_key(secret<key_bytes>& key, typename Policies::random_source random) noexcept;
template <class Policies = default_policies> public_key public_key_of(secret<key_bytes> const& key) noexcept;
// NOLINTEND(readability-redundant-declaration)

}} // namespace wg::WG_ABI

#endif
