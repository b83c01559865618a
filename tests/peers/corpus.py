#!/usr/bin/python3
"""The agent's side of the corpus tests. Prints JSON.

usage: corpus.py send HOST PORT [BYTES] < CASES   CASES: [[hex, waits], …]: each over a connection of its own, in writes of
                                                  BYTES; prints for each the statuses that came, and whether the peer closed
       corpus.py ask HOST PORT < CASES            CASES: [[method, path], …] with http.client; prints for each
                                                  [status, length, body's first 200] or [0, 0, error], and the body of /ok<path>
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


what, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
step = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 30
tls = ssl.create_default_context()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map({"send": send, "ask": ask}[what], json.load(sys.stdin)))))
