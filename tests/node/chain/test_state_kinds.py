"""A chain's state is bounded by members and retained periods: two years' worth of periods, in short, and leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.genesis import build_state
from ledger.overlay import Overlay
from ledger.params import Incentive, VoucherParams
from market.scheduling import contract as scheduling
from market.trading import period as trading
from market.trading.sessions import Session, get_session
from market.trading.views import get_trades, kept_gates
from node.chain.state_kinds import KINDS, UNKNOWN, compute_bound, count_kinds, find_kind, measure
from tests.support.asset_lab import RETAINED
from tests.support.market_years import MARKET, TWICE, MarketYears
from tests.support.pool_lab import PoolMarket


def test_no_state_passes_its_bound_or_grows_once_all_that_is_retained_is_there():
    """`make state-years` is the long form: both engines, 2 000 periods."""
    kept = {"clearing_rule": "knn", "income_and_cost": "kept", "recorded_violations": 16}  # what adds to the state
    years = MarketYears(market=MARKET.model_copy(update=kept))
    years.run(330)
    assert years.find_breaches() == []
    assert years.settled > 320
    assert years.merged > 1_000
    assert years.held_upt() == years.issued_upt > 0
    assert set(years.refused) == {"NoQuota"}  # orders of the first periods, before any plan could be made
    seen = {row.key for _, _, rows in years.samples for row in rows}
    assert {kind.key for kind in KINDS} - seen <= {
        *(kind.key for kind in KINDS if kind.key.startswith("treasury/")),  # where there is an economy
        "members/waiting",  # gone within the period
        "sealers/announced",
        "sealers/parts/",
        "market/curtailed/",
        "market/part/",  # of messages with more than 64 rows
        "market/parts/",
        "market/second-target/",  # of a dispatcher that commits twice
        "market/second-targets",
        "credit/merging",  # of rounds that take more than a block
        "results",
        "rules",  # of which no others have been announced
        "market/position/",  # where periods are traded twice
        "market/balances/",
        *BY_SHARES,
        *OF_THE_ECONOMY,
    }


BY_SHARES = {kind.key for kind in KINDS if kind.owner.endswith(("closing.py", "work.py", "pages.py", "shares.py"))}
BY_SHARES |= {"market/correcting", "market/forgetting", "market/due/", "market/rows/", "market/settling/"}
BY_SHARES |= {"credit/telling"}


ECONOMY_PREFIXES = ("asset/", "claim/", "voucher/", "treasury/", "programme/", "bill/", "pool/")
OF_THE_ECONOMY = {kind.key for kind in KINDS if kind.key.startswith(ECONOMY_PREFIXES)}


def test_where_work_is_spread_over_blocks_no_state_passes_its_bound_and_what_that_takes_does_not_grow():
    years = MarketYears(market=MARKET.model_copy(update={"work_per_block": 100}))
    years.run(60)
    assert [line for line in years.find_breaches(after=40) if " grows" not in line] == []
    assert years.settled > 50
    names = [key.removeprefix(b"market/page/") for chain in years.chains.values() for key, _ in chain.state.items()]
    passing = [name for name in names if name.startswith((b"book/", b"pairs/", b"kept/", b"list/", b"readings/"))]
    assert {int.from_bytes(name[-12:-4], "big") for name in passing} <= set(range(years.period - 2, years.period + 6))
    assert years.held_upt() == years.issued_upt > 0
    seen = {row.key for _, _, rows in years.samples for row in rows}
    assert {"market/page/", "market/work", "market/closing/"} <= seen


def test_where_periods_are_traded_twice_no_state_passes_its_bound_and_what_the_market_keeps_does_not_grow():
    """`make state-years` is the long form."""
    years = MarketYears(market=MARKET.model_copy(update=TWICE | {"retained_periods": 12}))
    years.run(100, every=3)
    found = years.find_breaches(after=30)
    assert [line for line in found if " grows" not in line or line.startswith("trading: market/")] == []
    assert years.settled > 90
    assert set(years.refused) == {"NoQuota"}
    assert years.held_upt() == years.issued_upt > 0
    market = years.jy1.params.market
    traded = [gate for gate in kept_gates(years.jy1.state, market) if get_trades(years.jy1.state, gate)]
    assert {get_session(market, gate) for gate in traded} == set(Session)
    seen = {row.key for _, _, rows in years.samples for row in rows}
    assert {"market/position/", "market/balances/", "market/page/"} <= seen


INCENTIVES = VoucherParams(
    price_uyuan=100, validity_days=1, vouchers_per_block=3, incentives=(Incentive(source="any", vouchers_per_kwh=2),)
)


def test_what_assets_are_kept_grows_with_members_and_retained_periods_and_not_with_time():
    years = MarketYears(market=MARKET.model_copy(update={"economy": 1, "retained_periods": 12, "vouchers": INCENTIVES}))
    years.run(170, every=3)
    of_assets = tuple(f"trading: {key}" for key in (*OF_THE_ECONOMY, "a/"))
    found = years.find_breaches(after=110)
    assert [line for line in found if " grows" not in line or line.startswith(of_assets)] == []
    assert years.settled > 160
    assert set(years.refused) <= {"NoQuota", "TooFewLots", "AlreadyRenewed", "NothingToRenew", "NotBacked"}
    seen = {row.key for _, _, rows in years.samples for row in rows}
    assert {key for key in OF_THE_ECONOMY if not key.startswith(("treasury/", "programme/", "bill/", "pool/"))} <= seen


def test_pools_are_within_their_bounds_and_forgotten_once_they_have_ended_for_as_long_as_periods_are_kept():
    market = PoolMarket()
    seen, sizes = set(), []
    for _ in range(3):
        market.fill(start=market.period + 2, every=2, dates=2)
        for periods in (4, 3, RETAINED + 2):
            market.deliver(periods, paul=200_000, pia=100_000)
            rows = count_kinds(market.genesis, market.state)
            assert all(row.is_within for row in rows), [row for row in rows if not row.is_within]
            seen |= {row.key for row in rows if row.entries}
        sizes.append([row.entries for row in rows if row.key.startswith(("pool/", "asset/series/", "asset/holders/"))])
    assert {key for key in OF_THE_ECONOMY if key.startswith("pool/")} <= seen
    assert sizes[0] == sizes[1] == sizes[2]


# --- what it catches ----------------------------------------------------------------------------------


def test_coins_that_stay_apart_are_seen_to_grow():
    years = MarketYears(market=MARKET.model_copy(update={"merged_coins": 0}))
    years.run(60)
    assert any(line.startswith("credit: credit/coin/ grows") for line in years.find_breaches(after=30))


def test_records_that_are_not_dropped_pass_their_bound(monkeypatch):
    """Readings of closed periods, on JY1 alone: DU1 retains 64 periods and drops them by a name of its own."""
    assert scheduling.drop_readings is trading.drop_readings
    monkeypatch.setattr(trading, "drop_readings", lambda view, period: None)
    years = MarketYears()
    years.run(100)
    found = years.find_breaches(after=50)
    assert any(line.startswith("trading: market/reading/ grows") for line in found)
    assert any(line.startswith("trading: market/reading/ 5") and "of 495" in line for line in found), found


def test_positions_that_are_not_dropped_are_seen_to_grow(monkeypatch):
    monkeypatch.setattr(trading, "drop_positions", lambda view, gate, records: None)
    years = MarketYears(market=MARKET.model_copy(update=TWICE | {"retained_periods": 12}))
    years.run(60)
    found = years.find_breaches(after=30)
    assert any(line.startswith("trading: market/position/ grows") for line in found)


def test_a_list_in_one_value_is_caught_by_its_bytes(monkeypatch):
    monkeypatch.setattr(trading, "close_period", lambda view, period, *, retained: keep_all(view, period))
    years = MarketYears()
    years.run(50)
    assert any(line.startswith("trading: market/closed 1 of 1") for line in years.find_breaches(after=25))


def keep_all(view, period):
    closed = view.get(b"market/closed") or ()
    view.put(b"market/live", tuple(live for live in view.get(b"market/live") if live != period))
    view.put(b"market/closed", (*closed, *range(period * 100, period * 100 + 8)))
    return ()


def test_a_key_that_is_in_no_row_is_caught():
    years = MarketYears()

    def write(view, block):
        view.put(b"market/extra/" + block.height.to_bytes(8, "big"), 1)

    contracts = years.jy1.contracts
    years.jy1.contracts = replace(contracts, hooks=(*contracts.hooks, write))
    years.run(2, every=1)
    assert [line for line in years.find_breaches(after=0) if UNKNOWN in line]


# --- the table ----------------------------------------------------------------------------------------


def test_every_row_is_found_by_its_keys_and_has_bounds_that_can_be_computed():
    genesis = MarketYears().genesis
    for chain in genesis.chains:
        numbers = measure(genesis.open(chain.name), build_state(genesis.open(chain.name)))
        for kind in KINDS:
            assert find_kind(kind.key.encode() + (b"\0/\1" if kind.key.endswith("/") else b"")) is kind
            assert kind.entries == "acts" or compute_bound(kind.entries, numbers) is not None, kind
            assert compute_bound(kind.size, numbers), kind


@pytest.mark.parametrize("key", [b"", b"a", b"x/1", b"market/", b"market/other/1", b"clock/1", b"outboxes"])
def test_a_key_that_only_looks_like_one_is_of_no_kind(key):
    assert find_kind(key) is None


@pytest.mark.parametrize(
    ("formula", "value"),
    [("7", 7), ("2 048 × 3", 6_144), ("3 + 34 × sealers", 3 + 34 * 5), ("acts", None), ("3 + x", None)],
)
def test_a_formula_is_a_sum_of_products(formula, value):
    assert compute_bound(formula, {"sealers": 5}) == value


def test_entries_and_bytes_are_those_of_the_state():
    genesis = MarketYears().genesis.open("LH1")
    view = Overlay(build_state(genesis))
    view.put(b"credit/applied", 7)
    view.commit()
    state = view.finish()[0]
    rows = count_kinds(genesis, state)
    assert sum(row.entries for row in rows) == len(state)
    assert sum(row.bytes for row in rows) == sum(len(key) + len(value) for key, value in state.items())
    assert next((row.entries, row.bytes, row.largest_bytes) for row in rows if row.key == "credit/applied") == (
        1,
        15,
        1,
    )
    assert all(row.is_within for row in rows)
