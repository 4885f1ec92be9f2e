"""When requests and tokens of an HTTP server on loopback pass the kernel: an observer of all clients alike.

    python benchmarks/wire.py PORT        # as root, or with CAP_NET_RAW

Until its standard input ends it keeps what passes to and from the port, and then writes a JSON list: of each request
the time of its first packet, and of each packet that has a token of its answer (nanoseconds, by the kernel's stamp of
the packet: the observer's own delays do not count). Requests and answers are one after another.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import sys

SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
ETH_P_IP = 0x0800
_TOKEN = re.compile(rb'"choices": ?\[\{')


def main(port: int) -> None:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    packets.bind(("lo", ETH_P_IP))
    packets.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    print("ready", flush=True)
    requests: list[list[int]] = []
    while True:
        ready, _, _ = select.select([packets, sys.stdin], [], [])
        if packets in ready:
            packet, ancillary, _, _ = packets.recvmsg(1 << 16, 64)  # as it comes in: of one protocol no other is seen
            seen(port, packet, ancillary[0][2], requests)
        elif sys.stdin in ready:
            print(json.dumps(requests), flush=True)
            return


def seen(port: int, packet: bytes, stamp: bytes, requests: list[list[int]]) -> None:
    head = (packet[0] & 15) * 4
    if packet[9] != socket.IPPROTO_TCP:
        return
    source, target = struct.unpack_from("!HH", packet, head)
    payload = packet[head + (packet[head + 12] >> 4) * 4 :]
    seconds, ns = struct.unpack("ll", stamp[:16])
    if target == port and payload.startswith(b"POST "):
        requests.append([seconds * 1_000_000_000 + ns])
    elif source == port and requests and _TOKEN.search(payload):
        requests[-1].append(seconds * 1_000_000_000 + ns)


if __name__ == "__main__":
    main(int(sys.argv[1]))
