// SPDX-License-Identifier: BSL-1.0
// The engine between a TUN device and a socket that do as the test says; at the far end is a host of the fixture.
#include "wg/engine/engine.hpp"

#include "fixture.hpp"

#include <set>

using namespace wg_tests;
using wg::change;
using wg::status;

namespace {

struct scripted_tun {
    static constexpr std::size_t headroom = 10; // as one that puts a header of its own before each packet
    std::deque<buffer> from_host;
    buffer endless; ///< if not empty, the host sends this whenever it is asked
    std::vector<buffer> to_host;
    status read_fails = status::ok;
    std::size_t mtu_bytes = 1420;
    std::size_t reads = 0;
    std::uint32_t lone = 0;

    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        ++reads;
        if (read_fails != status::ok) return read_fails;
        std::size_t count = 0;
        for (; count < packets.size() && (!endless.empty() || !from_host.empty()); ++count) {
            buffer next = endless;
            if (!from_host.empty()) {
                next = std::move(from_host.front());
                from_host.pop_front();
            }
            wg::packet& p = packets[count];
            p.length = static_cast<std::uint32_t>(std::min<std::size_t>(next.size(), p.capacity - p.offset));
            wg::copy(p.view(), wg::bytes_view(next).first(p.length));
        }
        return count;
    }
    std::size_t write(std::span<wg::packet> packets) noexcept {
        for (wg::packet const& p : packets) {
            BOOST_TEST(p.headroom() >= headroom);
            to_host.emplace_back(p.view().begin(), p.view().end());
        }
        return packets.size();
    }
    std::size_t mtu() noexcept { return mtu_bytes; }
    std::uint32_t lone_packets() const noexcept { return lone; }
};

struct polite_threads : test_policies::threads {
    static inline unsigned ways = 0;
    static void give_way() noexcept { ++ways; }
};

/// Writes into a datagram only what it has to: whatever else is in there must be the engine's doing.
struct plain_socket {
    static constexpr std::size_t receive_bytes = 65536;
    struct arrival {
        wire what;
        std::size_t segment_bytes = 0;
        wg::local_source local{};
    };
    std::set<std::uint16_t> taken; ///< ports of somebody else
    std::uint16_t port = 0;        ///< 0: closed
    std::deque<arrival> inbox;
    std::function<wire()> endless; ///< what comes in whenever the engine looks
    std::vector<wire> sent;
    std::vector<wg::local_source> sent_from;
    std::size_t receives = 0, opens = 0;
    std::size_t asked = 0; ///< datagrams that the last receive had room for
    std::size_t blocked = 0;     ///< so many datagrams are lost for want of room
    bool forgets_source = false; ///< the address is gone, as a host may find when it sends

    wg::result<std::uint16_t> open(std::uint16_t wanted) noexcept {
        ++opens;
        if (taken.count(wanted) != 0) return status::address_in_use;
        port = wanted != 0 ? wanted : std::uint16_t{40000};
        return port;
    }
    void close() noexcept { port = 0; }
    wg::result<std::size_t> receive(std::span<wg::datagram> datagrams) noexcept {
        ++receives;
        asked = datagrams.size();
        std::size_t count = 0;
        for (; count < datagrams.size() && (endless || !inbox.empty()); ++count) {
            arrival next;
            if (!inbox.empty()) {
                next = std::move(inbox.front());
                inbox.pop_front();
            } else {
                next.what = endless();
            }
            wg::datagram& d = datagrams[count];
            d.length = static_cast<std::uint32_t>(next.what.data.size());
            BOOST_TEST_REQUIRE(d.length + d.offset <= d.capacity);
            wg::copy(d.view(), next.what.data);
            d.where.remote = next.what.from;
            if (next.what.tos != 0) d.tos = next.what.tos;
            if (next.segment_bytes != 0) d.segment_bytes = static_cast<std::uint16_t>(next.segment_bytes);
            if (next.local != wg::local_source{}) d.where.local = next.local;
        }
        return count;
    }
    std::size_t send(std::span<wg::datagram> datagrams) noexcept {
        std::size_t count = 0;
        for (wg::datagram& d : datagrams) {
            if (forgets_source) d.where.local = {};
            if (blocked != 0) {
                --blocked;
                d.why = status::would_block;
                continue;
            }
            sent.push_back({buffer(d.view().begin(), d.view().end()), {}, d.where.remote, d.tos, {}});
            sent_from.push_back(d.where.local);
            ++count;
        }
        return count;
    }
};

struct marking_socket : plain_socket {
    std::uint32_t mark = 0;
    bool may_mark = true;

    status set_fwmark(std::uint32_t wanted) noexcept {
        if (!may_mark) return status::no_permission;
        mark = wanted;
        return status::ok;
    }
};

struct no_waiter {
    wg::readiness wait(wg::instant) noexcept { return {}; }
    void wake() noexcept {}
};

template <class Socket> struct scripted_policies : test_policies {
    using threads = polite_threads;
    using tun_device = scripted_tun;
    using udp_socket = Socket;
    using waiter = no_waiter;
};
static_assert(wg::engine_policies<scripted_policies<plain_socket>>);

/// All that `snapshot` tells, to be compared.
struct everything {
    std::vector<std::string> lines;
    std::uint64_t tx_bytes = 0;
    void device(wg::interface_facts const& f) {
        lines.push_back(std::to_string(f.listen_port) + " " + std::to_string(f.fwmark));
    }
    void peer(wg::peer_facts const& p) {
        lines.emplace_back(p.key.begin(), p.key.end());
        tx_bytes += p.tx_bytes;
    }
    void allowed_ip(wg::ip_prefix const& p) { lines.emplace_back(p.address.octets.begin(), p.address.octets.end()); }
};

template <class Socket = marking_socket> struct basic_node {
    using policies = scripted_policies<Socket>;
    using engine_type = wg::engine<policies>;

    explicit basic_node(world& w)
        : of(w), random{noise(1), true, 0},
          device(virtual_clock{&w}, seeded_random{&random}, recording_observer{&events}) {
        wg::copy(private_key.expose(), noise(0xe9).take(wg::key_bytes));
        wg::bundled::dh{}.dh_public(public_key, private_key);
        BOOST_TEST_REQUIRE(configure(change::private_key(private_key.expose()), change::listen_port(where.port)) ==
                           status::ok);
    }

    world& of;
    wg::endpoint where{wg::ip_address::v4(192, 0, 2, 1), 50001, 0};
    wg::ip_address v4 = inner_v4(1), v6 = inner_v6(1);
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    random_state random;
    std::vector<event_record> events;
    scripted_tun tun;
    Socket socket;
    wg::device<policies> device;
    engine_type engine{device, tun, socket};

    template <class... Changes> status configure(Changes&&... changes) {
        change const list[] = {std::move(changes)...};
        return engine.configure(list);
    }
    status run(bool from_tun = true, bool from_udp = true) { return engine.run_once({from_tun, from_udp, 0}); }
    everything told() {
        everything all;
        engine.snapshot(all);
        return all;
    }
    std::vector<std::string> snapshot() { return told().lines; }
    std::uint64_t sent_bytes() { return told().tx_bytes; }
    void arrives(wire what, std::size_t segment_bytes = 0, wg::local_source local = {}) {
        socket.inbox.push_back({std::move(what), segment_bytes, local});
    }
    std::size_t count(wg::event_id id) const {
        return static_cast<std::size_t>(
            std::count_if(events.begin(), events.end(), [id](event_record const& e) { return e.id == id; }));
    }
};

/// An engine `a` and a host `b` who are peers; datagrams go back and forth when the test says so.
template <class Socket = marking_socket> struct basic_tunnel {
    using policies = typename basic_node<Socket>::policies;
    world w;
    basic_node<Socket> a{w};
    host b{w, 2};

    basic_tunnel() {
        add_peer(a, b);
        add_peer(b, a);
        BOOST_TEST_REQUIRE(a.engine.up() == status::ok);
    }
    /// Until neither has anything to say.
    void settle() {
        for (unsigned round = 0;; ++round) {
            BOOST_TEST_REQUIRE(round < 1000u, "they never fall silent");
            BOOST_TEST_REQUIRE(a.run() == status::ok);
            b.poll();
            if (a.socket.sent.empty() && b.outbox.empty()) return;
            for (wire& out : std::exchange(a.socket.sent, {})) {
                out.from = a.where;
                if (out.to == b.where) b.receive(out);
            }
            while (!b.outbox.empty()) a.arrives(b.steal());
        }
    }
    void connect() {
        a.tun.from_host.push_back(ipv4(a, b, 100));
        settle();
        BOOST_TEST_REQUIRE(b.received.size() == 1u);
        b.received.clear();
        a.events.clear();
        a.socket.sent_from.clear();
    }
    bool passes(std::uint64_t stamp = 7) {
        std::size_t const before = b.received.size();
        a.tun.from_host.push_back(ipv4(a, b, 120, stamp));
        settle();
        return b.received.size() == before + 1 && b.received.back() == ipv4(a, b, 120, stamp);
    }
    /// A datagram of `b` with an inner packet of that size, on nobody's way.
    wire from_b(std::size_t size, std::uint64_t stamp = 1, wg::byte tos = 0) {
        BOOST_TEST_REQUIRE(b.send(ipv4(b, a, size, stamp, tos)) == status::ok);
        return b.steal();
    }
    /// An initiation with a right mac1, but of nobody.
    wire forged(std::uint64_t stamp) {
        wire w_{noise(stamp).take(wg::initiation_layout::size), b.where, a.where, 0, {}};
        wg::store_le32(w_.data.data(), 1);
        put_mac1(w_.data, a.public_key);
        return w_;
    }
};
using tunnel = basic_tunnel<>;
using tunnel_lane = wg::lane<tunnel::policies>;

wire join(std::vector<wire> const& parts) {
    wire all = parts.front();
    for (std::size_t i = 1; i < parts.size(); ++i)
        all.data.insert(all.data.end(), parts[i].data.begin(), parts[i].data.end());
    return all;
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine)

BOOST_AUTO_TEST_CASE(moves_packets_both_ways) {
    tunnel l;
    l.connect();
    BOOST_TEST(l.passes());
    l.b.send(ipv6(l.b, l.a, 1420, 3));
    l.settle();
    BOOST_TEST_REQUIRE(l.a.tun.to_host.size() == 1u);
    BOOST_TEST((l.a.tun.to_host[0] == ipv6(l.b, l.a, 1420, 3)));
}

// --- up and down

BOOST_AUTO_TEST_CASE(a_port_in_use_leaves_it_down_and_a_later_up_works) {
    tunnel l;
    l.a.engine.down();
    l.a.socket.taken = {l.a.where.port};
    BOOST_TEST(l.a.engine.up() == status::address_in_use);
    BOOST_TEST(!l.a.engine.is_up());
    BOOST_TEST(!l.a.device.is_up());
    BOOST_TEST(l.a.engine.next_deadline() == wg::instant::never());
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.empty());
    l.a.socket.taken = {};
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.engine.is_up());
    BOOST_TEST(l.a.socket.port == l.a.where.port); // the one that was asked for at first
    l.connect();
}

BOOST_AUTO_TEST_CASE(up_twice_opens_once) {
    tunnel l;
    std::size_t const opens = l.a.socket.opens;
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.socket.opens == opens);
}

BOOST_AUTO_TEST_CASE(a_port_chosen_by_the_socket_is_told) {
    tunnel l;
    BOOST_TEST(l.a.configure(change::listen_port(0)) == status::ok);
    BOOST_TEST(l.a.device.listen_port() == 40000);
}

//= linux: an interface that is down has no socket
BOOST_AUTO_TEST_CASE(nothing_is_read_from_the_socket_when_down) {
    tunnel l;
    l.a.engine.down();
    BOOST_TEST(l.a.socket.port == 0);
    std::size_t const receives = l.a.socket.receives;
    l.a.arrives(l.forged(1));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.receives == receives);
    BOOST_TEST(l.a.socket.sent.empty());
}

BOOST_AUTO_TEST_CASE(what_the_host_sends_to_an_interface_that_is_down_is_lost) {
    tunnel l;
    l.connect();
    l.a.engine.down();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.from_host.empty());
    BOOST_TEST(l.a.device.counter(status::device_down) == 1u);
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.empty());
}

//= linux: an interface that goes down forgets its sessions and says nothing more
BOOST_AUTO_TEST_CASE(down_ends_sessions) {
    tunnel l;
    l.connect();
    wire const late = l.from_b(100);
    l.a.engine.down();
    BOOST_TEST(l.a.engine.up() == status::ok);
    l.a.arrives(late);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.to_host.empty());
    BOOST_TEST(l.a.device.counter(status::unknown_index) == 1u);
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST_REQUIRE(l.a.socket.sent.size() == 1u);
    BOOST_TEST((l.a.socket.sent[0].type() == wg::message_type::initiation));
}

BOOST_AUTO_TEST_CASE(an_engine_that_ends_takes_the_interface_down) {
    world w;
    basic_node<> a(w);
    {
        wg::engine<basic_node<>::policies> other(a.device, a.tun, a.socket);
        BOOST_TEST(other.up() == status::ok);
        BOOST_TEST(a.device.is_up());
    }
    BOOST_TEST(!a.device.is_up());
    BOOST_TEST(a.socket.port == 0);
}

BOOST_AUTO_TEST_CASE(a_removed_tun_device_is_told) {
    tunnel l;
    l.a.tun.read_fails = status::gone;
    BOOST_TEST(l.a.run() == status::gone);
}

BOOST_AUTO_TEST_CASE(a_tun_device_that_fails_otherwise_is_read_again) {
    tunnel l;
    l.a.tun.read_fails = status::io_error;
    BOOST_TEST(l.a.run() == status::ok);
    l.a.tun.read_fails = status::ok;
    l.connect();
}

// --- configuration: all or nothing

BOOST_AUTO_TEST_CASE(a_port_in_use_changes_nothing_at_all) {
    tunnel l;
    l.connect();
    BOOST_TEST(l.a.configure(change::fwmark(5)) == status::ok);
    auto const before = l.a.snapshot();
    l.a.socket.taken = {600};
    host other(l.w, 3);
    BOOST_TEST(l.a.configure(change::fwmark(6), change::listen_port(600), change::replace_peers(),
                             change::peer(other.public_key)) == status::address_in_use);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.socket.mark == 5u);
    BOOST_TEST(l.a.socket.port == l.a.where.port);
    BOOST_TEST(l.a.device.listen_port() == l.a.where.port);
    BOOST_TEST(l.passes());
}

BOOST_AUTO_TEST_CASE(a_mark_that_is_not_permitted_changes_nothing_at_all) {
    tunnel l;
    auto const before = l.a.snapshot();
    l.a.socket.may_mark = false;
    BOOST_TEST(l.a.configure(change::listen_port(600), change::fwmark(6)) == status::no_permission);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.socket.port == l.a.where.port);
}

BOOST_AUTO_TEST_CASE(what_the_device_refuses_does_not_touch_the_socket) {
    tunnel l;
    std::size_t const opens = l.a.socket.opens;
    BOOST_TEST(l.a.configure(change::listen_port(600), change::fwmark(6), change::endpoint(l.b.where)) ==
               status::invalid);
    BOOST_TEST(l.a.socket.opens == opens);
    BOOST_TEST(l.a.socket.mark == 0u);
}

BOOST_AUTO_TEST_CASE(a_socket_that_cannot_mark_takes_no_mark_but_zero) {
    basic_tunnel<plain_socket> l;
    auto const before = l.a.snapshot();
    BOOST_TEST(l.a.configure(change::fwmark(6), change::replace_peers()) == status::not_supported);
    BOOST_TEST((l.a.snapshot() == before));
    BOOST_TEST(l.a.configure(change::fwmark(0)) == status::ok);
}

BOOST_AUTO_TEST_CASE(a_port_set_while_down_is_opened_by_up) {
    tunnel l;
    l.a.engine.down();
    BOOST_TEST(l.a.configure(change::listen_port(600)) == status::ok);
    BOOST_TEST(l.a.socket.port == 0);
    BOOST_TEST(l.a.engine.up() == status::ok);
    BOOST_TEST(l.a.socket.port == 600);
}

// --- datagrams

BOOST_AUTO_TEST_CASE(joined_datagrams_are_split) {
    tunnel l;
    l.connect();
    std::vector<wire> parts;
    std::vector<buffer> inner;
    for (unsigned i = 0; i < 5; ++i) {
        std::size_t const size = i < 4 ? 100 : 40; // the last one is shorter
        parts.push_back(l.from_b(size, i, 2));
        inner.push_back(ipv4(l.b, l.a, size, i, 3));
    }
    wire all = join(parts);
    all.tos = 3; // is said of all of them
    l.a.arrives(all, parts[0].data.size());
    BOOST_TEST(l.a.run() == status::ok);
    l.a.arrives(l.from_b(200, 9)); // and not of the next
    BOOST_TEST(l.a.run() == status::ok);
    inner.push_back(ipv4(l.b, l.a, 200, 9));
    BOOST_TEST((l.a.tun.to_host == inner));
}

BOOST_AUTO_TEST_CASE(a_joined_datagram_of_one_segment_or_of_whole_segments_is_no_more_than_that) {
    tunnel l;
    l.connect();
    wire const one = l.from_b(100, 1), first = l.from_b(100, 2), second = l.from_b(100, 3);
    l.a.arrives(one, 2 * one.data.size());
    l.a.arrives(join({first, second}), first.data.size());
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.tun.to_host.size() == 3u);
    BOOST_TEST(l.a.device.counter(status::malformed) == 0u);
}

BOOST_AUTO_TEST_CASE(more_datagrams_are_asked_for_only_as_more_come) {
    tunnel l;
    l.connect();
    std::size_t constexpr most = tunnel_lane::receive_batch;
    static_assert(most > 16);
    auto const asked = [&](std::size_t arriving) {
        for (std::size_t i = 0; i < arriving; ++i) l.a.arrives(l.from_b(100));
        BOOST_TEST(l.a.run(false, true) == status::ok);
        return l.a.socket.asked;
    };
    BOOST_TEST(asked(1) == 4u);
    BOOST_TEST(asked(4) == 4u);
    BOOST_TEST(asked(8) == 8u);
    BOOST_TEST(asked(16) == 16u);
    BOOST_TEST(asked(most) == std::min<std::size_t>(32, most));
    l.settle();
    (void)asked(2);
    BOOST_TEST(asked(2) == 4u);
}

BOOST_AUTO_TEST_CASE(more_segments_than_a_batch_keep_their_order) {
    tunnel l;
    l.connect();
    constexpr std::size_t batch = wg::engine<scripted_policies<marking_socket>>::batch;
    for (std::size_t const many : {batch - 1, batch, batch + 1, 2 * batch, 3 * batch + 7}) {
        std::vector<wire> parts;
        std::vector<buffer> inner;
        for (unsigned i = 0; i < many; ++i) {
            parts.push_back(l.from_b(60, i));
            inner.push_back(ipv4(l.b, l.a, 60, i));
        }
        l.a.tun.to_host.clear();
        l.a.arrives(join(parts), parts[0].data.size());
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST((l.a.tun.to_host == inner), many << " segments");
    }
}

BOOST_AUTO_TEST_CASE(an_empty_datagram_is_malformed_and_nothing_else) {
    tunnel l;
    l.connect();
    wire empty{{}, l.b.where, l.a.where, 0, {}};
    l.a.arrives(empty);
    l.a.arrives(l.from_b(100, 5));
    l.a.arrives(empty, 100);
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.device.counter(status::malformed) == 2u);
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_socket_that_only_tells_of_failure_is_understood) {
    tunnel l;
    l.connect();
    std::uint64_t const before = l.a.sent_bytes();
    l.a.socket.blocked = 2;
    for (unsigned i = 0; i < 3; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i)); // the third is sent
    BOOST_TEST(l.a.run() == status::ok);
    for (unsigned i = 0; i < 3; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i)); // and all of these
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(l.a.socket.sent.size() == 4u);
    BOOST_TEST(l.a.sent_bytes() - before == 4 * (112 + wg::transport_overhead_bytes));
}

BOOST_AUTO_TEST_CASE(answers_leave_from_where_the_peer_sent_to_until_the_socket_says_that_it_is_gone) {
    tunnel l;
    l.connect();
    wg::local_source const here{wg::ip_address::v4(192, 0, 2, 77), 4};
    l.a.arrives(l.from_b(100), 0, here);
    l.settle();
    BOOST_TEST(l.passes(1));
    BOOST_TEST_REQUIRE(!l.a.socket.sent_from.empty());
    BOOST_TEST((l.a.socket.sent_from.back() == here));
    l.a.socket.forgets_source = true;
    BOOST_TEST(l.passes(2));
    l.a.socket.forgets_source = false;
    l.a.socket.sent_from.assign(1, here);
    BOOST_TEST(l.passes(3));
    BOOST_TEST((l.a.socket.sent_from.back() == wg::local_source{}));
    l.a.arrives(l.from_b(100), 0, here);
    l.settle();
    l.a.arrives(l.from_b(100)); // nothing is said of this one: it is not where the last one came to
    l.settle();
    BOOST_TEST(l.passes(4));
    BOOST_TEST((l.a.socket.sent_from.back() == wg::local_source{}));
}

// --- packets

BOOST_AUTO_TEST_CASE(a_greater_mtu_takes_greater_packets) {
    tunnel l;
    l.connect();
    l.a.tun.mtu_bytes = 9000;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    for (std::size_t const size : {9000u, 8999u, 1421u, 60u}) {
        l.b.received.clear();
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, size, size));
        l.settle();
        BOOST_TEST_REQUIRE(l.b.received.size() == 1u);
        BOOST_TEST((l.b.received[0] == ipv4(l.a, l.b, size, size)));
    }
    l.a.tun.mtu_bytes = 1280; // smaller again: what was read before may still be longer
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    BOOST_TEST(l.passes());
}

BOOST_AUTO_TEST_CASE(a_packet_of_a_greater_mtu_may_wait_for_the_session) {
    tunnel l;
    l.a.tun.mtu_bytes = 9000;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 9000));
    l.settle();
    BOOST_TEST_REQUIRE(l.b.received.size() == 1u);
    BOOST_TEST((l.b.received[0] == ipv4(l.a, l.b, 9000)));
}

BOOST_AUTO_TEST_CASE(a_tun_device_that_does_not_know_its_mtu_has_the_usual_one) {
    tunnel l;
    l.a.tun.mtu_bytes = 0;
    BOOST_TEST(l.a.engine.refresh_mtu() == status::ok);
    l.connect();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, wg::default_mtu_bytes));
    l.settle();
    BOOST_TEST(l.b.received.size() == 1u);
}

BOOST_AUTO_TEST_CASE(the_host_is_told_what_cannot_be_reached) {
    tunnel l;
    l.connect();
    std::size_t const sizes[] = {40, 1420}; // the longest leaves least room for the answer
    for (std::size_t const size : sizes) {
        l.w.now = l.w.now + wg::seconds(1);
        l.a.tun.to_host.clear();
        l.a.tun.from_host.push_back(inner_packet(l.a.v4, inner_v4(99), size));
        l.a.tun.from_host.push_back(inner_packet(l.a.v6, inner_v6(99), std::max<std::size_t>(size, 60)));
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST_REQUIRE(l.a.tun.to_host.size() == 2u);
        BOOST_TEST(+l.a.tun.to_host[0][9] == 1);  // ICMP
        BOOST_TEST(+l.a.tun.to_host[0][20] == 3); // destination unreachable
        BOOST_TEST(+l.a.tun.to_host[1][6] == 58); // ICMPv6
        BOOST_TEST(+l.a.tun.to_host[1][40] == 1); // destination unreachable
        BOOST_TEST(l.a.socket.sent.size() == 1u);
        l.a.socket.sent.clear();
    }
}

// --- bounded work

BOOST_AUTO_TEST_CASE(a_flood_of_handshakes_does_not_starve_data) {
    tunnel l;
    l.connect();
    std::uint64_t stamp = 1000;
    l.a.socket.endless = [&] { return l.forged(++stamp); };
    l.a.arrives(l.from_b(100, 1));
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, 2));
    std::uint64_t const dh = counted_dh::calls;
    std::size_t const receives = l.a.socket.receives;
    BOOST_TEST(l.a.run() == status::ok); // and ends
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    BOOST_TEST(
        std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), [](wire const& s) { return s.is_data(); }) == 1);
    std::uint64_t const rounds = l.a.socket.receives - receives;
    BOOST_TEST(rounds <= 16u);
    // What a step costs: at most handshakes_at_once for what came from the socket and one for what came from the host.
    BOOST_TEST(counted_dh::calls - dh <= rounds * 2 * l.a.device.handshakes_at_once);
    BOOST_TEST(counted_dh::calls > dh);

    // As long as it lasts: data gets through in each step, in both directions.
    for (unsigned i = 0; i < 20; ++i) {
        l.a.tun.to_host.clear();
        l.a.socket.sent.clear();
        l.a.arrives(l.from_b(100, i));
        l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100, i));
        BOOST_TEST(l.a.run() == status::ok);
        BOOST_TEST(l.a.tun.to_host.size() == 1u);
        BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(),
                                 [](wire const& s) { return s.is_data(); }) == 1);
    }
}

BOOST_AUTO_TEST_CASE(a_flood_of_data_does_not_starve_handshakes_nor_the_other_direction) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 100);
    wire const replayed = l.from_b(100);
    l.a.socket.endless = [&] { return replayed; };
    host c(l.w, 3);
    add_peer(c, l.a);
    BOOST_TEST(l.a.configure(change::peer(c.public_key)) == status::ok);
    c.send(ipv4(c, l.a, 100));
    l.a.arrives(c.steal());
    std::size_t const reads = l.a.tun.reads, receives = l.a.socket.receives;
    BOOST_TEST(l.a.run() == status::ok); // and ends
    BOOST_TEST(l.a.tun.reads - reads <= 16u);
    BOOST_TEST(l.a.socket.receives - receives <= 16u);
    BOOST_TEST(l.a.tun.to_host.size() == 1u);
    auto const is_response = [](wire const& s) { return s.type() == wg::message_type::response; };
    auto const is_data = [](wire const& s) { return s.is_data(); };
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_response) == 1);
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(), is_data) > 0);
}

BOOST_AUTO_TEST_CASE(a_bulk_transfer_gives_way_while_lone_packets_come_often) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 100);
    auto const gives_way = [&](wg::duration later, unsigned lone) {
        l.w.now = l.w.now + later;
        l.a.tun.lone += lone;
        unsigned const before = polite_threads::ways;
        BOOST_TEST(l.a.run() == status::ok);
        return polite_threads::ways != before;
    };
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 1)); // the first for long
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(gives_way(wg::milliseconds(20), 1));
    BOOST_TEST(gives_way(wg::milliseconds(49), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 0));
    BOOST_TEST(!gives_way(wg::milliseconds(1), 1)); // again the first
    BOOST_TEST(!gives_way(wg::milliseconds(1000), 1));
    BOOST_TEST(gives_way(wg::milliseconds(5), 2));
    // One that is no bulk transfer has nothing to give way with.
    l.a.tun.endless.clear();
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(!gives_way(wg::milliseconds(5), 1));
}

BOOST_AUTO_TEST_CASE(it_pays_to_look_out_for_single_packets_that_follow_soon) {
    tunnel l;
    l.connect();
    auto const step = [&](wg::duration later, std::size_t packets) {
        l.w.now = l.w.now + later;
        for (std::size_t i = 0; i < packets; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
        BOOST_TEST(l.a.run() == status::ok);
        return l.a.engine.busy_poll();
    };
    wg::duration const none{};
    auto const sixteen_quick_ones = [&] {
        for (int i = 0; i < 15; ++i) BOOST_TEST((step(wg::milliseconds(1), 1) == none));
        BOOST_TEST((step(wg::milliseconds(1), 8) == wg::milliseconds(2)));
    };
    BOOST_TEST((step(wg::seconds(1), 1) == none));
    sixteen_quick_ones();
    BOOST_TEST((step(wg::milliseconds(1), 0) == wg::milliseconds(2))); // a step that found nothing says nothing
    BOOST_TEST((step(wg::milliseconds(2), 1) == none));                // too late
    sixteen_quick_ones();
    BOOST_TEST((step(wg::milliseconds(1), 9) == none)); // many at once
    // Both directions count.
    for (int i = 0; i < 16; ++i) {
        l.a.arrives(l.from_b(100));
        (void)step(wg::milliseconds(1), 0);
    }
    BOOST_TEST((l.a.engine.busy_poll() == wg::milliseconds(2)));
    std::vector<wire> nine;
    for (int i = 0; i < 9; ++i) nine.push_back(l.from_b(100));
    l.a.arrives(join(nine), nine[0].data.size());
    BOOST_TEST((step(wg::milliseconds(1), 0) == none));
}

BOOST_AUTO_TEST_CASE(strangers_are_not_looked_out_for) {
    tunnel l;
    l.connect();
    for (unsigned i = 0; i < 40; ++i) {
        l.w.now = l.w.now + wg::milliseconds(1);
        wire junk = l.from_b(100, i);
        junk.data.back() ^= 1;
        l.a.arrives(std::move(junk));
        l.a.arrives(l.forged(i));
        l.settle();
        BOOST_TEST((l.a.engine.busy_poll() == wg::duration{}));
    }
    BOOST_TEST(l.a.device.counter(status::decryption_failed) == 80u); // all were looked at
}

BOOST_AUTO_TEST_CASE(it_does_not_pay_to_look_out_after_each_burst) {
    tunnel l;
    l.connect();
    auto const looks_after = [&](unsigned packets) {
        for (unsigned i = 0; i < packets; ++i) {
            l.w.now = l.w.now + (i == 0 ? wg::milliseconds(10) : wg::milliseconds(1));
            l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
            l.settle(); // which finds nothing more after the packet
        }
        return l.a.engine.busy_poll() != wg::duration{};
    };
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(looks_after(17));
    for (int burst = 0; burst < 4; ++burst) BOOST_TEST(!looks_after(17)); // each is seen when the next one begins
    BOOST_TEST(looks_after(17 + 2 * 256));
    BOOST_TEST(looks_after(17));
    BOOST_TEST(!looks_after(17));
}

BOOST_AUTO_TEST_CASE(timers_run_although_packets_never_cease) {
    tunnel l;
    l.connect();
    l.a.tun.endless = ipv4(l.a, l.b, 60);
    BOOST_TEST(l.a.run() == status::ok);
    l.a.socket.sent.clear();
    l.w.now = l.w.now + wg::seconds(16); // no answer came
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(std::count_if(l.a.socket.sent.begin(), l.a.socket.sent.end(),
                             [](wire const& s) { return s.type() == wg::message_type::initiation; }) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
