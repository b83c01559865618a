"""The way to upstreams: plain requests upgraded to TLS, client certificates, more CAs, a corporate proxy (by name and with a
password: test_corporate.py), two address families."""

import subprocess

import pytest

from helpers import AUTH, audit, curl, holds_key, reason
from lab import PEERS, Daemon, Lab, run

PINNED, MUTUAL = "pinned.lab-host.com", "mutual.lab-host.com"


def up_servers(lab):
    """nginx of its own: a host that redirects, one that wants to see a certificate, one whose CA is another."""
    p = lab.private
    new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(*new, "-subj", "/CN=corporate 9", "-keyout", f"{p}/client.key", "-out", f"{p}/client.csr")
    run("openssl", "x509", "-req", "-days", "2", "-in", f"{p}/client.csr", "-CA", f"{lab.dir}/ca.pem", "-CAkey",
        f"{p}/ca.key", "-CAcreateserial", "-out", f"{p}/client.pem")
    run(*new, "-x509", "-days", "2", "-subj", "/CN=other root", "-addext", "subjectAltName=DNS:other-db.lab-host.com",
        "-keyout", f"{p}/other.key", "-out", f"{lab.dir}/other.pem")
    say = ("location / { default_type text/plain; add_header Strict-Transport-Security max-age=9; "
           "return 200 '$host:$server_port $http_host [$ssl_client_s_dn] $ssl_session_reused $http_authorization\\n'; }")
    good = f"ssl_certificate {p}/good.pem; ssl_certificate_key {p}/good.key;"
    (p / "up.conf").write_text(f"""
user root; worker_processes 1; pid {p}/up.pid; error_log {p}/up.err warn; events {{ worker_connections 1024; }}
http {{ access_log off; server_tokens off; keepalive_timeout 0; client_body_temp_path {p}/tmp/b3; proxy_temp_path {p}/tmp/p3;
fastcgi_temp_path {p}/tmp/f3; uwsgi_temp_path {p}/tmp/u3; scgi_temp_path {p}/tmp/s3; ssl_session_cache shared:S:1m;
server {{ listen 203.0.113.20:443 ssl; listen 203.0.113.20:8443 ssl; {good} {say}
  location = /home {{ return 302 https://$host/after?a=1#part; }} location = /ported {{ return 302 https://$host:8443/after; }}
  location = /away {{ return 302 https://attacker-domain.com/; }} }}
server {{ listen 203.0.113.21:443 ssl; {good} ssl_client_certificate {lab.dir}/ca.pem; ssl_verify_client on; {say} }}
server {{ listen 203.0.113.23:443 ssl; ssl_certificate {lab.dir}/other.pem; ssl_certificate_key {p}/other.key; {say} }}
}}""")
    run(*lab.nsenter("net"), "nginx", "-e", f"{p}/up.err", "-p", str(p), "-c", f"{p}/up.conf", env=lab.env())


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        up_servers(made)
        Daemon(made, proxy={"workers": 1}, upstream={"extra_ca_file": f"{made.dir}/other.pem"}).start()
        made.setup()
        made.must("workspace", "allowlist", "remove", "api.stripe.com", "wrong-name.lab-host.com")
        made.must("workspace", "allowlist", "add", "--upgrade", "api.stripe.com", "wrong-name.lab-host.com", PINNED)
        yield made
        print(made.daemons[0].messages()[-4000:])




# ---- upgrade ----

@pytest.mark.parametrize("host", ["api.stripe.com", "api.stripe.com:80"])
def test_plain_request_goes_up_over_tls_with_its_key(lab, host):
    had = len(lab.requests(host="api.stripe.com"))
    status, body, p = curl(lab, "http://api.stripe.com/v1/invoices", *AUTH, "-H", f"Host: {host}")
    assert status == 200 and '"object":"list"' in body, (status, body, p.stderr)
    line = lab.wait_requests(had + 1, host="api.stripe.com")[-1]
    assert line["tls"] == "TLSv1.3" and line["port"] == "443" and line["authorization"] == f"Bearer {lab.keys['STRIPE_KEY']}"
    said = audit(lab.daemons[0], kind="decision", host="api.stripe.com", detail="upgraded from http")[-1]
    assert (said["scheme"], said["port"], said["verdict"], said["secrets"]) == ("https", 443, "allow", ["STRIPE_KEY"]), said


def test_host_names_the_port_it_goes_to(lab):
    status, body, _ = curl(lab, f"http://{PINNED}/", "-0")
    assert status == 200 and f"{PINNED}:443 {PINNED} [" in body, body
    lab.must("workspace", "allowlist", "remove", PINNED)
    lab.must("workspace", "allowlist", "add", "--upgrade", "--port", "8443", PINNED)
    status, body, _ = curl(lab, f"http://{PINNED}/")
    assert status == 200 and f"{PINNED}:8443 {PINNED}:8443 [" in body, body
    status, body, _ = curl(lab, f"http://{PINNED}/ported", "-L")
    assert status == 200 and f"{PINNED}:8443" in body, body
    status, body, p = curl(lab, f"http://{PINNED}/home", "-o", "/dev/null", "-w", "%{redirect_url}\n%{http_code}")
    assert body.strip() == f"https://{PINNED}/after?a=1#part", body  # port 443 is another place
    lab.must("workspace", "allowlist", "remove", PINNED)
    lab.must("workspace", "allowlist", "add", "--upgrade", PINNED)


def test_location_of_the_same_host_stays_reachable(lab):
    status, body, p = curl(lab, f"http://{PINNED}/home", "-L", "-w", "%{url_effective}\n%{http_code}")
    assert status == 200 and f"http://{PINNED}/after?a=1" in body, (body, p.stderr)
    status, body, _ = curl(lab, f"http://{PINNED}/away", "-o", "/dev/null", "-w", "%{redirect_url}\n%{http_code}")
    assert body.strip() == "https://attacker-domain.com/"
    status, body, _ = curl(lab, f"https://{PINNED}/home", "-o", "/dev/null", "-w", "%{redirect_url}\n%{http_code}")
    assert body.strip().startswith(f"https://{PINNED}/after"), body  # who speaks TLS is not led away from it


def test_upgrade_refusals(lab):
    status, body, _ = curl(lab, "http://api.openai.com/v1/models", "-H", "Authorization: Bearer agentsecrets://OPENAI_API_KEY")
    assert (status, reason(body)) == (403, "non_https_blocked")
    status, body, _ = curl(lab, "http://api.stripe.com:8080/", *AUTH)
    assert (status, reason(body)) == (403, "non_https_blocked"), body
    status, body, _ = curl(lab, "http://api.stripe.com/", "-H", "Authorization: Bearer agentsecrets://OPENAI_API_KEY")
    assert (status, reason(body)) == (403, "secret_not_for_host"), body
    status, body, _ = curl(lab, "http://wrong-name.lab-host.com/")
    assert status == 502 and "certificate" in body, body


# ---- certificates ----

def set_certificate(lab, name, pem, host):
    lab.must("secrets", "set", name, "--slot", "client_cert", "--host", host, input=pem)


def pem_of(lab):
    return (lab.private / "client.key").read_text() + (lab.private / "client.pem").read_text()


def test_client_certificate(lab):
    """It is read when a verified upstream asks for it, for the handshake; a resumed session needs it no more."""
    d = lab.daemons[0]
    set_certificate(lab, "CORP_CERT", pem_of(lab), MUTUAL)
    lab.must("workspace", "allowlist", "add", MUTUAL)
    assert curl(lab, f"https://{MUTUAL}/")[0] == 400  # no rule shows it
    lab.must("workspace", "allowlist", "remove", MUTUAL)
    lab.must("workspace", "allowlist", "add", "--client-cert", "CORP_CERT", MUTUAL)
    reads = d.reads()
    p = lab.agent("sh", "-c", f"curl -sS -m 10 https://{MUTUAL}/; curl -sS -m 10 https://{MUTUAL}/")
    first, second = p.stdout.splitlines()
    assert "[CN=corporate 9] . " in first and "[CN=corporate 9] r " in second, (p.stdout, p.stderr)
    assert d.reads() == reads + 1
    said = audit(d, kind="decision", host=MUTUAL, verdict="allow")[-1]
    assert said["secrets"] == ["CORP_CERT"], said
    listed = lab.must("workspace", "allowlist", "list").stdout
    assert "client-cert=CORP_CERT" in listed


def test_client_certificate_refusals(lab):
    lab.must("workspace", "allowlist", "add", "--client-cert", "NO_SUCH", "other-db.lab-host.com")
    status, body, _ = curl(lab, "https://other-db.lab-host.com/")
    assert (status, reason(body)) == (403, "secret_unknown"), body
    set_certificate(lab, "NO_SUCH", pem_of(lab), "api.stripe.com")
    status, body, _ = curl(lab, "https://other-db.lab-host.com/")
    assert (status, reason(body)) == (403, "secret_not_for_host"), body
    lab.must("secrets", "set", "NO_SUCH", "--slot", "header", "--host", "other-db.lab-host.com", input="x" * 20)
    status, body, _ = curl(lab, "https://other-db.lab-host.com/")
    assert (status, reason(body)) == (403, "secret_slot_not_allowed"), body
    # As a header it goes nowhere, not even to its own host.
    status, body, _ = curl(lab, f"https://{MUTUAL}/", "-H", "X-Key: agentsecrets://CORP_CERT")
    assert (status, reason(body)) == (403, "secret_slot_not_allowed"), body
    lab.must("workspace", "allowlist", "remove", "other-db.lab-host.com")
    p = lab.cli("secrets", "set", "BOTH", "--slot", "client_cert", "--slot", "header", "--host", MUTUAL, input="x")
    assert p.returncode == 1 and "no other" in p.stderr, p.stderr


@pytest.mark.parametrize("what", ["no pem", "certificate alone", "key alone", "another key"])
def test_client_certificate_that_is_none(lab, what):
    p = lab.private
    pem = {"no pem": "hello", "certificate alone": (p / "client.pem").read_text(), "key alone": (p / "client.key").read_text(),
           "another key": (p / "client.pem").read_text() + (p / "good.key").read_text()}[what]
    set_certificate(lab, "CORP_CERT", pem, MUTUAL)
    status, body, _ = curl(lab, f"https://{MUTUAL}/")
    assert status >= 500 and reason(body) == "vault_unavailable" or "vault" in body, (status, body)
    assert "BEGIN" not in body and holds_key(lab, body) == []
    set_certificate(lab, "CORP_CERT", pem_of(lab), MUTUAL)
    assert curl(lab, f"https://{MUTUAL}/")[0] == 200


def test_more_cas(lab):
    """extra_ca_file adds to ca_file."""
    lab.must("workspace", "allowlist", "add", "other-db.lab-host.com")
    status, body, p = curl(lab, "https://other-db.lab-host.com/")
    assert status == 200 and "other-db.lab-host.com:443" in body, (body, p.stderr)
    assert curl(lab, "https://files.lab-host.com/hello")[0] == 200
    lab.must("workspace", "allowlist", "remove", "other-db.lab-host.com")


# ---- two address families ----

def test_a_family_that_does_not_answer(lab):
    """The one address swallows packets: the other is tried a quarter of a second later, and serves."""
    # The IPv4 address, which comes first, is silent.
    run("ip", "-n", lab.ns("net"), "addr", "del", "203.0.113.13/32", "dev", "lo")
    run("ip", "-n", lab.ns("net"), "route", "add", "blackhole", "203.0.113.13/32")
    try:
        status, body, p = curl(lab, "https://files.lab-host.com/hello", "-w", "%{time_total}\n%{http_code}")
        assert status == 200 and body.startswith("hello\n"), p.stderr
        assert 0.2 < float(body.split()[1]) < 5, body
    finally:
        run("ip", "-n", lab.ns("net"), "route", "del", "blackhole", "203.0.113.13/32")
        run("ip", "-n", lab.ns("net"), "addr", "add", "203.0.113.13/32", "dev", "lo")


# ---- a corporate proxy ----

@pytest.fixture(scope="module")
def corporate():
    with Lab() as made:
        up_servers(made)
        made.log = made.private / "connect.log"
        made.log.touch()
        proxy = made.spawn("net", ["/usr/bin/python3", str(PEERS / "connect.py"), "203.0.113.22", "3128", str(made.log),
                                   "refuse=203.0.113.11:443", "refuse=[2001:db8:1:2::11]:443", "down=203.0.113.13:443"], stdout=subprocess.PIPE)
        assert proxy.stdout.readline() == b"ready\n"
        Daemon(made, upstream={"proxy": "http://203.0.113.22:3128", "no_proxy": ["*.wild-host.com"]}).start()
        made.setup()
        made.must("workspace", "allowlist", "add", "--mode", "tunnel", PINNED)
        yield made
        print(made.daemons[0].messages()[-4000:])


def asked(lab):
    return lab.log.read_text().splitlines()


def test_proxy_is_asked_for_the_judged_address(corporate):
    status, body, p = curl(corporate, "https://api.stripe.com/v1/invoices", *AUTH)
    assert status == 200 and '"object":"list"' in body, (status, body, p.stderr)
    assert asked(corporate)[-1] in ("CONNECT 203.0.113.10:443", "CONNECT [2001:db8:1:2::10]:443")
    assert holds_key(corporate, corporate.log.read_text()) == []
    status, body, p = curl(corporate, f"https://{PINNED}/", "--cacert", f"{corporate.dir}/ca.pem")
    assert status == 200 and "CONNECT 203.0.113.20:443" in asked(corporate), (body, p.stderr)


def test_proxy_tries_the_next_address(corporate):
    status, body, p = curl(corporate, "https://files.lab-host.com/hello")
    assert (status, body) == (200, "hello\n"), (body, p.stderr)
    assert asked(corporate)[-2:] == ["CONNECT 203.0.113.13:443", "CONNECT [2001:db8:1:2::13]:443"]


def test_no_proxy_and_refusals(corporate):
    had = asked(corporate)
    assert curl(corporate, "https://a.wild-host.com/")[:2] == (200, "wild\n")
    status, body, _ = curl(corporate, "https://attacker-domain.com/")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist")
    status, body, _ = curl(corporate, "https://inside.lab-host.com/")
    assert (status, reason(body)) == (403, "ssrf_protection_blocked")
    assert asked(corporate) == had
    status, body, _ = curl(corporate, "https://api.openai.com/v1/models")
    assert status == 502, body
    line = audit(corporate.daemons[0], kind="outcome", host="api.openai.com")[-1]
    assert (line["reason"], line["detail"]) == ("upstream_unreachable", "the proxy refuses to connect"), line
    status, body, _ = curl(corporate, "https://wrong-name.lab-host.com/")  # a proxy that leads elsewhere gains nothing
    assert status == 502 and "certificate" in body, body
    assert corporate.leaks() == []
