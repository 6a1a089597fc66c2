#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""wine suite: a peer that runs under Wine, with os/windows, against the daemon of Linux.

The peer is tests/windows/peer.cpp. Its wintun.dll is tests/windows/wintun.cpp, which makes a TUN interface of Linux.
"""
import atexit
import os
import shutil
import subprocess
import tempfile

from checks import Skip, check, wait_until
from hosts import tcp_copy, udp_echo
from runner import main, test
from wg_tools import Key, Tunnel

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MINGW = 'x86_64-w64-mingw32-g++-posix'
WINE, SERVER = (next((p for p in (shutil.which(name), f'/usr/lib/wine/{file}') if p and os.path.exists(p)), None)
                for name, file in (('wine64', 'wine64'), ('wineserver', 'wineserver64')))
FLAGS = ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-Werror', '-static']
LIBRARIES = ['-lws2_32', '-lbcrypt', '-liphlpapi', '-lsynchronization']

_folder = []


def environment(folder):
    return {**os.environ, 'WINEPREFIX': f'{folder}/wine', 'WINEDEBUG': '-all', 'WINEDLLOVERRIDES': 'mscoree,mshtml=',
            'DISPLAY': ''}


def programs():
    """The folder with peer.exe, its wintun.dll and the files of Wine; made once."""
    if not WINE or not SERVER:
        raise Skip('wine64 is not installed')
    if not shutil.which(MINGW):
        raise Skip(f'{MINGW} is not installed')
    if not _folder:
        folder = tempfile.mkdtemp(prefix='wg-wine-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        source = f'{ROOT}/tests/windows'
        for command in ([MINGW, *FLAGS, f'-I{ROOT}/include', f'{source}/peer.cpp', *LIBRARIES, '-o',
                         f'{folder}/peer.exe'],
                        [MINGW, *FLAGS, '-shared', f'{source}/wintun.cpp', '-o', f'{folder}/wintun.dll'],
                        [WINE, 'wineboot', '-i'], [SERVER, '-k', '-w']):
            made = subprocess.run(command, env=environment(folder), text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            check(made.returncode == 0 or command[0] == SERVER, f'{command}: {made.stdout}')
        _folder.append(folder)
    return _folder[0]


class WindowsTunnel(Tunnel):
    """A tunnel between the daemon on host a and the peer under Wine on host b. `outer` and `initiator` as in Tunnel.

    Wine's server opens all sockets, so each tunnel starts a server of its own on host b; it ends with the host."""

    def __init__(self, lab, outer=4, initiator='ab'):
        self.folder = programs()
        self.lab, self.outer, self.initiator, self.opens = lab, outer, initiator, True
        self.a, self.b = lab.host('a'), lab.host('b')
        self.connect(1500)
        self.key = {'a': Key(), 'b': Key()}
        self.da = self.a.daemon('wg0')
        self.configure(self.a)
        self.log = f'{self.folder}/peer.log'
        self.start_peer()

    def start_peer(self):
        where = self.endpoint(self.a) if 'b' in self.initiator else '-'
        command = [WINE, f'{self.folder}/peer.exe', 'wg0', self.key['b'].private, '10002', self.key['a'].public, where,
                   '10.9.0.1/32', 'fd09::1/128']
        with open(self.log, 'w') as log:
            self.peer = self.b.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     env=environment(self.folder))
        wait_until(self.opened, 30, 'the peer has opened its adapter and its port')
        self.b.address('wg0', '10.9.0.2/24', 'fd09::2/64')
        self.b.ip('link set wg0 mtu 1420 up')
        self.b.settle()

    def opened(self):
        check(self.peer.poll() is None, f'the peer ended: {self.said()}')
        return self.b.link_exists('wg0') and (4, 10002) in self.b.udp_ports()

    def said(self):
        with open(self.log) as log:
            return log.read()[-500:]


@test(seconds=150)
def traffic_over_ipv4(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.a.ping('10.9.0.2', count=100, flood=True)
    t.b.ping('fd09::1', count=100, flood=True)
    for client, server, address in (t.a, t.b, '10.9.0.2'), (t.b, t.a, '10.9.0.1'), (t.a, t.b, 'fd09::2'):
        udp_echo(client, server, address)
        lab.say(f'{tcp_copy(client, server, address, 20):.0f} Mbit/s')


@test(seconds=150)
def traffic_over_ipv6(lab):
    t = WindowsTunnel(lab, 6)
    t.works()
    udp_echo(t.a, t.b, '10.9.0.2')


@test(seconds=150)
def each_end_begins_the_handshake(lab):
    for initiator in 'ab':
        t = WindowsTunnel(lab, 4, initiator)
        first, address = (t.a, '10.9.0.2') if initiator == 'a' else (t.b, '10.9.0.1')
        first.ping(address)
        t.works()
        lab.clear()


@test(seconds=150)
def follows_a_peer_to_another_port(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.a.wg('set wg0 listen-port 10077')
    t.a.ping('10.9.0.2')
    t.b.ping('10.9.0.1')


@test(seconds=150)
def ends_when_its_adapter_is_removed(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.b.ip('link delete wg0')
    wait_until(lambda: t.peer.poll() is not None, 10, 'the peer ended')
    check('the other end or the device is gone' in t.said(), f'the peer said {t.said()}')


@test(seconds=150)
def an_adapter_name_that_is_taken_is_named(lab):
    t = WindowsTunnel(lab)
    taken = t.b.try_run([WINE, f'{t.folder}/peer.exe', 'wg0', t.key['b'].private, '10003', t.key['a'].public, '-',
                         '10.9.0.1/32'], env=environment(t.folder))
    check(taken.returncode == 1, f'exit status {taken.returncode}')
    check('an adapter `wg0` exists already' in taken.output, taken.output)


main(__doc__)
