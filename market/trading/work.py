"""The work that a block does on periods that are due, in shares: what is too much for one is left to the next.

A chain's `work_per_block` counts in units that take about the same time each, so that no block takes much longer than
another. Where it is 0 there is no limit, and a period's gate or settlement is one block's affair (decision 48). A block
may have several such shares, one after the other, each of which is a step of whoever executes it (decision 56).
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.contract import BlockContext
from ledger.overlay import Overlay

_SPENT = b"market/work"

# What one record costs, in units of some 3.8 µs.
ORDER = 7  # taken off the book, with what it is weighed by
TRIM = 2  # an order held against its line's quota, or a trade against the lines
MATCH = 4  # an order in its place in the book
RECORD = 10  # a trade, with what made it
RESERVE = 2  # an order whose owner's reserve is replaced
TELL = 1  # a trade or a reading in a message
HEAR = 5  # the same, taken in
SETTLEMENT = 20  # a trade
CORRECTION = 40  # a reading that has changed
REST = 4  # a meter beside the trades
BILL = 4  # a row that is split
SUBSIDY = 4  # a meter, for each programme that pays for the period
METER = 2  # looked at
MEMBER = 2  # whose credit is told
CONTRACT = 3  # a trade that is recorded as accepted, or as metered


def is_limited(block: BlockContext) -> bool:
    """Return True if the chain spreads a period's work over blocks."""
    return block.params.market.work_per_block > 0


def get_room(view: Overlay, block: BlockContext, *, cost: int = 1) -> int | None:
    """The number of records at so much each that this share may still process; None where there is no limit."""
    if not is_limited(block):
        return None
    return max(0, block.params.market.work_per_pass - _read(view, block).spent) // cost


def spend(view: Overlay, block: BlockContext, count: int, *, cost: int = 1) -> None:
    """Count so many records as processed."""
    if count and is_limited(block):
        share = _read(view, block)
        _write(view, share._replace(spent=share.spent + count * cost))


def claim(view: Overlay, block: BlockContext, wanted: int, *, cost: int = 1) -> int:
    """Claim the work on up to `wanted` records at so much each; how many of them this share may process."""
    room = get_room(view, block, cost=cost)
    count = wanted if room is None else min(wanted, room)
    spend(view, block, count, cost=cost)
    return count


def claim_whole(view: Overlay, block: BlockContext, cost: int) -> bool:
    """Claim work that cannot be divided; False where it has to wait for the next share.

    What is more than any share has one of its own: it takes all of it.
    """
    room = get_room(view, block)
    if room is None:
        return True
    cost = min(cost, block.params.market.work_per_pass)
    if cost > room:
        return False
    spend(view, block, cost)
    return True


def take_share(view: Overlay, block: BlockContext) -> bool:
    """Begin the block's next share of work; False where nothing was spent of this one, or it is the last."""
    share = _read(view, block)
    if not share.spent or share.number == block.params.market.passes_per_block:
        return False
    _write(view, _Share(block.height, 0, share.number + 1))
    return True


class _Share(NamedTuple):
    """A block's share of work at hand, and what has been spent of it."""

    height: int
    spent: int = 0
    number: int = 1


def _read(view: Overlay, block: BlockContext) -> _Share:
    share = _Share._make((*cast(tuple[int, ...], view.get(_SPENT) or (0, 0)), 1)[:3])
    return share if share.height == block.height else _Share(block.height)


def _write(view: Overlay, share: _Share) -> None:
    view.put(_SPENT, tuple(share) if share.number > 1 else share[:2])
