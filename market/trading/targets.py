"""The prices that a gate's book is cleared by where the rule is `knn`: committed before it opens (text 001, step 8).

They are those of the game (`market.game`), one for each direction of trade. On the book members sell what they generate
to those who use it, so what bids look for is the price of a company to its users; the others say what the bureau would
take and give. A target binds whoever has an order, and so it comes before the first of them, once.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.codec import Value, expect_array, expect_int
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.inbox import REMEMBERED
from ledger.outbox import post
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.errors import TargetOutOfBounds, TargetTooEarly, TargetTooLate, TargetTwice
from market.messages import SECOND_TARGET
from market.trading.period_index import add_live_period
from market.trading.sessions import get_period
from market.trading.times import compute_gate_times, count_periods

TARGETED_AHEAD = 24  # periods, a day of hours: how long before its book opens a target may come

_TARGET = b"market/target/"
_SECOND = b"market/second-target/"
_TOLD = b"market/second-targets"


class GamePrices(NamedTuple):
    """The four prices of a gate, µ¥ per kWh: company to user and to bureau, bureau to user and to company."""

    g_to_u: int
    g_to_c: int
    c_to_u: int
    c_to_g: int


class Commitment(NamedTuple):
    """A gate's prices, who has committed them, and the height of the block."""

    height: int
    sender: Address
    prices: GamePrices

    @property
    def target_uyuan_per_kwh(self) -> int:
        """The price that bids look for."""
        return self.prices.g_to_u


def parse_prices(value: Value) -> GamePrices:
    """Raises `WrongShape` or `TooLarge`."""
    fields = expect_array(value, len(GamePrices._fields), "game prices")
    return GamePrices._make([expect_int(price, name) for name, price in zip(GamePrices._fields, fields, strict=True)])


def commit_target(view: Overlay, block: BlockContext, gate: int, sender: Address, prices: GamePrices) -> None:
    """Put a gate's target down. Raises `TargetTooLate`, `TargetTooEarly`, `TargetOutOfBounds` or `TargetTwice`.

    That somebody would have had another one stays on record, though it is refused, and a credit chain hears of it.
    """
    period = get_period(block.params.market, gate)
    opened_ms = compute_gate_times(gate, block.params, block.genesis_time_ms).open_ms
    if block.timestamp_ms >= opened_ms:
        raise TargetTooLate(period=period, opened=opened_ms, now=block.timestamp_ms)
    last = block.period + count_periods(block.params.market.open_ppm) + TARGETED_AHEAD
    if period > last:
        raise TargetTooEarly(period=period, last=last)
    _check_bounds(prices, block.params.market)
    if get_target(view, gate) is not None:
        view.emit("second-target", gate, sender)
        _report(view, block, gate, sender)
        raise TargetTwice(period=period)
    view.put(_key(gate), (block.height, sender, *prices))
    add_live_period(view, period)  # so that it is forgotten, whether or not anybody has an order
    view.emit("game-target", gate, sender, *prices)


def _report(view: Overlay, block: BlockContext, gate: int, sender: Address) -> None:
    """Tell the credit chain of a second target, once for each gate and sender, where it records violations."""
    if "credit" not in block.siblings or not block.params.market.recorded_violations:
        return
    reported = cast(tuple[bytes, ...], view.get(_second_key(gate)) or ())
    if sender in reported:
        return
    view.put(_second_key(gate), (*reported, sender))
    told, period = cast(int, view.get(_TOLD) or 0), get_period(block.params.market, gate)
    view.put(_TOLD, told + 1)
    post(view, SECOND_TARGET, told, [(period, sender)], height=block.height, retained=REMEMBERED)


def get_target(view: Overlay, gate: int) -> Commitment | None:
    """A gate's target; None where there is none, and once it is no longer kept."""
    value = cast(tuple[int, bytes, int, int, int, int] | None, view.get(_key(gate)))
    return None if value is None else Commitment(value[0], value[1], GamePrices._make(value[2:]))


def drop_target(view: Overlay, gate: int) -> None:
    """Forget a gate's target, and who would have had another one; nothing where there is none."""
    view.delete(_key(gate))
    view.delete(_second_key(gate))


def _check_bounds(prices: GamePrices, market: MarketParams) -> None:
    """Check that prices lie between what the grid company pays and asks: nobody sells for less or buys for more.

    Raises `TargetOutOfBounds`.
    """
    low, high = market.feed_in_uyuan_per_kwh, market.retail_uyuan_per_kwh
    for direction, price in zip(GamePrices._fields, prices, strict=True):
        if not low <= price <= high:
            raise TargetOutOfBounds(direction=direction, actual=price, low=low, high=high)


def _key(gate: int) -> bytes:
    return _TARGET + gate.to_bytes(8, "big")


def _second_key(gate: int) -> bytes:
    return _SECOND + gate.to_bytes(8, "big")
