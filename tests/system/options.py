# SPDX-License-Identifier: BSL-1.0
"""Options of a single suite, beside those that lab.main() knows."""
import os
import sys


def option(name, default):
    """The value of `--name VALUE` or `--name=VALUE`, taken off the command line, else `default`, of its type.

    Goes through the environment as WG_TEST_NAME (which may be set instead), since lab.main() starts the script twice.
    """
    variable = 'WG_TEST_' + name.upper().replace('-', '_')
    for i, argument in enumerate(sys.argv[1:], 1):
        if argument.startswith(f'--{name}='):
            os.environ[variable] = sys.argv.pop(i).partition('=')[2]
            break
        if argument == f'--{name}' and i + 1 < len(sys.argv):
            os.environ[variable] = sys.argv[i + 1]
            del sys.argv[i:i + 2]
            break
    text = os.environ.get(variable)
    return type(default)(text) if text else default
