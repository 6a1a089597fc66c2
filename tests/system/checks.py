# SPDX-License-Identifier: BSL-1.0
"""The checks that tests make, and the exceptions of a test that fails or is skipped. Standard library only."""
import shutil
import time


class Skip(Exception):
    """The machine or the daemon lacks something that this test needs. The text names it."""


class Failure(Exception):
    """A check did not hold."""


def skip(reason):
    raise Skip(reason)


def check(condition, message='check failed'):
    if not condition:
        raise Failure(message)


def equal(got, wanted, what='value'):
    check(got == wanted, f'{what}: got {got!r}, wanted {wanted!r}')


def wait_until(condition, timeout=5.0, what='condition', every=0.02):
    """Polls until `condition()` is true, and returns its value. Fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f'not within {timeout:g} s: {what}')
        time.sleep(every)


def stays(condition, seconds, what='condition', every=0.05):
    """Fails as soon as `condition()` is false within the next `seconds`: for events that must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check(condition(), f'ended within {seconds:g} s: {what}')
        time.sleep(every)


def need(*programs):
    """Skips the test when a program is missing."""
    for p in programs:
        if not shutil.which(p):
            skip(f'{p} is not installed')
