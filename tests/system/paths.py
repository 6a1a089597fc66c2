#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""paths suite: outer datagrams on hosts with several uplinks, rules for routes, small links and packet filters.

The source address and the interface of an answer follow the rule of Linux's own WireGuard:
docs/decisions/linux/source-by-linux-rule.md.
"""
import socket

from checks import Failure, check, equal, skip, wait_until
from hosts import family_of, tcp_copy, udp_echo
from runner import main, test
from wg_tools import Key, Tunnel, endpoint, pass_initiation_interval

PORT_C, PORT_S = 51821, 51822
# The addresses of s: of its first uplink, of the second, of no uplink, and a second one of the first uplink.
WHERE = {
    4: {'first': '198.51.100.2', 'second': '203.0.113.2', 'own': '198.18.0.1', 'extra': '198.51.100.7'},
    6: {'first': '2001:db8:1::2', 'second': '2001:db8:2::2', 'own': '2001:db8:5::1', 'extra': '2001:db8:1::7'}}
GATEWAY = {4: {'e1': '198.51.100.1', 'e2': '203.0.113.1'}, 6: {'e1': '2001:db8:1::1', 'e2': '2001:db8:2::1'}}


class Uplinks:
    """A client c, a router r, and a server s with two uplinks e1 and e2 to r. The router reaches s by e1, except for
    the address of e2; the default route of s leads by `back`.

    Nothing changes the routes of s after its daemon has started, so the daemon looks up routes only because of the
    datagrams themselves."""

    def __init__(self, lab, back='e2'):
        self.c, self.r, self.s = c, r, s = lab.host('c'), lab.host('r'), lab.host('s')
        for host in r, s:
            for name in 'all', 'default':
                host.sysctl(f'net.ipv4.conf.{name}.rp_filter', 0)
        lab.link(c, r, '192.0.2.2/24 2001:db8:c::2/64', '192.0.2.1/24 2001:db8:c::1/64', 'veth')
        lab.link(r, s, '198.51.100.1/24 2001:db8:1::1/64', '198.51.100.2/24 2001:db8:1::2/64', 'e1')
        lab.link(r, s, '203.0.113.1/24 2001:db8:2::1/64', '203.0.113.2/24 2001:db8:2::2/64', 'e2')
        s.address('e1', '198.51.100.7/24', '2001:db8:1::7/64')
        s.address('lo', '198.18.0.1/32', '2001:db8:5::1/128')
        r.sysctl('net.ipv4.ip_forward', 1)
        r.sysctl('net.ipv6.conf.all.forwarding', 1)
        for v, to_c, to_s in (4, '192.0.2.1', '198.51.100.2'), (6, '2001:db8:c::1', '2001:db8:1::2'):
            c.ip(f'-{v} route add default via {to_c}')
            r.ip(f'-{v} route add {WHERE[v]["own"]} via {to_s}')
            s.ip(f'-{v} route add default via {GATEWAY[v][back]} dev {back}')
        self.key = {'c': Key(), 's': Key()}

    def start(self, fwmark=0):
        self.s.sysctl('net.ipv6.conf.default.disable_ipv6', 1)  # an address of wg0 would notify the daemon of routes
        for host, port in (self.c, PORT_C), (self.s, PORT_S):
            host.daemon('wg0')
            host.wg(f'set wg0 private-key /dev/stdin listen-port {port}', self.key[host.name].private)
            host.ip('link set wg0 up')
        self.s.wg(f'set wg0 fwmark {fwmark} peer {self.key["c"].public} allowed-ips 10.9.0.1/32')
        return self

    def dial(self, address):
        """A handshake of c with s at this address must succeed; returns the address that s answered from."""
        public = self.key['s'].public
        self.c.wg(f'set wg0 peer {public} remove')
        pass_initiation_interval()
        self.c.wg(f'set wg0 peer {public} endpoint {endpoint(address, PORT_S)} allowed-ips 10.9.0.2/32 '
                  'persistent-keepalive 25')
        wait_until(lambda: self.c.show('wg0').peer.latest_handshake, 4, f'a handshake with s at {address}')
        return self.c.show('wg0').peer.endpoint.rpartition(':')[0].strip('[]')

    def works(self):
        """Packets pass the tunnel both ways."""
        for host, own, far in (self.c, '10.9.0.1', '10.9.0.2'), (self.s, '10.9.0.2', '10.9.0.1'):
            if far not in host.ip('route'):
                host.ip(f'addr replace {own}/32 dev wg0')
                host.ip(f'route replace {far} dev wg0 src {own}')
        self.c.ping('10.9.0.2', 3)
        self.s.ping('10.9.0.1', 3)


# ---------------------------------------------------------------------------------------------------- asymmetric routes

@test
def an_answer_takes_the_route_back_and_not_the_interface_it_was_dialled_on(lab):
    u = Uplinks(lab).start()
    for v in 4, 6:
        before = [u.s.device_counters(d)[1] for d in ('e1', 'e2')]
        for dialled in 'first', 'own', 'second':
            source = u.dial(WHERE[v][dialled])
            # IPv4: the route leaves by another interface, so the source is chosen anew. IPv6: the source stays.
            equal(source, WHERE[v]['second' if v == 4 else dialled], f'source of the answer, IPv{v}, dialled {dialled}')
        sent = [u.s.device_counters(d)[1] - b for d, b in zip(('e1', 'e2'), before)]
        check(sent[1] >= 3 * (92 + 42) and sent[0] < 500, f'the answers left by e2: bytes sent by e1, e2: {sent}')
        u.works()


@test
def where_the_route_back_agrees_the_dialled_address_stays(lab):
    u = Uplinks(lab, back='e1').start()
    for v in 4, 6:
        for dialled in 'first', 'extra', 'own':
            equal(u.dial(WHERE[v][dialled]), WHERE[v][dialled], f'source of the answer, IPv{v}')
            u.works()


@test
def rules_by_source_port_and_mark_decide_about_the_route_back(lab):
    rules = {'by source': 'from {extra}', 'by source port': f'ipproto udp sport {PORT_S}',
             'by destination port': f'ipproto udp dport {PORT_C}', 'by mark': 'fwmark 7'}
    for ruled, other in ('e1', 'e2'), ('e2', 'e1'):
        u = Uplinks(lab, back=other).start(7)
        for v in 4, 6:
            u.s.ip(f'-{v} route add default via {GATEWAY[v][ruled]} dev {ruled} table 100')
            for name, rule in rules.items():
                what = f'IPv{v}, a rule {name} that leads to {ruled}'
                rule = rule.format(**WHERE[v])
                u.s.ip(f'-{v} rule add {rule} table 100')
                before = u.s.device_counters(ruled)[1]
                source = u.dial(WHERE[v]['extra'])  # which arrives by e1
                if v == 6 or ruled == 'e1':
                    equal(source, WHERE[v]['extra'], f'source of the answer, {what}')
                # Where an IPv4 answer lost its source, a rule by source is no longer for this answer.
                if v == 6 or ruled == 'e1' or name != 'by source':
                    check(u.s.device_counters(ruled)[1] - before >= 92 + 42, f'the answer left by {ruled}, {what}')
                u.s.ip(f'-{v} rule del {rule} table 100')
        lab.clear()


@test
def a_route_that_changes_is_followed_there_and_back(lab):
    u = Uplinks(lab, back='e1').start()
    for v in 4, 6:
        equal(u.dial(WHERE[v]['own']), WHERE[v]['own'], f'source of the answer, IPv{v}')
        u.works()
        for device, source in ('e2', WHERE[v]['second' if v == 4 else 'own']), ('e1', None):
            u.s.ip(f'-{v} route replace default via {GATEWAY[v][device]} dev {device}')
            u.works()
            before = u.s.device_counters(device)[1]
            u.s.ping('10.9.0.1', 3)
            check(u.s.device_counters(device)[1] - before > 3 * 128, f's sends by {device}, IPv{v}')
            if source:
                equal(u.c.show('wg0').peer.endpoint, endpoint(source, PORT_S), f's as c sees it, IPv{v}')


@test
def a_vrf_answers_by_its_own_routes(lab):
    u = Uplinks(lab)
    s = u.s
    p = s.try_run('ip link add red type vrf table 10')
    if p.returncode:
        skip('this kernel has no VRF: ' + p.output.strip().splitlines()[0])
    s.ip('link set red up')
    s.ip('link set e1 master red')
    for v in 4, 6:
        s.ip(f'-{v} route replace default via {GATEWAY[v]["e1"]} dev e1 vrf red')
    s.sysctl('net.ipv4.udp_l3mdev_accept', 1)
    s.address('red', '198.18.0.9/32', '2001:db8:5::9/128')
    u.start()
    for v in 4, 6:
        equal(u.dial(WHERE[v]['first']), WHERE[v]['first'], f'source of the answer out of the VRF, IPv{v}')


# ------------------------------------------------------------------------------------------------------------ addresses

@test
def an_address_that_moves_to_another_interface_goes_on_answering(lab):
    u = Uplinks(lab, back='e1').start()
    for v in 4, 6:
        own = WHERE[v]['own']
        u.dial(own)
        u.works()
        for was, becomes in ('lo', 'e2'), ('e2', 'e1'), ('e1', 'lo'):
            u.s.ip(f'addr del {own}/{32 if v == 4 else 128} dev {was}')
            u.s.address(becomes, f'{own}/{32 if v == 4 else 128}')
            u.s.ping('10.9.0.1', 2)
            u.c.ping('10.9.0.2', 2)
            equal(u.dial(own), own, f'source of the answer when {becomes} has the address, IPv{v}')
            u.works()


@test
def an_address_that_is_removed_is_given_up_until_it_comes_back(lab):
    u = Uplinks(lab, back='e1').start()
    for v in 4, 6:
        u.dial(WHERE[v]['own'])
        u.works()
        u.s.ip(f'addr del {WHERE[v]["own"]}/{32 if v == 4 else 128} dev lo')
        u.s.ping('10.9.0.1', 3)
        others = [endpoint(WHERE[v][name], PORT_S) for name in ('first', 'extra')]
        check(u.c.show('wg0').peer.endpoint in others, f's as c sees it, IPv{v}: {u.c.show("wg0").peer.endpoint}')
        u.c.ping('10.9.0.2', 3)
        # The address comes back, which changes only its own route.
        u.s.address('lo', f'{WHERE[v]["own"]}/{32 if v == 4 else 128}')
        wait_until(lambda: u.dial(WHERE[v]['own']) == WHERE[v]['own'], 5, f'the address answers again, IPv{v}')
        u.works()


@test
def link_local_peers_are_answered_on_their_own_link(lab):
    hub = lab.host('hub')
    hub_key, spokes = Key(), []
    hub.daemon('wg0')
    hub.wg(f'set wg0 private-key /dev/stdin listen-port {PORT_S}', hub_key.private)
    for n in 1, 2, 3:  # the hub has the same address on each link
        spoke, key = lab.host(f's{n}'), Key()
        lab.link(hub, spoke, 'fe80::1/64', 'fe80::2/64', f'e{n}')
        spoke.daemon('wg0')
        spoke.wg(f'set wg0 private-key /dev/stdin listen-port {PORT_C} peer {hub_key.public} allowed-ips 10.9.0.0/24 '
                 f'endpoint [fe80::1%e{n}]:{PORT_S}', key.private)
        spoke.address('wg0', f'10.9.0.{n + 1}/24')
        spoke.ip('link set wg0 up')
        hub.wg(f'set wg0 peer {key.public} allowed-ips 10.9.0.{n + 1}/32')
        spokes.append((spoke, key))
    hub.address('wg0', '10.9.0.1/24')
    hub.ip('link set wg0 up')
    for _ in range(2):
        for n, (spoke, key) in enumerate(spokes, 1):
            spoke.ping('10.9.0.1', 3)
            hub.ping(f'10.9.0.{n + 1}', 3)
            shown = hub.show('wg0').peers[key.public].endpoint
            check(shown.startswith('[fe80::') and shown.endswith(f'%e{n}]:{PORT_C}'), f'endpoint of {spoke}: {shown}')
        hub.ip('-6 route add 2001:db8:77::/48 dev e1')  # which notifies the daemon of routes
        hub.ip('-6 route del 2001:db8:77::/48 dev e1')


@test
def broadcasts_and_multicasts_are_answered_from_an_address_of_the_host(lab):
    t = Tunnel(lab, initiator='')
    member = t.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with t.b.inside():
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                          socket.inet_aton('239.1.2.3') + socket.inet_aton('192.0.2.2'))
    with t.a.inside():
        scope = socket.if_nametoindex('veth')
    for name, to, sources in (('broadcast', ('192.0.2.255', 10002), ['192.0.2.2']),
                              ('limited broadcast', ('255.255.255.255', 10002), ['192.0.2.2']),
                              ('multicast', ('239.1.2.3', 10002), ['192.0.2.2']),
                              ('multicast over IPv6', ('ff02::1', 10002, 0, scope), ['fe80::', '2001:db8::2'])):
        # A relay on a receives the datagrams of the daemon, and broadcasts them on the wire.
        inside = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('127.0.0.1', 0))
        family = family_of(to[0])
        outside = t.a.socket(family, socket.SOCK_DGRAM)
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            outside.setsockopt(socket.SOL_SOCKET, 25, b'veth\0')  # SO_BINDTODEVICE
        t.a.wg(f'set wg0 peer {t.pub_b} remove')
        pass_initiation_interval()
        t.a.wg(f'set wg0 peer {t.pub_b} endpoint 127.0.0.1:{inside.getsockname()[1]} allowed-ips 10.9.0.2/32 '
               'persistent-keepalive 25')
        initiation, daemon = inside.recvfrom(2000)
        equal(len(initiation), 148, 'bytes of the initiation')
        outside.sendto(initiation, to)
        try:
            response, who = outside.recvfrom(2000)
        except socket.timeout:
            raise Failure(f'no answer to an initiation by {name}') from None
        equal(len(response), 92, f'bytes of the response, {name}')
        check(any(who[0].startswith(s) for s in sources), f'{name} was answered from {who[0]}')
        inside.sendto(response, daemon)
        wait_until(lambda: t.a.show('wg0').peer.latest_handshake, what=f'a handshake by {name}')


# --------------------------------------------------------------------------------------------------------- small links

class SmallLink(Tunnel):
    """a - r - b: r routes, the link between r and b has the MTU `wire_mtu`, and the tunnels have an MTU of 1420."""
    WIRE = {4: {'a': '192.0.2.1', 'b': '198.51.100.1'}, 6: {'a': '2001:db8:a::1', 'b': '2001:db8:b::1'}}

    def connect(self, wire_mtu):
        self.r = self.lab.host('r')
        self.lab.link(self.a, self.r, '192.0.2.1/24 2001:db8:a::1/64', '192.0.2.2/24 2001:db8:a::2/64', 'veth')
        self.lab.link(self.r, self.b, '198.51.100.2/24 2001:db8:b::2/64', '198.51.100.1/24 2001:db8:b::1/64', 'small',
                      wire_mtu)
        self.r.sysctl('net.ipv4.ip_forward', 1)
        self.r.sysctl('net.ipv6.conf.all.forwarding', 1)
        self.a.batch('ip route add default via 192.0.2.2\nip -6 route add default via 2001:db8:a::2')
        self.b.batch('ip route add default via 198.51.100.2\nip -6 route add default via 2001:db8:b::2')


def small_link(lab, outer, mtu=1280):
    return SmallLink(lab, outer, wire_mtu=mtu)


def long_packets_pass(t):
    for address in '10.9.0.2', 'fd09::2':
        t.a.ping(address, 3, size=1392 if '.' in address else 1372, options='-M do')
    udp_echo(t.a, t.b, '10.9.0.2', sizes=(1, 1200, 1300, 1392))
    t.lab.say(f'{tcp_copy(t.a, t.b, "10.9.0.2", 4):.0f} Mbit/s')
    tcp_copy(t.b, t.a, 'fd09::1', 2)


@test
def long_packets_pass_a_router_that_drops_the_reports_of_its_mtu(lab):
    t = small_link(lab, 4)
    t.r.nft('add table inet t; add chain inet t out { type filter hook output priority 0; };'
            'add rule inet t out icmp type destination-unreachable counter drop comment "reports"')
    p = t.a.ping_output('198.51.100.1', size=1400, wait=1, options='-M do')
    check(' 100% packet loss' in p.output, 'the router swallows what must not be fragmented')
    equal(t.r.nft_counters('inet t'), {'reports': 1}, 'reports dropped')
    seen = t.a.capture('veth')
    long_packets_pass(t)
    equal(t.r.nft_counters('inet t'), {'reports': 1}, 'reports dropped: none for the tunnel')
    flags = {p[6] & 0xe0 for out, p in seen.packets() if out and p[0] >> 4 == 4 and p[9] == 17 and p[6] & 0x20 == 0}
    equal(flags, {0}, 'flags of the outer IPv4 header: no Don\'t Fragment')


@test
def long_packets_pass_where_the_host_knows_the_mtu_of_the_path(lab):
    for outer in 4, 6:
        t = small_link(lab, outer)
        if outer == 4:  # learned from other traffic of the host, which must not be fragmented
            t.a.ping_output('198.51.100.1', size=1400, wait=1, options='-M do')
            check('mtu 1280' in t.a.ip('route get 198.51.100.1'), 'a knows the path MTU')
        else:  # learned from the daemon's own datagrams: IPv6 routers fragment nothing
            t.a.ping_output('10.9.0.2', size=1392, wait=1)
            wait_until(lambda: 'mtu 1280' in t.a.ip('-6 route get 2001:db8:b::1'), what='a knows the path MTU')
        seen = t.a.capture('veth')
        long_packets_pass(t)
        longest = max(len(p) for out, p in seen.packets() if out)
        check(longest <= 1280, f'{longest} bytes left a for a path of 1280')
        lab.clear()


# ------------------------------------------------------------------------------------------------------------ refusals

@test
def a_datagram_that_the_host_refuses_does_not_stop_the_rest_of_its_batch(lab):
    hub, hub_key = lab.host('hub'), Key()
    hub.daemon('wg0')
    hub.wg(f'set wg0 private-key /dev/stdin listen-port {PORT_S}', hub_key.private)
    spokes = []
    for n in 1, 2, 3:
        spoke, key = lab.host(f's{n}'), Key()
        lab.link(hub, spoke, f'192.0.{n}.1/24', f'192.0.{n}.2/24', f'e{n}')
        spoke.daemon('wg0')
        spoke.wg(f'set wg0 private-key /dev/stdin listen-port {PORT_C} peer {hub_key.public} allowed-ips 10.9.0.0/24',
                 key.private)
        spoke.address('wg0', f'10.9.0.{n + 1}/24')
        spoke.ip('link set wg0 up')
        hub.wg(f'set wg0 peer {key.public} allowed-ips 10.9.0.{n + 1}/32 endpoint 192.0.{n}.2:{PORT_C}')
        spokes.append(spoke)
    hub.address('wg0', '10.9.0.1/24')
    hub.ip('link set wg0 up')
    for n in 2, 3, 4:
        hub.ping(f'10.9.0.{n}')
    ins = [s.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=(f'10.9.0.{n}', 7000), timeout=1)
           for n, s in enumerate(spokes, 2)]
    out = hub.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refusals = {
        'a packet filter': ('nft add table inet t; nft add chain inet t out { type filter hook output priority 0\\; };'
                            'nft add rule inet t out ip daddr 192.0.2.2 drop', 'nft delete table inet t'),
        'no route': ('ip link set e2 down', 'ip link set e2 up'),
        'a route that prohibits': ('ip route add prohibit 192.0.2.2', 'ip route del prohibit 192.0.2.2'),
        'a route that is a black hole': ('ip route add blackhole 192.0.2.2', 'ip route del blackhole 192.0.2.2')}
    for name, (refuse, allow) in refusals.items():
        hub.run(['sh', '-ec', refuse])
        for burst in range(20):  # datagrams of all three share the daemon's batches
            for n in 2, 3, 4:
                for i in range(4):
                    out.sendto(b'%d' % i, (f'10.9.0.{n}', 7000))
            for s in ins[0], ins[2]:
                try:
                    equal(sorted(int(s.recv(10)) for _ in range(4)), [0, 1, 2, 3], f'datagrams beside {name}')
                except socket.timeout:
                    raise Failure(f'a datagram was lost beside one that {name} refused, burst {burst}') from None
        ins[1].setblocking(False)
        try:
            ins[1].recv(10)
            raise Failure(f'{name} let a datagram pass')
        except BlockingIOError:
            pass
        ins[1].settimeout(1)
        hub.run(['sh', '-ec', allow])
        hub.ping('10.9.0.3', wait=10)
        while True:  # the datagrams that waited
            try:
                ins[1].settimeout(0.05)
                ins[1].recv(10)
            except socket.timeout:
                break


if __name__ == '__main__':
    main(__doc__, programs=('nft',))
