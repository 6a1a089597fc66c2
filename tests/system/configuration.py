#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""configuration suite: what wg(8) and the configuration socket set and show, also under traffic and with bad input."""
import contextlib
import random
import socket
import subprocess
import time

from checks import check, equal, wait_until
from hosts import one_daemon
from known_failures import known_failures
from runner import main, test
from wg_tools import Key, Tunnel, psk, read_reply

EINVAL, EPROTO = 22, 71


@test
def accepts_130560_allowed_ips(lab):
    t = Tunnel(lab)
    t.works()
    prefixes = {f'{i}.{j}.0.0/16' for i in range(1, 256) for j in range(256)}
    prefixes |= {f'{i:x}:{j:x}::/32' for i in range(1, 256) for j in range(256)}
    equal(len(prefixes), 130560, 'prefixes made')
    start = time.monotonic()
    t.a.setconf('wg0', f'[Interface]\nPrivateKey = {t.key["a"].private}\nListenPort = 10001\n[Peer]\n'
                f'PublicKey = {t.pub_b}\nEndpoint = {t.endpoint(t.b)}\nAllowedIPs = ' + ','.join(prefixes) + '\n')
    took = time.monotonic()
    shown = t.a.show('wg0').peer.allowed_ips
    lab.say(f'set in {took - start:.2f} s, dumped in {time.monotonic() - took:.2f} s')
    equal(len(shown), len(prefixes), 'prefixes dumped')
    check(set(shown) == {p.replace(':0::/', '::/') for p in prefixes}, 'the dumped prefixes are not the ones set')
    t.b.wg(f'set wg0 peer {t.pub_a} allowed-ips 10.9.0.1/32,fd09::1/128')
    for i in 1, 7, 77, 130, 223:
        for j in 0, 128, 255:
            t.b.address('wg0', f'{i}.{j}.3.4/32', f'{i:x}:{j:x}::5/128')
            t.a.ip(f'route add {i}.{j}.0.0/16 dev wg0 src 10.9.0.1')
            t.a.ip(f'-6 route add {i:x}:{j:x}::/32 dev wg0 src fd09::1')
            t.a.ping(f'{i}.{j}.3.4')
            t.a.ping(f'{i:x}:{j:x}::5')


@test
def many_peers_with_many_allowed_ips_are_shown_whole(lab):
    a = lab.host('a')
    a.daemon('wg0')
    wanted = {}
    for i in range(40):
        wanted[Key().public] = ({f'10.{i}.{j}.0/24' for j in range(26)} |
                                {f'fd00:{i + 1:x}:{j + 1:x}::/48' for j in range(26)})
    a.setconf('wg0', ''.join(f'[Peer]\nPublicKey = {k}\nAllowedIPs = {",".join(v)}\n' for k, v in wanted.items()))
    equal({k: set(p.allowed_ips) for k, p in a.show('wg0').peers.items()}, wanted, '40 peers with 52 prefixes each')
    key = Key().public
    wanted = {f'abcd::{i:x}/128' for i in range(1, 198)}
    a.setconf('wg0', f'[Peer]\nPublicKey = {key}\nAllowedIPs = {",".join(wanted)}\n')
    equal(set(a.show('wg0').peer.allowed_ips), wanted, '197 IPv6 prefixes')
    other = Key().public
    a.wg(f'set wg0 peer {other} allowed-ips abcd::7/128')
    peers = a.show('wg0').peers
    check(peers[other].allowed_ips == ['abcd::7/128'] and len(peers[key].allowed_ips) == 196, 'a prefix moves')


@test
def zero_keys_read_none_and_own_keys_are_no_peers(lab):
    a = lab.host('a')
    a.daemon('wg0')
    shown = lambda what: a.wg(f'show wg0 {what}').strip()
    equal((shown('private-key'), shown('public-key')), ('(none)', '(none)'), 'keys of a new interface')
    key, other = Key(), Key()
    a.wg('set wg0 private-key /dev/stdin', key.private)
    equal((shown('private-key'), shown('public-key')), (key.private, key.public), 'keys')
    a.wg('set wg0 private-key /dev/stdin', '/' + key.private[1:])
    equal(shown('private-key'), '+' + key.private[1:], 'private key, clamped')
    a.wg('set wg0 private-key /dev/stdin', key.private)
    a.wg(f'set wg0 peer {key.public} allowed-ips 10.0.0.0/8')
    equal(shown('peers'), '', 'peers after adding the own key')
    a.wg(f'set wg0 peer {other.public} allowed-ips 10.0.0.0/8')
    a.wg('set wg0 private-key /dev/stdin', other.private)
    equal(shown('peers'), '', 'peers after taking the key of a peer')
    a.wg('set wg0 private-key /dev/null')
    equal((shown('private-key'), shown('public-key')), ('(none)', '(none)'), 'keys after removal')
    a.wg(f'set wg0 peer {other.public} preshared-key /dev/stdin', psk())
    a.wg(f'set wg0 peer {other.public} preshared-key /dev/null')
    equal(shown('preshared-keys').split(), [other.public, '(none)'], 'preshared key after removal')


@test
def a_listen_port_in_use_is_refused_and_the_old_one_kept(lab):
    t = Tunnel(lab)
    t.works()
    for family, any_address in (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'):
        other = t.a.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind((any_address, 10050))
        p = t.a.try_run('wg set wg0 listen-port 10050')
        check(p.returncode != 0 and 'in use' in p.output, f'wg set: status {p.returncode}, {p.output.strip()!r}')
        equal(t.a.show('wg0').listen_port, 10001, 'listen port after the refusal')
        t.b.ping('10.9.0.1')
        other.close()
    t.a.wg('set wg0 listen-port 10050')
    t.a.ping('10.9.0.2')
    equal(t.a.udp_ports(), {(4, 10050), (6, 10050)}, 'open ports')


@test
def link_down_closes_the_port_and_link_up_reopens_it(lab):
    t = Tunnel(lab)
    t.works()
    open_port = {(4, 10001), (6, 10001)}
    equal(t.a.udp_ports(), open_port, 'ports when up')
    t.a.ip('link set wg0 down')
    wait_until(lambda: not t.a.udp_ports(), what='the port is closed')
    t.b.no_ping('10.9.0.1')
    t.a.ip('link set wg0 up')
    wait_until(lambda: t.a.udp_ports() == open_port, what='the same port is open again')
    t.a.ping('10.9.0.2')
    t.works()
    t.a.wg('set wg0 listen-port 0')
    port = t.a.show('wg0').listen_port
    check(port not in (0, 10001), f'a port of its own choice: {port}')
    t.a.ip('link set wg0 down')
    t.a.ip('link set wg0 up')
    t.a.ping('10.9.0.2')
    t.works()


@test
def reconfiguration_under_traffic_does_no_harm(lab):
    t = Tunnel(lab)
    t.works()
    pings = [t.a.popen('ping -n -q -i 0.002 -s 800 10.9.0.2', stdout=subprocess.DEVNULL),
             t.b.popen('ping -n -q -i 0.002 -s 80 fd09::1', stdout=subprocess.DEVNULL)]
    end, rounds = time.monotonic() + 4, 0
    while time.monotonic() < end:
        other = Key()
        t.a.wg(f'set wg0 peer {other.public} allowed-ips 10.9.0.0/24,fd09::/64 endpoint 192.0.2.2:10002')
        t.a.wg(f'set wg0 peer {other.public} allowed-ips 10.9.0.2/32')
        t.a.wg(f'set wg0 peer {other.public} remove peer {t.pub_b} allowed-ips 10.9.0.2/32,fd09::2/128')
        t.b.wg(f'set wg0 listen-port {11000 + rounds}')
        t.b.wg('set wg0 private-key /dev/stdin', other.private)
        t.b.wg('set wg0 private-key /dev/stdin', t.key['b'].private)
        t.a.setconf('wg0', t.config(t.a))
        rounds += 1
    for p in pings:
        p.kill()
    lab.say(f'{rounds} rounds')
    for daemon in t.da, t.db:
        check(daemon.running() and daemon.answers(), f'the daemon of {daemon.host} lives')
        daemon.host.setconf('wg0', t.config(daemon.host))
    t.a.ping('10.9.0.2', wait=7)
    t.works()


# ----------------------------------------------------------------------------------------------------------------- uapi

ZERO, SOME = '0' * 64, '7' * 64
BAD_SETS = [
    # (lines of a `set`, errno of the reply)
    ('private_key=12', EINVAL), ('private_key=' + 'g' * 64, EINVAL), ('private_key=' + SOME + '00', EINVAL),
    ('private_key=', EINVAL), ('listen_port=65536', EINVAL), ('listen_port=-1', EINVAL), ('listen_port=abc', EINVAL),
    ('listen_port=', EINVAL), ('fwmark=4294967296', EINVAL), ('fwmark=x', EINVAL), ('replace_peers=false', EINVAL),
    ('frobnicate=1', EINVAL), ('listen_port', EPROTO), ('public_key=1234', EINVAL),
    ('allowed_ip=10.0.0.0/8', EINVAL),  # before any public_key
    (f'public_key={SOME}\nendpoint=example.org:1', EINVAL), (f'public_key={SOME}\nendpoint=192.0.2.1', EINVAL),
    (f'public_key={SOME}\nendpoint=192.0.2.1:65536', EINVAL), (f'public_key={SOME}\nendpoint=[::1:5', EINVAL),
    (f'public_key={SOME}\nallowed_ip=10.0.0.0/33', EINVAL), (f'public_key={SOME}\nallowed_ip=fd00::/129', EINVAL),
    (f'public_key={SOME}\nallowed_ip=10.0.0', EINVAL), (f'public_key={SOME}\nallowed_ip=', EINVAL),
    (f'public_key={SOME}\npersistent_keepalive_interval=65536', EINVAL),
    (f'public_key={SOME}\npersistent_keepalive_interval=off', EINVAL),
    (f'public_key={SOME}\npreshared_key=00', EINVAL), (f'public_key={SOME}\nprotocol_version=2', EINVAL),
    (f'public_key={SOME}\nremove=false', EINVAL), (f'public_key={SOME}\nupdate_only=1', EINVAL),
    (f'public_key={SOME}\nreplace_allowed_ips=no', EINVAL), (f'public_key={SOME}\nlisten_port=5', EINVAL),
]


@test
def uapi_answers_bad_input_with_the_right_errno(lab):
    _, daemon = one_daemon(lab)
    for lines, errno in BAD_SETS:
        equal(daemon.errno(f'set=1\n{lines}\n\n'), -errno, f'errno of {lines!r}')
        check(daemon.answers(), f'the daemon answers after {lines!r}')
    equal(daemon.errno('set=1\n\n'), 0, 'an empty set')


@test
def uapi_sets_all_or_nothing(lab):
    host, daemon = one_daemon(lab)
    key = Key()
    host.setconf('wg0', f'[Interface]\nPrivateKey = {key.private}\nListenPort = 5000\n[Peer]\nPublicKey = '
                 f'{Key().public}\nAllowedIPs = 10.0.0.0/8\nPresharedKey = {psk()}\nEndpoint = 192.0.2.1:4\n')
    before = daemon.uapi('get=1\n\n')
    good = (f'private_key={SOME}\nlisten_port=6000\nfwmark=7\nreplace_peers=true\npublic_key={SOME}\n'
            'allowed_ip=10.0.0.0/8\n')
    for lines, errno in BAD_SETS:
        # `good` ends in a peer, so lines that are wrong only before the first peer are left out.
        if not lines.startswith('allowed_ip'):
            daemon.errno(f'set=1\n{good}{lines}\n\n')
            equal(daemon.uapi('get=1\n\n'), before, f'configuration after a set that ends in {lines!r}')


@test
def uapi_takes_several_operations_a_connection(lab):
    _, daemon = one_daemon(lab)
    with daemon.connect() as s:
        for port in 6001, 6002, 6003:
            s.sendall(f'set=1\nlisten_port={port}\n\n'.encode())
            equal(read_reply(s), 'errno=0\n\n', 'reply to a set')
            s.sendall(b'get=1\n\n')
            check(f'listen_port={port}\n' in read_reply(s), 'reply to a get on the same connection')


@test
def uapi_survives_garbage(lab):
    host, daemon = one_daemon(lab)
    host.wg(f'set wg0 listen-port 5000 peer {Key().public} allowed-ips 10.0.0.0/8')
    before = daemon.uapi('get=1\n\n')
    randomness = random.Random(1)
    garbage = [b'', b'\n', b'\n\n', b'=', b'get', b'get=2\n\n', b'set=2\n\n', b'frobnicate=1\n\n', b'\0' * 5000,
               b'x' * 1_000_000, b'set=1\n' + b'private_key=' + b'7' * 1_000_000 + b'\n\n', b'set=1\nlisten_port=7',
               b'get=1\nextra=1\n\n', b'set=1\n=\n\n', b'set=1\n\0=\0\n\n', b'get=1']
    garbage += [randomness.randbytes(randomness.randrange(1, 4000)) for _ in range(30)]
    for data in garbage:
        with contextlib.suppress(OSError), daemon.connect() as s:  # the daemon may close the connection at any time
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            reply = read_reply(s)
            check(not reply.endswith('errno=0\n\n') or data.startswith(b'get'), f'{data[:40]!r} was answered {reply!r}')
        check(daemon.running(), f'the daemon ended on {data[:40]!r}')
    equal(daemon.uapi('get=1\n\n'), before, 'configuration after the garbage')


@test
def uapi_clients_do_not_wait_for_each_other(lab):
    host, daemon = one_daemon(lab)
    idle = [daemon.connect() for _ in range(20)]
    half = [daemon.connect() for _ in range(5)]
    for s in half:
        s.sendall(b'set=1\nlisten_port=77')
    check('interface: wg0' in host.run('wg show wg0', timeout=5), 'wg show beside idle connections')
    host.run('wg set wg0 listen-port 5000', timeout=5)
    for s in idle + half:
        s.close()
    equal(host.show('wg0').listen_port, 5000, 'listen port')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
