// SPDX-License-Identifier: BSL-1.0
// A tunnel and the threads that ask for names through it. Folder: async. Any thread.
//
// A question to a DNS server is a call that waits, so it runs on a thread of its own: at most four for each tunnel,
// started when they are needed. Everything else of the tunnel needs no thread but the tunnel's.
#ifndef WG_ASYNC_HUB_HPP
#define WG_ASYNC_HUB_HPP

#include "../tunnel.hpp"
#include "operation.hpp"

#include <list>
#include <string>
#include <vector>

namespace wg { inline namespace WG_ABI { namespace async { inline namespace WG_ASIO_ABI {

/// Owns a tunnel. Models `attached`: the questions for names end with the execution context.
template <class Tunnel> class hub final : public attached {
    using addresses = std::vector<ip_address>;

public:
    /// For `make`.
    hub(net::any_io_executor executor, Tunnel through) noexcept
        : executor_(std::move(executor)), tunnel_(std::move(through)) {}
    ~hub() override {
        close(seconds(1));
        if (service_ != nullptr) service_->remove(*this);
    }
    /// Takes over a tunnel.
    static std::shared_ptr<hub> make(net::any_io_executor const& executor, Tunnel through) {
        auto const made = std::make_shared<hub>(executor, std::move(through));
        made->service_ = &attachments::of(executor);
        made->service_->add(*made);
        return made;
    }

    /// The tunnel.
    Tunnel& tunnel() noexcept { return tunnel_; }
    /// Calls `use(tunnel)`, and no thread closes the tunnel meanwhile. Returns: its result; gone after `close`.
    template <class Use> auto use(Use use) -> decltype(use(std::declval<Tunnel&>())) {
        std::lock_guard const held(mutex_);
        if (closed_) return status::gone;
        return use(tunnel_);
    }
    /// Ends the questions with `operation_aborted`, then the tunnel, see `basic_tunnel::close`.
    void close(duration linger) {
        std::list<question> left;
        {
            std::lock_guard const held(mutex_);
            if (std::exchange(closed_, true)) return;
            left = end_questions();
        }
        for (question& q : left) {
            q.waits->fail(net::error::operation_aborted);
            complete(std::move(q.waits), false);
        }
        join();
        tunnel_.close(linger);
    }

    /// Begins to ask for the addresses of a name.
    template <class Handler> void resolve(std::string host, duration timeout, Handler handler) {
        std::uint64_t const id = ++last_id_;
        connect_slot(handler, this->shared_from_this(), id);
        auto waits = make_operation<addresses>(executor_, std::move(handler),
                                               [](error_code&, addresses&) noexcept { return true; });
        waits->id = id;
        status refused = status::ok;
        {
            std::lock_guard const held(mutex_);
            if (closed_) refused = status::gone;
            else if (!has_thread_for_one_more()) refused = status::no_memory;
            else {
                queued_.emplace_back(std::move(host), time_left(timeout));
                queued_.back().waits = std::move(waits);
            }
        }
        if (refused == status::ok) return work_.notify_one();
        waits->fail(to_error_code(refused));
        complete(std::move(waits), false);
    }
    void abort(std::uint64_t id, error_code const& why) override {
        std::unique_ptr<operation> ended;
        {
            std::lock_guard const held(mutex_);
            for (question& q : asked_)
                if (q.waits->id == id) q.ends->cancel();
            for (auto q = queued_.begin(); !ended && q != queued_.end(); ++q) {
                if (q->waits->id != id) continue;
                ended = std::move(q->waits);
                queued_.erase(q);
                break;
            }
        }
        if (!ended) return;
        ended->fail(why);
        complete(std::move(ended), false);
    }
    void shut_down() noexcept override {
        std::list<question> left;
        {
            std::lock_guard const held(mutex_);
            service_ = nullptr;
            closed_ = dropped_ = true;
            left = end_questions();
        }
        join();
    }

private:
    static constexpr std::size_t most_threads = 4;

    struct question {
        question(std::string of, time_left left) noexcept : host(std::move(of)), time(left) {}
        std::string host;
        time_left time;
        std::unique_ptr<operation_of<addresses>> waits{};
        std::unique_ptr<typename Tunnel::canceller> ends = std::make_unique<typename Tunnel::canceller>();
    };

    /// Under the lock. Returns: those that were not asked yet.
    std::list<question> end_questions() noexcept {
        for (question& q : asked_) q.ends->cancel();
        work_.notify_all();
        return std::exchange(queued_, {});
    }
    /// Under the lock.
    bool has_thread_for_one_more() noexcept {
        if (started_ - asked_.size() > queued_.size() || started_ == most_threads) return true;
        threads_[started_].reset(new (std::nothrow) os::threads::thread);
        if (threads_[started_] && threads_[started_]->template start<[](hub& self) noexcept { self.ask(); }>(*this))
            ++started_;
        return started_ != 0;
    }
    void ask() noexcept {
        std::unique_lock held(mutex_);
        for (;;) {
            work_.wait(held, [&]() noexcept { return closed_ || !queued_.empty(); });
            if (closed_) return;
            asked_.splice(asked_.begin(), queued_, queued_.begin());
            auto const mine = asked_.begin();
            held.unlock();
            auto found = tunnel_.resolve(mine->host, mine->time.left(), mine->ends.get());
            held.lock();
            std::list<question> done;
            done.splice(done.begin(), asked_, mine);
            bool const is_dropped = dropped_;
            held.unlock();
            if (!is_dropped) {
                operation_of<addresses>& waits = *done.front().waits;
                if (found) std::get<0>(waits.results) = std::move(*found);
                else waits.error = to_error_code(found.why());
                complete(std::move(done.front().waits), false);
            }
            done.clear();
            held.lock();
        }
    }
    void join() noexcept {
        for (std::unique_ptr<os::threads::thread>& t : threads_) t.reset();
    }

    net::any_io_executor executor_;
    attachments* service_ = nullptr;
    Tunnel tunnel_;
    std::atomic<std::uint64_t> last_id_{0};
    std::mutex mutex_; ///< guards what follows
    std::condition_variable work_;
    std::list<question> queued_{}, asked_{};
    std::size_t started_ = 0;
    bool closed_ = false, dropped_ = false;
    std::unique_ptr<os::threads::thread> threads_[most_threads];
};

}}}} // namespace wg::WG_ABI::async::WG_ASIO_ABI

#endif
