#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""inner_packets suite: ICMP errors for packets without a peer, ICMP errors from the far network, and ECN."""
import socket
import time

from checks import Failure, check, equal, wait_until
from hosts import family_of
from known_failures import known_failures
from runner import main, test
from wg_tools import Tunnel


@test
def no_peer_or_no_endpoint_is_unreachable_at_once(lab):
    t = Tunnel(lab, initiator='')
    seen = t.a.capture('veth')
    v4, v6 = 'Destination Host Unreachable', 'Address unreachable'
    for address, message in ('10.9.0.55', v4), ('10.9.0.2', v4), ('fd09::55', v6), ('fd09::2', v6):
        start = time.monotonic()
        p = t.a.ping_output(address, wait=5)
        check(p.returncode == 1 and message in p.output, f'{address}: wanted "{message}": {p.output.strip()}')
        check(time.monotonic() - start < 2, f'{address}: the error came after {time.monotonic() - start:.1f} s')
        client = t.a.socket(family_of(address), socket.SOCK_DGRAM)
        IP_RECVERR, IPV6_RECVERR = 11, 25
        client.setsockopt(*((socket.IPPROTO_IP, IP_RECVERR, 1) if '.' in address else
                            (socket.IPPROTO_IPV6, IPV6_RECVERR, 1)))
        client.connect((address, 7))
        client.send(b'x')
        try:
            client.recv(10)
            raise Failure(f'{address}: a datagram was answered')
        except OSError as e:
            equal(e.errno, 113, f'{address}: EHOSTUNREACH from a UDP socket')
    equal(seen.udp(True), [], 'packets sent on the wire')


def udp_headers(seen):
    """(outgoing, tos, destination port) of the UDP packets that were captured."""
    for out, p in seen.packets():
        if p[0] >> 4 == 4 and p[9] == 17:
            at, tos = (p[0] & 15) * 4, p[1]
        elif p[0] >> 4 == 6 and p[6] == 17:
            at, tos = 40, (p[0] << 4 | p[1] >> 4) & 255
        else:
            continue
        yield out, tos, int.from_bytes(p[at + 2:at + 4], 'big')


@test
def icmp_errors_of_the_far_network_come_back_through_the_tunnel(lab):
    t = Tunnel(lab)
    a, b = t.a, t.b
    t.works()
    a.wg(f'set wg0 peer {t.pub_b} allowed-ips 10.9.0.2/32,fd09::2/128,10.50.0.0/16,fd50::/64')
    for version, network, target, router, message in (
            (4, '10.50.0.0/16', '10.50.0.1', '10.9.0.2', 'Destination Host Unreachable'),
            (6, 'fd50::/64', 'fd50::1', 'fd09::2', 'Destination unreachable')):
        b.sysctl('net.ipv4.ip_forward' if version == 4 else 'net.ipv6.conf.all.forwarding', 1)
        b.ip(f'-{version} route add unreachable {network}')
        a.ip(f'-{version} route add {network} dev wg0')
        p = a.ping_output(target, wait=5)
        check(p.returncode == 1 and f'From {router}' in p.output and message in p.output,
              f'{target}: wanted "{message}" from {router}: {p.output.strip()}')


@test
def ecn_passes_between_inner_and_outer_header(lab):
    for outer in 4, 6:
        t = Tunnel(lab, outer)
        t.works()
        wire, inside = t.b.capture('veth'), t.b.capture('wg0')
        for version, address in (4, '10.9.0.2'), (6, 'fd09::2'):
            s = t.a.socket(family_of(address), socket.SOCK_DGRAM)

            def send(tos, port):
                """Sends one datagram; returns (outer tos, inner tos at the other end)."""
                wire.packets(), inside.packets()
                wire.seen.clear(), inside.seen.clear()
                option = (socket.IPPROTO_IP, socket.IP_TOS) if version == 4 else (socket.IPPROTO_IPV6,
                                                                                  socket.IPV6_TCLASS)
                s.setsockopt(*option, tos)
                s.sendto(b'x', (address, port))
                came = lambda: [x for out, x, p in udp_headers(inside) if not out and p == port]
                wait_until(came, what=f'the datagram with tos {tos:#x}')
                return [x for x, p in wire.udp(False) if p[0] == 4][-1], came()[-1]
            what = f'(outer, inner) over IPv{outer}, inside IPv{version}, of'
            equal(send(0x00, 5000), (0, 0), f'{what} Not-ECT')
            equal(send(0xb9, 5001), (1, 0xb9), f'{what} ECT(1) with a DSCP')
            equal(send(0xba, 5002), (2, 0xba), f'{what} ECT(0) with a DSCP')
            out, inner = send(0xbb, 5003)
            check(out in (2, 3) and inner == 0xbb, f'{what} CE: {out}, {inner:#x}')
            ip = 'ip' if outer == 4 else 'ip6'
            t.a.nft(f'add table {ip} t; add chain {ip} t out {{ type filter hook output priority 0; }};'
                    f'add rule {ip} t out udp dport 10002 {ip} ecn set ce')
            equal(send(0xba, 5004), (3, 0xbb), f'{what} ECT(0), congested on the way')
            t.a.nft(f'delete table {ip} t')
        lab.clear()


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
