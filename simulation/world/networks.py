"""Small networks for scenarios and tests: a genesis and the keys behind it, all derived from names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.poca.credit_target import compute_weight
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.hashing import sha256
from ledger.params import ChainParams, ConsensusParams, LedgerParams, MarketParams, SchedulingParams
from ledger.signatures import SigningKey

GENESIS_TIME_MS = 1_800_000_000_000
INITIAL_BALANCE_UYUAN = 1_000_000_000
CAPACITY_WH = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallNetwork:
    """A genesis, the sealing members' keys by name, their meters' keys by the same name, and those of two others."""

    genesis: Genesis
    keys: dict[str, SigningKey]
    devices: dict[str, SigningKey]
    grid: SigningKey
    dispatcher: SigningKey | None = None


def key_of(name: str) -> SigningKey:
    """A key derived from the name alone, so no secret: for simulations only."""
    return SigningKey(sha256(b"gridmerit/simulated/" + name.encode()))


def make_network(
    names: Sequence[str] = ("n0", "n1", "n2", "n3"),
    *,
    hash_rate: int = 1_000,
    period_ms: int = 20_000,
    consensus: ConsensusParams | None = None,
    market: MarketParams | None = None,
    scheduling: SchedulingParams | None = None,
    sealers: Sequence[str] | None = None,
) -> SmallNetwork:
    """Prosumers of equal standing that seal, each with a meter, and a grid company that does not.

    Where `sealers` are named, the other prosumers only follow.

    One trading chain, JY1. With `scheduling` there are DU1 and LH1 too and a dispatcher, and the prosumers are dealt
    over the lines in order.
    """
    keys = {name: key_of(name) for name in names}
    devices = {name: key_of(f"{name}/meter") for name in names}
    grid = key_of("grid")
    market = market or MarketParams()
    if consensus is None:
        consensus = make_consensus(len(names) * hash_rate, market.initial_credit_upt)
    positions = [line.name for line in scheduling.lines] if scheduling else ["feeder-1"]
    members = [GenesisMember(name="grid", role="grid-operator", key=grid.public_key)]
    for index, name in enumerate(names):
        member = GenesisMember(
            name=name,
            role="prosumer",
            key=keys[name].public_key,
            seals=(ALL_CHAINS,) if sealers is None or name in sealers else (),
            balance_uyuan=INITIAL_BALANCE_UYUAN,
            capacity_wh=CAPACITY_WH,
            position=positions[index % len(positions)],
        )
        device = GenesisMember(name=f"{name}-meter", role="device", key=devices[name].public_key, owner=name)
        members += [member, device]
    ledger = LedgerParams(period_ms=period_ms, max_transaction_bytes=65_536)
    params = ChainParams(name="JY1", ledger=ledger, consensus=consensus, market=market)
    siblings: tuple[ChainParams, ...] = ()
    dispatcher = None
    if scheduling is not None:
        dispatcher = key_of("dispatch")
        members.append(GenesisMember(name="dispatch", role="dispatcher", key=dispatcher.public_key))
        siblings = (
            ChainParams(
                name="DU1",
                kind="scheduling",
                ledger=ledger,
                consensus=consensus,
                market=market,
                scheduling=scheduling,
            ),
            ChainParams(name="LH1", kind="credit", ledger=ledger, consensus=consensus, market=market),
        )
    genesis = Genesis(params=params, time_ms=GENESIS_TIME_MS, members=tuple(members), siblings=siblings)
    return SmallNetwork(genesis=genesis, keys=keys, devices=devices, grid=grid, dispatcher=dispatcher)


def make_consensus(hash_rate: int, credit_upt: int, *, interval_ms: int = 1_000) -> ConsensusParams:
    """Parameters under which that many nonces a second, all at one credit, find a block per interval from the start."""
    tau_upt = 10_000_000
    n_diff = compute_n_diff(tau_upt, credit_upt, hash_rate=hash_rate, interval_ms=interval_ms)
    return ConsensusParams(
        tau_upt=tau_upt, n_diff_initial=n_diff, block_interval_ms=interval_ms, max_ahead_ms=min(2 * interval_ms, 15_000)
    )


def compute_n_diff(tau_upt: int, credit_upt: int, *, hash_rate: int, interval_ms: int) -> int:
    """The N_diff at which so many nonces a second, all at one credit, find a block per interval: from Eq. (10)."""
    target = 2**256 * 1_000 // (hash_rate * interval_ms)
    return (target << 64) // compute_weight(credit_upt, tau_upt)
