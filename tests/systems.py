#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The daemon and README's example compile and link for macOS, FreeBSD, OpenBSD and NetBSD, and so does each header that
belongs to one of these systems. Nothing is run.

    systems.py [--meson] [TARGET...]

The compiler is the clang inside zig (tests/zig.py), which has the headers of these systems and the names of the symbols
of their C libraries: a symbol that a system lacks makes the link fail. Warnings are errors. The numbers that the unit
tests take from the headers of the systems are compared with these headers. TARGET tests only these targets of TARGETS.
--meson builds the daemon by meson with the cross files instead, and with zig's C++ library, whose first build takes
minutes.
"""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import zig  # noqa: E402
from cases import FREESTANDING, ROOT, SYSTEM_ONLY, Failed, Skipped, command, need, run_cases, temporary  # noqa: E402

# Targets, macOS with the oldest version that is supported, and the header of the system.
TARGETS = {
    "aarch64-macos.12.0": "os/darwin/system.hpp",
    "x86_64-macos.12.0": "os/darwin/system.hpp",
    "x86_64-freebsd": "os/bsd/freebsd.hpp",
    "x86_64-openbsd": "os/bsd/openbsd.hpp",
    "x86_64-netbsd": "os/bsd/netbsd.hpp",
}
# Where tests/unit/os_posix_routes.cpp has the fields of messages of routing sockets, and the numbers in them.
LAYOUTS = {
    "macos": dict(version=5, link=0xe, route_flags=8, link_index=12, link_flags=8, link_mtu=24, link_mtu_bytes=4),
    "freebsd": dict(version=5, link=0xe, announcement=0x11, route_flags=8, link_index=12, link_flags=8, link_mtu=24,
                    link_mtu_bytes=4, announcement_index=4, announcement_what=22),
    "openbsd": dict(version=5, link=0xe, announcement=0xf, route_flags=16, link_index=6, link_flags=16, link_mtu=28,
                    link_mtu_bytes=4, announcement_index=6, announcement_what=8, overflow=0x10),
    "netbsd": dict(version=4, link=0x14, announcement=0x10, new_address=0x16, removed_address=0x17, route_flags=8,
                   link_index=12, link_flags=8, link_mtu=24, link_mtu_bytes=8, announcement_index=4,
                   announcement_what=22),
}
# The numbers of control messages in tests/unit/os_posix_udp.cpp: macros of the system, or a number that it hides.
UDP = {
    "macos": dict(v4_received_local=26, v4_local=26, v4_receive_tos=27, v4_received_tos=27, v4_tos=3),
    "freebsd": dict(v4_received_local=7, v4_local=7, v4_receive_tos=68, v4_received_tos=68, v4_tos=3,
                    v6_receive_local=36, v6_local=46, v6_receive_tos=57, v6_tos=61),
    "openbsd": dict(v4_received_local=7, v4_local=7, v4_receive_tos=0, v4_tos=0, v6_receive_local=36, v6_local=46,
                    v6_receive_tos=57, v6_tos=61),
    "netbsd": dict(v4_received_local=7, v4_local=7, v4_receive_tos=0, v4_tos=0),
}
# Not optimized: the link then needs the symbols of all functions that are written, not only of those that are left.
FLAGS = ["-std=c++20", "-O0", "-g0", "-fno-sanitize=all", "-fno-threadsafe-statics", *FREESTANDING, "-I",
         ROOT / "include"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def compiler():
    path, why = zig.compiler()
    if path is None:
        raise Skipped(why)
    return path


def system_of(target):
    return re.search(r"-([a-z]+)", target)[1]


def compile(target, source, output, *flags):
    """Compiles a file. A warning about one of our files fails the case. The library in zig has warnings of its own, and
    zig puts its options behind ours, so that they cannot be switched off."""
    said = command(compiler(), "c++", "-target", target, *FLAGS, *WARNINGS, *flags, "-c", source, "-o", output)
    ours = [line for line in said.splitlines() if " warning: " in line and "/lib/libcxx/" not in line]
    if ours:
        raise Failed("\n".join(["", *ours]))


def link(target, folder, source):
    """Compiles and links a program. The part of the C++ library that it needs comes from samples/static: to build the
    whole library would take minutes."""
    objects = [folder / f"{target}-{name}.o" for name in ("program", "runtime")]
    compile(target, source, objects[0])
    compile(target, ROOT / "samples" / "static" / "runtime.cpp", objects[1])
    program = folder / f"{target}-program"
    command(compiler(), "cc", "-target", target, *objects, "-o", program)
    if not program.is_file() or program.stat().st_size == 0:
        raise Failed("the linker has made no program")


def by_meson(cross, folder):
    """Builds the daemon by meson, with a cross file."""
    need("meson")
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin" / "zig").exists():
        (folder / "bin" / "zig").symlink_to(compiler())
    env = {"PATH": f"{folder / 'bin'}:{ROOT / 'cross'}:{os.environ['PATH']}"}
    build = folder / cross.stem
    command("meson", "setup", "--cross-file", cross, "-Dtests=disabled", "--buildtype=plain", build, ROOT,
            cwd=folder, env=env)
    command("ninja", "-C", build, "samples/wgd", env=env)
    if not (build / "samples" / "wgd").is_file():
        raise Failed("there is no program")


def example(folder):
    """README's example as a file."""
    text = (ROOT / "README.md").read_text()
    source = folder / "example.cpp"
    source.write_text(re.search(r"^```cpp\n(#include <wg/wg.hpp>.*?)^```", text, re.M | re.S)[1])
    return source


def alone(target, folder, header):
    """A header of one system compiles alone and included twice, and has the numbers of the unit tests."""
    system = system_of(target)
    ours = "darwin" if system == "macos" else "bsd"
    include = f'#include "wg/{header}"\n'
    checks = [f"static_assert(wg::os::{ours}::route_calls::layout.{name} == {number});"
              for name, number in LAYOUTS[system].items()]
    checks += [f"static_assert(wg::os::{ours}::udp_calls::numbers.{name} == {number});"
               for name, number in UDP[system].items()]
    source = folder / f"{target}-alone.cpp"
    source.write_text(include + include + "\n".join(checks) + "\n")
    compile(target, source, folder / f"{target}-alone.o")


def finds_missing(target, folder):
    """The control: a function that the system lacks is found."""
    source = folder / "missing.cpp"
    source.write_text('extern "C" int wg_tests_no_such_function();\n'
                      "int main() { return wg_tests_no_such_function(); }\n")
    try:
        link(target, folder, source)
    except Failed as refused:
        if "wg_tests_no_such_function" not in str(refused):
            raise Failed(f"not refused for the missing function:\n{refused}") from None
    else:
        raise Failed("a missing function was not found")


def main():
    targets = [name for name in sys.argv[1:] if name != "--meson"] or list(TARGETS)
    with temporary() as name:
        folder = pathlib.Path(name)
        if "--meson" in sys.argv[1:]:
            crosses = sorted({ROOT / "cross" / f"{target.partition('.')[0]}.ini" for target in targets})
            run_cases([(f"meson, {c.name}", lambda c=c: by_meson(c, folder)) for c in crosses], workers=1)
        cases = []
        for target in targets:
            header = TARGETS[target]
            cases += [
                (f"{header}, {target}", lambda t=target, h=header: alone(t, folder, h)),
                (f"wgd, {target}", lambda t=target: link(t, folder, ROOT / "samples" / "wgd.cpp")),
                (f"README's example, {target}", lambda t=target: link(t, folder, example(folder))),
            ]
            if header not in SYSTEM_ONLY:
                cases.append((f"{header} is in SYSTEM_ONLY", lambda h=header: fail(h)))
        cases.append(("finds a function that a system lacks", lambda: finds_missing(targets[0], folder)))
        run_cases(cases, workers=1)


def fail(header):
    raise Failed(f"{header} is missing in SYSTEM_ONLY of tests/cases.py")


main()
