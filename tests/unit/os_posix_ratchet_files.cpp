// SPDX-License-Identifier: BSL-1.0
// The files that keep the ratchets of preshared keys, also when the power is lost between two system calls.
#include "wg/os/posix/process/ratchet_files.hpp"
#include "wg/os/unsaved_ratchets.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_posix_ratchet_files)

using wg::os::posix::basic_ratchet_files, wg::os::posix::ratchet_file_calls, wg::os::posix::ratchet_files;
using record = wg::byte_array<wg::ratchet_record_bytes>;

namespace {

struct own_directory {
    char path[32] = "/tmp/wg-ratchet-XXXXXX";
    own_directory() { BOOST_REQUIRE(::mkdtemp(path) != nullptr); }
    ~own_directory() { std::filesystem::remove_all(path); }

    /// All files below, and their content.
    std::vector<std::pair<std::string, std::string>> files() const {
        std::vector<std::pair<std::string, std::string>> all;
        for (auto const& one : std::filesystem::recursive_directory_iterator(path))
            if (one.is_regular_file()) {
                std::ifstream from(one.path(), std::ios::binary);
                all.emplace_back(one.path(), std::string(std::istreambuf_iterator<char>(from), {}));
            }
        return all;
    }
};

template <class Calls = ratchet_file_calls> auto files_in(own_directory const& where, char const* below = "") {
    wg::os::error_text why;
    auto made = basic_ratchet_files<Calls>::in((std::string(where.path) + below).c_str(), "wg0", why);
    BOOST_REQUIRE_MESSAGE(made, why.c_str());
    return *made;
}

record filled(wg::byte value) {
    record out{};
    out.fill(value);
    return out;
}
wg::public_key const peer = {0x01, 0xab}, other = {0x02};

/// Calls that fail from some call on: the power is lost.
struct failing_calls {
    static inline int left = 0; ///< calls that still have an effect

    static bool works() noexcept { return left > 0 && left-- > 0; }
    static int open(char const* path, int flags) noexcept {
        return works() ? ratchet_file_calls::open(path, flags) : (errno = EIO, -1);
    }
    static ssize_t write(int fd, void const* from, std::size_t size) noexcept {
        if (works()) return ratchet_file_calls::write(fd, from, size);
        if (left == 0) (void)::write(fd, from, size / 2), left = -1; // a part of it may have reached the disk
        return errno = EIO, -1;
    }
    static int fsync(int fd) noexcept { return works() ? ratchet_file_calls::fsync(fd) : (errno = EIO, -1); }
    static int rename(char const* from, char const* to) noexcept {
        return works() ? ratchet_file_calls::rename(from, to) : (errno = EIO, -1);
    }
    static int unlink(char const* path) noexcept { return works() ? ratchet_file_calls::unlink(path) : -1; }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_record_is_read_back_and_replaced) {
    own_directory where;
    auto files = files_in(where, "/a/b");
    record out{};
    BOOST_TEST(!files.load(peer, out));
    for (wg::byte value : {wg::byte{1}, wg::byte{2}, wg::byte{3}}) {
        BOOST_TEST(files.store(peer, filled(value)));
        BOOST_TEST(files.load(peer, out));
        BOOST_TEST((out == filled(value)));
    }
    BOOST_TEST(!files.load(other, out));
    BOOST_TEST(files_in(where, "/a/b").load(peer, out)); // after a restart
    BOOST_TEST(where.files().size() == 1u);
}

BOOST_AUTO_TEST_CASE(only_the_user_may_read_the_files) {
    own_directory where;
    ::umask(0);
    BOOST_TEST(files_in(where).store(peer, filled(1)));
    ::umask(022);
    struct stat found {};
    BOOST_REQUIRE(::stat((std::string(where.path) + "/wg0").c_str(), &found) == 0);
    BOOST_TEST((found.st_mode & 0777u) == 0700u);
    BOOST_REQUIRE(::stat(where.files()[0].first.c_str(), &found) == 0);
    BOOST_TEST((found.st_mode & 0777u) == 0600u);
}

BOOST_AUTO_TEST_CASE(a_replaced_record_is_overwritten_before_its_place_is_freed) {
    own_directory where;
    auto files = files_in(where);
    BOOST_TEST(files.store(peer, filled('o')));
    std::string const name = where.files()[0].first;
    wg::os::unique_fd const old(::open(name.c_str(), O_RDONLY));
    BOOST_TEST(files.store(peer, filled('n')));
    char content[300];
    ssize_t const size = ::read(old.get(), content, sizeof content);
    BOOST_TEST(size == 200);
    BOOST_TEST(std::string(content, 200) == std::string(200, '\0'));
    wg::os::unique_fd const last(::open(name.c_str(), O_RDONLY));
    files.erase(peer);
    BOOST_TEST(::read(last.get(), content, sizeof content) == 200);
    BOOST_TEST(std::string(content, 200) == std::string(200, '\0'));
    BOOST_TEST(where.files().empty());
    record out{};
    BOOST_TEST(!files.load(peer, out));
    files.erase(peer); // there is none any more
}

BOOST_AUTO_TEST_CASE(a_loss_of_power_leaves_the_old_record_or_the_new_one) {
    int complete = -1;
    for (int calls = 0; complete < 0; ++calls) {
        own_directory where;
        BOOST_TEST(files_in(where).store(peer, filled('o')));
        failing_calls::left = calls;
        bool const stored = files_in<failing_calls>(where).store(peer, filled('n'));
        record out{};
        BOOST_TEST(files_in(where).load(peer, out), "lost after " << calls << " calls");
        BOOST_TEST((out == filled('o') || out == filled('n')));
        if (stored) {
            BOOST_TEST((out == filled('n')));
            complete = calls;
        }
        BOOST_TEST(files_in(where).store(peer, filled('m'))); // the next one succeeds
        BOOST_TEST(files_in(where).load(peer, out));
        BOOST_TEST((out == filled('m')));
        BOOST_TEST(where.files().size() == 1u);
    }
    BOOST_TEST(complete == 9);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_cut_too_long_or_foreign_is_no_record) {
    own_directory where;
    auto files = files_in(where);
    BOOST_TEST(files.store(peer, filled(1)));
    auto const [name, content] = where.files()[0];
    record out{};
    for (std::string const& bad : {std::string(), content.substr(1), content.substr(0, 199), content + "x",
                                   std::string(200, '\0'), "x" + content.substr(1), content.substr(0, 199) + "x"}) {
        std::ofstream(name, std::ios::binary | std::ios::trunc) << bad;
        BOOST_TEST(!files.load(peer, out));
    }
}

BOOST_AUTO_TEST_CASE(a_directory_that_cannot_be_used_is_refused_with_the_reason) {
    own_directory where;
    wg::os::error_text why;
    BOOST_TEST(!ratchet_files::in("/dev/null/x", "wg0", why));
    BOOST_TEST(std::string(why.c_str()) ==
               "cannot keep keys in /dev/null/x/wg0: Not a directory: give a directory that this user may write to");
    BOOST_TEST(!ratchet_files::in(where.path, "a/b", why));
    BOOST_TEST(!ratchet_files::in(("/tmp/" + std::string(200, 'x')).c_str(), "wg0", why));
    BOOST_TEST(std::string(why.c_str()).find("too long") != std::string::npos);
    BOOST_TEST(where.files().empty());
}

BOOST_AUTO_TEST_CASE(without_a_directory_nothing_is_stored) {
    ratchet_files files;
    wg::os::unsaved_ratchets none;
    wg::os::error_text why;
    record out{};
    BOOST_TEST(files.store(peer, filled(1)));
    BOOST_TEST(!files.load(peer, out));
    files.erase(peer);
    BOOST_TEST(none.store(peer, filled(1)));
    BOOST_TEST(!none.load(peer, out));
    none.erase(peer);
    BOOST_TEST(!wg::os::unsaved_ratchets::in("/tmp", "wg0", why));
    BOOST_TEST(!why.empty());
}

BOOST_AUTO_TEST_SUITE_END()
