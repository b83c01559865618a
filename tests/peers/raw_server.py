#!/usr/bin/python3
"""An upstream for tests that count bytes: it writes down what arrives and sends what it was told, over TLS.

Each request's head and body, as they came, are appended to FILE as one line of JSON: {"head": ..., "rest": ...}. What is sent is
named by the path and stands in ANSWERS, a JSON object {path: [piece, ...]}; a piece that is a number is a pause of so many
milliseconds, {"body": N} waits until N more bytes of the request have come. Unknown paths are answered 200 with no body. A path in
"close" ends the connection.

usage: raw_server.py ADDRESS PORT CERT KEY FILE ANSWERS
"""

import json
import re
import socket
import ssl
import sys
import threading
import time

ANSWERS = json.loads(sys.argv[6])


class Stream:
    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def more(self):
        got = self.sock.recv(65536)
        if not got:
            raise ConnectionError
        self.buf += got

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        at = self.buf.index(mark) + len(mark)
        got, self.buf = self.buf[:at], self.buf[at:]
        return got

    def exactly(self, n):
        while len(self.buf) < n:
            self.more()
        got, self.buf = self.buf[:n], self.buf[n:]
        return got


def body_of(s, head):
    low = head.lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", low)
    if b"\r\ntransfer-encoding: chunked" in low:
        raw = b""
        while True:
            line = s.until(b"\r\n")
            raw += line
            n = int(line.split(b";")[0], 16)
            if n == 0:
                break
            raw += s.exactly(n + 2)
        while True:
            line = s.until(b"\r\n")
            raw += line
            if line == b"\r\n":
                return raw
    return s.exactly(int(length[1])) if length else b""


def send(s, head, path):
    rest = b""
    for piece in ANSWERS.get(path, ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]):
        if isinstance(piece, (int, float)):
            time.sleep(piece / 1000)
        elif isinstance(piece, dict):
            rest += s.exactly(piece["body"])
        else:
            s.sock.sendall(piece.encode("latin-1"))
    return rest


def serve(sock):
    s = Stream(sock)
    try:
        while True:
            head = s.until(b"\r\n\r\n")
            path = head.split(b" ")[1].decode().split("?")[0]
            early = path in ANSWERS.get("early", [])
            if b"100-continue" in head.lower() and not early:
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            rest = b"" if early else body_of(s, head)
            with open(sys.argv[5], "a") as f:
                f.write(json.dumps({"head": head.decode("latin-1"), "rest": rest.decode("latin-1")}) + "\n")
            send(s, head, path)
            if path in ANSWERS.get("close", []):
                break
    except (ConnectionError, OSError, IndexError, ValueError):
        pass
    try:
        sock.settimeout(2)
        sock.unwrap()
    except (OSError, ValueError):
        pass
    sock.close()


def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3], sys.argv[4])
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()

        def run(sock=sock):
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve(tls.wrap_socket(sock, server_side=True))
            except OSError:
                pass
        threading.Thread(target=run, daemon=True).start()


main()
