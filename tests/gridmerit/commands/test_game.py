"""`gridmerit game` from the command line to its files, and what it says of what it cannot play."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path

import pytest

from gridmerit.main import run
from gridmerit.network.parameters import load_packaged_profile

PAGE = Path(__file__).parents[3] / "docs/game.md"
FIGURES = [
    "figure-2-load.png",
    "figure-2-generation.png",
    "figure-3-for-sale.png",
    "figure-4-traded-prices.png",
    "figure-5-best-prices.png",
]
TABLES = ["report.html", "report.md", "report.json", "hours.csv", "accounts.csv"]
HEAD = "hour,player,role,forecast_wh,actual_wh"
HOUR = (
    "sun,producer,900000,800000",
    "anna,consumer,100000,90000",
    "bert,consumer,300000,280000",
    "carl,consumer,200000,190000",
)


def write_profile(path: Path, *hours: int, rows: tuple[str, ...] = HOUR) -> Path:
    lines = [HEAD, *(f"2020-07-15T{hour:02}:00:00Z,{row}" for hour in hours for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(tmp_path / "day.csv", 11, 12)


def test_it_writes_figures_tables_and_report_and_the_same_seed_the_same_bytes(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["game", "--profile", str(profile), "--json", "--out"]
    assert run([*command, str(tmp_path / "one")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert run([*command, str(tmp_path / "two")]) == 0
    files = {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}
    assert set(files) == {*FIGURES, *TABLES}
    assert document.pop("files") == [str(tmp_path / "one" / name) for name in (*TABLES, *FIGURES)]
    assert document == json.loads(files["report.json"])
    assert document["settled"] == 2
    for name in FIGURES:
        assert files[name].startswith(b"\x89PNG\r\n"), name
        width, height = struct.unpack(">II", files[name][16:24])
        assert width > 2 * height > 600, name
        assert f"]({name})" in files["report.md"].decode()


def test_without_a_directory_nothing_is_written(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["game", "--profile", "day.csv"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["day.csv"]
    out, err = capsys.readouterr()
    assert "In 2 of 2 hours nobody gains by another price." in out
    assert err == "", "a short run says nothing of how far it is"


def test_long_runs_say_how_far_they_are(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "--profile", str(profile), "--solver", "ants", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "2 of 2 hours"
    assert "by ants" in out


def test_the_packaged_day_is_the_default_and_is_solved(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [hour["start_ms"] for hour in document["hours"]] == list(load_packaged_profile().hours_ms)
    assert document["settled"] == 24


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game"]) == 0
    printed = {re.sub(r"\s+", " ", line.strip()) for line in capsys.readouterr().out.splitlines()}
    shown = "".join(re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)).splitlines()
    assert len(shown) > 20
    assert [line for line in shown if re.sub(r"\s+", " ", line.strip()) not in printed] == []


# --- what cannot be played -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("sun,producer,nan,5",), "error[BadProfile] profile, line 2: have 'nan', want whole Wh, not negative"),
        (("anna,consumer,-5,5",), "error[BadProfile] profile, line 2: have '-5', want whole Wh, not negative"),
        (HOUR[1:], "error[BadHour] an hour of the game with players no producer, want one, the company's plant"),
        (HOUR[:3], "error[BadHour] an hour of the game with players 2 consumers, want 3: two users and an own load"),
        ((), "error[BadProfile] profile, line 1: have no readings, want one for every player and hour"),
    ],
)
def test_a_profile_that_cannot_be_played_is_named(
    rows: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["game", "--profile", str(write_profile(tmp_path / "day.csv", 12, rows=rows))]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert "\n  try: " in err


def test_missing_hours_and_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "--profile", str(write_profile(tmp_path / "day.csv", 11, 13))]) == 3
    err = capsys.readouterr().err
    assert "have a gap between the hours, want hours that follow each other" in err
    assert "  try: a file of the form of configs/profiles/rts_gmlc_day.csv, every player in every hour" in err
    assert run(["game", "--profile", str(tmp_path / "no.csv")]) == 3
    assert "error[UnreadableFile]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mu", "0.5"], "error[Usage] Invalid value for '--mu': 0.5 is not in the range 0.02<=x<=0.2."),
        (["--companies", "0"], "error[Usage] Invalid value for '--companies': 0 is not in the range 1<=x<=50."),
        (["--bureaus", "21"], "error[Usage] Invalid value for '--bureaus': 21 is not in the range 1<=x<=20."),
        (["--users", "9" * 30], "error[Usage] Invalid value for '--users': " + "9" * 30),
        (["--solver", "magic"], "error[Usage] Invalid value for '--solver': 'magic' is not one of"),
    ],
)
def test_what_is_out_of_range_is_named(
    arguments: list[str], message: str, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["game", "--profile", str(profile), *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert "  try: gridmerit game --help" in err


def test_a_mu_that_is_no_number_is_named(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "--profile", str(profile), "--mu", "nan"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error[BadHour] an hour of the game with mu nan, want a number from 0.02 to 0.2")
    assert "  try: gridmerit game --help" in err


def test_without_numpy_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridmerit.commands.game.find_spec", lambda name: None)
    assert run(["game"]) == 3
    err = capsys.readouterr().err
    assert err == (
        'error[MissingExtra] the game needs numpy, which is not installed\n  try: pip install "gridmerit[lab]"\n'
    )


def test_without_matplotlib_all_but_the_figures_is_there(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["game", "--profile", str(profile), "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "error[MissingExtra] a plot needs matplotlib, which is not installed\n  try: pip install" in err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(TABLES)
    assert "figure" not in (tmp_path / "out" / "report.md").read_text()


def test_a_directory_that_cannot_be_made_is_named(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["game", "--profile", str(profile), "--out", str(tmp_path / "file" / "out")]) == 3
    assert "error[UnwritableFile] cannot write" in capsys.readouterr().err
