#!/usr/bin/env bash
# SPDX-License-Identifier: BSL-1.0
#
# demo.sh: builds wgd and shows a tunnel between two of them, on this machine alone. It asks no questions. It changes
# only installed packages and the folder build-demo, and removes everything else, however it ends.
#
#   ./demo.sh              Debian 12 or newer, Ubuntu 24.04 or newer; as root or by sudo
#   WGD=/path ./demo.sh    shows another WireGuard daemon, and builds nothing
set -euo pipefail
[ -z "${WGD:-}" ] || WGD=$(readlink -f "$WGD")
cd "$(dirname "$(readlink -f "$0")")"
build='build-demo'
self=$PWD/demo.sh
child=
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

say() { printf '\n== %s\n' "$*"; }
die() { printf 'demo.sh: %s\n' "$*" >&2; exit 1; }

# --- the machine: missing packages, and rights

can_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo && { sudo -n true || { [ -t 0 ] && sudo true; }; }; }
} >/dev/null 2>&1

# missing PROGRAM:PACKAGE...: print the packages of the programs that are not installed.
missing() {
    local pair
    for pair; do command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"; done
}

install_packages() { # install_packages PURPOSE PACKAGE...
    local purpose=$1
    shift
    [ $# -gt 0 ] || return 0
    say "Installing missing packages $purpose: $*"
    command -v apt-get >/dev/null || die "please install these packages (this is no Debian or Ubuntu): $*"
    can_be_root || die "please install, as root: apt-get install $*"
    "${sudo[@]}" apt-get -qq update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "$@" >/dev/null
}

# --- building

built=no

build_sample() { # build_sample NAME
    local packages=()
    mapfile -t packages < <(missing "${CXX:-g++}:g++" meson:meson ninja:ninja-build)
    install_packages 'to build' "${packages[@]}"
    if [ -z "${CXX:-}" ]; then
        [ "$(g++ -dumpversion | cut -d. -f1)" -ge 12 ] ||
            die "g++ $(g++ -dumpversion) is too old: 12 or newer is needed"
    fi
    say "Building $1 (in $build, release)"
    if [ ! -e "$build/build.ninja" ]; then
        built=half
        meson setup "$build" --buildtype=release -Dtests=disabled -Dsamples=enabled >"$build.log" 2>&1 ||
            { cat "$build.log"; rm -f "$build.log"; die "meson did not accept this machine"; }
        rm -f "$build.log"
    fi
    ninja -C "$build" "samples/$1" || die "$1 does not build"
    built=yes
}

# --- the demonstration, inside private namespaces: process, network and mount. They vanish with the last process.

alice() { ip netns exec alice "$@"; }
bob() { ip netns exec bob "$@"; }

until_true() { # until_true SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

listens() { [ -n "$(bob ss -Hltn 'sport = 5201')" ]; }

host() { # host NAME NUMBER: a machine, its end of the cable, its daemon
    local name=$1 n=$2
    ip -n "$name" link set lo up
    ip -n "$name" addr add "192.0.2.$n/24" dev cable
    ip -n "$name" link set cable up
    wg genkey >"/run/$name.key"
    wg pubkey <"/run/$name.key" >"/run/$name.pub"
    ip netns exec "$name" env WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1 "$WGD" "wg-$name"
    ip -n "$name" addr add "10.9.0.$n/24" dev "wg-$name"
    ip -n "$name" -6 addr add "fd09::$n/64" dev "wg-$name" nodad
    ip -n "$name" link set "wg-$name" up
}

peer() { # peer NAME OTHER OTHERS_NUMBER
    ip netns exec "$1" wg set "wg-$1" private-key "/run/$1.key" listen-port 51820 \
        peer "$(cat "/run/$2.pub")" endpoint "192.0.2.$3:51820" allowed-ips "10.9.0.$3/32,fd09::$3/128"
}

tunnel() {
    umask 077
    mount -t tmpfs none /run
    mkdir /run/wireguard
    say 'Two machines, alice and bob (network namespaces), and a cable between them (a veth pair)'
    ip netns add alice
    ip netns add bob
    ip -n alice link add cable type veth peer name cable netns bob
    say 'Each machine starts its own wgd, makes a key pair, and gets the public key of the other machine'
    host alice 1
    host bob 2
    peer alice bob 2
    peer bob alice 1

    say 'Alice pings bob through the tunnel, IPv4 and IPv6'
    alice ping -c 3 -i 0.2 -W 5 10.9.0.2
    alice ping -c 3 -i 0.2 -W 5 fd09::2

    say 'The output of wg(8) on alice: look for the latest handshake'
    alice wg show wg-alice | tee /run/shown
    grep -q 'latest handshake' /run/shown || die 'there was no handshake'

    say 'TCP through the tunnel for three seconds (iperf3)'
    bob iperf3 -s -1 >/dev/null &
    until_true 5 listens || die 'iperf3 does not listen'
    alice iperf3 -c 10.9.0.2 -t 3 -f m >/run/iperf || { cat /run/iperf; die 'TCP did not get through'; }
    local speed
    speed=$(awk '/receiver/ {print $7, $8}' /run/iperf)
    echo "$speed"

    cat <<EOF

------------------------------------------------------------------------------------------------------------------------
It works. You saw two machines with a private, encrypted network between them:

  alice  10.9.0.1, fd09::1  ---- WireGuard over 192.0.2.1 - 192.0.2.2, UDP port 51820 ----  bob  10.9.0.2, fd09::2

  daemon      $WGD, one on each machine, without the kernel's WireGuard
  handshake   done with keys that were made a moment ago and are deleted now
  ping        answered over IPv4 and over IPv6
  TCP         $speed on this machine, encrypted and decrypted here, both ends sharing its processors

Machines, cable, tunnel and keys are removed again.${kept:+ $kept}
Next: README.md shows how to use wgd with wg and wg-quick, and how to put WireGuard into a program of your own.
------------------------------------------------------------------------------------------------------------------------
EOF
}

in_memory() { # in_memory REASON
    say "No tunnel on this machine: $1"
    echo "   Instead: two WireGuard devices in one process, which exchange their messages in memory."
    build_sample two_hosts
    "$build/samples/two_hosts"
    cat <<EOF

------------------------------------------------------------------------------------------------------------------------
It works. You saw a complete WireGuard handshake and encrypted packets, message by message, without any network.
For real interfaces, run this as root on a machine with /dev/net/tun. The reason why that was not possible now:
  $1
------------------------------------------------------------------------------------------------------------------------
EOF
}

# why_no_tunnel: print the reason, or nothing if there can be a tunnel.
why_no_tunnel() {
    [ "$(uname -s)" = Linux ] || { echo 'this is not Linux'; return; }
    can_be_root || { echo 'you are not root, and sudo cannot be used'; return; }
    [ -c /dev/net/tun ] || { echo 'there is no /dev/net/tun'; return; }
    "${sudo[@]}" unshare --net --mount --pid --fork \
        sh -c 'mount -t tmpfs none /run && ip tuntap add mode tun probe0' 2>&1 ||
        echo '(network namespaces with a TUN device)'
}

# as_root WGD KEPT: keeps the namespaces; runs as root. TERM kills unshare and all processes in the namespaces.
as_root() {
    WGD=$1 kept=$2 setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child=KILL --mount-proc -- \
        bash "$self" --inside &
    child=$!
    trap 'kill -KILL "$child"; wait "$child"; exit 143' TERM HUP
    wait "$child"
}

# stop: removes everything, whatever ended this script.
stop() {
    trap - INT TERM HUP EXIT
    if [ -n "$child" ]; then
        "${sudo[@]}" kill -TERM "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    [ "$built" != half ] || rm -rf "$build"
    rm -f "$build.log"
}

case ${1:-} in
    --inside) tunnel; exit ;;
    --as-root) as_root "$2" "$3"; exit ;;
    '') ;;
    *) sed -n '4,8s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] || exit 1; exit 0 ;;
esac

trap stop EXIT
trap 'stop; exit 143' TERM HUP
trap 'stop; exit 130' INT

mapfile -t packages < <(missing ip:iproute2 ping:iputils-ping)
if can_be_root; then install_packages 'for the network' "${packages[@]}"; fi
reason=$(why_no_tunnel | paste -sd ' ')
if [ -n "$reason" ]; then
    in_memory "$reason"
    exit 0
fi
mapfile -t packages < <(missing wg:wireguard-tools iperf3:iperf3)
install_packages 'for the demonstration' "${packages[@]}"
if [ -n "${WGD:-}" ]; then
    kept=
else
    build_sample wgd
    WGD=$PWD/$build/samples/wgd
    kept="wgd stays in $build/samples/wgd."
fi
[ -x "$WGD" ] || die "no program at $WGD"
"${sudo[@]}" bash "$self" --as-root "$WGD" "$kept" &
child=$!
status=0
wait "$child" || status=$?
child=
[ "$status" = 0 ] || die "the demonstration failed (status $status); the lines above say where"
