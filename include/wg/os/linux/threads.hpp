// SPDX-License-Identifier: BSL-1.0
// The threads policy of a host with several processors (pthreads(7), futex(2)). Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_THREADS_HPP
#define WG_OS_LINUX_THREADS_HPP

#include "../posix/threads.hpp"

#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `threads`, and has everything that `workers` needs. It does not need the C++ library's compiled part.
struct threads : posix::common_threads {
    /// A number on which threads can wait. All operations are sequentially consistent.
    class cell {
    public:
        /// The number.
        std::uint32_t load() const noexcept { return value_.load(); }
        /// Changes the number and wakes all threads that wait.
        void store(std::uint32_t value) noexcept {
            value_.store(value);
            // A thread that increments `waiting_` after this load finds the new value in the kernel's comparison.
            if (waiting_.load() != 0) futex(FUTEX_WAKE_PRIVATE, INT_MAX);
        }
        /// Waits until the number is no longer `old`. May return earlier.
        void wait(std::uint32_t old) noexcept {
            for (int tries = 0; tries < tries_before_sleep; ++tries)
                if (value_.load() != old) return;
            ++waiting_;
            futex(FUTEX_WAIT_PRIVATE, old);
            --waiting_;
        }

    private:
        static constexpr int tries_before_sleep = 100; ///< take about a quarter of the time to sleep and wake up

        void futex(int operation, std::uint32_t value) noexcept {
            static_assert(sizeof value_ == 4 && std::atomic<std::uint32_t>::is_always_lock_free);
            ::syscall(SYS_futex, &value_, operation, value, nullptr, nullptr, 0);
        }

        std::atomic<std::uint32_t> value_{0};
        std::atomic<std::uint32_t> waiting_{0};
    };

    /// How many processors this process may use, at least 1.
    static std::size_t processors() noexcept {
        cpu_set_t allowed;
        if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1; // more than the set has room for
        return static_cast<std::size_t>((std::max)(CPU_COUNT(&allowed), 1));
    }
};
static_assert(wg::threads<threads>);

}}} // namespace wg::WG_ABI::os

#endif
