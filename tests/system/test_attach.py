"""`cgroup attach`: what runs already ends behind the wall, with every socket it had, or is left exactly as it was."""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from helpers import audit, nothing_leaked, refused
from lab import BUILD, LINKS, PEERS, cgroup2_mount, run, wait_for

PLAIN, TRAP4, TRAP6, HOLE = "203.0.113.10", "203.0.113.66", "2001:db8:1:2::66", "203.0.113.99"
POD = LINKS["pod"][0][0].split("/")[0]
CONTAINER = "docker-" + "0123456789abcdef" * 4 + ".scope"


class Group:
    """A cgroup of the test's own, beside the daemon's."""

    def __init__(self, lab, name, below=""):
        self.top = cgroup2_mount() / f"as-test-{lab.id}-{name}"
        self.path = self.top / below
        self.path.mkdir(parents=True)

    def enter(self):
        """For preexec_fn."""
        (self.path / "cgroup.procs").write_text("0")

    def pids(self):
        return [int(p) for p in (self.path / "cgroup.procs").read_text().split()]

    def remove(self):
        for d in sorted((d for d in self.top.glob("**/*") if d.is_dir()), reverse=True) + [self.top]:
            (d / "cgroup.freeze").write_text("0")
            for pid in (d / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            wait_for(f"{d} to empty", lambda d=d: not (d / "cgroup.procs").read_text())
            d.rmdir()


@pytest.fixture
def group(world):
    made = []

    def make(name, below=""):
        made.append(Group(world, name, below))
        return made[-1]
    yield make
    try:
        for g in attached(world):
            world.cli("cgroup", "detach", g["guard"])
    finally:
        for one in made:
            one.remove()


def attached(lab):
    return [g for g in lab.daemons[0].ask(op="cgroup.list")["guards"] if "/run-" not in g["path"]]


def start(lab, where, argv, **kw):
    """A process in that cgroup and in the pod's namespace, talked to over pipes."""
    return subprocess.Popen(lab.nsenter("pod") + argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            preexec_fn=where.enter, env=lab.env(), **kw)


def holder(lab, where):
    p = start(lab, where, ["/usr/bin/python3", str(PEERS / "sockets.py"), PLAIN, TRAP4, TRAP6, HOLE])
    word, port, child = p.stdout.readline().split()
    assert word == "ready"
    p.port, p.child = int(port), int(child)
    return p


def tell(p, word):
    p.stdin.write(word + "\n")
    p.stdin.flush()
    return json.loads(p.stdout.readline())


def end(p):
    p.stdin.close()
    p.stdout.close()
    p.wait(10)


def attach(lab, pid, *more, **kw):
    return lab.cli("cgroup", "attach", "--workspace", "demo", *more, str(pid), **kw)


def must_attach(lab, pid, *more, **kw):
    p = attach(lab, pid, "--json", *more, **kw)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def sleeper(lab, where, **kw):
    return start(lab, where, ["sleep", "1000"], **kw)


def knock(lab, port):
    """A connection to the pod from outside, left waiting in the accept queue."""
    return lab.spawn("net", ["/usr/bin/python3", "-c", f"import socket, time\ns = socket.socket(); s.settimeout(1)\ntry:\n    s.connect(({POD!r}, {port}))"
                             "\n    print('in', flush=True)\n    time.sleep(60)\nexcept OSError:\n    print('refused', flush=True)"], stdout=subprocess.PIPE)


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def unchanged(lab, pid, where):
    """Nothing of an attach is left: no guard, no pin, no directory, the process where it was and running."""
    d = lab.daemons[0]
    assert attached(lab) == []
    assert list(d.cgroup.glob("attach-*")) == []
    assert list((d.rundir / "bpf").glob("v*/adopt/*")) == []
    if pid:
        assert pid in where.pids()
        wait_for("the process to run", lambda: state(pid) in "SR")
        assert "frozen 0" in (where.path / "cgroup.events").read_text()


# ---- ten kinds of sockets, in a cgroup of its own and in one shared with others ----

@pytest.mark.parametrize("kind", ["own", "shared", "callers", "container"])
def test_existing_sockets(world, group, kind):
    capture = world.captures["pod"]
    where = group(kind, CONTAINER if kind == "container" else "")
    other = sleeper(world, where) if kind in ("shared", "callers", "container") else None
    p = holder(world, where)
    waiting = knock(world, p.port)
    assert waiting.stdout.readline() == b"in\n"
    # The command's own cgroup cannot be frozen: there the tree is stopped by signals.
    kw = {"preexec_fn": where.enter} if kind == "callers" else {}
    told = must_attach(world, p.pid, **kw)
    capture.mark()
    assert told["moved"] is (kind in ("shared", "callers"))
    assert told["processes"] == (3 if kind == "container" else 2) and told["reset"] >= 2
    assert told["adopted"] == (0 if kind in ("own", "container") else 22)
    inside = {p.pid, p.child} | ({other.pid} if kind == "container" else set())
    assert set(map(int, (Path(told["path"]) / "cgroup.procs").read_text().split())) == inside
    if kind == "shared":
        assert where.pids() == [other.pid] and state(other.pid) in "SR"
    assert knock(world, p.port).stdout.readline() == b"refused\n"  # no answer at all: the SYN is dropped
    answers = tell(p, "try")
    time.sleep(1.2)
    assert capture.left() == [], [(q, q.raw.hex()) for q in capture.left()]
    nothing_leaked(world)
    for name in ("tcp connected, send", "tcp unconnected, metadata", "udp unused", "udp bound", "udp6", "raw", "new udp", "tcp device",
                 "tcp listening, waiting"):
        assert answers[name] != "no error", answers
    # Behind the wall it is a guarded process like any other: refused by the proxy, with its words.
    assert all("403" in a for a in tell(p, "get"))
    # And out again.
    world.must("cgroup", "detach", str(told["guard"]))
    if kind != "own" and kind != "container":
        assert {p.pid, p.child} <= set(where.pids())
    capture.mark()
    tell(p, "try")
    wait_for("the network", lambda: [q for q in capture.left() if b"escaped" in q.raw])
    unchanged(world, p.pid, where)
    end(p)
    world.forget_leaks()


def test_detach_gives_the_network_back(world, group):
    where = group("back")
    other, p = sleeper(world, where), holder(world, where)
    told = must_attach(world, p.pid)
    assert all("403" in a for a in tell(p, "get"))
    said = world.must("cgroup", "detach", str(p.pid)).stdout
    assert str(where.path) in said
    assert set(where.pids()) == {other.pid, p.pid, p.child}
    assert not Path(told["path"]).exists()
    audit(world.daemons[0], detail=f"cgroup.attach {p.pid}")
    audit(world.daemons[0], detail=f"cgroup.detach {told['guard']}")
    end(p)


def test_what_is_said(world, group):
    """The bundle that its clients need, and what it lacks."""
    where = group("words")
    p = sleeper(world, where)
    said = attach(world, p.pid).stdout
    for word in ("bundle", "SSL_CERT_FILE", "system call filter", "in place", str(where.path), "capabilities", str(p.pid)):
        assert word in said, said
    assert json.loads(world.must("cgroup", "list", "--json").stdout)["guards"][0]["path"] == str(where.path)


# ---- running away ----

FORKS = ["500", "6"]  # the pause of each link and how many chains


def forks_built(to):
    if not to.exists():
        run("gcc", "-D_GNU_SOURCE", "-O2", "-o", str(to), str(PEERS / "forks.c"))


def fork_links(counter):
    return struct.unpack("=Q", counter.read_bytes()[:8])[0]


def a_thousand_forks(counter):
    """Waits until the chains have made a thousand links and more in one second."""
    until = time.monotonic() + 20
    while True:
        began, first = time.monotonic(), fork_links(counter)
        time.sleep(1)
        rate = (fork_links(counter) - first) / (time.monotonic() - began)
        if rate >= 1000:
            print(f"{rate:.0f} forks/s")
            return
        assert time.monotonic() < until, f"{rate:.0f} forks/s"


@pytest.mark.parametrize("kind", ["own", "shared", "callers"])
def test_fork_chain(world, group, kind):
    exe = world.home / "forks"
    forks_built(exe)
    capture, where, counter = world.captures["pod"], group(f"forks-{kind}"), world.home / f"links-{kind}"
    other = sleeper(world, where) if kind != "own" else None
    p = start(world, where, [str(exe), TRAP4, "9999", str(counter), *FORKS])
    assert p.stdout.readline() == "ready\n"
    a_thousand_forks(counter)
    told = must_attach(world, p.pid, **({"preexec_fn": where.enter} if kind == "callers" else {}))
    capture.mark()
    then = fork_links(counter)
    wait_for("the chains to go on", lambda: fork_links(counter) > then + 1000)
    assert capture.left() == [], capture.left()[:3]
    assert not other or where.pids() == [other.pid]
    inside = (Path(told["path"]) / "cgroup.procs").read_text().split()
    assert str(p.pid) in inside
    world.must("cgroup", "detach", str(told["guard"]))
    end(p)
    world.forget_leaks()


def test_a_file_that_a_frozen_process_serves(world, group):
    """FUSE: to ask for such a file's attributes, while its server stands still, would be to wait for ever."""
    where, at = group("fuse"), world.home / "fuse"
    at.mkdir()
    p = start(world, where, ["/usr/bin/python3", str(PEERS / "fuse.py"), str(at)])
    assert p.stdout.readline() == "ready\n"
    said = attach(world, p.pid, timeout=20)
    assert said.returncode == 0 or "descriptor" in said.stderr, said.stderr
    world.must("status")
    for g in attached(world):
        world.must("cgroup", "detach", str(g["guard"]))
    end(p)


# ---- what cannot be held ----

HOLDS = {
    "packet": ("s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)", "packet socket"),
    "io_uring": ("fd = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)); assert fd > 0", "io_uring"),
    "unix": ("s = socket.socket(socket.AF_UNIX); s.connect('PATH')", "unix connection"),
    "tun": ("s = open('/dev/net/tun', 'rb')", "TUN"),
    "in flight": ("a, b = socket.socketpair(); s = socket.socket(); socket.send_fds(a, [b'x'], [s.fileno()]); s.close()", "on their way"),
    "mptcp": ("s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "MPTCP"),
    "netns": ("t = threading.Thread(target=lambda: (os.unshare(0x40000000) if hasattr(os, 'unshare') else ctypes.CDLL(None).unshare(0x40000000), time.sleep(999)), "
              "daemon=True); t.start(); time.sleep(0.2)", "network namespaces"),
}


def having(lab, where, what):
    path = f"{lab.home}/outside.sock"
    code = f"import ctypes, os, socket, sys, threading, time\n{HOLDS[what][0].replace('PATH', path)}\nprint('ready', flush=True)\nsys.stdin.read()"
    p = start(lab, where, ["/usr/bin/python3", "-c", code])
    if p.stdout.readline() != "ready\n":
        pytest.skip(f"this kernel or machine has no {what}")
    return p


@pytest.mark.parametrize("moved", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("what", HOLDS)
def test_refused_with_the_reason(world, group, what, moved):
    where = group("holds")
    path = world.home / "outside.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(path))
        outside.listen(4)
        path.chmod(0o777)
        other = sleeper(world, where) if moved else None
        p = having(world, where, what)
        said = refused(attach(world, p.pid))
        assert HOLDS[what][1] in said and str(p.pid) in said, said
        unchanged(world, p.pid, where)
        if what != "netns":
            child = holder(world, where)  # --kill ends the holder alone
            if moved:
                code = attach(world, p.pid, "--kill")
                assert "nobody is left" in refused(code)
                assert p.wait(5) == -signal.SIGKILL
                unchanged(world, None, where)
                assert other.pid in where.pids()
            end(child)
    if p.poll() is None:
        end(p)


def test_kill_ends_the_holder_alone(world, group):
    """A shell with two children, of which one has a packet socket."""
    where = group("kill")
    code = "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); print('up', flush=True); import time; time.sleep(999)"
    p = start(world, where, ["sh", "-c", f"sleep 1000 & /usr/bin/python3 -c \"{code}\"; echo ended; wait"])
    assert p.stdout.readline() == "up\n"
    told = must_attach(world, p.pid, "--kill")
    assert told["killed"] == 1 and len(told["killed_pids"]) == 1 and told["processes"] == 2
    assert p.stdout.readline() == "ended\n"
    world.must("cgroup", "detach", str(told["guard"]))


def test_paused(world, group):
    """A container that its runtime has frozen: not ours to let go on."""
    where = group("paused")
    p = sleeper(world, where)
    (where.path / "cgroup.freeze").write_text("1")
    assert "frozen" in refused(attach(world, p.pid))
    assert (where.path / "cgroup.freeze").read_text() == "1\n"
    (where.path / "cgroup.freeze").write_text("0")
    unchanged(world, p.pid, where)


# ---- refused before anything is touched ----

def zombie():
    p = subprocess.Popen(["true"])
    wait_for("the zombie", lambda: state(p.pid) == "Z")
    return p


def test_refusals(world, group):
    d, where = world.daemons[0], group("refusals")
    ended = zombie()
    thread = start(world, where, ["/usr/bin/python3", "-c", "import sys, threading\nt = threading.Thread(target=threading.Event().wait, daemon=True)\nt.start()\n"
                                  "print(t.native_id, flush=True)\nsys.stdin.read()"])
    tid = int(thread.stdout.readline())
    for pid, why in ((1, "agentsecretsd"), (2, "thread of the kernel"), (ended.pid, "ended already"), (2147483647, "no process"), (tid, "is a thread"),
                     (os.getpid(), ""), (d.proc.pid, "agentsecretsd")):
        said = refused(attach(world, pid))
        assert why in said, said
    for role, pid in d.processes():
        assert "agentsecretsd" in refused(attach(world, pid)), role
    for bad in ("0", "-1", "x", "1.5", "99999999999999999999", ""):
        assert attach(world, bad).returncode == 2
    ended.wait()
    unchanged(world, thread.pid, where)
    end(thread)


def test_the_caller_itself(world, group):
    where = group("caller")
    p = subprocess.Popen(["sh", "-c", "agentsecrets cgroup attach --workspace demo $$; echo $?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=world.cli_env(None, None), preexec_fn=where.enter)
    out, err = p.communicate(timeout=20)
    assert out == "1\n" and "started this command" in err, (out, err)
    unchanged(world, None, where)


def test_root_cgroups_sockets_are_refused(world):
    """No program of ours is ever attached to the root cgroup."""
    root = Path("/proc/self/cgroup").read_text().rsplit("0::", 1)[1].splitlines()[0]
    if root != "/":
        pytest.skip("this process is not in the root cgroup")
    p = subprocess.Popen(["/usr/bin/python3", "-c", "import socket, sys\ns = socket.socket()\nprint('ready', flush=True)\nsys.stdin.read()"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    assert "root cgroup" in refused(attach(world, p.pid))
    assert attached(world) == [] and state(p.pid) in "SR"
    assert Path(f"/proc/{p.pid}/cgroup").read_text().splitlines()[-1] == "0::/"
    end(p)


def test_already_guarded(world, group):
    where = group("twice")
    p = sleeper(world, where)
    told = must_attach(world, p.pid)
    assert "under guard already" in refused(attach(world, p.pid))
    assert [g["guard"] for g in attached(world)] == [told["guard"]]
    a = world.agent_start("sleep", "1000")
    guard = wait_for("the guard", lambda: [g for g in world.daemons[0].ask(op="cgroup.list")["guards"] if "/run-" in g["path"]])[0]
    assert "under guard already" in refused(attach(world, guard["pids"][0]))
    assert "agentsecrets run" in refused(world.cli("cgroup", "detach", guard["guard"]))
    for pid in guard["pids"]:
        os.kill(pid, signal.SIGKILL)
    a.communicate(timeout=10)


def test_another_users(world, group):
    where = group("other")
    p = sleeper(world, where)
    assert "for root" in refused(attach(world, p.pid, uid=65534))
    assert "for root" in refused(world.cli("cgroup", "detach", "1", uid=65534))
    unchanged(world, p.pid, where)


@pytest.mark.parametrize("which", ["", "0", "x", "-1", "1", "18446744073709551616"])
def test_detach_of_nothing(world, which):
    p = world.cli("cgroup", "detach", which)
    assert p.returncode in (1, 2) and p.stderr.startswith("agentsecrets: ")


class Exclusive:
    """A cgroup_skb/egress program that allows everything, attached with flags=0, as systemd does for IPAddressDeny=."""

    def __init__(self, where):
        def bpf(cmd, attr):
            buf = ctypes.create_string_buffer(attr, 128)
            rc = libc.syscall(321, cmd, buf, 128)
            assert rc >= 0, os.strerror(ctypes.get_errno())
            return rc
        libc = ctypes.CDLL(None, use_errno=True)
        code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0))
        gpl = ctypes.create_string_buffer(b"GPL")
        self.fd = bpf(5, struct.pack("=IIQQ", 8, 2, ctypes.addressof(code), ctypes.addressof(gpl)) + bytes(24) + b"exclusive".ljust(16, b"\0")
                      + struct.pack("=II", 0, 1))
        self.dir = os.open(where.path, os.O_RDONLY)
        bpf(8, struct.pack("=IIII", self.dir, self.fd, 1, 0))

    def close(self):
        os.close(self.fd)
        os.close(self.dir)


@pytest.mark.parametrize("moved", [False, True], ids=["own", "shared"])
def test_exclusive_program(world, group, moved):
    where = group("exclusive")
    if moved:
        sleeper(world, where)
    p = sleeper(world, where)
    program = Exclusive(where)
    assert "allows no other" in refused(attach(world, p.pid))
    unchanged(world, p.pid, where)
    program.close()


# ---- life ----

@pytest.mark.parametrize("moved", [False, True], ids=["own", "shared"])
def test_restart_keeps_it(fresh, moved):
    """Asked to end, killed, and once more from its pins: closed at every moment, detached at last."""
    d, where, capture = fresh.daemons[0], Group(fresh, "restart"), fresh.captures["pod"]
    try:
        if moved:
            sleeper(fresh, where)
        p = holder(fresh, where)
        told = must_attach(fresh, p.pid)
        capture.mark()
        assert all("403" in a for a in tell(p, "get"))
        for stop in (d.stop, lambda: d.proc.kill()):
            stop()
            d.proc.wait(10)
            tell(p, "try")
            assert capture.left() == []
            d.start()
            assert [(g["guard"], g["path"]) for g in attached(fresh)] == [(told["guard"], told["path"])]
            tell(p, "try")
            assert capture.left() == []
        fresh.must("cgroup", "detach", str(told["guard"]))
        assert {p.pid, p.child} <= set(where.pids())
        unchanged(fresh, p.pid, where)
        end(p)
    finally:
        where.remove()


@pytest.mark.parametrize("moved", [False, True], ids=["own", "shared"])
def test_daemon_that_died_in_the_middle(fresh, moved):
    """The record says that the attach was not over: the next daemon puts everything back."""
    d, where = fresh.daemons[0], Group(fresh, "middle")
    try:
        if moved:
            sleeper(fresh, where)
        p = holder(fresh, where)
        told = must_attach(fresh, p.pid)
        d.stop()
        record = d.rundir / "guards" / str(told["guard"])
        text = json.loads(record.read_text())
        assert text["settled"] is True
        record.write_text(json.dumps({**text, "settled": False}))
        (Path(told["path"]) / "cgroup.freeze").write_text("1")
        d.start()
        unchanged(fresh, p.pid, where)
        end(p)
    finally:
        where.remove()


def test_guard_in_place_ends_with_its_cgroup(world, group):
    where = group("gone")
    p = sleeper(world, where)
    told = must_attach(world, p.pid)
    p.kill()
    p.wait()
    time.sleep(0.3)
    assert [g["guard"] for g in attached(world)] == [told["guard"]], "while the directory is there, its next process is guarded"
    where.path.rmdir()
    wait_for("the guard's end", lambda: not attached(world))
    where.path.mkdir()
