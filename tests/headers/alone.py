#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Each header compiles alone and included twice, without exceptions and RTTI, with g++ and the oldest clang++."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import (FREESTANDING, ROOT, STRICT, all_headers, command, compilers, library_flags,  # noqa: E402
                   optional, run_cases)


def alone(compiler, header):
    include = f'#include "wg/{header}"\n'
    library = library_flags(compiler, header) if optional(header) else []
    command(compiler, *STRICT, *FREESTANDING, *library, "-fsyntax-only", "-I", ROOT / "include", "-x", "c++", "-",
            source=include + include)


run_cases([(f"{header} {compiler}", lambda c=compiler, h=header: alone(c, h))
           for compiler in compilers() for header in all_headers()])
