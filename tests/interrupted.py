#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""After an interruption, the demonstration and the tests leave nothing behind: no process, network namespace,
interface, mount or file. The daemon under test: WGD=/path, by default the one of build-gcc."""
import os
import pathlib
import signal
import subprocess
import sys
import time

from cases import ROOT, Failed, Skipped, need, run_cases, temporary

WGD = os.environ.get("WGD", str(ROOT / "build-gcc" / "samples" / "wgd"))
MARK = "WG_TEST_INTERRUPTED"
PATIENCE_S = 15
GONE_S = 2  # shorter than the interrupted command would still have run

# Runs one system test as run.py does, until it is interrupted.
RUNNER = """
import sys
import run
try:
    run.Pool().run([run.Job("system", sys.argv[2:], sys.argv[1])])
except run.Interrupted:
    sys.exit(130)
"""


def marked(mark):
    """{pid: name} of the processes that inherited the mark, in all sessions and namespaces."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:
            continue  # the process has ended in the meantime
    return found


def surroundings():
    """Everything but processes that may be left behind."""
    ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout.splitlines()
    files = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in (".git", "__pycache__")
                      and not (folder == str(ROOT) and f.startswith("build-") and f != "build-demo")]
        files |= {os.path.join(folder, name) for name in folders + names}
    sockets = pathlib.Path("/run/wireguard")
    return {"network namespaces": {line.split()[0] for line in ip("netns", "list")},
            "interfaces": {line.split(": ")[1] for line in ip("-o", "link")},
            "mounts": set(pathlib.Path("/proc/self/mounts").read_text().splitlines()),
            "files": files | ({str(path) for path in sockets.iterdir()} if sockets.is_dir() else set())}


def wait_for(condition, what, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {patience_s} s")
        time.sleep(0.02)


def check_gone(mark, before):
    wait_for(lambda: not marked(mark), f"the end of {sorted(marked(mark).values())}", GONE_S)
    for what, there in surroundings().items():
        if there - before[what]:
            raise Failed(f"{what} left behind: {sorted(there - before[what])}")


def as_from_a_terminal():
    """Signals that `nohup` or a shell's `&` made this test ignore have their effect in the command."""
    for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)


def start(command, mark, **options):
    """Starts a command in a session of its own, as a terminal does. It gets SIGTERM if this test dies."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                            env={**os.environ, MARK: mark, "WGD": WGD}, preexec_fn=as_from_a_terminal, **options)


def finish(process, mark):
    """Ends all processes with the mark."""
    for pid in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.stdout.close()
    process.wait()


def check_machine():
    for program in "ip", "wg", "iperf3", "ping", "setpriv":
        need(program)
    if os.geteuid() != 0:
        raise Skipped("you are not root")
    if not os.path.exists("/dev/net/tun"):
        raise Skipped("there is no /dev/net/tun")
    if not os.access(WGD, os.X_OK):
        raise Skipped(f"no program at {WGD}")


def demo_interrupted(when, number, by_terminal, status):
    check_machine()
    before, mark = surroundings(), f"{os.getpid()}-{number}-{when}"
    demo = start([str(ROOT / "demo.sh")], mark, cwd="/")
    try:
        said = ""
        for line in demo.stdout:
            said += line
            if "No tunnel on this machine" in line:
                raise Skipped(line.strip())
            if when in line:
                break
        else:
            raise Failed(f"it ended before it said {when!r}:\n{said}")
        wait_for(lambda: list(marked(mark).values()).count(os.path.basename(WGD)[:15]) == 2 or when.startswith("Two"),
                 "both daemons run")
        (os.killpg if by_terminal else os.kill)(demo.pid, number)
        wait_for(lambda: demo.poll() is not None, "demo.sh ends")
        if demo.returncode != status:
            raise Failed(f"exit status {demo.returncode}, not {status}")
        check_gone(mark, before)
    finally:
        finish(demo, mark)


def system_test_interrupted():
    check_machine()
    before, mark = surroundings(), f"{os.getpid()}-run"
    with temporary() as there:
        test = [sys.executable, str(ROOT / "tests" / "system" / "configuration.py"),
                "link_down_closes_the_port_and_link_up_reopens_it", "reconfiguration_under_traffic_does_no_harm"]
        log = pathlib.Path(there, "log")
        runner = start([sys.executable, "-c", RUNNER, str(log), *test], mark, cwd=ROOT / "tests")
        try:
            wait_for(lambda: os.path.basename(WGD)[:15] in marked(mark).values() or runner.poll() is not None,
                     "a daemon runs")
            if runner.poll() is not None:
                said = log.read_text()
                raise (Skipped if " 0 failed" in said else Failed)(said.strip())
            os.killpg(runner.pid, signal.SIGINT)
            wait_for(lambda: runner.poll() is not None, "the runner ends")
            if runner.returncode != 130:
                raise Failed(f"exit status {runner.returncode}: {runner.stdout.read()}")
            check_gone(mark, before)
        finally:
            finish(runner, mark)


run_cases([
    ("demo.sh, Ctrl-C while it pings", lambda: demo_interrupted("Alice pings", signal.SIGINT, True, 130)),
    ("demo.sh, SIGINT to it alone during TCP", lambda: demo_interrupted("TCP through", signal.SIGINT, False, 130)),
    ("demo.sh, SIGTERM while it sets up", lambda: demo_interrupted("Two machines", signal.SIGTERM, False, 143)),
    ("demo.sh, the terminal hangs up", lambda: demo_interrupted("Alice pings", signal.SIGHUP, True, 143)),
    ("a system test, Ctrl-C", system_test_interrupted),
], workers=1)
