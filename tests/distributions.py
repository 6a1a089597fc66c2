#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""./demo.sh and ./test.sh --quick work on the newest stable Debian and on testing, from nothing but their base systems.

Needs root, debootstrap and a mirror of Debian among apt's sources. Each run makes its own base system in /var/tmp,
which takes 2 GB, and removes it at the end. Stable Debian with g++ 13 stands in for Ubuntu 24.04, which has that
compiler.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "system"))
from cases import ROOT, Failed, Skipped, need, run_cases  # noqa: E402
from newest import mirror  # noqa: E402

TRIES = 3
TAIL_LINES = 60
FILTERED = shutil.ignore_patterns("build", "build-*", ".git", "__pycache__", ".cache")


def run(command, limit_s):
    """The exit status and output of a command in its own PID and mount namespaces, so that its processes end with
    it."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=limit_s)
    except subprocess.TimeoutExpired as late:
        return None, f"not finished after {limit_s} s\n{late.stdout or ''}"
    return done.returncode, done.stdout


def base_system(suite, there):
    """Makes the base system. A download that fails is repeated and keeps the packages that are already there."""
    for _ in range(TRIES):
        code, said = run(["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(there),
                          mirror()], 1800)
        if code == 0:
            shutil.copy("/etc/resolv.conf", there / "etc" / "resolv.conf")
            # A mirror may keep an older state of testing than the one whose validity it states.
            (there / "etc" / "apt" / "apt.conf.d" / "99any-state").write_text('Acquire::Check-Valid-Until "false";\n')
            return
    raise Skipped(f"debootstrap does not get {suite} ({TRIES} tries): {' '.join(said.split())[-200:]}")


def inside(there, script, limit_s=7200):
    """Runs a script in the base system, with a /proc of its own and the devices of the machine."""
    # A mount of its own: a mount namespace can be made only below one.
    prepare = f'mount --bind "{there}" "{there}" && cd "{there}" && mount --bind /dev "{there}/dev" && ' \
              f'mount -t sysfs sysfs "{there}/sys" && ' \
              f'mount -t proc proc "{there}/proc" && exec chroot "{there}" bash -c "$0"'
    code, said = run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", prepare,
                      "export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
                      "/usr/bin:/sbin:/bin; cd /src && " + script], limit_s)
    if code != 0:
        raise Failed(f"{script}: exit status {code}\n" + "\n".join(said.splitlines()[-TAIL_LINES:]))
    return said


def works(suite, compiler=None):
    if os.geteuid() != 0:
        raise Skipped("making a base system wants root")
    need("debootstrap")
    if not mirror():
        raise Skipped("apt has no mirror of Debian")
    with tempfile.TemporaryDirectory(prefix=f"wg-{suite}-", dir="/var/tmp") as folder:
        there = pathlib.Path(folder)
        base_system(suite, there)
        shutil.copytree(ROOT, there / "src", ignore=FILTERED, symlinks=True)
        if compiler:  # stands before the distribution's own in the path
            inside(there, f"apt-get -qq update && apt-get -qq install -y --no-install-recommends {compiler} >&2 && "
                          f"ln -s /usr/bin/{compiler} /usr/local/bin/g++")
        else:
            said = inside(there, "./demo.sh")
            tunnel = pathlib.Path("/dev/net/tun").exists()
            if "It works." not in said or tunnel and "ping        answered" not in said:
                raise Failed(f"the demonstration does not show what it can:\n{said[-3000:]}")
        # Debian's Boost.Test needs the C++ library of g++ 14, which is there when a program runs.
        linker = "LDFLAGS=-Wl,--allow-shlib-undefined " if compiler else ""
        said = inside(there, linker + "./test.sh --quick")
        if not re.search(r"^[1-9]\d* passed, 0 failed, \d+ skipped$", said, re.M):
            raise Failed(said[-3000:])


run_cases([("stable", lambda: works("stable")), ("testing", lambda: works("testing")),
           ("stable with g++ 13, for Ubuntu 24.04", lambda: works("stable", "g++-13"))], workers=1)
