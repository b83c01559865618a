"""A corporate proxy that is known by a name and wants a password: who may learn what, and in which order."""

import json
import os
import secrets
import signal
import subprocess
from pathlib import Path

import pytest

from helpers import Agent, audit, curl, holds_key, reason
from lab import BUILD, PEERS, Daemon, Lab, wait_for
from test_upstreams import PINNED, up_servers

NAME, FIRST, SECOND = "proxy.lab-host.com", "10.0.1.6", "203.0.113.22"  # a private address and a public one
URL = f"https://{PINNED}/"


class Corporate(Lab):
    """Its proxy's name leads to where `at` says, or nowhere."""

    at = (FIRST,)

    def names(self):
        return {**super().names(), **({NAME: self.at} if self.at else {})}

    def move(self, *at):
        pid = int((self.private / "dnsmasq.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for("dnsmasq's end", lambda: not Path(f"/proc/{pid}").exists())
        self.at = at
        self.up_dns()

    def proxy(self, address):
        log = self.private / f"connect-{address}.log"
        log.touch()
        p = self.spawn("net", ["/usr/bin/python3", str(PEERS / "connect.py"), address, "3128", str(log),
                               f"auth={self.private}/proxy.auth"], stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"ready\n"

    def asked(self, address=FIRST):
        return (self.private / f"connect-{address}.log").read_text().splitlines()

    def password(self, value, host=NAME, *args):
        return self.cli("secrets", "set", "--workspace", "corp", "PROXY_PASSWORD", "--slot", "proxy", "--host", host, *args, input=value)


@pytest.fixture(scope="module")
def lab():
    with Corporate() as made:
        up_servers(made)
        made.keys["PROXY_PASSWORD"] = "p:ss w\u00f6rd " + secrets.token_hex(12)
        (made.private / "proxy.auth").write_text(f"alice:{made.keys['PROXY_PASSWORD']}")
        made.proxy(FIRST)
        made.proxy(SECOND)
        Daemon(made, proxy={"workers": 1}, dns={"ttl_min": 0, "ttl_max": 1},
               upstream={"proxy": f"http://{NAME}:3128", "proxy_user": "alice", "proxy_password": "corp/PROXY_PASSWORD"}).start()
        made.setup()
        made.must("workspace", "create", "corp")
        made.must("workspace", "allowlist", "add", PINNED)
        yield made
        print(made.daemons[0].messages()[-4000:])
        assert made.leaks() == []


@pytest.fixture(autouse=True)
def no_password_anywhere(lab):
    """Whatever a test did: it stands in no log, message or answer. A 407's line is not the password's place either."""
    yield
    d = lab.daemons[0]
    for text in (d.audit.read_text(), d.messages(), d.config_file.read_text(), *("\n".join(lab.asked(a)) for a in (FIRST, SECOND))):
        assert "PROXY_PASSWORD" not in holds_key(lab, text)


def refused(lab, why, detail):
    """This ends in a 502 with its reason, to the agent and in the log; whether the vault was read."""
    d = lab.daemons[0]
    had, lines = d.reads(), len(d.audit_lines())
    status, body, p = curl(lab, URL)
    assert (status, reason(body)) == (502, why), (body, p.stderr)
    assert PINNED in body and holds_key(lab, body + p.stderr) == []
    line = [x for x in wait_for("an outcome", lambda: [x for x in d.audit_lines()[lines:] if x["kind"] == "outcome"])][-1]
    assert (line["reason"], line["detail"]) == (why, detail), line
    return d.reads() - had


def test_missing(lab):
    """No such secret: nothing was ever read, nor is the proxy told anything."""
    assert refused(lab, "upstream_proxy_credentials", "the proxy's password is not there") == 0
    assert lab.asked() == []


def test_bound_elsewhere(lab):
    p = lab.password(lab.keys["PROXY_PASSWORD"], "other.lab-host.com")
    assert p.returncode == 0, p.stderr
    assert refused(lab, "upstream_proxy_credentials", "the proxy's password is not bound to it in slot proxy") == 0
    p = lab.password(lab.keys["PROXY_PASSWORD"], NAME, "--port", "3129")
    assert p.returncode == 0, p.stderr
    assert refused(lab, "upstream_proxy_credentials", "the proxy's password is not bound to it in slot proxy") == 0
    lab.must("secrets", "set", "--workspace", "corp", "PROXY_PASSWORD", "--slot", "header", "--host", NAME, input=lab.keys["PROXY_PASSWORD"])
    assert refused(lab, "upstream_proxy_credentials", "the proxy's password is not bound to it in slot proxy") == 0
    p = lab.cli("secrets", "set", "--workspace", "corp", "PROXY_PASSWORD", "--slot", "proxy", "--slot", "basic", "--host", NAME, input="x")
    assert p.returncode == 1 and "no other" in p.stderr, p.stderr
    assert lab.asked() == []
    lab.must("secrets", "delete", "--workspace", "corp", "PROXY_PASSWORD")


def test_wrong(lab):
    assert lab.password("guessed-wrongly-0123456789").returncode == 0
    assert refused(lab, "upstream_proxy_credentials", "the proxy refuses its credentials") == 1
    assert lab.asked() == ["CONNECT 203.0.113.20:443 wrong"]


def test_right(lab):
    """It goes through, with the password, and with nothing else than that read."""
    d, had = lab.daemons[0], None
    p = lab.password(lab.keys["PROXY_PASSWORD"])
    assert p.returncode == 0, p.stderr
    had = d.reads()
    status, body, p = curl(lab, URL)
    assert status == 200 and PINNED in body and "Basic" not in body, (body, p.stderr)
    assert lab.asked()[-1] == "CONNECT 203.0.113.20:443"
    assert d.reads() == had + 1
    said = audit(d, kind="decision", host=PINNED, verdict="allow")[-1]
    assert "secrets" not in said, said  # the agent's, of which there is none
    status, body, p = curl(lab, "https://api.stripe.com/v1/invoices", "-H", "Authorization: Bearer agentsecrets://STRIPE_KEY")
    assert status == 200, (body, p.stderr)
    status, body, p = curl(lab, "https://h2.lab-host.com/echo")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist")


def test_streams_and_tunnels(lab):
    """Streams that wait for one connection, which asks for the name and the password, not once each; and TLS that is not opened."""
    lab.must("workspace", "allowlist", "add", "h2.lab-host.com")
    lab.must("workspace", "allowlist", "add", "--mode", "tunnel", f"{PINNED}:8443")
    d, had = lab.daemons[0], len(lab.asked())
    reads = d.reads()
    args = [w for i in range(8) for w in ("-o", "/dev/null", f"https://h2.lab-host.com/echo?{i}")]
    p = lab.agent("curl", "-sS", "-Z", "--http2", "-m", "25", "-w", "%{http_code} %{http_version}\n", *args)
    assert p.stdout == "200 2\n" * 8, (p.stdout, p.stderr)
    new = lab.asked()[had:]
    # Once more if, on a busy machine, the rules of above come to the proxy only now: what is under way is then judged and dialled anew.
    assert set(new) <= {"CONNECT 203.0.113.24:443", "CONNECT [2001:db8:1:2::24]:443"} and len(new) == d.reads() - reads <= 2, new
    status, body, p = curl(lab, f"https://{PINNED}:8443/", "--cacert", f"{lab.dir}/ca.pem")
    assert status == 200 and f"{PINNED}:8443" in body, (body, p.stderr)
    assert lab.asked()[-1] == "CONNECT 203.0.113.20:8443" and d.reads() == reads + len(new) + 1


def test_a_refused_request_reads_nothing(lab):
    """Nor does the proxy hear of it."""
    d = lab.daemons[0]
    had, asked = d.reads(), lab.asked()
    for url, why in (("https://attacker-domain.com/", "domain_not_in_allowlist"), ("https://inside.lab-host.com/", "ssrf_protection_blocked"),
                     (f"https://{PINNED}:8444/", "policy_denied"), ("http://api.stripe.com/", "policy_denied")):
        status, body, _ = curl(lab, url)
        assert status == 403 and reason(body) in (why, "non_https_blocked"), (url, body)
    status, body, _ = curl(lab, URL, "-H", "X-Key: agentsecrets://STRIPE_KEY")
    assert (status, reason(body)) == (403, "secret_not_for_host"), body
    status, body, _ = curl(lab, URL, "-H", "X-Key: agentsecrets://PROXY_PASSWORD")
    assert (status, reason(body)) == (403, "secret_unknown"), body
    assert (d.reads(), lab.asked()) == (had, asked)


def test_it_opens_nothing_to_agents(lab):
    """Not by name, nor by address, with a rule or without; the secret goes to no host in any place of a request."""
    asked, d = lab.asked(), lab.daemons[0]
    status, body, p = curl(lab, f"http://{NAME}:3128/")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist"), (body, p.stderr)
    assert curl(lab, f"http://{FIRST}:3128/")[0] == 0  # refused in the kernel
    status, body, _ = curl(lab, URL, "-x", f"http://{FIRST}:3128")
    assert status == 0
    lab.must("workspace", "allowlist", "add", "--workspace", "corp", NAME)
    reads = d.reads()
    status, body, _ = curl(lab, f"https://{NAME}/", "-H", "X-Key: agentsecrets://PROXY_PASSWORD", workspace="corp")
    assert status == 403 and reason(body) in ("secret_slot_not_allowed", "ssrf_protection_blocked"), body
    assert (lab.asked(), d.reads()) == (asked, reads)
    lab.must("workspace", "allowlist", "remove", "--workspace", "corp", NAME)


def test_its_name_is_asked_again(lab):
    """It moves, to a public address; then nowhere; then to where nothing may go. None of these reads a password in vain."""
    lab.move(SECOND)
    wait_for("the new place is known", lambda: curl(lab, URL)[0] == 200 and lab.asked(SECOND))
    lab.move()
    wait_for("it is gone", lambda: curl(lab, URL)[0] == 502)
    assert refused(lab, "upstream_unreachable", "the proxy's name is not found") == 0
    lab.move("169.254.169.254")
    assert refused(lab, "upstream_unreachable", "the proxy's name leads to a special address") == 0
    lab.move("203.0.113.23")  # nobody listens at that port
    assert refused(lab, "upstream_unreachable", "the proxy does not answer") == 0
    lab.move("203.0.113.23", FIRST)  # one of two does
    wait_for("the second address", lambda: curl(lab, URL)[0] == 200)


def test_vault_locked(lab):
    with Agent(lab) as agent:
        assert agent.curl(URL)[0] == 200
        lab.must("vault", "lock")
        try:
            status, body = agent.curl(URL)
            assert (status, reason(body)) == (502, "vault_locked"), body
        finally:
            lab.must("vault", "unlock")
        assert agent.curl(URL)[0] == 200


@pytest.mark.parametrize("upstream", [{"proxy": "http://alice:hunter2hunter2@proxy.lab-host.com:3128"},
                                      {"proxy": f"http://{NAME}:3128", "proxy_user": "alice"},
                                      {"proxy": f"http://{NAME}:3128", "proxy_user": "alice", "proxy_password": "hunter2hunter2"},
                                      {"proxy_user": "alice", "proxy_password": "corp/PROXY_PASSWORD"},
                                      {"proxy": "https://proxy.lab-host.com:3128"}, {"proxy": "http://proxy:3128"}])
def test_bad_configurations(lab, upstream):
    """Each is refused with the field's name, and without quoting what may be a password."""
    config = lab.private / "bad.json"
    config.write_text(json.dumps({"users": lab.daemons[0].config["users"], "upstream": {"ca_file": str(lab.dir / "ca.pem"), **upstream}}))
    p = subprocess.run([str(BUILD / "agentsecretsd"), "--config", str(config)], capture_output=True, text=True, timeout=20, check=False)
    assert p.returncode != 0 and "upstream.proxy" in p.stderr.replace('"', ""), p.stderr
    assert "hunter2" not in p.stderr + p.stdout
