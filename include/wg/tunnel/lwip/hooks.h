/* SPDX-License-Identifier: BSL-1.0
 * What the hooks of lwipopts.h call. */
#ifndef WG_TUNNEL_LWIP_HOOKS_H
#define WG_TUNNEL_LWIP_HOOKS_H

struct netif;
struct tcp_pcb;

#ifdef __cplusplus
extern "C" {
#endif

/* The interface on which the packet came that lwIP is handling; none: null. */
struct netif* wg_lwip_route(void);

/* Called before lwIP handles a segment of a connection or of a port that listens. Returns: ERR_OK. */
signed char wg_lwip_segment(struct tcp_pcb* pcb);

/* What wg_lwip_segment calls for connections; null: nothing. */
extern void (*wg_lwip_on_segment)(struct tcp_pcb* pcb);

#ifdef __cplusplus
}
#endif

#endif
