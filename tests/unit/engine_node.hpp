// SPDX-License-Identifier: BSL-1.0
// An engine between a TUN device and a socket that the test controls; the peer is a host of the fixture.
#ifndef WG_TESTS_ENGINE_NODE_HPP
#define WG_TESTS_ENGINE_NODE_HPP

#include "wg/engine/engine.hpp"

#include "fixture.hpp"

#include <set>

namespace wg_tests {

using wg::change;
using wg::status;

struct scripted_tun {
    static constexpr std::size_t headroom = 10; // as for a device that writes a header before each packet
    std::deque<buffer> from_host;
    buffer endless; ///< if not empty, every read returns this packet
    std::vector<buffer> to_host;
    status read_fails = status::ok;
    std::size_t mtu_bytes = 1420;
    std::size_t reads = 0;
    std::size_t cut = 0; ///< bytes of the longest packet that did not fit into its window
    std::uint32_t sparse = 0;

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
            if (p.length < next.size()) cut = std::max(cut, next.size());
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
    std::size_t mtu() noexcept { return std::max(mtu_bytes, cut); }
    std::size_t longest_cut() const noexcept { return cut; }
    std::uint32_t sparse_packets() const noexcept { return sparse; }
};

/// Counts how often the engine yields.
struct yielding_threads : test_policies::threads {
    static inline unsigned yields = 0;
    static void give_way() noexcept { ++yields; }
};

/// Writes only the fields of a datagram that a socket must write; the engine initialises the others.
struct plain_socket {
    static constexpr std::size_t receive_bytes = 65536;
    struct arrival {
        wire what;
        std::size_t segment_bytes = 0;
        wg::local_source local{};
    };
    std::set<std::uint16_t> taken; ///< ports in use by other programs
    std::uint16_t port = 0;        ///< 0: closed
    std::deque<arrival> inbox;
    std::function<wire()> endless; ///< if set, every receive call returns a datagram of it
    std::vector<wire> sent;
    std::vector<wg::local_source> sent_from;
    std::size_t receives = 0, opens = 0;
    std::size_t asked = 0;       ///< datagrams that the last receive call had room for
    std::size_t blocked = 0;     ///< this many datagrams are lost because the host has no room
    bool forgets_source = false; ///< clears the local address, as a host does when the address is gone

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
    using threads = yielding_threads;
    using tun_device = scripted_tun;
    using udp_socket = Socket;
    using waiter = no_waiter;
};
static_assert(wg::engine_policies<scripted_policies<plain_socket>>);

/// Everything that `snapshot` reports, for comparison.
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

/// An engine `a` and a host `b` that are peers. The test decides when datagrams pass.
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
    /// Passes datagrams until neither end sends any.
    void settle() {
        for (unsigned round = 0;; ++round) {
            BOOST_TEST_REQUIRE(round < 1000u, "the ends never stop sending");
            BOOST_TEST_REQUIRE(a.run() == status::ok);
            b.poll();
            if (a.socket.sent.empty() && b.outbox.empty()) return;
            for (wire& out : std::exchange(a.socket.sent, {})) {
                out.from = a.where;
                if (out.to == b.where) b.receive(out);
            }
            while (!b.outbox.empty()) a.arrives(b.take_datagram());
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
    /// A datagram of `b` with an inner packet of that size. It is not delivered.
    wire from_b(std::size_t size, std::uint64_t stamp = 1, wg::byte tos = 0) {
        BOOST_TEST_REQUIRE(b.send(ipv4(b, a, size, stamp, tos)) == status::ok);
        return b.take_datagram();
    }
    /// An initiation with a right mac1 that no peer sent.
    wire forged(std::uint64_t stamp) {
        wire w_{noise(stamp).take(wg::initiation_layout::size), b.where, a.where, 0, {}};
        wg::store_le32(w_.data.data(), 1);
        put_mac1(w_.data, a.public_key);
        return w_;
    }
};
using tunnel = basic_tunnel<>;
using tunnel_lane = wg::lane<tunnel::policies>;

inline wire join(std::vector<wire> const& parts) {
    wire all = parts.front();
    for (std::size_t i = 1; i < parts.size(); ++i)
        all.data.insert(all.data.end(), parts[i].data.begin(), parts[i].data.end());
    return all;
}

} // namespace wg_tests

#endif
