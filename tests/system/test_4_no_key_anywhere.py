"""Must show 4: the real key stands nowhere an agent can look, in no form, and in nothing we wrote."""

import json
import os
import re
import subprocess

import pytest

from helpers import AUTH, REF, STRIPE, curl, forms, head, holds_key, raw
from lab import NOBODY
from test_3_vault_reads import BY_CURL, BY_HAND

# Runs inside the guard. What to look for comes by standard input, XORed with 0x5a, so that the looker does not
# find itself. Looks through /proc of every process it can see in the guard's tree, the files these have open or
# mapped, the memory of its siblings, and the folders given as arguments; says what it found.
LOOKER = r"""
import os, sys
needles = [bytes(b ^ 0x5a for b in bytes.fromhex(line)) for line in sys.stdin.read().split()]
found, looked, memory = [], 0, 0

def look(name, data):
    global looked
    looked += 1
    found.extend(name for n in needles if n in data)

def file(path):
    try:
        if os.path.isfile(path):
            with open(path, "rb") as f:
                look(path, f.read(64 << 20))
    except OSError:
        pass

def mem(pid):
    global memory
    if pid == os.getpid():
        return
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as m:
            for line in maps:
                f = line.split()
                lo, hi = (int(x, 16) for x in f[0].split("-"))
                if "r" in f[1] and hi - lo < 256 << 20 and not line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                    try:
                        m.seek(lo)
                        look(f"memory of {pid} at {f[0]} {f[5:]}", m.read(hi - lo))
                        memory += 1
                    except (OSError, ValueError, OverflowError):
                        pass
    except OSError:
        pass

tree = open("/proc/self/cgroup").read()
for pid in [int(p) for p in os.listdir("/proc") if p.isdigit()]:
    try:
        if open(f"/proc/{pid}/cgroup").read() != tree:
            continue
        for name in ("environ", "cmdline", "maps", "status", "comm", "limits", "mountinfo", "net/tcp", "net/unix"):
            file(f"/proc/{pid}/{name}")
        paths = {l.split(None, 5)[5].strip() for l in open(f"/proc/{pid}/maps") if "/" in l}
        paths |= {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
        for path in paths:
            file(path)
        mem(pid)
    except OSError:
        pass
for top in sys.argv[1:]:
    for where, dirs, files in os.walk(top):
        dirs[:] = [d for d in dirs if d != "private"]
        for name in files:
            file(os.path.join(where, name))
print(f"looked {looked} memory {memory}")
for name in sorted(set(found)):
    print("FOUND", name)
"""

# A client that has used the key and then stays, with its environment, its connection and its memory.
CLIENT = ("import os, http.client, sys\nc = http.client.HTTPSConnection('api.stripe.com', timeout=20)\n"
          "c.request('GET', '/v1/invoices', headers={'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']})\n"
          "r = c.getresponse(); assert r.status == 200, r.status; r.read()\nprint('used', flush=True)\nsys.stdin.read()\n")


def look(world, uid, workspace):
    needles = "\n".join(bytes(b ^ 0x5A for b in f).hex() for key in world.keys.values() for f in forms(key))
    (world.home / "look.py").write_text(LOOKER)
    (world.home / "client.py").write_text(CLIENT)
    # One guard: the client waits at a fifo's end until the looker is done.
    shell = (f"mkfifo hold-{uid} said-{uid}; /usr/bin/python3 client.py < hold-{uid} > said-{uid} & exec 8> hold-{uid}; "
             f'read line < said-{uid}; [ "$line" = used ] && /usr/bin/python3 look.py {world.dir}; exec 8>&-; wait')
    return world.agent("sh", "-c", shell, input=needles, timeout=120, uid=uid, workspace=workspace)


@pytest.mark.parametrize("uid,workspace", [(NOBODY, "ordinary"), (0, "demo")], ids=["as nobody", "as root"])
def test_agent_finds_nothing(world, uid, workspace):
    p = look(world, uid, workspace)
    looked = re.search(r"looked (\d+) memory (\d+)", p.stdout)
    assert looked and int(looked[1]) > 50 and int(looked[2]) > 10, (p.stdout, p.stderr)
    assert "FOUND" not in p.stdout, p.stdout


def test_the_looker_can_find(world):
    """The proof above can fail: planted in an environment and a file, the key is found."""
    needles = "\n".join(bytes(b ^ 0x5A for b in f).hex() for f in forms(world.keys["STRIPE_KEY"]))
    planted = world.home / "planted"
    planted.mkdir(exist_ok=True)
    try:
        (planted / "x").write_text("key = " + world.keys["STRIPE_KEY"].encode().hex())
        p = subprocess.run(["/usr/bin/python3", "-c", LOOKER, str(planted)], input=needles, capture_output=True, text=True,
                           env=world.env(PLANTED=world.keys["STRIPE_KEY"]), check=True)
        assert f"FOUND {planted}/x" in p.stdout and re.search(r"FOUND /proc/\d+/environ", p.stdout), p.stdout
    finally:
        (planted / "x").unlink()


@pytest.mark.parametrize("uid,workspace", [(NOBODY, "ordinary"), (0, "demo")], ids=["as nobody", "as root"])
def test_agent_cannot_look_into_the_daemon(world, uid, workspace):
    d = world.daemons[0]
    secret = [f"/proc/{pid}/{name}" for _, pid in d.processes() for name in ("mem", "environ", "fd/0", "fd/3", "root/etc", "cwd")]
    secret += [str(d.state / name) for name in ("vault.key", "vault/vault.bin", "trust")]
    for path in secret:
        p = world.agent("sh", "-c", f"ls {path}/ || head -c1 {path} || readlink {path}", uid=uid, workspace=workspace)
        assert p.returncode != 0 and p.stdout == "", f"{path} is readable: {p.stdout!r}"


def test_error_bodies_and_logs(world):
    """Every refusal, every listing, the audit log and the daemon's own messages."""
    d = world.daemons[0]
    texts = {}
    for name, args, _ in BY_CURL:
        _, body, p = curl(world, *args)
        texts[f"answer to: {name}"] = body + p.stderr
    for name, host, sni, request, _ in BY_HAND:
        texts[f"answer to: {name}"] = raw(world, host, 443, sni, request)
    _, texts["502"], _ = curl(world, "https://wrong-name.lab-host.com/", "-H", f"X-Key: {REF}")
    _, texts["upstream's 401"], _ = curl(world, STRIPE, "-H", "Authorization: Bearer none")
    for words in (["log"], ["log", "--json"], ["status", "--json"], ["secrets", "list"], ["secrets", "list", "--json"],
                  ["workspace", "list", "--json"], ["workspace", "allowlist", "list", "--json"], ["doctor"], ["cgroup", "list"]):
        p = world.cli(*words)
        texts[" ".join(words)] = p.stdout + p.stderr
    texts["messages"] = d.messages()
    for where, dirs, files in os.walk(d.dir):
        dirs[:] = [n for n in dirs if not os.path.ismount(os.path.join(where, n))]
        for name in files:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    texts[path] = f.read()
    assert {k: holds_key(world, v) for k, v in texts.items() if holds_key(world, v)} == {}
    assert len(texts["messages"]) > 0 and d.audit.stat().st_size > 0


def test_audit_names_the_secret_but_quotes_no_query(world):
    d = world.daemons[0]
    curl(world, f"{STRIPE}?token=qqq-not-for-the-log", *AUTH)
    text = d.audit.read_text()
    assert "STRIPE_KEY" in text and "qqq-not-for-the-log" not in text
    for line in text.splitlines():
        json.loads(line)


def test_head_with_reference_is_not_answered_with_it(world):
    """A refusal quotes the host at most."""
    answer = raw(world, "attacker-domain.com", 443, "attacker-domain.com", head("attacker-domain.com", f"/{REF}", f"Cookie: a={REF}"))
    assert "attacker-domain.com" in answer and "STRIPE_KEY" not in answer, answer
