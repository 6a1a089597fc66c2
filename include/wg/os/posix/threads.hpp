// SPDX-License-Identifier: BSL-1.0
// Mutexes, threads and waiting by pthreads(7). Folder: os/posix. Any thread.
#ifndef WG_OS_POSIX_THREADS_HPP
#define WG_OS_POSIX_THREADS_HPP

#include "../../policy.hpp"

#include <algorithm>
#include <atomic>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// A mutex (pthread_mutex_lock(3)).
class thread_mutex {
public:
    /// Not locked.
    thread_mutex() noexcept = default;
    thread_mutex(thread_mutex const&) = delete;
    thread_mutex& operator=(thread_mutex const&) = delete;
    ~thread_mutex() { ::pthread_mutex_destroy(&mutex_); }
    /// Locks the mutex; waits while another thread holds it.
    void lock() noexcept { ::pthread_mutex_lock(&mutex_); }
    /// Unlocks the mutex, which this thread holds.
    void unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }
    /// The mutex of the system, for pthread_cond_wait(3).
    pthread_mutex_t* native() noexcept { return &mutex_; }

private:
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

/// Owns a thread. The destructor waits until the thread ends.
class joined_thread {
public:
    /// Owns none.
    joined_thread() noexcept = default;
    joined_thread(joined_thread const&) = delete;
    joined_thread& operator=(joined_thread const&) = delete;
    ~joined_thread() {
        if (runs_) ::pthread_join(thread_, nullptr);
    }
    /// Starts a thread that runs `Work(context)` with all signals blocked. Returns: false if the host refuses.
    template <auto Work, class Context> bool start(Context& context) noexcept {
        sigset_t all, before;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        auto const begin = [](void* with) -> void* {
            Work(*static_cast<Context*>(with));
            return nullptr;
        };
        pthread_attr_t attributes; // a stack may count against limits (RLIMIT_DATA) in full, so it is small
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

/// The parts of a threads policy that all systems share.
struct common_threads {
    static constexpr bool parallel = true; ///< a device may be called by several threads
    using mutex = thread_mutex;            ///< a mutex
    using thread = joined_thread;          ///< owns a thread

    /// Lets other threads run that wait for this processor. Returns at once if none does.
    static void give_way() noexcept { ::sched_yield(); }
};

/// Models `threads`, and has everything that `workers` needs. It does not need the C++ library's compiled part.
struct threads : common_threads {
    /// A number on which threads can wait (pthread_cond_wait(3)). All operations are sequentially consistent.
    class cell {
    public:
        /// The number 0.
        cell() noexcept = default;
        cell(cell const&) = delete;
        cell& operator=(cell const&) = delete;
        ~cell() { ::pthread_cond_destroy(&changed_); }
        /// The number.
        std::uint32_t load() const noexcept { return value_.load(); }
        /// Changes the number and wakes all threads that wait.
        void store(std::uint32_t value) noexcept {
            value_.store(value);
            // A thread that increments `waiting_` after this load finds the new value before it sleeps.
            if (waiting_.load() == 0) return;
            mutex_.lock(); // the thread that waits is either asleep or has not compared yet
            ::pthread_cond_broadcast(&changed_);
            mutex_.unlock();
        }
        /// Waits until the number is no longer `old`. May return earlier.
        void wait(std::uint32_t old) noexcept {
            for (int tries = 0; tries < tries_before_sleep; ++tries)
                if (value_.load() != old) return;
            ++waiting_;
            mutex_.lock();
            if (value_.load() == old) ::pthread_cond_wait(&changed_, mutex_.native());
            mutex_.unlock();
            --waiting_;
        }

    private:
        static constexpr int tries_before_sleep = 100; ///< take about a quarter of the time to sleep and wake up

        std::atomic<std::uint32_t> value_{0};
        std::atomic<std::uint32_t> waiting_{0};
        thread_mutex mutex_;
        pthread_cond_t changed_ = PTHREAD_COND_INITIALIZER;
    };

    /// How many processors are online, at least 1.
    static std::size_t processors() noexcept {
        return static_cast<std::size_t>((std::max)(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
    }
};
static_assert(wg::threads<threads>);
static_assert(wg::threads_with_cell<threads> && wg::threads_with_thread<threads>);

}}}} // namespace wg::WG_ABI::os::posix

#endif
