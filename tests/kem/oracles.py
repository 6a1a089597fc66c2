#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""ML-KEM-768 gives the same keys, ciphertexts and secrets as OpenSSL 3.5 and as the npm package @noble/post-quantum.

    oracles.py           1000 key pairs
    oracles.py --full    100,000 key pairs

Where the system's OpenSSL is older, apt fetches that of Debian 13 once, with the C library that it needs, and unpacks
both into the cache of the tests. The program then runs with that C library.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import ROOT, STRICT, Failed, Skipped, command, need, run_cases, temporary  # noqa: E402
from source_trees import stanzas  # noqa: E402
sys.path.insert(0, str(ROOT / "tests" / "system"))
from vm import cache_dir  # noqa: E402

HERE = ROOT / "tests" / "kem"
PAIRS = 100000 if "--full" in sys.argv[1:] else 1000
SUITE = "trixie"
PACKAGES = ["libssl3t64", "libssl-dev", "libc6", "libgcc-s1", "libstdc++6", "libzstd1", "zlib1g"]
NOBLE = "@noble/post-quantum@0.7.1"
TRIPLE = "x86_64-linux-gnu"


def built(there, *flags, last=()):
    program = pathlib.Path(there) / "pairs"
    command("g++", *STRICT, "-O2", "-DNDEBUG", *flags, "-I", ROOT / "include", HERE / "pairs.cpp", "-o", program, *last)
    return program


def unpacked():
    """The folder of Debian 13's packages, fetched once."""
    to = cache_dir() / f"openssl-{SUITE}"
    if to.exists():
        return to
    need("apt-get"), need("dpkg-deb")
    mirror = next((fields for fields in stanzas() if "debian.org/debian" in fields["URIs"] + "/"
                   and "security" not in fields["URIs"]), None)
    if mirror is None or command("dpkg", "--print-architecture").strip() != "amd64":
        raise Skipped("apt has no mirror of Debian for amd64")
    with tempfile.TemporaryDirectory() as work:
        for folder in "lists/partial", "cache/archives/partial", "sources", "out":
            os.makedirs(f"{work}/{folder}")
        signed = f"Signed-By: {mirror['Signed-By']}\n" if "Signed-By" in mirror else ""
        pathlib.Path(work, "sources", "own.sources").write_text(
            f"Types: deb\nURIs: {mirror['URIs']}\nSuites: {SUITE}\nComponents: main\n{signed}")
        apt = ["apt-get", "-qq", "-o", "Dir::Etc::sourcelist=-", "-o", f"Dir::Etc::sourceparts={work}/sources",
               "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache",
               "-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root"]
        try:
            for rest in ["update"], ["download", *PACKAGES]:
                subprocess.run([*apt, *rest], check=True, cwd=work, timeout=300, text=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", "") or "").strip().splitlines()
            raise Skipped(f"OpenSSL of {SUITE} cannot be had: {said[-1] if said else error}") from None
        unready = pathlib.Path(tempfile.mkdtemp(dir=to.parent))
        for package in pathlib.Path(work).glob("*.deb"):
            command("dpkg-deb", "-x", package, unready)
        unready.rename(to)
    return to


def agrees_with_openssl():
    test = "#if __has_include(<openssl/ml_kem.h>)\nhere\n#endif\n"
    with temporary() as there:
        if "here" in command("g++", "-E", "-P", "-x", "c++", "-", source=test):
            return command(built(there, "-DWG_WITH_OPENSSL_KEM", last=["-lcrypto"]), PAIRS)
        root = unpacked() / "usr"
        program = built(there, "-DWG_WITH_OPENSSL_KEM", "-isystem", root / "include", "-isystem",
                        root / "include" / TRIPLE,
                        last=[root / "lib" / TRIPLE / "libcrypto.so.3", "-Wl,--allow-shlib-undefined"])
        return command(root / "lib64" / "ld-linux-x86-64.so.2", "--library-path", root / "lib" / TRIPLE, program, PAIRS)


def agrees_with_noble():
    need("node"), need("npm")
    folder = cache_dir() / "noble-post-quantum"
    if not (folder / "node_modules" / "@noble" / "post-quantum").exists():
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error",
                               "--prefix", str(folder), NOBLE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300)
        if done.returncode:
            shutil.rmtree(folder)
            raise Skipped(f"npm cannot fetch {NOBLE}: {(done.stdout.strip().splitlines() or [''])[-1]}")
    with temporary() as there:
        ours = command(built(there), PAIRS)
    theirs = command("node", HERE / "noble.mjs", folder, PAIRS)
    if ours != theirs:
        raise Failed(f"the digests differ: ours {ours}theirs {theirs}")


run_cases([(f"{PAIRS} key pairs agree with OpenSSL", agrees_with_openssl),
           (f"{PAIRS} key pairs agree with {NOBLE}", agrees_with_noble)])
