// SPDX-License-Identifier: BSL-1.0
// Devices that agree on preshared keys inside their sessions.
#include "fixture.hpp"
#include "toy_kem.hpp"

BOOST_AUTO_TEST_SUITE(device_exchange)

using namespace wg_tests;
using wg::change, wg::event_id, wg::message_type, wg::post_quantum, wg::seconds, wg::status;

namespace {

template <class Storage> struct exchange_policies : policies_with<Storage> {
    using pq_kem = toy_kem;
};
static_assert(wg::policies_with_exchange<exchange_policies<wg::growing_storage<>>>);
static_assert(!wg::policies_with_exchange<test_policies>);

/// A microcontroller with room for a message of an exchange and a packet.
struct two_slots : two_peers {
    static constexpr std::size_t max_staged_packets = 2;
};

constexpr std::size_t offer_bytes = 1200 + wg::transport_overhead_bytes, answer_bytes = 1120 + 32;
bool is_exchange(wire const& w) { return w.data.size() == offer_bytes || w.data.size() == answer_bytes; }
bool is_user_data(wire const& w) { return w.is_data() && !is_exchange(w); }

struct facts {
    post_quantum mode = post_quantum::off;
    std::uint32_t exchanges = 0;
    std::int64_t since = 0;
};
template <class Host> facts facts_of(Host& of, wg::public_key const& peer) {
    struct collector {
        wg::public_key const& wanted;
        facts found{};
        void device(wg::interface_facts const&) {}
        void peer(wg::peer_facts const& p) {
            if (p.key == wanted) found = {p.exchange, p.exchanges, p.exchanged_s};
        }
        void allowed_ip(wg::ip_prefix const&) {}
    } collect{peer};
    of.device.snapshot(collect);
    return collect.found;
}

/// Two hosts with these modes.
template <class Storage = wg::growing_storage<>> struct exchange_pair : basic_pair<exchange_policies<Storage>> {
    using base = basic_pair<exchange_policies<Storage>>;
    using base::a, base::b, base::net, base::w;

    exchange_pair(post_quantum of_a, post_quantum of_b) {
        set(a, b, of_a);
        set(b, a, of_b);
    }
    static void set(auto& of, auto const& with, post_quantum mode) {
        BOOST_TEST_REQUIRE(of.configure(change::peer(with.public_key), change::exchange(mode)) == status::ok);
    }
    std::uint32_t exchanges(auto& of) { return facts_of(of, (&of == &a ? b : a).public_key).exchanges; }
    /// Seconds until a packet passes each way; 99: none did.
    int talks_after(int most = 30) {
        for (int second = 0; second <= most; ++second) {
            std::size_t const at_a = a.received.size(), at_b = b.received.size();
            a.send(ipv4(a, b, 100));
            b.send(ipv4(b, a, 100));
            net.settle();
            if (a.received.size() > at_a && b.received.size() > at_b) return second;
            net.advance(seconds(1));
        }
        return 99;
    }
    /// One end forgets all about the other one, as after a restart.
    void restart(auto& of) {
        auto& with = &of == &a ? b : a;
        post_quantum const mode = facts_of(of, with.public_key).mode;
        BOOST_TEST_REQUIRE(of.configure(change::peer(with.public_key), change::remove_peer()) == status::ok);
        add_peer(of, with);
        set(of, with, mode);
    }
};
using growing = exchange_pair<>;
using small = exchange_pair<wg::static_storage<two_slots>>;

template <class Pair> void requires_works() {
    Pair p(post_quantum::require, post_quantum::require);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle(); // no time passes
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST(p.exchanges(p.b) == 1u);
    // Two handshakes; user data comes after the second one, and the exchange between them.
    std::size_t responses = 0;
    for (wire const& w : p.net.log) {
        responses += w.type() == message_type::response;
        if (is_user_data(w)) BOOST_TEST(responses == 2u);
        if (is_exchange(w)) BOOST_TEST(responses == 1u);
    }
    BOOST_TEST(p.net.count(is_exchange) == 2u);
    BOOST_TEST(p.talks_after() == 0);
    BOOST_TEST(p.exchanges(p.a) == 1u);
    BOOST_TEST(p.a.count(event_id::exchange_finished) == 1u);
    BOOST_TEST(p.b.count(event_id::exchange_finished) == 1u);
    p.net.advance(seconds(500)); // sessions are renewed; the key stays for an hour
    BOOST_TEST(p.talks_after() == 0);
}

} // namespace

BOOST_AUTO_TEST_CASE(user_data_waits_for_the_exchange_where_it_is_required) {
    requires_works<growing>();
    requires_works<small>();
}

BOOST_AUTO_TEST_CASE(user_data_passes_at_once_where_the_exchange_is_preferred) {
    growing p(post_quantum::prefer, post_quantum::prefer);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
    BOOST_TEST(p.net.count(message_type::response) == 2u);
    BOOST_TEST(p.talks_after() == 0);
    BOOST_TEST(p.exchanges(p.a) == 1u);
    BOOST_TEST(p.exchanges(p.b) == 1u);
    facts const f = facts_of(p.a, p.b.public_key);
    BOOST_TEST((f.mode == post_quantum::prefer));
    BOOST_TEST(f.since == (p.w.now + p.w.wall_offset).nanoseconds / 1'000'000'000);
}

BOOST_AUTO_TEST_CASE(an_offer_fits_into_the_smallest_ipv6_packet) {
    growing p(post_quantum::prefer, post_quantum::prefer);
    p.talks_after();
    for (wire const& w : p.net.log) BOOST_TEST(w.data.size() + 40u + 8u <= 1280u);
}

BOOST_AUTO_TEST_CASE(an_end_that_requires_drops_user_data_of_one_that_prefers) {
    growing p(post_quantum::prefer, post_quantum::require);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    BOOST_TEST(p.b.received.empty()); // it was sent in the first session
    BOOST_TEST(p.b.dropped(status::no_exchange) == 1u);
    BOOST_TEST(p.talks_after() == 0);
}

BOOST_AUTO_TEST_CASE(a_plain_peer_is_offered_less_and_less_unless_an_exchange_is_required) {
    for (post_quantum mode : {post_quantum::prefer, post_quantum::require}) {
        growing p(mode, post_quantum::off);
        for (int minute = 0; minute < 240; ++minute) {
            p.a.send(ipv4(p.a, p.b, 100));
            p.net.advance(seconds(60));
        }
        std::size_t const offers = p.net.count([](wire const& w) { return w.data.size() == offer_bytes; });
        BOOST_TEST(offers >= 15u);
        // Where an exchange is required, nothing else passes, so the offer is sent again every 5 s.
        BOOST_TEST(offers <= (mode == post_quantum::prefer ? 33u : 3600u));
        if (mode == post_quantum::prefer) BOOST_TEST(p.a.count(event_id::exchange_unanswered) == offers / 3);
        BOOST_TEST(p.b.received.size() == (mode == post_quantum::prefer ? 240u : 0u));
        BOOST_TEST(p.b.dropped(status::bad_inner_packet) == offers);
        p.set(p.b, p.a, post_quantum::prefer); // the peer learns it
        p.a.send(ipv4(p.a, p.b, 100));
        p.net.advance(seconds(3700));
        BOOST_TEST(p.talks_after() == 0);
        BOOST_TEST(p.exchanges(p.b) >= 1u);
    }
}

BOOST_AUTO_TEST_CASE(the_end_that_did_not_begin_the_session_offers_if_its_peer_does_not) {
    growing p(post_quantum::off, post_quantum::prefer);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(seconds(1));
    BOOST_TEST(p.net.count(is_exchange) == 0u);
    p.net.advance(seconds(2));
    BOOST_TEST(p.net.count(is_exchange) == 1u);
    p.set(p.a, p.b, post_quantum::prefer);
    p.net.advance(seconds(6));
    BOOST_TEST(p.talks_after() == 0);
    BOOST_TEST(p.exchanges(p.a) == 1u);
    BOOST_TEST(p.exchanges(p.b) == 1u);
}

BOOST_AUTO_TEST_CASE(a_lost_message_at_any_place_delays_traffic_by_two_attempts_at_most) {
    for (std::size_t lost = 0; lost < 12; ++lost)
        for (std::size_t count : {1u, 2u}) {
            growing p(post_quantum::require, post_quantum::require);
            std::size_t seen = 0;
            p.net.intercept = [&](wire&) {
                std::size_t const place = seen++;
                return place < lost || place >= lost + count;
            };
            BOOST_TEST(p.talks_after() <= 17, "lost " << count << " from " << lost); // 15 s: a lost session
            p.net.advance(seconds(1));
            BOOST_TEST(p.exchanges(p.a) >= 1u);
            BOOST_TEST(p.exchanges(p.b) >= 1u);
        }
}

BOOST_AUTO_TEST_CASE(a_restart_of_either_end_is_made_up_for) {
    for (bool first : {false, true})
        for (bool begins : {false, true}) {
            growing p(post_quantum::require, post_quantum::require);
            BOOST_TEST(p.talks_after() == 0);
            auto& lost = first ? p.a : p.b;
            auto& other = first ? p.b : p.a;
            p.restart(lost);
            p.net.advance(seconds(6)); // Rekey-Timeout has passed
            auto& sender = begins ? lost : other;
            auto& receiver = begins ? other : lost;
            std::size_t const before = receiver.received.size();
            sender.send(ipv4(sender, receiver, 100));
            p.net.advance(seconds(begins ? 11 : 27)); // the other end notices after 15 s that its session is gone
            if (receiver.received.size() == before) sender.send(ipv4(sender, receiver, 100)); // lost with the session
            p.net.advance(seconds(1));
            BOOST_TEST(receiver.received.size() > before);
            BOOST_TEST(p.talks_after() == 0);
            BOOST_TEST(p.exchanges(lost) >= 1u);
        }
}

BOOST_AUTO_TEST_CASE(keys_that_change_with_every_session_lose_no_packet) {
    growing p(post_quantum::require, post_quantum::require);
    for (auto* h : {&p.a, &p.b}) h->device.set_exchange_interval({});
    BOOST_TEST(p.talks_after() == 0);
    std::size_t sent = p.a.received.size();
    for (int n = 0; n < 2000; ++n) {
        p.a.send(ipv4(p.a, p.b, 100));
        p.b.send(ipv4(p.b, p.a, 100));
        p.net.advance(seconds(1));
        ++sent;
    }
    BOOST_TEST(p.a.received.size() == sent);
    BOOST_TEST(p.b.received.size() == sent);
    BOOST_TEST(p.exchanges(p.a) >= 14u);
    BOOST_TEST(p.exchanges(p.a) == p.exchanges(p.b));
}

BOOST_AUTO_TEST_CASE(exchanges_that_cross_end_with_one_key) {
    growing p(post_quantum::require, post_quantum::require);
    p.a.send(ipv4(p.a, p.b, 100));
    p.b.send(ipv4(p.b, p.a, 100)); // both initiations are under way
    p.net.settle();
    p.net.advance(seconds(12));
    BOOST_TEST(p.talks_after() <= 1);
    BOOST_TEST(p.exchanges(p.a) >= 1u);
    BOOST_TEST(p.exchanges(p.a) == p.exchanges(p.b));
}

BOOST_AUTO_TEST_CASE(a_user_of_the_host_cannot_forge_a_message) {
    growing p(post_quantum::prefer, post_quantum::prefer);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    for (wg::byte kind : {wg::byte{1}, wg::byte{2}}) {
        buffer forged(1200);
        forged[0] = kind;
        forged[1] = forged[2] = 1;
        BOOST_TEST(p.a.send(forged) == status::not_ip);
    }
    BOOST_TEST(p.net.count(is_exchange) == 2u);
}

BOOST_AUTO_TEST_CASE(messages_that_come_again_change_nothing) {
    growing p(post_quantum::require, post_quantum::require);
    BOOST_TEST(p.talks_after() == 0);
    toy_kem::calls = 0;
    std::vector<wire> const log = p.net.log;
    for (wire const& w : log) (void)p.net.deliver(w);
    p.net.settle();
    BOOST_TEST(toy_kem::calls == 0u);
    BOOST_TEST(p.talks_after() == 0);
    BOOST_TEST(p.exchanges(p.a) == 1u);
}

BOOST_AUTO_TEST_CASE(another_configured_key_wipes_the_keys_that_exchanges_made) {
    growing p(post_quantum::require, post_quantum::require);
    BOOST_TEST(p.talks_after() == 0);
    wg::byte_array<32> const key{7};
    for (auto* h : {&p.a, &p.b})
        BOOST_TEST(h->configure(change::peer((h == &p.a ? p.b : p.a).public_key), change::preshared_key(key)) ==
                   status::ok);
    p.net.advance(seconds(200)); // the session ends
    BOOST_TEST(p.talks_after() <= 1);
    BOOST_TEST(p.exchanges(p.a) == 2u);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(key)) == status::ok); // the same
    p.net.advance(seconds(200));
    BOOST_TEST(p.talks_after() <= 1);
    BOOST_TEST(p.exchanges(p.a) == 2u);
}

BOOST_AUTO_TEST_CASE(an_exchange_begins_when_it_is_configured_during_a_session) {
    growing p(post_quantum::off, post_quantum::off);
    BOOST_TEST(p.talks_after() == 0);
    p.set(p.b, p.a, post_quantum::prefer);
    p.set(p.a, p.b, post_quantum::prefer);
    p.net.advance(seconds(12));
    BOOST_TEST(p.talks_after() == 0);
    BOOST_TEST(p.exchanges(p.a) == 1u);
}

BOOST_AUTO_TEST_CASE(modes_are_checked_and_refused_without_a_key_encapsulation) {
    growing p(post_quantum::off, post_quantum::off);
    BOOST_TEST(p.a.configure(change::exchange(post_quantum::prefer)) == status::invalid);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::exchange(static_cast<post_quantum>(3))) ==
               status::invalid);
    pair without;
    BOOST_TEST(without.a.configure(change::peer(without.b.public_key), change::exchange(post_quantum::off)) ==
               status::ok);
    BOOST_TEST(without.a.configure(change::peer(without.b.public_key), change::exchange(post_quantum::prefer)) ==
               status::not_supported);
}

BOOST_AUTO_TEST_SUITE_END()
