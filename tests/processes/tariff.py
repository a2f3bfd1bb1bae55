"""The gains that a tariff allows: the most that each member may gain in a period by what its meter truly counted.

An oracle of its own, in exact fractions: from the energy that flowed and from what was agreed, not from readings nor
from what a chain made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gridmerit.network.founders import GRID
from ledger.params import MarketParams
from ledger.units import format_yuan

_PPM, _WH_PER_KWH = 1_000_000, 1_000


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy that a member took and gave in a period, in Wh."""

    consumed_wh: int = 0
    produced_wh: int = 0


NOTHING = Energy()


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """A trade that two members agreed on."""

    seller: str
    buyer: str
    price_uyuan_per_kwh: int
    volume_wh: int


def compute_most(name: str, energy: Energy, trades: Sequence[Agreed], tariff: MarketParams) -> Fraction:
    """The most that a member may have gained, in µ¥: its energy at the grid's prices, or at agreed ones where better.

    An agreed price holds for no more than what was agreed and the tariff's allowance for more of it.
    """
    most = Fraction(_settle_with_grid(energy, tariff))
    for trade in trades:
        limit_wh = _get_limit(trade, tariff)
        if trade.seller == name:
            better = trade.price_uyuan_per_kwh - tariff.feed_in_uyuan_per_kwh
            most += min(Fraction(energy.produced_wh), limit_wh) * max(0, better)
        if trade.buyer == name:
            better = tariff.retail_uyuan_per_kwh - tariff.wheeling_uyuan_per_kwh - trade.price_uyuan_per_kwh
            most += min(Fraction(energy.consumed_wh), limit_wh) * max(0, better)
    return most / _WH_PER_KWH


def compute_least(flows: Mapping[str, Energy], trades: Sequence[Agreed], tariff: MarketParams) -> Fraction:
    """The least that the grid company must have gained, in µ¥, and so the most of all others together.

    At a price on which both sides of a trade agree, what they gain from each other cancels out: from the grid company
    they have what wheeling leaves between retail and feed-in, on what the trade's price may hold for.
    """
    margin = tariff.retail_uyuan_per_kwh - tariff.feed_in_uyuan_per_kwh - tariff.wheeling_uyuan_per_kwh
    least = Fraction(-sum(_settle_with_grid(energy, tariff) for energy in flows.values()))
    for trade in trades:
        consumed_wh = flows.get(trade.buyer, NOTHING).consumed_wh
        produced_wh = flows.get(trade.seller, NOTHING).produced_wh
        least -= min(Fraction(min(consumed_wh, produced_wh)), _get_limit(trade, tariff)) * max(0, margin)
    return least / _WH_PER_KWH


def judge_gains(
    gains: Mapping[str, int], flows: Mapping[str, Energy], trades: Sequence[Agreed], tariff: MarketParams
) -> list[str]:
    """Find the members that have more than the tariff allows, by all accounts' gains of a period in µ¥.

    Money is neither made nor lost.

    `flows` is what truly flowed, of members who are not in it nothing. Each leg of a settlement may be rounded up.
    """
    rounding = Fraction(len(trades) + 2 * len(flows))
    faults = []
    for name, gain in gains.items():
        if name == GRID:
            continue
        most = compute_most(name, flows.get(name, NOTHING), trades, tariff)
        if gain > most + rounding:
            faults.append(f"{name} has gained {format_yuan(gain)} yuan, {format_yuan(int(most))} are its tariff's most")
    least = compute_least(flows, trades, tariff)
    if gains[GRID] < least - rounding:
        faults.append(
            f"the grid company has {format_yuan(gains[GRID])} yuan, and {format_yuan(int(least))} are due to it"
        )
    if total := sum(gains.values()):
        faults.append(f"{format_yuan(total)} yuan have come from nowhere")
    return faults


def _settle_with_grid(energy: Energy, tariff: MarketParams) -> int:
    """In µ¥ · Wh/kWh."""
    return energy.produced_wh * tariff.feed_in_uyuan_per_kwh - energy.consumed_wh * tariff.retail_uyuan_per_kwh


def _get_limit(trade: Agreed, tariff: MarketParams) -> Fraction:
    assert tariff.over_delivery_ppm != "unlimited", "a tariff without an allowance allows anything"
    return Fraction(trade.volume_wh * (_PPM + tariff.over_delivery_ppm), _PPM)
