# SPDX-License-Identifier: BSL-1.0
"""Finds the newest wireguard-go that this machine can run, for comparisons. It is not installed.

$WIREGUARD_GO may name one. Otherwise, on Debian, it is the one of the unstable distribution, from the mirror of this
machine, because that of a stable release may be years old. Otherwise it is the installed one.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from vm import cache_dir

KEYRING = pathlib.Path('/usr/share/keyrings/debian-archive-keyring.gpg')


def mirror():
    """The first Debian mirror among apt's sources, '' if there is none."""
    folder = pathlib.Path('/etc/apt')
    for source in [*sorted((folder / 'sources.list.d').glob('*.sources')), folder / 'sources.list']:
        text = source.read_text() if source.exists() else ''
        for found in re.findall(r'^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)', text, re.MULTILINE):
            if found.rstrip('/').endswith('/debian'):
                return found
    return ''


def download(to):
    """Fetches and unpacks the package of unstable to the program `to`."""
    with tempfile.TemporaryDirectory() as work:
        for folder in 'lists/partial', 'cache/archives/partial', 'unpacked':
            os.makedirs(f'{work}/{folder}')
        pathlib.Path(work, 'sources.list').write_text(f'deb [signed-by={KEYRING}] {mirror()} sid main\n')
        apt = ['apt-get', '-qq', '-o', f'Dir::Etc::sourcelist={work}/sources.list', '-o', 'Dir::Etc::sourceparts=-',
               '-o', f'Dir::State::lists={work}/lists', '-o', f'Dir::Cache={work}/cache',
               '-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Retries=3']
        run = {'check': True, 'capture_output': True, 'cwd': work, 'timeout': 300}
        subprocess.run([*apt, 'update'], **run)
        subprocess.run([*apt, 'download', 'wireguard-go'], **run)
        subprocess.run(['dpkg', '-x', *map(str, pathlib.Path(work).glob('*.deb')), 'unpacked'], **run)
        unready = to.with_name(f'{to.name}.{os.getpid()}')
        shutil.copy(f'{work}/unpacked/usr/bin/wireguard-go', unready)
        unready.rename(to)


def wireguard_go():
    """(program, its description). The program may be missing."""
    if os.environ.get('WIREGUARD_GO'):
        return os.environ['WIREGUARD_GO'], '$WIREGUARD_GO'
    newest = cache_dir() / 'wireguard-go'
    if not newest.exists() and mirror() and KEYRING.exists() and shutil.which('apt-get'):
        try:
            download(newest)
        except (subprocess.SubprocessError, OSError) as e:
            said = (getattr(e, 'stderr', None) or b'').decode(errors='replace').strip() or e
            return 'wireguard-go', f'the installed one, for the newest cannot be had: {said}'
    return (str(newest), 'the newest of Debian') if newest.exists() else ('wireguard-go', 'the installed one')
