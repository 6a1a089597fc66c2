#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks the machine code of every operation for branches and addresses that depend on secrets, including the kernels
that valgrind cannot run. The program records each instruction that it executes (recording.hpp). taint.py follows the
secrets through the recording and the disassembly. Planted leaks must be found.

    disassembly.py                   every group, with the instruction sets that include AVX-512, or the largest set
    disassembly.py GROUP SET         one group with one set of instruction sets
"""
import os
import re
import sys
import tempfile

from observing import build, groups, need_x86
from cases import Failed, Skipped, command, compilers, need, run_cases, temporary
from taint import STEP, Program, Run, Unknown

# The allocator reads memory that the test frees, which held secrets.
NOT_OURS = {"_int_free"}
# The name of a kernel function includes its instruction set if it uses more than the baseline.
KERNEL = re.compile(r"avx512|ifma")


def read_program(program):
    return Program(command("objdump", "-d", "-M", "intel", "--no-show-raw-insn", program))


def follow(program, listing, group, which):
    """Runs a group with the trap flag set and follows its secrets during the run."""
    run = Run(listing)
    with tempfile.TemporaryDirectory(prefix="wg-test-") as there:
        pipe = os.path.join(there, "steps")
        os.mkfifo(pipe)
        pid = os.posix_spawn(program, [str(program), group, which, pipe], os.environ,
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.path.join(there, "out"),
                                            os.O_WRONLY | os.O_CREAT, 0o600)])
        with open(pipe, "rb") as steps:
            while block := steps.read(STEP * 8 * 32768):
                run.follow(memoryview(block).cast("Q"))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(os.path.join(there, "out")) as printed:
            said = printed.read()
        run.found = {at: what for at, what in sorted(run.found.items()) if listing.function[at] not in NOT_OURS}
        if status != 0 or said != "done\n":
            raise Failed(f"exit status {status}: {said}")
    return run


def told(program, listing, found):
    lines = command("addr2line", "-e", program, *(f"{at:x}" for at in found)).splitlines()
    return "\n".join(f"{what}: {listing.text[at]}, in {listing.function[at]}, {os.path.basename(line)}"
                     for (at, what), line in zip(found.items(), lines))


class Case:
    """A program of one compiler, with its disassembly. The disassembly records which instructions ran."""

    def __init__(self, compiler, there):
        self.compiler, self.there, self.program, self.why = compiler, there, None, None

    def listing(self):
        if self.program is None:
            need("objdump")
            self.program = build(self.there, self.compiler, "-O2", "-static")
            self.code = read_program(self.program)
        return self.code


def clean(case, group, which):
    listing = case.listing()
    run = follow(case.program, listing, group, which)
    if run.executed < 10:
        raise Failed(f"only {run.executed} instructions were recorded")
    if run.found:
        raise Failed(f"{len(run.found)} leaks\n{told(case.program, listing, run.found)}")


def leaks(case, group, which):
    listing = case.listing()
    run = follow(case.program, listing, group, which)
    if not run.found:
        raise Failed("the planted leak was not found")


def all_ran(case):
    """Fails if a kernel function did not run: the other cases would not have checked it."""
    listing = case.listing()
    names = {name for name in listing.function.values() if name and "bundled" in name and KERNEL.search(name)}
    ran = {listing.function[at] for at in listing.compiled}
    if missing := sorted(names - ran):
        raise Failed(f"these of {len(names)} kernel functions did not run:\n" + "\n".join(missing))
    code = [at for at, name in listing.function.items() if name in names]
    seen = sum(at in listing.compiled for at in code)
    print(f"     {case.compiler}: {seen} of {len(code)} instructions of {len(names)} kernel functions ran")


def guarded(function, *arguments):
    try:
        function(*arguments)
    except Unknown as why:
        raise Failed(str(why)) from None


def cases_of(case, only):
    """The cases of one program: groups combined with instruction sets. Long groups run with the largest set alone."""
    sets = command(case.program, "--sets").split()
    clean_groups, planted = groups(case.program)
    if only:
        yield f"no leak in {only[0]} with {only[1]}", lambda: guarded(clean, case, *only)
        return
    wide = [s for s in sets if "avx512" in s]
    for group in planted:
        for which in {sets[0], sets[-1], *(s for s in sets if s.endswith("avx2"))}:
            yield f"finds {group} with {which}", lambda g=group, s=which: guarded(leaks, case, g, s)
    for group in clean_groups:
        if group in ("handshake", "plain"):
            continue  # handshake uses only code of the other groups; memcheck.py runs plain ten times faster
        chosen = sets if group == "hashing" or not wide else wide if group != "agreement" else sets[-1:]
        for which in chosen:
            yield f"no leak in {group} with {which}", lambda g=group, s=which: guarded(clean, case, g, s)
    if wide:
        yield "every kernel ran", lambda: guarded(all_ran, case)


def main():
    with temporary() as there:
        cases = []
        for number, compiler in enumerate(compilers()):
            case = Case(compiler, os.path.join(there, str(number)))
            os.mkdir(case.there)
            try:
                need_x86()
                case.listing()
                cases += [(f"{name}, {compiler}", function) for name, function in cases_of(case, sys.argv[1:])]
            except (Failed, Skipped) as why:
                def again(reason=why):
                    raise reason
                cases.append((compiler, again))
        run_cases(cases, workers=1)


main()
