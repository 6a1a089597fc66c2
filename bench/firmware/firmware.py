#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures a whole WireGuard node on a microcontroller: flash, memory, stack and instructions.

    firmware.py                     prints a table
    firmware.py --json              prints one object a line: {"bench":"flash","profile":"small","value":...}
    firmware.py --profile small     measures one profile only
    firmware.py --record            writes the part of docs/footprint.md for this version of the compiler
    firmware.py --check             tests that sizes are as recorded, and that nothing needs a hosted system

Needs arm-none-eabi-g++ and qemu-system-arm. The compiler optimises with -Os. The profiles `small`, with WG_SMALL
defined, and `fast`, without it, are for Cortex-M3; `fast_m4` is `fast` for Cortex-M4. The emulator counts instructions,
with the same result in every run. The cycles they take depend on the core and on its flash.
"""
import argparse
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from cases import FREESTANDING, STRICT, Failed, Skipped, command, need, run_cases, temporary  # noqa: E402

COMPILER = "arm-none-eabi-g++"
EMULATOR = "qemu-system-arm"
RECORD = ROOT / "docs" / "footprint.md"
FLAGS = [*STRICT, *FREESTANDING, "-mthumb", "-DNDEBUG", "-ffunction-sections", "-fdata-sections",
         "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-threadsafe-statics", "-I", ROOT / "include"]
LINK = ["--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections", "-T", HERE / "firmware.ld"]

PROFILES = {  # the flags, and qemu's machine with this core
    "small": (["-Os", "-DWG_SMALL", "-mcpu=cortex-m3"], "mps2-an385"),
    "fast": (["-Os", "-mcpu=cortex-m3"], "mps2-an385"),
    "fast_m4": (["-Os", "-mcpu=cortex-m4"], "mps2-an386"),
}
BENCHES = {  # in printed order: what it is, and whether it is a size, which the test compares with the record
    "flash": ("flash of a whole node, bytes", True),
    "ram_device1": ("memory of a device with one peer, bytes", True),
    "ram_peer": ("memory of a further peer, bytes", True),
    "ram_staging": ("beside these: room for one staged packet", True),
    "ram_queue": ("the queue of two handshake messages", True),
    "ram_limiter": ("the rate limiter's eight sources", True),
    "ram_job": ("a job, which lies on the stack", True),
    "stack": ("peak stack of a node: sessions begun by either end, data both ways", True),
    "x25519_stack": ("peak stack of X25519", True),
    "aead_stack": ("of ChaCha20-Poly1305", True),
    "blake2s_stack": ("of BLAKE2s", True),
    "x25519_insn": ("instructions of X25519", False),
    "x25519_public_insn": ("of a public key", False),
    "aead1420_insn": ("of sealing 1420 bytes", False),
    "aead1420_open_insn": ("of opening them", False),
    "aead64_insn": ("of sealing 64 bytes", False),
    "blake2s_64_insn": ("of BLAKE2s of a block", False),
}
GROWTH = 1.02  # a size may exceed the recorded one by this factor
HEAP = re.compile(r"_?(malloc|calloc|realloc|free|sbrk)(_r)?|_Zn[wa]\w*|_Zd[la]\w*")
EXCEPTIONS = re.compile(r"__gxx_personality\w*|__aeabi_unwind\w*|_Unwind_\w+|__cxa_(throw|begin_catch|allocate)\w*")


def version():
    need(COMPILER)
    return command(COMPILER, "-dumpfullversion").strip()


def linked(there, flags, name):
    """Compiles and links one source with the startup code; returns the program."""
    objects = []
    for source in ("startup", "memory", name):
        objects.append(there / f"{source}.o")
        # Every source except memory.cpp is optimised as one unit. Compilers call the functions of memory.cpp by name;
        # there the first flag keeps the compiler from replacing the loop in memset by a call of memset.
        how = ["-fno-tree-loop-distribute-patterns", "-fno-strict-aliasing"] if source == "memory" else ["-flto"]
        command(COMPILER, *FLAGS, *flags, *how, "-c", HERE / f"{source}.cpp", "-o", objects[-1])
    program = there / f"{name}.elf"
    command(COMPILER, *FLAGS, *flags, "-flto", *LINK, *objects, "-o", program)
    return program


def sections(program):
    """The sizes of the program's sections, {name: bytes}."""
    lines = command("arm-none-eabi-size", "-A", program).splitlines()
    return {found[1]: int(found[2]) for line in lines if (found := re.match(r"(\.\S+)\s+(\d+)", line))}


def flash(program):
    """The bytes of code, constants and initial values of variables."""
    return sum(bytes_ for name, bytes_ in sections(program).items()
               if name in (".text", ".ARM.extab", ".ARM.exidx", ".init_array", ".data"))


def measured(profile):
    """The results of a profile, {bench: number}."""
    flags, machine = PROFILES[profile]
    need(COMPILER)
    need(EMULATOR)
    with temporary() as there:
        there = pathlib.Path(there)
        found = {"flash": flash(linked(there, flags, "image")) - flash(linked(there, flags, "empty"))}
        printed = command("timeout", "60", EMULATOR, "-M", machine, "-nographic", "-monitor", "none", "-serial", "none",
                          "-semihosting-config", "enable=on,target=native", "-icount", "shift=6,align=off,sleep=off",
                          "-kernel", linked(there, flags, "measure"))
        found.update((name, int(value)) for name, value in re.findall(r"^(\w+) (\d+)$", printed, re.MULTILINE))
    return {bench: found[bench] for bench in BENCHES}


# --- the record

def recorded():
    """The figures of docs/footprint.md, {(version of the compiler, profile, bench): number}."""
    found, compiler, profiles = {}, None, []
    for line in RECORD.read_text().splitlines() if RECORD.exists() else []:
        if heading := re.match(r"## arm-none-eabi-g\+\+ (\S+)", line):
            compiler = heading[1]
        elif compiler and line.startswith("| bench |"):
            profiles = [cell.strip() for cell in line.split("|")[3:-1]]
        elif compiler and (row := re.match(r"\| (\w+) \|[^|]*\|(.*)\|$", line)):
            for profile, value in zip(profiles, row[2].split("|")):
                found[compiler, profile, row[1]] = int(value)
    return found


def table(results):
    lines = [f"| bench | what | {' | '.join(results)} |", f"|---|---|{'---|' * len(results)}"]
    for bench, (what, _) in BENCHES.items():
        lines.append(f"| {bench} | {what} | {' | '.join(str(of[bench]) for of in results.values())} |")
    return lines


def record(results):
    """Replaces the part of this compiler in docs/footprint.md. The introduction and other parts stay as they are."""
    head, *parts = re.split(r"^(?=## arm-none-eabi-g\+\+ )", RECORD.read_text(), flags=re.MULTILINE)
    title = f"## arm-none-eabi-g++ {version()}\n"
    parts = [part.strip() + "\n" for part in parts if not part.startswith(title)]
    parts.append(title + "\n" + "\n".join(table(results)) + "\n")
    RECORD.write_text(head + "\n".join(sorted(parts)))


# --- the test

def sizes_as_recorded(profile):
    known, compiler = recorded(), version()
    if (compiler, profile, "flash") not in known:
        raise Skipped(f"docs/footprint.md has no figures of {COMPILER} {compiler}")
    grown = []
    for bench, value in measured(profile).items():
        before = known[compiler, profile, bench]
        if BENCHES[bench][1] and value > before * GROWTH:
            grown.append(f"{bench} is {value}, recorded {before}")
    if grown:
        raise Failed("; ".join(grown) + " (if it has to be: bench/firmware/firmware.py --record)")


def links_nothing_hosted(profile):
    with temporary() as there:
        program = linked(pathlib.Path(there), PROFILES[profile][0], "image")
        names = {line.split()[-1] for line in command("arm-none-eabi-nm", program).splitlines()}
        for what, pattern in (("a heap", HEAP), ("exceptions", EXCEPTIONS)):
            if found := sorted(name for name in names if pattern.fullmatch(name)):
                raise Failed(f"{what} is linked: {' '.join(found)}")
        for section in (".ARM.extab", ".ARM.exidx", ".init_array"):
            if sections(program).get(section, 0) != 0:
                raise Failed(f"section {section} is not empty: exception tables, or static constructors")


def finds_what_it_looks_for():
    """The patterns above match in a program with a heap, exceptions and static constructors."""
    source = """
        struct made { made(); ~made(); } m;
        made::made() { throw 1; }
        made::~made() { delete new int; }
        int main() {}
    """
    with temporary() as there:
        program = pathlib.Path(there) / "hosted.elf"
        command(COMPILER, "-mcpu=cortex-m3", "-mthumb", "--specs=rdimon.specs", "-x", "c++", "-", "-o", program,
                source=source)
        names = [line.split()[-1] for line in command("arm-none-eabi-nm", program).splitlines()]
        if not any(HEAP.fullmatch(name) for name in names) or not any(EXCEPTIONS.fullmatch(name) for name in names):
            raise Failed("a program with a heap and exceptions passes")
        if any(sections(program).get(section, 0) == 0 for section in (".ARM.exidx", ".init_array")):
            raise Failed("a program with exception tables and static constructors passes")


def check():
    cases = [("what must not be linked is found where it is", finds_what_it_looks_for)]
    for profile in PROFILES:
        cases.append((f"no heap, exceptions or static constructors, {profile}",
                      lambda p=profile: links_nothing_hosted(p)))
        cases.append((f"sizes as recorded, {profile}", lambda p=profile: sizes_as_recorded(p)))
    run_cases(cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        check()
    try:
        results = {profile: measured(profile) for profile in (options.profile or PROFILES)}
        if options.record:
            record(results)
    except (Failed, Skipped) as reason:
        sys.exit(f"firmware.py: {reason}")
    if options.json:
        for profile, of in results.items():
            for bench, value in of.items():
                print(json.dumps({"bench": bench, "profile": profile, "value": value}, separators=(",", ":")))
    else:
        print(f"{COMPILER} {version()}\n" + "\n".join(table(results)))


if __name__ == "__main__":
    main()
