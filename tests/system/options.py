# SPDX-License-Identifier: BSL-1.0
"""Options of a single suite, beside those of runner.main()."""
import os
import sys


def option(name, default):
    """Takes `--name VALUE` or `--name=VALUE` off the command line. Returns VALUE as `default`'s type, or `default`.

    runner.main() starts the script twice, so the value is kept in the environment variable WG_TEST_NAME, which may also
    be set instead of the option.
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
