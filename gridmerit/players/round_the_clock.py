"""The packaged day round the clock: each period is an hour of it, planned, ordered and metered with the keys held here.

A driver, built on the agents of `gridmerit/players/agents.py`. Each period is a round of its own, so that all may be
ended and started again at any time: a new start goes on with the periods that can still be planned, ordered or metered,
and leaves alone what it finds done. Every sender has all nodes of its chain to turn to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from gridmerit.players.agents import Agent, Day, Dispatcher, Participant, Sender, sleep_until
from gridmerit.players.bankers import Banker, Payee
from gridmerit.players.batteries import load_battery, save_battery
from gridmerit.players.game_target import Forecaster, load_solver
from gridmerit.players.plans import make_draws
from gridmerit.players.strategists import UNDER_WAY, Answers, Desk, PublicRecord
from gridmerit.text import format_count, format_yuan
from ledger.accounts import TRADERS
from ledger.errors import GridmeritError
from ledger.genesis import Genesis, GenesisMember
from ledger.signatures import SigningKey
from ledger.transaction import Transaction
from market.profile import Profile
from market.strategies.strategy import Act, Strategy, make_call
from market.strategies.truthful import Truthful
from market.strategies.view import View
from market.trading.clearing_rules import is_by_target
from market.trading.sessions import Session
from node.api.client import Client
from node.errors import RemoteNotFound, RemoteRejected
from node.queries.answers import QuotaInfo, SettlementInfo, TradesInfo
from node.system.clock import now_ms
from node.system.tasks import Tasks

_T = TypeVar("_T")

PLANS, ORDERS, READINGS, MONEY = "plans", "orders", "readings", "money"
DUTIES = (PLANS, ORDERS, READINGS, MONEY)
TARGETS = "targets"  # whoever plans commits them, where the trading chain's rule looks for one
_AHEAD_PPM = 3_500_000  # of a period: a round begins so long before its plan is due
_POLL_PPM = 100_000
_DUTY_OF_ROLE = {
    "dispatcher": PLANS,
    "device": READINGS,
    "bank": MONEY,
    **dict.fromkeys(TRADERS, ORDERS),
}
_BEAT_S = 2.0
_AGAIN_S = 0.5
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A transaction that a node has acknowledged."""

    name: str
    chain: str
    kind: str
    transaction_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A member with a key held here, what it does with it, and the names of the nodes it would rather talk to."""

    member: GenesisMember
    key: SigningKey
    duty: str
    prefers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Listeners to acknowledged transactions, to progress in words, and every few seconds to the answer of a node."""

    on_taken: Callable[[Acknowledged], None]
    on_progress: Callable[[str], None]
    on_alive: Callable[[], None]


def find_posts(
    genesis: Genesis, keys: Sequence[SigningKey], duties: Sequence[str], prefers: Mapping[str, tuple[str, ...]]
) -> list[Assignment]:
    """The assignment of each key, by its member's role; keys of no member, or one without such a duty, are left out."""
    members = {member.key: member for member in genesis.members}
    posts = []
    for key in keys:
        member = members.get(key.public_key)
        duty = None if member is None else _DUTY_OF_ROLE.get(member.role)
        if member is not None and duty is not None and duty in duties:
            posts.append(Assignment(member=member, key=key, duty=duty, prefers=prefers.get(member.name, ())))
    return posts


class QueuedSender(Sender):
    """A sender that several rounds share: one at a time, and each acknowledgement is told at once."""

    def __init__(
        self, post: Assignment, chain: str, clients: Sequence[Client], chain_id: bytes, listeners: Listeners
    ) -> None:
        super().__init__(post.key, clients, chain_id)
        self._name = post.member.name
        self._chain = chain
        self._listeners = listeners
        self._turn = asyncio.Lock()

    async def send(self, kind: str, payload: tuple[object, ...], *, until_ms: int) -> Transaction | None:
        async with self._turn:
            transaction = await self._send_once_allowed(kind, payload, until_ms)
        if transaction is not None:
            identity = transaction.id.hex()
            self._listeners.on_taken(
                Acknowledged(name=self._name, chain=self._chain, kind=kind, transaction_id=identity)
            )
        return transaction

    async def _send_once_allowed(self, kind: str, payload: tuple[object, ...], until_ms: int) -> Transaction | None:
        """A quota that a node has told of may be gone again for an instant, when another branch wins."""
        while True:
            try:
                return await super().send(kind, payload, until_ms=until_ms)
            except RemoteRejected as error:
                if error.code != "NoQuota" or now_ms() >= until_ms:
                    raise
            await asyncio.sleep(_AGAIN_S)

    def forget(self) -> None:
        """Ask a node for the next sequence instead of counting on."""
        self._sequence = None

    async def ask(self, question: Callable[[Client], Awaitable[_T]]) -> _T | None:
        """The answer of the node that is sent to; None where it has none, or is silent: then the next one is."""
        try:
            return await question(self._clients[0])
        except RemoteNotFound:
            return None
        except GridmeritError:
            await self._turn_to_another()
            return None


async def ask_any(clients: Sequence[Client], question: Callable[[Client], Awaitable[_T]]) -> _T | None:
    """The answer of the first that has one."""
    for client in clients:
        with suppress(GridmeritError):
            return await question(client)
    return None


class _Trader(Agent):
    """One player's order of one period."""

    async def run(self) -> None:
        if now_ms() < self.day.times_of(0).gate_ms and not await self._has_ordered():
            await self._trade()

    async def _has_ordered(self, session: Session = Session.DAY_AHEAD) -> bool:
        """Return True if the book holds an order of an earlier start."""
        if now_ms() < self.day.times_of(0, session).open_ms:
            return False
        assert isinstance(self.trader, QueuedSender)
        book = await self.trader.ask(lambda client: client.book(self.day.first_period, session))
        return book is not None and any(order.owner_name == self.name for order in (*book.bids, *book.offers))

    async def _wait_for_quota(
        self, period: int, until_ms: int, session: Session = Session.DAY_AHEAD
    ) -> QuotaInfo | None:
        assert isinstance(self.trader, QueuedSender)
        while now_ms() < until_ms:
            found = await self.trader.ask(lambda client: client.quota(period, session))
            if found is not None:
                return found
            await asyncio.sleep(2 * self.day.poll_ms / 1_000)
        return None


@dataclass(slots=True, kw_only=True)
class _Strategist(_Trader):
    """One player's orders of one period, as its strategy has them."""

    desk: Desk

    async def run(self) -> None:
        for session in self.day.sessions:
            if now_ms() < self.day.times_of(0, session).gate_ms and not await self._has_ordered(session):
                await self._trade_in(session)

    async def _trade_in(self, session: Session) -> None:
        day, period, strategy = self.day, self.day.first_period, self.desk.strategy
        times, window_ppm = day.times_of(0, session), day.genesis.params.market.intention_ppm
        await sleep_until(times.open_ms + day.stagger_ms(self.name, 0, window_ppm))
        quota = await self._wait_for_quota(period, times.gate_ms, session)
        if quota is None:
            self._complain("intention", period, "its quota had not come when the gate closed")
            return
        begin_ms = now_ms()
        for look in range(strategy.looks):
            await sleep_until(begin_ms + (quota.orders_until_ms - begin_ms) * look // strategy.looks)
            view = await self._look(quota, session)
            draws = make_draws(day.seed, self.name, 0, look + strategy.looks * session)
            left_s = max(0, quota.orders_until_ms - now_ms()) / 1_000
            acts = await self.desk.ask(view, draws, within_s=left_s)
            await asyncio.gather(*(self._do(act, day.number_of(0, session), quota.orders_until_ms) for act in acts))

    async def _look(self, quota: QuotaInfo, session: Session) -> View:
        assert isinstance(self.trader, QueuedSender)
        period, desk = self.day.first_period, self.desk
        answers = Answers(
            quota=quota,
            book=await self.trader.ask(lambda client: client.book(period, session)),
            account=await self.trader.ask(lambda client: client.account(self.name)),
            earlier=await desk.record.get_earlier(period, desk.strategy.looks_back),
            under_way=await self._list_under_way() if desk.storage is not None else (),
            position_wh=await self._find_position() if session == Session.INTRADAY else 0,
        )
        return desk.make_view(self.day.genesis, period, self.day.wheeling_uyuan_per_kwh, answers, session)

    async def _list_under_way(self) -> list[TradesInfo]:
        """Every gate of the periods before, as it stands, that is not metered yet."""
        assert isinstance(self.trader, QueuedSender)
        period = self.day.first_period
        gates = [(each, session) for each in range(max(1, period - UNDER_WAY), period) for session in self.day.sessions]
        found = [await self.trader.ask(partial(_ask_trades, *gate)) for gate in gates]
        return [gate for gate in found if gate is not None]

    async def _find_position(self) -> int:
        """The Wh that the player has bought less those it has sold in the period so far."""
        assert isinstance(self.trader, QueuedSender)
        found = await self.trader.ask(lambda client: client.positions(self.day.first_period))
        own = [position for position in found.positions if position.member_name == self.name] if found else []
        return sum(position.bought_wh - position.sold_wh for position in own)

    async def _do(self, act: Act, gate: int, until_ms: int) -> None:
        kind, payload = make_call(act, gate)
        await self._deliver(self.trader, kind, self.day.first_period, payload, until_ms)


class _Meter(Agent):
    """One player's reading of one period; one that is there already is no problem."""

    async def run(self) -> None:
        await self._read_meter()


@dataclass(slots=True, kw_only=True)
class _BatteryMeter(_Meter):
    """A reading with the strategy's battery behind the meter, which stands still while nobody runs it."""

    desk: Desk

    async def _measure(self, period: int, actual_wh: int) -> int:
        due_ms = self.day.scheduling_times_of(0).delivery_end_ms + self.day.stagger_ms(self.name, 0)
        if due_ms < self.desk.started_ms:
            return self.desk.meter(period, actual_wh)
        later = [partial(_ask_trades, period, session) for session in self.day.sessions[1:]]
        changes = [await ask_any([self.client], question) for question in later]
        return self.desk.meter(period, actual_wh, await self.desk.record.get_final(period), *changes)


class Rounds:
    """All posts, period after period. `clients` by chain name and node name; `genesis` is the trading chain's.

    Players that `strategies` does not name are truthful. Batteries are kept in the directory `batteries`, if there is
    one. Raises `UnreadableFile` where one of them cannot be read.
    """

    def __init__(
        self,
        genesis: Genesis,
        profile: Profile,
        posts: Sequence[Assignment],
        clients: Mapping[str, Mapping[str, Client]],
        *,
        seed: int,
        listeners: Listeners,
        strategies: Mapping[str, Strategy] = MappingProxyType({}),
        batteries: Path | None = None,
    ) -> None:
        scheduling = next(chain.name for chain in genesis.chains if chain.kind == "scheduling")
        self._genesis, self._scheduling = genesis, genesis.open(scheduling)
        self._profile, self._posts, self._seed, self._listeners = profile, list(posts), seed, listeners
        self._trading_clients = list(clients[genesis.params.name].values())
        self._scheduling_clients = list(clients[scheduling].values())
        self._senders = {post.member.name: self._make_sender(post, clients) for post in posts}
        is_targeted = is_by_target(genesis.params.market.clearing_rule)
        planners = [post for post in posts if post.duty == PLANS and is_targeted]
        self._solve = load_solver() if planners else None
        self._targeters = {
            post.member.name: self._make_sender(replace(post, duty=TARGETS), clients) for post in planners
        }
        self._orders: dict[int, int] = {}
        self._desks = self._set_up_desks(strategies, batteries)

    async def run(self) -> None:
        """Until cancelled, or until something fails that should not."""
        failures, has_failed = list[BaseException](), asyncio.Event()

        def on_failure(error: BaseException) -> None:
            failures.append(error)
            has_failed.set()

        tasks = Tasks(on_failure)
        tasks.start(self._beat(), name="beat")
        try:
            period, soonest = self._find_first_period(), self._find_next_plan()
            while not has_failed.is_set():
                begin_ms = self._make_day(period).scheduling_times_of(0).quota_ms - self._share(_AHEAD_PPM)
                with suppress(TimeoutError):
                    await asyncio.wait_for(has_failed.wait(), max(0, begin_ms - now_ms()) / 1_000)
                tasks.start(self._play(period, must_be_planned=period < soonest), name=f"period {period}")
                period += 1
        finally:
            for desk in self._desks.values():
                desk.close()
            await tasks.stop()
        raise failures[0]

    # --- one period --------------------------------------------------------------------------------

    async def _play(self, period: int, *, must_be_planned: bool) -> None:
        """Play a period; one with a plan due before this start only where there is a plan."""
        day = self._make_day(period)
        if must_be_planned and not await self._is_planned(period):
            return
        participants = [self._make_participant(post, day) for post in self._posts]
        if await self._is_planned(period):
            participants = [item for item in participants if not isinstance(item, Dispatcher)]
        participants += [self._make_forecaster(name, day) for name in self._targeters]
        participants += [self._make_payee(post, day) for post in self._posts if self._has_payee(post)]
        await asyncio.gather(self._tell(period, day), *(self._run_one(item) for item in participants))

    async def _run_one(self, participant: Participant) -> None:
        try:
            await participant.run()
        except GridmeritError as error:
            participant.problems.append(f"{participant.name}: {error.code}: {error}")
        for problem in participant.problems:
            self._listeners.on_progress(f"problem: {problem}")
        if participant.problems:
            name = participant.name
            for sender in (self._senders.get(name), self._senders.get(f"meter-{name}"), self._targeters.get(name)):
                if sender is not None:
                    sender.forget()

    async def _is_planned(self, period: int) -> bool:
        found = await ask_any(self._scheduling_clients, lambda client: client.scheduling(period))
        return found is not None and bool(found.plan)

    async def _tell(self, period: int, day: Day) -> None:
        """Say what came of a period: its trades, and what was settled."""
        times, hour = day.times_of(0), f"period {period}, {self._describe_hour(period)}"
        until_ms = times.delivery_start_ms
        trades = await self._wait_for(lambda client: client.trades(period), times.gate_ms, until_ms)
        if trades is None:
            self._listeners.on_progress(f"{hour}: no trades known by the start of delivery")
            return
        self._listeners.on_progress(f"{hour}: {_describe_trades(trades)}")
        for session in day.sessions[1:]:
            gate_ms = day.times_of(0, session).gate_ms
            changes = await self._wait_for(partial(_ask_trades, period, session), gate_ms, until_ms)
            what = "no trades" if changes is None else _describe_trades(changes)
            self._listeners.on_progress(f"{hour}, {session.title}: {what}")
        until_ms = times.settle_ms + day.share_of_period(2_000_000)
        settlement = await self._wait_for(lambda client: client.settlement(period), times.delivery_end_ms, until_ms)
        what = "not settled in time" if settlement is None else _describe_settlement(settlement)
        self._listeners.on_progress(f"{hour}: {what}")

    async def _wait_for(self, question: Callable[[Client], Awaitable[_T]], from_ms: int, until_ms: int) -> _T | None:
        await asyncio.sleep(max(0, from_ms - now_ms()) / 1_000)
        while True:
            found = await ask_any(self._trading_clients, question)
            if found is not None or now_ms() >= until_ms:
                return found
            await asyncio.sleep(self._share(4 * _POLL_PPM) / 1_000)

    # --- inside ------------------------------------------------------------------------------------

    def _describe_hour(self, period: int) -> str:
        """The hour of the profile that a period is."""
        hours = len(self._profile.hours_ms)
        return f"hour {period % hours} of the {'day' if hours <= _DAY_HOURS else 'week'}"

    def _make_day(self, period: int) -> Day:
        """A day of one hour: the profile's next."""
        hour_ms = self._profile.hours_ms[period % len(self._profile.hours_ms)]
        return Day(
            genesis=self._genesis,
            scheduling=self._scheduling,
            profile=replace(self._profile, hours_ms=(hour_ms,)),
            first_period=period,
            hours=1,
            seed=self._seed * 1_000_000_007 + period,
        )

    def _make_participant(self, post: Assignment, day: Day) -> Participant:
        sender = self._senders[post.member.name]
        if post.duty == PLANS:
            return Dispatcher(name=post.member.name, day=day, sender=sender)
        if post.duty == MONEY:
            return Banker(name=post.member.name, day=day, sender=sender, node=sender)
        kind = _Trader if post.duty == ORDERS else _Meter
        name = post.member.name if post.duty == ORDERS else post.member.owner
        desk = self._desks.get(name)
        if desk is not None and post.duty == ORDERS:
            return _Strategist(
                name=name, day=day, client=self._trading_clients[0], trader=sender, meter=sender, desk=desk
            )
        if desk is not None and desk.storage is not None:
            return _BatteryMeter(
                name=name, day=day, client=self._trading_clients[0], trader=sender, meter=sender, desk=desk
            )
        return kind(name=name, day=day, client=self._trading_clients[0], trader=sender, meter=sender)

    def _has_payee(self, post: Assignment) -> bool:
        return post.duty == ORDERS and bool(self._genesis.params.market.economy)

    def _make_payee(self, post: Assignment, day: Day) -> Payee:
        sender = self._senders[post.member.name]
        return Payee(name=post.member.name, day=day, sender=sender, node=sender)

    def _make_forecaster(self, name: str, day: Day) -> Forecaster:
        assert self._solve is not None, "there are forecasters"
        client, sender = self._trading_clients[0], self._targeters[name]
        return Forecaster(name=name, day=day, sender=sender, client=client, solve=self._solve)

    def _set_up_desks(self, strategies: Mapping[str, Strategy], batteries: Path | None) -> dict[str, Desk]:
        """The desk of each player with a strategy; all read one public record."""
        period_ms = self._genesis.params.ledger.period_ms
        market = self._genesis.params.market
        record = PublicRecord(
            lambda period: ask_any(self._trading_clients, lambda client: client.trades(period)),
            lambda period: now_ms() >= self._genesis.time_ms + period * period_ms,
        )
        members = {member.name: member for member in self._genesis.members}
        if market.sessions > 1:  # whoever trades twice needs a view of what it holds
            players = [post.member.name for post in self._posts if post.duty == ORDERS]
            strategies = {**{name: Truthful() for name in players}, **strategies}
        desks = {}
        for name, strategy in strategies.items():
            desk = desks[name] = Desk(
                member=members[name], strategy=strategy, record=record, profile=self._profile, started_ms=now_ms()
            )
            if batteries is not None and desk.storage is not None:
                file, chain_id = batteries / f"{name}.json", self._genesis.chain_id
                desk.battery, desk.keep = load_battery(file, chain_id), partial(save_battery, file, chain_id)
        return desks

    def _make_sender(self, post: Assignment, clients: Mapping[str, Mapping[str, Client]]) -> QueuedSender:
        genesis = self._genesis if post.duty in (ORDERS, TARGETS, MONEY) else self._scheduling
        own = clients[genesis.params.name]
        names = sorted(own, key=lambda name: post.prefers.index(name) if name in post.prefers else len(post.prefers))
        return QueuedSender(post, genesis.params.name, [own[name] for name in names], genesis.chain_id, self._listeners)

    def _find_first_period(self) -> int:
        """The oldest period with readings that may still be taken."""
        meter_ppm = self._scheduling.params.scheduling.meter_ppm
        period_ms = self._genesis.params.ledger.period_ms
        return max(1, (now_ms() - self._share(meter_ppm) - self._genesis.time_ms) // period_ms)

    def _find_next_plan(self) -> int:
        """The first period with a plan due later than now, with a little time to bring it."""
        quota_ppm = self._scheduling.params.scheduling.quota_ppm
        period_ms = self._genesis.params.ledger.period_ms
        return max(1, -(-(now_ms() + self._share(quota_ppm + 500_000) - self._genesis.time_ms) // period_ms))

    def _share(self, ppm: int) -> int:
        return self._genesis.params.ledger.period_ms * ppm // 1_000_000

    async def _beat(self) -> None:
        while True:
            if await ask_any(self._trading_clients, lambda client: client.status()) is not None:
                self._listeners.on_alive()
            await asyncio.sleep(_BEAT_S)


async def _ask_trades(period: int, session: Session, client: Client) -> TradesInfo:
    return await client.trades(period, session)


def _describe_trades(trades: TradesInfo) -> str:
    volume_wh = sum(trade.volume_wh for trade in trades.trades)
    return f"{format_count(len(trades.trades), 'trade')}, {volume_wh // 1_000} kWh"


def _describe_settlement(settlement: SettlementInfo) -> str:
    gate = settlement.gate
    if gate is not None and gate.reason:
        return f"no trade settled, the period is {gate.status}: {gate.detail}; try: {gate.remedy}"
    paid_uyuan = sum(trade.buyer_pays_uyuan for trade in settlement.trades)
    return f"{format_count(len(settlement.trades), 'trade')} settled, {format_yuan(paid_uyuan)} yuan paid"
