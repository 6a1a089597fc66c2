// SPDX-License-Identifier: BSL-1.0
// The network monitor of os/windows, with callbacks of the test.
#include "wg/os/windows/net/network_monitor.hpp"

#include <boost/test/unit_test.hpp>

#include <optional>

BOOST_AUTO_TEST_SUITE(os_windows_network)

namespace {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;

struct host_state {
    int handles = 0, watches = 0, events_set = 0, timer_ms = 0;
    int refused = -1; ///< the number of the watch that Windows refuses
    bool has_event = true, has_timer = true;
    api::interface_callback interfaces = nullptr;
    api::row_callback routes = nullptr, addresses = nullptr;
    void* context = nullptr;
} host;
int event_place, timer_place, watch_places[3];

struct test_calls {
    static void close(void*) noexcept { --host.handles; }
    static void* create_event() noexcept { return host.has_event ? (++host.handles, &event_place) : nullptr; }
    static void set_event(void* event) noexcept {
        BOOST_TEST(event == &event_place);
        ++host.events_set;
    }
    static void* create_timer(int period_ms) noexcept {
        host.timer_ms = period_ms;
        return host.has_timer ? (++host.handles, &timer_place) : nullptr;
    }
    static int begin(int number, void* context, void** watch) noexcept {
        if (host.refused == number) return api::error_not_supported;
        ++host.watches;
        host.context = context;
        *watch = &watch_places[number];
        return 0;
    }
    static int watch_interfaces(api::interface_callback told, void* context, void** watch) noexcept {
        host.interfaces = told;
        return begin(0, context, watch);
    }
    static int watch_routes(api::row_callback told, void* context, void** watch) noexcept {
        host.routes = told;
        return begin(1, context, watch);
    }
    static int watch_addresses(api::row_callback told, void* context, void** watch) noexcept {
        host.addresses = told;
        return begin(2, context, watch);
    }
    static void stop_watch(void*) noexcept { --host.watches; }
};
using monitor = windows::basic_network_monitor<test_calls>;

struct tunnel {
    std::uint64_t number = 77;
    std::uint64_t luid() const noexcept { return number; }
};

void interface_changes(std::uint64_t luid, int kind) {
    api::interface_row row{};
    row.luid = luid;
    host.interfaces(host.context, &row, kind);
}

struct fixture {
    fixture() { host = {}; }
    ~fixture() { BOOST_TEST((host.handles == 0 && host.watches == 0)); }
};

} // namespace

BOOST_FIXTURE_TEST_CASE(reports_the_changes_of_one_interface, fixture) {
    monitor m;
    m.watch(tunnel{});
    BOOST_TEST((m && m.event() == &event_place && m.reports_link()));
    interface_changes(5, 0);
    host.interfaces(host.context, nullptr, 3); // the first call of Windows has no row
    BOOST_TEST(host.events_set == 0);
    interface_changes(77, 0);
    BOOST_TEST(host.events_set == 1);
    auto changes = m.read();
    BOOST_TEST((changes.link && !changes.link_left && !changes.routes));
    interface_changes(77, api::row_is_deleted);
    changes = m.read();
    BOOST_TEST((!changes.link && changes.link_left && !changes.routes));
    changes = m.read();
    BOOST_TEST((!changes.link && !changes.link_left && !changes.routes));
}

BOOST_FIXTURE_TEST_CASE(reports_all_changes_since_the_last_read_together, fixture) {
    monitor m;
    m.watch(tunnel{});
    host.routes(host.context, nullptr, 0);
    interface_changes(77, 1);
    host.addresses(host.context, nullptr, 2);
    BOOST_TEST(host.events_set == 3);
    auto const changes = m.read();
    BOOST_TEST((changes.link && changes.routes && !changes.link_left));
}

BOOST_FIXTURE_TEST_CASE(follows_another_interface_when_told, fixture) {
    monitor m;
    m.watch(tunnel{});
    m.watch(tunnel{78});
    interface_changes(77, 0);
    BOOST_TEST(!m.read().link);
    interface_changes(78, 0);
    BOOST_TEST(m.read().link);
}

BOOST_FIXTURE_TEST_CASE(looks_each_second_where_windows_reports_nothing, fixture) {
    for (int const refused : {0, 1, 2}) {
        host.refused = refused;
        monitor m;
        BOOST_TEST((m && m.event() == &timer_place && !m.reports_link() && host.timer_ms == 1000));
        BOOST_TEST(host.watches == 0);
        BOOST_TEST((m.read().routes && m.read().routes));
    }
}

BOOST_FIXTURE_TEST_CASE(says_that_there_is_no_event_left, fixture) {
    host.has_event = false;
    monitor without;
    BOOST_TEST((!without && without.event() == nullptr && host.watches == 0));
    host.has_event = true;
    host.refused = 1;
    host.has_timer = false;
    monitor no_timer;
    BOOST_TEST(!no_timer);
}

BOOST_AUTO_TEST_SUITE_END()
