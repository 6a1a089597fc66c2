# SPDX-License-Identifier: BSL-1.0
"""Hosts, links and daemons out of Linux namespaces, and a small test runner.

A suite is a script that marks functions with @test and ends in `main(__doc__)`. main() starts the script a second
time inside private network, mount and PID namespaces of its own: whatever ends the run, the kernel takes every process,
interface and socket of it away, and nothing can collide with the machine or with another run.

    @test
    def pings(lab):
        a, b = lab.host('a'), lab.host('b')
        lab.link(a, b, '192.0.2.1/24', '192.0.2.2/24')
        a.ping('192.0.2.2')

Each host has its own network namespace and its own /run/wireguard, so that both ends of a tunnel may be called wg0.
Sockets of a host can be opened in this process (`host.socket`), so most traffic needs no helper program.
The daemon under test is named by the environment variable WGD. Standard library only.
"""
import contextlib
import ctypes
import hashlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WGD = os.environ.get('WGD') or os.path.join(ROOT, 'build', 'samples', 'wgd')
TMP = '/run/lab'  # exists only inside the private mount namespace
MESON_SKIP = 77

CLONE_NEWNS, CLONE_NEWNET, PR_SET_PDEATHSIG = 0x00020000, 0x40000000, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The machine or the daemon lacks what this test needs; says what."""


class Failure(Exception):
    """A check did not hold."""


def skip(reason):
    raise Skip(reason)


def check(condition, message='check failed'):
    if not condition:
        raise Failure(message)


def equal(got, wanted, what='value'):
    check(got == wanted, f'{what}: got {got!r}, wanted {wanted!r}')


def wait_until(condition, timeout=5.0, what='condition', every=0.02):
    """Polls until `condition()` is true, returns what it returned; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f'not within {timeout:g} s: {what}')
        time.sleep(every)


def stays(condition, seconds, what='condition', every=0.05):
    """Fails as soon as `condition()` is false within the next `seconds`. For what must *not* happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check(condition(), f'ended within {seconds:g} s: {what}')
        time.sleep(every)


def pass_initiation_interval():
    """Until a peer who has just taken an initiation takes another: all implementations refuse more than 50 a second.
    For tests in which an end forgets its session at once."""
    time.sleep(0.025)


def _setns(fd, kind):
    if _libc.setns(fd, kind):
        raise OSError(ctypes.get_errno(), 'setns: ' + os.strerror(ctypes.get_errno()))


def process_state(pid):
    """The state letter of a process, None if there is none. An unreaped one is 'Z', which counts as ended."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(') ')[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def running(pid):
    return process_state(pid) not in (None, 'Z', 'X')


# ---------------------------------------------------------------------------------------------------------------- keys

class Key:
    """A private key and its public one, as wg(8) writes them."""

    def __init__(self):
        self.private = subprocess.check_output(['wg', 'genkey'], text=True).strip()
        self.public = public_key(self.private)

    def __repr__(self):
        return f'Key({self.public})'


def public_key(private):
    return subprocess.run(['wg', 'pubkey'], input=private + '\n', text=True, check=True,
                          stdout=subprocess.PIPE).stdout.strip()


def psk():
    return subprocess.check_output(['wg', 'genpsk'], text=True).strip()


# --------------------------------------------------------------------------------------------------------------- hosts

class Host:
    """One machine of the laboratory: a network namespace with its own /run/wireguard, held by a sleeping process."""

    def __init__(self, lab, name):
        self.lab, self.name, self.daemons, self.processes = lab, name, [], []
        script = ('mount -t tmpfs none /run/wireguard && ip link set lo up && '
                  'cd /proc/sys/net/ipv6/conf && for c in all default; do echo 0 >$c/accept_dad && '
                  'echo 1 >$c/keep_addr_on_down; done && '
                  'echo ready; exec sleep infinity')
        self.holder = subprocess.Popen(['unshare', '--net', '--mount', 'sh', '-c', script], text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        check(self.holder.stdout.readline() == 'ready\n', f'host {name} did not start')
        self.net = os.open(f'/proc/{self.holder.pid}/ns/net', os.O_RDONLY)
        self.mnt = os.open(f'/proc/{self.holder.pid}/ns/mnt', os.O_RDONLY)

    def __repr__(self):
        return self.name

    def _enter(self):
        """In a forked child: become a process of this host."""
        directory = os.getcwd()
        _setns(self.net, CLONE_NEWNET)
        _setns(self.mnt, CLONE_NEWNS)
        os.chdir(directory)
        die_with_parent()

    @contextlib.contextmanager
    def inside(self):
        """The calling thread's network is this host's: for sockets, which stay where they were opened."""
        home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            _setns(self.net, CLONE_NEWNET)
            yield self
        finally:
            _setns(home, CLONE_NEWNET)
            os.close(home)

    def path(self, path):
        """A path of this host as this process can open it."""
        return f'/proc/{self.holder.pid}/root{path}'

    # --- commands

    def popen(self, command, **options):
        """A running program of this host. A string is split at blanks."""
        if isinstance(command, str):
            command = command.split()
        self.lab.note(self, command)
        process = subprocess.Popen(command, preexec_fn=self._enter, text=True, **options)
        self.processes.append(process)
        return process

    def try_run(self, command, input=None, timeout=30, env=None):
        """Runs to the end; returns an object with returncode and output (stdout and stderr together)."""
        if env is not None:
            env = {**os.environ, **env}
        process = self.popen(command, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        try:
            process.output = process.communicate(input, timeout)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failure(f'{self}: {_joined(command)}: not done within {timeout} s') from None
        finally:
            self.processes.remove(process)
        return process

    def run(self, command, input=None, timeout=30, env=None):
        """Runs to the end, must succeed; returns the output."""
        process = self.try_run(command, input, timeout, env)
        check(process.returncode == 0,
              f'{self}: {_joined(command)}: exit status {process.returncode}: {process.output.strip()}')
        return process.output

    def batch(self, commands):
        """Several commands, one a line, through one shell; each must succeed."""
        self.run(['sh', '-e'], input='\n'.join(line.strip() for line in commands.splitlines()) + '\n')

    # --- network

    def ip(self, arguments):
        return self.run('ip ' + arguments)

    def address(self, device, *addresses):
        for a in addresses:
            self.ip(f'addr add {a} dev {device}' + (' nodad' if ':' in a else ''))

    def sysctl(self, key, value):
        self.run(['sh', '-c', f'echo {value} >/proc/sys/{key.replace(".", "/")}'])

    def nft(self, rules):
        self.run(['nft', '-f', '-'], input=rules)

    def nft_counters(self, table):
        """{comment: packets} of every commented counter rule in `table` ('inet t')."""
        found = {}
        for item in json.loads(self.run(f'nft -j list table {table}'))['nftables']:
            rule = item.get('rule', {})
            for e in rule.get('expr', []):
                if 'counter' in e:
                    found[rule.get('comment', rule['handle'])] = e['counter']['packets']
        return found

    def link_exists(self, device):
        return self.try_run(f'ip link show dev {device}').returncode == 0

    def device_counters(self, device):
        """(rx bytes, tx bytes) as the kernel counts them at this interface."""
        s = json.loads(self.ip(f'-j -s link show dev {device}'))[0]['stats64']
        return s['rx']['bytes'], s['tx']['bytes']

    def udp_ports(self):
        """The UDP ports open on this host, as {(family, port)} with family 4 or 6."""
        found = set()
        for family in 4, 6:
            for line in self.run(f'ss -Hlun{family}').splitlines():
                found.add((family, int(line.split()[3].rpartition(':')[2])))
        return found

    def socket(self, family, kind, protocol=0, bind=None, timeout=5.0):
        with self.inside():
            s = socket.socket(family, kind, protocol)
            s.settimeout(timeout)
            if bind:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(bind)
        self.lab.sockets.append(s)
        return s

    # --- traffic

    def ping_output(self, address, count=1, size=56, wait=2, flood=False, options=''):
        pace = '-f' if flood else '-i 0.05'
        return self.try_run(f'ping -n -c {count} -s {size} -W {wait} {pace} {options} {address}')

    def ping(self, address, count=1, size=56, wait=5, flood=False, options=''):
        """`count` echo requests, each must be answered."""
        p = self.ping_output(address, count, size, wait, flood, options)
        check(p.returncode == 0 and ' 0% packet loss' in p.output, f'{self} cannot ping {address}: {p.output.strip()}')

    def no_ping(self, address, wait=1, size=56, options=''):
        p = self.ping_output(address, 1, size, wait, False, options)
        check(' 100% packet loss' in p.output, f'{self} can ping {address}, but must not: {p.output.strip()}')

    def capture(self, device):
        return Capture(self, device)

    # --- wg(8)

    def wg(self, arguments, input=None):
        return self.run('wg ' + arguments, input)

    def setconf(self, device, text, how='setconf'):
        """`wg setconf` (addconf, syncconf) with this configuration text."""
        self.run(['wg', how, device, '/dev/stdin'], input=text)

    def show(self, device):
        return Show(self.wg(f'show {device} dump'))

    def daemon(self, device, **options):
        return Daemon(self, device, **options)

    def processes_inside(self):
        """The pids of every process in this host's network namespace, but for the holder."""
        ours = os.stat(f'/proc/{self.holder.pid}/ns/net').st_ino
        for entry in os.listdir('/proc'):
            if entry.isdigit() and int(entry) not in (self.holder.pid, os.getpid()):
                with contextlib.suppress(OSError):
                    if os.stat(f'/proc/{entry}/ns/net').st_ino == ours:
                        yield int(entry)

    def close(self):
        for pid in self.processes_inside():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # a daemon in the background became our child
                if pid not in [p.pid for p in self.processes]:
                    os.waitpid(pid, 0)
        for p in self.processes:
            p.wait()
            for pipe in p.stdin, p.stdout, p.stderr:
                if pipe:
                    pipe.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        os.close(self.net)
        os.close(self.mnt)


def _joined(command):
    return command if isinstance(command, str) else ' '.join(command)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Daemon:
    """$WGD on one interface of one host, in the foreground; waits until its UAPI socket answers. `program` may name
    another, or be a list of one and its first arguments."""

    def __init__(self, host, device, program=None, env=None, wait=True):
        self.host, self.device = host, device
        self.log = f'{TMP}/{host.name}.{device}.{len(host.daemons)}.log'
        self.socket = f'/run/wireguard/{device}.sock'
        environment = {**os.environ, 'LOG_LEVEL': 'verbose', 'WG_PROCESS_FOREGROUND': '1', **(env or {})}
        with open(self.log, 'w') as log:
            command = [program or WGD] if not isinstance(program, list) else program
            self.process = host.popen([*command, '-f', device], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env=environment)
        self.pid = self.process.pid
        host.daemons.append(self)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def ready():
            check(self.process.poll() is None, f'{self.host}: {self.device}: the daemon ended with status '
                  f'{self.process.returncode}: {self.tail()}')
            return self.answers()
        wait_until(ready, 10, f'{self.host}: the UAPI socket of {self.device} answers')

    def answers(self):
        """Whether the UAPI socket takes a `get`."""
        with contextlib.suppress(OSError):
            return self.uapi('get=1\n\n').endswith('errno=0\n\n')
        return False

    def uapi(self, request, timeout=5.0):
        """Sends bytes or text over the UAPI socket, returns what came until the blank line or the end."""
        with self.connect(timeout) as s:
            s.sendall(request if isinstance(request, bytes) else request.encode())
            return read_reply(s)

    def threads(self):
        return len(os.listdir(f'/proc/{self.pid}/task'))

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def connect(self, timeout=5.0):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        s.connect(self.host.path(self.socket))
        return s

    def errno(self, request):
        """The errno of the reply to one `set` or `get`; None if the daemon hung up without one."""
        found = re.search(r'^errno=(-?\d+)$', self.uapi(request), re.M)
        return int(found[1]) if found else None

    def running(self):
        return self.process.poll() is None

    def socket_exists(self):
        return os.path.exists(self.host.path(self.socket))

    def wait_exit(self, timeout=5.0):
        """Waits for the end by itself; returns the exit status."""
        wait_until(lambda: not self.running(), timeout, f'{self.host}: the daemon of {self.device} ends')
        return self.process.returncode

    def stop(self, sig=signal.SIGTERM, timeout=5.0):
        if self.running():
            self.process.send_signal(sig)
        return self.wait_exit(timeout)

    def rss_kib(self):
        with open(f'/proc/{self.pid}/status') as f:
            return int(re.search(r'VmRSS:\s+(\d+) kB', f.read())[1])

    def complaints(self):
        """What fails a test whatever else it found: death by a signal that nobody sent, a sanitizer's report."""
        found = []
        code = self.process.poll()
        if code is not None and code < 0 and code != -signal.SIGKILL:
            found.append(f'{self.host}: the daemon of {self.device} died of {signal.Signals(-code).name}')
        with contextlib.suppress(OSError), open(self.log, errors='replace') as f:
            found += [f'{self.host}: {self.device}: {line.strip()}' for line in f
                      if 'Sanitizer' in line or 'runtime error:' in line]
        return found

    def tail(self, lines=12):
        with contextlib.suppress(OSError), open(self.log, errors='replace') as f:
            return ''.join(f.readlines()[-lines:])
        return ''


def read_reply(s):
    """One UAPI reply: until the empty line, or until the other end hangs up."""
    data = b''
    while not data.endswith(b'\n\n'):
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            break
        if not more:
            break
        data += more
    return data.decode(errors='replace')


class PeerState:
    def __init__(self, fields):
        none = lambda text: None if text in ('(none)', 'off') else text
        self.public_key, self.preshared_key, self.endpoint = fields[0], none(fields[1]), none(fields[2])
        self.allowed_ips = [] if fields[3] == '(none)' else fields[3].split(',')
        self.latest_handshake, self.rx, self.tx = map(int, fields[4:7])
        self.persistent_keepalive = int(none(fields[7]) or 0)


class Show:
    """`wg show IF dump`, parsed."""

    def __init__(self, text):
        lines = [line.split('\t') for line in text.splitlines()]
        none = lambda field: None if field in ('(none)', 'off') else field
        self.private_key, self.public_key = none(lines[0][0]), none(lines[0][1])
        self.listen_port, self.fwmark = int(lines[0][2]), int(none(lines[0][3]) or '0', 0)
        self.peers = {fields[0]: PeerState(fields) for fields in lines[1:]}

    @property
    def peer(self):
        check(len(self.peers) == 1, f'{len(self.peers)} peers, wanted one')
        return next(iter(self.peers.values()))


class Capture:
    """What passes an interface of a host, each packet from its IP header on."""

    def __init__(self, host, device):
        self.socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3), timeout=0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((device, 3))
        self.seen = []

    def packets(self):
        """[(outgoing, packet)] since the start."""
        while True:
            try:
                data, where = self.socket.recvfrom(65536)
            except BlockingIOError:
                return self.seen
            self.seen.append((where[2] == socket.PACKET_OUTGOING, data))

    def udp(self, outgoing=None):
        """[(IP header's tos, payload)] of the UDP packets, optionally of one direction only."""
        found = []
        for out, p in self.packets():
            if outgoing is not None and out != outgoing:
                continue
            if p[0] >> 4 == 4 and p[9] == 17:
                found.append((p[1], p[(p[0] & 15) * 4 + 8:]))
            elif p[0] >> 4 == 6 and p[6] == 17:
                found.append(((p[0] << 4 | p[1] >> 4) & 255, p[48:]))
        return found


# ------------------------------------------------------------------------------------------------------------- traffic

def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def udp_echo(client, server, address, sizes=(0, 1, 15, 16, 17, 500, 1372), timeout=5.0, source=None):
    """Datagrams of these sizes there and back, unchanged."""
    family = family_of(address)
    there = server.socket(family, socket.SOCK_DGRAM, bind=(address, 0), timeout=timeout)
    here = client.socket(family, socket.SOCK_DGRAM, bind=(source or ('::' if family == socket.AF_INET6 else ''), 0),
                         timeout=timeout)
    for size in sizes:
        data = random.randbytes(size)
        here.sendto(data, (address, there.getsockname()[1]))
        try:
            got, back = there.recvfrom(65536)
            check(got == data, f'{size}-byte datagram arrived changed at {server}')
            there.sendto(got, back)
            check(here.recv(65536) == data, f'{size}-byte datagram came back changed to {client}')
        except socket.timeout:
            raise Failure(f'a datagram of {size} bytes was lost between {client} and {server} ({address})') from None
    there.close()
    here.close()


def tcp_copy(client, server, address, megabytes=4, timeout=20.0):
    """`megabytes` over one TCP connection from client to server, compared by SHA-256; returns Mbit/s."""
    family = family_of(address)
    listener = server.socket(family, socket.SOCK_STREAM, bind=(address, 0), timeout=timeout)
    listener.listen(1)
    out = client.socket(family, socket.SOCK_STREAM, timeout=timeout)
    start = time.monotonic()
    try:
        out.connect((address, listener.getsockname()[1]))
        incoming = listener.accept()[0]
    except OSError as e:
        raise Failure(f'TCP from {client} to {server} ({address}) does not connect: {e}') from None
    incoming.settimeout(timeout)
    blob = random.randbytes(1 << 20)
    sent, failed = hashlib.sha256(blob * megabytes).hexdigest(), []

    def send():
        try:
            for _ in range(megabytes):
                out.sendall(blob)
            out.shutdown(socket.SHUT_WR)
        except OSError as e:
            failed.append(e)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    digest, total = hashlib.sha256(), 0
    try:
        while data := incoming.recv(1 << 18):
            digest.update(data)
            total += len(data)
    except OSError as e:
        failed.append(e)
    sender.join(timeout)
    for s in listener, incoming, out:
        s.close()
    check(not failed, f'TCP from {client} to {server} ({address}) broke after {total} bytes: {failed and failed[0]}')
    check(digest.hexdigest() == sent, f'TCP to {address}: {total} bytes arrived, and they differ')
    return total * 8 / 1e6 / (time.monotonic() - start)


# ----------------------------------------------------------------------------------------------------------------- lab

class Lab:
    """What one test builds; everything is taken down at its end."""

    def __init__(self):
        self.hosts, self.sockets, self.notes, self.printed, self.complaints = [], [], [], [], []

    def note(self, host, command):
        self.notes.append(f'{host}: {_joined(command)}')

    def say(self, text):
        """A measured figure for the test's result line."""
        self.printed.append(text)

    def host(self, name):
        h = Host(self, name)
        self.hosts.append(h)
        return h

    def link(self, a, b, a_addresses='', b_addresses='', name=None, mtu=1500):
        """A veth pair between two hosts, called after the other end (or `name`); addresses separated by blanks."""
        a_name, b_name = name or b.name, name or a.name
        a.ip(f'link add {a_name} mtu {mtu} type veth peer name {b_name} mtu {mtu} netns {b.holder.pid}')
        for host, device, addresses in (a, a_name, a_addresses), (b, b_name, b_addresses):
            host.address(device, *addresses.split())
            host.ip(f'link set {device} up')
        return a_name, b_name

    def clear(self):
        """Takes everything down. A test may go on and build anew."""
        while self.sockets:
            self.sockets.pop().close()
        while self.hosts:
            h = self.hosts.pop()
            for d in h.daemons:
                self.complaints += d.complaints()
            h.close()

    def diagnosis(self):
        """What helps to understand a failure: last commands, daemon logs, `wg show`."""
        lines = ['last commands:'] + ['  ' + n for n in self.notes[-12:]]
        for h in self.hosts:
            for d in h.daemons:
                state = 'running' if d.running() else f'ended with status {d.process.returncode}'
                lines.append(f'{h}: {d.device}: daemon {state}; end of its log:')
                lines += ['  ' + line for line in d.tail().splitlines()]
            with contextlib.suppress(Exception):
                shown = h.try_run('wg show', timeout=5).output
                if len(shown) < 4000:
                    lines += [f'{h}: wg show:'] + ['  ' + line for line in shown.splitlines()]
        return lines


# -------------------------------------------------------------------------------------------------------------- tunnel

class Tunnel:
    """Two hosts a and b, a wire, a daemon on each; wg0 is up on both and each has the other as its one peer.

    On the wire ('veth') 192.0.2.1 and .2, 2001:db8::1 and ::2, ports 10001 and 10002; inside 10.9.0.1 and .2, fd09::1
    and ::2. `outer` is the IP version of the endpoints, `initiator` names the hosts that know the other's endpoint,
    `programs` may name another daemon for each end, `env` is added to the environment of both. With `opens` both ports
    are open on return.
    """
    WIRE = {4: {'a': '192.0.2.1', 'b': '192.0.2.2'}, 6: {'a': '2001:db8::1', 'b': '2001:db8::2'}}
    NUMBER = {'a': 1, 'b': 2}

    def __init__(self, lab, outer=4, initiator='ab', mtu=1420, wire_mtu=1500, programs=(None, None), up=True,
                 env=None, opens=True):
        self.lab, self.outer, self.initiator, self.opens = lab, outer, initiator, opens
        self.a, self.b = lab.host('a'), lab.host('b')
        self.connect(wire_mtu)
        self.key = {'a': Key(), 'b': Key()}
        self.da = self.a.daemon('wg0', program=programs[0], env=env, wait=False)
        self.db = self.b.daemon('wg0', program=programs[1], env=env, wait=False)
        for daemon in self.da, self.db:
            daemon.wait_ready()
            self.configure(daemon.host, mtu, up)

    def connect(self, wire_mtu):
        """Connects the hosts a and b; a subclass may set other hosts between them."""
        self.lab.link(self.a, self.b, '192.0.2.1/24 2001:db8::1/64', '192.0.2.2/24 2001:db8::2/64', 'veth', wire_mtu)

    @property
    def pub_a(self):
        return self.key['a'].public

    @property
    def pub_b(self):
        return self.key['b'].public

    def other(self, host):
        return self.b if host is self.a else self.a

    def endpoint(self, host, version=None):
        """Where `host` can be reached, as wg(8) writes it."""
        return endpoint(self.WIRE[version or self.outer][host.name], 10000 + self.NUMBER[host.name])

    def config(self, host):
        """The configuration file of this end."""
        far = self.other(host)
        lines = ['[Interface]', f'PrivateKey = {self.key[host.name].private}',
                 f'ListenPort = {10000 + self.NUMBER[host.name]}', '[Peer]',
                 f'PublicKey = {self.key[far.name].public}',
                 f'AllowedIPs = 10.9.0.{self.NUMBER[far.name]}/32, fd09::{self.NUMBER[far.name]}/128']
        if host.name in self.initiator:
            lines.append(f'Endpoint = {self.endpoint(far)}')
        return '\n'.join(lines) + '\n'

    def configure(self, host, mtu=1420, up=True):
        number = self.NUMBER[host.name]
        host.setconf('wg0', self.config(host))
        host.address('wg0', f'10.9.0.{number}/24', f'fd09::{number}/64')
        host.ip(f'link set wg0 mtu {mtu}' + (' up' if up else ''))
        # The first packet of the other end must not come too early: it is sent again only after five seconds.
        if up and self.opens:
            wait_until(lambda: (4, 10000 + number) in host.udp_ports(), 5, f'{host}: the UDP port of wg0 is open')

    def set_psk(self, host, secret):
        """Sets the preshared key of the peer at `host`; None removes it."""
        source = '/dev/stdin' if secret else '/dev/null'
        host.wg(f'set wg0 peer {self.key[self.other(host).name].public} preshared-key {source}', secret)

    def works(self):
        """Both ways, both inner versions."""
        self.a.ping('10.9.0.2')
        self.a.ping('fd09::2')
        self.b.ping('10.9.0.1')
        self.b.ping('fd09::1')


def endpoint(address, port):
    return f'[{address}]:{port}' if ':' in address else f'{address}:{port}'


# -------------------------------------------------------------------------------------------------------------- runner

_tests = []


def test(function=None, *, long=False, seconds=60):
    """Marks a function(lab) as a test: its name is the test's, `seconds` its limit, `long` ones need --long."""
    def mark(f):
        f.long, f.seconds = long, seconds
        _tests.append(f)
        return f
    return mark(function) if function else mark


class _Timeout(Failure):
    pass


def _alarm(_signal, _frame):
    raise _Timeout('the test did not end in its time')


def need(*programs):
    """Skips the test when a program is missing."""
    for p in programs:
        if not shutil.which(p):
            skip(f'{p} is not installed')


def _run_one(f, known):
    """Runs one test; prints its line; returns 'passed', 'failed' or 'skipped'."""
    name, lab, start = f.__name__, Lab(), time.monotonic()
    outcome, detail = 'passed', []
    signal.alarm(f.seconds)
    try:
        f(lab)
    except Skip as e:
        outcome, detail = 'skipped', [str(e)]
    except Exception as e:  # a failed check, or any error of the test itself
        signal.alarm(0)
        outcome = 'failed'
        here = [t for t in traceback.extract_tb(e.__traceback__) if t.filename != __file__]
        detail = [f'{type(e).__name__}: {e}' if not isinstance(e, Failure) else str(e)]
        if here:
            detail.append(f'at {os.path.basename(here[-1].filename)}:{here[-1].lineno}: {here[-1].line}')
        if not isinstance(e, Failure):
            detail += traceback.format_exc().splitlines()
        detail += lab.diagnosis()
    finally:
        signal.alarm(0)
        lab.clear()
    if outcome != 'failed' and lab.complaints:
        outcome, detail = 'failed', lab.complaints
    took = f'{time.monotonic() - start:.1f} s'
    if outcome == 'failed' and name in known:
        print(f'skip {name}: known of {os.path.basename(WGD)}: {known[name]} ({detail[0]})', flush=True)
        return 'skipped'
    if outcome == 'passed':
        print(f'ok {name} ({took})' + ''.join(f' [{s}]' for s in lab.printed), flush=True)
    elif outcome == 'skipped':
        print(f'skip {name}: {detail[0]}', flush=True)
    else:
        print(f'FAIL {name} ({took}): {detail[0]}')
        print('\n'.join('    ' + line for line in detail[1:]), flush=True)
    return outcome


def _cannot_run(programs):
    """Why this machine can run no test at all, or None."""
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        return 'not installed: ' + ' '.join(missing)
    if not os.access(WGD, os.X_OK):
        return f'no daemon at {WGD} (build it, or set WGD)'
    try:
        os.close(os.open('/dev/net/tun', os.O_RDWR))
    except OSError as e:
        return f'/dev/net/tun: {e.strerror}'
    probe = subprocess.run(_unshare() + ['sh', '-c', 'mount -t tmpfs none /run && ip tuntap add mode tun probe0'],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if probe.returncode:
        return 'no namespaces with a TUN device here: ' + (probe.stdout.strip() or f'status {probe.returncode}')
    return None


def _unshare():
    user = [] if os.geteuid() == 0 else ['--map-root-user']
    return ['unshare', *user, '--net', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc', '--']


def _outer(arguments, programs):
    """Outside the namespaces: looks whether it can work at all, then runs the script again inside."""
    reason = _cannot_run(programs)
    if reason:
        print(f'skip everything: {reason}\n0 passed, 0 failed, 0 skipped', flush=True)
        return MESON_SKIP
    inner = subprocess.Popen(_unshare() + [sys.executable, os.path.abspath(sys.argv[0]), *arguments],
                             env={**os.environ, 'WGD': os.path.abspath(WGD), 'WG_LAB_INSIDE': '1'},
                             preexec_fn=die_with_parent)

    interrupted = []

    def stop(number, _frame):  # runs within inner.wait(), so it must not wait itself
        interrupted.append(number)
        os.kill(inner.pid, signal.SIGKILL)  # --kill-child takes the whole namespace along
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, stop)
    status = inner.wait()
    if interrupted:
        print('\ninterrupted', flush=True)
        return 128 + interrupted[0]
    return status


def _prepare_inside():
    subprocess.run(['mount', '-t', 'tmpfs', 'none', '/run'], check=True)
    os.makedirs(TMP)
    os.makedirs('/run/wireguard')
    os.makedirs('/run/netns')
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outer process decides


PROGRAMS = ('unshare', 'mount', 'ip', 'ss', 'ping', 'wg')


def measure(function, programs=()):
    """Runs function(lab) once inside the private namespaces: for a script that tests nothing."""
    if not os.environ.get('WG_LAB_INSIDE'):
        sys.exit(_outer(sys.argv[1:], (*PROGRAMS, *programs)))
    _prepare_inside()
    lab = Lab()
    try:
        function(lab)
    except (Failure, Skip) as e:
        sys.exit('\n'.join([str(e), *lab.diagnosis()]))
    finally:
        lab.clear()


def main(description, known_failures=None, programs=()):
    """Runs the tests named on the command line, or all. `known_failures` is {daemon's file name: {test: reason}}:
    such a test is run, and its failure counts as skipped."""
    arguments = sys.argv[1:]
    if '--help' in arguments or '-h' in arguments:
        print(f'{description.strip()}\n\nusage: {os.path.basename(sys.argv[0])} [--list] [--long] [NAME...]\n'
              f'The daemon under test: WGD={WGD}')
        sys.exit(0)
    if '--list' in arguments:
        print('\n'.join(f.__name__ + (' (long)' if f.long else '') for f in _tests))
        sys.exit(0)
    names = [a for a in arguments if a != '--long']
    unknown = set(names) - {f.__name__ for f in _tests}
    if unknown:
        print('no such test: ' + ' '.join(sorted(unknown)), file=sys.stderr)
        sys.exit(2)
    if not os.environ.get('WG_LAB_INSIDE'):
        sys.exit(_outer(arguments, (*PROGRAMS, *programs)))
    _prepare_inside()
    known = (known_failures or {}).get(os.path.basename(WGD), {})
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    for f in _tests:
        if names and f.__name__ not in names:
            continue
        if f.long and '--long' not in arguments and not names:
            print(f'skip {f.__name__}: long, run with --long')
            counts['skipped'] += 1
            continue
        counts[_run_one(f, known)] += 1
    print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped', flush=True)
    sys.exit(1 if counts['failed'] else 0)
