#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Code compiled for the baseline uses only baseline instructions, except in functions whose names include an
instruction set. The assembler decides whether an instruction belongs to the baseline. Translation units compiled for
different processors share no function in one program."""
import pathlib
import platform
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import (FREESTANDING, ROOT, STRICT, Failed, Skipped, command, compilers, need, run_cases,  # noqa: E402
                   temporary)

SOURCE = ROOT / "tests" / "modes" / "everything.cpp"
# The namespace or class of a kernel is named by its instruction set. The ABI's namespace does not count.
KERNEL = re.compile(r"avx512|avx2|ssse3|adx|bmi2|ifma")
ABI = re.compile(r"abi1_[a-z0-9]+")
# Compilers write `rep bsf` for any processor, and objdump shows it as tzcnt. detect_cpu uses xgetbv.
HARMLESS = {"tzcnt", "xgetbv", "endbr64"}
MAIN = """
#include <cstdio>
#include <cstring>
extern "C" void entry_baseline(unsigned char*);
extern "C" void entry_avx2(unsigned char*);
int main() {
    unsigned char a[32] = {}, b[32] = {}, zero[32] = {};
    entry_baseline(a);
    entry_avx2(b);
    std::puts(std::memcmp(a, zero, 32) == 0 || std::memcmp(a, b, 32) != 0 ? "different" : "same");
}
"""


# An instruction beyond the baseline, in a function without an instruction set in its name.
PLANTED = """
typedef unsigned char wide __attribute__((vector_size(32)));
[[gnu::target("avx2")]] void planted(wide* out) { *out += 1; }
"""


class Objects:
    """The objects of everything.cpp, each compiled once for all cases."""

    def __init__(self, there):
        self.there, self.locks, self.made = pathlib.Path(there), {}, {}

    def compiled(self, compiler, name, *flags):
        key = compiler, name, *flags
        with self.locks.setdefault(key, threading.Lock()):
            if key not in self.made:
                made = self.there / f"{len(self.locks)}-{name}.o"
                command(compiler, *STRICT, *FREESTANDING, f"-DENTRY=entry_{name}", "-I", ROOT / "include", *flags, "-c",
                        SOURCE, "-o", made)
                self.made[key] = made
            return self.made[key]


def functions(made):
    """Returns {function: its instructions, without the symbols that objdump adds to addresses}."""
    found, current = {}, None
    for line in command("objdump", "-dw", "--no-show-raw-insn", made).splitlines():
        if label := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            current = found.setdefault(label[1], [])
        elif instruction := re.match(r"\s*[0-9a-f]+:\t(.*?)\s*(?:#.*)?$", line):
            current.append(re.sub(r"\s*<.*>", "", instruction[1]))
    return found


def beyond(code, there):
    """Returns the instructions of `code` that the assembler refuses for generic x86-64."""
    texts = sorted({text for body in code.values() for text in body if "nop" not in text.split("%")[0]
                    and not re.match(r"((notrack|bnd) )*(j\w+|call|loop\w*|xbegin) +[^*]", text)})
    if any("(bad)" in text for text in texts):
        raise Failed("objdump cannot decode an instruction of the object")
    source, made = pathlib.Path(there) / "all.s", pathlib.Path(there) / "all.o"
    source.write_text("\n".join(texts) + "\n")
    try:
        command("as", "--64", "-march=generic64", source, "-o", made)
        return set()
    except Failed as refused:
        lines = [int(n) for n in re.findall(r"all\.s:(\d+): Error: .* is not supported on", str(refused))]
        others = [line for line in str(refused).splitlines() if "Error:" in line and "not supported on" not in line]
        if others or not lines:
            raise Failed("the assembler cannot read the output of objdump:\n" + "\n".join(others[:20])) from None
        return {texts[n - 1] for n in lines if texts[n - 1].split()[0] not in HARMLESS}


def leaks(made, there):
    code = functions(made)
    foreign = beyond(code, there)
    wrong = {}
    for name, body in code.items():
        if not KERNEL.search(ABI.sub("", name)):
            if found := [text for text in body if text in foreign]:
                wrong[name] = found
    return code, foreign, wrong


def keeps_to_baseline(objects, compiler, level):
    need_x86()
    with temporary() as there:
        _, _, wrong = leaks(objects.compiled(compiler, "baseline", level), there)
        if wrong:
            raise Failed("\n".join(f"{name}: {', '.join(found[:5])}" for name, found in wrong.items()))


def finds_planted(compiler):
    need_x86()
    with temporary() as there:
        made = pathlib.Path(there) / "planted.o"
        command(compiler, "-O2", "-x", "c++", "-c", "-", "-o", made, source=PLANTED)
        _, foreign, wrong = leaks(made, there)
        if not any("planted" in name for name in wrong):
            raise Failed(f"the planted instructions were not found; found only {sorted(foreign)[:10]}")


def shares_nothing(objects, compiler, level):
    """Links a unit for any processor and a unit for AVX2. They share no function of wg, and other shared functions use
    baseline code."""
    need_x86()
    with temporary() as there:
        wide = objects.compiled(compiler, "avx2", level, "-mavx2")  # first: another case compiles the baseline
        plain = objects.compiled(compiler, "baseline", level)
        code, wide_code = functions(plain), functions(wide)
        foreign = beyond(wide_code, there)
        shared = set(code) & set(wide_code)
        weak = {line.split()[-1] for line in command("nm", plain).splitlines() if line.split()[-2] in "WVTui"}
        ours = sorted(name for name in shared & weak if re.search(r"\d*2wg\d*17?abi1|N2wg", name))
        if ours:
            raise Failed("defined in both units: " + ", ".join(ours[:10]))
        taken = sorted(name for name in shared & weak if any(text in foreign for text in wide_code[name]))
        if taken:
            raise Failed("the linker may choose the AVX2 code of these functions: " + ", ".join(taken[:10]))
        main = pathlib.Path(there) / "main.cpp"
        main.write_text(MAIN)
        program = pathlib.Path(there) / "program"
        command(compiler, main, plain, wide, "-o", program)
        if "avx2" not in pathlib.Path("/proc/cpuinfo").read_text().split():
            raise Skipped("this processor has no AVX2")
        if (said := command(program)) != "same\n":
            raise Failed(said)


def need_x86():
    if platform.machine() != "x86_64":
        raise Skipped("this test needs x86-64")
    need("objdump")


def cases(objects):
    for c in compilers():
        for level in "-O0", "-O2":
            yield f"uses only baseline instructions at {level}, {c}", \
                lambda c=c, o=level: keeps_to_baseline(objects, c, o)
            yield f"units for two processors share no function at {level}, {c}", \
                lambda c=c, o=level: shares_nothing(objects, c, o)
        yield f"finds planted instructions, {c}", lambda c=c: finds_planted(c)


with temporary() as folder:
    run_cases(list(cases(Objects(folder))))
