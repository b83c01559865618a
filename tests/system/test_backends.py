"""Values that are not in the vault: a keyring behind its helper, a mounted directory, a command (issue 5, must-shows 4 and 5)."""

import json
import os
import subprocess
import time

import pytest

from conftest import a_world, show
from helpers import AUTH, STRIPE, Agent, audit, reason, refused
from lab import BUILD, NOBODY, wait_for

URL = STRIPE
EVIL = "https://api.openai.com/v1/models"


@pytest.fixture(scope="module")
def lab():
    made = a_world()
    yield made
    show(made)
    made.down()


def counts(lab):
    return lab.daemons[0].status()["reads"]


def workspace(lab, name, backend, *more):
    lab.must("workspace", "create", name, "--backend", backend, *more)
    lab.must("workspace", "allowlist", "add", "-w", name, "api.stripe.com", "api.openai.com")


def blocked_reads_nothing(lab, agent):
    """A request of each kind that is refused, and nothing is read anywhere (counted at each place)."""
    before = counts(lab)
    for url, args, want in ((EVIL, AUTH, "secret_not_for_host"), ("https://attacker-domain.com/", AUTH, "domain_not_in_allowlist"),
                            ("http://api.stripe.com/v1/invoices", AUTH, "non_https_blocked"),
                            (STRIPE + "?k=agentsecrets://STRIPE_KEY", (), "secret_slot_not_allowed"),
                            (STRIPE, ("-H", "Authorization: Bearer agentsecrets://NO_SUCH_KEY"), "secret_unknown")):
        code, body = agent.curl(url, *args)
        assert code == 403 and reason(body) == want, (url, code, body)
    assert counts(lab) == before


# ---- a mounted directory ----

def swap(where, name, **values):
    """As the kubelet does it: a new directory, and ..data renamed over the old link."""
    (where / name).mkdir()
    for key, value in values.items():
        (where / name / key).write_text(value)
    os.symlink(name, where / "..data_tmp")
    os.rename(where / "..data_tmp", where / "..data")
    for key in values:
        if not os.path.lexists(where / key):
            os.symlink(f"..data/{key}", where / key)


def test_directory(lab):
    where = lab.dir / "mounted"
    where.mkdir(mode=0o755)
    swap(where, "..1", STRIPE_KEY=lab.keys["STRIPE_KEY"] + "\n")
    workspace(lab, "pod", f"dir:{where}")
    said = refused(lab.cli("secrets", "set", "-w", "pod", "STRIPE_KEY", "--host", "api.stripe.com", input="x"))
    assert "mounted directory" in said
    lab.must("secrets", "bind", "-w", "pod", "STRIPE_KEY", "--host", "api.stripe.com")
    with Agent(lab, workspace="pod") as agent:
        assert agent.curl(URL, *AUTH)[0] == 200
        blocked_reads_nothing(lab, agent)
        # Another value, in force with the next request; and back.
        swap(where, "..2", STRIPE_KEY="sk_live_another_one_of_the_pod")
        assert agent.curl(URL, *AUTH)[0] == 401
        assert lab.requests(authorization="Bearer sk_live_another_one_of_the_pod")
        swap(where, "..3", STRIPE_KEY=lab.keys["STRIPE_KEY"])
        assert agent.curl(URL, *AUTH)[0] == 200
        # Out of the directory: refused, and the file is not read.
        os.unlink(where / "STRIPE_KEY")
        os.symlink("/etc/hostname", where / "STRIPE_KEY")
        code, body = agent.curl(URL, *AUTH)
        assert (code, reason(body)) == (502, "vault_unavailable")
        os.unlink(where / "STRIPE_KEY")
        code, body = agent.curl(URL, *AUTH)
        assert (code, reason(body)) == (403, "secret_unknown")
        # Another directory in its place: noticed within a second.
        os.rename(where, lab.dir / "mounted-before")
        where.mkdir(mode=0o755)
        swap(where, "..1", STRIPE_KEY=lab.keys["STRIPE_KEY"])
        wait_for("the new directory", lambda: agent.curl(URL, *AUTH)[0] == 200)
    for bad in ("dir:relative", "dir", "memory", "dir:"):
        refused(lab.cli("workspace", "create", "bad", "--backend", bad))


# ---- a command ----

def script(lab, name, text):
    path = lab.dir / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def command(lab, path, *more, args=()):
    lab.must("secrets", "set", "STRIPE_KEY", "--host", "api.stripe.com", "--exec", json.dumps([str(path), *args]), "--user", "nobody",
             *more)


def test_command(lab):
    """Run as its user, with nothing of the daemon's; once for requests at once; not at all for refused ones."""
    work = lab.dir / "command"
    work.mkdir()
    work.chmod(0o777)
    told = work / "told"
    path = script(lab, "yields", f"id -u >> {told}; env >> {work}/env; echo \"$@\" >> {work}/args; echo a message >&2; "
                                 f"sleep 0.3; cat {work}/value\n")
    (work / "value").write_text(lab.keys["STRIPE_KEY"] + "\n")
    (work / "value").chmod(0o644)
    command(lab, path, "--ttl", "300", args=("$(id)", "a b;c"))
    with Agent(lab) as agent:
        blocked_reads_nothing(lab, agent)
        assert not told.exists()
        answers = agent.sh("for i in 1 2 3 4 5 6; do curl -sS -m 25 -o /dev/null -w '%{http_code}\\n' -H "
                           f"'Authorization: Bearer agentsecrets://STRIPE_KEY' {URL} & done; wait").split()
        assert answers == ["200"] * 6
        assert told.read_text().split() == [str(NOBODY)]
        assert (work / "args").read_text() == "$(id) a b;c\n"
        assert {line.split("=")[0] for line in (work / "env").read_text().splitlines()} <= {"PWD", "SHLVL", "_", "OLDPWD"}
        assert counts(lab)["command_runs"] == 1
        assert "a message" not in lab.daemons[0].messages()
        # Kept for ttl, until the secret is set anew.
        (work / "value").write_text("sk_live_later")
        assert agent.curl(URL, *AUTH)[0] == 200
        lab.daemons[0].environment = {}
        command(lab, path, "--ttl", "0")
        assert agent.curl(URL, *AUTH)[0] == 401
        (work / "value").write_text(lab.keys["STRIPE_KEY"])
        assert agent.curl(URL, *AUTH)[0] == 200
        assert counts(lab)["command_runs"] == 3
        # How it failed is told by its number, to root; the agent reads that it did.
        command(lab, script(lab, "fails", f"cat {work}/value; exit 7\n"))
        code, body = agent.curl(URL, *AUTH)
        assert (code, reason(body)) == (502, "secret_command_failed")
        assert audit(lab.daemons[0], reason="secret_command_failed", detail="the secret's command ended with status 7")
        # Out of time, with what it started.
        command(lab, script(lab, "hangs", f"sleep 1000 & echo $! > {work}/pid; wait\n"), "--timeout", "1")
        code, body = agent.curl(URL, *AUTH)
        assert (code, reason(body)) == (502, "secret_command_failed")
        pid = int((work / "pid").read_text())
        wait_for("its child's end", lambda: not os.path.exists(f"/proc/{pid}"))
        command(lab, "/no/such/program")
        assert agent.curl(URL, *AUTH)[0] == 502
        command(lab, script(lab, "floods", "yes\n"))
        assert agent.curl(URL, *AUTH)[0] == 502
        # After a restart it is still a command; and a value of its own again when it is set.
        command(lab, path, "--ttl", "0")
    lab.daemons[0].stop()
    lab.daemons[0].start()
    with Agent(lab) as agent:
        assert agent.curl(URL, *AUTH)[0] == 200 and counts(lab)["command_runs"] == 1
        lab.must("secrets", "set", "STRIPE_KEY", input=lab.keys["STRIPE_KEY"])
        assert agent.curl(URL, *AUTH)[0] == 200
        assert counts(lab)["command_runs"] == 1
    for args in (("--exec", '["op", "read"]', "--user", "nobody"), ("--exec", '["/bin/true"]', "--user", "root"),
                 ("--exec", '["/bin/true"]'), ("--exec", "/bin/true", "--user", "nobody"),
                 ("--exec", '["/bin/true", 1]', "--user", "nobody"), ("--exec", "[]", "--user", "nobody"),
                 ("--exec", '["/bin/true"]', "--user", "nobody", "--timeout", "0"),
                 ("--exec", '["/bin/true"]', "--user", "nobody", "--env", "A=b")):
        refused(lab.cli("secrets", "set", "STRIPE_KEY", *args))


# ---- a keyring ----

class Session:
    """A session bus with a real gnome-keyring, of one user."""

    def __init__(self, lab, uid=NOBODY):
        self.lab, self.uid, self.home = lab, uid, lab.dir / "session"
        for d in (self.home, self.home / "run", self.home / "share"):
            d.mkdir(mode=0o700)
            os.chown(d, uid, uid)
        script_ = 'eval "$(printf %s "$0" | gnome-keyring-daemon --unlock --components=secrets)" 2>/dev/null; echo ready; cat'
        self.bus = subprocess.Popen(
            self.user(["dbus-run-session", "--", "sh", "-c", f'echo "$DBUS_SESSION_BUS_ADDRESS"; {script_}', "password"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.env(), cwd=self.home)
        lab.procs.append(self.bus)
        self.address = self.bus.stdout.readline().decode().strip()
        assert self.bus.stdout.readline() == b"ready\n"

    def env(self):
        more = {"DBUS_SESSION_BUS_ADDRESS": self.address} if hasattr(self, "address") else {}
        return {**self.lab.cli_env(None, None), "HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "share"),
                "XDG_RUNTIME_DIR": str(self.home / "run"), **more}

    def user(self, argv):
        return self.lab.nsenter("box") + ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--"] + argv

    def run(self, *argv, input=None):
        return subprocess.run(self.user(list(argv)), env=self.env(), cwd=self.home, capture_output=True, text=True, input=input,
                              timeout=30, check=False)

    def helper(self, *args):
        p = subprocess.Popen(self.user([str(BUILD / "agentsecrets-secret-service"), *args]), env=self.env(), cwd=self.home,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.lab.procs.append(p)
        return p

    def lock(self):
        p = self.run("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
                     "org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/collection/login")
        assert p.returncode == 0, p.stderr

    def unlock(self):
        """gnome-keyring opens a keyring without a display only when it starts."""
        p = self.run("dbus-send", "--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/",
                     "org.freedesktop.DBus.GetConnectionUnixProcessID", "string:org.freedesktop.secrets")
        pid = int(p.stdout.split()[-1])
        os.kill(pid, 15)
        wait_for("the end of the keyring", lambda: not os.path.exists(f"/proc/{pid}"))
        p = self.run("sh", "-c", "gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1", input="password")
        assert p.returncode == 0, p.stderr


def test_keyring(lab):
    """gnome-keyring: set, run, rotate, lock (a clear error, nothing lost), unlock again."""
    daemon = lab.daemons[0]
    workspace(lab, "desk", "secret-service", "--owner", str(NOBODY))
    said = refused(lab.cli("secrets", "set", "-w", "desk", "STRIPE_KEY", "--host", "api.stripe.com", input="x"))
    assert "agentsecrets-secret-service" in said
    session = Session(lab)
    other = subprocess.run([str(BUILD / "agentsecrets-secret-service"), "desk"], env=session.env(), capture_output=True, text=True,
                           timeout=30, check=False)
    assert other.returncode == 1 and "only a program of that user" in other.stderr  # not even root's
    assert session.run(str(BUILD / "agentsecrets-secret-service"), "ordinary").returncode == 1  # its values are in the vault
    helper = session.helper("desk")
    assert b"answering for workspace desk" in helper.stderr.readline()
    lab.must("secrets", "set", "-w", "desk", "STRIPE_KEY", "--host", "api.stripe.com", input="sk_live_first")
    found = session.run("secret-tool", "lookup", "workspace", "desk", "name", "STRIPE_KEY")
    assert found.stdout == "sk_live_first"
    with Agent(lab, workspace="desk", uid=NOBODY) as agent:
        assert agent.curl(URL, *AUTH)[0] == 401  # the host knows another one
        assert lab.requests(authorization="Bearer sk_live_first")
        lab.must("secrets", "set", "-w", "desk", "STRIPE_KEY", input=lab.keys["STRIPE_KEY"])  # rotated
        assert agent.curl(URL, *AUTH)[0] == 200
        blocked_reads_nothing(lab, agent)
        session.lock()
        reads = counts(lab)
        code, body = agent.curl(URL, *AUTH)
        assert (code, reason(body)) == (502, "keyring_locked"), body
        assert counts(lab) == reads
        assert "locked" in refused(lab.cli("secrets", "set", "-w", "desk", "STRIPE_KEY", input="not stored"))
        session.unlock()
        assert agent.curl(URL, *AUTH)[0] == 200  # nothing was lost
        # The helper ends: said which program is missing; started again, all goes on.
        helper.terminate()
        helper.wait(10)
        code, body = wait_for("its end", lambda: (lambda r: r if r[0] == 502 else None)(agent.curl(URL, *AUTH)))
        assert reason(body) == "keyring_unavailable" and "agentsecrets-secret-service" in body
        helper = session.helper("desk")
        helper.stderr.readline()
        assert agent.curl(URL, *AUTH)[0] == 200
        # The keeper dies: the helper ends with its channel, and is started again by whoever watches it (systemd --user).
        keeper = next(pid for role, pid in daemon.processes() if role == "keeper")
        os.kill(keeper, 9)
        assert helper.wait(10) == 0
        wait_for("another keeper", lambda: any(r == "keeper" and p not in (0, keeper) for r, p in daemon.processes()))
        helper = wait_for("a helper", lambda: (lambda h: h if b"answering" in h.stderr.readline() else None)(session.helper("desk")))
        wait_for("its answer", lambda: agent.curl(URL, *AUTH)[0] == 200)
        lab.must("secrets", "delete", "-w", "desk", "STRIPE_KEY")
        assert session.run("secret-tool", "lookup", "workspace", "desk", "name", "STRIPE_KEY").returncode == 1
    helper.terminate()
    session.bus.stdin.close()
    session.bus.wait(10)
    assert "sk_live_first" not in daemon.messages() + daemon.audit.read_text()


def test_daemon_is_free_of_glib():
    """The helper alone knows of GLib and D-Bus."""
    for name, want in (("agentsecretsd", False), ("agentsecrets", False), ("agentsecrets-secret-service", True)):
        needed = subprocess.run(["ldd", str(BUILD / name)], capture_output=True, text=True, check=True).stdout
        assert ("libglib" in needed or "libdbus" in needed or "libsecret" in needed) == want
