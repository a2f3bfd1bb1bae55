"""The desk of a player with a strategy, kept from period to period, and its view of a live network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from gridmerit.players.batteries import Battery
from gridmerit.players.plans import refresh_forecast
from ledger.genesis import Genesis, GenesisMember
from market.orders import Side
from market.profile import Profile
from market.strategies.storage import Storage
from market.strategies.strategy import MAX_LOOK_BACK, Act, Strategy, ask
from market.strategies.view import (
    NO_ORDERS,
    Depth,
    Outcome,
    OwnOrder,
    PublicTrade,
    Tariffs,
    View,
    list_own_trades,
)
from market.trading.gates import LAPSED, VOID
from market.trading.sessions import Session
from node.queries.answers import AccountInfo, BookInfo, OrderInfo, QuotaInfo, TradesInfo
from simulation.errors import StrategyOverdue
from simulation.seclusion import Secluded

UNDER_WAY = 4  # periods: what a battery does in these, before one that is ordered for, is not metered yet

AskTrades = Callable[[int], Awaitable[TradesInfo | None]]


class PublicRecord:
    """The trades of earlier day-ahead gates, asked for once; of one that no node told of before `is_too_late` none.

    It keeps what strategies may look back on.
    """

    def __init__(self, ask: AskTrades, is_too_late: Callable[[int], bool]) -> None:
        self._ask = ask
        self._is_too_late = is_too_late
        self._known: dict[int, TradesInfo | None] = {}

    async def get_earlier(self, period: int, count: int) -> list[TradesInfo]:
        """The latest of so many periods before this one, as far as they are known, oldest first."""
        return [found for each in range(max(1, period - count), period) if (found := await self._get(each)) is not None]

    async def get_final(self, period: int) -> TradesInfo | None:
        """A gate with what has become of it since."""
        return await self._ask(period)

    async def _get(self, period: int) -> TradesInfo | None:
        if period not in self._known:
            is_too_late = self._is_too_late(period)
            found = await self._ask(period)
            if found is None and not is_too_late:
                return None
            self._known = {each: kept for each, kept in self._known.items() if each > period - 2 * MAX_LOOK_BACK}
            self._known[period] = found
        return self._known[period]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The words of nodes on a period and a player before its gate; None where they said nothing."""

    quota: QuotaInfo
    book: BookInfo | None
    account: AccountInfo | None
    earlier: list[TradesInfo]
    under_way: Sequence[TradesInfo] = ()  # every gate of the last periods, where there is a battery
    position_wh: int = 0  # bought less sold in an earlier session


@dataclass(slots=True, kw_only=True)
class Desk:
    """A player's strategy and its battery; `profile` has all hours of the day, `started_ms` is when it was set up.

    `battery` is as it was left, and `keep` hears how it goes on.
    """

    member: GenesisMember
    strategy: Strategy
    record: PublicRecord
    profile: Profile
    started_ms: int
    battery: Battery = field(default_factory=Battery)
    keep: Callable[[Battery], None] = lambda battery: None
    _turns: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @property
    def storage(self) -> Storage | None:
        """The battery as charged when the last metered period was over; None where the strategy has none."""
        storage = self.strategy.storage
        return storage and storage._replace(charge_wh=min(self.battery.charge_wh, storage.capacity_wh))

    @property
    def is_producer(self) -> bool:
        return next(player for player in self.profile.players if player.name == self.member.name).role == "producer"

    async def ask(self, view: View, random: Random, *, within_s: float) -> tuple[Act, ...]:
        """The strategy's answer, one view at a time, in a thread that waits for nobody else's.

        Raises `StrategyFailed`, `BadStrategyAnswer`, or `StrategyOverdue`.
        """
        answer = asyncio.get_running_loop().run_in_executor(self._turns, ask, self.strategy, view, random)
        try:
            return await asyncio.wait_for(answer, within_s)
        except TimeoutError:
            name = type(self.strategy).__name__
            raise StrategyOverdue(player=view.player, strategy=name, period=view.period, seconds=within_s) from None

    def close(self) -> None:
        """Ask no more, and wait for no answer."""
        self._turns.shutdown(wait=False, cancel_futures=True)
        if isinstance(self.strategy, Secluded):
            self.strategy.close()

    def make_view(
        self,
        genesis: Genesis,
        period: int,
        wheeling_uyuan_per_kwh: int,
        answers: Answers,
        session: Session = Session.DAY_AHEAD,
    ) -> View:
        """The view of a period's session; `genesis` is the trading chain's."""
        names = [player.name for player in self.profile.players]
        forecast_wh = self._forecast(period, is_fresh=session == Session.INTRADAY)
        bid_limit_wh, offer_limit_wh = self._find_limits(answers.quota, answers.position_wh)
        book, account = answers.book, answers.account
        earlier = answers.earlier[-self.strategy.looks_back :] if self.strategy.looks_back else []
        return View(
            player=self.member.name,
            period=period,
            generation_wh=max(0, forecast_wh),
            load_wh=max(0, -forecast_wh),
            tariffs=Tariffs.of(genesis.params.market, wheeling_uyuan_per_kwh),
            bid_limit_wh=bid_limit_wh,
            offer_limit_wh=offer_limit_wh,
            place=names.index(self.member.name),
            players=len(names),
            position_wh=answers.position_wh,
            balance_uyuan=int(account.balance_uyuan) if account else 0,
            credit_upt=account.credit_upt if account else 0,
            storage=self._foresee(period, answers.under_way),
            target_uyuan_per_kwh=book.target.g_to_u_uyuan_per_kwh if book and book.target else None,
            bids=_measure(book.best_bid, book.bids) if book else NO_ORDERS,
            offers=_measure(book.best_ask, book.offers) if book else NO_ORDERS,
            earlier=tuple(Outcome.of(trades.period, _publish(trades)) for trades in earlier),
            own_orders=self._list_orders(book) if book else (),
            own_trades=tuple(
                trade
                for trades in earlier
                for trade in list_own_trades(trades.period, _publish(trades), self.member.name)
            ),
        )

    def meter(self, period: int, actual_wh: int, *trades: TradesInfo | None) -> int:
        """The reading with the battery behind the meter, which goes on by this period; Wh made, or used.

        `trades` are those of each of its sessions, as far as they are known. A meter neither turns round nor shows more
        than its owner is registered with. What has been read is read alike; in a period before the last one, or one
        without a word on its trades, the battery stands still.
        """
        read = dict(self.battery.readings)
        if period in read:
            return read[period]
        storage, known = self.storage, [gate for gate in trades if gate is not None]
        if storage is None or not known or period <= self.battery.metered:
            return actual_wh
        sign = 1 if self.is_producer else -1
        excess_wh = sign * actual_wh + sum(map(self._agree, known))
        room_wh = max(0, self.member.capacity_wh - actual_wh)
        least_wh, most_wh = (-room_wh, actual_wh) if self.is_producer else (-actual_wh, room_wh)
        storage, flow = storage.balance(max(least_wh, min(excess_wh, most_wh)))
        reading_wh = actual_wh + sign * (flow.given_wh - flow.drawn_wh)
        self.battery = self.battery.go_on(storage.charge_wh, period, reading_wh)
        self.keep(self.battery)
        return reading_wh

    def _forecast(self, period: int, *, is_fresh: bool = False) -> int:
        """The forecast of an hour, Wh; below 0 where it is used."""
        hour_ms = self.profile.hours_ms[period % len(self.profile.hours_ms)]
        reading = self.profile.readings[self.member.name, hour_ms]
        forecast_wh = refresh_forecast(reading) if is_fresh else reading.forecast_wh
        return forecast_wh if self.is_producer else -forecast_wh

    def _find_limits(self, quota: QuotaInfo, position_wh: int) -> tuple[int, int]:
        """The most to buy and to sell, by role, line, registration and position, Wh."""
        for row in quota.lines:
            if row.line == self.member.position:
                role, capacity_wh = self.member.role, self.member.capacity_wh
                most_wh = (capacity_wh if role != "producer" else 0) - position_wh
                least_wh = (capacity_wh if role != "consumer" else 0) + position_wh
                return max(0, min(row.demand_wh, most_wh)), max(0, min(row.supply_wh, least_wh))
        return 0, 0

    def _foresee(self, period: int, gates: Sequence[TradesInfo]) -> Storage | None:
        """The battery as it will be, if the periods under way go as forecast last, and as agreed at all their gates."""
        storage = self.storage
        first = 1 + max(self.battery.metered, period - 1 - UNDER_WAY)
        for each in sorted({gate.period for gate in gates if gate.period >= first}):
            own = [gate for gate in gates if gate.period == each]
            is_fresh = any(gate.session == Session.INTRADAY.title for gate in own)
            if storage is not None:
                storage = storage.balance(self._forecast(each, is_fresh=is_fresh) + sum(map(self._agree, own)))[0]
        return storage

    def _agree(self, trades: TradesInfo) -> int:
        """The purchases for a period, less the sales, Wh: of a void one, nothing."""
        if trades.gate.status in (VOID, LAPSED):
            return 0
        cut_wh = {cut.index: cut.accepted_wh for cut in trades.curtailments}
        agreed_wh = 0
        for trade in trades.trades:
            volume_wh = cut_wh.get(trade.index, trade.volume_wh)
            agreed_wh += volume_wh * ((trade.buyer_name == self.member.name) - (trade.seller_name == self.member.name))
        return agreed_wh

    def _list_orders(self, book: BookInfo) -> tuple[OwnOrder, ...]:
        return tuple(
            OwnOrder(order.order_id, side, order.price_uyuan_per_kwh, order.volume_wh)
            for side, orders in ((Side.BID, book.bids), (Side.OFFER, book.offers))
            for order in orders
            if order.owner_name == self.member.name
        )


def _measure(best_uyuan_per_kwh: int | None, orders: tuple[OrderInfo, ...]) -> Depth:
    return Depth(best_uyuan_per_kwh, sum(order.volume_wh for order in orders))


def _publish(trades: TradesInfo) -> list[PublicTrade]:
    return [
        PublicTrade(trade.buyer_name, trade.seller_name, trade.price_uyuan_per_kwh, trade.volume_wh)
        for trade in trades.trades
    ]
