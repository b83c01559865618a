#!/usr/bin/python3
"""Python's http.server over TLS; one JSON line for each request that was complete. usage: count.py FILE PORT CERT KEY"""

import json
import sys

import https_server


class Handler(https_server.Handler):
    timeout = 60

    def answer(self):
        try:
            data = self.body()
        except OSError:
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


out = open(sys.argv[1], "a", buffering=1)
https_server.serve("0.0.0.0", *sys.argv[2:], Handler)
