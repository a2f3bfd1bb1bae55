"""The shape of a contract: handlers by transaction kind, hooks at the start of every block, their view of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """A contract's view of the block it runs in."""

    params: ChainParams
    chain_id: bytes
    genesis_time_ms: int
    height: int
    parent: bytes
    producer: bytes  # address
    timestamp_ms: int  # never before an earlier block's, though headers' may step back
    period: int
    is_first_of_period: bool
    siblings: frozenset[str] = frozenset()  # kinds of the network's other chains
    areas: Mapping[str, str] = field(default_factory=dict)  # of the network's lines, by line


Handler = Callable[[Overlay, BlockContext, Transaction], None]
Hook = Callable[[Overlay, BlockContext], None]
NextDue = Callable[[Overlay, BlockContext], int | None]
"""The time in ms from which on a hook has something to do, None where it waits for none; 0 or the past: already.

It is asked of a state as the hook would find it, and says the same of every block on that state."""
TakeShare = Callable[[Overlay, BlockContext], bool]
"""Give the block at hand another share of work, where it has spent of the last one and another is left; else False."""


def take_no_share(view: Overlay, block: BlockContext) -> bool:
    """The share of a chain that sets its blocks no limit: one pass of the hooks does all that is due."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """Handlers by transaction kind, and hooks in the order they run: `early_hooks` before the credit snapshot is taken.

    `next_due` says of all hooks when there is something for them to do besides at the first block of a period. For each
    share that a block takes after its first, `further_hooks` run once more: they go on with what they have begun.
    Producer's kinds are put into a block by its producer alone: they spend no sequence number, and one that
    takes no effect cannot stand in a block.
    """

    handlers: Mapping[str, Handler]
    producer_handlers: Mapping[str, Handler] = field(default_factory=dict)
    hooks: tuple[Hook, ...] = ()
    early_hooks: tuple[Hook, ...] = ()
    next_due: tuple[NextDue, ...] = ()
    further_hooks: tuple[Hook, ...] = ()
    take_share: TakeShare = take_no_share
