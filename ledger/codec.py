"""Canonical bytes, the only encoding that is hashed, signed or stored: msgpack arrays in fixed field order.

Owns the encoder, the bounded decoder and the typed readers with which a `from_value()` takes a value apart.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, TypeAlias

import msgpack

from ledger.errors import NonCanonical, TooDeep, TooLarge, WrongShape

Value: TypeAlias = int | bytes | str | tuple["Value", ...] | None

MAX_DEPTH = 8  # arrays inside arrays; a bare integer has depth 0
MAX_ITEMS = 16_384  # values inside one value, at any depth, where the caller does not say otherwise

_DECODED_TYPES = frozenset({int, bytes, str, type(None), tuple})
_ENCODED_TYPES = _DECODED_TYPES | {list}
_FLAT_TYPES = frozenset({int, bytes, str, type(None)})  # of an array without arrays, as most values in a state are
_SHORT_BYTES = 512  # so little data cannot make the unpacker reserve more than about 1 MB

# How a head's first byte goes on: bytes of the length, and the least length that needs them.
_ARRAY_HEADS = {0xDC: (2, 16), 0xDD: (4, 1 << 16)}
_BYTES_HEADS = {0xC4: (1, 0), 0xC5: (2, 1 << 8), 0xC6: (4, 1 << 16)}

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


def encode(value: Value | list[Any]) -> bytes:
    """The canonical bytes of `value`; tuples and lists both become arrays.

    Anything but 64-bit integers, bytes, text, None and arrays of these, `MAX_DEPTH` deep, is our bug:
    `TypeError`.
    """
    if type(value) is not tuple or not _FLAT_TYPES.issuperset(map(type, value)):
        _check_encodable(value)
    try:
        packed: bytes = _packer.pack(value)
    except (OverflowError, ValueError) as error:
        raise TypeError(f"no canonical encoding: {error}") from error
    return packed


def _check_encodable(value: Value | list[Any]) -> None:
    level: Any = value if type(value) is tuple or type(value) is list else (value,)  # what is inside so many arrays
    for _ in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if kinds <= _FLAT_TYPES:
            return
        if not kinds <= _ENCODED_TYPES:
            raise TypeError(f"no canonical encoding for {_names(kinds - _ENCODED_TYPES)}")
        level = list(chain.from_iterable([item for item in level if type(item) is tuple or type(item) is list]))
    raise TypeError(f"nested deeper than {MAX_DEPTH}")


def decode(
    data: bytes,
    *,
    max_bytes: int,
    max_items: int = MAX_ITEMS,
    max_depth: int = MAX_DEPTH,
    what: str = "encoded value",
) -> Value:
    """The value whose canonical bytes are `data`; arrays come back as tuples.

    A value costs time by the items in it, of which a byte may hold one: they are counted before any is built. Raises
    `TooLarge` for too many bytes before looking inside, and for too many items having looked at no more than these;
    `TooDeep`; and `NonCanonical` for everything else: no other exception whatever the bytes, and memory in proportion
    to their number.
    """
    if len(data) > max_bytes:
        raise TooLarge(what=what, actual=len(data), limit=max_bytes)
    if len(data) > max_items + 1:
        _check_count(data, max_items, what)
    try:
        if len(data) > _SHORT_BYTES:
            _check_complete(data)
        value: Value = msgpack.unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
    except msgpack.StackError:
        raise TooDeep(limit=max_depth) from None
    except (ValueError, msgpack.UnpackException) as error:
        raise NonCanonical(detail=str(error)) from None
    kinds = _kinds(value, max_depth)
    if kinds is None:
        raise TooDeep(limit=max_depth)
    if not kinds <= _DECODED_TYPES:
        raise NonCanonical(detail=f"{_names(kinds - _DECODED_TYPES)} inside")
    if _packer.pack(value) != data:
        raise NonCanonical(detail="a number or a length is not in its shortest form")
    return value


def split(data: bytes, what: str, *, max_items: int) -> tuple[bytes, ...]:
    """The items of a canonical array of byte strings, as `decode` gives them; anything else is an error.

    The work is that of copying: no byte makes it build or walk over more than an item. Raises `WrongShape`,
    `TooLarge` or `NonCanonical`.
    """
    count, position = _read_head(data, 0, _ARRAY_HEADS, what)
    if count > max_items:
        raise TooLarge(what=what, actual=count, limit=max_items)
    items = []
    for _ in range(count):
        size, start = _read_head(data, position, _BYTES_HEADS, what)
        position = start + size
        items.append(data[start:position])
    if position != len(data):
        raise NonCanonical(detail=f"{what} has {position} bytes by its own account, and {len(data)} in fact")
    return tuple(items)


def _read_head(data: bytes, position: int, heads: dict[int, tuple[int, int]], what: str) -> tuple[int, int]:
    """The length that a head at a position tells, and where the head ends."""
    first = data[position] if position < len(data) else -1
    if heads is _ARRAY_HEADS and 0x90 <= first <= 0x9F:
        return first & 0x0F, position + 1
    if first not in heads:
        raise WrongShape(what=what, detail="expected an array of byte strings")
    width, least = heads[first]
    end = position + 1 + width
    length = int.from_bytes(data[position + 1 : end], "big")
    if end > len(data) or length < least:
        raise NonCanonical(detail=f"a length in {what} is cut off or not in its shortest form")
    return length, end


def _measure_heads() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """By its first byte: how long an item's head is, and how many bytes at the head's end say what follows it.

    A short text's head is all of it; an array's items count for themselves. What is not allowed is one byte long.
    """
    sizes, lengths = [1] * 256, [0] * 256
    sizes[0xA0:0xC0] = range(1, 33)
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        sizes[first], lengths[first] = 1 + width, width
    for first, width in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        sizes[first] = 1 + width
    sizes[0xDC], sizes[0xDD] = 3, 5
    return tuple(sizes), tuple(lengths)


_HEAD_SIZES, _LENGTH_SIZES = _measure_heads()


def _check_count(data: bytes, max_items: int, what: str) -> None:
    """Raise `TooLarge` where more than `max_items` items stand inside the value; reads so many heads at most."""
    sizes, lengths = _HEAD_SIZES, _LENGTH_SIZES
    place, end, left = 0, len(data), max_items + 1
    while place < end:
        if not left:
            raise TooLarge(what=what, actual=f"over {max_items}", limit=max_items)
        left -= 1
        first = data[place]
        place += sizes[first]
        if width := lengths[first]:
            place += int.from_bytes(data[place - width : place])


def _check_complete(data: bytes) -> None:
    """Walk over `data` without building anything, so that array lengths are honest before they are reserved.

    Unpacking at once would reserve up to a thousand nested arrays, each at the length it merely claims.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()


def _kinds(value: object, max_depth: int) -> set[type] | None:
    """The exact types found in `value`, itself included, or None when arrays nest deeper than `max_depth`."""
    found: set[type] = {type(value)}
    if tuple not in found and list not in found:
        return found
    level: list[Any] = [value]  # the arrays at one depth
    for _ in range(max_depth):
        kinds = set(map(type, chain.from_iterable(level)))
        found |= kinds
        if tuple not in kinds and list not in kinds:
            return found
        level = [item for item in chain.from_iterable(level) if type(item) is tuple or type(item) is list]
    return None


def _names(kinds: set[type]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))


def expect_array(value: Value, length: int | None, what: str, *, max_length: int | None = None) -> tuple[Value, ...]:
    """`value` as an array of exactly `length` items; of any number, up to `max_length`, where that is None.

    Raises `WrongShape` or `TooLarge`.
    """
    if type(value) is not tuple:
        raise WrongShape(what=what, detail=f"expected an array, got {_show(value)}")
    if length is not None and len(value) != length:
        raise WrongShape(what=what, detail=f"expected an array of {length}, got one of {len(value)}")
    if max_length is not None and len(value) > max_length:
        raise TooLarge(what=what, actual=len(value), limit=max_length)
    return value


def expect_list(value: Value, what: str, *, max_items: int) -> tuple[Value, ...]:
    """`value` as an array of at most `max_items` items, or `WrongShape`, or `TooLarge`."""
    if type(value) is not tuple:
        raise WrongShape(what=what, detail=f"expected an array, got {_show(value)}")
    if len(value) > max_items:
        raise TooLarge(what=what, actual=len(value), limit=max_items)
    return value


def expect_int(value: Value, what: str, *, low: int = 0, high: int = 2**63 - 1) -> int:
    """`value` as an integer in `low` … `high` inclusive; otherwise `WrongShape`."""
    if type(value) is int and low <= value <= high:
        return value
    raise WrongShape(what=what, detail=f"expected an integer in {low}..{high}, got {_show(value)}")


def expect_bytes(value: Value, what: str, *, size: int | None = None, max_size: int | None = None) -> bytes:
    """`value` as exactly `size`, or at most `max_size`, bytes; otherwise `WrongShape` or `TooLarge`."""
    if type(value) is not bytes:
        raise WrongShape(what=what, detail=f"expected bytes, got {_show(value)}")
    if size is not None and len(value) != size:
        raise WrongShape(what=what, detail=f"expected {size} bytes, got {len(value)}")
    if max_size is not None and len(value) > max_size:
        raise TooLarge(what=what, actual=len(value), limit=max_size)
    return value


def expect_str(value: Value, what: str, *, max_size: int = 64) -> str:
    """`value` as text of at most `max_size` bytes of UTF-8; otherwise `WrongShape` or `TooLarge`."""
    if type(value) is not str:
        raise WrongShape(what=what, detail=f"expected text, got {_show(value)}")
    size = len(value) if value.isascii() else len(value.encode())
    if size > max_size:
        raise TooLarge(what=what, actual=size, limit=max_size)
    return value


def _show(value: Value) -> str:
    """A value in a few words: an error message must stay short whatever a peer sent."""
    if isinstance(value, tuple):
        return f"an array of {len(value)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return f"text of {len(value)}"
    return "nil" if value is None else str(value)
