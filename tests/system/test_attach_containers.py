"""`cgroup attach` on real containers, of runc and of podman: guarded in place, with all they hold, or refused with the reason."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from helpers import nothing_leaked, refused
from lab import PEERS, cgroup2_mount, run, wait_for
from test_attach import (FORKS, HOLDS, HOLE, PLAIN, TRAP4, TRAP6, a_thousand_forks, attach, attached, end, fork_links, forks_built, knock,
                         must_attach, state, tell)

CAPS = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID"]  # of what runtimes leave by default
SOCKETS = ["/usr/bin/python3", "/peers/sockets.py", PLAIN, TRAP4, TRAP6, HOLE]


class Container:
    """A root directory with this machine's /usr in it, and a command in the pod's network namespace."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, f"as{lab.id}-{name}".lower()
        self.dir = lab.home / self.name
        self.rootfs, self.shared = self.dir / "rootfs", self.dir / "shared"
        self.shared.mkdir(parents=True)
        for d in ("usr", "etc", "proc", "sys", "dev", "tmp", "peers", "shared", "run"):
            (self.rootfs / d).mkdir(parents=True)
        for d in ("bin", "sbin", "lib", "lib64"):
            (self.rootfs / d).symlink_to(f"usr/{d}")
        self.mounts = [("/usr", "/usr", "ro"), (str(PEERS), "/peers", "ro"), (str(self.shared), "/shared", "rw")]

    def start(self, argv):
        p = subprocess.Popen(self.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.lab.env())
        first = p.stdout.readline().split()
        assert first[:1] == ["ready"], (first, p.poll(), p.stderr.read() if p.poll() is not None else "")
        self.process, self.pid = p, self.main_pid()
        self.cgroup = Path(str(cgroup2_mount()) + Path(f"/proc/{self.pid}/cgroup").read_text().rsplit("0::", 1)[1].splitlines()[0])
        return first[1:]

    def pids(self):
        return set(map(int, (self.cgroup / "cgroup.procs").read_text().split()))

    def say(self, word):
        return tell(self.process, word)

    def unchanged(self):
        assert attached(self.lab) == [] and list(self.lab.daemons[0].cgroup.glob("attach-*")) == []
        assert self.pid in self.pids() and "frozen 0" in (self.cgroup / "cgroup.events").read_text()
        wait_for("it to run", lambda: state(self.pid) in "SR")

    def remove(self):
        if hasattr(self, "process") and self.process.poll() is None:
            self.kill()
            for f in (self.process.stdin, self.process.stdout, self.process.stderr):
                f.close()
            self.process.wait(20)
        self.clean()
        shutil.rmtree(self.dir, ignore_errors=True)


class Runc(Container):
    """Its cgroup has no name that says it is a container's."""

    def command(self, argv):
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                  {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]
        mounts += [{"destination": to, "type": "bind", "source": source, "options": ["rbind", how]} for source, to, how in self.mounts]
        config = {"ociVersion": "1.0.2", "root": {"path": str(self.rootfs), "readonly": False}, "hostname": "c", "mounts": mounts,
                  "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/", "noNewPrivileges": True,
                              "env": ["PATH=/usr/bin:/bin"], "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")}},
                  "linux": {"cgroupsPath": f"/as-test-{self.lab.id}/{self.name}",
                            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                                           {"type": "network", "path": f"/run/netns/{self.lab.ns('pod')}"}]}}
        (self.dir / "config.json").write_text(json.dumps(config))
        return self.runc("run", "--bundle", str(self.dir), self.name)

    def runc(self, *words):
        return ["runc", "--root", str(self.dir / "state"), *words]

    def main_pid(self):
        return json.loads(run(*self.runc("state", self.name)))["pid"]

    def exec(self, *argv):
        return subprocess.Popen(self.runc("exec", self.name, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        subprocess.run(self.runc("kill", "--all", self.name, "KILL"), check=False, capture_output=True)

    def clean(self):
        subprocess.run(self.runc("delete", "--force", self.name), check=False, capture_output=True)
        for top in [cgroup2_mount(), *(d for d in Path("/sys/fs/cgroup").iterdir() if d.is_dir())]:
            for d in (top / f"as-test-{self.lab.id}" / self.name, top / f"as-test-{self.lab.id}"):
                if d.is_dir() and not any(e.is_dir() for e in d.iterdir()):
                    d.rmdir()


class Podman(Container):
    def __init__(self, *args):
        super().__init__(*args)
        self.storage = Path(tempfile.mkdtemp(prefix="as-podman-", dir="/tmp"))  # at most 50 bytes are allowed

    def podman(self, *words):
        return ["podman", "--root", str(self.storage / "root"), "--runroot", str(self.storage / "run"), "--storage-driver=vfs", "--runtime=runc",
                "--cgroup-manager=cgroupfs", "--events-backend=none", *words]

    def command(self, argv):
        volumes = [f"--volume={source}:{to}:{how}" for source, to, how in self.mounts]
        return self.podman("run", "--interactive", "--name", self.name, f"--network=ns:/run/netns/{self.lab.ns('pod')}", "--ulimit=nofile=20000:20000",
                           "--ulimit=nproc=1000:1000", "--cap-drop=all", *[f"--cap-add={c}" for c in CAPS], "--log-driver=none", "--no-hosts", *volumes,
                           "--rootfs", str(self.rootfs), *argv)

    def main_pid(self):
        return int(run(*self.podman("inspect", "--format", "{{.State.Pid}}", self.name)))

    def exec(self, *argv):
        return subprocess.Popen(self.podman("exec", self.name, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        subprocess.run(self.podman("kill", self.name), check=False, capture_output=True)

    def clean(self):
        subprocess.run(self.podman("rm", "--force", "--time=0", self.name), check=False, capture_output=True)
        for top in [cgroup2_mount(), *(d for d in Path("/sys/fs/cgroup").iterdir() if d.is_dir())]:
            for d in (top / "libpod_parent" / "conmon", top / "libpod_parent"):
                with contextlib.suppress(OSError):  # somebody else's containers may be in it
                    d.rmdir()
        shutil.rmtree(self.storage, ignore_errors=True)


RUNTIMES = {"runc": Runc, "podman": Podman}


@pytest.fixture
def container(world, request):
    made = []

    def make(runtime):
        assert shutil.which(runtime), f"{runtime} is missing; run: tests/deps.sh check"
        made.append(RUNTIMES[runtime](world, f"{runtime}{len(made)}"))
        return made[-1]
    yield make
    try:
        for g in attached(world):
            world.cli("cgroup", "detach", g["guard"])
    finally:
        for one in made:
            one.remove()
        world.forget_leaks()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_existing_sockets(world, container, runtime):
    """Ten kinds of sockets, two threads, a child; and somebody who came in by `exec`."""
    capture, c = world.captures["pod"], container(runtime)
    port = int(c.start(SOCKETS)[0])
    extra = c.exec("sleep", "1000")
    wait_for("the exec", lambda: len(c.pids()) == 3)
    waiting = knock(world, port)
    assert waiting.stdout.readline() == b"in\n"
    told = must_attach(world, c.pid)
    capture.mark()
    assert told["moved"] is False and told["path"] == str(c.cgroup), told
    assert told["processes"] == 3 and told["adopted"] == 0 and told["reset"] >= 2, told
    assert knock(world, port).stdout.readline() == b"refused\n"
    answers = c.say("try")
    time.sleep(1.2)
    assert capture.left() == [], [(q, q.raw.hex()) for q in capture.left()]
    nothing_leaked(world)
    for name in ("tcp connected, send", "tcp unconnected, metadata", "udp unused", "udp bound", "udp6", "raw", "new udp", "tcp device",
                 "tcp listening, waiting"):
        assert answers[name] != "no error", answers
    assert all("403" in a for a in c.say("get"))
    # Whoever is started in it later is guarded as well.
    late = c.exec("/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'escaped', ('%s', 9))" % TRAP4)
    assert late.wait(20) != 0 and capture.left() == []
    world.must("cgroup", "detach", str(told["guard"]))
    capture.mark()
    c.say("try")
    wait_for("the network", lambda: [q for q in capture.left() if b"escaped" in q.raw])
    world.forget_leaks()
    c.unchanged()
    assert extra.poll() is None
    end(c.process)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fork_chain(world, container, runtime):
    """A thousand forks a second do not outrun it, and nothing leaves after the answer."""
    capture, c = world.captures["pod"], container(runtime)
    forks_built(c.shared / "forks")
    counter = c.shared / "links"
    c.start(["/shared/forks", TRAP4, "9999", "/shared/links", *FORKS])
    a_thousand_forks(counter)
    told = must_attach(world, c.pid)
    capture.mark()
    then = fork_links(counter)
    wait_for("the chains to go on", lambda: fork_links(counter) > then + 1000)
    assert capture.left() == [], capture.left()[:3]
    assert told["moved"] is False and c.pid in c.pids()
    world.must("cgroup", "detach", str(told["guard"]))
    c.process.stdin.close()


@pytest.mark.parametrize("what", ["io_uring", "packet", "mptcp", "in flight"])
def test_refused_with_the_reason(world, container, what):
    """What cannot be held in a container either. Without a seccomp profile, which would keep some of them from being made."""
    c = container("runc")
    code = f"import ctypes, os, socket, sys, threading, time\n{HOLDS[what][0]}\nprint('ready', flush=True)\nsys.stdin.read()"
    c.start(["/usr/bin/python3", "-c", code])
    said = refused(attach(world, c.pid))
    assert HOLDS[what][1] in said and str(c.pid) in said, said
    c.unchanged()
    c.process.stdin.close()
    c.process.wait(20)


def test_others_in_its_cgroup(world, container):
    """A process of the host in a container's cgroup: not of the container, so the container's tree is moved out and it stays."""
    c = container("runc")
    c.start(SOCKETS)
    stranger = subprocess.Popen(["sleep", "1000"], preexec_fn=lambda: (c.cgroup / "cgroup.procs").write_text("0"))
    try:
        told = must_attach(world, c.pid)
        assert told["moved"] is True and stranger.pid in c.pids() and c.pid not in c.pids()
        assert all("403" in a for a in c.say("get"))
        world.must("cgroup", "detach", str(told["guard"]))
        assert c.pid in c.pids()
    finally:
        stranger.kill()
        stranger.wait()
    end(c.process)
