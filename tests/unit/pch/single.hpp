// SPDX-License-Identifier: BSL-1.0
// Precompiled for unit_single: the generated header first, so that its include guards shut out the tree's headers.
#include "../../../single_include/wg/wg.hpp"

#include <boost/test/unit_test.hpp>
