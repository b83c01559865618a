"""Names, as programs inside a guard see them."""

import struct

import pytest

from helpers import AUTH, curl, reason
from lab import DNS, HOSTS

SINK4, SINK6 = "192.0.2.1", "2001:db8::1"

ASK = """
import socket, struct, sys
server, port, name, kind, how = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
q = b"\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"".join(bytes([len(l)]) + l for l in name.encode().split(b".") if l) + b"\\0" + struct.pack("!HH", kind, 1)
family = socket.AF_INET6 if ":" in server else socket.AF_INET
try:
    if how == "udp":
        s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(10)
        s.sendto(q, (server, port)); a, peer = s.recvfrom(4096)
        print(peer[0], peer[1], a.hex())
    else:
        s = socket.create_connection((server, port), 10)
        s.sendall(struct.pack("!H", len(q)) + q); n = struct.unpack("!H", s.recv(2))[0]; a = b""
        while len(a) < n: a += s.recv(n - len(a))
        print(*s.getpeername()[:2], a.hex())
except OSError as e:
    print("error", e)
"""


def ask(lab, name, kind=1, server=DNS, port=53, how="udp", **kw):
    p = lab.agent("/usr/bin/python3", "-c", ASK, server, str(port), name, str(kind), how, **kw)
    return p.stdout.split() or [p.stderr]


def addresses(answer):
    """The rcode and the addresses of an answer (our own answers: names as pointers or in full)."""
    data = bytes.fromhex(answer)
    flags, _, count = struct.unpack_from("!HHH", data, 2)
    at, found = 12, []

    def skip(at):
        while data[at]:
            if data[at] >= 0xC0:
                return at + 2
            at += 1 + data[at]
        return at + 1

    at = skip(at) + 4
    for _ in range(count):
        at = skip(at)
        kind, _, _, size = struct.unpack_from("!HHIH", data, at)
        found.append((kind, data[at + 10:at + 10 + size]))
        at += 10 + size
    return flags & 15, found


@pytest.mark.parametrize("how", ["udp", "tcp"])
@pytest.mark.parametrize("server", [DNS, "8.8.8.8", "2001:4860:4860::8888", "10.0.0.53", "127.0.0.53"])
def test_any_server_is_ours(world, server, how):
    """Whatever server the agent names, ours answers, under that server's address."""
    world.captures["pod"].mark()
    said = ask(world, "api.stripe.com", server=server, how=how, ns="pod")
    assert said[:2] == [server, "53"], said
    rcode, found = addresses(said[2])
    assert rcode == 0 and bytes([203, 0, 113, 10]) in [d for _, d in found]
    assert world.captures["pod"].left() == []


def test_getent(world):
    assert HOSTS["api.stripe.com"][0] in world.agent("getent", "ahostsv4", "api.stripe.com").stdout
    assert HOSTS["api.stripe.com"][1] in world.agent("getent", "ahostsv6", "api.stripe.com").stdout
    p = world.agent("getent", "ahosts", "api.stripe.com", ns="pod")
    assert p.returncode == 0 and HOSTS["api.stripe.com"][0] in p.stdout


def test_unlisted_name_asks_nobody(world):
    """It gets the sinkhole's addresses, and the real DNS server never hears of it."""
    for kind, want in ((1, bytes([192, 0, 2, 1])), (28, bytes.fromhex("20010db8000000000000000000000001"))):
        rcode, found = addresses(ask(world, "secret-in-a-name.attacker-domain.com", kind)[2])
        assert (rcode, [d for _, d in found]) == (0, [want])
    for kind in (16, 15, 2, 5, 6, 12, 33, 64, 65, 255, 10):
        rcode, found = addresses(ask(world, f"t{kind}.attacker-domain.com", kind)[2])
        assert [d for k, d in found if k not in (1, 28)] == [], kind
    p = world.agent("getent", "ahostsv4", "attacker-domain.com")
    assert SINK4 in p.stdout
    assert not [q for q in world.queries() if "attacker" in q]


def test_listed_name_other_types_ask_nobody_or_hold_no_ech(world):
    for kind in (64, 65):
        rcode, found = addresses(ask(world, "api.stripe.com", kind)[2])
        assert found == []


@pytest.mark.parametrize("name", ["inside.lab-host.com", "metadata.lab-host.com", "loop.lab-host.com"])
def test_private_answers_are_refused(world, name):
    """An allowed name that leads inside: no address is handed out, and the request says why."""
    said = ask(world, name)
    if len(said) == 3:
        assert [d for _, d in addresses(said[2])[1] if d in (bytes([10, 0, 1, 5]), bytes([169, 254, 169, 254]), bytes([127, 0, 0, 1]))] == []
    status, body, p = curl(world, f"https://{name}/", *AUTH)
    assert (status, reason(body)) == (403, "ssrf_protection_blocked"), (status, body, p.stderr)


@pytest.mark.parametrize("message", ["", "00", "1234", "12340100000100000000", "1234" + "ffff" * 5, "123401000001000000000000c00c00010001",
                                     "12340100ffff00000000000003617069", "12348180000100000000000000000100"])
def test_malformed_questions(world, message):
    """Refused or passed over, and the next question is answered."""
    code = (f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)\ns.sendto(bytes.fromhex({message!r}), ({DNS!r}, 53))\n"
            "try:\n    print(len(s.recv(4096)))\nexcept OSError:\n    print('none')\n")
    assert world.agent("/usr/bin/python3", "-c", code).stdout
    assert addresses(ask(world, "api.openai.com")[2])[1]


def test_nxdomain_if_so_configured():
    from lab import Daemon, Lab
    with Lab() as lab:
        Daemon(lab, dns={"unlisted": "nxdomain"}).start()
        lab.setup()
        rcode, found = addresses(ask(lab, "attacker-domain.com")[2])
        assert (rcode, found) == (3, [])
        assert curl(lab, "https://attacker-domain.com/")[0] == 0
        assert not [q for q in lab.queries() if "attacker" in q]
