# SPDX-License-Identifier: BSL-1.0
"""Builds operations.cpp for memcheck.py and disassembly.py, and lists its groups of operations."""
import pathlib
import platform
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import ROOT, STRICT, Skipped, command  # noqa: E402

HERE = ROOT / "tests" / "constant_time"
# Fixes the addresses of the program, so that they equal those of the file's disassembly.
FIXED = ["-fno-pie", "-no-pie"]


def need_x86():
    if platform.machine() not in ("x86_64", "AMD64"):
        raise Skipped("this test needs x86-64")


def build(there, compiler, *flags):
    """Compiles operations.cpp. Returns the path of the program."""
    need_x86()
    program = pathlib.Path(there) / "operations"
    fixed = ["-fno-pie"] if "-static" in flags else FIXED
    command(compiler, *STRICT, "-g1", "-gdwarf-4", *fixed, *flags, "-I", ROOT / "include", HERE / "operations.cpp",
            "-o", program)
    return program


def groups(program):
    """Returns (groups that must not leak, groups with a planted leak)."""
    names = command(program, "--groups").split()
    return [n for n in names if not n.startswith("plant_")], [n for n in names if n.startswith("plant_")]
