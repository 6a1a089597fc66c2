# SPDX-License-Identifier: BSL-1.0
"""Reads another process's memory and looks for keys in it. Needs root."""
import base64
import collections
import hashlib
import os
import re
import signal
import struct

PAGE = os.sysconf('SC_PAGE_SIZE')
Mapping = collections.namedtuple('Mapping', 'start end permissions name flags')
Place = collections.namedtuple('Place', 'address mapping')


def mappings(pid):
    """The mappings of a process, with the flags that the kernel keeps of each (VmFlags, proc_pid_smaps(5))."""
    found, fields = [], None
    with open(f'/proc/{pid}/smaps') as f:
        for line in f:
            head = re.match(r'([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)', line)
            if head:
                fields = int(head[1], 16), int(head[2], 16), head[3], head[4].strip()
            elif line.startswith('VmFlags:'):
                found.append(Mapping(*fields, frozenset(line.split()[1:])))
    return found


def is_region(mapping):
    """Whether this is memory for secrets: not in core dumps (dd), wiped in a forked child (wf), locked (lo)."""
    return {'dd', 'wf', 'lo'} <= mapping.flags


class Snapshot:
    """All memory that a process has ever written or read, copied while the process is stopped."""

    def __init__(self, pid):
        self.chunks = []  # (address, bytes, mapping)
        os.kill(pid, signal.SIGSTOP)
        try:
            with open(f'/proc/{pid}/mem', 'rb', 0) as memory, open(f'/proc/{pid}/pagemap', 'rb', 0) as pages:
                for m in mappings(pid):
                    if 'r' in m.permissions and m.name not in ('[vsyscall]', '[vvar]', '[vvar_vclock]'):
                        self.read(memory, pages, m)
        finally:
            os.kill(pid, signal.SIGCONT)

    def read(self, memory, pages, mapping):
        """The pages that are present or swapped out (bits 63 and 62 of /proc/PID/pagemap); others hold no secret."""
        entries = os.pread(pages.fileno(), (mapping.end - mapping.start) // PAGE * 8, mapping.start // PAGE * 8)
        start = None
        for i, (entry,) in enumerate([*struct.iter_unpack('Q', entries), (0,)]):
            if entry >> 62 and start is None:
                start = i
            elif not entry >> 62 and start is not None:
                address, size, got = mapping.start + start * PAGE, (i - start) * PAGE, b''
                while len(got) < size:
                    got += os.pread(memory.fileno(), size - len(got), address + len(got))
                self.chunks.append((address, got, mapping))
                start = None

    def regions(self):
        return [(address, data) for address, data, mapping in self.chunks if is_region(mapping)]

    def find(self, needle):
        """[Place] of every occurrence of `needle`."""
        found = []
        for address, data, mapping in self.chunks:
            at = data.find(needle)
            while at >= 0:
                found.append(Place(address + at, mapping))
                at = data.find(needle, at + 1)
        return found

    def outside(self, windows):
        """{window: Place} of the 32-byte windows that occur outside the regions, at any alignment."""
        by_word, found = collections.defaultdict(list), {}
        for w in windows:
            by_word[int.from_bytes(w[:8], 'little')].append(w)
        wanted = by_word.keys()
        for address, data, mapping in self.chunks:
            if is_region(mapping):
                continue
            for shift in range(8):
                for word in wanted & set(words_of(data, shift)):
                    for w in by_word[word]:
                        if (at := data.find(w)) >= 0:
                            found[w] = Place(address + at, mapping)
        return found


# ------------------------------------------------------------------------------------------------------ forms of a key

def traces(key):
    """{what: bytes}: pieces of a 32-byte key, in binary and as base64 and hexadecimal text.

    The pieces are halves, so that a partly overwritten copy counts. They leave out the first and the last byte, in
    which clamping (RFC 7748, section 5) changes bits.
    """
    lower, text = key.hex().encode(), base64.b64encode(key)
    return {'first half': key[1:16], 'second half': key[16:31],
            'first half in hex': lower[2:32], 'second half in hex': lower[32:62],
            'first half in HEX': lower[2:32].upper(), 'second half in HEX': lower[32:62].upper(),
            'first half in base64': text[2:22], 'second half in base64': text[22:42]}


def spread(key):
    """{what: bytes}: each 32-bit word of a ChaCha20 key four times in a row, as vector code stores it."""
    return {f'word {i} over a vector': key[4 * i:4 * i + 4] * 4 for i in range(8)}


def candidates(snapshot, public=(), step=8):
    """Every 32-byte window of the regions, at multiples of `step`, that looks random and holds nothing of `public`.

    `public` are byte strings that are not secret, such as all packets on the wire.
    """
    known = set()
    for text in public:
        for shift in range(8):
            known.update(words_of(text, shift))
    known = {w for w in known if len(set(w.to_bytes(8, 'little'))) >= 5}
    found = set()
    for _, data in snapshot.regions():
        for shift in range(0, 8, step):
            run = 0  # how many words up to here are neither zero nor public
            for i, word in enumerate(words_of(data, shift)):
                run = run + 1 if word and word not in known else 0
                if run >= 4:
                    window = data[8 * i - 24 + shift:8 * i + 8 + shift]
                    if len(set(window)) >= 20:  # 32 random bytes have about 30 different ones, pointers far fewer
                        found.add(window)
    return found


def words_of(data, shift):
    """The 64-bit words of `data` from offset `shift` on."""
    return memoryview(data)[shift:shift + max(0, len(data) - shift) // 8 * 8].cast('Q')


def public_values(public_keys, packets):
    """Values that can be computed from the public keys and the packets (whitepaper, section 5.4)."""
    def h(*parts):
        return hashlib.blake2s(b''.join(parts)).digest()
    name = h(b'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s')
    start = h(name, b'WireGuard v1 zx2c4 Jason@zx2c4.com')
    values = [name, start, *packets]
    for key in public_keys:
        values += [key, h(b'mac1----', key), h(b'cookie--', key), h(start, key)]
        for m in packets:
            if len(m) == 148 and m[0] == 1:
                chain = h(start, key)
                for part in m[8:40], m[40:88], m[88:116]:  # ephemeral, static, timestamp
                    chain = h(chain, part)
                    values.append(chain)
                values += [h(chain, r[12:44]) for r in packets if len(r) == 92 and r[0] == 2]
    return values


# -------------------------------------------------------------------------------------- ChaCha20-Poly1305 (RFC 8439)

def chacha20_block(key, counter, nonce):
    start = [*struct.unpack('<4I', b'expand 32-byte k'), *struct.unpack('<8I', key), counter,
             *struct.unpack('<3I', nonce)]
    x, mask = start[:], 0xffffffff
    rounds = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
              (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
    for _ in range(10):
        for a, b, c, d in rounds:
            for left, right, out, by in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
                x[left] = x[left] + x[right] & mask
                turned = x[out] ^ x[left]
                x[out] = (turned << by | turned >> 32 - by) & mask
    return struct.pack('<16I', *(a + b & mask for a, b in zip(x, start)))


def opens(key, message):
    """Whether the tag of this transport data message (whitepaper, section 5.4.6) was made with `key`."""
    counter, sealed, tag = message[8:16], message[16:-16], message[-16:]
    one_time = chacha20_block(key, 0, bytes(4) + counter)
    r, s = int.from_bytes(one_time[:16], 'little'), int.from_bytes(one_time[16:32], 'little')
    r &= 0x0ffffffc0ffffffc0ffffffc0fffffff
    total = 0
    text = sealed + bytes(-len(sealed) % 16) + struct.pack('<QQ', 0, len(sealed))
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i:i + 16] + b'\1', 'little')) * r % ((1 << 130) - 5)
    return (total + s & (1 << 128) - 1).to_bytes(16, 'little') == tag
