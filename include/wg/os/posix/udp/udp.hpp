// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on one port, for systems with kqueue(2). An answer leaves from the address that its peer has
// sent to. Where the system can, one call moves several datagrams. Folder: os/posix/udp. One thread at a time.
//
// Datagrams may be fragmented: no option forbids that.
#ifndef WG_OS_POSIX_UDP_UDP_HPP
#define WG_OS_POSIX_UDP_UDP_HPP

#include "../../../policy.hpp"
#include "../../offloads.hpp"
#include "../../socket_protector.hpp"
#include "../clock.hpp"
#include "../kqueue/queue.hpp"
#include "../net_if.hpp"
#include "control.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// A message of a call that moves several.
struct udp_message {
    msghdr header{};        ///< as of sendmsg(2) and recvmsg(2)
    std::size_t length = 0; ///< received: bytes of the datagram
};

/// Sends messages one by one, where a call for several messages refuses them. Returns: how many left; -1 with errno if
/// the first one did not.
template <class Calls> int send_each(int fd, std::span<udp_message> messages) noexcept {
    int sent = 0;
    for (udp_message const& m : messages) {
        if (without_interruption([&] { return Calls::send(fd, m.header); }) < 0) return sent > 0 ? sent : -1;
        ++sent;
    }
    return sent;
}

/// Models `udp_socket`. `Calls` makes the system calls; `udp_calls` of the systems document them.
template <class Calls> class basic_udp {
public:
    /// The room in bytes that a received datagram needs.
    static constexpr std::size_t receive_bytes = 65535;
    /// How long one `send` waits in total for room before it drops datagrams, unless `set_send_patience` says
    /// otherwise.
    static constexpr duration send_patience = milliseconds(5);
    /// Whether `set_bind_interface` can succeed.
    static constexpr bool binds_to_interfaces = Calls::can_bind_interface;

    /// Has no open socket. `wanted` says which offloads may be used; only `batches` concerns these systems.
    explicit basic_udp(offloads const& wanted = {}) noexcept : many_(wanted.batches) { (void)queue_.renewed(); }
    basic_udp(basic_udp const&) = delete;
    basic_udp& operator=(basic_udp const&) = delete;

    /// A descriptor that polls readable while a datagram waits. It stays the same for the object's life.
    int fd() const noexcept { return queue_.fd(); }
    /// Whether the system had a descriptor for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(queue_); }
    /// The port, or 0 while closed.
    std::uint16_t port() const noexcept { return port_; }
    /// The errno of the last `open` that failed.
    int error() const noexcept { return error_; }

    /// Binds sockets that are opened later to an address of this host; its port is not used. Then only the socket of
    /// this address's family is opened. An address without a family: all addresses.
    void set_bind_address(endpoint const& where) noexcept { bind_ = where; }
    /// Binds sockets that are opened later to this interface, where the system can: datagrams then neither enter nor
    /// leave through another one, such as the tunnel itself. `name` must outlive this object; null: all interfaces.
    void set_bind_interface(char const* name) noexcept { bind_name_ = name; }
    /// Has the program allow each socket that is opened later, before the socket is bound; `open` returns
    /// `no_permission` if the program refuses one. On Android a protected socket does not send into the tunnel.
    void set_protector(socket_protector const& by) noexcept { protector_ = by; }
    /// Binds open sockets to the new interface, if an interface with another index has the given name now.
    /// If the system refuses, the next call tries again.
    void refresh_bind() noexcept {
        if (bind_name_ == nullptr) return;
        unsigned const index = Calls::interface_index(bind_name_);
        if (index == 0 || index == bind_index_) return;
        for (bool const v6 : {false, true})
            if (unique_fd const& fd = v6 ? v6_ : v4_; fd && Calls::bind_interface(fd.get(), !v6, index) != 0) return;
        bind_index_ = index;
    }

    /// Opens sockets for both families at `port`; 0: a free port. On failure nothing has changed, and a port that was
    /// open stays open.
    /// Returns: the port; `address_in_use`; `no_permission`, also if the program does not allow a socket;
    /// `not_supported` if the host has neither IPv4 nor IPv6, or cannot bind to an interface; `io_error` and others,
    /// and `error` then has the errno.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (port != 0 && port == port_) return port;
        if (!queue_) return status::io_error;
        error_ = 0;
        unsigned const index = bind_name_ != nullptr ? Calls::interface_index(bind_name_) : 0;
        if (bind_name_ != nullptr && index == 0) return failed(ENXIO);
        // A port that is free in IPv4 may be taken in IPv6: then another one is tried.
        for (int attempt = 1;; ++attempt) {
            unique_fd v4, v6;
            std::uint16_t bound = port;
            int error = open_family(v4, family::v4, bound, index);
            if (error == 0) error = open_family(v6, family::v6, bound, index);
            if (error == EADDRINUSE && port == 0 && attempt < 100) continue;
            if (error != 0) return failed(error);
            if (!v4 && !v6) return failed(EAFNOSUPPORT);
            for (unique_fd const* fd : {&v4, &v6})
                if (*fd &&
                    !queue_.change(event_kind::readable, source(*fd), event_action::add, fd == &v4 ? v4_bit : v6_bit))
                    return failed(errno);
            v4_ = std::move(v4);
            v6_ = std::move(v6);
            port_ = bound;
            bind_index_ = index;
            is_shared_ = false;
            routes_changed();
            return bound;
        }
    }

    /// Uses the open sockets of `of` for another thread, until `close`. Only `of` has a descriptor to wait for.
    /// Returns: false if no descriptors are left; then this object is closed.
    bool share(basic_udp const& of) noexcept {
        close();
        for (auto const& [mine, its] : {std::pair(&v4_, &of.v4_), std::pair(&v6_, &of.v6_)}) {
            if (!*its) continue;
            mine->reset(::fcntl(its->get(), F_DUPFD_CLOEXEC, 0));
            if (*mine) continue;
            close();
            return false;
        }
        port_ = of.port_;
        many_ = of.many_;
        fwmark_ = of.fwmark_;
        bind_ = of.bind_;
        bind_index_ = of.bind_index_;
        patience_ = of.patience_;
        is_shared_ = true;
        if (std::exchange(changes_, of.changes_) != of.changes_) forget_paths();
        return true;
    }

    /// Sets how long one `send` waits in total for room; by default `send_patience`. Zero: `send` never waits, for the
    /// thread of an event loop. A datagram without room is then lost at once (`would_block`).
    void set_send_patience(duration at_most) noexcept { patience_ = at_most; }

    /// Closes all sockets.
    void close() noexcept {
        v4_.reset();
        v6_.reset();
        port_ = 0;
    }

    /// Sets the mark by which the system chooses routes or rules for datagrams, of open sockets and of sockets that are
    /// opened later; 0: none. Where the mark of a bound socket cannot change, as on OpenBSD, the sockets are opened
    /// again at their port. Returns: `not_supported` where there are no such marks; the status of errno. On failure all
    /// sockets keep the mark that they had; sockets that another process kept from being opened again stay closed.
    status set_fwmark(std::uint32_t mark) noexcept {
        if (mark == fwmark_) return status::ok;
        for (unique_fd const* fd : {&v4_, &v6_}) {
            int const error = *fd ? Calls::set_mark(fd->get(), mark) : Calls::can_mark(mark);
            if (error == 0) continue;
            if (v4_) (void)Calls::set_mark(v4_.get(), fwmark_);
            return error == EBUSY && port_ != 0 && !is_shared_ ? open_with_mark(mark) : status_of(error);
        }
        fwmark_ = mark;
        routes_changed();
        return status::ok;
    }

    /// Forgets what was learned of paths. To be called when routes or addresses of the host have changed.
    void routes_changed() noexcept {
        ++changes_;
        forget_paths();
    }

    /// Reads the sockets, both families if both have datagrams, and never blocks. A datagram that did not fit its
    /// buffer has length 0. Returns: the number of datagrams; `io_error` if a socket cannot be used.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        if (datagrams.empty() || port_ == 0) return std::size_t{0};
        unsigned const readable = find_readable();
        v6_first_ = !v6_first_;
        std::size_t filled = 0;
        bool usable = true;
        for (bool const v6 : {v6_first_, !v6_first_}) {
            if ((readable & (v6 ? v6_bit : v4_bit)) == 0) continue;
            usable = receive_from(v6 ? v6_ : v4_, datagrams, filled) && usable;
        }
        if (!usable && filled == 0) return status::io_error;
        return filled;
    }

    /// Sends datagrams, and stores each one's status in `why` and errno in `error`. Where the host refuses the source,
    /// or its routes lead through another interface than that of the source, `where.local` is cleared, and the routes
    /// choose the source. Where the host refuses the tos, the datagram leaves without one. An IPv4-mapped IPv6
    /// destination is replaced by the IPv4 one.
    /// `why`: ok; no_endpoint; not_supported (no socket of that family); would_block (no room in time, see
    /// `set_send_patience`);
    /// no_permission (a packet filter); io_error and others.
    /// Returns: how many datagrams left.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        give_up_at_ = {};
        std::size_t sent = 0;
        for (datagram& d : datagrams) {
            d.where.remote = d.where.remote.unmapped();
            d.why = status::ok;
            d.error = 0;
            if (!d.where.remote) d.why = status::no_endpoint;
            else if (!socket_for(d)) refuse(d, EAFNOSUPPORT);
            else if (control::has_source(d) && (has_bound_source(d) || !keeps_source(d))) d.where.local = {};
        }
        for (std::size_t next = 0; next < datagrams.size();) {
            if (datagrams[next].why != status::ok) {
                ++next;
                continue;
            }
            // Datagrams of one family that follow each other leave together.
            std::size_t count = 1;
            family const kind = datagrams[next].where.remote.address.kind;
            while (count < batch && next + count < datagrams.size() && datagrams[next + count].why == status::ok &&
                   datagrams[next + count].where.remote.address.kind == kind)
                ++count;
            sent += send_batch(datagrams.subspan(next, count));
            next += count;
        }
        return sent;
    }

private:
    using control = basic_control<Calls::numbers>;
    static constexpr std::size_t batch = 64; ///< messages in one system call
    static constexpr unsigned v4_bit = 1, v6_bit = 2;
    static constexpr int buffer_bytes = 7 << 20, least_buffer_bytes = 64 << 10;
    static constexpr std::size_t most_known = 64;    ///< destinations that are remembered; others share their places
    static constexpr unsigned most_questions = 2000; ///< to the routes in a second
    static constexpr int max_errors = 64;            ///< errors of earlier datagrams that one `receive` skips

    static std::uintptr_t source(unique_fd const& fd) noexcept { return static_cast<std::uintptr_t>(fd.get()); }
    static void refuse(datagram& d, int error) noexcept {
        d.why = error == ENOBUFS ? status::would_block : status_of(error);
        d.error = static_cast<std::uint16_t>(error);
    }
    status failed(int error) noexcept {
        error_ = error;
        return status_of(error);
    }
    status open_with_mark(std::uint32_t mark) noexcept {
        std::uint16_t const port = port_;
        std::uint32_t const before = std::exchange(fwmark_, mark);
        close();
        result<std::uint16_t> const opened = open(port);
        if (opened) return status::ok;
        fwmark_ = before;
        (void)open(port);
        return opened.why();
    }

    /// Whether the socket has the source of the datagram already. FreeBSD refuses an IP_SENDSRCADDR then.
    bool has_bound_source(datagram const& d) const noexcept {
        return !Calls::numbers.has_v4_interface && bind_ && d.where.remote.address.kind == family::v4;
    }
    unique_fd const& socket_for(datagram const& d) const noexcept {
        return d.where.remote.address.kind == family::v6 ? v6_ : v4_;
    }

    /// Opens the socket of one family at `port`; 0 means any free port, which is stored. `fd` stays closed where the
    /// host lacks the family or `bind_` is of the other one; that is no error. Returns: 0 or the errno.
    int open_family(unique_fd& fd, family kind, std::uint16_t& port, unsigned index) const noexcept {
        bool const is_v4 = kind == family::v4;
        if (bind_ && bind_.address.kind != kind) return 0;
        unique_fd made(Calls::socket(is_v4 ? AF_INET : AF_INET6));
        if (!made) return errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT ? 0 : errno;
        if (!protector_.allows(made.get())) return EPERM;
        if (int const error = configure(made.get(), is_v4, index); error != 0) return error;
        socket_address any{};
        socklen_t size =
            spell(bind_ ? endpoint{bind_.address, port, bind_.scope_id} : endpoint{{{}, kind}, port, 0}, any);
        if (Calls::bind(made.get(), &any.any, size) != 0)
            return !is_v4 && !bind_ && errno == EADDRNOTAVAIL ? 0 : errno; // IPv6 is switched off
        if (Calls::name(made.get(), &any.any, &size) != 0) return errno;
        port = read_address(any).port;
        fd = std::move(made);
        return 0;
    }

    int configure(int fd, bool is_v4, unsigned index) const noexcept {
        constexpr udp_numbers const& n = Calls::numbers;
        int const level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
        auto const set = [&](int at, int name, int value) { return Calls::set_option(fd, at, name, value) == 0; };
        if (!is_v4 && !set(IPPROTO_IPV6, IPV6_V6ONLY, 1)) return errno;
        // Without these, the routes choose the source, and marks of congestion are not seen.
        for (int const name :
             {is_v4 ? n.v4_receive_local : n.v6_receive_local, is_v4 ? n.v4_receive_tos : n.v6_receive_tos})
            if (name != 0) set(level, name, 1);
        if (fwmark_ != 0)
            if (int const error = Calls::set_mark(fd, fwmark_); error != 0) return error;
        if (index != 0)
            if (int const error = Calls::bind_interface(fd, is_v4, index); error != 0) return error;
        // A system refuses more than its limit (kern.ipc.maxsockbuf) instead of taking the limit.
        for (int const name : {SO_RCVBUF, SO_SNDBUF})
            for (int size = buffer_bytes; size >= least_buffer_bytes && !set(SOL_SOCKET, name, size);) size /= 2;
        return 0;
    }

    /// Which sockets have datagrams. An object that shares sockets has no queue that watches them.
    unsigned find_readable() const noexcept {
        if (is_shared_) return v4_bit | v6_bit;
        queue_event events[4];
        unsigned readable = 0;
        std::size_t const count = queue_.wait(events, duration{});
        for (std::size_t i = 0; i < count; ++i) readable |= static_cast<unsigned>(events[i].number);
        return readable;
    }

    /// Reads one socket until it is empty or the span is full, and counts in `filled`. An error of a datagram that was
    /// sent earlier counts as an empty socket. Returns: false if the socket cannot be used.
    bool receive_from(unique_fd const& fd, std::span<datagram> datagrams, std::size_t& filled) noexcept {
        udp_message messages[batch];
        iovec pieces[batch];
        socket_address addresses[batch];
        control controls[batch];
        for (int errors = 0; fd && filled < datagrams.size() && errors < max_errors;) {
            std::span<datagram> const wanted =
                datagrams.subspan(filled).first((std::min)(batch, datagrams.size() - filled));
            for (std::size_t i = 0; i < wanted.size(); ++i) {
                pieces[i] = {wanted[i].buffer + wanted[i].offset, wanted[i].capacity - wanted[i].offset};
                messages[i] = {};
                messages[i].header.msg_name = &addresses[i];
                messages[i].header.msg_namelen = sizeof addresses[i];
                messages[i].header.msg_iov = &pieces[i];
                messages[i].header.msg_iovlen = 1;
                controls[i].prepare(messages[i].header);
            }
            int const count = receive_many(fd.get(), std::span(messages).first(wanted.size()));
            if (count < 0 && is_of_earlier_datagram(errno)) {
                ++errors;
                continue;
            }
            if (count < 0) return errno != EBADF && errno != ENOTSOCK && errno != EINVAL && errno != EFAULT;
            for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
                datagram& d = wanted[i];
                bool const whole = (messages[i].header.msg_flags & MSG_TRUNC) == 0;
                d.length = whole ? static_cast<std::uint32_t>(messages[i].length) : 0;
                d.where.remote = messages[i].header.msg_namelen != 0 ? read_address(addresses[i]) : endpoint{};
                control::read(messages[i].header, d);
                d.why = status::ok;
            }
            filled += static_cast<std::size_t>(count);
            if (static_cast<std::size_t>(count) < wanted.size()) return true;
        }
        return true;
    }

    /// A destination, and whether a source is kept on the way to it.
    struct known_path {
        ip_address remote{}; ///< without a family: none
        local_source local{};
        bool keeps = false;
    };

    void forget_paths() noexcept {
        for (known_path& p : known_) p = {};
    }

    /// Whether the routes lead to the destination through the interface at which its datagrams arrive, as Linux's own
    /// WireGuard asks. For IPv6 it does not ask: a source is kept as long as the host has the address.
    bool keeps_source(datagram const& d) noexcept {
        ip_address const& remote = d.where.remote.address;
        if (remote.kind != family::v4) return true;
        std::uint32_t hash = 2166136261u;
        for (byte const octet : remote.octets) hash = (hash ^ octet) * 16777619u; // FNV-1a
        known_path& p = known_[hash % most_known];
        if (p.remote != remote || p.local != d.where.local) {
            if (!may_ask_routes()) return true;
            p = {remote, d.where.local, asks_routes(d.where)};
        }
        return p.keeps;
    }

    /// Whether the routes may be asked once more in this second. A question takes four system calls, and anyone can
    /// cause one by a datagram from a new address.
    bool may_ask_routes() noexcept {
        instant const now = clock_calls<CLOCK_MONOTONIC>::now();
        if (now - asked_since_ >= seconds(1)) {
            asked_since_ = now;
            asked_ = 0;
        }
        return asked_++ < most_questions;
    }

    /// Asks the host's routes, by a socket that is connected and sends nothing. If they cannot be asked, the source is
    /// kept, and the send tells what is wrong.
    bool asks_routes(path const& where) const noexcept {
        unique_fd const probe(Calls::socket(AF_INET));
        if (!probe || !protector_.allows(probe.get())) return true;
        if (fwmark_ != 0) (void)Calls::set_mark(probe.get(), fwmark_);
        if (bind_index_ != 0) (void)Calls::bind_interface(probe.get(), true, bind_index_);
        socket_address address{};
        socklen_t size = spell(where.remote, address);
        if (Calls::connect(probe.get(), &address.any, size) != 0) return true;
        size = sizeof address;
        if (Calls::name(probe.get(), &address.any, &size) != 0) return true;
        ip_address const chosen = read_address(address).address;
        // Where the system does not tell the interface of a received datagram, the source is kept while it is ours.
        std::uint32_t const arrived = where.local.interface_index;
        if (chosen == where.local.address) return true;
        return arrived != 0 ? Calls::interface_of(chosen) == arrived : Calls::interface_of(where.local.address) != 0;
    }

    static bool is_of_earlier_datagram(int error) noexcept {
        return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN;
    }

    int receive_many(int fd, std::span<udp_message> messages) noexcept {
        if (many_) {
            int const got = without_interruption([&] { return Calls::receive_many(fd, messages); });
            if (got >= 0 || !is_missing(errno)) return got;
            many_ = false;
        }
        int got = 0;
        for (udp_message& m : messages) {
            ssize_t const size = without_interruption([&] { return Calls::receive(fd, m.header); });
            if (size < 0) return got > 0 ? got : -1;
            m.length = static_cast<std::size_t>(size);
            ++got;
        }
        return got;
    }

    /// Sends datagrams of one family. Each round sends some, gives one up, takes away a source or a tos, or waits until
    /// `give_up_at_` at most. Returns: how many datagrams left.
    std::size_t send_batch(std::span<datagram> datagrams) noexcept {
        udp_message messages[batch];
        iovec pieces[batch];
        socket_address addresses[batch];
        control controls[batch];
        int const fd = socket_for(datagrams[0]).get();
        for (std::size_t i = 0; i < datagrams.size(); ++i) {
            datagram const& d = datagrams[i];
            pieces[i] = {d.buffer + d.offset, d.length};
            messages[i].header.msg_name = &addresses[i];
            messages[i].header.msg_namelen = spell(d.where.remote, addresses[i]);
            messages[i].header.msg_iov = &pieces[i];
            messages[i].header.msg_iovlen = 1;
            controls[i].write(messages[i].header, d);
        }
        std::size_t sent = 0;
        for (std::size_t done = 0; done < datagrams.size();) {
            int const count = send_many(fd, std::span(messages).first(datagrams.size()).subspan(done));
            if (count > 0) {
                sent += static_cast<std::size_t>(count);
                done += static_cast<std::size_t>(count);
                continue;
            }
            int const error = count == 0 ? EIO : errno;
            datagram& d = datagrams[done];
            if ((error == EAGAIN || error == ENOBUFS) && wait_for_room(fd, error)) continue;
            if (give_way(error, d)) {
                controls[done].write(messages[done].header, d);
                continue;
            }
            refuse(d, error);
            ++done;
        }
        return sent;
    }

    int send_many(int fd, std::span<udp_message> messages) noexcept {
        if (many_ && messages.size() > 1) {
            int const sent = without_interruption([&] { return Calls::send_many(fd, messages); });
            if (sent >= 0 || !is_missing(errno)) return sent;
            many_ = false;
        }
        return without_interruption([&] { return Calls::send(fd, messages[0].header); }) >= 0 ? 1 : -1;
    }
    static bool is_missing(int error) noexcept { return error == ENOSYS || error == EOPNOTSUPP; }

    /// Waits until the socket, or with ENOBUFS the interface, may have room again. Returns: false if this send has
    /// waited for `patience_`.
    bool wait_for_room(int fd, int error) noexcept {
        if (patience_ <= duration{}) return false;
        instant const asked = Calls::now();
        if (give_up_at_ == instant{}) give_up_at_ = asked + patience_;
        if (asked >= give_up_at_) return false;
        // No call reports when the queue of an interface has room.
        return error == ENOBUFS ? Calls::pause() : Calls::wait_writable(fd, give_up_at_ - asked);
    }

    /// Takes away what the host may have refused the datagram for: its source, else its tos. Returns: false if it has
    /// neither.
    static bool give_way(int error, datagram& d) noexcept {
        bool const concerns_source = error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH ||
                                     error == EHOSTUNREACH || error == ENXIO || error == ENETDOWN;
        if (concerns_source && control::has_source(d)) {
            d.where.local = {};
            return true;
        }
        if ((error != EINVAL && error != ENOPROTOOPT) || d.tos == 0) return false;
        d.tos = 0;
        return true;
    }

    event_queue<Calls> queue_{};
    unique_fd v4_{};
    unique_fd v6_{};
    endpoint bind_{};
    socket_protector protector_{};
    char const* bind_name_ = nullptr;
    unsigned bind_index_ = 0; ///< of the interface that open sockets are bound to
    std::uint32_t fwmark_ = 0;
    std::uint16_t port_ = 0;
    bool many_;              ///< several messages in one call are wanted, and the system has that
    bool v6_first_ = false;  ///< whether this receive begins with the IPv6 socket
    bool is_shared_ = false; ///< another object opened the sockets
    int error_ = 0;
    std::uint32_t changes_ = 0; ///< calls of `routes_changed`, counted by the object that opened the sockets
    known_path known_[most_known];
    instant asked_since_{};
    unsigned asked_ = 0;                ///< questions to the routes since `asked_since_`
    duration patience_ = send_patience; ///< the longest wait of one send for room
    instant give_up_at_{};              ///< of this send; zero until it has to wait
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
