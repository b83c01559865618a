"""WebSockets (RFC 6455) of unmodified clients through `run`: the key goes into the handshake, frames go both ways."""

import json
import shutil
import subprocess
import textwrap

import pytest

from helpers import REF, audit, curl, holds_key, raw
from lab import NODE_PATH, PEERS

PORT = 9555
PYTHON = "/usr/bin/python3"
NODE = shutil.which("node") or "node"


@pytest.fixture(scope="module")
def ws(world):
    p = world.private
    server = world.spawn("net", [PYTHON, str(PEERS / "ws_server.py"), "203.0.113.10", str(PORT), f"{p}/good.pem", f"{p}/good.key"],
                         stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    world.must("workspace", "allowlist", "add", "--workspace", "demo", f"api.stripe.com:{PORT}")
    yield world
    world.must("workspace", "allowlist", "remove", "--workspace", "demo", "api.stripe.com")
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "api.stripe.com")
    server.kill()


URL = f"wss://api.stripe.com:{PORT}"


def client(lab, code, **kw):
    """The body of a coroutine, with python3-websockets."""
    code = "import asyncio, json, os, time, websockets\nasync def main():\n" + textwrap.indent(textwrap.dedent(code), "    ") + "\nasyncio.run(main())"
    p = lab.agent(PYTHON, "-c", code, **kw)
    assert p.returncode == 0, p.stderr
    return p.stdout


def test_python_websockets(ws):
    out = client(ws, f"""
        key = 'Bearer ' + os.environ['STRIPE_KEY']
        async with websockets.connect('{URL}/hello', extra_headers={{'Authorization': key}}, subprotocols=['chat']) as s:
            print(await s.recv())
            await s.send('text \\u00e9'); print(await s.recv())
            await s.send(b'\\x00\\xff' * 10); print((await s.recv()) == b'\\x00\\xff' * 10)
            await s.send('x' * 300000); print(len(await s.recv()))
            await s.send(['in ', 'three ', 'pieces']); print(await s.recv())
            await (await s.ping(b'p')); print('pong')
        print(s.close_code, s.subprotocol)
    """)
    first, *rest = out.splitlines()
    hello = json.loads(first)
    assert hello["authorization"] == "Bearer " + "*" * len(ws.keys["STRIPE_KEY"])
    assert hello["extensions"] is None
    assert rest == ["text \u00e9", "True", "300000", "in three pieces", "pong", "1000 chat"]
    assert holds_key(ws, out) == []
    assert any(line.get("bytes_down", 0) > 300000 and line.get("redacted") for line in audit(ws.daemons[0], kind="outcome", status=101))


def test_node_ws(ws):
    code = (f"const W = require('ws'); const s = new W('{URL}/hello', {{headers: {{authorization: 'Bearer ' + process.env.STRIPE_KEY}}}});"
            "let n = 0; s.on('message', m => { n++; console.log(m.toString()); if (n === 1) s.send('again'); else s.close(4001, 'done'); });"
            "s.on('close', c => console.log(c)); s.on('error', e => { console.error(e); process.exit(1); });")
    p = ws.agent(NODE, "-e", code, env={"NODE_PATH": NODE_PATH})
    assert p.returncode == 0, p.stderr
    first, *rest = p.stdout.splitlines()
    assert json.loads(first)["authorization"].startswith("Bearer ***")
    assert rest == ["again", "4001"]


def test_close_codes_and_streams(ws):
    assert client(ws, f"""
        for code in (1000, 1001, 1008, 4999):
            async with websockets.connect('{URL}/close/' + str(code)) as s:
                try:
                    await s.recv()
                except websockets.ConnectionClosed:
                    print(s.close_code, s.close_reason)
    """).split("\n")[:4] == [f"{c} as asked" for c in (1000, 1001, 1008, 4999)]
    late = [float(x) for x in client(ws, f"""
        async with websockets.connect('{URL}/stream/20') as s:
            async for m in s:
                print(time.time() - float(m))
    """).split()]
    assert len(late) == 20 and sorted(late)[10] < 0.05, late


def test_key_in_the_query_and_slots(ws):
    """The query is a slot of its own, which this secret has not."""
    p = ws.agent(PYTHON, "-c", f"import asyncio, websockets\nasync def main():\n  async with websockets.connect('{URL}/hello?k={REF}'): pass\nasyncio.run(main())")
    assert p.returncode != 0 and "403" in p.stderr


def handshake(host, *more, version="13"):
    return "\r\n".join(["GET /echo HTTP/1.1", f"Host: {host}:{PORT}", "Connection: Upgrade", "Upgrade: websocket",
                        f"Sec-WebSocket-Version: {version}", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *more]) + "\r\n\r\n"


def test_refused_handshakes(ws):
    answer = raw(ws, "files.lab-host.com", PORT, "files.lab-host.com", handshake("files.lab-host.com", "X-Close: 1").replace(
        "GET /echo HTTP/1.1", "GET /echo HTTP/1.1", 1).replace("Connection: Upgrade", "Connection: Upgrade, close"))
    assert answer.startswith("HTTP/1.1 403 ") and '"error":"policy_denied"' in answer
    status, body, _ = curl(ws, f"https://api.stripe.com:{PORT}/deny", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
                           "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "--http1.1")
    assert (status, body) == (403, "no\n")


@pytest.mark.parametrize("frame", [
    b"\x81\x02hi",                                  # no mask
    b"\xc1\x82\0\0\0\0hi",                          # a reserved bit
    b"\x83\x80\0\0\0\0",                            # a reserved opcode
    b"\x09\x80\0\0\0\0",                            # a ping in pieces
    b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,       # a long ping
    b"\x80\x80\0\0\0\0",                            # a continuation of nothing
    b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0b",          # a message within a message
    b"\x81\xfe\x00\x02\0\0\0\0hi",                  # a length in the wrong form
    b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0",          # a length with its highest bit
    b"\x88\x81\0\0\0\0a",                           # a Close with half a code
])
def test_bad_frames(ws, frame):
    """The agent is told so (1002), and nothing of it goes up."""
    code = ("import socket, ssl, os, sys\n"
            f"s = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE']).wrap_socket(socket.create_connection(('api.stripe.com', {PORT})), server_hostname='api.stripe.com')\n"
            f"s.sendall({handshake('api.stripe.com')!r}.encode())\n"
            "got = b''\nwhile b'\\r\\n\\r\\n' not in got:\n    got += s.recv(4096)\n"
            f"s.sendall({frame!r})\n"
            "rest = got.partition(b'\\r\\n\\r\\n')[2]\n"
            "try:\n    while True:\n        more = s.recv(4096)\n        if not more:\n            break\n        rest += more\n"
            "except OSError:\n    pass\nprint(got[:12].decode(), rest.hex())")
    p = ws.agent(PYTHON, "-c", code)
    assert p.stdout.split() == ["HTTP/1.1", "101", "880203ea"], (p.stdout, p.stderr)


H2_CLIENT = textwrap.dedent("""
    import os, socket, ssl, sys
    import h2.config, h2.connection, h2.events, h2.settings
    port, path = int(sys.argv[1]), sys.argv[2]
    tls = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    tls.set_alpn_protocols(["h2"])
    s = tls.wrap_socket(socket.create_connection(("api.stripe.com", port)), server_hostname="api.stripe.com")
    assert s.selected_alpn_protocol() == "h2"
    c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, validate_outbound_headers=False))
    c.initiate_connection()
    s.sendall(c.data_to_send())
    got, status, sent, closed = b"", None, False, False
    def go():
        c.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path),
                           (":authority", f"api.stripe.com:{port}"), ("sec-websocket-version", "13"),
                           ("authorization", "Bearer " + os.environ["STRIPE_KEY"])])
    begun = False
    while True:
        data = s.recv(65536)
        if not data:
            break
        for e in c.receive_data(data):
            if isinstance(e, h2.events.RemoteSettingsChanged) and not begun:
                print("extended connect", c.remote_settings.enable_connect_protocol)
                begun = True
                go()
            elif isinstance(e, h2.events.ResponseReceived):
                status = dict(e.headers)[b":status"].decode()
                print("status", status)
            elif isinstance(e, h2.events.DataReceived):
                got += e.data
                c.acknowledge_received_data(e.flow_controlled_length, 1)
            elif isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset)):
                print(got[:8].hex(), got.decode(errors="replace"))
                sys.exit()
        if status == "200" and not sent:
            sent = True
            c.send_data(1, b"\\x81\\x85\\1\\2\\3\\4igohn")
        if b"hello" in got and not closed:
            closed = True
            c.send_data(1, b"\\x88\\x82\\0\\0\\0\\0\\3\\xe8")
        s.sendall(c.data_to_send())
""")


def test_over_http2(ws):
    """RFC 8441: one stream of an HTTP/2 connection; the upstream sees an ordinary handshake."""
    p = ws.agent(PYTHON, "-c", H2_CLIENT, str(PORT), "/hello", timeout=40)
    assert "extended connect 1\nstatus 200\n" in p.stdout, (p.stdout, p.stderr)
    assert '"authorization": "Bearer ***' in p.stdout and "hello" in p.stdout and holds_key(ws, p.stdout) == []
