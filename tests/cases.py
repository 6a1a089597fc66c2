# SPDX-License-Identifier: BSL-1.0
"""Shared by the test scripts: named cases that pass, fail or are skipped, and the compilers of this machine."""
import collections
import concurrent.futures
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = ROOT / "include" / "wg"
STRICT = ["-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]  # see command() of -Werror
FREESTANDING = ["-fno-exceptions", "-fno-rtti"]

# Backends that need a library: the macro that makes wg.hpp include the backend, and headers of the library.
OPTIONAL = {
    "backends/hacl.hpp": ("WG_WITH_HACL", ["Hacl_AEAD_Chacha20Poly1305.h", "Hacl_Chacha20Poly1305_32.h"]),
    "backends/libsodium.hpp": ("WG_WITH_LIBSODIUM", ["sodium.h"]),
    "backends/openssl_kem.hpp": ("WG_WITH_OPENSSL_KEM", ["openssl/ml_kem.h"]),
    "os/bare/lwip.hpp": ("WG_WITH_LWIP", ["lwip/udp.h"]),
    "tunnel.hpp": ("WG_WITH_TUNNEL", ["lwip/tcp.h"]),
    "asio.hpp": ("WG_WITH_ASIO", ["asio/any_io_executor.hpp", "boost/asio/any_io_executor.hpp"]),  # and lwIP
}

# Headers that need those of one system, which is not Linux: tests/systems.py compiles them.
SYSTEM_ONLY = {"os/bsd/freebsd.hpp", "os/bsd/netbsd.hpp", "os/bsd/numbered.hpp", "os/bsd/openbsd.hpp",
               "os/bsd/system.hpp", "os/darwin/system.hpp", "os/posix/system/kqueue_calls.hpp"}


def is_portable(header):
    """Whether a header compiles for any machine: it belongs to no operating system and needs no library."""
    return optional(header) is None and not re.match(r"(os/\w+|tunnel|async)/", header.replace("os/bare/", "os/"))


def optional(header):
    """The header of OPTIONAL that needs the same library; none: None."""
    folders = {"tunnel/lwip": "tunnel.hpp", "async/": "asio.hpp"}
    return next((one for folder, one in folders.items() if header.startswith(folder)),
                header if header in OPTIONAL else None)


class Failed(Exception):
    """A case failed; the text says how."""


class Skipped(Exception):
    """The machine lacks what a case needs; the text says what."""


# Major versions of the compilers whose warnings are errors here: the tree compiles with these without a warning.
# Another version may have new warnings, and a warning is then no failure.
MENDED_FOR = {"g++": {12, 13, 14}, "clang++": {16, 19, 22}}


@functools.cache
def warnings_are_errors(compiler):
    """Whether a compiler is one of MENDED_FOR."""
    try:
        said = subprocess.run([*compiler.split(), "--version"], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    except OSError:
        return False
    if clang := re.search(r"clang version (\d+)\.", said):
        return int(clang[1]) in MENDED_FOR["clang++"]
    gcc = re.match(r".*\) (\d+)(?:[.-]|$)", said.partition("\n")[0])
    return bool(gcc) and int(gcc[1]) in MENDED_FOR["g++"]


def numbered(name, oldest):
    """The compilers NAME-N that are here, from a version on, the oldest first."""
    return [f"{name}-{version}" for version in range(oldest, 40) if shutil.which(f"{name}-{version}")]


def every_compiler():
    """The oldest and the newest g++ from 12 on and clang++ from 16 on, by the names they have here."""
    found = []
    for name, oldest in ("g++", 12), ("clang++", 16):
        versions = numbered(name, oldest) or ([name] if shutil.which(name) else [])
        found += dict.fromkeys([*versions[:1], *versions[-1:]])
    return found


def compilers():
    """g++ and the oldest clang++ from 16 on, by the names they have here."""
    found = [name for name in (os.environ.get("GXX", "g++"),) if shutil.which(name)]
    return found + numbered("clang++", 16)[:1]


def all_headers():
    """All headers that compile on Linux."""
    return sorted({str(path.relative_to(HEADERS)) for path in HEADERS.rglob("*.hpp")} - SYSTEM_ONLY)


def portable_headers():
    return [header for header in all_headers() if is_portable(header)]


def clang_for_windows():
    """Arguments by which clang++ compiles for Windows, with mingw-w64's C++ library."""
    library = sorted(pathlib.Path("/usr/lib/gcc/x86_64-w64-mingw32").glob("*-posix/include/c++"))
    if not library:
        raise Skipped("the C++ library of x86_64-w64-mingw32-g++-posix is not installed")
    return ["--target=x86_64-w64-windows-gnu", "-stdlib++-isystem", library[-1],
            "-isystem", library[-1] / "x86_64-w64-mingw32"]


def need(program):
    if not shutil.which(program):
        raise Skipped(f"{program} is not installed")


def library_flags(compiler, header):
    """The flags that make wg.hpp include an optional header. Skips the case where the library of the header is missing.

    The flags for the headers of HACL* come from the build, in the environment variable WG_HACL."""
    macro, ones = OPTIONAL[optional(header)]
    flags = [f"-D{macro}"]
    if macro == "WG_WITH_ASIO":
        flags += ["-fexceptions", "-frtti", *library_flags(compiler, "tunnel.hpp")]  # after FREESTANDING
    if macro == "WG_WITH_HACL":
        flags += os.environ.get("WG_HACL", "").split()
    if ones[0].startswith("lwip/") and shutil.which("pkg-config"):
        found = subprocess.run(["pkg-config", "--cflags-only-I", "lwip"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
        flags += [flag.replace("-I", "-isystem") for flag in found.stdout.split()]
    test = " || ".join(f"__has_include(<{one}>)" for one in ones)
    if "here" not in command(compiler, "-E", "-P", *flags, "-x", "c++", "-", source=f"#if {test}\nhere\n#endif\n"):
        raise Skipped(f"no {ones[-1]} here" + (", see -Dhacl in CONTRIBUTING.md" if "HACL" in macro else ""))
    return flags


def command(*arguments, source=None, cwd=None, env=None):
    """Runs a program and returns its output. If the program does not exit with 0, the case fails with that output.

    Leaves out -Werror where the program is a compiler that MENDED_FOR does not have."""
    need(str(arguments[0]))
    if "-Werror" in arguments and not warnings_are_errors(str(arguments[0])):
        arguments = [a for a in arguments if a != "-Werror"]
    done = subprocess.run([str(a) for a in arguments], input=source, text=True, cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, errors="replace")
    if done.returncode != 0:
        raise Failed(f"exit status {done.returncode}: {' '.join(map(str, arguments))}\n{done.stdout}")
    return done.stdout


def run_cases(cases, workers=2):
    """Runs `cases`, which are pairs (name, function without arguments). Prints a line for each, and exits."""
    counts = collections.Counter(passed=0, failed=0, skipped=0)

    def one(case):
        name, function = case
        try:
            function()
            return "passed", f"ok   {name}"
        except Skipped as reason:
            return "skipped", f"skip {name}: {reason}"
        except Failed as reason:
            return "failed", f"FAIL {name}: {reason}"
        except Exception as error:  # of the test itself
            return "failed", f"FAIL {name}: {error!r}\n{traceback.format_exc()}"

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for outcome, line in pool.map(one, cases):
            counts[outcome] += 1
            print(line, flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] else 0 if counts["passed"] else 77)


def temporary():
    """A directory that goes away with the `with` block."""
    return tempfile.TemporaryDirectory(prefix="wg-test-")
