"""An authorization server and an API in one, for the tests of minted tokens: OAuth2 (RFC 6749, 7523) and a GitHub App.

    tokens.py PORT CERT KEY PUBLIC_PEM

POST /token (client credentials, refresh token with rotation, JWT bearer), POST /app/installations/42/access_tokens,
GET /api: 200 with a live token, 401 else. POST /_set: a JSON object changes how it behaves (life, fail, delay, body,
status, revoke; ahead: seconds that its clock is ahead; date: whether it tells its time). GET /_log: what happened.
"""

import base64
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import https_server

PORT, CERT, KEY, PUBLIC = int(sys.argv[1]), *sys.argv[2:5]
lock = threading.Lock()
state = {"life": 3600, "delay": 0, "status": 0, "body": None, "refresh": "refresh-0", "rotate": False, "ahead": 0,
         "date": True}
live, log = {}, {"token": [], "api": [], "refresh": []}


def now():
    return time.time() + state["ahead"]


def unbase64(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def verified(jwt):
    """The claims of a JWT whose RS256 signature is right, by openssl."""
    head, claims, signature = jwt.split(".")
    assert json.loads(unbase64(head))["alg"] == "RS256"
    with tempfile.NamedTemporaryFile() as f:
        f.write(unbase64(signature))
        f.flush()
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", PUBLIC, "-signature", f.name], check=True,
                       input=f"{head}.{claims}".encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    claims = json.loads(unbase64(claims))
    assert claims["iat"] <= now() < claims["exp"] <= now() + 600, "times"
    return claims


class Handler(https_server.Handler):
    def date_time_string(self, timestamp=None):
        return super().date_time_string(now())

    def send_header(self, name, value):
        if name != "Date" or state["date"]:
            super().send_header(name, value)

    def say(self, status, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def grant(self, fields):
        kind = fields.get("grant_type")
        client = base64.b64decode(self.headers.get("Authorization", "Basic Og==")[6:]).decode().partition(":")
        client = [urllib.parse.unquote(client[0]), urllib.parse.unquote(client[2])]
        if client == ["", ""]:
            client = [fields.get("client_id"), fields.get("client_secret")]
        if kind == "client_credentials":
            assert client == ["the client", "s3cr+t/&="], client
        elif kind == "refresh_token":
            assert client == ["the client", "s3cr+t/&="], client
            log["refresh"].append(fields["refresh_token"])
            assert fields["refresh_token"] == state["refresh"], "rotated"
        elif kind == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            claims = verified(fields["assertion"])
            assert claims["iss"] == "service@lab" and claims["scope"] == "read write", claims
        else:
            raise AssertionError("grant")
        answer = {"access_token": "at-" + secrets.token_hex(20), "token_type": "Bearer", "expires_in": state["life"]}
        if kind == "refresh_token" and state["rotate"]:
            state["refresh"] = answer["refresh_token"] = "refresh-" + secrets.token_hex(8)
        return answer["access_token"], answer

    def installation(self):
        claims = verified(self.headers["Authorization"][7:])
        assert claims["iss"] == "Iv1.app", claims
        token = "ghs_" + secrets.token_hex(18)
        return token, {"token": token, "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now() + state["life"])),
                       "permissions": {"contents": "read"}, "repositories": [{"id": 1, "owner": {"login": "o"}}]}

    def do_POST(self):
        body = self.body()
        if self.path == "/_set":
            with lock:
                change = json.loads(body)
                if change.pop("revoke", False):
                    live.clear()
                state.update(change)
            return self.say(200, {})
        with lock:
            log["token"].append(time.time())
        time.sleep(state["delay"])
        with lock:
            if state["status"]:
                return self.say(state["status"], (state["body"] or "{}").encode())
            try:
                if self.path == "/token":
                    token, answer = self.grant(dict(urllib.parse.parse_qsl(body.decode())))
                else:
                    assert self.path == "/app/installations/42/access_tokens", self.path
                    token, answer = self.installation()
            except (AssertionError, ValueError, KeyError, subprocess.CalledProcessError) as e:
                if self.path != "/token":
                    return self.say(401, {"message": "'Issued at' claim ('iat') must be an Integer representing the time"})
                return self.say(400, {"error": "invalid_grant", "error_description": repr(e)})
            live[token] = time.time() + state["life"]
            return self.say(200 if self.path == "/token" else 201, answer)

    def do_GET(self):
        if self.path == "/_log":
            return self.say(200, log)
        token = self.headers.get("Authorization", "").partition(" ")[2]
        with lock:
            good = live.get(token, 0) > time.time()
            log["api"].append({"good": good, "time": time.time()})
        self.say(200 if good else 401, {"you sent": token, "and": base64.b64encode(token.encode()).decode()})


https_server.serve("0.0.0.0", PORT, CERT, KEY, Handler)
