"""Must show 7: access tokens that the keeper fetches (OAuth2, GitHub App), against an authorization server of the lab's."""

import json
import os
import signal
import subprocess
import time

import pytest

from conftest import a_world, show
from helpers import audit, curl, reason
from lab import PEERS, settled, wait_for

HOST = "https://files.lab-host.com:9445"
CLIENT = {"client_id": "the client", "client_secret": "s3cr+t/&="}
PARAMS = {
    "CC": ["oauth2-client", "--param", f"token_url={HOST}/token", "--param", "scope=read"],
    "CCBODY": ["oauth2-client", "--param", f"token_url={HOST}/token", "--param", "auth=body"],
    "REFRESH": ["oauth2-refresh", "--param", f"token_url={HOST}/token"],
    "JWT": ["jwt-bearer", "--param", f"token_url={HOST}/token", "--param", "issuer=service@lab", "--param", "scope=read write"],
    "GHAPP": ["github-app", "--param", f"api={HOST}", "--param", "app_id=Iv1.app", "--param", "installation_id=42"],
}


class Auth:
    def __init__(self, lab):
        self.lab = lab

    def call(self, *args):
        got = subprocess.run(self.lab.nsenter("net") + ["curl", "-sSk", "--resolve", "files.lab-host.com:9445:127.0.0.1", *args],
                             stdout=subprocess.PIPE, check=True)
        return json.loads(got.stdout)

    def set(self, **change):
        self.call("-d", json.dumps(change), f"{HOST}/_set")

    def asked(self):
        return len(self.call(f"{HOST}/_log")["token"])

    def log(self):
        return self.call(f"{HOST}/_log")


@pytest.fixture(scope="module")
def world():
    made = a_world()
    p = made.private
    try:
        subprocess.run(["openssl", "genrsa", "-out", str(p / "app.key"), "2048"], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "pkey", "-in", str(p / "app.key"), "-pubout", "-out", str(p / "app.pub")], check=True)
        server = made.spawn("net", ["/usr/bin/python3", str(PEERS / "tokens.py"), "9445", f"{p}/good.pem", f"{p}/good.key",
                                    f"{p}/app.pub"], stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        made.must("workspace", "allowlist", "add", "--workspace", "demo", "files.lab-host.com:9445")
        made.pem = (p / "app.key").read_text()
        made.auth = Auth(made)
        yield made
    finally:
        show(made)
        made.down()


def value_of(lab, name):
    if name in ("JWT", "GHAPP"):
        return lab.pem
    return json.dumps({**CLIENT, "refresh_token": "refresh-0"} if name == "REFRESH" else CLIENT)


@pytest.fixture
def fresh_secret(world):
    """Sets a secret anew, so that nothing is cached of it, with the server as it is at first."""
    world.auth.set(life=3600, delay=0, status=0, body=None, refresh="refresh-0", rotate=False, ahead=0, date=True)

    def set_(name, as_=None):
        world.must("secrets", "set", "--workspace", "demo", as_ or name, "--kind", *PARAMS[name], "--host", "files.lab-host.com",
                   input=value_of(world, name))
        return as_ or name
    return set_


def ask(lab, name, **kw):
    return curl(lab, f"{HOST}/api", "-H", f"Authorization: Bearer agentsecrets://{name}", **kw)


@pytest.mark.parametrize("name", PARAMS)
def test_each_kind(world, fresh_secret, name):
    fresh_secret(name)
    before = world.auth.asked()
    for _ in range(3):
        status, body, p = ask(world, name)
        assert status == 200, (body, p.stderr, world.auth.log()["token"][-1:])
        # The API says the token back: the agent does not see it.
        assert "at-" not in body and "ghs_" not in body and "*" * 20 in body, body
    assert world.auth.asked() == before + 1
    d = world.daemons[0]
    audit(d, kind="decision", path="/token" if name != "GHAPP" else "/app/installations/42/access_tokens", verdict="allow",
          secrets=name)
    for text in (d.messages(), json.dumps(d.audit_lines())):
        assert "s3cr" not in text and "at-" not in text and "ghs_" not in text and "PRIVATE" not in text


def fifty_at_once(lab, name):
    p = lab.agent("curl", "-sS", "-m", "25", "--parallel", "--parallel-immediate", "--parallel-max", "50", "-o", "/dev/null", "-w",
                  "%{http_code}\n", "-H", f"Authorization: Bearer agentsecrets://{name}", f"{HOST}/api?[1-50]")
    failed = [line for line in lab.daemons[0].audit_lines() if line["kind"] == "outcome" and line.get("reason")][-3:]
    assert p.stdout.split() == ["200"] * 50, (failed, p.stderr)


def test_concurrent_use(world, fresh_secret):
    fresh_secret("CC")
    world.auth.set(delay=1)
    before = world.auth.asked()
    fifty_at_once(world, "CC")
    assert world.auth.asked() == before + 1


def test_expiry_and_refresh_before_it(world, fresh_secret):
    fresh_secret("CC")
    world.auth.set(life=4)
    before = world.auth.asked()
    end = time.monotonic() + 9
    while time.monotonic() < end:
        assert ask(world, "CC")[0] == 200
    assert 2 <= world.auth.asked() - before <= 5
    assert all(a["good"] for a in world.auth.log()["api"][-5:])


@pytest.mark.parametrize("ahead", [-3600, -90, 90, 3600])
@pytest.mark.parametrize("name", ["JWT", "GHAPP"])
def test_clock_skew(world, fresh_secret, name, ahead):
    """The authorization server's clock is not ours, and it is strict. What its Date says is learned from a refusal, and once."""
    fresh_secret(name)
    world.auth.set(ahead=ahead)
    before = world.auth.asked()
    for _ in range(2):
        status, body, p = ask(world, name)
        assert status == 200, (body, p.stderr)
    # A minute and a half ahead is within the life of an assertion; whatever is behind by more than a minute is refused.
    first = 1 if ahead == 90 else 2
    assert world.auth.asked() == before + first
    time.sleep(1.1)
    world.auth.set(revoke=True)
    assert [ask(world, name)[0] for _ in range(2)] == [401, 200]
    assert world.auth.asked() == before + first + 1
    if first == 2:
        assert f"for {name} of workspace demo refuses, and its clock is not this machine's" in world.daemons[0].messages()


def test_clock_skew_and_the_life_of_a_token(world, fresh_secret):
    """GitHub says by its own clock when a token expires: neither kept for an hour too long, nor asked for again each time."""
    for ahead, life, seconds, least, most in ((-3600, 3600, 1.5, 0, 0), (3600, 2, 3, 1, 4)):
        fresh_secret("GHAPP")
        world.auth.set(ahead=ahead, life=life)
        assert ask(world, "GHAPP")[0] == 200
        before = world.auth.asked()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert ask(world, "GHAPP")[0] == 200
        assert least <= world.auth.asked() - before <= most, ahead


def test_clock_skew_untold(world, fresh_secret):
    """A server that does not tell its time: what the minute's allowance covers is good, the rest is refused, and said so."""
    fresh_secret("JWT")
    world.auth.set(ahead=-50, date=False)
    assert ask(world, "JWT")[0] == 200
    fresh_secret("JWT")
    world.auth.set(ahead=-90, date=False)
    before = world.auth.asked()
    status, body, _ = ask(world, "JWT")
    assert (status, reason(body)) == (502, "token_refused")
    assert world.auth.asked() == before + 1
    assert "it tells no time: is this machine's clock right?" in world.daemons[0].messages()
    # No agent is told more than that it was refused.
    assert "clock" not in body


@pytest.mark.parametrize("ahead", [-7 * 86400, 7 * 86400])
def test_clock_skew_too_far(world, fresh_secret, ahead):
    """A time that is more than a day away is not believed: nothing is signed for it."""
    fresh_secret("GHAPP")
    world.auth.set(ahead=ahead)
    before = world.auth.asked()
    status, body, _ = ask(world, "GHAPP")
    assert (status, reason(body)) == (502, "token_refused")
    assert world.auth.asked() == before + 1
    side = "behind" if ahead < 0 else "ahead of"
    assert f"s {side} this machine's" in world.daemons[0].messages()


def test_clock_skew_is_no_excuse_twice(world, fresh_secret):
    """Refused for its time, asked again for the other, refused again: that is all."""
    fresh_secret("JWT")
    world.auth.set(ahead=-3600, status=400, body='{"error":"invalid_grant"}')
    before = world.auth.asked()
    status, body, _ = ask(world, "JWT")
    assert (status, reason(body)) == (502, "token_refused")
    assert world.auth.asked() == before + 2


def test_clock_skew_and_concurrent_use(world, fresh_secret):
    fresh_secret("JWT")
    world.auth.set(ahead=3600, delay=0.3)
    before = world.auth.asked()
    fifty_at_once(world, "JWT")
    assert world.auth.asked() == before + 2


def test_401_then_refresh(world, fresh_secret):
    fresh_secret("CC")
    assert ask(world, "CC")[0] == 200
    before = world.auth.asked()
    time.sleep(1.1)  # a token younger than a second is not taken for stale
    world.auth.set(revoke=True)
    assert ask(world, "CC")[0] == 401
    assert world.auth.asked() == before  # the request is not sent twice
    assert ask(world, "CC")[0] == 200
    assert world.auth.asked() == before + 1


def test_a_refresh_token_is_rotated_and_outlives_the_daemon(world, fresh_secret):
    fresh_secret("REFRESH")
    world.auth.set(rotate=True, life=1)
    for _ in range(3):
        assert ask(world, "REFRESH")[0] == 200
        time.sleep(1.1)
    used = world.auth.log()["refresh"]
    assert len(set(used[-3:])) == 3, used
    d = world.daemons[0]
    d.stop()
    d.start()
    assert ask(world, "REFRESH")[0] == 200
    assert world.auth.log()["refresh"][-1] not in used


def test_refusals(world, fresh_secret):
    cases = [({"status": 400, "body": '{"error":"invalid_grant"}'}, "token_refused"),
             ({"status": 401, "body": '{"error":"invalid_client"}'}, "token_refused"),
             ({"status": 500, "body": None}, "token_unavailable"), ({"status": 302}, "token_unavailable"),
             ({"status": 200, "body": "no JSON"}, "token_unavailable"), ({"status": 200, "body": "[" * 30000}, "token_unavailable"),
             ({"status": 200, "body": '{"access_token":"a b"}'}, "token_unavailable"),
             ({"status": 200, "body": '{"access_token":""}'}, "token_unavailable"),
             ({"status": 200, "body": '{"access_token":"x","token_type":"mac"}'}, "token_unavailable"),
             ({"status": 200, "body": '{"error":"invalid_scope"}'}, "token_refused"),
             ({"status": 200, "body": '{"access_token":"' + "x" * 40000 + '"}'}, "token_unavailable")]
    for change, want in cases:
        fresh_secret("CC")
        world.auth.set(**change)
        status, body, _ = ask(world, "CC")
        assert (status, reason(body)) == (502, want), (change, body)
        assert "s3cr" not in body and "the client" not in body
    # While it fails, it is not asked again and again.
    before = world.auth.asked()
    for _ in range(5):
        assert ask(world, "CC")[0] == 502
    assert world.auth.asked() <= before + 2
    world.auth.set(status=0, body=None)
    wait_for("a token", lambda: ask(world, "CC")[0] == 200, 10)


def test_no_answer_in_time(world, fresh_secret):
    fresh_secret("CC")
    world.auth.set(delay=12)
    started = time.monotonic()
    status, body, _ = ask(world, "CC")
    assert (status, reason(body)) == (502, "token_unavailable") and time.monotonic() - started < 20
    world.auth.set(delay=0)


def test_the_proxy_that_asks_dies(world, fresh_secret):
    """The others' requests do not wait for the answer that nobody will bring."""
    fresh_secret("CC")
    d = world.daemons[0]
    since = len(d.audit_lines())
    world.auth.set(delay=12)
    p = world.agent_start("sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do curl -sS -m 30 -o /dev/null -w '%{{http_code}} %{{time_total}}\\n' {HOST}/api"
                          " -H 'Authorization: Bearer agentsecrets://CC' & done; wait")
    carrier = wait_for("the token's request", lambda: [line["w"] for line in d.audit_lines()[since:] if line.get("path") == "/token"], 10)[0]
    wait_for("all to have been judged", lambda: sum(line.get("path") == "/api" for line in d.audit_lines()[since:]) >= 8, 10)
    others = sum(line.get("path") == "/api" and line["kind"] == "decision" and line["w"] != carrier for line in d.audit_lines()[since:])
    pids = [pid for role, pid in d.processes() if role == "proxy"]
    os.kill(pids[int(carrier.removeprefix("proxy"))], signal.SIGKILL)
    out, err = p.communicate(timeout=60)
    world.auth.set(delay=0)
    told = [line.split() for line in out.decode().splitlines()]
    assert len(told) == 8 and sum(code == "502" for code, _ in told) == others, (out, err)
    assert all(float(seconds) < 8 for _, seconds in told), out
    wait_for("a token", lambda: ask(world, "CC")[0] == 200, 10)


def test_the_endpoint_is_judged(world, fresh_secret):
    """A token URL at a host that the secret is not bound to, that is not allowed, or that is private: no request."""
    for url, host in (("https://a.wild-host.com:9445/token", "files.lab-host.com"), ("https://attacker-domain.com/token",
                      "attacker-domain.com"), ("https://inside.lab-host.com/token", "inside.lab-host.com")):
        world.cli("secrets", "delete", "--workspace", "demo", "ELSE")
        world.must("secrets", "set", "--workspace", "demo", "ELSE", "--kind", "oauth2-client", "--param", f"token_url={url}", "--host",
                   host, "--host", "files.lab-host.com", input=json.dumps(CLIENT))
        status, body, _ = ask(world, "ELSE")
        assert (status, reason(body)) == (502, "token_unavailable"), (url, body)
    assert world.leaks() == []


def test_a_refused_request_asks_for_no_token(world, fresh_secret):
    fresh_secret("CC")
    before = settled(lambda: (world.auth.asked(), world.daemons[0].reads()))  # a refresh of the test before may be under way
    assert curl(world, "https://github.com/x", "-H", "Authorization: Bearer agentsecrets://CC")[0] == 403
    assert curl(world, f"{HOST}/api?t=agentsecrets://CC")[0] == 403
    assert (world.auth.asked(), world.daemons[0].reads()) == before


def test_the_parts_are_no_value(world, fresh_secret):
    """Another kind is refused; what is set is what is asked for."""
    fresh_secret("CC")
    p = world.cli("secrets", "set", "--workspace", "demo", "CC", "--kind", "value", input="plain")
    assert p.returncode == 1 and "delete it first" in p.stderr
