"""Messages taken in from the other chains of the network: which parts of which, so that none counts twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from ledger.codec import Value, decode, expect_array, expect_int, expect_list
from ledger.contract import BlockContext
from ledger.errors import AlreadyRelayed, RelayTooOld, WrongShape
from ledger.outbox import MAX_PARTS, ROWS_PER_PART
from ledger.overlay import Overlay

RELAY = "relay"  # the kind of transaction that brings a part of a message
REMEMBERED = 256  # numbers of one kind; no chain keeps more in its outbox
_INBOX = b"i/"
_NUMBERS = b"inbox/"
_MAX_PART_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """One part of a message whose proof has been checked, as its contract sees it.

    `block_hash` and `height` are those of the source's certified block.
    """

    source: str
    kind: str
    number: int
    part: int
    parts: int
    rows: tuple[Value, ...]
    is_complete: bool  # every part has come with this one
    block_hash: bytes
    height: int


Receiver: TypeAlias = Callable[[Overlay, BlockContext, InboundMessage], None]
Routes: TypeAlias = Mapping[tuple[str, str], Receiver]  # by kind of the source chain and kind of the message


def read_part(raw: bytes) -> tuple[int, tuple[Value, ...]]:
    """Number of parts and rows of this one. Raises the `Malformed` family."""
    parts, rows = expect_array(decode(raw, max_bytes=_MAX_PART_BYTES), 2, "outbox part")
    count = expect_int(parts, "parts", low=1, high=MAX_PARTS)
    return count, expect_list(rows, "rows", max_items=ROWS_PER_PART)


def is_received(view: Overlay, source: str, kind: str, number: int, part: int) -> bool:
    """Return True if this part has been taken in, or is so old that it never will be."""
    numbers = _get_numbers(view, source, kind)
    if number not in numbers:
        return len(numbers) >= REMEMBERED and number < numbers[0]
    return bool(_get_received(view, source, kind, number)[1] >> part & 1)


def receive(view: Overlay, source: str, kind: str, number: int, part: int, parts: int) -> bool:
    """Note a part; whether the message is complete with it.

    Raises `AlreadyRelayed`, `RelayTooOld` or `WrongShape` where the parts contradict each other.
    """
    numbers = _get_numbers(view, source, kind)
    if number not in numbers:
        if len(numbers) >= REMEMBERED:
            if number < numbers[0]:
                raise RelayTooOld(kind=kind, number=number, oldest=numbers[0])
            view.delete(_key(source, kind, numbers[0]))
            numbers = numbers[1:]
        view.put(_NUMBERS + _name(source, kind), tuple(sorted((*numbers, number))))
    have_parts, received = _get_received(view, source, kind, number)
    if part >= parts or (have_parts and have_parts != parts):
        raise WrongShape(what=f"{kind} {number}", detail=f"part {part} of {parts}, others say of {have_parts or parts}")
    if received >> part & 1:
        raise AlreadyRelayed(kind=kind, number=number, part=part)
    received |= 1 << part
    size = (parts + 7) // 8
    view.put(_key(source, kind, number), (parts, received.to_bytes(size, "big")))
    return received == (1 << parts) - 1


def _get_received(view: Overlay, source: str, kind: str, number: int) -> tuple[int, int]:
    """Parts the message has, and a bit for each that has come."""
    value = cast(tuple[int, bytes] | None, view.get(_key(source, kind, number)))
    return (0, 0) if value is None else (value[0], int.from_bytes(value[1], "big"))


def _get_numbers(view: Overlay, source: str, kind: str) -> tuple[int, ...]:
    return cast(tuple[int, ...], view.get(_NUMBERS + _name(source, kind)) or ())


def _name(source: str, kind: str) -> bytes:
    return source.encode() + b"/" + kind.encode() + b"/"


def _key(source: str, kind: str, number: int) -> bytes:
    return _INBOX + _name(source, kind) + number.to_bytes(8, "big")
