#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""tunnel: WireGuard daemons side by side, on this machine, in this run.

    sudo bench/tunnel/tunnel.py [options] [[NAME=]PROGRAM ...]

A veth pair connects two hosts, which are network namespaces, with a daemon of one kind on each. The measured traffic
goes through the tunnel. In each round every daemon runs once, on new hosts. The medians of the rounds are printed.
These are compared, and the programs on the command line (each is started as `PROGRAM -f wg0`):

    wgd      this project's daemon
    limit    the same without cryptography: the limit of the engine on this machine
    go       the newest wireguard-go that the machine can run; all ratios are to it

options: --build DIR      where wgd, wgd_limit and udp_load were built, with -Dbench=enabled (build)
         --only A,B       these of the three, instead of all
         --metrics A,B    instead of all: tcp1 tcp4 reverse forward single udp64 udp1400 ping loaded memory
                          (forward: a third host behind the first sends TCP through it, in frames of 64 kB; single:
                          in single packets)
         --rounds N       (5)
         --seconds S      of a run of TCP (4)
         --mtu BYTES      MTU of the tunnel (1420); the MTU of the wire is 80 more
         --path BYTES     a path MTU in the routes, less than the wire's
         --uso off        the wire takes no UDP segments: the kernel segments before it
         --cores LIST     all programs on these cores, as taskset takes them
         --env A=B,C=D    the environment of wgd and limit
         --link N=ARGS    arguments of `ip link set wg0` for the program called N, such as `txqueuelen 500`; several: ;
         --json FILE      all figures, an object a line
         --chart FILE     the ratios as SVG
"""
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / 'tests' / 'system'))
if '--help' in sys.argv or '-h' in sys.argv:
    sys.exit(print(__doc__.strip()))
from options import option  # noqa: E402

BUILD = pathlib.Path(option('build', str(HERE.parent.parent / 'build'))).resolve()
os.environ.setdefault('WGD', str(BUILD / 'samples' / 'wgd'))
import chart  # noqa: E402
import newest  # noqa: E402
from checks import Failure, check, wait_until  # noqa: E402
from runner import measure  # noqa: E402
from wg_tools import Daemon, Key  # noqa: E402

PATH = option('path', 0)
ROUNDS, SECONDS, MTU = option('rounds', 5), option('seconds', 4), option('mtu', 1420)
METRICS = option('metrics', 'tcp1,tcp4,reverse,forward,single,udp64,udp1400,ping,loaded,memory').split(',')
USO, CORES, JSON, CHART = option('uso', 'on'), option('cores', ''), option('json', ''), option('chart', '')
OWN_ENV = dict(item.split('=', 1) for item in option('env', '').split(',') if item)
LINK = dict(item.split('=', 1) for item in option('link', '').split(';') if item)
UDP_LOAD = str(BUILD / 'bench' / 'udp_load')
SMALL_BYTES, LARGE_BYTES = 64, 1400 - 28  # of payload; the large ones are packets of 1400

SHOWN = {  # figure: what it is, whether more is better
    'tcp1': ('TCP, one stream, Gbit/s', True), 'tcp4': ('TCP, four streams, Gbit/s', True),
    'reverse': ('TCP, reverse, Gbit/s', True), 'retransmits': ('segments sent again a GB', False),
    'cpu': ('CPU s of both daemons a GB', False),
    'forward': ('TCP forwarded in frames of 64 kB, Gbit/s', True),
    'forward_again': ('segments sent again a GB, forwarded', False),
    'forward_dropped': ('frames that the TUN queues drop, forwarded', False),
    'single': ('TCP forwarded in single packets, Gbit/s', True),
    'single_again': ('segments sent again a GB, forwarded in single packets', False),
    'single_dropped': ('packets that the TUN queues drop, forwarded in single packets', False),
    'udp64': ('64 B UDP, packets/s at <= 1 % loss', True), 'udp64_over': ('64 B UDP, packets/s under overload', True),
    'udp1400': ('1400 B UDP under overload, Gbit/s', True), 'late': ('UDP out of order', False),
    'ping_p50': ('ping idle p50, ms', False), 'ping_p99': ('ping idle p99, ms', False),
    'loaded_p50': ('ping under TCP p50, ms', False), 'loaded_p99': ('ping under TCP p99, ms', False),
    'memory': ('resident after load, MB a daemon', False),
}


def contestants():
    """{name: program}, ours first."""
    chosen = {'wgd': os.environ['WGD'], 'limit': str(BUILD / 'bench' / 'wgd_limit'), 'go': ''}
    chosen = {name: chosen[name] for name in option('only', ','.join(chosen)).split(',')}
    if 'go' in chosen:
        chosen['go'], what = newest.wireguard_go()
        print(f'go is {chosen["go"]}, {what}', file=sys.stderr)
    for given in sys.argv[1:]:
        name, _, program = given.rpartition('=')
        chosen[name or pathlib.Path(program).name] = os.path.abspath(program)
    return chosen


def at(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Pair:
    """Two hosts, a wire, and a tunnel of two daemons of a kind."""

    def __init__(self, lab, name, program):
        self.a, self.b = lab.host('a'), lab.host('b')
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth', MTU + 80)
        for host in self.a, self.b:
            if PATH:
                host.ip(f'route add 192.0.2.{2 if host is self.a else 1} dev veth mtu {PATH}')
            if USO == 'off':
                host.run('ethtool -K veth tx-udp-segmentation off')
        keys = Key(), Key()
        env = {'LOG_LEVEL': 'error', **(OWN_ENV if name in ('wgd', 'limit') else {})}
        self.daemons = [Daemon(h, 'wg0', program=program, env=env) for h in (self.a, self.b)]
        for host, number in (self.a, 1), (self.b, 2):
            host.setconf('wg0', f'[Interface]\nPrivateKey = {keys[number - 1].private}\nListenPort = 51820\n'
                         f'[Peer]\nPublicKey = {keys[2 - number].public}\nEndpoint = 192.0.2.{3 - number}:51820\n'
                         f'AllowedIPs = 10.9.0.{3 - number}/32' + (', 10.8.0.0/24' if number == 2 else '') + '\n')
            host.address('wg0', f'10.9.0.{number}/24')
            host.ip(f'link set wg0 mtu {MTU} up')
            if name in LINK:
                host.ip(f'link set wg0 {LINK[name]}')
        if 'forward' in METRICS or 'single' in METRICS:
            self.box = lab.host('box')
            lab.link(self.box, self.a, '10.8.0.2/24', '10.8.0.1/24', 'lan', 1500)
            self.box.ip('route add default via 10.8.0.1')
            self.b.ip('route add 10.8.0.0/24 dev wg0')
            self.a.sysctl('net.ipv4.ip_forward', 1)
        self.a.ping('10.9.0.2')

    def cpu_s(self):
        """CPU seconds that both daemons have used."""
        ticks = 0
        for daemon in self.daemons:
            fields = pathlib.Path(f'/proc/{daemon.pid}/stat').read_text().rpartition(')')[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def dropped(self):
        """Packets for the tunnel that were dropped in front of a full queue of the TUN interface."""
        return json.loads(self.a.run('ip -j -s link show wg0'))[0]['stats64']['tx']['dropped']

    def tcp(self, *options, client=None):
        """(Gbit/s, CPU seconds per GB, retransmits per GB)"""
        server = self.b.popen('iperf3 -s -1 -B 10.9.0.2', stdout=subprocess.DEVNULL)
        wait_until(lambda: self.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
        before = self.cpu_s()
        command = f'iperf3 -J -c 10.9.0.2 -C cubic -t {SECONDS} ' + ' '.join(options)
        said = (client or self.a).run(command, timeout=SECONDS + 30)
        used = self.cpu_s() - before
        end = json.loads(said)['end']
        check('sum_received' in end, f'iperf3 says: {said}')
        server.wait()
        gb = end['sum_received']['bytes'] / 1e9
        return end['sum_received']['bits_per_second'] / 1e9, used / gb, end['sum_sent'].get('retransmits', 0) / gb

    def udp(self, size, per_second, seconds=0.8):
        """(sent, received, seconds of sending, of receiving, late)"""
        receiver = self.b.popen([UDP_LOAD, 'receive', '10.9.0.2', '5400', '300'], stdout=subprocess.PIPE)
        wait_until(lambda: self.b.run('ss -Hlun sport = 5400'), what='the receiver listens', every=0.005)
        load = [UDP_LOAD, 'send', '10.9.0.2', '5400', str(size), str(per_second), str(seconds)]
        sent, took = self.a.run(load).split()
        got, over, late = receiver.communicate()[0].split()
        return int(sent), int(got), float(took), float(over), int(late)

    def most_small_packets(self):
        """The highest rate of small packets of which at most 1 % are lost, by bisection."""
        low, high, best = 10_000, 3_000_000, 0
        for _ in range(7):
            rate = math.isqrt(low * high)
            sent, got, took, over, _ = self.udp(SMALL_BYTES, rate)
            passed = sent != 0 and got >= 0.99 * sent
            if passed:
                best = max(best, got / over)
            if passed and sent / took >= 0.9 * rate:
                low = rate
            else:
                high = rate
        return best

    def pings(self, interval, count):
        said = self.a.run(f'ping -n -i {interval} -c {count} -W 1 10.9.0.2', timeout=60)
        return [float(line.rpartition('time=')[2].split()[0]) for line in said.splitlines() if 'time=' in line]

    def figures(self):
        """{figure: value} of one round."""
        found = {}
        cpu, again = [], []
        for name, options in ('tcp1', ()), ('tcp4', ('-P', '4')), ('reverse', ('-R',)):
            if name in METRICS:
                found[name], used, retransmits = self.tcp(*options)
                cpu.append(used)
                again.append(retransmits)
        if cpu:
            found['cpu'], found['retransmits'] = cpu[0], again[0]
        for name, segments in ('forward', 65535), ('single', 1):
            if name in METRICS:
                self.box.ip(f'link set lan gso_max_segs {segments}')
                before = self.dropped()
                found[name], _, found[name + '_again'] = self.tcp(client=self.box)
                found[name + '_dropped'] = self.dropped() - before
        late = []
        if 'udp64' in METRICS:
            found['udp64'] = self.most_small_packets()
            _, got, _, over, order = self.udp(SMALL_BYTES, 0)
            found['udp64_over'] = got / over
            late.append(order)
        if 'udp1400' in METRICS:
            _, got, _, over, order = self.udp(LARGE_BYTES, 0)
            found['udp1400'] = got * LARGE_BYTES * 8 / over / 1e9
            late.append(order)
        if late:
            found['late'] = sum(late)
        if 'ping' in METRICS:
            times = self.pings(0.001, 3000)
            found['ping_p50'], found['ping_p99'] = at(times, 0.5), at(times, 0.99)
        if 'loaded' in METRICS:
            server = self.b.popen('iperf3 -s -1 -B 10.9.0.2', stdout=subprocess.DEVNULL)
            wait_until(lambda: self.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
            load = self.a.popen('iperf3 -c 10.9.0.2 -C cubic -t 4', stdout=subprocess.DEVNULL)
            time.sleep(0.5)  # a window that has grown
            times = self.pings(0.005, 600)
            found['loaded_p50'], found['loaded_p99'] = at(times, 0.5), at(times, 0.99)
            load.wait()
            server.wait()
        if 'memory' in METRICS:
            found['memory'] = max(d.rss_kib() for d in self.daemons) * 1024 / 1e6
        return found


def table(names, results):
    """The medians as rows of Markdown."""
    base = 'go' if 'go' in names else names[0]
    lines = [f'| medians of {ROUNDS} | ' + ' | '.join(names) + f' | wgd : {base} |', '|---' * (len(names) + 2) + '|']
    for figure, (label, _) in SHOWN.items():
        medians = {n: statistics.median(results[n][figure]) for n in names if results[n].get(figure)}
        if not medians:
            continue
        first, other = medians.get(names[0]), medians.get(base)
        ratio = f'{first / other:.2f}' if first is not None and other else ''
        cells = [f'{medians[n]:.4g}' if medians.get(n, 0) < 1000 else f'{medians[n]:.0f}' if n in medians else ''
                 for n in names]
        lines.append(f'| {label} | ' + ' | '.join(cells) + f' | {ratio} |')
    return '\n'.join(lines)


def run(lab):
    if CORES:
        os.sched_setaffinity(0, {int(c) for part in CORES.split(',') for c in part.split('-')})
    programs = contestants()
    names = list(programs)
    results = {n: {} for n in names}
    log = open(JSON, 'w') if JSON else None
    for number in range(1, ROUNDS + 1):
        for name in names:
            try:
                found = Pair(lab, name, programs[name]).figures()
            finally:
                lab.clear()
            for figure, value in found.items():
                results[name].setdefault(figure, []).append(value)
                if log:
                    print(json.dumps({'bench': figure, 'impl': name, 'round': number, 'value': value}), file=log)
            print(f'round {number}, {name}: ' + ', '.join(f'{k} {v:.4g}' for k, v in found.items()), file=sys.stderr)
    print(table(names, results))
    if CHART:
        base = 'go' if 'go' in names else names[0]
        rows = [(label, better, {n: statistics.median(results[n][figure]) for n in names if results[n].get(figure)})
                for figure, (label, better) in SHOWN.items() if figure not in ('late', 'retransmits')]
        pathlib.Path(CHART).write_text(chart.draw(names, base, [r for r in rows if r[2].get(base)]))


if __name__ == '__main__':
    try:
        measure(run, ('iperf3', 'ethtool') if USO == 'off' else ('iperf3',))
    except Failure as e:
        sys.exit(str(e))
