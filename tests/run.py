#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Configures, builds and runs the tests; test.sh calls this after it has installed what was missing.

    run.py [--quick | --full] [--long]

Which tests there are is meson's list, read by `meson introspect`; here is only which of them run in which build. The
tests are run one after the other and directly, not by `meson test`, which kills an interrupted test after half a
second: the system tests need longer to take down their namespaces and machines.

Every test ends with a line 'N passed, N failed, N skipped' and names what it skipped in lines 'skip WHAT: WHY'.
Without such a line, exit status 0, 77 or another says passed, skipped or failed.
"""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import hacl_sources
from cases import numbered, warnings_are_errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped\s*$")
SKIP = re.compile(r"^\s*skip(?:ped)?\b[:\s]\s*(.*)", re.IGNORECASE)
GRACE_S = 60  # how long an interrupted test may take to clean up
SANITIZERS = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", "ASAN_OPTIONS": "detect_stack_use_after_return=1"}

PORTABLE = ["style", "unit", "headers", "single", "modes", "footprint", "constant_time", "backends", "consumers"]
SYSTEM = ["netns", "link", "daemon", "paths", "flood", "interop", "kernel", "firmware", "routers", "memory", "load",
          "offloads", "throughput"]


def oldest_clang():
    """The one nearest to the floor, 16."""
    return next(iter(numbered("clang++", 16)), "clang++" if shutil.which("clang++") else None)


def builds(quick, full, long):
    """(name, compiler, meson's arguments, suites) for each build."""
    lean = "-Ddebug=false"  # g++ takes a third less time without debug information
    if quick:
        yield "gcc", "g++", [lean], ["unit"]
        return
    clang = oldest_clang()
    system = ["long"] if long else SYSTEM  # a long run contains the short one
    hacl, why = hacl_sources.tree()
    if hacl is None:
        os.environ["WG_NO_HACL"] = f"({why})"  # for missing_backend.py
    yield "sanitize", clang, ["-Dsamples=disabled", "-Doptimization=0", "-Db_lundef=false",
                              "-Db_sanitize=address,undefined"], ["unit"]
    yield "gcc", "g++", [lean, "-Dbench=enabled", f"-Dhacl={hacl or ''}"], \
        PORTABLE + (["matrix"] if full else []) + system
    if full:
        yield "clang", clang, [], ["unit", "single"]
        yield "gcc-release", "g++", ["--buildtype=release", "-Db_ndebug=true"], ["unit"]
        yield "gcc-debug", "g++", ["--buildtype=debug"], ["unit"]
        yield "gcc-native", "g++", ["-Dcpp_args=-march=native"], ["unit"]


class Result:
    def __init__(self, passed=0, failed=0, skipped=0, seconds=0.0):
        self.passed, self.failed, self.skipped, self.seconds = passed, failed, skipped, seconds
        self.skips = []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.seconds += other.seconds
        self.skips += other.skips

    def counts(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Interrupted(Exception):
    pass


def on_signal(_number, _frame):
    raise Interrupted


def run(command, log, timeout_s=None, env=None):
    """Runs a command with its output in the file `log`; its exit status, or None if it took too long."""
    with open(log, "wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            return child.wait(timeout_s)
        except (subprocess.TimeoutExpired, Interrupted) as stop:
            # A session of its own keeps the terminal's Ctrl-C away: the test is asked once, and has time to tidy up.
            for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
                try:
                    os.killpg(child.pid, number)
                    child.wait(patience_s)
                    break
                except ProcessLookupError:
                    child.wait(patience_s)
                    break
                except subprocess.TimeoutExpired:
                    continue
            if isinstance(stop, Interrupted):
                raise
            return None


def read(log):
    return re.sub(r"\x1b\[[0-9;]*m", "", pathlib.Path(log).read_text(errors="replace")).splitlines()


def judge(code, lines, name):
    """What a finished test's exit status and output say."""
    counts = next((COUNTS.match(line) for line in reversed(lines) if COUNTS.match(line)), None)
    skips = [match.group(1) for line in lines if (match := SKIP.match(line))]
    if code == 77:
        result = Result(skipped=max(1, int(counts.group(3)) if counts else 1))
        skips = skips or [next((line for line in reversed(lines) if line.strip() and not COUNTS.match(line)), "")]
    elif counts:
        result = Result(*map(int, counts.groups()))
        if code != 0 and result.failed == 0:
            result.failed = 1
    else:
        result = Result(passed=int(code == 0), failed=int(code != 0))
    result.skips = [f"{name}: {skip}" for skip in skips]
    return result


def show_failure(what, lines):
    telling = [line for line in lines if re.search(r"FAIL|error|Error|ERROR|assert|fatal", line)][:40]
    print(f"--- {what}, the lines that tell and the last ones:")
    for line in telling + ["..."] + lines[-25:]:
        print(f"    {line}")


def ninja_targets(build, tests):
    """The files that these tests need, as ninja names them."""
    wanted = {name for test in tests for name in test["depends"]}
    targets = json.loads((build / "meson-info" / "intro-targets.json").read_text())
    return [os.path.relpath(target["filename"][0], build) for target in targets if target["id"] in wanted]


def prepare(name, compiler, arguments, suites, logs):
    """Configures and builds; the tests of these suites, or None if that failed."""
    build = ROOT / f"build-{name}"
    print(f"building {build.name} ({compiler}) ...", flush=True)
    started = time.monotonic()

    def step(what, command):
        log = logs / f"{build.name}-{what}.log"
        if run(command, log, env={"CXX": compiler}) == 0:
            return True
        show_failure(f"{what} of {build.name} failed", read(log))
        return False

    # Configured anew when asked for otherwise than before; changed meson files are ninja's to notice.
    werror = f"-Dwerror={str(warnings_are_errors(compiler)).lower()}"
    setup = ["meson", "setup", werror, *arguments, str(build), str(ROOT)]
    asked, configured = build / "configured-by", f"{compiler} {' '.join(setup)}\n"
    if not asked.exists() or asked.read_text() != configured:
        shutil.rmtree(build, ignore_errors=True)
        if not step("setup", setup):
            return None
        asked.write_text(configured)
    elif not step("setup", ["ninja", "-C", str(build), "build.ninja"]):
        return None
    listed = json.loads((build / "meson-info" / "intro-tests.json").read_text())
    tests = [test for test in listed if suite_of(test) in suites]
    targets = ninja_targets(build, tests)
    if targets and not step("compilation", ["ninja", "-C", str(build), *targets]):
        return None
    print(f"    {time.monotonic() - started:.0f} s", flush=True)
    return sorted(tests, key=lambda test: suites.index(suite_of(test)))


def suite_of(test):
    return test["suite"][0].split(":")[-1]


def main():
    options = set(sys.argv[1:])
    if options - {"--quick", "--full", "--long"}:
        sys.exit("usage: test.sh [--quick | --full] [--long]")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    logs = ROOT / "build-logs"
    logs.mkdir(exist_ok=True)
    results = collections.OrderedDict()

    def record(suite, result):
        results.setdefault(suite, Result()).add(result)

    for name, compiler, arguments, suites in builds("--quick" in options, "--full" in options, "--long" in options):
        label = "" if name == "gcc" else f" ({name})"
        if compiler is None or not shutil.which(compiler):
            for suite in suites:
                skipped = Result(skipped=1)
                skipped.skips = [f"{suite}{label}: no {compiler or 'clang 16 or later'} here"]
                record(suite + label, skipped)
            continue
        tests = prepare(name, compiler, arguments, suites, logs)
        if tests is None:
            record(f"build{label}", Result(failed=1))
            continue
        for test in tests:
            suite = suite_of(test) + label
            log = logs / (f"{name}-{test['name']}.log".replace(" ", "-"))
            started = time.monotonic()
            code = run(test["cmd"], log, test["timeout"] or None, {**SANITIZERS, **test["env"]})
            lines = read(log)
            if code is None:
                lines.append(f"FAIL: not finished after {test['timeout']} s")
                code = 1
            result = judge(code, lines, test["name"])
            result.seconds = time.monotonic() - started
            record(suite, result)
            print(f"{'FAIL' if result.failed else 'skip' if not result.passed else 'ok  '} {suite}: {test['name']}: "
                  f"{result.counts()}  ({result.seconds:.0f} s)", flush=True)
            if result.failed:
                show_failure(f"{test['name']}: {log.relative_to(ROOT)}", lines)

    total = Result()
    for result in results.values():
        total.add(result)
    if total.skips:
        print("\nskipped:")
        for skip in total.skips:
            print(f"    {skip}")
    print("\nsuites:")
    for suite, result in results.items():
        print(f"    {suite:<20} {result.counts()}  ({result.seconds:.0f} s)")
    print(f"\n{total.counts()}")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Interrupted:
        print("\ninterrupted")
        sys.exit(130)
