"""Fixtures: `world` is one lab with one daemon for all tests that leave it as it was; `fresh` makes a lab of its
own for tests that kill, corrupt or count."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

import helpers  # noqa: E402
import lab as lab_module  # noqa: E402


def pytest_sessionstart(session):
    # A shell starts what runs behind it with some signals ignored, and ignored they would stay in all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if os.geteuid() != 0:
        pytest.exit("the system tests need root (network namespaces, BPF): sudo tests/system/run.sh", returncode=1)
    for name in ("agentsecretsd", "agentsecrets"):
        if not (lab_module.BUILD / name).exists():
            pytest.exit(f"{lab_module.BUILD / name} is missing: run make first", returncode=1)


def a_world(**changes):
    made = lab_module.Lab()
    try:
        lab_module.Daemon(made, **changes).start()
        made.setup()
    except BaseException:
        show(made)
        made.down()
        raise
    return made


def show(made):
    for d in made.daemons:
        print(f"---- {d.dir.name}'s messages ----\n{d.messages()[-6000:]}")


@pytest.fixture(scope="session")
def world():
    made = a_world()
    yield made
    made.down()


@pytest.fixture
def fresh():
    made = a_world()
    yield made
    show(made)
    made.down()


@pytest.fixture
def stripe_log(world):
    """The test sends one request to Stripe, which comes to it with the real key."""
    before = world.requests(host="api.stripe.com")
    yield before
    helpers.one_request(world, before, "api.stripe.com", f"Bearer {world.keys['STRIPE_KEY']}")


@pytest.fixture
def empty():
    """A lab with a running daemon on which nothing was ever done."""
    with lab_module.Lab() as made:
        lab_module.Daemon(made).start()
        yield made
        show(made)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure in the shared world shows what the daemon said while the test ran."""
    outcome = yield
    report = outcome.get_result()
    made = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and made:
        report.sections.append(("the daemon's last messages", made.daemons[0].messages()[-3000:]))


def pytest_sessionfinish(session, exitstatus):
    """A sanitizer's finding in any daemon fails the run. (AGENTSECRETS_BUILD=build/asan, absolute, runs the tests on such a build.)"""
    for said in lab_module.REPORTS:
        print(f"---- a daemon's messages, with a sanitizer's finding ----\n{said[-12000:]}")
        session.exitstatus = 1
