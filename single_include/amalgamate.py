#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Makes single_include/wg/wg.hpp, or the file that is named: the whole tree as one header.

Rules: an .hpp is inlined where it is first included, and an .inl wherever it is. Below an #if the first include may be
compiled away, so an .hpp there is inlined without being counted; its include guard makes one of several copies. The
condition WG_HAS_CXX20 is no such #if: without it there is an error, and nothing is compiled.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')


def expand(path, seen):
    depth = 0 if path.suffix == ".inl" else -1  # the include guard is no condition
    for line in path.read_text().splitlines():
        if "WG_HAS_CXX20" not in line:
            depth += bool(re.match(r"\s*#\s*if", line)) - bool(re.match(r"\s*#\s*endif", line))
        include = INCLUDE.match(line)
        target = (path.parent / include[1]).resolve() if include else None
        if not target:
            yield line
        elif target not in seen:
            known = set(seen) if depth > 0 else seen
            known.update([target] if target.suffix == ".hpp" else [])
            yield from expand(target, known)


header = ROOT.parent / "include" / "wg" / "wg.hpp"
text = "\n".join(["// SPDX-License-Identifier: BSL-1.0",
                  "// Generated from include/wg by single_include/amalgamate.py; edit there.",
                  *expand(header, {header})])
output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "wg" / "wg.hpp"
output.parent.mkdir(exist_ok=True)
output.write_text(text + "\n")
