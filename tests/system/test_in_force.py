"""What a command says is done is in force when it says so, in every process."""

import os
import signal

from helpers import Agent
from lab import wait_for

HOST = "files.lab-host.com"
RULE = ("workspace", "allowlist")


def test_rules(world):
    """The first request after the command's end, from an agent that has been there all the while, over new connections."""
    world.must("workspace", "create", "in-force")
    with Agent(world, workspace="in-force") as agent:
        for _ in range(15):
            world.must(*RULE, "add", "--workspace", "in-force", HOST)
            assert agent.curl(f"https://{HOST}/hello")[0] == 200
            world.must(*RULE, "remove", "--workspace", "in-force", HOST)
            status, body = agent.curl(f"https://{HOST}/hello")
            assert status == 403, body
    wait_for("the guard to go", lambda: world.cli("workspace", "delete", "in-force").returncode == 0)


def test_a_process_that_does_not_answer(fresh):
    """It is said, and the rest is done."""
    lab, d = fresh, fresh.daemons[0]
    proxy = next(pid for role, pid in d.processes() if role.startswith("proxy"))
    os.kill(proxy, signal.SIGSTOP)
    try:
        p = lab.cli(*RULE, "add", "--workspace", "demo", "later.lab-host.com")
        assert p.returncode == 0 and "not every process" in p.stderr, p.stderr
    finally:
        os.kill(proxy, signal.SIGCONT)
    p = lab.cli(*RULE, "remove", "--workspace", "demo", "later.lab-host.com")
    assert p.returncode == 0 and p.stderr == "", p.stderr
