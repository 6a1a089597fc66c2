// SPDX-License-Identifier: BSL-1.0
// Operations that wait for an object of a tunnel, and their end with the execution context. Folder: async. Any thread.
//
// A thread of the tunnel tells under the lock of the TCP/IP stack that an object has changed. It only posts a handler
// to the executor of the object. That handler tries the operations again, with calls that do not wait.
//
// Locks: an object's lock is taken before the stack's lock, and no lock is held while a handler of the user runs.
#ifndef WG_ASYNC_OPERATION_HPP
#define WG_ASYNC_OPERATION_HPP

#include "../base/time.hpp"
#include "../tunnel/events.hpp"
#include "library.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>

namespace wg { inline namespace WG_ABI { namespace async { inline namespace WG_ASIO_ABI {

/// An operation that was begun and has not called its completion handler yet.
class operation {
public:
    operation() noexcept = default;
    operation(operation const&) = delete;
    operation& operator=(operation const&) = delete;
    virtual ~operation() = default;

    /// Tries the operation without waiting. Returns: whether it has its result.
    virtual bool attempt() noexcept = 0;
    /// Sets an error as the result.
    virtual void fail(error_code const& why) noexcept = 0;
    /// Frees the operation, and gives its handler and result to the handler's executor. With `in_place` the handler may
    /// run before the return.
    virtual void complete(std::unique_ptr<operation> self, bool in_place) = 0;

    std::uint64_t id = 0;                       ///< names the operation within its object
    std::unique_ptr<operation> next{};          ///< the one that was begun later
    std::unique_ptr<net::steady_timer> timer{}; ///< ends the operation; none: nullptr
};

/// Operations in the order in which they were begun.
class operation_queue {
public:
    operation_queue() noexcept = default;
    operation_queue(operation_queue&&) noexcept = default;
    operation_queue& operator=(operation_queue&&) = delete;
    ~operation_queue() {
        while (!is_empty()) (void)pop(); // one after the other: a chain of destructors would need much stack
    }
    /// Whether there is none.
    bool is_empty() const noexcept { return first_ == nullptr; }
    /// The oldest.
    operation& front() noexcept { return *first_; }
    /// Adds the youngest.
    void push(std::unique_ptr<operation> one) noexcept {
        std::unique_ptr<operation>* at = &first_;
        while (*at != nullptr) at = &(*at)->next;
        *at = std::move(one);
    }
    /// Removes the oldest. There is one.
    std::unique_ptr<operation> pop() noexcept { return take(first_); }
    /// Removes the one of this number. Returns: nullptr if there is none.
    std::unique_ptr<operation> remove(std::uint64_t id) noexcept {
        for (std::unique_ptr<operation>* at = &first_; *at != nullptr; at = &(*at)->next)
            if ((*at)->id == id) return take(*at);
        return nullptr;
    }

private:
    static std::unique_ptr<operation> take(std::unique_ptr<operation>& at) noexcept {
        std::unique_ptr<operation> one = std::move(at);
        at = std::move(one->next);
        return one;
    }
    std::unique_ptr<operation> first_{};
};

/// An operation whose result has these types.
template <class... Results> class operation_of : public operation {
public:
    void fail(error_code const& why) noexcept override {
        error = why;
        results = {};
    }
    error_code error{};               ///< why there is no result
    std::tuple<Results...> results{}; ///< the result
};

/// A completion handler with its arguments.
template <class Handler, class... Results> struct bound_handler {
    Handler handler;                ///< what is called
    error_code error;               ///< its first argument
    std::tuple<Results...> results; ///< the others

    using allocator_type = net::associated_allocator_t<Handler>; ///< the handler's allocator
    /// The handler's allocator.
    allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler); }
    /// Calls the handler.
    void operator()() {
        std::apply([&](Results&... all) { std::move(handler)(error, std::move(all)...); }, results);
    }
};

/// An operation that ends with `Handler`. `Attempt` is called with the error and the results, and returns whether it
/// has set them.
template <class Handler, class Attempt, class... Results> class pending final : public operation_of<Results...> {
public:
    /// Keeps the executors busy until the end.
    pending(net::any_io_executor const& io, Handler handler, Attempt attempt)
        : work_(net::get_associated_executor(handler, io)), io_work_(io), handler_(std::move(handler)),
          attempt_(std::move(attempt)) {}
    bool attempt() noexcept override {
        return std::apply([&](Results&... all) noexcept { return attempt_(this->error, all...); }, this->results);
    }
    void complete(std::unique_ptr<operation> self, bool in_place) override {
        auto const work = std::move(work_);
        auto const io_work = std::move(io_work_);
        bound_handler<Handler, Results...> call{std::move(handler_), this->error, std::move(this->results)};
        self.reset(); // the handler finds the memory free for its next operation
        if (in_place) net::dispatch(work.get_executor(), std::move(call));
        else net::post(work.get_executor(), std::move(call));
    }

private:
    net::executor_work_guard<net::associated_executor_t<Handler, net::any_io_executor>> work_;
    net::executor_work_guard<net::any_io_executor> io_work_;
    Handler handler_;
    Attempt attempt_;
};

/// Makes an operation with results of the types `Results`.
template <class... Results, class Handler, class Attempt>
std::unique_ptr<operation_of<Results...>> make_operation(net::any_io_executor const& io, Handler handler,
                                                         Attempt attempt) {
    return std::make_unique<pending<Handler, Attempt, Results...>>(io, std::move(handler), std::move(attempt));
}

/// Ends an operation that fails at its beginning.
template <class... Results, class Handler>
void fail_at_once(net::any_io_executor const& io, Handler handler, error_code const& why) {
    std::unique_ptr<operation> one =
        make_operation<Results...>(io, std::move(handler), [](error_code&, Results&...) noexcept { return true; });
    one->fail(why);
    operation& it = *one;
    it.complete(std::move(one), false);
}

/// Ends an operation that has its result.
inline void complete(std::unique_ptr<operation> one, bool in_place) {
    operation& it = *one;
    it.complete(std::move(one), in_place);
}

/// Something whose operations end with the execution context.
class attached : public std::enable_shared_from_this<attached> {
public:
    attached() noexcept = default;
    attached(attached const&) = delete;
    attached& operator=(attached const&) = delete;
    virtual ~attached() = default;

    /// Destroys all operations without a call of their handlers, because the execution context ends.
    virtual void shut_down() noexcept = 0;
    /// Ends the operation of this number with an error; without effect if it has ended.
    virtual void abort(std::uint64_t id, error_code const& why) = 0;

private:
    friend class attachments;
    attached *next_ = nullptr, *before_ = nullptr;
    bool is_linked_ = false;
};

/// The objects of one execution context. Handlers may own the objects for which they wait, so the context itself breaks
/// these circles when it ends.
class attachments final : public net::execution_context::service {
public:
    using key_type = attachments;                  ///< how Asio finds the service
    static inline net::execution_context::id id{}; ///< @copydoc key_type

    /// Called by Asio.
    explicit attachments(net::execution_context& of) : service(of) {}

    /// The service of an executor's context.
    static attachments& of(net::any_io_executor const& executor) {
        return net::use_service<attachments>(net::query(executor, net::execution::context));
    }
    /// Adds an object, which is owned by a shared_ptr.
    void add(attached& one) noexcept {
        std::lock_guard const held(mutex_);
        one.next_ = first_;
        if (first_ != nullptr) first_->before_ = &one;
        first_ = &one;
        one.is_linked_ = true;
    }
    /// Removes it. Must be called in the destructor, if `shut_down` was not.
    void remove(attached& one) noexcept {
        std::lock_guard const held(mutex_);
        unlink(one);
    }

private:
    void unlink(attached& one) noexcept {
        if (!std::exchange(one.is_linked_, false)) return;
        (one.before_ != nullptr ? one.before_->next_ : first_) = one.next_;
        if (one.next_ != nullptr) one.next_->before_ = one.before_;
        one.next_ = one.before_ = nullptr;
    }
    void shutdown() noexcept override {
        for (;;) {
            std::shared_ptr<attached> one;
            {
                std::lock_guard const held(mutex_);
                if (first_ == nullptr) return;
                one = first_->weak_from_this().lock(); // nullptr: its destructor waits for the lock
                unlink(*first_);
            }
            if (one) one->shut_down();
        }
    }

    std::mutex mutex_;
    attached* first_ = nullptr;
};

/// Lets the cancellation slot of `handler` end the operation `id` of `object`.
template <class Handler>
void connect_slot([[maybe_unused]] Handler const& handler, [[maybe_unused]] std::shared_ptr<attached> const& object,
                  [[maybe_unused]] std::uint64_t id) {
#if WG_ASIO_HAS_CANCELLATION
    auto slot = net::get_associated_cancellation_slot(handler);
    if (!slot.is_connected()) return;
    slot.assign([weak = std::weak_ptr<attached>(object), id](net::cancellation_type) {
        if (auto const alive = weak.lock()) alive->abort(id, net::error::operation_aborted);
    });
#endif
}

/// An object of a tunnel (`Handle`) with the operations that wait for it.
template <class Handle> class watched final : public attached {
public:
    /// For `make`.
    watched(net::any_io_executor executor, Handle handle) noexcept
        : handle_(std::move(handle)), executor_(std::move(executor)) {}
    ~watched() override {
        handle_.on_change({}); // after this no thread of the tunnel uses the object
        if (service_ != nullptr) service_->remove(*this);
    }
    /// Watches `handle`, and tries its operations on `executor`.
    static std::shared_ptr<watched> make(net::any_io_executor const& executor, Handle handle) {
        auto const made = std::make_shared<watched>(executor, std::move(handle));
        made->service_ = &attachments::of(executor);
        made->service_->add(*made);
        made->handle_.on_change({changed, made.get()});
        return made;
    }

    /// The object.
    Handle& handle() noexcept { return handle_; }
    /// Where operations are tried.
    net::any_io_executor const& executor() const noexcept { return executor_; }

    /// Begins an operation: `attempt` is tried now, and after each change until it returns true. `timeout` ends it with
    /// `timed_out`. Operations of one of the `queues` end in their order.
    template <class... Results, class Handler, class Attempt>
    void begin(std::size_t queue, Handler handler, Attempt attempt, std::optional<duration> timeout = {}) {
        std::uint64_t const id = ++last_id_;
        connect_slot(handler, shared_from_this(), id);
        std::unique_ptr<operation> one = make_operation<Results...>(executor_, std::move(handler), std::move(attempt));
        one->id = id;
        {
            std::lock_guard const held(mutex_);
            // Set before the attempt: a change after the attempt then posts `poll`. The stack's lock orders the two.
            armed_.store(true);
            if (!queues_[queue].is_empty() || !one->attempt()) {
                if (timeout) start_timer(*one, *timeout);
                queues_[queue].push(std::move(one));
            }
        }
        if (one) complete(std::move(one), false);
    }
    void abort(std::uint64_t id, error_code const& why) override {
        std::unique_ptr<operation> found;
        {
            std::lock_guard const held(mutex_);
            for (operation_queue& q : queues_)
                if (!found) found = q.remove(id);
        }
        if (!found) return;
        found->fail(why);
        complete(std::move(found), false);
    }
    /// Ends all operations with `operation_aborted`.
    void cancel() {
        operation_queue all = take_all();
        while (!all.is_empty()) {
            std::unique_ptr<operation> one = all.pop();
            one->fail(net::error::operation_aborted);
            complete(std::move(one), false);
        }
    }
    void shut_down() noexcept override {
        handle_.on_change({});
        service_ = nullptr;
        operation_queue const all = take_all();
    }

    static constexpr std::size_t queues = 2; ///< for reading, also all other waits; for writing

private:
    /// Under the stack's lock.
    static void changed(void* self) noexcept {
        auto& its = *static_cast<watched*>(self);
        if (!its.armed_.load() || its.posted_.exchange(true)) return;
        std::shared_ptr<attached> alive = its.weak_from_this().lock();
        if (!alive) return; // its destructor waits for the stack's lock
        net::any_io_executor const executor = its.executor_;
        // The handler has the only reference: a destructor here would wait for the lock that this thread holds.
        net::post(executor, [alive = std::move(alive)] { static_cast<watched&>(*alive).poll(); });
    }
    void poll() {
        posted_.store(false);
        operation_queue ready;
        std::size_t count = 0;
        {
            std::lock_guard const held(mutex_);
            for (operation_queue& q : queues_) {
                for (; !q.is_empty() && q.front().attempt(); ++count) ready.push(q.pop());
            }
            armed_.store(!queues_[0].is_empty() || !queues_[1].is_empty());
        }
        // If a handler throws, the others must not be lost: they are in the executor's queue.
        bool const in_place = count == 1;
        while (!ready.is_empty()) complete(ready.pop(), in_place);
    }
    /// Under the object's lock.
    void start_timer(operation& one, duration timeout) {
        one.timer = std::make_unique<net::steady_timer>(executor_, std::chrono::nanoseconds(timeout.nanoseconds));
        one.timer->async_wait([weak = this->weak_from_this(), id = one.id](error_code const& ended) {
            if (ended) return;
            if (auto const alive = weak.lock()) alive->abort(id, net::error::timed_out);
        });
    }
    operation_queue take_all() noexcept {
        std::lock_guard const held(mutex_);
        operation_queue all;
        for (operation_queue& q : queues_)
            while (!q.is_empty()) all.push(q.pop());
        armed_.store(false);
        return all;
    }

    Handle handle_;
    net::any_io_executor executor_;
    attachments* service_ = nullptr;
    std::atomic<std::uint64_t> last_id_{0};
    std::atomic<bool> armed_{false};  ///< an operation waits or is tried
    std::atomic<bool> posted_{false}; ///< `poll` is in the executor's queue
    std::mutex mutex_;                ///< guards the queues
    operation_queue queues_[queues];
};

}}}} // namespace wg::WG_ABI::async::WG_ASIO_ABI

#endif
