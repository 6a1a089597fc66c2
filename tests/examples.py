#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles every C++ example of README.md and docs/*.md, with strict warnings, and keeps README's within 30 lines."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from cases import warnings_are_errors

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPILER = os.environ.get('CXX', 'g++')
FLAGS = ['-std=c++20', '-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-fsyntax-only', f'-I{ROOT}/include',
         *(['-Werror'] if warnings_are_errors(COMPILER) else [])]
MOST_LINES_IN_README = 30


def main():
    passed = failed = 0
    for document in [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]:
        for number, text in enumerate(re.findall(r'^```cpp\n(.*?)^```', document.read_text(), re.M | re.S), 1):
            name = f'{document.relative_to(ROOT)}, example {number}'
            with tempfile.TemporaryDirectory() as folder:
                source = pathlib.Path(folder) / 'example.cpp'
                source.write_text(text)
                p = subprocess.run([COMPILER, *FLAGS, str(source)], capture_output=True, text=True)
            lines = len([line for line in text.splitlines() if line.strip()])
            too_long = document.name == 'README.md' and lines > MOST_LINES_IN_README
            if p.returncode == 0 and not too_long:
                print(f'ok {name} ({lines} lines)')
                passed += 1
            else:
                print(f'FAIL {name} ({lines} lines)\n{p.stderr}')
                failed += 1
    print(f'{passed} passed, {failed} failed, 0 skipped')
    return 1 if failed or passed == 0 else 0


sys.exit(main())
