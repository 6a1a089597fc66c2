/* SPDX-License-Identifier: BSL-1.0
 * The configuration with which lwIP is compiled for wg/tunnel.hpp. Sources: lwip/opt.h, RFC 7323, RFC 6298. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

/* No thread of its own. Every call is made under the lock of wg::lwip_stack. */
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
/* No macros htonl and others: <netinet/in.h> declares functions of these names, perhaps later. */
#define LWIP_DONT_PROVIDE_BYTEORDER_FUNCTIONS 1

/* Memory is the heap's: wg::lwip_stack limits what a connection holds. */
#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8

/* An interface carries bare IP packets, and has no neighbours. */
#define LWIP_ARP 0
#define LWIP_ETHERNET 0
#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_IPV6_NUM_ADDRESSES 8
#define LWIP_IPV6_SCOPES 0
#define LWIP_IPV6_MLD 0
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_ND6_ALLOW_RA_UPDATES 0
#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_IGMP 0
#define LWIP_RAW 1
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_DNS 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define IP_FORWARD 0

/* The interface cuts long TCP segments itself, so lwIP must not fragment them. Fragments that arrive are joined. */
#define IP_FRAG 0
#define LWIP_IPV6_FRAG 0
#define IP_REASSEMBLY 1
#define IP_REASS_MAX_PBUFS 256
#define LWIP_IPV6_REASS 1

/* The interface computes the checksum of a TCP segment while it cuts the segment, and does not let lwIP check what the
 * AEAD has authenticated. */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1

/* TCP: windows of 1 MiB, segments of several packets inside the process, timers of 25 and 50 ms. */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 5
#define TCP_WND (1024 * 1024)
#define TCP_SND_BUF (1024 * 1024)
#define TCP_MSS 61440
/* The check asks for segments below 16 kB, because lwIP's sockets need that. They are not compiled. */
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1
#define TCP_SND_QUEUELEN 8192
#define TCP_WND_UPDATE_THRESHOLD 65536
#define LWIP_TCP_TIMESTAMPS 1
#define LWIP_TCP_SACK_OUT 1
#define TCP_QUEUE_OOSEQ 1
#define TCP_LISTEN_BACKLOG 1
#define LWIP_TCP_KEEPALIVE 1
#define LWIP_TCP_RTO_TIME 1000
#define TCP_TMR_INTERVAL 25
/* An old segment cannot arrive minutes later: each packet is inside a WireGuard session and cannot be replayed. */
#define TCP_MSL 1000UL
#define TCP_LOCAL_PORT_RANGE_START 0x8000
#define TCP_LOCAL_PORT_RANGE_END 0xffff
#define TCP_ENSURE_LOCAL_PORT_RANGE(port) ((u16_t)(((port)&0x7fff) + 0x8000))

/* An answer to a packet leaves through the interface on which the packet came. All else is bound to an interface. */
#define LWIP_HOOK_FILENAME "hooks.h"
#define LWIP_HOOK_IP4_ROUTE_SRC(source, destination) wg_lwip_route()
#define LWIP_HOOK_IP6_ROUTE(source, destination) wg_lwip_route()

/* A connection in fast recovery repeats more than the first lost segment, see connection.hpp. */
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, option_bytes, first_bytes, second, p) wg_lwip_segment(pcb)

/* Initial sequence numbers are random. */
#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) LWIP_RAND()

#endif
