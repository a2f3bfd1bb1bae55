"""Offers in the order they are to be served, and the first of them that a bid can have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from ledger.hashing import Address
from market.orders import Order, Trade

Find: TypeAlias = Callable[[Order], int | None]  # the place of the offer that a bid is served next

_NEVER = 1 << 63  # above every price


class OfferQueue:
    """Offers in the order they are to be served: a look-up costs a path through a tree, for any owners.

    A binary tree over the places in the queue, the root at 1 and the leaves behind each other at the end; each node
    knows the lowest price below it, its owner, and the lowest of any other owner.
    """

    __slots__ = ("_leaves", "_lowest", "_others", "_owner")

    def __init__(self, offers: Sequence[Order | None]) -> None:
        self._leaves = 1 << max(0, len(offers) - 1).bit_length()
        self._lowest = [_NEVER] * (2 * self._leaves)
        self._owner: list[Address] = [b""] * (2 * self._leaves)
        self._others = [_NEVER] * (2 * self._leaves)
        for leaf, offer in enumerate(offers, start=self._leaves):
            if offer is not None:
                self._lowest[leaf] = offer.price_uyuan_per_kwh
                self._owner[leaf] = offer.owner
        for node in range(self._leaves - 1, 0, -1):
            self._join(node)

    def has_any(self, limit: int, buyer: Address, node: int = 1) -> bool:
        """Return True if an offer below the node is not the buyer's and asks at most `limit`."""
        return (self._others if self._owner[node] == buyer else self._lowest)[node] <= limit

    def find_first(self, limit: int, buyer: Address, node: int = 1) -> int | None:
        """The first place, below a node, whose offer is not the buyer's and asks at most `limit`."""
        lowest, owner, others = self._lowest, self._owner, self._others
        if (others if owner[node] == buyer else lowest)[node] > limit:
            return None
        while node < self._leaves:
            node *= 2
            if (others if owner[node] == buyer else lowest)[node] > limit:
                node += 1
        return node - self._leaves

    def remove(self, place: int) -> None:
        """Take an offer out."""
        node = self._leaves + place
        self._lowest[node] = _NEVER
        while node > 1 and self._join(node >> 1):
            node >>= 1

    def _join(self, node: int) -> bool:
        """Put together what is known of both halves below a node; False where that changes nothing."""
        lowest, owners, others = self._lowest, self._owner, self._others
        low, high = 2 * node, 2 * node + 1
        if lowest[high] < lowest[low]:
            low, high = high, low
        price, owner, other = lowest[low], owners[low], others[low]
        rival = others[high] if owners[high] == owner else lowest[high]
        if rival < other:
            other = rival
        if price == lowest[node] and other == others[node] and owner == owners[node]:
            return False
        lowest[node], owners[node], others[node] = price, owner, other
        return True


def serve_in_turn(
    bids: Iterable[Order],
    offers: Sequence[Order],
    find: Find,
    remove: Callable[[int], None],
    price: Callable[[Order, Order], int],
) -> list[Trade]:
    """Serve bids in their order: each takes, in parts, of the offers that are found for it, until it has enough."""
    left = [offer.volume_wh for offer in offers]
    trades: list[Trade] = []
    for bid in bids:
        wanted = bid.volume_wh
        while wanted and (place := find(bid)) is not None:
            offer = offers[place]
            volume = min(wanted, left[place])
            trades.append(Trade(bid.order_id, offer.order_id, bid.owner, offer.owner, price(bid, offer), volume))
            wanted -= volume
            left[place] -= volume
            if not left[place]:
                remove(place)
    return trades
