"""Asking the nodes for everything that a market day's report is made from, once the day is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from gridmerit.demo.day import KINDS, ChainRecord, DayRecord, HourRecord, Message, NodeRecord, ProofRecord
from gridmerit.demo.stage_times import Sighting, compute_timeline
from gridmerit.players.agents import Participant, Sent, get_problems
from ledger.codec import Value, decode, expect_array
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.params import Kind
from node.api.client import Client
from node.errors import RemoteNotFound
from node.proofs.documents import verify_document
from node.queries.answers import (
    AccountInfo,
    BlockDetail,
    BlockSummary,
    ChainStatus,
    GateInfo,
    ResultInfo,
    SettlementInfo,
    TradesInfo,
)
from node.system.clock import now_ms, steady_ms

_T = TypeVar("_T")

_AGREED_WITHIN_MS = 90_000  # of a machine that is busy with other things
_POLL_S = 0.05
_AT_ONCE = 8  # requests under way
_BLOCKS_PER_REQUEST = 1_000
_MAX_MESSAGE_BYTES = 1_000_000
_NO_RESULT = ResultInfo(slot=None, block=None, quorum=0, sealers=0, signed=(), silent=())
_NO_GATE = GateInfo(height=0, block="", result_root="", trade_count=0, status="no orders")

Clients = Mapping[Kind, Mapping[str, Client]]  # by kind of chain and name of the node


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The hours of the profile that ran, and the first period."""

    seed: int
    first_period: int
    hours_ms: tuple[int, ...]

    @property
    def periods(self) -> range:
        return range(self.first_period, self.first_period + len(self.hours_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The record, and proofs as documents by what they prove."""

    record: DayRecord
    proofs: Mapping[str, dict[str, Any]]


async def collect_day(
    hours: Hours,
    genesis: Genesis,
    clients: Clients,
    participants: Sequence[Participant],
    sightings: Sequence[Sighting],
    begin_ms: int,
) -> Collected:
    """Wait until all nodes agree on every chain's head, and ask the first one for everything up to there."""
    statuses = {kind: await _wait_for_agreement(clients[kind]) for kind in KINDS}
    first = {kind: next(iter(clients[kind].values())) for kind in KINDS}
    own = {chain.kind: genesis.open(chain.name) for chain in genesis.chains}
    sent = [entry for participant in participants for entry in participant.sent]
    chains, codes = dict[Kind, ChainRecord](), dict[str, str]()
    for kind in KINDS:
        height = next(iter(statuses[kind].values())).height
        chains[kind] = await _collect_chain(first[kind], own[kind], height, codes)
    entries = await _collect_hours(first, hours.periods)
    proofs, documents = await _collect_proofs(first, entries, own)
    players = [member.name for member in genesis.members if member.capacity_wh]
    record = DayRecord(
        chains=chains,
        seed=hours.seed,
        first_period=hours.first_period,
        hours_ms=hours.hours_ms,
        hours=entries,
        timeline=compute_timeline(
            sightings,
            hours.periods,
            {entry.period: height for entry in entries if (height := entry.trades.gate.height)},
        ),
        assets={name: await first["credit"].assets(name) for name in players},
        peers=tuple(
            NodeRecord(name=name, chains={kind: statuses[kind][name] for kind in KINDS}) for name in statuses["trading"]
        ),
        sent=len(sent),
        lost=tuple(entry.transaction_id for entry in sent if entry.transaction_id not in codes),
        refused=tuple(_describe(entry, codes) for entry in sent if codes.get(entry.transaction_id)),
        problems=tuple(get_problems(participants)),
        proofs=proofs,
        duration_ms=now_ms() - begin_ms,
    )
    return Collected(record=record, proofs=documents)


async def _wait_for_agreement(clients: Mapping[str, Client]) -> dict[str, ChainStatus]:
    """Look at all nodes at once until they report one head; the last look, agreed or not, when time is up."""
    deadline_ms = steady_ms() + _AGREED_WITHIN_MS
    while True:
        statuses = await asyncio.gather(*(client.status() for client in clients.values()))
        if len({status.head for status in statuses}) == 1 or steady_ms() > deadline_ms:
            return dict(zip(clients, statuses, strict=True))
        await asyncio.sleep(_POLL_S)


def _describe(entry: Sent, codes: Mapping[str, str]) -> str:
    return f"{entry.player}, {entry.kind} of period {entry.period}: {codes[entry.transaction_id]}"


# --- chains --------------------------------------------------------------------------------------


async def _collect_chain(client: Client, genesis: Genesis, height: int, codes: dict[str, str]) -> ChainRecord:
    """A chain up to a height; what became of each transaction goes into `codes` by id."""
    messages: list[Message] = []
    for block in await _gather([client.block(number) for number in range(1, height + 1)]):
        codes.update((transaction.id, transaction.code) for transaction in block.transactions)
        messages += _read_messages(block, genesis)
    names = [member.name for member in genesis.members]
    accounts: list[AccountInfo] = await _gather([client.account(name) for name in names])
    return ChainRecord(
        genesis=genesis,
        blocks=await _fetch_blocks(client, height),
        messages=tuple(messages),
        accounts=dict(zip(names, accounts, strict=True)),
    )


async def _gather(requests: Sequence[Awaitable[_T]]) -> list[_T]:
    """All answers in order, with a few requests under way at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(request: Awaitable[_T]) -> _T:
        async with gate:
            return await request

    return await asyncio.gather(*map(ask, requests))


async def _fetch_blocks(client: Client, height: int) -> tuple[BlockSummary, ...]:
    blocks: list[BlockSummary] = []
    while len(blocks) <= height:
        end = min(height, len(blocks) + _BLOCKS_PER_REQUEST - 1)
        blocks += await client.blocks(len(blocks), end)
    return tuple(blocks)


def _read_messages(block: BlockDetail, genesis: Genesis) -> list[Message]:
    """The messages that a block took in from other chains, by its relays."""
    sources = {genesis.chain_id_of(chain.name).hex(): chain.name for chain in genesis.siblings}
    messages = []
    for transaction in block.transactions:
        if transaction.kind == "relay":
            ((certificate, _, (kind, number, _, raw), _),) = transaction.payload
            value = decode(bytes.fromhex(raw.removeprefix("0x")), max_bytes=_MAX_MESSAGE_BYTES)
            _, rows = expect_array(value, 2, "message")
            messages.append(
                Message(
                    height=block.height,
                    source=sources[certificate[0][0]],
                    kind=kind,
                    number=int(number),
                    rows=cast(tuple[Value, ...], rows),
                )
            )
    return messages


# --- hours ---------------------------------------------------------------------------------------


async def _collect_hours(clients: Mapping[Kind, Client], periods: Iterable[int]) -> tuple[HourRecord, ...]:
    """The hours that were cleared, or settled without any trades."""
    entries = []
    for period in periods:
        trades = await find(clients["trading"].trades(period))
        settlement = await find(clients["trading"].settlement(period))
        if trades is None and settlement is None:
            continue
        digests = await find(clients["credit"].digests(period))
        entries.append(
            HourRecord(
                trades=trades or TradesInfo(period=period, gate=_NO_GATE, result=_NO_RESULT, trades=()),
                settlement=settlement or SettlementInfo(period=period, trades=(), grid=()),
                schedule=await find(clients["scheduling"].scheduling(period)),
                digests=() if digests is None else digests.digests,
            )
        )
    return tuple(entries)


async def find(answer: Awaitable[_T]) -> _T | None:
    """The answer, None where there is no such thing (yet)."""
    try:
        return await answer
    except RemoteNotFound:
        return None


# --- proofs --------------------------------------------------------------------------------------


async def _collect_proofs(
    clients: Mapping[Kind, Client], entries: Iterable[HourRecord], own: Mapping[Kind, Genesis]
) -> tuple[tuple[ProofRecord, ...], dict[str, dict[str, Any]]]:
    """The first trade that was settled, and what LH1 holds of its seller (Eq. (7)): checked from the genesis alone."""
    traded = [entry for entry in entries if entry.trades.trades]
    first = next((entry for entry in traded if entry.settlement.trades), traded[0] if traded else None)
    if first is None:
        return (ProofRecord(what="a trade", problem="there was no trade to prove"),), {}
    seller = first.trades.trades[0].seller
    asked: list[tuple[str, Kind, Awaitable[dict[str, Any]]]] = [
        ("a trade", "trading", clients["trading"].proof_trade(first.period, 0)),
        ("an account", "credit", clients["credit"].proof_account(seller, at_final=True)),
    ]
    records, documents = [], {}
    for what, kind, answer in asked:
        try:
            document = await answer
            statement = verify_document(document, own[kind]).statement
            records.append(ProofRecord(what=what, statement=statement))
            documents[what] = document
        except GridmeritError as error:
            records.append(ProofRecord(what=what, problem=f"{error.code}: {error}"))
    return tuple(records), documents
