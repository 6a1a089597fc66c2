#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""clang-tidy finds nothing in the samples and the headers. The test takes minutes, so it is part of --full.

A sample for the host includes all headers except those that need a library or are for other systems. The daemon for
Windows includes those of Windows. The others are analysed as source files, except the few that need the headers of
macOS or of a BSD. The firmware uses the parts that are for boards. The files runtime.cpp are left out: they stand in
for the C++ library, so their names are reserved ones. Other versions of clang-tidy have other checks, so the test takes
version 16 and no other.
"""
import os
import pathlib
import re
import shlex

from cases import (FREESTANDING, HEADERS, OPTIONAL, ROOT, SYSTEM_ONLY, Failed, all_headers, clang_for_windows, command,
                   compilers, library_flags, need, optional, run_cases, temporary)

PROGRAM = "clang-tidy-16"
SAMPLES = sorted((ROOT / "samples").glob("*.cpp"))
FLAGS = ["-std=c++20", "-I", ROOT / "include", *FREESTANDING]
FIRMWARE = ROOT / "samples" / "firmware"
OTHER_SYSTEMS = re.compile("os/(posix|darwin|bsd|windows)/")
BOARDS = {  # case: target of clang, flags for its processor, variables of the firmware's Makefile
    "a Cortex-M3": ("thumbv7m-none-eabi", [], ["BOARD=mps2-an385"]),
    "a Cortex-M3 with little flash": ("thumbv7m-none-eabi", [], ["BOARD=mps2-an385", "SMALL=1"]),
    "a RISC-V": ("riscv32-none-elf", ["-march=rv32imac", "-mabi=ilp32"], ["BOARD=virt"]),
}


def findings(path, *flags):
    """What clang-tidy prints about a file. Fails if the file does not compile."""
    return command(PROGRAM, "-quiet", f"--config-file={ROOT / '.clang-tidy'}", path, "--", *FLAGS, *flags, cwd=ROOT)


def clean(path, *flags):
    need(PROGRAM)
    printed = findings(path, *flags)
    if re.search(r"(warning|error): ", printed):
        raise Failed(printed)


def clean_with_library(header):
    """An optional header, analysed as a source file. Skipped where its library is missing."""
    need(PROGRAM)
    clean(HEADERS / header, "-x", "c++", *library_flags(compilers()[0], header))


def clean_for_windows():
    """The daemon for Windows, which includes the headers of os/windows."""
    clean(ROOT / "samples" / "wgd.cpp", *clang_for_windows())


def included_by(compiler, path, *flags):
    """The headers of the library that a source includes."""
    named = command(compiler, *FLAGS, *flags, "-MM", path).replace("\\\n", " ").split()
    real = {os.path.realpath(name) for name in named}
    return {header for header in all_headers() if os.path.realpath(HEADERS / header) in real}


def included_by_samples():
    need(compilers()[0])
    return set().union(*(included_by(compilers()[0], path) for path in SAMPLES))


def clean_for_other_systems():
    """The headers that Linux can compile and no sample for it includes."""
    rest = [h for h in all_headers() if re.match("os/(posix|darwin|bsd)/", h) and h not in SYSTEM_ONLY]
    for header in sorted(set(rest) - included_by_samples()):
        clean(HEADERS / header, "-x", "c++")


def clean_firmware(target, processor, variables):
    """The firmware with the macros of its Makefile and the headers of its compiler."""
    need(PROGRAM)
    made = shlex.split(command("make", "-n", "-B", "--no-print-directory", "-C", FIRMWARE, *variables))
    compiler, *flags = made[next(i for i, word in enumerate(made) if word.endswith("g++")):made.index("./main.cpp")]
    searched = command(compiler, *flags, "-x", "c++", "-E", "-v", os.devnull, cwd=FIRMWARE)
    folders = re.findall(r"^ (/\S+)$", searched, re.MULTILINE)
    clean(FIRMWARE / "main.cpp", f"--target={target}", *processor, "-nostdinc",
          *(f"-isystem{folder}" for folder in folders), *(flag for flag in flags if flag.startswith("-D")))


def reaches_all_headers():
    """A sample includes each header that needs no library and is not for other systems."""
    included = included_by_samples()
    missing = [h for h in all_headers() if optional(h) is None and h not in included and not OTHER_SYSTEMS.match(h)]
    if missing:
        raise Failed(f"no sample includes {' '.join(missing)}")


def finds_planted():
    """The control: a private member without its suffix is found in a header."""
    need(PROGRAM)
    with temporary() as folder:
        header = pathlib.Path(folder) / "include" / "wg" / "planted.hpp"
        header.parent.mkdir(parents=True)
        header.write_text("class planted {\n    int member = 0;\n};\n")
        source = pathlib.Path(folder) / "planted.cpp"
        source.write_text('#include "include/wg/planted.hpp"\n')
        if "readability-identifier-naming" not in findings(source):
            raise Failed("the planted name was not found")


cases = [(path.name, lambda p=path: clean(p)) for path in reversed(SAMPLES)] + [
    ("wgd.cpp with WG_SMALL", lambda: clean(ROOT / "samples" / "wgd.cpp", "-DWG_SMALL")),
    *((f"firmware for {name}", lambda b=board: clean_firmware(*b)) for name, board in BOARDS.items()),
    *((header, lambda h=header: clean_with_library(h)) for header in OPTIONAL),
    ("wgd.cpp for Windows", clean_for_windows),
    ("headers of macOS and the BSDs", clean_for_other_systems),
    ("samples include all headers", reaches_all_headers),
    ("finds a planted name", finds_planted),
]
run_cases(cases, workers=len(os.sched_getaffinity(0)))
