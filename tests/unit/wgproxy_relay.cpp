// SPDX-License-Identifier: BSL-1.0
// The relay with sockets of this host in the place of the tunnel.
#include "../../samples/wgproxy/relay.hpp"

#include <boost/test/unit_test.hpp>

#include <mutex>
#include <string>
#include <thread>

BOOST_AUTO_TEST_SUITE(wgproxy_relay)

namespace {

using namespace std::string_literals;
using wg::os::unique_fd;
using wgproxy::kind, wgproxy::service;

sockaddr_in local(std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

std::uint16_t port_of(int fd) {
    sockaddr_in a{};
    socklen_t size = sizeof a;
    BOOST_TEST(::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0);
    return ntohs(a.sin_port);
}

/// A socket with a port of the system's choice, and a timeout.
unique_fd bound(int type) {
    unique_fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    sockaddr_in const a = local(0);
    BOOST_TEST(::bind(fd.get(), reinterpret_cast<sockaddr const*>(&a), sizeof a) == 0);
    timeval const limit{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/// A port that nothing uses at present.
std::uint16_t free_port(int type = SOCK_STREAM) { return port_of(bound(type).get()); }

unique_fd connected(std::uint16_t port) {
    unique_fd fd = bound(SOCK_STREAM);
    sockaddr_in const a = local(port);
    BOOST_TEST_REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr const*>(&a), sizeof a) == 0);
    return fd;
}

void put(int fd, std::string_view text) {
    while (!text.empty()) {
        ssize_t const count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        BOOST_TEST_REQUIRE(count > 0);
        text.remove_prefix(static_cast<std::size_t>(count));
    }
}

/// Reads `size` bytes, or all up to the end.
std::string get(int fd, std::size_t size = SIZE_MAX) {
    std::string text;
    char part[65536];
    while (text.size() < size) {
        ssize_t const count = ::recv(fd, part, std::min(sizeof part, size - text.size()), 0);
        BOOST_TEST((count >= 0 || errno == ECONNRESET), "no answer in time");
        if (count <= 0) break;
        text.append(part, static_cast<std::size_t>(count));
    }
    return text;
}

/// A server for one connection at a time. `serve` gets its descriptor.
struct server {
    unique_fd port = bound(SOCK_STREAM);
    std::thread thread{};

    explicit server(void (*serve)(int)) {
        BOOST_TEST(::listen(port.get(), 64) == 0);
        thread = std::thread([this, serve] {
            while (true) {
                unique_fd const client(::accept(port.get(), nullptr, nullptr));
                if (!client && errno == EAGAIN) continue;
                if (!client) return;
                serve(client.get());
            }
        });
    }
    ~server() {
        ::shutdown(port.get(), SHUT_RDWR);
        thread.join();
    }
};

void echo(int fd) {
    char part[65536];
    for (ssize_t count; (count = ::recv(fd, part, sizeof part, 0)) > 0;)
        if (::send(fd, part, static_cast<std::size_t>(count), MSG_NOSIGNAL | MSG_WAITALL) != count) return;
}

/// Answers a request by its own head and body of 4 bytes.
void answer_http(int fd) {
    std::string request;
    char part[4096];
    while (true) {
        std::size_t const end = request.find("\r\n\r\n");
        if (end != std::string::npos && (request.find("POST") != 0 || request.size() >= end + 8)) break;
        ssize_t const count = ::recv(fd, part, sizeof part, 0);
        if (count <= 0) return;
        request.append(part, static_cast<std::size_t>(count));
    }
    std::string const answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + request;
    (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
}

/// A relay on a thread, whose tunnel is this host.
struct running_relay {
    wgproxy::loop events{};
    wgproxy::host_network host{events}, tunnel{events};
    std::mutex mutex{};
    std::string log{};
    wgproxy::relay relay{events, host, tunnel, [this](std::string const& line) {
                             std::lock_guard<std::mutex> const lock(mutex);
                             log += line + "\n";
                         }};
    std::vector<std::unique_ptr<service>> services{};
    std::thread thread{};

    service& add(kind what, std::uint16_t port, std::uint16_t target = 0) {
        auto s = std::make_unique<service>();
        s->what = what;
        s->listen = {"127.0.0.1", port, {}};
        if (target != 0) s->target = {"127.0.0.1", target, {}};
        s->section = "[test]";
        services.push_back(std::move(s));
        return *services.back();
    }
    void start() {
        for (auto const& s : services) {
            std::string why;
            BOOST_TEST_REQUIRE(relay.add(*s, why), why);
        }
        thread = std::thread([this] { (void)relay.run(); });
    }
    std::string log_now() {
        std::lock_guard<std::mutex> const lock(mutex);
        return log;
    }
    ~running_relay() {
        relay.stop = 1;
        events.wake(1);
        if (thread.joinable()) thread.join();
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(forwards_connections_both_ways_and_their_ends) {
    server const target(echo);
    running_relay r;
    std::uint16_t const client_port = free_port(), server_port = free_port();
    r.add(kind::tcp_client, client_port, port_of(target.port.get()));
    r.add(kind::tcp_server, server_port, port_of(target.port.get()));
    r.start();
    for (std::uint16_t const port : {client_port, server_port}) {
        unique_fd const c = connected(port);
        std::string sent(3'000'000, '\0');
        for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + (i >> 12));
        std::thread writer([&] {
            put(c.get(), sent);
            ::shutdown(c.get(), SHUT_WR);
        });
        std::string const got = get(c.get());
        writer.join();
        BOOST_TEST((got == sent));
    }
}

BOOST_AUTO_TEST_CASE(a_client_of_a_forwarded_port_sees_that_the_target_refuses) {
    running_relay r;
    std::uint16_t const port = free_port();
    r.add(kind::tcp_client, port, free_port());
    r.start();
    unique_fd const c = connected(port);
    char one;
    BOOST_TEST(::recv(c.get(), &one, 1, 0) == -1);
    BOOST_TEST(errno == ECONNRESET);
    BOOST_TEST(r.log_now().find("the connection was refused") != std::string::npos, r.log_now());
}

BOOST_AUTO_TEST_CASE(serves_socks_by_address_and_name) {
    server const target(echo);
    running_relay r;
    std::uint16_t const port = free_port(), to = port_of(target.port.get());
    r.add(kind::socks, port);
    r.start();
    std::string const to_bytes = {static_cast<char>(to >> 8), static_cast<char>(to)};
    for (std::string const& where : {"\1\x7f\0\0\1"s, "\3\x09localhost"s}) {
        unique_fd const c = connected(port);
        put(c.get(), "\5\1\0"s);
        BOOST_TEST(get(c.get(), 2) == "\5\0"s);
        put(c.get(), "\5\1\0"s + where + to_bytes);
        BOOST_TEST(get(c.get(), 10).substr(0, 4) == "\5\0\0\1"s);
        put(c.get(), "hello");
        BOOST_TEST(get(c.get(), 5) == "hello");
    }
    unique_fd const early = connected(port); // all at once
    put(early.get(), "\5\1\0\5\1\0\1\x7f\0\0\1"s + to_bytes + "early");
    BOOST_TEST(get(early.get(), 17).substr(12) == "early");
}

BOOST_AUTO_TEST_CASE(socks_clients_learn_why_there_is_no_connection) {
    running_relay r;
    std::uint16_t const port = free_port(), secured = free_port(), nobody = free_port();
    r.add(kind::socks, port);
    auto& s = r.add(kind::socks, secured);
    s.user = "alice";
    s.password = wgproxy::secret_text("secret");
    r.start();
    std::string const to = "\5\1\0\1\x7f\0\0\1"s + static_cast<char>(nobody >> 8) + static_cast<char>(nobody);
    unique_fd const refused = connected(port);
    put(refused.get(), "\5\1\0"s + to);
    BOOST_TEST(get(refused.get()) == "\5\0\5\5\0\1\0\0\0\0\0\0"s);
    unique_fd const wrong = connected(secured);
    put(wrong.get(), "\5\1\2\1\5alice\5wrong"s + to);
    BOOST_TEST(get(wrong.get()) == "\5\2\1\1"s);
    unique_fd const right = connected(secured);
    put(right.get(), "\5\1\2\1\5alice\6secret"s + to);
    BOOST_TEST(get(right.get()).substr(0, 6) == "\5\2\1\0\5\5"s);
    unique_fd const other = connected(port);
    put(other.get(), "GET / HTTP/1.1\r\n\r\n");
    BOOST_TEST(get(other.get()) == "");
}

BOOST_AUTO_TEST_CASE(serves_http_by_connect_and_by_url) {
    server const target(answer_http);
    running_relay r;
    std::uint16_t const port = free_port();
    std::string const to = "127.0.0.1:" + std::to_string(port_of(target.port.get()));
    r.add(kind::http, port);
    r.start();
    unique_fd const tunnel = connected(port);
    put(tunnel.get(), "CONNECT " + to + " HTTP/1.1\r\nHost: x\r\n\r\n");
    std::string const ok = "HTTP/1.1 200 Connection established\r\n\r\n";
    BOOST_TEST(get(tunnel.get(), ok.size()) == ok);
    put(tunnel.get(), "GET / HTTP/1.1\r\n\r\n");
    BOOST_TEST(get(tunnel.get()).ends_with("GET / HTTP/1.1\r\n\r\n"));
    unique_fd const plain = connected(port); // a second request on the connection is not forwarded
    put(plain.get(), "POST http://" + to +
                         "/x HTTP/1.1\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nbodyGET "
                         "http://a/ HTTP/1.1\r\n\r\n");
    BOOST_TEST(get(plain.get()) == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nPOST /x HTTP/1.1\r\nHost: " + to +
                                       "\r\nContent-Length: 4\r\nVia: 1.1 wgproxy\r\nConnection: close\r\n\r\nbody");
}

BOOST_AUTO_TEST_CASE(http_clients_learn_why_there_is_no_connection) {
    running_relay r;
    std::uint16_t const port = free_port(), secured = free_port();
    std::string const nobody = "127.0.0.1:" + std::to_string(free_port());
    r.add(kind::http, port);
    auto& s = r.add(kind::http, secured);
    s.user = "Aladdin";
    s.password = wgproxy::secret_text("open sesame");
    r.start();
    auto const ask = [](std::uint16_t at, std::string const& request) {
        unique_fd const c = connected(at);
        put(c.get(), request);
        return get(c.get());
    };
    std::string const refused = ask(port, "CONNECT " + nobody + " HTTP/1.1\r\n\r\n");
    BOOST_TEST(refused.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), refused);
    BOOST_TEST(refused.ends_with("\r\n\r\n" + nobody + ": the connection was refused\n"), refused);
    BOOST_TEST(ask(port, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
    BOOST_TEST(ask(port, std::string(20000, 'x')).starts_with("HTTP/1.1 431 "));
    BOOST_TEST(ask(secured, "CONNECT " + nobody + " HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 407 "));
    BOOST_TEST(ask(secured, "CONNECT " + nobody +
                                " HTTP/1.1\r\nProxy-Authorization: Basic "
                                "QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n")
                   .starts_with("HTTP/1.1 502 "));
}

namespace {

/// Sends a datagram, and returns the answer.
std::string ask(int fd, std::uint16_t port, std::string const& text) {
    sockaddr_in const a = local(port);
    BOOST_TEST(::sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr const*>(&a), sizeof a) ==
               static_cast<ssize_t>(text.size()));
    char part[65536];
    ssize_t const count = ::recv(fd, part, sizeof part, 0);
    BOOST_TEST_REQUIRE(count >= 0, "no answer in time");
    return {part, static_cast<std::size_t>(count)};
}

/// Answers each datagram by itself and the port of its sender, until one of 1 byte comes.
void echo_datagrams(int fd) {
    char part[65536];
    while (true) {
        sockaddr_in from{};
        socklen_t size = sizeof from;
        ssize_t const count = ::recvfrom(fd, part, sizeof part, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (count == 1) return;
        if (count < 0) continue;
        std::string const answer =
            std::string(part, static_cast<std::size_t>(count)) + " " + std::to_string(ntohs(from.sin_port));
        (void)!::sendto(fd, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
}

struct datagram_server {
    unique_fd fd = bound(SOCK_DGRAM);
    std::uint16_t port = port_of(fd.get());
    std::thread thread{echo_datagrams, fd.get()};
    ~datagram_server() {
        sockaddr_in const a = local(port);
        unique_fd const end = bound(SOCK_DGRAM);
        ::sendto(end.get(), "x", 1, 0, reinterpret_cast<sockaddr const*>(&a), sizeof a);
        thread.join();
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(forwards_datagrams_of_several_senders) {
    datagram_server const target;
    running_relay r;
    std::uint16_t const port = free_port(SOCK_DGRAM);
    r.add(kind::udp_client, port, target.port);
    r.start();
    unique_fd const a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    std::string const first = ask(a.get(), port, "first"), second = ask(b.get(), port, "second");
    BOOST_TEST(first.starts_with("first "));
    BOOST_TEST(second.starts_with("second "));
    BOOST_TEST(first.substr(6) != second.substr(7)); // each sender has its own port
    BOOST_TEST(ask(a.get(), port, "again").substr(6) == first.substr(6));
    BOOST_TEST(ask(a.get(), port, std::string(9000, 'x')).size() > 9000u);
}

BOOST_AUTO_TEST_CASE(serves_datagrams_of_socks_until_the_connection_ends) {
    datagram_server const target;
    running_relay r;
    std::uint16_t const port = free_port();
    r.add(kind::socks, port);
    r.start();
    unique_fd const c = connected(port);
    put(c.get(), "\5\1\0\5\3\0\1\0\0\0\0\0\0"s);
    std::string const reply = get(c.get(), 12);
    BOOST_TEST(reply.substr(0, 10) == "\5\0\5\0\0\1\x7f\0\0\1"s);
    auto const at =
        static_cast<std::uint16_t>(static_cast<unsigned char>(reply[10]) << 8 | static_cast<unsigned char>(reply[11]));
    std::string const to_port = {static_cast<char>(target.port >> 8), static_cast<char>(target.port)};
    unique_fd const d = bound(SOCK_DGRAM), stranger = bound(SOCK_DGRAM);
    std::string const head = "\0\0\0\1\x7f\0\0\1"s + to_port;
    BOOST_TEST(ask(d.get(), at, head + "hello").starts_with(head + "hello "));
    BOOST_TEST(ask(d.get(), at, "\0\0\0\3\x09localhost"s + to_port + "name").starts_with(head + "name "));
    timeval const short_limit{0, 200000};
    ::setsockopt(stranger.get(), SOL_SOCKET, SO_RCVTIMEO, &short_limit, sizeof short_limit);
    sockaddr_in const a = local(at);
    ::sendto(stranger.get(), head.data(), head.size(), 0, reinterpret_cast<sockaddr const*>(&a), sizeof a);
    char one;
    BOOST_TEST(::recv(stranger.get(), &one, 1, 0) == -1);
    ::shutdown(c.get(), SHUT_WR);
    BOOST_TEST(get(c.get()) == "");
}

namespace {
sockaddr_un unix_address(std::string const& path) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), a.sun_path);
    return a;
}
} // namespace

BOOST_AUTO_TEST_CASE(unix_sockets_replace_those_that_a_crash_left_and_nothing_else) {
    server const target(echo);
    char folder[] = "/tmp/wgproxy-test-XXXXXX";
    BOOST_TEST_REQUIRE(::mkdtemp(folder) != nullptr);
    std::string const path = folder + "/s"s;
    sockaddr_un a = unix_address(path);
    for (bool const left_by_a_crash : {false, true}) {
        if (left_by_a_crash) { // a socket that nothing listens to
            unique_fd const left(::socket(AF_UNIX, SOCK_STREAM, 0));
            BOOST_TEST(::bind(left.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
        }
        running_relay r;
        r.add(kind::tcp_client, 0, port_of(target.port.get())).listen = {{}, 0, path};
        r.start();
        unique_fd const c(::socket(AF_UNIX, SOCK_STREAM, 0));
        BOOST_TEST_REQUIRE(::connect(c.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
        put(c.get(), "hello");
        BOOST_TEST(get(c.get(), 5) == "hello");
        running_relay second; // it must not take the path of a running program
        std::string why;
        BOOST_TEST(!second.relay.add(*r.services[0], why));
        BOOST_TEST(why ==
                   "[test]: cannot listen at unix:" + path + ": Address already in use; another program uses it");
    }
    BOOST_TEST(::access(path.c_str(), F_OK) != 0); // the relay has removed it
    unique_fd const file(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
    running_relay r;
    std::string why;
    r.add(kind::tcp_client, 0, 1).listen = {{}, 0, path};
    BOOST_TEST(!r.relay.add(*r.services[0], why));
    BOOST_TEST(::access(path.c_str(), F_OK) == 0);
    ::unlink(path.c_str());
    ::rmdir(folder);
}

BOOST_AUTO_TEST_CASE(warns_of_a_proxy_that_other_hosts_may_use) {
    for (auto const& [host, user, warns] :
         {std::tuple{"127.0.0.1", "", false}, {"", "", true}, {"0.0.0.0", "a", false}}) {
        running_relay r;
        service& s = r.add(kind::socks, free_port());
        s.listen.host = host;
        s.user = user;
        s.password = wgproxy::secret_text(user);
        r.start();
        BOOST_TEST((r.log_now().find("other hosts may use it") != std::string::npos) == warns, r.log_now());
    }
}

BOOST_AUTO_TEST_CASE(clients_wait_while_there_are_too_many) {
    server const target(echo);
    running_relay r;
    std::uint16_t const port = free_port();
    r.add(kind::socks, port);
    r.relay.most_tasks = 3; // the service, and two clients
    r.start();
    unique_fd const a = connected(port);
    unique_fd b = connected(port), c = connected(port);
    put(a.get(), "\5\1\0"s);
    BOOST_TEST(get(a.get(), 2) == "\5\0"s);
    put(b.get(), "\5\1\0"s);
    BOOST_TEST(get(b.get(), 2) == "\5\0"s);
    put(c.get(), "\5\1\0"s);
    timeval const limit{0, 200000};
    ::setsockopt(c.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char one;
    BOOST_TEST(::recv(c.get(), &one, 1, 0) == -1);
    b.reset();
    timeval const long_limit{10, 0};
    ::setsockopt(c.get(), SOL_SOCKET, SO_RCVTIMEO, &long_limit, sizeof long_limit);
    BOOST_TEST(get(c.get(), 2) == "\5\0"s);
    BOOST_TEST(r.log_now().find("too many connections") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
