// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that one thread uses: its locks do nothing and take no memory. In a checked build they
// find a second thread. Folder: backends.
#ifndef WG_BACKENDS_ONE_THREAD_HPP
#define WG_BACKENDS_ONE_THREAD_HPP

#include "../policy.hpp"

#include <atomic>
#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// Models `threads` for one thread. Another thread may take over the device between two calls.
struct one_thread {
    /// Only one thread at a time may use a device.
    static constexpr bool parallel = false;
    /// The mutex without checks: empty.
    struct unchecked_mutex {
        /// Does nothing.
        constexpr void lock() noexcept {}
        /// Does nothing.
        constexpr void unlock() noexcept {}
    };
    /// The mutex with checks: never waits.
    class checked_mutex {
    public:
        /// Asserts that no other thread holds the mutex, and this one neither.
        void lock() noexcept {
            [[maybe_unused]] bool const two_calls_at_once = held_.exchange(true, std::memory_order_acquire);
            WG_ASSERT(!two_calls_at_once);
        }
        /// Ends what `lock` began.
        void unlock() noexcept { held_.store(false, std::memory_order_release); }

    private:
        std::atomic<bool> held_{false};
    };
    /// The mutex of this build.
    using mutex = std::conditional_t<keeps_checks, checked_mutex, unchecked_mutex>;
};
static_assert(threads<one_thread>);

}} // namespace wg::WG_ABI

#endif
