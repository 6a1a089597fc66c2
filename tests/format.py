#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Every C++ file is formatted as .clang-format says.

    format.py [--fix | --self-test]

--fix formats the files that are not. --self-test plants a badly formatted file, and passes if it is found.
Another version of clang-format breaks lines at other places, so the test takes the version in VERSION and no other.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERSION = 16
PATTERNS = ["*.hpp", "*.inl", "*.cpp", "*.h", "*.c"]


def formatter():
    """The program clang-format of the pinned version, or None."""
    for name in f"clang-format-{VERSION}", "clang-format":
        if shutil.which(name):
            shown = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(rf"version {VERSION}\.", shown):
                return name
    return None


def sources():
    for folder in "include", "lib", "samples", "tests", "bench":
        for pattern in PATTERNS:
            yield from sorted((ROOT / folder).rglob(pattern))


def unformatted(program, files):
    """The files that clang-format would change; None if clang-format itself failed."""
    shown = subprocess.run([program, "--dry-run", *map(str, files)], capture_output=True, text=True)
    if shown.returncode != 0:
        print(f"FAIL {program}: {shown.stderr[-1000:]}")
        return None
    return sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: code should be clang-formatted", shown.stderr, re.M)))


def self_test(program):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / ".clang-format", folder)
        planted = pathlib.Path(folder) / "planted.hpp"
        planted.write_text("int  f( ){return 1;}\n")
        return unformatted(program, [planted]) == [str(planted)]


def main():
    program = formatter()
    if not program:
        print(f"skip format: no clang-format {VERSION} here")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    if "--self-test" in sys.argv[1:]:
        good = self_test(program)
        print(f"{'ok  ' if good else 'FAIL'} finds a planted file that is not formatted")
        print(f"{int(good)} passed, {int(not good)} failed, 0 skipped")
        return 0 if good else 1
    files = list(sources())
    if "--fix" in sys.argv[1:]:
        return subprocess.run([program, "-i", *map(str, files)]).returncode
    wrong = unformatted(program, files)
    for path in wrong or []:
        print(f"FAIL {pathlib.Path(path).relative_to(ROOT)}: not formatted; run tests/format.py --fix")
    failed = 1 if wrong is None else len(wrong)
    print(f"{len(files) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
