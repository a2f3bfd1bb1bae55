"""Lists in ledger state that grow by shares: pages of few rows each, so that no value is larger than its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from ledger.overlay import Overlay

PAGE_ROWS = 64
_PAGE = b"market/page/"

Row = tuple[Any, ...]


def append_rows(view: Overlay, name: bytes, count: int, rows: Sequence[Row]) -> int:
    """Append rows to a list that has `count` of them; how many it has then."""
    page, filled = divmod(count, PAGE_ROWS)
    if rows and filled:
        rows = [*_get_page(view, name, page), *rows]
        count -= filled
    for at in range(0, len(rows), PAGE_ROWS):
        put_page(view, name, page, rows[at : at + PAGE_ROWS])
        page += 1
    return count + len(rows)


def put_page(view: Overlay, name: bytes, page: int, rows: Sequence[Row]) -> None:
    """Put down one page of a list whose pages come in any order; all but the last are full."""
    view.put(_key(name, page), as_value(rows))


def get_rows(view: Overlay, name: bytes, count: int, *, first_page: int = 0) -> list[Row]:
    """The rows of a list of so many, from a page on."""
    rows: list[Row] = []
    for page in range(first_page, _count_pages(count)):
        rows += _get_page(view, name, page)
    return rows


def get_slice(view: Overlay, name: bytes, places: range) -> list[Row]:
    """The rows of a list in these places, which it has."""
    first_page = places.start // PAGE_ROWS
    rows = get_rows(view, name, places.stop, first_page=first_page)
    return rows[places.start - first_page * PAGE_ROWS : places.stop - first_page * PAGE_ROWS]


def drop_rows(view: Overlay, name: bytes, count: int) -> None:
    """Forget a list of so many rows."""
    for page in range(_count_pages(count)):
        view.delete(_key(name, page))


def as_value(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows as one state value."""
    return tuple([tuple(row) for row in rows])


def _get_page(view: Overlay, name: bytes, page: int) -> tuple[Row, ...]:
    return cast(tuple[Row, ...], view.get(_key(name, page)))


def _count_pages(count: int) -> int:
    return -(-count // PAGE_ROWS)


def _key(name: bytes, page: int) -> bytes:
    return _PAGE + name + page.to_bytes(4, "big")
