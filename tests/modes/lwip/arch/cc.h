/* SPDX-License-Identifier: BSL-1.0
 * The compiler-specific definitions of lwIP. lwIP's defaults suffice. */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H
#endif
