"""Tables and lists of facts as text, and how they are made to fit where the terminal is narrow.

A table that is too wide has its hashes cut short, then its heads broken, columns left out that it can spare, texts
broken over lines, and gaps narrowed; where all of that is not enough, each row becomes a list of facts. Nothing is lost
under --json. What is no terminal has room for everything, unless COLUMNS says otherwise.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from textwrap import wrap

WIDTH = 100  # columns that texts are broken for, or fewer where the terminal has fewer
_HASH = re.compile(r"(?:0x)?[0-9a-f]{16,}")
_HASH_SHOWN = 8  # digits
_GAP = 2


def get_columns() -> int | None:
    """Number of columns that a line may have; None where nothing bounds it."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None


def fit_columns(width: int) -> int:
    """`width`, or what the terminal has where that is less."""
    return min(width, get_columns() or width)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    left: Sequence[int] = (0,),
    spare: Sequence[int] = (),
    width: int | None = None,
) -> str:
    """Columns of text under their heads; those not in `left` are aligned to the right.

    It fits the terminal, and `width` where one is given. Where it is too wide, the columns in `spare` are the first to
    go, in that order.
    """
    columns = [
        _Column(head=[head], cells=[[str(item)] for item in items], is_left=number in left)
        for number, (head, *items) in enumerate(zip(heads, *rows, strict=True))
    ]
    limit = get_columns() if width is None else fit_columns(width)
    if limit is None or _measure(columns) <= limit:
        return _draw(columns)
    return _draw_within(columns, [columns[number].title for number in spare], limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A head and cells, each of one line or more."""

    head: list[str]
    cells: list[list[str]]
    is_left: bool

    @property
    def title(self) -> str:
        return " ".join(self.head)

    @property
    def width(self) -> int:
        return max(len(line) for lines in (self.head, *self.cells) for line in lines)

    def change(self, work: Callable[[str], list[str]]) -> _Column:
        """The same with other lines in its cells."""
        return replace(self, cells=[work(" ".join(lines)) for lines in self.cells])


def _measure(columns: Sequence[_Column], gap: int = _GAP) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _draw_within(columns: list[_Column], spare: list[str], limit: int) -> str:
    columns = [_break_head(column.change(_cut_hash)) for column in columns]
    for title in spare:
        if _measure(columns) > limit:
            columns = [column for column in columns if column.title != title]
    columns = _break_texts(columns, limit, _GAP, lambda column: column.is_left)
    if _measure(columns) <= limit:
        return _draw(columns)
    columns = _break_texts(columns, limit, 1, lambda column: True)
    return _draw(columns, gap=1) if _measure(columns, 1) <= limit else _draw_rows(columns)


def _cut_hash(cell: str) -> list[str]:
    if _HASH.fullmatch(cell) is None or cell.isdecimal():
        return [cell]
    start = 2 if cell.startswith("0x") else 0
    return [cell[: start + _HASH_SHOWN] + "…"]


def _break_head(column: _Column) -> _Column:
    """Its head over as many lines as the cells below make it."""
    words = re.split(r"\s+|(?<=-)", column.title)
    least = max(len(part) for part in (*words, *(line for lines in column.cells for line in lines)))
    return replace(column, head=wrap(column.title, max(least, 1), break_long_words=False) or [""])


def _break_texts(columns: list[_Column], limit: int, gap: int, may_break: Callable[[_Column], bool]) -> list[_Column]:
    """The same with the texts of the widest columns over several lines, as far as words allow it."""
    stuck: set[str] = set()
    while (excess := _measure(columns, gap) - limit) > 0:
        found = [column for column in columns if may_break(column) and column.title not in stuck]
        if not found:
            break
        widest = max(found, key=lambda column: column.width)
        words = [*widest.head, *(word for lines in widest.cells for line in lines for word in line.split())]
        goal = max(*map(len, words), widest.width - excess, 1)
        stuck.add(widest.title)
        broken = widest.change(partial(_break_text, width=goal))
        columns = [broken if column is widest else column for column in columns]
    return columns


def _draw(columns: Sequence[_Column], gap: int = _GAP) -> str:
    widths = [column.width for column in columns]
    rows = list(zip(*([column.head, *column.cells] for column in columns), strict=True))
    lines: list[str] = []
    for number, row in enumerate(rows):
        for parts in zip_longest(*row, fillvalue=""):
            padded = [
                part.ljust(width) if column.is_left else part.rjust(width)
                for part, width, column in zip(parts, widths, columns, strict=True)
            ]
            lines.append((" " * gap).join(padded).rstrip())
        if number == 0:
            lines.append((" " * gap).join("─" * width for width in widths))
    return "\n".join(lines)


def _draw_rows(columns: Sequence[_Column]) -> str:
    def draw(row: Sequence[list[str]]) -> str:
        return facts([(column.title, " ".join(lines)) for column, lines in zip(columns, row, strict=True)])

    return "\n\n".join(draw(row) for row in zip(*(column.cells for column in columns), strict=True))


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """One `name  value` line each, values aligned; a value that is too long goes on below itself."""
    indent = max(len(name) for name, _ in pairs) + _GAP
    columns = get_columns()
    lines: list[str] = []
    for name, value in pairs:
        first, *more = _break_value(str(value), None if columns is None else columns - indent)
        lines += [f"{name.ljust(indent)}{first}".rstrip(), *(" " * indent + line for line in more)]
    return "\n".join(lines)


def _break_value(value: str, room: int | None) -> list[str]:
    return [value] if room is None or len(value) <= room else _break_text(value, width=max(room, 1))


def _break_text(text: str, *, width: int) -> list[str]:
    """Into lines, at spaces alone: a word may be a path, a hash or a name."""
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
