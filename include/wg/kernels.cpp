// SPDX-License-Identifier: BSL-1.0
// Defines the kernels of the bundled cryptography. A program needs this file if its units are compiled with
// WG_SEPARATE_KERNELS. Compile this file once, with the flags of the other units, and link it. The targets wg::kernels
// (CMake) and wg-kernels (meson) do both. Folder: include/wg.
#ifndef WG_SEPARATE_KERNELS
#define WG_SEPARATE_KERNELS
#endif
#define WG_DEFINE_KERNELS
#include "backends/bundled/bundled.hpp"
