#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Each way to use wg in another project builds a program and runs it; both installations are whole."""
import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import HEADERS, ROOT, Failed, command, need, run_cases, temporary, warnings_are_errors  # noqa: E402

HERE = ROOT / "tests" / "consumers"


def expect(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: got {got!r}, wanted {wanted!r}")


def run(program):
    expect(command(program), "no_endpoint\n", "the program's output")


def version():
    return re.search(r"^  version: '([0-9.]+)'", (ROOT / "meson.build").read_text(), re.MULTILINE)[1]


def whole(include):
    """Every header of the tree is installed, and nothing else."""
    expect(sorted(str(p.relative_to(include)) for p in include.rglob("*") if p.is_file()),
           sorted(str(p.relative_to(HEADERS)) for p in HEADERS.rglob("*") if p.is_file()), "installed headers")


def meson_subproject():
    need("meson")
    with temporary() as there:
        project = pathlib.Path(there) / "project"
        shutil.copytree(HERE / "meson", project)
        shutil.copy(HERE / "consumer.cpp", project)
        copy = project / "subprojects" / "wg"
        copy.mkdir(parents=True)
        for name in ("meson.build", "meson_options.txt"):
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "include", copy / "include")  # a subproject builds neither samples nor tests
        werror = str(warnings_are_errors(os.environ.get("CXX", "g++"))).lower()
        command("meson", "setup", f"-Dwerror={werror}", project / "build", project)
        command("ninja", "-C", project / "build")
        run(project / "build" / "consumer")


def cmake(source, build, *arguments):
    command("cmake", "-G", "Ninja", "-S", source, "-B", build, *arguments)  # make may not be there
    command("cmake", "--build", build)


def cmake_subdirectory():
    with temporary() as there:
        build = pathlib.Path(there)
        cmake(HERE / "cmake_subdirectory", build, f"-DWG_SOURCE={ROOT}")
        run(build / "consumer")


def cmake_package():
    with temporary() as there:
        there = pathlib.Path(there)
        cmake(ROOT, there / "wg")
        command("cmake", "--install", there / "wg", "--prefix", there / "prefix")
        whole(there / "prefix" / "include" / "wg")
        cmake(HERE / "cmake_package", there / "consumer", f"-DCMAKE_PREFIX_PATH={there / 'prefix'}")
        run(there / "consumer" / "consumer")


def pkg_config():
    need("meson")
    need("pkg-config")
    with temporary() as there:
        there = pathlib.Path(there)
        command("meson", "setup", there / "wg", ROOT, "--prefix", there / "prefix", "-Dtests=disabled",
                "-Dsamples=disabled")
        command("meson", "install", "-C", there / "wg")
        whole(there / "prefix" / "include" / "wg")
        env = {"PKG_CONFIG_PATH": str(there / "prefix" / "share" / "pkgconfig")}
        expect(command("pkg-config", "--modversion", "wg", env=env).strip(), version(), "version")
        flags = command("pkg-config", "--cflags", "--libs", "wg", env=env).split()
        command("c++", "-std=c++20", HERE / "consumer.cpp", *flags, "-o", there / "consumer")
        run(there / "consumer")


run_cases([("meson subproject", meson_subproject), ("cmake add_subdirectory", cmake_subdirectory),
           ("cmake find_package after an installation", cmake_package),
           ("pkg-config after an installation", pkg_config)])
