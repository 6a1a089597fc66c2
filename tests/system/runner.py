# SPDX-License-Identifier: BSL-1.0
"""The runner of the system tests. Standard library only.

A suite is a script that marks functions with @test and ends in `main(__doc__)`. main() starts the script a second
time, inside private network, mount and PID namespaces. When they end, for whatever reason, the kernel removes every
process, interface and socket in them; so a run cannot collide with the machine or with another run.

    @test
    def pings(lab):
        a, b = lab.host('a'), lab.host('b')
        lab.link(a, b, '192.0.2.1/24', '192.0.2.2/24')
        a.ping('192.0.2.2')
"""
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback

from checks import Failure, Skip
from hosts import Lab, die_with_parent
from wg_tools import TMP, WGD

MESON_SKIP = 77
OUR_FILES = {'checks.py', 'hosts.py', 'runner.py', 'wg_tools.py'}  # a failure names the line of the test instead

_tests = []


def test(function=None, *, long=False, seconds=60):
    """Marks a function(lab) as a test: its name is the test's name, `seconds` its time limit. `long` tests need
    --long."""
    def mark(f):
        f.long, f.seconds = long, seconds
        _tests.append(f)
        return f
    return mark(function) if function else mark


class _Timeout(Failure):
    pass


def _alarm(_signal, _frame):
    raise _Timeout('the test did not end in its time')


def _run_one(f, known):
    """Runs one test; prints its line; returns 'passed', 'failed' or 'skipped'."""
    name, lab, start = f.__name__, Lab(), time.monotonic()
    outcome, detail = 'passed', []
    signal.alarm(f.seconds)
    try:
        f(lab)
    except Skip as e:
        outcome, detail = 'skipped', [str(e)]
    except Exception as e:  # a failed check, or any error of the test itself
        signal.alarm(0)
        outcome = 'failed'
        here = [t for t in traceback.extract_tb(e.__traceback__) if os.path.basename(t.filename) not in OUR_FILES]
        detail = [f'{type(e).__name__}: {e}' if not isinstance(e, Failure) else str(e)]
        if here:
            detail.append(f'at {os.path.basename(here[-1].filename)}:{here[-1].lineno}: {here[-1].line}')
        if not isinstance(e, Failure):
            detail += traceback.format_exc().splitlines()
        detail += lab.diagnosis()
    finally:
        signal.alarm(0)
        lab.clear()
    if outcome != 'failed' and lab.complaints:
        outcome, detail = 'failed', lab.complaints
    took = f'{time.monotonic() - start:.1f} s'
    if outcome == 'failed' and name in known:
        print(f'skip {name}: known of {os.path.basename(WGD)}: {known[name]} ({detail[0]})', flush=True)
        return 'skipped'
    if outcome == 'passed':
        print(f'ok {name} ({took})' + ''.join(f' [{s}]' for s in lab.printed), flush=True)
    elif outcome == 'skipped':
        print(f'skip {name}: {detail[0]}', flush=True)
    else:
        print(f'FAIL {name} ({took}): {detail[0]}')
        print('\n'.join('    ' + line for line in detail[1:]), flush=True)
    return outcome


def _cannot_run(programs):
    """The reason that this machine can run no test at all, or None."""
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        return 'not installed: ' + ' '.join(missing)
    if not os.access(WGD, os.X_OK):
        return f'no daemon at {WGD} (build it, or set WGD)'
    try:
        os.close(os.open('/dev/net/tun', os.O_RDWR))
    except OSError as e:
        return f'/dev/net/tun: {e.strerror}'
    probe = subprocess.run(_unshare() + ['sh', '-c', 'mount -t tmpfs none /run && ip tuntap add mode tun probe0'],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if probe.returncode:
        return 'no namespaces with a TUN device here: ' + (probe.stdout.strip() or f'status {probe.returncode}')
    return None


def _unshare():
    user = [] if os.geteuid() == 0 else ['--map-root-user']
    return ['unshare', *user, '--net', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc', '--']


def _outer(arguments, programs):
    """Checks the machine, then runs the script again inside private namespaces."""
    reason = _cannot_run(programs)
    if reason:
        print(f'skip everything: {reason}\n0 passed, 0 failed, 0 skipped', flush=True)
        return MESON_SKIP
    inner = subprocess.Popen(_unshare() + [sys.executable, os.path.abspath(sys.argv[0]), *arguments],
                             env={**os.environ, 'WGD': os.path.abspath(WGD), 'WG_LAB_INSIDE': '1'},
                             preexec_fn=die_with_parent)

    interrupted = []

    def stop(number, _frame):  # runs within inner.wait(), so it must not wait itself
        interrupted.append(number)
        os.kill(inner.pid, signal.SIGKILL)  # --kill-child takes the whole namespace along
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, stop)
    status = inner.wait()
    if interrupted:
        print('\ninterrupted', flush=True)
        return 128 + interrupted[0]
    return status


def _prepare_inside():
    subprocess.run(['mount', '-t', 'tmpfs', 'none', '/run'], check=True)
    os.makedirs(TMP)
    os.makedirs('/run/wireguard')
    os.makedirs('/run/netns')
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outer process decides


PROGRAMS = ('unshare', 'mount', 'ip', 'ss', 'ping', 'wg')


def measure(function, programs=()):
    """Runs function(lab) once inside the private namespaces, for a script without tests."""
    if not os.environ.get('WG_LAB_INSIDE'):
        sys.exit(_outer(sys.argv[1:], (*PROGRAMS, *programs)))
    _prepare_inside()
    lab = Lab()
    try:
        function(lab)
    except (Failure, Skip) as e:
        sys.exit('\n'.join([str(e), *lab.diagnosis()]))
    finally:
        lab.clear()


def main(description, known_failures=None, programs=()):
    """Runs the tests named on the command line, or all. `known_failures` is {daemon's file name: {test: reason}}:
    such a test runs, and its failure counts as skipped."""
    arguments = sys.argv[1:]
    if '--help' in arguments or '-h' in arguments:
        print(f'{description.strip()}\n\nusage: {os.path.basename(sys.argv[0])} [--list] [--long] [NAME...]\n'
              f'The daemon under test: WGD={WGD}')
        sys.exit(0)
    if '--list' in arguments:
        print('\n'.join(f.__name__ + (' (long)' if f.long else '') for f in _tests))
        sys.exit(0)
    names = [a for a in arguments if a != '--long']
    unknown = set(names) - {f.__name__ for f in _tests}
    if unknown:
        print('no such test: ' + ' '.join(sorted(unknown)), file=sys.stderr)
        sys.exit(2)
    if not os.environ.get('WG_LAB_INSIDE'):
        sys.exit(_outer(arguments, (*PROGRAMS, *programs)))
    _prepare_inside()
    known = (known_failures or {}).get(os.path.basename(WGD), {})
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    for f in _tests:
        if names and f.__name__ not in names:
            continue
        if f.long and '--long' not in arguments and not names:
            print(f'skip {f.__name__}: long, run with --long')
            counts['skipped'] += 1
            continue
        counts[_run_one(f, known)] += 1
    print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped', flush=True)
    sys.exit(1 if counts['failed'] else 0)
