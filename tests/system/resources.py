#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""resources suite: memory of the daemon, idle, under load and limited; and that an idle daemon sleeps."""
import os

from checks import check, equal, skip, wait_until
from hosts import tcp_copy
from known_failures import known_failures
from runner import main, test
from wg_tools import WGD, Tunnel

ENOMEM = 12


@test(seconds=120)
def resident_memory_is_small(lab):
    if os.path.basename(WGD) == 'wireguard-go':
        skip('asked of wgd only')
    with open(WGD, 'rb') as f:
        if b'__asan_init' in f.read():
            skip('the daemon was built with a sanitizer, whose memory this would measure')
    t = Tunnel(lab)
    idle = max(t.da.rss_kib(), t.db.rss_kib())
    t.works()
    for client, server, address in (t.a, t.b, '10.9.0.2'), (t.b, t.a, '10.9.0.1'):
        tcp_copy(client, server, address, 200, timeout=60)
    loaded = max(t.da.rss_kib(), t.db.rss_kib())
    lab.say(f'idle {idle} KiB, after load {loaded} KiB')
    check(idle <= 4096, f'{idle} KiB resident when idle, allowed are 4096')
    check(loaded <= 16384, f'{loaded} KiB resident after load, allowed are 16384')


@test
def a_busy_polling_daemon_soon_sleeps_again(lab):
    for more in [], ['--no-busy-poll']:
        t = Tunnel(lab, programs=([WGD, *more],) * 2)
        t.works()
        t.a.ping('10.9.0.2', count=200, options='-i 0.001')
        for daemon in t.da, t.db:
            with open(f'/proc/{daemon.pid}/stat') as stat:
                wait_until(lambda: stat.seek(0) == 0 and stat.read().rpartition(')')[2].split()[0] == 'S', 5,
                           'the daemon sleeps')
        t.works()
        lab.clear()


@test(seconds=60)
def memory_stays_within_its_limit(lab):
    t = Tunnel(lab, programs=([WGD, '--memory', '8'],) * 2)
    t.works()

    def data_kib():
        with open(f'/proc/{t.da.pid}/status') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmData'))
    reply, added = 'errno=0\n\n', 0
    while reply == 'errno=0\n\n':
        check(added < 100_000, f'{added} peers in 8 MiB')
        peers = ''.join(f'public_key={os.urandom(32).hex()}\nallowed_ip=fd01::{n // 65536:x}:{n % 65536:x}/128\n'
                        for n in range(added, added + 200))
        reply, added = t.da.uapi(f'set=1\n{peers}\n'), added + 200
        check(data_kib() <= 8192, f'{data_kib()} KiB with {added} peers')
    equal(reply, f'errno=-{ENOMEM}\n\n', 'the answer when there is no room')
    t.works()
    t.a.setconf('wg0', t.config(t.a))
    equal(list(t.a.show('wg0').peers), [t.pub_b], 'peers, when all others are gone')
    t.works()
    lab.say(f'{added - 200} peers in {data_kib()} KiB')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
