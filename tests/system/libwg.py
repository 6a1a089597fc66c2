#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""libwg suite: programs with a tunnel of libwg inside, without rights and without a TUN device, against the daemon.

The environment variable LIBWG names libwg.so, WG_DIAL the program of samples/c/dial.c.
"""
import contextlib
import hashlib
import http.server
import os
import pathlib
import random
import re
import selectors
import shutil
import socket
import struct
import subprocess
import threading

from checks import Failure, check, equal, need, skip, wait_until
from runner import main, test
from wg_tools import ROOT, TMP, Key

UNPRIVILEGED = ['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', '--bounding-set=-all',
                '--inh-caps=-all', '--no-new-privs']
FILES = ['samples/python/wg.py', 'samples/python/fetch.py', 'tests/libwg/client.py']


class Office:
    """The host `office` has the daemon, with 10.9.0.1 and fd09::1 inside. The host `desk` has no TUN device; a program
    on it has the tunnel with 10.9.0.2 and fd09::2."""

    def __init__(self, lab):
        need('setpriv')
        self.lab, self.office, self.desk = lab, lab.host('office'), lab.host('desk')
        lab.link(self.office, self.desk, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        self.key, self.program_key = Key(), Key()
        self.daemon = self.office.daemon('wg0')
        self.office.setconf('wg0', f'[Interface]\nPrivateKey = {self.key.private}\nListenPort = 10001\n[Peer]\n'
                                   f'PublicKey = {self.program_key.public}\nAllowedIPs = 10.9.0.2/32, fd09::2/128\n')
        self.office.address('wg0', '10.9.0.1/24', 'fd09::1/64')
        self.office.ip('link set wg0 mtu 1420 up')
        self.office.settle()
        wait_until(lambda: (4, 10001) in self.office.udp_ports(), 5, 'the UDP port of wg0 is open')
        self.desk.run('mount -t tmpfs none /dev/net')
        # A user without rights may not be able to read the build folder.
        self.folder = pathlib.Path(TMP) / 'desk'
        self.folder.mkdir(mode=0o755, exist_ok=True)
        for file in [pathlib.Path(ROOT) / f for f in FILES] + [pathlib.Path(os.environ['LIBWG']),
                                                              pathlib.Path(os.environ['WG_DIAL'])]:
            shutil.copy(file, self.folder)
        library = self.folder / pathlib.Path(os.environ['LIBWG']).name
        shutil.copy(library, self.folder / 'libwg.so.0')
        self.conf = self.folder / 'office.conf'
        self.conf.write_text(f'[Interface]\nPrivateKey = {self.program_key.private}\n'
                             f'Address = 10.9.0.2/24, fd09::2/64\n[Peer]\nPublicKey = {self.key.public}\n'
                             f'AllowedIPs = 10.9.0.0/24, fd09::/64\nEndpoint = 192.0.2.1:10001\n')
        self.conf.chmod(0o644)
        pathlib.Path(TMP).chmod(0o755)
        self.env = {**os.environ, 'LD_LIBRARY_PATH': str(self.folder), 'WG_LIBRARY': str(self.folder / 'libwg.so.0')}

    def popen(self, command, **options):
        return self.desk.popen([*UNPRIVILEGED, *map(str, command)], env=self.env, cwd='/', **options)

    def run(self, command, input=None, timeout=60, status=0):
        p = self.popen(command, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output = p.communicate(input, timeout)[0]
        except subprocess.TimeoutExpired:
            p.kill()
            raise Failure(f'{command}: not done within {timeout} s') from None
        equal(p.returncode, status, f'exit status of {command}: {output.strip()[-2000:]}')
        return output.strip()

    def client_command(self, *arguments):
        return ['python3', self.folder / 'client.py', self.conf, *arguments]

    def client(self, *arguments, timeout=60):
        return self.run(self.client_command(*arguments), timeout=timeout)

    def listen(self, address='10.9.0.1', backlog=128):
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        s = self.office.socket(family, socket.SOCK_STREAM, bind=(address, 0), timeout=60)
        s.listen(backlog)
        return s, (f'[{address}]' if ':' in address else address) + f':{s.getsockname()[1]}'


def in_background(function, *arguments):
    """Runs the function in a thread. Returns: a function that waits for its end and passes its exception on."""
    failed = []

    def work():
        try:
            function(*arguments)
        except Exception as e:
            failed.append(e)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def join():
        thread.join(60)
        check(not thread.is_alive(), 'the server did not end')
        if failed:
            raise failed[0]
    return join


def echo(listener):
    with listener.accept()[0] as s:
        s.settimeout(60)
        while data := s.recv(65536):
            s.sendall(data)


@test
def a_program_has_no_rights_and_connects_over_both_families(lab):
    o = Office(lab)
    o.client('rights')
    four, six = o.listen(), o.listen('fd09::1')
    joins = [in_background(echo, four[0]), in_background(echo, six[0])]
    o.client('echo', four[1], six[1])
    for join in joins:
        join()


@test(seconds=120)
def a_hundred_megabytes_arrive_in_each_direction_at_once(lab):
    o = Office(lab)
    listener, place = o.listen()
    megabytes = 100

    def serve():
        with listener.accept()[0] as s:
            s.settimeout(60)
            blob = random.randbytes(1 << 20)
            sent, got = hashlib.sha256(blob * megabytes), hashlib.sha256()

            def send():
                for _ in range(megabytes):
                    s.sendall(blob)
            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            while data := s.recv(1 << 18):
                got.update(data)
            sender.join()
            s.sendall(sent.digest() + got.digest())
    join = in_background(serve)
    lab.say(o.client('transfer', place, str(megabytes), timeout=100))
    join()


@test
def refused_silent_and_wrong_places_have_their_own_status(lab):
    o = Office(lab)
    listener, place = o.listen()
    listener.close()
    o.client('refusals', place, '10.9.0.99:1')


@test
def a_reset_of_the_server_is_read_as_one(lab):
    o = Office(lab)
    listener, place = o.listen()

    def serve():
        with listener.accept()[0] as s:
            s.recv(1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    join = in_background(serve)
    o.client('reset', place)
    join()


@test
def closing_while_data_comes_resets_the_connection(lab):
    o = Office(lab)
    listener, place = o.listen()

    def serve():
        for _ in range(2):
            with listener.accept()[0] as s:
                s.settimeout(10)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    while True:
                        s.sendall(bytes(1 << 20))
    join = in_background(serve)
    o.client('leave', place)
    join()


@test(seconds=240)
def ten_thousand_connections(lab):
    o = Office(lab)
    listener, place = o.listen(backlog=1024)
    listener.settimeout(0)
    stop = threading.Event()

    def serve():
        with selectors.EpollSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            while not stop.is_set():
                for key, _ in ready.select(0.2):
                    if key.fileobj is listener:
                        ready.register(listener.accept()[0], selectors.EVENT_READ)
                    elif data := key.fileobj.recv(100):
                        key.fileobj.sendall(data)
                    else:
                        ready.unregister(key.fileobj)
                        key.fileobj.close()
    join = in_background(serve)
    # A connection takes two descriptors, and one process may not have as many.
    clients = [o.popen(o.client_command('connections', place, '5000'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)]
    lab.say(clients[0].stdout.readline().strip())
    second = Key()
    o.office.wg(f'set wg0 peer {second.public} allowed-ips 10.9.0.3/32')
    o.conf.write_text(o.conf.read_text().replace(o.program_key.private, second.private)
                      .replace('10.9.0.2/24, fd09::2/64', '10.9.0.3/24'))
    clients.append(o.popen(o.client_command('connections', place, '5000'), stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE))
    lab.say(clients[1].stdout.readline().strip())
    established = int(re.search(r'estab (\d+)', o.office.run('ss -s')).group(1))
    check(established >= 10000, f'{established} connections at the office')
    for p in clients:
        print('go', file=p.stdin, flush=True)
    for p in clients:
        equal(p.stdout.readline(), 'done\n', 'the client')
        equal(p.wait(30), 0, 'exit status')
    stop.set()
    join()


@test
def a_program_accepts_connections(lab):
    o = Office(lab)
    p = o.popen(o.client_command('serve', '3'), stdout=subprocess.PIPE)
    equal(p.stdout.readline(), 'listening\n', 'the program')
    # The office learns the endpoint from the program's first message.
    o.office.wg(f'set wg0 peer {o.program_key.public} endpoint 192.0.2.2:{port_of(o)}')
    for address in '10.9.0.2', 'fd09::2', '10.9.0.2':
        s = o.office.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM, timeout=20)
        s.connect((address, 7))
        data = random.randbytes(300000)
        sender = in_background(s.sendall, data)
        got = b''
        while len(got) < len(data):
            got += s.recv(65536)
        sender()
        check(got == data, 'the echo differs')
        s.shutdown(socket.SHUT_WR)
        equal(s.recv(1), b'', 'the end')
        s.close()
        equal(p.stdout.readline(), ('fd09::1' if ':' in address else '10.9.0.1') + '\n', 'the other end of accept')
    equal(p.wait(20), 0, 'exit status')


def port_of(o):
    """The UDP port of the program's tunnel."""
    return wait_until(lambda: next((port for family, port in o.desk.udp_ports() if family == 4), None), 5,
                      'the UDP port of the program')


@test
def datagrams_keep_their_borders(lab):
    o = Office(lab)
    server = o.office.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('10.9.0.1', 0), timeout=20)

    def serve():
        for _ in range(8):
            data, where = server.recvfrom(65536)
            server.sendto(data, where)
    join = in_background(serve)
    o.client('datagrams', f'10.9.0.1:{server.getsockname()[1]}')
    join()


@test
def the_program_in_c_sends_and_receives(lab):
    o = Office(lab)
    listener, place = o.listen()
    join = in_background(echo, listener)
    text = 'line\n' * 200000
    equal(o.run([o.folder / 'dial', o.conf, place], input=text) + '\n', text, 'the echo')
    join()
    listener.close()
    check('refused' in o.run([o.folder / 'dial', o.conf, place], status=1), 'the reason is named')
    check('/nowhere.conf: No such file' in o.run([o.folder / 'dial', '/nowhere.conf', place], status=1), 'the file')


@test(seconds=120)
def the_program_in_rust_sends_and_receives(lab):
    need('rustc')
    o = Office(lab)
    library = pathlib.Path(os.environ['LIBWG'])
    subprocess.run(['rustc', '-o', o.folder / 'dial-rust', f'-Lnative={library.parent}',
                    f'{ROOT}/samples/rust/dial.rs'], check=True)
    listener, place = o.listen()
    join = in_background(echo, listener)
    equal(o.run([o.folder / 'dial-rust', o.conf, place, 'hello from Rust']), 'hello from Rust', 'the echo')
    join()


@test
def asyncio_fetches_pages(lab):
    o = Office(lab)

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(int(self.path[1:])))

        def log_message(self, *_):
            pass
    with o.office.inside():
        server = http.server.ThreadingHTTPServer(('10.9.0.1', 0), Pages)
    join = in_background(server.serve_forever)
    try:
        sizes = [10, 100000, 3000000]
        output = o.run(['python3', o.folder / 'fetch.py', o.conf, f'10.9.0.1:{server.server_port}',
                        *(f'/{size}' for size in sizes)])
        equal(output, '\n'.join(f'HTTP/1.0 200 OK: {size} bytes: /{size}' for size in sizes), 'what was fetched')
    finally:
        server.shutdown()
        join()
        server.server_close()


@test(seconds=120)
def redis_works_through_a_descriptor(lab):
    if not shutil.which('redis-server'):
        skip('redis-server is not installed (Debian: redis-server)')
    o = Office(lab)
    server = o.office.popen(['redis-server', '--bind', '10.9.0.1', '--port', '6379', '--save', '', '--protected-mode',
                             'no'], stdout=subprocess.DEVNULL)
    wait_until(lambda: o.office.run('ss -Hltn sport = 6379'), 10, 'redis listens')
    lab.say(o.client('redis', '10.9.0.1:6379'))
    server.terminate()
    server.wait()


@test(seconds=120)
def connections_survive_a_restart_of_the_daemon(lab):
    o = Office(lab)
    listener, place = o.listen()
    client = o.popen(o.client_command('connections', place, '3'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    accepted = [listener.accept()[0] for _ in range(3)]
    check('3 connections' in client.stdout.readline(), 'the client has connected')
    # Without its sessions, the daemon does not understand the client any more: the handshake is repeated.
    o.office.wg(f'set wg0 peer {o.program_key.public} remove')
    o.office.wg(f'set wg0 peer {o.program_key.public} allowed-ips 10.9.0.2/32,fd09::2/128')
    print('go', file=client.stdin, flush=True)
    for s in accepted:
        s.settimeout(40)
        s.sendall(s.recv(4))
    equal(client.stdout.readline(), 'done\n', 'the client')
    equal(client.wait(20), 0, 'exit status')


if __name__ == '__main__':
    main(__doc__)
