// SPDX-License-Identifier: BSL-1.0
// The program under test of tunnel.py: a tunnel inside a process, driven by commands.
//
//     tunnel_peer CONFIGURATION BLOB
//
// Reads one command a line from the standard input, and answers each with a line: `ok`, with a result, or `error` with
// the name of a status. BLOB is a file with random bytes; TCP carries it COUNT times, and each receiver compares it.
#include <wg/tunnel.hpp>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace {

constexpr wg::duration soon = wg::seconds(60);

std::string failed(wg::status why) { return std::string("error ") + wg::name_of(why); }

struct peer {
    wg::tunnel tunnel;
    std::vector<wg::byte> blob;
    std::vector<wg::stream> kept{};

    /// Sends the blob `count` times.
    wg::status send(wg::stream& to, std::size_t count) const {
        for (std::size_t i = 0; i < count; ++i) {
            auto const sent = to.write(blob, soon);
            if (!sent) return sent.why();
            if (*sent != blob.size()) return wg::status::timed_out;
        }
        return wg::status::ok;
    }
    /// Receives until the end, which must come after the blob `count` times.
    wg::status receive(wg::stream& from, std::size_t count) const {
        std::vector<wg::byte> room(1 << 18);
        std::size_t total = 0;
        for (;;) {
            auto const got = from.read(room, soon);
            if (!got) return got.why();
            if (*got == 0) return total == count * blob.size() ? wg::status::ok : wg::status::io_error;
            for (std::size_t done = 0; done < *got;) {
                std::size_t const at = total % blob.size(), some = (std::min)(*got - done, blob.size() - at);
                if (std::memcmp(&room[done], &blob[at], some) != 0) return wg::status::malformed;
                done += some;
                total += some;
            }
        }
    }
    /// Writes a line with `number` to each connection, then reads it back from each.
    wg::status ask_all(std::size_t number) {
        std::string const line = std::to_string(number) + "\n";
        for (wg::stream& s : kept)
            if (auto const sent = s.write(line, soon); !sent) return sent.why();
        for (wg::stream& s : kept) {
            std::string got;
            while (got.size() < line.size()) {
                wg::byte room[64];
                auto const some = s.read(wg::bytes(room).first(line.size() - got.size()), soon);
                if (!some) return some.why();
                if (*some == 0) return wg::status::gone;
                got.append(reinterpret_cast<char const*>(room), *some);
            }
            if (got != line) return wg::status::malformed;
        }
        return wg::status::ok;
    }
    /// Sends datagrams of these sizes to a port that sends them back.
    std::string exchange_datagrams(wg::endpoint const& to) {
        auto port = tunnel.udp();
        if (!port) return failed(port.why());
        for (std::size_t const size : {0u, 1u, 15u, 16u, 17u, 500u, 1372u}) {
            if (auto const sent = port->send_to(wg::bytes_view(blob).first(size), to); sent != wg::status::ok)
                return failed(sent);
            wg::byte room[2000];
            wg::endpoint from;
            auto const got = port->receive_from(room, from, wg::seconds(10));
            if (!got) return failed(got.why());
            if (!(from == to) || *got != size || std::memcmp(room, blob.data(), size) != 0)
                return failed(wg::status::malformed);
        }
        return "ok";
    }

    std::string run(std::string const& command, std::string const& target, std::size_t count) {
        if (command == "ping") {
            auto const address = wg::text::parse_address(target);
            auto const took = address ? tunnel.ping(*address, wg::seconds(10)) : wg::status::invalid;
            return took ? "ok " + std::to_string(took->nanoseconds / 1000) : failed(took.why());
        }
        if (command == "resolve") {
            auto const found = tunnel.resolve(target, wg::seconds(10));
            if (!found) return failed(found.why());
            std::string all = "ok";
            for (wg::ip_address const& a : *found) all.append(" ").append(wg::text::print(a).view());
            return all;
        }
        if (command == "datagrams") {
            auto const to = wg::text::parse_endpoint(target);
            return to ? exchange_datagrams(*to) : failed(wg::status::invalid);
        }
        if (command == "send" || command == "receive" || command == "both") {
            auto made = tunnel.dial(target, soon);
            if (!made) return failed(made.why());
            wg::status sent = wg::status::ok;
            std::thread sender;
            if (command != "receive")
                sender = std::thread([&] {
                    sent = send(*made, count);
                    made->finish();
                });
            wg::status const received = receive(*made, command == "send" ? 0 : count); // waits for the other end
            if (sender.joinable()) sender.join();
            return sent != wg::status::ok ? failed(sent) : received != wg::status::ok ? failed(received) : "ok";
        }
        if (command == "accept") { // receives, and sends the same back
            auto port = tunnel.listen(static_cast<std::uint16_t>(std::stoul(target)));
            if (!port) return failed(port.why());
            std::puts("ok listens");
            std::fflush(stdout);
            auto client = port->accept(soon);
            if (!client) return failed(client.why());
            wg::status why = receive(*client, count);
            if (why == wg::status::ok) why = send(*client, count);
            client->finish();
            wg::byte last[1];
            if (auto const end = client->read(last, soon); why == wg::status::ok && !end) why = end.why();
            return why == wg::status::ok ? "ok" : failed(why);
        }
        if (command == "connect") { // and keeps the connections
            while (kept.size() < count) {
                auto made = tunnel.dial(target, soon);
                if (!made) return failed(made.why()) + " after " + std::to_string(kept.size());
                kept.push_back(std::move(*made));
            }
            return "ok";
        }
        if (command == "ask") {
            auto const why = ask_all(count);
            return why == wg::status::ok ? "ok" : failed(why);
        }
        if (command == "drop") {
            kept = {};
            return "ok";
        }
        return failed(wg::status::invalid);
    }
};

} // namespace

int main(int, char** arguments) {
    std::string why;
    auto made = wg::tunnel::from_file(arguments[1], why);
    if (!made) return std::printf("error %s\n", why.c_str()), 1;
    std::ifstream file(arguments[2], std::ios::binary);
    peer p{std::move(*made), std::vector<wg::byte>(std::istreambuf_iterator<char>(file), {})};
    std::puts("ok");
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string command, target;
        std::size_t count = 0;
        words >> command >> target >> count;
        std::puts(p.run(command, target, count).c_str());
        std::fflush(stdout);
    }
    return 0;
}
