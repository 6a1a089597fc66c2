#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Fetches the source trees that tests compile: HACL* from the package nss, and lwIP.

    source_trees.py hacl     prints the folder of the HACL* C tree
    source_trees.py lwip     prints the folder of lwIP

$WG_HACL_TREE and $WG_LWIP_TREE may name other trees. apt fetches the sources once, from the archives of this machine,
with separate package lists.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "system"))
from vm import cache_dir  # noqa: E402

TREES = {"hacl": ("nss", "/lib/freebl/verified/"), "lwip": ("lwip", "/")}  # package, and the folder in its archive
APT = pathlib.Path("/etc/apt")
LINE = re.compile(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$", re.MULTILINE)


def codename():
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def stanzas():
    """The deb822 stanzas of the machine's archives for this release."""
    for path in sorted((APT / "sources.list.d").glob("*.sources")):
        for text in re.split(r"\n\s*\n", path.read_text()):
            text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", text, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes").strip() != "no":
                yield fields
    for path in [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*.list"))]:
        for options, uri, suite, components in LINE.findall(path.read_text() if path.exists() else ""):
            signed = re.search(r"signed-by=(\S+)", options)
            yield {"URIs": uri, "Suites": suite, "Components": components,
                   **({"Signed-By": signed[1]} if signed else {})}


def source_archives():
    """These archives as source archives of the component main."""
    for fields in stanzas():
        if codename() in fields["Suites"].split() and "main" in fields.get("Components", "").split():
            signed = f"Signed-By: {fields['Signed-By']}\n" if "Signed-By" in fields else ""
            yield f"Types: deb-src\nURIs: {fields['URIs']}\nSuites: {codename()}\nComponents: main\n{signed}"


def download(package, part, to, archives):
    with tempfile.TemporaryDirectory() as work:
        for folder in "lists/partial", "cache/archives/partial", "sources":
            os.makedirs(f"{work}/{folder}")
        pathlib.Path(work, "sources", "own.sources").write_text("\n".join(archives))
        apt = ["apt-get", "-qq", "-o", "Dir::Etc::sourcelist=-", "-o", f"Dir::Etc::sourceparts={work}/sources",
               "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache",
               "-o", "APT::Sandbox::User=root"]
        run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": work, "timeout": 300,
               "text": True}
        subprocess.run([*apt, "update"], **run)
        subprocess.run([*apt, "--download-only", "--tar-only", "source", package], **run)
        unready = pathlib.Path(tempfile.mkdtemp(dir=to.parent))
        # A package has the archive of its authors, and often one with Debian's own files.
        archive = next(a for a in pathlib.Path(work).glob(f"{package}_*.tar.*") if ".debian.tar" not in a.name)
        with tarfile.open(archive) as tar:
            for member in tar:
                _, found, name = member.name.partition(part)
                path = unready / name
                if found and member.isfile() and ".." not in path.parts:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
        if not any(unready.iterdir()):
            raise OSError(f"{package} has no {part}")
        unready.rename(to)


def tree(name):
    """(folder, ""), or (None, the reason)."""
    package, part = TREES[name]
    other = os.environ.get(f"WG_{name.upper()}_TREE")
    if other:
        return pathlib.Path(other).resolve(), ""
    to = cache_dir() / f"{name}-{codename()}"
    if to.exists():
        return to, ""
    if not shutil.which("apt-get"):
        return None, "no apt-get here"
    archives = list(source_archives())
    if not archives:
        return None, f"no archive of {codename() or 'this system'} among apt's sources"
    try:
        download(package, part, to, archives)
    except (subprocess.SubprocessError, OSError, StopIteration, tarfile.TarError) as error:
        said = (getattr(error, "stderr", "") or "").strip().splitlines()
        return None, f"the sources of {package} cannot be had: {said[-1] if said else error}"
    return to, ""


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TREES:
        sys.exit(f"usage: source_trees.py {' | '.join(TREES)}")
    folder, why = tree(sys.argv[1])
    if folder is None:
        sys.exit(f"source_trees.py: {why}")
    print(folder)
