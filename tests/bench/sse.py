#!/usr/bin/python3
"""Server-sent events whose data is the time at which they were sent, and a client that reads how long they took.

    sse.py serve ADDRESS PORT CERT KEY      GET /sse?n=50&gap=20: n events, gap milliseconds apart
    sse.py read NAME PORT CA N GAP [CONNECT-TO]   prints JSON: first byte and median delay of events, milliseconds
"""
import http.server
import json
import socket
import socketserver
import ssl
import statistics
import sys
import time
import urllib.parse


class Events(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        q = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(int(q["n"][0])):
            event = f"data: {time.monotonic_ns()}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            time.sleep(int(q["gap"][0]) / 1000)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # no look-up of our own name
        self.server_name, self.server_port = "sse", self.server_address[1]

    def get_request(self):
        s, a = self.socket.accept()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s, a


def serve(address, port, cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Server((address, int(port)), Events)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


def read(name, port, ca, n, gap, to=None):
    context = ssl.create_default_context(cafile=ca or None)
    plain = socket.create_connection((to or name, int(port)), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s = context.wrap_socket(plain, server_hostname=name)
    delays, first, buf = [], None, b""
    asked = time.monotonic_ns()
    s.sendall(f"GET /sse?n={n}&gap={gap} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    while len(delays) < int(n):
        more = s.recv(65536)
        now = time.monotonic_ns()
        if not more:
            sys.exit(f"ended after {len(delays)} events")
        first = first or now
        buf += more
        while b"\n\n" in buf:
            event, _, buf = buf.partition(b"\n\n")
            delays.append(now - int(event.rpartition(b"data: ")[2]))
    print(json.dumps({"first": (first - asked) / 1e6, "delay": statistics.median(delays) / 1e6}))


{"serve": serve, "read": read}[sys.argv[1]](*sys.argv[2:])
