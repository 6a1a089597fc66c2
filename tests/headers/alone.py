#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Each header compiles alone and twice in one unit, without exceptions and RTTI, with every compiler of the host."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import FREESTANDING, ROOT, STRICT, all_headers, command, compilers, run_cases  # noqa: E402


def alone(compiler, header):
    include = f'#include "wg/{header}"\n'
    command(compiler, *STRICT, *FREESTANDING, "-fsyntax-only", "-I", ROOT / "include", "-x", "c++", "-",
            source=include + include)


run_cases([(f"{header} {compiler}", lambda c=compiler, h=header: alone(c, h))
           for compiler in compilers() for header in all_headers()])
