// SPDX-License-Identifier: BSL-1.0
// Precompiled for the unit tests: wg.hpp and Boost.Test take longer to read than most tests take to compile.
#include "wg/wg.hpp"

#include <boost/test/unit_test.hpp>
