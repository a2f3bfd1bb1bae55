"""The report of `gridmerit game`: words that follow the numbers, tables that fit, and the same figures as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gridmerit.game.document import make_document, write_accounts, write_hours
from gridmerit.game.report import NOTHING, make_report
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.paper.layout import Table, render_html, render_markdown, render_text
from market.profile import Profile, Reading
from simulation.game.accounts import add_up, sum_hours
from simulation.game.experiment import Experiment, Plan, run_experiment


def cut(first: int, last: int) -> Profile:
    day = load_packaged_profile()
    return replace(day, hours_ms=day.hours_ms[first:last])


@pytest.fixture(scope="module")
def noon() -> Experiment:
    return run_experiment(cut(11, 14), Plan())


def read_table(experiment: Experiment, title: str) -> Table:
    (part,) = (part for part in make_report(experiment, ()).parts if part.title.startswith(title))
    return next(block for block in part.blocks if isinstance(block, Table))


def test_the_prices_and_the_papers_stand_beside_each_other(noon: Experiment) -> None:
    assert read_table(noon, "Prices").rows[1][3:] == ("0.586951", "0.505127", "0.561442", NOTHING, "< 1e-12")
    rows = read_table(noon, "12:00").rows
    assert rows[0] == ("C→G", "0.420585", NOTHING, NOTHING)
    assert rows[3][:3] == ("G→U", "0.687799", "0.586951")
    assert rows[4] == ("regret in our game", "14.3 %", "0.0 %", "")
    text = render_text(make_report(noon, ()))
    assert "In 3 of 3 hours nobody gains by another price." in text
    assert "the printed equations only move money" in text


def test_an_hour_that_does_not_settle_is_marked() -> None:
    table = read_table(run_experiment(cut(0, 1), Plan(series="actual", mu=0.02)), "Prices")
    assert table.heads[-1] == "is it solved?"
    assert table.rows[0][-1] == "not settled"
    assert float(str(table.rows[0][-2])) > 1e-3


@pytest.mark.parametrize("columns", [0, 80])
def test_the_report_fits_a_terminal(noon: Experiment, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, render_text(make_report(noon, ())).splitlines())) <= (columns or 100)


def test_many_users_are_one_line_and_several_sellers_are_explained() -> None:
    crowd = run_experiment(cut(12, 13), Plan(companies=3, bureaus=2, users=9))
    assert [row[1] for row in read_table(crowd, "Income").rows[:5]] == [
        "companies",
        "bureaus",
        "9 users",
        "grid",
        "all",
    ]
    assert "mean by volume" in render_text(make_report(crowd, ()))
    assert len(write_accounts(crowd).splitlines()) == 1 + 4 * (3 + 2 + 9 + 1)


def test_a_day_without_sun_and_wind_says_so_and_has_no_number_that_is_none() -> None:
    profile = cut(11, 14)
    plants = {player.name for player in profile.players if player.role == "producer"}
    readings = {key: Reading(0, 0) if key[0] in plants else reading for key, reading in profile.readings.items()}
    dark = run_experiment(replace(profile, readings=readings), Plan())
    for row in read_table(dark, "Prices").rows:
        assert (row[1], row[3], row[4]) == (NOTHING,) * 3
    assert all(row[1:] == (NOTHING,) * 5 for row in read_table(dark, "Green").rows)
    assert all(set(row[2:5]) == {NOTHING} for row in read_table(dark, "Income").rows if row[1] == "company")
    everything = (
        render_text(make_report(dark, ())) + write_hours(dark) + write_accounts(dark) + str(make_document(dark))
    )
    assert "nan" not in everything
    assert "inf," not in everything


def test_nobody_needs_anything(noon: Experiment) -> None:
    profile = cut(12, 13)
    idle = replace(profile, readings=dict.fromkeys(profile.readings, Reading(0, 0)))
    found = run_experiment(idle, Plan())
    assert make_document(found)["hours"][0]["clearing_uyuan_per_kwh"] is None
    assert "nan" not in render_text(make_report(found, ())) + write_hours(found) + write_accounts(found)


def test_the_document_and_the_tables_say_the_same(noon: Experiment) -> None:
    document = make_document(noon)
    hours = list(csv.DictReader(io.StringIO(write_hours(noon))))
    assert [row["hour"][11:16] for row in hours] == ["11:00", "12:00", "13:00"]
    for row, hour, one in zip(hours, document["hours"], noon.hours, strict=True):
        assert float(row["g_to_u_yuan_per_kwh"]) == hour["prices_uyuan_per_kwh"]["g_to_u"][0] / 1e6
        assert row["c_to_g_yuan_per_kwh"] == ""
        assert hour["regret"] == one.regret
        sold_wh = hour["sold_wh"]["g_to_u"] + hour["sold_wh"]["g_to_c"] + hour["fed_in_wh"]
        assert sold_wh == pytest.approx(sum(hour["surplus_wh"]), abs=2)
    accounts = list(csv.DictReader(io.StringIO(write_accounts(noon))))
    assert len(accounts) == 4 * 5
    for row in accounts:
        account = document["markets"][row["market"]]["players"][row["player"]]
        assert float(row["income"]) == account["income_uyuan"] / 1e6
        assert float(row["payoff"]) == account["payoff_uyuan"] / 1e6
    company = document["markets"]["game"]["players"]["company-1"]
    assert company["income_uyuan"] == round(1e6 * add_up(sum_hours(noon.accounts["game"]).companies).income)


class Reader(HTMLParser):
    """Every tag that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(noon: Experiment) -> None:
    figure = ("figure-4.png", "Fig. 4: <prices>", b"\x89PNG")
    page = render_html(make_report(noon, [figure]), {"figure-4.png": figure[2]})
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert (reader.seen.count("table"), reader.seen.count("img")) == (4, 1)
    assert "&lt; 1e-12" in page
    assert "Fig. 4: &lt;prices&gt;" in page
    assert "default-src 'none'" in page
    assert "<img" not in render_html(make_report(noon, [figure]), {})


def test_markdown_shows_the_figures_that_there_are(noon: Experiment) -> None:
    report = make_report(noon, [("figure-2-load.png", "Fig. 2", b"")])
    assert "![Fig. 2](figure-2-load.png)" in render_markdown(report, has_plots=True)
    assert "figure" not in render_markdown(report, has_plots=False)
