"""The experiment of text 001 in figures alone: one JSON document in integer units, and two tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gridmerit.text import format_time
from market.game.hour import DIRECTIONS, Hour, Prices, as_tuple
from market.game.regret import SETTLED
from simulation.game.accounts import Account, Green, HourAccounts, sum_hours
from simulation.game.experiment import PAPER_NOON, Experiment, Noon, SolvedHour

_WH = 1_000
_UYUAN = 1_000_000


def make_document(experiment: Experiment) -> dict[str, Any]:
    """All that the report says: Wh, µ¥ and µ¥ per kWh; a regret is a part of one."""
    plan = experiment.plan
    return {
        "players": {"companies": plan.companies, "bureaus": plan.bureaus, "users": plan.users},
        "mu_uyuan_per_kwh": _to_uyuan(plan.mu),
        "series": plan.series,
        "solver": plan.solver,
        "seed": plan.seed,
        "settled_at_regret": SETTLED,
        "settled": len(experiment.hours) - len(experiment.unsettled),
        "hours": [_describe_hour(one) for one in experiment.hours],
        "noon": None if experiment.noon is None else _describe_noon(experiment.noon),
        "markets": {market: _describe_accounts(sum_hours(hours)) for market, hours in experiment.accounts.items()},
    }


def _describe_hour(one: SolvedHour) -> dict[str, Any]:
    hour = one.hour
    return {
        "start_ms": one.start_ms,
        "surplus_wh": list(as_tuple(hour.surplus_wh)),
        "shortage_wh": list(as_tuple(hour.shortage_wh)),
        "users_wh": sum(hour.user_load_wh),
        "prices_uyuan_per_kwh": _describe_prices(one.prices),
        "sold_wh": {name: _to_wh(one.sum_volume(name)) for name in DIRECTIONS},
        "fed_in_wh": _to_wh(sum(one.volumes.feed_in)),
        "clearing_uyuan_per_kwh": None if one.volumes.clearing_price is None else _to_uyuan(one.volumes.clearing_price),
        "regret": one.regret,
        "settled": one.is_settled,
    }


def _describe_prices(prices: Prices) -> dict[str, list[int]]:
    return {name: [_to_uyuan(price) for price in prices.of(name)] for name in DIRECTIONS}


def _describe_noon(noon: Noon) -> dict[str, Any]:
    return {
        "start_ms": noon.solved.start_ms,
        "paper_uyuan_per_kwh": {name: _to_uyuan(PAPER_NOON.of(name)[0]) for name in DIRECTIONS},
        "paper_regret": noon.regret,
        "paper_printed_regret": noon.printed_regret,
        "our_regret": noon.solved.regret,
        "our_printed_regret": noon.our_printed_regret,
    }


def _describe_accounts(accounts: HourAccounts) -> dict[str, Any]:
    return {
        "players": {name: _describe_account(account) for name, account in _list_everybody(accounts)},
        "green_wh": {name: _to_wh(getattr(accounts.green, name)) for name in Green.__slots__},
    }


def _describe_account(account: Account) -> dict[str, int]:
    return {
        "sold_wh": _to_wh(account.sold_kwh),
        "income_uyuan": _to_uyuan(account.income),
        "bought_wh": _to_wh(account.bought_kwh),
        "cost_uyuan": _to_uyuan(account.cost),
        "subsidy_uyuan": _to_uyuan(account.subsidy),
        "payoff_uyuan": _to_uyuan(account.payoff),
    }


def _list_everybody(accounts: HourAccounts) -> Iterator[tuple[str, Account]]:
    for kind, side in (("company", accounts.companies), ("bureau", accounts.bureaus), ("user", accounts.users)):
        yield from ((f"{kind}-{number}", account) for number, account in enumerate(side, 1))
    yield "grid-company", accounts.grid


def _to_wh(kwh: float) -> int:
    return round(kwh * _WH)


def _to_uyuan(yuan: float) -> int:
    return round(yuan * _UYUAN)


# --- CSV -------------------------------------------------------------------------------------------


def write_hours(experiment: Experiment) -> str:
    """A line for each hour: energy in kWh, prices in yuan per kWh, empty where nothing goes that way."""
    heads = ["hour", "surplus_kwh", "shortage_kwh", "users_kwh", "bureaus_kwh"]
    heads += [f"{name}_yuan_per_kwh" for name in DIRECTIONS] + [f"{name}_kwh" for name in DIRECTIONS]
    heads += ["fed_in_kwh", "clearing_yuan_per_kwh", "regret", "settled"]
    return _write_table(heads, map(_list_hour, experiment.hours))


def _list_hour(one: SolvedHour) -> list[object]:
    def sum_up(hour: Hour, *names: str) -> list[object]:
        return [_round(sum(hour.kwh(name))) for name in names]

    volumes = [one.sum_volume(name) for name in DIRECTIONS]
    clearing = one.volumes.clearing_price
    return [
        format_time(one.start_ms),
        *sum_up(one.hour, "surplus_wh", "shortage_wh", "user_load_wh", "bureau_capacity_wh"),
        *(_round(one.mean_price(name)) if kwh > 0 else "" for name, kwh in zip(DIRECTIONS, volumes, strict=True)),
        *map(_round, volumes),
        _round(sum(one.volumes.feed_in)),
        "" if clearing is None else _round(clearing),
        f"{one.regret:.3g}",
        "yes" if one.is_settled else "no",
    ]


def write_accounts(experiment: Experiment) -> str:
    """A line for each market and player, over all hours: kWh and yuan."""
    heads = ["market", "player", "sold_kwh", "income", "bought_kwh", "cost", "subsidy", "payoff"]
    rows = (
        [market, name, *(_round(getattr(account, head)) for head in heads[2:])]
        for market, hours in experiment.accounts.items()
        for name, account in _list_everybody(sum_hours(hours))
    )
    return _write_table(heads, rows)


def _round(value: float) -> str:
    return f"{value:.6f}"


def _write_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return out.getvalue()
