#!/usr/bin/python3
"""A corporate proxy: CONNECT only, each target written down. Refuses what stands behind REFUSED, and cannot reach
what stands behind DOWN; without Basic credentials that are in the file AUTH, "user:password", it wants them (407).

usage: connect.py ADDRESS PORT LOG [refuse=HOST:PORT]... [down=HOST:PORT]... [auth=FILE]
"""

import base64
import socket
import sys
import threading


def pump(a, b):
    try:
        while True:
            data = a.recv(65536)
            if not data:
                break
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(s, log, refuse, down, auth):
    head = b""
    while b"\r\n\r\n" not in head:
        more = s.recv(4096)
        if not more:
            return
        head += more
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    given = [line[27:] for line in head.split(b"\r\n") if line.startswith(b"Proxy-Authorization: Basic ")]
    wanted = [base64.b64encode(open(a, "rb").read()) for a in auth]
    with open(log, "a", encoding="ascii") as f:
        f.write(f"{method} {target}{'' if given == wanted else ' without' if not given else ' wrong'}\n")
    host, _, port = target.rpartition(":")
    if given != wanted:
        s.sendall(b'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="corp"\r\nContent-Length: 0\r\n\r\n')
    elif method != "CONNECT" or target in refuse:
        s.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    elif target in down:
        s.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    else:
        up = socket.create_connection((host.strip("[]"), int(port)), 5)
        s.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 corp\r\n\r\n")
        threading.Thread(target=pump, args=(up, s), daemon=True).start()
        pump(s, up)
    s.close()


def main():
    address, port, log = sys.argv[1:4]
    options = [a.split("=", 1) for a in sys.argv[4:]]
    refuse, down, auth = ([v for k, v in options if k == kind] for kind in ("refuse", "down", "auth"))
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s, log, refuse, down, auth), daemon=True).start()


main()
