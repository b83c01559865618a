"""HTTP/1.1 from end to end, byte for byte: what a client sends is what the upstream reads, and the other way round, but for what
an intermediary must change (RFC 9110, 7.6)."""

import json
import subprocess

import pytest

from helpers import raw
from lab import PEERS, wait_for

PORT = 9556
HOST = f"api.openai.com:{PORT}"
OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    "/204": ["HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"],
    "/304": ["HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 500\r\n\r\n"],
    "/head": ["HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: 1\r\n\r\n"],
    "/103": ["HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK],
    "/down": ["HTTP/1.1 200 Fine By Me\r\nServer: X/1\r\nset-cookie: a=1\r\nX-b: 2\r\nSet-Cookie: b=2\r\nX-B:  3 \r\nKeep-Alive: timeout=5\r\n"
              "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok"],
    "/trailers": ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n", 20, "4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\n"],
    "/close": ["HTTP/1.1 200 OK\r\n\r\nuntil the ", 20, "end"],
    "/early": ["HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop"],
    "/both": [{"body": 10}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", {"body": 10}, "6\r\nsecond\r\n0\r\n\r\n"],
    "/slow": [150, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"],
    "early": ["/early", "/both"], "close": ["/close", "/early", "/both"],
}


class Upstream:
    def __init__(self, lab):
        self.lab, self.file = lab, lab.private / "raw.jsonl"
        self.file.touch()
        p = lab.private
        self.proc = lab.spawn("net", ["/usr/bin/python3", str(PEERS / "raw_server.py"), "203.0.113.11", str(PORT), f"{p}/good.pem",
                                      f"{p}/good.key", str(self.file), json.dumps(ANSWERS)], stdout=subprocess.PIPE)
        assert self.proc.stdout.readline() == b"ready\n"

    def seen(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def say(self, request, count=1):
        """(the answer's text, what the upstream read)"""
        before = len(self.seen())
        answer = raw(self.lab, "api.openai.com", PORT, "api.openai.com", request)
        return answer, wait_for("the upstream's lines", lambda: (lambda s: s if len(s) >= count else None)(self.seen()[before:]))


@pytest.fixture(scope="module")
def up(world):
    u = Upstream(world)
    world.must("workspace", "allowlist", "add", "--workspace", "demo", HOST)
    yield u
    world.must("workspace", "allowlist", "remove", "--workspace", "demo", "api.openai.com")
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "api.openai.com")
    u.proc.kill()


def req(path, *fields, method="GET", body="", close=True):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *fields, *(["Connection: close"] if close else [])]) + "\r\n\r\n" + body


def test_request_order_case_duplicates_query(up):
    """Nothing that we do not have to change is changed."""
    fields = ["zZ-Top: 1", "Accept: */*", "aCCept:text/html", "X-Dup: b", "x-dup: a", "Cookie: b=2; a=1", "X-Empty:", "X-Latin: \xe9"]
    _, (seen,) = up.say(req("/p/%7e/a%2Fb?z=1&a=2&z=3&&q=%20+&e", *fields).encode("latin-1"))
    assert seen["head"] == ("GET /p/%7e/a%2Fb?z=1&a=2&z=3&&q=%20+&e HTTP/1.1\r\n" f"Host: {HOST}\r\n"
                            "zZ-Top: 1\r\nAccept: */*\r\naCCept: text/html\r\nX-Dup: b\r\nx-dup: a\r\nCookie: b=2; a=1\r\nX-Empty: \r\nX-Latin: \xe9\r\n\r\n")


def test_request_hop_by_hop(up):
    _, (seen,) = up.say(req("/x", "Connection: X-Mine, keep-alive", "X-Mine: 1", "Keep-Alive: 5", "TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
                            "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eDp5", "X-End: 1"))
    assert seen["head"] == f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nX-End: 1\r\n\r\n"


@pytest.mark.parametrize("option", ["Host", "Content-Length", "Authorization", "Transfer-Encoding", "Cookie"])
def test_connection_takes_nothing_away_that_counts(up, option):
    before = len(up.seen())
    answer = raw(up.lab, "api.openai.com", PORT, "api.openai.com", req("/x", f"Connection: {option}"))
    assert answer.startswith("HTTP/1.1 400 ") and len(up.seen()) == before


def test_response_order_case_duplicates_phrase_hop_by_hop(up):
    answer, _ = up.say(req("/down"))
    assert answer == ("HTTP/1.1 200 Fine By Me\r\nServer: X/1\r\nset-cookie: a=1\r\nX-b: 2\r\nSet-Cookie: b=2\r\nX-B: 3\r\nContent-Length: 2\r\n"
                      "Connection: close\r\n\r\nok")


def test_pipelining(up):
    requests = "".join(req(p, close=p == "/down") for p in ("/slow", "/204", "/103", "/down"))
    answer, seen = up.say(requests, count=4)
    assert [s["head"].split(" ")[1] for s in seen] == ["/slow", "/204", "/103", "/down"]
    order = [answer.index(t) for t in ("\r\n\r\nslow", "204 No Content", "103 Early Hints", "102 Processing", "200 Fine By Me")]
    assert order == sorted(order)


def test_204_and_304_have_no_body(up):
    answer, _ = up.say(req("/204"))
    assert answer.startswith("HTTP/1.1 204 No Content\r\nX-A: 1\r\n") and answer.endswith("\r\n\r\n")
    answer, _ = up.say(req("/304"))
    assert answer.startswith("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 500\r\n") and answer.endswith("\r\n\r\n")


def test_head(up):
    answer, _ = up.say(req("/head", method="HEAD"))
    assert answer == "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: 1\r\nConnection: close\r\n\r\n"


def test_interim_responses(up):
    answer, _ = up.say(req("/103"))
    assert answer.startswith("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_expect_continue(up):
    answer, (seen,) = up.say(req("/x", "Expect: 100-continue", "Content-Length: 4", method="PUT", body="body"))
    assert answer.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert "Expect: 100-continue\r\n" in seen["head"] and seen["rest"] == "body"
    answer = raw(up.lab, "api.openai.com", PORT, "api.openai.com", req("/x", "Expect: something", "Content-Length: 4", method="PUT", body="body"))
    assert answer.startswith("HTTP/1.1 400 ")


def test_chunked_request_with_trailers(up):
    body = "3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
    _, (seen,) = up.say(req("/x", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST", body=body))
    data, _, rest = seen["rest"].rpartition("0\r\n")
    assert rest == "X-Sum: 7\r\n\r\n"
    assert "".join(p for p in data.split("\r\n")[1::2]) == "abcdefg" and ";ext" not in data


def test_chunked_response_with_trailers(up):
    answer, _ = up.say(req("/trailers"))
    head, _, body = answer.partition("\r\n\r\n")
    assert "Transfer-Encoding: chunked" in head and "Trailer: X-Sum" in head
    data, _, rest = body.rpartition("0\r\n")
    assert rest == "X-Sum: 7\r\nx-sum: 8\r\n\r\n" and "".join(data.split("\r\n")[1::2]) == "abcdefg"


def test_body_until_the_connection_ends(up):
    answer, _ = up.say(req("/close"))
    assert answer.endswith("\r\n\r\nuntil the end") or answer.endswith("\r\n0\r\n\r\n") and "until the" in answer


def test_early_response(up):
    """The answer comes while most of the body has not been sent."""
    answer, _ = up.say(req("/early", "Content-Length: 1000000", method="POST", body="some"))
    assert answer.startswith("HTTP/1.1 413 Too Large\r\n") and answer.endswith("\r\n\r\nstop")


@pytest.mark.parametrize("client", ["HTTPSConnection", "HTTPConnection"])
def test_refused_upload_is_told_why(world, client):
    """A client that reads nothing before it has sent its megabytes: it is not reset before it has read our answer."""
    code = (f"import http.client\nc = http.client.{client}('attacker-domain.com')\nc.request('POST', '/upload', body=bytes(30_000_000))\n"
            "r = c.getresponse()\nprint(r.status, r.read().decode())")
    p = world.agent("/usr/bin/python3", "-c", code)
    assert p.stdout.startswith("403 ") and "is not in your workspace allowlist" in p.stdout, (p.stdout, p.stderr)


def test_response_begins_while_the_body_goes_up(up):
    code = ("import os, socket, ssl\n"
            f"s = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE']).wrap_socket(socket.create_connection(('api.openai.com', {PORT})), server_hostname='api.openai.com')\n"
            f"s.sendall({req('/both', 'Content-Length: 20', method='POST', body='0123456789')!r}.encode())\n"
            "got = b''\nwhile b'first' not in got:\n    got += s.recv(4096)\n"
            "s.sendall(b'0123456789')\n"
            "while True:\n    more = s.recv(4096)\n    if not more: break\n    got += more\nprint(got.decode())")
    p = up.lab.agent("/usr/bin/python3", "-c", code)
    assert "first" in p.stdout and "second" in p.stdout, p.stderr


def test_half_close(world):
    """Over plain HTTP a client may finish sending and still read."""
    world.cli("workspace", "allowlist", "add", "--workspace", "demo", "files.lab-host.com:80")  # another test may have
    code = ("import socket\ns = socket.create_connection(('files.lab-host.com', 80))\n"
            "s.sendall(b'GET / HTTP/1.1\\r\\nHost: files.lab-host.com\\r\\n\\r\\n')\ns.shutdown(socket.SHUT_WR)\n"
            "got = b''\nwhile True:\n    more = s.recv(4096)\n    if not more: break\n    got += more\nprint(got.decode())")
    p = world.agent("/usr/bin/python3", "-c", code)
    assert p.stdout.startswith("HTTP/1.1 200 ") and "plain" in p.stdout, (p.stdout, p.stderr)
