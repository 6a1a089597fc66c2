/* SPDX-License-Identifier: BSL-1.0
 * What the hooks of lwipopts.h call. */
#ifndef WG_TUNNEL_LWIP_HOOKS_H
#define WG_TUNNEL_LWIP_HOOKS_H

struct netif;

/* The interface on which the packet came that lwIP is handling; none: null. */
struct netif* wg_lwip_route(void);

#endif
