// SPDX-License-Identifier: BSL-1.0
// Includes <net/if.h>, or stands in for it if a program has included <linux/if.h> before. Folder: os/posix.
//
// Both headers define the same structures. The kernel's header may come second, the C library's may not.
#ifndef WG_OS_POSIX_NET_IF_HPP
#define WG_OS_POSIX_NET_IF_HPP

#ifdef _LINUX_IF_H
// The functions that the kernel's header lacks.
extern "C" unsigned if_nametoindex(char const* name) noexcept;
extern "C" char* if_indextoname(unsigned index, char* name) noexcept;
#else
#include <net/if.h>
#endif

#endif
