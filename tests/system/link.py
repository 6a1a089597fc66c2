#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""link suite: the TUN interface of a daemon. It moves to other network namespaces, two daemons create it at once,
drivers lack features, it is persistent, and it forwards frames of 64 kB."""
import json
import os
import re
import subprocess

from checks import check, equal, need, stays, wait_until
from hosts import tcp_copy
from runner import main, test
from wg_tools import TMP, WGD, Key, Tunnel, pass_initiation_interval

TUNSETIFF, TUNSETPERSIST = 0x400454ca, 0x400454cb
IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI = 0x0001, 0x0002, 0x0100, 0x1000
AT_ONCE = 0.5  # seconds; a daemon that polls once a second needs 0.5 on average, and more in half of the tries


def limited(*capabilities):
    """wgd without these capabilities."""
    need('setpriv')
    return ['setpriv', '--bounding-set=' + ','.join('-' + c for c in capabilities), WGD]


def shim(name, body):
    """An environment with a preloaded library: the C text `body` runs at the start of each ioctl(2), and may return
    from it."""
    need('cc')
    source = f'{TMP}/{name}.c'
    with open(source, 'w') as f:
        f.write('#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <errno.h>\n#include <stdarg.h>\n'
                '#include <linux/if.h>\n#include <linux/if_tun.h>\n#include <signal.h>\n#include <sys/ioctl.h>\n'
                'int ioctl(int fd, unsigned long what, ...) {\n'
                '    va_list l; va_start(l, what); void* arg = va_arg(l, void*); va_end(l);\n'
                '    int (*real)(int, unsigned long, void*) = dlsym(RTLD_NEXT, "ioctl");\n'
                f'{body}\n    return real(fd, what, arg);\n}}\n')
    subprocess.run(['cc', '-shared', '-fPIC', '-o', f'{TMP}/{name}.so', source, '-ldl'], check=True)
    return {'LD_PRELOAD': f'{TMP}/{name}.so'}


def port_is_open(host):
    return (4, 10001) in host.udp_ports()


def down_and_up(host, device, daemon_host, within):
    """The daemon, whose port is on another host, notices each change within this many seconds."""
    host.ip(f'link set {device} down')
    wait_until(lambda: not port_is_open(daemon_host), within, f'the link is known to be down on {host}', 0.005)
    pass_initiation_interval()
    host.ip(f'link set {device} up')
    wait_until(lambda: port_is_open(daemon_host), within, f'the link is known to be up on {host}', 0.005)


class Moved:
    """A tunnel whose interface wg0 of host a is moved to the host `box`."""

    def __init__(self, lab, program=None, env=None):
        self.tunnel = t = Tunnel(lab, wire_mtu=4000, programs=(program, None), env=env)
        t.works()
        t.b.ip('link set wg0 mtu 3900')
        self.box = lab.host('box')
        t.a.ip(f'link set wg0 netns {self.box.holder.pid}')
        self.box.address('wg0', '10.9.0.1/24')
        pass_initiation_interval()
        self.box.ip('link set wg0 up')
        wait_until(lambda: port_is_open(t.a), what='the port is open again')
        self.box.ping('10.9.0.2')


@test
def a_moved_interface_is_followed_at_once(lab):
    for program in None, limited('sys_admin'):  # no namespace is entered
        m = Moved(lab, program)
        a, box = m.tunnel.a, m.box
        seen = m.tunnel.b.capture('wg0')
        box.ip('link set wg0 mtu 3000')
        box.ping('10.9.0.2', size=2972, options='-M do')
        check(any(len(p) == 3000 for _, p in seen.packets()), 'the first long packet arrived')
        for _ in range(3):  # one of three would be late if the daemon polled once a second
            down_and_up(box, 'wg0', a, AT_ONCE)
        box.ping('10.9.0.2', size=2972)
        lab.clear()


@test
def an_interface_of_the_same_name_is_not_taken_for_the_moved_one(lab):
    for env in None, shim('silent', '    if (what == 0x54e3) { errno = EINVAL; return -1; } // TUNGETDEVNETNS'):
        m = Moved(lab, env=env)
        a, b, box = m.tunnel.a, m.tunnel.b, m.box
        a.ip('tuntap add dev wg0 mode tun')
        a.ip('link set wg0 mtu 600 txqueuelen 77 gso_max_size 20000 up')
        before = a.ip('-d link show wg0')
        down_and_up(box, 'wg0', a, 5)
        box.ping('10.9.0.2', count=3, size=1392, options='-M do')
        wire = b.capture('veth')
        box.ping('10.9.0.2', size=973)
        # A packet of 1001 bytes is padded to 1008 by an MTU of 1420, and not at all by one of 600.
        check(1040 in {len(p) for _, p in wire.udp(False)}, 'padded by its own MTU')
        equal(a.ip('-d link show wg0'), before, 'the other interface')
        lab.clear()


@test
def a_moved_interface_is_renamed_and_moved_again_and_back(lab):
    m = Moved(lab)
    a, box = m.tunnel.a, m.box
    box.ip('link set wg0 down')
    pass_initiation_interval()
    box.ip('link set wg0 name eth9 up')
    box.ip('link set eth9 mtu 2000')
    box.ping('10.9.0.2', size=1972, options='-M do')
    before = box
    for where, mtu in (lab.host('second'), 2500), (a, 3000), (box, 3500):
        before.ip(f'link set eth9 netns {where.holder.pid}')
        before = where
        where.address('eth9', '10.9.0.1/24')
        pass_initiation_interval()
        where.ip(f'link set eth9 up mtu {mtu}')
        wait_until(lambda: port_is_open(a), what='the port is open again')
        where.ping('10.9.0.2', size=mtu - 28, options='-M do')
        down_and_up(where, 'eth9', a, AT_ONCE)


@test
def a_deleted_namespace_or_interface_ends_the_daemon(lab):
    for end in 'namespace', 'interface':
        m = Moved(lab)
        if end == 'interface':
            m.box.ip('link del wg0')
        else:
            lab.hosts.remove(m.box)
            m.box.close()
        equal(m.tunnel.da.wait_exit(10), 0, 'exit status')
        check(not m.tunnel.da.socket_exists(), 'the socket file is gone')
        lab.clear()


@test
def without_the_right_to_enter_the_namespace_the_interface_is_polled_once_a_second(lab):
    m = Moved(lab, limited('net_broadcast', 'sys_admin'))
    a, box = m.tunnel.a, m.box
    down_and_up(box, 'wg0', a, 2)
    box.ip('link set wg0 mtu 3000')
    box.ping_output('10.9.0.2', size=2972)  # this one may be lost
    box.ping('10.9.0.2', size=2972, options='-M do')


@test
def where_the_kernel_does_not_report_the_mtu_longer_packets_show_it(lab):
    silent = shim('silent', '    if (what == 0x54e3) { errno = EINVAL; return -1; } // TUNGETDEVNETNS')
    for off in '', 'frames', 'queues':
        m = Moved(lab, env={**silent, 'WG_OFFLOAD_OFF': off})
        box = m.box
        box.ip('link set wg0 mtu 3000')
        for size in 1500, 2972:
            box.ping_output('10.9.0.2', size=size, wait=1)  # the first packet of a length may be cut
            box.ping('10.9.0.2', size=size, options='-M do')
        check(re.search('shorter than its header says', m.tunnel.da.tail(200)), 'the loss is told')
        tcp_copy(box, m.tunnel.b, '10.9.0.2', 4)
        stays(lambda: box.ping_output('10.9.0.2', size=2972).returncode == 0, 1.5, 'what was learned is kept', 0.2)
        lab.clear()


# -------------------------------------------------------------------------------------------------- one of two daemons

def start_together(host, wrappers):
    """Starts two daemons for wg0 at the same time, each by a command of its own."""
    gate, opener = os.pipe()
    daemons = [host.popen([*wrapper, 'sh', '-c', f'read go; exec {WGD} -f wg0'], stdin=gate, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) for wrapper in wrappers]
    os.close(gate)
    os.write(opener, b'\n' * len(daemons))  # read(1) of a pipe takes a byte at a time
    os.close(opener)
    return daemons


def exactly_one_serves(host, wrappers, tries=25):
    for number in range(tries):
        daemons = start_together(host, wrappers)
        wait_until(lambda: any(d.poll() is not None for d in daemons), what='one of two gives up', every=0.005)
        lost = next(d for d in daemons if d.poll() is not None)
        won = next(d for d in daemons if d is not lost)
        said = lost.communicate()[0]
        equal(lost.returncode, 1, 'exit status of the loser')
        check(re.search('exists already|in use', said), f'the loser says why: {said!r}')
        check(won.poll() is None, f'try {number}: the other one goes on')
        yield won
        won.terminate()
        equal(won.wait(5), 0, 'exit status of the winner')
        won.communicate()


@test
def one_of_two_simultaneous_daemons_serves(lab):
    host = lab.host('a')
    for _ in exactly_one_serves(host, ([], []), 60):
        wait_until(lambda: host.try_run('wg show wg0').returncode == 0, what='the socket answers')
    check(not os.listdir(host.path('/run/wireguard')), 'nothing is left behind')


@test
def one_of_two_daemons_with_own_socket_directories_serves(lab):
    host = lab.host('a')
    own = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /run/wireguard && exec "$@"', 'sh']
    for _ in exactly_one_serves(host, (own, own)):
        wait_until(lambda: host.link_exists('wg0'), what='the interface is there')


@test
def a_signal_during_the_start_leaves_nothing_behind(lab):
    host = lab.host('a')
    when = {'before': 'raise(SIGTERM);', 'after': 'int made = real(fd, what, arg); raise(SIGTERM); return made;'}
    for moment, act in when.items():
        stopped = shim(f'stopped-{moment}', f'    if (what == TUNSETIFF) {{ {act} }}')
        daemon = host.daemon('wg0', env=stopped, wait=False)
        equal(daemon.wait_exit(10), 0, f'exit status after a signal {moment} the interface is made')
        check(not host.link_exists('wg0'), 'the interface is gone')
        check(not os.listdir(host.path('/run/wireguard')), 'nothing is left behind')


@test
def one_of_two_daemons_in_two_namespaces_with_one_socket_serves(lab):
    host = lab.host('a')
    own = ['unshare', '--net']
    for _ in exactly_one_serves(host, (own, own)):
        wait_until(lambda: host.try_run('wg show wg0').returncode == 0, what='the socket answers')


@test
def one_of_two_daemons_takes_over_a_persistent_interface(lab):
    host = lab.host('a')
    for flags in '', 'multi_queue':
        host.ip(f'tuntap add dev wg0 mode tun {flags}')
        for _ in exactly_one_serves(host, ([], [])):
            wait_until(lambda: host.try_run('wg show wg0').returncode == 0, what='the socket answers')
        check(host.link_exists('wg0'), 'the interface lasts')
        host.ip('link del wg0')


@test
def a_killed_daemon_leaves_no_lock(lab):
    host = lab.host('a')
    for _ in range(3):
        daemon = host.daemon('wg0')
        daemon.process.kill()
        daemon.process.wait()
    host.daemon('wg0').stop()
    check(not os.listdir(host.path('/run/wireguard')), 'nothing is left behind')


# -------------------------------------------------------------------------------------------------- drivers and limits

@test
def a_persistent_interface_is_taken_over_with_any_number_of_queues(lab):
    for flags in '', 'multi_queue':
        lab.clear()
        host = lab.host('a')
        host.ip(f'tuntap add dev wg0 mode tun {flags}')
        host.ip('link set wg0 mtu 1400')
        daemon = host.daemon('wg0')
        queues = sum(os.readlink(f'/proc/{daemon.pid}/fd/{n}') == '/dev/net/tun'
                     for n in os.listdir(f'/proc/{daemon.pid}/fd'))
        equal(queues, 16 if flags else 1, 'queues')
        daemon.stop()
        check(host.link_exists('wg0'), 'the interface lasts')
        check(' mtu 1400 ' in host.ip('link show wg0'), 'its MTU was left alone')


PLAIN = ('    if (what == TUNSETIFF && ((unsigned short)((struct ifreq*)arg)->ifr_flags & ~(IFF_TUN | IFF_NO_PI))) {\n'
         '        errno = EINVAL; return -1; }\n')
MUTE = ('    if (what == TUNGETFEATURES || what == TUNSETOFFLOAD || what == TUNSETVNETHDRSZ || what == TUNGETIFF ||\n'
        '        what == 0x54e3) { // TUNGETDEVNETNS\n'
        '        errno = ENOTTY; return -1; }\n')
TELLING = '    if (what == TUNGETFEATURES) { *(unsigned*)arg = IFF_TUN | IFF_NO_PI; return 0; }\n'


@test
def drivers_without_queues_and_headers_carry_traffic(lab):
    for name, body in ('mute', PLAIN + MUTE), ('telling', PLAIN + TELLING):
        t = Tunnel(lab, env=shim(name, body))
        t.works()
        tcp_copy(t.a, t.b, '10.9.0.2', 2)
        check(t.a.try_run([WGD, '-f', 'wg0'], env=shim(name, body)).returncode == 1, 'a second daemon is refused')
        t.works()
        lab.clear()


@test(seconds=120)
def few_descriptors_are_enough_or_are_refused_with_the_limit(lab):
    served = []
    for limit in *range(8, 32, 2), 40, 48, 64, 128:
        host, other = lab.host('a'), lab.host('b')
        lab.link(host, other, '192.0.2.1/24', '192.0.2.2/24', 'veth')
        keys = Key(), Key()
        command = ['sh', '-c', f'ulimit -n {limit}; exec "$0" "$@"', WGD, '--workers', '2']
        daemon = host.daemon('wg0', program=command, wait=False)
        wait_until(lambda: daemon.process.poll() is not None or daemon.answers(), what='serves or ends')
        if not daemon.running():
            check('ulimit -n' in daemon.tail() or 'Too many open files' in daemon.tail() or
                  'error while loading' in daemon.tail(), f'{limit}: {daemon.tail()!r}')
            check(not served, f'{limit} is refused, but {served} descriptors are enough')
            lab.clear()
            continue
        served.append(limit)
        other.daemon('wg0')
        for h, n in (host, 1), (other, 2):
            h.setconf('wg0', f'[Interface]\nPrivateKey = {keys[n - 1].private}\nListenPort = 10000\n'
                      f'[Peer]\nPublicKey = {keys[2 - n].public}\nEndpoint = 192.0.2.{3 - n}:10000\n'
                      f'AllowedIPs = 10.9.0.{3 - n}/32\n')
            h.address('wg0', f'10.9.0.{n}/24')
            h.ip('link set wg0 up')
        host.ping('10.9.0.2', count=20)
        tcp_copy(host, other, '10.9.0.2', 2)
        host.ip('link set wg0 down')
        wait_until(lambda: not host.udp_ports(), what=f'{limit}: the link is known to be down')
        pass_initiation_interval()
        host.ip('link set wg0 up')
        host.ping('10.9.0.2')
        lab.clear()
    lab.say(f'served with {served[0]} descriptors and more')
    check(served and served[0] <= 40, f'40 descriptors are enough: {served}')


# ----------------------------------------------------------------------------------------------------------- forwarding

@test
def forwarded_frames_of_64_kb_are_neither_split_nor_dropped(lab):
    need('iperf3')
    t = Tunnel(lab)
    box = lab.host('box')
    lab.link(box, t.a, '10.8.0.2/24', '10.8.0.1/24', 'lan')
    box.ip('route add default via 10.8.0.1')
    t.b.ip('route add 10.8.0.0/24 dev wg0')
    t.b.wg(f'set wg0 peer {t.pub_a} allowed-ips 10.9.0.1/32,10.8.0.0/24')
    t.a.sysctl('net.ipv4.ip_forward', 1)
    before = t.b.device_counters('wg0')[0]
    server = t.b.popen('iperf3 -s -1 -B 10.9.0.2', stdout=subprocess.DEVNULL)
    wait_until(lambda: t.b.run('ss -Hltn sport = 5201'), what='iperf3 listens')
    box.run('iperf3 -c 10.9.0.2 -t 2', timeout=20)
    server.wait()
    sent = json.loads(t.a.ip('-j -s link show wg0'))[0]['stats64']['tx']
    passed = t.b.device_counters('wg0')[0] - before
    lab.say(f'{passed >> 20} MiB in {sent["packets"]} frames, {sent["dropped"]} dropped')
    check(passed > 4 << 20, f'{passed} bytes passed')
    check(passed / sent['packets'] > 20000, 'frames stayed whole')
    check(sent['dropped'] == 0, f'{sent["dropped"]} frames found no room in the queues')


if __name__ == '__main__':
    main(__doc__)
