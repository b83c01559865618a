"""What several test files ask."""

import base64
import json
import secrets
import shlex
import shutil
import subprocess
import urllib.parse

from lab import NODE_PATH, PEERS, TRAPS, wait_for

REF = "agentsecrets://STRIPE_KEY"
AUTH = ("-H", f"Authorization: Bearer {REF}")
STRIPE = "https://api.stripe.com/v1/invoices"
PYTHON = "/usr/bin/python3"
NODE = shutil.which("node") or "node"


def curl(lab, url, *args, **kw):
    """(status, body, process) of curl inside `run`; status 0 when there was no answer."""
    p = lab.agent("curl", "-sS", "-m", "25", "-w", "\n%{http_code}", *args, url, **kw)
    body, _, code = p.stdout.rpartition("\n")
    return int(code) if code.isdigit() else 0, body, p


def node(lab, code, **kw):
    """JavaScript in Node inside `run`, with the tests' npm packages."""
    return lab.agent(NODE, "-e", code, env={"NODE_PATH": NODE_PATH}, **kw)


def one_request(lab, before, host, authorization):
    """Exactly one more request than before stands in the upstream's log, with the real key."""
    seen = lab.wait_requests(len(before) + 1, host=host)[len(before):]
    assert [q["authorization"] for q in seen] == [authorization]


class Agent:
    """One shell inside `run`, for requests of the same agent before and after something happened outside."""

    def __init__(self, lab, **kw):
        self.p = lab.agent_start("sh", stdin=subprocess.PIPE, **kw)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.wait(30)
        self.p.stdout.close()
        self.p.stderr.close()

    def sh(self, command):
        """Its stdout."""
        end = f"end-{secrets.token_hex(8)}"
        self.p.stdin.write(f"{command}\nprintf '\\n%s\\n' {end}\n".encode())
        self.p.stdin.flush()
        said = b""
        while not said.endswith(f"\n{end}\n".encode()):
            more = self.p.stdout.read1(65536)
            assert more, f"the agent ended: {said!r} {self.p.stderr.read()!r}"
            said += more
        return said[:-len(end) - 2].decode(errors="replace")

    def curl(self, url, *args):
        """(status, body)."""
        words = " ".join(shlex.quote(a) for a in ("curl", "-sS", "-m", "25", "-w", "\n%{http_code}", *args, url))
        body, _, code = self.sh(words).rpartition("\n")
        return int(code), body


def reason(body):
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"no refusal: {body[:300]!r}"


def raw(lab, host, port, sni, request, **kw):
    """The answer's text to these bytes, from inside `run`."""
    args = [PYTHON, str(PEERS / "raw.py"), host, str(port)] + ([sni] if sni else [])
    p = lab.agent(*args, input=request, **kw)
    assert p.returncode in (0, 3), p.stderr
    return p.stdout


def head(host, path="/v1/invoices", *more, method="GET", close=True):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *more] + (["Connection: close"] if close else [])
    return "\r\n".join(lines) + "\r\n\r\n"


def raw_reason(answer):
    first, _, body = answer.partition("\r\n\r\n")
    return (first.split(" ")[1] if first.startswith("HTTP/1.1 ") else "0"), reason(body)


def works(lab, **kw):
    """The allowed call gets the upstream's answer."""
    status, body, p = curl(lab, STRIPE, *AUTH, **kw)
    assert status == 200 and '"object":"list"' in body, (status, body, p.stderr)


def forms(key):
    """Every way of writing a key that the tests look for. Base64 at each of its three alignments."""
    raw_bytes = key.encode()
    found = {raw_bytes, raw_bytes.hex().encode(), raw_bytes.hex().upper().encode(),
             "".join(f"%{b:02x}" for b in raw_bytes).encode(), "".join(f"%{b:02X}" for b in raw_bytes).encode(),
             urllib.parse.quote(key, safe="").encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw_bytes).rstrip(b"=")
        body = text[4 if shift else 0:-2]
        found |= {body, body.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def holds_key(lab, data):
    """Names of the secrets that stand in these bytes in whatever form."""
    if isinstance(data, str):
        data = data.encode()
    return [name for name, key in lab.keys.items() if any(f in data for f in forms(key))]


def refused(p):
    """A command that failed as it should: a sentence on stderr, nothing on stdout, no crash."""
    said = p.stderr.strip()
    assert p.returncode > 0, f"exit {p.returncode}, stdout {p.stdout!r}, stderr {p.stderr!r}"
    assert p.stdout == "", f"on stdout: {p.stdout!r}"
    assert said.startswith("agentsecrets: ") and len(said) > 25, f"no sentence: {p.stderr!r}"
    assert len(said.splitlines()) <= 2, f"more than a sentence: {p.stderr!r}"
    for bad in ("Traceback", "AddressSanitizer", "runtime error", "assert", "Segmentation", "(null)", "error -"):
        assert bad not in said, p.stderr
    return said


def nothing_leaked(lab):
    """No trap heard anything, and no packet to one of them stands in a capture."""
    assert lab.leaks() == [], lab.leaks()[:3]
    for capture in lab.captures.values():
        assert capture.to(*TRAPS) == [], capture.to(*TRAPS)[:3]


def state_of(daemon):
    """Everything that a refused command must leave as it was."""
    workspaces = daemon.ask(op="workspace.list")["workspaces"]
    names = [w["workspace"] for w in workspaces]
    return json.dumps([workspaces, [daemon.ask(op="allowlist.list", workspace=n) for n in names],
                       [daemon.ask(op="secrets.list", workspace=n) for n in names]], sort_keys=True)


def audit(daemon, seconds=5, **want):
    """Waits for audit lines with these values (a line's value may be a list that holds the wanted one)."""
    def match(line):
        return all(v == line.get(k) or (isinstance(line.get(k), list) and v in line[k]) for k, v in want.items())
    return wait_for(f"an audit line with {want}; there are {daemon.audit_lines()[-5:]}",
                    lambda: [line for line in daemon.audit_lines() if match(line)], seconds)
