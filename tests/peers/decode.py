"""An HTTPS server that decodes what it is sent as any server would, and writes it down: decode.py CERT KEY LOG ADDRESS PORT."""

import base64
import http.server
import json
import socketserver
import ssl
import sys
import urllib.parse

CERT, KEY, LOG, ADDRESS, PORT = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return data
        want = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(want)
        if len(data) < want:
            raise ConnectionError("the body was cut")
        return data

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

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server((ADDRESS, int(PORT)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
