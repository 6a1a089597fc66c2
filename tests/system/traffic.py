#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""traffic suite: packets of all sizes between two daemons in network namespaces, and between one and five.

Some of the numbers are those of Linux's own tools/testing/selftests/wireguard/netns.sh; the tests are not.
"""
import socket

from checks import Failure, check, equal
from hosts import tcp_copy, udp_echo
from known_failures import known_failures
from runner import main, test
from wg_tools import Key, Tunnel, endpoint


@test
def byte_counts_are_exact(lab):
    t = Tunnel(lab, initiator='a')
    t.a.ping('10.9.0.2', count=10, flood=True)
    a, b = t.a.show('wg0').peer, t.b.show('wg0').peer
    equal(b.tx, 1372, 'sent by the responder: a response of 92 and ten packets of 128')
    check(b.rx in (1428, 1460), f'sent by the initiator: 148 + ten of 128, perhaps a keepalive of 32; got {b.rx}')
    equal((a.rx, a.tx), (b.tx, b.rx), 'the other end counts the same')


def traffic(lab, outer, **options):
    t = Tunnel(lab, outer, **options)
    t.works()
    t.a.ping('10.9.0.2', count=100, flood=True)
    t.b.ping('fd09::1', count=100, flood=True)
    for client, server, address in (t.a, t.b, '10.9.0.2'), (t.b, t.a, '10.9.0.1'), (t.a, t.b, 'fd09::2'):
        udp_echo(client, server, address)
        lab.say(f'{tcp_copy(client, server, address):.0f} Mbit/s')
    return t


@test
def traffic_over_ipv4(lab):
    traffic(lab, 4)


@test
def traffic_over_ipv6(lab):
    traffic(lab, 6)


@test
def traffic_with_a_big_mtu(lab):
    for outer in 4, 6:
        t = traffic(lab, outer, mtu=34816 - 1500 + 1420, wire_mtu=34816)
        t.a.ping('10.9.0.2', size=30000)
        udp_echo(t.b, t.a, '10.9.0.1', sizes=(20000, 34000, 34708))
        lab.clear()


@test
def every_size_passes_and_is_fragmented_inside(lab):
    t = Tunnel(lab)
    for size in (*range(40, 58), 1391, 1392, 4000, 20000):
        t.a.ping('10.9.0.2', size=size)
    for size in (*range(40, 58), 1371, 1372, 4000, 20000):
        t.b.ping('fd09::1', size=size)


@test
def padding_stays_within_the_mtu(lab):
    t = Tunnel(lab)
    t.a.ping('10.9.0.2')
    for host in t.a, t.b:
        host.ip('link set wg0 mtu 1299')
        host.nft('add table inet t; add chain inet t in { type filter hook input priority 0; };'
                 'add rule inet t in udp dport 10000-10002 meta length >= 1360 drop')
    # 1269 + 28 = 1297 bytes of packet: padded to 1299 and not to 1312, the outer one has 1359.
    t.a.ping('10.9.0.2', size=1269)
    t.b.ping('10.9.0.1', size=1269)


@test
def mixed_ipv4_and_ipv6_peers_get_only_their_own_packets(lab):
    hub, key = lab.host('hub'), Key()
    hub.daemon('wg0')
    conf, spokes = f'[Interface]\nPrivateKey = {key.private}\nListenPort = 10000\n', []
    for n, outer in (1, 6), (2, 4), (3, 6), (4, 4), (5, 6):
        spoke, own = lab.host(f's{n}'), Key()
        lab.link(hub, spoke, f'192.0.{n}.1/24 2001:db8:{n}::1/64', f'192.0.{n}.2/24 2001:db8:{n}::2/64')
        spoke.daemon('wg0')
        spoke.setconf('wg0', f'[Interface]\nPrivateKey = {own.private}\nListenPort = 10000\n'
                      f'[Peer]\nPublicKey = {key.public}\nAllowedIPs = 10.9.0.0/24\n')
        spoke.address('wg0', f'10.9.0.{n + 1}/24')
        spoke.ip('link set wg0 up')
        far = f'192.0.{n}.2' if outer == 4 else f'2001:db8:{n}::2'
        conf += (f'[Peer]\nPublicKey = {own.public}\nAllowedIPs = 10.9.0.{n + 1}/32\n'
                 f'Endpoint = {endpoint(far, 10000)}\n')
        spokes.append(spoke)
    hub.setconf('wg0', conf)
    hub.address('wg0', '10.9.0.1/24')
    hub.ip('link set wg0 up')
    out = hub.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ins = [s.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=(f'10.9.0.{n + 2}', 7000)) for n, s in enumerate(spokes)]
    for n, s in enumerate(ins):  # sessions first, so that only transport data follows
        out.sendto(b'x', (f'10.9.0.{n + 2}', 7000))
        try:
            s.recv(10)
        except socket.timeout:
            raise Failure(f'the first datagram for {spokes[n]} did not arrive') from None
    before = [s.show('wg0').peer.rx for s in spokes]
    for i in range(50):  # bursts, so that packets of all peers share the daemon's batches
        for j in range(4):
            for n in range(len(spokes)):
                out.sendto(b'%d' % j, (f'10.9.0.{n + 2}', 7000))
        for n, s in enumerate(ins):
            try:
                equal(sorted(int(s.recv(10)) for _ in range(4)), [0, 1, 2, 3], f'datagrams at {spokes[n]}')
            except socket.timeout:
                raise Failure(f'datagrams for {spokes[n]} did not all arrive there, burst {i}') from None
    for n, spoke in enumerate(spokes):
        equal(spoke.show('wg0').peer.rx - before[n], 200 * (32 + 32), f'bytes at {spoke}')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
