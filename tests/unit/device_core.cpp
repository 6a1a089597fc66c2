// SPDX-License-Identifier: BSL-1.0
// A device with all steps of a packet in one call.
#include "wg/device/core.hpp"

#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_core)

using namespace wg_tests;
using wg::status;

namespace {

/// The network and the host of a core: keeps what was sent and delivered.
struct record {
    std::deque<buffer> sent;
    std::vector<buffer> delivered;
    wg::endpoint last_remote{};
    status answer = status::ok; ///< of `send`

    status send(wg::bytes_view data, wg::path const& where, std::uint8_t) noexcept {
        if (answer != status::ok) return answer;
        last_remote = where.remote;
        sent.emplace_back(data.begin(), data.end());
        return status::ok;
    }
    void deliver(wg::bytes_view packet) noexcept { delivered.emplace_back(packet.begin(), packet.end()); }
};

struct node {
    node(world& w, unsigned n)
        : number(n), random{noise(n), true, 0},
          core(io, virtual_clock{&w}, seeded_random{&random}, recording_observer{&events}) {
        wg::copy(private_key.expose(), noise(0x5eed'0000 + n).take(wg::key_bytes));
        wg::bundled::dh{}.dh_public(public_key, private_key);
    }
    wg::endpoint where() const { return {wg::ip_address::v4(192, 0, 2, static_cast<wg::byte>(number)), 51820, 0}; }
    void meet(node const& peer, wg::instant now) {
        BOOST_TEST_REQUIRE(core.device().configure(
                               {wg::change::private_key(private_key.expose()), wg::change::peer(peer.public_key),
                                wg::change::endpoint(peer.where()), wg::change::allowed_ip(prefix_v4(peer.number))},
                               now) == status::ok);
    }
    buffer packet_to(node const& peer, std::size_t size) const {
        return inner_packet(inner_v4(number), inner_v4(peer.number), size);
    }

    unsigned number;
    random_state random;
    std::vector<event_record> events;
    record io;
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    wg::core<test_policies, record> core;
};

struct pair {
    world w;
    node a{w, 1}, b{w, 2};

    pair() {
        a.meet(b, w.now);
        b.meet(a, w.now);
    }
    /// Delivers datagrams until no node sends any. Returns: the status of each.
    std::vector<status> carry() {
        std::vector<status> all;
        while (!a.io.sent.empty() || !b.io.sent.empty())
            for (auto const& [from, to] : {std::pair(&a, &b), std::pair(&b, &a)})
                for (; !from->io.sent.empty(); from->io.sent.pop_front())
                    all.push_back(to->core.inbound(from->io.sent.front(), from->where()));
        return all;
    }
};

} // namespace

BOOST_FIXTURE_TEST_CASE(a_packet_begins_a_handshake_waits_and_arrives, pair) {
    buffer const packet = a.packet_to(b, 100);
    BOOST_TEST(a.core.outbound(packet) == status::staged);
    BOOST_TEST(a.io.sent.size() == 1u);
    BOOST_TEST(a.io.last_remote == b.where());
    // the initiation, the response, the packet
    BOOST_TEST((carry() == std::vector{status::queued, status::queued, status::ok}));
    BOOST_TEST((b.io.delivered == std::vector<buffer>{packet}));
    BOOST_TEST(a.io.delivered.empty());

    buffer const answer = b.packet_to(a, 1420);
    BOOST_TEST(b.core.outbound(answer) == status::ok);
    carry();
    BOOST_TEST((a.io.delivered == std::vector<buffer>{answer}));
}

BOOST_FIXTURE_TEST_CASE(a_packet_is_sealed_in_place_without_a_copy, pair) {
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::staged);
    carry();
    buffer const packet = a.packet_to(b, 1400);
    buffer room(wg::packet_headroom_bytes + packet.size() + wg::packet_tailroom_bytes);
    wg::packet data(room, wg::packet_headroom_bytes, packet.size());
    wg::copy(data.view(), packet);
    BOOST_TEST(a.core.outbound(data) == status::ok);
    BOOST_TEST(!std::equal(packet.begin(), packet.end(), room.begin() + wg::packet_headroom_bytes));
    carry();
    BOOST_TEST((b.io.delivered.back() == packet));
}

BOOST_FIXTURE_TEST_CASE(packets_that_cannot_leave_have_a_reason, pair) {
    BOOST_TEST(a.core.outbound(a.packet_to(b, 1421)) == status::no_room);
    BOOST_TEST(a.core.outbound(inner_packet(inner_v4(1), inner_v4(9), 60)) == status::no_peer);
    BOOST_TEST(a.io.delivered.size() == 1u); // ICMP: no route to the host
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::staged);
    carry();
    a.io.answer = status::io_error;
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::io_error);
    a.io.answer = status::ok;
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::ok);
    carry();
    BOOST_TEST(b.io.delivered.size() == 2u);
}

BOOST_FIXTURE_TEST_CASE(a_forged_or_a_repeated_datagram_is_dropped_in_silence, pair) {
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::staged);
    carry();
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::ok);
    buffer const genuine = a.io.sent.front();
    buffer forged = genuine, twice = genuine;
    forged.back() ^= 1;
    BOOST_TEST(b.core.inbound(forged, a.where()) == status::decryption_failed);
    carry();
    BOOST_TEST(b.core.inbound(twice, a.where()) == status::replayed_counter);
    BOOST_TEST(b.io.sent.empty());
    BOOST_TEST(b.io.delivered.size() == 2u);
}

BOOST_FIXTURE_TEST_CASE(the_next_deadline_and_tick_repeat_an_initiation, pair) {
    BOOST_TEST(a.core.outbound(a.packet_to(b, 60)) == status::staged);
    a.io.sent.clear(); // lost
    wg::instant const begun = w.now;
    for (int i = 0; i < 5 && a.io.sent.empty(); ++i) {
        w.now = std::max(w.now, a.core.next_deadline());
        a.core.tick();
    }
    BOOST_TEST(w.now - begun >= wg::rekey_timeout);
    BOOST_TEST(a.io.sent.size() == 1u);
    carry();
    BOOST_TEST(b.io.delivered.size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
