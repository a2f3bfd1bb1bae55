"""A market day's record: the nodes' answers, and the market's side of it in figures.

Pure functions of a `DayRecord`. Credit and sealing are in `recompute.py`, what must hold is in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gridmerit.demo.stage_times import HourTimes
from gridmerit.text import format_span
from ledger.codec import Value
from ledger.genesis import Genesis
from ledger.params import Kind, SchedulingParams
from market.rounding import divide_half_up
from market.scheduling.contract import compute_scheduling_times
from market.scheduling.feeder import Feeder, ListedTrade, compute_flows
from market.settlement import WH_PER_KWH
from node.queries.answers import (
    AccountInfo,
    AssetsInfo,
    BlockSummary,
    ChainStatus,
    CurtailmentInfo,
    GridSettlementInfo,
    RecordedDigest,
    SchedulingInfo,
    SettledTradeInfo,
    SettlementInfo,
    TradeInfo,
    TradesInfo,
)

GRID_COMPANY = "grid company"
KINDS: tuple[Kind, ...] = ("trading", "scheduling", "credit")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One peer's report at the end, by chain."""

    name: str
    chains: Mapping[Kind, ChainStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A part of a message that a chain took in from another one, in its block at `height`."""

    height: int
    source: str
    kind: str
    number: int
    rows: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRecord:
    """One chain: its blocks from the genesis block to the head that all peers agree on (or to one's), and accounts."""

    genesis: Genesis
    blocks: tuple[BlockSummary, ...]  # by height
    messages: tuple[Message, ...]  # by height, too
    accounts: Mapping[str, AccountInfo]

    @property
    def name(self) -> str:
        return self.genesis.params.name

    @property
    def sealers(self) -> list[str]:
        return [member.name for member in self.genesis.members if member.seals_on(self.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HourRecord:
    """The chains' records of a cleared hour: trades and settlement (JY1), schedule (DU1), digests (LH1)."""

    trades: TradesInfo
    settlement: SettlementInfo
    schedule: SchedulingInfo | None
    digests: tuple[RecordedDigest, ...]

    @property
    def period(self) -> int:
        return self.trades.period

    @property
    def curtailments(self) -> tuple[CurtailmentInfo, ...]:
        return () if self.schedule is None else self.schedule.curtailments or ()

    @property
    def accepted_wh(self) -> dict[int, int]:
        """The volume at which each trade binds, by index: as agreed, or what the verdict leaves of it."""
        volumes = {trade.index: trade.volume_wh for trade in self.trades.trades}
        return volumes | {cut.index: cut.accepted_wh for cut in self.curtailments}

    @property
    def settled(self) -> Iterator[tuple[TradeInfo, SettledTradeInfo]]:
        """Every trade that was executed, with what became of it; indexes have gaps where nothing was accepted."""
        trades = {trade.index: trade for trade in self.trades.trades}
        for row in self.settlement.trades:
            yield trades[row.index], row


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """A thing proved from the genesis alone, or why it could not be; `statement` is what the proof says."""

    what: str
    statement: str = ""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class DayRecord:
    """Everything a report is made from. Hour h is delivered in period `first_period` + h.

    `hours` are those that were cleared, in order; `timeline` says of every period when its stages were seen.
    """

    chains: Mapping[Kind, ChainRecord]
    seed: int
    first_period: int
    hours_ms: tuple[int, ...]
    hours: tuple[HourRecord, ...]
    timeline: Mapping[int, HourTimes] = field(default_factory=dict)
    assets: Mapping[str, AssetsInfo]
    peers: tuple[NodeRecord, ...]
    sent: int
    lost: tuple[str, ...]  # transactions that were sent and are not on their chain
    refused: tuple[str, ...]  # transactions on a chain that had no effect
    problems: tuple[str, ...]
    proofs: tuple[ProofRecord, ...]
    duration_ms: int

    @property
    def trading(self) -> ChainRecord:
        return self.chains["trading"]

    @property
    def scheduling(self) -> ChainRecord:
        return self.chains["scheduling"]

    @property
    def credit(self) -> ChainRecord:
        return self.chains["credit"]

    @property
    def genesis(self) -> Genesis:
        """The trading chain's."""
        return self.trading.genesis

    @property
    def grid(self) -> SchedulingParams:
        return self.scheduling.genesis.params.scheduling

    @cached_property
    def names(self) -> dict[str, str]:
        """Names by address."""
        return {account.address: name for name, account in self.trading.accounts.items()}

    @cached_property
    def positions(self) -> dict[str, str]:
        """Lines by name of the member."""
        return {member.name: member.position for member in self.genesis.members}

    @property
    def players(self) -> list[str]:
        return [member.name for member in self.genesis.members if member.role in ("producer", "prosumer", "consumer")]

    def start_ms(self, period: int) -> int:
        """The start of a period's delivery, in ms since the epoch."""
        return self.genesis.time_ms + period * self.genesis.params.ledger.period_ms

    def hour_of(self, period: int) -> int:
        return period - self.first_period


# --- trades --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSummary:
    """One hour's clearing and delivery. Prices are None where nothing was traded.

    `reason` says why its trades came to nothing, where they did.
    """

    hour: int
    start_ms: int
    period: int
    status: str
    reason: str | None
    trades: int
    volume_wh: int
    accepted_wh: int
    low_uyuan_per_kwh: int | None
    mean_uyuan_per_kwh: int | None  # by volume
    high_uyuan_per_kwh: int | None
    consumed_wh: int
    produced_wh: int


def summarise_hours(record: DayRecord) -> list[HourSummary]:
    """Volumes and prices as they were agreed, what the lines could carry of it, and energy as it was metered."""
    return [_summarise_hour(record, entry) for entry in record.hours]


def _summarise_hour(record: DayRecord, entry: HourRecord) -> HourSummary:
    hour, trades = record.hour_of(entry.period), entry.trades.trades
    metered: list[SettledTradeInfo | GridSettlementInfo] = [*entry.settlement.trades, *entry.settlement.grid]
    volume_wh = sum(trade.volume_wh for trade in trades)
    prices = [trade.price_uyuan_per_kwh for trade in trades]
    value = sum(trade.volume_wh * trade.price_uyuan_per_kwh for trade in trades)
    return HourSummary(
        hour=hour,
        start_ms=record.hours_ms[hour],
        period=entry.period,
        status=entry.trades.gate.status,
        reason=explain_failure(record, entry),
        trades=len(trades),
        volume_wh=volume_wh,
        accepted_wh=0 if entry.trades.gate.status == "void" else sum(entry.accepted_wh.values()),
        low_uyuan_per_kwh=min(prices, default=None),
        mean_uyuan_per_kwh=divide_half_up(value, volume_wh) if volume_wh else None,
        high_uyuan_per_kwh=max(prices, default=None),
        consumed_wh=sum(row.consumption_wh for row in metered),
        produced_wh=sum(row.output_wh for row in metered),
    )


def explain_failure(record: DayRecord, entry: HourRecord) -> str | None:
    """Explain why an hour's trades were void or lapsed, by the chains' records and when it was seen; else None."""
    seen, status = record.timeline.get(entry.period, {}), entry.trades.gate.status
    if status == "lapsed":
        late = f"the readings did not reach {record.trading.name} in time"
        return late if "metered" in seen else "no meter was read in time"
    if status != "void":
        return None
    if entry.schedule is None or entry.schedule.curtailments is None:
        return _explain_no_verdict(record, entry.period, seen.get("certificate"))
    if "accepted" in seen and record.genesis.params.market.audit == "required":
        return "its trade list was not countersigned in time"
    return f"{record.scheduling.name}'s verdict did not reach {record.trading.name} in time"


def _explain_no_verdict(record: DayRecord, period: int, certified_ms: int | None) -> str:
    trading, scheduling = record.trading.name, record.scheduling
    if certified_ms is None:
        return f"{trading} did not certify its trade list"
    due_ms = compute_scheduling_times(period, scheduling.genesis.params, scheduling.genesis.time_ms).verdict_ms
    if certified_ms >= due_ms:
        late = format_span(certified_ms - due_ms)
        return f"{trading} certified its trade list {late} after {scheduling.name}'s verdict was due"
    left = format_span(due_ms - certified_ms)
    return f"{scheduling.name} gave no verdict in the {left} after {trading} had certified its trade list"


# --- money ---------------------------------------------------------------------------------------


Payments = dict[tuple[str, str], int]


def compute_payments(record: DayRecord) -> Payments:
    """Payments over the day, in µ¥ by (payer, payee).

    A trade's energy is paid by its buyer to its seller; wheeling, retail energy and feed-in are the grid company's.
    """
    payments: Payments = {}

    def pay(payer: str, payee: str, amount_uyuan: int) -> None:
        if amount_uyuan:
            payments[payer, payee] = payments.get((payer, payee), 0) + amount_uyuan

    for entry in record.hours:
        for trade, row in entry.settled:
            buyer, seller = row.buyer_name or row.buyer, row.seller_name or row.seller
            energy_uyuan = divide_half_up(row.traded_wh * trade.price_uyuan_per_kwh, WH_PER_KWH)
            pay(buyer, seller, energy_uyuan)
            pay(buyer, GRID_COMPANY, row.buyer_pays_uyuan - energy_uyuan)
            pay(GRID_COMPANY, seller, row.seller_receives_uyuan - energy_uyuan)
        for rest in entry.settlement.grid:
            member = rest.member_name or rest.member
            pay(member, GRID_COMPANY, rest.pays_uyuan)
            pay(GRID_COMPANY, member, rest.receives_uyuan)
    return payments


def compute_nets(payments: Payments) -> dict[str, int]:
    """Every member's gain (or loss, if negative) of the day, in µ¥."""
    nets: dict[str, int] = {}
    for (payer, payee), amount_uyuan in payments.items():
        nets[payer] = nets.get(payer, 0) - amount_uyuan
        nets[payee] = nets.get(payee, 0) + amount_uyuan
    return nets


# --- the grid ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSummary:
    """One line over the day: its largest quotas and flows in one hour, and what was cut off trades because of it."""

    line: str
    upstream: str
    area: str
    wheeling_uyuan_per_kwh: int
    capacity_wh: int
    demand_quota_wh: int
    supply_quota_wh: int
    listed_wh: int  # the largest flow of an hour either way, as the gate left the trades
    accepted_wh: int  # and as the verdict did
    curtailed_wh: int


def summarise_lines(record: DayRecord) -> list[LineSummary]:
    """By line, in the feeder's order."""
    wheeling = {area.name: area.wheeling_uyuan_per_kwh for area in record.grid.areas}
    listed, accepted = compute_peak_flows(record, as_accepted=False), compute_peak_flows(record, as_accepted=True)
    quotas = [quota for entry in record.hours if entry.schedule is not None for quota in entry.schedule.quotas]
    curtailed: dict[str, int] = {}
    for entry in record.hours:
        agreed = {trade.index: trade.volume_wh for trade in entry.trades.trades}
        for cut in entry.curtailments:
            curtailed[cut.line] = curtailed.get(cut.line, 0) + agreed[cut.index] - cut.accepted_wh
    return [
        LineSummary(
            line=line.name,
            upstream=line.upstream,
            area=line.area,
            wheeling_uyuan_per_kwh=wheeling[line.area],
            capacity_wh=line.capacity_wh,
            demand_quota_wh=max((quota.demand_wh for quota in quotas if quota.line == line.name), default=0),
            supply_quota_wh=max((quota.supply_wh for quota in quotas if quota.line == line.name), default=0),
            listed_wh=listed.get(line.name, 0),
            accepted_wh=accepted.get(line.name, 0),
            curtailed_wh=curtailed.get(line.name, 0),
        )
        for line in record.grid.lines
    ]


def compute_peak_flows(record: DayRecord, *, as_accepted: bool) -> dict[str, int]:
    """The largest flow of any hour over each line, in one direction, in Wh."""
    feeder, peaks = Feeder(record.grid), dict[str, int]()
    for entry in record.hours:
        volumes = entry.accepted_wh if as_accepted else {trade.index: trade.volume_wh for trade in entry.trades.trades}
        listed = [
            ListedTrade(
                trade.index,
                record.positions[trade.seller_name or ""],
                record.positions[trade.buyer_name or ""],
                volumes[trade.index],
            )
            for trade in entry.trades.trades
        ]
        for hop, flow_wh in compute_flows(feeder, listed).items():
            peaks[hop.line] = max(peaks.get(hop.line, 0), flow_wh)
    return peaks
