// SPDX-License-Identifier: BSL-1.0
// Runs misuse of the library in a child process, which a checked build ends.
#ifndef WG_TESTS_UNIT_CHECKS_HPP
#define WG_TESTS_UNIT_CHECKS_HPP

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace wg_tests {

/// Runs `action` in a child. Returns: what it wrote to standard error, and at the end " signal" if a signal ended it.
template <class Action> std::string outcome_of(Action action) {
    int ends[2];
    BOOST_REQUIRE(::pipe(ends) == 0);
    std::fflush(nullptr);
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const number : {SIGILL, SIGTRAP, SIGSEGV, SIGABRT}) ::signal(number, SIG_DFL);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
        action();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char part[256];
    for (ssize_t size; (size = ::read(ends[0], part, sizeof part)) > 0;)
        text.append(part, static_cast<std::size_t>(size));
    ::close(ends[0]);
    int how = 0;
    BOOST_REQUIRE(::waitpid(child, &how, 0) == child);
    return WIFSIGNALED(how) ? text + " signal" : text;
}

inline void is_caught(std::string const& outcome, std::string const& file, std::string const& condition) {
    BOOST_TEST(outcome.find(file + ":") != std::string::npos, outcome);
    BOOST_TEST(outcome.find("WG_ASSERT(" + condition + ") failed") != std::string::npos, outcome);
    BOOST_TEST(outcome.ends_with(" signal"), outcome);
}

} // namespace wg_tests

#endif
