// SPDX-License-Identifier: BSL-1.0
// Devices whose preshared keys are replaced in each epoch.
#include "fixture.hpp"

#include <map>

BOOST_AUTO_TEST_SUITE(device_ratchet)

using namespace wg_tests;
using wg::change, wg::event_id, wg::message_type, wg::seconds, wg::status;

namespace {

constexpr std::uint32_t day_s = 86400;
constexpr std::int64_t noon = 1'796'083'200 + 12 * 3600; // 2026-12-01
constexpr wg::ratchet_epoch today = 20788;

/// The records of all hosts of a test.
struct record_book {
    static inline std::map<wg::public_key, wg::byte_array<wg::ratchet_record_bytes>> all{};
    static inline bool works = true;
    static inline int stored = 0;

    bool load(wg::public_key const& peer, std::span<wg::byte, wg::ratchet_record_bytes> to) noexcept {
        auto const found = all.find(peer);
        if (found == all.end()) return false;
        wg::copy(to, wg::bytes_view(found->second));
        return true;
    }
    bool store(wg::public_key const& peer, std::span<wg::byte const, wg::ratchet_record_bytes> from) noexcept {
        if (!works) return false;
        ++stored;
        wg::copy(all[peer], wg::bytes_view(from));
        return true;
    }
    void erase(wg::public_key const& peer) noexcept { all.erase(peer); }
};

template <class Storage> struct ratchet_policies : policies_with<Storage> {
    using ratchet_storage = record_book;
};
static_assert(wg::policies_with_ratchet<ratchet_policies<wg::growing_storage<>>>);
static_assert(!wg::policies_with_ratchet<test_policies>);

wg::byte_array<32> configured(wg::byte first = 0x20) {
    wg::byte_array<32> key{};
    for (wg::byte& b : key) b = first++;
    return key;
}

template <class Host> status set_key(Host& of, wg::public_key const& peer, wg::key_view key, std::uint32_t epoch_s) {
    return of.configure(change::peer(peer), change::preshared_key(key), change::ratchet(epoch_s));
}

/// Two hosts with the same configured key and a ratchet, at noon of a day.
template <class Storage = wg::growing_storage<>> struct ratchet_pair : basic_pair<ratchet_policies<Storage>> {
    using base = basic_pair<ratchet_policies<Storage>>;
    using base::a, base::b, base::net, base::w;

    ratchet_pair() {
        record_book::all.clear();
        record_book::works = true;
        w.wall_offset = seconds(noon - 1000);
        begin(a, b);
        begin(b, a);
    }
    static void begin(auto& of, auto const& with) {
        BOOST_TEST_REQUIRE(set_key(of, with.public_key, configured(), day_s) == status::ok);
    }
    /// Time passes without the timers of hosts.
    void pass_days(std::int64_t n) { w.now = w.now + seconds(n * day_s); }
    wg::ratchet_epoch epoch(auto& of, auto const& with) {
        struct collector {
            wg::public_key const& wanted;
            wg::peer_facts const* found = nullptr;
            std::uint32_t length = 0, epoch = 0;
            void device(wg::interface_facts const&) {}
            void peer(wg::peer_facts const& p) {
                if (p.key == wanted) length = p.ratchet_s, epoch = p.ratchet_epoch;
            }
            void allowed_ip(wg::ip_prefix const&) {}
        } collect{with.public_key};
        of.device.snapshot(collect);
        BOOST_TEST(collect.length == day_s);
        return collect.epoch;
    }
    /// Sends a packet each way.
    void talk() {
        net.settle();
        a.received.clear();
        b.received.clear();
        a.send(ipv4(a, b, 100));
        net.advance(seconds(1));
        b.send(ipv4(b, a, 100));
        net.advance(seconds(1));
        BOOST_TEST(b.received.size() == 1u);
        BOOST_TEST(a.received.size() == 1u);
    }
};
using growing = ratchet_pair<>;
using small = ratchet_pair<wg::static_storage<two_peers>>;

std::vector<std::pair<message_type, std::size_t>> shape(std::vector<wire> const& log) {
    std::vector<std::pair<message_type, std::size_t>> out;
    for (wire const& one : log) out.emplace_back(one.type(), one.data.size());
    return out;
}

template <class Pair> void advances_every_day() {
    Pair p;
    for (wg::ratchet_epoch day = 0; day < 5; ++day) {
        p.talk();
        BOOST_TEST(p.epoch(p.a, p.b) == today + day);
        BOOST_TEST(p.epoch(p.b, p.a) == today + day);
        p.pass_days(1);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(the_key_is_replaced_every_day) {
    advances_every_day<growing>();
    advances_every_day<small>();
}

BOOST_AUTO_TEST_CASE(messages_are_those_of_a_device_without_a_ratchet) {
    growing with;
    pair without;
    without.w.wall_offset = with.w.wall_offset;
    with.a.send(ipv4(with.a, with.b, 100));
    with.net.advance(seconds(200));
    without.a.send(ipv4(without.a, without.b, 100));
    without.net.advance(seconds(200));
    BOOST_TEST((shape(with.net.log) == shape(without.net.log)));
}

BOOST_AUTO_TEST_CASE(the_configured_key_is_reported_until_the_first_session_and_then_wiped) {
    growing p;
    auto const key = configured();
    BOOST_TEST(p.a.report(p.b.public_key).preshared_key == buffer(key.begin(), key.end()));
    BOOST_TEST(p.epoch(p.a, p.b) == 0u);
    p.talk();
    BOOST_TEST(p.a.report(p.b.public_key).preshared_key == buffer(32, 0));
    BOOST_TEST(p.b.report(p.a.public_key).preshared_key == buffer(32, 0));
}

BOOST_AUTO_TEST_CASE(a_session_under_a_later_epoch_is_reported_once) {
    growing p;
    p.talk();
    BOOST_TEST(p.a.count(event_id::ratchet_advanced) == 1u);
    BOOST_TEST(p.b.count(event_id::ratchet_advanced) == 1u);
    p.net.advance(seconds(200));
    p.talk(); // a new session of the same day
    BOOST_TEST(p.a.count(event_id::ratchet_advanced) == 1u);
    p.pass_days(3);
    p.talk();
    BOOST_TEST(p.a.count(event_id::ratchet_advanced) == 2u);
    for (event_record const& e : p.a.events)
        if (e.id == event_id::ratchet_advanced) BOOST_TEST((e.value == today || e.value == today + 3));
}

BOOST_AUTO_TEST_CASE(what_is_stored_is_the_key_of_the_last_session) {
    growing p;
    BOOST_TEST(record_book::all.empty());
    p.talk();
    BOOST_TEST(record_book::all.size() == 2u); // of each host
    auto const old = record_book::all;
    p.pass_days(1);
    p.talk();
    for (auto const& [key, record] : record_book::all) {
        wg::ratchet loaded;
        BOOST_TEST(loaded.load(wg::bundled::hash{}, record, configured(), day_s));
        BOOST_TEST(loaded.epoch() == today + 1);
        BOOST_TEST((record != old.at(key)));
    }
}

BOOST_AUTO_TEST_CASE(a_peer_that_is_removed_and_added_goes_on) {
    for (bool with_state : {false, true})
        for (bool with_key : {false, true}) {
            if (!with_state && !with_key) continue;
            growing p;
            p.talk();
            p.pass_days(2);
            p.talk();
            if (!with_state) record_book::all.clear();
            BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::remove_peer()) == status::ok);
            add_peer(p.a, p.b);
            if (with_key) p.begin(p.a, p.b);
            else BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::ratchet(day_s)) == status::ok);
            if (with_state) BOOST_TEST(p.epoch(p.a, p.b) == today + 2);
            p.talk();
        }
}

BOOST_AUTO_TEST_CASE(the_same_configuration_again_changes_nothing) {
    growing p;
    p.talk();
    p.begin(p.a, p.b);
    BOOST_TEST(p.epoch(p.a, p.b) == today);
    BOOST_TEST(p.a.report(p.b.public_key).preshared_key == buffer(32, 0));
    // What `wg showconf` shows, an all-zero key, does not end the ratchet either.
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::preshared_key(wg::byte_array<32>{})) == status::ok);
    BOOST_TEST(p.epoch(p.a, p.b) == today);
    p.pass_days(1);
    p.talk();
}

BOOST_AUTO_TEST_CASE(a_ratchet_that_has_wiped_its_key_changes_only_with_a_new_key) {
    growing p;
    auto& a = p.a;
    BOOST_TEST(a.configure(change::peer(p.b.public_key), change::ratchet(day_s + 1)) == status::ok);
    BOOST_TEST(a.configure(change::peer(p.b.public_key), change::ratchet(day_s)) == status::ok);
    p.talk();
    for (std::uint32_t other : {0u, day_s + 1})
        BOOST_TEST(a.configure(change::peer(p.b.public_key), change::ratchet(other)) == status::invalid);
    BOOST_TEST(a.configure(change::peer(p.b.public_key), change::ratchet(day_s)) == status::ok);
    BOOST_TEST(p.epoch(a, p.b) == today);
    BOOST_TEST(a.configure(change::peer(p.b.public_key), change::ratchet(0), change::remove_peer()) == status::ok);
}

BOOST_AUTO_TEST_CASE(a_ratchet_is_switched_off_with_a_new_key) {
    growing p;
    p.talk();
    BOOST_TEST(set_key(p.a, p.b.public_key, configured(1), 0) == status::ok);
    BOOST_TEST(set_key(p.b, p.a.public_key, configured(1), 0) == status::ok);
    BOOST_TEST(record_book::all.empty());
    auto const key = configured(1);
    p.pass_days(1);
    p.talk();
    BOOST_TEST(p.a.report(p.b.public_key).preshared_key == buffer(key.begin(), key.end()));
}

BOOST_AUTO_TEST_CASE(an_all_zero_key_before_the_first_session_ends_the_ratchet) {
    growing p;
    for (auto* h : {&p.a, &p.b})
        BOOST_TEST(h->configure(change::peer((h == &p.a ? p.b : p.a).public_key),
                                change::preshared_key(wg::byte_array<32>{})) == status::ok);
    p.talk();
    BOOST_TEST(p.a.count(event_id::ratchet_advanced) == 0u);
}

BOOST_AUTO_TEST_CASE(ends_with_different_keys_have_no_session) {
    growing p;
    BOOST_TEST(set_key(p.b, p.a.public_key, configured(0x21), day_s) == status::ok);
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.advance(seconds(60));
    BOOST_TEST(p.b.received.empty());
    BOOST_TEST(p.a.dropped(status::decryption_failed) > 5u);
    p.begin(p.b, p.a);
    p.net.advance(seconds(10));
    p.talk();
}

BOOST_AUTO_TEST_CASE(lengths_out_of_range_and_wrong_places_are_refused) {
    growing p;
    for (std::uint32_t bad : {1u, 9u, wg::longest_epoch_s + 1, UINT32_MAX})
        BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::ratchet(bad)) == status::invalid);
    BOOST_TEST(p.a.configure(change::ratchet(day_s)) == status::invalid);
    pair without;
    BOOST_TEST(without.a.configure(change::peer(without.b.public_key), change::ratchet(0)) == status::ok);
    BOOST_TEST(without.a.configure(change::peer(without.b.public_key), change::ratchet(day_s)) ==
               status::not_supported);
}

BOOST_AUTO_TEST_CASE(new_peers_have_the_ratchet_of_the_device_if_they_have_a_key) {
    growing p;
    p.a.device.set_ratchet(day_s);
    wg::public_key const other = numbered_key(7), third = numbered_key(8);
    BOOST_TEST(p.a.configure(change::peer(other), change::preshared_key(configured())) == status::ok);
    BOOST_TEST(p.a.configure(change::peer(third)) == status::ok);
    struct collector {
        std::vector<std::uint32_t> lengths{};
        void device(wg::interface_facts const&) {}
        void peer(wg::peer_facts const& f) { lengths.push_back(f.ratchet_s); }
        void allowed_ip(wg::ip_prefix const&) {}
    } collect;
    p.a.device.snapshot(collect);
    BOOST_TEST((collect.lengths == std::vector<std::uint32_t>{day_s, day_s, 0}));
}

BOOST_AUTO_TEST_CASE(a_board_adds_a_peer_with_a_ratchet) {
    small p;
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::remove_peer()) == status::ok);
    wg::secret<32> const key(configured());
    wg::ip_prefix const inner[] = {prefix_v4(2)};
    BOOST_TEST(p.a.device.add_peer({p.b.public_key, p.b.where, inner, 0, &key}, day_s - 1) == status::ok);
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::remove_peer()) == status::ok);
    BOOST_TEST(p.a.device.add_peer({p.b.public_key, p.b.where, inner, 0, &key}, 5) == status::invalid);
    BOOST_TEST(p.a.device.add_peer({p.b.public_key, p.b.where, inner, 0, &key}, day_s) == status::ok);
    p.talk();
}

BOOST_AUTO_TEST_CASE(a_record_that_cannot_be_stored_is_reported_and_stored_later) {
    growing p;
    record_book::works = false;
    p.talk();
    BOOST_TEST(p.a.count(event_id::ratchet_not_saved) == 1u);
    BOOST_TEST(record_book::all.empty());
    record_book::works = true;
    p.net.advance(seconds(200));
    p.talk(); // the next session
    BOOST_TEST(record_book::all.size() == 2u);
    int const stored = std::exchange(record_book::stored, 0);
    BOOST_TEST(stored >= 2);
    p.net.advance(seconds(200));
    p.talk();
    BOOST_TEST(record_book::stored == 0);
}

BOOST_AUTO_TEST_CASE(a_peer_with_one_key_at_a_time_has_sessions) {
    // Linux's WireGuard, whose key a timer sets at midnight.
    for (int lag : {-1, 0, 1}) {
        growing p;
        for (wg::ratchet_epoch day = 0; day < 4; ++day) {
            wg::ratchet_keys keys;
            keys.begin(wg::bundled::hash{}, configured(), day_s);
            keys.advance(wg::bundled::hash{}, today + day + static_cast<wg::ratchet_epoch>(lag));
            BOOST_TEST(set_key(p.b, p.a.public_key, keys.key().expose(), 0) == status::ok);
            p.a.received.clear();
            p.b.received.clear();
            if (day % 2 == 0) p.a.send(ipv4(p.a, p.b, 100));
            else p.b.send(ipv4(p.b, p.a, 100));
            p.net.advance(seconds(12)); // the first attempt and two more
            BOOST_TEST(p.a.received.size() + p.b.received.size() == 1u);
            p.pass_days(1);
        }
    }
}

BOOST_AUTO_TEST_CASE(the_second_initiation_of_a_peer_without_a_date_is_answered_by_an_initiation) {
    for (wg::duration const later : {seconds(6), wg::milliseconds(4800)}) { // the server may begin after 5 s
        growing dated, undated;
        undated.w.wall_offset = {};
        auto &board = undated.a, &server = dated.b;
        server.where = undated.b.where;
        BOOST_TEST_REQUIRE(server.configure(change::peer(board.public_key), change::endpoint(board.where),
                                            change::preshared_key(configured()), change::ratchet(day_s),
                                            change::allowed_ip(prefix_v4(1))) == status::ok);
        BOOST_TEST_REQUIRE(board.configure(change::peer(server.public_key), change::endpoint(server.where),
                                           change::preshared_key(configured()), change::ratchet(day_s),
                                           change::allowed_ip(prefix_v4(2))) == status::ok);
        (void)board.send(ipv4(board, server, 100));
        (void)server.receive(board.take_datagram());
        BOOST_TEST(server.take_datagram().type() == message_type::response); // with a key that the board cannot find
        undated.w.now = undated.w.now + seconds(6);
        dated.w.now = dated.w.now + later;
        board.tick();
        (void)server.receive(board.take_datagram());
        if (later < seconds(5)) {
            BOOST_TEST(server.outbox.empty());
            dated.w.now = dated.w.now + seconds(1);
            server.tick();
        }
        wire const answer = server.take_datagram();
        BOOST_TEST(answer.type() == message_type::initiation);
        (void)board.receive(answer);
        (void)server.receive(board.take_datagram());
        BOOST_TEST(server.count(event_id::session_started) == 1u);
    }
}

BOOST_AUTO_TEST_CASE(forged_responses_change_nothing) {
    growing p;
    p.talk();
    p.pass_days(1);
    p.a.send(ipv4(p.a, p.b, 100));
    wire const initiation = p.a.take_datagram();
    (void)p.net.deliver(initiation);
    wire const response = p.b.take_datagram();
    for (std::size_t at : {12u, 44u, 59u}) { // ephemeral, tag
        wire forged = response;
        forged.data[at] ^= 1;
        put_mac1(forged.data, p.a.public_key);
        (void)p.net.deliver(forged);
        BOOST_TEST(p.epoch(p.a, p.b) == today);
    }
    (void)p.net.deliver(response);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 2u);
    BOOST_TEST(p.epoch(p.b, p.a) == today + 1);
}

BOOST_AUTO_TEST_SUITE_END()
