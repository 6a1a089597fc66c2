#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""tshark reads what the observers write: it decrypts the messages outside the tunnel with the key log, and finds the
same packets inside. Needs the program of capture.cpp in the environment variable CAPTURE."""
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cases import Failed, command, need, run_cases  # noqa: E402

TEXTS = "interface", "direction", "type", "opened", "protocols", "data", "comment", "checksum"
FIELDS = ("frame.interface_name", "frame.packet_flags_direction", "wg.type", "wg.handshake_ok", "frame.protocols",
          "data.data", "frame.comment", "udp.checksum.status")
INBOUND, OUTBOUND = 1, 2


def check(holds, what):
    if not holds:
        raise Failed(what)


class Packet:
    def __init__(self, line):
        for name, value in zip(TEXTS, line.split("|")):
            setattr(self, name, value)
        self.direction = int(self.direction, 0)
        self.data = bytes.fromhex(self.data.replace(":", "")).decode()


def captured(folder, family, keys=True):
    """The packets of a new capture, as tshark reads them."""
    files = [f"{folder}/capture.pcapng", f"{folder}/keys"]
    said = command(os.environ["CAPTURE"], *files, family)
    check(said.split() == ["3", "2"], f"3 packets came to A and 2 to B: {said}")
    for file in files:
        check(stat.S_IMODE(os.stat(file).st_mode) == 0o600, f"only the owner may read {file}")
    options = ["-o", f"wg.keylog_file:{files[1]}"] if keys else []
    for field in FIELDS:
        options += ["-e", field]
    read = subprocess.run(["tshark", "-r", files[0], "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E",
                           "separator=|", *options], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(read.returncode == 0, f"tshark: {read.stderr}")
    return [Packet(line) for line in read.stdout.splitlines()]


def reads_everything(folder, family):
    packets = captured(folder, family)
    outer = [p for p in packets if p.interface == "outer"]
    inner = [p for p in packets if p.interface == "inner"]
    check(len(outer) + len(inner) == len(packets), "each packet has one of two interfaces")
    # A began the first session, B the second one. The damaged message and keepalives have no packet.
    handshakes = [(p.type, p.direction) for p in outer if p.type in "12"]
    check(handshakes == [("1", OUTBOUND), ("2", INBOUND), ("1", INBOUND), ("2", OUTBOUND)], str(handshakes))
    check(all(p.opened == "1" for p in outer if p.type == "2"), "tshark completes both handshakes")
    decrypted = [(p.data, p.direction) for p in outer if "wg:ip:udp" in p.protocols]
    check(decrypted == [("question", OUTBOUND), ("more", OUTBOUND), ("answer", INBOUND), ("forged source", INBOUND),
                        ("as initiator", INBOUND)], str(decrypted))
    seen = [(p.data, p.direction, p.comment.partition(", ")[2] or p.comment) for p in inner]
    known = next(p.comment for p in outer if p.direction == OUTBOUND)
    check(known.startswith("peer ") and len(known) == 13, known)
    check(seen == [("question", OUTBOUND, "waits for a session"), ("more", OUTBOUND, known), ("answer", INBOUND, known),
                   ("nobody", INBOUND, "dropped: no peer has an allowed IP for this destination"),
                   ("forged source", INBOUND, "dropped: the source address is not the sender's by allowed IPs"),
                   ("as initiator", INBOUND, known)], str(seen))
    damaged = [p for p in outer if "tag is wrong" in p.comment]
    check(len(damaged) == 1 and damaged[0].comment.startswith(known), "the damaged message is seen once more")
    bad = [p.comment for p in packets if p.checksum.startswith("0")]
    check(not bad, f"wrong UDP checksums: {bad}")


def reads_a_tunnel_over_ipv4(folder):
    reads_everything(folder, "4")


def reads_a_tunnel_over_ipv6(folder):
    reads_everything(folder, "6")


def without_the_keys_only_the_inner_packets_are_read(folder):
    packets = captured(folder, "4", keys=False)
    check(not [p for p in packets if p.interface == "outer" and p.data], "messages are encrypted")
    check([p for p in packets if p.interface == "inner" and p.data == "question"], "packets are in clear")


def case(test):
    def run():
        need("tshark")
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
    return test.__name__, run


run_cases(map(case, (reads_a_tunnel_over_ipv4, reads_a_tunnel_over_ipv6,
                     without_the_keys_only_the_inner_packets_are_read)))
