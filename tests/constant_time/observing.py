# SPDX-License-Identifier: BSL-1.0
"""What both observers of operations.cpp share: how it is built and what it is asked for."""
import pathlib
import platform
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import ROOT, STRICT, Skipped, command  # noqa: E402

HERE = ROOT / "tests" / "constant_time"
# No address of the program is random, so that a disassembly of the file says what ran.
FIXED = ["-fno-pie", "-no-pie"]


def need_x86():
    if platform.machine() not in ("x86_64", "AMD64"):
        raise Skipped("for x86-64")


def build(there, compiler, *flags):
    """Compiles operations.cpp; the program's path."""
    need_x86()
    program = pathlib.Path(there) / "operations"
    fixed = ["-fno-pie"] if "-static" in flags else FIXED
    command(compiler, *STRICT, "-gdwarf-4", *fixed, *flags, "-I", ROOT / "include", HERE / "operations.cpp",
            "-o", program)
    return program


def groups(program):
    """(those that must not leak, those that do)"""
    names = command(program, "--groups").split()
    return [n for n in names if not n.startswith("plant_")], [n for n in names if n.startswith("plant_")]
