#!/usr/bin/python3
"""Python's http.server over TLS; one JSON line for each request that was complete. usage: count.py FILE PORT CERT KEY"""

import http.server
import json
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *args):
        pass

    def body(self):
        """What the fields announce, or EOFError."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            data = self.rfile.read(length)
            if len(data) != length:
                raise EOFError
            return data
        data = b""
        while True:
            line = self.rfile.readline(1000)
            if not line.endswith(b"\r\n"):
                raise EOFError
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            data += self.rfile.read(size)
            if self.rfile.read(2) != b"\r\n":
                raise EOFError
        while True:
            line = self.rfile.readline(10000)
            if not line.endswith(b"\r\n"):
                raise EOFError
            if line == b"\r\n":
                return data

    def answer(self):
        try:
            data = self.body()
        except (EOFError, OSError):
            self.close_connection = True
            return
        out.write(json.dumps([self.command, self.path, len(data)]) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok\n")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def finish_request(self, request, client_address):
        with tls.wrap_socket(request, server_side=True) as s:
            super().finish_request(s, client_address)

    def handle_error(self, *args):
        pass


out = open(sys.argv[1], "a", buffering=1)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[3], sys.argv[4])
server = Server(("0.0.0.0", int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
