// SPDX-License-Identifier: BSL-1.0
// The way out: padding, outer marks, short buffers, destinations without a peer, staging, source addresses.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_outbound)

using namespace wg_tests;
using wg::change;
using wg::status;

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

BOOST_AUTO_TEST_CASE(drops_packet_without_headroom_or_tailroom) {
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
BOOST_AUTO_TEST_CASE(marks_handshakes_af41_and_data_with_inner_ecn) {
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

namespace {

/// Sends one message of `of` from a buffer of `room` bytes. Returns its size; 0: there is none, or it does not fit.
std::size_t send_from_buffer(host& of, world const& w, std::size_t room, bool handshakes) {
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
BOOST_AUTO_TEST_CASE(keeps_and_counts_initiation_that_does_not_fit) {
    pair p;
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.complete(*f);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        BOOST_TEST(send_from_buffer(p.a, p.w, 147, false) == 0u);
        BOOST_TEST(p.a.dropped(status::no_room) == i);
        BOOST_TEST(p.a.device.next_deadline() <= p.w.now);
    }
    BOOST_TEST(send_from_buffer(p.a, p.w, 148, false) == 148u);
    BOOST_TEST(p.a.count(wg::event_id::initiation_sent) == 1u);
}

BOOST_AUTO_TEST_CASE(keeps_repeated_initiation_that_does_not_fit) {
    pair p;
    (void)p.initiation(p.a);
    p.advance_clock(wg::seconds(6));
    p.a.device.on_deadline(p.w.now);
    BOOST_TEST(send_from_buffer(p.a, p.w, 100, false) == 0u);
    BOOST_TEST(p.a.dropped(status::no_room) == 1u);
    BOOST_TEST(p.a.device.next_deadline() <= p.w.now);
    BOOST_TEST(send_from_buffer(p.a, p.w, 148, false) == 148u);
}

BOOST_AUTO_TEST_CASE(keeps_and_counts_keepalive_that_does_not_fit) {
    pair p;
    p.connect();
    p.b.send(ipv4(p.b, p.a, 100));
    p.net.settle();
    p.advance_clock(wg::seconds(10));
    p.a.device.on_deadline(p.w.now);
    BOOST_TEST(send_from_buffer(p.a, p.w, 31, false) == 0u);
    BOOST_TEST(p.a.dropped(status::no_room) == 1u);
    BOOST_TEST(send_from_buffer(p.a, p.w, 48, false) == 32u);
}

BOOST_AUTO_TEST_CASE(keeps_and_counts_received_initiation_if_response_does_not_fit) {
    pair p;
    wire const in = p.initiation(p.a);
    BOOST_TEST(p.b.take(in) == status::queued);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        BOOST_TEST(send_from_buffer(p.b, p.w, 91, true) == 0u);
        BOOST_TEST(p.b.dropped(status::no_room) == i);
        BOOST_TEST(p.b.device.next_deadline() <= p.w.now);
    }
    BOOST_TEST(send_from_buffer(p.b, p.w, 92, true) == 92u);
    BOOST_TEST(p.b.count(wg::event_id::response_sent) == 1u);
}

BOOST_AUTO_TEST_CASE(fills_the_buffers_before_the_first_short_one) {
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
    BOOST_TEST(send_from_buffer(b, w, 148, true) == 92u);
    BOOST_TEST(send_from_buffer(b, w, 148, true) == 92u);
    BOOST_TEST(b.count(wg::event_id::response_sent) == 5u);
}

#ifndef WG_BARE // a bare device sends no ICMP answers
//= RFC 792: host unreachable; RFC 4443 3.1: address unreachable
BOOST_AUTO_TEST_CASE(answers_unreachable_destination_with_icmp) {
    pair p;
    host stranger(p.w, 9);
    BOOST_TEST(p.a.configure(change::peer(stranger.public_key), change::allowed_ip(prefix_v4(9)),
                             change::allowed_ip(prefix_v6(9))) == status::ok);
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
            // the answer quotes as much of the packet as fits into the buffer
            std::size_t const head = six ? 48 : 28;
            BOOST_TEST(answer.size() >= head + 79);
            BOOST_TEST(std::equal(answer.begin() + static_cast<std::ptrdiff_t>(head), answer.end(), inner.begin()));
        }
    }
    BOOST_TEST(p.a.outbox.empty()); // no handshake without an endpoint
}

BOOST_AUTO_TEST_CASE(sends_at_most_1000_icmp_answers_a_second) {
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

BOOST_AUTO_TEST_CASE(drops_data_that_is_no_ip_packet) {
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

/// A datagram of the tunnel that is routed into the tunnel would be encrypted again without end.
//= linux: the tunnel's own datagrams are not taken into it
BOOST_AUTO_TEST_CASE(drops_own_datagrams_that_are_routed_into_the_tunnel) {
    pair p;
    p.connect();
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::allowed_ip(prefix_v4(0, 0))) == status::ok);
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
    wg::store_be16(&own[20], 53); // of another program
    BOOST_TEST(p.a.send(own) == status::ok);
    wg::store_be16(&own[20], p.a.where.port);
    ++own[28 + 4]; // of another tunnel with the same port, on a host behind this one
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

/// Unreachable peers may use all staging slots. Other peers still get sessions.
BOOST_AUTO_TEST_CASE(begins_handshake_if_other_peers_use_all_staging_slots) {
    pair p;
    for (unsigned n = 0; n < 20; ++n) { // 20 times 128 packets are more than the slots
        wg::ip_address const inside = wg::ip_address::v4(10, 99, 0, static_cast<wg::byte>(n));
        BOOST_TEST_REQUIRE(p.a.configure(change::peer(numbered_key(n + 100)), change::endpoint({inner_v4(99), 1, 0}),
                                         change::allowed_ip({inside, 32})) == status::ok);
        for (unsigned i = 0; i < 128; ++i) p.a.send(inner_packet(p.a.v4, inside, 100, i));
    }
    p.a.send(ipv4(p.a, p.b, 100));
    p.net.settle();
    BOOST_TEST(p.passes(p.a, p.b));
}

//= linux: while there is no session packets wait, 128 a peer; the oldest is lost first
BOOST_AUTO_TEST_CASE(stages_the_newest_128_packets_of_a_peer) {
    pair p;
    for (unsigned i = 0; i < 200; ++i) BOOST_TEST(p.a.send(ipv4(p.a, p.b, 100, i)) == status::staged);
    BOOST_TEST(p.a.dropped(status::staging_full) == 72u);
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 128u);
    for (unsigned i = 0; i < 128; ++i) BOOST_TEST((p.b.received[i] == ipv4(p.a, p.b, 100, 72 + i)));
}

BOOST_AUTO_TEST_CASE(stages_packet_that_is_larger_than_a_slot) {
    pair p;
    p.a.device.set_mtu(0);
    p.a.send(ipv4(p.a, p.b, 65535, 4));
    p.a.send(ipv6(p.a, p.b, 2048, 5));
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 2u);
    BOOST_TEST((p.b.received[0] == ipv4(p.a, p.b, 65535, 4)));
    BOOST_TEST((p.b.received[1] == ipv6(p.a, p.b, 2048, 5)));
}

#ifndef WG_BARE // a bare device has no source addresses
//= linux: sources are forgotten when routes change or the mark does
BOOST_AUTO_TEST_CASE(forgets_source_address_when_routes_or_fwmark_change) {
    pair p;
    p.connect();
    auto const set_source = [&] {
        p.b.send(ipv4(p.b, p.a, 100));
        auto const in = p.a.prepare(p.b.take_datagram());
        in->job.where.local = {wg::ip_address::v4(192, 0, 2, 1), 3};
        p.a.crypt(*in);
        p.a.complete(*in);
    };
    auto const has_source = [&] {
        auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
        bool const has = out->job.where.local.interface_index == 3;
        p.a.complete(*out);
        p.a.outbox.clear();
        return has;
    };
    BOOST_TEST(!has_source());
    set_source();
    BOOST_TEST(has_source());
    p.a.device.forget_sources([](wg::path const& where) { return where.local.interface_index == 3; });
    BOOST_TEST(has_source());
    p.a.device.forget_sources([](wg::path const& where) { return where.local.interface_index != 3; });
    BOOST_TEST(!has_source());
    set_source();
    p.a.device.forget_sources();
    BOOST_TEST(!has_source());
    set_source();
    BOOST_TEST(p.a.configure(change::fwmark(1)) == status::ok);
    BOOST_TEST(!has_source());
    set_source();
    BOOST_TEST(p.a.configure(change::peer(p.b.public_key), change::endpoint(p.b.where)) ==
               status::ok); // the same endpoint
    BOOST_TEST(has_source());
    // the socket found that the address is gone
    auto const out = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.crypt(*out);
    out->job.where.local = {};
    p.a.complete(*out);
    BOOST_TEST(!has_source());
}
#endif

BOOST_AUTO_TEST_SUITE_END()
