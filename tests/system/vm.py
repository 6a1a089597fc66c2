# SPDX-License-Identifier: BSL-1.0
"""A small virtual machine with the kernel of a distribution, for tests against Linux's own WireGuard.

The machine has no disk and no distribution: a kernel package of Debian or Ubuntu, downloaded and unpacked but not
installed, and an initramfs made here of busybox, wg(8), the caller's programs and the few modules that are needed. It
runs under qemu's emulation (TCG), so the host needs neither /dev/kvm nor a kernel with WireGuard.

Its network card is a TAP interface of the caller. Commands go through a serial port, so they work independently of the
network.
"""
import io
import os
import pathlib
import re
import select
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time

from checks import Failure


class Unavailable(Exception):
    """The virtual machine cannot run on this machine. The text is the reason."""


def cache_dir(given=None):
    """Where downloads and initramfs are kept between runs."""
    base = given or pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'wg-tests'
    path = pathlib.Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


# --- the kernel ------------------------------------------------------------------------------------------------------

# Debian's small kernel for virtual machines, its general one; then Ubuntu's two.
META_PACKAGES = ('linux-image-cloud-amd64', 'linux-image-amd64', 'linux-image-virtual', 'linux-image-generic')


def apt_depends(package):
    """The names that `package` depends on, [] where apt does not know it."""
    out = subprocess.run(['apt-cache', 'depends', package], capture_output=True, text=True).stdout
    return re.findall(r'^\s+Depends: (\S+)$', out, re.MULTILINE)


def kernel_packages(wanted=None):
    """The packages that together hold one kernel image and its modules."""
    for meta in [wanted] if wanted else META_PACKAGES:
        if re.search(r'\d\.\d', meta):
            image = meta
        else:
            image = next((d for d in apt_depends(meta) if re.match(r'linux-image-(unsigned-)?\d', d)), None)
        if image:
            return [image] + [d for d in apt_depends(image) if d.startswith('linux-modules-')]
    raise Unavailable('apt knows no kernel package' + (f' {wanted}' if wanted else ''))


def download(packages, into):
    """Download Debian packages and unpack them below `into`."""
    apt = ['apt-get', '-qq', '-o', 'APT::Sandbox::User=root']
    with tempfile.TemporaryDirectory(dir=into.parent) as work:
        got = subprocess.run([*apt, 'download', *packages], cwd=work, capture_output=True, text=True)
        if got.returncode:  # the index may name a version that the archive has replaced
            subprocess.run([*apt, 'update'], capture_output=True)
            got = subprocess.run([*apt, 'download', *packages], cwd=work, capture_output=True, text=True)
        if got.returncode:
            raise Unavailable(f"cannot download {' '.join(packages)}: {got.stderr.strip().splitlines()[-1:]}")
        for deb in pathlib.Path(work).glob('*.deb'):
            subprocess.run(['dpkg-deb', '-x', deb, into], check=True)


def fetch_kernel(cache, wanted=None):
    """A folder with an unpacked kernel, downloaded once."""
    packages = kernel_packages(wanted)
    done = cache / packages[0]
    if not done.exists():
        unpacked = cache / f'{packages[0]}.{os.getpid()}'
        unpacked.mkdir()
        try:
            download(packages, unpacked)
            if not done.exists():  # another run may have been faster
                unpacked.rename(done)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    return done


# --- its modules -----------------------------------------------------------------------------------------------------

def module_bytes(path):
    """A module's text, unpacked: distributions compress them in different ways."""
    unpack = {'.xz': ['xz', '-dc'], '.zst': ['zstd', '-dcq'], '.gz': ['gzip', '-dc']}.get(path.suffix)
    if not unpack:
        return path.read_bytes()
    if not shutil.which(unpack[0]):
        raise Unavailable(f'missing tool: {unpack[0]}')
    return subprocess.run([*unpack, path], check=True, capture_output=True).stdout


def modules_in_order(kernel, wanted):
    """[(name, text)] of the wanted modules and all that they depend on, each after what it needs.

    Reads the modules' own `depends=` field, so that neither depmod nor modprobe is needed. A module that the kernel
    has built in has no file and is left out.
    """
    files = {re.sub(r'\.ko.*', '', f.name).replace('-', '_'): f for f in kernel.rglob('*.ko*')}
    if 'wireguard' not in files:
        raise Unavailable(f'{kernel.name} has no WireGuard module')
    loaded, text, stack = {}, {}, [w.replace('-', '_') for w in reversed(wanted)]
    while stack:
        name = stack[-1]
        if name in loaded or name not in files:
            stack.pop()
            continue
        if name not in text:
            text[name] = module_bytes(files[name])
            field = re.search(rb'\0depends=([^\0]*)\0', text[name])
            stack += [d.replace('-', '_') for d in field.group(1).decode().split(',') if d] if field else []
            continue
        loaded[name] = text[name]
        stack.pop()
    return list(loaded.items())


# --- the initramfs ---------------------------------------------------------------------------------------------------

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null; mount -t tmpfs tmp /tmp
ln -s /proc/self/fd/0 /dev/stdin
for m in $(cat /modules/order); do insmod /modules/$m.ko; done
for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >$f; done
ip link set lo up
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
echo GUEST-READY $(uname -r)
# Through a pipe, for a shell on a terminal prompts and echoes; not by cat, whose sendfile waits for more.
while IFS= read -r line; do printf '%s\\n' "$line"; done | sh
"""


class Cpio:
    """Writes the archive format that Linux unpacks at boot ("newc", see cpio(5))."""

    def __init__(self):
        self.out, self.names = io.BytesIO(), set()

    def add(self, name, mode, data=b''):
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        self.out.write(b'070701' + ''.join(f'{f:08x}' for f in fields).encode() + name.encode() + b'\0')
        self.pad()
        self.out.write(data)
        self.pad()

    def pad(self):
        self.out.write(bytes(-self.out.tell() % 4))

    def finish(self):
        self.add('TRAILER!!!', 0)
        return self.out.getvalue()


def add_program(archive, program):
    """Adds a program, given by its path or its name, as /usr/bin/NAME, and its libraries at their paths. Debug
        information is stripped, because it may be larger than the guest's memory."""
    path = shutil.which(program)
    with tempfile.NamedTemporaryFile() as file:
        if shutil.which('strip'):
            subprocess.run(['strip', '--strip-debug', '-o', file.name, path], check=True)
        text = pathlib.Path(file.name).read_bytes() or pathlib.Path(path).read_bytes()
    archive.add(f'usr/bin/{os.path.basename(path)}', stat.S_IFREG | 0o755, text)
    libraries = subprocess.run(['ldd', path], capture_output=True, text=True).stdout
    for f in re.findall(r'(/\S+)', libraries):
        archive.add(f.lstrip('/'), stat.S_IFREG | 0o755, pathlib.Path(f).read_bytes())


def build_initramfs(kernel, programs):
    modules = modules_in_order(kernel, ('virtio_pci', 'virtio_net', 'wireguard', 'tun', 'macvlan', 'vrf'))
    archive = Cpio()
    for folder in ('bin', 'proc', 'sys', 'dev', 'tmp', 'run', 'var/run', 'etc'):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add('init', stat.S_IFREG | 0o755, INIT.encode())
    archive.add('bin/busybox', stat.S_IFREG | 0o755, pathlib.Path(shutil.which('busybox')).read_bytes())
    for program in ('wg', *programs):
        add_program(archive, program)
    for name, text in modules:
        archive.add(f'modules/{name}.ko', stat.S_IFREG | 0o644, text)
    archive.add('modules/order', stat.S_IFREG | 0o644, '\n'.join(name for name, _ in modules).encode())
    return archive.finish()


def prepare(cache, wanted=None, programs=()):
    """(path of a kernel image, text of an initramfs for it with these programs)."""
    if os.uname().machine != 'x86_64':
        raise Unavailable(f'no virtual machine is described here for {os.uname().machine}')
    missing = [t for t in ('qemu-system-x86_64', 'busybox', 'wg', 'apt-get', 'apt-cache', 'dpkg-deb', 'ldd')
               if not shutil.which(t)]
    if missing:
        raise Unavailable('missing tools: ' + ' '.join(missing))
    kernel = fetch_kernel(cache, wanted)
    image = next(kernel.rglob('vmlinuz-*'), None)
    if not image:
        raise Unavailable(f'{kernel.name} holds no kernel image')
    # Left uncompressed: under emulation, unpacking costs more than loading. Made anew each time (it takes well
    # under a second), so that it cannot be out of date.
    return image, build_initramfs(kernel, programs)


# --- the machine -----------------------------------------------------------------------------------------------------

class Guest:
    """A running virtual machine."""

    def __init__(self, image, initramfs, folder, tap, popen=subprocess.Popen, cpus=2):
        """Boot. `folder` is for the machine's files; `tap` is its network card's other end; `popen` starts qemu, in
        the network namespace where that TAP is."""
        self.lock = threading.Lock()
        self.jobs = self.commands = self.status = 0
        folder = pathlib.Path(folder)
        self.console, self.errors, control = folder / 'console', folder / 'errors', folder / 'control'
        (folder / 'initramfs').write_bytes(initramfs)
        self.release = ''
        self.process = popen(
            ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'qemu64,+rdrand', '-smp', str(cpus), '-m', '256',
             '-M', 'pc', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none',
             '-serial', f'file:{self.console}',
             '-chardev', f'socket,id=control,path={control},server=on,wait=on', '-serial', 'chardev:control',
             '-kernel', str(image), '-initrd', str(folder / 'initramfs'),
             '-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr rdinit=/init',
             '-netdev', f'tap,id=net,ifname={tap},script=no,downscript=no',
             '-device', 'virtio-net-pci,netdev=net,romfile='],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors.open('w'))
        self.control = socket.socket(socket.AF_UNIX)
        try:
            self.wait_ready(control)
        except BaseException:
            self.close()
            raise

    def wait_ready(self, control, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.control.connect(str(control))
                break
            except OSError:
                self.check_alive()
                if time.monotonic() > deadline:
                    raise Failure('qemu opened no control channel') from None
                time.sleep(0.05)
        self.release = self.read_until(rb'GUEST-READY (\S+)\r?\n', deadline).group(1).decode()

    def check_alive(self):
        if self.process.poll() is not None:
            errors = self.errors.read_text().strip()
            console = self.console.read_text(errors='replace')[-400:] if self.console.exists() else ''
            raise Failure(f'the virtual machine ended: {errors} {console}')

    def read_until(self, pattern, deadline):
        """Read the control channel until `pattern`; text before it is in the match's `string`."""
        text = b''
        while True:
            found = re.search(pattern, text)
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f'the guest is silent; last: {text[-300:]!r}; console: '
                                   f"{self.console.read_text(errors='replace')[-300:]}")
            if select.select([self.control], [], [], left)[0]:
                data = self.control.recv(65536)
                if not data:
                    self.process.wait(5)
                    self.check_alive()
                text += data

    def run(self, command, timeout=30, check=True):
        """Run shell commands in the guest; their output as text. With `check`, failure raises."""
        with self.lock:
            self.commands += 1
            mark = f'done-{self.commands}-{os.urandom(4).hex()}'
            line = f'timeout -s KILL {int(timeout)} sh -c {shlex.quote(command)} </dev/null 2>&1; echo {mark} $?\n'
            self.control.sendall(line.encode())
            found = self.read_until(rf'{mark} (\d+)\r?\n'.encode(), time.monotonic() + timeout + 30)
        output = found.string[:found.start()].decode(errors='replace').replace('\r\n', '\n')
        status = int(found.group(1))
        if check and status:
            raise Failure(f'guest: {" ".join(command.split())[:80]}: exit status {status}: {output.strip()}')
        self.status = status
        return output

    def succeeds(self, command, timeout=30):
        self.run(command, timeout, check=False)
        return self.status == 0

    def start(self, command):
        """Start shell commands in the background; give the result to finish()."""
        self.jobs += 1
        job = f'/tmp/job{self.jobs}'
        self.run(f'( sh -c {shlex.quote(command)} >{job} 2>&1 </dev/null; echo $? >{job}.status.new; '
                 f'mv {job}.status.new {job}.status ) >/dev/null 2>&1 &')
        return job

    def finish(self, job, timeout=60):
        """Wait for a background job: (exit status, output)."""
        deadline = time.monotonic() + timeout
        while not self.succeeds(f'test -e {job}.status'):
            if time.monotonic() > deadline:
                raise Failure(f"guest: {job} has not ended within {timeout} s: {self.run(f'cat {job}')[-300:]}")
            time.sleep(0.1)
        return int(self.run(f'cat {job}.status')), self.run(f'cat {job}')

    def close(self):
        self.control.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
