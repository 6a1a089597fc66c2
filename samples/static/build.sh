#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Builds the daemon as one small static file, with musl, for another processor: build.sh TARGET FILE
# TARGET is a name of zig's: mips-linux-musleabi (big-endian), mipsel-linux-musleabi, arm-linux-musleabihf,
# aarch64-linux-musl, riscv64-linux-musl, x86_64-linux-musl. The compiler is the clang inside $ZIG (default: zig), which
# has musl and headers for all of them.
set -eu
if [ $# != 2 ]; then
    sed -n '3,6s/^# //p' "$0" >&2
    exit 2
fi
target=$1
here=$(dirname "$0")
zig=${ZIG:-zig}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT INT TERM

# WG_SMALL: compact cryptography without tables. No C++ library is linked: runtime.cpp has the functions that are used.
for source in "$here/../wgd.cpp" "$here/runtime.cpp"; do
    "$zig" c++ -target "$target" -std=c++20 -Oz -flto -DNDEBUG -DWG_SMALL -ffunction-sections -fdata-sections \
        -fno-exceptions -fno-rtti -fno-unwind-tables -fno-asynchronous-unwind-tables -fno-threadsafe-statics \
        -I "$here/../../include" -c "$source" -o "$objects/$(basename "$source").o"
done
"$zig" cc -target "$target" -Oz -flto -static -s -Wl,--gc-sections -Wl,-T,"$here/discard.ld" "$objects"/*.o -o "$2"
