/* SPDX-License-Identifier: BSL-1.0
 * Connects through WireGuard, without root rights and without a TUN device, as nc(1) does without WireGuard.
 *
 *     dial FILE HOST:PORT <request >answer
 *
 * FILE is a configuration file of wg-quick(8). Sends what stands on the standard input, ends that direction, and prints
 * the answer. */
#include <wg.h>

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Copies until the end of `from`. Returns: 0, or -1 and errno. */
static int copy(int from, int to) {
    static char data[65536];
    for (;;) {
        ssize_t const got = read(from, data, sizeof data);
        if (got <= 0) return (int)got;
        for (ssize_t done = 0; done < got;) {
            ssize_t const written = write(to, data + done, (size_t)(got - done));
            if (written < 0) return -1;
            done += written;
        }
    }
}

int main(int count, char** arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: dial FILE HOST:PORT\n");
        return 2;
    }
    char why[256];
    wg_tunnel* tunnel;
    if (wg_tunnel_open_file(&tunnel, arguments[1], NULL, why, sizeof why) != WG_OK) {
        fprintf(stderr, "dial: %s\n", why);
        return 1;
    }
    int result = 1;
    int const fd = wg_dial(tunnel, arguments[2], 10000);
    if (fd < 0) {
        fprintf(stderr, "dial: %s: %s\n", arguments[2], wg_describe(fd));
    } else {
        if (copy(STDIN_FILENO, fd) != 0) perror("dial: sending");
        shutdown(fd, SHUT_WR);
        if (copy(fd, STDOUT_FILENO) != 0) perror("dial: receiving");
        else if (wg_state(tunnel, fd) < 0) fprintf(stderr, "dial: %s\n", wg_describe(wg_state(tunnel, fd)));
        else result = 0;
        close(fd);
    }
    wg_tunnel_close(tunnel, 1000);
    return result;
}
