"""Python's http.server over TLS, for the peers that differ only in what they answer: a Handler of theirs, and serve()."""

import http.server
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        """What the fields announce, or ConnectionError."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.exactly(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.line().split(b";")[0], 16):
            data += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise ConnectionError("a chunk is longer than it says")
        while self.line() != b"\r\n":
            pass
        return data

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) != size:
            raise ConnectionError("the body was cut")
        return data

    def line(self):
        line = self.rfile.readline(10000)
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the body was cut")
        return line


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def get_request(self):
        """The handshake is made by the connection's own thread, at its first read."""
        s, address = super().get_request()
        return self.tls.wrap_socket(s, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *args):
        """Connections break off in these tests; what else went wrong is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*args)


def serve(address, port, cert, key, handler):
    """Says `ready`, then serves for ever."""
    server = Server((address, int(port)), handler)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(cert, key)
    print("ready", flush=True)
    server.serve_forever()
