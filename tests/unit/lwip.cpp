// SPDX-License-Identifier: BSL-1.0
// A node on lwIP and a node on a board, joined by Ethernet: two network stacks with WireGuard in each.
// This is a program of its own, because a process can have one lwIP only.
extern "C" {
#include <lwip/opt.h> // declares functions of C without saying so
}

#include <boost/test/unit_test.hpp>

#include "board.hpp"

#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/tcpip.h>
#include <netif/ethernet.h>
#include <semaphore>
#include <string>

namespace {

using namespace boards;
using wg::change, wg::endpoint, wg::ip_address, wg::ip_prefix;

void start_lwip() {
    std::binary_semaphore started(0);
    tcpip_init([](void* s) { static_cast<std::binary_semaphore*>(s)->release(); }, &started);
    started.acquire();
}

/// lwIP runs, and no other thread uses it.
struct alone_with_lwip {
    alone_with_lwip() {
        static bool const started = (start_lwip(), true);
        BOOST_TEST(started);
        LOCK_TCPIP_CORE();
    }
    ~alone_with_lwip() { UNLOCK_TCPIP_CORE(); }
};

ip_address v6(wg::byte net, wg::byte last) {
    ip_address a{{0xfd, net}, wg::family::v6};
    a.octets[15] = last;
    return a;
}
ip_address v4(wg::byte net, wg::byte last) { return ip_address::v4(10, net, 0, last); }

constexpr wg::byte outer = 1, inner = 2, lwip_end = 1, board_end = 2;

/// The clock and the random source of the device on lwIP come from a board too. Its Ethernet is an interface of lwIP.
struct lwip_policies : wg::bare_policies<test_board> {
    using tun_device = wg::bare::lwip_tun<>;
    using udp_socket = wg::bare::lwip_udp<>;
};

struct world {
    alone_with_lwip lock;
    test_board lwip_board{lwip_end}, board{board_end};
    netif ethernet{};
    wg::bare::lwip_tun<> tun;
    wg::bare::lwip_udp<> socket;
    wg::device<lwip_policies> device{wg::bare::board_source(lwip_board)};
    wg::engine<lwip_policies> engine{device, tun, socket};
    wg::bare_node<test_board> node{board};
    udp_pcb* application = udp_new_ip_type(IPADDR_TYPE_ANY);
    std::string heard;
    endpoint heard_from;

    explicit world(bool outer_v6) {
        netif_add_noaddr(&ethernet, this, start_ethernet, ethernet_input);
        address(ethernet, outer);
        address(tun.stack_interface(), inner);
        node.wire.set_v4({v4(outer, board_end), 24, {}});
        node.wire.set_v6({v6(outer, board_end), 64, {}});
        node.host.set_v4(v4(inner, board_end));
        node.host.set_v6(v6(inner, board_end));
        node.host.set_receiver(
            [](void* self, endpoint const& from, std::uint16_t port, wg::bytes_view data) noexcept {
                BOOST_TEST((static_cast<world*>(self)->node.host.send(from, port, data) == wg::status::ok));
            },
            this);
        udp_bind(application, IP_ANY_TYPE, 4000);
        udp_recv(
            application,
            [](void* self, udp_pcb*, pbuf* p, ip_addr_t const* from, std::uint16_t port) {
                auto& w = *static_cast<world*>(self);
                w.heard.resize(p->tot_len);
                pbuf_copy_partial(p, w.heard.data(), p->tot_len, 0);
                w.heard_from = {wg::bare::from_lwip(*from), port, 0};
                pbuf_free(p);
            },
            this);

        wg::secret<wg::key_bytes> mine, theirs;
        BOOST_REQUIRE((board.fill(mine.expose()) && lwip_board.fill(theirs.expose())));
        wg::clamp(mine);
        wg::clamp(theirs);
        auto const introduce = [](auto& to, auto const& own, auto const& other, wg::byte end, endpoint const& where) {
            wg::public_key const key = wg::public_key_of(other);
            BOOST_REQUIRE((to.configure({change::private_key(own.expose()), change::peer(key), change::endpoint(where),
                                         change::allowed_ip(ip_prefix::of(v4(inner, end), 32)),
                                         change::allowed_ip(ip_prefix::of(v6(inner, end), 128))}) == wg::status::ok));
            BOOST_REQUIRE((to.up() == wg::status::ok));
        };
        auto const at = [&](wg::byte end) { return endpoint{outer_v6 ? v6(outer, end) : v4(outer, end), 51820, 0}; };
        introduce(engine, mine, theirs, board_end, at(board_end));
        introduce(node.engine, theirs, mine, lwip_end, at(lwip_end));
    }
    ~world() {
        udp_remove(application);
        netif_remove(&ethernet);
    }

    static void address(netif& of, wg::byte net) {
        ip_addr_t const a4 = wg::bare::to_lwip(v4(net, lwip_end)), a6 = wg::bare::to_lwip(v6(net, lwip_end));
        ip_addr_t const mask = wg::bare::to_lwip(ip_address::v4(255, 255, 255, 0));
        netif_set_addr(&of, ip_2_ip4(&a4), ip_2_ip4(&mask), nullptr);
        netif_ip6_addr_set(&of, 0, ip_2_ip6(&a6));
        netif_ip6_addr_set_state(&of, 0, IP6_ADDR_PREFERRED);
    }
    static err_t start_ethernet(netif* made) {
        auto& w = *static_cast<world*>(made->state);
        made->mtu = 1500;
        made->hwaddr_len = 6;
        std::copy(w.lwip_board.station.begin(), w.lwip_board.station.end(), made->hwaddr);
        made->flags |= NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
        made->output = etharp_output;
        made->output_ip6 = ethip6_output;
        made->linkoutput = [](netif* through, pbuf* p) -> err_t {
            frame f(p->tot_len);
            pbuf_copy_partial(p, f.data(), p->tot_len, 0);
            static_cast<world*>(through->state)->board.arriving.push_back(std::move(f));
            return ERR_OK;
        };
        netif_set_link_up(made);
        netif_set_up(made);
        return ERR_OK;
    }

    void settle() {
        for (int quiet = 0; quiet < 3; ++quiet) {
            if (!board.arriving.empty()) quiet = 0;
            node.run_once();
            for (; !board.sent.empty(); board.sent.pop_front()) {
                frame const& f = board.sent.front();
                pbuf* const p = pbuf_alloc(PBUF_RAW, static_cast<std::uint16_t>(f.size()), PBUF_RAM);
                pbuf_take(p, f.data(), static_cast<std::uint16_t>(f.size()));
                if (ethernet.input(p, &ethernet) != ERR_OK) pbuf_free(p);
                quiet = 0;
            }
            (void)engine.run_once({true, true, 0});
        }
    }

    /// Sends to the board's echo port. Returns: the answer.
    std::string echo(ip_address const& to, std::string const& text) {
        pbuf* const p = pbuf_alloc(PBUF_TRANSPORT, static_cast<std::uint16_t>(text.size()), PBUF_RAM);
        pbuf_take(p, text.data(), static_cast<std::uint16_t>(text.size()));
        ip_addr_t const there = wg::bare::to_lwip(to);
        heard.clear();
        BOOST_TEST(udp_sendto(application, p, &there, 7) == ERR_OK);
        pbuf_free(p);
        settle();
        return heard;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_node_on_lwip_exchanges_data_with_a_board_over_both_families) {
    for (bool const outer_v6 : {false, true}) {
        world w(outer_v6);
        for (ip_address const& to : {v4(inner, board_end), v6(inner, board_end)}) {
            for (std::size_t const size : {std::size_t{1}, std::size_t{100}, std::size_t{1372}}) {
                std::string const text(size, 'x');
                BOOST_TEST(w.echo(to, text) == text);
                BOOST_TEST((w.heard_from == endpoint{to, 7, 0}));
            }
        }
        bool counted = false;
        struct sink {
            bool& counted;
            void device(wg::interface_facts const&) noexcept {}
            void peer(wg::peer_facts const& p) noexcept { counted = p.rx_bytes > 1372 && p.last_handshake_s != 0; }
            void allowed_ip(wg::ip_prefix const&) noexcept {}
        } facts{counted};
        w.device.snapshot(facts);
        BOOST_TEST(counted);

        // The board initiates, after lwIP's end has lost the session.
        w.engine.down();
        BOOST_REQUIRE((w.engine.up() == wg::status::ok));
        for (test_board* const b : {&w.board, &w.lwip_board}) b->time = b->time + wg::seconds(200);
        frame const greeting(20, 'g');
        BOOST_TEST((w.node.host.send({v4(inner, lwip_end), 4000, 0}, 9, greeting) == wg::status::ok));
        w.settle();
        BOOST_TEST(w.heard == std::string(20, 'g'));
    }
}

BOOST_AUTO_TEST_CASE(refuses_a_port_in_use_and_keeps_the_open_port) {
    world w(false);
    auto const taken = w.socket.open(4000); // the application's
    BOOST_TEST((!taken && taken.why() == wg::status::address_in_use));
    BOOST_TEST(w.echo(v4(inner, board_end), "still") == "still");
    auto const other = w.socket.open(51999);
    BOOST_REQUIRE(static_cast<bool>(other));
    BOOST_TEST(*other == 51999);
    BOOST_TEST(w.echo(v4(inner, board_end), "moved") == "moved");
    w.engine.down();
    BOOST_TEST(w.echo(v4(inner, board_end), "gone") == "");
}

BOOST_AUTO_TEST_CASE(datagrams_without_a_route_have_the_status_not_supported) {
    world w(false);
    wg::byte memory[64] = {};
    wg::datagram d;
    static_cast<wg::packet&>(d) = wg::packet(memory, 0, 20);
    BOOST_TEST(w.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::no_endpoint));
    netif_set_down(&w.ethernet);
    d.where.remote = {v4(outer, board_end), 9, 0};
    BOOST_TEST(w.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::not_supported));
}
