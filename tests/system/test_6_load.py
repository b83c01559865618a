"""Must show 6: many requests and long bodies; byte-exact, with flat memory and no descriptor left over."""

import hashlib
import os

import pytest

from helpers import works
from lab import SANITIZED, wait_for

MIB = 1 << 20
GROWTH = 20 * MIB

MANY = """
import concurrent.futures, http.client, os, sys
total, at_once, per_connection = (int(a) for a in sys.argv[1:])
def client(count):
    done, c = 0, None
    for i in range(count):
        if i % per_connection == 0:
            c and c.close()
            c = http.client.HTTPSConnection("api.stripe.com", timeout=60)
        c.request("GET", "/v1/invoices", headers={"Authorization": "Bearer " + os.environ["STRIPE_KEY"]})
        r = c.getresponse()
        done += r.status == 200 and r.read().startswith(b'{"object":"list"')
    c.close()
    return done
with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    print(sum(pool.map(client, [total // at_once] * at_once)))
"""


def rss(d):
    """Bytes that each process of the daemon holds of its own."""
    sizes = {}
    for role, pid in d.processes():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            sizes[f"{role}/{pid}"] = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))
    return sizes


def fds(d):
    return {f"{role}/{pid}": len(os.listdir(f"/proc/{pid}/fd")) for role, pid in d.processes()}


def many(lab, total, at_once, per_connection):
    p = lab.agent("/usr/bin/python3", "-c", MANY, str(total), str(at_once), str(per_connection), timeout=300)
    assert p.stdout.strip() == str(total), (p.stdout, p.stderr[-1500:])


@pytest.fixture
def measured(fresh):
    """Descriptors are counted before the first request, memory after a warm-up, and both again after the test, once
    guards and pooled connections are gone."""
    lab, d = fresh, fresh.daemons[0]
    fds_before = fds(d)
    many(lab, 64, 16, 4)
    works(lab)
    rss_before = rss(d)
    yield lab
    wait_for("the test's guards to go", lambda: not d.ask(op="cgroup.list")["guards"], 10)
    try:
        wait_for("descriptors to be closed", lambda: all(n <= fds_before.get(k, 0) for k, n in fds(d).items()), 90)
    finally:
        print("descriptors before", fds_before, "after", fds(d))
    rss_after = rss(d)
    print("RSS MiB before", {k: round(v / MIB, 1) for k, v in rss_before.items()}, "after",
          {k: round(v / MIB, 1) for k, v in rss_after.items()})
    assert SANITIZED or sum(rss_after.values()) - sum(rss_before.values()) < GROWTH, (rss_before, rss_after)


def test_sequential(measured):
    many(measured, 1000, 1, 50)
    assert len(measured.wait_requests(1065, status=200, host="api.stripe.com")) == 1065


def test_a_connection_each(measured):
    many(measured, 200, 1, 1)


def test_concurrent(measured):
    many(measured, 64, 64, 1)
    many(measured, 640, 64, 5)


@pytest.mark.parametrize("way", ["down", "chunked"])
def test_download(measured, way):
    want = measured.make_download("big", 100 * MIB)
    p = measured.agent("sh", "-c", f"curl -sS -m 120 https://files.lab-host.com/{way}/big | sha256sum", timeout=150)
    assert p.stdout.split()[0] == want, p.stderr


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_upload(measured, way):
    big = measured.home / "big"
    digest = hashlib.sha256()
    with open(big, "wb") as f:
        for _ in range(100):
            block = os.urandom(MIB)
            digest.update(block)
            f.write(block)
    send = f"-T {big}" if way == "length" else f"-T - < {big}"
    p = measured.agent("sh", "-c", f"curl -sS -m 120 -o /dev/null -w '%{{http_code}}' https://files.lab-host.com/up/big {send}", timeout=150)
    assert p.stdout == "201", (p.stdout, p.stderr)
    with open(measured.private / "up" / "big", "rb") as f:
        assert hashlib.file_digest(f, "sha256").hexdigest() == digest.hexdigest()


def test_both_ways_at_once(measured):
    want = measured.make_download("mid", 20 * MIB)
    shell = "for i in 1 2 3 4; do (curl -sS -m 120 https://files.lab-host.com/down/mid | sha256sum) & done; wait"
    p = measured.agent("sh", "-c", shell, timeout=150)
    assert [line.split()[0] for line in p.stdout.splitlines()] == [want] * 4, p.stderr


def test_client_that_goes_away(measured):
    """Downloads cut in the middle leave nothing open."""
    measured.make_download("cut", 20 * MIB)
    p = measured.agent("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do curl -sS -m 60 https://files.lab-host.com/down/cut | head -c 100000 | wc -c; done",
                       timeout=150)
    assert p.stdout.split() == ["100000"] * 8, p.stderr
