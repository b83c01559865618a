"""The vault's ways to be locked, its backups, and what a locked one does (issue 5, must-show 4)."""

import json
import os
import pty
import secrets
import select
import time

import pytest

from conftest import a_world, show
from helpers import AUTH, STRIPE, Agent, audit, reason, refused, works
from lab import LabError, wait_for

PHRASE = f"correct horse {secrets.token_hex(8)}"
CHEAP = ("--passes", "1", "--memory", "8")


def vault(lab, *args, phrase=None, **kw):
    return lab.cli("vault", *args, input=phrase, **kw)


def good(p):
    assert p.returncode == 0, p.stderr
    return p.stdout


def status(lab):
    return json.loads(good(vault(lab, "status", "--json")))


def kinds(lab):
    return [w["kind"] for w in status(lab)["locked_by"]]


def restart(lab):
    lab.daemons[0].stop()
    return lab.daemons[0].start()


@pytest.fixture(scope="module")
def lab():
    made = a_world()
    yield made
    show(made)
    made.down()


def test_key_file(lab):
    """A new key file: the old one opens nothing any more, and a power cut between the two files is mended."""
    key = lab.daemons[0].state / "vault.key"
    before = key.read_bytes()
    assert kinds(lab) == ["key-file"]
    good(vault(lab, "rewrap", "--key-file"))
    after = key.read_bytes()
    assert before != after and len(after) == 32 and key.stat().st_mode & 0o777 == 0o600
    assert not (key.parent / "vault.key.new").exists()
    restart(lab)
    works(lab)
    # As if the power had gone after the vault was locked with the new file and before that one took its place.
    lab.daemons[0].stop()
    (key.parent / "vault.key.new").write_bytes(after)
    (key.parent / "vault.key.new").chmod(0o600)
    key.write_bytes(before)
    lab.daemons[0].start()
    assert key.read_bytes() == after and not (key.parent / "vault.key.new").exists()
    works(lab)
    # As if it had gone before: the file of the meantime opens nothing, and goes.
    lab.daemons[0].stop()
    (key.parent / "vault.key.new").write_bytes(before)
    (key.parent / "vault.key.new").chmod(0o600)
    lab.daemons[0].start()
    assert key.read_bytes() == after and not (key.parent / "vault.key.new").exists()
    works(lab)


def test_passphrase(lab):
    """Locked after each start; requests are refused, said why, and nothing is lost; wrong ones are slowed down."""
    daemon, key = lab.daemons[0], lab.daemons[0].state / "vault.key"
    refused(vault(lab, "rewrap", "--passphrase", *CHEAP, phrase="short\n"))
    refused(vault(lab, "rewrap", "--passphrase", "--memory", "4", phrase=PHRASE))
    refused(vault(lab, "rewrap", "--passphrase", "--passes", "99", "--memory", "1024", phrase=PHRASE))
    assert kinds(lab) == ["key-file"] and key.exists()
    good(vault(lab, "rewrap", "--passphrase", *CHEAP, phrase=PHRASE + "\n"))
    assert not key.exists()
    assert status(lab)["locked_by"] == [{"kind": "passphrase", "kdf": "argon2id", "passes": 1, "memory_mib": 8}]
    works(lab)  # it stays open until somebody locks it
    restart(lab)
    assert status(lab)["state"] == "locked" and daemon.status()["locked"]
    said = refused(lab.cli("secrets", "list"))
    assert "vault unlock" in said
    p = lab.agent("true")
    assert p.returncode == 125 and "vault unlock" in p.stderr
    said = refused(vault(lab, "unlock", phrase="not the passphrase"))
    assert "not the passphrase that" in said
    assert "wait" in refused(vault(lab, "unlock", phrase=PHRASE))
    time.sleep(status(lab).get("wait_s", 0))
    good(vault(lab, "unlock", phrase=PHRASE))
    works(lab)
    for text in (daemon.messages(), daemon.audit.read_text()):
        assert PHRASE not in text and "not the passphrase" not in text
    refused(vault(lab, "unlock", phrase=PHRASE))  # open already


def test_locked_by_hand(lab):
    """`vault lock`: an agent reads why it is refused; unlocked, the same agent goes on."""
    with Agent(lab) as agent:
        code, body = agent.curl(STRIPE, *AUTH)
        assert code == 200 and '"object":"list"' in body
        good(vault(lab, "lock"))
        reads = lab.daemons[0].reads()
        code, body = agent.curl(STRIPE, *AUTH)
        assert (code, reason(body)) == (502, "vault_locked"), body
        assert "vault unlock" in body
        assert lab.daemons[0].reads() == reads
        assert audit(lab.daemons[0], reason="vault_locked")
        refused(lab.cli("secrets", "set", "STRIPE_KEY", input="x"))
        good(vault(lab, "unlock", phrase=PHRASE))
        code, body = agent.curl(STRIPE, *AUTH)
        assert code == 200 and '"object":"list"' in body


def test_keeper_dies(lab):
    """A passphrase is kept nowhere: a keeper that is started again is locked, and says so; unlocked, all goes on."""
    keeper = next(pid for role, pid in lab.daemons[0].processes() if role == "keeper")
    with Agent(lab) as agent:
        assert agent.curl(STRIPE, *AUTH)[0] == 200
        os.kill(keeper, 9)
        wait_for("another keeper", lambda: any(r == "keeper" and p not in (0, keeper) for r, p in lab.daemons[0].processes()))
        wait_for("its state", lambda: vault(lab, "status").returncode == 0 and status(lab)["state"] == "locked")
        code, body = agent.curl(STRIPE, *AUTH)
        assert code != 200
        good(vault(lab, "unlock", phrase=PHRASE))
        wait_for("its answer", lambda: agent.curl(STRIPE, *AUTH)[0] == 200)


def test_terminal(lab):
    """On a terminal the passphrase is asked for, and not shown."""
    good(vault(lab, "lock"))
    master, slave = pty.openpty()
    p = lab.cli_start("vault", "unlock", stdin=slave)
    os.close(slave)
    line = wait_for("the prompt", lambda: p.stderr.read1(4096))
    assert b"Passphrase of the vault (not shown)" in line
    os.write(master, PHRASE.encode() + b"\n")
    assert p.wait(30) == 0, p.stderr.read()
    shown = b""
    while select.select([master], [], [], 0)[0]:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
    os.close(master)
    assert PHRASE.encode() not in shown
    works(lab)


def test_credential(lab):
    """systemd's credential: the file that it puts in $CREDENTIALS_DIRECTORY is the key."""
    daemon = lab.daemons[0]
    assert "LoadCredentialEncrypted" in refused(vault(lab, "rewrap", "--credential"))
    where = lab.dir / "credentials"
    where.mkdir(mode=0o700)
    (where / "agentsecrets.vault").write_bytes(secrets.token_bytes(32))
    daemon.stop()
    daemon.environment = {"CREDENTIALS_DIRECTORY": str(where)}
    daemon.start()
    good(vault(lab, "unlock", phrase=PHRASE))
    good(vault(lab, "rewrap", "--credential"))
    assert kinds(lab) == ["credential"]
    restart(lab)
    works(lab)
    good(vault(lab, "rewrap", "--key-file"))
    daemon.environment = {}
    restart(lab)
    works(lab)


def test_backup(lab):
    """Sealed, never over another file; restored only when it is ours and whole; what was replaced is kept."""
    file, state = lab.private / "vault.backup", lab.daemons[0].state
    good(vault(lab, "backup", str(file)))
    assert file.stat().st_mode & 0o777 == 0o600
    held = file.read_bytes()
    assert not any(k.encode() in held for k in lab.keys.values())
    assert "not overwritten" in refused(vault(lab, "backup", str(file)))
    assert file.read_bytes() == held
    refused(vault(lab, "backup", str(lab.private / "no" / "where")))
    lab.must("secrets", "set", "STRIPE_KEY", input="another one")
    lab.must("secrets", "set", "LATER", "--host", "api.stripe.com", input="made after the backup")
    now = (state / "vault" / "vault.bin").read_bytes()
    for bad in (held[:-1], held[:200], b"", held[:300] + bytes([held[300] ^ 1]) + held[301:], os.urandom(1000)):
        (lab.private / "bad").write_bytes(bad)
        said = refused(vault(lab, "restore", str(lab.private / "bad")))
        assert "nothing was touched" in said
    refused(vault(lab, "restore", "/dev/zero"))
    assert (state / "vault" / "vault.bin").read_bytes() == now
    with Agent(lab) as agent:
        assert agent.curl(STRIPE, *AUTH)[0] == 401  # the host does not know the other one
        good(vault(lab, "restore", str(file)))
        assert (state / "vault" / "vault.old").read_bytes() == now
        assert agent.curl(STRIPE, *AUTH)[0] == 200
    restart(lab)
    works(lab)


def test_damaged(lab):
    """Truncated, flipped, or an older copy: the daemon says so and touches nothing; the good file put back, it goes on."""
    daemon, vault_dir = lab.daemons[0], lab.daemons[0].state / "vault"
    file = vault_dir / "vault.bin"
    older = file.read_bytes()
    lab.must("secrets", "set", "OPENAI_API_KEY", input=lab.keys["OPENAI_API_KEY"])
    good_file = file.read_bytes()
    for bad, why in ((good_file[:-7], "damaged or cut short"), (good_file[:99] + b"x" + good_file[100:], "damaged or cut short"),
                     (older, "older copy")):
        daemon.stop()
        file.write_bytes(bad)
        with pytest.raises(LabError):
            daemon.start()
        assert why in daemon.messages().splitlines()[-1] or why in daemon.messages()[-2000:]
        assert file.read_bytes() == bad and (vault_dir / "vault.bak").read_bytes() == good_file
    file.write_bytes((vault_dir / "vault.bak").read_bytes())
    daemon.start()
    works(lab)
