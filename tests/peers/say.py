#!/usr/bin/python3
"""An upstream that answers with given bytes. usage: say.py CASES PORT CERT KEY    CASES: JSON, a list of [path, close, hex]

Any other path gets itself as its answer, on whatever connection it comes.
"""

import json
import socket
import ssl
import sys
import threading


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            return None
        data += more
    return data.split(b" ")[1].decode()


def serve(raw):
    try:
        with tls.wrap_socket(raw, server_side=True) as s:
            s.settimeout(60)
            while path := read_head(s):
                close, data = cases.get(path, (False, None))
                s.sendall(data if data is not None else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path.encode()))
                if close:
                    s.unwrap()
                    return
    except (OSError, ValueError):
        pass


with open(sys.argv[1]) as f:
    cases = {path: (close, bytes.fromhex(data)) for path, close, data in json.load(f)}
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[3], sys.argv[4])
listener = socket.create_server(("0.0.0.0", int(sys.argv[2])), backlog=128)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
