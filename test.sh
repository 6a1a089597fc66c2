#!/usr/bin/env bash
# SPDX-License-Identifier: BSL-1.0
# Installs what is missing (Debian, Ubuntu), builds, and runs every test that this machine can run.
#
#   ./test.sh            everything but what the next options add; under 20 minutes on two cores
#   ./test.sh --quick    the unit tests alone
#   ./test.sh --full     also the whole matrix of compilers, modes and processors
#   ./test.sh --long     also the runs that wait: the kernel's rekey after 120 s and its like
#
# Names what it skipped, and why; ends with the counts. Exit status 0 if nothing failed.
set -euo pipefail
cd "$(dirname "$0")"

quick=false full=false
for argument in "$@"; do
    case $argument in
        --quick) quick=true ;;
        --full) full=true ;;
        --long) ;;
        -h | --help) sed -n '3,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "test.sh: unknown option $argument; there are --quick, --full, --long" >&2; exit 2 ;;
    esac
done

# The newest clang from 16 that is here or that the distribution has.
clang_packages() {
    local version
    for version in {22..16}; do
        if command -v "clang++-$version" >/dev/null || apt-cache show "clang-$version" >/dev/null 2>&1; then
            echo "clang-$version libclang-rt-$version-dev"
            return
        fi
    done
}

install_missing() {
    local wanted missing=() package as_root=()
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here: tests whose programs are not installed will be skipped"
        return
    fi
    wanted="g++ meson ninja-build python3 libboost-test-dev"
    $quick || wanted+=" shellcheck cmake pkg-config
        g++-mingw-w64-x86-64-posix gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib
        wireguard-tools wireguard-go iproute2 iputils-ping nftables iperf3 tcpdump procps util-linux
        qemu-system-x86 busybox-static kmod cpio"
    $full && wanted+=" qemu-user-static g++-aarch64-linux-gnu g++-arm-linux-gnueabihf g++-mips-linux-gnu
        g++-i686-linux-gnu g++-riscv64-linux-gnu g++-s390x-linux-gnu"
    # apt-cache knows nothing before the first update of a bare machine.
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    [ -t 0 ] || [ "${#as_root[@]}" = 0 ] || as_root=(sudo -n)
    $quick || wanted+=" $(clang_packages)"
    for package in $wanted; do
        [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
    done
    [ "${#missing[@]}" != 0 ] || return 0
    echo "installing: ${missing[*]}"
    if [ "${#as_root[@]}" != 0 ] && ! command -v sudo >/dev/null; then
        echo "neither root nor sudo: not installed; the tests that need them will be skipped"
        return
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

install_missing
exec python3 tests/run.py "$@"
