"""The word of `gridmerit doctor` on what this machine lacks."""

import pytest

from gridmerit.network.doctor import examine
from ledger import state


@pytest.mark.parametrize("is_native", [True, False])
async def test_a_state_tree_that_was_not_built_is_told(monkeypatch, is_native):
    monkeypatch.setattr(state, "NATIVE", is_native)
    told = [finding for finding in await examine(None) if finding.what == "state tree"]
    assert bool(told) != is_native
    for finding in told:
        assert finding.verdict == "warn"
        assert "build_ext" in finding.remedy
