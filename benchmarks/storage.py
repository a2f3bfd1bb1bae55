"""Bytes that a period leaves on disk: a market of 15-minute periods, of a node that keeps all and of one that prunes.

    python -m benchmarks.storage --players 100 --periods 24

One trading chain in virtual time; every player places an order and is metered in every period. Each node's rows are
copied into a LevelDB of their own, compacted and measured, once the first half of the periods is over and at the end.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from ledger.store import LevelStore, MemoryStore
from market.orders import Side
from node.chain.pruning import parse_keep
from simulation.world.networks import make_consensus, make_network
from simulation.world.trader_script import Dealer, make_clock
from simulation.world.world import World

PERIOD_MS = 900_000
ARCHIVE, PRUNING = "n0", "n1"
_PRICE_UYUAN_PER_KWH, _VOLUME_WH = 500_000, 1_000


def main() -> None:
    """Grow the chain and print what lies on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=100)
    parser.add_argument("--periods", type=int, default=24)
    arguments = parser.parse_args()
    names = [f"n{number}" for number in range(arguments.players)]
    market, sealers = make_clock(), (ARCHIVE, PRUNING)
    consensus = make_consensus(2_000, market.initial_credit_upt, interval_ms=10_000)
    network = make_network(names, period_ms=PERIOD_MS, market=market, sealers=sealers, consensus=consensus)
    nodes = {name: network.keys[name] for name in (ARCHIVE, PRUNING)}
    keep = {PRUNING: parse_keep("1 periods")}
    world = World(network.genesis, nodes, seed=1, sealing="drawn", keep=keep)
    meters = {f"{name}/meter": key for name, key in network.devices.items()}
    dealer = Dealer(world, {**network.keys, **meters})
    middle: dict[str, int] = {}
    for period in range(1, arguments.periods + 1):
        dealer.wait_for(period, 0.5)
        _trade(dealer, names, period)
        if period == arguments.periods // 2:
            middle = _measure_all(world)
    end = _measure_all(world)
    span = arguments.periods - arguments.periods // 2
    for name, what in ((ARCHIVE, "keeps all"), (PRUNING, "prunes")):
        grown = (end[name] - middle[name]) / span
        print(f"{what}: {end[name] / 1e6:.2f} MB after {arguments.periods} periods, {grown / 1e3:.1f} kB a period")
    for name in (ARCHIVE, PRUNING):
        print(name, dict(_count_bytes(world.peers[name].store).most_common()))


def _trade(dealer: Dealer, names: list[str], period: int) -> None:
    """Every player's order for the period after next, and the reading of its meter of the last one."""
    for number, name in enumerate(names):
        side = Side.OFFER if number % 2 else Side.BID
        intention = (int(side), period + 2, _PRICE_UYUAN_PER_KWH, _VOLUME_WH)
        dealer.send(ARCHIVE, name, "intention", *intention)
        if period > 3:
            energy = (0, _VOLUME_WH) if number % 2 else (_VOLUME_WH, 0)
            dealer.send(ARCHIVE, f"{name}/meter", "reading", period - 1, *energy)


def _measure_all(world: World) -> dict[str, int]:
    return {name: _measure(peer.store) for name, peer in world.peers.items()}


def _measure(store: MemoryStore) -> int:
    """Bytes on disk of a store's rows."""
    with TemporaryDirectory() as directory:
        with closing(LevelStore(directory)) as copy:
            copy.write(list(store.scan(b"")))
            copy.compact(b"", b"\xff" * 64)
        return sum(file.stat().st_size for file in Path(directory).iterdir())


def _count_bytes(store: MemoryStore) -> Counter[str]:
    """Bytes of keys and values by the prefix of their kind."""
    sizes: Counter[str] = Counter()
    for key, value in store.scan(b""):
        sizes[key[:1].decode()] += len(key) + len(value)
    return sizes


if __name__ == "__main__":
    main()
