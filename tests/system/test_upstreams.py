"""The way to upstreams: plain requests upgraded to TLS, client certificates, more CAs, a corporate proxy, two address families."""

import pytest

from helpers import AUTH, audit, curl, reason
from lab import Daemon, Lab, run

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
        Daemon(made).start()
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
