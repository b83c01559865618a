"""HTTP/2 on both sides, and on one of them: h2.lab-host.com speaks it, files.lab-host.com does not."""

import hashlib
import json
import os
import re
import subprocess

import pytest

from helpers import audit, curl, holds_key, reason
from lab import BUILD, HOSTS, NODE_PATH, PEERS, SANITIZED

AUTH = ("-H", "Authorization: Bearer agentsecrets://H2_KEY")
H2 = "https://h2.lab-host.com"
H1 = "https://files.lab-host.com"
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def lab(world):
    """A workspace of its own, so that the shared one stays as it was."""
    world.keys["H2_KEY"] = "h2_live_" + os.urandom(24).hex()
    world.must("workspace", "create", "http2")
    world.must("secrets", "set", "--workspace", "http2", "H2_KEY", "--host", "h2.lab-host.com", input=world.keys["H2_KEY"])
    world.must("workspace", "allowlist", "add", "--workspace", "http2", "h2.lab-host.com", "files.lab-host.com")
    yield world
    world.must("workspace", "delete", "http2")
    del world.keys["H2_KEY"]


def ask(lab, version, url, *args, **kw):
    """(version spoken with us, status, body)."""
    status, body, p = curl(lab, url, f"--http{version}", "-w", "\n%{http_version}\n%{http_code}", *args, workspace="http2", **kw)
    body, _, spoken = body.rpartition("\n")
    assert status, p.stderr
    return spoken, status, body


def seen(lab, before, host, **kw):
    return lab.wait_requests(len(before) + 1, host=host, **kw)[-1]


@pytest.mark.parametrize("agent,url,upstream", [("2", H2, "HTTP/2.0"), ("2", H1, "HTTP/1.1"), ("1.1", H2, "HTTP/1.1")])
def test_versions(lab, agent, url, upstream):
    """An agent that speaks HTTP/2 gets it, wherever it asks; one that does not needs no translation."""
    host = url[8:]
    before = lab.requests(host=host)
    spoken, status, _ = ask(lab, agent, url + ("/echo" if url == H2 else "/hello"))
    assert (spoken, status) == (agent, 200)
    assert seen(lab, before, host)["http"] == upstream


@pytest.mark.parametrize("agent", ["2", "1.1"])
def test_the_credential_arrives_and_its_echo_is_masked(lab, agent):
    before = lab.requests(host="h2.lab-host.com")
    _, status, body = ask(lab, agent, f"{H2}/echo", *AUTH)
    assert status == 200 and body == "GET Bearer " + "*" * len(lab.keys["H2_KEY"]) + " \n"
    assert seen(lab, before, "h2.lab-host.com")["authorization"] == f"Bearer {lab.keys['H2_KEY']}"


def test_refusals_are_the_same(lab):
    for url, args, want in ((f"{H1}/hello", AUTH, "secret_not_for_host"), ("https://attacker-domain.com/", (), "domain_not_in_allowlist"),
                            (f"{H2}/echo", ("-H", "Authorization: Bearer agentsecrets://NO_SUCH"), "secret_unknown"),
                            (f"{H2}/echo", ("-H", "Host: files.lab-host.com"), "sni_host_mismatch")):
        spoken, status, body = ask(lab, "2", url, *args)
        assert (spoken, status, reason(body)) == ("2", 403, want)
        assert audit(lab.daemons[0], kind="decision", verdict="deny", reason=want, workspace="http2")


@pytest.mark.parametrize("args,want", [(("-I",), 200), (("-d", "a=b"), 200), (("-X", "DELETE"), 200)])
def test_methods(lab, args, want):
    assert ask(lab, "2", f"{H2}/echo", *args)[1] == want


def test_cookies_are_one_again(lab):
    _, _, body = ask(lab, "2", f"{H2}/echo", "-H", "Cookie: a=1; b=2", "-H", "Cookie: c=3")
    assert body.endswith("a=1; b=2; c=3\n")


@pytest.mark.parametrize("agent", ["2", "1.1"])
@pytest.mark.parametrize("url", [H2, H1])
def test_big_bodies_both_ways(lab, agent, url):
    digest = lab.make_download("h2-big", 12 << 20)
    there, up = lab.home / "h2-big", lab.private / "up" / "h2-big"
    assert ask(lab, agent, f"{url}/down/h2-big", "-o", str(there))[:2] == (agent, 200)
    assert hashlib.sha256(there.read_bytes()).hexdigest() == digest
    up.unlink(missing_ok=True)
    assert ask(lab, agent, f"{url}/up/h2-big", "-T", str(there))[1] == 201
    assert hashlib.sha256(up.read_bytes()).hexdigest() == digest
    up.unlink()
    p = lab.agent("sh", "-c", f"cat h2-big | curl -sS --http{agent} -T - {url}/up/h2-big", workspace="http2")
    assert hashlib.sha256(up.read_bytes()).hexdigest() == digest, p.stderr


def test_a_chunked_body_down(lab):
    digest = lab.make_download("h2-chunked", 3 << 20)
    there = lab.home / "h2-chunked"
    assert ask(lab, "2", f"{H1}/chunked/h2-chunked", "-o", str(there))[:2] == ("2", 200)
    assert hashlib.sha256(there.read_bytes()).hexdigest() == digest


def test_one_connection_many_verdicts(lab):
    """Streams side by side on one connection are judged one by one."""
    urls = []
    for i in range(10):
        urls += ["--next", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n", f"{H2}/echo?{i}"]
        urls += ["-H", f"Authorization: Bearer agentsecrets://{'H2_KEY' if i % 2 else 'STRIPE_KEY'}"]
    p = lab.agent("curl", "-Z", "--parallel-immediate", *urls[1:], workspace="http2")
    codes = sorted(line.split()[0] for line in p.stdout.splitlines())
    assert codes == ["200"] * 5 + ["403"] * 5, (p.stdout, p.stderr)


def test_python_httpx(lab):
    before = lab.requests(host="h2.lab-host.com")
    code = ("import httpx\nc = httpx.Client(http2=True, timeout=20)\n"
            f"for i in range(3):\n r = c.get('{H2}/echo', headers={{'Authorization': 'Bearer agentsecrets://H2_KEY'}})\n"
            " print(r.http_version, r.status_code)\n")
    p = lab.agent(PYTHON, "-c", code, workspace="http2")
    assert p.stdout == "HTTP/2 200\n" * 3, p.stderr
    got = lab.wait_requests(len(before) + 3, host="h2.lab-host.com")[len(before):]
    assert [(q["authorization"], q["http"]) for q in got] == [(f"Bearer {lab.keys['H2_KEY']}", "HTTP/2.0")] * 3


def test_node_http2(lab):
    code = ("const s = require('http2').connect('" + H2 + "'); let left = 20, bad = [];"
            "for (let i = 0; i < 20; i++) { const r = s.request({':path': '/echo?' + i, authorization: 'Bearer agentsecrets://' + (i % 4 ? 'H2_KEY' : 'NONE')});"
            "let status; r.on('response', h => status = h[':status']); r.resume(); r.on('end', () => {"
            "if (status !== (i % 4 ? 200 : 403)) bad.push([i, status]); if (!--left) { console.log(JSON.stringify(bad)); s.close(); } }); }")
    p = lab.agent("node", "-e", code, workspace="http2")
    assert json.loads(p.stdout) == [], p.stderr


def test_npm_undici(lab):
    """Its HTTP/2, thirty requests on one connection, one after the other: of several at once version 6 loses count."""
    before = lab.requests(host="h2.lab-host.com")
    code = ("const {Agent, request} = require('undici'); const dispatcher = new Agent({allowH2: true, connections: 1, pipelining: 1});"
            f"Promise.all([...Array(30).keys()].map(i => request('{H2}/echo?u' + i, {{dispatcher, headers: {{authorization: 'Bearer agentsecrets://H2_KEY'}}}})"
            ".then(async r => [r.statusCode, (await r.body.text()).slice(0, 15)].join(' ')))).then(a => { console.log([...new Set(a)].join()); dispatcher.close(); });")
    p = lab.agent("node", "-e", code, workspace="http2", env={"NODE_PATH": NODE_PATH})
    if "undici/lib/api/api-request.js" in p.stderr:  # seen once, on a machine ten times overloaded: it pushed to a body it had let go
        before = lab.requests(host="h2.lab-host.com")
        p = lab.agent("node", "-e", code, workspace="http2", env={"NODE_PATH": NODE_PATH})
    assert p.stdout == "200 GET Bearer ****\n", (p.stdout, p.stderr)
    got = lab.wait_requests(len(before) + 30, host="h2.lab-host.com")[len(before):]
    assert {(q["authorization"], q["http"]) for q in got} == {(f"Bearer {lab.keys['H2_KEY']}", "HTTP/2.0")}


def test_nothing_holds_the_key(lab):
    d = lab.daemons[0]
    assert holds_key(lab, d.messages()) == [] and holds_key(lab, json.dumps(d.audit_lines())) == []


# ---- gRPC ----

GRPC = "grpc.lab-host.com:9443"
KEY = "Bearer agentsecrets://GRPC_KEY"


@pytest.fixture(scope="module")
def grpc_built():
    """Debian's Go and gRPC packages, built once."""
    there, source = BUILD / "grpc", PEERS / "grpc.go"
    if not there.exists() or there.stat().st_mtime < source.stat().st_mtime:
        env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(BUILD / "gocache")}
        subprocess.run(["go", "build", "-o", str(there), str(source)], env=env, check=True)
    return str(there)


@pytest.fixture(scope="module")
def grpc(lab, grpc_built):
    p = lab.private
    lab.keys["GRPC_KEY"] = "grpc_live_" + os.urandom(24).hex()
    lab.must("secrets", "set", "--workspace", "http2", "GRPC_KEY", "--host", "grpc.lab-host.com", input=lab.keys["GRPC_KEY"])
    lab.must("workspace", "allowlist", "add", "--workspace", "http2", GRPC)
    server = lab.spawn("net", [grpc_built, "server", f"{HOSTS['grpc.lab-host.com'][0]}:9443", f"{p}/good.pem", f"{p}/good.key",
                               lab.keys["GRPC_KEY"]], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"

    def call(what, authorization=KEY, address=GRPC):
        p = lab.agent(grpc_built, what, address, authorization, workspace="http2", env={"GODEBUG": "netdns=go+4"})
        assert p.returncode == 0, p.stderr
        return p.stdout.splitlines()
    call.server = server
    yield call
    server.kill()
    del lab.keys["GRPC_KEY"]


def test_grpc_unary_and_trailers(lab, grpc):
    """The server has no HTTP/1.1. It gives the key back in a trailer, where it is masked."""
    assert grpc("check") == ["SERVING", "OK  Bearer " + "*" * len(lab.keys["GRPC_KEY"])]


def test_grpc_compressed_messages(lab, grpc):
    """Messages are compressed one by one, the key in them: it is masked there too."""
    n = len(lab.keys["GRPC_KEY"])
    masked = "Bearer " + "*" * n
    assert grpc("say") == [f"{7 + n + more} {masked}" for more in (0, 100, 100000)] + ["EOF"]
    assert grpc.server.stdout.readline() == b"packed\n"


def test_grpc_server_streaming(grpc):
    assert grpc("watch") == ["SERVING", "NOT_SERVING", "SERVING", "OK  "]


def test_grpc_deadline(lab, grpc):
    assert grpc("slow")[0].startswith("DeadlineExceeded ")
    assert grpc("check")[0] == "SERVING"


def test_grpc_error_of_the_server(grpc):
    assert grpc("check", "Bearer wrong") == ["Unauthenticated wrong token Bearer wrong"]


def test_grpc_refusals_have_a_status(lab, grpc):
    said, = grpc("check", "Bearer agentsecrets://H2_KEY")
    assert said.startswith("PermissionDenied secret_not_for_host: The secret may not be sent to grpc.lab-host.com."), said
    said, = grpc("check", KEY, "attacker-domain.com:443")
    assert said.startswith("PermissionDenied domain_not_in_allowlist: attacker-domain.com is not in your workspace allowlist."), said
    said, = grpc("check", KEY, "grpc.lab-host.com:9444")
    assert said.startswith("PermissionDenied policy_denied: "), said
    assert audit(lab.daemons[0], kind="decision", verdict="deny", reason="secret_not_for_host", host="grpc.lab-host.com")


def test_grpc_many_calls_share_a_connection(lab, grpc):
    assert grpc("many") == ["200"]


def test_go_net_http(lab, grpc_built):
    before = lab.requests(host="h2.lab-host.com")
    p = lab.agent(grpc_built, "get", f"{H2}/echo", "Bearer agentsecrets://H2_KEY", workspace="http2")
    assert p.stdout == "HTTP/2.0 200 GET Bearer " + "*" * len(lab.keys["H2_KEY"]) + " \n", p.stderr
    assert seen(lab, before, "h2.lab-host.com")["authorization"] == f"Bearer {lab.keys['H2_KEY']}"


@pytest.fixture
def only(lab, grpc_built):
    """Where a server answers that refuses HTTP/1.1 in the handshake."""
    p, address = lab.private, "grpc.lab-host.com:9446"
    server = lab.spawn("net", [grpc_built, "only", f"{HOSTS['grpc.lab-host.com'][0]}:9446", f"{p}/good.pem", f"{p}/good.key"], stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == b"ready\n"
        lab.must("workspace", "allowlist", "add", "--workspace", "http2", address)
        yield f"https://{address}"
        lab.must("workspace", "allowlist", "remove", "--workspace", "http2", address)
        left = lab.must("workspace", "allowlist", "list", "--workspace", "http2", "--json").stdout
        assert '"grpc.lab-host.com"' in left and "9446" not in left, left
    finally:
        server.kill()
        server.wait()


def test_http1_agent_and_an_upstream_that_has_only_http2(lab, grpc, only):
    """The request is translated. The upstream sends a trailer, too, and an early hint."""
    for _ in range(2):
        got = lab.agent("curl", "-sS", "-i", "--http1.1", "-d", "x" * 1000, f"{only}/sum", workspace="http2")
        assert re.match(r"HTTP/1.1 103 [\w ]*\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", got.stdout), (got.stdout, got.stderr)
        assert "POST 1000" in got.stdout and "x-sum: 1000" in got.stdout, got.stdout


@pytest.mark.parametrize("agent", ["2", "1.1"])
def test_answer_before_the_request_is_complete(lab, grpc, only, agent):
    """The upstream answers in full and resets with NO_ERROR (RFC 9113, 8.1) while megabytes of a body are still to come."""
    for _ in range(3):
        got = lab.agent("sh", "-c", f"head -c 30000000 /dev/zero | curl -sS -m 25 --http{agent} -w ' %{{http_code}}' -T - -X POST {only}/early",
                        workspace="http2")
        assert got.stdout == "too much 413", (got.stdout, got.stderr)


# ---- WebSocket over HTTP/2 ----

WS = "grpc.lab-host.com:9445"


@pytest.fixture(scope="module")
def ws(lab):
    p = lab.private
    lab.must("secrets", "set", "--workspace", "http2", "WS_KEY", "--host", "grpc.lab-host.com", input="ws_live_" + os.urandom(24).hex())
    lab.must("workspace", "allowlist", "add", "--workspace", "http2", WS)
    server = lab.spawn("net", [PYTHON, str(PEERS / "ws_server.py"), HOSTS["grpc.lab-host.com"][0], "9445", f"{p}/good.pem",
                               f"{p}/good.key"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    yield lab
    server.kill()


def test_websocket_over_http2(ws):
    """Extended CONNECT (RFC 8441) becomes a handshake of HTTP/1.1, with the key in it."""
    code = ("const s = require('http2').connect('https://" + WS + "');"
            "s.on('remoteSettings', t => { console.log(t.enableConnectProtocol);"
            "const r = s.request({':method': 'CONNECT', ':protocol': 'websocket', ':path': '/hello', 'sec-websocket-version': '13',"
            "authorization: 'Bearer agentsecrets://WS_KEY'}); let got = Buffer.alloc(0), n = 0;"
            "const frame = (op, text) => { const m = Buffer.from([1, 2, 3, 4]), b = Buffer.from(text);"
            "return Buffer.concat([Buffer.from([0x80 | op, 0x80 | b.length]), m, b.map((x, i) => x ^ m[i % 4])]); };"
            "r.on('response', h => console.log(h[':status'], h['sec-websocket-accept'], h.upgrade));"
            "r.on('data', d => { got = Buffer.concat([got, d]); for (;;) { if (got.length < 2) return; let l = got[1], a = 2;"
            "if (l === 126) { l = got.readUInt16BE(2); a = 4; } if (got.length < a + l) return;"
            "const op = got[0] & 15, m = got.subarray(a, a + l).toString(); got = got.subarray(a + l);"
            "if (op === 8) { console.log('close', l); r.end(); } else { console.log(m); if (!n++) r.write(frame(1, 'hello')); else r.write(frame(8, '')); } } });"
            "r.on('end', () => console.log('end')); r.on('close', () => { console.log('code', r.rstCode); s.close(); }); });")
    p = ws.agent("node", "-e", code, workspace="http2", timeout=30)
    lines = p.stdout.splitlines()
    assert lines[0] == "true" and lines[1] == "200 undefined undefined", (p.stdout, p.stderr)
    assert json.loads(lines[2])["authorization"] == "Bearer " + "*" * 56
    assert lines[3] == "hello" and lines[-2:] == ["end", "code 0"], (p.stdout, p.stderr)


def test_websocket_over_http2_is_refused_as_any_other(ws):
    code = ("const s = require('http2').connect('https://" + WS + "'); s.on('remoteSettings', () => {"
            "const r = s.request({':method': 'CONNECT', ':protocol': 'websocket', ':path': '/hello', authorization: 'Bearer agentsecrets://H2_KEY',"
            "'sec-websocket-version': '13'});"
            "r.on('response', h => console.log(h[':status'])); let b = ''; r.on('data', d => b += d); r.on('end', () => { console.log(b); s.close(); }); });")
    p = ws.agent("node", "-e", code, workspace="http2", timeout=30)
    status, body = p.stdout.split("\n", 1)
    assert (status, reason(body)) == ("403", "secret_not_for_host"), p.stderr


# ---- abuse ----

def memory(lab):
    """KiB of all proxies."""
    total = 0
    for role, pid in lab.daemons[0].processes():
        if role.startswith("proxy"):
            with open(f"/proc/{pid}/status") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    return total


@pytest.mark.parametrize("what,codes", [("reset", ("11", "none")), ("continue", ("1", "11", "none"))])
def test_floods_end_the_connection(lab, what, codes):
    """10,000 streams cancelled at once, a header block without an end: bounded, and others go on."""
    before = memory(lab), len(lab.daemons[0].audit_lines())
    p = lab.agent(PYTHON, str(PEERS / "h2abuse.py"), "h2.lab-host.com", what, workspace="http2")
    assert p.stdout.strip() in codes, (p.stdout, p.stderr)
    assert SANITIZED or memory(lab) - before[0] < 16 << 10
    assert len(lab.daemons[0].audit_lines()) - before[1] < 3000
    assert ask(lab, "2", f"{H2}/echo")[1] == 200


def test_slow_reader_holds_little(lab):
    """60 downloads on one connection that nothing is read of."""
    lab.make_download("h2-slow", 8 << 20)
    before = memory(lab)
    p = lab.agent_start(PYTHON, str(PEERS / "h2abuse.py"), "files.lab-host.com", "stall", "/down/h2-slow", workspace="http2",
                        stdin=subprocess.PIPE)
    assert p.stdout.readline() == b"ready\n"
    try:
        audit(lab.daemons[0], kind="decision", path="/down/h2-slow", seconds=10)
        for _ in range(20):  # it settles
            assert ask(lab, "2", f"{H2}/echo")[1] == 200
        grown = memory(lab) - before
    finally:
        p.communicate(b"")
    assert grown < 60 * 400, f"{grown} KiB"
    print(f"60 stalled downloads: {grown} KiB")
