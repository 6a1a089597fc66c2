#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs every operation under valgrind, with its secrets marked as uninitialised memory. memcheck reports each branch
and each address that depends on a secret. Every instruction set that valgrind supports is used. Planted leaks must be
found."""
import concurrent.futures
import os
import subprocess

from observing import build, groups
from cases import Failed, Skipped, command, compilers, need, run_cases, temporary

FOUND = 99
VALGRIND = ["valgrind", "-q", f"--error-exitcode={FOUND}", "--track-origins=no", "--num-callers=6"]
NOT_SEEN = {"plant_division"}  # memcheck does not check divisors


def check(program, group, which, leaks):
    """Runs groups under valgrind. valgrind spends most of its time on debug information, so all clean groups share one
    run."""
    done = subprocess.run([*VALGRIND, program, group, which], text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode not in (0, FOUND) or "done" not in done.stdout.split():
        raise Failed(f"exit status {done.returncode}\n{done.stdout[-4000:]}")
    if leaks and done.returncode != FOUND:
        raise Failed("the planted leak was not found")
    if not leaks and done.returncode:
        raise Failed(done.stdout[:8000])


def cases_of(compiler, flags, program, with_planted):
    clean, planted = groups(program)
    clean.remove("plain")
    yield f"no leak in plain, {compiler} {flags}", lambda: check(program, "plain", "baseline", False)
    sets = command(*VALGRIND, program, "--sets").split()
    for which in sets:
        yield (f"no leak in {', '.join(clean)} with {which}, {compiler} {flags}",
               lambda w=which: check(program, ",".join(clean), w, False))
    for group in planted if with_planted else []:
        if group not in NOT_SEEN:
            yield (f"finds {group} with {sets[-1]}, {compiler} {flags}",
                   lambda g=group: check(program, g, sets[-1], True))


def main():
    with temporary() as there:
        def built(number, compiler, flags):
            """The cases of one build. A build that fails or is skipped gives one case that reports it."""
            folder = os.path.join(there, str(number))
            os.mkdir(folder)
            try:
                need("valgrind")
                if not os.path.exists("/usr/include/valgrind/memcheck.h"):
                    raise Skipped("valgrind's headers are not installed")
                program = build(folder, compiler, *flags.split())
                return list(cases_of(compiler, flags, program, flags == "-O2"))
            except (Failed, Skipped) as error:
                def again(reason=error):
                    raise reason
                return [(f"{compiler} {flags}", again)]
        builds = [(c, f) for c in compilers() for f in ("-O2", "-O3 -DNDEBUG", "-Os -DWG_SMALL")]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            cases = list(pool.map(lambda item: built(item[0], *item[1]), enumerate(builds)))
        run_cases([case for of_build in cases for case in of_build])


main()
