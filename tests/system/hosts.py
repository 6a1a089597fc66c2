# SPDX-License-Identifier: BSL-1.0
"""Hosts and links made of Linux namespaces, and traffic between hosts. Standard library only.

Each host has its own network namespace and its own /run/wireguard, so both ends of a tunnel may be called wg0. This
process can open sockets of a host (`host.socket`), so most traffic needs no other program.
"""
import contextlib
import ctypes
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

from checks import Failure, check, wait_until
from wg_tools import Daemon, Show

CLONE_NEWNS, CLONE_NEWNET, PR_SET_PDEATHSIG = 0x00020000, 0x40000000, 1
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd, kind):
    if _libc.setns(fd, kind):
        raise OSError(ctypes.get_errno(), 'setns: ' + os.strerror(ctypes.get_errno()))


def process_state(pid):
    """The state letter of a process, None if it does not exist. A zombie has 'Z', and counts as ended."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(') ')[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def running(pid):
    return process_state(pid) not in (None, 'Z', 'X')


class Host:
    """One machine: a network namespace with its own /run/wireguard. A sleeping process keeps the namespaces alive."""

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
        """Makes the calling process, a forked child, a process of this host."""
        directory = os.getcwd()
        _setns(self.net, CLONE_NEWNET)
        _setns(self.mnt, CLONE_NEWNS)
        os.chdir(directory)
        die_with_parent()

    @contextlib.contextmanager
    def inside(self):
        """Moves the calling thread to this host's network. Sockets that it opens stay in that network."""
        home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            _setns(self.net, CLONE_NEWNET)
            yield self
        finally:
            _setns(home, CLONE_NEWNET)
            os.close(home)

    def path(self, path):
        """The path by which this process can open a file of this host."""
        return f'/proc/{self.holder.pid}/root{path}'

    # --- commands

    def popen(self, command, **options):
        """Starts a program on this host. A command that is a string is split at blanks."""
        if isinstance(command, str):
            command = command.split()
        self.lab.note(self, command)
        process = subprocess.Popen(command, preexec_fn=self._enter, text=True, **options)
        self.processes.append(process)
        return process

    def try_run(self, command, input=None, timeout=30, env=None):
        """Runs a command; returns an object with returncode and output (stdout and stderr together)."""
        if env is not None:
            env = {**os.environ, **env}
        process = self.popen(command, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        try:
            process.output = process.communicate(input, timeout)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failure(f'{self}: {joined(command)}: not done within {timeout} s') from None
        finally:
            self.processes.remove(process)
        return process

    def run(self, command, input=None, timeout=30, env=None):
        """Runs a command, which must succeed; returns the output."""
        process = self.try_run(command, input, timeout, env)
        check(process.returncode == 0,
              f'{self}: {joined(command)}: exit status {process.returncode}: {process.output.strip()}')
        return process.output

    def batch(self, commands):
        """Runs several commands, one per line, in one shell; each must succeed."""
        self.run(['sh', '-e'], input='\n'.join(line.strip() for line in commands.splitlines()) + '\n')

    # --- network

    def ip(self, arguments):
        return self.run('ip ' + arguments)

    def address(self, device, *addresses):
        for a in addresses:
            self.ip(f'addr add {a} dev {device}' + (' nodad' if ':' in a else ''))
        if any(':' in a for a in addresses):
            self.settle()

    def settle(self):
        """Waits until the kernel uses every IPv6 address of the links that are up. Before that, packets to it are lost,
        even with nodad: the kernel finishes the address in a work queue, late on a loaded machine. Last it adds the
        local route, a moment after the address is no longer tentative."""
        def unready():
            links = [link for link in json.loads(self.ip('-j -6 addr') or '[]')
                     if link and {'UP', 'LOWER_UP'} <= set(link['flags']) and 'master' not in link]
            routes = json.loads(self.ip('-j -6 route show table local type local') or '[]')
            ready = {(route['dst'], route['dev']) for route in routes}
            return [(a['local'], link['ifname']) for link in links for a in link['addr_info']
                    if a.get('tentative') or (a['local'], link['ifname']) not in ready]
        wait_until(lambda: not unready(), what=f'the IPv6 addresses of {self} are ready')

    def sysctl(self, key, value):
        self.run(['sh', '-c', f'echo {value} >/proc/sys/{key.replace(".", "/")}'])

    def nft(self, rules):
        self.run(['nft', '-f', '-'], input=rules)

    def nft_counters(self, table):
        """{comment: packets} of every rule with a comment and a counter in `table` ('inet t')."""
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
        """Sends `count` echo requests; each must be answered. Without `flood`, one after the other: `ping -c 3` counts
        an answer as lost that comes two round trips late, which happens on a loaded machine."""
        for _ in range(1 if flood else count):
            p = self.ping_output(address, count if flood else 1, size, wait, flood, options)
            check(p.returncode == 0 and ' 0% packet loss' in p.output,
                  f'{self} cannot ping {address}: {p.output.strip()}')

    def no_ping(self, address, wait=1, size=56, options=''):
        p = self.ping_output(address, 1, size, wait, False, options)
        check(' 100% packet loss' in p.output, f'{self} can ping {address}, but must not: {p.output.strip()}')

    def capture(self, device):
        return Capture(self, device)

    # --- wg(8)

    def wg(self, arguments, input=None):
        return self.run('wg ' + arguments, input)

    def setconf(self, device, text, how='setconf'):
        """Runs `wg setconf` (or addconf, syncconf) with this configuration text."""
        self.run(['wg', how, device, '/dev/stdin'], input=text)

    def show(self, device):
        return Show(self.wg(f'show {device} dump'))

    def daemon(self, device, **options):
        return Daemon(self, device, **options)

    def processes_inside(self):
        """The pids of all processes in this host's network namespace, except the one that holds it."""
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


def joined(command):
    return command if isinstance(command, str) else ' '.join(command)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Capture:
    """Captures the packets of an interface, each from its IP header on."""

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


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def udp_echo(client, server, address, sizes=(0, 1, 15, 16, 17, 500, 1372), timeout=5.0, source=None):
    """Sends datagrams of these sizes to the server and back; each must arrive unchanged."""
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
    """Sends `megabytes` over one TCP connection and compares SHA-256 digests; returns Mbit/s."""
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


class Lab:
    """The hosts and sockets of one test, which are removed at its end."""

    def __init__(self):
        self.hosts, self.sockets, self.notes, self.printed, self.complaints = [], [], [], [], []

    def note(self, host, command):
        self.notes.append(f'{host}: {joined(command)}')

    def say(self, text):
        """Adds a measured figure to the test's result line."""
        self.printed.append(text)

    def host(self, name):
        h = Host(self, name)
        self.hosts.append(h)
        return h

    def link(self, a, b, a_addresses='', b_addresses='', name=None, mtu=1500):
        """Connects two hosts by a veth pair. An end has the name of the other host, or `name`; blanks separate
        addresses."""
        a_name, b_name = name or b.name, name or a.name
        a.ip(f'link add {a_name} mtu {mtu} type veth peer name {b_name} mtu {mtu} netns {b.holder.pid}')
        for host, device, addresses in (a, a_name, a_addresses), (b, b_name, b_addresses):
            host.address(device, *addresses.split())
            host.ip(f'link set {device} up')
        a.settle()
        b.settle()
        return a_name, b_name

    def clear(self):
        """Removes everything. A test may then make new hosts."""
        while self.sockets:
            self.sockets.pop().close()
        while self.hosts:
            h = self.hosts.pop()
            for d in h.daemons:
                self.complaints += d.complaints()
            h.close()

    def diagnosis(self):
        """Lines that explain a failure: last commands, daemon logs, `wg show`."""
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


def one_daemon(lab, **options):
    """A host and the daemon of its interface wg0."""
    host = lab.host('a')
    return host, host.daemon('wg0', **options)
