"""Films as files: they come back whole, and whatever is broken is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import recording as replays
from simulation.errors import BadReplay
from simulation.experiments.scenario import Scenario
from simulation.recording import Frame, Recording, dump_replay, parse_replay
from simulation.report.recording_summary import summarise

FRAMES: tuple[Frame, ...] = (
    (100, "block", "ada", "b1", "00", 1),
    (120, "arrive", "bob", "b1"),
    (120, "head", "bob", "b1"),
    (130, "target", "b1", str(2**200)),
    (150, "cut", "ada | bob"),
    (160, "final", "ada", "b1"),
    (200, "note", "over"),
)
FILM = Recording(
    scenario="coin",
    settings={"p": 0.5, "flips": 3, "kind": "fair", "on": True},
    seed=2**62,
    peers=("ada", "bob"),
    start_ms=50,
    end_ms=200,
    frames=FRAMES,
)


def _edit(**changes: object) -> bytes:
    return json.dumps({**json.loads(dump_replay(FILM)), **changes}).encode()


def _with_frame(index: int, frame: object) -> bytes:
    events: list[object] = [list(each) for each in FRAMES]
    events[index] = frame
    return _edit(events=events)


def test_a_film_comes_back_as_it_was() -> None:
    assert parse_replay(dump_replay(FILM), "f.json") == FILM


def test_a_filmed_trial_comes_back_as_it_was(coin: Scenario) -> None:
    assert coin.film is not None
    replay = coin.film(coin.settings(), 5).replay
    assert replay is not None
    assert parse_replay(dump_replay(replay), "f.json") == replay


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (_edit(version=2), "version is 2, want 1"),
        (_edit(colour="blue"), "no film has 'colour'"),
        (b'{"version": 1}', "no 'scenario'"),
        (_edit(scenario=7), "scenario is not text"),
        (_edit(seed="7"), "seed is not a whole number"),
        (_edit(settings={"p": [1]}), "settings: p"),
        (_edit(peers=["ada", "ada"]), "peers names one twice"),
        (_edit(peers=["ada", 3]), "peers is not a list of names"),
        (_edit(start_ms=300), "start_ms 300"),
        (_edit(events={}), "events is not a list"),
        (_with_frame(1, "arrive"), "event 1: not a list"),
        (_with_frame(1, ["1", "note", "x"]), "event 1: its time is '1'"),
        (_with_frame(1, [90, "note", "x"]), "event 1: its time, 90 ms, is not within 100 … 200"),
        (_with_frame(6, [201, "note", "x"]), "event 6: its time, 201 ms"),
        (_with_frame(2, [120, "explode", "bob"]), "event 2: no event is called 'explode'"),
        (_with_frame(2, [120, "head", "bob"]), "event 2: head has 1 values, want peer, hash"),
        (_with_frame(2, [120, "head", "eve", "b1"]), "event 2: no peer is called 'eve'"),
        (_with_frame(2, [120, "head", "bob", 5]), "event 2: its hash is not a text"),
        (_with_frame(2, [120, "note", "x" * 1_001]), "event 2: its detail is not a text of at most"),
        (_with_frame(3, [130, "target", "b1", "-3"]), "event 3: its target is '-3'"),
        (_with_frame(0, [100, "block", "ada", "b1", "00", True]), "event 0: its height is True"),
        (_with_frame(1, [110, "block", "ada", "b1", "00", 1]), "event 1: block b1 is there already"),
        (_with_frame(1, [110, "block", "ada", "00", "b1", 2]), "event 1: block 00 is there already"),
        (_with_frame(1, [110, "block", "ada", "b2", "b1", 3]), "event 1: block b2 has height 3, its parent 1"),
        (_with_frame(1, [110, "block", "ada", "b2", "b2", 3]), "event 1: block b2 is there already"),
    ],
)
def test_what_is_broken_is_named(raw: bytes, what: str) -> None:
    with pytest.raises(BadReplay) as caught:
        parse_replay(raw, "f.json")
    assert str(caught.value).startswith("f.json is no replay: ")
    assert what in str(caught.value)


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 100), ("MAX_FRAMES", 3), ("MAX_PEERS", 1)])
def test_a_film_beyond_a_limit_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(replays, limit, value)
    with pytest.raises(BadReplay, match=f"at most {value} are"):
        parse_replay(dump_replay(FILM), "f.json")


@given(st.data())
def test_no_damage_goes_unnamed(data: st.DataObject) -> None:
    raw = bytearray(dump_replay(FILM))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_replay(bytes(raw), "f.json")
    except BadReplay:
        return
    summarise(parsed)


# --- what a film comes to ------------------------------------------------------------------------


def _film(*frames: Frame) -> Recording:
    return Recording(
        scenario="s", settings={}, seed=1, peers=("ada", "bob", "cyd"), start_ms=0, end_ms=999, frames=frames
    )


def test_a_reorganisation_is_as_deep_as_the_blocks_it_leaves() -> None:
    # 00 ── a1 ── a2
    #    └─ b1 ── b2 ── b3
    film = _film(
        (10, "block", "ada", "a1", "00", 1),
        (11, "block", "bob", "b1", "00", 1),
        (20, "block", "ada", "a2", "a1", 2),
        (21, "head", "ada", "a2"),
        (22, "block", "bob", "b2", "b1", 2),
        (30, "block", "bob", "b3", "b2", 3),
        (31, "head", "bob", "b3"),
        (32, "head", "cyd", "a1"),
        (33, "head", "cyd", "a2"),
        (40, "head", "ada", "b3"),
        (41, "head", "cyd", "b3"),
    )
    summary = summarise(film)
    assert summary.reorg_depths == {2: 2}
    assert {block.hash for block in summary.blocks if block.is_canonical} == {"b1", "b2", "b3"}
    assert summary.stale == 2
    assert summary.intervals == ((2, 11), (3, 8))


def test_how_a_block_spread_is_counted_from_when_it_was_found() -> None:
    film = _film(
        (10, "block", "ada", "a1", "00", 1),
        (15, "arrive", "cyd", "a1"),
        (18, "arrive", "bob", "a1"),
        (19, "arrive", "bob", "ff"),
        (20, "target", "a1", "77"),
        (21, "head", "ada", "a1"),
    )
    summary = summarise(film)
    assert summary.spread_ms == ((0, 5, 8),)
    assert summary.targets == ((1, 77),)


def test_a_film_without_blocks_says_nothing() -> None:
    summary = summarise(_film((5, "head", "ada", "00"), (6, "head", "ada", "01")))
    assert summary.blocks == summary.intervals == summary.spread_ms == ()
    assert not summary.reorg_depths
