"""Ties: what orders of equal rank get where there is not enough for all of them, and in which order they stand.

By time, the earlier order is served first, and place within a block is its sealer's choice. Pro rata, equals share by
volume and stand by lots that no member chooses. An owner's equal orders count as one, so that splitting one gains
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ledger.hashing import Address, tagged_hash
from market.orders import Order, Side, Trade

Match: TypeAlias = Callable[[Sequence[Order]], list[Trade]]  # by time: one that serves equals by (placed_at, order_id)
Rank: TypeAlias = Callable[[Order], tuple[int, ...]]  # orders of one side and one rank differ in place alone

_LOT_TAG = "gridmerit/lot"
_new_tuple = tuple.__new__  # makes an Order without its constructor


def make_lottery(chain_id: bytes, period: int) -> bytes:
    """The seed of a period's lots: nothing that a sealer or a sender chooses."""
    return chain_id + period.to_bytes(8, "big")


class Lots(NamedTuple):
    """Every owner's lot in a period, 0 the first: the order of the tagged hashes of period and address."""

    places: Mapping[Address, int]

    @classmethod
    def draw(cls, lottery: bytes, owners: Iterable[Address]) -> Lots:
        drawn = sorted(set(owners), key=lambda owner: tagged_hash(_LOT_TAG, lottery, owner))
        return cls({owner: place for place, owner in enumerate(drawn)})

    def line_up(self, orders: Iterable[Order]) -> list[Order]:
        """The same orders, which stand by their owners' lots instead of the time they were placed at."""
        places = self.places
        return [_new_tuple(Order, (*order[:5], places[order[1]])) for order in orders]

    def share(self, volume_wh: int, wanted_wh: Mapping[Address, int]) -> dict[Address, int]:
        """At most `volume_wh`, in proportion to what each owner wants: the largest remainders, then the first lots."""
        total_wh = sum(wanted_wh.values())
        if volume_wh >= total_wh:
            return dict(wanted_wh)
        shares = {owner: volume_wh * wanted // total_wh for owner, wanted in wanted_wh.items()}
        by_remainder = sorted(
            wanted_wh, key=lambda owner: (-(volume_wh * wanted_wh[owner] % total_wh), self.places[owner])
        )
        for owner in by_remainder[: volume_wh - sum(shares.values())]:
            shares[owner] += 1
        return shares


# --- a book --------------------------------------------------------------------------------------


def clear_pro_rata(match: Match, orders: Sequence[Order], rank: Rank, lottery: bytes) -> list[Trade]:
    """Clear a closed book by `match`, with pro rata among equals; a bid and an offer meet in one trade at most.

    Equals get of what `match` fills of all of them, of any owners, each in proportion to its volume; the book is
    then cut down to that and matched. Where an owner stands in its own way something of it is left: what this owner
    can trade with others is shared in the same way, and what even then would cross is matched in the order of lots.
    """
    lots = Lots.draw(lottery, [order.owner for order in orders])
    book = lots.line_up(orders)
    trades = match(book)
    if not _has_ties(book, _sum_fills(trades), rank):
        return trades
    rationed_wh = ration(book, _fill_ownerless(match, book), rank, lots)
    trades = match(cut(book, rationed_wh))
    stuck = _find_stuck(book, rationed_wh, trades)
    if stuck is None:
        return trades
    for owned_side in (Side.BID, Side.OFFER):
        rest = _leave(book, trades)
        apart = [order for order in rest if (order.owner == stuck) == (order.side == owned_side)]
        trades += match(cut(apart, ration(apart, _sum_fills(match(apart)), rank, lots)))
    return _merge([*trades, *match(_leave(book, trades))])


def _has_ties(book: Iterable[Order], filled_wh: Mapping[int, int], rank: Rank) -> bool:
    """True where an order lacks something while an equal one of another owner has any."""
    short: dict[tuple[int, ...], set[Address]] = {}
    served: list[Order] = []
    for order in book:
        filled = filled_wh.get(order.order_id, 0)
        if filled < order.volume_wh:
            short.setdefault((order.side, *rank(order)), set()).add(order.owner)
        if filled:
            served.append(order)
    return any(short.get((order.side, *rank(order)), set()) - {order.owner} for order in served)


def ration(book: Iterable[Order], filled_wh: Mapping[int, int], rank: Rank, lots: Lots) -> dict[int, int]:
    """Share what is filled of a book among equals, by order id; for each rank it stays the same in all.

    An owner that would have to trade with itself, for on both sides together it has more than all that is traded,
    leaves that to its equals as far as they want it. There is one such owner at most.
    """
    groups: dict[tuple[int, ...], list[Order]] = {}
    for order in book:
        groups.setdefault((order.side, *rank(order)), []).append(order)
    rationed_wh = {order.order_id: filled_wh.get(order.order_id, 0) for group in groups.values() for order in group}
    scarce: list[tuple[list[Order], int]] = []
    for _, group in sorted(groups.items()):
        volume_wh = sum(rationed_wh[order.order_id] for order in group)
        if 0 < volume_wh < sum(order.volume_wh for order in group):
            scarce.append((group, volume_wh))
            rationed_wh |= share_group(group, volume_wh, lots)
    owner, excess_wh = _find_excess(groups.values(), rationed_wh)
    for group, volume_wh in scarce:
        own_wh = sum(rationed_wh[order.order_id] for order in group if order.owner == owner)
        others_want_wh = sum(order.volume_wh for order in group if order.owner != owner)
        left_wh = max(0, own_wh - excess_wh, volume_wh - others_want_wh)
        if left_wh < own_wh:
            rationed_wh |= share_group(group, volume_wh, lots, {owner: left_wh})
            excess_wh -= own_wh - left_wh
    return rationed_wh


def share_group(
    group: Iterable[Order], volume_wh: int, lots: Lots, limits_wh: Mapping[Address, int] | None = None
) -> dict[int, int]:
    """Shares of a volume among equal orders, by id; an owner's own in the order they were placed.

    `limits_wh` holds owners down to less than they want.
    """
    by_owner: dict[Address, list[Order]] = {}
    for order in sorted(group, key=lambda order: order.order_id):
        by_owner.setdefault(order.owner, []).append(order)
    wanted_wh = {owner: sum(order.volume_wh for order in own) for owner, own in by_owner.items()}
    shares_wh = lots.share(volume_wh, {**wanted_wh, **(limits_wh or {})})
    shared: dict[int, int] = {}
    for owner, own in by_owner.items():
        left = shares_wh[owner]
        for order in own:
            shared[order.order_id] = min(order.volume_wh, left)
            left -= shared[order.order_id]
    return shared


def cut(book: Iterable[Order], volumes_wh: Mapping[int, int]) -> list[Order]:
    """The orders at these volumes, by id; those without any are left out."""
    return [
        order if volume == order.volume_wh else order._replace(volume_wh=volume)
        for order in book
        if (volume := volumes_wh[order.order_id])
    ]


# --- who stands in its own way -------------------------------------------------------------------


def _fill_ownerless(match: Match, book: Sequence[Order]) -> dict[int, int]:
    """Compute what `match` would fill of each order if none were of the same owner."""
    sellers = {order.owner for order in book if order.side == Side.OFFER}
    if any(order.owner in sellers for order in book if order.side == Side.BID):
        book = [_new_tuple(Order, (order[0], order[0].to_bytes(20, "big"), *order[2:])) for order in book]
    return _sum_fills(match(book))


def _sum_fills(trades: Iterable[Trade]) -> dict[int, int]:
    filled_wh: dict[int, int] = {}
    for bid_id, offer_id, _, _, _, volume_wh in trades:
        filled_wh[bid_id] = filled_wh.get(bid_id, 0) + volume_wh
        filled_wh[offer_id] = filled_wh.get(offer_id, 0) + volume_wh
    return filled_wh


def _find_excess(groups: Iterable[Sequence[Order]], filled_wh: Mapping[int, int]) -> tuple[Address, int]:
    """The owner whose fills on both sides exceed what all sides trade, and the excess; 0 where there is none."""
    volume_wh = 0
    by_owner: dict[Address, int] = {}
    for group in groups:
        for order in group:
            filled = filled_wh[order.order_id]
            volume_wh += filled if order.side == Side.BID else 0
            by_owner[order.owner] = by_owner.get(order.owner, 0) + filled
    owner = max(by_owner, key=lambda owner: by_owner[owner], default=b"")
    return owner, max(0, by_owner.get(owner, 0) - volume_wh)


def _find_stuck(book: Iterable[Order], rationed_wh: Mapping[int, int], trades: Iterable[Trade]) -> Address | None:
    """The owner of a rationed book's remainder, by the first lot; where prices alone decide it is one owner's only."""
    filled_wh = _sum_fills(trades)
    left = [order for order in book if filled_wh.get(order.order_id, 0) < rationed_wh[order.order_id]]
    return min(left, key=lambda order: order.placed_at).owner if left else None


def _leave(book: Iterable[Order], trades: Iterable[Trade]) -> list[Order]:
    """The rest of a book that trades leave."""
    filled_wh = _sum_fills(trades)
    return cut(book, {order.order_id: order.volume_wh - filled_wh.get(order.order_id, 0) for order in book})


def _merge(trades: Iterable[Trade]) -> list[Trade]:
    """One trade for each bid and offer that met, in the order of the first; their price is the same each time."""
    volumes_wh: dict[tuple[int, int, Address, Address, int], int] = {}
    for bid_id, offer_id, buyer, seller, price, volume_wh in trades:
        parties = bid_id, offer_id, buyer, seller, price
        volumes_wh[parties] = volumes_wh.get(parties, 0) + volume_wh
    return [Trade(*parties, volume_wh) for parties, volume_wh in volumes_wh.items()]
