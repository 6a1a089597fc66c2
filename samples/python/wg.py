# SPDX-License-Identifier: BSL-1.0
"""Connections through WireGuard for Python: no root rights, no TUN device, no build step. Wraps libwg by ctypes.

    with wg.Tunnel("office.conf") as tunnel:
        with tunnel.dial("db.office.internal:5432", timeout=5) as s:     # a socket.socket
            s.sendall(b"hello")
            print(s.recv(100))

Sockets are those of the standard library: timeouts, select, selectors and asyncio work. `getpeername` and
`setsockopt(TCP_NODELAY)` do not, because the sockets are local ones: ask `tunnel.addresses(s)`. The library is
libwg.so.0, or the file that the environment variable WG_LIBRARY names.
"""
import asyncio
import base64
import collections
import ctypes
import ipaddress
import os
import socket
import struct

_lib = ctypes.CDLL(os.environ.get("WG_LIBRARY", "libwg.so.0"))

_STATUSES = {-1: "invalid", -2: "no_memory", -3: "no_descriptor", -4: "io_error", -5: "no_permission",
             -6: "not_supported", -7: "address_in_use", -8: "refused", -9: "reset", -10: "timed_out",
             -11: "cancelled", -12: "name_not_found", -13: "would_block", -14: "gone", -15: "no_private_key",
             -16: "no_random", -17: "too_many_peers", -18: "unknown", -19: "too_long", -20: "failed"}
_ADDRESS = struct.Struct("=BBHI16s")  # wg_address


class Error(OSError):
    """A call has failed; `status` is the name of the wg_status in lower case, for instance "refused"."""

    def __init__(self, number, text=None):
        self.status = _STATUSES.get(number, "failed")
        super().__init__(text or _lib.wg_describe(number).decode())


class _Address(ctypes.Structure):
    _fields_ = [("family", ctypes.c_uint8), ("reserved", ctypes.c_uint8), ("port", ctypes.c_uint16),
                ("scope", ctypes.c_uint32), ("bytes", ctypes.c_uint8 * 16)]

    def unpacked(self):
        return _unpack(bytes(self))[:2]


class _Prefix(ctypes.Structure):
    _fields_ = [("family", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("reserved", ctypes.c_uint16),
                ("bytes", ctypes.c_uint8 * 16)]

    def text(self):
        return f"{ipaddress.ip_address(bytes(self.bytes)[:4 if self.family == 4 else 16])}/{self.bits}"


class _Event(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("kind", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("value", ctypes.c_uint64), ("peer", ctypes.c_uint8 * 32)]


_OnEvent = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Event))


class _Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("on_event", _OnEvent), ("context", ctypes.c_void_p)]


class _Peer(ctypes.Structure):
    _fields_ = [("public_key", ctypes.c_uint8 * 32), ("endpoint", _Address), ("last_handshake_s", ctypes.c_int64),
                ("sent_bytes", ctypes.c_uint64), ("received_bytes", ctypes.c_uint64),
                ("allowed_ips", ctypes.POINTER(_Prefix)), ("allowed_ip_count", ctypes.c_size_t)]


class _PeerChange(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("public_key", ctypes.c_uint8 * 32), ("flags", ctypes.c_uint32),
                ("keepalive_s", ctypes.c_uint16), ("reserved", ctypes.c_uint16),
                ("preshared_key", ctypes.c_uint8 * 32), ("endpoint", _Address),
                ("allowed_ips", ctypes.POINTER(_Prefix)), ("allowed_ip_count", ctypes.c_size_t)]


_tunnel, _text, _int, _port = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint16
for _name, _types in {
        "wg_tunnel_open_file": [ctypes.POINTER(_tunnel), _text, ctypes.POINTER(_Options), _text, ctypes.c_size_t],
        "wg_tunnel_open_text": [ctypes.POINTER(_tunnel), _text, ctypes.POINTER(_Options), _text, ctypes.c_size_t],
        "wg_dial": [_tunnel, _text, _int], "wg_state": [_tunnel, _int], "wg_listen_port": [_tunnel],
        "wg_listen": [_tunnel, _port, _int, ctypes.POINTER(_port)],
        "wg_accept": [_int, _int, ctypes.POINTER(_Address)],
        "wg_addresses": [_tunnel, _int, ctypes.POINTER(_Address), ctypes.POINTER(_Address)],
        "wg_udp": [_tunnel, _port, ctypes.POINTER(_port)], "wg_udp_dial": [_tunnel, _text, _int],
        "wg_resolve": [_tunnel, _text, ctypes.POINTER(_Address), ctypes.c_size_t, _int],
        "wg_ping": [_tunnel, _text, _int, ctypes.POINTER(ctypes.c_uint64)],
        "wg_peers": [_tunnel, ctypes.c_size_t, ctypes.POINTER(ctypes.POINTER(_Peer))],
        "wg_change_peer": [_tunnel, ctypes.POINTER(_PeerChange)]}.items():
    getattr(_lib, _name).argtypes, getattr(_lib, _name).restype = _types, _int
_lib.wg_describe.argtypes, _lib.wg_describe.restype = [_int], _text
_lib.wg_peers_free.argtypes, _lib.wg_peers_free.restype = [ctypes.POINTER(_Peer)], None
_lib.wg_tunnel_close.argtypes, _lib.wg_tunnel_close.restype = [_tunnel, _int], None

Peer = collections.namedtuple("Peer", "public_key endpoint last_handshake_s sent_bytes received_bytes allowed_ips")


def _checked(number):
    if number < 0:
        raise Error(number)
    return number


def _milliseconds(timeout):
    return -1 if timeout is None else int(timeout * 1000)


def _unpack(data):
    """A wg_address as (text, port), and what follows."""
    family, _, port, _, octets = _ADDRESS.unpack_from(data)
    address = str(ipaddress.ip_address(octets[:4 if family == 4 else 16])) if family else ""
    return address, port, data[_ADDRESS.size:]


def _pack(host, port):
    address = ipaddress.ip_address(host)
    return _ADDRESS.pack(address.version, 0, port, 0, address.packed)


class _Port:
    """What both kinds of ports have in common."""

    def __init__(self, socket_, port):
        self._socket, self.port = socket_, port

    def fileno(self):
        return self._socket.fileno()

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Listener(_Port):
    """A TCP port inside the tunnel. `fileno` makes it usable with select: it is readable when a connection waits."""

    def accept(self, timeout=None):
        """Waits for a connection. Returns: a socket and the address (text, port) of the other end."""
        remote = _Address()
        fd = _checked(_lib.wg_accept(self.fileno(), _milliseconds(timeout), ctypes.byref(remote)))
        return socket.socket(fileno=fd), remote.unpacked()


class UdpPort(_Port):
    """A UDP port inside the tunnel. Readable (`fileno`) when a datagram waits."""

    def settimeout(self, timeout):
        self._socket.settimeout(timeout)

    def sendto(self, data, address):
        """Sends a datagram to an address (text, port)."""
        self._socket.sendmsg([_pack(*address), data])

    def recvfrom(self, size=65536):
        """Waits for a datagram. Returns: its data and the address (text, port) of the sender."""
        message = self._socket.recv(_ADDRESS.size + size)
        if not message:
            raise Error(-14)
        address, port, data = _unpack(message)
        return data, (address, port)


class Tunnel:
    """A WireGuard interface inside this process, from a file of wg-quick(8), or from its text.

    `on_event(kind, public_key)` is called by a thread of the library; kind is a WG_EVENT_ number of wg.h.
    Raises Error, whose text names file, line and mend."""

    def __init__(self, path=None, *, text=None, on_event=None):
        self._handle, why = _tunnel(), ctypes.create_string_buffer(512)
        options = _Options(size=ctypes.sizeof(_Options))
        if on_event:
            def report(_, event):
                on_event(event.contents.kind, base64.b64encode(bytes(event.contents.peer)).decode())
            self._on_event = options.on_event = _OnEvent(report)  # kept as long as the tunnel
        opens, of = (_lib.wg_tunnel_open_text, text) if path is None else (_lib.wg_tunnel_open_file, os.fspath(path))
        done = opens(ctypes.byref(self._handle), os.fsencode(of), ctypes.byref(options), why, len(why))
        if done < 0:
            raise Error(done, why.value.decode(errors="replace"))

    def dial(self, host_and_port, timeout=30):
        """Connects to "HOST:PORT"; names are resolved inside the tunnel. Returns: a socket."""
        return socket.socket(fileno=_checked(_lib.wg_dial(self._handle, host_and_port.encode(),
                                                          _milliseconds(timeout))))

    async def open_connection(self, host_and_port, timeout=30):
        """The same for asyncio, as asyncio.open_connection does. Returns: a StreamReader and a StreamWriter."""
        connected = await asyncio.get_running_loop().run_in_executor(None, self.dial, host_and_port, timeout)
        connected.setblocking(False)
        return await asyncio.open_connection(sock=connected)

    def listen(self, port=0, backlog=128):
        """Listens on a TCP port of all inner addresses; 0: a free one. Returns: a Listener."""
        bound = _port()
        fd = _checked(_lib.wg_listen(self._handle, port, backlog, ctypes.byref(bound)))
        return Listener(socket.socket(fileno=fd), bound.value)

    def udp(self, port=0):
        """Opens a UDP port; 0: a free one. Returns: a UdpPort."""
        bound = _port()
        fd = _checked(_lib.wg_udp(self._handle, port, ctypes.byref(bound)))
        return UdpPort(socket.socket(fileno=fd), bound.value)

    def udp_dial(self, host_and_port, timeout=30):
        """Opens a UDP port for datagrams to and from one "HOST:PORT". Returns: a socket, for send and recv."""
        return socket.socket(fileno=_checked(_lib.wg_udp_dial(self._handle, host_and_port.encode(),
                                                              _milliseconds(timeout))))

    def resolve(self, host, timeout=10):
        """The addresses of a name, as texts."""
        found = (_Address * 16)()
        count = _checked(_lib.wg_resolve(self._handle, host.encode(), found, len(found), _milliseconds(timeout)))
        return [a.unpacked()[0] for a in found[:count]]

    def ping(self, host, timeout=5):
        """Sends an ICMP echo request. Returns: the round trip in seconds."""
        took = ctypes.c_uint64()
        _checked(_lib.wg_ping(self._handle, host.encode(), _milliseconds(timeout), ctypes.byref(took)))
        return took.value / 1e9

    def state(self, connection):
        """Of a connection, also after its end: "open", "ended" (in order), or the name of the reason."""
        number = _lib.wg_state(self._handle, connection.fileno())
        return "open" if number == 1 else "ended" if number == 0 else _STATUSES[number]

    def addresses(self, connection):
        """The inner addresses (text, port) of this end and of the other end of an open connection."""
        local, remote = _Address(), _Address()
        _checked(_lib.wg_addresses(self._handle, connection.fileno(), ctypes.byref(local), ctypes.byref(remote)))
        return local.unpacked(), remote.unpacked()

    def peers(self):
        """A list of Peer."""
        peers = ctypes.POINTER(_Peer)()
        count = _checked(_lib.wg_peers(self._handle, ctypes.sizeof(_Peer), ctypes.byref(peers)))
        try:
            return [Peer(base64.b64encode(bytes(p.public_key)).decode(), p.endpoint.unpacked(), p.last_handshake_s,
                         p.sent_bytes, p.received_bytes, [a.text() for a in p.allowed_ips[:p.allowed_ip_count]])
                    for p in peers[:count]]
        finally:
            _lib.wg_peers_free(peers)

    def set_peer(self, public_key, *, endpoint=None, allowed_ips=(), keepalive_s=None):
        """Adds or changes a peer. `endpoint` is (text, port); `allowed_ips` are texts, added to those that it has."""
        change = _PeerChange(size=ctypes.sizeof(_PeerChange))
        change.public_key[:] = base64.b64decode(public_key)
        if endpoint:
            change.flags |= 8
            change.endpoint = _Address.from_buffer_copy(_pack(*endpoint))
        if keepalive_s is not None:
            change.flags |= 16
            change.keepalive_s = keepalive_s
        networks = [ipaddress.ip_network(a, strict=False) for a in allowed_ips]
        prefixes = (_Prefix * len(networks))()
        for prefix, network in zip(prefixes, networks):
            prefix.family, prefix.bits = network.version, network.prefixlen
            packed = network.network_address.packed
            prefix.bytes[:len(packed)] = packed
        change.allowed_ips, change.allowed_ip_count = prefixes, len(networks)
        _checked(_lib.wg_change_peer(self._handle, ctypes.byref(change)))

    def remove_peer(self, public_key):
        """Removes a peer, if there is one."""
        change = _PeerChange(size=ctypes.sizeof(_PeerChange), flags=1)
        change.public_key[:] = base64.b64decode(public_key)
        _checked(_lib.wg_change_peer(self._handle, ctypes.byref(change)))

    @property
    def listen_port(self):
        """The UDP port of the encrypted datagrams."""
        return _lib.wg_listen_port(self._handle)

    def close(self, linger=1):
        """Ends the tunnel; waits at most `linger` seconds until what was written is acknowledged."""
        handle, self._handle = self._handle, _tunnel()
        _lib.wg_tunnel_close(handle, _milliseconds(linger))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
