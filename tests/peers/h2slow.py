#!/usr/bin/python3
"""An HTTP/2 server that takes its time (python3-h2). By the path:

/now      answers at once        /never    does not answer
/quiet/S  the head and a first word at once, the last one S seconds later
/read     answers when the whole body is there

Writes "PATH reset CODE" to its log for each stream that the other side resets, and "goaway CODE".

usage: h2slow.py ADDRESS PORT CERT KEY LOG
"""

import socket
import ssl
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events


class Connection:
    def __init__(self, s, log):
        self.s, self.log, self.paths, self.lock = s, log, {}, threading.Lock()
        self.c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def flush(self):
        self.s.sendall(self.c.data_to_send())

    def last(self, stream):
        with self.lock:
            try:
                self.c.send_data(stream, b"last\n", end_stream=True)
                self.flush()
            except (h2.exceptions.ProtocolError, OSError):
                pass

    def answer(self, stream, end):
        self.c.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        self.c.send_data(stream, b"first\n", end_stream=end)

    def event(self, e):
        if isinstance(e, h2.events.RequestReceived):
            path = self.paths[e.stream_id] = dict(e.headers)[b":path"].decode()
            if path == "/now":
                self.answer(e.stream_id, True)
            elif path.startswith("/quiet/"):
                self.answer(e.stream_id, False)
                threading.Timer(float(path[7:]), self.last, [e.stream_id]).start()
        elif isinstance(e, h2.events.DataReceived):
            self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded) and self.paths.get(e.stream_id) == "/read":
            self.answer(e.stream_id, True)
        elif isinstance(e, h2.events.StreamReset):
            self.log(f"{self.paths.get(e.stream_id)} reset {int(e.error_code)}")
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.log(f"goaway {int(e.error_code)}")

    def serve(self):
        with self.lock:
            self.c.initiate_connection()
            self.flush()
        while True:
            data = self.s.recv(65536)
            if not data:
                return
            with self.lock:
                for e in self.c.receive_data(data):
                    self.event(e)
                self.flush()


def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3], sys.argv[4])
    tls.set_alpn_protocols(["h2"])
    out = open(sys.argv[5], "a", encoding="ascii")

    def serve(s):
        try:
            Connection(tls.wrap_socket(s, server_side=True), lambda line: print(line, file=out, flush=True)).serve()
        except OSError:
            pass

    listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s,), daemon=True).start()


main()
