// SPDX-License-Identifier: BSL-1.0
// The timestamps of initiations, called labels (whitepaper 5.1). They increase for each peer and do not run ahead of
// the clock. Peers accept them after a restart, also from a board without a wall clock.
#include "fixture.hpp"

#include "wg/os/bare/board.hpp"

using namespace wg_tests;
using wg::status;

namespace {

using label = wg::byte_array<wg::timestamp_bytes>;

double seconds_of(label const& l) {
    return static_cast<double>(wg::load_be64(l.data()) - wg::tai64n_epoch) + wg::load_be32(&l[8]) / 1e9;
}

/// The greatest timestamp that host `at` has received from its peer `of`.
label greatest_seen(host& at, host& of) {
    auto const f = at.prepare(ipv4(at, of, 100));
    BOOST_TEST_REQUIRE(f->job.owner != nullptr);
    label const seen = f->job.owner->greatest_timestamp;
    at.complete(*f);
    return seen;
}

double wall_clock_s(world const& w) { return static_cast<double>((w.now + w.wall_offset).nanoseconds) / 1e9; }

wg::public_key stranger_key(unsigned number) {
    wg::public_key key{};
    wg::store_be32(key.data(), number);
    key[31] = 1;
    return key;
}

/// Adds `count` peers that never answer. The device sends an initiation to each of them at once.
void add_unreachable_peers(host& to, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        auto const high = static_cast<wg::byte>(i >> 8), low = static_cast<wg::byte>(i);
        wg::endpoint const where{wg::ip_address::v4(198, 51, high, low), 9, 0};
        BOOST_TEST_REQUIRE(to.configure(wg::change::peer(stranger_key(i)), wg::change::endpoint(where),
                                        wg::change::persistent_keepalive(25)) == status::ok);
    }
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_labels)

BOOST_AUTO_TEST_CASE(labels_do_not_run_ahead_of_the_clock_with_a_thousand_other_peers) {
    pair p;
    add_unreachable_peers(p.a, 1000);
    for (int second = 0; second < 60; ++second) {
        p.net.advance(wg::seconds(1));
        p.a.outbox.clear();
    }
    BOOST_TEST(p.a.count(wg::event_id::initiation_sent) > 10'000u);
    p.connect();
    BOOST_TEST(seconds_of(greatest_seen(p.b, p.a)) <= wall_clock_s(p.w) + 1);
}

BOOST_AUTO_TEST_CASE(ten_thousand_initiations_at_one_instant_differ_and_are_not_a_second_ahead) {
    pair p;
    label last{};
    for (int i = 0; i < 10'000; ++i) {
        p.a.device.down(p.w.now);
        p.a.device.up();
        wire const in = p.initiation(p.a);
        if (i % 1000 != 0) continue;              // the DH of the receiver dominates the run time
        p.w.now = p.w.now + wg::milliseconds(20); // otherwise the receiver refuses the initiation as a flood
        p.w.wall_offset = p.w.wall_offset - wg::milliseconds(20);
        p.b.receive(in);
        p.net.settle();
        label const seen = greatest_seen(p.b, p.a);
        BOOST_TEST(std::memcmp(seen.data(), last.data(), seen.size()) > 0);
        BOOST_TEST(seconds_of(seen) <= wall_clock_s(p.w) + 1);
        last = seen;
    }
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 0u);
}

BOOST_AUTO_TEST_CASE(a_peer_accepts_a_restarted_device_that_had_a_thousand_unreachable_peers) {
    world w;
    auto a = std::make_unique<host>(w, 1u);
    host b(w, 2);
    introduce(*a, b);
    add_unreachable_peers(*a, 1000);
    for (int i = 0; i < 60; ++i) {
        w.now = w.now + wg::seconds(1);
        a->tick();
        a->outbox.clear();
    }
    BOOST_TEST(a->count(wg::event_id::initiation_sent) > 1000u);
    a->send(ipv4(*a, b, 100));
    w.now = w.now + wg::seconds(6);
    a->tick();
    for (wire const& in : a->outbox)
        if (in.to == b.where) b.receive(in);
    BOOST_TEST_REQUIRE(b.count(wg::event_id::response_sent) != 0u);

    std::size_t const before = b.count(wg::event_id::response_sent);
    a = std::make_unique<host>(w, 1u);
    introduce(*a, b);
    w.now = w.now + wg::seconds(1);
    a->send(ipv4(*a, b, 100));
    b.receive(a->take_datagram());
    BOOST_TEST(b.count(wg::event_id::response_sent) == before + 1);
    BOOST_TEST(b.dropped(status::replayed_initiation) == 0u);
}

BOOST_AUTO_TEST_CASE(a_wrong_clock_affects_only_labels_of_peers_that_received_them) {
    world w;
    host a(w, 1), b(w, 2), c(w, 3);
    introduce(a, b);
    introduce(a, c);
    network net(w, {&a, &b, &c});
    w.wall_offset = w.wall_offset + wg::seconds(3600);
    a.send(ipv4(a, b, 100));
    net.settle();
    w.wall_offset = w.wall_offset - wg::seconds(3600);
    a.send(ipv4(a, c, 100));
    net.settle();
    BOOST_TEST_REQUIRE(c.received.size() == 1u);
    BOOST_TEST(seconds_of(greatest_seen(c, a)) <= wall_clock_s(w));
}

BOOST_AUTO_TEST_CASE(a_peer_that_is_removed_and_added_again_gets_a_greater_label_at_the_same_instant) {
    pair p;
    p.connect();
    for (int i = 0; i < 3; ++i) {
        std::size_t const before = p.b.count(wg::event_id::response_sent);
        BOOST_TEST(p.a.configure(wg::change::replace_peers()) == status::ok);
        add_peer(p.a, p.b);
        wire const in = p.initiation(p.a);
        p.w.now = p.w.now + wg::milliseconds(20);
        p.w.wall_offset = p.w.wall_offset - wg::milliseconds(20); // the wall clock does not advance
        p.b.receive(in);
        BOOST_TEST(p.b.count(wg::event_id::response_sent) == before + 1);
    }
    BOOST_TEST(p.b.dropped(status::replayed_initiation) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

// --- boards that count their boots

namespace {

/// The clock of a board: the time since the boot, and the count of boots.
struct board_time {
    wg::instant now{};
    std::uint32_t boots = 1;
};
struct board_clock {
    board_time* of = nullptr;

    wg::instant now() noexcept { return of->now; }
    void tai64n(std::span<wg::byte, wg::timestamp_bytes> out) noexcept {
        wg::bare::store_boot_label(out, of->boots, of->now);
    }
};
struct board_policies : policies_with<wg::static_storage<>> {
    using clock_source = board_clock;
    using observer = wg::no_observer;
};
using board_device = wg::device<board_policies>;

/// The labels of firmware before 30 November 2026. The seconds were the count of boots, plus one for every sixtieth
/// initiation. The seconds of uptime were in bits of the nanoseconds that the label does not keep.
struct earlier_firmware {
    label last{};

    explicit earlier_firmware(std::uint32_t boots) { wg::store_be64(last.data(), wg::tai64n_epoch + boots); }
    label next() {
        if (++last[8] > 59) {
            last[8] = 0;
            wg::store_be64(last.data(), wg::load_be64(last.data()) + 1);
        }
        return last;
    }
};

/// A server, and a board that can be rebooted.
struct board_and_server {
    world w;
    host server{w, 1};
    board_time time;
    random_state random{noise(99), true, 0};
    wg::secret<wg::key_bytes> key;
    wg::public_key public_key{};
    wg::endpoint where{wg::ip_address::v4(203, 0, 113, 7), 51820, 0};
    std::unique_ptr<board_device> board;

    board_and_server() {
        wg::copy(key.expose(), noise(7).take(wg::key_bytes));
        wg::bundled::dh{}.dh_public(public_key, key);
        BOOST_TEST_REQUIRE(server.configure(wg::change::peer(public_key)) == status::ok);
    }

    void start(std::uint32_t boots) {
        time = {wg::instant{} + wg::milliseconds(300), boots};
        board = std::make_unique<board_device>(board_clock{&time}, seeded_random{&random});
        board->set_private_key(key.expose());
        BOOST_TEST_REQUIRE(board->add_peer({.key = server.public_key, .endpoint = server.where}) == status::ok);
    }

    /// Advances the time of both.
    void advance_clock(wg::duration by) {
        time.now = time.now + by;
        w.now = w.now + by;
    }

    /// Takes the board's interface down and up, which causes an initiation. Returns: whether the server answers it.
    bool initiate() {
        board->down(time.now);
        board->up();
        BOOST_TEST_REQUIRE(board->configure({wg::change::peer(server.public_key), wg::change::persistent_keepalive(0),
                                             wg::change::persistent_keepalive(25)},
                                            time.now) == status::ok);
        wg::byte_array<256> memory{};
        board_device::job_type j;
        j.data = wg::packet(memory, 0);
        BOOST_TEST_REQUIRE(board->poll_transmit({&j, 1}, time.now) == 1u);
        wire const sent{buffer(j.data.view().begin(), j.data.view().end()), where, server.where, 0, w.now};
        board->complete({&j, 1}, time.now);
        BOOST_TEST_REQUIRE((sent.type() == wg::message_type::initiation));
        std::size_t const before = server.count(wg::event_id::response_sent);
        server.receive(sent);
        return server.count(wg::event_id::response_sent) == before + 1;
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(boot_labels)

BOOST_AUTO_TEST_CASE(label_has_boots_above_the_seconds_since_boot) {
    label l{};
    wg::bare::store_boot_label(l, 0x12345678, wg::instant{} + wg::seconds(0x9abc) + wg::milliseconds(250));
    BOOST_TEST(wg::load_be64(l.data()) == (std::uint64_t{1} << 62) + 0x1234567800009abcULL);
    BOOST_TEST(wg::load_be32(&l[8]) == 250'000'000u);
}

//= wp 5.1: a timestamp is greater than the one before, also after a restart
BOOST_AUTO_TEST_CASE(thousands_of_initiations_over_many_boots_are_all_accepted) {
    board_and_server s;
    noise random(2026);
    std::size_t made = 0, accepted = 0;
    for (std::uint32_t boots = 1; boots <= 60; ++boots) {
        s.start(boots);
        for (int i = 0; i < 50; ++i) {
            // from the server's shortest interval to more than a day
            std::uint64_t const shift = random.next() % 23;
            s.advance_clock(
                wg::milliseconds(20 + static_cast<std::int64_t>(random.next() % (std::uint64_t{1} << (4 + shift)))));
            ++made;
            accepted += s.initiate();
        }
    }
    BOOST_TEST(made == 3000u);
    BOOST_TEST(accepted == made);
    BOOST_TEST(s.server.dropped(status::replayed_initiation) == 0u);
}

BOOST_AUTO_TEST_CASE(the_server_accepts_the_next_boot_after_a_day_of_lost_initiations) {
    board_and_server s;
    s.start(1);
    BOOST_TEST(s.initiate());
    for (int i = 0; i < 86'400 / 5; ++i) { // the server receives none of these
        s.advance_clock(wg::seconds(5));
        s.board->on_deadline(s.time.now);
        wg::byte_array<256> memory{};
        board_device::job_type j;
        j.data = wg::packet(memory, 0);
        while (s.board->poll_transmit({&j, 1}, s.time.now) != 0) {
            s.board->complete({&j, 1}, s.time.now);
            j.data = wg::packet(memory, 0);
        }
    }
    s.advance_clock(wg::seconds(5));
    BOOST_TEST(s.initiate()); // the server has now received the last label of this boot
    s.start(2);
    s.advance_clock(wg::seconds(1));
    BOOST_TEST(s.initiate());
}

BOOST_AUTO_TEST_CASE(labels_exceed_those_of_earlier_firmware) {
    // One year of initiations to 16 peers, each every 5 s. Every 60 initiations added a second to the earlier labels.
    for (std::uint32_t const boots : {1u, 2u, 1000u, 0x7fffffffu}) {
        earlier_firmware before(boots);
        wg::store_be64(before.last.data(), wg::load_be64(before.last.data()) + 16ull * 365 * 86'400 / 5 / 60);
        label const old = before.next();
        for (std::uint32_t const now : {boots, boots + 1}) {
            label fresh{};
            wg::bare::store_boot_label(fresh, now, wg::instant{});
            BOOST_TEST(std::memcmp(fresh.data(), old.data(), fresh.size()) > 0);
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
