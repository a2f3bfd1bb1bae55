"""What a market day came to: values and checks computed from what the nodes answered. Pure functions of a `DayRecord`.

The expected blocks follow the credit snapshots that were in force, which are computed anew here from the settlements
and compared with what every header claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from consensus.credit_target import compute_shares
from ledger.genesis import Genesis
from market.credit import CreditRecord, assess_delivery
from market.period import compute_times
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH
from node.answers import (
    AccountInfo,
    BlockSummary,
    ChainStatus,
    GridSettlementInfo,
    SettledTradeInfo,
    SettlementInfo,
    TradeInfo,
    TradesInfo,
)
from node.output import format_yuan

GRID_COMPANY = "grid company"
_BAND = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """What one peer reported at the end."""

    name: str
    status: ChainStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRecord:
    """Everything a report is made from. Hour h is delivered in period `first_period` + h.

    `trades` and `settlements` are those of the hours that were cleared, in order.
    """

    genesis: Genesis
    seed: int
    first_period: int
    hours_ms: tuple[int, ...]
    trades: tuple[TradesInfo, ...]
    settlements: tuple[SettlementInfo, ...]
    blocks: tuple[BlockSummary, ...]  # by height, from the genesis block to the head all peers agree on, or to one's
    accounts: Mapping[str, AccountInfo]
    peers: tuple[PeerRecord, ...]
    sent: int
    lost: tuple[str, ...]  # transactions that were sent and are not on the chain
    refused: tuple[str, ...]  # transactions on the chain that had no effect
    problems: tuple[str, ...]
    proof_statement: str | None
    proof_problem: str | None
    duration_ms: int

    @property
    def names(self) -> dict[str, str]:
        """Names by address."""
        return {account.address: name for name, account in self.accounts.items()}

    @property
    def players(self) -> list[str]:
        return [member.name for member in self.genesis.members if member.role in ("producer", "prosumer", "consumer")]

    @property
    def sealers(self) -> list[str]:
        return [member.name for member in self.genesis.members if member.seals]


class Check(NamedTuple):
    """One thing that must hold, or the demonstration has failed."""

    name: str
    passed: bool
    detail: str


# --- the market ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSummary:
    """One hour's clearing and delivery. Prices are None where nothing was traded."""

    hour: int
    start_ms: int
    period: int
    status: str
    trades: int
    volume_wh: int
    low_uyuan_per_kwh: int | None
    mean_uyuan_per_kwh: int | None  # by volume
    high_uyuan_per_kwh: int | None
    consumed_wh: int
    produced_wh: int


def summarise_hours(record: DayRecord) -> list[HourSummary]:
    """Volumes and prices as they were agreed, energy as it was metered."""
    summaries = []
    for found, settlement in zip(record.trades, record.settlements, strict=True):
        hour = found.period - record.first_period
        metered: list[SettledTradeInfo | GridSettlementInfo] = [*settlement.trades, *settlement.grid]
        volume_wh = sum(trade.volume_wh for trade in found.trades)
        prices = [trade.price_uyuan_per_kwh for trade in found.trades]
        value = sum(trade.volume_wh * trade.price_uyuan_per_kwh for trade in found.trades)
        summaries.append(
            HourSummary(
                hour=hour,
                start_ms=record.hours_ms[hour],
                period=found.period,
                status=found.gate.status,
                trades=len(found.trades),
                volume_wh=volume_wh,
                low_uyuan_per_kwh=min(prices, default=None),
                mean_uyuan_per_kwh=divide_half_up(value, volume_wh) if volume_wh else None,
                high_uyuan_per_kwh=max(prices, default=None),
                consumed_wh=sum(row.consumption_wh for row in metered),
                produced_wh=sum(row.output_wh for row in metered),
            )
        )
    return summaries


Payments = dict[tuple[str, str], int]


def compute_payments(record: DayRecord) -> Payments:
    """Who paid whom over the day, in µ¥ by (payer, payee).

    A trade's energy is paid by its buyer to its seller; wheeling, retail energy and feed-in are the grid company's.
    """
    payments: Payments = {}

    def pay(payer: str, payee: str, amount_uyuan: int) -> None:
        if amount_uyuan:
            payments[payer, payee] = payments.get((payer, payee), 0) + amount_uyuan

    for trade, row in settled_trades(record):
        buyer, seller = row.buyer_name or row.buyer, row.seller_name or row.seller
        energy_uyuan = divide_half_up(row.traded_wh * trade.price_uyuan_per_kwh, WH_PER_KWH)
        pay(buyer, seller, energy_uyuan)
        pay(buyer, GRID_COMPANY, row.buyer_pays_uyuan - energy_uyuan)
        pay(GRID_COMPANY, seller, row.seller_receives_uyuan - energy_uyuan)
    for settlement in record.settlements:
        for rest in settlement.grid:
            member = rest.member_name or rest.member
            pay(member, GRID_COMPANY, rest.pays_uyuan)
            pay(GRID_COMPANY, member, rest.receives_uyuan)
    return payments


def compute_nets(payments: Payments) -> dict[str, int]:
    """What everybody has more (or less, if negative) for it, in µ¥."""
    nets: dict[str, int] = {}
    for (payer, payee), amount_uyuan in payments.items():
        nets[payer] = nets.get(payer, 0) - amount_uyuan
        nets[payee] = nets.get(payee, 0) + amount_uyuan
    return nets


def settled_trades(record: DayRecord) -> Iterator[tuple[TradeInfo, SettledTradeInfo]]:
    """Every trade that was executed, with what became of it."""
    for found, settlement in zip(record.trades, record.settlements, strict=True):
        for row in settlement.trades:
            yield found.trades[row.index], row


# --- credit and sealing --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditHistory:
    """Live credit (micro-points) by player: at the start, and after each hour's settlement."""

    by_player: Mapping[str, tuple[int, ...]]
    deliveries: Mapping[str, int]


def compute_credits(record: DayRecord) -> CreditHistory:
    """Eqs (1), (2) and (12) applied to the settlements, hour by hour."""
    market = record.genesis.params.market
    books = {name: CreditRecord(initial_upt=market.initial_credit_upt) for name in record.players}
    series = {name: [market.initial_credit_upt] for name in record.players}
    for found, settlement in zip(record.trades, record.settlements, strict=True):
        for row in settlement.trades:
            agreed_wh = found.trades[row.index].volume_wh
            buyer, seller = row.buyer_name or row.buyer, row.seller_name or row.seller
            books[buyer] = books[buyer].add(assess_delivery(row.consumption_wh, agreed_wh))
            factor_ppm = market.natural_factor_ppm
            score_upt = assess_delivery(row.output_wh, agreed_wh, natural_factor_ppm=factor_ppm)
            books[seller] = books[seller].add(score_upt)
        for name, book in books.items():
            series[name].append(book.credit_upt)
    return CreditHistory(
        by_player={name: tuple(values) for name, values in series.items()},
        deliveries={name: book.score_count for name, book in books.items()},
    )


def compute_active_credits(record: DayRecord, history: CreditHistory) -> list[Mapping[str, int]]:
    """The snapshot (micro-points by sealer) that each block from height 1 on was sealed under.

    The first block of a period takes the live credits before it settles anything, and they count from the next block.
    """
    params, genesis_ms = record.genesis.params, record.genesis.time_ms
    settle_ms = [compute_times(found.period, params, genesis_ms).settle_ms for found in record.trades]
    settled, snapshots = 0, list[Mapping[str, int]]()
    active = {name: history.by_player[name][0] for name in record.sealers}
    for parent, block in pairwise(record.blocks):
        snapshots.append(active)
        if block.period > parent.period:
            active = {name: history.by_player[name][settled] for name in record.sealers}
        while settled < len(settle_ms) and block.timestamp_ms >= settle_ms[settled]:
            settled += 1
    return snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class SealerCount:
    """Blocks of one member: sealed, and what Eq. (11) lets expect of them with its central 95 % band."""

    name: str
    sealed: int
    expected: float
    low: int
    high: int

    @property
    def is_inside(self) -> bool:
        return self.low <= self.sealed <= self.high


def count_sealed(record: DayRecord, snapshots: Sequence[Mapping[str, int]]) -> list[SealerCount]:
    """Counts against the sum of every block's shares, at equal search rates."""
    tau_upt = record.genesis.params.consensus.tau_upt
    names = record.sealers
    shares = {}
    for snapshot in snapshots:
        key = tuple(snapshot[name] for name in names)
        if key not in shares:
            shares[key] = compute_shares(key, tau_upt)
    sealed = {name: sum(block.producer_name == name for block in record.blocks[1:]) for name in names}
    counts = []
    for index, name in enumerate(names):
        chances = [shares[tuple(snapshot[each] for each in names)][index] for snapshot in snapshots]
        low, high = compute_band([float(chance) for chance in chances])
        expected = float(sum(chances, Fraction(0)))
        counts.append(SealerCount(name=name, sealed=sealed[name], expected=expected, low=low, high=high))
    return counts


def compute_band(chances: Sequence[float], mass: float = _BAND) -> tuple[int, int]:
    """The central band of a Poisson-binomial count, exact: at most (1 − mass)/2 lies below it, and as much above.

    The distribution of how many of these independent events happen, folded one event at a time.
    """
    weights = [1.0]
    for chance in chances:
        weights = [
            here * (1 - chance) + before * chance for here, before in zip([*weights, 0.0], [0.0, *weights], strict=True)
        ]
    tail = (1 - mass) / 2
    below, low = 0.0, 0
    while below + weights[low] <= tail:
        below += weights[low]
        low += 1
    above, high = 0.0, len(weights) - 1
    while above + weights[high] <= tail:
        above += weights[high]
        high -= 1
    return low, high


# --- checks --------------------------------------------------------------------------------------


def run_checks(record: DayRecord) -> list[Check]:
    """Everything that must hold after the day."""
    history = compute_credits(record)
    return [
        _check_agreement(record),
        _check_certified(record),
        _check_transactions(record),
        _check_money(record),
        _check_balances(record),
        _check_credits(record, history),
        _check_headers(record, history),
        _check_proof(record),
    ]


def _check_agreement(record: DayRecord) -> Check:
    heads = {(peer.status.height, peer.status.head, peer.status.state_root) for peer in record.peers}
    if len(heads) == 1:
        height, head, root = next(iter(heads))
        who = f"all {len(record.peers)} peers have" if len(record.peers) > 1 else "the only peer has"
        detail = f"{who} block {height} {head[:16]}… with state root {root[:16]}…"
        return Check("one head", True, detail)
    listed = ", ".join(f"{peer.name} {peer.status.height} {peer.status.head[:12]}…" for peer in record.peers)
    return Check("one head", False, f"the peers did not agree at any time looked at: {listed}")


def _check_certified(record: DayRecord) -> Check:
    void = [str(found.period) for found in record.trades if found.gate.status != "settled"]
    missing = len(record.hours_ms) - len(record.trades)
    if void or missing:
        return Check("every hour settled", False, f"periods not settled by certificate: {', '.join(void) or missing}")
    return Check("every hour settled", True, f"{len(record.trades)} hours certified by more than m members and settled")


def _check_transactions(record: DayRecord) -> Check:
    wrong = [*record.problems, *record.refused, *(f"lost {identity[:16]}…" for identity in record.lost)]
    if wrong:
        return Check("every transaction took effect", False, "; ".join(wrong[:3]) + (" …" if len(wrong) > 3 else ""))
    return Check("every transaction took effect", True, f"{record.sent} orders and readings sent, all on the chain")


def _check_money(record: DayRecord) -> Check:
    legs = sum(
        row.buyer_pays_uyuan - row.seller_receives_uyuan - row.grid_receives_uyuan for _, row in settled_trades(record)
    )
    nets = compute_nets(compute_payments(record))
    total = sum(nets.values())
    passed = legs == 0 and total == 0
    return Check("payments sum to zero", passed, f"over {len(nets)} parties: {total} µ¥; over all legs: {legs} µ¥")


def _check_balances(record: DayRecord) -> Check:
    """Every account holds its founding balance and what the settlements say it gained, and nothing is in reserve."""
    nets = compute_nets(compute_payments(record))
    wrong = []
    for member in record.genesis.members:
        account = record.accounts[member.name]
        gained = nets.get(GRID_COMPANY if member.role == "grid-operator" else member.name, 0)
        if account.balance_uyuan != member.balance_uyuan + gained or account.reserved_uyuan:
            wrong.append(member.name)
    if wrong:
        return Check("balances match", False, f"not explained by the settlements: {', '.join(wrong)}")
    total = sum(account.balance_uyuan for account in record.accounts.values())
    return Check("balances match", True, f"{len(record.accounts)} accounts; {format_yuan(total)} yuan, as at genesis")


def _check_credits(record: DayRecord, history: CreditHistory) -> Check:
    wrong = [name for name in record.players if record.accounts[name].credit_upt != history.by_player[name][-1]]
    if wrong:
        return Check("credits match", False, f"not explained by the deliveries: {', '.join(wrong)}")
    count = sum(history.deliveries.values())
    return Check("credits match", True, f"{len(record.players)} credits follow from {count} scored deliveries")


def _check_headers(record: DayRecord, history: CreditHistory) -> Check:
    snapshots = compute_active_credits(record, history)
    wrong = [
        str(block.height)
        for block, snapshot in zip(record.blocks[1:], snapshots, strict=True)
        if snapshot.get(block.producer_name or "") != block.credit_upt
    ]
    name = "headers claim their credit"
    if wrong:
        return Check(name, False, f"blocks {', '.join(wrong[:5])} claim another credit than the snapshot in force")
    return Check(name, True, f"{len(snapshots)} headers, each with its producer's credit in the snapshot in force")


def _check_proof(record: DayRecord) -> Check:
    if record.proof_problem is not None:
        return Check("a trade proved offline", False, record.proof_problem)
    return Check("a trade proved offline", True, record.proof_statement or "")
