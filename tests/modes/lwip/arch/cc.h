/* SPDX-License-Identifier: BSL-1.0
 * What lwIP asks of a compiler. Its own defaults do. */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H
#endif
