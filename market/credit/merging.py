"""The merging of credit coins, so that what LH1 keeps is bounded by members and not by time (decision 42).

Each credit snapshot begins a round: every member, the last admitted first, has its coins of one colour made into one. A
block does as much of it as its share of coins allows, and the next goes on. A member comes up once in a round, so one
that makes coins faster than a block merges them keeps no other waiting.
"""

from __future__ import annotations

from typing import cast

from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.membership import get_admitted_before, get_newest
from ledger.overlay import Overlay
from market.credit.assets import count_coins, merge_coins

_NEXT = b"credit/merging"


def merge_due_coins(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block, once its credit snapshot is taken: begin a round, or go on with one.

    A block looks at `merged_coins` coins and members, or else at one member alone, and spends no more coins than that.
    """
    limit = block.params.market.merged_coins
    if not limit:
        return
    begun = cast(Address | None, view.get(_NEXT))
    member = get_newest(view) if begun is None and block.is_first_of_period else begun
    left = limit
    while member and left > 0:
        cost = 1 + _count_mergeable(view, member)
        if left < cost and left < limit:
            break
        if cost > 1:
            merge_coins(view, member, limit)
        left -= cost
        member = get_admitted_before(view, member)
    if member:
        view.put(_NEXT, member)
    elif begun is not None:
        view.delete(_NEXT)


def find_next_due(view: Overlay, block: BlockContext) -> int | None:
    """At once while a round is at work."""
    return None if view.get(_NEXT) is None else 0


def _count_mergeable(view: Overlay, member: Address) -> int:
    """The coins to look at: none where no colour can have two."""
    own, others = count_coins(view, member)
    return (own if own > 1 else 0) + (others if others > 1 else 0)
