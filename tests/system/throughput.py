#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""throughput suite: TCP through the daemon is at least 0.3 times as fast as through wireguard-go, in the same run.
Prints the costs of both: CPU seconds of both ends per GB, and resident memory.

There are two pairs of hosts, one for each kind of daemon. iperf3 runs through them in turn, so that other load of the
machine affects both alike. The medians of the rounds are compared. The other daemon is $WIREGUARD_GO, or the newest
wireguard-go that the machine can run (newest.py).

options: --rounds N    rounds of one run through each (5)
         --seconds N   length of one run (2)
         --floor X     the least ratio of the medians (0.3)
"""
import json
import os
import statistics
import subprocess

from checks import check, need, wait_until
from runner import main, test
from wg_tools import WGD, Key
import newest
from options import option

ROUNDS, SECONDS, FLOOR = option('rounds', 5), option('seconds', 2), option('floor', 0.3)
OTHER, KIND = newest.wireguard_go()


class Pair:
    """Two hosts and a tunnel, with an iperf3 server on the second."""

    def __init__(self, lab, name, program):
        self.name = name
        self.a, self.b = lab.host(f'{name}-a'), lab.host(f'{name}-b')
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        keys = Key(), Key()
        # Each daemon logs only errors, because logging costs time.
        self.daemons = [h.daemon('wg0', program=program, env={'LOG_LEVEL': 'error'}) for h in (self.a, self.b)]
        for host, number in (self.a, 1), (self.b, 2):
            host.setconf('wg0', f'[Interface]\nPrivateKey = {keys[number - 1].private}\nListenPort = 51820\n'
                         f'[Peer]\nPublicKey = {keys[2 - number].public}\nEndpoint = 192.0.2.{3 - number}:51820\n'
                         f'AllowedIPs = 10.9.0.{3 - number}/32\n')
            host.address('wg0', f'10.9.0.{number}/24')
            host.ip('link set wg0 mtu 1420 up')
        self.b.popen(['iperf3', '-s', '-B', '10.9.0.2'], stdout=subprocess.DEVNULL)
        wait_until(lambda: self.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
        self.a.ping('10.9.0.2')
        self.results, self.costs = [], []

    def cpu_s(self):
        """CPU seconds that both daemons have used."""
        ticks = 0
        for daemon in self.daemons:
            with open(f'/proc/{daemon.pid}/stat') as f:
                ticks += sum(map(int, f.read().rpartition(')')[2].split()[11:13]))
        return ticks / os.sysconf('SC_CLK_TCK')

    def run(self):
        """One run of TCP from a to b; Mbit/s as received."""
        before = self.cpu_s()
        report = json.loads(self.a.run(f'iperf3 -J -c 10.9.0.2 -t {SECONDS}', timeout=SECONDS + 20))
        check('sum_received' in report['end'], f"{self.name}: iperf3 says: {report.get('error', report['end'])}")
        self.results.append(report['end']['sum_received']['bits_per_second'] / 1e6)
        self.costs.append((self.cpu_s() - before) / (report['end']['sum_received']['bytes'] / 1e9))

    def __str__(self):
        runs = ' '.join(f'{r:.0f}' for r in self.results)
        return (f'{self.name} {self.median():.0f} Mbit/s ({runs}), {statistics.median(self.costs):.2f} CPU s a GB, '
                f'{max(d.rss_kib() for d in self.daemons) / 1024:.1f} MiB resident')

    def median(self):
        return statistics.median(self.results)


@test(seconds=60 + 2 * ROUNDS * (SECONDS + 5))
def tcp_stays_above_the_floor(lab):
    need('iperf3', OTHER)
    ours, other = Pair(lab, os.path.basename(WGD), WGD), Pair(lab, 'reference', OTHER)
    for i in range(ROUNDS):
        for pair in (ours, other) if i % 2 == 0 else (other, ours):
            pair.run()
    ratio = ours.median() / other.median()
    lab.say(str(ours))
    lab.say(f'{other}: {KIND}')
    lab.say(f'ratio {ratio:.2f}, floor {FLOOR:g}')
    check(ratio >= FLOOR, f'{ours}; {other}: ratio {ratio:.2f} is below {FLOOR:g}')


if __name__ == '__main__':
    main(__doc__)
