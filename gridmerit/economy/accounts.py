"""A day's accounts from its settled hours: bills, subsidies, the pool's collections and payments. Pure, µ¥ and Wh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gridmerit.economy.cast import BILL_SHARES_PPM, COLLECTED_PPM, POOL_TERMS, PROGRAMME, RATE_UYUAN_PER_KWH
from gridmerit.economy.week import Bill, Day, Hour, Sale
from market.bills import split_bill
from market.credit.score import PPM
from market.programmes import SubsidyKey, compute_subsidies
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH
from market.waterfall import State, pay


def close_day(
    number: int,
    hours: Sequence[Hour],
    sales: Sequence[Sale],
    vouchers_uyuan: Mapping[str, int],
    names: Mapping[bytes, str],
    players: Sequence[tuple[str, str]],
    *,
    retail_uyuan_per_kwh: int,
    budget_uyuan: int,
    pool: State,
) -> Day:
    """The accounts of a day; `vouchers_uyuan` is what each home paid with vouchers in it."""
    homes, plants = ([name for name, is_a in players if is_a == role] for role in ("consumer", "producer"))
    subsidies, left_uyuan = _subsidise(hours, names, plants, budget_uyuan)
    collections_uyuan = sum(compute_receipts(hours, sales, names).values()) * COLLECTED_PPM // PPM
    payments, after = pay(pool, POOL_TERMS, collections_uyuan)
    return Day(
        number=number,
        bills=tuple(
            _bill(home, hours, sales, vouchers_uyuan.get(home, 0), names, retail_uyuan_per_kwh) for home in homes
        ),
        subsidies_uyuan=subsidies,
        budget_left_uyuan=left_uyuan,
        collections_uyuan=collections_uyuan,
        payments=payments,
        pool=after,
    )


def compute_output(hour: Hour, names: Mapping[bytes, str]) -> Counter[str]:
    """The Wh that each member has fed in in an hour: by claims, by trades and to the grid.

    Of a home that is what it received by claims beyond its need, for it makes nothing.
    """
    output: Counter[str] = Counter()
    for claim in hour.claims:
        output[names[claim.producer]] += claim.redeemed_wh
    for trade in hour.trades:
        output[names[trade.seller]] += trade.output_wh
    for row in hour.grid:
        output[names[row.member]] += row.output_wh
    return output


def compute_consumption(hour: Hour, names: Mapping[bytes, str]) -> Counter[str]:
    """The Wh that each member has used in an hour: by claims, trades and from the grid, less what it fed in again."""
    taken: Counter[str] = Counter()
    for claim in hour.claims:
        taken[names[claim.holder]] += claim.redeemed_wh
    for trade in hour.trades:
        taken[names[trade.buyer]] += trade.consumption_wh
    for row in hour.grid:
        taken[names[row.member]] += row.consumption_wh
    taken.subtract(compute_output(hour, names))
    return taken


def compute_receipts(hours: Sequence[Hour], sales: Sequence[Sale], names: Mapping[bytes, str]) -> Counter[str]:
    """The µ¥ that each member was paid for energy: what the pool's collections are a share of."""
    receipts: Counter[str] = Counter()
    for sale in sales:
        receipts[sale.seller] += sale.price_uyuan
    for hour in hours:
        for trade in hour.trades:
            receipts[names[trade.seller]] += trade.seller_receives_uyuan
        for row in hour.grid:
            receipts[names[row.member]] += row.receives_uyuan
        for claim in hour.claims:
            receipts[names[claim.producer]] -= claim.penalty_uyuan
    return receipts


def _subsidise(
    hours: Sequence[Hour], names: Mapping[bytes, str], plants: Sequence[str], budget_uyuan: int
) -> tuple[dict[str, int], int]:
    """The subsidies of a day by plant, each delivery paid once, and what is left of the budget."""
    addresses = {name: address for address, name in names.items()}
    deliveries = [
        (SubsidyKey(PROGRAMME, hour.period, addresses[plant]), output[plant])
        for hour in hours
        for output in (compute_output(hour, names),)
        for plant in plants
        if output[plant]
    ]
    paid, left_uyuan = compute_subsidies(deliveries, budget_uyuan=budget_uyuan, rate_uyuan_per_kwh=RATE_UYUAN_PER_KWH)
    total: Counter[str] = Counter()
    for subsidy in paid:
        total[names[subsidy.key.producer]] += subsidy.paid_uyuan
    return dict(total), left_uyuan


def _bill(
    home: str,
    hours: Sequence[Hour],
    sales: Sequence[Sale],
    vouchers_uyuan: int,
    names: Mapping[bytes, str],
    retail_uyuan_per_kwh: int,
) -> Bill:
    consumed_wh = sum(compute_consumption(hour, names)[home] for hour in hours)
    to_plants = sum(sale.price_uyuan for sale in sales if sale.buyer == home)
    to_grid = credited = 0
    for hour in hours:
        for claim in hour.claims:
            if names[claim.holder] == home:
                to_plants -= claim.penalty_uyuan
                to_grid += claim.wheeling_uyuan
        prices = {trade.trade_index: trade.price_uyuan_per_kwh for trade in hour.agreed}
        for trade in hour.trades:
            if names[trade.buyer] == home:
                agreed = divide_half_up(trade.traded_wh * prices[trade.trade_index], WH_PER_KWH)
                to_plants += agreed
                to_grid += trade.buyer_pays_uyuan - agreed
        for row in hour.grid:
            if names[row.member] == home:
                to_grid += row.pays_uyuan
                credited += row.receives_uyuan
    return Bill(
        home=home,
        consumed_wh=consumed_wh,
        retail_uyuan=divide_half_up(consumed_wh * retail_uyuan_per_kwh, WH_PER_KWH),
        vouchers_uyuan=vouchers_uyuan,
        plants_uyuan=to_plants,
        grid_uyuan=to_grid,
        credited_uyuan=credited,
        parts_uyuan=split_bill(to_grid, BILL_SHARES_PPM),
    )
