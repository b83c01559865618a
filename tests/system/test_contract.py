"""Must show 3: mistakes seen in other proxies, as far as they concern hosts, SNI, CONNECT, paths, redirects, limits and the
/proxy endpoint. What is not here has its test where its subject is: test_explicit.py, test_http1.py, test_7_bad_input.py, the
slots' and the redaction's tests."""

import hashlib
import json
import subprocess

import pytest

from helpers import REF, curl, holds_key, raw, raw_reason, reason
from lab import PEERS, wait_for

PORT = 9558
PROXY = "http://127.0.0.1:8765"
AT = f"https://api.stripe.com:{PORT}"


@pytest.fixture(scope="module")
def up(world):
    """api.stripe.com at a port of its own, where what arrives is written down."""
    p, file = world.private, world.private / "contract.jsonl"
    file.touch()
    server = world.spawn("net", ["/usr/bin/python3", str(PEERS / "raw_server.py"), "203.0.113.10", str(PORT), f"{p}/good.pem", f"{p}/good.key",
                                 str(file), "{}"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    world.must("workspace", "allowlist", "add", "--workspace", "demo", f"api.stripe.com:{PORT}")
    world.must("secrets", "set", "--workspace", "demo", "OTHER_KEY", "--host", "api.stripe.com", "--slot", "header", "--slot", "query", "--slot", "body",
               input="other-value-93c1")
    yield file
    world.must("secrets", "delete", "--workspace", "demo", "OTHER_KEY")
    world.must("workspace", "allowlist", "remove", "--workspace", "demo", "api.stripe.com")
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "api.stripe.com")
    server.kill()


def proxied(world, up, path, *headers, body=None):
    """What the upstream read of one /proxy request."""
    before = len(up.read_text().splitlines())
    args = [a for h in (f"X-AS-Target-URL: {AT}{path}", *headers) for a in ("-H", h)]
    status, text, p = curl(world, f"{PROXY}/proxy", "-x", "", *args, *(["--data-binary", body] if body is not None else []))
    assert status == 200, (text, p.stderr)
    lines = wait_for("the upstream's line", lambda: up.read_text().splitlines()[before:])
    return json.loads(lines[0])


def test_json_is_not_printed_anew(world, up):
    body = '{"z": 9007199254740993, "a" :1.10, "n":{"b":2,"a":1},"s":"\\u0041\\/"}'
    seen = proxied(world, up, "/", "X-AS-Inject-Body-n-key: OTHER_KEY", "Content-Type: application/json", body=body)
    assert seen["rest"] == body.replace('"a":1}', '"a":1,"key":"other-value-93c1"}')


def test_query_and_form_are_not_sorted(world, up):
    seen = proxied(world, up, "/?z=1&b=2&a=%7E+x", "X-AS-Inject-Query-m: OTHER_KEY")
    assert seen["head"].startswith("GET /?z=1&b=2&a=%7E+x&m=other-value-93c1 HTTP/1.1\r\n")
    seen = proxied(world, up, "/", "X-AS-Inject-Form-m: OTHER_KEY", body="z=1&b=2&a=%7E+x")
    assert seen["rest"] == "z=1&b=2&a=%7E+x&m=other-value-93c1"


def test_parameter_names_keep_their_case(world, up):
    for name in ("api_key", "Api-Key", "apiKEY"):
        assert f"GET /?{name}=other-value-93c1 HTTP/1.1" in proxied(world, up, "/", f"X-AS-Inject-Query-{name}: OTHER_KEY")["head"]
    seen = proxied(world, up, "/", "X-AS-Inject-Body-Auth-api%2Dkey: OTHER_KEY", "Content-Type: application/json", body="{}")
    assert seen["rest"] == '{"Auth":{"api-key":"other-value-93c1"}}'


def test_two_credentials_for_one_host(world, up):
    """Neither is lost; two for one place are an error."""
    head = proxied(world, up, "/", "X-AS-Inject-Bearer: STRIPE_KEY", "X-AS-Inject-Header-X-Second: OTHER_KEY")["head"]
    assert f"Authorization: Bearer {world.keys['STRIPE_KEY']}\r\n" in head and "X-Second: other-value-93c1\r\n" in head
    status, body, _ = curl(world, f"{PROXY}/proxy", "-x", "", "-H", f"X-AS-Target-URL: {AT}/", "-H", "X-AS-Inject-Bearer: STRIPE_KEY",
                           "-H", "X-AS-Inject-Header-authorization: OTHER_KEY")
    assert status == 400 and "same place" in body


def test_slots_hold_on_the_endpoint(world, up):
    """The header slot does not open the query or the body."""
    for header in ("X-AS-Inject-Query-k: STRIPE_KEY", "X-AS-Inject-Body-k: STRIPE_KEY", "X-AS-Inject-Form-k: STRIPE_KEY"):
        before = up.read_text()
        status, body, _ = curl(world, f"{PROXY}/proxy", "-x", "", "-H", f"X-AS-Target-URL: {AT}/", "-H", header, "-X", "POST")
        assert (status, reason(body)) == (403, "secret_slot_not_allowed") and up.read_text() == before


@pytest.fixture(scope="module")
def limited(world):
    """In `ordinary`, only what is below /public is allowed at files.lab-host.com."""
    world.must("workspace", "allowlist", "remove", "--workspace", "ordinary", "files.lab-host.com")
    world.must("workspace", "allowlist", "add", "--workspace", "ordinary", "files.lab-host.com", "--path", "/public/**")
    yield world
    world.must("workspace", "allowlist", "remove", "--workspace", "ordinary", "files.lab-host.com")
    world.must("workspace", "allowlist", "add", "--workspace", "ordinary", "files.lab-host.com")


@pytest.mark.parametrize("path", ["/public/../admin", "/public/%2e%2e/admin", "/public/.%2E/admin", "//public/x", "/public//x", "/public%2f..%2fadmin",
                                  "/public/%2F../admin", "/public/..%5cadmin", "/public/%00", "/admin", "/publicx", "/public/./../admin", "/PUBLIC/x"])
def test_paths_against_path_rules(limited, path):
    request = f"GET {path} HTTP/1.1\r\nHost: files.lab-host.com\r\nConnection: close\r\n\r\n"
    status, why = raw_reason(raw(limited, "files.lab-host.com", 443, "files.lab-host.com", request, workspace="ordinary"))
    assert status == "403" and why == "policy_denied"


@pytest.mark.parametrize("way", [(), ("-x", PROXY)])
def test_sni_right_host_other(world, way):
    reads = world.daemons[0].reads()
    status, body, p = curl(world, "https://files.lab-host.com/", *way, "-H", "Host: api.stripe.com", "-H", f"Authorization: Bearer {REF}")
    assert (status, reason(body)) == (403, "sni_host_mismatch"), p.stderr
    assert world.daemons[0].reads() == reads


def test_no_sni_in_a_connect(world):
    """curl sends none to an address; a name's TLS without one is not served either."""
    code = ("import socket, ssl, os\ns = socket.create_connection(('127.0.0.1', 8765))\n"
            "s.sendall(b'CONNECT api.stripe.com:443 HTTP/1.1\\r\\nHost: api.stripe.com:443\\r\\n\\r\\n')\n"
            "assert s.recv(4096).startswith(b'HTTP/1.1 200 ')\n"
            "c = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])\nc.check_hostname = False\n"
            "try:\n    c.wrap_socket(s)\n    print('served')\nexcept ssl.SSLError as e:\n    print(e.reason)\n")
    assert world.agent("/usr/bin/python3", "-c", code).stdout == "TLSV1_UNRECOGNIZED_NAME\n"


def test_a_redirect_to_another_host_takes_nothing_along(world):
    """The client follows; the hop is judged on its own and ends there."""
    status, body, p = curl(world, "https://files.lab-host.com/redirect", "-L")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist"), p.stderr
    status, body, _ = curl(world, "https://files.lab-host.com/redirect")
    assert status == 302 and world.leaks() == []


def test_a_long_response_is_not_cut(world):
    """One of 60 MB came back as 50 elsewhere, with status 200."""
    digest = world.make_download("contract.bin", 60_000_000)
    there = world.home / "contract.bin"
    for way in ((), ("-x", PROXY)):
        status, _, p = curl(world, "https://files.lab-host.com/down/contract.bin", *way, "-o", str(there))
        assert status == 200, p.stderr
        assert hashlib.sha256(there.read_bytes()).hexdigest() == digest
    there.unlink()


def test_limits_are_said(world):
    """Too long a head is refused as such, not dropped; nothing of it is quoted."""
    answer = raw(world, "api.stripe.com", 443, "api.stripe.com", "GET / HTTP/1.1\r\nHost: api.stripe.com\r\nX-A: " + "a" * 70000 + "\r\n\r\n")
    assert raw_reason(answer) == ("400", "bad_request") and "aaaa" not in answer
    answer = raw(world, "127.0.0.1", 8765, None, "GET /proxy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                 f"X-AS-Target-URL: {AT}/\r\n" + "".join(f"X-AS-Inject-Header-X-{i}: STRIPE_KEY\r\n" for i in range(17)) + "\r\n")
    assert answer.startswith("HTTP/1.1 400 ") and "too many X-AS-Inject-" in answer
    assert holds_key(world, answer) == []
