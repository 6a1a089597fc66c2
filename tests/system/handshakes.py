#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""handshakes suite: sessions begin, roam, are renewed and end; keys that do not agree; keepalives."""
import os
import signal
import socket
import subprocess
import time

from checks import Failure, check, equal, stays, wait_until
from hosts import process_state
from known_failures import known_failures
from runner import main, test
from wg_tools import Key, Tunnel, pass_initiation_interval, psk


@test
def endpoint_roams_by_port_and_from_ipv4_to_ipv6(lab):
    t = Tunnel(lab, initiator='a')
    t.a.ping('10.9.0.2')
    equal(t.b.show('wg0').peer.endpoint, '192.0.2.1:10001', "a's endpoint at b")
    t.a.wg('set wg0 listen-port 9999')
    t.a.ping('10.9.0.2')
    equal(t.b.show('wg0').peer.endpoint, '192.0.2.1:9999', "a's endpoint after a new port")
    t.b.ping('10.9.0.1')
    t.a.wg(f'set wg0 peer {t.pub_b} endpoint [2001:db8::2]:10002')
    t.a.ping('10.9.0.2')
    equal(t.b.show('wg0').peer.endpoint, '[2001:db8::1]:9999', "a's endpoint over IPv6")
    t.b.ping('10.9.0.1')
    t.b.wg('set wg0 listen-port 9998')
    t.b.ping('10.9.0.1')
    equal(t.a.show('wg0').peer.endpoint, '[2001:db8::2]:9998', "b's endpoint over IPv6")


@test
def a_daemon_that_was_stopped_for_seconds_keeps_its_sessions(lab):
    """A debugger or a busy host stops a process, and not the clocks, so this is no suspend."""
    t = Tunnel(lab)
    t.a.ping('10.9.0.2')
    began = [host.show('wg0').peer.latest_handshake for host in (t.a, t.b)]
    check(all(began), f'no handshake: {began}')
    for daemon in t.da, t.db:
        os.kill(daemon.pid, signal.SIGSTOP)
        wait_until(lambda: process_state(daemon.pid) == 'T', what='the daemon has stopped')
    time.sleep(3)  # a suspend of a second would be noticed
    for daemon in t.da, t.db:
        os.kill(daemon.pid, signal.SIGCONT)
    t.a.ping('10.9.0.2', count=3)
    t.b.ping('10.9.0.1', count=3)
    equal([host.show('wg0').peer.latest_handshake for host in (t.a, t.b)], began, 'the time of the last handshake')


@test
def packets_from_a_source_of_another_peer_are_dropped_but_roam(lab):
    t = Tunnel(lab)
    t.a.wg(f'set wg0 peer {t.pub_b} allowed-ips 10.9.0.0/24')
    here = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('10.9.0.1', 1111), timeout=3)
    there = t.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
    there.sendto(b'X', ('10.9.0.1', 1111))
    equal(here.recv(10), b'X', 'datagram through the wide prefix')
    other = Key().public
    t.a.wg(f'set wg0 peer {other} allowed-ips 10.9.0.2/32')
    t.b.wg('set wg0 listen-port 9997')
    there.sendto(b'X', ('10.9.0.1', 1111))
    wait_until(lambda: t.a.show('wg0').peers[t.pub_b].endpoint == '192.0.2.2:9997', what='a follows b to port 9997')
    here.settimeout(0.5)
    try:
        here.recv(10)
        raise Failure('a packet came in whose source belongs to another peer')
    except socket.timeout:
        pass
    t.a.wg(f'set wg0 peer {other} remove')
    there.sendto(b'Y', ('10.9.0.1', 1111))
    here.settimeout(3)
    equal(here.recv(10), b'Y', 'datagram after the other peer is gone')


@test
def packets_from_a_source_outside_allowed_ips_are_dropped(lab):
    t = Tunnel(lab)
    t.a.ping('10.9.0.2')
    t.b.address('wg0', '10.9.0.99/24', 'fd09::99/64')
    seen = t.a.capture('wg0')
    t.b.no_ping('10.9.0.1', options='-I 10.9.0.99')
    t.b.no_ping('fd09::1', options='-I fd09::99')
    equal([p for _, p in seen.packets()], [], 'packets that came out of the tunnel')
    t.b.ip('addr del fd09::99/64 dev wg0')
    t.works()


@test
def a_changed_private_key_handshakes_at_once(lab):
    t = Tunnel(lab, initiator='a')
    t.works()
    new = Key()
    t.b.wg(f'set wg0 peer {t.pub_a} remove peer {new.public} allowed-ips 10.9.0.1/32,fd09::1/128')
    t.a.wg('set wg0 private-key /dev/stdin', new.private)
    t.a.ping('10.9.0.2', wait=2)
    equal(list(t.b.show('wg0').peers), [new.public], 'peers of b')
    t.works()


@test
def preshared_keys_must_agree(lab):
    t = Tunnel(lab, initiator='a')
    one, other = psk(), psk()

    def start_over(psk_a, psk_b):
        for host, secret in (t.a, psk_a), (t.b, psk_b):
            host.setconf('wg0', t.config(host))
            if secret:
                t.set_psk(host, secret)
            equal(host.show('wg0').peer.preshared_key, secret, f'PSK shown at {host}')
    for wrong in (one, None), (None, one), (one, other):
        start_over(*wrong)
        t.a.no_ping('10.9.0.2')
        equal(t.a.show('wg0').peer.latest_handshake, 0, 'handshake of ends that disagree about the PSK')
    start_over(one, one)
    t.works()
    t.set_psk(t.b, other)
    t.works()  # a running session is not touched
    t.set_psk(t.b, None)
    equal(t.b.show('wg0').peer.preshared_key, None, 'PSK shown after its removal')
    start_over(None, None)
    t.works()


@test
def simultaneous_initiations_converge(lab):
    for _ in range(3):
        t = Tunnel(lab, up=False)
        for host, far in (t.a, t.pub_b), (t.b, t.pub_a):
            host.wg(f'set wg0 peer {far} persistent-keepalive 5')
        ups = [host.popen('ip link set wg0 up') for host in (t.a, t.b)]
        check(all(p.wait() == 0 for p in ups), 'links come up')
        t.a.ping('10.9.0.2', count=3, wait=7)
        t.b.ping('10.9.0.1', count=3)
        lab.clear()


@test
def low_order_public_keys_send_nothing(lab):
    a, b = lab.host('a'), lab.host('b')
    lab.link(a, b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
    a.daemon('wg0')
    points = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
              '4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=', 'X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=',
              '7P///////////////////////////////////////38=', '7f///////////////////////////////////////38=',
              '7v///////////////////////////////////////38=']
    seen = a.capture('veth')
    a.setconf('wg0', f'[Interface]\nPrivateKey = {Key().private}\nListenPort = 10001\n' + ''.join(
        f'[Peer]\nPublicKey = {p}\nEndpoint = 192.0.2.2:{2000 + n}\nPersistentKeepalive = 1\n'
        f'AllowedIPs = 10.10.{n}.0/24\n' for n, p in enumerate(points)))
    a.ip('link set wg0 up')
    stays(lambda: not seen.udp(outgoing=True), 2, 'nothing is sent to low-order public keys')
    equal({p.public_key: p.tx for p in a.show('wg0').peers.values()}, {p: 0 for p in points}, 'peers and bytes sent')
    a.wg(f'set wg0 peer {Key().public} endpoint 192.0.2.2:3000 persistent-keepalive 1')  # the control
    wait_until(lambda: seen.udp(outgoing=True), what='a handshake with a sound public key')


@test
def handshakes_carry_dscp_af41_and_data_none(lab):
    for outer in 4, 6:
        t = Tunnel(lab, outer, initiator='a')
        seen = t.a.capture('veth')
        t.a.ping('10.9.0.2', count=3, options='-Q 0xb8')
        kinds = {(p[0], tos) for tos, p in seen.udp()}
        equal(kinds, {(1, 0x88), (2, 0x88), (4, 0)}, f'message types with their DSCP over IPv{outer}')
        lab.clear()


@test
def keepalive_is_sent_when_enabled_created_or_brought_up(lab):
    t = Tunnel(lab, initiator='a', up=False)
    seen = t.a.capture('veth')
    t.a.wg(f'set wg0 peer {t.pub_b} persistent-keepalive 25')
    t.b.ip('link set wg0 up')
    stays(lambda: not seen.udp(True), 0.3, 'silence while the interface is down')
    t.a.ip('link set wg0 up')
    wait_until(lambda: t.b.show('wg0').peer.latest_handshake, 2, 'handshake when the interface comes up')
    wait_until(lambda: t.b.show('wg0').peer.rx == 148 + 32, 2, 'initiation and keepalive arrived')
    t.a.wg(f'set wg0 peer {t.pub_b} persistent-keepalive 0')
    t.a.wg(f'set wg0 peer {t.pub_b} persistent-keepalive 25')
    wait_until(lambda: t.b.show('wg0').peer.rx == 148 + 64, 2, 'a keepalive at once when it is enabled')
    t.a.wg(f'set wg0 peer {t.pub_b} remove')
    pass_initiation_interval()
    t.a.wg(f'set wg0 peer {t.pub_b} allowed-ips 10.9.0.2/32 endpoint {t.endpoint(t.b)} persistent-keepalive 25')
    wait_until(lambda: t.b.show('wg0').peer.rx == 148 + 64 + 148 + 32, 2, 'handshake when the peer is created')


@test
def keepalive_keeps_a_nat_open_from_the_inside(lab):
    inside, nat, outside = lab.host('inside'), lab.host('nat'), lab.host('outside')
    lab.link(inside, nat, '192.168.1.2/24', '192.168.1.1/24')
    lab.link(nat, outside, '192.0.2.1/24', '192.0.2.2/24')
    inside.ip('route add default via 192.168.1.1')
    nat.sysctl('net.ipv4.ip_forward', 1)
    nat.nft('add table ip t; add chain ip t post { type nat hook postrouting priority 100; };'
            'add rule ip t post ip saddr 192.168.1.0/24 masquerade')
    for name in 'udp_timeout', 'udp_timeout_stream':
        nat.sysctl(f'net.netfilter.nf_conntrack_{name}', 2)
    ki, ko = Key(), Key()
    inside.daemon('wg0')
    outside.daemon('wg0')
    outside.setconf('wg0', f'[Interface]\nPrivateKey = {ko.private}\nListenPort = 2\n[Peer]\nPublicKey = {ki.public}\n'
                    'AllowedIPs = 10.9.0.1/32\n')
    outside.address('wg0', '10.9.0.2/24')
    outside.ip('link set wg0 up')
    inside.setconf('wg0', f'[Interface]\nPrivateKey = {ki.private}\nListenPort = 1\n[Peer]\nPublicKey = {ko.public}\n'
                   'Endpoint = 192.0.2.2:2\nPersistentKeepalive = 1\nAllowedIPs = 10.9.0.2/32\n')
    inside.address('wg0', '10.9.0.1/24')
    inside.ip('link set wg0 up')
    wait_until(lambda: outside.show('wg0').peer.latest_handshake, what='handshake by keepalive alone')
    equal(outside.show('wg0').peer.endpoint.split(':')[0], '192.0.2.1', 'address of the peer as seen outside')
    start = outside.show('wg0').peer.rx
    wait_until(lambda: outside.show('wg0').peer.rx >= start + 4 * 32, 8, 'four keepalives, one a second')
    outside.ping('10.9.0.1')
    inside.wg(f'set wg0 peer {ko.public} persistent-keepalive 0')
    outside.ping('10.9.0.1')
    wait_until(lambda: 'dport=2 ' not in conntrack(nat), 10, 'the NAT forgets the flow')
    outside.no_ping('10.9.0.1')  # the control: without keepalives the way in is shut
    inside.ping('10.9.0.2')


def conntrack(host):
    with open(host.path(f'/proc/{host.holder.pid}/net/nf_conntrack')) as f:
        return f.read()


@test(seconds=90)
def a_restarted_end_is_reached_again_without_help(lab):
    t = Tunnel(lab, initiator='a')
    t.works()
    t.db.stop(signal.SIGKILL)  # leaves a stale socket file behind
    check(t.db.socket_exists(), 'a killed daemon leaves its socket')
    wait_until(lambda: not t.b.link_exists('wg0'), what='the interface goes with the daemon')
    t.db = t.b.daemon('wg0')
    t.configure(t.b)
    # b cannot initiate: it knows no endpoint. a must notice that nothing comes back: 15 s, and start over.
    start = time.monotonic()
    wait_until(lambda: t.a.ping_output('10.9.0.2', wait=1).returncode == 0, 25, 'traffic after the restart of b')
    lab.say(f'resumed after {time.monotonic() - start:.1f} s')
    t.works()
    t.da.stop()
    t.da = t.a.daemon('wg0')
    t.configure(t.a)
    t.a.ping('10.9.0.2', wait=2)  # an end that knows the other's endpoint starts over at once
    t.works()


# ----------------------------------------------------------------------------------------------------------------- long

@test(long=True, seconds=120)
def idle_ends_fall_silent_after_one_passive_keepalive(lab):
    t = Tunnel(lab, initiator='a')
    seen = t.a.capture('veth')
    s = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t.b.nft('add table inet t; add chain inet t out { type filter hook output priority 0; };'
            'add rule inet t out oifname wg0 drop')  # b answers nothing by itself
    s.sendto(b'x', ('10.9.0.2', 9))
    sizes = lambda: [(out, len(p)) for out, p in ((o, q[28:]) for o, q in seen.packets() if q[9] == 17)]
    wait_until(lambda: len(sizes()) == 4, 13, 'the passive keepalive of b')
    equal(sizes(), [(True, 148), (False, 92), (True, 64), (False, 32)], 'packets, outgoing from a and incoming')
    stays(lambda: len(sizes()) == 4, 30, 'silence after it')


@test(long=True, seconds=240)
def a_session_is_renewed_without_loss(lab):
    t = Tunnel(lab, initiator='a')
    t.works()
    first = t.a.show('wg0').peer.latest_handshake
    pings = [t.a.popen('ping -n -i 0.2 -c 700 -W 5 10.9.0.2', stdout=subprocess.PIPE),
             t.b.popen('ping -n -i 0.2 -c 700 -W 5 fd09::1', stdout=subprocess.PIPE)]
    for p in pings:
        out = p.communicate()[0]
        check(' 0% packet loss' in out, out[-300:])
    last = t.a.show('wg0').peer.latest_handshake
    check(115 <= last - first <= 125, f'a new session after 120 s, not {last - first} s')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
