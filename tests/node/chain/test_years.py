"""A market that runs on, on the disk of a node that prunes: old bodies go, headers stay, and a copy opens."""

from contextlib import closing
from dataclasses import replace

from ledger.chain import WINDOW
from node.chain.pruning import Keep
from tests.support.market_years import MARKET
from tests.support.years import Month, Years, find_growth, show

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
        stored_mb=1.0,
        import_ms=10.0,
        open_s=1.0,
        opened_mb=5.0,
        snapshot_mb=2.0,
        join_s=0.5,
        settled=90,
    )
    return replace(fixed, **figures)


def test_a_figure_that_grows_is_found():
    flat = [month(day=day) for day in range(1, 8)]
    assert find_growth(flat) == []
    for name in ("entries", "import_ms", "open_s", "opened_mb", "snapshot_mb", "join_s"):
        growing = [replace(one, **{name: getattr(one, name) * (1 + one.day / 10)}) for one in flat]
        assert [text.split()[0] for text in find_growth(growing)] == [name]
    assert find_growth([month(entries=1), *flat]) == [], "the first month fills what is kept"


def test_a_months_figures_are_shown_in_their_order():
    assert show(month(entries=12_345)) == ("1", "12,345", "1.00", "10.00", "1.00", "5.00", "2.00", "0.50", "90")
