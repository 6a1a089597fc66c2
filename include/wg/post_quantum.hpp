// SPDX-License-Identifier: BSL-1.0
// What a program needs for secrets that outlive a quantum computer: ML-KEM-768. Folder: include/wg; any thread.
//
// wg.hpp includes this file if WG_WITH_POST_QUANTUM is defined. A program that includes neither compiles and contains
// nothing of it. A program with WG_SEPARATE_KERNELS also compiles kernels_post_quantum.cpp, unless it links wg::kernels
// (CMake) or wg-kernels (meson).
#ifndef WG_POST_QUANTUM_HPP
#define WG_POST_QUANTUM_HPP

#include "backends/bundled/ml_kem.hpp"

#endif
