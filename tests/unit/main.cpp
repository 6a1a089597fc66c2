// SPDX-License-Identifier: BSL-1.0
// Runs every unit test. The last line of output has the counts, as in every test program of this project.
#define BOOST_TEST_NO_MAIN
#ifdef WG_TESTS_WITHOUT_LIBRARY // for a processor without an installed Boost library
#define BOOST_TEST_ALTERNATIVE_INIT_API
#include <boost/test/included/unit_test.hpp>
#else
#include <boost/test/results_collector.hpp>
#include <boost/test/tree/traverse.hpp>
#include <boost/test/tree/visitor.hpp>
#include <boost/test/unit_test.hpp>
#endif

#include <cstdio>

namespace {
bool no_setup() { return true; }

/// Counts the test cases that `--run_test` leaves out. Boost.Test counts them as skipped.
struct left_out : boost::unit_test::test_tree_visitor {
    unsigned long count = 0;
    void visit(boost::unit_test::test_case const& test) override { count += test.is_enabled() ? 0 : 1; }
    bool test_suite_start(boost::unit_test::test_suite const&) override { return true; }
};
} // namespace

int main(int argc, char** argv) {
    using namespace boost::unit_test;
    int const code = unit_test_main(no_setup, argc, argv);
    left_out other;
    traverse_test_tree(framework::master_test_suite(), other, true);
    test_results const& all = results_collector.results(framework::master_test_suite().p_id);
    unsigned long const skipped = all.p_test_cases_skipped;
    std::printf("%lu passed, %lu failed, %lu skipped\n",
                static_cast<unsigned long>(all.p_test_cases_passed + all.p_test_cases_warned),
                static_cast<unsigned long>(all.p_test_cases_failed + all.p_test_cases_timed_out),
                skipped > other.count ? skipped - other.count : 0);
    return code;
}
