"""HTTP/2 that stands still: on the agent's side before, between and in streams; on the upstream's before and in its answer.
Each phase has its time; a response under way has none."""

import subprocess

import pytest

from conftest import a_world, show
from helpers import audit
from lab import PEERS, SLOW, wait_for

HOST, PORT, HELD = "grpc.lab-host.com", 9563, "h2.lab-host.com"
HEAD, IDLE, RESPONSE = 2, 4, 3
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def lab():
    made = a_world(proxy={"workers": 1, "head_timeout": HEAD, "idle_timeout": IDLE}, upstream={"response_timeout": RESPONSE})
    made.log = made.private / "h2slow.log"
    made.log.touch()
    p = made.spawn("net", [PYTHON, str(PEERS / "h2slow.py"), "203.0.113.25", str(PORT), f"{made.private}/good.pem", f"{made.private}/good.key",
                           str(made.log)], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"ready\n"
    made.must("workspace", "allowlist", "add", f"{HOST}:{PORT}", HELD)
    made.must("secrets", "set", "BODY_KEY", "--host", HELD, "--slot", "body", input="body_live_0123456789")
    yield made
    show(made)
    made.down()


def start(lab, *what, host=HOST, port=PORT):
    return lab.agent_start(PYTHON, str(PEERS / "h2wait.py"), host, str(port), *what)


def ended(p):
    """[(seconds, words)]."""
    out, err = p.communicate(timeout=60)
    assert out, err
    return [(float(t), words) for t, _, words in (line.partition(" ") for line in out.decode().splitlines())]


def when(told, words):
    found = [t for t, w in told if w == words]
    assert found, (words, told)
    return found[0]


def late(seconds, limit):
    """Not before its time, and not long after; a sweep comes once a second, and this machine may be busy."""
    return limit - 0.3 <= seconds <= limit + 4 * SLOW + 4


def test_the_agents_side(lab):
    """All at once, for what they wait for is the same time."""
    p = {what: start(lab, what) for what in ("nothing", "silent", "fragment", "drip")}
    p["after"] = start(lab, "/now", "silent")
    told = {what: ended(q) for what, q in p.items()}
    # No preface: the head's time. There is nobody yet to say GOAWAY to in so many words, but the end comes.
    assert late(when(told["nothing"], "end"), HEAD), told
    for what in ("fragment", "drip"):  # what trickles in gains it nothing
        assert late(when(told[what], "goaway 0"), HEAD) and late(when(told[what], "end"), HEAD), told
    assert late(when(told["silent"], "goaway 0"), IDLE) and late(when(told["silent"], "end"), IDLE), told
    assert when(told["after"], "/now 200") < HEAD + 5
    assert late(when(told["after"], "goaway 0") - when(told["after"], "/now end"), IDLE), told
    wait_for("all to be closed", lambda: lab.daemons[0].status()["active"] == 0)


def test_a_stream_that_lives_is_not_cut(lab):
    """Quiet for longer than any of the times there are; beside it one that gets no answer, and a body that stops: each is answered
    on its own stream, and the upstream is told that nobody waits for it any more."""
    lab.log.write_text("")
    told = ended(start(lab, "/quiet/9", "/never", "+/read", "/now"))
    assert when(told, "/quiet/9 last") > 8.5 and when(told, "/quiet/9 end") and (when(told, "/quiet/9 200") < 5), told
    assert when(told, "/now end") < 5, told
    for path in ("/never", "+/read"):
        assert late(when(told, f"{path} 502"), RESPONSE), told
        assert any(w.startswith(path + ' {"error":"upstream_timeout"') for _, w in told), told
    assert not [w for _, w in told if w.startswith("goaway")], told
    wait_for("the resets to reach the upstream", lambda: {"/never reset 8", "/read reset 8"} <= set(lab.log.read_text().splitlines()))
    for path in ("/never", "/read"):
        line = audit(lab.daemons[0], kind="decision", host=HOST, path=path)[-1]
        out = audit(lab.daemons[0], kind="outcome", id=line["id"], w=line["w"])[-1]
        assert (out["reason"], out["status"]) == ("upstream_timeout", 502), out
    wait_for("all to be closed", lambda: lab.daemons[0].status()["active"] == 0)


def test_a_body_that_is_looked_into_stops(lab):
    """It is held before the request is judged: the time of a head is all that it has, and no secret was read."""
    d, told = lab.daemons[0], None
    reads = d.reads()
    told = ended(start(lab, "+/echo", host=HELD, port=443))
    assert late(when(told, "+/echo 400"), HEAD), told
    assert audit(d, kind="decision", host=HELD, verdict="deny", detail="body timeout")
    assert d.reads() == reads
