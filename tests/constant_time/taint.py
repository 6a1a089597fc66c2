# SPDX-License-Identifier: BSL-1.0
"""Follows secrets through the recorded run of an x86-64 program, instruction by instruction.

The state has one bit for each byte of memory and of the 16 general and 32 vector registers, and one for each mask
register and each group of flags. A result is secret if any of its sources is secret. Moves and bitwise operations track
single bytes. All other instructions mark whole elements, lanes or registers, so that no secret byte counts as public.
An unknown instruction ends the run.

The analysis reports each instruction whose time or address depends on a secret: a branch on flags, an indirect jump, a
memory address (also of gathers), a memory mask, a division, the count of a repeated instruction.
"""
import re

GENERAL = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] + [f"r{n}" for n in range(8, 16)]
RAX, RCX, RDX, RSP, RBP, RSI, RDI = 0, 1, 2, 4, 5, 6, 7
SIZES = {"BYTE": 1, "WORD": 2, "DWORD": 4, "QWORD": 8, "TBYTE": 10, "XMMWORD": 16, "YMMWORD": 32, "ZMMWORD": 64}
STEP = 25  # words of a step: the address, 16 general registers, 8 mask registers
CF, OF, ZF = 1, 2, 4  # ZF: also SF, PF and AF
CONDITIONS = {**dict.fromkeys(["b", "ae", "c", "nc", "nae", "nb"], CF),
              **dict.fromkeys(["a", "be", "na", "nbe"], CF | ZF),
              **dict.fromkeys(["e", "ne", "z", "nz", "s", "ns", "p", "np"], ZF), **dict.fromkeys(["o", "no"], OF),
              **dict.fromkeys(["l", "ge", "g", "le"], OF | ZF)}


class Unknown(Exception):
    """An unknown instruction. The analysis cannot continue, because its effect on secrets is unknown."""


def register_names():
    """{name: (number, bytes, first byte)} of the general registers."""
    names = {}
    for number, name in enumerate(GENERAL):
        names[name] = (number, 8, 0)
        if number >= 8:
            names.update({name + "d": (number, 4, 0), name + "w": (number, 2, 0), name + "b": (number, 1, 0)})
        else:
            names.update({"e" + name[1:]: (number, 4, 0), name[1:]: (number, 2, 0)})
            low = name[1] + "l" if number < 4 else name[1:] + "l"
            names[low] = (number, 1, 0)
            if number < 4:
                names[name[1] + "h"] = (number, 1, 1)
    return names


NAMES = register_names()


def full(size):
    return (1 << size) - 1


def widen(mask, size):
    """Marks every element of `size` bytes that has a secret byte as secret in whole."""
    if not mask:
        return 0
    out, element, at = 0, full(size), 0
    while mask >> at:
        if mask >> at & element:
            out |= element << at
        at += size
    return out


class Operand:
    """An operand in the Intel syntax of objdump."""
    MEMORY = re.compile(r"(?:(\w+) (PTR|BCST) )?(?:(\w\w):)?(?:\[([^]]*)\]|(0x[0-9a-f]+))$")

    def __init__(self, text, following):
        self.mask = self.zeroing = self.index_vector = None
        self.kind, self.size, self.number, self.first = "number", 0, None, 0
        self.base = self.index = None
        self.scale, self.displacement, self.flat = 1, 0, True
        for decoration in re.findall(r"\{([^}]*)\}", text):
            if re.fullmatch(r"k[0-7]", decoration):
                self.mask = int(decoration[1])
            elif decoration == "z":
                self.zeroing = True
            elif not re.fullmatch(r"1to\d+", decoration):
                raise Unknown(text)
        whole, self.text = text, re.sub(r"\{[^}]*\}", "", text).strip()
        text = self.text
        if text in NAMES:
            self.kind, (self.number, self.size, self.first) = "general", NAMES[text]
        elif vector := re.fullmatch(r"([xyz])mm(\d+)", text):
            self.kind, self.number, self.size = "vector", int(vector[2]), {"x": 16, "y": 32, "z": 64}[vector[1]]
        elif re.fullmatch(r"k[0-7]", text):
            self.kind, self.number, self.size = "mask", int(text[1]), 8
        elif re.fullmatch(r"-?(0x)?[0-9a-f]+", text):
            self.value = int(text, 16 if "0x" in text else 10)
        elif memory := self.MEMORY.match(text):
            self.kind = "memory"
            self.size = SIZES[memory[1]] if memory[1] else 0
            self.broadcast = memory[2] == "BCST" or "{1to" in whole
            self.flat = memory[3] in (None, "ds", "es", "ss", "cs")
            if memory[5]:
                self.displacement = int(memory[5], 16)
            else:
                self.parse_address(memory[4], following)
        else:
            raise Unknown(text)

    def parse_address(self, text, following):
        for sign, term in re.findall(r"([+-]?)([^+-]+)", text):
            name, _, scale = term.partition("*")
            if vector := re.fullmatch(r"[xyz]mm(\d+)", name):
                self.index_vector = int(vector[1])
            elif name == "rip":
                self.displacement += following
            elif name in ("riz", "eiz"):
                pass
            elif name in NAMES:
                if NAMES[name][1] != 8:
                    raise Unknown(text)
                if scale or self.base is not None:
                    self.index, self.scale = NAMES[name][0], int(scale or "1")
                else:
                    self.base = NAMES[name][0]
            else:
                self.displacement += int(sign + term, 16)


class Machine:
    """The secret parts of the registers, flags and memory."""

    def __init__(self):
        self.general, self.vector, self.masks, self.flags = [0] * 16, [0] * 32, [0] * 8, 0
        self.memory = {}  # {number of a line of 64 bytes: mask of its secret bytes}

    def load(self, address, size):
        line, at = address >> 6, address & 63
        got = self.memory.get(line, 0) >> at
        if at + size > 64:
            got |= self.memory.get(line + 1, 0) << (64 - at)
        return got & full(size)

    def store(self, address, size, mask):
        line, at = address >> 6, address & 63
        new = (self.memory.get(line, 0) & ~(full(size) << at) | mask << at) & full(64)
        if new:
            self.memory[line] = new
        else:
            self.memory.pop(line, None)
        if at + size > 64:
            self.store((line + 1) << 6, at + size - 64, mask >> (64 - at))

    def mark(self, address, size, secret):
        while size > 0:
            now = min(size, 64 - (address & 63))
            self.store(address, now, full(now) if secret else 0)
            address, size = address + now, size - now


# ---- instructions, grouped by their effect on secrets

MOVES = set("mov movabs movdqa movdqu movaps movups movapd movupd lddqu movntdq movntps movntdqa movnti vmovdqa "
            "vmovdqu vmovdqa32 vmovdqa64 vmovdqu8 vmovdqu16 vmovdqu32 vmovdqu64 vmovaps vmovups vmovapd vmovupd vlddqu "
            "vmovntdq vmovntps vmovntdqa movd movq vmovd vmovq movzx kmovb kmovw kmovd kmovq".split())
NOTHING = set("nop endbr64 pause cld std sfence lfence mfence prefetcht0 prefetcht1 prefetcht2 prefetchnta prefetchw "
              "hint_nop fwait wait data16 ud2 hlt xtest".split())
ARITHMETIC = set("add sub and or xor adc sbb imul shld shrd bts btr btc".split())
COMPARISONS = set("cmp test bt".split())
ONE = set("inc dec neg not bswap".split())
SHIFTS = set("shl sal shr sar rol ror rcl rcr".split())
OF_SOURCES = set("andn bextr bzhi blsi blsr blsmsk pdep pext lzcnt tzcnt popcnt bsf bsr".split())
OF_SOURCES_NO_FLAGS = set("rorx sarx shlx shrx movsx movsxd movbe lea".split())
WIDENING = {"cdqe": (RAX, RAX, 8), "cwde": (RAX, RAX, 4), "cqo": (RAX, RDX, 8), "cdq": (RAX, RDX, 8)}
MASK_OPERATIONS = re.compile(r"k(and|andn|or|xor|xnor|not|add|shiftl|shiftr|unpckbw|unpckwd|unpckdq)[bwdq]?$")

BITWISE = re.compile(r"v?(pand|pandn|por|pxor|andps|andpd|andnps|andnpd|orps|orpd|xorps|xorpd|pblendw|pblendd|blendps|"
                     r"blendpd|pblendmd|pblendmq|pblendmb|pblendmw|pternlog)[dq]?$")
LANES = re.compile(r"v?(padd|psub|paddus|psubus|padds|psubs|pavg|pmull|pmulh|pmulhu|pmulhrs|pmulu|pmul|pmins|pmaxs|"
                   r"pminu|pmaxu|psll|psrl|psra|psllv|psrlv|psrav|prol|pror|prolv|prorv|pabs|psign|pcmpeq|pcmpgt|"
                   r"pmaddwd|pmaddubsw|pmadd52lu|pmadd52hu|psadb|pshldv?|pshrdv?|plzcnt|pconflict)[bwdq]*$")
SIXTEENS = re.compile(r"v?(pshufd|pshufb|pshufhw|pshuflw|punpck\w+|unpck\w+|packus\w+|packss\w+|palignr|shufps|shufpd|"
                      r"permilps|permilpd|movddup|movshdup|movsldup|pslldq|psrldq|phadd\w+|phsub\w+|pclmul\w+|pblendvb|"
                      r"blendvps|blendvpd|dbpsadbw|mpsadbw|psadbw)$")
WHOLE = re.compile(r"v?(perm\w+|pbroadcast\w+|broadcast\w+|pmovzx\w+|pmovsx\w+|pmov[bwdq][bwdq]|shufi\d+x\d+|"
                   r"shuff\d+x\d+|align[dq]|pmultishiftqb|movhlps|movlhps|movss|movsd|movlps|movhps|movlpd|movhpd|"
                   r"insertps|cvt\w+|pcmp[ei]str\w)$")
INSERTS = re.compile(r"v?insert[if](\d+)(x\d)?$")
EXTRACTS = re.compile(r"v?extract[if](\d+)(x\d)?$")
ELEMENTS = {"b": 1, "w": 2, "d": 4, "q": 8}
READS_DESTINATION = re.compile(r"vpmadd52|vpternlog|vperm[it]2|vpdp|vpshldv|vpshrdv|vfm|vfnm|vpsllvp")
ZERO_IDIOMS = re.compile(r"xor$|sub$|v?pxor[dq]?$|v?xorp[sd]$|v?pandn[dq]?$|v?psub[bwdq]$|v?pcmpgt[bwdq]$")
TO_MASK = re.compile(r"vpcmp\w*[bwdq]$|vptestn?m[bwdq]$|vpmov[bwdq]2m$")
PREFIXES = re.compile(r"^((?:rep|repz|repnz|lock|notrack|bnd|data16|cs|ds|es|addr32|rex\.\w+)\s+)+")


class Program:
    """The instructions of a disassembly. Each is compiled to a function when it is first executed."""
    LINE = re.compile(r"^\s*([0-9a-f]+):\t(.*?)\s*$")
    LABEL = re.compile(r"^([0-9a-f]+) <(.*)>:$")

    def __init__(self, listing):
        self.text, self.function, self.start, self.compiled, self.after = {}, {}, {}, {}, {}
        name = before = None
        for line in listing.splitlines():
            if label := self.LABEL.match(line):
                name = label[2]
                self.start[name] = int(label[1], 16)
            elif instruction := self.LINE.match(line):
                at = int(instruction[1], 16)
                self.text[at] = re.sub(r"\s*(#.*|<.*>)$", "", instruction[2])
                self.function[at] = name
                if before is not None:
                    self.after[before] = at
                before = at

    def instruction(self, at):
        if at not in self.text:
            raise Unknown(f"{at:x} is not an instruction of the program")
        try:
            return compile_instruction(self.text[at], self.after.get(at, at))
        except (Unknown, KeyError, IndexError, AttributeError) as why:
            raise Unknown(f"{at:x} in {self.function[at]}: {self.text[at]} ({why})") from None


class Run:
    """Follows a recording. `found` is {address: what it leaks}."""

    def __init__(self, program):
        self.program, self.machine, self.found, self.executed = program, Machine(), {}, 0
        self.marks = {program.start.get("wg_mark_secret"): True, program.start.get("wg_mark_public"): False}
        self.marks.pop(None, None)
        if len(self.marks) != 2:
            raise Unknown("the program lacks the functions that mark secrets")

    def follow(self, words):
        """`words` has the steps: the address of each instruction, and the registers before it."""
        machine, compiled, marks, found = self.machine, self.program.compiled, self.marks, self.found
        for at in range(0, len(words), STEP):
            where = words[at]
            function = compiled.get(where)
            if function is None:
                function = compiled[where] = self.program.instruction(where)
                if where in marks:
                    function = compiled[where] = self.marking(function, marks[where])
            leak = function(machine, words, at + 1)
            if leak:
                found[where] = leak
        self.executed += len(words) // STEP

    @staticmethod
    def marking(function, secret):
        def step(machine, words, at):
            machine.mark(words[at + RDI], words[at + RSI], secret)
            return function(machine, words, at)
        return step


def address_of(operand):
    base, index, scale, displacement = operand.base, operand.index, operand.scale, operand.displacement
    if base is None and index is None:
        return lambda words, at: displacement
    if index is None:
        return lambda words, at: words[at + base] + displacement & 0xffffffffffffffff
    if base is None:
        return lambda words, at: words[at + index] * scale + displacement & 0xffffffffffffffff
    return lambda words, at: words[at + base] + words[at + index] * scale + displacement & 0xffffffffffffffff


def address_registers(operand):
    return [n for n in (operand.base, operand.index) if n is not None]


def reader(operand, size=None):
    """Returns a function for the mask of the operand's secret bytes. A secret address is reported as a leak instead."""
    size = size or operand.size
    number, first = operand.number, operand.first
    if operand.kind == "number":
        return lambda m, w, at: 0
    if operand.kind == "general":
        return lambda m, w, at: m.general[number] >> first & full(size)
    if operand.kind == "vector":
        return lambda m, w, at: m.vector[number] & full(size)
    if operand.kind == "mask":
        return lambda m, w, at: full(size) if m.masks[number] else 0
    if not operand.flat:  # thread-local memory, which only the C library uses
        return lambda m, w, at: 0
    address = address_of(operand)
    if operand.broadcast:
        return lambda m, w, at: full(64) if m.load(address(w, at), size) else 0
    return lambda m, w, at: m.load(address(w, at), size)


def writer(operand, vex=True, size=None):
    number, first = operand.number, operand.first
    size = size or operand.size
    if operand.kind == "general":
        if size >= 4:
            def write(m, w, at, mask):
                m.general[number] = mask & full(size)
        else:
            keep = ~(full(size) << first)

            def write(m, w, at, mask):
                m.general[number] = m.general[number] & keep | (mask & full(size)) << first
    elif operand.kind == "vector":
        if vex:
            def write(m, w, at, mask):
                m.vector[number] = mask & full(operand.size)
        else:
            def write(m, w, at, mask):
                m.vector[number] = m.vector[number] & ~full(16) | mask & full(16)
    elif operand.kind == "mask":
        def write(m, w, at, mask):
            m.masks[number] = 1 if mask else 0
    elif operand.kind == "memory":
        address = address_of(operand)
        if not operand.flat:
            return lambda m, w, at, mask: None

        def write(m, w, at, mask):
            m.store(address(w, at), size, mask & full(size))
    else:
        raise Unknown(operand.text)
    return write


def split(text):
    """Splits an instruction into mnemonic and operands. Commas within brackets do not separate operands."""
    text = PREFIXES.sub("", text)
    mnemonic, _, rest = text.partition(" ")
    return mnemonic, [part.strip() for part in re.split(r",(?![^[]*\])", rest.strip()) if part.strip()]


def with_addresses(function, operands):
    """Wraps `function` to report memory addresses and memory masks that are secret."""
    registers = sorted({n for o in operands if o.kind == "memory" for n in address_registers(o)})
    vectors = [o.index_vector for o in operands if o.kind == "memory" and o.index_vector is not None]
    masks = [o.mask for o in operands if o.mask is not None] if any(o.kind == "memory" for o in operands) else []
    if not registers and not vectors and not masks:
        return function

    def step(m, w, at):
        leak = None
        for n in registers:
            if m.general[n]:
                leak = f"an address from {GENERAL[n]}"
        for n in vectors:
            if m.vector[n]:
                leak = f"addresses from vector {n}"
        for n in masks:
            if m.masks[n]:
                leak = f"a memory mask from k{n}"
        return function(m, w, at) or leak
    if not vectors and not masks and len(registers) == 1:
        only, name = registers[0], f"an address from {GENERAL[registers[0]]}"

        def step_of_one(m, w, at):  # checks first: the instruction may overwrite its address register
            leak = name if m.general[only] else None
            return function(m, w, at) or leak
        return step_of_one
    return step


def compile_instruction(text, following):
    mnemonic, parts = split(text)
    if mnemonic in NOTHING or mnemonic.startswith("nop"):
        return lambda m, w, at: None
    if mnemonic.startswith("j"):
        return compile_jump(mnemonic, parts, following)
    operands = [Operand(part, following) for part in parts if mnemonic != "call" or not re.fullmatch("[0-9a-f]+", part)]
    repeated = re.match(r"rep", text)
    if repeated and mnemonic in ("movs", "stos"):
        return compile_string(mnemonic, operands)
    function = (compile_control(mnemonic, operands) or compile_general(mnemonic, operands) or
                compile_vector(mnemonic, operands))
    if function is None:
        raise Unknown("taint.py does not support this instruction")
    # lea computes an address without a memory access
    return function if mnemonic == "lea" else with_addresses(function, operands)


def compile_jump(mnemonic, parts, following):
    if mnemonic == "jmp":
        if re.fullmatch("[0-9a-f]+", parts[0]):
            return lambda m, w, at: None
        operand = Operand(parts[0], following)
        read = reader(operand)
        return with_addresses(lambda m, w, at: "an indirect jump" if read(m, w, at) else None, [operand])
    if mnemonic in ("jrcxz", "jecxz"):
        return lambda m, w, at: "a branch" if m.general[RCX] else None
    flags = CONDITIONS[mnemonic[1:]]
    return lambda m, w, at: "a branch" if m.flags & flags else None


def compile_string(mnemonic, operands):
    """One iteration of a repeated instruction: the processor traps after each."""
    size = operands[0].size

    def step(m, w, at):
        leak = "the count or destination of a repeated instruction" if m.general[RCX] or m.general[RDI] else None
        if mnemonic == "movs":
            if m.general[RSI]:
                leak = "the source of a repeated instruction"
            if w[at + RCX]:
                m.store(w[at + RDI], size, m.load(w[at + RSI], size))
        elif w[at + RCX]:
            m.store(w[at + RDI], size, m.general[RAX] & full(size))
        return leak
    return step


def compile_control(mnemonic, operands):
    if mnemonic == "call":
        read = reader(operands[0]) if operands else lambda m, w, at: 0

        def call(m, w, at):
            leak = "an indirect call" if read(m, w, at) else None
            m.store(w[at + RSP] - 8, 8, 0)
            return leak
        return call
    if mnemonic == "ret":
        return lambda m, w, at: "a return address" if m.load(w[at + RSP], 8) else None
    if mnemonic == "push":
        read = reader(operands[0])

        def push(m, w, at):
            m.store(w[at + RSP] - 8, 8, read(m, w, at))
        return push
    if mnemonic == "pop":
        write = writer(operands[0])
        return lambda m, w, at: write(m, w, at, m.load(w[at + RSP], 8))
    if mnemonic == "leave":
        def leave(m, w, at):
            m.general[RBP] = m.load(w[at + RBP], 8)
        return leave
    if mnemonic in ("pushf", "pushfq"):
        return lambda m, w, at: m.store(w[at + RSP] - 8, 8, full(8) if m.flags else 0)
    if mnemonic in ("popf", "popfq"):
        def popf(m, w, at):
            m.flags = CF | OF | ZF if m.load(w[at + RSP], 8) else 0
        return popf
    if mnemonic in ("cpuid", "xgetbv", "rdtsc", "syscall"):
        fresh_ones = {"cpuid": (RAX, RCX, RDX, 3), "syscall": (RAX, RCX, 11)}.get(mnemonic, (RAX, RDX))

        def fresh(m, w, at):
            for n in fresh_ones:
                m.general[n] = 0
        return fresh
    if mnemonic in ("vzeroupper", "vzeroall"):
        keep = full(16) if mnemonic == "vzeroupper" else 0

        def clear(m, w, at):
            m.vector[:16] = [mask & keep for mask in m.vector[:16]]
        return clear
    return None


def compile_general(mnemonic, operands):
    if any(o.kind == "vector" for o in operands) or mnemonic.startswith("k"):
        return None
    if mnemonic in WIDENING:
        source, target, size = WIDENING[mnemonic]

        def extend(m, w, at):
            m.general[target] = full(size) if m.general[source] else 0
        return extend
    if mnemonic in ("movsd", "movs", "stos"):
        return None
    if mnemonic in MOVES:
        read, write = reader(operands[1], operands[1].size or operands[0].size), writer(operands[0])
        return lambda m, w, at: write(m, w, at, read(m, w, at))
    if mnemonic == "xchg" or mnemonic == "xadd":
        reads, writes = [reader(o) for o in operands], [writer(o) for o in operands]

        def exchange(m, w, at):
            a, b = reads[0](m, w, at), reads[1](m, w, at)
            if mnemonic == "xadd":
                b = full(8) if a or b else 0
                m.flags = CF | OF | ZF if b else 0
            writes[0](m, w, at, b)
            writes[1](m, w, at, a)
        return exchange
    if mnemonic == "cmpxchg":
        reads, write = [reader(o) for o in operands], writer(operands[0])

        def compare_exchange(m, w, at):
            secret = any([read(m, w, at) for read in reads]) or m.general[RAX]
            m.flags = CF | OF | ZF if secret else 0
            m.general[RAX] = full(8) if secret else 0
            write(m, w, at, full(8) if secret else 0)
        return compare_exchange
    if mnemonic in ("div", "idiv"):
        read = reader(operands[0])

        def divide(m, w, at):
            leak = "a division" if read(m, w, at) or m.general[RAX] or m.general[RDX] else None
            m.general[RAX] = m.general[RDX] = full(8) if leak else 0
            return leak
        return divide
    if mnemonic == "mul" or mnemonic == "imul" and len(operands) == 1:
        read = reader(operands[0])

        def multiply(m, w, at):
            secret = read(m, w, at) or m.general[RAX]
            m.general[RAX] = m.general[RDX] = full(8) if secret else 0
            m.flags = CF | OF | ZF if secret else 0
        return multiply
    if mnemonic == "mulx":
        read, high, low = reader(operands[2]), writer(operands[0]), writer(operands[1])

        def multiply_flagless(m, w, at):
            secret = full(8) if read(m, w, at) or m.general[RDX] else 0
            low(m, w, at, secret)
            high(m, w, at, secret)
        return multiply_flagless
    if mnemonic.startswith("set") and mnemonic[3:] in CONDITIONS:
        write, flags = writer(operands[0]), CONDITIONS[mnemonic[3:]]
        return lambda m, w, at: write(m, w, at, 1 if m.flags & flags else 0)
    if mnemonic.startswith("cmov") and mnemonic[4:] in CONDITIONS:
        reads, write, flags = [reader(o) for o in operands], writer(operands[0]), CONDITIONS[mnemonic[4:]]

        def conditional(m, w, at):
            either = reads[0](m, w, at) | reads[1](m, w, at)
            write(m, w, at, full(8) if m.flags & flags else either)
        return conditional
    return compile_computation(mnemonic, operands)


def compile_computation(mnemonic, operands):
    """Compiles an instruction by its destination, its sources, and the flags that it reads and writes."""
    taken, made, certain = 0, CF | OF | ZF, True
    target, sources = operands[0] if operands else None, operands
    if mnemonic in ("adc", "sbb", "rcl", "rcr"):
        taken = CF
    elif mnemonic in ("adcx", "adox"):
        taken = made = CF if mnemonic == "adcx" else OF
    elif mnemonic in ("inc", "dec"):
        made = OF | ZF
    elif mnemonic in ("not", "bswap"):
        made = 0
    elif mnemonic in OF_SOURCES:
        sources = operands[1:]
    elif mnemonic in OF_SOURCES_NO_FLAGS:
        sources, made = operands[1:], 0
    elif mnemonic in COMPARISONS:
        target, made = None, CF if mnemonic == "bt" else made
    elif mnemonic in SHIFTS:
        certain = len(operands) == 2 and operands[1].kind == "number" and mnemonic in ("shl", "sal", "shr", "sar")
    elif mnemonic == "imul" and len(operands) == 3:
        sources = operands[1:]
    elif mnemonic not in ARITHMETIC and mnemonic not in ONE:
        return None
    if mnemonic in ("adcx", "adox") and len(operands) != 2:
        return None
    same = len(operands) == 2 and operands[0].text == operands[1].text and operands[0].kind == "general"
    if mnemonic == "lea":
        registers = address_registers(operands[1])
        write = writer(target)
        return lambda m, w, at: write(m, w, at, full(8) if any([m.general[n] for n in registers]) else 0)
    if same and ZERO_IDIOMS.match(mnemonic):
        write = writer(target)

        def clear(m, w, at):
            write(m, w, at, 0)
            m.flags = 0
        return clear
    reads = [] if same and mnemonic == "sbb" else [reader(o, o.size or target.size) for o in sources
                                                  if o.kind != "number"]
    write = writer(target) if target else None

    def step(m, w, at):
        secret = m.flags & taken
        for read in reads:
            if read(m, w, at):
                secret = 1
        if write:
            write(m, w, at, full(8) if secret else 0)
        if secret:
            m.flags |= made
        elif certain:
            m.flags &= ~made
    return step


def compile_vector(mnemonic, operands):
    vex = mnemonic.startswith("v")
    target = operands[0]
    if mnemonic in MOVES:
        limit = {"d": 4, "q": 8}.get(mnemonic[-1]) if re.match(r"v?mov[dq]$", mnemonic) else 64
        return merged(lambda values: values[0] & full(limit), operands[1:], target, vex,
                      element=masked(mnemonic, target))
    if re.match(r"v?ptest$|vtestp[sd]$|kortest|ktest|v?u?comis", mnemonic):
        reads = [reader(o) for o in operands]

        def test(m, w, at):
            m.flags = CF | OF | ZF if any([read(m, w, at) for read in reads]) else 0
        return test
    if re.match(r"v?p?gather|v?p?scatter", mnemonic):
        return compile_gather(mnemonic, operands)
    if re.match(r"vp?(compress|expand)", mnemonic):
        return compile_packing(mnemonic, operands)
    if MASK_OPERATIONS.match(mnemonic) or TO_MASK.match(mnemonic) and target.kind == "mask":
        if mnemonic.startswith(("kxor", "kxnor")) and operands[1].text == operands[2].text:
            operands = operands[:1]
        reads, write = [reader(o) for o in operands[1:]], writer(target)
        mask = target.mask

        def to_mask(m, w, at):
            write(m, w, at, any([read(m, w, at) for read in reads]) or (mask is not None and m.masks[mask]))
        return to_mask
    if re.match(r"v?(pmovmskb|movmskp[sd])$", mnemonic) or re.match(r"vpmovm2[bwdq]$", mnemonic):
        return merged(lambda values: full(64) if any(values) else 0, operands[1:], target, True)
    if element := re.match(r"v?pextr([bwdq])$|v?extractps$", mnemonic):
        size = ELEMENTS[element[1] or "d"]
        at = operands[2].value % (16 // size) * size
        return merged(lambda values: values[0] >> at & full(size), operands[1:2], target, True,
                      size if target.kind == "memory" else None)
    if element := re.match(r"v?pinsr([bwdq])$", mnemonic):
        size = ELEMENTS[element[1]]
        first, value = (operands[1:3] if vex else operands[0:2])
        at = operands[-1].value % (16 // size) * size
        reads = reader(first, 16), reader(value, size)
        write = writer(target, vex)
        return lambda m, w, i: write(m, w, i, reads[0](m, w, i) & ~(full(size) << at)
                                     | (reads[1](m, w, i) & full(size)) << at)
    return compile_vector_values(mnemonic, operands, vex)


def compile_vector_values(mnemonic, operands, vex):
    target = operands[0]
    reads_target = (not vex and len([o for o in operands if o.kind != "number"]) <= 2 and
                    not re.match(r"pshuf[dhl]|pmov|cvt|pabs|movddup|movs[hl]dup|broadcast", mnemonic)
                    or READS_DESTINATION.match(mnemonic) is not None)
    sources = [o for o in (operands if reads_target else operands[1:]) if o.kind != "number"]
    immediates = [o.value for o in operands if o.kind == "number"]
    compared = sources if vex and not reads_target else operands[:2]
    same = len(compared) == 2 and compared[0].text == compared[1].text and compared[0].kind == "vector"
    if same and (ZERO_IDIOMS.match(mnemonic) or re.match(r"v?pcmpeq", mnemonic)):
        sources = []
    if mnemonic.startswith("vpternlog"):
        if immediates == [0xff] or immediates == [0]:
            sources = []
    size = target.size if target.kind == "vector" else sources[0].size if sources else 16
    if BITWISE.match(mnemonic):
        def combine(values):
            out = 0
            for value in values:
                out |= value
            return out
    elif INSERTS.match(mnemonic):
        part = operands[2].size
        at = immediates[0] % (size // part) * part

        def combine(values):
            return values[0] & ~(full(part) << at) | (values[1] & full(part)) << at
    elif EXTRACTS.match(mnemonic):
        part = int(EXTRACTS.match(mnemonic)[1]) // 8 * int((EXTRACTS.match(mnemonic)[2] or "x1")[1:])
        at = immediates[0] % (operands[1].size // part) * part
        return merged(lambda values: values[0] >> at & full(part), operands[1:2], target, True,
                      part if target.kind == "memory" else None)
    elif SIXTEENS.match(mnemonic):
        def combine(values):
            out = 0
            for value in values:
                out |= value
            return widen(out, 16)
    elif LANES.match(mnemonic):
        element = 8 if mnemonic.endswith("q") or "52" in mnemonic or "sad" in mnemonic else 4
        by_count = re.match(r"v?ps(ll|rl|ra)[wdq]$", mnemonic) and sources and not immediates

        def combine(values):
            if by_count and values[-1]:
                return full(64)
            out = 0
            for value in values:
                out |= value
            return widen(out, element)
    elif WHOLE.match(mnemonic):
        def combine(values):
            return full(64) if any(values) else 0
    else:
        return None
    return merged(combine, sources, target, vex, element=masked(mnemonic, target))


def masked(mnemonic, target):
    return None if target.mask is None else element_bytes(mnemonic)


def merged(combine, sources, target, vex, size=None, element=None):
    """Writes the combined sources to the target. Elements that the target's mask leaves out keep their state."""
    if target.mask is not None and element is None:
        raise Unknown("a mask")
    reads = [reader(o) for o in sources]
    write = writer(target, vex, size)
    if target.mask is None:
        if len(reads) == 1:
            read, = reads
            return lambda m, w, at: write(m, w, at, combine([read(m, w, at)]))
        return lambda m, w, at: write(m, w, at, combine([read(m, w, at) for read in reads]))
    mask, old, keep_size = target.mask, reader(target, size), size or target.size

    def step(m, w, at):
        value = combine([read(m, w, at) for read in reads])
        if m.masks[mask]:
            return write(m, w, at, full(64))
        chosen = spread(w[at + 16 + mask], element, keep_size)
        write(m, w, at, value & chosen | (0 if target.zeroing else old(m, w, at) & ~chosen))
    return step


def spread(mask, element, size):
    """The bytes of the elements that a mask selects."""
    out = 0
    for n in range(size // element):
        if mask >> n & 1:
            out |= full(element) << n * element
    return out


def element_bytes(mnemonic):
    """The size of the elements that a mask of this instruction selects."""
    if found := re.search(r"(?:vmovdq[au]|[if])(8|16|32|64)(?:x\d)?$", mnemonic):
        return int(found[1]) // 8
    if mnemonic.endswith(("ps", "ss")):
        return 4
    if mnemonic.endswith(("pd", "sd")):
        return 8
    return ELEMENTS[mnemonic[-1]]


def compile_packing(mnemonic, operands):
    """Compresses or expands: the mask decides where each element moves. Marks whole registers, and the bytes of memory
    that the instruction accesses."""
    target, source = operands
    mask, element = target.mask, element_bytes(mnemonic)
    if mask is None or target.kind == "memory" and "expand" in mnemonic:
        raise Unknown("a mask")
    address = address_of(target if target.kind == "memory" else source)
    read, write = reader(source), writer(target)

    def step(m, w, at):
        touched = (w[at + 16 + mask] & full(64 // element)).bit_count() * element
        if target.kind == "memory":
            m.store(address(w, at), touched, full(touched) if read(m, w, at) or m.masks[mask] else 0)
            return
        got = m.load(address(w, at), touched) if source.kind == "memory" else read(m, w, at)
        write(m, w, at, full(64) if got or m.masks[mask] or not target.zeroing and m.vector[target.number] else 0)
    return step


def compile_gather(mnemonic, operands):
    """The recording lacks the addresses of a gather, so its result counts as secret."""
    if "scatter" in mnemonic:
        return lambda m, w, at: "a scatter, whose addresses are not recorded"
    write = writer(operands[0])
    return lambda m, w, at: write(m, w, at, full(64))
