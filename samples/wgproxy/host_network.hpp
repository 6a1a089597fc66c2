// SPDX-License-Identifier: BSL-1.0
// The network of this host: sockets, Unix sockets, and standard input and output. The thread of the loop.
#ifndef WGPROXY_HOST_NETWORK_HPP
#define WGPROXY_HOST_NETWORK_HPP

#include "loop.hpp"

#include <wg/os/posix/udp/socket_address.hpp>

#include <cstring>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace wgproxy {

namespace host_detail {

inline transfer moved(ssize_t count, bool reading) noexcept {
    using result = transfer::result;
    if (count > 0) return {result::moved, static_cast<std::size_t>(count)};
    if (count == 0) return {reading ? result::ended : result::wait};
    return {errno == EAGAIN || errno == EINTR ? result::wait : result::failed};
}

constexpr connection_state state_of(int error) noexcept {
    switch (error) {
    case 0: return connection_state::open;
    case EINPROGRESS:
    case EAGAIN: return connection_state::pending;
    case ENOENT: // of a Unix socket
    case ECONNREFUSED: return connection_state::refused;
    case ENETUNREACH:
    case EHOSTUNREACH: return connection_state::unreachable;
    case ETIMEDOUT: return connection_state::timed_out;
    default: return connection_state::failed;
    }
}

inline wg::endpoint name_of(int fd, int (*call)(int, sockaddr*, socklen_t*)) noexcept {
    wg::os::socket_address name{};
    socklen_t size = sizeof name;
    return call(fd, &name.any, &size) == 0 ? wg::os::read_address(name) : wg::endpoint{};
}

/// A connected or connecting socket.
class socket_stream final : public stream {
public:
    socket_stream(wg::os::unique_fd fd, connection_state state) noexcept : fd_(std::move(fd)), state_(state) {}

    connection_state state() noexcept override {
        if (state_ != connection_state::pending) return state_;
        pollfd ready{fd_.get(), POLLOUT, 0};
        if (::poll(&ready, 1, 0) <= 0) return state_;
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        return state_ = state_of(error);
    }
    transfer read(wg::bytes to) noexcept override { return moved(::recv(fd_.get(), to.data(), to.size(), 0), true); }
    transfer write(wg::bytes_view from) noexcept override {
        return moved(::send(fd_.get(), from.data(), from.size(), MSG_NOSIGNAL), false);
    }
    void finish() noexcept override { (void)::shutdown(fd_.get(), SHUT_WR); }
    void reset_on_close() noexcept override {
        linger const none{1, 0};
        (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    wg::endpoint local() noexcept override { return name_of(fd_.get(), ::getsockname); }
    wg::endpoint remote() noexcept override { return name_of(fd_.get(), ::getpeername); }

private:
    wg::os::unique_fd fd_;
    connection_state state_;
};

class socket_listener final : public listener {
public:
    socket_listener(wg::os::unique_fd fd, loop& events, std::string path) noexcept
        : fd_(std::move(fd)), loop_(events), path_(std::move(path)) {}
    ~socket_listener() override {
        if (!path_.empty()) ::unlink(path_.c_str());
    }

    std::unique_ptr<stream> accept(task_id task) noexcept override {
        for (int attempts = 0; attempts < 16; ++attempts) {
            wg::os::unique_fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd && errno == EAGAIN) return nullptr;
            if (!fd) {
                if (errno == ECONNABORTED || errno == EINTR) continue;
                return nullptr; // no descriptors or no memory left: the clients wait
            }
            int const on = 1; // both fail for a Unix socket
            (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            (void)::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
            if (!loop_.watch(fd.get(), task)) continue;
            return std::make_unique<socket_stream>(std::move(fd), connection_state::open);
        }
        return nullptr;
    }

private:
    wg::os::unique_fd fd_;
    loop& loop_;
    std::string path_;
};

class socket_datagrams final : public datagrams {
public:
    explicit socket_datagrams(wg::os::unique_fd fd) noexcept : fd_(std::move(fd)) {}

    transfer receive(wg::bytes to, wg::endpoint& from) noexcept override {
        wg::os::socket_address name{};
        for (int attempts = 0; attempts < 16; ++attempts) {
            socklen_t size = sizeof name;
            ssize_t const count = ::recvfrom(fd_.get(), to.data(), to.size(), 0, &name.any, &size);
            if (count < 0 && errno == EAGAIN) break;
            if (count < 0) continue; // an ICMP error of an earlier datagram
            from = wg::os::read_address(name).unmapped();
            return {transfer::result::moved, static_cast<std::size_t>(count)};
        }
        return {};
    }
    void send(wg::bytes_view from, wg::endpoint const& to) noexcept override {
        wg::os::socket_address name{};
        wg::endpoint where = to;
        if (where.address.kind == wg::family::v4 && v6()) where = mapped(where);
        socklen_t const size = wg::os::spell(where, name);
        (void)!::sendto(fd_.get(), from.data(), from.size(), MSG_NOSIGNAL, &name.any,
                        size); // dropped, as a network does
    }
    wg::endpoint local() noexcept override { return name_of(fd_.get(), ::getsockname); }

private:
    bool v6() noexcept { return local().address.kind == wg::family::v6; }
    static wg::endpoint mapped(wg::endpoint const& v4) noexcept { // RFC 4291 2.5.5.2
        wg::endpoint to{{{}, wg::family::v6}, v4.port, 0};
        to.address.octets[10] = to.address.octets[11] = 0xff;
        std::copy_n(v4.address.octets.data(), 4, to.address.octets.data() + 12);
        return to;
    }

    wg::os::unique_fd fd_;
};

/// Standard input and output. They are left blocking, because other programs may share them, so each call waits until
/// the descriptor is ready, and writes no more than fits a ready pipe.
class standard_stream final : public stream {
public:
    connection_state state() noexcept override { return connection_state::open; }
    transfer read(wg::bytes to) noexcept override {
        return ready(STDIN_FILENO, POLLIN) ? moved(::read(STDIN_FILENO, to.data(), to.size()), true) : transfer{};
    }
    transfer write(wg::bytes_view from) noexcept override {
        constexpr std::size_t fits = 4096; // PIPE_BUF of Linux
        std::size_t const size = from.size() < fits ? from.size() : fits;
        return ready(STDOUT_FILENO, POLLOUT) ? moved(::write(STDOUT_FILENO, from.data(), size), false) : transfer{};
    }
    void finish() noexcept override {
        int const null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null >= 0)
            ::dup2(null, STDOUT_FILENO), ::close(null); // the reader sees the end, and the number stays taken
    }

private:
    static bool ready(int fd, short what) noexcept {
        pollfd p{fd, what, 0};
        return ::poll(&p, 1, 0) > 0;
    }
};

} // namespace host_detail

/// Sockets of this host. Names of hosts are resolved when they are first needed, which may block: at start-up.
class host_network final : public network {
public:
    explicit host_network(loop& events) noexcept : loop_(events) {}

    std::unique_ptr<stream> dial(place const& to, task_id task, std::string& why) noexcept override {
        address where;
        if (!find(to, SOCK_STREAM, where, why)) return nullptr;
        wg::os::unique_fd fd = open_socket(where, SOCK_STREAM, why);
        if (!fd) return nullptr;
        int const on = 1;
        (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        bool const connected = ::connect(fd.get(), where.any(), where.size) == 0;
        auto const state = host_detail::state_of(connected ? 0 : errno);
        if (!loop_.watch(fd.get(), task)) {
            why = std::strerror(errno);
            return nullptr;
        }
        return std::make_unique<host_detail::socket_stream>(std::move(fd), state);
    }

    std::unique_ptr<listener> listen(place const& at, task_id task, std::string& why) noexcept override {
        wg::os::unique_fd fd = bound(at, SOCK_STREAM, why);
        if (!fd) return nullptr;
        if (::listen(fd.get(), SOMAXCONN) != 0 || !loop_.watch(fd.get(), task)) {
            why = std::strerror(errno);
            return nullptr;
        }
        return std::make_unique<host_detail::socket_listener>(std::move(fd), loop_, at.path);
    }

    std::unique_ptr<datagrams> open(place const& at, task_id task, std::string& why) noexcept override {
        wg::os::unique_fd fd = bound(at, SOCK_DGRAM, why);
        if (!fd) return nullptr;
        if (!loop_.watch(fd.get(), task)) {
            why = std::strerror(errno);
            return nullptr;
        }
        return std::make_unique<host_detail::socket_datagrams>(std::move(fd));
    }

    /// Standard input and output as a stream.
    std::unique_ptr<stream> standard(task_id task) noexcept {
        (void)loop_.watch(STDIN_FILENO, task);
        (void)loop_.watch(STDOUT_FILENO, task); // fails if it is the same file as standard input, and watched already
        return std::make_unique<host_detail::standard_stream>();
    }

    found_address resolve(std::string const& host, task_id) noexcept override {
        address where;
        std::string why;
        if (!find({host, 1, {}}, SOCK_DGRAM, where, why)) return {connection_state::no_such_host, {}};
        return {connection_state::open, wg::os::read_address(where.ip).address};
    }

private:
    struct address {
        union {
            wg::os::socket_address ip;
            sockaddr_un path;
        };
        socklen_t size = 0;
        address() noexcept : path{} {}
        sockaddr* any() noexcept { return &ip.any; }
    };

    static wg::os::unique_fd open_socket(address const& where, int type, std::string& why) noexcept {
        wg::os::unique_fd fd(::socket(where.ip.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) why = std::strerror(errno);
        return fd;
    }

    static bool find(place const& of, int type, address& to, std::string& why) noexcept {
        if (!of.path.empty()) {
            to.path.sun_family = AF_UNIX;
            std::memcpy(to.path.sun_path, of.path.c_str(), of.path.size() + 1); // `parse_place` has checked the length
            to.size = sizeof to.path;
            return true;
        }
        if (of.host.empty()) { // all addresses, of both families
            to.size = wg::os::spell({{{}, wg::family::v6}, of.port, 0}, to.ip);
            return true;
        }
        addrinfo hints{};
        hints.ai_socktype = type;
        addrinfo* list = nullptr;
        int const error = ::getaddrinfo(of.host.c_str(), std::to_string(of.port).c_str(), &hints, &list);
        if (error != 0) {
            why = ::gai_strerror(error);
            return false;
        }
        std::memcpy(&to.ip, list->ai_addr, list->ai_addrlen);
        to.size = list->ai_addrlen;
        ::freeaddrinfo(list);
        return true;
    }

    static wg::os::unique_fd bound(place const& at, int type, std::string& why) noexcept {
        address where;
        if (!find(at, type, where, why)) return {};
        wg::os::unique_fd fd = open_socket(where, type, why);
        int const on = 1, off = 0;
        if (fd && at.path.empty() && type == SOCK_STREAM)
            (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (fd && at.host.empty()) (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (!at.path.empty() && is_unused_socket(where)) ::unlink(at.path.c_str());
        if (fd && ::bind(fd.get(), where.any(), where.size) != 0) {
            why = std::strerror(errno);
            if (errno == EADDRINUSE) why += "; another program uses it";
            if (errno == EACCES && at.path.empty()) why += "; ports below 1024 need a privilege";
            return {};
        }
        return fd;
    }

    /// Whether the file is a Unix socket whose server has ended without removing it. Other files are never removed.
    static bool is_unused_socket(address& where) noexcept {
        struct stat file {};
        if (::lstat(where.path.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
        wg::os::unique_fd const probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        return probe && ::connect(probe.get(), where.any(), where.size) != 0 && errno == ECONNREFUSED;
    }

    loop& loop_;
};

} // namespace wgproxy

#endif
