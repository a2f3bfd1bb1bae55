"""Beside a scheduling chain, whatever is cut, metered, late or missing: money stays, and every reserve returns."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from market.orders import Side
from market.trading.gates import ACCEPTED, LAPSED, SETTLED, VOID
from market.trading.views import get_binding_trades, get_quota, get_settlement, get_trades, live_periods

PERIOD = 10
POSITIONS = {"carol": "north", "paul": "north", "rosa": "south", "chen": "south", "pia": "south"}
BUYERS = ("carol", "chen", "rosa")
SELLERS = ("paul", "pia", "rosa")
ORDER_WH = 100_000
SCHEDULING = frozenset({"scheduling"})

amounts = st.one_of(st.integers(0, 3 * ORDER_WH), st.integers(2 * ORDER_WH, 6 * ORDER_WH))
quotas = st.tuples(amounts, amounts, st.integers(0, 50_000))
orders = st.tuples(
    st.sampled_from([(name, Side.BID) for name in BUYERS] + [(name, Side.OFFER) for name in SELLERS]),
    st.sampled_from([450_000, 480_001, 500_000, 520_000, 550_000]),
    st.integers(1, ORDER_WH),
)
shares = st.one_of(st.none(), st.just(0), st.integers(1, 99))  # of a trade that is accepted, in per cent; None: whole
verdicts = st.lists(shares, min_size=20, max_size=20)
energy = st.integers(0, 3 * ORDER_WH)
meters = st.dictionaries(st.sampled_from(sorted(POSITIONS)), st.tuples(energy, energy))
siblings = st.sampled_from([SCHEDULING, SCHEDULING | {"credit"}])
rules = st.sampled_from(["price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn"])


@settings(max_examples=150, deadline=None)
@given(
    kinds=siblings,
    rule=rules,
    north=quotas,
    south=quotas,
    book=st.lists(orders, min_size=8, max_size=24),
    verdict=st.one_of(verdicts, verdicts, verdicts, st.none()),
    metered=st.one_of(meters, meters, st.none()),
)
def test_money_is_conserved_and_reserves_return(make_market, kinds, rule, north, south, book, verdict, metered):
    market = make_market(siblings=kinds, positions=POSITIONS, clearing_rule=rule)
    money = market.money()
    at_first = {name: market.account(name) for name in POSITIONS}
    market.quota(("north", *north), ("south", *south))
    calls = [(name, "intention", market.intention(name, side, *order)) for (name, side), *order in book]
    market.make_block(*calls)
    held = market.reserved()
    market.go("gate")
    assert_within_quotas(market)
    assert (market.money(), market.reserved() <= held) == (money, True)

    is_gated = market.gate() is not None
    if is_gated and verdict is not None:
        give_verdict(market, verdict)
    market.go("deadline")
    if not is_gated or verdict is None:
        assert market.reserved() == 0
    market.go("delivery_end")
    if metered is not None:
        assert market.metered(*[(name, *read) for name, read in metered.items()]) == ""
    market.go("settle")

    assert (market.money(), market.reserved(), live_periods(market.state)) == (money, 0, ())
    is_lapsed = is_gated and verdict is not None and not metered and get_binding_trades(market.state, PERIOD) != []
    if is_gated:
        is_lapsed = is_lapsed or (metered is None and verdict is not None)
        assert market.gate().status == (VOID if verdict is None else LAPSED if is_lapsed else SETTLED)
    if is_lapsed or not metered:
        assert {name: at._replace(sequence=0) for name, at in at_first.items()} == {
            name: market.account(name)._replace(sequence=0) for name in POSITIONS
        }
    else:
        assert_closed(market, metered)


def give_verdict(market, verdict):
    """Each trade accepted by its share; what is set aside falls to what the accepted volumes cost."""
    trades = get_trades(market.state, PERIOD)
    rows = [
        (trade.trade_index, trade.volume_wh * share // 100, "north")
        for trade, share in zip(trades, verdict * (1 + len(trades) // 20), strict=False)
        if share is not None
    ]
    assert market.verdict(*rows) == ""
    assert market.gate().status == ACCEPTED
    wheeling = {line: quota.wheeling_uyuan_per_kwh for line, quota in get_quota(market.state, PERIOD).items()}
    for name, line in POSITIONS.items():
        cost = sum(
            trade.volume_wh * (trade.price_uyuan_per_kwh + wheeling[line])
            for trade in get_binding_trades(market.state, PERIOD)
            if trade.buyer == market.address(name)
        )
        assert market.account(name).reserved_uyuan == -(-cost // 1000)


def assert_within_quotas(market):
    lines = {market.address(name): line for name, line in POSITIONS.items()}
    trades, found = get_trades(market.state, PERIOD), get_quota(market.state, PERIOD)
    for line, quota in found.items():
        assert sum(trade.volume_wh for trade in trades if lines[trade.buyer] == line) <= quota.demand_wh
        assert sum(trade.volume_wh for trade in trades if lines[trade.seller] == line) <= quota.supply_wh


def assert_closed(market, metered):
    """Every metered Wh is settled once, every trade under its own index, and the legs sum to zero."""
    trades, grid = get_settlement(market.state, PERIOD)
    names = {market.address(name): name for name in POSITIONS}
    binding = get_binding_trades(market.state, PERIOD) if market.gate() and market.gate().status == SETTLED else []
    assert [row.trade_index for row in trades] == [trade.trade_index for trade in binding]
    imputed_wh = sum(row.consumption_wh for row in trades if row.is_consumption_imputed)
    assert imputed_wh == sum(trade.volume_wh for trade in binding if names[trade.buyer] not in metered)
    assert sum(row.consumption_wh for row in (*trades, *grid)) == imputed_wh + sum(read[0] for read in metered.values())
    assert sum(row.output_wh for row in (*trades, *grid)) == sum(read[1] for read in metered.values())
    for row in trades:
        assert row.buyer_pays_uyuan == row.seller_receives_uyuan + row.grid_receives_uyuan
    delivered = market.posted("delivered")
    if "credit" not in market.siblings or not trades:
        assert delivered is None
    else:
        assert [(row[0], row[3]) for row in delivered] == [(trade.trade_index, trade.volume_wh) for trade in binding]
