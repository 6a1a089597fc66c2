#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""kernel suite: the daemon against Linux's own WireGuard in a virtual machine (vm.py), and the daemon on that kernel.

    host (a namespace)                           guest (qemu, a distribution's kernel)
    wg0, the daemon's: 10.9.0.1 fd09::1          wg0, the kernel's: 10.9.0.2 fd09::2
    tap0: 192.0.2.1 2001:db8::1  --------------  eth0: 192.0.2.2 2001:db8::2

options: --kernel PACKAGE   this kernel package and not the distribution's first
         --cache FOLDER     where downloads are kept; else $XDG_CACHE_HOME/wg-tests or ~/.cache/wg-tests
         --megabytes N      size of the TCP transfers (20)

environment: UNIT, the program of the unit tests. Its tests of the operating system run in the guest, too.
"""
import contextlib
import ctypes
import hashlib
import os
import random
import socket
import struct
import subprocess
import sys
import time

import vm
from checks import check, equal, skip, wait_until
from hosts import Host
from runner import MESON_SKIP, main, test
from wg_tools import TMP, WGD, Key, Show, psk
from options import option

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE, CACHE, MEGABYTES = option('kernel', ''), option('cache', ''), option('megabytes', 20)
HOST4, HOST6, GUEST4, GUEST6 = '192.0.2.1', '2001:db8::1', '192.0.2.2', '2001:db8::2'
FLOOD_PORT = 40000  # of hsflood.py
UNIT = os.environ.get('UNIT', '')

known_failures = {'wireguard-go': {
    'daemon_drops_a_removed_source_address': 'version 0.0.20220316 goes on sending from an address that is gone'}}


# ------------------------------------------------------------------------------------------------- host and guest

class LastingHost(Host):
    """A host that exists for several tests, like the virtual machine connected to it. Its daemons end with each
    test."""

    def close(self):
        for process in self.processes[1:]:  # the first is qemu
            process.kill()
            process.wait()
            for pipe in process.stdin, process.stdout, process.stderr:
                if pipe:
                    pipe.close()
        del self.processes[1:], self.daemons[:]


class Machine:
    """The virtual machine and the host connected to it. The first test boots it; all tests use it."""

    booted = None

    def __init__(self, lab):
        self.host = LastingHost(lab, 'host')
        self.host.ip('tuntap add tap0 mode tap')
        self.host.ip('link set tap0 up')
        self.host.sysctl('net.ipv4.conf.all.promote_secondaries', 1)  # keeps the second address when the first goes
        files = f'{TMP}/guest'
        os.makedirs(files, exist_ok=True)
        image, initramfs = vm.prepare(vm.cache_dir(CACHE), PACKAGE or None, [p for p in (WGD, UNIT) if p])
        self.guest = vm.Guest(image, initramfs, files, 'tap0', self.host.popen)

    @classmethod
    def of(cls, lab):
        """The machine, booted and in its initial state, for one test."""
        m = cls.booted
        if not m or m.guest.process.poll() is not None:
            m = cls.booted = cls(lab)
        m.host.lab = lab
        lab.hosts.append(m.host)
        wait_until(lambda: not m.host.link_exists('wg0'), what='the last test\'s wg0 goes away')
        m.host.ip('addr flush dev tap0 scope global')
        m.host.address('tap0', f'{HOST4}/24', f'{HOST6}/64')
        m.guest.run(f'''
            for i in wg0 wg1; do ip link del $i 2>/dev/null; done
            ip addr flush dev eth0 scope global; ip link set eth0 up
            ip addr add {GUEST4}/24 dev eth0; ip addr add {GUEST6}/64 dev eth0''')
        return m


class Tunnel:
    """wg0 at both ends; only the initiator has an endpoint of the other. The guest runs the kernel's WireGuard or a
    program."""

    def __init__(self, lab, initiator='daemon', outer=4, daemon_psk=None, kernel_psk=None, guest_program=None,
                 host_program=None):
        m = Machine.of(lab)
        self.guest_program = guest_program
        self.host, self.guest, self.key, self.kernel_key = m.host, m.guest, Key(), Key()
        self.daemon = self.host.daemon('wg0', program=host_program)
        self.configure(initiator, outer, daemon_psk, kernel_psk)
        self.host.address('wg0', '10.9.0.1/24', 'fd09::1/64')
        self.host.ip('link set wg0 mtu 1420 up')
        self.host.settle()

    def configure(self, initiator, outer=4, daemon_psk=None, kernel_psk=None):
        """Configures both ends again, which ends all sessions."""
        ends = {4: (HOST4, GUEST4), 6: (f'[{HOST6}]', f'[{GUEST6}]')}[outer]
        self.host.setconf('wg0', conf(self.key, self.kernel_key, '10.9.0.2/32, fd09::2/128', daemon_psk,
                                      ends[1] if initiator == 'daemon' else None))
        guest_interface(self.guest, 'wg0', '10.9.0.2/24', 'fd09::2/64',
                        conf(self.kernel_key, self.key, '10.9.0.1/32, fd09::1/128', kernel_psk,
                             ends[0] if initiator == 'kernel' else None), self.guest_program)

    def from_daemon(self, address='10.9.0.2', **how):
        self.host.ping(address, **how)

    def from_kernel(self, address='10.9.0.1', count=1, size=56):
        output = self.guest.run(f'ping -i 0.2 -c {count} -W 5 -s {size} {address}', check=False)
        check(' 0% packet loss' in output, f'the kernel cannot ping {address}: {output.strip()}')

    def ping_from(self, end):
        (self.from_daemon if end == 'daemon' else self.from_kernel)()

    def kernel_show(self, device='wg0'):
        return Show(self.guest.run(f'wg show {device} dump')).peer

    def daemon_show(self, peer=None):
        return self.host.show('wg0').peers[peer or self.kernel_key.public]

    def kernel_sees(self, endpoint):
        equal(self.kernel_show().endpoint, endpoint, 'the daemon\'s endpoint, as the kernel sees it')

    def daemon_sees(self, endpoint):
        equal(self.daemon_show().endpoint, endpoint, 'the kernel\'s endpoint, as the daemon sees it')


def conf(own, other, allowed_ips, psk_text=None, endpoint=None, port=51820):
    return (f'[Interface]\nPrivateKey = {own.private}\nListenPort = {port}\n'
            f'[Peer]\nPublicKey = {other.public}\nAllowedIPs = {allowed_ips}\n'
            + (f'PresharedKey = {psk_text}\n' if psk_text else '')
            + (f'Endpoint = {endpoint}:51820\n' if endpoint else ''))


def guest_interface(guest, name, address4, address6, text, program=None):
    """Makes a new WireGuard interface of the guest, by its kernel or by this program."""
    guest.run(f'''set -e
        ip link del {name} 2>/dev/null || true
        {f"{program} {name}" if program else f"ip link add {name} type wireguard"}
        wg setconf {name} /dev/stdin <<'END'
{text}END
        ip addr add {address4} dev {name}; ip addr add {address6} dev {name}
        ip link set {name} mtu 1420 up
        while ip addr | grep -q tentative; do sleep 0.02; done''')


# ------------------------------------------------------------------------------------------------- sessions

@test(seconds=180)
def guest_boots(lab):
    guest = Machine.of(lab).guest
    lab.say(f'Linux {guest.release}')
    guest.run('ip link add wg0 type wireguard')


def handshake(lab, initiator, outer):
    t = Tunnel(lab, initiator, outer)
    if initiator == 'kernel':
        t.from_kernel('10.9.0.1')
        t.from_kernel('fd09::1')
    else:
        t.from_daemon('10.9.0.2')
        t.from_daemon('fd09::2')
    check(t.daemon_show().latest_handshake, 'the daemon knows no handshake')
    check(t.kernel_show().latest_handshake, 'the kernel knows no handshake')


@test
def kernel_initiates_over_ipv4(lab):
    handshake(lab, 'kernel', 4)


@test
def kernel_initiates_over_ipv6(lab):
    handshake(lab, 'kernel', 6)


@test
def daemon_initiates_over_ipv4(lab):
    handshake(lab, 'daemon', 4)


@test
def daemon_initiates_over_ipv6(lab):
    handshake(lab, 'daemon', 6)


@test(seconds=90)
def preshared_key_must_match(lab):
    secret, t = psk(), Tunnel(lab)
    for initiator in 'daemon', 'kernel':
        t.configure(initiator, 4, secret, secret)
        t.ping_from(initiator)
        t.configure(initiator, 4, psk(), secret)
        if initiator == 'daemon':
            t.host.no_ping('10.9.0.2', wait=2)
        else:
            check(not t.guest.succeeds('ping -c 1 -W 2 10.9.0.1'), 'the kernel pings through a wrong preshared key')
        equal(t.daemon_show().latest_handshake, 0, 'the time of a handshake with a wrong preshared key')
        t.configure(initiator, 4, secret, secret)
        t.ping_from(initiator)


# ------------------------------------------------------------------------------------------------- data

@test
def packets_of_every_size(lab):
    t = Tunnel(lab, 'kernel')
    t.from_kernel()
    for size in [*range(40, 57), 1391, 1392]:  # each residue of the 16-byte padding; then up to the MTU of 1420
        t.from_daemon(size=size)
    t.from_kernel(size=1392)
    t.from_daemon('fd09::2', size=1372)
    t.from_kernel('fd09::1', size=1372)
    t.from_daemon(size=4000)  # in fragments
    t.from_kernel('fd09::1', size=4000)


def connect(host, address, port):
    def attempt():
        s = host.socket(socket.AF_INET, socket.SOCK_STREAM, timeout=30)
        try:
            s.connect((address, port))
            return s
        except ConnectionRefusedError:
            s.close()
    return wait_until(attempt, 10, f'{address} listens on port {port}')


def send_tcp_to_guest(lab, t):
    blob = random.randbytes(MEGABYTES << 20)
    job = t.guest.start('nc -l -p 5001 | sha256sum')
    s = connect(t.host, '10.9.0.2', 5001)
    start = time.monotonic()
    s.sendall(blob)
    s.shutdown(socket.SHUT_WR)
    status, output = t.guest.finish(job, 120)
    lab.say(f'{MEGABYTES * 8.389 / (time.monotonic() - start):.0f} Mbit/s')
    equal((status, output.split()[0]), (0, hashlib.sha256(blob).hexdigest()), 'status and SHA-256')


def send_tcp_from_guest(lab, t):
    listener = t.host.socket(socket.AF_INET, socket.SOCK_STREAM, bind=('10.9.0.1', 5001), timeout=30)
    listener.listen(1)
    wanted = t.guest.run(f'head -c {MEGABYTES << 20} /dev/urandom >/tmp/blob; sha256sum /tmp/blob').split()[0]
    start = time.monotonic()
    job = t.guest.start('nc 10.9.0.1 5001 </tmp/blob; rm /tmp/blob')
    connection = listener.accept()[0]
    connection.settimeout(30)
    digest = hashlib.sha256()
    while data := connection.recv(1 << 18):
        digest.update(data)
    lab.say(f'{MEGABYTES * 8.389 / (time.monotonic() - start):.0f} Mbit/s')
    connection.close()
    equal(t.guest.finish(job)[0], 0, 'exit status of nc in the guest')
    equal(digest.hexdigest(), wanted, 'SHA-256')


@test(seconds=180)
def tcp_daemon_to_kernel(lab):
    send_tcp_to_guest(lab, Tunnel(lab, 'daemon'))


@test(seconds=180)
def tcp_kernel_to_daemon(lab):
    send_tcp_from_guest(lab, Tunnel(lab, 'kernel'))


# ------------------------------------------------------------------------------------------------- roaming, timers

@test
def kernel_follows_the_daemon(lab):
    """To a new port, a new address and the other family."""
    t = Tunnel(lab, 'daemon')
    t.from_daemon()
    t.kernel_sees(f'{HOST4}:51820')
    t.host.wg('set wg0 listen-port 51900')
    t.from_daemon()
    t.kernel_sees(f'{HOST4}:51900')
    t.host.ip('addr add 192.0.2.3/24 dev tap0')
    t.host.ip(f'addr del {HOST4}/24 dev tap0')
    t.host.wg(f'set wg0 peer {t.kernel_key.public} endpoint {GUEST4}:51820')
    t.from_daemon()
    t.kernel_sees('192.0.2.3:51900')
    t.host.wg(f'set wg0 peer {t.kernel_key.public} endpoint [{GUEST6}]:51820')
    t.from_daemon()
    t.kernel_sees(f'[{HOST6}]:51900')


@test
def daemon_drops_a_removed_source_address(lab):
    """The daemon answers from the address that the kernel sent to. It must notice by itself that this address is
    removed."""
    t = Tunnel(lab, 'daemon')
    t.from_daemon()
    t.host.ip('addr add 192.0.2.3/24 dev tap0')
    t.host.ip(f'addr del {HOST4}/24 dev tap0')
    t.from_daemon()
    t.kernel_sees('192.0.2.3:51820')


@test
def daemon_follows_the_kernel(lab):
    """To a new port, to a new address, back when that address is removed, and to the other family."""
    t = Tunnel(lab, 'kernel')
    t.from_kernel()
    t.daemon_sees(f'{GUEST4}:51820')
    t.guest.run('wg set wg0 listen-port 51900')
    t.from_kernel()
    t.daemon_sees(f'{GUEST4}:51900')
    # The kernel keeps the source address that it used until its socket is made again.
    t.guest.run(f'ip addr add 192.0.2.4/24 dev eth0 && ip route add {HOST4}/32 dev eth0 src 192.0.2.4 && '
                'wg set wg0 listen-port 51901')
    t.from_kernel()
    t.daemon_sees('192.0.2.4:51901')
    t.guest.run(f'ip route del {HOST4}/32 && ip addr del 192.0.2.4/24 dev eth0')
    t.from_kernel()
    t.daemon_sees(f'{GUEST4}:51901')
    t.guest.run(f'wg set wg0 peer {t.key.public} endpoint [{HOST6}]:51820')
    t.from_kernel()
    t.daemon_sees(f'[{GUEST6}]:51901')


@test
def persistent_keepalives(lab):
    """With no data to send, the receiver's counter must grow by 32 bytes for each."""
    t = Tunnel(lab, 'daemon')
    t.from_daemon()
    before = t.daemon_show().rx
    t.guest.run(f'wg set wg0 peer {t.key.public} persistent-keepalive 1')
    wait_until(lambda: t.daemon_show().rx >= before + 64, 5, 'two keepalives of the kernel\'s')
    t.guest.run(f'wg set wg0 peer {t.key.public} persistent-keepalive off')
    before = t.kernel_show().rx
    t.host.wg(f'set wg0 peer {t.kernel_key.public} persistent-keepalive 1')
    wait_until(lambda: t.kernel_show().rx >= before + 64, 5, 'two keepalives of the daemon\'s')


@test(long=True, seconds=240)
def sessions_are_renewed_after_two_minutes(lab):
    """Two tunnels at once, one started by each end; neither may lose a packet."""
    t = Tunnel(lab, 'kernel')
    third = Key()
    guest_interface(t.guest, 'wg1', '10.9.1.2/24', 'fd09:1::2/64', conf(third, t.key, '10.9.1.1/32', port=51821))
    t.host.address('wg0', '10.9.1.1/24')
    t.host.wg(f'set wg0 peer {third.public} endpoint {GUEST4}:51821 allowed-ips 10.9.1.2/32')
    t.from_kernel()
    t.from_daemon('10.9.1.2')

    def handshakes():
        return (t.kernel_show().latest_handshake, t.daemon_show().latest_handshake,
                t.kernel_show('wg1').latest_handshake, t.daemon_show(third.public).latest_handshake)
    before = handshakes()
    job = t.guest.start('ping -i 1 -c 130 -W 5 10.9.0.1')
    pings = t.host.try_run('ping -n -i 1 -c 130 -W 5 10.9.1.2', timeout=160).output
    check(' 0% packet loss' in pings, f'lost while the daemon renews: {pings[-200:]}')
    pings = t.guest.finish(job, 60)[1]
    check(' 0% packet loss' in pings, f'lost while the kernel renews: {pings[-200:]}')
    later = [b - a for a, b in zip(before, handshakes())]
    lab.say(f'started by the kernel: +{later[0]} s / +{later[1]} s, by the daemon: +{later[2]} s / +{later[3]} s')
    check(min(later) >= 115, f'a session was not renewed: {later}')


# ------------------------------------------------------------------------------------------------- under load

def without_the_flood(host):
    """A socket that sees every packet of the host from its IP header on, except those that hsflood.py sends."""
    s = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3), timeout=0.2)
    # ldh [20]; jeq FLOOD_PORT, drop; ret 65535; drop: ret 0 -- the UDP source port behind a 20-byte IPv4 header
    program = ((0x28, 0, 0, 20), (0x15, 1, 0, FLOOD_PORT), (6, 0, 0, 65535), (6, 0, 0, 0))
    code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *i) for i in program))
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HP', len(program), ctypes.addressof(code)))  # SO_ATTACH_FILTER
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    return s


def next_message(s):
    """(source port, destination address, its port, WireGuard message) of the next UDP packet over IPv4, or None."""
    try:
        p = s.recv(2048)
    except socket.timeout:
        return None
    if len(p) < 60 or p[0] != 0x45 or p[9] != socket.IPPROTO_UDP:
        return None
    return int.from_bytes(p[20:22], 'big'), socket.inet_ntoa(p[16:20]), int.from_bytes(p[22:24], 'big'), p[28:]


def cookie(lab, loaded):
    """Put one end under load; the other must get a cookie reply, repeat its initiation with it, and get through."""
    initiator = 'daemon' if loaded == 'kernel' else 'kernel'
    # The daemon's filter in the kernel would drop the flood, so the daemon runs without the right to load one.
    t = Tunnel(lab, initiator, host_program=['setpriv', '--bounding-set', '-sys_admin,-bpf', WGD])
    target, public = (GUEST4, t.kernel_key.public) if loaded == 'kernel' else (HOST4, t.key.public)
    honest = HOST4 if loaded == 'kernel' else GUEST4
    wire = without_the_flood(t.host)
    # Each burst overflows the queue of the loaded end: Linux's mark is 512 messages, the daemon's 4096.
    burst = '2048' if loaded == 'kernel' else '20000'
    t.host.popen([sys.executable, f'{HERE}/hsflood.py', target, '51820', public, '45', burst, '0.3'])

    end = time.monotonic() + 10
    while True:  # until the flood itself is asked for a cookie
        message = next_message(wire)
        if message and message[2] == FLOOD_PORT and message[3][0] == 3:
            break
        check(time.monotonic() < end, f'the {loaded} sends no cookie reply under load')
    if initiator == 'kernel':
        t.guest.start('ping -c 1 -W 30 10.9.0.1')
    else:
        t.host.popen('ping -n -c 1 10.9.0.2', stdout=subprocess.DEVNULL)
    seen, start = [], time.monotonic()
    while seen[-1:] != ['response']:
        message = next_message(wire)
        check(time.monotonic() < start + 30, f'the {initiator} does not get through; seen: {seen}')
        if not message:
            continue
        source_port, address, port, data = message
        if (address, port) == (honest, 51820) and source_port == 51820:
            what = {3: 'cookie reply', 2: 'response'}.get(data[0])
        elif (address, port) == (target, 51820) and data[0] == 1:
            what = 'initiation with mac2' if any(data[132:148]) else 'initiation without mac2'
        else:
            continue
        if what:
            seen.append(what)
            lab.note('wire', f'{time.monotonic() - start:.2f} s {what}')
    lab.say(', '.join(seen))
    check('cookie reply' in seen and 'initiation with mac2' in seen[seen.index('cookie reply'):],
          f'got through without a cookie: {seen}')
    t.ping_from(initiator)


@test(seconds=90)
def cookie_of_the_loaded_kernel(lab):
    cookie(lab, 'kernel')


@test(seconds=90)
def cookie_of_the_loaded_daemon(lab):
    cookie(lab, 'daemon')


# ------------------------------------------------------------------------------------------------- on this kernel

@test(seconds=300)
def the_daemon_on_this_kernel(lab):
    """The daemon runs at both ends. In the guest it detects features that the kernel lacks, and works without them."""
    t = Tunnel(lab, 'daemon', guest_program=f'LOG_LEVEL=silent {os.path.basename(WGD)}')
    t.from_daemon()
    t.from_kernel('fd09::1')
    for size in 40, 1392, 4000:
        t.from_daemon(size=size)
        t.from_kernel(size=size)
    send_tcp_to_guest(lab, t)
    send_tcp_from_guest(lab, t)
    t.guest.run('ip link del wg0; while [ -e /var/run/wireguard/wg0.sock ]; do sleep 0.05; done')  # clean up


@contextlib.contextmanager
def guest_link(guest, name, kind):
    """An interface of the guest for as long as the block lasts; skips the test if the guest's kernel lacks the kind."""
    said = guest.run(f'ip link add {name} {kind} && ip link set {name} up', check=False)
    if guest.status:
        skip(f'Linux {guest.release} has no such interface: {said.strip()}')
    try:
        yield
    finally:
        guest.run(f'ip link set eth0 nomaster; ip link del {name}')


def guest_tunnels(lab):
    """A tunnel to the kernel's WireGuard, then one to the daemon on the same kernel."""
    for program in None, f'LOG_LEVEL=silent {os.path.basename(WGD)}':
        t = Tunnel(lab, 'daemon', guest_program=program)
        yield program, t
        t.guest.run('ip link del wg0; while [ -e /var/run/wireguard/wg0.sock ]; do sleep 0.05; done')
        t.daemon.stop()


@test(seconds=300)
def the_daemon_and_the_kernel_answer_from_the_same_address(lab):
    """The peer sends to an address of eth0 of the guest; the guest's route back uses eth0, or another interface."""
    seen = {}
    guest = Machine.of(lab).guest
    with guest_link(guest, 'mac0', 'link eth0 type macvlan'):
        for program, t in guest_tunnels(lab):
            guest.run("""for i in all eth0 mac0; do
                    echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/$i/arp_ignore; done
                ip addr flush dev mac0 scope global
                ip addr add 192.0.2.7/24 dev eth0; ip addr add 2001:db8::7/64 dev eth0
                ip addr add 192.0.2.3/32 dev mac0; ip addr add 2001:db8::3/128 dev mac0""")
            for back in 'eth0', 'mac0', 'eth0':
                guest.run(f"""ip route del {HOST4}; ip -6 route del {HOST6}
                    ip route add {HOST4} dev {back} {"src 192.0.2.3" if back == "mac0" else ""}
                    ip -6 route add {HOST6} dev {back}""", check=False)
                for dialled in '192.0.2.7:51820', '[2001:db8::7]:51820':
                    t.host.wg(f'set wg0 peer {t.kernel_key.public} endpoint {dialled}')
                    t.from_daemon()
                    seen.setdefault(program, []).append((back, dialled, t.daemon_show().endpoint))
    kernel, daemon = seen.values()
    equal(daemon, kernel, 'route back, address dialled, address of the answer')
    check(('mac0', '192.0.2.7:51820', '192.0.2.3:51820') in kernel, f'the source was chosen anew: {kernel}')


@test(seconds=300)
def the_daemon_on_this_kernel_answers_out_of_a_vrf(lab):
    guest = Machine.of(lab).guest
    with guest_link(guest, 'red', 'type vrf table 10'):
        t = Tunnel(lab, 'daemon', guest_program=f'LOG_LEVEL=silent {os.path.basename(WGD)}')
        guest.run(f"""set -e
            echo 1 >/proc/sys/net/ipv4/udp_l3mdev_accept
            ip link set eth0 master red
            ip addr flush dev eth0 scope global
            for a in {GUEST4}/24 192.0.2.7/24 {GUEST6}/64 2001:db8::7/64; do ip addr add $a dev eth0; done
            while ip addr | grep -q tentative; do sleep 0.02; done""")
        try:
            for dialled in '192.0.2.7:51820', '[2001:db8::7]:51820':
                t.host.wg(f'set wg0 peer {t.kernel_key.public} endpoint {dialled}')
                t.from_daemon()
                equal(t.daemon_show().endpoint, dialled, 'address of the answer')
        finally:
            guest.run('echo 0 >/proc/sys/net/ipv4/udp_l3mdev_accept')
        t.guest.run('ip link del wg0; while [ -e /var/run/wireguard/wg0.sock ]; do sleep 0.05; done')


@test(seconds=300)
def unit_tests_on_this_kernel(lab):
    """The unit tests of the operating system pass in the guest."""
    if not UNIT:
        skip('UNIT does not say where the unit tests are')
    guest = Machine.of(lab).guest
    output = guest.run(f'mkdir -p /var/run; cd /tmp; {os.path.basename(UNIT)} --color_output=no --run_test="os_linux*" '
                       '--log_level=message', 240, check=False)
    lab.say(output.splitlines()[-1] if output else 'nothing')
    equal(guest.status, 0, f'exit status; the end of what was said: {output[-2000:]}')


if __name__ == '__main__':
    # Downloads come first, because the namespaces of the tests have no network access.
    asked = {'--help', '-h', '--list'} & set(sys.argv)
    if not os.environ.get('WG_LAB_INSIDE') and not asked and os.access(WGD, os.X_OK):
        try:
            vm.prepare(vm.cache_dir(CACHE), PACKAGE or None)
        except vm.Unavailable as reason:
            print(f'skip everything: {reason}\n0 passed, 0 failed, 0 skipped')
            sys.exit(MESON_SKIP)
    main(__doc__, known_failures)
