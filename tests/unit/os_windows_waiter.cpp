// SPDX-License-Identifier: BSL-1.0
// The waiter of os/windows with events and a clock of the test.
#include "wg/os/windows/waiter.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_waiter)

namespace {

namespace windows = wg::os::windows;

struct test_event {
    bool set = false;
    bool resets = false; ///< by a wait
    bool is_closed = false;
};

/// The host of the waiter: its time, and what happens while it sleeps.
struct host_state {
    wg::instant now{1'000'000'000};
    std::vector<std::uint32_t> timeouts; ///< of the waits for several events
    std::function<void()> during_sleep = [] {};
    bool refuses_events = false;
    int events = 0, yields = 0;
} host;

struct test_calls {
    struct clock {
        wg::instant now() const noexcept { return host.now; }
    };
    static void close(void* event) noexcept {
        delete static_cast<test_event*>(event);
        --host.events;
    }
    static void* create_event() noexcept {
        if (host.refuses_events) return nullptr;
        ++host.events;
        return new test_event{false, true};
    }
    static void set_event(void* event) noexcept { static_cast<test_event*>(event)->set = true; }
    static void give_way() noexcept {
        ++host.yields;
        host.now = host.now + wg::milliseconds(1);
    }
    static std::uint32_t wait(void* const* objects, std::uint32_t count, std::uint32_t milliseconds) noexcept {
        BOOST_TEST(count <= 64u);
        if (count > 1) host.timeouts.push_back(milliseconds);
        for (int look = 0; look < 2; ++look) {
            for (std::uint32_t i = 0; i < count; ++i)
                if (static_cast<test_event*>(objects[i])->is_closed) return 0xffffffff;
            for (std::uint32_t i = 0; i < count; ++i) {
                auto& event = *static_cast<test_event*>(objects[i]);
                if (!event.set) continue;
                if (event.resets) event.set = false;
                return i;
            }
            if (milliseconds == 0 || look == 1) break;
            host.now = host.now + wg::milliseconds(milliseconds);
            host.during_sleep();
        }
        return 258;
    }
};
using test_waiter = windows::basic_waiter<test_calls>;

wg::instant after(std::int64_t ms) { return host.now + wg::milliseconds(ms); }
bool is_nothing(wg::readiness const& ready) { return !ready.tun && !ready.udp && ready.others == 0; }

} // namespace

BOOST_AUTO_TEST_CASE(reports_every_event_that_is_set) {
    host = {};
    test_event tun{false, true}, udp, first, last;
    test_waiter waiter(&tun, &udp);
    waiter.watch_other(0, &first);
    waiter.watch_other(31, &last);
    udp.set = true;
    auto ready = waiter.wait(after(1000));
    BOOST_TEST((!ready.tun && ready.udp && ready.others == 0));
    tun.set = first.set = last.set = true;
    ready = waiter.wait(after(1000));
    BOOST_TEST((ready.tun && ready.udp && ready.others == 0x80000001u));
    ready = waiter.wait(after(1000));
    BOOST_TEST((!ready.tun && ready.udp && ready.others == 0x80000001u)); // the wait has reset the TUN device's event
    waiter.watch_udp(nullptr);
    waiter.watch_other(31, nullptr);
    ready = waiter.wait(after(1000));
    BOOST_TEST((!ready.tun && !ready.udp && ready.others == 1));
}

BOOST_AUTO_TEST_CASE(returns_at_the_deadline_and_not_before) {
    host = {};
    test_event tun;
    test_waiter waiter(&tun);
    wg::instant const deadline = host.now + wg::duration{1'500'000}; // 1.5 ms
    BOOST_TEST(is_nothing(waiter.wait(deadline)));
    BOOST_TEST((host.now >= deadline && host.now < deadline + wg::milliseconds(1)));
    BOOST_TEST((host.timeouts == std::vector<std::uint32_t>{2, 0}));
}

BOOST_AUTO_TEST_CASE(only_looks_when_the_deadline_has_passed) {
    host = {};
    test_event tun;
    test_waiter waiter(&tun);
    BOOST_TEST(is_nothing(waiter.wait(host.now)));
    BOOST_TEST(is_nothing(waiter.wait({})));
    tun.set = true;
    BOOST_TEST(waiter.wait({}).tun);
    BOOST_TEST((host.timeouts == std::vector<std::uint32_t>{0, 0, 0}));
}

BOOST_AUTO_TEST_CASE(notices_a_deadline_that_passed_while_the_host_slept) {
    host = {};
    test_event tun;
    test_waiter waiter(&tun);
    bool slept = false;
    host.during_sleep = [&] {
        if (!slept) host.now = host.now + wg::seconds(3600); // timeouts stand still in that time
        slept = true;
    };
    wg::instant const begin = host.now;
    BOOST_TEST(is_nothing(waiter.wait(begin + wg::seconds(600))));
    BOOST_TEST((host.now - begin <= wg::seconds(3600) + test_waiter::max_sleep));
    BOOST_TEST(host.timeouts.front() == 5000u);
}

BOOST_AUTO_TEST_CASE(sleeps_on_without_a_deadline) {
    host = {};
    test_event udp;
    test_waiter waiter(nullptr, &udp);
    int sleeps = 0;
    host.during_sleep = [&] { udp.set = ++sleeps == 4; };
    BOOST_TEST(waiter.wait(wg::instant::never()).udp);
    BOOST_TEST(sleeps == 4);
}

BOOST_AUTO_TEST_CASE(a_wake_up_ends_one_wait) {
    host = {};
    test_event tun;
    test_waiter waiter(&tun);
    BOOST_TEST(static_cast<bool>(waiter));
    waiter.wake();
    waiter.wake();
    wg::instant const begin = host.now;
    BOOST_TEST(is_nothing(waiter.wait(after(1000))));
    BOOST_TEST((host.now == begin));
    BOOST_TEST(is_nothing(waiter.wait(after(1000))));
    BOOST_TEST((host.now == begin + wg::milliseconds(1000)));
    host.during_sleep = [&] { waiter.wake(); };
    BOOST_TEST(is_nothing(waiter.wait(wg::instant::never())));
}

BOOST_AUTO_TEST_CASE(a_closed_event_counts_as_set) {
    host = {};
    test_event tun, udp, other;
    test_waiter waiter(&tun, &udp);
    waiter.watch_other(3, &other);
    udp.is_closed = true;
    auto ready = waiter.wait(after(1000));
    BOOST_TEST((!ready.tun && ready.udp && ready.others == 0));
    other.set = true;
    ready = waiter.wait(after(1000));
    BOOST_TEST((!ready.tun && ready.udp && ready.others == 8));
}

BOOST_AUTO_TEST_CASE(polls_before_it_sleeps) {
    host = {};
    test_event tun;
    test_waiter waiter(&tun);
    BOOST_TEST(is_nothing(waiter.wait(after(10), wg::milliseconds(3))));
    BOOST_TEST((host.timeouts == std::vector<std::uint32_t>{0, 0, 0, 7, 0}));
    BOOST_TEST(host.yields == 3);
    host.timeouts.clear();
    BOOST_TEST(is_nothing(waiter.wait(after(2), wg::milliseconds(3))));
    BOOST_TEST((host.timeouts == std::vector<std::uint32_t>{0, 0, 0}));
}

BOOST_AUTO_TEST_CASE(works_without_a_wake_up_where_windows_has_no_event_left) {
    host = {};
    host.refuses_events = true;
    test_event tun;
    test_waiter waiter(&tun);
    BOOST_TEST(!waiter);
    waiter.wake();
    tun.set = true;
    BOOST_TEST(waiter.wait(after(1000)).tun);
}

BOOST_AUTO_TEST_CASE(closes_its_event_in_the_end) {
    host = {};
    { test_waiter waiter; }
    BOOST_TEST(host.events == 0);
}

BOOST_AUTO_TEST_SUITE_END()
