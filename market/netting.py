"""Net positions: what a member has bought less what it has sold, and who delivers to whom once all is netted.

Energy that is bought and sold again was not to be delivered. So what is assessed of a period that is traded more than
once is not trade by trade: the net buyers and the net sellers are paired, each in the order of their addresses, and
both chains that know the trades come to the same pairs (decision 54).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from ledger.hashing import Address
from market.settlement import spread

_Party = TypeVar("_Party", bytes, str)


class NetDelivery(NamedTuple):
    """The energy that a net seller owes a net buyer, and the parts of both meters that fall on it, in Wh."""

    trade_index: int
    buyer: Address
    seller: Address
    agreed_wh: int
    consumption_wh: int
    output_wh: int


def net(trades: Iterable[tuple[_Party, _Party, int]]) -> dict[_Party, int]:
    """The Wh that each member has bought less those it has sold, of trades (buyer, seller, Wh); they sum to zero."""
    positions_wh: dict[_Party, int] = {}
    for buyer, seller, volume_wh in trades:
        positions_wh[buyer] = positions_wh.get(buyer, 0) + volume_wh
        positions_wh[seller] = positions_wh.get(seller, 0) - volume_wh
    return positions_wh


def pair(positions_wh: Mapping[_Party, int]) -> list[tuple[_Party, _Party, int]]:
    """Trades (buyer, seller, Wh) that come to these positions: at most one less than there are members in them."""
    sellers = iter([(member, -wh) for member, wh in sorted(positions_wh.items()) if wh < 0])
    pairs = []
    left_wh = 0
    for buyer, wanted_wh in sorted(positions_wh.items()):
        while wanted_wh > 0:
            if not left_wh:
                seller, left_wh = next(sellers)
            volume_wh = min(wanted_wh, left_wh)
            pairs.append((buyer, seller, volume_wh))
            wanted_wh, left_wh = wanted_wh - volume_wh, left_wh - volume_wh
    return pairs


def compute_deliveries(positions_wh: Mapping[Address, int], metered_wh: Mapping[Address, int]) -> list[NetDelivery]:
    """The pairs of net positions, as metered; `metered_wh` has consumption less output of the meters that were heard.

    Of a net buyer its net consumption counts, of a net seller its net output, and nothing of a meter that is missing.
    """
    pairs = pair(positions_wh)
    buyers, sellers = [buyer for buyer, _, _ in pairs], [seller for _, seller, _ in pairs]
    agreed_wh = [volume_wh for _, _, volume_wh in pairs]
    consumption_wh = spread({member: max(0, wh) for member, wh in metered_wh.items()}, buyers, agreed_wh)
    output_wh = spread({member: max(0, -wh) for member, wh in metered_wh.items()}, sellers, agreed_wh)
    return [
        NetDelivery(index, *row)
        for index, row in enumerate(zip(buyers, sellers, agreed_wh, consumption_wh, output_wh, strict=True))
    ]
