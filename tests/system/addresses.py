#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""addresses suite: outer source addresses, routes, firewall marks, and tunnels inside tunnels."""
import os
import signal
import subprocess

from checks import check, equal, wait_until
from hosts import tcp_copy, udp_echo
from known_failures import known_failures
from runner import main, test
from wg_tools import Key, Tunnel, endpoint


@test
def answers_come_from_the_address_that_was_dialled(lab):
    for outer, second, prefix in (4, '192.0.2.77', 24), (6, '2001:db8::77', 64):
        t = Tunnel(lab, outer, initiator='a')
        t.b.address('veth', f'{second}/{prefix}')
        t.a.wg(f'set wg0 peer {t.pub_b} endpoint {endpoint(second, 10002)}')
        t.a.ping('10.9.0.2', count=3)
        t.b.ping('10.9.0.1', count=3)
        udp_echo(t.a, t.b, '10.9.0.2')
        tcp_copy(t.a, t.b, '10.9.0.2', 2)
        equal(t.a.show('wg0').peer.endpoint, endpoint(second, 10002), "b's address as a sees it")
        lab.clear()


@test
def a_source_address_that_was_removed_is_given_up(lab):
    for outer, old, new, prefix in (4, '192.0.2.1', '192.0.2.3', 24), (6, '2001:db8::1', '2001:db8::3', 64):
        t = Tunnel(lab, outer, initiator='a')
        t.works()
        t.a.address('veth', f'{new}/{prefix}')
        t.a.sysctl('net.ipv4.conf.all.promote_secondaries', 1)
        t.a.ip(f'addr del {old}/{prefix} dev veth')
        t.a.ping('10.9.0.2', count=3)
        equal(t.b.show('wg0').peer.endpoint, endpoint(new, 10001), "a's address as b sees it")
        t.b.ping('10.9.0.1')
        lab.clear()


@test
def other_routes_leave_the_source_address_as_it_was_dialled(lab):
    for outer, second, unrelated in (4, '192.0.2.7', '203.0.113.0/24'), (6, '2001:db8::7', '2001:db8:7::/48'):
        t = Tunnel(lab, outer, initiator='a')
        t.b.address('veth', f'{second}/{24 if outer == 4 else 64}')
        t.a.wg(f'set wg0 peer {t.pub_b} endpoint {endpoint(second, 10002)}')
        t.a.ping('10.9.0.2')
        for what in 'add', 'del':
            t.b.ip(f'-{outer} route {what} {unrelated} dev veth')
            t.b.ping('10.9.0.1')  # b sends first, and has been notified of the route by then
            equal(t.a.show('wg0').peer.endpoint, endpoint(second, 10002), f"b's address as a sees it, IPv{outer}")
        lab.clear()


def late_datagrams_do_not_hold(t, route, uses):
    """Datagrams in flight on the second wire when its route is removed must not keep the tunnel on that wire."""
    t.a.ip(f'route add {route}')
    wait_until(lambda: uses('alt'), 5, 'a sends over the second wire again')
    os.kill(t.da.pid, signal.SIGSTOP)
    before = t.a.device_counters('alt')[0]
    late = t.b.popen('ping -n -c 3 -i 0.2 -W 5 10.9.0.1', stdout=subprocess.DEVNULL)
    wait_until(lambda: t.a.device_counters('alt')[0] - before > 300, 5, 'datagrams wait at a, from the second wire')
    t.a.ip(f'route del {route}')
    os.kill(t.da.pid, signal.SIGCONT)
    equal(late.wait(10), 0, 'late datagrams are answered')
    wait_until(lambda: uses('veth'), 2, 'a is on the first wire, whatever arrived late')
    equal(t.b.show('wg0').peer.endpoint, t.endpoint(t.a), "a's address on the first wire")


@test
def a_more_specific_route_takes_over(lab):
    routes = (4, '192.0.2.2/32 via 198.51.100.2'), (6, '2001:db8::2/128 via 2001:db8:ff::2')
    for outer, route in routes:
        t = Tunnel(lab, outer, initiator='a')
        lab.link(t.a, t.b, '198.51.100.1/24 2001:db8:ff::1/64', '198.51.100.2/24 2001:db8:ff::2/64', 'alt')
        for host in t.a, t.b:
            for device in 'all', 'veth', 'alt':
                host.sysctl(f'net.ipv4.conf.{device}.rp_filter', 0)
        t.works()

        def uses(device):
            before = t.a.device_counters(device)[1]
            return t.a.ping_output('10.9.0.2', wait=1, size=999).returncode == 0 and \
                t.a.device_counters(device)[1] - before > 1000
        check(uses('veth'), 'a starts on the first wire')
        t.a.ip(f'-{outer} route add {route}')
        wait_until(lambda: uses('alt'), 5, f'a sends over the second wire, IPv{outer}')
        if outer == 4:  # the source address follows the route; an IPv6 source may stay, because it is still valid
            equal(t.b.show('wg0').peer.endpoint, '198.51.100.1:10001', "a's address on the second wire")
        t.works()
        t.a.ip(f'-{outer} route del {route}')
        wait_until(lambda: uses('veth'), 5, f'a returns to the first wire, IPv{outer}')
        equal(t.b.show('wg0').peer.endpoint, t.endpoint(t.a), "a's address on the first wire")

        if outer == 4:
            late_datagrams_do_not_hold(t, route, uses)
        lab.clear()


@test
def fwmark_keeps_the_daemon_out_of_its_own_default_route(lab):
    t = Tunnel(lab)
    a, b = t.a, t.b
    b.address('lo', '203.0.113.9/32', '2001:db8:9::9/128', '203.0.113.7/32', '2001:db8:7::7/128')
    a.ip('route add default via 192.0.2.2')
    a.ip('-6 route add default via 2001:db8::2')
    a.sysctl('net.ipv4.conf.all.src_valid_mark', 1)
    a.wg(f'set wg0 fwmark 0xca6c peer {t.pub_b} allowed-ips 0.0.0.0/0,::/0 endpoint 203.0.113.9:10002')
    equal(a.show('wg0').fwmark, 0xca6c, 'fwmark shown')
    for v in 4, 6:
        a.ip(f'-{v} route add default dev wg0 table 51820')
        a.ip(f'-{v} rule add not fwmark 0xca6c table 51820')
        a.ip(f'-{v} rule add table main suppress_prefixlength 0')
    for far in '203.0.113.9:10002', '[2001:db8:9::9]:10002':
        a.wg(f'set wg0 peer {t.pub_b} endpoint {far}')
        seen = a.capture('wg0')
        before = b.device_counters('wg0')[0]
        a.ping('203.0.113.7', count=3, options='-I 10.9.0.1')
        a.ping('2001:db8:7::7', count=3, options='-I fd09::1')
        tcp_copy(a, b, '203.0.113.7', 2)
        check(b.device_counters('wg0')[0] - before > 2 << 20, 'the traffic went through the tunnel')
        equal(a.show('wg0').peer.endpoint, far, 'endpoint')
        check(not [p for tos, p in seen.udp(True)], 'an outer packet was routed into the tunnel')


@test
def works_without_ipv6(lab):
    a, b = lab.host('a'), lab.host('b')
    for host in a, b:
        for c in 'all', 'default', 'lo':
            host.sysctl(f'net.ipv6.conf.{c}.disable_ipv6', 1)
    lab.link(a, b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
    keys = Key(), Key()
    for host, n in (a, 0), (b, 1):
        host.daemon('wg0')
        host.setconf('wg0', f'[Interface]\nPrivateKey = {keys[n].private}\nListenPort = 1000{n}\n[Peer]\n'
                     f'PublicKey = {keys[1 - n].public}\nEndpoint = 192.0.2.{2 - n}:1000{1 - n}\n'
                     f'AllowedIPs = 10.9.0.{2 - n}/32\n')
        host.address('wg0', f'10.9.0.{n + 1}/24')
        host.ip('link set wg0 up')
    a.ping('10.9.0.2', count=3)
    b.ping('10.9.0.1', count=3)
    tcp_copy(a, b, '10.9.0.2', 2)


@test
def wireguard_runs_inside_wireguard(lab):
    t = Tunnel(lab)
    inner = {'a': Key(), 'b': Key()}
    for host in t.a, t.b:
        far, n = t.other(host), t.NUMBER[host.name]
        host.daemon('wg1')
        host.setconf('wg1', f'[Interface]\nPrivateKey = {inner[host.name].private}\nListenPort = 20001\n[Peer]\n'
                     f'PublicKey = {inner[far.name].public}\nEndpoint = 10.9.0.{3 - n}:20001\n'
                     f'AllowedIPs = 10.10.0.{3 - n}/32, fd10::{3 - n}/128\n')
        host.address('wg1', f'10.10.0.{n}/24', f'fd10::{n}/64')
        host.ip('link set wg1 mtu 1340 up')
    t.a.ping('10.10.0.2', count=5)
    t.b.ping('fd10::1', count=5)
    t.a.ping('10.10.0.2', size=1312, options='-M do')
    udp_echo(t.a, t.b, '10.10.0.2')
    lab.say(f'{tcp_copy(t.a, t.b, "10.10.0.2", 2):.0f} Mbit/s')


@test
def a_routing_loop_is_bounded(lab):
    t = Tunnel(lab)
    t.works()
    # The endpoint is behind the tunnel itself: each packet sent enters the tunnel again, 60 bytes longer.
    t.a.wg(f'set wg0 peer {t.pub_b} endpoint 10.9.0.2:10002')
    before = t.a.show('wg0').peer.tx
    t.a.ping_output('10.9.0.2', count=10, wait=1, flood=True)
    sent = t.a.show('wg0').peer.tx - before
    check(sent < 70000, f'ten pings into a routing loop made {sent} bytes, wanted less than 70000')
    t.a.wg(f'set wg0 peer {t.pub_b} endpoint {t.endpoint(t.b)}')
    t.works()


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
