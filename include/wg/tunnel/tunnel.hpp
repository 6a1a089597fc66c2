// SPDX-License-Identifier: BSL-1.0
// A tunnel inside a program: connections through WireGuard without root rights, without a TUN device and without
// changes to the host. Folder: tunnel. Any thread.
//
//     std::string why;
//     auto tunnel = wg::tunnel::from_file("office.conf", why);
//     if (!tunnel) return failed(why);
//     auto database = tunnel->dial("db.office.internal:5432", wg::seconds(5));
#ifndef WG_TUNNEL_TUNNEL_HPP
#define WG_TUNNEL_TUNNEL_HPP

#include "resolver.hpp"

namespace wg { inline namespace WG_ABI {

/// A peer as `basic_tunnel::peers` reports it.
struct tunnel_peer {
    public_key key{};                     ///< its public key
    wg::endpoint endpoint{};              ///< where its last authentic datagram came from; family::none: not known
    std::int64_t last_handshake_s = 0;    ///< UNIX time of the last handshake in seconds; 0: none
    std::uint64_t sent_bytes = 0;         ///< UDP payload
    std::uint64_t received_bytes = 0;     ///< UDP payload
    std::vector<ip_prefix> allowed_ips{}; ///< cryptokey routing
};

/// One WireGuard interface of this process, over the TCP/IP stack `Stack`. The destructor waits for at most a second
/// until the peers have acknowledged what was written, and resets what is left.
template <ip_stack Stack, class Base = default_policies> class basic_tunnel {
    using policies = tunnel_policies<Stack, Base>;
    using core = tunnel_core<policies, Stack>;
    template <class Object> using object = tunnel_object<core, Stack, Object>;

public:
    using stream = basic_stream<core, Stack>;           ///< a TCP connection
    using listener = basic_listener<core, Stack>;       ///< a TCP port that accepts connections
    using udp_port = basic_udp_port<core, Stack>;       ///< a UDP port
    using echo = basic_echo<core, Stack>;               ///< an ICMP echo request that was sent
    using canceller = basic_canceller<Stack>;           ///< ends calls of other threads
    using clock_source = typename Base::clock_source;   ///< the clock of the policies
    using random_source = typename Base::random_source; ///< the random source of the policies

    /// No tunnel.
    basic_tunnel() noexcept = default;
    basic_tunnel(basic_tunnel&&) noexcept = default;
    /// Ends the old tunnel, if there is one.
    basic_tunnel& operator=(basic_tunnel&& other) noexcept {
        close();
        core_ = std::move(other.core_);
        resolver_ = std::move(other.resolver_);
        return *this;
    }
    /// Ends the tunnel, see `close`.
    ~basic_tunnel() { close(); }

    /// Starts a tunnel from a configuration file of wg-quick(8). Keys that only wg-quick acts on have no effect.
    /// Returns: the tunnel; else the reason, and in `why` a sentence that names file, line and mend.
    static result<basic_tunnel> from_file(char const* path, std::string& why) noexcept {
        auto const read = quick::load(path, why);
        if (!read) return read.why();
        return from(*read, why);
    }
    /// The same from the text of a file.
    static result<basic_tunnel> from_text(std::string_view text, std::string& why) noexcept {
        auto const read = quick::parse(text, "configuration", why);
        if (!read) return read.why();
        return from(*read, why);
    }
    /// The same from a configuration.
    static result<basic_tunnel> from(quick::configuration const& configuration, std::string& why) noexcept {
        if (configuration.private_key.is_zero()) {
            why = "[Interface] has no PrivateKey";
            return status::no_private_key;
        }
        if (configuration.addresses.empty()) {
            why = "[Interface] has no Address";
            return status::invalid;
        }
        basic_tunnel made;
        made.core_.reset(new (std::nothrow) core);
        made.resolver_.reset(new (std::nothrow) resolver(configuration.dns_servers, configuration.search_domains));
        if (!made.core_ || !made.resolver_) return status::no_memory;
        status const started = made.core_->start(configuration, why);
        if (started != status::ok) return started;
        return made;
    }

    /// Ends the tunnel: waits until the peers have acknowledged what was written, for at most `linger`. Streams,
    /// listeners and ports that are left return `gone`.
    void close(duration linger = seconds(1)) noexcept {
        if (core_) core_->stop(linger);
        core_.reset();
    }
    /// Whether there is a tunnel.
    explicit operator bool() const noexcept { return core_ != nullptr; }

    /// Connects to an inner address and port. Returns: the connection; refused; timed_out; cancelled; would_block, with
    /// a timeout of zero: never; not_supported, if the tunnel has no address of this family; no_memory.
    result<stream> dial(endpoint const& to, duration timeout = seconds(30), canceller* ends = nullptr) noexcept {
        result<stream> made = begin_dial(to);
        if (!made) return made;
        status const why = made->wait_until_open(timeout, ends);
        return why == status::ok ? std::move(made) : result<stream>(why);
    }
    /// Begins to connect to an inner address and port, and does not wait. Returns: the stream, whose `state` is
    /// would_block until the connection is open or has failed, and whose `on_change` tells when; not_supported, if the
    /// tunnel has no address of this family; no_memory.
    result<stream> begin_dial(endpoint const& to) noexcept {
        return open<typename Stack::connection, stream>(
            [&](auto& connection) noexcept { return connection.connect(core_->interface(), to); });
    }
    /// Connects to `HOST:PORT`, where the host is an address or a name. Names are asked from the DNS servers of the
    /// configuration, through the tunnel. If a name has several addresses, they are tried one after the other. Returns:
    /// also invalid, if the text is something else; name_not_found.
    result<stream> dial(std::string_view to, duration timeout = seconds(30), canceller* ends = nullptr) noexcept {
        if (auto const literal = text::parse_endpoint(to)) return dial(*literal, timeout, ends);
        std::size_t const colon = to.rfind(':');
        if (colon == std::string_view::npos) return status::invalid;
        auto const port = text::parse_endpoint(std::string("0.0.0.0").append(to.substr(colon)));
        if (!port) return status::invalid;
        time_left const time(timeout);
        auto const found = resolver_->resolve(*this, to.substr(0, colon), time, ends);
        if (!found) return found.why();
        result<stream> made = status::name_not_found;
        for (std::size_t i = 0; i < found->size() && !made && made.why() != status::cancelled; ++i) {
            duration const left = time.left();
            duration const share = left == forever ? left : left / static_cast<std::int64_t>(found->size() - i);
            made = dial(endpoint{(*found)[i], port->port, 0}, share, ends);
        }
        return made;
    }
    /// The addresses of a name, asked from the DNS servers of the configuration; IPv6 first. Returns: name_not_found;
    /// timed_out; cancelled; invalid, if the text is no name.
    result<std::vector<ip_address>> resolve(std::string_view host, duration timeout = seconds(10),
                                            canceller* ends = nullptr) noexcept {
        return resolver_->resolve(*this, host, time_left(timeout), ends);
    }
    /// Whether the tunnel has an address of this family.
    bool has_family(family kind) const noexcept {
        std::lock_guard const held(Stack::mutex());
        return core_->interface().has_family(kind);
    }
    /// Listens on a TCP port of all inner addresses; 0: a free port. At most `backlog` (1 to 255) connections wait for
    /// `accept`. Returns: the listener; address_in_use; no_memory.
    result<listener> listen(std::uint16_t port, std::size_t backlog = 128) noexcept {
        return open<typename Stack::acceptor, listener>(
            [&](auto& acceptor) noexcept { return acceptor.open(core_->interface(), port, backlog); });
    }
    /// Opens a UDP port of all inner addresses; 0: a free port. Returns: the port; address_in_use; no_memory.
    result<udp_port> udp(std::uint16_t port = 0) noexcept {
        return open<typename Stack::datagram_port, udp_port>(
            [&](auto& opened) noexcept { return opened.open(core_->interface(), port); });
    }
    /// Sends an ICMP echo request and waits for the answer. Returns: the time that it took; timed_out; cancelled;
    /// not_supported, if the tunnel has no address of this family; no_memory.
    result<duration> ping(ip_address const& to, duration timeout = seconds(5), canceller* ends = nullptr) noexcept {
        result<echo> sent = begin_ping(to);
        return sent ? sent->wait(timeout, ends) : sent.why();
    }
    /// Sends an ICMP echo request, and does not wait. Returns: the echo; not_supported, if the tunnel has no address of
    /// this family; no_memory.
    result<echo> begin_ping(ip_address const& to) noexcept {
        return open<typename Stack::echo, echo>(
            [&](auto& request) noexcept { return request.send(core_->interface(), to, next_identifier()); });
    }
    /// The peers, as they are now.
    std::vector<tunnel_peer> peers() const noexcept {
        struct sink {
            std::vector<tunnel_peer> found{};
            void device(interface_facts const&) noexcept {}
            void peer(peer_facts const& p) noexcept {
                found.push_back({p.key, p.endpoint, p.last_handshake_s, p.tx_bytes, p.rx_bytes, {}});
            }
            void allowed_ip(ip_prefix const& prefix) noexcept { found.back().allowed_ips.push_back(prefix); }
        } all;
        core_->with_engine([&](auto& engine) noexcept { engine.snapshot(all); });
        return std::move(all.found);
    }
    /// The UDP port of the encrypted datagrams.
    std::uint16_t listen_port() const noexcept {
        struct sink {
            std::uint16_t port = 0;
            void device(interface_facts const& of) noexcept { port = of.listen_port; }
            void peer(peer_facts const&) noexcept {}
            void allowed_ip(ip_prefix const&) noexcept {}
        } own;
        core_->with_engine([&](auto& engine) noexcept { engine.snapshot(own); });
        return own.port;
    }
    /// Changes keys, port and peers, see `device::configure`: all changes or none. Returns: as `engine::configure`.
    status configure(std::span<change const> changes) noexcept {
        return core_->with_engine([&](auto& engine) noexcept { return engine.configure(changes); });
    }
    /// The same for a list in braces.
    status configure(std::initializer_list<change> changes) noexcept {
        return configure(std::span(changes.begin(), changes.size()));
    }

private:
    /// Under the stack's lock. Returns: nullptr without memory.
    template <class Object> std::shared_ptr<object<Object>> make() noexcept {
        std::unique_ptr<Object> made(new (std::nothrow) Object);
        if (!made) return nullptr;
        return std::make_shared<object<Object>>(core_, std::move(made));
    }
    template <class Object, class Handle, class Open> result<Handle> open(Open open_it) noexcept {
        std::unique_lock held(Stack::mutex());
        auto s = make<Object>();
        if (!s) return status::no_memory;
        auto const opened = open_it(*s->object);
        held.unlock(); // the destructor of `s` takes the lock
        if constexpr (std::is_same_v<decltype(opened), status const>) {
            if (opened != status::ok) return opened;
            return Handle(std::move(s));
        } else {
            if (!opened) return opened.why();
            return Handle(std::move(s), *opened);
        }
    }
    static std::uint16_t next_identifier() noexcept {
        static std::atomic<std::uint16_t> last{0};
        return ++last;
    }

    using resolver = tunnel_resolver<basic_tunnel>;
    std::shared_ptr<core> core_{};
    std::unique_ptr<resolver> resolver_{};
};

}} // namespace wg::WG_ABI

#endif
