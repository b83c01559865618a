"""Makes requests as a program without any knowledge of us would. Each line of standard input is a JSON list of {method,
url, headers, body (latin-1)}; each line of standard output is [[status, body], ...]."""

import http.client
import json
import ssl
import sys
import urllib.parse


def one(ask):
    u = urllib.parse.urlsplit(ask["url"])
    kind = {"context": ssl.create_default_context()} if u.scheme == "https" else {}
    c = (http.client.HTTPSConnection if kind else http.client.HTTPConnection)(u.hostname, u.port, timeout=20, **kind)
    c.putrequest(ask.get("method", "GET"), (u.path or "/") + (f"?{u.query}" if u.query else ""))
    for name, value in ask.get("headers", []):
        c.putheader(name, value.encode("utf-8"))
    body = ask.get("body")
    data = body.encode("latin-1") if body is not None else b""
    if ask.get("chunked"):
        c.putheader("Transfer-Encoding", "chunked")
        c.endheaders()
        for at in range(0, len(data), 7):
            piece = data[at:at + 7]
            c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        c.send(b"0\r\n\r\n")
    elif body is not None:
        c.putheader("Content-Length", str(len(data)))
        c.endheaders(data)
    else:
        c.endheaders()
    r = c.getresponse()
    answer = [r.status, r.read().decode("latin-1")]
    c.close()
    return answer


for line in sys.stdin:
    print(json.dumps([one(ask) for ask in json.loads(line)]), flush=True)
