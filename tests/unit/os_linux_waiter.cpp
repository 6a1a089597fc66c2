// SPDX-License-Identifier: BSL-1.0
// Waiting for descriptors, deadlines and wake-ups.
#include "wg/os/linux/waiter.hpp"

#include <boost/test/unit_test.hpp>

#include <pthread.h>
#include <sys/resource.h>
#include <thread>

BOOST_AUTO_TEST_SUITE(os_linux_waiter)

namespace {

using wg::os::unique_fd;

struct pipe_ends {
    unique_fd from, to;
    pipe_ends() {
        int ends[2];
        BOOST_REQUIRE_EQUAL(::pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
        from.reset(ends[0]);
        to.reset(ends[1]);
    }
    void put() { BOOST_REQUIRE_EQUAL(::write(to.get(), "x", 1), 1); }
};

wg::instant now() { return wg::os::clock{}.now(); }
wg::instant soon() { return now() + wg::milliseconds(20); }
wg::instant late() { return now() + wg::seconds(20); }

} // namespace

BOOST_AUTO_TEST_CASE(reports_the_descriptors_that_are_ready) {
    pipe_ends tun, udp, first, last;
    wg::os::waiter waiter(tun.from.get(), udp.from.get());
    BOOST_REQUIRE(static_cast<bool>(waiter));
    waiter.watch_other(0, first.from.get());
    waiter.watch_other(31, last.from.get());
    wg::instant const start = now();
    tun.put();
    auto ready = waiter.wait(late());
    BOOST_TEST((ready.tun && !ready.udp && ready.others == 0));
    udp.put();
    ready = waiter.wait(late());
    BOOST_TEST((ready.tun && ready.udp && ready.others == 0)); // nothing was read, so it is still ready
    last.put();
    first.put();
    ready = waiter.wait(wg::instant::never());
    BOOST_TEST((ready.tun && ready.udp && ready.others == 0x80000001u));
    waiter.watch_tun(-1);
    waiter.watch_udp(-1);
    waiter.watch_other(31, -1);
    ready = waiter.wait(late());
    BOOST_TEST((!ready.tun && !ready.udp && ready.others == 1));
    BOOST_TEST((now() < start + wg::seconds(10)));
}

BOOST_AUTO_TEST_CASE(a_closed_other_end_counts_as_ready) {
    pipe_ends tun;
    wg::os::waiter waiter(tun.from.get(), -1);
    tun.to.reset();
    BOOST_TEST(waiter.wait(late()).tun);
}

BOOST_AUTO_TEST_CASE(polls_for_a_while_before_it_sleeps) {
    auto const times_slept = [] {
        rusage used{};
        BOOST_REQUIRE_EQUAL(::getrusage(RUSAGE_THREAD, &used), 0);
        return used.ru_nvcsw;
    };
    pipe_ends tun;
    wg::os::waiter waiter(tun.from.get(), -1);
    wg::instant deadline = soon();
    long const before = times_slept();
    BOOST_TEST(!waiter.wait(deadline, wg::seconds(20)).tun); // the deadline comes first
    BOOST_TEST((now() >= deadline));
    BOOST_TEST(times_slept() == before);
    deadline = soon();
    BOOST_TEST(!waiter.wait(deadline, wg::milliseconds(1)).tun); // and here last
    BOOST_TEST((now() >= deadline));
    BOOST_TEST(times_slept() > before);

    for (wg::duration const busy_poll : {wg::seconds(20), wg::milliseconds(1)}) { // it comes before and after
        std::thread later([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            tun.put();
        });
        BOOST_TEST(waiter.wait(late(), busy_poll).tun);
        later.join();
        char sink;
        BOOST_REQUIRE_EQUAL(::read(tun.from.get(), &sink, 1), 1);
    }
}

BOOST_AUTO_TEST_CASE(returns_at_the_deadline_and_not_before) {
    wg::os::waiter waiter;
    for (int i = 0; i < 3; ++i) {
        wg::instant const deadline = soon();
        auto const ready = waiter.wait(deadline);
        BOOST_TEST((!ready.tun && !ready.udp && ready.others == 0));
        BOOST_TEST((now() >= deadline));
    }
    // A timer that is armed for an earlier deadline does not end the wait for a later one.
    pipe_ends tun;
    waiter.watch_tun(tun.from.get());
    tun.put();
    BOOST_TEST(waiter.wait(soon()).tun); // armed, not used
    char sink;
    BOOST_REQUIRE_EQUAL(::read(tun.from.get(), &sink, 1), 1);
    wg::instant const later = now() + wg::milliseconds(60);
    waiter.wait(later);
    BOOST_TEST((now() >= later));
    // A timer that is armed for a later deadline does not delay an earlier one.
    tun.put();
    BOOST_TEST(waiter.wait(late()).tun);
    BOOST_REQUIRE_EQUAL(::read(tun.from.get(), &sink, 1), 1);
    wg::instant const start = now();
    waiter.wait(soon());
    BOOST_TEST((now() < start + wg::seconds(10)));
}

BOOST_AUTO_TEST_CASE(a_deadline_in_the_past_only_polls) {
    pipe_ends udp;
    wg::os::waiter waiter(-1, udp.from.get());
    BOOST_TEST(!waiter.wait({}).udp);
    BOOST_TEST(!waiter.wait({-5}).udp);
    udp.put();
    BOOST_TEST(waiter.wait({}).udp);
}

BOOST_AUTO_TEST_CASE(wake_ends_one_wait_even_if_it_came_before) {
    wg::os::waiter waiter;
    waiter.wake();
    waiter.wake();
    wg::instant const start = now();
    waiter.wait(wg::instant::never());
    wg::instant const deadline = soon();
    waiter.wait(deadline); // both wakes had their effect
    BOOST_TEST((now() >= deadline));
    BOOST_TEST((now() < start + wg::seconds(10)));
}

BOOST_AUTO_TEST_CASE(wakes_from_another_thread) {
    wg::os::waiter waiter;
    std::thread other([&] { waiter.wake(); });
    waiter.wait(wg::instant::never());
    other.join();
    BOOST_TEST(true, "the wait without limit has ended");
}

BOOST_AUTO_TEST_SUITE_END()
