"""Levels L2 and L3 through the product: what `run` may reach by unix socket, and what the daemon says and refuses."""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from helpers import works
from lab import Daemon

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
