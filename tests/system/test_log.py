"""The audit log's end: that lines are missing there shows too, of writers that run, that were killed, and of an earlier daemon."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from helpers import audit, works
from lab import NOBODY, wait_for


def without_last(data, writer, epoch=None):
    """The log without the last line of that writer (and epoch)."""
    lines = data.splitlines(keepends=True)
    at = [i for i, line in enumerate(lines) if (said := json.loads(line))["w"] == writer and epoch in (None, said["e"])][-1]
    return b"".join(lines[:at] + lines[at + 1:])


def missing(lab, data):
    """`log verify` of such a log fails, and says so; of the whole it does not."""
    log = lab.daemons[0].audit
    whole = log.read_bytes()
    assert data != whole
    with open(log, "r+b") as f:
        f.truncate(0)
        f.write(data)
    p = lab.cli("log", "verify")
    assert p.returncode != 0 and "its end is missing" in p.stderr, (p.stdout, p.stderr)
    with open(log, "r+b") as f:
        f.write(whole)
    p = lab.must("log", "verify")
    assert "verified" in p.stdout


def test_a_missing_end(fresh):
    lab, d = fresh, fresh.daemons[0]
    for _ in range(4):
        works(lab)
    said = wait_for("an outcome", lambda: audit(d, kind="outcome", status=200), 5)[-1]
    writer, epoch = said["w"], said["e"]
    lab.must("log", "verify")
    missing(lab, without_last(d.audit.read_bytes(), writer))
    missing(lab, without_last(d.audit.read_bytes(), "parent"))
    missing(lab, b"")

    # Killed: nobody can be asked any more.
    for role, pid in d.processes():
        if role == "proxy":
            os.kill(pid, signal.SIGKILL)
    wait_for("the new ones' chains", lambda: len([line for line in d.audit_lines() if line["kind"] == "start"]) >= 5, 10)
    head = audit(d, kind="head", of=writer, of_e=epoch)[0]
    assert head["w"] == "parent" and head["of_n"] >= 1
    missing(lab, without_last(d.audit.read_bytes(), writer, epoch))

    # Another daemon knows how far the one before came.
    parent = next(line["e"] for line in d.audit_lines() if line["w"] == "parent")
    d.stop()
    d.start()
    works(lab)
    assert audit(d, kind="head", of="parent", of_e=parent)
    for line in [line for line in d.audit_lines() if line["kind"] == "head" and line["of_n"] > 1]:
        missing(lab, without_last(d.audit.read_bytes(), line["of"], line["of_e"]))


def test_an_earlier_log_is_elsewhere(fresh):
    """Who moved a log away is told that its writers are not in this one; the new one verifies."""
    lab, d = fresh, fresh.daemons[0]
    works(lab)
    d.stop()
    d.audit.rename(d.audit.with_suffix(".1"))
    d.start()
    works(lab)
    said = lab.must("log", "verify").stdout
    assert "verified" in said and "not in this file" in said, said


def test_rotate(fresh):
    """While requests go on: no line is lost, each file's chains verify, and their ends are known to the next one."""
    lab, d = fresh, fresh.daemons[0]
    code = ("import sys, urllib.request\nn = 0\nprint('ready', flush=True)\n"
            "while not sys.stdin in __import__('select').select([sys.stdin], [], [], 0)[0]:\n"
            "  urllib.request.urlopen(urllib.request.Request('https://api.stripe.com/v1/charges',"
            " headers={'Authorization': 'Bearer agentsecrets://STRIPE_KEY'})).read(); n += 1\n"
            "print(n)\n")
    agents = [lab.agent_start("/usr/bin/python3", "-c", code, stdin=subprocess.PIPE) for _ in range(2)]
    for p in agents:
        assert p.stdout.readline() == b"ready\n", p.stderr.read()
    kept, sizes = [], []
    for _ in range(3):
        time.sleep(1.1)
        kept.append(Path(lab.must("log", "rotate").stdout.strip()))
        sizes.append(kept[-1].stat().st_size)
    time.sleep(0.5)
    done = 0
    for p in agents:
        out, err = p.communicate(b"\n", timeout=20)
        assert out, err
        done += int(out)
    assert done > 10
    assert all(k.parent == d.audit.parent and k.name.startswith(d.audit.name + ".20") for k in kept), kept
    assert [k.stat().st_size for k in kept] == sizes  # when it was answered, nobody wrote to it any more
    assert all((k.stat().st_mode & 0o777, k.stat().st_uid) == (0o600, 0) for k in [*kept, d.audit])
    said = lab.must("log", "verify", *map(str, kept)).stdout
    assert "verified" in said and "not in this file" not in said, said
    assert "not in this file" in lab.must("log", "verify").stdout
    wait_for("the outcomes", lambda: sum(line["kind"] == "outcome" for line in d.audit_lines()) > 0, 5)
    lines = [json.loads(line) for f in [*kept, d.audit] for line in f.read_text().splitlines()]
    for kind in ("decision", "outcome"):
        assert sum(line["kind"] == kind and line.get("host") == "api.stripe.com" and (line.get("scheme") == "https" or kind == "outcome")
                   for line in lines) == done, kind
    assert "api.stripe.com" in lab.must("log", "--file", str(kept[0]), "-n", "5").stdout

    # The end of a kept file is missed, in whichever file it should be.
    whole = kept[1].read_bytes()
    kept[1].write_bytes(whole[:whole.rindex(b"\n", 0, -1) + 1])
    p = lab.cli("log", "verify", *map(str, kept))
    assert p.returncode == 1 and "its end is missing" in p.stderr, (p.stdout, p.stderr)
    kept[1].write_bytes(whole)

    # A proxy that starts again and another daemon go on in the new file.
    for role, pid in d.processes():
        if role.startswith("proxy"):
            os.kill(pid, signal.SIGKILL)
    wait_for("the new ones' chains", lambda: sum(line["kind"] == "start" for line in d.audit_lines()) >= 5, 10)
    works(lab)
    d.stop()
    d.start()
    works(lab)
    said = lab.must("log", "verify", *map(str, kept)).stdout
    assert "verified" in said and "not in this file" not in said, said


def test_rotate_what_was_moved_away(fresh):
    """As logrotate does it: the name first, then whoever writes."""
    lab, d = fresh, fresh.daemons[0]
    works(lab)
    old = d.audit.rename(d.audit.parent / "elsewhere.1")
    works(lab)
    p = lab.must("log", "rotate")
    assert p.stdout == "" and "moved away" in p.stderr
    size = old.stat().st_size
    works(lab)
    assert old.stat().st_size == size
    assert "not in this file" not in lab.must("log", "verify", str(old)).stdout


def test_rotate_refused(fresh):
    lab, d = fresh, fresh.daemons[0]
    before = sorted(p.name for p in d.audit.parent.iterdir())
    p = lab.cli("log", "rotate", uid=NOBODY)
    assert p.returncode == 1 and "root" in p.stderr, p.stderr
    # Its own file system: there is no other name to be had for it there. Nothing is changed, and the log goes on.
    subprocess.run(["mount", "--bind", str(d.audit), str(d.audit)], check=True)
    try:
        p = lab.cli("log", "rotate")
        assert p.returncode == 1 and "cannot keep" in p.stderr, (p.stdout, p.stderr)
    finally:
        subprocess.run(["umount", str(d.audit)], check=True)
    assert sorted(p.name for p in d.audit.parent.iterdir()) == before
    works(lab)
    lab.must("log", "verify")
    p = lab.cli("log", "--file", str(d.audit), "--follow")
    assert p.returncode == 2 and "--follow" in p.stderr
    p = lab.cli("log", "verify", "/nowhere/log")
    assert p.returncode == 1 and "cannot open /nowhere/log" in p.stderr
