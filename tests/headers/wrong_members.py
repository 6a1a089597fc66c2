#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""A policy with an optional member of a wrong signature does not compile, and the error names the right signature. A
bundle of named policies does not compile with a wrong name, with a policy twice or with a type that is no model.

The wrong policies are at the end of tests/archetypes.hpp.
"""
import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import FREESTANDING, ROOT, Failed, command, compilers, run_cases  # noqa: E402

CHECKS = {  # {check of policy/check.hpp: {wrong policy: text of the error}}
    "check_hash_backend": {"wrong_blake2s_batch": "hash_backend: not `void blake2s_batch(",
                           "wrong_hmac_blake2s": "hash_backend: not `void hmac_blake2s("},
    "check_dh_backend": {"wrong_dh_batch": "dh_backend: not `void dh_batch("},
    "check_aead_backend": {"wrong_seal_batch": "aead_backend: not both of `void seal_batch(",
                           "wrong_open_batch": "aead_backend: not both of `void seal_batch(",
                           "wrong_run": "aead_backend: not `bool run("},
    "check_tun_device": {"wrong_settle": "tun_device: not `void settle()",
                         "wrong_tun_share": "tun_device: not `result<Tun> share()",
                         "wrong_has_more_for_others": "tun_device: not `bool has_more_for_others()",
                         "wrong_sparse_packets": "tun_device: not `std::uint32_t sparse_packets()",
                         "wrong_longest_cut": "tun_device: not `std::size_t longest_cut()"},
    "check_udp_socket": {"wrong_set_fwmark": "udp_socket: not `status set_fwmark(",
                         "wrong_socket_share": "udp_socket: not `bool share(",
                         "wrong_receive_handshakes": "udp_socket: not all of `result<std::size_t> receive_handshakes(",
                         "wrong_note_received": "udp_socket: not all of `result<std::size_t> receive_handshakes(",
                         "wrong_note_authentic": "udp_socket: not all of `result<std::size_t> receive_handshakes(",
                         "wrong_separate_handshakes": "udp_socket: not `void separate_handshakes()",
                         "wrong_handshakes_ready": "udp_socket: not `bool handshakes_ready()",
                         "wrong_send_headroom": "udp_socket: not both of `static constexpr std::size_t send_headroom`"},
    "check_waiter": {"wrong_busy_poll": "waiter: not `readiness wait(instant deadline, duration busy_poll)"},
    "check_threads": {"wrong_cell": "threads: not a type `cell`", "wrong_thread": "threads: not a type `thread`",
                      "wrong_give_way": "threads: not `static void give_way()"},
    "check_observer": {"wrong_event": "observer: not `void event(", "wrong_packet": "observer: not `void packet(",
                       "wrong_handshake": "observer: not `void handshake("},
}
BUNDLES = {  # {instantiated class: (members of the bundle, text of the error)}
    "device": ("using dh = archetypes::wrong_dh_batch;", "dh_backend: not `void dh_batch("),
    "device with a ratchet": ("using ratchet_storage = archetypes::hash;", "ratchet_storage: not all of `bool load("),
    "engine": ("using tun_device = archetypes::wrong_settle;", "tun_device: not `void settle()"),
    "engine of a socket": ("using udp_socket = archetypes::wrong_keep_out_of;", "udp_socket: not `void keep_out_of("),
}
NAMED = {  # {arguments of wg::with_base after the base: text of an error}
    "wg::use_random<archetypes::random>": "use_random",
    "archetypes::random": "wg::with takes wg::use_hash and other wg::use_ types",
    "wg::use_hash<archetypes::hash>, wg::use_hash<archetypes::hash>":
        "wg::with got two types for one policy",
    "wg::use_clock_source<archetypes::hash>": "constraint",
}


def errors(compiler, source):
    """Returns the errors of a source that must not compile."""
    unlimited = ["-ferror-limit=0"] if "clang" in compiler else []
    try:
        command(compiler, "-std=c++20", *FREESTANDING, "-fsyntax-only", *unlimited, "-I", ROOT / "include",
                "-x", "c++", "-", source=f'#include "{ROOT}/tests/archetypes.hpp"\n{source}')
    except Failed as refused:
        return [line for line in str(refused).splitlines() if " error: " in line]
    raise Failed("it compiled")


def refuses(compiler, source, expected):
    """Fails unless the source gives exactly these errors."""
    found = errors(compiler, source)
    for text, count in collections.Counter(expected).items():
        if sum(text in line for line in found) != count:
            raise Failed(f"expected {count} errors with {text!r}, got:\n" + "\n".join(found))
    if len(found) != len(expected):
        raise Failed(f"expected {len(expected)} errors, got:\n" + "\n".join(found))


def policies(compiler):
    """Checks all wrong policies in one translation unit: half a second instead of a minute."""
    wrong = [(f"template struct wg::{check}<archetypes::{name}>;\n", expected)
             for check, wrongs in CHECKS.items() for name, expected in wrongs.items()]
    refuses(compiler, "".join(line for line, _ in wrong), [expected for _, expected in wrong])


def bundle(compiler, what, members, expected):
    what = what.partition(" ")[0]
    refuses(compiler, f'#include "wg/{what}/{what}.hpp"\nstruct wrong : archetypes::engine_bundle {{ {members} }};\n'
            f"static_assert(sizeof(wg::{what}<wrong>) != 0);\n", [expected])


def named(compiler, uses, expected):
    found = errors(compiler, '#include "wg/policy/with.hpp"\nstatic_assert(sizeof(wg::with_base<'
                   f"archetypes::engine_bundle, {uses}>) != 0);\n")
    if not any(expected in line for line in found):
        raise Failed(f"expected an error with {expected!r}, got:\n" + "\n".join(found))


run_cases([(f"policies with wrong members do not compile, {c}", lambda c=c: policies(c)) for c in compilers()] +
          [(f"a bundle of {what} with a wrong member does not compile, {c}",
            lambda c=c, w=what, m=members, e=expected: bundle(c, w, m, e))
           for c in compilers() for what, (members, expected) in BUNDLES.items()] +
          [(f"a bundle with {uses} does not compile, {c}", lambda c=c, u=uses, e=expected: named(c, u, e))
           for c in compilers() for uses, expected in NAMED.items()])
