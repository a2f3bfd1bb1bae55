"""The coin of `coin_lab` as a scenario, for this process and those it spawns."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.scenario import SCENARIOS, Scenario, load_scenario


@pytest.fixture
def coin(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(SCENARIOS, "coin", "coin_lab:COIN")
    return load_scenario("coin")
