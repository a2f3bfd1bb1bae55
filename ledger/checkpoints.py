"""Checkpoints: the block that opens each slot of a chain, which members sign and a certificate makes final.

A period has `checkpoints_per_period` slots. Whatever the state after a certified checkpoint holds is final, and can be
proved to other chains. The list of recent ones stands in the state, so that every branch knows its own.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.results import NOTHING, compute_digest, get_results

_RECENT = b"checkpoints"
_CERTIFIED = b"checkpoint/certified"


class Checkpoint(NamedTuple):
    """The first block of a slot; its hash, and what waited for a certificate after it, are known from the next on."""

    slot: int
    height: int
    block_hash: bytes = b""
    is_certified: bool = False
    result: bytes = NOTHING  # digest of what its members are to agree on: `ledger.results`


def compute_slot(elapsed_ms: int, params: ChainParams) -> int:
    """The slot that a time since genesis falls into."""
    return elapsed_ms * params.consensus.checkpoints_per_period // params.ledger.period_ms


def update_checkpoints(view: Overlay, params: ChainParams, *, parent: bytes, height: int, elapsed_ms: int) -> None:
    """At the start of every block: name the checkpoint before it, and open a new one where a slot begins.

    Under PBFT there are no slots: whatever a block is built on is final.
    """
    if params.consensus.engine == "pbft":
        view.put(_CERTIFIED, height - 1)
        return
    recent = list(get_checkpoints(view))
    is_named = bool(recent) and not recent[-1].block_hash
    if is_named:
        recent[-1] = recent[-1]._replace(block_hash=parent, result=compute_digest(get_results(view)))
    slot = compute_slot(elapsed_ms, params)
    is_new = slot > (recent[-1].slot if recent else 0)  # time may step back between blocks, slots do not
    if is_new:
        recent.append(Checkpoint(slot, height))
    if is_named or is_new:
        oldest = recent[-1].slot - params.consensus.checkpoint_lifetime
        _put(view, [item for item in recent if item.slot > oldest])


def get_checkpoints(view: Overlay) -> tuple[Checkpoint, ...]:
    """Those of the last `checkpoint_lifetime` slots, ascending; older ones can no longer be certified."""
    rows = cast(tuple[tuple[int, int, bytes, int, bytes], ...], view.get(_RECENT) or ())
    return tuple(Checkpoint(slot, height, block, bool(done), result) for slot, height, block, done, result in rows)


def get_undecided(view: Overlay) -> tuple[Checkpoint, ...]:
    """Those that a certificate could still make final, ascending, whether or not they have a hash yet.

    A certificate covers everything before it, so only those after the last certified one are left.
    """
    certified_height = get_certified_height(view)
    return tuple(item for item in get_checkpoints(view) if item.height > certified_height)


def get_certified_height(view: Overlay) -> int:
    """Height of the highest checkpoint whose certificate this chain holds; 0 before the first."""
    return cast(int, view.get(_CERTIFIED) or 0)


def mark_certified(view: Overlay, checkpoint: Checkpoint) -> None:
    """Record that a certificate of one of the undecided stands on the chain."""
    _put(view, [item._replace(is_certified=item.is_certified or item == checkpoint) for item in get_checkpoints(view)])
    view.put(_CERTIFIED, checkpoint.height)


def _put(view: Overlay, recent: list[Checkpoint]) -> None:
    rows = [(item.slot, item.height, item.block_hash, int(item.is_certified), item.result) for item in recent]
    view.put(_RECENT, tuple(rows))
