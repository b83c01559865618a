"""`run` as a program: exit status, signals, streams, clean-up, and guards beside each other."""

import json
import os
import signal
import subprocess

import pytest

from helpers import AUTH, STRIPE, audit, curl, refused, works
from lab import NOBODY, wait_for
from test_6_load import MANY


def guards(d):
    return d.ask(op="cgroup.list")["guards"]


@pytest.mark.parametrize("code", [0, 1, 7, 42, 125, 127, 255])
def test_exit_status(world, code):
    assert world.agent("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_agent(world, number):
    p = world.agent_start("sh", "-c", f"trap 'echo caught; exit 9' {int(number)}; echo up; while :; do sleep 0.05; done", text=True)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    p.send_signal(number)
    out, err = p.communicate(timeout=20)
    assert (out, p.returncode) == ("caught\n", 9), err


def test_killed_by_a_signal(world):
    p = world.agent("sh", "-c", "kill -KILL $$")
    assert p.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def test_streams_are_the_agents(world):
    p = world.agent("sh", "-c", "cat; echo err >&2", input="in\n")
    assert (p.stdout, p.stderr) == ("in\n", "err\n")


def test_user_group_and_folder_stay(world):
    p = world.agent("sh", "-c", "id -u; id -g; pwd", uid=NOBODY, workspace="ordinary")
    assert p.stdout.split() == [str(NOBODY), str(NOBODY), str(world.home)], p.stderr


def test_guard_goes_with_the_agent(world):
    """Killed in whatever way, its cgroup and its pins are gone soon."""
    d = world.daemons[0]
    wait_for("guards of other tests to go", lambda: not guards(d))
    p = world.agent_start("sleep", "1000")
    here = wait_for("the guard", lambda: guards(d))
    assert len(here) == 1 and here[0]["workspace"] == "demo"
    listed = json.loads(world.must("cgroup", "list", "--json").stdout)
    assert json.dumps(here[0]["guard"]) in json.dumps(listed)
    path = here[0]["path"]
    assert os.path.isdir(path)
    pids = open(os.path.join(path, "cgroup.procs"), encoding="ascii").read().split()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    p.wait(10)
    p.communicate()
    wait_for("the guard's end", lambda: not guards(d) and not os.path.isdir(path))
    assert [str(pin) for pin in (d.rundir / "bpf").glob("v*/guards/*")] == []


def test_guards_come_and_go_while_the_proxies_are_busy(world):
    """The last guard of a namespace ends and the next one begins at once, sixty times."""
    busy = world.agent_start("/usr/bin/python3", "-c", MANY, "1280", "64", "1", ns="pod")
    try:
        for _ in range(60):
            p = world.agent("true")
            assert (p.returncode, p.stderr) == (0, "")
    finally:
        out, err = busy.communicate(timeout=120)
    assert out.strip() == b"1280", err[-1000:]


def test_children_that_stay_are_still_guarded(world):
    """The command ends, what it left behind stays behind the wall."""
    d = world.daemons[0]
    p = world.agent("sh", "-c", "(sleep 1; curl -sS -m 5 http://10.0.1.5/; echo $? > left) > /dev/null 2>&1 & echo done")
    assert p.stdout == "done\n"
    left = world.home / "left"
    wait_for("what was left behind", lambda: left.exists() and left.read_text().strip(), 20)
    assert left.read_text().strip() == "7"
    left.unlink()
    wait_for("the guard's end", lambda: not guards(d), 20)


def test_control_socket_is_closed_to_agents(world):
    """Root or not: who sits in a guard administrates nothing."""
    d = world.daemons[0]
    control = {"AGENTSECRETS_CONTROL": str(d.control)}
    for args in (["status"], ["log"], ["secrets", "list"], ["workspace", "allowlist", "add", "attacker-domain.com"],
                 ["run", "--workspace", "demo", "--", "true"]):
        refused(world.agent("agentsecrets", *args, env=control))
    p = world.agent("/usr/bin/python3", "-c", "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
                    "s.connect(sys.argv[1]); s.sendall(b'{\"op\":\"status\"}\\n'); print(s.recv(4096))", str(d.control))
    assert '"ok":true' not in p.stdout, p.stdout


def test_leaving_the_cgroup(world):
    """Root inside moves itself to the root cgroup, or cannot; either way the wall holds."""
    from lab import cgroup2_mount
    shell = (f"echo $$ > {cgroup2_mount()}/cgroup.procs; nsenter -t 1 -n true; mount -t cgroup2 none /mnt; "
             "curl -sS -m 5 http://10.0.1.5/")
    p = world.agent("sh", "-c", shell, ns="pod")
    assert p.returncode == 7, (p.stdout, p.stderr)
    assert world.leaks() == []


def test_two_workspaces_do_not_see_each_other(world):
    d = world.daemons[0]
    world.must("workspace", "create", "other")
    try:
        world.must("workspace", "allowlist", "add", "--workspace", "other", "api.stripe.com")
        world.must("secrets", "set", "--workspace", "other", "OTHER_KEY", "--host", "api.stripe.com", input="sk_other_1")
        assert "STRIPE_KEY" not in world.agent("env", workspace="other").stdout
        assert "OTHER_KEY" not in world.agent("env").stdout
        reads = d.reads()
        first = world.agent_start("sh", "-c", f"curl -sS {STRIPE} -H '{AUTH[1]}'", workspace="other")
        second = world.agent_start("sh", "-c", f"curl -sS {STRIPE} -H 'Authorization: Bearer agentsecrets://OTHER_KEY'")
        third = world.agent_start("sh", "-c", f"curl -sS {STRIPE} -H '{AUTH[1]}'")
        said = [json.loads(p.communicate(timeout=30)[0]) for p in (first, second, third)]
        assert [s.get("error") for s in said] == ["secret_unknown", "secret_unknown", None], said
        assert d.reads() == reads + 1
        status, body, _ = curl(world, "https://api.openai.com/v1/models", workspace="other")
        assert status == 403, body
    finally:
        world.must("workspace", "delete", "other")


def test_workspace_in_use_is_not_deleted(world):
    d = world.daemons[0]
    world.must("workspace", "create", "used")
    p = world.agent_start("sleep", "1000", workspace="used")
    wait_for("the guard", lambda: [g for g in guards(d) if g["workspace"] == "used"])
    try:
        refused(world.cli("workspace", "delete", "used"))
    finally:
        p.terminate()
        p.communicate(timeout=10)
    wait_for("the guard's end", lambda: not [g for g in guards(d) if g["workspace"] == "used"])
    world.must("workspace", "delete", "used")


def test_rule_change_reaches_running_agents(world):
    """Removed from the list: refused at the next request, on the same connection too. Added again: works."""
    d = world.daemons[0]
    code = ("import http.client, sys\nc = http.client.HTTPSConnection('files.lab-host.com', timeout=20)\n"
            "for line in sys.stdin:\n    c.request('GET', '/hello'); r = c.getresponse(); r.read(); print(r.status, flush=True)\n")
    p = world.agent_start("/usr/bin/python3", "-c", code, stdin=subprocess.PIPE, text=True)

    def ask():
        p.stdin.write("go\n")
        p.stdin.flush()
        return p.stdout.readline().strip() or p.stderr.read()

    try:
        assert ask() == "200"
        world.must("workspace", "allowlist", "remove", "--workspace", "demo", "files.lab-host.com")
        assert ask() == "403"
        world.must("workspace", "allowlist", "add", "--workspace", "demo", "files.lab-host.com")
        wait_for("the rule to work again", lambda: ask() == "200")
    finally:
        p.kill()
        p.communicate()
    audit(d, host="files.lab-host.com", reason="domain_not_in_allowlist")


def test_secret_rotation(world):
    """A new value is used at once; deleted, it is unknown."""
    world.must("secrets", "set", "--workspace", "demo", "ROTATED", "--host", "api.stripe.com", input="first-value-1")
    try:
        for value in ("second-value-2", world.keys["STRIPE_KEY"]):
            world.must("secrets", "set", "--workspace", "demo", "ROTATED", input=value)
            status, _, p = curl(world, STRIPE, "-H", "Authorization: Bearer agentsecrets://ROTATED")
            assert status == (200 if value == world.keys["STRIPE_KEY"] else 401), p.stderr
    finally:
        world.must("secrets", "delete", "--workspace", "demo", "ROTATED")
    assert curl(world, STRIPE, "-H", "Authorization: Bearer agentsecrets://ROTATED")[0] == 403


def test_audit_chain(world):
    works(world)
    p = world.cli("log", "verify")
    assert p.returncode == 0, (p.stdout, p.stderr)


def test_changed_audit_log_is_noticed(fresh):
    works(fresh)
    d = fresh.daemons[0]
    audit(d, host="api.stripe.com")
    text = d.audit.read_text()
    d.audit.write_text(text.replace("api.stripe.com", "api.strype.com", 1))
    said = refused(fresh.cli("log", "verify"))
    assert "verif" in said or "changed" in said or "mac" in said or "chain" in said, said


def test_help_everywhere(world):
    for words in ([], ["init"], ["workspace"], ["workspace", "create"], ["workspace", "list"], ["workspace", "use"], ["workspace", "delete"],
                  ["workspace", "allowlist"], ["workspace", "allowlist", "add"], ["workspace", "allowlist", "remove"],
                  ["workspace", "allowlist", "list"], ["workspace", "allowlist", "verify"], ["secrets"], ["secrets", "set"],
                  ["secrets", "list"], ["secrets", "delete"], ["run"], ["cgroup"], ["cgroup", "list"], ["status"], ["log"], ["doctor"], ["version"]):
        p = world.cli(*words, "--help")
        assert p.returncode == 0 and len(p.stdout) > 40 and p.stderr == "", (words, p.returncode, p.stdout, p.stderr)


def test_json_where_a_machine_reads(world):
    for words in (["workspace", "list"], ["workspace", "allowlist", "list"], ["secrets", "list"], ["cgroup", "list"], ["status"], ["doctor"], ["version"]):
        json.loads(world.must(*words, "--json").stdout)
    for line in world.must("log", "--json").stdout.splitlines():
        json.loads(line)


def test_processes_have_their_own_users_and_no_privilege(world):
    from lab import USERS
    d = world.daemons[0]
    for role, pid in d.processes():
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status", encoding="ascii").read().splitlines() if ":\t" in line)
        name = role.rstrip("0123456789")
        if name in USERS:
            assert status["Uid"].split() == [str(USERS[name])] * 4, role
            assert int(status["CapEff"], 16) == 0 == int(status["CapPrm"], 16), role
            assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", role
            assert status["Groups"].strip() == "", role
    roles = {r.rstrip("0123456789") for r, _ in d.processes()}
    assert {"holder", "keeper", "resolver", "proxy"} <= roles
