"""Settings for every test, and a small chain for those of ledger and consensus.

Hypothesis draws the same examples on every machine, and nothing is timed. No good signature is checked twice by the
process of the tests: what peers in one process hear of each other, all of them would check alike.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from ledger.signatures import remember_signatures
from tests.support.ledger_lab import Lab

YIELDING = 10  # nice
_yields_while = os.environ.pop("YIELD_WHILE", None)  # a file is there

os.environ.pop("COLUMNS", None)  # of whoever runs the tests: tables are as wide as they are
settings.register_profile("gridmerit", deadline=None, derandomize=True)
settings.load_profile("gridmerit")
remember_signatures()


@pytest.hookimpl(tryfirst=True)  # before those who deal the tests out look at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what their module has set up stay together; those that wait for other processes come first."""
    for item in items:
        if any(fixtures[-1].scope == "module" for fixtures in item._fixtureinfo.name2fixturedefs.values()):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: "processes" not in item.path.parts)


def pytest_runtest_setup() -> None:
    """Leave the machine to tests that wait for clocks while these run; then take as much of it as any other process.

    Where the system lets us (root: it does).
    """
    if _yields_while is not None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, YIELDING if Path(_yields_while).exists() else 0)


@pytest.fixture(scope="session")
def make_lab() -> type[Lab]:
    """The maker of labs.

    Called with sections of parameters (`ledger={…}`, `consensus={…}`), members, siblings, contracts, a window, or a
    whole genesis.
    """
    return Lab


@pytest.fixture
def lab() -> Lab:
    return Lab()
