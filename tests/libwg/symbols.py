#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""libwg exports the functions of wg.h and nothing else, and wg.h is C99 and C++98.

    LIBWG=build/lib/libwg.so symbols.py
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADER = ROOT / "include" / "wg.h"
failed = 0


def check(good, what):
    global failed
    print(f"{'ok  ' if good else 'FAIL'} {what}")
    failed += not good


def declared():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"\b(wg_\w+)\((?!\*)", text))


def exported():
    shown = subprocess.run(["nm", "-D", "--defined-only", os.environ["LIBWG"]], capture_output=True, text=True,
                           check=True)
    symbols = [line.split()[-2:] for line in shown.stdout.splitlines()]
    # The sanitizers export their own.
    return {name.partition("@")[0] for kind, name in symbols
            if kind != "A" and not name.startswith(("__asan", "__odr_asan", "__ubsan", "__tsan", "__lsan"))}


def mapped():
    return set(re.findall(r"^\s+(wg_\w+);", (ROOT / "lib" / "wg.map").read_text(), re.M))


def compiles(compiler, standard, language):
    done = subprocess.run([*compiler.split(), f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror",
                           "-x", language, "-fsyntax-only", "-"], input=f'#include "{HEADER}"\nint one;\n',
                          capture_output=True, text=True)
    return done.returncode == 0


check(exported() == declared(), f"the symbols of libwg: {sorted(exported() ^ declared()) or len(declared())}")
check(mapped() == declared(), f"lib/wg.map: {sorted(mapped() ^ declared()) or len(declared())}")
for program in "gcc", "clang":
    if not shutil.which(program):
        print(f"skip {program}: not installed")
        continue
    for standard, language in ("c99", "c"), ("c11", "c"), ("c++98", "c++"), ("c++20", "c++"):
        check(compiles(program, standard, language), f"{program} compiles wg.h as {standard}")
print(f"{0 if failed else 1} passed, {failed} failed, 0 skipped")
sys.exit(failed != 0)
