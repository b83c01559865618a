"""Must show 2: unmodified clients. The reference stands where the key usually does; no proxy variable is set."""

import json
import os
import subprocess

import pytest

from helpers import AUTH, PYTHON, REF, STRIPE, curl, node, one_request
from lab import NOBODY


def test_no_proxy_variables_and_a_reference_for_each_secret(world):
    env = dict(line.split("=", 1) for line in world.agent("env").stdout.splitlines() if "=" in line)
    assert [k for k in env if k.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")] == []
    for name in world.keys:
        assert env[name] == f"agentsecrets://{name}"
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE"):
        assert os.access(env[name], os.R_OK), name


def test_curl(world, stripe_log):
    status, body, _ = curl(world, STRIPE, *AUTH)
    assert status == 200 and json.loads(body)["object"] == "list"


def test_curl_basic(world):
    before = world.requests(host="api.stripe.com")
    status, body, _ = curl(world, STRIPE, "-u", f"{REF}:")
    assert status == 200 and json.loads(body)["object"] == "list", body
    seen = world.wait_requests(len(before) + 1, host="api.stripe.com")[-1]["authorization"]
    assert seen.startswith("Basic ")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_tls_versions(world, version, stripe_log):
    assert curl(world, STRIPE, *AUTH, f"--tlsv{version}", "--tls-max", version)[0] == 200


def test_curl_post_json(world, stripe_log):
    status, body, _ = curl(world, "https://api.stripe.com/v1/customers", *AUTH, "-d", "email=a@example.com")
    assert status == 200 and json.loads(body)["id"] == "cus_1"


def test_python_requests(world, stripe_log):
    p = world.agent(PYTHON, "-c", "import os, requests\nr = requests.get('https://api.stripe.com/v1/invoices', "
                    "headers={'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']}, timeout=20)\n"
                    "print(r.status_code, r.json()['object'])")
    assert p.stdout == "200 list\n", p.stderr


def test_python_httpx(world, stripe_log):
    p = world.agent(PYTHON, "-c", "import os, httpx\nr = httpx.get('https://api.stripe.com/v1/invoices', "
                    "headers={'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']}, timeout=20)\n"
                    "print(r.status_code, r.json()['object'])")
    assert p.stdout == "200 list\n", p.stderr


def test_python_urllib(world, stripe_log):
    p = world.agent(PYTHON, "-c", "import os, urllib.request as u\nr = u.urlopen(u.Request('https://api.stripe.com/v1/invoices', "
                    "headers={'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']}), timeout=20)\nprint(r.status, r.read()[:9])")
    assert p.stdout.startswith("200 "), p.stderr


def test_node_fetch(world, stripe_log):
    p = node(world, "fetch('https://api.stripe.com/v1/invoices', {headers: {authorization: 'Bearer ' + process.env.STRIPE_KEY}})"
             ".then(async r => console.log(r.status, (await r.json()).object))")
    assert p.stdout == "200 list\n", p.stderr


def test_npm_stripe(world):
    before = world.requests(host="api.stripe.com")
    p = node(world, "const s = new (require('stripe'))(process.env.STRIPE_KEY, {telemetry: false});"
             "(async () => { const l = await s.invoices.list(); const c = await s.customers.create({email: 'a@example.com'});"
             "console.log(l.data[0].id, c.id); })()")
    assert p.stdout == "in_1 cus_1\n", p.stderr
    seen = world.wait_requests(len(before) + 2, host="api.stripe.com")[len(before):]
    assert [q["authorization"] for q in seen] == [f"Bearer {world.keys['STRIPE_KEY']}"] * 2


def test_npm_openai(world):
    before = world.requests(host="api.openai.com")
    p = node(world, "const c = new (require('openai'))();"
             "c.chat.completions.create({model: 'gpt-4o', messages: [{role: 'user', content: 'hi'}]})"
             ".then(r => console.log(r.choices[0].message.content))")
    assert p.stdout == "hello from upstream\n", p.stderr
    one_request(world, before, "api.openai.com", f"Bearer {world.keys['OPENAI_API_KEY']}")


GIT = ["git", "-c", "credential.helper=", "-c", "credential.helper=!f() { echo username=x-access-token; echo password=$GIT_TOKEN; }; f",
       "-c", "user.name=agent", "-c", "user.email=agent@lab-host.com"]


def git(lab, *args, **kw):
    p = lab.agent(*GIT, *args, **kw)
    assert p.returncode == 0, p.stderr
    return p


def test_git_clone_and_push(world):
    there = world.home / "clone"
    git(world, "clone", "-q", "https://github.com/owner/repo.git", str(there))
    assert (there / "README").read_text() == "hello from the lab\n"
    (there / "small").write_text("from the agent\n")
    (there / "big").write_bytes(os.urandom(3 << 20))  # over http.postBuffer: git sends it chunked
    git(world, "-C", str(there), "add", ".")
    git(world, "-C", str(there), "commit", "-q", "-m", "from the agent")
    git(world, "-C", str(there), "push", "-q", "origin", "HEAD:main")
    ours = subprocess.run(["git", "-C", str(there), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    upstream = subprocess.run(["git", "-C", str(world.repo), "rev-parse", "main"], capture_output=True, text=True, check=True).stdout
    assert ours == upstream
    kept = (there / ".git" / "config").read_text()
    assert world.keys["GIT_TOKEN"] not in kept


def test_git_is_not_offered_http2(world):
    """A push of git hangs over HTTP/2 now and then, with libcurl 7.88: it reads on behind the end of what it sends."""
    p = git(world, "ls-remote", "https://github.com/owner/repo.git", env={"GIT_TRACE_CURL": "1"})
    assert "HTTP/1.1 200" in p.stderr and "HTTP/2" not in p.stderr, p.stderr


def test_git_credentials_in_the_url(world):
    git(world, "ls-remote", "https://x-access-token:agentsecrets%3A%2F%2FGIT_TOKEN@github.com/owner/repo.git")


def test_as_an_ordinary_user(world, stripe_log):
    """Who owns a workspace needs no privilege to run in it."""
    p = world.agent("curl", "-sS", STRIPE, *AUTH, uid=NOBODY, workspace="ordinary")
    assert p.returncode == 0 and json.loads(p.stdout)["object"] == "list", (p.stdout, p.stderr)


def test_from_another_network_namespace(world, stripe_log):
    """Nothing of it uses the agent's own link: the daemon does the talking."""
    world.captures["pod"].mark()
    status, _, p = curl(world, STRIPE, *AUTH, ns="pod")
    assert status == 200, p.stderr
    assert world.captures["pod"].packets() == []
