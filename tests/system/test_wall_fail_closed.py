"""What happens to a guarded process when a piece of the daemon is taken away, row by row; the last line of each test
is that nothing has left. Everything is tried with an agent that loops in a namespace of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import a_world, show
from helpers import audit, works
from lab import BUILD, cgroup2_mount, mounts_below, wait_for
from test_5_kill import Agent, alive, nothing_left, role_pids

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
PROGRAMS = 15  # of level 1, on each guard


@pytest.fixture(scope="module")
def shared():
    made = a_world()
    yield made
    show(made)
    made.down()


@pytest.fixture
def place(shared):
    """(lab, daemon, agent that has had its first answers)"""
    d = shared.daemons[0]
    if d.proc.poll() is not None:
        d.start()
    for capture in shared.captures.values():
        capture.mark()
    agent = Agent(shared)
    try:
        agent.wait_ok()
        yield shared, d, agent
    finally:
        end(agent)


def end(agent):
    """Its process too, which outlives a `run` that was killed."""
    lines = agent.end()
    kill(*{int(line.split()[1]) for line in lines})


def kill(*pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def refused_while(agent, rounds=2):
    """No answer comes in these rounds (one may have been under way)."""
    oks = agent.oks()
    agent.wait_round(rounds)
    assert agent.oks() <= oks + 1, "a request worked that must not"


def bpf(d):
    return d.rundir / "bpf"


def layout(d):
    return next(bpf(d).glob("v*"))


def guards(d):
    return [g["guard"] for g in d.ask(op="cgroup.list")["guards"]]


def unlink_all(folder):
    for path in sorted(folder.glob("**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def attached(path):
    """Names of our programs on a cgroup, one for each attachment."""
    out = subprocess.run([BPFTOOL, "-j", "cgroup", "show", str(path)], stdout=subprocess.PIPE, check=False).stdout
    return sorted(p["name"] for p in json.loads(out.strip() or "[]") if p["name"].startswith("egress_"))


def guard_path(d, guard):
    return next(g["path"] for g in d.ask(op="cgroup.list")["guards"] if g["guard"] == guard)


def mended(d, agent):
    """Each program once, each pinned, and the agent has answers."""
    agent.wait_ok(3)
    for g in guards(d):
        pins = [p.name for p in (layout(d) / "guards" / g).iterdir() if p.name.startswith("egress_")]
        assert len(pins) == PROGRAMS, pins
        wait_for("each program once", lambda: len(attached(guard_path(d, g))) == PROGRAMS)
    assert list((layout(d) / "maps").iterdir()) and list((layout(d) / "listen").iterdir())


# ---- processes ----

def test_parent_killed(place):
    lab, d, agent = place
    d.proc.kill()
    d.proc.wait(10)
    refused_while(agent)
    d.start()
    mended(d, agent)
    nothing_left(lab, agent)


def test_proxies_killed(place):
    lab, d, agent = place
    old = role_pids(d, "proxy")
    kill(*old)
    agent.wait_round()
    wait_for("new proxies", lambda: len(set(role_pids(d, "proxy")) - set(old)) == len(old), 20)
    agent.wait_ok(3)
    nothing_left(lab, agent)


def test_holder_and_daemon_killed_at_once(place):
    """The pins alone keep everything in force."""
    lab, d, agent = place
    pids = [pid for _, pid in d.processes()]
    kill(*pids)
    wait_for("the end of all", lambda: not any(alive(p) for p in pids))
    d.proc.wait(10)
    refused_while(agent)
    d.start()
    mended(d, agent)
    nothing_left(lab, agent)


# ---- the bpffs ----

def test_bpffs_unmounted(place):
    """The daemon and the holder have every link; the daemon makes a new bpffs and pins them there."""
    lab, d, agent = place
    subprocess.run(["umount", "-l", str(bpf(d))], check=True)
    agent.wait_ok(2)
    wait_for("a new bpffs", lambda: mounts_below(bpf(d)), 5)
    mended(d, agent)
    works(lab)
    nothing_left(lab, agent)


def test_bpffs_unmounted_while_the_daemon_is_dead(place):
    """The holder keeps it closed; the daemon that starts takes links and maps from it."""
    lab, d, agent = place
    d.proc.kill()
    d.proc.wait(10)
    subprocess.run(["umount", "-l", str(bpf(d))], check=True)
    refused_while(agent)
    d.start()
    mended(d, agent)
    works(lab)
    nothing_left(lab, agent)


def test_pins_removed(place):
    lab, d, agent = place
    unlink_all(layout(d))
    agent.wait_ok(2)
    d.proc.kill()
    d.proc.wait(10)
    refused_while(agent)
    d.start()
    mended(d, agent)
    works(lab)
    nothing_left(lab, agent)


def test_one_pin_removed(place):
    lab, d, agent = place
    (layout(d) / "guards" / guards(d)[0] / "egress_connect4").unlink()
    (layout(d) / "maps" / "pending").unlink()
    agent.wait_ok(2)
    assert d.stop() == 0
    refused_while(agent)
    d.start()
    mended(d, agent)
    nothing_left(lab, agent)


def test_started_before_the_bpffs_is_mounted(place):
    """With nothing guarded it takes its bpffs along; a start finds none, and mounts one."""
    lab, d, agent = place
    end(agent)
    wait_for("no guard", lambda: not guards(d))
    assert d.stop() == 0
    assert mounts_below(bpf(d)) == []
    d.start()
    assert mounts_below(bpf(d)) == [str(bpf(d))]
    again = Agent(lab)
    try:
        again.wait_ok()
        mended(d, again)
    finally:
        end(again)
    nothing_left(lab, again)


def test_map_pins_removed_and_nobody_holds_them(place):
    """The links' own storage would outlive the maps that say what a guard may do: closed, then attached anew."""
    lab, d, agent = place
    unlink_all(layout(d) / "maps")
    pids = [pid for _, pid in d.processes()]
    kill(*pids)
    wait_for("the end of all", lambda: not any(alive(p) for p in pids))
    d.proc.wait(10)
    refused_while(agent)
    d.start()
    mended(d, agent)
    works(lab)
    nothing_left(lab, agent)


# ---- upgrade ----

def other_version(lab):
    """The daemon with another version string, as a later build would have it."""
    old = (BUILD / "agentsecretsd").read_bytes()
    ours = subprocess.run([str(BUILD / "agentsecrets"), "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    new = ours[:-1] + chr(ord(ours[-1]) + 1)
    changed, count = re.subn(rb"(?<![\w.])" + re.escape(ours.encode()) + rb"(?=\0)", new.encode(), old)
    assert count
    path = lab.private / "agentsecretsd"
    path.write_bytes(changed)
    path.chmod(0o755)
    return path, new


def test_upgraded_under_load(place):
    """A later build starts over the pins of this one, and then this one over the later one's."""
    lab, d, agent = place
    path, version = other_version(lab)
    ours = d.status()["version"]
    assert version != ours
    d.proc.kill()
    d.proc.wait(10)
    agent.wait_round()
    with open(d.stderr, "ab") as err:
        d.proc = lab.spawn("box", [str(path), "--config", str(d.config_file)], stdout=err, stderr=err, track=False)
    wait_for("the new version", d.serving, 20)
    assert d.status()["version"] == version
    mended(d, agent)
    assert d.stop() == 0
    refused_while(agent)
    d.start()
    assert d.status()["version"] == ours
    mended(d, agent)
    nothing_left(lab, agent)


@pytest.mark.parametrize("holder", ["holder alive", "holder dead"])
def test_upgraded_from_another_layout(place, holder):
    """The pins of a build with another layout version: attached anew under ours, then theirs are taken off."""
    lab, d, agent = place
    pids = [pid for role, pid in d.processes() if holder == "holder dead" or role != "holder"]
    kill(*pids)
    wait_for("the end of all", lambda: not any(alive(p) for p in pids))
    d.proc.wait(10)
    ours = layout(d)
    ours.rename(ours.with_name("v0"))
    refused_while(agent)
    d.start()
    assert [p.name for p in bpf(d).glob("v*")] == [ours.name]
    mended(d, agent)
    works(lab)
    nothing_left(lab, agent)


# ---- the cgroup ----

def test_cgroup_made_anew_by_somebody_else(place):
    """Nothing of the old guard is left, and the other's cgroup is let alone."""
    lab, d, agent = place
    guard = guards(d)[0]
    path = guard_path(d, guard)
    holder = role_pids(d, "holder")[0]
    d.proc.kill()
    d.proc.wait(10)
    end(agent)
    wait_for("an empty cgroup", lambda: "populated 0" in open(f"{path}/cgroup.events", encoding="ascii").read())
    os.rmdir(path)
    os.mkdir(path)
    try:
        d.start()
        assert guards(d) == []
        assert not (layout(d) / "guards" / guard).exists()
        assert not (d.rundir / "guards" / guard).exists()
        assert attached(path) == []
        assert os.path.isdir(path), "somebody else's cgroup was removed"
        assert role_pids(d, "holder") == [holder]
        held = len(os.listdir(f"/proc/{holder}/fd"))
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)
    again = Agent(lab)
    try:
        again.wait_ok()
    finally:
        end(again)
    wait_for("no guard", lambda: not guards(d))
    wait_for("nothing of it in the holder", lambda: len(os.listdir(f"/proc/{holder}/fd")) <= held)
    assert list((d.rundir / "guards").iterdir()) == []
    nothing_left(lab, again)


# ---- maps ----

def hex_of(value, size):
    return [f"{b:02x}" for b in value.to_bytes(size, "little")]


def bpftool(*args):
    subprocess.run([BPFTOOL, *args], check=True, stdout=subprocess.DEVNULL)


def test_map_lookup_miss(place):
    """A guard's state zeroed, then its quota gone: nothing works, and a restart mends both."""
    lab, d, agent = place
    guard = hex_of(int(guards(d)[0]), 8)
    maps = layout(d) / "maps"
    bpftool("map", "update", "pinned", str(maps / "guards"), "key", "hex", *guard, "value", "hex", *["00"] * 32)
    refused_while(agent)
    audit(d, reason="guard_closed")
    d.proc.kill()
    d.proc.wait(10)
    d.start()
    agent.wait_ok()
    bpftool("map", "delete", "pinned", str(maps / "quota"), "key", "hex", *guard)
    refused_while(agent, 3)
    d.proc.kill()
    d.proc.wait(10)
    d.start()
    mended(d, agent)
    nothing_left(lab, agent)


# ---- events ----

DENIALS = """
import errno, socket, sys, time
n = int(sys.argv[1])
for i in range(n):
    s = socket.socket()
    rc = s.connect_ex((f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", 1) if sys.argv[2] == "all" else ("10.9.8.7", 1))
    s.close()
    if rc != errno.EPERM:
        sys.exit(f"connect {i}: {rc}")
print("all denied")
"""


def denials(lab, count, where):
    p = lab.agent("/usr/bin/python3", "-c", DENIALS, str(count), where, ns="pod")
    assert p.stdout == "all denied\n", p.stderr


class Counting:
    """What the kernel counted and what the log got, from one moment to another."""

    def __init__(self, d):
        self.d, self.before, self.lines = d, d.status()["kernel_counters"], len(self.kernel(d.audit_lines()))
        self.lost_before = self.lost(d.audit_lines())

    @staticmethod
    def kernel(lines):
        return [a for a in lines if a.get("kind") == "kernel" and "count" not in a]

    @staticmethod
    def lost(lines):
        return sum(a["count"] for a in lines if a.get("kind") == "kernel" and "count" in a)

    def now(self):
        counters, lines = self.d.status()["kernel_counters"], self.d.audit_lines()
        got = {k: counters[k] - self.before[k] for k in ("denied", "events_lost", "events_limited")}
        return {**got, "lines": len(self.kernel(lines)) - self.lines, "told": self.lost(lines) - self.lost_before}

    def settled(self):
        """Every denial is a line, or counted as left out for its rate, or as lost; and what was lost is told."""
        def even():
            n = self.now()
            return n["denied"] == n["lines"] + n["events_limited"] + n["events_lost"] and n["told"] == n["events_lost"] and n
        try:
            return wait_for("an even account", even, 10)
        except Exception as e:
            raise AssertionError(self.now()) from e


def test_full_ring_counts_what_it_lost(fresh):
    """Nobody reads the ring for a while: all is denied, and what found no place is counted, told once, and exactly."""
    d = fresh.daemons[0]
    works(fresh)
    count = Counting(d)
    agent = fresh.agent_start("/usr/bin/python3", "-c", "import sys\nsys.stdin.readline()\n" + DENIALS, "9000", "all",
                              ns="pod", text=True, stdin=subprocess.PIPE)
    wait_for("the guard", lambda: guards(d))
    time.sleep(0.3)  # the command is in its guard, and waits
    os.kill(d.proc.pid, signal.SIGSTOP)
    try:
        agent.stdin.write("go\n")
        agent.stdin.flush()
        assert agent.stdout.readline() == "all denied\n", agent.stderr.read()
    finally:
        os.kill(d.proc.pid, signal.SIGCONT)
    agent.communicate(timeout=20)
    n = count.settled()
    assert n["denied"] >= 9000 and n["events_lost"] > 5000, n
    lost = [a for a in d.audit_lines() if a.get("detail", "").startswith("events lost")]
    assert sum(a["count"] for a in lost) == n["events_lost"]
    d.proc.kill()  # what was told is not told again
    d.proc.wait(10)
    d.start()
    works(fresh)
    time.sleep(1.5)
    assert [a for a in d.audit_lines() if a.get("detail", "").startswith("events lost")] == lost
    assert fresh.leaks() == [] and fresh.captures["pod"].packets() == []


def test_one_line_a_second_for_each_destination(fresh):
    d = fresh.daemons[0]
    count = Counting(d)
    began = time.monotonic()
    denials(fresh, 20000, "one")
    took = time.monotonic() - began
    n = count.settled()
    lines = [a for a in d.audit_lines() if a.get("kind") == "kernel" and "10.9.8.7" in json.dumps(a)]
    assert 1 <= len(lines) <= took + 2, (lines, took)
    assert n["denied"] >= 20000 and n["events_limited"] >= 20000 - len(lines) and n["events_lost"] == 0, n
