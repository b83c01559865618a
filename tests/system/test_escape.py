"""Every known way out of a guard, in each of the four modes. The suite is tests/escape/suite.py; it runs once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "escape"))

import suite  # noqa: E402


@pytest.fixture(scope="module")
def tried():
    if not suite.PROGRAM.exists():
        pytest.fail(f"{suite.PROGRAM} is missing: run make build/release/tests/escape/escape", pytrace=False)
    return suite.run_all()


@pytest.mark.parametrize("mode", suite.MODES.values())
def test_nothing_gets_out(tried, mode):
    """Nothing but what is listed as known, and all of that. The control modes: the sniffer sees."""
    bad = [line for line in suite.problems(tried) if mode in line]
    assert not bad, "\n".join([*bad, *suite.table_lines(tried, (mode,))])
    ran = sum(1 for m, _ in tried.said if suite.MODES[m] == mode)
    assert ran >= len(tried.ways) - len(tried.alone), f"{ran} of {len(tried.ways)} ways were tried"
