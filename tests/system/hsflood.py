#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""hsflood.py ADDRESS PORT PUBLIC_KEY SECONDS [BURST [PAUSE]]: put a WireGuard interface under load.

Sends handshake initiations whose mac1 is right for PUBLIC_KEY and whose rest is noise (whitepaper, sections 5.4.2 and
5.4.4): the receiver must spend a Diffie-Hellman computation on each, or ask for a cookie. They come in bursts from
UDP port 40000, each burst larger than the mark at which Linux's handshake queue counts as full. With BURST, they come
in bursts of so many, each as soon as the one before is answered: all the load that a small node can bear and none that
it cannot hear, as its network controller has room for a few messages. With PAUSE, each comes so many seconds after the
one before, answered or not.
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
    """Returns when so many datagrams came, or none for a while."""
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
            except OSError:  # a full queue on the way is part of a flood
                pass
        if len(bursts) == 1:
            await_answers(flood, burst)
        else:
            time.sleep(pause_s)


if __name__ == '__main__':
    main()
