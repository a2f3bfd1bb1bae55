"""The actors of a market day: a dispatcher plans the grid, players order by forecasts, and their meters report.

A driver: it reads the clock and talks to nodes. What is planned and ordered stands in `plans.py`.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gridmerit.players.plans import PlannedOrder, limit_to_quota, plan_lines, plan_orders
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from market.profile import Profile
from market.scheduling.contract import SchedulingTimes, compute_scheduling_times
from market.trading.contract import TradeIntention
from market.trading.sessions import Session, get_gate_number
from market.trading.times import PeriodTimes, compute_times
from node.api.client import Client
from node.errors import RemoteFailed, RemoteNotFound, RemoteRejected, Unreachable
from node.queries.answers import QuotaInfo
from node.system.clock import now_ms

_PPM = 1_000_000
_RETRY_S = 0.1
_PLAN_AHEAD_PPM = 3_000_000  # of a period: how long before it is due the dispatcher sends a plan
_POLL_PPM = 50_000  # of a period: how often a player asks whether the quota has come
_LOOK_AGAIN_PPM = 400_000  # of the window: when to see whether a block has taken the transaction in
_LIFETIME_BLOCKS = 2_000
_STALE = frozenset({"SequenceTooLow", "SequenceTaken", "WrongSequence", "SequenceGapTooWide"})
_HELD = "AlreadyKnown"
_NEEDLESS = "DuplicateReading"  # the meter has been read, by an earlier start or in a transaction of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A transaction that a node took on, and what it was for."""

    player: str
    kind: str
    period: int
    transaction_id: str


class Sender:
    """Sends one key's transactions in order, to the first of its nodes that answers.

    A transaction is signed once and offered again with the same bytes, so that it takes effect once wherever it lands.
    """

    def __init__(self, key: SigningKey, clients: Sequence[Client], chain_id: bytes) -> None:
        self._key = key
        self._clients = list(clients)
        self._chain_id = chain_id
        self._sequence: int | None = None

    async def send(self, kind: str, payload: tuple[object, ...], *, until_ms: int) -> Transaction | None:
        """Have a node take a transaction on; None where the chain has what it would say.

        Raises the node's refusal, or `Unreachable` from `until_ms` on.
        """
        transaction: Transaction | None = None
        is_in_doubt = False  # whether a node that did not answer may hold it
        while True:
            try:
                transaction = transaction or await self._sign(kind, payload)
                is_held = await self.submit(transaction)
            except (Unreachable, RemoteFailed):
                if now_ms() >= until_ms:
                    raise
                is_in_doubt = transaction is not None
                await self._turn_to_another()
            except RemoteRejected as error:
                if error.code not in _STALE or now_ms() >= until_ms:
                    raise
                fate = await self._learn_fate(transaction) if transaction is not None and is_in_doubt else "superseded"
                if fate == "included":
                    assert transaction is not None
                    self._sequence = transaction.sequence + 1
                    return transaction
                if fate == "superseded":
                    transaction, self._sequence, is_in_doubt = None, None, False
                await asyncio.sleep(_RETRY_S)
            else:
                if not is_held:  # so its sequence is the next one's
                    return None
                self._sequence = transaction.sequence + 1
                return transaction

    async def submit(self, transaction: Transaction) -> bool:
        """Offer a signed transaction; whether the node holds it: not where the chain has what it would say.

        Raises as `Client.submit` does, and any other refusal.
        """
        (error,) = await self._clients[0].submit([transaction])
        if error is not None and error.code not in (_HELD, _NEEDLESS):
            raise error
        return error is None or error.code == _HELD

    async def offer_again(self, transaction: Transaction) -> None:
        """Offer it to the next node; a refusal now means that it has arrived, or comes too late to change anything."""
        await self._turn_to_another()
        with suppress(GridmeritError):
            await self.submit(transaction)

    async def is_included(self, transaction: Transaction) -> bool:
        try:
            return (await self._clients[0].transaction(transaction.id)).status == "included"
        except (RemoteNotFound, RemoteFailed, Unreachable):
            return False

    async def _learn_fate(self, transaction: Transaction) -> str:
        """`included`, `superseded` where the chain has spent its sequence on another one, else `unknown`."""
        try:
            account = await self._clients[0].account(self._key.address)
            await self._clients[0].transaction(transaction.id)
        except RemoteNotFound:
            return "superseded" if account.sequence > transaction.sequence else "unknown"
        except (RemoteFailed, Unreachable):
            return "unknown"
        return "included"

    async def _sign(self, kind: str, payload: tuple[object, ...]) -> Transaction:
        account = await self._clients[0].account(self._key.address)
        sequence = account.next_sequence if self._sequence is None else self._sequence
        return make_transaction(
            self._key,
            chain_id=self._chain_id,
            sequence=sequence,
            expiry_height=account.height + _LIFETIME_BLOCKS,
            kind=kind,
            payload=payload,  # type: ignore[arg-type]
        )

    async def _turn_to_another(self) -> None:
        self._clients.append(self._clients.pop(0))
        await asyncio.sleep(_RETRY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The plan that all agents of a market day share: hour h of the profile is delivered in period `first_period` + h.

    `genesis` is the trading chain's, and `scheduling` its sibling's.
    """

    genesis: Genesis
    scheduling: Genesis
    profile: Profile
    first_period: int
    hours: int
    seed: int

    @property
    def positions(self) -> dict[str, str]:
        """The line that each member is on."""
        return {member.name: member.position for member in self.genesis.members}

    @property
    def wheeling_uyuan_per_kwh(self) -> int:
        """The highest price of all areas: who bids so that it pays there, need not ask where the energy comes from."""
        return max(area.wheeling_uyuan_per_kwh for area in self.scheduling.params.scheduling.areas)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions in which each period is traded."""
        return tuple(Session)[: self.genesis.params.market.sessions]

    def times_of(self, hour: int, session: Session = Session.DAY_AHEAD) -> PeriodTimes:
        return compute_times(self.first_period + hour, self.genesis.params, self.genesis.time_ms, session)

    def number_of(self, hour: int, session: Session = Session.DAY_AHEAD) -> int:
        """The number of a session's gate."""
        return get_gate_number(self.genesis.params.market, self.first_period + hour, session)

    def scheduling_times_of(self, hour: int) -> SchedulingTimes:
        return compute_scheduling_times(self.first_period + hour, self.scheduling.params, self.scheduling.time_ms)

    def share_of_period(self, ppm: int) -> int:
        return self.genesis.params.ledger.period_ms * ppm // _PPM

    def plan_orders(self, player: str) -> list[PlannedOrder]:
        market = self.genesis.params.market
        wheeling = self.wheeling_uyuan_per_kwh
        return plan_orders(self.profile, player, self.seed, market, self.hours, wheeling_uyuan_per_kwh=wheeling)

    def stagger_ms(self, name: str, hour: int, window_ppm: int = 0) -> int:
        """Not all at the same instant: between 3 and 15 % of a period after a window opens.

        Where that is only `window_ppm` of a period long, within its first half.
        """
        latest = min(150_000, window_ppm // 2) if window_ppm else 150_000
        draw = random.Random(f"stagger/{self.seed}/{name}/{hour}").randrange(latest // 5, latest)
        return self.share_of_period(draw)

    @property
    def poll_ms(self) -> int:
        """The time between questions whether the quota has come: many times while orders are taken."""
        window_ppm = self.genesis.params.market.intention_ppm
        return self.share_of_period(min(_POLL_PPM, window_ppm // 20) if window_ppm else _POLL_PPM)


@dataclass(slots=True, kw_only=True)
class Participant(ABC):
    """A sender of transactions all day; what was sent, and what went wrong."""

    name: str
    day: Day
    sent: list[Sent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @abstractmethod
    async def run(self) -> None:
        """Until the last one is sent."""

    async def _deliver(
        self, sender: Sender, kind: str, period: int, payload: tuple[object, ...], until_ms: int
    ) -> None:
        """Send, look again half-way to the end of the window, and send once more where no block has it."""
        begin_ms = now_ms()
        try:
            transaction = await sender.send(kind, payload, until_ms=until_ms)
            if transaction is None:
                return
            self.sent.append(Sent(player=self.name, kind=kind, period=period, transaction_id=transaction.id.hex()))
            await sleep_until(begin_ms + (until_ms - begin_ms) * _LOOK_AGAIN_PPM // _PPM)
            if not await sender.is_included(transaction):
                await sender.offer_again(transaction)
        except GridmeritError as error:
            self._complain(kind, period, f"{error.code}: {error}")

    def _complain(self, kind: str, period: int, detail: str) -> None:
        self.problems.append(f"{self.name}, {kind} of period {period}: {detail}")


@dataclass(slots=True, kw_only=True)
class Dispatcher(Participant):
    """Plans every line of the grid, hour by hour, from the forecasts of all players."""

    sender: Sender

    async def run(self) -> None:
        for hour in range(self.day.hours):
            period, due_ms = self.day.first_period + hour, self.day.scheduling_times_of(hour).quota_ms
            await sleep_until(due_ms - self.day.share_of_period(_PLAN_AHEAD_PPM))
            payload = (period, plan_lines(self.day.profile, self.day.positions, hour))
            await self._deliver(self.sender, "plan", period, payload, due_ms)


@dataclass(slots=True, kw_only=True)
class Agent(Participant):
    """One player with its meter: `client` and `trader` are on the trading chain, `meter` on the scheduling chain."""

    client: Client
    trader: Sender
    meter: Sender

    async def run(self) -> None:
        await asyncio.gather(self._trade(), self._read_meter())

    async def _trade(self) -> None:
        member = next(member for member in self.day.genesis.members if member.name == self.name)
        for order in self.day.plan_orders(self.name):
            times, period = self.day.times_of(order.hour), self.day.first_period + order.hour
            window_ppm = self.day.genesis.params.market.intention_ppm
            await sleep_until(times.open_ms + self.day.stagger_ms(self.name, order.hour, window_ppm))
            quota = await self._wait_for_quota(period, times.gate_ms)
            if quota is None:
                self._complain("intention", period, "its quota had not come when the gate closed")
                continue
            volume_wh = limit_to_quota(order, quota, member.position)
            if not volume_wh:
                continue
            intention = TradeIntention(
                side=order.side,
                gate=period,
                price_uyuan_per_kwh=order.price_uyuan_per_kwh,
                volume_wh=volume_wh,
            )
            await self._deliver(self.trader, "intention", period, intention.to_payload(), quota.orders_until_ms)

    async def _wait_for_quota(self, period: int, until_ms: int) -> QuotaInfo | None:
        """A period's quotas as soon as they have come to the player's node; None where that is too late."""
        while now_ms() < until_ms:
            with suppress(RemoteNotFound, RemoteFailed, Unreachable):
                return await self.client.quota(period)
            await asyncio.sleep(self.day.poll_ms / 1_000)
        return None

    async def _read_meter(self) -> None:
        is_producer = next(player for player in self.day.profile.players if player.name == self.name).role == "producer"
        for hour in range(self.day.hours):
            times, period = self.day.scheduling_times_of(hour), self.day.first_period + hour
            await sleep_until(times.delivery_end_ms + self.day.stagger_ms(self.name, hour))
            actual_wh = self.day.profile.readings[self.name, self.day.profile.hours_ms[hour]].actual_wh
            metered_wh = await self._measure(period, actual_wh)
            payload = (period, 0, metered_wh) if is_producer else (period, metered_wh, 0)
            await self._deliver(self.meter, "reading", period, payload, times.meter_ms)

    async def _measure(self, period: int, actual_wh: int) -> int:
        """The reading of what was made or used."""
        return actual_wh


async def run_all(participants: Sequence[Participant]) -> None:
    """Run the day of all, until the last one is done."""
    await asyncio.gather(*(participant.run() for participant in participants))


def get_problems(participants: Sequence[Participant]) -> list[str]:
    return [problem for participant in participants for problem in participant.problems]


def order_clients(own: str, clients: Mapping[str, Client]) -> list[Client]:
    """A player's own node first, then the others as they come."""
    return [clients[own], *(client for name, client in clients.items() if name != own)]


async def sleep_until(time_ms: int) -> None:
    await asyncio.sleep(max(0, time_ms - now_ms()) / 1_000)
