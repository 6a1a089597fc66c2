#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Configures, builds and runs the tests; test.sh calls this after it has installed what was missing.

    run.py [--quick | --full] [--long]

The list of tests is meson's, read from meson's introspection files. This script decides which tests run in which
build. It does not use `meson test`, which kills an interrupted test after half a second: a system test needs longer to
remove its namespaces and virtual machines.

A pool runs builds and tests side by side. Its rules are those of `Pool.may_start`:
- A system test (below tests/system) mostly waits. One for every two processors runs beside the builds, with a higher
  priority than they have.
- Builds and scripts that compile use all processors, with a lower priority.
- A test with `is_parallel: false` in meson.build measures time or checks the whole machine. It runs last, alone.

Every test ends with a line 'N passed, N failed, N skipped', and prints what it skipped in lines 'skip TEST: REASON'.
Without the counts, the exit status 0, 77 or another one means passed, skipped or failed.
"""
import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import source_trees
from cases import numbered, warnings_are_errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped\s*$")
SKIP = re.compile(r"^\s*skip(?:ped)?\b[:\s]\s*(.*)", re.IGNORECASE)
GRACE_S = 60  # an interrupted test has this long to clean up, before it is killed
SANITIZERS = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", "ASAN_OPTIONS": "detect_stack_use_after_return=1"}
INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
BACKGROUND_NICE = 10  # on the same processor, a tenth of the time that a system test gets

PORTABLE = ["style", "unit", "programs", "headers", "single", "modes", "footprint", "constant_time", "backends",
            "consumers"]
SYSTEM = ["netns", "tunnel", "link", "daemon", "paths", "flood", "interop", "kernel", "firmware", "routers", "wine",
          "memory", "load", "offloads", "throughput"]


def oldest_clang():
    """The oldest clang++ from version 16 on, which is the oldest version that the library supports."""
    return next(iter(numbered("clang++", 16)), "clang++" if shutil.which("clang++") else None)


def builds(quick, full, long):
    """(name, compiler, meson's arguments, suites) of each build."""
    lean = "-Ddebug=false"  # compilers take a third less time without debug information
    if quick:
        # Without optimization g++ takes half of the time for the tests, and the tests take twice as long.
        yield "quick", "g++", [lean, "-Doptimization=0"], ["unit"]
        return
    clang = oldest_clang()
    system = ["long"] if long else SYSTEM  # the long tests contain the short ones
    trees = {}
    for name in source_trees.TREES:
        trees[name], reason = source_trees.tree(name)
        if trees[name] is None:
            os.environ[f"WG_NO_{name.upper()}"] = f"({reason})"  # for missing_backend.py
    yield "sanitize", clang, ["-Dsamples=disabled", "-Doptimization=0", "-Db_lundef=false",
                              "-Db_sanitize=address,undefined", f"-Dlwip={trees['lwip'] or ''}"], ["unit", "programs"]
    yield "gcc", "g++", [lean, "-Dbench=enabled", *(f"-D{name}={tree or ''}" for name, tree in trees.items())], \
        PORTABLE + (["matrix"] if full else []) + system
    if full:
        yield "clang", clang, [lean], ["unit", "programs", "single"]
        yield "gcc-release", "g++", ["--buildtype=release", "-Db_ndebug=true"], ["unit", "programs"]
        yield "gcc-debug", "g++", ["--buildtype=debug"], ["unit", "programs"]
        yield "gcc-native", "g++", [lean, "-Dcpp_args=-march=native"], ["unit", "programs"]


# ------------------------------------------------------------------------------------------------------------ the pool

class Interrupted(Exception):
    """The run was interrupted; no process of it is left."""


class Job:
    """A command whose output goes to the file `log`.

    `finished(job)` is called at its end, with `code` (its exit status, None after `limit_s`), `seconds` and
    `processor_s`, and returns the jobs that can run now. `slots` is the number of processes that it keeps busy. Steps
    of a build start before tests, because other tests wait for them.
    """

    def __init__(self, kind, command, log, finished=lambda job: [], environment=None, limit_s=None, slots=1,
                 is_step=False):
        self.kind, self.command, self.log, self.finished = kind, command, log, finished
        self.environment, self.limit_s, self.slots, self.is_step = environment or {}, limit_s, slots, is_step
        self.code, self.seconds, self.processor_s, self.timed_out = None, 0.0, 0.0, False

    def start(self):
        self.started = time.monotonic()
        self.deadline = self.started + self.limit_s if self.limit_s else float("inf")
        self.signals = [signal.SIGTERM, signal.SIGKILL]
        with open(self.log, "wb") as out:
            # In a session of its own, a test does not get Ctrl-C from the terminal, but one signal from this script.
            self.process = subprocess.Popen(self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, env={**os.environ, **self.environment},
                                            start_new_session=True, preexec_fn=self.prepare_child)

    def prepare_child(self):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the pool waits with its signals blocked
        if self.kind == "background":
            os.nice(BACKGROUND_NICE)
            with contextlib.suppress(OSError):  # where each session is scheduled as a group, groups have nice values
                pathlib.Path("/proc/self/autogroup").write_text(str(BACKGROUND_NICE))

    def ended(self):
        """Whether the process has ended; takes its exit status and its times then."""
        pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.code = None if self.timed_out else self.process.returncode
        self.seconds = time.monotonic() - self.started
        self.processor_s = used.ru_utime + used.ru_stime
        return True

    def stop(self):
        """Sends the next signal to all its processes: first SIGTERM and, GRACE_S later, SIGKILL."""
        if not self.signals:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, self.signals.pop(0))
        self.deadline = time.monotonic() + GRACE_S if self.signals else float("inf")


class Pool:
    """Runs jobs side by side. A job's kind is "background" (builds, scripts that compile), "program" (one processor),
    "system" (mostly waits) or "alone"."""

    def __init__(self, processors=None):
        self.processors = processors or len(os.sched_getaffinity(0))
        self.waiting, self.running = [], []

    def may_start(self, job):
        kinds = collections.Counter(other.kind for other in self.running)
        if kinds["alone"]:
            return False
        if job.kind == "alone":
            return not self.running and all(other.kind == "alone" for other in self.waiting)
        if job.kind == "system":
            return kinds["system"] < max(1, self.processors // 2)
        # One slot more than processors: compilers wait for files, and the last file of a build takes one processor.
        used = sum(other.slots for other in self.running if other.kind != "system")
        return used == 0 or used + job.slots <= self.processors + 1

    def run(self, jobs):
        """Runs these jobs and those that they lead to. After a signal it stops them and raises Interrupted."""
        self.waiting = list(jobs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS | {signal.SIGCHLD})
        try:
            while self.waiting or self.running:
                for job in sorted(self.waiting, key=lambda job: not job.is_step):
                    if self.may_start(job):
                        self.waiting.remove(job)
                        job.start()
                        self.running.append(job)
                if self.wait_for_signal() in INTERRUPTS:
                    raise Interrupted
                for job in self.reap():
                    self.waiting += job.finished(job)
        finally:
            self.stop_all()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_for_signal(self):
        """Waits for the end of a job, an interruption or the next deadline; the signal's number, None at a deadline."""
        deadline = min((job.deadline for job in self.running), default=0)
        wait_s = min(max(0, deadline - time.monotonic()), 3600)
        received = signal.sigtimedwait(INTERRUPTS | {signal.SIGCHLD}, wait_s)
        for job in self.running:
            if job.deadline <= time.monotonic():
                job.timed_out = True
                job.stop()
        return received.si_signo if received else None

    def reap(self):
        ended = [job for job in self.running if job.ended()]
        self.running = [job for job in self.running if job not in ended]
        return ended

    def stop_all(self):
        for job in self.running:
            job.stop()
        while self.running:
            self.wait_for_signal()  # a second interruption changes nothing
            self.reap()


# ------------------------------------------------------------------------------------------------------------- results

class Result:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped
        self.seconds = self.processor_s = 0.0
        self.skips = []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.seconds += other.seconds
        self.processor_s += other.processor_s
        self.skips += other.skips

    def counts(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read(log):
    return re.sub(r"\x1b\[[0-9;]*m", "", pathlib.Path(log).read_text(errors="replace")).splitlines()


def result_of(code, lines, name):
    """The result of a finished test, from its exit status and its output."""
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


def show_failure(title, lines):
    telling = [line for line in lines if re.search(r"FAIL|error|Error|ERROR|assert|fatal", line)][:40]
    print(f"--- {title}, the lines about the failure and the last lines:")
    for line in telling + ["..."] + lines[-25:]:
        print(f"    {line}")
    sys.stdout.flush()


class Report:
    """The results by suite. Prints one line for each test as it ends, and a summary."""

    def __init__(self):
        self.results = collections.OrderedDict()
        self.started = time.monotonic()

    def announce(self, suites):
        """Fixes the order of suites in the summary."""
        for suite in suites:
            self.results.setdefault(suite, Result())

    def add(self, suite, result):
        self.results.setdefault(suite, Result()).add(result)

    def add_test(self, suite, name, job):
        lines = read(job.log)
        if job.code is None:
            lines.append(f"FAIL: not finished after {job.limit_s} s")
        result = result_of(1 if job.code is None else job.code, lines, name)
        result.seconds, result.processor_s = job.seconds, job.processor_s
        self.add(suite, result)
        print(f"{'FAIL' if result.failed else 'skip' if not result.passed else 'ok  '} {suite}: {name}: "
              f"{result.counts()}  ({job.seconds:.0f} s)", flush=True)
        if result.failed:
            show_failure(f"{name}: {job.log.relative_to(ROOT)}", lines)

    def add_step(self, suite, name, job):
        """Adds a step of a build. A successful step does not count as a passed test."""
        result = Result(failed=int(job.code != 0))
        result.seconds, result.processor_s = job.seconds, job.processor_s
        self.add(suite, result)
        print(f"{'FAIL' if result.failed else 'ok  '} {suite}: {name}  ({job.seconds:.0f} s)", flush=True)
        if result.failed:
            show_failure(f"{suite}: {name} failed", read(job.log))

    def summary(self):
        """Prints the skipped tests, a table of suites, and the counts; the script's exit status."""
        total = Result()
        for result in self.results.values():
            total.add(result)
        if total.skips:
            print("\nskipped:")
            for skip in total.skips:
                print(f"    {skip}")
        print("\nsuites, with the seconds that they took and the seconds of one processor that they used:")
        for suite, result in self.results.items():
            print(f"    {suite:<20} {result.seconds:5.0f} s {result.processor_s:6.0f} s  {result.counts()}")
        print(f"    {'all, side by side':<20} {time.monotonic() - self.started:5.0f} s {total.processor_s:6.0f} s")
        print(f"\n{total.counts()}")
        return 1 if total.failed or not total.passed else 0


# -------------------------------------------------------------------------------------------------------------- builds

def suite_of(test):
    return test["suite"][0].split(":")[-1]


def kind_of(test):
    script = test["cmd"][1] if len(test["cmd"]) > 1 else ""
    if not test["is_parallel"]:
        return "alone"
    if "tests/system/" in script:
        return "system"
    return "background" if script.endswith(".py") else "program"


class Build:
    """One configuration of the tree: its setup, the steps of its compilation, and the tests of its suites."""

    def __init__(self, name, compiler, arguments, suites, pool, report, logs):
        self.name, self.compiler, self.arguments, self.suites = name, compiler, arguments, suites
        self.pool, self.report, self.logs = pool, report, logs
        self.label = "" if name == "gcc" else f" ({name})"
        self.folder = ROOT / f"build-{name}"
        self.tests = []  # (test, the parts of the compilation that it waits for)

    def step(self, name, command, then, slots):
        def finished(job):
            self.report.add_step(f"build{self.label}", name, job)
            return then() if job.code == 0 else []
        return Job("background", command, self.logs / f"{self.folder.name}-{name.replace(' ', '-')}.log", finished,
                   {"CXX": self.compiler}, None, slots, is_step=True)

    def setup(self):
        """The first job of this build."""
        # Configured anew when the arguments differ from the last run's. ninja itself notices changed meson files.
        werror = f"-Dwerror={str(warnings_are_errors(self.compiler)).lower()}"
        setup = ["meson", "setup", werror, *self.arguments, str(self.folder), str(ROOT)]
        record, wanted = self.folder / "configured-by", f"{self.compiler} {' '.join(setup)}\n"
        if record.exists() and record.read_text() == wanted:
            return self.step("setup", ["ninja", "-C", str(self.folder), "build.ninja"], self.compilation, 1)
        shutil.rmtree(self.folder, ignore_errors=True)

        def configured():
            record.write_text(wanted)
            return self.compilation()
        return self.step("setup", setup, configured, 1)

    def compilation(self):
        """The first step of the compilation, and the tests that need none."""
        info = self.folder / "meson-info"
        tests = [test for test in json.loads((info / "intro-tests.json").read_text()) if suite_of(test) in self.suites]
        tests.sort(key=lambda test: self.suites.index(suite_of(test)))
        files = {target["id"]: os.path.relpath(target["filename"][0], self.folder)
                 for target in json.loads((info / "intro-targets.json").read_text())}
        needs = lambda wanted: {files[target] for test in tests if wanted(test) for target in test["depends"]}
        # The daemon comes first, so that system tests run while the rest compiles.
        units = needs(lambda test: suite_of(test) == "unit")
        daemon = needs(lambda test: suite_of(test) in SYSTEM) - units
        parts = {"daemon": daemon, "unit tests": units, "other programs": needs(lambda test: True) - daemon - units}
        self.parts = [(name, targets) for name, targets in parts.items() if targets]
        for test in tests:
            wanted = {files[target] for target in test["depends"]}
            self.tests.append((test, {name for name, targets in self.parts if targets & wanted}))
        return self.after(None)

    def after(self, part):
        """What can run when this part is compiled: tests, and the compilation of the next part. One at a time, because
        two runs of ninja in one folder are not safe."""
        jobs = self.ready(part)
        if self.parts:
            name, targets = self.parts.pop(0)
            slots = 1 if name == "daemon" else self.pool.processors
            command = ["ninja", "-C", str(self.folder), f"-j{slots}", *sorted(targets)]
            jobs.append(self.step(f"compile {name}", command, lambda: self.after(name), slots))
        return jobs

    def ready(self, part):
        """The tests that waited for this part alone."""
        for _, parts in self.tests:
            parts.discard(part)
        now = [test for test, parts in self.tests if not parts]
        self.tests = [(test, parts) for test, parts in self.tests if parts]
        return [self.job(test) for test in now]

    def job(self, test):
        log = self.logs / f"{self.name}-{test['name']}.log".replace(" ", "-")
        kind = kind_of(test)

        def finished(job):
            self.report.add_test(suite_of(test) + self.label, test["name"], job)
            return []
        return Job(kind, test["cmd"], log, finished, {**SANITIZERS, **test["env"]}, test["timeout"] or None,
                   self.pool.processors if kind == "background" else 1)


def main():
    options = set(sys.argv[1:])
    if options - {"--quick", "--full", "--long"}:
        sys.exit("usage: test.sh [--quick | --full] [--long]")
    logs = ROOT / "build-logs"
    logs.mkdir(exist_ok=True)
    pool, report, jobs = Pool(), Report(), []
    for name, compiler, arguments, suites in builds("--quick" in options, "--full" in options, "--long" in options):
        build = Build(name, compiler, arguments, suites, pool, report, logs)
        if compiler and shutil.which(compiler):
            report.announce([f"build{build.label}", *(suite + build.label for suite in suites)])
            jobs.append(build.setup())
            continue
        for suite in suites:
            skipped = Result(skipped=1)
            skipped.skips = [f"{suite}{build.label}: no {compiler or 'clang 16 or later'} here"]
            report.add(suite + build.label, skipped)
    pool.run(jobs)
    return report.summary()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Interrupted, KeyboardInterrupt):
        print("\ninterrupted")
        sys.exit(130)
