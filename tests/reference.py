#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Every public symbol of the headers has a docstring, and Doxygen reads the headers without a warning.

    reference.py [--list | --page FOLDER | --self-test] [ROOT]

--list prints the undocumented symbols of all folders, one `file:line: symbol` a line. --page writes the HTML pages to
FOLDER/html. --self-test plants an undocumented symbol of each kind and a wrong command, and passes if each is found.

These need no docstring: deleted and defaulted functions, destructors, copy and move operations, friends, partial
specialisations of a documented template, overloads of a documented function of the same scope, include guards, and the
macros of `backends`, which serve its kernels alone.
"""
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERSION = "1.9"  # other versions warn about other things
LEAST = 1000  # symbols in all; far fewer mean that Doxygen did not parse a header

KINDS = {"class", "struct", "union", "concept", "namespace"}  # compounds that need a docstring
Symbol = collections.namedtuple("Symbol", "file line name documented")


def doxygen(root, settings):
    """Runs Doxygen on the tree at `root` with Doxyfile and these settings; its warnings."""
    text = (ROOT / "Doxyfile").read_text() + "".join(f"{name} = {value}\n" for name, value in settings.items())
    shown = subprocess.run(["doxygen", "-"], cwd=root, input=text, capture_output=True, text=True)
    warnings = list(dict.fromkeys(line for line in shown.stderr.splitlines() if line.strip()))
    if shown.returncode != 0:
        warnings.append(f"doxygen ended with status {shown.returncode}")
    return warnings


def is_documented(node):
    return any("".join(node.find(part).itertext()).strip() for part in ("briefdescription", "detaileddescription")
               if node.find(part) is not None)


def needs_docstring(member, scope):
    """Whether a member of a compound needs a docstring; `scope` is the compound's name without its namespaces."""
    name, arguments = member.findtext("name"), member.findtext("argsstring") or ""
    if member.get("prot") == "private" or member.get("kind") == "friend" or not name or name.startswith("@"):
        return False
    if re.search(r"=\s*(delete|default)\s*$", arguments) or name.startswith("~"):
        return False
    parameters = member.findall("param")
    kind = "".join(parameters[0].find("type").itertext()) if len(parameters) == 1 else ""
    copies_or_moves = re.fullmatch(rf"(const )?{re.escape(scope)}( const)?\s*&&?", kind.strip()) is not None
    return not (copies_or_moves and name in (scope, "operator="))


def is_public_macro(root, file, name):
    if file.startswith("backends") or not name.startswith("WG_") or name.endswith(("_HPP", "_")):
        return False
    return not re.search(rf"^\s*#\s*undef {name}$", (root / "include" / "wg" / file).read_text(), re.M)


def file_of(node):
    return node.find("location").get("file").removeprefix("include/wg/").removeprefix("wg/")


def symbols(root, xml):
    """Every public symbol of Doxygen's XML."""
    found = {}

    def add(node, name, documented):
        before = found.get((file_of(node), name))
        if before is None or (documented and not before.documented):
            line = int(node.find("location").get("line") or 0)
            found[file_of(node), name] = Symbol(file_of(node), line, name, documented)

    for path in sorted(xml.glob("*.xml")):
        compound = ElementTree.parse(path).getroot().find("compounddef")
        if compound is None:
            continue
        kind, name = compound.get("kind"), compound.findtext("compoundname")
        if compound.get("prot") == "private" or "<" in name or "@" in name:
            continue
        if kind in KINDS and name != "std":
            add(compound, name, is_documented(compound))
        scope = name.rpartition("::")[2]
        for member in compound.findall("sectiondef/memberdef"):
            what = member.get("kind")
            if kind == "file" and what != "define":
                continue  # it belongs to a namespace, where it is seen again
            if what == "define":
                if is_public_macro(root, file_of(member), member.findtext("name")):
                    add(member, member.findtext("name"), is_documented(member))
                continue
            if not needs_docstring(member, scope):
                continue
            add(member, f"{name}::{member.findtext('name')}", is_documented(member))
            for value in member.findall("enumvalue"):
                value.append(member.find("location"))
                add(value, f"{name}::{member.findtext('name')}::{value.findtext('name')}", is_documented(value))
    return sorted(found.values())


def read(root):
    """The symbols of the tree at `root`, and Doxygen's warnings."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"OUTPUT_DIRECTORY": folder, "GENERATE_HTML": "NO", "GENERATE_XML": "YES",
                    "XML_PROGRAMLISTING": "NO"}
        if not (root / "docs" / "reference.dox").exists():
            settings["INPUT"] = "include/wg"  # the tree of the self-test
        warnings = doxygen(root, settings)
        warnings = [line.replace(f"{root}/include/wg/", "") for line in warnings]
        return symbols(root, pathlib.Path(folder, "xml")), warnings


def check(root):
    """The violations, and the number of documented symbols."""
    found, warnings = read(root)
    missing = [symbol for symbol in found if not symbol.documented]
    wrong = [f"{symbol.file}:{symbol.line}: {symbol.name} has no docstring" for symbol in missing] + warnings
    if len(found) < LEAST and root == ROOT:
        wrong.append(f"{len(found)} symbols in all, expected at least {LEAST}")
    return wrong, len(found) - len(missing)


PLANTS = {  # what: (text inside namespace wg, part of the complaint)
    "class": ("class planted {};", "wg::planted has no docstring"),
    "function": ("void planted() noexcept;", "wg::planted has no docstring"),
    "member function": ("/// A class.\nclass documented {\npublic:\n    int planted() const;\n};",
                        "wg::documented::planted has no docstring"),
    "variable": ("/// A class.\nstruct documented {\n    int planted = 0;\n};",
                 "wg::documented::planted has no docstring"),
    "enumerator": ("/// A choice.\nenum class choice {\n    first, ///< one\n    planted\n};",
                   "wg::choice::planted has no docstring"),
    "alias": ("using planted = int;", "wg::planted has no docstring"),
    "concept": ("template <class T> concept planted = true;", "wg::planted has no docstring"),
    "macro": ("#define WG_PLANTED 1", "WG_PLANTED has no docstring"),
    "warning": ("/// Sets \\nonsense.\nvoid documented() noexcept;", "nonsense"),
}
ACCEPTED = """
/// A class.
class documented {
public:
    documented() = default;
    documented(documented const&) = delete;
    documented& operator=(documented&& other) noexcept;
    ~documented();
    /// Its size in bytes.
    int size() noexcept;
    int size() const noexcept;

private:
    int size_ = 0;
};
namespace planted_detail {
void helper();
}
"""


def complaints_about(text):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder).resolve()
        header = copy / "include" / "wg" / "base" / "planted.hpp"
        header.parent.mkdir(parents=True)
        header.write_text("#ifndef WG_BASE_PLANTED_HPP\n#define WG_BASE_PLANTED_HPP\n/// The library.\n"
                          f"namespace wg {{ inline namespace WG_ABI {{\n{text}\n}}}} // namespace wg::WG_ABI\n#endif\n")
        return check(copy)[0]


def self_test():
    passed = failed = 0
    for what, (text, complaint) in PLANTS.items():
        good = any(complaint in line for line in complaints_about(text))
        print(f"{'ok  ' if good else 'FAIL'} finds a planted {what}")
        passed, failed = passed + good, failed + (not good)
    wrong = complaints_about(ACCEPTED)
    print(f"{'FAIL' if wrong else 'ok  '} accepts what needs no docstring {wrong or ''}")
    return passed + (not wrong), failed + bool(wrong)


def main():
    arguments = sys.argv[1:]
    shown = shutil.which("doxygen") and subprocess.run(["doxygen", "--version"], capture_output=True, text=True).stdout
    if not shown or not shown.startswith(VERSION):
        print(f"skip reference: no Doxygen {VERSION} here" + (f", but {shown.strip()}" if shown else ""))
        print("0 passed, 0 failed, 1 skipped")
        return 77
    if arguments[:1] == ["--page"]:
        for line in doxygen(ROOT, {"OUTPUT_DIRECTORY": arguments[1]}):
            print(line)
        print(f"{arguments[1]}/html/index.html")
        return 0
    if arguments[:1] == ["--list"]:
        for symbol in read(pathlib.Path(arguments[1]).resolve() if arguments[1:] else ROOT)[0]:
            if not symbol.documented:
                print(f"{symbol.file}:{symbol.line}: {symbol.name}")
        return 0
    if arguments[:1] == ["--self-test"]:
        passed, failed = self_test()
    else:
        wrong, passed = check(ROOT)
        for line in wrong:
            print(f"FAIL include/wg/{line}")
        failed = len(wrong)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
