// SPDX-License-Identifier: BSL-1.0
// The small parts of os/linux: descriptors, clocks, random bytes, the region for secrets.
#include "wg/os/linux/clock.hpp"
#include "wg/os/error_text.hpp"
#include "wg/os/linux/fd.hpp"
#include "wg/os/linux/random.hpp"
#include "wg/os/linux/secret_region.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_linux_basics)

namespace {

static_assert(wg::clock_source<wg::os::clock>);
static_assert(wg::random_source<wg::os::random>);

// AddressSanitizer replaces mlock by a function that does nothing.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool memory_can_be_locked = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool memory_can_be_locked = false;
#else
constexpr bool memory_can_be_locked = true;
#endif
#else
constexpr bool memory_can_be_locked = true;
#endif

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

/// The VmFlags of the mapping that holds `address`, as the kernel reports them; empty if there is none.
std::set<std::string> flags_at(void const* address) {
    auto const wanted = reinterpret_cast<std::uintptr_t>(address);
    std::ifstream smaps("/proc/self/smaps");
    bool inside = false;
    for (std::string line; std::getline(smaps, line);) {
        unsigned long from = 0, to = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = from <= wanted && wanted < to;
        if (inside && line.rfind("VmFlags:", 0) == 0) {
            std::istringstream words(line.substr(8));
            std::set<std::string> flags;
            for (std::string word; words >> word;) flags.insert(word);
            return flags;
        }
    }
    return {};
}

/// The signal that ends a child which runs `action`, or 0 if no signal does.
template <class Action> int signal_of_child(Action action) {
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const number : {SIGSEGV, SIGBUS, SIGABRT}) ::signal(number, SIG_DFL);
        action();
        ::_exit(0);
    }
    int how = -1;
    BOOST_REQUIRE_EQUAL(::waitpid(child, &how, 0), child);
    return WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how);
}

} // namespace

BOOST_AUTO_TEST_CASE(fd_closes_its_descriptor_once) {
    int ends[2];
    BOOST_REQUIRE_EQUAL(::pipe(ends), 0);
    {
        wg::os::unique_fd a(ends[0]), b(ends[1]);
        BOOST_TEST(static_cast<bool>(a));
        wg::os::unique_fd c(std::move(a));
        BOOST_TEST(!a);
        BOOST_TEST(c.get() == ends[0]);
        c = std::move(b); // closes the first end
        BOOST_TEST(!is_open(ends[0]));
        BOOST_TEST(is_open(ends[1]));
        BOOST_TEST(c.release() == ends[1]);
    }
    BOOST_TEST(is_open(ends[1])); // released: the object no longer owns it
    ::close(ends[1]);
}

BOOST_AUTO_TEST_CASE(fd_reset_keeps_errno) {
    wg::os::unique_fd fd(12345); // not open: close fails with EBADF
    errno = ENOENT;
    fd.reset();
    BOOST_TEST(errno == ENOENT);
}

BOOST_AUTO_TEST_CASE(error_text_is_cut_and_terminated) {
    wg::os::error_text text;
    BOOST_TEST(text.empty());
    text.set("descriptor ", 7, " and ", std::size_t{12}, "`", std::string_view("x"), "`: ", -1);
    BOOST_TEST(std::string(text.c_str()) == "descriptor 7 and 12`x`: -1");
    BOOST_TEST(text.view().size() == 26u);
    std::string const most(253, 'x'); // and two characters more
    text.set("1", std::string(1000, 'x'), 12345);
    BOOST_TEST(text.view().size() == 255u);
    BOOST_TEST(text.view().starts_with("1x"));
    BOOST_TEST(text.view().ends_with("xx"));
    text.set(most, 12345);
    BOOST_TEST(text.view().size() == 255u);
    BOOST_TEST(text.view().ends_with("xx12"));
    BOOST_TEST(text.c_str()[255] == '\0');
    text.set();
    BOOST_TEST(text.empty());
    text.set(std::string(1000, 'x'));
    BOOST_TEST(std::string(text.c_str()) == std::string(255, 'x'));
}

BOOST_AUTO_TEST_CASE(clock_never_goes_back_and_counts_boot_time) {
    wg::os::clock clock;
    wg::instant last = clock.now();
    for (int i = 0; i < 1000; ++i) {
        wg::instant const now = clock.now();
        BOOST_REQUIRE(now >= last);
        last = now;
    }
    timespec boot{};
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    wg::duration const apart = wg::instant{std::int64_t{boot.tv_sec} * 1'000'000'000 + boot.tv_nsec} - last;
    BOOST_TEST(apart.nanoseconds >= 0);
    BOOST_TEST(apart.nanoseconds < 1'000'000'000);
}

BOOST_AUTO_TEST_CASE(tai64n_is_big_endian_seconds_and_nanoseconds) {
    // libtai's documentation gives the label 400000002a2b2c2d for 1992-06-02 08:07:09 TAI, second 707472429 since 1970.
    // WireGuard takes TAI to be 10 s ahead of the UNIX clock at any time.
    std::array<wg::byte, wg::timestamp_bytes> label{};
    wg::os::clock::tai64n_of({707472429 - 10, 0x01020304}, label);
    std::array<wg::byte, 12> const expected = {0x40, 0, 0, 0, 0x2a, 0x2b, 0x2c, 0x2d, 1, 2, 3, 4};
    BOOST_TEST(label == expected, boost::test_tools::per_element());

    timespec before{}, after{};
    ::clock_gettime(CLOCK_REALTIME, &before);
    wg::os::clock{}.tai64n(label);
    ::clock_gettime(CLOCK_REALTIME, &after);
    std::uint64_t const seconds = wg::load_be64(label.data()) - 0x400000000000000aU;
    BOOST_TEST(seconds >= static_cast<std::uint64_t>(before.tv_sec));
    BOOST_TEST(seconds <= static_cast<std::uint64_t>(after.tv_sec));
    BOOST_TEST(wg::load_be32(label.data() + 8) < 1'000'000'000u);
}

BOOST_AUTO_TEST_CASE(random_fills_all_and_differs) {
    wg::os::random random;
    std::vector<wg::byte> a(70'000), b(70'000); // more than one call of getrandom may return at once
    BOOST_REQUIRE(random.fill(a));
    BOOST_REQUIRE(random.fill(b));
    BOOST_TEST((a != b));
    // 64 equal bytes in a row: a chance of 2^-504 if they are random, certain if they were not written.
    BOOST_TEST((std::search_n(a.begin(), a.end(), 64, wg::byte{0}) == a.end()));
    BOOST_TEST(random.fill({}));
}

BOOST_AUTO_TEST_CASE(region_allocates_zeroed_aligned_memory_that_does_not_move) {
    wg::os::secret_region region;
    std::vector<wg::byte*> given;
    for (std::size_t const size : {1u, 63u, 64u, 65u, 4096u, 200'000u, 1u}) {
        auto* const memory = static_cast<wg::byte*>(region.allocate(size));
        BOOST_REQUIRE(memory != nullptr);
        BOOST_TEST(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0u);
        BOOST_TEST(std::all_of(memory, memory + size, [](wg::byte b) { return b == 0; }));
        std::fill_n(memory, size, static_cast<wg::byte>(given.size() + 1)); // an overlap would show below
        given.push_back(memory);
    }
    for (std::size_t i = 0; i < given.size(); ++i) BOOST_TEST(*given[i] == i + 1);
    wg::bytes_view const all = region.committed();
    BOOST_TEST(given.back() < all.data() + all.size());
    BOOST_TEST(given.front() == all.data());
}

BOOST_AUTO_TEST_CASE(region_is_kept_out_of_dumps_forks_and_swap) {
    wg::os::secret_region region;
    void* const memory = region.allocate(100);
    BOOST_REQUIRE(memory != nullptr);
    auto const flags = flags_at(memory);
    BOOST_TEST(flags.contains("dd"));
    BOOST_TEST(flags.contains("wf"));
    BOOST_TEST(region.undumped());
    BOOST_TEST(region.unforked());
    if (memory_can_be_locked) BOOST_TEST(flags.contains("lo") == region.locked());
    if (!region.locked()) BOOST_TEST_MESSAGE("not locked: no right to lock memory here");
    BOOST_TEST(!flags_at(&flags).contains("dd")); // ordinary memory has none of these flags
    BOOST_TEST(!flags_at(&flags).contains("wf"));
}

BOOST_AUTO_TEST_CASE(region_reads_zero_in_a_child) {
    wg::os::secret_region region;
    auto* const memory = static_cast<wg::byte*>(region.allocate(1));
    BOOST_REQUIRE(memory != nullptr);
    *memory = 0x5a;
    BOOST_TEST(signal_of_child([&] { ::_exit(*static_cast<wg::byte volatile*>(memory)); }) == 0);
    BOOST_TEST(*memory == 0x5a);
}

BOOST_AUTO_TEST_CASE(region_has_a_guard_page_on_either_side) {
    wg::os::secret_region region(wg::os::secret_region::step_bytes);
    auto* const memory = static_cast<wg::byte*>(region.allocate(wg::os::secret_region::step_bytes));
    BOOST_REQUIRE(memory != nullptr);
    auto const write = [](wg::byte* where) {
        return signal_of_child([=] { *static_cast<wg::byte volatile*>(where) = 1; });
    };
    BOOST_TEST(write(memory) == 0);
    BOOST_TEST(write(memory + wg::os::secret_region::step_bytes - 1) == 0);
    BOOST_TEST(write(memory - 1) == SIGSEGV);
    BOOST_TEST(write(memory + wg::os::secret_region::step_bytes) == SIGSEGV);
}

BOOST_AUTO_TEST_CASE(region_returns_null_when_it_is_used_up) {
    wg::os::secret_region region(1); // rounded up to a step
    BOOST_TEST(region.allocate(wg::os::secret_region::step_bytes + 1) == nullptr);
    BOOST_TEST(region.allocate(SIZE_MAX) == nullptr);
    BOOST_TEST(region.allocate(SIZE_MAX - 10) == nullptr);
    BOOST_TEST(region.allocate(wg::os::secret_region::step_bytes - 64) != nullptr);
    BOOST_TEST(region.allocate(64) != nullptr);
    BOOST_TEST(region.allocate(1) == nullptr);

    // Limits the addresses to less than the program itself uses.
    wg::os::secret_region impossible(SIZE_MAX - 3 * wg::os::secret_region::step_bytes);
    BOOST_TEST(impossible.allocate(1) == nullptr);
}

BOOST_AUTO_TEST_CASE(region_moves_with_its_memory) {
    wg::os::secret_region a;
    auto* const memory = static_cast<wg::byte*>(a.allocate(32));
    BOOST_REQUIRE(memory != nullptr);
    *memory = 7;
    wg::os::secret_region b(std::move(a));
    BOOST_TEST(*memory == 7);
    BOOST_TEST(a.allocate(1) == nullptr);
    wg::os::secret_region c;
    c = std::move(b);
    BOOST_TEST(*memory == 7);
    BOOST_TEST(c.committed().data() == memory);
    c = wg::os::secret_region(64);
    BOOST_TEST(signal_of_child([=] { ::_exit(*static_cast<wg::byte volatile*>(memory)); }) == SIGSEGV); // unmapped
}

BOOST_AUTO_TEST_SUITE_END()
