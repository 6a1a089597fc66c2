# SPDX-License-Identifier: BSL-1.0
"""Tools of wg(8) and of the configuration socket: keys, a running daemon, the output of `wg show`, a tunnel.

The daemon under test is the program in the environment variable WGD. Standard library only.
"""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

from checks import check, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WGD = os.environ.get('WGD') or os.path.join(ROOT, 'build', 'samples', 'wgd')
TMP = '/run/lab'  # exists only inside the private mount namespace


def pass_initiation_interval():
    """Waits until a peer that has accepted an initiation accepts another. All implementations accept at most 50 a
    second. For tests in which an end drops its session and starts another one."""
    time.sleep(0.025)


class Key:
    """A private key and its public key, as wg(8) prints them."""

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


class Daemon:
    """The daemon $WGD on one interface of a host, in the foreground. The constructor waits until the UAPI socket
    answers. `program` may be another program, or a list of a program and its first arguments."""

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
        """Whether the UAPI socket answers a `get`."""
        with contextlib.suppress(OSError):
            return self.uapi('get=1\n\n').endswith('errno=0\n\n')
        return False

    def uapi(self, request, timeout=5.0):
        """Sends bytes or text over the UAPI socket; returns the reply."""
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
        """The errno of the reply to one `set` or `get`; None if the daemon closed the connection without one."""
        found = re.search(r'^errno=(-?\d+)$', self.uapi(request), re.M)
        return int(found[1]) if found else None

    def running(self):
        return self.process.poll() is None

    def socket_exists(self):
        return os.path.exists(self.host.path(self.socket))

    def wait_exit(self, timeout=5.0):
        """Waits until the daemon ends; returns its exit status."""
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
        """Problems that fail every test: the daemon died of a signal that no test sent, or a sanitizer reported an
        error."""
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
    """Reads one UAPI reply: until the empty line, or until the other end closes the connection."""
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


class Tunnel:
    """Two connected hosts a and b with a daemon on each. wg0 is up on both, and each has the other as its only peer.

    On the wire ('veth') 192.0.2.1 and .2, 2001:db8::1 and ::2, ports 10001 and 10002; inside 10.9.0.1 and .2, fd09::1
    and ::2. `outer` is the IP version of the endpoints, `initiator` names the hosts that have an endpoint of the other,
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
        """The endpoint of `host`, as wg(8) prints it."""
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
        if up:
            host.settle()
        # The other end must not send its initiation before the port is open: it repeats it only after five seconds.
        if up and self.opens:
            wait_until(lambda: (4, 10000 + number) in host.udp_ports(), 5, f'{host}: the UDP port of wg0 is open')

    def set_psk(self, host, secret):
        """Sets the preshared key of the peer at `host`; None removes it."""
        source = '/dev/stdin' if secret else '/dev/null'
        host.wg(f'set wg0 peer {self.key[self.other(host).name].public} preshared-key {source}', secret)

    def works(self):
        """Pings pass the tunnel both ways, over IPv4 and IPv6."""
        self.a.ping('10.9.0.2')
        self.a.ping('fd09::2')
        self.b.ping('10.9.0.1')
        self.b.ping('fd09::1')


def endpoint(address, port):
    return f'[{address}]:{port}' if ':' in address else f'{address}:{port}'
