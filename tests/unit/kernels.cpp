// SPDX-License-Identifier: BSL-1.0
// Defines the kernels for a whole test program. The other units only declare the functions that select them.
#define WG_DEFINE_KERNELS
#include <wg/wg.hpp>
