// SPDX-License-Identifier: BSL-1.0
// Peers by key, index and number. Peers and sessions are kept while jobs are in flight.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_peer_table)

using namespace wg_tests;
using wg::status;

namespace {

using policies = test_policies;
using table = wg::peer_table<policies>;
using peer = wg::peer<policies>;
using job = wg::job<policies>;

struct setup {
    policies::storage memory;
    wg::primitives<policies> with{};
    random_state state{noise(4), true, 0};
    seeded_random random{&state};
    table peers{memory, random};
    wg::instant now = wg::instant{} + wg::seconds(1000);

    static buffer key(unsigned number) { return noise(number).take(32); }
    peer& add(unsigned number) {
        peer* const p = peers.add(with, fixed<32>(key(number)));
        BOOST_TEST_REQUIRE(p != nullptr);
        return *p;
    }
    peer* find(unsigned number) { return peers.find(with, fixed<32>(key(number))); }
    std::uint32_t index(peer& of) {
        BOOST_TEST_REQUIRE((peers.make_index(of, of.exchange(), random) == wg::status::ok));
        return of.exchange().local_index;
    }
    auto* session(peer& of) {
        static_cast<void>(index(of));
        auto* const keys = peers.make_keypair(of.exchange(), now, true);
        BOOST_TEST_REQUIRE(keys != nullptr);
        return keys;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(finds_peer_by_its_whole_key) {
    setup s;
    for (unsigned i = 0; i < 300; ++i) s.add(i);
    for (unsigned i = 0; i < 300; ++i) {
        BOOST_TEST_REQUIRE(s.find(i) != nullptr);
        BOOST_TEST(s.find(i)->number == i);
        buffer near = setup::key(i);
        near[i % 32] = static_cast<wg::byte>(near[i % 32] ^ 1);
        BOOST_TEST(s.peers.find(s.with, fixed<32>(near)) == nullptr);
    }
    for (unsigned i = 0; i < 300; i += 3) s.peers.remove(s.with, *s.find(i));
    BOOST_TEST(s.peers.size() == 200u);
    for (unsigned i = 0; i < 300; ++i) BOOST_TEST((s.find(i) != nullptr) == (i % 3 != 0));
    unsigned last = 0;
    std::size_t count = 0;
    for (peer* p = s.peers.first(); p != nullptr; p = p->next, ++count) {
        BOOST_TEST((count == 0 || p->number > last)); // in the order in which they were added
        last = p->number;
    }
    BOOST_TEST(count == 200u);
    BOOST_TEST(s.add(0).number == 300u); // a number is never used again
}

//= wp 5.4.2: indices are random, and no two are the same
BOOST_AUTO_TEST_CASE(index_belongs_to_a_handshake_and_then_to_its_session) {
    setup s;
    peer &a = s.add(1), &b = s.add(2);
    std::uint32_t const of_a = s.index(a), of_b = s.index(b);
    BOOST_TEST(of_a != of_b);
    BOOST_TEST(of_a != 0u);
    BOOST_TEST_REQUIRE(static_cast<bool>(s.peers.find_index(of_a)));
    BOOST_TEST(s.peers.find_index(of_a).owner == &a);
    BOOST_TEST(s.peers.find_index(of_a).keys == nullptr);
    std::uint32_t const again = s.index(a); // replaces the present index
    BOOST_TEST(!s.peers.find_index(of_a));
    auto* const keys = s.peers.make_keypair(a.exchange(), s.now, true);
    BOOST_TEST(keys->local_index == again);
    BOOST_TEST(s.peers.find_index(again).keys == keys);
    s.peers.forget(a.exchange()); // the session stays
    BOOST_TEST(s.peers.find_index(again).keys == keys);
    s.peers.retire(*keys);
    BOOST_TEST(!s.peers.find_index(again));
    s.peers.forget(b.exchange());
    BOOST_TEST(!s.peers.find_index(of_b));
}

BOOST_AUTO_TEST_CASE(makes_no_index_without_random_bytes) {
    setup s;
    peer& a = s.add(1);
    s.state.works = false;
    BOOST_TEST(s.peers.make_index(a, a.exchange(), s.random) == status::no_random);
    BOOST_TEST(a.exchange().local_index == 0u);
}

/// Zero, and indices in use, are drawn again.
//= wp 5.4.2: indices are random, and no two are the same
BOOST_AUTO_TEST_CASE(does_not_give_an_index_twice) {
    struct repeating_random {
        unsigned calls = 0;
        bool fill(wg::bytes out) noexcept {
            wg::fill_zero(out);
            out[0] = static_cast<wg::byte>(calls++ / 4); // 0 0 0 0 1 1 1 1 2 ...
            return true;
        }
    } random;
    setup s;
    std::vector<std::uint32_t> all;
    for (unsigned i = 0; i < 10; ++i) {
        peer& p = s.add(i);
        BOOST_TEST(s.peers.make_index(p, p.exchange(), random) == status::ok);
        all.push_back(p.exchange().local_index);
    }
    for (std::uint32_t i = 0; i < 10; ++i) BOOST_TEST(all[i] == i + 1);
}

//= linux: a session is wiped as soon as no packet in flight holds it
BOOST_AUTO_TEST_CASE(retired_session_is_kept_until_its_last_job_is_released) {
    setup s;
    peer& a = s.add(1);
    auto* const keys = s.session(a);
    std::fill(keys->send_key.expose().begin(), keys->send_key.expose().end(), wg::byte{0x5a});
    job one, two;
    s.peers.acquire(one, a, keys);
    s.peers.acquire(two, a, keys);
    s.peers.retire(*keys);
    BOOST_TEST(!keys->send_key.is_zero());
    s.peers.release(one);
    BOOST_TEST((one.keys == nullptr && one.owner == nullptr));
    BOOST_TEST(!keys->send_key.is_zero());
    auto const* const at = reinterpret_cast<wg::byte const volatile*>(keys);
    s.peers.release(two);
    for (std::size_t i = sizeof(void*); i < sizeof *keys; ++i)
        if (at[i] != 0) BOOST_ERROR("byte " << i);
}

//= linux: a removed peer lives on in its packets in flight, and nowhere else
BOOST_AUTO_TEST_CASE(removed_peer_is_found_only_through_its_jobs) {
    setup s;
    peer& a = s.add(1);
    auto* const keys = s.session(a);
    std::uint32_t const index = keys->local_index;
    a.keypairs.current = keys;
    BOOST_TEST(s.peers.allowed().insert(wg::ip_prefix::of(inner_v4(1), 32), a));
    s.peers.deadlines().schedule(a, s.now);
    auto const* const secrets = reinterpret_cast<wg::byte const volatile*>(a.secrets);
    job j;
    s.peers.acquire(j, a, keys);
    s.peers.remove(s.with, a);
    BOOST_TEST(s.find(1) == nullptr);
    BOOST_TEST(s.peers.size() == 0u);
    BOOST_TEST(s.peers.first() == nullptr);
    BOOST_TEST(!s.peers.find_index(index));
    BOOST_TEST((s.peers.allowed().find(wg::family::v4, inner_v4(1).octets.data()) == nullptr));
    BOOST_TEST((s.peers.deadlines().next() == wg::instant::never()));
    for (std::size_t i = sizeof(void*); i < sizeof(wg::peer_secrets<policies>); ++i)
        if (secrets[i] != 0) BOOST_ERROR("byte " << i); // keys are wiped at once
    BOOST_TEST(j.owner->removed);
    peer& same_key = s.add(1); // may be added again while the job is in flight
    BOOST_TEST(&same_key != j.owner);
    s.peers.release(j);
}

BOOST_AUTO_TEST_SUITE_END()
