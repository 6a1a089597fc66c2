/* SPDX-License-Identifier: BSL-1.0
 * What lwIP needs from the compiler and the system, see lwip/arch.h. */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Random bits for sequence numbers and ports. Ends the program if the system has none. */
unsigned int wg_lwip_random(void);

#ifdef __cplusplus
}
#endif

#define LWIP_RAND() wg_lwip_random()
#define LWIP_ERRNO_STDINCLUDE 1
#define LWIP_TIMEVAL_PRIVATE 0
#define IPV6_FRAG_COPYHEADER 1 /* pointers of 64 bits do not fit into a header of IPv6 */
#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(message)                                                                                  \
    do {                                                                                                               \
        fprintf(stderr, "lwIP: %s (%s, line %d)\n", message, __FILE__, __LINE__);                                      \
        abort();                                                                                                       \
    } while (0)

#endif
