"""Must show 2: a secret never comes back. An upstream that knows the key answers with it in every form and compression."""

import hashlib
import json
import re
import os
import shutil
import signal
import subprocess
import textwrap

import pytest

from conftest import a_world
from helpers import AUTH, audit, curl, holds_key
from lab import wait_for

# Takes the place of api.stripe.com's nginx on a port of its own. What it answers with is named by the path:
# /form/coding/framing.
SERVER = textwrap.dedent("""
    import base64, http.server, json, ssl, subprocess, sys, time, urllib.parse, zlib, gzip, threading

    def forms(key):
        b = key.encode()
        yield "raw", key
        yield "percent", "".join("%%%02x" % c for c in b)
        yield "json", "".join("\\\\u%04X" % c for c in b)
        yield "html", "".join("&#%d;" % c for c in b)
        yield "hex", b.hex()
        yield "HEX", b.hex().upper()
        for shift in range(3):
            yield "base64-%d" % shift, base64.b64encode(b"x" * shift + b + b"yy").decode()
            yield "base64url-%d" % shift, base64.urlsafe_b64encode(b"x" * shift + b + b"yy").decode()
        yield "lines", base64.encodebytes(b"context " * 5 + b + b" context").decode()
        yield "reflected", json.dumps({"headers": {"Authorization": "Bearer " + key}})

    def pack(body, coding):
        if coding == "gzip":
            return gzip.compress(body)
        if coding == "deflate":
            return zlib.compress(body)
        if coding == "raw-deflate":
            return zlib.compress(body)[2:-4]
        if coding == "zstd":
            return subprocess.run(["zstd", "-qc"], input=body, stdout=subprocess.PIPE, check=True).stdout
        return body

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        ever = set()

        def log_message(self, *args):
            pass

        def do_GET(self):
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if key:
                type(self).key = key
                type(self).ever.add(key)
            key = getattr(type(self), "key", "")
            what, coding, framing = self.path.strip("/").split("/")
            if what == "sse":
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for i in range(5):
                    self.wfile.write(b"data: %d %.6f\\n\\n" % (i, time.time()))
                    self.wfile.flush()
                    time.sleep(0.2)
                self.close_connection = True
                return
            if what == "ever":
                body = "\\n".join(sorted(type(self).ever)).encode()
            elif what == "clean":
                body = b"%PDF \\x00\\xff nothing to see \\\\u00 &# %2" * 5000
            elif what == "all":
                body = "".join("%s=%s;\\n" % f for f in forms(key)).encode() * 3
            else:
                body = (("a" * 3000 + dict(forms(key))[what] + "b" * 3000) * 2).encode()
            body = pack(body, coding)
            self.send_response(200)
            self.send_header("X-Key", key)
            self.send_header("Set-Cookie", "key=" + urllib.parse.quote(key))
            self.send_header("Location", "https://api.stripe.com/?k=" + base64.b64encode(key.encode()).decode())
            self.send_header("ETag", '"tag"')
            if coding != "identity":
                self.send_header("Content-Encoding", coding.removeprefix("raw-"))
            if framing == "length":
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            elif framing == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for i in range(0, len(body), 37):
                    piece = body[i:i + 37]
                    self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(piece), piece))
                self.wfile.write(b"0\\r\\nX-Trailer: %s\\r\\n\\r\\n" % key.encode())
            else:
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self):
            s, a = super().get_request()
            return tls.wrap_socket(s, server_side=True, do_handshake_on_connect=False), a

        def shutdown_request(self, s):  # with a close_notify: without one the end of a body is a cut
            try:
                s.settimeout(2)
                s.unwrap()
            except OSError:
                pass
            super().shutdown_request(s)

        def handle_error(self, *args):
            pass

    server = Server(("0.0.0.0", 9443), Handler)
    print("ready", flush=True)
    server.serve_forever()
""")
URL = "https://api.stripe.com:9443"
FORMS = ["raw", "percent", "json", "html", "hex", "HEX", "lines", "reflected", *(f"{b}-{i}" for b in ("base64", "base64url") for i in range(3))]
CODINGS = ["identity", "gzip", "deflate", "raw-deflate"] + (["zstd"] if shutil.which("zstd") else [])
FRAMINGS = ["length", "chunked", "close"]


def serve(lab):
    p = lab.private
    server = lab.spawn("net", ["/usr/bin/python3", "-c", SERVER, f"{p}/good.pem", f"{p}/good.key"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    lab.must("workspace", "allowlist", "add", "--workspace", "demo", "api.stripe.com:9443")


@pytest.fixture(scope="module")
def echo():
    made = a_world()
    serve(made)
    yield made
    made.down()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("coding", CODINGS)
def test_no_form_comes_back(echo, coding, framing):
    urls = [f"{URL}/{form}/{coding}/{framing}" for form in [*FORMS, "all"]]
    p = echo.agent("curl", "-sS", "-i", "-m", "60", *AUTH, *urls)
    assert p.returncode == 0 and len(re.findall(r"HTTP/[12.]+ 200", p.stdout)) == len(urls), p.stderr
    assert holds_key(echo, p.stdout) == [], p.stdout[:3000]
    assert p.stdout.count("*" * 20) >= 4 * len(urls)
    assert "content-encoding" not in p.stdout.lower()
    # Without the reference too: the host knows it, and says it again.
    p = echo.agent("curl", "-sS", "-i", "-m", "60", *urls)
    assert p.returncode == 0 and len(re.findall(r"HTTP/[12.]+ 200", p.stdout)) == len(urls), p.stderr
    assert holds_key(echo, p.stdout) == []


def test_clean_body_is_untouched(echo):
    want = hashlib.sha256(b"%PDF \x00\xff nothing to see \\u00 &# %2" * 5000).hexdigest()
    urls = [f"{URL}/clean/{coding}/{framing}" for coding in CODINGS for framing in FRAMINGS]
    p = echo.agent("sh", "-c", 'for u; do curl -sS -m 20 -H "$0" "$u" | sha256sum; done', AUTH[1], *urls)
    assert p.stdout.split()[::2] == [want] * len(urls), (p.stdout, p.stderr)


def test_unknown_coding_is_refused(echo):
    status, body, p = curl(echo, f"{URL}/raw/compress/length", *AUTH)
    assert status == 502 and json.loads(body)["error"] == "upstream_bad_response", (status, body, p.stderr)


def test_finds_are_in_the_log(echo):
    d = echo.daemons[0]
    curl(echo, f"{URL}/raw/identity/length", *AUTH)
    assert any(line.get("redacted", 0) >= 5 for line in audit(d, kind="outcome", host="api.stripe.com"))


def test_events_are_not_held_back(echo):
    code = ("import subprocess, sys, time\n"
            "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
            "for line in p.stdout:\n"
            "    if line.startswith(b'data: '):\n"
            "        print(time.time() - float(line.split()[2]), flush=True)\n")
    p = echo.agent("/usr/bin/python3", "-c", code, "curl", "-sSN", "-m", "20", *AUTH, f"{URL}/sse/identity/close")
    late = [float(x) for x in p.stdout.split()]
    assert len(late) == 5 and max(late) < 0.15, (late, p.stderr)


OLD = "sk_live_before_the_rotation_77"


def said(lab, *args):
    """What the host says of every key that it was ever sent, in one answer."""
    p = lab.agent("curl", "-sS", "-i", "-m", "30", *args, f"{URL}/ever/identity/length", f"{URL}/ever/gzip/chunked")
    assert p.returncode == 0 and len(re.findall(r"HTTP/[12.]+ 200", p.stdout)) == 2, p.stderr
    return p.stdout


def test_a_value_that_was_replaced_or_unbound(fresh):
    """The host still knows it. Also for new workers, and also when nothing is bound to the host any more."""
    lab, d, now = fresh, fresh.daemons[0], fresh.keys["STRIPE_KEY"]
    serve(lab)
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", input=OLD)
    assert OLD not in said(lab, *AUTH)
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", input=now)
    for args in (AUTH, ()):
        text = said(lab, *args)
        assert OLD not in text and now not in text and text.count("*" * len(OLD)) >= 2, text
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.openai.com", input=now)
    wait_for("both workers to know", lambda: now not in said(lab), 5)
    text = said(lab)
    assert OLD not in text and now not in text, text
    for role, pid in d.processes():
        if role.startswith("proxy"):
            os.kill(pid, signal.SIGKILL)
    wait_for("new workers", lambda: "*" * len(now) in lab.agent("curl", "-sS", "-m", "5", f"{URL}/ever/identity/length").stdout, 20)
    text = said(lab)
    assert OLD not in text and now not in text, text
    lab.must("secrets", "delete", "STRIPE_KEY")
    text = said(lab)
    assert OLD not in text and now not in text, text


def test_many_at_once_after_many_rotations(fresh):
    """Every one of a hundred requests holds every value that the host ever had: they have room, and none comes back."""
    lab, old = fresh, [f"sk_live_rotated_{i:02}_{'x' * 300}" for i in range(30)]
    serve(lab)
    for value in old:
        lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", input=value)
        assert value not in lab.agent("curl", "-sS", "-m", "20", *AUTH, f"{URL}/ever/identity/length").stdout
    p = lab.agent("curl", "-sS", "-m", "50", "--parallel", "--parallel-immediate", "--parallel-max", "100", "-w", "=%{http_code}=",
                  *AUTH, f"{URL}/ever/identity/length?[1-100]")
    assert p.stdout.count("=200=") == 100, (p.stdout[-2000:], p.stderr)
    assert not any(value in p.stdout for value in old)


def test_another_workspace_gets_no_former_value(fresh):
    """What was replaced in one workspace masks nothing in another: the keeper gives it to that one's guards alone."""
    lab = fresh
    serve(lab)
    lab.must("workspace", "allowlist", "add", "--workspace", "ordinary", "api.stripe.com:9443")
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", input=OLD)
    said(lab, *AUTH)
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", input="sk_live_after_the_rotation_88")
    p = lab.agent("curl", "-sS", "-m", "30", f"{URL}/ever/identity/length", workspace="ordinary")
    assert OLD in p.stdout, (p.stdout, p.stderr)
