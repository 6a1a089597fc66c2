// SPDX-License-Identifier: BSL-1.0
// The protocol alone: `wg::device` with bundled cryptography and memory, without engine, control and operating system.
// For programs that own their loop and their sockets. Folder: include/wg; threads: see device/device.hpp.
//
//     struct my_policies : wg::core_policies {
//         using clock_source = my_clock;
//         using random_source = my_random;
//     };
//     wg::device<my_policies> device;
#ifndef WG_CORE_HPP
#define WG_CORE_HPP

#include "base/abi.hpp"
#ifdef WG_HAS_CXX20

#include "backends/bundled/bundled.hpp"
#include "backends/observers.hpp"
#include "backends/one_thread.hpp"
#include "backends/storage.hpp"
#include "device/core.hpp"
#include "device/device.hpp"

namespace wg { inline namespace WG_ABI {

/// The policies of a device that need no operating system: bundled cryptography, memory from the heap, one thread, no
/// observer. A bundle that derives from it adds `clock_source` and `random_source`.
struct core_policies {
    using hash = bundled::hash;        ///< BLAKE2s
    using dh = bundled::dh;            ///< X25519
    using aead = bundled::aead;        ///< ChaCha20-Poly1305
    using threads = one_thread;        ///< no locks
    using storage = growing_storage<>; ///< memory from the heap, which grows with the configuration
    using observer = no_observer;      ///< events are not reported
};

/// Makes a new private key, clamped (RFC 7748 section 5). Returns: false, with `key` zero, if the random source failed.
template <class Policies>
[[nodiscard]] bool create_private_key(secret<key_bytes>& key, typename Policies::random_source random = {}) noexcept {
    if (!random.fill(key.expose())) {
        key.clear();
        return false;
    }
    clamp(key);
    return true;
}

/// Returns: the public key of a private key.
template <class Policies> public_key public_key_of(secret<key_bytes> const& key) noexcept {
    public_key of{};
    typename Policies::dh{}.dh_public(of, key);
    return of;
}

}} // namespace wg::WG_ABI

#endif // WG_HAS_CXX20
#endif
