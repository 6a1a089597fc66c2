/* SPDX-License-Identifier: BSL-1.0
 * The C interface, used by a program in C: two tunnels inside this process, joined by UDP over loopback.
 *
 *     libwg [NAME]...
 *
 * Runs the tests of these names, or all. Prints one line for each failed check, and the counts. */
#include <wg.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int failures;
#define CHECK(condition) check((condition), #condition, __LINE__)
#define CHECK_EQUAL(got, expected) check_equal((long long)(got), (long long)(expected), #got, __LINE__)

static bool check(bool good, char const* text, int line) {
    if (!good) {
        printf("line %d: failed: %s\n", line, text);
        __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
    }
    return good;
}
static bool check_equal(long long got, long long expected, char const* text, int line) {
    if (got == expected) return true;
    printf("line %d: %s is %lld, not %lld (%s)\n", line, text, got, expected, wg_describe((int)got));
    __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
    return false;
}

enum { soon_ms = 20000, many = 10000 };

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Two fixed keys: private, public. RFC 7748 6.1. */
static char const key_a[] = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
static char const public_a[] = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
static char const key_b[] = "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=";
static char const public_b[] = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

static wg_tunnel *a, *b;

static wg_tunnel* start(char const* text, wg_options const* options) {
    char why[256];
    wg_tunnel* made;
    if (wg_tunnel_open_text(&made, text, options, why, sizeof why) != WG_OK) {
        printf("no tunnel: %s\n", why);
        exit(1);
    }
    return made;
}

static void start_pair(wg_options const* options_of_a) {
    char text[1000];
    snprintf(text, sizeof text,
             "[Interface]\nPrivateKey=%s\nAddress=10.0.0.2/24,fd00::2/64\n[Peer]\nPublicKey=%s\n"
             "AllowedIPs=10.0.0.1/32,fd00::1/128\n",
             key_b, public_a);
    b = start(text, NULL);
    snprintf(text, sizeof text,
             "[Interface]\nPrivateKey=%s\nAddress=10.0.0.1/24,fd00::1/64\n[Peer]\nPublicKey=%s\n"
             "AllowedIPs=0.0.0.0/0,::/0\nEndpoint=127.0.0.1:%d\n",
             key_a, public_b, wg_listen_port(b));
    a = start(text, options_of_a);
}
static void end_pair(void) {
    wg_tunnel_close(a, 1000);
    wg_tunnel_close(b, 1000);
}

/* A connection from a to a port of b. */
static void connect_pair(int listener, uint16_t port, int* near, int* far) {
    char where[64];
    snprintf(where, sizeof where, "10.0.0.2:%d", port);
    *near = wg_dial(a, where, soon_ms);
    if (!CHECK(*near >= 0)) printf("dial: %s\n", wg_describe(*near));
    *far = wg_accept(listener, soon_ms, NULL);
    if (!CHECK(*far >= 0)) printf("accept: %s\n", wg_describe(*far));
}

static void write_all(int fd, char const* data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t const n = send(fd, data + done, size - done, MSG_NOSIGNAL);
        if (!CHECK(n > 0)) return;
        done += (size_t)n;
    }
}
/* Reads until the end of the data. Returns: how many bytes; or -1 and errno. */
static ssize_t read_all(int fd, char* into, size_t room) {
    size_t done = 0;
    for (;;) {
        ssize_t const n = read(fd, into + done, room - done);
        if (n < 0) return -1;
        if (n == 0) return (ssize_t)done;
        done += (size_t)n;
    }
}
static bool has_text(int fd, char const* expected) {
    char text[100] = "";
    size_t const size = strlen(expected);
    for (size_t done = 0; done < size;) {
        ssize_t const n = read(fd, text + done, size - done);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return memcmp(text, expected, size) == 0;
}
static bool is_readable(int fd, int timeout_ms) {
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, timeout_ms) == 1;
}
static void fill(char* data, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; ++i) data[i] = (char)((i * 7 + i / 251 + seed) & 0xff);
}

/* --- tests */

static void echo_of_both_families(void) {
    start_pair(NULL);
    uint16_t port = 0;
    int const listener = wg_listen(b, 0, 8, &port);
    CHECK(listener >= 0);
    CHECK(port != 0);
    CHECK_EQUAL(wg_listen(b, port, 8, NULL), WG_ADDRESS_IN_USE);
    CHECK((fcntl(listener, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(!is_readable(listener, 0));
    char const* const hosts[] = {"10.0.0.2", "[fd00::2]"};
    for (int i = 0; i < 2; ++i) {
        char where[64], text[64];
        snprintf(where, sizeof where, "%s:%d", hosts[i], port);
        int const near = wg_dial(a, where, soon_ms);
        CHECK(near >= 0);
        CHECK(is_readable(listener, soon_ms));
        wg_address remote, its_remote, its_local;
        int const far = wg_accept(listener, soon_ms, &remote);
        CHECK(far >= 0);
        CHECK((fcntl(near, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((fcntl(far, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_EQUAL(remote.family, i == 0 ? 4 : 6);
        CHECK_EQUAL(wg_addresses(a, near, &its_local, &its_remote), WG_OK);
        CHECK(memcmp(&its_local, &remote, sizeof remote) == 0);
        CHECK(wg_print_address(&its_remote, text, sizeof text) > 0);
        CHECK(strcmp(text, where) == 0);
        write_all(near, "ping", 4);
        CHECK(has_text(far, "ping"));
        write_all(far, "pong", 4);
        CHECK(has_text(near, "pong"));
        CHECK_EQUAL(wg_state(a, near), 1);
        CHECK_EQUAL(wg_state(b, near), WG_UNKNOWN);
        close(far);
        char c;
        CHECK_EQUAL(read(near, &c, 1), 0);
        close(near);
    }
    close(listener);
    end_pair();
}

struct transfer {
    int fd;
    char const* data;
    size_t size;
};
static void* send_and_finish(void* of) {
    struct transfer const* const t = of;
    write_all(t->fd, t->data, t->size);
    shutdown(t->fd, SHUT_WR);
    return NULL;
}

static void much_data_in_both_directions_at_once(void) {
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    int near, far;
    connect_pair(listener, port, &near, &far);
    size_t const size = 30000001;
    char *const to_b = malloc(size), *const to_a = malloc(size), *const got = malloc(size + 1);
    fill(to_b, size, 1);
    fill(to_a, size, 2);
    struct transfer ab = {near, to_b, size}, ba = {far, to_a, size};
    pthread_t first, second;
    pthread_create(&first, NULL, send_and_finish, &ab);
    pthread_create(&second, NULL, send_and_finish, &ba);
    /* The direction that nobody reads yet waits, and does not block the other. */
    CHECK_EQUAL(read_all(far, got, size + 1), size);
    CHECK(memcmp(got, to_b, size) == 0);
    CHECK_EQUAL(read_all(near, got, size + 1), size);
    CHECK(memcmp(got, to_a, size) == 0);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    CHECK_EQUAL(wg_state(a, near), WG_OK);
    CHECK_EQUAL(wg_state(b, far), WG_OK);
    close(near);
    close(far);
    close(listener);
    free(to_b);
    free(to_a);
    free(got);
    end_pair();
}

static void the_end_of_one_direction_leaves_the_other_open(void) {
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    int near, far;
    connect_pair(listener, port, &near, &far);
    char c;
    shutdown(near, SHUT_WR);
    CHECK_EQUAL(read(far, &c, 1), 0);
    write_all(far, "still", 5);
    CHECK(has_text(near, "still"));
    shutdown(far, SHUT_WR);
    CHECK_EQUAL(read(near, &c, 1), 0);
    close(near);
    close(far);
    close(listener);
    end_pair();
}

static void refused_and_silent_and_wrong(void) {
    start_pair(NULL);
    CHECK_EQUAL(wg_dial(a, "10.0.0.2:9", soon_ms), WG_REFUSED);
    long long const begin = now_ms();
    CHECK_EQUAL(wg_dial(a, "10.0.0.77:9", 100), WG_TIMED_OUT);
    CHECK(now_ms() - begin >= 100);
    CHECK_EQUAL(wg_dial(a, "10.0.0.2", soon_ms), WG_INVALID);
    CHECK_EQUAL(wg_dial(a, "10.0.0.2:x", soon_ms), WG_INVALID);
    CHECK_EQUAL(wg_dial(a, "name:80", soon_ms), WG_NAME_NOT_FOUND);
    CHECK_EQUAL(wg_listen(a, 1, 0, NULL), WG_INVALID);
    int const listener = wg_listen(b, 0, 8, NULL);
    CHECK_EQUAL(wg_accept(listener, 0, NULL), WG_WOULD_BLOCK);
    CHECK_EQUAL(wg_accept(listener, 30, NULL), WG_TIMED_OUT);
    CHECK_EQUAL(wg_accept(-1, 30, NULL), WG_INVALID);
    close(listener);
    char why[200];
    wg_tunnel* none = a;
    CHECK_EQUAL(wg_tunnel_open_file(&none, "/nonexistent/x.conf", NULL, why, sizeof why), WG_IO_ERROR);
    CHECK(none == NULL);
    CHECK(strcmp(why, "/nonexistent/x.conf: No such file or directory") == 0);
    char small[4];
    CHECK_EQUAL(wg_tunnel_open_text(&none, "[Interface]\n", NULL, small, sizeof small), WG_NO_PRIVATE_KEY);
    CHECK(strcmp(small, "[In") == 0);
    CHECK_EQUAL(wg_tunnel_open_text(&none, "[Interface]\n", NULL, NULL, 0), WG_NO_PRIVATE_KEY);
    wg_tunnel_close(NULL, 0);
    end_pair();
}

static void a_reset_is_read_as_a_reset(void) {
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    for (int round = 0; round < 2; ++round) {
        int near, far;
        connect_pair(listener, port, &near, &far);
        int const closes = round == 0 ? far : near, reads = round == 0 ? near : far;
        wg_tunnel* const its = round == 0 ? a : b;
        /* More than all buffers hold, so that data is left unread: closing then resets, as on Linux. */
        fcntl(reads, F_SETFL, O_NONBLOCK);
        char data[65536] = "";
        for (;;) {
            if (send(reads, data, sizeof data, MSG_NOSIGNAL) > 0) continue;
            struct pollfd p = {reads, POLLOUT, 0};
            if (poll(&p, 1, 300) != 1) break;
        }
        fcntl(reads, F_SETFL, 0);
        close(closes);
        CHECK_EQUAL(read(reads, data, sizeof data), -1);
        CHECK_EQUAL(errno, ECONNRESET);
        CHECK_EQUAL(wg_state(its, reads), WG_RESET);
        CHECK_EQUAL(send(reads, "x", 1, MSG_NOSIGNAL), -1);
        close(reads);
    }
    close(listener);
    end_pair();
}

static void what_was_written_arrives_though_all_is_closed_at_once(void) {
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    int near, far;
    connect_pair(listener, port, &near, &far);
    size_t const size = 300000;
    char *const data = malloc(size), *const got = malloc(size + 1);
    fill(data, size, 3);
    struct transfer t = {near, data, size};
    pthread_t sender;
    pthread_create(&sender, NULL, send_and_finish, &t);
    pthread_join(sender, NULL);
    close(near);
    wg_tunnel_close(a, 5000);
    CHECK_EQUAL(read_all(far, got, size + 1), size);
    CHECK(memcmp(data, got, size) == 0);
    close(far);
    close(listener);
    free(data);
    free(got);
    wg_tunnel_close(b, 0);
}

static void descriptors_of_a_closed_tunnel_end(void) {
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    int near, far, u = wg_udp(b, 0, NULL);
    connect_pair(listener, port, &near, &far);
    wg_tunnel_close(b, 0);
    char c;
    CHECK_EQUAL(read(far, &c, 1), -1);
    CHECK_EQUAL(errno, ECONNRESET);
    CHECK_EQUAL(read(far, &c, 1), 0);
    CHECK_EQUAL(wg_accept(listener, soon_ms, NULL), WG_GONE);
    CHECK_EQUAL(wg_receive_from(u, &c, 1, NULL, soon_ms), WG_GONE);
    wg_address const to = {.family = 4, .port = 1};
    CHECK_EQUAL(wg_send_to(u, "x", 1, &to), WG_GONE);
    close(far);
    close(listener);
    close(u);
    close(near);
    wg_tunnel_close(a, 0);
}

static void* dial_silence(void* unused) {
    (void)unused;
    CHECK_EQUAL(wg_dial(a, "10.0.0.77:1", -1), WG_CANCELLED);
    return NULL;
}
static void* ping_silence(void* unused) {
    (void)unused;
    CHECK_EQUAL(wg_ping(a, "10.0.0.77", -1, NULL), WG_CANCELLED);
    return NULL;
}
static void closing_ends_calls_of_other_threads(void) {
    start_pair(NULL);
    pthread_t first, second;
    pthread_create(&first, NULL, dial_silence, NULL);
    pthread_create(&second, NULL, ping_silence, NULL);
    usleep(100000); /* both wait; nothing tells when */
    wg_tunnel_close(a, 0);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    wg_tunnel_close(b, 0);
}

static void datagrams_keep_their_borders(void) {
    start_pair(NULL);
    uint16_t near_port, far_port;
    int const near = wg_udp(a, 0, &near_port), far = wg_udp(b, 5353, &far_port);
    CHECK(near >= 0);
    CHECK(far >= 0);
    CHECK_EQUAL(far_port, 5353);
    CHECK_EQUAL(wg_udp(b, 5353, NULL), WG_ADDRESS_IN_USE);
    char data[2000], got[2000];
    fill(data, sizeof data, 4);
    char const* const hosts[] = {"10.0.0.2:5353", "[fd00::2]:5353"};
    size_t const sizes[] = {0, 1, 1000, 1372};
    for (int h = 0; h < 2; ++h)
        for (int i = 0; i < 4; ++i) {
            wg_address to, from;
            CHECK_EQUAL(wg_parse_address(hosts[h], &to), WG_OK);
            CHECK_EQUAL(wg_send_to(near, data, sizes[i], &to), WG_OK);
            CHECK_EQUAL(wg_receive_from(far, got, sizeof got, &from, soon_ms), (long long)sizes[i]);
            CHECK(memcmp(data, got, sizes[i]) == 0);
            CHECK_EQUAL(from.port, near_port);
            CHECK_EQUAL(wg_send_to(far, "answer", 6, &from), WG_OK);
            CHECK_EQUAL(wg_receive_from(near, got, 3, NULL, soon_ms), 3);
        }
    CHECK_EQUAL(wg_receive_from(near, got, 3, NULL, 0), WG_WOULD_BLOCK);
    CHECK_EQUAL(wg_receive_from(near, got, 3, NULL, 20), WG_TIMED_OUT);
    CHECK_EQUAL(wg_send_to(near, data, 65508, &(wg_address){.family = 4}), WG_TOO_LONG);

    int const connected = wg_udp_dial(a, "10.0.0.2:5353", soon_ms);
    CHECK(connected >= 0);
    CHECK_EQUAL(send(connected, "hello", 5, 0), 5);
    wg_address from;
    CHECK_EQUAL(wg_receive_from(far, got, sizeof got, &from, soon_ms), 5);
    CHECK_EQUAL(wg_send_to(far, "world", 5, &from), WG_OK);
    CHECK_EQUAL(recv(connected, got, sizeof got, 0), 5);
    CHECK(memcmp(got, "world", 5) == 0);
    CHECK_EQUAL(send(connected, "", 0, 0), 0);
    CHECK_EQUAL(wg_receive_from(far, got, sizeof got, &from, soon_ms), 0);
    close(connected);
    close(near);
    close(far);
    for (int tries = 0;; ++tries) { /* the port is free again soon after close(2) */
        int const again = wg_udp(b, 5353, NULL);
        if (again >= 0) {
            close(again);
            break;
        }
        if (!CHECK(tries < 1000)) break;
        usleep(1000);
    }
    end_pair();
}

static int sessions, added, removed;
static void count_event(void* context, wg_event const* event) {
    CHECK(context == &sessions);
    CHECK_EQUAL(event->size, sizeof *event);
    uint8_t key[32];
    CHECK_EQUAL(wg_parse_key(public_b, key), WG_OK);
    bool const is_b = memcmp(key, event->peer, 32) == 0;
    if (event->kind == WG_EVENT_SESSION && is_b) __atomic_add_fetch(&sessions, 1, __ATOMIC_SEQ_CST);
    if (event->kind == WG_EVENT_PEER_ADDED) __atomic_add_fetch(&added, 1, __ATOMIC_SEQ_CST);
    if (event->kind == WG_EVENT_PEER_REMOVED) __atomic_add_fetch(&removed, 1, __ATOMIC_SEQ_CST);
}
static bool reaches(int const* counter, int value) {
    long long const begin = now_ms();
    while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) != value) {
        if (now_ms() - begin > soon_ms) return false;
        usleep(1000);
    }
    return true;
}

static void peers_are_listed_changed_and_reported(void) {
    wg_options options = {.size = sizeof options, .on_event = count_event, .context = &sessions};
    start_pair(&options);
    uint64_t took = 0;
    CHECK_EQUAL(wg_ping(a, "10.0.0.2", soon_ms, &took), WG_OK);
    CHECK(took > 0);
    CHECK_EQUAL(wg_ping(a, "fd00::2", soon_ms, NULL), WG_OK);
    CHECK_EQUAL(wg_ping(a, "10.0.0.77", 50, NULL), WG_TIMED_OUT);
    CHECK(reaches(&sessions, 1));
    CHECK(reaches(&added, 1));
    wg_peer* peers;
    CHECK_EQUAL(wg_peers(a, sizeof *peers, &peers), 1);
    char text[64];
    wg_print_key(peers[0].public_key, text);
    CHECK(strcmp(text, public_b) == 0);
    CHECK(peers[0].last_handshake_s > 0);
    CHECK(peers[0].sent_bytes > 0);
    CHECK(peers[0].received_bytes > 0);
    CHECK_EQUAL(peers[0].allowed_ip_count, 2);
    CHECK_EQUAL(peers[0].allowed_ips[0].bits, 0);
    CHECK_EQUAL(peers[0].endpoint.port, wg_listen_port(b));
    wg_peers_free(peers);
    wg_peers_free(NULL);

    wg_peer_change change = {.size = sizeof change};
    wg_prefix const prefix = {.family = 4, .bits = 32, .bytes = {10, 0, 0, 3}};
    change.public_key[0] = 9;
    change.flags = WG_PEER_SET_KEEPALIVE;
    change.keepalive_s = 25;
    change.allowed_ips = &prefix;
    change.allowed_ip_count = 1;
    CHECK_EQUAL(wg_change_peer(a, &change), WG_OK);
    CHECK_EQUAL(wg_peers(a, sizeof *peers, &peers), 2);
    wg_peers_free(peers);
    CHECK(reaches(&added, 2));
    change.flags = WG_PEER_REMOVE;
    change.allowed_ip_count = 0;
    CHECK_EQUAL(wg_change_peer(a, &change), WG_OK);
    CHECK_EQUAL(wg_peers(a, sizeof *peers, &peers), 1);
    wg_peers_free(peers);
    CHECK(reaches(&removed, 1));
    change.flags = WG_PEER_SET_ENDPOINT;
    CHECK_EQUAL(wg_change_peer(a, &change), WG_INVALID);
    change.flags = 1 << 20;
    CHECK_EQUAL(wg_change_peer(a, &change), WG_NOT_SUPPORTED);
    wg_address all[4];
    CHECK_EQUAL(wg_resolve(a, "10.1.2.3", all, 4, soon_ms), 1);
    CHECK_EQUAL(all[0].bytes[3], 3);
    end_pair();
}

/* A program of an older header has shorter structs, one of a newer header longer ones. */
static void structs_of_older_and_newer_programs(void) {
    struct {
        size_t size;
    } older = {sizeof older};
    struct {
        wg_options known;
        void* unknown;
    } newer = {{sizeof newer, NULL, NULL}, NULL};
    start_pair((wg_options const*)&older);
    end_pair();
    start_pair(&newer.known);
    CHECK_EQUAL(wg_ping(a, "10.0.0.2", soon_ms, NULL), WG_OK);
    wg_peer* peers;
    size_t const shorter = offsetof(wg_peer, allowed_ips);
    CHECK_EQUAL(wg_peers(a, shorter, &peers), 1);
    CHECK(peers[0].sent_bytes > 0);
    wg_peers_free(peers);
    CHECK_EQUAL(wg_peers(a, sizeof(wg_peer) + 64, &peers), 1);
    char const zero[64] = {0};
    CHECK(memcmp((char*)peers + sizeof(wg_peer), zero, 64) == 0);
    wg_peers_free(peers);
    CHECK_EQUAL(wg_peers(a, 8, &peers), WG_INVALID);
    end_pair();
    newer.unknown = &newer;
    char why[200];
    wg_tunnel* none;
    CHECK_EQUAL(wg_tunnel_open_text(&none, "", &newer.known, why, sizeof why), WG_NOT_SUPPORTED);
    CHECK(strstr(why, "does not know") != NULL);
    newer.known.size = 0;
    CHECK_EQUAL(wg_tunnel_open_text(&none, "", &newer.known, why, sizeof why), WG_INVALID);
    CHECK_EQUAL(wg_api_version(), WG_API_VERSION);
    CHECK_EQUAL(sizeof(wg_address), 24);
    CHECK_EQUAL(sizeof(wg_prefix), 20);
}

/* Each end sends its number and reads that of the other. */
static void ten_thousand_connections(void) {
    struct rlimit limit = {4 * many + 100, 4 * many + 100}; /* only root can have more than the hard limit */
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    int count = many;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < 4 * (rlim_t)many + 100) {
        count = ((int)limit.rlim_cur - 100) / 4;
        printf("only %d connections: RLIMIT_NOFILE is %lld\n", count, (long long)limit.rlim_cur);
    }
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 255, &port);
    int *const near = malloc(sizeof *near * (size_t)count), *const far = malloc(sizeof *far * (size_t)count);
    for (int i = 0; i < count; ++i) connect_pair(listener, port, &near[i], &far[i]);
    for (int i = 0; i < count; ++i) {
        CHECK_EQUAL(send(near[i], &i, sizeof i, MSG_NOSIGNAL), sizeof i);
        CHECK_EQUAL(send(far[i], &i, sizeof i, MSG_NOSIGNAL), sizeof i);
    }
    for (int i = 0; i < count; ++i) {
        int got = -1;
        CHECK_EQUAL(recv(near[i], &got, sizeof got, MSG_WAITALL), sizeof got);
        CHECK_EQUAL(got, i);
        CHECK_EQUAL(recv(far[i], &got, sizeof got, MSG_WAITALL), sizeof got);
        CHECK_EQUAL(got, i);
    }
    for (int i = 0; i < count; ++i) {
        close(near[i]);
        close(far[i]);
    }
    free(near);
    free(far);
    close(listener);
    end_pair();
}

static void more_connections_than_descriptors(void) {
    struct rlimit before, low;
    getrlimit(RLIMIT_NOFILE, &before);
    start_pair(NULL);
    uint16_t port;
    int const listener = wg_listen(b, 0, 8, &port);
    int first, last;
    connect_pair(listener, port, &first, &last);
    /* When the byte has arrived, the thread of b has closed its descriptor of the accepted connection. */
    write_all(first, "x", 1);
    CHECK(has_text(last, "x"));
    int const next = dup(first);
    close(next);
    low = before;
    low.rlim_cur = (rlim_t)next + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    char where[64];
    snprintf(where, sizeof where, "10.0.0.2:%d", port);
    CHECK_EQUAL(wg_dial(a, where, soon_ms), WG_NO_DESCRIPTOR);
    CHECK_EQUAL(wg_udp(a, 0, NULL), WG_NO_DESCRIPTOR);
    setrlimit(RLIMIT_NOFILE, &before);
    write_all(first, "works", 5);
    CHECK(has_text(last, "works"));
    close(first);
    close(last);
    close(listener);
    end_pair();
}

/* Two devices whose datagrams go through queues of this program. */
struct wire {
    char data[8][2000];
    size_t size[8], count, delivered_size;
    char delivered[2000];
};
static int put_on_wire(void* context, void const* data, size_t size, wg_address const* to, uint8_t tos) {
    struct wire* const w = context;
    CHECK_EQUAL(to->family, 4);
    CHECK(tos != 255);
    if (w->count == 8 || size > sizeof w->data[0]) return -1;
    memcpy(w->data[w->count], data, size);
    w->size[w->count++] = size;
    return 0;
}
static void take_packet(void* context, void const* packet, size_t size) {
    struct wire* const w = context;
    memcpy(w->delivered, packet, size);
    w->delivered_size = size;
}
static void packets_pass_two_devices(void) {
    static struct wire wires[2];
    wg_device* devices[2];
    wg_address const from = {.family = 4, .port = 51820, .bytes = {192, 0, 2, 1}};
    char const *const keys[] = {key_a, key_b}, *const peers[] = {public_b, public_a};
    char why[200], text[500];
    for (int i = 0; i < 2; ++i) {
        wg_device_options const options = {
            .size = sizeof options, .send = put_on_wire, .deliver = take_packet, .context = &wires[i]};
        snprintf(text, sizeof text,
                 "[Interface]\nPrivateKey=%s\n[Peer]\nPublicKey=%s\nAllowedIPs=0.0.0.0/0\nEndpoint=192.0.2.1:51820\n",
                 keys[i], peers[i]);
        if (!CHECK_EQUAL(wg_device_open_text(&devices[i], text, &options, why, sizeof why), WG_OK)) return;
    }
    unsigned char packet[100] = {0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
    CHECK_EQUAL(wg_device_outbound(devices[0], packet, sizeof packet), WG_OK);
    for (int round = 0; round < 4; ++round)
        for (int i = 0; i < 2; ++i) {
            size_t const count = wires[i].count;
            for (size_t n = 0; n < count; ++n)
                CHECK_EQUAL(wg_device_inbound(devices[!i], wires[i].data[n], wires[i].size[n], &from, 0), WG_OK);
            wires[i].count = 0;
        }
    CHECK_EQUAL(wires[1].delivered_size, sizeof packet);
    CHECK(memcmp(wires[1].delivered, packet, sizeof packet) == 0);
    CHECK(wg_device_inbound(devices[0], packet, sizeof packet, &from, 0) < 0);
    int const wait_ms = wg_device_tick(devices[0]);
    CHECK(wait_ms >= 0 && wait_ms <= 1000);
    wg_peer_change change = {.size = sizeof change, .flags = WG_PEER_REMOVE};
    CHECK_EQUAL(wg_parse_key(public_b, change.public_key), WG_OK);
    CHECK_EQUAL(wg_device_change_peer(devices[0], &change), WG_OK);
    CHECK(wg_device_outbound(devices[0], packet, sizeof packet) < 0);
    wg_device_close(devices[0]);
    wg_device_close(devices[1]);
    wg_device_options const none = {.size = sizeof none};
    CHECK_EQUAL(wg_device_open_text(&devices[0], text, &none, why, sizeof why), WG_INVALID);
    CHECK(devices[0] == NULL);
}

static struct {
    char const* name;
    void (*run)(void);
} const tests[] = {
#define TEST(name)                                                                                                     \
    { #name, name }
    TEST(echo_of_both_families),
    TEST(much_data_in_both_directions_at_once),
    TEST(the_end_of_one_direction_leaves_the_other_open),
    TEST(refused_and_silent_and_wrong),
    TEST(a_reset_is_read_as_a_reset),
    TEST(what_was_written_arrives_though_all_is_closed_at_once),
    TEST(descriptors_of_a_closed_tunnel_end),
    TEST(closing_ends_calls_of_other_threads),
    TEST(datagrams_keep_their_borders),
    TEST(peers_are_listed_changed_and_reported),
    TEST(structs_of_older_and_newer_programs),
    TEST(packets_pass_two_devices),
    TEST(more_connections_than_descriptors),
    TEST(ten_thousand_connections),
};

int main(int count, char** arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; ++i) {
        bool wanted = count == 1;
        for (int n = 1; n < count; ++n) wanted = wanted || strcmp(arguments[n], tests[i].name) == 0;
        if (!wanted) continue;
        int const before = failures;
        long long const begin = now_ms();
        tests[i].run();
        bool const good = failures == before;
        good ? ++passed : ++failed;
        printf("%s %s (%lld ms)\n", good ? "pass" : "FAIL", tests[i].name, now_ms() - begin);
    }
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
