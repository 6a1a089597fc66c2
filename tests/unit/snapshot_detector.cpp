// SPDX-License-Identifier: BSL-1.0
// Suspends by two clocks, and the page of the hypervisor.
#include "wg/os/linux/snapshot_detector.hpp"
#include "wg/os/windows/snapshot_detector.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

BOOST_AUTO_TEST_SUITE(snapshot_detector)

namespace {

struct fake_clocks {
    static inline std::atomic<std::int64_t> total = 0, awake = 0; // several threads read the clocks
    static inline std::int64_t delay = 0;                         ///< between two readings: the thread was interrupted

    static std::int64_t total_ns() noexcept { return total += delay; }
    static std::int64_t awake_ns() noexcept { return awake += delay; }
    static void set(std::int64_t total_ms, std::int64_t awake_ms) {
        total = total_ms * 1'000'000;
        awake = awake_ms * 1'000'000;
        delay = 0;
    }
};
using counter = wg::os::suspend_counter<fake_clocks>;

wg::instant at(std::int64_t ms) { return {ms * 1'000'000}; }

struct fake_file {
    static inline std::string name;
    static char const* path() noexcept { return name.c_str(); }
};
using fake_vmclock = wg::os::basic_vmclock<fake_file>;

/// The hypervisor's page in a file.
struct page {
    std::array<wg::byte, 4096> bytes{};
    std::string name = "/tmp/wg-vmclock-" + std::to_string(::getpid());

    page() {
        fake_file::name = name;
        wg::store_le32(&bytes[0], 0x4b4c4356);
        wg::store_le32(&bytes[4], 112);
        bytes[8] = 1;
        write();
    }
    ~page() { ::unlink(name.c_str()); }
    page(page const&) = delete;
    void write() const {
        wg::os::unique_fd const fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        BOOST_REQUIRE_EQUAL(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    }
    void set(std::size_t offset, std::uint64_t value) {
        wg::store_le64(&bytes[offset], value);
        write(); // the file is mapped, so the reader sees it
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_suspend_of_a_second_is_counted_once) {
    fake_clocks::set(1'000, 1'000);
    counter c;
    fake_clocks::set(5'000, 2'000); // three seconds of suspend
    c.look(at(5'000));
    BOOST_TEST(c.count() == 1u);
    c.look(at(7'000));
    BOOST_TEST(c.count() == 1u);
    fake_clocks::set(20'000, 3'000);
    c.look(at(20'000));
    BOOST_TEST(c.count() == 2u);
}

BOOST_AUTO_TEST_CASE(time_without_a_suspend_is_not_counted) {
    fake_clocks::set(1'000, 1'000);
    counter c;
    for (std::int64_t ms = 2'000; ms < 200'000; ms += 1'500) { // SIGSTOP, a debugger, a slow machine: both clocks go on
        fake_clocks::set(ms, ms);
        c.look(at(ms));
    }
    BOOST_TEST(c.count() == 0u);
}

BOOST_AUTO_TEST_CASE(a_thread_that_was_interrupted_between_two_readings_proves_no_suspend) {
    fake_clocks::set(1'000, 1'000);
    counter c;
    fake_clocks::set(9'000, 9'000);
    fake_clocks::delay = 5'000'000'000;
    c.look(at(9'000));
    BOOST_TEST(c.count() == 0u);
}

BOOST_AUTO_TEST_CASE(a_process_that_was_restored_on_another_host_is_counted) {
    fake_clocks::set(500'000, 100'000);
    counter c;
    fake_clocks::set(300'000, 300'000); // this host was suspended less
    c.look(at(600'000));
    BOOST_TEST(c.count() == 1u);
}

BOOST_AUTO_TEST_CASE(a_time_before_the_last_look_counts_nothing_and_hides_nothing) {
    fake_clocks::set(100'000, 100'000);
    counter c;
    c.look(at(100'000));
    for (std::int64_t const ms : {99'999, 99'000, 50'000, 1, 0}) { // another thread has read the time before us
        c.look(at(ms));
        BOOST_TEST(c.count() == 0u);
    }
    c.look(at(100'000));
    fake_clocks::set(105'000, 101'000); // four seconds of suspend
    c.look(at(99'500));
    BOOST_TEST(c.count() == 1u);
    c.look(at(105'000));
    c.look(at(99'500));
    BOOST_TEST(c.count() == 1u);
}

BOOST_AUTO_TEST_CASE(threads_that_notice_a_suspend_together_count_it_once) {
    for (int round = 0; round < 50; ++round) {
        fake_clocks::set(1'000, 1'000);
        counter c;
        c.look(at(1'000));
        fake_clocks::set(9'000, 2'000);
        std::atomic<int> ready{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] {
                for (++ready; ready < 4;) std::this_thread::yield();
                c.look(at(9'000));
            });
        for (std::thread& t : threads) t.join();
        BOOST_TEST(c.count() == 1u);
    }
}

namespace {

struct windows_time {
    static inline std::uint64_t ticks_ms = 0, unbiased = 0;
    static std::uint64_t tick_count_ms() noexcept { return ticks_ms; }
    static std::uint64_t unbiased_time() noexcept { return unbiased; }
};
using windows_clocks = wg::os::windows::basic_suspend_clocks<windows_time>;

} // namespace

BOOST_AUTO_TEST_CASE(the_clocks_of_windows_show_sleep_in_nanoseconds) {
    windows_time::ticks_ms = 5'000;
    windows_time::unbiased = 30'000'000; // three seconds in units of 100 ns
    BOOST_TEST(windows_clocks::total_ns() == 5'000'000'000);
    BOOST_TEST(windows_clocks::awake_ns() == 3'000'000'000);
    wg::os::suspend_counter<windows_clocks> c;
    windows_time::ticks_ms += 60'016; // a step of the tick count later than the other clock
    windows_time::unbiased += 600'000'000;
    c.look(at(65'000));
    BOOST_TEST(c.count() == 0u);
    windows_time::ticks_ms += 3'600'000; // an hour, ten seconds of it awake
    windows_time::unbiased += 100'000'000;
    c.look(at(3'665'000));
    BOOST_TEST(c.count() == 1u);
}

BOOST_AUTO_TEST_CASE(without_a_clock_that_stops_no_sleep_of_windows_is_seen) {
    windows_time::ticks_ms = 5'000;
    windows_time::unbiased = 0;
    BOOST_TEST(windows_clocks::awake_ns() == windows_clocks::total_ns());
    wg::os::suspend_counter<windows_clocks> c;
    windows_time::ticks_ms += 3'600'000;
    c.look(at(3'605'000));
    BOOST_TEST(c.count() == 0u);
}

BOOST_AUTO_TEST_CASE(a_change_of_the_hypervisors_page_is_another_generation) {
    page p;
    p.set(24, 1u << 8); // the counter of loaded snapshots is there
    fake_vmclock const clock;
    BOOST_REQUIRE(static_cast<bool>(clock));
    std::uint64_t const first = clock.generation();
    p.set(16, 7); // the marker of disruptions
    std::uint64_t const second = clock.generation();
    BOOST_TEST(second != first);
    p.set(104, 1); // the counter
    BOOST_TEST(clock.generation() != second);
    BOOST_TEST(clock.generation() != first);
}

BOOST_AUTO_TEST_CASE(a_counter_that_the_hypervisor_does_not_have_is_ignored) {
    page p;
    fake_vmclock const clock;
    std::uint64_t const first = clock.generation();
    p.set(104, 99);
    BOOST_TEST(clock.generation() == first);
}

BOOST_AUTO_TEST_CASE(without_a_page_or_with_another_file_the_generation_stays_the_same) {
    {
        page p;
        p.bytes[0] = 0; // another magic number
        p.write();
        BOOST_TEST(!fake_vmclock());
        p.bytes[0] = 0x56;
        p.bytes[8] = 2; // another version
        p.write();
        BOOST_TEST(!fake_vmclock());
        BOOST_REQUIRE(::truncate(p.name.c_str(), 31) == 0);
        BOOST_TEST(!fake_vmclock());
    }
    fake_vmclock const none;
    BOOST_TEST(!none);
    BOOST_TEST(none.generation() == 0u);
}

BOOST_AUTO_TEST_CASE(the_detector_of_this_host_keeps_its_generation) {
    wg::os::snapshot_detector d;
    std::uint64_t const first = d.generation();
    for (int i = 0; i < 10; ++i) d.look(at(2'000 * i));
    BOOST_TEST(d.generation() == first);
}

BOOST_AUTO_TEST_SUITE_END()
