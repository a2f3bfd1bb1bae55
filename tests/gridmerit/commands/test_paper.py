"""`gridmerit paper` from the command line to its files, on a day of three players and three hours and with one τ."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridmerit.commands import paper
from gridmerit.main import run
from gridmerit.paper.claims import show_span
from gridmerit.paper.document import make_document, make_report
from gridmerit.paper.layout import Bullets, Image, PaperReport, Part, Table, render_markdown, render_text
from gridmerit.paper.results import EXPLANATIONS, count_for_majority
from market.profile import parse_profile
from simulation.errors import MissingExtra
from simulation.paper.credit import reproduce_table_2
from simulation.paper.reproduce import Reproduction, ResultCheck

PLOTS = {"figure-3.png", "figure-4.png", "day.png"}
DAY = "hour,player,role,forecast_wh,actual_wh\n" + "\n".join(
    f"2020-07-15T0{hour}:00:00Z,{line}"
    for hour in range(3)
    for line in ("sun,producer,10000,8000", "anna,consumer,6000,6000", "bert,consumer,6000,3000")
)


@pytest.fixture(scope="module", autouse=True)
def small_world() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gridmerit.commands.paper.load_packaged_profile", lambda: parse_profile(DAY))
        patch.setattr("simulation.paper.reproduce.TAUS_UPT", (1_000_000,))
        yield


@pytest.fixture(scope="module")
def result() -> Reproduction:
    return paper._reproduce(4)


def test_the_command_writes_its_report_and_the_same_seed_the_same_bytes(
    tmp_path: Path, result: Reproduction, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["paper", "--seed", "4", "--out", str(tmp_path / "by-command"), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    paper._write(result, tmp_path / "again")
    files = {file.name: file.read_bytes() for file in (tmp_path / "by-command").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()}
    assert set(files) == {"report.md", "report.json"} | PLOTS
    assert document.pop("files") == [str(tmp_path / "by-command" / name) for name in _in_order(files)]
    assert document == json.loads(files["report.json"])
    assert document["passed"] is True
    assert "ten nodes race" in captured.err
    for name in PLOTS:
        assert files[name].startswith(b"\x89PNG\r\n")
        assert b"tEXt" not in files[name]


def _in_order(files: dict[str, bytes]) -> list[str]:
    return sorted(files, key=["report.md", "report.json", "figure-3.png", "figure-4.png", "day.png"].index)


def test_the_report_names_and_explains_every_cell_that_deviates(result: Reproduction) -> None:
    deviating = {(row.test.number, cell.column) for row in reproduce_table_2() for cell in row.deviations}
    assert set(EXPLANATIONS) == deviating
    text = render_markdown(make_report(result), has_plots=True)
    assert "| 7 | buyer pays | 135.5* | 135.9 | The paper charges wheeling on all 240 kWh consumed (135.9 yuan)" in text
    assert "| 6 | seller's credit | 95.0* | 90.0 | Eq. (2): 190 of 200 kWh delivered are 95.0 points" in text
    assert all(f"]({name})" in text for name in PLOTS)


@pytest.mark.parametrize("columns", [0, 80])
def test_the_report_fits_a_terminal(result: Reproduction, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, render_text(make_report(result)).splitlines())) <= (columns or 100)


def test_the_report_says_where_the_chain_is_not_better(result: Reproduction) -> None:
    text = render_markdown(make_report(result), has_plots=True)
    assert "| efficiency: agreement | worse |" in text
    assert "| efficiency: messages | worse |" in text
    assert "| fewer breaches | the same |" in text
    assert "| more orderly transactions | not tested |" in text


def test_the_report_says_by_which_clock_the_chain_ran(result: Reproduction) -> None:
    text = render_markdown(make_report(result), has_plots=True)
    assert "Members certify a block 4 times an hour, whether or not anybody trades" in text
    assert "the chain leaves 1 h 30 min for readings" in text
    assert "the scores of hours at least 6 before it" in text
    assert "is beyond dispute once its block, or a later one, is certified" in text
    assert "after delivery on average, for 3 of 3 hours." in text


def test_the_report_says_what_the_paper_set_does(result: Reproduction) -> None:
    text = render_markdown(make_report(result), has_plots=True)
    for row in (
        "| τ | 1.000 points | Eq. (10): e^C |",
        "| gates clear by | credit-weighted | §4.2, step 4 |",
        "| weights c, q, r, l, p, s, n | 0.6, 0.8, 0.5, 0.4, 0.5, 0.6, 0.6 | Table 1 |",
        "| orders are taken | for 0.1 Δt | §4.2, step 3 |",
        "| a delivery counts | once | Eqs (1) and (2) |",
        "| α | 0 | Eq. (12); 0 is Eq. (2) |",
    ):
        assert row in text, row
    assert make_document(result)["paper_set"]["market"]["intention_ppm"] == 100_000


def test_without_matplotlib_all_but_the_plots_is_written(
    tmp_path: Path, result: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files, problem = paper._write(result, tmp_path)
    assert isinstance(problem, MissingExtra)
    assert {file.name for file in files} == {"report.md", "report.json"}
    assert "![" not in (tmp_path / "report.md").read_text()


def test_a_failed_check_is_exit_code_7(
    tmp_path: Path, result: Reproduction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = {name: getattr(result, name) for name in result.__slots__}
    failing["checks"] = (*result.checks, ResultCheck("the earth is flat", False, "it is not"))
    monkeypatch.setattr(paper, "_reproduce", lambda seed: Reproduction(**failing))
    assert run(["paper", "--out", str(tmp_path)]) == 7
    captured = capsys.readouterr()
    assert "the earth is flat" in captured.err
    assert "FAILED" in captured.out


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, result: Reproduction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paper, "_reproduce", lambda seed: result)
    (tmp_path / "thesis").write_text("years of work")
    assert run(["paper", "--out", str(tmp_path / "thesis" / "results")]) == 3
    assert "error[UnwritableFile] cannot write" in capsys.readouterr().err


def test_one_player_decides_alone_at_the_paper_s_temperature(result: Reproduction) -> None:
    assert count_for_majority(result.races[0]) == 1


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "at once"),
        (34_600, "34.6 s"),
        (3_600_522, "1 h 00 min 01 s"),
        (3_600_000, "1 h 00 min"),
        (41_400_000, "11 h 30 min"),
    ],
)
def test_a_wait_is_shown_to_the_second(span_ms: int, text: str) -> None:
    assert show_span(span_ms) == text


def test_a_report_is_laid_out_for_markdown_and_for_a_terminal() -> None:
    long = "word " * 30
    report = PaperReport(
        title="A title",
        introduction="An introduction.",
        parts=(
            Part(
                title="A part",
                blocks=(
                    Table(heads=("name", "count"), rows=(("a", 1), ("b", 22))),
                    Image(alt="a plot", file="plot.png"),
                    Bullets(("one", "two")),
                    Table(heads=("name", "why"), rows=(("a", long.strip()),), left=(0, 1)),
                ),
            ),
        ),
    )
    markdown = render_markdown(report, has_plots=True)
    assert markdown.startswith(
        "# A title\n\nAn introduction.\n\n## A part\n\n| name | count |\n| :-- | --: |\n| a | 1 |"
    )
    assert "![a plot](plot.png)\n\n- one\n- two\n" in markdown
    assert "plot.png" not in render_markdown(report, has_plots=False)
    text = render_text(report)
    assert "name  count\n────  ─────\na         1\nb        22" in text
    assert "plot.png" not in text
    assert "name\n────\na\n    word word" in text
    assert max(map(len, text.splitlines())) <= 100
