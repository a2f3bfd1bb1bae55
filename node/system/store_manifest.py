"""Reading LevelDB's manifest: the numbers of the tables and logs that make up a store now.

A manifest is a log of edits, in LevelDB's log format (https://github.com/google/leveldb, doc/log_format.md and
db/version_edit.cc). Whatever else lies in the directory is being written, or is left over.
"""

from __future__ import annotations

from typing import NamedTuple

_BLOCK, _HEADER = 32_768, 7
_FULL, _FIRST, _LAST = 1, 2, 4


class LiveFiles(NamedTuple):
    """Numbers of tables that count, and the least number of a log that does."""

    tables: frozenset[int]
    first_log: int


def read_manifest(raw: bytes) -> LiveFiles | None:
    """The files that a manifest leads to; None where it is not one. An edit that is not there whole does not count."""
    tables: set[int] = set()
    logs = [0]
    try:
        for record in _list_records(raw):
            _apply(record, tables, logs)
    except (IndexError, ValueError):
        return None
    return LiveFiles(frozenset(tables), logs[-1])


def _list_records(raw: bytes) -> list[bytes]:
    """The whole records of a log; a length that leads out of it ends it, as where its writer is at work."""
    records, parts, at = [], b"", 0
    while at + _HEADER <= len(raw):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        size, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        if not _FULL <= kind <= _LAST or size > left - _HEADER:
            raise ValueError("no record")
        data = raw[at + _HEADER : at + _HEADER + size]
        if len(data) < size:
            break
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            records.append(parts)
        at += _HEADER + size
    return records


def _apply(record: bytes, tables: set[int], logs: list[int]) -> None:
    """Make one edit. Raises `IndexError` or `ValueError` where it is none."""
    at = 0

    def number() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = record[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def skip() -> None:
        nonlocal at
        size = number()
        at += size
        if at > len(record):
            raise ValueError("text that is cut short")

    while at < len(record):
        match number():
            case 1:  # comparator
                skip()
            case 2:  # log number
                logs.append(number())
            case 3 | 4 | 9:  # next file, last sequence, previous log
                number()
            case 5:  # compaction pointer of a level
                number()
                skip()
            case 6:  # table deleted from a level
                number()
                tables.discard(number())
            case 7:  # table new in a level: number, size, least and greatest key
                number()
                tables.add(number())
                number()
                skip()
                skip()
            case tag:
                raise ValueError(f"edit {tag}")
