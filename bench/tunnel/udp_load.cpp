// SPDX-License-Identifier: BSL-1.0
// Sends or counts UDP datagrams over IPv4, as many at a time as the kernel takes.
//
//     udp_load send ADDRESS PORT BYTES PER_SECOND SECONDS    PER_SECOND 0: as fast as it goes
//     udp_load receive ADDRESS PORT IDLE_MS                  until none came for so long
//
// Both print how many and in how many seconds. Each datagram begins with a number; the receiver also prints how many
// came after one with a greater number.
#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/socket.h>

namespace {

constexpr std::size_t most_bytes = 2048;

struct batch {
    static constexpr std::size_t size = 64;

    explicit batch(std::size_t bytes_each) {
        for (std::size_t i = 0; i < size; ++i) {
            pieces[i] = {buffers[i].data(), bytes_each};
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
    }

    std::array<std::array<char, most_bytes>, size> buffers{};
    std::array<iovec, size> pieces{};
    std::array<mmsghdr, size> messages{};
};

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int failed(char const* what) {
    std::perror(what);
    return EXIT_FAILURE;
}

int send(int fd, std::size_t bytes_each, double per_second, double seconds) {
    static batch b(bytes_each);
    double const begin = now_s();
    std::uint64_t sent = 0;
    for (double passed = 0; passed < seconds; passed = now_s() - begin) {
        double const due = per_second > 0 ? per_second * passed - static_cast<double>(sent) : double{batch::size};
        if (due < 1) {
            timespec const nap{0, 200'000};
            ::clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
            continue;
        }
        auto const count = static_cast<unsigned>(std::min(due, double{batch::size}));
        for (unsigned i = 0; i < count; ++i) {
            std::uint64_t const number = sent + i;
            std::memcpy(b.buffers[i].data(), &number, sizeof number);
        }
        if (int const done = ::sendmmsg(fd, b.messages.data(), count, 0); done > 0) sent += static_cast<unsigned>(done);
    }
    std::printf("%llu %.6f\n", static_cast<unsigned long long>(sent), now_s() - begin);
    return EXIT_SUCCESS;
}

int receive(int fd, int idle_ms) {
    static batch b(most_bytes);
    std::uint64_t got = 0, late = 0, greatest = 0;
    double first = 0, last = 0;
    for (pollfd watched{fd, POLLIN, 0}; ::poll(&watched, 1, got == 0 ? 10'000 : idle_ms) > 0;) {
        int const count = ::recvmmsg(fd, b.messages.data(), batch::size, MSG_DONTWAIT, nullptr);
        if (count <= 0) continue;
        last = now_s();
        if (got == 0) first = last;
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i, ++got) {
            std::uint64_t number;
            std::memcpy(&number, b.buffers[i].data(), sizeof number);
            late += number < greatest;
            greatest = std::max(greatest, number);
        }
    }
    std::printf("%llu %.6f %llu\n", static_cast<unsigned long long>(got), last - first,
                static_cast<unsigned long long>(late));
    return EXIT_SUCCESS;
}

} // namespace

int main(int count, char** arguments) {
    using namespace std::string_view_literals;
    bool const sends = count == 7 && arguments[1] == "send"sv, receives = count == 5 && arguments[1] == "receive"sv;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if ((!sends && !receives) || ::inet_pton(AF_INET, arguments[2], &address.sin_addr) != 1) {
        std::fputs("usage: udp_load send ADDRESS PORT BYTES PER_SECOND SECONDS\n"
                   "       udp_load receive ADDRESS PORT IDLE_MS\n",
                   stderr);
        return EXIT_FAILURE;
    }
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(arguments[3])));
    int const fd = ::socket(AF_INET, SOCK_DGRAM, 0);
    int const buffer_bytes = 8 << 20;
    if (fd < 0) return failed("socket");
    ::setsockopt(fd, SOL_SOCKET, sends ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
    ::prctl(PR_SET_TIMERSLACK, 1);
    auto const* const to = reinterpret_cast<sockaddr const*>(&address);
    if ((sends ? ::connect(fd, to, sizeof address) : ::bind(fd, to, sizeof address)) != 0) return failed(arguments[2]);
    if (receives) return receive(fd, std::atoi(arguments[4]));
    auto const bytes_each = std::clamp<std::size_t>(std::strtoul(arguments[4], nullptr, 10), 8, most_bytes);
    return send(fd, bytes_each, std::atof(arguments[5]), std::atof(arguments[6]));
}
