/* SPDX-License-Identifier: BSL-1.0
 * The functions that lwIP calls: the time, and random numbers. Compiled together with lwIP. Under lwip_stack's lock. */
#include "hooks.h"
#include "lwip/ip.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

#include <string.h>

#ifdef _WIN32
#include <windows.h>

#include <bcrypt.h>

u32_t sys_now(void) { return (u32_t)GetTickCount64(); }

static int fill(void* to, size_t bytes) {
    return BCryptGenRandom(NULL, (PUCHAR)to, (ULONG)bytes, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}
#else
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

u32_t sys_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u32_t)((u32_t)now.tv_sec * 1000u + (u32_t)(now.tv_nsec / 1000000));
}

static int fill(void* to, size_t bytes) { return getentropy(to, bytes) == 0; }
#endif

void (*wg_lwip_on_segment)(struct tcp_pcb* pcb);

signed char wg_lwip_segment(struct tcp_pcb* pcb) {
    if (wg_lwip_on_segment != NULL && pcb->state != LISTEN) wg_lwip_on_segment(pcb);
    return ERR_OK;
}

struct netif* wg_lwip_route(void) { return ip_current_input_netif(); }

unsigned int wg_lwip_random(void) {
    static unsigned int pool[32];
    static size_t left;
    if (left == 0) {
        if (!fill(pool, sizeof pool)) abort();
        left = sizeof pool / sizeof pool[0];
    }
    --left;
    {
        unsigned int const value = pool[left];
        pool[left] = 0;
        return value;
    }
}
