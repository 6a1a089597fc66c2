#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The generated header is up to date, compiles alone, links, and has the same tokens as the tree for each compiler."""
import pathlib
import re
import shutil
import sys

from cases import (FREESTANDING, OPTIONAL, ROOT, STRICT, Failed, command, compilers, library_flags, run_cases,
                   temporary)

SINGLE = ROOT / "single_include"
TREE = ROOT / "include"


def regenerated():
    with temporary() as there:
        fresh = pathlib.Path(there) / "wg.hpp"
        command(sys.executable, SINGLE / "amalgamate.py", fresh)
        if fresh.read_text() != (SINGLE / "wg" / "wg.hpp").read_text():
            raise Failed("single_include/wg/wg.hpp is not what the tree makes: run single_include/amalgamate.py")


def two_units_link(compiler):
    """Two units that include only this file link: a function that is not inline would be defined twice."""
    with temporary() as there:
        there = pathlib.Path(there)
        (there / "wg").mkdir()
        shutil.copy(SINGLE / "wg" / "wg.hpp", there / "wg")
        (there / "a.cpp").write_text("#include <wg/wg.hpp>\nwg::status a() { return wg::status::ok; }\n")
        (there / "b.cpp").write_text("#include <wg/wg.hpp>\nwg::status a();\n"
                                     "int main() { return a() == wg::status::ok ? 0 : 1; }\n")
        command(compiler, *STRICT, *FREESTANDING, "-I", there, there / "a.cpp", there / "b.cpp", "-o", there / "both")
        command(there / "both")


def both_trees(compiler, first, second):
    source = f'#include "{first}/wg/wg.hpp"\n#include "{second}/wg/wg.hpp"\nint main() {{}}\n'
    command(compiler, *STRICT, "-fsyntax-only", "-x", "c++", "-", source=source)


def preprocessed(compiler, tree, flags):
    """The tokens after preprocessing, separated by one space. An assertion would contain the name of its file."""
    text = command(compiler, "-std=c++20", "-E", "-P", "-DWG_ASSERT(x)=check(x)", *flags, "-x", "c++", "-", "-I", tree,
                   source="#include <wg/wg.hpp>\n")
    return re.sub(r"\s+", " ", text).strip().replace("; ", ";\n").splitlines()


def same_tokens(compiler, optional=None, flags=()):
    flags = library_flags(compiler, optional) if optional else flags
    tree, single = preprocessed(compiler, TREE, flags), preprocessed(compiler, SINGLE, flags)
    if len(tree) < 1000 or not any("namespace wg" in line for line in tree):
        raise Failed("the preprocessor's output cannot be the library")
    for number, (a, b) in enumerate(zip(tree, single)):
        if a != b:
            raise Failed(f"statement {number} differs\n    tree:   {a}\n    single: {b}")
    if len(tree) != len(single):
        raise Failed(f"{len(tree)} statements in the tree, {len(single)} in the single header")


cases = [("is what amalgamate.py makes of the tree", regenerated)]
for name in compilers():
    cases += [(f"two units link, {name}", lambda c=name: two_units_link(c)),
              (f"both in one unit, tree first, {name}", lambda c=name: both_trees(c, TREE, SINGLE)),
              (f"both in one unit, single first, {name}", lambda c=name: both_trees(c, SINGLE, TREE)),
              (f"same tokens as the tree, {name}", lambda c=name: same_tokens(c)),
              (f"same tokens with post_quantum.hpp, {name}",
               lambda c=name: same_tokens(c, flags=["-DWG_WITH_POST_QUANTUM"]))]
    cases += [(f"same tokens with {header}, {name}", lambda c=name, h=header: same_tokens(c, h)) for header in OPTIONAL]
run_cases(cases)
