"""The last record of a LevelDB log that a crash has torn: some of its sectors came to the disk and others did not.

LevelDB forgives a log that ends in the middle of a record, but not one whose last record has a hole. Such a record was
never synced, so nothing relies on it, and it may be cut off. A hole is a sector in which the record is nothing but
zeros, as in a file that was made longer; whatever else does not match its checksum is damage, and stays.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

_BLOCK, _SECTOR = 32_768, 512
_HEADER = 7  # checksum, length, type
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_SHORTEST_HOLE = 8  # bytes; fewer zeros may well be the end of what was written
_MASK_DELTA = 0xA282EAD8


class _Fragment(NamedTuple):
    start: int
    end: int
    type: int


def find_torn_tail(log: bytes) -> int | None:
    """The place from which a log is to be cut off; None where its last record is whole, or damaged otherwise."""
    start, fragments = _find_last_record(log)
    if start == len(log) or (fragments and _is_whole(log, fragments)):
        return None
    sectors = range(start - start % _SECTOR, len(log), _SECTOR)
    parts = (log[max(start, sector) : sector + _SECTOR] for sector in sectors)
    has_hole = any(len(part) >= _SHORTEST_HOLE and not part.strip(b"\0") for part in parts)
    return start if has_hole and not _has_record_after(log, start) else None


def _find_last_record(log: bytes) -> tuple[int, list[_Fragment]]:
    """The start of the record after which nothing can be read, and its fragments as far as they can be told."""
    at, start, fragments = 0, 0, list[_Fragment]()
    while at < len(log):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        length, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6] if at + 6 < len(log) else 0
        fragment = _Fragment(at, at + _HEADER + length, kind)
        if not _FULL <= kind <= _LAST or _HEADER + length > left or fragment.end > len(log):
            return (start, []) if fragments and fragments[-1].type in (_FIRST, _MIDDLE) else (at, [])
        if kind in (_FULL, _FIRST):
            start, fragments = at, []
        fragments.append(fragment)
        at = fragment.end
    return start, fragments


def _is_whole(log: bytes, fragments: list[_Fragment]) -> bool:
    return fragments[-1].type in (_FULL, _LAST) and all(_is_intact(log, one) for one in fragments)


def _has_record_after(log: bytes, start: int) -> bool:
    """Return True if a record begins after `start`: then what stands there had been synced, and is damaged."""
    for at in range(start + 1, len(log) - _HEADER):
        if log[at + 6] in (_FULL, _FIRST):
            end = at + _HEADER + int.from_bytes(log[at + 4 : at + 6], "little")
            is_fitting = at + _HEADER < end <= min(len(log), at - at % _BLOCK + _BLOCK)
            if is_fitting and _is_intact(log, _Fragment(at, end, log[at + 6])):
                return True
    return False


def _is_intact(log: bytes, one: _Fragment) -> bool:
    return _mask(_crc32c(log[one.start + 6 : one.end])) == int.from_bytes(log[one.start : one.start + 4], "little")


def _mask(crc: int) -> int:
    """As LevelDB stores it."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF


@cache
def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F6_3B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    crc, table = 0xFFFF_FFFF, _make_table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
