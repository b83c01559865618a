#!/usr/bin/python3
"""A TLS server whose answers do not end: an event each 20 ms, over HTTP/1.1; /upload takes a body for as long as it comes, and
answers with the first event at once; /silent answers, and says nothing more. Upgrade: websocket: the handshake, then texts.
Writes "METHOD PATH open" when it goes on well and, when the connection is over, "METHOD PATH gone" to its log.

usage: endless.py ADDRESS PORT CERT KEY LOG
"""

import base64
import hashlib
import socket
import ssl
import sys
import threading
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(s, tls, log):
    s = tls.wrap_socket(s, server_side=True)
    head = b""
    while b"\r\n\r\n" not in head:
        more = s.recv(4096)
        if not more:
            return
        head += more
    what = b" ".join(head.split(b" ")[:2]).decode()
    n = 0
    try:
        key = [line[19:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")]
        if key:
            s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                      + base64.b64encode(hashlib.sha1(key[0] + GUID).digest()) + b"\r\n\r\n")
        else:
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        s.settimeout(0.02)
        while True:
            if n == 0 or "/silent" not in what:
                s.sendall(b"\x81\x04tick" if key else b"c\r\ndata: tick\n\n\r\n")
            n += 1
            if n == 5:
                log(f"{what} open")
            try:
                if not s.recv(65536):
                    break
            except (TimeoutError, ssl.SSLWantReadError):
                time.sleep(0.001)
    except OSError:
        pass
    if n >= 5:
        log(f"{what} gone")
    s.close()


def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3], sys.argv[4])
    out, lock = open(sys.argv[5], "a", encoding="ascii"), threading.Lock()

    def log(line):
        with lock:
            print(line, file=out, flush=True)

    listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s, tls, log), daemon=True).start()


main()
