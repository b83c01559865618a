"""One agent's connect storm while no proxy accepts; another agent's connections in the same namespace, and in another,
go on when the proxies do, each with its own record."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from helpers import audit
from lab import wait_for
from test_5_kill import Agent, role_pids

FLOOD = """
import errno, os, resource, socket, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
kept = []
for i in range(int(sys.argv[1])):
    s = socket.socket()
    s.setblocking(False)
    if s.connect_ex(("203.0.113.66", 9999)) not in (0, errno.EINPROGRESS):
        sys.exit("connect failed")
    kept.append(s)
print("flooded", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def stopped(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("ns", ["box", "pod"])
def test_flood(fresh, ns):
    lab, d = fresh, fresh.daemons[0]
    agent = Agent(lab, ns=ns)
    agent.wait_ok()
    guard = [g["guard"] for g in d.ask(op="cgroup.list")["guards"]]
    assert len(guard) == 1
    proxies = role_pids(d, "proxy")
    assert len(proxies) == 2
    with stopped(proxies):
        # More than the listener's queue and the guard's quota hold together.
        flooder = lab.agent_start("/usr/bin/python3", "-c", FLOOD, "6000", ns="box", text=True, stdin=subprocess.PIPE)
        assert flooder.stdout.readline() == "flooded\n", flooder.stderr.read()
        mine = [g["guard"] for g in d.ask(op="cgroup.list")["guards"] if g["guard"] not in guard]
        wait_for("a denial of the flooder's own quota", lambda: [
            a for a in d.audit_lines() if a.get("reason") == "too_many_pending_connections"])
        time.sleep(1)  # the other agent tries in vain meanwhile
    began = time.monotonic()
    agent.wait_ok(5, 60)
    print(f"{ns}: the other agent had answers {time.monotonic() - began:.1f} s after the proxies went on")
    flooder.stdin.close()
    flooder.wait(20)
    agent.end()
    over = [a for a in d.audit_lines() if a.get("reason") == "too_many_pending_connections"]
    assert {str(a["guard"]) for a in over} == set(mine), "another guard's quota was used up"
    for line in audit(d, host="api.stripe.com"):
        assert str(line["guard"]) == guard[0], "a connection with another guard's record"
    assert lab.leaks() == [] and lab.captures["pod"].packets() == []
