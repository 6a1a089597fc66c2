#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""wgproxy suite: the sample wgproxy as nobody, without capabilities and without /dev/net/tun, against the daemon.

    a: wgproxy (a tunnel inside the process)       b: the daemon, and servers
       10.9.0.1 fd09::1                               wg0: 10.9.0.2 fd09::2
    veth: 192.0.2.1  ----------------------------  veth: 192.0.2.2

The program is $WGPROXY; the daemon is $WGD.
"""
import contextlib
import hashlib
import os
import pwd
import random
import signal
import socket
import struct
import subprocess
import threading
import time

from checks import check, equal, need, skip, wait_until
from runner import main, test
from wg_tools import ROOT, TMP, Key

WGPROXY = os.environ.get('WGPROXY') or os.path.join(ROOT, 'build', 'samples', 'wgproxy')
NAMES = {'db.office.internal': ('10.9.0.2', 'fd09::2'), 'gone.office.internal': ('10.9.0.2', None)}
UNPRIVILEGED = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--inh-caps=-all',
                '--bounding-set=-all', '--no-new-privs']


class Servers:
    """Servers on a host, on threads of this process. They end with the test, because their sockets are closed."""

    def __init__(self, host):
        self.host = host

    def tcp(self, serve, port, address='::'):
        """Calls `serve(socket)` for each connection, on a thread of its own."""
        listener = self.host.socket(socket.AF_INET6, socket.SOCK_STREAM, bind=(address, port), timeout=None)
        listener.listen(1024)

        def one(s):
            with contextlib.suppress(OSError), s:
                serve(s)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=[listener.accept()[0]], daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()

    def udp(self, answer, port):
        """Sends `answer(data)` back for each datagram."""
        s = self.host.socket(socket.AF_INET6, socket.SOCK_DGRAM, bind=('::', port), timeout=None)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = s.recvfrom(65536)
                    s.sendto(answer(data), sender)
        threading.Thread(target=serve, daemon=True).start()


def echo(s):
    while data := s.recv(1 << 16):
        s.sendall(data)


def http(s):
    """Answers a request by its head and body, and `GET /bytes/N` by N bytes that `blob` makes."""
    request = b''
    while b'\r\n\r\n' not in request:
        data = s.recv(65536)
        if not data:
            return
        request += data
    head, _, body = request.partition(b'\r\n\r\n')
    lengths = [line for line in head.lower().split(b'\r\n') if line.startswith(b'content-length')]
    length = int(lengths[0].split(b':')[1]) if lengths else 0
    while len(body) < length:
        body += s.recv(65536)
    path = head.split()[1]
    answer = blob(int(path.split(b'/')[-1])) if path.startswith(b'/bytes/') else head + b'\r\n\r\n' + body
    s.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(answer) + answer)


def blob(size):
    return random.Random(size).randbytes(size)


def dns(query):
    """Answers questions for A and AAAA records of NAMES; other names do not exist. The letters stay as they came."""
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1:end + 1 + query[end]].decode().lower())
        end += 1 + query[end]
    kind = struct.unpack('>H', query[end + 1:end + 3])[0]
    found = NAMES.get('.'.join(labels))
    address = found and {1: found[0], 28: found[1]}.get(kind)
    record = b''
    if address:
        packed = socket.inet_pton(socket.AF_INET6 if ':' in address else socket.AF_INET, address)
        record = struct.pack('>HHHIH', 0xc00c, kind, 1, 60, len(packed)) + packed
    flags = 0x8180 if found else 0x8183
    return query[:2] + struct.pack('>HHHHH', flags, 1, bool(record), 0, 0) + query[12:end + 5] + record


class Proxy:
    """wgproxy on a, connected to the daemon on b. `services` are sections of its configuration."""

    def __init__(self, lab, services='', arguments=(), start=True, keepalive=False, program=None):
        need('setpriv')
        if not os.path.exists(WGPROXY):
            skip(f'{WGPROXY} was not built; it needs lwIP')
        self.lab, self.a, self.b = lab, lab.host('a'), lab.host('b')
        lab.link(self.a, self.b, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        self.a.run('mount -t tmpfs none /dev/net')
        self.key_a, self.key_b = Key(), Key()
        self.daemon = self.b.daemon('wg0', program=program)
        self.configure_b()
        self.servers = Servers(self.b)
        self.servers.tcp(echo, 7)
        self.servers.tcp(http, 80)
        self.servers.udp(lambda data: data, 7)
        self.servers.udp(dns, 53)
        self.config, self.log, self.process = f'{TMP}/office.conf', f'{TMP}/wgproxy.log', None
        with open(self.config, 'w') as out:
            out.write(f'[Interface]\nPrivateKey = {self.key_a.private}\nAddress = 10.9.0.1/24, fd09::1/64\n'
                      f'DNS = 10.9.0.2, office.internal\n[Peer]\nPublicKey = {self.key_b.public}\n'
                      f'Endpoint = 192.0.2.2:10002\nAllowedIPs = 10.9.0.0/24, fd09::/64\n'
                      + ('PersistentKeepalive = 1\n' if keepalive else '') + services)
        nobody = pwd.getpwnam('nobody')
        os.chown(self.config, nobody.pw_uid, nobody.pw_gid)
        os.chmod(self.config, 0o400)
        if start:
            self.start(*arguments)

    def set_peer(self):
        self.b.setconf('wg0', f'[Interface]\nPrivateKey = {self.key_b.private}\nListenPort = 10002\n[Peer]\n'
                              f'PublicKey = {self.key_a.public}\nAllowedIPs = 10.9.0.1/32, fd09::1/128\n')

    def configure_b(self):
        self.set_peer()
        self.b.address('wg0', '10.9.0.2/24', 'fd09::2/64')
        self.b.ip('link set wg0 mtu 1420 up')
        self.b.settle()

    def command(self, *arguments):
        return [*UNPRIVILEGED, WGPROXY, '-c', self.config, *arguments]

    def start(self, *arguments):
        with open(self.log, 'w') as log:
            self.process = self.a.popen(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: 'listening' in self.lines() or self.process.poll() is not None, 10, 'wgproxy listens')
        check(self.process.poll() is None, f'wgproxy ended: {self.lines()}')

    def lines(self):
        with open(self.log) as log:
            return log.read()

    def curl(self, *arguments, status=0):
        need('curl')
        got = self.a.try_run(['curl', '-sS', '--max-time', '20', *arguments])
        equal(got.returncode, status, f'exit status of curl: {got.output}')
        return got.output

    def connect(self, port, host='127.0.0.1'):
        s = self.a.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM, timeout=20)
        s.connect((host, port))
        return s

    def rss_kib(self):
        with open(f'/proc/{self.process.pid}/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS'))


def take(s, size):
    """Reads `size` bytes, or fewer if the other end finishes. (MSG_WAITALL does not wait on sockets with a timeout.)"""
    data = b''
    while len(data) < size and (part := s.recv(size - len(data))):
        data += part
    return data


def exchange(s, size=1 << 20):
    """Sends `size` bytes to an echo server and reads them back; then each end finishes."""
    block, blocks = random.randbytes(1 << 20), size >> 20

    def send():
        with contextlib.suppress(OSError):
            for _ in range(blocks):
                s.sendall(block)
            s.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    digest, wanted, total = hashlib.sha256(), hashlib.sha256(), 0
    while part := s.recv(1 << 18):
        digest.update(part)
        total += len(part)
    sender.join(20)
    for _ in range(blocks):
        wanted.update(block)
    equal(total, size, 'bytes that came back')
    equal(digest.hexdigest(), wanted.hexdigest(), 'digest')


SOCKS = '[Socks5]\nBindAddress = 127.0.0.1:1080\n'
HTTP = '[http]\nBindAddress = 127.0.0.1:3128\n'


@test
def needs_no_privileges(lab):
    p = Proxy(lab, SOCKS)
    with open(f'/proc/{p.process.pid}/status') as f:
        status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
    equal(status['Uid'].split()[0], str(pwd.getpwnam('nobody').pw_uid), 'user')
    equal(int(status['CapEff'], 16), 0, 'capabilities')
    check(p.a.try_run('ls /dev/net/tun').returncode != 0, 'there is no TUN device')
    equal(p.curl('-x', 'socks5://127.0.0.1:1080', 'http://10.9.0.2/bytes/5000000', '-o', '/dev/null', '-w',
                 '%{size_download}'), '5000000', 'bytes')
    line = f'connected to peer {p.key_b.public[:8]}... at 192.0.2.2:10002'
    wait_until(lambda: line in p.lines(), 5, 'a line for the peer')
    p.process.send_signal(signal.SIGTERM)
    equal(p.process.wait(5), 0, 'exit status after SIGTERM')


@test
def socks_by_address_and_name(lab):
    p = Proxy(lab, SOCKS)
    for proxy, host in (('socks5', '10.9.0.2'), ('socks5', '[fd09::2]'), ('socks5h', 'db.office.internal'),
                        ('socks5h', 'db'), ('socks5h', '10.9.0.2')):
        got = p.curl('-x', f'{proxy}://127.0.0.1:1080', f'http://{host}/x?y', '-d', 'body')
        check(got.startswith('POST /x?y HTTP/1.1\n') and got.endswith('\n\nbody'), got)
    p.curl('-x', 'socks5h://127.0.0.1:1080', 'http://nowhere.office.internal/', status=97)
    p.curl('-x', 'socks5://127.0.0.1:1080', 'http://10.9.0.2:81/', status=97)
    check('10.9.0.2:81: the connection was refused' in p.lines(), p.lines())
    check('nowhere.office.internal:80: the name of the host is unknown' in p.lines(), p.lines())
    exchange_by_socks(p)


def exchange_by_socks(p):
    s = p.connect(1080)
    s.sendall(b'\5\1\0\5\1\0\1\x0a\x09\0\2\0\7')
    check(take(s, 2) == b'\5\0', 'method')
    check(take(s, 10)[:2] == b'\5\0', 'reply')
    exchange(s, 8 << 20)


@test
def socks_with_user_and_password(lab):
    p = Proxy(lab, SOCKS + 'Username = alice\nPassword = a#b c\n')
    p.curl('-x', 'socks5://alice:a%23b%20c@127.0.0.1:1080', 'http://10.9.0.2/')
    p.curl('-x', 'socks5://alice:wrong@127.0.0.1:1080', 'http://10.9.0.2/', status=97)
    p.curl('-x', 'socks5://127.0.0.1:1080', 'http://10.9.0.2/', status=97)
    check('a#b' not in p.lines(), 'the log has no password')


@test
def socks_for_datagrams(lab):
    p = Proxy(lab, SOCKS)
    s = p.connect(1080)
    s.sendall(b'\5\1\0\5\3\0\1\0\0\0\0\0\0')
    reply = take(s, 12)
    check(reply[:6] == b'\5\0\5\0\0\1', repr(reply))
    d = p.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('127.0.0.1', 0))
    at = ('127.0.0.1', struct.unpack('>H', reply[10:12])[0])
    for head, answered in ((b'\0\0\0\1\x0a\x09\0\2\0\7', b'\0\0\0\1\x0a\x09\0\2\0\7'),
                           (b'\0\0\0\4' + socket.inet_pton(socket.AF_INET6, 'fd09::2') + b'\0\7', None),
                           (b'\0\0\0\3\x12db.office.internal\0\7', None)):
        for payload in b'', b'x', blob(1300):
            d.sendto(head + payload, at)
            got = d.recv(65536)
            check(got.endswith(payload) and (answered is None or got == answered + payload), repr(got[:40]))
    s.close()


@test
def http_by_connect_and_url(lab):
    p = Proxy(lab, HTTP)
    proxy = 'http://127.0.0.1:3128'
    for host in '10.9.0.2', '[fd09::2]', 'db.office.internal':
        plain = p.curl('-x', proxy, f'http://{host}/x?y', '-d', 'body')
        check(plain.startswith('POST /x?y HTTP/1.1\n') and plain.endswith('\n\nbody'), plain)
        check(f'Host: {host}\n' in plain and 'Proxy-Connection' not in plain, plain)
        tunnel = p.curl('-x', proxy, '--proxytunnel', f'http://{host}/z')
        check(tunnel.startswith('GET /z HTTP/1.1\n'), tunnel)
    equal(p.curl('-x', proxy, 'http://10.9.0.2/bytes/3000000', '-o', '/dev/null', '-w', '%{size_download}'), '3000000',
          'bytes')
    got = p.curl('-x', proxy, 'http://10.9.0.2:81/', '-w', '%{http_code}')
    equal(got, '10.9.0.2:81: the connection was refused\n502', 'answer')
    p.curl('-x', proxy, '--proxytunnel', 'http://10.9.0.2:81/', status=56)


@test
def http_with_user_and_password(lab):
    p = Proxy(lab, HTTP + 'Username = alice\nPassword = secret\n')
    got = p.curl('-x', 'http://alice:secret@127.0.0.1:3128', 'http://10.9.0.2/')
    check('uthorization' not in got, got)
    got = p.curl('-x', 'http://alice:wrong@127.0.0.1:3128', 'http://10.9.0.2/', '-o', '/dev/null', '-w', '%{http_code}')
    equal(got, '407', 'status')


@test
def forwards_connections_both_ways(lab):
    p = Proxy(lab, f'[TCPClientTunnel]\nBindAddress = 127.0.0.1:7007\nTarget = db:7\n'
                   f'[TCPClientTunnel]\nBindAddress = unix:{TMP}/echo.sock\nTarget = 10.9.0.2:7\n'
                   f'[TCPServerTunnel]\nListenPort = 7008\nTarget = localhost:7\n', start=False)
    os.chmod(TMP, 0o777)
    Servers(p.a).tcp(echo, 7)
    p.start('--remote', '7009=127.0.0.1:8')
    exchange(p.connect(7007), 16 << 20)
    s = p.a.socket(socket.AF_UNIX, socket.SOCK_STREAM, timeout=20)
    s.connect(f'{TMP}/echo.sock')
    exchange(s)
    for family, address in (socket.AF_INET, '10.9.0.1'), (socket.AF_INET6, 'fd09::1'):
        s = p.b.socket(family, socket.SOCK_STREAM, timeout=20)
        s.connect((address, 7008))
        exchange(s, 4 << 20)
    s = p.b.socket(socket.AF_INET, socket.SOCK_STREAM, timeout=20)
    s.connect(('10.9.0.1', 7009))  # nothing listens behind it
    with contextlib.suppress(ConnectionError):
        equal(s.recv(1), b'', 'data of a refused target')


@test
def forwards_datagrams_both_ways(lab):
    p = Proxy(lab, '[UDPClientTunnel]\nBindAddress = 127.0.0.1:7007\nTarget = db.office.internal:7\n'
                   '[UDPServerTunnel]\nListenPort = 7008\nTarget = 127.0.0.1:7\n', start=False)
    Servers(p.a).udp(lambda data: data, 7)
    p.start()
    for host, address in (p.a, ('127.0.0.1', 7007)), (p.b, ('10.9.0.1', 7008)):
        senders = [host.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for round in range(3):
            for number, s in enumerate(senders):
                data = blob(100 * number + round) + bytes([number])
                s.sendto(data, address)
                equal(s.recv(65536), data, 'answer')


@test
def standard_input_and_output(lab):
    p = Proxy(lab, start=False)
    for target in 'db:7', '[fd09::2]:7':
        process = p.a.popen(p.command('stdio', target), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
        data = random.Random(1).randbytes(3 << 20).hex()
        out, said = process.communicate(data, 30)
        check(out == data, f'{len(out)} of {len(data)} characters came back: {said}')
        equal(process.returncode, 0, 'exit status')
    got = p.a.try_run(p.command('stdio', '10.9.0.2:8'))
    equal(got.returncode, 1, 'exit status of a refused connection')
    check('stdio: 10.9.0.2:8: the connection was refused' in got.output, got.output)


@test
def works_with_wireguard_go(lab):
    need('wireguard-go')
    p = Proxy(lab, SOCKS, program='wireguard-go')
    exchange_by_socks(p)
    p.curl('-x', 'socks5h://127.0.0.1:1080', 'http://db/')


@test
def a_slow_client_takes_little_memory(lab):
    p = Proxy(lab, SOCKS)
    exchange_by_socks(p)
    before, size = p.rss_kib(), 40_000_000
    slow = [p.connect(1080) for _ in range(5)]
    for s in slow:
        s.sendall(b'\5\1\0\5\1\0\1\x0a\x09\0\2\0\x50GET /bytes/%d HTTP/1.1\r\n\r\n' % size)
    time.sleep(3)
    growth = (p.rss_kib() - before) / len(slow)
    lab.say(f'{growth:.0f} KiB for each slow client')
    check(growth < 6000, f'{growth:.0f} KiB for each client that does not read')
    total = 0
    while data := slow[0].recv(1 << 18):
        total += len(data)
    check(total > size, f'{total} bytes arrived')


@test
def says_that_no_peer_answers(lab):
    p = Proxy(lab, start=False)
    p.b.wg(f'set wg0 peer {p.key_a.public} remove')
    got = p.a.try_run(p.command('stdio', '10.9.0.2:7'), timeout=50)
    equal(got.returncode, 1, 'exit status')
    check('10.9.0.2:7: no answer in time; no peer has answered yet: look at its Endpoint' in got.output, got.output)


@test
def netcat_by_socks_and_http(lab):
    need('nc')
    p = Proxy(lab, SOCKS + HTTP)
    for version, port in ('5', 1080), ('connect', 3128):
        command = ['nc', '-N', '-X', version, '-x', f'127.0.0.1:{port}', 'db.office.internal', '7']
        got = p.a.run(command, input='hello\n')
        equal(got, 'hello\n', 'answer')


@test
def stdio_carries_ssh(lab):
    need('ssh', 'ssh-keygen')
    sshd = os.environ.get('SSHD', '/usr/sbin/sshd')
    if not os.path.exists(sshd):
        skip('sshd is not installed')
    p = Proxy(lab, start=False)
    for name in 'host', 'user':
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{TMP}/{name}'], check=True)
    os.makedirs('/run/sshd', exist_ok=True)
    p.b.popen([sshd, '-D', '-e', '-f', '/dev/null', '-o', 'ListenAddress=10.9.0.2:2222', '-o',
               f'HostKey={TMP}/host', '-o', f'AuthorizedKeysFile={TMP}/user.pub', '-o', 'StrictModes=no', '-o',
               'PermitRootLogin=yes', '-o', 'UsePAM=no', '-o', f'PidFile={TMP}/sshd.pid'], stderr=subprocess.DEVNULL)
    with contextlib.suppress(OSError):
        wait_until(lambda: ':2222' in p.b.run('ss -Hltn'), 5, 'sshd listens')
    got = p.a.run(['ssh', '-F', '/dev/null', '-o', f'ProxyCommand={" ".join(p.command("-s", "stdio", "%h:%p"))}', '-o',
                   'StrictHostKeyChecking=no', '-o', f'UserKnownHostsFile={TMP}/known', '-i', f'{TMP}/user', '-p',
                   '2222', 'root@10.9.0.2', 'echo through the tunnel; head -c 3000000 /dev/zero | wc -c'])
    check('through the tunnel\n3000000\n' in got, got)


@test
def connections_survive_a_restart_of_the_daemon(lab):
    p = Proxy(lab, SOCKS, keepalive=True)
    s = p.connect(1080)
    s.sendall(b'\5\1\0\5\1\0\1\x0a\x09\0\2\0\7')
    check(len(take(s, 12)) == 12, 'reply')
    s.sendall(b'before')
    equal(take(s, 6), b'before', 'answer')
    p.b.wg(f'set wg0 peer {p.key_a.public} remove')
    s.sendall(b'while it is gone')
    time.sleep(1)
    p.set_peer()
    s.settimeout(30)
    equal(take(s, 16), b'while it is gone', 'answer')


@test(seconds=120)
def a_thousand_idle_connections_take_little_memory(lab):
    p = Proxy(lab, SOCKS)
    exchange_by_socks(p)
    before, sockets, count = p.rss_kib(), [], 1000
    for _ in range(count):
        s = p.connect(1080)
        s.sendall(b'\5\1\0\5\1\0\1\x0a\x09\0\2\0\7hello')
        sockets.append(s)
    for s in sockets:
        got = take(s, 17)
        check(got[12:] == b'hello', f'got {got!r}: {p.lines()}')
    each = (p.rss_kib() - before) / count
    lab.say(f'{each:.1f} KiB for each connection')
    check(each < 6, f'{each:.1f} KiB for each idle connection')
    for s in sockets:
        s.close()
    exchange_by_socks(p)


@test
def errors_of_the_configuration_end_it_with_a_line(lab):
    p = Proxy(lab, '[Socks5]\nBindAdress = 127.0.0.1:1080\n', start=False)
    got = p.a.try_run(p.command())
    equal(got.returncode, 2, 'exit status')
    equal(got.output, f'wgproxy: {p.config}:10: `BindAdress` is no key of this section; mend its spelling, or remove '
                      'the line\n', 'error')
    p = p.a.try_run([WGPROXY, '--socks', '127.0.0.1:1080'])
    equal((p.returncode, p.output), (2, 'wgproxy: the file with the tunnel is missing; give it by --config FILE\n'),
          'error')


@test
def a_taken_address_ends_it_with_a_line(lab):
    p = Proxy(lab, SOCKS)
    got = p.a.try_run(p.command())
    equal(got.returncode, 2, 'exit status')
    check('[Socks5]: cannot listen at 127.0.0.1:1080: Address already in use; another program uses it' in got.output,
          got.output)


@test(long=True, seconds=300)
def a_gigabyte_each_way(lab):
    p = Proxy(lab, SOCKS)
    s = p.connect(1080)
    s.sendall(b'\5\1\0\5\1\0\1\x0a\x09\0\2\0\7')
    check(len(take(s, 12)) == 12, 'reply')
    start = time.monotonic()
    exchange(s, 1 << 30)
    lab.say(f'{8.59 / (time.monotonic() - start):.2f} Gbit/s each way')


if __name__ == '__main__':
    main(__doc__)
