#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""A policy of a user takes at most 40 lines. Counts the lines between the marks in tests/unit/user_policies.cpp."""
import re

from cases import ROOT, Failed, run_cases

FILE = ROOT / "tests" / "unit" / "user_policies.cpp"
WANTED = ["crypto", "aead", "clock", "tun", "socket"]
MOST = 40


def sizes(text):
    """Lines between `// begin NAME` and `// end NAME`, by name."""
    found, name, count = {}, None, 0
    for line in text.splitlines():
        mark = re.fullmatch(r"// (begin|end) (\w+)", line)
        if mark and mark.group(1) == "begin":
            if name:
                raise Failed(f"{mark.group(2)} begins within {name}")
            name, count = mark.group(2), 0
        elif mark:
            if name != mark.group(2):
                raise Failed(f"{mark.group(2)} ends within {name}")
            found[name], name = count, None
        elif name:
            count += 1
    if name:
        raise Failed(f"{name} does not end")
    return found


def each_is_small():
    found = sizes(FILE.read_text())
    if sorted(found) != sorted(WANTED):
        raise Failed(f"marks: {sorted(found)}, not {sorted(WANTED)}")
    large = {name: count for name, count in found.items() if count > MOST}
    if large:
        raise Failed(f"more than {MOST} lines: {large}")
    print(", ".join(f"{name} {count}" for name, count in found.items()))


def counts_a_policy_that_is_too_long():
    text = "// begin tun\n" + "x\n" * (MOST + 1) + "// end tun\n"
    if sizes(text) != {"tun": MOST + 1}:
        raise Failed("it cannot count")


run_cases([("a user's policies have at most 40 lines", each_is_small),
           ("counts a policy that is too long", counts_a_policy_that_is_too_long)])
