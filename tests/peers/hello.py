#!/usr/bin/python3
"""A TLS client that says its ClientHello in unusual ways, then sends one request and prints the answer.

usage: hello.py HOST PORT SNI HOW CAFILE     SNI "-": none
HOW: plain; bytes: one byte a segment; records: seven bytes a record; both; ech: with encrypted_client_hello;
stop: half of it and then the end; tail: followed by bytes that are no record
"""

import socket
import ssl
import struct
import sys
import time


def records(data, size):
    body = data[5:]
    return b"".join(data[:3] + struct.pack("!H", len(body[i:i + size])) + body[i:i + size] for i in range(0, len(body), size))


def with_extension(data, kind, body):
    """One record with one hello; the new extension comes last."""
    hello = bytearray(data[9:])
    at = 34
    at += 1 + hello[at]
    at += 2 + struct.unpack_from("!H", hello, at)[0]
    at += 1 + hello[at]
    more = struct.pack("!HH", kind, len(body)) + body
    struct.pack_into("!H", hello, at, struct.unpack_from("!H", hello, at)[0] + len(more))
    hello += more
    message = b"\1" + len(hello).to_bytes(3, "big") + bytes(hello)
    return data[:3] + struct.pack("!H", len(message)) + message


def send(s, data, how):
    if how in ("records", "both"):
        data = records(data, len(data) // 20)
    if how == "ech":
        data = with_extension(data, 0xFE0D, b"\0\0\1\0\1\x07\0\x20" + bytes(32) + b"\0\x10" + bytes(16))
    if how == "tail":
        data += b"GET / HTTP/1.1\r\n\r\n"
    if how == "stop":
        s.sendall(data[:len(data) // 2])
        s.shutdown(socket.SHUT_WR)
    elif how in ("bytes", "both"):
        for byte in data:
            s.sendall(bytes([byte]))
            time.sleep(0.0005)
    else:
        s.sendall(data)


def main():
    host, port, sni, how, cafile = sys.argv[1:]
    context = ssl.create_default_context(cafile=cafile)
    context.check_hostname = sni != "-"
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname=None if sni == "-" else sni)
    s = socket.create_connection((host, int(port)), 10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = True

    def pump(call):
        nonlocal first
        while True:
            try:
                got = call()
                if out.pending:
                    s.sendall(out.read())
                return got
            except ssl.SSLWantReadError:
                if out.pending:
                    send(s, out.read(), how if first else "plain")
                    first = False
                data = s.recv(65536)
                if not data:
                    return b""
                into.write(data)

    try:
        pump(tls.do_handshake)
        print("issuer", dict(x[0] for x in tls.getpeercert()["issuer"])["commonName"])
        tls.write(f"GET /hello HTTP/1.1\r\nHost: {sni}\r\nConnection: close\r\n\r\n".encode())
        s.sendall(out.read())
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = pump(lambda: tls.read(65536))
            if not more:
                break
            answer += more
        print(answer.decode())
    except (OSError, ssl.SSLError, ValueError) as e:
        print(f"[{type(e).__name__} {e}]")


if __name__ == "__main__":
    main()
