// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that one thread uses: its locks do nothing and take no memory. Folder: backends.
#ifndef WG_BACKENDS_ONE_THREAD_HPP
#define WG_BACKENDS_ONE_THREAD_HPP

#include "../policy.hpp"

namespace wg { inline namespace WG_ABI {

/// Models `threads` for one thread.
struct one_thread {
    /// Only one thread may use a device.
    static constexpr bool parallel = false;
    /// Empty.
    struct mutex {
        /// Does nothing.
        constexpr void lock() noexcept {}
        /// Does nothing.
        constexpr void unlock() noexcept {}
    };
};
static_assert(threads<one_thread>);

}} // namespace wg::WG_ABI

#endif
