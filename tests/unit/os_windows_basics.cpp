// SPDX-License-Identifier: BSL-1.0
// The small parts of os/windows with other calls in place of those of Windows: errors, handles, clocks, random bytes,
// the region for secrets.
#include "wg/os/windows/clock.hpp"
#include "wg/os/windows/error.hpp"
#include "wg/os/windows/handle.hpp"
#include "wg/os/windows/random.hpp"
#include "wg/os/windows/secret_region.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_basics)

namespace {

namespace windows = wg::os::windows;

std::vector<void*> closed;

struct counted_close {
    static void close(void* handle) noexcept { closed.push_back(handle); }
};
using counted_handle = windows::basic_handle<counted_close>;

void* number(std::uintptr_t n) { return reinterpret_cast<void*>(n); }

} // namespace

BOOST_AUTO_TEST_CASE(error_numbers_become_statuses) {
    using wg::status;
    auto const is = [](int error, status s) { return windows::status_of(error) == s; };
    BOOST_TEST(is(0, status::ok));
    for (int const error : {5, 1314, 10013}) BOOST_TEST(is(error, status::no_permission));
    for (int const error : {183, 5010, 10048}) BOOST_TEST(is(error, status::address_in_use));
    for (int const error : {50, 120, 127, 10042, 10043, 10045, 10047}) BOOST_TEST(is(error, status::not_supported));
    for (int const error : {8, 14, 1450, 10024, 10055}) BOOST_TEST(is(error, status::no_memory));
    for (int const error : {87, 10022}) BOOST_TEST(is(error, status::invalid));
    BOOST_TEST(is(10035, status::would_block));
    for (int const error : {1, 6, 10054, -1}) BOOST_TEST(is(error, status::io_error));
}

namespace {

std::string message_text;

struct scripted_message {
    static std::uint32_t message(int, char* text, std::uint32_t size) noexcept {
        if (message_text.size() >= size) return static_cast<std::uint32_t>(message_text.size());
        std::copy(message_text.begin(), message_text.end(), text);
        return static_cast<std::uint32_t>(message_text.size());
    }
};

std::string text_for(std::string const& message) {
    message_text = message;
    return std::string(windows::basic_system_text<scripted_message>(5).view());
}

} // namespace

BOOST_AUTO_TEST_CASE(error_text_has_no_full_stop_and_no_line_break) {
    BOOST_TEST(text_for("Access is denied.\r\n") == "Access is denied");
    BOOST_TEST(text_for("Access is denied") == "Access is denied");
    BOOST_TEST(text_for("") == "unknown error");
    BOOST_TEST(text_for(".\r\n") == "unknown error");
    BOOST_TEST(text_for(std::string(255, 'x')) == std::string(255, 'x'));
    BOOST_TEST(text_for(std::string(256, 'x')) == "unknown error");
}

BOOST_AUTO_TEST_CASE(a_handle_is_closed_once_by_its_last_owner) {
    closed.clear();
    {
        counted_handle none, null(nullptr), invalid(number(~std::uintptr_t{0})), first(number(4)), second(number(8));
        BOOST_TEST((!none && !null && !invalid && first && second));
        counted_handle moved(std::move(first));
        BOOST_TEST((!first && moved.get() == number(4)));
        moved = std::move(second);
        BOOST_TEST((closed == std::vector<void*>{number(4)}));
        auto& same = moved;
        moved = std::move(same);
        BOOST_TEST(moved.get() == number(8));
        moved.reset(number(12));
        BOOST_TEST((closed == std::vector<void*>{number(4), number(8)}));
        BOOST_TEST(moved.release() == number(12));
        moved.reset(number(16));
    }
    BOOST_TEST((closed == std::vector<void*>{number(4), number(8), number(16)}));
}

namespace {

std::uint64_t interrupt_time_now = 0, ticks_now = 0, system_time_now = 0;
bool has_interrupt_time = true;

struct scripted_clock {
    using interrupt_time = void(std::uint64_t*) noexcept;
    static interrupt_time* find_interrupt_time() noexcept {
        if (!has_interrupt_time) return nullptr;
        return [](std::uint64_t* time) noexcept { *time = interrupt_time_now; };
    }
    static std::uint64_t tick_count_ms() noexcept { return ticks_now; }
    static std::uint64_t system_time() noexcept { return system_time_now; }
};
using test_clock = windows::basic_clock<scripted_clock>;

} // namespace

BOOST_AUTO_TEST_CASE(the_clock_counts_nanoseconds_of_interrupt_time) {
    has_interrupt_time = true;
    ticks_now = 77;
    interrupt_time_now = 12'345'678'901;
    test_clock const clock;
    BOOST_TEST(clock.now().nanoseconds == 1'234'567'890'100);
    interrupt_time_now = ~std::uint64_t{0};
    BOOST_TEST(clock.now().nanoseconds >= 0);
}

BOOST_AUTO_TEST_CASE(the_clock_counts_ticks_where_there_is_no_interrupt_time) {
    has_interrupt_time = false;
    ticks_now = 5'000'016;
    interrupt_time_now = 1;
    test_clock const clock;
    BOOST_TEST(clock.now().nanoseconds == 5'000'016'000'000);
    ticks_now = ~std::uint64_t{0};
    BOOST_TEST(clock.now().nanoseconds >= 0);
}

BOOST_AUTO_TEST_CASE(timestamps_are_tai64n_labels_of_the_system_time) {
    std::array<wg::byte, wg::timestamp_bytes> label{};
    system_time_now = 132'539'328'001'234'567; // 2021-01-01 00:00:00.1234567 UTC
    test_clock().tai64n(label);
    BOOST_TEST(wg::unix_seconds_of(label) == 1'609'459'200);
    BOOST_TEST(wg::nanoseconds_of(label) == 123'456'700u);
    test_clock::tai64n_of(116'444'736'000'000'000 + 9'999'999, label);
    BOOST_TEST(wg::unix_seconds_of(label) == 0);
    BOOST_TEST(wg::nanoseconds_of(label) == 999'999'900u);
    for (std::uint64_t const before : {std::uint64_t{0}, std::uint64_t{116'444'735'999'999'999}}) {
        test_clock::tai64n_of(before, label);
        BOOST_TEST(wg::unix_seconds_of(label) == 0);
        BOOST_TEST(wg::nanoseconds_of(label) == 0u);
    }
}

namespace {

std::int32_t random_answer = 0;

struct scripted_random {
    static std::int32_t generate(wg::byte* out, std::uint32_t size) noexcept {
        std::fill_n(out, size, wg::byte{0xab});
        return random_answer;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(random_bytes_fill_all_of_the_buffer_or_are_wiped) {
    windows::basic_random<scripted_random> const random;
    std::array<wg::byte, 40> out{};
    random_answer = 0;
    BOOST_TEST(random.fill({out.data(), 32}));
    BOOST_TEST(std::count(out.begin(), out.end(), 0xab) == 32);
    BOOST_TEST(random.fill({}));
    random_answer = static_cast<std::int32_t>(0xc0000001u);
    BOOST_TEST(!random.fill(out));
    BOOST_TEST(std::count(out.begin(), out.end(), 0) == 40);
}

namespace {

/// What the fake memory of `scripted_region` has seen, and what it refuses.
struct memory_state {
    std::size_t reserved = 0, committed = 0, releases = 0, raises = 0;
    std::vector<void const*> locked, excluded, included;
    bool refuses_reservation = false, refuses_commit = false, refuses_raise = false, has_exclusion = true;
    std::size_t excludable = 512;  ///< blocks that can be excluded
    std::vector<int> lock_answers; ///< of the next locks; then 0
    wg::byte* base = nullptr;
    bool was_wiped = false; ///< at the release
} memory;

struct scripted_region {
    using exclude_function = std::int32_t(void const*, std::uint32_t) noexcept;
    using include_function = std::int32_t(void const*) noexcept;
    static constexpr std::align_val_t page{4096};

    static void* reserve(std::size_t size) noexcept {
        if (memory.refuses_reservation) return nullptr;
        memory.reserved = size;
        memory.base = static_cast<wg::byte*>(::operator new(size, page));
        std::fill_n(memory.base, size, wg::byte{0});
        return memory.base;
    }
    static bool commit(void*, std::size_t size) noexcept {
        if (memory.refuses_commit) return false;
        memory.committed += size;
        return true;
    }
    static void release(void* from) noexcept {
        memory.was_wiped =
            std::count(memory.base, memory.base + memory.reserved, 0) == static_cast<std::ptrdiff_t>(memory.reserved);
        ::operator delete(from, page);
        ++memory.releases;
    }
    static int lock(void* from, std::size_t) noexcept {
        int const answer = memory.lock_answers.empty() ? 0 : memory.lock_answers.front();
        if (!memory.lock_answers.empty()) memory.lock_answers.erase(memory.lock_answers.begin());
        if (answer == 0) memory.locked.push_back(from);
        return answer;
    }
    static bool raise_working_set(std::size_t more) noexcept {
        memory.raises += more;
        return !memory.refuses_raise;
    }
    static exclude_function* find_exclude() noexcept {
        if (!memory.has_exclusion) return nullptr;
        return [](void const* from, std::uint32_t) noexcept -> std::int32_t {
            if (memory.excluded.size() == memory.excludable) return -1;
            memory.excluded.push_back(from);
            return 0;
        };
    }
    static include_function* find_include() noexcept {
        return [](void const* from) noexcept -> std::int32_t {
            memory.included.push_back(from);
            return 0;
        };
    }
};
using test_region = windows::basic_secret_region<scripted_region>;

constexpr std::size_t step = test_region::step_bytes;
constexpr int quota = 1453; // ERROR_WORKING_SET_QUOTA

} // namespace

BOOST_AUTO_TEST_CASE(the_region_commits_locks_and_excludes_memory_step_by_step) {
    memory = {};
    {
        test_region region(3 * step - 1);
        BOOST_TEST(memory.reserved == 3 * step + 2 * 4096); // with two guard pages
        BOOST_TEST(memory.committed == 0u);
        auto* const first = static_cast<wg::byte*>(region.allocate(1));
        BOOST_REQUIRE((first == memory.base + 4096));
        BOOST_TEST(memory.committed == step);
        auto* const second = static_cast<wg::byte*>(region.allocate(step));
        BOOST_REQUIRE((second == first + 64));
        BOOST_TEST(memory.committed == 2 * step);
        BOOST_TEST(region.committed().size() == 2 * step);
        std::fill_n(second, step, wg::byte{0x5a});
        BOOST_TEST(region.allocate(2 * step) == nullptr);
        BOOST_TEST(region.allocate(SIZE_MAX) == nullptr);
        BOOST_TEST(region.allocate(2 * step - 64) != nullptr);
        BOOST_TEST(region.allocate(1) == nullptr);
        BOOST_TEST((region.locked() && region.undumped() && region.unforked()));
        BOOST_TEST(memory.locked.size() == 3u);
        BOOST_TEST(memory.excluded.size() == 3u);
    }
    BOOST_TEST(memory.was_wiped);
    BOOST_TEST(memory.releases == 1u);
    BOOST_TEST((memory.included == memory.excluded));
}

BOOST_AUTO_TEST_CASE(the_region_raises_the_working_set_to_lock_more) {
    memory = {};
    memory.lock_answers = {quota, 0};
    test_region region(4 * step);
    BOOST_TEST(region.allocate(1) != nullptr);
    BOOST_TEST(region.locked());
    BOOST_TEST(memory.raises == step);
    memory.lock_answers = {quota, quota};
    BOOST_TEST(region.allocate(step) != nullptr);
    BOOST_TEST(!region.locked());
}

BOOST_AUTO_TEST_CASE(the_region_works_where_windows_refuses_to_lock_or_to_exclude) {
    for (int const refusal : {0, 1, 2, 3}) {
        memory = {};
        if (refusal == 0) memory.lock_answers = {5};
        if (refusal == 1) memory.lock_answers = {quota}, memory.refuses_raise = true;
        if (refusal == 2) memory.has_exclusion = false;
        if (refusal == 3) memory.excludable = 1;
        test_region region(4 * step);
        BOOST_TEST(region.allocate(2 * step) != nullptr);
        BOOST_TEST(region.locked() == (refusal > 1));
        BOOST_TEST(region.undumped() == (refusal < 2));
    }
}

BOOST_AUTO_TEST_CASE(the_region_has_no_memory_where_windows_has_none) {
    memory = {};
    memory.refuses_reservation = true;
    {
        test_region region(step);
        BOOST_TEST(region.allocate(1) == nullptr);
        test_region impossible(SIZE_MAX);
        BOOST_TEST(impossible.allocate(1) == nullptr);
    }
    BOOST_TEST(memory.releases == 0u);
    memory = {};
    test_region region(step);
    memory.refuses_commit = true;
    BOOST_TEST(region.allocate(1) == nullptr);
    memory.refuses_commit = false;
    BOOST_TEST(region.allocate(1) != nullptr);
}

BOOST_AUTO_TEST_CASE(a_moved_region_releases_its_memory_once) {
    memory = {};
    {
        test_region first(step);
        void* const allocated = first.allocate(64);
        test_region second(std::move(first));
        BOOST_TEST(first.allocate(1) == nullptr);
        BOOST_TEST((second.committed().data() == allocated));
        first = std::move(second);
        BOOST_TEST((first.committed().data() == allocated));
        BOOST_TEST(memory.releases == 0u);
    }
    BOOST_TEST(memory.releases == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
