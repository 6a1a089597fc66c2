// SPDX-License-Identifier: BSL-1.0
// Threads for calls that block: connecting, and asking for names. A thread starts when a call finds no idle one, and
// ends after it has been idle for ten seconds. Any thread.
#ifndef WGPROXY_HELPERS_HPP
#define WGPROXY_HELPERS_HPP

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

namespace wgproxy {

class helpers {
public:
    /// At most `most` threads; further calls wait for one.
    explicit helpers(std::size_t most) noexcept : most_(most) {}
    helpers(helpers const&) = delete;

    /// Waits for all calls that have begun, and forgets the others. The caller makes blocking calls end before.
    ~helpers() {
        std::unique_lock<std::mutex> held(mutex_);
        ending_ = true;
        calls_.clear();
        changed_.notify_all();
        changed_.wait(held, [this] { return threads_ == 0; });
    }

    /// Runs `call` on a thread.
    void run(std::function<void()> call) noexcept {
        std::lock_guard<std::mutex> const held(mutex_);
        if (ending_) return;
        calls_.push_back(std::move(call));
        if (idle_ >= calls_.size() || threads_ == most_) return changed_.notify_one();
        ++threads_;
        std::thread([this] { work(); }).detach();
    }

private:
    void work() noexcept {
        std::unique_lock<std::mutex> held(mutex_);
        while (!ending_) {
            if (calls_.empty()) {
                ++idle_;
                bool const woken =
                    changed_.wait_for(held, std::chrono::seconds(10), [this] { return ending_ || !calls_.empty(); });
                --idle_;
                if (!woken) break;
                continue;
            }
            std::function<void()> const call = std::move(calls_.front());
            calls_.pop_front();
            held.unlock();
            call();
            held.lock();
        }
        --threads_;
        changed_.notify_all(); // under the lock: the destructor must not end before this thread leaves it
    }

    std::size_t most_;
    std::mutex mutex_{};
    std::condition_variable changed_{};
    std::deque<std::function<void()>> calls_{};
    std::size_t threads_ = 0, idle_ = 0;
    bool ending_ = false;
};

} // namespace wgproxy

#endif
