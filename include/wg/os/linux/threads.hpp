// SPDX-License-Identifier: BSL-1.0
// The threads policy of a host with several processors (pthreads(7), futex(2)). Folder: os/linux. Any thread.
#ifndef WG_OS_LINUX_THREADS_HPP
#define WG_OS_LINUX_THREADS_HPP

#include "../../policy.hpp"

#include <algorithm>
#include <atomic>
#include <climits>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `threads`, and has everything that `workers` needs. It does not need the C++ library's compiled part.
struct threads {
    static constexpr bool parallel = true; ///< a device may be called by several threads

    /// A mutex (pthread_mutex_lock(3)).
    class mutex {
    public:
        /// Not locked.
        mutex() noexcept = default;
        mutex(mutex const&) = delete;
        mutex& operator=(mutex const&) = delete;
        ~mutex() { ::pthread_mutex_destroy(&mutex_); }
        /// Locks the mutex; waits while another thread holds it.
        void lock() noexcept { ::pthread_mutex_lock(&mutex_); }
        /// Unlocks the mutex, which this thread holds.
        void unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }

    private:
        pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    };

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

    /// Owns a thread. The destructor waits until the thread ends.
    class thread {
    public:
        /// Owns none.
        thread() noexcept = default;
        thread(thread const&) = delete;
        thread& operator=(thread const&) = delete;
        ~thread() {
            if (runs_) ::pthread_join(thread_, nullptr);
        }
        /// Starts a thread that runs `Work(context)` with all signals blocked. Returns: false if the host refuses.
        template <auto Work, class Context> bool start(Context& context) noexcept {
            sigset_t all, before;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, &before);
            auto const begin = [](void* with) -> void* {
                Work(*static_cast<Context*>(with));
                return nullptr;
            };
            pthread_attr_t attributes; // a stack counts against limits (RLIMIT_DATA) in full, so it is small
            ::pthread_attr_init(&attributes);
            ::pthread_attr_setstacksize(&attributes, stack_bytes);
            runs_ = ::pthread_create(&thread_, &attributes, begin, &context) == 0;
            ::pthread_attr_destroy(&attributes);
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            return runs_;
        }

    private:
        static constexpr std::size_t stack_bytes = std::size_t{512} << 10;
        pthread_t thread_{};
        bool runs_ = false;
    };

    /// Lets other threads run that wait for this processor. Returns at once if none does.
    static void give_way() noexcept { ::sched_yield(); }

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
