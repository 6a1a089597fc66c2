// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that is used by one thread: no locks, no size. Layer 2.
#ifndef WG_BACKENDS_ONE_THREAD_HPP
#define WG_BACKENDS_ONE_THREAD_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

struct one_thread {
    static constexpr bool parallel = false;
    struct mutex {
        constexpr void lock() noexcept {}
        constexpr void unlock() noexcept {}
    };
};
static_assert(threads<one_thread>);

}} // namespace wg::WG_ABI

#endif
