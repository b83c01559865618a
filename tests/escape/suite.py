#!/usr/bin/python3
"""Tries every known way out of a guard, and says what got out.

    suite.py [--json DIR]       run, print the table, renew results/KERNEL-LEVEL.json (or that in DIR) and results.md
    suite.py table              renew results.md from results/*.json

A case is one way (escape ways) in one mode. Each has an address, a port and a marker of its own (escape.h), so
that any frame names its case. Modes, each as uid 65534 and as root:

    control   no guard: what gets nothing out here proves nothing in a guard, and is skipped there with the reason
    run       `agentsecrets run`: the wall, and the command's sandbox (filter, private mounts, capabilities)
    wall      put in the guard by the daemon, nothing else: what the kernel side alone holds. Root without the base capabilities
    attach    the same for a tree that runs already and holds sockets: by `agentsecrets cgroup attach`, out of a shared cgroup

The agent's network namespace holds nothing else, so every frame that leaves it counts, marked or not. On the
daemon's own link only marked ones do: it is the proxy's, too.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "system"))

import lab as lab_module  # noqa: E402
from lab import LINKS, NOBODY, SLOW, Daemon, Lab, cgroup2_mount, run, wait_for  # noqa: E402

PROGRAM = lab_module.PLAIN.resolve() / "release" / "tests" / "escape" / "escape"
RESULTS, TABLE = HERE / "results", HERE / "results.md"
MODES = {1: "control-user", 2: "control-root", 3: "run-user", 4: "run-root", 5: "wall-user", 6: "wall-root", 7: "attach-user", 8: "attach-root"}
GUARDED = {m: name for m, name in MODES.items() if m > 2}
SETUP_WAY = 255
WAIT = 1200 if SLOW == 1 else 3500  # milliseconds that a listener waits for somebody from outside

# Without these no other answer is worth anything: a blind sniffer fails the suite.
POSITIVE = ("tcp4", "tcp6", "udp4", "udp6", "udplite-connect4", "udplite-connect6", "bindtodevice-tcp4", "bindtodevice-tcp6")

# What gets out, for whom, what closes it, and why it is open without. A row that gets out although one of its closers
# is in force is an error, and so is a row that stays in although none is: this list is what we claim.
# Closers: `run` (in the run modes), the level that the daemon says is in force, "L3>=6.5": a level from that kernel on.
ANY, USER, ROOT = ("user", "root"), ("user",), ("root",)
KNOWN = {}


def known(ways, who, closed_by, why):
    for name in ways.split():
        KNOWN[name] = (who, tuple(closed_by.split()), why)


known("unix-path unix-abstract unix-dgram scm-rights-fresh", ANY, "L2 L3",
      "a process outside does it for the agent, on request over a unix socket; L1 sees IP sockets only")
known("scm-rights-inherited", ANY, "attach L3",
      "standard input was a unix socket whose other end passes a socket in; nothing but L3 sees a descriptor arrive, and attach refuses a tree with such a connection")
known("before-tcp4 before-tcp6 before-tcp-connected before-udp4 before-udp6", ANY, "run attach L3",
      "hooks follow the cgroup that a socket was made in; `run` closes descriptors, attach has to adopt or refuse them")
known("before-tcp-listener", ANY, "run attach",
      "the same; at L3 accept() is refused, so that no byte of the agent's leaves, but the kernel has answered the caller's SYN by then")
known("before-tcp-sendfile", ANY, "run attach L3>=6.5",
      "a connection from before; no LSM hook is called for sendfile() before Linux 6.5")
known("compat-igmp-join compat-mld-join", ANY, "run",
      "setsockopt hooks are skipped for 32-bit system calls, and the kernel itself reports a membership: 28 bits of a group's address each, 112 with IPv6")
known("pidfd-getfd process-vm-writev proc-mem ptrace", USER, "run L3",
      "a process of the same user outside is made to send; root without CAP_SYS_PTRACE cannot")
known("other-cgroup", ROOT, "run L3", "root may write cgroup.procs wherever the mount is writable")
known("bpf-detach-pins", ROOT, "run L3",
      "root needs no capability to open a pinned link where it can see the bpffs, and whoever has a link may detach it")
known("pppoe rds4", ANY, "run L3",
      "sockets of other families, for which the kernel sends frames, or dials from a worker of its own that is in no guard")
known("socket-vsock socket-alg socket-tipc socket-rds socket-smc socket-can socket-kcm socket-rxrpc socket-llc socket-bluetooth "
      "socket-qipcrtr socket-nfc socket-pppox socket-phonet socket-mctp socket-ieee802154 socket-appletalk socket-ax25 socket-x25 "
      "netlink-sock-diag netlink-xfrm netlink-audit netlink-connector netlink-netfilter netlink-generic",
      ANY, "run L3", "the socket is made; cgroup hooks see AF_INET and AF_INET6 only")


def in_force(closer, mode, level, release):
    word, _, since = closer.partition(">=")
    if since and [int(n) for n in series(release).split(".")] < [int(n) for n in since.split(".")]:
        return False
    return mode.startswith(word + "-") if word in ("run", "attach") else word <= level


def open_row(way, mode, level, release):
    """Does the list say that this way gets out in this mode, at this level."""
    who, closed_by, _ = KNOWN.get(way, ((), (), ""))
    return mode.split("-")[1] in who and not any(in_force(c, mode, level, release) for c in closed_by)


def series(release):
    return ".".join(release.split(".")[:2])


# ---- the world outside ----

class Net(Lab):
    """The lab's network and nothing that serves in it."""

    def up(self):
        lab_module.sweep()
        self.is_up = True
        self.up_network()
        self.up_certificates()
        net, pod = self.ns("net"), self.ns("pod")
        for prefix in ("198.18.0.0/16", "2001:db8:1:e::/64", "64:ff9b::/96", "2002:c612::/32"):
            run("ip", "-n", net, "route", "add", "local", prefix, "dev", "lo")
        for device in ("pod0", "box0"):  # frames are looked at one by one, and none may be made up by a card's offload
            run("ip", "-n", net, "link", "set", device, "promisc", "on")
        run("ip", "-n", pod, "route", "add", "224.0.0.0/4", "dev", "up0")
        for key, value in (("ping_group_range", "0 2147483647"), ("ip_forward", "1")):
            run(*self.nsenter("pod"), "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{key}")


class Suite:
    def __init__(self):
        self.random = secrets.token_hex(5)[:9]
        self.marker = re.compile(rb"ESC([0-9a-f]{2})([0-9a-f]{2})" + self.random.encode())
        lines = subprocess.run([str(PROGRAM), "ways"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        self.ways = [line.split()[0] for line in lines]
        self.alone = [line.split()[0] for line in lines if line.endswith(" alone")]
        self.out = {}     # (mode, way's number): what was seen
        self.said = {}    # (mode, way's number): (word, text)
        self.places = []  # cgroups of ours
        self.strays = []  # frames from the agent's namespace that belong to no case

    # -- running --

    def __enter__(self):
        self.net = Net()
        try:
            self.up()
        except BaseException:
            self.net.down()
            raise
        return self

    def up(self):
        lab = self.net
        # What the agent starts as an ordinary user, who may not come to where this was built.
        self.escape, self.cli = (str(shutil.copy2(p, lab.dir)) for p in (PROGRAM, lab_module.BUILD / "agentsecrets"))
        self.frames_file = lab.private / "frames"
        with open(self.frames_file, "wb") as f:
            lab.spawn("net", [str(PROGRAM), "watch"], stdout=f)
        wait_for("the sniffer", lambda: self.frames_file.read_bytes().startswith(b"ready\n"), 10 * SLOW)
        self.daemon = Daemon(lab)
        with open(self.daemon.stderr, "ab") as err:
            self.daemon.proc = lab.spawn("box", [str(lab_module.BUILD / "agentsecretsd"), "--config", str(self.daemon.config_file)],
                                         stdout=err, stderr=err, track=False)
        wait_for("the daemon's first answer", self.daemon.serving, 20 * SLOW)
        for request in ({"op": "init"}, {"op": "workspace.create", "workspace": "demo"},
                        {"op": "workspace.create", "workspace": "ordinary", "owner": NOBODY},
                        {"op": "allowlist.add", "workspace": "demo", "rules": [{"host": "api.stripe.com"}]},
                        {"op": "allowlist.add", "workspace": "ordinary", "rules": [{"host": "api.stripe.com"}]}):
            answer = self.daemon.ask(**request)
            if not answer["ok"]:
                raise lab_module.LabError(f"{request}: {answer['error']}")
        self.level = self.daemon.status()["level"]

    def __exit__(self, *_):
        self.net.down()
        for place in self.places:
            wait_for(f"{place} to empty", lambda place=place: not (place / "cgroup.procs").read_text(), 10 * SLOW)
            place.rmdir()

    def frames(self):
        """All frames so far, after waiting for those that are on their way."""
        token = secrets.token_hex(8)
        for ns in LINKS:
            to = LINKS[ns][0][1].split("/")[0]
            run(*self.net.nsenter(ns), str(PROGRAM), "mark", to, f"mark-{ns}-{token}")
        marks = [f"mark-{ns}-{token}".encode().hex().encode() for ns in LINKS]
        data = []

        def there():
            data[:] = [self.frames_file.read_bytes()]
            return all(m in data[0] for m in marks) and data[0].endswith(b"\n")
        wait_for("the sniffer's marks", there, 10 * SLOW)
        for line in data[0].splitlines()[1:]:
            name, _, raw = line.decode().partition(" ")
            yield name, bytes.fromhex(raw)

    def command(self, mode, ways):
        name, kind = MODES[mode], MODES[mode].split("-")[0]
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"] if name.endswith("user") else []
        workspace = "ordinary" if user else "demo"
        into = {"control": [], "attach": [self.escape, "await", str(self.gate), "--"], "run": [self.cli, "run", "--workspace", workspace, "--"],
                "wall": [self.escape, "enter", str(self.daemon.control), workspace, "--"]}[kind]
        options = {"mode": mode, "random": self.random, "dev": "up0", "dir": self.dir, "bpffs": self.daemon.config["bpffs"],
                   "cgroup": cgroup2_mount(), "wait": WAIT, "helper": self.helper[0], "outbox": self.helper[1]}
        return (self.net.nsenter("pod") + user + [self.escape, "before", str(mode), "--"] + into
                + [self.escape, "try"] + [f"{k}={v}" for k, v in options.items()] + ways)

    def start(self, ns, *argv, user=False, **kw):
        """A process of the unguarded side that says `ready` first."""
        argv = (["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"] if user else []) + [self.escape, *argv]
        p = self.net.spawn(ns, argv, stdout=subprocess.PIPE, **kw)
        first = p.stdout.readline().decode().split()
        if first[:1] != ["ready"]:
            raise lab_module.LabError(f"{argv} did not start")
        return p, first

    def run_mode(self, mode):
        self.dir = self.net.home / f"mode-{mode}"
        self.dir.mkdir()
        self.dir.chmod(0o777)
        started = [self.start(ns, "listen", str(mode))[0] for ns in ("net", "pod")]
        p, first = self.start("pod", "helper", str(self.dir), user=MODES[mode].endswith("user"))
        self.helper = first[1:3]
        started.append(p)
        before = sum(1 for _ in self.frames())
        self.caller = self.start("net", "call", str(WAIT), stdin=subprocess.PIPE)[0]
        self.attempt(mode, [])
        for way in self.alone if mode in GUARDED else ():
            self.attempt(mode, [way])
        time.sleep(0.4 * SLOW)  # what still retransmits, or is sent on by somebody else
        frames = list(self.frames())[before:]
        self.hear(mode, self.caller.communicate()[0].decode().splitlines(), "answered")
        for p in started:
            p.terminate()
            self.hear(mode, p.communicate()[0].decode().splitlines(), "heard")
        for name, raw in frames:
            self.judge(mode, name, raw)

    def shared(self):
        """A cgroup with somebody else in it, for what is to be attached."""
        where = Path(cgroup2_mount()) / f"as-test-{self.net.id}-shared"
        if not where.exists():
            where.mkdir()
            self.other = self.net.spawn("pod", ["sleep", "10000"], preexec_fn=lambda: (where / "cgroup.procs").write_text("0"))
            self.places.append(where)
        return where

    def attach(self, p, workspace):
        """The tree that p is the head of waits at the gate with its sockets: attach it and let it go on."""
        waiting = self.gate.with_suffix(".waiting")
        wait_for("the tree to be attached", lambda: waiting.exists() or p.poll() is not None, 20 * SLOW)
        if p.poll() is not None:
            raise lab_module.LabError(f"it ended before it could be attached: {p.communicate()[1]!r}")
        answer = self.daemon.ask(op="cgroup.attach", pid=int(waiting.read_text()), workspace=workspace)
        if not answer["ok"]:
            raise lab_module.LabError(f"attach: {answer['error']}")
        if not answer["moved"] or answer["adopted"] < 6:
            raise lab_module.LabError(f"attach found fewer sockets than there are: {answer}")
        self.gate.touch()

    def attempt(self, mode, ways):
        """Runs them, and makes the calls from outside that they ask for."""
        self.gate = self.dir / f"gate-{secrets.token_hex(4)}"
        attached = MODES[mode].startswith("attach")
        place = self.shared() if attached else None
        p = subprocess.Popen(self.command(mode, ways), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=self.net.env(AGENTSECRETS_CONTROL=str(self.daemon.control)), cwd=self.net.home,
                             preexec_fn=(lambda: (place / "cgroup.procs").write_text("0")) if attached else None)
        if attached:
            self.attach(p, "ordinary" if MODES[mode].endswith("user") else "demo")
        end, text = time.monotonic() + 60 * SLOW, b""
        while not text.endswith(b"done\n"):
            if not select.select([p.stdout], [], [], max(0, end - time.monotonic()))[0]:
                break
            more = os.read(p.stdout.fileno(), 65536)
            if not more:
                break
            fresh = (text + more)[text.rfind(b"\n") + 1:]
            text += more
            for line in fresh[:fresh.rfind(b"\n") + 1].decode().splitlines():
                fields = line.split("\t")
                if fields[0] == "call":
                    self.call(mode, *fields[1:])
                elif fields[0] == "way":
                    self.said[mode, int(fields[1])] = (fields[3], fields[4] if len(fields) > 4 else "")
        if not text.endswith(b"done\n"):
            p.kill()
            raise lab_module.LabError(f"{MODES[mode]}: the ways were not tried to the end: {text[-300:]!r} "
                                      f"{p.communicate()[1][-2000:]!r}\n{self.daemon.messages()[-2000:]}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.communicate(timeout=10 * SLOW)
        p.kill()

    def call(self, mode, way, proto, port):
        six = proto.endswith("6")
        own = LINKS["pod"][six][0].split("/")[0]
        source = f"2001:db8:1:e::c612:{mode:x}{int(way):02x}" if six else f"198.18.{mode}.{way}"
        self.caller.stdin.write(f"{proto} {source} {own} {port}\n".encode())
        self.caller.stdin.flush()

    # -- judging --

    def is_open(self, way, mode):
        return open_row(way, mode, self.level, os.uname().release)

    def seen(self, mode, way, what):
        """What counts most: bytes of ours, then a packet."""
        if way != SETUP_WAY and (what != "a packet" or (mode, way) not in self.out):
            self.out[mode, way] = what

    def hear(self, mode, lines, word):
        for line in lines:
            fields = line.split()
            if fields[:1] != [word]:
                continue
            data = bytes.fromhex(fields[-1]) if len(fields) > (2 if word == "heard" else 1) else b""
            for m in self.marker.finditer(data):
                self.seen(int(m[1], 16), int(m[2], 16), "the marker")
            if word == "heard" and not self.marker.search(data):
                self.seen(mode, (int(fields[1]) - 10000) % 256, "bytes")

    def judge(self, mode, name, raw):
        marks = self.marker.findall(raw)
        for m, w in marks:
            self.seen(int(m, 16), int(w, 16), "the marker")
        if marks or name != "pod0" or b"mark-pod-" in raw:
            return
        ways = self.owners(mode, raw)
        for way in ways:
            self.seen(mode, way, "a packet")
        if not ways and not harmless(raw):
            self.strays.append((mode, raw))

    def owners(self, mode, raw):
        """The ways that a frame without a marker belongs to, by addresses, groups (a report may name several), ports."""
        if kernels_own(raw):
            return []
        ip = ip_of(raw)
        found, reach = [], len(raw) if ip and ip[0] in (2, 58) else 110
        for m in re.finditer(rb"[\xc6\xef]\x12([\x01-\x08])(.)", raw[14:reach], re.S):
            # what an earlier mode's sockets still send is not this mode's
            found.append(m[2][0] if m[1][0] == mode else SETUP_WAY)
        for port in () if found else ports(raw):
            for base in (10000, 20000):
                if base + 256 <= port < base + 256 * (len(MODES) + 1):
                    found.append((port - base) % 256 if (port - base) // 256 == mode else SETUP_WAY)
        return found

    def rows(self):
        """(way, mode, result, reason) of every guarded case; result: OUT, ok or skip."""
        for w, way in enumerate(self.ways):
            for mode, name in GUARDED.items():
                word, text = self.said.get((mode, w), ("none", "it was not tried"))
                control = 1 if name.endswith("user") else 2
                if (mode, w) in self.out:
                    yield way, name, "OUT", self.out[mode, w]
                elif word == "made":
                    yield way, name, "OUT", "the socket was made"
                elif word == "none":
                    yield way, name, "skip", text
                elif way not in self.alone and (control, w) not in self.out and self.said.get((control, w), [""])[0] != "made":
                    yield way, name, "skip", f"nothing gets out without a guard either: {self.said[control, w][1] or 'sent, not seen'}"
                else:
                    yield way, name, "ok", text or "sent, and kept in"


def ip_of(raw):
    """(protocol, header's end) of a frame; None for what is not IP."""
    kind = raw[12:14]
    if kind == b"\x08\0" and len(raw) >= 34:
        return raw[23], 14 + (raw[14] & 15) * 4
    if kind == b"\x86\xdd" and len(raw) >= 54:
        return (raw[54], 54 + 8) if raw[20] == 0 and len(raw) > 62 else (raw[20], 54)
    return None


def ports(raw):
    ip = ip_of(raw)
    if not ip or ip[0] not in (6, 17, 33, 132, 136) or len(raw) < ip[1] + 4:
        return ()
    return int.from_bytes(raw[ip[1]:ip[1] + 2], "big"), int.from_bytes(raw[ip[1] + 2:ip[1] + 4], "big")


def kernels_own(raw):
    """What the kernel answers to strangers without any process: resets, "no such port"."""
    ip = ip_of(raw)
    if not ip or len(raw) <= ip[1] + 13:
        return False
    proto, at = ip
    reset = proto == 6 and raw[at + 13] & 4
    return bool(reset or (proto == 1 and raw[at] == 3) or (proto == 58 and raw[at] == 1))


def harmless(raw):
    """What every link says for itself: ARP, neighbour and group discovery of the link's own groups."""
    if raw[12:14] == b"\x08\x06" or kernels_own(raw):
        return True
    ip = ip_of(raw)
    return bool(ip and ip[0] == 58 and 130 <= raw[ip[1]] <= 143)


def run_all(say=lambda line: None):
    with Suite() as s:
        for mode, name in MODES.items():
            begin = time.monotonic()
            s.run_mode(mode)
            say(f"{name}: {time.monotonic() - begin:.1f} s")
        return s


# ---- what is made of it ----

def problems(s):
    """Sentences; none: all is as it is claimed to be."""
    for mode in (1, 2):
        for way in POSITIVE:
            w = s.ways.index(way)
            if (mode, w) not in s.out and "not supported" not in s.said[mode, w][1]:
                yield f"{MODES[mode]}: {way} was not seen outside, though nothing guards it: the sniffer is blind ({s.said[mode, w]})"
    for mode, raw in s.strays:
        if mode in GUARDED:
            yield f"{MODES[mode]}: a frame of no known case left: {raw[:120].hex()}"
    for way, mode, result, reason in s.rows():
        if result == "OUT" and not s.is_open(way, mode):
            yield f"{way} got out in {mode}, level {s.level}: {reason}"
        elif result == "ok" and s.is_open(way, mode):
            yield f"{way} is listed as open in {mode}, level {s.level}, and is closed: correct the list (KNOWN)"


def table_lines(s, modes=tuple(GUARDED.values())):
    width = max(map(len, s.ways))
    for way, mode, result, reason in s.rows():
        if mode in modes:
            note = f"   [known; closed by {' or '.join(KNOWN[way][1])}]" if result == "OUT" and s.is_open(way, mode) else ""
            yield f"{way:{width}}  {mode:9}  {result:4}  {reason}{note}"


def result_name(s):
    return f"{series(os.uname().release)}-{s.level}.json"


def write_json(s, path):
    ways = {}
    for way, _, result, _ in s.rows():
        ways[way] = (ways.get(way, "") + " " + result).strip()
    rows = ",\n".join(f"  {json.dumps(way)}: {json.dumps(results)}" for way, results in ways.items())
    head = json.dumps({"kernel": series(os.uname().release), "level": s.level, "modes": list(GUARDED.values())})
    Path(path).write_text(f'{head[:-1]}, "ways": {{\n{rows}\n}}}}\n')


def cell(modes, results):
    """One kernel's answer for one way."""
    out = [m for m, r in zip(modes, results) if r == "OUT"]
    if not out:
        return "ok" if "ok" in results else "–"
    for kind in ("run", "wall", "attach"):
        if {f"{kind}-user", f"{kind}-root"} <= set(out):
            out = [m for m in out if not m.startswith(kind)] + [kind]
    return f"**out**: {', '.join(sorted(out))}"


def write_table():
    tables = sorted((json.loads(p.read_text()) for p in RESULTS.glob("*.json")), key=lambda t: ([int(n) for n in t["kernel"].split(".")], t["level"]))
    lines = ["# Ways out of a guard, tried", "",
             "Made by `make escape` (the running kernel) and `make kernels` (6.1 and 6.12 in QEMU); tests/escape/suite.py says what a way and a",
             "mode are. `ok`: it gets something out without a guard, and nothing from inside one. `–`: this kernel cannot express it. `run`: under",
             "`agentsecrets run`. `wall`: in the guard's cgroup with nothing else, at the level that stands beside the kernel. `attach`: the same",
             "after `agentsecrets cgroup attach`, out of a cgroup shared with others.", "",
             "| way | " + " | ".join(f"{t['kernel']}, {t['level']}" for t in tables) + " | closed by |", "|---|" + "---|" * (len(tables) + 1)]
    for way in dict.fromkeys(w for t in tables for w in t["ways"]):
        cells = [cell(t["modes"], t["ways"].get(way, "").split()) for t in tables]
        lines.append(f"| {way} | {' | '.join(cells)} | {' or '.join(KNOWN[way][1]) if way in KNOWN else ''} |")
    lines += ["", "What gets out where nothing of the last column is in force, and why:", ""]
    for (who, closed_by, why), ways in by_reason().items():
        lines.append(f"- {', '.join(ways)}{'' if who == ANY else f' (as {who[0]})'}: {why}. Closed by {' or '.join(closed_by)}.")
    TABLE.write_text("\n".join(lines) + "\n")


def by_reason():
    found = {}
    for way, entry in KNOWN.items():
        found.setdefault(entry, []).append(way)
    return found


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", nargs="?", choices=["table"], help="only renew results.md")
    args.add_argument("--json", metavar="DIR", help="write the results there, and leave results.md alone")
    a = args.parse_args()
    if a.what:
        write_table()
        return
    if os.geteuid() != 0:
        sys.exit("suite.py: this needs root: network namespaces and BPF are made; run it with sudo")
    s = run_all(lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(table_lines(s)))
    bad = list(problems(s))
    for line in bad:
        print(f"FAILED {line}")
    if not bad and a.json:
        write_json(s, Path(a.json) / result_name(s))
    elif not bad:
        write_json(s, RESULTS / result_name(s))
        write_table()
    rows = list(s.rows())
    out = sum(r[2] == "OUT" for r in rows)
    if not bad:
        print(f"level {s.level}; all {out} that are out are known (KNOWN in tests/escape/suite.py), with what closes them")
    print(f"{sum(r[2] != 'skip' for r in rows)} cases, {out} out", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
