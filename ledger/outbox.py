"""Messages to the other chains of the network: entries in the state, proved by state root and certificate.

An entry is named by kind and number (for most kinds the delivery period), and split into parts of few rows, each a
state value of its own. It stays for some periods, so that a late node can still carry it over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from ledger.codec import Value
from ledger.overlay import Overlay
from ledger.state import State

ROWS_PER_PART = 64
MAX_PARTS = 4_096
RETAINED = 8  # numbers of one kind that stay in the outbox
OFFENCE = "offence"  # what consensus has evidence of, said by any chain to the market's credit chain
PartName: TypeAlias = tuple[str, int, int]  # kind, number, part
_ENTRY = b"o/"
_INDEX = b"outbox"


class OutboxEntry(NamedTuple):
    """A message in the outbox, or a share of one: how many parts it has by then, and the height it was posted at."""

    kind: str
    number: int
    parts: int
    height: int


def outbox_key(kind: str, number: int, part: int) -> bytes:
    """The state key of one part, for proofs."""
    return _ENTRY + kind.encode() + b"/" + number.to_bytes(8, "big") + part.to_bytes(4, "big")


def post(
    view: Overlay, kind: str, number: int, rows: Sequence[Value], *, height: int, retained: int = RETAINED
) -> None:
    """Put a message into the outbox; without rows it has one empty part. Numbers of a kind rise.

    `height` is that of the block it is posted in. Of its kind the newest `retained` stay.
    """
    assert all(entry[:2] != (kind, number) for entry in get_entries(view)), f"{kind} {number} is posted twice"
    post_parts(view, kind, number, rows, parts=count_parts(len(rows)), height=height, retained=retained)


def post_parts(
    view: Overlay,
    kind: str,
    number: int,
    rows: Sequence[Value],
    *,
    parts: int,
    first: int = 0,
    height: int,
    retained: int = RETAINED,
) -> None:
    """Put some parts of a message into the outbox, from `first` on: it is to have `parts` in all, in order.

    All but the message's last are full. Each such share of a message has an entry of its own.
    """
    assert parts <= MAX_PARTS, (kind, parts)
    pieces = [tuple(rows[at : at + ROWS_PER_PART]) for at in range(0, len(rows), ROWS_PER_PART)] or [()]
    for part, piece in enumerate(pieces, start=first):
        view.put(outbox_key(kind, number, part), (parts, piece))
    index = [*get_entries(view), OutboxEntry(kind, number, first + len(pieces), height)]
    kept = sorted({entry.number for entry in index if entry.kind == kind})[-retained:]
    gone = [entry for entry in index if entry.kind == kind and entry.number not in kept]
    for entry in gone:
        for part in range(entry.parts):
            view.delete(outbox_key(entry.kind, entry.number, part))
    view.put(_INDEX, tuple(tuple(entry) for entry in index if entry not in gone))


def count_parts(rows: int) -> int:
    """The parts of a message of so many rows."""
    return max(1, -(-rows // ROWS_PER_PART))


def withdraw(view: Overlay, kind: str, number: int) -> None:
    """Take back a message that no certificate covers yet, so that no other chain can have heard it."""
    index = get_entries(view)
    for entry in index:
        if (entry.kind, entry.number) == (kind, number):
            for part in range(entry.parts):
                view.delete(outbox_key(kind, number, part))
    view.put(_INDEX, tuple(tuple(entry) for entry in index if (entry.kind, entry.number) != (kind, number)))


def get_entries(view: Overlay) -> tuple[OutboxEntry, ...]:
    """Everything in the outbox, in the order of posting."""
    return tuple(OutboxEntry._make(row) for row in cast(tuple[tuple[str, int, int, int], ...], view.get(_INDEX) or ()))


def iterate_parts(state: State, *, above_height: int = 0) -> Iterator[tuple[str, int, int, bytes]]:
    """(kind, number, part, canonical bytes) of every part posted above a height."""
    for kind, number, part in list_parts(state, above_height=above_height):
        raw = state.get(outbox_key(kind, number, part))
        assert raw is not None, (kind, number, part)
        yield kind, number, part, raw


def list_parts(state: State, *, above_height: int = 0) -> list[PartName]:
    """(kind, number, part) of every part posted above a height, in the order of posting."""
    names: list[PartName] = []
    ends: dict[tuple[str, int], int] = {}
    for entry in get_entries(Overlay(state)):
        first = ends.get(entry[:2], 0)
        ends[entry[:2]] = entry.parts
        if entry.height > above_height:
            names += [(entry.kind, entry.number, part) for part in range(first, entry.parts)]
    return names
