#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""process suite: start and end of the daemon, background and foreground, log levels, descriptors, command line."""
import base64
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess

from checks import Failure, check, equal, need, stays, wait_until
from hosts import one_daemon, running
from known_failures import known_failures
from runner import main, test
from wg_tools import TMP, WGD, Tunnel, psk


@test
def deleting_the_interface_ends_the_daemon(lab):
    for up in False, True:
        host, daemon = one_daemon(lab)
        if up:
            host.ip('link set wg0 up')
        host.ip('link del wg0')
        equal(daemon.wait_exit(), 0, 'exit status')
        check(not daemon.socket_exists(), 'the socket file is gone')
        lab.clear()


@test
def removing_the_socket_ends_the_daemon(lab):
    host, daemon = one_daemon(lab)
    os.unlink(host.path(daemon.socket))
    equal(daemon.wait_exit(), 0, 'exit status')
    wait_until(lambda: not host.link_exists('wg0'), what='the interface is gone')


@test
def sigterm_and_sigint_end_the_daemon(lab):
    for number in signal.SIGTERM, signal.SIGINT:
        t = Tunnel(lab)
        t.works()
        equal(t.da.stop(number), 0, f'exit status after {number.name}')
        check(not t.da.socket_exists(), 'the socket file is gone')
        check(not t.a.link_exists('wg0'), 'the interface is gone')
        equal(t.a.udp_ports(), set(), 'open ports')
        lab.clear()


@test
def background_daemon_answers_when_the_command_returns(lab):
    host = lab.host('a')
    environment = {k: v for k, v in os.environ.items() if k not in ('LOG_LEVEL', 'WG_PROCESS_FOREGROUND')}
    for n in range(5):
        # communicate() reads until all writers have closed, so the daemon must have closed its standard output.
        p = host.popen(['sh', '-c', f'"{WGD}" wg{n} && wg show wg{n}'], stdin=subprocess.DEVNULL, env=environment,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output = p.communicate(timeout=10)[0]
        except subprocess.TimeoutExpired:
            raise Failure('the daemon keeps its standard output open, or never returns') from None
        check(p.returncode == 0 and f'interface: wg{n}' in output, f'status {p.returncode}: {output.strip()}')
    pids = list(host.processes_inside())
    equal(len(pids), 5, 'daemons in the background')
    for pid in pids:
        for fd in 0, 1, 2:
            equal(os.readlink(f'/proc/{pid}/fd/{fd}'), '/dev/null', f'file descriptor {fd} of the daemon')
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not running(pid), what='the daemon ends on SIGTERM')
    equal(os.listdir(host.path('/run/wireguard')), [], 'sockets left behind')


@test
def background_daemon_has_a_session_of_its_own(lab):
    host = lab.host('a')
    host.run([WGD, 'wg0'], env={'WG_PROCESS_FOREGROUND': ''})
    pid = next(host.processes_inside())
    equal(os.getsid(pid), pid, 'session of the daemon: a terminal that hangs up must not end it')
    equal(os.readlink(f'/proc/{pid}/cwd'), '/', 'working directory')


@test
def wg_process_foreground_keeps_the_daemon_where_it_was_started(lab):
    host = lab.host('a')
    p = host.popen([WGD, 'wg0'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, 'WG_PROCESS_FOREGROUND': '1', 'LOG_LEVEL': 'error'})
    wait_until(lambda: 'interface: wg0' in host.try_run('wg show wg0').output, what='the daemon answers')
    stays(lambda: p.poll() is None, 0.5, 'the process that was started runs')
    equal(list(host.processes_inside()), [p.pid], 'processes of the daemon')
    p.send_signal(signal.SIGTERM)
    wait_until(lambda: p.poll() is not None, what='that process ends on SIGTERM')
    equal(p.returncode, 0, 'exit status')


def secrets_of(t):
    """The texts and bytes of each secret of this tunnel: raw, hexadecimal, base64."""
    shared = psk()
    t.set_psk(t.a, shared)
    t.set_psk(t.b, shared)
    for key in t.key['a'].private, t.key['b'].private, shared:
        raw = base64.b64decode(key)
        yield from (raw, raw.hex().encode(), raw.hex().upper().encode(), key.encode().rstrip(b'='))


@test
def verbose_logs_events_but_no_secret(lab):
    t = Tunnel(lab, up=False)
    secrets = list(secrets_of(t))
    for host in t.a, t.b:
        host.ip('link set wg0 up')
    t.works()
    t.a.try_run('ping -c 1 -W 1 10.9.0.77')  # an address of no peer: dropped
    t.a.wg(f'set wg0 peer {t.pub_b} remove')
    for daemon in t.da, t.db:
        daemon.stop()
    for daemon, wanted in ((t.da, ['sent a handshake initiation|received a handshake initiation', 'started a session',
                                   'dropped a packet: no peer has an allowed IP', 'was removed']),
                           (t.db, ['sent a handshake', 'received a handshake', 'started a session'])):
        with open(daemon.log, 'rb') as f:
            said = f.read()
        for words in wanted:
            check(re.search(words.encode(), said), f'{daemon.host}: /{words}/ is missing in: {said[-800:]}')
        check(all(line.startswith(b'wgd: wg0: ') for line in said.splitlines()), f'every line names wg0: {said}')
        for secret in secrets:
            check(secret not in said, 'a secret in what the daemon says')


@test
def silent_logs_nothing_and_error_logs_only_errors(lab):
    for level in 'silent', 'error':
        t = Tunnel(lab, env={'LOG_LEVEL': level})
        t.works()
        t.a.ip('link set wg0 down')
        wait_until(lambda: not t.a.udp_ports(), what='the port is closed')
        t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 10001))
        t.a.ip('link set wg0 up')  # which fails, because the port is in use
        said = lambda: open(t.da.log).read()
        if level == 'error':
            wait_until(lambda: 'the port is in use' in said(), what='the daemon says why it cannot go up')
        t.a.wg('set wg0 fwmark 7')  # the daemon answers after it has handled the change of the link
        for daemon in t.da, t.db:
            daemon.stop()
        if level == 'silent':
            equal(said() + open(t.db.log).read(), '', 'what silent daemons said')
        else:
            check('handshake' not in said() and 'session' not in said(), f'no events at level error: {said()}')
        lab.clear()


@test
def the_uapi_socket_is_for_its_owner_only(lab):
    host, daemon = one_daemon(lab)
    mode = os.stat(host.path(daemon.socket)).st_mode
    equal(oct(mode & 0o777), oct(0o700), 'mode of the socket')
    daemon.stop()
    os.umask(0)
    host.run('umount /run/wireguard')
    host.run('rmdir /run/wireguard')
    daemon = host.daemon('wg0')
    equal(oct(os.stat(host.path('/run/wireguard')).st_mode & 0o777), oct(0o755), 'mode of the directory')
    equal(oct(os.stat(host.path(daemon.socket)).st_mode & 0o777), oct(0o700), 'mode of the socket, umask 0')


@test
def inherited_tun_and_uapi_descriptors_are_used(lab):
    host = lab.host('a')
    with host.inside():
        tun = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
        flags = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
        fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'wg7', flags))  # TUNSETIFF
    uapi = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    uapi.bind(host.path('/run/wireguard/wg7.sock'))
    uapi.listen()
    os.set_inheritable(tun, True)
    uapi.set_inheritable(True)
    environment = {**os.environ, 'WG_TUN_FD': str(tun), 'WG_UAPI_FD': str(uapi.fileno()), 'LOG_LEVEL': 'error'}
    p = host.popen([WGD, '-f', 'wg7'], pass_fds=(tun, uapi.fileno()), env=environment, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(tun)
    uapi.close()
    check('interface: wg7' in host.run('wg show wg7', timeout=5), 'wg show')
    host.wg('set wg7 listen-port 7777')
    equal(host.show('wg7').listen_port, 7777, 'listen port')
    host.ip('link set wg7 up')
    wait_until(lambda: host.udp_ports() == {(4, 7777), (6, 7777)}, what='the port is open')
    host.ip('link del wg7')
    wait_until(lambda: p.poll() is not None, what='the daemon ends')


@test
def systemd_is_notified_when_the_socket_answers(lab):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(f'{TMP}/notify')
    s.settimeout(5)
    lab.sockets.append(s)
    daemon = lab.host('a').daemon('wg0', env={'NOTIFY_SOCKET': f'{TMP}/notify'}, wait=False)
    try:
        said = s.recv(4096)
    except socket.timeout:
        raise Failure('nothing came over NOTIFY_SOCKET') from None
    finally:
        os.unlink(f'{TMP}/notify')
    check(b'READY=1' in said.split(b'\n'), f'said {said!r}')
    check(daemon.answers(), 'the socket answers by then')


@test
def bad_command_lines_are_refused_with_a_reason(lab):
    host = lab.host('a')
    host.ip('link add busy0 type veth peer name busy1')

    def refused(arguments, words):
        p = host.try_run([WGD, '-f', *arguments] if arguments else [WGD], timeout=10)
        equal(p.returncode, 1, f'exit status of {arguments}')
        check(re.search(words, p.output, re.I), f'{arguments}: wanted words like /{words}/: {p.output.strip()!r}')
    refused([], 'usage')
    refused(['a-name-much-too-long'], 'name|invalid|argument')
    refused(['a/b'], 'name|invalid|argument')
    refused([''], 'name|invalid|argument|usage')
    refused(['wg0', 'wg1'], 'usage')
    refused(['--frobnicate'], 'usage|option|name|invalid')
    for workers in '0', '65', 'many', '':
        refused(['--workers', workers, 'wg0'], f'--workers.*1 to 64, not {workers}')
    refused(['wg0', '--workers'], '--workers')
    refused(['--memory', '1x', 'wg0'], '--memory.*1x')
    p = host.try_run([WGD, '-f', 'wg0'], timeout=10, env={'WG_CPU_OFF': 'avx512,mmx'})
    check(p.returncode == 1 and 'avx512,mmx' in p.output, f'a wrong WG_CPU_OFF is named: {p.output.strip()!r}')
    refused(['busy0'], 'busy|use|invalid|exist')
    daemon = host.daemon('wg0')
    refused(['wg0'], 'busy|use|exist')
    check(daemon.answers(), 'the first daemon goes on')
    check('interface: wg0' in host.wg('show wg0'), 'wg show still finds the first daemon')
    p = host.try_run([WGD, '--version'])
    check(p.returncode == 0 and re.search(r'\d+\.\d+', p.output), f'--version: {p.output.strip()!r}')


@test
def without_permission_the_daemon_prints_the_reason(lab):
    need('setpriv')
    host = lab.host('a')
    p = host.try_run(['setpriv', '--bounding-set', '-all', '--inh-caps', '-all', '--reuid', '65534', '--clear-groups',
                      WGD, '-f', 'wg0'], timeout=10)
    equal(p.returncode, 1, 'exit status')
    check(re.search('permi|privil|root|capab', p.output, re.I), f'wanted the reason: {p.output.strip()!r}')


@test
def help_is_printed(lab):
    p = lab.host('a').try_run([WGD, '--help'])
    equal(p.returncode, 0, 'exit status')
    for word in '--foreground', '--version', 'INTERFACE', 'LOG_LEVEL':
        check(word in p.output, f'{word} is missing in: {p.output}')


if __name__ == '__main__':
    main(__doc__, known_failures, programs=('nft',))
