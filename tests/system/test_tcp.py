"""Mode tcp: what is not HTTP, straight through the kernel to the addresses that DNS gave this guard for the name."""

import json
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from helpers import audit
from lab import HOSTS, NOBODY, Daemon, Lab, run, wait_for

DB, OTHER, INSIDE, MOVES = "db.lab-host.com", "other-db.lab-host.com", "db-inside.lab-host.com", "moves.lab-host.com"
V4, V6 = HOSTS[DB]
RESOLVER = "203.0.113.54"
PG = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql/15/bin"))


def up_dns(lab):
    """A DNS server whose answers the tests change."""
    run("ip", "-n", lab.ns("net"), "addr", "add", f"{RESOLVER}/32", "dev", "lo")
    say(lab, {**HOSTS, MOVES: HOSTS[DB]})
    run(*lab.nsenter("net"), "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--bind-interfaces",
        f"--listen-address={RESOLVER}", "--local=/#/", "--local-ttl=30", f"--addn-hosts={lab.private}/names",
        f"--pid-file={lab.private}/dns2.pid", env=lab.env())


def say(lab, names):
    (lab.private / "names").write_text("".join(f"{a} {n}\n" for n, pair in names.items() for a in pair))
    pid = lab.private / "dns2.pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGHUP)


def up_postgres(lab):
    user = pwd.getpwnam("postgres")
    data = lab.dir / "pg"
    data.mkdir()
    os.chown(data, user.pw_uid, user.pw_gid)
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    run(*as_user, str(PG / "initdb"), "-D", str(data), "-A", "trust", "-U", "agent", "--no-sync", "--no-locale", env=lab.env())
    (data / "pg_hba.conf").write_text("host all all all trust\n")
    lab.spawn("net", [*as_user, str(PG / "postgres"), "-D", str(data), "-c", f"listen_addresses={V4},{V6},{HOSTS[OTHER][0]}",
                      "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=20"])


def up_redis(lab):
    lab.spawn("net", ["redis-server", "--bind", V4, V6, HOSTS[INSIDE][0], "--port", "6379", "--save", "", "--protected-mode", "no",
                      "--dir", str(lab.private)])


def up_ssh(lab):
    p = lab.private
    Path("/run/sshd").mkdir(exist_ok=True)
    for key in (p / "host", lab.dir / "id"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    shutil.copy(lab.dir / "id.pub", p / "authorized")
    host = (p / "host.pub").read_text().split()
    (lab.dir / "known").write_text(f"{DB} {host[0]} {host[1]}\n")
    (p / "sshd.conf").write_text(f"ListenAddress {V4}\nHostKey {p}/host\nAuthorizedKeysFile {p}/authorized\nStrictModes no\nUsePAM no\n"
                                 f"PidFile none\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nPrintMotd no\n")
    lab.spawn("net", ["/usr/sbin/sshd", "-D", "-e", "-f", str(p / "sshd.conf")])


def listening(lab, port):
    return f":{port} " in run(*lab.nsenter("net"), "ss", "-Hltn")


@pytest.fixture(scope="module")
def lab():
    for need in (PG / "postgres", "redis-server", "redis-cli", "psql", "ssh", "/usr/sbin/sshd"):
        if not shutil.which(str(need)):
            pytest.fail(f"{need} is missing; run tests/deps.sh check")
    with Lab() as made:
        up_dns(made)
        up_postgres(made)
        up_redis(made)
        up_ssh(made)
        Daemon(made, dns={"servers": [RESOLVER], "ttl_min": 1, "ttl_max": 1, "lease_grace": 2}).start()
        made.setup()
        for port in (22, 5432, 6379):
            made.must("workspace", "allowlist", "add", "--mode", "tcp", "--port", str(port), DB)
            wait_for(f"the server at port {port}", lambda port=port: listening(made, port), 20)
        made.must("workspace", "allowlist", "add", "--mode", "tcp", "--port", "5432", MOVES)
        yield made
        print(made.daemons[0].messages()[-4000:])


CONNECT = """
import errno, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family)
s.settimeout(5)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    s.sendall(b"PING\\r\\n")
    print(s.recv(100).decode() or "closed", s.getpeername()[0])
except OSError as e:
    print(errno.errorcode.get(e.errno, type(e).__name__))
"""


def connect(lab, address, port=6379, before=None, **kw):
    """What a program gets that dials an address, after it has asked for a name or not."""
    ask = f"import socket\nsocket.getaddrinfo({before!r}, 1)\n" if before else ""
    return lab.agent("/usr/bin/python3", "-c", ask + CONNECT, address, str(port), **kw).stdout.strip()


def closed_again(lab, address=V4, port=6379):
    wait_for("the lease's end", lambda: not connect(lab, address, port).startswith("+PONG"), 15)


def test_psql(lab):
    p = lab.agent("psql", "-X", "-At", f"host={DB} user=agent dbname=postgres sslmode=disable", "-c", "select 6*7")
    assert p.stdout == "42\n", p.stderr
    opened = audit(lab.daemons[0], kind="decision", scheme="tcp", host=DB, port=5432)[-1]
    assert opened["verdict"] == "allow" and "opened for" in opened["detail"], opened
    used = audit(lab.daemons[0], kind="kernel", scheme="tcp", verdict="allow", comm="psql")[-1]
    assert used["pid"] and used["workspace"] == "demo", used


def test_redis_cli_and_ssh(lab):
    p = lab.agent("redis-cli", "-h", DB, "set", "k", "v")
    assert p.stdout == "OK\n", p.stderr
    assert lab.agent("redis-cli", "-h", DB, "get", "k").stdout == "v\n"
    p = lab.agent("ssh", "-i", f"{lab.dir}/id", "-o", f"UserKnownHostsFile={lab.dir}/known", "-o", "StrictHostKeyChecking=yes", "-o",
                  "BatchMode=yes", f"root@{DB}", "echo", "over", "ssh")
    assert p.stdout == "over ssh\n", p.stderr


@pytest.mark.parametrize("address", [V4, V6, f"::ffff:{V4}"])
def test_every_spelling_of_a_leased_address(lab, address):
    assert connect(lab, address, before=DB) == f"+PONG\r\n {address}"


def test_only_after_the_name_was_asked_for(lab):
    """The answer makes the lease; before it, and after its end, the address is not open."""
    closed_again(lab)
    assert not connect(lab, V4).startswith("+PONG")
    assert connect(lab, V4, before=DB).startswith("+PONG")
    closed_again(lab)


def test_other_ports_addresses_and_guards(lab):
    assert connect(lab, V4, 6379, before=DB).startswith("+PONG")
    for address, port in ((V4, 6380), (HOSTS[OTHER][0], 5432), ("203.0.113.66", 6379), (HOSTS[INSIDE][0], 6379)):
        assert not connect(lab, address, port, before=DB).startswith("+"), (address, port)
    # A lease is one guard's: this one is held by a program that goes on asking, and another guard gains nothing.
    code = f"import socket, time\nwhile True:\n    socket.getaddrinfo({DB!r}, 1)\n    print('asked', flush=True)\n    time.sleep(0.3)\n"
    p = lab.agent_start("/usr/bin/python3", "-c", code, text=True)
    assert p.stdout.readline() == "asked\n"
    assert not connect(lab, V4).startswith("+PONG")
    assert not connect(lab, V4, workspace="ordinary", uid=NOBODY).startswith("+PONG")
    assert not connect(lab, V4, before=DB, workspace="ordinary", uid=NOBODY).startswith("+PONG")
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=10)
    assert lab.leaks() == []


def test_private_only_with_the_rules_private(lab):
    lab.must("workspace", "allowlist", "add", "--mode", "tcp", "--port", "6379", INSIDE)
    assert not connect(lab, HOSTS[INSIDE][0], before=INSIDE).startswith("+")
    assert "PONG" not in lab.agent("redis-cli", "-h", INSIDE, "ping").stdout
    lab.must("workspace", "allowlist", "remove", INSIDE)
    lab.must("workspace", "allowlist", "add", "--mode", "tcp", "--port", "6379", "--private", INSIDE)
    p = lab.agent("redis-cli", "-h", INSIDE, "ping")
    assert p.stdout == "PONG\n", p.stderr
    lab.must("workspace", "allowlist", "remove", INSIDE)
    assert not connect(lab, HOSTS[INSIDE][0], before=INSIDE).startswith("+")


class Session:
    """A psql that stays."""

    def __init__(self, lab, host):
        self.p = lab.agent_start("psql", "-X", "-At", f"host={host} user=agent dbname=postgres sslmode=disable connect_timeout=5",
                                 stdin=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, what):
        self.p.stdin.write(what + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().strip()

    def end(self):
        self.p.terminate()
        self.p.communicate(timeout=10)


WAITS = """
import socket, sys
s = socket.create_connection((sys.argv[1], 6379))
print("up", flush=True)
try:
    print("got", s.recv(1))
except OSError:  # ECONNRESET, or ENOTCONN
    print("reset")
"""


def established(lab, port):
    return run(*lab.nsenter("net"), "ss", "-Htn", "state", "established", "sport", "=", f":{port}").splitlines()


def test_a_connection_outlives_its_lease_but_not_its_rule(lab):
    s = Session(lab, DB)
    assert s.ask("select 1;") == "1"
    closed_again(lab, V4, 6379)
    assert s.ask("select 2;") == "2"
    lab.must("workspace", "allowlist", "add", "more.lab-host.com")  # another rule changes nothing for it
    assert s.ask("select 3;") == "3"
    waits = lab.agent_start("/usr/bin/python3", "-c", WAITS, DB, text=True)
    assert waits.stdout.readline() == "up\n"
    lab.must("workspace", "allowlist", "remove", DB)
    # It is reset: both sides hear of it at once, and psql says so when it asks again.
    wait_for("the server's side to be closed", lambda: established(lab, 5432) + established(lab, 6379) == [], 5)
    assert waits.communicate(timeout=5)[0] == "reset\n"
    out, _ = s.p.communicate("select 4;\n", timeout=10)
    assert "could not receive" in out or "server closed the connection" in out or "could not send" in out, out
    assert not connect(lab, V4, before=DB).startswith("+")
    for port in (22, 5432, 6379):
        lab.must("workspace", "allowlist", "add", "--mode", "tcp", "--port", str(port), DB)


def test_an_answer_that_changes(lab):
    """The new address is open, the old one closes, who is connected to it stays."""
    s = Session(lab, MOVES)
    assert s.ask("select host(inet_server_addr());") in (V4, V6)
    say(lab, {**HOSTS, MOVES: (HOSTS[OTHER][0],)})
    new = wait_for("the new address", lambda: lab.agent(
        "psql", "-X", "-At", f"host={MOVES} user=agent dbname=postgres sslmode=disable", "-c", "select inet_server_addr()").stdout.strip(), 15)
    assert new in (V4, V6, HOSTS[OTHER][0])
    wait_for("the new address alone", lambda: lab.agent(
        "psql", "-X", "-At", f"host={MOVES} user=agent dbname=postgres sslmode=disable", "-c",
        "select host(inet_server_addr())").stdout.strip() == HOSTS[OTHER][0], 15)
    assert s.ask("select 5;") == "5"
    s.end()


def test_http_to_a_tcp_port_is_not_looked_at(lab):
    """A reference in what goes straight through is just text."""
    reads = lab.daemons[0].reads()
    p = lab.agent("redis-cli", "-h", DB, "echo", "agentsecrets://STRIPE_KEY")
    assert p.stdout == "agentsecrets://STRIPE_KEY\n"
    assert lab.daemons[0].reads() == reads
    lines = [x for x in lab.daemons[0].audit_lines() if x.get("scheme") == "tcp"]
    assert json.dumps(lines).count("opened for") < 200
