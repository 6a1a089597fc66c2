// SPDX-License-Identifier: BSL-1.0
// The threads policy of a Windows host (slim reader/writer locks, WaitOnAddress, CreateThread). Folder: os/windows. Any
// thread. Link: synchronization.
#ifndef WG_OS_WINDOWS_THREADS_HPP
#define WG_OS_WINDOWS_THREADS_HPP

#include "../../policy.hpp"
#include "handle.hpp"

#include <atomic>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Models `threads`, and has everything that `workers` needs. It does not need the C++ library's compiled part.
struct threads {
    static constexpr bool parallel = true; ///< a device may be called by several threads

    /// A mutex (AcquireSRWLockExclusive).
    class mutex {
    public:
        /// Not locked.
        mutex() noexcept = default;
        mutex(mutex const&) = delete;
        mutex& operator=(mutex const&) = delete;
        /// Locks the mutex; waits while another thread holds it.
        void lock() noexcept { api_detail::lock_exclusive(&lock_); }
        /// Unlocks the mutex, which this thread holds.
        void unlock() noexcept { api_detail::unlock_exclusive(&lock_); }

    private:
        void* lock_ = nullptr; ///< SRWLOCK_INIT
    };

    /// A number on which threads can wait. All operations are sequentially consistent.
    class cell {
    public:
        /// The number.
        std::uint32_t load() const noexcept { return value_.load(); }
        /// Changes the number and wakes all threads that wait.
        void store(std::uint32_t value) noexcept {
            value_.store(value);
            // A thread that increments `waiting_` after this load finds the new value in WaitOnAddress's comparison.
            if (waiting_.load() != 0) api_detail::wake_all(&value_);
        }
        /// Waits until the number is no longer `old`. May return earlier.
        void wait(std::uint32_t old) noexcept {
            static_assert(sizeof value_ == sizeof old && std::atomic<std::uint32_t>::is_always_lock_free);
            for (int tries = 0; tries < tries_before_sleep; ++tries)
                if (value_.load() != old) return;
            ++waiting_;
            api_detail::wait_on_address(&value_, &old, sizeof old, api_detail::wait_forever);
            --waiting_;
        }

    private:
        static constexpr int tries_before_sleep = 100; ///< take less time than to sleep and wake up

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
            if (thread_) api_detail::wait_for_one(thread_.get(), api_detail::wait_forever);
        }
        /// Starts a thread that runs `Work(context)`. Returns: false if Windows refuses.
        template <auto Work, class Context> bool start(Context& context) noexcept {
            api_detail::thread_start const begin = [](void* with) noexcept -> std::uint32_t {
                Work(*static_cast<Context*>(with));
                return 0;
            };
            thread_.reset(api_detail::create_thread(nullptr, stack_bytes, begin, &context,
                                                    api_detail::stack_is_reservation, nullptr));
            return static_cast<bool>(thread_);
        }

    private:
        static constexpr std::size_t stack_bytes = std::size_t{512} << 10;
        unique_handle thread_;
    };

    /// Lets another thread run that waits for this processor. Returns at once if none does.
    static void give_way() noexcept { api_detail::switch_to_thread(); }

    /// How many processors this host has, at least 1.
    static std::size_t processors() noexcept {
        std::uint32_t const count = api_detail::processor_count(api_detail::all_processor_groups);
        return count != 0 ? count : 1;
    }
};
static_assert(wg::threads<threads>);
static_assert(threads_with_cell<threads> && threads_with_thread<threads> && threads_with_give_way<threads>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
