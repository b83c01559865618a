"""A small internet on one machine, and the daemon in it. Python's standard library only.

    box ── up0 ─────────── box0 ── net      net: nginx (api.stripe.com, api.openai.com, github.com, files.…),
    pod ── up0 ─────────── pod0 ──┘         dnsmasq, tcpdump on both links, and listeners on every address
                                            that nothing may ever reach, which write down whatever does

Three network namespaces, linked by veth, with no way out of the machine. The daemon runs in `box`. Agents run
in `box` too, or in `pod`, where nothing else runs: any packet on pod0 has left a guarded process past the
wall. Every path, name and process belongs to one Lab, so several may run side by side; down() removes all of
it and may be called at any moment, twice too.

`lab.py sweep` removes what labs left behind whose process is gone.
"""

import atexit
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PEERS = TOP / "tests" / "peers"
BUILD = Path(os.environ.get("AGENTSECRETS_BUILD", TOP / "build"))
SANITIZED = BUILD.name == "asan"  # then memory is not judged: what was freed is kept for a while, and mlock(2) does nothing
PLAIN = BUILD.parent if SANITIZED else BUILD  # what the tests use beside the product itself
NODE_PATH = str(PLAIN / "node" / "node_modules")
PREFIX = "agentsecrets-lab-"

# Who is where. Names and addresses are the real ones or from documentation ranges.
HOSTS = {
    "api.stripe.com": ("203.0.113.10", "2001:db8:1:2::10"),
    "api.openai.com": ("203.0.113.11", "2001:db8:1:2::11"),
    "github.com": ("203.0.113.12", "2001:db8:1:2::12"),
    "files.lab-host.com": ("203.0.113.13", "2001:db8:1:2::13"),
    "a.wild-host.com": ("203.0.113.14", "2001:db8:1:2::14"),
    "b.a.wild-host.com": ("203.0.113.14", "2001:db8:1:2::14"),
    "wild-host.com": ("203.0.113.14", "2001:db8:1:2::14"),
    "wrong-name.lab-host.com": ("203.0.113.15", "2001:db8:1:2::15"),
    "api.anthropic.com": ("203.0.113.16", "2001:db8:1:2::16"),  # HTTP/2 and HTTP/1.1, answers in events
    "pinned.lab-host.com": ("203.0.113.20", "2001:db8:1:2::20"),
    "mutual.lab-host.com": ("203.0.113.21", "2001:db8:1:2::21"),
    "db.lab-host.com": ("203.0.113.22", "2001:db8:1:2::22"),
    "other-db.lab-host.com": ("203.0.113.23", "2001:db8:1:2::23"),
    "db-inside.lab-host.com": ("10.0.1.6", "fd00:ec2::1:6"),
    "h2.lab-host.com": ("203.0.113.24", "2001:db8:1:2::24"),  # nginx, HTTP/2 and HTTP/1.1
    "grpc.lab-host.com": ("203.0.113.25", "2001:db8:1:2::25"),  # a test's own server
    "attacker-domain.com": ("203.0.113.66", "2001:db8:1:2::66"),
    "inside.lab-host.com": ("10.0.1.5", "fd00:ec2::254"),
    "metadata.lab-host.com": ("169.254.169.254", "fd00:ec2::254"),
    "loop.lab-host.com": ("127.0.0.1", "::1"),
}
DNS = "203.0.113.53"
# No packet may ever reach these.
TRAPS = ("169.254.169.254", "10.0.1.5", "fd00:ec2::254", "203.0.113.66", "2001:db8:1:2::66")
NGINX = tuple(f"203.0.113.{n}" for n in (*range(10, 17), 24, 25)) + tuple(f"2001:db8:1:2::{n}" for n in (*range(10, 17), 24, 25))
PUBLIC = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/48")
LINKS = {  # namespace: (its address, the address of `net`), IPv4 and IPv6
    "box": (("198.51.100.2/25", "198.51.100.1/25"), ("2001:db8:1:1::2/64", "2001:db8:1:1::1/64")),
    "pod": (("198.51.100.130/25", "198.51.100.129/25"), ("2001:db8:1:3::2/64", "2001:db8:1:3::1/64")),
}
USERS = {"keeper": 64901, "proxy": 64902, "resolver": 64903, "holder": 64904}
SLOW = int(os.environ.get("ESCAPE_SLOW", "1"))  # factor on time limits, for emulated machines
NOBODY = 65534
# A daemon that was built with MODE=asan says such things; REPORTS has the messages of those that did.
SANITIZERS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error: ")
REPORTS = []


class LabError(Exception):
    """The lab itself could not be built: not a failure of the product."""


def run(*argv, **kw):
    """A command of the lab's own; its output only when it fails."""
    text = kw.pop("input_text", "")
    p = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kw)
    if p.returncode:
        raise LabError(f"{' '.join(map(str, argv))}: exit {p.returncode}: {p.stdout.strip()}")
    return p.stdout


def wait_for(what, question, seconds=10.0):
    """The first true answer of `question`; LabError when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise LabError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


def settled(question):
    """Its answer, once that has not changed for a moment."""
    before = []

    def same():
        before.append(question())
        time.sleep(0.3)
        return question() == before[-1]
    wait_for("things to settle", same)
    return before[-1]


def cgroup2_mount():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        tail = fields[fields.index("-") + 1:]
        if tail[0] == "cgroup2" and fields[3] == "/":
            return Path(fields[4])
    raise LabError("no cgroup2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified")


def mounts_below(path):
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted((p for p in points if p == str(path) or p.startswith(f"{path}/")), reverse=True)


# ---- the packet capture ----

class Packet:
    """What of a captured frame the tests ask about."""

    def __init__(self, proto, src, sport, dst, dport, raw, syn, reset=False):
        self.proto, self.src, self.sport, self.dst, self.dport = proto, src, sport, dst, dport
        self.raw, self.syn, self.reset = raw, syn, reset

    def __repr__(self):
        return f"{self.proto} {self.src}:{self.sport} > {self.dst}:{self.dport}"


def packet_of(frame):
    """None for what every link says for itself: ARP, neighbour and multicast listener discovery."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    ip = frame[14:]
    if kind == 0x0800:
        proto, src, dst = ip[9], socket.inet_ntop(socket.AF_INET, ip[12:16]), socket.inet_ntop(socket.AF_INET, ip[16:20])
        body = ip[(ip[0] & 15) * 4:]
    elif kind == 0x86DD:
        proto, src, dst = ip[6], socket.inet_ntop(socket.AF_INET6, ip[8:24]), socket.inet_ntop(socket.AF_INET6, ip[24:40])
        body = ip[40:]
        if proto == 0 and body and body[0] == 58:  # hop-by-hop, then ICMPv6: multicast listener reports
            return None
        if proto == 58 and body and 130 <= body[0] <= 143:
            return None
    elif kind == 0x0806:
        return None
    else:
        return Packet(f"ether-{kind:04x}", "", 0, "", 0, bytes(frame), False)
    sport = dport = 0
    if proto in (6, 17) and len(body) >= 4:
        sport, dport = struct.unpack_from("!HH", body)
    tcp = proto == 6 and len(body) >= 20
    syn = tcp and body[13] & 0x12 == 0x02
    reset = tcp and body[13] & 0x04 and len(body) == (body[12] >> 4) * 4
    return Packet({1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}.get(proto, f"ip-{proto}"), src, sport, dst, dport,
                  bytes(ip), syn, reset)


class Capture:
    """tcpdump on one link. packets() first sends a marked datagram and waits until the file has it."""

    def __init__(self, lab, name):
        self.lab, self.name, self.path, self.marks, self.from_ = lab, name, lab.private / f"{name}.pcap", 0, 0
        self.proc = lab.spawn("net", ["tcpdump", "-Z", "root", "-i", f"{name}0", "-U", "-n", "-s", "2048", "-B", "8192",
                                      "--immediate-mode", "-w", str(self.path)], stderr=subprocess.PIPE)
        for line in self.proc.stderr:
            if b"listening on" in line:
                break
        else:
            raise LabError("tcpdump did not start")

    def mark(self):
        """From here on: packets() tells only what comes later."""
        self.from_ = len(self.all())

    def all(self):
        self.marks += 1
        mark = f"mark-{self.name}-{self.marks}-{secrets.token_hex(8)}".encode()
        # From `net` towards the namespace, to a closed port: never looks like something that left.
        here, there = (a.split("/")[0] for a in reversed(LINKS[self.name][0]))
        self.lab.python("net", f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                               f"s.bind(({here!r}, 0)); s.sendto({mark!r}, ({there!r}, 9))")
        wait_for("the capture's mark", lambda: mark in self.tail())
        return list(self.parse(self.path.read_bytes()))

    def tail(self):
        with open(self.path, "rb") as f:
            f.seek(max(0, os.fstat(f.fileno()).st_size - (1 << 18)))
            return f.read()

    @staticmethod
    def parse(data):
        at = 24
        while at + 16 <= len(data):
            _, _, got, _ = struct.unpack_from("=IIII", data, at)
            p = packet_of(memoryview(data)[at + 16:at + 16 + got])
            if p:
                yield p
            at += 16 + got

    def packets(self):
        return [p for p in self.all()[self.from_:] if b"mark-" not in p.raw]

    def left(self):
        """Packets that came from the namespace's own side. An empty reset is none of them: a server that gives up on a
        connection which an attach has taken down, a minute later, is answered so by the kernel alone."""
        own = {a[0].split("/")[0] for a in LINKS[self.name]}
        return [p for p in self.packets() if (p.src in own and not p.reset) or p.proto.startswith("ether-")]

    def to(self, *addresses):
        return [p for p in self.packets() if p.dst in addresses]


# ---- the daemon ----

class Daemon:
    def __init__(self, lab, name="daemon", **changes):
        self.lab, self.dir = lab, lab.dir / name
        self.dir.mkdir(mode=0o755)
        self.state, self.rundir, self.control = self.dir / "state", self.dir / "run", self.dir / "run" / "control.sock"
        self.config_file, self.stderr = self.dir / "config.json", lab.private / f"{name}.stderr"
        self.audit = self.state / "audit.jsonl"
        self.cgroup = cgroup2_mount() / f"as-test-{lab.id}-{name}"
        self.config = {
            "state_dir": str(self.state), "run_dir": str(self.rundir), "bpffs": str(self.rundir / "bpf"),
            "cgroup_root": str(self.cgroup), "control": str(self.control),
            "audit": {"log": str(self.audit)},
            "users": USERS,
            "upstream": {"ca_file": str(lab.dir / "ca.pem")},
            "dns": {"servers": [DNS], "hosts_file": ""},
            "network": {"treat_as_public": list(PUBLIC)},
            "proxy": {"workers": 2},
        }
        for key, value in changes.items():
            self.config[key] = {**self.config[key], **value} if isinstance(value, dict) and key in self.config else value
        self.config_file.write_text(json.dumps(self.config, indent=1))
        self.proc = None
        self.environment = {}  # of the daemon, beside the lab's
        self.pids = {}
        lab.daemons.append(self)

    def start(self):
        """Starts it and waits until it serves."""
        with open(self.stderr, "ab") as err:
            self.proc = self.lab.spawn("box", [str(BUILD / "agentsecretsd"), "--config", str(self.config_file)],
                                       stdout=err, stderr=err, track=False, env=self.lab.env(**self.environment))
        wait_for("the daemon's first answer; its messages:\n" + self.messages(), self.serving, 20)
        return self

    def serving(self):
        if self.proc.poll() is not None:
            raise LabError(f"the daemon ended with {self.proc.returncode}:\n{self.messages()}")
        try:
            self.status()
            return True
        except (OSError, ValueError):
            return False

    def messages(self):
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def ask(self, **request):
        """One request over the control socket, as the CLI would send it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(15 * SLOW)
            s.connect(str(self.control))
            s.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
        return json.loads(answer)

    def status(self):
        s = self.ask(op="status")
        self.pids.update({p["pid"]: p["role"] for p in s.get("processes", [])})
        return s

    def processes(self):
        return [(p["role"], p["pid"]) for p in self.status()["processes"]]

    def reads(self):
        return self.status()["vault_reads"]

    def audit_lines(self):
        return [json.loads(line) for line in self.audit.read_text().splitlines()] if self.audit.exists() else []

    def stop(self):
        """Asks it to end, and insists after ten seconds. What it attached stays attached."""
        if self.proc and self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        return self.proc.returncode if self.proc else None

    def holders(self):
        return [pid for pid, role in self.pids.items() if role == "holder"]

    def remove(self):
        """Everything of it: processes, guards, mounts, cgroups."""
        self.stop()
        said = self.messages()
        if any(word in said for word in SANITIZERS):
            REPORTS.append(said)
        for pid in self.pids:
            if is_ours(pid, self.lab.exe):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self.remove_cgroup(kill=True)
        for point in mounts_below(self.dir):
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
        self.remove_cgroup(kill=False)

    def remove_cgroup(self, kill):
        if not self.cgroup.is_dir():
            return
        dirs = sorted((d for d in self.cgroup.glob("**/*") if d.is_dir()), reverse=True) + [self.cgroup]
        for d in dirs:
            end = time.monotonic() + 5
            while kill and time.monotonic() < end:
                with contextlib.suppress(OSError):
                    pids = (d / "cgroup.procs").read_text().split()
                    if not pids:
                        break
                    for pid in pids:
                        with contextlib.suppress(OSError):
                            os.kill(int(pid), signal.SIGKILL)
                    time.sleep(0.01)
                    continue
                break
            with contextlib.suppress(OSError):
                d.rmdir()


def is_ours(pid, exe):
    """Is this still a process of that binary: a pid may have been given to somebody else since."""
    with contextlib.suppress(OSError):
        there = os.stat(f"/proc/{pid}/exe")
        return (there.st_dev, there.st_ino) == exe
    return False


# ---- the lab ----

class Lab:
    def __init__(self, daemon=True):
        if os.geteuid() != 0:
            raise LabError("this needs root: network namespaces and BPF are made; run it with sudo")
        self.id = f"{os.getpid()}-{secrets.token_hex(2)}"
        self.dir = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self.id}-"))
        self.dir.chmod(0o755)
        self.private = self.dir / "private"  # what an agent may not read: the internet's side and its logs
        self.private.mkdir(mode=0o700)
        self.home = self.dir / "home"
        self.home.mkdir()
        self.home.chmod(0o777)
        self.exe = (0, 0)
        self.daemons, self.procs, self.is_up = [], [], False
        self.keys = {"STRIPE_KEY": "sk_live_" + secrets.token_hex(24), "OPENAI_API_KEY": "sk-proj-" + secrets.token_hex(24),
                     "GIT_TOKEN": "ghp_" + secrets.token_hex(18)}
        atexit.register(self.down)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # ended from outside: clean up all the same
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            self.up()
            if daemon:
                exe = os.stat(BUILD / "agentsecretsd")
                self.exe = (exe.st_dev, exe.st_ino)
        except BaseException:
            self.down()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def ns(self, name):
        return f"as{self.id}-{name}"

    # ---- running things ----

    def nsenter(self, name):
        return ["nsenter", f"--net=/run/netns/{self.ns(name)}", "--"]

    def spawn(self, ns, argv, track=True, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.DEVNULL)
        kw.setdefault("env", self.env())
        p = subprocess.Popen(self.nsenter(ns) + argv, **kw)
        if track:
            self.procs.append(p)
        return p

    def env(self, **more):
        return {"PATH": f"{BUILD}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home),
                "LANG": "C.UTF-8", "TMPDIR": str(self.home), **more}

    def python(self, ns, code, *args, **kw):
        return run(*self.nsenter(ns), "/usr/bin/python3", "-c", code, *args, **kw)

    def argv(self, args, ns="box", uid=None):
        """The CLI's command line, with the arguments exactly as the README has them."""
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"] if uid is not None else []
        return self.nsenter(ns) + user + [str(BUILD / "agentsecrets")] + list(args)

    def cli(self, *args, ns="box", uid=None, daemon=None, input=None, env=None, timeout=60, **kw):
        """Runs the CLI to its end; stdout and stderr as text. input: bytes or text."""
        if isinstance(input, str):
            input = input.encode()
        if input is None and "stdin" not in kw:
            kw["stdin"] = subprocess.DEVNULL
        with subprocess.Popen(self.argv(args, ns, uid), stdin=kw.pop("stdin", subprocess.PIPE), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.cli_env(daemon, env), cwd=self.home, process_group=0, **kw) as p:
            try:
                out, err = p.communicate(input, timeout=timeout)
            except BaseException:  # with the command that it runs: else the guard stays, and every test behind it meets it
                os.killpg(p.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(p.args, p.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def cli_start(self, *args, daemon=None, **kw):
        """The same, in the background."""
        p = subprocess.Popen(self.argv(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.cli_env(daemon, None),
                             cwd=self.home, **kw)
        self.procs.append(p)
        return p

    def must(self, *args, **kw):
        p = self.cli(*args, **kw)
        if p.returncode:
            raise AssertionError(f"agentsecrets {' '.join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
        return p

    def agent(self, *argv, workspace="demo", **kw):
        """A command inside `agentsecrets run`."""
        return self.cli("run", "--workspace", workspace, "--", *argv, **kw)

    def agent_start(self, *argv, workspace="demo", ns="box", uid=None, daemon=None, env=None, **kw):
        """The same, in the background, not tracked: the test ends it."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.argv(["run", "--workspace", workspace, "--", *argv], ns, uid),
                                stdout=kw.pop("stdout", subprocess.PIPE), stderr=kw.pop("stderr", subprocess.PIPE),
                                env=self.cli_env(daemon, env), cwd=self.home, **kw)

    def cli_env(self, daemon, more):
        """Which daemon it talks to: the first one by default."""
        return self.env(**{"AGENTSECRETS_CONTROL": str((daemon or self.daemons[0]).control), **(more or {})})

    def setup(self, daemon=None):
        """The first steps of the README, with all names that the tests use: workspace `demo` of root, and
        `ordinary` of nobody."""
        d, kw = daemon or self.daemons[0], {"daemon": daemon}
        self.must("init", **kw)
        self.must("workspace", "create", "demo", **kw)
        answer = d.ask(op="workspace.create", workspace="ordinary", owner=NOBODY)
        if not answer["ok"]:
            raise LabError(answer["error"])
        for w in ("demo", "ordinary"):
            for name, host in (("STRIPE_KEY", "api.stripe.com"), ("OPENAI_API_KEY", "api.openai.com"), ("GIT_TOKEN", "github.com")):
                self.must("secrets", "set", "--workspace", w, name, "--host", host, input=self.keys[name], **kw)
            self.must("workspace", "allowlist", "add", "--workspace", w, "api.stripe.com", "api.openai.com", "github.com",
                      "files.lab-host.com", "*.wild-host.com", "wrong-name.lab-host.com", "inside.lab-host.com",
                      "metadata.lab-host.com", "loop.lab-host.com", **kw)

    # ---- up ----

    def up(self):
        sweep()
        self.is_up = True
        self.up_network()
        self.up_certificates()
        self.up_git()
        self.up_nginx()
        self.up_dns()
        self.leaks_file = self.private / "leaks"
        self.leaks_file.touch()
        leak = self.spawn("net", ["/usr/bin/python3", str(PEERS / "leak.py"), str(self.leaks_file), *TRAPS], stdout=subprocess.PIPE)
        if leak.stdout.readline() != b"ready\n":
            raise LabError("the leak listeners did not start")
        self.captures = {name: Capture(self, name) for name in LINKS}

    def up_network(self):
        for name in ("net", *LINKS):
            run("ip", "netns", "add", self.ns(name))
            run("ip", "-n", self.ns(name), "link", "set", "lo", "up")
        net = self.ns("net")
        lines = []
        for name, (v4, v6) in LINKS.items():
            run("ip", "-n", net, "link", "add", f"{name}0", "type", "veth", "peer", "name", "up0", "netns", self.ns(name))
            lines += [f"addr add {v4[1]} dev {name}0", f"addr add {v6[1]} dev {name}0 nodad", f"link set {name}0 up"]
            run("ip", "-n", self.ns(name), "-batch", "-", input_text="\n".join([
                f"addr add {v4[0]} dev up0", f"addr add {v6[0]} dev up0 nodad", "link set up0 up",
                f"route add default via {v4[1].split('/')[0]}", f"route add default via {v6[1].split('/')[0]}"]))
        for address in {a for pair in HOSTS.values() for a in pair} | {DNS} | set(TRAPS) | set(NGINX):
            if address not in ("127.0.0.1", "::1"):
                lines.append(f"addr add {address}/{'128' if ':' in address else '32'} dev lo")
        run("ip", "-n", net, "-batch", "-", input_text="\n".join(lines))

    def up_certificates(self):
        """The internet's own CA, and one certificate for all names but wrong-name.lab-host.com."""
        ca, key, p = self.dir / "ca.pem", self.private / "ca.key", self.private
        new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run(*new, "-x509", "-days", "2", "-subj", "/CN=lab root", "-keyout", str(key), "-out", str(ca),
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        for name, names in (("good", [h for h in HOSTS if not h.startswith("wrong")]), ("bad", ["other.lab-host.com"])):
            (p / f"{name}.ext").write_text("subjectAltName=" + ",".join(f"DNS:{n}" for n in names) + "\n")
            run(*new, "-subj", f"/CN={names[0]}", "-keyout", str(p / f"{name}.key"), "-out", str(p / f"{name}.csr"))
            run("openssl", "x509", "-req", "-days", "2", "-in", str(p / f"{name}.csr"), "-CA", str(ca), "-CAkey", str(key),
                "-CAcreateserial", "-extfile", str(p / f"{name}.ext"), "-out", str(p / f"{name}.pem"))

    def up_git(self):
        self.repo = self.private / "git" / "owner" / "repo.git"
        run("git", "init", "-q", "--bare", "-b", "main", str(self.repo), env=self.env())
        run("git", "-C", str(self.repo), "config", "http.receivepack", "true", env=self.env())
        work = self.private / "seed"
        git = ["git", "-C", str(work), "-c", "user.name=lab", "-c", "user.email=lab@lab-host.com"]
        run("git", "init", "-q", "-b", "main", str(work), env=self.env())
        (work / "README").write_text("hello from the lab\n")
        run(*git, "add", "README", env=self.env())
        run(*git, "commit", "-q", "-m", "first", env=self.env())
        run(*git, "push", "-q", str(self.repo), "main", env=self.env())
        if shutil.which("fcgiwrap"):  # the demo does without
            self.spawn("net", ["fcgiwrap", "-s", f"unix:{self.private}/git.sock"])
            wait_for("fcgiwrap", (self.private / "git.sock").exists)

    def up_nginx(self):
        p = self.private
        for name in ("down", "up", "tmp"):
            (p / name).mkdir()
        self.access_log = p / "access.log"
        self.access_log.touch()
        basic = {k: base64.b64encode(v.encode()).decode() for k, v in {
            "stripe": f"{self.keys['STRIPE_KEY']}:", "git": f"x-access-token:{self.keys['GIT_TOKEN']}"}.items()}
        names = {h: [a for a in HOSTS[h] if a in NGINX] for h in HOSTS}

        def server(host, body, cert="good", http2=""):
            listen = "".join(f"listen {f'[{a}]' if ':' in a else a}:443 ssl{http2};\n" for a in names[host.split()[0]])
            return (f"server {{\n{listen}server_name {host};\nssl_certificate {p}/{cert}.pem;\n"
                    f"ssl_certificate_key {p}/{cert}.key;\n{body}\n}}\n")

        say = "default_type application/json; return 200"
        page = '{"object":"list","url":"/v1/invoices","has_more":false,"data":[{"id":"in_1","object":"invoice","total":4200}]}'
        customer = '{"id":"cus_1","object":"customer","email":"a@example.com"}'
        chat = ('{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,'
                '"finish_reason":"stop","message":{"role":"assistant","content":"hello from upstream"}}]}')
        told = "".join(f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', 'choices': [{'index': 0, 'delta': {'content': t}}]})}\n\n"
                       for t in ("hello ", "from ", "upstream")) + "data: [DONE]\n\n"
        said = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in (
            {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
                                                  "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello from "}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "upstream"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"}))
        (p / "events").mkdir()
        (p / "events" / "completions").write_text(told)
        (p / "events" / "messages").write_text(said)
        events = f"alias {p}/events/; default_type text/event-stream; error_page 405 =200 $uri;"
        (p / "nginx.conf").write_text(f"""
user root; worker_processes 2; pid {p}/nginx.pid; error_log {p}/nginx.err warn; worker_rlimit_nofile 8192;
events {{ worker_connections 2048; }}
http {{
log_format lab escape=json '{{"host":"$host","sni":"$ssl_server_name","addr":"$server_addr","port":"$server_port","method":"$request_method","uri":"$request_uri","authorization":"$http_authorization","http":"$server_protocol","headers":"$http_x_key $http_x_api_key $http_cookie","status":$status,"tls":"$ssl_protocol","from":"$remote_addr","length":"$http_content_length"}}';
access_log {p}/access.log lab;
client_body_temp_path {p}/tmp/body; fastcgi_temp_path {p}/tmp/fcgi; proxy_temp_path {p}/tmp/proxy;
uwsgi_temp_path {p}/tmp/uwsgi; scgi_temp_path {p}/tmp/scgi;
client_max_body_size 300m; keepalive_requests 100000; keepalive_timeout 4s; server_tokens off; ssl_protocols TLSv1.2 TLSv1.3;
map_hash_bucket_size 512; server_names_hash_bucket_size 128;
map $http_authorization $stripe_ok {{ default 0; "Bearer {self.keys['STRIPE_KEY']}" 1; "Basic {basic['stripe']}" 1; }}
map $http_authorization $openai_ok {{ default 0; "Bearer {self.keys['OPENAI_API_KEY']}" 1; }}
map $http_authorization $git_ok {{ default 0; "Basic {basic['git']}" 1; }}
""" + server("api.stripe.com", f"""
location / {{ if ($stripe_ok = 0) {{ return 401 '{{"error":{{"type":"invalid_request_error","message":"Invalid API Key provided"}}}}'; }}
  {say} '{page}'; }}
location = /v1/customers {{ if ($stripe_ok = 0) {{ return 401; }} {say} '{customer}'; }}
""") + server("api.openai.com", f"""
location / {{ if ($openai_ok = 0) {{ return 401 '{{"error":{{"message":"Incorrect API key provided"}}}}'; }} {say} '{{"object":"list","data":[]}}'; }}
location = /v1/chat/completions {{ if ($openai_ok = 0) {{ return 401; }} {say} '{chat}'; }}
location /stream/chat/ {{ if ($openai_ok = 0) {{ return 401; }} {events} }}
""") + server("api.anthropic.com", http2=" http2", body=f"""
location / {{ return 404; }}
location /v1/ {{ if ($http_x_api_key !~ "^sk-ant-real-") {{ return 401; }} {events} }}
""") + server("github.com", f"""
location / {{ if ($git_ok = 0) {{ add_header WWW-Authenticate 'Basic realm="lab"' always; return 401; }}
  fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend; fastcgi_param GIT_PROJECT_ROOT {p}/git;
  fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string;
  fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
  fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER lab; fastcgi_param REMOTE_ADDR $remote_addr;
  fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding; fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
  fastcgi_pass unix:{p}/git.sock; }}
""") + server("files.lab-host.com", f"""
root {p};
location /down/ {{ default_type application/octet-stream; }}
location /chunked/ {{ alias {p}/down/; default_type application/octet-stream;
  sub_filter_types *; sub_filter 'this-text-stands-in-no-file-of-the-lab' ''; }}
location /up/ {{ dav_methods PUT; client_body_in_file_only off; }}
location = /hello {{ default_type text/plain; return 200 'hello\\n'; }}
location = /empty {{ return 204; }}
location = /redirect {{ return 302 https://attacker-domain.com/steal; }}
""") + server("h2.lab-host.com", f"""
root {p}; http2_max_concurrent_streams 32;
location = /echo {{ default_type text/plain; add_header X-Http $server_protocol; return 200 '$request_method $http_authorization $http_cookie\\n'; }}
location /down/ {{ default_type application/octet-stream; }}
location /up/ {{ dav_methods PUT; client_body_in_file_only off; }}
location = /empty {{ return 204; }}
""", http2=" http2") + server("a.wild-host.com b.a.wild-host.com wild-host.com", "location / { default_type text/plain; return 200 'wild\\n'; }")
            + server("wrong-name.lab-host.com", "location / { return 200 'never\\n'; }", cert="bad") + "".join(
            f"server {{ listen {f'[{a}]' if ':' in a else a}:80; server_name {h}; location / {{ default_type text/plain; return 200 'plain\\n'; }} }}\n"
            for h in ("api.stripe.com", "files.lab-host.com") for a in names[h]) + "}\n")
        run(*self.nsenter("net"), "nginx", "-e", f"{p}/nginx.err", "-p", str(p), "-c", f"{p}/nginx.conf", env=self.env())

    def up_dns(self):
        self.dns_log = self.private / "dns.log"
        records = [f"--host-record={h},{','.join(addresses)}" for h, addresses in self.names().items()]
        run(*self.nsenter("net"), "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
            "--bind-interfaces", f"--listen-address={DNS}", "--local=/#/", "--log-queries", "--local-ttl=30",
            f"--log-facility={self.dns_log}", f"--pid-file={self.private}/dnsmasq.pid", *records, env=self.env())

    def names(self):
        return HOSTS

    # ---- what the internet saw ----

    def leaks(self):
        return [json.loads(line) for line in self.leaks_file.read_text().splitlines()]

    def forget_leaks(self):
        """What was sent on purpose, or before something was guarded. Waits until the traps have told all of it."""
        settled(lambda: self.leaks_file.stat().st_size)
        self.leaks_file.write_text("")

    def requests(self, **want):
        """Lines of the upstreams' access log with these values."""
        lines = [json.loads(line) for line in self.access_log.read_text().splitlines()]
        return [q for q in lines if all(q.get(k) == v for k, v in want.items())]

    def wait_requests(self, count, **want):
        """nginx writes a line after the answer has gone out."""
        return wait_for(f"{count} requests {want}", lambda: (lambda r: r if len(r) >= count else None)(self.requests(**want)))

    def queries(self):
        """Names that were asked of the real DNS server."""
        lines = self.dns_log.read_text().splitlines() if self.dns_log.exists() else []
        return [line.split("] ", 1)[1].split()[0] for line in lines if "query[" in line]

    def make_download(self, name, size):
        """A file of bytes nobody can guess; its SHA-256."""
        digest = hashlib.sha256()
        with open(self.private / "down" / name, "wb") as f:
            for at in range(0, size, 1 << 20):
                block = os.urandom(min(1 << 20, size - at))
                digest.update(block)
                f.write(block)
        return digest.hexdigest()

    # ---- down ----

    def down(self):
        if not self.is_up:
            return
        self.is_up = False
        atexit.unregister(self.down)
        for d in self.daemons:
            with contextlib.suppress(Exception):
                d.remove()
        remove_namespaces(self.id)
        for p in self.procs:
            with contextlib.suppress(Exception):
                p.kill()
                p.wait(5)
        for d in self.daemons:  # what only died with the namespaces
            with contextlib.suppress(Exception):
                d.remove_cgroup(kill=True)
        if os.environ.get("LAB_KEEP"):
            print(f"lab's files kept in {self.dir}", file=sys.stderr)
            return
        for point in mounts_below(self.dir):
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


def remove_namespaces(lab_id):
    """Kills whatever runs in the lab's namespaces, then deletes them."""
    names = [n.name for n in Path("/run/netns").glob(f"as{lab_id}-*")] if Path("/run/netns").is_dir() else []
    for name in names:
        p = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        for pid in p.stdout.split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def sweep():
    """Removes labs whose process is gone (killed before it could clean up)."""
    with open("/run/agentsecrets-lab.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            lab_id = "-".join(left.name[len(PREFIX):].split("-")[:2])
            pid = lab_id.split("-")[0]
            if not pid.isdigit() or Path(f"/proc/{pid}").exists() or not stat.S_ISDIR(left.lstat().st_mode) or os.environ.get("LAB_KEEP"):
                continue
            remove_namespaces(lab_id)
            for group in cgroup2_mount().glob(f"as-test-{lab_id}-*"):
                d = Daemon.__new__(Daemon)
                d.cgroup = group
                d.remove_cgroup(kill=True)
            for point in mounts_below(left):
                subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
            shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["sweep"]:
        sys.exit("usage: lab.py sweep")
    sweep()
