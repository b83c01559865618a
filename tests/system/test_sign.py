"""Must show 1: AWS signatures. An object store that checks them (peers/s3.py), and clients that hold placeholder keys."""

import hashlib
import json
import shutil
import subprocess

import pytest

from conftest import a_world, show
from helpers import audit, curl, reason
from lab import NODE_PATH, PEERS

NODE = shutil.which("node") or "node"
KEYS = {"AWS": ("AKIAREALREALREALREAL", "realSecretRealSecretRealSecretRealSecret", None),
        "SESSION": ("ASIAREALREALREALREAL", "sessionSecretSessionSecretSessionSecret1", "token+" + "t" * 200 + "/=")}
S3 = "https://files.lab-host.com:9443"
STS = "https://a.wild-host.com:9444"


@pytest.fixture(scope="module")
def store():
    made = a_world()
    p = made.private
    try:
        for port, (key, secret, token) in zip((9443, 9444), KEYS.values()):
            server = made.spawn("net", ["/usr/bin/python3", str(PEERS / "s3.py"), str(port), f"{p}/good.pem", f"{p}/good.key", key,
                                        secret] + ([token] if token else []), stdout=subprocess.PIPE)
            assert server.stdout.readline() == b"ready\n"
        made.must("workspace", "allowlist", "add", "--workspace", "demo", "files.lab-host.com:9443", "a.wild-host.com:9444",
                  "github.com:9443")
        for name, host, params in (("AWS", "files.lab-host.com", ["--param", "region=eu-west-1"]),
                                   ("SESSION", "a.wild-host.com", ["--param", "service=sts"])):
            key, secret, token = KEYS[name]
            value = {"access_key_id": key, "secret_access_key": secret, **({"session_token": token} if token else {})}
            made.must("secrets", "set", "--workspace", "demo", name, "--kind", "aws", "--host", host, *params,
                      input=json.dumps(value, indent=1))
            made.keys[name] = secret
        yield made
    finally:
        show(made)
        made.down()


def log_of(store):
    """What the store saw, asked for from its own side."""
    got = subprocess.run(store.nsenter("net") + ["curl", "-sSk", "--resolve", "files.lab-host.com:9443:127.0.0.1", f"{S3}/_log"],
                         stdout=subprocess.PIPE, check=True)
    return json.loads(got.stdout)


def node(store, code):
    p = store.agent(NODE, "-e", f"""
        const s3 = require('@aws-sdk/client-s3');
        const c = new s3.S3Client({{endpoint: '{S3}', forcePathStyle: true, region: process.env.AWS_REGION}});
        (async () => {{ {code} }})().catch(e => {{ console.log('FAILED', e.name, e.message, e.$response && e.$response.statusCode);
        process.exit(1); }});""", env={"NODE_PATH": NODE_PATH})
    return p


def test_the_environment_has_placeholders_only(store):
    env = dict(line.split("=", 1) for line in store.agent("env").stdout.splitlines() if "=" in line)
    assert env["AWS_ACCESS_KEY_ID"].startswith("AKIA") and len(env["AWS_ACCESS_KEY_ID"]) == 20
    assert len(env["AWS_SECRET_ACCESS_KEY"]) == 40 and env["AWS_REGION"] == "eu-west-1"
    assert len(env["SESSION_ACCESS_KEY_ID"]) == 20 and env["SESSION_ACCESS_KEY_ID"] != env["AWS_ACCESS_KEY_ID"]
    for key, secret, token in KEYS.values():
        assert not any(v in json.dumps(env) for v in (key, secret, token or secret))


def test_client_s3(store):
    p = node(store, """
        const big = Buffer.alloc(300000, 'x');
        await c.send(new s3.PutObjectCommand({Bucket: 'b', Key: 'dir/a file (1)+ü.txt', Body: 'hello'}));
        await c.send(new s3.PutObjectCommand({Bucket: 'b', Key: 'big', Body: big}));
        const {Readable} = require('stream');
        await c.send(new s3.PutObjectCommand({Bucket: 'b', Key: 'stream', Body: Readable.from([big, big]), ContentLength: 600000}));
        const got = await c.send(new s3.GetObjectCommand({Bucket: 'b', Key: 'dir/a file (1)+ü.txt'}));
        console.log(await got.Body.transformToString());
        const s = await c.send(new s3.GetObjectCommand({Bucket: 'b', Key: 'stream'}));
        console.log((await s.Body.transformToByteArray()).length);
        const l = await c.send(new s3.ListObjectsV2Command({Bucket: 'b'}));
        console.log(l.Contents.map(o => o.Key).join('|'));
        await c.send(new s3.DeleteObjectCommand({Bucket: 'b', Key: 'big'}));
        try { await c.send(new s3.GetObjectCommand({Bucket: 'b', Key: 'big'})); } catch (e) { console.log(e.name); }""")
    assert p.stdout.splitlines() == ["hello", "600000", "big|dir/a file (1)+ü.txt|stream", "NoSuchKey"], p.stdout + p.stderr
    assert all(line["ok"] for line in log_of(store)), log_of(store)[-3:]
    assert any((line["payload"] or "").startswith("STREAMING-UNSIGNED") for line in log_of(store))
    audit(store.daemons[0], kind="decision", host="files.lab-host.com", verdict="allow", secrets="AWS")


@pytest.mark.parametrize("service,region,url,name", [("s3", "eu-west-1", f"{S3}/b/by%20curl", "AWS"),
                                                     ("sts", "us-east-1", f"{STS}/a/x?b=2&a=1", "SESSION")])
def test_curl(store, service, region, url, name):
    sign = ["--aws-sigv4", f"aws:amz:{region}:{service}", "--user", f"${name}_ACCESS_KEY_ID:${name}_SECRET_ACCESS_KEY"]
    command = " ".join(["curl -sS -w '\\n%{http_code}' -X POST -d hello=world", *(f'"{a}"' for a in sign), f"'{url}'"])
    p = store.agent("sh", "-c", command.replace("-X POST -d hello=world", "-T /etc/hostname") if service == "s3" else command)
    assert p.stdout.endswith("200"), p.stdout + p.stderr
    if service == "sts":
        assert json.loads(p.stdout.rpartition("\n")[0])["sha256"] == hashlib.sha256(b"hello=world").hexdigest()


# A signer of its own, with every form that the SDKs at hand do not use.
SIGNER = r"""
import datetime, hashlib, hmac, http.client, os, ssl, sys, urllib.parse, json
H = hashlib.sha256
def mac(k, t): return hmac.new(k, t.encode(), H).digest()
def go(form, host='files.lab-host.com', port=9443, region='eu-west-1', service='s3', skew=0, path='/b/signed', data=b'd' * 150000,
       name='AWS', header_host=None, expires=600, extra={}):
    ident, key = os.environ[name + '_ACCESS_KEY_ID'], os.environ[name + '_SECRET_ACCESS_KEY']
    now = (datetime.datetime.utcnow() + datetime.timedelta(seconds=skew)).strftime('%Y%m%dT%H%M%SZ')
    scope = f'{now[:8]}/{region}/{service}/aws4_request'
    k = mac(mac(mac(mac(b'AWS4' + key.encode(), now[:8]), region), service), 'aws4_request')
    h = {'host': f'{header_host or host}:{port}'}
    method = 'PUT'
    if form == 'presigned':
        q = {'X-Amz-Algorithm': 'AWS4-HMAC-SHA256', 'X-Amz-Credential': f'{ident}/{scope}', 'X-Amz-Date': now,
             'X-Amz-Expires': str(expires), 'X-Amz-SignedHeaders': 'host'}
        path += '?' + urllib.parse.urlencode(q) + '&X-Amz-Signature=' + '0' * 64
        body = data
    else:
        payload = {'signed': H(data).hexdigest(), 'unsigned': 'UNSIGNED-PAYLOAD', 'chunks': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
                   'trailer': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', 'http-chunks': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
                   'bad': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'bodyhash': None}[form]
        h['x-amz-date'] = now
        if payload: h['x-amz-content-sha256'] = payload
        body = data
        if payload and payload.startswith('STREAMING'):
            h['x-amz-decoded-content-length'] = str(len(data))
            h['content-encoding'] = 'aws-chunked'
            pieces = [data[i:i + 65536] for i in range(0, len(data), 65536)] + [b'']
            body = b''.join(b'%x;chunk-signature=%s\r\n%s%s' % (len(p), b'f' * 64, p, b'\r\n' if p or form != 'trailer' else b'')
                            for p in pieces)
            if form == 'trailer':
                body += b'x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:' + b'0' * 64 + b'\r\n\r\n'
            if form == 'bad':
                body = body.replace(b';chunk', b':chunk')
        names = ';'.join(sorted(h))
        h['authorization'] = f'AWS4-HMAC-SHA256 Credential={ident}/{scope}, SignedHeaders={names}, Signature={"0" * 64}'
    h.update(extra)
    c = http.client.HTTPSConnection(host, port, timeout=30)
    if form == 'http-chunks':
        c.request(method, path, body=iter([body[i:i + 30011] for i in range(0, len(body), 30011)]), headers=h, encode_chunked=True)
    else:
        c.request(method, path, body=body, headers=h)
    r = c.getresponse()
    text = r.read().decode()
    try: text = json.loads(text).get('error', text)
    except ValueError: pass
    print(r.status, text)
try:
    go(**json.loads(sys.argv[1]))
except Exception as e:
    print(0, repr(e))
"""


def signed(store, **how):
    return store.agent("/usr/bin/python3", "-c", SIGNER, json.dumps(how)).stdout.strip()


@pytest.mark.parametrize("form", ["signed", "unsigned", "chunks", "http-chunks", "trailer", "presigned", "bodyhash"])
def test_every_form_is_signed_again(store, form):
    service = {"service": "sqs"} if form == "bodyhash" else {}
    assert signed(store, form=form, **service).startswith("200"), log_of(store)[-1]
    assert log_of(store)[-1]["ok"]


@pytest.mark.parametrize("form", ["signed", "presigned"])
def test_session_tokens(store, form):
    how = {"form": form, "host": "a.wild-host.com", "port": 9444, "name": "SESSION", "service": "sts", "region": "us-east-1",
           "data": ""}
    if form == "presigned":  # the store takes s3's UNSIGNED-PAYLOAD there
        how |= {"service": "s3"}
        assert "secret_not_for_host" in signed(store, **{k: v for k, v in how.items() if k != "data"})
        return
    how.pop("data")
    assert signed(store, **how).startswith("200")
    assert signed(store, **how, extra={"x-amz-security-token": "placeholder"}).startswith("200")


def test_refusals(store):
    before, reads = len(log_of(store)), store.daemons[0].reads()
    # Another host, allowed by the list, with the placeholder of this secret.
    assert signed(store, form="signed", host="github.com").startswith("403 secret_not_for_host")
    assert signed(store, form="presigned", host="github.com").startswith("403 secret_not_for_host")
    assert signed(store, form="signed", host="attacker-domain.com").startswith("403 domain_not_in_allowlist")
    assert signed(store, form="signed", host="attacker-domain.com", extra={"x-amz-date": "x"}).startswith("403 domain_not_in_allowlist")
    assert signed(store, form="signed", header_host="github.com").startswith("403")
    # Clocks.
    for skew in (-1000, 1000):
        assert signed(store, form="signed", skew=skew).startswith("403 clock_skew"), skew
    assert signed(store, form="presigned", skew=-700, expires=600).startswith("403 clock_skew")
    assert signed(store, form="presigned", skew=-500, expires=600).startswith("200")
    # What cannot be signed again.
    assert signed(store, form="signed", extra={"x-key": "agentsecrets://STRIPE_KEY"}).startswith("403 signature_not_renewable")
    assert signed(store, form="signed", extra={"x-amz-content-sha256": "x"}).startswith("403 signature_not_renewable")
    assert signed(store, form="signed", extra={"x-amz-date": "yesterday"}).startswith("403 signature_not_renewable")
    assert len(log_of(store)) == before + 1 and store.daemons[0].reads() <= reads + 3
    # The parameters bind too: the keeper refuses.
    assert signed(store, form="signed", region="us-east-1").startswith("403 secret_not_for_host")


def test_a_broken_chunk_ends_the_request(store):
    assert signed(store, form="bad").split()[0] in ("400", "0")
    assert not any("signed-bad" in line["path"] and line["ok"] for line in log_of(store))


def test_the_key_is_no_value(store):
    for ref in ("AWS", "SESSION"):
        status, body, _ = curl(store, f"{S3}/b/x", "-H", f"Authorization: Bearer agentsecrets://{ref}")
        assert (status, reason(body)) == (403, "secret_slot_not_allowed" if ref == "AWS" else "secret_not_for_host")


def test_foreign_keys_are_not_touched(store):
    """Someone else's access key id: forwarded as it is, and refused by the store."""
    p = store.agent("curl", "-sS", "--aws-sigv4", "aws:amz:eu-west-1:s3", "--user", "AKIAFOREIGN:secret", f"{S3}/b/x")
    assert "unknown access key id AKIAFOREIGN" in p.stdout, p.stdout


@pytest.mark.parametrize("value,says", [("not json", "JSON object"), ('{"access_key_id":"a"}', "secret_access_key"),
                                        ('{"access_key_id":"a","secret_access_key":"b","x":"c"}', "does not have")])
def test_bad_values_are_refused_when_set(store, value, says):
    p = store.cli("secrets", "set", "--workspace", "demo", "OTHER", "--kind", "aws", "--host", "github.com", input=value)
    assert p.returncode == 1 and says in p.stderr and value not in p.stderr
    p = store.cli("secrets", "set", "--workspace", "demo", "STRIPE_KEY", "--kind", "aws", input='{"access_key_id":"a"}')
    assert p.returncode == 1 and "delete it first" in p.stderr


@pytest.mark.parametrize("body", ["", "x=1&y=ü", "agentsecrets://HOOK"])
def test_hmac(store, body):
    """A reference becomes a signature of the request: in a header with a time, and in the query."""
    for name, slot, message, more in (
            ("HOOK", "header", "{timestamp}.{method}.{target}.{body}", ["value=t={timestamp},v1={signature}"]),
            ("QUERYSIG", "query", "{method} {target} {body_sha256}", ["encoding=base64", "algorithm=sha256"])):
        params = [a for p in (f"message={message}", *more) for a in ("--param", p)]
        store.must("secrets", "set", "--workspace", "demo", name, "--kind", "hmac", *params, "--host", "files.lab-host.com",
                   "--slot", slot, input=KEYS["AWS"][1])
    data = ["-X", "POST", "-H", "Content-Type: text/plain", "--data-binary", body]
    url = f"{S3}/_hmac/a%20b?q=1&r=2"
    assert curl(store, url, *data, "-H", "X-Signature: agentsecrets://HOOK")[0] == 200
    assert curl(store, url, *data, "-H", "X-Signature: t=1,v1=00")[0] == 403
    assert curl(store, f"{url}&sig=agentsecrets://QUERYSIG", *data)[0] == 200
    # Nowhere else, and to nobody else; and never the key itself.
    assert reason(curl(store, url, *data, "-H", "X-Signature: agentsecrets://QUERYSIG")[1]) == "secret_slot_not_allowed"
    assert reason(curl(store, "https://github.com/", *data, "-H", "X-Signature: agentsecrets://HOOK")[1]) == "secret_not_for_host"
    assert reason(curl(store, f"{S3}/x", "-u", "agentsecrets://HOOK:")[1]) == "secret_slot_not_allowed"
