"""After 1,000 injections no value is to be found where an agent's user can look, nor where it was only passing (issue 5, must-show 6)."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import AUTH, STRIPE, Agent, curl, forms, holds_key
from lab import NOBODY, SANITIZED, wait_for

# What the agent does: many requests of one process, which then stays.
CLIENT = """
import base64, http.client, os, ssl, sys
c = http.client.HTTPSConnection("api.stripe.com", context=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]))
for i in range(1000):
    ref = os.environ["STRIPE_KEY"]
    auth = f"Bearer {ref}" if i % 2 else "Basic " + base64.b64encode(f"{ref}:".encode()).decode()
    c.request("GET", "/v1/invoices", headers={"Authorization": auth})
    r = c.getresponse()
    body = r.read()
    assert r.status == 200, (i, r.status, body)
print("done", os.getpid(), flush=True)
sys.stdin.read()
"""
REACH = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
        print(pid)
    except OSError:
        pass
"""


def memory(pid):
    """Everything that is mapped readable, piece by piece with a little overlap."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if "[v" in line:
                continue
            if mode[0] != "r":
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            for at in range(start, end, 1 << 22):
                try:
                    mem.seek(at)
                    yield line.strip(), at, mem.read(min((1 << 22) + 256, end - at))
                except OSError:
                    break


def found(lab, pid):
    """(where, which) of each value in a process's memory."""
    wanted = [(name, form) for name, key in lab.keys.items() for form in forms(key)]
    hits = []
    for line, at, data in memory(pid):
        for name, form in wanted:
            i = data.find(form)
            while i >= 0:
                hits.append((name, form[:6], hex(at + i), line))
                i = data.find(form, i + 1)
    return hits


def map_bytes(pid):
    """All keys and values of the BPF maps that a process holds."""
    ids = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            ids |= set(re.findall(r"map_id:\s+(\d+)", info.read_text()))
    assert len(ids) > 5
    for i in ids:
        text = subprocess.run(["bpftool", "-j", "map", "dump", "id", i], capture_output=True, text=True, check=False).stdout
        yield i, text.encode(), bytes(int(x, 16) for x in re.findall(r'"0x([0-9a-f]{2})"', text))


@pytest.mark.skipif(SANITIZED, reason="the address sanitizer keeps what was freed, in terabytes of shadow")
def test_nothing_left(fresh):
    lab, daemon = fresh, fresh.daemons[0]
    agent = lab.agent_start("/usr/bin/python3", "-c", CLIENT, workspace="ordinary", uid=NOBODY, stdin=subprocess.PIPE)
    said = agent.stdout.readline().split()
    assert said[:1] == [b"done"], agent.stderr.read()
    assert len(lab.requests(host="api.stripe.com", status=200)) >= 1000
    pid = int(said[1])

    assert found(lab, int((lab.private / "nginx.pid").read_text())) != []  # the search finds what there is: upstream has the keys

    # Which processes can that user open: its own, and nothing of the daemon's.
    reach = subprocess.run(lab.nsenter("box") + ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--",
                                                 sys.executable, "-c", REACH], capture_output=True, text=True, check=True)
    reachable = [int(p) for p in reach.stdout.split()]
    assert pid in reachable
    ours = dict((p, role) for role, p in daemon.processes())
    assert not set(ours) & set(reachable)
    for p in reachable:
        try:
            assert found(lab, p) == []
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile, or is of another

    # The agent's core.
    core = lab.private / "core"
    made = subprocess.run(["gcore", "-o", str(core), str(pid)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert holds_key(lab, Path(f"{core}.{pid}").read_bytes()) == []

    # What was said: the log, the messages, errors' bodies, maps.
    bodies = [curl(lab, url, *AUTH)[1] for url in ("https://api.openai.com/", "https://attacker-domain.com/", "http://api.stripe.com/",
                                                   STRIPE + "?agentsecrets://STRIPE_KEY", "https://wrong-name.lab-host.com/")]
    assert all(bodies)
    for text in (daemon.audit.read_text(), daemon.messages(), *bodies):
        assert holds_key(lab, text) == []
    parent = next(p for p, role in ours.items() if role == "parent")
    for number, text, data in map_bytes(parent):
        assert holds_key(lab, text) == [] and holds_key(lab, data) == [], number

    # The daemon's own processes leave no core, cannot be traced, and lock what they hold.
    for p, role in ours.items():
        limits = Path(f"/proc/{p}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), (role, limits)
        assert os.stat(f"/proc/{p}/mem").st_uid == 0, role
        state = Path(f"/proc/{p}/status").read_text()
        if role in ("keeper", "proxy"):
            assert int(re.search(r"VmLck:\s+(\d+)", state)[1]) > 0, role
        assert "vault.bin" not in Path(f"/proc/{p}/maps").read_text()

    # Where values only pass. The keeper has them sealed, proxies for one request each: with the connections idle, none.
    left = {f"{role} {p}": found(lab, p) for p, role in ours.items()}
    agent.stdin.close()
    assert agent.wait(20) == 0
    assert {k: v for k, v in left.items() if v} == {}


def test_core_of_a_crash(fresh):
    """A real crash of an agent in the middle of its requests: its core has references only."""
    lab = fresh
    with Agent(lab) as agent:
        agent.sh("ulimit -c unlimited")
        assert agent.curl(STRIPE, *AUTH)[0] == 200
    crash = lab.home / "crash"
    crash.mkdir()
    code = CLIENT.replace('sys.stdin.read()', 'os.kill(os.getpid(), 11)').replace("range(1000)", "range(20)")
    p = lab.agent("sh", "-c", f"cd {crash}; ulimit -c unlimited; exec /usr/bin/python3 -c '{code}'")
    assert p.returncode == 128 + 11 and "done" in p.stdout
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    cores = list(crash.glob("core*"))
    assert cores or pattern != "core", "no core was written"
    for core in cores:
        assert holds_key(lab, core.read_bytes()) == []
