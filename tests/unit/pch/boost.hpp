// SPDX-License-Identifier: BSL-1.0
// Precompiled for the unit tests: Boost.Test costs more time than the tests.
#include <boost/test/unit_test.hpp>
