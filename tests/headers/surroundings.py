#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""wg.hpp compiles together with the macros of other headers, with more warnings than the build enables, and in every
standard from C++20 on. Nothing is linked or run.

    surroundings.py            g++ and the oldest clang++
    surroundings.py --full     every compiler of this machine, including those for other processors
"""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import (FREESTANDING, HEADERS, ROOT, STRICT, Failed, Skipped, all_headers, command, compilers,  # noqa: E402
                   every_compiler, need, portable_headers, run_cases)

WG = "#include <wg/wg.hpp>\n"
MACROS = f'#include "{ROOT}/tests/headers/others_macros.hpp"\n'
AFTER = "#define TESTS_AFTER_THE_LIBRARY\n"
# The headers of the standard library that ours include. A program may include them before it defines a macro.
LIBRARY = "".join(sorted({f"#include <{name}>\n" for header in all_headers()
                          for name in re.findall(r"^#include <([a-z_0-9]+)>", (HEADERS / header).read_text(), re.M)}))
PEDANTIC = ["-Wold-style-cast", "-pedantic", "-Wextra-semi", "-Wcast-align", "-Wnon-virtual-dtor",
            "-Woverloaded-virtual"]
MINGW = "x86_64-w64-mingw32-g++-posix"
# The headers that a program on Windows includes. In C++ only Microsoft's windows.h defines the macro `small`.
WINDOWS = """
#include <winsock2.h>
#include <windows.h>
#include <ws2tcpip.h>
#ifndef small
#define small char
#endif
"""
MIN_MAX = """
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
"""
OTHERS = ["aarch64-linux-gnu-g++", "arm-linux-gnueabihf-g++", "i686-linux-gnu-g++"]
CORTEX_M4 = ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb"]


def syntax(compiler, source, *flags):
    compiler = [compiler] if isinstance(compiler, str) else compiler
    need(compiler[0])
    return command(*compiler, *STRICT, "-I", ROOT / "include", *flags, "-fsyntax-only", "-x", "c++", "-", source=source)


def pedantic(compiler, *flags):
    """Includes wg.hpp by -I, because compilers suppress warnings of headers from -isystem. clang has no
    -Wuseless-cast."""
    name = compiler if isinstance(compiler, str) else compiler[0]
    useless = [] if "clang" in name else ["-Wuseless-cast"]
    syntax(compiler, WG, *PEDANTIC, *useless, *flags)


def asio(compiler):
    """Includes the standard library first, because Boost 1.74 lacks some of its includes."""
    need_header(compiler, "boost/asio.hpp")
    include = LIBRARY + "#include <boost/asio.hpp>\n"
    for source in include + WG, WG + include:
        syntax(compiler, source)


def need_header(compiler, header):
    if "here" not in command(compiler, "-E", "-P", "-x", "c++", "-",
                             source=f"#if __has_include(<{header}>)\nhere\n#endif\n"):
        raise Skipped(f"<{header}> is not installed")


def beside(compiler, header):
    need_header(compiler, header)
    include = f"#include <{header}>\n"
    for source in include + WG, WG + include:
        syntax(compiler, source)


def windows(before):
    """Compiles the portable headers before or after those of Windows. wg.hpp includes further headers only on systems
    that have them."""
    ours = "".join(f'#include "wg/{header}"\n' for header in portable_headers())
    syntax(MINGW, WINDOWS + LIBRARY + MIN_MAX + ours if before else ours + WINDOWS)


def older_standard(compiler):
    """C++17 gives one error, and the error names C++20."""
    try:
        command(compiler, "-std=c++17", "-I", ROOT / "include", "-fsyntax-only", "-x", "c++", "-", source=WG)
    except Failed as refused:
        errors = [line for line in str(refused).splitlines() if " error: " in line]
        if len(errors) != 1 or "C++20" not in errors[0]:
            raise Failed(f"not one error that names C++20:\n{refused}") from None
    else:
        raise Failed("C++17 was accepted")


def newer_standard(compiler, *names):
    """Compiles with the first name that the compiler accepts: a standard has another name before its publication."""
    for name in names:
        try:
            command(compiler, f"-std={name}", "-fsyntax-only", "-x", "c++", "-", source="")
        except Failed:
            continue
        return syntax(compiler, WG, f"-std={name}")
    raise Skipped(f"{compiler} does not support {names[0]}")


def other_library(compiler):
    try:
        command(compiler, "-std=c++20", "-stdlib=libc++", "-fsyntax-only", "-x", "c++", "-", source="#include <span>\n")
    except Failed:
        raise Skipped(f"libc++ is not installed for {compiler}") from None
    syntax(compiler, WG, "-stdlib=libc++")


def cases(found):
    for c in found:
        yield f"compiles after macros of other headers, {c}", lambda c=c: syntax(c, MACROS + WG)
        yield f"compiles after the system's headers and then macros of other headers, {c}", \
            lambda c=c: syntax(c, LIBRARY + AFTER + MACROS + WG)
        yield f"gives no strict warnings if included by -I, {c}", lambda c=c: pedantic(c)
        yield f"gives one error in C++17, {c}", lambda c=c: older_standard(c)
        for names in ("gnu++20",), ("c++23", "c++2b"):
            yield f"compiles in {names[0]}, {c}", lambda c=c, n=names: newer_standard(c, *n)
        for header in "linux/if.h", "complex.h", "X11/Xlib.h":
            yield f"compiles before and after <{header}>, {c}", lambda c=c, h=header: beside(c, h)
    yield f"compiles before and after <boost/asio.hpp>, {found[0]}", lambda: asio(found[0])
    yield "compiles after windows.h", lambda: windows(True)
    yield "compiles before windows.h", lambda: windows(False)
    yield "gives no strict warnings for Cortex-M4", lambda: pedantic(CORTEX_M4, *FREESTANDING)


def full():
    """The cases of further compilers and of compilers for other processors."""
    for c in every_compiler():
        yield f"compiles in c++26, {c}", lambda c=c: newer_standard(c, "c++26", "c++2c")
        yield f"compiles with unsigned char, {c}", lambda c=c: syntax(c, WG, "-funsigned-char")
        if "clang" in c:
            yield f"compiles with libc++, {c}", lambda c=c: other_library(c)
    for c in OTHERS:
        yield f"gives no strict warnings, {c}", lambda c=c: pedantic(c)
    for flags in (["-O0"], ["-O2"]):
        yield f"gives no notes about calling conventions at {flags[0]}, arm", lambda f=flags: no_notes(OTHERS[1], *f)


def no_notes(compiler, *flags):
    """Fails if g++ prints anything. No warning option turns its notes into errors."""
    need(compiler)
    said = command(compiler, *STRICT, "-I", ROOT / "include", *flags, "-S", ROOT / "samples" / "two_hosts.cpp",
                   "-o", os.devnull)
    if said:
        raise Failed(said)


if sys.argv[1:] == ["--full"]:
    run_cases(list(cases([c for c in every_compiler() if c not in compilers()] or compilers())) + list(full()))
else:
    run_cases(list(cases(compilers())))
