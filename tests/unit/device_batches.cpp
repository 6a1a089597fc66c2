// SPDX-License-Identifier: BSL-1.0
// The device calls the batch members of policies, and nothing else changes. The same traffic passes through a device
// with batch members and many jobs per call, and through a device without them and with one job per call. Both send the
// same bytes in the same order.
#include "fixture.hpp"

#include <tuple>

BOOST_AUTO_TEST_SUITE(device_batches)

using namespace wg_tests;
using wg::change;
using wg::status;

namespace {

/// Counts the calls of a batch member, and their items.
struct tally {
    std::size_t calls = 0, items = 0, most = 0;
    void note(std::size_t size) {
        ++calls;
        items += size;
        most = std::max(most, size);
    }
};
struct tallies {
    tally hash, dh, seal, open;
};
tallies counted;

struct plain_hash {
    void blake2s(wg::bytes out, wg::bytes_view key, wg::bytes_view a, wg::bytes_view b) const noexcept {
        wg::bundled::hash{}.blake2s(out, key, a, b);
    }
};
struct batch_hash : plain_hash {
    void blake2s_batch(std::span<wg::hash_item const> items) const noexcept {
        counted.hash.note(items.size());
        for (auto const& i : items) blake2s(i.out, i.key, i.message, {});
    }
};

struct batch_dh : counted_dh {
    void dh_batch(std::span<wg::dh_item> items) const noexcept {
        counted.dh.note(items.size());
        for (auto& i : items) i.good = dh(*i.out, *i.scalar, i.point.first<32>());
    }
};

struct plain_aead {
    void seal(wg::bytes dst, wg::bytes_view src, wg::bytes_view aad, std::uint64_t counter,
              wg::secret<32> const& key) const noexcept {
        wg::bundled::aead{}.seal(dst, src, aad, counter, key);
    }
    bool open(wg::bytes dst, wg::bytes_view src, wg::bytes_view aad, std::uint64_t counter,
              wg::secret<32> const& key) const noexcept {
        return wg::bundled::aead{}.open(dst, src, aad, counter, key);
    }
    void hchacha20(wg::secret<32>& out, wg::secret<32> const& key, std::span<wg::byte const, 16> n) const noexcept {
        wg::bundled::aead{}.hchacha20(out, key, n);
    }
};
struct batch_aead : plain_aead {
    void seal_batch(std::span<wg::aead_item const> items) const noexcept {
        counted.seal.note(items.size());
        for (auto const& i : items) seal(i.dst, i.src, {}, i.counter, *i.key);
    }
    void open_batch(std::span<wg::aead_item> items) const noexcept {
        counted.open.note(items.size());
        for (auto& i : items) i.good = open(i.dst, i.src, {}, i.counter, *i.key);
    }
};

/// Capacity for many peers, and a short handshake queue, so that load starts early.
struct loaded : wg::host_capacity {
    static constexpr std::size_t max_queued_handshakes = 128;
};
using loaded_storage = wg::growing_storage<wg::heap_region, loaded>;

template <class Storage> struct plain_policies : policies_with<Storage> {
    using hash = plain_hash;
    using aead = plain_aead;
};
template <class Storage> struct batch_policies : policies_with<Storage> {
    using hash = batch_hash;
    using dh = batch_dh;
    using aead = batch_aead;
};

/// A host that works on many packets in one call.
template <class Policies> class hub : public basic_host<Policies> {
    using base = basic_host<Policies>;
    using job_type = typename base::job_type;

public:
    /// `width` is the number of jobs in one call.
    hub(world& w, unsigned number, std::size_t width) : base(w, number), width_(width) {}

    std::vector<buffer> sent;    ///< all datagrams that were sent
    std::vector<status> results; ///< of all received datagrams

    void from_network(std::vector<wire> const& in) {
        for (std::size_t first = 0; first < in.size(); first += width_) {
            std::size_t const count = std::min(width_, in.size() - first);
            std::vector<buffer> memory;
            std::vector<job_type> jobs(count);
            for (std::size_t i = 0; i < count; ++i) memory.push_back(in[first + i].data);
            for (std::size_t i = 0; i < count; ++i) {
                jobs[i].data = wg::packet(memory[i], 0, memory[i].size());
                jobs[i].where.remote = in[first + i].from;
                jobs[i].tos = in[first + i].tos;
            }
            this->device.prepare_inbound(jobs, this->of.now);
            end(jobs);
        }
    }
    void from_tun(std::vector<buffer> const& in) {
        for (std::size_t first = 0; first < in.size(); first += width_) {
            std::size_t const count = std::min(width_, in.size() - first);
            std::vector<buffer> memory;
            std::vector<job_type> jobs(count);
            for (std::size_t i = 0; i < count; ++i)
                memory.emplace_back(in[first + i].size() + wg::packet_headroom_bytes + wg::packet_tailroom_bytes);
            for (std::size_t i = 0; i < count; ++i) {
                jobs[i].data = wg::packet(memory[i], wg::packet_headroom_bytes, in[first + i].size());
                wg::copy(jobs[i].data.view(), in[first + i]);
            }
            this->device.prepare_outbound(jobs, this->of.now);
            end(jobs);
        }
    }
    /// Sends all answers, then all other messages of the device.
    void transmit_pending() {
        for (int kind = 0; kind < 2; ++kind)
            for (int round = 0; round < 200; ++round) {
                std::vector<buffer> memory(width_, buffer(2048));
                std::vector<job_type> jobs(width_);
                for (std::size_t i = 0; i < width_; ++i) jobs[i].data = wg::packet(memory[i], 0, 0);
                std::size_t const made = kind == 0 ? this->device.process_handshakes(jobs, this->of.now)
                                                   : this->device.poll_transmit(jobs, this->of.now);
                jobs.resize(made);
                end(jobs);
            }
    }

private:
    void end(std::vector<job_type>& jobs) {
        base::device_type::crypt(jobs, this->device.aead());
        for (job_type const& j : jobs)
            if (j.next == wg::disposition::send) {
                buffer const data(j.data.view().begin(), j.data.view().end());
                sent.push_back(data);
                this->outbox.push_back({data, this->where, j.where.remote, j.tos, this->of.now});
            }
        this->device.complete(jobs, this->of.now);
        for (job_type const& j : jobs) {
            results.push_back(j.why);
            if (j.next == wg::disposition::deliver)
                this->received.emplace_back(j.data.view().begin(), j.data.view().end());
        }
    }

    std::size_t width_;
};

/// A hub and its peers. The seeds are the same each time.
template <class Policies> struct star_network {
    static constexpr unsigned size = 20;
    world w;
    hub<Policies> center;
    std::vector<std::unique_ptr<host>> others;

    explicit star_network(std::size_t width) : center(w, 1, width) {
        for (unsigned i = 0; i < size; ++i) {
            others.push_back(std::make_unique<host>(w, 10 + i));
            introduce(center, *others.back());
        }
    }
    /// Takes all datagrams that the peers have sent to the hub, in order.
    std::vector<wire> take_datagrams() {
        std::vector<wire> all;
        for (auto const& o : others) {
            o->poll();
            while (!o->outbox.empty()) all.push_back(o->take_datagram());
        }
        return all;
    }
    std::vector<wire> initiations() {
        for (auto const& o : others) o->send(ipv4(*o, center, 100));
        return take_datagrams();
    }
    /// Delivers all datagrams of the hub.
    void deliver() {
        while (!center.outbox.empty()) {
            wire const next = center.take_datagram();
            for (auto const& o : others)
                if (o->where == next.to) o->take(next);
        }
    }
    /// Everything that can be observed from outside.
    auto observe() {
        std::vector<std::uint64_t> counters;
        for (std::size_t i = 0; i < wg::status_count; ++i) counters.push_back(center.dropped(static_cast<status>(i)));
        std::vector<std::uint64_t> events, peers;
        for (event_record const& e : center.events)
            events.insert(events.end(), {static_cast<std::uint64_t>(e.id), e.peer, e.value});
        for (auto const& o : others) {
            peer_report const r = center.report(o->public_key);
            peers.insert(peers.end(), {r.tx_bytes, r.rx_bytes, static_cast<std::uint64_t>(r.last_handshake_s),
                                       static_cast<std::uint64_t>(r.endpoint.port)});
        }
        return std::tuple(center.sent, center.received, center.results, counters, events, peers,
                          center.device.next_deadline().nanoseconds, center.random.calls);
    }
};

void flip(wire& what, std::size_t at) { what.data[at] = static_cast<wg::byte>(what.data[at] ^ 4); }

/// Genuine initiations and wrong messages of every kind, in one batch.
template <class Policies> auto answer_a_crowd(std::size_t width) {
    star_network<Policies> t(width);
    std::vector<wire> in = t.initiations();
    BOOST_TEST_REQUIRE(in.size() == t.size);
    auto const insert = [&](std::size_t place, wire const& what) {
        in.insert(in.begin() + static_cast<std::ptrdiff_t>(place), what);
    };
    wire forged = in[2], weak = in[4], stranger = in[5], wrong_mac = in[6];
    flip(forged, 60);
    put_mac1(forged.data, t.center.public_key);
    std::fill_n(weak.data.begin() + 8, 32, wg::byte{0});
    put_mac1(weak.data, t.center.public_key);
    flip(wrong_mac, 120);
    host nobody(t.w, 77);
    add_peer(nobody, t.center);
    nobody.send(ipv4(nobody, t.center, 100));
    stranger = nobody.take_datagram();
    wire lost_response = in[7]; // well formed, with an unknown receiver
    lost_response.data = buffer(wg::response_layout::size);
    lost_response.data[0] = 2;
    put_mac1(lost_response.data, t.center.public_key);
    for (auto const& [place, what] : {std::pair<std::size_t, wire const&>{3, forged},
                                      {5, in[0]},
                                      {6, weak},
                                      {7, stranger},
                                      {9, wrong_mac},
                                      {14, lost_response},
                                      {18, in[10]}})
        insert(place, what);
    // the peers send new initiations five seconds later; the old ones arrive before these
    t.w.now = t.w.now + wg::seconds(6);
    for (auto const& o : t.others) o->tick();
    std::vector<wire> const again = t.take_datagrams();
    BOOST_TEST_REQUIRE(again.size() == t.size);
    insert(8, again[1]);
    insert(16, again[12]);
    in.push_back(again[3]);
    t.center.from_network(in);
    t.center.transmit_pending();
    t.deliver();
    t.center.from_network(t.take_datagrams()); // keepalives and data confirm the sessions
    t.center.transmit_pending();
    BOOST_TEST(t.center.count(wg::event_id::response_sent) >= t.size - 2u);
    for (status const why : {status::bad_mac1, status::decryption_failed, status::bad_public_key, status::unknown_peer,
                             status::unknown_index, status::replayed_initiation, status::initiation_flood})
        BOOST_TEST(t.center.dropped(why) != 0u, why);
    return t.observe();
}

/// Genuine, forged, weak and repeated responses, in one batch.
template <class Policies> auto hear_a_crowd(std::size_t width) {
    star_network<Policies> t(width);
    std::vector<buffer> packets;
    for (auto const& o : t.others) packets.push_back(ipv4(t.center, *o, 100));
    t.center.from_tun(packets);
    t.center.transmit_pending();
    t.deliver();
    std::vector<wire> in = t.take_datagrams();
    BOOST_TEST_REQUIRE(in.size() == t.size);
    wire forged = in[3], weak = in[4];
    flip(forged, 50);
    put_mac1(forged.data, t.center.public_key);
    std::fill_n(weak.data.begin() + 12, 32, wg::byte{0});
    put_mac1(weak.data, t.center.public_key);
    wire const twice = in[1];
    in.insert(in.begin() + 2, {twice, forged, weak});
    in.push_back(in[9]);
    t.center.from_network(in);
    t.center.transmit_pending();
    t.deliver();
    BOOST_TEST(t.center.count(wg::event_id::session_started) == t.size);
    for (status const why : {status::decryption_failed, status::bad_public_key, status::unknown_index})
        BOOST_TEST(t.center.dropped(why) != 0u, why);
    for (auto const& o : t.others) BOOST_TEST(o->received.size() == 1u);
    return t.observe();
}

/// Packets to and from all peers. Some are changed on the way.
template <class Policies> auto talk_to_a_crowd(std::size_t width) {
    star_network<Policies> t(width);
    t.center.from_network(t.initiations());
    t.center.transmit_pending();
    t.deliver();
    t.center.from_network(t.take_datagrams());
    t.center.transmit_pending();
    noise random(5);
    std::vector<buffer> packets;
    for (std::size_t i = 0; i < 150; ++i)
        packets.push_back(ipv4(t.center, *t.others[random.next() % t.size], 20 + random.next() % 1400, i));
    t.center.from_tun(packets);
    t.deliver();
    std::size_t arrived = 0;
    for (auto const& o : t.others) arrived += o->received.size();
    BOOST_TEST(arrived == packets.size());
    for (std::size_t i = 0; i < 150; ++i) {
        host& from = *t.others[random.next() % t.size];
        from.send(ipv4(from, t.center, 20 + random.next() % 1400, i));
    }
    std::vector<wire> in = t.take_datagrams();
    std::size_t changed = 0;
    for (std::size_t i = 7; i < in.size(); i += 11, ++changed) flip(in[i], in[i].data.size() - 1 - i % 20);
    std::size_t const before = t.center.received.size();
    t.center.from_network(in);
    t.center.transmit_pending();
    BOOST_TEST(t.center.dropped(status::decryption_failed) == changed);
    BOOST_TEST(t.center.received.size() == before + in.size() - changed);
    return t.observe();
}

/// A flood of initiations that makes the hub send cookie replies; then initiations with these cookies.
template <class Policies> auto answer_flood(std::size_t width, std::size_t place_of_old = 28) {
    star_network<Policies> t(width);
    std::vector<wire> const first = t.initiations();
    std::vector<wire> flood;
    while (flood.size() < 128) flood.insert(flood.end(), first.begin(), first.end());
    t.center.from_network(flood);
    t.center.transmit_pending();
    BOOST_TEST(t.center.count(wg::event_id::cookie_reply_sent) >=
               80u); // the first five of each of twenty sources are answered
    BOOST_TEST(t.center.count(wg::event_id::cookie_reply_sent) + t.center.dropped(status::rate_limited) >= 100u);
    BOOST_TEST(t.center.dropped(status::handshake_queue_full) != 0u);
    t.deliver();
    t.w.now = t.w.now + wg::seconds(6);
    for (auto const& o : t.others) o->tick();
    std::vector<wire> again = t.take_datagrams();
    BOOST_TEST_REQUIRE(again.size() == t.size);
    BOOST_TEST(again[0].has_mac2());
    again.insert(again.begin() + 5, 8, again[5]); // beyond the rate limit, and replays
    again.insert(again.begin() + static_cast<std::ptrdiff_t>(place_of_old), first[2]); // it has no cookie
    t.center.from_network(again);
    t.center.transmit_pending();
    BOOST_TEST(t.center.dropped(status::rate_limited) != 0u);
    BOOST_TEST(t.center.dropped(status::replayed_initiation) != 0u);
    BOOST_TEST(t.center.count(wg::event_id::response_sent) == t.size);
    return t.observe();
}

using plain = plain_policies<wg::growing_storage<>>;
using batches = batch_policies<wg::growing_storage<>>;
using plain_loaded = plain_policies<loaded_storage>;
using batches_loaded = batch_policies<loaded_storage>;

} // namespace

static_assert(wg::batch_hash_backend<batch_hash> && !wg::batch_hash_backend<plain_hash>);
static_assert(wg::batch_dh_backend<batch_dh> && !wg::batch_dh_backend<counted_dh>);
static_assert(wg::batch_aead_backend<batch_aead> && !wg::batch_aead_backend<plain_aead>);

BOOST_AUTO_TEST_CASE(batched_initiations_have_the_same_result_as_single_ones) {
    auto const expected = answer_a_crowd<plain>(1);
    BOOST_TEST((answer_a_crowd<plain>(64) == expected));
    counted = {};
    BOOST_TEST((answer_a_crowd<batches>(1) == expected));
    BOOST_TEST(counted.hash.most == 1u);
    BOOST_TEST(counted.dh.most == 2u); // ee and se
    counted = {};
    BOOST_TEST((answer_a_crowd<batches>(64) == expected));
    BOOST_TEST(counted.hash.most == 30u);
    BOOST_TEST(counted.dh.most > 8u); // ee and se of the valid initiations among eight
    BOOST_TEST(counted.dh.items > 3 * 18u);
}

BOOST_AUTO_TEST_CASE(batched_responses_have_the_same_result_as_single_ones) {
    auto const expected = hear_a_crowd<plain>(1);
    BOOST_TEST((hear_a_crowd<plain>(64) == expected));
    BOOST_TEST((hear_a_crowd<batches>(1) == expected));
    counted = {};
    BOOST_TEST((hear_a_crowd<batches>(64) == expected));
    BOOST_TEST(counted.hash.most == 24u);
    BOOST_TEST(counted.dh.most == 16u);
}

BOOST_AUTO_TEST_CASE(batched_packets_have_the_same_result_as_single_ones) {
    auto const expected = talk_to_a_crowd<plain>(1);
    BOOST_TEST((talk_to_a_crowd<plain>(200) == expected));
    BOOST_TEST((talk_to_a_crowd<batches>(1) == expected));
    counted = {};
    BOOST_TEST((talk_to_a_crowd<batches>(200) == expected));
    BOOST_TEST(counted.seal.most == 64u);
    BOOST_TEST(counted.open.most == 64u);
    BOOST_TEST(counted.seal.items >= 150u);
    BOOST_TEST(counted.open.items >= 150u);
    BOOST_TEST(counted.seal.calls < 10u);
    BOOST_TEST(counted.open.calls < 10u);
}

/// One call of `crypt` may get jobs of both directions.
BOOST_AUTO_TEST_CASE(seals_and_opens_one_batch_of_both_directions) {
    basic_pair<batches> p;
    p.connect();
    std::vector<std::unique_ptr<basic_host<batches>::flight>> sealed, opened;
    for (std::uint64_t stamp = 0; stamp < 6; ++stamp) {
        auto f = p.a.prepare(ipv4(p.a, p.b, 200, stamp));
        p.a.crypt(*f);
        wire const on_its_way{f->packet(), p.a.where, p.b.where, 0, p.w.now};
        sealed.push_back(std::move(f));
        opened.push_back(p.b.prepare(on_its_way));
        opened.push_back(p.b.prepare(ipv4(p.b, p.a, 100 + stamp, stamp)));
    }
    std::vector<basic_host<batches>::job_type> jobs;
    for (auto const& f : opened) jobs.push_back(f->job);
    wg::byte& last = jobs[4].data.view().back();
    last = static_cast<wg::byte>(last ^ 1);
    basic_host<batches>::device_type::crypt(jobs, p.b.device.aead());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        BOOST_TEST(jobs[i].why == (i == 4 ? status::decryption_failed : status::ok));
        if (i % 2 == 0 && i != 4) {
            auto const view = jobs[i].data.view();
            BOOST_TEST((buffer(view.begin(), view.begin() + 200) == ipv4(p.a, p.b, 200, i / 2)));
        }
        opened[i]->job = jobs[i];
        p.b.complete(*opened[i]);
    }
    for (auto const& f : sealed) p.a.complete(*f);
    while (!p.b.outbox.empty()) BOOST_TEST((p.a.receive(p.b.take_datagram()) == status::ok));
    BOOST_TEST(p.a.received.size() == 6u);
    BOOST_TEST(p.b.received.size() == 5u);
}

BOOST_AUTO_TEST_CASE(batched_flood_has_the_same_result_as_single_messages) {
    auto const expected = answer_flood<plain_loaded>(1);
    BOOST_TEST((answer_flood<plain_loaded>(64) == expected));
    BOOST_TEST((answer_flood<batches_loaded>(1) == expected));
    counted = {};
    BOOST_TEST((answer_flood<batches_loaded>(64) == expected));
    BOOST_TEST(counted.hash.most == 32u);
    BOOST_TEST(counted.dh.items >= 3 * star_network<plain>::size);
}

/// In a batch, the random bytes of a cookie reply are drawn at another time. Nothing else differs.
BOOST_AUTO_TEST_CASE(cookie_reply_between_messages_with_cookies_uses_other_random_bytes_only) {
    auto const without_random_bytes = [](auto const& observe) {
        std::vector<std::size_t> sizes;
        for (buffer const& b : std::get<0>(observe)) sizes.push_back(b.size() * 256 + b[0]);
        return std::tuple(sizes, std::get<2>(observe), std::get<3>(observe), std::get<4>(observe),
                          std::get<5>(observe));
    };
    for (std::size_t const place : {0u, 1u, 4u, 7u})
        BOOST_TEST((without_random_bytes(answer_flood<batches_loaded>(64, place)) ==
                    without_random_bytes(answer_flood<plain_loaded>(1, place))));
}

/// The DH of both static keys is computed for several peers of a configuration together.
BOOST_AUTO_TEST_CASE(computes_static_keys_of_peers_in_batches) {
    struct policies : test_policies {
        using dh = batch_dh;
    };
    using many = basic_host<policies>;
    world w;
    many a(w, 1);
    std::vector<std::unique_ptr<many>> others;
    std::vector<change> list;
    for (unsigned i = 2; i < 23; ++i) {
        many& b = *others.emplace_back(std::make_unique<many>(w, i));
        list.push_back(change::peer(b.public_key));
        if (i % 11 == 0) {
            list.push_back(change::peer(b.public_key));
            list.push_back(change::remove_peer()); // before the DH with it is computed
            list.push_back(change::peer(b.public_key));
        }
        list.push_back(change::endpoint(b.where));
        list.push_back(change::allowed_ip(wg::ip_prefix::of(b.v4, 32)));
        add_peer(b, a);
    }
    list.push_back(change::peer(wg::public_key{})); // of low order
    counted = {};
    BOOST_TEST((a.device.configure(list, w.now) == status::ok));
    BOOST_TEST(counted.dh.most == 8u);
    for (auto const& b : others) {
        a.send(ipv4(a, *b, 100));
        b->receive(a.take_datagram());
        a.receive(b->take_datagram());
        b->receive(a.take_datagram());
        BOOST_TEST(b->received.size() == 1u);
    }
    // A new private key makes one DH for each peer, too.
    wg::secret<wg::key_bytes> fresh;
    wg::copy(fresh.expose(), noise(4711).take(wg::key_bytes));
    counted = {};
    BOOST_TEST((a.configure(change::private_key(fresh.expose())) == status::ok));
    BOOST_TEST(counted.dh.items == 22u);
    BOOST_TEST(counted.dh.calls == 3u);
}

BOOST_AUTO_TEST_SUITE_END()
