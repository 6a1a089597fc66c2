// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that several threads use: the standard library's mutex. Layer 2.
#ifndef WG_BACKENDS_STD_THREADS_HPP
#define WG_BACKENDS_STD_THREADS_HPP

#include "../policy.hpp"

#include <mutex>

// libstdc++ for a machine without threads has the header, but not the class.
#if !defined(__GLIBCXX__) || defined(_GLIBCXX_HAS_GTHREADS)

namespace wg { inline namespace WG_ABI {

struct std_threads {
    static constexpr bool parallel = true;
    class mutex {
    public:
        /// std::mutex::lock throws only for errors of the programmer; those end the program here.
        void lock() noexcept { mutex_.lock(); }
        void unlock() noexcept { mutex_.unlock(); }

    private:
        std::mutex mutex_;
    };
};
static_assert(threads<std_threads>);

}} // namespace wg::WG_ABI

#endif
#endif
