"""Subsidies of a programme: what each delivery of green energy is due, and what the budget pays of it (text 003, 7.4).

A programme pays a rate for each green kWh that was fed in and metered, once per (programme, period, producer), for as
long as its budget lasts. All in µ¥ and Wh; whoever calls moves the money and keeps the keys.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from ledger.codec import expect_int
from ledger.hashing import Address
from market.errors import SubsidisedAlready
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH


class SubsidyKey(NamedTuple):
    """The delivery that is paid for once and never again."""

    programme: str
    period: int
    producer: Address


class Subsidy(NamedTuple):
    """The amount that a producer is due for its green energy of a period, and what the budget pays of it (µ¥)."""

    key: SubsidyKey
    due_uyuan: int
    paid_uyuan: int


def get_eligible_wh(output_wh: int, green_wh: int) -> int:
    """The green energy that was fed in (Wh): of a storage that is drawn on, what of it was stored green."""
    return min(output_wh, green_wh)


def compute_due(eligible_wh: int, rate_uyuan_per_kwh: int) -> int:
    """The subsidy for a producer's eligible energy of a period (µ¥), rounded half up, once."""
    return divide_half_up(eligible_wh * rate_uyuan_per_kwh, WH_PER_KWH)


def pay_from_budget(budget_uyuan: int, due_uyuan: Sequence[int]) -> tuple[list[int], int]:
    """The payments of each due by a budget, in their order, and what is left of it (µ¥): the last may be in part.

    Raises `WrongShape` for what is no amount.
    """
    left = expect_int(budget_uyuan, "the budget")
    paid = []
    for due in due_uyuan:
        paid.append(min(left, expect_int(due, "a subsidy")))
        left -= paid[-1]
    return paid, left


def pay_subsidies(
    deliveries: Iterable[tuple[SubsidyKey, int]],
    *,
    budget_uyuan: int,
    rate_uyuan_per_kwh: int,
    paid_before: Container[SubsidyKey] = (),
) -> tuple[list[Subsidy], int]:
    """The subsidies for deliveries (key, eligible Wh), in their order, and what is left of the budget (µ¥).

    Raises `SubsidisedAlready` for a key that comes twice or is among those `paid_before`, and `WrongShape`.
    """
    dues: dict[SubsidyKey, int] = {}
    for key, eligible_wh in deliveries:
        if key in dues or key in paid_before:
            raise SubsidisedAlready(**key._asdict())
        dues[key] = compute_due(expect_int(eligible_wh, "eligible energy"), rate_uyuan_per_kwh)
    paid, left = pay_from_budget(budget_uyuan, [*dues.values()])
    return [Subsidy(key, due, part) for (key, due), part in zip(dues.items(), paid, strict=True)], left
