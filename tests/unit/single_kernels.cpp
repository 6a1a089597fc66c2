// SPDX-License-Identifier: BSL-1.0
// The kernels of unit_single, by the two lines that a user of the single header writes. The tree has wg/kernels.cpp.
#define WG_DEFINE_KERNELS
#include <wg/wg.hpp>
