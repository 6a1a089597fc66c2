// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on one port, in batches, with sticky source addresses (ip(7), ipv6(7), udp(7)).
// Layer 7 (Linux); one thread at a time.
//
// In an engine handshake messages have a socket of their own on the same port, where the kernel can tell them from
// data. A flood of handshake messages then fills only the queue of that socket, and data is not lost.
//
// Datagrams may be fragmented, as those of Linux's own WireGuard: the host fragments what is longer than the path MTU
// that it knows, and a router may fragment IPv4.
#ifndef WG_OS_LINUX_UDP_UDP_HPP
#define WG_OS_LINUX_UDP_UDP_HPP

#include "../../../policy.hpp"
#include "../fd.hpp"
#include "../net_if.hpp"
#include "../offloads.hpp"
#include "flood_filter.hpp"
#include "return_route.hpp"
#include "segment_limits.hpp"
#include "udp_control.hpp"

#include <algorithm>
#include <linux/filter.h>
#include <poll.h>
#include <time.h>

namespace wg { inline namespace WG_ABI { namespace os {

/// The system calls that may be missing or refuse; a test puts its own in their place.
struct udp_calls {
    static int socket(int domain) noexcept { return ::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept { return ::bind(fd, address, size); }
    static int set_option(int fd, int level, int name, int value) noexcept {
        return ::setsockopt(fd, level, name, &value, sizeof value);
    }
    static int steer(int fd, sock_fprog const& program) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
    }
    static int bind_device(int fd, char const* name) noexcept {
        return ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, static_cast<socklen_t>(std::strlen(name)));
    }
    static int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::sendmmsg(fd, messages, count, MSG_NOSIGNAL);
    }
    static int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr);
    }
    static int wait_writable(int fd, timespec const& at_most) noexcept {
        pollfd watched{fd, POLLOUT, 0};
        return ::ppoll(&watched, 1, &at_most, nullptr);
    }
    static instant now() noexcept {
        timespec clock{};
        ::clock_gettime(CLOCK_MONOTONIC, &clock);
        return {std::int64_t{1'000'000'000} * clock.tv_sec + clock.tv_nsec};
    }
};

/// Models `udp_socket`.
template <class Calls = udp_calls> class basic_udp {
public:
    /// With UDP_GRO the kernel joins datagrams up to this.
    static constexpr std::size_t receive_bytes = 65535;
    static constexpr std::size_t max_segments = 64; ///< of one send; Linux 4.18's limit
    /// How long one `send` waits, all in all, for room in full socket buffers before it drops.
    static constexpr duration send_patience = milliseconds(5);
    /// How long the socket remembers what it learned of paths, if the program does not call `routes_changed`. Linux
    /// forgets a path MTU after 10 minutes.
    static constexpr duration memory_of_paths = seconds(300);

    explicit basic_udp(offloads const& wanted = {}) noexcept
        : epoll_(::epoll_create1(EPOLL_CLOEXEC)), gso_(wanted.gso), gro_(wanted.gro), many_(wanted.batches) {}

    /// A descriptor that polls readable while a datagram waits; the same one for all of the object's life.
    int fd() const noexcept { return epoll_.get(); }
    /// The port, or 0 while closed.
    std::uint16_t port() const noexcept { return port_; }

    /// Sockets that are opened from now on are bound to an address of this host, its port aside; then only the socket
    /// of its family is opened. An address of no family: to all addresses.
    void set_bind_address(endpoint const& where) noexcept { bind_ = where; }
    /// Sockets that are opened from now on use this interface alone (SO_BINDTODEVICE). `name` outlives this.
    void set_bind_interface(char const* name) noexcept { bind_name_ = name; }
    /// The interface may have been made anew under its name: open sockets are bound to the new one. If the kernel
    /// refuses, the next call tries again.
    void refresh_bind() noexcept {
        if (bind_name_ == nullptr) return;
        unsigned const index = ::if_nametoindex(bind_name_);
        if (index == 0 || index == bind_index_) return;
        for (side* s : {&v4_, &v6_}) {
            if (!s->fd) continue;
            if (Calls::bind_device(s->fd.get(), bind_name_) != 0) return;
            reopen_beside(*s);
        }
        bind_index_ = index;
    }
    /// The errno of the last `open` that failed.
    int error() const noexcept { return error_; }

    /// `status::address_in_use`, `no_permission`, `not_supported` (neither IPv4 nor IPv6 here) or `io_error`, for which
    /// `error` has the errno, such as EADDRNOTAVAIL and ENODEV after `set_bind_...`; then nothing has changed. The port
    /// that is open already stays open.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (port != 0 && port == port_) return port;
        if (!epoll_) return status::io_error;
        error_ = 0;
        unsigned const bind_index = bind_name_ != nullptr ? ::if_nametoindex(bind_name_) : 0;
        // A free IPv4 port may be taken in IPv6: then another is tried.
        for (int attempt = 1;; ++attempt) {
            side v4, v6;
            std::uint16_t bound = port;
            int error = open_side(v4, AF_INET, bound);
            if (error == 0) error = open_side(v6, AF_INET6, bound);
            if (error == EADDRINUSE && port == 0 && attempt < 100) continue;
            error_ = error;
            if (error != 0) return status_of(error);
            if (!v4.fd && !v6.fd) return status::not_supported;
            unsigned number = 0;
            for (side const* s : {&v4, &v6}) {
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
            bound_ = bound_to_interface(v4_.fd ? v4_.fd.get() : v6_.fd.get());
            routes_changed();
            return bound;
        }
    }

    /// Takes part in what `of` has open, for a thread of its own; to be closed before that is. Only `of` can be waited
    /// for. False: no descriptors are left, and this is closed.
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
        bound_ = of.bound_;
        fwmark_ = of.fwmark_;
        many_ = of.many_;
        is_shared_ = true;
        if (std::exchange(changes_, of.changes_) != of.changes_) forget_paths();
        return true;
    }

    void close() noexcept {
        v4_ = {};
        v6_ = {};
        port_ = 0;
        readable_ = 0;
        flood_.forget();
    }

    /// SO_MARK of open sockets and of those opened later. On failure all keep what they had.
    status set_fwmark(std::uint32_t mark) noexcept {
        for (side const* s : {&v4_, &v6_}) { // the sockets of handshake messages send nothing
            if (!s->fd || Calls::set_option(s->fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(mark)) == 0) continue;
            int const error = errno;
            if (v4_.fd) Calls::set_option(v4_.fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(fwmark_));
            return status_of(error);
        }
        fwmark_ = mark;
        routes_changed();
        return status::ok;
    }

    /// Forgets what was learned of paths: routes, rules or addresses of the host have changed.
    void routes_changed() noexcept {
        ++changes_;
        forget_paths();
    }

    /// Reads the sockets of data: both families in turn where both have datagrams. A datagram that did not fit arrives
    /// with length 0. Where handshake messages have no socket of their own, they arrive here too.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        find_readable();
        v6_first_ = !v6_first_;
        return receive_of(&side::fd, data_bits, datagrams);
    }

    /// Reads the sockets of handshake messages, as far as the last `receive` found them readable. They can bring other
    /// messages as well, since the kernel sorts datagrams that it has joined by the first of them.
    result<std::size_t> receive_handshakes(std::span<datagram> datagrams) noexcept {
        return handshakes_ready() ? receive_of(&side::handshakes, handshake_bits, datagrams)
                                  : result<std::size_t>(std::size_t{0});
    }

    /// Whether the last `receive` found the sockets of handshake messages readable.
    bool handshakes_ready() const noexcept { return (readable_ & handshake_bits) != 0; }

    /// From the next `open` on handshake messages have sockets of their own where the kernel can sort them. To be
    /// called by a program that calls `receive_handshakes` as well; an engine does.
    void separate_handshakes() noexcept { wants_handshakes_apart_ = true; }
    /// Whether handshake messages have sockets of their own.
    bool separates_handshakes() const noexcept { return v4_.handshakes || v6_.handshakes; }

    /// Counts messages of the last receives: data, useless data, and handshake messages. When there are so many that
    /// they are a flood, the kernel filters them by source.
    void note_received(std::size_t data, std::size_t useless, std::size_t handshakes) noexcept {
        if (is_shared_ || !flood_.add({data, useless, handshakes})) return;
        flood_filter::sockets const of{{v4_.fd.get(), v6_.fd.get()}, {v4_.handshakes.get(), v6_.handshakes.get()}};
        instant const at = now();
        if (flood_.judge(of, at)) flood_.apply(of, at);
    }
    /// `source` has sent authentic data, so a filter lets pass what comes from there.
    void note_authentic(ip_address const& source) noexcept { flood_.trust(source); }
    /// Tells which filters are in place.
    flood_filter const& flood() const noexcept { return flood_; }

    /// Datagrams that follow each other on one path with one tos and length (the last may be shorter) leave as one
    /// message that the kernel or the card cuts, where it can. `return_route` says what of `where.local` is kept.
    /// Where nothing is kept, or the address is no longer the host's own, `where.local` is cleared, and routes choose
    /// the source. Where the host takes no tos, the datagram leaves without. An IPv4-mapped IPv6 destination is IPv4.
    /// `why`: ok, no_endpoint, not_supported (no socket of that family), would_block (no room within
    /// `send_patience`), no_permission (a packet filter), io_error and others.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        give_up_at_ = {};
        sending_at_ = now();
        if (learned_ == instant{}) learned_ = sending_at_;
        if (sending_at_ - learned_ >= memory_of_paths) forget_paths();
        for (datagram& d : datagrams) {
            if (!d.where.remote) d.why = status::no_endpoint;
            if (is_mapped(d.where.remote.address)) d.where.remote = without_mapping(d.where.remote);
        }
        return send_family(v4_, family::v4, datagrams) + send_family(v6_, family::v6, datagrams);
    }

private:
    static constexpr std::size_t batch = 64;         ///< messages in a call
    static constexpr std::size_t most_planned = 256; ///< datagrams in them, when sent
    static constexpr int buffer_bytes = 7 << 20;
    /// Holds about 5,000 messages of 148 bytes: the kernel doubles this number, and counts 768 bytes for a message.
    static constexpr int handshake_buffer_bytes = 2 << 20;

    /// The sockets of one family.
    struct side {
        unique_fd fd{};         ///< data, and all that is sent
        unique_fd handshakes{}; ///< handshake messages; none where the kernel cannot sort them
        bool segments = false;  ///< UDP_SEGMENT is known and has not failed for good
    };

    /// Bits of `readable_`: the numbers under which `open` has `epoll_` watch the sockets.
    static constexpr unsigned v4_data = 1, v4_handshakes = 2, v6_data = 4, v6_handshakes = 8;
    static constexpr unsigned data_bits = v4_data | v6_data, handshake_bits = v4_handshakes | v6_handshakes;

    /// Messages in the making: each has one datagram, or several that follow each other. Those that do so in memory too
    /// are one piece.
    struct plan {
        mmsghdr messages[batch];
        socket_address addresses[batch];
        control_messages controls[batch];
        iovec pieces[most_planned];
        datagram* planned[most_planned];
        local_source sources[batch]; ///< what the kernel is told
        std::uint16_t begins[batch]; ///< in `planned`
        std::size_t message_count = 0;
        std::size_t piece_count = 0;
        std::size_t planned_count = 0;

        std::span<datagram*> datagrams_of(std::size_t message) noexcept {
            std::size_t const end = message + 1 < message_count ? begins[message + 1] : planned_count;
            return {planned + begins[message], end - begins[message]};
        }
        void write_control(std::size_t message) noexcept {
            auto const parts = datagrams_of(message);
            controls[message].write(messages[message].msg_hdr, *parts[0], sources[message],
                                    parts.size() > 1 ? parts[0]->length : 0);
        }
        void begin_message(datagram& d, local_source const& source) noexcept {
            msghdr& header = messages[message_count].msg_hdr;
            header = {};
            header.msg_name = &addresses[message_count];
            header.msg_namelen = spell(d.where.remote, addresses[message_count]);
            header.msg_iov = &pieces[piece_count];
            sources[message_count] = source;
            begins[message_count++] = static_cast<std::uint16_t>(planned_count);
        }
        void append(datagram& d) noexcept {
            msghdr& header = messages[message_count - 1].msg_hdr;
            byte* const from = d.buffer + d.offset;
            iovec* const before = header.msg_iovlen != 0 ? &pieces[piece_count - 1] : nullptr;
            if (before != nullptr && static_cast<byte*>(before->iov_base) + before->iov_len == from) {
                before->iov_len += d.length;
            } else {
                pieces[piece_count++] = {from, d.length};
                ++header.msg_iovlen;
            }
            planned[planned_count++] = &d;
        }
    };

    /// 0, or the errno. Leaves `s` closed, which is no error, where the host lacks the family.
    int open_side(side& s, int domain, std::uint16_t& port) const noexcept {
        bool const is_v4 = domain == AF_INET;
        family const kind = is_v4 ? family::v4 : family::v6;
        if (bind_ && bind_.address.kind != kind) return 0;
        unique_fd fd(Calls::socket(domain));
        if (!fd) return errno == EAFNOSUPPORT ? 0 : errno;
        if (int const error = configure(fd.get(), is_v4, buffer_bytes, gro_); error != 0) return error;
        bool const segments = gso_ && Calls::set_option(fd.get(), IPPROTO_UDP, UDP_SEGMENT, 0) == 0; // fails if unknown
        socket_address any{};
        endpoint const wanted = bind_ ? endpoint{bind_.address, port, bind_.scope_id} : endpoint{{{}, kind}, port, 0};
        socklen_t size = spell(wanted, any);
        if (Calls::bind(fd.get(), &any.any, size) != 0)
            return !is_v4 && !bind_ && errno == EADDRNOTAVAIL ? 0 : errno; // IPv6 is switched off
        if (::getsockname(fd.get(), &any.any, &size) != 0) return errno;
        port = read_address(any).port;
        s.handshakes = open_beside(fd.get(), is_v4, any, size);
        s.fd = std::move(fd);
        s.segments = segments;
        return 0;
    }

    /// The options that both sockets of a side need: 0, or the errno.
    int configure(int fd, bool is_v4, int received_bytes, bool joins) const noexcept {
        auto const set = [&](int level, int name, int value) { return Calls::set_option(fd, level, name, value) == 0; };
        if (!is_v4 && !set(IPPROTO_IPV6, IPV6_V6ONLY, 1)) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_PKTINFO, 1) : set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1))) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_RECVTOS, 1) : set(IPPROTO_IPV6, IPV6_RECVTCLASS, 1))) return errno;
        allow_fragments(fd, is_v4);
        if (fwmark_ != 0 && !set(SOL_SOCKET, SO_MARK, static_cast<int>(fwmark_))) return errno;
        if (bind_name_ != nullptr && Calls::bind_device(fd, bind_name_) != 0) return errno;
        if (!set(SOL_SOCKET, SO_RCVBUFFORCE, received_bytes)) set(SOL_SOCKET, SO_RCVBUF, received_bytes);
        if (!set(SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)) set(SOL_SOCKET, SO_SNDBUF, buffer_bytes);
        if (joins) set(IPPROTO_UDP, UDP_GRO, 1);
        return 0;
    }

    /// A second socket on the address of `fd`, to which the kernel gives handshake messages; none where it cannot. `fd`
    /// was bound without SO_REUSEPORT, so a port that another process has is an error, and stays one. Both sockets are
    /// closed together, because the kernel numbers the sockets of a port anew when one of them is closed. Datagrams are
    /// not joined here: what the kernel had joined it parts again, so short buffers are enough.
    unique_fd open_beside(int fd, bool is_v4, socket_address const& where, socklen_t size) const noexcept {
        // Index of the socket by the first byte of the message: 1 to 3 are handshake messages (whitepaper 5.4).
        static constexpr sock_filter by_type[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 0},
                                                  {BPF_JMP | BPF_JGE | BPF_K, 0, 2, 1},
                                                  {BPF_JMP | BPF_JGT | BPF_K, 1, 0, 3},
                                                  {BPF_RET | BPF_K, 0, 0, 1},
                                                  {BPF_RET | BPF_K, 0, 0, 0}};
        sock_filter program[std::size(by_type)];
        std::copy(std::begin(by_type), std::end(by_type), program);
        sock_fprog const steering{std::size(by_type), program};
        if (!wants_handshakes_apart_) return {};
        unique_fd beside(Calls::socket(is_v4 ? AF_INET : AF_INET6));
        if (!beside || configure(beside.get(), is_v4, handshake_buffer_bytes, false) != 0) return {};
        auto const let_share = [](int socket) { return Calls::set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1) == 0; };
        // For the microseconds until the program is there, the kernel spreads datagrams over both sockets.
        bool const steered = let_share(beside.get()) && let_share(fd) &&
                             Calls::bind(beside.get(), &where.any, size) == 0 &&
                             Calls::steer(beside.get(), steering) == 0;
        if (steered) return beside;
        stop_sharing(fd);
        return {};
    }

    /// No other process may join the port of `fd`.
    static void stop_sharing(int fd) noexcept { Calls::set_option(fd, SOL_SOCKET, SO_REUSEPORT, 0); }

    /// The kernel takes a socket out of its group when the socket is bound to another interface (udp_lib_rehash). Then
    /// one socket would get all datagrams, so a second one is made anew; if that fails, `s.fd` gets all of them.
    void reopen_beside(side& s) noexcept {
        if (!s.handshakes) return;
        s.handshakes.reset();
        flood_.forget_handshakes();
        bool const is_v4 = &s == &v4_;
        socket_address any{};
        socklen_t size = sizeof any;
        if (::getsockname(s.fd.get(), &any.any, &size) == 0) s.handshakes = open_beside(s.fd.get(), is_v4, any, size);
        if (s.handshakes && watch(epoll_.get(), s.handshakes.get(), EPOLLIN, is_v4 ? 1 : 3)) return;
        s.handshakes.reset();
        stop_sharing(s.fd.get());
    }

    /// Asks the kernel which sockets have datagrams. Only the object that opened them can ask.
    void find_readable() noexcept {
        if (is_shared_) {
            readable_ = data_bits;
            return;
        }
        epoll_event events[4];
        int const count = ::epoll_wait(epoll_.get(), events, 4, 0);
        readable_ = 0;
        for (int i = 0; i < count; ++i) readable_ |= 1u << events[i].data.u64;
    }

    /// Reads the sockets `Which` of both sides that `find_readable` found, up to the span's size.
    result<std::size_t> receive_of(unique_fd side::*which, unsigned bits, std::span<datagram> datagrams) noexcept {
        std::size_t filled = 0;
        for (bool const v6 : {v6_first_, !v6_first_}) {
            unique_fd const& fd = (v6 ? v6_ : v4_).*which;
            bool const readable = (readable_ & bits & (v6 ? v6_data | v6_handshakes : v4_data | v4_handshakes)) != 0;
            if (!fd || !readable || filled == datagrams.size()) continue;
            if (!receive_from(fd.get(), datagrams, filled) && filled == 0) return status::io_error;
        }
        return filled;
    }

    static bool bound_to_interface(int fd) noexcept {
        char name[IFNAMSIZ] = {};
        socklen_t size = sizeof name;
        return ::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size) == 0 && size > 1;
    }

    /// A router whose reports of the path MTU get lost would drop each long datagram that must not be fragmented.
    static void allow_fragments(int fd, bool is_v4) noexcept {
        if (is_v4) Calls::set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
        else Calls::set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
    }

    /// False if the socket cannot be used. An error that belongs to some datagram sent earlier counts as nothing there.
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
                    Calls::set_option(fd, IPPROTO_UDP, UDP_GRO, 0); // then without; this one is lost
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

    std::size_t send_family(side& s, family kind, std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (std::size_t next = 0; next < datagrams.size();) {
            plan p;
            next += fill(p, s, kind, datagrams.subspan(next));
            sent += flush(p, s);
        }
        return sent;
    }

    /// Plans datagrams of one family, from the front, until the plan is full; how many it has passed.
    std::size_t fill(plan& p, side const& s, family kind, std::span<datagram> datagrams) noexcept {
        datagram const* first = nullptr; // of the last message, if it may take more
        path asked{};                    // the first one's, before its source was chosen
        bool source_cleared = false;     // was it cleared then?
        std::size_t joined = 0, joined_bytes = 0;
        std::size_t passed = 0;
        for (; passed < datagrams.size() && p.planned_count < most_planned; ++passed) {
            datagram& d = datagrams[passed];
            if (d.where.remote.address.kind != kind) continue;
            if (!s.fd) {
                d.why = status::not_supported;
                d.error = EAFNOSUPPORT;
                continue;
            }
            bool const joins = first != nullptr && d.length != 0 && d.length <= first->length && d.tos == first->tos &&
                               joined < max_segments && joined_bytes + d.length <= max_joined_bytes && d.where == asked;
            if (joins) {
                if (source_cleared) d.where.local = {};
                if (d.length != first->length) first = nullptr; // a shorter one is the last
            } else {
                if (p.message_count == batch) break;
                asked = d.where;
                p.begin_message(d, choose_source(d));
                source_cleared = d.where.local != asked.local;
                first = s.segments && d.length != 0 && !limits_.refused(asked.remote.address, d.length) ? &d : nullptr;
                joined = joined_bytes = 0;
            }
            p.append(d);
            ++joined;
            joined_bytes += d.length;
        }
        for (std::size_t i = 0; i < p.message_count; ++i) p.write_control(i);
        return passed;
    }

    void forget_paths() noexcept {
        return_.forget();
        limits_.forget();
        learned_ = {};
    }

    /// What the kernel is told of the source of `d`. Clears `d.where.local` if no source is kept.
    local_source choose_source(datagram& d) noexcept {
        if (!control_messages::has_source(d)) return {};
        local_source const chosen = return_.choose(d.where, {fwmark_, port_, bound_}, sending_at_);
        if (chosen == local_source{}) d.where.local = {};
        return chosen;
    }

    /// How many datagrams left. Every round either sends, or gives a message up, or takes away its source or its tos,
    /// or has waited, which `give_up_at_` bounds.
    std::size_t flush(plan& p, side& s) noexcept {
        std::size_t sent = 0;
        for (std::size_t done = 0; done < p.message_count;) {
            int const count = send_many(s.fd.get(), p.messages + done, static_cast<unsigned>(p.message_count - done));
            if (count > 0) {
                for (int i = 0; i < count; ++i) sent += mark(p.datagrams_of(done++), status::ok);
                continue;
            }
            int const error = count == 0 ? EIO : errno;
            auto const parts = p.datagrams_of(done);
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (parts.size() > 1 && refuses_segments(error)) {
                // EINVAL, EMSGSIZE: longer than this path's MTU. EIO: what this path leaves by cannot cut. Else: this
                // host cannot.
                if (error != EINVAL && error != EMSGSIZE && error != EIO) s.segments = false;
                sent += send_apart(parts, s, p.sources[done], error == EIO ? 1 : parts[0]->length);
                ++done;
            } else if (give_way(error, parts, p.sources[done])) {
                p.write_control(done);
            } else {
                mark(parts, status_of(error), error);
                ++done;
            }
        }
        return sent;
    }

    /// Sends datagrams one by one that were refused as one message. If the first of them leaves as it is, the size of
    /// its segments was the trouble: from `refused_bytes` on, datagrams to this destination stay apart.
    std::size_t send_apart(std::span<datagram*> parts, side& s, local_source source,
                           std::size_t refused_bytes) noexcept {
        std::size_t sent = 0;
        bool changed = false;
        for (std::size_t i = 0; i < parts.size();) {
            datagram& d = *parts[i];
            socket_address address;
            control_messages control;
            iovec piece{d.buffer + d.offset, d.length};
            msghdr header{};
            header.msg_name = &address;
            header.msg_namelen = spell(d.where.remote, address);
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            control.write(header, d, source, 0);
            if (without_interruption([&] { return ::sendmsg(s.fd.get(), &header, MSG_NOSIGNAL); }) >= 0) {
                if (i == 0 && !changed) limits_.refuse(d.where.remote.address, refused_bytes);
                d.why = status::ok;
                ++sent;
                ++i;
                continue;
            }
            int const error = errno;
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (give_way(error, parts.subspan(i), source)) {
                changed = true;
                continue;
            }
            mark(parts.subspan(i, 1), status_of(error), error);
            ++i;
        }
        return sent;
    }

    int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (many_) {
            int const sent = without_interruption([&] { return Calls::send_many(fd, messages, count); });
            if (sent >= 0 || errno != ENOSYS) return sent;
            many_ = false;
        }
        return without_interruption([&] { return ::sendmsg(fd, &messages->msg_hdr, MSG_NOSIGNAL); }) >= 0 ? 1 : -1;
    }

    /// Waits until the socket has room again, or false when this `send` has waited long enough.
    bool wait_writable(int fd) noexcept {
        instant const asked = now();
        if (give_up_at_ == instant{}) give_up_at_ = asked + send_patience;
        if (asked >= give_up_at_) return false;
        timespec const at_most{0, converted<long>((give_up_at_ - asked).nanoseconds)};
        return Calls::wait_writable(fd, at_most) > 0;
    }

    static instant now() noexcept { return Calls::now(); }

    static std::size_t mark(std::span<datagram*> parts, status why, int error = 0) noexcept {
        for (datagram* const d : parts) d->why = why, d->error = static_cast<std::uint16_t>(error);
        return parts.size();
    }

    /// Takes away what the host may not have liked about datagrams: their source, else their tos. False: neither.
    static bool give_way(int error, std::span<datagram*> parts, local_source& source) noexcept {
        bool const has_source = concerns_source(error) && source != local_source{};
        if (!has_source && (error != EINVAL || parts[0]->tos == 0)) return false;
        if (has_source) source = {};
        for (datagram* const d : parts) {
            if (has_source) d->where.local = {};
            else d->tos = 0;
        }
        return true;
    }

    static bool refuses_segments(int error) noexcept {
        return error == EIO || error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
    }
    static bool concerns_source(int error) noexcept {
        return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH || error == EHOSTUNREACH ||
               error == ENODEV || error == ENXIO;
    }

    unique_fd epoll_;
    side v4_{};
    side v6_{};
    std::uint16_t port_ = 0;
    std::uint32_t fwmark_ = 0;
    bool bound_ = false;    ///< to an interface
    bool gso_;              ///< UDP_SEGMENT is wanted
    bool gro_;              ///< UDP_GRO likewise
    bool many_;             ///< sendmmsg and recvmmsg are wanted, and the kernel has them
    bool v6_first_ = false; ///< whether this receive begins with the IPv6 sockets
    bool wants_handshakes_apart_ = false;
    bool is_shared_ = false; ///< another object opened the sockets
    unsigned readable_ = 0;  ///< sockets with datagrams, as far as known
    flood_filter flood_{};
    instant give_up_at_{};      ///< of this send; zero until it has to wait
    instant sending_at_{};      ///< when this send began
    instant learned_{};         ///< when the socket began to remember; zero: nothing is remembered
    std::uint32_t changes_ = 0; ///< of routes, mark and port, as the socket has counted them that this one shares
    return_route return_{};
    segment_limits limits_{};
    endpoint bind_{};                 ///< no family: any address
    char const* bind_name_ = nullptr; ///< of an interface
    unsigned bind_index_ = 0;
    int error_ = 0;
};

using udp = basic_udp<>;
static_assert(udp_socket<udp>);

}}} // namespace wg::WG_ABI::os

#endif
