// SPDX-License-Identifier: BSL-1.0
// What <net/if.h> declares, also where a program has included <linux/if.h> before. Layer 7 (Linux).
//
// Both define the same structures. The kernel's header allows that it comes second, that of the C library does not.
#ifndef WG_OS_LINUX_NET_IF_HPP
#define WG_OS_LINUX_NET_IF_HPP

#ifdef _LINUX_IF_H
extern "C" unsigned if_nametoindex(char const* name) noexcept; // all that the kernel's header lacks of it
#else
#include <net/if.h>
#endif

#endif
