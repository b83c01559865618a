"""Levels L2 and L3 through the product: what `run` may reach by unix socket, and what the daemon says and refuses."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers import refused, works
from lab import NOBODY, Daemon, cgroup2_mount, wait_for

DIAL = ("import socket, sys\ns = socket.socket(socket.AF_UNIX, int(sys.argv[2]))\n"
        "try:\n s.connect(sys.argv[1].replace('@', '\\0')); print('reached')\nexcept OSError as e:\n print(e.errno)")
EPERM = "1"


def level(d):
    return int(d.status()["level"][1:])


@pytest.fixture
def place():
    """A directory that anyone may enter, for sockets outside every guard."""
    made = Path(tempfile.mkdtemp(prefix="as-levels-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def outside(address, kind):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(address)
    if kind != socket.SOCK_DGRAM:
        s.listen(8)
    if not address.startswith("\0"):
        os.chmod(address, 0o777)
    s.setblocking(False)
    return s


def dial(world, address, kind, **kw):
    p = world.agent(sys.executable, "-c", DIAL, address, str(int(kind)), **kw)
    assert p.returncode == 0, p.stderr
    return p.stdout.strip()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_outside_is_out_of_reach(world, place, kind):
    if level(world.daemons[0]) < 2:
        pytest.skip(world.daemons[0].status()["L2_missing"])
    link = place / "link"
    name = f"agentsecrets-system-{os.getpid()}-{int(kind)}"
    for address in [str(place / "docker.sock"), str(place / "io.systemd.Resolve"), "\0" + name]:
        with outside(address, kind) as s:
            assert dial(world, address.replace("\0", "@"), kind) == EPERM
            if address[0] == "/":
                link.symlink_to(address)
                assert dial(world, str(link), kind) == EPERM
                link.unlink()
            with pytest.raises(BlockingIOError):
                s.recv(1) if kind == socket.SOCK_DGRAM else s.accept()


@pytest.fixture
def rooted():
    """A directory that is root's alone all the way, for sockets that an exception may name."""
    made = Path(tempfile.mkdtemp(prefix="as-levels-", dir="/run"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_exceptions(world, rooted, place):
    """A workspace's signed document opens one socket: while it stands there, to its own guards, and no other."""
    d, kind = world.daemons[0], socket.SOCK_STREAM
    if level(d) < 2:
        pytest.skip(d.status()["L2_missing"])
    # As an ordinary user: by path alone (L2) root is not believed, who may change what a path leads to.
    opened, other, moved = rooted / "opened.sock", rooted / "other.sock", rooted / "moved.sock"
    (place / "link").symlink_to(opened)
    with outside(str(opened), kind), outside(str(other), kind), outside(str(place / "wide.sock"), kind):
        assert dial(world, str(opened), kind, workspace="ordinary", uid=NOBODY) == EPERM
        world.must("workspace", "unix", "add", "--workspace", "ordinary", str(opened), str(place / "wide.sock"))
        try:
            before = world.agent_start(sys.executable, "-c", "import sys, socket\nfor line in sys.stdin:\n s = socket.socket(socket.AF_UNIX)\n try:\n"
                                       "  s.connect(line.strip()); print('reached', flush=True)\n except OSError as e:\n  print(e.errno, flush=True)",
                                       stdin=subprocess.PIPE, text=True, workspace="ordinary", uid=NOBODY)

            def ask(path):
                before.stdin.write(f"{path}\n")
                before.stdin.flush()
                return before.stdout.readline().strip()
            assert ask(opened) == "reached" and ask(other) == EPERM
            assert ask(place / "wide.sock") == EPERM, "somebody else could have put it there"
            assert ask(place / "link") == ("reached" if level(d) == 3 else EPERM)
            notes = {s["socket"]: s["note"] for s in json.loads(world.must("workspace", "unix", "list", "--workspace", "ordinary", "--json").stdout)["sockets"]}
            assert notes[str(opened)] == "" and "root's alone" in notes[str(place / "wide.sock")]
            assert dial(world, str(opened), kind, workspace="ordinary", uid=NOBODY) == "reached"
            root = dial(world, str(opened), kind)
            assert root == EPERM, "another workspace's guard"
            if level(d) == 3:  # known by itself, not by its name
                opened.rename(moved)
                with outside(str(opened), kind):
                    assert ask(opened) == EPERM and ask(moved) == "reached"
                    wait_for("the new one to be known", lambda: ask(opened) == "reached")
        finally:
            world.must("workspace", "unix", "remove", "--workspace", "ordinary", str(opened), str(place / "wide.sock"))
        assert ask(opened) == EPERM, "a guard that runs is closed with the document"
        before.stdin.close()
        before.wait(10)
    for bad in ("run/x", "/run/../x", "cgroup:x", "", "/" + "a" * 108):
        assert refused(world.cli("workspace", "unix", "add", "--workspace", "ordinary", bad))
    assert "not among" in refused(world.cli("workspace", "unix", "remove", "--workspace", "ordinary", "/run/x"))
    assert "for root" in refused(world.cli("workspace", "unix", "add", "--workspace", "ordinary", "/run/x", uid=65534))


def test_exception_of_a_cgroup(world):
    """Any socket that was made there, by whatever name."""
    d, kind = world.daemons[0], socket.SOCK_STREAM
    if level(d) < 2:
        pytest.skip(d.status()["L2_missing"])
    where = cgroup2_mount() / f"as-test-{world.id}-friend"
    where.mkdir()
    name = f"agentsecrets-system-{os.getpid()}-friend"
    code = f"import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0{name}')\ns.listen()\nprint('ready', flush=True)\nsys.stdin.read()"
    p = subprocess.Popen(world.nsenter("box") + [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                         preexec_fn=lambda: (where / "cgroup.procs").write_text("0"))
    try:
        assert p.stdout.readline() == "ready\n"
        assert dial(world, "@" + name, kind) == EPERM
        entry = f"cgroup:/{where.name}"
        world.must("workspace", "unix", "add", "--workspace", "demo", entry)
        assert dial(world, "@" + name, kind) == "reached"
        world.must("workspace", "unix", "remove", "--workspace", "demo", entry)
        assert dial(world, "@" + name, kind) == EPERM
    finally:
        p.stdin.close()
        p.wait(10)
        wait_for("the cgroup to empty", lambda: not (where / "cgroup.procs").read_text())
        where.rmdir()


def test_own_sockets(world):
    """By abstract name, and pairs; by path where LSM programs judge the peer that was found."""
    code = ("import os, socket, tempfile\n"
            "def talk(address):\n"
            " with socket.socket(socket.AF_UNIX) as s:\n"
            "  s.bind(address); s.listen()\n"
            "  if os.fork() == 0:\n"
            "   c = socket.socket(socket.AF_UNIX); c.connect(address); c.sendall(b'x'); os._exit(0)\n"
            "  s.settimeout(5)\n"
            "  try: return s.accept()[0].recv(1)\n"
            "  except TimeoutError: return b'-'\n"
            "a, b = socket.socketpair(); a.sendall(b'y')\n"
            "print(talk('\\0agentsecrets-own'), b.recv(1), talk(tempfile.mkdtemp() + '/s'))")
    p = world.agent(sys.executable, "-c", code, timeout=60)
    by_path = "b'-'" if level(world.daemons[0]) == 2 else "b'x'"
    assert p.stdout.split() == ["b'x'", "b'y'", by_path], p.stderr


def test_names_resolve_at_once(world):
    """libc asks nscd and resolved by unix socket first; refused, it goes on to DNS without waiting."""
    code = ("import socket, time\nt = time.monotonic()\nsocket.getaddrinfo('api.stripe.com', 443)\n"
            "print(time.monotonic() - t)")
    p = world.agent("/usr/bin/python3", "-c", code)
    assert p.returncode == 0 and float(p.stdout) < 2, (p.stdout, p.stderr)


def test_tools_without_unix_sockets(world):
    """What agents are made of works as before."""
    for argv in (["git", "--version"], ["node", "-e", "require('child_process').execSync('true'); console.log(1)"],
                 ["/usr/bin/python3", "-c", "import subprocess; subprocess.run(['true'], check=True)"],
                 ["sh", "-c", "echo 'int main(void){return 0;}' | cc -x c - -o /dev/null"],
                 ["/usr/bin/python3", "-c", "import multiprocessing as m; m.Pool(2).map(abs, [1, -2])"]):
        p = world.agent(*argv, timeout=60)
        assert p.returncode == 0, (argv, p.stderr)


def test_status_and_doctor_agree(world):
    d = world.daemons[0]
    status, checks = d.status(), d.ask(op="doctor")["checks"]
    by_level = {c["name"][6:8]: c for c in checks if c["name"].startswith("level L")}
    assert sorted(by_level) == ["L1", "L2", "L3"] and status["minimum_level"] == "L1"
    for name, check in by_level.items():
        assert check["ok"] == (name <= status["level"]) and check["detail"], check
        if name > "L1":
            assert (name + "_missing" in status) == (not check["ok"])
        if not check["ok"]:
            assert status[name + "_missing"] in check["detail"] and "without it" in check["detail"]


def test_below_the_minimum_nothing_starts(world):
    """The daemon runs and administrates; `run` says what is missing. At a level that is in force it works."""
    for number in (2, 3):
        d = Daemon(world, name=f"minimum{number}", minimum_level=f"L{number}")
        try:
            d.start()
            world.setup(d)
            if level(d) >= number:
                works(world, daemon=d)
                continue
            p = world.agent("echo", "started", daemon=d)
            assert p.returncode != 0 and "started" not in p.stdout
            assert "minimum_level" in p.stderr and d.status()[f"L{number}_missing"] in p.stderr, p.stderr
            assert d.ask(op="cgroup.list")["guards"] == []
            check = next(c for c in d.ask(op="doctor")["checks"] if c["name"].startswith(f"level L{number}"))
            assert check["required"] and not check["ok"]
        finally:
            d.remove()
            world.daemons.remove(d)
