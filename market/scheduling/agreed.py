"""The contracts of all gates of a period together, and what meters make of them.

Where a period is traded twice it is what is left once they are netted that is delivered, and metered net (decision 54).
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.metering import Reading
from market.netting import net, pair
from market.scheduling import records
from market.scheduling.records import ActualTransaction, BilateralContract
from market.settlement import spread_over
from market.trading.sessions import is_firm, list_gates


def count_contracts(view: Overlay, market: MarketParams, period: int) -> int:
    """The contracts of all of a period's gates."""
    return sum(records.count_contracts(view, gate) for gate in list_gates(market, period))


def has_actuals(view: Overlay, market: MarketParams, period: int, *, readings: int) -> bool:
    """Return True if a period gets an actual-transaction block: a meter was heard, or nothing was there to deliver.

    The latter is known of one with a list that was checked, and found empty.
    """
    is_listed = any(records.get_power_block(view, gate) is not None for gate in list_gates(market, period))
    return readings > 0 or (is_listed and not count_contracts(view, market, period))


def count_agreed(view: Overlay, market: MarketParams, period: int) -> int:
    """The number of contracts that `list_agreed` has."""
    return len(list_agreed(view, market, period)) if is_firm(market) else count_contracts(view, market, period)


def list_agreed(view: Overlay, market: MarketParams, period: int) -> Sequence[BilateralContract]:
    """The contracts that a period's meters are held against: as they are, or what is left of all sessions' netted."""
    contracts = [item for gate in list_gates(market, period) for item in records.get_contracts(view, gate)]
    if not is_firm(market):
        return contracts
    positions_wh = net((contract.buyer, contract.seller, contract.accepted_wh) for contract in contracts)
    return [
        BilateralContract(period, index, buyer, seller, 0, volume_wh)
        for index, (buyer, seller, volume_wh) in enumerate(pair(positions_wh))
    ]


def compute_actuals(
    market: MarketParams,
    agreed: Sequence[BilateralContract],
    readings: Sequence[Reading],
    places: Sequence[int] | None = None,
) -> list[ActualTransaction]:
    """The contracts in these places, all without them, with the parts of both parties' readings that fall on them.

    A member's consumption is spread over all it bought and its output over all it sold, as `spread` does; a meter that
    was not read counts as 0.
    """
    places = range(len(agreed)) if places is None else places
    consumed_wh, produced_wh = _sort_out(market, readings)
    agreed_wh = [contract.accepted_wh for contract in agreed]
    consumption_wh = spread_over(consumed_wh, [contract.buyer for contract in agreed], agreed_wh, places)
    output_wh = spread_over(produced_wh, [contract.seller for contract in agreed], agreed_wh, places)
    return [
        ActualTransaction(*agreed[place][:4], agreed_wh[place], consumed, produced)
        for place, consumed, produced in zip(places, consumption_wh, output_wh, strict=True)
    ]


def _sort_out(market: MarketParams, readings: Sequence[Reading]) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """The energy that each meter has consumed, and that it has produced, Wh; netted where contracts are."""
    if not is_firm(market):
        return {owner: wh for owner, wh, _ in readings}, {owner: wh for owner, _, wh in readings}
    nets_wh = {owner: consumed_wh - produced_wh for owner, consumed_wh, produced_wh in readings}
    return {owner: max(0, wh) for owner, wh in nets_wh.items()}, {owner: max(0, -wh) for owner, wh in nets_wh.items()}
