"""Credit and sealing of a market day computed anew: from the settlements, and from what the chains told each other.

The expected blocks follow the credit snapshots that were in force on each chain, and these are replayed message by
message, so that every header's claim can be compared with what its chain's members knew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple, cast

from consensus.poca.credit_target import compute_shares
from gridmerit.demo.day import ChainRecord, DayRecord, Message
from ledger import outbox
from ledger.accounts import Account
from ledger.hashing import show_address
from ledger.params import Kind
from market import messages as kinds
from market.credit.score import CreditRecord, add_penalty, add_score, assess_delivery, correct_score, weigh_delivery
from market.settlement import spread
from node.queries.answers import SettlementInfo

_BAND = 0.95


# --- credit by the settlements -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditHistory:
    """Credit (micro-points) by player: at the start, and after each hour's settlement."""

    by_player: Mapping[str, tuple[int, ...]]
    deliveries: Mapping[str, int]


def compute_credits(record: DayRecord) -> CreditHistory:
    """Eqs (1), (2) and (12) applied to the settlements, hour by hour; what counts as agreed is what was accepted."""
    names = record.names
    market = record.credit.genesis.params.market
    books = {
        name: CreditRecord(initial_upt=market.initial_credit_upt, initial_weight=market.initial_weight)
        for name in record.players
    }
    series = {name: [market.initial_credit_upt] for name in record.players}
    for entry in record.hours:
        for buyer, seller, agreed_wh, consumed_wh, produced_wh in list_deliveries(entry.settlement, entry.accepted_wh):
            scores = _score(consumed_wh, produced_wh, agreed_wh, market.natural_factor_ppm)
            weight = weigh_delivery(agreed_wh, market.score_unit_wh)
            for member, score_upt in zip((names[buyer], names[seller]), scores, strict=True):
                books[member] = books[member].add(score_upt, weight)
        for name, book in books.items():
            series[name].append(book.credit_upt)
    return CreditHistory(
        by_player={name: tuple(values) for name, values in series.items()},
        deliveries={name: book.score_count for name, book in books.items()},
    )


class Delivery(NamedTuple):
    """A delivery that is scored, by the addresses of both sides; Wh, a meter that was not heard as 0."""

    buyer: str
    seller: str
    agreed_wh: int
    consumption_wh: int
    output_wh: int


def list_deliveries(settlement: SettlementInfo, accepted_wh: Mapping[int, int]) -> list[Delivery]:
    """The deliveries of a settlement: each trade as metered or, of two sessions, what is left once they are netted.

    `accepted_wh` has the volume at which each trade binds, by index, where there is one session.
    """
    if not any(row.session for row in settlement.trades):
        return [
            Delivery(
                row.buyer,
                row.seller,
                accepted_wh[row.index],
                0 if row.is_consumption_imputed else row.consumption_wh,
                row.output_wh,
            )
            for row in settlement.trades
        ]
    left_wh = _sum_up_positions(settlement)
    net_wh = _read_meters(settlement, left_wh)
    pairs = []
    for buyer in sorted(member for member, wh in left_wh.items() if wh > 0):
        for seller in sorted(member for member, wh in left_wh.items() if wh < 0):
            agreed_wh = min(left_wh[buyer], -left_wh[seller])
            if agreed_wh:
                pairs.append((buyer, seller, agreed_wh))
                left_wh[buyer], left_wh[seller] = left_wh[buyer] - agreed_wh, left_wh[seller] + agreed_wh
    volumes_wh = [agreed_wh for *_, agreed_wh in pairs]
    used_wh = spread({one: max(0, wh) for one, wh in net_wh.items()}, [buyer for buyer, *_ in pairs], volumes_wh)
    made_wh = spread({one: max(0, -wh) for one, wh in net_wh.items()}, [seller for _, seller, _ in pairs], volumes_wh)
    return [Delivery(*pair, used, made) for pair, used, made in zip(pairs, used_wh, made_wh, strict=True)]


def _sum_up_positions(settlement: SettlementInfo) -> dict[str, int]:
    """The Wh that each member has bought less those it has sold, in both sessions."""
    positions_wh: dict[str, int] = {}
    for row in settlement.trades:
        positions_wh[row.buyer] = positions_wh.get(row.buyer, 0) + row.traded_wh
        positions_wh[row.seller] = positions_wh.get(row.seller, 0) - row.traded_wh
    return positions_wh


def _read_meters(settlement: SettlementInfo, positions_wh: Mapping[str, int]) -> dict[str, int]:
    """Consumption less output of each meter that was heard: its owner's position, and what it settled in real time."""
    beyond_wh = {row.member: row.consumption_wh - row.output_wh for row in settlement.grid}
    heard = positions_wh.keys() - set(settlement.unheard)
    return {member: positions_wh[member] + beyond_wh.get(member, 0) for member in sorted(heard)}


def _score(consumption_wh: int | None, output_wh: int | None, agreed_wh: int, factor_ppm: int) -> tuple[int, int]:
    """The buyer's score and the seller's, who is allowed for the weather; None is of a meter that was not heard."""
    return (
        assess_delivery(consumption_wh or 0, agreed_wh),
        assess_delivery(output_wh or 0, agreed_wh, natural_factor_ppm=factor_ppm),
    )


# --- credit by the messages ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputation:
    """One chain's credits as its members knew them (micro-points, by name)."""

    in_force: tuple[Mapping[str, int], ...]  # the sealers' snapshot that each block from height 1 on was sealed under
    final: Mapping[str, int]  # every member's at the head
    posted: Mapping[int, Mapping[str, int]]  # by period: what LH1 told the other chains


def replay(record: DayRecord, kind: Kind) -> Recomputation:
    """Take in a chain's messages, block by block.

    The first block of a period takes the snapshot before its messages count, and it is in force from the next block.
    """
    chain, names = record.chains[kind], record.names
    market = chain.genesis.params.market
    initial = Account(balance_uyuan=0, credit_upt=market.initial_credit_upt)
    accounts = {member.name: initial for member in chain.genesis.members}
    messages: dict[int, list[Message]] = {}
    for message in chain.messages:
        messages.setdefault(message.height, []).append(message)
    in_force, posted = list[Mapping[str, int]](), dict[int, Mapping[str, int]]()
    active = dict.fromkeys(chain.sealers, initial.credit_upt)
    indexed, applied = set[str](), 0
    for parent, block in pairwise(chain.blocks):
        in_force.append(active)
        if block.period > parent.period:
            active = {name: accounts[name].credit_upt for name in chain.sealers}
            if indexed:
                posted[block.period] = {name: accounts[name].credit_upt for name in sorted(indexed)}
        for message in messages.get(block.height, ()):
            match message.kind:
                case kinds.DELIVERED:
                    indexed |= _take_deliveries(accounts, message, names, chain)
                case kinds.REDELIVERED:
                    indexed |= _take_redeliveries(accounts, message, names, chain)
                case outbox.OFFENCE:
                    indexed |= _take_offence(accounts, message, names)
                case kinds.CREDIT if message.number >= applied:
                    applied = message.number
                    for name, credit_upt in read_snapshot(message, names).items():
                        accounts[name] = accounts[name]._replace(credit_upt=credit_upt)
    final = {name: account.credit_upt for name, account in accounts.items()}
    return Recomputation(in_force=tuple(in_force), final=final, posted=posted)


def read_snapshot(message: Message, names: Mapping[str, str]) -> dict[str, int]:
    """Credit by name in a part of a `credit` message."""
    rows = cast(tuple[tuple[bytes, int], ...], message.rows)
    return {names[show_address(address)]: credit_upt for address, credit_upt in rows}


def _take_deliveries(
    accounts: dict[str, Account], message: Message, names: Mapping[str, str], chain: ChainRecord
) -> set[str]:
    """Score both sides of every trade in a part of a `delivered` message; returns the names of both."""
    market, found = chain.genesis.params.market, set[str]()
    for row in message.rows:
        _, buyer, seller, agreed_wh, consumption_wh, output_wh = cast(tuple[Any, ...], row)
        scores = _score(consumption_wh, output_wh, agreed_wh, market.natural_factor_ppm)
        for address, score_upt in zip((buyer, seller), scores, strict=True):
            name = names[show_address(address)]
            accounts[name] = add_score(accounts[name], score_upt, agreed_wh=agreed_wh, params=market)
            found.add(name)
    return found


def _take_redeliveries(
    accounts: dict[str, Account], message: Message, names: Mapping[str, str], chain: ChainRecord
) -> set[str]:
    """Change the scores of every trade in a part of a `redelivered` message; returns the names of both."""
    market, found = chain.genesis.params.market, set[str]()
    for row in message.rows:
        _, _, buyer, seller, agreed_wh, *now, consumed_wh, produced_wh = cast(tuple[Any, ...], row)
        new = _score(now[0], now[1], agreed_wh, market.natural_factor_ppm)
        old = _score(consumed_wh, produced_wh, agreed_wh, market.natural_factor_ppm)
        for address, new_upt, old_upt in zip((buyer, seller), new, old, strict=True):
            name = names[show_address(address)]
            accounts[name] = correct_score(accounts[name], new_upt - old_upt, agreed_wh=agreed_wh, params=market)
            found.add(name)
    return found


def _take_offence(accounts: dict[str, Account], message: Message, names: Mapping[str, str]) -> set[str]:
    ((_, culprit, cost_upt),) = cast(tuple[tuple[bytes, bytes, int], ...], message.rows)
    name = names[show_address(culprit)]
    accounts[name] = add_penalty(accounts[name], cost_upt)
    return {name}


# --- blocks by producer --------------------------------------------------------------------------


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


def count_sealed(chain: ChainRecord, snapshots: Sequence[Mapping[str, int]]) -> list[SealerCount]:
    """Counts against the sum of every block's shares, at equal search rates."""
    tau_upt = chain.genesis.params.consensus.tau_upt
    names = chain.sealers
    shares = {}
    for snapshot in snapshots:
        key = tuple(snapshot[name] for name in names)
        if key not in shares:
            shares[key] = compute_shares(key, tau_upt)
    sealed = {name: sum(block.producer_name == name for block in chain.blocks[1:]) for name in names}
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
