"""A simulated machine that plays one peer of one chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from consensus.signing_record import SigningRecord
from ledger.errors import GridmeritError
from ledger.signatures import SigningKey
from ledger.store import MemoryStore
from node.chain.events import StartSealing
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.world.faults import Condition


class Backup(NamedTuple):
    """A copy of a machine's directory: its ledger, and its guard file beside it."""

    store: MemoryStore
    signing_record: SigningRecord


@dataclass(slots=True)
class Peer:
    """One simulated machine. Store and guard survive a crash, the node does not."""

    name: str
    key: SigningKey
    hash_rate: int  # nonces per virtual second
    random: Random  # decides when it finds seals
    store: MemoryStore = field(default_factory=MemoryStore)
    signing_record: SigningRecord = field(default_factory=SigningRecord)
    node: ChainNode | None = None
    snapshot_distance: int | None = None  # of blocks, from which on it would take a state from others
    policy: Policy | None = None  # round the node, where it is an attacker's
    life: int = 0  # counts restarts, so that events for an earlier life are dropped
    timers: dict[str, int] = field(default_factory=dict)
    search: StartSealing | None = None
    searches: int = 0  # so far; a seal of an earlier one comes to nothing
    condition: Condition = field(default_factory=Condition)
    faults: list[tuple[str, GridmeritError]] = field(default_factory=list)
    refused: list[tuple[str, GridmeritError]] = field(default_factory=list)  # batches that came damaged
    published: list[tuple[object, ...]] = field(default_factory=list)
    outcomes: tuple[GridmeritError | None, ...] = ()

    def back_up(self) -> Backup:
        """Copy its directory as it is on disk now."""
        store = MemoryStore()
        store.write(list(self.store.scan(b"")))
        return Backup(store, self.signing_record)

    def put_back(self, backup: Backup) -> None:
        """Replace its directory by a copy of an earlier one; the machine is down meanwhile."""
        assert self.node is None, f"{self.name} is running"
        self.store, self.signing_record = backup.store, backup.signing_record
