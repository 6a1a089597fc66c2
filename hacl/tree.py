#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Finds the sources and include folders of a HACL* C tree that wg/backends/hacl.hpp needs, by following includes.

    tree.py TREE CPU_FAMILY

Prints a line for each: `folder FOLDER`, `scalar FILE`, `vec128 FILE`, `vec256 FILE`. Each distribution of HACL* has its
own layout. So a header is found in any folder, and a source is needed if its header is included.
"""
import pathlib
import re
import sys

# The headers that hacl.hpp includes, by generations of names, the newest first. A primitive takes the first generation
# that the tree has, with all its widths of vectors.
AEAD = [["Hacl_AEAD_Chacha20Poly1305", "Hacl_AEAD_Chacha20Poly1305_Simd128", "Hacl_AEAD_Chacha20Poly1305_Simd256"],
        ["Hacl_Chacha20Poly1305_32", "Hacl_Chacha20Poly1305_128", "Hacl_Chacha20Poly1305_256"]]
HASH = [["Hacl_Hash_Blake2s"], ["Hacl_Hash_Blake2"], ["Hacl_Blake2s_32"]]
# Paths to ignore: editions of the same files for other compilers and languages, and files outside the library.
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
        """Files that an include of `name` may refer to. Files in a folder `internal` match only with that folder."""
        wanted = pathlib.PurePath(name).parts
        return [path for path in self.by_name.get(wanted[-1].lower(), [])
                if path.parts[-len(wanted):] == wanted and (len(wanted) > 1 or path.parent.name != "internal")]

    def has(self, name):
        return bool(self.named(name))

    def find(self, name, beside=None):
        """The file that an include of `name` in a file of the folder `beside` refers to; None if not in this tree."""
        if beside and (beside / name).is_file():
            return (beside / name).resolve()
        for path in self.named(name):
            folder = path.parents[len(pathlib.PurePath(name).parts) - 1]
            if folder not in self.folders:
                self.folders.append(folder)
            return path.resolve()
        return None

    def source_of(self, header):
        """The source with a header's name, in any case: some trees have Lib_Memzero0.c for lib_memzero0.h."""
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
