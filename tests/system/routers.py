#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""routers suite: the daemon as one static file (samples/static) for processors of routers, against the native daemon.

Files for other processors run in user-mode emulation: system calls, TUN and sockets are those of this kernel. The
emulator lacks SO_MARK and the byte order of segment sizes on big-endian machines; the daemon works without them.
"""
import os
import re
import shutil
import subprocess
import sys

from checks import check, equal, need, skip
from hosts import die_with_parent, tcp_copy, udp_echo
from runner import main, test
from wg_tools import ROOT, TMP, Tunnel

sys.path.insert(0, os.path.join(ROOT, 'tests'))
import zig  # noqa: E402

EMULATORS = {'mips-linux-musleabi': 'qemu-mips-static', 'aarch64-linux-musl': 'qemu-aarch64-static',
             'arm-linux-musleabihf': 'qemu-arm-static', 'riscv64-linux-musl': 'qemu-riscv64-static',
             'x86_64-linux-musl': None}
MOST_BYTES = 250_000         # of the file for MIPS
MOST_PRIVATE_KIB = 1024      # of the idle daemon, over an empty program
EMPTY = 'int main(void) { for (;;) __asm__ volatile("" : : : "memory"); }'
_built = {}


def zig_environment():
    path, why = zig.compiler()
    if path is None:
        skip(why)
    cache = os.path.join(zig.cache_dir(), 'zig', 'cache')
    return {**os.environ, 'ZIG': path, 'ZIG_GLOBAL_CACHE_DIR': cache, 'ZIG_LOCAL_CACHE_DIR': cache}


def static_daemon(target):
    """The file for a target, which is built once in a run."""
    if target not in _built:
        made = f'{TMP}/wgd.{target}'
        done = subprocess.run([f'{ROOT}/samples/static/build.sh', target, made], env=zig_environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check(done.returncode == 0, f'{target} does not build: {done.stdout[-2000:]}')
        _built[target] = made
    return _built[target]


def runnable(target):
    """The command that starts the file: the file itself, or a script that calls the emulator."""
    made, emulator = static_daemon(target), EMULATORS[target]
    if emulator is None:
        return made
    need(emulator)
    script = f'{made}.sh'
    with open(script, 'w') as f:
        f.write(f'#!/bin/sh\nexec {shutil.which(emulator)} {made} "$@"\n')
    os.chmod(script, 0o755)
    return script


@test(seconds=300)
def the_file_for_mips_is_small(lab):
    made = static_daemon('mips-linux-musleabi')
    with open(made, 'rb') as f:
        head = f.read(20)
    equal(head[:6], b'\x7fELF\x01\x02', 'an ELF file of 32 bits, big-endian')
    size = os.path.getsize(made)
    lab.say(f'{size} bytes')
    check(size <= MOST_BYTES, f'{size} bytes, more than {MOST_BYTES}')
    need('qemu-mips-static')
    said = subprocess.run([runnable('mips-linux-musleabi'), '--version'], text=True, stdout=subprocess.PIPE)
    check(said.returncode == 0 and said.stdout.startswith('wgd '), f'--version: {said}')


def private_kib(pid):
    with open(f'/proc/{pid}/smaps_rollup') as f:
        return int(re.search(r'^Private_Dirty:\s+(\d+) kB', f.read(), re.M)[1])


@test(seconds=300)
def an_idle_daemon_has_little_memory_of_its_own(lab):
    """The memory that an idle daemon with a session has written to, minus that of an empty program."""
    source, empty = f'{TMP}/empty.c', f'{TMP}/empty'
    with open(source, 'w') as f:
        f.write(EMPTY)
    tools = zig_environment()
    done = subprocess.run([tools['ZIG'], 'cc', '-target', 'x86_64-linux-musl', '-Os', '-static', '-s', source, '-o',
                           empty], env=tools, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, done.stdout)
    t = Tunnel(lab, programs=(static_daemon('x86_64-linux-musl'), None))
    t.works()
    nothing = subprocess.Popen([empty], preexec_fn=die_with_parent)
    try:
        base, ours = private_kib(nothing.pid), private_kib(t.da.pid)
    finally:
        nothing.kill()
        nothing.wait()
    lab.say(f'{ours} KiB private and dirty, an empty program {base} KiB')
    check(ours - base <= MOST_PRIVATE_KIB, f'{ours - base} KiB more than an empty program')


def is_a_peer(target, long=False):
    def peer(lab):
        program = runnable(target)
        for outer in 4, 6:
            for initiator in 'a', 'b':
                t = Tunnel(lab, outer, initiator=initiator, programs=(program, None))
                first, inner = (t.a, '10.9.0.2') if initiator == 'a' else (t.b, '10.9.0.1')
                first.ping(inner, wait=10)
                t.works()
                t.a.ping('10.9.0.2', count=50, size=1392, flood=True)
                udp_echo(t.a, t.b, 'fd09::2')
                udp_echo(t.b, t.a, '10.9.0.1')
                there, back = tcp_copy(t.a, t.b, '10.9.0.2', 1), tcp_copy(t.b, t.a, 'fd09::1', 1)
                lab.say(f'{there:.0f} and {back:.0f} Mbit/s')
                lab.clear()
    peer.__name__ = target.split('-')[0] + '_is_a_peer'
    test(peer, long=long, seconds=300)


is_a_peer('mips-linux-musleabi')
is_a_peer('aarch64-linux-musl')
is_a_peer('arm-linux-musleabihf', long=True)
is_a_peer('riscv64-linux-musl', long=True)


if __name__ == '__main__':
    main(__doc__)
