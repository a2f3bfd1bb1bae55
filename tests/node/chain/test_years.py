"""A market that runs on, on the disk of a node that prunes: old bodies go, headers stay, and a copy opens."""

from contextlib import closing
from dataclasses import replace
from random import Random

import pytest

from ledger.chain import WINDOW
from node.chain.pruning import Keep
from tests.support.market_years import MARKET
from tests.support.years import Month, Years, find_trends, show

SHORT = MARKET.model_copy(update={"retained_periods": 8, "merged_coins": 16})


def test_a_node_keeps_its_horizon_and_its_store_opens(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.support.years.OPENINGS", 1)
    with closing(Years(tmp_path, players=3, keep=Keep("periods", 12), market=SHORT)) as years:
        years.run(24, periods_a_day=6, every=24)
        assert [month.day for month in years.months] == [24]
        assert all(month.settled for month in years.months)
        for chain in years._chains:
            head = chain.chain.head.height
            assert chain.chain.bodies_from > head - WINDOW - 4, "older bodies have gone"
            assert not list(chain.store.scan(b"u")), "no row says how to undo what is final"
            assert chain.chain.get_raw_headers(range(1, head + 1)), "headers stay"


def month(**figures):
    fixed = Month(
        day=1,
        entries=100,
        stored_mb=1_000.0,
        import_ms=10.0,
        open_s=1.0,
        opened_mb=5.0,
        snapshot_mb=2.0,
        join_s=0.5,
        settled=90,
    )
    return replace(fixed, **figures)


FIGURES = ("entries", "stored_mb", "import_ms", "open_s", "opened_mb", "snapshot_mb", "join_s")


def months_of(count=24, **figures):
    """Months with these figures, each by its number; the others are flat."""
    return [
        month(day=30 * (number + 1), **{name: figure(number) for name, figure in figures.items()})
        for number in range(count)
    ]


def growing(months):
    return [trend.name for trend in find_trends(months) if trend.grows]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_that_grows_is_found_among_noise(name):
    random, flat = Random(name), getattr(month(), name)
    for _ in range(20):
        assert growing(months_of(**{name: lambda number: flat * 1.02**number * random.gauss(1, 0.03)})) == [name]


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_noise_is_no_growth(noise):
    random = Random(str(noise))

    def around(flat):
        return lambda _: flat * random.gauss(1, noise)

    noisy = {name: around(getattr(month(), name)) for name in FIGURES}
    grew = [name for _ in range(100) for name in growing(months_of(**noisy))]
    assert len(grew) <= 3, "of seven hundred figures"


def test_neither_the_first_month_nor_a_busy_one_nor_a_trifle_tells_a_growth():
    assert growing(months_of(entries=lambda number: 100 if number else 1)) == []
    assert growing(months_of(join_s=lambda number: 0.24 if number == 16 else 0.20)) == []
    assert growing(months_of(entries=lambda number: 16_766 + number)) == []
    assert find_trends(months_of(4)) == []
    filling = [month(day=day, stored_mb=20.0 * min(day, 14)) for day in range(3, 31, 3)]
    assert [trend.grows for trend in find_trends(filling)] == [False] * len(FIGURES), "two weeks of bodies"


def test_what_was_measured_over_two_years_is_judged_as_it_was_read():
    rising = (53, 55, 58, 60, 63, 66, 69, 71, 68, 64, 72, 64, 74, 66, 70, 65, 68, 73, 64, 69, 66, 71, 68, 67)
    joins = (0.22, 0.19, 0.18, 0.17, 0.18, 0.17, 0.16, 0.2, 0.17, 0.16, 0.17, 0.18)
    two_years = months_of(
        stored_mb=lambda number: 110 + 10.7 * number,
        import_ms=lambda number: float(rising[number]),
        opened_mb=lambda number: 2.5 + 0.5 * number / 23,
        join_s=lambda number: 0.24 if number == 16 else joins[number % 12],
    )
    assert growing(two_years) == []
    # a store whose index by hash was merged over and over, before decision 43 had it hold heights alone
    before = months_of(
        11,
        stored_mb=lambda number: 109 + 16 * number,
        open_s=(0.04, 0.04, 0.05, 0.05, 0.05, 0.06, 0.06, 0.07, 0.08, 0.09, 0.10).__getitem__,
        opened_mb=(2.59, 2.62, 2.62, 2.65, 3.21, 3.82, 4.73, 5.66, 6.98, 8.34, 9.75).__getitem__,
        import_ms=(54.7, 54.8, 53.4, 54.5, 58.5, 58.3, 65.7, 64.7, 73.1, 67.0, 71.7).__getitem__,
    )
    assert growing(before) == ["stored_mb", "import_ms", "open_s", "opened_mb"]


def test_a_trend_says_what_grew_by_how_much_and_per_what():
    trends = {trend.name: str(trend) for trend in find_trends(months_of(6, open_s=lambda number: 0.04 + 0.02 * number))}
    assert trends["open_s"] == "open_s grows: 0.07, later 0.12, +0.020 a month; 0.00 may be chance"
    assert trends["entries"] == "entries is steady: 100.00, later 100.00, +0.000 a month; 5.00 may be chance"
    assert trends["stored_mb"] == (
        "stored_mb is steady: 1,000.00, later 1,000.00, +0.000 a month; 30.00 by headers that stay, 50.00 may be chance"
    )


def test_a_months_figures_are_shown_in_their_order():
    assert show(month(entries=12_345)) == ("1", "12,345", "1000.00", "10.00", "1.00", "5.00", "2.00", "0.50", "90")
