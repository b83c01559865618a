"""Many connections at once, and peers that stall, drip or go away: nothing sticks, memory is bounded, and the side that remains is
told. STRESS=1: 10,000 idle and 1,000 active ones; else a tenth."""

import os
import signal
import subprocess
import textwrap
import time

import pytest

from conftest import a_world
from helpers import curl, reason
from lab import PEERS, SANITIZED, wait_for
from test_6_load import MIB, fds, many, rss

SCALE = 10 if os.environ.get("STRESS") else 1
HOST, PORT = "files.lab-host.com", 9447
URL = f"https://{HOST}:{PORT}"

# /stall says nothing; /half ends in the middle; /drip has a byte at a time; anything else is read to its end and noted.
SERVER = textwrap.dedent("""
    import socket, ssl, sys, threading, time
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    def serve(raw):
        try:
            s = tls.wrap_socket(raw, server_side=True)
            head = s.recv(65536)
            path = head.split(b" ")[1]
            if path == b"/stall":
                print("stall", flush=True)
                s.recv(1)
                print("stall ended", flush=True)
            elif path == b"/half":
                s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\nhalf")
                raw.close()
            elif path == b"/drip":
                s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\n")
                for i in range(10):
                    s.sendall(b"x")
                    time.sleep(0.1)
            else:
                while s.recv(65536):
                    pass
                print("gone", flush=True)
        except OSError as e:
            print("gone" if b"/up" in path else "error", flush=True)
    l = socket.create_server(("0.0.0.0", int(sys.argv[3])), backlog=256)
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
""")


@pytest.fixture
def crowd():
    lab = a_world(proxy={"max_connections": 10000, "per_guard_connections": 10000})
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def stubborn():
    lab = a_world(proxy={"head_timeout": 3, "max_connections": 10000, "per_guard_connections": 10000}, upstream={"response_timeout": 3})
    p = lab.private
    lab.peer = lab.spawn("net", ["/usr/bin/python3", "-c", SERVER, f"{p}/good.pem", f"{p}/good.key", str(PORT)], stdout=subprocess.PIPE)
    assert lab.peer.stdout.readline() == b"ready\n"
    lab.must("workspace", "allowlist", "add", "--workspace", "demo", f"{HOST}:{PORT}")
    yield lab
    lab.down()


def test_idle_and_active(crowd):
    lab, d = crowd, crowd.daemons[0]
    curl(lab, f"https://{HOST}/hello")
    before, fds_before, each, holders = rss(d), fds(d), 1000 * SCALE // 4, []
    try:
        for _ in range(4):
            holders.append(lab.agent_start("/usr/bin/python3", str(PEERS / "idle.py"), HOST, "443", str(each), stdin=subprocess.PIPE))
        for h in holders:
            assert h.stdout.readline() == b"up %d\n" % each, h.stderr.read()
        held = rss(d)
        print("RSS MiB before", {k: round(v / MIB, 1) for k, v in before.items()}, f"with {4 * each} idle", {k: round(v / MIB, 1) for k, v in held.items()})
        assert SANITIZED or sum(held.values()) - sum(before.values()) < 4 * each * 48 * 1024 + 20 * MIB
        many(lab, 200 * SCALE, 100 * SCALE, 2)
        for h in holders:
            h.stdin.write(b"\n")
            h.stdin.flush()
            assert h.stdout.readline() == b"alive %d\n" % len(range(0, each, 100))
    finally:
        for h in holders:
            h.kill()
            h.communicate()
    wait_for("all to be closed", lambda: all(n <= fds_before.get(k, 0) + 70 for k, n in fds(d).items()), 60)
    after = rss(d)
    print("RSS MiB after", {k: round(v / MIB, 1) for k, v in after.items()})


def test_few_connections_are_shared_out(crowd):
    """Two workers: of eight connections, one after the other or at once, neither has more than five. One that is stopped keeps no
    connection waiting."""
    code = ("import socket, ssl, sys\n"
            "tls, held = ssl.create_default_context(), []\n"
            "for line in sys.stdin:\n"
            "    held = []\n"
            "    raw = [socket.create_connection((sys.argv[1], 443), 20) for _ in range(8)] if line == 'once\\n' else []\n"
            "    for i in range(8):\n"
            "        s = raw[i] if raw else socket.create_connection((sys.argv[1], 443), 20)\n"
            "        held.append(tls.wrap_socket(s, server_hostname=sys.argv[1]))\n"
            "    print('up', flush=True)\n")
    lab, d = crowd, crowd.daemons[0]
    p = lab.agent_start("/usr/bin/python3", "-c", code, HOST, stdin=subprocess.PIPE)

    def eight(how):
        p.stdin.write(how + b"\n")
        p.stdin.flush()
        began = time.monotonic()
        assert p.stdout.readline() == b"up\n", p.stderr.read()
        return time.monotonic() - began

    def proxies():
        return {pid: n for (role, pid), n in zip(d.processes(), fds(d).values()) if role.startswith("proxy")}
    try:
        wait_for("the agent's guard", lambda: d.ask(op="cgroup.list")["guards"], 10)
        before = proxies()
        for how in (b"each", b"once"):
            eight(how)
            wait_for("eight and no more", lambda: sum(proxies().values()) == sum(before.values()) + 8, 10)
            shares = sorted(n - before[pid] for pid, n in proxies().items())
            assert len(shares) == 2 and shares[0] >= 3, (how, shares)
        stopped = next(iter(before))
        os.kill(stopped, signal.SIGSTOP)
        try:
            # What the stopped one has accepted stays with it; what comes now goes to the other.
            assert eight(b"each") < 5
            assert eight(b"once") < 5
        finally:
            os.kill(stopped, signal.SIGCONT)
    finally:
        p.kill()
        p.communicate()


def test_slow_head(stubborn):
    """A head that does not come to its end: told, and closed, when its time is up."""
    code = ("import socket, ssl, time, sys\n"
            f"s = ssl.create_default_context().wrap_socket(socket.create_connection(('{HOST}', 443)), server_hostname='{HOST}')\n"
            "t = time.time()\n"
            "try:\n"
            "    for c in 'GET / HTTP/1.1' + 'x' * 100:\n"
            "        s.sendall(c.encode()); time.sleep(0.2)\n"
            "except OSError: pass\n"
            "print(time.time() - t, s.recv(100)[:12])\n")
    p = stubborn.agent("/usr/bin/python3", "-c", code)
    took, said = p.stdout.split(" ", 1)
    assert 2 < float(took) < 15 and "HTTP/1.1 400" in said, (p.stdout, p.stderr)


def test_slow_response_is_no_error(stubborn):
    assert curl(stubborn, f"{URL}/drip")[:2] == (200, "x" * 10)


def test_stalled_upstream(stubborn):
    status, body, _ = curl(stubborn, f"{URL}/stall")
    assert status in (502, 504) and reason(body) == "upstream_timeout", (status, body)
    assert stubborn.peer.stdout.readline() == b"stall\n"
    assert stubborn.peer.stdout.readline() == b"stall ended\n"


def test_upstream_that_goes_away(stubborn):
    p = stubborn.agent("curl", "-sS", "-m", "20", f"{URL}/half")
    assert p.returncode not in (0, 28) and "half" in p.stdout, (p.returncode, p.stderr)


def test_client_that_goes_away(stubborn):
    """In the middle of its body: the upstream is told by the end of the connection."""
    code = ("import socket, ssl\n"
            f"s = ssl.create_default_context().wrap_socket(socket.create_connection(('{HOST}', {PORT})), server_hostname='{HOST}')\n"
            f"s.sendall(b'POST /up HTTP/1.1\\r\\nHost: {HOST}:{PORT}\\r\\nContent-Length: 100000\\r\\n\\r\\nhalf')\n"
            "import time; time.sleep(1)\n")
    stubborn.agent("/usr/bin/python3", "-c", code)
    t = time.monotonic()
    assert stubborn.peer.stdout.readline() == b"gone\n" and time.monotonic() - t < 10


def test_rapid_reset(stubborn):
    """10,000 streams, each reset as soon as it is asked for: the connection is ended, and others go on as before."""
    code = textwrap.dedent(f"""
        import socket, ssl, h2.config, h2.connection
        tls = ssl.create_default_context()
        tls.set_alpn_protocols(["h2"])
        s = tls.wrap_socket(socket.create_connection(("{HOST}", 443)), server_hostname="{HOST}")
        c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        c.initiate_connection()
        sent = 0
        try:
            for i in range(10000):
                c.send_headers(2 * i + 1, [(":method", "GET"), (":scheme", "https"), (":authority", "{HOST}"), (":path", "/hello")], end_stream=True)
                c.reset_stream(2 * i + 1)
                s.sendall(c.data_to_send())
                sent += 1
            s.settimeout(30)
            while s.recv(65536):
                pass
            print("ended", sent)
        except OSError as e:
            print("ended", sent)
    """)
    d = stubborn.daemons[0]
    before = rss(d)
    p = stubborn.agent("/usr/bin/python3", "-c", code, timeout=120)
    assert p.stdout.startswith("ended"), (p.stdout, p.stderr[-1000:])
    print(p.stdout.strip(), "of 10000; RSS MiB before", sum(before.values()) // MIB, "after", sum(rss(d).values()) // MIB)
    assert SANITIZED or sum(rss(d).values()) - sum(before.values()) < 20 * MIB
    assert curl(stubborn, f"https://{HOST}/hello")[0] == 200
    assert all(d.pids[pid] == role for role, pid in d.processes())
