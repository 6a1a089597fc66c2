// SPDX-License-Identifier: BSL-1.0
// Several threads move the packets of one interface: no packet is lost, and no packet overtakes another of its flow.
// State that only one thread at a time may use has no lock here, so that -fsanitize=thread finds a violation.
#include "checks.hpp"
#include "parallel.hpp"

#include "wg/engine/workers.hpp"
#include "wg/os/linux/threads.hpp"

#include <mutex>
#include <set>

BOOST_AUTO_TEST_SUITE(workers)

using namespace wg_tests;
using wg::change;
using wg::status;

namespace {

std::uint64_t stamp_of(wg::bytes_view inner) { return wg::load_le64(&inner[inner.size() - 8]); }

/// Packets of a flow, with a number each.
struct flow {
    wg::ip_address from, to;
    std::uint64_t made = 0, wanted = 0; ///< used by the thread that has claimed the flow
};

/// A packet that ends in the number of the flow and the number of the packet.
buffer next_packet(flow& f, std::size_t number) {
    buffer inner = inner_packet(f.from, f.to, 100);
    wg::store_le64(&inner[inner.size() - 8], std::uint64_t{number} << 32 | f.made++);
    return inner;
}

/// The host behind all handles of a TUN interface.
struct host {
    std::vector<flow> flows;
    std::mutex mutex;
    std::uint32_t claimed = 0;         ///< guarded by `mutex`
    std::size_t next = 0;              ///< guarded by `mutex`
    std::vector<std::uint64_t> stamps; ///< of written packets; used by one thread at a time
    std::atomic<std::size_t> written{0};
};

struct shared_tun {
    static constexpr std::size_t headroom = 0;
    host* of = nullptr;
    std::uint32_t claimed = 0;

    wg::result<std::size_t> read(std::span<wg::packet> packets) noexcept {
        std::size_t const most = std::min<std::size_t>(packets.size(), 7);
        for (std::size_t tried = 0; tried < of->flows.size(); ++tried) {
            std::size_t which = 0;
            {
                std::lock_guard const lock(of->mutex);
                which = of->next++ % of->flows.size();
                if ((of->claimed >> which & 1) != 0) continue;
                of->claimed |= std::uint32_t{1} << which;
                claimed |= std::uint32_t{1} << which;
            }
            flow& f = of->flows[which];
            std::size_t count = 0;
            for (; count < most && f.made < f.wanted; ++count) {
                buffer const inner = next_packet(f, which);
                wg::packet& p = packets[count]; // an engine without buffers reads into a short one, to drop the packet
                std::size_t const part = std::min<std::size_t>(inner.size(), p.capacity - p.offset);
                p.length = static_cast<std::uint32_t>(part);
                wg::copy(p.view(), wg::bytes_view(inner).first(part));
            }
            if (count != 0) return count;
        }
        return std::size_t{0};
    }
    void settle() noexcept {
        std::lock_guard const lock(of->mutex);
        of->claimed &= ~std::exchange(claimed, 0u);
    }
    wg::result<shared_tun> share() const noexcept { return shared_tun{of}; }
    std::size_t write(std::span<wg::packet> packets) noexcept {
        for (wg::packet const& p : packets) of->stamps.push_back(stamp_of(p.view()));
        of->written += packets.size();
        return packets.size();
    }
    std::size_t mtu() noexcept { return 1420; }
};

/// The network behind all handles of a socket.
struct wire_end {
    std::deque<buffer> arrived; ///< used by one thread at a time
    wg::endpoint from{};        ///< the sender of these datagrams
    std::mutex mutex;
    std::vector<buffer> departed; ///< guarded by `mutex`
    bool open = false;
};

struct shared_socket {
    static constexpr std::size_t receive_bytes = 2048;
    wire_end* of = nullptr;
    bool takes_part = false;

    wg::result<std::uint16_t> open(std::uint16_t port) noexcept {
        of->open = takes_part = true;
        return port != 0 ? port : std::uint16_t{51820};
    }
    void close() noexcept { takes_part = false; }
    bool share(shared_socket const& other) noexcept {
        *this = other;
        return true;
    }
    wg::result<std::size_t> receive(std::span<wg::datagram> datagrams) noexcept {
        if (!takes_part) return status::io_error;
        std::size_t count = 0;
        for (; count < std::min<std::size_t>(datagrams.size(), 9) && !of->arrived.empty(); ++count) {
            datagrams[count].length = static_cast<std::uint32_t>(of->arrived.front().size());
            wg::copy(datagrams[count].view(), of->arrived.front());
            datagrams[count].where.remote = of->from;
            of->arrived.pop_front();
        }
        return count;
    }
    std::size_t send(std::span<wg::datagram> datagrams) noexcept {
        std::lock_guard const lock(of->mutex);
        for (wg::datagram const& d : datagrams) of->departed.emplace_back(d.view().begin(), d.view().end());
        return datagrams.size();
    }
};

struct no_waiter {
    wg::readiness wait(wg::instant) noexcept { return {}; }
    void wake() noexcept {}
};

struct policies : parallel_policies {
    using threads = wg::os::threads;
    using observer = wg::no_observer;
    using tun_device = shared_tun;
    using udp_socket = shared_socket;
    using waiter = no_waiter;
};

template <class Policies> struct basic_node {
    basic_node(unsigned number_, std::atomic<std::int64_t> const& time)
        : number(number_), core(shared_clock{&time}, own_random{noise(number_)}) {
        wg::copy(private_key.expose(), noise(100 + number).take(32));
        wg::bundled::dh{}.dh_public(public_key, private_key);
        BOOST_TEST_REQUIRE(engine.configure({change::private_key(private_key.expose())}) == status::ok);
        BOOST_TEST_REQUIRE(engine.up() == status::ok);
    }

    unsigned number;
    host above;
    wire_end below;
    shared_tun tun{&above};
    typename Policies::udp_socket socket{&below};
    wg::device<Policies> core;
    wg::engine<Policies> engine{core, tun, socket};
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    wg::endpoint where{wg::ip_address::v4(192, 0, 2, 1), 51820, 0};
};
using node = basic_node<policies>;

/// Delivers what `from` has sent to `to`. Called while no thread works.
template <class From, class To> void carry(From& from, To& to) {
    for (buffer& sent : from.below.departed) to.below.arrived.push_back(std::move(sent));
    from.below.departed.clear();
}

/// `one` and `other` know each other, and the first one has `flows` to send.
template <class One, class Other> void meets(One& one, Other& other, std::size_t flows) {
    BOOST_TEST_REQUIRE(one.engine.configure({change::peer(other.public_key), change::endpoint(other.where),
                                             change::allowed_ip(wg::ip_prefix::of(inner_v4(other.number), 32)),
                                             change::allowed_ip(wg::ip_prefix::of(inner_v6(other.number), 128))}) ==
                       status::ok);
    one.below.from = other.where;
    for (std::size_t i = 0; i < flows; ++i) one.above.flows.push_back({inner_v4(one.number), inner_v4(other.number)});
}

struct tunnel {
    static constexpr std::size_t flows = 4;
    std::atomic<std::int64_t> time{1'000'000'000'000};
    node a{1, time}, b{2, time};

    tunnel() {
        meets(a, b, flows);
        meets(b, a, flows);
    }

    /// Establishes a session, without workers.
    void meet() {
        a.above.flows[0].wanted += 1;
        for (int i = 0; i < 5; ++i) {
            BOOST_TEST_REQUIRE(a.engine.run_once({true, true, 0}) == status::ok);
            carry(a, b);
            BOOST_TEST_REQUIRE(b.engine.run_once({true, true, 0}) == status::ok);
            carry(b, a);
        }
        BOOST_TEST_REQUIRE(b.above.written == 1u);
    }
};

/// Runs an engine with workers until `done`. All threads have ended after that.
template <class Done> void run_together(node& n, Done done) {
    wg::workers<policies> workers(n.engine, n.tun, n.socket, 3);
    do {
        BOOST_TEST_REQUIRE(n.engine.run_once({true, true, 0}) == status::ok);
        workers.help();
    } while (!done());
    BOOST_TEST(workers.size() != 0u);
}

bool ascends(std::vector<std::uint64_t> const& stamps) {
    return std::adjacent_find(stamps.begin(), stamps.end(), std::greater_equal<>{}) == stamps.end();
}

} // namespace

BOOST_FIXTURE_TEST_CASE(deliver_received_packets_in_order, tunnel) {
    constexpr std::size_t count = 20'000;
    meet();
    b.above.stamps.clear();
    a.above.flows[0].wanted = count + 1;
    while (a.above.flows[0].made < a.above.flows[0].wanted)
        BOOST_TEST_REQUIRE(a.engine.run_once({true, false, 0}) == status::ok);
    carry(a, b);
    run_together(b, [&] { return b.above.written >= count + 1; });
    BOOST_TEST(b.above.stamps.size() == count);
    BOOST_TEST(ascends(b.above.stamps));
    BOOST_TEST(b.core.counter(status::replayed_counter) == 0u);
    BOOST_TEST(b.core.counter(status::decryption_failed) == 0u);
}

BOOST_FIXTURE_TEST_CASE(send_each_flow_in_order, tunnel) {
    constexpr std::size_t count = 1'500; // in all less than a replay window, in case a thread is delayed
    meet();
    for (flow& f : a.above.flows) f.wanted = f.made + count;
    auto const all_sent = [&] {
        std::lock_guard const lock(a.below.mutex);
        return a.below.departed.size() >= flows * count;
    };
    run_together(a, all_sent);
    b.above.stamps.clear();
    carry(a, b);
    while (!b.below.arrived.empty()) BOOST_TEST_REQUIRE(b.engine.run_once({false, true, 0}) == status::ok);
    BOOST_TEST(b.above.stamps.size() == flows * count);
    std::array<std::uint64_t, flows> last{};
    std::size_t passed = 0;
    for (std::uint64_t const stamp : b.above.stamps)
        passed += stamp <= std::exchange(last[static_cast<std::size_t>(stamp >> 32)], stamp);
    BOOST_TEST(passed == 0u);
}

BOOST_FIXTURE_TEST_CASE(send_staged_packets_before_later_ones, tunnel) {
    // One flow, which begins before there is a session, with no more packets than may be staged.
    constexpr std::size_t waits = 100, count = 3'000;
    a.above.flows[0].wanted = waits;
    for (int i = 0; i < 40; ++i) BOOST_TEST_REQUIRE(a.engine.run_once({true, true, 0}) == status::ok);
    carry(a, b);
    BOOST_TEST_REQUIRE(b.engine.run_once({true, true, 0}) == status::ok);
    carry(b, a); // the response, after which the staged packets are sent
    a.above.flows[0].wanted = count;
    auto const all_sent = [&] {
        std::lock_guard const lock(a.below.mutex);
        return a.below.departed.size() >= count;
    };
    run_together(a, all_sent);
    carry(a, b);
    while (!b.below.arrived.empty()) BOOST_TEST_REQUIRE(b.engine.run_once({false, true, 0}) == status::ok);
    BOOST_TEST(b.above.stamps.size() == count);
    BOOST_TEST(ascends(b.above.stamps));
}

BOOST_FIXTURE_TEST_CASE(stop_while_the_interface_changes, tunnel) {
    meet();
    wg::workers<policies> workers(a.engine, a.tun, a.socket, 3);
    for (int round = 0; round < 200; ++round) {
        workers.help();
        BOOST_TEST_REQUIRE(a.engine.run_once({true, true, 0}) == status::ok);
        wg::workers<policies>::pause const alone(workers);
        if (round % 3 == 0) {
            a.engine.down();
            BOOST_TEST_REQUIRE(a.engine.up() == status::ok);
        }
        a.below.departed.clear();                      // without the lock, because no thread sends now
        for (flow& f : a.above.flows) f.wanted += 500; // and no thread reads
    }
    while (a.engine.run_once({true, true, 0}) == status::ok && a.engine.busy()) {}
    BOOST_TEST(workers.size() == 3u);
}

namespace {

/// The hypervisor's number, which changes while threads work.
struct shared_generation {
    static inline std::atomic<std::uint64_t> number{1};
    void look(wg::instant) noexcept {}
    std::uint64_t generation() const noexcept { return number.load(); }
};

/// Notes which messages left in one call.
struct noting_socket : shared_socket {
    static inline std::vector<std::size_t> calls; ///< messages of each call; guarded by the mutex of `of`
    std::size_t send(std::span<wg::datagram> datagrams) noexcept {
        std::lock_guard const lock(of->mutex);
        calls.push_back(datagrams.size());
        for (wg::datagram const& d : datagrams) of->departed.emplace_back(d.view().begin(), d.view().end());
        return datagrams.size();
    }
    bool share(noting_socket const& other) noexcept { return shared_socket::share(other); }
};

struct restored_policies : policies {
    using udp_socket = noting_socket;
    using snapshot_detector = shared_generation;
};

} // namespace

BOOST_AUTO_TEST_CASE(send_nothing_of_old_sessions_after_a_restore) {
    std::atomic<std::int64_t> time{1'000'000'000'000};
    basic_node<restored_policies> a(1, time);
    node b(2, time);
    meets(a, b, 4);
    meets(b, a, 0);
    wg::workers<restored_policies> workers(a.engine, a.tun, a.socket, 3);
    std::set<std::uint32_t> ended; // receiver indices of sessions from before a restore
    std::size_t late_calls = 0, data_messages = 0;
    // At least 20 rounds, and as many as bring enough data: a loaded machine sends less in each.
    int rounds = 0;
    for (; rounds < 20 || (data_messages <= 1000 && rounds < 400); ++rounds) {
        time += 1'000'000'000; // a peer answers one initiation in 20 ms
        std::size_t before = 0, calls_before = 0;
        {
            wg::workers<restored_policies>::pause const alone(workers);
            noting_socket::calls.clear();
            for (flow& f : a.above.flows) f.wanted += 100'000; // more than is sent
        }
        bool restored = false;
        for (int step = 0; step < 40; ++step) {
            workers.help();
            BOOST_TEST_REQUIRE(a.engine.run_once({true, true, 0}) == status::ok);
            if (step % 4 == 0) { // the initiation, the response, and then data
                wg::workers<restored_policies>::pause const alone(workers);
                if (!restored) carry(a, b);
                while (!b.below.arrived.empty()) BOOST_TEST_REQUIRE(b.engine.run_once({false, true, 0}) == status::ok);
                if (!restored) noting_socket::calls.clear();
                carry(b, a);
            }
            if (step == 20 + rounds % 8) {
                std::lock_guard const lock(a.below.mutex); // no message leaves in this moment
                ++shared_generation::number;
                before = a.below.departed.size();
                calls_before = noting_socket::calls.size();
                restored = true;
            }
        }
        wg::workers<restored_policies>::pause const alone(workers);
        // Messages before the restore name the sessions that have ended with it.
        std::size_t at = 0;
        for (std::size_t call = 0; call < noting_socket::calls.size(); ++call) {
            bool late = false;
            for (std::size_t end = at + noting_socket::calls[call]; at < end; ++at) {
                buffer const& message = a.below.departed[at];
                if (message[0] != 4) continue; // no data
                std::uint32_t const index = wg::load_le32(&message[4]);
                if (at < before) ended.insert(index);
                ++data_messages;
                late = late || (at >= before && ended.count(index) != 0);
            }
            late_calls += late && call >= calls_before;
            // A thread may stand between its last look and its call: one call for each thread.
            BOOST_TEST((!late || call < calls_before + 4));
        }
        carry(a, b);
        while (!b.below.arrived.empty()) BOOST_TEST_REQUIRE(b.engine.run_once({false, true, 0}) == status::ok);
        carry(b, a);
    }
    BOOST_TEST(late_calls <= static_cast<std::size_t>(rounds) * 4u);
    BOOST_TEST(data_messages > 1000u);
    BOOST_TEST(ended.size() > 5u);
    BOOST_TEST(b.core.counter(status::decryption_failed) == 0u);
}

namespace {

struct single_tun : shared_tun {
    void share() const = delete;
};
struct single_policies : policies {
    using tun_device = single_tun;
};

} // namespace

static_assert(std::is_same_v<wg::workers_if_possible<policies>, wg::workers<policies>>);
static_assert(std::is_same_v<wg::workers_if_possible<single_policies>, wg::no_workers<single_policies>>);

BOOST_FIXTURE_TEST_CASE(a_device_that_cannot_be_shared_has_no_workers, tunnel) {
    wg::no_workers<policies> workers(a.engine, a.tun, a.socket, 3);
    workers.help();
    wg::no_workers<policies>::pause const alone(workers);
    BOOST_TEST(workers.size() == 0u);
}

BOOST_FIXTURE_TEST_CASE(an_engine_that_ends_before_its_workers_is_found, tunnel) {
    if (!wg::keeps_checks) return;
    auto const outcome = outcome_of([&] {
        wg::workers<policies> const workers(a.engine, a.tun, a.socket, 3);
        std::destroy_at(&a.engine);
    });
    is_caught(outcome, "engine.hpp", "shared_.workers == 0");
}

BOOST_AUTO_TEST_SUITE_END()
