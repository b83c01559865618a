#!/usr/bin/python3
"""Listens where nothing may ever arrive and writes one JSON line for whatever does.

usage: leak.py FILE ADDRESS...    each address on TCP 80, 443 and 9999 and on UDP 53, 443 and 9999
"""

import json
import selectors
import socket
import sys

TCP_PORTS = (80, 443, 9999)
UDP_PORTS = (53, 443, 9999)


def listeners(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind, ports in ((socket.SOCK_STREAM, TCP_PORTS), (socket.SOCK_DGRAM, UDP_PORTS)):
        for port in ports:
            s = socket.socket(family, kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM:
                s.listen(64)
            s.setblocking(False)
            yield s


def take(s):
    """One arrival as (protocol, peer, bytes). A TCP peer is told nothing but 'leaked'."""
    if s.type == socket.SOCK_DGRAM:
        data, peer = s.recvfrom(65535)
        return "udp", peer, data
    conn, peer = s.accept()
    with conn:
        conn.settimeout(1)
        try:
            data = conn.recv(4096)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nleaked")
        except OSError:
            data = b""
    return "tcp", peer, data


def main():
    out = open(sys.argv[1], "a", buffering=1)
    sel = selectors.DefaultSelector()
    for address in sys.argv[2:]:
        for s in listeners(address):
            sel.register(s, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in sel.select():
            protocol, peer, data = take(key.fileobj)
            out.write(json.dumps({"protocol": protocol, "to": key.fileobj.getsockname()[:2], "from": peer[:2],
                                  "data": data[:200].decode("latin-1")}) + "\n")


if __name__ == "__main__":
    main()
