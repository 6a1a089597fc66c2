// SPDX-License-Identifier: BSL-1.0
// Runs every unit test. The last line of output has the counts, as in every test program of this project.
#define BOOST_TEST_NO_MAIN
#ifdef WG_TESTS_WITHOUT_LIBRARY // for a processor without an installed Boost library
#define BOOST_TEST_ALTERNATIVE_INIT_API
#include <boost/test/included/unit_test.hpp>
#else
#include <boost/test/results_collector.hpp>
#include <boost/test/unit_test.hpp>
#endif

#include <cstdio>

namespace {
bool no_setup() { return true; }
} // namespace

int main(int argc, char** argv) {
    using namespace boost::unit_test;
    int const code = unit_test_main(no_setup, argc, argv);
    test_results const& all = results_collector.results(framework::master_test_suite().p_id);
    std::printf("%lu passed, %lu failed, %lu skipped\n",
                static_cast<unsigned long>(all.p_test_cases_passed + all.p_test_cases_warned),
                static_cast<unsigned long>(all.p_test_cases_failed + all.p_test_cases_timed_out),
                static_cast<unsigned long>(all.p_test_cases_skipped));
    return code;
}
