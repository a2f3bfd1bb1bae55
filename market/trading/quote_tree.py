"""Quotes in a k-d tree (Bentley 1975; text 001, step 8): the nearest that a bid can have, where each asks elsewhere.

Exact, in integers. Quotes that are taken leave the tree without its being built anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from ledger.hashing import Address
from market.orders import Order
from market.trading.offer_queue import OfferQueue

Point: TypeAlias = tuple[int, ...]

_FAR = 1 << 62  # above every squared distance


class Neighbour(NamedTuple):
    """An offer by its squared distance and its rank: the one that is served first is the least."""

    distance: int
    rank: int


NOBODY = Neighbour(_FAR, -1)


class _Split(NamedTuple):
    axis: int
    left_high: int  # the left half ends here along that axis
    right_low: int  # and the right half begins


class QuoteTree(OfferQueue):
    """Offers by their rank, each with its point: of equally near ones the first by rank is the nearest.

    The queue's own tree, whose places are in the order of the splits. So each node knows who asks how little below it,
    and a bid passes by where it can have nothing. Below a node whose points are all one offers stand in their order.
    """

    __slots__ = ("_leaf_of", "_ranks", "_splits", "_spots")

    def __init__(self, offers: Mapping[int, Order], points: Mapping[int, Point]) -> None:
        leaves = 1 << max(0, len(offers) - 1).bit_length()
        self._splits: list[_Split | None] = [None] * (2 * leaves)
        self._spots: list[Point] = [()] * (2 * leaves)
        self._ranks = [-1] * leaves
        todo = [(1, 0, leaves, sorted(offers))]
        while todo:
            node, start, width, members = todo.pop()
            axis, spread = _find_widest(points, members)
            if not spread:
                self._spots[node] = points[members[0]] if members else ()
                self._ranks[start : start + len(members)] = sorted(members)
                continue
            along = {rank: points[rank][axis] for rank in members}
            members.sort(key=along.__getitem__)
            half, width = (len(members) + 1) // 2, width // 2
            left, right = members[:half], members[half:]
            self._splits[node] = _Split(axis, along[left[-1]], along[right[0]])
            todo += [(2 * node, start, width, left), (2 * node + 1, start + width, width, right)]
        self._leaf_of = {rank: leaf for leaf, rank in enumerate(self._ranks)}
        super().__init__([offers.get(rank) for rank in self._ranks])

    def find_nearest(
        self, target: Point, limit: int, buyer: Address, best: Neighbour = NOBODY, base: int = 0
    ) -> Neighbour:
        """The nearest offer that is not the buyer's and asks at most `limit`; `best` where it is nearer.

        `base` is added to every squared distance.
        """
        todo = [(base, 1, (0,) * len(target))]
        while todo:
            bound, node, gaps = todo.pop()
            while bound <= best.distance and self.has_any(limit, buyer, node):
                split = self._splits[node]
                if split is None:
                    squares = sum((a - b) ** 2 for a, b in zip(self._spots[node], target, strict=True))
                    leaf = self.find_first(limit, buyer, node)
                    assert leaf is not None, "there is one below this node"
                    best = min(best, Neighbour(base + squares, self._ranks[leaf]))
                    break
                axis, left_high, right_low = split
                here, gap = target[axis], gaps[axis]
                if here - left_high <= right_low - here:
                    node, other, beyond = 2 * node, 2 * node + 1, right_low - here
                else:
                    node, other, beyond = 2 * node + 1, 2 * node, here - left_high
                beyond = max(beyond, gap)
                todo.append((bound - gap * gap + beyond * beyond, other, (*gaps[:axis], beyond, *gaps[axis + 1 :])))
        return best

    def remove(self, rank: int) -> None:
        """Take an offer out."""
        super().remove(self._leaf_of[rank])


def _find_widest(points: Mapping[int, Point], members: Sequence[int]) -> tuple[int, int]:
    """The axis along which the members' points differ most, and by how much; 0 where they are all one."""
    spreads = [max(column) - min(column) for column in zip(*(points[rank] for rank in members), strict=True)]
    return max(enumerate(spreads), key=itemgetter(1), default=(0, 0))
