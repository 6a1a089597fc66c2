// SPDX-License-Identifier: BSL-1.0
// Connections, listeners and UDP ports of a tunnel, with blocking calls. Folder: tunnel. Any thread.
#ifndef WG_TUNNEL_STREAMS_HPP
#define WG_TUNNEL_STREAMS_HPP

#include "core.hpp"

namespace wg { inline namespace WG_ABI {

/// What streams, listeners and ports have in common: an object of the stack, calls that wait for it, and the tunnel
/// that keeps it running.
template <class Core, ip_stack Stack, class Object> struct tunnel_object : tunnel_part {
    /// Makes an object of a tunnel. Under the stack's lock.
    tunnel_object(std::shared_ptr<Core> of, std::unique_ptr<Object> its) noexcept
        : core(std::move(of)), object(std::move(its)) {
        object->changed = {[](void* self) noexcept { static_cast<tunnel_object*>(self)->notify(); }, this};
        stop = {[](void* self) noexcept { static_cast<tunnel_object*>(self)->end(); }, this};
        core->link(*this);
    }
    ~tunnel_object() {
        std::lock_guard const held(Stack::mutex());
        core->unlink(*this);
        object.reset();
    }

    /// Wakes all calls that wait, and calls the user's function. Under the stack's lock.
    void notify() noexcept {
        changed.notify_all();
        observer();
    }
    /// Ends the object. Under the stack's lock.
    void end() noexcept {
        object->close();
        ended = true;
        notify();
    }
    /// Waits as `wait_until_ready` does. Returns: also gone or cancelled.
    template <class Ready>
    status wait(std::unique_lock<std::mutex>& held, duration timeout, basic_canceller<Stack>* canceller,
                Ready ready) noexcept {
        status const why = wait_until_ready<Stack>(held, changed, timeout, canceller,
                                                   [&]() noexcept { return cancelled || ended || ready(); });
        return why != status::ok ? why : cancelled ? status::cancelled : status::ok;
    }

    std::shared_ptr<Core> core;      ///< the tunnel
    std::unique_ptr<Object> object;  ///< the stack's object
    std::condition_variable changed; ///< notified when a result of the object may have changed
    event observer{};                ///< the user's function
    bool cancelled = false;          ///< no call waits any more
    bool ended = false;              ///< the tunnel or the user has closed the object
};

/// What `stream`, `listener` and `udp_port` offer alike. A handle that can be moved; an empty one has no object.
template <class Core, ip_stack Stack, class Object> class tunnel_handle {
public:
    /// Whether there is an object.
    explicit operator bool() const noexcept { return state_ != nullptr; }
    /// Ends all calls of other threads that wait for this object, and all later ones, with `cancelled`.
    void cancel() noexcept {
        std::lock_guard const held(Stack::mutex());
        state_->cancelled = true;
        state_->notify();
    }
    /// Calls `function` when a call that would have waited may succeed now. It is called by the tunnel's thread or by
    /// another thread that uses the tunnel, with the stack's lock held, so it must not use any tunnel: it only tells
    /// another thread. An empty event ends that; after the return, the old function is not called any more.
    void on_change(event function) noexcept {
        std::lock_guard const held(Stack::mutex());
        state_->observer = function;
    }

protected:
    /// What the handle refers to.
    using state = tunnel_object<Core, Stack, Object>;
    /// Refers to nothing.
    tunnel_handle() noexcept = default;
    /// Refers to `its`.
    explicit tunnel_handle(std::shared_ptr<state> its) noexcept : state_(std::move(its)) {}
    std::shared_ptr<state> state_{}; ///< the object; none: nullptr
};

/// A TCP connection. The default timeout is `forever`; with a timeout of zero, calls do not wait and return
/// `would_block`. One thread may read while another one writes. The destructor closes the connection.
template <class Core, ip_stack Stack>
class basic_stream : public tunnel_handle<Core, Stack, typename Stack::connection> {
    using base = tunnel_handle<Core, Stack, typename Stack::connection>;
    using canceller = basic_canceller<Stack>;

public:
    /// Not connected.
    basic_stream() noexcept = default;
    /// Used by the tunnel.
    explicit basic_stream(std::shared_ptr<typename base::state> its) noexcept : base(std::move(its)) {}

    /// Waits for data and copies it. Returns: how many bytes, at least 1; 0, when the other end has ended its data;
    /// would_block; timed_out; cancelled; reset; gone.
    result<std::size_t> read(bytes into, duration timeout = forever, canceller* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        status const why = s->wait(held, timeout, ends, [&]() noexcept { return s->object->readable(); });
        if (why != status::ok) return why;
        return s->object->read(into);
    }
    /// Sends all bytes, and waits for room as long as needed. Returns: how many were taken over, fewer than all only if
    /// the timeout has passed or the connection has ended meanwhile; would_block; timed_out; cancelled; reset; gone,
    /// also after `finish`.
    result<std::size_t> write(bytes_view data, duration timeout = forever, canceller* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        std::size_t done = 0;
        do {
            status const why = s->wait(held, timeout, ends, [&]() noexcept { return s->object->writable(); });
            result<std::size_t> const some = why == status::ok ? s->object->write(data.subspan(done)) : why;
            if (!some && done == 0) return some.why();
            if (!some) break;
            done += *some;
        } while (done < data.size());
        return done;
    }
    /// The same for text.
    result<std::size_t> write(std::string_view data, duration timeout = forever, canceller* ends = nullptr) noexcept {
        return write(bytes_view(reinterpret_cast<byte const*>(data.data()), data.size()), timeout, ends);
    }
    /// Waits until the connection that `begin_dial` began is open. Returns: ok; would_block; timed_out; cancelled;
    /// refused; gone.
    status wait_until_open(duration timeout = forever, canceller* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        status const why =
            s->wait(held, timeout, ends, [&]() noexcept { return s->object->state() != status::would_block; });
        return why == status::ok ? s->object->state() : why;
    }
    /// Ends the data of this end (half-close). The other end may go on to send.
    void finish() noexcept {
        std::lock_guard const held(Stack::mutex());
        this->state_->object->finish();
    }
    /// Ends the connection. Data that was written is still sent.
    void close() noexcept {
        std::lock_guard const held(Stack::mutex());
        this->state_->end();
    }
    /// Ends the connection by a reset. Data that was not sent yet is lost.
    void reset() noexcept {
        std::lock_guard const held(Stack::mutex());
        this->state_->object->abort();
        this->state_->end();
    }
    /// Whether `read` would return at once.
    bool readable() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->readable();
    }
    /// Whether `write` would take a byte, or fail.
    bool writable() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->writable();
    }
    /// The inner address and port of this end.
    endpoint local() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->local();
    }
    /// The inner address and port of the other end.
    endpoint remote() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->remote();
    }
    /// ok; would_block while it connects; refused, reset, timed_out or gone after its end.
    status state() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->state();
    }
};

/// A TCP port that accepts connections. The destructor closes it.
template <class Core, ip_stack Stack>
class basic_listener : public tunnel_handle<Core, Stack, typename Stack::acceptor> {
    using base = tunnel_handle<Core, Stack, typename Stack::acceptor>;
    using canceller = basic_canceller<Stack>;

public:
    /// Does not listen.
    basic_listener() noexcept = default;
    /// Used by the tunnel.
    basic_listener(std::shared_ptr<typename base::state> its, std::uint16_t on) noexcept
        : base(std::move(its)), port_(on) {}

    /// Waits for a connection. Returns: the connection; would_block; timed_out; cancelled; gone; no_memory.
    result<basic_stream<Core, Stack>> accept(duration timeout = forever, canceller* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        status const why = s->wait(held, timeout, ends, [&]() noexcept { return s->object->has_waiting(); });
        if (why != status::ok) return why;
        std::unique_ptr<typename Stack::connection> taken = s->object->take();
        if (!taken) return status::gone;
        using connection = tunnel_object<Core, Stack, typename Stack::connection>;
        return basic_stream<Core, Stack>(std::make_shared<connection>(s->core, std::move(taken)));
    }
    /// The port.
    std::uint16_t port() const noexcept { return port_; }
    /// Whether `accept` would return at once.
    bool readable() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->has_waiting();
    }

private:
    std::uint16_t port_ = 0;
};

/// A UDP port. The destructor closes it.
template <class Core, ip_stack Stack>
class basic_udp_port : public tunnel_handle<Core, Stack, typename Stack::datagram_port> {
    using base = tunnel_handle<Core, Stack, typename Stack::datagram_port>;
    using canceller = basic_canceller<Stack>;

public:
    /// Not open.
    basic_udp_port() noexcept = default;
    /// Used by the tunnel.
    basic_udp_port(std::shared_ptr<typename base::state> its, std::uint16_t on) noexcept
        : base(std::move(its)), port_(on) {}

    /// Sends a datagram; does not wait. Returns: ok; no_room, if it is longer than the MTU allows; not_supported, if
    /// the tunnel has no address of this family; no_memory; gone.
    status send_to(bytes_view data, endpoint const& to) noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->send(data, to);
    }
    /// Waits for a datagram and copies it; what does not fit is cut. Returns: its length in bytes; would_block;
    /// timed_out; cancelled; gone.
    result<std::size_t> receive_from(bytes into, endpoint& from, duration timeout = forever,
                                     canceller* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        status const why = s->wait(held, timeout, ends, [&]() noexcept { return s->object->readable(); });
        if (why != status::ok) return why;
        return s->object->receive(into, from);
    }
    /// The port.
    std::uint16_t port() const noexcept { return port_; }
    /// Whether `receive_from` would return at once.
    bool readable() const noexcept {
        std::lock_guard const held(Stack::mutex());
        return this->state_->object->readable();
    }

private:
    std::uint16_t port_ = 0;
};

/// An ICMP echo request that was sent.
template <class Core, ip_stack Stack> class basic_echo : public tunnel_handle<Core, Stack, typename Stack::echo> {
    using base = tunnel_handle<Core, Stack, typename Stack::echo>;
    using clock = std::chrono::steady_clock;

public:
    /// None.
    basic_echo() noexcept = default;
    /// Used by the tunnel.
    explicit basic_echo(std::shared_ptr<typename base::state> its) noexcept : base(std::move(its)) {}

    /// Waits for the answer. Returns: the time from the request until now; would_block; timed_out; cancelled; gone.
    result<duration> wait(duration timeout, basic_canceller<Stack>* ends = nullptr) noexcept {
        auto const s = this->state_;
        std::unique_lock held(Stack::mutex());
        status const why = s->wait(held, timeout, ends, [&]() noexcept { return s->object->is_answered(); });
        if (why != status::ok) return why;
        if (!s->object->is_answered()) return status::gone;
        std::chrono::nanoseconds const took = clock::now() - sent_;
        return duration{took.count()};
    }

private:
    clock::time_point sent_ = clock::now();
};

}} // namespace wg::WG_ABI

#endif
