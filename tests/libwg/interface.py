#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""libwg exports the functions of wg.h and nothing else, wg.h is C99 and C++98, and the example of docs/c.md compiles.

    LIBWG=build/lib/libwg.so interface.py
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


def compiles(compiler, standard, language, text):
    done = subprocess.run([compiler, f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror",
                           f"-I{HEADER.parent}", "-x", language, "-fsyntax-only", "-"],
                          input=text, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr)
    return done.returncode == 0


check(exported() == declared(), f"the symbols of libwg: {sorted(exported() ^ declared()) or len(declared())}")
check(mapped() == declared(), f"lib/wg.map: {sorted(mapped() ^ declared()) or len(declared())}")
examples = re.findall(r"^```c\n(.*?)^```", (ROOT / "docs" / "c.md").read_text(), re.M | re.S)
check(examples, "docs/c.md has examples")
for program in "gcc", "clang":
    if not shutil.which(program):
        print(f"skip {program}: not installed")
        continue
    for standard, language in ("c99", "c"), ("c11", "c"), ("c++98", "c++"), ("c++20", "c++"):
        good = compiles(program, standard, language, "#include <wg.h>\nint one;\n")
        check(good, f"{program} compiles wg.h as {standard}")
    for number, text in enumerate(examples, 1):
        check(compiles(program, "gnu99", "c", text), f"{program} compiles example {number} of docs/c.md")
print(f"{0 if failed else 1} passed, {failed} failed, 0 skipped")
sys.exit(failed != 0)
