#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""tunnel suite: wg::tunnel in an unprivileged process, against daemons: TCP, UDP, ping, DNS, restarts, loss.

The process is $TUNNEL_PEER (tunnel_peer.cpp). It runs as nobody, without capabilities, and its host has no
/dev/net/tun.

    a: the process, with the tunnel inside        b: wgd or wireguard-go, and servers of this script
    inside: 10.9.0.1 fd09::1                      wg0: 10.9.0.2 fd09::2
    veth: 192.0.2.1  ---------------------------  veth: 192.0.2.2
"""
import contextlib
import heapq
import os
import pwd
import random
import re
import resource
import select
import selectors
import socket
import threading
import time

from checks import check, equal, need, skip, wait_until
from hosts import family_of, tcp_copy
from runner import main, test
from wg_tools import TMP, Key, Tunnel as TwoDaemons

PEER = os.environ.get('TUNNEL_PEER', '')
BLOB_BYTES = 1_000_003
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # socket(7)
UNPRIVILEGED = ['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', '--no-new-privs',
                '--inh-caps=-all', '--bounding-set=-all']


class Process:
    """The program under test."""

    def __init__(self, host, text, blob):
        self.host = host
        name = f'{TMP}/{host.name}.conf'
        for path, content in (name, text.encode()), (f'{TMP}/blob', blob):
            with open(path, 'wb') as f:
                f.write(content)
            os.chmod(path, 0o600)
            os.chown(path, pwd.getpwnam('nobody').pw_uid, -1)
        host.run('mount -t tmpfs none /dev/net')  # this host has no TUN device
        self.process = host.popen([*UNPRIVILEGED, PEER, name, f'{TMP}/blob'], stdin=-1, stdout=-1, bufsize=1)
        equal(self.answer(), 'ok', 'the tunnel starts')
        with open(f'/proc/{self.process.pid}/status') as f:
            status = dict(line.split(':', 1) for line in f.read().splitlines())
        equal(status['Uid'].split(), [str(pwd.getpwnam('nobody').pw_uid)] * 4, 'the user of the process')
        equal({int(status[c], 16) for c in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')}, {0}, 'its capabilities')

    def answer(self, timeout=60):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        line = self.process.stdout.readline() if ready else None
        check(line, f'no answer within {timeout} s' if line is None else 'the process ended')
        return line.strip()

    def begin(self, command):
        self.process.stdin.write(command + '\n')

    def ask(self, command, timeout=60):
        """Runs a command, which must succeed; returns the rest of the answer."""
        self.begin(command)
        answer = self.answer(timeout)
        check(answer.split()[0] == 'ok', f'{command}: {answer}')
        return answer[3:]

    def rss_kib(self):
        with open(f'/proc/{self.process.pid}/status') as f:
            return int(re.search(r'VmRSS:\s+(\d+) kB', f.read())[1])


class Tunnel:
    """Hosts a and b as the head of this file says. `through` names another endpoint for the process than b's own."""

    def __init__(self, lab, program=None, through='192.0.2.2:51820', extra=''):
        need('setpriv')
        check(os.access(PEER, os.X_OK), f'no program at TUNNEL_PEER={PEER}')
        self.lab, self.a, self.b = lab, lab.host('a'), lab.host('b')
        self.key_a, self.key_b, self.program = Key(), Key(), program
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        self.start_daemon()
        self.blob = random.randbytes(BLOB_BYTES)
        self.process = Process(self.a, f'[Interface]\nPrivateKey = {self.key_a.private}\n'
                               f'Address = 10.9.0.1/24, fd09::1/64\nDNS = 10.9.0.2, office.internal\n{extra}'
                               f'[Peer]\nPublicKey = {self.key_b.public}\nEndpoint = {through}\n'
                               f'AllowedIPs = 10.9.0.2/32, fd09::2/128\n', self.blob)
        self.ask = self.process.ask

    def start_daemon(self):
        self.daemon = self.b.daemon('wg0', program=self.program)
        self.b.setconf('wg0', f'[Interface]\nPrivateKey = {self.key_b.private}\nListenPort = 51820\n'
                       f'[Peer]\nPublicKey = {self.key_a.public}\nAllowedIPs = 10.9.0.1/32, fd09::1/128\n')
        self.b.address('wg0', '10.9.0.2/24', 'fd09::2/64')
        self.b.ip('link set wg0 mtu 1420 up')
        self.b.settle()

    def listen(self, address='10.9.0.2', backlog=16):
        s = self.b.socket(family_of(address), socket.SOCK_STREAM, bind=(address, 0), timeout=60)
        s.listen(backlog)
        return s, f'[{address}]:{s.getsockname()[1]}' if ':' in address else f'{address}:{s.getsockname()[1]}'

    def receive_blobs(self, connection, count):
        """Receives to the end and compares with `count` times the blob."""
        expected, total, room = memoryview(self.blob), 0, bytearray(1 << 18)
        while size := connection.recv_into(room):
            done = 0
            while done < size:
                at = total % BLOB_BYTES
                some = min(size - done, BLOB_BYTES - at)
                check(room[done:done + some] == expected[at:at + some], f'the bytes differ after {total}')
                done, total = done + some, total + some
        equal(total, count * BLOB_BYTES, 'received bytes')

    def send_blobs(self, connection, count):
        for _ in range(count):
            connection.sendall(self.blob)
        connection.shutdown(socket.SHUT_WR)

    def copy(self, command, count, timeout=60):
        """The process dials and sends, receives or does both at once. Returns: Mbit/s of each direction."""
        listener, where = self.listen()
        start = time.monotonic()
        self.process.begin(f'{command} {where} {count}')
        connection = listener.accept()[0]
        connection.settimeout(timeout)
        with contextlib.closing(listener), contextlib.closing(connection):
            failures = []

            def send():
                try:
                    self.send_blobs(connection, count if command != 'send' else 0)
                except OSError as e:
                    failures.append(e)
            sender = threading.Thread(target=send, daemon=True)
            if command != 'send':
                sender.start()
            self.receive_blobs(connection, count if command != 'receive' else 0)
            if command == 'send':
                send()
            else:
                sender.join(timeout)
            check(not failures, f'sending: {failures and failures[0]}')
            equal(self.process.answer(timeout), 'ok', command)
        return count * BLOB_BYTES * 8e-6 / (time.monotonic() - start)


PEERS = {'wgd': None, 'wireguard_go': 'wireguard-go'}


def with_each_peer(**options):
    """Marks a function(lab, program) as one test for each daemon at the other end."""
    def mark(f):
        for suffix, program in PEERS.items():
            def run(lab, program=program):
                if program:
                    need(program)
                f(lab, program)
            run.__name__ = f'{f.__name__}_with_{suffix}'
            test(**options)(run)
        return f
    return mark


# ------------------------------------------------------------------------------------------------- traffic

@with_each_peer()
def ping_and_datagrams(lab, program):
    t = Tunnel(lab, program)
    for address in '10.9.0.2', 'fd09::2':
        check(int(t.ask(f'ping {address}')) > 0, 'a ping takes time')
    for address in '10.9.0.2', 'fd09::2':
        server = t.b.socket(family_of(address), socket.SOCK_DGRAM, bind=(address, 0), timeout=20)

        def echo(server=server):
            with contextlib.suppress(OSError):
                while True:
                    data, client = server.recvfrom(65536)
                    server.sendto(data, client)
        threading.Thread(target=echo, daemon=True).start()
        port = server.getsockname()[1]
        t.ask(f'datagrams {f"[{address}]" if ":" in address else address}:{port}')
    # The other direction: the stack of the process answers pings of the host.
    t.b.ping('10.9.0.1')
    t.b.ping('fd09::1')


@with_each_peer(seconds=120)
def tcp_both_ways(lab, program):
    t, count = Tunnel(lab, program), 50
    for command in 'send', 'receive', 'both':
        lab.say(f'{command} {t.copy(command, count):.0f} Mbit/s')
    # b dials, and the process accepts.
    t.process.begin(f'accept 7000 {count}')
    equal(t.process.answer(), 'ok listens', 'the process listens')
    client = t.b.socket(socket.AF_INET6, socket.SOCK_STREAM, timeout=60)
    client.connect(('fd09::1', 7000))
    t.send_blobs(client, count)
    t.receive_blobs(client, count)
    client.close()
    equal(t.process.answer(), 'ok', 'accept')


@with_each_peer(seconds=400, long=True)
def a_gigabyte_each_way(lab, program):
    t = Tunnel(lab, program)
    for command in 'send', 'receive':
        lab.say(f'{command} {t.copy(command, 1000, 200):.0f} Mbit/s')
    lab.say(f'{t.process.rss_kib()} kB')


@test
def a_closed_port_is_refused(lab):
    t = Tunnel(lab)
    t.process.begin('send 10.9.0.2:9 1')
    equal(t.process.answer(), 'error refused', 'dial')


# ------------------------------------------------------------------------------------------------- names

@test
def names_are_asked_from_dnsmasq(lab):
    need('dnsmasq')
    t = Tunnel(lab)
    with open(f'{TMP}/names', 'w') as f:
        f.write('10.9.0.2 db.office.internal v4.office.internal\nfd09::2 db.office.internal\n')
        f.writelines(f'10.1.{i // 250}.{i % 250 + 1} many.office.internal\n' for i in range(300))  # needs TCP
    t.b.popen(f'dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --user=root --group=root '
              f'--listen-address=10.9.0.2 --bind-interfaces --local=/internal/ --addn-hosts={TMP}/names',
              stdout=-3, stderr=-3)
    wait_until(lambda: (4, 53) in t.b.udp_ports(), 10, 'dnsmasq listens')
    for name in 'db', 'db.office.internal', 'DB.Office.Internal.':
        equal(t.ask(f'resolve {name}').split(), ['fd09::2', '10.9.0.2'], name)
    equal(t.ask('resolve v4').split(), ['10.9.0.2'], 'v4')
    equal(len(t.ask('resolve many').split()), 8, 'addresses of a long answer that are kept')
    t.process.begin('resolve nowhere')
    equal(t.process.answer(), 'error name_not_found', 'an unknown name')
    listener = t.b.socket(socket.AF_INET6, socket.SOCK_STREAM, bind=('::', 0), timeout=20)
    listener.listen(1)
    t.process.begin(f'send db:{listener.getsockname()[1]} 1')
    connection = listener.accept()[0]
    equal(connection.getpeername()[0], 'fd09::1', 'IPv6 is tried first')
    t.receive_blobs(connection, 1)
    connection.close()
    equal(t.process.answer(), 'ok', 'send to a name')


# ------------------------------------------------------------------------------------------------- many connections

class EchoServer:
    """Sends back what arrives, on any number of connections."""

    def __init__(self, listener):
        self.listener, self.selector, self.open = listener, selectors.DefaultSelector(), 0
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        self.ends = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ends:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            self.selector.register(self.listener.accept()[0], selectors.EVENT_READ)
                            self.open += 1
                    continue
                data = b''
                with contextlib.suppress(OSError):
                    data = key.fileobj.recv(65536)
                if data:
                    key.fileobj.sendall(data)
                else:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.open -= 1

    def close(self):
        self.ends = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def descriptors(count):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count:
        skip(f'the limit of descriptors is {hard}')
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@test(seconds=240)
def ten_thousand_connections(lab):
    descriptors(11_000)
    t, count = Tunnel(lab), 10_000
    listener, where = t.listen(backlog=1000)
    server = EchoServer(listener)
    before, start = t.process.rss_kib(), time.monotonic()
    t.ask(f'connect {where} {count}', 120)
    lab.say(f'{count / (time.monotonic() - start):.0f} connections/s')
    idle = t.process.rss_kib()
    lab.say(f'{(idle - before) * 1024 / count:.0f} B for an idle connection')
    check((idle - before) * 1024 / count < 4096, f'{idle - before} kB for {count} idle connections')
    for number in 12345, 987:
        t.ask(f'ask x {number}', 120)
    t.ask('drop x')
    wait_until(lambda: server.open == 0, 60, 'all connections end')
    server.close()


# ------------------------------------------------------------------------------------------------- restarts

@test(seconds=180)
def connections_survive_restarts_of_the_daemon_under_load(lab):
    """Killed, so that it says nothing to anybody; the next one knows no session."""
    t, count = Tunnel(lab), 200
    listener, where = t.listen(backlog=500)
    server = EchoServer(listener)
    t.ask(f'connect {where} 100')
    t.ask('ask x 1')
    before = t.process.rss_kib()
    bulk, bulk_where = t.listen()
    t.process.begin(f'send {bulk_where} {count}')
    connection = bulk.accept()[0]
    connection.settimeout(60)
    received = threading.Thread(target=t.receive_blobs, args=(connection, count), daemon=True)
    received.start()
    for _ in range(2):
        time.sleep(0.3)  # under load
        t.daemon.stop(9)
        wait_until(lambda: not t.b.link_exists('wg0'), what='wg0 is gone')
        t.start_daemon()
    received.join(100)
    check(not received.is_alive(), 'the bulk transfer ends')
    connection.close()
    equal(t.process.answer(), 'ok', 'the bulk transfer')
    t.ask('ask x 2')
    equal(server.open, 100, 'open connections')
    t.ask('drop x')
    wait_until(lambda: t.process.rss_kib() < before + 4096, 30, 'memory returns')
    lab.say(f'memory {before} kB before, {t.process.rss_kib()} kB after')
    server.close()


# ------------------------------------------------------------------------------------------------- loss and delay

class Relay:
    """A UDP relay on host b: port 51821 to 51820, with a delay for each direction, and random loss of datagrams."""

    def __init__(self, host, to, loss, delay_s, seed=1):
        self.outside = host.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('192.0.2.2', 51821))
        self.inside = host.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('127.0.0.1', 0))
        for s in self.outside, self.inside:
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            s.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)
        self.inside.connect(to)
        self.loss, self.delay_s, self.client, self.random = loss, delay_s, None, random.Random(seed)
        self.passed = self.lost = 0
        self.ends = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        queue, number = [], 0  # (time, number, whether it goes inside, datagram)
        while not self.ends:
            wait = max(0.0, queue[0][0] - time.monotonic()) if queue else 0.2
            ready, _, _ = select.select([self.outside, self.inside], [], [], wait)
            now = time.monotonic()
            for s in ready:
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    for _ in range(64):
                        data, client = s.recvfrom(2048)
                        if s is self.outside:
                            self.client = client
                        if self.random.random() < self.loss:
                            self.lost += 1
                            continue
                        number += 1
                        heapq.heappush(queue, (now + self.delay_s, number, s is self.outside, data))
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _, _, goes_inside, data = heapq.heappop(queue)
                self.passed += 1
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    self.inside.send(data) if goes_inside else self.outside.sendto(data, self.client)

    def close(self):
        self.ends = True
        self.thread.join()


def throughput_through_a_relay(lab, loss, delay_s, count):
    """{command: Mbit/s} of the tunnel in the process."""
    t = Tunnel(lab, through='192.0.2.2:51821')
    t.b.ip('link set lo up')
    relay = Relay(t.b, ('127.0.0.1', 51820), loss, delay_s)
    took = int(t.ask('ping 10.9.0.2'))
    check(took > 2e6 * delay_s, f'a ping takes {took} us, in spite of the delay')
    measured = {command: t.copy(command, count, 200) for command in ('send', 'receive')}
    relay.close()
    lab.say(f'{relay.passed} datagrams passed, {relay.lost} lost')
    return measured


@test(seconds=300)
def throughput_with_delay_and_loss(lab):
    """50 ms of round trip time, without and with 1 % of loss each way. Prints the speed."""
    for name, loss, count in ('50 ms', 0.0, 20), ('50 ms and 1 %', 0.01, 2):
        for command, speed in throughput_through_a_relay(lab, loss, 0.025, count).items():
            lab.say(f'{name}: {command} {speed:.1f} Mbit/s')
        lab.clear()


@test(seconds=300, long=True)
def throughput_of_the_kernel_with_delay_and_loss(lab):
    """The same with TCP of the kernel at both ends, to compare: it uses selective acknowledgements."""
    for name, loss, megabytes in ('50 ms', 0.0, 20), ('50 ms and 1 %', 0.01, 4):
        t = TwoDaemons(lab, initiator='b')
        t.a.run('wg set wg0 peer ' + t.pub_b + ' endpoint 192.0.2.2:51821')
        relay = Relay(t.b, ('127.0.0.1', 10002), loss, 0.025)
        t.a.ping('10.9.0.2')
        lab.say(f'{name}: {tcp_copy(t.a, t.b, "10.9.0.2", megabytes, 120):.1f} Mbit/s')
        relay.close()
        lab.clear()


if __name__ == '__main__':
    main(__doc__, programs=('setpriv',))
