"""A scenario for tests of the laboratory itself: coins that are flipped, slow, faulty and deadly on request."""

from __future__ import annotations

import os
import sys
import time
from random import Random

import pytest
from pydantic import Field

from simulation.experiments.scenario import SCENARIOS, Metric, Scenario, Settings, Theory, Trial, load_scenario
from simulation.recording import Frame, Recording

NAME = "coin"
GATE = "COIN_GATE"  # an environment variable: while it is set, one trial in four never ends


class CoinSettings(Settings):
    p: float = Field(0.5, ge=0, lt=1, description="chance of heads")
    flips: int = Field(20, ge=1, description="flips in a trial")
    is_deadly: bool = Field(False, description="whether a trial ends its process")
    faulty_below: int = Field(0, ge=0, le=100, description="trials that raise, of a hundred")


def flip(settings: Settings, seed: int) -> Trial:
    assert isinstance(settings, CoinSettings)
    while GATE in os.environ and seed % 4 == 0:
        time.sleep(0.01)
    if settings.is_deadly:
        os._exit(1)
    if seed % 100 < settings.faulty_below:
        raise ValueError(f"coin {seed} stands on its edge")
    random = Random(seed)
    heads = sum(random.random() < settings.p for _ in range(settings.flips))
    return Trial(
        row={"heads": heads, "flips": settings.flips, "ratio": heads / settings.flips, "deepest_reorg": heads % 4}
    )


def film(settings: Settings, seed: int) -> Trial:
    """Four peers; every fifth block has a rival, which two of them follow for a while."""
    random = Random(seed)
    peers = ("ada", "bob", "cyd", "dan")
    frames: list[Frame] = [(0, "note", "the film begins")]
    tip, now_ms = "00000000", 0
    for height in range(1, 31):
        now_ms += random.randint(400, 1_600)
        hash_, rival = f"{height:08x}", f"{height:08x}"[::-1].replace("0", "f")
        finder = peers[random.randrange(4)]
        frames += [
            (now_ms, "block", finder, hash_, tip, height),
            (now_ms, "target", hash_, str(10**30 + height * 10**28)),
        ]
        for peer in peers:
            if peer != finder:
                frames.append((now_ms + random.randint(10, 200), "arrive", peer, hash_))
        if height % 5 == 0:
            frames.append((now_ms + 5, "block", peers[3], rival, tip, height))
            frames += [(now_ms + 6, "head", peer, rival) for peer in peers[2:]]
        frames += [(now_ms + 250, "head", peer, hash_) for peer in peers]
        if height == 12:
            frames += [(now_ms + 260, "crash", "cyd"), (now_ms + 270, "cut", "ada bob | dan")]
        if height == 16:
            frames += [(now_ms + 260, "heal", "all"), (now_ms + 270, "start", "cyd")]
        if height > 3:
            frames += [(now_ms + 300, "final", peer, f"{height - 3:08x}") for peer in peers]
        tip = hash_
    end_ms = now_ms + 1_000
    replay = Recording(
        scenario=NAME,
        settings=settings.model_dump(),
        seed=seed,
        peers=peers,
        start_ms=0,
        end_ms=end_ms,
        frames=tuple(sorted(frames, key=lambda frame: frame[0])),
    )
    return Trial(row=flip(settings, seed).row, replay=replay)


def predict(settings: Settings) -> Theory:
    assert isinstance(settings, CoinSettings)
    return Theory(name="fair_coin", value=settings.p, source="Bernoulli 1713, Ars conjectandi")


COIN = Scenario(
    name=NAME,
    about="Flips a coin. It is here to be counted.",
    settings=CoinSettings,
    run=flip,
    film=film,
    metrics=(
        Metric(name="heads", kind="share", column="heads", out_of="flips", theory=predict),
        Metric(name="ratio", kind="mean", column="ratio", unit="heads per flip", theory=predict),
    ),
)


@pytest.fixture
def coin(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """The coin, registered for one test."""
    monkeypatch.setitem(SCENARIOS, NAME, "tests.support.coin_lab:COIN")
    return load_scenario(NAME)


if __name__ == "__main__":
    from gridmerit.main import main

    SCENARIOS[NAME] = "tests.support.coin_lab:COIN"
    main(sys.argv[1:])
