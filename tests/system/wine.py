#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""wine suite: wgd.exe under Wine against the daemon of Linux and wireguard-go.

wgd.exe is samples/wgd.cpp. Its wintun.dll is tests/windows/wintun.cpp, which makes a TUN interface of Linux. Its
configuration goes through its pipe, by tests/windows/pipe.cpp.

options: --seconds N   length of the run at full load (600)
         --growth KIB  by which wgd.exe or Wine's server may grow in that time (2048)
"""
import atexit
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from checks import Skip, check, equal, need, wait_until
from hosts import tcp_copy, udp_echo
from options import option
from runner import main, test
from wg_tools import TMP, Key, Tunnel, pass_initiation_interval

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MINGW = 'x86_64-w64-mingw32-g++-posix'
WINE, SERVER = (next((p for p in (shutil.which(name), f'/usr/lib/wine/{file}') if p and os.path.exists(p)), None)
                for name, file in (('wine64', 'wine64'), ('wineserver', 'wineserver64')))
FLAGS = ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-Werror', '-static']
LIBRARIES = ['-lws2_32', '-lbcrypt', '-liphlpapi', '-lsynchronization', '-ladvapi32']
PORT = 10002
SECONDS, GROWTH_KIB = option('seconds', 600), option('growth', 2048)

_folder = []


def environment(folder, **more):
    return {**os.environ, 'WINEPREFIX': f'{folder}/wine', 'WINEDEBUG': '-all', 'WINEDLLOVERRIDES': 'mscoree,mshtml=',
            'DISPLAY': '', **more}


def programs():
    """The folder with wgd.exe, pipe.exe, wintun.dll and the files of Wine; made once."""
    if not WINE or not SERVER:
        raise Skip('wine64 is not installed')
    if not shutil.which(MINGW):
        raise Skip(f'{MINGW} is not installed')
    if not _folder:
        folder = tempfile.mkdtemp(prefix='wg-wine-')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        source = f'{ROOT}/tests/windows'
        for command in ([MINGW, *FLAGS, f'-I{ROOT}/include', f'{ROOT}/samples/wgd.cpp', *LIBRARIES, '-o',
                         f'{folder}/wgd.exe'],
                        [MINGW, *FLAGS, f'{source}/pipe.cpp', '-ladvapi32', '-o', f'{folder}/pipe.exe'],
                        [MINGW, *FLAGS, '-shared', f'{source}/wintun.cpp', '-o', f'{folder}/wintun.dll'],
                        [WINE, 'wineboot', '-i'], [SERVER, '-k', '-w']):
            made = subprocess.run(command, env=environment(folder), text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            check(made.returncode == 0 or command[0] == SERVER, f'{command}: {made.stdout}')
        _folder.append(folder)
    return _folder[0]


def hexadecimal(key):
    return base64.b64decode(key).hex()


class Windows:
    """A Windows of Wine on a host of the lab.

    Wine's server opens all sockets, so each host starts a server of its own; it ends with the host."""

    def __init__(self, host):
        self.host, self.folder = host, programs()
        self.log = f'{TMP}/wgd.exe.log'

    def run(self, *arguments, input=None, timeout=60, folder=None):
        """Runs a program of the folder; returns an object with returncode and output. Its output goes to a file: the
        first program of a Windows starts others, which would keep a pipe open."""
        program, *rest = arguments
        with tempfile.TemporaryFile('w+', errors='replace') as said, tempfile.TemporaryFile('w+') as asked:
            asked.write(input or '')
            asked.seek(0)
            process = self.host.popen([WINE, f'{folder or self.folder}/{program}', *rest], stdin=asked, stdout=said,
                                      stderr=subprocess.STDOUT, env=environment(self.folder))
            process.wait(timeout)
            said.seek(0)
            process.output = said.read()
        return process

    def daemon(self, *arguments):
        """Starts wgd.exe, and waits until its pipe answers."""
        with open(self.log, 'w') as log:
            self.process = self.host.popen([WINE, f'{self.folder}/wgd.exe', *arguments, 'wg0'],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           env=environment(self.folder, LOG_LEVEL='verbose'))
        wait_until(self.answers, 30, 'the pipe of wg0 answers', every=0.2)
        return self.process

    def answers(self):
        check(self.process.poll() is None, f'wgd.exe ended: {self.said()}')
        return self.run('pipe.exe', 'wg0', input='get=1\n\n').output.endswith('errno=0\n\n')

    def uapi(self, request, *how):
        """Sends a request to the pipe; returns the reply. The client checks the pipe's security descriptor."""
        done = self.run('pipe.exe', *how, 'wg0', input=request)
        equal(done.returncode, 0, f'exit status of the client ({done.output})')
        return done.output

    def set(self, *lines):
        equal(self.uapi('\n'.join(('set=1', *lines)) + '\n\n'), 'errno=0\n\n', 'the reply to a set')

    def said(self):
        with open(self.log, errors='replace') as log:
            return log.read()[-500:]

    def refuses(self, wanted, *arguments, folder=None):
        """wgd.exe ends with 1 and one line that has the text `wanted`."""
        done = self.run('wgd.exe', *arguments, folder=folder)
        check(done.returncode == 1, f'{arguments}: exit status {done.returncode}: {done.output}')
        lines = [line for line in done.output.splitlines() if line.startswith('wgd: ')]
        check(len(lines) == 1 and wanted in lines[0], f'{arguments}: {done.output}')
        check(done.output.startswith('wgd: '), f'{arguments}: the error is not the first line: {done.output}')
        check('usage: ' in done.output or len(done.output.splitlines()) == 1, f'{arguments}: {done.output}')


class WindowsTunnel(Tunnel):
    """A tunnel between the daemon `program` on host a and wgd.exe on host b. `outer` and `initiator` as in Tunnel.
    wgd.exe gets `arguments`."""

    def __init__(self, lab, outer=4, initiator='ab', program=None, service=False, arguments=()):
        programs()
        self.lab, self.outer, self.initiator, self.opens = lab, outer, initiator, True
        self.a, self.b = lab.host('a'), lab.host('b')
        self.windows = Windows(self.b)
        self.connect(1500)
        self.key = {'a': Key(), 'b': Key()}
        self.da = self.a.daemon('wg0', program=program)
        self.configure(self.a)
        if not service:
            self.process = self.windows.daemon(*arguments)
            self.configure_windows()

    def configure_windows(self):
        self.windows.set(*self.lines())
        self.b.address('wg0', '10.9.0.2/24', 'fd09::2/64')
        self.b.ip('link set wg0 mtu 1420 up')
        self.b.settle()
        wait_until(lambda: (4, PORT) in self.b.udp_ports(), 10, 'the port of wgd.exe is open')

    def lines(self):
        """The lines of a set for wgd.exe."""
        lines = [f'private_key={hexadecimal(self.key["b"].private)}', f'listen_port={PORT}', 'replace_peers=true',
                 f'public_key={hexadecimal(self.pub_a)}', 'allowed_ip=10.9.0.1/32', 'allowed_ip=fd09::1/128']
        return lines + ([f'endpoint={self.endpoint(self.a)}'] if 'b' in self.initiator else [])

    def copies(self, *ways, megabytes=20):
        for client, server, address in ways:
            self.lab.say(f'{tcp_copy(client, server, address, megabytes):.0f} Mbit/s')

    def received(self):
        """Packets and bytes that the interface of wgd.exe has passed to its host."""
        rx = json.loads(self.b.ip('-j -s link show dev wg0'))[0]['stats64']['rx']
        return rx['packets'], rx['bytes']

    def threads(self):
        return len(os.listdir(f'/proc/{self.process.pid}/task'))

    def load(self, options):
        """Runs iperf3 from a to b; returns how many datagrams came out of order, and how many came. The server of
        iperf3 resets a client that comes while it still ends the run before; then the client tries again."""
        for attempt in range(5):
            client = self.a.popen(f'iperf3 -J -c 10.9.0.2 {options}', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            said = json.loads(client.communicate(timeout=120)[0])
            if 'reset' not in said.get('error', ''):
                break
            time.sleep(1)
        check('error' not in said, f'iperf3 {options}: {said.get("error")}')
        if '-u' not in options.split():
            return 0, said['end']['sum_received']['bytes']
        streams = [s['udp'] for s in said['end']['streams']]
        return sum(s.get('out_of_order', 0) for s in streams), sum(s['packets'] - s['lost_packets'] for s in streams)

    def resources(self):
        """Resident KiB and open descriptors of wgd.exe and of Wine's server, which has the handles."""
        found = {}
        for pid in self.b.processes_inside():
            with open(f'/proc/{pid}/comm') as comm:
                name = comm.read().strip()
            if pid != self.process.pid and not name.startswith('wineserver'):
                continue
            with open(f'/proc/{pid}/status') as status:
                kib = next(int(line.split()[1]) for line in status if line.startswith('VmRSS:'))
            found[name] = kib, len(os.listdir(f'/proc/{pid}/fd'))
        return found


@test(seconds=150)
def traffic_over_ipv4(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.a.ping('10.9.0.2', count=100, flood=True)
    t.b.ping('fd09::1', count=100, flood=True)
    udp_echo(t.a, t.b, '10.9.0.2')
    t.copies((t.b, t.a, '10.9.0.1'))
    before = t.received()
    t.copies((t.a, t.b, '10.9.0.2'))
    packets, size = (after - past for after, past in zip(t.received(), before))
    check(size / packets > 1420, f'{packets} packets of {size / packets:.0f} bytes: segments are not joined')


@test(seconds=150)
def threads_keep_the_order_of_packets(lab):
    need('iperf3')
    t = WindowsTunnel(lab, arguments=('--workers', '4'))
    t.works()
    t.b.popen('iperf3 -s -B 10.9.0.2', stdout=subprocess.DEVNULL)
    wait_until(lambda: t.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
    alone = t.threads()
    for options in '-u -b 0 -l 1372 -P 2', '-u -b 0 -l 1372 -P 2 -R', '-u -b 0 -l 64':
        late, arrived = t.load(f'{options} -t 3')
        check(arrived > 1000, f'{arrived} datagrams arrived')
        equal(late, 0, f'datagrams out of order, of {arrived} ({options})')
    check(alone < t.threads() <= alone + 3, f'{alone} threads before, {t.threads()} now')


@test(seconds=150)
def traffic_over_ipv6(lab):
    t = WindowsTunnel(lab, 6)
    t.works()
    udp_echo(t.a, t.b, '10.9.0.2')
    t.copies((t.a, t.b, 'fd09::2'))


@test(seconds=150)
def wireguard_go_is_a_peer(lab):
    need('wireguard-go')
    t = WindowsTunnel(lab, program='wireguard-go')
    t.works()
    udp_echo(t.b, t.a, 'fd09::1')
    t.copies((t.a, t.b, '10.9.0.2'), (t.b, t.a, '10.9.0.1'))


@test(seconds=150)
def each_end_begins_the_handshake(lab):
    for initiator in 'ab':
        t = WindowsTunnel(lab, 4, initiator)
        first, address = (t.a, '10.9.0.2') if initiator == 'a' else (t.b, '10.9.0.1')
        first.ping(address)
        t.works()
        lab.clear()


@test(seconds=150)
def both_ends_follow_each_other_to_another_port_and_address(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.a.wg('set wg0 listen-port 10077')
    t.a.ping('10.9.0.2')
    t.b.ping('10.9.0.1')
    t.windows.set('listen_port=10078')
    t.b.ping('10.9.0.1')
    equal(t.a.show('wg0').peer.endpoint, '192.0.2.2:10078', 'the endpoint of wgd.exe')
    t.b.ip('addr del 192.0.2.2/24 dev veth')
    t.b.address('veth', '192.0.2.22/24')
    t.b.ping('10.9.0.1', count=3)
    check('192.0.2.22' in t.a.show('wg0').peer.endpoint, 'the endpoint follows the address')
    t.a.ping('10.9.0.2')


@test(seconds=150)
def keys_can_be_changed(lab):
    t = WindowsTunnel(lab)
    t.works()
    old = t.pub_b
    t.key['b'] = Key()
    t.a.wg(f'set wg0 peer {old} remove')
    t.a.wg(f'set wg0 peer {t.pub_b} allowed-ips 10.9.0.2/32,fd09::2/128 endpoint 192.0.2.2:{PORT}')
    pass_initiation_interval()
    t.windows.set(f'private_key={hexadecimal(t.key["b"].private)}')
    t.works()
    reply = t.windows.uapi('get=1\n\n')
    check(f'private_key={hexadecimal(t.key["b"].private)}\n' in reply and f'listen_port={PORT}\n' in reply, reply)
    check(f'public_key={hexadecimal(t.pub_a)}\n' in reply and 'endpoint=192.0.2.1:10001\n' in reply, reply)


@test(seconds=150)
def ends_when_its_adapter_is_removed(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.b.ip('link delete wg0')
    wait_until(lambda: t.process.poll() is not None, 10, 'wgd.exe ended')
    equal(t.process.returncode, 0, f'exit status ({t.windows.said()})')
    gone = t.windows.run('pipe.exe', 'wg0', input='get=1\n\n')
    check('cannot open the pipe: error 2' in gone.output, gone.output)


@test(seconds=150)
def ends_on_ctrl_c_and_leaves_nothing_behind(lab):
    t = WindowsTunnel(lab)
    t.works()
    t.process.send_signal(signal.SIGINT)
    wait_until(lambda: t.process.poll() is not None, 10, 'wgd.exe ended')
    check(not t.b.link_exists('wg0') and (4, PORT) not in t.b.udp_ports(), 'something was left behind')


@test(seconds=150)
def its_pipe_serves_many_and_rude_clients(lab):
    w = Windows(lab.host('b'))
    w.daemon()
    for request, reply in (('set=1\nlisten_port=x\n\n', 'errno=-22\n\n'), ('nonsense\n', 'errno=-71\n\n'),
                           ('get=1\nx=1\n\n', 'errno=22\n\n'), ('set=1\nlisten_port=7\n\n', 'errno=0\n\n')):
        equal(w.uapi(request), reply, f'the reply to {request!r}')
    w.uapi('set=1\nlisten_port=8\n', '--leave')  # not finished, so nothing changes
    w.uapi('get=1\n\n' * 100, '--leave')
    w.uapi('', '--leave')
    peers = ''.join(f'public_key={i + 1:064x}\nallowed_ip=10.{i // 250}.{i % 250}.0/24\n' for i in range(1000))
    equal(w.uapi(f'set=1\n{peers}\n'), 'errno=0\n\n', 'the reply to a long set')
    reply = w.uapi('get=1\n\n')
    check(reply.count('public_key=') == 1000 and 'listen_port=7\n' in reply, 'the reply to a get is not complete')
    check(w.process.poll() is None, f'wgd.exe ended: {w.said()}')


@test(seconds=200)
def runs_as_a_service(lab):
    t = WindowsTunnel(lab, service=True)
    w = t.windows
    control = lambda verb: w.run('wgd.exe', '--service', verb, 'wg0')

    def succeeds(verb):
        done = control(verb)
        check(done.returncode == 0 and not done.output.strip(), f'{verb}: {done.returncode}: {done.output}')
    w.refuses('is not installed', '--service', 'start', 'wg0')
    w.refuses('is not installed', '--service', 'remove', 'wg0')
    keeps_wine = w.host.popen([WINE, f'{w.folder}/pipe.exe', '--own', 'another'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=environment(w.folder))
    equal(keeps_wine.stdout.readline().strip(), 'owned', 'what the program that keeps Wine running says')
    succeeds('install')
    w.refuses('is installed already', '--service', 'install', 'wg0')
    w.refuses('does not run', '--service', 'stop', 'wg0')
    succeeds('start')
    w.refuses('runs already', '--service', 'start', 'wg0')
    t.configure_windows()
    t.works()
    succeeds('stop')
    wait_until(lambda: not t.b.link_exists('wg0'), 5, 'the adapter is gone')
    succeeds('start')
    wait_until(lambda: t.b.link_exists('wg0'), 5, 'the adapter is there again')
    succeeds('remove')  # stops it too
    wait_until(lambda: not t.b.link_exists('wg0'), 5, 'the adapter is gone')
    w.refuses('is not installed', '--service', 'stop', 'wg0')
    keeps_wine.stdin.close()


@test(seconds=150)
def names_what_is_wrong_and_leaves_nothing_behind(lab):
    w = Windows(lab.host('b'))
    w.refuses('`a/b` cannot name an adapter', 'a/b')
    w.refuses('unknown option --nonsense', '--nonsense', 'wg0')
    w.refuses('unknown option --socket-dir', '--socket-dir', '/x', 'wg0')
    w.refuses('is missing')
    w.refuses('service', '--no-foreground', 'wg0')  # only the service manager starts it so
    without = f'{w.folder}/without'
    os.makedirs(without, exist_ok=True)
    shutil.copy(f'{w.folder}/wgd.exe', without)
    w.refuses('wintun.dll is missing: get it from https://www.wintun.net', 'wg0', folder=without)
    owner = w.host.popen([WINE, f'{w.folder}/pipe.exe', '--own', 'wg0'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env=environment(w.folder))
    equal(owner.stdout.readline().strip(), 'owned', 'what the owner of the pipe says')
    w.refuses(r'WireGuard\wg0 is in use', 'wg0')
    check(not w.host.link_exists('wg0'), 'an adapter was left behind')
    owner.stdin.close()
    wait_until(lambda: owner.poll() is not None, 10, 'the owner of the pipe ended')
    w.daemon()
    w.refuses('`wg0` is in use: another process serves it', 'wg0')
    check(w.answers(), 'the first one serves on')


@test(long=True, seconds=1200)
def ten_minutes_at_full_load_keep_memory_and_handles(lab):
    need('iperf3')
    t = WindowsTunnel(lab)
    t.works()
    t.b.popen('iperf3 -s -B 10.9.0.2', stdout=subprocess.DEVNULL)
    wait_until(lambda: t.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
    # TCP takes what there is. Of UDP only as much that the connection of iperf3 itself is not lost.
    loads = [f'{options} -t 10' for options in ('-P 4', '-P 4 -R', '-u -b 150M -l 1372', '-u -b 150M -l 1372 -R')]
    for options in loads:  # all threads are created, and all buffers allocated
        t.load(options)
    before, begin, done = t.resources(), time.monotonic(), 0
    equal(len(before), 2, f'wgd.exe and its server ({before})')
    while time.monotonic() < begin + SECONDS:
        _, arrived = t.load(loads[done % len(loads)])
        check(arrived > 1000, f'{arrived} arrived in round {done}')
        done += 1
    t.works()
    after = t.resources()
    lab.say(f'{done} rounds, before {before}, after {after}')
    for name, (kib, descriptors) in before.items():
        check(after[name][0] - kib <= GROWTH_KIB, f'{name} grew from {kib} to {after[name][0]} KiB')
        check(after[name][1] <= descriptors + 4, f'{name}: {descriptors} descriptors before, {after[name][1]} now')
    check(t.process.poll() is None, f'wgd.exe ended: {t.windows.said()}')


main(__doc__)
