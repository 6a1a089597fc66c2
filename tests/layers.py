#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The layer rule, and the few rules of form that a script can check. Fails the build on an upward include.

    layers.py [--self-test] [ROOT]

--self-test plants one violation of each rule in a copy of the tree, and passes if each is found.
"""
import pathlib
import re
import shutil
import sys
import tempfile

# The layer table: a folder includes itself and folders of lower layers ...
LAYERS = {"base": 0, "policy.hpp": 1, "fwd.hpp": 1, "policy": 2, "backends": 3, "protocol": 4, "device": 5,
          "core.hpp": 6, "control": 7, "engine": 8, "os": 9, "default_policies.hpp": 10, "bare_node.hpp": 10,
          "post_quantum.hpp": 10, "kernels.cpp": 10, "kernels_post_quantum.cpp": 11, "tunnel": 11, "tunnel.hpp": 12,
          "async": 13, "asio.hpp": 14, "wg.hpp": 15, "wg.cppm": 16}
# ... and these folders only what is listed, because a user replaces them, or because they must work with any backend.
ONLY = {"backends": {"base", "policy.hpp", "backends"}, "os": {"base", "policy.hpp", "os"}}
# No header includes these: build systems compile them.
UNITS = {pathlib.Path(name) for name in ("kernels.cpp", "kernels_post_quantum.cpp", "wg.cppm")}
LWIP = pathlib.Path("tunnel/lwip")  # in C, for lwIP: its configuration and the functions that it calls
NEVER = {"protocol": {"backends", "os"}, "device": {"backends", "os"}, "control": {"backends", "os"}}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder(path):
    return path.parts[0]


def included(headers, header):
    """The project's headers that `header` includes, as (place, path below include/wg), and the violations found."""
    found, wrong = [], []
    for number, line in enumerate((headers / header).read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        where = f"{header}:{number}"
        bracket, name = match.groups()
        if bracket == "<":
            if name.startswith("wg/"):
                wrong.append(f"{where}: <{name}>: headers include each other by relative paths, in quotes")
            continue
        target = ((headers / header).parent / name).resolve()
        if not target.is_file() or headers.resolve() not in target.parents:
            wrong.append(f"{where}: \"{name}\" is no file of include/wg")
            continue
        found.append((where, target.relative_to(headers.resolve())))
    return found, wrong


def upward(frm, to):
    a, b = folder(frm), folder(to)
    if a not in LAYERS or b not in LAYERS:
        return f"{a if a not in LAYERS else b} is not in the layer table"
    if a != b and LAYERS[b] >= LAYERS[a]:
        return f"{a} (layer {LAYERS[a]}) must not include {b} (layer {LAYERS[b]})"
    if b not in ONLY.get(a, {b}) or b in NEVER.get(a, ()):
        return f"{a} must not include {b}"
    return None


def form(headers, header):
    text = (headers / header).read_text()
    lines = text.splitlines()
    if not lines or lines[0] != "// SPDX-License-Identifier: BSL-1.0":
        yield f"{header}: the first line is not the licence's SPDX line"
    if header.suffix == ".hpp":
        guard = "WG_" + re.sub(r"[^A-Z0-9]", "_", str(header).upper())
        guard = guard.replace("WG_WG_HPP", "WG_HPP") if f"#ifndef {guard}" not in lines else guard
        if f"#ifndef {guard}" not in lines or f"#define {guard}" not in lines:
            yield f"{header}: no include guard {guard}"
    for number, line in enumerate(lines, 1):
        if len(line) > 120:
            yield f"{header}:{number}: {len(line)} columns"
        if "\t" in line or line != line.rstrip():
            yield f"{header}:{number}: a tab, or space at the end"
        if re.match(r"\s*#\s*pragma\s+once", line):
            yield f"{header}:{number}: include guards, not #pragma once"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"{header}:{number}: unfinished"


def check(root):
    """All violations in the tree at `root`, and how many checks were made."""
    headers = root / "include" / "wg"
    files = sorted(p.relative_to(headers) for p in headers.rglob("*") if p.is_file())
    files = [p for p in files if not (LWIP in p.parents and p.suffix in (".c", ".h"))]
    wrong, checks, graph = [], 0, {}
    for header in files:
        checks += 2
        found, bad = included(headers, header)
        graph[header] = [target for _, target in found if target in files]
        wrong += bad
        wrong += [f"{where}: {why}" for where, target in found if (why := upward(header, target))]
        wrong += form(headers, header)
        if header.suffix not in (".hpp", ".inl") and header not in UNITS:
            wrong.append(f"{header}: neither .hpp nor .inl, nor one of UNITS")
    # Every header is reached from wg.hpp: otherwise the single header lacks it.
    umbrella = pathlib.Path("wg.hpp")
    reached, queue = set(), [umbrella] if umbrella in graph else []
    while queue:
        header = queue.pop()
        if header not in reached:
            reached.add(header)
            queue += graph[header]
    checks += 1
    wrong += [f"{header}: not reached from wg.hpp" for header in files if header not in reached | UNITS]
    return wrong, checks


PLANTS = {  # violation: (file, text put before its last #endif)
    "upward include": ("base/bytes.hpp", '#include "../policy.hpp"'),
    "protocol to backends": ("protocol/planted.hpp", '#include "../backends/observers.hpp"'),
    "backends to protocol": ("backends/observers.hpp", '#include "../protocol/planted.hpp"'),
    "unreached header": ("base/planted.hpp", ""),
    "angle brackets": ("policy.hpp", "#include <wg/base/bytes.hpp>"),
    "long line": ("policy.hpp", "// " + "x" * 120),
    "missing file": ("policy.hpp", '#include "base/nowhere.hpp"'),
}


def self_test(root):
    clean = set(check(root)[0])
    passed = failed = 0
    for name, (path, text) in PLANTS.items():
        with tempfile.TemporaryDirectory() as temporary:
            copy = pathlib.Path(temporary)
            shutil.copytree(root / "include", copy / "include")
            target = copy / "include" / "wg" / path
            target.parent.mkdir(exist_ok=True)
            with target.open("a") as out:
                out.write(text + "\n")
            caught = set(check(copy)[0]) - clean
        passed += bool(caught)
        failed += not caught
        print(f"{'ok  ' if caught else 'FAIL'} finds a planted {name}")
    return passed, failed


def main():
    arguments = [a for a in sys.argv[1:] if a != "--self-test"]
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parent.parent
    if "--self-test" in sys.argv:
        passed, failed = self_test(root)
    else:
        wrong, checks = check(root)
        for line in wrong:
            print(f"FAIL include/wg/{line}")
        passed, failed = checks - min(checks, len(wrong)), len(wrong)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
