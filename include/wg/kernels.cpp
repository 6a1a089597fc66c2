// SPDX-License-Identifier: BSL-1.0
// The kernels of bundled cryptography, for a program whose units are compiled with WG_SEPARATE_KERNELS. Compile this
// file once, with the flags of the other units, and link it. The targets wg::kernels (CMake) and wg-kernels (meson) do
// that. Folder: include/wg.
#ifndef WG_SEPARATE_KERNELS
#define WG_SEPARATE_KERNELS
#endif
#define WG_DEFINE_KERNELS
#include "backends/bundled/bundled.hpp"
