#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""daemon suite: the process around the tunnel: events that end it and events that must not, log, descriptors and
limits, configuration socket, options.
"""
import contextlib
import ctypes
import errno
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

from checks import check, equal, skip, stays, wait_until
from hosts import process_state, running, udp_echo
from runner import main, test
from wg_tools import TMP, WGD, Key, Tunnel, endpoint, pass_initiation_interval

known_failures = {}


# ------------------------------------------------------------------------------------------------- a host that refuses

def refuse_and_run(rules, command):
    """Runs `command` with system calls that fail: `rules` are "NUMBER=ERRNO" of the x86-64 table."""
    load_number, jump_if_equal, give = 0x20, 0x15, 0x06  # classic BPF (linux/filter.h)
    program = [(load_number, 0, 0, 0)]
    for rule in rules:
        number, _, error = rule.partition('=')
        program += [(jump_if_equal, 0, 1, int(number)), (give, 0, 0, 0x00050000 | int(error))]  # SECCOMP_RET_ERRNO
    program.append((give, 0, 0, 0x7fff0000))  # SECCOMP_RET_ALLOW
    code = b''.join(struct.pack('HBBI', *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    filter_ = struct.pack('HxxxxxxQ', len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter_, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        sys.exit(f'seccomp: {os.strerror(ctypes.get_errno())}')
    os.execvp(command[0], command)


SYSTEM_CALLS = {'mlock': 149, 'prctl': 157, 'setrlimit': 160, 'inotify_init1': 294, 'prlimit64': 302, 'madvise': 28}


def refusing(**errors):
    """The daemon as a program for `host.daemon`, with these system calls refused."""
    if os.uname().machine != 'x86_64':
        skip('the numbers of system calls are those of x86-64')
    rules = [f'{SYSTEM_CALLS[name]}={error}' for name, error in errors.items()]
    return [sys.executable, os.path.abspath(__file__), '--refuse', ','.join(rules), WGD]


def in_shell(script):
    """The daemon as a program for `host.daemon`, started by a line of shell that has the daemon's command in "$@"."""
    return ['sh', '-c', script, 'sh', WGD]


def sleeps(pid):
    """Whether the process sleeps in 20 samples within 0.2 s; a process that spins is seen running."""
    return all(process_state(pid) == 'S' for _ in range(20) if time.sleep(0.01) is None)


# ----------------------------------------------------------------------------------------------------------------- log

def tunnel_with_log(lab, redirection, **env):
    """A tunnel whose end a writes its log to the target of a shell redirection."""
    return Tunnel(lab, programs=(in_shell(f'exec "$@" {redirection}'), None), env=env or None)


def make_it_talk(t, packets=300):
    """Sends packets to an address of no peer: each makes a line of the log at level verbose."""
    t.a.ping_output('10.9.0.77', count=packets, flood=True, wait=1)


@test
def the_tunnel_works_when_its_log_cannot_be_written(lab):
    os.mkfifo(f'{TMP}/fifo')
    for redirection in '2>/dev/full', f'2>{TMP}/fifo', '2>&-', '0<&- 1>&- 2>&-':
        reader = os.open(f'{TMP}/fifo', os.O_RDONLY | os.O_NONBLOCK)
        t = tunnel_with_log(lab, redirection)
        os.close(reader)
        make_it_talk(t)
        t.works()
        t.a.ip('link set wg0 down')
        t.a.ip('link set wg0 up')
        t.works()
        check(t.da.running(), f'the daemon with its log to {redirection} ended')
        lab.clear()


@test
def a_blocked_reader_of_the_log_does_not_block_the_tunnel(lab):
    os.mkfifo(f'{TMP}/slow')
    reader = os.open(f'{TMP}/slow', os.O_RDONLY | os.O_NONBLOCK)
    t = tunnel_with_log(lab, f'2>{TMP}/slow')
    t.works()
    make_it_talk(t, packets=3000)  # far more than the 64 KiB of a pipe
    t.works()
    for server in '10.9.0.2', 'fd09::2':
        udp_echo(t.a, t.b, server)
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass
    t.a.ping_output('10.9.0.77')
    said = wait_until(lambda: os.read(reader, 65536), what='a line of the log')
    check(re.match(rb'wgd: \d+ log lines were lost\n', said), f'the first line after the gap: {said[:200]!r}')
    os.close(reader)


def private_dev(host):
    """Gives this host a /dev of its own, with the devices that the daemon needs. A test can add a syslog socket."""
    host.run(['sh', '-ec', f'''
        d={TMP}/dev.{host.name}; mkdir -p $d; mount -t tmpfs none $d; mkdir $d/net
        for f in null zero full urandom random tty net/tun; do touch $d/$f; mount --bind /dev/$f $d/$f; done
        mount --move $d /dev'''])
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(host.path('/dev/log'))
    s.settimeout(5)
    host.lab.sockets.append(s)
    return s


def background(host, name='wg0', env=None, redirection='', more=''):
    """Starts the daemon in the background; returns its pid when the command has returned."""
    environment = {k: v for k, v in os.environ.items() if k not in ('LOG_LEVEL', 'WG_PROCESS_FOREGROUND')}
    before = set(host.processes_inside())
    p = host.popen(['sh', '-c', f'exec {WGD} {more} {name} {redirection}'], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, env={**environment, **(env or {})})
    equal(p.wait(10), 0, 'exit status of the command')
    started = set(host.processes_inside()) - before
    equal(len(started), 1, 'daemons in the background')
    return started.pop()


@test
def errors_go_to_syslog_when_stderr_is_gone(lab):
    for how in 'not wanted', 'reader gone', 'closed':
        host = lab.host('a')
        syslog = private_dev(host)
        other = host.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 5000))
        if how == 'reader gone':
            os.mkfifo(f'{TMP}/gone')
            end = os.open(f'{TMP}/gone', os.O_RDONLY | os.O_NONBLOCK)
            pid = background(host, env={'LOG_LEVEL': 'error'}, redirection=f'2>{TMP}/gone')
            os.close(end)
        else:
            pid = background(host, redirection='2>&-' if how == 'closed' else '')
        host.wg('set wg0 listen-port 5000')
        host.ip('link set wg0 up')
        said = syslog.recv(4096)
        check(re.match(rb'<27>wgd\[%d\]: (\d+ log lines? w\w+ lost|wg0: .*in use)' % pid, said), f'{how}: {said!r}')
        other.close()
        wait_until(lambda: (4, 5000) in host.udp_ports(), 10, 'the port is open')
        check(running(pid), f'{how}: the daemon goes on')
        lab.clear()


# ----------------------------------------------------------------------------------------------- descriptors, limits

@test
def closed_standard_descriptors_are_not_reused(lab):
    for redirection in '0<&-', '1>&-', '2>&-', '0<&- 1>&- 2>&-':
        for in_background in False, True:
            t = Tunnel(lab)
            t.da.stop()
            if in_background:
                pid = background(t.a, redirection=redirection)
            else:
                daemon = t.a.daemon('wg0', program=in_shell(f'exec "$@" {redirection}'))
                pid = daemon.pid
            t.configure(t.a)
            t.works()
            closed = [int(part[0]) for part in redirection.split()]
            for fd in closed:
                equal(os.readlink(f'/proc/{pid}/fd/{fd}'), '/dev/null', f'descriptor {fd} of the daemon')
            wait_until(lambda: sleeps(pid), 5, f'the daemon that was started with {redirection} rests')
            lab.clear()


@test
def standard_descriptors_are_refused_as_tun_or_socket(lab):
    host = lab.host('a')
    for env in {'WG_TUN_FD': '0'}, {'WG_UAPI_FD': '2'}, {'WG_TUN_FD': '77'}, {'WG_TUN_FD': '7', 'WG_UAPI_FD': '7'}:
        p = host.try_run(['sh', '-c', f'exec {WGD} -f wg0 7</dev/null'], env=env, timeout=10)
        equal(p.returncode, 1, f'exit status with {env}')
        check(next(iter(env)) in p.output and next(iter(env.values())) in p.output, f'{env}: {p.output.strip()!r}')
        check(not host.link_exists('wg0'), 'an interface was made')


@test(seconds=120)
def few_descriptors_are_enough_or_the_limit_is_named(lab):
    worked, refused = [], []
    for limit in (*range(3, 60, 4), 63, 64):
        t = Tunnel(lab)
        t.da.stop()
        p = t.a.popen(['sh', '-c', f'ulimit -n {limit}; exec {WGD} -f wg0'], stdin=subprocess.DEVNULL,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, 'LOG_LEVEL': 'error'})
        wait_until(lambda: p.poll() is not None or t.da.answers(), 10, f'a decision with {limit} descriptors')
        if p.poll() is None:
            t.configure(t.a)
            t.works()
            worked.append(limit)
        else:
            said = p.stdout.read()
            if limit > 4:  # the program loader needs that many
                equal(p.returncode, 1, f'exit status with {limit} descriptors: {said!r}')
                check(re.search(rf'ulimit -n. is {limit}, .*raise it to \d+', said), f'with {limit}: {said!r}')
            refused.append(limit)
        lab.clear()
    check(worked and refused and min(worked) > max(refused), f'worked with {worked}, refused {refused}')
    lab.say(f'works from {min(worked)} descriptors on')


@test
def a_soft_limit_of_descriptors_is_raised(lab):
    host = lab.host('a')
    daemon = host.daemon('wg0', program=in_shell('ulimit -Sn 8; exec "$@"'))
    with open(f'/proc/{daemon.pid}/limits') as f:
        soft, hard = re.search(r'Max open files +(\d+) +(\d+)', f.read()).groups()
    check(8 < int(soft) <= int(hard), f'limits {soft} and {hard}')


@test
def without_inotify_a_removed_socket_still_ends_the_daemon(lab):
    for error in errno.EMFILE, errno.ENOSYS:
        host = lab.host('a')
        daemon = host.daemon('wg0', program=refusing(inotify_init1=error))
        check('interface: wg0' in host.wg('show wg0'), 'wg show')
        wait_until(lambda: sleeps(daemon.pid), 5, 'the daemon rests')
        os.unlink(host.path(daemon.socket))
        equal(daemon.wait_exit(), 0, 'exit status')
        check(not host.link_exists('wg0'), 'the interface is gone')
        lab.clear()


@test
def works_where_a_container_refuses_system_calls(lab):
    program = refusing(prctl=errno.EPERM, setrlimit=errno.EPERM, prlimit64=errno.EPERM, mlock=errno.EPERM,
                       madvise=errno.EINVAL, inotify_init1=errno.EPERM)
    t = Tunnel(lab, programs=(program, program))
    t.works()
    check('memory cannot be locked' in t.da.tail(), f'said: {t.da.tail()!r}')


@test
def a_small_address_space_is_enough(lab):
    for kib in 200_000, 60_000:
        host = lab.host('a')
        p = host.popen(['sh', '-c', f'ulimit -v {kib}; exec {WGD} -f wg0'], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_until(lambda: p.poll() is not None or 'interface: wg0' in host.try_run('wg show wg0').output,
                   what=f'a decision with {kib} KiB')
        check(p.poll() is None, f'with {kib} KiB the daemon ended: {p.stdout.read() if p.poll() is not None else ""}')
        host.wg(f'set wg0 private-key /dev/stdin peer {Key().public}', Key().private)
        lab.clear()


@test
def a_limit_of_memory_that_cannot_be_set_is_named(lab):
    host = lab.host('a')
    p = host.try_run(refusing(setrlimit=errno.EPERM, prlimit64=errno.EPERM) + ['-f', 'wg0'],
                     env={'WG_MEMORY_MIB': '64'}, timeout=10)
    equal(p.returncode, 1, 'exit status')
    check('cannot limit the memory to 64 MiB: Operation not permitted' in p.output, p.output.strip())


@test
def works_without_proc(lab):
    t = Tunnel(lab, programs=(in_shell('exec unshare -m sh -c \'mount -t tmpfs none /proc && exec "$@"\' sh "$@"'),
                             None))
    t.works()
    t.a.ping_output('10.9.0.77')
    wait_until(lambda: 'no peer has an allowed IP' in t.da.tail(50), what='a line of the log')


# -------------------------------------------------------------------------------------------------------------- socket

@test
def the_directory_of_the_socket_is_made_with_its_parents(lab):
    host = lab.host('a')
    host.run('mount -t tmpfs none /var')
    os.umask(0o077)
    daemon = host.daemon('wg0', wait=False)
    wait_until(lambda: 'interface: wg0' in host.try_run('wg show wg0').output, what='wg(8) finds the daemon')
    for directory in '/var/run', '/var/run/wireguard':
        equal(oct(stat.S_IMODE(os.stat(host.path(directory)).st_mode)), '0o755', f'mode of {directory}')
    mode = os.stat(host.path('/var/run/wireguard/wg0.sock')).st_mode
    check(stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o700, f'mode of the socket: {oct(mode)}')
    equal(daemon.stop(), 0, 'exit status')
    equal(os.listdir(host.path('/var/run/wireguard')), [], 'what is left in the directory')


@test
def the_directory_of_the_socket_can_be_chosen(lab):
    for how in 'option', 'environment':
        host = lab.host('a')
        elsewhere = f'{TMP}/sockets/{how}'
        daemon = host.daemon('wg0', wait=False, program=[WGD, '--socket-dir', elsewhere] if how == 'option' else None,
                             env={'WG_SOCKET_DIR': elsewhere if how == 'environment' else ''})
        daemon.socket = f'{elsewhere}/wg0.sock'
        daemon.wait_ready()
        equal(os.listdir(host.path('/run/wireguard')), [], 'sockets in the usual place')
        os.unlink(host.path(daemon.socket))
        equal(daemon.wait_exit(), 0, 'exit status after the removal of the socket')
        lab.clear()


@test
def a_directory_that_cannot_be_used_is_named_with_the_reason(lab):
    host = lab.host('a')
    host.run(['sh', '-ec', f'''mkdir {TMP}/full; mount -t tmpfs -o nr_inodes=1 none {TMP}/full
                               mkdir {TMP}/closed; mount -t tmpfs -o ro none {TMP}/closed; touch {TMP}/file'''])
    for directory, reason in ('full', 'No space left'), ('closed', 'Read-only'), ('file', 'Not a directory'), \
                             ('x' * 120, 'too long|cannot be the path'):
        p = host.try_run([WGD, '-f', '--socket-dir', f'{TMP}/{directory}', 'wg0'], timeout=10)
        equal(p.returncode, 1, f'exit status with {directory}')
        check(f'{TMP}/{directory}' in p.output and re.search(reason, p.output), f'{directory}: {p.output.strip()!r}')
        check(not host.link_exists('wg0'), 'an interface is left')
    p = host.try_run([WGD, '-f', '--socket-dir', 'relative', 'wg0'], timeout=10)
    check(p.returncode == 1 and '--socket-dir takes an absolute path, not relative' in p.output, p.output.strip())


@test
def a_socket_that_was_replaced_belongs_to_its_new_owner(lab):
    host = lab.host('a')
    daemon = host.daemon('wg0')
    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    lab.sockets.append(other)
    other.bind(host.path('/run/wireguard/new'))
    os.rename(host.path('/run/wireguard/new'), host.path(daemon.socket))
    equal(daemon.wait_exit(), 0, 'exit status')
    check(daemon.socket_exists(), "the new owner's socket is still there")


# ---------------------------------------------------------------------------------------------------------- port, sends

@test
def a_port_in_use_when_the_link_goes_up_is_tried_again(lab):
    t = Tunnel(lab)
    t.works()
    t.a.ip('link set wg0 down')
    wait_until(lambda: not t.a.udp_ports(), what='the port is closed')
    other = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 10001))
    third = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 10009))
    t.a.ip('link set wg0 up')
    said = lambda words: sum(words in line for line in open(t.da.log))
    wait_until(lambda: said('cannot open UDP port 10001: the port is in use'), what='the daemon says why')
    before = t.da.uapi('get=1\n\n')
    for port in 10001, 10009:
        equal(t.da.errno(f'set=1\nlisten_port={port}\nfwmark=77\n\n'), -errno.EADDRINUSE, f'errno of port {port}')
    equal(t.da.uapi('get=1\n\n'), before, 'the configuration after the refusals')
    stays(lambda: said('cannot open UDP port') == 1, 2, 'it says so once')
    other.close()
    wait_until(lambda: said('UDP port 10001 is open now'), 6, 'the daemon says that the port is open')
    t.works()
    third.close()
    t.a.ip('link set wg0 down')
    wait_until(lambda: not t.a.udp_ports(), what='the port is closed')
    other = t.a.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=('0.0.0.0', 10001))
    t.a.ip('link set wg0 up')
    wait_until(lambda: said('cannot open UDP port') == 2, what='the daemon says it again for another time')
    equal(t.da.errno('set=1\nlisten_port=10009\n\n'), 0, 'errno of a free port')
    equal(t.a.udp_ports() - {(4, 10001)}, {(4, 10009), (6, 10009)}, 'a free port is opened at once')
    other.close()
    t.works()


@test
def a_failed_send_is_logged_once_per_peer_with_its_reason(lab):
    t = Tunnel(lab, initiator='a')
    t.works()
    said = lambda: [line.rstrip() for line in open(t.da.log) if 'could not send' in line]
    t.a.nft('add table inet t; add chain inet t out { type filter hook output priority 0; };'
            'add rule inet t out udp dport 10002 drop')
    t.a.no_ping('10.9.0.2')
    name = f'wgd: wg0: peer({t.pub_b[:8]}…): could not send: '
    equal(said(), [name + 'Operation not permitted'], 'lines about a packet filter')
    for _ in range(20):
        t.a.ping_output('10.9.0.2', wait=0.1)
    equal(len(said()), 1, 'lines after more of the same')
    t.a.nft('flush chain inet t out')
    t.a.ip('link set veth down')
    t.a.ping_output('10.9.0.2', count=2, wait=0.1)
    wait_until(lambda: said()[1:] == [name + 'Network is unreachable'], what=f'a line about the route in {said()}')
    other = Key().public
    t.a.wg(f'set wg0 peer {other} endpoint 203.0.113.1:9 allowed-ips 10.9.0.99/32')
    t.a.ping_output('10.9.0.99', wait=0.1)
    wait_until(lambda: said()[2:] == [f'wgd: wg0: peer({other[:8]}…): could not send: Network is unreachable'],
               what=f'a line about the other peer in {said()}')


@test
def a_network_that_marks_all_packets_is_logged_once_and_accepted_by_option(lab):
    for drop in '1', '0':
        t = Tunnel(lab, env={'WG_CONGESTION_DROP': drop, 'LOG_LEVEL': 'error'})
        t.works()
        t.b.nft('add table inet t; add chain inet t out { type filter hook output priority 0; };'
                'add rule inet t out udp dport 10001 ip ecn set ce')
        (t.a.no_ping if drop == '1' else t.a.ping)('10.9.0.2')
        t.a.ping_output('10.9.0.2', count=5, wait=0.1)
        said = [line.rstrip() for line in open(t.da.log) if 'RFC 6040' in line]
        equal(len(said), 1, f'lines about congestion marks in {said}')
        words = 'packets are dropped, see --no-congestion-drop' if drop == '1' else 'packets pass'
        check(said[0].startswith(f'wgd: wg0: peer({t.pub_b[:8]}…): ') and said[0].endswith(words), said[0])
        lab.clear()


@test
def events_name_peers_by_their_keys(lab):
    t = Tunnel(lab, initiator='a')
    t.works()
    t.a.wg(f'set wg0 peer {t.pub_b} remove')
    for words in 'sent a handshake initiation', 'started a session', 'was removed':
        wait_until(lambda: f'wgd: wg0: peer({t.pub_b[:8]}…): {words}\n' in open(t.da.log).read(), what=words)
    check(not re.search(r'peer \d', open(t.da.log).read()), 'a peer has a number')


# ------------------------------------------------------------------------------------------------------------- signals

STRAYS = [signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
          signal.SIGIO, signal.SIGPWR, signal.SIGXFSZ, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD]


@test
def unrelated_signals_do_not_end_the_daemon(lab):
    t = Tunnel(lab)
    t.works()
    pid = background(t.b, 'wg1')
    for number in STRAYS:
        t.da.process.send_signal(number)
        os.kill(pid, number)
        t.a.ping('10.9.0.2')
    for number in [signal.SIGHUP]:  # neither of the two has a terminal that can close
        t.da.process.send_signal(number)
        os.kill(pid, number)
    t.works()
    check(running(pid) and 'wg1' in t.b.wg('show interfaces'), 'the daemon in the background goes on')
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not running(pid), what='the daemon in the background ends on SIGTERM')


@test
def sigquit_ends_the_daemon_as_sigterm_does(lab):
    host = lab.host('a')
    daemon = host.daemon('wg0')
    equal(daemon.stop(signal.SIGQUIT), 0, 'exit status')
    check(not daemon.socket_exists() and not host.link_exists('wg0'), 'socket and interface are gone')


@test
def a_closed_terminal_ends_the_daemon_in_the_foreground_and_no_other(lab):
    for nohup in False, True:
        host = lab.host('a')
        master, terminal = os.openpty()
        script = ('import fcntl, os, signal, sys, termios\n'
                  'os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n'
                  f'signal.signal(signal.SIGHUP, signal.{"SIG_IGN" if nohup else "SIG_DFL"})\n'
                  'os.execv(sys.argv[1], sys.argv[1:])')
        p = host.popen([sys.executable, '-c', script, WGD, '-f', 'wg0'], stdin=terminal, stdout=terminal,
                       stderr=terminal, env={**os.environ, 'LOG_LEVEL': 'verbose'})
        os.close(terminal)
        wait_until(lambda: 'interface: wg0' in host.try_run('wg show wg0').output, what='the daemon answers')
        in_background = background(host, 'wg1')
        os.close(master)
        if nohup:
            host.ip('link set wg0 up')
            stays(lambda: p.poll() is None, 0.5, 'the daemon under nohup goes on')
            check('interface: wg0' in host.wg('show wg0'), 'and answers')
        else:
            equal(wait_until(lambda: p.poll() is not None and p.returncode + 1, what='the daemon ends') - 1, 0,
                  'exit status')
            check(not host.link_exists('wg0'), 'the interface is gone')
        check(running(in_background), 'the daemon in the background goes on')
        lab.clear()


@test
def works_in_a_removed_working_directory(lab):
    for more in '', '-f':
        host = lab.host('a')
        p = host.popen(['sh', '-c', f'mkdir {TMP}/left{more} && cd {TMP}/left{more} && rmdir {TMP}/left{more} && '
                        f'exec {WGD} {more} wg0'], stdin=subprocess.DEVNULL)
        wait_until(lambda: 'interface: wg0' in host.try_run('wg show wg0').output, what='the daemon answers')
        host.ip('link set wg0 up')
        host.ip('link del wg0')
        wait_until(lambda: not list(host.processes_inside()), what='the daemon ends')
        equal(p.wait(5), 0, 'exit status')
        lab.clear()


# ------------------------------------------------------------------------------------------------------------- options

@test
def options_are_read_from_the_environment(lab):
    t = Tunnel(lab, env={'WG_WORKERS': '1', 'WG_BUSY_POLL': '0', 'WG_MEMORY_MIB': '64', 'WG_OFFLOAD_OFF': 'queues'})
    t.works()
    with open(f'/proc/{t.da.pid}/limits') as f:
        check(re.search(r'Max data size +67108864 ', f.read()), 'the limit of memory is set')
    files = [os.readlink(f'/proc/{t.da.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{t.da.pid}/fd')]
    equal(files.count('/dev/net/tun'), 1, 'queues of the TUN device')
    p = t.a.try_run([WGD, '-f', 'wg1'], env={'WG_WORKERS': 'many'}, timeout=10)
    check(p.returncode == 1 and 'WG_WORKERS takes a number from 1 to 64, not many' in p.output, p.output.strip())
    p = t.a.try_run([WGD, '--help'])
    for name in 'WG_WORKERS', 'WG_MEMORY_MIB', 'WG_BUSY_POLL', 'WG_SOCKET_DIR', '/var/run/wireguard':
        check(name in p.output, f'{name} is missing in the help')


# ---------------------------------------------------------------------------------------------------------------- bind

def bound_to(lab, where, **options):
    return Tunnel(lab, programs=([WGD, '--bind', where], None), opens=False, **options)


def udp_addresses(host):
    """Local addresses of the UDP sockets of a host, as ss(8) writes them."""
    return {line.split()[3] for line in host.run('ss -Hlun').splitlines()}


@test
def a_daemon_bound_to_an_address_uses_no_other(lab):
    for outer, address, other in (4, '192.0.2.1', '192.0.2.9'), (6, '2001:db8::1', '2001:db8::9'):
        t = bound_to(lab, address, outer=outer, initiator='a')
        equal(udp_addresses(t.a), {endpoint(address, 10001)}, 'sockets')
        t.works()
        t.a.address('veth', f'{other}/{24 if outer == 4 else 64}')
        t.b.wg(f'set wg0 peer {t.pub_a} endpoint {endpoint(other, 10001)}')
        t.a.wg(f'set wg0 peer {t.pub_b} remove')
        pass_initiation_interval()
        t.a.setconf('wg0', re.sub('Endpoint.*', '', t.config(t.a)))
        t.b.no_ping('10.9.0.1')
        equal(t.a.show('wg0').peer.rx, 0, 'bytes that came to the other address')
        lab.clear()


@test
def a_daemon_bound_to_an_interface_uses_it_again_after_it_is_recreated(lab):
    t = Tunnel(lab, programs=(in_shell('WG_BIND=wire exec "$@"'), None), up=False)
    t.a.ip('link set wg0 up')
    t.b.ip('link set wg0 up')
    wait_until(lambda: 'wg0: cannot open UDP port 10001: No such device' in t.da.tail(),
               what='the daemon says that the interface is missing')
    check(not t.a.udp_ports(), 'a socket is open')
    for _ in range(2):
        lab.link(t.a, t.b, '198.51.100.1/24', '198.51.100.2/24', 'wire')
        wait_until(lambda: t.a.udp_ports() == {(4, 10001), (6, 10001)}, 6, 'the port is open')
        check(all('%wire:' in address for address in udp_addresses(t.a)), f'sockets: {udp_addresses(t.a)}')
        t.a.wg(f'set wg0 peer {t.pub_b} endpoint 198.51.100.2:10002')
        t.a.ping('10.9.0.2', wait=7)
        # The route to this endpoint leads to the other wire, which must stay silent.
        seen = t.a.capture('veth')
        t.a.wg(f'set wg0 peer {t.pub_b} endpoint 192.0.2.2:10002')
        t.a.ping_output('10.9.0.2', count=3)
        equal(seen.udp(), [], 'datagrams on the wire that the daemon is not bound to')
        t.a.ip('link del wire')


@test
def an_address_to_bind_to_may_be_added_later(lab):
    t = bound_to(lab, '192.0.2.55', initiator='a')
    wait_until(lambda: 'cannot open UDP port 10001: Cannot assign requested address' in t.da.tail(),
               what='the daemon says that the address is missing')
    t.a.address('veth', '192.0.2.55/24')
    wait_until(lambda: udp_addresses(t.a) == {'192.0.2.55:10001'}, 6, 'the port is open')
    t.works()
    equal(t.b.show('wg0').peer.endpoint, '192.0.2.55:10001', "a's endpoint at b")
    for wrong in '192.0.2.256', 'a/b':
        p = t.a.try_run([WGD, '-f', 'wg1'], env={'WG_BIND': wrong}, timeout=10)
        check(p.returncode == 1 and 'WG_BIND takes an IPv4 or IPv6 address' in p.output, p.output.strip())


if __name__ == '__main__':
    if sys.argv[1:2] == ['--refuse']:
        refuse_and_run(sys.argv[2].split(','), sys.argv[3:])
    main(__doc__, known_failures, programs=('nft',))
