"""Checks that must hold of a week: pure functions of its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gridmerit.economy.accounts import compute_consumption, compute_output
from gridmerit.economy.cast import BUDGET_UYUAN, POOL
from gridmerit.economy.week import Week
from gridmerit.text import format_count, format_kwh, format_yuan
from market.profile import Profile


class Check(NamedTuple):
    """One thing that must hold."""

    name: str
    passed: bool
    detail: str


def run_checks(week: Week, profile: Profile, hours: int) -> list[Check]:
    """Everything that must hold of a week of so many hours of this profile."""
    return [
        _check_identities(week),
        _check_settled(week, hours),
        _check_refused(week),
        _check_meters(week, profile),
        _check_claims(week),
        _check_bills(week),
        _check_subsidies(week),
        _check_pool(week),
        _check_money(week),
    ]


def _check_identities(week: Week) -> Check:
    if week.breaches:
        return Check("identities", False, f"{len(week.breaches)} breaches, first: {week.breaches[0]}")
    return Check(
        "identities", True, f"money, series, backing and claims held after each of {week.blocks} blocks of JY1"
    )


def _check_settled(week: Week, hours: int) -> Check:
    return Check("every hour settled", len(week.hours) == hours, f"{len(week.hours)} of {format_count(hours, 'hour')}")


def _check_refused(week: Week) -> Check:
    listed = ", ".join(f"{code} {count}" for code, count in week.refused.items())
    return Check("every transaction took effect", not week.refused, listed or "none was refused")


def _check_meters(week: Week, profile: Profile) -> Check:
    """Claims, trades and the grid add up to what each meter said, of every player in every hour."""
    name, total_wh = "energy adds up", 0
    for hour in week.hours:
        made, used = compute_output(hour, week.names), compute_consumption(hour, week.names)
        for player, role in week.players:
            have_wh = made[player] if role == "producer" else used[player]
            actual_wh = profile.readings[player, hour.hour_ms].actual_wh
            if have_wh != actual_wh:
                return Check(name, False, f"period {hour.period}: {player} {have_wh} Wh settled, {actual_wh} metered")
            total_wh += have_wh
    return Check(name, True, f"{format_kwh(total_wh)} kWh made and used, each as its meter said")


def _check_claims(week: Week) -> Check:
    sold_wh = sum(sale.volume_wh for sale in week.sales)
    rows = [row for hour in week.hours for row in hour.claims]
    held_wh = sum(row.held_wh for row in rows)
    redeemed_wh, short_wh = sum(row.redeemed_wh for row in rows), sum(row.short_wh for row in rows)
    detail = f"{format_kwh(sold_wh)} kWh sold: {format_kwh(redeemed_wh)} delivered, {format_kwh(short_wh)} short"
    return Check("claims add up", sold_wh == held_wh, detail)


def _check_bills(week: Week) -> Check:
    """Check that each home's bills are what the chain's accounts have of it, beside the claims it bought."""
    name, count = "bills are what was paid", 0
    for home in week.homes:
        bills = [bill for day in week.days for bill in day.bills if bill.home == home]
        bought_uyuan = sum(sale.price_uyuan for sale in week.sales if sale.buyer == home)
        billed_uyuan, paid_uyuan = sum(bill.settled_uyuan for bill in bills), week.costs_uyuan[home] + bought_uyuan
        if billed_uyuan != paid_uyuan or any(sum(bill.parts_uyuan.values()) != bill.grid_uyuan for bill in bills):
            return Check(name, False, f"{home}: {billed_uyuan} µ¥ billed, {paid_uyuan} paid")
        count += len(bills)
    return Check(name, True, f"{format_count(count, 'bill')}, to the µ¥, as are the shares in them")


def _check_subsidies(week: Week) -> Check:
    paid_uyuan = sum(amount for day in week.days for amount in day.subsidies_uyuan.values())
    left_uyuan = week.days[-1].budget_left_uyuan if week.days else BUDGET_UYUAN
    detail = f"{format_yuan(paid_uyuan)} yuan paid, {format_yuan(left_uyuan)} left"
    return Check("subsidies keep to the budget", paid_uyuan + left_uyuan == BUDGET_UYUAN and left_uyuan >= 0, detail)


def _check_pool(week: Week) -> Check:
    """Check that collections are what was paid and kept, and principal what is left of it and what was repaid."""
    name, before = "the pool adds up", POOL
    for day in week.days:
        paid, after = day.payments, day.pool
        spent_uyuan = sum(paid) - 2 * paid.reserve_out
        repaid = before.senior - paid.sen_prin == after.senior >= 0 and before.mezz - paid.mez_prin == after.mezz >= 0
        kept = before.reserve + paid.reserve_in - paid.reserve_out == after.reserve >= 0
        if spent_uyuan != day.collections_uyuan or not repaid or not kept:
            return Check(name, False, f"day {day.number + 1}: {day.collections_uyuan} µ¥ collected, {paid}")
        before = after
    collected_uyuan = sum(day.collections_uyuan for day in week.days)
    return Check(name, True, f"{format_yuan(collected_uyuan)} yuan collected, all paid or in reserve")


def _check_money(week: Week) -> Check:
    lowest: Mapping[str, int] = week.lowest_uyuan
    name, low = min(lowest.items(), key=lambda row: (row[1], row[0]))
    return Check("nobody runs dry", low >= 0, f"the least anybody had is {format_yuan(low)} yuan, of {name}")
