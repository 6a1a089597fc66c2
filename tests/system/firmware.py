#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""firmware suite: the node of samples/firmware on emulated boards, and a daemon on Linux at the other end of the wire.

The wire is a TAP device of the daemon's host, this process, and the emulator's frames in UDP on the loopback interface.
So a test sees every frame, and can drop, delay, change and inject frames. The board's random source is seeded, so a
test knows every ephemeral key, and Wireshark's dissector can decrypt all messages.
"""
import base64
import collections
import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from checks import check, equal, need, wait_until
from hosts import die_with_parent, family_of
from runner import main, test
from wg_tools import ROOT, TMP, Key, endpoint, pass_initiation_interval, psk, public_key

sys.path.insert(0, os.path.join(ROOT, 'tests'))
import cases  # noqa: E402

BUILT = f'{TMP}/firmware'
NETWORK = {board: ('qemu-system-arm', ['-net', 'nic,netdev=wire,model=lan9118,macaddr=52:54:00:00:00:07'])
           for board in ('mps2-an385', 'mps2-an386', 'mps2-an505', 'mps3-an547')}
NETWORK['virt'] = ('qemu-system-riscv32', ['-m', '16M', '-bios', 'none', '-global', 'virtio-mmio.force-legacy=false',
                                           '-device', 'virtio-net-device,netdev=wire,mac=52:54:00:00:00:07'])
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000
OUTER, INNER = {4: '192.0.2.7', 6: '2001:db8::7'}, {4: '10.9.0.7', 6: 'fd09::7'}  # the board's
PORT, ECHO_PORT = 51820, 7
SIZES = 0, 64, 512, 1372  # sizes of UDP payloads; the largest fills the MTU over IPv6


def build(board, small=False):
    """The image of a board, which is built once in a run."""
    compiler = 'riscv64-unknown-elf-g++' if board == 'virt' else 'arm-none-eabi-g++'
    need('make', 'arm-none-eabi-g++', compiler)
    out = f'{BUILT}/{"small" if small else "fast"}'
    made = subprocess.run(['make', '-s', '-C', f'{ROOT}/samples/firmware', f'BOARD={board}', f'OUT={out}',
                           *(['WERROR=-Werror'] if cases.warnings_are_errors(compiler) else []),
                           *(['SMALL=1'] if small else [])],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(made.returncode == 0, f'{board} does not build: {made.stdout}')
    return f'{out}/wg-{board}.elf'


class Wire:
    """Carries frames between a TAP device and an emulator, in a thread of its own, and keeps all frames."""

    def __init__(self, host, device='wire'):
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)  # of the emulator's namespace
        with host.inside():
            self.tap = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tap, TUNSETIFF, struct.pack('16sH22x', device.encode(), IFF_TAP | IFF_NO_PI))
        host.address(device, '192.0.2.1/24', '2001:db8::1/64')
        host.ip(f'link set {device} up')
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(('127.0.0.1', 0))
        self.socket.setblocking(False)
        self.board = None      # where the emulator listens
        self.frames = []       # [(time, whether the board sent it, frame)]
        self.meddle = lambda frame, of_board: [frame]  # what of it goes on
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set():
            ready = select.select([self.tap, self.socket], [], [], 0.1)[0]
            with contextlib.suppress(BlockingIOError):
                if self.socket in ready:
                    for _ in range(64):
                        self._pass(self.socket.recv(65536), True)
            with contextlib.suppress(BlockingIOError, OSError):
                if self.tap in ready:
                    for _ in range(64):
                        self._pass(os.read(self.tap, 65536), False)

    def _pass(self, frame, of_board):
        self.frames.append((time.time(), of_board, frame))
        for each in self.meddle(frame, of_board):
            if of_board:
                with contextlib.suppress(OSError):
                    os.write(self.tap, each)
            else:
                self.to_board(each)

    def to_board(self, frame):
        if self.board:
            with contextlib.suppress(OSError):
                self.socket.sendto(frame, ('127.0.0.1', self.board))

    def messages(self, kind, of_board):
        """The WireGuard messages of one type that one side sent."""
        found = []
        for _, sender, f in list(self.frames):
            payload = f[42:] if f[12:14] == b'\x08\x00' else f[62:]
            ip_protocol = f[23:24] if f[12:14] == b'\x08\x00' else f[20:21]
            if sender == of_board and f[12:14] in (b'\x08\x00', b'\x86\xdd') and ip_protocol == b'\x11' and \
                    payload[:4] == bytes([kind, 0, 0, 0]):
                found.append(payload)
        return found

    def close(self):
        self.stopping.set()
        self.thread.join()
        os.close(self.tap)
        self.socket.close()


class Board:
    """An emulated board that runs the firmware. Its console is a pipe."""

    def __init__(self, lab, wire, board='mps2-an385', options=(), small=False):
        emulator, network = NETWORK[board]
        need(emulator)
        self.lab, self.wire, self.board = lab, wire, board
        image = build(board, small)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(('127.0.0.1', 0))
            wire.board = probe.getsockname()[1]
        self.qmp_path = f'{TMP}/qmp.{wire.board}'
        self.process = subprocess.Popen(
            [emulator, '-M', board, '-kernel', image, '-display', 'none', '-serial', 'stdio', '-qmp',
             f'unix:{self.qmp_path},server=on,wait=off', '-netdev', 'socket,id=wire,udp=127.0.0.1:'
             f'{wire.socket.getsockname()[1]},localaddr=127.0.0.1:{wire.board}', *network, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        lab.sockets.append(self)

    def operation(self, text, timeout=10):
        """Types one operation with its final empty line; returns the answer."""
        self.process.stdin.write((text.strip() + '\n\n').encode())
        self.process.stdin.flush()
        answer, end = b'', time.monotonic() + timeout
        while not answer.endswith(b'\n\n'):
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            check(ready, f'{self.board} did not answer in {timeout} s; it said {answer!r}')
            more = os.read(self.process.stdout.fileno(), 65536)
            check(more, f'the emulator of {self.board} ended: {answer!r}')
            answer += more
        return answer.decode()

    def ask(self, text):
        answer = self.operation(text)
        check(answer.endswith('errno=0\n\n'), f'{self.board}: {answer!r} to {text!r}')
        return answer

    def state(self):
        """The answer to a `get` with one peer, as a dictionary."""
        return dict(line.split('=', 1) for line in self.ask('get=1').splitlines() if line)

    def qmp(self, *commands):
        """Runs commands of the emulator's monitor."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(10)
            s.connect(self.qmp_path)
            stream = s.makefile('rw')
            stream.readline()
            for command in ({'execute': 'qmp_capabilities'}, *commands):
                stream.write(json.dumps(command) + '\n')
                stream.flush()
                while 'return' not in (answer := json.loads(stream.readline())):
                    check('error' not in answer, f'{command}: {answer}')

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def with_each_peer(seconds=60):
    """Marks test(lab, program): run once with the daemon under test at the other end, and once with wireguard-go."""
    def mark(function):
        def ours(lab):
            function(lab, None)

        def theirs(lab):
            need('wireguard-go')
            function(lab, 'wireguard-go')
        ours.__name__, theirs.__name__ = function.__name__, function.__name__ + '_with_wireguard_go'
        for each in ours, theirs:
            test(each, seconds=seconds)
        return function
    return mark


def hexadecimal(key):
    return base64.b64decode(key).hex()


class Pair:
    """A daemon on the host `linux`, the firmware at the other end; each knows the other's key."""

    def __init__(self, lab, outer=4, initiator='both', program=None, keepalive=0, secret=None, **options):
        self.lab, self.outer = lab, outer
        self.linux = lab.host('linux')
        self.wire = Wire(self.linux)
        lab.sockets.insert(0, self.wire)  # closed last
        self.key, self.board_key, self.seed, self.boots = Key(), Key(), os.urandom(32), 1
        self.secret, self.keepalive, self.initiator, self.options = secret, keepalive, initiator, options
        self.program = program
        self.daemon = self.linux.daemon('wg0', program=program)
        self.configure_linux()
        self.board = self.start_board()

    def configure_linux(self):
        self.introduce_board()
        self.linux.address('wg0', '10.9.0.1/24', 'fd09::1/64')
        self.linux.ip('link set wg0 mtu 1420 up')

    def introduce_board(self):
        """Configures the daemon again, which ends its sessions."""
        knows = self.initiator in ('linux', 'both')
        self.linux.setconf('wg0', f'[Interface]\nPrivateKey = {self.key.private}\nListenPort = {PORT}\n'
                           f'[Peer]\nPublicKey = {self.board_key.public}\nAllowedIPs = {INNER[4]}, {INNER[6]}\n'
                           + (f'PresharedKey = {self.secret}\n' if self.secret else '')
                           + (f'Endpoint = {endpoint(OUTER[self.outer], PORT)}\n' if knows else ''))

    def start_board(self):
        board = Board(self.lab, self.wire, **self.options)
        board.ask(f'board=1\nseed={self.seed.hex()}\nboots={self.boots}\naddress={OUTER[4]}/24\n'
                  f'address={OUTER[6]}/64\ninner={INNER[4]}\ninner={INNER[6]}')
        where = endpoint({4: '192.0.2.1', 6: '2001:db8::1'}[self.outer], PORT)
        board.ask(f'set=1\nprivate_key={hexadecimal(self.board_key.private)}\nlisten_port={PORT}\n'
                  f'public_key={hexadecimal(self.key.public)}\nallowed_ip=10.9.0.1/32\nallowed_ip=fd09::1/128\n'
                  + (f'preshared_key={hexadecimal(self.secret)}\n' if self.secret else '')
                  + (f'endpoint={where}\n' if self.initiator in ('board', 'both') else '')
                  + (f'persistent_keepalive_interval={self.keepalive}\n' if self.keepalive else ''))
        return board

    def restart_board(self):
        """Turns the board off and on, with another random seed."""
        self.lab.sockets.remove(self.board)
        self.board.close()
        self.boots += 1
        self.seed = os.urandom(32)
        self.board = self.start_board()

    def works(self, **how):
        for version in 4, 6:
            self.linux.ping(INNER[version], **how)

    def echo(self, version, size, count, window=4, wait=2.0):
        """Sends `count` datagrams of one size to the board's echo port; returns how many came back, all unchanged."""
        s = self.linux.socket(family_of(INNER[version]), socket.SOCK_DGRAM, timeout=wait)
        s.connect((INNER[version], ECHO_PORT))
        data = random.randbytes(size)
        back = sent = 0
        under_way = collections.deque()
        while back < count and (sent < count or under_way):
            while sent < count and len(under_way) < window:
                under_way.append(sent)
                s.send((sent.to_bytes(4, 'big') + data[4:])[:size])
                sent += 1
            try:
                got = s.recv(2048)
            except socket.timeout:
                under_way.popleft()  # lost, or very late
                continue
            check(len(got) == size and got[4:] == data[4:], f'a datagram of {size} bytes came back changed')
            number = int.from_bytes(got[:4], 'big')
            if size < 4:
                under_way.popleft()
            elif number in under_way:
                under_way.remove(number)
            back += 1
        s.close()
        return back


# --------------------------------------------------------------------------------------------------------- the tests

@test
def images_have_no_heap_and_no_exceptions(lab):
    for small in False, True:
        image = build('mps2-an385', small)
        symbols = subprocess.check_output(['arm-none-eabi-nm', '-C', image], text=True)
        found = [line for line in symbols.splitlines()
                 if re.search(r' (malloc|calloc|realloc|free|_sbrk|operator (new|delete).*|__cxa_throw|_Unwind.*|'
                              r'__gxx_personality.*|__aeabi_unwind.*|__cxa_atexit|__aeabi_atexit)$', line)]
        check(not found, f'in the image: {found}')
        sections = subprocess.check_output(['arm-none-eabi-readelf', '-SW', image], text=True)
        check(not re.search(r'\.(ARM\.ex|eh_frame|init_array)', sections), f'sections: {sections}')
        size = subprocess.check_output(['arm-none-eabi-size', image], text=True).splitlines()[1].split()
        lab.say(f'{"small" if small else "fast"}: text {size[0]}, data {size[1]}, bss {size[2]}')


def runs_on(board, small=False):
    def boots(lab):
        p = Pair(lab, board=board, small=small)
        p.works()
        for version in 4, 6:
            equal(p.echo(version, 512, 20), 20, 'datagrams that came back')
    boots.__name__ = f'runs_on_{board.replace("-", "_")}' + ('_small' if small else '')
    test(boots)


for name in NETWORK:
    runs_on(name)
runs_on('mps2-an385', small=True)


def handshake(lab, outer, initiator, **options):
    p = Pair(lab, outer, initiator, keepalive=25 if initiator == 'board' else 0, **options)
    if initiator == 'board':
        wait_until(lambda: p.linux.show('wg0').peer.latest_handshake, 10, 'the board shakes hands by itself')
    p.works()
    equal((len(p.wire.messages(1, True)), len(p.wire.messages(1, False))), (1, 0) if initiator == 'board' else (0, 1),
          'initiations of the board and of linux')
    mine, theirs = p.board.state(), p.linux.show('wg0').peer
    equal(mine['public_key'], hexadecimal(p.key.public), 'the peer that the board shows')
    check(theirs.rx == int(mine['tx_bytes']) and theirs.tx == int(mine['rx_bytes']), 'both count the same bytes')
    return p


@test
def the_board_answers_over_ipv4(lab):
    handshake(lab, 4, 'linux')


@test
def the_board_answers_over_ipv6(lab):
    handshake(lab, 6, 'linux')


@test
def the_board_initiates_over_ipv4(lab):
    handshake(lab, 4, 'board')


@test
def the_board_initiates_over_ipv6_with_a_preshared_key(lab):
    handshake(lab, 6, 'board', secret=psk())


@test
def wrong_operations_are_refused_and_change_nothing(lab):
    p = Pair(lab)
    before = p.board.operation('get=1')
    for text, answer in (('board=1\nnonsense=1', 'errno=-22'), ('board=1\naddress=192.0.2.300/24', 'errno=-22'),
                         ('board=1\naddress=192.0.2.7', 'errno=-22'), ('board=1\nseed=00', 'errno=-22'),
                         ('board=1\n' + 'x' * 300, 'errno=-22'), ('set=1\nlisten_port=65536', 'errno=-22'),
                         ('set=1\n' + 'private_key=' + '0' * 300, 'errno=-71'), ('hello=1', 'errno=-71')):
        equal(p.board.operation(text).strip(), answer, f'answer to {text[:40]!r}')
    equal(p.board.operation('get=1'), before, 'what `get` says afterwards')
    p.works()


@with_each_peer(seconds=240)
def every_size_passes_both_ways(lab, program):
    p = Pair(lab, program=program)
    p.works(count=20, size=1372)
    start, total = time.monotonic(), 0
    for version in 4, 6:
        for size in SIZES:
            back = p.echo(version, size, 2000)
            equal(back, 2000, f'datagrams of {size} bytes over IPv{version} that came back')
            total += 2 * back
    lab.say(f'{total / (time.monotonic() - start):.0f} packets/s')
    state = p.board.state()
    check(int(state['rx_bytes']) > 0 and state['last_handshake_time_sec'] is not None, 'the board counts')


@with_each_peer()
def only_lost_datagrams_are_missing_after_loss_and_reordering(lab, program):
    p = Pair(lab, program=program)
    p.works()
    rng, held, lost = random.Random(5), {True: [], False: []}, collections.Counter()

    def meddle(frame, of_board):
        if frame[12:14] != b'\x08\x00' or len(frame) < 42 + 32 or frame[42:46] != b'\x04\0\0\0':
            return [frame]
        if rng.random() < 0.1:
            lost[of_board] += 1
            return []
        if rng.random() < 0.2 and not held[of_board]:  # overtaken by the next one
            held[of_board].append(frame)
            return []
        behind, held[of_board] = held[of_board], []
        return [frame, *behind]
    p.wire.meddle = meddle
    back = p.echo(4, 200, 1000, window=8, wait=0.05)
    p.wire.meddle = lambda frame, of_board: [frame]
    gone = lost[True] + lost[False]
    check(gone > 100, f'only {gone} packets were lost on the way')
    check(back >= 1000 - gone - 8, f'{back} of 1000 came back, although only {gone} were lost')
    p.works()
    lab.say(f'{gone} lost, {back} of 1000 back')


@with_each_peer()
def lost_handshakes_are_repeated(lab, program):
    p = Pair(lab, program=program, initiator='board')
    dropped = []

    def lose_first(frame, of_board):
        kind = frame[42:46] if frame[12:14] == b'\x08\x00' and len(frame) > 100 else b''
        if kind in (b'\x01\0\0\0', b'\x02\0\0\0') and kind not in dropped:
            dropped.append(kind)
            return []
        return [frame]
    p.wire.meddle = lose_first
    p.board.ask(f'set=1\npublic_key={hexadecimal(p.key.public)}\npersistent_keepalive_interval=25')
    wait_until(lambda: p.linux.show('wg0').peer.latest_handshake and p.linux.ping_output(INNER[4]).returncode == 0, 30,
               'a session after a lost initiation and a lost response')
    equal(len(dropped), 2, 'messages that were lost')
    check(len(p.wire.messages(1, True)) >= 3, 'the board repeated its initiation twice')


@with_each_peer()
def either_end_may_restart(lab, program):
    p = Pair(lab, program=program)
    p.works()
    p.daemon.stop(signal.SIGKILL)
    wait_until(lambda: not p.linux.link_exists('wg0'), what='the interface goes with the daemon')
    p.daemon = p.linux.daemon('wg0', program=p.program)
    p.configure_linux()
    p.works()
    before = p.linux.show('wg0').peer.rx
    p.restart_board()
    p.board.ask(f'set=1\npublic_key={hexadecimal(p.key.public)}\npersistent_keepalive_interval=25')
    wait_until(lambda: p.linux.show('wg0').peer.rx == before + 148 + 32, 10, 'the board shakes hands by itself')
    p.works()


@with_each_peer()
def an_address_that_changes_is_followed(lab, program):
    p = Pair(lab, program=program)
    p.works()
    p.board.ask('board=1\naddress=192.0.2.77/24')
    p.board.ask(f'set=1\npublic_key={hexadecimal(p.key.public)}\npersistent_keepalive_interval=1')
    wait_until(lambda: p.linux.show('wg0').peer.endpoint == f'192.0.2.77:{PORT}', 5, 'linux follows the board')
    p.works()
    p.linux.wg('set wg0 listen-port 51999')
    p.works()
    equal(p.board.state()['endpoint'], '192.0.2.1:51999', 'the board follows linux')


@with_each_peer()
def a_node_under_load_sends_cookie_replies_and_answers_initiations_with_cookies(lab, program):
    p = Pair(lab, program=program)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'hsflood.py')
    # So the node drops a message, and not a controller whose buffer is full.
    flood = p.linux.popen([sys.executable, script, OUTER[4], str(PORT), p.board_key.public, '20', '32'])
    wait_until(lambda: p.wire.messages(3, True), 10, 'cookie replies of the board')
    p.linux.ping(INNER[4], wait=15)
    check(flood.poll() is None, 'the flood was still going on')
    with_cookie = [m for m in p.wire.messages(1, False) if len(m) >= 148 and m[132:148] != bytes(16)]
    check(with_cookie, 'an initiation of linux carries a cookie')
    flood.kill()
    wait_until(lambda: p.linux.ping_output(INNER[4]).returncode == 0, 10, 'an answer when the flood is over')
    p.works()
    lab.say(f'{len(p.wire.messages(3, True))} cookie replies')


@with_each_peer(seconds=120)
def sessions_are_renewed_when_they_get_old(lab, program):
    """The emulator skips time in which the board sleeps, so two minutes of the board take a few seconds."""
    p = Pair(lab, program=program, initiator='board', keepalive=25, options=('-icount', 'shift=4,align=off,sleep=off'))
    def renewed():
        return len(p.wire.messages(1, True)) >= 4 and len(p.wire.messages(2, False)) >= 3
    wait_until(lambda: p.linux.show('wg0').peer.latest_handshake, 20, 'the first session')
    wait_until(renewed, 90, 'three more sessions')
    answered = wait_until(lambda: p.linux.ping_output(INNER[4]).returncode == 0, 10, 'an answer')
    check(answered, 'traffic in the last session')


@test
def wireguard_go_is_answered_and_answers(lab):
    need('wireguard-go')
    for outer, initiator in (4, 'linux'), (6, 'linux'), (4, 'board'), (6, 'board'):
        handshake(lab, outer, initiator, program='wireguard-go')
        lab.clear()


# ------------------------------------------------------------------------------------- every message, read by others

def ephemerals(seed, count=64):
    """The board's ephemeral private keys, in order (samples/firmware/seeded_random.hpp)."""
    for n in range(count):
        key = bytearray(hashlib.blake2s(n.to_bytes(8, 'little'), key=seed).digest())
        key[0] &= 248
        key[31] = key[31] & 127 | 64
        yield base64.b64encode(key).decode()


def write_pcap(path, frames):
    with open(path, 'wb') as f:
        f.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for when, _, frame in frames:
            f.write(struct.pack('<IIII', int(when), int(when % 1 * 1e6), len(frame), len(frame)) + frame)


@with_each_peer()
def a_dissector_with_the_keys_reads_every_message(lab, program):
    need('tshark')
    p = Pair(lab, program=program, initiator='board', keepalive=25, secret=psk())
    wait_until(lambda: p.linux.show('wg0').peer.latest_handshake, 10, 'the board shakes hands by itself')
    p.works(count=5)
    equal(p.echo(6, 300, 20), 20, 'datagrams that came back')
    p.introduce_board()  # and a session of which the board is the responder
    pass_initiation_interval()
    p.linux.wg(f'set wg0 peer {p.board_key.public} endpoint {OUTER[4]}:{PORT}')
    p.works(count=5)
    check(p.wire.messages(1, True) and p.wire.messages(2, True), 'the board has sent initiations and responses')

    sent = {m[8:40] for m in p.wire.messages(1, True)} | {m[12:44] for m in p.wire.messages(2, True)}
    known = {base64.b64decode(public_key(e)): e for e in ephemerals(p.seed)}
    check(sent <= set(known), 'every ephemeral key of the board is one that its seed makes')
    keys, capture = f'{TMP}/keys', f'{TMP}/capture.pcap'
    with open(keys, 'w') as f:
        print(f'LOCAL_STATIC_PRIVATE_KEY={p.board_key.private}', file=f)
        print(f'REMOTE_STATIC_PUBLIC_KEY={p.key.public}', file=f)
        for public in sent:
            print(f'LOCAL_EPHEMERAL_PRIVATE_KEY={known[public]}\nPRESHARED_KEY={p.secret}', file=f)
    write_pcap(capture, p.wire.frames)
    read = subprocess.run(['tshark', '-r', capture, '-o', f'wg.keylog_file:{keys}', '-Y', 'wg', '-T', 'fields',
                           '-E', 'separator=,', '-e', 'wg.type', '-e', 'wg.timestamp.value', '-e', 'wg.handshake_ok',
                           '-e', 'wg.keepalive', '-e', '_ws.col.Protocol', '-e', 'frame.protocols'], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(read.returncode == 0, f'tshark: {read.stderr}')
    kinds, unread = collections.Counter(), []
    for line in read.stdout.splitlines():
        kind, timestamp, ok, keepalive, _, protocols = line.split(',', 5)
        kind = int(kind, 0)
        kinds[kind] += 1
        fine = {1: timestamp, 2: ok.lower() in ('1', 'true'), 4: keepalive or re.search(r'wg:ip', protocols)}[kind]
        if not fine:
            unread.append(line)
    check(not unread, f'not decrypted: {unread[:3]}')
    check(kinds[1] >= 2 and kinds[2] >= 2 and kinds[4] >= 30, f'messages of each kind: {dict(kinds)}')
    lab.say(f'{kinds[1]} initiations, {kinds[2]} responses, {kinds[4]} transport messages')


# ------------------------------------------------------------------------------------------------------- bad frames

@test(seconds=300)
def bad_frames_do_no_harm(lab):
    """After 100,000 random and changed frames the board still answers, and unused memory is unchanged."""
    p = Pair(lab)
    p.works()
    image = build('mps2-an385')
    symbols = {line.split()[-1]: int(line.split()[0], 16)
               for line in subprocess.check_output(['arm-none-eabi-nm', image], text=True).splitlines()
               if len(line.split()) == 3}
    code = 512 << 10, 0
    free = symbols['stack_top'] - symbols['bss_end'] - (64 << 10), symbols['bss_end']  # all but the stack's 64 KiB

    def memory():
        found = []
        for name, (size, at) in ('code', code), ('free', free):
            path = f'{TMP}/{name}'
            p.board.qmp({'execute': 'pmemsave', 'arguments': {'val': at, 'size': size, 'filename': path}})
            with open(path, 'rb') as f:
                found.append(hashlib.sha256(f.read()).hexdigest())
        return found

    rng = random.Random(11)
    seeds = [f for _, of_board, f in p.wire.frames if not of_board]
    station = next(f for f in seeds if f[:6] == bytes.fromhex('525400000007'))[:6]
    asker = bytes.fromhex('020000000099')  # another station, which sends an ARP request
    question = b'\xff' * 6 + asker + bytes.fromhex('08060001080006040001') + asker + \
        bytes([192, 0, 2, 99]) + bytes(6) + socket.inet_aton(OUTER[4])
    before, sent = memory(), 0
    while sent < 100_000:
        for _ in range(40):
            f = bytearray(rng.choice(seeds))
            if rng.random() < 0.2:
                f[14:] = rng.randbytes(len(f) - 14)
            if rng.random() < 0.2:
                f = f[:rng.randrange(14, len(f) + 1)] + rng.randbytes(rng.choice((0, 0, 100)))
            for _ in range(rng.randrange(4)):
                f[rng.randrange(len(f))] ^= 1 << rng.randrange(8)
            if rng.random() < 0.8:
                f[:6] = station
            p.wire.to_board(bytes(f[:1514]))
            sent += 1
        # The controller holds about 50 frames. An answer shows that these frames were read, not dropped in a full
        # buffer.
        p.wire.frames.clear()
        p.wire.to_board(question)
        wait_until(lambda: any(of_board and f[12:14] == b'\x08\x06' and f[:6] == asker
                               for _, of_board, f in list(p.wire.frames)), 10, f'an answer after {sent} frames', 0.001)
    equal(memory(), before, 'code, and memory behind the variables and before the stack')
    p.linux.ip('neigh flush dev wire')  # a new ARP exchange: some frames gave the board wrong hardware addresses
    p.works()
    equal(p.echo(4, 200, 20), 20, 'datagrams that came back')


if __name__ == '__main__':
    main(__doc__, programs=('make', 'arm-none-eabi-g++', 'qemu-system-arm'))
