#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles every C++ example of README.md and docs with strict warnings. README's example has at most 30 lines. The
sizes that docs/embedding.md states are those of the compiler."""
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

from cases import warnings_are_errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPILER = os.environ.get('CXX', 'g++')
FLAGS = ['-std=c++20', '-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-fsyntax-only', f'-I{ROOT}/include',
         *(['-Werror'] if warnings_are_errors(COMPILER) else [])]
MOST_LINES_IN_README = 30


SIZES = re.compile('device for one peer takes ([0-9,]+) bytes, one for two peers ([0-9,]+) bytes, '
                   'and a job ([0-9]+) bytes')
CHECKED = """
struct two_peers : wg::small_capacity {{
    static constexpr std::size_t max_peers = 2;
}};
struct two_policies : my_policies {{
    using storage = wg::static_storage<two_peers>;
}};
template <std::size_t Stated, std::size_t Measured> constexpr bool same = Stated == Measured;
static_assert(same<{}, sizeof(my_device)>);
static_assert(same<{}, sizeof(wg::device<two_policies>)>);
static_assert(same<{}, sizeof(wg::job<my_policies>)>);
"""


def with_sizes(document, text):
    """The text of an example. The one that defines `my_device` also asserts the sizes that its document states for
    x86-64."""
    if 'my_device' not in text or platform.machine() != 'x86_64':
        return text
    stated = SIZES.search(' '.join(document.read_text().split()))
    return text + (CHECKED.format(*(n.replace(',', '') for n in stated.groups())) if stated else '#error no sizes')


def flags_of(text):
    """Flags for the libraries that an example includes, and the package that is missing: one of them is None."""
    if '<wg/tunnel.hpp>' not in text and '<wg/asio.hpp>' not in text:
        return [], None
    if not shutil.which('pkg-config'):
        return None, 'pkg-config'
    found = subprocess.run(['pkg-config', '--cflags-only-I', 'lwip'], capture_output=True, text=True)
    if found.returncode != 0:
        return None, 'liblwip-dev'
    if '<asio.hpp>' in text:
        asio = subprocess.run([COMPILER, '-E', '-x', 'c++', '-'], input='#include <asio.hpp>\n', text=True,
                              capture_output=True)
        if asio.returncode != 0:
            return None, 'libasio-dev'
    return found.stdout.replace('-I', '-isystem').split(), None


def main():
    passed = failed = skipped = 0
    for document in [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]:
        for number, text in enumerate(re.findall(r'^```cpp\n(.*?)^```', document.read_text(), re.M | re.S), 1):
            name = f'{document.relative_to(ROOT)}, example {number}'
            flags, missing = flags_of(text)
            if missing:
                print(f'skip {name}: needs {missing}')
                skipped += 1
                continue
            with tempfile.TemporaryDirectory() as folder:
                source = pathlib.Path(folder) / 'example.cpp'
                source.write_text(with_sizes(document, text))
                p = subprocess.run([COMPILER, *FLAGS, *flags, str(source)], capture_output=True, text=True)
            lines = len([line for line in text.splitlines() if line.strip()])
            too_long = document.name == 'README.md' and lines > MOST_LINES_IN_README
            if p.returncode == 0 and not too_long:
                print(f'ok {name} ({lines} lines)')
                passed += 1
            else:
                print(f'FAIL {name} ({lines} lines)\n{p.stderr}')
                failed += 1
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or passed == 0 else 0


sys.exit(main())
