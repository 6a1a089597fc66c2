// SPDX-License-Identifier: BSL-1.0
// Datagrams that the host did not send: the events report the peer, its key and the host's error.
#include "engine_node.hpp"
#include "udp_twin.hpp"

BOOST_AUTO_TEST_SUITE(send_failures)

using namespace wg_tests;

namespace {

struct failing_socket : marking_socket {
    status fails = status::ok;
    std::uint16_t error = 0;

    std::size_t send(std::span<wg::datagram> datagrams) noexcept {
        if (fails == status::ok) return marking_socket::send(datagrams);
        for (wg::datagram& d : datagrams) d.why = fails, d.error = error;
        return 0;
    }
};
using failing_tunnel = basic_tunnel<failing_socket>;

struct keyed_event {
    wg::event_id id;
    std::uint32_t number;
    wg::public_key key;
};
struct keyed_observer {
    static constexpr bool enabled = true;
    std::vector<keyed_event>* seen = nullptr;

    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept {
        BOOST_TEST(false, "event without a key was called");
    }
    void event(wg::event_id id, std::uint32_t number, std::uint64_t, wg::public_key const& key) noexcept {
        seen->push_back({id, number, key});
    }
};
struct keyed_policies : test_policies {
    using observer = keyed_observer;
};

std::vector<event_record> failures(failing_tunnel const& l) {
    std::vector<event_record> found;
    for (event_record const& e : l.a.events)
        if (e.id == wg::event_id::send_failed) found.push_back(e);
    return found;
}

} // namespace

BOOST_AUTO_TEST_CASE(reports_a_failed_initiation_with_the_error_of_the_host) {
    failing_tunnel l;
    l.a.socket.fails = status::io_error;
    l.a.socket.error = ENETUNREACH;
    l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    auto const told = failures(l);
    BOOST_TEST_REQUIRE(told.size() == 1u);
    BOOST_TEST((told[0].value & 0xff) == static_cast<std::uint64_t>(status::io_error));
    BOOST_TEST((told[0].value >> 8) == std::uint64_t{ENETUNREACH});
    BOOST_TEST(l.a.device.counter(status::io_error) == 1u);
    BOOST_TEST(l.a.sent_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(reports_failed_data_but_no_later_success) {
    failing_tunnel l;
    l.connect();
    l.a.socket.fails = status::no_permission;
    l.a.socket.error = EPERM;
    for (int i = 0; i < 3; ++i) l.a.tun.from_host.push_back(ipv4(l.a, l.b, 100));
    BOOST_TEST(l.a.run() == status::ok);
    BOOST_TEST(failures(l).size() == 3u);
    BOOST_TEST(l.a.device.counter(status::no_permission) == 3u);
    l.a.socket.fails = status::ok;
    l.a.events.clear();
    BOOST_TEST(l.passes());
    BOOST_TEST(failures(l).empty()); // the jobs keep no errno of earlier datagrams
}

BOOST_AUTO_TEST_CASE(observer_with_key_gets_the_key_of_the_peer) {
    std::vector<keyed_event> seen;
    world w;
    random_state random{noise(1), true, 0};
    wg::device<keyed_policies> device(virtual_clock{&w}, seeded_random{&random}, keyed_observer{&seen});
    wg::public_key keys[2];
    for (unsigned i = 0; i < 2; ++i) wg::copy(keys[i], noise(40 + i).take(wg::key_bytes));
    for (wg::public_key const& key : keys)
        BOOST_TEST_REQUIRE(device.configure({change::peer(key)}, wg::instant{}) == status::ok);
    BOOST_TEST_REQUIRE(device.configure({change::peer(keys[1]), change::remove_peer()}, wg::instant{}) == status::ok);
    std::size_t found = 0;
    for (keyed_event const& e : seen) {
        bool const known = e.number < 2;
        BOOST_TEST(known);
        if (known) BOOST_TEST((e.key == keys[e.number]));
        found += e.id == wg::event_id::peer_removed && e.number == 1;
    }
    BOOST_TEST(found == 1u);
    seen.clear();
    wg::byte none[64] = {};
    wg::job<keyed_policies> j;
    j.data = wg::packet(none, 16, 20);
    device.prepare_outbound({&j, 1}, wg::instant{}); // not an IP packet, so the event concerns no peer
    BOOST_TEST_REQUIRE(seen.size() == 1u);
    BOOST_TEST(seen[0].number == wg::no_peer_number);
    BOOST_TEST((seen[0].key == wg::public_key{}));
}

BOOST_AUTO_TEST_CASE(socket_reports_errno_of_each_datagram_alone_and_in_a_run) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    std::string one(100, 'a'), two(100, 'b');
    std::vector<wg::datagram> out{datagram_to(wg::ip_address::v4(255, 255, 255, 255), 9, one),
                                  datagram_to(loopback4, sender.port, two)};
    BOOST_TEST(sender.socket.send(out) == 1u); // SO_BROADCAST is not set: EACCES
    BOOST_TEST(out[0].error == EACCES);
    BOOST_TEST((out[0].why == status::no_permission));
    BOOST_TEST(out[1].error == 0);
    out = {datagram_to(wg::ip_address::v4(255, 255, 255, 255), 9, one),
           datagram_to(wg::ip_address::v4(255, 255, 255, 255), 9, two)};
    faults.refused_segments = EIO; // after the host refused the run, the socket sends each datagram alone
    BOOST_TEST(sender.socket.send(out) == 0u);
    for (wg::datagram const& d : out) BOOST_TEST(d.error == EACCES);
}

BOOST_AUTO_TEST_SUITE_END()
