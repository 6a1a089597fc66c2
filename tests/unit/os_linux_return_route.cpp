// SPDX-License-Identifier: BSL-1.0
// Which part of the source an answer keeps: the address to which the peer sent, and the interface of arrival.
#include "udp_twin.hpp"

BOOST_AUTO_TEST_SUITE(os_linux_return_route)

using namespace wg_tests;
using wg::local_source;
using wg::path;
using wg::os::return_route;

namespace {

wg::instant const start{wg::seconds(100).nanoseconds};
std::uint32_t const loopback = ::if_nametoindex("lo");
std::uint32_t const elsewhere = loopback + 1; // an interface without a route to loopback addresses
wg::ip_address const dialled = wg::ip_address::v4(127, 0, 0, 7);
wg::ip_address const nobodys = wg::ip_address::v4(192, 0, 2, 77); // RFC 5737

path from(wg::ip_address remote, wg::ip_address local, std::uint32_t interface_index, std::uint16_t port = 51820) {
    return {{remote, port, 0}, {local, interface_index}};
}

bool host_has_netlink() {
    wg::os::unique_fd const fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    return return_route{}.choose(from(loopback4, dialled, elsewhere), {}, start) == local_source{};
}

#define REQUIRE_NETLINK()                                                                                              \
    if (!host_has_netlink()) {                                                                                         \
        BOOST_TEST_MESSAGE("skipped: this host answers no questions about routes");                                    \
        return;                                                                                                        \
    }

} // namespace

BOOST_AUTO_TEST_CASE(keeps_an_ipv4_source_if_the_route_leaves_by_the_interface_of_arrival) {
    REQUIRE_NETLINK();
    return_route routes;
    for (int again = 0; again < 2; ++again) { // asked the first time, remembered the second time
        BOOST_TEST((routes.choose(from(loopback4, dialled, loopback), {}, start) == local_source{dialled, 0}));
        BOOST_TEST((routes.choose(from(loopback4, dialled, elsewhere), {}, start) == local_source{}));
        BOOST_TEST((routes.choose(from(loopback4, nobodys, loopback), {}, start) == local_source{}));
        BOOST_TEST(
            (routes.choose(from(loopback4, dialled, loopback), {7, 51820, false}, start) == local_source{dialled, 0}));
    }
    routes.forget();
    BOOST_TEST((routes.choose(from(loopback4, dialled, loopback), {}, start) == local_source{dialled, 0}));
}

BOOST_AUTO_TEST_CASE(keeps_a_source_without_an_interface_or_of_a_bound_socket) {
    return_route routes;
    BOOST_TEST((routes.choose(from(loopback4, dialled, 0), {}, start) == local_source{dialled, 0}));
    BOOST_TEST((routes.choose(from(loopback4, dialled, elsewhere), {0, 1, true}, start) == local_source{dialled, 0}));
}

BOOST_AUTO_TEST_CASE(keeps_an_ipv6_source_and_the_interface_of_a_link_local_one) {
    return_route routes;
    for (std::uint32_t const index : {loopback, elsewhere})
        BOOST_TEST((routes.choose(from(loopback6, loopback6, index), {}, start) == local_source{loopback6, 0}));
    wg::ip_address link_local = loopback6;
    link_local.octets[0] = 0xfe;
    link_local.octets[1] = 0xbf; // the last address range of fe80::/10
    BOOST_TEST((routes.choose(from(link_local, link_local, 5), {}, start) == local_source{link_local, 5}));
}

BOOST_AUTO_TEST_CASE(asks_once_for_each_path) {
    REQUIRE_NETLINK();
    return_route routes;
    constexpr std::uint16_t paths = 1500; // one question each, and one for the interface
    auto const all_refused = [&] {
        for (std::uint16_t n = 0; n < paths; ++n)
            if (routes.choose(from(loopback4, dialled, elsewhere, n), {}, start) != local_source{}) return false;
        return true;
    };
    for (int again = 0; again < 5; ++again) BOOST_TEST(all_refused());
    routes.forget();
    BOOST_TEST(!all_refused()); // 1501 more questions than are left in this second
    BOOST_TEST((routes.choose(from(loopback4, dialled, elsewhere, 0), {}, start + wg::seconds(1)) == local_source{}));
}

BOOST_AUTO_TEST_CASE(asks_again_for_a_missing_route_after_a_second) {
    REQUIRE_NETLINK();
    return_route routes;
    auto const questions = [&](wg::instant now, unsigned times) { // how many questions `times` lookups take
        for (unsigned n = 0; n < times; ++n)
            BOOST_TEST((routes.choose(from(loopback4, nobodys, loopback), {}, now) == local_source{}));
        unsigned left = 0;
        while (left < 3000 && routes.choose(from(loopback4, dialled, elsewhere, static_cast<std::uint16_t>(left)), {},
                                            now) == local_source{})
            ++left;
        routes.forget();
        return return_route::questions_a_second - left;
    };
    BOOST_TEST(questions(start, 100) == 3u); // two interfaces and the path
    BOOST_TEST(questions(start + wg::seconds(1), 0) == 1u);
    BOOST_TEST((routes.choose(from(loopback4, nobodys, loopback), {}, start + wg::seconds(2)) == local_source{}));
    BOOST_TEST(questions(start + wg::seconds(3), 100) == 2u); // the second interface, and the path again
}

BOOST_AUTO_TEST_CASE(questions_a_second_are_bounded_for_all_paths_together) {
    REQUIRE_NETLINK();
    return_route routes;
    unsigned asked = 0;
    for (unsigned n = 0; n < 20000; ++n) {
        wg::ip_address const stranger =
            wg::ip_address::v4(127, static_cast<wg::byte>(n >> 8 & 255), static_cast<wg::byte>(n & 255), 9);
        asked += routes.choose(from(stranger, dialled, elsewhere), {}, start) == local_source{};
    }
    BOOST_TEST(asked == return_route::questions_a_second - 1); // one more was for the interface
}

BOOST_AUTO_TEST_CASE(asks_again_for_paths_beyond_its_memory) {
    REQUIRE_NETLINK();
    return_route routes;
    wg::instant now = start;
    unsigned right = 0;
    constexpr unsigned paths = 40000; // more than most_answers
    for (unsigned n = 0; n < paths; ++n) {
        if (n % 1000 == 0) now = now + wg::seconds(1);
        wg::ip_address const remote =
            wg::ip_address::v4(127, static_cast<wg::byte>(n >> 8 & 255), static_cast<wg::byte>(n & 255), 9);
        bool const here = n % 2 == 0;
        local_source const chosen = routes.choose(from(remote, dialled, here ? loopback : elsewhere), {}, now);
        right += chosen == (here ? local_source{dialled, 0} : local_source{});
    }
    BOOST_TEST(right == paths);
}

BOOST_AUTO_TEST_SUITE_END()
