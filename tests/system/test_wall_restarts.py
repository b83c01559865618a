"""Restarts of the daemon under connect load: killed and ended in turn, with a guarded process that goes on all the
time. Nothing leaves, every refused destination stays refused with EPERM, and afterwards the same process works.
5 restarts; STRESS=1 (`make stress`) makes it 200."""

import json
import os
import subprocess
import time

from helpers import works
from lab import PEERS
from test_5_kill import Agent, nothing_left

RESTARTS = 200 if os.environ.get("STRESS") else 5


def start_storm(lab, name, processes=2):
    stop = lab.home / f"stop-{name}"
    p = lab.agent_start("/usr/bin/python3", str(PEERS / "storm.py"), str(stop), str(processes),
                        "169.254.169.254:80", "10.0.1.5:443", ns="pod", text=True, stderr=subprocess.STDOUT)
    assert p.stdout.readline() == "storming\n"
    return p, stop


def end_storm(storm):
    p, stop = storm
    stop.touch()
    out, _ = p.communicate(timeout=60)
    return json.loads(out.splitlines()[-1])


def restart(d, killed):
    if killed:
        d.proc.kill()
        d.proc.wait(10)
    else:
        assert d.stop() == 0, d.messages()
    d.start()


def test_restarts_under_load(fresh):
    lab, d = fresh, fresh.daemons[0]
    agent = Agent(lab)
    agent.wait_ok()
    storm = start_storm(lab, "restarts")
    began = time.monotonic()
    for i in range(RESTARTS):
        restart(d, killed=i % 2 == 0)
    took = time.monotonic() - began
    seen = end_storm(storm)
    agent.wait_ok(5, 60)
    agent.end()
    print(f"{RESTARTS} restarts in {took:.0f} s: {seen}; {agent.oks()} answers in {len(agent.lines)} rounds")
    refused = {k: n for k, n in seen.items() if not k.startswith("redirected")}
    assert set(refused) == {"tcp EPERM", "udp EPERM"}, seen
    assert sum(refused.values()) > 100 * RESTARTS
    nothing_left(lab, agent)
    works(lab)
    holders = [pid for role, pid in d.processes() if role == "holder"]
    assert len(holders) == 1 and len(os.listdir(f"/proc/{holders[0]}/fd")) < 200, "descriptors pile up in the holder"
