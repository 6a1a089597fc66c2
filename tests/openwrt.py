#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Tests the protocol handler of samples/openwrt under each POSIX shell of this machine, with doubles for parts of
OpenWrt. The doubles of UCI's functions read a configuration of the test. Those of netifd's functions, `wg`, `wgd`, `ip`
and `logger` record their calls, which the test compares."""
import os
import pathlib
import shlex
import shutil
import stat

from cases import ROOT, Failed, command, run_cases, temporary

FILES = ROOT / "samples" / "openwrt" / "files"
KEYS = [f"{letter * 42}E=" for letter in "ABCDE"]

# busybox's shell prefers programs of its own to those in PATH, but not to functions.
NOTING = r"""
note() { echo "$*" >>"$NOTES"; }
for name in ip logger; do eval "$name() { note $name \"\$@\"; }"; done
"""

# config_get and its like as /lib/functions.sh has them, over variables CONFIG_<section>_<option>.
STAND_INS = r"""
config_load() { note config_load "$@"; }
config_get() { eval "$1=\${CONFIG_$2_$3:-\${4:-}}"; }
config_get_bool() {
    local value
    eval "value=\${CONFIG_$2_$3:-\$4}"
    case $value in 1 | on | true | yes | enabled) value=1 ;; *) value=0 ;; esac
    eval "$1=\$value"
}
config_foreach() { local each; for each in $(eval "echo \$SECTIONS_$2"); do "$1" "$each"; done; }
config_list_foreach() { local each; for each in $(eval "echo \"\$CONFIG_$1_$2\""); do "$3" "$each"; done; }
for name in proto_config_add_string proto_config_add_int proto_notify_error proto_block_restart proto_init_update \
    proto_add_ipv4_address proto_add_ipv6_address proto_add_ipv4_route proto_add_ipv6_route proto_send_update \
    proto_add_host_dependency; do
    eval "$name() { note $name \"\$@\"; }"
done
"""

PROGRAMS = {
    "wgd": 'echo "wgd $*" >>"$NOTES"; [ -z "$WGD_FAILS" ] || { echo "no TUN here" >&2; exit 1; }',
    "wg": """echo "wg $1 $2" >>"$NOTES"
case $1 in
    setconf) stat -c %a "$3" >>"$NOTES"; cat "$3" >"$CONFIGURATION"
        [ -z "$SETCONF_FAILS" ] || { echo "line unrecognized" >&2; exit 1; } ;;
    show) printf '%s\\t192.0.2.1:51820\\n%s\\t[2001:db8::1]:51821\\n%s\\t(none)\\n' a b c ;;
esac""",
}


def shells():
    found = [[path] for name in ("dash",) if (path := shutil.which(name))]
    if busybox := shutil.which("busybox"):
        found.append([busybox, "sh"])
    return found or [["sh"]]


class Run:
    """One call of the handler: its calls of netifd's functions, and the file that it gave to wg."""

    def __init__(self, shell, call, configuration, **environment):
        with temporary() as there:
            there = pathlib.Path(there)
            for name, text in PROGRAMS.items():
                (there / name).write_text(f"#!/bin/sh\n{text}\n")
                (there / name).chmod(0o755)
            notes, given = there / "notes", there / "given"
            notes.touch()
            (there / "tmp").mkdir()
            script = (FILES / "wgd.sh").read_text().replace("/tmp/wgd.XXXXXX", f"{there}/tmp/wgd.XXXXXX")
            script = script.replace("/usr/sbin/wgd", f"{there}/wgd").replace("/usr/bin/wg", f"{there}/wg")
            (there / "run.sh").write_text(f"{NOTING}\n{STAND_INS}\n{configuration}\nINCLUDE_ONLY=1\n{script}\n{call}\n"
                                          "note status $?\n")
            command(*shell, there / "run.sh", env={
                "PATH": f"{there}:{os.environ['PATH']}", "NOTES": str(notes), "CONFIGURATION": str(given),
                "WGD_FAILS": "", "SETCONF_FAILS": "", **environment})
            self.notes = notes.read_text().splitlines()
            self.given = given.read_text() if given.exists() else None
            self.left = [path.name for path in (there / "tmp").iterdir()]


def configuration(interface, *peers):
    """The configuration as variables of UCI. The interface and each peer are dictionaries of options; blanks separate
    lists."""
    lines = [f"SECTIONS_wireguard_wg0={shlex.quote(' '.join(f'peer{n}' for n in range(len(peers))))}"]
    for section, options in [("wg0", interface)] + [(f"peer{n}", peer) for n, peer in enumerate(peers)]:
        for option, value in options.items():
            value = " ".join(value) if isinstance(value, list) else value
            lines.append(f"CONFIG_{section}_{option}={shlex.quote(value)}")
    return "\n".join(lines)


def same(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}:\n  got    {got!r}\n  wanted {wanted!r}")


def everything(shell):
    r = Run(shell, "proto_wgd_setup wg0", configuration(
        {"private_key": KEYS[0], "listen_port": "51820", "mtu": "1400", "fwmark": "0xca6c",
         "addresses": ["10.9.0.1/24", "10.9.1.1", "fd09::1/64", "fd09::9"]},
        {"description": "laptop", "public_key": KEYS[1], "preshared_key": KEYS[2],
         "allowed_ips": ["10.9.0.2/32", "fd09::2"], "route_allowed_ips": "1", "endpoint_host": "vpn.example.org",
         "endpoint_port": "51821", "persistent_keepalive": "25"},
        {"public_key": KEYS[3], "allowed_ips": ["10.9.2.0/24"], "endpoint_host": "2001:db8::7"},
        {"public_key": "not looked at", "disabled": "1"}))
    same(r.given, f"[Interface]\nPrivateKey={KEYS[0]}\nListenPort=51820\nFwMark=0xca6c\n\n[Peer]\nPublicKey={KEYS[1]}\n"
         f"PresharedKey={KEYS[2]}\nAllowedIPs=10.9.0.2/32\nAllowedIPs=fd09::2\nEndpoint=vpn.example.org:51821\n"
         f"PersistentKeepalive=25\n\n[Peer]\nPublicKey={KEYS[3]}\nAllowedIPs=10.9.2.0/24\n"
         "Endpoint=[2001:db8::7]:51820\n", "the configuration")
    same(r.notes, ["config_load network", "ip link del dev wg0", "wgd wg0", "wg setconf wg0", "600",
                   "ip link set mtu 1400 dev wg0", "ip link set up dev wg0", "proto_init_update wg0 1",
                   "proto_add_ipv4_address 10.9.0.1 24", "proto_add_ipv4_address 10.9.1.1 32",
                   "proto_add_ipv6_address fd09::1 64", "proto_add_ipv6_address fd09::9 128",
                   "proto_add_ipv4_route 10.9.0.2 32", "proto_add_ipv6_route fd09::2 128", "wg show wg0",
                   "proto_add_host_dependency wg0 192.0.2.1", "proto_add_host_dependency wg0 2001:db8::1",
                   "proto_send_update wg0", "status 0"], "the calls")
    same(r.left, [], "files that are left")


def little(shell):
    r = Run(shell, "proto_wgd_setup wg0", configuration({"private_key": KEYS[0], "nohostroute": "1"}))
    same(r.given, f"[Interface]\nPrivateKey={KEYS[0]}\n", "the configuration")
    same(r.notes, ["config_load network", "ip link del dev wg0", "wgd wg0", "wg setconf wg0", "600",
                   "ip link set up dev wg0", "proto_init_update wg0 1", "proto_send_update wg0", "status 0"],
         "the calls")


GOOD, PEER = {"private_key": KEYS[0]}, {"public_key": KEYS[1], "allowed_ips": ["10.9.0.2/32"]}
BAD = {  # name: (interface, peer, code, text in the log)
    "no private key": ({}, PEER, "INVALID_PRIVATE_KEY", "private_key"),
    "a private key that is too short": ({"private_key": KEYS[0][1:]}, PEER, "INVALID_PRIVATE_KEY", "private_key"),
    "a private key in two lines": ({"private_key": KEYS[0][:20] + "\n" + KEYS[0][21:]}, PEER, "INVALID_PRIVATE_KEY",
                                   "private_key"),
    "a port": ({**GOOD, "listen_port": "65536"}, PEER, "INVALID_LISTEN_PORT", "65536"),
    "a mark": ({**GOOD, "fwmark": "1 2"}, PEER, "INVALID_FWMARK", "1 2"),
    "an MTU": ({**GOOD, "mtu": "large"}, PEER, "INVALID_MTU", "large"),
    "a peer without a key": (GOOD, {"description": "laptop"}, "INVALID_PUBLIC_KEY", "laptop"),
    "a preshared key": (GOOD, {**PEER, "preshared_key": "secret"}, "INVALID_PRESHARED_KEY", "preshared_key"),
    "an allowed IP": (GOOD, {**PEER, "allowed_ips": ["10.9.0.2/32", "x;y"]}, "INVALID_ALLOWED_IP", "x;y"),
    "an endpoint": (GOOD, {**PEER, "endpoint_host": "a b"}, "INVALID_ENDPOINT", "a b"),
    "an endpoint's port": (GOOD, {**PEER, "endpoint_host": "a", "endpoint_port": "0"}, "INVALID_ENDPOINT", "0"),
    "a keepalive": (GOOD, {**PEER, "persistent_keepalive": "-1"}, "INVALID_KEEPALIVE", "-1"),
}


def refused(shell, interface, peer, code, named):
    r = Run(shell, "proto_wgd_setup wg0", configuration(interface, peer, {**PEER, "public_key": KEYS[4]}))
    said = [note for note in r.notes if note.startswith("logger")]
    same(len(said), 1, f"lines in the log ({r.notes})")
    if named not in said[0] or "secret" in said[0]:
        raise Failed(f"the log says {said[0]!r}")
    rest = [note for note in r.notes if not note.startswith("logger")]
    same(rest, ["config_load network", f"proto_notify_error wg0 {code}", "proto_block_restart wg0", "status 1"],
         "the calls")
    same(r.left, [], "files that are left")


def failing(shell, variable, said, code, calls):
    r = Run(shell, "proto_wgd_setup wg0", configuration(GOOD, PEER), **{variable: "1"})
    same(r.notes, ["config_load network", "ip link del dev wg0", "wgd wg0", *calls, f"logger -t wgd wg0: {said}",
                   f"proto_notify_error wg0 {code}", "proto_block_restart wg0", "status 1"], "the calls")
    same(r.left, [], "files that are left")


def ends(shell):
    same(Run(shell, "proto_wgd_teardown wg0", "").notes, ["ip link del dev wg0", "status 0"], "the calls")


def announces(shell):
    r = Run(shell, "proto_wgd_init_config; note $available $no_proto_task", "")
    same(r.notes[-2:], ["1 1", "status 0"], "the variables")
    same(sorted(note.split()[1] for note in r.notes[:-2]), ["fwmark", "listen_port", "mtu", "private_key"], "options")


def starts(shell):
    """The init script brings one configuration file up. It takes another one down again, because wg refuses it."""
    with temporary() as there:
        there = pathlib.Path(there)
        for name, text in PROGRAMS.items():
            (there / name).write_text(f"#!/bin/sh\n{text}\n")
            (there / name).chmod(0o755)
        (there / "wg0.conf").write_text("[Interface]\n")
        script = (FILES / "wgd.init").read_text().replace("/usr/sbin/wgd", f"{there}/wgd")
        script = script.replace("/usr/bin/wg", f"{there}/wg").replace("/etc/wireguard", str(there))
        environment = {"PATH": f"{there}:{os.environ['PATH']}", "NOTES": str(there / "notes"),
                       "CONFIGURATION": str(there / "given"), "WGD_FAILS": "", "SETCONF_FAILS": ""}
        mode = format(stat.S_IMODE((there / "wg0.conf").stat().st_mode), "o")
        for fails, wanted in ("", ["ip link set up dev wg0"]), ("1", ["logger -t wgd wg0: line unrecognized",
                                                                     "ip link del dev wg0"]):
            (there / "notes").write_text("")
            command(*shell, "-c", f"{NOTING}\n{script}\nstart", env={**environment, "SETCONF_FAILS": fails})
            same((there / "notes").read_text().splitlines(), ["wgd wg0", "wg setconf wg0", mode, *wanted], "start")
        (there / "notes").write_text("")
        command(*shell, "-c", f"{NOTING}\n{script}\nstop", env=environment)
        same((there / "notes").read_text().splitlines(), ["ip link del dev wg0"], "stop")


cases = []
for one in shells():
    name = pathlib.Path(one[0]).name
    cases += [(f"every option, {name}", lambda s=one: everything(s)),
              (f"as little as possible, {name}", lambda s=one: little(s)),
              (f"teardown, {name}", lambda s=one: ends(s)),
              (f"options are announced, {name}", lambda s=one: announces(s)),
              (f"a daemon that does not start, {name}",
               lambda s=one: failing(s, "WGD_FAILS", "no TUN here", "DAEMON_FAILED", [])),
              (f"a configuration that wg refuses, {name}",
               lambda s=one: failing(s, "SETCONF_FAILS", "line unrecognized", "CONFIGURATION_FAILED",
                                     ["wg setconf wg0", "600", "ip link del dev wg0"])),
              (f"the init script, {name}", lambda s=one: starts(s))]
    cases += [(f"refuses {what}, {name}", lambda s=one, b=bad: refused(s, *b)) for what, bad in BAD.items()]
run_cases(cases)
