"""Mode tunnel: TLS that nobody opens on the way, for clients that pin or show a certificate of their own."""

import hashlib
import json
import socket
import ssl

import pytest

from helpers import REF, audit, curl, holds_key, reason
from lab import PEERS, Daemon, Lab, run, wait_for

PINNED, MUTUAL = "pinned.lab-host.com", "mutual.lab-host.com"


def up_servers(lab):
    """nginx of its own: one host whose certificate clients pin, one that wants to see a client's."""
    p = lab.private
    new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(*new, "-subj", "/CN=agent 7", "-keyout", f"{lab.dir}/client.key", "-out", f"{p}/client.csr")
    run("openssl", "x509", "-req", "-days", "2", "-in", f"{p}/client.csr", "-CA", f"{lab.dir}/ca.pem", "-CAkey",
        f"{p}/ca.key", "-CAcreateserial", "-out", f"{lab.dir}/client.pem")
    (lab.dir / "client.key").chmod(0o644)
    common = f"ssl_certificate {p}/good.pem; ssl_certificate_key {p}/good.key; location /down/ {{ root {p}; }}"
    hello = "location / { default_type text/plain; return 200 '$ssl_server_name $ssl_client_s_dn $http_authorization $ssl_alpn_protocol\\n'; }"
    (p / "tunnel.conf").write_text(f"""
user root; worker_processes 1; pid {p}/tunnel.pid; error_log {p}/tunnel.err warn; events {{ worker_connections 1024; }}
http {{ access_log off; server_tokens off; keepalive_timeout 30s; client_body_temp_path {p}/tmp/b2; proxy_temp_path {p}/tmp/p2;
fastcgi_temp_path {p}/tmp/f2; uwsgi_temp_path {p}/tmp/u2; scgi_temp_path {p}/tmp/s2; client_max_body_size 300m;
server {{ listen 203.0.113.20:443 ssl http2; listen [2001:db8:1:2::20]:443 ssl http2; listen 203.0.113.20:8443 ssl; {common} {hello} }}
server {{ listen 203.0.113.21:443 ssl; listen [2001:db8:1:2::21]:443 ssl; ssl_client_certificate {lab.dir}/ca.pem; ssl_verify_client on; {common} {hello} }}
}}""")
    run(*lab.nsenter("net"), "nginx", "-e", f"{p}/tunnel.err", "-p", str(p), "-c", f"{p}/tunnel.conf", env=lab.env())


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        up_servers(made)
        Daemon(made, proxy={"tunnel_idle_timeout": 3}).start()
        made.setup()
        made.must("workspace", "allowlist", "add", "--mode", "tunnel", PINNED, MUTUAL, f"{PINNED}:8443")
        yield made
        print(made.daemons[0].messages()[-4000:])


def ca(lab):
    return ("--cacert", str(lab.dir / "ca.pem"))


def hello(lab, name, how, host=None, port=443):
    p = lab.agent("/usr/bin/python3", str(PEERS / "hello.py"), host or (PINNED if name == "-" else name), str(port), name, how,
                  str(lab.dir / "ca.pem"))
    assert p.returncode == 0, p.stderr
    return p.stdout


def pin(lab):
    der = run("openssl", "x509", "-in", f"{lab.private}/good.pem", "-pubkey", "-noout")
    raw = ssl.PEM_cert_to_DER_cert(der.replace("PUBLIC KEY", "CERTIFICATE"))
    import base64
    return "sha256//" + base64.b64encode(hashlib.sha256(raw).digest()).decode()


def test_pinned_certificate_and_http2(lab):
    """The client sees the server's own certificate, and speaks with it whatever both know."""
    before = lab.daemons[0].status()
    status, body, p = curl(lab, f"https://{PINNED}/", *ca(lab), "--pinnedpubkey", pin(lab), "-w", "%{http_version}\n%{http_code}")
    assert status == 200 and body.split()[0] == PINNED and body.split()[-1] == "2", (body, p.stderr)
    line = audit(lab.daemons[0], kind="decision", scheme="tunnel", host=PINNED)[-1]
    assert line["verdict"] == "allow" and line["rule"] == PINNED and line["sni"] == PINNED, line
    done = audit(lab.daemons[0], kind="outcome", id=line["id"], w=line["w"])[-1]
    assert done["bytes_up"] > 500 and done["bytes_down"] > 500 and "reason" not in done, done
    assert lab.daemons[0].status()["leaves_signed"] == before["leaves_signed"]


def test_by_connect(lab):
    """A client that is told of the explicit proxy: the same tunnel, and the same refusals."""
    proxy = ("--proxy", "http://127.0.0.1:8765")
    status, body, p = curl(lab, f"https://{PINNED}/", *ca(lab), *proxy, "--pinnedpubkey", pin(lab))
    assert status == 200 and body.split()[0] == PINNED, (body, p.stderr)
    p = lab.agent("curl", "-sS", "-m", "10", *ca(lab), *proxy, "--connect-to", f"files.lab-host.com:443:{PINNED}:443",
                  "https://files.lab-host.com/hello")
    assert p.returncode != 0 or reason(p.stdout) == "sni_host_mismatch", p.stdout


def test_client_certificate_of_its_own(lab):
    status, body, p = curl(lab, f"https://{MUTUAL}/", *ca(lab), "--cert", f"{lab.dir}/client.pem", "--key", f"{lab.dir}/client.key")
    assert status == 200 and "CN=agent 7" in body, (body, p.stderr)
    status, _, _ = curl(lab, f"https://{MUTUAL}/", *ca(lab))
    assert status == 400  # nginx: no required SSL certificate was sent


def test_no_credential_goes_in(lab):
    reads = lab.daemons[0].reads()
    status, body, _ = curl(lab, f"https://{PINNED}/", *ca(lab), "-H", f"Authorization: Bearer {REF}")
    assert status == 200 and f"Bearer {REF}" in body and not holds_key(lab, body)
    assert lab.daemons[0].reads() == reads


def test_large_bodies_both_ways(lab):
    digest = lab.make_download("tunnel", 40 << 20)
    p = lab.agent("sh", "-c", f"curl -sS -m 60 --cacert {lab.dir}/ca.pem https://{PINNED}/down/tunnel | sha256sum")
    assert p.stdout.split()[0] == digest, p.stderr
    p = lab.agent("sh", "-c", "head -c 30000000 /dev/zero | curl -sS -m 60 --http1.1 -T - -o /dev/null -w '%{http_code} %{size_upload}' "
                  f"--cacert {lab.dir}/ca.pem https://{PINNED}/")
    status, sent = p.stdout.split()
    assert status == "200" and int(sent) >= 30000000, (p.stdout, p.stderr)


@pytest.mark.parametrize("how", ["plain", "bytes", "records", "both"])
def test_hello_in_pieces(lab, how):
    said = hello(lab, PINNED, how)
    assert "issuer lab root" in said and "200 OK" in said, said


@pytest.mark.parametrize("name, how, why", [(PINNED, "ech", "sni_host_mismatch"), ("-", "plain", "sni_missing"),
                                            (PINNED, "stop", "protocol_not_allowed"), (PINNED, "tail", "protocol_not_allowed")])
def test_hello_refused(lab, name, how, why):
    had = len(lab.daemons[0].audit_lines())
    said = hello(lab, name, how)
    assert "200 OK" not in said and "issuer" not in said, said
    if how != "tail":
        wait_for("the refusal", lambda: [x for x in lab.daemons[0].audit_lines()[had:] if x.get("reason") == why])


def test_name_of_no_rule_at_a_tunnels_address(lab):
    """The address says nothing: the name decides, and gets the 403 of a refused host."""
    p = lab.agent("curl", "-sS", "-m", "10", "--resolve", f"attacker-domain.com:443:203.0.113.20", "https://attacker-domain.com/")
    assert reason(p.stdout) == "domain_not_in_allowlist", (p.stdout, p.stderr)


def test_name_of_another_rule_at_a_tunnels_address(lab):
    """It is judged, and resolved by us, as that other name."""
    p = lab.agent("curl", "-sS", "-m", "10", "--resolve", "files.lab-host.com:443:203.0.113.20", "https://files.lab-host.com/hello")
    assert p.stdout == "hello\n", p.stderr
    p = lab.agent("curl", "-sS", "-m", "10", *ca(lab), "--resolve", f"{PINNED}:443:203.0.113.66", f"https://{PINNED}/")
    assert p.stdout.startswith(PINNED), p.stderr
    assert lab.leaks() == []


def test_other_port_is_not_open(lab):
    assert "200 OK" in hello(lab, PINNED, "plain", port=8443)
    p = lab.agent("curl", "-sS", "-m", "10", f"https://{PINNED}:9443/")
    assert reason(p.stdout) == "policy_denied", (p.stdout, p.stderr)


def test_not_tls_is_refused(lab):
    p = lab.agent("curl", "-sS", "-m", "10", f"http://{PINNED}:443/")
    assert reason(p.stdout) in ("non_https_blocked", "policy_denied"), p.stdout
    p = lab.agent("sh", "-c", f"echo SSH-2.0-x | timeout 10 /usr/bin/python3 {PEERS}/raw.py {PINNED} 443")
    assert "Reset" in p.stdout or p.stdout == "", p.stdout
    audit(lab.daemons[0], kind="decision", reason="protocol_not_allowed")


def test_private_address_is_refused(lab):
    lab.must("workspace", "allowlist", "remove", "inside.lab-host.com")
    lab.must("workspace", "allowlist", "add", "--mode", "tunnel", "inside.lab-host.com")
    said = hello(lab, "inside.lab-host.com", "plain")
    assert "access denied" in said.lower(), said
    line = audit(lab.daemons[0], kind="decision", scheme="tunnel", host="inside.lab-host.com")[-1]
    assert (line["verdict"], line["reason"]) == ("deny", "ssrf_protection_blocked"), line
    assert lab.leaks() == []


def test_unreachable(lab):
    lab.must("workspace", "allowlist", "add", "--mode", "tunnel", "db.lab-host.com:8443")
    assert "internal error" in hello(lab, "db.lab-host.com", "plain", port=8443).lower()
    line = audit(lab.daemons[0], kind="decision", host="db.lab-host.com")[-1]
    assert audit(lab.daemons[0], kind="outcome", id=line["id"], w=line["w"])[-1]["reason"] == "upstream_unreachable"


LONG = """
import socket, ssl, sys, time
c = ssl.create_default_context(cafile=sys.argv[2])
s = c.wrap_socket(socket.create_connection((sys.argv[1], 443), 10), server_hostname=sys.argv[1])
print("up", flush=True)
for line in sys.stdin:
    try:
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); print("got", len(s.recv(4096)) > 0, flush=True)
    except OSError as e:
        print("gone", type(e).__name__, flush=True)
"""


def long_tunnel(lab):
    import subprocess
    p = lab.agent_start("/usr/bin/python3", "-c", LONG, PINNED, str(lab.dir / "ca.pem"), stdin=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    return p


def ask(p):
    p.stdin.write("\n")
    p.stdin.flush()
    return p.stdout.readline().split()[0]


def test_ends_with_its_rule_and_when_idle(lab):
    p = long_tunnel(lab)
    assert ask(p) == "got"
    lab.must("workspace", "allowlist", "add", "later.lab-host.com")  # another rule changes nothing for it
    assert ask(p) == "got"
    had = len(lab.daemons[0].audit_lines())
    wait_for("the idle tunnel's end", lambda: [x for x in lab.daemons[0].audit_lines()[had:] if x.get("detail") == "idle"], 15)
    assert ask(p) == "gone"
    p.communicate(timeout=10)
    p = long_tunnel(lab)
    lab.must("workspace", "allowlist", "remove", PINNED)
    wait_for("the end of a tunnel whose rule is gone", lambda: ask(p) == "gone", 5)
    p.communicate(timeout=10)
    lab.must("workspace", "allowlist", "add", "--mode", "tunnel", PINNED, f"{PINNED}:8443")
    assert "200 OK" in hello(lab, PINNED, "plain")


def test_bad_combinations_say_why(lab):
    for args, says in ((("--mode", "tunnel", "--method", "GET"), "methods and paths"), (("--mode", "tunnel", "--upgrade"), "upgrade"),
                       (("--mode", "tcp", "--client-cert", "X"), "client_cert"), (("--mode", "quic"), "inspect, tunnel or tcp"),
                       (("--mode", "tcp", "--port", "53"), "port 53"), (("--upgrade", "--port", "80"), "port 80")):
        p = lab.cli("workspace", "allowlist", "add", "new.lab-host.com", *args)
        assert p.returncode == 1 and says in p.stderr, (args, p.stderr)
    rules = json.loads(lab.must("workspace", "allowlist", "list", "--json").stdout)["rules"]
    assert not [r for r in rules if r["host"] == "new.lab-host.com"]
