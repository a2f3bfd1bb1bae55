"""Gate records: what consensus and market must both see of a period's gate closure, kept on the ground floor.

The market records the gate (height, result root); the block after it adds the gate block's hash, which members sign;
the certificate contract marks the period certified; the market then executes or voids it.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.codec import Value
from ledger.overlay import Overlay

_GATE = b"g/"
_LAST = b"gate/last"
_UNDECIDED = b"gate/undecided"
OPEN, CERTIFIED, VOID, SETTLED = "open", "certified", "void", "settled"


class Gate(NamedTuple):
    """Gate closure of a period: its block and the RFC 6962 root over the period's trades."""

    height: int
    block_hash: bytes  # empty until the next block is built on the gate block
    result_root: bytes
    trade_count: int
    status: str = OPEN


def gate_key(period: int) -> bytes:
    """The state key of a gate record, for proofs."""
    return _GATE + period.to_bytes(8, "big")


def get_gate(view: Overlay, period: int) -> Gate | None:
    value = view.get(gate_key(period))
    return None if value is None else Gate(*cast(tuple[int, bytes, bytes, int, str], value))


def put_gate(view: Overlay, period: int, gate: Gate) -> None:
    """Write a gate record; one that is no longer open leaves the list of the undecided."""
    view.put(gate_key(period), tuple(gate))
    undecided = get_undecided(view)
    if (gate.status == OPEN) != (period in undecided):
        kept = {*undecided} ^ {period}
        view.put(_UNDECIDED, tuple(sorted(kept)))


def get_undecided(view: Overlay) -> tuple[int, ...]:
    """Periods whose gate is closed but neither certified nor void, ascending."""
    return cast(tuple[int, ...], view.get(_UNDECIDED) or ())


def record_gate(view: Overlay, period: int, gate: Gate) -> None:
    """Close the period's gate; its block hash follows with the next block."""
    put_gate(view, period, gate)
    last = cast(tuple[int, ...], view.get(_LAST) or ())
    view.put(_LAST, (*last, period))


def name_gate_blocks(view: Overlay, parent: bytes) -> None:
    """Write the parent's hash into the gates that the parent closed."""
    closed: Value = view.get(_LAST)
    if closed is None:
        return
    for period in cast(tuple[int, ...], closed):
        gate = get_gate(view, period)
        assert gate is not None
        put_gate(view, period, gate._replace(block_hash=parent))
    view.delete(_LAST)
