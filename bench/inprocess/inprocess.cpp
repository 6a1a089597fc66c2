// SPDX-License-Identifier: BSL-1.0
// The two programs of bench/inprocess/inprocess.py: they measure connections through wg::tunnel, or through sockets of
// the host.
//
//     inprocess serve CONF|- PORT             sends and receives what a client asks for; `-`: with the host's sockets
//     inprocess NAME CONF|- ADDRESS:PORT N    one measurement; prints the figure
//
// send N: bytes; receive N: bytes; connect N: connections with 100 bytes; idle N: connections, then the bytes of memory
// for one; first 0: seconds from the start of the process to the first byte.
#include <wg/tunnel.hpp>

#include <arpa/inet.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

namespace {

using namespace wg;

[[noreturn]] void fail(std::string const& why) {
    std::fprintf(stderr, "inprocess: %s\n", why.c_str());
    std::exit(1);
}

/// A connection of the host.
class socket_stream {
public:
    socket_stream() noexcept = default;
    explicit socket_stream(int fd) noexcept : fd_(fd) {
        int const on = 1;
        (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    socket_stream(socket_stream&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    socket_stream& operator=(socket_stream&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~socket_stream() {
        if (fd_ >= 0) ::close(fd_);
    }
    result<std::size_t> read(bytes into) noexcept { return moved(::recv(fd_, into.data(), into.size(), 0)); }
    result<std::size_t> write(bytes_view data) noexcept {
        std::size_t done = 0;
        while (done < data.size()) {
            ssize_t const sent = ::send(fd_, data.data() + done, data.size() - done, MSG_NOSIGNAL);
            if (sent < 0) return status::gone;
            done += static_cast<std::size_t>(sent);
        }
        return done;
    }

private:
    static result<std::size_t> moved(ssize_t size) noexcept {
        return size < 0 ? result<std::size_t>(status::gone) : static_cast<std::size_t>(size);
    }
    int fd_ = -1;
};

/// The host's sockets with the interface of a tunnel.
class sockets {
public:
    result<socket_stream> dial(endpoint const& to) {
        sockaddr_in const at = address(to.address, to.port);
        int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socket_stream made(fd);
        if (::connect(fd, reinterpret_cast<sockaddr const*>(&at), sizeof at) != 0) return status::refused;
        return made;
    }
    struct listener {
        result<socket_stream> accept() { return socket_stream(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)); }
        int fd = -1;
    };
    result<listener> listen(std::uint16_t port) {
        sockaddr_in const at = address(ip_address::v4(0, 0, 0, 0), port);
        int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
        (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (::bind(fd, reinterpret_cast<sockaddr const*>(&at), sizeof at) != 0 || ::listen(fd, 4096) != 0)
            return status::address_in_use;
        return listener{fd};
    }

private:
    static sockaddr_in address(ip_address const& host, std::uint16_t port) {
        sockaddr_in made{};
        made.sin_family = AF_INET;
        made.sin_port = htons(port);
        std::memcpy(&made.sin_addr, host.octets.data(), 4);
        return made;
    }
};

constexpr std::size_t piece_bytes = 256 * 1024;

/// What a client asks for: a letter and a number.
struct request {
    char what = 0;
    std::uint64_t number = 0;
};

template <class Stream> bool read_exactly(Stream& from, void* to, std::size_t size) {
    for (std::size_t done = 0; done < size;) {
        auto const got = from.read({static_cast<byte*>(to) + done, size - done});
        if (!got || *got == 0) return false;
        done += *got;
    }
    return true;
}
template <class Stream> bool read_bytes(Stream& from, std::uint64_t count) {
    std::vector<byte> room(piece_bytes);
    while (count > 0) {
        auto const got = from.read(bytes(room).first((std::min<std::uint64_t>)(count, room.size())));
        if (!got || *got == 0) return false;
        count -= *got;
    }
    return true;
}
template <class Stream> bool write_bytes(Stream& to, std::uint64_t count) {
    std::vector<byte> const data(piece_bytes, byte{42});
    while (count > 0) {
        std::size_t const some = (std::min<std::uint64_t>)(count, data.size());
        auto const done = to.write(bytes_view(data).first(some));
        if (!done || *done != some) return false;
        count -= some;
    }
    return true;
}

template <class Stream> void serve_client(Stream client) {
    for (request asked; read_exactly(client, &asked, sizeof asked);) {
        byte const done = 1;
        if (asked.what == 's' && !read_bytes(client, asked.number)) return;
        if (asked.what == 'r' && !write_bytes(client, asked.number)) return;
        if (asked.what == 's' && !client.write({&done, 1})) return;
    }
}

template <class Net> int serve(Net& net, std::uint16_t port) {
    auto at = net.listen(port);
    if (!at) fail(describe(at.why()));
    std::puts("ready");
    std::fflush(stdout);
    // Idle connections are kept without a thread each.
    std::vector<std::decay_t<decltype(*at->accept())>> idle;
    for (;;) {
        auto client = at->accept();
        if (!client) return 1;
        request first;
        if (!read_exactly(*client, &first, sizeof first)) continue;
        byte const done = 1;
        if (first.what == 'i') idle.push_back(std::move(*client));
        else if (first.what == 'c') (void)client->write(bytes_view(std::vector<byte>(100)));
        else if (first.what == 'f') (void)client->write({&done, 1});
        else
            std::thread([c = std::move(*client), first]() mutable {
                byte const end = 1;
                if (first.what == 's' && read_bytes(c, first.number)) (void)c.write({&end, 1});
                if (first.what == 'r') (void)write_bytes(c, first.number);
                serve_client(std::move(c));
            }).detach();
    }
}

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Seconds since the start of the process.
double age_s() {
    std::ifstream stat("/proc/self/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    std::size_t at = text.rfind(')');
    for (int field = 2; field < 22; ++field) at = text.find(' ', at + 1);
    double const start = std::strtod(text.c_str() + at, nullptr) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    timespec now;
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 - start;
}

double resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    double pages = 0;
    statm >> pages >> pages;
    return pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

template <class Net> int measure(Net& net, std::string const& what, endpoint const& to, std::uint64_t count) {
    auto const connect = [&] {
        auto made = net.dial(to);
        if (!made) fail(describe(made.why()));
        return std::move(*made);
    };
    request const asked{what[0], count};
    bytes_view const question(reinterpret_cast<byte const*>(&asked), sizeof asked);
    byte answer[100];
    if (what == "first") {
        auto c = connect();
        if (!c.write(question) || !read_exactly(c, answer, 1)) fail("no answer");
        std::printf("%.4f\n", age_s());
    } else if (what == "connect") {
        double const start = now_s();
        for (std::uint64_t i = 0; i < count; ++i) {
            auto c = connect();
            if (!c.write(question) || !read_exactly(c, answer, sizeof answer)) fail("no answer");
        }
        std::printf("%.0f\n", static_cast<double>(count) / (now_s() - start));
    } else if (what == "idle") {
        auto first = connect();
        if (!first.write(question)) fail("no answer");
        std::vector<decltype(first)> all(count);
        double const before = resident_bytes();
        for (auto& c : all) {
            c = connect();
            if (!c.write(question)) fail("no answer");
        }
        std::printf("%.0f\n", (resident_bytes() - before) / static_cast<double>(count));
    } else {
        auto c = connect();
        double const start = now_s();
        if (!c.write(question)) fail("no answer");
        bool const moved = what == "send" ? write_bytes(c, count) && read_exactly(c, answer, 1) : read_bytes(c, count);
        if (!moved) fail("the connection has ended");
        std::printf("%.3f\n", static_cast<double>(count) * 8 / (now_s() - start) / 1e9);
    }
    return 0;
}

} // namespace

int main(int count, char** arguments) {
    if (count < 4) fail("see the comment at the top of inprocess.cpp");
    std::string const what = arguments[1], configuration = arguments[2];
    endpoint to;
    if (what != "serve") {
        auto const given = text::parse_endpoint(arguments[3]);
        if (!given || count < 5) fail("needs ADDRESS:PORT and a number");
        to = *given;
    }
    auto const run = [&](auto& net) {
        if (what == "serve") return serve(net, static_cast<std::uint16_t>(std::atoi(arguments[3])));
        return measure(net, what, to, std::strtoull(arguments[4], nullptr, 10));
    };
    if (configuration == "-") {
        sockets net;
        return run(net);
    }
    std::string why;
    auto net = tunnel::from_file(configuration.c_str(), why);
    if (!net) fail(why);
    return run(*net);
}
