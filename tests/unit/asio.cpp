// SPDX-License-Identifier: BSL-1.0
// wg/asio.hpp over two tunnels of this process: coroutines, completion tokens, cancellation, executors, and the end of
// the execution context. Compiled with Asio and with Boost.Asio, and under TSan.
#include <boost/test/unit_test.hpp>

#if defined(__clang__) && defined(__cpp_impl_coroutine) // Asio before 1.24 does not know that clang has coroutines
#define ASIO_HAS_CO_AWAIT 1
#define ASIO_HAS_STD_COROUTINE 1
#define BOOST_ASIO_HAS_CO_AWAIT 1
#define BOOST_ASIO_HAS_STD_COROUTINE 1
#endif

#include <wg/asio.hpp>

#if WG_ASIO_BOOST
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete" // g++ 12, for coroutine frames of Boost 1.74
#endif
#include <boost/asio.hpp>
#if WG_ASIO_HAS_CANCELLATION
#include <boost/asio/experimental/awaitable_operators.hpp>
#endif
namespace asio = boost::asio;
#else
#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#endif

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace wg;
using asio::use_awaitable;
using wg::async::error_code;
using namespace std::chrono_literals;

constexpr duration soon = seconds(60); ///< longer than any operation takes that succeeds

ip_address address(char const* where) { return *text::parse_address(where); }
endpoint at(char const* host, std::uint16_t port) { return {address(host), port, 0}; }

wg::tunnel start(secret<key_bytes> const& key, std::string const& addresses, public_key const& peer,
                 std::uint16_t remote_port) {
    std::string text = "[Interface]\nPrivateKey = " + std::string(text::print_base64_key(key.expose()).view()) +
                       "\nAddress = " + addresses +
                       "\nDNS = 10.0.0.2\n[Peer]\nPublicKey = " + std::string(text::print_base64_key(peer).view()) +
                       "\nAllowedIPs = 0.0.0.0/0, ::/0\n";
    if (remote_port != 0) text += "Endpoint = 127.0.0.1:" + std::to_string(remote_port) + "\n";
    std::string why;
    auto made = wg::tunnel::from_text(text, why);
    BOOST_REQUIRE_MESSAGE(made, why);
    return std::move(*made);
}

/// Two tunnels: `a` (10.0.0.1) knows the endpoint of `b` (10.0.0.2).
struct pair {
    asio::io_context io;
    std::optional<async::tunnel> a, b;

    pair() {
        secret<key_bytes> key_a, key_b;
        BOOST_REQUIRE(create_private_key(key_a));
        BOOST_REQUIRE(create_private_key(key_b));
        b.emplace(io.get_executor(), start(key_b, "10.0.0.2/24, fd00::2/64", public_key_of(key_a), 0));
        a.emplace(io.get_executor(),
                  start(key_a, "10.0.0.1/24, fd00::1/64", public_key_of(key_b), (*b)->listen_port()));
    }
    /// Runs a coroutine to its end, and fails if it throws.
    template <class Coroutine> void run(Coroutine coroutine) {
        std::exception_ptr thrown;
        bool is_done = false;
        asio::co_spawn(io, std::move(coroutine), [&](std::exception_ptr why) {
            thrown = why;
            is_done = true;
            io.stop(); // other operations may wait without end
        });
        io.restart();
        io.run();
        BOOST_TEST(is_done);
        if (thrown) std::rethrow_exception(thrown);
    }
};

/// Both ends of a connection.
struct both {
    async::stream near, far;
};
asio::awaitable<both> connect(pair& p) {
    auto ports = p.b->listen(0);
    BOOST_REQUIRE(ports);
    both made;
    made.near = co_await p.a->async_dial(at("10.0.0.2", ports->port()), soon, use_awaitable);
    made.far = co_await ports->async_accept(use_awaitable);
    co_return made;
}

std::string pattern(std::size_t size) {
    std::string made(size, '\0');
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<char>(i * 31 + i / 1000);
    return made;
}

/// Sends back what arrives, until the other end has ended its data.
asio::awaitable<void> echo(async::stream client) {
    char room[10000];
    for (;;) {
        std::size_t size = 0;
        try {
            size = co_await client.async_read_some(asio::buffer(room), use_awaitable);
        } catch (std::exception const&) {
            break;
        }
        co_await asio::async_write(client, asio::buffer(room, size), use_awaitable);
    }
    client.finish();
}
asio::awaitable<void> serve(async::listener& port) {
    for (;;) {
        async::stream client = co_await port.async_accept(use_awaitable);
        asio::co_spawn(client.get_executor(), echo(std::move(client)), asio::detached);
    }
}

/// Keeps the error and the values of a completion.
struct outcome {
    int calls = 0;
    error_code error{};
    template <class... Results> void operator()(error_code why, Results const&...) {
        ++calls;
        error = why;
    }
};

/// The answer to a question of DNS: 10.0.0.2 for every IPv4 address of a name that begins with `d`.
std::string answer_question(std::string const& question) {
    std::size_t end = 12;
    while (question[end] != 0) end += 1 + static_cast<unsigned char>(question[end]);
    bool const is_known = (question[13] | 0x20) == 'd', is_v4 = question[end + 2] == 1;
    std::string answer = question.substr(0, end + 5);
    char const counts[] = {0, 1, 0, is_known && is_v4, 0, 0, 0, 0};
    answer[2] = static_cast<char>(0x81);
    answer[3] = static_cast<char>(is_known ? 0x80 : 0x83);
    answer.replace(4, 8, counts, 8);
    char const record[] = {'\xc0', 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 2};
    if (is_known && is_v4) answer.append(record, sizeof record);
    return answer;
}
asio::awaitable<void> serve_names(async::udp_port& port) {
    for (;;) {
        char room[512];
        endpoint from;
        std::size_t const size = co_await port.async_receive_from(asio::buffer(room), from, use_awaitable);
        co_await port.async_send_to(asio::buffer(answer_question({room, size})), from, use_awaitable);
    }
}

/// The error of an operation that a coroutine awaits.
template <class Awaitable> asio::awaitable<error_code> error_of(Awaitable what) {
    try {
        (void)co_await std::move(what);
    } catch (std::exception const& thrown) {
#if WG_ASIO_BOOST
        co_return dynamic_cast<boost::system::system_error const&>(thrown).code();
#else
        co_return dynamic_cast<std::system_error const&>(thrown).code();
#endif
    }
    co_return error_code{};
}

} // namespace

BOOST_AUTO_TEST_SUITE(asio_tunnels)

BOOST_AUTO_TEST_CASE(coroutines_send_back_what_arrives) {
    pair p;
    auto port = p.b->listen(7);
    BOOST_REQUIRE(port);
    asio::co_spawn(p.io, serve(*port), asio::detached);
    p.run([&]() -> asio::awaitable<void> {
        async::stream s = co_await p.a->async_dial("10.0.0.2:7", use_awaitable);
        BOOST_TEST((s.remote() == at("10.0.0.2", 7)));
        co_await asio::async_write(s, asio::buffer("one\ntwo", 7), use_awaitable);
        std::string line;
        co_await asio::async_read_until(s, asio::dynamic_buffer(line), '\n', use_awaitable);
        BOOST_TEST(line.substr(0, 4) == "one\n");
        while (line.size() < 7) {
            char c;
            co_await s.async_read_some(asio::buffer(&c, 1), use_awaitable);
            line += c;
        }
        BOOST_TEST(line == "one\ntwo");
        // More than the windows hold, so writing and reading wait for each other.
        std::string const sent = pattern(8'000'000);
        asio::co_spawn(p.io, asio::async_write(s, asio::buffer(sent), use_awaitable), [&](auto, std::size_t size) {
            BOOST_TEST(size == sent.size());
            s.finish();
        });
        std::string got;
        error_code const end = co_await error_of(asio::async_read(s, asio::dynamic_buffer(got), use_awaitable));
        BOOST_TEST(end == asio::error::eof);
        BOOST_TEST((got == sent));
    });
}

BOOST_AUTO_TEST_CASE(buffers_of_a_sequence_are_read_and_written_in_order) {
    pair p;
    p.run([&]() -> asio::awaitable<void> {
        both c = co_await connect(p);
        std::string const head = "head ", body = pattern(20'000);
        std::vector<asio::const_buffer> const out{asio::buffer(head), asio::const_buffer(), asio::buffer(body)};
        BOOST_TEST((co_await asio::async_write(c.near, out, use_awaitable)) == 20'005u);
        std::string first(3, ' '), rest(20'002, ' ');
        std::vector<asio::mutable_buffer> const in{asio::buffer(first), asio::mutable_buffer(), asio::buffer(rest)};
        BOOST_TEST((co_await asio::async_read(c.far, in, use_awaitable)) == 20'005u);
        BOOST_TEST((first + rest == head + body));
        BOOST_TEST((co_await c.far.async_read_some(asio::mutable_buffer(), use_awaitable)) == 0u);
        BOOST_TEST((co_await c.far.async_write_some(asio::const_buffer(), use_awaitable)) == 0u);
        error_code error;
        BOOST_TEST(c.far.write_some(asio::buffer("x", 1), error) == 1u);
        BOOST_TEST(c.near.read_some(asio::buffer(first), error) == 1u);
        BOOST_TEST(!error);
    });
}

BOOST_AUTO_TEST_CASE(errors_are_those_of_asio) {
    pair p;
    p.run([&]() -> asio::awaitable<void> {
        BOOST_TEST((co_await error_of(p.a->async_dial("10.0.0.2:9", use_awaitable))) ==
                   asio::error::connection_refused);
        BOOST_TEST((co_await error_of(p.a->async_dial("10.0.0.77:9", milliseconds(30), use_awaitable))) ==
                   asio::error::timed_out);
        BOOST_TEST((co_await error_of(p.a->async_dial(at("10.0.0.77", 9), milliseconds(30), use_awaitable))) ==
                   asio::error::timed_out);
        for (char const* const wrong : {"db", "db:", "db:x", "db:99999", "bad name:80", ":80"})
            BOOST_TEST((co_await error_of(p.a->async_dial(wrong, use_awaitable))) == asio::error::invalid_argument);
        BOOST_TEST((co_await error_of(p.a->async_ping(address("10.0.0.77"), milliseconds(30), use_awaitable))) ==
                   asio::error::timed_out);
        both c = co_await connect(p);
        char room[1];
        c.far.finish();
        BOOST_TEST((co_await error_of(c.near.async_read_some(asio::buffer(room), use_awaitable))) == asio::error::eof);
        BOOST_TEST((co_await error_of(c.far.async_write_some(asio::buffer(room), use_awaitable))) ==
                   asio::error::connection_aborted);
        auto port = p.a->udp();
        std::string const too_long(2000, ' ');
        BOOST_TEST((co_await error_of(port->async_send_to(asio::buffer(too_long), at("10.0.0.2", 1), use_awaitable))) ==
                   asio::error::message_size);
        BOOST_TEST((p.a->udp(port->port()).why() == status::address_in_use));
    });
    BOOST_TEST(async::to_error_code(status::no_random).message() == describe(status::no_random));
}

BOOST_AUTO_TEST_CASE(names_are_asked_through_the_tunnel_by_a_thread) {
    pair p;
    auto names = p.b->udp(53);
    auto port = p.b->listen(80);
    BOOST_REQUIRE((names && port));
    asio::co_spawn(p.io, serve_names(*names), asio::detached);
    p.run([&]() -> asio::awaitable<void> {
        std::vector<ip_address> const found = co_await p.a->async_resolve("db.office", use_awaitable);
        BOOST_TEST((found == std::vector{address("10.0.0.2")}));
        async::stream s = co_await p.a->async_dial("db2.office:80", use_awaitable);
        BOOST_TEST((s.remote() == at("10.0.0.2", 80)));
        BOOST_TEST((co_await error_of(p.a->async_dial("nowhere:80", use_awaitable))) == asio::error::host_not_found);
        BOOST_TEST((co_await error_of(p.a->async_dial("db.office:81", use_awaitable))) ==
                   asio::error::connection_refused);
    });
    // More questions at once than threads.
    int answered = 0;
    for (int i = 0; i < 20; ++i)
        p.a->async_resolve("d" + std::to_string(i), [&](error_code error, std::vector<ip_address> const& found) {
            BOOST_TEST(!error);
            BOOST_TEST(found.size() == 1u);
            if (++answered == 20) p.io.stop();
        });
    p.io.restart();
    p.io.run();
    BOOST_TEST(answered == 20);
}

BOOST_AUTO_TEST_CASE(datagrams_and_pings) {
    pair p;
    p.run([&]() -> asio::awaitable<void> {
        auto near = p.a->udp(), far = p.b->udp(5353);
        BOOST_REQUIRE((near && far));
        char room[100];
        endpoint from;
        for (char const* const host : {"10.0.0.2", "fd00::2"}) {
            BOOST_TEST((co_await near->async_send_to(asio::buffer("hello", 5), at(host, 5353), use_awaitable)) == 5u);
            BOOST_TEST((co_await far->async_receive_from(asio::buffer(room), from, use_awaitable)) == 5u);
            BOOST_TEST(std::string(room, 5) == "hello");
            BOOST_TEST(from.port == near->port());
            BOOST_TEST((co_await p.a->async_ping(address(host), use_awaitable)).nanoseconds > 0);
        }
    });
}

BOOST_AUTO_TEST_CASE(operations_that_wait_are_cancelled) {
    pair p;
    std::optional<both> c;
    p.run([&]() -> asio::awaitable<void> { c.emplace(co_await connect(p)); });
    auto port = p.a->udp();
    auto ports = p.b->listen(0);
    char room[10];
    endpoint from;
    std::string const much = pattern(4'000'000);
    outcome read, second_read, write, receive, accept, after;
    c->near.async_read_some(asio::buffer(room), std::ref(read));
    c->near.async_read_some(asio::buffer(room), std::ref(second_read));
    asio::async_write(c->near, asio::buffer(much), std::ref(write));
    port->async_receive_from(asio::buffer(room), from, std::ref(receive));
    ports->async_accept(std::ref(accept));
    p.io.restart();
    p.io.run_for(50ms);
    BOOST_TEST(read.calls + second_read.calls + write.calls + receive.calls + accept.calls == 0);
    c->near.cancel();
    port.operator*().cancel();
    ports = status::gone; // the destructor cancels
    p.io.restart();
    p.io.run(); // returns, because nothing waits any more
    for (outcome const* const o : {&read, &second_read, &write, &receive, &accept}) {
        BOOST_TEST(o->calls == 1);
        BOOST_TEST(o->error == asio::error::operation_aborted);
    }
    // The connection is as it was.
    c->near.async_read_some(asio::buffer(room), std::ref(after));
    BOOST_TEST(c->far.write_some(asio::buffer("x", 1), read.error) == 1u);
    p.io.restart();
    p.io.run();
    BOOST_TEST(after.calls == 1);
    BOOST_TEST(!after.error);
    c->near.async_read_some(asio::buffer(room), std::ref(after));
    c->near.close();
    p.io.restart();
    p.io.run();
    BOOST_TEST(after.error == asio::error::operation_aborted);
}

#if WG_ASIO_HAS_CANCELLATION
BOOST_AUTO_TEST_CASE(cancellation_slots_end_one_operation) {
    pair p;
    std::optional<both> c;
    p.run([&]() -> asio::awaitable<void> { c.emplace(co_await connect(p)); });
    asio::cancellation_signal stop_read, stop_dial, stop_name, stop_ping;
    char room[10];
    outcome read, other_read, dial, name, by_name, ping;
    auto const with = [](asio::cancellation_signal& signal, outcome& into) {
        return asio::bind_cancellation_slot(signal.slot(), std::ref(into));
    };
    c->near.async_read_some(asio::buffer(room), with(stop_read, read));
    c->near.async_read_some(asio::buffer(room), std::ref(other_read));
    p.a->async_dial(at("10.0.0.77", 1), with(stop_dial, dial));
    p.a->async_resolve("silent", with(stop_name, name)); // nobody answers
    p.a->async_ping(address("10.0.0.77"), with(stop_ping, ping));
    asio::cancellation_signal stop_by_name;
    p.a->async_dial("silent:1", with(stop_by_name, by_name));
    p.io.restart();
    p.io.run_for(20ms);
    for (auto* const signal : {&stop_read, &stop_dial, &stop_name, &stop_ping, &stop_by_name})
        signal->emit(asio::cancellation_type::total);
    stop_read.emit(asio::cancellation_type::terminal); // too late: without effect
    while (read.calls + dial.calls + name.calls + by_name.calls + ping.calls < 5) p.io.run_one_for(1s);
    for (outcome const* const o : {&read, &dial, &name, &by_name, &ping}) {
        BOOST_TEST(o->calls == 1);
        BOOST_TEST(o->error == asio::error::operation_aborted);
    }
    BOOST_TEST(other_read.calls == 0);
    c->far.close();
    p.io.run();
    BOOST_TEST(other_read.error == asio::error::eof);
}

BOOST_AUTO_TEST_CASE(a_timer_ends_a_coroutine_that_reads) {
    using namespace asio::experimental::awaitable_operators;
    pair p;
    p.run([&]() -> asio::awaitable<void> {
        both c = co_await connect(p);
        asio::steady_timer timer(p.io, 20ms);
        char room[10];
        auto const first =
            co_await (c.near.async_read_some(asio::buffer(room), use_awaitable) || timer.async_wait(use_awaitable));
        BOOST_TEST(first.index() == 1u);
    });
}
#endif

BOOST_AUTO_TEST_CASE(operations_end_with_the_tunnel) {
    pair p;
    std::optional<both> c;
    p.run([&]() -> asio::awaitable<void> { c.emplace(co_await connect(p)); });
    auto port = p.a->udp();
    char room[10];
    endpoint from;
    outcome read, receive, dial, name, ping, late;
    c->near.async_read_some(asio::buffer(room), std::ref(read));
    port->async_receive_from(asio::buffer(room), from, std::ref(receive));
    p.a->async_dial(at("10.0.0.77", 1), std::ref(dial));
    p.a->async_resolve("silent", std::ref(name));
    p.a->async_ping(address("10.0.0.77"), std::ref(ping));
    p.a->close(duration{});
    p.a->async_dial(at("10.0.0.2", 1), std::ref(late));
    BOOST_TEST((p.a->listen(0).why() == status::gone));
    p.io.restart();
    p.io.run();
    for (outcome const* const o : {&read, &receive, &dial, &ping, &late})
        BOOST_TEST(o->error == asio::error::connection_aborted);
    BOOST_TEST(name.error == asio::error::operation_aborted);
    BOOST_TEST(name.calls == 1);
}

BOOST_AUTO_TEST_CASE(the_end_of_the_context_destroys_handlers_that_own_what_they_wait_for) {
    auto const watch = std::make_shared<int>();
    {
        pair p;
        auto const owned = std::make_shared<both>();
        p.run([&]() -> asio::awaitable<void> { *owned = co_await connect(p); });
        static char room[10];
        owned->near.async_read_some(asio::buffer(room), [owned, watch](error_code, std::size_t) { BOOST_TEST(false); });
        p.a->async_resolve("silent", [watch](error_code, auto const&) { BOOST_TEST(false); });
        p.a->async_dial(at("10.0.0.77", 1), [watch](error_code, auto const&) { BOOST_TEST(false); });
        p.io.restart();
        p.io.poll();
    } // the tunnels end first, then the context
    BOOST_TEST(watch.use_count() == 1);
    // The other order: the context ends first, and the objects outlive it.
    {
        secret<key_bytes> key;
        BOOST_REQUIRE(create_private_key(key));
        std::optional<async::tunnel> outlives;
        {
            asio::io_context io;
            outlives.emplace(io.get_executor(), start(key, "10.0.0.1/24", public_key_of(key), 9));
            outlives->async_resolve("silent", [watch](error_code, auto const&) { BOOST_TEST(false); });
            outlives->async_ping(address("10.0.0.2"), [watch](error_code, auto) { BOOST_TEST(false); });
            io.poll();
        }
        BOOST_TEST(watch.use_count() == 1);
    }
}

BOOST_AUTO_TEST_CASE(handlers_run_on_their_executor_and_futures_work) {
    pair p;
    auto port = p.b->listen(0);
    BOOST_REQUIRE(port);
    asio::thread_pool other(1);
    std::thread::id where{}, here{};
    asio::post(other, asio::use_future([&] { where = std::this_thread::get_id(); })).get();
    p.a->async_dial(at("10.0.0.2", port->port()), asio::bind_executor(other, [&](error_code error, async::stream s) {
                        BOOST_TEST(!error);
                        BOOST_TEST(bool(s));
                        here = std::this_thread::get_id();
                    }));
    p.io.restart();
    p.io.run();
    other.join();
    BOOST_TEST((here == where));

    auto accepted = port->async_accept_on(asio::make_strand(p.io), asio::use_future);
    p.io.restart();
    std::thread runs([&] { p.io.run(); });
    BOOST_TEST(bool(accepted.get()));
    runs.join();
}

BOOST_AUTO_TEST_CASE(strands_keep_connections_apart_on_three_threads) {
    constexpr int count = 30;
    pair p;
    auto port = p.b->listen(7, 255);
    BOOST_REQUIRE(port);
    asio::co_spawn(p.io, serve(*port), asio::detached);
    std::atomic<int> done{0};
    auto const client = [&]() -> asio::awaitable<void> {
        async::stream s = co_await p.a->async_dial(at("10.0.0.2", 7), soon, use_awaitable);
        std::string const sent = pattern(10'000);
        for (int i = 0; i < 3; ++i) {
            co_await asio::async_write(s, asio::buffer(sent), use_awaitable);
            std::string got(sent.size(), ' ');
            co_await asio::async_read(s, asio::buffer(got), use_awaitable);
            if (got != sent) co_return;
        }
        if (++done == count) p.io.stop();
    };
    for (int i = 0; i < count; ++i) asio::co_spawn(asio::make_strand(p.io), client(), asio::detached);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { p.io.run(); });
    for (std::thread& t : threads) t.join();
    BOOST_TEST(done == count);
}

BOOST_AUTO_TEST_CASE(a_thousand_connections_on_one_thread) {
    constexpr int count = 1000;
    pair p;
    auto port = p.b->listen(7, 255);
    BOOST_REQUIRE(port);
    asio::co_spawn(p.io, serve(*port), asio::detached);
    std::vector<async::stream> open;
    int answered = 0;
    p.run([&]() -> asio::awaitable<void> {
        for (int i = 0; i < count; ++i)
            open.push_back(co_await p.a->async_dial(at("10.0.0.2", 7), soon, use_awaitable));
        auto const ask = [&](std::size_t i) -> asio::awaitable<void> {
            std::string const sent = std::to_string(i);
            co_await asio::async_write(open[i], asio::buffer(sent), use_awaitable);
            std::string got(sent.size(), ' ');
            co_await asio::async_read(open[i], asio::buffer(got), use_awaitable);
            answered += got == sent;
        };
        asio::steady_timer all(p.io, asio::steady_timer::time_point::max());
        for (std::size_t i = 0; i < count; ++i)
            asio::co_spawn(p.io, ask(i), [&](std::exception_ptr) {
                if (answered == count) all.cancel();
            });
        (void)co_await error_of(all.async_wait(use_awaitable));
    });
    BOOST_TEST(answered == count);
}

BOOST_AUTO_TEST_SUITE_END()
