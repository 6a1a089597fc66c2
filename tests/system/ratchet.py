#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""ratchet suite: preshared keys that are replaced in each epoch: two daemons, restarts, and a peer with one key at a
time, whose keys the sample wg-ratchet sets."""
import os
import re
import signal
import stat
import time

from checks import check, equal, wait_until
from runner import main, test
from wg_tools import ROOT, TMP, WGD, Tunnel, psk

SECONDS = 10  # the shortest length of an epoch
SCRIPT = os.path.join(ROOT, 'samples', 'ratchet', 'wg-ratchet')


def field(daemon, key):
    found = re.search(rf'^{key}=(\S+)$', daemon.uapi('get=1\n\n'), re.M)
    return found and found[1]


def epoch():
    return int(time.time()) // SECONDS


def new_session(t):
    """The daemon of a forgets its sessions, and begins another one."""
    t.a.ip('link set wg0 down')
    t.a.ip('link set wg0 up')


def tunnel(lab, **options):
    """A tunnel of two daemons with a ratchet and the same key. Each keeps its state in a directory of its own."""
    t = Tunnel(lab, initiator='a', env={'WG_RATCHET': str(SECONDS), 'WG_RATCHET_DIR': f'{TMP}/keys'}, **options)
    t.secret = psk()
    t.set_psk(t.a, t.secret)
    t.set_psk(t.b, t.secret)
    return t


@test
def keys_change_with_the_epoch_and_wg_shows_the_interface_as_ever(lab):
    t = Tunnel(lab, initiator='a', env={'WG_RATCHET': str(SECONDS)}, up=False)
    t.secret = psk()
    t.set_psk(t.a, t.secret)
    t.set_psk(t.b, t.secret)
    equal(t.a.show('wg0').peer.preshared_key, t.secret, 'the key before the first session')
    equal(field(t.da, 'ratchet_epoch'), None, 'the epoch before the first session')
    for host in t.a, t.b:
        host.ip('link set wg0 up')
    t.works()
    for host, daemon in (t.a, t.da), (t.b, t.db):
        equal(host.show('wg0').peer.preshared_key, None, 'the key after the first session')
        equal(field(daemon, 'ratchet'), str(SECONDS), 'the length of an epoch')
        check(abs(int(field(daemon, 'ratchet_epoch')) - epoch()) <= 1, 'the epoch')
        check(t.secret not in host.wg('showconf wg0'), 'showconf has the key')
    first = int(field(t.da, 'ratchet_epoch'))
    wait_until(lambda: epoch() > first, SECONDS + 1, 'the next epoch')
    new_session(t)
    t.works()
    for daemon in t.da, t.db:
        check(int(field(daemon, 'ratchet_epoch')) > first, 'the epoch of the next session')


@test
def a_restart_goes_on_with_the_stored_key_or_the_configured_one(lab):
    t = tunnel(lab)
    t.works()
    directory = f'{TMP}/keys/wg0'
    wait_until(lambda: len(os.listdir(t.a.path(directory))) == 2, 5, 'the keys of both ends are stored')
    for name in os.listdir(t.a.path(directory)):
        file = t.a.path(f'{directory}/{name}')
        equal(stat.S_IMODE(os.stat(file).st_mode), 0o600, 'the mode of the file')
    for with_key, with_state in (True, True), (False, True), (True, False):
        t.da.stop(signal.SIGKILL)
        if not with_state:
            for name in os.listdir(t.a.path(directory)):
                os.remove(t.a.path(f'{directory}/{name}'))
        env = {'WG_RATCHET': str(SECONDS), 'WG_RATCHET_DIR': f'{TMP}/keys'}
        t.da = t.a.daemon('wg0', env=env)
        t.configure(t.a)
        if with_key:
            t.set_psk(t.a, t.secret)
        t.works()
        check(int(field(t.da, 'ratchet_epoch')) >= epoch() - 1, 'the epoch after the restart')


@test
def a_peer_whose_keys_a_timer_sets_has_sessions(lab):
    t = Tunnel(lab, initiator='ab', programs=(['env', f'WG_RATCHET={SECONDS}', WGD], None))
    secret = psk()
    t.set_psk(t.a, secret)
    state = t.b.path(f'{TMP}/state')
    with open(state, 'w') as file:
        file.write(secret + '\n')

    def turn():
        t.b.run([SCRIPT, 'wg0', t.pub_a, f'{TMP}/state', str(SECONDS)])
    for began in t.a, t.b:
        turn()
        check(secret not in open(state).read(), 'the configured key is still in the state file')
        now = epoch()
        began.ip('link set wg0 down')
        began.ip('link set wg0 up')
        began.ping('10.9.0.2' if began is t.a else '10.9.0.1', wait=13)
        wait_until(lambda: epoch() > now, SECONDS + 1, 'the next epoch')


@test
def wrong_lengths_and_directories_are_refused(lab):
    a = lab.host('a')
    for arguments, text in (
            (['--ratchet', '9'], '--ratchet takes daily, or a number of seconds from 10 to 31622400, or 0, not 9'),
            (['--ratchet', 'weekly'], 'not weekly'),
            (['--ratchet-dir', 'keys'], '--ratchet-dir takes an absolute path, not keys'),
            (['--ratchet-dir', '/dev/null/keys'], 'cannot keep keys in /dev/null/keys/wg0: Not a directory')):
        refused = a.try_run([WGD, *arguments, 'wg0'])
        equal(refused.returncode, 1, 'the exit status')
        check(text in refused.output, f'{text!r} is not in {refused.output!r}')
        check('wg0' not in a.ip('link show'), 'the interface stayed')
    daemon = a.daemon('wg0')
    key = '11' * 32
    equal(daemon.errno(f'set=1\npublic_key={key}\nratchet=9\n\n'), -22, 'a ratchet of 9 s')
    equal(daemon.errno(f'set=1\npublic_key={key}\nratchet=86400\n\n'), 0, 'a ratchet of a day')


main(__doc__)
