// SPDX-License-Identifier: BSL-1.0
// A device from end to end: packets in, packets out, and its configuration.
#include "fixture.hpp"

#include <ctime>

using namespace wg_tests;
using wg::change;
using wg::message_type;
using wg::status;

namespace {

wg::ip_prefix v4(unsigned number, unsigned bits = 32) { return wg::ip_prefix::of(inner_v4(number), bits); }
wg::ip_prefix v6(unsigned number, unsigned bits = 128) { return wg::ip_prefix::of(inner_v6(number), bits); }
wg::public_key key(unsigned number) {
    buffer const raw = noise(number).take(32);
    wg::public_key out{};
    wg::copy(out, raw);
    return out;
}

/// Two peers, four prefixes of each family: what a microcontroller has.
struct two_peers : wg::small_capacity {
    static constexpr std::size_t max_peers = 2;
};
using fixed_policies = policies_with<wg::static_storage<two_peers>>;
using fixed_host = basic_host<fixed_policies>;

} // namespace

BOOST_AUTO_TEST_SUITE(device_device)

BOOST_AUTO_TEST_CASE(two_hosts_exchange_packets_of_both_families) {
    world w;
    host a(w, 1), b(w, 2);
    network net(w, {&a, &b});
    introduce(a, b);
    BOOST_TEST(a.send(ipv4(a, b, 100)) == status::staged);
    net.settle();
    BOOST_TEST_REQUIRE(b.received.size() == 1u);
    BOOST_TEST(b.received[0] == ipv4(a, b, 100));
    BOOST_TEST(b.send(ipv6(b, a, 1420, 2)) == status::ok);
    net.settle();
    BOOST_TEST_REQUIRE(a.received.size() == 1u);
    BOOST_TEST(a.received[0] == ipv6(b, a, 1420, 2));
}

BOOST_AUTO_TEST_CASE(a_device_of_fixed_memory_does_the_same) {
    basic_pair<fixed_policies> p;
    p.connect();
    for (unsigned i = 0; i < 20; ++i) {
        BOOST_TEST(p.passes(p.a, p.b, i));
        BOOST_TEST(p.passes(p.b, p.a, i));
        p.net.advance(wg::seconds(50)); // through several sessions
        p.a.send(ipv4(p.a, p.b, 60));
        p.net.advance(wg::seconds(6));
    }
    BOOST_TEST(p.a.dropped(status::no_memory) == 0u);
}

BOOST_AUTO_TEST_CASE(packets_of_every_size_arrive_unchanged) {
    pair p;
    p.connect();
    for (std::size_t size = 20; size <= 1500; size += size < 100 ? 1 : 37) {
        p.b.received.clear();
        p.a.send(ipv4(p.a, p.b, size, size));
        p.net.settle();
        BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
        BOOST_TEST((p.b.received[0] == ipv4(p.a, p.b, size, size)));
    }
    p.b.received.clear();
    p.a.device.set_mtu(0);
    p.a.send(ipv4(p.a, p.b, 65535));
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
    BOOST_TEST((p.b.received[0] == ipv4(p.a, p.b, 65535)));
}

BOOST_AUTO_TEST_CASE(an_inner_packet_longer_than_it_says_is_cut_to_what_it_says) {
    pair p;
    p.connect();
    buffer longer = ipv4(p.a, p.b, 61);
    longer.resize(80, 0xee);
    BOOST_TEST(p.a.send(longer) == status::ok);
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
    BOOST_TEST(p.b.received[0] == ipv4(p.a, p.b, 61));
}

// --- the outer form

//= wp 5.4.6: padded with zeros to a multiple of 16, but not beyond the MTU
//= linux: longer than the MTU: the last segment counts; MTU 0: not limited
BOOST_AUTO_TEST_CASE(padding_stops_at_the_mtu) {
    struct {
        std::size_t mtu, size, sealed;
    } const cases[] = {{1420, 20, 32},     {1420, 32, 32},     {1420, 33, 48},     {1420, 1408, 1408},
                       {1420, 1409, 1420}, {1420, 1420, 1420}, {1419, 1417, 1419}, {1299, 1297, 1299},
                       {1420, 1421, 1436}, {1420, 1440, 1452}, {1420, 2840, 2840}, {1420, 2839, 2840},
                       {0, 1420, 1424},    {0, 65520, 65520},  {1280, 1000, 1008}};
    for (auto const& c : cases) {
        pair p;
        p.connect();
        p.a.device.set_mtu(c.mtu);
        p.a.send(ipv4(p.a, p.b, c.size));
        wire const out = p.a.take_datagram();
        BOOST_TEST(out.data.size() == c.sealed + wg::transport_overhead_bytes, "mtu " << c.mtu << " size " << c.size);
        BOOST_TEST(p.b.receive(out) == status::ok);
        BOOST_TEST((p.b.received.back() == ipv4(p.a, p.b, c.size)));
    }
}

BOOST_AUTO_TEST_CASE(padding_is_zero) {
    pair p;
    p.connect();
    auto const f = p.a.prepare(ipv4(p.a, p.b, 33));
    wg::bytes const plain = f->job.data.view().subspan(16);
    BOOST_TEST(plain.size() == 48u + 16u);
    for (std::size_t i = 33; i < 48; ++i) BOOST_TEST(+plain[i] == 0);
    p.a.complete(*f);
}

BOOST_AUTO_TEST_CASE(a_packet_without_room_around_it_is_dropped) {
    pair p;
    p.connect();
    buffer const inner = ipv4(p.a, p.b, 100);
    for (auto const& [front, back] : {std::pair{15u, 31u}, std::pair{16u, 27u}}) {
        buffer room(front + inner.size() + back);
        host::job_type job;
        job.data = wg::packet(room, front, inner.size());
        wg::copy(job.data.view(), inner);
        p.a.device.prepare_outbound({&job, 1}, p.w.now);
        BOOST_TEST(job.why == status::no_room);
        BOOST_TEST(job.next == wg::disposition::drop);
        p.a.device.complete({&job, 1}, p.w.now);
    }
    BOOST_TEST(p.passes(p.a, p.b));
}

//= linux: handshakes are marked AF41, data is not marked but for congestion
BOOST_AUTO_TEST_CASE(outer_marks_are_af41_for_handshakes_and_ecn_for_data) {
    pair p;
    p.a.send(ipv4(p.a, p.b, 100, 1, 0xb8 | 2));
    p.net.settle();
    BOOST_TEST_REQUIRE(p.net.log.size() == 3u);
    BOOST_TEST(+p.net.log[0].tos == 0x88);
    BOOST_TEST(+p.net.log[1].tos == 0x88);
    BOOST_TEST(+p.net.log[2].tos == 2);
    for (unsigned tos = 0; tos < 256; ++tos) {
        for (bool const six : {false, true}) {
            p.a.send(six ? ipv6(p.a, p.b, 100, 1, static_cast<wg::byte>(tos))
                         : ipv4(p.a, p.b, 100, 1, static_cast<wg::byte>(tos)));
            BOOST_TEST(+p.a.take_datagram().tos == (tos & 3)); //= RFC 6040 4.1: normal mode copies the mark
        }
    }
    p.net.advance(wg::seconds(10));
    BOOST_TEST(p.net.log.back().is_keepalive());
    BOOST_TEST(+p.net.log.back().tos == 0);
}

//= RFC 6040 4.2: congestion on the way is told to the inner packet, or drops it
BOOST_AUTO_TEST_CASE(congestion_outside_arrives_inside) {
    pair p;
    p.connect();
    for (auto const& [inner, outer, expected] :
         {std::tuple{2, 3, 3}, std::tuple{1, 3, 3}, std::tuple{0, 3, -1}, std::tuple{2, 1, 1}, std::tuple{0, 1, 0}}) {
        for (bool const six : {false, true}) {
            p.b.received.clear();
            auto const tos = static_cast<wg::byte>(inner | 0xa0);
            p.a.send(six ? ipv6(p.a, p.b, 100, 1, tos) : ipv4(p.a, p.b, 100, 1, tos));
            wire out = p.a.take_datagram();
            out.tos = static_cast<std::uint8_t>(outer | 0x88);
            BOOST_TEST(p.b.receive(out) == (expected < 0 ? status::congestion_lost : status::ok));
            BOOST_TEST_REQUIRE(p.b.received.size() == (expected < 0 ? 0u : 1u));
            if (expected < 0) continue;
            auto const becomes = static_cast<wg::byte>(0xa0 | expected);
            BOOST_TEST(p.b.received[0] == (six ? ipv6(p.a, p.b, 100, 1, becomes) : ipv4(p.a, p.b, 100, 1, becomes)));
        }
    }
}

/// For networks that mark everything: as Linux's WireGuard, which does not look at what the combination of marks says.
BOOST_AUTO_TEST_CASE(a_packet_that_takes_no_marks_passes_where_the_device_is_set_so) {
    pair p;
    p.connect();
    auto const marked = [&](bool six) {
        p.b.received.clear();
        p.a.send(six ? ipv6(p.a, p.b, 100) : ipv4(p.a, p.b, 100));
        wire out = p.a.take_datagram();
        out.tos = 3;
        return p.b.receive(out);
    };
    p.b.device.set_congestion_drop(false);
    for (bool const six : {false, true}) {
        BOOST_TEST(marked(six) == status::ok);
        BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
        BOOST_TEST(p.b.received[0] == (six ? ipv6(p.a, p.b, 100) : ipv4(p.a, p.b, 100)));
    }
    BOOST_TEST(p.b.dropped(status::congestion_lost) == 0u);
    p.b.device.set_congestion_drop(true);
    BOOST_TEST(marked(false) == status::congestion_lost);
}

BOOST_AUTO_TEST_CASE(the_first_packet_that_takes_no_marks_is_an_event_and_no_other) {
    for (bool const drop : {true, false}) {
        pair p;
        p.connect();
        p.b.device.set_congestion_drop(drop);
        for (int i = 0; i < 10; ++i) {
            p.a.send(ipv4(p.a, p.b, 100));
            wire out = p.a.take_datagram();
            out.tos = 3;
            p.b.receive(out);
        }
        BOOST_TEST_REQUIRE(p.b.count(wg::event_id::congestion_marked) == 1u);
        for (event_record const& e : p.b.events)
            if (e.id == wg::event_id::congestion_marked) BOOST_TEST(e.value == std::uint64_t{drop});
    }
}

// --- what is not sealed is not sent, and what was not opened is not taken

BOOST_AUTO_TEST_CASE(a_packet_is_to_be_sent_only_after_crypt) {
    pair p;
    p.connect();
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    BOOST_TEST(f->job.next == wg::disposition::drop);
    BOOST_TEST(f->job.why == status::ok);
    p.a.crypt(*f);
    BOOST_TEST(f->job.next == wg::disposition::send);
    p.a.complete(*f);
    p.net.settle();
    BOOST_TEST(p.b.received.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_packet_that_was_not_sealed_is_not_accounted_for_and_does_not_hold_its_session) {
    pair p;
    p.connect();
    auto const before = p.a.report(p.b.public_key).tx_bytes;
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.complete(*f);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.report(p.b.public_key).tx_bytes == before);
    BOOST_TEST(p.passes(p.a, p.b));
}

BOOST_AUTO_TEST_CASE(what_the_device_sends_by_itself_is_to_be_sent_only_after_crypt) {
    pair p;
    p.connect();
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    p.w.now = p.w.now + wg::seconds(10);
    p.a.device.on_deadline(p.w.now); // a keepalive is due
    wg::byte_array<256> memory{};
    host::job_type j;
    j.data = wg::packet(memory, 0);
    BOOST_TEST_REQUIRE(p.a.device.poll_transmit({&j, 1}, p.w.now) == 1u);
    BOOST_TEST(j.next == wg::disposition::drop);
    host::device_type::crypt({&j, 1}, p.a.device.aead());
    BOOST_TEST(j.next == wg::disposition::send);
    p.a.device.complete({&j, 1}, p.w.now);
}

BOOST_AUTO_TEST_CASE(a_datagram_that_crypt_has_not_opened_is_dropped_and_changes_nothing) {
    pair p;
    p.connect();
    p.a.send(ipv4(p.a, p.b, 100));
    wire in = p.a.take_datagram();
    wg::endpoint const elsewhere{wg::ip_address::v4(203, 0, 113, 5), 9, 0};
    auto const from = std::exchange(in.from, elsewhere);
    auto const f = p.b.prepare(in);
    BOOST_TEST(p.b.complete(*f) == status::decryption_failed);
    BOOST_TEST(p.b.received.empty());
    BOOST_TEST(p.b.report(p.a.public_key).endpoint == p.a.where);
    in.from = from;
    BOOST_TEST(p.b.receive(in) == status::ok); // its counter was not taken
}

// --- buffers that are too small

namespace {

/// One message that `of` has to say, into a buffer of that size; its size, 0: none.
std::size_t say(host& of, world const& w, std::size_t room, bool handshakes) {
    buffer memory(room);
    host::job_type j;
    j.data = wg::packet(memory, 0);
    std::span const one(&j, 1);
    std::size_t const made =
        handshakes ? of.device.process_handshakes(one, w.now) : of.device.poll_transmit(one, w.now);
    if (made == 0) return 0;
    host::device_type::crypt(one, of.device.aead());
    BOOST_TEST((j.next == wg::disposition::send));
    of.device.complete(one, w.now);
    return j.data.length;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_initiation_that_does_not_fit_is_kept_and_counted) {
    pair p;
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.complete(*f);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        BOOST_TEST(say(p.a, p.w, 147, false) == 0u);
        BOOST_TEST(p.a.dropped(status::no_room) == i);
        BOOST_TEST(p.a.device.next_deadline() <= p.w.now);
    }
    BOOST_TEST(say(p.a, p.w, 148, false) == 148u);
    BOOST_TEST(p.a.count(wg::event_id::initiation_sent) == 1u);
}

BOOST_AUTO_TEST_CASE(a_repeated_initiation_that_does_not_fit_is_kept) {
    pair p;
    (void)p.initiation(p.a);
    p.advance_clock(wg::seconds(6));
    p.a.device.on_deadline(p.w.now);
    BOOST_TEST(say(p.a, p.w, 100, false) == 0u);
    BOOST_TEST(p.a.dropped(status::no_room) == 1u);
    BOOST_TEST(p.a.device.next_deadline() <= p.w.now);
    BOOST_TEST(say(p.a, p.w, 148, false) == 148u);
}

BOOST_AUTO_TEST_CASE(a_keepalive_that_does_not_fit_is_kept_and_counted) {
    pair p;
    p.connect();
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    p.advance_clock(wg::seconds(10));
    p.a.device.on_deadline(p.w.now);
    BOOST_TEST(say(p.a, p.w, 31, false) == 0u);
    BOOST_TEST(p.a.dropped(status::no_room) == 1u);
    BOOST_TEST(say(p.a, p.w, 48, false) == 32u);
}

BOOST_AUTO_TEST_CASE(an_initiation_whose_answer_does_not_fit_is_kept_and_counted) {
    pair p;
    wire const in = p.initiation(p.a);
    BOOST_TEST(p.b.take(in) == status::queued);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        BOOST_TEST(say(p.b, p.w, 91, true) == 0u);
        BOOST_TEST(p.b.dropped(status::no_room) == i);
        BOOST_TEST(p.b.device.next_deadline() <= p.w.now);
    }
    BOOST_TEST(say(p.b, p.w, 92, true) == 92u);
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 1u);
}

BOOST_AUTO_TEST_CASE(of_several_buffers_those_before_the_first_small_one_are_used) {
    world w;
    host b(w, 1);
    std::vector<std::unique_ptr<host>> others;
    for (unsigned i = 2; i < 7; ++i) {
        others.push_back(std::make_unique<host>(w, i));
        introduce(b, *others.back());
        others.back()->send(ipv4(*others.back(), b, 100));
        BOOST_TEST(b.take(others.back()->take_datagram()) == status::queued);
    }
    buffer memory(5 * 148);
    std::vector<host::job_type> jobs(5);
    for (std::size_t i = 0; i < 5; ++i)
        jobs[i].data = wg::packet(wg::bytes(memory).subspan(i * 148, i == 3 ? 50 : 148), 0);
    BOOST_TEST(b.device.process_handshakes(jobs, w.now) == 3u);
    b.device.complete(std::span(jobs).first(3), w.now);
    BOOST_TEST(b.dropped(status::no_room) == 1u);
    BOOST_TEST(say(b, w, 148, true) == 92u);
    BOOST_TEST(say(b, w, 148, true) == 92u);
    BOOST_TEST(b.count(wg::event_id::response_sent) == 5u);
}

// --- what has nowhere to go

#ifndef WG_BARE // which tells its caller, the host
//= RFC 792: host unreachable; RFC 4443 3.1: address unreachable
BOOST_AUTO_TEST_CASE(unreachable_destinations_are_told_to_the_host) {
    pair p;
    host stranger(p.w, 9);
    BOOST_TEST(p.a.configure(change::peer(stranger.public_key), change::allowed_ip(v4(9)), change::allowed_ip(v6(9))) ==
               status::ok);
    for (unsigned const number : {9u, 10u}) {
        for (bool const six : {false, true}) {
            p.advance_clock(wg::seconds(1));
            p.a.received.clear();
            buffer const inner =
                six ? inner_packet(p.a.v6, inner_v6(number), 80) : inner_packet(p.a.v4, inner_v4(number), 80);
            BOOST_TEST(p.a.send(inner) == (number == 9 ? status::no_endpoint : status::no_peer));
            BOOST_TEST_REQUIRE(p.a.received.size() == 1u);
            buffer const& answer = p.a.received[0];
            BOOST_TEST(+answer[six ? 40 : 20] == (six ? 1 : 3));
            // as much of it as the room of a packet's head and tail leaves
            std::size_t const head = six ? 48 : 28;
            BOOST_TEST(answer.size() >= head + 79);
            BOOST_TEST(std::equal(answer.begin() + static_cast<std::ptrdiff_t>(head), answer.end(), inner.begin()));
        }
    }
    BOOST_TEST(p.a.outbox.empty()); // no handshake with someone who is nowhere
}

BOOST_AUTO_TEST_CASE(unreachables_are_a_thousand_a_second_at_most) {
    pair p;
    p.advance_clock(wg::seconds(10));
    for (int i = 0; i < 1000; ++i) p.a.send(inner_packet(p.a.v4, inner_v4(10), 80));
    BOOST_TEST(p.a.received.size() == 50u);
    p.advance_clock(wg::milliseconds(10));
    for (int i = 0; i < 1000; ++i) p.a.send(inner_packet(p.a.v4, inner_v4(10), 80));
    BOOST_TEST(p.a.received.size() == 60u);
    BOOST_TEST(p.a.dropped(status::no_peer) == 2000u);
}
#endif

BOOST_AUTO_TEST_CASE(what_is_no_ip_packet_is_dropped) {
    pair p;
    p.connect();
    BOOST_TEST(p.a.send(buffer{}) == status::not_ip);
    BOOST_TEST(p.a.send(buffer(19, 0x45)) == status::not_ip);
    BOOST_TEST(p.a.send(buffer(100, 0x75)) == status::not_ip);
    buffer cut = ipv6(p.a, p.b, 100);
    cut.resize(99);
    BOOST_TEST(p.a.send(cut) == status::not_ip);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.received.empty());
}

/// A datagram of the tunnel that the routes send into the tunnel would come out of it, and so on.
//= linux: the tunnel's own datagrams are not taken into it
BOOST_AUTO_TEST_CASE(the_tunnels_own_datagrams_are_not_taken_into_it) {
    pair p;
    p.connect();
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::allowed_ip(v4(0, 0))) == status::ok);
    auto const inside = [&](wire const& sent) {
        buffer own =
            inner_packet(p.a.where.address, p.b.where.address, 28 + sent.data.size(), 1, 0, wg::ip_protocol_udp);
        wg::store_be16(&own[20], p.a.where.port);
        wg::store_be16(&own[22], p.b.where.port);
        std::copy(sent.data.begin(), sent.data.end(), own.begin() + 28);
        return own;
    };
    p.a.send(ipv4(p.a, p.b, 100));
    buffer own = inside(p.a.take_datagram());
    BOOST_TEST(p.a.send(own) == status::routing_loop);
    wg::store_be16(&own[20], 53); // another program's
    BOOST_TEST(p.a.send(own) == status::ok);
    wg::store_be16(&own[20], p.a.where.port);
    ++own[28 + 4]; // another tunnel's, of a host behind this one that happens to use our port
    BOOST_TEST(p.a.send(own) == status::ok);
    p.a.outbox.clear();
    p.net.advance(wg::seconds(125)); // the next packet renews the session
    p.a.send(ipv4(p.a, p.b, 100));
    p.a.poll();
    for (wire const& sent : p.a.outbox)
        if (sent.type() == wg::message_type::initiation) own = inside(sent);
    p.a.outbox.clear();
    BOOST_TEST(p.a.send(own) == status::routing_loop);
}

/// Those who are dead may take all the room for packets that wait, but not the sessions of the others.
BOOST_AUTO_TEST_CASE(a_peer_without_room_for_packets_handshakes_all_the_same) {
    pair p;
    for (unsigned n = 0; n < 20; ++n) { // 20 times 128 packets are more than there is room for
        wg::ip_address const inside = wg::ip_address::v4(10, 99, 0, static_cast<wg::byte>(n));
        BOOST_TEST_REQUIRE(p.a.configure(change::peer(key(n + 100)), change::endpoint({inner_v4(99), 1, 0}),
                                         change::allowed_ip({inside, 32})) == status::ok);
        for (unsigned i = 0; i < 128; ++i) p.a.send(inner_packet(p.a.v4, inside, 100, i));
    }
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    BOOST_TEST(p.passes(p.a, p.b));
}

// --- staging

//= linux: while there is no session packets wait, 128 a peer; the oldest is lost first
BOOST_AUTO_TEST_CASE(the_newest_128_packets_wait_for_a_session) {
    pair p;
    for (unsigned i = 0; i < 200; ++i) BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100, i)) == status::staged);
    BOOST_TEST(p.a.dropped(status::staging_full) == 72u);
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 128u);
    for (unsigned i = 0; i < 128; ++i) BOOST_TEST((p.b.received[i] == ipv4(p.a, p.b, 100, 72 + i)));
}

BOOST_AUTO_TEST_CASE(a_large_packet_waits_in_pieces) {
    pair p;
    p.a.device.set_mtu(0);
    p.a.send(ipv4(p.a, p.b, 65535, 4));
    p.a.send(ipv6(p.a, p.b, 2048, 5));
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 2u);
    BOOST_TEST((p.b.received[0] == ipv4(p.a, p.b, 65535, 4)));
    BOOST_TEST((p.b.received[1] == ipv6(p.a, p.b, 2048, 5)));
}

// --- accounts

//= linux: both directions count whole UDP payloads, handshakes included: 148 + 92 + n * (100 padded to 112, + 32)
BOOST_AUTO_TEST_CASE(byte_counts_are_those_of_the_wire) {
    pair p;
    for (unsigned i = 0; i < 10;
         ++i) { // an echo request and its answer, as ping -s 68 makes them: 96 and 32 bytes more
        p.a.send(ipv4(p.a, p.b, 96, i));
        p.net.settle();
        p.b.send(ipv4(p.b, p.a, 96, i));
        p.net.settle();
    }
    auto const a = p.a.report(p.b.public_key), b = p.b.report(p.a.public_key);
    BOOST_TEST(a.tx_bytes == 148u + 10 * 128);
    BOOST_TEST(a.rx_bytes == 92u + 10 * 128);
    BOOST_TEST(b.tx_bytes == a.rx_bytes);
    BOOST_TEST(b.rx_bytes == a.tx_bytes);
    p.net.advance(wg::seconds(10)); // and a keepalive: a received last
    BOOST_TEST(p.a.report(p.b.public_key).tx_bytes == 148u + 10 * 128 + 32);
    BOOST_TEST(p.b.report(p.a.public_key).rx_bytes == 148u + 10 * 128 + 32);
    std::size_t on_wire = 0;
    for (wire const& w : p.net.log) on_wire += w.data.size();
    BOOST_TEST(a.tx_bytes + a.rx_bytes + 32 == on_wire);
}

//= linux: both directions count whole UDP payloads
BOOST_AUTO_TEST_CASE(what_could_not_be_sent_is_not_counted_as_sent) {
    pair p;
    p.connect();
    std::uint64_t const before = p.a.report(p.b.public_key).tx_bytes;
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.crypt(*f);
    f->job.why = status::io_error;
    f->job.next = wg::disposition::drop;
    p.a.complete(*f);
    BOOST_TEST(p.a.report(p.b.public_key).tx_bytes == before);
}

BOOST_AUTO_TEST_CASE(a_batch_is_the_same_as_one_after_the_other) {
    pair p;
    p.connect();
    constexpr std::size_t count = 32;
    buffer memory(count * 200);
    std::vector<host::job_type> jobs(count);
    for (unsigned i = 0; i < count; ++i) {
        buffer const inner = i % 5 == 4 ? inner_packet(p.a.v4, inner_v4(99), 100) : ipv4(p.a, p.b, 100, i);
        jobs[i].data = wg::packet(wg::bytes(memory).subspan(i * 200, 200), 16, 100);
        wg::copy(jobs[i].data.view(), inner);
    }
    p.a.device.prepare_outbound(jobs, p.w.now);
    std::uint64_t expected = jobs[0].counter;
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 5 == 4) BOOST_TEST(jobs[i].why == status::no_peer);
        else BOOST_TEST(jobs[i].counter == expected++);
    }
    // any order, any cut
    host::device_type::crypt(std::span(jobs).subspan(20), p.a.device.aead());
    host::device_type::crypt(std::span(jobs).first(20), p.a.device.aead());
    for (auto const& j : jobs)
        if (j.next == wg::disposition::send)
            p.b.receive({buffer(j.data.view().begin(), j.data.view().end()), p.a.where, p.b.where});
    p.a.device.complete(jobs, p.w.now);
    BOOST_TEST(p.b.received.size() == count - count / 5);
}

// --- configuration

BOOST_AUTO_TEST_CASE(snapshot_tells_what_was_configured) {
    world w;
    host a(w, 1);
    buffer const psk = noise(4).take(32);
    wg::endpoint const where{wg::ip_address::v4(1, 2, 3, 4), 5, 0};
    BOOST_TEST(a.configure(change::fwmark(7), change::listen_port(1234), change::peer(key(1)),
                           change::preshared_key(fixed<32>(psk)), change::endpoint(where),
                           change::persistent_keepalive(25), change::allowed_ip(v4(5, 24)),
                           change::allowed_ip(v6(5, 64)), change::allowed_ip(v4(5, 24)),
                           change::peer(key(2))) == status::ok);
    auto const one = a.report(key(1)), two = a.report(key(2));
    BOOST_TEST(one.found);
    BOOST_TEST(one.endpoint == where);
    BOOST_TEST(one.persistent_keepalive_s == 25);
    BOOST_TEST(one.preshared_key == psk);
    BOOST_TEST((one.allowed_ips == std::vector{v4(0, 24), v6(0, 64)}));
    BOOST_TEST(one.last_handshake_s == 0);
    BOOST_TEST(two.found);
    BOOST_TEST(!two.endpoint);
    BOOST_TEST(two.allowed_ips.empty());
    BOOST_TEST(two.preshared_key == buffer(32));
    BOOST_TEST(!a.report(key(3)).found);
    BOOST_TEST(a.device.fwmark() == 7u);
    BOOST_TEST(a.device.listen_port() == 1234);
}

//= linux: an allowed IP that is given to another peer moves there
BOOST_AUTO_TEST_CASE(an_allowed_ip_moves_to_who_is_given_it) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::allowed_ip(v4(0, 24)), change::allowed_ip(v4(7))) ==
               status::ok);
    BOOST_TEST(a.configure(change::peer(key(2)), change::allowed_ip(v4(7))) == status::ok);
    BOOST_TEST((a.report(key(1)).allowed_ips == std::vector{v4(0, 24)}));
    BOOST_TEST((a.report(key(2)).allowed_ips == std::vector{v4(7)}));
    BOOST_TEST(a.configure(change::peer(key(1)), change::remove_allowed_ip(v4(7))) == status::ok); // not his any more
    BOOST_TEST((a.report(key(2)).allowed_ips == std::vector{v4(7)}));
    BOOST_TEST(a.configure(change::peer(key(2)), change::remove_allowed_ip(v4(7))) == status::ok);
    BOOST_TEST(a.report(key(2)).allowed_ips.empty());
    BOOST_TEST(a.configure(change::peer(key(1)), change::replace_allowed_ips(), change::allowed_ip(v6(1))) ==
               status::ok);
    BOOST_TEST((a.report(key(1)).allowed_ips == std::vector{v6(1)}));
}

BOOST_AUTO_TEST_CASE(update_only_touches_nobody_new) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::update_only(), change::allowed_ip(v4(1)),
                           change::peer(key(2))) == status::ok);
    BOOST_TEST(!a.report(key(1)).found);
    BOOST_TEST(a.configure(change::peer(key(2)), change::update_only(), change::allowed_ip(v4(1))) == status::ok);
    BOOST_TEST(a.report(key(2)).allowed_ips.size() == 1u);
    BOOST_TEST(a.configure(change::peer(key(9)), change::remove_peer()) == status::ok); // who was never there
    BOOST_TEST(a.configure(change::replace_peers(), change::peer(key(3))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 1u);
    BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(1), 60)) == status::no_peer);
}

BOOST_AUTO_TEST_CASE(a_refused_configuration_changes_nothing) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::allowed_ip(v4(1))) == status::ok);
    wg::ip_prefix bad = v4(2);
    bad.bits = 33;
    BOOST_TEST(a.configure(change::fwmark(9), change::replace_peers(), change::peer(key(2)), change::allowed_ip(bad)) ==
               status::invalid);
    BOOST_TEST(a.device.fwmark() == 0u);
    BOOST_TEST(a.report(key(1)).allowed_ips.size() == 1u);
    BOOST_TEST(!a.report(key(2)).found);
}

BOOST_AUTO_TEST_CASE(too_many_peers_for_a_fixed_memory_are_refused_at_once) {
    world w;
    fixed_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::peer(key(2)), change::peer(key(3))) == status::too_many_peers);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.configure(change::peer(key(1)), change::peer(key(2))) == status::ok);
    BOOST_TEST(a.configure(change::fwmark(3), change::peer(key(3))) == status::too_many_peers);
    BOOST_TEST(a.device.fwmark() == 0u);
    BOOST_TEST(a.configure(change::replace_peers(), change::peer(key(3)), change::peer(key(4))) == status::ok);
    BOOST_TEST(a.report(key(4)).found);
    for (unsigned i = 5; i < 50; ++i)
        BOOST_TEST(a.configure(change::replace_peers(), change::peer(key(i))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 1u);
}

BOOST_AUTO_TEST_CASE(a_peer_in_flight_takes_its_place_in_a_fixed_memory) {
    basic_pair<fixed_policies> p;
    BOOST_TEST(p.a.configure(change::peer(key(5))) == status::ok); // both places are taken
    p.connect();
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    BOOST_TEST_REQUIRE((f->job.owner != nullptr));
    status const why = p.a.configure(change::replace_peers(), change::peer(key(6)), change::peer(key(7)));
    // all or nothing, in either case
    if (why == status::ok) BOOST_TEST((p.a.report(key(6)).found && p.a.report(key(7)).found));
    else BOOST_TEST((p.a.report(p.b.public_key).found && p.a.report(key(5)).found && !p.a.report(key(6)).found));
    p.a.complete(*f);
    BOOST_TEST(p.a.configure(change::replace_peers(), change::peer(key(6)), change::peer(key(7))) == status::ok);
    BOOST_TEST((p.a.report(key(6)).found && p.a.report(key(7)).found));
}

BOOST_AUTO_TEST_CASE(too_many_allowed_ips_for_a_fixed_memory_are_refused_at_once) {
    world w;
    fixed_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::allowed_ip(v4(1)), change::allowed_ip(v4(2)),
                           change::allowed_ip(v4(3)), change::allowed_ip(v4(4)),
                           change::allowed_ip(v4(5))) == status::no_memory);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.configure(change::peer(key(1)), change::allowed_ip(v4(1)), change::allowed_ip(v4(2)),
                           change::allowed_ip(v4(3)), change::allowed_ip(v4(4)), change::allowed_ip(v6(1)),
                           change::allowed_ip(v6(2))) == status::ok);
    BOOST_TEST(a.configure(change::peer(key(2)), change::allowed_ip(v4(6))) == status::no_memory);
    BOOST_TEST(!a.report(key(2)).found);
    BOOST_TEST(a.configure(change::peer(key(1)), change::replace_allowed_ips(), change::allowed_ip(v4(7)),
                           change::allowed_ip(v4(8))) == status::ok);
    BOOST_TEST(a.dropped(status::no_memory) == 0u);
}

namespace {

/// A device of fixed capacity that is not looked at one by one.
struct twenty_peers : wg::small_capacity {
    static constexpr std::size_t max_peers = 20;
    static constexpr std::size_t max_allowed_ips = 20;
};

/// A configuration applied to a plain model of a device, change by change.
struct model {
    struct peer {
        unsigned number;
        std::vector<wg::ip_prefix> allowed;
    };
    std::vector<peer> peers;
    std::size_t most_peers = 0, most_v4 = 0, most_v6 = 0;

    peer* find(unsigned number) {
        for (peer& p : peers)
            if (p.number == number) return &p;
        return nullptr;
    }
    void take(wg::ip_prefix const& prefix) {
        for (peer& p : peers) std::erase(p.allowed, prefix);
    }
    void look() {
        std::size_t four = 0, six = 0;
        for (peer const& p : peers)
            for (wg::ip_prefix const& x : p.allowed) ++(x.address.kind == wg::family::v4 ? four : six);
        most_peers = std::max(most_peers, peers.size());
        most_v4 = std::max(most_v4, four);
        most_v6 = std::max(most_v6, six);
    }
};

/// Random configurations, half of which fit, on a device and on the model.
template <class Capacity> void compare_with_model(std::uint64_t seeds) {
    using host_type = basic_host<policies_with<wg::static_storage<Capacity>>>;
    std::size_t fitting = 0, refused = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        world w;
        auto const a = std::make_unique<host_type>(w, 1u);
        noise random(seed);
        auto const below = [&](std::uint64_t n) { return static_cast<unsigned>(random.next() % n); };
        model now;
        for (int step = 0; step < 4; ++step) {
            model next = now;
            next.most_peers = next.most_v4 = next.most_v6 = 0;
            std::vector<change> list;
            if (below(4) == 0) {
                list.push_back(change::replace_peers());
                next.peers.clear();
            }
            next.look();
            for (unsigned section = 0, count = below(2 * Capacity::max_peers + 3); section < count; ++section) {
                // Number 0 is the device itself, which is no peer of its own.
                unsigned const number = below(Capacity::max_peers + 2);
                bool const remove = below(4) == 0, only = below(4) == 0, replace = below(3) == 0;
                list.push_back(change::peer(number == 0 ? a->public_key : key(number)));
                if (only) list.push_back(change::update_only());
                if (remove) list.push_back(change::remove_peer());
                if (remove) std::erase_if(next.peers, [&](model::peer const& p) { return p.number == number; });
                if (!remove && next.find(number) == nullptr && !only && number != 0) next.peers.push_back({number, {}});
                next.look();
                model::peer* p = remove ? nullptr : next.find(number);
                if (replace) list.push_back(change::replace_allowed_ips());
                if (replace && p != nullptr) p->allowed.clear();
                for (unsigned i = below(Capacity::max_allowed_ips / 2 + 3); i > 0; --i) {
                    wg::ip_prefix const prefix = below(4) == 0 ? v6(below(Capacity::max_allowed_ips + 3))
                                                               : v4(below(Capacity::max_allowed_ips + 3));
                    bool const add = below(4) != 0;
                    list.push_back(add ? change::allowed_ip(prefix) : change::remove_allowed_ip(prefix));
                    if (p == nullptr) continue;
                    if (add) {
                        next.take(prefix);
                        p->allowed.push_back(prefix);
                    } else {
                        std::erase(p->allowed, prefix);
                    }
                    next.look();
                }
            }
            bool const fits = next.most_peers <= Capacity::max_peers && next.most_v4 <= Capacity::max_allowed_ips &&
                              next.most_v6 <= Capacity::max_allowed_ips;
            status const why = a->device.configure(list, w.now);
            BOOST_TEST_REQUIRE((why == status::ok) == fits, "seed " << seed << " step " << step << ": " << why);
            if (fits) now = next;
            ++(fits ? fitting : refused);
            BOOST_TEST_REQUIRE(a->dropped(status::no_memory) == 0u);
            BOOST_TEST_REQUIRE(a->device.peer_count() == now.peers.size());
            for (model::peer const& p : now.peers) {
                auto told = a->report(key(p.number)).allowed_ips;
                BOOST_TEST_REQUIRE(told.size() == p.allowed.size(), "seed " << seed);
                for (wg::ip_prefix const& x : p.allowed)
                    BOOST_TEST_REQUIRE((std::find(told.begin(), told.end(), x) != told.end()));
            }
        }
    }
    BOOST_TEST(fitting > seeds / 4);
    BOOST_TEST(refused > seeds / 4);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_set_is_refused_by_a_fixed_capacity_exactly_if_it_does_not_fit) {
    compare_with_model<two_peers>(1500);
    compare_with_model<twenty_peers>(300);
}

BOOST_AUTO_TEST_CASE(peers_and_prefixes_that_are_named_twice_count_once) {
    world w;
    fixed_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(key(1)), change::peer(key(2)), change::peer(key(1)), change::peer(key(2)),
                           change::allowed_ip(v4(1)), change::allowed_ip(v4(1)), change::allowed_ip(v4(1)),
                           change::allowed_ip(v4(1)), change::allowed_ip(v4(1))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 2u);
}

/// The number of peers of which there are none counts once, not squared: 200,000 took minutes.
BOOST_AUTO_TEST_CASE(many_unknown_peers_that_are_only_to_be_updated_take_no_time) {
    world w;
    host a(w, 1);
    std::vector<change> list;
    for (unsigned i = 0; i < 200'000; ++i) {
        wg::public_key k{};
        wg::store_be32(k.data(), i);
        k[31] = 1;
        list.push_back(change::peer(k));
        list.push_back(change::update_only());
    }
    std::clock_t const begin = std::clock();
    BOOST_TEST(a.device.configure(list, w.now) == status::ok);
    BOOST_TEST((std::clock() - begin) / CLOCKS_PER_SEC < 20);
    BOOST_TEST(a.device.peer_count() == 0u);
}

/// Those that wait for a chance to send something leave their list in any order.
BOOST_AUTO_TEST_CASE(many_peers_with_something_to_send_are_removed_in_any_order) {
    world w;
    host a(w, 1);
    std::vector<change> add, remove;
    constexpr unsigned count = 20'000;
    for (unsigned i = 0; i < count; ++i) {
        wg::public_key k{}, last{};
        wg::store_be32(k.data(), i);
        wg::store_be32(last.data(), count - 1 - i);
        k[31] = last[31] = 1;
        add.push_back(change::peer(k));
        add.push_back(change::endpoint({wg::ip_address::v4(198, 51, 100, 1), 9, 0}));
        add.push_back(change::persistent_keepalive(25));
        remove.push_back(change::peer(last));
        remove.push_back(change::remove_peer());
    }
    BOOST_TEST(a.device.configure(add, w.now) == status::ok);
    std::clock_t const begin = std::clock();
    BOOST_TEST(a.device.configure(remove, w.now) == status::ok);
    BOOST_TEST((std::clock() - begin) / CLOCKS_PER_SEC < 5);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST((a.device.next_deadline() == wg::instant::never()));
}

/// The lines of a configuration are applied in order: what is given back later is no room for what comes before.
BOOST_AUTO_TEST_CASE(allowed_ips_that_are_given_back_too_late_are_no_room) {
    auto const check = [](auto&&... changes) {
        world w;
        fixed_host a(w, 1);
        BOOST_TEST(a.configure(change::peer(key(1)), change::peer(key(2)), change::allowed_ip(v4(1)),
                               change::allowed_ip(v4(2)), change::allowed_ip(v4(3)),
                               change::allowed_ip(v4(4))) == status::ok);
        auto const one = a.report(key(1)).allowed_ips, two = a.report(key(2)).allowed_ips;
        status const why = a.configure(std::move(changes)...);
        if (why == status::ok) BOOST_TEST(a.dropped(status::no_memory) == 0u);
        else BOOST_TEST((a.report(key(1)).allowed_ips == one && a.report(key(2)).allowed_ips == two));
        return why;
    };
    // added before the other gives back
    BOOST_TEST(check(change::peer(key(1)), change::allowed_ip(v4(5)), change::allowed_ip(v4(6)),
                     change::allowed_ip(v4(7)), change::allowed_ip(v4(8)), change::peer(key(2)),
                     change::replace_allowed_ips()) == status::no_memory);
    // moved, so that less is given back than the other had
    BOOST_TEST(check(change::peer(key(1)), change::allowed_ip(v4(1)), change::allowed_ip(v4(2)), change::peer(key(2)),
                     change::replace_allowed_ips(), change::allowed_ip(v4(5)), change::allowed_ip(v4(6)),
                     change::allowed_ip(v4(7)), change::allowed_ip(v4(8))) == status::no_memory);
    // given back first
    BOOST_TEST(check(change::peer(key(2)), change::replace_allowed_ips(), change::peer(key(1)),
                     change::allowed_ip(v4(5)), change::allowed_ip(v4(6)), change::allowed_ip(v4(7)),
                     change::allowed_ip(v4(8))) == status::ok);
}

BOOST_AUTO_TEST_CASE(admit_says_what_configure_will_and_changes_nothing) {
    world w;
    fixed_host a(w, 1);
    change const good[] = {change::peer(key(1)), change::allowed_ip(v4(1))};
    change const bad[] = {change::peer(key(1)), change::peer(key(2)), change::peer(key(3))};
    BOOST_TEST(a.device.admit(good) == status::ok);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.device.admit(bad) == status::too_many_peers);
    BOOST_TEST(a.device.configure(good, w.now) == status::ok);
}

BOOST_AUTO_TEST_CASE(a_thousand_peers_come_and_go) {
    world w;
    host a(w, 1);
    for (int round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < 1000; ++i)
            BOOST_TEST(a.configure(change::peer(key(i)), change::allowed_ip(v4(i)), change::allowed_ip(v6(i))) ==
                       status::ok);
        BOOST_TEST(a.device.peer_count() == 1000u);
        for (unsigned i = 0; i < 1000; i += 2)
            BOOST_TEST(a.configure(change::peer(key(i)), change::remove_peer()) == status::ok);
        for (unsigned i = 0; i < 1000; ++i) BOOST_TEST(a.report(key(i)).found == (i % 2 == 1));
        BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(100), 60)) == status::no_peer);
        BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(101), 60)) == status::no_endpoint);
        BOOST_TEST(a.configure(change::replace_peers()) == status::ok);
    }
}

#ifndef WG_BARE // which has no local sources
//= linux: sources are forgotten when routes change or the mark does
BOOST_AUTO_TEST_CASE(sticky_sources_are_forgotten_on_request) {
    pair p;
    p.connect();
    auto const stick = [&] {
        p.b.send(ipv4(p.b, p.a, 100));
        auto const in = p.a.prepare(p.b.take_datagram());
        in->job.where.local = {wg::ip_address::v4(192, 0, 2, 1), 3};
        p.a.crypt(*in);
        p.a.complete(*in);
    };
    auto const sticks = [&] {
        auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
        bool const has = out->job.where.local.interface_index == 3;
        p.a.complete(*out);
        p.a.outbox.clear();
        return has;
    };
    BOOST_TEST(!sticks());
    stick();
    BOOST_TEST(sticks());
    p.a.device.forget_sources([](wg::path const& where) { return where.local.interface_index == 3; });
    BOOST_TEST(sticks());
    p.a.device.forget_sources([](wg::path const& where) { return where.local.interface_index != 3; });
    BOOST_TEST(!sticks());
    stick();
    p.a.device.forget_sources();
    BOOST_TEST(!sticks());
    stick();
    BOOST_TEST(p.a.configure(change::fwmark(1)) == status::ok);
    BOOST_TEST(!sticks());
    stick();
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::endpoint(p.b.where)) == status::ok); // the same
    BOOST_TEST(sticks());
    // the socket may find that the address is gone
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.crypt(*out);
    out->job.where.local = {};
    p.a.complete(*out);
    BOOST_TEST(!sticks());
}
#endif

BOOST_AUTO_TEST_SUITE_END()
