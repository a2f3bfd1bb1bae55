"""The cost and revenue of a delivered hour: Table 2 of text 000, in exact integers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from market.credit.score import PPM
from market.rounding import divide_pro_rata

WH_PER_KWH = 1000

_Party = TypeVar("_Party", bound=Hashable)


class Settlement(NamedTuple):
    """Three legs in µ¥ that sum to zero: what the buyer pays, the seller and the grid company receive."""

    buyer_pays_uyuan: int
    seller_receives_uyuan: int
    grid_receives_uyuan: int  # negative when the grid company pays for more output than it sells
    traded_wh: int


def settle_trade(
    *,
    price_uyuan_per_kwh: int,
    wheeling_uyuan_per_kwh: int,
    consumption_wh: int,
    output_wh: int,
    retail_uyuan_per_kwh: int,
    feed_in_uyuan_per_kwh: int,
    limit_wh: int | None = None,
    is_imputed: bool = False,
) -> Settlement:
    """Settle one trade by what the meters say: Table 2 of text 000.

    `t = min(consumption, output)` changes hands, and no more than `limit_wh`, where there is a limit: the table has
    none, and its agreed price holds for whatever is metered. The buyer pays
    `t·(price + wheeling) + (consumption − t)·retail`, the seller receives `t·price + (output − t)·feed_in`,
    each computed once and rounded half up to µ¥; the grid company takes the rest, which may be negative.
    Of a consumption that `is_imputed` nothing changes hands: the buyer has it from the grid company, at retail, or at
    what it would have paid by its contract where that is more, so that it gains nothing by silence.
    The meter readings (Wh) are this trade's share of them, see `allocate`.
    """
    assert min(price_uyuan_per_kwh, wheeling_uyuan_per_kwh, retail_uyuan_per_kwh, feed_in_uyuan_per_kwh) >= 0
    assert min(consumption_wh, output_wh) >= 0
    agreed_uyuan_per_kwh = price_uyuan_per_kwh + wheeling_uyuan_per_kwh
    traded_wh = min(consumption_wh, output_wh)
    if limit_wh is not None:
        traded_wh = min(traded_wh, limit_wh)
    if is_imputed:
        traded_wh, retail_uyuan_per_kwh = 0, max(retail_uyuan_per_kwh, agreed_uyuan_per_kwh)
    owed = traded_wh * agreed_uyuan_per_kwh + (consumption_wh - traded_wh) * retail_uyuan_per_kwh
    earned = traded_wh * price_uyuan_per_kwh + (output_wh - traded_wh) * feed_in_uyuan_per_kwh
    return _close(owed, earned, traded_wh)


def settle_firm(*, price_uyuan_per_kwh: int, wheeling_uyuan_per_kwh: int, volume_wh: int) -> Settlement:
    """Settle one trade as agreed, whatever the meters say (text 001): the grid company receives the wheeling charge."""
    assert min(price_uyuan_per_kwh, wheeling_uyuan_per_kwh, volume_wh) >= 0
    agreed_uyuan_per_kwh = price_uyuan_per_kwh + wheeling_uyuan_per_kwh
    return _close(volume_wh * agreed_uyuan_per_kwh, volume_wh * price_uyuan_per_kwh, volume_wh)


def settle_with_grid(
    *, consumption_wh: int, output_wh: int, retail_uyuan_per_kwh: int, feed_in_uyuan_per_kwh: int
) -> Settlement:
    """Settle a member without trades: it buys its consumption at retail and sells its output at feed-in.

    Buyer and seller are the same member; nothing is netted between its two meters.
    """
    assert min(consumption_wh, output_wh, retail_uyuan_per_kwh, feed_in_uyuan_per_kwh) >= 0
    return _close(consumption_wh * retail_uyuan_per_kwh, output_wh * feed_in_uyuan_per_kwh, traded_wh=0)


def allow_over_delivery(agreed_wh: int, over_delivery_ppm: int) -> int:
    """An agreed volume and the allowance for more of it (Wh), in whole Wh: the most that its price holds for."""
    return agreed_wh * (PPM + over_delivery_ppm) // PPM


def get_price_limit(agreed_wh: int, over_delivery_ppm: int | Literal["unlimited"]) -> int | None:
    """The most of a trade (Wh) that its price holds for; None where it holds for all that is metered."""
    return None if over_delivery_ppm == "unlimited" else allow_over_delivery(agreed_wh, over_delivery_ppm)


def allocate(actual_wh: int, agreed_wh: Sequence[int]) -> list[int]:
    """Spread a meter reading over a member's trades of a period, in proportion to the agreed volumes (Wh).

    The parts are those of `divide_pro_rata`: they sum to the reading exactly and none is more than 1 Wh off its share.
    """
    assert actual_wh >= 0, "a meter reading is not negative"
    assert agreed_wh, "without trades, settle with the grid"
    assert min(agreed_wh) > 0, "an agreed volume is positive"
    return divide_pro_rata(actual_wh, agreed_wh)


def spread(metered_wh: Mapping[_Party, int], parties: Sequence[_Party], agreed_wh: Sequence[int]) -> list[int]:
    """The part of its party's reading (Wh) that falls on each trade, as `allocate` has it; no reading counts as 0.

    `parties` and `agreed_wh` have one entry per trade: the party whose reading counts there, and the agreed volume.
    """
    places: dict[_Party, list[int]] = {}
    for place, party in enumerate(parties):
        places.setdefault(party, []).append(place)
    parts_wh = [0] * len(parties)
    for party, own in places.items():
        shares = allocate(metered_wh.get(party, 0), [agreed_wh[place] for place in own])
        for place, share_wh in zip(own, shares, strict=True):
            parts_wh[place] = share_wh
    return parts_wh


def spread_over(
    metered_wh: Mapping[_Party, int], parties: Sequence[_Party], agreed_wh: Sequence[int], places: Sequence[int]
) -> list[int]:
    """The parts of `spread` in some places alone; only the readings of the parties there are needed."""
    wanted, found = set(places), {parties[place] for place in places}
    reached_wh = dict.fromkeys(found, 0)
    ends: dict[int, tuple[int, int]] = {}
    for place, party in enumerate(parties):
        if party in found:
            start_wh = reached_wh[party]
            reached_wh[party] = end_wh = start_wh + agreed_wh[place]
            if place in wanted:
                ends[place] = start_wh, end_wh
    parts_wh = []
    for place in places:
        party = parties[place]
        actual_wh, total_wh, (start_wh, end_wh) = metered_wh.get(party, 0), reached_wh[party], ends[place]
        parts_wh.append(actual_wh * end_wh // total_wh - actual_wh * start_wh // total_wh)
    return parts_wh


def _close(owed: int, earned: int, traded_wh: int) -> Settlement:
    """Round the two numerators (Wh · µ¥/kWh) once each; the grid's leg is the remainder."""
    buyer_pays = (2 * owed + WH_PER_KWH) // (2 * WH_PER_KWH)  # `divide_half_up`, written out: of every row two
    seller_receives = (2 * earned + WH_PER_KWH) // (2 * WH_PER_KWH)
    return Settlement(buyer_pays, seller_receives, buyer_pays - seller_receives, traded_wh)
