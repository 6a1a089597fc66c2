#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""flood suite: a tunnel and new peers, while a third host floods the port.

The flood has up to 60,000 datagrams a second, which is more than one processor core answers. Kinds of datagrams
(whitepaper 5.3): initiations with a wrong mac1; random initiations with a right mac1, from one address or a thousand;
with a random mac2; data with an unknown receiver index; data with a known index and a wrong tag; replayed data.
"""
import base64
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time

from checks import check, wait_until
from hosts import die_with_parent
from runner import main, test
from wg_tools import WGD, Key, Tunnel, pass_initiation_interval

known_failures = {}

FLOODER, VICTIM = '198.51.100.2', '198.51.100.1'
RATE = 60_000  # datagrams a second


def mac1_of(public, message):
    """mac1 of a message to the owner of this public key (whitepaper 5.4.4)."""
    key = hashlib.blake2s(b'mac1----' + base64.b64decode(public)).digest()
    return hashlib.blake2s(message, key=key, digest_size=16).digest()


def initiation(public=None, mac2=bytes(16)):
    """An initiation of random bytes. With a public key, its mac1 is right for the owner of the key."""
    body = struct.pack('<I', 1) + os.urandom(112)
    return body + (mac1_of(public, body) if public else os.urandom(16)) + mac2


def send_for_ever(host, packets, sources):
    """Sends these datagrams in turn from these addresses, in a process of its own, until the process is killed."""
    pid = os.fork()
    if pid:
        return pid
    try:
        die_with_parent()
        _sockets = []
        with host.inside():
            for source in sources:
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
                s.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: the address is only routed to this host
                s.bind((source, 0))
                s.connect((VICTIM, 10002))
                _sockets.append(s)
        pairs = [(s.send, p) for s, p in zip(_sockets * (len(packets) // len(_sockets) + 1), packets)]
        due = time.monotonic()
        while True:
            for send, packet in pairs:
                try:
                    send(packet)
                except OSError:
                    pass
            due = max(due + len(pairs) / RATE, time.monotonic() - 0.1)
            time.sleep(max(0, due - time.monotonic()))
    finally:
        os._exit(1)


class Siege:
    """A tunnel between a and b, a peer c of b without a session, and a host f that floods b."""

    def __init__(self, lab, program=None):
        self.lab, self.flooding = lab, None
        self.t = Tunnel(lab, initiator='a', programs=(None, program))
        self.b = self.t.b
        self.f, self.c = lab.host('flooder'), lab.host('caller')
        lab.link(self.f, self.b, f'{FLOODER}/24', f'{VICTIM}/24', 'flood')
        lab.link(self.c, self.b, '192.0.2.129/30', '192.0.2.130/30', 'call')
        self.f.ip('route add local 203.0.112.0/22 dev lo')
        self.b.ip(f'route add 203.0.112.0/22 via {FLOODER}')
        self.key = Key()
        self.b.wg(f'set wg0 peer {self.key.public} allowed-ips 10.9.0.3/32')
        self.dc = self.c.daemon('wg0')
        self.c.setconf('wg0', f'[Interface]\nPrivateKey = {self.key.private}\n[Peer]\nPublicKey = {self.t.pub_b}\n'
                              'AllowedIPs = 10.9.0.2/32\nEndpoint = 192.0.2.130:10002\n')
        self.c.address('wg0', '10.9.0.3/24')
        self.t.a.ping('10.9.0.2')

    def flood(self, packets, sources=(FLOODER,)):
        self.flooding = send_for_ever(self.f, packets, sources)

    def end_flood(self):
        os.kill(self.flooding, signal.SIGKILL)
        os.waitpid(self.flooding, 0)
        self.flooding = None

    def captured_data(self):
        """A message of data from a to b, as it was on the wire."""
        with self.t.a.inside():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            s.bind(('veth', 3))
            s.settimeout(5)
        with contextlib.closing(s):
            self.t.a.popen('ping -n -c 3 -i 0.2 10.9.0.2', stdout=subprocess.DEVNULL)
            while True:
                packet = s.recv(2048)
                if packet[9:10] == b'\x11' and packet[22:24] == struct.pack('>H', 10002) and packet[28:29] == b'\x04':
                    return packet[28:]

    def seconds_to_call(self, limit):
        """Brings the interface of c up; returns the seconds until its first packet was answered."""
        self.c.ip('link set wg0 up')
        began = time.monotonic()
        wait_until(lambda: self.c.ping_output('10.9.0.2', wait=1).returncode == 0, limit + 5, 'c is answered')
        return time.monotonic() - began

    def holds(self, packets, sources=(FLOODER,)):
        """Checks that the tunnel passes packets, that a new peer has a session within 11 s (with a cookie within 1 s),
        and that memory does not grow."""
        memory = self.t.db.rss_kib()
        self.flood(packets, sources)
        try:
            time.sleep(0.5)  # the flood has begun, and the daemon has filled its queues
            first = self.seconds_to_call(11)
            lost = re.search(r'(\d+) received', self.t.a.ping_output('10.9.0.2', count=100).output)
            self.c.ip('link set wg0 down')
            pass_initiation_interval()
            again = self.seconds_to_call(1)
            grown = self.t.db.rss_kib() - memory
        finally:
            self.end_flood()
        self.lab.say(f'first {first:.1f} s, again {again:.2f} s, {lost[1]} of 100 pings')
        check(first <= 11, f'a new peer was answered after {first:.1f} s')
        check(again <= 1, f'a peer with a cookie was answered after {again:.1f} s')
        check(int(lost[1]) >= 95, f'{lost[1]} of 100 pings passed')
        check(grown < 4096, f'the daemon took {grown} KiB more')
        self.t.works()


def thousand_sources():
    return [f'203.0.{112 + i // 250}.{1 + i % 250}' for i in range(1000)]


@test(long=True, seconds=90)
def a_flood_with_a_wrong_mac1_is_withstood(lab):
    Siege(lab).holds([initiation() for _ in range(1000)])


@test(long=True, seconds=90)
def a_flood_with_a_right_mac1_is_withstood(lab):
    s = Siege(lab)
    s.holds([initiation(s.t.pub_b) for _ in range(1000)])


@test(seconds=90)
def a_flood_with_a_right_mac1_from_a_thousand_addresses_is_withstood(lab):
    s = Siege(lab)
    s.holds([initiation(s.t.pub_b) for _ in range(1000)], thousand_sources())


@test(seconds=90)
def a_flood_with_a_random_mac2_is_withstood(lab):
    s = Siege(lab)
    s.holds([initiation(s.t.pub_b, os.urandom(16)) for _ in range(1000)])


@test(long=True, seconds=90)
def a_flood_with_unknown_receivers_is_withstood(lab):
    Siege(lab).holds([struct.pack('<I', 4) + os.urandom(144) for _ in range(1000)])


@test(seconds=90)
def a_flood_with_wrong_tags_is_withstood(lab):
    s = Siege(lab)
    index = s.captured_data()[4:8]
    s.holds([struct.pack('<I', 4) + index + struct.pack('<Q', random.getrandbits(32)) + os.urandom(132)
             for _ in range(1000)])


@test(long=True, seconds=90)
def a_flood_of_replayed_data_is_withstood(lab):
    s = Siege(lab)
    s.holds([s.captured_data()] * 1000)


@test(seconds=90)
def a_flood_is_withstood_without_a_filter_in_the_kernel(lab):
    """As in a container without the right to load eBPF programs."""
    s = Siege(lab, ['setpriv', '--bounding-set', '-sys_admin,-bpf', WGD])
    s.holds([initiation(s.t.pub_b) for _ in range(1000)])


if __name__ == '__main__':
    main(__doc__, known_failures)
