#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""inprocess: TCP from program to program, through wg::tunnel in each program and through wgd and the host's TCP.

    sudo bench/inprocess/inprocess.py [options] [NAME=PROGRAM ...]

A veth pair connects two hosts, which are network namespaces. In each round every variant runs once, on new hosts. The
medians of the rounds are printed.

    tunnel    the program `inprocess`, with wg::tunnel at both ends and no rights
    wgd       the same program with sockets of the host, over wgd on both hosts; all ratios are to it
    NAME      another build of `inprocess`, as `tunnel`

options: --build DIR    where wgd and inprocess were built, with -Dbench=enabled and -Dlwip=PATH (build)
         --rounds N     (5)
         --bytes N      of each direction (1000000000)
         --connections N, --idle N    (5000, 5000)
         --json FILE    all figures, an object a line
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / 'tests' / 'system'))
if '--help' in sys.argv or '-h' in sys.argv:
    sys.exit(print(__doc__.strip()))
from options import option  # noqa: E402

BUILD = pathlib.Path(option('build', str(HERE.parent.parent / 'build'))).resolve()
os.environ.setdefault('WGD', str(BUILD / 'samples' / 'wgd'))
from checks import Failure, check  # noqa: E402
from runner import measure  # noqa: E402
from wg_tools import Daemon, Key  # noqa: E402

ROUNDS, BYTES, CONNECTIONS, IDLE = (option('rounds', 5), option('bytes', 1_000_000_000),
                                    option('connections', 5000), option('idle', 5000))
JSON = option('json', '')
SHOWN = {  # figure: (what it is, the measurement, its number)
    'send': ('TCP, one stream, Gbit/s', 'send', BYTES), 'receive': ('TCP, reverse, Gbit/s', 'receive', BYTES),
    'connect': ('connections a second, one after the other', 'connect', CONNECTIONS),
    'idle': ('bytes of memory an idle connection, client', 'idle', IDLE),
    'first': ('s from the start of the process to the first byte', 'first', 0),
}


def configuration(key, number, peer, listens):
    return (f'[Interface]\nPrivateKey = {key.private}\nAddress = 10.9.0.{number}/24\nListenPort = {listens}\n'
            f'[Peer]\nPublicKey = {peer.public}\nEndpoint = 192.0.2.{3 - number}:51820\n'
            f'AllowedIPs = 10.9.0.0/24\n')


class Pair:
    """Two hosts, a wire, and a server on the second host."""

    def __init__(self, lab, name, program):
        self.program = program
        self.a, self.b = lab.host('a'), lab.host('b')
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth', 1500)
        keys = Key(), Key()
        self.files = ['-', '-']
        if name == 'wgd':
            for host, number in (self.a, 1), (self.b, 2):
                Daemon(host, 'wg0', env={'LOG_LEVEL': 'error'})
                text = configuration(keys[number - 1], number, keys[2 - number], 51820)
                host.setconf('wg0', ''.join(line for line in text.splitlines(True) if 'Address' not in line))
                host.address('wg0', f'10.9.0.{number}/24')
                host.ip('link set wg0 mtu 1420 up')
        else:
            self.files = ['/run/wireguard/inprocess.conf'] * 2
            for number, host in enumerate((self.a, self.b), 1):
                path = pathlib.Path(host.path(self.files[0]))
                path.write_text(configuration(keys[number - 1], number, keys[2 - number], 51820))
                path.chmod(0o644)
        self.server = self.b.popen([*self.rights(), program, 'serve', self.files[1], '7000'], stdout=subprocess.PIPE)
        check(self.server.stdout.readline() == 'ready\n', 'the server is ready')

    def rights(self):
        return [] if self.files[0] == '-' else ['setpriv', '--reuid', '65534', '--clear-groups', '--no-new-privs']

    def figure(self, what, number):
        command = [*self.rights(), self.program, what, self.files[0], '10.9.0.2:7000', str(number)]
        return float(self.a.run(command, timeout=120))

    def figures(self):
        found = {name: self.figure(what, number) for name, (_, what, number) in SHOWN.items()}
        self.server.kill()
        self.server.wait()
        return found


def table(names, results):
    """The medians as rows of Markdown."""
    lines = [f'| medians of {ROUNDS} | ' + ' | '.join(names) + ' | tunnel : wgd |', '|---' * (len(names) + 2) + '|']
    for figure, (label, _, _) in SHOWN.items():
        medians = [statistics.median(results[name][figure]) for name in names]
        ratio = medians[names.index('tunnel')] / medians[names.index('wgd')]
        lines.append(f'| {label} | ' + ' | '.join(f'{m:.4g}' if m < 1000 else f'{m:.0f}' for m in medians) +
                     f' | {ratio:.2f} |')
    return '\n'.join(lines)


def run(lab):
    own = str(BUILD / 'bench' / 'inprocess')
    programs = {'tunnel': own, 'wgd': own, **dict(given.split('=', 1) for given in sys.argv[1:])}
    results = {name: {} for name in programs}
    log = open(JSON, 'w') if JSON else None
    for number in range(1, ROUNDS + 1):
        for name, program in programs.items():
            try:
                found = Pair(lab, name, program).figures()
            finally:
                lab.clear()
            for figure, value in found.items():
                results[name].setdefault(figure, []).append(value)
                if log:
                    print(json.dumps({'bench': figure, 'impl': name, 'round': number, 'value': value}), file=log)
            print(f'round {number}, {name}: ' + ', '.join(f'{k} {v:.4g}' for k, v in found.items()), file=sys.stderr)
    print(table(list(programs), results))


if __name__ == '__main__':
    try:
        measure(run, ('setpriv',))
    except Failure as e:
        sys.exit(str(e))
