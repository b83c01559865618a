"""tests/corpus: 200 requests and 80 responses that are malformed or could be read in two ways. Each is refused, or forwarded in
one reading: nginx, Node and Python behind us count the same requests, curl, Node and Python in front of us the same answers."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from conftest import a_world
from lab import PEERS, TOP, run, wait_for

HOST = "files.lab-host.com"
PORTS = {"nginx": 9443, "node": 9444, "python": 9445, "say": 9446}


def cases(name):
    """(name, what comes of it, bytes as written) of a corpus file."""
    lines = (TOP / "tests" / "corpus" / name).read_text().splitlines()
    return [tuple(part.strip() for part in line.split("|", 2)) for line in lines if line and not line.startswith("#")]


def written(text, n=0, port=0):
    """The bytes that a case stands for."""
    text = text.replace("%P", "POST /@ HTTP/1.1\\r\\nHost: ^\\r\\n").replace("%G", "GET /@ HTTP/1.1\\r\\nHost: ^\\r\\n")
    text = re.sub(r"\{([^{}]*)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)
    text = text.replace("^PORT", str(port)).replace("^", f"{HOST}:{port}").replace("@", f"c{n}")
    escape = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
    text = re.sub(r"\\(?:x([0-9a-f]{2})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else escape[m[2]], text)
    return text.encode("latin-1")


def request(case, n, port):
    """Bytes to send, what must be forwarded of it, the answers, how it ends ("" for: well)."""
    _, comes, text = case
    if "%BODY" in text:
        length = str(len(written(text.split("\\r\\n\\r\\n", 1)[1], n, port)))
        comes, text = comes.replace("%BODY", length), text.replace("%BODY", length)
    data = written(text, n, port)
    items = comes.split()
    end = items.pop() if items[-1] in ("refused", "cut", "waits") else ""
    want = [[i.split(":")[0], f"/c{n}", int(i.split(":")[1])] for i in items if i != "denied"]
    answers = ["denied" if i == "denied" else 200 for i in items] + ([] if end else [200])
    if end != "waits":
        data += b"GET /c%d/end HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n" % (n, HOST.encode(), port)
    if not end:
        want.append(["GET", f"/c{n}/end", 0])
    return data, want, answers, end


def nginx(lab):
    """It reads all of a request's body before it lets the server behind it count."""
    p = lab.private
    (p / "count.conf").write_text(f"""
user root; worker_processes 1; pid {p}/count.pid; error_log {p}/count.err warn;
events {{ worker_connections 2048; }}
http {{
log_format count escape=json '["$request_method","$request_uri",$request_length]';
access_log off; client_body_temp_path {p}/tmp/b; proxy_temp_path {p}/tmp/p; fastcgi_temp_path {p}/tmp/f; uwsgi_temp_path {p}/tmp/u;
scgi_temp_path {p}/tmp/s; keepalive_timeout 60s; large_client_header_buffers 8 64k;
server {{ listen 0.0.0.0:{PORTS["nginx"]} ssl; ssl_certificate {p}/good.pem; ssl_certificate_key {p}/good.key;
  location / {{ proxy_pass http://unix:{p}/count.sock; proxy_set_header Expect ""; proxy_http_version 1.1; }} }}
server {{ listen unix:{p}/count.sock; access_log {p}/count-nginx count; location / {{ return 200 'ok\\n'; }} }}
}}
""")
    run(*lab.nsenter("net"), "nginx", "-e", f"{p}/count.err", "-p", str(p), "-c", f"{p}/count.conf", env=lab.env())


@pytest.fixture(scope="module")
def corpus():
    lab = a_world(proxy={"workers": 1})  # one pool of upstream connections, which every case uses
    p = lab.private
    table = [[f"/c{n}", "close" in text.split("HTTP", 1)[0], written(re.sub(r"^(HEAD|close) ?", "", text)).hex()]
             for n, (_, _, text) in enumerate(cases("responses"))]
    (p / "say.json").write_text(json.dumps(table))
    nginx(lab)
    for name, argv in (("node", ["node", str(PEERS / "count.js"), str(p / "count-node")]),
                       ("python", ["/usr/bin/python3", str(PEERS / "count.py"), str(p / "count-python")]),
                       ("say", ["/usr/bin/python3", str(PEERS / "say.py"), str(p / "say.json")])):
        server = lab.spawn("net", [*argv, str(PORTS[name]), f"{p}/good.pem", f"{p}/good.key"], stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
    for port in PORTS.values():
        lab.must("workspace", "allowlist", "add", "--workspace", "demo", f"{HOST}:{port}")
    yield lab
    lab.down()


def counted(lab, name):
    f = lab.private / f"count-{name}"
    return [json.loads(line) for line in f.read_text().splitlines()] if f.exists() else []


@pytest.mark.parametrize("way", ["nginx", "node", "python", "python byte by byte"])
def test_requests(corpus, way):
    """Each case, and another request behind it on the same connection, counted behind us."""
    name, port = way.split()[0], PORTS[way.split()[0]]
    table = [(n, c[0], *request(c, n, port)) for n, c in enumerate(cases("requests"))]
    assert len(table) >= 150
    if "byte" in way:
        table = [t for t in table if len(t[2]) < 2000]
    before = len(counted(corpus, name))
    p = corpus.agent("/usr/bin/python3", str(PEERS / "corpus.py"), "send", HOST, str(port), *(["1"] if "byte" in way else []),
                     input=json.dumps([[data.hex(), end == "waits"] for _, _, data, _, _, end in table]), timeout=240)
    assert p.returncode == 0, p.stderr[-2000:]
    last = sum(len(want) for _, _, _, want, _, _ in table)
    wait_for("the last counts", lambda: len(counted(corpus, name)) - before >= last, 5)
    seen, wrong = counted(corpus, name)[before:], []
    for (n, case, _, want, answers, end), (statuses, closed, tail) in zip(table, json.loads(p.stdout)):
        path = re.compile(rf"/c{n}(/end)?([?].*)?$")
        got = [[m, re.sub(r"[?].*", "", t), length] for m, t, length in seen if path.match(t)]
        if name == "nginx":  # it counts what it passed on; the length is another's
            got, want = [g[:2] for g in got], [w[:2] for w in want]
        said = [s for s in statuses if s != 100]
        answers = answers + ["denied"] if end in ("refused", "cut") else answers
        ok = got == want and closed == (end != "waits") and len(said) == len(answers) and all(
            s == a or (a == "denied" and 400 <= s < 500) for s, a in zip(said, answers))
        if not ok:
            wrong.append(f"{case}: wanted {want} {end}; {name} counted {got}; the agent got {statuses}, closed: {closed}: {tail[-160:]!r}")
    assert not wrong, "\n".join(wrong)


def h2_request(text, n, port):
    """Fields, body, trailers in hex."""
    usual = " ; :scheme=https ; :authority=^ ; :path=/@"
    text = re.sub(r"\{([^{}]*)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)
    parts = text.replace("%G", ":method=GET" + usual).replace("%P", ":method=POST" + usual).split(" ; ")
    head, trailers, body = [], [], None
    for part in parts:
        if part.startswith("<"):
            body = written(part[1:], n, port).hex()
        elif part == ">":
            head, trailers = trailers, head
        else:
            name, _, value = part.rpartition("=") if part.startswith("x-a: 1") else part.partition("=")
            head.append([written(name, n, port).hex(), written(value, n, port).hex()])
    return (trailers, body, head) if ">" in parts else (head, body, trailers)


@pytest.mark.parametrize("name", ["nginx", "node", "python"])
def test_requests_of_h2(corpus, name):
    """Streams of HTTP/2 become requests of HTTP/1.1, or nothing."""
    port, table, wrong = PORTS[name], [], []
    for n, (case, comes, text) in enumerate(cases("h2"), 500):
        if "%BODY" in comes:
            comes = comes.replace("%BODY", str(len(written(text.split(" ; <", 1)[1], n, port))))
        table.append((n, case, comes, [*h2_request(text, n, port), h2_request("%G", f"{n}/end", port)[0]]))
    before = len(counted(corpus, name))
    p = corpus.agent("/usr/bin/python3", str(PEERS / "corpus.py"), "h2", HOST, str(port), input=json.dumps([t[3] for t in table]), timeout=240)
    assert p.returncode == 0, p.stderr[-2000:]
    seen = counted(corpus, name)[before:]
    for (n, case, comes, _), (status, after) in zip(table, json.loads(p.stdout)):
        got = [[m, t, length] for m, t, length in seen if re.match(rf"/c{n}(/|$)", t)]
        ends = [g for g in got if g[1] == f"/c{n}/end"]
        got = [g for g in got if g not in ends]
        if comes == "refused":
            ok = got == [] and (status == "ended" or 400 <= status < 500)
        else:
            want = [comes.split(":")[0], f"/c{n}", int(comes.split(":")[1])]
            ok = status == 200 and len(got) == 1 and got[0][:2] == want[:2] and (name == "nginx" or got[0] == want)
        ok = ok and len(ends) == (after == 200) and after in (200, "ended") and (comes == "refused" or after == 200)
        if not ok:
            wrong.append(f"{case}: wanted {comes}; {name} counted {got}, then {ends}; the agent got {status}, then {after}")
    assert not wrong, "\n".join(wrong)


def by_curl(lab, table):
    """curl asks for all in one process; for each [status, length, ""], and the answer to the next question."""
    config = []
    for method, path in table:
        for m, url, out in ((method, path, "/dev/null"), ("GET", "/ok" + path, "-")):
            config.append("\n".join([f'url = "https://{HOST}:{PORTS["say"]}{url}"', f'output = "{out}"', "silent", "max-time = 30", "no-keepalive",
                                     *(["head"] if m == "HEAD" else []), r'write-out = "\n%{exitcode} %{http_code} %{size_download}\n"']))
    p = lab.agent("curl", "-K", "-", input="\nnext\n".join(config), timeout=240)
    lines = [line for line in p.stdout.splitlines() if line]
    out = []
    while lines:
        code, status, length = lines.pop(0).split()
        after = lines.pop(0)
        lines.pop(0)
        out.append([0, 0, f"curl {code}", after] if code != "0" else [int(status), 0 if table[len(out)][0] == "HEAD" else int(length), "", after])
    return out


@pytest.mark.parametrize("client", ["python", "node", "curl"])
def test_responses(corpus, client):
    """What the agent gets; and no byte of it is ever taken for the answer to another request."""
    all_ = cases("responses")
    table = [["HEAD" if text.startswith("HEAD") else "GET", f"/c{n}"] for n, (_, _, text) in enumerate(all_)]
    if client == "curl":
        got = by_curl(corpus, table)
    else:
        argv = {"python": ["/usr/bin/python3", str(PEERS / "corpus.py"), "ask"], "node": ["node", str(PEERS / "ask.js")]}[client]
        p = corpus.agent(*argv, HOST, str(PORTS["say"]), input=json.dumps(table), timeout=240)
        assert p.returncode == 0, p.stderr[-2000:]
        got = json.loads(p.stdout)
    assert len(got) == len(all_)
    wrong = []
    for (name, comes, _), (_, path), (status, length, body, after) in zip(all_, table, got):
        if comes == "refused":
            ok = status == 502 and (client == "curl" or '"error":"upstream_' in body)
        elif comes == "cut":
            ok = status == 0
        elif client == "python" and name == "early hints before it":
            ok = status == 103  # http.client knows no interim answer but 100
        else:
            ok = f"{status}:{length}" == comes and (client == "curl" or body == "hello"[:length])
        if not ok or after != f"/ok{path}":
            wrong.append(f"{name}: wanted {comes}; got {status}:{length} {body!r}, then {after!r}")
    assert not wrong, "\n".join(wrong)


def test_there_are_enough():
    assert len(cases("requests")) + len(cases("responses")) >= 250
    assert len({c[0] for c in cases("requests")}) == len(cases("requests"))
    assert Path(TOP / "tests" / "corpus" / "requests").read_text().isascii()
