#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Fetches pages through WireGuard, all at once, by asyncio.

    fetch.py FILE HOST:PORT PATH...

FILE is a configuration of wg-quick(8). Prints the size and the path of each page."""
import asyncio
import sys

import wg


async def fetch(tunnel, where, path):
    reader, writer = await tunnel.open_connection(where)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: {where}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split(b"\r\n")[0].decode(), len(body), path


async def main():
    with wg.Tunnel(sys.argv[1]) as tunnel:
        for line, size, path in await asyncio.gather(*(fetch(tunnel, sys.argv[2], p) for p in sys.argv[3:])):
            print(f"{line}: {size} bytes: {path}")


if __name__ == "__main__":
    asyncio.run(main())
