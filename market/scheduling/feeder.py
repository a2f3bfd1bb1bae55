"""A radial feeder: which lines a trade loads, whether a list of trades can be carried, and what a plan leaves to trade.

Lines form trees that hang off the substation, so between any two members there is exactly one path. Pure functions over
`SchedulingParams`; energy is what flows in one delivery period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from ledger.params import SchedulingParams
from market.credit.score import PPM
from market.trading.trades import Curtailment


class Direction(IntEnum):
    """The direction of energy on a line."""

    UP = 0  # toward the substation
    DOWN = 1


class Hop(NamedTuple):
    """One line of a trade's path, and the way it is used."""

    line: str
    direction: Direction


class ListedTrade(NamedTuple):
    """The grid's part of a trade. The lines are the members' positions, and may be no lines at all."""

    trade_index: int
    seller_line: str
    buyer_line: str
    volume_wh: int


class LinePlan(NamedTuple):
    """A dispatcher's plan for a line in one delivery period: the load and output expected at its far end."""

    line: str
    load_wh: int
    output_wh: int


class LineQuota(NamedTuple):
    """The volumes that may be bought and sold at a line in one delivery period, and the wheeling charge there."""

    line: str
    demand_wh: int
    supply_wh: int
    wheeling_uyuan_per_kwh: int


class Feeder:
    """The lines of a scheduling chain, each with the bus at its far end where members are.

    `capacity_wh` is what may be agreed on over a line: so much that with the allowance for over-delivery on top, all of
    it at once, the line carries it (decision 32).
    """

    def __init__(self, params: SchedulingParams, allowance_ppm: int = 0) -> None:
        wheeling = {area.name: area.wheeling_uyuan_per_kwh for area in params.areas}
        self.capacity_wh = {line.name: line.capacity_wh * PPM // (PPM + allowance_ppm) for line in params.lines}
        self.wheeling_uyuan_per_kwh = {line.name: wheeling[line.area] for line in params.lines}
        self._rising: dict[str, tuple[Hop, ...]] = {}  # from each line's far end to the substation
        self._falling: dict[str, tuple[Hop, ...]] = {}  # and back
        for line in params.lines:
            self._rising[line.name] = (Hop(line.name, Direction.UP), *self._rising.get(line.upstream, ()))
            self._falling[line.name] = (*self._falling.get(line.upstream, ()), Hop(line.name, Direction.DOWN))

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line, in the parameters' order."""
        return tuple(self._falling)

    def __contains__(self, line: object) -> bool:
        return line in self._falling

    def path(self, seller_line: str, buyer_line: str) -> tuple[Hop, ...]:
        """The hops of a trade: up the seller's branch to where the two meet, and down the buyer's.

        None where both are at the same bus. Both lines must be of this feeder.
        """
        ours, theirs = self._falling[seller_line], self._falling[buyer_line]
        shared = 0
        while shared < min(len(ours), len(theirs)) and ours[shared] is theirs[shared]:
            shared += 1
        return self._rising[seller_line][: len(ours) - shared] + theirs[shared:]


def compute_flows(feeder: Feeder, trades: Sequence[ListedTrade]) -> dict[Hop, int]:
    """Flows of the trades over each line in each direction (Wh), without netting; all positions must be lines."""
    flows: dict[Hop, int] = {}
    for trade in trades:
        for hop in feeder.path(trade.seller_line, trade.buyer_line):
            flows[hop] = flows.get(hop, 0) + trade.volume_wh
    return flows


def check_executability(
    feeder: Feeder, trades: Sequence[ListedTrade], carried: Mapping[Hop, int] = MappingProxyType({})
) -> list[Curtailment]:
    """The trades that cannot be carried whole, in ascending place on the list: step 3 of text 000, §3.

    A line takes its `capacity_wh` in each direction, of which `carried` is taken already, and flows against each other
    are not netted: a counter-flow that is then not delivered must not overload a line, so whatever part of the accepted
    list is delivered can be carried.

    From the latest trade backwards, each that passes an overloaded line is cut by the largest excess on its path, or
    whole. One pass is enough: whatever still overloads a line after a trade's turn, that trade is no longer part of it.
    So a trade is cut for those before it and never for a later one; but what an earlier one then frees on other lines
    is not handed out again. The reason is the line with the largest excess, of equal ones the first by name. A trade of
    a member whose position is no line is cut whole, with that position as the reason, and loads nothing.
    """
    cuts = [_find_stranded(feeder, trade) for trade in trades]
    connected = [(place, trade) for place, trade in enumerate(trades) if cuts[place] is None]
    flows = compute_flows(feeder, [trade for _, trade in connected])
    excess_wh = {hop: flow_wh + carried.get(hop, 0) - feeder.capacity_wh[hop.line] for hop, flow_wh in flows.items()}
    overloaded = sum(excess > 0 for excess in excess_wh.values())
    for place, trade in reversed(connected):
        if not overloaded:
            break
        path = feeder.path(trade.seller_line, trade.buyer_line)
        worst = min(path, key=lambda hop: (-excess_wh[hop], hop.line), default=None)
        if worst is None or excess_wh[worst] <= 0:
            continue
        cut_wh = min(trade.volume_wh, excess_wh[worst])
        cuts[place] = Curtailment(trade.trade_index, trade.volume_wh - cut_wh, worst.line)
        for hop in path:
            overloaded -= 0 < excess_wh[hop] <= cut_wh
            excess_wh[hop] -= cut_wh
    return [cut for cut in cuts if cut is not None]


def derive_quotas(feeder: Feeder, planned: Mapping[str, LinePlan]) -> list[LineQuota]:
    """The quotas that each line has left under a plan, by line in the feeder's order: step 1 of text 000, §3.

    Demand is the planned load and supply the planned output, each at most the line's `capacity_wh`; a line without a
    plan has neither. Its wheeling price is its area's.
    """
    quotas = []
    for line in feeder.lines:
        plan, capacity_wh = planned.get(line, LinePlan(line, 0, 0)), feeder.capacity_wh[line]
        demand_wh, supply_wh = min(plan.load_wh, capacity_wh), min(plan.output_wh, capacity_wh)
        quotas.append(LineQuota(line, demand_wh, supply_wh, feeder.wheeling_uyuan_per_kwh[line]))
    return quotas


def derive_left(feeder: Feeder, carried: Mapping[Hop, int]) -> list[LineQuota]:
    """The quotas of what is left of each line's capacity, either way, by line in the feeder's order.

    What the way to it has left is for the verdict to say: flows against each other are not netted here either.
    """
    quotas = []
    for line in feeder.lines:
        left_wh = {way: feeder.capacity_wh[line] - carried.get(Hop(line, way), 0) for way in Direction}
        price = feeder.wheeling_uyuan_per_kwh[line]
        quotas.append(LineQuota(line, left_wh[Direction.DOWN], left_wh[Direction.UP], price))
    return quotas


def _find_stranded(feeder: Feeder, trade: ListedTrade) -> Curtailment | None:
    """The whole of a trade cut, where one of its members hangs on no line; the seller's position first."""
    for line in (trade.seller_line, trade.buyer_line):
        if line not in feeder:
            return Curtailment(trade.trade_index, 0, line)
    return None
