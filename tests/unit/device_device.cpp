// SPDX-License-Identifier: BSL-1.0
// A device from end to end: packets in, packets out, on a virtual clock.
#include "fixture.hpp"

using namespace wg_tests;
using wg::message_type;
using wg::status;

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

BOOST_AUTO_TEST_SUITE_END()
