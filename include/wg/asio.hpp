// SPDX-License-Identifier: BSL-1.0
// wg::tunnel in programs that use Asio: completion tokens, coroutines, cancellation slots and executors. Needs lwIP and
// Asio or Boost.Asio, see docs/asio.md.
//
//     asio::io_context io;
//     wg::async::tunnel office(io.get_executor(), std::move(*tunnel));
//     wg::async::stream db = co_await office.async_dial("db.office.internal:5432", asio::use_awaitable);
//     co_await asio::async_write(db, asio::buffer(text), asio::use_awaitable);
//
// Threads: as for the sockets of Asio. Distinct objects may be used by several threads at once, one object by one
// thread at a time; completion handlers run where their associated executor says. The functions throw what Asio and the
// completion token throw, and nothing else.
#ifndef WG_ASIO_HPP
#define WG_ASIO_HPP

#include "async/hub.hpp"

namespace wg { inline namespace WG_ABI { namespace async { inline namespace WG_ASIO_ABI {

/// The completion token that an executor chooses, for instance by `use_awaitable_t<>::executor_with_default`.
template <class Executor> using default_token = net::default_completion_token_t<Executor>;

/// What streams, listeners and UDP ports have in common. A handle that can be moved; an empty one has no object, and
/// only its assignment, destructor and `operator bool` may be called.
template <class Handle, class Executor> class basic_object {
public:
    using executor_type = Executor; ///< where completion handlers run that have no executor of their own

    /// Whether there is an object.
    explicit operator bool() const noexcept { return its_ != nullptr; }
    /// The executor.
    executor_type get_executor() const noexcept { return *executor_; }
    /// Ends all operations that wait with `operation_aborted`. Later ones are not affected.
    void cancel() { its_->cancel(); }

    /// Takes over the object. The other handle keeps its executor.
    basic_object(basic_object&& other) noexcept : executor_(other.executor_), its_(std::move(other.its_)) {}
    /// Ends the operations of the old object with `operation_aborted`, and closes it.
    basic_object& operator=(basic_object&& other) noexcept {
        drop();
        its_ = std::move(other.its_);
        executor_ = other.executor_;
        return *this;
    }

protected:
    /// The object and its operations.
    using state = watched<Handle>;
    /// No object.
    basic_object() noexcept = default;
    /// Refers to `its`.
    basic_object(Executor const& executor, std::shared_ptr<state> its) noexcept
        : executor_(executor), its_(std::move(its)) {}
    ~basic_object() { drop(); }

    /// Begins an operation with results of the types `Results`, see `watched::begin`.
    template <class... Results, class Token, class Attempt>
    auto begin(std::size_t queue, Token&& token, Attempt attempt) {
        return net::async_initiate<Token, void(error_code, Results...)>(
            [queue](auto&& handler, std::shared_ptr<state> const& its, Attempt tried) {
                its->template begin<Results...>(queue, std::forward<decltype(handler)>(handler), std::move(tried));
            },
            token, its_, std::move(attempt));
    }

    static constexpr std::size_t reading = 0; ///< the queue of a state for reads
    static constexpr std::size_t writing = 1; ///< the queue of a state for writes
    std::optional<Executor> executor_{};      ///< where completion handlers run
    std::shared_ptr<state> its_{};            ///< the object; none: nullptr

private:
    void drop() noexcept {
        if (its_) its_->cancel();
        its_.reset();
    }
};

/// A TCP connection. Models AsyncReadStream, AsyncWriteStream, SyncReadStream and SyncWriteStream of Asio. The
/// destructor ends what waits with `operation_aborted`, and closes the connection; data that was written is still sent.
template <class Tunnel, class Executor> class basic_stream : public basic_object<typename Tunnel::stream, Executor> {
    using handle = typename Tunnel::stream;
    using base = basic_object<handle, Executor>;

public:
    using lowest_layer_type = basic_stream; ///< for layers above, as asio::ssl::stream
    /// The same with another executor.
    template <class Other> struct rebind_executor {
        using other = basic_stream<Tunnel, Other>; ///< the type
    };

    /// Not connected.
    basic_stream() noexcept = default;
    /// Takes over a connection of the tunnel.
    basic_stream(Executor const& executor, handle connection)
        : base(executor, base::state::make(executor, std::move(connection))) {}
    /// Used by `async_dial`.
    basic_stream(Executor const& executor, std::shared_ptr<watched<handle>> its) noexcept
        : base(executor, std::move(its)) {}

    /// This object.
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    /// @copydoc lowest_layer
    lowest_layer_type const& lowest_layer() const noexcept { return *this; }

    /// Reads at least one byte into a sequence of buffers. Completes with `void(error_code, std::size_t)`: the number
    /// of bytes; eof, when the other end has ended its data; connection_reset; connection_aborted, when the tunnel has
    /// ended.
    template <class Buffers, class Token = default_token<Executor>>
    auto async_read_some(Buffers const& buffers, Token&& token = {}) {
        return this->template begin<std::size_t>(
            base::reading, std::forward<Token>(token),
            [buffers, its = this->its_.get()](error_code& error, std::size_t& done) noexcept {
                return read(its->handle(), buffers, duration{}, error, done);
            });
    }
    /// Writes at least one byte of a sequence of buffers. Completes with `void(error_code, std::size_t)`: the number of
    /// bytes, which the stack has copied; connection_reset; connection_aborted, when the tunnel has ended, or after
    /// `finish`.
    template <class Buffers, class Token = default_token<Executor>>
    auto async_write_some(Buffers const& buffers, Token&& token = {}) {
        return this->template begin<std::size_t>(
            base::writing, std::forward<Token>(token),
            [buffers, its = this->its_.get()](error_code& error, std::size_t& done) noexcept {
                return write(its->handle(), buffers, duration{}, error, done);
            });
    }
    /// The same, but blocks the thread.
    template <class Buffers> std::size_t read_some(Buffers const& buffers, error_code& error) {
        std::size_t done = 0;
        (void)read(this->its_->handle(), buffers, forever, error = {}, done);
        return done;
    }
    /// The same, but blocks the thread.
    template <class Buffers> std::size_t write_some(Buffers const& buffers, error_code& error) {
        std::size_t done = 0;
        (void)write(this->its_->handle(), buffers, forever, error = {}, done);
        return done;
    }
    /// Ends the data of this end (half-close). The other end may go on to send.
    void finish() noexcept { this->its_->handle().finish(); }
    /// Ends the operations that wait with `operation_aborted`, and closes the connection.
    void close() {
        this->cancel();
        this->its_->handle().close();
    }
    /// The inner address and port of this end.
    endpoint local() const noexcept { return this->its_->handle().local(); }
    /// The inner address and port of the other end.
    endpoint remote() const noexcept { return this->its_->handle().remote(); }

private:
    static bool read(handle& from, auto const& buffers, duration timeout, error_code& error,
                     std::size_t& done) noexcept {
        auto const end = net::buffer_sequence_end(buffers);
        for (auto at = net::buffer_sequence_begin(buffers); at != end; ++at) {
            net::mutable_buffer const into = *at;
            if (into.size() == 0) continue;
            auto const got =
                from.read({static_cast<byte*>(into.data()), into.size()}, done == 0 ? timeout : duration{});
            if (got) done += *got;
            if (got && *got == into.size()) continue;
            if (done != 0) return true;
            if (!got && got.why() == status::would_block) return false;
            error = got ? error_code(net::error::eof) : to_error_code(got.why());
            return true;
        }
        return true;
    }
    static bool write(handle& to, auto const& buffers, duration timeout, error_code& error,
                      std::size_t& done) noexcept {
        auto const begin = net::buffer_sequence_begin(buffers), end = net::buffer_sequence_end(buffers);
        auto first = begin;
        while (first != end && net::const_buffer(*first).size() == 0) ++first;
        if (first == end) return true;
        net::const_buffer const one = *first;
        byte together[most_gathered_bytes];
        bytes_view data(static_cast<byte const*>(one.data()), one.size());
        // A head and a body leave in one packet.
        if (std::next(first) != end && one.size() < most_gathered_bytes)
            data = bytes_view(together).first(net::buffer_copy(net::buffer(together), buffers));
        auto const taken = to.write(data, timeout);
        if (!taken && taken.why() == status::would_block) return false;
        if (taken) done = *taken;
        else error = to_error_code(taken.why());
        return true;
    }
    static constexpr std::size_t most_gathered_bytes = 8192;
};

/// A TCP port that accepts connections. The destructor closes it.
template <class Tunnel, class Executor>
class basic_listener : public basic_object<typename Tunnel::listener, Executor> {
    using handle = typename Tunnel::listener;
    using base = basic_object<handle, Executor>;

public:
    using stream = basic_stream<Tunnel, Executor>; ///< an accepted connection
    /// The same with another executor.
    template <class Other> struct rebind_executor {
        using other = basic_listener<Tunnel, Other>; ///< the type
    };

    /// Does not listen.
    basic_listener() noexcept = default;
    /// Takes over a port of the tunnel.
    basic_listener(Executor const& executor, handle port)
        : base(executor, base::state::make(executor, std::move(port))) {}

    /// Accepts a connection, which gets the executor of the listener. Completes with `void(error_code, stream)`:
    /// connection_aborted, when the tunnel has ended; no_memory.
    template <class Token = default_token<Executor>> auto async_accept(Token&& token = {}) {
        return async_accept_on<Executor>(*this->executor_, std::forward<Token>(token));
    }
    /// Accepts a connection, which gets the executor `on`, for instance a strand. Completes with
    /// `void(error_code, basic_stream<Tunnel, Other>)`.
    template <class Other, class Token = default_token<Executor>>
    auto async_accept_on(Other const& on, Token&& token = {}) {
        using accepted = basic_stream<Tunnel, Other>;
        return this->template begin<accepted>(base::reading, std::forward<Token>(token),
                                              [on, its = this->its_.get()](error_code& error, accepted& made) noexcept {
                                                  auto taken = its->handle().accept(duration{});
                                                  if (!taken && taken.why() == status::would_block) return false;
                                                  if (taken) made = accepted(on, std::move(*taken));
                                                  else error = to_error_code(taken.why());
                                                  return true;
                                              });
    }
    /// The port.
    std::uint16_t port() const noexcept { return this->its_->handle().port(); }
};

/// A UDP port. The destructor closes it.
template <class Tunnel, class Executor>
class basic_udp_port : public basic_object<typename Tunnel::udp_port, Executor> {
    using handle = typename Tunnel::udp_port;
    using base = basic_object<handle, Executor>;

public:
    /// The same with another executor.
    template <class Other> struct rebind_executor {
        using other = basic_udp_port<Tunnel, Other>; ///< the type
    };

    /// Not open.
    basic_udp_port() noexcept = default;
    /// Takes over a port of the tunnel.
    basic_udp_port(Executor const& executor, handle port)
        : base(executor, base::state::make(executor, std::move(port))) {}

    /// Receives a datagram and its sender; what does not fit is cut. `from` must live until the end. Completes with
    /// `void(error_code, std::size_t)`: the length in bytes; connection_aborted, when the tunnel has ended.
    template <class Token = default_token<Executor>>
    auto async_receive_from(net::mutable_buffer into, endpoint& from, Token&& token = {}) {
        return this->template begin<std::size_t>(
            base::reading, std::forward<Token>(token),
            [into, &from, its = this->its_.get()](error_code& error, std::size_t& size) noexcept {
                bytes const room(static_cast<byte*>(into.data()), into.size());
                auto const got = its->handle().receive_from(room, from, duration{});
                if (!got && got.why() == status::would_block) return false;
                if (got) size = *got;
                else error = to_error_code(got.why());
                return true;
            });
    }
    /// Sends a datagram. Completes with `void(error_code, std::size_t)`: its length in bytes; message_size, if it is
    /// longer than the MTU allows; address_family_not_supported; no_memory; connection_aborted.
    template <class Token = default_token<Executor>>
    auto async_send_to(net::const_buffer data, endpoint const& to, Token&& token = {}) {
        return this->template begin<std::size_t>(
            base::writing, std::forward<Token>(token),
            [data, to, its = this->its_.get()](error_code& error, std::size_t& size) noexcept {
                status const sent = its->handle().send_to({static_cast<byte const*>(data.data()), data.size()}, to);
                if (sent == status::ok) size = data.size();
                else error = to_error_code(sent);
                return true;
            });
    }
    /// The port.
    std::uint16_t port() const noexcept { return this->its_->handle().port(); }
};

/// A tunnel with an executor for its operations. The destructor ends the tunnel and blocks for at most a second, see
/// `close`.
template <class Tunnel, class Executor> class basic_tunnel {
    using state = hub<Tunnel>;

public:
    using executor_type = Executor;                    ///< where completion handlers run
    using stream = basic_stream<Tunnel, Executor>;     ///< a TCP connection
    using listener = basic_listener<Tunnel, Executor>; ///< a TCP port that accepts connections
    using udp_port = basic_udp_port<Tunnel, Executor>; ///< a UDP port
    using addresses = std::vector<ip_address>;         ///< what a name stands for

    /// Takes over a tunnel. Streams, listeners and ports get the executor.
    basic_tunnel(Executor const& executor, Tunnel through)
        : executor_(executor), its_(state::make(executor, std::move(through))) {}
    basic_tunnel(basic_tunnel&&) noexcept = default;
    basic_tunnel& operator=(basic_tunnel&&) = delete;
    ~basic_tunnel() {
        if (its_) its_->close(seconds(1));
    }

    /// The executor.
    executor_type get_executor() const noexcept { return executor_; }
    /// The tunnel, for its other members: `peers`, `configure`. Not after `close`.
    Tunnel* operator->() noexcept { return &its_->tunnel(); }
    /// Ends the tunnel. Blocks until the peers have acknowledged what was written, for at most `linger`. Operations end
    /// with connection_aborted, `async_resolve` with operation_aborted.
    void close(duration linger = seconds(1)) { its_->close(linger); }

    /// Listens, see `wg::tunnel::listen`.
    result<listener> listen(std::uint16_t port, std::size_t backlog = 128) {
        return adopt<listener>(its_->use([&](Tunnel& t) noexcept { return t.listen(port, backlog); }));
    }
    /// Opens a UDP port, see `wg::tunnel::udp`.
    result<udp_port> udp(std::uint16_t port = 0) {
        return adopt<udp_port>(its_->use([&](Tunnel& t) noexcept { return t.udp(port); }));
    }

    /// Connects to an inner address and port, or to `HOST:PORT`, for at most 30 seconds. Names are asked through the
    /// tunnel by a thread, and their addresses are tried one after the other. Completes with
    /// `void(error_code, stream)`: connection_refused; timed_out; host_not_found; invalid_argument, if the text is no
    /// `HOST:PORT`; address_family_not_supported; no_memory; connection_aborted, when the tunnel has ended.
    template <class Target, class Token = default_token<Executor>>
        requires(!std::convertible_to<Token, duration>)
    auto async_dial(Target const& to, Token&& token = {}) {
        return async_dial(to, seconds(30), std::forward<Token>(token));
    }
    /// The same for an endpoint, for at most `timeout`.
    template <class Token = default_token<Executor>>
    auto async_dial(endpoint const& to, duration timeout, Token&& token = {}) {
        return net::async_initiate<Token, void(error_code, stream)>(
            [](auto&& handler, std::shared_ptr<state> const& its, Executor const& executor, endpoint const& where,
               duration most) { begin_dial(its, executor, where, most, std::forward<decltype(handler)>(handler)); },
            token, its_, executor_, to, timeout);
    }
    /// The same for `HOST:PORT`, for at most `timeout`.
    template <class Token = default_token<Executor>>
    auto async_dial(std::string_view to, duration timeout, Token&& token = {}) {
        return net::async_compose<Token, void(error_code, stream)>(dialling(its_, executor_, to, timeout), token,
                                                                   executor_);
    }
    /// Asks for the addresses of a name, IPv6 first, for at most 10 seconds. A thread waits for the answer. Completes
    /// with `void(error_code, addresses)`: host_not_found; timed_out; invalid_argument, if the text is no name.
    template <class Token = default_token<Executor>>
        requires(!std::convertible_to<Token, duration>)
    auto async_resolve(std::string_view host, Token&& token = {}) {
        return async_resolve(host, seconds(10), std::forward<Token>(token));
    }
    /// The same for at most `timeout`.
    template <class Token = default_token<Executor>>
    auto async_resolve(std::string_view host, duration timeout, Token&& token = {}) {
        return net::async_initiate<Token, void(error_code, addresses)>(
            [](auto&& handler, std::shared_ptr<state> const& its, std::string name, duration most) {
                its->resolve(std::move(name), most, std::forward<decltype(handler)>(handler));
            },
            token, its_, std::string(host), timeout);
    }
    /// Sends an ICMP echo request and waits for the answer, for at most 5 seconds. Completes with
    /// `void(error_code, wg::duration)`: the time until the answer was noticed; timed_out;
    /// address_family_not_supported; no_memory; connection_aborted, when the tunnel has ended.
    template <class Token = default_token<Executor>>
        requires(!std::convertible_to<Token, duration>)
    auto async_ping(ip_address const& to, Token&& token = {}) {
        return async_ping(to, seconds(5), std::forward<Token>(token));
    }
    /// The same for at most `timeout`.
    template <class Token = default_token<Executor>>
    auto async_ping(ip_address const& to, duration timeout, Token&& token = {}) {
        return net::async_initiate<Token, void(error_code, duration)>(
            [](auto&& handler, std::shared_ptr<state> const& its, Executor const& executor, ip_address const& where,
               duration most) { begin_ping(its, executor, where, most, std::forward<decltype(handler)>(handler)); },
            token, its_, executor_, to, timeout);
    }

private:
    template <class Made, class Handle> result<Made> adopt(result<Handle> opened) {
        if (!opened) return opened.why();
        return Made(executor_, std::move(*opened));
    }
    template <class Handler>
    static void begin_dial(std::shared_ptr<state> const& its, Executor const& executor, endpoint const& to,
                           duration timeout, Handler&& handler) {
        auto begun = its->use([&](Tunnel& t) noexcept { return t.begin_dial(to); });
        if (!begun) return fail_at_once<stream>(executor, std::forward<Handler>(handler), to_error_code(begun.why()));
        auto const waits = watched<typename Tunnel::stream>::make(executor, std::move(*begun));
        waits->template begin<stream>(
            0, std::forward<Handler>(handler),
            [executor, waits](error_code& error, stream& made) noexcept {
                status const now = waits->handle().state();
                if (now == status::would_block) return false;
                if (now == status::ok) made = stream(executor, waits);
                else error = to_error_code(now);
                return true;
            },
            timeout);
    }
    template <class Handler>
    static void begin_ping(std::shared_ptr<state> const& its, Executor const& executor, ip_address const& to,
                           duration timeout, Handler&& handler) {
        auto begun = its->use([&](Tunnel& t) noexcept { return t.begin_ping(to); });
        if (!begun) return fail_at_once<duration>(executor, std::forward<Handler>(handler), to_error_code(begun.why()));
        auto const waits = watched<typename Tunnel::echo>::make(executor, std::move(*begun));
        waits->template begin<duration>(
            0, std::forward<Handler>(handler),
            [waits](error_code& error, duration& took) noexcept {
                auto const answered = waits->handle().wait(duration{});
                if (!answered && answered.why() == status::would_block) return false;
                if (answered) took = *answered;
                else error = to_error_code(answered.why());
                return true;
            },
            timeout);
    }

    /// The steps of `async_dial` with a text: ask for the name, then try each address.
    class dialling {
    public:
        dialling(std::shared_ptr<state> its, Executor const& executor, std::string_view to, duration timeout)
            : its_(std::move(its)), executor_(executor), to_(to), time_(timeout) {}

        /// The first step.
        template <class Self> void operator()(Self& self) {
#if WG_ASIO_HAS_CANCELLATION
            if (!is_begun_) self.reset_cancellation_state(net::enable_total_cancellation());
#endif
            if (std::exchange(is_begun_, true)) return self.complete(net::error::invalid_argument, stream{});
            if (auto const literal = text::parse_endpoint(to_)) {
                left_ = {literal->address};
                port_ = literal->port;
                return try_next(self);
            }
            std::size_t const colon = to_.rfind(':');
            result<endpoint> port = status::invalid;
            if (colon != std::string::npos) port = text::parse_endpoint("0.0.0.0" + to_.substr(colon));
            // `self` owns this object, so its members are read before it is moved.
            Executor const executor = executor_;
            if (!port) return net::post(executor, std::move(self)); // not in the function that begins the operation
            port_ = port->port;
            auto const its = its_;
            std::string name = to_.substr(0, colon);
            duration const left = time_.left();
            its->resolve(std::move(name), left, std::move(self));
        }
        /// The name has its addresses.
        template <class Self> void operator()(Self& self, error_code error, addresses found) {
            if (error) return self.complete(error, stream{});
            left_ = std::move(found);
            try_next(self);
        }
        /// An attempt to connect has ended.
        template <class Self> void operator()(Self& self, error_code error, stream made) {
            if (!error || error == net::error::operation_aborted || left_.empty())
                return self.complete(error, std::move(made));
            try_next(self);
        }

    private:
        template <class Self> void try_next(Self& self) {
            endpoint const to{left_.front(), port_, 0};
            duration const all = time_.left();
            duration const share = all == forever ? all : all / static_cast<std::int64_t>(left_.size());
            left_.erase(left_.begin());
            auto const its = its_; // `self` owns this object
            Executor const executor = executor_;
            begin_dial(its, executor, to, share, std::move(self));
        }

        std::shared_ptr<state> its_;
        Executor executor_;
        std::string to_;
        time_left time_;
        addresses left_{};
        std::uint16_t port_ = 0;
        bool is_begun_ = false;
    };

    Executor executor_;
    std::shared_ptr<state> its_;
};

using tunnel = basic_tunnel<wg::tunnel, net::any_io_executor>; ///< a tunnel with any executor
using stream = tunnel::stream;                                 ///< a TCP connection
using listener = tunnel::listener;                             ///< a TCP port that accepts connections
using udp_port = tunnel::udp_port;                             ///< a UDP port

}}}} // namespace wg::WG_ABI::async::WG_ASIO_ABI

#endif
