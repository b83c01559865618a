#!/usr/bin/python3
"""A WebSocket server for the tests (python3-websockets). What it does is said by the path:

/echo       every message back, text as text
/hello      one message with the handshake's Authorization, Sec-WebSocket-Protocol and query in it, then echo
/close/N    closes with code N
/stream/N   N messages of the time, 20 ms apart
/deny       no WebSocket: 403 and a body

usage: ws_server.py ADDRESS PORT CERT KEY
"""

import asyncio
import http
import json
import ssl
import sys
import time

import websockets


async def serve(ws, path=None):
    path = path or ws.path
    name, _, query = path.partition("?")
    if name == "/hello":
        h = ws.request_headers
        await ws.send(json.dumps({"authorization": h.get("Authorization"), "protocol": h.get("Sec-WebSocket-Protocol"),
                                  "extensions": h.get("Sec-WebSocket-Extensions"), "query": query}))
    elif name.startswith("/close/"):
        await ws.close(int(name[7:]), "as asked")
        return
    elif name.startswith("/stream/"):
        for _ in range(int(name[8:])):
            await ws.send(repr(time.time()))
            await asyncio.sleep(0.02)
        return
    async for message in ws:
        await ws.send(message)


async def deny(path, headers):
    if path == "/deny":
        return http.HTTPStatus.FORBIDDEN, [("Content-Type", "text/plain")], b"no\n"
    return None


def choose(offered, _):
    """The first that is no credential, as services do that take a key there."""
    return next((p for p in offered if not p.startswith("key.")), None)


async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3], sys.argv[4])
    async with websockets.serve(serve, sys.argv[1], int(sys.argv[2]), ssl=tls, process_request=deny, select_subprotocol=choose,
                                subprotocols=["chat"], max_size=None):
        print("ready", flush=True)
        await asyncio.Future()


asyncio.run(main())
