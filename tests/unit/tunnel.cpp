// SPDX-License-Identifier: BSL-1.0
// Tunnels inside this process, joined by UDP over loopback: streams, listeners, UDP ports, ping, cancellation, peers,
// and what happens at the end.
#include <boost/test/unit_test.hpp>

#include <wg/tunnel.hpp>

#include <algorithm>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

namespace wg { inline namespace WG_ABI {
// Boost.Test prints values that differ.
inline std::ostream& operator<<(std::ostream& out, status s) { return out << name_of(s); }
}} // namespace wg::WG_ABI

namespace {

using namespace wg;

constexpr duration soon = seconds(20); ///< longer than any call takes that succeeds

endpoint at(char const* where) { return *text::parse_endpoint(where); }
ip_address address(char const* where) { return *text::parse_address(where); }
std::string base64(key_view key) { return std::string(text::print_base64_key(key).view()); }

/// The text of a configuration with one peer, whose endpoint is `remote_port` on loopback; 0: none.
std::string configuration(secret<key_bytes> const& key, std::string const& addresses, public_key const& peer,
                          std::uint16_t remote_port) {
    std::string made = "[Interface]\nPrivateKey = " + base64(key.expose()) + "\nAddress = " + addresses +
                       "\nDNS = 10.0.0.2, office.internal\n[Peer]\nPublicKey = " + base64(peer) +
                       "\nAllowedIPs = 0.0.0.0/0, ::/0\n";
    if (remote_port != 0) made += "Endpoint = 127.0.0.1:" + std::to_string(remote_port) + "\n";
    return made;
}

tunnel start(std::string const& text) {
    std::string why;
    auto made = tunnel::from_text(text, why);
    BOOST_REQUIRE_MESSAGE(made, why);
    return std::move(*made);
}

/// Two tunnels: `a` (10.0.0.1, fd00::1) knows the endpoint of `b` (10.0.0.2, fd00::2).
struct pair {
    secret<key_bytes> key_a, key_b;
    tunnel a, b;

    pair() {
        BOOST_REQUIRE(create_private_key(key_a));
        BOOST_REQUIRE(create_private_key(key_b));
        b = start(configuration(key_b, "10.0.0.2/24, fd00::2/64", public_key_of(key_a), 0));
        a = start(configuration(key_a, "10.0.0.1/24, fd00::1/64", public_key_of(key_b), b.listen_port()));
    }
};

/// A connection through `p` to `port` of its tunnel b: the ends of `a` and of `b`.
std::pair<stream, stream> connect(pair& p, listener& at_b, char const* host = "10.0.0.2") {
    auto near = p.a.dial(endpoint{address(host), at_b.port(), 0}, soon);
    BOOST_REQUIRE_MESSAGE(near, describe(near.why()));
    auto far = at_b.accept(soon);
    BOOST_REQUIRE_MESSAGE(far, describe(far.why()));
    return {std::move(*near), std::move(*far)};
}

/// Answers questions of DNS: `db.office.internal` is 10.0.0.2, `long.office.internal` the same but over TCP only, and
/// there are no other names.
std::vector<byte> answer_question(bytes_view question, bool stream) {
    std::size_t end = 12;
    std::string name;
    while (question[end] != 0) {
        for (std::size_t i = 1; i <= question[end]; ++i) name += static_cast<char>(question[end + i] | 0x20);
        name += '.';
        end += question[end] + 1u;
    }
    end += 5;
    bool const v4 = load_be16(&question[end - 4]) == 1;
    bool const is_long = name == "long.office.internal.";
    bool const known = name == "db.office.internal." || is_long;
    std::vector<byte> made(question.begin(), question.begin() + static_cast<std::ptrdiff_t>(end));
    made[2] = static_cast<byte>(is_long && !stream ? 0x82 : 0x80);
    made[3] = known ? 0 : 3;
    std::fill(made.begin() + 6, made.begin() + 12, byte{0});
    if (known && v4 && (stream || !is_long)) {
        made[7] = 1;
        byte const record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 2};
        made.insert(made.end(), std::begin(record), std::end(record));
    }
    return made;
}

std::vector<byte> pattern(std::size_t size) {
    std::vector<byte> made(size);
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<byte>(i * 7 + i / 251);
    return made;
}

std::vector<byte> read_all(stream& from) {
    std::vector<byte> all, part(70000);
    for (;;) {
        auto const got = from.read(part, soon);
        BOOST_REQUIRE_MESSAGE(got, describe(got.why()));
        if (*got == 0) return all;
        all.insert(all.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*got));
    }
}

std::string read_some(stream& from, duration timeout = soon) {
    byte room[100];
    auto const got = from.read(room, timeout);
    return got ? std::string(reinterpret_cast<char const*>(room), *got) : name_of(got.why());
}

} // namespace

BOOST_AUTO_TEST_SUITE(tunnels)

BOOST_AUTO_TEST_CASE(ping_of_both_families) {
    pair p;
    for (char const* const host : {"10.0.0.2", "fd00::2"}) {
        auto const took = p.a.ping(address(host), soon);
        BOOST_REQUIRE_MESSAGE(took, describe(took.why()));
        BOOST_TEST(took->nanoseconds > 0);
    }
    BOOST_TEST(p.a.ping(address("10.0.0.9"), milliseconds(50)).why() == status::timed_out);
}

BOOST_AUTO_TEST_CASE(bytes_arrive_as_they_were_sent_in_both_directions) {
    pair p;
    auto ports = p.b.listen(0);
    BOOST_REQUIRE(ports);
    for (char const* const host : {"10.0.0.2", "fd00::2"}) {
        auto [near, far] = connect(p, *ports, host);
        BOOST_TEST((far.remote() == near.local()));
        BOOST_TEST((near.remote() == endpoint{address(host), ports->port(), 0}));
        std::vector<byte> const sent = pattern(3'000'001);
        std::vector<byte> at_far;
        std::thread reader([&, &there = far] {
            at_far = read_all(there);
            BOOST_TEST(*there.write(sent, soon) == sent.size());
            there.finish();
        });
        for (std::size_t done = 0, step = 1; done < sent.size(); step = step * 3 + 1) {
            bytes_view const some = bytes_view(sent).subspan(done, (std::min)(step, sent.size() - done));
            BOOST_REQUIRE(*near.write(some, soon) == some.size());
            done += some.size();
        }
        near.finish();
        std::vector<byte> const at_near = read_all(near);
        reader.join();
        BOOST_TEST((at_far == sent));
        BOOST_TEST((at_near == sent));
        BOOST_TEST(near.write("late").why() == status::gone);
    }
}

BOOST_AUTO_TEST_CASE(a_closed_port_refuses_and_a_silent_host_times_out) {
    pair p;
    BOOST_TEST(p.a.dial(at("10.0.0.2:9"), soon).why() == status::refused);
    BOOST_TEST(p.a.dial(at("10.0.0.77:9"), milliseconds(50)).why() == status::timed_out);
}

BOOST_AUTO_TEST_CASE(a_family_without_an_address_is_not_supported) {
    pair p;
    tunnel const only_v4 = start(configuration(p.key_a, "10.0.0.1/24", public_key_of(p.key_b), 9));
    auto& t = const_cast<tunnel&>(only_v4);
    BOOST_TEST(t.dial(at("[fd00::2]:9"), soon).why() == status::not_supported);
    BOOST_TEST(t.ping(address("fd00::2"), soon).why() == status::not_supported);
    auto port = t.udp();
    BOOST_REQUIRE(port);
    BOOST_TEST(port->send_to(pattern(1), at("[fd00::2]:9")) == status::not_supported);
}

BOOST_AUTO_TEST_CASE(calls_end_at_their_timeout_or_do_not_wait) {
    pair p;
    auto ports = p.b.listen(0);
    BOOST_TEST(ports->accept(duration{}).why() == status::would_block);
    BOOST_TEST(ports->accept(milliseconds(20)).why() == status::timed_out);
    auto [near, far] = connect(p, *ports);
    BOOST_TEST(read_some(near, duration{}) == "would_block");
    BOOST_TEST(read_some(near, milliseconds(20)) == "timed_out");
    // Nobody reads at the other end, so the windows fill.
    std::vector<byte> const much(8'000'000);
    auto taken = near.write(much, milliseconds(100));
    BOOST_REQUIRE(taken);
    BOOST_TEST(*taken < much.size());
    while (taken) taken = near.write(much, milliseconds(100));
    BOOST_TEST(taken.why() == status::timed_out);
    BOOST_TEST(near.write("x", duration{}).why() == status::would_block);
}

BOOST_AUTO_TEST_CASE(a_connection_and_a_ping_begin_without_waiting) {
    pair p;
    auto ports = p.b.listen(0);
    BOOST_REQUIRE(ports);
    std::atomic<int> changes{0};
    event const count{[](void* n) noexcept { ++*static_cast<std::atomic<int>*>(n); }, &changes};
    auto near = p.a.begin_dial(endpoint{address("10.0.0.2"), ports->port(), 0});
    BOOST_REQUIRE(near);
    near->on_change(count);
    BOOST_TEST(near->read({}, duration{}).why() == status::would_block);
    auto far = ports->accept(soon);
    BOOST_REQUIRE(far);
    BOOST_TEST(near->wait_until_open(soon) == status::ok);
    BOOST_TEST(near->state() == status::ok);
    BOOST_TEST(changes >= 1);
    BOOST_REQUIRE(near->write("x"));
    BOOST_TEST(read_some(*far) == "x");

    auto silent = p.a.begin_dial(at("10.0.0.77:9"));
    BOOST_REQUIRE(silent);
    BOOST_TEST(silent->wait_until_open(duration{}) == status::would_block);
    BOOST_TEST(silent->wait_until_open(milliseconds(20)) == status::timed_out);
    auto closed = p.a.begin_dial(at("10.0.0.2:9"));
    BOOST_REQUIRE(closed);
    BOOST_TEST(closed->wait_until_open(soon) == status::refused);

    changes = 0;
    auto echo = p.a.begin_ping(address("10.0.0.2"));
    BOOST_REQUIRE(echo);
    echo->on_change(count);
    BOOST_TEST(bool(echo->wait(soon)));
    auto unanswered = p.a.begin_ping(address("10.0.0.77"));
    BOOST_REQUIRE(unanswered);
    BOOST_TEST(unanswered->wait(duration{}).why() == status::would_block);
    p.a.close(duration{});
    BOOST_TEST(unanswered->wait(soon).why() == status::gone);
    BOOST_TEST(silent->wait_until_open(soon) == status::gone);
}

BOOST_AUTO_TEST_CASE(another_thread_cancels_calls) {
    pair p;
    auto ports = p.b.listen(0);
    auto [near, far] = connect(p, *ports);
    {
        std::thread other([&, &it = near] { it.cancel(); });
        BOOST_TEST(read_some(near) == "cancelled");
        other.join();
    }
    canceller stop;
    std::vector<std::thread> waiting;
    std::atomic<int> cancelled{0};
    byte room[1];
    waiting.emplace_back([&] { cancelled += ports->accept(forever, &stop).why() == status::cancelled; });
    waiting.emplace_back([&] { cancelled += p.a.dial(at("10.0.0.77:1"), forever, &stop).why() == status::cancelled; });
    waiting.emplace_back([&, &it = far] { cancelled += it.read(room, forever, &stop).why() == status::cancelled; });
    waiting.emplace_back(
        [&] { cancelled += p.a.ping(address("10.0.0.77"), forever, &stop).why() == status::cancelled; });
    stop.cancel();
    for (std::thread& t : waiting) t.join();
    BOOST_TEST(cancelled == 4);
    BOOST_TEST(ports->accept(forever, &stop).why() == status::cancelled);
}

BOOST_AUTO_TEST_CASE(datagrams_keep_their_borders) {
    pair p;
    auto near = p.a.udp(), far = p.b.udp(5353);
    BOOST_REQUIRE(near);
    BOOST_REQUIRE(far);
    BOOST_TEST(p.b.udp(5353).why() == status::address_in_use);
    for (char const* const to : {"10.0.0.2:5353", "[fd00::2]:5353"}) {
        for (std::size_t const size : {0u, 1u, 1000u, 1372u}) {
            BOOST_REQUIRE(near->send_to(pattern(size), at(to)) == status::ok);
            byte room[2000];
            endpoint from;
            auto const got = far->receive_from(room, from, soon);
            BOOST_REQUIRE(got);
            BOOST_TEST(*got == size);
            BOOST_TEST((std::vector<byte>(room, room + *got) == pattern(size)));
            BOOST_TEST(from.port == near->port());
            BOOST_TEST(far->send_to(pattern(7), from) == status::ok);
            BOOST_TEST(*near->receive_from(bytes(room).first(5), from, soon) == 5u);
        }
    }
    BOOST_TEST(near->send_to(pattern(1393), at("10.0.0.2:5353")) == status::no_room);
    byte room[1];
    endpoint from;
    BOOST_TEST(near->receive_from(room, from, duration{}).why() == status::would_block);
}

BOOST_AUTO_TEST_CASE(names_are_asked_through_the_tunnel) {
    pair p;
    auto server = p.b.udp(53);
    auto streams = p.b.listen(53);
    auto ports = p.b.listen(80);
    BOOST_REQUIRE((server && streams && ports));
    std::atomic<int> questions{0}; ///< for IPv4 addresses
    canceller stop;
    std::thread by_udp([&] {
        byte room[512];
        endpoint from;
        while (auto const got = server->receive_from(room, from, forever, &stop)) {
            bytes_view const question = bytes_view(room).first(*got);
            std::vector<byte> const answer = answer_question(question, false);
            questions += load_be16(&answer[answer[7] != 0 ? answer.size() - 20 : answer.size() - 4]) == 1; // of IPv4
            BOOST_TEST(server->send_to(answer, from) == status::ok);
        }
    });
    std::thread by_tcp([&] {
        while (auto connection = streams->accept(forever, &stop)) {
            byte room[512];
            std::size_t size = 0;
            while (size < 2 || size < 2u + load_be16(room)) size += *connection->read(bytes(room).subspan(size), soon);
            std::vector<byte> answer = answer_question(bytes_view(room).subspan(2, size - 2), true);
            byte const head[] = {static_cast<byte>(answer.size() >> 8), static_cast<byte>(answer.size())};
            BOOST_TEST(bool(connection->write(bytes_view(head), soon)));
            BOOST_TEST(bool(connection->write(answer, soon)));
        }
    });
    for (char const* const host : {"db.office.internal", "db", "DB.Office.Internal.", "long"}) {
        auto const found = p.a.resolve(host, soon);
        BOOST_REQUIRE_MESSAGE(found, host);
        BOOST_TEST((*found == std::vector{address("10.0.0.2")}));
    }
    int const before = questions;
    BOOST_TEST(bool(p.a.dial("db.office.internal:80", soon)));
    BOOST_TEST(questions == before); // known for a minute
    BOOST_TEST(p.a.dial("nowhere:80", soon).why() == status::name_not_found);
    for (char const* const wrong : {"db", "db:", "db:x", "db:99999", "bad name:80", ":80"})
        BOOST_TEST(p.a.dial(wrong, soon).why() == status::invalid);
    stop.cancel();
    by_udp.join();
    by_tcp.join();
    BOOST_TEST(p.a.dial("fresh:80", milliseconds(100)).why() == status::timed_out);
}

BOOST_AUTO_TEST_CASE(tunnels_with_the_same_inner_addresses_stay_apart) {
    pair first, second;
    auto first_port = first.b.listen(80), second_port = second.b.listen(80);
    BOOST_REQUIRE(first_port);
    BOOST_REQUIRE(second_port);
    BOOST_TEST(first.b.listen(80).why() == status::address_in_use);
    auto [near_1, far_1] = connect(first, *first_port);
    auto [near_2, far_2] = connect(second, *second_port);
    BOOST_REQUIRE(near_1.write("one"));
    BOOST_REQUIRE(near_2.write("two"));
    BOOST_TEST(read_some(far_1) == "one");
    BOOST_TEST(read_some(far_2) == "two");
    first.a.close();
    BOOST_REQUIRE(near_2.write("still"));
    BOOST_TEST(read_some(far_2) == "still");
}

BOOST_AUTO_TEST_CASE(no_tunnel_takes_packets_for_the_addresses_of_another) {
    pair p;
    secret<key_bytes> key;
    BOOST_REQUIRE(create_private_key(key));
    tunnel other = start(configuration(key, "10.9.9.9/32", public_key_of(p.key_a), 9));
    auto port = other.listen(80);
    BOOST_REQUIRE(port);
    BOOST_TEST(p.a.dial(at("10.9.9.9:80"), milliseconds(100)).why() == status::timed_out);
    BOOST_TEST(p.a.ping(address("10.9.9.9"), milliseconds(50)).why() == status::timed_out);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_connection_reaches_the_other_end) {
    pair p;
    auto ports = p.b.listen(0);
    {
        auto [near, far] = connect(p, *ports);
        BOOST_REQUIRE(near.write("bye"));
        near.close();
        BOOST_TEST(read_some(near) == "gone");
        BOOST_TEST(read_some(far) == "bye");
        BOOST_TEST(read_some(far) == "");
    }
    {
        auto [near, far] = connect(p, *ports);
        BOOST_REQUIRE(near.write("unread"));
        while (!far.readable()) std::this_thread::yield();
        far.close(); // with data that nobody read: a reset, as Linux does
        BOOST_TEST(read_some(near) == "reset");
    }
}

BOOST_AUTO_TEST_CASE(what_was_written_arrives_though_the_tunnel_is_closed_at_once) {
    pair p;
    auto ports = p.b.listen(0);
    auto [near, far] = connect(p, *ports);
    std::vector<byte> const sent = pattern(500'000);
    BOOST_REQUIRE(*near.write(sent, soon) == sent.size());
    near.close();
    p.a.close();
    BOOST_TEST((read_all(far) == sent));
}

BOOST_AUTO_TEST_CASE(the_end_of_a_tunnel_reaches_the_other_ends_of_its_connections) {
    pair p;
    auto ports = p.b.listen(0);
    auto [near, far] = connect(p, *ports);
    p.a.close(duration{});
    BOOST_TEST(read_some(far) == "");
}

BOOST_AUTO_TEST_CASE(objects_of_a_closed_tunnel_are_gone) {
    pair p;
    auto ports = p.b.listen(0);
    auto port = p.a.udp();
    auto [near, far] = connect(p, *ports);
    std::thread closing([&] { p.a.close(duration{}); });
    BOOST_TEST(read_some(near) == "gone");
    closing.join();
    BOOST_TEST(near.write("x").why() == status::gone);
    byte room[1];
    endpoint from;
    BOOST_TEST(port->receive_from(room, from).why() == status::gone);
    BOOST_TEST(port->send_to(room, at("10.0.0.2:1")) == status::gone);
    p.b.close(duration{});
    BOOST_TEST(ports->accept().why() == status::gone);
}

BOOST_AUTO_TEST_CASE(a_function_is_called_when_something_has_changed) {
    pair p;
    auto ports = p.b.listen(0);
    auto [near, far] = connect(p, *ports);
    std::atomic<int> calls{0};
    far.on_change({[](void* count) noexcept { ++*static_cast<std::atomic<int>*>(count); }, &calls});
    BOOST_REQUIRE(near.write("x"));
    BOOST_TEST(read_some(far) == "x");
    BOOST_TEST(calls >= 1);
    far.on_change({});
    int const before = calls;
    BOOST_REQUIRE(near.write("y"));
    BOOST_TEST(read_some(far) == "y");
    BOOST_TEST(calls == before);
}

BOOST_AUTO_TEST_CASE(peers_are_listed_added_and_removed_while_the_tunnel_runs) {
    pair p;
    BOOST_REQUIRE(p.a.ping(address("10.0.0.2"), soon));
    auto const known = p.a.peers();
    BOOST_REQUIRE(known.size() == 1u);
    BOOST_TEST((known[0].key == public_key_of(p.key_b)));
    BOOST_TEST((known[0].endpoint == endpoint{address("127.0.0.1"), p.b.listen_port(), 0}));
    BOOST_TEST(known[0].last_handshake_s > 0);
    BOOST_TEST(known[0].sent_bytes > 0u);
    BOOST_TEST(known[0].received_bytes > 0u);
    BOOST_TEST(known[0].allowed_ips.size() == 2u);

    secret<key_bytes> key_c;
    BOOST_REQUIRE(create_private_key(key_c));
    tunnel c = start(configuration(key_c, "10.0.0.3/24", public_key_of(p.key_a), 0));
    BOOST_REQUIRE(p.a.configure({change::peer(public_key_of(key_c)),
                                 change::endpoint(endpoint{address("127.0.0.1"), c.listen_port(), 0}),
                                 change::allowed_ip(*text::parse_prefix("10.0.0.3/32"))}) == status::ok);
    BOOST_TEST(bool(p.a.ping(address("10.0.0.3"), soon)));
    BOOST_TEST(p.a.peers().size() == 2u);
    BOOST_REQUIRE(p.a.configure({change::peer(public_key_of(key_c)), change::remove_peer()}) == status::ok);
    BOOST_TEST(p.a.peers().size() == 1u);
    BOOST_TEST(bool(p.a.ping(address("10.0.0.2"), soon)));
}

BOOST_AUTO_TEST_CASE(connections_survive_a_restart_of_the_peers_daemon) {
    pair p;
    auto ports = p.b.listen(0);
    auto [near, far] = connect(p, *ports);
    // The peer loses its sessions, as a daemon does that is restarted: the keys stay, the handshake is repeated.
    BOOST_REQUIRE(p.b.configure({change::private_key(p.key_b.expose())}) == status::ok);
    BOOST_REQUIRE(near.write("again"));
    BOOST_TEST(read_some(far) == "again");
}

BOOST_AUTO_TEST_CASE(a_thousand_connections) {
    pair p;
    auto ports = p.b.listen(0, 255);
    std::vector<stream> near, far;
    for (int i = 0; i < 1000; ++i) {
        auto [a, b] = connect(p, *ports);
        near.push_back(std::move(a));
        far.push_back(std::move(b));
    }
    for (std::size_t i = 0; i < near.size(); ++i) BOOST_REQUIRE(near[i].write(std::to_string(i)));
    for (std::size_t i = 0; i < far.size(); ++i) BOOST_REQUIRE(read_some(far[i]) == std::to_string(i));
}

BOOST_AUTO_TEST_CASE(a_bad_configuration_is_refused_with_a_sentence) {
    std::string why;
    BOOST_TEST(tunnel::from_file("/nonexistent/x.conf", why).why() == status::io_error);
    BOOST_TEST(why == "/nonexistent/x.conf: No such file or directory");
    BOOST_TEST(tunnel::from_text("[Interface]\n", why).why() == status::no_private_key);
    BOOST_TEST(why == "[Interface] has no PrivateKey");
    secret<key_bytes> key;
    BOOST_REQUIRE(create_private_key(key));
    std::string const begin = "[Interface]\nPrivateKey=" + base64(key.expose()) + "\n";
    BOOST_TEST(tunnel::from_text(begin, why).why() == status::invalid);
    BOOST_TEST(why == "[Interface] has no Address");
    BOOST_TEST(tunnel::from_text(begin + "Adress=10.0.0.1/24\n", why).why() == status::invalid);
    BOOST_TEST(why.find(":3:") != std::string::npos);
    BOOST_TEST(tunnel::from_text(begin + "Address=10.0.0.1/24,10.0.0.2/24\n", why).why() == status::no_memory);
    BOOST_TEST(why == "Address 10.0.0.2: a tunnel inside a program holds one IPv4 and three IPv6 addresses");
    tunnel const holder = start(begin + "Address=10.0.0.1/24\n");
    auto const port = std::to_string(holder.listen_port());
    BOOST_TEST(tunnel::from_text(begin + "Address=10.0.0.1/24\nListenPort=" + port + "\n", why).why() ==
               status::address_in_use);
    BOOST_TEST(why == "UDP port " + port + ": the port is in use");
}

BOOST_AUTO_TEST_SUITE_END()
