#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The documents agree with the tree and with each other.

    documents.py [--self-test]

- The table of docs/architecture.md states every include of one folder by another, and none that is not there, directly
  or by way of other folders.
- Each page of docs/decisions has a title, a date, a status and what would change our mind, and the index lists it.
- A link to a section leads to one.
- No table has two rows with the same first cell in CONTRIBUTING.md.

--self-test plants one fault of each kind in a copy, and passes if each is found.
"""
import pathlib
import re
import shutil
import sys
import tempfile

import layers
from cases import Failed, ROOT, run_cases

STATUSES = "accepted", "superseded by", "rejected"
MIND = "## What would change our mind\n"
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
FRAGMENT = re.compile(r"\]\(([^)\s#:]*)#([^)\s]+)\)")


def documents(root):
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def folder_of(header):
    """The folder of a header. The folder `policy` counts as policy.hpp."""
    folder = layers.folder(header)
    return "policy.hpp" if folder == "policy" else folder


def graph(root):
    """Which folders each folder includes directly, by the reader of layers.py."""
    headers = root / "include" / "wg"
    edges = {}
    for header in sorted(p.relative_to(headers) for p in headers.rglob("*.[hci][pn][pl]")):
        folder = folder_of(header)
        targets = {folder_of(target) for _, target in layers.included(headers, header)[0]}
        edges.setdefault(folder, set()).update(targets - {folder})
    return edges


def reached(edges, folder):
    """The folders that a folder includes, directly or by way of others."""
    found, queue = set(), [folder]
    while queue:
        for target in edges.get(queue.pop(), set()) - found:
            found.add(target)
            queue.append(target)
    return found


def wrong_graph(root):
    stated = {}
    for line in (root / "docs/architecture.md").read_text().splitlines():
        if row := re.match(r"\| `([\w.]+)` \| ([^|]*) \|", line):
            stated[row[1]] = set(re.findall(r"`([\w.]+)`", row[2]))
    edges = graph(root)
    for folder, targets in edges.items():
        if folder.endswith((".hpp", ".cpp", ".cppm")) and folder != "policy.hpp":
            continue  # wg.hpp and its like include what they need
        said = stated.get(folder)
        if said is None or not targets <= said <= reached(edges, folder):
            yield (f"docs/architecture.md: `{folder}` includes {', '.join(sorted(targets)) or 'nothing'}; the table "
                   f"says {', '.join(sorted(said or ['nothing']))}")


def wrong_decisions(root):
    folder = root / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for page in sorted(folder.glob("*/*.md")):
        name, text = page.relative_to(folder), page.read_text()
        head = re.match(r"# (.+)\n\n- Date: (\d{4}-\d\d-\d\d)[^\n]*\n- Status: ([^\n]+)\n\n(?=\S)", text)
        if not head:
            yield f"docs/decisions/{name}: does not begin with a title, `- Date: ` and `- Status: `"
            continue
        title, date, status = head.groups()
        if not status.startswith(STATUSES):
            yield f"docs/decisions/{name}: the status is none of {', '.join(STATUSES)}"
        if not text.partition(MIND)[2].strip():
            yield f"docs/decisions/{name}: does not say what would change our mind"
        kind = next((kind for kind in STATUSES if status.startswith(kind)), status)
        if f"| [{title}]({name}) | {date} | {kind}" not in index:
            yield f"docs/decisions/README.md: no row `| [{title}]({name}) | {date} | {kind}`"


def sections(path):
    """What a link can name after `#`: the headings, as code hosts write them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong_fragments(root):
    for path in documents(root):
        for target, fragment in FRAGMENT.findall(FENCE.sub("", path.read_text())):
            page = path.parent / target if target else path
            if page.suffix == ".md" and page.exists() and fragment not in sections(page):
                yield f"{path.relative_to(root)}: {target}#{fragment} is no section"


def repeated_rows(root):
    for table in (root / "CONTRIBUTING.md").read_text().split("\n\n"):
        cells = re.findall(r"^\| ([^|]+) \|", table, re.M)
        for cell in sorted({cell for cell in cells if cells.count(cell) > 1}):
            yield f"CONTRIBUTING.md: several rows of a table begin with `{cell}`"


CHECKS = {"the include graph of docs/architecture.md": wrong_graph, "the pages of docs/decisions": wrong_decisions,
          "links to sections": wrong_fragments, "rows of CONTRIBUTING.md": repeated_rows}
PAGE = "docs/decisions/core/one-lock.md"
PLANTS = {  # fault: (check, file, pattern, text in its place)
    "include": (wrong_graph, "include/wg/control/text.hpp", r'(?m)^#include "', '#include "../policy.hpp"\n#include "'),
    "page without a status": (wrong_decisions, PAGE, r"- Status: .*\n", ""),
    "page with an unknown status": (wrong_decisions, PAGE, "- Status: accepted", "- Status: perhaps"),
    "page without a change of mind": (wrong_decisions, PAGE, MIND, ""),
    "page that the index lacks": (wrong_decisions, "docs/decisions/README.md", r"\| \[One lock .*\n", ""),
    "link to no section": (wrong_fragments, "README.md", r"\Z", "\n[nowhere](CONTRIBUTING.md#no-such-section)\n"),
    "row that stands twice": (repeated_rows, "CONTRIBUTING.md", r"(?m)^(\| unit \|.*\n)", r"\1\1"),
}


def none(check):
    wrong = list(check(ROOT))
    if wrong:
        raise Failed("\n".join(["", *wrong]))


def finds(check, path, pattern, text):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in "include", "docs":
            shutil.copytree(ROOT / name, copy / name)
        for document in ROOT.glob("*.md"):
            shutil.copy(document, copy)
        before = set(check(copy))
        target = copy / path
        planted, count = re.subn(pattern, text, target.read_text(), count=1)
        target.write_text(planted)
        if count != 1 or not set(check(copy)) - before:
            raise Failed("not found")


if __name__ == "__main__":
    if "--self-test" in sys.argv[1:]:
        run_cases([(f"finds a planted {name}", lambda plant=plant: finds(*plant)) for name, plant in PLANTS.items()])
    run_cases([(name, lambda check=check: none(check)) for name, check in CHECKS.items()])
