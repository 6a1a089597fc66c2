// SPDX-License-Identifier: BSL-1.0
// Event queues of macOS and the BSDs: the forms of their events, forks, and the waiter.
#include "kqueue_twin.hpp"
#include "wg/os/posix/kqueue/translation.hpp"
#include "wg/os/posix/kqueue/waiter.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <thread>

BOOST_AUTO_TEST_SUITE(os_posix_kqueue)

namespace {

using namespace wg_tests::kqueue;

/// struct kevent of macOS and OpenBSD.
struct signed_event {
    std::uintptr_t ident;
    std::int16_t filter;
    std::uint16_t flags;
    std::uint32_t fflags;
    std::int64_t data;
    void* udata;
};
/// struct kevent of NetBSD, whose filters are not negative.
struct unsigned_event {
    std::uintptr_t ident;
    std::uint32_t filter, flags, fflags;
    std::int64_t data;
    void* udata;
};
constexpr posix::kqueue_numbers macos{-1, -2, -4, -7, -10, true, 1, 2, 4, 0x80, 0x20, 0x01000000, 0x23, 1000};
constexpr posix::kqueue_numbers netbsd{0, 1, 3, 6, 8, true, 1, 2, 4, 0x80, 0x20, 0x01000000, 0x23, 1000};
constexpr posix::kqueue_numbers old_openbsd{-1, -2, -4, -7, 0, false, 1, 2, 4, 0x80, 0x20, 0, 0x23, 1000};

using queue = posix::event_queue<calls>;
using waiter = posix::basic_waiter<calls>;
static_assert(wg::waiter<waiter> && wg::waiter_with_busy_poll<waiter>);

wg::instant now() { return wg::os::clock{}.now(); }
wg::instant late() { return now() + wg::seconds(20); }

} // namespace

BOOST_AUTO_TEST_CASE(fills_the_event_of_each_kind_and_action) {
    signed_event e;
    BOOST_TEST(posix::fill_event(macos, e, event_kind::readable, 7, event_action::add, 5));
    BOOST_TEST((e.ident == 7 && e.filter == -1 && e.flags == 1 && e.fflags == 0 && e.data == 0));
    BOOST_TEST((reinterpret_cast<std::uintptr_t>(e.udata) == 5));
    BOOST_TEST(posix::fill_event(macos, e, event_kind::writable, 7, event_action::remove, 0));
    BOOST_TEST((e.filter == -2 && e.flags == 2));
    BOOST_TEST(posix::fill_event(macos, e, event_kind::readable, 7, event_action::add_once, 0));
    BOOST_TEST(e.flags == 0x81);
    BOOST_TEST(posix::fill_event(macos, e, event_kind::readable, 7, event_action::enable, 0));
    BOOST_TEST(e.flags == 4);
    BOOST_TEST(posix::fill_event(macos, e, event_kind::file, 9, event_action::add_edge, 1));
    BOOST_TEST((e.filter == -4 && e.flags == 0x21 && e.fflags == 0x23));
    BOOST_TEST(posix::fill_event(macos, e, event_kind::second, 0, event_action::add, 1));
    BOOST_TEST((e.filter == -7 && e.data == 1000 && e.fflags == 0));
    BOOST_TEST(posix::fill_event(macos, e, event_kind::user, 0, event_action::trigger, 0));
    BOOST_TEST((e.filter == -10 && e.flags == 0 && e.fflags == 0x01000000));
}

BOOST_AUTO_TEST_CASE(refuses_events_that_a_system_lacks) {
    signed_event e;
    BOOST_TEST(!posix::fill_event(old_openbsd, e, event_kind::user, 0, event_action::add_edge, 0));
    BOOST_TEST(!posix::fill_event(macos, e, event_kind::other, 0, event_action::add, 0));
    BOOST_TEST(!posix::fill_event(macos, e, event_kind::readable, 0, event_action::trigger, 0));
}

BOOST_AUTO_TEST_CASE(reads_events_of_each_system) {
    for (event_kind const kind :
         {event_kind::readable, event_kind::writable, event_kind::file, event_kind::second, event_kind::user}) {
        signed_event a;
        BOOST_TEST(posix::fill_event(macos, a, kind, 12, event_action::add, 34));
        queue_event const read = posix::read_event(macos, a);
        BOOST_TEST((read.kind == kind && read.source == 12 && read.number == 34));
        unsigned_event b;
        BOOST_TEST(posix::fill_event(netbsd, b, kind, 12, event_action::add, 34));
        queue_event const other = posix::read_event(netbsd, b);
        BOOST_TEST((other.kind == kind && other.source == 12 && other.number == 34));
    }
    signed_event unknown{3, -99, 0, 0, 0, nullptr};
    BOOST_TEST((posix::read_event(macos, unknown).kind == event_kind::other));
    unknown.filter = 0; // the number that stands for a missing filter
    BOOST_TEST((posix::read_event(old_openbsd, unknown).kind == event_kind::other));
}

BOOST_AUTO_TEST_CASE(bounds_timeouts) {
    BOOST_TEST((posix::timeout_of(wg::milliseconds(1500)).tv_sec == 1));
    BOOST_TEST((posix::timeout_of(wg::milliseconds(1500)).tv_nsec == 500'000'000));
    BOOST_TEST((posix::timeout_of(wg::milliseconds(-1)).tv_sec == 0));
    BOOST_TEST((posix::timeout_of(wg::milliseconds(-1)).tv_nsec == 0));
    BOOST_TEST((posix::timeout_of({INT64_MAX}).tv_sec == 86400));
}

BOOST_AUTO_TEST_CASE(a_child_of_a_fork_gets_a_queue_of_its_own) {
    fresh start;
    queue q;
    BOOST_TEST((!q && q.fd() == -1));
    BOOST_TEST((q.renewed() && !q.renewed()));
    int const first = q.fd();
    state.process = 2;
    unique_fd const other_file(::dup(first)); // a descriptor of the child may have the number of the parent's queue
    BOOST_TEST((q.renewed() && q.fd() >= 0));
    BOOST_TEST(::fcntl(first, F_GETFD) >= 0); // not closed: in the child it is another file
    BOOST_TEST(!q.renewed());
    BOOST_TEST(state.created == 2);
    ::close(first);
}

BOOST_AUTO_TEST_CASE(a_queue_that_cannot_be_made_reports_nothing) {
    fresh start;
    state.create_errno = EMFILE;
    queue q;
    BOOST_TEST(!q.renewed());
    queue_event events[1];
    BOOST_TEST(q.wait(events, wg::seconds(5)) == 0u);
    BOOST_TEST(!q.change(event_kind::readable, 0, event_action::add));
    state.create_errno = 0;
    BOOST_TEST(q.renewed()); // descriptors are left again
}

BOOST_AUTO_TEST_CASE(the_waiter_reports_the_descriptors_that_are_ready) {
    fresh start;
    pipe_ends tun, udp, first, last;
    waiter w(tun.from.get(), udp.from.get());
    BOOST_REQUIRE(static_cast<bool>(w));
    w.watch_other(0, first.from.get());
    w.watch_other(31, last.from.get());
    tun.put();
    auto ready = w.wait(late());
    BOOST_TEST((ready.tun && !ready.udp && ready.others == 0));
    udp.put();
    ready = w.wait(late());
    BOOST_TEST((ready.tun && ready.udp && ready.others == 0)); // nothing was read, so it is still ready
    first.put();
    last.put();
    ready = w.wait(wg::instant::never());
    BOOST_TEST((ready.tun && ready.udp && ready.others == 0x80000001u));
    w.watch_tun(-1);
    w.watch_udp(-1);
    w.watch_other(31);
    ready = w.wait(late());
    BOOST_TEST((!ready.tun && !ready.udp && ready.others == 1));
}

BOOST_AUTO_TEST_CASE(the_waiter_takes_objects_with_descriptors) {
    struct source {
        int number;
        int fd() const noexcept { return number; }
    };
    fresh start;
    pipe_ends tun, other;
    waiter w(source{tun.from.get()}, source{-1});
    w.watch_other(3, source{other.from.get()});
    other.put();
    BOOST_TEST(w.wait(late()).others == 8u);
    tun.put();
    BOOST_TEST(w.wait(late()).tun);
}

BOOST_AUTO_TEST_CASE(a_deadline_ends_the_wait) {
    fresh start;
    waiter w;
    wg::instant const begun = now();
    auto const ready = w.wait(begun + wg::milliseconds(30));
    BOOST_TEST((!ready.tun && !ready.udp && ready.others == 0));
    BOOST_TEST((now() - begun >= wg::milliseconds(30)));
    (void)w.wait(wg::instant{}); // in the past: only looks
    BOOST_TEST((state.timeouts.back() == wg::duration{}));
}

BOOST_AUTO_TEST_CASE(sleeps_five_seconds_at_most_without_a_look_at_the_clock) {
    fresh start;
    waiter w;
    std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        w.wake();
    });
    (void)w.wait(wg::instant::never());
    later.join();
    BOOST_TEST((state.timeouts.front() == waiter::max_sleep));
}

BOOST_AUTO_TEST_CASE(wake_ends_the_present_or_the_next_wait) {
    for (bool const has_user : {true, false}) {
        fresh start;
        if (!has_user) state.refused.insert(event_kind::user);
        waiter w;
        BOOST_REQUIRE(static_cast<bool>(w));
        w.wake();
        w.wake();
        (void)w.wait(wg::instant::never());
        wg::instant const begun = now();
        (void)w.wait(begun + wg::milliseconds(20)); // both were taken
        BOOST_TEST((now() - begun >= wg::milliseconds(20)));
        std::thread other([&] { w.wake(); });
        (void)w.wait(late());
        other.join();
    }
}

BOOST_AUTO_TEST_CASE(a_waiter_without_descriptors_says_so) {
    fresh start;
    state.create_errno = EMFILE;
    waiter w;
    BOOST_TEST(!w);
    auto const ready = w.wait(late()); // does not sleep without a queue
    BOOST_TEST(ready.others == 0u);
}

BOOST_AUTO_TEST_CASE(polls_before_it_sleeps) {
    fresh start;
    pipe_ends tun;
    waiter w(tun.from.get());
    (void)w.wait(now() + wg::milliseconds(20), wg::milliseconds(5));
    BOOST_TEST(state.timeouts.size() > 2u);
    BOOST_TEST((state.timeouts.front() == wg::duration{}));
    BOOST_TEST(std::ranges::count_if(state.timeouts, [](wg::duration d) { return d > wg::duration{}; }) > 0);
    tun.put();
    BOOST_TEST(w.wait(late(), wg::milliseconds(5)).tun);
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_is_watched_no_more_is_not_reported) {
    fresh start;
    pipe_ends one, two;
    waiter w(one.from.get());
    one.put();
    w.watch_tun(two.from.get());
    two.put();
    auto const ready = w.wait(late());
    BOOST_TEST(ready.tun);
    two.take();
    wg::instant const begun = now();
    BOOST_TEST(!w.wait(begun + wg::milliseconds(20)).tun);
}

BOOST_AUTO_TEST_SUITE_END()
