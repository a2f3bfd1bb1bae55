"""Messages of other chains that come in several parts, kept in ledger state until they are complete."""

from __future__ import annotations

from typing import cast

from ledger.codec import Value
from ledger.inbox import InboundMessage
from ledger.overlay import Overlay

_PART = b"market/part/"
_PARTS = b"market/parts/"
_COUNT = b"market/rows/"


def add_part(view: Overlay, delivery: InboundMessage) -> list[Value] | None:
    """All rows of a message, part by part, once this is the last to come; until then None, and the part is kept."""
    kind, number = delivery.kind, delivery.number
    if not delivery.is_complete:
        view.put(_part_key(kind, number, delivery.part), delivery.rows)
        view.put(_parts_key(kind, number), delivery.parts)
        return None
    rows: list[Value] = []
    for part in range(delivery.parts):
        kept = delivery.rows if part == delivery.part else view.get(_part_key(kind, number, part))
        rows += cast(tuple[Value, ...], kept)
    drop_parts(view, kind, number)
    return rows


def count_part(view: Overlay, delivery: InboundMessage) -> int | None:
    """The rows of a message whose parts are kept elsewhere, once this is the last to come; until then None."""
    key = _count_key(delivery.kind, delivery.number)
    rows, _ = cast(tuple[int, int], view.get(key) or (0, 0))
    rows += len(delivery.rows)
    if delivery.is_complete:
        view.delete(key)
        return rows
    view.put(key, (rows, delivery.parts))
    return None


def drop_count(view: Overlay, kind: str, number: int) -> int:
    """Forget such a message that is not complete; how many parts it was to have, 0 where there is none."""
    value = view.get(_count_key(kind, number))
    if value is None:
        return 0
    view.delete(_count_key(kind, number))
    return cast(tuple[int, int], value)[1]


def drop_parts(view: Overlay, kind: str, number: int) -> None:
    """Forget the parts that have come of a message which is not needed any more."""
    parts = view.get(_parts_key(kind, number))
    if parts is None:
        return
    for part in range(cast(int, parts)):
        view.delete(_part_key(kind, number, part))
    view.delete(_parts_key(kind, number))


def _parts_key(kind: str, number: int) -> bytes:
    return _PARTS + kind.encode() + b"/" + number.to_bytes(8, "big")


def _part_key(kind: str, number: int, part: int) -> bytes:
    return _PART + kind.encode() + b"/" + number.to_bytes(8, "big") + part.to_bytes(4, "big")


def _count_key(kind: str, number: int) -> bytes:
    return _COUNT + kind.encode() + b"/" + number.to_bytes(8, "big")
