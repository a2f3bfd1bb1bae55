"""Traces of seeded worlds, as hashes: to show that a change of the code changed nothing that a peer does.

    python -m tests.simulation.traces --seeds 200 --out before.json
    python -m tests.simulation.traces --seeds 200 --against before.json

Every attack and fork of the laboratory, market days without and with faults, and networks under both engines through
crashes, partitions, lost and doubled messages and clocks that are set. A world's hash is over all that befell its
peers, in order; a scenario's over its row, which has that hash.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

from ledger.params import ConsensusParams
from ledger.transaction import make_transaction
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.world.links import Links, Uniform
from simulation.world.networks import make_network
from simulation.world.world import World

_LIES = ("headers", "silence", "parents", "certificates", "dated-ahead", "proposals")
# Each seed runs one variant of each scenario, the next seed the next one.
_SCENARIOS: tuple[tuple[str, dict[str, object]], ...] = (
    ("double-spend", {"give_up": 12}),
    ("double-spend", {"accept": "final", "slot_blocks": 3, "give_up": 12}),
    ("eclipse", {"lasts": 12}),
    ("equivocation", {"blocks": 20}),
    *(("false-head", {"kind": kind, "engine": "poca", "blocks": 10, "count": 12}) for kind in _LIES),
    *(("false-head", {"kind": kind, "engine": "pbft", "blocks": 10, "count": 12}) for kind in _LIES),
    ("last-look", {"periods": 3}),
    ("last-look", {"periods": 3, "tolerance_ms": 500}),
    ("long-range", {"patience": 20}),
    ("long-range", {"finality": False, "anchor": True, "patience": 20}),
    ("partition", {"lasts": 12}),
    ("selfish", {"blocks": 60}),
    ("selfish", {"blocks": 60, "lead_stubborn": True, "slot_blocks": 3}),
    *(("spam", {"kind": kind, "blocks": 12}) for kind in ("failing", "waiting", "announcements", "headers")),
    ("timestamps", {"blocks": 60}),
    ("timestamps", {"blocks": 60, "direction": "forward"}),
    ("best-member-lost", {"patience": 200}),
    ("credit-fork", {"slot_blocks": 3}),
    ("sealing-pace", {"blocks": 20}),
    ("new-keys", {"blocks": 20}),
    ("wash-trading", {"blocks": 20}),
    ("strategies", {"mix": "truthful+storage-arbitrage", "periods": 12}),
)
_DAYS = ("honest-day", "faulty-day")
_DAY_SEEDS = 20  # they take as long as all the rest
_ENGINES = {
    "poca": None,
    "pbft": ConsensusParams(
        engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000, view_timeout_ms=1_000
    ),
}


def run_scenario(name: str, given: dict[str, object], seed: int) -> str:
    """The hash of one trial."""
    scenario = load_scenario(name)
    trial = scenario.run(parse_settings(scenario, given), seed)
    return sha256(json.dumps(dict(trial.row), sort_keys=True).encode()).hexdigest()[:16]


def run_network(engine: str, seed: int) -> str:
    """The hash of a world of four peers, of whom one at a time fails in one way or another."""
    rng = Random(seed)
    network = make_network(consensus=_ENGINES[engine])
    links = Links(latency=Uniform(5, 80), loss_ppm=20_000, duplicate_ppm=20_000)
    world = World(network.genesis, network.keys, seed=seed, links=links)
    names, sequences = sorted(network.keys), {name: count() for name in network.keys}
    for _ in range(5):
        victim, way = rng.choice(names), rng.choice(("crash", "pause", "partition", "skew", "nothing"))
        match way:
            case "crash":
                world.crash(victim)
            case "pause":
                world.pause(victim)
            case "partition":
                world.partition([victim], [name for name in names if name != victim])
            case "skew":
                world.set_skew(victim, rng.choice((-3_000, 3_000, 30_000)))
        for name in names:
            if world.is_up(name):
                transfer = make_transaction(
                    network.keys[name],
                    chain_id=network.genesis.chain_id,
                    kind="transfer",
                    payload=[network.grid.address, 1],
                    sequence=next(sequences[name]),
                    expiry_height=1_000,
                )
                world.submit(name, transfer)
        world.run_for(rng.randrange(2_000, 8_000))
        match way:
            case "crash":
                world.start(victim)
            case "pause":
                world.resume(victim)
            case "partition":
                world.heal()
            case "skew":
                world.set_skew(victim, 0)
        world.run_for(rng.randrange(500, 3_000))
    return world.trace_hash()


def _run(job: tuple[str, dict[str, object], int]) -> tuple[str, str]:
    name, given, seed = job
    if name in _ENGINES:
        return f"network {name} seed={seed}", run_network(name, seed)
    options = " ".join(f"{key}={value}" for key, value in given.items())
    return f"{name} {options} seed={seed}", run_scenario(name, given, seed)


def _plan(seeds: int) -> Iterator[tuple[str, dict[str, object], int]]:
    for seed in range(1, seeds + 1):
        yield from ((engine, {}, seed) for engine in _ENGINES)
        for name in dict.fromkeys(name for name, _ in _SCENARIOS):
            variants = [given for other, given in _SCENARIOS if other == name]
            yield name, variants[seed % len(variants)], seed
        if seed <= _DAY_SEEDS:
            yield from ((name, {"hours": 1}, seed) for name in _DAYS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the hashes")
    parser.add_argument("--against", type=Path, help="compare with hashes that were written before")
    options = parser.parse_args()
    found: dict[str, str] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for label, trace in pool.map(_run, _plan(options.seeds), chunksize=4):
            found[label] = trace
            if len(found) % 500 == 0:
                print(f"{len(found)} worlds", file=sys.stderr)
    if options.out:
        options.out.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    if options.against:
        before = json.loads(options.against.read_text(encoding="utf-8"))
        other = sorted(label for label in found.keys() | before.keys() if found.get(label) != before.get(label))
        print(f"{len(found)} worlds, {len(other)} other than before", *other[:50], sep="\n  ")
        return 1 if other else 0
    print(f"{len(found)} worlds, {sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
