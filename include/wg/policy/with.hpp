// SPDX-License-Identifier: BSL-1.0
// Bundles whose policies are named by types, so that a misspelt policy does not compile. Folder: policy.
//
//     using my_policies = wg::with<wg::use_random_source<hardware_rng>, wg::use_threads<wg::os::threads>>;
//     wg::device<my_policies> device;
//
// A struct that derives from a bundle is a bundle too. There, `using random = hardware_rng;` compiles and has no
// effect, because the policy is called `random_source`.
#ifndef WG_POLICY_WITH_HPP
#define WG_POLICY_WITH_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// BLAKE2s is computed by `Hash`.
template <hash_backend Hash> struct use_hash {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using hash = Hash; ///< the policy
    };
};
/// X25519 is computed by `Dh`.
template <dh_backend Dh> struct use_dh {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using dh = Dh; ///< the policy
    };
};
/// ChaCha20-Poly1305 is computed by `Aead`.
template <aead_backend Aead> struct use_aead {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using aead = Aead; ///< the policy
    };
};
/// The time comes from `Clock`.
template <clock_source Clock> struct use_clock_source {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using clock_source = Clock; ///< the policy
    };
};
/// Random bytes come from `Random`.
template <random_source Random> struct use_random_source {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using random_source = Random; ///< the policy
    };
};
/// Mutexes and threads come from `Threads`.
template <threads Threads> struct use_threads {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using threads = Threads; ///< the policy
    };
};
/// Memory and limits come from `Storage`.
template <storage Storage> struct use_storage {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using storage = Storage; ///< the policy
    };
};
/// Events go to `Observer`.
template <observer Observer> struct use_observer {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using observer = Observer; ///< the policy
    };
};
/// Packets of the host come from `Tun` and go to it.
template <tun_device Tun> struct use_tun_device {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using tun_device = Tun; ///< the policy
    };
};
/// Datagrams pass through `Socket`.
template <udp_socket Socket> struct use_udp_socket {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using udp_socket = Socket; ///< the policy
    };
};
/// The engine sleeps in `Waiter`.
template <waiter Waiter> struct use_waiter {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using waiter = Waiter; ///< the policy
    };
};
/// Suspends and restored snapshots are noticed by `Detector`.
template <snapshot_detector Detector> struct use_snapshot_detector {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using snapshot_detector = Detector; ///< the policy
    };
};

/// The state of ratchets is kept in `Storage`.
template <ratchet_storage Storage> struct use_ratchet_storage {
    /// `Base` with this policy.
    template <class Base> struct over : Base {
        using ratchet_storage = Storage; ///< the policy
    };
};

/// @cond
namespace with_detail {

/// Which policy a `use_*` replaces. Only the templates above have a number here, so anything else is refused.
template <class Use> inline constexpr unsigned bit_of = 0;
template <class T> inline constexpr unsigned bit_of<use_hash<T>> = 1u << 0;
template <class T> inline constexpr unsigned bit_of<use_dh<T>> = 1u << 1;
template <class T> inline constexpr unsigned bit_of<use_aead<T>> = 1u << 2;
template <class T> inline constexpr unsigned bit_of<use_clock_source<T>> = 1u << 3;
template <class T> inline constexpr unsigned bit_of<use_random_source<T>> = 1u << 4;
template <class T> inline constexpr unsigned bit_of<use_threads<T>> = 1u << 5;
template <class T> inline constexpr unsigned bit_of<use_storage<T>> = 1u << 6;
template <class T> inline constexpr unsigned bit_of<use_observer<T>> = 1u << 7;
template <class T> inline constexpr unsigned bit_of<use_tun_device<T>> = 1u << 8;
template <class T> inline constexpr unsigned bit_of<use_udp_socket<T>> = 1u << 9;
template <class T> inline constexpr unsigned bit_of<use_waiter<T>> = 1u << 10;
template <class T> inline constexpr unsigned bit_of<use_snapshot_detector<T>> = 1u << 11;
template <class T> inline constexpr unsigned bit_of<use_ratchet_storage<T>> = 1u << 12;

template <class Base, class... Uses> struct chain {
    using type = Base;
};
template <class Base, class First, class... Rest>
struct chain<Base, First, Rest...> : chain<typename First::template over<Base>, Rest...> {};

/// Names the mistake in `Uses`.
template <class... Uses> struct check {
    static_assert(((bit_of<Uses> != 0) && ...), "wg::with takes wg::use_hash and other wg::use_ types");
    static_assert((bit_of<Uses> + ... + 0u) == (bit_of<Uses> | ... | 0u), "wg::with got two types for one policy");
};

} // namespace with_detail
/// @endcond

/// The bundle `Base` with the policies `Uses`, of which each is one of the `use_*` templates. Another type does not
/// compile, nor do two types for one policy, and the error says so.
template <class Base, class... Uses>
struct with_base : private with_detail::check<Uses...>, public with_detail::chain<Base, Uses...>::type {};

}} // namespace wg::WG_ABI

#endif
