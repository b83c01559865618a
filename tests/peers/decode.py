"""An HTTPS server that decodes what it is sent as any server would, and writes it down: decode.py CERT KEY LOG ADDRESS PORT."""

import base64
import json
import sys
import urllib.parse

import https_server

CERT, KEY, LOG, ADDRESS, PORT = sys.argv[1:]


class Handler(https_server.Handler):
    def any(self):
        try:
            body = self.body()
        except (ConnectionError, ValueError):
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        kind = self.headers.get_content_type()
        auth = self.headers.get("Authorization", "")
        said = {"method": self.command, "target": self.path, "headers": [[k, v] for k, v in self.headers.items()],
                "path": [urllib.parse.unquote_to_bytes(s).decode("latin-1") for s in path.split("/")],
                "query": urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1"),
                "body": body.decode("latin-1")}
        if auth.startswith("Basic "):
            said["basic"] = base64.b64decode(auth[6:]).decode("latin-1")
        if kind == "application/json" and "Content-Encoding" not in self.headers:
            said["json"] = json.loads(body)
        if kind == "application/x-www-form-urlencoded":
            said["form"] = urllib.parse.parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        with open(LOG, "a") as f:
            f.write(json.dumps(said) + "\n")
        self.send_response(302 if path == "/elsewhere" else 200)
        if path == "/elsewhere":
            self.send_header("Location", "https://attacker-domain.com/steal")
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    do_GET = do_POST = do_PUT = do_HEAD = any


https_server.serve(ADDRESS, PORT, CERT, KEY, Handler)
