#!/usr/bin/python3
"""The agent's side of the corpus tests. Prints JSON.

usage: corpus.py send HOST PORT [BYTES] < CASES   CASES: [[hex, waits], …]: each over a connection of its own, in writes of
                                                  BYTES; prints for each the statuses that came, and whether the peer closed
       corpus.py ask HOST PORT < CASES            CASES: [[method, path], …] with http.client; prints for each
                                                  [status, length, body's first 200] or [0, 0, error], and the body of /ok<path>
       corpus.py h2 HOST PORT < CASES             CASES: [[[[name, value], …], body or null, trailers], …] in hex, over HTTP/2 as they
                                                  are; prints for each the status or "ended", and that of GET PATH/end after it
"""

import concurrent.futures
import http.client
import json
import re
import socket
import ssl
import sys


def send(case):
    data, waits = bytes.fromhex(case[0]), case[1]
    got, closed = b"", False
    raw = socket.create_connection((host, port), 30)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with tls.wrap_socket(raw, server_hostname=host) as s:
        try:
            for at in range(0, len(data), step):
                s.sendall(data[at:at + step])
        except OSError:
            pass  # it has said no already
        s.settimeout(1 if waits else 30)
        try:
            while more := s.recv(65536):
                got += more
            closed = True
        except TimeoutError:
            pass
        except OSError:
            closed = True
    return [int(x) for x in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)], closed, got[-300:].decode("latin-1")


def get(method, path):
    c = http.client.HTTPSConnection(host, port, timeout=30, context=tls)
    try:
        c.request(method, path)
        r = c.getresponse()
        body = r.read()
        return r.status, len(body), body[:200].decode("latin-1")
    except (OSError, http.client.HTTPException) as e:
        return 0, 0, type(e).__name__
    finally:
        c.close()


def ask(case):
    first = get(*case)
    return [*first, get("GET", "/ok" + case[1])[2]]


def h2(case):
    import h2.config
    import h2.connection
    import h2.errors
    import h2.events

    def fields(pairs):
        return [(bytes.fromhex(k), bytes.fromhex(v)) for k, v in pairs]

    head, body, trailers, end = case
    c = h2.connection.H2Connection(h2.config.H2Configuration(
        header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False))
    got, over = {}, set()
    with tls.wrap_socket(socket.create_connection((host, port), 30), server_hostname=host) as s:
        s.settimeout(30)

        def wait(stream):
            while stream not in over:
                data = s.recv(65536)
                if not data:
                    return "ended"
                for e in c.receive_data(data):
                    if isinstance(e, h2.events.ResponseReceived):
                        got[e.stream_id] = int(dict(e.headers)[b":status"])
                    if isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset)):
                        over.add(e.stream_id)
                    if isinstance(e, h2.events.ConnectionTerminated):
                        return "ended"
                s.sendall(c.data_to_send())
            return got.get(stream, "ended")

        try:
            c.initiate_connection()
            c.send_headers(1, fields(head), end_stream=body is None)
            if body is not None:
                c.send_data(1, bytes.fromhex(body), end_stream=not trailers)
            if trailers:  # the library would look at them: a block of its own, as frames
                block = c.encoder.encode(fields(trailers))
                s.sendall(c.data_to_send() + len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block)
            s.sendall(c.data_to_send())
            first = wait(1)
            c.send_headers(3, fields(end), end_stream=True)
            s.sendall(c.data_to_send())
            return first, wait(3)
        except OSError:
            return got.get(1, "ended"), "ended"
        except h2.exceptions.ProtocolError as e:  # of our own side
            return f"not sent: {e}", "ended"


what, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
step = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 30
tls = ssl.create_default_context()
if what == "h2":
    tls.set_alpn_protocols(["h2"])
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map({"send": send, "ask": ask, "h2": h2}[what], json.load(sys.stdin)))))
