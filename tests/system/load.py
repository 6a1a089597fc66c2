#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""load suite: a tunnel at full load reorders nothing, and changes of the link, keys, peers and ports interrupt it for
at most a second and leak no memory.

options: --seconds N   length of the run with changes (20; 600 in the long one)
         --growth KIB  by which a daemon may grow during the run (1024)
         --most KIB    limit with four threads, which allocate their buffers on first use (16384)
"""
import contextlib
import itertools
import json
import socket
import subprocess
import time

from checks import check, equal, need, wait_until
from runner import main, test
from wg_tools import WGD, Key, Tunnel, endpoint, pass_initiation_interval, psk
from options import option

SECONDS, GROWTH_KIB, MOST_KIB = option('seconds', 20), option('growth', 1024), option('most', 16384)


def serve(host):
    host.popen('iperf3 -s -B 10.9.0.2', stdout=subprocess.DEVNULL)
    wait_until(lambda: host.run('ss -Hltn sport = 5201'), what='iperf3 listens')


def iperf(host, options):
    client = host.popen(f'iperf3 -J -c 10.9.0.2 {options}', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = json.loads(client.communicate(timeout=60)[0])
    check('error' not in said, f'iperf3 {options}: {said.get("error")}')
    return said['end']


def tunnel(lab, workers):
    """A tunnel whose daemons log only errors, because logging costs time."""
    t = Tunnel(lab, env={'LOG_LEVEL': 'error'}, programs=([WGD, '--workers', str(workers)],) * 2)
    t.works()
    serve(t.b)
    return t


def keep_order(lab, workers):
    need('iperf3')
    t = tunnel(lab, workers)
    for size, streams in (64, 1), (1372, 1), (64, 4), (1372, 4):
        end = iperf(t.a, f'-u -b 0 -l {size} -P {streams} -t 2')
        late = sum(s['udp'].get('out_of_order', 0) for s in end['streams'])
        arrived = end['sum']['packets'] - end['sum']['lost_packets']
        check(arrived > 10_000, f'{arrived} datagrams of {size} bytes arrived')
        equal(late, 0, f'datagrams of {size} bytes out of order, of {arrived} in {streams} flows')
        lab.say(f'{arrived / end["sum"]["seconds"] / 1000:.0f} k/s of {size}')
    # TCP retransmits after reordering or loss.
    for streams in 1, 4:
        end = iperf(t.a, f'-P {streams} -t 2')
        gb = end['sum_received']['bytes'] / 1e9
        lab.say(f'{end["sum_sent"]["retransmits"] / gb:.0f} segments sent again a GB')
        reordered = t.a.run(['sh', '-c', 'nstat -asz TcpExtTCPSACKReorder TcpExtTCPTSReorder'])
        counts = [int(line.split()[1]) for line in reordered.splitlines() if line.startswith('TcpExt')]
        equal(sum(counts), 0, f'TCP segments that came out of order, {streams} streams')
    threads = [d.threads() for d in (t.da, t.db)]
    check(workers == 1 or max(threads) > 1, 'no worker was ever called')
    check(max(threads) <= workers, f'{threads} threads')


@test(seconds=120)
def no_flow_is_reordered(lab):
    keep_order(lab, 1)


@test(seconds=120)
def no_flow_is_reordered_by_workers(lab):
    keep_order(lab, 4)


class Changes:
    """Changes at one end of a tunnel. The tunnel works after each of them."""

    def __init__(self, tunnel):
        self.t = tunnel
        self.port, self.secret = 20000, None
        self.ends = itertools.cycle((tunnel.a, tunnel.b))

    def link_down_and_up(self):
        host = next(self.ends)
        host.ip('link set wg0 down')
        host.ip('link set wg0 up')

    def new_private_key(self):
        # The other end first: otherwise it would not know the new key in the handshake.
        old, self.t.key['a'] = self.t.pub_a, Key()
        self.t.b.wg(f'set wg0 peer {old} remove')
        self.add_peer(self.t.b)
        self.t.a.wg('set wg0 private-key /dev/stdin', self.t.key['a'].private)

    def peer_removed_and_added(self):
        host = next(self.ends)
        host.wg(f'set wg0 peer {self.t.key[self.t.other(host).name].public} remove')
        self.add_peer(host)

    def new_listen_port(self):
        self.port += 1  # of the sending end, so that the other end learns the new port
        self.t.a.wg(f'set wg0 listen-port {self.port}')

    def new_preshared_key(self):
        self.secret = psk()
        for host in self.t.a, self.t.b:
            self.t.set_psk(host, self.secret)

    def add_peer(self, host):
        far = self.t.other(host)
        number = self.t.NUMBER[far.name]
        where = endpoint(self.t.WIRE[4][far.name], far.show('wg0').listen_port)
        # In one command: a handshake with half of the change would fail, and the next one starts five seconds later.
        secret = 'preshared-key /dev/stdin' if self.secret else ''
        host.wg(f'set wg0 peer {self.t.key[far.name].public} {secret} endpoint {where} '
                f'allowed-ips 10.9.0.{number}/32,fd09::{number}/128', self.secret)


def resumes(t, here, there, numbers):
    """Seconds until a datagram gets there and back. Both ends send: an end without sessions does not answer packets of
    old ones, and starts a new session only when it sends."""
    start, first = time.monotonic(), next(numbers)
    while True:
        with contextlib.suppress(OSError):
            here.sendto(next(numbers).to_bytes(8, 'big'), there.getsockname())
            there.sendto(b'', here.getsockname())
        with contextlib.suppress(TimeoutError, OSError):
            data, back = there.recvfrom(100)
            there.sendto(data, back)
            while int.from_bytes(here.recv(100), 'big') <= first:  # late datagrams of earlier changes
                pass
            return time.monotonic() - start
        check(time.monotonic() - start < 5, 'nothing passes for five seconds')


def live_through_changes(lab, seconds, workers):
    need('iperf3')
    t = tunnel(lab, workers)
    load = [t.a.popen(f'iperf3 -c 10.9.0.2 -P 2 -t {seconds + 30}', stdout=subprocess.DEVNULL)]
    wait_until(lambda: t.b.show('wg0').peer.rx > 10e6, what='the load begins')
    there = t.b.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('10.9.0.2', 7000), timeout=0.05)
    here = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('10.9.0.1', 0), timeout=0.05)
    changes, numbers = Changes(t), itertools.count()
    all_changes = [changes.link_down_and_up, changes.new_private_key, changes.peer_removed_and_added,
                   changes.new_listen_port, changes.new_preshared_key]
    worst, done, settled = 0.0, 0, None  # all buffers are allocated when the first half is over
    half, end = time.monotonic() + seconds / 2, time.monotonic() + seconds
    while time.monotonic() < end or settled is None:
        change = all_changes[done % len(all_changes)]
        change()
        took = resumes(t, here, there, numbers)
        check(took < 1, f'{change.__name__}: traffic resumed after {took:.2f} s')
        worst, done = max(worst, took), done + 1
        if settled is None and time.monotonic() > half:
            settled = [d.rss_kib() for d in (t.da, t.db)]
        pass_initiation_interval()
    for daemon, before in zip((t.da, t.db), settled):
        grown = daemon.rss_kib() - before
        if workers == 1:
            check(grown <= GROWTH_KIB, f'{daemon.host}: the daemon grew by {grown} KiB in {done} changes')
        check(daemon.rss_kib() <= MOST_KIB, f'{daemon.host}: {daemon.rss_kib()} KiB after {done} changes')
        # The process: 16 queues, 4 UDP sockets, 3 standard streams, the log, the lock, netlink, the socket
        # of the configuration, its watches and a client or two. Each worker: an eventfd, a timer, two epoll
        # instances, a netlink socket.
        check(daemon.descriptors() <= 36 + 5 * workers, f'{daemon.host}: {daemon.descriptors()} descriptors')
    check(load[0].poll() is None, 'the load ended before the changes did')
    lab.say(f'{done} changes, traffic resumed within {worst * 1000:.0f} ms')


@test(seconds=120)
def changes_under_load(lab):
    live_through_changes(lab, SECONDS, 1)


@test(seconds=120)
def changes_under_load_of_workers(lab):
    live_through_changes(lab, SECONDS, 4)


@test(long=True, seconds=900)
def changes_under_load_for_ten_minutes(lab):
    live_through_changes(lab, 600, 1)


@test(long=True, seconds=900)
def changes_under_load_of_workers_for_ten_minutes(lab):
    live_through_changes(lab, 600, 4)


if __name__ == '__main__':
    main(__doc__)
