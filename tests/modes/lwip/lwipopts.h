/* SPDX-License-Identifier: BSL-1.0
 * The lwIP configuration of a board without an operating system: the raw API only. The test selects the address
 * families. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TCP 0
#define MEM_ALIGNMENT 4
#endif
