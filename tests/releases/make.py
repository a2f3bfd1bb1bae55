"""A small network as this release leaves it, for every later release to open: `python -m tests.releases.make`.

Three chains on four machines in virtual time, and two hours of trades that are settled, scored and paid. Kept are the
genesis, the directory of one machine, what the others' keys have signed, and what all of it says. It is made once for
each release, when that is cut, and never again: what a later release makes of it is the test.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path

from gridmerit.commands.version import find_version
from ledger.accounts import describe_account, get_account
from ledger.genesis import Authority
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.store import LevelStore
from node.config import describe_network
from node.driver.signing_file import SigningFile
from simulation.world.market_script import CLOCK, GRID, MarketScript
from simulation.world.networks import SmallNetwork, key_of, make_consensus, make_network
from simulation.world.world import World, open_worlds

HERE = Path(__file__).parent
NAMES = ("n0", "n1", "n2", "n3")
HOURS = 2
_HASH_RATE, _INTERVAL_MS, _PERIOD_MS = 1_000, 4_000, 24_000
_NOT_DATA = ("LOG", "LOG.old", "LOCK", "OWNER")


def make() -> tuple[SmallNetwork, dict[str, World]]:
    """The network at the end of its two hours, its machines agreed: DU1 under PBFT, the others under POCA."""
    poca = make_consensus(len(NAMES) * _HASH_RATE, CLOCK.initial_credit_upt, interval_ms=_INTERVAL_MS)
    pbft = ConsensusParams(
        engine="pbft", block_interval_ms=_INTERVAL_MS, empty_after_ms=_INTERVAL_MS, view_timeout_ms=2_000
    )
    network = make_network(NAMES, period_ms=_PERIOD_MS, consensus=poca, market=CLOCK, scheduling=GRID)
    siblings = tuple(
        chain.model_copy(update={"consensus": pbft}) if chain.kind == "scheduling" else chain
        for chain in network.genesis.siblings
    )
    authority = Authority(keys=(key_of("chair").public_key,))
    genesis = network.genesis.model_copy(update={"siblings": siblings, "authority": authority})
    network = SmallNetwork(
        genesis=genesis, keys=network.keys, devices=network.devices, grid=network.grid, dispatcher=network.dispatcher
    )
    worlds = open_worlds(genesis, network.keys, seed=4, sealing="drawn")
    script = MarketScript(worlds, network, hours=HOURS, traders=1, seed=4)
    first = worlds[genesis.params.name]
    first.run_for(script.end_ms - genesis.time_ms + _PERIOD_MS)
    first.run_until(lambda: all(len(world.heads()) == 1 for world in worlds.values()), limit_ms=_PERIOD_MS)
    assert script.count_settled("n0") == HOURS
    return network, worlds


def describe(network: SmallNetwork, worlds: dict[str, World]) -> dict[str, object]:
    """The chains' own account of themselves, for a later release to find again."""
    genesis = network.genesis
    chains = {}
    for name, world in worlds.items():
        chain = world.node("n0").chain
        accounts = {
            member.name: describe_account(get_account(Overlay(chain.head.state), address_of(member.key)))
            for member in genesis.members
        }
        chains[name] = {
            "chain_id": chain.chain_id.hex(),
            "height": chain.head.height,
            "head": chain.head.hash.hex(),
            "state_root": chain.head.header.state_root.hex(),
            "final_height": chain.final_height,
            "accounts": accounts,
        }
    end_ms = next(iter(worlds.values())).now_ms
    return {"release": find_version(), "network_id": genesis.network_id.hex(), "end_ms": end_ms, "chains": chains}


def save(network: SmallNetwork, worlds: dict[str, World], out: Path) -> None:
    """Write `genesis.json`, `facts.json` and `machines.tar.xz`: n0's directory, and the others' signing records."""
    out.mkdir(parents=True)
    document = describe_network(network.genesis)
    (out / "genesis.json").write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")
    facts = json.dumps(describe(network, worlds), indent=1)
    (out / "facts.json").write_text(facts + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        for name, world in worlds.items():
            for peer in world.peers.values():
                directory = Path(scratch) / peer.name / name
                with SigningFile(directory, world.chain_id) as guard:
                    guard.save(peer.signing_record)
            store = LevelStore(Path(scratch) / NAMES[0] / name / "ledger")
            store.write(list(world.peers[NAMES[0]].store.scan(b"")))
            store.close()
        with tarfile.open(out / "machines.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(Path(scratch).rglob("*")):
                if path.is_file() and path.name not in _NOT_DATA:
                    archive.add(path, path.relative_to(scratch), filter=_strip)


def _strip(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry


if __name__ == "__main__":
    save(*make(), HERE / find_version())
