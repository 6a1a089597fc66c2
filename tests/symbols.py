#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Universal Ctags, and so every editor and index that is built on it, finds the symbols of each header.

    symbols.py [--self-test]

ctags does not read `namespace wg::inline WG_ABI {`; below that line it finds nothing. The headers therefore write
`namespace wg { inline namespace WG_ABI {`. --self-test plants the short form and passes if it is found.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEAST = 1500  # symbols of all headers; half of the number in November 2026


def symbols(path):
    """Names of the symbols that ctags finds."""
    out = subprocess.run(["ctags", "-f", "-", "--language-force=C++", str(path)], capture_output=True, text=True,
                         check=True)
    return {line.split("\t")[0] for line in out.stdout.splitlines() if not line.startswith("!")}


def check(headers):
    """Complaints, the headers seen, and the number of symbols."""
    wrong, seen, total = [], 0, 0
    for path in sorted(headers.rglob("*.hpp")):
        seen += 1
        found = symbols(path)
        total += len(found)
        text = path.read_text()
        declared = set(re.findall(r"^(?:template <[^;{]*> )?(?:class|struct) (?:alignas\(\S+\) )?(\w+)[^;<]*{", text,
                                  re.M))
        lost = sorted(declared - found)
        if lost:
            wrong.append(f"{path.name}: ctags does not find {', '.join(lost[:5])}")
    if total < LEAST:
        wrong.append(f"{total} symbols in all, expected at least {LEAST}")
    return wrong, seen, total


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "wg"
        shutil.copytree(ROOT / "include" / "wg" / "engine", copy / "engine")
        lane = copy / "engine" / "lane.hpp"
        lane.write_text(lane.read_text().replace("namespace wg { inline namespace WG_ABI {",
                                                 "namespace wg::inline WG_ABI {").replace("}} //", "} //"))
        return any("lane.hpp" in line for line in check(copy)[0])


def main():
    if not shutil.which("ctags"):
        print("skip symbols: no ctags here")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    if "--self-test" in sys.argv[1:]:
        good = self_test()
        print(f"{'ok  ' if good else 'FAIL'} finds a header in the short form of the namespace")
        print(f"{int(good)} passed, {int(not good)} failed, 0 skipped")
        return 0 if good else 1
    wrong, seen, total = check(ROOT / "include" / "wg")
    for line in wrong:
        print(f"FAIL {line}")
    print(f"{total} symbols")
    print(f"{seen - min(seen, len(wrong))} passed, {len(wrong)} failed, 0 skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
