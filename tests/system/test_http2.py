"""HTTP/2 on both sides, and on one of them: h2.lab-host.com speaks it, files.lab-host.com does not."""

import hashlib
import json
import os

import pytest

from helpers import audit, curl, holds_key, reason

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


def test_nothing_holds_the_key(lab):
    d = lab.daemons[0]
    assert holds_key(lab, d.messages()) == [] and holds_key(lab, json.dumps(d.audit_lines())) == []
