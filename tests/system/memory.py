#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""memory suite: a running daemon has its keys only in the region for secrets, and wipes each key when its life ends.

Reads /proc/PID/mem of both daemons. The flags of its mapping identify the region for secrets: locked, not in core
dumps, wiped in forked children. No interface shows session keys. They are found in the region: each window that looks
random is tried as the key of packets from the wire.
"""
import base64
import contextlib
import os
import re
import subprocess
import sys
import time

import memscan
from checks import Failure, check, equal, need, skip, wait_until
from hosts import die_with_parent, tcp_copy
from runner import main, test
from wg_tools import TMP, WGD, Key, psk, public_key

# The other process of the control: it has a plain mapping and one like a daemon's region, and copies a key from file 3
# to the given places. It never holds the key anywhere else.
PLANT = '''
import ctypes, mmap, os, sys
size, anonymous = 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
places = {'plain': mmap.mmap(-1, size, anonymous), 'region': mmap.mmap(-1, size, anonymous)}
places['region'].madvise(mmap.MADV_DONTDUMP)
places['region'].madvise(18)  # MADV_WIPEONFORK
start = ctypes.addressof(ctypes.c_char.from_buffer(places['region']))
if ctypes.CDLL(None).mlock(ctypes.c_void_p(start), ctypes.c_size_t(size)):
    sys.exit('mlock')
for line in sys.stdin:
    command, where, at = line.split()
    piece = memoryview(places[where])[int(at):int(at) + 32]
    if command == 'plant':
        os.preadv(3, [piece], 0)
    else:
        piece[:] = bytes(32)
    print('done', flush=True)
'''


def unclamped():
    """A private key, as text, in which clamping changes bits."""
    raw = bytearray(os.urandom(32))
    raw[0] |= 7
    raw[31] = raw[31] & 63 | 128
    return base64.b64encode(raw).decode()


def at_rest(daemon):
    """Waits until no thread of the daemon runs."""
    def resting():
        states = set()
        for thread in os.listdir(f'/proc/{daemon.pid}/task'):
            with contextlib.suppress(OSError), open(f'/proc/{daemon.pid}/task/{thread}/stat') as f:
                states.add(f.read().rpartition(') ')[2][0])
        return states == {'S'}
    wait_until(resting, 10, f'the daemon of {daemon.host} rests')


def snapshot(daemon):
    at_rest(daemon)
    s = memscan.Snapshot(daemon.pid)
    check(s.regions(), f'the daemon of {daemon.host} has no memory that is locked, kept out of core dumps and wiped '
          'in forked children (VmFlags lo, dd and wf)')
    return s


def describe(place):
    m = place.mapping
    return f'{place.address:#x}, {m.name or "anonymous"} {m.permissions} {m.start:#x}-{m.end:#x}'


def in_region_alone(s, key, what, forms=memscan.traces):
    inside, outside = 0, []
    for form, needle in forms(key).items():
        for place in s.find(needle):
            if memscan.is_region(place.mapping):
                inside += 1
            else:
                outside.append(f'{form} at {describe(place)}')
    check(not outside, f'{what} outside the region: {len(outside)} places: {"; ".join(outside[:3])}')
    return inside


def alive(s, key, what):
    check(in_region_alone(s, key, what) >= 2, f'{what} is not in the region: has the scan gone blind?')


def nowhere(s, key, what):
    for form, needle in memscan.traces(key).items():
        for place in s.find(needle):
            raise Failure(f'{what} is still there: {form} at {describe(place)}')


class Pair:
    """Two daemons with a session, and a capture of its packets."""

    def __init__(self, lab, session=True):
        self.lab = lab
        self.a, self.b = lab.host('a'), lab.host('b')
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        self.wire = self.a.capture('veth')
        self.key_a, self.key_b, self.psk = Key(), Key(), psk()
        for key in self.key_a, self.key_b:
            key.private = unclamped()
            key.public = public_key(key.private)
        self.da, self.db = self.a.daemon('wg0'), self.b.daemon('wg0')
        for host, key, number in (self.a, self.key_a, 1), (self.b, self.key_b, 2):
            host.setconf('wg0', f'[Interface]\nPrivateKey = {key.private}\nListenPort = 51820\n')
            host.address('wg0', f'10.9.0.{number}/24')
            host.ip('link set wg0 mtu 1420 up')
        if session:
            self.add_b()
            self.add_a()
            self.a.ping('10.9.0.2')
            self.b.ping('10.9.0.1')

    def add_b(self):
        """Adds b as a peer of a. Only a has an endpoint, so a initiates."""
        self.a.wg(f'set wg0 peer {self.key_b.public} preshared-key /dev/stdin endpoint 192.0.2.2:51820 '
                  'allowed-ips 10.9.0.2/32', self.psk + '\n')

    def add_a(self):
        self.b.wg(f'set wg0 peer {self.key_a.public} preshared-key /dev/stdin allowed-ips 10.9.0.1/32',
                  self.psk + '\n')

    def remove_b(self):
        self.a.wg(f'set wg0 peer {self.key_b.public} remove')

    def packets(self):
        return [payload for _, payload in self.wire.udp()]

    def public(self):
        return memscan.public_values([base64.b64decode(k.public) for k in (self.key_a, self.key_b)], self.packets())

    def session_keys(self, s):
        """The session keys that opened the newest packet of each direction, found in the region."""
        newest = [[p for _, p in self.wire.udp(outgoing) if p[0] == 4][-1] for outgoing in (True, False)]
        tried, found = set(), []
        for step in 8, 4, 1:
            new = memscan.candidates(s, self.public(), step) - tried
            found += [k for k in new if any(memscan.opens(k, p) for p in newest)]
            tried |= new
            if len(found) >= 2:
                break
        equal(len(found), 2, f'session keys found among {len(tried)} windows of the region that look like keys')
        return found


@test
def the_scan_finds_a_planted_key(lab):
    """The control: the scan finds a key at every kind of place in another process, and no longer once it is
    overwritten."""
    key = os.urandom(32)
    file = os.memfd_create('key')
    os.write(file, key)
    if file != 3:
        os.dup2(file, 3)
    helper = subprocess.Popen([sys.executable, '-c', PLANT], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              pass_fds=(3,), preexec_fn=die_with_parent)
    def tell(command, where, at):
        print(command, where, at, file=helper.stdin, flush=True)
        equal(helper.stdout.readline(), 'done\n', 'the helper\'s answer')
        return memscan.Snapshot(helper.pid)

    try:
        for at in 0, 4096 - 17, 77777, (1 << 20) - 32:
            for command, wanted in ('plant', 1), ('wipe', 0):
                s = tell(command, 'plain', at)
                equal(len(s.find(key)), wanted, f'places after {command} at {at}')
                equal(sum(len(s.find(n)) for n in memscan.traces(key).values()), 2 * wanted, f'traces after {command}')
        alive(tell('plant', 'region', 4096), key, 'the key in the region')
        s = tell('plant', 'plain', 4096 - 17)
        windows = memscan.candidates(s)
        equal(windows, {key}, 'windows of the region that look like keys')
        equal(memscan.candidates(s, [b'on the wire' + key]), set(), 'windows once the key is public')
        equal(len(s.outside(windows)), 1, 'copies outside the region')
        try:
            alive(s, key, 'the key')
        except Failure:
            pass
        else:
            raise Failure('a key outside the region went unnoticed')
        equal(tell('wipe', 'plain', 4096 - 17).outside(windows), {}, 'copies after the wipe')
        nowhere(tell('wipe', 'region', 4096), key, 'the key')
    finally:
        helper.kill()
        helper.wait()


@test
def the_process_is_closed_to_others(lab):
    """Not dumpable, so that only root can read it; no core dumps; memory locked.

    The files in /proc/PID of a process that is not dumpable belong to root:root (proc(5)). The daemon and the control
    run in a group of their own, which makes the difference visible.
    """
    need('setpriv')
    host = lab.host('a')
    prefix = ['setpriv', '--regid', '65534', '--clear-groups']
    if host.try_run([*prefix, 'true']).returncode:
        skip('there is no second group to run in, as in a user namespace')
    control = host.popen([*prefix, 'sleep', '1000'])
    wait_until(lambda: os.stat(f'/proc/{control.pid}/mem').st_gid == 65534, what='the control has its group')
    wrapper = f'{TMP}/grouped'
    with open(wrapper, 'w') as f:
        f.write(f'#!/bin/sh\nulimit -c unlimited\nexec {" ".join(prefix)} -- {WGD} "$@"\n')
    os.chmod(wrapper, 0o755)
    daemon = host.daemon('wg0', program=wrapper)
    with open(f'/proc/{daemon.pid}/status') as f:
        status = f.read()
    equal(re.search(r'^Gid:\s+(\d+)', status, re.M)[1], '65534', 'the daemon\'s group')
    owner = os.stat(f'/proc/{daemon.pid}/mem')
    equal((owner.st_uid, owner.st_gid), (0, 0), 'owner of /proc/PID/mem; of a dumpable process it is the group\'s')
    with open(f'/proc/{daemon.pid}/limits') as f:
        equal(re.search(r'^Max core file size\s+(\S+)', f.read(), re.M)[1], '0', 'limit of core files')
    check(int(re.search(r'^VmLck:\s+(\d+) kB', status, re.M)[1]) > 0, 'no memory is locked (VmLck is 0)')


@test
def configured_keys_are_only_in_the_region(lab):
    p = Pair(lab)
    for host in p.a, p.b:
        host.show('wg0')
        host.wg('showconf wg0')
    for daemon, own in (p.da, p.key_a), (p.db, p.key_b):
        s = snapshot(daemon)
        alive(s, base64.b64decode(own.private), f'the private key of {daemon.host}')
        alive(s, base64.b64decode(p.psk), f'the preshared key at {daemon.host}')


@test
def replaced_keys_are_gone(lab):
    p = Pair(lab)
    new_private, new_psk = unclamped(), psk()
    p.a.wg('set wg0 private-key /dev/stdin', new_private + '\n')
    p.a.wg(f'set wg0 peer {p.key_b.public} preshared-key /dev/stdin', new_psk + '\n')
    s = snapshot(p.da)
    alive(s, base64.b64decode(new_private), 'the new private key')
    alive(s, base64.b64decode(new_psk), 'the new preshared key')
    nowhere(s, base64.b64decode(p.key_a.private), 'the replaced private key')
    nowhere(s, base64.b64decode(p.psk), 'the replaced preshared key')


@test
def session_keys_are_only_in_the_region(lab):
    p = Pair(lab)
    p.wire.packets()
    keys = p.session_keys(snapshot(p.da))
    equal(sorted(p.session_keys(snapshot(p.db))), sorted(keys), 'session keys of b and a')
    tcp_copy(p.a, p.b, '10.9.0.2')
    tcp_copy(p.b, p.a, '10.9.0.1')
    for daemon in p.da, p.db:
        s = snapshot(daemon)
        for key in keys:
            alive(s, key, f'a session key at {daemon.host}')


@test
def vector_code_leaves_no_words_of_session_keys(lab):
    """The same for copies that code with vector registers may have left on the stack."""
    p = Pair(lab)
    keys = p.session_keys(snapshot(p.da))
    tcp_copy(p.a, p.b, '10.9.0.2')
    for daemon in p.da, p.db:
        s = snapshot(daemon)
        for key in keys:
            in_region_alone(s, key, f'a session key at {daemon.host}', memscan.spread)


@test
def nothing_in_the_region_has_a_copy_outside(lab):
    """Windows of the region that look like keys and are not public are nowhere else: chaining keys, shared secrets,
    cookie secrets, and ephemeral keys, both during a handshake and after it."""
    p = Pair(lab, session=False)
    p.add_b()
    p.a.no_ping('10.9.0.2')  # a is no peer of b, so a's handshake stays unanswered
    check(any(m[0] == 1 for m in p.packets()), 'no initiation was sent')
    pending = memscan.candidates(snapshot(p.da), p.public())
    check(len(pending) >= 3, f'{len(pending)} keys in the region, wanted private, preshared and ephemeral')
    no_copies(p, p.da, 'during the handshake')
    p.remove_b()
    p.add_a()
    p.add_b()
    p.a.ping('10.9.0.2')
    p.b.ping('10.9.0.1')
    for daemon in p.da, p.db:
        no_copies(p, daemon, 'with a session')


def no_copies(p, daemon, when):
    s = snapshot(daemon)
    windows = memscan.candidates(s, p.public(), step=1)
    copies = s.outside(windows)
    some = '; '.join(f'{w.hex()} at {describe(place)}' for w, place in list(copies.items())[:3])
    check(not copies, f'{daemon.host} {when}: {len(copies)} of {len(windows)} key-like windows have copies outside '
          f'the region: {some}')
    p.lab.say(f'{daemon.host} {when}: {len(windows)} windows')


@test
def a_removed_peer_leaves_no_key(lab):
    p = Pair(lab)
    sa = snapshot(p.da)
    keys, before = p.session_keys(sa), memscan.candidates(sa, p.public())
    p.remove_b()
    p.b.wg(f'set wg0 peer {p.key_a.public} remove')
    for daemon, own in (p.da, p.key_a), (p.db, p.key_b):
        s = snapshot(daemon)
        alive(s, base64.b64decode(own.private), f'the private key of {daemon.host}')
        nowhere(s, base64.b64decode(p.psk), f'the removed peer\'s preshared key at {daemon.host}')
        for key in keys:
            nowhere(s, key, f'a session key of the removed peer at {daemon.host}')
    # Windows that looked like keys before and are left must be the device's own, which it keeps without peers.
    left = before & memscan.candidates(snapshot(p.da), p.public())
    lab.say(f'{len(left)} of {len(before)} key-like windows are left at a')
    check(len(left) < len(before), 'nothing was wiped')


@test
def a_removed_private_key_is_gone(lab):
    p = Pair(lab)
    alive(snapshot(p.da), base64.b64decode(p.key_a.private), 'the private key')
    p.a.wg('set wg0 private-key /dev/null')
    equal(p.a.show('wg0').private_key, None, 'private key in wg show')
    s = snapshot(p.da)
    nowhere(s, base64.b64decode(p.key_a.private), 'the removed private key')
    alive(s, base64.b64decode(p.psk), 'the preshared key')


@test
def interface_down_ends_sessions(lab):
    p = Pair(lab)
    keys = p.session_keys(snapshot(p.da))
    p.a.ip('link set wg0 down')
    wait_until(lambda: (4, 51820) not in p.a.udp_ports(), what='a closes its socket')
    s = snapshot(p.da)
    alive(s, base64.b64decode(p.psk), 'the preshared key')
    for key in keys:
        nowhere(s, key, 'a session key at a')


@test
def keys_of_replaced_sessions_are_wiped(lab):
    """After two more handshakes neither end needs the keys of the first."""
    p = Pair(lab)
    keys = p.session_keys(snapshot(p.da))
    for _ in range(2):
        p.remove_b()
        p.add_b()
        p.a.ping('10.9.0.2', wait=12)  # of two handshakes within 20 ms the second is refused, and repeated after 5 s
        p.b.ping('10.9.0.1')
    for daemon in p.da, p.db:
        s = snapshot(daemon)
        newest = p.session_keys(s)
        check(not set(newest) & set(keys), 'the first session is still in use')
        for key in keys:
            nowhere(s, key, f'the first session\'s key at {daemon.host}')


@test(long=True, seconds=660)
def keys_of_expired_sessions_are_wiped(lab):
    """540 s after the last handshake (whitepaper, section 6.3: three times Reject-After-Time)."""
    p = Pair(lab)
    keys = p.session_keys(snapshot(p.da))
    p.a.ip('link set veth down')
    end = time.monotonic() + 545
    while time.monotonic() < end:
        time.sleep(1)
    for daemon in p.da, p.db:
        s = snapshot(daemon)
        alive(s, base64.b64decode(p.psk), f'the preshared key at {daemon.host}')
        for key in keys:
            nowhere(s, key, f'an expired session\'s key at {daemon.host}')


if __name__ == '__main__':
    main(__doc__)
