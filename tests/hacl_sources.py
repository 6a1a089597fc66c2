#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Finds a HACL* C tree for the tests of wg/backends/hacl.hpp: the tree in the sources of the package nss.

    hacl_sources.py     prints the folder

$WG_HACL_TREE may name another tree. apt fetches the sources once, from the archives of this machine, with separate
package lists.
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

PART = "/lib/freebl/verified/"
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


def download(to, archives):
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
        subprocess.run([*apt, "--download-only", "--tar-only", "source", "nss"], **run)
        unready = pathlib.Path(tempfile.mkdtemp(dir=to.parent))
        with tarfile.open(next(pathlib.Path(work).glob("nss_*.tar.*"))) as tar:
            for member in tar:
                before, part, name = member.name.partition(PART)
                path = unready / name
                if part and member.isfile() and ".." not in path.parts:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
        if not any(unready.iterdir()):
            raise OSError(f"nss has no {PART}")
        unready.rename(to)


def tree():
    """(folder, ""), or (None, the reason)."""
    if os.environ.get("WG_HACL_TREE"):
        return pathlib.Path(os.environ["WG_HACL_TREE"]).resolve(), ""
    to = cache_dir() / f"hacl-{codename()}"
    if to.exists():
        return to, ""
    if not shutil.which("apt-get"):
        return None, "no apt-get here"
    archives = list(source_archives())
    if not archives:
        return None, f"no archive of {codename() or 'this system'} among apt's sources"
    try:
        download(to, archives)
    except (subprocess.SubprocessError, OSError, StopIteration, tarfile.TarError) as error:
        said = (getattr(error, "stderr", "") or "").strip().splitlines()
        return None, f"the sources of nss cannot be had: {said[-1] if said else error}"
    return to, ""


if __name__ == "__main__":
    folder, why = tree()
    if folder is None:
        sys.exit(f"hacl_sources.py: {why}")
    print(folder)
