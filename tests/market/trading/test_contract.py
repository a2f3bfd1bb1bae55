"""Conservation, whatever members send and whenever blocks come: of money and of energy, and no reserve stays."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from market.orders import Side
from market.trading.gates import OPEN
from market.trading.views import get_settlement, get_trades, live_periods

PERIOD = 10  # the first one traded
PERIOD_MS = 1_000
METERED_AFTER = 4  # the period that is being metered while one is on the book, counted back from it
BUYERS = ("carol", "chen", "rosa")
SELLERS = ("paul", "pia", "rosa")
TRADERS = ("carol", "chen", "paul", "pia", "rosa")
ORDER_WH = 200_000

INDEXES = {b"market/live", b"market/closed"}
RECORDS = {b"market/trades/", b"market/settlement/", b"market/metered/", b"market/reading/"}

# Periods are drawn as offsets from the one an action belongs to, so that most actions count and some are out of time.
offsets = st.sampled_from([0] * 8 + [-1, 1])
energy = st.integers(0, 3 * ORDER_WH)
orders = st.tuples(
    st.just("order"),
    st.sampled_from([(name, Side.BID) for name in BUYERS] + [(name, Side.OFFER) for name in SELLERS]),
    offsets,
    st.integers(450_000, 550_000),
    st.integers(1, ORDER_WH),
)
cancels = st.tuples(st.just("cancel"), st.sampled_from(TRADERS), offsets, st.integers(0, 3))
readings = st.tuples(
    st.just("readings"),
    st.dictionaries(st.sampled_from(TRADERS), st.tuples(energy, energy), min_size=1),
    offsets,
)
certificates = st.just(("certify",))
actions = st.one_of(orders, orders, orders, orders, cancels, readings, readings, certificates)
waits_ms = st.sampled_from([PERIOD_MS // 2] * 6 + [-PERIOD_MS // 5, 3 * PERIOD_MS])  # timestamps may step back
slots = st.tuples(st.lists(actions, min_size=3, max_size=10), waits_ms)


class Play:
    """Actions sent to a market, and what its meters were told according to the receipts."""

    def __init__(self, market) -> None:
        self.market = market
        self.read: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)  # the last word of each period's meters

    @property
    def period(self) -> int:
        """The period whose book is open now."""
        return PERIOD + (self.market.now_ms - self.market.times(PERIOD).open_ms) // PERIOD_MS

    def act(self, action) -> None:
        market = self.market
        match action:
            case ("order", (sender, side), offset, price, volume):
                payload = market.intention(sender, side, price, volume, period=self.period + offset)
                market.make_block((sender, "intention", payload))
            case ("cancel", sender, offset, order_id):
                market.make_block((sender, "cancel", (self.period + offset, order_id)))
            case ("readings", meters, offset):
                period = self.period - METERED_AFTER + offset
                said = {
                    owner: (consumed, produced if owner in SELLERS else 0)
                    for owner, (consumed, produced) in meters.items()
                }
                calls = [(f"meter-{owner}", "reading", (period, *read)) for owner, read in said.items()]
                execution = market.make_block(*calls)
                for receipt, owner in zip(execution.receipts, said, strict=True):
                    if receipt.code == "":
                        self.read[period][owner] = said[owner]
            case ("certify",):
                for period in live_periods(market.state):
                    if (gate := market.gate(period)) is not None and gate.status == OPEN:
                        market.certify()


@settings(max_examples=60, deadline=None)
@given(story=st.lists(slots, min_size=10, max_size=20))
def test_money_and_energy_are_conserved(make_market, story):
    market = make_market(correction_ppm=2_000_000)
    play = Play(market)
    keys_at_first = {key for key, _ in market.state.items()}
    money = market.money()
    for batch, wait_ms in story:
        for action in batch:
            play.act(action)
        market.now_ms += wait_ms
        market.make_block()
        assert market.money() == money
    last = play.period + 1
    market.go("settle", last)
    market.go_on()

    assert market.money() == money
    assert market.reserved() == 0
    assert live_periods(market.state) == ()
    assert what_is_left(market, keys_at_first) <= {*INDEXES, *RECORDS}
    for period in range(PERIOD - METERED_AFTER - 1, last + 1):
        consumed_wh, produced_wh = (sum(read[side] for read in play.read[period].values()) for side in (0, 1))
        assert_energy_adds_up(get_settlement(market.state, period), consumed_wh, produced_wh)


def assert_energy_adds_up(settlement, consumed_wh, produced_wh):
    """Σ metered and imputed = Σ traded + Σ bought from the grid, and the same for output; the legs of trades close."""
    if settlement is None:
        assert consumed_wh == produced_wh == 0
        return
    trades, grid = settlement
    traded_wh = sum(row.traded_wh for row in trades)
    bought_wh = sum(row.consumption_wh - row.traded_wh for row in trades) + sum(row.consumption_wh for row in grid)
    sold_wh = sum(row.output_wh - row.traded_wh for row in trades) + sum(row.output_wh for row in grid)
    imputed_wh = sum(row.consumption_wh for row in trades if row.is_consumption_imputed)
    assert consumed_wh + imputed_wh == traded_wh + bought_wh
    assert produced_wh == traded_wh + sold_wh
    for row in trades:
        assert row.buyer_pays_uyuan == row.seller_receives_uyuan + row.grid_receives_uyuan


def what_is_left(market, keys_at_first):
    """The market's own keys that a play has added, by prefix."""
    added = {key for key, _ in market.state.items()} - keys_at_first
    own = {key for key in added if key.startswith(b"market/")}
    return {key if key in INDEXES else key[: key.index(b"/", len(b"market/")) + 1] for key in own}


@settings(max_examples=60, deadline=None)
@given(book=st.lists(orders, min_size=2, max_size=25))
def test_at_the_gate_a_buyer_keeps_no_more_aside_than_before_and_owes_nothing(make_market, book):
    market = make_market()
    play = Play(market)
    for order in book:
        play.act(order)
    before = {name: market.account(name) for name in TRADERS}
    market.go("gate")
    for name in TRADERS:
        account = market.account(name)
        assert account.balance_uyuan >= before[name].balance_uyuan >= 0
        assert 0 <= account.reserved_uyuan <= before[name].reserved_uyuan
    buyers = {trade.buyer for trade in get_trades(market.state, PERIOD)}
    assert {market.address(name) for name in TRADERS if market.account(name).reserved_uyuan} == buyers
