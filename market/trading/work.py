"""The work that a block does on periods that are due, in shares: what is too much for one is left to the next.

A chain's `work_per_block` counts in units that take about the same time each, so that no block takes much longer than
another. Where it is 0 there is no limit, and a period's gate or settlement is one block's affair (decision 48).
"""

from __future__ import annotations

from typing import cast

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
METER = 2  # looked at
MEMBER = 2  # whose credit is told
CONTRACT = 3  # a trade that is recorded as accepted, or as metered


def is_limited(block: BlockContext) -> bool:
    """Return True if the chain spreads a period's work over blocks."""
    return block.params.market.work_per_block > 0


def get_room(view: Overlay, block: BlockContext, *, cost: int = 1) -> int | None:
    """The number of records at so much each that this block may still process; None where there is no limit."""
    limit = block.params.market.work_per_block
    return max(0, limit - _get_spent(view, block)) // cost if limit else None


def spend(view: Overlay, block: BlockContext, count: int, *, cost: int = 1) -> None:
    """Count so many records as processed."""
    if count and is_limited(block):
        view.put(_SPENT, (block.height, _get_spent(view, block) + count * cost))


def claim(view: Overlay, block: BlockContext, wanted: int, *, cost: int = 1) -> int:
    """Claim the work on up to `wanted` records at so much each; how many of them this block may process."""
    room = get_room(view, block, cost=cost)
    count = wanted if room is None else min(wanted, room)
    spend(view, block, count, cost=cost)
    return count


def claim_whole(view: Overlay, block: BlockContext, cost: int) -> bool:
    """Claim work that cannot be divided; False where it has to wait for the next block.

    What is more than any block's share has a block of its own: it takes all of it.
    """
    room = get_room(view, block)
    if room is None:
        return True
    cost = min(cost, block.params.market.work_per_block)
    if cost > room:
        return False
    spend(view, block, cost)
    return True


def _get_spent(view: Overlay, block: BlockContext) -> int:
    height, spent = cast(tuple[int, int], view.get(_SPENT) or (0, 0))
    return spent if height == block.height else 0
