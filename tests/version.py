#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The version is the same at all places that state it, and the macros of base/version.hpp are well formed.

    version.py [--self-test]

meson.build states the version; every other place in PLACES is compared with it. --self-test plants another version at
each place of a copy, and passes if each is found.
"""
import json
import pathlib
import re
import shutil
import sys
import tempfile

from cases import Failed, ROOT, command, run_cases, temporary

SOURCE = "meson.build", r"^  version: '(\d+\.\d+\.\d+)',$"
HEADER = "include/wg/base/version.hpp"
PLACES = {  # file: what finds its version
    "conanfile.py": r'^    version = "(.*)"$',
    "ports/wg/vcpkg.json": r'^  "version": "(.*)",$',
    "ports/meson/wg.wrap": r"^revision = v(.*)$",
    "samples/openwrt/Makefile": r"^PKG_VERSION:=(.*)$",
    "CHANGELOG.md": r"^## (\d+\.\d+\.\d+)\b",  # the topmost release
    "README.md": r"^\*\*Version (\d+\.\d+\.\d+)\*\*",
}


def stated(root, path, pattern):
    found = re.search(pattern, (root / path).read_text(), re.M)
    return found[1] if found else None


def of_macros(root):
    """The version that the macros of base/version.hpp state."""
    text = (root / HEADER).read_text()
    numbers = [re.search(rf"^#define WG_VERSION_{part} (\d+)$", text, re.M) for part in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(number[1] for number in numbers) if all(numbers) else None


def differences(root):
    """Places of the tree at `root` that do not state the version of meson.build."""
    version = stated(root, *SOURCE)
    if version is None:
        return [SOURCE[0]]
    wrong = [] if of_macros(root) == version else [HEADER]
    return wrong + [path for path, pattern in PLACES.items() if stated(root, path, pattern) != version]


def same_everywhere():
    wrong = differences(ROOT)
    if wrong:
        raise Failed(f"not the version of meson.build ({stated(ROOT, *SOURCE)}): {', '.join(wrong)}")


def valid_json():
    json.loads((ROOT / "ports/wg/vcpkg.json").read_text())


def macros():
    """The compiler computes the number and the string that meson's version stands for."""
    version = stated(ROOT, *SOURCE)
    major, minor, patch = map(int, version.split("."))
    source = f"""#include <wg/base/version.hpp>
static_assert(WG_VERSION == {major * 10000 + minor * 100 + patch});
constexpr char text[] = WG_VERSION_STRING, wanted[] = "{version}";
static_assert(sizeof text == sizeof wanted);
template <int N> constexpr bool same = text[N] == wanted[N] && same<N - 1>;
template <> constexpr bool same<-1> = true;
static_assert(same<sizeof text - 1>);
"""
    with temporary() as there:
        unit = pathlib.Path(there) / "unit.cpp"
        unit.write_text(source)
        command("c++", "-std=c++20", "-fsyntax-only", "-I", ROOT / "include", unit)


def finds_planted(path):
    """Another version at one place of a copy is found."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in (SOURCE[0], HEADER, *PLACES):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        if differences(copy):
            raise Failed("the copy differs before anything is planted")
        text = (copy / path).read_text()
        if path == HEADER:
            planted = re.sub(r"(WG_VERSION_PATCH )(\d+)", lambda m: m[1] + str(int(m[2]) + 1), text, count=1)
        else:
            planted = re.sub(PLACES[path], lambda m: m[0].replace(m[1], "9.8.7"), text, count=1, flags=re.M)
        (copy / path).write_text(planted)
        if differences(copy) != [path]:
            raise Failed(f"finds {differences(copy)}")


if __name__ == "__main__":
    if "--self-test" in sys.argv[1:]:
        run_cases([(f"finds a planted version in {path}", lambda path=path: finds_planted(path))
                   for path in (HEADER, *PLACES)])
    run_cases([("the version is the same everywhere", same_everywhere), ("vcpkg.json is JSON", valid_json),
               ("the macros give the number and the string", macros)])
