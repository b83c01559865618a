"""Clients of other languages and makers, as they are. README's table "Clients" holds what this file, test_2_clients, test_http2,
test_websocket, test_explicit, test_sign and test_tcp run."""

import os
import shutil
import subprocess

import pytest

from helpers import NODE, PYTHON, STRIPE, node, one_request
from lab import BUILD, PEERS

OUT = BUILD / "peers"


@pytest.fixture(scope="module")
def anthropic(world):
    key = "sk-ant-real-" + os.urandom(24).hex()
    world.must("secrets", "set", "--workspace", "demo", "ANTHROPIC_API_KEY", "--host", "api.anthropic.com", input=key)
    world.must("workspace", "allowlist", "add", "--workspace", "demo", "api.anthropic.com")
    yield key
    world.must("workspace", "allowlist", "remove", "--workspace", "demo", "api.anthropic.com")
    world.must("secrets", "delete", "--workspace", "demo", "ANTHROPIC_API_KEY")


def test_npm_openai_streaming(world):
    before = world.requests(host="api.openai.com")
    p = node(world, "const c = new (require('openai'))({baseURL: 'https://api.openai.com/stream'}); (async () => { let all = '';"
             "for await (const e of await c.chat.completions.create({model: 'm', stream: true, messages: [{role: 'user', content: 'hi'}]}))"
             " all += e.choices[0].delta.content; console.log(all); })()")
    assert p.stdout == "hello from upstream\n", p.stderr
    one_request(world, before, "api.openai.com", f"Bearer {world.keys['OPENAI_API_KEY']}")


def test_npm_anthropic_streaming(world, anthropic):
    """The key goes in x-api-key."""
    before = world.requests(host="api.anthropic.com")
    p = node(world, "const c = new (require('@anthropic-ai/sdk').default)(); (async () => { let all = '';"
             "const s = c.messages.stream({model: 'm', max_tokens: 9, messages: [{role: 'user', content: 'hi'}]});"
             "s.on('text', t => { all += t; }); const m = await s.finalMessage(); console.log(all, m.stop_reason); })()")
    assert p.stdout == "hello from upstream end_turn\n", p.stderr
    assert anthropic in world.wait_requests(len(before) + 1, host="api.anthropic.com")[-1]["headers"]


def test_python_aiohttp(world, stripe_log):
    p = world.agent(PYTHON, "-c", "import aiohttp, asyncio, os\nasync def main():\n async with aiohttp.ClientSession() as s:\n"
                    "  async with s.get('https://api.stripe.com/v1/invoices', headers={'Authorization': 'Bearer ' + os.environ['STRIPE_KEY']}) as r:\n"
                    "   print(r.status, (await r.json())['object'])\nasyncio.run(main())")
    assert p.stdout == "200 list\n", p.stderr


def test_wget(world, stripe_log):
    """GnuTLS reads the system's CAs alone: the file is named as any user would."""
    p = world.agent("sh", "-c", 'exec wget -qO- --ca-certificate="$SSL_CERT_FILE" --header="Authorization: Bearer $STRIPE_KEY" ' + STRIPE)
    assert '"object":"list"' in p.stdout, p.stderr


def test_java_httpclient(world, stripe_log):
    p = world.agent("java", str(PEERS / "Ask.java"), STRIPE, "STRIPE_KEY")
    assert p.stdout.startswith("HTTP_2 200 ") and '"object":"list"' in p.stdout, p.stderr


def test_rust_ureq(world, stripe_log):
    source = OUT / "ask-rust"
    shutil.copytree(PEERS / "ask-rust", source, dirs_exist_ok=True)
    subprocess.run(["cargo", "build", "-q", "--offline"], cwd=source, check=True, timeout=500)
    p = world.agent(str(source / "target" / "debug" / "ask-rust"), STRIPE, "STRIPE_KEY")
    assert p.stdout.startswith("200 ") and '"object":"list"' in p.stdout, p.stderr


def test_node_https_module(world, stripe_log):
    p = world.agent(NODE, "-e", "require('https').get('https://api.stripe.com/v1/invoices', {headers: {authorization: 'Bearer ' + process.env.STRIPE_KEY}},"
                    "r => { let b = ''; r.on('data', d => b += d); r.on('end', () => console.log(r.statusCode, JSON.parse(b).object)); })")
    assert p.stdout == "200 list\n", p.stderr
