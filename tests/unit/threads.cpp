// SPDX-License-Identifier: BSL-1.0
// Devices that are used by several threads at once: packets both ways, configuration, snapshots and timers. The tests
// prove that no packet is lost. Under -fsanitize=thread, the same tests prove that there are no data races.
#include "parallel.hpp"

#include "wg/backends/std_threads.hpp"

#include <mutex>
#include <thread>

BOOST_AUTO_TEST_SUITE(threads)

using namespace wg_tests;
using wg::change;
using wg::status;

namespace {

/// Called outside the lock, by any thread.
struct counting_observer {
    static constexpr bool enabled = true;
    std::atomic<std::uint64_t>* events = nullptr;
    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept { events->fetch_add(1); }
};

struct policies : parallel_policies {
    using threads = wg::std_threads;
    using observer = counting_observer;
};
using device = wg::device<policies>;
using job = device::job_type;

/// Datagrams for one host. Any thread puts them in, and any thread takes them out.
class mailbox {
public:
    void put(wg::bytes_view data) {
        std::lock_guard const lock(mutex_);
        waiting_.emplace_back(data.begin(), data.end());
    }
    std::vector<buffer> take(std::size_t most) {
        std::lock_guard const lock(mutex_);
        std::vector<buffer> out;
        for (; out.size() < most && !waiting_.empty(); waiting_.pop_front()) out.push_back(std::move(waiting_.front()));
        return out;
    }

private:
    std::mutex mutex_;
    std::deque<buffer> waiting_;
};

struct node {
    static constexpr std::size_t batch = 8;

    node(unsigned number_, std::atomic<std::int64_t> const& time)
        : number(number_), core(shared_clock{&time}, own_random{noise(number_)}, counting_observer{&events}) {
        wg::copy(private_key.expose(), noise(100 + number).take(32));
        wg::bundled::dh{}.dh_public(public_key, private_key);
        where = {wg::ip_address::v4(192, 0, 2, static_cast<wg::byte>(number)), 51820, 0};
    }

    wg::instant now() { return core.clock().now(); }

    std::vector<change> peer_is(node const& other) const {
        std::vector<change> list;
        list.push_back(change::peer(other.public_key));
        list.push_back(change::endpoint(other.where));
        list.push_back(change::allowed_ip(wg::ip_prefix::of(inner_v4(other.number), 32)));
        return list;
    }

    /// Seals, sends and completes prepared jobs.
    void transmit(std::span<job> jobs, node& to) {
        device::crypt(jobs, core.aead());
        for (job const& j : jobs)
            if (j.next == wg::disposition::send) to.arrived.put(j.data.view());
        core.complete(jobs, now());
    }

    void write(node& to, unsigned count, std::uint64_t stamp) {
        job jobs[batch];
        std::vector<buffer> memory(batch, buffer(2048));
        for (unsigned i = 0; i < count; ++i) {
            buffer const inner = inner_packet(inner_v4(number), inner_v4(to.number), 100, stamp + i);
            jobs[i].data = wg::packet(memory[i], wg::packet_headroom_bytes, inner.size());
            wg::copy(jobs[i].data.view(), inner);
        }
        core.prepare_outbound({jobs, count}, now());
        transmit({jobs, count}, to);
    }

    /// Processes received datagrams, then sends pending messages.
    void process(node& other) {
        std::vector<buffer> in = arrived.take(batch);
        job jobs[batch];
        for (std::size_t i = 0; i < in.size(); ++i) {
            jobs[i].data = wg::packet(in[i], 0, in[i].size());
            jobs[i].where.remote = other.where;
        }
        std::span<job> const all(jobs, in.size());
        core.prepare_inbound(all, now());
        device::crypt(all, core.aead());
        core.complete(all, now());
        for (job const& j : all)
            if (j.next == wg::disposition::deliver) ++received;
        transmit_pending(other);
    }

    void transmit_pending(node& other) {
        job jobs[batch];
        std::vector<buffer> memory(batch, buffer(2048));
        for (bool handshakes : {true, false}) {
            for (std::size_t i = 0; i < batch; ++i) jobs[i].data = wg::packet(memory[i], 0);
            std::size_t const made =
                handshakes ? core.process_handshakes(jobs, now()) : core.poll_transmit(jobs, now());
            transmit({jobs, made}, other);
        }
    }

    unsigned number;
    std::atomic<std::uint64_t> events{0}, received{0};
    device core;
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    wg::endpoint where{};
    mailbox arrived;
};

struct parallel_pair {
    std::atomic<std::int64_t> time{1'000'000'000'000};
    node a{1, time}, b{2, time};

    parallel_pair() {
        for (auto const& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
            change const key[] = {change::private_key(one->private_key.expose())};
            BOOST_TEST_REQUIRE(one->core.configure(key, one->now()) == status::ok);
            BOOST_TEST_REQUIRE(one->core.configure(one->peer_is(*other), one->now()) == status::ok);
        }
        a.write(b, 1, 0);
        settle();
        BOOST_TEST_REQUIRE(b.received == 1u);
    }

    /// Processes all remaining datagrams, in this thread.
    void settle() {
        for (int i = 0; i < 100; ++i) a.process(b), b.process(a);
        for (std::uint64_t before = ~std::uint64_t{0}; before != a.received + b.received;) {
            before = a.received + b.received;
            for (int i = 0; i < 1000; ++i) a.process(b), b.process(a);
        }
    }
};

struct silent_sink {
    std::size_t peers = 0;
    void device(wg::interface_facts const&) {}
    void peer(wg::peer_facts const&) { ++peers; }
    void allowed_ip(wg::ip_prefix const&) {}
};

constexpr unsigned rounds = 100;

} // namespace

BOOST_FIXTURE_TEST_CASE(parallel_threads_lose_no_packet_of_a_session, parallel_pair) {
    std::vector<std::thread> workers;
    std::atomic<unsigned> writing{4};
    for (unsigned t = 0; t < 2; ++t) {
        workers.emplace_back([&, t] {
            for (unsigned i = 0; i < rounds; ++i) a.write(b, node::batch, std::uint64_t{t} << 32 | i * node::batch);
            --writing;
        });
        workers.emplace_back([&, t] {
            for (unsigned i = 0; i < rounds; ++i) b.write(a, node::batch, std::uint64_t{t} << 32 | i * node::batch);
            --writing;
        });
        workers.emplace_back([&] {
            while (writing != 0) a.process(b);
        });
        workers.emplace_back([&] {
            while (writing != 0) b.process(a);
        });
    }
    for (std::thread& w : workers) w.join();
    settle();
    BOOST_TEST(a.received == 2u * rounds * node::batch);
    BOOST_TEST(b.received == 2u * rounds * node::batch + 1);
    BOOST_TEST(a.core.counter(status::replayed_counter) + b.core.counter(status::replayed_counter) == 0u);
}

BOOST_AUTO_TEST_CASE(later_packet_does_not_pass_a_staged_packet) {
    std::atomic<std::int64_t> time{1'000'000'000'000};
    node a{1, time}, b{2, time};
    for (auto const& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        change const key[] = {change::private_key(one->private_key.expose())};
        BOOST_TEST_REQUIRE(one->core.configure(key, one->now()) == status::ok);
        BOOST_TEST_REQUIRE(one->core.configure(one->peer_is(*other), one->now()) == status::ok);
    }
    a.write(b, 3, 0); // staged; begins a handshake
    a.transmit_pending(b);
    b.process(a);
    std::vector<buffer> response = a.arrived.take(1);
    BOOST_TEST_REQUIRE(response.size() == 1u);
    job in;
    in.data = wg::packet(response[0], 0, response[0].size());
    in.where.remote = b.where;
    a.core.prepare_inbound({&in, 1}, a.now());
    job out[node::batch], later;
    std::vector<buffer> memory(node::batch + 1, buffer(2048));
    for (std::size_t i = 0; i < node::batch; ++i) out[i].data = wg::packet(memory[i], 0);
    BOOST_TEST_REQUIRE(a.core.process_handshakes(out, a.now()) == 0u);
    // One thread has taken the staged packet and not sent it yet. Then another thread prepares a packet.
    std::size_t const waited = a.core.poll_transmit(out, a.now());
    BOOST_TEST(waited == 3u);
    buffer const inner = inner_packet(inner_v4(1), inner_v4(2), 100);
    later.data = wg::packet(memory[node::batch], wg::packet_headroom_bytes, inner.size());
    wg::copy(later.data.view(), inner);
    a.core.prepare_outbound({&later, 1}, a.now());
    BOOST_TEST((later.why == status::staged));
    a.core.complete({&later, 1}, a.now());
    a.core.complete({out, waited}, a.now());
    for (std::size_t const expected : {1u, 0u}) {
        for (std::size_t i = 0; i < node::batch; ++i) out[i].data = wg::packet(memory[i], 0);
        std::size_t const made = a.core.poll_transmit(out, a.now());
        BOOST_TEST(made == expected);
        a.core.complete({out, made}, a.now());
    }
    // After the next round, packets are not staged.
    later.data = wg::packet(memory[node::batch], wg::packet_headroom_bytes, inner.size());
    wg::copy(later.data.view(), inner);
    a.core.prepare_outbound({&later, 1}, a.now());
    BOOST_TEST((later.keys != nullptr)); // a message in clear, for `crypt`
    a.core.complete({&later, 1}, a.now());
}

BOOST_FIXTURE_TEST_CASE(parallel_threads_carry_packets_during_configuration, parallel_pair) {
    std::vector<std::thread> workers;
    std::atomic<bool> go_on{true};
    std::atomic<unsigned> snapshots{0};
    for (node* const n : {&a, &b}) {
        node& other = n == &a ? b : a;
        for (unsigned t = 0; t < 2; ++t)
            workers.emplace_back([&, n, t] {
                for (std::uint64_t i = 0; go_on; ++i) {
                    n->write(other, 1 + i % node::batch, std::uint64_t{t} << 32 | i);
                    n->process(other);
                }
            });
        workers.emplace_back([&, n] { // timers
            while (go_on) {
                if (n->core.next_deadline() <= n->now()) n->core.on_deadline(n->now());
                n->transmit_pending(other);
            }
        });
        workers.emplace_back([&, n] {
            while (go_on) {
                silent_sink sink;
                n->core.snapshot(sink);
                if (sink.peers == 1) ++snapshots;
            }
        });
    }
    workers.emplace_back([&] { // time passes quickly: sessions are renewed, and expire
        while (go_on) time += 1'000'000;
    });
    buffer const other_key = noise(99).take(wg::key_bytes);
    std::size_t refused = 0;
    for (unsigned i = 0; i < 60; ++i) { // peers, keys and the interface's state change
        node& n = i % 2 == 0 ? a : b;
        node& other = i % 2 == 0 ? b : a;
        std::vector<change> again;
        again.push_back(change::peer(other.public_key));
        again.push_back(change::remove_peer());
        std::vector<change> const rest = n.peer_is(other);
        refused += n.core.configure(again, n.now()) != status::ok;
        refused += n.core.configure(rest, n.now()) != status::ok;

        if (i % 3 == 0) {
            change const changed[] = {change::private_key(wg::key_view(other_key.data(), wg::key_bytes))},
                         back[] = {change::private_key(n.private_key.expose())};
            refused += n.core.configure(changed, n.now()) != status::ok;
            refused += n.core.configure(back, n.now()) != status::ok;
        }
        if (i % 5 == 0) {
            n.core.down(n.now());
            n.core.up();
        }
        std::this_thread::yield();
    }
    go_on = false;
    for (std::thread& w : workers) w.join();
    BOOST_TEST(refused == 0u);
    BOOST_TEST(snapshots > 0u);
    BOOST_TEST(a.events > 0u);
    // After all changes, packets pass in both directions.
    settle();
    time += 200'000'000'000; // all sessions expire
    for (node* const n : {&a, &b}) n->core.on_deadline(n->now());
    settle();
    std::uint64_t const before = b.received;
    a.write(b, 1, 1);
    settle();
    time += 6'000'000'000; // if an initiation was sent just before, the next one is due now
    for (node* const n : {&a, &b}) n->core.on_deadline(n->now());
    settle();
    BOOST_TEST(b.received > before);
    BOOST_TEST(a.core.peer_count() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
