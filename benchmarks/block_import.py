"""Importing blocks of signed transactions on one core, split by stage, against a bare `cryptography` signature check.

A figure is transactions a second through a whole import: decode, every signature, execution, state root, store.
Settlements are the trades of one period, metered by signed readings in the same block that settles them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from benchmarks.table import Row, print_table
from consensus.quorum import QuorumCertificate, Statement, sign_statement
from ledger.block import Block, Header, compute_tx_root
from ledger.chain import Chain
from ledger.checkpoints import get_checkpoints
from ledger.contract import BlockContext
from ledger.execution import (
    EnvelopeCache,
    Execution,
    apply_transaction,
    begin_block,
    compute_receipt_root,
    execute_body,
)
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams, MarketParams
from ledger.signatures import SigningKey
from ledger.store import LevelStore
from ledger.transaction import Transaction, make_transaction
from market.trading.gates import CERTIFIED, get_gate
from node.chain.contracts import build_contracts

PERIOD_MS = 60_000
BLOCK_TRANSACTIONS = 1_000
SEALER = SigningKey((1).to_bytes(32, "big"))
STAGES = ("decode", "signatures", "execution", "state root", "store")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A genesis with traders, each with a meter, and their keys."""

    genesis: Genesis
    sealer: SigningKey
    buyers: list[SigningKey]
    sellers: list[SigningKey]
    devices: list[SigningKey]  # the buyers' meters, then the sellers'


def make_network(pairs: int) -> Network:
    keys = [SigningKey(index.to_bytes(32, "big")) for index in range(2, 4 * pairs + 3)]
    sealer, grid, traders, devices = SEALER, keys[0], keys[1 : 2 * pairs + 1], keys[2 * pairs + 1 :]
    members = [
        GenesisMember(name="sealer", role="observer", key=sealer.public_key, seals=(ALL_CHAINS,)),
        GenesisMember(name="grid", role="grid-operator", key=grid.public_key),
    ]
    for index, (key, device) in enumerate(zip(traders, devices, strict=True)):
        name = f"player-{index}"
        members.append(
            GenesisMember(
                name=name,
                role="consumer" if index < pairs else "producer",
                key=key.public_key,
                balance_uyuan=10**12,
                capacity_wh=10**6,
                position="f1",
            )
        )
        members.append(GenesisMember(name=f"meter-{index}", role="device", key=device.public_key, owner=name))
    params = ChainParams(
        name="bench",
        ledger=LedgerParams(period_ms=PERIOD_MS, max_block_transactions=8_000, max_block_bytes=3_900_000),
        consensus=ConsensusParams(),
        market=MarketParams(max_orders_per_period=1_000_000),
    )
    genesis = Genesis(params=params, time_ms=0, members=tuple(members))
    return Network(genesis=genesis, sealer=sealer, buyers=traders[:pairs], sellers=traders[pairs:], devices=devices)


def make_context(chain: Chain, timestamp_ms: int) -> BlockContext:
    head = chain.head
    period = timestamp_ms // PERIOD_MS
    return BlockContext(
        params=chain.genesis.params,
        chain_id=chain.chain_id,
        genesis_time_ms=0,
        height=head.height + 1,
        parent=head.hash,
        producer=address_of(SEALER.public_key),
        timestamp_ms=timestamp_ms,
        period=period,
        is_first_of_period=period > head.header.period,
    )


def sign(chain: Chain, key: SigningKey, sequence: int, kind: str, payload: tuple[object, ...]) -> Transaction:
    return make_transaction(
        key,
        chain_id=chain.chain_id,
        sequence=sequence,
        expiry_height=chain.head.height + 10,
        kind=kind,
        payload=payload,  # type: ignore[arg-type]
    )


def build_block(chain: Chain, timestamp_ms: int, transactions: tuple[Transaction, ...]) -> Block:
    """A block with right roots; it is unsealed, for consensus is not what is measured."""
    context = make_context(chain, timestamp_ms)
    execution = execute_body(chain.head.state, context, transactions, build_contracts(chain.genesis))
    refused = {receipt.code for receipt in execution.receipts if receipt.code}
    assert not refused, refused
    header = Header(
        chain_id=chain.chain_id,
        height=context.height,
        parent=context.parent,
        timestamp_ms=timestamp_ms,
        producer=bytes(32),
        credit_upt=0,
        n_diff=1,
        period=context.period,
        tx_root=compute_tx_root(transactions),
        receipt_root=execution.receipt_root,
        state_root=execution.state.root,
    )
    return Block(header=header, transactions=transactions)


def import_block(chain: Chain, store: LevelStore, raw: bytes) -> dict[str, float]:
    """Import one block's bytes, stage by stage as the node does it; seconds by stage."""
    contracts, envelopes = build_contracts(chain.genesis), EnvelopeCache()
    marks = [time.perf_counter()]
    block = Block.from_bytes(raw, max_bytes=10**9, max_transactions=10**6, max_transaction_bytes=16_384)
    assert compute_tx_root(block.transactions) == block.header.tx_root
    marks.append(time.perf_counter())
    for transaction in block.transactions:
        envelopes.check(transaction, chain.chain_id)
    marks.append(time.perf_counter())
    view = Overlay(chain.head.state)
    context = make_context(chain, block.header.timestamp_ms)
    begin_block(view, context, contracts)
    receipts = tuple(apply_transaction(view, context, item, contracts) for item in block.transactions)
    receipt_root = compute_receipt_root(receipts)
    assert receipt_root == block.header.receipt_root
    marks.append(time.perf_counter())
    state, delta = view.finish()
    assert state.root == block.header.state_root
    marks.append(time.perf_counter())
    execution = Execution(state=state, delta=delta, receipts=receipts, receipt_root=receipt_root, events=view.events)
    entry = chain.add(block, execution, work=chain.head.work + 1, base_n_diff=1)
    store.write(chain.move_head(entry).changes)
    marks.append(time.perf_counter())
    return {stage: end - start for stage, start, end in zip(STAGES, marks, marks[1:], strict=False)}


def transfer_blocks(network: Network, chain: Chain, count: int) -> Iterator[bytes]:
    """Blocks in which every buyer pays a seller; yields bytes and expects each to be imported."""
    for number in range(count):
        transactions = tuple(
            sign(chain, buyer, number, "transfer", (seller.address, 1_000 + number))
            for buyer, seller in zip(network.buyers, network.sellers, strict=True)
        )
        yield build_block(chain, number + 1, transactions).raw


def settlement_blocks(network: Network, chain: Chain) -> Iterator[tuple[str, bytes]]:
    """A whole period: orders, gate, certificate of its checkpoint, readings, settlement; yields (name, bytes)."""
    period, pairs = 3, len(network.buyers)
    orders = [
        sign(chain, key, 0, "intention", intention(side, period, 500_000 + index, 1_000))
        for side, keys in ((0, network.buyers), (1, network.sellers))
        for index, key in enumerate(keys)
    ]
    yield "orders", build_block(chain, 10, tuple(orders)).raw
    yield "gate", build_block(chain, PERIOD_MS, ()).raw
    yield "name", build_block(chain, PERIOD_MS + 1, ()).raw
    certified = sign(chain, network.sealer, 0, "certificate", (certify_gate(network, chain, period).to_value(),))
    yield "certificate", build_block(chain, PERIOD_MS + 2, (certified,)).raw
    yield "binding", build_block(chain, PERIOD_MS + 3, ()).raw
    gate = get_gate(Overlay(chain.head.state), period)
    assert gate is not None
    assert gate.status == CERTIFIED, gate
    readings = tuple(
        sign(chain, device, 0, "reading", (period, 990, 0) if index < pairs else (period, 0, 980))
        for index, device in enumerate(network.devices)
    )
    yield "readings", build_block(chain, 4 * PERIOD_MS, readings).raw
    yield "settlement", build_block(chain, 5 * PERIOD_MS, ()).raw


def certify_gate(network: Network, chain: Chain, period: int) -> QuorumCertificate:
    """The only sealer's signature on the checkpoint that is the gate's block."""
    view = Overlay(chain.head.state)
    gate, checkpoint = get_gate(view, period), get_checkpoints(view)[-1]
    assert gate is not None
    assert gate.height == checkpoint.height, "the gate closes at the start of a slot"
    slot, block_hash, result = checkpoint.slot, checkpoint.block_hash, checkpoint.result
    statement = Statement(chain_id=chain.chain_id, slot=slot, block_hash=block_hash, result=result)
    vote = sign_statement(statement, network.sealer)
    return QuorumCertificate(statement=statement, signatures=((vote.signer, vote.signature),))


def intention(side: int, period: int, price: int, volume_wh: int) -> tuple[object, ...]:
    return (side, period, price, volume_wh)


def baseline_rate(network: Network, chain: Chain) -> float:
    """Signature checks a second by `cryptography`, on messages of a transaction's size."""
    message = bytes(200)
    checks = [(Ed25519PublicKey.from_public_bytes(key.public_key), key.sign(message)) for key in network.buyers[:300]]
    start = time.perf_counter()
    for public_key, signature in checks:
        public_key.verify(signature, message)
    return len(checks) / (time.perf_counter() - start)


def run(quick: bool = False) -> list[Row]:
    """Rows for transfers, orders and settlements; ratios to a bare `cryptography` signature check."""
    network = make_network(200 if quick else BLOCK_TRANSACTIONS)
    with tempfile.TemporaryDirectory() as folder:
        store = LevelStore(Path(folder) / "transfers")
        chain = Chain(network.genesis, store)
        stages = [import_block(chain, store, raw) for raw in transfer_blocks(network, chain, 2 if quick else 5)]
        base = baseline_rate(network, chain)
        store.close()
        store = LevelStore(Path(folder) / "settlements")
        chain = Chain(network.genesis, store)
        period = {name: import_block(chain, store, raw) for name, raw in settlement_blocks(network, chain)}
        store.close()
    pairs = len(network.buyers)
    best = min(stages, key=lambda times: sum(times.values()))
    rows = [row("signed transfers", pairs / sum(best.values()), "tx/s", base)]
    rows += [row(f"  of which {stage}", pairs / best[stage], "tx/s", base) for stage in STAGES]
    orders = sum(period["orders"].values())
    settled = sum(period["readings"].values()) + sum(period["settlement"].values())
    rows.append(row("signed orders", 2 * pairs / orders, "tx/s", base))
    rows.append(row("settlements (two signed readings each)", pairs / settled, "trades/s", base))
    return rows


def row(name: str, value: float, unit: str, base: float) -> Row:
    return Row(name=name, value=value, unit=unit, baseline="bare cryptography signature check", ratio=value / base)


if __name__ == "__main__":
    print_table(run())
