#!/usr/bin/python3
"""An HTTP/2 client that makes others wait, and says what they did about it, and when: h2wait.py HOST PORT WHAT...

nothing    not even the preface
silent     the preface, and no stream
fragment   a block of fields that does not go on
drip       one that goes on and on, slowly
PATH...    a stream for each, all at once; with a '+' before it, a body of ten bytes, of which three are sent

Prints "goaway CODE", "end", and for streams "PATH STATUS", "PATH TEXT", "PATH end|reset CODE", each behind the seconds since the beginning.
With `silent` behind the paths it stays when they are over.
"""

import os
import socket
import ssl
import struct
import sys
import time

import h2.config
import h2.connection
import h2.events
import hpack

HOST, PORT, WHAT = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
AUTHORITY = f"{HOST}:{PORT}"
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
context.set_alpn_protocols(["h2"])
s = context.wrap_socket(socket.create_connection((HOST, PORT)), server_hostname=HOST)
assert s.selected_alpn_protocol() == "h2"
began = time.monotonic()


def say(*words):
    print(f"{time.monotonic() - began:.2f}", *words, flush=True)


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def raw():
    encoder, data = hpack.Encoder(), b""
    get = [(":method", "GET"), (":scheme", "https"), (":authority", AUTHORITY), (":path", "/now")]
    if WHAT[0] != "nothing":
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    if WHAT[0] in ("fragment", "drip"):
        s.sendall(frame(1, 1, 1, encoder.encode(get)))
    s.settimeout(0.6)
    while True:
        try:
            if WHAT[0] == "drip":
                s.sendall(frame(9, 0, 1, encoder.encode([("x", "y")])))
            more = s.recv(65536)
            if not more:
                break
            data += more
        except TimeoutError:
            if time.monotonic() - began > 30:
                break
        except OSError:
            break
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            n = int.from_bytes(data[:3], "big")
            if data[3] == 7:
                say("goaway", int.from_bytes(data[13:17], "big"))
            data = data[9 + n:]
    say("end")


def streams():
    c, paths = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True)), {}
    c.initiate_connection()
    for i, path in enumerate(p for p in WHAT if p != "silent"):
        stream, body = 2 * i + 1, path.startswith("+")
        paths[stream] = path
        c.send_headers(stream, [(":method", "POST" if body else "GET"), (":scheme", "https"), (":authority", AUTHORITY), (":path", path.lstrip("+"))]
                       + ([("content-length", "10"), ("content-type", "application/json")] if body else []), end_stream=not body)
        if body:
            c.send_data(stream, b'{"a')
    left = set(paths)
    while left or "silent" in WHAT:
        s.sendall(c.data_to_send())
        data = s.recv(65536)
        if not data:
            break
        for e in c.receive_data(data):
            path = paths.get(getattr(e, "stream_id", 0))
            if isinstance(e, h2.events.ResponseReceived):
                say(path, dict(e.headers)[b":status"].decode())
            elif isinstance(e, h2.events.DataReceived) and e.data:
                c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                say(path, e.data.decode().strip())
            elif isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset)):
                say(path, "end" if isinstance(e, h2.events.StreamEnded) else f"reset {int(e.error_code)}")
                left.discard(e.stream_id)
            elif isinstance(e, h2.events.ConnectionTerminated):
                say("goaway", int(e.error_code))
    say("end")


(streams if WHAT[0].lstrip("+").startswith("/") else raw)()
