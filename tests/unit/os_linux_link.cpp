// SPDX-License-Identifier: BSL-1.0
// The interface behind a TUN descriptor, followed from one network namespace to another.
#include "tun_host.hpp"

BOOST_AUTO_TEST_SUITE(os_linux_link)

using namespace wg_tests;

namespace {

/// Simulates kernels before Linux 5.2 or 4.10, and processes without CAP_NET_ADMIN.
struct silent_calls : wg::os::link_calls {
    static inline int interface_error = 0, socket_error = 0;
    static int namespace_of_interface(int tun) noexcept {
        return interface_error != 0 ? (errno = interface_error, -1) : wg::os::link_calls::namespace_of_interface(tun);
    }
    static int namespace_of_socket(int socket) noexcept {
        return socket_error != 0 ? (errno = socket_error, -1) : wg::os::link_calls::namespace_of_socket(socket);
    }
};

unique_fd plain_tun(char const* name) {
    unique_fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    ifreq request = about(name);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    BOOST_REQUIRE(::ioctl(fd.get(), TUNSETIFF, &request) == 0);
    return fd;
}

} // namespace

BOOST_AUTO_TEST_CASE(follows_an_interface_to_another_namespace_and_back) {
    REQUIRE_NETWORK();
    other_network box;
    unique_fd const tun = plain_tun("wgt0");
    wg::os::basic_link<> link;
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
    BOOST_TEST(link.place().net == wg::os::own_namespace);
    BOOST_TEST(link.place().index == ::if_nametoindex("wgt0"));
    BOOST_TEST(link.mtu() == 1500u);
    BOOST_TEST((link.change(SIOCSIFMTU, 1400) == wg::status::ok));
    BOOST_TEST(link.mtu() == 1400u);
    BOOST_TEST(attribute_of("wgt0", IFLA_MTU) == 1400u);

    move_link("wgt0", box.fd());
    unique_fd const other = plain_tun("wgt0"); // has the same name and another MTU
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
    BOOST_TEST(link.place().net >= 0);
    BOOST_TEST(link.mtu() == 1400u);
    box.inside([&] {
        BOOST_TEST(link.place().index == ::if_nametoindex("wgt0"));
        set_mtu("wgt0", 2000);
        rename_link("wgt0", "eth7");
    });
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
    BOOST_TEST(link.mtu() == 2000u);
    BOOST_TEST(std::string(link.name()) == "eth7");
    BOOST_TEST((link.change(SIOCSIFMTU, 1000) == wg::status::not_supported));
    BOOST_TEST(attribute_of("wgt0", IFLA_MTU) == 1500u); // the other interface was not changed

    box.inside([&] { move_link("eth7", box.home()); });
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
    BOOST_TEST(link.place().net == wg::os::own_namespace);
    BOOST_TEST(link.place().index == ::if_nametoindex("eth7"));
    BOOST_TEST(link.mtu() == 2000u);
}

BOOST_AUTO_TEST_CASE(does_not_keep_a_namespace_alive) {
    REQUIRE_NETWORK();
    other_network box;
    unique_fd const tun = plain_tun("wgt0");
    wg::os::basic_link<> link;
    move_link("wgt0", box.fd());
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
    auto monitor = wg::os::route_monitor::open_elsewhere(link.place());
    BOOST_REQUIRE(monitor);
    box.close();
    // The kernel deletes the interface some time later. It then wakes a poll for POLLIN, but no poll without events.
    pollfd watched{tun.get(), POLLIN, 0};
    BOOST_REQUIRE(::poll(&watched, 1, 10'000) == 1);
    BOOST_REQUIRE((watched.revents & POLLERR) != 0);
    BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::gone));
}

BOOST_AUTO_TEST_CASE(without_a_known_namespace_an_interface_is_recognized_by_its_index) {
    REQUIRE_NETWORK();
    for (auto const& [interface_error, socket_error] : {std::pair{EPERM, 0}, {EINVAL, 0}, {0, ENOTTY}}) {
        other_network box;
        silent_calls::interface_error = interface_error;
        silent_calls::socket_error = socket_error;
        unique_fd const tun = plain_tun("wgt0");
        wg::os::basic_link<silent_calls> link;
        BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
        auto const home = link.place();
        BOOST_TEST(home.index == ::if_nametoindex("wgt0"));
        set_mtu("wgt0", 1400);
        BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
        BOOST_TEST(link.mtu() == 1400u);

        move_link("wgt0", box.fd());
        BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::not_supported));
        {
            unique_fd const other = plain_tun("wgt0");
            set_mtu("wgt0", 600);
            BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::not_supported));
            BOOST_TEST(link.place().index == 0u);
            BOOST_TEST(link.mtu() == 1400u);
            BOOST_TEST((link.change(SIOCSIFMTU, 1000) == wg::status::not_supported));
            BOOST_TEST(attribute_of("wgt0", IFLA_MTU) == 600u);
        }
        box.inside([&] { move_link("wgt0", box.home()); });
        BOOST_TEST((link.refresh(tun.get(), "wgt0") == wg::status::ok));
        BOOST_TEST((link.place() == home));
    }
    silent_calls::interface_error = silent_calls::socket_error = 0;
}

BOOST_AUTO_TEST_SUITE_END()
