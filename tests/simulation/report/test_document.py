"""Reports: estimates with their intervals and theory, plots, one page that needs nothing beside it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from math import inf, isinf
from pathlib import Path

import pytest

from simulation.errors import BadSweep, MissingExtra, NoFilm, SweepChanged
from simulation.experiments.estimates import Estimate, make_estimates
from simulation.experiments.runner import run_sweep
from simulation.experiments.scenario import Metric, Scenario, Theory
from simulation.experiments.sweep import derive_seed, make_sweep
from simulation.recording import Recording, parse_replay
from simulation.report import document as report
from simulation.report import figures
from simulation.report.document import (
    LaboratoryReport,
    list_warnings,
    make_rows,
    render_html,
    render_markdown,
    summarise_agreement,
)
from simulation.report.figures import draw_counts, draw_film
from simulation.report.publish import film_trial, make_report, write_film_page, write_report
from simulation.report.recording_summary import summarise
from simulation.theory.statistics import clopper_pearson

COLUMNS = {"point": [0, 0, 0], "rep": [0, 1, 2], "heads": [3, 5, 4], "flips": [10, 10, 10], "ratio": [0.3, 0.5, 0.4]}
LINKS = {"src", "href", "data", "action", "poster", "srcset"}


def _estimate(coin: Scenario, metric: Metric, columns: dict[str, list[int]] | None = None) -> Estimate:
    scenario = replace(coin, metrics=(metric,))
    (found,) = make_estimates(scenario, make_sweep(scenario, {}, reps=3, seed=1), columns or COLUMNS)
    return found


def _theory(value: float) -> Theory:
    return Theory(name="known", value=value, source="Source 2020")


def _film(coin: Scenario, *, seed: int = 1, **settings: float) -> Recording:
    return film_trial(coin, coin.settings(**settings), seed)[1]


@pytest.fixture
def results(coin: Scenario, tmp_path: Path) -> Path:
    """A sweep of two points and six trials."""
    sweep = make_sweep(coin, {"p": ["0.2", "0.7"]}, reps=3, seed=3)
    run_sweep(sweep, tmp_path / "results", jobs=1, on_progress=lambda _done, _total: None)
    return tmp_path / "results"


# --- estimates -----------------------------------------------------------------------------------


def test_the_interval_of_what_is_never_negative_is_cut_off_at_0(coin: Scenario) -> None:
    metric = Metric(name="m", kind="mean", column="heads")
    assert _estimate(coin, metric, {"point": [0, 0, 0], "heads": [0, 0, 9]}).low == 0
    assert _estimate(coin, metric, {"point": [0, 0, 0], "heads": [-1, 0, 9]}).low < -1
    assert _estimate(coin, metric, {"point": [0], "heads": [4]}).low == 0


def test_a_share_has_its_exact_interval_and_its_distance_from_theory(coin: Scenario) -> None:
    found = _estimate(
        coin, Metric(name="m", kind="share", column="heads", out_of="flips", theory=lambda _: _theory(0.5))
    )
    assert (found.successes, found.attempts, found.trials, found.value) == (12, 30, 3, 0.4)
    assert (found.low, found.high) == pytest.approx((0.2266, 0.5940), abs=1e-4)  # Clopper–Pearson, by R's binom.test
    assert found.z == pytest.approx(-3 / 7.5**0.5)
    assert found.p == pytest.approx(0.3616, abs=1e-4)  # as above
    assert found.agrees is True


def test_a_mean_has_students_interval(coin: Scenario) -> None:
    found = _estimate(coin, Metric(name="m", kind="mean", column="ratio", theory=lambda _: _theory(0.9)))
    reach = 4.302653 * 0.1 / 3**0.5  # t for 95 % and two degrees of freedom
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4 - reach, 0.4 + reach))
    assert found.z == pytest.approx(-0.5 / (0.1 / 3**0.5))
    assert found.agrees is False
    assert found.p is not None
    assert found.p < 0.05


def test_one_trial_bounds_no_mean_and_nothing_seen_is_three_over_n(coin: Scenario) -> None:
    single = {key: values[:1] for key, values in COLUMNS.items()}
    assert isinf(_estimate(coin, Metric(name="m", kind="mean", column="ratio"), single).high)
    none = _estimate(
        coin, Metric(name="m", kind="share", column="heads", out_of="flips"), {**COLUMNS, "heads": [0] * 3}
    )
    assert report.show_estimate(none) == "< 0.1 (3/n)"
    assert (none.z, none.p, none.agrees) == (None, None, None)


def test_a_mean_without_spread_is_not_held_against_theory(coin: Scenario) -> None:
    alike = {**COLUMNS, "ratio": [0.5] * 3}
    near = _estimate(coin, Metric(name="m", kind="mean", column="ratio", theory=lambda _: _theory(0.501)), alike)
    assert (near.low, near.high, near.z, near.p, near.agrees) == (0.5, 0.5, None, None, None)
    same = _estimate(coin, Metric(name="m", kind="mean", column="ratio", theory=lambda _: _theory(0.5)), alike)
    assert same.agrees is True


def test_what_was_cut_off_is_a_lower_bound_and_says_so_wherever_it_is_shown(coin: Scenario) -> None:
    cut = {**COLUMNS, "lost": [1, 0, 1]}
    wait = Metric(name="m", kind="mean", column="ratio", cut_off="lost", limit="flips", theory=lambda _: _theory(10**6))
    mean = _estimate(coin, wait, cut)
    assert (mean.cut_off, mean.high, mean.z, mean.p, mean.agrees) == (2, inf, None, None, True)
    share = _estimate(coin, Metric(name="s", kind="share", column="heads", out_of="flips", cut_off="lost"), cut)
    whole = _estimate(coin, Metric(name="s", kind="share", column="heads", out_of="flips"), cut)
    more = clopper_pearson(whole.successes + 2, whole.attempts)
    assert (share.value, share.low, share.high) == (whole.value, whole.low, more[1])
    sweep = make_sweep(coin, {}, reps=3, seed=1)
    heads, rows = make_rows(sweep, [mean, share])
    shown = [dict(zip(heads, row, strict=True)) for row in rows]
    assert [row["cut off"] for row in shown] == ["2 of 3 trials at flips 20", f"2 of {whole.attempts} attempts"]
    assert all(row["estimate"].startswith("≥ ") for row in shown)
    assert "cut off" not in make_rows(sweep, [whole])[0]


def test_a_table_that_does_not_fit_its_metrics_is_named(coin: Scenario) -> None:
    with pytest.raises(BadSweep, match="no column tails, which metric m needs"):
        _estimate(coin, Metric(name="m", kind="mean", column="tails"))
    with pytest.raises(BadSweep, match="30 successes of 12 attempts"):
        _estimate(coin, Metric(name="m", kind="share", column="flips", out_of="heads"))


# --- the page ------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects what a page refers to, and the text of its elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in LINKS]


def test_a_report_is_written_whole_and_the_same_again(results: Path, tmp_path: Path) -> None:
    files = write_report(make_report(results, film=(1, 2)), tmp_path / "report")
    names = [file.name for file in files]
    assert names[:2] == ["report.html", "report.md"]
    assert {"estimate-heads.png", "fork-tree.png", "reorg-depths.png", "propagation.png", "intervals.png"} <= set(names)
    assert {"targets.png", "deepest-reorgs.png", "replay.json"} <= set(names)
    first = {file.name: file.read_bytes() for file in files}
    assert all(raw.startswith(b"\x89PNG\r\n") for name, raw in first.items() if name.endswith(".png"))
    again = write_report(make_report(results, film=(1, 2)), tmp_path / "report")
    assert {file.name: file.read_bytes() for file in again} == first
    write_report(make_report(results, film=None), tmp_path / "report")
    left = {file.name for file in (tmp_path / "report").iterdir()}
    assert left == {"report.html", "report.md", "estimate-heads.png", "estimate-ratio.png", "deepest-reorgs.png"}


def test_the_page_needs_nothing_beside_it(results: Path) -> None:
    page = _Page(render_html(make_report(results, film=(0, 0))))
    assert page.references
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert "link" not in page.tags
    assert {"script", "input", "svg", "table"} <= set(page.tags)


def test_the_page_and_the_markdown_say_what_it_takes_to_do_it_again(results: Path) -> None:
    made = make_report(results, film=(1, 2))
    for text in (render_html(made), render_markdown(made)):
        assert made.manifest.scenario_hash in text
        assert made.manifest.code.hash in text
        assert made.manifest.code.commit in text
        assert "6 of 6: 2 points, 3 repetitions each" in text
        assert "Bernoulli 1713, Ars conjectandi" in text
        assert f"gridmerit sim trial coin --seed {derive_seed(3, 1, 2)} --set p=0.7" in text
    heads, rows = make_rows(made.sweep, made.estimates)
    assert heads[:2] == ["p", "metric"]
    assert len(rows) == 4
    assert all(cell in render_markdown(made) for row in rows for cell in row)
    assert "of 4 intervals" in summarise_agreement(made)


def test_the_film_inside_the_page_is_the_film(results: Path, coin: Scenario) -> None:
    text = render_html(make_report(results, film=(1, 2)))
    inside = re.search(r'<script type="application/json" id="film">(.*?)</script>', text, re.DOTALL)
    assert inside is not None
    assert parse_replay(inside[1].encode(), "page") == _film(coin, p=0.7, seed=derive_seed(3, 1, 2))


def test_text_from_a_film_cannot_end_the_script(coin: Scenario, tmp_path: Path) -> None:
    replay = _film(coin)
    hostile = replace(replay, scenario="<b>&", frames=((replay.start_ms, "note", "</script><script>alert(1)"),))
    write_film_page(hostile, tmp_path / "film.html")
    text = (tmp_path / "film.html").read_text()
    assert text.count("</script>") == 2
    assert "alert(1)" in text
    assert "<h1>&lt;b&gt;&amp;</h1>" in text


def test_a_long_film_is_cut_and_says_so(coin: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_SHOWN_FRAMES", 20)
    replay = _film(coin)
    write_film_page(replay, tmp_path / "film.html")
    assert f"The first 20 of {len(replay.frames)} events." in (tmp_path / "film.html").read_text()


def test_a_report_warns_of_what_makes_it_less_than_it_seems(results: Path) -> None:
    made = make_report(results, film=None)
    clean = made.manifest.code.model_copy(update={"is_modified": False})
    whole = replace(made, manifest=made.manifest.model_copy(update={"code": clean}), reporter=clean)
    assert list_warnings(whole) == []
    flawed: dict[str, LaboratoryReport] = {
        "2 trials are missing": replace(whole, finished=4),
        "1 trials failed": replace(whole, failed=1),
        "other sources": replace(whole, reporter=clean.model_copy(update={"hash": "00"})),
    }
    for warning, changed in flawed.items():
        assert [warning in text for text in list_warnings(changed)] == [True]
        assert warning in render_html(changed)
        assert warning in render_markdown(changed)


def test_a_report_of_another_definition_is_refused(results: Path) -> None:
    manifest = results / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "scenario_hash": "00"}))
    with pytest.raises(SweepChanged, match="definition of the scenario"):
        make_report(results, film=None)


# --- plots ---------------------------------------------------------------------------------------


def test_plots_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra) as caught:
        draw_counts("name", "caption", {1: 2}, "label")
    assert caught.value.values["extra"] == "lab"


def test_a_tree_too_large_to_draw_is_drawn_in_part(coin: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_MAX_TREE", 10)
    captions = {name: caption for name, caption, _ in draw_film(summarise(_film(coin)))}
    assert captions["fork-tree.png"].startswith("The filmed trial's 36 blocks, 6 of them stale. Heights ")


def test_a_scenario_without_a_camera_films_nothing(coin: Scenario) -> None:
    with pytest.raises(NoFilm, match="coin"):
        film_trial(replace(coin, film=None), coin.settings(), 1)
