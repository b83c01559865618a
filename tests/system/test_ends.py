"""What is open when its guard ends or its rule goes: streams of HTTP/2, events, WebSockets, a body on its way up. Both sides
hear of it, the log says why, nothing is left; and what has nothing to do with it goes on."""

import os
import signal
import subprocess

import pytest

from conftest import a_world, show
from helpers import audit, curl
from lab import PEERS, wait_for
from test_attach import Group, must_attach

PORT, HOST, OTHER = 9561, "api.stripe.com", "files.lab-host.com"
KINDS = ("/h1", "/h2-a", "/h2-b", "/up", "/ws", "/silent")
WS = f"""
import asyncio, sys, websockets
async def main():
    try:
        async with websockets.connect('wss://{HOST}:{PORT}/ws') as s:
            async for m in s: print('ws', m, flush=True)
        print('ws closed', s.close_code, flush=True)
    except websockets.ConnectionClosed as e: print('ws lost', e.code, flush=True)
    except Exception as e: print('ws', type(e).__name__, flush=True)
asyncio.run(main())
"""


def client(ca=""):
    """A shell that runs one client for each kind, and one of another host, and says how each ended. h2-a and h2-b share a connection."""
    url, other = f"https://{HOST}:{PORT}", f"https://{OTHER}:{PORT}"
    curl_ = f"curl -sSN {ca}"
    return (f"({curl_} --http1.1 {url}/h1 >/dev/null; echo h1 $?) & "
            f"({curl_} --http2 -Z --parallel-max 4 {url}/h2-a {url}/h2-b {url}/silent -o /dev/null -o /dev/null -o /dev/null; echo h2 $?) & "
            f"(while echo x; do sleep 0.05; done | {curl_} --http2 -T - -o /dev/null {url}/up; echo up $?) & "
            f"(/usr/bin/python3 -c \"$WS\" | tail -1) & "
            f"({curl_} --http2 {other}/other >/dev/null; echo other $?) & wait; echo all")


@pytest.fixture(scope="module")
def lab():
    made = a_world(proxy={"workers": 1})
    made.log = made.private / "endless.log"
    for address in ("203.0.113.10", "203.0.113.13"):
        p = made.spawn("net", ["/usr/bin/python3", str(PEERS / "endless.py"), address, str(PORT), f"{made.private}/good.pem",
                               f"{made.private}/good.key", str(made.log)], stdout=subprocess.PIPE)
        assert p.stdout.readline() == b"ready\n"
    made.must("workspace", "allowlist", "add", f"{HOST}:{PORT}", f"{OTHER}:{PORT}")
    yield made
    show(made)
    made.down()


def fds(lab):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for role, pid in lab.daemons[0].processes() if role.startswith("proxy"))


def said(lab, word, paths):
    lines = lab.log.read_text().splitlines()
    return all(any(f" {p} {word}" in x for x in lines) for p in paths)


def all_open(lab, kinds=(*KINDS, "/other")):
    wait_for("all to be open", lambda: said(lab, "open", kinds), 30)


@pytest.fixture(autouse=True)
def nothing_left(lab):
    """No connection and no descriptor, on any side, a moment after the test."""
    lab.log.write_text("")
    curl(lab, f"https://{OTHER}/hello")
    d, before = lab.daemons[0], fds(lab)
    lab.had = len(d.audit_lines())
    yield
    wait_for(f"the proxy's connections to end: {d.status()}", lambda: d.status()["active"] == 0)
    wait_for("the upstream's side to end", lambda: lab.log.read_text().count(" open") == lab.log.read_text().count(" gone"))
    wait_for(f"the proxy's descriptors: {before} before, {fds(lab)} now", lambda: fds(lab) <= before)
    decisions = [(x["w"], x["id"]) for x in d.audit_lines()[lab.had:] if x["kind"] == "decision" and x.get("port") == PORT]
    outcomes = [(x["w"], x["id"]) for x in d.audit_lines()[lab.had:] if x["kind"] == "outcome"]
    assert len(set(decisions)) == len(decisions) and set(decisions) <= set(outcomes)


def outcomes(lab, host=HOST):
    lines = lab.daemons[0].audit_lines()[lab.had:]
    mine = {(x["w"], x["id"]): x for x in lines if x["kind"] == "decision" and x["host"] == host}
    return {mine[x["w"], x["id"]]["path"]: (x["reason"], x.get("detail")) for x in lines if x["kind"] == "outcome" and (x["w"], x["id"]) in mine}


def end(p):
    """`run` and all that it started: a session of its own."""
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate(timeout=20)


def test_a_rule_goes(lab):
    """Its streams, its events and its WebSocket end, with a reset, a cut and a Close; those of another rule go on."""
    p = lab.agent_start("sh", "-c", client(), env={"WS": WS}, start_new_session=True)
    try:
        all_open(lab)
        lab.must("workspace", "allowlist", "add", "later.lab-host.com")  # nothing of theirs
        ended = lab.log.read_text().count(" gone")
        assert ended == 0
        lab.must("workspace", "allowlist", "remove", HOST)
        wait_for("the upstream to hear of it", lambda: said(lab, "gone", KINDS))
        got = sorted(p.stdout.readline().decode().strip() for _ in range(4))
        assert not said(lab, "gone", ["/other"])
        # 92: an HTTP/2 stream was reset; 18 and 56: a body that is no whole one.
        assert got[0] in ("h1 18", "h1 56") and got[1] in ("h2 92", "h2 56") and got[2] in ("up 92", "up 56") and got[3] == "ws lost 1008", got
        assert outcomes(lab) == {k: ("domain_not_in_allowlist", "no rule opens it any more") for k in KINDS}
    finally:
        end(p)
        lab.must("workspace", "allowlist", "add", HOST, f"{HOST}:{PORT}")


def test_a_run_ends(lab):
    """All of it is killed: nobody is there to be told; the upstreams hear of it at once."""
    p = lab.agent_start("sh", "-c", client(), env={"WS": WS}, start_new_session=True)
    all_open(lab)
    end(p)
    wait_for("the upstream to hear of it", lambda: said(lab, "gone", (*KINDS, "/other")), 20)
    wait_for("outcomes", lambda: set(outcomes(lab)) == set(KINDS) and "/other" in outcomes(lab, OTHER))
    assert {why for why, _ in outcomes(lab).values()} <= {"client_closed", "guard_closed"}, outcomes(lab)


def test_a_guard_is_detached(lab):
    """The processes live on, without us: what they had through us is reset."""
    where = Group(lab, "ends")
    ca = f"--cacert {lab.daemons[0].state}/ca.pem"
    p = subprocess.Popen(lab.nsenter("pod") + ["sh", "-c", "read go; " + client(ca)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, preexec_fn=where.enter,
                         env=lab.env(WS=WS, SSL_CERT_FILE=f"{lab.daemons[0].state}/ca.pem"))
    try:
        told = must_attach(lab, p.pid)
        p.stdin.write("go\n")
        p.stdin.flush()
        all_open(lab)
        lab.must("cgroup", "detach", str(told["guard"]))
        wait_for("the upstream to hear of it", lambda: said(lab, "gone", (*KINDS, "/other")), 20)
        got = [p.stdout.readline().strip() for _ in range(5)]
        assert sorted(x.split()[0] for x in got) == ["h1", "h2", "other", "up", "ws"], got
        assert all(x in ("ws lost 1006", "ws ConnectionResetError") or x.split()[1] in ("18", "55", "56", "92") for x in got), got
        assert p.stdout.readline() == "all\n"
        assert {why for why, _ in outcomes(lab).values()} == {"guard_closed"}, outcomes(lab)
        assert audit(lab.daemons[0], kind="outcome", reason="guard_closed")
    finally:
        where.remove()
        p.communicate(timeout=10)
