#!/usr/bin/python3
"""Sends standard input over one connection and prints what comes back, until the peer closes.

usage: raw.py HOST PORT [SNI]     with SNI: over TLS ("-": TLS without SNI); the CA is SSL_CERT_FILE's
"""

import os
import socket
import ssl
import sys


def main():
    host, port, sni = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
    data = sys.stdin.buffer.read()
    try:
        s = socket.create_connection((host, port), 10)
        if sni:
            context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
            context.check_hostname = sni != "-"
            s = context.wrap_socket(s, server_hostname=None if sni == "-" else sni)
        s.sendall(data)
        while True:
            more = s.recv(65536)
            if not more:
                break
            sys.stdout.buffer.write(more)
            sys.stdout.buffer.flush()
    except OSError as e:
        sys.stdout.buffer.write(f"\n[{type(e).__name__} {e}]\n".encode())
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
