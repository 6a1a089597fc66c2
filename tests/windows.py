#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The headers of os/windows compile for Windows, agree with the headers of Windows, and run under Wine.

    windows.py [SUITE...]

Compiles with mingw-w64's g++ and, where it finds mingw's C++ library, the oldest clang++; warnings are errors. The unit
tests of os/windows, with the calls of the test and with those of Windows, and some of the core become one program. Wine
runs each suite of os/windows, and then the rest. SUITE runs only these suites. The daemon is compiled and linked for
arm64. Wine keeps its files in a temporary directory.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import zig
from cases import (FREESTANDING, ROOT, STRICT, Failed, Skipped, clang_for_windows, command, compilers, need, run_cases,
                   temporary)

MINGW = "x86_64-w64-mingw32-g++-posix"
HERE = ROOT / "tests" / "windows"
UNIT = ROOT / "tests" / "unit"
BOOST = pathlib.Path("/usr/include/boost")
LIBRARIES = ["-lws2_32", "-lbcrypt", "-liphlpapi", "-lsynchronization", "-ladvapi32"]
SOURCES = [*sorted(UNIT.glob("os_windows_*.cpp")), HERE / "real.cpp"]
SUITES = [path.stem if path.parent == UNIT else f"os_windows_{path.stem}" for path in SOURCES]
CORE = [UNIT / f"{name}.cpp" for name in (
    "bundled_aead", "bundled_blake2s", "bundled_x25519", "control_uapi", "device_allowed_ips", "protocol_noise",
    "protocol_replay")]
SYSTEM = ["winsock2.h", "ws2tcpip.h", "mswsock.h", "windows.h"]
WINE_LIMIT_S = 60
WINE_BEGINS_S = 120  # the first start makes the files of a Windows


def clang():
    """The oldest clang++ as a compiler for Windows."""
    name = next((name for name in compilers() if "clang" in name), None)
    if name is None:
        raise Skipped("no clang++ is installed")
    return [name, *clang_for_windows()]


def compiler_of(name):
    if name == "clang++":
        return clang()
    need(MINGW)
    return [MINGW]


def syntax(compiler, source, *flags):
    command(*compiler_of(compiler), *STRICT, *FREESTANDING, *flags, "-I", ROOT / "include", "-fsyntax-only",
            "-x", "c++", "-", source=source)


def surroundings(compiler, before, flags):
    """wg.hpp compiles after the headers of Windows or before them."""
    ours, theirs = "#include <wg/wg.hpp>\n", "".join(f"#include <{name}>\n" for name in SYSTEM)
    # The standard library and Windows agree on none of these macros, so a program includes it first.
    library = "#include <algorithm>\n#include <string>\n#include <thread>\n"
    use = "wg::device<wg::default_policies>* device;\nwg::engine<wg::default_policies>* engine;\n"
    syntax(compiler, (library + theirs + ours if before else ours + theirs) + use, *flags)


def layout(compiler):
    syntax(compiler, (HERE / "layout.cpp").read_text(), "-Wno-unused-function")


def arm64(folder):
    """The daemon compiles and links for arm64, by the clang in zig (tests/zig.py), which has WaitOnAddress in another
    library. The first link builds zig's C++ library, which takes minutes."""
    path, why = zig.compiler()
    if path is None:
        raise Skipped(why)
    target = ["-target", "aarch64-windows-gnu"]
    libraries = ["-lapi-ms-win-core-synch-l1-2-0", *(name for name in LIBRARIES if name != "-lsynchronization")]
    output, program = folder / "wgd-arm64.o", folder / "wgd-arm64.exe"
    said = command(path, "c++", *target, "-std=c++20", "-O0", "-g0", "-fno-sanitize=all", "-Wall", "-Wextra",
                   "-Wconversion", "-Wshadow", *FREESTANDING, "-I", ROOT / "include", "-c",
                   ROOT / "samples" / "wgd.cpp", "-o", output)
    # The library in zig has warnings of its own, and zig puts its options behind ours.
    ours = [line for line in said.splitlines() if " warning: " in line and "/lib/libcxx/" not in line]
    ours = [line for line in ours if not line.startswith("zig: ")]
    if ours:
        raise Failed("\n".join(["", *ours]))
    command(path, "c++", *target, output, *libraries, "-o", program)
    if not program.is_file():
        raise Failed("the linker has made no program")


def build(folder):
    """Compiles the program of the unit tests. Returns: its path."""
    need(MINGW)
    if not BOOST.is_dir():
        raise Skipped(f"no {BOOST} here")
    (folder / "include").mkdir()
    (folder / "include" / "boost").symlink_to(BOOST)
    flags = [*STRICT, "-O1", "-DWG_TESTS_WITHOUT_LIBRARY", "-I", ROOT / "include", "-I", UNIT,
             "-isystem", folder / "include"]
    jobs = []
    for source in [*SOURCES, *CORE, UNIT / "main.cpp"]:
        jobs.append((source, [MINGW, *flags, "-c", source, "-o", folder / f"{source.stem}.o"]))
    for start in range(0, len(jobs), 2):  # two at a time
        running = [(source, subprocess.Popen([str(a) for a in job], text=True, stdout=subprocess.PIPE,
                                             stderr=subprocess.STDOUT)) for source, job in jobs[start:start + 2]]
        said = [(source, process.communicate()[0], process.returncode) for source, process in running]
        for source, text, status in said:
            if status != 0:
                raise Failed(f"{source.name}\n{text}")
    program = folder / "unit.exe"
    command(MINGW, "-static", *[folder / f"{source.stem}.o" for source, _ in jobs], *LIBRARIES, "-o", program)
    return program


class Wine:
    """Wine with files of its own below `folder`. `close` ends its server."""

    def __init__(self, folder):
        self.env = {**os.environ, "WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all", "WINEDLLOVERRIDES":
                    "mscoree,mshtml=", "DISPLAY": ""}
        self.program = next((name for name in (shutil.which("wine64"), "/usr/lib/wine/wine64")
                             if name and os.path.exists(name)), None)
        self.server = next((name for name in (shutil.which("wineserver"), "/usr/lib/wine/wineserver64")
                            if name and os.path.exists(name)), None)
        self.begun = False

    def run(self, *arguments, limit_s):
        return subprocess.run([self.program, *map(str, arguments)], env=self.env, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=limit_s)

    def need(self):
        if self.program is None or self.server is None:
            raise Skipped("wine64 is not installed")
        if not self.begun:
            started = self.run("wineboot", "-i", limit_s=WINE_BEGINS_S)
            if started.returncode != 0:
                raise Skipped(f"Wine does not start here: {started.stdout.strip()[-300:]}")
            self.begun = True

    def close(self):
        if self.begun:
            subprocess.run([self.server, "-k"], env=self.env, timeout=WINE_LIMIT_S)


class Program:
    """The program of the unit tests, compiled when the first suite needs it."""

    def __init__(self, folder):
        self.folder, self.wine, self.path, self.failure = folder, Wine(folder), None, None

    def compile(self):
        try:
            self.path = build(self.folder)
        except (Failed, Skipped) as failure:
            self.failure = failure
            raise

    def run(self, suite):
        if self.failure:
            raise Skipped("the program was not built")
        self.wine.need()
        done = self.wine.run(self.path, "--color_output=no", f"--run_test={suite}", limit_s=WINE_LIMIT_S)
        counts = re.search(r"^(\d+) passed, (\d+) failed, \d+ skipped\s*$", done.stdout, re.M)
        if done.returncode != 0 or not counts or counts[1] == "0" or counts[2] != "0":
            raise Failed(f"exit status {done.returncode}\n{done.stdout}")


def main():
    wanted = sys.argv[1:]
    with temporary() as folder:
        program = Program(pathlib.Path(folder))
        cases = []
        for compiler in (MINGW, "clang++") if not wanted else ():
            for flags in ([], ["-DNOMINMAX"]) if compiler == MINGW else ([],):
                name = f"{flags[0][2:]}, {compiler}" if flags else compiler
                for before, order in (True, "after"), (False, "before"):
                    cases.append((f"{order} the headers of Windows, {name}",
                                  lambda c=compiler, b=before, f=flags: surroundings(c, b, f)))
            cases.append((f"declarations agree with those of Windows, {compiler}", lambda c=compiler: layout(c)))
        if not wanted:
            cases.append(("wgd compiles and links for arm64", lambda: arm64(program.folder)))
        cases.append(("unit tests compile", program.compile))
        cases += [(f"{suite} under Wine", lambda s=suite: program.run(s)) for suite in wanted or SUITES]
        if not wanted:
            cases.append(("unit tests of the core under Wine", lambda: program.run("!os_windows_*")))
        try:
            run_cases(cases, workers=1)
        finally:
            program.wine.close()


main()
