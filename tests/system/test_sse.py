"""Must show 6: an event leaves when it arrives. A server that says when it sent each; the same client, beside the guard and in it."""

import subprocess
import textwrap

import pytest

from helpers import AUTH

PORT = 9557
SERVER = textwrap.dedent("""
    import socket, ssl, sys, threading, time
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    listener = socket.create_server(("203.0.113.10", 9557))
    print("ready", flush=True)
    def serve(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s = tls.wrap_socket(s, server_side=True)
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            head += s.recv(4096)
        n, pause = (float(x) for x in head.split(b" ")[1].decode().strip("/").split("/"))
        s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        for i in range(int(n)):
            time.sleep(pause)
            event = b"data: %.7f sk_live_almost_a_key\\n\\n" % time.monotonic()
            s.sendall(b"%x\\r\\n%s\\r\\n" % (len(event), event))
        s.sendall(b"0\\r\\n\\r\\n")
        try:
            s.unwrap()
        except OSError:
            pass
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve, args=(s,), daemon=True).start()
""")
CLIENT = textwrap.dedent("""
    import os, socket, ssl, sys, time
    s = socket.create_connection((sys.argv[1], 9557))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s = ssl.create_default_context(cafile=sys.argv[2]).wrap_socket(s, server_hostname="api.stripe.com")
    s.sendall(f"GET {sys.argv[3]} HTTP/1.1\\r\\nHost: api.stripe.com:9557\\r\\n{sys.argv[4]}\\r\\nAccept: text/event-stream\\r\\n\\r\\n".encode())
    buf = b""
    while b"\\r\\n0\\r\\n" not in buf:
        more = s.recv(65536)
        now = time.monotonic()
        if not more:
            break
        buf += more
        for line in more.split(b"\\n"):
            if line.startswith(b"data: "):
                print(f"{(now - float(line.split()[1])) * 1000:.3f}")
""")


@pytest.fixture(scope="module")
def sse(world):
    p = world.private
    server = world.spawn("net", ["/usr/bin/python3", "-c", SERVER, f"{p}/good.pem", f"{p}/good.key"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    world.must("workspace", "allowlist", "add", "--workspace", "demo", f"api.stripe.com:{PORT}")
    yield world
    world.must("workspace", "allowlist", "remove", "--workspace", "demo", "api.stripe.com")
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "api.stripe.com")
    server.kill()


def through(lab, path):
    p = lab.agent("sh", "-c", 'exec "$0" -c "$1" api.stripe.com "$SSL_CERT_FILE" "$2" "$3"', "/usr/bin/python3", CLIENT, path, AUTH[1])
    assert p.returncode == 0, p.stderr
    return sorted(float(x) for x in p.stdout.split())


def direct(lab, path):
    out = lab.python("box", CLIENT, "203.0.113.10", str(lab.dir / "ca.pem"), path, "X-A: b", env=lab.env())
    return sorted(float(x) for x in out.split())


def median(values):
    return values[len(values) // 2]


def test_each_event_leaves_when_it_arrives(sse):
    """50 ms apart, with secrets bound to the host, so that every byte is searched."""
    late = through(sse, "/40/0.05")
    assert len(late) == 40 and median(late) < 10 and late[-2] < 45, late  # none waits for the next


def test_first_byte_delay(sse):
    """At most 1 ms more than without us at the median: of five rounds, alternating, the best, since others use the machine too."""
    more = []
    for _ in range(5):
        d, t = direct(sse, "/60/0.005"), through(sse, "/60/0.005")
        more.append(median(t) - median(d))
        if more[-1] <= 1:
            break
    print("more, in ms:", more)
    assert min(more) <= 1, more
