// SPDX-License-Identifier: BSL-1.0
// The lock that lets one process serve an interface.
#include "wg/os/posix/process/name_lock.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

BOOST_AUTO_TEST_SUITE(os_linux_name_lock)

using wg::os::posix::name_lock;

namespace {

struct own_directory {
    char path[32] = "/tmp/wg-lock-XXXXXX";
    own_directory() { BOOST_REQUIRE(::mkdtemp(path) != nullptr); }
    ~own_directory() { ::rmdir(path); } // fails if the directory is not empty
    bool has(char const* name) const {
        struct stat file {};
        return ::lstat((std::string(path) + "/" + name).c_str(), &file) == 0;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(one_process_at_a_time_holds_the_lock_and_the_file_is_removed) {
    own_directory where;
    wg::os::error_text why;
    {
        auto const first = name_lock::take("wg0", where.path, why);
        BOOST_REQUIRE(first);
        BOOST_TEST(static_cast<bool>(*first));
        struct stat file {};
        BOOST_REQUIRE(::stat((std::string(where.path) + "/wg0.lock").c_str(), &file) == 0);
        BOOST_TEST((file.st_mode & 0777u) == 0600u);
        BOOST_TEST((name_lock::take("wg0", where.path, why).why() == wg::status::address_in_use));
        BOOST_TEST(std::string(why.c_str()).find("`wg0` is in use") != std::string::npos);
        BOOST_TEST(static_cast<bool>(name_lock::take("wg1", where.path, why)));
        BOOST_TEST(!where.has("wg1.lock"));
        BOOST_TEST(where.has("wg0.lock")); // the process without the lock did not remove it
    }
    BOOST_TEST(!where.has("wg0.lock"));
    BOOST_TEST(static_cast<bool>(name_lock::take("wg0", where.path, why)));
}

BOOST_AUTO_TEST_CASE(an_unlocked_file_is_taken_over) {
    own_directory where;
    wg::os::unique_fd(::open((std::string(where.path) + "/wg0.lock").c_str(), O_CREAT | O_WRONLY, 0644)).reset();
    wg::os::error_text why;
    auto const lock = name_lock::take("wg0", where.path, why);
    BOOST_REQUIRE(lock);
    BOOST_TEST(static_cast<bool>(*lock));
}

BOOST_AUTO_TEST_CASE(holds_nothing_if_the_file_cannot_be_created) {
    own_directory where;
    wg::os::error_text why;
    for (char const* const name : {"", "a/b", "../x"}) {
        auto const lock = name_lock::take(name, where.path, why);
        BOOST_REQUIRE(lock);
        BOOST_TEST(!static_cast<bool>(*lock));
    }
    auto const lock = name_lock::take("wg0", "/dev/null/no/such", why);
    BOOST_REQUIRE(lock);
    BOOST_TEST(!static_cast<bool>(*lock));
    // A symbolic link that another user has made is not followed.
    std::string const link = std::string(where.path) + "/wg0.lock", target = std::string(where.path) + "/target";
    BOOST_REQUIRE(::symlink(target.c_str(), link.c_str()) == 0);
    BOOST_TEST(!static_cast<bool>(*name_lock::take("wg0", where.path, why)));
    BOOST_TEST(!where.has("target"));
    ::unlink(link.c_str());
}

BOOST_AUTO_TEST_CASE(creates_missing_directories) {
    own_directory where;
    wg::os::error_text why;
    std::string const parent = std::string(where.path) + "/made", directory = parent + "/of two";
    {
        auto const lock = name_lock::take("wg0", directory.c_str(), why);
        BOOST_REQUIRE(lock);
        BOOST_TEST(static_cast<bool>(*lock));
    }
    BOOST_TEST(::rmdir(directory.c_str()) == 0); // the lock's file is gone
    BOOST_TEST(::rmdir(parent.c_str()) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
