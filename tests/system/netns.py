#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""netns suite: how a WireGuard device behaves on real networks, two daemons in network namespaces."""
from lab import *

known_failures = {'wireguard-go': {}}


class Tunnel:
    """Two hosts a and b, a wire between them, a daemon on each, wg0 up with one peer each.

    wire: 192.0.2.1 / 192.0.2.2 and 2001:db8::1 / ::2; inside: 10.9.0.1 / 10.9.0.2 and fd09::1 / ::2.
    `outer`: 4, 6 or 0 for no endpoint at all; `initiator`: which ends know the other's endpoint ('ab', 'a', 'b').
    """

    def __init__(self, lab, outer=4, initiator='ab', mtu=1420, wire_mtu=1500, psk_a=None, psk_b=None):
        self.lab, self.outer = lab, outer
        self.a, self.b = lab.host('a'), lab.host('b')
        lab.link(self.a, self.b, '192.0.2.1/24 2001:db8::1/64', '192.0.2.2/24 2001:db8::2/64', 'veth', wire_mtu)
        self.key_a, self.key_b = Key(), Key()
        self.da, self.db = self.a.daemon('wg0'), self.b.daemon('wg0')
        ends = {4: ('192.0.2.1', '192.0.2.2'), 6: ('[2001:db8::1]', '[2001:db8::2]')}
        for host, key, other, number, secret in ((self.a, self.key_a, self.key_b, 1, psk_a),
                                                 (self.b, self.key_b, self.key_a, 2, psk_b)):
            endpoint = ''
            if outer and host.name in initiator:
                endpoint = f'Endpoint = {ends[outer][2 - number]}:{10000 + 3 - number}\n'
            host.setconf('wg0', f'[Interface]\nPrivateKey = {key.private}\nListenPort = {10000 + number}\n'
                         f'[Peer]\nPublicKey = {other.public}\n{endpoint}'
                         + (f'PresharedKey = {secret}\n' if secret else '') +
                         f'AllowedIPs = 10.9.0.{3 - number}/32, fd09::{3 - number}/128\n')
            host.address('wg0', f'10.9.0.{number}/24', f'fd09::{number}/64')
            host.ip(f'link set wg0 mtu {mtu} up')


@test
def pings_over_ipv4_and_ipv6(lab):
    for outer in 4, 6:
        t = Tunnel(lab, outer)
        t.a.ping('10.9.0.2')
        t.a.ping('fd09::2')
        t.b.ping('10.9.0.1')
        t.b.ping('fd09::1')
        lab.close()
        lab.hosts.clear()


@test
def tcp_and_udp(lab):
    t = Tunnel(lab)
    for address in '10.9.0.2', 'fd09::2':
        udp_echo(t.a, t.b, address)
        lab.say(f'{tcp_copy(t.a, t.b, address):.0f} Mbit/s')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
