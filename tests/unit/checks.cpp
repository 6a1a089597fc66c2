// SPDX-License-Identifier: BSL-1.0
// Misuse of the library ends a checked build, with a message that names file, line and condition.
#include "checks.hpp"
#include "fixture.hpp"

#include <thread>

BOOST_AUTO_TEST_SUITE(checks)

using namespace wg_tests;

BOOST_AUTO_TEST_CASE(an_assertion_prints_its_condition_and_its_place) {
    if (!wg::keeps_checks) return;
    is_caught(outcome_of([] { WG_ASSERT(1 + 1 == 3); }), "checks.cpp", "1 + 1 == 3");
    BOOST_TEST(outcome_of([] { WG_ASSERT(1 + 1 == 2); }).empty());
}

BOOST_AUTO_TEST_CASE(a_second_thread_in_a_device_for_one_thread_is_found) {
    if (!wg::keeps_checks) return;
    auto const outcome = outcome_of([] {
        world w;
        host a(w, 1);
        struct {
            host* of;
            void device(wg::interface_facts const&) noexcept { // the device is in the call of `snapshot`
                std::thread([this] { (void)of->device.peer_count(); }).join();
            }
            void peer(wg::peer_facts const&) noexcept {}
            void allowed_ip(wg::ip_prefix const&) noexcept {}
        } sink{&a};
        a.device.snapshot(sink);
    });
    is_caught(outcome, "one_thread.hpp", "!two_calls_at_once");
}

BOOST_AUTO_TEST_CASE(a_device_for_one_thread_may_move_to_another_thread) {
    world w;
    host a(w, 1);
    std::size_t count = 1;
    std::thread([&] { count = a.device.peer_count(); }).join();
    BOOST_TEST(count == 0u);
}

BOOST_AUTO_TEST_CASE(a_device_that_ends_before_its_jobs_is_found) {
    if (!wg::keeps_checks) return;
    auto const outcome = outcome_of([] {
        world w;
        auto a = std::make_unique<host>(w, 1);
        host b(w, 2);
        network net(w, {a.get(), &b});
        introduce(*a, b);
        a->send(ipv4(*a, b, 100));
        net.settle();
        auto const flight = a->prepare(ipv4(*a, b, 100));
        a.reset();
    });
    is_caught(outcome, "device.hpp", "!state_.peers.has_jobs()");
}

BOOST_AUTO_TEST_SUITE_END()
