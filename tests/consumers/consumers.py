#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Uses wg in another project in each supported way, builds a program and runs it. Checks that each installation is
complete.

vcpkg and Conan are not needed: their recipes run with stand-ins for the few functions that they call.
"""
import fnmatch
import json
import os
import pathlib
import re
import shutil
import sys
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import HEADERS, ROOT, Failed, command, need, run_cases, temporary, warnings_are_errors  # noqa: E402

HERE = ROOT / "tests" / "consumers"
KERNEL = re.compile(r"::(avx2_x25519|ifma_x25519|x25519|x25519_base)[<:]")  # the classes that compute a public key


def expect(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: got {got!r}, wanted {wanted!r}")


def run(program):
    expect(command(program), "no_endpoint\n", "the program's output")


def run_without_kernels(program, where):
    """Runs the program, and checks that its own object in the folder `where` has no kernel but refers to the library's.

    An object that was compiled without WG_SEPARATE_KERNELS has kernels, and the program would print the same."""
    expect(command(program), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n", "the program's output")
    need("nm")
    objects = list(where.rglob("*kernels_consumer*.o"))
    expect(len(objects), 1, "objects of the program")
    symbols = command("nm", "--demangle", objects[0]).splitlines()
    expect([line for line in symbols if " U " not in line and KERNEL.search(line)], [], "kernels in the object")
    expect(len([line for line in symbols if " U " in line and "::x25519_dh::dh_public(" in line]), 1,
           "references of the object to the library's kernels")


def collects_early(build):
    """Checks that g++ got the options that save memory for the program which uses the kernels, and only for that."""
    if "Free Software Foundation" not in command(os.environ.get("CXX", "g++"), "--version"):
        return
    units = json.loads((build / "compile_commands.json").read_text())
    found = {pathlib.Path(unit["file"]).name: unit["command"].count("--param=ggc-min-") for unit in units}
    expect((found["kernels_consumer.cpp"], found["consumer.cpp"]), (2, 0), "options of g++'s collector")


def version():
    return re.search(r"^  version: '([0-9.]+)'", (ROOT / "meson.build").read_text(), re.MULTILINE)[1]


def whole(include):
    """Checks that every header of the tree is installed, and no other file."""
    expect(sorted(str(p.relative_to(include)) for p in include.rglob("*") if p.is_file()),
           sorted(str(p.relative_to(HEADERS)) for p in HEADERS.rglob("*") if p.is_file()), "installed headers")


def copy_for_meson(to):
    """Copies the files of a subproject, which builds neither samples nor tests."""
    to.mkdir(parents=True)
    for name in ("meson.build", "meson_options.txt"):
        shutil.copy(ROOT / name, to)
    shutil.copytree(ROOT / "include", to / "include")


def copy_programs(to):
    for name in ("consumer.cpp", "kernels_consumer.cpp"):
        shutil.copy(HERE / name, to)


def meson_subproject():
    need("meson")
    with temporary() as there:
        project = pathlib.Path(there) / "project"
        shutil.copytree(HERE / "meson", project)
        copy_programs(project)
        copy_for_meson(project / "subprojects" / "wg")
        werror = str(warnings_are_errors(os.environ.get("CXX", "g++"))).lower()
        command("meson", "setup", f"-Dwerror={werror}", project / "build", project)
        command("ninja", "-C", project / "build")
        run(project / "build" / "consumer")
        run_without_kernels(project / "build" / "kernels_consumer", project / "build")
        collects_early(project / "build")


def cmake(source, build, *arguments):
    command("cmake", "-G", "Ninja", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-S", source, "-B", build,
            *arguments)  # make may not be installed
    command("cmake", "--build", build)


def cmake_subdirectory():
    with temporary() as there:
        build = pathlib.Path(there)
        cmake(HERE / "cmake_subdirectory", build, f"-DWG_SOURCE={ROOT}")
        run(build / "consumer")
        run_without_kernels(build / "kernels_consumer", build)
        collects_early(build)
        command("cmake", "--install", build, "--prefix", build / "prefix")
        expect([p.name for p in (build / "prefix").rglob("*") if p.is_file()], ["consumer"], "installed files")


def cmake_package():
    with temporary() as there:
        there = pathlib.Path(there)
        cmake(ROOT, there / "wg")
        expect(list((there / "wg").rglob("*.a")), [], "libraries that no target uses")
        command("cmake", "--install", there / "wg", "--prefix", there / "prefix")
        whole(there / "prefix" / "include" / "wg")
        cmake(HERE / "cmake_package", there / "consumer", f"-DCMAKE_PREFIX_PATH={there / 'prefix'}")
        run(there / "consumer" / "consumer")
        run_without_kernels(there / "consumer" / "kernels_consumer", there / "consumer")
        collects_early(there / "consumer")
        (there / "prefix").rename(there / "moved")
        pkg_config_program(there, there / "moved")


def pkg_config_program(there, prefix):
    """Compiles and runs a program in `there` by the file of pkg-config below `prefix`."""
    need("pkg-config")
    env = {"PKG_CONFIG_PATH": str(prefix / "share" / "pkgconfig")}
    expect(command("pkg-config", "--modversion", "wg", env=env).strip(), version(), "version")
    flags = command("pkg-config", "--cflags", "--libs", "wg", env=env).split()
    command("c++", "-std=c++20", HERE / "consumer.cpp", *flags, "-o", there / "consumer.pc")
    run(there / "consumer.pc")
    return flags, pathlib.Path(command("pkg-config", "--variable=includedir", "wg", env=env).strip())


def pkg_config():
    need("meson")
    with temporary() as there:
        there = pathlib.Path(there)
        command("meson", "setup", there / "wg", ROOT, "--prefix", there / "prefix", "-Dtests=disabled",
                "-Dsamples=disabled", "-Dlibwg=disabled")
        command("meson", "install", "-C", there / "wg")
        expect(list((there / "wg").rglob("*.a")), [], "libraries that no target uses")
        whole(there / "prefix" / "include" / "wg")
        flags, headers = pkg_config_program(there, there / "prefix")
        compile_kernels(there, headers / "wg" / "kernels.cpp", flags)


def compile_kernels(there, kernels, flags):
    """Compiles the kernels and a program in `there` by commands of a shell, as README says, and runs the program."""
    separate = ["-std=c++20", "-DWG_SEPARATE_KERNELS", *flags]
    command("c++", *separate, "-c", kernels, "-o", there / "kernels.o")
    command("c++", *separate, "-c", HERE / "kernels_consumer.cpp", "-o", there / "kernels_consumer.o")
    command("c++", there / "kernels_consumer.o", there / "kernels.o", "-o", there / "kernels_consumer")
    run_without_kernels(there / "kernels_consumer", there)


def kernels_of_tree():
    with temporary() as there:
        compile_kernels(pathlib.Path(there), HEADERS / "kernels.cpp", [f"-I{ROOT / 'include'}"])


def kernels_of_single_header():
    with temporary() as there:
        there = pathlib.Path(there)
        (there / "two_lines.cpp").write_text("#define WG_DEFINE_KERNELS\n#include <wg/wg.hpp>\n")
        compile_kernels(there, there / "two_lines.cpp", [f"-I{ROOT / 'single_include'}"])


def finds_kernels():
    """The check of the object fails where the macro was lost."""
    with temporary() as there:
        there = pathlib.Path(there)
        command("c++", "-std=c++20", f"-I{ROOT / 'include'}", "-c", HERE / "kernels_consumer.cpp", "-o",
                there / "kernels_consumer.o")
        command("c++", there / "kernels_consumer.o", "-o", there / "kernels_consumer")
        try:
            run_without_kernels(there / "kernels_consumer", there)
        except Failed:
            return
        raise Failed("not found")


def git(where, *arguments):
    command("git", "-C", where, "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments)


def meson_wrap():
    """With ports/meson/wg.wrap a project gets wg from a repository, and dependency('wg') needs no fallback."""
    need("meson")
    need("git")
    with temporary() as there:
        there = pathlib.Path(there)
        repository = there / "repository"
        copy_for_meson(repository)
        git(there, "init", "-q", repository)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "release")
        git(repository, "tag", f"v{version()}")
        project = there / "project"
        shutil.copytree(HERE / "meson", project)
        copy_programs(project)
        build = (project / "meson.build").read_text()
        (project / "meson.build").write_text(build.replace(", fallback: 'wg'", ""))
        (project / "subprojects").mkdir()
        wrap = (ROOT / "ports" / "meson" / "wg.wrap").read_text()
        (project / "subprojects" / "wg.wrap").write_text(wrap.replace("URL-OF-THE-REPOSITORY", repository.as_uri()))
        command("meson", "setup", "-Dwerror=false", project / "build", project)
        command("ninja", "-C", project / "build")
        run(project / "build" / "consumer")


def vcpkg_port():
    """The port installs all headers, the licence and a package that find_package finds; it leaves no empty folders."""
    with temporary() as there:
        there = pathlib.Path(there)
        package = there / "package"
        command("cmake", f"-DPORT={ROOT / 'ports' / 'wg' / 'portfile.cmake'}", f"-DCURRENT_PACKAGES_DIR={package}",
                f"-DCURRENT_BUILDTREES_DIR={there / 'trees'}", "-P", HERE / "vcpkg.cmake")
        whole(package / "include" / "wg")
        expect(sorted(p.name for p in package.iterdir()), ["include", "share"], "folders")
        expect((package / "share" / "wg" / "copyright").read_text(), (ROOT / "LICENSE").read_text(), "copyright")
        cmake(HERE / "cmake_package", there / "consumer", f"-DCMAKE_PREFIX_PATH={package}")
        run(there / "consumer" / "consumer")


class ConanStandIn:
    """Stand-ins for the functions of Conan 2 that conanfile.py calls, with the same effect."""

    def __init__(self, checked):
        self.checked = checked

    def modules(self):
        def copy(_, pattern, source, destination):  # `*` of Conan's patterns matches `/` as well
            for path in pathlib.Path(source).rglob("*"):
                name = path.relative_to(source)
                if path.is_file() and fnmatch.fnmatch(str(name), pattern):
                    (pathlib.Path(destination) / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, pathlib.Path(destination) / name)

        members = {"conan": {"ConanFile": type("ConanFile", (), {})}, "conan.tools": {},
                   "conan.tools.build": {"check_min_cppstd": lambda _, least: self.checked.append(least)},
                   "conan.tools.files": {"copy": copy}, "conan.tools.layout": {"basic_layout": lambda _: None}}
        for name, contents in members.items():
            module = types.ModuleType(name)
            module.__dict__.update(contents)
            yield name, module


def conan_recipe():
    """The recipe packages all headers and the licence, and names the target that CMake users link."""
    checked, properties = [], {}
    modules = dict(ConanStandIn(checked).modules())
    code = compile((ROOT / "conanfile.py").read_text(), "conanfile.py", "exec")
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        names = {}
        exec(code, names)
    finally:
        for name, module in saved.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    recipe = names["Wg"]()
    with temporary() as there:
        recipe.source_folder, recipe.package_folder = str(ROOT), there
        recipe.cpp_info = types.SimpleNamespace(set_property=properties.__setitem__)
        recipe.info = types.SimpleNamespace(clear=lambda: None)
        recipe.settings = types.SimpleNamespace(os="Windows")
        for step in "layout", "validate", "package", "package_info", "package_id":
            getattr(recipe, step)()
        whole(pathlib.Path(there) / "include" / "wg")
        expect((pathlib.Path(there) / "licenses" / "LICENSE").read_text(), (ROOT / "LICENSE").read_text(), "licence")
    expect("ws2_32" in recipe.cpp_info.system_libs, True, "libraries of Windows")
    expect(checked, [20], "the least C++ standard")
    expect((properties["cmake_file_name"], properties["cmake_target_name"]), ("wg", "wg::wg"), "names for CMake")
    expect((recipe.name, recipe.version, recipe.package_type), ("wg", version(), "header-library"), "the recipe")
    exported = [name.partition("/")[0] for name in recipe.exports_sources]
    expect(sorted(exported), ["LICENSE", "include"], "exported files")


run_cases([("builds as a meson subproject", meson_subproject),
           ("builds by add_subdirectory of CMake", cmake_subdirectory),
           ("builds by find_package of CMake after an installation", cmake_package),
           ("builds by pkg-config after an installation", pkg_config), ("builds by a meson wrap file", meson_wrap),
           ("kernels of the tree compile by a command", kernels_of_tree),
           ("kernels of the single header compile by a command", kernels_of_single_header),
           ("kernels in a user's object are found", finds_kernels),
           ("vcpkg port installs a complete package", vcpkg_port),
           ("Conan recipe packages all headers", conan_recipe)])
