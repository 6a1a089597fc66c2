// SPDX-License-Identifier: BSL-1.0
// Two whole nodes on boards, and a simulated wire between them.
#include <boost/test/unit_test.hpp>

#include "board.hpp"

#include <string>

BOOST_AUTO_TEST_SUITE(bare_node)

namespace {

using namespace boards;
using wg::change, wg::ip_address, wg::ip_prefix;

struct two_peers : wg::small_capacity {
    static constexpr std::size_t max_peers = 2;
};

struct node {
    test_board board;
    wg::bare_node<test_board, wg::bare_policies<test_board, two_peers>> wg_node{board};
    wg::secret<wg::key_bytes> secret;
    wg::public_key key{};
    std::string received;

    explicit node(wg::byte number) : board(number) {
        (void)board.fill(secret.expose());
        wg::clamp(secret);
        key = wg::public_key_of(secret);
        wg_node.wire.set_v4({ip_address::v4(192, 0, 2, number), 24, {}});
        wg_node.host.set_v4(ip_address::v4(10, 0, 0, number));
        wg_node.host.set_receiver(
            [](void* context, wg::endpoint const&, std::uint16_t, wg::bytes_view data) noexcept {
                static_cast<node*>(context)->received.assign(data.begin(), data.end());
            },
            this);
    }
    void add_peer(node const& other, bool where) {
        change changes[] = {change::private_key(secret.expose()), change::listen_port(51820), change::peer(other.key),
                            change::allowed_ip(ip_prefix::of(other.inner(), 32)),
                            change::endpoint({other.outer(), 51820, 0})};
        BOOST_REQUIRE((wg_node.engine.configure(std::span(changes, where ? 5 : 4)) == wg::status::ok));
        BOOST_REQUIRE((wg_node.engine.up() == wg::status::ok));
    }
    wg::status send(node const& to, std::string const& text) {
        frame const data(text.begin(), text.end());
        return wg_node.host.send({to.inner(), 7, 0}, 7, data);
    }
    ip_address inner() const { return ip_address::v4(10, 0, 0, board.station[5]); }
    ip_address outer() const { return ip_address::v4(192, 0, 2, board.station[5]); }
};

struct wire {
    node a{1}, b{2};
    std::size_t handshakes = 0;

    wire() {
        a.add_peer(b, true);
        b.add_peer(a, false);
    }
    /// Runs both nodes until no frame is on its way.
    void settle() {
        do {
            for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
                from->wg_node.run_once();
                for (frame& f : from->board.sent) {
                    if (f.size() == 14 + 20 + 8 + 148) ++handshakes;
                    to->board.arriving.push_back(std::move(f));
                }
                from->board.sent.clear();
            }
        } while (!a.board.arriving.empty() || !b.board.arriving.empty());
    }
    void advance_clock(int seconds) {
        for (; seconds != 0; --seconds) {
            for (node* const n : {&a, &b}) n->board.time = n->board.time + wg::seconds(1);
            settle();
        }
    }
    void exchange(std::string const& text) {
        BOOST_TEST((a.send(b, text) == wg::status::ok));
        settle();
        BOOST_TEST(b.received == text);
        BOOST_TEST((b.send(a, text + "!") == wg::status::ok));
        settle();
        BOOST_TEST(a.received == text + "!");
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(first_packet_makes_a_session_and_arrives) {
    wire w;
    w.exchange("hello");
    BOOST_TEST(w.handshakes == 1u);
    w.exchange(std::string(1391, 'x')); // the reply fills the MTU
    BOOST_TEST(w.handshakes == 1u);
}

BOOST_AUTO_TEST_CASE(sessions_are_renewed_and_survive_a_restart_of_the_board) {
    wire w;
    w.exchange("one");
    w.advance_clock(121);
    w.exchange("two");
    w.exchange("three");
    BOOST_TEST(w.handshakes == 2u);

    w.advance_clock(1);
    // The board that has the endpoint restarts, with the next value of its boot counter.
    std::destroy_at(&w.a);
    std::construct_at(&w.a, wg::byte{1});
    w.a.board.boots = 2;
    w.a.board.time = w.b.board.time;
    w.a.add_peer(w.b, true);
    w.exchange("four");
}

BOOST_AUTO_TEST_CASE(node_has_the_capacities_of_its_bundle_and_holds_its_memory) {
    wire w;
    wg::public_key const other{1}, third{2};
    BOOST_TEST((w.a.wg_node.engine.configure({change::peer(other)}) == wg::status::ok));
    BOOST_TEST((w.a.wg_node.engine.configure({change::peer(third)}) == wg::status::too_many_peers));
    using policies = wg::bare_policies<test_board>;
    static_assert(sizeof(wg::bare_node<test_board>) >= sizeof(wg::device<policies>) + sizeof(wg::engine<policies>));
    BOOST_TEST(sizeof(wg::bare_node<test_board>) < 16384u);
}

BOOST_AUTO_TEST_SUITE_END()
