#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Which sources and include folders of a HACL* C tree wg/backends/hacl.hpp needs, found by the files' own includes.

    tree.py TREE CPU_FAMILY

Prints a line for each: `folder FOLDER`, `scalar FILE`, `vec128 FILE`, `vec256 FILE`. Distributions of HACL* lay out
their trees in their own ways; here a header is found wherever it is, and a source belongs to what includes its header.
"""
import pathlib
import re
import sys

# Where what hacl.hpp uses begins, newest names first. Of one primitive there is one generation, and all its widths.
AEAD = [["Hacl_AEAD_Chacha20Poly1305", "Hacl_AEAD_Chacha20Poly1305_Simd128", "Hacl_AEAD_Chacha20Poly1305_Simd256"],
        ["Hacl_Chacha20Poly1305_32", "Hacl_Chacha20Poly1305_128", "Hacl_Chacha20Poly1305_256"]]
HASH = [["Hacl_Hash_Blake2s"], ["Hacl_Hash_Blake2"], ["Hacl_Blake2s_32"]]
# Other editions of the same files for other compilers and languages, and what is not the library.
OTHERS = re.compile(r"msvc|c89|wasm|rust|portable|js|ocaml|test|bench|example|doc|universal2", re.IGNORECASE)
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


class Tree:
    def __init__(self, root):
        self.by_name = {}
        for path in sorted(root.rglob("*.[ch]"), key=lambda p: (len(p.parts), str(p))):
            if not OTHERS.search(str(path.relative_to(root))):
                self.by_name.setdefault(path.name.lower(), []).append(path)
        self.folders = []

    def named(self, name):
        """Files that an include of `name` may mean; those of a folder `internal` are always included with it."""
        wanted = pathlib.PurePath(name).parts
        return [path for path in self.by_name.get(wanted[-1].lower(), [])
                if path.parts[-len(wanted):] == wanted and (len(wanted) > 1 or path.parent.name != "internal")]

    def has(self, name):
        return bool(self.named(name))

    def find(self, name, beside=None):
        """The file that an include of `name` in a file of the folder `beside` means; None: not of this tree."""
        if beside and (beside / name).is_file():
            return (beside / name).resolve()
        for path in self.named(name):
            folder = path.parents[len(pathlib.PurePath(name).parts) - 1]
            if folder not in self.folders:
                self.folders.append(folder)
            return path.resolve()
        return None

    def source_of(self, header):
        """The source of a header's name; some trees write Lib_Memzero0.c for lib_memzero0.h."""
        return next(iter(self.by_name.get(header.stem.lower() + ".c", [])), None)


def wanted(tree, cpu):
    for generations in AEAD, HASH:
        for names in generations:
            if tree.has(names[0] + ".h"):
                yield from (name for name in names if tree.has(name + ".h"))
                break
    if cpu.endswith("64") or cpu == "s390x":
        if tree.has("Hacl_Curve25519_51.h"):
            yield "Hacl_Curve25519_51"
            if cpu == "x86_64" and tree.has("Hacl_Curve25519_64.h") and tree.has("curve25519-inline.h"):
                yield "Hacl_Curve25519_64"


def width(source):
    name = source.stem
    return "vec256" if re.search(r"256", name) else "vec128" if re.search(r"128", name) else "scalar"


def closure(tree, first):
    seen, queue = set(), list(first)
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in INCLUDE.findall(path.read_text(errors="replace")):
            header = tree.find(name, path.parent)
            if header:
                queue.append(header)
        if path.suffix == ".h" and (source := tree.source_of(path)):
            queue.append(source.resolve())
    return sorted(path for path in seen if path.suffix == ".c")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root, cpu = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    tree = Tree(root)
    first = [tree.find(name + ".h") for name in wanted(tree, cpu)]
    if not first:
        sys.exit(f"{root}: no HACL* tree: neither ChaCha20-Poly1305 nor Curve25519 nor BLAKE2s is there")
    vectors = {"x86_64": {"vec128", "vec256"}, "aarch64": {"vec128"}}.get(cpu, set()) | {"scalar"}
    for source in closure(tree, first):
        if width(source) in vectors:
            print(width(source), source)
    for folder in tree.folders:
        print("folder", folder)


main()
