#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""interop suite: the daemon with wireguard-go at the other end, and under wg(8) and wg-quick(8).

The other end is the installed wireguard-go. If the environment variable WIREGUARD_GO names another one, every test of
two daemons also runs with it, under a name that ends in `_other`.

    a: the daemon under test                  b: wireguard-go
    wg0: 10.9.0.1 fd09::1                     wg0: 10.9.0.2 fd09::2
    veth: 192.0.2.1 2001:db8::1  -----------  veth: 192.0.2.2 2001:db8::2
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess

from checks import check, equal, need, skip, wait_until
from hosts import running, tcp_copy, udp_echo
from runner import main, test
from wg_tools import TMP, WGD, Key, pass_initiation_interval, psk

known_failures = {'wireguard-go': {
    'wg_reports_errors': 'it closes its socket before it has the new one, so a failure leaves it without',
    'wg_set_removes_single_allowed_ips': 'version 0.0.20220316 knows no removal'}}
PEERS = {'': 'wireguard-go'}
if os.environ.get('WIREGUARD_GO'):
    PEERS['_other'] = os.path.abspath(os.environ['WIREGUARD_GO'])


def with_each_peer(function=None, **options):
    """Marks a function(lab, program) as one test for each program that can be the other end."""
    def mark(f):
        for suffix, program in PEERS.items():
            def run(lab, program=program):
                need(program)
                f(lab, program)
            run.__name__ = f.__name__ + suffix
            test(**options)(run)
        return f
    return mark(function) if function else mark


class Tunnel:
    """Two hosts with wg0. `initiator` is 'a', 'b' or 'ab': the ends that have an endpoint of the other."""

    def __init__(self, lab, program, initiator='a', outer=4, psk_a=None, psk_b=None):
        self.a, self.b, self.key_a, self.key_b = lab.host('a'), lab.host('b'), Key(), Key()
        lab.link(self.a, self.b, '192.0.2.1/24 2001:db8::1/64', '192.0.2.2/24 2001:db8::2/64', 'veth')
        self.wire = self.a.capture('veth')
        self.a.daemon('wg0')
        self.b.daemon('wg0', program=program)
        self.configure(initiator, outer, psk_a, psk_b)
        for host, number in (self.a, 1), (self.b, 2):
            host.address('wg0', f'10.9.0.{number}/24', f'fd09::{number}/64')
            host.ip('link set wg0 mtu 1420 up')
        self.a.settle()
        self.b.settle()

    def configure(self, initiator='a', outer=4, psk_a=None, psk_b=None):
        """Configures both ends again, which ends their sessions."""
        for host, key, other, number, secret in ((self.a, self.key_a, self.key_b, 1, psk_a),
                                                 (self.b, self.key_b, self.key_a, 2, psk_b)):
            endpoint = {4: '192.0.2.{}', 6: '[2001:db8::{}]'}[outer].format(3 - number) + ':51820'
            host.setconf('wg0', f'[Interface]\nPrivateKey = {key.private}\nListenPort = 51820\n'
                         f'[Peer]\nPublicKey = {other.public}\nAllowedIPs = 10.9.0.{3 - number}, fd09::{3 - number}\n'
                         + (f'PresharedKey = {secret}\n' if secret else '')
                         + (f'Endpoint = {endpoint}\n' if host.name in initiator else ''))

    def ping_from(self, end, **how):
        host, number = (self.a, 2) if end == 'a' else (self.b, 1)
        host.ping(f'10.9.0.{number}', **how)
        host.ping(f'fd09::{number}', **how)

    def messages(self, kind, end=None):
        """The number of messages of a type (1 initiation, 2 response, 3 cookie reply, 4 data) that an end has sent."""
        return sum(m[:4] == bytes([kind, 0, 0, 0]) for _, m in self.wire.udp({'a': True, 'b': False}.get(end)))

    def remove_peer(self, end):
        """Removes the other end as a peer, with the session; then adds it again, with an endpoint."""
        host, other, number = (self.a, self.key_b, 2) if end == 'a' else (self.b, self.key_a, 1)
        host.wg(f'set wg0 peer {other.public} remove')
        pass_initiation_interval()
        host.wg(f'set wg0 peer {other.public} endpoint 192.0.2.{number}:51820 '
                f'allowed-ips 10.9.0.{number}/32,fd09::{number}/128')


# ------------------------------------------------------------------------------------------------- with wireguard-go

def handshake(lab, program, initiator, outer):
    t = Tunnel(lab, program, initiator, outer)
    t.ping_from(initiator)
    t.ping_from('b' if initiator == 'a' else 'a')
    equal((t.messages(1, 'a'), t.messages(1, 'b')), (1, 0) if initiator == 'a' else (0, 1), 'initiations of a and b')
    for host in t.a, t.b:
        state = host.show('wg0').peer
        check(state.latest_handshake, f'{host} knows no handshake')
        equal(state.endpoint.startswith('['), outer == 6, f'whether {host} has an IPv6 endpoint')
    a, b = t.a.show('wg0').peer, t.b.show('wg0').peer
    equal((a.rx, a.tx), (b.tx, b.rx), 'bytes that a received and sent, and that b sent and received')


@with_each_peer
def initiates_over_ipv4(lab, program):
    handshake(lab, program, 'a', 4)


@with_each_peer
def initiates_over_ipv6(lab, program):
    handshake(lab, program, 'a', 6)


@with_each_peer
def responds_over_ipv4(lab, program):
    handshake(lab, program, 'b', 4)


@with_each_peer
def responds_over_ipv6(lab, program):
    handshake(lab, program, 'b', 6)


@with_each_peer(seconds=120)
def both_initiate_at_once(lab, program):
    """Each end may drop its own initiation for the other's. The next attempts, 5 s plus a random time later, do not
    collide."""
    t = Tunnel(lab, program, 'ab')
    for _ in range(3):
        t.configure('ab')
        t.a.popen('ping -n -c 1 10.9.0.2', stdout=subprocess.DEVNULL)
        t.b.popen('ping -n -c 1 10.9.0.1', stdout=subprocess.DEVNULL)
        for host, address in (t.a, '10.9.0.2'), (t.b, '10.9.0.1'):
            wait_until(lambda: host.ping_output(address, wait=1).returncode == 0, 20, f'{host} reaches the other end')
        t.ping_from('a', count=3)
        t.ping_from('b', count=3)


@with_each_peer
def preshared_key_must_match(lab, program):
    secret, t = psk(), Tunnel(lab, program)
    for initiator in 'a', 'b':
        t.configure(initiator, 4, secret, secret)
        t.ping_from(initiator)
        t.configure(initiator, 4, psk(), secret)
        (t.a if initiator == 'a' else t.b).no_ping('10.9.0.2' if initiator == 'a' else '10.9.0.1', wait=2)
        equal(t.a.show('wg0').peer.latest_handshake, 0, 'time of a handshake with a wrong preshared key')
        t.configure(initiator, 4, secret, secret)
        t.ping_from(initiator)


@with_each_peer
def packets_of_every_size(lab, program):
    t = Tunnel(lab, program)
    for address, from_host, to_host in ('10.9.0.2', t.a, t.b), ('fd09::1', t.b, t.a):
        largest = 1420 - (48 if ':' in address else 28)
        udp_echo(from_host, to_host, address, sizes=(*range(0, 40), largest - 1, largest, 4000))


@with_each_peer
def tcp_both_ways(lab, program):
    t = Tunnel(lab, program)
    for sender, receiver, addresses in (t.a, t.b, ('10.9.0.2', 'fd09::2')), (t.b, t.a, ('10.9.0.1', 'fd09::1')):
        for address in addresses:
            lab.say(f'to {address} {tcp_copy(sender, receiver, address, megabytes=10):.0f} Mbit/s')


@with_each_peer
def removed_and_added_peers_handshake_again(lab, program):
    t = Tunnel(lab, program, 'ab')
    t.ping_from('a')
    for end in 'a', 'b', 'a', 'b':
        before = t.messages(1, end)
        t.remove_peer(end)
        t.ping_from(end, count=3)
        t.ping_from('b' if end == 'a' else 'a', count=3)
        equal(t.messages(1, end), before + 1, f'initiations that {end} sent')


@with_each_peer
def new_private_keys_are_used(lab, program):
    t = Tunnel(lab, program)
    t.ping_from('a')
    t.key_a = Key()
    t.b.wg(f'set wg0 peer {t.a.show("wg0").public_key} remove')
    t.b.wg(f'set wg0 peer {t.key_a.public} allowed-ips 10.9.0.1/32,fd09::1/128')
    t.a.wg('set wg0 private-key /dev/stdin', t.key_a.private + '\n')
    t.ping_from('a')
    t.ping_from('b')


@with_each_peer
def each_follows_the_other(lab, program):
    """To a new port and to the other family. Only from IPv6 to IPv4, because wireguard-go 0.0.20250522 sends to a wrong
    IPv6 address after it has sent over IPv4."""
    t = Tunnel(lab, program, 'ab', outer=6)
    t.ping_from('a')
    t.a.wg('set wg0 listen-port 51900')
    t.ping_from('a')
    equal(t.b.show('wg0').peer.endpoint, '[2001:db8::1]:51900', 'the endpoint that b sees')
    t.b.wg('set wg0 listen-port 51901')
    t.ping_from('b')
    equal(t.a.show('wg0').peer.endpoint, '[2001:db8::2]:51901', 'the endpoint that a sees')
    t.a.wg(f'set wg0 peer {t.key_b.public} endpoint 192.0.2.2:51901')
    t.ping_from('a')
    equal(t.b.show('wg0').peer.endpoint, '192.0.2.1:51900', 'the endpoint that b sees')


@with_each_peer
def persistent_keepalives(lab, program):
    t = Tunnel(lab, program, 'ab')
    t.ping_from('a')
    for host, other, receiver in (t.a, t.key_b, t.b), (t.b, t.key_a, t.a):
        before = receiver.show('wg0').peer.rx
        host.wg(f'set wg0 peer {other.public} persistent-keepalive 1')
        wait_until(lambda: receiver.show('wg0').peer.rx >= before + 64, 5, f'two keepalives from {host}')
        host.wg(f'set wg0 peer {other.public} persistent-keepalive off')


@with_each_peer(long=True, seconds=200)
def sessions_are_renewed_after_two_minutes(lab, program):
    """Two tunnels at once, one started by each end; neither may lose a packet."""
    tunnels = []
    for initiator in 'a', 'b':
        tunnels.append(Tunnel(lab, program, initiator))
        tunnels[-1].ping_from(initiator)
    pings = [t.a.popen('ping -n -c 130 -i 1 -W 5 10.9.0.2', stdout=subprocess.PIPE) for t in tunnels]
    for p in pings:
        check(', 0% packet loss' in p.communicate(timeout=180)[0], 'packets were lost')
    for t, initiator in zip(tunnels, 'ab'):
        other = 'b' if initiator == 'a' else 'a'
        equal((t.messages(1, initiator), t.messages(1, other)), (2, 0), f'initiations of {initiator} and {other}')


# ------------------------------------------------------------------------------------------------- wg(8)

class Alone:
    """One host with the daemon, wg0 down."""

    def __init__(self, lab):
        self.host, self.key = lab.host('a'), Key()
        self.daemon = self.host.daemon('wg0')
        self.host.wg('set wg0 private-key /dev/stdin', self.key.private + '\n')

    def set(self, arguments, input=None):
        self.host.wg('set wg0 ' + arguments, input)

    def show(self, field):
        return self.host.wg(f'show wg0 {field}').strip()

    def fails(self, arguments, message, input=None):
        p = self.host.try_run(f'wg {arguments}', input)
        check(p.returncode and message in p.output, f'`wg {arguments}` said {p.output.strip()!r} and ended with '
              f'{p.returncode}, wanted {message!r}')


def sorted_conf(text):
    """A configuration with its sections, the lines of each section, and addresses sorted."""
    sections = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith('['):
            sections.append([line])
        else:
            name, _, value = line.partition(' = ')
            sections[-1].append(f'{name} = ' + ', '.join(sorted(value.split(', '))))
    return sorted([s[0], *sorted(s[1:])] for s in sections)


FULL = '''[Interface]
ListenPort = 51999
FwMark = 0x1234
PrivateKey = {own}

[Peer]
PublicKey = {peers[0].public}
PresharedKey = {psk}
AllowedIPs = 10.0.0.0/8, 192.0.2.128/25, 2001:db8:1::/48, 0.0.0.0/0, ::/0
Endpoint = 198.51.100.7:1
PersistentKeepalive = 65535

[Peer]
PublicKey = {peers[1].public}
AllowedIPs = 10.1.2.3/32, 2001:db8:1::1/128
Endpoint = [2001:db8::7]:65535
PersistentKeepalive = 25

[Peer]
PublicKey = {peers[2].public}
'''


def full_conf(own):
    peers, secret = [Key() for _ in range(3)], psk()
    return peers, secret, FULL.format(own=own.private, peers=peers, psk=secret)


@test
def wg_shows_every_field(lab):
    d = Alone(lab)
    peers, secret, text = full_conf(d.key)
    first, second, third = (p.public for p in peers)
    d.host.setconf('wg0', text)
    by_peer = lambda field: {line.split('\t')[0]: set(line.split('\t')[1].split()) for line in
                             d.show(field).splitlines()}
    equal(d.host.wg('show interfaces').split(), ['wg0'], 'interfaces')
    for field, wanted in (('public-key', d.key.public), ('private-key', d.key.private), ('listen-port', '51999'),
                          ('fwmark', '0x1234')):
        equal(d.show(field), wanted, field)
    equal(set(d.show('peers').split()), {first, second, third}, 'peers')
    equal(by_peer('preshared-keys'), {first: {secret}, second: {'(none)'}, third: {'(none)'}}, 'preshared keys')
    equal(by_peer('endpoints'), {first: {'198.51.100.7:1'}, second: {'[2001:db8::7]:65535'}, third: {'(none)'}},
          'endpoints')
    equal(by_peer('allowed-ips'), {
        first: {'10.0.0.0/8', '192.0.2.128/25', '2001:db8:1::/48', '0.0.0.0/0', '::/0'},
        second: {'10.1.2.3/32', '2001:db8:1::1/128'}, third: {'(none)'}}, 'allowed IPs')
    equal(by_peer('persistent-keepalive'), {first: {'65535'}, second: {'25'}, third: {'off'}}, 'keepalives')
    equal(by_peer('latest-handshakes'), {p: {'0'} for p in (first, second, third)}, 'latest handshakes')
    equal([line.split('\t')[1:] for line in d.show('transfer').splitlines()], [['0', '0']] * 3, 'transfer')
    pretty = d.host.wg('show wg0')
    for line in (f'public key: {d.key.public}', 'listening port: 51999', 'fwmark: 0x1234', 'preshared key: (hidden)',
                 'endpoint: [2001:db8::7]:65535', 'persistent keepalive: every 25 seconds'):
        check(line in pretty, f'`wg show` lacks {line!r}: {pretty}')


@test
def wg_showconf_and_setconf_round_trip(lab):
    d = Alone(lab)
    _, _, text = full_conf(d.key)
    d.host.setconf('wg0', text)
    shown = d.host.wg('showconf wg0')
    equal(sorted_conf(shown), sorted_conf(text), 'showconf')
    d.host.setconf('wg0', f'[Interface]\n[Peer]\nPublicKey = {Key().public}\n')
    equal(len(d.show('peers').split()), 1, 'peers after another setconf')
    d.host.setconf('wg0', shown)
    equal(sorted_conf(d.host.wg('showconf wg0')), sorted_conf(text), 'showconf after its own setconf')


@test
def wg_addconf_adds(lab):
    d = Alone(lab)
    peers, secret, text = full_conf(d.key)
    d.host.setconf('wg0', text)
    new = Key()
    d.host.setconf('wg0', f'[Peer]\nPublicKey = {new.public}\nAllowedIPs = 10.77.0.0/16\n'
                   f'[Peer]\nPublicKey = {peers[1].public}\nAllowedIPs = 10.78.0.0/16\n', 'addconf')
    state = d.host.show('wg0')
    equal((state.private_key, state.listen_port, state.fwmark), (d.key.private, 51999, 0x1234), 'interface')
    equal(set(state.peers), {p.public for p in (*peers, new)}, 'peers')
    equal(state.peers[new.public].allowed_ips, ['10.77.0.0/16'], 'allowed IPs of the new peer')
    equal(state.peers[peers[1].public].allowed_ips, ['10.78.0.0/16'], 'allowed IPs of the changed peer')
    equal(state.peers[peers[1].public].persistent_keepalive, 25, 'keepalive of the changed peer')
    equal(state.peers[peers[0].public].preshared_key, secret, 'preshared key of the untouched peer')


@with_each_peer
def wg_syncconf_keeps_the_session(lab, program):
    t = Tunnel(lab, program)
    t.ping_from('a')
    text, extra = t.a.wg('showconf wg0'), Key()
    t.a.setconf('wg0', text + f'[Peer]\nPublicKey = {extra.public}\nAllowedIPs = 10.77.0.0/16\n', 'syncconf')
    equal(set(t.a.show('wg0').peers), {t.key_b.public, extra.public}, 'peers')
    t.ping_from('a')
    t.a.setconf('wg0', text, 'syncconf')
    equal(set(t.a.show('wg0').peers), {t.key_b.public}, 'peers')
    t.ping_from('a')
    t.ping_from('b')
    equal(t.messages(1), 1, 'initiations on the wire')


@test
def wg_set_removes_every_setting(lab):
    d = Alone(lab)
    peers, _, text = full_conf(d.key)
    d.host.setconf('wg0', text)
    d.set(f'fwmark off peer {peers[0].public} preshared-key /dev/null persistent-keepalive off')
    state = d.host.show('wg0')
    equal(state.fwmark, 0, 'fwmark')
    equal(state.peers[peers[0].public].preshared_key, None, 'preshared key')
    equal(state.peers[peers[0].public].persistent_keepalive, 0, 'keepalive')
    d.host.run(['wg', 'set', 'wg0', 'peer', peers[0].public, 'allowed-ips', ''])
    equal(d.host.show('wg0').peers[peers[0].public].allowed_ips, [], 'allowed IPs')
    d.set(f'peer {peers[0].public} remove')
    equal(set(d.host.show('wg0').peers), {p.public for p in peers[1:]}, 'peers')
    d.set('private-key /dev/null')
    equal((d.show('private-key'), d.show('public-key')), ('(none)', '(none)'), 'keys')
    equal(len(d.show('peers').split()), 2, 'peers without a private key')


@test
def wg_set_moves_and_masks_allowed_ips(lab):
    d = Alone(lab)
    first, second = Key().public, Key().public
    d.set(f'peer {first} allowed-ips 10.1.2.3/16,2001:db8::1/32 peer {second} allowed-ips 10.2.0.0/16')
    equal(sorted(d.host.show('wg0').peers[first].allowed_ips), ['10.1.0.0/16', '2001:db8::/32'], 'host bits masked')
    d.set(f'peer {second} allowed-ips 10.1.0.0/16')
    peers = d.host.show('wg0').peers
    equal((peers[first].allowed_ips, peers[second].allowed_ips), (['2001:db8::/32'], ['10.1.0.0/16']), 'after the move')


@test
def wg_set_removes_single_allowed_ips(lab):
    d = Alone(lab)
    if '[+|-]' not in d.host.try_run('wg set --help').output:
        skip('the installed wg knows no `allowed-ips -PREFIX`')
    peer, other = Key().public, Key().public
    d.set(f'peer {peer} allowed-ips 10.1.0.0/16,10.2.0.0/16,2001:db8::/32 peer {other} allowed-ips 10.3.0.0/16')
    d.set(f'peer {peer} allowed-ips -10.1.0.0/16,+10.4.0.0/16,-10.3.0.0/16')
    peers = d.host.show('wg0').peers
    equal(sorted(peers[peer].allowed_ips), ['10.2.0.0/16', '10.4.0.0/16', '2001:db8::/32'], 'allowed IPs')
    equal(peers[other].allowed_ips, ['10.3.0.0/16'], 'allowed IPs of the other peer')
    d.set(f'peer {peer} allowed-ips -2001:db8::/32')
    equal(sorted(d.host.show('wg0').peers[peer].allowed_ips), ['10.2.0.0/16', '10.4.0.0/16'], 'allowed IPs')


@test
def wg_reports_errors(lab):
    d = Alone(lab)
    d.host.ip('link set wg0 up')
    d.host.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 40404))
    before = d.show('listen-port')
    d.fails('set wg0 listen-port 40404', 'Address already in use')
    equal(d.show('listen-port'), before, 'listen port after the failure')
    d.set('listen-port 40405')
    equal(d.show('listen-port'), '40405', 'listen port')


@test
def own_public_key_is_no_peer(lab):
    d = Alone(lab)
    d.set(f'peer {d.key.public} allowed-ips 10.0.0.0/8')
    equal(d.show('peers'), '', 'peers')
    later = Key()
    d.set(f'peer {later.public} allowed-ips 10.0.0.0/8')
    d.set('private-key /dev/stdin', later.private + '\n')
    equal(d.show('peers'), '', 'peers once the interface has the key of one')


# ------------------------------------------------------------------------------------------------- wg-quick(8)

class Quick:
    """Host a, on which wg-quick makes wg0, and host b, which is up and has one more address behind the tunnel.

    The WireGuard of a's kernel is hidden, because wg-quick would use it.
    """

    SHIM = '''#!/bin/sh
case "$*" in "link add "*" type wireguard") echo "RTNETLINK answers: Operation not supported" >&2; exit 2 ;; esac
exec {real} "$@"
'''

    def __init__(self, lab, allowed_ips, name='wg0', extra='', bad=''):
        need('wg-quick', 'bash', 'nft', 'sysctl')
        self.a, self.b, self.key_a, self.key_b = lab.host('a'), lab.host('b'), Key(), Key()
        lab.link(self.a, self.b, '192.0.2.1/24 2001:db8::1/64', '192.0.2.2/24 2001:db8::2/64', 'veth')
        self.a.ip('route add default via 192.0.2.2')
        self.hide_kernel_wireguard()
        self.b.daemon('wg0')
        self.b.setconf('wg0', f'[Interface]\nPrivateKey = {self.key_b.private}\nListenPort = 51820\n'
                       f'[Peer]\nPublicKey = {self.key_a.public}\nAllowedIPs = 10.9.0.1/32, fd09::1/128\n')
        self.b.address('wg0', '10.9.0.2/24', 'fd09::2/64')
        self.b.ip('link set wg0 mtu 1420 up')
        self.b.address('lo', '198.51.100.1/32', '2001:db8:100::1/128')
        self.name, self.path = name, f'{TMP}/quick/{name}.conf'
        os.makedirs(f'{TMP}/quick', mode=0o700, exist_ok=True)
        with open(self.path, 'w') as f:
            f.write(f'[Interface]\nPrivateKey = {self.key_a.private}\nAddress = 10.9.0.1/24, fd09::1/64\n{extra}\n'
                    f'[Peer]\nPublicKey = {self.key_b.public}\nEndpoint = 192.0.2.2:51820\n'
                    f'AllowedIPs = {allowed_ips}\n{bad}')
        os.chmod(self.path, 0o600)
        self.before = self.state()

    def hide_kernel_wireguard(self):
        ip, real, shim = os.path.realpath(shutil.which('ip')), f'{TMP}/ip.real', f'{TMP}/ip.shim'
        for path, text in (real, ''), (shim, self.SHIM.format(real=real)):
            with open(path, 'w') as f:
                f.write(text)
            os.chmod(path, 0o755)
        self.a.batch(f'mount --bind {ip} {real}\nmount --bind {shim} {ip}\nmount -t tmpfs none /sys/module')

    def state(self):
        """Everything that wg-quick changes on a host, except the interface itself."""
        return {what: self.a.run(command) for what, command in (
            ('links', 'ip -br link'), ('rules', 'ip rule'), ('rules of IPv6', 'ip -6 rule'),
            ('routes', 'ip route show table all'), ('filters', 'nft list tables'), ('sockets', 'ls /run/wireguard'))}

    def run(self, command):
        return self.a.try_run(['wg-quick', command, self.path], env={'WG_QUICK_USERSPACE_IMPLEMENTATION': WGD})

    def works(self, command):
        p = self.run(command)
        check(p.returncode == 0, f'wg-quick {command}: exit status {p.returncode}: {p.output}')
        self.a.settle()
        self.b.settle()
        return p.output

    def daemons(self):
        """The processes of a that run the daemon's program."""
        found = []
        for pid in self.a.processes_inside():
            with contextlib.suppress(OSError):
                if os.path.realpath(f'/proc/{pid}/exe') == os.path.realpath(WGD) and running(pid):
                    found.append(pid)
        return found

    def nothing_is_left(self):
        wait_until(lambda: not self.daemons(), what='the daemon ends')
        for what, text in self.state().items():
            equal(text, self.before[what], what)


@test
def wg_quick_up_and_down(lab):
    q = Quick(lab, '10.9.0.0/24, fd09::/64, 198.51.100.0/24')
    check('type wireguard' in q.works('up'), 'wg-quick did not try to make the interface')
    equal(len(q.daemons()), 1, 'daemons')
    link = json.loads(q.a.ip('-j addr show dev wg0'))[0]
    equal(link['mtu'], 1420, 'MTU')
    equal({f'{i["local"]}/{i["prefixlen"]}' for i in link['addr_info'] if i['scope'] == 'global'},
          {'10.9.0.1/24', 'fd09::1/64'}, 'addresses')
    check('198.51.100.0/24' in q.a.ip('route show dev wg0'), 'no route to an allowed IP')
    for address in '10.9.0.2', 'fd09::2', '198.51.100.1':
        q.a.ping(address)
    q.b.ping('10.9.0.1')
    check('already exists' in q.run('up').output, 'wg-quick made the interface twice')
    q.works('down')
    q.nothing_is_left()
    q.works('up')
    q.a.ping('10.9.0.2')
    q.works('down')
    q.nothing_is_left()


@test
def wg_quick_takes_the_default_route(lab):
    """All traffic goes through the tunnel, except the tunnel's own packets, which have a firewall mark."""
    q = Quick(lab, '0.0.0.0/0, ::/0')
    q.works('up')
    equal(q.a.wg('show wg0 fwmark').strip(), '0xca6c', 'mark')
    check('dev wg0' in q.a.ip('route get 198.51.100.1'), 'IPv4 does not go through the tunnel')
    check('dev wg0' in q.a.ip('route get 2001:db8:100::1'), 'IPv6 does not go through the tunnel')
    before = q.b.show('wg0').peer.rx
    for address in '10.9.0.2', 'fd09::2', '198.51.100.1', '2001:db8:100::1':
        q.a.ping(address, size=1000)
    check(q.b.show('wg0').peer.rx > before + 4000, 'the pings did not go through the tunnel')
    tcp_copy(q.a, q.b, '198.51.100.1', megabytes=2)
    q.works('down')
    q.nothing_is_left()


@test
def wg_quick_saves(lab):
    q = Quick(lab, '10.9.0.0/24', extra='SaveConfig = true\nPostUp = true %i')
    secret = psk()
    q.works('up')
    q.a.wg(f'set wg0 fwmark 0x77 peer {q.key_b.public} persistent-keepalive 21 preshared-key /dev/stdin', secret + '\n')
    q.works('save')
    with open(q.path) as f:
        saved = f.read()
    for line in ('Address = 10.9.0.1/24', 'Address = fd09::1/64', 'PostUp = true %i', 'SaveConfig = true',
                 f'PrivateKey = {q.key_a.private}', 'FwMark = 0x77', 'PersistentKeepalive = 21',
                 f'PresharedKey = {secret}', 'Endpoint = 192.0.2.2:51820', 'AllowedIPs = 10.9.0.0/24'):
        check(line in saved, f'{line!r} is not in what wg-quick saved')
    q.a.wg(f'set wg0 peer {q.key_b.public} persistent-keepalive 22')
    q.works('down')  # saves again
    with open(q.path) as f:
        check('PersistentKeepalive = 22' in f.read(), 'wg-quick down did not save')
    q.nothing_is_left()
    q.b.wg(f'set wg0 peer {q.key_a.public} preshared-key /dev/stdin', secret + '\n')
    q.works('up')
    q.a.ping('10.9.0.2')
    q.works('down')


@test
def wg_quick_cleans_up_after_a_bad_configuration(lab):
    q = Quick(lab, '10.9.0.0/24', bad='PersistentKeepalive = 70000\n')
    check(q.run('up').returncode != 0, 'wg-quick accepted a keepalive of 70000 s')
    q.nothing_is_left()


if __name__ == '__main__':
    main(__doc__, known_failures)
