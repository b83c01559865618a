"""Makes requests as a program without any knowledge of us would: a JSON list of {method, url, headers, body (latin-1)} on
standard input; [[status, body], ...] on standard output."""

import http.client
import json
import ssl
import sys
import urllib.parse

answers = []
for ask in json.load(sys.stdin):
    u = urllib.parse.urlsplit(ask["url"])
    kind = {"context": ssl.create_default_context()} if u.scheme == "https" else {}
    c = (http.client.HTTPSConnection if kind else http.client.HTTPConnection)(u.hostname, u.port, timeout=20, **kind)
    c.putrequest(ask.get("method", "GET"), (u.path or "/") + (f"?{u.query}" if u.query else ""))
    body = ask.get("body")
    for name, value in ask.get("headers", []):
        c.putheader(name, value.encode("utf-8"))
    if body is not None and ask.get("chunked"):
        c.putheader("Transfer-Encoding", "chunked")
        c.endheaders()
        data = body.encode("latin-1")
        for at in range(0, len(data), 7):
            piece = data[at:at + 7]
            c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        c.send(b"0\r\n\r\n")
    elif body is not None:
        c.putheader("Content-Length", str(len(body)))
        c.endheaders(body.encode("latin-1"))
    else:
        c.endheaders()
    r = c.getresponse()
    answers.append([r.status, r.read().decode("latin-1")])
    c.close()
json.dump(answers, sys.stdout)
