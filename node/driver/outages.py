"""Chains of a node that do not run because their store has failed them: which, why, and what their owner can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import StoreError
from node.errors import ChainOut

if TYPE_CHECKING:
    from ledger.genesis import Genesis
    from ledger.params import Kind

_LEDGER = (
    "stop it, then gridmerit node verify DIR --mend, or gridmerit node reset DIR --chain {chain}; or put another"
    " stopped node's `ledger` directory in place of that below {path}, keep `guard`, and start again"
)
_GUARD = (
    "restore `guard` from this machine's newest backup and start again; without one, have the authority admit a new"
    " key: gridmerit member apply"
)
REMEDIES: dict[str, str] = {
    "AnchorContradicted": "gridmerit block show {height} on a node that you trust; if it has the anchor,"
    " copy that `ledger`",
    "GuardCorrupt": _GUARD,
    "GuardMissing": _GUARD,
    "RolledBack": _LEDGER,
    "StoreCorrupt": _LEDGER,
    "StoreTooNew": "the release that wrote it, or a later one: none goes back (docs/upgrades.md); nothing was changed",
    "StoreReadOnly": "make room on the disk of {path}, or mount it writable; the node goes on by itself",
    "StoreFailed": "see whether the disk is full or broken and who may write {path}, and start again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A chain that is out since a time, by an error that names it and its directory."""

    chain: str
    kind: Kind
    path: Path
    error: StoreError
    since_ms: int

    @property
    def remedy(self) -> str:
        """Advice to the owner, in a line."""
        return REMEDIES.get(self.error.code, "gridmerit doctor").format(**self.error.values)

    def to_refusal(self) -> ChainOut:
        """The answer to all that ask for the chain."""
        return ChainOut(chain=self.chain, code=self.error.code, detail=str(self.error))


def make_outage(genesis: Genesis, path: Path, error: StoreError, now_ms: int) -> Outage:
    """The outage of a chain in the directory `path`; the error says both from now on."""
    name = genesis.params.name
    return Outage(
        chain=name, kind=genesis.params.kind, path=path, error=error.of(chain=name, path=path), since_ms=now_ms
    )
