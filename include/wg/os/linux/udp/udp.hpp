// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on one port, in batches. An answer leaves from the address that its peer has sent to (ip(7),
// ipv6(7), udp(7)). Folder: os/linux/udp. One thread at a time.
//
// An engine has a second socket for handshake messages on the same port, where the kernel can distinguish them from
// data. A flood of handshake messages then fills only the queue of that socket, and no data is lost.
//
// Datagrams may be fragmented, as those of Linux's own WireGuard: the host fragments a datagram that is longer than the
// known path MTU, and a router may fragment IPv4.
#ifndef WG_OS_LINUX_UDP_UDP_HPP
#define WG_OS_LINUX_UDP_UDP_HPP

#include "../../../policy.hpp"
#include "../../offloads.hpp"
#include "flood_filter.hpp"
#include "sender.hpp"

#include <algorithm>
#include <sys/timerfd.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// Models `udp_socket`. A test replaces `Calls`.
template <class Calls = udp_calls> class basic_udp {
public:
    /// The room in bytes that a received datagram needs: with UDP_GRO the kernel joins datagrams up to this size.
    static constexpr std::size_t receive_bytes = 65535;
    /// Datagrams that one message of a send holds at most.
    static constexpr std::size_t max_segments = udp_detail::max_segments;
    /// How long one `send` waits in total for room in full socket buffers before it drops datagrams, unless
    /// `set_send_patience` says otherwise.
    static constexpr duration send_patience = udp_detail::send_patience;
    static constexpr bool binds_to_interfaces = true; ///< `set_bind_interface` can succeed
    /// How long the socket remembers what it learned of paths, if the program does not call `routes_changed`. Linux
    /// forgets a path MTU after 10 minutes.
    static constexpr duration memory_of_paths = udp_detail::memory_of_paths;

    /// While many handshake messages pass the filter, their sockets are left alone for this long after each time that
    /// they were read empty.
    static constexpr duration handshake_pause = milliseconds(4);

    /// Has no open socket. `wanted` says which offloads may be used.
    explicit basic_udp(offloads const& wanted = {}) noexcept
        : epoll_(::epoll_create1(EPOLL_CLOEXEC)), many_(wanted.batches), sender_(wanted.batches) {
        opener_.gso = wanted.gso;
        opener_.gro = wanted.gro;
    }

    /// A descriptor that polls readable while a datagram waits. It stays the same for the object's life.
    int fd() const noexcept { return epoll_.get(); }
    /// Whether the kernel had a descriptor for the object.
    explicit operator bool() const noexcept { return static_cast<bool>(epoll_); }
    /// The port, or 0 while closed.
    std::uint16_t port() const noexcept { return port_; }

    /// Binds sockets that are opened later to an address of this host; its port is not used. Then only the socket of
    /// this address's family is opened. An address without a family: all addresses.
    void set_bind_address(endpoint const& where) noexcept { opener_.bind = where; }
    /// Binds sockets that are opened later to this interface (SO_BINDTODEVICE). `name` must outlive this object; null:
    /// all interfaces.
    void set_bind_interface(char const* name) noexcept { opener_.bind_name = name; }
    /// Has the program allow each socket that is opened later, before the socket is bound; `open` returns
    /// `no_permission` if the program refuses one. On Android a protected socket does not send into the tunnel.
    void set_protector(socket_protector const& by) noexcept { opener_.protector = by; }
    /// Binds open sockets to the new interface, if an interface with another index has the given name now.
    /// If the kernel refuses, the next call tries again.
    void refresh_bind() noexcept {
        if (opener_.bind_name == nullptr) return;
        unsigned const index = ::if_nametoindex(opener_.bind_name);
        if (index == 0 || index == bind_index_) return;
        for (family_sockets* s : {&v4_, &v6_}) {
            if (!s->fd) continue;
            if (Calls::bind_device(s->fd.get(), opener_.bind_name) != 0) return;
            reopen_handshakes(*s);
        }
        bind_index_ = index;
    }
    /// The errno of the last `open` that failed.
    int error() const noexcept { return error_; }

    /// Opens sockets for both families at `port`; 0: a free port. On failure nothing has changed, and a port that was
    /// open stays open.
    /// Returns: the port; `address_in_use`; `no_permission`, also if the program does not allow a socket;
    /// `not_supported` if the host has neither IPv4 nor IPv6; `io_error` and others, and `error` then has the errno,
    /// such as EADDRNOTAVAIL or ENODEV after `set_bind_...`.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (port != 0 && port == port_) return port;
        if (!epoll_) return status::io_error;
        error_ = 0;
        unsigned const bind_index = opener_.bind_name != nullptr ? ::if_nametoindex(opener_.bind_name) : 0;
        // A port that is free in IPv4 may be taken in IPv6: then another one is tried.
        for (int attempt = 1;; ++attempt) {
            family_sockets v4, v6;
            std::uint16_t bound = port;
            int error = opener_.open(v4, AF_INET, bound);
            if (error == 0) error = opener_.open(v6, AF_INET6, bound);
            if (error == EADDRINUSE && port == 0 && attempt < 100) continue;
            error_ = error;
            if (error != 0) return status_of(error);
            if (!v4.fd && !v6.fd) return status::not_supported;
            unsigned number = 0;
            for (family_sockets const* s : {&v4, &v6}) {
                for (unique_fd const* fd : {&s->fd, &s->handshakes}) {
                    if (*fd && !watch(epoll_.get(), fd->get(), EPOLLIN, number)) return status::io_error;
                    ++number;
                }
            }
            v4_ = std::move(v4);
            v6_ = std::move(v6);
            port_ = bound;
            bind_index_ = bind_index;
            is_shared_ = false;
            flood_.forget();
            is_bound_ = udp_detail::is_bound_to_interface(v4_.fd ? v4_.fd.get() : v6_.fd.get());
            routes_changed();
            return bound;
        }
    }

    /// Uses the open sockets of `of` for another thread, until `close`. This object must be closed before `of` is. Only
    /// `of` has a descriptor to wait for. Returns: false if no descriptors are left; then this object is closed.
    bool share(basic_udp const& of) noexcept {
        close();
        for (auto const& [mine, its] : {std::pair(&v4_, &of.v4_), std::pair(&v6_, &of.v6_)}) {
            if (!its->fd) continue;
            mine->fd.reset(::fcntl(its->fd.get(), F_DUPFD_CLOEXEC, 0));
            mine->segments = its->segments;
            if (!mine->fd) {
                close();
                return false;
            }
        }
        port_ = of.port_;
        is_bound_ = of.is_bound_;
        opener_.fwmark = of.opener_.fwmark;
        many_ = of.many_;
        sender_.share(of.sender_);
        is_shared_ = true;
        if (std::exchange(changes_, of.changes_) != of.changes_) sender_.forget_paths();
        return true;
    }

    /// Sets how long one `send` waits in total for room; by default `send_patience`. Zero: `send` never waits, for the
    /// thread of an event loop. A datagram without room is then lost at once (`would_block`).
    void set_send_patience(duration at_most) noexcept { sender_.set_patience(at_most); }

    /// Closes all sockets.
    void close() noexcept {
        v4_ = {};
        v6_ = {};
        port_ = 0;
        readable_ = 0;
        flood_.forget();
    }

    /// Sets the mark (SO_MARK) of open sockets and of sockets that are opened later. Returns: the status of errno; on
    /// failure all sockets keep the mark that they had.
    status set_fwmark(std::uint32_t mark) noexcept {
        for (family_sockets const* s : {&v4_, &v6_}) { // the sockets of handshake messages send nothing
            if (!s->fd || Calls::set_option(s->fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(mark)) == 0) continue;
            int const error = errno;
            if (v4_.fd) Calls::set_option(v4_.fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(opener_.fwmark));
            return status_of(error);
        }
        opener_.fwmark = mark;
        routes_changed();
        return status::ok;
    }

    /// Forgets what was learned of paths. To be called when routes, rules or addresses of the host have changed.
    void routes_changed() noexcept {
        ++changes_;
        sender_.forget_paths();
    }

    /// Reads the data sockets, both families if both have datagrams, and never blocks. A datagram that did not fit its
    /// buffer has length 0. Where handshake messages have no socket of their own, they arrive here too.
    /// Returns: the number of datagrams; `io_error`.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        find_readable();
        v6_first_ = !v6_first_;
        return receive_of(&family_sockets::fd, data_bits, datagrams);
    }

    /// Reads the sockets of handshake messages if the last `receive` found them readable. They can bring other messages
    /// as well, because the kernel sorts joined datagrams by the first one.
    /// Returns: as `receive`.
    result<std::size_t> receive_handshakes(std::span<datagram> datagrams) noexcept {
        if (!handshakes_ready()) return std::size_t{0};
        auto const received = receive_of(&family_sockets::handshakes, handshake_bits, datagrams);
        if (flood_.passes_many_handshakes() && received && *received < datagrams.size()) pause_handshakes();
        return received;
    }

    /// Whether the last `receive` found the sockets of handshake messages readable.
    bool handshakes_ready() const noexcept { return (readable_ & handshake_bits) != 0; }

    /// From the next `open` on, handshake messages have sockets of their own where the kernel can sort them. Only for a
    /// program that calls `receive_handshakes` too, as an engine does.
    void separate_handshakes() noexcept { opener_.separates_handshakes = true; }
    /// Whether handshake messages have sockets of their own.
    bool separates_handshakes() const noexcept { return v4_.handshakes || v6_.handshakes; }

    /// Counts messages of the last receives: data messages, those of them that no peer needed, and handshake messages.
    /// If there are so many that they are a flood, the kernel filters datagrams by source from now on.
    void note_received(std::size_t data, std::size_t useless, std::size_t handshakes) noexcept {
        if (is_shared_ || !flood_.add({data, useless, handshakes})) return;
        flood_filter::sockets const of{{v4_.fd.get(), v6_.fd.get()}, {v4_.handshakes.get(), v6_.handshakes.get()}};
        instant const at = Calls::now();
        if (flood_.end_window(of, at)) flood_.apply(of, at);
    }
    /// Exempts `source`, which has sent authentic data, from the filter.
    void note_authentic(ip_address const& source) noexcept { flood_.trust(source); }
    /// Tells which filters are attached.
    flood_filter const& flood() const noexcept { return flood_; }

    /// Sends datagrams, and stores each one's status in `why` and errno in `error`. Where the kernel or card can cut a
    /// message, consecutive datagrams of one path, tos and length (the last one may be shorter) leave as one message.
    /// `return_route` says which part of `where.local` is kept. Where nothing is kept, or the address is no longer the
    /// host's own, `where.local` is cleared, and the host's routes choose the source. Where the host refuses the tos,
    /// the datagram leaves without one. An IPv4-mapped IPv6 destination is replaced by the IPv4 one.
    /// `why`: ok; no_endpoint; not_supported (no socket of that family); would_block (no room in time, see
    /// `set_send_patience`);
    /// no_permission (a packet filter); io_error and others.
    /// Returns: how many datagrams left.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        sender_.begin({opener_.fwmark, port_, is_bound_});
        for (datagram& d : datagrams) {
            if (!d.where.remote) d.why = status::no_endpoint;
            if (is_mapped(d.where.remote.address)) d.where.remote = without_mapping(d.where.remote);
        }
        return sender_.send_family(v4_, family::v4, datagrams) + sender_.send_family(v6_, family::v6, datagrams);
    }

private:
    using family_sockets = udp_detail::family_sockets;
    static constexpr std::size_t batch = udp_detail::batch;

    /// Bits of `readable_`: 1 << the number under which `epoll_` watches the socket.
    static constexpr unsigned v4_data = 1, v4_handshakes = 2, v6_data = 4, v6_handshakes = 8;
    static constexpr unsigned timer_number = 4, timer_bit = 1u << timer_number;
    static constexpr unsigned data_bits = v4_data | v6_data, handshake_bits = v4_handshakes | v6_handshakes;

    void reopen_handshakes(family_sockets& s) noexcept {
        if (!s.handshakes) return;
        bool const is_v4 = &s == &v4_;
        flood_.forget_handshakes();
        opener_.reopen_handshakes(s, is_v4);
        if (!s.handshakes || watch(epoll_.get(), s.handshakes.get(), EPOLLIN, is_v4 ? 1 : 3)) return;
        s.handshakes.reset();
        opener_.stop_sharing(s.fd.get());
    }

    /// Stops watching the sockets of handshake messages until `timer_` expires. In a flood the event of each message
    /// would wake the thread, which takes time from the tunnel's packets. Without a timer the events stay.
    void pause_handshakes() noexcept {
        if (!timer_) {
            timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
            if (timer_ && !watch(epoll_.get(), timer_.get(), EPOLLIN, timer_number)) timer_.reset();
        }
        itimerspec due{};
        due.it_value.tv_nsec = converted<long>(handshake_pause.nanoseconds);
        if (timer_ && ::timerfd_settime(timer_.get(), 0, &due, nullptr) == 0) watch_handshakes(0);
    }

    void watch_handshakes(std::uint32_t events) noexcept {
        if (v4_.handshakes) (void)watch(epoll_.get(), v4_.handshakes.get(), events, 1);
        if (v6_.handshakes) (void)watch(epoll_.get(), v6_.handshakes.get(), events, 3);
    }

    /// Finds out which sockets have datagrams. An object that shares sockets has no epoll descriptor that watches them.
    void find_readable() noexcept {
        if (is_shared_) {
            readable_ = data_bits;
            return;
        }
        epoll_event events[timer_number + 1];
        int const count = ::epoll_wait(epoll_.get(), events, timer_number + 1, 0);
        readable_ = 0;
        for (int i = 0; i < count; ++i) readable_ |= 1u << events[i].data.u64;
        if ((readable_ & timer_bit) == 0) return;
        std::uint64_t expirations;
        if (::read(timer_.get(), &expirations, sizeof expirations) <= 0) return;
        watch_handshakes(EPOLLIN);
        readable_ |= handshake_bits;
    }

    /// Reads those of the sockets `which` that `find_readable` found, until the span is full.
    result<std::size_t> receive_of(unique_fd family_sockets::*which, unsigned bits,
                                   std::span<datagram> datagrams) noexcept {
        std::size_t filled = 0;
        for (bool const v6 : {v6_first_, !v6_first_}) {
            unique_fd const& fd = (v6 ? v6_ : v4_).*which;
            bool const readable = (readable_ & bits & (v6 ? v6_data | v6_handshakes : v4_data | v4_handshakes)) != 0;
            if (!fd || !readable || filled == datagrams.size()) continue;
            if (!receive_from(fd.get(), datagrams, filled) && filled == 0) return status::io_error;
        }
        return filled;
    }

    /// Reads one socket until it is empty or the span is full, and counts in `filled`. An error of a datagram that was
    /// sent earlier counts as an empty socket. Returns: false if the socket cannot be used.
    bool receive_from(int fd, std::span<datagram> datagrams, std::size_t& filled) noexcept {
        mmsghdr messages[batch];
        iovec pieces[batch];
        socket_address addresses[batch];
        control_messages controls[batch];
        while (filled < datagrams.size()) {
            std::span<datagram> const wanted =
                datagrams.subspan(filled).first((std::min)(batch, datagrams.size() - filled));
            for (std::size_t i = 0; i < wanted.size(); ++i) {
                pieces[i] = {wanted[i].buffer + wanted[i].offset, wanted[i].capacity - wanted[i].offset};
                messages[i] = {};
                messages[i].msg_hdr.msg_name = &addresses[i];
                messages[i].msg_hdr.msg_namelen = sizeof addresses[i];
                messages[i].msg_hdr.msg_iov = &pieces[i];
                messages[i].msg_hdr.msg_iovlen = 1;
                controls[i].prepare(messages[i].msg_hdr);
            }
            int const count = receive_many(fd, messages, converted<unsigned>(wanted.size()));
            if (count < 0) return errno != EBADF && errno != ENOTSOCK && errno != EINVAL && errno != EFAULT;
            for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
                datagram& d = wanted[i];
                bool const whole = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) == 0;
                d.length = whole ? messages[i].msg_len : 0;
                d.where.remote = messages[i].msg_hdr.msg_namelen != 0 ? read_address(addresses[i]) : endpoint{};
                if (!control_messages::read(messages[i].msg_hdr, d)) {
                    Calls::set_option(fd, IPPROTO_UDP, UDP_GRO, 0); // from now on without; this datagram is lost
                    d.length = 0;
                }
                d.why = status::ok;
            }
            filled += static_cast<std::size_t>(count);
            if (static_cast<std::size_t>(count) < wanted.size()) return true;
        }
        return true;
    }

    int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (many_) {
            int const got = without_interruption([&] { return Calls::receive_many(fd, messages, count); });
            if (got >= 0 || errno != ENOSYS) return got;
            many_ = false;
        }
        int got = 0;
        for (; got < static_cast<int>(count); ++got) {
            ssize_t const size =
                without_interruption([&] { return ::recvmsg(fd, &messages[got].msg_hdr, MSG_DONTWAIT); });
            if (size < 0) return got > 0 ? got : -1;
            messages[got].msg_len = static_cast<unsigned>(size);
        }
        return got;
    }

    unique_fd epoll_;
    unique_fd timer_{}; ///< expires at the end of `handshake_pause`
    family_sockets v4_{};
    family_sockets v6_{};
    udp_detail::socket_opener<Calls> opener_{};
    std::uint16_t port_ = 0;
    bool many_;                 ///< recvmmsg is wanted, and the kernel has it
    bool is_bound_ = false;     ///< to an interface
    bool v6_first_ = false;     ///< whether this receive begins with the IPv6 sockets
    bool is_shared_ = false;    ///< another object opened the sockets
    unsigned readable_ = 0;     ///< sockets that the last `receive` found readable
    unsigned bind_index_ = 0;   ///< of the interface that open sockets are bound to
    std::uint32_t changes_ = 0; ///< calls of `routes_changed`, counted by the object that opened the sockets
    int error_ = 0;
    flood_filter flood_{};
    udp_detail::sender<Calls> sender_;
};

/// The UDP socket of a Linux host.
using udp = basic_udp<>;
static_assert(udp_socket<udp>);

}}} // namespace wg::WG_ABI::os

#endif
