// SPDX-License-Identifier: BSL-1.0
// The monitor of links and routes.
#include "tun_host.hpp"

#include "wg/os/linux/netlink/network_monitor.hpp"

BOOST_AUTO_TEST_SUITE(os_linux_routes)

using namespace wg_tests;

namespace {

/// All changes that the monitor reports until `enough` holds, for a second at most.
template <class Monitor, class Enough> wg::os::network_changes changes_until(Monitor& monitor, Enough enough) {
    wg::os::network_changes all;
    while (!enough(all)) {
        pollfd watched{monitor.fd(), POLLIN, 0};
        if (::poll(&watched, 1, 1000) != 1) break;
        auto const more = monitor.read();
        if (more.link) all.link = true, all.up = more.up, all.mtu_bytes = more.mtu_bytes;
        all.link_left |= more.link_left;
        all.routes |= more.routes;
    }
    return all;
}

} // namespace

BOOST_AUTO_TEST_CASE(monitor_reports_the_present_state_and_changes) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    auto monitor = wg::os::route_monitor::open(tun.place().index);
    BOOST_REQUIRE(monitor);
    auto told = changes_until(*monitor, [](auto const& c) { return c.link; });
    BOOST_TEST((told.link && !told.up && told.mtu_bytes == 1420 && !told.link_left));

    set_up("wgt0", true);
    told = changes_until(*monitor, [](auto const& c) { return c.up; });
    BOOST_TEST((told.link && told.up));

    ifreq request = about("wgt0");
    request.ifr_mtu = 1340;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request));
    told = changes_until(*monitor, [](auto const& c) { return c.mtu_bytes == 1340; });
    BOOST_TEST(told.mtu_bytes == 1340u);
    BOOST_TEST(told.up);

    set_up("wgt0", false);
    told = changes_until(*monitor, [](auto const& c) { return c.link && !c.up; });
    BOOST_TEST((told.link && !told.up));

    delete_link("wgt0");
    told = changes_until(*monitor, [](auto const& c) { return c.link_left; });
    BOOST_TEST(told.link_left);
}

BOOST_AUTO_TEST_CASE(monitor_reports_routes_to_other_hosts_but_no_other_links) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0"), other = made("wgt1");
    auto monitor = wg::os::route_monitor::open(tun.place().index);
    BOOST_REQUIRE(monitor);
    changes_until(*monitor, [](auto const& c) { return c.link; });
    set_address("wgt1", "10.9.1.1");
    monitor->read();
    set_up("wgt1", true); // adds a route to its network
    auto const told = changes_until(*monitor, [](auto const& c) { return c.routes; });
    BOOST_TEST((told.routes && !told.link && !told.link_left));
    monitor->read();
    set_address("wgt1", "10.9.2.1"); // removes the old route
    BOOST_TEST(changes_until(*monitor, [](auto const& c) { return c.routes; }).routes);
}

BOOST_AUTO_TEST_CASE(monitor_reports_one_interface_of_another_namespace_only) {
    REQUIRE_NETWORK();
    other_network box;
    wg::os::tun tun = made("wgt0");
    move_link("wgt0", box.fd());
    tun.refresh_mtu();
    BOOST_REQUIRE(tun.place().net >= 0);
    auto monitor = wg::os::route_monitor::open_elsewhere(tun.place());
    BOOST_REQUIRE(monitor);
    auto told = changes_until(*monitor, [](auto const& c) { return c.link; });
    BOOST_TEST((told.link && !told.up && told.mtu_bytes == 1420 && !told.link_left));
    box.inside([] { set_up("wgt0", true); });
    told = changes_until(*monitor, [](auto const& c) { return c.up; });
    BOOST_TEST((told.link && told.up));

    // Another interface of this namespace has the same index and name.
    wg::os::tun const here = made("wgt0");
    set_up("wgt0", true);
    wg::os::tun const beside = [&] {
        wg::result<wg::os::tun> made_there = wg::status::invalid;
        box.inside([&] { made_there = made("wgt1"); });
        return std::move(*made_there);
    }();
    told = monitor->read();
    BOOST_TEST((!told.link && !told.link_left && !told.routes));

    box.inside([] { set_mtu("wgt0", 1500); });
    told = changes_until(*monitor, [](auto const& c) { return c.mtu_bytes == 1500; });
    BOOST_TEST(told.mtu_bytes == 1500u);
    box.inside([&] {
        set_up("wgt0", false); // older kernels rename no interface that is up
        rename_link("wgt0", "wgt5");
        move_link("wgt5", box.home());
    });
    told = changes_until(*monitor, [](auto const& c) { return c.link_left; });
    BOOST_TEST(told.link_left);
}

BOOST_AUTO_TEST_CASE(monitor_reports_a_missing_interface) {
    auto monitor = wg::os::route_monitor::open(0x7fffffff);
    BOOST_REQUIRE(monitor);
    BOOST_TEST(changes_until(*monitor, [](auto const& c) { return c.link_left; }).link_left);
}

BOOST_AUTO_TEST_CASE(monitor_reports_changes_of_everything_after_an_overrun) {
    REQUIRE_NETWORK();
    wg::os::tun tun = made("wgt0");
    auto monitor = wg::os::route_monitor::open(tun.place().index);
    BOOST_REQUIRE(monitor);
    changes_until(*monitor, [](auto const& c) { return c.link; });
    int const tiny = 1;
    BOOST_REQUIRE(::setsockopt(monitor->fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny) == 0);
    for (int i = 0; i < 20; ++i) set_up("wgt0", i % 2 == 1);
    ifreq request = about("wgt0");
    request.ifr_mtu = 1234;
    BOOST_REQUIRE(ask(SIOCSIFMTU, request)); // the event does not fit the socket's buffer
    auto const told = changes_until(*monitor, [](auto const& c) { return c.mtu_bytes == 1234; });
    BOOST_TEST(told.routes);
    BOOST_TEST(told.mtu_bytes == 1234u); // the monitor asked again
    BOOST_TEST(told.up);
}

BOOST_AUTO_TEST_CASE(a_network_monitor_follows_an_interface_into_another_namespace_and_back) {
    REQUIRE_NETWORK();
    other_network box;
    wg::os::tun tun = made("wgt0");
    wg::os::network_monitor monitor;
    BOOST_REQUIRE(static_cast<bool>(monitor));
    monitor.watch(tun);
    BOOST_REQUIRE(monitor.reports_link());
    auto const left = [](wg::os::network_changes const& all) { return all.link_left; };
    auto const has_mtu = [](std::uint32_t mtu) { return [mtu](auto const& all) { return all.mtu_bytes == mtu; }; };
    move_link("wgt0", box.fd());
    BOOST_TEST(changes_until(monitor, left).link_left);
    tun.refresh_mtu();
    monitor.watch(tun);
    BOOST_REQUIRE(monitor.reports_link());
    box.inside([] { set_mtu("wgt0", 1300); });
    BOOST_TEST(changes_until(monitor, has_mtu(1300)).mtu_bytes == 1300u);
    box.inside([&] { move_link("wgt0", box.home()); });
    BOOST_TEST(changes_until(monitor, left).link_left);
    tun.refresh_mtu();
    monitor.watch(tun);
    BOOST_REQUIRE(monitor.reports_link());
    set_mtu("wgt0", 1400);
    BOOST_TEST(changes_until(monitor, has_mtu(1400)).mtu_bytes == 1400u);
    set_address("wgt0", "10.9.0.1");
    set_up("wgt0", true);
    BOOST_TEST(changes_until(monitor, [](auto const& all) { return all.routes; }).routes);
}

BOOST_AUTO_TEST_SUITE_END()
