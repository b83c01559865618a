#!/usr/bin/python3
"""Makes ten kinds of sockets, waits, then tries to send through each: for tests of `cgroup attach`.

usage: sockets.py PLAIN4 TRAP4 TRAP6 HOLE4      PLAIN4:80 accepts, HOLE4 never answers, the traps must never hear of us

Prints "ready PORT" (of the listening one) when all are made. Each line on standard input is a command, answered by one
JSON line: `try` (each socket in turn), `get` (plain HTTP from PLAIN4 over a socket made before and over a new one),
`end`.
"""

import json
import os
import select
import socket
import struct
import sys
import threading

PLAIN, TRAP, TRAP6, HOLE = sys.argv[1:5]
MARK = b"escaped-" * 8
T4, U4, R4 = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_RAW)


def made():
    s = {name: socket.socket(*T4) for name in ("tcp connected", "tcp unconnected", "tcp bound", "tcp listening", "tcp connecting", "spare")}
    s.update({name: socket.socket(*U4) for name in ("udp unused", "udp bound", "udp connected")})
    s["udp6"] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s["raw"] = socket.socket(*R4, socket.IPPROTO_ICMP)
    for one in s.values():
        one.settimeout(2)
    s["tcp connected"].connect((PLAIN, 80))
    s["tcp bound"].bind(("0.0.0.0", 0))
    s["tcp listening"].bind(("0.0.0.0", 0))
    s["tcp listening"].listen(8)
    s["tcp connecting"].setblocking(False)
    s["tcp connecting"].connect_ex((HOLE, 9999))
    s["udp bound"].bind(("0.0.0.0", 0))
    s["udp connected"].connect((TRAP, 9999))
    return s


def unconnect(s):
    """connect(AF_UNSPEC), which Python has no word for."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.connect(s.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16)


def dial(s, to):
    s.settimeout(1)
    s.connect(to)
    s.sendall(MARK)


def ways(s):
    """What each is made to do; whatever of it works must end at the proxy."""
    yield "tcp connected, send", lambda: s["tcp connected"].send(MARK)
    yield "tcp connected, again", lambda: (unconnect(s["tcp connected"]), dial(s["tcp connected"], (TRAP, 9999)))
    yield "tcp unconnected", lambda: dial(s["tcp unconnected"], (TRAP, 9999))
    yield "tcp unconnected, metadata", lambda: (unconnect(s["tcp unconnected"]), dial(s["tcp unconnected"], ("169.254.169.254", 80)))
    yield "tcp bound", lambda: dial(s["tcp bound"], (TRAP, 9999))
    yield "tcp connecting", lambda: s["tcp connecting"].send(MARK)
    yield "tcp connecting, again", lambda: (unconnect(s["tcp connecting"]), dial(s["tcp connecting"], (TRAP, 9999)))
    yield "tcp device", lambda: s["tcp bound"].setsockopt(1, 25, b"up0")
    for name in ("udp unused", "udp bound"):
        yield name, lambda name=name: s[name].sendto(MARK, (TRAP, 9999))
    yield "udp connected", lambda: s["udp connected"].send(MARK)
    yield "udp connected, again", lambda: (unconnect(s["udp connected"]), s["udp connected"].sendto(MARK, (TRAP, 9999)))
    yield "udp6", lambda: s["udp6"].sendto(MARK, (TRAP6, 9999))
    yield "raw", lambda: s["raw"].sendto(b"\x08\0\0\0" + MARK, (TRAP, 0))
    yield "tcp listening, waiting", lambda: accepted(s["tcp listening"])
    yield "tcp listening, dials", lambda: (s["tcp listening"].shutdown(socket.SHUT_RD), dial(s["tcp listening"], (TRAP, 9999)))
    yield "new udp", lambda: socket.socket(*U4).sendto(MARK, (TRAP, 9999))


def accepted(s):
    if not select.select([s], [], [], 0.2)[0]:
        raise OSError("nobody waits")
    s.accept()[0].send(MARK)


def attempt(fn):
    try:
        fn()
        return "no error"
    except OSError as e:
        return str(e)


def get(s):
    s.settimeout(10)
    s.connect((PLAIN, 80))
    s.sendall(b"GET /hello HTTP/1.1\r\nHost: attacker-domain.com\r\nConnection: close\r\n\r\n")
    return s.recv(64).decode("latin-1")


def main():
    s = made()
    for _ in range(2):  # threads, and a child with the same descriptors
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    child = os.fork()
    if child == 0:
        select.select([], [], [])
    print("ready", s["tcp listening"].getsockname()[1], child, flush=True)
    for line in sys.stdin:
        if line == "try\n":
            answer = {name: attempt(fn) for name, fn in ways(s)}
        elif line == "get\n":
            answer = [get(s["spare"]), get(socket.socket(*T4))]
        else:
            break
        print(json.dumps(answer), flush=True)
    os.kill(child, 9)


if __name__ == "__main__":
    main()
