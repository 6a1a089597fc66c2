#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The Python code of docs/post-quantum.md computes the keys that stand in its tables and in the unit tests, and those
that samples/ratchet/wg-ratchet sets, whatever the way to an epoch was."""
import os
import pathlib
import re
import subprocess
import sys

from cases import ROOT, Failed, run_cases, temporary

CONFIGURED = bytes(range(0x20, 0x40))
PAGE = (ROOT / "docs" / "post-quantum.md").read_text()
UNIT = (ROOT / "tests" / "unit" / "protocol_ratchet.cpp").read_text()


def code(function="key_of"):
    names = {}
    for part in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(part, names)  # noqa: S102
    return names[function]


def compare(found, what, least):
    if len(found) < least:
        raise Failed(f"{len(found)} keys in {what}")
    key_of = code()
    for seconds, epoch, key in found:
        if key_of(CONFIGURED, int(seconds), int(epoch)).hex() != key:
            raise Failed(f"{what}: not the key of epoch {epoch}")


def table():
    compare([("86400", *row) for row in re.findall(r"^\| (\d+) \| ([0-9a-f]{64}) \|$", PAGE, re.MULTILINE)],
            "the table", 4)


def unit():
    compare(re.findall(r'^    \{(\d+), (\d+)u, "([0-9a-f]{64})"\},$', UNIT, re.MULTILINE), "the unit test", 8)


def exchange():
    ascending = lambda first, size: bytes((first + i) & 255 for i in range(size))
    number = ascending(0x40, 12)
    offer = b"\x01\x01\x01\x00" + number + ascending(1, 1184)
    answer = b"\x02\x01\x01\x00" + number + ascending(2, 1088)
    found = code("exchanged")(ascending(0x10, 32), ascending(3, 32), ascending(0xa0, 32), ascending(0xb0, 32), offer,
                              answer)
    unit_test = (ROOT / "tests" / "unit" / "protocol_pq_exchange.cpp").read_text()
    for what, value in zip(("key", "tag"), found):
        if f"| {what} | {value.hex()} |" not in PAGE or f'{what}_vector = "{value.hex()}"' not in unit_test:
            raise Failed(f"another {what}: {value.hex()}")


def script():
    """The script at several times, with a clock and a wg(8) of this test."""
    import base64
    with temporary() as there:
        there = pathlib.Path(there)
        (there / "wg").write_text("#!/bin/sh\nexec cat > \"$WG_OUT\"\n")
        (there / "wg").chmod(0o755)
        (there / "sitecustomize.py").write_text(
            "import os, time\nnow = float(os.environ['WG_NOW'])\ntime.time = lambda: now\n")
        state, out = there / "state", there / "out"
        state.write_text(base64.b64encode(CONFIGURED).decode() + "\n")
        day, key_of = 20788, code()
        for step in (0, 0, 1, 1, 3, 200, 256, 999):
            day += step
            env = {**os.environ, "PATH": f"{there}:{os.environ['PATH']}", "PYTHONPATH": str(there),
                   "WG_NOW": str(day * 86400 + 5), "WG_OUT": str(out)}
            subprocess.run([sys.executable, ROOT / "samples/ratchet/wg-ratchet", "wg0", "peer", state, "86400"],
                           env=env, check=True)
            if base64.b64decode(out.read_text()) != key_of(CONFIGURED, 86400, day):
                raise Failed(f"another key on day {day}")
            if state.stat().st_mode & 0o777 != 0o600 or CONFIGURED.hex() in state.read_text():
                raise Failed("the state file")
        for wrong in (day - 1, day + 1001):
            refused = subprocess.run([sys.executable, ROOT / "samples/ratchet/wg-ratchet", "wg0", "peer", state,
                                      "86400"], env={**env, "WG_NOW": str(wrong * 86400)}, capture_output=True,
                                     text=True)
            if refused.returncode == 0 or "set the clock" not in refused.stderr:
                raise Failed("a false clock was not refused")


run_cases([("keys in the table of docs/post-quantum.md", table), ("keys in the unit tests", unit),
           ("key and tag of an exchange", exchange), ("keys of the script for systemd", script)])
