"""A book written down by hand: orders from CSV text, with what their senders state; opens no file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ledger.errors import BadName
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.names import get_looks, normalise_name
from market.credit.score import FULL_CREDIT_UPT, PPM
from market.errors import BadOrders
from market.orders import Order, Side
from market.trading.contract import MAX_ENERGY_WH, MAX_PRICE_UYUAN_PER_KWH
from market.trading.matching_weight import WeightedOrder

COLUMNS = ("owner", "side", "price_yuan_per_kwh", "volume_kwh")
OPTIONAL_COLUMNS = ("credit_points", "capacity_kwh", "renewable_share", "position", "stability_share")
MAX_ORDERS = 100_000

_SIDES = {"bid": Side.BID, "offer": Side.OFFER}
_DECIMAL = re.compile(r"(\d{1,12})(?:\.(\d{1,12}))?", re.ASCII)
_MAX_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderList:
    """Orders in the order of the lines, which is that of placing, and the names behind the made-up addresses."""

    candidates: tuple[WeightedOrder, ...]
    names: Mapping[Address, str]


def parse_orders(text: str, *, source: str, initial_credit_upt: int) -> OrderList:
    """Read orders from CSV text: a header naming `COLUMNS`, and any of `OPTIONAL_COLUMNS`, then a line per order.

    Empty optional cells count as the initial credit, no capacity, nothing renewable, an unknown position and no
    stability. Raises `BadOrders` with `source` and the line number.
    """
    rows = _read_rows(text, source)
    line, heads = next(rows, (1, []))
    _check_heads(heads, source, line)
    names: dict[str, Address] = {}
    looks: dict[str, str] = {}
    candidates: list[WeightedOrder] = []
    for line, row in rows:
        if len(row) != len(heads):
            raise BadOrders(file=source, line=line, what="line", have=f"{len(row)} cells", want=f"{len(heads)}")
        if len(candidates) == MAX_ORDERS:
            raise BadOrders(file=source, line=line, what="orders", have="one more", want=f"at most {MAX_ORDERS}")
        cells = _Cells(source, line, dict(zip(heads, row, strict=True)))
        owner = cells.read_name("owner")
        if not owner:
            raise cells.refuse("owner", "a name")
        if (twin := looks.setdefault(get_looks(owner), owner)) != owner:
            raise cells.refuse("owner", f"a name that does not look like another one's: {twin!r}, in other letters")
        address = names.setdefault(owner, len(names).to_bytes(ADDRESS_SIZE, "big"))
        candidates.append(_make_candidate(len(candidates), address, cells, initial_credit_upt))
    return OrderList(
        candidates=tuple(candidates), names=MappingProxyType({address: name for name, address in names.items()})
    )


def _make_candidate(number: int, owner: Address, cells: _Cells, initial_credit_upt: int) -> WeightedOrder:
    side = _SIDES.get(cells.get("side"))
    if side is None:
        raise cells.refuse("side", "bid or offer")
    price = cells.read_decimal("price_yuan_per_kwh", 6, low=1, high=MAX_PRICE_UYUAN_PER_KWH)
    volume_wh = cells.read_decimal("volume_kwh", 3, low=1, high=MAX_ENERGY_WH)
    return WeightedOrder(
        order=Order(number, owner, side, price, volume_wh, number),
        credit_upt=cells.read_decimal("credit_points", 6, high=FULL_CREDIT_UPT, default=initial_credit_upt),
        capacity_wh=cells.read_decimal("capacity_kwh", 3, high=MAX_ENERGY_WH, default=0),
        renewable_ppm=cells.read_decimal("renewable_share", 6, high=PPM, default=0),
        position=cells.read_name("position"),
        stability_ppm=cells.read_decimal("stability_share", 6, high=PPM, default=0),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """One line's cells by column."""

    source: str
    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        return self.cells.get(column, "")

    def refuse(self, column: str, want: str) -> BadOrders:
        return BadOrders(file=self.source, line=self.line, what=column, have=repr(self.get(column)[:40]), want=want)

    def read_name(self, column: str) -> str:
        try:
            name = normalise_name(self.get(column))
        except BadName as error:
            raise self.refuse(column, f"another name: {error.values['detail']}") from None
        if len(name) > _MAX_NAME:
            raise self.refuse(column, f"at most {_MAX_NAME} characters")
        return name

    def read_decimal(self, column: str, digits: int, *, low: int = 0, high: int, default: int | None = None) -> int:
        """A decimal number in units of 10^-digits; nothing is rounded."""
        text = self.get(column)
        if not text and default is not None:
            return default
        match = _DECIMAL.fullmatch(text)
        decimals = (match[2] or "").rstrip("0") if match else ""
        if match is not None and len(decimals) <= digits:
            value = int(match[1] + decimals.ljust(digits, "0"))
            if low <= value <= high:
                return value
        smallest = "0" if not low else f"0.{low:0{digits}d}"
        raise self.refuse(column, f"a number from {smallest} to {high // 10**digits} with up to {digits} decimals")


def _read_rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty; spaces around a cell do not count."""
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise BadOrders(file=source, line=reader.line_num, what="line", have=str(error), want="plain CSV") from None


def _check_heads(heads: list[str], source: str, line: int) -> None:
    missing = [column for column in COLUMNS if column not in heads]
    if missing:
        have = ",".join(heads)[:80] or "nothing"
        raise BadOrders(file=source, line=line, what="header", have=have, want=f"also {', '.join(missing)}")
    for head in heads:
        if head not in COLUMNS + OPTIONAL_COLUMNS or heads.count(head) > 1:
            want = f"each at most once: {', '.join(COLUMNS + OPTIONAL_COLUMNS)}"
            raise BadOrders(file=source, line=line, what="header", have=repr(head[:40]), want=want)
