// SPDX-License-Identifier: BSL-1.0
// Defines the kernels of post_quantum.hpp, as kernels.cpp defines those of wg.hpp. A program whose units are compiled
// with WG_SEPARATE_KERNELS needs this file if it uses ML-KEM. It is a file of its own, so that a program without ML-KEM
// links none of it. Folder: include/wg.
#ifndef WG_SEPARATE_KERNELS
#define WG_SEPARATE_KERNELS
#endif
#define WG_DEFINE_KERNELS
#include "post_quantum.hpp"
