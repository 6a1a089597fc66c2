// SPDX-License-Identifier: BSL-1.0
// The kernels for a whole test program: the other units only declare what chooses them.
#define WG_DEFINE_KERNELS
#include <wg/wg.hpp>
