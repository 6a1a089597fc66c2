/* SPDX-License-Identifier: BSL-1.0
 * Connections through WireGuard for C, and for each language that can call C: no root rights, no TUN device. Link with
 * libwg (pkg-config libwg). Linux. The guide is docs/c.md.
 *
 *     char why[256];
 *     wg_tunnel *tunnel;
 *     if (wg_tunnel_open_file(&tunnel, "office.conf", NULL, why, sizeof why) != WG_OK) return fail(why);
 *     int fd = wg_dial(tunnel, "db.office.internal:5432", 5000);
 *     if (fd < 0) return fail(wg_describe(fd));
 *     write(fd, "hello\n", 6);
 *
 * Results. A function that returns int returns 0 or more if it succeeds, else a negative `wg_status`. Nothing aborts
 * and nothing writes to the standard streams.
 *
 * Descriptors. Connections, listeners and UDP ports are descriptors of this process, which belong to the caller: end
 * each with close(2), before or after `wg_tunnel_close`. They have the flags FD_CLOEXEC, and not O_NONBLOCK. A
 * connection is one end of a socketpair(2); a thread of the tunnel moves the bytes between the other end and the TCP
 * stack inside this process.
 *
 * Threads. Each function may be called by any thread at any time, also for the same tunnel. `wg_tunnel_close` is the
 * last call for its tunnel. Each tunnel has two threads, with all signals blocked. After fork(2), only the parent uses
 * the tunnel; the child may use and close descriptors.
 *
 * Texts and memory that a function takes are read during the call only. A pointer must not be null unless its
 * description says so.
 *
 * Versions. A program that is compiled with this header runs with all later libraries of the same soname. Structs that
 * may get new members at their end are passed with their size: `sizeof` of the struct, as the program knows it. */
#ifndef WG_H
#define WG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header. A later one only adds. */
#define WG_API_VERSION 1

/** The version of the library that runs, as `WG_API_VERSION`. */
int wg_api_version(void);

/** Results of functions. The numbers never change. */
typedef enum wg_status {
    WG_OK = 0,
    WG_INVALID = -1,         /**< an argument or a text is wrong */
    WG_NO_MEMORY = -2,       /**< no memory, or a fixed capacity is used up */
    WG_NO_DESCRIPTOR = -3,   /**< no descriptor is left (RLIMIT_NOFILE); a connection takes two */
    WG_IO_ERROR = -4,        /**< an error of the system */
    WG_NO_PERMISSION = -5,   /**< the system refused */
    WG_NOT_SUPPORTED = -6,   /**< for instance: the tunnel has no address of this family */
    WG_ADDRESS_IN_USE = -7,  /**< the port is in use */
    WG_REFUSED = -8,         /**< the other end refused the connection */
    WG_RESET = -9,           /**< the other end reset the connection */
    WG_TIMED_OUT = -10,      /**< no answer within the time */
    WG_CANCELLED = -11,      /**< `wg_tunnel_close` ended the call */
    WG_NAME_NOT_FOUND = -12, /**< no address has this name */
    WG_WOULD_BLOCK = -13,    /**< not yet, and the timeout was zero */
    WG_GONE = -14,           /**< the tunnel has ended */
    WG_NO_PRIVATE_KEY = -15, /**< the configuration has no private key */
    WG_NO_RANDOM = -16,      /**< the random source failed */
    WG_TOO_MANY_PEERS = -17, /**< more peers than a tunnel holds */
    WG_UNKNOWN = -18,        /**< no such peer or connection */
    WG_TOO_LONG = -19,       /**< does not fit into the MTU or the buffer */
    WG_FAILED = -20          /**< another reason */
} wg_status;

/** A phrase for people, in English, for a `wg_status`. Never null; the caller does not free it. */
const char* wg_describe(int status);

/** An address, with a port where there is one. 24 bytes; never changes. */
typedef struct wg_address {
    uint8_t family;    /**< 4 or 6; 0: no address */
    uint8_t reserved;  /**< 0 */
    uint16_t port;     /**< in the order of the processor */
    uint32_t scope;    /**< the interface of a link-local IPv6 address, else 0 */
    uint8_t bytes[16]; /**< the address in network order; IPv4: the first 4 bytes, the others are 0 */
} wg_address;

/** A network: the first `bits` bits of an address. 20 bytes; never changes. */
typedef struct wg_prefix {
    uint8_t family;    /**< 4 or 6 */
    uint8_t bits;      /**< 0 to 32, or to 128 */
    uint16_t reserved; /**< 0 */
    uint8_t bytes[16]; /**< the address in network order; IPv4: the first 4 bytes */
} wg_prefix;

/** Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`. Returns: WG_OK; WG_INVALID. */
int wg_parse_address(const char* text, wg_address* address);
/** Writes the text of an address, with the port if it is not 0, and a zero byte. 64 bytes suffice. Returns: its length;
 * WG_TOO_LONG; WG_INVALID. */
int wg_print_address(const wg_address* address, char* text, size_t size);

/** Reads a key of 32 bytes from the 44 characters of base64. Returns: WG_OK; WG_INVALID. */
int wg_parse_key(const char* text, uint8_t key[32]);
/** Writes the 44 characters of a key and a zero byte. */
void wg_print_key(const uint8_t key[32], char text[45]);

/* --- tunnels */

/** One WireGuard interface inside this process. */
typedef struct wg_tunnel wg_tunnel;

/** What an event is about. Later versions may add kinds: ignore those that you do not know. */
typedef enum wg_event_kind {
    WG_EVENT_SESSION = 1,          /**< a handshake with the peer has succeeded */
    WG_EVENT_HANDSHAKE_FAILED = 2, /**< the peer did not answer for 90 seconds */
    WG_EVENT_ENDPOINT = 3,         /**< the peer sends from another address */
    WG_EVENT_PEER_ADDED = 4,       /**< by the configuration */
    WG_EVENT_PEER_REMOVED = 5,     /**< by the configuration */
    WG_EVENT_LOST = 6              /**< more events came than were read; `value`: how many are missing */
} wg_event_kind;

/** An event. `size` is what the library knows of this struct; later versions may add members at the end. */
typedef struct wg_event {
    size_t size;
    uint32_t kind;     /**< a `wg_event_kind` */
    uint32_t reserved; /**< 0 */
    uint64_t value;    /**< see the kind */
    uint8_t peer[32];  /**< the public key of the peer; 0 if there is none */
} wg_event;

/** How a tunnel is opened. Set all members to 0 and then `size`: `wg_options options = {.size = sizeof options};`. */
typedef struct wg_options {
    size_t size; /**< sizeof(wg_options) */
    /** Is called for each event, by a thread of the tunnel, without a lock. It may call all functions but
     * `wg_tunnel_close`; while it runs, no bytes move. Null: none. */
    void (*on_event)(void* context, const wg_event* event);
    void* context; /**< for `on_event` */
} wg_options;

/** Starts a tunnel from a configuration file of wg-quick(8). Keys that only wg-quick acts on have no effect. Names of
 * endpoints are asked from the system. `options` may be null. `why` gets a sentence that names file, line and mend, cut
 * to `why_size` bytes with the zero byte; it may be null. Returns: WG_OK, and the tunnel; else null in `*tunnel`. */
int wg_tunnel_open_file(wg_tunnel** tunnel, const char* path, const wg_options* options, char* why, size_t why_size);
/** The same from the text of such a file. The caller wipes the text, which has a private key. */
int wg_tunnel_open_text(wg_tunnel** tunnel, const char* text, const wg_options* options, char* why, size_t why_size);
/** Ends the tunnel and frees it. Calls of other threads return WG_CANCELLED first. Then what was written to descriptors
 * is sent, and acknowledged by the other ends, as long as that takes less than `linger_ms`. Descriptors that are left
 * read the end of the data or ECONNRESET; the caller still closes them. A null tunnel is ignored. */
void wg_tunnel_close(wg_tunnel* tunnel, int linger_ms);

/* --- TCP. Timeouts are in milliseconds; negative: no limit. */

/** Connects to `HOST:PORT`, where the host is an address or a name. Names are asked from the DNS servers of the
 * configuration, through the tunnel. Returns: a stream socket; WG_REFUSED; WG_TIMED_OUT; WG_NAME_NOT_FOUND; WG_INVALID;
 * WG_NOT_SUPPORTED; WG_CANCELLED; WG_NO_DESCRIPTOR; WG_NO_MEMORY. With a timeout of 0, always WG_WOULD_BLOCK. */
int wg_dial(wg_tunnel* tunnel, const char* host_and_port, int timeout_ms);
/** Listens on a TCP port of all inner addresses; 0: a free one. At most `backlog` (1 to 255) connections wait in the
 * tunnel. `*bound` gets the port; it may be null. Returns: a descriptor for `wg_accept`, which is readable when a
 * connection waits, and whose close(2) ends the port; WG_ADDRESS_IN_USE; WG_NO_DESCRIPTOR; WG_NO_MEMORY; WG_INVALID. */
int wg_listen(wg_tunnel* tunnel, uint16_t port, int backlog, uint16_t* bound);
/** Waits for a connection. `*remote` gets the address of the other end; it may be null. A tunnel is not needed, so the
 * descriptor may be handed to another process. Returns: a stream socket; WG_WOULD_BLOCK; WG_TIMED_OUT; WG_GONE, when
 * the tunnel has ended; WG_NO_DESCRIPTOR; WG_INVALID, if the descriptor is none of `wg_listen`. */
int wg_accept(int listener, int timeout_ms, wg_address* remote);

/** The state of a connection by its descriptor: after read(2) has returned 0, this says whether the other end has
 * finished in order. The tunnel remembers the last 1,024 connections that ended. Returns: 1 while data may come;
 * WG_OK after the end of the data; WG_RESET; WG_TIMED_OUT; WG_GONE; WG_UNKNOWN. */
int wg_state(wg_tunnel* tunnel, int fd);
/** The two ends of a connection that is open; each pointer may be null. Returns: WG_OK; WG_UNKNOWN. */
int wg_addresses(wg_tunnel* tunnel, int fd, wg_address* local, wg_address* remote);

/* --- UDP */

/** Opens a UDP port of all inner addresses; 0: a free one. `*bound` gets the port; it may be null. Each message of the
 * descriptor (SOCK_SEQPACKET) is a `wg_address` of 24 bytes, the other end, and then the data of one datagram:
 * `wg_send_to` and `wg_receive_from` do that. Datagrams that are longer than the MTU allows, or that have no way, are
 * dropped. Returns: a descriptor; WG_ADDRESS_IN_USE; WG_NO_DESCRIPTOR; WG_NO_MEMORY. */
int wg_udp(wg_tunnel* tunnel, uint16_t port, uint16_t* bound);
/** Opens a free UDP port for datagrams to and from one `HOST:PORT`. Each message of the descriptor is the data of one
 * datagram, for send(2) and recv(2). Returns: a descriptor, or as `wg_dial`. */
int wg_udp_dial(wg_tunnel* tunnel, const char* host_and_port, int timeout_ms);
/** Sends a datagram through a descriptor of `wg_udp`; waits while its buffer is full. Returns: WG_OK; WG_TOO_LONG;
 * WG_GONE; WG_WOULD_BLOCK, if it has O_NONBLOCK; WG_INVALID. */
int wg_send_to(int udp, const void* data, size_t size, const wg_address* to);
/** Receives a datagram; what does not fit is cut. `*from` may be null. Returns: its length; WG_WOULD_BLOCK; WG_TIMED_OUT;
 * WG_GONE; WG_INVALID. */
int wg_receive_from(int udp, void* data, size_t size, wg_address* from, int timeout_ms);

/* --- names and ping */

/** The addresses of a name, IPv6 first, asked from the DNS servers of the configuration, through the tunnel. At most
 * `size` are written. Returns: how many there are; WG_NAME_NOT_FOUND; WG_TIMED_OUT; WG_CANCELLED; WG_INVALID. */
int wg_resolve(wg_tunnel* tunnel, const char* host, wg_address* addresses, size_t size, int timeout_ms);
/** Sends an ICMP echo request to an address or a name. `*took_ns` gets the round trip in nanoseconds; it may be null.
 * Returns: WG_OK; WG_TIMED_OUT; WG_CANCELLED; WG_NOT_SUPPORTED; and as `wg_resolve`. */
int wg_ping(wg_tunnel* tunnel, const char* host, int timeout_ms, uint64_t* took_ns);

/* --- peers */

/** A peer as `wg_peers` reports it. Later versions may add members at the end. */
typedef struct wg_peer {
    uint8_t public_key[32];
    wg_address endpoint;          /**< where its last authentic datagram came from; family 0: not known */
    int64_t last_handshake_s;     /**< UNIX time in seconds; 0: none */
    uint64_t sent_bytes;          /**< UDP payload */
    uint64_t received_bytes;      /**< UDP payload */
    const wg_prefix* allowed_ips; /**< belongs to the list of peers */
    size_t allowed_ip_count;
} wg_peer;

/** Lists the peers. `peer_size` is sizeof(wg_peer), which is also the distance of two peers in `*peers`. The caller frees
 * the list by `wg_peers_free`; without peers it is null. Returns: how many; WG_NO_MEMORY; WG_INVALID. */
int wg_peers(wg_tunnel* tunnel, size_t peer_size, wg_peer** peers);
/** Frees a list of peers. Null is ignored. */
void wg_peers_free(wg_peer* peers);

/** What `wg_change_peer` does. */
enum {
    WG_PEER_REMOVE = 1,              /**< remove the peer */
    WG_PEER_UPDATE_ONLY = 2,         /**< do nothing if there is no such peer */
    WG_PEER_SET_PRESHARED_KEY = 4,   /**< `preshared_key` is valid; all zero: none */
    WG_PEER_SET_ENDPOINT = 8,        /**< `endpoint` is valid */
    WG_PEER_SET_KEEPALIVE = 16,      /**< `keepalive_s` is valid */
    WG_PEER_REPLACE_ALLOWED_IPS = 32 /**< forget its old allowed IPs */
};

/** A change of one peer. Set all members to 0, then `size`, the key, flags and what they name. */
typedef struct wg_peer_change {
    size_t size;                  /**< sizeof(wg_peer_change) */
    uint8_t public_key[32];       /**< of the peer, which is added if it is new */
    uint32_t flags;               /**< WG_PEER_ flags */
    uint16_t keepalive_s;         /**< 0: off */
    uint16_t reserved;            /**< 0 */
    uint8_t preshared_key[32];    /**< the caller wipes it */
    wg_address endpoint;          /**< an outer address and port */
    const wg_prefix* allowed_ips; /**< to add; another peer that has one loses it */
    size_t allowed_ip_count;
} wg_peer_change;

/** Adds, changes or removes a peer: all of the change or nothing. Returns: WG_OK; WG_INVALID; WG_TOO_MANY_PEERS;
 * WG_NO_MEMORY. */
int wg_change_peer(wg_tunnel* tunnel, const wg_peer_change* change);
/** The UDP port of the encrypted datagrams. Returns: 1 to 65535. */
int wg_listen_port(wg_tunnel* tunnel);

/* --- packets, for programs that have a TCP/IP stack and sockets of their own */

/** One WireGuard interface without sockets, threads and a TCP/IP stack. One thread at a time uses it. */
typedef struct wg_device wg_device;

/** Where the packets of a device go. Both functions are needed. They are called inside functions of the device, must not
 * call the device, and get memory that is valid until they return. */
typedef struct wg_device_options {
    size_t size; /**< sizeof(wg_device_options) */
    /** Sends a datagram to an outer address; `tos` is the DSCP and ECN for its IP header. Returns: 0; below 0, if it was
     * not sent. */
    int (*send)(void* context, const void* datagram, size_t size, const wg_address* to, uint8_t tos);
    /** Takes an IP packet that came out of the tunnel. */
    void (*deliver)(void* context, const void* packet, size_t size);
    void* context; /**< for both */
} wg_device_options;

/** Makes a device from the text of a wg-quick(8) file. ListenPort, Address and DNS have no effect. `why` is as in
 * `wg_tunnel_open_file`. Returns: WG_OK, and the device; else null in `*device`. */
int wg_device_open_text(wg_device** device, const char* text, const wg_device_options* options, char* why,
                        size_t why_size);
/** Frees a device and wipes its keys. Null is ignored. */
void wg_device_close(wg_device* device);
/** Sends an IP packet into the tunnel; it is copied. Returns: WG_OK, also if the packet waits for the handshake;
 * WG_TOO_LONG, above 9,000 bytes; else why it was dropped. */
int wg_device_outbound(wg_device* device, const void* packet, size_t size);
/** Takes a datagram from the network, and decrypts it in place. `tos` is that of its IP header. Returns: WG_OK; else why
 * it was dropped: most programs ignore that. */
int wg_device_inbound(wg_device* device, void* datagram, size_t size, const wg_address* from, uint8_t tos);
/** Runs the timers that are due. Returns: in how many milliseconds to call this again, 0 to 1,000. */
int wg_device_tick(wg_device* device);
/** As `wg_change_peer`. */
int wg_device_change_peer(wg_device* device, const wg_peer_change* change);

#ifdef __cplusplus
}
#endif

#endif
