#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Rules of form: shellcheck finds nothing, every Python file compiles, every file names its licence, every unit test is
in meson's list, every rule that a header cites is proved by a test, links have a target, and lines have at most 120
columns."""
import ast
import re

from cases import ROOT, Failed, command, need, run_cases

NO_COMMENTS = {"LICENSE", ".git", ".gitignore", ".clang-format", ".clang-tidy"}
FOLDERS = [".ci", "bench", "cmake", "cross", "hacl", "lib", "samples", "single_include", "tests"]
COLUMNS = 120
RULE = re.compile(r"//= ((?:wp|linux|RFC)\b.*)")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]:\s*(\S+)", re.MULTILINE)


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


def rules_in(folder):
    """{rule: place} of the rules that the sources of a folder cite."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.[ch]pp")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if rule := RULE.search(line):
                found.setdefault(rule[1], f"{path.relative_to(ROOT)}:{number}")
            elif "//=" in line:
                raise Failed(f"{path.relative_to(ROOT)}:{number}: a rule is `//= wp X.Y: text`, `//= linux: text` or "
                             f"`//= RFC N S: text`, not: {line.strip()}")
    return found


def rules_proved():
    kept, proved = rules_in("include"), rules_in("tests")
    if not kept:
        raise Failed("no header cites a rule")
    missing = [f"{where}: {rule}" for rule, where in kept.items() if rule not in proved]
    if missing:
        raise Failed("\n".join(["no test says that it proves", *missing]))


def links_lead_somewhere(path):
    targets = ["".join(found) for found in LINK.findall(path.read_text())]
    broken = [target for target in targets if "://" not in target and not target.startswith(("#", "mailto:"))
              and not (path.parent / target.partition("#")[0]).exists()]
    if broken:
        raise Failed(f"there is no {' '.join(broken)}")


def no_placeholder(path):
    """Refuses a line of a document that has only capital letters. No sentence of the documents has that form."""
    left = [line for line in path.read_text().splitlines() if re.fullmatch(r"[A-Z]{2,}(?:[ _][A-Z]+)*", line)]
    if left:
        raise Failed(f"a placeholder: {' '.join(left)}")


def lines_end_in_time(path):
    """Tables and addresses cannot be wrapped."""
    markdown = path.suffix == ".md"
    long = [str(number) for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > COLUMNS
            and not (markdown and (line.lstrip().startswith("|") or "://" in line))]
    if long:
        raise Failed(f"more than {COLUMNS} columns in line {', '.join(long)}")


def is_wrapped(path):
    """Whether the rule applies: the generated header has long lines, and a line that says it is generated."""
    return path.suffix in (".hpp", ".cpp", ".py", ".md", ".build") and path != ROOT / "single_include/wg/wg.hpp"


def python_names_exist():
    """pyflakes finds names that are not defined, which the compiler of Python does not."""
    need("pyflakes3")
    command("pyflakes3", *sorted(file for file in files() if file.suffix == ".py"))


cases = [("all unit tests are in meson's list", unit_tests_listed), ("all rules are proved", rules_proved),
         ("names in Python scripts", python_names_exist)]
for file in sorted(files()):
    name = file.relative_to(ROOT)
    if is_shell(file):
        cases.append((f"shellcheck {name}", lambda f=file: command("shellcheck", f)))
    if file.suffix == ".py":
        cases.append((f"python {name}", lambda f=file: python_compiles(f)))
    if file.suffix != ".md" and file.name not in NO_COMMENTS:
        cases.append((f"licence of {name}", lambda f=file: names_licence(f)))
documents = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
for file in documents:
    name = file.relative_to(ROOT)
    cases.append((f"links of {name}", lambda f=file: links_lead_somewhere(f)))
    cases.append((f"placeholders in {name}", lambda f=file: no_placeholder(f)))
for file in sorted({*files(), *documents, *(ROOT / "include").rglob("*.hpp")}):
    if is_wrapped(file) or is_shell(file):
        cases.append((f"columns of {file.relative_to(ROOT)}", lambda f=file: lines_end_in_time(f)))
run_cases(cases)
