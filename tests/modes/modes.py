#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Builds without exceptions, without RTTI, without an operating system and for other processors.

    modes.py            the build modes, and the compilers for Windows and Cortex-M
    modes.py --matrix   the smoke test, the samples and the unit tests on emulated processors
"""
import pathlib
import platform
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import (FREESTANDING, ROOT, STRICT, Failed, Skipped, command, compilers, need,  # noqa: E402
                   library_flags, portable_headers, run_cases, temporary)

TESTS = ROOT / "tests"
FLAGS = [*STRICT, *FREESTANDING, "-I", ROOT / "include"]
SMOKE = "4 passed, 0 failed, 0 skipped\n"

CROSS = {  # target: compiler and flags
    "Windows": ["x86_64-w64-mingw32-g++-posix"],
    "Cortex-M3": ["arm-none-eabi-g++", "-mcpu=cortex-m3", "-mthumb", "-DWG_SMALL"],
}
# The symbols that an object of the core may need on a bare machine: the four functions to which any compiler may emit
# calls, and arithmetic.
BARE = re.compile(r"mem(cpy|set|move|cmp)|__aeabi_(mem\w+|u?idiv(mod)?|u?ldivmod|l(lsl|lsr|asr|mul|cmp)|ulcmp)")

EMULATED = {  # processor: (compiler, emulator)
    "aarch64": ("aarch64-linux-gnu-g++", "qemu-aarch64-static"),
    "arm": ("arm-linux-gnueabihf-g++", "qemu-arm-static"),
    "i686": ("i686-linux-gnu-g++", None),
    "mips (big endian)": ("mips-linux-gnu-g++", "qemu-mips-static"),
    "riscv64": ("riscv64-linux-gnu-g++", "qemu-riscv64-static"),
    "s390x (big endian)": ("s390x-linux-gnu-g++", "qemu-s390x-static"),
}
# Separate programs, and a test that is meaningful for optimised code only.
APART = {"lwip", "single_kernels", "x25519_million", "bundled_traces"}


def smoke(compiler, *flags, runner=()):
    with temporary() as there:
        program = pathlib.Path(there) / "smoke"
        command(compiler, *FLAGS, "-O2", *flags, TESTS / "smoke.cpp", "-o", program)
        printed = command(*runner, program)
        if printed != SMOKE:
            raise Failed(f"printed {printed!r}")


def sample(compiler, path):
    command(compiler, *FLAGS, "-fsyntax-only", path)


def portable(target):
    need(CROSS[target][0])
    source = "".join(f'#include "wg/{header}"\n' for header in portable_headers())
    command(*CROSS[target], *FLAGS, "-fsyntax-only", "-x", "c++", "-", source=source)


def core(target):
    need(CROSS[target][0])
    with temporary() as there:
        made = pathlib.Path(there) / "core.o"
        command(*CROSS[target], *FLAGS, "-Os", "-c", TESTS / "modes" / "core.cpp", "-o", made)
        if target != "Cortex-M3":
            return
        symbols = command("arm-none-eabi-nm", "-C", "--undefined-only", made).split()
        wanted = [name for name in symbols if name != "U" and not BARE.fullmatch(name)]
        if wanted:
            raise Failed(f"needs symbols that a bare machine lacks: {' '.join(wanted)}")


def lwip_node(v4, v6):
    """Compiles the lwIP adapter for a Cortex-M4, with lwIP's headers and the lwIP configuration of a board."""
    compiler = "arm-none-eabi-g++"
    need(compiler)
    with temporary() as there:
        command(compiler, "-mcpu=cortex-m4", "-mthumb", *FLAGS, "-Os", "-isystem", TESTS / "modes" / "lwip",
                *library_flags(compiler, "os/bare/lwip.hpp"), f"-DLWIP_IPV4={v4}", f"-DLWIP_IPV6={v6}", "-c",
                TESTS / "modes" / "lwip" / "node.cpp", "-o", pathlib.Path(there) / "node.o")


def runner_of(processor):
    """Returns the command prefix that runs a program of this processor: an emulator, or nothing."""
    emulator = EMULATED[processor][1]
    if emulator is None:
        if platform.machine() not in ("x86_64", "i686"):
            raise Skipped(f"this machine cannot run programs for {processor}")
        return []
    need(emulator)
    return [emulator]


def emulated(processor):
    smoke(EMULATED[processor][0], "-static", runner=runner_of(processor))


def unit_tests(processor):
    """Runs all unit tests, with Boost.Test as a header: there is no Boost library for this processor."""
    compiler = EMULATED[processor][0]
    runner = runner_of(processor)
    need(compiler)
    if not pathlib.Path("/usr/include/boost/test").is_dir():
        raise Skipped("the headers of Boost.Test are not installed")
    with temporary() as there:
        there = pathlib.Path(there)
        (there / "boost").symlink_to("/usr/include/boost")
        program = there / "unit"
        objects = []
        for source in sorted((TESTS / "unit").glob("*.cpp")):
            if source.stem in APART:
                continue
            objects.append(there / f"{source.stem}.o")
            command(compiler, "-std=c++20", "-O1", "-DWG_TESTS_WITHOUT_LIBRARY", "-isystem", there, "-I",
                    ROOT / "include", "-c", source, "-o", objects[-1])
        command(compiler, "-static", *objects, "-latomic", "-o", program)  # 64-bit atomics on 32-bit processors
        # The system calls of an emulator report memory and socket messages differently from those of a kernel.
        # tests/system/routers.py tests the whole daemon on these processors.
        chosen = ["--run_test=!os_linux_*"] if runner else []
        printed = command(*runner, program, "--color_output=no", *chosen)
        if not re.search(r"^[1-9]\d* passed, 0 failed, \d+ skipped$", printed, re.MULTILINE):
            raise Failed(printed)


def cross_build(path):
    """Builds the samples with this cross file. Runs the sample that needs no network, if necessary in an emulator."""
    text = path.read_text()
    compiler = re.search(r"^cpp = \[?'([^']+)'", text, re.MULTILINE)[1]
    emulator = re.search(r"^exe_wrapper = '(.*)'", text, re.MULTILINE)
    for program in ("meson", "ninja", compiler, *([emulator[1]] if emulator else [])):
        need(program)
    with temporary() as there:
        build = pathlib.Path(there) / "build"
        command("meson", "setup", "--cross-file", path, "-Dtests=disabled", "-Doptimization=1", build, ROOT)
        command("ninja", "-C", build)
        printed = command(*([emulator[1]] if emulator else []), build / "samples" / "two_hosts")
        if "Both arrived." not in printed:
            raise Failed(printed)


def modes():
    for compiler in compilers():
        yield f"smoke test, {compiler}", lambda c=compiler: smoke(c)
        yield f"smoke test for small machines, {compiler}", lambda c=compiler: smoke(c, "-DWG_SMALL")
        yield f"smoke test without assertions, {compiler}", lambda c=compiler: smoke(c, "-DNDEBUG", "-O3")
        for size in ("COMPACT", "SMALL"):
            yield f"smoke test with WG_{size} has no undefined behaviour, {compiler}", \
                lambda c=compiler, s=size: smoke(c, f"-DWG_{s}", "-fsanitize=undefined", "-fno-sanitize-recover=all")
        for path in sorted((ROOT / "samples").glob("*.cpp")):
            yield f"{path.name}, {compiler}", lambda c=compiler, p=path: sample(c, p)
    for target in CROSS:
        yield f"portable headers compile for {target}", lambda t=target: portable(t)
        yield f"the core compiles for {target}", lambda t=target: core(t)
    for families, v4, v6 in ("IPv4 and IPv6", 1, 1), ("IPv4 alone", 1, 0), ("IPv6 alone", 0, 1):
        yield f"a node on lwIP with {families} compiles for Cortex-M4", lambda a=v4, b=v6: lwip_node(a, b)


if sys.argv[1:] == ["--matrix"]:
    run_cases([(f"smoke test on {name}", lambda n=name: emulated(n)) for name in EMULATED] +
              [(f"cross/{path.name}", lambda p=path: cross_build(p)) for path in sorted((ROOT / "cross").iterdir())] +
              [(f"unit tests on {name}", lambda n=name: unit_tests(n)) for name in EMULATED])
else:
    run_cases(list(modes()))
