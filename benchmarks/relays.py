"""Relays a second: certificate, header and state proof checked and a quota taken in, on one core.

The baseline is the least that any design must do for a relay with a certificate of its own: check a quorum's signatures
with bare libsodium. Relays that share a certificate, as parts of one message do, cost no signatures after the first.
"""

from __future__ import annotations

import sys
from time import perf_counter

from nacl import bindings

from benchmarks.table import Row, print_table
from consensus import quorum
from consensus.quorum import QuorumCertificate, Statement, checkpoint_quorum, sign_statement
from consensus.relays import Relay, accept_relay
from ledger.block import Header
from ledger.codec import decode
from ledger.contract import BlockContext
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember, build_state
from ledger.outbox import outbox_key, post
from ledger.overlay import Overlay
from ledger.params import Area, ChainParams, LedgerParams, Line, SchedulingParams
from ledger.signatures import SigningKey
from ledger.state import State
from market.messages import QUOTA
from market.trading.contract import market_routes

LINES = 24
COUNT, QUICK_COUNT = 400, 40
ROUNDS, QUICK_ROUNDS = 5, 1
_PERIOD = 10  # the first that is relayed
_MAX_BYTES = 1_000_000
_Certified = tuple[Header, QuorumCertificate, State]


def run(quick: bool = False) -> list[Row]:
    """Rows of relays per second for 4 and for 10 members; the best of some rounds counts on both sides."""
    count = QUICK_COUNT if quick else COUNT
    return [row for members in (4, 10) for row in _measure(members, count, QUICK_ROUNDS if quick else ROUNDS)]


def _measure(members: int, count: int, rounds: int) -> list[Row]:
    keys = [SigningKey(bytes([number + 1]) * 32) for number in range(members)]
    genesis = _make_genesis(keys)
    own = [_make_relay(*_certify(genesis, keys, [number]), number) for number in range(count)]
    shared_source = _certify(genesis, keys, range(8))
    shared = [_make_relay(*shared_source, number) for number in range(8)] * (count // 8)
    own_s = min(_time_relays(genesis, own, each_once=True) for _ in range(rounds))
    shared_s = min(_time_relays(genesis, shared, each_once=False) for _ in range(rounds))
    bare_s = min(_time_signatures(own) for _ in range(rounds))
    baseline = f"bare libsodium, {checkpoint_quorum(members)} signatures"
    return [
        Row(f"relays, own certificate of {members}", count / own_s, "per second", baseline, bare_s / own_s),
        Row(
            f"relays, shared certificate of {members}",
            len(shared) / shared_s,
            "per second",
            baseline,
            bare_s / shared_s,
        ),
    ]


def _time_relays(genesis: Genesis, relays: list[bytes], *, each_once: bool) -> float:
    """Seconds to decode and take in all relays, from bytes; each on the state that lacks it."""
    quorum.verify_signatures.cache_clear()
    state, routes, context = build_state(genesis), market_routes(), _make_context(genesis)
    begin = perf_counter()
    view = Overlay(state)
    for raw in relays:
        accept_relay(view, context, Relay.from_value(decode(raw, max_bytes=_MAX_BYTES)), routes)
        if each_once:
            view.commit()
        else:
            view.rollback()
    return perf_counter() - begin


def _time_signatures(relays: list[bytes]) -> float:
    """Seconds to check the signatures in all relays and nothing else."""
    jobs = []
    for raw in relays:
        certificate = Relay.from_value(decode(raw, max_bytes=_MAX_BYTES)).certificate
        jobs += [(signature, certificate.statement.digest(), key) for key, signature in certificate.signatures]
    begin = perf_counter()
    for signature, digest, key in jobs:
        bindings.crypto_sign_open(signature + digest, key)
    return perf_counter() - begin


# --- what is relayed -----------------------------------------------------------------------------


def _make_genesis(keys: list[SigningKey]) -> Genesis:
    members = [
        GenesisMember(
            name=f"m{index}", role="prosumer" if index else "grid-operator", key=key.public_key, seals=(ALL_CHAINS,)
        )
        for index, key in enumerate(keys)
    ]
    ledger = LedgerParams(max_transaction_bytes=65_536)
    lines = tuple(Line(name=f"line-{index}", area="all", capacity_wh=1_000_000) for index in range(LINES))
    scheduling = SchedulingParams(areas=(Area(name="all", wheeling_uyuan_per_kwh=20_000),), lines=lines)
    return Genesis(
        params=ChainParams(name="jy1", ledger=ledger),
        siblings=(ChainParams(name="du1", kind="scheduling", ledger=ledger, scheduling=scheduling),),
        time_ms=0,
        members=tuple(members),
    )


def _certify(genesis: Genesis, keys: list[SigningKey], numbers: list[int] | range) -> _Certified:
    """A header of DU1 whose state has quotas for these periods in its outbox, and a certificate of it."""
    view = Overlay(build_state(genesis.open("du1")))
    for number in numbers:
        rows = [(f"line-{index}", 100_000 + number, 200_000, 20_000) for index in range(LINES)]
        post(view, QUOTA, _PERIOD + number, rows, height=1)
    view.commit()
    state, _ = view.finish()
    chain_id = genesis.chain_id_of("du1")
    header = Header(
        chain_id=chain_id,
        height=1,
        parent=bytes(32),
        timestamp_ms=1,
        producer=keys[0].public_key,
        credit_upt=0,
        n_diff=1,
        period=0,
        tx_root=bytes(32),
        receipt_root=bytes(32),
        state_root=state.root,
    )
    statement = Statement(chain_id=chain_id, slot=1, block_hash=header.hash)
    votes = [sign_statement(statement, key) for key in keys[: checkpoint_quorum(len(keys))]]
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    return header, QuorumCertificate(statement=statement, signatures=signatures), state


def _make_relay(header: Header, certificate: QuorumCertificate, state: State, number: int) -> bytes:
    key = outbox_key(QUOTA, _PERIOD + number, 0)
    raw = state.get(key)
    assert raw is not None
    return Relay(
        certificate=certificate,
        header=header,
        kind=QUOTA,
        number=_PERIOD + number,
        part=0,
        raw=raw,
        proof=state.prove(key),
    ).to_bytes()


def _make_context(genesis: Genesis) -> BlockContext:
    return BlockContext(
        params=genesis.params,
        chain_id=genesis.chain_id,
        genesis_time_ms=0,
        height=1,
        parent=bytes(32),
        producer=bytes(20),
        timestamp_ms=1,
        period=0,
        is_first_of_period=False,
        siblings=frozenset({"scheduling"}),
    )


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
