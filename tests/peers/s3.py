"""An object store that checks AWS signatures itself: PUT, GET, HEAD and DELETE of objects, listing of a bucket.

    s3.py PORT CERT KEY ACCESS_KEY_ID SECRET_ACCESS_KEY [SESSION_TOKEN]

Header and presigned signatures, chunks signed one by one with and without trailers, unsigned payloads, for any
service and region. What is wrong with a request stands in its 403. GET /_log: what came, as JSON, without a signature.
Any other service: a POST answers {"service": ..., "sha256": ...}. /_hmac: 200 if the request is signed by an HMAC with the
secret key: `X-Signature: t=SECONDS,v1=HEX` over "SECONDS.METHOD.TARGET.BODY", or in base64 as the last query parameter,
`sig`, over "METHOD TARGET-WITHOUT-IT SHA256-OF-BODY".
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.parse

import https_server

PORT, CERT, KEY, ID, SECRET = int(sys.argv[1]), *sys.argv[2:6]
TOKEN = sys.argv[6] if len(sys.argv) > 6 else None
EMPTY = hashlib.sha256(b"").hexdigest()
objects, log = {}, []


class Refused(Exception):
    pass


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(date, region, service):
    return mac(mac(mac(mac(b"AWS4" + SECRET.encode(), date), region), service), "aws4_request")


def quote(s, safe="-_.~"):
    return urllib.parse.quote(s, safe=safe)


def canonical_path(path, service):
    if service == "s3":
        return quote(urllib.parse.unquote(path), "/-_.~")
    parts = []
    for p in path.split("/"):
        if p == "..":
            parts[-1:] = []
        elif p not in ("", "."):
            parts.append(quote(p))
    return "/" + "/".join(parts) + ("/" if path.endswith("/") and parts else "")


def canonical_query(query):
    pairs = [p.partition("=") for p in query.split("&") if p]
    pairs = [(quote(urllib.parse.unquote(k)), quote(urllib.parse.unquote(v))) for k, _, v in pairs]
    return "&".join(f"{k}={v}" for k, v in sorted(pairs) if k != "X-Amz-Signature")


class Handler(https_server.Handler):
    def verify(self):
        """The scope, time and signature of a request whose signature is right."""
        path, _, query = self.path.partition("?")
        params = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if "X-Amz-Signature" in params:
            credential, names, given = params["X-Amz-Credential"], params["X-Amz-SignedHeaders"], params["X-Amz-Signature"]
            time, token = params["X-Amz-Date"], params.get("X-Amz-Security-Token")
            payload = "UNSIGNED-PAYLOAD"
        else:
            auth = self.headers.get("Authorization", "")
            if not auth.startswith("AWS4-HMAC-SHA256 "):
                raise Refused("no signature")
            fields = dict(f.strip().split("=", 1) for f in auth.split(" ", 1)[1].split(","))
            credential, names, given = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
            time, token = self.headers["X-Amz-Date"], self.headers.get("X-Amz-Security-Token")
            payload = self.headers.get("X-Amz-Content-Sha256")
        who, date, region, service, _ = credential.split("/")
        if payload is None:
            payload = hashlib.sha256(self.sent).hexdigest()
        if who != ID:
            raise Refused(f"unknown access key id {who}")
        if token != TOKEN:
            raise Refused("session token")
        if "host" not in names.split(";") or (TOKEN and "X-Amz-Signature" not in params
                                              and "x-amz-security-token" not in names.split(";")):
            raise Refused("a header that must be signed is not")
        headers = "".join(f"{n}:{','.join(' '.join(v.split()) for v in self.headers.get_all(n) or [])}\n"
                          for n in names.split(";"))
        request = "\n".join([self.command, canonical_path(path, service), canonical_query(query), headers, names, payload])
        scope = f"{date}/{region}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = signing_key(date, region, service)
        if not hmac.compare_digest(mac(key, text).hex(), given):
            raise Refused(f"signature; canonical request: {request!r}")
        if len(payload) == 64 and payload != hashlib.sha256(self.sent).hexdigest():
            raise Refused("hash of the body")
        return key, time, scope, given, service, payload

    def chunks(self, key, time, scope, before, payload):
        """The payload of an aws-chunked body, each signature checked."""
        signed, trailer = "HMAC" in payload, payload.endswith("TRAILER")
        data, at, out = self.sent, 0, b""
        while True:
            end = data.index(b"\r\n", at)
            size, _, signature = data[at:end].decode().partition(";chunk-signature=")
            size, at = int(size, 16), end + 2
            piece, at = data[at:at + size], at + size
            if signed:
                text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", time, scope, before, EMPTY, hashlib.sha256(piece).hexdigest()])
                if mac(key, text).hex() != signature:
                    raise Refused(f"signature of a chunk of {size} bytes")
                before = signature
            out += piece
            if size == 0:
                break
            at += 2
        if trailer:
            lines = [line.decode() for line in data[at:].split(b"\r\n") if line]
            if signed:
                text = "".join(f"{k.strip().lower()}:{v.strip()}\n" for k, v in (line.split(":", 1) for line in lines[:-1]))
                text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", time, scope, before, hashlib.sha256(text.encode()).hexdigest()])
                if lines[-1] != f"x-amz-trailer-signature:{mac(key, text).hex()}":
                    raise Refused("signature of the trailer")
        if len(out) != int(self.headers["X-Amz-Decoded-Content-Length"]):
            raise Refused("decoded length")
        return out

    def hmac_ok(self):
        target, _, sig = self.path.partition("&sig=")
        if sig:
            text = f"{self.command} {target} {hashlib.sha256(self.sent).hexdigest()}"
            return urllib.parse.unquote(sig) == base64.b64encode(mac(SECRET.encode(), text)).decode()
        given = dict(f.split("=", 1) for f in self.headers.get("X-Signature", "t=0,v1=").split(","))
        text = f"{given['t']}.{self.command}.{self.path}.{self.sent.decode()}"
        return abs(int(given["t"]) - time.time()) < 60 and given["v1"] == mac(SECRET.encode(), text).hex()

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self):
        self.sent = self.body()
        if self.path == "/_log":
            return self.say(200, json.dumps(log).encode())
        if self.path.startswith("/_hmac"):
            return self.say(200 if self.hmac_ok() else 403, b"{}")
        log.append({"method": self.command, "path": self.path, "payload": self.headers.get("X-Amz-Content-Sha256"),
                    "authorization": self.headers.get("Authorization"), "ok": False})
        try:
            key, time, scope, signature, service, payload = self.verify()
            data = self.chunks(key, time, scope, signature, payload) if payload.startswith("STREAMING-") else self.sent
        except (Refused, ValueError, KeyError, IndexError) as e:
            text = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{type(e).__name__}: {e}</Message></Error>"
            return self.say(403, text.encode(), Content_Type="application/xml")
        log[-1]["ok"] = True
        if service != "s3":
            return self.say(200, json.dumps({"service": service, "sha256": hashlib.sha256(data).hexdigest()}).encode())
        name = urllib.parse.unquote(self.path.partition("?")[0])
        if self.command == "PUT":
            objects[name] = data
            return self.say(200, ETag=f'"{hashlib.md5(data).hexdigest()}"')
        if self.command == "GET" and "list-type=2" in self.path:
            keys = sorted(k.split("/", 2)[2] for k in objects if k.startswith(name.rstrip("/") + "/"))
            body = "".join(f"<Contents><Key>{k}</Key></Contents>" for k in keys)
            text = f'<?xml version="1.0"?><ListBucketResult><KeyCount>{len(keys)}</KeyCount>{body}</ListBucketResult>'
            return self.say(200, text.encode(), Content_Type="application/xml")
        if self.command == "DELETE":
            objects.pop(name, None)
            return self.say(204)
        if name not in objects:
            return self.say(404, b"<Error><Code>NoSuchKey</Code></Error>", Content_Type="application/xml")
        return self.say(200, objects[name], Content_Type="application/octet-stream")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer


https_server.serve("0.0.0.0", PORT, CERT, KEY, Handler)
