#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""clang-tidy finds nothing in the headers and the samples. It takes minutes, so it is part of --full.

Other versions of clang-tidy have other checks, so the test takes version 16 and no other.
"""
import re

from cases import FREESTANDING, ROOT, Failed, command, need, run_cases

PROGRAM = "clang-tidy-16"


def clean(path, *flags):
    need(PROGRAM)
    printed = command(PROGRAM, "-quiet", path, "--", "-std=c++20", "-I", ROOT / "include", *FREESTANDING, *flags,
                      cwd=ROOT)
    if re.search(r"(warning|error): ", printed):
        raise Failed(printed)


def finds_planted():
    """The control: a private member without its suffix is found."""
    need(PROGRAM)
    planted = ROOT / "build-logs" / "planted.cpp"
    planted.parent.mkdir(exist_ok=True)
    planted.write_text("class planted {\n    int member = 0;\n};\n")
    try:
        if "readability-identifier-naming" not in command(PROGRAM, "-quiet", planted, "--", "-std=c++20", cwd=ROOT):
            raise Failed("a planted name was not found")
    finally:
        planted.unlink()


run_cases([("finds a planted name", finds_planted)] +
          [(f"{path.name}", lambda p=path: clean(p)) for path in sorted((ROOT / "samples").glob("*.cpp"))])
