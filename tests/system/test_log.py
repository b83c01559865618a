"""The audit log's end: that lines are missing there shows too, of writers that run, that were killed, and of an earlier daemon."""

import json
import os
import signal

from helpers import audit, works
from lab import wait_for


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
