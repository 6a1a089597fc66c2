// SPDX-License-Identifier: BSL-1.0
// The data structures of a device: deadline queue, staging queues, handshake queue, rate limiter, lists of changes.
#include "fixture.hpp"

#include <map>

BOOST_AUTO_TEST_SUITE(device_queues)

using namespace wg_tests;
using wg::change;
using wg::status;

namespace {

struct timed {
    std::uint32_t deadline_position = UINT32_MAX;
    wg::instant due = wg::instant::never(); // the deadline in the model
};

/// Four slots for packets, at most three per queue; sixteen queued handshakes.
struct tiny : wg::small_capacity {
    static constexpr std::size_t max_staged_packets = 4;
    static constexpr std::size_t max_staged_packets_per_peer = 3;
    static constexpr std::size_t max_queued_handshakes = 16;
    static constexpr std::size_t max_mtu_bytes = 0; // packets of any length
};
using tiny_storage = wg::static_storage<tiny>;

/// One set of four buckets, full at the fifth source.
struct one_set : tiny {
    static constexpr std::size_t max_limited_sources = 4;
};

struct three : wg::small_capacity {
    static constexpr std::size_t max_peers = 3;
};

struct fixed_random {
    bool works = true;
    bool fill(wg::bytes out) noexcept {
        std::fill(out.begin(), out.end(), wg::byte{7});
        return works;
    }
};

template <class Storage> struct limiter {
    Storage memory;
    std::unique_ptr<wg::rate_limiter<Storage>> it = std::make_unique<wg::rate_limiter<Storage>>(memory);
    fixed_random random;
    bool allow(wg::ip_address const& from, wg::instant now) {
        return it->allow(wg::bundled::hash{}, random, from, now);
    }
};

constexpr wg::instant start = wg::instant{} + wg::seconds(1000);

buffer staged_packet(std::size_t size, std::uint64_t stamp) { return noise(stamp).take(size); }

} // namespace

// --- deadline_queue

/// An entry may be reported early, but never late and never after its removal.
BOOST_AUTO_TEST_CASE(no_deadline_is_reported_late) {
    using storage = wg::growing_storage<>;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        noise random(seed);
        storage memory;
        wg::deadline_queue<timed, storage> queue(memory);
        std::vector<timed> all(60);
        BOOST_TEST_REQUIRE(queue.reserve(all.size(), memory));
        wg::instant now = start;
        for (int step = 0; step < 4000; ++step) {
            timed& who = all[random.next() % all.size()];
            switch (random.next() % 4) {
            case 0:
            case 1: // also to a later instant, and to never
                who.due = random.next() % 8 == 0
                              ? wg::instant::never()
                              : now + wg::milliseconds(static_cast<std::int64_t>(random.next() % 1000));
                queue.schedule(who, who.due);
                break;
            case 2:
                queue.remove(who);
                who.due = wg::instant::never();
                BOOST_TEST(who.deadline_position == UINT32_MAX);
                break;
            default:
                now = now + wg::milliseconds(static_cast<std::int64_t>(random.next() % 50));
                while (timed* const due = queue.take_due(now)) {
                    if (due->due <= now) due->due = wg::instant::never();
                    queue.schedule(*due, due->due);
                }
                for (timed const& t : all)
                    if (t.due <= now) BOOST_ERROR("seed " << seed << " step " << step);
            }
            wg::instant earliest = wg::instant::never();
            for (timed const& t : all) earliest = std::min(earliest, t.due);
            BOOST_TEST((queue.next() <= earliest));
        }
    }
}

BOOST_AUTO_TEST_CASE(deadlines_are_reported_in_order) {
    using storage = wg::growing_storage<>;
    storage memory;
    wg::deadline_queue<timed, storage> queue(memory);
    std::vector<timed> all(500);
    BOOST_TEST_REQUIRE(queue.reserve(all.size(), memory));
    BOOST_TEST((queue.next() == wg::instant::never()));
    BOOST_TEST(queue.take_due(wg::instant::never()) == nullptr);
    std::multimap<wg::instant, timed*> expected;
    noise random(2);
    for (timed& t : all) {
        t.due = start + wg::milliseconds(static_cast<std::int64_t>(random.next() % 100));
        queue.schedule(t, t.due + wg::seconds(5));
        queue.schedule(t, t.due); // an earlier deadline moves the entry forward
        expected.emplace(t.due, &t);
    }
    for (auto const& [due, who] : expected) {
        BOOST_TEST((queue.next() == due));
        BOOST_TEST(queue.take_due(due - wg::duration{1}) == nullptr);
        timed* const taken = queue.take_due(due);
        BOOST_TEST_REQUIRE(taken != nullptr);
        BOOST_TEST((taken->due == due));
    }
    BOOST_TEST((queue.next() == wg::instant::never()));
}

BOOST_AUTO_TEST_CASE(a_fixed_deadline_queue_refuses_more_than_it_holds) {
    using storage = wg::static_storage<three>;
    storage memory;
    wg::deadline_queue<timed, storage> queue(memory);
    BOOST_TEST(queue.reserve(3, memory));
    BOOST_TEST(!queue.reserve(4, memory));
}

// --- staging

BOOST_AUTO_TEST_CASE(staged_packets_leave_in_order_and_unchanged) {
    using storage = wg::growing_storage<>;
    storage memory;
    wg::staging<storage> staging(memory);
    wg::staging_queue queue;
    constexpr std::size_t slot = wg::staging_slot::data_bytes;
    std::vector<std::size_t> const sizes = {0, 1, slot - 1, slot, slot + 1, 2 * slot, 2 * slot + 1, 65535};
    for (int round = 0; round < 3; ++round) {
        for (std::size_t const size : sizes) BOOST_TEST(staging.stage(queue, staged_packet(size, size)) == 0u);
        BOOST_TEST(queue.count == sizes.size());
        for (std::size_t const size : sizes) {
            BOOST_TEST_REQUIRE(!queue.empty());
            BOOST_TEST(staging.oldest_bytes(queue) == size);
            buffer out(size);
            staging.unstage(queue, out);
            BOOST_TEST((out == staged_packet(size, size)));
        }
        BOOST_TEST(queue.empty());
        BOOST_TEST(queue.count == 0u);
    }
}

//= linux: while there is no session packets wait, 128 a peer; the oldest is lost first
BOOST_AUTO_TEST_CASE(a_full_queue_loses_its_oldest_packet) {
    tiny_storage memory;
    wg::staging<tiny_storage> staging(memory);
    wg::staging_queue queue;
    for (unsigned i = 0; i < 3; ++i) BOOST_TEST(staging.stage(queue, staged_packet(100, i)) == 0u);
    for (unsigned i = 3; i < 9; ++i) BOOST_TEST(staging.stage(queue, staged_packet(100, i)) == 1u);
    for (unsigned i = 6; i < 9; ++i) {
        buffer out(100);
        staging.unstage(queue, out);
        BOOST_TEST(out == staged_packet(100, i));
    }
    BOOST_TEST(queue.empty());
}

BOOST_AUTO_TEST_CASE(an_exhausted_pool_drops_packets_of_the_growing_queue) {
    tiny_storage memory;
    wg::staging<tiny_storage> staging(memory);
    wg::staging_queue one, two;
    constexpr std::size_t slot = wg::staging_slot::data_bytes;
    BOOST_TEST(staging.stage(one, staged_packet(3 * slot, 1)) == 0u);
    BOOST_TEST(staging.stage(two, staged_packet(10, 2)) == 0u); // the last slot
    BOOST_TEST(staging.stage(two, staged_packet(20, 3)) == 1u); // drops a packet of this queue, not of the other one
    BOOST_TEST(two.count == 1u);
    BOOST_TEST(staging.oldest_bytes(two) == 20u);
    BOOST_TEST(staging.stage(two, staged_packet(2 * slot, 4)) == 2u); // there is still no room: both packets are lost
    BOOST_TEST(two.empty());
    BOOST_TEST(staging.stage(one, staged_packet(5 * slot, 5)) == 2u); // more slots than the pool has
    BOOST_TEST(one.empty());
    BOOST_TEST(staging.stage(one, staged_packet(4 * slot, 6)) == 0u); // all slots are free again
    BOOST_TEST(staging.drop_all(one) == 1u);
    BOOST_TEST(staging.stage(two, staged_packet(4 * slot, 7)) == 0u);
    staging.drop_all(two);
}

BOOST_AUTO_TEST_CASE(storage_with_a_maximum_mtu_uses_one_slot_per_packet) {
    using storage = wg::static_storage<>;
    storage memory;
    wg::staging<storage> staging(memory);
    wg::staging_queue queue;
    constexpr std::size_t slot = wg::staging_slot::data_bytes;
    static_assert(storage::max_mtu_bytes <= slot);
    BOOST_TEST(staging.stage(queue, staged_packet(slot, 1)) == 0u);
    BOOST_TEST(staging.stage(queue, staged_packet(slot + 1, 2)) == 1u); // longer than a slot: the packet is lost
    BOOST_TEST(staging.oldest_bytes(queue) == slot);
    BOOST_TEST(staging.stage(queue, staged_packet(20, 3)) == 1u); // drops the oldest packet and takes its slot
    buffer out(20);
    staging.unstage(queue, out);
    BOOST_TEST(out == staged_packet(20, 3));
    BOOST_TEST(queue.empty());
}

// --- handshake_queue

BOOST_AUTO_TEST_CASE(queued_handshakes_leave_in_order_up_to_the_capacity) {
    tiny_storage memory;
    wg::handshake_queue<tiny_storage> queue(memory);
    BOOST_TEST(queue.front() == nullptr);
    unsigned in = 0, out = 0;
    for (int round = 0; round < 5; ++round) { // wraps around the ring
        while (queue.size() < 16) {
            buffer const message = staged_packet(in % 2 == 0 ? 148 : 92, in);
            BOOST_TEST(queue.push(message, {{inner_v4(in), 5, 0}, {}}, start));
            ++in;
        }
        BOOST_TEST(!queue.push(buffer(64), {}, start));
        for (int i = 0; i < 11; ++i, ++out) {
            auto const* const front = queue.front();
            BOOST_TEST_REQUIRE(front != nullptr);
            wg::bytes_view const message = front->message();
            BOOST_TEST((buffer(message.begin(), message.end()) == staged_packet(out % 2 == 0 ? 148 : 92, out)));
            BOOST_TEST((front->where.remote.address == inner_v4(out)));
            queue.pop();
        }
    }
}

//= linux: load lasts for a second after its cause
BOOST_AUTO_TEST_CASE(two_waiting_messages_are_load_for_a_short_queue) {
    tiny_storage memory;
    wg::handshake_queue<tiny_storage> queue(memory);
    BOOST_TEST(queue.push(buffer(148), {}, start));
    BOOST_TEST(!queue.under_load(start));
    BOOST_TEST(queue.push(buffer(148), {}, start));
    BOOST_TEST(queue.under_load(start));
    queue.pop();
    queue.pop();
    BOOST_TEST(queue.under_load(start + wg::seconds(1) - wg::duration{1}));
    BOOST_TEST(!queue.under_load(start + wg::seconds(1)));
}

/// A handshake queue with the capacity of a host.
struct long_queue {
    wg::growing_storage<> memory;
    wg::handshake_queue<wg::growing_storage<>> queue{memory};
    static constexpr std::size_t capacity = wg::growing_storage<>::max_queued_handshakes;

    std::size_t push(std::size_t count, wg::instant now) {
        std::size_t taken = 0;
        for (std::size_t i = 0; i < count; ++i) taken += queue.push(buffer(148), {}, now);
        return taken;
    }
};

//= linux: load lasts for a second after its cause
BOOST_AUTO_TEST_CASE(a_long_queue_is_under_load_when_it_is_full) {
    long_queue q;
    BOOST_TEST(q.push(q.capacity - 1, start) == q.capacity - 1);
    BOOST_TEST(!q.queue.under_load(start));
    BOOST_TEST(q.push(1, start) == 1u);
    BOOST_TEST(q.queue.under_load(start));
    while (q.queue.size() != 0) q.queue.pop();
    BOOST_TEST(q.queue.under_load(start + wg::seconds(1) - wg::duration{1}));
    BOOST_TEST(!q.queue.under_load(start + wg::seconds(1)));
}

BOOST_AUTO_TEST_CASE(a_long_queue_is_under_load_when_messages_wait_for_half_a_second) {
    long_queue q;
    q.push(100, start);
    q.push(1, start + wg::milliseconds(499));
    BOOST_TEST(!q.queue.under_load(start + wg::milliseconds(499)));
    q.push(1, start + wg::milliseconds(500));
    BOOST_TEST(q.queue.under_load(start + wg::milliseconds(500)));
    // As many messages are no load if they are answered in time.
    long_queue quick;
    for (int i = 0; i < 1000; ++i) {
        quick.push(100, start + wg::milliseconds(10 * i));
        while (quick.queue.size() != 0) quick.queue.pop();
        BOOST_TEST(!quick.queue.under_load(start + wg::milliseconds(10 * i)));
    }
}

BOOST_AUTO_TEST_CASE(load_lasts_while_a_queue_full_of_messages_is_refused) {
    long_queue q;
    q.push(q.capacity, start);
    while (q.queue.size() != 0) q.queue.pop();
    wg::instant const later = start + wg::milliseconds(900);
    for (std::size_t i = 0; i + 1 < q.capacity; ++i) q.queue.note_refusal(later);
    BOOST_TEST(!q.queue.under_load(start + wg::seconds(1)));
    q.queue.note_refusal(later);
    BOOST_TEST(q.queue.under_load(later + wg::seconds(1) - wg::duration{1}));
    BOOST_TEST(!q.queue.under_load(later + wg::seconds(1)));
}

/// A short queue is emptied before it is full, so the count of answers decides about load.
BOOST_AUTO_TEST_CASE(many_answers_in_a_second_are_load_for_a_short_queue) {
    tiny_storage memory;
    wg::handshake_queue<tiny_storage> queue(memory);
    for (int i = 0; i < 10; ++i) queue.note_answer(start);
    BOOST_TEST(!queue.under_load(start));
    queue.note_answer(start + wg::milliseconds(999));
    BOOST_TEST(queue.under_load(start + wg::milliseconds(999)));
    BOOST_TEST(!queue.under_load(start + wg::milliseconds(1999)));
    for (int i = 0; i < 10; ++i) queue.note_answer(start + wg::seconds(3));
    BOOST_TEST(!queue.under_load(start + wg::seconds(3)));
}

// --- rate_limiter

using many_and_few = std::tuple<wg::growing_storage<>, wg::static_storage<tiny>>;

//= linux: under load 20 handshakes a second from a source, a burst of 5
BOOST_AUTO_TEST_CASE_TEMPLATE(allows_a_burst_of_5_and_then_20_per_second, Storage, many_and_few) {
    limiter<Storage> l;
    wg::ip_address const from = inner_v4(1);
    for (int i = 0; i < 5; ++i) BOOST_TEST(l.allow(from, start));
    BOOST_TEST(!l.allow(from, start));
    BOOST_TEST(!l.allow(from, start + wg::milliseconds(50) - wg::duration{1}));
    BOOST_TEST(l.allow(from, start + wg::milliseconds(50)));
    BOOST_TEST(!l.allow(from, start + wg::milliseconds(50)));
    BOOST_TEST(l.allow(inner_v4(2), start + wg::milliseconds(50))); // another source is not affected
    int allowed = 0;
    for (int ms = 51; ms <= 1050; ++ms) allowed += l.allow(from, start + wg::milliseconds(ms));
    BOOST_TEST(allowed == 20);
    for (int i = 0; i < 5; ++i) BOOST_TEST(l.allow(from, start + wg::seconds(100)));
    BOOST_TEST(!l.allow(from, start + wg::seconds(100))); // idle time refills a bucket only up to the burst
}

//= linux: an IPv6 source is its /64
BOOST_AUTO_TEST_CASE_TEMPLATE(all_addresses_of_a_64_share_a_bucket, Storage, many_and_few) {
    limiter<Storage> l;
    wg::ip_address from = inner_v6(1);
    for (int i = 0; i < 5; ++i) {
        from.octets[8] = from.octets[15] = static_cast<wg::byte>(i);
        BOOST_TEST(l.allow(from, start));
    }
    from.octets[12] = 99;
    BOOST_TEST(!l.allow(from, start));
    from.octets[7] = 1; // the next /64
    BOOST_TEST(l.allow(from, start));
}

/// The first IPv6 addresses of the /64s of a /48.
wg::ip_address source_of(wg::byte network, unsigned number) {
    wg::ip_address from{{0x20, 0x01, 0x0d, 0xb8, 0, network, 0, 0, 1}, wg::family::v6};
    wg::store_be16(&from.octets[6], static_cast<std::uint16_t>(number));
    return from;
}

BOOST_AUTO_TEST_CASE(more_sources_do_not_raise_the_rate_of_a_network_with_all_buckets) {
    limiter<wg::static_storage<one_set>> l;
    for (int round = 0; round < 5; ++round)
        for (unsigned i = 0; i < 4; ++i) BOOST_TEST(l.allow(source_of(1, i), start));
    for (unsigned i = 4; i < 100; ++i) BOOST_TEST(!l.allow(source_of(1, i), start));
    int allowed = 0;
    for (int ms = 1; ms <= 10'000; ++ms)
        allowed += l.allow(source_of(1, static_cast<unsigned>(ms) & 0xffff), start + wg::milliseconds(ms));
    BOOST_TEST(allowed <= 4 * 20 * 10);
    BOOST_TEST(allowed > 0);
}

BOOST_AUTO_TEST_CASE(a_source_of_a_new_network_gets_a_bucket_from_a_full_set) {
    limiter<wg::static_storage<one_set>> l;
    for (int round = 0; round < 5; ++round)
        for (unsigned i = 0; i < 4; ++i) BOOST_TEST(l.allow(source_of(1, i), start));
    BOOST_TEST(l.allow(source_of(2, 0), start)); // a new source gets one token, not a burst
    BOOST_TEST(!l.allow(source_of(2, 0), start));
    BOOST_TEST(l.allow(inner_v4(1), start));
    BOOST_TEST(!l.allow(inner_v4(1), start));
    // The network with the most buckets does not take these buckets back.
    for (unsigned i = 4; i < 100; ++i) BOOST_TEST(!l.allow(source_of(1, i), start));
    BOOST_TEST(l.allow(source_of(2, 0), start + wg::milliseconds(50)));
    BOOST_TEST(!l.allow(source_of(2, 0), start + wg::milliseconds(50)));
    BOOST_TEST(l.allow(inner_v4(1), start + wg::milliseconds(50)));
    // If all sources have different networks, a new source replaces one of those that were silent longest.
    BOOST_TEST(l.allow(source_of(3, 0), start + wg::milliseconds(60)));
    BOOST_TEST(l.allow(source_of(4, 0), start + wg::milliseconds(60)));
}

/// Each source sends a handshake every 190 ms. Eight of them must not occupy all eight buckets of a small node.
BOOST_AUTO_TEST_CASE(a_few_sources_do_not_keep_others_out_of_a_small_limiter) {
    for (unsigned const sources : {8u, 9u, 64u, 4096u}) {
        limiter<wg::static_storage<wg::small_capacity>> l;
        int refused = 0, attacks = 0;
        for (int ms = 0; ms < 60'000; ++ms) {
            wg::instant const now = start + wg::milliseconds(ms);
            for (unsigned i = static_cast<unsigned>(ms) % 190; i < sources; i += 190)
                attacks += l.allow(source_of(1, i), now);
            if (ms % 5000 == 4999) refused += !l.allow(inner_v4(1), now);
        }
        BOOST_TEST(refused == 0, sources << " sources: refused " << refused << " of 12");
        BOOST_TEST(attacks <= 8 * (60 * 20 + 5));
    }
}

BOOST_AUTO_TEST_CASE(all_64s_of_a_48_do_not_keep_others_out_of_a_large_limiter) {
    limiter<wg::growing_storage<>> l;
    for (unsigned i = 0; i < 65536; ++i) (void)l.allow(source_of(1, i), start);
    int refused = 0;
    for (unsigned i = 0; i < 256; ++i) {
        refused += !l.allow(wg::ip_address::v4(198, 51, static_cast<wg::byte>(i), 1), start);
        refused += !l.allow(source_of(static_cast<wg::byte>(2 + i % 250), i), start);
    }
    BOOST_TEST(refused == 0);
}

BOOST_AUTO_TEST_CASE(without_randomness_no_source_is_allowed) {
    limiter<wg::growing_storage<>> l;
    l.random.works = false;
    BOOST_TEST(!l.allow(inner_v4(1), start));
    l.random.works = true;
    BOOST_TEST(l.allow(inner_v4(1), start));
}

// --- configuration

BOOST_AUTO_TEST_CASE(changes_are_split_by_peer) {
    wg::public_key const one{1}, two{2}, three{3};
    change const all[] = {change::fwmark(1),
                          change::replace_peers(),
                          change::peer(one),
                          change::replace_allowed_ips(),
                          change::allowed_ip(wg::ip_prefix::of(inner_v4(1), 32)),
                          change::peer(two),
                          change::peer(three),
                          change::update_only(),
                          change::remove_peer()};
    BOOST_TEST(wg::interface_changes(all).size() == 2u);
    BOOST_TEST(wg::check_changes(all) == status::ok);
    std::vector<std::tuple<unsigned, bool, bool, bool, std::size_t>> seen;
    wg::for_each_peer(all, [&](wg::peer_changes const& p) {
        seen.emplace_back(p.key[0], p.update_only, p.remove, p.replace_allowed_ips, p.changes.size());
    });
    BOOST_TEST((seen == std::vector<std::tuple<unsigned, bool, bool, bool, std::size_t>>{
                            {1u, false, false, true, 2u}, {2u, false, false, false, 0u}, {3u, true, true, false, 2u}}));
    int calls = 0;
    wg::for_each_peer({}, [&](wg::peer_changes const&) { ++calls; });
    wg::for_each_peer(std::span(all).first(2), [&](wg::peer_changes const&) { ++calls; });
    BOOST_TEST(calls == 0);
}

BOOST_AUTO_TEST_CASE(rejects_misplaced_and_out_of_range_changes) {
    wg::public_key const key{1};
    auto const prefix = wg::ip_prefix::of(inner_v4(1), 32);
    wg::endpoint const where{inner_v4(1), 1, 0};
    auto const check = [](auto&&... changes) {
        change const list[] = {std::move(changes)...};
        return wg::check_changes(list);
    };
    BOOST_TEST(wg::check_changes({}) == status::ok);
    BOOST_TEST(check(change::private_key(key), change::fwmark(5), change::listen_port(0)) == status::ok);
    // changes of the interface after a peer
    BOOST_TEST(check(change::peer(key), change::private_key(key)) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::fwmark(0)) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::listen_port(0)) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::replace_peers()) == status::invalid);
    // changes of a peer before any peer
    BOOST_TEST(check(change::update_only()) == status::invalid);
    BOOST_TEST(check(change::remove_peer()) == status::invalid);
    BOOST_TEST(check(change::preshared_key(key)) == status::invalid);
    BOOST_TEST(check(change::endpoint(where)) == status::invalid);
    BOOST_TEST(check(change::persistent_keepalive(1)) == status::invalid);
    BOOST_TEST(check(change::replace_allowed_ips()) == status::invalid);
    BOOST_TEST(check(change::allowed_ip(prefix)) == status::invalid);
    BOOST_TEST(check(change::remove_allowed_ip(prefix)) == status::invalid);
    // values in and out of range
    BOOST_TEST(check(change::peer(key), change::endpoint(where)) == status::ok);
    BOOST_TEST(check(change::peer(key), change::endpoint({where.address, 0, 0})) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::endpoint({})) == status::invalid);
    wg::ip_prefix bad = prefix;
    bad.bits = 33;
    BOOST_TEST(check(change::peer(key), change::allowed_ip(prefix)) == status::ok);
    BOOST_TEST(check(change::peer(key), change::allowed_ip(bad)) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::remove_allowed_ip(bad)) == status::invalid);
    BOOST_TEST(check(change::peer(key), change::allowed_ip({})) == status::invalid);
    wg::ip_prefix six{inner_v6(1), 129};
    BOOST_TEST(check(change::peer(key), change::allowed_ip(six)) == status::invalid);
}

BOOST_AUTO_TEST_SUITE_END()
