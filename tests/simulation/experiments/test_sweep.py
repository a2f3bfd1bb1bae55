"""The grid, the seeds and what a directory of results says of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.errors import BadSetting, BadSweep, RepeatedPoint, SweepChanged, SweepTooLarge, UnknownSetting
from simulation.experiments.scenario import Metric, Scenario
from simulation.experiments.sweep import (
    Code,
    Manifest,
    check_resumed,
    derive_seed,
    hash_scenario,
    make_manifest,
    make_sweep,
    parse_manifest,
)

CODE = Code(hash="aa", commit="", is_modified=False, gridmerit="1", python="3", numpy="2")


def _manifest(scenario: Scenario, *, reps: int = 3, seed: int = 1, p: str = "0.1,0.2") -> Manifest:
    return make_manifest(make_sweep(scenario, {"p": p.split(",")}, reps=reps, seed=seed), CODE)


# --- the grid ------------------------------------------------------------------------------------


def test_the_grid_is_the_product_of_the_lists_and_the_last_varies_fastest(coin: Scenario) -> None:
    sweep = make_sweep(coin, {"p": ["0.1", "0.2"], "flips": ["5", "6", "7"]}, reps=2, seed=1)
    assert [(point["p"], point["flips"]) for point in sweep.points] == [
        (0.1, 5), (0.1, 6), (0.1, 7), (0.2, 5), (0.2, 6), (0.2, 7),
    ]  # fmt: skip
    assert all(point["faulty_below"] == 0 for point in sweep.points)
    assert sweep.varied() == ("p", "flips")
    assert len(sweep) == len(list(sweep.tasks())) == 12


def test_half_way_every_point_has_half_of_its_trials(coin: Scenario) -> None:
    sweep = make_sweep(coin, {"flips": ["5", "6"]}, reps=3, seed=1)
    assert [(task.point, task.rep) for task in sweep.tasks()] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]


def test_a_grid_that_makes_no_sense_is_refused_by_name(coin: Scenario) -> None:
    with pytest.raises(UnknownSetting, match="has no setting q; it has: p, flips"):
        make_sweep(coin, {"q": ["1"]}, reps=1, seed=1)
    with pytest.raises(BadSetting, match=r"setting p: .*less than 1; have 1\.5"):
        make_sweep(coin, {"p": ["0.5", "1.5"]}, reps=1, seed=1)
    with pytest.raises(RepeatedPoint, match=r"p=0\.1 "):
        make_sweep(coin, {"p": ["0.1", "0.10"]}, reps=1, seed=1)
    with pytest.raises(SweepTooLarge, match="10001 points"):
        make_sweep(coin, {"flips": [str(flips) for flips in range(1, 10_002)]}, reps=1, seed=1)
    with pytest.raises(SweepTooLarge, match="trials"):
        make_sweep(coin, {"flips": ["1", "2"]}, reps=5_000_001, seed=1)


# --- seeds ---------------------------------------------------------------------------------------


def test_seeds_are_the_same_on_every_machine_and_for_ever() -> None:
    assert derive_seed(1, 0, 0) == 3803988849319914012
    assert derive_seed(1, 1, 0) != derive_seed(1, 0, 1) != derive_seed(11, 0, 0)


@given(st.integers(0, 2**63 - 1), st.integers(0, 10_000), st.integers(0, 10_000_000))
def test_a_seed_fits_a_signed_column(seed: int, point: int, rep: int) -> None:
    assert 0 <= derive_seed(seed, point, rep) < 2**63


def test_trials_do_not_share_seeds(coin: Scenario) -> None:
    tasks = list(make_sweep(coin, {"flips": ["5", "6", "7"]}, reps=1_000, seed=9).tasks())
    assert len({task.seed for task in tasks}) == len(tasks)


# --- identity ------------------------------------------------------------------------------------


def test_the_hash_of_a_scenario_follows_its_settings_and_metrics(coin: Scenario) -> None:
    known = hash_scenario(coin)
    assert known == hash_scenario(replace(coin, about="other words"))
    assert known != hash_scenario(replace(coin, name="dice"))
    assert known != hash_scenario(replace(coin, metrics=(Metric(name="heads", kind="mean", column="heads"),)))


def test_a_manifest_comes_back_as_it_was(coin: Scenario) -> None:
    manifest = _manifest(coin)
    again = parse_manifest(manifest.model_dump_json(), "m.json")
    assert again == manifest
    assert [type(value) for value in again.points[0].values()] == [float, int, bool, int]


def test_a_broken_manifest_is_refused_with_its_file_and_field(coin: Scenario) -> None:
    document = json.loads(_manifest(coin).model_dump_json())
    broken = {
        "not JSON": "{",
        "reps": json.dumps({**document, "reps": -1}),
        "version": json.dumps({**document, "version": 2}),
        "colour": json.dumps({**document, "colour": "blue"}),
        "points": json.dumps({**document, "points": []}),
        "names": json.dumps({**document, "points": [{"p": 1}, {"q": 1}]}),
        "code.hash": json.dumps({**document, "code": {**document["code"], "hash": 3}}),
    }
    for what, text in broken.items():
        with pytest.raises(BadSweep, match=r"m\.json") as caught:
            parse_manifest(text, "m.json")
        assert what == "not JSON" or what in str(caught.value)


def test_a_resumed_sweep_may_grow_but_not_change(coin: Scenario) -> None:
    stored = _manifest(coin)
    check_resumed(stored, _manifest(coin, reps=5), "dir")
    other_code = CODE.model_copy(update={"hash": "bb"})
    changes = {
        "scenario": stored.model_copy(update={"scenario": "dice"}),
        "definition of the scenario": stored.model_copy(update={"scenario_hash": "00"}),
        "settings": _manifest(coin, p="0.1,0.3"),
        "seed": _manifest(coin, seed=2),
        "code": stored.model_copy(update={"code": other_code}),
        "numpy": stored.model_copy(update={"code": CODE.model_copy(update={"numpy": "3"})}),
        "number of repetitions": _manifest(coin, reps=2),
    }
    for what, wanted in changes.items():
        with pytest.raises(SweepChanged) as caught:
            check_resumed(stored, wanted, "dir")
        assert caught.value.values["what"] == what
    commit = CODE.model_copy(update={"commit": "1234", "is_modified": True})
    check_resumed(stored, stored.model_copy(update={"code": commit}), "dir")  # the sources decide, not the commit
