// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that several threads use, with the standard library's mutex. Folder: backends.
#ifndef WG_BACKENDS_STD_THREADS_HPP
#define WG_BACKENDS_STD_THREADS_HPP

#include "../policy.hpp"

#include <mutex>

// libstdc++ for a machine without threads has the header <mutex>, but not the class std::mutex.
#if !defined(__GLIBCXX__) || defined(_GLIBCXX_HAS_GTHREADS)

namespace wg { inline namespace WG_ABI {

/// Models `threads` for several threads. Lacks the optional types that `workers` need; os/linux has a policy with them.
struct std_threads {
    /// Several threads may use one device.
    static constexpr bool parallel = true;
    /// A std::mutex.
    class mutex {
    public:
        /// Waits until no other thread has the mutex. std::mutex::lock throws only for errors of the programmer; here
        /// such an error ends the program.
        void lock() noexcept { mutex_.lock(); }
        /// Lets the next thread have the mutex.
        void unlock() noexcept { mutex_.unlock(); }

    private:
        std::mutex mutex_;
    };
};
static_assert(threads<std_threads>);

}} // namespace wg::WG_ABI

#endif
#endif
