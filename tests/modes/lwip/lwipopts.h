/* SPDX-License-Identifier: BSL-1.0
 * lwIP as a board without an operating system has it: the raw API alone. A test picks the families of addresses. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TCP 0
#define MEM_ALIGNMENT 4
#endif
