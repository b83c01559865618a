#!/usr/bin/python3
"""Holds connections open. usage: idle.py HOST PORT COUNT    Says "up COUNT" when all are there, waits for a line, asks on each
hundredth, says "alive N", and closes them at the next line."""

import resource
import socket
import ssl
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
tls = ssl.create_default_context()
session, socks = None, []
for _ in range(count):
    s = tls.wrap_socket(socket.create_connection((host, port), 60), server_hostname=host, session=session)
    session = session or s.session
    socks.append(s)
print("up", len(socks), flush=True)
sys.stdin.readline()
alive = 0
for s in socks[::100]:
    s.sendall(b"GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n" % (f"{host}:{port}" if port != 443 else host).encode())
    alive += s.recv(65536).startswith(b"HTTP/1.1 200")
print("alive", alive, flush=True)
sys.stdin.readline()
