"""Remarks on a price for a careful member: whether the grid company's is better."""

from __future__ import annotations

from gridmerit.text import format_yuan
from ledger.genesis import Genesis
from market.orders import Side


def find_wheeling(genesis: Genesis, side: Side, position: str) -> int:
    """The least that comes on top of an order's price, in µ¥ per kWh: for a bid that of its own line's area."""
    for chain in genesis.siblings:
        if chain.kind == "scheduling":
            prices = {area.name: area.wheeling_uyuan_per_kwh for area in chain.scheduling.areas}
            own = [prices[line.area] for line in chain.scheduling.lines if line.name == position]
            return own[0] if side == Side.BID and own else min(prices.values())
    return genesis.params.market.wheeling_uyuan_per_kwh


def remark_on_price(genesis: Genesis, side: Side, position: str, price_uyuan_per_kwh: int) -> str | None:
    """One line where the price lies outside the span from feed-in to retail, wheeling included; else None.

    `genesis` is the trading chain's, `position` the line of the member that orders.
    """
    market, wheeling = genesis.params.market, find_wheeling(genesis, side, position)
    price = f"{format_yuan(price_uyuan_per_kwh)} yuan per kWh"
    if price_uyuan_per_kwh + wheeling > market.retail_uyuan_per_kwh:
        retail = format_yuan(market.retail_uyuan_per_kwh)
        better = "the grid company sells for less" if side == Side.BID else "nobody needs to buy at that"
        return f"{price} and {format_yuan(wheeling)} for wheeling are above the retail price of {retail}: {better}"
    if price_uyuan_per_kwh < market.feed_in_uyuan_per_kwh:
        feed_in = format_yuan(market.feed_in_uyuan_per_kwh)
        better = "nobody needs to sell at that" if side == Side.BID else "the grid company pays more"
        return f"{price} is below the feed-in price of {feed_in}: {better}"
    return None
