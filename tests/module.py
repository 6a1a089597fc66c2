#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The module file include/wg/wg.cppm compiles, and exports what the documents use: each of their examples compiles with
`import wg;` in place of the header, and a program is linked and runs.

Wants clang++ from 17 on: clang++ 16 does not find operators of the standard library in templates of a module, and g++
12 cannot read the module that it has written."""
import functools
import pathlib
import re
import tempfile

from cases import Failed, ROOT, Skipped, command, numbered, run_cases

NEEDS_MACROS = re.compile(r"^#(ifdef|define) WG_", re.M)  # a module has none
HEADER = re.compile(r"^#include <wg/wg\.hpp>\n", re.M)
STANDARD = "#include <algorithm>\n#include <cstddef>\n#include <cstdint>\n#include <span>\n#include <utility>\n"


def examples():
    """The examples of the documents that include wg.hpp and need no macro, by name."""
    found = {}
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, text in enumerate(re.findall(r"^```cpp\n(.*?)^```", document.read_text(), re.M | re.S), 1):
            if HEADER.search(text) and not NEEDS_MACROS.search(text):
                found[f"{document.relative_to(ROOT)}, example {number}"] = text
    return found


def importing(text):
    """The example with the module. Includes come before the import, as clang wants them."""
    lines = text.splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("#include"))
    if any(line.startswith("#if") for line in lines[:last]):
        last = next(i for i, line in enumerate(lines) if "wg/wg.hpp" in line)
    lines.insert(last + 1, "import wg;")
    return STANDARD + HEADER.sub("", "\n".join(lines) + "\n")


def compiler():
    newest = numbered("clang++", 17)
    if not newest:
        raise Skipped("clang++ 17 or later is not here")
    return newest[0]


@functools.cache
def folder():
    return tempfile.TemporaryDirectory()


@functools.cache
def module():
    """Compiles the module once. Returns: the compiler, the module and the object with its kernels."""
    clang, place = compiler(), pathlib.Path(folder().name)
    flags = ["-std=c++20", "-Wall", "-Wextra", f"-I{ROOT}/include"]
    command(clang, *flags, "-Wno-reserved-module-identifier", "-x", "c++-module", "--precompile",
            ROOT / "include/wg/wg.cppm", "-o", place / "wg.pcm")
    return clang, place / "wg.pcm"


def an_example_compiles(text):
    clang, precompiled = module()
    command(clang, "-std=c++20", "-Wall", "-Wextra", f"-fmodule-file=wg={precompiled}", "-fsyntax-only",
            "-x", "c++", "-", source=importing(text))


def a_program_is_linked_and_runs():
    clang, precompiled = module()
    place = pathlib.Path(folder().name)
    (place / "consumer.cpp").write_text(importing((ROOT / "tests/consumers/consumer.cpp").read_text()))
    command(clang, "-c", precompiled, "-o", place / "wg.o")
    command(clang, "-std=c++20", f"-fmodule-file=wg={precompiled}", place / "consumer.cpp", place / "wg.o", "-o",
            place / "consumer")
    said = command(place / "consumer")
    if said != "no_endpoint\n":
        raise Failed(f"the program's output: {said}")


def main():
    cases = [(name, functools.partial(an_example_compiles, text)) for name, text in examples().items()]
    run_cases([*cases, ("a program is linked and runs", a_program_is_linked_and_runs)], workers=1)


if __name__ == "__main__":
    main()
