#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Makes single_include/wg/wg.hpp, or the file that is named: the whole tree as one header.

Rules: an .hpp is inlined where it is first included, and an .inl wherever it is. Below an #if the include may be
compiled away, so it counts in this branch only, and a later include outside is inlined again; the include guard makes
one of several copies. The condition WG_HAS_CXX20 is no such #if: without it there is an error, and nothing is compiled.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')


def expand(path, seen):
    """The lines of a file, with what it includes. Adds to `seen` what every program gets."""
    branches = [seen]  # the headers that are known in each condition around the line, the innermost last
    is_condition = []  # whether each #if around the line is one; an include guard is not
    for line in path.read_text().splitlines():
        directive = re.match(r"\s*#\s*(if|el|endif)", line)
        if directive and directive[1] == "if":
            is_guard = path.suffix == ".hpp" and not is_condition
            is_condition.append(not is_guard and "WG_HAS_CXX20" not in line)
            if is_condition[-1]:
                branches.append(set(branches[-1]))
        elif directive and is_condition[-1]:
            branches.pop()
            if directive[1] == "el":
                branches.append(set(branches[-1]))
        if directive and directive[1] == "endif":
            is_condition.pop()
        include = INCLUDE.match(line)
        target = (path.parent / include[1]).resolve() if include else None
        if not target:
            yield line
        elif target not in branches[-1]:
            if target.suffix == ".hpp":
                branches[-1].add(target)
            yield from expand(target, branches[-1])


header = ROOT.parent / "include" / "wg" / "wg.hpp"
text = "\n".join(["// SPDX-License-Identifier: BSL-1.0",
                  "// Generated from include/wg by single_include/amalgamate.py; edit there.",
                  *expand(header, {header})])
output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "wg" / "wg.hpp"
output.parent.mkdir(exist_ok=True)
output.write_text(text + "\n")
