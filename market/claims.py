"""Claims: power that is registered for a delivery period before it is there (text 003, §7.2), a class of assets.

A producer issues to a buyer what it will make in a period: at most what its capacity and its line's quota allow, less
what it offers on the book and what it has promised before, so that no kWh is promised twice. Claims move until the
gate of the period, and are frozen then. They are paid for when they are bought, and served first: before any trade
is settled the meter's output goes to the holders, pro rata where it does not suffice, with a penalty for what is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from ledger.accounts import require_member
from ledger.codec import expect_array, expect_int
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.assets.contract import AssetAct, Policy, issue, spend_lots
from market.assets.lots import Holders
from market.assets.series import Series, add_series, end_of_day, get_series
from market.claim_records import (
    CLAIM,
    Served,
    get_claim,
    get_promised_wh,
    last_claim_key,
    promise_on,
    put_claim,
    subtract_claims,
)
from market.errors import (
    ClaimFrozen,
    ClaimTooEarly,
    NotRedeemable,
    NotRenewable,
    OverCapacity,
    UnknownSeries,
)
from market.metering import Reading
from market.orders import Side
from market.pool_records import check_unpledged
from market.roles import Act, require_right
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH, allocate
from market.trading.book import get_standing_wh
from market.trading.gates import get_gate
from market.trading.period_index import add_live_period
from market.trading.quotas import require_quota
from market.trading.sessions import get_gate_number
from market.trading.times import compute_times, count_periods

CLAIMED_AHEAD = 48  # periods

_NONE: Mapping[Address, int] = MappingProxyType({})


# --- what the meters make of them ----------------------------------------------------------------


class Claim(NamedTuple):
    """One producer's claim on a period, and who holds how many Wh of it, in the order in which they came to."""

    series: int
    producer: Address
    holders: Holders


def compute_headroom(*, capacity_wh: int, quota_wh: int, offered_wh: int, promised_wh: int) -> int:
    """The Wh that a producer may still promise: less what it offers on the book and what it has promised."""
    return min(capacity_wh, quota_wh) - offered_wh - promised_wh


def serve_claims(
    readings: Iterable[Reading],
    claims: Iterable[Claim],
    penalty_uyuan_per_kwh: int,
    wheeling: Mapping[Address, int] = _NONE,
) -> tuple[list[Reading], list[Served]]:
    """Serve the claims on a period: the readings without what claims account for, and a row for each holder.

    A producer whose meter was not heard has made nothing. There is one claim of each producer. `wheeling` is in µ¥ per
    kWh by holder, nothing for those it lacks.
    """
    readings = list(readings)
    output_wh = {reading.owner: reading.produced_wh for reading in readings}
    rows = [
        row
        for claim in claims
        for row in serve_claim(output_wh.get(claim.producer, 0), claim, penalty_uyuan_per_kwh, wheeling)
    ]
    received_wh: dict[Address, int] = {}
    delivered_wh: dict[Address, int] = {}
    for row in rows:
        received_wh[row.holder] = received_wh.get(row.holder, 0) + row.redeemed_wh
        delivered_wh[row.producer] = delivered_wh.get(row.producer, 0) + row.redeemed_wh
    left = [
        Reading(owner, *subtract_claims(energy, received_wh.get(owner, 0), delivered_wh.get(owner, 0)))
        for owner, *energy in readings
    ]
    return left, rows


def serve_claim(
    output_wh: int, claim: Claim, penalty_uyuan_per_kwh: int, wheeling: Mapping[Address, int] = _NONE
) -> list[Served]:
    """Serve one claim by its producer's output: short, it is spread by floors of the cumulative share.

    What the producer holds itself is cancelled, and its output is left for trades: so nobody delivers to itself.
    """
    others_wh = [wh for holder, wh in claim.holders if holder != claim.producer]
    parts = iter(allocate(min(output_wh, sum(others_wh)), others_wh) if others_wh else ())
    rows = []
    for holder, held_wh in claim.holders:
        if holder == claim.producer:
            rows.append(Served(claim.series, claim.producer, holder, 0, 0, held_wh, 0))
            continue
        redeemed_wh = next(parts)
        short_wh = held_wh - redeemed_wh
        penalty_uyuan = divide_half_up(short_wh * penalty_uyuan_per_kwh, WH_PER_KWH)
        wheeling_uyuan = divide_half_up(redeemed_wh * wheeling.get(holder, 0), WH_PER_KWH)
        volumes_wh = redeemed_wh, short_wh, 0
        rows.append(Served(claim.series, claim.producer, holder, *volumes_wh, penalty_uyuan, wheeling_uyuan))
    return rows


def cancel_claim(claim: Claim) -> list[Served]:
    """The rows of a claim on a period in which not a meter was read: nobody is to blame."""
    return [Served(claim.series, claim.producer, holder, 0, 0, wh, 0) for holder, wh in claim.holders]


# --- the policy ----------------------------------------------------------------------------------


def _issue(act: AssetAct) -> None:
    """Terms `[period]`; the amount is in Wh.

    Raises `WrongShape`, `RoleNotAllowed`, `PlantPledged`, `ClaimTooEarly`, `ClaimFrozen`, `OverCapacity`, beside
    a scheduling chain `NoQuota` or `UnknownLine`, and what `issue` does.
    """
    (number,) = expect_array(act.terms, 1, "terms of a claim")
    view, block, producer, period = act.view, act.block, act.sender, expect_int(number, "period")
    member = require_member(view, producer)
    require_right(member, Act.CLAIM)
    check_unpledged(view, producer)
    if period > block.period + CLAIMED_AHEAD:
        raise ClaimTooEarly(period=period, last=block.period + CLAIMED_AHEAD)
    _check_open(view, block, period)
    _check_receiver(act, period)
    _check_capacity(act, period, member.capacity_wh, member.position)
    claim = get_claim(view, period, producer)
    if not claim:
        settled = period + count_periods(block.params.market.settle_ppm) + 1
        series = Series(CLAIM, producer, (period, member.position, member.renewable_ppm), end_of_day(settled))
        claim = add_series(view, last_claim_key(period), series)
        put_claim(view, period, producer, claim)
        add_live_period(view, period)
    if "scheduling" in block.siblings:
        promise_on(view, period, member.position, act.amount)
    issue(act, claim, has_holders=True)


def _check_capacity(act: AssetAct, period: int, capacity_wh: int, line: str) -> None:
    """Raise `OverCapacity` where more would be promised than can be made, or carried by the line for all on it."""
    view, block, producer = act.view, act.block, act.sender
    gate = get_gate_number(block.params.market, period)
    offered_wh = get_standing_wh(view, gate, producer, Side.OFFER)
    promised_wh = get_promised_wh(view, period, producer)
    quota_wh = capacity_wh
    if "scheduling" in block.siblings:
        quota_wh = require_quota(view, block, gate, line).supply_wh + promised_wh
    headroom_wh = compute_headroom(
        capacity_wh=capacity_wh, quota_wh=quota_wh, offered_wh=offered_wh, promised_wh=promised_wh
    )
    if act.amount > headroom_wh:
        raise OverCapacity(
            want=act.amount,
            headroom=max(0, headroom_wh),
            limit=min(capacity_wh, quota_wh),
            offered=offered_wh,
            promised=promised_wh,
        )


def _check_move(act: AssetAct) -> None:
    """Raises `UnknownSeries` where no claim is named, `ClaimFrozen` once the gate is closed, and for the receiver."""
    period = _get_period(act)
    _check_open(act.view, act.block, period)
    _check_receiver(act, period)


def _check_receiver(act: AssetAct, period: int) -> None:
    """Raise `RoleNotAllowed`, `NoQuota` or `UnknownLine` unless energy can be delivered to the receiver."""
    member = require_member(act.view, act.receiver)
    require_right(member, Act.HOLD_CLAIM)
    if "scheduling" in act.block.siblings:
        require_quota(act.view, act.block, get_gate_number(act.block.params.market, period), member.position)


def _cancel(act: AssetAct) -> None:
    """Take back what the producer holds itself, before the gate: it is free again for other promises.

    Raises `NotRedeemable`, `ClaimFrozen` or `TooFewLots`.
    """
    period = _get_period(act)
    series = get_series(act.view, act.series)
    if series is None or series.issuer != act.sender:
        raise NotRedeemable(asset_class=CLAIM, detail="the producer's meter does it, once the period is settled")
    _check_open(act.view, act.block, period)
    spend_lots(act, CLAIM, has_holders=True)
    if "scheduling" in act.block.siblings:
        promise_on(act.view, period, require_member(act.view, act.sender).position, -act.amount)


def _renew(_act: AssetAct) -> None:
    raise NotRenewable(asset_class=CLAIM)


def _get_period(act: AssetAct) -> int:
    series = get_series(act.view, act.series)
    if series is None:
        raise UnknownSeries(asset_class=CLAIM, series=act.series)
    return cast(int, series.attributes[0])


def _check_open(view: Overlay, block: BlockContext, period: int) -> None:
    gate_ms = compute_times(period, block.params, block.genesis_time_ms).gate_ms
    is_closed = get_gate(view, get_gate_number(block.params.market, period)) is not None
    if block.timestamp_ms >= gate_ms or is_closed:
        raise ClaimFrozen(period=period, closed=gate_ms, now=block.timestamp_ms)


def _end(_view: Overlay, _block: BlockContext, series: Series, _amount: int) -> None:
    raise AssertionError(f"a claim ends with its period, not on a day: {series}")


CLAIM_POLICY = Policy(issue=_issue, check_move=_check_move, redeem=_cancel, renew=_renew, end=_end, has_holders=True)
