#!/usr/bin/env bash
# SPDX-License-Identifier: BSL-1.0
# Installs what is missing (Debian, Ubuntu), builds, and runs every test that this machine can run.
#
#   ./test.sh            everything but what the next options add; about 20 minutes on two cores
#   ./test.sh --quick    the unit tests alone; two minutes from a clean clone, seconds once built
#   ./test.sh --full     also the whole matrix of compilers, modes and processors
#   ./test.sh --long     also the runs that wait: the kernel's rekey after 120 s and its like
#
# Names what it skipped, and why; ends with the counts. Exit status 0 if nothing failed.
# Builds in build-*; what the tests make elsewhere goes when they end, also when they are interrupted.
set -euo pipefail
cd "$(dirname "$0")"

quick=false full=false
for argument in "$@"; do
    case $argument in
        --quick) quick=true ;;
        --full) full=true ;;
        --long) ;;
        -h | --help) sed -n '3,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "test.sh: unknown option $argument; there are --quick, --full, --long" >&2; exit 2 ;;
    esac
done

is_installed() { [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ]; }
is_offered() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# Of NAME-N from a version on, the oldest and the newest: of those that are here and, for the newest, to be had.
oldest_and_newest() { # oldest_and_newest NAME FROM
    local version offered=() installed=()
    for ((version = $2; version < 31; version++)); do
        if is_installed "$1-$version"; then installed+=("$version"); fi
        if is_installed "$1-$version" || is_offered "$1-$version"; then offered+=("$version"); fi
    done
    [ "${#offered[@]}" != 0 ] || return 0
    printf '%s\n' "${installed[0]:-${offered[0]}}" "${offered[-1]}" | sort -nu
}

# The oldest clang from 16 on, the floor, that is here or else that is to be had; and the newest, whose refusals and
# warnings nobody has seen yet.
clang_packages() {
    local version found=no
    while read -r version; do
        echo "clang-$version" "libclang-rt-$version-dev"
        found=yes
    done < <(oldest_and_newest clang 16)
    [ "$found" = yes ] || echo clang-16
}

# Sets wanted to the packages that this run uses, and missing to those that are not here.
list_packages() {
    local package
    wanted=(g++ meson ninja-build python3 libboost-test-dev)
    $quick || wanted+=(shellcheck clang-format-16 universal-ctags doxygen pyflakes3 cmake pkg-config valgrind binutils
        g++-mingw-w64-x86-64-posix gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib
        wireguard-tools wireguard-go iproute2 iputils-ping nftables iperf3 tcpdump procps util-linux
        qemu-system-x86 busybox-static kmod cpio make qemu-system-arm qemu-system-misc qemu-user-static tshark
        gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf libipsec-mb-dev libssl-dev libsodium-dev libb2-dev
        liblwip-dev libuv1-dev libasio-dev libboost-dev dnsmasq-base redis-server wine64)
    $quick || mapfile -t -O "${#wanted[@]}" wanted < <(clang_packages | tr ' ' '\n')
    ! $full || mapfile -t -O "${#wanted[@]}" wanted < <(oldest_and_newest g++ 12 | sed 's/^/g++-/')
    ! $full || wanted+=(debootstrap clang-tidy-16 g++-aarch64-linux-gnu g++-arm-linux-gnueabihf
        g++-i686-linux-gnu g++-mips-linux-gnu g++-riscv64-linux-gnu g++-s390x-linux-gnu)
    missing=()
    for package in "${wanted[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
}

install_missing() {
    local wanted missing as_root=() offered=() package
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here: what is missing is not installed, and the tests that need it are skipped"
        return
    fi
    list_packages
    [ "${#missing[@]}" != 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "neither root nor sudo: not installed, and what needs them is skipped: ${missing[*]}"
            return
        fi
        as_root=(sudo)
        [ -t 0 ] || as_root+=(-n)
    fi
    echo "missing: ${missing[*]}; fetching the package lists"
    "${as_root[@]}" apt-get update -q || echo "apt-get update failed; going on with the lists that are here"
    list_packages # the lists may name a clang that was not known before
    for package in "${missing[@]}"; do
        if is_offered "$package"; then
            offered+=("$package")
        else
            echo "not in this distribution, so what needs it is skipped: $package"
        fi
    done
    [ "${#offered[@]}" != 0 ] || return 0
    echo "installing: ${offered[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${offered[@]}" ||
        echo "apt-get install failed; going on with what is here"
}

install_missing
for program in python3 meson ninja g++; do
    if ! command -v "$program" >/dev/null; then
        echo "test.sh: cannot build anything without $program" >&2
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    fi
done
exec python3 tests/run.py "$@"
