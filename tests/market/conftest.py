"""A small market on a chain: `make_market()` gives each test its own, alone or beside others."""

from __future__ import annotations

import pytest

from tests.support.market_lab import Market


@pytest.fixture(scope="session")
def make_market() -> type[Market]:
    """Called with sibling chains, what members are registered with, and the market parameters that are not defaults."""
    return Market


@pytest.fixture
def market() -> Market:
    """A market as the book of its period opens."""
    return Market()
