"""Agents: what they plan and order follows from the profile and the seed, and what they send takes effect once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmerit.network.parameters import load_packaged_profile, load_params_set, scale_params
from gridmerit.players.agents import Day, Sender
from gridmerit.players.plans import PlannedOrder, limit_to_quota, plan_lines, plan_orders
from ledger.genesis import Genesis, GenesisMember
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from ledger.transaction import Transaction
from market.orders import Order, Side, Trade
from market.trading.clearing import match_price_time
from node.errors import RemoteRejected, Unreachable
from node.queries.answers import AccountInfo, LineQuotaInfo, QuotaInfo
from node.system.clock import now_ms

PROFILE = load_packaged_profile()
MARKET = MarketParams()
PLAYERS = [player.name for player in PROFILE.players]
CHAIN_ID = bytes(32)
KEY = SigningKey(b"k" * 32)


def _plan(seed: int) -> dict[str, list[PlannedOrder]]:
    return {name: plan_orders(PROFILE, name, seed, MARKET, hours=24) for name in PLAYERS}


# --- what is ordered -----------------------------------------------------------------------------


def test_a_plan_follows_from_its_seed() -> None:
    assert _plan(1) == _plan(1)
    assert _plan(1) != _plan(2)


def test_the_forecast_is_ordered_and_nothing_when_it_is_zero() -> None:
    for name, orders in _plan(1).items():
        ordered = {order.hour: order.volume_wh for order in orders}
        for hour, hour_ms in enumerate(PROFILE.hours_ms):
            assert ordered.get(hour, 0) == PROFILE.readings[name, hour_ms].forecast_wh


@given(seed=st.integers(min_value=0))
@settings(max_examples=25)
def test_every_price_is_in_the_interest_of_both(seed: int) -> None:
    ceiling = MARKET.retail_uyuan_per_kwh - MARKET.wheeling_uyuan_per_kwh
    for orders in _plan(seed).values():
        for order in orders:
            assert MARKET.feed_in_uyuan_per_kwh < order.price_uyuan_per_kwh < ceiling


@given(seed=st.integers(min_value=0))
@settings(max_examples=25)
def test_no_two_orders_of_an_hour_and_a_side_have_one_price(seed: int) -> None:
    prices = [
        (order.hour, order.side, order.price_uyuan_per_kwh) for orders in _plan(seed).values() for order in orders
    ]
    assert len(set(prices)) == len(prices)


def test_the_trades_do_not_depend_on_who_was_first() -> None:
    orders = [(name, order) for name, planned in _plan(1).items() for order in planned if order.hour == 12]
    expected = _clear(orders)
    assert expected, "an hour in which nothing is traded tells nothing"
    shuffler = Random(7)
    for _ in range(20):
        shuffler.shuffle(orders)
        assert _clear(orders) == expected


def _clear(arrivals: Sequence[tuple[str, PlannedOrder]]) -> list[tuple[object, ...]]:
    book = [
        Order(place, name.encode(), order.side, order.price_uyuan_per_kwh, order.volume_wh, place)
        for place, (name, order) in enumerate(arrivals)
    ]
    trades: list[Trade] = match_price_time(book)
    return [(trade.buyer, trade.seller, trade.price_uyuan_per_kwh, trade.volume_wh) for trade in trades]


def test_sides_follow_from_roles() -> None:
    for player in PROFILE.players:
        sides = {order.side for order in plan_orders(PROFILE, player.name, 1, MARKET, hours=24)}
        assert sides == {Side.OFFER if player.role == "producer" else Side.BID}


def test_bids_pay_the_dearest_wheeling_that_they_are_told_of() -> None:
    ceiling = MARKET.retail_uyuan_per_kwh - 100_000
    for name in PLAYERS:
        for order in plan_orders(PROFILE, name, 1, MARKET, hours=24, wheeling_uyuan_per_kwh=100_000):
            assert MARKET.feed_in_uyuan_per_kwh < order.price_uyuan_per_kwh < ceiling


# --- what is planned -----------------------------------------------------------------------------


def test_a_plan_of_the_lines_holds_every_forecast_once() -> None:
    positions = {name: f"line-{place % 3}" for place, name in enumerate(PLAYERS)}
    for hour, hour_ms in enumerate(PROFILE.hours_ms):
        rows = plan_lines(PROFILE, positions, hour)
        assert [line for line, _, _ in rows] == ["line-0", "line-1", "line-2"]
        forecasts = {player: PROFILE.readings[player.name, hour_ms].forecast_wh for player in PROFILE.players}
        output_wh = sum(forecast for player, forecast in forecasts.items() if player.role == "producer")
        assert sum(output for _, _, output in rows) == output_wh
        assert sum(load for _, load, _ in rows) == sum(forecasts.values()) - output_wh


@pytest.mark.parametrize(
    ("side", "line", "volume_wh"),
    [(Side.BID, "a", 300), (Side.OFFER, "a", 500), (Side.OFFER, "b", 0), (Side.BID, "elsewhere", 0)],
)
def test_nobody_orders_more_than_its_line_may_trade(side: Side, line: str, volume_wh: int) -> None:
    rows = (("a", 300, 900), ("b", 300, 0))
    quota = QuotaInfo(
        period=7,
        lines=tuple(
            LineQuotaInfo(line=name, demand_wh=demand_wh, supply_wh=supply_wh, wheeling_uyuan_per_kwh=0)
            for name, demand_wh, supply_wh in rows
        ),
        complete_ms=1,
        orders_until_ms=2,
    )
    order = PlannedOrder(hour=0, side=side, price_uyuan_per_kwh=500_000, volume_wh=500)
    assert limit_to_quota(order, quota, line) == volume_wh


# --- when it is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "period_ms"), [("paper", 3_600_000), ("paper", 60_000), ("recommended", 3_600_000)])
def test_orders_come_well_within_the_time_in_which_they_are_taken(name: str, period_ms: int) -> None:
    day = _make_day(name, period_ms)
    market, window_ppm = day.genesis.params.market, day.genesis.params.market.intention_ppm
    assert window_ppm == {("paper", 3_600_000): 100_000, ("paper", 60_000): 333_334}.get((name, period_ms), 0)
    open_for_ms = period_ms * (window_ppm or market.open_ppm - market.gate_ppm) // 1_000_000
    staggers = [day.stagger_ms(player, hour, window_ppm) for player in PLAYERS for hour in range(24)]
    assert len(set(staggers)) > 100
    assert 0 < min(staggers) < max(staggers) + day.poll_ms < 0.6 * open_for_ms


def _make_day(name: str, period_ms: int) -> Day:
    du1, jy1, _ = (scale_params(chain, period_ms) for chain in load_params_set(name))
    grid = GenesisMember(name="grid", role="grid-operator", key=KEY.public_key, seals=True)
    genesis = Genesis(params=jy1, siblings=(du1,), time_ms=0, members=(grid,))
    return Day(genesis=genesis, scheduling=genesis.open("du1"), profile=PROFILE, first_period=8, hours=24, seed=1)


# --- how it is sent ------------------------------------------------------------------------------


class Peer:
    """A node's answers, by a script: each submission takes the next one, None for taken on."""

    def __init__(self, *answers: Exception | RemoteRejected | None, next_sequence: int = 0) -> None:
        self.answers = list(answers)
        self.next_sequence = next_sequence
        self.received: list[Transaction] = []

    async def account(self, ref: bytes) -> AccountInfo:
        return AccountInfo(
            height=10,
            address="0x" + ref.hex(),
            name="homes-1",
            role="consumer",
            balance_uyuan=0,
            reserved_uyuan=0,
            credit_upt=0,
            sequence=0,
            next_sequence=self.next_sequence,
            score_count=0,
            penalty_upt=0,
            capacity_wh=0,
            position="",
        )

    async def submit(self, transactions: Sequence[Transaction]) -> list[RemoteRejected | None]:
        self.received += transactions
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Unreachable):
            raise answer
        assert answer is None or isinstance(answer, RemoteRejected)
        return [answer]


def _refusal(code: str) -> RemoteRejected:
    return RemoteRejected(code=code, detail=code, values={})


LOST = Unreachable(url="http://127.0.0.1:9", detail="gone")


def _make_sender(*peers: Peer) -> Sender:
    return Sender(KEY, list(peers), CHAIN_ID)  # type: ignore[arg-type]


async def _send(sender: Sender, *periods: int) -> list[int | None]:
    """Send a reading of each period; the sequence of each, None where it was not taken on."""
    sent = [await sender.send("reading", (period, 0, 0), until_ms=now_ms() + 10_000) for period in periods]
    return [None if transaction is None else transaction.sequence for transaction in sent]


async def test_a_lost_connection_leads_to_another_peer_with_the_same_bytes() -> None:
    own, other = Peer(LOST), Peer()
    sent = await _make_sender(own, other).send("reading", (1, 2, 3), until_ms=now_ms() + 10_000)
    assert sent is not None
    assert [tx.raw for tx in own.received] == [tx.raw for tx in other.received] == [sent.raw]


async def test_sequences_follow_each_other_without_asking() -> None:
    assert await _send(_make_sender(Peer(next_sequence=4)), 1, 2, 3) == [4, 5, 6]


async def test_one_that_is_known_already_counts_as_sent() -> None:
    assert await _send(_make_sender(Peer(_refusal("AlreadyKnown"), next_sequence=4)), 1, 2) == [4, 5]


async def test_what_a_chain_has_already_takes_no_sequence() -> None:
    peer = Peer(None, _refusal("DuplicateReading"), next_sequence=4)
    assert await _send(_make_sender(peer), 1, 2, 3) == [4, None, 5]
    assert [transaction.sequence for transaction in peer.received] == [4, 5, 5]


@pytest.mark.parametrize("code", ["SequenceTooLow", "SequenceTaken", "WrongSequence", "SequenceGapTooWide"])
async def test_a_stale_sequence_is_asked_for_anew(code: str) -> None:
    peer = Peer(None, _refusal(code))
    sender = _make_sender(peer)
    await _send(sender, 1)
    peer.next_sequence = 9
    assert await _send(sender, 2) == [9]


async def test_a_refusal_by_the_rules_is_final() -> None:
    peer = Peer(_refusal("GateClosed"))
    with pytest.raises(RemoteRejected) as caught:
        await _make_sender(peer).send("intention", (), until_ms=now_ms() + 10_000)
    assert caught.value.code == "GateClosed"
    assert len(peer.received) == 1


async def test_it_gives_up_when_the_window_is_over() -> None:
    peers = [Peer(*[LOST] * 9) for _ in permutations("ab")]
    with pytest.raises(Unreachable):
        await _make_sender(*peers).send("reading", (1, 0, 0), until_ms=now_ms() - 1)
