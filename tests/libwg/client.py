#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""A program that uses a tunnel through samples/python/wg.py, for tests/system/libwg.py.

    client.py FILE WHAT [ARGUMENT]...

Prints what it got, or raises. The environment variable WG_LIBRARY names libwg.so."""
import ctypes
import hashlib
import os
import pathlib
import random
import resource
import select
import socket
import sys
import threading
import time

for folder in pathlib.Path(__file__).parent, pathlib.Path(__file__).parents[2] / "samples" / "python":
    if (folder / "wg.py").exists():
        sys.path.insert(0, str(folder))
import wg  # noqa: E402


def expect(got, wanted, what):
    if got != wanted:
        raise SystemExit(f"{what}: got {got!r}, wanted {wanted!r}")


def fails_with(status, call, *arguments):
    try:
        call(*arguments)
    except wg.Error as e:
        return expect(e.status, status, "status")
    raise SystemExit(f"{status} did not come")


def receive(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def echo(tunnel, *places):
    """Sends texts to echo servers, which end their side after ours has ended."""
    for place in places:
        with tunnel.dial(place, 10) as s:
            s.sendall(b"hello")
            expect(receive(s, 5), b"hello", "echo")
            expect(tunnel.state(s), "open", "state")
            host, _, port = place.rpartition(":")
            expect(tunnel.addresses(s)[1], (host.strip("[]"), int(port)), "the other end")
            s.shutdown(socket.SHUT_WR)
            expect(s.recv(1), b"", "the end")
            expect(tunnel.state(s), "ended", "state")


def transfer(tunnel, place, megabytes):
    """Both directions at once; each end sends the digest of what it got as its last 32 bytes."""
    blob, count = random.randbytes(1 << 20), int(megabytes)
    sent, got = hashlib.sha256(), hashlib.sha256()
    start = time.monotonic()
    with tunnel.dial(place, 10) as s:
        def send():
            for _ in range(count):
                s.sendall(blob)
                sent.update(blob)
            s.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        total, last = 0, b""
        while data := s.recv(1 << 18):
            total += len(data)
            last += data
            got.update(last[:-64])
            last = last[-64:]
        sender.join()
        expect(total, (count << 20) + 64, "bytes")
        expect(last[:32], got.digest(), "digest of what came")
        expect(last[32:], sent.digest(), "digest of what was sent")
    print(f"{2 * total * 8 / 1e6 / (time.monotonic() - start):.0f} Mbit/s in both directions together")


def refusals(tunnel, closed, silent):
    fails_with("refused", tunnel.dial, closed, 10)
    start = time.monotonic()
    fails_with("timed_out", tunnel.dial, silent, 0.3)
    expect(time.monotonic() - start >= 0.3, True, "time until timed_out")
    fails_with("timed_out", tunnel.ping, silent.partition(":")[0], 0.2)
    fails_with("invalid", tunnel.dial, "nothing", 1)


def reset(tunnel, place):
    """The server resets the connection after the first byte."""
    with tunnel.dial(place, 10) as s:
        s.sendall(b"x")
        try:
            s.recv(100)
        except ConnectionResetError:
            return expect(tunnel.state(s), "reset", "state")
    raise SystemExit("no reset")


def leave(tunnel, place):
    """Closes a connection from which data comes, and then the tunnel while data comes."""
    s = tunnel.dial(place, 10)
    expect(len(receive(s, 1 << 20)), 1 << 20, "bytes")
    s.close()
    s = tunnel.dial(place, 10)
    expect(len(receive(s, 1 << 20)), 1 << 20, "bytes")
    tunnel.close()
    try:
        while s.recv(1 << 16):
            pass
    except ConnectionResetError:
        return
    raise SystemExit("the end of the tunnel looked like the end of the data")


def connections(tunnel, place, count):
    """Many connections at once. Prints the seconds to open them, waits for a line, uses each, and prints `done`."""
    count = int(count)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    start, before = time.monotonic(), resource_kib()
    opened = [tunnel.dial(place, 30) for _ in range(count)]
    print(f"{count} connections in {time.monotonic() - start:.1f} s, "
          f"{(resource_kib() - before) / count:.1f} KiB each", flush=True)
    sys.stdin.readline()
    for n, s in enumerate(opened):
        s.sendall(n.to_bytes(4, "big"))
    for n, s in enumerate(opened):
        expect(receive(s, 4), n.to_bytes(4, "big"), "echo")
    for s in opened:
        s.close()
    print("done", flush=True)


def resource_kib():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def serve(tunnel, count):
    """Accepts connections by select, and echoes each until its end."""
    with tunnel.listen(7) as port:
        print("listening", flush=True)
        for _ in range(int(count)):
            expect(bool(select.select([port], [], [], 20)[0]), True, "the listener is readable")
            s, remote = port.accept(0)
            with s:
                while data := s.recv(65536):
                    s.sendall(data)
            print(remote[0], flush=True)


def datagrams(tunnel, place):
    with tunnel.udp(5353) as u, tunnel.udp_dial(place, 10) as connected:
        host, _, port = place.rpartition(":")
        u.settimeout(10)
        connected.settimeout(10)
        for size in 0, 1, 500, 1372:
            data = random.randbytes(size)
            u.sendto(data, (host, int(port)))
            expect(u.recvfrom(), (data, (host, int(port))), "echo of a datagram")
            connected.send(data)
            expect(connected.recv(2000), data, "echo of a datagram")


def redis(tunnel, place):
    """Redis by its protocol (RESP), and by hiredis, if its library is installed."""
    with tunnel.dial(place, 10) as s:
        value = random.randbytes(1 << 20)
        s.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%d\r\n%s\r\n" % (len(value), value))
        expect(receive(s, 5), b"+OK\r\n", "SET")
        s.sendall(b"GET key\r\n" * 3)
        answer = b"$%d\r\n%s\r\n" % (len(value), value)
        expect(receive(s, 3 * len(answer)), 3 * answer, "GET")
    names = ["libhiredis.so.1.1.0", "libhiredis.so.0.14"]
    library = next((found for found in map(loaded, names) if found), None)
    if not library:
        return print("without hiredis")

    class Reply(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("integer", ctypes.c_longlong)]
    library.redisConnectFd.restype = ctypes.c_void_p
    library.redisCommand.restype = ctypes.POINTER(Reply)
    library.redisCommand.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.redisFree.argtypes = [ctypes.c_void_p]
    context = library.redisConnectFd(tunnel.dial(place, 10).detach())
    for n in range(100):
        reply = library.redisCommand(context, b"INCR counter")
        expect((bool(reply), reply and reply.contents.integer), (True, n + 1), "INCR")
    library.redisFree(context)  # closes the descriptor
    print("with hiredis")


def loaded(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def rights(tunnel, *_):
    """This process has no rights that a tunnel could use."""
    with open("/proc/self/status") as f:
        capabilities = [line.split()[1] for line in f if line.startswith("Cap")]
    expect(set(capabilities), {"0" * 16}, "capabilities")
    expect(os.getuid() != 0, True, "user")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError:
        return
    raise SystemExit("/dev/net/tun can be opened")


if __name__ == "__main__":
    events = []
    opened_tunnel = wg.Tunnel(sys.argv[1], on_event=lambda kind, key: events.append((kind, key)))
    globals()[sys.argv[2]](opened_tunnel, *sys.argv[3:])
    opened_tunnel.close()
