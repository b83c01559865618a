#!/usr/bin/python3
"""Holds N idle connections over which one request was answered: idle.py NAME PORT CA N [CONNECT-TO]. Says "ready", then
waits for its standard input to end."""
import socket
import ssl
import sys

name, port, ca, n = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
to = sys.argv[5] if len(sys.argv) > 5 else name
context = ssl.create_default_context(cafile=ca or None)
address = socket.getaddrinfo(to, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
held = []
for _ in range(n):
    s = context.wrap_socket(socket.create_connection(address, 20), server_hostname=name)
    s.sendall(f"GET /free HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < 200:
        more = s.recv(4096)
        if not more or answer.startswith(b"HTTP/1.1 4"):
            sys.exit(f"connection {len(held)}: {answer + more!r}")
        answer += more
    held.append(s)
print("ready", flush=True)
sys.stdin.read()
