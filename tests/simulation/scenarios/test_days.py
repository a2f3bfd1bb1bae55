"""Days on three chains in full nodes: in peace and among faults, with every invariant on."""

import pytest
from pydantic import ValidationError

from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.recording import dump_replay, parse_replay
from simulation.scenarios.days import DaySettings, FaultySettings


def run(name, given, seed):
    scenario = load_scenario(name)
    return scenario.film(parse_settings(scenario, given), seed)


def test_an_honest_day_is_settled_to_the_last_hour():
    trial = run("honest-day", {"hours": 1, "peers": 6, "degree": 4}, 1)
    assert trial.row["settled"] == trial.row["hours"] == 1
    assert trial.row["given_up"] == trial.row["refused"] == 0
    assert trial.row["blocks"] == pytest.approx(12 * 9.5, rel=0.3)
    assert parse_replay(dump_replay(trial.replay), "film") == trial.replay


def test_a_faulty_day_breaks_no_invariant():
    trial = run("faulty-day", {"hours": 1, "faults": 16, "peers": 5}, 1)
    kinds = {frame[1] if frame[1] != "note" else frame[2].split()[0] for frame in trial.replay.frames}
    assert trial.row["refused"] > 0
    assert trial.row["settled"] <= trial.row["hours"]
    assert kinds >= {"block", "cut", "heal", "crash", "start", "pause", "resume", "disk", "skew"}


@pytest.mark.parametrize(
    "given",
    [{"sealers": 9}, {"traders": 4}, {"degree": 1}, {"degree": 6}, {"interval_ms": 400_000}, {"peers": 3}],
)
def test_impossible_days_are_refused(given):
    with pytest.raises(ValidationError):
        DaySettings(**given)


def test_more_than_everything_cannot_be_lost():
    with pytest.raises(ValidationError):
        FaultySettings(loss_ppm=600_000)
