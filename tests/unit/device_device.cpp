// SPDX-License-Identifier: BSL-1.0
// A device from end to end: packets in and out, the order of the steps, congestion marks, counters and batches.
#include "fixture.hpp"

BOOST_AUTO_TEST_SUITE(device_device)

using namespace wg_tests;
using wg::status;

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

BOOST_AUTO_TEST_CASE(device_with_static_storage_exchanges_packets_through_several_sessions) {
    basic_pair<static_policies> p;
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

BOOST_AUTO_TEST_CASE(cuts_inner_packet_to_the_length_in_its_header) {
    pair p;
    p.connect();
    buffer longer = ipv4(p.a, p.b, 61);
    longer.resize(80, 0xee);
    BOOST_TEST(p.a.send(longer) == status::ok);
    p.net.settle();
    BOOST_TEST_REQUIRE(p.b.received.size() == 1u);
    BOOST_TEST(p.b.received[0] == ipv4(p.a, p.b, 61));
}

//= RFC 6040 4.2: congestion on the way is told to the inner packet, or drops it
BOOST_AUTO_TEST_CASE(copies_congestion_mark_of_outer_header_to_inner_packet) {
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

/// The option is for networks that mark every datagram. Linux's WireGuard ignores the result of the combination, too.
BOOST_AUTO_TEST_CASE(delivers_congested_not_ect_packet_if_congestion_drop_is_off) {
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

BOOST_AUTO_TEST_CASE(reports_only_the_first_congested_not_ect_packet) {
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

BOOST_AUTO_TEST_CASE(packet_is_sent_only_after_crypt) {
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

BOOST_AUTO_TEST_CASE(unsealed_packet_is_not_counted_and_releases_its_session) {
    pair p;
    p.connect();
    auto const before = p.a.report(p.b.public_key).tx_bytes;
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    p.a.complete(*f);
    BOOST_TEST(p.a.outbox.empty());
    BOOST_TEST(p.a.report(p.b.public_key).tx_bytes == before);
    BOOST_TEST(p.passes(p.a, p.b));
}

BOOST_AUTO_TEST_CASE(keepalive_is_sent_only_after_crypt) {
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

BOOST_AUTO_TEST_CASE(unopened_datagram_is_dropped_and_changes_nothing) {
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

//= linux: both directions count whole UDP payloads, handshakes included: 148 + 92 + n * (100 padded to 112, + 32)
BOOST_AUTO_TEST_CASE(counts_bytes_of_udp_payload_in_both_directions) {
    pair p;
    // Echo requests and replies, as `ping -s 68` sends them: 96 bytes, and 32 of overhead.
    for (unsigned i = 0; i < 10; ++i) {
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
    p.net.advance(wg::seconds(10)); // `a` received last, so it sends a keepalive
    BOOST_TEST(p.a.report(p.b.public_key).tx_bytes == 148u + 10 * 128 + 32);
    BOOST_TEST(p.b.report(p.a.public_key).rx_bytes == 148u + 10 * 128 + 32);
    std::size_t on_wire = 0;
    for (wire const& w : p.net.log) on_wire += w.data.size();
    BOOST_TEST(a.tx_bytes + a.rx_bytes + 32 == on_wire);
}

//= linux: both directions count whole UDP payloads
BOOST_AUTO_TEST_CASE(does_not_count_bytes_that_the_socket_failed_to_send) {
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

BOOST_AUTO_TEST_CASE(batch_of_packets_gives_the_same_result_as_single_packets) {
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
    // `crypt` takes jobs in any order and batch
    host::device_type::crypt(std::span(jobs).subspan(20), p.a.device.aead());
    host::device_type::crypt(std::span(jobs).first(20), p.a.device.aead());
    for (auto const& j : jobs)
        if (j.next == wg::disposition::send)
            p.b.receive({buffer(j.data.view().begin(), j.data.view().end()), p.a.where, p.b.where});
    p.a.device.complete(jobs, p.w.now);
    BOOST_TEST(p.b.received.size() == count - count / 5);
}

BOOST_AUTO_TEST_SUITE_END()
