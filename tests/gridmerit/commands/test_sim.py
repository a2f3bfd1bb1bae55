"""`gridmerit sim` as a user meets it: what it prints, what it refuses, and with what advice."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from gridmerit.main import run
from simulation.experiments.scenario import SCENARIOS, Scenario, load_scenario
from simulation.experiments.sweep import derive_seed

Sim = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sim(coin: Scenario, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sim:
    """Runs `gridmerit sim …` in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own handlers stay

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["sim", *map(str, args)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_every_scenario_is_listed_and_shown_with_bounds_and_words(sim: Sim) -> None:
    code, out, _ = sim("list")
    assert code == 0
    assert all(name in out for name in SCENARIOS)
    for name in SCENARIOS:
        code, out, err = sim("show", name, "--json")
        assert code == 0, err
        document = json.loads(out)
        assert document["metrics"], name
        assert all(setting["about"] and setting["allowed"] for setting in document["settings"]), name
    _, out, _ = sim("show", "false-head", "--json")
    kinds = next(item["allowed"] for item in json.loads(out)["settings"] if item["name"] == "kind")
    assert kinds == "headers, silence, parents, certificates, dated-ahead, proposals, none"
    _, out, _ = sim("show", "coin")
    assert "number, ≥ 0, < 1" in out
    assert "try: gridmerit sim run coin --set p=0.5 --reps 10 --out results" in out


def test_theory_names_values_and_sources(sim: Sim) -> None:
    code, out, _ = sim("theory", "double_spend_nakamoto", "q=0.3", "z=50", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["values"]["probability"] == pytest.approx(5.9e-7, rel=0.01)  # Eq. (1) of text 003, as printed there
    assert "Nakamoto" in document["source"]
    assert document["parameters"] == {"q": 0.3, "z": 50}
    _, listed, _ = sim("theory")
    assert "selfish_revenue" in listed
    _, out, _ = sim("theory", "poca_shares", "credits=100,100")
    assert "share_2" in out
    assert "0.5" in out


def test_a_sweep_a_report_and_a_film(sim: Sim, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = sim("run", "coin", "--set", "p=0.2,0.7", "--reps", "4", "--jobs", "1", "--out", out)
    assert (code, err.splitlines()[-1]) == (0, "8 of 8 trials")
    assert "8 trials of coin, in" in text
    assert f"gridmerit sim report {out}" in text
    code, text, _ = sim("run", "coin", "--set", "p=0.2,0.7", "--reps", "4", "--out", out, "--resume", "--json")
    document = json.loads(text)
    assert (document["trials"], document["resumed_at"], document["failures"]) == (8, 8, [])
    assert {each["theory"]["name"] for each in document["estimates"]} == {"fair_coin"}
    code, text, _ = sim("report", out, "--film", "1:3", "--json")
    assert code == 0
    files = [Path(file) for file in json.loads(text)["files"]]
    assert out / "report" / "report.html" in files
    assert all(file.stat().st_size for file in files)
    code, text, _ = sim("replay", out / "report" / "replay.json", "--out", tmp_path / "film.html")
    assert code == 0
    assert "4 peers" in text
    assert (tmp_path / "film.html").read_text().startswith("<!doctype html>")


def test_json_has_no_infinity_where_one_trial_bounds_nothing(sim: Sim, tmp_path: Path) -> None:
    _, text, _ = sim("run", "coin", "--reps", "1", "--jobs", "1", "--out", tmp_path / "out", "--json")
    highs = [each["high"] for each in json.loads(text, parse_constant=pytest.fail)["estimates"]]
    assert None in highs


def test_what_is_listed_and_shown_fits_a_terminal_of_100_columns(sim: Sim) -> None:
    for words in (["list"], ["theory"], *(["show", name] for name in SCENARIOS)):
        _, out, _ = sim(*words)
        assert max(map(len, out.splitlines())) <= 100, words


def test_every_command_that_a_help_text_shows_can_be_given(sim: Sim) -> None:
    for verb in ("", "show", "run", "trial"):
        _, out, _ = sim(*filter(None, [verb, "--help"]))
        for line in out.splitlines():
            words = line.split()
            if words[:2] == ["gridmerit", "sim"] and words[2] in ("show", "run", "trial") and words[3] != "NAME":
                given = [word.split("=")[0] for flag, word in pairwise(words) if flag == "--set"]
                assert set(given) <= set(load_scenario(words[3]).settings.model_fields), line


def test_one_trial_is_that_of_the_sweep(sim: Sim, coin: Scenario, tmp_path: Path) -> None:
    seed = derive_seed(1, 0, 2)
    film = tmp_path / "film.json"
    code, out, err = sim("trial", "coin", "--seed", seed, "--set", "p=0.2", "--film", film, "--json")
    assert code == 0
    assert json.loads(out)["row"] == coin.run(coin.settings(p=0.2), seed).row
    assert f"wrote {film}" in err
    assert json.loads(film.read_text())["seed"] == seed


def test_every_trial_prints_the_hash_of_its_log(sim: Sim) -> None:
    """Peers' events where there are peers, else the row: the same again, and another with another seed."""
    for name, setting in (("best-member-lost", "patience=20"), ("double-spend-race", "q=0.3"), ("coin", "p=0.2")):
        logs = []
        for seed in (1, 1, 2):
            code, out, _ = sim("trial", name, "--set", setting, "--seed", seed, "--json")
            assert code == 0
            logs.append(json.loads(out)["log"])
        assert logs[0] == logs[1] != logs[2]
        assert re.fullmatch(r"[0-9a-f]{16}", logs[0])
        last = sim("trial", name, "--set", setting, "--seed", 1)[1].splitlines()[-1]
        assert last.split() == ["log", logs[0]]


def test_progress_goes_to_stderr_where_that_is_no_terminal_too(sim: Sim, tmp_path: Path) -> None:
    _, out, err = sim("run", "coin", "--reps", "40", "--jobs", "1", "--out", tmp_path / "o", "--json")
    lines = err.splitlines()
    assert lines[0] == "0 of 40 trials"
    assert lines[-1] == "40 of 40 trials"
    assert len(lines) <= 21
    assert json.loads(out)["trials"] == 40


def test_failed_trials_end_with_the_command_that_repeats_one(sim: Sim, tmp_path: Path) -> None:
    code, out, err = sim(
        "run", "coin", "--set", "faulty_below=50", "--reps", "8", "--jobs", "1", "--out", tmp_path / "o"
    )
    assert code == 7
    assert "8 trials of coin" in out
    assert "error[TrialsFailed]" in err
    assert "try: gridmerit sim trial coin --seed" in err
    _, out, _ = sim("report", tmp_path / "o", "--no-film")
    assert "trials failed" in (tmp_path / "o" / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "error", "advice"),
    [
        (["run", "coins", "--out", "o"], 3, "UnknownScenario", "gridmerit sim list"),
        (["run", "coin", "--set", "q=1", "--out", "o"], 3, "UnknownSetting", "gridmerit sim show coin"),
        (["run", "coin", "--set", "p=1", "--out", "o"], 3, "BadSetting", "gridmerit sim show coin"),
        (["run", "coin", "--set", "p", "--out", "o"], 2, "Usage", "KEY=VALUE"),
        (["run", "coin", "--set", "p=1,,2", "--out", "o"], 2, "Usage", "an empty value in p=1,,2"),
        (["run", "coin", "--set", "p=.1", "--set", "p=.2", "--out", "o"], 2, "Usage", "several values: p=.1,.2"),
        (["run", "coin", "--set", "p=.1,.1", "--out", "o"], 3, "RepeatedPoint", "each value of --set once"),
        (["run", "coin", "--reps", "0", "--out", "o"], 2, "Usage", "--reps"),
        (["run", "coin", "--reps", "99999999", "--out", "o"], 3, "SweepTooLarge", "fewer values"),
        (["run", "coin", "--out", "full"], 3, "SweepExists", "--resume"),
        (["run", "coin", "--out", "full", "--resume"], 3, "NotASweep", "gridmerit sim run"),
        (["report", "full"], 3, "NotASweep", "gridmerit sim run NAME --out full"),
        (["report", "full", "--film", "x"], 2, "Usage", "POINT:REP"),
        (["replay", "full/mine"], 3, "BadReplay", "gridmerit sim trial NAME --film FILE"),
        (["replay", "full/none"], 3, "UnreadableFile", "full/none"),
        (["trial", "coin", "--set", "p=2"], 3, "BadSetting", "gridmerit sim show coin"),
        (["trial", "poca-race", "--film", "f.json"], 3, "NoFilm", "gridmerit sim list"),
        (["theory", "nothing"], 3, "UnknownTheory", "gridmerit sim theory"),
        (["theory", "double_spend_exact", "q=1"], 3, "BadParameter", "q"),
        (["shwo"], 2, "Usage", "did you mean 'show'?"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_nothing_is_written(
    sim: Sim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, error: str, advice: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/mine").write_text("dear")
    actual, out, err = sim(*arguments)
    assert (actual, out) == (code, ""), err
    assert f"error[{error}]" in err
    assert advice in err
    assert [file.name for file in sorted(tmp_path.rglob("*"))] == ["full", "mine"]


def test_a_film_of_a_trial_that_is_not_there_is_refused(sim: Sim, tmp_path: Path) -> None:
    sim("run", "coin", "--reps", "2", "--jobs", "1", "--out", tmp_path / "out")
    code, _, err = sim("report", tmp_path / "out", "--film", "0:2")
    assert code == 2
    assert "1 points and 2 repetitions" in err


def test_a_sweep_without_its_extra_says_what_to_install(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridmerit.commands.sim.find_spec", lambda name: None if name == "pyarrow" else sys)
    code, _, err = sim("run", "coin", "--out", "nowhere")
    assert code == 3
    assert "a sweep needs pyarrow" in err
    assert 'pip install "gridmerit[lab]"' in err
