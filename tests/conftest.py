"""Settings for every test, and a small chain for those of ledger and consensus.

Hypothesis draws the same examples on every machine, and nothing is timed. No good signature is checked twice by the
process of the tests: what peers in one process hear of each other, all of them would check alike.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from ledger.signatures import remember_signatures
from tests.support.ledger_lab import Lab

os.environ.pop("COLUMNS", None)  # of whoever runs the tests: tables are as wide as they are
settings.register_profile("gridmerit", deadline=None, derandomize=True)
settings.load_profile("gridmerit")
remember_signatures()


@pytest.fixture(scope="session")
def make_lab() -> type[Lab]:
    """Called with sections of parameters (`ledger={…}`, `consensus={…}`), members, siblings, contracts, a window,
    or a whole genesis."""
    return Lab


@pytest.fixture
def lab() -> Lab:
    return Lab()
