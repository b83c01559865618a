"""A browser with its own sandbox, as an ordinary user, inside `run`: a row of README's table "Clients"."""

import shutil
import subprocess
import urllib.parse

import pytest

from lab import NOBODY
from test_2_clients import one_request

# What a page says and does: the key's reference is in the page, as it would be in an agent's browser session.
PAGE = """<body><script>
fetch('https://HOST/v1/invoices', {headers: {authorization: 'Bearer agentsecrets://STRIPE_KEY'}})
    .then(r => r.text()).then(t => document.body.textContent = t, e => document.body.textContent = 'failed: ' + e)
</script>"""
SHELL = ["chromium-headless-shell", "--disable-gpu", "--disable-web-security", "--virtual-time-budget=30000", "--dump-dom"]
TRUST = ('mkdir -p "$HOME/.pki/nssdb" && certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password && '
         'certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n agentsecrets -i "$NODE_EXTRA_CA_CERTS"')


@pytest.fixture
def browser(world):
    alone = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "unshare", "--user", "true"]
    if subprocess.run(alone, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets no ordinary user make a user namespace, which the browser's own sandbox needs")
    home = world.home / "browser"
    home.mkdir()
    home.chmod(0o777)

    def agent(*argv):
        return world.agent(*argv, uid=NOBODY, workspace="ordinary", env={"HOME": str(home)}, timeout=120)

    def show(url):
        p = agent(*SHELL, f"--user-data-dir={home}/data", url)
        assert p.returncode == 0, p.stderr
        return p.stdout
    p = agent("sh", "-c", TRUST)
    assert p.returncode == 0, p.stderr
    yield show
    shutil.rmtree(home)


def test_browser(world, browser):
    before = world.requests(host="api.stripe.com")
    said = browser("data:text/html," + urllib.parse.quote(PAGE.replace("HOST", "api.stripe.com")))
    assert '"object":"list"' in said, said
    one_request(world, before, "api.stripe.com", f"Bearer {world.keys['STRIPE_KEY']}")
    said = browser("https://attacker-domain.com/")
    assert "attacker-domain.com is not in your workspace allowlist" in said, said
