#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The project's scripts: shellcheck finds nothing, every Python file compiles, every file names its licence, and no
unit test is forgotten in meson's list."""
import ast

from cases import ROOT, Failed, command, run_cases

NO_COMMENTS = {"LICENSE", ".gitignore", ".clang-format", ".clang-tidy"}
FOLDERS = [".ci", "bench", "cmake", "samples", "single_include", "tests"]


def files():
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def starts(path, text):
    return path.read_text(errors="replace").startswith(text)


def is_shell(path):
    return path.suffix == ".sh" or starts(path, "#!/usr/bin/env bash") or starts(path, "#!/bin/sh")


def python_compiles(path):
    try:
        ast.parse(path.read_text(), str(path), feature_version=(3, 11))
    except SyntaxError as error:
        raise Failed(str(error)) from None


def names_licence(path):
    head = path.read_text(errors="replace").splitlines()[:5]
    if not any("SPDX-License-Identifier: BSL-1.0" in line for line in head):
        raise Failed("no SPDX-License-Identifier: BSL-1.0 in the first five lines")


def unit_tests_listed():
    listed = (ROOT / "tests" / "unit" / "meson.build").read_text()
    forgotten = [path.name for path in (ROOT / "tests" / "unit").glob("*.cpp") if f"'{path.name}'" not in listed]
    if forgotten:
        raise Failed(f"not in tests/unit/meson.build: {' '.join(sorted(forgotten))}")


cases = [("all unit tests are in meson's list", unit_tests_listed)]
for file in sorted(files()):
    name = file.relative_to(ROOT)
    if is_shell(file):
        cases.append((f"shellcheck {name}", lambda f=file: command("shellcheck", f)))
    if file.suffix == ".py":
        cases.append((f"python {name}", lambda f=file: python_compiles(f)))
    if file.suffix != ".md" and file.name not in NO_COMMENTS:
        cases.append((f"licence of {name}", lambda f=file: names_licence(f)))
run_cases(cases)
