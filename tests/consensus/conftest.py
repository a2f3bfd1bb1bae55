"""A chain with real seals: `make_chain()` gives each test its own."""

from __future__ import annotations

import pytest

from tests.support.sealed_chain import SealedChain


@pytest.fixture(scope="session")
def make_chain() -> type[SealedChain]:
    """Called with consensus parameters that differ from its own, and what `make_lab` takes."""
    return SealedChain


@pytest.fixture
def sealed() -> SealedChain:
    return SealedChain()
