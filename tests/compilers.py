#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The oldest and the newest g++ and clang++ of this machine, and the clang of zig, compile the headers to working code.

    compilers.py            the newest of each compiles README's example; takes seconds
    compilers.py --full     all of them compile it, and run the cryptography's unit tests, at -O0, -O2 and -O3; and they
                            compile the daemon at -O3
"""
import pathlib
import re
import sys

import zig
from cases import ROOT, STRICT, Failed, Skipped, command, compilers, every_compiler, numbered, run_cases, temporary

UNIT = ROOT / "tests" / "unit"
BOOST = pathlib.Path("/usr/include/boost")
# These contain the assembly, intrinsics and vectors of each instruction set.
CRYPTOGRAPHY = ["bundled_aead", "bundled_blake2s", "bundled_chacha20", "bundled_field25519",
                "bundled_poly1305", "bundled_x25519", "main"]


def readme_example():
    return re.search(r"^```cpp\n(#include <wg/wg.hpp>.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[1]


def words(compiler):
    """The command of a compiler; zig is replaced by the path of its program."""
    name, *arguments = compiler.split()
    if name != "zig":
        return [compiler]
    path, why = zig.compiler()
    if path is None:
        raise Skipped(why)
    return [path, *arguments]


def example(compiler, level):
    with temporary() as there:
        program = pathlib.Path(there) / "example"
        command(*words(compiler), *STRICT, level, "-I", ROOT / "include", "-x", "c++", "-", "-o", program,
                source=readme_example())
        reason = re.search(r'failed\("([^"]+)"\)', readme_example())[1]  # printed when there are no arguments
        try:
            printed = command(program)
        except Failed as failed:
            printed = str(failed)
        if reason not in printed:
            raise Failed(f"it does not print '{reason}': {printed}")


def daemon(compiler):
    """Without assertions, g++ at -O3 has warned of code of the daemon that it does not warn of elsewhere."""
    command(*words(compiler), *STRICT, "-O3", "-DNDEBUG", "-I", ROOT / "include", "-c", ROOT / "samples" / "wgd.cpp",
            "-o", "/dev/null")


def cryptography(compiler, level):
    """Compiles Boost.Test as headers, because its library may be built for another C++ standard library."""
    if not (BOOST / "test").is_dir():
        raise Skipped("the headers of Boost.Test are not installed")
    with temporary() as there:
        there = pathlib.Path(there)
        (there / "boost").symlink_to(BOOST)
        sources = [ROOT / "include" / "wg" / "kernels.cpp", *(UNIT / f"{name}.cpp" for name in CRYPTOGRAPHY)]
        objects = [there / f"{source.stem}.o" for source in sources]
        for source, made in zip(sources, objects):
            # The C++ library of new clangs lacks std::unary_function, which old versions of Boost use.
            command(*words(compiler), "-std=c++20", level, "-DWG_SEPARATE_KERNELS", "-DWG_NAME_KERNELS",
                    "-DWG_TESTS_WITHOUT_LIBRARY", "-DBOOST_NO_CXX98_FUNCTION_BASE", "-isystem", there,
                    "-I", ROOT / "include", "-c", source, "-o", made)
        command(*words(compiler), *objects, "-o", there / "unit")
        printed = command(there / "unit", "--color_output=no")
        if not re.search(r"^[1-9]\d* passed, 0 failed, \d+ skipped$", printed, re.MULTILINE):
            raise Failed(printed)


def newest():
    """The newest compilers that compilers() leaves out. Newer compilers have refused our inline assembly before."""
    found = [numbered(name, oldest)[-1:] for name, oldest in (("g++", 13), ("clang++", 17))]
    return [c for names in found for c in names if c not in compilers()]


def full():
    # Without a target zig compiles for this processor. With a target it uses only instructions of all its processors.
    for compiler in [*every_compiler(), "zig c++", "zig c++ -target x86_64-linux-musl"]:
        for level in "-O0", "-O2", "-O3":
            yield f"README's example {level}, {compiler}", lambda c=compiler, o=level: example(c, o)
            yield f"cryptography {level}, {compiler}", lambda c=compiler, o=level: cryptography(c, o)
    for compiler in every_compiler():
        yield f"wgd -O3 without warnings, {compiler}", lambda c=compiler: daemon(c)


if sys.argv[1:] == ["--full"]:
    run_cases(list(full()))
elif not newest():
    print("skip newer compilers: there are only the oldest here")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)
else:
    run_cases([(f"README's example, {c}", lambda c=c: example(c, "-O1")) for c in newest()])
